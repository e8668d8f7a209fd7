//! What is protected, and how it is held still while it is backed up.
//!
//! A [`Workload`] is brought to a state that does not change ([`Workload::hold`]), is read as files in that state
//! ([`Held`]), and let go. After a loss it says where what was backed up belongs ([`Workload::homes`]). Files and folders are
//! the first: as they are, or from snapshots of their file systems. Databases, volumes and virtual machines can follow: what they
//! have in common is that something must be done before and after, and that files are read between.
//!
//! Reads no file that is backed up, and decides nothing about when.

mod error;
mod files;
mod snapshot;

pub use error::Error;
pub use files::Files;
pub use snapshot::{FOLDER, clear};

use backup::{Select, View};
use std::path::{Path, PathBuf};

/// Something that is protected.
pub trait Workload {
    /// Brings it to a state that does not change until what is answered is let go. `tell` hears what is not as it was wanted.
    ///
    /// # Errors
    /// It cannot be had, and nothing else was allowed. Nothing is left behind then.
    fn hold(&self, tell: &dyn Fn(Notice)) -> Result<Box<dyn Held>, Error>;

    /// Where a recovery point of it belongs.
    fn homes(&self, select: &Select) -> Vec<Home>;
}

/// A workload that does not change. Dropped, it is let go as well, and nobody hears what goes wrong with that.
pub trait Held {
    /// What is backed up, by the names that it has.
    fn paths(&self) -> &[PathBuf];

    /// Where that is read from.
    fn view(&self) -> View;

    /// Lets it go. What cannot be cleared away now is by the next one.
    fn release(self: Box<Self>, tell: &dyn Fn(Notice));
}

/// A folder, and what of a recovery point goes into it.
#[derive(Debug, Clone)]
pub struct Home {
    /// The folder.
    pub target: PathBuf,
    /// It is that path in the recovery point.
    pub below: PathBuf,
    /// What of it.
    pub select: Select,
}

/// Something that is not as it was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// This is read as it is, while it may change.
    NotHeld {
        /// What.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A snapshot could not be removed. It is tried again the next time.
    Left {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A snapshot that an earlier run has left was removed.
    Cleared {
        /// Which.
        path: PathBuf,
    },
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |path: &Path| path.display().to_string();
        match self {
            Self::NotHeld { path, why } => {
                write!(f, "{} is read as it is, without a snapshot: {why}", show(path))
            }
            Self::Left { path, why } => write!(
                f,
                "snapshot {} could not be removed, the next backup tries again: {why}",
                show(path)
            ),
            Self::Cleared { path } => {
                write!(f, "snapshot {}, left by a run that was cut off, was removed", show(path))
            }
        }
    }
}
