//! Where what is made anew for a seed is put: packs of data into staging, from where they are sent, and everything else into
//! the seed's own state, until the seed is revised by it. Decides nothing of what that is.

use model::{ObjectKey, ObjectKind};
use std::io::Read;
use std::sync::Arc;
use store::{Error, Listed, Result, Store};

/// Packs are put into one store and all else into another; what is read may be in either.
#[derive(Debug)]
pub(crate) struct Bench {
    packs: Arc<dyn Store>,
    rest: Arc<dyn Store>,
}

impl Bench {
    pub(crate) fn new(packs: Arc<dyn Store>, rest: Arc<dyn Store>) -> Self {
        Self { packs, rest }
    }

    fn own(&self, kind: ObjectKind) -> &dyn Store {
        if kind == ObjectKind::Pack { self.packs.as_ref() } else { self.rest.as_ref() }
    }

    fn seen<T>(&self, key: &ObjectKey, mut look: impl FnMut(&dyn Store) -> Result<T>) -> Result<T> {
        match look(self.own(key.kind())) {
            Err(Error::NotFound { .. }) => look(self.rest.as_ref()),
            other => other,
        }
    }
}

impl Store for Bench {
    fn location(&self) -> String {
        self.packs.location()
    }

    fn create(&self) -> Result<()> {
        self.packs.create()?;
        self.rest.create()
    }

    fn put(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()> {
        self.own(key.kind()).put(key, bytes)
    }

    fn put_from(&self, key: &ObjectKey, length: u64, from: &mut dyn Read) -> Result<()> {
        self.own(key.kind()).put_from(key, length, from)
    }

    fn get(&self, key: &ObjectKey, limit: u64) -> Result<Vec<u8>> {
        self.seen(key, |store| store.get(key, limit))
    }

    fn read_at(&self, key: &ObjectKey, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.seen(key, |store| store.read_at(key, offset, buffer))
    }

    fn open(&self, key: &ObjectKey) -> Result<Box<dyn Read + Send>> {
        self.seen(key, |store| store.open(key))
    }

    fn length(&self, key: &ObjectKey) -> Result<u64> {
        self.seen(key, |store| store.length(key))
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        let mut listed = self.own(kind).list(kind)?;
        if kind == ObjectKind::Pack {
            listed.extend(self.rest.list(kind)?);
            listed.sort_unstable();
            listed.dedup_by_key(|listed| listed.key);
        }
        Ok(listed)
    }

    fn remove(&self, key: &ObjectKey) -> Result<()> {
        self.own(key.kind()).remove(key)
    }

    fn puts_at_once(&self) -> usize {
        self.packs.puts_at_once()
    }

    fn lists_at_once(&self) -> bool {
        self.packs.lists_at_once() && self.rest.lists_at_once()
    }

    fn remove_leftovers(&self) -> Result<()> {
        self.packs.remove_leftovers()?;
        self.rest.remove_leftovers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::{Memory, conformance};

    #[test]
    fn it_is_a_store() {
        conformance::run(|| {
            let (packs, rest) = (Arc::new(Memory::new()), Arc::new(Memory::new()));
            (Arc::new(Bench::new(packs, rest)), ())
        });
    }

    #[test]
    fn packs_go_one_way_and_all_else_the_other_and_both_are_seen() {
        let (packs, rest) = (Arc::new(Memory::new()), Arc::new(Memory::new()));
        let bench = Bench::new(Arc::<Memory>::clone(&packs), Arc::<Memory>::clone(&rest));
        bench.create().unwrap();
        let key = |kind, bytes| conformance::key_of(kind, bytes);
        let (pack, index) = (key(ObjectKind::Pack, b"p"), key(ObjectKind::Index, b"i"));
        bench.put(&pack, b"p").unwrap();
        bench.put(&index, b"i").unwrap();
        let tree = key(ObjectKind::Pack, b"t");
        rest.put(&tree, b"t").unwrap();
        assert!(packs.length(&pack).is_ok() && rest.length(&pack).is_err());
        assert!(rest.length(&index).is_ok() && packs.length(&index).is_err());
        assert_eq!(bench.get(&tree, 9).unwrap(), b"t");
        assert_eq!(bench.list(ObjectKind::Pack).unwrap().len(), 2);
    }
}
