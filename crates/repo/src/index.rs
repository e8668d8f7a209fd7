//! Where each blob is: index files as stored, and all of them in memory.
//!
//! Source of the file's form: restic's doc/design.rst, "Indexing". Loads and stores nothing.

use crate::pack::PackedBlob;
use model::Digest;
use serde::{Deserialize, Serialize};
use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, HashSet};

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
/// A blob may be in several packs: the first one seen is used, the others when that one fails.
#[derive(Debug, Default)]
pub struct Index {
    packs: Vec<(Digest, PackSummary)>,
    numbers: HashMap<Digest, u32>,
    blobs: [HashMap<Digest, Entry>; 2],
    /// Where else a blob is, for the few that are in several packs.
    more: HashMap<(BlobKind, Digest), Vec<Entry>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
            let header = crate::pack::header_length(&[]);
            self.packs.push((pack, PackSummary { header, ..PackSummary::default() }));
        }
        for blob in blobs {
            let new = self.insert(number, blob);
            if let Some((_, summary)) = self.packs.get_mut(number as usize).filter(|_| new) {
                summary.blobs = summary.blobs.saturating_add(1);
                summary.header += crate::pack::entry_length(blob) as u64;
                summary.end = summary.end.max(u64::from(blob.offset) + u64::from(blob.length));
            }
        }
    }

    /// Answers whether the blob was not known to be there.
    fn insert(&mut self, pack: u32, blob: &PackedBlob) -> bool {
        let entry = Entry {
            pack,
            offset: blob.offset,
            length: blob.length,
            plain_length: blob.plain_length.unwrap_or(0),
        };
        let [data, tree] = &mut self.blobs;
        let known = if blob.kind == BlobKind::Data { data } else { tree };
        match known.entry(blob.id) {
            Slot::Vacant(slot) => {
                slot.insert(entry);
                true
            }
            Slot::Occupied(first) if *first.get() == entry => false,
            Slot::Occupied(_) => {
                let more = self.more.entry((blob.kind, blob.id)).or_default();
                let new = !more.contains(&entry);
                if new {
                    more.push(entry);
                }
                new
            }
        }
    }

    /// Forgets where a blob is: what is known about it has proved wrong.
    pub fn distrust(&mut self, kind: BlobKind, id: &Digest) {
        let [data, tree] = &mut self.blobs;
        let known = if kind == BlobKind::Data { data } else { tree };
        known.remove(id);
        self.more.remove(&(kind, *id));
    }

    /// Forgets every blob's place in these packs. The packs themselves stay named.
    pub(crate) fn distrust_packs(&mut self, packs: &HashSet<Digest>) {
        let gone: HashSet<u32> =
            packs.iter().filter_map(|pack| self.numbers.get(pack).copied()).collect();
        for more in self.more.values_mut() {
            more.retain(|entry| !gone.contains(&entry.pack));
        }
        let [data, tree] = &mut self.blobs;
        for (kind, blobs) in [(BlobKind::Data, data), (BlobKind::Tree, tree)] {
            blobs.retain(|id, entry| {
                if !gone.contains(&entry.pack) {
                    return true;
                }
                let other = self.more.get_mut(&(kind, *id)).and_then(Vec::pop);
                if let Some(other) = other {
                    *entry = other;
                }
                other.is_some()
            });
        }
    }

    /// Where the blob is.
    #[must_use]
    pub fn find(&self, kind: BlobKind, id: &Digest) -> Option<Location> {
        self.location(kind, id, self.blobs_of(kind).get(id)?)
    }

    /// Everywhere the blob is, the place that [`find`](Self::find) answers first.
    pub fn copies(&self, kind: BlobKind, id: &Digest) -> impl Iterator<Item = Location> {
        let more = self.more.get(&(kind, *id)).map_or(&[][..], Vec::as_slice);
        let entries = self.blobs_of(kind).get(id).into_iter().chain(more);
        entries.filter_map(move |entry| self.location(kind, id, entry))
    }

    fn location(&self, kind: BlobKind, id: &Digest, entry: &Entry) -> Option<Location> {
        let (pack, _) = *self.packs.get(entry.pack as usize)?;
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
        self.packs.iter().copied()
    }

    /// What is known of a pack, if it is named.
    pub(crate) fn summary(&self, pack: &Digest) -> Option<PackSummary> {
        let number = *self.numbers.get(pack)?;
        self.packs.get(number as usize).map(|(_, summary)| *summary)
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
    fn a_pack_named_by_two_indexes_counts_once_and_a_blob_in_two_packs_has_two_places() {
        let mut index = Index::default();
        let (one, two) = (blob(1, BlobKind::Data, 0, None), blob(2, BlobKind::Data, 100, None));
        let (pack, other) = (Digest([9; 32]), Digest([8; 32]));
        index.add(pack, &[one]);
        index.add(pack, &[one, two]);
        index.add(other, &[two, one]);
        index.add(other, &[two, one]);
        let whole = crate::pack::header_length(&[one, two]);
        let expected = PackSummary { blobs: 2, end: 200, header: whole };
        assert_eq!(index.summary(&pack), Some(expected));
        assert_eq!(index.summary(&other), Some(expected));
        let packs = |id: &Digest, index: &Index| -> Vec<Digest> {
            index.copies(BlobKind::Data, id).map(|at| at.pack).collect()
        };
        assert_eq!(packs(&one.id, &index), [pack, other]);
        index.distrust_packs(&HashSet::from([pack]));
        assert_eq!(packs(&one.id, &index), [other], "the other place is still known");
        index.distrust_packs(&HashSet::from([other]));
        assert!(!index.has(BlobKind::Data, &one.id) && index.has_pack(&pack));
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
