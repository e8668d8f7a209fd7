//! One sorted array of blobs: 43 bytes each, in one piece of memory. Removes nothing.
//!
//! ```text
//! starts:   one position for each value of an id's first two bytes, and the end
//! record:   id without these two bytes (30) ‖ pack (3) ‖ offset (4) ‖ length (3) ‖ plain length (3)
//! ```
//! Ids are hashes, so the first two bytes lead to a 65,536th of the array, and a binary search there
//! to the record: some eight steps, in neighbouring memory, with ten million blobs.

use model::Digest;
use std::cmp::Ordering;

/// Where a blob is: the pack by its number, and the place in it. A plain length of 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pack: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
    pub(super) plain_length: u32,
}

/// What a record says of its blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// Where it is.
    Here(Place),
    /// That its place is too large for a record, and kept elsewhere.
    Wide,
    /// Nothing any more.
    Gone,
}

const TAIL: usize = 30;
const BUCKETS: usize = 1 << 16;
/// The largest number of three bytes.
const NARROW: u32 = (1 << 24) - 1;
/// Packs of these numbers there are none: what stands there instead.
const WIDE: u32 = NARROW;
const GONE: u32 = NARROW - 1;

type Tail = [u8; TAIL];

#[derive(Debug, Clone, Copy)]
struct Record {
    tail: Tail,
    place: [u8; 13],
}

/// An id with what is said of it, as it goes into a run.
pub(super) type Entry = (Digest, Said);

fn split(id: &Digest) -> (u16, Tail) {
    let [a, b, tail @ ..] = id.0;
    (u16::from_be_bytes([a, b]), tail)
}

fn join(bucket: u16, tail: &Tail) -> Digest {
    let mut id = [0; 32];
    let (front, back) = id.split_at_mut(2);
    front.copy_from_slice(&bucket.to_be_bytes());
    back.copy_from_slice(tail);
    Digest(id)
}

impl Place {
    /// Whether it fits into a record.
    pub(super) fn said(self) -> Said {
        let narrow = self.pack < GONE && self.length <= NARROW && self.plain_length <= NARROW;
        if narrow { Said::Here(self) } else { Said::Wide }
    }
}

fn encode(said: Said) -> [u8; 13] {
    let none = Place { pack: 0, offset: 0, length: 0, plain_length: 0 };
    let place = match said {
        Said::Here(place) => place,
        Said::Wide => Place { pack: WIDE, ..none },
        Said::Gone => Place { pack: GONE, ..none },
    };
    let [_, a, b, c] = place.pack.to_be_bytes();
    let [d, e, f, g] = place.offset.to_be_bytes();
    let [_, h, i, j] = place.length.to_be_bytes();
    let [_, k, l, m] = place.plain_length.to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m]
}

fn decode(place: [u8; 13]) -> Said {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m] = place;
    match u32::from_be_bytes([0, a, b, c]) {
        WIDE => Said::Wide,
        GONE => Said::Gone,
        pack => Said::Here(Place {
            pack,
            offset: u32::from_be_bytes([d, e, f, g]),
            length: u32::from_be_bytes([0, h, i, j]),
            plain_length: u32::from_be_bytes([0, k, l, m]),
        }),
    }
}

/// By the first eight bytes, which nearly always tell: in registers, where all thirty take a call.
fn order(a: &Tail, b: &Tail) -> Ordering {
    let front = |tail: &Tail| tail.first_chunk().map_or(0, |front| u64::from_be_bytes(*front));
    front(a).cmp(&front(b)).then_with(|| a.cmp(b))
}

/// Which of a bucket's records is the first that does not come before an id, from its tail.
fn position(records: &[Record], tail: &Tail) -> usize {
    let (low, high) = around(records, tail);
    let near = records.get(low..high).unwrap_or_default();
    low + near.partition_point(|record| order(&record.tail, tail).is_lt())
}

/// Between which of a bucket's records an id must be. Ids are hashes: so far into their range, so far
/// into the bucket, give or take a few; memory is looked at there, and not all over the bucket.
fn around(records: &[Record], tail: &Tail) -> (usize, usize) {
    let [a, b, ..] = *tail;
    let guess = (usize::from(u16::from_be_bytes([a, b])) * records.len()) >> 16;
    let is_before =
        |at: usize| records.get(at).is_some_and(|record| order(&record.tail, tail).is_lt());
    let mut step = 4;
    if is_before(guess) {
        let mut low = guess;
        while is_before(low + step) {
            (low, step) = (low + step, step * 2);
        }
        return (low, records.len().min(low + step + 1));
    }
    let mut high = guess;
    while high > 0 && !is_before(high.saturating_sub(step)) {
        (high, step) = (high.saturating_sub(step), step * 2);
    }
    (high.saturating_sub(step), records.len().min(high + 1))
}

