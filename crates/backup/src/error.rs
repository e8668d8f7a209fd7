//! What stops a backup or restore, and what only spoils one item of it.

use model::ErrorKind;
use std::io;
use std::path::PathBuf;

/// Why it stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing at a path that was asked for.
    #[error("{path} is not there; nothing was backed up")]
    NoTarget {
        /// The path.
        path: PathBuf,
    },
    /// A pattern of what is left out cannot be meant.
    #[error("'{pattern}' is no pattern: {why}")]
    Pattern {
        /// What was given.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// No path was asked for, or none could be read.
    #[error("there is nothing to back up")]
    Nothing,
    /// What was read in place of the paths, a snapshot of a file system, did not last until all of it was read.
    #[error("no recovery point was made: {why}")]
    NotHeld {
        /// Why.
        why: String,
    },
    /// The target of a restore holds something already.
    #[error(
        "{target} is not empty; choose another folder, or say what becomes of what is there: --existing skip, overwrite or keep-both"
    )]
    TargetNotEmpty {
        /// The folder.
        target: PathBuf,
    },
    /// The path is not in the snapshot.
    #[error("the snapshot has no {path}")]
    NotInSnapshot {
        /// The path.
        path: PathBuf,
    },
    /// A path of a snapshot is not absolute.
    #[error("{path} is no path of a snapshot: these begin with /")]
    RelativePath {
        /// The path.
        path: PathBuf,
    },
    /// Nothing in the snapshot is what was asked for.
    #[error(
        "nothing in the snapshot is what was asked for; paths and patterns begin at the root of the file system that was backed up"
    )]
    NothingSelected,
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// The target cannot be written to.
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
    /// The caller said stop.
    #[error("stopped; run the same command again, what is stored already is not stored again")]
    Interrupted,
    /// The repository failed.
    #[error(transparent)]
    Repo(#[from] repo::Error),
}

impl Error {
    /// The kind, for exit codes.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoTarget { .. } | Self::NotInSnapshot { .. } | Self::NothingSelected => {
                ErrorKind::NotFound
            }
            Self::Nothing
            | Self::TargetNotEmpty { .. }
            | Self::Pattern { .. }
            | Self::RelativePath { .. } => ErrorKind::Invalid,
            Self::Io { cause, .. } => match cause.kind() {
                _ if full(cause) => ErrorKind::Full,
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Internal,
            },
            Self::NotHeld { .. } => ErrorKind::Unavailable,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Random => ErrorKind::Internal,
            Self::Repo(cause) => cause.kind(),
        }
    }
}

/// Whether there is no room, for whatever reason: trying the next file makes no sense.
pub(crate) fn full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Something is wrong with one item; the rest went on.
#[derive(Debug)]
pub struct Problem {
    /// Which item.
    pub path: PathBuf,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with an item.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It was there when its directory was read, and gone after.
    #[error("vanished while the backup ran")]
    Vanished,
    /// Its content is a mixture of before and after.
    #[error("changed while it was read; what was read is stored")]
    Changed,
    /// It was one thing and became another.
    #[error("turned into something else while the backup ran")]
    Replaced,
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// Some of its attributes cannot be read; its content is stored.
    #[error("some attributes cannot be read: {0}")]
    Attributes(#[source] io::Error),
    /// A file of the repository is damaged, which spoils others of its snapshots.
    #[error("{0}; to see what needs it, run: packmule repo check")]
    Repository(#[source] Box<repo::Error>),
    /// Its earlier content is no longer in the repository; it is read again.
    #[error("parts of its earlier content are missing from the repository; it is stored again")]
    PartsMissing,
    /// The directory's former tree cannot be read; everything in it is read again.
    #[error("the former state of this directory cannot be read: {0}")]
    ParentTree(#[source] repo::Error),
    /// It was to be read from a snapshot, and that has not got it.
    #[error(
        "is not in the snapshot that was taken, as a subvolume of its own; it was read as it is"
    )]
    NotHeld,
    /// It cannot be written.
    #[error("cannot be written: {0}")]
    Unwritable(#[source] io::Error),
    /// Written, but some attributes could not be set.
    #[error("some attributes cannot be set: {0}")]
    AttributesUnset(#[source] io::Error),
    /// The repository cannot give it back whole; it was left out.
    #[error("left out, because the repository is damaged: {0}")]
    Damaged(String),
    /// Something is there, and was left as it is.
    #[error("is there already, and is not what the snapshot has; it was left as it is")]
    Exists,
    /// What was written does not read back.
    #[error("does not read back as it was written: the medium may be failing")]
    NotAsWritten,
    /// A kind that cannot be made.
    #[error("is a {0}, which cannot be restored")]
    Kind(&'static str),
}

impl Fault {
    /// The fault of one item at `path`. Where there is no room, it is everybody's.
    pub(crate) fn unless_full(self, path: &std::path::Path) -> Result<Self, Error> {
        match self {
            Self::Unwritable(cause) if full(&cause) => {
                Err(Error::Io { action: "writing", path: path.to_owned(), cause })
            }
            other => Ok(other),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.fault)
    }
}
