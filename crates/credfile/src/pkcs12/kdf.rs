//! The key derivation of PKCS#12 (RFC 7292, appendix B.2). Nothing else uses it.

use super::Empty;
use sha2::Digest;
use sha2::digest::common::BlockSizeUser;
use zeroize::Zeroizing;

/// What the bytes are for: they differ.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Purpose {
    Key = 1,
    Iv = 2,
    Mac = 3,
}

/// How often [`derive`] does its rounds for that many bytes.
pub(super) fn blocks<D: Digest>(length: usize) -> usize {
    length.div_ceil(<D as Digest>::output_size())
}

/// Derives `length` bytes. The letters are the RFC's.
pub(super) fn derive<D: Digest + BlockSizeUser>(
    purpose: Purpose,
    password: Empty,
    salt: &[u8],
    iterations: u32,
    length: usize,
) -> Zeroizing<Vec<u8>> {
    let v = D::block_size();
    let filled = |bytes: &[u8]| {
        let whole = bytes.len().div_ceil(v) * v;
        bytes.iter().copied().cycle().take(whole).collect::<Vec<u8>>()
    };
    let d = vec![purpose as u8; v];
    let mut i = Zeroizing::new([filled(salt), filled(password.bytes())].concat());
    let mut derived = Zeroizing::new(Vec::with_capacity(length + <D as Digest>::output_size()));
    while derived.len() < length {
        let mut a = D::new().chain_update(&d).chain_update(i.as_slice()).finalize();
        for _ in 1..iterations {
            a = D::digest(&a);
        }
        derived.extend_from_slice(&a);
        let b: Vec<u8> = a.iter().copied().cycle().take(v).collect();
        for block in i.chunks_mut(v) {
            add_and_one(block, &b);
        }
    }
    derived.truncate(length);
    derived
}

/// `block = block + b + 1`, as numbers of as many bytes, the first the highest; what is over is lost.
fn add_and_one(block: &mut [u8], b: &[u8]) {
    let mut carry = 1;
    for (byte, added) in block.iter_mut().zip(b).rev() {
        let [high, low] = (u16::from(*byte) + u16::from(*added) + carry).to_be_bytes();
        *byte = low;
        carry = u16::from(high);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_carries_and_wraps() {
        let mut block = [0x00, 0xff, 0xfe];
        add_and_one(&mut block, &[0, 0, 1]);
        assert_eq!(block, [0x01, 0x00, 0x00]);
        let mut block = [0xff, 0xff];
        add_and_one(&mut block, &[0, 1]);
        assert_eq!(block, [0, 1]);
    }

    #[test]
    fn the_two_spellings_of_an_empty_password_give_other_bytes() {
        let key = |empty| derive::<sha1::Sha1>(Purpose::Key, empty, &[1; 8], 3, 24);
        assert_ne!(key(Empty::Nothing), key(Empty::Terminated));
        assert_eq!(key(Empty::Nothing).len(), 24);
        assert_eq!(blocks::<sha1::Sha1>(24), 2);
    }
}
