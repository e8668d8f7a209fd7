//! Directories from their making until everything in them is there: then their attributes are set.
//! Knows nothing of repositories.

use super::Run;
use super::attributes::Attributes;
use crate::error::Fault;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Directories that a thread keeps a handle on.
const OPEN: usize = 16;

/// A directory that was made.
pub(super) struct Dir {
    parent: Option<Arc<Dir>>,
    name: Box<[u8]>,
    /// None for the target itself, which is the user's.
    attributes: Option<Attributes>,
    /// Directories and files in it that are not finished, and one for the walk through it.
    open: AtomicUsize,
}

impl Dir {
    /// The target.
    pub(super) fn root() -> Arc<Self> {
        let open = AtomicUsize::new(1);
        Arc::new(Self { parent: None, name: Box::default(), attributes: None, open })
    }

    /// A directory in `parent`, held by the walk that will go through it.
    pub(super) fn below(parent: &Arc<Self>, name: &[u8], attributes: Attributes) -> Arc<Self> {
        parent.hold();
        Arc::new(Self {
            parent: Some(Arc::clone(parent)),
            name: name.into(),
            attributes: Some(attributes),
            open: AtomicUsize::new(1),
        })
    }

    /// Its path below the target.
    pub(super) fn path(&self) -> PathBuf {
        let mut names = Vec::new();
        let mut at = self;
        while let Some(parent) = &at.parent {
            names.push(OsStr::from_bytes(&at.name));
            at = parent;
        }
        names.iter().rev().collect()
    }

    /// The path of something in it.
    pub(super) fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path().join(OsStr::from_bytes(name))
    }

    /// Something will change it: its attributes wait.
    pub(super) fn hold(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// That something is done with it. After the last, its attributes are set, and its parent is
    /// released.
    pub(super) fn release(self: &Arc<Self>, run: &Run<'_>) {
        let mut at = self;
        while at.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            at.set_attributes(run);
            match &at.parent {
                Some(parent) => at = parent,
                None => return,
            }
        }
    }

    fn set_attributes(&self, run: &Run<'_>) {
        let Some(attributes) = &self.attributes else { return };
        let path = self.path();
        let done = run.place.directory_itself(&path).and_then(|item| {
            attributes.set_on_directory(&item, run.give_away).map_err(io::Error::from)
        });
        if let Err(cause) = done {
            run.problem(&path, Fault::AttributesUnset(cause));
        }
    }
}

/// The directories that a thread used last.
#[derive(Default)]
pub(super) struct Handles {
    open: Vec<(Arc<Dir>, OwnedFd)>,
}

impl Handles {
    /// A handle on that directory.
    pub(super) fn of(&mut self, run: &Run<'_>, dir: &Arc<Dir>) -> io::Result<&OwnedFd> {
        let at = match self.open.iter().rposition(|(open, _)| Arc::ptr_eq(open, dir)) {
            Some(at) => at,
            None => {
                if self.open.len() >= OPEN {
                    self.open.remove(0);
                }
                self.open.push((Arc::clone(dir), run.place.directory(&dir.path())?));
                self.open.len() - 1
            }
        };
        self.open.get(at).map(|(_, fd)| fd).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
