//! Drives that are not what they should be: wrong, swapped, altered, dangerous to open. And the
//! wrong drive at the wrong time.

use super::*;
use crate::beneath::Beneath;
use crate::{
    Document, DriveRole, Label, Reason, Refused, Trust, import, missing, object_path, verify,
};
use model::{Digest, ErrorKind};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::os::unix::fs::symlink;
use std::process::Command;
use wire::SeedId;

/// A sealed drive and what it was made from.
struct Sealed {
    site: Site,
    store: Memory,
    drive: DriveSpec,
    repository: Digest,
    pack: ObjectKey,
}

fn sealed() -> Sealed {
    let site = Site::new();
    let store = repository(4, &[1_500_000, 90_000]);
    let pack = add(&store, ObjectKind::Pack, &noise(99, 200_000));
    let drive = site.drive("D0", 8 << 20);
    let prepared = site.prepare(&store, std::slice::from_ref(&drive)).unwrap();
    let repository = prepared.inventory.repositories[0];
    Sealed { site, store, drive, repository, pack }
}

impl Sealed {
    fn pack_file(&self) -> PathBuf {
        self.drive.folder.join(object_path(&self.repository, &self.pack))
    }

    fn folders(&self) -> Vec<PathBuf> {
        vec![self.drive.folder.clone()]
    }

    /// The pack is the one thing wrong, for verification and import alike; the rest arrives.
    fn only_the_pack_is(&self, reason: &Reason) {
        let report = verify(&self.drive.folder, &self.site.trust(), &mut ()).unwrap();
        let problems: Vec<_> = report.problems.iter().map(|p| (p.key, p.reason.clone())).collect();
        assert_eq!(problems, [(self.pack, reason.clone())]);
        assert!(!report.extents.is_empty() && !report.is_intact());
        let into = self.site.path("into");
        let imported = import(&into, &self.folders(), &self.site.trust(), &mut ()).unwrap();
        let unloaded = imported.drives[0].1.as_ref().unwrap();
        assert_eq!(unloaded.problems[0].reason, *reason);
        assert_eq!(unloaded.problems.len(), 1);
        assert!(!imported.seeds[0].published);
        let wanted: Vec<_> =
            missing(&into).unwrap()[0].wanted.iter().map(|wanted| wanted.key).collect();
        assert_eq!(wanted, [self.pack]);
        assert!(!tree(&into).contains_key("config"));
    }
}

