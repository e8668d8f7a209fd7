//! What follows from a transition, as values. Carries nothing out: that is the server's part,
//! after the new state is stored.

use jiff::Timestamp;
use model::DriveSerial;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Something to do because a state changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Effect {
    /// Tell the owner of the job or seed.
    NotifyCustomer {
        /// What to tell.
        notice: Notice,
    },
    /// Tell the people at the data centre.
    NotifyOperator {
        /// What to tell.
        notice: Notice,
    },
    /// Warn the customer of a deadline.
    WarnExpiry {
        /// Which deadline.
        deadline: Deadline,
        /// Whole days before it: 7, 3 or 1.
        days: u32,
        /// When it passes.
        at: Timestamp,
    },
    /// The record of the job may be removed. Never the keys of its drives.
    RecordMayGo,
    /// Every object has landed: start publication.
    StartPublication,
    /// Ask the agent for the objects that did not arrive.
    RequestMissing {
        /// How many objects.
        missing: u64,
    },
    /// The drives' keys are not needed any more.
    ReleaseKeysAllowed,
    /// The staging folder is not needed any more.
    CleanStagingAllowed,
}

/// A deadline that customers are warned of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Deadline {
    /// The job expires unless it is shipped or updated.
    Shipping,
    /// The package is overdue unless it arrives.
    Arrival,
    /// The job closes unless a drive turns up or more time is asked for.
    Closing,
    /// The record of the job may be removed.
    Record,
}

/// What to tell people. [`fmt::Display`] gives the sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Notice {
    /// The job was not shipped in time.
    JobExpired,
    /// The job is cancelled.
    JobCanceled,
    /// Its package is on the way, so cancelling means: send it back unread.
    CancelNoted,
    /// The package did not arrive in time.
    PackageOverdue,
    /// The package arrived, and none of the job's drives was in it.
    PackageEmpty,
    /// The package is given up.
    PackageLost,
    /// The package arrived.
    PackageArrived {
        /// Drives found in it.
        drives: u32,
    },
    /// A drive was in the package that is not in the job.
    ExtraDrive {
        /// Which.
        serial: DriveSerial,
    },
    /// A drive of the job was not in the package.
    DriveMissing {
        /// Which.
        serial: DriveSerial,
    },
    /// A drive that had not come turned up.
    DriveTurnedUp {
        /// Which.
        serial: DriveSerial,
    },
    /// A drive was read, with problems.
    DriveProblems {
        /// Which.
        serial: DriveSerial,
        /// How many objects could not be taken over.
        problems: u64,
    },
    /// The drives are ready to be sent back.
    ReadyToReturn,
    /// Everything was taken over and sent back.
    JobCompleted,
    /// The job is over, not everything was taken over.
    JobClosed,
    /// The job was given up.
    JobAbandoned {
        /// Why.
        reason: String,
    },
    /// An export job ended with everything on drives.
    ExportCompleted,
    /// An export job ended with not everything on drives.
    ExportClosed,
    /// A drive could not be written to its end.
    DriveNotWritten {
        /// Which.
        serial: DriveSerial,
    },
    /// The job waits until an operator has looked at it.
    JobFaulted {
        /// Why.
        reason: String,
    },
    /// The job goes on.
    FaultResolved,
    /// A drive set will not arrive by its job.
    DriveSetLost {
        /// Its number.
        set: u32,
    },
    /// Not every object has arrived.
    SeedIncomplete {
        /// How many are missing.
        missing: u64,
    },
    /// The seed is in the vault; the agent checks it next.
    SeedPublished,
    /// The agent found the vault complete.
    SeedConfirmed,
    /// The owner gave the seed up.
    SeedAbandoned,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JobExpired => f.write_str("The import job was not shipped within two weeks and has expired. The keys of its drives are kept: create a new job for the same drives."),
            Self::JobCanceled => f.write_str("The import job is cancelled. The keys of its drives are kept."),
            Self::CancelNoted => f.write_str("The package is on its way: when it arrives, its drives are sent back unread."),
            Self::PackageOverdue => f.write_str("The package has not arrived two weeks after its shipping details were given. Ask the carrier, correct the tracking number, ask for more time, or cancel; without an answer the job closes in 30 days."),
            Self::PackageEmpty => f.write_str("The package arrived without any drive of the job. If none turns up, the job closes in 30 days."),
            Self::PackageLost => f.write_str("The package is given up. The keys of its drives are kept: prepare the drive set again from staging and create a new job."),
            Self::PackageArrived { drives } => write!(f, "The package arrived; drives in it: {drives}."),
            Self::ExtraDrive { serial } => write!(f, "Drive {serial} was in the package, but is not in the job. It is not read, and goes back."),
            Self::DriveMissing { serial } => write!(f, "Drive {serial} was not in the package."),
            Self::DriveTurnedUp { serial } => write!(f, "Drive {serial} has arrived after all."),
            Self::DriveProblems { serial, problems } => write!(f, "Drive {serial} was read with problems; objects not taken over: {problems}. See its copy log."),
            Self::ReadyToReturn => f.write_str("The drives are being packed for their way back."),
            Self::JobCompleted => f.write_str("Everything on the drives was taken over, and they are on their way back."),
            Self::JobClosed => f.write_str("The import job is over, but not everything on its drives was taken over. Keep the staging folder."),
            Self::ExportCompleted => f.write_str("Everything asked for is on the drives, and they are on their way. Their passwords are with the job."),
            Self::ExportClosed => f.write_str("The export job is over, but not everything asked for is on its drives. Create a new one for the same recovery points."),
            Self::DriveNotWritten { serial } => write!(f, "Drive {serial} could not be written to its end. What it should have carried goes onto other drives; do not rely on it."),
            Self::JobAbandoned { reason } => write!(f, "The import job was given up: {reason}. The keys of its drives are kept."),
            Self::JobFaulted { reason } => write!(f, "The import job waits for an operator: {reason}."),
            Self::FaultResolved => f.write_str("The import job goes on."),
            Self::DriveSetLost { set } => write!(f, "Drive set {set} will not arrive with its import job. Create a new job for it, or send its objects over the network."),
            Self::SeedIncomplete { missing } => write!(f, "Objects of the seed that have not arrived: {missing}. Nothing is published until they have."),
            Self::SeedPublished => f.write_str("The seed is in the vault. The agent checks it at the next backup; keep the staging folder until then."),
            Self::SeedConfirmed => f.write_str("The vault holds the whole seed, and the agent has checked it. The staging folder may be cleaned."),
            Self::SeedAbandoned => f.write_str("The seed is given up by its owner."),
        }
    }
}

/// Tells the customer.
pub(crate) fn customer(notice: Notice) -> Effect {
    Effect::NotifyCustomer { notice }
}

/// Tells the operators.
pub(crate) fn operator(notice: Notice) -> Effect {
    Effect::NotifyOperator { notice }
}
