//! A backup straight onto drives, by the commands alone: until the vault's end has it, with drives that come one
//! after the other, are pulled out, or are in use when the process is killed.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop on a surprise"
)]

mod support;

use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use support::{
    Place, Said, names_are_right, restic, restic_is_content, restics, s, same, signal, stop, until,
    walk,
};

/// 40 MB of noise in files of 2 MB: packs of 4 MiB, wherever the chunks happen to be cut.
fn source(place: &Place) -> PathBuf {
    let source = place.source("source", 2 << 20);
    let mut rng = support::trees::Rng::new(7);
    for n in 0..20 {
        let folder = source.join(format!("folder{}", n % 3));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("file{n}")), rng.bytes(2 << 20)).unwrap();
    }
    source
}

fn words<'w>(source: &'w Path, drives: &'w [PathBuf], more: &[&'w str]) -> Vec<&'w str> {
    let mut words = vec!["seed", "backup", s(source), "--state", "state", "--json"];
    words.extend(["--pack-size", "4M", "--window", "8M", "--drive"]);
    words.extend(drives.iter().map(|drive| s(drive)));
    words.extend(more);
    words
}

fn is_sealed(drive: &Path) -> bool {
    drive.join("packmule/manifest").exists()
}

/// The drives are right, what they carry is a repository that restic takes, and it is the source.
fn arrives(place: &Place, source: &Path, drives: &[PathBuf], signer: &str) {
    let sealed: Vec<&PathBuf> = drives.iter().filter(|drive| is_sealed(drive)).collect();
    let mut verify = vec!["seed", "verify", "--signer", signer, "--drive"];
    verify.extend(sealed.iter().map(|drive| s(drive)));
    place.run(&verify).exits(0);
    let mut import = vec!["seed", "import", "--into", "into", "--signer", signer, "--drive"];
    import.extend(sealed.iter().map(|drive| s(drive)));
    place.run(&import).exits(0);
    let into = place.path("into");
    names_are_right(&into);
    restic_is_content("direct", &into);
    for (n, program) in restics("direct").iter().enumerate() {
        let target = place.folder(&format!("restored{n}"));
        restic(program, &into, &["restore", "latest", "--target", s(&target)]).exits(0);
        same(&target.join(source.strip_prefix("/").unwrap()), source);
    }
    // From here on it goes on over the network, or wherever: nothing of it is sent twice.
    let said = place.run(&["repo", "backup", "-r", "into", "--json", s(source)]).exits(0);
    assert_eq!(said.object("summary")["data_blobs"], 0, "{}", said.stdout);
}

fn signer(said: &Said) -> String {
    said.object("summary")["signer"].as_str().unwrap().to_owned()
}

fn bytes_below(folder: &Path) -> u64 {
    let files = walk(folder).into_iter().filter(|path| path.is_file());
    files.map(|path| path.metadata().unwrap().len()).sum()
}

#[test]
fn drives_come_one_after_the_other_and_the_repository_is_whole() {
    let place = Place::new();
    let source = source(&place);
    let mut drives: Vec<PathBuf> = Vec::new();
    let said = loop {
        let drive = place.folder(&format!("d{}", drives.len()));
        drives.push(drive.clone());
        // Only this one is at hand: full ones have left.
        let said = place.run(&words(&source, std::slice::from_ref(&drive), &["--capacity", "24M"]));
        assert!(said.code == 0 || said.code == 13, "{}\n{}", said.stdout, said.stderr);
        assert!(is_sealed(&drive));
        if said.code == 0 {
            break said;
        }
        assert!(drives.len() < 5, "{}", said.stdout);
    };
    assert!(drives.len() >= 2, "one drive cannot hold it");
    let kept = bytes_below(&place.path("state/repository"));
    assert!(kept < 2 << 20, "there is no staging: {kept}");
    let on_drives: u64 = drives.iter().map(|drive| bytes_below(drive)).sum();
    assert!(on_drives < 48 << 20, "nothing is written twice: {on_drives}");
    arrives(&place, &source, &drives, &signer(&said));
    let again = place.run(&words(&source, &drives[..1], &[])).exits(0);
    assert_eq!(again.object("summary")["complete"], true);
    assert!(again.objects().iter().all(|it| it["snapshot_id"].is_null()), "nothing is backed up");
}

