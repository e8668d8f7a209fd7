//! Snapshots as stored. Source: restic's doc/design.rst, "Snapshots". Finds and loads nothing.

use crate::time;
use jiff::{Timestamp, tz::Offset};
use model::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// One state of a set of paths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When the backup began.
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub time: Timestamp,
    /// The snapshot it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// The root tree.
    pub tree: Digest,
    /// Absolute paths that were backed up.
    #[serde(default, deserialize_with = "or_empty")]
    pub paths: Vec<String>,
    /// Host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// User who ran the backup.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// That user by number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// And group.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
    /// Patterns left out.
    #[serde(default, deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub excludes: Vec<String>,
    /// Labels.
    #[serde(default, deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The snapshot this one was first, before its labels changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Digest>,
    /// What wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program_version: String,
    /// What the backup did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// A snapshot's text, as it is read: its time also tells what the clock showed.
pub(crate) struct Dated(pub(crate) Snapshot, pub(crate) Offset);

impl<'de> Deserialize<'de> for Dated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Clock<'t> {
            #[serde(borrow)]
            time: Cow<'t, str>,
        }
        let raw = <Box<RawValue>>::deserialize(deserializer)?;
        let text = raw.get();
        let wrong = serde::de::Error::custom::<serde_json::Error>;
        let snapshot = serde_json::from_str(text).map_err(wrong)?;
        let clock: Clock<'_> = serde_json::from_str(text).map_err(wrong)?;
        let offset = time::parse_with_offset(&clock.time).map_or(Offset::UTC, |(_, offset)| offset);
        Ok(Self(snapshot, offset))
    }
}

impl Snapshot {
    /// A snapshot of a tree at the epoch, with nothing else said.
    #[must_use]
    pub fn of_tree(tree: Digest) -> Self {
        Self {
            time: Timestamp::UNIX_EPOCH,
            parent: None,
            tree,
            paths: Vec::new(),
            hostname: String::new(),
            username: String::new(),
            uid: 0,
            gid: 0,
            excludes: Vec::new(),
            tags: Vec::new(),
            original: None,
            program_version: String::new(),
            summary: None,
        }
    }
}

/// What a backup did, in restic's fields. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "restic's names say it; a second wording could only differ")]
pub struct Summary {
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub backup_start: Timestamp,
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    pub backup_end: Timestamp,
    pub files_new: u64,
    pub files_changed: u64,
    pub files_unmodified: u64,
    pub dirs_new: u64,
    pub dirs_changed: u64,
    pub dirs_unmodified: u64,
    pub data_blobs: u64,
    pub tree_blobs: u64,
    pub data_added: u64,
    #[serde(default)]
    pub data_added_packed: u64,
    pub total_files_processed: u64,
    pub total_bytes_processed: u64,
}

/// Go writes a list that was never made as null.
fn or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn write_time<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time::format(*moment))
}

fn read_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = Cow::<'de, str>::deserialize(deserializer)?;
    time::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("'{text}' is not a time")))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of restic's documentation.
    #[test]
    fn restics_example_is_read() {
        let text = r#"{"time":"2015-01-02T18:10:50.895208559+01:00",
            "tree":"2da81727b6585232894cfbb8f8bdab8d1eccd3d8f7c92bc934d62e62e618ffdf",
            "paths":["/tmp/testdata"],"hostname":"kasimir","username":"fd0","uid":1000,"gid":100,"tags":["NL"]}"#;
        let snapshot: Snapshot = serde_json::from_str(text).unwrap();
        assert_eq!(snapshot.time, "2015-01-02T17:10:50.895208559Z".parse().unwrap());
        assert_eq!((snapshot.uid, snapshot.tags.as_slice()), (1000, &["NL".to_owned()][..]));
        let again: Snapshot =
            serde_json::from_slice(&serde_json::to_vec(&snapshot).unwrap()).unwrap();
        assert_eq!(again, snapshot);
    }

    #[test]
    fn null_is_an_empty_list() {
        let text = r#"{"time":"2015-01-02T18:10:50Z","paths":null,"tags":null,"excludes":null,
            "tree":"2da81727b6585232894cfbb8f8bdab8d1eccd3d8f7c92bc934d62e62e618ffdf"}"#;
        let snapshot: Snapshot = serde_json::from_str(text).unwrap();
        assert!(snapshot.paths.is_empty() && snapshot.tags.is_empty());
    }
}
