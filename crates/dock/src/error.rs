//! What can go wrong at the dock. Says what to do next where there is something to do.

use model::{Digest, DriveSerial, ErrorKind, JobName};
use std::io;
use std::path::Path;
use wire::{JobState, SeedId};

/// Why a package or a drive could not be taken in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control plane refused, or is away.
    #[error(transparent)]
    Server(client::Error),
    /// The dock's own chain in a custody log cannot be kept.
    #[error(transparent)]
    Custody(#[from] custody::Error),
    /// The drive cannot be used, or is gone.
    #[error(transparent)]
    Drive(seed::Error),
    /// The storage account takes nothing, or is away.
    #[error(
        "the storage account takes nothing more; run the same command again, it goes on where it stopped"
    )]
    Account(#[source] store::Error),
    /// A drive of another job, or of none.
    #[error("{place} is drive {serial} of set {set} of seed {seed}, which import job {job} does not expect{}", belongs(other.as_ref()))]
    WrongDrive {
        /// Where it is.
        place: String,
        /// The serial number on its label.
        serial: DriveSerial,
        /// The seed on its label.
        seed: SeedId,
        /// The drive set on its label.
        set: u32,
        /// The job in hand.
        job: JobName,
        /// The job that does expect it, where the server knows one.
        other: Option<JobName>,
    },
    /// A job that another client of the import service has made.
    #[error(
        "import job {job} carries no seed: nobody has said who signs what is on its drives, so nothing is taken from them"
    )]
    NoSeed {
        /// The job.
        job: JobName,
    },
    /// A job that exports nothing, or whose owner has not said what.
    #[error(
        "import job {job} is no export job for which a key holder has said what it exports: nothing can be written for it"
    )]
    NoExport {
        /// The job.
        job: JobName,
    },
    /// An export job where drives are read.
    #[error(
        "{job} is an export job: its drives are written, with packmule dock export --job {job}"
    )]
    IsExport {
        /// The job.
        job: JobName,
    },
    /// Another dock has begun to write.
    #[error(
        "the drives of export job {job} are signed by {writer}, which is not this dock's key: go on at that dock"
    )]
    OtherWriter {
        /// The job.
        job: JobName,
        /// Whose key signs them.
        writer: seed::Fingerprint,
    },
    /// The server shows another list than the job's owner has signed.
    #[error(
        "what the server lists for export job {job} is not what the job names: nothing was written; tell its operator"
    )]
    OtherList {
        /// The job.
        job: JobName,
    },
    /// Further drives of an export carry the same list as those before.
    #[error(
        "export job {job} brings once more what did not arrive by drives that this dock has written, and the list of these is no longer in its state folder: its owner has to ask for a new export"
    )]
    ListLost {
        /// The job.
        job: JobName,
    },
    /// A password was given out, and nobody knows what became of the drive.
    #[error(
        "drive {serial} was given a password, and was never noted to be formatted with it; give the drive again, as the device that it is"
    )]
    NotFormatted {
        /// Which drive.
        serial: DriveSerial,
    },
    /// Passwords of drives that were formatted here.
    #[error(transparent)]
    Keys(keyring::Error),
    /// One drive, or one and a copy of it, in two places.
    #[error("{first} and {second} are both drive {serial}: give each drive once")]
    GivenTwice {
        /// Its serial number.
        serial: DriveSerial,
        /// One place.
        first: String,
        /// The other.
        second: String,
    },
    /// Signed by the right signer, and not what the job announces: written anew since then.
    #[error(
        "the manifest of drive {serial} in {place} is {found}, import job {job} announces {announced}: the drive was prepared again after the job was created; ask its owner for a new job"
    )]
    OtherManifest {
        /// Where it is.
        place: String,
        /// Its serial number.
        serial: DriveSerial,
        /// The job.
        job: JobName,
        /// The hash of the manifest on the drive.
        found: Box<Digest>,
        /// The hash that the job announces.
        announced: Box<Digest>,
    },
    /// The server could not compare what arrives with what should.
    #[error(
        "import job {job} has no manifest of drive {serial} yet: have its owner run diskprep again where the server can be reached"
    )]
    NoManifest {
        /// The job.
        job: JobName,
        /// The drive.
        serial: DriveSerial,
    },
    /// The job is not at the dock.
    #[error("import job {job} is in state {state:?}: {next}")]
    JobState {
        /// The job.
        job: JobName,
        /// Its state.
        state: JobState,
        /// What to do.
        next: String,
    },
    /// The owner wants the drives back unread.
    #[error("import job {job} was cancelled by its owner: send its drives back unread")]
    Canceled {
        /// The job.
        job: JobName,
    },
    /// The device cannot be opened, or not as a drive of ours.
    #[error(transparent)]
    Device(drive::Error),
    /// It was taken out.
    #[error("there is no drive at {place} any more")]
    NotThere {
        /// Where it was.
        place: String,
    },
    /// Somebody has mounted it, or made something of it.
    #[error(
        "drive {serial} in {place} is not taken in: {usage}; let go of it, and put the drive in again"
    )]
    InUse {
        /// Where it is.
        place: String,
        /// Its serial number.
        serial: DriveSerial,
        /// By whom.
        usage: String,
    },
    /// Another serial number on its label than the hardware says.
    #[error(
        "the label in {place} is that of drive {label}, but this is drive {serial}: it is a copy, or an adaptor hides the drive's own number; attach it without one"
    )]
    OtherLabel {
        /// Where it is.
        place: String,
        /// What the hardware says.
        serial: DriveSerial,
        /// What the label says.
        label: DriveSerial,
    },
    /// Encrypted where it should not be, or the other way round.
    #[error(
        "drive {serial} in {place} is {}encrypted, and its job announces the opposite: it was written anew on its way; do not use it, and tell its owner", if *announced { "not " } else { "" }
    )]
    OtherProtection {
        /// Where it is.
        place: String,
        /// Its serial number.
        serial: DriveSerial,
        /// Whether the job announces it as encrypted.
        announced: bool,
    },
    /// No such drive in the job.
    #[error("import job {job} has no drive {serial}")]
    NotInJob {
        /// The job.
        job: JobName,
        /// The drive.
        serial: DriveSerial,
    },
    /// Another process copies this drive.
    #[error("drive {serial} is being copied by another process: wait until it has finished")]
    Busy {
        /// The drive.
        serial: DriveSerial,
    },
    /// A parity drive before the data drives.
    #[error(
        "parity drive {serial} has its turn when every data drive of import job {job} that is at the dock was read, and {} not read to the end yet: put {} in first; of a drive that is not there or cannot be read, say so with packmule dock lost --job {job} --drive SERIAL",
        are(drives),
        them(drives)
    )]
    ParityWaits {
        /// The parity drive.
        serial: DriveSerial,
        /// The job.
        job: JobName,
        /// Data drives that are still to be read.
        drives: Vec<DriveSerial>,
    },
    /// One of several parity drives that are read together.
    #[error(
        "parity drive {serial} is read together with parity drive {first}, and there it was said what is in the way"
    )]
    Beside {
        /// The parity drive.
        serial: DriveSerial,
        /// The first of them.
        first: DriveSerial,
    },
    /// More drives lack than the parity drives at hand can make up for, and there are others.
    #[error(
        "{absent} data drives of import job {job} have not brought everything, and what they lack is rebuilt with as many parity drives attached at once: give parity drive {serial} together with {}",
        list(further)
    )]
    MoreParity {
        /// The parity drive.
        serial: DriveSerial,
        /// The job.
        job: JobName,
        /// How many data drives lack.
        absent: usize,
        /// Parity drives that are at the dock, too.
        further: Vec<DriveSerial>,
    },
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
    /// The caller asked to stop.
    #[error("stopped; the same command goes on where this one ended")]
    Interrupted,
}

