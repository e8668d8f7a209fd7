//! Files that matter: written beside their name, synced, published, their folder synced.
//! Knows nothing of repositories; every crate that keeps state in files writes it through here.
//!
//! ```text
//!  create .packmule-<pid>-<random>.partial     a crash here leaves a partial file, which nobody reads
//!      │  write, fsync, close, check
//!      ▼
//!  rename onto the name                        a crash here leaves the old state or the new one
//!      │  fsync the folder
//!      ▼
//!  durable                                     only now does the caller hear of success
//! ```

use rustix::fs::{CWD, FallocateFlags, RenameFlags};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Writes a new file that survives a power cut once this returns. `mode` is its permissions, which
/// the process's umask may narrow.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] when the name is taken: then what is there stays as it is.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    filled(path, bytes, mode)?.name_it(path)?;
    sync_folder(parent(path))
}

/// Puts `bytes` in the place of whatever file has that name, or none. After a crash at any moment
/// the file is the old one or the new one, whole.
///
/// # Errors
/// Whatever the operating system says; the old file is then still there.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut closed = filled(path, bytes, mode)?;
    fs::rename(&closed.name.path, path)?;
    closed.name.left = true;
    sync_folder(parent(path))
}

/// Makes the names in a folder survive a power cut.
///
/// # Errors
/// Whatever `fsync` says, except that the file system cannot sync folders at all (some network
/// and FUSE file systems): there is nothing more to be had there.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        Err(cause) if is_one_of(&cause, &[Errno::INVAL, Errno::NOTSUP, Errno::NOSYS]) => Ok(()),
        other => other,
    }
}

/// Makes a folder and those above it, such that they survive a power cut. One that is there
/// already is left as it is. `mode` applies to the folders made.
///
/// # Errors
/// Whatever the operating system says; `NotADirectory` when a file has the name.
pub fn create_folder(path: &Path, mode: u32) -> io::Result<()> {
    let make = || DirBuilder::new().mode(mode).create(path);
    let made = match make() {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            create_folder(parent(path), mode)?;
            // Once more only: some file systems say "not found" to whatever one would make there.
            make()
        }
        other => other,
    };
    match made {
        Ok(()) => sync_folder(parent(path)),
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
            let folder = fs::metadata(path)?.is_dir();
            folder.then_some(()).ok_or(io::ErrorKind::NotADirectory.into())
        }
        Err(cause) => Err(cause),
    }
}

/// A file under construction. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Partial {
    /// Before the name: it is closed before it is removed, which some file systems insist on.
    file: File,
    name: PartialName,
}

/// A file whose bytes are durable, whole and no longer open, but which has no name yet. Removed
/// when dropped, unless it was named.
///
/// Closed, because SMB shares without a kernel's help refuse to rename what is open, and because
/// some network file systems say only at closing that bytes were lost.
#[derive(Debug)]
pub(crate) struct Closed {
    name: PartialName,
    /// Device and inode.
    identity: (u64, u64),
}

/// Removes the file at its path when dropped, unless that was left to others.
#[derive(Debug)]
struct PartialName {
    path: PathBuf,
    left: bool,
}

/// The ways to give a file its name without taking the name from another, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `renameat2(RENAME_NOREPLACE)`: atomic; local file systems and overlays have it.
    Rename,
    /// `link`, then removal of the partial name: atomic; NFS has only this.
    Link,
    /// Look, then rename: for file systems with neither (some FUSE). Atomic among the threads of
    /// this process; another process could win between the look and the rename.
    Look,
}

impl Partial {
    /// A new, empty file in `folder` under a name that no reader takes for anything.
    pub(crate) fn create_in(folder: &Path, mode: u32) -> io::Result<Self> {
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let pid = std::process::id();
        let path =
            folder.join(format!("{PREFIX}{pid}-{:016x}{SUFFIX}", u64::from_le_bytes(random)));
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(&path)?;
        Ok(Self { file, name: PartialName { path, left: false } })
    }

    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Asks for the room beforehand, where the file system can tell: full is then known early.
    pub(crate) fn reserve(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, length) {
            Err(full @ (Errno::NOSPC | Errno::DQUOT)) => Err(full.into()),
            _ => Ok(()),
        }
    }

    /// Syncs and closes the file, and makes sure that the file system kept all `length` bytes.
    pub(crate) fn close(self, length: u64) -> io::Result<Closed> {
        let Self { file, name } = self;
        file.sync_all()?;
        let metadata = file.metadata()?;
        drop(file);
        let kept = fs::symlink_metadata(&name.path)?.len();
        if kept != length {
            let what = format!("the file system kept {kept} of {length} bytes");
            return Err(io::Error::other(what));
        }
        Ok(Closed { name, identity: (metadata.dev(), metadata.ino()) })
    }
}

