//! A backup that ends early, because its store goes away or its user says so: it tells that, and
//! blames nothing else. What is stored by then is looked at elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use backup::{BackupEvent, Error};
use common::{init, noise};
use model::{ErrorKind, ObjectKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use store::{Fault, Faulty, Memory, Operation};

/// Backs up one large file, and stops if `stops` at its first stored piece. Answers why the backup
/// failed and which files were blamed.
fn cut_off(store: Arc<Faulty<Memory>>, stops: bool) -> (Error, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("large"), noise(3, 40 << 20)).unwrap();
    let repository = init(store);
    let (stop, blamed) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let events = |event: BackupEvent<'_>| match event {
        BackupEvent::Bytes(_) => stop.store(stops, Ordering::Relaxed),
        BackupEvent::Problem(problem) => blamed.lock().unwrap().push(problem.fault.to_string()),
        _ => {}
    };
    let lock = repository.lock(repo::LockMode::Shared).unwrap();
    let options = common::options(folder.path(), &stop, &events);
    let error = backup::backup(&repository, &lock, &options).unwrap_err();
    assert_eq!(repository.names(ObjectKind::Snapshot).unwrap(), []);
    (error, blamed.into_inner().unwrap())
}

#[test]
fn a_store_that_goes_away_is_not_the_fault_of_the_files() {
    let store = Arc::new(Faulty::new(Memory::new()));
    for operation in [Operation::Put, Operation::PutFrom] {
        store.fail_nth_of(operation, ObjectKind::Pack, 1, Fault::Unavailable);
    }
    let (error, blamed) = cut_off(store, false);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(blamed, [""; 0]);
}

#[test]
fn a_stop_is_not_the_fault_of_the_files() {
    let (error, blamed) = cut_off(Arc::new(Faulty::new(Memory::new())), true);
    assert!(matches!(error, Error::Interrupted), "{error}");
    assert_eq!(blamed, [""; 0]);
}
