//! The compression function (FIPS 180-4, 6.2.2) for two messages, on the SHA unit of x86-64.
//!
//! The unit has the state in two registers, words A, B, E, F and C, D, G, H, highest first, and does
//! two rounds a step: after one that made the new C, D, G, H the two have changed their roles. Four
//! words of the message schedule are made at once.

use super::Block;
use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_extract_epi32, _mm_set_epi32, _mm_set_epi64x,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32,
};

/// The first 32 bits of the fractional parts of the cube roots of the first 64 primes (4.2.2).
const K: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

type Both<'s, 'b> = ([&'s mut [u32; 8]; 2], [&'b [Block]; 2]);

/// Compresses as many blocks of each as the shorter one has.
///
/// # Errors
/// What was given, when this processor has no such unit.
#[allow(unsafe_code, reason = "the one call of code that not every processor has")]
pub(super) fn compress<'s, 'b>(
    states: [&'s mut [u32; 8]; 2],
    blocks: [&'b [Block]; 2],
) -> Result<(), Both<'s, 'b>> {
    if !is_x86_feature_detected!("sha") || !is_x86_feature_detected!("sse4.1") {
        return Err((states, blocks));
    }
    // SAFETY: the processor has been asked for all that the function is compiled for.
    unsafe { compress_on_unit(states, blocks) };
    Ok(())
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn compress_on_unit(states: [&mut [u32; 8]; 2], blocks: [&[Block]; 2]) {
    let [state_one, state_other] = states;
    let [one, other] = blocks;
    let [mut abef, mut cdgh] = load(state_one);
    let [mut abef_other, mut cdgh_other] = load(state_other);
    for (one, other) in one.iter().zip(other) {
        let before = [abef, cdgh, abef_other, cdgh_other];
        let mut words = words(one);
        let mut words_other = self::words(other);
        for k in K {
            let [k0, k1, k2, k3] = k.map(u32::cast_signed);
            let k = _mm_set_epi32(k3, k2, k1, k0);
            let (sum, sum_other) = (_mm_add_epi32(words[0], k), _mm_add_epi32(words_other[0], k));
            // Those made in the last four turns are for nobody: it costs nothing, as nobody waits.
            words = advance(words);
            words_other = advance(words_other);
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
            cdgh_other = _mm_sha256rnds2_epu32(cdgh_other, abef_other, sum_other);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32::<0x0e>(sum));
            abef_other =
                _mm_sha256rnds2_epu32(abef_other, cdgh_other, _mm_shuffle_epi32::<0x0e>(sum_other));
        }
        abef = _mm_add_epi32(abef, before[0]);
        cdgh = _mm_add_epi32(cdgh, before[1]);
        abef_other = _mm_add_epi32(abef_other, before[2]);
        cdgh_other = _mm_add_epi32(cdgh_other, before[3]);
    }
    *state_one = store(abef, cdgh);
    *state_other = store(abef_other, cdgh_other);
}

/// The next four words of the schedule take the place of the first four.
#[inline]
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn advance([w0, w1, w2, w3]: [__m128i; 4]) -> [__m128i; 4] {
    let partly = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
    [w1, w2, w3, _mm_sha256msg2_epu32(partly, w3)]
}

/// A block's words, which are big-endian.
#[inline]
#[target_feature(enable = "sse2,ssse3")]
fn words(block: &Block) -> [__m128i; 4] {
    let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    let (halves, _) = block.as_chunks::<8>();
    let half = |at: usize| halves.get(at).copied().map_or(0, i64::from_le_bytes);
    let four = |at: usize| _mm_shuffle_epi8(_mm_set_epi64x(half(2 * at + 1), half(2 * at)), swap);
    [four(0), four(1), four(2), four(3)]
}

#[inline]
#[target_feature(enable = "sse2")]
fn load(state: &[u32; 8]) -> [__m128i; 2] {
    let [a, b, c, d, e, f, g, h] = state.map(u32::cast_signed);
    [_mm_set_epi32(a, b, e, f), _mm_set_epi32(c, d, g, h)]
}

#[inline]
#[target_feature(enable = "sse2,sse4.1")]
fn store(abef: __m128i, cdgh: __m128i) -> [u32; 8] {
    let words = |four| {
        let of = [
            _mm_extract_epi32::<3>(four),
            _mm_extract_epi32::<2>(four),
            _mm_extract_epi32::<1>(four),
            _mm_extract_epi32::<0>(four),
        ];
        of.map(i32::cast_unsigned)
    };
    let ([a, b, e, f], [c, d, g, h]) = (words(abef), words(cdgh));
    [a, b, c, d, e, f, g, h]
}
