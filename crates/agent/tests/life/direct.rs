//! Seeds without staging: backed up straight onto their drives, and from there on a seed like any other.

use crate::journey::{files, restore, waiting};
use crate::refill::{confirmed, differences, none, packs, refill, snapshots};
use crate::site::{PASSWORD, Site, address, header, noise, package, tree};
use agent::{
    Answer, BackupReport, Cleaning, Error, Event, Given, NewGroup, NewInitial, Next, Place,
    Sending, Warning, Way, Writing, Written,
};
use flow::{SeedState, WAITING_FOR_IMPORT};
use model::{ErrorKind, ObjectKey};
use seed::PlainReads;
use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A little more than what a drive keeps free: one pack.
const SMALL: u64 = 4_480_000;
/// Some packs.
const MEDIUM: u64 = 4_750_000;
/// Room for all of it.
const LARGE: u64 = 9_000_000;

impl Site {
    fn direct(&self) -> NewInitial {
        NewInitial::Direct {
            import_job: "seed-2026".parse().unwrap(),
            storage_account: "seedacct".parse().unwrap(),
            container: "seeds".parse().unwrap(),
        }
    }

    /// Registered, with group `files` that goes straight onto drives.
    fn straight() -> Self {
        let site = Self::new();
        let group = NewGroup { initial: site.direct(), ..site.group("files") };
        let created = agent::create_group(&site.ctx(), &group).unwrap();
        assert!(created.warnings.contains(&Warning::OnDrivesAlone), "it is said beforehand");
        site
    }

    fn given(&self, serial: &str, capacity: u64) -> Given {
        Given { drive: self.drive(serial, capacity), encrypted: false, formatted: false }
    }

    fn write(&self, drives: &[Given]) -> agent::Result<Written> {
        self.write_in(&self.ctx(), drives, &mut |_| None)
    }

    fn write_in(
        &self,
        ctx: &agent::Context<'_>,
        drives: &[Given],
        next: &mut agent::NextDrive<'_>,
    ) -> agent::Result<Written> {
        let group = files();
        let what = Writing {
            group: &group,
            drives,
            read_back: &PlainReads,
            window: 200_000,
            parity: None,
            most: None,
            hold_parity: false,
            job: None,
        };
        agent::write_drives(ctx, &what, next, PASSWORD)
    }

    /// As far as one drive with everything, and its job.
    fn written() -> Self {
        let site = Self::straight();
        let written = site.write(&[site.given("D0", LARGE)]).unwrap();
        assert!(written.complete && written.jobs.len() == 1, "{written:?}");
        site
    }

    fn arrives(&self) {
        self.arrives_as(2);
    }

    /// With so many recovery points afterwards, at least.
    fn arrives_as(&self, points: usize) {
        let report = self.backup().unwrap();
        let BackupReport::Stored { confirmed: Some(_), outcome, .. } = report else {
            panic!("{report:?}")
        };
        assert_eq!(outcome.summary.data_blobs, 0, "nothing is sent again");
        assert_eq!(self.seed().record.state(), SeedState::Confirmed);
        let vault = agent::open_vault(&self.ctx(), PASSWORD).unwrap();
        let check = vault.check(repo::CheckOptions { read_data: true, threads: 1 }, &|_| {});
        assert!(check.unwrap().findings.is_empty());
        restore(self, &vault, &self.path("restored"));
        assert_eq!(tree(&self.path("restored")), tree(&self.source()));
        assert!(vault.snapshots().unwrap().value.len() >= points);
    }

    fn local(&self) -> PathBuf {
        self.state().join("direct/seed-2026/repository")
    }
}

