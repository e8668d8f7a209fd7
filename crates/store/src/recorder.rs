//! Counts what is asked of a store, for tests of cost. Changes nothing on the way.

use crate::{Listed, Operation, Result, Store};
use model::{ObjectKey, ObjectKind};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

/// A store that counts its calls and the bytes they move.
#[derive(Debug)]
pub struct Recorder<S> {
    inner: S,
    counts: Arc<Mutex<Counts>>,
}

/// What a [`Recorder`] has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    calls: BTreeMap<Operation, u64>,
    by_kind: BTreeMap<(Operation, ObjectKind), u64>,
    written: u64,
    read: u64,
}

impl Counts {
    /// How often that was called, whatever came of it.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.calls.get(&operation).copied().unwrap_or_default()
    }

    /// How often that was called for objects of that kind.
    #[must_use]
    pub fn calls_for(&self, operation: Operation, kind: ObjectKind) -> u64 {
        self.by_kind.get(&(operation, kind)).copied().unwrap_or_default()
    }

    /// All calls.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.calls.values().sum()
    }

    /// Bytes stored successfully.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.written
    }

    /// Bytes read, as far as they were.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.read
    }
}

impl<S: Store> Recorder<S> {
    /// `inner`, counted from zero.
    pub fn new(inner: S) -> Self {
        Self { inner, counts: Arc::default() }
    }

    /// The store inside.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.with(|counts| counts.clone())
    }

    /// What was counted so far, and counts from zero again.
    pub fn take(&self) -> Counts {
        self.with(std::mem::take)
    }

    fn with<T>(&self, then: impl FnOnce(&mut Counts) -> T) -> T {
        then(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn count(&self, operation: Operation, kind: Option<ObjectKind>) {
        self.with(|counts| {
            *counts.calls.entry(operation).or_default() += 1;
            if let Some(kind) = kind {
                *counts.by_kind.entry((operation, kind)).or_default() += 1;
            }
        });
    }
}

/// A stream that counts what is read from it.
struct Counted {
    inner: Box<dyn Read + Send>,
    counts: Arc<Mutex<Counts>>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).read += count as u64;
        Ok(count)
    }
}

impl<S: Store> Store for Recorder<S> {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn create(&self) -> Result<()> {
        self.count(Operation::Create, None);
        self.inner.create()
    }

    fn put(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()> {
        self.count(Operation::Put, Some(key.kind()));
        self.inner.put(key, bytes)?;
        self.with(|counts| counts.written += bytes.len() as u64);
        Ok(())
    }

    fn put_from(&self, key: &ObjectKey, length: u64, from: &mut dyn Read) -> Result<()> {
        self.count(Operation::PutFrom, Some(key.kind()));
        self.inner.put_from(key, length, from)?;
        self.with(|counts| counts.written += length);
        Ok(())
    }

    fn get(&self, key: &ObjectKey, limit: u64) -> Result<Vec<u8>> {
        self.count(Operation::Get, Some(key.kind()));
        let bytes = self.inner.get(key, limit)?;
        self.with(|counts| counts.read += bytes.len() as u64);
        Ok(bytes)
    }

    fn read_at(&self, key: &ObjectKey, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.count(Operation::ReadAt, Some(key.kind()));
        self.inner.read_at(key, offset, buffer)?;
        self.with(|counts| counts.read += buffer.len() as u64);
        Ok(())
    }

    fn open(&self, key: &ObjectKey) -> Result<Box<dyn Read + Send>> {
        self.count(Operation::Open, Some(key.kind()));
        let inner = self.inner.open(key)?;
        Ok(Box::new(Counted { inner, counts: self.counts.clone() }))
    }

    fn length(&self, key: &ObjectKey) -> Result<u64> {
        self.count(Operation::Length, Some(key.kind()));
        self.inner.length(key)
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        self.count(Operation::List, Some(kind));
        self.inner.list(kind)
    }

    fn remove(&self, key: &ObjectKey) -> Result<()> {
        self.count(Operation::Remove, Some(key.kind()));
        self.inner.remove(key)
    }

    fn puts_at_once(&self) -> usize {
        self.inner.puts_at_once()
    }

    fn lists_at_once(&self) -> bool {
        self.inner.lists_at_once()
    }

    fn remove_leftovers(&self) -> Result<()> {
        self.inner.remove_leftovers()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;
    use crate::conformance::key_of;

    #[test]
    fn calls_count_always_and_bytes_when_they_moved() {
        let store = Recorder::new(Memory::with_capacity(10));
        let key = key_of(ObjectKind::Pack, b"12345678");
        store.put(&key, b"12345678").unwrap();
        assert!(store.put(&key_of(ObjectKind::Index, b"abc"), b"abc").is_err());
        store.read_at(&key, 2, &mut [0; 3]).unwrap();
        store.open(&key).unwrap().read_exact(&mut [0; 4]).unwrap();
        let counts = store.take();
        assert_eq!(counts.calls(Operation::Put), 2);
        assert_eq!(counts.calls_for(Operation::Put, ObjectKind::Index), 1);
        assert_eq!((counts.bytes_written(), counts.bytes_read(), counts.total()), (8, 7, 4));
        assert_eq!(store.counts(), Counts::default());
    }
}
