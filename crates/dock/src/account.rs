//! The storage account as the place where objects land: what it has is listed once, what it lacks
//! is stored, what it has is read again to rebuild the rest, and what fails because it was away is tried
//! again. Removes nothing.

use crate::control::Places;
use crate::patience::Patience;
use model::{Digest, ObjectKey, ObjectKind};
use seed::{Arrived, Landing};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::sync::Arc;
use store::{Error, Result, Store};
use wire::Job;

/// The repositories of a job where they land. Shared by the threads of all drives.
pub(crate) struct Account<'a> {
    repositories: BTreeMap<Digest, Held>,
    patience: &'a Patience<'a>,
}

/// One repository in the account, and what it had when it was listed.
struct Held {
    store: Arc<dyn Store>,
    lengths: HashMap<ObjectKey, u64>,
}

impl<'a> Account<'a> {
    /// Lists what the account has of these repositories, kind by kind.
    pub(crate) fn look(
        places: &dyn Places,
        job: &Job,
        repositories: &BTreeSet<Digest>,
        patience: &'a Patience<'a>,
    ) -> Result<Self> {
        let mut held = BTreeMap::new();
        for repository in repositories {
            let store = places.open(job, repository)?;
            let mut lengths = HashMap::new();
            for kind in ObjectKind::ALL.into_iter().filter(|kind| *kind != ObjectKind::Lock) {
                let listed = patience.run(|| store.list(kind))?;
                lengths.extend(listed.into_iter().map(|listed| (listed.key, listed.length)));
            }
            held.insert(*repository, Held { store, lengths });
        }
        Ok(Self { repositories: held, patience })
    }

    fn held(&self, repository: &Digest) -> Result<&Held> {
        self.repositories.get(repository).ok_or_else(|| Error::Denied {
            location: String::from("the storage account"),
            what: format!("nothing of repository {repository} is expected"),
        })
    }
}

impl Landing for Account<'_> {
    /// An object of another length than announced counts as absent: its name is its hash, so what
    /// is there is damaged, and storing the right one again repairs it.
    fn has(&self, repository: &Digest, key: &ObjectKey, length: u64) -> Result<bool> {
        Ok(self.held(repository)?.lengths.get(key) == Some(&length))
    }

    fn put_from(
        &self,
        repository: &Digest,
        key: &ObjectKey,
        length: u64,
        from: &mut dyn Read,
    ) -> Result<()> {
        self.held(repository)?.store.put_from(key, length, from)
    }

    fn try_until_done(&self, attempt: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        self.patience.run(attempt)
    }
}

impl Arrived for Account<'_> {
    fn holds(&self, repository: &Digest, key: &ObjectKey, length: u64) -> Result<bool> {
        self.has(repository, key, length)
    }

    fn read_at(
        &self,
        repository: &Digest,
        key: &ObjectKey,
        offset: u64,
        into: &mut [u8],
    ) -> Result<()> {
        let held = self.held(repository)?;
        self.patience.run(|| held.store.read_at(key, offset, into))
    }
}
