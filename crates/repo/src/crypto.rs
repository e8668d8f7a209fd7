//! Authenticated encryption as restic does it: AES-256-CTR, then Poly1305-AES over the ciphertext.
//!
//! Stored form: `IV (16) ‖ ciphertext ‖ MAC (16)`; source: restic's doc/design.rst, "Keys,
//! Encryption and MAC". Knows nothing of passwords or files.

use crate::Error;
use aes::cipher::{BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher};
use aes::{Aes128, Aes256};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes that encryption adds: IV and MAC.
pub(crate) const OVERHEAD: u32 = 32;
/// Bytes of the initialisation vector in front.
pub(crate) const IV: usize = 16;
/// Bytes of the authentication code at the end.
pub(crate) const MAC: usize = 16;

/// What is decrypted in one go where nobody needs the whole: it stays in the nearest cache.
const BLOCK: usize = 16 << 10;

/// A repository's master key, or a key derived from a password.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Key {
    encrypt: [u8; 32],
    mac_k: [u8; 16],
    mac_r: [u8; 16],
}

impl Key {
    /// From encryption key, and the two halves of the authentication key.
    #[must_use]
    pub(crate) fn new(encrypt: [u8; 32], mac_k: [u8; 16], mac_r: [u8; 16]) -> Self {
        Self { encrypt, mac_k, mac_r }
    }

