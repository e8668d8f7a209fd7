//! Where a file is cut into blobs: exactly where restic cuts it.
//!
//! A Rabin fingerprint rolls over the last 64 bytes. A chunk ends where its low 20 bits are zero,
//! but has at least 512 KiB and at most 8 MiB. Knows bytes only, no files.
//!
//! Because the window forgets everything older than 64 bytes, the first 512 KiB of a chunk need no
//! scan at all, and stretches of a buffer can be scanned side by side. That is what makes it fast:
//! 64 of them by the crate `rabin`, where the processor has what it needs; elsewhere
//! [`LANES`], as one stretch alone waits for each of its steps.

use rabin::{LEAST, Scanner, WINDOW};
use repo::Polynomial;

/// The least bytes of a chunk, but for a file's last.
pub const MIN: usize = 512 << 10;
/// The most bytes of a chunk.
pub const MAX: usize = 8 << 20;
/// 20 bits: 1 MiB on average.
const MASK: u64 = (1 << 20) - 1;
/// Stretches that are scanned side by side.
const LANES: usize = 4;
/// Bytes of each. What lies behind the first cut is scanned in vain: on average half of all lanes.
const STRETCH: usize = 16 << 10;
/// Bytes that a scanner is given at once. What lies behind the first cut is scanned in vain here, too.
const AT_ONCE: usize = 256 << 10;

/// The tables for one polynomial. Cheap to share, made once a run.
#[derive(Debug, Clone)]
pub struct Chunker {
    /// What a byte contributes when it leaves the window.
    out: [u64; 256],
    /// What cancels the eight bits above the degree, and their remainder.
    reduce: [u64; 256],
    shift: u32,
    /// Where this processor has one.
    scanner: Option<Scanner>,
}

impl Chunker {
    /// The chunker of a repository.
    #[must_use]
    pub fn new(polynomial: Polynomial) -> Self {
        let degree = polynomial.degree();
        let append = |hash: u64, byte: u64| polynomial.reduce(hash << 8 | byte);
        let out = std::array::from_fn(|byte| {
            (1..WINDOW).fold(append(0, byte as u64), |hash, _| append(hash, 0))
        });
        let reduce = std::array::from_fn(|top| {
            let top = (top as u64) << degree;
            polynomial.reduce(top) | top
        });
        let scanner = Scanner::new(degree, |value| polynomial.reduce(value));
        Self { out, reduce, shift: degree - 8, scanner }
    }

    /// The length of the first chunk of `data`, which holds at least [`MAX`] bytes or the rest of the file.
    #[must_use]
    pub fn cut(&self, data: &[u8]) -> usize {
        let data = data.get(..MAX).unwrap_or(data);
        self.find(data, MIN).unwrap_or(data.len())
    }

    /// The first place from `from` on, which is at least [`MIN`], where a chunk that begins with
    /// `data` may end; none when there is none up to the end of `data`. Says nothing of [`MAX`].
    ///
    /// To scan a chunk that is still being read, `from` is how far it was scanned already.
    #[must_use]
    pub fn find(&self, data: &[u8], from: usize) -> Option<usize> {
        let from = from.max(MIN);
        // The place `from` itself is looked at by rolling in the byte before it.
        let mut at = from - 1;
        if let Some(scanner) = &self.scanner {
            while data.len().checked_sub(at)? >= LEAST {
                let end = data.len().min(at + AT_ONCE);
                match scanner.find(data.get(at - WINDOW..end)?) {
                    Some(place) => return Some(at + place),
                    None => at = end,
                }
            }
        }
        while data.len().checked_sub(at)? >= LANES * STRETCH {
            match self.find_in_lanes(data.get(at - WINDOW..at + LANES * STRETCH)?) {
                Some(place) => return Some(at + place),
                None => at += LANES * STRETCH,
            }
        }
        let place = self.find_in_one(data.get(at - WINDOW..)?)?;
        Some(at + place)
    }

    /// As [`find_in_one`](Self::find_in_one), for exactly [`LANES`] stretches.
    fn find_in_lanes(&self, data: &[u8]) -> Option<usize> {
        let lane = |n: usize| {
            let lane = data.get(n * STRETCH..)?;
            Some((
                lane.first_chunk::<WINDOW>()?,
                lane.first_chunk::<STRETCH>()?,
                lane.get(WINDOW..)?.first_chunk::<STRETCH>()?,
            ))
        };
        let lanes: [_; LANES] = [lane(0)?, lane(1)?, lane(2)?, lane(3)?];
        let mut hashes = lanes.map(|(window, ..)| self.fill(window));
        let mut found = [None; LANES];
        for position in 0..STRETCH {
            let mut any = false;
            for (hash, (_, leaving, entering)) in hashes.iter_mut().zip(&lanes) {
                *hash = self.roll(*hash, *leaving.get(position)?, *entering.get(position)?);
                any |= *hash & MASK == 0;
            }
            if any {
                for (found, hash) in found.iter_mut().zip(&hashes) {
                    *found = found.or((*hash & MASK == 0).then_some(position + 1));
                }
                // A later lane's cut counts only when no earlier lane has one.
                if found.first().is_some_and(Option::is_some) {
                    break;
                }
            }
        }
        let mut stretches = found.iter().zip((0..).step_by(STRETCH));
        stretches.find_map(|(found, start)| found.map(|place| start + place))
    }