/// A sorted array. No id is there twice.
#[derive(Debug)]
pub(super) struct Run {
    starts: Vec<u32>,
    records: Vec<Record>,
}

impl Run {
    pub(super) fn new() -> Self {
        Self { starts: vec![0; BUCKETS + 1], records: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Room that costs nothing before it is written to. Without it, a run grows as well.
    pub(super) fn expect(&mut self, most: usize) {
        let _ = self.records.try_reserve_exact(most);
    }

    pub(super) fn trim(&mut self) {
        self.records.shrink_to_fit();
    }

    fn range(&self, bucket: u16) -> (usize, usize) {
        let at = |at: usize| self.starts.get(at).map_or(0, |start| *start as usize);
        (at(usize::from(bucket)), at(usize::from(bucket) + 1))
    }

    /// Where an id's record is.
    pub(super) fn find(&self, id: &Digest) -> Option<usize> {
        let (bucket, tail) = split(id);
        let (from, to) = self.range(bucket);
        let records = self.records.get(from..to)?;
        let at = position(records, &tail);
        records.get(at).is_some_and(|record| record.tail == tail).then_some(from + at)
    }

    pub(super) fn get(&self, at: usize) -> Said {
        self.records.get(at).map_or(Said::Gone, |record| decode(record.place))
    }

    pub(super) fn set(&mut self, at: usize, said: Said) {
        if let Some(record) = self.records.get_mut(at) {
            record.place = encode(said);
        }
    }

    /// The id of a record.
    pub(super) fn id(&self, at: usize) -> Option<Digest> {
        let record = self.records.get(at)?;
        let bucket = self.starts.partition_point(|start| *start as usize <= at).checked_sub(1)?;
        Some(join(u16::try_from(bucket).ok()?, &record.tail))
    }

    /// Everything in it, ascending.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Entry> + Clone + '_ {
        (0..=u16::MAX).flat_map(|bucket| {
            let (from, to) = self.range(bucket);
            let records = self.records.get(from..to).unwrap_or_default();
            records.iter().map(move |record| (join(bucket, &record.tail), decode(record.place)))
        })
    }

    /// Lets `change` say anew what is said of each blob.
    pub(super) fn change(&mut self, mut change: impl FnMut(&Digest, Said) -> Said) {
        for bucket in 0..=u16::MAX {
            let (from, to) = self.range(bucket);
            for record in self.records.get_mut(from..to).unwrap_or_default() {
                let said = decode(record.place);
                let now = change(&join(bucket, &record.tail), said);
                if now != said {
                    record.place = encode(now);
                }
            }
        }
    }

    /// Takes in `fresh`: ascending, `count` of them, none known. In place and from the back, so
    /// that no second array is needed: only what is added takes room.
    pub(super) fn merge(
        &mut self,
        count: usize,
        fresh: impl DoubleEndedIterator<Item = Entry> + Clone,
    ) {
        let mut unmoved = self.records.len();
        let mut free = unmoved + count;
        self.records.reserve_exact(count);
        self.records.resize(free, Record { tail: [0; TAIL], place: [0; 13] });
        for (id, said) in fresh.clone().rev() {
            let (bucket, tail) = split(&id);
            let (from, to) = self.range(bucket);
            let before = self.records.get(from..to.min(unmoved)).unwrap_or_default();
            let at = from + position(before, &tail);
            // Larger buckets have moved already; what lies between belongs behind this one.
            let at = at.min(unmoved);
            free -= unmoved - at;
            self.records.copy_within(at..unmoved, free);
            unmoved = at;
            free -= 1;
            if let Some(record) = self.records.get_mut(free) {
                *record = Record { tail, place: encode(said) };
            }
        }
        self.count(fresh);
    }

    /// Moves the starts of all buckets behind what came into those before.
    fn count(&mut self, fresh: impl Iterator<Item = Entry>) {
        let mut fresh = fresh.map(|(id, _)| split(&id).0).peekable();
        let mut added = 0;
        for bucket in 0..=u16::MAX {
            while fresh.next_if_eq(&bucket).is_some() {
                added += 1;
            }
            if let Some(end) = self.starts.get_mut(usize::from(bucket) + 1) {
                *end += added;
            }
        }
    }
}
