//! The files that people carry from one computer to another: publish settings, vault credentials,
//! `OfflineApplicationParams.xml`, and the keys and certificates in them. Pure: opens no file, asks
//! no clock; its only source from outside is the system's random numbers, for new keys and salts.
//!
//! ```text
//!  bytes ─▶ xml (bounded, no DTD) ─▶ fields ─▶ a type that is valid
//!                                      └─▶ base64 ─▶ pkcs12 ─▶ Identity
//! ```
//!
//! What always holds:
//!
//! - **An [`Identity`]'s key is its certificate's**: other pairs are refused when they are read.
//! - **What is read is bounded before it is done**: bytes, depth, elements, rounds of hashing.
//! - **No secret is shown**: `Debug` of what holds a key does not show it, and its memory is wiped.
//!
//! What we add to files of Azure's formats is in a namespace of its own, [`NAMESPACE`], as attributes,
//! which others ignore. docs/format.md describes the files.

mod certificate;
mod error;
mod fields;
#[cfg(test)]
mod fixture;
#[cfg(any(test, feature = "fuzzing"))]
#[cfg_attr(not(feature = "fuzzing"), allow(dead_code, unreachable_pub))]
pub mod fuzz;
mod identity;
mod offline;
mod pkcs12;
mod publish_settings;
mod seeding;
mod vault;
mod xml;

pub use certificate::Certificate;
pub use error::Error;
pub use fields::{Guid, HttpsUrl, Thumbprint};
pub use identity::Identity;
pub use offline::OfflineApplicationParams;
pub use publish_settings::{PublishSettings, Refused, Service, Subscription};
pub use seeding::{machine_identity, seeding_identity};
pub use vault::{AgentLink, ManagementCert, VaultCredentials};

/// Bytes of a file that are read at most. A subscription takes 4 KiB, so it holds hundreds.
pub const MAX_BYTES: usize = 1 << 20;

/// The XML namespace of our own files, and of what we add to those of others.
pub const NAMESPACE: &str = "urn:packmule:files:1";
