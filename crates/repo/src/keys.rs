//! Which key opens a repository: the key files are tried one after the other, made when there are
//! none, and named when they were altered. Derives no key itself.

use crate::crypto::Key;
use crate::key_file::{Author, KdfParams, KeyFile};
use crate::repository::{SMALL, hash, to_json};
use crate::{Error, codec};
use jiff::Timestamp;
use model::{ObjectKey, ObjectKind};
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
