//! Directories from their making until everything in them is there: then their attributes are set.
//! Knows nothing of repositories.

use super::attributes::Attributes;
use super::place::Place;
use super::{Mode, Run};
use crate::error::Fault;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Directories that a thread keeps a handle on.
const OPEN: usize = 16;

/// A directory of the target: there, or to be made once something goes into it.
pub(super) struct Dir {
    parent: Option<Arc<Dir>>,
    name: Box<[u8]>,
    /// What the snapshot calls it, where that is another name.
    origin: Option<Box<[u8]>>,
    /// None where they stay as they are, as those of the target itself, which is the user's.
    attributes: Option<Attributes>,
    /// It is in place of something that is not a directory.
    replaces: bool,
    there: AtomicBool,
    /// Its number while it has no name of its own yet: until all that is in it is there. 0 otherwise.
    hidden: AtomicU64,
    /// Directories and files in it that are not finished, and one for the walk through it.
    open: AtomicUsize,
}

/// What is known of a directory of the target when the walk comes to it.
pub(super) struct NewDir<'a> {
    pub(super) name: &'a [u8],
    pub(super) origin: Option<&'a [u8]>,
    pub(super) attributes: Option<Attributes>,
    pub(super) replaces: bool,
    pub(super) there: bool,
}

impl Dir {
    /// The target.
    pub(super) fn root(there: bool) -> Arc<Self> {
        Arc::new(Self {
            parent: None,
            name: Box::default(),
            origin: None,
            attributes: None,
            replaces: false,
            there: AtomicBool::new(there),
            hidden: AtomicU64::new(0),
            open: AtomicUsize::new(1),
        })
    }

    /// A directory in `parent`, held by the walk that will go through it.
    pub(super) fn below(parent: &Arc<Self>, new: NewDir<'_>) -> Arc<Self> {
        parent.hold();
        Arc::new(Self {
            parent: Some(Arc::clone(parent)),
            name: new.name.into(),
            origin: new.origin.map(Into::into),
            attributes: new.attributes,
            replaces: new.replaces,
            there: AtomicBool::new(new.there),
            hidden: AtomicU64::new(0),
            open: AtomicUsize::new(1),
        })
    }

    pub(super) fn is_there(&self) -> bool {
        self.there.load(Ordering::Acquire)
    }

    /// Makes it, in the directory above, which is there. Nothing happens when it is there.
    pub(super) fn make(&self, run: &Run<'_>, above: &OwnedFd) -> io::Result<()> {
        if !self.is_there() {
            let (hidden, own) = (self.hidden_number(), OsStr::from_bytes(&self.name));
            let hidden = hidden.map(|number| Ok::<_, io::Error>(run.place()?.hidden(number)));
            let hidden = hidden.transpose()?;
            let name = hidden.as_ref().map_or(own, OsStr::new);
            super::place::make_dir(above, name, self.replaces)?;
            self.there.store(true, Ordering::Release);
        }
        Ok(())
    }

    pub(super) fn replaces(&self) -> bool {
        self.replaces
    }

    /// It is to be made under a name for the time being, which that number stands for: not 0.
    pub(super) fn hide(&self, number: u64) {
        self.hidden.store(number, Ordering::Release);
    }

    pub(super) fn hidden_number(&self) -> Option<u64> {
        let number = self.hidden.load(Ordering::Acquire);
        (number != 0).then_some(number)
    }

    /// Gives it its name, if it has none.
    pub(super) fn unhide(&self, run: &Run<'_>) {
        let Some(number) = self.hidden_number() else { return };
        let unhidden = run.place().and_then(|place| {
            let above = place.directory(&self.path_above())?;
            place.unhide(&above, number, OsStr::from_bytes(&self.name))
        });
        match unhidden {
            Ok(left_out) => {
                self.hidden.store(0, Ordering::Release);
                for name in left_out {
                    run.problem(&self.path_of(&name), Fault::Exists);
                }
            }
            Err(cause) => run.problem(&self.path(), Fault::Unwritable(cause)),
        }
    }

    /// Where it is now, below the target.
    pub(super) fn place_path(&self, place: &Place) -> PathBuf {
        match self.hidden_number() {
            Some(number) => self.path_above().join(place.hidden(number)),
            None => self.path(),
        }
    }

    /// It, and all above it that are not there, the topmost last.
    pub(super) fn missing(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut missing = Vec::new();
        let mut at = Some(self);
        while let Some(dir) = at.filter(|dir| !dir.is_there()) {
            missing.push(Arc::clone(dir));
            at = dir.parent.as_ref();
        }
        missing
    }

    /// The path of the directory above it.
    pub(super) fn path_above(&self) -> PathBuf {
        self.parent.as_ref().map(|parent| parent.path()).unwrap_or_default()
    }

    /// Its path below the target.
    pub(super) fn path(&self) -> PathBuf {
        self.path_by(|dir| &dir.name)
    }

    /// The same as the snapshot has it.
    pub(super) fn origin(&self) -> PathBuf {
        self.path_by(|dir| dir.origin.as_ref().unwrap_or(&dir.name))
    }

    fn path_by(&self, name: impl Fn(&Self) -> &[u8]) -> PathBuf {
        let mut names = Vec::new();
        let mut at = self;
        while let Some(parent) = &at.parent {
            names.push(OsStr::from_bytes(name(at)));
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
            run.unhide(at);
            at.set_attributes(run);
            match &at.parent {
                Some(parent) => at = parent,
                None => return,
            }
        }
    }

    fn set_attributes(&self, run: &Run<'_>) {
        let Some(attributes) = &self.attributes else { return };
        if !self.is_there() || run.mode != Mode::Write {
            return;
        }
        let path = self.path();
        let done = run.place().and_then(|place| place.directory_itself(&self.place_path(place)));
        let done = done.and_then(|item| {
            attributes.set_on_directory(&item, run.giving()).map_err(io::Error::from)
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
                let place = run.place()?;
                self.open.push((Arc::clone(dir), place.directory(&dir.place_path(place))?));
                self.open.len() - 1
            }
        };
        self.open.get(at).map(|(_, fd)| fd).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