    /// The first place behind the window, which `data` begins with, where the hash says cut; counted
    /// from the window's end.
    fn find_in_one(&self, data: &[u8]) -> Option<usize> {
        let (window, entering) = data.split_first_chunk::<WINDOW>()?;
        let mut hash = self.fill(window);
        // What leaves the window runs 64 bytes behind what enters it.
        for (position, (enters, leaves)) in entering.iter().zip(data).enumerate() {
            hash = self.roll(hash, *leaves, *enters);
            if hash & MASK == 0 {
                return Some(position + 1);
            }
        }
        None
    }

    fn fill(&self, window: &[u8; WINDOW]) -> u64 {
        window.iter().fold(0, |hash, byte| self.append(hash, *byte))
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "eight bits index 256 entries")]
    fn roll(&self, hash: u64, leaves: u8, enters: u8) -> u64 {
        self.append(hash ^ self.out[usize::from(leaves)], enters)
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "eight bits index 256 entries")]
    fn append(&self, hash: u64, byte: u8) -> u64 {
        (hash << 8 | u64::from(byte)) ^ self.reduce[((hash >> self.shift) & 0xff) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn polynomial(bits: u64) -> Polynomial {
        Polynomial::new(bits).unwrap()
    }

    /// With what this processor has, and with what every one has.
    fn chunkers(polynomial: Polynomial) -> [Chunker; 2] {
        let chunker = Chunker::new(polynomial);
        [chunker.clone(), Chunker { scanner: None, ..chunker }]
    }

    /// The definition, without tables and without rolling: the window as one large polynomial.
    fn slow_cut(polynomial: Polynomial, data: &[u8]) -> usize {
        for end in MIN..=data.len().min(MAX) {
            let hash = data[end - WINDOW..end]
                .iter()
                .fold(0, |hash, b| polynomial.reduce(hash << 8 | u64::from(*b)));
            if hash & MASK == 0 {
                return end;
            }
        }
        data.len().min(MAX)
    }

    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    #[test]
    fn short_data_is_one_chunk() {
        let chunker = Chunker::new(polynomial(0x003D_A335_8B4D_C173));
        for length in [0, 1, MIN - 1, MIN] {
            assert_eq!(chunker.cut(&noise(1, length)), length);
        }
    }

    // 32 MiB of Go's math/rand stream with seed 23 would be restic's own vector; constant zeros are
    // its other one: every chunk of zeros ends at the minimum, because their hash is zero.
    #[test]
    fn zeros_are_cut_at_the_minimum() {
        let chunker = Chunker::new(polynomial(0x003D_A335_8B4D_C173));
        assert_eq!(chunker.cut(&vec![0; MAX]), MIN);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn rolling_cuts_where_the_definition_does(seed: u64, bits: u64, length in MIN..MIN + 200_000) {
            let polynomial = polynomial(bits & ((1 << 53) - 1) | 1 << 53 | 1);
            let mut data = noise(seed, length);
            // A stretch of zeros makes cuts likelier than once in a million.
            let at = usize::try_from(seed % 100_000).unwrap();
            data[MIN - 1000..].iter_mut().skip(at).take(70).for_each(|byte| *byte = 0);
            for chunker in chunkers(polynomial) {
                prop_assert_eq!(chunker.cut(&data), slow_cut(polynomial, &data));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        // Lanes and single stretch, looked at in pieces of any size, with cuts as dense as zeros
        // make them: the same place as one pass of the definition finds.
        #[test]
        fn however_a_chunk_arrives_it_is_cut_at_one_place(
            seed: u64,
            bits: u64,
            length in MIN..MIN + 10 * STRETCH,
            zeros in prop::option::of(MIN - 100..MIN + 9 * STRETCH),
            piece in 1..3 * LANES * STRETCH,
        ) {
            let polynomial = polynomial(bits & ((1 << 53) - 1) | 1 << 53 | 1);
            let mut data = noise(seed, length);
            if let Some(at) = zeros {
                data.iter_mut().skip(at).take(70).for_each(|byte| *byte = 0);
            }
            let expected = slow_cut(polynomial, &data);
            for chunker in chunkers(polynomial) {
                prop_assert_eq!(chunker.cut(&data), expected);
                let (mut from, mut seen) = (MIN, MIN);
                let cut = loop {
                    if let Some(cut) = chunker.find(&data[..seen], from) {
                        break cut;
                    }
                    if seen == data.len() {
                        break seen;
                    }
                    (from, seen) = (seen, (seen + piece).min(data.len()));
                };
                prop_assert_eq!(cut, expected);
            }
        }
    }

    #[test]
    fn a_cut_at_every_place_of_every_lane_is_found() {
        let polynomial = polynomial(0x003D_A335_8B4D_C173);
        let chunkers = chunkers(polynomial);
        // A byte that never cuts by itself, and 64 zeros, which always do: at their end.
        for end in (MIN..MIN + 5 * STRETCH).step_by(STRETCH / 3).chain([MIN, MIN + 1]) {
            let mut data = vec![7; MIN + 6 * STRETCH];
            data[end - WINDOW..end].fill(0);
            for chunker in &chunkers {
                assert_eq!(chunker.cut(&data), end);
            }
            data[end + 1000..end + 1000 + WINDOW].fill(0);
            for chunker in &chunkers {
                assert_eq!(chunker.cut(&data), end, "the first of two");
            }
        }
    }

    #[test]
    fn a_long_stretch_without_a_cut_ends_at_the_maximum() {
        // A repeated byte has a constant hash: never zero, unless the byte is.
        let chunker = Chunker::new(polynomial(0x003D_A335_8B4D_C173));
        assert_eq!(chunker.cut(&vec![7; MAX + 5]), MAX);
    }
}
