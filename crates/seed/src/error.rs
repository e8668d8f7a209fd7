//! What can go wrong with drive sets. Says what to do next where there is something to do.

use crate::sign::Fingerprint;
use crate::{Document, Malformed};
use model::{Digest, DriveSerial, ErrorKind, ObjectKey};
use std::io;
use std::path::{Path, PathBuf};
use wire::SeedId;

/// Why an operation on a drive set could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{action} {path} failed")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The repository that the seed is made from, or goes to, failed.
    #[error("the repository failed")]
    Store(#[source] store::Error),
    /// No random numbers.
    #[error("the operating system has no random numbers")]
    Random,
    /// There is no key to sign with.
    #[error(transparent)]
    Signing(#[from] signing::Error),
    /// A label, inventory or manifest is not one.
    #[error("the {document} in {place} cannot be used")]
    Malformed {
        /// Which of the three.
        document: Document,
        /// The drive or folder.
        place: String,
        /// What is wrong with it.
        #[source]
        problem: Malformed,
    },
    /// Signed by somebody else than the one who is trusted.
    #[error(
        "the {document} in {place} is signed by {found}, not by {expected}: compare the fingerprint with the one shown when the drives were prepared"
    )]
    OtherSigner {
        /// Which document.
        document: Document,
        /// The drive or folder.
        place: String,
        /// Whose signature it has.
        found: Fingerprint,
        /// Whose it should have.
        expected: Fingerprint,
    },
    /// Nobody was named whose signature counts.
    #[error(
        "{place} is signed by {found}: compare this with the fingerprint shown when the drives were prepared, and give it as the signer"
    )]
    NoSigner {
        /// The drive.
        place: String,
        /// Whose signature it has.
        found: Fingerprint,
    },
    /// The folder holds something, and no label of ours.
    #[error(
        "{place} is not empty and has no label: take another drive, or erase this one yourself"
    )]
    NotEmpty {
        /// The drive.
        place: String,
    },
    /// Sealed once, and empty now.
    #[error(
        "drive {serial} in {place} was sealed for this seed and is empty now: take another drive; if it was erased on purpose, remove {} and run the same command again, its objects are then written anew",
        manifest.display()
    )]
    Erased {
        /// The drive.
        place: String,
        /// Its serial number.
        serial: DriveSerial,
        /// Where its manifest is kept.
        manifest: PathBuf,
    },
    /// No label.
    #[error("{place} is not a drive of a seed: it has no label")]
    NotADrive {
        /// The drive.
        place: String,
    },
    /// It no longer answers as the drive that it was.
    #[error(
        "drive {serial} in {place} is gone: attach it again and run the same command, it goes on where it stopped"
    )]
    Gone {
        /// Where it was.
        place: String,
        /// Its serial number.
        serial: DriveSerial,
    },
    /// A label, and no manifest.
    #[error(
        "drive {serial} in {place} is not sealed: its preparation did not finish; run the preparation again where the repository is"
    )]
    NotSealed {
        /// The drive.
        place: String,
        /// Its serial number.
        serial: DriveSerial,
    },
    /// A drive of another seed.
    #[error("{place} belongs to seed {found}, not to {expected}")]
    OtherSeed {
        /// The drive.
        place: String,
        /// Its seed.
        found: SeedId,
        /// The seed in hand.
        expected: SeedId,
    },
    /// A drive of a seed that was made from other repositories.
    #[error(
        "{place} belongs to seed {found}, which was made from other repositories: take another drive"
    )]
    OtherSource {
        /// The drive.
        place: String,
        /// Its seed.
        found: SeedId,
    },
    /// A drive of another set that is not sealed yet.
    #[error("{place} belongs to drive set {found}, not to {expected}")]
    OtherSet {
        /// The drive.
        place: String,
        /// Its set.
        found: u32,
        /// The set in hand.
        expected: u32,
    },
    /// The label names another serial number than the hardware.
    #[error("the label in {place} is that of drive {found}, but this is drive {expected}")]
    OtherSerial {
        /// The drive.
        place: String,
        /// The label's serial number.
        found: DriveSerial,
        /// The drive's.
        expected: DriveSerial,
    },
    /// Label and manifest are of different drives.
    #[error(
        "label and manifest in {place} do not belong together: one was copied here from another drive"
    )]
    Swapped {
        /// The drive.
        place: String,
    },
    /// The same drive was given twice.
    #[error("{first} and {second} are the same drive: give each drive once")]
    SameDrive {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// The same repository was given twice.
    #[error("repository {0} was given twice")]
    SameRepository(Digest),
    /// The seed was begun from other repositories than are given now.
    #[error(
        "seed {0} was begun from other repositories: give the same ones, or begin a seed of its own with another state folder"
    )]
    OtherRepositories(SeedId),
    /// More drives than travel together.
    #[error("a drive set has at most {limit} drives: prepare the rest as the next set")]
    TooManyDrives {
        /// The most it may have.
        limit: usize,
    },
    /// A parity drive where objects are wanted.
    #[error(
        "{place} is a parity drive, which carries no objects: it is for packmule seed import, with what there is of the other drives"
    )]
    Parity {
        /// The drive.
        place: String,
    },
    /// A drive that cannot take a set's parity.
    #[error(
        "parity drive {serial} needs {needed} bytes, as much as the fullest data drive has, and has room for {capacity}: give a larger one"
    )]
    ParityTooSmall {
        /// Which drive.
        serial: DriveSerial,
        /// What it takes.
        needed: u64,
        /// What there is.
        capacity: u64,
    },
    /// What parity is made by.
    #[error(
        "the extent hashes of drive {serial} are not in the state folder: give that drive again, together with the parity drives"
    )]
    ExtentsLost {
        /// Which drive.
        serial: DriveSerial,
    },
    /// Parity would cover something else than what travels.
    #[error(
        "the repository does not hold any more what drive {serial} was written with, so no parity can be made of it: restore what was removed, or send the drives without parity"
    )]
    StagingChanged {
        /// Which drive.
        serial: DriveSerial,
    },
    /// Parity would cover what a drive gave once, and what it gives now is something else.
    #[error(
        "drive {serial} does not give back any more what it was sealed with, so no parity can be made of it: attach it in another way and run the same command again; or send the drives without parity (--parity 0), and what it has lost is made anew from the source"
    )]
    Misread {
        /// Which drive.
        serial: DriveSerial,
    },
    /// More parity than a set can have.
    #[error(
        "a drive set has at most {limit} drives, of data and parity together: {parity} parity drives leave none for data"
    )]
    TooMuchParity {
        /// What was asked for.
        parity: u32,
        /// The most drives.
        limit: usize,
    },
    /// Parity is made of all data drives of a set together.
    #[error(
        "parity is made of all data drives together, and {} of this set {} not attached: give all of them, or go without parity (--parity 0)",
        drives.iter().map(DriveSerial::as_str).collect::<Vec<_>>().join(", "),
        if drives.len() == 1 { "is" } else { "are" }
    )]
    NotAttached {
        /// Those that are missing.
        drives: Vec<DriveSerial>,
    },
    /// Parity needs drives of its own.
    #[error(
        "{parity} parity drives and at least one for data are needed, all of them attached from the beginning, and {given} were given"
    )]
    TooFewForParity {
        /// What was asked for.
        parity: u32,
        /// Drives.
        given: usize,
    },
    /// Reed-Solomon refuses.
    #[error("parity cannot be computed: {what}")]
    Stripe {
        /// Why.
        what: String,
    },
    /// An object that no drive can hold.
    #[error(
        "{path} needs {needed} bytes, and the largest drive has room for {largest}: add a larger drive"
    )]
    TooLarge {
        /// Which.
        path: String,
        /// What it takes.
        needed: u64,
        /// What there is.
        largest: u64,
    },
    /// Somebody else works on it.
    #[error("{place} is in use by another process: wait until it has finished")]
    Busy {
        /// The drive or folder.
        place: String,
    },
    /// What one repository lacks of another cannot be told.
    #[error(
        "{place} holds repository {found}, not {expected}: only the same repository can lack something of this one, and a copy made by other programs has an id of its own"
    )]
    OtherLocation {
        /// Where.
        place: String,
        /// What is there.
        found: Digest,
        /// What should be.
        expected: Digest,
    },
    /// A seed without a repository, or with one that this destination cannot take.
    #[error(
        "{place} holds repository {found}, the drives carry {expected}: import into another folder"
    )]
    OtherRepository {
        /// The destination.
        place: String,
        /// What is there.
        found: Digest,
        /// What is on the drives.
        expected: Digest,
    },
    /// Two signed lists of the same seed differ.
    #[error(
        "{place} lists other objects for seed {seed} than were listed before: do not use this drive; ask who prepared it"
    )]
    Disagree {
        /// The drive.
        place: String,
        /// The seed.
        seed: SeedId,
    },
    /// Something is to go onto a drive that the seed does not list.
    #[error("seed {seed} does not list {key}: only what it lists can be on its drives")]
    Unlisted {
        /// The seed.
        seed: SeedId,
        /// What is not listed.
        key: ObjectKey,
    },
    /// The caller asked to stop.
    #[error("stopped; the same call goes on where this one ended")]
    Interrupted,
}

