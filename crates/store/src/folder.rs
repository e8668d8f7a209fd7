//! A repository in a local folder, laid out as restic does. Makes the repository's own folder only
//! when asked to: a drive that is not mounted must not become files beneath its mount point.

use crate::direct::{self, LargeFile};
use crate::durable::{self, Closed, Partial, is_one_of};
use crate::stream::{BUFFER, Checked, Source, read_full, read_limited, read_some};
use crate::{Error, Listed, Result, Store};
use model::{ObjectKey, ObjectKind};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, DirEntry, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Objects are their owner's alone: keys are among them.
const OBJECT_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// From this length on, room is asked for before the bytes are written, and the cache is passed by.
const LARGE_FROM: u64 = 1 << 20;
/// No pack is longer than restic's 128 MiB by much; what a caller claims beyond is not reserved.
const RESERVE_UP_TO: u64 = 256 << 20;
/// How often a name may be taken and freed again by others while one object is published.
const PUBLISH_ATTEMPTS: u32 = 8;

/// A repository in a local folder. See the [crate's contract](crate).
///
/// Several processes may use one folder at once, stock restic among them.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// Kinds whose folders are known to be there, durably.
    ready: Mutex<BTreeSet<ObjectKind>>,
}

/// No source is silent for so long that its partial file could be taken for a dead writer's.
const LEFTOVER: Duration = Duration::from_secs(24 * 3600);

/// What [`Folder::remove_stale`] removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stale {
    /// Files.
    pub files: u64,
    /// Bytes they held.
    pub bytes: u64,
}

