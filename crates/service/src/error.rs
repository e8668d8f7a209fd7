//! What can go wrong beside a backup. Decides nothing.

use model::{ErrorKind, GroupName};
use std::io;
use std::path::PathBuf;

/// Why something beside a backup could not be done.
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
    /// The history cannot be read or written.
    #[error("the agent's history {} cannot be used; see that its file system has room and can be written", path.display())]
    History {
        /// The database.
        path: PathBuf,
        /// Why.
        #[source]
        cause: Box<sqlx::Error>,
    },
    /// A value in the history is none that this program writes.
    #[error("the agent's history has {what}, which this program does not know; use a newer one")]
    Unknown {
        /// What.
        what: String,
    },
    /// A settings file that cannot be meant.
    #[error("{}: {what}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Somebody else runs the group.
    #[error("group {0} is being backed up by another packmule process; wait until it has finished")]
    Busy(GroupName),
    /// A service runs with this state already.
    #[error("another packmule agent runs with {}; there can be one", path.display())]
    Second {
        /// The state directory.
        path: PathBuf,
    },
    /// A command before a backup failed, and the backup was not begun.
    #[error("the command before the backup {what}; nothing was backed up")]
    Before {
        /// How.
        what: String,
    },
    /// A command after a backup failed.
    #[error("the backup is done, but the command after it {what}")]
    After {
        /// How.
        what: String,
    },
    /// The place where metrics are to be told cannot be had.
    #[error("metrics cannot be served at {address}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// From the agent.
    #[error(transparent)]
    Agent(#[from] agent::Error),
}

impl Error {
    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { cause, .. } | Self::Listen { cause, .. } => match cause.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
                _ => ErrorKind::Unavailable,
            },
            Self::History { .. } => ErrorKind::Unavailable,
            Self::Unknown { .. } | Self::Settings { .. } => ErrorKind::Invalid,
            Self::Busy(_) | Self::Second { .. } => ErrorKind::Locked,
            Self::Before { .. } | Self::After { .. } => ErrorKind::Conflict,
            Self::Agent(cause) => cause.kind(),
        }
    }

    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |cause| Self::Io { action, path, cause }
    }

    /// The message with all its causes.
    #[must_use]
    pub fn full(&self) -> String {
        let mut words = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(why) = cause {
            words = format!("{words}: {why}");
            cause = why.source();
        }
        words
    }
}
