//! Files beneath a folder that no name can lead out of: drives and destinations are opened through
//! here only. Knows nothing of what the files mean.
//!
//! Every path is resolved by the kernel with `openat2`: no symbolic link is followed, no mount
//! point crossed, the folder not left. Only regular files are read; a pipe or a device in the
//! place of one is an error, not a wait.

use rustix::fs::{
    self, AtFlags, Dir, FallocateFlags, FileType, FlockOperation, Mode, OFlags, ResolveFlags,
};
use rustix::io::Errno;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::{Scope, ScopedJoinHandle};
use store::direct;

/// An open folder.
#[derive(Debug)]
pub(crate) struct Beneath {
    folder: OwnedFd,
    path: PathBuf,
    file_mode: u32,
    folder_mode: u32,
}

/// Something found while walking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its path below the folder; where a name is not UTF-8, with replacement characters.
    pub(crate) path: String,
    /// Whether it is a regular file, and how long.
    pub(crate) length: Option<u64>,
}

/// Files at most this many folders deep are looked at; ours are at most five deep.
const MAX_DEPTH: usize = 16;

impl Beneath {
    /// Opens a folder. Links on the way to it are followed: its path is the caller's.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = fs::open(path, flags, Mode::empty())?;
        // Whoever the drive is handed to has another user id; what is on it is encrypted.
        Ok(Self { folder, path: path.to_owned(), file_mode: 0o644, folder_mode: 0o755 })
    }

    /// What is written from now on is for its owner alone.
    pub(crate) fn private(mut self) -> Self {
        (self.file_mode, self.folder_mode) = (0o600, 0o700);
        self
    }

    /// The path it was opened by.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What tells folders apart, whatever paths lead to them.
    pub(crate) fn identity(&self) -> io::Result<(u64, u64)> {
        let stat = fs::fstat(&self.folder)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Bytes that can still be written to the file system.
    pub(crate) fn available(&self) -> io::Result<u64> {
        let stat = fs::fstatvfs(&self.folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Keeps other processes of ours out for as long as this is open. False when one is in.
    pub(crate) fn lock(&self) -> io::Result<bool> {
        match fs::flock(&self.folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(cause) => Err(cause.into()),
        }
    }

    fn at(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let creates = flags.contains(OFlags::CREATE);
        let mode = if creates { Mode::from_raw_mode(self.file_mode) } else { Mode::empty() };
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(fs::openat2(&self.folder, path, flags, mode, resolve)?)
    }

    /// The folder a path is in, and its last name.
    fn parent<'p>(&self, path: &'p str) -> io::Result<(OwnedFd, &'p str)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
        Ok((self.at(parent, OFlags::RDONLY | OFlags::DIRECTORY)?, name))
    }

    /// Opens a regular file for reading, with its length.
    pub(crate) fn file(&self, path: &str) -> io::Result<(File, u64)> {
        step("open", path)?;
        let file = self.at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let stat = fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
        }
        Ok((File::from(file), u64::try_from(stat.st_size).unwrap_or(0)))
    }

    /// The whole of a file of at most `limit` bytes.
    pub(crate) fn read(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        let (file, length) = self.file(path)?;
        if length > limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(usize::try_from(length).unwrap_or(usize::MAX))?;
        file.take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// As [`read`](Self::read); none when there is no such file.
    pub(crate) fn read_if_there(&self, path: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        match self.read(path, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(cause),
        }
    }

    /// The length of a regular file; none when there is nothing of that name, or something else.
    pub(crate) fn length(&self, path: &str) -> io::Result<Option<u64>> {
        let file = match self.at(path, OFlags::PATH) {
            Ok(file) => file,
            Err(cause) if absent(&cause) => return Ok(None),
            Err(cause) => return Err(cause),
        };
        let stat = fs::fstat(&file)?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        Ok(regular.then(|| u64::try_from(stat.st_size).unwrap_or(0)))
    }

    /// Makes a folder and those above it, each synced into its parent.
    pub(crate) fn create_folders(&self, path: &str) -> io::Result<()> {
        self.make_folders(path, &|parent| Ok(fs::fsync(parent)?))
    }

    /// The same, and the next [`sync_all`](Self::sync_all) makes them survive a power cut.
    pub(crate) fn create_folders_unsynced(&self, path: &str) -> io::Result<()> {
        self.make_folders(path, &|_| Ok(()))
    }

    fn make_folders(
        &self,
        path: &str,
        sync: &dyn Fn(&OwnedFd) -> io::Result<()>,
    ) -> io::Result<()> {
        if self.at(path, OFlags::PATH | OFlags::DIRECTORY).is_ok() {
            return Ok(());
        }
        if let Some((above, _)) = path.rsplit_once('/') {
            self.make_folders(above, sync)?;
        }
        let (parent, name) = self.parent(path)?;
        step("mkdir", path)?;
        match fs::mkdirat(&parent, name, Mode::from_raw_mode(self.folder_mode)) {
            Ok(()) => sync(&parent),
            Err(Errno::EXIST) => Ok(()),
            Err(cause) => Err(cause.into()),
        }
    }

    /// Removes an empty folder; one that is not there is removed already.
    pub(crate) fn remove_folder(&self, path: &str) -> io::Result<()> {
        let removed = self.parent(path).and_then(|(parent, name)| {
            step("rmdir", path)?;
            Ok(fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?)
        });
        removed.or_else(|cause| if absent(&cause) { Ok(()) } else { Err(cause) })
    }

    /// Whether [`sync_all`](Self::sync_all) can be relied on here.
    pub(crate) fn syncs_as_a_whole(&self) -> bool {
        direct::is_on_a_disk(&self.folder)
    }

    /// Makes all that was written to the file system survive a power cut, files and names.
    pub(crate) fn sync_all(&self) -> io::Result<()> {
        step("sync all", ".")?;
        Ok(fs::syncfs(&self.folder)?)
    }

    /// A new file, which must not be there yet.
    pub(crate) fn create(&self, path: &str) -> io::Result<NewFile> {
        step("create", path)?;
        let file = self.at(path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
        Ok(NewFile { file: File::from(file), path: path.to_owned(), direct: false, at: 0 })
    }

    /// A file of ours to be gone on with behind its first `length` bytes; what follows is cut off.
    pub(crate) fn append(&self, path: &str, length: u64) -> io::Result<NewFile> {
        step("open", path)?;
        let mut file = File::from(self.at(path, OFlags::WRONLY)?);
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        Ok(NewFile { file, path: path.to_owned(), direct: false, at: length })
    }

    /// Gives a file another name, taking the place of whatever has it. Sync its folder afterwards.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (old, old_name) = self.parent(from)?;
        let (new, new_name) = self.parent(to)?;
        step("rename", to)?;
        Ok(fs::renameat(&old, old_name, &new, new_name)?)
    }

    /// Removes a file; one that is not there is removed already.
    pub(crate) fn remove(&self, path: &str) -> io::Result<()> {
        let removed = self.parent(path).and_then(|(parent, name)| {
            step("remove", path)?;
            Ok(fs::unlinkat(&parent, name, AtFlags::empty())?)
        });
        removed.or_else(|cause| if absent(&cause) { Ok(()) } else { Err(cause) })
    }

    /// Makes the names in a folder survive a power cut; `.` is the folder itself.
    pub(crate) fn sync_folder(&self, path: &str) -> io::Result<()> {
        step("sync folder", path)?;
        match fs::fsync(self.at(path, OFlags::RDONLY | OFlags::DIRECTORY)?) {
            Ok(()) | Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => Ok(()),
            Err(cause) => Err(cause.into()),
        }
    }

    /// Writes a file that matters: beside its name, synced, renamed, its folder synced.
    /// `beside` is the path of the partial file, on the same file system.
    pub(crate) fn write(&self, path: &str, beside: &str, bytes: &[u8]) -> io::Result<()> {
        self.remove(beside)?;
        let mut file = self.create(beside)?;
        file.write_all(bytes)?;
        file.sync()?;
        self.rename(beside, path)?;
        self.sync_folder(path.rsplit_once('/').map_or(".", |(parent, _)| parent))
    }

    /// Calls `each` for everything beneath `path` but folders; false stops the walk. A folder that
    /// is not there has nothing beneath it.
    pub(crate) fn walk(&self, path: &str, each: &mut dyn FnMut(Found) -> bool) -> io::Result<bool> {
        match self.at(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(folder) => self.walk_in(&folder, path.trim_matches('.'), 0, each),
            Err(cause) if absent(&cause) => Ok(true),
            Err(cause) => Err(cause),
        }
    }

    fn walk_in(
        &self,
        folder: &OwnedFd,
        prefix: &str,
        depth: usize,
        each: &mut dyn FnMut(Found) -> bool,
    ) -> io::Result<bool> {
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let shown = name.to_string_lossy();
            let path =
                if prefix.is_empty() { shown.into_owned() } else { format!("{prefix}/{shown}") };
            let stat = fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let goes_on = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory if depth < MAX_DEPTH => match open_folder(folder, name) {
                    Ok(inner) => self.walk_in(&inner, &path, depth + 1, each)?,
                    Err(_) => each(Found { path, length: None }),
                },
                FileType::RegularFile => {
                    each(Found { path, length: u64::try_from(stat.st_size).ok() })
                }
                _ => each(Found { path, length: None }),
            };
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Drop for Beneath {
    /// Closing alone would not do: a process that another thread is just starting has a copy of
    /// the handle for a moment, and the lock would last until it lets go of it.
    fn drop(&mut self) {
        let _ = fs::flock(&self.folder, FlockOperation::Unlock);
    }
}

/// One name in an open folder: neither a link nor a mount point.
fn open_folder(folder: &OwnedFd, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    Ok(fs::openat2(folder, name, flags, Mode::empty(), resolve)?)
}

fn absent(cause: &io::Error) -> bool {
    cause.kind() == io::ErrorKind::NotFound
}

/// A file being written.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    path: String,
    /// Whether whole blocks pass the page cache by.
    direct: bool,
    /// Where the next part goes.
    at: u64,
}

impl NewFile {
    /// Bytes written as parts.
    pub(crate) fn length(&self) -> u64 {
        self.at
    }

    /// Lets its parts pass the page cache by, where the file system is known to do that well.
    pub(crate) fn pass_the_cache(mut self) -> Self {
        self.direct =
            direct::is_on_a_disk(&self.file) && direct::set_direct(&self.file, true).is_ok();
        self
    }

    /// Writes the next part, which begins at a multiple of the block in memory. All parts but the
    /// last one have whole blocks only.
    pub(crate) fn write_part(&mut self, bytes: &[u8]) -> io::Result<()> {
        let whole = if self.direct { bytes.len() - bytes.len() % direct::BLOCK } else { 0 };
        let (blocks, tail) = bytes.split_at(whole);
        let mut rest = blocks;
        while self.direct && !rest.is_empty() {
            step("write", &self.path)?;
            match self.file.write_at(rest, self.at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.at += count as u64;
                    rest = rest.get(count..).unwrap_or_default();
                }
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                // A device with larger blocks, or a write cut short inside one.
                Err(cause) if cause.kind() == io::ErrorKind::InvalidInput => {
                    self.use_the_cache()?;
                }
                Err(cause) => return Err(cause),
            }
        }
        for through_cache in [rest, tail].into_iter().filter(|bytes| !bytes.is_empty()) {
            self.use_the_cache()?;
            step("write", &self.path)?;
            self.file.write_all_at(through_cache, self.at)?;
            self.at += through_cache.len() as u64;
        }
        Ok(())
    }

    fn use_the_cache(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.direct) {
            direct::set_direct(&self.file, false)?;
        }
        Ok(())
    }

    /// Asks for the room beforehand where the file system can tell, so that full is known early.
    pub(crate) fn reserve(&self, length: u64) -> io::Result<()> {
        step("reserve", &self.path)?;
        match fs::fallocate(&self.file, FallocateFlags::empty(), 0, length.max(1)) {
            Err(full @ (Errno::NOSPC | Errno::DQUOT)) => Err(full.into()),
            _ => Ok(()),
        }
    }

    /// Makes the contents survive a power cut.
    pub(crate) fn sync(&self) -> io::Result<()> {
        step("sync", &self.path)?;
        self.file.sync_all()
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        step("write", &self.path)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether an error of a write says that there is no room.
pub(crate) fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an error says that the drive is no longer there, or no longer works.
pub(crate) fn is_gone(cause: &io::Error) -> bool {
    const GONE: [Errno; 8] = [
        Errno::IO,
        Errno::NOENT,
        Errno::STALE,
        Errno::NODEV,
        Errno::NXIO,
        Errno::ROFS,
        Errno::NOTCONN,
        Errno::TIMEDOUT,
    ];
    cause.raw_os_error().is_some_and(|code| GONE.iter().any(|errno| errno.raw_os_error() == code))
}

/// Whether an error says that a path goes through a link, a mount point or out of the folder.
pub(crate) fn leads_away(cause: &io::Error) -> bool {
    let codes = [Errno::LOOP, Errno::XDEV, Errno::NOTDIR, Errno::ISDIR];
    cause.raw_os_error().is_some_and(|code| codes.iter().any(|errno| errno.raw_os_error() == code))
}

/// A thread that goes on with the work of the one that starts it: in tests the same steps fail.
#[cfg(not(test))]
pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> ScopedJoinHandle<'scope, T> {
    scope.spawn(work)
}

