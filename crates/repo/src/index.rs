//! Where each blob is: index files as stored, and all of them in memory.
//!
//! Source of the file's form: restic's doc/design.rst, "Indexing". Loads and stores nothing.

use crate::pack::PackedBlob;
use model::Digest;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The two kinds of blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobKind {
    /// A piece of a file.
    Data,
    /// A directory.
    Tree,
}

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

/// Where a blob lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// In which pack.
    pub pack: Digest,
    /// Where in it.
    pub blob: PackedBlob,
}

/// Every blob that the repository's indexes name.
///
/// A blob may be in several packs; the first one seen is used, the others stay listed with their packs.
#[derive(Debug, Default)]
pub struct Index {
    packs: Vec<Digest>,
    numbers: HashMap<Digest, u32>,
    blobs: [HashMap<Digest, Entry>; 2],
    contents: HashMap<u32, PackSummary>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    pack: u32,
    offset: u32,
    length: u32,
    plain_length: u32,
}

/// What the indexes say about a pack as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PackSummary {
    /// How many blobs.
    pub blobs: u32,
    /// Where the last of them ends.
    pub end: u64,
    /// How long its header must be.
    pub header: u64,
}

impl Index {
    /// Takes in what a pack holds. Listed again elsewhere, a pack keeps what was known and gains what is new.
    pub fn add(&mut self, pack: Digest, blobs: &[PackedBlob]) {
        let next = u32::try_from(self.packs.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(pack).or_insert(next);
        if number == next {
            self.packs.push(pack);
        }
        for blob in blobs {
            self.blobs_of_mut(blob.kind).entry(blob.id).or_insert(Entry {
                pack: number,
                offset: blob.offset,
                length: blob.length,
                plain_length: blob.plain_length.unwrap_or(0),
            });
        }
        let end = |blob: &PackedBlob| u64::from(blob.offset) + u64::from(blob.length);
        let summary = PackSummary {
            blobs: u32::try_from(blobs.len()).unwrap_or(u32::MAX),
            end: blobs.iter().map(end).max().unwrap_or(0),
            header: crate::pack::header_length(blobs),
        };
        let known = self.contents.entry(number).or_default();
        if summary.blobs > known.blobs {
            *known = summary;
        }
    }

    /// Where the blob is.
    #[must_use]
    pub fn find(&self, kind: BlobKind, id: &Digest) -> Option<Location> {
        let entry = self.blobs_of(kind).get(id)?;
        let pack = *self.packs.get(entry.pack as usize)?;
        let plain_length = (entry.plain_length > 0).then_some(entry.plain_length);
        let blob =
            PackedBlob { id: *id, kind, offset: entry.offset, length: entry.length, plain_length };
        Some(Location { pack, blob })
    }

    /// Whether the blob is known.
    #[must_use]
    pub fn has(&self, kind: BlobKind, id: &Digest) -> bool {
        self.blobs_of(kind).contains_key(id)
    }

    /// Every pack named, in no order.
    pub fn packs(&self) -> impl Iterator<Item = (Digest, PackSummary)> + '_ {
        self.packs.iter().enumerate().map(|(number, id)| {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            (*id, self.contents.get(&number).copied().unwrap_or_default())
        })
    }

    /// Whether a pack is named.
    #[must_use]
    pub fn has_pack(&self, pack: &Digest) -> bool {
        self.numbers.contains_key(pack)
    }

    /// How many blobs of a kind there are.
    #[must_use]
    pub fn count(&self, kind: BlobKind) -> usize {
        self.blobs_of(kind).len()
    }

    fn blobs_of(&self, kind: BlobKind) -> &HashMap<Digest, Entry> {
        let [data, tree] = &self.blobs;
        match kind {
            BlobKind::Data => data,
            BlobKind::Tree => tree,
        }
    }

    fn blobs_of_mut(&mut self, kind: BlobKind) -> &mut HashMap<Digest, Entry> {
        let [data, tree] = &mut self.blobs;
        match kind {
            BlobKind::Data => data,
            BlobKind::Tree => tree,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(n: u8, kind: BlobKind, offset: u32, plain_length: Option<u32>) -> PackedBlob {
        PackedBlob { id: Digest([n; 32]), kind, offset, length: 100, plain_length }
    }

    #[test]
    fn a_blob_is_found_where_it_was_said_to_be() {
        let mut index = Index::default();
        let first = [blob(1, BlobKind::Data, 0, None), blob(2, BlobKind::Tree, 100, Some(900))];
        index.add(Digest([9; 32]), &first);
        index.add(Digest([8; 32]), &[blob(1, BlobKind::Data, 500, None)]);
        let found = index.find(BlobKind::Data, &Digest([1; 32])).unwrap();
        assert_eq!((found.pack, found.blob), (Digest([9; 32]), first[0]));
        assert_eq!(index.find(BlobKind::Tree, &Digest([2; 32])).unwrap().blob, first[1]);
        assert!(!index.has(BlobKind::Tree, &Digest([1; 32])));
        assert_eq!(index.packs().count(), 2);
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
