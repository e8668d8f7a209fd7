//! A backup that was interrupted is continued without reading again what it has read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use backup::{BackupEvent, BackupOptions, BackupOutcome, Error};
use common::{init, noise, restore, same};
use model::{ObjectKey, ObjectKind};
use repo::Repository;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use store::{Memory, Store};

/// A folder to back up and one for journals.
struct Site {
    source: tempfile::TempDir,
    journals: tempfile::TempDir,
}

impl Site {
    /// With `count` files of a MiB.
    fn new(count: u64) -> Self {
        let source = tempfile::tempdir().unwrap();
        for n in 0..count {
            std::fs::write(source.path().join(format!("{n:02}")), noise(n + 1, 1 << 20)).unwrap();
        }
        Self { source, journals: tempfile::tempdir().unwrap() }
    }

    /// Backs up, and stops once that many bytes are done. Answers the files that were not read.
    fn run(
        &self,
        repository: &Repository,
        until: u64,
    ) -> (Result<BackupOutcome, Error>, BTreeSet<PathBuf>) {
        self.run_with(repository, until, backup::View::default())
    }

    fn run_with(
        &self,
        repository: &Repository,
        until: u64,
        view: backup::View,
    ) -> (Result<BackupOutcome, Error>, BTreeSet<PathBuf>) {
        let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
        let remembered = Mutex::new(BTreeSet::new());
        let events = |event: BackupEvent<'_>| match event {
            BackupEvent::Bytes(bytes) => {
                let done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
                stop.store(done >= until, Ordering::Relaxed);
            }
            BackupEvent::Remembered { path } => {
                remembered.lock().unwrap().insert(path.to_owned());
            }
            BackupEvent::NoJournal(error) => panic!("{error}"),
            _ => {}
        };
        let lock = repository.lock(repo::LockMode::Shared).unwrap();
        let options = BackupOptions {
            view,
            journals: Some(self.journals.path().to_owned()),
            ..common::options(self.source.path(), &stop, &events)
        };
        let outcome = backup::backup(repository, &lock, &options);
        (outcome, remembered.into_inner().unwrap())
    }

    fn journals(&self) -> usize {
        std::fs::read_dir(self.journals.path()).unwrap().count()
    }
}

fn restores(repository: &Repository, outcome: &BackupOutcome, source: &Path) {
    let target = tempfile::tempdir().unwrap();
    restore(repository, outcome.snapshot, source, target.path());
    same(source, target.path());
    let options = repo::CheckOptions { read_data: true, threads: 2 };
    assert!(!repository.check(options, &|_| {}).unwrap().damaged());
}

#[test]
fn what_an_interrupted_backup_has_read_and_stored_is_not_read_again() {
    let site = Site::new(24);
    let repository = init(Arc::new(Memory::new()));
    let (stopped, remembered) = site.run(&repository, 16 << 20);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    assert!(remembered.is_empty());
    assert_eq!(site.journals(), 1);
    let (outcome, remembered) = site.run(&repository, u64::MAX);
    let outcome = outcome.unwrap();
    // What was in packs that were not full is gone: a few files of the sixteen.
    assert!((8..=18).contains(&remembered.len()), "{}", remembered.len());
    assert_eq!(outcome.summary.files_new, 24);
    assert_eq!(outcome.summary.total_bytes_processed, 24 << 20);
    assert_eq!(site.journals(), 0, "nothing is left of a backup that is complete");
    restores(&repository, &outcome, site.source.path());
}

#[test]
fn a_file_that_changed_since_the_interruption_is_read_again() {
    let site = Site::new(12);
    let repository = init(Arc::new(Memory::new()));
    site.run(&repository, 10 << 20).0.unwrap_err();
    // The same length, and the modification time put back: only the inode's own time tells.
    let changed = site.source.path().join("00");
    let modified = std::fs::metadata(&changed).unwrap().modified().unwrap();
    std::fs::write(&changed, noise(99, 1 << 20)).unwrap();
    let file = std::fs::File::options().write(true).open(&changed).unwrap();
    file.set_modified(modified).unwrap();
    let (outcome, remembered) = site.run(&repository, u64::MAX);
    assert!(!remembered.is_empty() && !remembered.contains(&changed));
    restores(&repository, &outcome.unwrap(), site.source.path());
}

#[test]
fn what_the_repository_has_lost_meanwhile_is_read_again() {
    let site = Site::new(12);
    let store = Arc::new(Memory::new());
    let repository = init(store.clone());
    site.run(&repository, 10 << 20).0.unwrap_err();
    for pack in repository.names(ObjectKind::Pack).unwrap() {
        store.remove(&ObjectKey::Pack(pack)).unwrap();
    }
    let (outcome, remembered) = site.run(&repository, u64::MAX);
    assert!(remembered.is_empty());
    restores(&repository, &outcome.unwrap(), site.source.path());
}

#[test]
fn what_was_not_held_to_the_end_is_no_recovery_point_and_is_read_again() {
    let site = Site::new(4);
    let repository = init(Arc::new(Memory::new()));
    let mut view = backup::View::default();
    view.check(|| Err("the snapshot was lost".to_owned()));
    let (lost, _) = site.run_with(&repository, u64::MAX, view);
    let error = lost.unwrap_err();
    assert!(error.to_string().contains("the snapshot was lost"), "{error}");
    assert!(repository.names(ObjectKind::Snapshot).unwrap().is_empty());
    assert_eq!(site.journals(), 0);
    let (outcome, remembered) = site.run(&repository, u64::MAX);
    assert!(remembered.is_empty());
    restores(&repository, &outcome.unwrap(), site.source.path());
}

#[test]
fn a_second_interruption_forgets_nothing() {
    let site = Site::new(24);
    let repository = init(Arc::new(Memory::new()));
    site.run(&repository, 10 << 20).0.unwrap_err();
    let (stopped, first) = site.run(&repository, 20 << 20);
    stopped.unwrap_err();
    let (outcome, second) = site.run(&repository, u64::MAX);
    assert!(second.is_superset(&first) && second.len() > first.len());
    restores(&repository, &outcome.unwrap(), site.source.path());
}
