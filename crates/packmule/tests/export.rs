//! Recovery points by drive: chosen snapshots of a repository onto the fewest drives, read by the other end and, where one
//! drive holds it all, by stock restic in place.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop on a surprise"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use support::{Place, Said, names_are_right, restic, restic_is_content, restics, s, same, walk};

struct Scene {
    place: Place,
    repository: PathBuf,
    source: PathBuf,
    /// Of the two states of the source, in order.
    snapshots: Vec<String>,
}

/// Two snapshots that share no file.
fn scene() -> Scene {
    let place = Place::new();
    let repository = place.repository("repository");
    let source = place.source("source", 24 << 20);
    let mut snapshots = Vec::new();
    for n in 0..2 {
        if n == 1 {
            fs::copy(place.source("more", 12 << 20).join("noise"), source.join("noise")).unwrap();
            fs::remove_file(source.join("text")).unwrap();
            fs::remove_dir_all(source.join("folder")).unwrap();
        }
        let said =
            place.run(&["repo", "backup", "--json", "-r", s(&repository), s(&source)]).exits(0);
        snapshots.push(said.object("summary")["snapshot_id"].as_str().unwrap().to_owned());
    }
    Scene { place, repository, source, snapshots }
}

impl Scene {
    fn export(&self, snapshot: &str, more: &[&str]) -> Said {
        let words = ["seed", "export", "--json", "-r", s(&self.repository), snapshot];
        self.place.run(&[&words[..], &["--state", "state"], more].concat())
    }

    /// The repository on a drive.
    fn on(&self, drive: &Path) -> PathBuf {
        let repositories = fs::read_dir(drive.join("repositories")).unwrap();
        repositories.map(|entry| entry.unwrap().path()).next().unwrap()
    }
}

#[test]
fn one_recovery_point_on_one_drive_is_a_repository_for_anybody() {
    let scene = scene();
    let drive = scene.place.folder("d1");
    let spare = scene.place.folder("d2");
    let dry = scene.export("latest", &["--dry-run", "--drive", s(&drive)]).exits(0);
    let needed = dry.object("selection");
    // Its own 12 MB, and packs of the first one that have a file of both.
    assert!(
        needed["bytes"].as_u64().unwrap() < 26 << 20,
        "all of the first state counts, too: {needed}"
    );
    assert_eq!(fs::read_dir(&drive).unwrap().count(), 0);
    scene.export("latest", &["--drive", s(&drive), s(&spare)]).exits(0);
    assert_eq!(fs::read_dir(&spare).unwrap().count(), 0, "one drive is enough");
    let alone = scene.on(&drive);
    names_are_right(&alone);
    let packs =
        |root: &Path| walk(&root.join("data")).into_iter().filter(|it| it.is_file()).count();
    assert_eq!(packs(&alone) as u64, needed["packs"].as_u64().unwrap());
    assert!(packs(&alone) < packs(&scene.repository));
    for program in restics("one_recovery_point_on_one_drive_is_a_repository_for_anybody") {
        restic(&program, &alone, &["check", "--read-data", "--no-lock"]).exits(0);
        let listed = restic(&program, &alone, &["snapshots", "--json", "--no-lock"]).exits(0);
        let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
        assert_eq!(listed.as_array().unwrap().len(), 1);
        assert_eq!(listed[0]["id"], scene.snapshots[1].as_str());
    }
    // The same choice again is done already; the drive's own verification finds it whole.
    scene.export("latest", &["--drive", s(&drive)]).exits(0);
    scene.place.run(&["seed", "verify", "--drive", s(&drive)]).exits(0);
    scene.place.run(&["seed", "import", "--into", "into", "--drive", s(&drive)]).exits(0);
    let into = scene.place.path("into");
    restic_is_content("export", &into);
    scene
        .place
        .run(&["repo", "restore", "-r", s(&into), "latest", "--target", "restored"])
        .exits(0);
    let below = scene.place.path("restored").join(scene.source.strip_prefix("/").unwrap());
    same(&scene.source, &below);
}

#[test]
fn what_one_drive_cannot_hold_goes_on_with_the_next() {
    let scene = scene();
    let first = &scene.snapshots[0];
    let drives: Vec<PathBuf> =
        ["d0", "d1", "d2", "d3"].iter().map(|name| scene.place.folder(name)).collect();
    // 24 MB: one drive of 20 holds a part.
    let small = ["--capacity", "20M", "--drive", s(&drives[0])];
    scene.export(first, &small).exits(13);
    let all: Vec<&str> = drives.iter().map(|drive| s(drive)).collect();
    scene.export(first, &[&["--capacity", "20M", "--drive"][..], &all].concat()).exits(0);
    let given = [&["seed", "import", "--into", "into", "--drive"][..], &all].concat();
    let used: Vec<&str> = given
        .iter()
        .copied()
        .filter(|it| !it.starts_with('/') || Path::new(it).join("packmule").exists())
        .collect();
    scene.place.run(&used).exits(0);
    restic_is_content("export", &scene.place.path("into"));
}

#[test]
fn what_is_not_whole_is_not_exported() {
    let scene = scene();
    let packs: Vec<PathBuf> =
        walk(&scene.repository.join("data")).into_iter().filter(|it| it.is_file()).collect();
    for pack in packs {
        fs::remove_file(pack).unwrap();
    }
    let drive = scene.place.folder("d1");
    let said = scene.export("latest", &["--drive", s(&drive)]);
    assert_ne!(said.code, 0);
    assert_eq!(fs::read_dir(&drive).unwrap().count(), 0);
    scene.export("zz", &["--drive", s(&drive)]).exits(1);
}
