//! Drives' passwords on their way: handed over by their owner, read again by the owner, released to a
//! dock, and the record of every release. Decides nothing.

use jiff::Timestamp;
use model::{Digest, DrivePassword, DriveSerial};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A drive's password. The only answers that have it are those to its owner's `listBitLockerKeys`
/// and to a dock's request for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriveBitLockerKey {
    /// The drive.
    pub drive_id: DriveSerial,
    /// Its password: eight groups of six digits.
    #[serde(with = "crate::password")]
    #[schemars(with = "DrivePassword")]
    pub bit_locker_key: DrivePassword,
    /// SHA-256 of the header area that it opens.
    pub drive_header_hash: Digest,
}

/// A dock asks for a drive's password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRequest {
    /// SHA-256 of the drive's header area as the dock has read it.
    #[serde(deserialize_with = "crate::hex::any_case::deserialize")]
    pub drive_header_hash: Digest,
}

/// A password was given out, or was not because the drive had another header than announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRelease {
    /// When.
    pub at: Timestamp,
    /// To whom: `dock/` and the dock's name, or `agent/`, its vault and its name.
    pub by: String,
    /// For which drive.
    pub drive_id: DriveSerial,
    /// The header hash that was shown; to its owner, the announced one.
    pub drive_header_hash: Digest,
    /// Whether the password was given out.
    pub granted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_in_the_json_and_never_in_debug() {
        let key = DriveBitLockerKey {
            drive_id: "S1".parse().unwrap(),
            bit_locker_key: DrivePassword::from_bytes(&[1; 16]),
            drive_header_hash: Digest([2; 32]),
        };
        let digits = ["002827"; 8].join("-");
        let json = serde_json::to_string(&key).unwrap();
        assert!(json.contains(&format!(r#""bitLockerKey":"{digits}""#)), "{json}");
        assert_eq!(serde_json::from_str::<DriveBitLockerKey>(&json).unwrap(), key);
        assert!(!format!("{key:?}").contains("002827"));
        let slip = json.replacen("002827", "002826", 1);
        let refused = serde_json::from_str::<DriveBitLockerKey>(&slip).unwrap_err().to_string();
        assert!(refused.contains("group 1") && !refused.contains("002826"), "{refused}");
    }
}
