//! `repo forget`, `prune` and `stats` as a user meets them: what they say, what they leave, and how they end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may stop on a surprise, too"
)]

mod support;

use repo::LockMode;
use std::path::{Path, PathBuf};
use support::{
    Place, Said, contents, names_are_right, objects_of, open, restic_is_content, s, same, trees,
};

/// A source that was backed up four times, each time with other noise.
fn history(place: &Place) -> (PathBuf, PathBuf) {
    let repository = place.repository("repository");
    let source = place.source("source", 3 << 20);
    for round in 0..4 {
        let noise = trees::Rng::new(round + 77).bytes(2 << 20);
        std::fs::write(source.join("changing"), noise).unwrap();
        repo(place, "backup", &repository, &[s(&source), "--tag", &format!("r{round}")]).exits(0);
    }
    (repository, source)
}

fn repo(place: &Place, command: &str, repository: &Path, more: &[&str]) -> Said {
    place.run(&[&["repo", command, "-r", s(repository)], more].concat())
}

fn bytes_of(repository: &Path) -> u64 {
    let packs = objects_of(repository, "data");
    packs.iter().map(|pack| std::fs::metadata(pack).unwrap().len()).sum()
}

#[test]
fn what_is_forgotten_is_said_with_reasons_and_what_is_kept_is_whole() {
    let place = Place::new();
    let (repository, source) = history(&place);
    let before = contents(&repository);
    let rules = ["--keep-last", "1", "--keep-tag", "r1", "--prune", "--max-unused", "0"];
    let rehearsal = [&rules[..], &["--dry-run"]].concat();
    let said = repo(&place, "forget", &repository, &rehearsal).exits(0);
    said.shows(&["last snapshot", "has tags [r1]", "2 snapshots would be forgotten", "would free"]);
    assert_eq!(contents(&repository), before, "a rehearsal changes nothing");

    let said = repo(&place, "forget", &repository, &[&rules[..], &["--json"]].concat()).exits(0);
    let objects = said.objects();
    let decisions: Vec<_> = objects.iter().filter(|it| it["message_type"] == "snapshot").collect();
    assert_eq!(decisions.len(), 4);
    let reasons = |tag: &str| {
        let decision = decisions.iter().find(|it| it["tags"][0] == tag).unwrap();
        (decision["keep"].as_bool().unwrap(), decision["reasons"].to_string())
    };
    assert_eq!(reasons("r3"), (true, "[\"last snapshot\"]".into()));
    assert_eq!(reasons("r1"), (true, "[\"has tags [r1]\"]".into()));
    assert_eq!(reasons("r0"), (false, "[]".into()));
    assert_eq!(said.object("summary")["forgotten"], 2);
    let pruned = &said.object("summary")["prune"];
    assert!(pruned["bytes_freed"].as_u64().unwrap() > 3 << 20, "{pruned}");
    assert_eq!(pruned["snapshots"], 2);

    assert!(bytes_of(&repository) < 8 << 20, "two states of 2 MiB, and 3 MiB that never changed");
    names_are_right(&repository);
    repo(&place, "check", &repository, &["--read-data"]).exits(0).shows(&["no damage found"]);
    restic_is_content("forget::what_is_forgotten_is_said", &repository);
    let target = place.path("restored");
    let latest = format!("latest:{}", s(&source));
    repo(&place, "restore", &repository, &[&latest, "--target", s(&target)]).exits(0);
    same(&source, &target);
    let after = contents(&repository);
    repo(&place, "prune", &repository, &["--max-unused", "0"]).exits(0).shows(&["freed 0 B"]);
    let said = repo(&place, "prune", &repository, &["--dry-run", "--json"]).exits(0);
    assert_eq!(said.object("summary")["bytes_freed"], 0);
    assert_eq!(contents(&repository), after, "there was nothing left to do");
}

