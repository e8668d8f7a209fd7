//! Every pack read once, from its first byte to its last. Keeps none of them in memory.
//!
//! A pack's header says what it holds and is read first. Then the pack's bytes stream through a
//! window: hashed as they arrive, and each blob opened as soon as it is there whole.
//!
//! Memory of a thread: the window, and a few times the longest blob; how long packs are is no matter.

use super::{CheckEvent, Finding, Run};
use crate::Error;
use crate::blob::Opener;
use crate::index::Location;
use crate::pack::{self, PackedBlob};
use model::{Digest, ObjectKey};
use sha256::Hasher;
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// What is read at once, of blobs that are shorter: stays in a core's cache until they were opened.
/// Longer ones are read as they are, so that none of their bytes has to move to be in one piece.
const WINDOW: usize = 256 << 10;

/// What one thread uses again for each pack.
struct Reader {
    opener: Opener,
    window: Vec<u8>,
}

impl Run<'_> {
    pub(super) fn read_packs(
        &self,
        lengths: &HashMap<Digest, u64>,
        threads: usize,
    ) -> Result<(), Error> {
        let mut packs: Vec<(Digest, u64)> =
            lengths.iter().map(|(id, length)| (*id, *length)).collect();
        packs.sort_unstable();
        let bytes = packs.iter().map(|(_, length)| length).sum();
        (self.events)(CheckEvent::Reading { packs: packs.len(), bytes });
        let next = AtomicUsize::new(0);
        let stop = Mutex::new(None);
        let reader = |_| Ok(Reader { opener: self.repository.opener()?, window: Vec::new() });
        let readers = (0..threads).map(reader).collect::<Result<Vec<_>, Error>>()?;
        std::thread::scope(|scope| {
            for mut reader in readers {
                let (packs, next, stop) = (&packs, &next, &stop);
                scope.spawn(move || {
                    while let Some((pack, length)) = packs.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        if let Err(fault) = self.read_pack(*pack, *length, &mut reader) {
                            *stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
                            next.store(packs.len(), Ordering::Relaxed);
                        }
                        (self.events)(CheckEvent::PackRead { bytes: *length });
                    }
                });
            }
        });
        stop.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Err only when the store cannot be reached at all.
    fn read_pack(&self, pack: Digest, length: u64, reader: &mut Reader) -> Result<(), Error> {
        let key = ObjectKey::Pack(pack);
        let damaged = |what: String| self.found(Finding::Damaged(Error::Damaged { key, what }));
        let stream = match self.repository.store().open(&key) {
            // One byte more tells a pack that grew from one that did not.
            Ok(stream) => stream.take(length.saturating_add(1)),
            Err(store::Error::NotFound { .. }) => {
                self.found(Finding::PackMissing { pack });
                return Ok(());
            }
            Err(other) => return Err(other.into()),
        };
        let listed = self.listed_blobs(pack, length);
        let Reader { opener, window } = reader;
        let mut stream = Stream::new(stream, window);
        let mut broken = Vec::new();
        let blobs = listed.as_deref().unwrap_or_default();
        let read = open_blobs(&mut stream, blobs, opener, |blob, what| {
            broken.push(Finding::Damaged(Error::BlobDamaged { blob, pack, what }));
        });
        if let Err(fault) = read.and_then(|()| stream.drain()) {
            damaged(format!("it cannot be read ({fault})"));
            return Ok(());
        }
        {
            let mut report = self.report();
            report.packs_read += 1;
            report.bytes_read += stream.seen;
        }
        if Digest(stream.hasher.finalize()) != pack {
            damaged("its bytes do not hash to its name".to_owned());
        }
        match &listed {
            _ if stream.seen != length => {
                damaged(format!("{} of {length} bytes could be read", stream.seen));
            }
            Err(what) => damaged(what.clone()),
            Ok(blobs) => {
                broken.into_iter().for_each(|finding| self.found(finding));
                self.compare(pack, blobs);
            }
        }
        Ok(())
    }

    /// What a pack's header says. Where an index knows how long that is, it is read at once.
    fn listed_blobs(&self, pack: Digest, length: u64) -> Result<Vec<PackedBlob>, String> {
        let limit = u64::from(pack::HEADER_LIMIT) + 4;
        let known = self.index.summary(&pack).map_or(4, |summary| summary.header);
        let mut tail = self.tail(pack, length, known.clamp(4, limit))?;
        let last = *tail.last_chunk::<4>().ok_or("it is cut short")?;
        let (offset, header) = pack::header_place(length, last)?;
        if tail.len() < header + 4 {
            tail = self.tail(pack, length, header as u64 + 4)?;
        }
        let from = tail.len().checked_sub(header + 4).ok_or("it is cut short")?;
        tail.truncate(from + header);
        tail.drain(..from);
        pack::open_header(self.repository.key(), tail, offset)
    }

    /// The last `wanted` bytes of a pack, or as many as it has.
    fn tail(&self, pack: Digest, length: u64, wanted: u64) -> Result<Vec<u8>, String> {
        let wanted = wanted.min(length);
        let mut tail = vec![0; usize::try_from(wanted).map_err(|_| "it is too large")?];
        match self.repository.store().read_at(&ObjectKey::Pack(pack), length - wanted, &mut tail) {
            Ok(()) => Ok(tail),
            Err(fault) => Err(format!("it cannot be read ({fault})")),
        }
    }

    /// Whether header and index agree.
    fn compare(&self, pack: Digest, blobs: &[PackedBlob]) {
        let Some(summary) = self.index.summary(&pack) else { return };
        let indexed = |blob: &PackedBlob| {
            let here = |at: Location| at.pack == pack && at.blob == *blob;
            self.index.copies(blob.kind, &blob.id).any(here)
        };
        if summary.blobs as usize != blobs.len() || !blobs.iter().all(indexed) {
            self.found(Finding::PackHeader { pack });
        }
    }
}

