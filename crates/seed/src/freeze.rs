//! The objects that a seed will consist of, listed once. Holds no lock: the caller keeps the
//! repositories from being pruned meanwhile.

use crate::{Error, Object};
use model::{Digest, ObjectKey, ObjectKind};
use sha2::{Digest as _, Sha256};
use store::Store;

/// A config is a few hundred bytes; this is where something else begins.
const MAX_CONFIG: u64 = 1 << 20;

/// Every object of some repositories, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// The repositories, by the SHA-256 of their configs, ascending.
    pub repositories: Vec<Digest>,
    /// Their objects, ascending; no locks.
    pub objects: Vec<Object>,
}

/// The SHA-256 of a repository's config, by which it is told apart.
///
/// # Errors
/// [`Error::Store`], such as when there is no repository.
pub fn identity(store: &dyn Store) -> Result<Digest, Error> {
    config(store).map(|(name, _)| name)
}

fn config(store: &dyn Store) -> Result<(Digest, u64), Error> {
    let bytes = store.get(&ObjectKey::Config, MAX_CONFIG).map_err(Error::Store)?;
    Ok((Digest(Sha256::digest(&bytes).into()), bytes.len() as u64))
}

/// Lists everything but locks. Snapshots are listed first, then indexes, then packs: whatever is
/// added meanwhile, a listed snapshot's indexes and packs are listed too.
///
/// # Errors
/// [`Error::Store`]; [`Error::SameRepository`] when two stores hold one repository.
pub fn freeze(stores: &[&dyn Store]) -> Result<Frozen, Error> {
    let mut sources = Vec::new();
    for store in stores {
        sources.push((config(*store)?, *store));
    }
    sources.sort_by_key(|((name, _), _)| *name);
    let repositories: Vec<Digest> = sources.iter().map(|((name, _), _)| *name).collect();
    if let Some([twice, _]) = repositories.array_windows().find(|[one, next]| one == next) {
        return Err(Error::SameRepository(*twice));
    }
    let mut objects = Vec::new();
    for (repository, ((name, length), store)) in (0_u16..).zip(sources) {
        objects.push(Object { repository, kind: ObjectKind::Config, name, length });
        for kind in [ObjectKind::Snapshot, ObjectKind::Index, ObjectKind::Pack, ObjectKind::Key] {
            let listed = store.list(kind).map_err(Error::Store)?;
            objects.extend(listed.into_iter().filter_map(|listed| {
                let name = listed.key.id()?;
                Some(Object { repository, kind, name, length: listed.length })
            }));
        }
    }
    objects.sort_unstable();
    objects.dedup_by_key(|object| object.identity());
    Ok(Frozen { repositories, objects })
}
