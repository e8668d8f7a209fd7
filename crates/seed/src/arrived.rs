//! What a destination has of a seed's repositories, waiting or published. Writes nothing.

use crate::rebuilt::Arrived;
use model::{Digest, ErrorKind, ObjectKey, ObjectKind};
use std::collections::BTreeMap;
use store::{Folder, Store as _};

/// Where one repository's objects are, before and after publication.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) waiting: Folder,
    pub(crate) published: Folder,
    /// Whether the repository existed before. It keeps its keys then: one that its owner has
    /// dropped since does not come back with a drive.
    pub(crate) exists: bool,
}

/// What the destination has of a seed, waiting or published.
#[derive(Debug)]
pub(crate) struct FolderLanding {
    pub(crate) places: BTreeMap<Digest, Place>,
}

impl FolderLanding {
    /// Whether the object is there already, of the right length.
    ///
    /// # Errors
    /// [`store::Error::Conflict`] when it has another length; else as [`Store::length`].
    pub(crate) fn has(
        &self,
        repository: &Digest,
        key: &ObjectKey,
        length: u64,
    ) -> store::Result<bool> {
        let Some(place) = self.places.get(repository) else { return Ok(false) };
        if key.kind() == ObjectKind::Key && place.exists {
            return Ok(true);
        }
        Ok(holds(&place.published, key, length)? || holds(&place.waiting, key, length)?)
    }
}

impl Arrived for FolderLanding {
    fn holds(&self, repository: &Digest, key: &ObjectKey, length: u64) -> store::Result<bool> {
        self.has(repository, key, length).or_else(conflict_is_absence)
    }

    fn read_at(
        &self,
        repository: &Digest,
        key: &ObjectKey,
        offset: u64,
        into: &mut [u8],
    ) -> store::Result<()> {
        let missing = |location| store::Error::NotFound { location, key: *key };
        let Some(place) = self.places.get(repository) else {
            return Err(missing(String::from("the destination")));
        };
        let read = |store: &Folder, into: &mut [u8]| match store.root().is_dir() {
            true => store.read_at(key, offset, into),
            false => Err(missing(store.location())),
        };
        let read = read(&place.waiting, into).or_else(|_| read(&place.published, into));
        // A place that cannot be read is as good as one that is not there: parity makes up for it.
        read.map_err(|_| missing(place.waiting.location()))
    }
}

pub(crate) fn holds(store: &Folder, key: &ObjectKey, expected: u64) -> store::Result<bool> {
    match length(store, key)? {
        None => Ok(false),
        Some(found) if found == expected => Ok(true),
        Some(_) => Err(store::Error::Conflict { location: store.location(), key: *key }),
    }
}

/// The length of an object; none where there is none, or no repository at all.
pub(crate) fn length(store: &Folder, key: &ObjectKey) -> store::Result<Option<u64>> {
    // To a store a folder that is not there is one that cannot be reached. Here the folder above
    // it is open: there it is known not to be.
    if !store.root().is_dir() {
        return Ok(None);
    }
    match store.length(key) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn conflict_is_absence(error: store::Error) -> store::Result<bool> {
    if error.kind() == ErrorKind::Conflict { Ok(false) } else { Err(error) }
}
