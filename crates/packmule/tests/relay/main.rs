//! A repository goes from hand to hand: we, stock restic and stock rustic write it in turn, and
//! what one wrote another restores, compared in content and every attribute. Chance makes trees,
//! edits and order; `PROPTEST_CASES` says how often. What one program continues alone is elsewhere.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "helpers of tests may stop on a surprise, too"
)]

mod actors;
mod corners;
mod disk;
mod limits;
mod model;
#[path = "../support/mod.rs"]
mod support;

use actors::{Actor, Kind, Scene, troupe};
use disk::Disk;
use limits::Kept;
use model::{Edit, Entry, Pick, pick};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use support::Place;

/// One writer's turn: the tree changes, it writes, another writes the same again.
#[derive(Debug, Clone)]
struct Turn {
    edits: Vec<Edit>,
    writer: Pick,
    /// Writes the same state once more.
    repeater: Pick,
    /// Whether it reads every file, or believes the snapshot of the one before.
    force: bool,
    /// Restores, in the end, what the writer wrote, or what the repeater wrote.
    reader: Pick,
    of_repeater: bool,
}

fn turn(edits: std::ops::Range<usize>) -> impl Strategy<Value = Turn> {
    let index = pick;
    let chance = any::<bool>;
    (vec(model::edit(), edits), index(), index(), chance(), index(), chance()).prop_map(
        |(edits, writer, repeater, force, reader, of_repeater)| Turn {
            edits,
            writer,
            repeater,
            force,
            reader,
            of_repeater,
        },
    )
}

/// What is restored in the end.
struct Written {
    snapshot: String,
    writer: Actor,
    reader: Actor,
    kept: std::path::PathBuf,
}

/// One of those that are not `last`.
fn other<'a>(troupe: &'a [Actor], index: Pick, last: &Actor) -> &'a Actor {
    let others: Vec<&Actor> = troupe.iter().filter(|actor| actor.kind != last.kind).collect();
    index.of::<&Actor>(&others)
}

/// Restores, and holds what came back against what was kept. Answers why some of it is excused.
#[track_caller]
fn gives_back(scene: &Scene<'_>, written: &Written, reader: &Actor) -> BTreeSet<&'static str> {
    let target = scene.place.path("restored");
    scene.restore(reader, &written.snapshot, &target);
    let writer = &written.writer;
    let compared = backup::compare(&written.kept, &target)
        .unwrap_or_else(|error| panic!("{writer} wrote, {reader} restored: {error}"));
    let mut differences = compared.differences;
    let mut excuses = BTreeSet::new();
    differences.retain(|difference| {
        let path = written.kept.join(&difference.path);
        let Ok(stat) = std::fs::symlink_metadata(&path) else { return true };
        let named = difference.path == Path::new(".");
        let kept = Kept { root: &written.kept, path: &path, named, stat };
        let limit = limits::excuse(written.writer.kind, reader.kind, &kept, &difference.what);
        excuses.extend(limit.map(|limit| limit.why));
        limit.is_none()
    });
    assert!(differences.is_empty(), "{writer} wrote, {reader} restored: {differences:#?}");
    std::fs::remove_dir_all(target).unwrap();
    excuses
}

fn play(troupe: &[Actor], init: Pick, tree: &[Entry], turns: &[Turn]) {
    let place = Place::new();
    let (repository, source) = (place.path("repository"), place.folder("source"));
    let scene = Scene { place: &place, repository, source };
    let disk = Disk { root: scene.source.clone() };
    disk.build(tree);
    // Mostly ours, whose key costs nothing to derive here: others' cost half a second each time.
    let makers: Vec<&Actor> = troupe.iter().chain(vec![&troupe[0]; 2 * troupe.len()]).collect();
    let mut last: &Actor = init.of::<&Actor>(&makers);
    scene.init(last);
    let judge = &troupe[1];
    let mut written = Vec::new();
    for (at, turn) in turns.iter().enumerate() {
        turn.edits.iter().for_each(|edit| disk.edit(edit));
        let kept = place.path(&format!("kept{at}"));
        disk::copy(&scene.source, &kept);
        let writer = other(troupe, turn.writer, last);
        let first = scene.back_up(writer, false);
        let blobs = scene.data_blobs(judge);
        last = other(troupe, turn.repeater, writer);
        let second = scene.back_up(last, turn.force);
        let again = scene.data_blobs(judge);
        let new: Vec<_> = again.difference(&blobs).collect();
        let excused = |kind| limits::has_other_cuts(kind, &scene.source);
        assert!(
            new.is_empty() || excused(writer.kind) || excused(last.kind),
            "{last} stores anew what {writer} stored: {new:?}"
        );
        let (snapshot, writer) = if turn.of_repeater { (second, last) } else { (first, writer) };
        let reader = other(troupe, turn.reader, writer).clone();
        written.push(Written { snapshot, writer: writer.clone(), reader, kept });
    }
    for written in &written {
        gives_back(&scene, written, &written.reader);
        gives_back(&scene, written, &troupe[0]);
    }
    troupe.iter().for_each(|actor| scene.check(actor));
    support::names_are_right(&scene.repository);
}

#[test]
fn rustic_takes_part() {
    let test = "relay::rustic_takes_part";
    let Some(troupe) = troupe(test) else { return };
    if std::env::var_os("PACKMULE_RUSTIC").is_none() {
        let reason = "PACKMULE_RUSTIC names no rustic: `cargo xtask test --with-rustic`";
        return support::skip(test, reason);
    }
    assert!(troupe.iter().any(|actor| actor.kind == Kind::Rustic));
}

/// Few, and a minute at most to make smaller what fails, unless somebody asks for more.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config,
        None => ProptestConfig { cases: 3, max_shrink_time: 60_000, ..config },
    }
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn what_one_writes_and_another_continues_a_third_restores(
        init in pick(),
        tree in vec(model::entry(), 0..40),
        first in turn(0..1),
        more in vec(turn(1..8), 2),
    ) {
        let test = "relay::what_one_writes_and_another_continues_a_third_restores";
        if let Some(troupe) = troupe(test) {
            play(&troupe, init, &tree, &[vec![first], more].concat());
        }
    }
}

