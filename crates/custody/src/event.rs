//! What happens to a drive on its way, and what is said about it. One member decides which others there are.

use model::{Digest, DriveSerial, JobName, TrackingNumber};
use serde::{Deserialize, Serialize};
use std::fmt;
use wire::PublicKey;

/// Something that has happened to the drives of a seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Event {
    /// A drive was formatted for the seed.
    Formatted {
        /// Its serial number.
        drive: DriveSerial,
        /// The SHA-256 of its LUKS2 header area; none when it is not encrypted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        header: Option<Digest>,
    },
    /// A drive has everything that it is to carry, and was read back.
    Written {
        /// Its serial number.
        drive: DriveSerial,
        /// Its drive set, from 0.
        set: u32,
        /// Objects on it.
        objects: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A drive has its signed manifest.
    Sealed {
        /// Its serial number.
        drive: DriveSerial,
        /// Its drive set, from 0.
        set: u32,
        /// The SHA-256 of the manifest.
        manifest: Digest,
    },
    /// A parcel was given to the carrier.
    HandedOver {
        /// The import job.
        job: JobName,
        /// The carrier; without control characters, at most 128 characters.
        carrier: String,
        /// Its tracking number.
        tracking: TrackingNumber,
        /// The drives of the job.
        drives: Vec<DriveSerial>,
    },
    /// A drive is in the dock's hands.
    Received {
        /// The import job.
        job: JobName,
        /// The drive.
        drive: DriveSerial,
    },
    /// A drive was unlocked with the password that the server has released for it.
    Unlocked {
        /// The import job.
        job: JobName,
        /// The drive.
        drive: DriveSerial,
        /// The SHA-256 of its header, as it was read from it.
        header: Digest,
    },
    /// What a drive can give was copied into the storage account.
    Ingested {
        /// The import job.
        job: JobName,
        /// The drive.
        drive: DriveSerial,
        /// The SHA-256 of its manifest, which the job's signer has signed.
        manifest: Digest,
        /// Objects of the manifest that it has given, or that were there already.
        objects: u64,
        /// Objects that it could not give.
        missing: u64,
    },
    /// Every object of the drive's manifest was hashed, and is in the storage account.
    Verified {
        /// The import job.
        job: JobName,
        /// The drive.
        drive: DriveSerial,
        /// The SHA-256 of its manifest.
        manifest: Digest,
        /// Objects in it.
        objects: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Objects that a drive could not give were made from parity.
    Repaired {
        /// The import job.
        job: JobName,
        /// The drive that they were on; none when that was not asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drive: Option<DriveSerial>,
        /// How many.
        objects: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// A drive was erased.
    Wiped {
        /// The import job.
        job: JobName,
        /// The drive.
        drive: DriveSerial,
        /// What was overwritten.
        how: Wiping,
        /// Bytes overwritten.
        bytes: u64,
    },
    /// A drive was handed to the carrier for the way home.
    Returned {
        /// The import job.
        job: JobName,
        /// The drive.
        drive: DriveSerial,
    },
    /// Its owner has given the seed up: it will not be published.
    Abandoned,
    /// The source server has named another key than the one that has signed the drives: it signs what the seed consists of
    /// from now on.
    SignerNamed {
        /// The key.
        key: PublicKey,
        /// The SHA-256 of the certificate by which that was said.
        certificate: Digest,
    },
    /// The vault holds the seed, hashed from its own store.
    Published {
        /// The SHA-256 of the repository's config.
        repository: Digest,
        /// How many objects.
        objects: u64,
        /// Their bytes.
        bytes: u64,
        /// The root over them.
        root: Digest,
    },
}

/// What was overwritten on a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wiping {
    /// The keys in its header: what was encrypted with them cannot be read any more.
    Keys,
    /// All of it.
    All,
}

/// A carrier's name has at most this many characters.
const CARRIER: usize = 128;

impl Event {
    /// Its word in the log.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self {
            Self::Formatted { .. } => "formatted",
            Self::Written { .. } => "written",
            Self::Sealed { .. } => "sealed",
            Self::HandedOver { .. } => "handed-over",
            Self::Received { .. } => "received",
            Self::Unlocked { .. } => "unlocked",
            Self::Ingested { .. } => "ingested",
            Self::Verified { .. } => "verified",
            Self::Repaired { .. } => "repaired",
            Self::Wiped { .. } => "wiped",
            Self::Returned { .. } => "returned",
            Self::Abandoned => "abandoned",
            Self::SignerNamed { .. } => "signer-named",
            Self::Published { .. } => "published",
        }
    }

    /// The drive that it is about, if it is about one.
    #[must_use]
    pub fn drive(&self) -> Option<&DriveSerial> {
        match self {
            Self::Formatted { drive, .. }
            | Self::Written { drive, .. }
            | Self::Sealed { drive, .. }
            | Self::Received { drive, .. }
            | Self::Unlocked { drive, .. }
            | Self::Ingested { drive, .. }
            | Self::Verified { drive, .. }
            | Self::Wiped { drive, .. }
            | Self::Returned { drive, .. } => Some(drive),
            Self::Repaired { drive, .. } => drive.as_ref(),
            Self::HandedOver { .. }
            | Self::Abandoned
            | Self::SignerNamed { .. }
            | Self::Published { .. } => None,
        }
    }

    /// The event of a parcel that was given to the carrier; its name is made to fit.
    #[must_use]
    pub fn handed_over(
        job: JobName,
        carrier: &str,
        tracking: TrackingNumber,
        drives: Vec<DriveSerial>,
    ) -> Self {
        let fits = carrier.chars().filter(|c| !c.is_control()).take(CARRIER);
        Self::HandedOver { job, carrier: fits.collect(), tracking, drives }
    }

    /// Whether every text in it is one that can be shown.
    pub(crate) fn is_sound(&self) -> bool {
        match self {
            Self::HandedOver { carrier, drives, .. } => {
                carrier.chars().count() <= CARRIER
                    && !carrier.chars().any(char::is_control)
                    && drives.len() <= wire::MAX_DRIVES
            }
            _ => true,
        }
    }
}

