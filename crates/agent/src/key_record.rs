//! Which key files of the repository were made here, where they have to go, and which ones are to be removed: a document of
//! the state directory. Holds nothing that opens anything.

use jiff::Timestamp;
use model::Digest;
use serde::{Deserialize, Serialize};

/// What is known of the repository's key files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyRecord {
    /// Each that was made here, or is to go.
    #[serde(default)]
    pub(crate) keys: Vec<OwnKey>,
    /// A change of the passphrase that has begun.
    #[serde(default)]
    pub(crate) change: Option<Change>,
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Purpose {
    Passphrase,
    /// A recovery kit.
    Recovery,
}

/// A key file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OwnKey {
    /// Its name.
    pub(crate) id: Digest,
    /// Its length.
    pub(crate) length: u64,
    /// Of which repository: SHA-256 of its config.
    pub(crate) repository: Digest,
    pub(crate) purpose: Purpose,
    pub(crate) made: Timestamp,
    /// Of a recovery kit: whether somebody has it.
    #[serde(default)]
    pub(crate) handed_over: bool,
    /// Whether the vault has, or had, it.
    #[serde(default)]
    pub(crate) in_vault: bool,
    /// Since when it is to go.
    #[serde(default)]
    pub(crate) to_go: Option<Timestamp>,
    /// Until when it stays in the vault, once that has heard that it is to go.
    #[serde(default)]
    pub(crate) until: Option<Timestamp>,
}

/// A passphrase that takes another one's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// The key of the new one.
    pub(crate) to: Digest,
    pub(crate) begun: Timestamp,
}

impl KeyRecord {
    pub(crate) fn get(&self, id: Digest) -> Option<&OwnKey> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// What the vault has to hear yet.
    pub(crate) fn is_settled(&self) -> bool {
        self.keys.iter().all(|key| match key.to_go {
            None => key.in_vault,
            Some(_) => key.until.is_some(),
        })
    }

    /// When the newest recovery kit was made that somebody has and that is to stay.
    pub(crate) fn kit(&self) -> Option<Timestamp> {
        let good = |key: &&OwnKey| {
            key.purpose == Purpose::Recovery && key.handed_over && key.to_go.is_none()
        };
        self.keys.iter().filter(good).map(|key| key.made).max()
    }
}
