//! Seeds that wait for drives: what their source servers announce, so that another computer can write the
//! drives. Decides nothing.

use crate::{Credentials, PublicKey, SeedId};
use jiff::Timestamp;
use model::{AccountName, ContainerName, Digest, GroupName, JobName, ServerName, VaultName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A seed that is complete in its staging location, as its source server announces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeedAnnouncement {
    /// The name that was given for its import job.
    pub import_job: JobName,
    /// The storage account it is to arrive in first.
    pub storage_account: AccountName,
    /// The container there.
    pub container: ContainerName,
    /// The repository in staging, by the SHA-256 of its config.
    pub repository: Digest,
    /// The first backup of each protection group, in staging.
    pub backups: BTreeMap<GroupName, FirstBackup>,
}

/// A group's first backup in staging.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FirstBackup {
    /// The newest snapshot of the group there.
    pub snapshot: Digest,
    /// When it was taken.
    pub time: Timestamp,
    /// Items that could not be read then.
    pub problems: u64,
}

/// An announced seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnnouncedSeed {
    /// The seed.
    pub id: SeedId,
    /// The vault it is for.
    pub vault: VaultName,
    /// The source server it comes from.
    pub server: ServerName,
    /// What the source server says of it.
    #[serde(flatten)]
    pub announcement: SeedAnnouncement,
    /// When it said so last.
    pub announced_at: Timestamp,
}

/// A seed that is not over: it is not published, or what was backed up while it travelled is not, and nobody has given it up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeedUnderWay {
    /// The seed.
    pub id: SeedId,
    /// Whether it is published.
    pub published: bool,
    /// Of one that has no import job yet: when a copy computer was given the credentials by which it may be writing its drives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_since: Option<Timestamp>,
}

/// The newest revision of a seed, as the server keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeedRevision {
    /// The seed.
    pub seed: SeedId,
    /// Which one, from 1.
    pub number: u32,
    /// The SHA-256 of its file.
    pub digest: Digest,
    /// The root over its objects.
    pub root: Digest,
    /// How many these are.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When it came.
    pub kept_at: Timestamp,
}

/// What a machine states about who signs for a seed, as a JSON web token of the kind [`SUCCESSOR_TYPE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SuccessorRequest {
    /// The token, signed with the key of the machine's certificate.
    pub statement: String,
}

/// The `typ` in the header of such a token.
pub const SUCCESSOR_TYPE: &str = "packmule-successor";

/// What it claims, beside `iat` and `exp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuccessorClaims {
    /// The vault.
    pub vault: VaultName,
    /// The source server in it.
    pub server: ServerName,
    /// The seed.
    pub seed: SeedId,
    /// The key that signs its revisions from now on.
    pub key: PublicKey,
}

/// The key that signs the revisions of a seed in the place of its drives' signer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Successor {
    /// The seed.
    pub seed: SeedId,
    /// The key.
    pub key: PublicKey,
    /// The SHA-256 of the certificate by which it was named.
    pub certificate: Digest,
    /// When.
    pub named_at: Timestamp,
}

/// What a copy computer is given: its credentials for one seed, and what that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CopyComputer {
    /// For this seed's import jobs, and nothing else.
    pub credentials: Credentials,
    /// The seed.
    pub seed: AnnouncedSeed,
}
