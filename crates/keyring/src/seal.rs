//! A key file, and what it seals: AES-256-GCM with a random nonce. Knows nothing of drives.
//!
//! A sealed secret, byte by byte:
//!
//! ```text
//!  0      version, 1
//!  1..13  nonce, random
//!  13..   the secret, encrypted, and 16 bytes of tag
//! ```
//!
//! Authenticated with it, but not in it: `packmule keyring v1\n` and the context. Random nonces of 96
//! bits are good for 2^32 secrets a key (NIST SP 800-38D, 8.3); a data centre has some thousand drives.

use crate::Error;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const DOMAIN: &[u8] = b"packmule keyring v1\n";
const KEY: usize = 32;

/// A key from a file.
pub struct Keyring(RandomizedNonceKey);

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(…)")
    }
}

impl Keyring {
    /// The key in that file: 32 bytes, readable by its owner alone.
    ///
    /// # Errors
    /// [`Error::KeyFile`] when the file is of another length or open to others; [`Error::Io`] when
    /// there is none.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let (mode, bytes) = read(path).map_err(Error::io("reading", path))?;
        let refuse = |what| Error::KeyFile { path: path.to_owned(), what };
        if mode & 0o077 != 0 {
            return Err(refuse(
                "others may read it; chmod 600 if nobody has, else what it seals is known to them",
            ));
        }
        let key = <&[u8; KEY]>::try_from(bytes.as_slice());
        Self::new(key.map_err(|_| refuse("it is not 32 bytes long"))?)
    }

    /// The key in that file, or a new one that the file then holds, durably and with mode 0600. For
    /// a place where nothing is sealed yet: see [`load`](Self::load) for the others.
    ///
    /// # Errors
    /// As [`load`](Self::load); whatever the operating system says.
    pub fn load_or_create(path: &Path) -> Result<Self, Error> {
        match Self::load(path) {
            Err(Error::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {}
            loaded => return loaded,
        }
        let mut key = Zeroizing::new([0; KEY]);
        getrandom::fill(key.as_mut_slice()).map_err(|_| Error::Random)?;
        match store::durable::write(path, key.as_slice(), 0o600) {
            Ok(()) => Self::new(&key),
            // Another process was faster.
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(cause) => Err(Error::io("writing", path)(cause)),
        }
    }

    fn new(key: &[u8; KEY]) -> Result<Self, Error> {
        RandomizedNonceKey::new(&AES_256_GCM, key).map(Self).map_err(|_| Error::Random)
    }

    /// The secret as it may lie on a disk. It opens with the same `context` only: what it belongs to,
    /// in bytes of the caller's choice.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn seal(&self, context: &[u8], secret: &[u8]) -> Result<Vec<u8>, Error> {
        // Encrypted in place: what is left of the secret is wiped.
        let mut text = Zeroizing::new(Vec::with_capacity(secret.len() + AES_256_GCM.tag_len()));
        text.extend_from_slice(secret);
        let nonce = self.0.seal_in_place_append_tag(authenticated(context), &mut *text);
        let nonce = nonce.map_err(|_| Error::Random)?;
        Ok([&[VERSION], nonce.as_ref().as_slice(), text.as_slice()].concat())
    }

    /// The secret that was sealed with this context. `what` names it for people.
    ///
    /// # Errors
    /// [`Error::Sealed`]; [`Error::Version`].
    pub fn open(
        &self,
        context: &[u8],
        sealed: &[u8],
        what: impl FnOnce() -> String,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let Some((version, rest)) = sealed.split_first() else {
            return Err(Error::Sealed { what: what() });
        };
        if *version != VERSION {
            return Err(Error::Version { what: what(), version: u32::from(*version) });
        }
        self.unlock(context, rest).ok_or_else(|| Error::Sealed { what: what() })
    }

    fn unlock(&self, context: &[u8], rest: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, text) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut secret = Zeroizing::new(text.to_vec());
        let length = self.0.open_in_place(nonce, authenticated(context), &mut secret).ok()?.len();
        secret.truncate(length);
        Some(secret)
    }
}

fn authenticated(context: &[u8]) -> Aad<Vec<u8>> {
    Aad::from([DOMAIN, context].concat())
}

/// The mode, and the bytes as far as they could be a key.
fn read(path: &Path) -> io::Result<(u32, Zeroizing<Vec<u8>>)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * KEY));
    file.take(2 * KEY as u64).read_to_end(&mut bytes)?;
    Ok((mode, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};

    fn keyring() -> Keyring {
        Keyring::new(&[7; KEY]).unwrap()
    }

    fn open(keyring: &Keyring, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Error> {
        keyring.open(context, sealed, || "it".to_owned()).map(|secret| secret.to_vec())
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_and_nowhere_else() {
        let keyring = keyring();
        let sealed = keyring.seal(b"drive D0", b"secret").unwrap();
        assert_eq!(open(&keyring, b"drive D0", &sealed).unwrap(), b"secret");
        let other = Keyring::new(&[8; KEY]).unwrap();
        for refused in [
            open(&keyring, b"drive D1", &sealed),
            open(&keyring, b"", &sealed),
            open(&other, b"drive D0", &sealed),
        ] {
            assert!(matches!(refused, Err(Error::Sealed { .. })));
        }
    }

    #[test]
    fn every_byte_of_it_counts_and_a_part_is_nothing() {
        let keyring = keyring();
        let sealed = keyring.seal(b"x", b"secret").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&keyring, b"x", &changed).is_err(), "byte {at}");
            assert!(open(&keyring, b"x", &sealed[..at]).is_err(), "{at} bytes");
        }
        let newer = [&[2], &sealed[1..]].concat();
        assert!(matches!(open(&keyring, b"x", &newer), Err(Error::Version { version: 2, .. })));
    }

    #[test]
    fn nothing_is_sealed_the_same_way_twice_or_readable() {
        let keyring = keyring();
        let (one, other) = (keyring.seal(b"x", b"secret"), keyring.seal(b"x", b"secret"));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 1 + 12 + 6 + 16);
        assert!(!one.windows(6).any(|window| window == b"secret"));
        assert_eq!(format!("{keyring:?}"), "Keyring(…)");
    }

    /// By OpenSSL, through Python's `cryptography`: `AESGCM(bytes([7] * 32)).encrypt(bytes(12),
    /// b"secret", b"packmule keyring v1\nx")`.
    #[test]
    fn what_another_implementation_seals_opens_here() {
        let text = [
            18, 189, 199, 192, 158, 230, 26, 209, 247, 159, 230, 219, 55, 89, 69, 106, 75, 126, 14,
            98, 62, 233,
        ];
        let sealed = [[1].as_slice(), &[0; 12], &text].concat();
        assert_eq!(open(&keyring(), b"x", &sealed).unwrap(), b"secret");
    }

    #[test]
    fn a_key_file_is_kept_and_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("drives.key");
        assert!(matches!(Keyring::load(&path), Err(Error::Io { .. })));
        let sealed = Keyring::load_or_create(&path).unwrap().seal(b"x", b"secret").unwrap();
        let again = Keyring::load_or_create(&path).unwrap();
        assert_eq!(open(&again, b"x", &sealed).unwrap(), b"secret");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(matches!(Keyring::load_or_create(&path), Err(Error::KeyFile { .. })));
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for length in [0, 31, 33, 64, 65] {
            fs::write(&path, vec![7; length]).unwrap();
            assert!(matches!(Keyring::load_or_create(&path), Err(Error::KeyFile { .. })));
        }
    }
}
