//! The folder that a restore writes into, and the only way into it.
//!
//! Everything below is opened from one handle, in one step that the kernel keeps beneath it and
//! that follows no link. What is made in place of something else is made beside it and renamed
//! over it. Knows nothing of repositories.

use crate::Error;
use rustix::fs::{AtFlags, Dev, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(super) struct Place {
    root: OwnedFd,
    /// In the names of what is not finished: no repository can know it beforehand.
    token: u64,
}

const PRIVATE: Mode = Mode::RWXU;

impl Place {
    pub(super) fn open(target: &Path, overwrite: bool) -> Result<Self, Error> {
        let io = |action| move |cause| Error::Io { action, path: target.to_owned(), cause };
        std::fs::create_dir_all(target).map_err(io("creating"))?;
        let mut entries = std::fs::read_dir(target).map_err(io("reading"))?;
        if !overwrite && entries.next().is_some() {
            return Err(Error::TargetNotEmpty { target: target.to_owned() });
        }
        // The target itself may be reached through links: it is the user's word, not the repository's.
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = rustix::fs::open(target, flags, Mode::empty())
            .map_err(|errno| io("opening")(errno.into()))?;
        let token = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), target);
        Ok(Self { root, token })
    }

    /// What the file of that number is called until it is whole, in its own directory.
    fn partial(&self, number: usize) -> String {
        format!(".packmule-unfinished-{:016x}-{number}", self.token)
    }

    /// Waits until everything written is on the medium, where a late failure shows.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.root)?)
    }

    fn beneath(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        Ok(rustix::fs::openat2(&self.root, path, flags | OFlags::CLOEXEC, mode, resolve)?)
    }

    /// A handle on a directory below the target.
    pub(super) fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.beneath(path, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty())
    }

    /// Makes an unfinished file of that many bytes, all of them a hole.
    pub(super) fn make_file(&self, folder: &OwnedFd, number: usize, size: u64) -> io::Result<()> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(folder, self.partial(number), flags, mode)?;
        Ok(if size > 0 { rustix::fs::ftruncate(&file, size) } else { Ok(()) }?)
    }

    /// An unfinished file, for writing. `path` is what it will be called.
    pub(super) fn file(&self, path: &Path, number: usize) -> io::Result<File> {
        let partial = path.with_file_name(self.partial(number));
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = self.beneath(&partial, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        // Whoever may write to the directory could have put something else there.
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
            return Err(io::Error::other("somebody replaced it while it was written"));
        }
        Ok(File::from(file))
    }

    /// Gives a file that is whole its name.
    pub(super) fn finish(&self, path: &Path, number: usize) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        rename_over(&folder, OsStr::new(&self.partial(number)), name)
    }

    /// Takes an unfinished file away again. What cannot be removed keeps a name that says what it is.
    pub(super) fn discard(&self, path: &Path, number: usize) {
        if let Ok((folder, _)) = self.parent(path) {
            let _ = rustix::fs::unlinkat(&folder, self.partial(number), AtFlags::empty());
        }
    }

    /// A second name for `first`.
    pub(super) fn hard_link(&self, first: &Path, second: &Path) -> io::Result<()> {
        let (from, from_name) = self.parent(first)?;
        let (to, to_name) = self.parent(second)?;
        self.replacing(&to, to_name, |name| {
            rustix::fs::linkat(&from, from_name, &to, name, AtFlags::empty())
        })
    }

    /// Makes a symbolic link.
    pub(super) fn make_symlink(
        &self,
        folder: &OwnedFd,
        name: &OsStr,
        target: &[u8],
    ) -> io::Result<()> {
        let target = OsStr::from_bytes(target);
        self.replacing(folder, name, |name| rustix::fs::symlinkat(target, folder, name))
    }

    /// Makes a device node or pipe.
    pub(super) fn make_special(
        &self,
        folder: &OwnedFd,
        name: &OsStr,
        kind: FileType,
        device: Dev,
    ) -> io::Result<()> {
        let mode = Mode::RUSR | Mode::WUSR;
        self.replacing(folder, name, |name| rustix::fs::mknodat(folder, name, kind, mode, device))
    }

    /// Makes something in place of what may be there.
    fn replacing(
        &self,
        folder: &OwnedFd,
        name: &OsStr,
        make: impl Fn(&OsStr) -> rustix::io::Result<()>,
    ) -> io::Result<()> {
        match make(name) {
            Err(Errno::EXIST) => {}
            other => return Ok(other?),
        }
        // One at a time, by one thread: a number that no file has.
        let partial = self.partial(usize::MAX);
        make(OsStr::new(&partial))?;
        let renamed = rename_over(folder, OsStr::new(&partial), name);
        if renamed.is_err() {
            let _ = rustix::fs::unlinkat(folder, &partial, AtFlags::empty());
        }
        renamed
    }

    fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.directory(path.parent().unwrap_or(Path::new("")))?, name))
    }
}

/// A directory that is not empty stays, and is an error.
fn rename_over(folder: &OwnedFd, from: &OsStr, to: &OsStr) -> io::Result<()> {
    match rustix::fs::renameat(folder, from, folder, to) {
        Err(Errno::ISDIR) => rustix::fs::unlinkat(folder, to, AtFlags::REMOVEDIR)?,
        other => return Ok(other?),
    }
    Ok(rustix::fs::renameat(folder, from, folder, to)?)
}

/// Makes a directory, or keeps the one that is there.
pub(super) fn make_dir(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::mkdirat(folder, name, PRIVATE) {
        Err(Errno::EXIST) => {}
        other => return Ok(other?),
    }
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Ok(());
    }
    rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
    Ok(rustix::fs::mkdirat(folder, name, PRIVATE)?)
}

/// A name below a path.
pub(super) fn below(path: &Path, name: &[u8]) -> PathBuf {
    path.join(OsStr::from_bytes(name))
}
