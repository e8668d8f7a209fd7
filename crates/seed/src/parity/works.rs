//! From extents of data drives to extents of parity drives. Several threads make a stripe each, and hand them on in
//! order. Reads and writes nothing.
//!
//! ```text
//!  a thread of each data drive: extents, hashed ─▶ stripe n, stripe n + 1 … ─▶ Reed-Solomon, hashed
//!                                                     ─▶ in turn ─▶ a thread of each parity drive
//! ```
//!
//! Who gives takes an empty buffer first, and so does who hands on: what is slowest holds up the others, and memory is
//! [`AHEAD`] extents of each drive, and a stripe for each thread.

use super::stripe::{Encoder, Made, SHARD, Shape};
use crate::Error;
use crate::extent::ExtentHash;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Extents of a drive that are on their way. What drives do not do at the same moment, as syncing, they may be apart.
const AHEAD: usize = 16;
/// Threads that encode, at most: one does more than 2 GB of data in a second.
const THREADS: usize = 4;

/// What stands in the place of the hash of an extent behind the end of a stream.
pub(super) const NO_HASH: ExtentHash = [0; 32];

/// An extent's bytes.
type Buffer = Box<[u8]>;

/// An extent on its way.
pub(super) struct Extent {
    pub(super) bytes: Buffer,
    pub(super) hash: ExtentHash,
}

/// For whoever gives the extents of a data drive.
pub(crate) struct Giver {
    sender: Sender<Result<Extent, Error>>,
    empty: Receiver<Buffer>,
}

impl Giver {
    /// A buffer for the next extent. None once nobody wants it.
    pub(super) fn empty(&self) -> Option<Buffer> {
        self.empty.recv().ok()
    }

    /// False once nobody wants it.
    pub(super) fn give(&self, extent: Extent) -> bool {
        self.sender.send(Ok(extent)).is_ok()
    }

    /// There are no more, and all ends.
    pub(super) fn fail(&self, error: Error) {
        // Nobody listens where all has ended.
        let _ = self.sender.send(Err(error));
    }
}

/// What one data drive gives: an extent of every stripe up to the end of its stream.
pub(super) struct Inlet {
    extents: u64,
    given: Receiver<Result<Extent, Error>>,
    give_back: Sender<Buffer>,
}

impl Inlet {
    /// Of a stream with so many extents.
    pub(super) fn new(extents: u64) -> (Giver, Self) {
        let ((sender, given), (give_back, empty)) = (channel(), pool());
        (Giver { sender, empty }, Self { extents, given, give_back })
    }
}

fn pool() -> (Sender<Buffer>, Receiver<Buffer>) {
    let (give_back, empty) = channel();
    for _ in 0..AHEAD {
        let _ = give_back.send(vec![0; SHARD].into_boxed_slice());
    }
    (give_back, empty)
}

/// An extent of parity, with the hashes of the extents that it is made of, in the order of their drives.
pub(super) struct Parity {
    pub(super) extent: Extent,
    pub(super) of: Arc<[ExtentHash]>,
}

/// For whoever takes the parity of one drive. There is no more of it once nothing is given.
pub(crate) struct Taker {
    given: Receiver<Parity>,
    give_back: Sender<Buffer>,
}

impl Taker {
    pub(super) fn next(&self) -> Option<Parity> {
        self.given.recv().ok()
    }

    pub(super) fn give_back(&self, parity: Parity) {
        // Nobody waits for it in the end.
        let _ = self.give_back.send(parity.extent.bytes);
    }
}

/// Where the parity of one drive goes.
pub(super) struct Outlet {
    index: usize,
    first: u64,
    sender: Sender<Parity>,
    empty: Receiver<Buffer>,
}

impl Outlet {
    /// The parity with that index, from the stripe `first` on.
    pub(super) fn new(index: usize, first: u64) -> (Taker, Self) {
        let ((sender, given), (give_back, empty)) = (channel(), pool());
        (Taker { given, give_back }, Self { index, first, sender, empty })
    }