#[test]
fn each_restores_every_corner_that_another_wrote() {
    let test = "relay::each_restores_every_corner_that_another_wrote";
    let Some(troupe) = troupe(test) else { return };
    let place = Place::new();
    let (repository, source) = (place.path("repository"), place.folder("source"));
    let scene = Scene { place: &place, repository, source };
    let (disk, corners) = (Disk { root: scene.source.clone() }, corners::all());
    let made = disk.build(&corners);
    assert!(made == corners.len() || !support::is_root(), "{made} of {}", corners.len());
    let kept = place.path("kept");
    disk::copy(&scene.source, &kept);
    scene.init(&troupe[0]);
    let mut needed = BTreeSet::new();
    for writer in &troupe {
        let snapshot = scene.back_up(writer, true);
        let (reader, kept) = (writer.clone(), kept.clone());
        let written = Written { snapshot, writer: writer.clone(), reader, kept };
        for reader in &troupe {
            needed.extend(gives_back(&scene, &written, reader));
        }
    }
    // So that somebody sees which of the limits are none any more.
    for limit in limits::LIMITS.iter().filter(|limit| !needed.contains(limit.why)) {
        if troupe.iter().any(|actor| (limit.of)(actor.kind)) {
            let _ = writeln!(std::io::stderr(), "{test}: nobody needed: {}", limit.why);
        }
    }
    troupe.iter().for_each(|actor| scene.check(actor));
}

/// The last zero of many is the last but one byte of the shortest chunk.
#[test]
fn all_but_rustic_cut_alike_after_zeros() {
    let test = "relay::all_but_rustic_cut_alike_after_zeros";
    let Some(troupe) = troupe(test) else { return };
    let place = Place::new();
    let (repository, source) = (place.path("repository"), place.folder("source"));
    let scene = Scene { place: &place, repository, source };
    let content = [vec![0; (512 << 10) - 1], disk::noise(1, 100_000)].concat();
    std::fs::write(scene.source.join("file"), content).unwrap();
    scene.init(&troupe[0]);
    scene.back_up(&troupe[0], true);
    let blobs = scene.data_blobs(&troupe[1]);
    for actor in &troupe[1..] {
        scene.back_up(actor, true);
        let excused = limits::has_other_cuts(actor.kind, &scene.source);
        let is_same = scene.data_blobs(&troupe[1]) == blobs;
        assert!(is_same || excused, "{actor}");
        if is_same && excused {
            let _ = writeln!(std::io::stderr(), "{test}: {actor} needs no excuse any more");
        }
    }
}
