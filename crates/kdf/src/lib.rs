//! scrypt (RFC 7914): a key from a password, at a cost that is chosen. Several lanes at once, in half the memory.
//!
//! A lane fills a table of N rows, each of which is the mix of the one before it, and then looks up N of them in an order
//! that only their contents tell. Here every other row is kept, and the mix of the row before it stands for one that is not. That is a
//! quarter more to mix, and takes less time than what it saves: half as many pages are touched for the first time, and twice as much of
//! the table stays in the cache. Words are mixed one by one: the vectors of current processors take two cycles for what
//! their plain registers do in one, and a lane waits for each step.

use pbkdf2::pbkdf2_hmac;
use sha2::Sha256;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use zeroize::{Zeroize, Zeroizing};

/// Words of a block, the unit that is mixed.
type Block = [u32; 16];
const BLOCK: usize = size_of::<Block>();

/// Memory that several lanes may take at once, in bytes. One alone takes what it needs.
const MEMORY: usize = 64 << 20;

/// What a key costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// log2 of N, the rows of a lane's table: 1 to 31.
    pub log_n: u8,
    /// Two blocks make a row's `r`-th part: a row has 128 times as many bytes.
    pub r: u32,
    /// Lanes, which do not depend on each other.
    pub p: u32,
}

impl Cost {
    /// Bytes that one lane takes: half of what the standard's own way does. None if they cannot be counted.
    #[must_use]
    pub fn memory(self) -> Option<usize> {
        self.row()?.checked_mul(self.kept()?)
    }

    /// Bytes of a row.
    fn row(self) -> Option<usize> {
        usize::try_from(self.r).ok()?.checked_mul(2 * BLOCK)
    }

    /// Rows that are kept.
    fn kept(self) -> Option<usize> {
        if !(1..=31).contains(&self.log_n) {
            return None;
        }
        1_usize.checked_shl(u32::from(self.log_n) - 1)
    }
}

/// No key can be had at such a cost: it is nothing, or more than can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absurd;

