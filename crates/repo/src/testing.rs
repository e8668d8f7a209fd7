//! Repositories for this crate's own tests. Weak keys: never for anything else.

use crate::{Author, KdfParams, Repository};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
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

/// `restic` of the path, and any newer one that the environment names; where there is none, a word about it.
pub(crate) fn restics(test: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("restic")];
    found.extend(std::env::var_os("PACKMULE_RESTIC").map(PathBuf::from));
    found.retain(|program| Command::new(program).arg("version").output().is_ok());
    if found.is_empty() {
        let line = format!("SKIP: repo::{test}: restic is not installed\n");
        if let Some(path) = std::env::var_os("PACKMULE_SKIPS") {
            let mut file =
                std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            file.write_all(line.as_bytes()).unwrap();
        }
    }
    found
}
