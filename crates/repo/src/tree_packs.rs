//! Packs of trees, kept in memory for as long as they are being walked.
//!
//! A walk over trees asks for hundreds of small blobs of the same few packs. Over a network each
//! would be a request of its own; so a pack that is asked for is read whole, and the last few are
//! kept. Verifies nothing: whoever takes a blob out does.

use model::{Digest, ObjectKey};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use store::Store;

/// A pack longer than this is not read whole: its trees are read one by one.
const PACK_LIMIT: u64 = 32 << 20;
/// What is kept in all.
const MEMORY: usize = 64 << 20;

/// The packs read last, the most recent one in front.
#[derive(Debug, Default)]
pub(crate) struct TreePacks {
    kept: Mutex<VecDeque<(Digest, Arc<Vec<u8>>)>>,
    /// Held while a pack is fetched: several threads walk side by side, and ask for the same one.
    fetching: Mutex<()>,
}

impl TreePacks {
    /// The stored bytes of a blob; none when its pack is too long to be kept.
    pub(crate) fn read(
        &self,
        store: &dyn Store,
        pack: Digest,
        offset: u32,
        length: u32,
    ) -> store::Result<Option<Vec<u8>>> {
        let Some(bytes) = self.pack(store, pack)? else { return Ok(None) };
        let from = offset as usize;
        Ok(bytes.get(from..from.saturating_add(length as usize)).map(<[u8]>::to_vec))
    }

    /// Forgets everything: what is read next comes from the store as it is now.
    pub(crate) fn clear(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn pack(&self, store: &dyn Store, pack: Digest) -> store::Result<Option<Arc<Vec<u8>>>> {
        if let Some(kept) = self.kept(pack) {
            return Ok(Some(kept));
        }
        let _fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = self.kept(pack) {
            return Ok(Some(kept));
        }
        let bytes = match store.get(&ObjectKey::Pack(pack), PACK_LIMIT) {
            Ok(bytes) => Arc::new(bytes),
            Err(store::Error::TooLong { .. }) => return Ok(None),
            Err(other) => return Err(other),
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front((pack, Arc::clone(&bytes)));
        let mut sum = 0;
        kept.retain(|(_, bytes)| {
            sum += bytes.len();
            sum <= MEMORY
        });
        Ok(Some(bytes))
    }

    fn kept(&self, pack: Digest) -> Option<Arc<Vec<u8>>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(id, _)| *id == pack)?;
        let found = kept.remove(at)?;
        let bytes = Arc::clone(&found.1);
        kept.push_front(found);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::{Memory, Operation, Recorder};

    #[test]
    fn a_pack_is_fetched_once_and_gives_any_part() {
        let store = Recorder::new(Memory::new());
        let pack = Digest([1; 32]);
        store.put(&ObjectKey::Pack(pack), &[1, 2, 3, 4, 5]).unwrap();
        let packs = TreePacks::default();
        assert_eq!(packs.read(&store, pack, 1, 3).unwrap(), Some(vec![2, 3, 4]));
        assert_eq!(packs.read(&store, pack, 4, 1).unwrap(), Some(vec![5]));
        assert_eq!(packs.read(&store, pack, 4, 2).unwrap(), None, "beyond its end");
        assert_eq!(store.counts().calls(Operation::Get), 1);
    }

    #[test]
    fn threads_that_want_the_same_pack_fetch_it_once() {
        let store = Recorder::new(Memory::new());
        let pack = Digest([1; 32]);
        store.put(&ObjectKey::Pack(pack), &vec![1; 1 << 20]).unwrap();
        let packs = TreePacks::default();
        let begin = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    begin.wait();
                    packs.read(&store, pack, 0, 4).unwrap()
                });
            }
        });
        assert_eq!(store.counts().calls(Operation::Get), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let store = Memory::new();
        let packs = TreePacks::default();
        for n in 0..8 {
            let pack = Digest([n; 32]);
            store.put(&ObjectKey::Pack(pack), &vec![n; 20 << 20]).unwrap();
            packs.read(&store, pack, 0, 1).unwrap();
        }
        assert_eq!(packs.kept.lock().unwrap().len(), 3);
        let large = Digest([9; 32]);
        store.put(&ObjectKey::Pack(large), &vec![0; 33 << 20]).unwrap();
        assert_eq!(packs.read(&store, large, 0, 1).unwrap(), None);
    }
}