#[test]
fn a_drive_pulled_half_way_is_replaced_by_the_next_one() {
    let place = Place::new();
    let source = source(&place);
    let drives = [place.folder("d0"), place.folder("d1")];
    // The first one is larger, and so the first in use.
    let child = place.start(&words(&source, &drives, &["--capacity", "200M,190M"]));
    let data = |drive: &Path| walk(&drive.join("repositories")).len();
    until("a few packs count", || (data(&drives[0]) > 2).then_some(()));
    // It must not be done before the drive is out.
    stop(&child);
    assert!(!is_sealed(&drives[0]));
    fs::remove_dir_all(&drives[0]).unwrap();
    signal(&child, Signal::CONT);
    let said = Said::of(child.wait_with_output().unwrap()).exits(0);
    assert!(is_sealed(&drives[1]) && !is_sealed(&drives[0]), "{}", said.stdout);
    let told = format!("{}{}", said.stdout, said.stderr);
    assert!(told.contains("backed up again"), "{told}");
    arrives(&place, &source, &drives[1..], &signer(&said));
}

#[test]
fn a_killed_backup_goes_on_with_the_drive_it_was_at() {
    let place = Place::new();
    let source = source(&place);
    let drive = place.folder("d0");
    let drives = [drive.clone()];
    let mut child = place.start(&words(&source, &drives, &[]));
    let data = || walk(&drive.join("repositories"));
    until("a few packs count", || (data().len() > 2).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    let before = data();
    assert!(!is_sealed(&drive));
    let said = place.run(&words(&source, &drives, &[])).exits(0);
    assert!(before.iter().all(|path| path.exists()), "what was there is gone on with");
    assert!(bytes_below(&drive) < 60 << 20);
    arrives(&place, &source, &drives, &signer(&said));
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is_written() {
    let place = Place::new();
    let source = source(&place);
    let drives = [place.folder("d0"), place.folder("d1")];
    let said = place.run(&words(&source, &drives, &["--parity", "2"])).exits(1);
    said.tells(&["2 parity drives and at least one for data"]);
    fs::write(drives[1].join("thesis"), "mine").unwrap();
    place.run(&words(&source, &drives, &[])).exits(13).tells(&["not empty"]);
    assert_eq!((walk(&drives[0]).len(), walk(&drives[1]).len()), (0, 1));
    let dry = place.run(&words(&source, &drives[..1], &["--dry-run"])).exits(0);
    assert_eq!(dry.object("summary")["files"], 23);
    assert_eq!(walk(&drives[0]).len(), 0);
}

#[test]
fn with_parity_any_drive_may_be_lost_the_last_one_with_the_list_too() {
    let place = Place::new();
    let source = source(&place);
    let drives: Vec<PathBuf> = (0..4).map(|n| place.folder(&format!("d{n}"))).collect();
    let parity = ["--parity", "1", "--capacity", "26M"];
    // One for data alone is not enough, and nothing else is asked for: all have to be there from the beginning.
    let said = place.run(&words(&source, &drives[..1], &parity)).exits(1);
    said.tells(&["1 parity drives and at least one for data"]);
    let said = place.run(&words(&source, &drives[..2], &parity)).exits(13);
    assert_eq!(said.object("summary")["complete"], false);
    let sealed: Vec<bool> = drives.iter().map(|drive| is_sealed(drive)).collect();
    assert_eq!(sealed, [true, false, false, false], "the other one is kept for parity");
    // What was sealed is needed for parity: without it nothing is begun.
    let said = place.run(&words(&source, &drives[1..], &parity)).exits(1);
    said.tells(&["not attached"]);
    let said = place.run(&words(&source, &drives, &parity)).exits(0);
    assert_eq!(said.object("parity")["parity_missing"], 0);
    let signer = signer(&said);
    let sealed: Vec<&PathBuf> = drives.iter().filter(|drive| is_sealed(drive)).collect();
    assert!(sealed.len() >= 3, "two for data and one for parity: {}", said.stdout);
    // The same call once more finds everything done.
    place.run(&words(&source, &drives, &parity)).exits(0);
    for (n, lost) in sealed.iter().enumerate() {
        let into = format!("into{n}");
        let mut import = vec!["seed", "import", "--into", &into, "--signer", &signer, "--drive"];
        import.extend(sealed.iter().filter(|drive| *drive != lost).map(|drive| s(drive)));
        place.run(&import).exits(0);
        let into = place.path(&into);
        names_are_right(&into);
        restic_is_content("direct", &into);
        let target = format!("restored{n}");
        place.run(&["repo", "restore", "-r", s(&into), "latest", "--target", &target]).exits(0);
        same(&place.path(&target).join(source.strip_prefix("/").unwrap()), &source);
    }
}

#[test]
fn with_parity_a_drive_pulled_half_way_does_not_keep_the_others_from_being_covered() {
    let place = Place::new();
    let source = source(&place);
    let drives: Vec<PathBuf> = (0..4).map(|n| place.folder(&format!("d{n}"))).collect();
    // The largest is kept for parity, and the next one is the first in use.
    let parity = ["--parity", "1", "--capacity", "40M,30M,30M,60M"];
    let child = place.start(&words(&source, &drives, &parity));
    let data = |drive: &Path| walk(&drive.join("repositories")).len();
    until("a few packs count", || (data(&drives[0]) > 2).then_some(()));
    stop(&child);
    assert!(!is_sealed(&drives[0]));
    fs::remove_dir_all(&drives[0]).unwrap();
    signal(&child, Signal::CONT);
    let said = Said::of(child.wait_with_output().unwrap()).exits(0);
    assert_eq!(said.object("parity")["parity_missing"], 0);
    let signer = signer(&said);
    said.shows(&["is not attached any more"]);
    let sealed: Vec<&PathBuf> = drives.iter().filter(|drive| is_sealed(drive)).collect();
    let (lost, rest) = sealed.split_first().unwrap();
    assert!(*lost == &drives[1] && rest.last() == Some(&&drives[3]), "{sealed:?}");
    let rest: Vec<PathBuf> = rest.iter().map(|drive| (*drive).clone()).collect();
    arrives(&place, &source, &rest, &signer);
}

/// Two more files.
fn grow(source: &Path, seed: u64) {
    let mut rng = support::trees::Rng::new(seed);
    for n in 0..2 {
        fs::write(source.join(format!("more{seed}-{n}")), rng.bytes(3 << 20)).unwrap();
    }
}

fn snapshots(into: &Path) -> usize {
    fs::read_dir(into.join("snapshots")).map_or(0, std::iter::Iterator::count)
}

fn names_below(folder: &Path) -> Vec<(PathBuf, u64)> {
    let files = walk(folder).into_iter().filter(|path| path.is_file());
    files.map(|path| (path.clone(), path.metadata().unwrap().len())).collect()
}

#[test]
fn the_next_drives_carry_only_what_those_before_lack() {
    let place = Place::new();
    let source = source(&place);
    let drives: Vec<PathBuf> = (0..5).map(|n| place.folder(&format!("d{n}"))).collect();
    let said = place.run(&words(&source, &drives[..1], &["--catch-up"])).exits(1);
    said.tells(&["leave --catch-up out"]);
    assert!(walk(&drives[0]).is_empty() && !place.path("state").exists());
    let first = place.run(&words(&source, &drives[..1], &[])).exits(0);
    assert_eq!(first.object("summary")["over"], "nothing");
    grow(&source, 21);
    // Without being told so, nothing more is written.
    let said = place.run(&words(&source, &drives[1..2], &[])).exits(0);
    assert!(said.object("summary")["complete"] == true && walk(&drives[1]).is_empty());
    let dry = place.run(&words(&source, &drives[1..2], &["--catch-up", "--dry-run"])).exits(0);
    assert!(walk(&drives[1]).is_empty() && !place.path("state/next").exists(), "{}", dry.stdout);
    // A drive of before is none of these.
    place.run(&words(&source, &drives[..1], &["--catch-up"])).exits(13);
    // Two drives, one after the other.
    let more = ["--catch-up", "--capacity", "10M"];
    let said = place.run(&words(&source, &drives[1..2], &more)).exits(13);
    assert_eq!(said.object("summary")["over"], "earlier");
    // What is under way is gone on with, whether that is said or not.
    let second = place.run(&words(&source, &drives[2..3], &more[1..])).exits(0);
    assert_ne!(second.object("summary")["seed"], first.object("summary")["seed"]);
    let carried: u64 = drives[1..3].iter().map(|drive| bytes_below(drive)).sum();
    assert!((6 << 20..9 << 20).contains(&carried), "{carried}");
    grow(&source, 22);
    let third = place.run(&words(&source, &drives[3..4], &["--catch-up"])).exits(0);
    assert!(bytes_below(&drives[3]) < 9 << 20);
    let signer = signer(&third);
    // The last ones arrive first: nothing is published before all is there that they need.
    let into = place.path("into");
    let import = |drives: &[PathBuf]| {
        let mut import = vec!["seed", "import", "--into", "into", "--signer", &signer, "--drive"];
        import.extend(drives.iter().map(|drive| s(drive)));
        place.run(&import)
    };
    import(&drives[3..4]).exits(13);
    import(&drives[1..3]).exits(13);
    assert_eq!(snapshots(&into), 0);
    import(&drives[..1]).exits(0);
    assert_eq!(snapshots(&into), 3, "one after the other, by one call");
    arrives(&place, &source, &drives[..4], &signer);
}

#[test]
fn sets_of_fewer_drives_are_as_large_as_was_said_and_go_on_so() {
    let place = Place::new();
    let source = source(&place);
    let drives: Vec<PathBuf> = (0..4).map(|n| place.folder(&format!("d{n}"))).collect();
    let more = ["--capacity", "26M", "--set-drives", "1"];
    place.run(&words(&source, &drives[..1], &more)).exits(13);
    // It need not be said again.
    let said = place.run(&words(&source, &drives[1..], &more[..2])).exits(0);
    let mut numbers: Vec<(u64, u64)> = said
        .objects()
        .iter()
        .filter(|it| it["message_type"] == "drive" && it["state"] == "sealed")
        .map(|it| (it["set"].as_u64().unwrap(), it["drive"].as_u64().unwrap()))
        .collect();
    numbers.sort_unstable();
    assert!(numbers.len() > 1 && numbers.iter().all(|(_, drive)| *drive == 0), "{numbers:?}");
    let sets: Vec<u64> = numbers.iter().map(|(set, _)| *set).collect();
    assert_eq!(sets, (0..sets.len() as u64).collect::<Vec<_>>());
    arrives(&place, &source, &drives, &signer(&said));
    // With parity there is one set, and it has no more drives than that.
    let parity = ["--parity", "1", "--set-drives", "1", "--state", "other"];
    let fresh = [place.folder("e0"), place.folder("e1")];
    let mut one = words(&source, &fresh, &parity[..4]);
    one[4] = "other";
    place.run(&one).exits(1).tells(&["leave none for data"]);
    one.truncate(one.len() - 1);
    one.push("3");
    place.run(&one).exits(0);
}

/// The other end, with an older state of the repository.
fn there(place: &Place, source: &Path) -> PathBuf {
    let there = place.repository("there");
    place.run(&["repo", "backup", "-r", "there", s(source)]).exits(0);
    there
}

#[test]
fn what_a_place_lacks_goes_straight_onto_drives_and_nothing_else() {
    let place = Place::new();
    let source = source(&place);
    let there = there(&place, &source);
    grow(&source, 31);
    let drives: Vec<PathBuf> = (0..4).map(|n| place.folder(&format!("d{n}"))).collect();
    place.folder("nothing");
    let lacking = ["--lacking-in", "nothing"];
    place.run(&words(&source, &drives[..1], &lacking)).exits(10).tells(&["no repository yet"]);
    let before = names_below(&there);
    let lacking = ["--lacking-in", "there", "--capacity", "10M"];
    place.run(&words(&source, &drives[..1], &lacking)).exits(13);
    // Whoever goes on without it would write all of it.
    let said = place.run(&words(&source, &drives[1..2], &lacking[2..])).exits(1);
    said.tells(&["name that place with --lacking-in"]);
    let said = place.run(&words(&source, &drives[1..2], &lacking)).exits(0);
    assert_eq!(said.object("summary")["over"], "place");
    let carried: u64 = drives[..2].iter().map(|drive| bytes_below(drive)).sum();
    assert!((6 << 20..9 << 20).contains(&carried), "{carried}");
    assert_eq!(names_below(&there), before, "nothing is written there, and no lock is left");
    // Nothing of it is published where something is missing that it relies on.
    let pack = walk(&there.join("data")).into_iter().find(|path| path.is_file()).unwrap();
    let kept = place.path("kept");
    fs::rename(&pack, &kept).unwrap();
    let signer = signer(&said);
    let mut import = vec!["seed", "import", "--into", "there", "--signer", &signer, "--drive"];
    import.extend(drives[..2].iter().map(|drive| s(drive)));
    let wanting = place.run(&import).exits(13);
    assert!(wanting.stdout.contains(pack.file_name().unwrap().to_str().unwrap()));
    assert_eq!(snapshots(&there), 1);
    fs::rename(&kept, &pack).unwrap();
    place.run(&import).exits(0);
    assert_eq!(snapshots(&there), 2);
    is_whole(&place, &there, &source);
    // The next ones: what the place lacks by then, since the drives before have arrived.
    grow(&source, 32);
    let next = ["--catch-up"];
    place.run(&words(&source, &drives[2..3], &next)).exits(1).tells(&["--lacking-in"]);
    place.repository("strange");
    let next = ["--catch-up", "--lacking-in", "strange"];
    place.run(&words(&source, &drives[2..3], &next)).exits(1).tells(&["another repository"]);
    assert!(walk(&drives[2]).is_empty());
    let next = ["--catch-up", "--lacking-in", "there"];
    place.run(&words(&source, &drives[2..3], &next)).exits(0);
    assert!(bytes_below(&drives[2]) < 9 << 20);
    place
        .run(&["seed", "import", "--into", "there", "--signer", &signer, "--drive", "d2"])
        .exits(0);
    is_whole(&place, &there, &source);
}

/// Stock restic finds nothing wrong, and its latest snapshot is the source.
fn is_whole(place: &Place, into: &Path, source: &Path) {
    names_are_right(into);
    restic_is_content("direct", into);
    for (n, program) in restics("direct").iter().enumerate() {
        let target = place.folder(&format!("restored{n}"));
        restic(program, into, &["restore", "latest", "--target", s(&target)]).exits(0);
        same(&target.join(source.strip_prefix("/").unwrap()), source);
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn what_a_place_lacks_survives_a_kill_and_a_lost_drive() {
    let place = Place::new();
    let source = source(&place);
    let there = there(&place, &source);
    for seed in 41..46 {
        grow(&source, seed);
    }
    let drives: Vec<PathBuf> = (0..3).map(|n| place.folder(&format!("d{n}"))).collect();
    let lacking = ["--lacking-in", "there", "--parity", "1", "--capacity", "26M"];
    let mut child = place.start(&words(&source, &drives, &lacking));
    let data = || drives.iter().map(|it| walk(&it.join("repositories")).len()).sum::<usize>();
    until("a few packs count", || (data() > 2).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    let before = data();
    // Its lock is not believed for ever: the process is dead.
    let said = place.run(&words(&source, &drives, &lacking)).exits(0);
    assert_eq!(said.object("parity")["parity_missing"], 0);
    assert!(data() >= before && said.object("summary")["complete"] == true);
    let signer = signer(&said);
    let sealed: Vec<&PathBuf> = drives.iter().filter(|drive| is_sealed(drive)).collect();
    let lost = sealed.iter().find(|drive| walk(&drive.join("parity")).is_empty()).unwrap();
    fs::remove_dir_all(lost).unwrap();
    let mut import = vec!["seed", "import", "--into", "there", "--signer", &signer, "--drive"];
    import.extend(sealed.iter().filter(|drive| *drive != lost).map(|drive| s(drive)));
    place.run(&import).exits(0);
    is_whole(&place, &there, &source);
}
