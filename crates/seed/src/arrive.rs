//! What one drive brings on its way into the pending area of a destination: written, synced many at a
//! time, named. Hashes nothing: whoever brings an object's end says that it is right.
//!
//! ```text
//!  packmule/partials/<drive>-<n> … ──one sync──▶ repositories/…/<name> each ──last sync──▶ durable names
//! ```
//!
//! invariant: what has a name was verified, and synced after that, before it got it. Once a sync has
//! failed nothing gets a name any more, whichever drive brought it: the system tells of bytes that
//! it lost only once, and to one of those who ask.

use crate::Object;
use crate::belt::Limits;
use crate::beneath::{self, Beneath, NewFile};
use crate::drive::{self, PARTIALS};
use model::Digest;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::{Mutex, PoisonError};

/// What the drives of one call share at their destination.
#[derive(Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) folder: &'a Beneath,
    /// Whether one sync of the file system does for a batch.
    whole: bool,
    /// Whether a sync has failed.
    failed: Mutex<bool>,
    /// Held while names are looked up and given: an object can be on two drives.
    naming: Mutex<()>,
}

impl<'a> Ground<'a> {
    pub(crate) fn new(folder: &'a Beneath, limits: &Limits) -> Self {
        let whole = limits.whole.unwrap_or_else(|| folder.syncs_as_a_whole());
        Self { folder, whole, failed: Mutex::default(), naming: Mutex::default() }
    }

    /// Syncs everything, unless a sync has failed before. One at a time: of two at once, the one that
    /// is not told of a loss must not end first.
    fn sync_all(&self) -> io::Result<()> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        refuse_failed(*failed)?;
        self.folder.sync_all().inspect_err(|_| *failed = true)
    }

    /// Has one file or folder synced, likewise. Its loss is told to whoever syncs it.
    fn sync_one(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        refuse_failed(*self.failed.lock().unwrap_or_else(PoisonError::into_inner))?;
        sync().inspect_err(|_| {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        })
    }
}

fn refuse_failed(failed: bool) -> io::Result<()> {
    let lost = || io::Error::other("what was written before could not be synced");
    if failed { Err(lost()) } else { Ok(()) }
}

/// How an object got its name, or did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    Now,
    /// Another drive had brought it meanwhile.
    Before,
    /// Something of another length has its name.
    Conflict,
}

/// What one drive has brought.
#[derive(Debug)]
pub(crate) struct Arrivals<'a> {
    ground: &'a Ground<'a>,
    limits: Limits,
    /// The seed's folder.
    pending: String,
    repositories: &'a [Digest],
    /// Tells the partial files of drives apart.
    drive: usize,
    /// The object being written.
    file: Option<(Object, u64, NewFile)>,
    /// Objects that are complete and have no name yet, by the number that is theirs until then.
    written: VecDeque<(Object, u64)>,
    bytes: u64,
    next: u64,
    /// Whether names were given after the last sync.
    named: bool,
    /// Folders of these names, where each has to be synced.
    folders: BTreeSet<String>,
}

impl<'a> Arrivals<'a> {
    /// Of the drive with that number among those given, into the seed's folder `pending`.
    pub(crate) fn new(
        ground: &'a Ground<'a>,
        limits: Limits,
        pending: String,
        repositories: &'a [Digest],
        drive: usize,
    ) -> Self {
        Self {
            ground,
            limits,
            pending,
            repositories,
            drive,
            file: None,
            written: VecDeque::new(),
            bytes: 0,
            next: 0,
            named: false,
            folders: BTreeSet::new(),
        }
    }

    fn partial(&self, number: u64) -> String {
        format!("{}/{}-{number}", partials(&self.pending), self.drive)
    }

