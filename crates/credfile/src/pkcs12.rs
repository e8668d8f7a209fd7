//! PKCS#12 (RFC 7292) without a password: the container, its seal, its encryption. Knows neither XML
//! nor what a key is for.
//!
//! ```text
//!  PFX ─ authSafe: data ─ OCTET STRING ──────┬─ encryptedData ─ certificates
//!   └─── macData: HMAC over that string      └─ data ─ shrouded key
//! ```
//!
//! The structures are `der`'s, declared in `asn1` as the RFCs declare them; ciphers and hashes are of
//! the same family as those of the repository. Nothing here calls itself. Crates that do all of it were
//! looked at: `p12-keystore` stands on `pkcs12` and `cms` before their release, knows one spelling of an
//! empty password, bounds the rounds of one derivation but not of a file, and brings a second X.509,
//! AES-GCM and scrypt; `p12` is no longer kept; OpenSSL is no part of a self-contained binary. What is
//! left to us is to walk through bags, and a key derivation that has not changed since 1999.
//!
//! A password that is empty has two spellings in the key derivation of PKCS#12: no bytes at all, and
//! the two zero bytes that end every password. The seal tells which one a file was made with.

mod asn1;
mod kdf;
mod pbe;
mod read;
mod write;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use read::open;
pub(crate) use read::{looks_like, read};
pub(crate) use write::write;

use crate::Error;

/// Rounds of hashing for one file. A key takes 2000 in the files of common tools and 600 000 where a
/// person's password is to be protected; this many take a second or two.
const ROUNDS: u64 = 2_000_000;

/// What one file may still cost.
pub(crate) struct Budget(u64);

impl Budget {
    /// For all that is in one file.
    pub(crate) fn of_a_file() -> Self {
        Self(ROUNDS)
    }

    /// For bytes that nobody has chosen with care.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn of(rounds: u64) -> Self {
        Self(rounds)
    }

    /// Pays for a derivation before it is done.
    fn spend(&mut self, iterations: u64, blocks: usize) -> Result<u32, Error> {
        let cost = iterations.checked_mul(blocks.max(1) as u64);
        let left = cost.and_then(|cost| self.0.checked_sub(cost));
        self.0 = left.ok_or(Error::Work { limit: ROUNDS })?;
        if iterations == 0 {
            return Err(Error::Pkcs12 { what: "it asks for no round of hashing" });
        }
        u32::try_from(iterations).map_err(|_| Error::Work { limit: ROUNDS })
    }
}

/// An empty password, in the spelling of whoever made the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Empty {
    /// As RFC 7292 has it: text of 16-bit letters, ended by a zero.
    Terminated,
    /// No bytes at all.
    Nothing,
}

/// The commoner one first.
pub(crate) const SPELLINGS: [Empty; 2] = [Empty::Terminated, Empty::Nothing];

impl Empty {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Terminated => &[0, 0],
            Self::Nothing => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_once() {
        let mut budget = Budget::of(10);
        assert_eq!(budget.spend(2, 2), Ok(2));
        assert_eq!(budget.spend(7, 1), Err(Error::Work { limit: ROUNDS }));
        assert_eq!(budget.spend(6, 0), Ok(6));
        assert!(budget.spend(1, 1).is_err());
        assert!(Budget::of(10).spend(u64::MAX, 2).is_err());
        assert!(Budget::of(10).spend(0, 2).is_err());
    }
}