impl Folder {
    /// The repository in the folder `root`. Touches nothing: see [`create`](Store::create).
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), ready: Mutex::default() }
    }

    /// The repository's folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes what dead writers left unfinished: partial files last written to more than
    /// `older_than` before `now`. Files of a writer that is still at it are younger than that as
    /// long as `older_than` exceeds the longest silence of any source; a day does.
    ///
    /// # Errors
    /// As [`list`](Store::list).
    pub fn remove_stale(&self, older_than: Duration, now: SystemTime) -> Result<Stale> {
        let mut removed = Stale::default();
        for folder in self.folders() {
            for entry in self.entries(&folder)? {
                if entry.file_name().to_str().is_some_and(durable::is_partial) {
                    self.remove_if_stale(&entry, older_than, now, &mut removed)?;
                }
            }
        }
        Ok(removed)
    }

    fn remove_if_stale(
        &self,
        entry: &DirEntry,
        older_than: Duration,
        now: SystemTime,
        removed: &mut Stale,
    ) -> Result<()> {
        let path = entry.path();
        let outcome = entry.metadata().and_then(|metadata| {
            let age = now.duration_since(metadata.modified()?).unwrap_or_default();
            if !metadata.is_file() || age <= older_than {
                return Ok(None);
            }
            fs::remove_file(&path).map(|()| Some(metadata.len()))
        });
        match outcome {
            Ok(Some(bytes)) => {
                *removed = Stale { files: removed.files + 1, bytes: removed.bytes + bytes }
            }
            Ok(None) => {}
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(self.error("removing", &path, cause)),
        }
        Ok(())
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.path())
    }

    /// Every folder that can hold objects, and so partial files.
    fn folders(&self) -> Vec<PathBuf> {
        let of_kind = ObjectKind::ALL.into_iter().flat_map(|kind| self.folders_of(kind));
        of_kind.collect()
    }

    fn folders_of(&self, kind: ObjectKind) -> Vec<PathBuf> {
        let folder = self.root.join(kind.folder());
        match kind {
            ObjectKind::Config => vec![self.root.clone()],
            ObjectKind::Pack => {
                (0..=u8::MAX).map(|shard| folder.join(format!("{shard:02x}"))).collect()
            }
            _ => vec![folder],
        }
    }

    /// Makes a kind's folders once, so that storing an object makes none on the way.
    fn prepare(&self, kind: ObjectKind) -> Result<()> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if ready.contains(&kind) {
            return Ok(());
        }
        self.require_root()?;
        if kind != ObjectKind::Config {
            self.make_folders(kind)?;
        }
        ready.insert(kind);
        Ok(())
    }

    fn make_folders(&self, kind: ObjectKind) -> Result<()> {
        let top = self.root.join(kind.folder());
        let make = |folder: &Path| match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        };
        make(&top).map_err(|cause| self.error("making", &top, cause))?;
        for folder in self.folders_of(kind) {
            make(&folder).map_err(|cause| self.error("making", &folder, cause))?;
        }
        // Also where all were there: whoever made them may have died before this.
        for folder in [top.as_path(), &self.root] {
            durable::sync_folder(folder).map_err(|cause| self.error("syncing", folder, cause))?;
        }
        Ok(())
    }

    /// A missing root is a drive that is gone, or a repository never made: no empty one.
    fn require_root(&self) -> Result<()> {
        let is_folder = fs::metadata(&self.root).map(|metadata| metadata.is_dir());
        match is_folder {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.gone(io::ErrorKind::NotADirectory.into())),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Err(self.gone(cause)),
            Err(cause) => Err(self.error("looking at", &self.root, cause)),
        }
    }

    fn gone(&self, cause: io::Error) -> Error {
        Error::Unavailable { location: self.location(), cause: Box::new(cause) }
    }

    /// The object's file and length, if there is one. Whatever else has its name is refused.
    fn find(&self, key: &ObjectKey) -> Result<Option<(File, u64)>> {
        let path = self.path(key);
        // NONBLOCK: a pipe at the object's place must not hold us up; files ignore it.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) if is_one_of(&cause, &[Errno::LOOP, Errno::NXIO]) => {
                return Err(self.no_file(&path));
            }
            Err(cause) => return Err(self.error("opening", &path, cause)),
        };
        let metadata = file.metadata().map_err(|cause| self.error("looking at", &path, cause))?;
        if !metadata.is_file() {
            return Err(self.no_file(&path));
        }
        Ok(Some((file, metadata.len())))
    }

    /// As [`find`](Self::find), with a reason where there is none. A config that is missing together
    /// with its folder is no repository; anything else that is, is a drive that went away.
    fn require(&self, key: &ObjectKey) -> Result<(File, u64)> {
        if let Some(found) = self.find(key)? {
            return Ok(found);
        }
        if key.kind() != ObjectKind::Config {
            self.require_root()?;
        }
        Err(Error::NotFound { location: self.location(), key: *key })
    }

    fn no_file(&self, path: &Path) -> Error {
        let what =
            format!("{} is not a regular file; remove it if you do not know it", path.display());
        Error::Denied { location: self.location(), what }
    }

    /// `aligned` is all that `source` yields, where that lies in memory so that it can be written without being copied.
    fn store(
        &self,
        key: &ObjectKey,
        length: u64,
        aligned: Option<&[u8]>,
        source: &mut Source<'_>,
    ) -> Result<()> {
        if let Some(existing) = self.find(key)? {
            return self.settle(key, existing, length, source);
        }
        self.prepare(key.kind())?;
        let path = self.path(key);
        let folder = durable::parent(&path);
        let mut partial = self.begin(key.kind(), folder)?;
        self.fill(&path, &mut partial, length, aligned, source)?;
        let closed = partial.close(length).map_err(|cause| self.error("writing", &path, cause))?;
        self.publish(key, &path, closed, length)
    }

    fn begin(&self, kind: ObjectKind, folder: &Path) -> Result<Partial> {
        let begun = match Partial::create_in(folder, OBJECT_MODE) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                // Somebody removed an empty folder, or the drive went away: which, this tells.
                self.ready.lock().unwrap_or_else(PoisonError::into_inner).remove(&kind);
                self.prepare(kind)?;
                Partial::create_in(folder, OBJECT_MODE)
            }
            other => other,
        };
        begun.map_err(|cause| self.error("making a file in", folder, cause))
    }

    fn fill(
        &self,
        path: &Path,
        partial: &mut Partial,
        length: u64,
        aligned: Option<&[u8]>,
        source: &mut Source<'_>,
    ) -> Result<()> {
        let failed = |cause| self.error("writing", path, cause);
        if length < LARGE_FROM {
            return fill_small(partial, source, failed);
        }
        if length <= RESERVE_UP_TO {
            partial.reserve(length).map_err(failed)?;
        }
        if let Some(bytes) = aligned {
            return direct::write_whole(partial.file(), bytes).map_err(failed);
        }
        let mut large = LargeFile::new(partial.file());
        loop {
            match source(large.room())? {
                0 => return large.finish().map_err(failed),
                count => large.filled(count).map_err(failed)?,
            }
        }
    }

    fn publish(&self, key: &ObjectKey, path: &Path, mut closed: Closed, length: u64) -> Result<()> {
        let failed = |cause| self.error("reading", path, cause);
        for _ in 0..PUBLISH_ATTEMPTS {
            match closed.name_it(path) {
                Ok(()) => return self.sync_folder_of(path),
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(self.error("naming", path, cause)),
            }
            if let Some(existing) = self.find(key)? {
                let mut ours = closed.open().map_err(failed)?;
                let mut source = |buffer: &mut [u8]| read_some(&mut ours, buffer).map_err(failed);
                return self.settle(key, existing, length, &mut source);
            }
        }
        Err(Error::Conflict { location: self.location(), key: *key })
    }

    /// The name is taken: a success if by the same bytes, and then as durable as if just written.
    /// Reads the source to its end, because a wrong source is an error whatever is there.
    fn settle(
        &self,
        key: &ObjectKey,
        (mut existing, existing_length): (File, u64),
        length: u64,
        source: &mut Source<'_>,
    ) -> Result<()> {
        let path = self.path(key);
        let failed = |cause| self.error("reading", &path, cause);
        let mut same = existing_length == length;
        let (mut theirs, mut ours) = (vec![0; BUFFER], vec![0; BUFFER]);
        loop {
            let count = source(&mut ours)?;
            if count == 0 {
                break;
            }
            if same {
                let window = theirs.get_mut(..count).unwrap_or_default();
                let read = read_full(&mut existing, window).map_err(failed)?;
                same = read == count && ours.get(..count) == theirs.get(..count);
            }
        }
        if !same {
            return Err(Error::Conflict { location: self.location(), key: *key });
        }
        existing.sync_all().map_err(|cause| self.error("syncing", &path, cause))?;
        self.sync_folder_of(&path)
    }

    fn sync_folder_of(&self, path: &Path) -> Result<()> {
        let folder = durable::parent(path);
        durable::sync_folder(folder).map_err(|cause| self.error("syncing", folder, cause))
    }

    /// A folder's entries; none if there is no such folder.
    fn entries(&self, folder: &Path) -> Result<Vec<DirEntry>> {
        match fs::read_dir(folder).and_then(Iterator::collect) {
            Ok(entries) => Ok(entries),
            // Or the drive went away since it was last looked at, and a list is whole or an error.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                self.require_root().map(|()| Vec::new())
            }
            Err(cause) => Err(self.error("listing", folder, cause)),
        }
    }

    /// What an entry lists as: nothing, unless it is a regular file with an object's name.
    fn listed(&self, kind: ObjectKind, entry: &DirEntry) -> Result<Option<Listed>> {
        let path = entry.path();
        let key = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
        let key = key.and_then(ObjectKey::from_path).filter(|key| key.kind() == kind);
        let Some(key) = key else { return Ok(None) };
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => Ok(Some(Listed { key, length: metadata.len() })),
            Ok(_) => Ok(None),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                self.require_root().map(|()| None)
            }
            Err(cause) => Err(self.error("looking at", &path, cause)),
        }
    }

    fn error(&self, action: &'static str, path: &Path, cause: io::Error) -> Error {
        const FULL: [Errno; 2] = [Errno::NOSPC, Errno::DQUOT];
        const DENIED: [Errno; 3] = [Errno::ACCESS, Errno::PERM, Errno::ROFS];
        const GONE: [Errno; 17] = [
            Errno::IO,
            Errno::STALE,
            Errno::NOTCONN,
            Errno::NODEV,
            Errno::NXIO,
            Errno::HOSTDOWN,
            Errno::HOSTUNREACH,
            Errno::NETDOWN,
            Errno::NETUNREACH,
            Errno::TIMEDOUT,
            Errno::SHUTDOWN,
            Errno::CONNRESET,
            Errno::CONNABORTED,
            Errno::CONNREFUSED,
            Errno::REMOTEIO,
            Errno::NOMEDIUM,
            Errno::PIPE,
        ];
        let location = self.location();
        if is_one_of(&cause, &FULL) {
            Error::Full { location }
        } else if is_one_of(&cause, &DENIED) {
            Error::Denied { location, what: format!("{action} {}: {cause}", path.display()) }
        } else if is_one_of(&cause, &GONE) {
            Error::Unavailable { location, cause: Box::new(cause) }
        } else {
            Error::Io { action, path: path.display().to_string(), cause }
        }
    }
}

