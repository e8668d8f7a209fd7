//! Where a seed and its drive sets are, and what can happen to them. Decides no transition.

use model::JobName;
use serde::{Deserialize, Serialize};

/// Where a seed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all_fields = "camelCase")]
pub enum SeedState {
    /// The first full backup is being written to staging.
    Staging,
    /// It is complete in staging.
    Staged,
    /// Drive sets are being written. Sets that are ready may travel already.
    Preparing,
    /// All drive sets are written.
    Prepared,
    /// Some set has left; none has arrived.
    InTransit,
    /// Some set has arrived, others have not, or are being taken in.
    Landing,
    /// Every object of every set is at the data centre.
    Landed,
    /// The vault takes the objects over and verifies them.
    Publishing,
    /// The vault has issued its receipt.
    Published,
    /// The agent has verified the receipt. An end.
    Confirmed,
    /// All sets have landed or failed, and objects are missing.
    Incomplete {
        /// How many; at least 1.
        missing: u64,
    },
    /// The owner has given the seed up. An end.
    Abandoned,
}

/// Drives that travel together as one import job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriveSet {
    /// Its number, from 1.
    pub number: u32,
    /// The job it travels with.
    pub job: JobName,
    /// Objects on it.
    pub objects: u64,
    /// Where it is.
    pub state: SetState,
}

/// Where a drive set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all_fields = "camelCase")]
pub enum SetState {
    /// Written.
    Prepared,
    /// With the carrier.
    InTransit,
    /// At the dock.
    Arrived,
    /// What could be read is in the storage account.
    Landed {
        /// Objects that are not.
        missing: u64,
    },
    /// Its job ended, and nothing of it was read.
    Lost,
}

/// What happens to a seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum SeedEvent {
    /// Agent: the first full backup is complete in staging.
    StagingFinished,
    /// Copy computer: starts, or goes on, to write drives.
    PreparationStarted,
    /// Copy computer: a drive set is written and has its job. For a set that was lost, or landed
    /// with objects missing: written again, with a new job. A further set may hold what the others lack.
    SetPrepared {
        /// The set's number, from 1.
        set: u32,
        /// Its job.
        job: JobName,
        /// Objects on it.
        objects: u64,
    },
    /// Copy computer: sets 1 to `sets` are all there are.
    PreparationFinished {
        /// How many.
        sets: u32,
    },
    /// A job's package is with the carrier.
    JobShipped {
        /// Which job.
        job: JobName,
    },
    /// A job's package is at the dock.
    JobArrived {
        /// Which job.
        job: JobName,
    },
    /// All drives of a job that came are read.
    JobLanded {
        /// Which job.
        job: JobName,
        /// Objects of its set that are not in the storage account.
        missing: u64,
    },
    /// A job ended, and nothing of it was read.
    JobLost {
        /// Which job.
        job: JobName,
    },
    /// Vault or agent: counted, over all sets, what must be there and is not.
    MissingCounted {
        /// How many objects.
        missing: u64,
    },
    /// Vault: starts, or goes on, to publish.
    PublicationStarted,
    /// Vault: everything is published and the receipt is signed.
    PublicationFinished,
    /// Agent: the receipt is the vault's, and everything it covers is there.
    ReceiptVerified,
    /// Owner: gives the seed up, knowing that what is on its drives is lost.
    OwnerAbandoned,
    /// Agent: has cleaned the staging folder.
    StagingCleaned,
    /// Server or agent: has deleted the drives' keys.
    KeysDeleted,
}

impl SeedState {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Staging => "Staging",
            Self::Staged => "Staged",
            Self::Preparing => "Preparing",
            Self::Prepared => "Prepared",
            Self::InTransit => "InTransit",
            Self::Landing => "Landing",
            Self::Landed => "Landed",
            Self::Publishing => "Publishing",
            Self::Published => "Published",
            Self::Confirmed => "Confirmed",
            Self::Incomplete { .. } => "Incomplete",
            Self::Abandoned => "Abandoned",
        }
    }

    /// Confirmed or Abandoned: nothing changes any more.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Confirmed | Self::Abandoned)
    }
}
