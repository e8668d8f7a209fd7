//! Deletions that are asked for by name and carried out later, and what a vault allows. Decides nothing.

use jiff::Timestamp;
use model::{Digest, GroupName, ServerName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names in one part of a request at most: what is longer comes in parts.
pub const MAX_DELETION_NAMES: usize = 20_000;

/// Asks to have objects removed from a vault's repository. From the answer on they are neither listed nor handed out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeletionRequest {
    /// The deletion of which this is a further part: the newest of that source server, still held. Parts come in the
    /// order snapshots, indexes, packs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continues: Option<u64>,
    /// How many deletions of the source server were undeleted when this was planned: a plan that does not know what came
    /// back is refused. Absent where nothing was planned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undone: Option<u64>,
    /// Why, for people.
    #[schemars(length(max = 1000))]
    pub reason: String,
    /// The protection group whose recovery points go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// The time of the oldest recovery point that goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// The time of the newest recovery point that goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<Timestamp>,
    /// Snapshots.
    pub snapshots: Vec<Digest>,
    /// Indexes.
    pub indexes: Vec<Digest>,
    /// Packs.
    pub packs: Vec<Digest>,
}

/// Where a deletion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeletionState {
    /// It can be undeleted.
    Held,
    /// It is being carried out.
    Going,
    /// It was carried out.
    Done,
    /// It was undeleted.
    Undone,
}

/// A deletion that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// Counts up, in the order of requests.
    pub id: u64,
    /// The source server whose repository it is of.
    pub server: ServerName,
    /// Whose credentials asked.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// The protection group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupName>,
    /// The time of the oldest recovery point that goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// The time of the newest recovery point that goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Timestamp>,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// From when on it is carried out.
    pub due_at: Timestamp,
    /// A PIN has shortened its hold.
    #[serde(default)]
    pub shortened: bool,
    /// Where it is.
    pub state: DeletionState,
    /// Why it is not carried out although it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// When it was carried out or undeleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Snapshots that were named and there.
    pub snapshots: u64,
    /// Indexes.
    pub indexes: u64,
    /// Packs.
    pub packs: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// Whether what a vault protects can be loosened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Immutability {
    /// A PIN shortens a hold, and settings change as an administrator wants.
    #[default]
    Disabled,
    /// No PIN shortens a hold; hold and minimum retention only grow. Can be disabled again.
    Enabled,
    /// The same, for ever.
    Locked,
}

/// What a vault allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultSettings {
    /// Days until a deletion is carried out.
    pub hold_days: u32,
    /// Days for which no snapshot is deleted, from its arrival on.
    pub minimum_retention_days: u32,
    /// Whether that can be loosened.
    pub immutability: Immutability,
    /// Bytes that all of its source servers may have there together; absent for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
    /// Bytes that are there, held ones included; where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
}

/// Changes what a vault allows. What is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VaultPatch {
    /// Days until a deletion is carried out: 7 at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 7, max = 36500))]
    pub hold_days: Option<u32>,
    /// Days for which no snapshot is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 36500))]
    pub minimum_retention_days: Option<u32>,
    /// Whether that can be loosened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub immutability: Option<Immutability>,
    /// Bytes; 0 for no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
}

/// What a source server may have in its vault, and what became of its deletions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerSettings {
    /// Bytes; absent for no limit but the vault's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
    /// Bytes that are there, held ones included; where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// How many of its deletions were undeleted.
    pub undone: u64,
}

/// Changes what a source server may have in its vault.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerPatch {
    /// Bytes; 0 for no limit but the vault's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
}

/// A PIN, shown only now.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pin {
    /// Ten digits.
    pub pin: String,
    /// When it ends, used or not.
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pin").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// Ends the hold of a deletion, and of those before it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PinUse {
    /// As an administrator has made it for this vault.
    pub pin: String,
}

impl std::fmt::Debug for PinUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PinUse")
    }
}
