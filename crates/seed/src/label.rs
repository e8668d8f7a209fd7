//! A drive's label: which drive of which set of which seed it is. Names no object.

use crate::envelope::{self, Document, Malformed, Refused, Signed};
use crate::sign::{SigningKey, Trust};
use jiff::Timestamp;
pub use model::DriveRole;
use model::{Digest, DriveSerial};
use serde::{Deserialize, Serialize};
use wire::SeedId;

/// The label: the first file written to a drive. From then on the drive is this seed's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Label {
    /// The seed.
    pub seed: SeedId,
    /// Which drive set of the seed; from 0.
    pub set: u32,
    /// Which drive of the set; from 0.
    pub drive: u32,
    /// The hardware's serial number.
    pub serial: DriveSerial,
    /// What the drive is for.
    pub role: DriveRole,
    /// When the label was written.
    pub created: Timestamp,
    /// Bytes that may be used.
    pub capacity: u64,
    /// The repositories of the seed, by the SHA-256 of their configs, ascending.
    pub repositories: Vec<Digest>,
}

impl Label {
    /// The label's file.
    ///
    /// # Errors
    /// More than about 900 repositories do not fit.
    pub fn encode(&self, key: &SigningKey) -> Result<Vec<u8>, Malformed> {
        envelope::check_repositories(&self.repositories)?;
        envelope::encode(Document::Label, self, &[], key)
    }

    /// The label in a file's bytes, once its signature was found right.
    ///
    /// # Errors
    /// Anything that this version does not write itself.
    pub fn decode(bytes: &[u8], trust: &Trust) -> Result<Signed<Self>, Refused> {
        let opened = envelope::open(Document::Label, bytes, trust)?;
        let body: Self = opened.header()?;
        envelope::check_repositories(&body.repositories)?;
        Ok(Signed { body, signer: opened.signer, digest: opened.digest })
    }
}
