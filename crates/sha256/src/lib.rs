//! SHA-256 of two messages at once.
//!
//! A core's SHA unit begins a new step every two cycles, and a step of one message waits four for
//! the one before: two messages side by side take 1.3 times as long as one of them, not twice. One
//! message alone, and all on processors without the unit, is hashed by the crate `sha2`.
//!
//! Two messages of very different lengths are side by side for as long as the shorter one lasts. A third one, which is in no
//! hurry, can lie [`Aside`]: of that one, as much is hashed as the others leave room for.

#[cfg(target_arch = "x86_64")]
mod pair;

use sha2::block_api::compress256;

const BLOCK: usize = 64;
type Block = [u8; BLOCK];

/// The first 32 bits of the fractional parts of the square roots of the first eight primes
/// (FIPS 180-4, 5.3.3).
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The SHA-256 of bytes that come in parts.
#[derive(Debug, Clone)]
pub struct Hasher {
    state: [u32; 8],
    /// The beginning of a block whose end has not come yet.
    begun: Block,
    /// How many bytes of it there are: less than a block.
    filled: usize,
    /// Bytes that came.
    length: u64,
}

impl Default for Hasher {
    fn default() -> Self {
        Self { state: START, begun: [0; BLOCK], filled: 0, length: 0 }
    }
}

impl Hasher {
    /// Takes in the next part.
    pub fn update(&mut self, part: &[u8]) {
        let (blocks, rest) = self.complete(part);
        compress256(&mut self.state, blocks);
        self.begin(rest);
    }

    /// Takes in the next part, and as much of `aside` is hashed beside it as there is of both.
    pub fn update_beside(&mut self, part: &[u8], aside: &mut Aside<'_>) {
        let (blocks, rest) = self.complete(part);
        aside.compress_beside(&mut self.state, blocks);
        self.begin(rest);
    }

    /// Takes in the next part, and `other` takes in its own.
    pub fn update_both(&mut self, part: &[u8], other: &mut Self, others: &[u8]) {
        let mut nothing = Self::default();
        self.update_both_beside(part, other, others, &mut Aside::of(&[], &mut nothing));
    }

    /// As [`update_both`](Self::update_both). What one of the two has more than the other is hashed beside `aside`.
    pub fn update_both_beside(
        &mut self,
        part: &[u8],
        other: &mut Self,
        others: &[u8],
        aside: &mut Aside<'_>,
    ) {
        let ((blocks, rest), (others, others_rest)) = (self.complete(part), other.complete(others));
        let both = blocks.len().min(others.len());
        let (Some((blocks, alone)), Some((others, others_alone))) =
            (blocks.split_at_checked(both), others.split_at_checked(both))
        else {
            return;
        };
        compress_both([&mut self.state, &mut other.state], [blocks, others]);
        aside.compress_beside(&mut self.state, alone);
        aside.compress_beside(&mut other.state, others_alone);
        self.begin(rest);
        other.begin(others_rest);
    }

    /// The hash of all that came.
    #[must_use]
    pub fn finalize(mut self) -> [u8; 32] {
        let bits = self.length.wrapping_mul(8);
        // Up to the last eight bytes of a block.
        let padding = if self.filled < 56 { 56 - self.filled } else { 120 - self.filled };
        let mut end = [0; 128];
        end[0] = 0x80;
        if let Some(room) = end.get_mut(padding..padding + 8) {
            room.copy_from_slice(&bits.to_be_bytes());
        }
        self.update(end.get(..padding + 8).unwrap_or_default());
        let mut hash = [0; 32];
        for (bytes, word) in hash.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        hash
    }

    /// Completes the block that was begun, and compresses it. Answers the blocks that follow, and
    /// what is less than one.
    fn complete<'p>(&mut self, part: &'p [u8]) -> (&'p [Block], &'p [u8]) {
        self.length = self.length.wrapping_add(part.len() as u64);
        if self.filled == 0 {
            return part.as_chunks();
        }
        let (end, rest) = part.split_at(part.len().min(BLOCK - self.filled));
        self.begin(end);
        if self.filled == BLOCK {
            self.filled = 0;
            compress256(&mut self.state, &[self.begun]);
        }
        rest.as_chunks()
    }

    /// Adds to the block that was begun, or begins one.
    fn begin(&mut self, rest: &[u8]) {
        let end = self.filled + rest.len();
        if let Some(room) = self.begun.get_mut(self.filled..end) {
            room.copy_from_slice(rest);
            self.filled = end;
        }
    }
}

/// A message that is hashed beside others, block by block.
#[derive(Debug)]
pub struct Aside<'m> {
    /// What of it is not hashed yet.
    rest: &'m [u8],
    hasher: &'m mut Hasher,
}

