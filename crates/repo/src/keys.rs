//! Which key opens a repository: the key files are tried one after the other, made when there are
//! none, and named when they were altered. Derives no key itself.

use crate::crypto::Key;
use crate::key_file::{Author, KdfParams, KeyFile};
use crate::repository::{Loaded, Repository, SMALL, hash, to_json};
use crate::{Error, codec};
use jiff::Timestamp;
use model::{Digest, ObjectKey, ObjectKind};
use store::Store;

/// More keys than anybody has; restic stops at 20 by default.
const KEYS: usize = 64;

/// The master key that a password opens and that the config was made with, and the config's text.
///
/// A key that opens with the password may still be another repository's: what an interrupted
/// making left behind.
pub(crate) fn find_key(
    store: &dyn Store,
    password: &[u8],
    config: &[u8],
) -> Result<(Key, Vec<u8>), Error> {
    let mut listed = store.list(ObjectKind::Key)?;
    listed.sort_unstable();
    listed.truncate(KEYS);
    let mut fault = None;
    for entry in &listed {
        // Another key may still open; if none does, a damaged one is the likelier reason.
        match open_key(store, entry.key, password) {
            Ok(Some(key)) => match codec::open_document(&key, config.to_vec()) {
                Ok(plain) => return Ok((key, plain)),
                // Which of the two is not this repository's, the key's name may tell.
                Err(what) => {
                    let config = Error::Damaged { key: ObjectKey::Config, what };
                    fault = Some(altered(store, entry.key)?.unwrap_or(config));
                }
            },
            Ok(None) => {}
            Err(Error::Store(cause)) => return Err(cause.into()),
            Err(damaged) => fault = fault.or(Some(damaged)),
        }
    }
    let (location, keys) = (store.location(), listed.len());
    Err(fault.unwrap_or(match keys {
        0 => Error::KeysLost { location },
        _ => Error::WrongPassword { location, keys },
    }))
}

/// What is wrong with a key file that has not the bytes it was stored with.
pub(crate) fn altered(store: &dyn Store, key: ObjectKey) -> Result<Option<Error>, Error> {
    let bytes = store.get(&key, SMALL)?;
    let intact = key.id() == Some(hash(&bytes));
    let what = || "its bytes do not hash to its name".to_owned();
    Ok((!intact).then(|| Error::Damaged { key, what: what() }))
}

/// The master key in a key file; none when the password is not that key's.
fn open_key(store: &dyn Store, name: ObjectKey, password: &[u8]) -> Result<Option<Key>, Error> {
    let bytes = store.get(&name, SMALL)?;
    let damaged = |what| Err(Error::Damaged { key: name, what });
    let opened = match serde_json::from_slice::<KeyFile>(&bytes) {
        Ok(file) => file.open(password),
        Err(e) => damaged(format!("it is no key ({e})")),
    };
    match opened {
        Ok(Some(key)) => Ok(Some(key)),
        // What does not open because it was altered says nothing about the password.
        _ if name.id() != Some(hash(&bytes)) => {
            damaged("its bytes do not hash to its name".to_owned())
        }
        other => other,
    }
}

/// The key of an interrupted making, else a new one with the name it was stored under.
pub(crate) fn master_key(
    store: &dyn Store,
    password: &[u8],
    params: KdfParams,
    author: &Author,
    now: Timestamp,
) -> Result<(Key, Option<ObjectKey>), Error> {
    for entry in store.list(ObjectKind::Key)?.iter().take(KEYS) {
        if let Ok(Some(key)) = open_key(store, entry.key, password) {
            return Ok((key, None));
        }
    }
    let key = Key::random()?;
    let file = to_json(&KeyFile::seal(&key, password, params, author, now)?)?;
    let name = ObjectKey::Key(hash(&file));
    store.put(&name, &file)?;
    Ok((key, Some(name)))
}

/// A key file that nobody has stored yet: the same bytes go to every place that the repository is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Its name.
    pub id: Digest,
    /// What is to be stored under it.
    pub bytes: Vec<u8>,
}

/// What a key file says of itself, to whoever can see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its name.
    pub id: Digest,
    /// When it was made, as whoever made it has written that.
    pub created: String,
    /// By which user.
    pub username: String,
    /// On which host.
    pub hostname: String,
}

