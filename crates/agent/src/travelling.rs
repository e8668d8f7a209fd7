//! A place of a seed as far as it travels: packs that the seed does not list are not seen, whoever has put them there. What is added to a
//! seed that travels must not rely on them: they never arrive. Everything else, locks too, is as it is.

use model::{ObjectKey, ObjectKind};
use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;
use store::{Error, Listed, Result, Store};

/// Hides packs that do not travel.
#[derive(Debug)]
pub(crate) struct Travelling {
    place: Arc<dyn Store>,
    listed: BTreeSet<ObjectKey>,
}

impl Travelling {
    /// `place`, with no other packs than those.
    pub(crate) fn new(place: Arc<dyn Store>, listed: BTreeSet<ObjectKey>) -> Self {
        Self { place, listed }
    }

    fn shows(&self, key: &ObjectKey) -> bool {
        key.kind() != ObjectKind::Pack || self.listed.contains(key)
    }

    fn see(&self, key: &ObjectKey) -> Result<&dyn Store> {
        let hidden = || Error::NotFound { key: *key, location: self.location() };
        self.shows(key).then_some(self.place.as_ref()).ok_or_else(hidden)
    }
}

impl Store for Travelling {
    fn location(&self) -> String {
        self.place.location()
    }

    fn create(&self) -> Result<()> {
        self.place.create()
    }

    fn put(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()> {
        self.place.put(key, bytes)
    }

    fn put_from(&self, key: &ObjectKey, length: u64, from: &mut dyn Read) -> Result<()> {
        self.place.put_from(key, length, from)
    }

    fn get(&self, key: &ObjectKey, limit: u64) -> Result<Vec<u8>> {
        self.see(key)?.get(key, limit)
    }

    fn read_at(&self, key: &ObjectKey, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.see(key)?.read_at(key, offset, buffer)
    }

    fn open(&self, key: &ObjectKey) -> Result<Box<dyn Read + Send>> {
        self.see(key)?.open(key)
    }

    fn length(&self, key: &ObjectKey) -> Result<u64> {
        self.see(key)?.length(key)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        let mut listed = self.place.list(kind)?;
        listed.retain(|listed| self.shows(&listed.key));
        Ok(listed)
    }

    fn remove(&self, key: &ObjectKey) -> Result<()> {
        self.place.remove(key)
    }

    fn puts_at_once(&self) -> usize {
        self.place.puts_at_once()
    }

    fn lists_at_once(&self) -> bool {
        self.place.lists_at_once()
    }

    fn remove_leftovers(&self) -> Result<()> {
        self.place.remove_leftovers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::{Memory, conformance};

    #[test]
    fn packs_that_do_not_travel_are_not_seen_and_all_else_is() {
        let place = Arc::new(Memory::new());
        place.create().unwrap();
        let key = |kind, bytes: &[u8]| conformance::key_of(kind, bytes);
        let (one, other) = (key(ObjectKind::Pack, b"one"), key(ObjectKind::Pack, b"other"));
        let index = key(ObjectKind::Index, b"index");
        for (key, bytes) in [(one, b"one".as_slice()), (other, b"other"), (index, b"index")] {
            place.put(&key, bytes).unwrap();
        }
        let seen = Travelling::new(Arc::<Memory>::clone(&place), BTreeSet::from([one]));
        let packs = seen.list(ObjectKind::Pack).unwrap();
        assert_eq!(packs.iter().map(|listed| listed.key).collect::<Vec<_>>(), [one]);
        assert_eq!(seen.get(&one, 9).unwrap(), b"one");
        for hidden in [
            seen.get(&other, 9).err(),
            seen.length(&other).err(),
            seen.open(&other).err(),
            seen.read_at(&other, 0, &mut [0]).err(),
        ] {
            assert!(matches!(hidden, Some(Error::NotFound { .. })), "{hidden:?}");
        }
        assert_eq!(seen.get(&index, 9).unwrap(), b"index");
        let lock = key(ObjectKind::Lock, b"lock");
        seen.put(&lock, b"lock").unwrap();
        assert_eq!(place.list(ObjectKind::Lock).unwrap().len(), 1);
        seen.remove(&lock).unwrap();
        assert!(place.list(ObjectKind::Lock).unwrap().is_empty());
    }
}
