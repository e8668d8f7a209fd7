//! Where a file is cut into blobs: exactly where restic cuts it.
//!
//! A Rabin fingerprint rolls over the last 64 bytes. A chunk ends where its low 20 bits are zero,
//! but has at least 512 KiB and at most 8 MiB. Because the window forgets everything older than 64
//! bytes, the first 512 KiB of a chunk need no scan at all. Knows bytes only, no files.

use repo::Polynomial;

/// The least bytes of a chunk, but for a file's last.
pub const MIN: usize = 512 << 10;
/// The most bytes of a chunk.
pub const MAX: usize = 8 << 20;
const WINDOW: usize = 64;
/// 20 bits: 1 MiB on average.
const MASK: u64 = (1 << 20) - 1;

/// The tables for one polynomial. Cheap to share, made once a run.
#[derive(Debug, Clone)]
pub struct Chunker {
    /// What a byte contributes when it leaves the window.
    out: [u64; 256],
    /// What cancels the eight bits above the degree, and their remainder.
    reduce: [u64; 256],
    shift: u32,
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
        Self { out, reduce, shift: degree - 8 }
    }

    /// The length of the first chunk of `data`, which holds at least [`MAX`] bytes or the rest of the file.
    #[must_use]
    pub fn cut(&self, data: &[u8]) -> usize {
        let data = data.get(..MAX).unwrap_or(data);
        let Some((before, after)) = data.split_at_checked(MIN) else { return data.len() };
        let window = before.get(MIN - WINDOW..).unwrap_or_default();
        let mut hash = window.iter().fold(0, |hash, byte| self.append(hash, *byte));
        if hash & MASK == 0 {
            return MIN;
        }
        // What leaves the window runs 64 bytes behind what enters it.
        let leaving = window.iter().chain(after);
        for (position, (enters, leaves)) in after.iter().zip(leaving).enumerate() {
            hash = self.append(hash ^ self.table(&self.out, *leaves), *enters);
            if hash & MASK == 0 {
                return MIN + position + 1;
            }
        }
        data.len()
    }

    #[inline]
    fn append(&self, hash: u64, byte: u8) -> u64 {
        let top = (hash >> self.shift) & 0xff;
        (hash << 8 | u64::from(byte)) ^ self.reduce.get(top as usize).copied().unwrap_or(0)
    }

    #[inline]
    fn table(&self, table: &[u64; 256], byte: u8) -> u64 {
        table.get(usize::from(byte)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn polynomial(bits: u64) -> Polynomial {
        Polynomial::new(bits).unwrap()
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
            prop_assert_eq!(Chunker::new(polynomial).cut(&data), slow_cut(polynomial, &data));
        }
    }

    #[test]
    fn a_long_stretch_without_a_cut_ends_at_the_maximum() {
        // A repeated byte has a constant hash: never zero, unless the byte is.
        let chunker = Chunker::new(polynomial(0x003D_A335_8B4D_C173));
        assert_eq!(chunker.cut(&vec![7; MAX + 5]), MAX);
    }
}