impl Repository {
    /// This repository's master key under another password, as a key file. Stores nothing.
    ///
    /// # Errors
    /// [`Error::Random`]; [`Error::Memory`] when what was made does not open.
    pub fn new_key(
        &self,
        password: &[u8],
        params: KdfParams,
        now: Timestamp,
    ) -> Result<NewKey, Error> {
        let file = KeyFile::seal(self.key(), password, params, self.author(), now)?;
        let bytes = to_json(&file)?;
        let id = hash(&bytes);
        let same = |key: Key| key.parts() == self.key().parts();
        let opened = serde_json::from_slice::<KeyFile>(&bytes).ok();
        let opened = opened.map(|file| file.open(password)).transpose()?.flatten();
        if !opened.is_some_and(same) {
            return Err(Error::Memory { what: ObjectKind::Key.folder(), id });
        }
        Ok(NewKey { id, bytes })
    }

    /// The key files that are there; those that cannot be read are named.
    ///
    /// # Errors
    /// The listing fails.
    pub fn keys(&self) -> Result<Loaded<Vec<KeyInfo>>, Error> {
        let (mut value, mut damaged) = (Vec::new(), Vec::new());
        for id in self.names(ObjectKind::Key)? {
            let key = ObjectKey::Key(id);
            let file = self.store().get(&key, SMALL)?;
            match serde_json::from_slice::<KeyFile>(&file) {
                Ok(file) => {
                    let (created, username, hostname) = file.said();
                    value.push(KeyInfo { id, created, username, hostname });
                }
                Err(e) => {
                    damaged.push(Error::Damaged { key, what: format!("it is no key ({e})") });
                }
            }
        }
        Ok(Loaded { value, damaged })
    }
}

/// Whether these bytes are a key file that the password opens.
#[must_use]
pub fn key_opens(bytes: &[u8], password: &[u8]) -> bool {
    let file = serde_json::from_slice::<KeyFile>(bytes).ok();
    file.is_some_and(|file| matches!(file.open(password), Ok(Some(_))))
}

/// The key files in a store that a password opens, and that open the config there.
///
/// # Errors
/// [`Error::NoRepository`]; those of the store. A damaged key file is none that opens.
pub fn keys_of(store: &dyn Store, password: &[u8]) -> Result<Vec<Digest>, Error> {
    let config = match store.get(&ObjectKey::Config, SMALL) {
        Err(store::Error::NotFound { .. }) => {
            return Err(Error::NoRepository { location: store.location() });
        }
        other => other?,
    };
    let mut found = Vec::new();
    for entry in store.list(ObjectKind::Key)?.iter().take(KEYS) {
        match open_key(store, entry.key, password) {
            Ok(Some(key)) if codec::open_document(&key, config.clone()).is_ok() => {
                found.extend(entry.key.id());
            }
            Err(Error::Store(cause)) => return Err(cause.into()),
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::repository;

    #[test]
    fn a_further_password_opens_the_same_repository_and_each_knows_its_key() {
        let repository = repository();
        let store = repository.store().as_ref();
        let key = repository.new_key(b"another", KdfParams::WEAK, Timestamp::UNIX_EPOCH).unwrap();
        let before = repository.names(ObjectKind::Key).unwrap();
        assert!(keys_of(store, b"another").unwrap().is_empty(), "nothing is stored yet");
        assert!(key_opens(&key.bytes, b"another") && !key_opens(&key.bytes, b"other"));
        store.put(&ObjectKey::Key(key.id), &key.bytes).unwrap();
        assert_eq!(keys_of(store, b"another").unwrap(), [key.id]);
        let arc = std::sync::Arc::clone(repository.store());
        let opened = Repository::open(arc, b"another", Author::default()).unwrap();
        assert_eq!(opened.identity(), repository.identity());
        let mut all = before.clone();
        all.push(key.id);
        all.sort_unstable();
        let known = repository.keys().unwrap().value;
        assert_eq!(known.iter().map(|key| key.id).collect::<Vec<_>>(), all);
        store.remove(&ObjectKey::Key(key.id)).unwrap();
        assert!(keys_of(store, b"another").unwrap().is_empty());
        assert_eq!(repository.names(ObjectKind::Key).unwrap(), before);
    }
}
