//! Where each blob is, for all blobs of a repository, in memory. Loads and stores nothing.
//!
//! Memory: 43 bytes a blob and 60 a pack, and at most 25 MiB while index files are taken in.

mod file;
mod numbers;
mod packs;
mod run;
mod table;

use crate::pack::PackedBlob;
pub(crate) use file::{IndexFile, IndexedPack};
use model::Digest;
pub(crate) use numbers::{At, Marks, Numbered};
use packs::Packs;
use run::Place;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use table::Table;

/// The two kinds of blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobKind {
    /// A piece of a file.
    Data,
    /// A directory.
    Tree,
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
    packs: Packs,
    blobs: [Table; 2],
    /// Where else a blob is, for the few that are in several packs.
    more: HashMap<(BlobKind, Digest), Vec<Place>>,
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

impl From<&PackedBlob> for Place {
    /// In a pack that the caller numbers.
    fn from(blob: &PackedBlob) -> Self {
        let plain_length = blob.plain_length.unwrap_or(0);
        Self { pack: 0, offset: blob.offset, length: blob.length, plain_length }
    }
}

impl PackSummary {
    fn count(&mut self, blob: &PackedBlob) {
        self.blobs = self.blobs.saturating_add(1);
        self.header += crate::pack::entry_length(blob) as u64;
        self.end = self.end.max(u64::from(blob.offset) + u64::from(blob.length));
    }

    /// Takes back one that was counted twice.
    fn discount(&mut self, blob: &PackedBlob) {
        self.blobs = self.blobs.saturating_sub(1);
        self.header = self.header.saturating_sub(crate::pack::entry_length(blob) as u64);
    }
}

impl Index {
    /// Takes in what a pack holds. Listed again elsewhere, a pack keeps what was known and gains what is new.
    pub fn add(&mut self, pack: Digest, blobs: &[PackedBlob]) {
        let number = self.packs.name(pack);
        for blob in blobs {
            let place = Place { pack: number, ..Place::from(blob) };
            let known = of_mut(&mut self.blobs, blob.kind).insert(blob.id, place);
            let new = known.is_none_or(|first| self.add_copy(blob.kind, blob.id, first, place));
            if let Some(summary) = self.packs.summary_mut(number).filter(|_| new) {
                summary.count(blob);
            }
        }
    }

    /// Takes in another place of a known blob. Answers whether it was not known itself.
    fn add_copy(&mut self, kind: BlobKind, id: Digest, first: Place, place: Place) -> bool {
        if first == place {
            return false;
        }
        let more = self.more.entry((kind, id)).or_default();
        let new = !more.contains(&place);
        if new {
            more.push(place);
        }
        new
    }

    /// Forgets where a blob is: what is known about it has proved wrong.
    pub fn distrust(&mut self, kind: BlobKind, id: &Digest) {
        of_mut(&mut self.blobs, kind).remove(id);
        self.more.remove(&(kind, *id));
    }

    /// Forgets every blob's place in these packs. The packs themselves stay named.
    pub(crate) fn distrust_packs(&mut self, packs: &HashSet<Digest>) {
        let gone: HashSet<u32> = packs.iter().filter_map(|pack| self.packs.number(pack)).collect();
        if gone.is_empty() {
            return;
        }
        for more in self.more.values_mut() {
            more.retain(|place| !gone.contains(&place.pack));
        }
        let [data, tree] = &mut self.blobs;
        for (kind, blobs) in [(BlobKind::Data, data), (BlobKind::Tree, tree)] {
            blobs.change(|id, place| {
                if gone.contains(&place.pack) {
                    return self.more.get_mut(&(kind, *id)).and_then(Vec::pop);
                }
                Some(place)
            });
        }
    }

    /// Where the blob is.
    #[must_use]
    pub fn find(&self, kind: BlobKind, id: &Digest) -> Option<Location> {
        self.location(kind, id, of(&self.blobs, kind).get(id)?)
    }

