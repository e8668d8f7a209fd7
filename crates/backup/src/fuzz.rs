//! Chunk boundaries against their definition, on whatever data the fuzzer builds. Not part of what
//! users get: only with the feature `fuzzing`, and in tests.

use crate::chunker::{Chunker, MAX, MIN};
use repo::Polynomial;

/// The window and the mask of restic's chunker, once more: the definition shares nothing.
const WINDOW: usize = 64;
const MASK: u64 = (1 << 20) - 1;
/// The most bytes that are chunked: several chunks of the least length, so that runs take turns.
const LONGEST: usize = 3 << 20;

/// Where the first chunk of `data` ends, by schoolbook arithmetic on the window as a polynomial:
/// one bit at a time, without tables, a byte of the window's end taken away as it was put in.
struct Slow {
    polynomial: Polynomial,
    /// x to the power of eight times the window's length: what a byte weighs when it leaves.
    leaving: u64,
}

impl Slow {
    fn new(polynomial: Polynomial) -> Self {
        let leaving = (0..WINDOW).fold(1, |power, _| polynomial.reduce(power << 8));
        Self { polynomial, leaving }
    }

    fn cut(&self, data: &[u8]) -> usize {
        let mut hash = 0;
        for (at, byte) in data.iter().enumerate().take(MAX).skip(MIN - WINDOW) {
            hash = self.polynomial.reduce(hash << 8 | u64::from(*byte));
            if at >= MIN {
                hash ^= self.weight(data.get(at - WINDOW).copied().unwrap_or(0));
            }
            if at + 1 >= MIN && hash & MASK == 0 {
                return at + 1;
            }
        }
        data.len().min(MAX)
    }

    fn weight(&self, byte: u8) -> u64 {
        let bits = (0..8).rev().map(|bit| u64::from(byte >> bit & 1));
        bits.fold(0, |sum, bit| self.polynomial.reduce(sum << 1) ^ (bit * self.leaving))
    }
}

/// Builds data and cuts it in both ways. Answers whether a cut lies where the data made one.
///
/// The bytes are: polynomial (8), length (3), kind of the background (1), then patches of five:
/// position (3), byte, length.
pub fn chunker(data: &[u8]) -> bool {
    let Some((bits, rest)) = data.split_first_chunk::<8>() else { return false };
    let Some((length, rest)) = rest.split_first_chunk::<3>() else { return false };
    let Some((background, patches)) = rest.split_first() else { return false };
    let Some(polynomial) = Polynomial::new(u64::from_le_bytes(*bits)) else { return false };
    let built = build(number(*length) % (LONGEST + 1), *background, patches);
    let (fast, slow) = (Chunker::new(polynomial), Slow::new(polynomial));
    let (mut rest, mut inside) = (built.as_slice(), false);
    while !rest.is_empty() {
        let cut = fast.cut(rest);
        assert_eq!(cut, slow.cut(rest), "{} bytes from the end", rest.len());
        assert_eq!(cut, in_two(&fast, rest), "{} bytes from the end", rest.len());
        inside |= cut > MIN && cut < rest.len().min(MAX);
        rest = rest.get(cut..).unwrap_or_default();
    }
    inside
}

/// Cuts as one does who has read only half of it at first.
fn in_two(chunker: &Chunker, data: &[u8]) -> usize {
    let data = data.get(..MAX).unwrap_or(data);
    let half = data.len() / 2;
    let early = chunker.find(data.get(..half).unwrap_or_default(), 0);
    early.or_else(|| chunker.find(data, half)).unwrap_or(data.len())
}

fn number(bytes: [u8; 3]) -> usize {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// One byte all along, or noise, with stretches of other bytes: 64 zeros always end a chunk.
fn build(length: usize, background: u8, patches: &[u8]) -> Vec<u8> {
    let mut state = u64::from(background) + 1;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes().first().copied().unwrap_or(0)
    };
    let even = background.is_multiple_of(2);
    let mut built: Vec<u8> = (0..length).map(|_| if even { background } else { noise() }).collect();
    for patch in patches.chunks_exact(5) {
        let [a, b, c, byte, length] = *patch else { continue };
        let stretch = built.iter_mut().skip(number([a, b, c])).take(usize::from(length));
        stretch.for_each(|old| *old = byte);
    }
    built
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    fn seeds() -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/chunker");
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        paths.map(|path| std::fs::read(path).unwrap()).collect()
    }

    #[test]
    fn every_seed_is_cut_where_the_definition_cuts_and_some_within() {
        let within = seeds().iter().filter(|seed| chunker(seed)).count();
        assert!(within > 0 && within < seeds().len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn any_data_is_cut_where_the_definition_cuts(
            bits: u64,
            length in 0usize..1 << 20,
            background: u8,
            patches in prop::collection::vec((0usize..1 << 20, any::<u8>(), any::<u8>()), 0..6),
            zeros in prop::collection::vec(0usize..1 << 20, 0..4),
        ) {
            let mut data = (bits & ((1 << 53) - 1) | 1 << 53).to_le_bytes().to_vec();
            data.extend_from_slice(&length.to_le_bytes()[..3]);
            data.push(background);
            for (at, byte, length) in patches.into_iter().chain(zeros.into_iter().map(|at| (at, 0, 64))) {
                data.extend_from_slice(&at.to_le_bytes()[..3]);
                data.extend_from_slice(&[byte, length]);
            }
            chunker(&data);
        }
    }
}
