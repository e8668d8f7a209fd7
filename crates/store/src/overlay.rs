//! A store that shows another one below it, and keeps to itself what is added: what a backup adds to a
//! repository elsewhere can so be carried there later. Moves nothing between the two.

use crate::{Error, Listed, Result, Store};
use model::{ObjectKey, ObjectKind};
use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

/// What is above is seen first, and what is added goes there. Locks are below, where others look for them.
///
/// What is removed is removed above: an object that lies below is still seen.
#[derive(Debug)]
pub struct Overlay {
    above: Arc<dyn Store>,
    below: Arc<dyn Store>,
}

impl Overlay {
    /// `above` over `below`. Both have the same config once both have one.
    pub fn new(above: Arc<dyn Store>, below: Arc<dyn Store>) -> Self {
        Self { above, below }
    }

    /// The one that is written to.
    fn own(&self, key: &ObjectKey) -> &dyn Store {
        if key.kind() == ObjectKind::Lock { self.below.as_ref() } else { self.above.as_ref() }
    }

    /// From above, or from below what is not there.
    fn seen<T>(&self, key: &ObjectKey, mut look: impl FnMut(&dyn Store) -> Result<T>) -> Result<T> {
        match look(self.own(key)) {
            Err(Error::NotFound { .. }) => look(self.below.as_ref()),
            other => other,
        }
    }
}

impl Store for Overlay {
    fn location(&self) -> String {
        self.above.location()
    }

    fn create(&self) -> Result<()> {
        self.above.create()
    }

    fn put(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()> {
        self.own(key).put(key, bytes)
    }

    fn put_from(&self, key: &ObjectKey, length: u64, from: &mut dyn Read) -> Result<()> {
        self.own(key).put_from(key, length, from)
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
        if kind == ObjectKind::Lock {
            return self.below.list(kind);
        }
        let mut listed = self.above.list(kind)?;
        let above: BTreeSet<ObjectKey> = listed.iter().map(|listed| listed.key).collect();
        let below = self.below.list(kind)?;
        listed.extend(below.into_iter().filter(|listed| !above.contains(&listed.key)));
        Ok(listed)
    }

    fn remove(&self, key: &ObjectKey) -> Result<()> {
        self.own(key).remove(key)
    }

    fn puts_at_once(&self) -> usize {
        self.above.puts_at_once()
    }

    fn lists_at_once(&self) -> bool {
        self.above.lists_at_once() && self.below.lists_at_once()
    }

    fn remove_leftovers(&self) -> Result<()> {
        self.above.remove_leftovers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Memory, conformance};

    #[test]
    fn it_is_a_store() {
        conformance::run(|| {
            let below = Arc::new(Memory::new());
            below.create().unwrap();
            (Arc::new(Overlay::new(Arc::new(Memory::new()), below)), ())
        });
    }

    #[test]
    fn what_is_below_is_seen_and_never_changed() {
        let (above, below) = (Arc::new(Memory::new()), Arc::new(Memory::new()));
        let both = Overlay::new(above.clone(), below.clone());
        below.create().unwrap();
        both.create().unwrap();
        let (old, new) = (b"old".as_slice(), b"new".as_slice());
        let [old_key, new_key, lock] =
            [(ObjectKind::Pack, old), (ObjectKind::Pack, new), (ObjectKind::Lock, new)]
                .map(|(kind, bytes)| conformance::key_of(kind, bytes));
        below.put(&old_key, old).unwrap();
        both.put(&new_key, new).unwrap();
        both.put(&lock, new).unwrap();
        assert_eq!(both.get(&old_key, 9).unwrap(), old);
        assert_eq!(both.length(&new_key).unwrap(), 3);
        let mut keys: Vec<ObjectKey> =
            both.list(ObjectKind::Pack).unwrap().into_iter().map(|listed| listed.key).collect();
        keys.sort();
        let mut expected = vec![old_key, new_key];
        expected.sort();
        assert_eq!(keys, expected);
        let listed = |store: &Memory, kind| store.list(kind).unwrap().len();
        assert_eq!((listed(&above, ObjectKind::Pack), listed(&below, ObjectKind::Pack)), (1, 1));
        assert_eq!((listed(&above, ObjectKind::Lock), listed(&below, ObjectKind::Lock)), (0, 1));
        both.remove(&old_key).unwrap();
        assert_eq!(both.get(&old_key, 9).unwrap(), old);
        both.remove(&lock).unwrap();
        assert_eq!(listed(&below, ObjectKind::Lock), 0);
    }
}