    /// False once nobody takes it.
    fn put(&self, made: &Made<'_>, hash: ExtentHash, of: &Arc<[ExtentHash]>) -> bool {
        let Some(from) = made.extent(self.index) else { return false };
        let Ok(mut bytes) = self.empty.recv() else { return false };
        bytes.copy_from_slice(from);
        let parity = Parity { extent: Extent { bytes, hash }, of: Arc::clone(of) };
        self.sender.send(parity).is_ok()
    }
}

struct Inlets {
    each: Vec<Inlet>,
    next: u64,
    end: u64,
}

struct Outlets {
    each: Vec<Option<Outlet>>,
    /// The stripe that is handed on next, and the first one that is not.
    turn: u64,
    end: u64,
    error: Option<Error>,
}

/// The stripes of a set.
pub(crate) struct Works {
    shape: Shape,
    inlets: Mutex<Inlets>,
    outlets: Mutex<Outlets>,
    turns: Condvar,
}

/// Data extents of one stripe, each with where its buffer goes. None behind the end of a stream.
type Stripe = Vec<Option<(Extent, Sender<Buffer>)>>;

impl Works {
    pub(super) fn new(
        shape: Shape,
        inlets: Vec<Inlet>,
        outlets: Vec<Outlet>,
        stripes: Range<u64>,
    ) -> Self {
        let inlets = Inlets { each: inlets, next: stripes.start, end: stripes.end };
        let each = outlets.into_iter().map(Some).collect();
        let outlets = Outlets { each, turn: stripes.start, end: stripes.end, error: None };
        let works = Self {
            shape,
            inlets: Mutex::new(inlets),
            outlets: Mutex::new(outlets),
            turns: Condvar::new(),
        };
        works.end_at(stripes.end);
        works
    }