impl<'m> Aside<'m> {
    /// A message of which `hasher` has taken in what stands before `rest`: whole blocks.
    pub fn of(rest: &'m [u8], hasher: &'m mut Hasher) -> Self {
        Self { rest, hasher }
    }

    /// How much of it is not hashed yet. Less than a block stays to the end.
    #[must_use]
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    fn compress_beside(&mut self, state: &mut [u32; 8], blocks: &[Block]) {
        let (own, _) = self.rest.as_chunks();
        let both = own.len().min(blocks.len());
        let (Some((beside, alone)), Some(own)) = (blocks.split_at_checked(both), own.get(..both))
        else {
            return;
        };
        if both > 0 {
            compress_both([state, &mut self.hasher.state], [beside, own]);
            self.hasher.length = self.hasher.length.wrapping_add((both * BLOCK) as u64);
            self.rest = self.rest.get(both * BLOCK..).unwrap_or_default();
        }
        compress256(state, alone);
    }
}

/// The hash of one message.
#[must_use]
pub fn hash(message: &[u8]) -> [u8; 32] {
    let mut hasher = Hasher::default();
    hasher.update(message);
    hasher.finalize()
}

/// The hashes of two messages.
#[must_use]
pub fn hash_both([one, other]: [&[u8]; 2]) -> [[u8; 32]; 2] {
    let mut hashers = [Hasher::default(), Hasher::default()];
    let [first, second] = &mut hashers;
    first.update_both(one, second, other);
    hashers.map(Hasher::finalize)
}

fn compress_both(states: [&mut [u32; 8]; 2], blocks: [&[Block]; 2]) {
    #[cfg(target_arch = "x86_64")]
    let (states, blocks) = match pair::compress(states, blocks) {
        Ok(()) => return,
        Err(back) => back,
    };
    for (state, blocks) in states.into_iter().zip(blocks) {
        compress256(state, blocks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::Digest as _;

    fn expected(message: &[u8]) -> [u8; 32] {
        sha2::Sha256::digest(message).into()
    }

    fn messages() -> impl Strategy<Value = Vec<u8>> {
        let length =
            prop_oneof![0..200_usize, Just(55), Just(56), Just(63), Just(64), 0..5000_usize];
        length.prop_flat_map(|length| prop::collection::vec(any::<u8>(), length))
    }

    proptest! {
        #[test]
        fn both_hashes_are_what_sha2_says(one in messages(), other in messages()) {
            prop_assert_eq!(hash_both([&one, &other]), [expected(&one), expected(&other)]);
            prop_assert_eq!(hash(&one), expected(&one));
        }

        #[test]
        fn what_lies_aside_is_hashed_as_far_as_others_leave_room(
            (aside, one, other) in (messages(), messages(), messages()),
            parts in prop::collection::vec((messages(), messages()), 0..4),
        ) {
            let (mut hasher, mut first, mut second) = <(Hasher, Hasher, Hasher)>::default();
            let mut all = (Vec::new(), Vec::new());
            let mut left = aside.len();
            for (one, other) in parts.iter().chain([&(one, other)]) {
                let mut beside = Aside::of(&aside[aside.len() - left..], &mut hasher);
                first.update_both_beside(one, &mut second, other, &mut beside);
                first.update_beside(other, &mut beside);
                left = beside.left();
                all.0.extend([one.as_slice(), other].concat());
                all.1.extend_from_slice(other);
            }
            prop_assert!((aside.len() - left).is_multiple_of(BLOCK));
            hasher.update(&aside[aside.len() - left..]);
            prop_assert_eq!(hasher.finalize(), expected(&aside));
            prop_assert_eq!(first.finalize(), expected(&all.0));
            prop_assert_eq!(second.finalize(), expected(&all.1));
        }

        #[test]
        fn parts_in_any_lengths_alone_or_beside_others_are_one_message(
            parts in prop::collection::vec((messages(), messages(), any::<bool>()), 0..8),
        ) {
            let (mut one, mut other) = (Hasher::default(), Hasher::default());
            for (part, others, beside) in &parts {
                if *beside {
                    one.update_both(part, &mut other, others);
                } else {
                    one.update(part);
                    other.update(others);
                }
            }
            let (all, all_others): (Vec<_>, Vec<_>) =
                parts.into_iter().map(|(part, others, _)| (part, others)).unzip();
            prop_assert_eq!(one.finalize(), expected(&all.concat()));
            prop_assert_eq!(other.finalize(), expected(&all_others.concat()));
        }
    }
}
