//! Import jobs, in the import/export service's `JobDetails` spelling, plus what ties a job to its
//! vault and seed. Decides nothing.

use crate::{DriveRequest, DriveStatus, ExportStatus, KeyRelease, PublicKey, SeedId};
use jiff::Timestamp;
use model::{
    AccountName, Address, ContainerName, DriveSerial, JobName, Package, ServerName, TrackingNumber,
    VaultName,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which seed a job's drives carry a part of, and who has signed them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SeedRef {
    /// The seed.
    pub id: SeedId,
    /// Which drive set of the seed this job carries; from 0.
    #[serde(default)]
    pub set: u32,
    /// How many drive sets the seed has, where that is known: publication waits for that many jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sets: Option<u32>,
    /// Who signs its manifests. Pinned: a key found on a drive is never believed.
    pub signer: PublicKey,
}

/// An import job as it is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobRequest {
    /// The vault the seed is for.
    pub vault: VaultName,
    /// The source server it comes from.
    pub server: ServerName,
    /// The seed.
    pub seed: SeedRef,
    /// The storage account it arrives in first.
    pub storage_account: AccountName,
    /// The container there.
    pub container: ContainerName,
    /// Where copy logs go: a container of the same account. Absent: `waimportexport`.
    #[serde(default, rename = "diagnosticsPath", skip_serializing_if = "Option::is_none")]
    pub diagnostics: Option<ContainerName>,
    /// Where the drives go back to. May be given later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_address: Option<Address>,
    /// The package they travel in. May be given later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_package: Option<Package>,
    /// The drives: 1 to [`crate::MAX_DRIVES`].
    #[schemars(length(min = 1, max = crate::MAX_DRIVES))]
    pub drive_list: Vec<DriveRequest>,
}

/// Where an import job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum JobState {
    /// Being prepared at the source.
    Creating,
    /// With the carrier.
    Shipping,
    /// At the dock.
    Received,
    /// Being copied.
    Transferring,
    /// All drives are processed; being packed for the way home.
    Packaging,
    /// Finished, everything landed.
    Completed,
    /// Finished, with errors.
    Closed,
    /// Given up before it arrived.
    Canceled,
}

/// What a job's drives carry, and whose it is. A job that another client of the import service made says
/// nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Carries {
    /// The vault the seed is for.
    pub vault: VaultName,
    /// The source server it comes from.
    pub server: ServerName,
    /// The seed.
    pub seed: SeedRef,
    /// The container of the storage account that it arrives in.
    pub container: ContainerName,
}

/// An import job as answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its name.
    pub name: JobName,
    /// Counts changes; only ever grows.
    pub version: u64,
    /// `Import`, or `Export`.
    pub job_type: String,
    /// Where it is.
    pub state: JobState,
    /// The resource manager's id of it.
    #[serde(default)]
    pub id: String,
    /// Its seed, and whose. Of an export job: the id that its drives say, and who signs the list of what is
    /// exported.
    #[serde(flatten)]
    pub carries: Option<Carries>,
    /// Of an export job that a key holder has made: what is exported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub export: Option<ExportStatus>,
    /// The storage account it arrives in first.
    pub storage_account: AccountName,
    /// Where copy logs go: a container of the same account.
    #[serde(rename = "diagnosticsPath")]
    pub diagnostics: ContainerName,
    /// Where to send the drives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipping_information: Option<Address>,
    /// Where the drives go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_address: Option<Address>,
    /// The package they travel in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_package: Option<Package>,
    /// Whether the customer has asked to cancel.
    pub cancel_requested: bool,
    /// 0 to 100, over all drives.
    pub percent_complete: u8,
    /// Whether the server holds the seed's inventory through this job.
    pub inventory_received: bool,
    /// The drives.
    pub drive_list: Vec<DriveStatus>,
    /// Who was given which drive's password, and who was not for a wrong header hash: the newest
    /// [`crate::MAX_RELEASES`], in the order of their time. For its owner and administrators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_releases: Vec<KeyRelease>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub changed_at: Timestamp,
}

/// What a customer changes about a job. Absent fields stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JobPatch {
    /// The version the caller has read; another is answered with `ConcurrentChange`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Where the drives go back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_address: Option<Address>,
    /// The package they travel in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery_package: Option<Package>,
    /// Only [`JobState::Shipping`] may be asked for.
    #[schemars(extend("enum" = ["Shipping", null]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<JobState>,
    /// Only `true` may be asked for.
    #[schemars(extend("enum" = [true, null]))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_requested: Option<bool>,
}

/// A package has arrived at the dock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiveRequest {
    /// The number on the parcel.
    pub tracking_number: TrackingNumber,
    /// The drives found in it; absent: all that the job announces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drives: Option<Vec<DriveSerial>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_needs_only_what_the_service_needs() {
        let json = format!(
            r#"{{"vault":"v1","server":"fs01","storageAccount":"acct01","container":"seeds",
                "seed":{{"id":"{}","signer":"{}"}},
                "driveList":[{{"driveId":"S1","manifestHash":"{}"}}],"location":"westus"}}"#,
            "0".repeat(32),
            "1".repeat(64),
            "2".repeat(64)
        );
        let job: JobRequest = serde_json::from_str(&json).unwrap();
        assert_eq!((job.seed.set, job.seed.sets, job.diagnostics.is_none()), (0, None, true));
        let again = serde_json::to_string(&job).unwrap();
        assert_eq!(serde_json::from_str::<JobRequest>(&again).unwrap(), job);
    }

    #[test]
    fn a_patch_says_only_what_changes() {
        let patch = JobPatch { state: Some(JobState::Shipping), ..JobPatch::default() };
        assert_eq!(serde_json::to_string(&patch).unwrap(), r#"{"state":"Shipping"}"#);
        assert!(serde_json::from_str::<JobPatch>(r#"{"state":"Lost"}"#).is_err());
    }
}
