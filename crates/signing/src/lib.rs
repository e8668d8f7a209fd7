//! Who signed something: keys, fingerprints, and whom to believe. Never believes a key because it
//! was found beside what it signed.

use ed25519_dalek::{Signature, SigningKey as Secret, VerifyingKey as Public};
use model::ErrorKind;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use wire::PublicKey;
use zeroize::Zeroizing;

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No random numbers.
    #[error("the operating system has no random numbers")]
    Random,
    /// The operating system refused.
    #[error("{action} {} failed", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The file of the key will not do.
    #[error("{} is no usable signing key: {what}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Error {
    /// The kind, for exit codes and HTTP statuses.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Random => ErrorKind::Internal,
            Self::KeyFile { .. } => ErrorKind::Invalid,
            Self::Io { cause, .. } => match cause.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    ErrorKind::Denied
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
                _ => ErrorKind::Internal,
            },
        }
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |cause| Self::Io { action, path, cause }
    }
}

/// A key that signs. Wiped from memory when dropped.
#[derive(Clone)]
pub struct SigningKey(Secret);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.fingerprint())
    }
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// The operating system has no random numbers.
    pub fn generate() -> Result<Self, Error> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        getrandom::fill(&mut *seed).map_err(|_| Error::Random)?;
        Ok(Self(Secret::from_bytes(&seed)))
    }

    /// The key of 32 secret bytes.
    #[must_use]
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        Self(Secret::from_bytes(secret))
    }

    /// The key in that file: 32 bytes, readable by its owner alone.
    ///
    /// # Errors
    /// [`Error::KeyFile`] when the file is of another length or open to others.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let read = || -> io::Result<(u32, Zeroizing<Vec<u8>>)> {
            let file = File::open(path)?;
            let mode = file.metadata()?.permissions().mode();
            let mut bytes = Zeroizing::new(Vec::with_capacity(64));
            file.take(64).read_to_end(&mut bytes)?;
            Ok((mode, bytes))
        };
        let (mode, bytes) = read().map_err(Error::io("reading", path))?;
        let refuse = |what| Error::KeyFile { path: path.to_owned(), what };
        if mode & 0o077 != 0 {
            return Err(refuse("others may read it; make a new key, or chmod 600 if nobody has"));
        }
        let secret = <&[u8; 32]>::try_from(bytes.as_slice());
        secret.map(Self::from_bytes).map_err(|_| refuse("it is not 32 bytes long"))
    }

    /// The key in that file, or a new one that the file then holds, with mode 0600.
    ///
    /// # Errors
    /// As [`load`](Self::load); whatever the operating system says.
    pub fn load_or_create(path: &Path) -> Result<Self, Error> {
        let key = Self::generate()?;
        match store::durable::write(path, key.0.as_bytes(), 0o600) {
            Ok(()) => Ok(key),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(cause) => Err(Error::io("writing", path)(cause)),
        }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// The public half, for people.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.public())
    }

    /// The signature over `message`. Begin it with a domain of its own, so that nothing else that
    /// this key signs can be taken for it.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        use ed25519_dalek::Signer as _;
        self.0.sign(message).to_bytes()
    }
}

/// Whether `signature` over `message` is by `key`. Refuses keys of small order and malleable
/// signatures, so that two verifiers never disagree.
#[must_use]
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    Public::from_bytes(&key.0)
        .and_then(|key| key.verify_strict(message, &Signature::from_bytes(signature)))
        .is_ok()
}

/// What people compare instead of a public key: the first 128 bits of its SHA-256, as eight
/// groups of four hexadecimal digits with hyphens between them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 16]);

/// Not a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a signer's fingerprint: eight groups of four hexadecimal digits, such as 0123-4567-…"
)]
pub struct FingerprintError(String);

