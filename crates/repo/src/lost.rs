//! Indexes without packs that are gone for good, for whoever has the repository alone and can store what
//! was in them again; and what was in them. Reads no blob.

use crate::index::{BlobKind, Filling, Index, IndexFile, IndexedPack};
use crate::repository::DOCUMENT;
use crate::{Error, LockGuard, PackedBlob, Repository};
use model::{Digest, ObjectKey, ObjectKind};
use std::collections::{BTreeSet, HashMap, HashSet};

/// What is lost with some packs, and what is not.
#[derive(Debug)]
pub struct WithoutPacks {
    /// Every blob that another pack has.
    pub index: Index,
    /// The others, with the lengths of their plain bytes.
    pub lost: HashMap<(BlobKind, Digest), u32>,
    /// The index files that name the packs.
    pub named_by: Vec<Digest>,
}

impl Repository {
    /// What is lost if those packs are.
    ///
    /// # Errors
    /// Those of the store; [`Error::Damaged`] for an index that cannot be read: what it alone names would be taken for
    /// something that never was.
    pub fn without_packs(&self, packs: &HashSet<Digest>) -> Result<WithoutPacks, Error> {
        let listed = self.store().list(ObjectKind::Index)?;
        let stored = listed.iter().fold(0_u64, |sum, listed| sum.saturating_add(listed.length));
        let (mut index, mut lost) = (Filling::of(stored), HashMap::new());
        let mut named_by = Vec::new();
        for id in self.names(ObjectKind::Index)? {
            let (kept, gone) = self.split_index(id, packs)?;
            index.take(&IndexFile { supersedes: Vec::new(), packs: kept });
            for blob in gone.iter().flat_map(|pack| &pack.blobs).map(PackedBlob::from) {
                lost.insert((blob.kind, blob.id), blob.size());
            }
            if !gone.is_empty() {
                named_by.push(id);
            }
        }
        let index = index.finish();
        lost.retain(|(kind, id), _| !index.has(*kind, id));
        lost.shrink_to_fit();
        Ok(WithoutPacks { index, lost, named_by })
    }

    /// Stores those index files once more, without the packs; the files themselves stay.
    ///
    /// # Errors
    /// Those of the store; [`Error::Damaged`].
    pub fn save_indexes_without(
        &self,
        files: &[Digest],
        packs: &HashSet<Digest>,
    ) -> Result<(), Error> {
        for id in files {
            let (kept, _) = self.split_index(*id, packs)?;
            self.write_index(kept)?;
        }
        Ok(())
    }

    /// The packs that hold trees, as the indexes say.
    ///
    /// # Errors
    /// Those of the store; [`Error::Damaged`] for an index that cannot be read.
    pub fn packs_of_trees(&self) -> Result<BTreeSet<Digest>, Error> {
        let mut packs = BTreeSet::new();
        for id in self.names(ObjectKind::Index)? {
            let file: IndexFile = self.load_document(ObjectKey::Index(id), DOCUMENT)?;
            let is_tree = |pack: &&IndexedPack| {
                pack.blobs.iter().any(|blob| PackedBlob::from(blob).kind == BlobKind::Tree)
            };
            packs.extend(file.packs.iter().filter(is_tree).map(|pack| pack.id));
        }
        Ok(packs)
    }

    /// An index file's packs: the others, and these.
    fn split_index(
        &self,
        id: Digest,
        packs: &HashSet<Digest>,
    ) -> Result<(Vec<IndexedPack>, Vec<IndexedPack>), Error> {
        let file: IndexFile = self.load_document(ObjectKey::Index(id), DOCUMENT)?;
        Ok(file.packs.into_iter().partition(|pack| !packs.contains(&pack.id)))
    }

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

    #[test]
    fn what_is_lost_with_a_pack_is_what_no_other_pack_has() {
        let repository = repository();
        let pack = |n: u8| Digest([100 + n; 32]);
        let tree = |n: u8| PackedBlob { kind: BlobKind::Tree, ..blob(n) };
        // Blob 2 is in two packs, and pack 2 in two indexes.
        repository
            .save_index(&[(pack(1), vec![blob(1), blob(2)]), (pack(2), vec![blob(3)])])
            .unwrap();
        repository
            .save_index(&[(pack(3), vec![blob(2), blob(4)]), (pack(2), vec![blob(3)])])
            .unwrap();
        repository.save_index(&[(pack(4), vec![tree(1), tree(9)])]).unwrap();
        let names = repository.names(ObjectKind::Index).unwrap();
        let without = |packs: &[u8]| {
            let packs: HashSet<Digest> = packs.iter().map(|n| pack(*n)).collect();
            let found = repository.without_packs(&packs).unwrap();
            let mut lost: Vec<_> = found.lost.keys().map(|(kind, id)| (*kind, id.0[0])).collect();
            lost.sort_by_key(|(kind, n)| (*kind == BlobKind::Tree, *n));
            (lost, found.named_by.len(), found.index.count(BlobKind::Data))
        };
        let data = |n| (BlobKind::Data, n);
        assert_eq!(without(&[]), (vec![], 0, 4));
        assert_eq!(without(&[1]), (vec![data(1)], 1, 3), "blob 2 is in pack 3, too");
        assert_eq!(without(&[1, 3]), (vec![data(1), data(2), data(4)], 2, 1));
        assert_eq!(without(&[2]), (vec![data(3)], 2, 3));
        let trees = vec![(BlobKind::Tree, 1), (BlobKind::Tree, 9)];
        assert_eq!(without(&[4]), (trees, 1, 4), "a data blob of that name is another blob");
        assert_eq!(repository.packs_of_trees().unwrap(), BTreeSet::from([pack(4)]));
        let lost = HashSet::from([pack(2)]);
        let found = repository.without_packs(&lost).unwrap();
        let size = found.lost[&(BlobKind::Data, Digest([3; 32]))];
        assert_eq!(size, blob(3).size());
        repository.save_indexes_without(&found.named_by, &lost).unwrap();
        for id in &found.named_by {
            repository.store().remove(&ObjectKey::Index(*id)).unwrap();
        }
        let index = repository.load_index().unwrap().value;
        assert!(!index.has_pack(&pack(2)) && [1, 3, 4].iter().all(|n| index.has_pack(&pack(*n))));
        assert_eq!(index.count(BlobKind::Data), 3);
        assert!(names.iter().any(|id| !found.named_by.contains(id)), "the third stays as it is");
    }
}
