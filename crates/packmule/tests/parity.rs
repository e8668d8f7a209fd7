//! Drive sets with parity, by the commands alone: lost and damaged drives, and what is said of them.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop on a surprise"
)]

mod support;

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use support::{Place, Said, names_are_right, restic_is_content, s, walk};

/// For 36 MB in three packs or more: two drives of data, wherever the chunks happen to be cut. Two
/// of three equal packs must fit on one drive.
const CAPACITY: &str = "30M";

struct Set {
    place: Place,
    repository: PathBuf,
    data: Vec<PathBuf>,
    parity: Vec<PathBuf>,
}

fn drive(place: &Place, name: &str) -> PathBuf {
    place.folder(name);
    place.path(name)
}

fn prepare(place: &Place, repository: &Path, drives: &[PathBuf], more: &[&str]) -> Said {
    let mut words = vec!["seed", "prepare", "-r", s(repository), "--capacity", CAPACITY];
    words.extend(["--state", "state", "--json", "--drive"]);
    words.extend(drives.iter().map(|drive| s(drive)));
    words.extend(more);
    place.run(&words)
}

/// Four drives, of which one is parity.
fn set() -> Set {
    let place = Place::new();
    let repository = place.repository("repository");
    let source = place.source("source", 36 << 20);
    place.run(&["repo", "backup", "-r", s(&repository), s(&source)]).exits(0);
    let drives: Vec<PathBuf> = ["d0", "d1", "d2"].map(|name| drive(&place, name)).into();
    let dry = prepare(&place, &repository, &drives, &["--parity", "1", "--dry-run"]).exits(0);
    let planned = |said: &Said| said.objects().iter().filter(|it| it["parity"] == true).count();
    assert_eq!(planned(&dry), 1);
    let said = prepare(&place, &repository, &drives, &["--parity", "1"]).exits(0);
    let mut set = Set { place, repository, data: Vec::new(), parity: Vec::new() };
    for sealed in said.objects().iter().filter(|it| it["message_type"] == "drive") {
        let at = sealed["drive"].as_u64().unwrap();
        let folder = drives
            .iter()
            .find(|folder| {
                let label = fs::read(folder.join("packmule/label")).unwrap();
                let serial = sealed["serial"].as_str().unwrap();
                String::from_utf8_lossy(&label).contains(serial)
            })
            .unwrap_or_else(|| panic!("drive {at} is nowhere"));
        let kind = if sealed["role"] == "parity" { &mut set.parity } else { &mut set.data };
        kind.push(folder.clone());
    }
    assert_eq!((set.data.len(), set.parity.len()), (2, 1));
    set
}

impl Set {
    fn import(&self, into: &str, drives: &[&PathBuf]) -> Said {
        let mut words = vec!["seed", "import", "--into", into, "--json", "--drive"];
        words.extend(drives.iter().map(|drive| s(drive)));
        self.place.run(&words)
    }

    /// Whether a repository holds just what the first one does.
    fn is_whole(&self, into: &str) {
        let into = self.place.path(into);
        let names = |root: &Path| -> Vec<PathBuf> {
            let files = walk(root).into_iter().filter(|path| path.is_file());
            let files = files.map(|path| path.strip_prefix(root).unwrap().to_owned());
            let mut files: Vec<PathBuf> = files
                .filter(|path| !path.starts_with("pending") && !path.starts_with("locks"))
                .collect();
            files.sort();
            files
        };
        assert_eq!(names(&into), names(&self.repository));
        names_are_right(&into);
        restic_is_content("parity", &into);
    }
}

fn rebuilt(said: &Said) -> u64 {
    let drives = said.objects();
    let parity = drives.iter().filter(|it| it["role"] == "parity" && it["message_type"] == "drive");
    parity.map(|it| it["copied"].as_u64().unwrap()).sum()
}

#[test]
fn a_lost_drive_is_rebuilt_and_the_repository_is_whole() {
    let set = set();
    for (lost, into) in ["without-0", "without-1"].into_iter().enumerate() {
        let left = &set.data[1 - lost];
        let said = set.import(into, &[left, &set.parity[0]]).exits(0);
        assert!(rebuilt(&said) > 0);
        set.is_whole(into);
    }
    // Without parity at hand it is wanted by name, and comes with it.
    let said = set.import("later", &[&set.data[0]]).exits(13);
    let missing = said.objects().iter().filter(|it| it["message_type"] == "missing").count();
    assert!(missing > 0, "{}", said.stdout);
    set.import("later", &[&set.parity[0]]).exits(0);
    set.is_whole("later");
}

#[test]
fn ten_damaged_places_are_repaired_and_said() {
    let set = set();
    let packs: Vec<PathBuf> = walk(&set.data[0].join("repositories"))
        .into_iter()
        .filter(|path| path.is_file() && path.metadata().unwrap().len() > 200_000)
        .collect();
    for n in 0..10 {
        let pack = &packs[n % packs.len()];
        let mut bytes = fs::read(pack).unwrap();
        let at = (n * 999_983) % (bytes.len() - 65_536);
        bytes[at..at + 65_536].fill(0x5a);
        fs::write(pack, bytes).unwrap();
    }
    let words = ["seed", "verify", "--drive", s(&set.data[0]), s(&set.parity[0])];
    set.place.run(&words).exits(4).shows(&["damaged", "parity: intact"]);
    // All of it is there, and a drive was not as it should be.
    let said = set.import("into", &[&set.data[0], &set.data[1], &set.parity[0]]).exits(3);
    assert!(rebuilt(&said) > 0);
    let problems: usize = said
        .objects()
        .iter()
        .filter_map(|it| it.get("problems").and_then(Value::as_array).map(Vec::len))
        .sum();
    assert!(problems > 0, "{}", said.stdout);
    set.is_whole("into");
}

#[test]
fn beyond_what_parity_can_do_it_says_what_is_missing_and_writes_no_wrong_byte() {
    let set = set();
    // What lies where only one drive has something comes from parity alone; the rest does not.
    set.import("into", &[&set.parity[0]]).exits(13);
    assert!(!set.place.path("into/config").exists());
    let drives = [drive(&set.place, "e0")];
    prepare(&set.place, &set.repository, &drives, &["--parity", "10"]).exits(2);
    // A set that needs one more drive for parity says so, and what it can do without.
    let place = &set.place;
    let repository = place.repository("small");
    let source = place.source("small-source", 3 << 20);
    place.run(&["repo", "backup", "-r", s(&repository), s(&source)]).exits(0);
    let said = prepare(place, &repository, &drives, &["--parity", "1"]).exits(13);
    assert_eq!(said.object("summary")["parity_missing"], 1);
    assert_eq!(said.object("summary")["remaining_objects"], 0);
    let more = [drive(place, "e1")];
    prepare(place, &repository, &more, &["--parity", "1"]).exits(0);
}
