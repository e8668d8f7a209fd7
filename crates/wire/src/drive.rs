//! One drive of an import job, as announced, as reported by the dock, as answered. Field names
//! are the import/export service's `DriveStatus`. Decides nothing.

use model::{Digest, DrivePassword, DriveRole, DriveSerial};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A drive as an import job announces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriveRequest {
    /// The serial number that the drive's hardware reports.
    pub drive_id: DriveSerial,
    /// SHA-256 of the drive's manifest file, in hexadecimal digits of either case.
    #[serde(deserialize_with = "crate::hex::any_case::deserialize")]
    pub manifest_hash: Digest,
    /// What the drive is for.
    #[serde(default, skip_serializing_if = "DriveRole::is_data")]
    pub role: DriveRole,
    /// The drive's password; absent for a drive that is not encrypted. Never answered with the job.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::password::optional")]
    #[schemars(with = "Option<DrivePassword>")]
    pub bit_locker_key: Option<DrivePassword>,
    /// SHA-256 of the drive's LUKS2 header area, which that password opens; absent without it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::hex::any_case::optional::deserialize"
    )]
    pub drive_header_hash: Option<Digest>,
}

/// Where a drive is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum DriveState {
    /// Announced by the job.
    Specified,
    /// At the dock.
    Received,
    /// The package came without it, or did not come in time.
    NeverReceived,
    /// Being copied.
    Transferring,
    /// Everything on it has landed.
    Completed,
    /// Copied, and something on it could not be.
    CompletedMoreInfo,
    /// On its way home.
    ShippedBack,
}

/// How the copy of a drive stands, in one word, as the import/export service does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum CopyStatus {
    /// Being copied.
    InProgress,
    /// All of it has landed.
    Completed,
    /// Some objects are damaged or missing.
    CompletedWithErrors,
}

/// A drive as answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriveStatus {
    /// Its serial number.
    pub drive_id: DriveSerial,
    /// What it is for.
    #[serde(default)]
    pub role: DriveRole,
    /// SHA-256 of its manifest; absent for a drive of a job without a seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_hash: Option<Digest>,
    /// Whether the server holds that manifest.
    pub manifest_received: bool,
    /// SHA-256 of its LUKS2 header area; absent for a drive that is not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drive_header_hash: Option<Digest>,
    /// Whether the server holds its password.
    #[serde(default)]
    pub key_held: bool,
    /// Where it is.
    pub state: DriveState,
    /// From Transferring on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_status: Option<CopyStatus>,
    /// 0 to 100.
    pub percent_complete: u8,
    /// Bytes of objects that have landed.
    pub bytes_succeeded: u64,
    /// Bytes of objects that its manifest lists; 0 until the server holds it.
    pub bytes_total: u64,
    /// What did not land, at most [`crate::MAX_NAMES`] of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
    /// How many did not land. Of a parity drive: of all data drives that it covers.
    #[serde(default)]
    pub failure_count: u64,
    /// Of a parity drive: what was rebuilt with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<Rebuilt>,
}

/// What was rebuilt with the parity drives of a set that were read together, and from what.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rebuilt {
    /// The data drives whose objects were rebuilt.
    pub drives: Vec<RebuiltDrive>,
    /// Bytes that were read of what had arrived in the storage account.
    pub account_bytes: u64,
    /// Bytes that were read from drives, of parity and of damaged data drives.
    pub from: Vec<ReadDrive>,
}

/// A data drive whose objects were rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RebuiltDrive {
    /// Its serial number.
    pub drive_id: DriveSerial,
    /// How many objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A drive that others were rebuilt from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadDrive {
    /// Its serial number.
    pub drive_id: DriveSerial,
    /// Bytes read from it.
    pub bytes: u64,
}

impl Rebuilt {
    /// How many objects were rebuilt, of all drives.
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.drives.iter().fold(0, |sum, drive| sum.saturating_add(drive.objects))
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.drives.iter().fold(0, |sum, drive| sum.saturating_add(drive.bytes))
    }
}

/// An object that did not land.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Its path in the repository, such as `data/ab/abcd…`.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// What a dock reports about a drive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum DriveEvent {
    /// It has turned up after its package was opened without it.
    Came,
    /// It counts as received, and is not there after all.
    NeverCame,
    /// Copying begins.
    Started,
    /// Copying goes on.
    Progress {
        /// Bytes copied.
        bytes: u64,
        /// Bytes there are.
        total: u64,
    },
    /// All that can be copied is.
    Finished {
        /// Bytes copied.
        bytes: u64,
        /// What could not be.
        #[serde(default)]
        failures: Vec<Failure>,
        /// Of a parity drive: what was rebuilt with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rebuilt: Option<Rebuilt>,
    },
    /// Handed to the carrier for the way home.
    Returned,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_hash_comes_in_either_case_and_goes_out_in_lower_case() {
        let json = format!(r#"{{"driveId":"S1","manifestHash":"{}"}}"#, "AB".repeat(32));
        let drive: DriveRequest = serde_json::from_str(&json).unwrap();
        assert_eq!(drive.manifest_hash, Digest([0xab; 32]));
        assert!(serde_json::to_string(&drive).unwrap().contains(&"ab".repeat(32)));
    }

    #[test]
    fn an_encrypted_drive_comes_with_its_password_and_header_hash() {
        let json = format!(
            r#"{{"driveId":"S1","manifestHash":"{0}","driveHeaderHash":"{0}","bitLockerKey":"{1}"}}"#,
            "AB".repeat(32),
            ["000011"; 8].join("-"),
        );
        let drive: DriveRequest = serde_json::from_str(&json).unwrap();
        assert_eq!(drive.drive_header_hash, Some(Digest([0xab; 32])));
        assert_eq!(
            drive.bit_locker_key,
            Some(DrivePassword::from_bytes(&[1, 0].repeat(8).try_into().unwrap()))
        );
        let again = serde_json::to_string(&drive).unwrap();
        assert_eq!(serde_json::from_str::<DriveRequest>(&again).unwrap(), drive);
        let typo = json.replacen("000011", "000012", 1);
        let refused = serde_json::from_str::<DriveRequest>(&typo).unwrap_err().to_string();
        assert!(!refused.contains("000012"), "{refused}");
        let nulls =
            r#"{"driveId":"S1","manifestHash":"%","driveHeaderHash":null,"bitLockerKey":null}"#;
        let drive: DriveRequest =
            serde_json::from_str(&nulls.replace('%', &"0".repeat(64))).unwrap();
        assert!(drive.drive_header_hash.is_none() && drive.bit_locker_key.is_none());
    }

    #[test]
    fn events_are_told_apart_by_their_name() {
        let event: DriveEvent = serde_json::from_str(r#"{"event":"started"}"#).unwrap();
        assert_eq!(event, DriveEvent::Started);
        let event: DriveEvent = serde_json::from_str(r#"{"event":"finished","bytes":7}"#).unwrap();
        assert_eq!(event, DriveEvent::Finished { bytes: 7, failures: vec![], rebuilt: None });
        assert!(serde_json::from_str::<DriveEvent>(r#"{"event":"lost"}"#).is_err());
    }
}