/// Fills `key`, of at most 137 GB. Takes [`Cost::memory`] for each lane at once, which are as many as there are cores,
/// but no more than fit 64 MiB; whoever takes the cost from elsewhere looks at it before.
///
/// # Errors
/// [`Absurd`].
pub fn scrypt(password: &[u8], salt: &[u8], cost: Cost, key: &mut [u8]) -> Result<(), Absurd> {
    let (Some(row), Some(kept), Some(memory)) = (cost.row(), cost.kept(), cost.memory()) else {
        return Err(Absurd);
    };
    let lanes = usize::try_from(cost.p).map_err(|_| Absurd)?;
    let length = row.checked_mul(lanes).filter(|&length| length > 0).ok_or(Absurd)?;
    let mut bytes = Zeroizing::new(vec![0; length]);
    pbkdf2_hmac::<Sha256>(password, salt, 1, &mut bytes);
    let waiting = Mutex::new(bytes.chunks_exact_mut(row));
    let work = || {
        let mut table = Vec::new();
        loop {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(lane) = next else { return };
            if table.is_empty() {
                table = vec![[0; 16]; row / BLOCK * kept];
            }
            mix_lane(lane, &mut table, row / BLOCK);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let at_once = cores.min(lanes).min(MEMORY / memory);
    std::thread::scope(|scope| {
        for _ in 1..at_once {
            // Without a further thread it takes longer.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    pbkdf2_hmac::<Sha256>(password, &bytes, 1, key);
    Ok(())
}

/// The standard's ROMix. `table` has room for half of its rows, of `width` blocks each, and all of it is written.
fn mix_lane(lane: &mut [u8], table: &mut [Block], width: usize) {
    let mut row: Vec<Block> = lane.as_chunks().0.iter().map(words).collect();
    let mut next = vec![[0; 16]; width];
    let mut absent = vec![[0; 16]; width];
    for kept in table.chunks_exact_mut(width) {
        kept.copy_from_slice(&row);
        mix(&row, &mut next);
        mix(&next, &mut row);
    }
    let rows = table.len() / width * 2;
    for _ in 0..rows {
        // A power of two of rows: the lower bits of a row's last block say which.
        let at = row.last().map_or(0, |&[first, ..]| first as usize) & (rows - 1);
        let kept = table.chunks_exact(width).nth(at / 2).unwrap_or_default();
        if at.is_multiple_of(2) {
            mix_both(&row, kept, &mut next);
        } else {
            mix(kept, &mut absent);
            mix_both(&row, &absent, &mut next);
        }
        std::mem::swap(&mut row, &mut next);
    }
    for (bytes, block) in lane.as_chunks_mut::<BLOCK>().0.iter_mut().zip(&row) {
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(block) {
            *bytes = word.to_le_bytes();
        }
    }
    row.zeroize();
}

fn words(bytes: &[u8; BLOCK]) -> Block {
    let mut words = [0; 16];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// The standard's BlockMix of a row.
fn mix(row: &[Block], out: &mut [Block]) {
    let last = row.last().copied().unwrap_or_default();
    mix_all(last, row.iter().copied(), out);
}

/// The same of two rows, added bit by bit.
fn mix_both(row: &[Block], other: &[Block], out: &mut [Block]) {
    let last = row.last().copied().unwrap_or_default();
    let last = sum(last, &other.last().copied().unwrap_or_default());
    mix_all(last, row.iter().zip(other).map(|(block, other)| sum(*block, other)), out);
}

/// Even blocks go to the first half, odd ones to the second.
// A function of its own has all registers for it.
#[inline(never)]
fn mix_all(last: Block, mut row: impl Iterator<Item = Block>, out: &mut [Block]) {
    let mut block = last;
    let (evens, odds) = out.split_at_mut(out.len() / 2);
    for (even, odd) in evens.iter_mut().zip(odds) {
        for to in [even, odd] {
            let Some(next) = row.next() else { return };
            block = salsa(sum(block, &next));
            *to = block;
        }
    }
}

fn sum(mut block: Block, other: &Block) -> Block {
    for (word, other) in block.iter_mut().zip(other) {
        *word ^= other;
    }
    block
}

/// The core of Salsa20 with eight rounds, of columns and of rows in turn.
#[inline(always)]
fn salsa(block: Block) -> Block {
    let [
        mut x0,
        mut x1,
        mut x2,
        mut x3,
        mut x4,
        mut x5,
        mut x6,
        mut x7,
        mut x8,
        mut x9,
        mut x10,
        mut x11,
        mut x12,
        mut x13,
        mut x14,
        mut x15,
    ] = block;
    for _ in 0..4 {
        quarter(&mut x0, &mut x4, &mut x8, &mut x12);
        quarter(&mut x5, &mut x9, &mut x13, &mut x1);
        quarter(&mut x10, &mut x14, &mut x2, &mut x6);
        quarter(&mut x15, &mut x3, &mut x7, &mut x11);
        quarter(&mut x0, &mut x1, &mut x2, &mut x3);
        quarter(&mut x5, &mut x6, &mut x7, &mut x4);
        quarter(&mut x10, &mut x11, &mut x8, &mut x9);
        quarter(&mut x15, &mut x12, &mut x13, &mut x14);
    }
    let mut mixed = [x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15];
    for (word, before) in mixed.iter_mut().zip(block) {
        *word = word.wrapping_add(before);
    }
    mixed
}

#[inline(always)]
fn quarter(a: &mut u32, b: &mut u32, c: &mut u32, d: &mut u32) {
    *b ^= a.wrapping_add(*d).rotate_left(7);
    *c ^= b.wrapping_add(*a).rotate_left(9);
    *d ^= c.wrapping_add(*b).rotate_left(13);
    *a ^= d.wrapping_add(*c).rotate_left(18);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn key(password: &[u8], salt: &[u8], log_n: u8, r: u32, p: u32) -> String {
        let mut key = [0; 64];
        scrypt(password, salt, Cost { log_n, r, p }, &mut key).unwrap();
        hex(&key)
    }

    // RFC 7914, section 8.
    #[test]
    fn the_core_is_the_standards() {
        let input = "7e879a214f3ec9867ca940e641718f26baee555b8c61c1b50df846116dcd3b1dee24f319df9b3d8514121e4b5ac5aa3276021d2909c74829edebc68db8b8c25e";
        let output = "a41f859c6608cc993b81cacb020cef05044b2181a2fd337dfd7b1c6396682f29b4393168e3c9e6bcfe6bc5b7a06d96bae424cc102c91745c24ad673dc7618f81";
        let bytes: Vec<u8> =
            (0..64).map(|at| u8::from_str_radix(&input[2 * at..2 * at + 2], 16).unwrap()).collect();
        let mixed = salsa(words(bytes.as_slice().try_into().unwrap()));
        assert_eq!(hex(&mixed.map(u32::to_le_bytes).concat()), output);
    }

    // RFC 7914, section 12.
    #[test]
    fn keys_are_the_standards() {
        assert_eq!(
            key(b"", b"", 4, 1, 1),
            "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906"
        );
        assert_eq!(
            key(b"password", b"NaCl", 10, 8, 16),
            "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
        );
        assert_eq!(
            key(b"pleaseletmein", b"SodiumChloride", 14, 8, 1),
            "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
        );
    }

    #[test]
    fn a_cost_that_is_none_or_cannot_be_counted_is_refused() {
        for (log_n, r, p) in
            [(0, 8, 1), (32, 8, 1), (15, 0, 1), (15, 8, 0), (255, u32::MAX, u32::MAX)]
        {
            let cost = Cost { log_n, r, p };
            assert_eq!(scrypt(b"x", b"y", cost, &mut [0; 64]), Err(Absurd), "{cost:?}");
        }
        assert_eq!(Cost { log_n: 15, r: 8, p: 6 }.memory(), Some(16 << 20));
        assert_eq!(Cost { log_n: 17, r: 8, p: 1 }.memory(), Some(64 << 20));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        // The crate `scrypt` is somebody else's.
        #[test]
        fn keys_are_another_implementations(
            password in prop::collection::vec(any::<u8>(), 0..80),
            salt in prop::collection::vec(any::<u8>(), 0..80),
            log_n in 1_u8..10,
            r in 1_u32..12,
            p in 1_u32..8,
            length in 10_usize..100,
        ) {
            let (mut ours, mut theirs) = (vec![0; length], vec![0; length]);
            scrypt(&password, &salt, Cost { log_n, r, p }, &mut ours).unwrap();
            let params = ::scrypt::Params::new(log_n, r, p).unwrap();
            ::scrypt::scrypt(&password, &salt, &params, &mut theirs).unwrap();
            prop_assert_eq!(ours, theirs);
        }
    }
}
