//! The hashes of a drive's byte stream, one for each MiB. Reads and writes no files.
//!
//! An extent is what parity works in: the last one is hashed as if zeros filled it up, because
//! that is the shard that parity computes with.

use std::io;
use std::ops::Range;

/// Bytes in an extent.
pub const EXTENT: u64 = 1 << 20;

/// BLAKE3 of one extent.
pub(crate) type ExtentHash = [u8; 32];

/// Hashes a byte stream extent by extent.
#[derive(Debug, Default)]
pub(crate) struct Extents {
    hasher: blake3::Hasher,
    filled: u64,
}

impl Extents {
    /// Takes the next bytes and hands each hash that they complete to `done`.
    pub(crate) fn update(
        &mut self,
        mut bytes: &[u8],
        mut done: impl FnMut(ExtentHash) -> io::Result<()>,
    ) -> io::Result<()> {
        while !bytes.is_empty() {
            let wanted = usize::try_from(EXTENT - self.filled).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(wanted.min(bytes.len()));
            self.hasher.update(now);
            self.filled += now.len() as u64;
            bytes = later;
            if self.filled == EXTENT {
                done(self.take())?;
            }
        }
        Ok(())
    }

    /// The hash of the last extent, filled up with zeros; none when the stream ended on a border.
    pub(crate) fn finish(&mut self) -> Option<ExtentHash> {
        if self.filled == 0 {
            return None;
        }
        let zeros = [0; 4096];
        while self.filled < EXTENT {
            let wanted = usize::try_from(EXTENT - self.filled).unwrap_or(usize::MAX);
            let padding = zeros.get(..wanted).unwrap_or(&zeros);
            self.hasher.update(padding);
            self.filled += padding.len() as u64;
        }
        Some(self.take())
    }

    fn take(&mut self) -> ExtentHash {
        let hash = self.hasher.finalize().into();
        self.hasher.reset();
        self.filled = 0;
        hash
    }
}

/// Compares a byte stream, parts of which may be missing, with the hashes it should have.
#[derive(Debug)]
pub(crate) struct ExtentCheck<F> {
    /// Gives the hash of an extent by number.
    expected: F,
    extents: Extents,
    position: u64,
    /// Whether a part of the current extent is missing.
    torn: bool,
    damaged: Vec<Range<u64>>,
}

impl<F: FnMut(u64) -> io::Result<ExtentHash>> ExtentCheck<F> {
    pub(crate) fn new(expected: F) -> Self {
        Self {
            expected,
            extents: Extents::default(),
            position: 0,
            torn: false,
            damaged: Vec::new(),
        }
    }

    /// Takes the next bytes of the stream.
    pub(crate) fn update(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let wanted = usize::try_from(EXTENT - self.position % EXTENT).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(wanted.min(bytes.len()));
            let mut hash = None;
            self.extents.update(now, |complete| {
                hash = Some(complete);
                Ok(())
            })?;
            self.position += now.len() as u64;
            if self.position.is_multiple_of(EXTENT) {
                self.close(self.position / EXTENT - 1, hash)?;
            }
            bytes = later;
        }
        Ok(())
    }

    /// Goes past bytes that are not there. What lies in the extents they touch counts as damaged.
    pub(crate) fn skip(&mut self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let first = self.position / EXTENT;
        self.position = self.position.saturating_add(bytes);
        self.mark(first..self.position.div_ceil(EXTENT));
        self.torn = !self.position.is_multiple_of(EXTENT);
        // The hasher must be as far into its extent as the stream is.
        self.extents = Extents { filled: self.position % EXTENT, ..Extents::default() };
    }

    /// The numbers of the extents that are not as they should be, ascending.
    pub(crate) fn finish(mut self) -> io::Result<Vec<Range<u64>>> {
        if !self.position.is_multiple_of(EXTENT) {
            let hash = self.extents.finish();
            self.close(self.position / EXTENT, hash)?;
        }
        Ok(self.damaged)
    }

    fn close(&mut self, number: u64, hash: Option<ExtentHash>) -> io::Result<()> {
        if !std::mem::take(&mut self.torn) && hash != Some((self.expected)(number)?) {
            self.mark(number..number + 1);
        }
        Ok(())
    }

    fn mark(&mut self, range: Range<u64>) {
        match self.damaged.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => self.damaged.push(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The obvious way: the whole stream, filled up, in slices.
    fn slowly(stream: &[u8]) -> Vec<ExtentHash> {
        let mut stream = stream.to_vec();
        stream.resize(stream.len().next_multiple_of(1 << 20), 0);
        stream.chunks(1 << 20).map(|extent| blake3::hash(extent).into()).collect()
    }

    fn quickly(stream: &[u8], step: usize) -> Vec<ExtentHash> {
        let mut extents = Extents::default();
        let mut hashes = Vec::new();
        for piece in stream.chunks(step) {
            extents
                .update(piece, |hash| {
                    hashes.push(hash);
                    Ok(())
                })
                .unwrap();
        }
        hashes.extend(extents.finish());
        hashes
    }

    fn stream(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 31 / 7).to_le_bytes()[0]).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn extents_do_not_depend_on_how_the_stream_comes(length in 0_usize..3 << 20, step in 1000_usize..2 << 20) {
            let stream = stream(length);
            prop_assert_eq!(quickly(&stream, step), slowly(&stream));
        }

        #[test]
        fn exactly_the_extents_with_a_changed_or_missing_byte_are_damaged(
            length in 1_usize..4 << 20,
            hole in 0_usize..4 << 20,
            hole_length in 0_usize..2 << 20,
            flipped in 0_usize..4 << 20,
        ) {
            let good = slowly(&stream(length));
            let hole = hole.min(length)..(hole + hole_length).min(length);
            let mut bad = stream(length);
            let mut wrong: Vec<u64> = hole.clone().map(|at| (at >> 20) as u64).collect();
            if flipped < length {
                bad[flipped] ^= 1;
                if !hole.contains(&flipped) {
                    wrong.push((flipped >> 20) as u64);
                }
            }
            wrong.sort_unstable();
            wrong.dedup();
            let mut check = ExtentCheck::new(|at| Ok(good[usize::try_from(at).unwrap()]));
            check.update(&bad[..hole.start.min(length)]).unwrap();
            check.skip(hole.len() as u64);
            check.update(&bad[hole.end.max(hole.start)..]).unwrap();
            let found: Vec<u64> = check.finish().unwrap().into_iter().flatten().collect();
            prop_assert_eq!(found, wrong);
        }
    }

    #[test]
    fn a_hole_of_absurd_length_costs_nothing() {
        let mut check = ExtentCheck::new(|_| Ok([0; 32]));
        check.skip(u64::MAX);
        assert_eq!(check.finish().unwrap().len(), 1);
    }
}
