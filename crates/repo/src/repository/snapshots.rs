//! A repository's snapshots: stored, loaded, found by what people call them. Judges none of them.

use super::{DOCUMENT, Loaded, NamedSnapshot, REQUESTS, Repository, load_all};
use crate::Error;
use crate::snapshot::{Dated, Snapshot};
use model::{Digest, ObjectKey, ObjectKind};

impl Repository {
    /// Stores a snapshot. Everything it needs is durable and indexed: the caller has seen to that.
    ///
    /// # Errors
    /// Those of the store.
    pub fn save_snapshot(&self, snapshot: &Snapshot) -> Result<Digest, Error> {
        self.save_document(ObjectKind::Snapshot, snapshot)
    }

    /// One snapshot.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn load_snapshot(&self, id: Digest) -> Result<NamedSnapshot, Error> {
        let Dated(snapshot, offset) = self.load_document(ObjectKey::Snapshot(id), DOCUMENT)?;
        Ok(NamedSnapshot { id, snapshot, offset })
    }

    /// Every snapshot, oldest first.
    ///
    /// # Errors
    /// Only when the listing fails; a damaged snapshot is in [`Loaded::damaged`].
    pub fn snapshots(&self) -> Result<Loaded<Vec<NamedSnapshot>>, Error> {
        let mut value = Vec::new();
        let names = self.names(ObjectKind::Snapshot)?;
        let load = || |id| self.load_snapshot(id);
        let damaged = load_all(&names, REQUESTS, load, |snapshot| value.push(snapshot))?;
        value.sort_by_key(|named| (named.snapshot.time, named.id));
        Ok(Loaded { value, damaged })
    }

    /// The snapshot that `latest`, a full name or an unambiguous beginning of one means.
    ///
    /// # Errors
    /// [`Error::Snapshot`] when none or several fit; [`Error::LatestUnknown`] when a snapshot that
    /// cannot be read may be the latest.
    pub fn find_snapshot(&self, text: &str) -> Result<NamedSnapshot, Error> {
        let refuse =
            |matches| Error::Snapshot { text: text.to_owned(), matches, location: self.location() };
        if text == "latest" {
            let mut all = self.snapshots()?;
            let unreadable = all.damaged.len();
            if let Some(cause) = all.damaged.pop().map(Box::new) {
                let location = self.location();
                return Err(Error::LatestUnknown { location, unreadable, cause });
            }
            return all.value.pop().ok_or_else(|| refuse(0));
        }
        self.load_snapshot(self.find_snapshot_name(text)?)
    }

    /// The snapshot of that name, or of an unambiguous beginning of one, whether it can be read or not.
    ///
    /// # Errors
    /// [`Error::Snapshot`] when none or several fit.
    pub fn find_snapshot_name(&self, text: &str) -> Result<Digest, Error> {
        let refuse =
            |matches| Error::Snapshot { text: text.to_owned(), matches, location: self.location() };
        let names = self.names(ObjectKind::Snapshot)?;
        let mut fitting =
            names.iter().filter(|id| !text.is_empty() && id.to_hex().starts_with(text));
        match (fitting.next(), fitting.count()) {
            (Some(id), 0) => Ok(*id),
            (None, _) => Err(refuse(0)),
            (Some(_), more) => Err(refuse(more + 1)),
        }
    }
}