fn fill_small(
    partial: &mut Partial,
    source: &mut Source<'_>,
    failed: impl Fn(io::Error) -> Error,
) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match source(&mut buffer)? {
            0 => return Ok(()),
            count => partial
                .file()
                .write_all(buffer.get(..count).unwrap_or_default())
                .map_err(&failed)?,
        }
    }
}

impl Store for Folder {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn create(&self) -> Result<()> {
        durable::create_folder(&self.root, FOLDER_MODE)
            .map_err(|cause| self.error("making", &self.root, cause))?;
        ObjectKind::ALL.into_iter().try_for_each(|kind| self.prepare(kind))
    }

    fn put(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        let mut source = |buffer: &mut [u8]| {
            read_some(&mut rest, buffer).map_err(|cause| Error::Source { key: *key, cause })
        };
        let aligned = Some(bytes).filter(|bytes| direct::is_aligned(bytes));
        self.store(key, bytes.len() as u64, aligned, &mut source)
    }

    fn put_from(&self, key: &ObjectKey, length: u64, from: &mut dyn Read) -> Result<()> {
        let mut checked = Checked::new(self.location(), key, length, from);
        self.store(key, length, None, &mut |buffer: &mut [u8]| checked.next(buffer))
    }

    fn get(&self, key: &ObjectKey, limit: u64) -> Result<Vec<u8>> {
        let (mut file, length) = self.require(key)?;
        let too_long =
            |length| Error::TooLong { location: self.location(), key: *key, length, limit };
        if length > limit {
            return Err(too_long(length));
        }
        let bytes = read_limited(&mut file, limit, length)
            .map_err(|cause| self.error("reading", &self.path(key), cause))?;
        bytes.ok_or_else(|| too_long(limit.saturating_add(1)))
    }

