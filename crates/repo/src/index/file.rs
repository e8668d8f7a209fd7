//! Index files as stored. Source of their form: restic's doc/design.rst, "Indexing". Looks nothing up.

use super::BlobKind;
use crate::pack::PackedBlob;
use model::Digest;
use serde::{Deserialize, Serialize};

/// An index file's content.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct IndexFile {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) supersedes: Vec<Digest>,
    #[serde(default)]
    pub(crate) packs: Vec<IndexedPack>,
}

/// One pack in an index file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IndexedPack {
    pub(crate) id: Digest,
    pub(crate) blobs: Vec<IndexedBlob>,
}

/// One blob in an index file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct IndexedBlob {
    id: Digest,
    #[serde(rename = "type")]
    kind: BlobKind,
    offset: u32,
    length: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uncompressed_length: Option<u32>,
}

impl From<&PackedBlob> for IndexedBlob {
    fn from(blob: &PackedBlob) -> Self {
        Self {
            id: blob.id,
            kind: blob.kind,
            offset: blob.offset,
            length: blob.length,
            uncompressed_length: blob.plain_length,
        }
    }
}

impl From<&IndexedBlob> for PackedBlob {
    fn from(blob: &IndexedBlob) -> Self {
        Self {
            id: blob.id,
            kind: blob.kind,
            offset: blob.offset,
            length: blob.length,
            plain_length: blob.uncompressed_length.filter(|length| *length > 0),
        }
    }
}

impl IndexedPack {
    pub(crate) fn new(id: Digest, blobs: &[PackedBlob]) -> Self {
        Self { id, blobs: blobs.iter().map(IndexedBlob::from).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(n: u8, kind: BlobKind, offset: u32, plain_length: Option<u32>) -> PackedBlob {
        PackedBlob { id: Digest([n; 32]), kind, offset, length: 100, plain_length }
    }

    #[test]
    fn the_file_has_restics_field_names() {
        let file = IndexFile {
            supersedes: vec![],
            packs: vec![IndexedPack::new(
                Digest([1; 32]),
                &[blob(2, BlobKind::Data, 38, Some(511)), blob(3, BlobKind::Tree, 0, None)],
            )],
        };
        let json = serde_json::to_value(&file).unwrap();
        let blobs = &json["packs"][0]["blobs"];
        assert_eq!(blobs[0]["type"], "data");
        assert_eq!(blobs[0]["uncompressed_length"], 511);
        assert_eq!(blobs[1]["type"], "tree");
        assert!(blobs[1].get("uncompressed_length").is_none());
        assert!(json.get("supersedes").is_none());
    }
}