    /// How many threads should [`run`](Self::run).
    pub(super) fn threads() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from).min(THREADS)
    }

    /// Makes stripes until there are no more, or nobody takes them.
    pub(super) fn run(&self) {
        let _leaving = Leaving(self);
        if let Err(error) = self.make() {
            self.outlets().error.get_or_insert(error);
            self.end_at(0);
        }
    }

    /// What has ended it early, if anything has.
    pub(crate) fn into_error(self) -> Option<Error> {
        self.outlets.into_inner().unwrap_or_else(PoisonError::into_inner).error
    }

    fn inlets(&self) -> MutexGuard<'_, Inlets> {
        self.inlets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outlets(&self) -> MutexGuard<'_, Outlets> {
        self.outlets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No stripe from that one on is handed on; those before are. Who gives or takes hears of it.
    fn end_at(&self, number: u64) {
        let mut outlets = self.outlets();
        outlets.end = outlets.end.min(number);
        let over = outlets.turn >= outlets.end;
        if over {
            outlets.each.clear();
        }
        drop(outlets);
        self.turns.notify_all();
        if over {
            let mut inlets = self.inlets();
            inlets.end = 0;
            inlets.each.clear();
        }
    }

    fn make(&self) -> Result<(), Error> {
        let mut encoder = Encoder::new(self.shape)?;
        let zeros = vec![0; SHARD];
        let wanted: Vec<usize> =
            self.outlets().each.iter().flatten().map(|outlet| outlet.index).collect();
        while let Some((number, stripe)) = self.next()? {
            let bytes = stripe.iter().map(|given| match given {
                Some((extent, _)) => extent.bytes.as_ref(),
                None => zeros.as_slice(),
            });
            let made = encoder.encode(bytes)?;
            let hash = |given: &Option<(Extent, _)>| given.as_ref().map_or(NO_HASH, |it| it.0.hash);
            let of: Arc<[ExtentHash]> = stripe.iter().map(hash).collect();
            for (extent, home) in stripe.into_iter().flatten() {
                // Whoever has given all wants nothing back.
                let _ = home.send(extent.bytes);
            }
            let hash = |index: &usize| {
                let hash = blake3::hash(made.extent(*index).unwrap_or_default());
                (*index, hash.into())
            };
            let hashes: Vec<(usize, ExtentHash)> = wanted.iter().map(hash).collect();
            if !self.hand_on(number, &made, &hashes, &of) {
                break;
            }
        }
        Ok(())
    }

    /// The next stripe, once all of it was given.
    fn next(&self) -> Result<Option<(u64, Stripe)>, Error> {
        let mut inlets = self.inlets();
        let number = inlets.next;
        if number >= inlets.end {
            return Ok(None);
        }
        let mut stripe = Stripe::new();
        for inlet in &inlets.each {
            if number >= inlet.extents {
                stripe.push(None);
                continue;
            }
            match inlet.given.recv() {
                Ok(given) => stripe.push(Some((given?, inlet.give_back.clone()))),
                // Its stream has ended early: what comes instead is another one.
                Err(_) => {
                    inlets.end = number;
                    drop(inlets);
                    self.end_at(number);
                    return Ok(None);
                }
            }
        }
        inlets.next += 1;
        Ok(Some((number, stripe)))
    }

    /// Waits for the stripe's turn. False where it has none any more.
    fn hand_on(
        &self,
        number: u64,
        made: &Made<'_>,
        hashes: &[(usize, ExtentHash)],
        of: &Arc<[ExtentHash]>,
    ) -> bool {
        let mut outlets = self.outlets();
        while outlets.turn != number {
            if outlets.end <= number {
                return false;
            }
            outlets = self.turns.wait(outlets).unwrap_or_else(PoisonError::into_inner);
        }
        if outlets.end <= number {
            return false;
        }
        for place in &mut outlets.each {
            let Some(outlet) = place.as_ref().filter(|outlet| outlet.first <= number) else {
                continue;
            };
            let hash = hashes.iter().find(|(index, _)| *index == outlet.index);
            if !hash.is_some_and(|(_, hash)| outlet.put(made, *hash, of)) {
                *place = None;
            }
        }
        outlets.turn += 1;
        let (turn, end) = (outlets.turn, outlets.end);
        let unwanted = outlets.each.iter().all(Option::is_none);
        drop(outlets);
        self.turns.notify_all();
        if unwanted || turn >= end {
            self.end_at(if unwanted { 0 } else { end });
            return false;
        }
        true
    }
}