impl Closed {
    /// Opens the file for reading.
    pub(crate) fn open(&self) -> io::Result<File> {
        File::open(&self.name.path)
    }

    /// Gives the file its name; may be tried again. The folder is the caller's to sync.
    ///
    /// Fails with `AlreadyExists`, and changes nothing, when the name is taken.
    pub(crate) fn name_it(&mut self, to: &Path) -> io::Result<()> {
        self.name_by(Way::Rename, to)
            .or_else(|cause| if lacks(&cause) { self.name_by(Way::Link, to) } else { Err(cause) })
            .or_else(|cause| if lacks(&cause) { self.name_by(Way::Look, to) } else { Err(cause) })
    }

    fn name_by(&mut self, way: Way, to: &Path) -> io::Result<()> {
        match way {
            Way::Rename => {
                rustix::fs::renameat_with(CWD, &self.name.path, CWD, to, RenameFlags::NOREPLACE)?;
                self.name.left = true;
                Ok(())
            }
            Way::Link => match fs::hard_link(&self.name.path, to) {
                // A network file system may have linked and lost its answer.
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && self.is_at(to) => {
                    Ok(())
                }
                other => other,
            },
            Way::Look => self.look_and_rename(to),
        }
    }

    fn look_and_rename(&mut self, to: &Path) -> io::Result<()> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::symlink_metadata(to) {
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(cause),
        }
        fs::rename(&self.name.path, to)?;
        self.name.left = true;
        Ok(())
    }

    fn is_at(&self, to: &Path) -> bool {
        fs::symlink_metadata(to).is_ok_and(|other| self.identity == (other.dev(), other.ino()))
    }
}

impl Drop for PartialName {
    fn drop(&mut self) {
        if !self.left {
            // What cannot be removed now is found by its name later.
            let _ = fs::remove_file(&self.path);
        }
    }
}

const PREFIX: &str = ".packmule-";
const SUFFIX: &str = ".partial";

/// Whether a file of this name is one that a writer left unfinished.
#[must_use]
pub fn is_partial(name: &str) -> bool {
    let inner = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    inner.and_then(|inner| inner.split_once('-')).is_some_and(|(pid, random)| {
        let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        pid.parse::<u32>().is_ok() && random.len() == 16 && random.chars().all(hex)
    })
}

fn filled(path: &Path, bytes: &[u8], mode: u32) -> io::Result<Closed> {
    let mut partial = Partial::create_in(parent(path), mode)?;
    partial.file.write_all(bytes)?;
    partial.close(bytes.len() as u64)
}

/// The folder a path is in; a bare name is in the current one.
pub(crate) fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether the file system does not know the operation, as opposed to refusing it.
fn lacks(cause: &io::Error) -> bool {
    const UNKNOWN: [Errno; 5] =
        [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP, Errno::PERM, Errno::MLINK];
    is_one_of(cause, &UNKNOWN)
}

