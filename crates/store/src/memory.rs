//! A repository in memory, for tests and rehearsals. Survives nothing.

use crate::stream::{BUFFER, Checked};
use crate::{Error, Listed, Result, Store};
use model::{ObjectKey, ObjectKind};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Objects in memory. Keeps the [crate's contract](crate) but for durability.
#[derive(Debug, Default)]
pub struct Memory {
    objects: Mutex<BTreeMap<ObjectKey, Arc<[u8]>>>,
    capacity: Option<u64>,
}

impl Memory {
    /// An empty one without a bound.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one that is full once its objects have `capacity` bytes together.
    #[must_use]
    pub fn with_capacity(capacity: u64) -> Self {
        Self { capacity: Some(capacity), ..Self::default() }
    }

    /// Puts `bytes` under `key` whatever is there: damage for tests to find.
    pub fn overwrite(&self, key: &ObjectKey, bytes: &[u8]) {
        self.objects().insert(*key, bytes.into());
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Arc<[u8]>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn require(&self, key: &ObjectKey) -> Result<Arc<[u8]>> {
        let missing = || Error::NotFound { location: self.location(), key: *key };
        self.objects().get(key).cloned().ok_or_else(missing)
    }
}

/// An object's bytes as a stream.
struct Stream {
    bytes: Arc<[u8]>,
    at: usize,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.bytes.get(self.at..).unwrap_or_default().read(buffer)?;
        self.at += count;
        Ok(count)
    }
}

impl Store for Memory {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn create(&self) -> Result<()> {
        Ok(())
    }

    fn lists_at_once(&self) -> bool {
        true
    }

    fn put(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()> {
        let location = self.location();
        let mut objects = self.objects();
        match objects.get(key) {
            Some(same) if **same == *bytes => return Ok(()),
            Some(_) => return Err(Error::Conflict { location, key: *key }),
            None => {}
        }
        let used: u64 = objects.values().map(|object| object.len() as u64).sum();
        if self.capacity.is_some_and(|capacity| used + bytes.len() as u64 > capacity) {
            return Err(Error::Full { location });
        }
        objects.insert(*key, bytes.into());
        Ok(())
    }

    fn put_from(&self, key: &ObjectKey, length: u64, from: &mut dyn Read) -> Result<()> {
        let mut checked = Checked::new(self.location(), key, length, from);
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; BUFFER]);
        loop {
            match checked.next(&mut buffer)? {
                0 => return self.put(key, &bytes),
                count => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            }
        }
    }

    fn get(&self, key: &ObjectKey, limit: u64) -> Result<Vec<u8>> {
        let bytes = self.require(key)?;
        let length = bytes.len() as u64;
        if length > limit {
            return Err(Error::TooLong { location: self.location(), key: *key, length, limit });
        }
        Ok(bytes.to_vec())
    }

    fn read_at(&self, key: &ObjectKey, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let bytes = self.require(key)?;
        let from = usize::try_from(offset).ok();
        let range = from.and_then(|from| Some(from..from.checked_add(buffer.len())?));
        let Some(part) = range.and_then(|range| bytes.get(range)) else {
            let what = format!("it ends at {}, before {} + {offset}", bytes.len(), buffer.len());
            return Err(Error::Corrupt { location: self.location(), key: *key, what });
        };
        buffer.copy_from_slice(part);
        Ok(())
    }

    fn open(&self, key: &ObjectKey) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(Stream { bytes: self.require(key)?, at: 0 }))
    }

    fn length(&self, key: &ObjectKey) -> Result<u64> {
        Ok(self.require(key)?.len() as u64)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        let of_kind = |(key, bytes): (&ObjectKey, &Arc<[u8]>)| {
            (key.kind() == kind).then(|| Listed { key: *key, length: bytes.len() as u64 })
        };
        Ok(self.objects().iter().filter_map(of_kind).collect())
    }

    fn remove(&self, key: &ObjectKey) -> Result<()> {
        self.objects().remove(key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Digest;

    #[test]
    fn a_full_memory_keeps_what_it_has_and_takes_what_fits() {
        let store = Memory::with_capacity(10);
        let pack = |n: u8| ObjectKey::Pack(Digest([n; 32]));
        store.put(&pack(1), &[1; 6]).unwrap();
        assert!(matches!(store.put(&pack(2), &[2; 5]), Err(Error::Full { .. })));
        store.put(&pack(3), &[3; 4]).unwrap();
        assert_eq!(store.list(ObjectKind::Pack).unwrap().len(), 2);
        store.remove(&pack(1)).unwrap();
        store.put(&pack(2), &[2; 5]).unwrap();
    }
}
