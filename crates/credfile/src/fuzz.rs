//! What the fuzz targets call of this crate: the readers of all files. Not part of what users get: only
//! with the feature `fuzzing`, and in tests.
//!
//! A fuzzer finds no seal that fits, so what is within a PKCS#12 is read without it, too.

use crate::pkcs12::{self, Budget};
use crate::{Error, Identity, OfflineApplicationParams, PublishSettings, VaultCredentials};

/// Rounds of hashing for one input: a fuzzer has better to do.
const ROUNDS: u64 = 10_000;

/// A PKCS#12. Answers whether it is one of a key and its certificate.
pub fn pkcs12(data: &[u8]) -> bool {
    for empty in pkcs12::SPELLINGS {
        let _ = pkcs12::open(data, empty, &mut Budget::of(ROUNDS));
    }
    let Ok(identity) = Identity::from_pkcs12_within(data, &mut Budget::of(ROUNDS)) else {
        return false;
    };
    let again = identity.to_pkcs12().and_then(|again| Identity::from_pkcs12(&again));
    assert_eq!(again, Ok(identity), "a PKCS#12 does not come back as it was");
    true
}

/// Publish settings. Answers whether they are.
pub fn publish_settings(data: &[u8]) -> bool {
    let Ok(mut read) = PublishSettings::read_within(data, Budget::of(ROUNDS)) else { return false };
    read.refused.clear();
    come_back(&read, |read| PublishSettings::read(read.write()?.as_bytes()));
    true
}

/// Vault credentials. Answers whether they are.
pub fn vault_credentials(data: &[u8]) -> bool {
    let Ok(read) = VaultCredentials::read_within(data, &mut Budget::of(ROUNDS)) else {
        return false;
    };
    come_back(&read, |read| VaultCredentials::read(read.write()?.as_bytes()));
    true
}

/// The parameters of an application. Answers whether they are.
pub fn offline_params(data: &[u8]) -> bool {
    let Ok(read) = OfflineApplicationParams::read(data) else { return false };
    come_back(&read, |read| OfflineApplicationParams::read(read.write()?.as_bytes()));
    true
}

/// What is read can be written, and read again.
fn come_back<T: PartialEq + std::fmt::Debug>(read: &T, again: impl Fn(&T) -> Result<T, Error>) {
    assert_eq!(again(read).as_ref(), Ok(read), "a file does not come back as it was");
}
