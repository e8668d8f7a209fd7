//! Forget and prune before stock restic: it finds everything whole after ours, also where ours died on the way, and
//! neither has anything left to do where the other was.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use backup::BackupOptions;
use common::{PASSWORD, init, noise, open, restore, same};
use model::{Digest, ObjectKey, ObjectKind};
use repo::{
    Error, LockMode, MaxUnused, PruneEvent, PruneFigures, PruneOptions, Repository, WriterOptions,
};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use store::{Fault, Faulty, Folder, Operation, Store};

fn restics() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("restic")];
    found.extend(std::env::var_os("PACKMULE_RESTIC").map(PathBuf::from));
    found.retain(|program| Command::new(program).arg("version").output().is_ok());
    assert!(
        !found.is_empty(),
        "restic is not installed: run `cargo xtask test`, which installs it"
    );
    found
}

fn output(program: &Path, repository: &Path, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(["--no-cache", "-r"])
        .arg(repository)
        .args(arguments)
        .env("RESTIC_PASSWORD", PASSWORD)
        .output()
        .unwrap()
}

#[track_caller]
fn restic(program: &Path, repository: &Path, arguments: &[&str]) -> String {
    let output = output(program, repository, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?} {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn prune_with(
    repository: &Repository,
    without: &HashSet<Digest>,
    events: &(dyn Fn(PruneEvent) + Sync),
) -> Result<PruneFigures, Error> {
    let stop = AtomicBool::new(false);
    let options = PruneOptions {
        max_unused: MaxUnused::Bytes(0),
        max_repack: None,
        small: None,
        trees_only: false,
        without,
        pending: &[],
        writer: WriterOptions::default(),
        threads: 2,
        stop: &stop,
        events,
    };
    let lock = repository.lock(LockMode::Exclusive)?;
    let plan = repository.plan_prune(&lock, &options)?;
    let figures = plan.figures();
    plan.write()?.carry_out(&lock, &options)?;
    Ok(figures)
}

fn prune(repository: &Repository) -> Result<PruneFigures, Error> {
    prune_with(repository, &HashSet::new(), &|_| {})
}

fn forget(repository: &Repository, snapshots: &[Digest]) {
    let lock = repository.lock(LockMode::Exclusive).unwrap();
    repository.forget(&lock, snapshots, |_, outcome| outcome.unwrap()).unwrap();
}

/// Some changes: a file grows, one is replaced, one is new, one is gone.
fn edit(source: &Path, round: u64) {
    std::fs::create_dir_all(source.join(format!("folder {}/below", round % 3))).unwrap();
    std::fs::create_dir_all(source.join("empty")).unwrap();
    let large = [noise(1, 2 << 20), noise(round, 1 << 20), noise(2, 2 << 20)].concat();
    std::fs::write(source.join("large"), large).unwrap();
    std::fs::write(source.join("replaced"), noise(100 + round, 700 << 10)).unwrap();
    let name = format!("folder {}/below/{round}", round % 3);
    std::fs::write(source.join(name), format!("all work and no play {round}\n").repeat(3000))
        .unwrap();
    let _ = std::fs::remove_file(source.join(format!(
        "folder {}/below/{}",
        (round + 1) % 3,
        round.wrapping_sub(2)
    )));
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// In packs of that size.
fn back_up(repository: &Repository, source: &Path, pack_size: usize) -> Digest {
    let lock = repository.lock(LockMode::Shared).unwrap();
    let stop = AtomicBool::new(false);
    let options = BackupOptions {
        writer: WriterOptions { pack_size, ..WriterOptions::default() },
        ..common::options(source, &stop, &|_| {})
    };
    backup::backup(repository, &lock, &options).unwrap().snapshot
}

/// Five snapshots, of which the second and the fourth are kept, each with a copy of what it holds.
fn history(folder: &Path, repository: &Repository, pack_size: usize) -> Vec<(Digest, PathBuf)> {
    let source = folder.join("source");
    std::fs::create_dir(&source).unwrap();
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    for round in 0..5 {
        edit(&source, round);
        let id = back_up(repository, &source, pack_size);
        if round % 2 == 0 {
            gone.push(id);
        } else {
            let was = folder.join(format!("was {round}"));
            copy(&source, &was);
            kept.push((id, was));
        }
    }
    forget(repository, &gone);
    kept
}

fn gives_back(folder: &Path, repository: &Repository, kept: &[(Digest, PathBuf)]) {
    for (id, was) in kept {
        let target = tempfile::tempdir_in(folder).unwrap();
        let outcome = restore(repository, *id, &folder.join("source"), &target.path().join("back"));
        assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
        same(was, &target.path().join("back"));
    }
}

/// How many blobs stock restic would pack anew or remove.
fn left_to_do(program: &Path, repository: &Path) -> Vec<String> {
    let said = restic(program, repository, &["prune", "--dry-run", "--max-unused", "0", "-v"]);
    let of = |line: &&str| {
        line.contains(" blobs /")
            && (line.starts_with("to repack") || line.starts_with("total prune"))
    };
    let lines: Vec<String> = said.lines().filter(of).map(str::to_owned).collect();
    assert_eq!(lines.len(), 2, "{said}");
    lines.into_iter().filter(|line| !line.contains(" 0 blobs / 0 B")).collect()
}

#[test]
fn after_our_prune_stock_restic_finds_all_whole_and_nothing_to_do() {
    for program in restics() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("repository");
        let repository = init(Arc::new(Folder::new(&place)));
        let kept = history(folder.path(), &repository, 16 << 20);
        let figures = prune(&repository).unwrap();
        assert!(figures.packs_repacked > 0 && figures.unused_blobs > 0, "{figures:?}");
        restic(&program, &place, &["check", "--read-data"]);
        gives_back(folder.path(), &repository, &kept);
        for (id, was) in &kept {
            let target = folder.path().join(format!("restic {}", id.short()));
            restic(
                &program,
                &place,
                &["restore", &id.to_hex(), "--target", target.to_str().unwrap()],
            );
            let source = folder.path().join("source");
            same(was, &target.join(source.strip_prefix("/").unwrap()));
        }
        assert_eq!(left_to_do(&program, &place), [""; 0], "{program:?}");
        // And on it goes.
        edit(&folder.path().join("source"), 9);
        back_up(&repository, &folder.path().join("source"), 16 << 20);
        restic(&program, &place, &["check", "--read-data"]);
    }
}

#[test]
fn after_stock_restics_prune_we_find_nothing_to_do() {
    for program in restics() {
        let folder = tempfile::tempdir().unwrap();
        let (place, source) = (folder.path().join("repository"), folder.path().join("source"));
        std::fs::create_dir(&source).unwrap();
        restic(&program, &place, &["init"]);
        for round in 0..5 {
            edit(&source, round);
            restic(&program, &place, &["backup", source.to_str().unwrap()]);
        }
        restic(&program, &place, &["forget", "--keep-last", "2", "--prune", "--max-unused", "0"]);
        let repository = open(Arc::new(Folder::new(&place)));
        let figures = prune(&repository).unwrap();
        assert!(figures.is_nothing() && figures.unused_blobs == 0, "{figures:?}");
        assert_eq!(figures.snapshots, 2);
        restic(&program, &place, &["check", "--read-data"]);
    }
}

#[test]
fn a_prune_that_died_at_any_step_left_what_stock_restic_calls_whole() {
    let programs = restics();
    // The newest one is the strictest.
    let program = programs.last().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("repository");
    let repository = init(Arc::new(Folder::new(&place)));
    let kept = history(folder.path(), &repository, 1 << 20);
    let died_at = |operation: Operation, nth: u64| {
        let ours = folder.path().join(format!("{operation} {nth}"));
        copy(&place, &ours);
        let store = Arc::new(Faulty::new(Folder::new(&ours)));
        let shared: Arc<Faulty<Folder>> = Arc::clone(&store);
        let repository = open(shared);
        store.fail_nth(Some(operation), nth, Fault::CrashAfter);
        let outcome = prune(&repository);
        let died = store.has_crashed();
        assert!(died || outcome.is_ok(), "{outcome:?}");
        store.revive();
        for lock in repository.names(ObjectKind::Lock).unwrap() {
            store.remove(&ObjectKey::Lock(lock)).unwrap();
        }
        restic(program, &ours, &["check", "--read-data"]);
        gives_back(folder.path(), &repository, &kept);
        prune(&repository).unwrap();
        gives_back(folder.path(), &repository, &kept);
        std::fs::remove_dir_all(&ours).unwrap();
        died
    };
    let mut steps = 0;
    for operation in [Operation::Put, Operation::Remove] {
        for nth in 1.. {
            if !died_at(operation, nth) {
                break;
            }
            steps += 1;
        }
    }
    assert!(steps >= 6, "{steps}");
}

#[test]
fn who_backs_up_and_who_prunes_keep_out_of_each_others_way() {
    for program in restics() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("repository");
        let repository = init(Arc::new(Folder::new(&place)));
        let kept = history(folder.path(), &repository, 16 << 20);
        let source = folder.path().join("source");
        // Ours backs up, and prunes beside itself.
        let lock = repository.lock(LockMode::Shared).unwrap();
        assert!(matches!(prune(&repository), Err(Error::Locked { .. })));
        drop(lock);
        // Ours prunes, and both back up beside it.
        let tried = AtomicBool::new(false);
        let beside = |event: PruneEvent| {
            if matches!(event, PruneEvent::Reading { .. } | PruneEvent::Removing { .. }) {
                tried.store(true, Ordering::Relaxed);
                let theirs = output(&program, &place, &["backup", source.to_str().unwrap()]);
                assert!(!theirs.status.success(), "restic ignored our lock");
                let ours = repository.lock(LockMode::Shared);
                assert!(matches!(ours, Err(Error::Locked { .. })));
            }
        };
        prune_with(&repository, &HashSet::new(), &beside).unwrap();
        assert!(tried.into_inner());
        assert_eq!(repository.names(ObjectKind::Lock).unwrap(), []);
        restic(&program, &place, &["backup", source.to_str().unwrap()]);
        restic(&program, &place, &["check", "--read-data"]);
        gives_back(folder.path(), &repository, &kept);
    }
}

#[test]
fn format_1_is_forgotten_in_and_not_pruned() {
    for program in restics() {
        let folder = tempfile::tempdir().unwrap();
        let (place, source) = (folder.path().join("repository"), folder.path().join("source"));
        std::fs::create_dir(&source).unwrap();
        restic(&program, &place, &["init", "--repository-version", "1"]);
        for round in 0..2 {
            edit(&source, round);
            restic(&program, &place, &["backup", source.to_str().unwrap()]);
        }
        let repository = open(Arc::new(Folder::new(&place)));
        let snapshots = repository.names(ObjectKind::Snapshot).unwrap();
        forget(&repository, &snapshots[..1]);
        assert!(matches!(prune(&repository), Err(Error::ReadOnlyFormat { .. })));
        restic(&program, &place, &["check", "--read-data"]);
        assert_eq!(repository.names(ObjectKind::Snapshot).unwrap(), snapshots[1..]);
    }
}

#[test]
fn sizes_are_those_that_stock_restic_counts() {
    for program in restics() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("repository");
        let repository = init(Arc::new(Folder::new(&place)));
        history(folder.path(), &repository, 16 << 20);
        let snapshots = repository.snapshots().unwrap().value;
        let options = repo::StatsOptions { threads: 2, stop: &AtomicBool::new(false) };
        let ours = repository.stats(&snapshots, options).unwrap();
        assert!(ours.problems.is_empty() && ours.snapshots == 2 && ours.files > 0);
        let theirs = |mode: &str| -> serde_json::Value {
            let said = restic(&program, &place, &["stats", "--json", "--mode", mode]);
            serde_json::from_str(&said).unwrap()
        };
        let (restore, raw) = (theirs("restore-size"), theirs("raw-data"));
        assert_eq!(restore["total_size"], ours.restore_bytes);
        assert_eq!(raw["total_size"], ours.stored_bytes);
        assert_eq!(raw["total_blob_count"], ours.blobs);
        // Old ones do not count it, new ones with the 32 bytes that encryption adds to each.
        if !raw["total_uncompressed_size"].is_null() {
            assert_eq!(raw["total_uncompressed_size"], ours.plain_bytes + 32 * ours.blobs);
        }
        // What is damaged is said, and the rest counted.
        let lost = repository
            .load_index()
            .unwrap()
            .value
            .find(repo::BlobKind::Tree, &snapshots[0].snapshot.tree)
            .unwrap()
            .pack;
        repository.store().remove(&ObjectKey::Pack(lost)).unwrap();
        let damaged = open(Arc::new(Folder::new(&place))).stats(&snapshots, options).unwrap();
        assert!(!damaged.problems.is_empty());
    }
}
