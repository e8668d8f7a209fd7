//! A job in the import service's words. Reads nothing but the record, its account's place and the
//! configuration.

use super::super::subscriptions::short;
use crate::config::Config;
use crate::groups::{ACCOUNTS, Group, JOBS};
use crate::jobs::view::{drive_status, job_state, job_type};
use crate::jobs::{DriveRow, Record};
use model::DriveSerial;
use serde::Serialize;
use serde_json::{Map, Value, json};
use wire::DriveState;

/// How much of a job is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// To whoever has just created it: the location as they wrote it.
    Created,
    /// To whoever asks for it.
    Whole,
    /// In a list: without its drives.
    Listed,
}

/// An object that is made field by field, and leaves out what is not there.
struct Fields(Map<String, Value>);

impl Fields {
    fn new() -> Self {
        Self(Map::new())
    }

    fn add(&mut self, key: &str, value: impl Serialize) {
        match serde_json::to_value(value) {
            Ok(Value::Null) | Err(_) => {}
            Ok(value) => {
                self.0.insert(key.to_owned(), value);
            }
        }
    }
}

pub(super) fn job(record: &Record, account: &Group, config: &Config, shown: Shown) -> Value {
    let said = &record.said;
    let location = match shown {
        Shown::Created => said.location.clone(),
        _ => displayed(config, &said.location),
    };
    json!({
        "id": record.group.resource(JOBS, record.name.as_str()),
        "name": record.name, "type": JOBS,
        "location": location,
        "tags": said.tags,
        "identity": { "type": "None" },
        "systemData": { "createdAt": record.created, "lastModifiedAt": record.changed },
        "properties": properties(record, account, config, shown),
    })
}

fn properties(record: &Record, account: &Group, config: &Config, shown: Shown) -> Value {
    let (said, flow) = (&record.said, &record.flow);
    let own_id = || account.resource(ACCOUNTS, record.account.as_str());
    let mut fields = Fields::new();
    fields.add("storageAccountId", said.storage_account_id.clone().unwrap_or_else(own_id));
    fields.add("jobType", job_type(record));
    fields.add("returnAddress", &flow.return_address);
    fields.add("returnShipping", &said.return_shipping);
    let to = said.shipping_information.clone();
    fields.add("shippingInformation", to.or_else(|| shipping_to(config, &said.location)));
    fields.add("deliveryPackage", flow.shipment.as_ref().map(|shipment| &shipment.package));
    fields.add("returnPackage", &flow.return_package);
    fields.add("diagnosticsPath", diagnostics(record));
    fields.add("logLevel", said.log_level.as_deref().unwrap_or("Error"));
    fields.add("backupDriveManifest", said.backup_drive_manifest.unwrap_or(false));
    fields.add("state", job_state(&flow.state));
    fields.add("cancelRequested", flow.cancel_requested);
    fields.add("percentComplete", flow.percent_complete());
    // An export job has those that the dock has found.
    let is_import = flow.job_type == flow::JobType::Import;
    if shown != Shown::Listed && (is_import || !flow.drives.is_empty()) {
        let drives = flow.drives.iter().filter_map(|drive| {
            let row = record.drives.iter().find(|row| row.serial == drive.serial)?;
            Some(drive_view(record, drive, row))
        });
        fields.add("driveList", drives.collect::<Vec<_>>());
    }
    fields.add("export", said.export.clone().or_else(|| exported(record)));
    fields.add("provisioningState", "Succeeded");
    let key = json!({ "kekType": "MicrosoftManaged" });
    fields.add("encryptionKey", said.encryption_key.clone().unwrap_or(key));
    Value::Object(fields.0)
}

/// What a job of our own exports, in the service's words: its recovery points, as they lie in the vault.
fn exported(record: &Record) -> Option<Value> {
    let (export, own) = (record.export.as_ref()?, record.request.as_ref()?);
    let path = |id: &model::Digest| format!("/{}/{}/snapshots/{id}", own.vault, own.server);
    let paths: Vec<String> = export.snapshots().iter().map(path).collect();
    Some(json!({ "blobList": { "blobPath": paths } }))
}

fn diagnostics(record: &Record) -> Option<String> {
    let said = record.said.diagnostics_path.clone();
    let of_seed = || record.request.as_ref()?.diagnostics.as_ref().map(ToString::to_string);
    said.or_else(of_seed).or_else(|| record.request.as_ref().map(|_| "waimportexport".to_owned()))
}

/// A drive, without its password whatever happens.
fn drive_view(record: &Record, drive: &flow::Drive, row: &DriveRow) -> Value {
    let status = drive_status(drive, row);
    let said = record.said.drives.get(&drive.serial);
    let upper = |hash: model::Digest| hash.to_hex().to_ascii_uppercase();
    let mut fields = Fields::new();
    fields.add("driveId", &drive.serial);
    let file = said.and_then(|said| said.manifest_file.clone());
    fields.add("manifestFile", file.or_else(|| row.manifest.map(|_| MANIFEST.to_owned())));
    let hash = said.and_then(|said| said.manifest_hash.clone());
    fields.add("manifestHash", hash.or_else(|| row.manifest.map(upper)));
    let header = said.and_then(|said| said.drive_header_hash.clone());
    fields.add("driveHeaderHash", header.or_else(|| row.header.map(upper)));
    fields.add("state", status.state);
    // The service says nothing of copying before it begins.
    if !matches!(
        status.state,
        DriveState::Specified | DriveState::Received | DriveState::NeverReceived
    ) {
        fields.add("copyStatus", copy_status(&status));
        fields.add("percentComplete", status.percent_complete);
        fields.add("bytesSucceeded", status.bytes_succeeded);
        fields.add("errorLogUri", log(record, &drive.serial, status.failure_count > 0));
    }
    Value::Object(fields.0)
}

/// Where a seed's drive has its manifest.
const MANIFEST: &str = "\\packmule\\manifest";

fn copy_status(status: &wire::DriveStatus) -> Option<String> {
    let word = serde_json::to_value(status.copy_status?).ok()?.as_str()?.to_owned();
    Some(match status.failure_count {
        0 => word,
        count => format!("{word}: {count} objects are missing or damaged"),
    })
}

/// The container and blob with the copy log.
fn log(record: &Record, serial: &DriveSerial, has_errors: bool) -> Option<String> {
    let container = diagnostics(record)?;
    has_errors.then(|| format!("{container}/{}/{serial}.copylog.jsonl", record.name))
}

/// The location that a job is sent to: the one of its name, or the first.
fn location_of<'a>(config: &'a Config, name: &str) -> Option<&'a wire::Location> {
    let wanted = short(name);
    let named = config.locations.iter().find(|location| short(&location.name) == wanted);
    named.or_else(|| config.locations.first())
}

fn displayed(config: &Config, name: &str) -> String {
    let wanted = short(name);
    let named = config.locations.iter().find(|location| short(&location.name) == wanted);
    named.map_or_else(|| name.to_owned(), |location| location.name.clone())
}

/// What to write on the parcel.
pub(super) fn shipping_to(config: &Config, location: &str) -> Option<Value> {
    let location = location_of(config, location)?;
    let mut value = serde_json::to_value(&location.address).ok()?;
    let fields = value.as_object_mut()?;
    fields.remove("email");
    fields.insert("additionalInformation".to_owned(), "".into());
    Some(value)
}
