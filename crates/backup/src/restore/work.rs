//! The threads that read packs, each wanted part once, and hand every blob, verified, to all its
//! places.
//!
//! Memory of each: what is read in one go ([`STRETCH`](super::batch::STRETCH), or one longer blob),
//! the longest blob, and a short one.

use super::batch::{Batch, Piece};
use super::output::{Hand, Output};
use super::{Broken, Run, lock};
use crate::error::Error;
use crossbeam_channel::Receiver;
use model::ObjectKey;
use repo::{BlobKind, Opener};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// How many threads work: half as many more than are to be busy, as each waits for media at times.
pub(super) fn threads(busy: usize) -> usize {
    let busy = busy.max(1);
    busy + busy.div_ceil(2)
}

/// A length that is believed before the bytes are there: twice the longest chunk.
const BELIEVED: u64 = 16 << 20;

/// What may be opened beside another blob: nearly all are no longer, and the room is taken twice.
const SHORT: u32 = 4 << 20;

/// What is to be read, for all threads to take from.
pub(super) struct Tasks {
    batches: Receiver<Arc<Batch>>,
    current: Mutex<Option<(Arc<Batch>, usize)>>,
}

impl Tasks {
    pub(super) fn new(batches: Receiver<Arc<Batch>>) -> Self {
        Self { batches, current: Mutex::default() }
    }

    /// The next stretch of a batch; waits for one.
    fn next(&self) -> Option<(Arc<Batch>, usize)> {
        let mut current = lock(&self.current);
        loop {
            if let Some((batch, next)) = &mut *current
                && batch.stretch(*next).is_some()
            {
                *next += 1;
                return Some((Arc::clone(batch), *next - 1));
            }
            // The others wait for the same, at the lock.
            *current = Some((self.batches.recv().ok()?, 0));
        }
    }
}