#[cfg(not(test))]
#[expect(clippy::unnecessary_wraps, reason = "tests let it fail")]
fn step(_action: &'static str, _path: &str) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use faults::spawn;
#[cfg(test)]
use faults::step;

/// Faults on purpose, for the tests of this crate.
#[cfg(test)]
pub(crate) mod faults {
    use super::{Scope, ScopedJoinHandle};
    use std::cell::RefCell;
    use std::io;
    use std::sync::{Arc, Mutex};

    type Hook = Arc<Mutex<dyn FnMut(&'static str, &str) -> io::Result<()> + Send>>;

    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    /// Runs `act` with `hook` called before every step on a file, which fails when the hook does.
    /// The threads that `act` starts have it too.
    pub(crate) fn with<R>(
        hook: impl FnMut(&'static str, &str) -> io::Result<()> + Send + 'static,
        act: impl FnOnce() -> R,
    ) -> R {
        HOOK.set(Some(Arc::new(Mutex::new(hook))));
        let result = act();
        HOOK.set(None);
        result
    }

    pub(crate) fn spawn<'scope, T: Send + 'scope>(
        scope: &'scope Scope<'scope, '_>,
        work: impl FnOnce() -> T + Send + 'scope,
    ) -> ScopedJoinHandle<'scope, T> {
        let hook = HOOK.with_borrow(Clone::clone);
        scope.spawn(move || {
            HOOK.set(hook);
            work()
        })
    }

    pub(super) fn step(action: &'static str, path: &str) -> io::Result<()> {
        let hook = HOOK.with_borrow(Clone::clone);
        hook.map_or(Ok(()), |hook| (*hook.lock().unwrap())(action, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_with_its_owner_even_if_a_child_has_a_copy_of_the_handle() {
        let dir = tempfile::tempdir().unwrap();
        let first = Beneath::open(dir.path()).unwrap();
        assert!(first.lock().unwrap());
        let copy = first.folder.try_clone().unwrap();
        let second = Beneath::open(dir.path()).unwrap();
        assert!(!second.lock().unwrap());
        drop(first);
        assert!(second.lock().unwrap());
        drop(copy);
    }
}
