//! Eight polynomials in `r^8` side by side, one in each 64-bit lane of 512-bit registers.
//!
//! AVX-512's IFMA multiplies numbers of 52 bits, and adds the lower or the upper 52 bits of the product.

use super::BLOCK;
use super::limbs::{HIGH, LIMB, Limbs};
use std::arch::x86_64::{
    __m512i, _mm256_extract_epi64, _mm512_add_epi64, _mm512_and_si512, _mm512_extracti64x4_epi64,
    _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_or_si512, _mm512_set_epi64,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_slli_epi64, _mm512_srli_epi64,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};

/// Eight blocks.
type Eight = [u8; 8 * BLOCK];

/// Eight numbers: each lane of the three registers has the limbs of one.
#[derive(Clone, Copy)]
struct Numbers([__m512i; 3]);

/// What is multiplied with, and with its upper limbs times 20, as 2^132 is 20.
struct Factors {
    limbs: [__m512i; 3],
    twenty: [__m512i; 2],
}

/// Which block of eight is in which lane: loading leaves them in this order.
const ORDER: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// The polynomial with these blocks as coefficients, the first one of the highest power, and no
/// constant term. None where the processor cannot.
#[allow(unsafe_code, reason = "the one call of code that not every processor has")]
pub(super) fn evaluate(r: Limbs, eights: &[Eight]) -> Option<Limbs> {
    let has_all = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512ifma");
    if !has_all {
        return None;
    }
    // SAFETY: the processor has been asked for all that the function is compiled for.
    Some(unsafe { evaluate_in_lanes(r, eights) })
}

#[target_feature(enable = "avx2,avx512f,avx512ifma")]
fn evaluate_in_lanes(r: Limbs, eights: &[Eight]) -> Limbs {
    let Some((first, others)) = eights.split_first() else { return Limbs([0; 3]) };
    let mut powers = [r; 8];
    let mut power = r;
    // The highest power first, as the first block has the highest.
    for place in powers.iter_mut().rev() {
        *place = power;
        power = power.times(r);
    }
    let [highest, ..] = powers;
    let step = Factors::all(highest);
    let mut sums = load(first);
    for eight in others {
        sums = multiply_and_add(sums, &step, load(eight));
    }
    let zero = Numbers([_mm512_setzero_si512(); 3]);
    let sums = multiply_and_add(sums, &Factors::each(powers), zero);
    Limbs(sums.0.map(|limb| lanes(limb).into_iter().sum()))
}

impl Factors {
    /// The same number in all lanes.
    #[target_feature(enable = "avx512f")]
    fn all(number: Limbs) -> Self {
        Self::each([number; 8])
    }

    /// A number for each of eight blocks.
    #[target_feature(enable = "avx512f")]
    fn each(numbers: [Limbs; 8]) -> Self {
        // Factors' limbs must not be longer than they should be: times 20 they must have 52 bits.
        let limb = |at: usize, times: u64| {
            let words = ORDER.map(|block| {
                let limb = numbers.get(block).and_then(|number| number.0.get(at));
                (limb.copied().unwrap_or_default() * times).cast_signed()
            });
            let [a, b, c, d, e, f, g, h] = words;
            _mm512_set_epi64(h, g, f, e, d, c, b, a)
        };
        Self { limbs: [limb(0, 1), limb(1, 1), limb(2, 1)], twenty: [limb(1, 20), limb(2, 20)] }
    }
}