    fn read_at(&self, key: &ObjectKey, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let (file, length) = self.require(key)?;
        let wanted = buffer.len() as u64;
        let short = || {
            let what = format!("it ends at {length}, before {wanted} + {offset}");
            Error::Corrupt { location: self.location(), key: *key, what }
        };
        if offset.checked_add(wanted).is_none_or(|end| end > length) {
            return Err(short());
        }
        match file.read_exact_at(buffer, offset) {
            Ok(()) => Ok(()),
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => Err(short()),
            Err(cause) => Err(self.error("reading", &self.path(key), cause)),
        }
    }

    fn open(&self, key: &ObjectKey) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.require(key)?.0))
    }

    fn length(&self, key: &ObjectKey) -> Result<u64> {
        Ok(self.require(key)?.1)
    }

    fn lists_at_once(&self) -> bool {
        File::open(&self.root).is_ok_and(direct::lists_at_once)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        self.require_root()?;
        let mut found = Vec::new();
        for folder in self.folders_of(kind) {
            for entry in self.entries(&folder)? {
                found.extend(self.listed(kind, &entry)?);
            }
        }
        Ok(found)
    }

    fn remove(&self, key: &ObjectKey) -> Result<()> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            // Durable, because what is removed next may rely on this being gone.
            Ok(()) => self.sync_folder_of(&path),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => self.require_root(),
            Err(cause) => Err(self.error("removing", &path, cause)),
        }
    }

    fn remove_leftovers(&self) -> Result<()> {
        self.remove_stale(LEFTOVER, SystemTime::now()).map(|_| ())
    }
}

#[cfg(test)]
mod tests;
