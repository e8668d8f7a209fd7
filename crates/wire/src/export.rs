//! Export jobs: what is asked for, how far it is, and a drive as the dock hands it over. Decides nothing.

use crate::{PublicKey, SeedId};
use jiff::Timestamp;
use model::{
    AccountName, Address, Digest, DrivePassword, DriveRole, JobName, Package, ServerName, VaultName,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An export job of several that bring the same list together. Each brings a part of its packs, by their names, and the first one all that is
/// no pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportPart {
    /// The job.
    pub job: JobName,
    /// The first name that a pack of it may have, up to that of the next one; none for the first job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Digest>,
}

/// What an export job brings a part of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WholeExport {
    /// Which of the parts; from 0.
    pub set: u32,
    /// All of them.
    pub parts: Vec<ExportPart>,
    /// When the list was made. Drives of all parts say so.
    pub listed_at: Timestamp,
}

/// An export job as it is created. What is exported follows as an inventory, and its new index files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportJobRequest {
    /// The vault that it comes from.
    pub vault: VaultName,
    /// The source server whose recovery points these are.
    pub server: ServerName,
    /// Tells this export's drives from all others, as a seed's id does.
    pub id: SeedId,
    /// Who signs the list of what is exported.
    pub signer: PublicKey,
    /// The root over the objects of that list.
    #[serde(deserialize_with = "crate::hex::any_case::deserialize")]
    pub root: Digest,
    /// Which of several jobs that bring the same list together; from 0. They have one id.
    #[serde(default)]
    pub set: u32,
    /// How many these are.
    #[serde(default = "one")]
    pub sets: u32,
    /// Whether it brings once more what did not arrive of these, as a further drive set of them: then `set` is `sets` or more, and the list has just that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// How many drives may be lost on their way.
    #[serde(default)]
    #[schemars(range(max = 9))]
    pub parity: u32,
    /// The storage account that the job lies with; nothing of the export is put there.
    pub storage_account: AccountName,
    /// Where the drives go. May be given later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_address: Option<Address>,
    /// The package that the empty drives travel in. May be given later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_package: Option<Package>,
    /// With the first of several jobs: the names of the others. Where one of them is taken, none is made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<JobName>,
}

fn one() -> u32 {
    1
}

/// What an export job brings onto drives, as answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportStatus {
    /// The root over all objects.
    pub root: Digest,
    /// Parity drives that are wanted.
    pub parity: u32,
    /// Objects; 0 until the server holds their list.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The recovery points, at most [`crate::MAX_NAMES`] of them.
    pub snapshots: Vec<Digest>,
    /// Who signs what is on the drives: the dock that has written the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer: Option<PublicKey>,
    /// Whether everything is on drives that were read back.
    pub complete: bool,
    /// Whether it brings once more what did not arrive by other jobs with its id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// Of one of several jobs that bring the same list together: what they are. Objects, bytes and whether it is complete are of this job
    /// alone; root and recovery points are of all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<WholeExport>,
}

/// A drive that a dock has written, read back and sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportedDrive {
    /// SHA-256 of the drive's manifest file.
    #[serde(deserialize_with = "crate::hex::any_case::deserialize")]
    pub manifest_hash: Digest,
    /// What the drive is for.
    #[serde(default, skip_serializing_if = "DriveRole::is_data")]
    pub role: DriveRole,
    /// Who has signed it. The first of a job is the only one.
    pub signer: PublicKey,
    /// Its password; absent for a drive that is not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::password::optional")]
    #[schemars(with = "Option<DrivePassword>")]
    pub bit_locker_key: Option<DrivePassword>,
    /// SHA-256 of its LUKS2 header area; absent without a password.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::hex::any_case::optional::deserialize"
    )]
    pub drive_header_hash: Option<Digest>,
}
