//! What can go wrong with keys at rest. No message holds a secret.

use model::{DriveSerial, ErrorKind};
use std::io;
use std::path::{Path, PathBuf};

/// Why a password could not be kept, or not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{action} {} failed", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file that is no key file.
    #[error("key file {} cannot be used: {what}", path.display())]
    KeyFile {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Without it, what it has sealed is lost.
    #[error(
        "key file {} is gone, and with it the passwords of the drives beside it; restore it from a copy",
        path.display()
    )]
    KeyFileLost {
        /// Which.
        path: PathBuf,
    },
    /// What is sealed does not open.
    #[error(
        "{what} does not open: it was sealed with another key file, belongs elsewhere, or is damaged; restore it and the key file from the same copy"
    )]
    Sealed {
        /// What.
        what: String,
    },
    /// A file is not what this program writes.
    #[error("{} cannot be used: {what}; restore it from a copy", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Made by a newer program.
    #[error("{what} is of version {version}, which this program does not know; use a newer one")]
    Version {
        /// What.
        what: String,
        /// Its version.
        version: u32,
    },
    /// One of the two is of another drive, or of another time.
    #[error("drive {serial} has another password here; nothing was changed")]
    OtherPassword {
        /// Which drive.
        serial: DriveSerial,
    },
    /// Nobody has asked for its password, so it cannot have been formatted with one.
    #[error("drive {serial} has no password here; ask for one, and format the drive with that")]
    NoPassword {
        /// Which drive.
        serial: DriveSerial,
    },
    /// No random numbers, or a cipher that does not work.
    #[error("the operating system has no random numbers")]
    Random,
}

impl Error {
    /// The kind, for exit codes.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { cause, .. } => match cause.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    ErrorKind::Denied
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
                _ => ErrorKind::Internal,
            },
            Self::KeyFile { .. } => ErrorKind::Denied,
            Self::KeyFileLost { .. } | Self::NoPassword { .. } => ErrorKind::NotFound,
            Self::Sealed { .. } | Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Version { .. } => ErrorKind::Invalid,
            Self::OtherPassword { .. } => ErrorKind::Conflict,
            Self::Random => ErrorKind::Internal,
        }
    }

    /// For `map_err`: what was tried, and on what.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { action, path, cause }
    }
}
