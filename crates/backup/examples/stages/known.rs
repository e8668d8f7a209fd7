//! What an earlier pass saw: files by path, size and time, and blobs by name. Reads no content.

use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file's size, and the seconds and nanoseconds at which it was changed.
pub(crate) type Stamp = (u64, i64, i64);

/// What would tell that a file has changed.
pub(crate) fn stamp(data: &Metadata) -> io::Result<Stamp> {
    Ok((data.len(), data.mtime(), data.mtime_nsec()))
}

/// Everything that was seen.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Known {
    files: HashMap<PathBuf, Stamp>,
    blobs: HashSet<[u8; 32]>,
}

impl Known {
    /// Nothing, when there is no such file.
    pub(crate) fn load(path: &Path) -> io::Result<Self> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, serde_json::to_vec(self)?)
    }

    pub(crate) fn is_unchanged(&self, path: &Path, stamp: Stamp) -> bool {
        self.files.get(path) == Some(&stamp)
    }

    pub(crate) fn remember(&mut self, path: PathBuf, stamp: Stamp) {
        self.files.insert(path, stamp);
    }

    /// Whether the blob was never seen. Now it was.
    pub(crate) fn is_new(&mut self, blob: [u8; 32]) -> bool {
        self.blobs.insert(blob)
    }
}
