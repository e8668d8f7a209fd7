//! The folder that a restore writes into, and the only way into it.
//!
//! Everything below is opened from one handle, in one step that the kernel keeps beneath it and
//! that follows no link. Knows nothing of repositories.

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
        Ok(Self { root })
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

    /// An existing file, for writing.
    pub(super) fn file(&self, path: &Path) -> io::Result<File> {
        Ok(File::from(self.beneath(path, OFlags::WRONLY | OFlags::NOFOLLOW, Mode::empty())?))
    }

    /// Takes a file away again. One that is gone is away.
    pub(super) fn remove_file(&self, path: &Path) {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
            && let Ok(folder) = self.directory(parent)
        {
            let _ = rustix::fs::unlinkat(&folder, name, AtFlags::empty());
        }
    }

    /// A second name for `first`.
    pub(super) fn hard_link(&self, first: &Path, second: &Path) -> io::Result<()> {
        let (from, from_name) = self.parent(first)?;
        let (to, to_name) = self.parent(second)?;
        replacing(&to, to_name, || {
            rustix::fs::linkat(&from, from_name, &to, to_name, AtFlags::empty())
        })
    }

    fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.directory(path.parent().unwrap_or(Path::new("")))?, name))
    }
}

/// Makes something in place of what may be there. A directory that is not empty stays, and is an error.
fn replacing(
    folder: &OwnedFd,
    name: &OsStr,
    make: impl Fn() -> rustix::io::Result<()>,
) -> io::Result<()> {
    match make() {
        Err(Errno::EXIST) => {}
        other => return Ok(other?),
    }
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?,
        other => other?,
    }
    Ok(make()?)
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

/// Makes a file of that many bytes, all of them a hole.
pub(super) fn make_file(folder: &OwnedFd, name: &OsStr, size: u64) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    replacing(folder, name, || {
        let file = rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?;
        if size > 0 { rustix::fs::ftruncate(&file, size) } else { Ok(()) }
    })
}

/// Makes a symbolic link.
pub(super) fn make_symlink(folder: &OwnedFd, name: &OsStr, target: &[u8]) -> io::Result<()> {
    replacing(folder, name, || rustix::fs::symlinkat(OsStr::from_bytes(target), folder, name))
}

/// Makes a device node or pipe.
pub(super) fn make_special(
    folder: &OwnedFd,
    name: &OsStr,
    kind: FileType,
    device: Dev,
) -> io::Result<()> {
    replacing(folder, name, || {
        rustix::fs::mknodat(folder, name, kind, Mode::RUSR | Mode::WUSR, device)
    })
}

/// A name below a path.
pub(super) fn below(path: &Path, name: &[u8]) -> PathBuf {
    path.join(OsStr::from_bytes(name))
}