    /// A new key from the operating system's random source.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub(crate) fn random() -> Result<Self, Error> {
        let mut key = Self::new([0; 32], [0; 16], [0; 16]);
        getrandom::fill(&mut key.encrypt).map_err(Error::Random)?;
        getrandom::fill(&mut key.mac_k).map_err(Error::Random)?;
        getrandom::fill(&mut key.mac_r).map_err(Error::Random)?;
        key.mac_r = clamp(key.mac_r);
        Ok(key)
    }

    /// The three parts: encryption key, `k`, `r`.
    #[must_use]
    pub(crate) fn parts(&self) -> (&[u8; 32], &[u8; 16], &[u8; 16]) {
        (&self.encrypt, &self.mac_k, &self.mac_r)
    }

    /// Appends the encrypted form of `plain` to `out`: `plain.len() + OVERHEAD` bytes.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub(crate) fn seal(&self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let start = out.len();
        out.reserve(plain.len() + IV + MAC);
        out.extend_from_slice(&[0; IV]);
        out.extend_from_slice(plain);
        out.extend_from_slice(&[0; MAC]);
        self.seal_in_place(out.get_mut(start..).unwrap_or_default())
    }

    /// Encrypts what lies between the first [`IV`] and the last [`MAC`] bytes, and fills these in.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub(crate) fn seal_in_place(&self, framed: &mut [u8]) -> Result<(), Error> {
        let fresh = Self::fresh()?;
        let Some((iv, rest)) = framed.split_first_chunk_mut::<IV>() else { return Ok(()) };
        let Some((body, mac)) = rest.split_last_chunk_mut::<MAC>() else { return Ok(()) };
        *iv = fresh;
        self.stream(iv).apply_keystream(body);
        *mac = self.mac(iv, body);
        Ok(())
    }

    /// An initialisation vector, for one message alone.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub(crate) fn fresh() -> Result<[u8; IV], Error> {
        let mut iv = [0; IV];
        getrandom::fill(&mut iv).map_err(Error::Random)?;
        Ok(iv)
    }

    /// Appends the encrypted form of `plain` to `out`, block by block.
    pub(crate) fn seal_onto(&self, iv: [u8; IV], plain: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&iv);
        let start = out.len();
        let mut stream = self.stream(&iv);
        let mut room = [0; BLOCK];
        for block in plain.chunks(BLOCK) {
            let sealed = room.get_mut(..block.len()).unwrap_or_default();
            stream.apply_keystream_b2b(block, sealed);
            out.extend_from_slice(sealed);
        }
        let mac = self.mac(&iv, out.get(start..).unwrap_or_default());
        out.extend_from_slice(&mac);
    }

    /// Decrypts in place: afterwards `sealed` holds the plain text only.
    ///
    /// # Errors
    /// [`Unauthentic`] when this key has not made these bytes; `sealed` is then unchanged.
    pub(crate) fn open(&self, sealed: &mut Vec<u8>) -> Result<(), Unauthentic> {
        let (iv, body) = self.authentic(sealed)?;
        let (iv, end) = (*iv, IV + body.len());
        self.stream(&iv).apply_keystream(sealed.get_mut(IV..end).unwrap_or_default());
        sealed.truncate(end);
        sealed.drain(..IV);
        Ok(())
    }

    /// Decrypts where it lies. Answers the plain text.
    ///
    /// # Errors
    /// [`Unauthentic`] when this key has not made these bytes; they are then unchanged.
    pub(crate) fn open_in_place<'s>(&self, sealed: &'s mut [u8]) -> Result<&'s [u8], Unauthentic> {
        let (iv, body) = self.authentic(sealed)?;
        let (iv, length) = (*iv, body.len());
        let body = sealed.get_mut(IV..IV + length).unwrap_or_default();
        self.stream(&iv).apply_keystream(body);
        Ok(body)
    }

    /// Decrypts into the front of `room`, which grows when it is too short. Answers that front.
    ///
    /// # Errors
    /// [`Unauthentic`] when this key has not made these bytes.
    pub(crate) fn open_into<'r>(
        &self,
        sealed: &[u8],
        room: &'r mut Vec<u8>,
    ) -> Result<&'r [u8], Unauthentic> {
        let (iv, body) = self.authentic(sealed)?;
        if room.len() < body.len() {
            room.resize(body.len(), 0);
        }
        let plain = room.get_mut(..body.len()).unwrap_or_default();
        self.stream(iv).try_apply_keystream_b2b(body, plain).map_err(|_| Unauthentic)?;
        Ok(plain)
    }

    /// Decrypts block by block into a small buffer, and gives each to `take`, with the place in `sealed` where it ends.
    ///
    /// # Errors
    /// [`Unauthentic`] when this key has not made these bytes; `take` was not called then.
    pub(crate) fn open_in_blocks(
        &self,
        sealed: &[u8],
        mut take: impl FnMut(&[u8], usize),
    ) -> Result<(), Unauthentic> {
        let (iv, body) = self.authentic(sealed)?;
        let mut stream = self.stream(iv);
        let mut room = [0; BLOCK];
        let mut end = IV;
        for block in body.chunks(BLOCK) {
            let plain = room.get_mut(..block.len()).unwrap_or_default();
            stream.try_apply_keystream_b2b(block, plain).map_err(|_| Unauthentic)?;
            end += block.len();
            take(plain, end);
        }
        Ok(())
    }

    /// IV and ciphertext, if this key has made them.
    fn authentic<'s>(&self, sealed: &'s [u8]) -> Result<(&'s [u8; IV], &'s [u8]), Unauthentic> {
        let (iv, rest) = sealed.split_first_chunk::<IV>().ok_or(Unauthentic)?;
        let (body, mac) = rest.split_last_chunk::<MAC>().ok_or(Unauthentic)?;
        if same(&self.mac(iv, body), mac) { Ok((iv, body)) } else { Err(Unauthentic) }
    }

    fn stream(&self, iv: &[u8; IV]) -> ctr::Ctr128BE<Aes256> {
        ctr::Ctr128BE::new(&self.encrypt.into(), &(*iv).into())
    }

    fn mac(&self, iv: &[u8; IV], ciphertext: &[u8]) -> [u8; MAC] {
        let mut masked = (*iv).into();
        Aes128::new(&self.mac_k.into()).encrypt_block(&mut masked);
        let mac = mac::poly1305(&self.mac_r, &masked.into(), ciphertext);
        masked.as_mut_slice().zeroize();
        mac
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// These bytes were not made with this key, or were changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unauthentic;

/// Poly1305 uses only these bits of `r` (RFC 8439, section 2.5.1). restic stores them masked.
fn clamp(mut r: [u8; 16]) -> [u8; 16] {
    for (i, byte) in r.iter_mut().enumerate() {
        match i % 4 {
            3 => *byte &= 15,
            0 if i > 0 => *byte &= 252,
            _ => {}
        }
    }
    r
}

fn same(a: &[u8; MAC], b: &[u8; MAC]) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> Key {
        Key::new([7; 32], [9; 16], clamp([0xff; 16]))
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_nothing_else_does(plain in prop_oneof![3 => 0..300_usize, 1 => 0..40_000_usize].prop_flat_map(|n| prop::collection::vec(any::<u8>(), n)), at: prop::sample::Index, bit in 0u8..8) {
            let mut sealed = vec![1, 2, 3];
            key().seal(&plain, &mut sealed).unwrap();
            prop_assert_eq!(sealed.len(), 3 + plain.len() + IV + MAC);
            let mut onto = vec![1, 2, 3];
            let iv = *sealed[3..].first_chunk().unwrap();
            key().seal_onto(iv, &plain, &mut onto);
            prop_assert_eq!(&onto, &sealed);
            let mut sealed = sealed.split_off(3);
            let mut broken = sealed.clone();
            let at = at.index(broken.len());
            broken[at] ^= 1 << bit;
            let before = broken.clone();
            prop_assert_eq!(key().open(&mut broken), Err(Unauthentic));
            prop_assert_eq!(broken, before);
            prop_assert_eq!(Key::random().unwrap().open(&mut sealed.clone()), Err(Unauthentic));
            key().open(&mut sealed).unwrap();
            prop_assert_eq!(sealed, plain);
        }
    }

    #[test]
    fn too_short_is_unauthentic() {
        for length in 0..IV + MAC {
            assert_eq!(key().open(&mut vec![0; length]), Err(Unauthentic));
        }
    }

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        let digits = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        std::array::from_fn(digits)
    }

    // D. J. Bernstein, "The Poly1305-AES message-authentication code", appendix B.
    #[test]
    fn the_mac_is_bernsteins() {
        let key = Key::new(
            [0; 32],
            bytes("ec074c835580741701425b623235add6"),
            bytes("851fc40c3467ac0be05cc20404f3f700"),
        );
        let mac = key.mac(&bytes("fb447350c4e868c52ac3275cf9d4327e"), &bytes::<2>("f3f6"));
        assert_eq!(mac, bytes("f4c633c3044fc145f84f335cb81953de"));
    }
}
