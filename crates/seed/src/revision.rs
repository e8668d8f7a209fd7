//! The revision: what a seed consists of from now on, where some of it was lost and made anew, signed by who has
//! signed the seed. Does not say why.

use crate::Object;
use crate::envelope::{self, Document, Malformed, Refused, Signed};
use crate::sign::{SigningKey, Trust};
use jiff::Timestamp;
use model::Digest;
use serde::{Deserialize, Serialize};
use wire::SeedId;

/// Every object of a seed, in the place of what was listed before.
///
/// invariant: objects ascend strictly, and so do repositories; numbered from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Of which seed, and of what.
    pub header: RevisionHeader,
    /// The objects.
    pub objects: Vec<Object>,
}

/// What a revision says beside its objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevisionHeader {
    /// The seed.
    pub seed: SeedId,
    /// Which one: the inventory has number 0.
    pub number: u32,
    /// The root over the objects of the one before: a revision follows on exactly one list.
    pub replaces: Digest,
    /// When it was made.
    pub created: Timestamp,
    /// The repositories, by the SHA-256 of their configs.
    pub repositories: Vec<Digest>,
    /// What was backed up while the seed travelled needs something that is lost for good, and is not to be shown.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withholds_increments: bool,
}

impl Revision {
    /// The revision's file.
    ///
    /// # Errors
    /// The number 0; more repositories or objects than one file may list.
    pub fn encode(&self, key: &SigningKey) -> Result<Vec<u8>, Malformed> {
        envelope::check_repositories(&self.header.repositories)?;
        refuse_first(&self.header)?;
        envelope::encode(Document::Revision, &self.header, &self.objects, key)
    }

    /// The revision in a file's bytes, once its signature was found right.
    ///
    /// # Errors
    /// Anything that this version does not write itself.
    pub fn decode(bytes: &[u8], trust: &Trust) -> Result<Signed<Self>, Refused> {
        let opened = envelope::open(Document::Revision, bytes, trust)?;
        let header: RevisionHeader = opened.header()?;
        envelope::check_repositories(&header.repositories)?;
        refuse_first(&header)?;
        let objects = opened.objects(&header.repositories)?;
        let body = Self { header, objects };
        Ok(Signed { body, signer: opened.signer, digest: opened.digest })
    }
}

/// What came first is the inventory.
fn refuse_first(header: &RevisionHeader) -> Result<(), Malformed> {
    if header.number == 0 {
        return Err(Malformed::Header("it replaces nothing".to_owned()));
    }
    Ok(())
}