#[test]
fn a_first_backup_goes_straight_onto_drives_and_its_seed_arrives() {
    let site = Site::straight();
    let write = Next::WriteDrives { group: files() };
    let said = waiting(site.backup().unwrap());
    assert_eq!((said.seed, said.next), (None, write.clone()));
    assert_eq!(agent::status(&site.ctx()).unwrap().groups[0].next, write);
    let points = || agent::recovery_points(&site.ctx(), Some(&files()), PASSWORD).unwrap();
    assert_eq!((points().place, points().points.len()), (Place::Drives, 0));

    // One drive is not enough, and there is no other one.
    let first = site.write(&[site.given("D0", SMALL)]).unwrap();
    assert!(!first.complete && first.jobs.is_empty() && first.outcome.is_none(), "{first:?}");
    assert!(site.path("D0/packmule/manifest").exists(), "a full drive is sealed");
    assert_eq!(site.seed().record.state(), SeedState::Staging);
    assert_eq!(site.seed().next, write);
    assert_eq!(waiting(site.backup().unwrap()).next, write);
    // It is in its parcel by now.
    let second = site.write(&[site.given("D1", LARGE)]).unwrap();
    assert!(second.complete && second.unread == 0);
    assert_eq!(second.jobs[0].name.as_str(), "seed-2026");
    assert_eq!(second.jobs[0].drive_list.len(), 2);
    assert!(second.jobs[0].inventory_received && second.locations.len() == 1);
    let local: usize = tree(&site.local()).values().map(Vec::len).sum();
    assert!(local < 60_000, "the data is on the drives alone: {local}");
    assert_eq!((points().place, points().points.len()), (Place::Drives, 1));
    let seed = site.seed();
    assert_eq!(seed.next, Next::Ship { job: "seed-2026".parse().unwrap() });
    let folder = seed.record.staging.display().to_string();
    let restored = agent::open_staging(&site.ctx(), &folder, PASSWORD);
    assert!(matches!(restored, Err(Error::WithoutStaging { .. })), "{restored:?}");

    assert_eq!(waiting(site.backup().unwrap()).message, WAITING_FOR_IMPORT);
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    site.arrives();
    assert_eq!(site.seed().next, Next::Nothing);
    fs::write(site.source().join("new"), noise(99, 70_000)).unwrap();
    let BackupReport::Stored { confirmed: None, outcome, .. } = site.backup().unwrap() else {
        panic!("it is confirmed already")
    };
    assert_eq!((outcome.summary.files_new, outcome.summary.files_changed), (1, 0));
    assert_eq!((points().place, points().points.len()), (Place::Vault, 4));

    let id = site.seed().record.id;
    let remove = Cleaning::Remove { password: PASSWORD };
    assert!(!agent::clean_staging(&site.ctx(), id, remove).unwrap().removed.is_empty());
    assert!(tree(&site.local()).is_empty());
}

#[test]
fn a_call_that_finds_everything_done_answers_the_same_job() {
    let site = Site::written();
    let (drive, record) = (tree(&site.path("D0")), site.seed().record);
    for drives in [vec![], vec![site.given("D0", LARGE)]] {
        let again = site.write(&drives).unwrap();
        assert!(again.complete && again.outcome.is_none());
        assert_eq!(again.jobs, site.agent().jobs().unwrap());
        assert_eq!(again.drives.len(), 1);
    }
    assert_eq!((tree(&site.path("D0")), site.seed().record), (drive, record));
    let refused = agent::check_direct(&site.ctx(), &files(), Path::new("/mnt"), PASSWORD);
    assert!(matches!(refused, Err(Error::NothingToPrepare { .. })), "{refused:?}");
}

#[test]
fn dying_at_every_event_costs_nothing() {
    let site = Site::straight();
    let drives = [site.given("D0", MEDIUM), site.given("D1", MEDIUM - 50_000)];
    let mut deaths = 0;
    let written = loop {
        let left = AtomicUsize::new(deaths);
        let events = |event: Event<'_>| {
            // Those of many threads, and each part of a file, are for the engines' own tests.
            use seed::Event::{Reading, Writing};
            let counts =
                !matches!(event, Event::Backup(_) | Event::Direct(Reading { .. } | Writing { .. }));
            if counts && left.fetch_sub(1, Ordering::Relaxed) == 0 {
                panic!("dies at {event:?}");
            }
        };
        let ctx = site.hearing(&events);
        let act = || site.write_in(&ctx, &drives, &mut |_| None).unwrap();
        match catch_unwind(AssertUnwindSafe(act)) {
            Ok(written) => break written,
            Err(_) => deaths += 1,
        }
    };
    assert!(written.complete && deaths >= 6, "{deaths}");
    assert_eq!(site.agent().jobs().unwrap().len(), 1);
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    site.arrives();
}

#[test]
fn what_was_done_and_not_noted_is_found_done() {
    let site = Site::new();
    // The second one can be opened and not read.
    let paths = vec![site.source(), PathBuf::from("/proc/self/mem")];
    let group = NewGroup { paths, initial: site.direct(), ..site.group("files") };
    agent::create_group(&site.ctx(), &group).unwrap();

    let server = site.agent();
    agent::begin_direct(&site.ctx(), &files()).unwrap();
    let id = site.seed().record.id;
    let file = site.state().join(format!("seeds/{id}.json"));
    let begun = fs::read(&file).unwrap();
    let first = site.write(&[site.given("D0", LARGE)]).unwrap();
    assert_eq!((first.unread, first.outcome.unwrap().problems.len()), (1, 1));
    let record = site.seed().record;
    // It died before any of it was noted but the repository, and that something could not be read.
    let mut text: serde_json::Value = serde_json::from_slice(&begun).unwrap();
    text["repository"] = serde_json::to_value(record.repository).unwrap();
    text["unread"] = true.into();
    fs::write(&file, serde_json::to_vec(&text).unwrap()).unwrap();
    let again = site.write(&[]).unwrap();
    assert!(again.complete && again.outcome.is_none());
    assert_eq!(again.unread, 1, "it is said even so");
    assert_eq!(again.jobs, first.jobs);
    let now = site.seed().record;
    assert_eq!((now.contents, now.backups, now.jobs.len()), (record.contents, record.backups, 1));
    assert_eq!(server.jobs().unwrap().len(), 1);
    // The list is found again in what the drives' manifests say.
    fs::remove_file(site.state().join(format!("seeds/{id}.state/inventory"))).unwrap();
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    let report = site.backup().unwrap();
    assert!(matches!(report, BackupReport::Stored { confirmed: Some(_), .. }), "{report:?}");
}