pub(crate) fn is_one_of(cause: &io::Error, errors: &[Errno]) -> bool {
    cause.raw_os_error().is_some_and(|code| errors.iter().any(|e| e.raw_os_error() == code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_file_has_its_bytes_and_mode_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write(&path, b"one", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(dir.path()), ["state.json"]);
    }

    #[test]
    fn a_taken_name_stays_with_what_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write(&path, b"one", 0o600).unwrap();
        assert_eq!(write(&path, b"two", 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(names(dir.path()), ["state.json"]);
    }

    #[test]
    fn replacing_changes_the_bytes_of_an_old_or_a_new_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        replace(&path, b"one", 0o600).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(dir.path()), ["state.json"]);
    }

    #[test]
    fn replacing_a_link_leaves_what_it_points_to_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, b"mine").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        replace(&link, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"mine");
        assert!(!fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_replacement_that_fails_keeps_the_old_file_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("folder");
        fs::create_dir(&taken).unwrap();
        assert!(replace(&taken, b"x", 0o600).is_err());
        assert_eq!(names(dir.path()), ["folder"]);
    }

    #[test]
    fn every_way_of_naming_gives_the_name_once() {
        for way in [Way::Rename, Way::Link, Way::Look] {
            let dir = tempfile::tempdir().unwrap();
            let to = dir.path().join("name");
            for (bytes, wins) in [(b"one", true), (b"two", false)] {
                let mut partial = Partial::create_in(dir.path(), 0o600).unwrap();
                partial.file().write_all(bytes).unwrap();
                let mut closed = partial.close(3).unwrap();
                let outcome = closed.name_by(way, &to).map_err(|cause| cause.kind());
                let expected = if wins { Ok(()) } else { Err(io::ErrorKind::AlreadyExists) };
                assert_eq!(outcome, expected, "{way:?}");
            }
            assert_eq!(fs::read(&to).unwrap(), b"one", "{way:?}");
            assert_eq!(names(dir.path()), ["name"], "{way:?}");
        }
    }

    #[test]
    fn a_link_made_by_a_lost_answer_counts_as_made() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("name");
        let mut closed = Partial::create_in(dir.path(), 0o600).unwrap().close(0).unwrap();
        fs::hard_link(&closed.name.path, &to).unwrap();
        closed.name_by(Way::Link, &to).unwrap();
    }

    #[test]
    fn a_file_that_was_not_kept_whole_gets_no_name_and_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut partial = Partial::create_in(dir.path(), 0o600).unwrap();
        partial.file().write_all(b"four").unwrap();
        let refused = partial.close(5).unwrap_err().to_string();
        assert!(refused.contains("kept 4 of 5 bytes"), "{refused}");
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn a_file_is_closed_before_it_is_named_or_removed() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let links = fs::read_dir("/proc/self/fd").unwrap();
            let targets = links.filter_map(|link| fs::read_link(link.unwrap().path()).ok());
            targets.filter(|target| target.starts_with(dir.path())).count()
        };
        let partial = Partial::create_in(dir.path(), 0o600).unwrap();
        assert_eq!(open(), 1);
        let closed = partial.close(0).unwrap();
        assert_eq!(open(), 0);
        drop(closed);
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[test]
    fn an_operation_the_file_system_lacks_is_told_from_one_it_refuses() {
        for (errno, unknown) in [
            (Errno::INVAL, true),
            (Errno::NOSYS, true),
            (Errno::EXIST, false),
            (Errno::NOSPC, false),
        ] {
            assert_eq!(lacks(&errno.into()), unknown, "{errno:?}");
        }
    }

    #[test]
    fn unfinished_files_are_known_by_name_and_nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let partial = Partial::create_in(dir.path(), 0o600).unwrap();
        let name = partial.name.path.file_name().unwrap().to_str().unwrap();
        assert!(is_partial(name));
        assert!(model::ObjectKey::from_path(&format!("index/{name}")).is_none());
        for other in [".packmule-1-.partial", ".packmule-x-0123456789abcdef.partial", "config", ""]
        {
            assert!(!is_partial(other), "{other}");
        }
    }

    #[test]
    fn folders_are_made_down_to_the_last_and_again_without_harm() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        create_folder(&deep, 0o700).unwrap();
        create_folder(&deep, 0o700).unwrap();
        assert_eq!(fs::metadata(dir.path().join("a")).unwrap().permissions().mode() & 0o777, 0o700);
        let file = dir.path().join("file");
        fs::write(&file, b"").unwrap();
        assert_eq!(create_folder(&file, 0o700).unwrap_err().kind(), io::ErrorKind::NotADirectory);
        // Here every name that is not there is "not found" to whoever would make it.
        let nowhere = Path::new("/proc/nowhere/deep");
        assert_eq!(create_folder(nowhere, 0o700).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
