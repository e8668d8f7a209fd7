//! Poly1305 (RFC 8439, 2.5) of eight blocks at a time.
//!
//! A message's blocks are the coefficients of a polynomial, to be evaluated at `r`. Every eighth of
//! them makes a polynomial in `r^8`; eight of those are evaluated side by side, and put together at
//! the end; what is left behind the last eight follows block by block. Processors that cannot multiply
//! 52 bits in wide registers do all by the crate `poly1305`.
//!
//! Numbers modulo 2^130 - 5 are three limbs of 44, 44 and 42 bits, which may be a little longer
//! between two steps.

mod limbs;
#[cfg(target_arch = "x86_64")]
mod wide;

use limbs::Limbs;

/// Bytes of a block.
const BLOCK: usize = 16;

/// The authentication code of `message` under a key of two halves, `r` and `s`. A key is good for
/// one message alone.
#[must_use]
pub fn poly1305(r: &[u8; 16], s: &[u8; 16], message: &[u8]) -> [u8; 16] {
    #[cfg(target_arch = "x86_64")]
    if let Some(mac) = by_eights(r, s, message) {
        return mac;
    }
    plainly(r, s, message)
}

fn plainly(r: &[u8; 16], s: &[u8; 16], message: &[u8]) -> [u8; 16] {
    use poly1305::universal_hash::KeyInit;
    let mut key = [0; 32];
    let (low, high) = key.split_at_mut(BLOCK);
    low.copy_from_slice(r);
    high.copy_from_slice(s);
    poly1305::Poly1305::new(&key.into()).compute_unpadded(message).into()
}

/// None where the processor cannot.
#[cfg(target_arch = "x86_64")]
fn by_eights(r: &[u8; 16], s: &[u8; 16], message: &[u8]) -> Option<[u8; 16]> {
    let (eights, rest) = message.as_chunks::<{ 8 * BLOCK }>();
    let r = Limbs::clamped(*r);
    let mut sum = wide::evaluate(r, eights)?;
    let (blocks, end) = rest.as_chunks::<BLOCK>();
    for block in blocks {
        sum = sum.plus(Limbs::whole(*block)).times(r);
    }
    if !end.is_empty() {
        sum = sum.plus(Limbs::begun(end)).times(r);
    }
    Some(sum.tag(*s))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes that carry far, and others.
    fn bytes(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        let extreme = prop::sample::select(vec![0x00, 0x01, 0xfb, 0xfe, 0xff]);
        prop_oneof![
            prop::collection::vec(any::<u8>(), length.clone()),
            prop::collection::vec(extreme.clone(), length.clone()),
            (extreme, length).prop_map(|(byte, n)| vec![byte; n]),
        ]
    }

    fn half() -> impl Strategy<Value = [u8; 16]> {
        let edges = vec![[0; 16], [0xff; 16], 1_u128.to_le_bytes(), 2_u128.to_le_bytes()];
        prop_oneof![any::<[u8; 16]>(), prop::sample::select(edges)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn it_is_what_the_plain_one_makes(r in half(), s in half(), message in bytes(0..2000)) {
            let plain = plainly(&r, &s, &message);
            prop_assert_eq!(poly1305(&r, &s, &message), plain);
            #[cfg(target_arch = "x86_64")]
            if let Some(mac) = by_eights(&r, &s, &message) {
                prop_assert_eq!(mac, plain);
            }
        }
    }

    // With r = 1 the sum of the blocks is what is reduced: every sum around multiples of 2^130 - 5.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn sums_next_to_the_modulus_are_reduced() {
        let r = 1_u128.to_le_bytes();
        for last in 0..=255 {
            for blocks in 1..40 {
                let mut message = vec![0xff; blocks * BLOCK];
                message[(blocks - 1) * BLOCK] = last;
                let plain = plainly(&r, &[0; 16], &message);
                let Some(mac) = by_eights(&r, &[0; 16], &message) else { return };
                assert_eq!(mac, plain, "{blocks} blocks, {last}");
            }
        }
    }

    #[test]
    fn every_length_is_right() {
        let message: Vec<u8> =
            (0..3000_u32).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
        let (r, s) = ([0xa5; 16], [0x5a; 16]);
        for length in 0..3000 {
            let message = &message[..length];
            assert_eq!(poly1305(&r, &s, message), plainly(&r, &s, message), "{length}");
        }
    }

    // RFC 8439, 2.5.2.
    #[test]
    fn it_is_the_standards() {
        let key = [
            0x85, 0xd6, 0xbe, 0x78, 0x57, 0x55, 0x6d, 0x33, 0x7f, 0x44, 0x52, 0xfe, 0x42, 0xd5,
            0x06, 0xa8, 0x01, 0x03, 0x80, 0x8a, 0xfb, 0x0d, 0xb2, 0xfd, 0x4a, 0xbf, 0xf6, 0xaf,
            0x41, 0x49, 0xf5, 0x1b,
        ];
        let tag = [
            0xa8, 0x06, 0x1d, 0xc1, 0x30, 0x51, 0x36, 0xc6, 0xc2, 0x2b, 0x8b, 0xaf, 0x0c, 0x01,
            0x27, 0xa9,
        ];
        let (r, s) = (key[..16].try_into().unwrap(), key[16..].try_into().unwrap());
        let message = b"Cryptographic Forum Research Group";
        assert_eq!(poly1305(r, s, message), tag);
        #[cfg(target_arch = "x86_64")]
        if let Some(mac) = by_eights(r, s, message) {
            assert_eq!(mac, tag);
        }
    }
}
