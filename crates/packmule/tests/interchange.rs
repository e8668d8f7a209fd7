//! Random trees, changed at random, are written by us and by stock restic in turn into one
//! repository: each restores what the other wrote, and finds what the other stored.
//!
//! `PACKMULE_TREE_SEED` is what chance begins with, `PACKMULE_TREE_ROUNDS` how often it changes the tree.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may stop on a surprise, too"
)]

mod support;

use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use support::trees::{self, Rng};
use support::{Place, names_are_right, objects_of, s, same};

/// The largest file: a few chunks.
const LARGEST: u64 = 4 << 20;

/// Who writes or reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Ours,
    Theirs,
}

impl Side {
    fn other(self) -> Self {
        if self == Self::Ours { Self::Theirs } else { Self::Ours }
    }
}

struct Scene {
    place: Place,
    restic: PathBuf,
    repository: PathBuf,
    source: PathBuf,
}

impl Scene {
    fn restic(&self, arguments: &[&str]) -> String {
        support::restic(&self.restic, &self.repository, arguments).exits(0).stdout
    }

    fn ours(&self, arguments: &[&str]) -> support::Said {
        let (command, rest) = arguments.split_first().unwrap();
        self.place.run(&[&["repo", command, "-r", s(&self.repository)], rest].concat()).exits(0)
    }

    /// Backs up; answers the summary, which both sides write alike.
    fn back_up(&self, side: Side, options: &[&str]) -> Value {
        let arguments = [&["backup", "--json", s(&self.source)], options].concat();
        match side {
            Side::Ours => self.ours(&arguments).object("summary"),
            Side::Theirs => {
                let text = self.restic(&arguments);
                support::objects(&text).pop().expect("the summary is the last line")
            }
        }
    }

    /// Restores a snapshot and compares it with the source, attribute by attribute.
    #[track_caller]
    fn gives_back(&self, side: Side, snapshot: &str, source: &Path) {
        let out = self.place.path("restored");
        let arguments = ["restore", snapshot, "--target", s(&out)];
        match side {
            Side::Ours => drop(self.ours(&arguments)),
            Side::Theirs => drop(self.restic(&arguments)),
        }
        same(source, &out.join(s(&self.source).trim_start_matches('/')));
        fs::remove_dir_all(out).unwrap();
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn each(test: &str, run: impl Fn(&Scene, Rng)) {
    let seed = number("PACKMULE_TREE_SEED", 20_261_122);
    let _ = writeln!(std::io::stderr(), "{test}: PACKMULE_TREE_SEED={seed}");
    for restic in support::restics(test) {
        let place = Place::new();
        let (source, repository) = (place.folder("source"), place.path("repository"));
        let mut rng = Rng::new(seed);
        for _ in 0..60 {
            trees::add(&mut rng, &source, LARGEST);
        }
        fs::write(source.join("large"), rng.bytes(6 << 20)).unwrap();
        run(&Scene { place, restic, repository, source }, rng);
    }
}

#[test]
fn what_one_side_writes_the_other_restores_however_the_tree_changes() {
    each("what_one_side_writes_the_other_restores_however_the_tree_changes", |scene, mut rng| {
        support::init(&scene.repository);
        let mut writer = Side::Ours;
        for round in 0..number("PACKMULE_TREE_ROUNDS", 8) {
            let summary = scene.back_up(writer, &[]);
            let snapshot = summary["snapshot_id"].as_str().unwrap();
            scene.gives_back(writer.other(), snapshot, &scene.source);
            // Read from the first byte to the last again, nothing is found to be new.
            let again = scene.back_up(writer.other(), &["--force"]);
            assert_eq!(again["data_blobs"], 0, "round {round} after {writer:?}: {again}");
            for _ in 0..1 + rng.below(12) {
                trees::edit(&mut rng, &scene.source, LARGEST);
            }
            for _ in 0..rng.below(6) {
                trees::add(&mut rng, &scene.source, LARGEST);
            }
            writer = writer.other();
        }
        names_are_right(&scene.repository);
        scene.restic(&["check", "--read-data"]);
        scene.ours(&["check", "--read-data"]).shows(&["no damage found"]);
        assert!(objects_of(&scene.repository, "locks").is_empty());
    });
}

#[test]
fn a_repository_that_restic_made_and_pruned_is_continued_by_us_and_by_it_again() {
    each(
        "a_repository_that_restic_made_and_pruned_is_continued_by_us_and_by_it_again",
        |scene, mut rng| {
            scene.restic(&["init", "--repository-version", "2"]);
            for round in 0..3 {
                for side in [Side::Theirs, Side::Ours] {
                    for _ in 0..8 {
                        trees::edit(&mut rng, &scene.source, LARGEST);
                    }
                    scene.back_up(side, &[]);
                }
                scene.restic(&["forget", "--keep-last", "1", "--prune", "--max-unused", "0"]);
                scene.ours(&["check", "--read-data"]).shows(&["no damage found"]);
                for side in [Side::Ours, Side::Theirs] {
                    scene.gives_back(side, "latest", &scene.source);
                }
                assert_eq!(
                    scene.back_up(Side::Ours, &["--force"])["data_blobs"],
                    0,
                    "round {round}"
                );
            }
            scene.restic(&["check", "--read-data"]);
        },
    );
}

#[test]
fn both_sides_list_the_same_snapshots_and_the_same_files() {
    each("both_sides_list_the_same_snapshots_and_the_same_files", |scene, mut rng| {
        support::init(&scene.repository);
        let mut ids = Vec::new();
        for side in [Side::Ours, Side::Theirs, Side::Ours] {
            trees::edit(&mut rng, &scene.source, LARGEST);
            ids.push(
                scene.back_up(side, &["--tag", "nightly"])["snapshot_id"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            );
        }
        let theirs: Vec<Value> =
            serde_json::from_str(&scene.restic(&["snapshots", "--json"])).unwrap();
        let ours = scene.ours(&["snapshots", "--json"]).objects();
        assert_eq!((ours.len(), theirs.len()), (3, 3));
        for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            // Before 0.16 restic shortens what it calls the id of what it has just written.
            assert!(ours["id"].as_str().unwrap().starts_with(&ids[at]));
            for member in ["id", "tree", "hostname", "paths", "tags"] {
                assert_eq!(ours[member], theirs[member], "{member} of {}", ids[at]);
            }
        }
        for id in &ids {
            let listed = scene.restic(&["ls", "--json", id]);
            let nodes = listed.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let mut theirs: Vec<_> =
                nodes.filter(|node| node["struct_type"] == "node").map(|node| of(&node)).collect();
            let mut ours: Vec<_> =
                scene.ours(&["ls", "--json", id]).objects().iter().map(of).collect();
            theirs.sort();
            ours.sort();
            assert_eq!(ours, theirs);
        }
    });
}

/// What both sides say of a file or folder.
fn of(node: &Value) -> (String, String, u64, u64) {
    let text = |member: &str| node[member].as_str().unwrap_or_default().to_owned();
    let number = |member: &str| node[member].as_u64().unwrap_or_default();
    (text("path"), text("type"), number("size"), number("uid"))
}