impl Error {
    /// The kind, for exit codes and HTTP statuses.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { cause, .. } => io_kind(cause),
            Self::Store(cause) => cause.kind(),
            Self::Random => ErrorKind::Internal,
            Self::Malformed { .. } => ErrorKind::Corrupt,
            Self::Signing(cause) => cause.kind(),
            Self::TooManyDrives { .. }
            | Self::TooMuchParity { .. }
            | Self::NotAttached { .. }
            | Self::TooFewForParity { .. }
            | Self::SameRepository(_) => ErrorKind::Invalid,
            Self::Stripe { .. } => ErrorKind::Internal,
            Self::OtherSigner { .. } | Self::NoSigner { .. } => ErrorKind::Denied,
            Self::NotEmpty { .. }
            | Self::Erased { .. }
            | Self::NotADrive { .. }
            | Self::Gone { .. }
            | Self::NotSealed { .. }
            | Self::OtherSeed { .. }
            | Self::OtherSource { .. }
            | Self::OtherSet { .. }
            | Self::OtherSerial { .. }
            | Self::Swapped { .. }
            | Self::SameDrive { .. }
            | Self::ExtentsLost { .. }
            | Self::Parity { .. } => ErrorKind::WrongDrive,
            Self::TooLarge { .. } | Self::ParityTooSmall { .. } => ErrorKind::Full,
            Self::StagingChanged { .. } | Self::Misread { .. } => ErrorKind::Corrupt,
            Self::Busy { .. } => ErrorKind::Locked,
            Self::OtherRepository { .. }
            | Self::OtherLocation { .. }
            | Self::OtherRepositories(_)
            | Self::Disagree { .. }
            | Self::Unlisted { .. } => ErrorKind::Conflict,
            Self::Interrupted => ErrorKind::Interrupted,
        }
    }

    /// For `map_err`: what was tried, and on what.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.display().to_string();
        move |cause| Self::Io { action, path, cause }
    }
}

fn io_kind(cause: &io::Error) -> ErrorKind {
    if crate::beneath::leads_away(cause) {
        return ErrorKind::Corrupt;
    }
    match cause.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        io::ErrorKind::InvalidData => ErrorKind::Corrupt,
        _ => ErrorKind::Internal,
    }
}
