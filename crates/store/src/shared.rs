//! A store behind a pointer is a store: what lets wrappers stack on whatever was opened.
//! Adds nothing of its own.

use crate::{Listed, Result, Store};
use model::{ObjectKey, ObjectKind};
use std::io::Read;
use std::sync::Arc;

macro_rules! store_behind {
    ($pointer:ident) => {
        impl<S: Store + ?Sized> Store for $pointer<S> {
            fn location(&self) -> String {
                self.as_ref().location()
            }

            fn create(&self) -> Result<()> {
                self.as_ref().create()
            }

            fn put(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()> {
                self.as_ref().put(key, bytes)
            }

            fn put_from(&self, key: &ObjectKey, length: u64, from: &mut dyn Read) -> Result<()> {
                self.as_ref().put_from(key, length, from)
            }

            fn get(&self, key: &ObjectKey, limit: u64) -> Result<Vec<u8>> {
                self.as_ref().get(key, limit)
            }

            fn read_at(&self, key: &ObjectKey, offset: u64, buffer: &mut [u8]) -> Result<()> {
                self.as_ref().read_at(key, offset, buffer)
            }

            fn open(&self, key: &ObjectKey) -> Result<Box<dyn Read + Send>> {
                self.as_ref().open(key)
            }

            fn length(&self, key: &ObjectKey) -> Result<u64> {
                self.as_ref().length(key)
            }

            fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
                self.as_ref().list(kind)
            }

            fn remove(&self, key: &ObjectKey) -> Result<()> {
                self.as_ref().remove(key)
            }

            fn puts_at_once(&self) -> usize {
                self.as_ref().puts_at_once()
            }

            fn lists_at_once(&self) -> bool {
                self.as_ref().lists_at_once()
            }

            fn remove_leftovers(&self) -> Result<()> {
                self.as_ref().remove_leftovers()
            }
        }
    };
}

store_behind!(Arc);
store_behind!(Box);
