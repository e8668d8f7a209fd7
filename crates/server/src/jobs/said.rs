//! What a customer has said of a job beyond what the state machine needs: kept as it came, and answered
//! so. Field names are the import service's. Decides nothing.

use model::DriveSerial;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What is kept beside the state machine's value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Said {
    pub(crate) location: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) tags: Map<String, Value>,
    /// As it was written: our own form of it differs in case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) storage_account_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) return_shipping: Option<ReturnShipping>,
    /// Where the job's drives are to be sent: fixed when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shipping_information: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) diagnostics_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_level: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backup_drive_manifest: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) export: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encryption_key: Option<Value>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) drives: BTreeMap<DriveSerial, SaidDrive>,
}

/// Who carries the drives home, and on whose account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReturnShipping {
    pub(crate) carrier_name: String,
    pub(crate) carrier_account_number: String,
}

/// Of one drive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SaidDrive {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) manifest_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) manifest_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) drive_header_hash: Option<String>,
    /// The row that keeps its password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<i64>,
}
