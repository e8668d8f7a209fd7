//! Polynomials over GF(2), of degree at most 63: the parameter of restic's chunker.
//!
//! A repository's polynomial is irreducible and of degree 53, chosen at random. Does not chunk.

use crate::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A polynomial; bit i is the coefficient of xⁱ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polynomial(u64);

/// The degree that restic uses: 53, so that eight more bits fit beside it in 64.
const DEGREE: u32 = 53;

impl Polynomial {
    /// The polynomial with these coefficients.
    ///
    /// Degrees from 8 to 53 only: the chunker shifts by `degree - 8` and keeps 8 bits above.
    #[must_use]
    pub fn new(bits: u64) -> Option<Self> {
        let polynomial = Self(bits);
        (bits != 0 && (8..=DEGREE).contains(&polynomial.degree())).then_some(polynomial)
    }

    /// A random irreducible one of degree 53.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn random() -> Result<Self, Error> {
        // About one in 27 odd polynomials of this degree is irreducible.
        loop {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).map_err(Error::Random)?;
            let bits = u64::from_le_bytes(bytes) & ((1 << (DEGREE + 1)) - 1) | 1 << DEGREE | 1;
            if irreducible(bits) {
                return Ok(Self(bits));
            }
        }
    }

    /// The coefficients.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The largest exponent.
    #[must_use]
    pub fn degree(self) -> u32 {
        degree(self.0)
    }

    /// `value` modulo this.
    #[must_use]
    pub fn reduce(self, value: u64) -> u64 {
        reduce(value, self.0)
    }
}

fn degree(value: u64) -> u32 {
    63u32.saturating_sub(value.leading_zeros())
}

fn reduce(mut value: u64, modulus: u64) -> u64 {
    let top = degree(modulus);
    while value != 0 && degree(value) >= top {
        value ^= modulus << (degree(value) - top);
    }
    value
}

/// a·b mod m, for operands below m.
fn multiply(mut a: u64, mut b: u64, m: u64) -> u64 {
    let mut product = 0;
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        b >>= 1;
        a = reduce(a << 1, m);
    }
    product
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, if degree(b) == 0 { 0 } else { reduce(a, b) });
    }
    a
}

/// Ben-Or's test: f is irreducible when it shares no factor with x^(2^i) - x for i up to half its degree.
fn irreducible(f: u64) -> bool {
    let x = 2;
    let mut power = x;
    for _ in 0..degree(f) / 2 {
        power = multiply(power, power, f);
        if greatest_common_divisor(f, power ^ x) != 1 {
            return false;
        }
    }
    true
}

impl Serialize for Polynomial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Polynomial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).ok().and_then(Self::new).ok_or_else(|| {
            serde::de::Error::custom("the chunker polynomial is not hexadecimal of degree 8 to 53")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Slow and obvious: tries every divisor.
    fn has_a_divisor(f: u64) -> bool {
        (2..1 << (degree(f) / 2 + 1)).any(|d| reduce(f, d) == 0)
    }

    #[test]
    fn irreducible_is_what_has_no_divisor() {
        for f in 4..1 << 11 {
            assert_eq!(irreducible(f), !has_a_divisor(f), "{f:b}");
        }
    }

    #[test]
    fn random_ones_are_irreducible_and_of_degree_53() {
        for _ in 0..5 {
            let polynomial = Polynomial::random().unwrap();
            assert_eq!(polynomial.degree(), 53);
            assert!(irreducible(polynomial.bits()));
        }
        // The one in restic's own documentation and tests.
        assert!(irreducible(0x003D_A335_8B4D_C173));
    }

    proptest! {
        #[test]
        fn hostile_polynomials_are_refused(bits: u64) {
            let json = format!("\"{bits:x}\"");
            let parsed: Result<Polynomial, _> = serde_json::from_str(&json);
            prop_assert_eq!(parsed.is_ok(), bits != 0 && degree(bits) >= 8 && degree(bits) <= 53);
        }
    }
}
