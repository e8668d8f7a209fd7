//! The inventory: every object of a seed, so that what a lost drive held is known by name.
//! Does not say on which drive an object is.

use crate::Object;
use crate::envelope::{self, Document, Malformed, Refused, Signed};
use crate::sign::{SigningKey, Trust};
use jiff::Timestamp;
use model::Digest;
use serde::{Deserialize, Serialize};
use wire::SeedId;

/// Every object of a seed.
///
/// invariant: objects ascend strictly, and so do repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// The seed.
    pub seed: SeedId,
    /// When the list was frozen.
    pub created: Timestamp,
    /// The repositories, by the SHA-256 of their configs.
    pub repositories: Vec<Digest>,
    /// The objects.
    pub objects: Vec<Object>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Header {
    seed: SeedId,
    created: Timestamp,
    repositories: Vec<Digest>,
}

impl Inventory {
    /// The inventory's file.
    ///
    /// # Errors
    /// More repositories or objects than one file may list.
    pub fn encode(&self, key: &SigningKey) -> Result<Vec<u8>, Malformed> {
        envelope::check_repositories(&self.repositories)?;
        let Self { seed, created, repositories, objects } = self;
        let header = Header { seed: *seed, created: *created, repositories: repositories.clone() };
        envelope::encode(Document::Inventory, &header, objects, key)
    }

    /// The inventory in a file's bytes, once its signature was found right.
    ///
    /// # Errors
    /// Anything that this version does not write itself.
    pub fn decode(bytes: &[u8], trust: &Trust) -> Result<Signed<Self>, Refused> {
        let opened = envelope::open(Document::Inventory, bytes, trust)?;
        let Header { seed, created, repositories } = opened.header()?;
        envelope::check_repositories(&repositories)?;
        let objects = opened.objects(&repositories)?;
        let body = Self { seed, created, repositories, objects };
        Ok(Signed { body, signer: opened.signer, digest: opened.digest })
    }

    /// The root of the objects of one of its repositories.
    #[must_use]
    pub fn root_of(&self, repository: u16) -> Digest {
        crate::root(self.objects.iter().filter(|object| object.repository == repository))
    }
}