pub(super) struct Worker<'a> {
    run: &'a Run<'a>,
    output: &'a Output<'a>,
    hand: Hand,
    /// For two blobs at a time.
    openers: [Opener; 2],
    /// Stored bytes, of which each blob is decrypted in its place; never shorter than it once was.
    stored: Vec<u8>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(run: &'a Run<'a>, output: &'a Output<'a>, hand: Hand) -> Result<Self, Error> {
        let openers = [run.repository.opener()?, run.repository.opener()?];
        let stored = vec![0; usize::try_from(super::batch::STRETCH).unwrap_or_default()];
        Ok(Self { run, output, hand, openers, stored })
    }

    /// Works until nothing is left. After a failure it takes what comes, and does nothing with it.
    pub(super) fn work(mut self, tasks: &Tasks) {
        while let Some((batch, number)) = tasks.next() {
            let Some(pieces) = batch.stretch(number) else { continue };
            let done = self.run.stopped().and_then(|()| self.stretch(&batch, pieces));
            if let Err(error) = done {
                self.run.fail(error);
            }
        }
    }

    /// Neighbouring blobs of one pack. Two at a time, and those of nearly the same length: what one has more than the other
    /// is hashed alone.
    fn stretch(&mut self, batch: &Arc<Batch>, pieces: &[Piece]) -> Result<(), Error> {
        let read = self.read(batch, pieces)?;
        let size = |places: &&[Piece]| places.first().map_or(0, Piece::size);
        let mut blobs: Vec<&[Piece]> = pieces.chunk_by(Piece::same_blob).collect();
        blobs.sort_by_key(|places| std::cmp::Reverse(size(places)));
        let mut blobs = blobs.into_iter().peekable();
        let is_short = |places: &&[Piece]| size(places) <= SHORT;
        while let Some(blob) = blobs.next() {
            match blobs.next_if(is_short) {
                Some(next) => self.two_blobs(batch, [blob, next], read)?,
                None => self.blob(batch, blob, read)?,
            }
        }
        Ok(())
    }

    /// Reads them. Answers where in the pack the bytes begin, and how many there are: none when they
    /// are to be had one by one.
    fn read(&mut self, batch: &Batch, pieces: &[Piece]) -> Result<(u64, usize), Error> {
        let start = pieces.first().map_or(0, |piece| piece.stored().start);
        let end = pieces.iter().map(|piece| piece.stored().end).max().unwrap_or(start);
        let length = usize::try_from(end - start).unwrap_or(usize::MAX);
        let pack = pieces.first().and_then(|piece| batch.pack(piece));
        // One blob alone may claim any length; reading it through the repository checks the claim.
        let Some(pack) = pack.filter(|_| end - start <= BELIEVED) else {
            return Ok((start, 0));
        };
        if let Some(more) = length.checked_sub(self.stored.len()) {
            self.stored.reserve_exact(more);
            self.stored.resize(length, 0);
        }
        let bytes = self.stored.get_mut(..length).unwrap_or_default();
        match self.run.repository.store().read_at(&ObjectKey::Pack(pack), start, bytes) {
            Ok(()) => Ok((start, length)),
            Err(error) => {
                let error = repo::Error::from(error);
                // Cut short, perhaps: what is before the cut can still be had, blob by blob.
                if super::reachable(&error) { Ok((start, 0)) } else { Err(error.into()) }
            }
        }
    }

    /// Two blobs out of what was read, which takes less time than one after the other.
    fn two_blobs(
        &mut self,
        batch: &Arc<Batch>,
        [one, other]: [&[Piece]; 2],
        read: (u64, usize),
    ) -> Result<(), Error> {
        let place = |places: &[Piece]| {
            let piece = places.first()?;
            Some((batch.location(piece)?, stored(piece, read)))
        };
        let (Some((at, range)), Some((others_at, others_range))) = (place(one), place(other))
        else {
            return Ok(());
        };
        let bytes = self.stored.get_mut(..read.1).unwrap_or_default();
        // A damaged index may have them lie on each other.
        let Ok([bytes, others]) = bytes.get_disjoint_mut([range, others_range]) else {
            self.blob(batch, one, read)?;
            return self.blob(batch, other, read);
        };
        let opened =
            Opener::open_both_in_place(&mut self.openers, [&at, &others_at], [bytes, others]);
        for (places, opened) in [one, other].into_iter().zip(opened) {
            give(self.run, self.output, &mut self.hand, batch, places, opened.ok())?;
        }
        Ok(())
    }

    /// A blob out of what was read.
    fn blob(
        &mut self,
        batch: &Arc<Batch>,
        places: &[Piece],
        read: (u64, usize),
    ) -> Result<(), Error> {
        let Some(piece) = places.first() else { return Ok(()) };
        let Some(at) = batch.location(piece) else { return Ok(()) };
        let bytes = self.stored.get_mut(..read.1).unwrap_or_default();
        let bytes = bytes.get_mut(stored(piece, read));
        let [opener, _] = &mut self.openers;
        let opened = bytes.and_then(|bytes| opener.open_in_place(&at, bytes).ok());
        give(self.run, self.output, &mut self.hand, batch, places, opened)
    }
}

/// Where a piece's stored bytes are in what was read: where it begins in the pack, and its length.
fn stored(piece: &Piece, (start, _): (u64, usize)) -> Range<usize> {
    let Range { start: from, end } = piece.stored();
    let at = |place: u64| usize::try_from(place - start).unwrap_or(usize::MAX);
    at(from)..at(end)
}

/// Gives a blob to all its places; one that was not whole where it was read, from whichever pack has
/// it.
fn give(
    run: &Run<'_>,
    output: &Output<'_>,
    hand: &mut Hand,
    batch: &Arc<Batch>,
    places: &[Piece],
    opened: Option<&[u8]>,
) -> Result<(), Error> {
    let Some(piece) = places.first() else { return Ok(()) };
    let loaded;
    let plain = if let Some(plain) = opened {
        Ok(plain)
    } else {
        let Some(at) = batch.location(piece) else { return Ok(()) };
        let id = piece.id();
        loaded = run.repository.load_blob(run.index, BlobKind::Data, id);
        match &loaded {
            // Elsewhere its length may be told otherwise than where this file was planned.
            Ok(plain) if plain.len() != at.blob.size() as usize => {
                Err(format!("blob {id} has {} bytes, not as the index says", plain.len()))
            }
            Ok(plain) => Ok(plain.as_slice()),
            Err(error) if super::reachable(error) => Err(error.to_string()),
            Err(_) => return loaded.map(drop).map_err(Error::from),
        }
    };
    for place in places {
        match &plain {
            Ok(plain) => output.put(hand, batch, place, plain),
            Err(why) => output.give_up(hand, batch, place.file, Broken::Damaged(why.clone())),
        }
        run.stopped()?;
    }
    Ok(())
}