impl Fingerprint {
    /// The fingerprint of a key.
    #[must_use]
    pub fn of(key: &PublicKey) -> Self {
        let mut first = [0; 16];
        for (to, from) in first.iter_mut().zip(Sha256::digest(key.0)) {
            *to = from;
        }
        Self(first)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let hyphen = if at > 0 && at % 2 == 0 { "-" } else { "" };
            write!(f, "{hyphen}{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Takes digits of either case, because people type them; the groups must be as shown.
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let refuse = || FingerprintError(text.chars().take(80).collect());
        let groups: Vec<&str> = text.split('-').collect();
        if groups.len() != 8 || groups.iter().any(|group| group.len() != 4) {
            return Err(refuse());
        }
        let mut bytes = [0; 16];
        for (pair, group) in bytes.chunks_exact_mut(2).zip(groups) {
            let digits = group.bytes().all(|b| b.is_ascii_hexdigit());
            let value = u16::from_str_radix(group, 16).ok().filter(|_| digits);
            pair.copy_from_slice(&value.ok_or_else(refuse)?.to_be_bytes());
        }
        Ok(Self(bytes))
    }
}

/// Whose signature counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// This key's, as pinned in an import job.
    Key(PublicKey),
    /// That of the key with this fingerprint, as told by whoever prepared the drives.
    Fingerprint(Fingerprint),
    /// Anyone's. Shows that bytes are intact, not whose they are: good for a look at a drive,
    /// refused for an import.
    AsFound,
}

impl Trust {
    /// Whether `key` may sign.
    #[must_use]
    pub fn allows(&self, key: &PublicKey) -> bool {
        match self {
            Self::Key(pinned) => pinned == key,
            Self::Fingerprint(pinned) => *pinned == Fingerprint::of(key),
            Self::AsFound => true,
        }
    }

    /// The fingerprint that is asked for, if one is.
    #[must_use]
    pub fn expected(&self) -> Option<Fingerprint> {
        match self {
            Self::Key(key) => Some(Fingerprint::of(key)),
            Self::Fingerprint(fingerprint) => Some(*fingerprint),
            Self::AsFound => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 8032, section 7.1, test 2; its public key's SHA-256 by `sha256sum`.
    #[test]
    fn signatures_are_those_of_rfc_8032() {
        let hex = |text: &str| text.parse::<model::Digest>().unwrap().0;
        let key = SigningKey::from_bytes(&hex(
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        ));
        let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        assert_eq!(key.public().0, hex(public));
        let signature = key.sign(&[0x72]);
        assert_eq!(
            wire::Signature(signature).to_string(),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        assert!(verify(&key.public(), &[0x72], &signature));
        assert!(!verify(&key.public(), &[0x73], &signature));
        assert_eq!(key.fingerprint().to_string(), "39f7-13d0-a644-253f-0452-9421-b9f5-1b9b");
    }

    #[test]
    fn a_key_file_is_kept_and_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signing.key");
        let first = SigningKey::load_or_create(&path).unwrap();
        let again = SigningKey::load_or_create(&path).unwrap();
        assert_eq!(first.public(), again.public());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SigningKey::load(&path), Err(Error::KeyFile { .. })));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, [7; 33]).unwrap();
        assert!(matches!(SigningKey::load(&path), Err(Error::KeyFile { .. })));
    }

    #[test]
    fn a_secret_is_never_shown() {
        let key = SigningKey::from_bytes(&[0x41; 32]);
        assert!(!format!("{key:?}").contains("4141"));
    }

    proptest! {
        #[test]
        fn a_fingerprint_is_parsed_exactly(bytes: [u8; 32], noise in "[0-9a-fg+ -]{38,40}") {
            let fingerprint = Fingerprint::of(&PublicKey(bytes));
            let text = fingerprint.to_string();
            prop_assert_eq!(text.parse(), Ok(fingerprint));
            prop_assert_eq!(text.to_uppercase().parse(), Ok(fingerprint));
            prop_assert!(text.replace('-', "").parse::<Fingerprint>().is_err());
            if let Ok(parsed) = noise.parse::<Fingerprint>() {
                prop_assert_eq!(parsed.to_string(), noise);
            }
        }
    }
}
