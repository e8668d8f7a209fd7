//! The repository in two places, as the engine sees it: packs of data on drives, everything else in a local
//! store. Writes no drive: what it is given waits in the window.

use super::window::{Verdict, Window};
use crate::beneath::Beneath;
use crate::object::object_path;
use model::{Digest, ObjectKey, ObjectKind};
use std::io::Read;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use store::{Error, Listed, Result, Store};

/// What reads and writes both places.
#[derive(Debug, Clone)]
pub(crate) struct Both {
    pub(crate) local: Arc<dyn Store>,
    pub(crate) window: Arc<Window>,
    pub(crate) repository: Digest,
    /// What is stored in the local store, whatever it is.
    pub(crate) near: bool,
    /// A snapshot ends the pass.
    pub(crate) last: bool,
}

impl Both {
    fn refused(&self, why: String) -> Error {
        Error::Unavailable { location: self.location(), cause: why.into() }
    }

    fn put_near(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()> {
        self.local.put(key, bytes)?;
        if matches!(key.kind(), ObjectKind::Pack | ObjectKind::Index | ObjectKind::Snapshot) {
            self.window.add_document(bytes.len() as u64, key.kind() == ObjectKind::Index);
        }
        Ok(())
    }

    /// A pack's file on its drive; none for a drive that is not at hand.
    fn file(&self, key: &ObjectKey) -> Result<(std::fs::File, u64)> {
        let missing = || Error::NotFound { location: self.location(), key: *key };
        let name = key.id().filter(|_| key.kind() == ObjectKind::Pack).ok_or_else(missing)?;
        let place = self.window.place(&name).ok_or_else(missing)?;
        let folder = self.window.folder(&place.serial).ok_or_else(missing)?;
        let path = object_path(&self.repository, key);
        let opened = Beneath::open(&folder).and_then(|folder| folder.file(&path));
        let (file, length) = opened.map_err(|_| missing())?;
        if length == place.length { Ok((file, length)) } else { Err(missing()) }
    }

    fn is_local(&self, key: &ObjectKey) -> Result<bool> {
        match self.local.length(key) {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }
}

impl Store for Both {
    fn location(&self) -> String {
        format!("{} and its drives", self.local.location())
    }

    fn create(&self) -> Result<()> {
        self.local.create()
    }

    fn put(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()> {
        match (key, self.near) {
            (ObjectKey::Pack(name), false) => {
                self.window.put(*name, bytes).map_err(|why| self.refused(why))
            }
            (ObjectKey::Index(_), false) => {
                self.window.settle().map_err(|why| self.refused(why))?;
                self.put_near(key, bytes)
            }
            (ObjectKey::Snapshot(_), false) if !self.last => {
                self.window.settle().map_err(|why| self.refused(why))?;
                self.put_near(key, bytes)
            }
            (ObjectKey::Snapshot(name), false) => {
                let verdict = self.window.finish(*name, bytes);
                match verdict.map_err(|why| self.refused(why))? {
                    Verdict::Sealed => Ok(()),
                    Verdict::Lost => Err(self.refused("packs were lost".to_owned())),
                }
            }
            _ => self.put_near(key, bytes),
        }
    }

    fn put_from(&self, key: &ObjectKey, length: u64, from: &mut dyn Read) -> Result<()> {
        if self.near
            || matches!(key.kind(), ObjectKind::Config | ObjectKind::Key | ObjectKind::Lock)
        {
            return self.local.put_from(key, length, from);
        }
        let mut bytes = Vec::new();
        let read = from.take(length.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|cause| Error::Source { key: *key, cause })?;
        if bytes.len() as u64 != length || key.id() != Some(Digest(sha256::hash(&bytes))) {
            let what = "its bytes are not those of its name".to_owned();
            return Err(Error::Corrupt { location: self.location(), key: *key, what });
        }
        self.put(key, &bytes)
    }

    fn get(&self, key: &ObjectKey, limit: u64) -> Result<Vec<u8>> {
        match self.local.get(key, limit) {
            Err(Error::NotFound { .. }) => {}
            other => return other,
        }
        let (file, length) = self.file(key)?;
        if length > limit {
            let location = self.location();
            return Err(Error::TooLong { location, key: *key, length, limit });
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.read_exactly(&file, key, 0, &mut bytes)?;
        Ok(bytes)
    }

    fn read_at(&self, key: &ObjectKey, offset: u64, buffer: &mut [u8]) -> Result<()> {
        match self.local.read_at(key, offset, buffer) {
            Err(Error::NotFound { .. }) => {}
            other => return other,
        }
        let (file, _) = self.file(key)?;
        self.read_exactly(&file, key, offset, buffer)
    }

    fn open(&self, key: &ObjectKey) -> Result<Box<dyn Read + Send>> {
        match self.local.open(key) {
            Err(Error::NotFound { .. }) => Ok(Box::new(self.file(key)?.0)),
            other => other,
        }
    }

    fn length(&self, key: &ObjectKey) -> Result<u64> {
        let place = key.id().filter(|_| key.kind() == ObjectKind::Pack);
        match place.and_then(|name| self.window.place(&name)) {
            Some(place) => Ok(place.length),
            None => self.local.length(key),
        }
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        let mut listed = self.local.list(kind)?;
        if kind == ObjectKind::Pack {
            let packs = self.window.packs().into_iter();
            listed
                .extend(packs.map(|(name, length)| Listed { key: ObjectKey::Pack(name), length }));
            listed.sort_unstable();
            listed.dedup_by_key(|listed| listed.key);
        }
        Ok(listed)
    }

    fn remove(&self, key: &ObjectKey) -> Result<()> {
        if key.kind() == ObjectKind::Pack && !self.is_local(key)? {
            let what = "nothing is removed from drives".to_owned();
            return Err(Error::Denied { location: self.location(), what });
        }
        self.local.remove(key)
    }

    fn remove_leftovers(&self) -> Result<()> {
        self.local.remove_leftovers()
    }
}

impl Both {
    fn read_exactly(
        &self,
        file: &std::fs::File,
        key: &ObjectKey,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<()> {
        // What a drive does not give counts as not there: its blobs are stored again.
        let missing = |_| Error::NotFound { location: self.location(), key: *key };
        file.read_exact_at(buffer, offset).map_err(missing)
    }
}