#[test]
fn nothing_is_forgotten_by_leaving_something_out() {
    let place = Place::new();
    let (repository, _) = history(&place);
    let before = contents(&repository);
    let forget = |more: &[&str]| repo(&place, "forget", &repository, more);
    forget(&[]).exits(2);
    forget(&["latest", "--keep-last", "1"]).exits(2);
    forget(&["latest", "--host", "here"]).exits(2);
    forget(&["--keep-last", "few"]).exits(2).tells(&["neither a number nor 'unlimited'"]);
    forget(&["--keep-within", "2w"]).exits(2).tells(&["1y5m7d2h"]);
    forget(&["--keep-last", "0"]).exits(1).tells(&["keep nothing at all"]);
    forget(&["--keep-tag", "nobodys"]).exits(1).tells(&["--unsafe-allow-remove-all"]);
    forget(&["--unsafe-allow-remove-all"]).exits(1).tells(&["needs --host, --tag or --path"]);
    forget(&["0123456789"]).exits(1).tells(&["names 0 snapshots"]);
    repo(&place, "prune", &repository, &["--max-unused", "100%"]).exits(2);
    repo(&place, "prune", &repository, &["--repack-smaller-than", "1G"]).exits(2);
    let lock = open(&repository).lock(LockMode::Shared).unwrap();
    forget(&["--keep-last", "1"]).exits(11);
    repo(&place, "prune", &repository, &[]).exits(11);
    forget(&["--keep-last", "1", "--dry-run"]).exits(0);
    drop(lock);
    assert_eq!(contents(&repository), before);
    forget(&["--unsafe-allow-remove-all", "--tag", "r0", "--tag", "r1"]).exits(0);
    assert_eq!(objects_of(&repository, "snapshots").len(), 2);
    forget(&["latest"]).exits(0).shows(&["asked for", "1 snapshots forgotten"]);
    let listed = repo(&place, "snapshots", &repository, &["--json"]).exits(0).objects();
    assert_eq!((listed.len(), listed[0]["tags"][0].as_str()), (1, Some("r2")));
}

#[test]
fn a_repository_with_something_missing_is_forgotten_in_and_not_pruned() {
    let place = Place::new();
    let (repository, _) = history(&place);
    let junk = repository.join("snapshots").join("ab".repeat(32));
    std::fs::write(&junk, b"junk").unwrap();
    let rules = ["--keep-last", "2", "--json"];
    let said = repo(&place, "forget", &repository, &rules).exits(4);
    assert_eq!(said.object("summary")["unreadable"], 1);
    assert_eq!(said.object("summary")["forgotten"], 2);
    let packs = contents(&repository.join("data"));
    repo(&place, "prune", &repository, &[]).exits(4).tells(&["nothing was removed"]);
    repo(&place, "forget", &repository, &["abab"]).exits(0);
    assert!(!junk.exists());
    // The largest pack holds what all of them need.
    let largest = |path: &PathBuf| std::fs::metadata(path).unwrap().len();
    let lost = objects_of(&repository, "data").into_iter().max_by_key(largest).unwrap();
    let kept = std::fs::read(&lost).unwrap();
    std::fs::remove_file(&lost).unwrap();
    let said = repo(&place, "prune", &repository, &[]).exits(4);
    said.tells(&["nothing was removed", "indexed but not there", "packmule repo check"]);
    std::fs::write(&lost, kept).unwrap();
    assert_eq!(contents(&repository.join("data")).len(), packs.len());
    repo(&place, "prune", &repository, &["--max-unused", "0"]).exits(0);
    repo(&place, "check", &repository, &["--read-data"]).exits(0);
}

#[test]
fn sizes_are_told_of_all_snapshots_or_of_those_asked_for() {
    let place = Place::new();
    let (repository, _) = history(&place);
    let stats = |more: &[&str]| {
        let said = repo(&place, "stats", &repository, &[more, &["--json"]].concat()).exits(0);
        let summary = said.object("summary");
        let number = |member: &str| summary[member].as_u64().unwrap();
        (number("snapshots"), number("files"), number("restore_bytes"), number("stored_bytes"))
    };
    let (all, one) = (stats(&[]), stats(&["latest"]));
    assert_eq!((all.0, all.1, all.2), (4, 4 * one.1, 4 * one.2));
    assert!(all.3 > one.3 && all.3 < 4 * one.3, "much of it is the same: {all:?} {one:?}");
    assert_eq!(stats(&["--tag", "r3"]), one);
    repo(&place, "stats", &repository, &[]).exits(0).shows(&["4 snapshots", "stored as"]);
}
