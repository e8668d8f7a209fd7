//! What need not be compressed: bytes that are as good as random, as encrypted or compressed ones are.
//!
//! Looking costs a hundredth of trying. Judges by how often each byte comes in samples; what is
//! mistaken for noise is stored as it is, and takes its room.

/// What is shorter is tried.
const LEAST: usize = 256 << 10;
const SAMPLES: usize = 16;
const SAMPLE: usize = 4 << 10;
/// Of 256 bytes that come equally often, chi square is about 255, and more than this once in 10^10 times. Where an entropy
/// coder would save a thousandth of all samples, it is about 980: such bytes are tried, too.
const BOUND: f64 = 420.0;

/// Whether compressing it would save nothing.
pub(crate) fn is_noise(plain: &[u8]) -> bool {
    if plain.len() < LEAST {
        return false;
    }
    let mut counts = [0_u32; 256];
    for sample in plain.chunks(plain.len() / SAMPLES).take(SAMPLES) {
        let sample = sample.get(..SAMPLE).unwrap_or(sample);
        for byte in sample {
            if let Some(count) = counts.get_mut(usize::from(*byte)) {
                *count += 1;
            }
        }
        if !even(&counts) {
            return false;
        }
    }
    true
}

/// Whether all bytes come so nearly equally often as random ones do.
fn even(counts: &[u32; 256]) -> bool {
    let all: u32 = counts.iter().sum();
    let expected = f64::from(all) / 256.0;
    let off = |count: &u32| (f64::from(*count) - expected).powi(2) / expected;
    counts.iter().map(off).sum::<f64>() < BOUND
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        getrandom::fill(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn random_bytes_are_noise() {
        for length in [LEAST, LEAST + 1, 1 << 20, 3_000_001] {
            assert!(is_noise(&noise(length)), "{length}");
        }
        assert!(!is_noise(&noise(LEAST - 1)), "too few to be worth looking");
    }

    #[test]
    fn what_compresses_is_not() {
        let text = "the quick brown fox jumps over the lazy dog\n".repeat(30_000);
        assert!(!is_noise(text.as_bytes()));
        assert!(!is_noise(&vec![0; 1 << 20]));
        let counter: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        assert!(!is_noise(&counter), "numbers");
        let mut letters = noise(1 << 20);
        letters.iter_mut().for_each(|byte| *byte = b'A' + *byte % 64);
        assert!(!is_noise(&letters), "six bits of eight");
        // One byte in twenty is what it would not be by chance: two hundredths could be saved.
        let mut partly = noise(1 << 20);
        partly.iter_mut().step_by(20).for_each(|byte| *byte = b' ');
        assert!(!is_noise(&partly));
    }

    // An eighth that is text, in stretches: whatever is sampled, some of it is.
    #[test]
    fn what_is_text_here_and_there_is_not() {
        let mut mixed = noise(2 << 20);
        for stretch in mixed.chunks_mut(64 << 10) {
            stretch[..8 << 10].fill(b' ');
        }
        assert!(!is_noise(&mixed));
    }
}
