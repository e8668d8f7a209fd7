//! What travels between the control plane and its callers: requests, answers, the credentials
//! document, receipts. Pure: sends nothing, checks no rule beyond the shape.
//!
//! Names in JSON are camelCase, as in the import/export service's API; what is unknown is ignored,
//! so that a newer side may say more.

mod credentials;
mod custody;
mod deletion;
mod drive;
mod error;
mod export;
mod hex;
mod job;
mod key;
mod password;
mod publication;
mod receipt;
mod record;
mod resource;
mod seed;

pub use credentials::{Credentials, Role};
pub use custody::{ActorKind, CustodyEntries, CustodyHead, CustodyTaken};
pub use deletion::{
    Deletion, DeletionRequest, DeletionState, Immutability, MAX_DELETION_NAMES, Pin, PinUse,
    ServerPatch, ServerSettings, VaultPatch, VaultSettings,
};
pub use drive::{
    CopyStatus, DriveEvent, DriveRequest, DriveState, DriveStatus, Failure, ReadDrive, Rebuilt,
    RebuiltDrive,
};
pub use error::{Code, ErrorBody, ErrorDetail};
pub use export::{ExportJobRequest, ExportPart, ExportStatus, ExportedDrive, WholeExport};
pub use hex::{HexError, PublicKey, SeedId, Signature};
pub use job::{Carries, Job, JobPatch, JobRequest, JobState, ReceiveRequest, SeedRef};
pub use key::{DriveBitLockerKey, KeyRelease, KeyRequest};
pub use publication::{JobOutcome, Publication, PublicationRequest, PublicationState};
pub use receipt::{KeysFrom, Receipt, SignedReceipt};
pub use record::{Audience, AuditEntry, Notice};
pub use resource::{
    CERTIFICATE_TYPE, CertificateClaims, DockRequest, Health, KeyRemoval, KeyRemovalRequest, List,
    Location, MachineCertificate, MachineRequest, ServerRequest, StorageAccount,
    StorageAccountRequest, Subscription, SubscriptionRequest, Vault, VaultServer,
    vault_resource_id,
};
pub use seed::{
    AnnouncedSeed, CopyComputer, FirstBackup, SUCCESSOR_TYPE, SeedAnnouncement, SeedRevision,
    SeedUnderWay, Successor, SuccessorClaims, SuccessorRequest,
};

/// Where the control plane's own routes begin.
pub const API: &str = "/api/v1";

/// Names listed in one answer at most; the rest is a count. Keeps an answer about a lost
/// 10 TB drive (650 000 packs) within a few hundred kilobytes.
pub const MAX_NAMES: usize = 4096;

/// Releases of passwords shown with one job at most, the newest: ten drives that are asked for some
/// times each. The server keeps all.
pub const MAX_RELEASES: usize = 256;

/// Entries of a custody log that are sent at once at most.
pub const MAX_CUSTODY_ENTRIES: usize = 256;

/// Drives in one import job at most; the import/export service's limit.
pub const MAX_DRIVES: usize = 10;
