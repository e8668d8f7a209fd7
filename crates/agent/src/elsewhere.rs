//! A store with objects that are somewhere else, and on their way here: they are listed, and cannot be read. Believes whoever names
//! them.

use model::{ObjectKey, ObjectKind};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;
use store::{Error, Listed, Result, Store};

/// Shows, beside what is there, objects that are not: by name and length. What is there goes before them.
#[derive(Debug)]
pub(crate) struct Elsewhere {
    here: Arc<dyn Store>,
    named: BTreeMap<ObjectKey, u64>,
}

impl Elsewhere {
    /// `here`, and those that are named.
    pub(crate) fn new(here: Arc<dyn Store>, named: BTreeMap<ObjectKey, u64>) -> Self {
        Self { here, named }
    }
}

impl Store for Elsewhere {
    fn location(&self) -> String {
        self.here.location()
    }

    fn create(&self) -> Result<()> {
        self.here.create()
    }

    fn put(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()> {
        self.here.put(key, bytes)
    }

    fn put_from(&self, key: &ObjectKey, length: u64, from: &mut dyn Read) -> Result<()> {
        self.here.put_from(key, length, from)
    }

    fn get(&self, key: &ObjectKey, limit: u64) -> Result<Vec<u8>> {
        self.here.get(key, limit)
    }

    fn read_at(&self, key: &ObjectKey, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.here.read_at(key, offset, buffer)
    }

    fn open(&self, key: &ObjectKey) -> Result<Box<dyn Read + Send>> {
        self.here.open(key)
    }

    fn length(&self, key: &ObjectKey) -> Result<u64> {
        match (self.here.length(key), self.named.get(key)) {
            (Err(Error::NotFound { .. }), Some(length)) => Ok(*length),
            (length, _) => length,
        }
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        let here = self.here.list(kind)?;
        let elsewhere = self.named.iter().filter(|(key, _)| key.kind() == kind);
        let mut all: BTreeMap<ObjectKey, u64> =
            elsewhere.map(|(key, length)| (*key, *length)).collect();
        all.extend(here.into_iter().map(|listed| (listed.key, listed.length)));
        Ok(all.into_iter().map(|(key, length)| Listed { key, length }).collect())
    }

    fn remove(&self, key: &ObjectKey) -> Result<()> {
        self.here.remove(key)
    }

    fn puts_at_once(&self) -> usize {
        self.here.puts_at_once()
    }

    fn lists_at_once(&self) -> bool {
        self.here.lists_at_once()
    }

    fn remove_leftovers(&self) -> Result<()> {
        self.here.remove_leftovers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ErrorKind;
    use store::{Memory, conformance};

    #[test]
    fn it_is_a_store() {
        conformance::run(|| {
            (Arc::new(Elsewhere::new(Arc::new(Memory::new()), BTreeMap::new())), ())
        });
    }

    #[test]
    fn what_is_elsewhere_is_listed_and_not_read_and_what_is_here_goes_before_it() {
        let here = Arc::new(Memory::new());
        here.create().unwrap();
        let [there, both] = [b"there".as_slice(), b"both"]
            .map(|bytes| conformance::key_of(ObjectKind::Pack, bytes));
        here.put(&both, b"both").unwrap();
        let store = Elsewhere::new(here, BTreeMap::from([(there, 5), (both, 77)]));
        let mut listed = store.list(ObjectKind::Pack).unwrap();
        listed.sort();
        let mut wanted = vec![Listed { key: there, length: 5 }, Listed { key: both, length: 4 }];
        wanted.sort();
        assert_eq!(listed, wanted);
        assert_eq!((store.length(&there).unwrap(), store.length(&both).unwrap()), (5, 4));
        assert_eq!(store.get(&there, 9).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(store.list(ObjectKind::Index).unwrap().is_empty());
    }
}
