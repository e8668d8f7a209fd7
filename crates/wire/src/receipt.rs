//! The vault's receipt for a seed. Neither signs nor verifies: the server does the one, the
//! client crate the other.

use crate::{CustodyHead, PublicKey, SeedId, Signature};
use jiff::Timestamp;
use model::{Digest, ServerName, VaultName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose key files the published repository has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeysFrom {
    /// The seed's key files are in the repository, and among the receipt's objects.
    Seed,
    /// The vault had a repository without some of them and keeps its own keys, which a seed never
    /// changes. The seed's are not among the receipt's objects.
    Vault,
}

/// What the vault confirms. Parsed only after its signature is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// Version of this document: 1.
    pub version: u32,
    /// The vault.
    pub vault: VaultName,
    /// The source server.
    pub server: ServerName,
    /// The seed.
    pub seed: SeedId,
    /// SHA-256 of the repository's config file.
    pub repository: Digest,
    /// The seed's snapshots, ascending.
    pub snapshots: Vec<Digest>,
    /// How many objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The root over kind, name and length of every object.
    pub root: Digest,
    /// Whose key files the repository has, which says whether the seed's count among the objects.
    pub keys: KeysFrom,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// How long every chain of the seed's custody log was then. Receipts of older servers say nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custody: Option<Vec<CustodyHead>>,
}

impl Receipt {
    /// The version of the document that this code writes and reads.
    pub const VERSION: u32 = 1;
    /// What is signed is this followed by the document's bytes, so that no other signed thing
    /// can be taken for a receipt.
    pub const DOMAIN: &[u8] = b"packmule receipt v1\n";
}

/// A receipt as it travels: the exact text that was signed, beside the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedReceipt {
    /// The JSON text of a [`Receipt`].
    pub receipt: String,
    /// Which key signed. Believed only when it is the one in the caller's credentials.
    pub public_key: PublicKey,
    /// ed25519 over [`Receipt::DOMAIN`] and the text.
    pub signature: Signature,
}