/// A thread that panics leaves nobody waiting for its stripe.
struct Leaving<'w>(&'w Works);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end_at(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::noise;
    use proptest::prelude::*;

    /// Streams of so many extents, through works with that many threads; what each outlet got, until it takes no more.
    fn through(
        lengths: &[u64],
        (parity, first): (usize, u64),
        given: &[u64],
        taken: &[usize],
    ) -> Vec<Vec<(ExtentHash, Vec<ExtentHash>)>> {
        let stripes = lengths.iter().copied().max().unwrap_or(0);
        let (givers, inlets): (Vec<_>, Vec<_>) =
            lengths.iter().map(|extents| Inlet::new(*extents)).unzip();
        let (takers, outlets): (Vec<_>, Vec<_>) =
            (0..parity).map(|index| Outlet::new(index, first)).unzip();
        let shape = Shape { data: lengths.len(), parity };
        let works = Works::new(shape, inlets, outlets, first..stripes);
        std::thread::scope(|scope| {
            for ((giver, drive), given) in givers.into_iter().zip(1..).zip(given) {
                scope.spawn(move || {
                    for number in first..*given {
                        let Some(mut bytes) = giver.empty() else { return };
                        bytes.copy_from_slice(&extent(drive, number));
                        let hash = blake3::hash(&bytes).into();
                        giver.give(Extent { bytes, hash });
                    }
                });
            }
            for _ in 0..3 {
                scope.spawn(|| works.run());
            }
            let takers = takers.into_iter().zip(taken).map(|(taker, most)| {
                scope.spawn(move || {
                    let mut all = Vec::new();
                    while all.len() < *most {
                        let Some(parity) = taker.next() else { break };
                        assert_eq!(blake3::hash(&parity.extent.bytes), parity.extent.hash);
                        all.push((parity.extent.hash, parity.of.to_vec()));
                        taker.give_back(parity);
                    }
                    all
                })
            });
            let takers: Vec<_> = takers.collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).collect()
        })
    }

    fn extent(drive: u64, number: u64) -> Vec<u8> {
        noise(drive * 1000 + number, SHARD)
    }

    /// One stripe after the other.
    fn slowly(
        lengths: &[u64],
        parity: usize,
        first: u64,
    ) -> Vec<Vec<(ExtentHash, Vec<ExtentHash>)>> {
        let mut encoder = Encoder::new(Shape { data: lengths.len(), parity }).unwrap();
        let mut all = vec![Vec::new(); parity];
        for number in first..lengths.iter().copied().max().unwrap_or(0) {
            let stripe: Vec<Vec<u8>> = (1..)
                .zip(lengths)
                .map(|(drive, length)| match number < *length {
                    true => extent(drive, number),
                    false => vec![0; SHARD],
                })
                .collect();
            let of: Vec<ExtentHash> = stripe
                .iter()
                .zip(lengths)
                .map(|(extent, length)| match number < *length {
                    true => blake3::hash(extent).into(),
                    false => NO_HASH,
                })
                .collect();
            let made = encoder.encode(stripe.iter().map(Vec::as_slice)).unwrap();
            for (index, all) in all.iter_mut().enumerate() {
                all.push((blake3::hash(made.extent(index).unwrap()).into(), of.clone()));
            }
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn stripes_come_out_in_order_however_many_threads_make_them(
            lengths in prop::collection::vec(0_u64..30, 1..5),
            parity in 1_usize..3,
            first in 0_u64..4,
        ) {
            let all = vec![usize::MAX; parity];
            let made = through(&lengths, (parity, first), &lengths, &all);
            prop_assert_eq!(made, slowly(&lengths, parity, first));
        }

        #[test]
        fn a_stream_that_ends_early_and_a_drive_that_takes_no_more_end_nobody_else_wrongly(
            lengths in prop::collection::vec(1_u64..40, 2..5),
            early in any::<prop::sample::Index>(),
            at in any::<prop::sample::Index>(),
            taken in 0_usize..40,
        ) {
            let mut given = lengths.clone();
            let early = early.index(given.len());
            given[early] = at.index(usize::try_from(given[early]).unwrap()) as u64;
            let expected = slowly(&lengths, 2, 0);
            let made = through(&lengths, (2, 0), &given, &[taken, usize::MAX]);
            let whole = usize::try_from(given[early]).unwrap();
            prop_assert_eq!(&made[1], &expected[1][..whole]);
            prop_assert_eq!(&made[0], &expected[0][..whole.min(taken)]);
        }
    }

    #[test]
    fn a_stream_that_fails_ends_everything_with_its_error() {
        let (giver, inlet) = Inlet::new(100);
        let (other, second) = Inlet::new(100);
        let (taker, outlet) = Outlet::new(0, 0);
        let works =
            Works::new(Shape { data: 2, parity: 1 }, vec![inlet, second], vec![outlet], 0..100);
        std::thread::scope(|scope| {
            scope.spawn(move || giver.fail(Error::Interrupted));
            scope.spawn(move || {
                while let Some(bytes) = other.empty() {
                    other.give(Extent { bytes, hash: NO_HASH });
                }
            });
            (0..2).for_each(|_| drop(scope.spawn(|| works.run())));
            assert!(taker.next().is_none());
        });
        assert!(matches!(works.into_error(), Some(Error::Interrupted)));
    }
}
