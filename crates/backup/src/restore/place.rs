//! The folder that a restore writes into, and the only way into it.
//!
//! Everything below is opened from one handle, in one step that the kernel keeps beneath it and
//! that follows no link. What is made in place of something else is made beside it and renamed
//! over it. Knows nothing of repositories.

use crate::Error;
use rustix::fs::{AtFlags, CWD, Dev, FileType, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(super) struct Place {
    root: OwnedFd,
    /// In the names of what is not finished: no repository can know it beforehand.
    token: u64,
    /// Files can be made without a name and get one later: then a killed restore leaves nothing of
    /// those that it had not finished.
    nameless: bool,
    /// The file system is ext4: it lets one write at a time add blocks to a file, and many at once
    /// write where there are some.
    pub(super) reserves: bool,
}

/// What `statfs` calls it.
const EXT4: rustix::fs::FsWord = 0xEF53;

/// What names of unfinished files begin with.
const UNFINISHED: &str = ".packmule-unfinished-";

/// For folders until all that is in them is there.
const PRIVATE: Mode = Mode::RWXU;

impl Place {
    /// The folder, made when it is not there. When it is `only_looked` at, it is not, and then there may be none.
    /// `token` is what unfinished files are known by.
    pub(super) fn open(
        target: &Path,
        token: u64,
        only_looked: bool,
    ) -> Result<Option<Self>, Error> {
        let io = |action| move |cause| Error::Io { action, path: target.to_owned(), cause };
        if !only_looked {
            std::fs::create_dir_all(target).map_err(io("creating"))?;
        }
        // The target itself may be reached through links: it is the user's word, not the repository's.
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = match rustix::fs::open(target, flags, Mode::empty()) {
            Err(Errno::NOENT) if only_looked => return Ok(None),
            opened => opened.map_err(|errno| io("opening")(errno.into()))?,
        };
        let reserves = rustix::fs::fstatfs(&root).is_ok_and(|stat| stat.f_type == EXT4);
        let mut place = Self { root, token, nameless: true, reserves };
        place.nameless = !only_looked && place.try_nameless().is_ok();
        Ok(Some(place))
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> io::Result<bool> {
        let names = entries(&self.directory(Path::new(""))?)?;
        Ok(names.is_empty())
    }

    /// Which folder it is, on which file system.
    pub(super) fn identity(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::fstat(&self.root)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Removes what restores that were killed have left unfinished in a folder.
    pub(super) fn clear(folder: &OwnedFd, tokens: &[u64]) -> io::Result<()> {
        let begins: Vec<String> =
            tokens.iter().map(|token| format!("{UNFINISHED}{token:016x}-")).collect();
        for name in entries(folder)? {
            if begins.iter().any(|begin| name.starts_with(begin.as_bytes())) {
                remove_unfinished(folder, OsStr::from_bytes(&name))?;
            }
        }
        Ok(())
    }

    /// Not every file system has files without names, nor gives every one a name later.
    fn try_nameless(&self) -> rustix::io::Result<()> {
        let name = self.partial(u64::MAX);
        let file = rustix::fs::openat(&self.root, ".", NAMELESS, Mode::RUSR)?;
        link(&file, &self.root, OsStr::new(&name))?;
        rustix::fs::unlinkat(&self.root, &name, AtFlags::empty())
    }

    /// What the file of that number is called until it is whole, in its own directory.
    fn partial(&self, number: u64) -> String {
        format!("{UNFINISHED}{:016x}-{number}", self.token)
    }

    /// Waits until everything written is on the medium, where a late failure shows.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.root)?)
    }

    fn beneath(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        Ok(rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)?)
    }

    /// A handle on a directory below the target.
    pub(super) fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        self.beneath(path, OFlags::DIRECTORY | OFlags::RDONLY)
    }

    /// A handle on a directory below the target that needs no right to read it.
    pub(super) fn directory_itself(&self, path: &Path) -> io::Result<OwnedFd> {
        self.beneath(path, OFlags::DIRECTORY | OFlags::PATH)
    }

    /// Makes an unfinished file for a name in that folder. Answers whether it has one for the time
    /// being; it must be removed then if it does not become whole. `mode` is what it shall have
    /// in the end, as far as that can be given to it now.
    pub(super) fn begin(
        &self,
        folder: &OwnedFd,
        number: u64,
        mode: Mode,
    ) -> io::Result<(File, bool)> {
        if self.nameless {
            return Ok((rustix::fs::openat(folder, ".", NAMELESS, mode)?.into(), false));
        }
        let mode = Mode::RUSR | Mode::WUSR;
        Ok((rustix::fs::openat(folder, self.partial(number), NEW, mode)?.into(), true))
    }

    /// Makes a file under its own name, in a directory that has none yet. It must be removed if it does not become whole.
    pub(super) fn begin_named(folder: &OwnedFd, name: &OsStr, mode: Mode) -> io::Result<File> {
        Ok(rustix::fs::openat(folder, name, NEW, mode)?.into())
    }

    /// Takes such a file away again.
    pub(super) fn discard_named(folder: &OwnedFd, name: &OsStr) {
        let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
    }

    /// What the directory of that number is called until all that is in it is there.
    pub(super) fn hidden(&self, number: u64) -> String {
        // No file has such a number.
        self.partial(number | 1 << 63)
    }

    /// Gives a hidden directory its name. Where something has that name by now, what is in it goes there, as far as its
    /// names are free; answers those that were not, which are gone.
    pub(super) fn unhide(
        &self,
        above: &OwnedFd,
        number: u64,
        name: &OsStr,
    ) -> io::Result<Vec<Vec<u8>>> {
        let hidden = self.hidden(number);
        let hidden = OsStr::new(&hidden);
        match rename_new(above, hidden, name) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
            // Without the flag there is but this: it takes the name from an empty directory only.
            Err(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
                return Ok(rustix::fs::renameat(above, hidden, above, name).map(|()| Vec::new())?);
            }
            other => return other.map(|()| Vec::new()),
        }
        let open = |name| rustix::fs::openat(above, name, FOLDER, Mode::empty());
        let (from, to) = (open(hidden)?, open(name)?);
        let mut left_out = Vec::new();
        for entry in entries(&from)? {
            let name = OsStr::from_bytes(&entry);
            match move_new(&from, &to, name) {
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                    rustix::fs::unlinkat(&from, name, AtFlags::empty())?;
                    left_out.push(entry);
                }
                other => other?,
            }
        }
        rustix::fs::unlinkat(above, hidden, AtFlags::REMOVEDIR)?;
        Ok(left_out)
    }

    /// Gives an unfinished file that has none a name for the time being, so that it can be closed.
    pub(super) fn park(&self, folder: &OwnedFd, number: u64, file: &File) -> io::Result<()> {
        Ok(link(file, folder, OsStr::new(&self.partial(number)))?)
    }

    /// An unfinished file that has a name, for writing.
    pub(super) fn reopen(&self, folder: &OwnedFd, number: u64) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, self.partial(number), flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        // Whoever may write to the directory could have put something else there.
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink != 1 {
            return Err(io::Error::other("somebody replaced it while it was written"));
        }
        Ok(File::from(file))
    }

    /// Gives a file that is whole its name; in place of whatever has it if it is to `replace` that.
    pub(super) fn finish(
        &self,
        folder: &OwnedFd,
        number: u64,
        unnamed: Option<&File>,
        name: &OsStr,
        replace: bool,
    ) -> io::Result<()> {
        let partial = self.partial(number);
        if let Some(file) = unnamed {
            match link(file, folder, name) {
                Err(Errno::EXIST) if replace => link(file, folder, OsStr::new(&partial))?,
                other => return Ok(other?),
            }
        }
        let rename = if replace { rename_over } else { rename_new };
        rename(folder, OsStr::new(&partial), name).inspect_err(|_| {
            self.discard(folder, number);
        })
    }

    /// Takes an unfinished file away again. What cannot be removed keeps a name that says what it is.
    pub(super) fn discard(&self, folder: &OwnedFd, number: u64) {
        let _ = rustix::fs::unlinkat(folder, self.partial(number), AtFlags::empty());
    }

    /// A second name for `first`.
    pub(super) fn hard_link(&self, first: &Path, second: &Path, replace: bool) -> io::Result<()> {
        let (from, from_name) = self.parent(first)?;
        let (to, to_name) = self.parent(second)?;
        self.making(&to, to_name, replace, |name| {
            rustix::fs::linkat(&from, from_name, &to, name, AtFlags::empty())
        })
    }

    /// Makes a symbolic link.
    pub(super) fn make_symlink(
        &self,
        folder: &OwnedFd,
        name: &OsStr,
        target: &[u8],
        replace: bool,
    ) -> io::Result<()> {
        let target = OsStr::from_bytes(target);
        self.making(folder, name, replace, |name| rustix::fs::symlinkat(target, folder, name))
    }

    /// Makes a device node or pipe.
    pub(super) fn make_special(
        &self,
        folder: &OwnedFd,
        name: &OsStr,
        (kind, device): (FileType, Dev),
        replace: bool,
    ) -> io::Result<()> {
        let mode = Mode::RUSR | Mode::WUSR;
        self.making(folder, name, replace, |name| {
            rustix::fs::mknodat(folder, name, kind, mode, device)
        })
    }

    /// Makes something; in place of what is there if it is to `replace` that.
    fn making(
        &self,
        folder: &OwnedFd,
        name: &OsStr,
        replace: bool,
        make: impl Fn(&OsStr) -> rustix::io::Result<()>,
    ) -> io::Result<()> {
        match make(name) {
            Err(Errno::EXIST) if replace => {}
            other => return Ok(other?),
        }
        // One at a time, by one thread: a number that no file has.
        let partial = self.partial(u64::MAX);
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

const NAMELESS: OFlags = OFlags::TMPFILE.union(OFlags::WRONLY).union(OFlags::CLOEXEC);

/// Of a file that nobody else has made.
const NEW: OFlags = OFlags::CREATE
    .union(OFlags::EXCL)
    .union(OFlags::WRONLY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes an unfinished file, or an unfinished directory, which has none in it.
fn remove_unfinished(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        other => return Ok(other?),
    }
    let inside = rustix::fs::openat(folder, name, FOLDER, Mode::empty())?;
    for entry in entries(&inside)? {
        rustix::fs::unlinkat(&inside, OsStr::from_bytes(&entry), AtFlags::empty())?;
    }
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

/// Gives an open file that has no name one.
fn link(file: impl AsFd, folder: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::linkat(&file, "", folder, name, AtFlags::EMPTY_PATH) {
        // Older kernels ask for a privilege that the way through the file's own link does without.
        Err(Errno::NOENT | Errno::PERM) => {
            let path = fd_path(&file);
            rustix::fs::linkat(CWD, &path, folder, name, AtFlags::SYMLINK_FOLLOW)
        }
        other => other,
    }
}

/// A path to exactly what the handle is on.
pub(super) fn fd_path(fd: impl AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// A directory that is not empty stays, and is an error.
fn rename_over(folder: &OwnedFd, from: &OsStr, to: &OsStr) -> io::Result<()> {
    match rustix::fs::renameat(folder, from, folder, to) {
        Err(Errno::ISDIR) => rustix::fs::unlinkat(folder, to, AtFlags::REMOVEDIR)?,
        other => return Ok(other?),
    }
    Ok(rustix::fs::renameat(folder, from, folder, to)?)
}

/// Without taking a name from anything.
fn rename_new(folder: &OwnedFd, from: &OsStr, to: &OsStr) -> io::Result<()> {
    take_new((folder, from), (folder, to))
}

/// Into another folder, without taking a name from anything.
fn move_new(from: &OwnedFd, to: &OwnedFd, name: &OsStr) -> io::Result<()> {
    take_new((from, name), (to, name))
}

fn take_new(from: (&OwnedFd, &OsStr), to: (&OwnedFd, &OsStr)) -> io::Result<()> {
    match rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE) {
        // Not every file system knows how.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            rustix::fs::linkat(from.0, from.1, to.0, to.1, AtFlags::empty())?;
            Ok(rustix::fs::unlinkat(from.0, from.1, AtFlags::empty())?)
        }
        other => Ok(other?),
    }
}

/// Makes a directory, or keeps the one that is there; in place of anything else if it is to `replace` that.
pub(super) fn make_dir(folder: &OwnedFd, name: &OsStr, replace: bool) -> io::Result<()> {
    match rustix::fs::mkdirat(folder, name, PRIVATE) {
        Err(Errno::EXIST) => {}
        other => return Ok(other?),
    }
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Ok(());
    }
    if !replace {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
    Ok(rustix::fs::mkdirat(folder, name, PRIVATE)?)
}

/// The names of what is in a folder.
pub(super) fn entries(folder: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}
