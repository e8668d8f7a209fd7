//! Storage accounts, vaults, source servers, docks, locations. Decides nothing.

use jiff::Timestamp;
use model::{AccountName, Address, ServerName, VaultName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// A storage account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageAccount {
    /// Its name.
    pub name: AccountName,
    /// When it was created.
    pub created_at: Timestamp,
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
}

/// Registers a source server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerRequest {
    /// Issue a new token although there is one, which ends at once.
    pub replace: bool,
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