/// Eight blocks as numbers, each with the bit that stands behind it.
#[target_feature(enable = "avx512f")]
fn load(eight: &Eight) -> Numbers {
    let (words, _) = eight.as_chunks::<8>();
    let word =
        |at: usize| u64::from_le_bytes(words.get(at).copied().unwrap_or_default()).cast_signed();
    let four = |at: usize| {
        _mm512_set_epi64(
            word(at + 7),
            word(at + 6),
            word(at + 5),
            word(at + 4),
            word(at + 3),
            word(at + 2),
            word(at + 1),
            word(at),
        )
    };
    let (front, back) = (four(0), four(8));
    let low = _mm512_unpacklo_epi64(front, back);
    let high = _mm512_unpackhi_epi64(front, back);
    let limb = _mm512_set1_epi64(LIMB.cast_signed());
    let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
    let behind = _mm512_set1_epi64(1 << 40);
    Numbers([
        _mm512_and_si512(low, limb),
        _mm512_and_si512(middle, limb),
        _mm512_or_si512(_mm512_srli_epi64::<24>(high), behind),
    ])
}

/// In each lane a number times a factor plus another number. Limbs that are shorter than 46 bits
/// yield such limbs: a product's upper part is less than 2^44, three of them eight bits further up less
/// than 2^54, and what is carried from there to the lowest limb less than 2^52.
#[target_feature(enable = "avx512f,avx512ifma")]
fn multiply_and_add(numbers: Numbers, factors: &Factors, others: Numbers) -> Numbers {
    let [a0, a1, a2] = numbers.0;
    let [b0, b1, b2] = factors.limbs;
    let [s1, s2] = factors.twenty;
    let zero = _mm512_setzero_si512();
    let sum = |start: __m512i, [x, y, z]: [(__m512i, __m512i); 3]| {
        let low = _mm512_madd52lo_epu64(_mm512_madd52lo_epu64(start, x.0, x.1), y.0, y.1);
        let high = _mm512_madd52hi_epu64(_mm512_madd52hi_epu64(zero, x.0, x.1), y.0, y.1);
        (_mm512_madd52lo_epu64(low, z.0, z.1), _mm512_madd52hi_epu64(high, z.0, z.1))
    };
    let [o0, o1, o2] = others.0;
    let (low0, high0) = sum(o0, [(a0, b0), (a1, s2), (a2, s1)]);
    let (low1, high1) = sum(o1, [(a0, b1), (a1, b0), (a2, s2)]);
    let (low2, high2) = sum(o2, [(a0, b2), (a1, b1), (a2, b0)]);
    let limb = _mm512_set1_epi64(LIMB.cast_signed());
    // An upper part stands 52 bits up: eight above the next limb, ten above the modulus.
    let low1 = _mm512_add_epi64(low1, _mm512_slli_epi64::<8>(high0));
    let low1 = _mm512_add_epi64(low1, _mm512_srli_epi64::<44>(low0));
    let low2 = _mm512_add_epi64(low2, _mm512_slli_epi64::<8>(high1));
    let low2 = _mm512_add_epi64(low2, _mm512_srli_epi64::<44>(low1));
    let over = _mm512_add_epi64(_mm512_slli_epi64::<10>(high2), _mm512_srli_epi64::<42>(low2));
    // Five times what is over.
    let over = _mm512_add_epi64(over, _mm512_slli_epi64::<2>(over));
    let low0 = _mm512_add_epi64(_mm512_and_si512(low0, limb), over);
    Numbers([
        _mm512_and_si512(low0, limb),
        _mm512_add_epi64(_mm512_and_si512(low1, limb), _mm512_srli_epi64::<44>(low0)),
        _mm512_and_si512(low2, _mm512_set1_epi64(HIGH.cast_signed())),
    ])
}

#[target_feature(enable = "avx2,avx512f")]
fn lanes(register: __m512i) -> [u64; 8] {
    let front = _mm512_extracti64x4_epi64::<0>(register);
    let back = _mm512_extracti64x4_epi64::<1>(register);
    [
        _mm256_extract_epi64::<0>(front),
        _mm256_extract_epi64::<1>(front),
        _mm256_extract_epi64::<2>(front),
        _mm256_extract_epi64::<3>(front),
        _mm256_extract_epi64::<0>(back),
        _mm256_extract_epi64::<1>(back),
        _mm256_extract_epi64::<2>(back),
        _mm256_extract_epi64::<3>(back),
    ]
    .map(i64::cast_unsigned)
}
