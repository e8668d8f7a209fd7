//! A part of another store: the objects named, and no others. Changes nothing there.

use crate::{Error, Listed, Result, Store};
use model::{ObjectKey, ObjectKind};
use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

/// Shows some objects of another store. Nothing can be added or removed.
#[derive(Debug)]
pub struct Part {
    whole: Arc<dyn Store>,
    shown: BTreeSet<ObjectKey>,
}

impl Part {
    /// Those objects of `whole`.
    pub fn new(whole: Arc<dyn Store>, shown: BTreeSet<ObjectKey>) -> Self {
        Self { whole, shown }
    }

    fn see(&self, key: &ObjectKey) -> Result<&dyn Store> {
        let missing = || Error::NotFound { key: *key, location: self.location() };
        self.shown.contains(key).then_some(self.whole.as_ref()).ok_or_else(missing)
    }

    fn refuse(&self) -> Error {
        Error::Denied {
            location: self.location(),
            what: "a part of a store is read only".to_owned(),
        }
    }
}

impl Store for Part {
    fn location(&self) -> String {
        self.whole.location()
    }

    fn create(&self) -> Result<()> {
        Ok(())
    }

    fn put(&self, _: &ObjectKey, _: &[u8]) -> Result<()> {
        Err(self.refuse())
    }

    fn put_from(&self, _: &ObjectKey, _: u64, _: &mut dyn Read) -> Result<()> {
        Err(self.refuse())
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
        let listed = self.whole.list(kind)?;
        Ok(listed.into_iter().filter(|listed| self.shown.contains(&listed.key)).collect())
    }

    fn remove(&self, _: &ObjectKey) -> Result<()> {
        Err(self.refuse())
    }
}