pub(crate) fn list(drives: &[DriveSerial]) -> String {
    let names: Vec<&str> = drives.iter().map(DriveSerial::as_str).collect();
    names.join(", ")
}

fn are(drives: &[DriveSerial]) -> String {
    format!("{} {}", list(drives), if drives.len() == 1 { "is" } else { "are" })
}

fn them(drives: &[DriveSerial]) -> &'static str {
    if drives.len() == 1 { "it" } else { "them" }
}

fn belongs(other: Option<&JobName>) -> String {
    other.map_or_else(
        || ": set it aside and ask the owner of the parcel".to_owned(),
        |job| format!(": it belongs to import job {job}"),
    )
}

impl Error {
    /// The kind, for exit codes.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Server(cause) => cause.kind(),
            Self::Custody(cause) => cause.kind(),
            Self::Keys(cause) => cause.kind(),
            Self::Drive(cause) => cause.kind(),
            Self::Account(cause) => cause.kind(),
            Self::Device(cause) => cause.kind(),
            Self::WrongDrive { .. }
            | Self::NotThere { .. }
            | Self::InUse { .. }
            | Self::OtherLabel { .. }
            | Self::OtherProtection { .. }
            | Self::GivenTwice { .. }
            | Self::OtherManifest { .. }
            | Self::ParityWaits { .. }
            | Self::Beside { .. }
            | Self::MoreParity { .. }
            | Self::NotInJob { .. } => ErrorKind::WrongDrive,
            Self::OtherList { .. } => ErrorKind::Corrupt,
            Self::NoManifest { .. }
            | Self::NoExport { .. }
            | Self::ListLost { .. }
            | Self::IsExport { .. }
            | Self::OtherWriter { .. }
            | Self::NotFormatted { .. }
            | Self::NoSeed { .. }
            | Self::JobState { .. }
            | Self::Canceled { .. } => ErrorKind::Conflict,
            Self::Busy { .. } => ErrorKind::Locked,
            Self::Io { cause, .. } => match cause.kind() {
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
                _ => ErrorKind::Internal,
            },
            Self::Interrupted => ErrorKind::Interrupted,
        }
    }

    /// For `map_err`: what was tried, and on what.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |cause| Self::Io { action, path, cause }
    }
}
