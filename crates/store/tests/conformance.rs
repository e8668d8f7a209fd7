//! Every store and every wrapper, and some of them stacked, through the one suite.

use packmule_store as store;
use std::sync::Arc;
use store::{Folder, Memory, Store};

#[test]
fn a_local_folder_keeps_the_contract() {
    store::conformance::run(|| {
        let dir = tempfile::tempdir().unwrap();
        (Arc::new(Folder::new(dir.path().join("repository"))) as Arc<dyn Store>, dir)
    });
}

#[test]
fn memory_keeps_the_contract() {
    store::conformance::run(|| (Arc::new(Memory::new()) as Arc<dyn Store>, ()));
}