/// In words, without the drive and what happened to it.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Formatted { header: Some(header), .. } => write!(f, "header {}", header.short()),
            Self::Formatted { header: None, .. } => f.write_str("not encrypted"),
            Self::Written { set, objects, bytes, .. } => {
                write!(f, "set {set}, {objects} objects, {bytes} bytes")
            }
            Self::Sealed { set, manifest, .. } => {
                write!(f, "set {set}, manifest {}", manifest.short())
            }
            Self::HandedOver { job, carrier, tracking, drives } => {
                let drives: Vec<&str> = drives.iter().map(DriveSerial::as_str).collect();
                write!(f, "job {job}, {carrier} {}: {}", tracking.as_str(), drives.join(", "))
            }
            Self::Received { job, .. } | Self::Returned { job, .. } => write!(f, "job {job}"),
            Self::Unlocked { job, header, .. } => write!(f, "job {job}, header {}", header.short()),
            Self::Ingested { job, objects, missing, .. } => {
                write!(f, "job {job}, {objects} objects, {missing} missing")
            }
            Self::Verified { job, objects, bytes, .. } => {
                write!(f, "job {job}, {objects} objects, {bytes} bytes")
            }
            Self::Repaired { job, objects, bytes, .. } => {
                write!(f, "job {job}, {objects} objects, {bytes} bytes from parity")
            }
            Self::Wiped { job, how: Wiping::Keys, .. } => write!(f, "job {job}, its keys"),
            Self::Wiped { job, how: Wiping::All, .. } => write!(f, "job {job}, all of it"),
            Self::Abandoned => f.write_str("by its owner"),
            Self::SignerNamed { key, certificate } => {
                let key = signing::Fingerprint::of(key);
                write!(f, "{key} signs, by certificate {}", certificate.short())
            }
            Self::Published { repository, objects, bytes, .. } => {
                write!(f, "repository {}, {objects} objects, {bytes} bytes", repository.short())
            }
        }
    }
}
