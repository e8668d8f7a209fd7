//! The want-list: what of a seed is nowhere at the data centre, signed by the vault. Does not say
//! how it is to get there.

use crate::Object;
use crate::envelope::{self, Document, Malformed, Refused, Signed};
use crate::sign::{SigningKey, Trust};
use jiff::Timestamp;
use model::{Digest, ServerName, VaultName};
use serde::{Deserialize, Serialize};
use wire::SeedId;

/// Objects of a seed that the vault asks for.
///
/// invariant: objects ascend strictly, and so do repositories; at least one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantList {
    /// Who asks for what seed.
    pub header: WantListHeader,
    /// The objects.
    pub objects: Vec<Object>,
}

/// What a want-list says beside its objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WantListHeader {
    /// The vault.
    pub vault: VaultName,
    /// The source server.
    pub server: ServerName,
    /// The seed.
    pub seed: SeedId,
    /// The root over everything that the seed's documents announce: a list fits one inventory.
    pub root: Digest,
    /// When it was made.
    pub issued: Timestamp,
    /// The repositories of the seed, by the SHA-256 of their configs.
    pub repositories: Vec<Digest>,
}

impl WantList {
    /// The list's file.
    ///
    /// # Errors
    /// No object; more repositories or objects than one file may list.
    pub fn encode(&self, key: &SigningKey) -> Result<Vec<u8>, Malformed> {
        envelope::check_repositories(&self.header.repositories)?;
        refuse_empty(&self.objects)?;
        envelope::encode(Document::WantList, &self.header, &self.objects, key)
    }

    /// The list in a file's bytes, once its signature was found right.
    ///
    /// # Errors
    /// Anything that this version does not write itself.
    pub fn decode(bytes: &[u8], trust: &Trust) -> Result<Signed<Self>, Refused> {
        let opened = envelope::open(Document::WantList, bytes, trust)?;
        let header: WantListHeader = opened.header()?;
        envelope::check_repositories(&header.repositories)?;
        let objects = opened.objects(&header.repositories)?;
        refuse_empty(&objects)?;
        let body = Self { header, objects };
        Ok(Signed { body, signer: opened.signer, digest: opened.digest })
    }

    /// Lengths of the objects together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        // Cannot saturate: decoding refuses sums beyond 64 bits, and what is encoded exists.
        self.objects.iter().fold(0, |sum, object| sum.saturating_add(object.length))
    }
}

/// What wants nothing is not sent.
fn refuse_empty(objects: &[Object]) -> Result<(), Malformed> {
    if objects.is_empty() {
        return Err(Malformed::Header("it asks for nothing".to_owned()));
    }
    Ok(())
}
