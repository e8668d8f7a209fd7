//! The manifest: every object of one drive, written last. A drive that has one is sealed.

use crate::Object;
use crate::envelope::{self, Document, Malformed, Refused, Signed};
use crate::sign::{SigningKey, Trust};
use jiff::Timestamp;
use model::{Digest, DriveSerial};
use serde::{Deserialize, Serialize};
use wire::SeedId;

/// Every object of one drive, in the order of the drive's byte stream.
///
/// invariant: objects ascend strictly, and so do repositories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Which drive this is, and what else is on it.
    pub header: ManifestHeader,
    /// The objects.
    pub objects: Vec<Object>,
}

/// What a manifest says beside its objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManifestHeader {
    /// The seed.
    pub seed: SeedId,
    /// Which drive set of the seed; from 0.
    pub set: u32,
    /// Which drive of the set; from 0.
    pub drive: u32,
    /// The hardware's serial number.
    pub serial: DriveSerial,
    /// When the drive was sealed.
    pub sealed: Timestamp,
    /// The SHA-256 of the label's file: a manifest fits one label.
    pub label: Digest,
    /// The SHA-256 of the file of extent hashes.
    pub extents: Digest,
    /// The SHA-256 of the inventory's file, where the drive has one.
    pub inventory: Option<Digest>,
    /// The repositories of the seed, by the SHA-256 of their configs.
    pub repositories: Vec<Digest>,
    /// Of a parity drive: what it is parity of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parity: Option<ParityOf>,
}

/// What a parity drive is parity of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ParityOf {
    /// Which of the set's parity drives this is; from 0.
    pub index: u32,
    /// How many parity drives the set has.
    pub count: u32,
    /// The data drives, by the SHA-256 of their manifests, in the order of their numbers.
    pub drives: Vec<Digest>,
}

impl ParityOf {
    /// Whether it is one of so many that cover these drives.
    pub(crate) fn is_beside(&self, drives: &[Digest], count: u32) -> bool {
        self.drives == drives && self.count == count
    }

    /// Whether a set can have that.
    fn is_possible(&self) -> bool {
        let drives = self.drives.len() + self.count as usize;
        self.index < self.count && !self.drives.is_empty() && drives <= wire::MAX_DRIVES
    }
}

impl Manifest {
    /// The manifest's file.
    ///
    /// # Errors
    /// More repositories or objects than one file may list.
    pub fn encode(&self, key: &SigningKey) -> Result<Vec<u8>, Malformed> {
        envelope::check_repositories(&self.header.repositories)?;
        envelope::encode(Document::Manifest, &self.header, &self.objects, key)
    }

    /// The manifest in a file's bytes, once its signature was found right.
    ///
    /// # Errors
    /// Anything that this version does not write itself.
    pub fn decode(bytes: &[u8], trust: &Trust) -> Result<Signed<Self>, Refused> {
        let opened = envelope::open(Document::Manifest, bytes, trust)?;
        let header: ManifestHeader = opened.header()?;
        envelope::check_repositories(&header.repositories)?;
        let objects = opened.objects(&header.repositories)?;
        if header.parity.as_ref().is_some_and(|of| !of.is_possible() || !objects.is_empty()) {
            return Err(Malformed::Header("no set has such parity".to_owned()).into());
        }
        let body = Self { header, objects };
        Ok(Signed { body, signer: opened.signer, digest: opened.digest })
    }

    /// Length of the drive's byte stream: its objects one after the other.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        // Cannot saturate: decoding refuses sums beyond 64 bits, and what we write exists.
        self.objects.iter().fold(0, |sum, object| sum.saturating_add(object.length))
    }

    /// The repository an object belongs to.
    #[must_use]
    pub fn repository(&self, object: &Object) -> Option<Digest> {
        self.header.repositories.get(usize::from(object.repository)).copied()
    }
}
