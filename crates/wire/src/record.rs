//! What the server writes down: changes, and what people should hear. Decides nothing.

use jiff::Timestamp;
use model::{JobName, ServerName, VaultName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One request that was not only a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Counts up.
    pub id: u64,
    /// When it was answered.
    pub at: Timestamp,
    /// Who has called.
    pub subject: String,
    /// The address that the call came from.
    pub origin: String,
    /// The HTTP method.
    pub method: String,
    /// The path, without its query.
    pub path: String,
    /// The answer's status.
    pub status: u16,
    /// The answer's `x-request-id`, which the log repeats.
    pub request_id: String,
}

/// Who should hear of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// Whose job it is.
    Customer,
    /// The people at the data centre.
    Operator,
}

/// Something that people should hear of an import job or a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Counts up.
    pub id: u64,
    /// When it happened.
    pub at: Timestamp,
    /// Of which job; absent where it is of a vault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobName>,
    /// The vault that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultName>,
    /// The source server there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// For whom.
    pub audience: Audience,
    /// A sentence.
    pub text: String,
}
