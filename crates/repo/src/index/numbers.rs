//! Blobs and packs of an index by number, and one bit for each blob: what is used, of all that there is.
//! Decides nothing.

use super::run::Place;
use super::{BlobKind, Index, Location, PackSummary, of, of_mut};
use crate::pack::PackedBlob;
use model::Digest;
use std::sync::atomic::{AtomicU64, Ordering};

/// An index that nothing is added to any more: its blobs and packs have numbers.
#[derive(Debug)]
pub(crate) struct Numbered {
    index: Index,
}

/// A place of a blob: the number of its pack, and where in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) pack: u32,
    pub(crate) blob: PackedBlob,
}

impl Numbered {
    pub(crate) fn new(mut index: Index) -> Self {
        for kind in [BlobKind::Data, BlobKind::Tree] {
            of_mut(&mut index.blobs, kind).settle_all();
        }
        Self { index }
    }

    /// The index itself.
    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// A blob's number, of its kind.
    pub(crate) fn number(&self, kind: BlobKind, id: &Digest) -> Option<usize> {
        of(&self.index.blobs, kind).number(id)
    }

    /// The first place of the blob with this number.
    pub(crate) fn numbered(&self, kind: BlobKind, number: usize) -> Option<At> {
        let (id, place) = of(&self.index.blobs, kind).numbered(number)?;
        Some(at(kind, id, place))
    }

    /// Every blob of a kind with its number and its first place.
    pub(crate) fn each(&self, kind: BlobKind) -> impl Iterator<Item = (usize, At)> + '_ {
        let all = of(&self.index.blobs, kind).each();
        all.map(move |(number, id, place)| (number, at(kind, id, place)))
    }

    /// Every further place of blobs that have several.
    pub(crate) fn further(&self) -> impl Iterator<Item = At> + '_ {
        self.index
            .more
            .iter()
            .flat_map(|((kind, id), places)| places.iter().map(move |place| at(*kind, *id, *place)))
    }

    /// The blobs that have several places, each with all of them.
    pub(crate) fn repeated(&self) -> impl Iterator<Item = (BlobKind, Digest, Vec<At>)> + '_ {
        self.index.more.iter().filter_map(|((kind, id), places)| {
            let first = of(&self.index.blobs, *kind).get(id)?;
            let all = std::iter::once(first).chain(places.iter().copied());
            let all: Vec<At> = all.map(|place| at(*kind, *id, place)).collect();
            (all.len() > 1).then_some((*kind, *id, all))
        })
    }

    /// The packs, by number.
    pub(crate) fn packs(&self) -> impl Iterator<Item = (Digest, PackSummary)> + '_ {
        self.index.packs.iter()
    }

    pub(crate) fn pack_count(&self) -> usize {
        self.index.packs.len()
    }

    /// A place with its pack's name.
    pub(crate) fn location(&self, at: &At) -> Option<Location> {
        let (pack, _) = *self.index.packs.get(at.pack)?;
        Some(Location { pack, blob: at.blob })
    }

    /// No blob marked.
    pub(crate) fn marks(&self) -> Marks {
        let bits = |kind| {
            let words = of(&self.index.blobs, kind).numbers().div_ceil(64);
            std::iter::repeat_with(AtomicU64::default).take(words).collect()
        };
        Marks { bits: [bits(BlobKind::Data), bits(BlobKind::Tree)] }
    }
}

fn at(kind: BlobKind, id: Digest, place: Place) -> At {
    let plain_length = (place.plain_length > 0).then_some(place.plain_length);
    let blob = PackedBlob { id, kind, offset: place.offset, length: place.length, plain_length };
    At { pack: place.pack, blob }
}

/// One bit for each blob of an index.
#[derive(Debug)]
pub(crate) struct Marks {
    bits: [Vec<AtomicU64>; 2],
}

impl Marks {
    /// True for whoever marks it first.
    pub(crate) fn mark(&self, kind: BlobKind, number: usize) -> bool {
        let bit = 1 << (number % 64);
        let word = of(&self.bits, kind).get(number / 64);
        word.is_some_and(|word| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }

    pub(crate) fn clear(&self, kind: BlobKind, number: usize) {
        if let Some(word) = of(&self.bits, kind).get(number / 64) {
            word.fetch_and(!(1 << (number % 64)), Ordering::Relaxed);
        }
    }

    pub(crate) fn has(&self, kind: BlobKind, number: usize) -> bool {
        let word = of(&self.bits, kind).get(number / 64);
        word.is_some_and(|word| word.load(Ordering::Relaxed) & (1 << (number % 64)) != 0)
    }

    /// The lowest number that is marked.
    pub(crate) fn first(&self, kind: BlobKind) -> Option<usize> {
        let words = of(&self.bits, kind);
        let at = words.iter().position(|word| word.load(Ordering::Relaxed) != 0)?;
        let word = words.get(at)?.load(Ordering::Relaxed);
        Some(at * 64 + word.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> Digest {
        let mut id = [7; 32];
        id[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
        id[28..].copy_from_slice(&n.to_be_bytes());
        Digest(id)
    }

    fn blob(n: u32, offset: u32) -> PackedBlob {
        // Every hundredth is too long for a record.
        let length = if n.is_multiple_of(100) { 1 << 25 } else { n + 1 };
        PackedBlob { id: id(n), kind: BlobKind::Data, offset, length, plain_length: None }
    }

    #[test]
    fn every_blob_has_a_number_of_its_own_that_leads_back_to_it() {
        let mut index = Index::default();
        for n in 0..10_000 {
            index.add(id(n / 50 + 20_000), &[blob(n, n)]);
        }
        index.add(id(50_000), &[blob(5, 1)]);
        index.distrust(BlobKind::Data, &id(77));
        let index = Numbered::new(index);
        let marks = index.marks();
        for n in (0..10_000).filter(|n| *n != 77) {
            let number = index.number(BlobKind::Data, &id(n)).unwrap();
            assert!(marks.mark(BlobKind::Data, number), "two have the number {number}");
            assert!(!marks.mark(BlobKind::Data, number) && marks.has(BlobKind::Data, number));
            let found = index.numbered(BlobKind::Data, number).unwrap();
            assert_eq!(found.blob, blob(n, n));
            assert_eq!(index.location(&found).unwrap().pack, id(n / 50 + 20_000));
        }
        assert_eq!(index.number(BlobKind::Data, &id(77)), None);
        let each: Vec<_> = index.each(BlobKind::Data).collect();
        assert_eq!(each.len(), 9_999);
        for (number, at) in each {
            assert_eq!(index.number(BlobKind::Data, &at.blob.id), Some(number));
            assert_eq!(index.numbered(BlobKind::Data, number), Some(at));
            marks.clear(BlobKind::Data, number);
            assert!(!marks.has(BlobKind::Data, number));
        }
        assert_eq!(marks.first(BlobKind::Data), None);
        marks.mark(BlobKind::Data, 130);
        assert_eq!(marks.first(BlobKind::Data), Some(130));
        let [(_, repeated, places)] = &index.repeated().collect::<Vec<_>>()[..] else { panic!() };
        assert_eq!((*repeated, places.len(), index.further().count()), (id(5), 2, 1));
    }
}
