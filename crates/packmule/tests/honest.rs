//! What the command line says of a damaged repository: never less than there is to say.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may stop on a surprise, too"
)]

mod support;

use std::path::{Path, PathBuf};
use support::{Place, s};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Flips a bit of a file that may be read-only.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn latest_is_not_an_older_snapshot_because_the_newest_cannot_be_read() {
    let place = Place::new();
    let (repository, source) = (place.repository("repo"), place.source("source", 100_000));
    place.run(&["repo", "backup", "-r", s(&repository), s(&source)]).exits(0);
    let [first] = &files(&repository.join("snapshots"))[..] else { panic!() };
    std::fs::write(source.join("added"), b"newer").unwrap();
    place.run(&["repo", "backup", "-r", s(&repository), s(&source)]).exits(0);
    let newest = files(&repository.join("snapshots")).into_iter().find(|f| f != first).unwrap();
    damage(&newest);
    let target = place.path("target");
    place
        .run(&["repo", "restore", "-r", s(&repository), "latest", "--target", s(&target)])
        .exits(4)
        .tells(&["latest", "by its id", newest.file_name().unwrap().to_str().unwrap()]);
    assert!(!target.exists(), "nothing was restored");
    let id = first.file_name().unwrap().to_str().unwrap();
    place.run(&["repo", "restore", "-r", s(&repository), id, "--target", s(&target)]).exits(0);
    // A backup goes on, and does not keep the damage to itself.
    place
        .run(&["repo", "backup", "-r", s(&repository), s(&source)])
        .exits(3)
        .tells(&["damaged", newest.file_name().unwrap().to_str().unwrap()]);
}

#[test]
fn a_pack_that_is_gone_is_said_by_every_command_that_meets_it() {
    let place = Place::new();
    let (repository, source) = (place.repository("repo"), place.source("source", 100_000));
    place.run(&["repo", "backup", "-r", s(&repository), s(&source)]).exits(0);
    for pack in files(&repository.join("data")) {
        std::fs::remove_file(pack).unwrap();
    }
    place.run(&["repo", "ls", "-r", s(&repository)]).exits(4);
    place.run(&["repo", "check", "-r", s(&repository)]).exits(4);
    let target = place.path("target");
    let restored =
        place.run(&["repo", "restore", "-r", s(&repository), "latest", "--target", s(&target)]);
    restored.exits(3);
    // The source still has everything: the next backup is whole, and says what happened.
    place.run(&["repo", "backup", "-r", s(&repository), s(&source)]).exits(3);
    let again = place.path("again");
    place.run(&["repo", "restore", "-r", s(&repository), "latest", "--target", s(&again)]).exits(0);
    let noise = again.join(source.strip_prefix("/").unwrap()).join("noise");
    assert_eq!(std::fs::read(noise).unwrap(), std::fs::read(source.join("noise")).unwrap());
}

#[test]
fn a_damaged_index_is_a_problem_of_a_restore_that_did_without_it() {
    let place = Place::new();
    let (repository, source) = (place.repository("repo"), place.source("source", 100_000));
    place.run(&["repo", "backup", "-r", s(&repository), s(&source)]).exits(0);
    damage(&files(&repository.join("index"))[0]);
    place.run(&["repo", "backup", "-r", s(&repository), s(&source)]).exits(3);
    let target = place.path("target");
    place
        .run(&["repo", "restore", "-r", s(&repository), "latest", "--target", s(&target)])
        .exits(3)
        .tells(&["index"]);
}

#[test]
fn no_help_text_shows_a_token() {
    let place = Place::new();
    let mut command = place.packmule(&["repo", "backup", "--help"]);
    command.env("PACKMULE_REPOSITORY", "rest:https://fs01:s3cr3t-token@vault.example/x/");
    let said = support::Said::of(command.output().unwrap()).exits(0);
    assert!(said.stdout.contains("PACKMULE_REPOSITORY"));
    assert!(!said.stdout.contains("s3cr3t"), "{}", said.stdout);
}
