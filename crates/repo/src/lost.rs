//! Indexes without packs that are gone for good, for whoever has the repository alone and can store what
//! was in them again. Looks at no blob.

use crate::index::{IndexFile, IndexedPack};
use crate::repository::DOCUMENT;
use crate::{Error, LockGuard, Repository};
use model::{Digest, ObjectKey, ObjectKind};
use std::collections::HashSet;

impl Repository {
    /// Writes each index that names packs which are not there once more, without these. Answers how many packs
    /// that were. A new index is stored before the old one goes, so that no pack that is there is ever
    /// without one.
    ///
    /// Only for a repository that nobody else has: what an index of theirs names may be on its way.
    ///
    /// # Errors
    /// Those of the store. An index that cannot be read stays as it is.
    pub fn drop_lost_packs(&self, lock: &LockGuard) -> Result<usize, Error> {
        self.refuse_old_format()?;
        let there: HashSet<Digest> = self.names(ObjectKind::Pack)?.into_iter().collect();
        let mut lost = HashSet::new();
        for id in self.names(ObjectKind::Index)? {
            let key = ObjectKey::Index(id);
            let file: IndexFile = match self.load_document(key, DOCUMENT) {
                Err(Error::Damaged { .. }) => continue,
                other => other?,
            };
            let (kept, gone): (Vec<IndexedPack>, Vec<IndexedPack>) =
                file.packs.into_iter().partition(|pack| there.contains(&pack.id));
            if gone.is_empty() {
                continue;
            }
            lost.extend(gone.iter().map(|pack| pack.id));
            lock.check()?;
            self.write_index(kept)?;
            self.store().remove(&key)?;
        }
        Ok(lost.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::repository;
    use crate::{BlobKind, LockMode, PackedBlob};
    use store::conformance::key_of;

    fn blob(n: u8) -> PackedBlob {
        let (kind, plain_length) = (BlobKind::Data, None);
        PackedBlob { id: Digest([n; 32]), kind, offset: 0, length: 100, plain_length }
    }

    #[test]
    fn an_index_keeps_exactly_the_packs_that_are_there() {
        let repository = repository();
        let pack = |n: u8| {
            let key = key_of(ObjectKind::Pack, &[n; 200]);
            (key, key.id().unwrap())
        };
        let packs: Vec<_> = (0..4).map(pack).collect();
        for (n, (key, _)) in (0..).zip(&packs) {
            repository.store().put(key, &[n; 200]).unwrap();
        }
        let index = |of: &[u8]| {
            let packs: Vec<_> =
                of.iter().map(|n| (packs[usize::from(*n)].1, vec![blob(*n)])).collect();
            repository.save_index(&packs).unwrap();
        };
        index(&[0, 1]);
        index(&[2]);
        index(&[3]);
        let lock = repository.lock(LockMode::Shared).unwrap();
        let names = repository.names(ObjectKind::Index).unwrap();
        assert_eq!(repository.drop_lost_packs(&lock).unwrap(), 0);
        assert_eq!(repository.names(ObjectKind::Index).unwrap(), names, "nothing is rewritten");
        for lost in [1, 2] {
            repository.store().remove(&packs[lost].0).unwrap();
        }
        assert_eq!(repository.drop_lost_packs(&lock).unwrap(), 2);
        let loaded = repository.load_index().unwrap();
        assert!(loaded.damaged.is_empty());
        for (n, (_, id)) in (0..).zip(&packs) {
            let there = n == 0 || n == 3;
            assert_eq!(loaded.value.has_pack(id), there, "pack {n}");
            assert_eq!(loaded.value.has(BlobKind::Data, &Digest([n; 32])), there, "blob {n}");
        }
        assert_eq!(repository.names(ObjectKind::Index).unwrap().len(), 2);
    }
}
