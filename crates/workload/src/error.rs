//! Why a workload cannot be held.

use model::ErrorKind;
use std::io;
use std::path::PathBuf;

/// Why it stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A snapshot is required, and there is none.
    #[error(
        "there can be no snapshot of {path}, and one is required: {why}; with snapshot = \"auto\" it is backed up as it is"
    )]
    NoSnapshot {
        /// Of what.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The state folder or a file system failed.
    #[error("{action} {path} failed")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

impl Error {
    /// The kind, for exit codes.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoSnapshot { .. } => ErrorKind::Unavailable,
            Self::Io { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied => {
                ErrorKind::Denied
            }
            Self::Io { cause, .. } if cause.kind() == io::ErrorKind::StorageFull => ErrorKind::Full,
            Self::Io { .. } => ErrorKind::Internal,
        }
    }
}
