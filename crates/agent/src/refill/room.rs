//! Where packs that are made anew are put: into the staging folder, or one that was named instead; and whether there is room.
//! Makes no pack.

use crate::kept;
use crate::record::SeedRecord;
use crate::state::State;
use crate::{Error, names};
use model::{ByteSize, Digest, ObjectKind};
use seed::Object;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::{Folder, Store};

/// The folder that new packs are put into.
pub(super) fn place(record: &SeedRecord, named: Option<&Path>) -> PathBuf {
    let last = record.made_in.last().unwrap_or(&record.staging);
    named.map_or_else(|| last.clone(), names::clean)
}

/// The folder that new packs are put into, and those that earlier calls have used.
#[derive(Debug)]
pub(super) struct Places {
    chosen: Folder,
    others: Vec<Folder>,
    /// Bytes of packs there that are none of the seed's: what earlier calls have made.
    made: u64,
}

impl Places {
    /// Has the record say where it is before anything is put there; makes no folder.
    ///
    /// # Errors
    /// [`Error::StagingInside`] where it would be backed up; [`Error::Staging`] where it cannot be one.
    pub(super) fn take(
        state: &State,
        record: &SeedRecord,
        named: Option<&Path>,
        own: &[Object],
    ) -> Result<Self, Error> {
        let chosen = place(record, named);
        if named.is_some_and(|named| !named.is_absolute()) {
            let what = "give its absolute path".to_owned();
            return Err(Error::Staging { staging: chosen.display().to_string(), what });
        }
        let is_own = names::same(&chosen, &record.staging);
        for path in state.groups()?.iter().filter(|_| !is_own).flat_map(|group| &group.paths) {
            if names::overlap(&chosen, path) {
                return Err(Error::StagingInside { staging: chosen, source_path: path.clone() });
            }
        }
        if !is_own && record.made_in.last() != Some(&chosen) {
            state.change_seed(record.id, |record| {
                record.made_in.retain(|known| *known != chosen);
                record.made_in.push(chosen.clone());
                Ok(())
            })?;
        }
        let all = record.made_in.iter().chain([&record.staging]);
        let others = all.filter(|other| **other != chosen).map(Folder::new).collect();
        let mut places = Self { chosen: Folder::new(&chosen), others, made: 0 };
        places.made = places.strays(own)?.iter().map(|object| object.length).sum();
        Ok(places)
    }

    pub(super) fn chosen(&self) -> &Path {
        self.chosen.root()
    }

    /// A store, which new packs are put into, over the other places.
    pub(super) fn over(&self, chosen: Arc<dyn Store>) -> Arc<dyn Store> {
        kept::over(chosen, &self.others)
    }

    /// Packs there that are none of these.
    pub(super) fn strays(&self, own: &[Object]) -> Result<Vec<Object>, Error> {
        let own: HashSet<Digest> = own.iter().map(|object| object.name).collect();
        let mut found = BTreeMap::new();
        for place in [&self.chosen].into_iter().chain(&self.others) {
            if !kept::is_there(place) {
                continue;
            }
            let listed = place.list(ObjectKind::Pack)?;
            let strays = listed.iter().filter_map(|it| Some((it.key.id()?, it.length)));
            found.extend(strays.filter(|(name, _)| !own.contains(name)));
        }
        let object =
            |(name, length)| Object { repository: 0, kind: ObjectKind::Pack, name, length };
        Ok(found.into_iter().map(object).collect())
    }

    /// Whether one of the places has the object as its name says.
    pub(super) fn has_whole(&self, object: &Object) -> Result<bool, Error> {
        for place in [&self.chosen].into_iter().chain(&self.others) {
            let same = |length| length == object.length;
            if place.length(&object.key()).is_ok_and(same) && kept::hashes(place, object)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// As much as was lost may be written, less what is there.
    ///
    /// # Errors
    /// [`Error::Io`] with [`io::ErrorKind::StorageFull`], before anything is written.
    pub(super) fn check_room(&self, lost: &[Object], spare: u64) -> Result<(), Error> {
        let folder = self.chosen.root();
        // It may have to be made yet.
        let there = folder.ancestors().find(|at| at.exists()).unwrap_or(folder);
        let stat = rustix::fs::statvfs(there);
        let stat = stat.map_err(|cause| Error::io("looking at", there)(cause.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        let lost = lost.iter().fold(0_u64, |sum, object| sum.saturating_add(object.length));
        let needed = lost.saturating_sub(self.made).saturating_add(spare);
        if free >= needed {
            return Ok(());
        }
        let what = format!(
            "{} may be written and {} are free; name another folder: packmule seed refill --packs FOLDER",
            ByteSize(needed),
            ByteSize(free)
        );
        Err(Error::io("making room in", folder)(io::Error::new(io::ErrorKind::StorageFull, what)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_for_all_that_was_lost_is_looked_for_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let places = |made| Places { chosen: Folder::new(dir.path()), others: Vec::new(), made };
        let lost = |length| Object {
            repository: 0,
            kind: ObjectKind::Pack,
            name: Digest([1; 32]),
            length,
        };
        places(0).check_room(&[lost(4096)], 0).unwrap();
        for refused in [
            places(0).check_room(&[lost(u64::MAX / 2)], 0),
            places(0).check_room(&[lost(1), lost(u64::MAX)], 0),
            places(0).check_room(&[lost(4096)], u64::MAX / 2),
        ] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), model::ErrorKind::Full, "{error}");
        }
        // What was made before does not have to be written again.
        places(u64::MAX / 2).check_room(&[lost(u64::MAX / 2)], 0).unwrap();
    }
}