#[test]
fn right_length_and_wrong_bytes_fail_alone() {
    let sealed = sealed();
    let mut bytes = fs::read(sealed.pack_file()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(sealed.pack_file(), bytes).unwrap();
    sealed.only_the_pack_is(&Reason::Hash);
}

#[test]
fn another_length_fails_alone() {
    let sealed = sealed();
    fs::write(sealed.pack_file(), noise(99, 199_999)).unwrap();
    sealed.only_the_pack_is(&Reason::Length { found: 199_999, expected: 200_000 });
}

#[test]
fn a_missing_object_fails_alone_and_comes_with_the_next_drive() {
    let sealed = sealed();
    fs::remove_file(sealed.pack_file()).unwrap();
    sealed.only_the_pack_is(&Reason::Missing);
    fs::write(sealed.pack_file(), noise(99, 200_000)).unwrap();
    let into = sealed.site.path("into");
    let imported = import(&into, &sealed.folders(), &sealed.site.trust(), &mut ()).unwrap();
    assert_eq!(imported.drives[0].1.as_ref().unwrap().copied, 1, "only what was missing is copied");
    assert_eq!(tree(&into), expected_tree(&sealed.store));
}

#[test]
fn a_link_in_the_place_of_an_object_is_not_followed() {
    let sealed = sealed();
    let outside = sealed.site.path("outside");
    fs::rename(sealed.pack_file(), &outside).unwrap();
    symlink(&outside, sealed.pack_file()).unwrap();
    sealed.only_the_pack_is(&Reason::NotAFile);
}

#[test]
fn a_link_in_the_place_of_a_folder_is_not_followed() {
    let sealed = sealed();
    let file = sealed.pack_file();
    let (folder, outside) = (file.parent().unwrap(), sealed.site.path("outside"));
    fs::rename(folder, &outside).unwrap();
    symlink(&outside, folder).unwrap();
    sealed.only_the_pack_is(&Reason::NotAFile);
}

#[test]
fn not_even_a_link_within_the_drive_is_followed() {
    let sealed = sealed();
    let file = sealed.pack_file();
    let folder = file.parent().unwrap();
    fs::rename(folder, folder.with_file_name("elsewhere")).unwrap();
    symlink("elsewhere", folder).unwrap();
    sealed.only_the_pack_is(&Reason::NotAFile);
}

#[test]
fn a_pipe_in_the_place_of_an_object_stops_nobody() {
    let sealed = sealed();
    fs::remove_file(sealed.pack_file()).unwrap();
    mknodat(CWD, sealed.pack_file(), FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    sealed.only_the_pack_is(&Reason::NotAFile);
}

#[test]
fn pipes_and_links_in_the_place_of_documents_are_refused() {
    for name in ["label", "manifest", "extents"] {
        let sealed = sealed();
        let path = sealed.drive.folder.join("packmule").join(name);
        let outside = sealed.site.path("outside");
        fs::rename(&path, &outside).unwrap();
        symlink(&outside, &path).unwrap();
        let error = verify(&sealed.drive.folder, &sealed.site.trust(), &mut ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
        let error = verify(&sealed.drive.folder, &sealed.site.trust(), &mut ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn no_path_leaves_the_folder() {
    let site = Site::new();
    fs::create_dir(site.path("in")).unwrap();
    fs::write(site.path("secret"), "x").unwrap();
    let folder = Beneath::open(&site.path("in")).unwrap();
    for path in ["../secret", "/etc/passwd", "a/../../secret", ".."] {
        assert!(folder.file(path).is_err(), "{path}");
        assert!(folder.length(path).map_or(true, |length| length.is_none()), "{path}");
    }
    assert!(folder.write("../stolen", "partial", b"x").is_err());
    assert!(folder.rename("partial", "../stolen").is_err());
    assert!(folder.create_folders("../made").is_err());
    assert!(folder.remove("../secret").is_err());
    assert!(
        site.path("secret").exists()
            && !site.path("stolen").exists()
            && !site.path("made").exists()
    );
}

#[test]
fn a_damaged_byte_is_found_in_its_extent() {
    let sealed = sealed();
    let name = tree(&sealed.drive.folder)
        .into_iter()
        .find(|(_, bytes)| bytes.len() == 1_500_000)
        .unwrap()
        .0;
    let path = sealed.drive.folder.join(name);
    let mut bytes = fs::read(&path).unwrap();
    bytes[1_200_000] ^= 4;
    fs::write(&path, bytes).unwrap();
    let report = verify(&sealed.drive.folder, &sealed.site.trust(), &mut ()).unwrap();
    let damaged: u64 = report.extents.iter().map(|range| range.end - range.start).sum();
    assert_eq!((report.problems.len(), damaged), (1, 1));
}

#[test]
fn extra_files_are_listed_and_do_no_harm() {
    let sealed = sealed();
    for extra in ["autorun.inf", "packmule/partial", "packmule/x", "repositories/config"] {
        fs::write(sealed.drive.folder.join(extra), "x").unwrap();
    }
    symlink("/", sealed.drive.folder.join("root")).unwrap();
    let report = verify(&sealed.drive.folder, &sealed.site.trust(), &mut ()).unwrap();
    assert!(report.is_intact());
    assert_eq!(
        report.extra,
        ["autorun.inf", "packmule/partial", "packmule/x", "repositories/config", "root"]
    );
    let into = sealed.site.path("into");
    import(&into, &sealed.folders(), &sealed.site.trust(), &mut ()).unwrap();
    assert_eq!(tree(&into), expected_tree(&sealed.store));
}

#[test]
fn a_damaged_list_of_extents_is_refused_and_imports_all_the_same() {
    let sealed = sealed();
    let path = sealed.drive.folder.join("packmule/extents");
    let mut bytes = fs::read(&path).unwrap();
    bytes[3] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = verify(&sealed.drive.folder, &sealed.site.trust(), &mut ()).unwrap_err();
    assert!(matches!(error, Error::Malformed { document: Document::Extents, .. }));
    let into = sealed.site.path("into");
    assert!(
        import(&into, &sealed.folders(), &sealed.site.trust(), &mut ()).unwrap().seeds[0].published
    );
}

#[test]
fn without_a_signer_nothing_is_imported_and_the_fingerprint_is_told() {
    let sealed = sealed();
    let into = sealed.site.path("into");
    let imported = import(&into, &sealed.folders(), &Trust::AsFound, &mut ()).unwrap();
    let Err(Error::NoSigner { found, .. }) = &imported.drives[0].1 else { panic!("{imported:?}") };
    assert_eq!(*found, sealed.site.key.fingerprint());
    assert_eq!(tree(&into).len(), 0);
    let report = verify(&sealed.drive.folder, &Trust::AsFound, &mut ()).unwrap();
    assert!(report.is_intact() && !report.trusted);
}

#[test]
fn a_drive_that_somebody_else_signed_is_refused() {
    let sealed = sealed();
    let other = SigningKey::from_bytes(&[8; 32]);
    for trust in [Trust::Key(other.public()), Trust::Fingerprint(other.fingerprint())] {
        let error = verify(&sealed.drive.folder, &trust, &mut ()).unwrap_err();
        assert!(matches!(error, Error::OtherSigner { .. }));
        let into = sealed.site.path("into");
        let imported = import(&into, &sealed.folders(), &trust, &mut ()).unwrap();
        assert!(matches!(imported.drives[0].1, Err(Error::OtherSigner { .. })));
        assert_eq!(tree(&into).len(), 0);
    }
}

#[test]
fn labels_and_manifests_of_other_drives_are_refused() {
    for name in ["label", "manifest"] {
        let site = Site::new();
        let store = repository(6, &[600_000, 600_000, 600_000]);
        let drives = site.drives(2, 1_900_000);
        assert!(site.prepare(&store, &drives).unwrap().is_complete());
        let file = |drive: &DriveSpec| drive.folder.join("packmule").join(name);
        fs::copy(file(&drives[1]), file(&drives[0])).unwrap();
        let error = verify(&drives[0].folder, &site.trust(), &mut ()).unwrap_err();
        assert!(matches!(error, Error::Swapped { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::WrongDrive);
        let folders: Vec<PathBuf> = drives.iter().map(|drive| drive.folder.clone()).collect();
        let imported = import(&site.path("into"), &folders, &site.trust(), &mut ()).unwrap();
        assert!(imported.drives[0].1.is_err() && imported.drives[1].1.is_ok());
        assert!(!imported.seeds[0].published);
    }
}

fn labelled(site: &Site, change: impl FnOnce(&mut Label)) -> DriveSpec {
    let drive = site.drive("D0", 8 << 20);
    let mut label = Label {
        seed: SeedId([3; 16]),
        set: 0,
        drive: 0,
        serial: drive.serial.clone(),
        role: DriveRole::Data,
        created: "2026-01-01T00:00:00Z".parse().unwrap(),
        capacity: 8 << 20,
        repositories: vec![],
    };
    change(&mut label);
    fs::create_dir(drive.folder.join("packmule")).unwrap();
    fs::write(drive.folder.join("packmule/label"), label.encode(&site.key).unwrap()).unwrap();
    drive
}

#[test]
fn parity_drives_unsealed_drives_and_no_drives_are_told_apart() {
    let refusal =
        |site: &Site, drive: &DriveSpec| verify(&drive.folder, &site.trust(), &mut ()).unwrap_err();
    let site = Site::new();
    assert!(matches!(refusal(&site, &site.drive("E", 1)), Error::NotADrive { .. }));
    let drive = labelled(&site, |label| label.role = DriveRole::Parity);
    assert!(matches!(refusal(&site, &drive), Error::NotSealed { .. }));
    let site = Site::new();
    let drive = labelled(&site, |_| ());
    assert!(matches!(refusal(&site, &drive), Error::NotSealed { .. }));
}

#[test]
fn a_drive_is_refused_before_anything_is_written() {
    let store = repository(1, &[1000]);
    let refusal = |site: &Site, drives: &[DriveSpec]| {
        let before = tree(site.dir.path());
        let error = site.prepare(&store, drives).unwrap_err();
        let mut after = tree(site.dir.path());
        after.retain(|path, _| !path.starts_with("state/"));
        assert_eq!(before, after);
        error
    };
    let site = Site::new();
    let full = site.drive("F", 8 << 20);
    fs::write(full.folder.join("holiday.jpg"), "x").unwrap();
    assert!(matches!(refusal(&site, &[full]), Error::NotEmpty { .. }));

    let empty = site.drive("G", 8 << 20);
    let again = DriveSpec { serial: "H".parse().unwrap(), ..empty.clone() };
    assert!(matches!(refusal(&site, &[empty.clone(), again]), Error::SameDrive { .. }));
    symlink(&empty.folder, site.path("link")).unwrap();
    let link =
        DriveSpec { folder: site.path("link"), serial: "H".parse().unwrap(), capacity: None };
    assert!(matches!(site.prepare(&store, &[empty.clone(), link]), Err(Error::SameDrive { .. })));
    let twin = DriveSpec { serial: empty.serial.clone(), ..site.drive("I", 8 << 20) };
    let twins = [empty, twin];
    assert!(matches!(site.prepare(&store, &twins), Err(Error::SameDrive { .. })));

    let site = Site::new();
    assert!(matches!(
        refusal(&site, &site.drives(11, 8 << 20)),
        Error::TooManyDrives { limit: 10 }
    ));
    let site = Site::new();
    let error = refusal(&site, &site.drives(2, 200_000));
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");

    let site = Site::new();
    let other = labelled(&site, |label| label.serial = "else".parse().unwrap());
    assert!(matches!(refusal(&site, &[other]), Error::OtherSerial { .. }));
    let site = Site::new();
    let other = labelled(&site, |label| {
        (label.set, label.repositories) = (1, vec![crate::identity(&store).unwrap()]);
    });
    assert!(matches!(refusal(&site, &[other]), Error::OtherSet { .. }));

    let site = Site::new();
    let drive = labelled(&site, |_| ());
    let thief = Site { key: SigningKey::from_bytes(&[8; 32]), ..site };
    assert!(matches!(refusal(&thief, &[drive]), Error::OtherSigner { .. }));
}

#[test]
fn a_drive_of_another_seed_is_refused() {
    let site = Site::new();
    let drives = site.drives(1, 8 << 20);
    site.prepare(&repository(1, &[1000]), &drives).unwrap();
    fs::rename(site.path("state"), site.path("first")).unwrap();
    let fresh = site.drive("fresh", 8 << 20);
    site.prepare(&repository(1, &[1000]), std::slice::from_ref(&fresh)).unwrap();
    let error = site.prepare(&repository(1, &[1000]), &drives).unwrap_err();
    assert!(matches!(error, Error::OtherSeed { .. }));
    let error = site.prepare(&repository(2, &[1000]), &[fresh]).unwrap_err();
    assert!(matches!(error, Error::OtherRepositories(_)));
}

#[test]
fn a_drive_of_another_repository_decides_nothing_about_a_new_seed() {
    let site = Site::new();
    let drives = site.drives(1, 8 << 20);
    site.prepare(&repository(1, &[1000]), &drives).unwrap();
    fs::rename(site.path("state"), site.path("first")).unwrap();
    let error = site.prepare(&repository(2, &[1000]), &drives).unwrap_err();
    assert!(matches!(error, Error::OtherSource { .. }), "{error:?}");
    let fresh = site.drive("fresh", 8 << 20);
    assert!(site.prepare(&repository(2, &[1000]), &[fresh]).unwrap().is_complete());
}

#[test]
fn a_drive_in_use_is_refused() {
    let site = Site::new();
    let drives = site.drives(1, 8 << 20);
    let held = Beneath::open(&drives[0].folder).unwrap();
    assert!(held.lock().unwrap());
    let error = site.prepare(&repository(1, &[1000]), &drives).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
}

#[test]
fn the_same_drive_again_changes_nothing_and_says_so() {
    let sealed = sealed();
    let into = sealed.site.path("into");
    let twice = [sealed.folders(), sealed.folders()].concat();
    let imported = import(&into, &twice, &sealed.site.trust(), &mut ()).unwrap();
    assert!(!imported.drives[0].1.as_ref().unwrap().is_repetition());
    assert!(imported.drives[1].1.as_ref().unwrap().is_repetition());
    let again = import(&into, &sealed.folders(), &sealed.site.trust(), &mut ()).unwrap();
    assert!(again.drives[0].1.as_ref().unwrap().is_repetition());
    assert!(again.seeds[0].published);
    assert_eq!(tree(&into), expected_tree(&sealed.store));
}

#[test]
fn a_repository_that_is_there_keeps_its_own_keys() {
    let sealed = sealed();
    let into = sealed.site.path("into");
    fs::create_dir_all(into.join("keys")).unwrap();
    let config = sealed.store.get(&ObjectKey::Config, 1 << 20).unwrap();
    fs::write(into.join("config"), &config).unwrap();
    let own = store::conformance::key_of(ObjectKind::Key, b"own");
    fs::write(into.join(own.path()), "own").unwrap();
    let imported = import(&into, &sealed.folders(), &sealed.site.trust(), &mut ()).unwrap();
    assert!(imported.seeds[0].published);
    let mut expected = expected_tree(&sealed.store);
    expected.retain(|path, _| !path.starts_with("keys/"));
    expected.insert(own.path(), b"own".to_vec());
    assert_eq!(tree(&into), expected);
}

#[test]
fn another_repository_is_left_alone() {
    let sealed = sealed();
    let into = sealed.site.path("into");
    fs::create_dir_all(&into).unwrap();
    fs::write(into.join("config"), "another").unwrap();
    let imported = import(&into, &sealed.folders(), &sealed.site.trust(), &mut ()).unwrap();
    assert!(matches!(imported.drives[0].1, Err(Error::OtherRepository { .. })));
    assert_eq!(tree(&into).len(), 1);
}

#[test]
fn what_is_damaged_while_it_waits_is_not_published() {
    let sealed = sealed();
    let into = sealed.site.path("into");
    fs::remove_file(sealed.pack_file()).unwrap();
    import(&into, &sealed.folders(), &sealed.site.trust(), &mut ()).unwrap();
    let (name, mut bytes) =
        tree(&into).into_iter().find(|(_, bytes)| bytes.len() == 90_000).unwrap();
    bytes[5] ^= 1;
    fs::write(into.join(name), bytes).unwrap();
    fs::write(sealed.pack_file(), noise(99, 200_000)).unwrap();
    let imported = import(&into, &sealed.folders(), &sealed.site.trust(), &mut ()).unwrap();
    assert!(!imported.seeds[0].published);
    assert_eq!(imported.seeds[0].missing.wanted.len(), 1);
    let imported = import(&into, &sealed.folders(), &sealed.site.trust(), &mut ()).unwrap();
    assert!(imported.seeds[0].published);
    assert_eq!(tree(&into), expected_tree(&sealed.store));
}

#[test]
fn several_repositories_share_a_set_and_part_at_the_destination() {
    let site = Site::new();
    let (one, two) = (repository(1, &[300_000, 4000]), repository(2, &[4000, 500_000]));
    let (state, drives) = (site.path("state"), site.drives(2, 1_400_000));
    let options = site.options(&state);
    let prepared = crate::prepare(&options, &[&one, &two], &drives, &mut ()).unwrap();
    assert!(prepared.is_complete());
    let again = crate::prepare(&options, &[&two, &one], &drives, &mut ()).unwrap();
    assert!(again.is_complete());
    let same = crate::freeze(&[&one, &one]).unwrap_err();
    assert!(matches!(same, Error::SameRepository(_)));
    let used: Vec<PathBuf> = drives
        .iter()
        .map(|drive| drive.folder.clone())
        .filter(|folder| folder.join("packmule/manifest").exists())
        .collect();
    let into = site.path("into");
    assert!(import(&into, &used, &site.trust(), &mut ()).unwrap().seeds[0].published);
    for store in [&one, &two] {
        let name = crate::identity(store).unwrap();
        assert_eq!(tree(&into.join(name.to_hex())), expected_tree(store));
    }
}

#[test]
fn refusals_say_whose_signature_it_is() {
    let fingerprint = SigningKey::from_bytes(&[8; 32]).fingerprint();
    let expected = SigningKey::from_bytes(&[9; 32]).fingerprint();
    let error = Refused::Signer { found: fingerprint, expected }.at(Document::Label, "/mnt/a");
    assert!(error.to_string().contains(&fingerprint.to_string()));
}

#[test]
fn a_drive_that_is_fuller_than_it_says_is_sealed_with_what_it_holds() {
    let site = Site::new();
    let store = repository(3, &[250_000, 250_000, 250_000, 250_000, 250_000, 250_000]);
    let Some(small) = Tmpfs::mount(site.path("small"), 1200) else {
        return skip("a_drive_that_is_fuller_than_it_says", "mounting a tmpfs is not allowed here");
    };
    // Sealing needs room that this file takes away, once the drive has been examined.
    let drives = [
        DriveSpec { folder: small.0.clone(), serial: "S".parse().unwrap(), capacity: None },
        site.drive("L", 1_100_000),
        site.drive("M", 1_100_000),
    ];
    let prepared = site.prepare_with(&store, &drives, &mut Thief(small.0.join("stolen"))).unwrap();
    assert!(prepared.is_complete());
    let on_small = prepared.drives.iter().find(|drive| drive.serial.as_str() == "S").unwrap();
    assert!((1..9).contains(&on_small.objects), "{on_small:?}");
    let into = site.path("into");
    let sealed = drives.iter().map(|drive| drive.folder.clone());
    let folders: Vec<PathBuf> =
        sealed.filter(|folder| folder.join("packmule/manifest").exists()).collect();
    assert!(import(&into, &folders, &site.trust(), &mut ()).unwrap().seeds[0].published);
    assert_eq!(tree(&into), expected_tree(&store));
}

/// Takes room away from a drive as soon as work on it begins.
struct Thief(PathBuf);

impl Events for Thief {
    fn event(&mut self, event: Event<'_>) {
        if matches!(event, Event::DriveStarted { .. }) && !self.0.exists() {
            fs::write(&self.0, vec![0; 400 << 10]).unwrap();
        }
    }
}

#[test]
fn stock_restic_opens_a_drive_and_what_was_imported() {
    let site = Site::new();
    let restic = |args: &[&str]| {
        Command::new("restic")
            .args(args)
            .env("RESTIC_PASSWORD", "test")
            .env("RESTIC_CACHE_DIR", site.path("cache"))
            .output()
    };
    if !restic(&["version"]).is_ok_and(|output| output.status.success()) {
        return skip("stock_restic_opens_a_drive", "restic is not installed");
    }
    let run = |args: &[&str]| {
        let output = restic(args).unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let (source, repository) = (site.path("source"), site.path("repository"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("a"), noise(1, 900_000)).unwrap();
    fs::write(source.join("b"), noise(2, 700_000)).unwrap();
    let repository = repository.to_str().unwrap();
    run(&["-r", repository, "init"]);
    run(&["-r", repository, "backup", source.to_str().unwrap()]);
    let drives = site.drives(1, 16 << 20);
    let prepared = site.prepare(&store::Folder::new(repository), &drives).unwrap();
    assert!(prepared.is_complete());
    let name = prepared.inventory.repositories[0].to_hex();
    let on_drive = drives[0].folder.join("repositories").join(name);
    run(&["-r", on_drive.to_str().unwrap(), "--no-lock", "check", "--read-data"]);
    let into = site.path("into");
    import(&into, &[drives[0].folder.clone()], &site.trust(), &mut ()).unwrap();
    run(&["-r", into.to_str().unwrap(), "check", "--read-data"]);
    let target = site.path("target");
    run(&["-r", into.to_str().unwrap(), "restore", "latest", "--target", target.to_str().unwrap()]);
    let restored = target.join(source.strip_prefix("/").unwrap());
    assert_eq!(tree(&restored), tree(&source));
}