/// Opens the blobs of a pack in their order, which has no gaps. Tells `broken` of those that do not.
fn open_blobs(
    stream: &mut Stream<'_>,
    blobs: &[PackedBlob],
    opener: &mut Opener,
    mut broken: impl FnMut(Digest, String),
) -> io::Result<()> {
    for blob in blobs {
        let (stored, hasher) = stream.next(blob.length as usize)?;
        let opened = opener.open_bytes_beside(stored, &blob.id, blob.plain_length, hasher);
        if let Err(what) = opened {
            broken(blob.id, what);
        }
    }
    Ok(())
}

/// A pack's bytes on their way through the window.
struct Stream<'a> {
    from: io::Take<Box<dyn Read + Send>>,
    window: &'a mut Vec<u8>,
    /// What of the window was read and not yet taken.
    taken: usize,
    filled: usize,
    /// Of what was taken.
    hasher: Hasher,
    seen: u64,
}

impl<'a> Stream<'a> {
    fn new(from: io::Take<Box<dyn Read + Send>>, window: &'a mut Vec<u8>) -> Self {
        Self { from, window, taken: 0, filled: 0, hasher: Hasher::default(), seen: 0 }
    }

    /// The next `count` bytes, none where there are fewer; and what is to take them in.
    fn next(&mut self, count: usize) -> io::Result<(&[u8], &mut Hasher)> {
        if self.filled - self.taken < count {
            self.window.copy_within(self.taken..self.filled, 0);
            self.filled -= self.taken;
            self.taken = 0;
            // `count` is at most what the store says the pack has.
            let room = WINDOW.max(count);
            if self.window.len() < room {
                self.window.resize(room, 0);
            }
            while self.filled < count && self.fill(room)? > 0 {}
        }
        let from = self.taken;
        if self.filled - from < count {
            return Ok((&[], &mut self.hasher));
        }
        self.taken += count;
        Ok((self.window.get(from..self.taken).unwrap_or_default(), &mut self.hasher))
    }

    /// Reads to the end.
    fn drain(&mut self) -> io::Result<()> {
        if self.window.len() < WINDOW {
            self.window.resize(WINDOW, 0);
        }
        loop {
            self.hasher.update(self.window.get(self.taken..self.filled).unwrap_or_default());
            (self.taken, self.filled) = (0, 0);
            if self.fill(WINDOW)? == 0 {
                return Ok(());
            }
        }
    }

    /// Reads once behind what the window holds, until it holds `end` bytes at most.
    fn fill(&mut self, end: usize) -> io::Result<usize> {
        let room = self.window.get_mut(self.filled..end).unwrap_or_default();
        let count = loop {
            match self.from.read(room) {
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if count > room.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.filled += count;
        self.seen += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::hash;
    use proptest::prelude::*;

    /// Yields bytes in portions of its own liking.
    struct Portions {
        bytes: Vec<u8>,
        at: usize,
        most: usize,
    }

    impl Read for Portions {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(self.most).min(self.bytes.len() - self.at);
            buffer[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
            self.at += count;
            Ok(count)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        // One window for several packs, as a thread has it.
        #[test]
        fn a_window_gives_out_every_byte_once_in_order_and_hashes_it(
            packs in prop::collection::vec((0..900_000usize, 1..400_000usize, any::<u64>()), 1..3),
            counts in prop::collection::vec(prop_oneof![0..5000usize, 0..600_000usize], 0..20),
        ) {
            let mut window = Vec::new();
            for (length, most, seed) in packs {
                let byte = |n: usize| (n as u64).wrapping_mul(seed).to_le_bytes()[2];
                let bytes: Vec<u8> = (0..length).map(byte).collect();
                let from = Box::new(Portions { bytes: bytes.clone(), at: 0, most });
                let from: Box<dyn Read + Send> = from;
                let mut stream = Stream::new(from.take(u64::MAX), &mut window);
                let mut at = 0;
                for count in &counts {
                    let expected = bytes.get(at..at + count).unwrap_or_default();
                    let (bytes, hasher) = stream.next(*count).unwrap();
                    prop_assert!(bytes == expected);
                    hasher.update(bytes);
                    at += bytes.len();
                }
                stream.drain().unwrap();
                prop_assert_eq!(stream.seen, length as u64);
                prop_assert_eq!(Digest(stream.hasher.finalize()), hash(&bytes));
            }
        }
    }
}
