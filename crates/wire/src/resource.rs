//! Storage accounts, vaults, source servers, docks, locations. Decides nothing.

use jiff::Timestamp;
use model::{AccountName, Address, BackendName, Digest, ServerName, VaultName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The number of a vault, as vault credentials and certificates name it: the same for a vault of that name
/// in that tenant, for ever.
#[must_use]
pub fn vault_resource_id(tenant: &str, vault: &VaultName) -> i64 {
    let text = format!("{}/{}", tenant.to_ascii_lowercase(), vault.as_str().to_ascii_lowercase());
    let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let [a, b, c, d, e, f, g, h, ..] = hash;
    // Positive, as Azure's are.
    i64::from_be_bytes([a & 0x7f, b, c, d, e, f, g, h])
}

/// Whether the server is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// The server's version.
    pub version: String,
}

/// A list, in the service's shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}List")]
pub struct List<T> {
    /// The items.
    pub value: Vec<T>,
}

/// A subscription: what resource groups lie in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// A GUID, drawn by the server.
    pub id: String,
    /// Its name, for people.
    pub name: String,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Creates a subscription, or renames one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionRequest {
    /// 1 to 64 characters, which no other subscription of the server has, whatever the case.
    pub name: String,
}

/// A storage account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageAccount {
    /// Its name.
    pub name: AccountName,
    /// Where its objects are; a server that does not say has one place only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendName>,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Creates a storage account.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StorageAccountRequest {
    /// Where its objects shall be, for ever: one of the operator's backends; none: `default`.
    pub backend: Option<BackendName>,
}

/// A vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Vault {
    /// Its name.
    pub name: VaultName,
    /// When it was created.
    pub created_at: Timestamp,
    /// The source servers registered with it.
    #[serde(default)]
    pub servers: Vec<VaultServer>,
}

/// A source server registered with a vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VaultServer {
    /// Its name.
    pub name: ServerName,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it called last, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<Timestamp>,
    /// The version of the agent that did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Registers a source server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerRequest {
    /// Issue a new token although there is one, which ends at once.
    pub replace: bool,
}

/// Registers a machine by a vault's credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineRequest {
    /// The name that it has in the vault from then on.
    pub server: ServerName,
    /// Its own certificate, DER in base64.
    pub certificate: String,
    /// Register it although it is, which ends its token and certificate.
    #[serde(default)]
    pub replace: bool,
    /// SHA-256 of certificates that this machine has had. One that is registered under the name says that it is
    /// the same machine, which takes nobody's place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub known: Vec<Digest>,
}

/// A machine's next certificate, or the one that it calls with: then others of it end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineCertificate {
    /// DER in base64.
    pub certificate: String,
    /// That it is, as a JSON web token of the kind [`CERTIFICATE_TYPE`], signed with the key of a certificate that the
    /// machine has.
    pub statement: String,
}

/// The `typ` in the header of such a token.
pub const CERTIFICATE_TYPE: &str = "packmule-certificate";

/// What it claims, beside `iat` and `exp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateClaims {
    /// The vault.
    pub vault: VaultName,
    /// The source server in it.
    pub server: ServerName,
    /// The SHA-256 of the certificate in DER.
    pub sha256: Digest,
}

/// A key file of a repository that is to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRemovalRequest {
    /// Its name.
    pub key: Digest,
}

/// A key file that will be removed. Until then it opens the repository as ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRemoval {
    /// Its name.
    pub key: Digest,
    /// When that was asked for.
    pub asked_at: Timestamp,
    /// When it is removed.
    pub due_at: Timestamp,
}

/// Registers a dock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DockRequest {
    /// Its name, for people.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// Issue a new token although there is one, which ends at once.
    #[serde(default)]
    pub replace: bool,
}

/// Where drives can be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// Its name.
    pub name: String,
    /// What to write on the parcel.
    pub address: Address,
    /// Carriers that deliver there; empty: any.
    #[serde(default)]
    pub supported_carriers: Vec<String>,
}
