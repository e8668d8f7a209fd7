//! The data folder: made private, held by one process, small files written durably. Knows no
//! database and no objects.

use crate::Error;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use store::durable;

/// A small file of the server's own is shorter than this.
const LIMIT: u64 = 1 << 20;

/// The data folder, held while this lives.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    _lock: OwnedFd,
}

impl DataFolder {
    /// Makes the folder where there is none, and takes it for this process.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        durable::create_folder(path, 0o700).map_err(Error::io("creating", path))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(Error::io("making private", path))?;
        let lock = path.join("lock");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(&lock, flags, Mode::from_raw_mode(0o600))
            .map_err(|cause| Error::io("opening", &lock)(cause.into()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: file }),
            Err(Errno::AGAIN) => Err(Error::InUse { data: path.to_owned() }),
            Err(cause) => Err(Error::io("locking", lock)(cause.into())),
        }
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a private folder below.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.join(name);
        durable::create_folder(&path, 0o700).map_err(Error::io("creating", &path))?;
        Ok(path)
    }

    /// The file's bytes; none when there is no such file.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.join(name);
        match fs::metadata(&path) {
            Ok(meta) if meta.len() > LIMIT => {
                Err(Error::Damaged { what: path.display().to_string(), why: "too long".into() })
            }
            Ok(_) => fs::read(&path).map(Some).map_err(Error::io("reading", &path)),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(Error::io("reading", path)(cause)),
        }
    }

    /// Puts the file there, whole, private and durable, in the place of any other.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.join(name);
        durable::replace(&path, bytes, 0o600).map_err(Error::io("writing", path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_refused_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataFolder::open(folder.path()).unwrap();
        let refusal = DataFolder::open(folder.path()).unwrap_err();
        assert!(matches!(refusal, Error::InUse { .. }), "{refusal}");
        drop(first);
        DataFolder::open(folder.path()).unwrap();
    }

    #[test]
    fn the_folder_and_its_files_are_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let data = DataFolder::open(&path).unwrap();
        data.replace("x", b"secret").unwrap();
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("x")), 0o600);
        assert_eq!(mode(&path.join("lock")), 0o600);
        assert_eq!(data.read("x").unwrap().as_deref(), Some(&b"secret"[..]));
        assert_eq!(data.read("y").unwrap(), None);
    }
}
