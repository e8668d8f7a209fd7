//! Where a rolling Rabin fingerprint has 20 zeros at its end, 64 stretches of the data at a time.
//!
//! The fingerprint of the last 64 bytes is their polynomial over GF(2), modulo one of degree 53. All of it is linear:
//! what the new fingerprint owes to the byte that enters, to the one that leaves, and to the former
//! fingerprint's upper eight bits, are products of matrices with bytes. AVX-512 with GFNI does 64 products of
//! such a matrix of eight by eight bits at once. So the fingerprints of 64 stretches are kept in slices, the first
//! byte of all in one register, the second of all in the next, and a step of all 64 takes some ten cycles.
//!
//! Other processors, and other degrees, are the caller's: it has tables. Knows bytes only.

#[cfg(target_arch = "x86_64")]
mod lanes;
mod matrix;

use matrix::Matrix;

/// Bytes that a fingerprint is of.
pub const WINDOW: usize = 64;
/// The least bytes behind the window that can be looked at: a window's length for each stretch.
pub const LEAST: usize = LANES * WINDOW;

/// Stretches that are looked at side by side.
const LANES: usize = 64;
/// Fingerprints have fewer bits than this.
const DEGREE: u32 = 53;
/// A fingerprint is kept this much further up, so that its upper eight bits are a byte.
const SHIFT: u32 = 56 - DEGREE;
/// Bytes of a fingerprint.
const SLICES: usize = 7;
/// Of its first three bytes, the bits that are zero where the fingerprint cuts.
const CUT: [u8; 3] = [0xff << SHIFT, 0xff, 0xff >> (8 - (20 + SHIFT - 16))];

/// What is to be known of a polynomial.
#[derive(Debug, Clone)]
pub struct Scanner {
    /// What the upper byte becomes, one further up, in each byte of the fingerprint.
    reduce: [Matrix; SLICES],
    /// What a byte owes to the fingerprint when it has left the window.
    leave: [Matrix; SLICES],
    /// And when it enters.
    enter: [Matrix; 2],
}

impl Scanner {
    /// The scanner of a polynomial of that degree: `modulo` answers the remainder of what it is given.
    /// None where this processor cannot, or the degree is not 53, as it is in every repository that restic makes.
    #[must_use]
    pub fn new(degree: u32, modulo: impl Fn(u64) -> u64) -> Option<Self> {
        if degree != DEGREE || !available() {
            return None;
        }
        let slice = |value: u64, at: usize| (value << SHIFT).to_le_bytes().get(at).copied();
        let matrix = |at: usize, of: &dyn Fn(u64) -> u64| {
            Matrix::of(|byte| slice(of(byte.into()), at).unwrap_or_default())
        };
        let reduce = |upper: u64| modulo(upper << DEGREE);
        let leave = |byte: u64| (0..WINDOW).fold(byte, |hash, _| modulo(hash << 8));
        Some(Self {
            reduce: std::array::from_fn(|at| matrix(at, &reduce)),
            leave: std::array::from_fn(|at| matrix(at, &leave)),
            enter: std::array::from_fn(|at| matrix(at, &|byte| byte)),
        })
    }

    /// The first place behind the window, which `data` begins with, where the fingerprint cuts; counted from the window's
    /// end, and looked for as far as `data` goes. Always none where there are fewer than [`LEAST`] bytes behind the window.
    #[must_use]
    pub fn find(&self, data: &[u8]) -> Option<usize> {
        #[cfg(target_arch = "x86_64")]
        return lanes::find(self, data);
        #[cfg(not(target_arch = "x86_64"))]
        return None;
    }
}

fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return lanes::available();
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

#[cfg(test)]
mod tests;
