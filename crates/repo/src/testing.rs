//! Repositories for this crate's own tests. Weak keys: never for anything else.

use crate::{Author, KdfParams, Repository};
use std::sync::Arc;

pub(crate) const PASSWORD: &[u8] = b"geheim";

pub(crate) fn author() -> Author {
    let pid = std::process::id();
    Author { hostname: "here".into(), username: "tester".into(), uid: 0, gid: 0, pid }
}

pub(crate) fn repository() -> Repository {
    repository_in(Arc::new(store::Memory::new()))
}

pub(crate) fn repository_in(store: Arc<dyn store::Store>) -> Repository {
    Repository::init(store, PASSWORD, KdfParams::WEAK, author(), jiff::Timestamp::UNIX_EPOCH)
        .unwrap()
}
