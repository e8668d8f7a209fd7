//! Seeded random numbers and bytes, the same on every machine. Good enough to be incompressible,
//! never for a secret.

/// A stream of numbers that its seed decides: `SplitMix64` (Steele, Lea, Flood, 2014).
#[derive(Debug, Clone)]
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        // Seeds in a row would give streams that overlap shifted by one.
        let mut scrambled = Self(seed);
        Self(scrambled.next() ^ seed.rotate_left(32))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, or 0 when that is 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(limit);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// From `least` to `most`, both included.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// Below `limit`, small ones more often, as words and paths are in a log.
    pub(crate) fn skewed(&mut self, limit: u64) -> u64 {
        let most = self.below(limit);
        self.below(most + 1)
    }

    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        for part in out.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            part.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        }
    }

    /// One of `all`.
    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let index = self.below(all.len() as u64);
        all.get(usize::try_from(index).ok()?)
    }

    /// One of `all`, the first ones more often.
    pub(crate) fn pick_skewed<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let index = self.skewed(all.len() as u64);
        all.get(usize::try_from(index).ok()?)
    }

    pub(crate) fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            let other = self.below(last as u64 + 1);
            all.swap(last, usize::try_from(other).unwrap_or(last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything() {
        let bytes = |seed| {
            let mut out = [0; 21];
            Noise::new(seed).fill(&mut out);
            out
        };
        assert_eq!(bytes(7), bytes(7));
        assert_ne!(bytes(7), bytes(8));
        // The same for ever: a data set of last year is the data set of today.
        assert_eq!(Noise::new(1).next(), 2_380_977_689_032_267_845);
    }

    #[test]
    fn numbers_stay_within_their_limits() {
        let mut noise = Noise::new(3);
        assert_eq!(noise.below(0), 0);
        for _ in 0..1000 {
            assert!(noise.below(3) < 3);
            assert!((5..=6).contains(&noise.between(5, 6)));
            assert!(noise.skewed(10) < 10);
        }
        assert!(noise.pick::<u8>(&[]).is_none());
    }

    #[test]
    fn a_shuffle_keeps_what_there_is() {
        let mut all: Vec<u32> = (0..100).collect();
        Noise::new(5).shuffle(&mut all);
        assert_ne!(all, (0..100).collect::<Vec<_>>());
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }
}
