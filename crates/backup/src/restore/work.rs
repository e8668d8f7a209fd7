//! The threads that read packs, each wanted part once, and hand every blob, verified, to all its
//! places.
//!
//! Memory of each: what is read in one go ([`STRETCH`](super::batch::STRETCH), or one longer blob),
//! and the longest blob.

use super::batch::{Batch, Piece};
use super::output::{Hand, Output};
use super::{Broken, Run, lock};
use crate::error::Error;
use crossbeam_channel::Receiver;
use model::ObjectKey;
use repo::{BlobKind, Opener};
use std::sync::{Arc, Mutex};

/// How many threads work: half as many more than are to be busy, as each waits for media at times.
pub(super) fn threads(busy: usize) -> usize {
    let busy = busy.max(1);
    busy + busy.div_ceil(2)
}

/// A length that is believed before the bytes are there: twice the longest chunk.
const BELIEVED: u64 = 16 << 20;

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
    opener: Opener,
    /// Stored bytes, of which each blob is decrypted in its place; never shorter than it once was.
    stored: Vec<u8>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(run: &'a Run<'a>, output: &'a Output<'a>, hand: Hand) -> Result<Self, Error> {
        let opener = run.repository.opener()?;
        let stored = vec![0; usize::try_from(super::batch::STRETCH).unwrap_or_default()];
        Ok(Self { run, output, hand, opener, stored })
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

    /// Neighbouring blobs of one pack.
    fn stretch(&mut self, batch: &Arc<Batch>, pieces: &[Piece]) -> Result<(), Error> {
        let (start, length) = self.read(batch, pieces)?;
        let mut rest = pieces;
        while let Some(piece) = rest.first() {
            let same = rest.iter().take_while(|other| other.same_blob(piece)).count();
            let (places, after) = rest.split_at(same);
            self.blob(batch, piece, places, (start, length))?;
            rest = after;
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

    /// A blob out of what was read; where it is not whole there, from whichever pack has it.
    fn blob(
        &mut self,
        batch: &Arc<Batch>,
        piece: &Piece,
        places: &[Piece],
        (start, length): (u64, usize),
    ) -> Result<(), Error> {
        let Some(at) = batch.location(piece) else { return Ok(()) };
        let read = self.stored.get_mut(..length).unwrap_or_default();
        let from = usize::try_from(piece.stored().start - start).unwrap_or(usize::MAX);
        let stored = read.get_mut(from..from.saturating_add(at.blob.length as usize));
        let loaded;
        let plain = match stored.map(|stored| self.opener.open_in_place(&at, stored)) {
            Some(Ok(plain)) => Ok(plain),
            _ => {
                let (index, id) = (self.run.index, piece.id());
                loaded = self.run.repository.load_blob(index, BlobKind::Data, id);
                match &loaded {
                    // Elsewhere its length may be told otherwise than where this file was planned.
                    Ok(plain) if plain.len() != at.blob.size() as usize => {
                        Err(format!("blob {id} has {} bytes, not as the index says", plain.len()))
                    }
                    Ok(plain) => Ok(plain.as_slice()),
                    Err(error) if super::reachable(error) => Err(error.to_string()),
                    Err(_) => return loaded.map(drop).map_err(Error::from),
                }
            }
        };
        for place in places {
            match &plain {
                Ok(plain) => self.output.put(&mut self.hand, batch, place, plain),
                Err(why) => {
                    let why = Broken::Damaged(why.clone());
                    self.output.give_up(&mut self.hand, batch, place.file, why);
                }
            }
            self.run.stopped()?;
        }
        Ok(())
    }
}