    /// Everywhere the blob is, the place that [`find`](Self::find) answers first.
    pub fn copies(&self, kind: BlobKind, id: &Digest) -> impl Iterator<Item = Location> {
        let more = self.more.get(&(kind, *id)).map_or(&[][..], Vec::as_slice);
        let places = of(&self.blobs, kind).get(id).into_iter().chain(more.iter().copied());
        places.filter_map(move |place| self.location(kind, id, place))
    }

    fn location(&self, kind: BlobKind, id: &Digest, place: Place) -> Option<Location> {
        let (pack, _) = *self.packs.get(place.pack)?;
        let plain_length = (place.plain_length > 0).then_some(place.plain_length);
        let blob =
            PackedBlob { id: *id, kind, offset: place.offset, length: place.length, plain_length };
        Some(Location { pack, blob })
    }

    /// Whether the blob is known.
    #[must_use]
    pub fn has(&self, kind: BlobKind, id: &Digest) -> bool {
        of(&self.blobs, kind).get(id).is_some()
    }

    /// Every pack named, in no order.
    pub fn packs(&self) -> impl Iterator<Item = (Digest, PackSummary)> + '_ {
        self.packs.iter()
    }

    /// What is known of a pack, if it is named.
    pub(crate) fn summary(&self, pack: &Digest) -> Option<PackSummary> {
        self.packs.get(self.packs.number(pack)?).map(|(_, summary)| *summary)
    }

    /// Whether a pack is named.
    #[must_use]
    pub fn has_pack(&self, pack: &Digest) -> bool {
        self.packs.number(pack).is_some()
    }

    /// How many blobs of a kind there are.
    #[must_use]
    pub fn count(&self, kind: BlobKind) -> usize {
        of(&self.blobs, kind).len()
    }
}

fn of<T>([data, tree]: &[T; 2], kind: BlobKind) -> &T {
    match kind {
        BlobKind::Data => data,
        BlobKind::Tree => tree,
    }
}

fn of_mut<T>([data, tree]: &mut [T; 2], kind: BlobKind) -> &mut T {
    match kind {
        BlobKind::Data => data,
        BlobKind::Tree => tree,
    }
}

/// An index that whole index files go into: cheaper than [`Index::add`] for each of their packs,
/// with the same result.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    index: Index,
    /// Counted in their packs already.
    pending: [Vec<(Digest, Place)>; 2],
    batch: Batch,
}

/// How many blobs are sorted at once, at least: 6 MiB of them.
#[derive(Debug)]
struct Batch(usize);

impl Default for Batch {
    fn default() -> Self {
        Self(1 << 17)
    }
}

/// Blobs that room is reserved for before they are there: 16 million, 768 MB that take no memory yet.
const BELIEVED: usize = 16 << 20;

impl Filling {
    /// For index files that have so many bytes together.
    pub(crate) fn of(stored: u64) -> Self {
        let mut filling = Self::default();
        // A blob's id alone takes 32 bytes in a file however well that is compressed. What a store
        // says of lengths is believed up to here: beyond, the run grows as blobs come.
        let most = usize::try_from(stored / 32).unwrap_or(usize::MAX).min(BELIEVED);
        of_mut(&mut filling.index.blobs, BlobKind::Data).expect(most);
        filling
    }

    /// Takes in a file's packs. Files are to come in the order in which their places shall count.
    pub(crate) fn take(&mut self, file: &IndexFile) {
        for pack in &file.packs {
            let number = self.index.packs.name(pack.id);
            for blob in pack.blobs.iter().map(PackedBlob::from) {
                if let Some(summary) = self.index.packs.summary_mut(number) {
                    summary.count(&blob);
                }
                let place = Place { pack: number, ..Place::from(&blob) };
                of_mut(&mut self.pending, blob.kind).push((blob.id, place));
            }
            self.settle_if_full(BlobKind::Data);
            self.settle_if_full(BlobKind::Tree);
        }
    }