#[test]
fn what_is_sealed_while_the_server_is_away_gets_its_job_later() {
    let mut site = Site::straight();
    site.server.take().unwrap().shutdown().unwrap();
    let error = site.write(&[site.given("D0", LARGE)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(site.seed().record.state(), SeedState::Preparing);
    site.start(|_| {});
    let credentials = site.credentials("vault1", "fs01");
    agent::register(&site.ctx(), &credentials, true).unwrap();
    let drive = tree(&site.path("D0"));
    let written = site.write(&[]).unwrap();
    assert!(written.complete && written.outcome.is_none() && written.jobs.len() == 1);
    assert_eq!(tree(&site.path("D0")), drive);
}

#[test]
fn a_drive_that_is_lost_half_way_is_made_up_for_from_the_source() {
    let site = Site::straight();
    for n in 10..16_u64 {
        fs::write(site.source().join(format!("file{n}")), noise(n, 60_000)).unwrap();
    }
    let (passes, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let victim = site.path("D0");
    let events = |event: Event<'_>| match event {
        Event::Direct(seed::Event::ObjectDone { .. })
            if done.fetch_add(1, Ordering::Relaxed) == 2 =>
        {
            fs::remove_dir_all(&victim).unwrap();
        }
        Event::AnotherPass => drop(passes.fetch_add(1, Ordering::Relaxed)),
        _ => {}
    };
    let mut spare = vec![site.given("D1", LARGE)];
    let first = site.given("D0", LARGE);
    let written = site.write_in(&site.hearing(&events), &[first], &mut |_| spare.pop()).unwrap();
    assert!(written.complete && passes.load(Ordering::Relaxed) > 0, "{written:?}");
    let drives: Vec<&str> =
        written.jobs[0].drive_list.iter().map(|drive| drive.drive_id.as_str()).collect();
    assert_eq!(drives, ["D1"]);
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    site.arrives();
}

/// Each drive takes a few packs, and a set takes ten drives.
#[test]
fn what_ten_drives_cannot_hold_goes_on_in_a_second_set_with_a_job_of_its_own() {
    let site = Site::straight();
    for n in 10..40_u64 {
        fs::write(site.source().join(format!("file{n}")), noise(n, 100_000)).unwrap();
    }
    let mut at = 0;
    let mut next = |_: Option<&seed::Error>| {
        at += 1;
        (at < 40).then(|| site.given(&format!("D{at}"), MEDIUM))
    };
    let written = site.write_in(&site.ctx(), &[], &mut next).unwrap();
    let sets: Vec<usize> = written.jobs.iter().map(|job| job.drive_list.len()).collect();
    assert!(written.complete && sets.len() >= 2 && sets[0] == 10, "{written:?}");
    assert_eq!(written.jobs[1].name.as_str(), "seed-2026-2");
    let last = written.jobs.len() - 1;
    for (n, job) in written.jobs.iter().enumerate() {
        let target = agent::ShipTarget::Job(job.name.clone());
        let package = crate::site::package(&format!("TRACK000{n}"));
        agent::ship(&site.ctx(), &target, &crate::site::address(), &package).unwrap();
    }
    for n in (0..=last).rev() {
        assert_eq!(waiting(site.backup().unwrap()).message, WAITING_FOR_IMPORT);
        site.dock(&format!("TRACK000{n}"));
    }
    site.arrives();
}

#[test]
fn passwords_are_kept_before_and_travel_with_the_job_and_the_log_says_what_was_done() {
    let site = Site::straight();
    let folder = agent::begin_direct(&site.ctx(), &files()).unwrap().display().to_string();
    let keys = || agent::drive_keys(&site.ctx(), &folder).unwrap();
    let encrypt = |serial: &str, capacity| {
        let given = site.given(serial, capacity);
        keys().password(&given.drive.serial).unwrap();
        keys().formatted(&given.drive.serial, header(&given.drive.serial)).unwrap();
        Given { encrypted: true, formatted: true, ..given }
    };
    // The second one is asked for half-way, and formatted then.
    let first = encrypt("D0", SMALL);
    let mut next = |_: Option<&seed::Error>| Some(encrypt("D1", LARGE));
    let written = site.write_in(&site.ctx(), &[first], &mut next).unwrap();
    let job = &written.jobs[0];
    assert!(job.drive_list.iter().all(|drive| drive.key_held), "{job:?}");
    let held = site.agent().drive_keys(&job.name).unwrap();
    let kept: Vec<_> = keys().list().unwrap().into_iter().map(|key| key.password).collect();
    assert_eq!(held.into_iter().map(|key| key.bit_locker_key).collect::<Vec<_>>(), kept);
    site.ship("TRACK0001").unwrap();
    let mut log = String::new();
    let id = site.seed().record.id;
    std::io::Read::read_to_string(&mut site.admin().custody(id).unwrap(), &mut log).unwrap();
    for word in ["formatted", "written", "sealed"] {
        let lines = log.lines().filter(|line| line.contains(&format!("\"{word}\"")));
        assert_eq!(lines.count(), 2, "{word} in {log}");
    }
    assert!(log.contains("handed-over"), "{log}");
}

#[test]
fn what_only_drives_had_is_gone_and_the_rest_comes_from_here() {
    let site = Site::written();
    site.ship("TRACK0001").unwrap();
    // An index and every pack: of trees as of data.
    site.dock_without("TRACK0001", |key| matches!(key, ObjectKey::Pack(_) | ObjectKey::Index(_)));
    let mut ctx = site.ctx();
    ctx.wanted = Way::Drive;
    let said = waiting(agent::backup_now(&ctx, &files(), PASSWORD).unwrap());
    let Next::Missing { objects, .. } = said.next else { panic!("{said:?}") };
    assert!(said.next.to_string().contains("--group files --missing"), "{}", said.next);
    let rows = || agent::wanted(&site.ctx(), None).unwrap().remove(0).1;
    let of = |answer: &Answer| rows().iter().filter(|row| row.answer == *answer).count() as u64;
    let (gone, here) = (of(&Answer::Gone), of(&Answer::None));
    assert!(gone > 3 && here >= 2 && gone + here == objects, "{gone} {here} {objects}");

    // What is here can travel on another drive; a data pack is none of it.
    let folder = site.seed().record.staging.display().to_string();
    let spare = [site.drive("E0", LARGE)];
    let what = agent::Preparation {
        staging: &folder,
        drives: &spare,
        encrypted: &[],
        read_back: &PlainReads,
        filling: seed::Filling::Even,
        limit_rate: 0,
        parity: None,
        most: None,
        job: None,
        missing: true,
    };
    let report = agent::prepare(&site.ctx(), &what, Some(PASSWORD)).unwrap();
    assert_eq!((report.gone, report.needed.is_none()), (gone, true));
    assert_eq!(report.drives[0].objects, here);
    site.lose("seed-2026-2");
    let way = Sending { way: Way::Network, ..Sending::default() };
    let sent = agent::send_wanted(&site.ctx(), &way).unwrap();
    assert_eq!((sent.objects, sent.gone.len() as u64), (here, gone));
    assert!(sent.gone.iter().all(|object| object.kind == model::ObjectKind::Pack));
    assert_ne!(site.seed().record.state(), SeedState::Confirmed);
    let cleaned = agent::clean_staging(&site.ctx(), site.seed().record.id, Cleaning::DryRun);
    assert!(matches!(cleaned, Err(Error::Refused(_))), "{cleaned:?}");
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let site = Site::straight();
    let again = NewGroup { initial: site.direct(), ..site.group("files") };
    agent::create_group(&site.ctx(), &again).unwrap();
    let second = NewGroup { initial: site.offline(&site.staging()), ..site.group("second") };
    let error = agent::create_group(&site.ctx(), &second).unwrap_err();
    assert!(matches!(error, Error::DirectAlone { .. }), "{error}");
    // Over the network it may go, once the seed has arrived.
    let net = NewGroup { initial: NewInitial::Network, ..site.group("net") };
    agent::create_group(&site.ctx(), &net).unwrap();
    let said = waiting(agent::backup_now(&site.ctx(), &net.name, PASSWORD).unwrap());
    assert_eq!(said.next, Next::WriteDrives { group: files() });
    let error = agent::begin_direct(&site.ctx(), &net.name).unwrap_err();
    assert!(matches!(error, Error::NotDirect(_)), "{error}");

    // A drive within what is backed up onto it.
    let inside = site.source().join("drive");
    fs::create_dir(&inside).unwrap();
    let mut given = site.given("D0", LARGE);
    given.drive.folder = inside.clone();
    let error = site.write(&[given.clone()]).unwrap_err();
    assert!(matches!(error, Error::DriveInside { .. }), "{error}");
    let error = site.write_in(&site.ctx(), &[], &mut |_| Some(given.clone())).unwrap_err();
    assert!(matches!(error, Error::DriveInside { .. }), "{error}");
    let mounts = site.source().join("mounts");
    let error = agent::check_direct(&site.ctx(), &files(), &mounts, PASSWORD).unwrap_err();
    assert!(matches!(error, Error::DriveInside { .. }), "{error}");
    assert!(tree(&inside).is_empty());
    fs::remove_dir(&inside).unwrap();
    // Somebody else's password opens nothing.
    agent::check_direct(&site.ctx(), &files(), Path::new("/mnt"), PASSWORD).unwrap();
    let error = agent::check_direct(&site.ctx(), &files(), Path::new("/mnt"), b"falsch");
    assert_eq!(error.unwrap_err().kind(), ErrorKind::WrongPassword);

    // Its drives are not written from a folder.
    let folder = agent::begin_direct(&site.ctx(), &files()).unwrap().display().to_string();
    assert!(matches!(
        agent::to_be_written(&site.ctx(), &folder),
        Err(Error::WithoutStaging { .. })
    ));
    let checked = agent::check_preparation(&site.ctx(), &folder, false, Some(PASSWORD));
    assert!(checked.is_err(), "{checked:?}");
}

#[test]
fn a_job_that_came_to_nothing_gets_another_for_the_same_drives() {
    let site = Site::written();
    site.lose("seed-2026");
    let said = waiting(site.backup().unwrap());
    assert!(said.next.to_string().contains("packmule diskprep --group files"), "{}", said.next);
    let written = site.write(&[]).unwrap();
    assert_eq!(written.jobs.last().unwrap().name.as_str(), "seed-2026-2");
    let target = agent::ShipTarget::Job("seed-2026-2".parse().unwrap());
    let package = crate::site::package("TRACK0002");
    agent::ship(&site.ctx(), &target, &crate::site::address(), &package).unwrap();
    site.dock("TRACK0002");
    site.arrives();
}

#[test]
fn a_state_directory_that_moves_takes_its_seed_along() {
    let mut site = Site::written();
    let old = site.state().to_owned();
    let new = site.path("moved");
    fs::rename(&old, &new).unwrap();
    site.move_state(new);
    assert!(site.seed().record.staging.starts_with(site.state()));
    let written = site.write(&[]).unwrap();
    assert!(written.complete);
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    site.arrives();
}

/// Every recovery point of these is in the vault, and restores to what it was made of.
fn all_restore(site: &Site, made: &[(model::Digest, BTreeMap<String, Vec<u8>>)]) {
    let vault = agent::open_vault(&site.ctx(), PASSWORD).unwrap();
    for (snapshot, was) in made {
        let target = tempfile::tempdir().unwrap();
        crate::in_transit::restore(site, &vault, *snapshot, target.path());
        assert!(tree(target.path()) == *was, "{snapshot}");
    }
    let check = vault.check(repo::CheckOptions { read_data: true, threads: 1 }, &|_| {}).unwrap();
    assert!(!check.damaged(), "{:?}", check.findings);
}

/// Backs up while the drives travel; what came of it, and what it must restore to.
fn meanwhile(site: &Site, n: u64) -> (model::Digest, BTreeMap<String, Vec<u8>>) {
    fs::write(site.source().join(format!("new{n}")), noise(500 + n, 70_000)).unwrap();
    fs::write(site.source().join("file0"), noise(600 + n, 60_000)).unwrap();
    let said = waiting(site.backup().unwrap());
    assert!(said.paused.is_none() && said.on_drives, "{said:?}");
    let outcome = said.increment.unwrap();
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    assert!(outcome.summary.files_unmodified >= 5, "{:?}", outcome.summary);
    (outcome.snapshot, tree(&site.source()))
}

fn travelling_bytes(site: &Site) -> usize {
    let folder = site.path("data/objects/vaults/vault1/fs01/increments");
    tree(&folder).values().map(Vec::len).sum()
}

#[test]
fn protection_goes_on_while_the_drives_are_the_only_copy() {
    let site = Site::written();
    let mut made = vec![meanwhile(&site, 1)];
    assert!(travelling_bytes(&site) < 200_000, "only what is new: {}", travelling_bytes(&site));
    site.ship("TRACK0001").unwrap();
    made.push(meanwhile(&site, 2));
    assert!(tree(&site.vault_folder()).is_empty(), "nothing is visible before the seed is");
    // Said beforehand, and refused: what it was added to is nowhere but on the drives.
    let points = agent::recovery_points(&site.ctx(), Some(&files()), PASSWORD).unwrap();
    assert_eq!((points.place, points.points.len()), (Place::Drives, 3));
    assert!(points.unseen.is_none() && points.damaged.is_empty());
    // A state directory that has lost the list has it from the drives' manifests.
    fs::remove_file(&site.seed().record.contents.unwrap().inventory_file).unwrap();
    made.push(meanwhile(&site, 3));
    site.dock("TRACK0001");
    site.arrives();
    assert_eq!(travelling_bytes(&site), 0);
    all_restore(&site, &made);
    let keep = policy::Keep { last: 2, ..policy::Keep::default() };
    let policy = policy::Policy { keep, ..policy::Policy::default() };
    agent::change_group(&site.ctx(), &files(), None, &policy).unwrap();
    let zone = jiff::tz::TimeZone::UTC;
    let how = agent::Keeping { dry_run: false, prune: true, pin: None, zone: &zone };
    let kept = agent::keep(&site.ctx(), &files(), PASSWORD, how).unwrap();
    assert_eq!((kept.gone(), kept.stay()), (3, 2));
    all_restore(&site, &made[2..]);
}

#[test]
fn what_relied_on_a_lost_drive_is_complete_once_the_source_has_given_it_again() {
    let site = Site::written();
    let made = [meanwhile(&site, 1), meanwhile(&site, 2)];
    site.ship("TRACK0001").unwrap();
    site.dock_without("TRACK0001", |key| matches!(key, ObjectKey::Pack(_)));
    // file0 of the seed is in no file any more: bring it back, as somebody who was asked for it does.
    let now = fs::read(site.source().join("file0")).unwrap();
    fs::write(site.source().join("file0"), noise(0, 60_000)).unwrap();
    let report = site.backup().unwrap();
    let BackupReport::Stored { confirmed: Some(_), unpublished: None, .. } = report else {
        panic!("{report:?}")
    };
    assert_eq!(site.seed().record.state(), SeedState::Confirmed);
    all_restore(&site, &made);
    fs::write(site.source().join("file0"), now).unwrap();
    assert!(matches!(site.backup().unwrap(), BackupReport::Stored { .. }));
}

#[test]
fn what_relied_on_files_that_nobody_has_any_more_is_withheld_and_protection_goes_on() {
    let site = Site::written();
    meanwhile(&site, 1);
    site.ship("TRACK0001").unwrap();
    site.dock_without("TRACK0001", |key| matches!(key, ObjectKey::Pack(_)));
    let said = waiting(site.backup().unwrap());
    assert!(said.increment.is_some(), "{said:?}");
    assert!(matches!(said.next, Next::Choose { .. }), "{said:?}");
    let refill = agent::Refilling { repaired: true, ..agent::Refilling::default() };
    agent::refill(&site.ctx(), &refill, PASSWORD).unwrap();
    let report = site.backup().unwrap();
    let BackupReport::Stored { outcome, unpublished: Some(why), .. } = report else {
        panic!("{report:?}")
    };
    assert!(matches!(*why, Error::IncrementsDamaged { .. }), "{why}");
    all_restore(&site, &[(outcome.snapshot, tree(&site.source()))]);
}

/// The copies on the drives were all there was: the source is read again.
#[test]
fn what_only_drives_had_is_made_anew_from_the_source_by_the_next_backup() {
    let site = Site::written();
    let before = snapshots(&site);
    let inventory = site.seed().record.contents.unwrap().whole;
    site.ship("TRACK0001").unwrap();
    site.dock_without("TRACK0001", |key| matches!(key, ObjectKey::Pack(_) | ObjectKey::Index(_)));
    let report = site.backup().unwrap();
    assert!(confirmed(&report), "{report:?}");
    let record = site.seed().record;
    assert_eq!((record.revision(), record.revisions[0].lost), (1, 0));
    assert_ne!(record.contents.unwrap().whole.root, inventory.root);
    assert_eq!((snapshots(&site), differences(&site, before[0])), (before.clone(), none()));
    let remove = Cleaning::Remove { password: PASSWORD };
    agent::clean_staging(&site.ctx(), record.id, remove).unwrap();
    assert!(tree(&site.local()).is_empty(), "{:?}", tree(&site.local()).keys());
}

#[test]
fn a_parcel_of_a_direct_seed_that_never_came_is_made_anew_onto_another_drive() {
    let site = Site::written();
    let before = snapshots(&site);
    site.ship("TRACK0001").unwrap();
    site.lose("seed-2026");
    fs::remove_dir_all(site.path("D0")).unwrap();
    let said = waiting(site.backup().unwrap());
    assert!(said.next.to_string().contains("packmule seed refill"), "{}", said.next);
    let local = tree(&site.local());
    let what = agent::Refilling { packs: Some(site.path("packs")), ..agent::Refilling::default() };
    let done = refill(&site, &what).unwrap();
    assert_eq!((done.revision, done.lost.len()), (Some(1), 0));
    assert!(!packs(&site.path("packs")).is_empty());
    let data = |tree: &std::collections::BTreeMap<String, Vec<u8>>| {
        tree.keys().filter(|it| !it.starts_with("locks")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(data(&tree(&site.local())), data(&local), "the state directory's disk is spared");
    // The drives of before are not what the seed consists of any more.
    let error = site.write(&[site.given("D1", LARGE)]).unwrap_err();
    assert!(matches!(error, Error::WasRevised { .. }), "{error}");
    let folder = site.seed().record.staging.display().to_string();
    let spare = [site.drive("E0", LARGE)];
    let what = agent::Preparation {
        staging: &folder,
        drives: &spare,
        encrypted: &[],
        read_back: &PlainReads,
        filling: seed::Filling::Even,
        limit_rate: 0,
        parity: None,
        most: None,
        job: None,
        missing: true,
    };
    let report = agent::prepare(&site.ctx(), &what, Some(PASSWORD)).unwrap();
    assert_eq!((report.gone, report.needed.is_none()), (0, true));
    let target = agent::ShipTarget::Job(report.job.unwrap().name);
    agent::ship(&site.ctx(), &target, &address(), &package("TRACK0002")).unwrap();
    site.dock("TRACK0002");
    let mut ctx = site.ctx();
    ctx.wanted = Way::Drive;
    assert!(confirmed(&agent::backup_now(&ctx, &files(), PASSWORD).unwrap()));
    assert_eq!((snapshots(&site), differences(&site, before[0])), (before.clone(), none()));
    let remove = Cleaning::Remove { password: PASSWORD };
    agent::clean_staging(&site.ctx(), site.seed().record.id, remove).unwrap();
    assert!(tree(&site.path("packs")).is_empty() && tree(&site.local()).is_empty());
}

#[test]
fn a_file_that_a_direct_seed_has_lost_for_good_is_left_out_by_choice_alone() {
    let site = Site::written();
    site.ship("TRACK0001").unwrap();
    site.dock_without("TRACK0001", |key| matches!(key, ObjectKey::Pack(_)));
    fs::remove_file(site.source().join("file2")).unwrap();
    let said = waiting(site.backup().unwrap());
    assert!(matches!(said.next, Next::Choose { files: 1 }), "{said:?}");
    assert_eq!(site.seed().record.revision(), 0);
    let what = agent::Refilling { repaired: true, ..agent::Refilling::default() };
    let done = refill(&site, &what).unwrap();
    assert_eq!((done.lost.len(), done.repaired.len(), done.revision), (1, 1, Some(1)));
    assert!(confirmed(&site.backup().unwrap()));
    let (_, new) = done.repaired[0];
    assert_eq!((snapshots(&site), differences(&site, new)), (vec![new], none()));
}

/// In the vault over the network, with new data since that is to travel straight onto drives.
fn grown() -> Site {
    let site = Site::new();
    let group = NewGroup { initial: NewInitial::Network, ..site.group("files") };
    agent::create_group(&site.ctx(), &group).unwrap();
    site.backup().unwrap();
    for n in 20..26_u64 {
        fs::write(site.source().join(format!("new{n}")), noise(n, 60_000)).unwrap();
    }
    agent::catch_up(&site.ctx(), &files(), &site.direct()).unwrap();
    site
}

#[test]
fn the_next_drives_of_a_direct_seed_carry_what_the_vault_lacks_and_nothing_else() {
    let site = grown();
    let there = packs(&site.vault_folder());
    let points = || agent::recovery_points(&site.ctx(), Some(&files()), PASSWORD).unwrap();
    assert_eq!((points().place, points().points.len()), (Place::Vault, 1));
    let write = Next::WriteDrives { group: files() };
    assert_eq!(waiting(site.backup().unwrap()).next, write);
    // In two calls, and the first drive has left by the second.
    let first = site.write(&[site.given("D0", SMALL)]).unwrap();
    assert!(!first.complete && site.path("D0/packmule/manifest").exists());
    assert_eq!((points().place, points().points.len()), (Place::Vault, 1));
    let written = site.write(&[site.given("D1", LARGE)]).unwrap();
    assert!(written.complete && written.jobs.len() == 1, "{written:?}");
    let outcome = written.outcome.unwrap();
    assert!(outcome.parent.is_some(), "what the vault has counts as known");
    assert_eq!(packs(&site.vault_folder()), there, "nothing went there");
    let on_drives: std::collections::BTreeSet<ObjectKey> = ["D0", "D1"]
        .into_iter()
        .flat_map(|drive| tree(&site.path(drive)).into_keys())
        .filter_map(|path| {
            ObjectKey::from_path(path.split_once("repositories/")?.1.split_once('/')?.1)
        })
        .collect();
    let data: std::collections::BTreeSet<_> =
        on_drives.iter().filter(|key| matches!(key, ObjectKey::Pack(_))).copied().collect();
    assert!(data.len() > 4 && data.is_disjoint(&there));
    assert!(on_drives.contains(&ObjectKey::Config));
    site.ship("TRACK0001").unwrap();
    assert_eq!((points().place, points().points.len()), (Place::Vault, 1));
    site.dock("TRACK0001");
    site.arrives();
    assert!(packs(&site.vault_folder()).is_superset(&data));
    let id = site.seed().record.id;
    let remove = Cleaning::Remove { password: PASSWORD };
    agent::clean_staging(&site.ctx(), id, remove).unwrap();
    assert!(tree(&site.local()).is_empty(), "{:?}", tree(&site.local()).keys());
}

#[test]
fn a_drive_of_a_direct_catch_up_that_is_lost_is_made_up_for_and_so_is_a_vault_that_is_away() {
    let mut site = grown();
    let port = site.server.as_ref().unwrap().address().port();
    site.server.take().unwrap().shutdown().unwrap();
    // What it has cannot be known then: nothing is written that may be there already.
    let error = site.write(&[site.given("D0", LARGE)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(!site.path("D0/packmule/manifest").exists());
    site.start(|config| config.listen.set_port(port));
    let (passes, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let victim = site.path("D0");
    let events = |event: Event<'_>| match event {
        Event::Direct(seed::Event::ObjectDone { .. })
            if done.fetch_add(1, Ordering::Relaxed) == 3 =>
        {
            fs::remove_dir_all(&victim).unwrap();
        }
        Event::AnotherPass => drop(passes.fetch_add(1, Ordering::Relaxed)),
        _ => {}
    };
    let mut spare = vec![site.given("D1", LARGE)];
    let first = site.given("D0", LARGE);
    let written = site.write_in(&site.hearing(&events), &[first], &mut |_| spare.pop()).unwrap();
    assert!(written.complete && passes.load(Ordering::Relaxed) > 0, "{written:?}");
    site.ship("TRACK0001").unwrap();
    // And lost again on its way: the source is read for what the vault has not.
    site.dock_without("TRACK0001", |key| matches!(key, ObjectKey::Pack(_)));
    site.arrives();
}

/// With a second group beside the first: its source, and the record of both.
fn two_groups() -> Site {
    let site = Site::straight();
    fs::create_dir(site.path("second")).unwrap();
    for n in 40..44_u64 {
        fs::write(site.path("second").join(format!("file{n}")), noise(n, 60_000)).unwrap();
    }
    let second =
        NewGroup { paths: vec![site.path("second")], initial: site.direct(), ..site.group("more") };
    agent::create_group(&site.ctx(), &second).unwrap();
    site
}

#[test]
fn groups_that_travel_together_are_on_the_drives_together_or_not_at_all() {
    let site = two_groups();
    // Whatever dies on the way: the snapshots of neither, or of both.
    let first = site.write(&[site.given("D0", SMALL)]).unwrap();
    assert!(!first.complete && first.others.is_empty());
    assert!(snapshots_in(&site.local()) == 0 && site.seed().record.backups.is_empty());
    let deaths = (0..).find_map(|nth: usize| {
        let seen = AtomicUsize::new(0);
        let events = |event: Event<'_>| {
            if matches!(event, Event::Direct(_)) && seen.fetch_add(1, Ordering::Relaxed) == nth * 9
            {
                panic!("dies");
            }
        };
        let ctx = site.hearing(&events);
        let drives = [site.given("D1", LARGE)];
        let call = || site.write_in(&ctx, &drives, &mut |_| None);
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(written) => Some((nth, written.unwrap())),
            Err(_) => {
                let record = site.seed().record;
                assert_eq!(record.contents.is_some(), record.backups.len() == 2, "{record:?}");
                None
            }
        }
    });
    let (deaths, written) = deaths.unwrap();
    assert!(written.complete && deaths > 1, "{deaths}");
    let record = site.seed().record;
    assert_eq!((record.backups.len(), snapshots_in(&site.local())), (2, 2));
    assert_eq!(record.contents.unwrap().snapshots.len(), 2);
    // From now on another group goes over the network.
    let third = NewGroup { initial: site.direct(), ..site.group("third") };
    let error = agent::create_group(&site.ctx(), &third).unwrap_err();
    assert!(matches!(error, Error::SeedUnderWay { .. }), "{error}");
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    site.arrives_as(3);
    let points = |name: &str| {
        let name = name.parse().unwrap();
        agent::recovery_points(&site.ctx(), Some(&name), PASSWORD).unwrap().points.len()
    };
    assert_eq!((points("files"), points("more")), (2, 1));
}

fn snapshots_in(repository: &Path) -> usize {
    tree(&repository.join("snapshots")).len()
}
