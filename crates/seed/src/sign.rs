//! Who signed a drive. What signs is in a crate of its own, which custody logs share.

pub(crate) use signing::verify;
pub use signing::{Fingerprint, FingerprintError, SigningKey, Trust};