    fn settle_if_full(&mut self, kind: BlobKind) {
        let table = of(&self.index.blobs, kind);
        let full = self.batch.0.max(table.len() / table.sizes().ratio);
        if of(&self.pending, kind).len() >= full {
            self.settle(kind);
        }
    }

    /// The index with everything in it.
    pub(crate) fn finish(mut self) -> Index {
        self.settle(BlobKind::Data);
        self.settle(BlobKind::Tree);
        of_mut(&mut self.index.blobs, BlobKind::Data).trim();
        self.index
    }

    fn settle(&mut self, kind: BlobKind) {
        let mut pending = std::mem::take(of_mut(&mut self.pending, kind));
        let mut copies = Vec::new();
        let known = |id, first, place| copies.push((id, first, place));
        of_mut(&mut self.index.blobs, kind).extend(&mut pending, known);
        pending.clear();
        *of_mut(&mut self.pending, kind) = pending;
        for (id, first, place) in copies {
            let new = self.index.add_copy(kind, id, first, place);
            let blob = self.index.location(kind, &id, place).map(|at| at.blob);
            let summary = self.index.packs.summary_mut(place.pack).filter(|_| !new);
            if let (Some(summary), Some(blob)) = (summary, blob) {
                summary.discount(&blob);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    /// What an index is, with nothing done for speed.
    #[derive(Default)]
    struct Naive {
        packs: Vec<(Digest, PackSummary)>,
        blobs: HashMap<(BlobKind, Digest), Vec<(Digest, PackedBlob)>>,
    }

    impl Naive {
        fn add(&mut self, pack: Digest, blobs: &[PackedBlob]) {
            if self.packs.iter().all(|(known, _)| *known != pack) {
                let header = crate::pack::header_length(&[]);
                self.packs.push((pack, PackSummary { header, ..PackSummary::default() }));
            }
            let summary = self.packs.iter_mut().find(|(known, _)| *known == pack).unwrap();
            for blob in blobs {
                let places = self.blobs.entry((blob.kind, blob.id)).or_default();
                if !places.contains(&(pack, *blob)) {
                    places.push((pack, *blob));
                    summary.1.count(blob);
                }
            }
        }

        fn distrust_packs(&mut self, gone: &HashSet<Digest>) {
            for places in self.blobs.values_mut() {
                let first = places.first().copied();
                places.retain(|(pack, _)| !gone.contains(pack));
                // The last one takes the place of the first.
                if places.first() != first.as_ref() && places.len() > 1 {
                    places.rotate_right(1);
                }
            }
            self.blobs.retain(|_, places| !places.is_empty());
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Add(Vec<(u16, Vec<PackedBlob>)>, bool),
        Distrust(BlobKind, u16),
        DistrustPacks(Vec<u16>),
    }

    /// Ids of which many begin alike.
    fn id(n: u16) -> Digest {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&[0, u8::try_from(n % 3).unwrap() * 127]);
        id[30..].copy_from_slice(&n.to_be_bytes());
        Digest(id)
    }

    fn any_kind() -> impl Strategy<Value = BlobKind> {
        prop::sample::select(vec![BlobKind::Data, BlobKind::Tree])
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let length = || prop_oneof![8 => 1..4u32, 1 => (1u32 << 24) - 2..(1 << 24) + 2];
        let plain = prop::option::of(length());
        let blob = (0..40u16, any_kind(), 0..2u32, length(), plain).prop_map(
            |(n, kind, offset, length, plain_length)| PackedBlob {
                id: id(n),
                kind,
                offset,
                length,
                plain_length,
            },
        );
        let pack = (0..8u16, prop::collection::vec(blob, 0..12));
        prop_oneof![
            6 => (prop::collection::vec(pack, 0..5), any::<bool>()).prop_map(|(packs, files)| Step::Add(packs, files)),
            2 => (any_kind(), 0..40u16).prop_map(|(kind, n)| Step::Distrust(kind, n)),
            1 => prop::collection::vec(0..8u16, 0..3).prop_map(Step::DistrustPacks),
        ]
    }

    fn step(index: Index, naive: &mut Naive, step: &Step, batch: usize) -> Index {
        let (mut index, mut filling) = (index, Filling::default());
        match step {
            Step::Add(packs, files) => {
                for (pack, blobs) in packs {
                    naive.add(id(*pack), blobs);
                }
                if *files {
                    filling = Filling { index, batch: Batch(batch), ..filling };
                    let packs =
                        packs.iter().map(|(pack, blobs)| IndexedPack::new(id(*pack), blobs));
                    filling.take(&IndexFile { packs: packs.collect(), ..IndexFile::default() });
                    return filling.finish();
                }
                packs.iter().for_each(|(pack, blobs)| index.add(id(*pack), blobs));
            }
            Step::Distrust(kind, n) => {
                naive.blobs.remove(&(*kind, id(*n)));
                index.distrust(*kind, &id(*n));
            }
            Step::DistrustPacks(packs) => {
                let packs = packs.iter().map(|n| id(*n)).collect();
                naive.distrust_packs(&packs);
                index.distrust_packs(&packs);
            }
        }
        index
    }

    proptest! {
        // Runs have 65,536 starts each, and these are tiny: fewer cases do.
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn an_index_is_what_a_naive_one_is(
            steps in prop::collection::vec(any_step(), 0..30),
            recent in 1..6usize,
            ratio in 1..4usize,
            batch in 1..20usize,
        ) {
            let table = || Table::with_sizes(table::Sizes { recent, ratio });
            let mut index = Index { blobs: [table(), table()], ..Index::default() };
            let mut naive = Naive::default();
            for each in &steps {
                index = step(index, &mut naive, each, batch);
            }
            prop_assert!(index.packs().eq(naive.packs.iter().copied()));
            for n in 0..40 {
                for kind in [BlobKind::Data, BlobKind::Tree] {
                    let places = naive.blobs.get(&(kind, id(n))).map_or(&[][..], Vec::as_slice);
                    let blob = id(n);
                    let copies = index.copies(kind, &blob).map(|at| (at.pack, at.blob));
                    prop_assert_eq!(copies.collect::<Vec<_>>(), places);
                    prop_assert_eq!(index.has(kind, &id(n)), !places.is_empty());
                    prop_assert_eq!(index.find(kind, &id(n)).map(|at| at.blob), places.first().map(|place| place.1));
                }
                let summary = naive.packs.iter().find(|(pack, _)| *pack == id(n)).map(|(_, summary)| *summary);
                prop_assert_eq!(index.summary(&id(n)), summary);
                prop_assert_eq!(index.has_pack(&id(n)), summary.is_some());
            }
            for kind in [BlobKind::Data, BlobKind::Tree] {
                let known = naive.blobs.keys().filter(|(of, _)| *of == kind).count();
                prop_assert_eq!(index.count(kind), known);
            }
        }
    }

    #[test]
    fn many_blobs_are_all_found() {
        let mut index = Index::default();
        let blobs = |pack: u32| -> Vec<PackedBlob> {
            let id = |n: u32| crate::repository::hash(&(pack * 100 + n).to_le_bytes());
            let blob =
                |n| PackedBlob { id: id(n), offset: n * 100, ..blob(0, BlobKind::Data, 0, None) };
            (0..100).map(blob).collect()
        };
        for pack in 0..600u32 {
            index.add(crate::repository::hash(&pack.to_be_bytes()), &blobs(pack));
        }
        assert_eq!(index.count(BlobKind::Data), 60_000);
        for pack in 0..600 {
            for blob in blobs(pack) {
                let at = index.find(BlobKind::Data, &blob.id).unwrap();
                assert_eq!(
                    (at.pack, at.blob),
                    (crate::repository::hash(&pack.to_be_bytes()), blob)
                );
            }
        }
        assert!(blobs(600).iter().all(|blob| !index.has(BlobKind::Data, &blob.id)));
    }
}