    /// Writes the next bytes of an object, the first ones into a new file.
    pub(crate) fn write(&mut self, object: &Object, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some((open, _, file)) if open == object => file.write_part(bytes),
            _ => {
                let (number, mut file) = self.begin(object)?;
                let written = file.write_part(bytes);
                self.file = Some((*object, number, file));
                written
            }
        }
    }

    fn begin(&mut self, object: &Object) -> io::Result<(u64, NewFile)> {
        self.abandon()?;
        let folder = self.ground.folder;
        folder.create_folders_unsynced(&partials(&self.pending))?;
        let (number, path) = (self.next, self.partial(self.next));
        folder.remove(&path)?;
        let file = folder.create(&path)?;
        self.next += 1;
        if let Err(full) = file.reserve(object.length) {
            let _ = folder.remove(&path);
            return Err(full);
        }
        Ok((number, file.pass_the_cache()))
    }

    /// The object is complete, and right. True when there is enough for a [`commit`](Self::commit).
    pub(crate) fn complete(&mut self, object: &Object) -> io::Result<bool> {
        let (number, file) = match self.file.take() {
            Some((open, number, file)) if open == *object => (number, file),
            _ => self.begin(object)?,
        };
        if !self.ground.whole {
            let synced = self.ground.sync_one(|| file.sync());
            if synced.is_err() {
                self.file = Some((*object, number, file));
                synced?;
            }
        }
        self.written.push_back((*object, number));
        self.bytes = self.bytes.saturating_add(object.length);
        Ok(self.written.len() >= self.limits.batch_objects || self.bytes >= self.limits.batch_bytes)
    }

    /// Nothing of the object being written stays.
    pub(crate) fn abandon(&mut self) -> io::Result<()> {
        let Some((_, number, file)) = self.file.take() else { return Ok(()) };
        drop(file);
        self.ground.folder.remove(&self.partial(number))
    }

    /// Syncs what is complete and gives it its names, each of which `named` is told of.
    pub(crate) fn commit(&mut self, named: &mut dyn FnMut(&Object, Named)) -> io::Result<()> {
        if self.written.is_empty() {
            return Ok(());
        }
        self.sync()?;
        while let Some((object, number)) = self.written.pop_front() {
            match self.name(&object, number) {
                Ok(how) => named(&object, how),
                Err(cause) => {
                    self.written.push_front((object, number));
                    return Err(cause);
                }
            }
        }
        self.bytes = 0;
        Ok(())
    }

    /// As [`commit`](Self::commit), and the names last as well. Nothing of an object stays that is not
    /// complete.
    pub(crate) fn finish(&mut self, named: &mut dyn FnMut(&Object, Named)) -> io::Result<()> {
        self.abandon()?;
        self.commit(named)?;
        if self.named { self.sync() } else { Ok(()) }
    }

    /// Nothing stays that has no name, as far as it can be removed.
    pub(crate) fn leave(&mut self) {
        let _ = self.abandon();
        for (_, number) in std::mem::take(&mut self.written) {
            let _ = self.ground.folder.remove(&self.partial(number));
        }
    }

    fn name(&mut self, object: &Object, number: u64) -> io::Result<Named> {
        let (folder, partial) = (self.ground.folder, self.partial(number));
        let Some(path) = drive::path_of(self.repositories, object) else {
            // Decoding has made sure that the repository is listed.
            return folder.remove(&partial).map(|()| Named::Conflict);
        };
        let path = format!("{}/{path}", self.pending);
        let parent = path.rsplit_once('/').map_or(".", |(parent, _)| parent);
        let _one_at_a_time = self.ground.naming.lock().unwrap_or_else(PoisonError::into_inner);
        match folder.length(&path)? {
            Some(found) => {
                let how = if found == object.length { Named::Before } else { Named::Conflict };
                folder.remove(&partial).map(|()| how)
            }
            None => {
                if self.ground.whole {
                    folder.create_folders_unsynced(parent)?;
                } else {
                    folder.create_folders(parent)?;
                    self.folders.insert(parent.to_owned());
                }
                self.named = true;
                folder.rename(&partial, &path).map(|()| Named::Now)
            }
        }
    }

    /// Makes files and names durable.
    fn sync(&mut self) -> io::Result<()> {
        let folder = self.ground.folder;
        if self.ground.whole {
            self.ground.sync_all()?;
        }
        while let Some(path) = self.folders.first() {
            self.ground.sync_one(|| folder.sync_folder(path))?;
            self.folders.pop_first();
        }
        self.named = false;
        Ok(())
    }
}

/// Where a seed's objects are while they are written.
pub(crate) fn partials(pending: &str) -> String {
    format!("{pending}/{PARTIALS}")
}

/// Removes what a call that ended half-way has left of a seed. No drive may be writing.
pub(crate) fn remove_partials(folder: &Beneath, pending: &str) -> io::Result<()> {
    let mut left = Vec::new();
    folder.walk(&partials(pending), &mut |found: beneath::Found| {
        left.push(found.path);
        true
    })?;
    left.iter().try_for_each(|path| folder.remove(path))
}
