//! Numbers modulo 2^130 - 5 in three limbs, one at a time.

use super::BLOCK;

/// The lower two limbs' bits.
pub(crate) const LIMB: u64 = (1 << 44) - 1;
/// The highest limb's bits.
pub(crate) const HIGH: u64 = (1 << 42) - 1;

/// A number, the lowest limb first. Between steps a limb is shorter than 46 bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limbs(pub(crate) [u64; 3]);

impl Limbs {
    /// The `r` of a key: 22 of its bits do not count.
    pub(crate) fn clamped(r: [u8; 16]) -> Self {
        Self::of(u128::from_le_bytes(r) & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff, 0)
    }

    /// A whole block, with the bit that stands behind it.
    pub(crate) fn whole(block: [u8; BLOCK]) -> Self {
        Self::of(u128::from_le_bytes(block), 1)
    }

    /// The last block, of less than sixteen bytes, with the bit that stands behind them.
    pub(crate) fn begun(bytes: &[u8]) -> Self {
        let mut block = [0; BLOCK];
        for (place, byte) in block.iter_mut().zip(bytes.iter().chain(&[1])) {
            *place = *byte;
        }
        Self::of(u128::from_le_bytes(block), 0)
    }

    /// `high` is what stands above 128 bits.
    fn of(low: u128, high: u64) -> Self {
        Self([word(low) & LIMB, word(low >> 44) & LIMB, word(low >> 88) | high << 40])
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        let ([a0, a1, a2], [b0, b1, b2]) = (self.0, other.0);
        Self([a0 + b0, a1 + b1, a2 + b2])
    }

    /// Limbs of both shorter than 50 bits, so that no sum of products has more than 128.
    pub(crate) fn times(self, other: Self) -> Self {
        let [a0, a1, a2] = self.0.map(u128::from);
        let [b0, b1, b2] = other.0.map(u128::from);
        // 2^132 is 20.
        let low = a0 * b0 + 20 * (a1 * b2 + a2 * b1);
        let middle = a0 * b1 + a1 * b0 + 20 * a2 * b2 + (low >> 44);
        let high = a0 * b2 + a1 * b1 + a2 * b0 + (middle >> 44);
        // 2^130 is 5.
        let low = (low & u128::from(LIMB)) + 5 * (high >> 42);
        let middle = (middle & u128::from(LIMB)) + (low >> 44);
        Self([word(low) & LIMB, word(middle), word(high) & HIGH])
    }

    /// The number itself, which is less than 2^130 - 5, plus `s`, of which 128 bits count.
    pub(crate) fn tag(self, s: [u8; 16]) -> [u8; 16] {
        let [h0, h1, h2] = self.carried().carried().0;
        // Five more reach 2^130 exactly when it is not less than the modulus.
        let over = (h2 + ((h1 + ((h0 + 5) >> 44)) >> 44)) >> 42;
        let low = u128::from(h0) + (u128::from(h1) << 44) + u128::from(5 * over);
        let number = low.wrapping_add(u128::from(h2) << 88);
        number.wrapping_add(u128::from_le_bytes(s)).to_le_bytes()
    }

    /// The same number with no limb too long, but for one bit of the lowest.
    fn carried(self) -> Self {
        let [h0, h1, h2] = self.0;
        let h1 = h1 + (h0 >> 44);
        let h2 = h2 + (h1 >> 44);
        let h0 = (h0 & LIMB) + 5 * (h2 >> 42);
        let (h1, h0) = ((h1 & LIMB) + (h0 >> 44), h0 & LIMB);
        Self([h0, h1, h2 & HIGH])
    }
}

/// The lowest 64 bits.
#[allow(clippy::cast_possible_truncation, reason = "that is what is wanted")]
fn word(number: u128) -> u64 {
    number as u64
}
