//! Every store and every wrapper, and all of them stacked, through the one suite.

use packmule_store as store;
use std::sync::Arc;
use store::conformance::run;
use store::{
    Faulty, Folder, ManualClock, Memory, Rate, RateLimit, Recorder, Retry, RetryPolicy, Store,
};

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new())
}

fn boxed(store: impl Store + 'static) -> (Arc<dyn Store>, ()) {
    (Arc::new(store), ())
}

#[test]
fn a_local_folder_keeps_the_contract() {
    run(|| {
        let dir = tempfile::tempdir().unwrap();
        (Arc::new(Folder::new(dir.path().join("repository"))) as Arc<dyn Store>, dir)
    });
}

#[test]
fn memory_keeps_the_contract() {
    run(|| boxed(Memory::new()));
}

#[test]
fn a_store_tried_again_keeps_the_contract() {
    run(|| boxed(Retry::new(Memory::new(), RetryPolicy::default(), clock())));
}

#[test]
fn a_store_held_to_a_rate_keeps_the_contract() {
    run(|| boxed(RateLimit::new(Memory::new(), Rate::new(1_000), clock())));
    run(|| boxed(RateLimit::new(Memory::new(), Rate::default(), clock())));
}

#[test]
fn a_store_without_faults_to_come_keeps_the_contract() {
    run(|| boxed(Faulty::new(Memory::new())));
}

#[test]
fn a_counted_store_keeps_the_contract() {
    run(|| boxed(Recorder::new(Memory::new())));
}

#[test]
fn all_wrappers_stacked_keep_the_contract() {
    run(|| {
        let inner: Arc<dyn Store> = Arc::new(Faulty::new(Memory::new()));
        let limited = RateLimit::new(inner, Rate::new(1 << 20), clock());
        boxed(Box::new(Recorder::new(Retry::new(limited, RetryPolicy::default(), clock()))))
    });
}
