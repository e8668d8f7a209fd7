//! The life of a seed, at the source and at the vault: one first full backup, its drive sets and
//! their jobs, until the vault has confirmed it. Touches neither staging nor keys; it says when
//! somebody may.
//!
//! The state between Prepared and Landed is not set but follows from the drive sets, which ship and
//! land in any order, even while later sets are still being prepared. Increments do not appear
//! here at all: nothing they do depends on where the seed is, see [`Seed::increments_may_run`].

use crate::effect::customer;
use crate::{Effect, Notice, Refused, Step};
use jiff::Timestamp;
use model::JobName;
use serde::{Deserialize, Serialize};

mod sets;

/// What a scheduled backup says while its seed is on the way, as users of Azure Backup know it.
pub const WAITING_FOR_IMPORT: &str = "Waiting for Azure Import Job to complete. Please check on Azure Management portal for more information on job status";

/// A first full backup on its way to the vault.
///
/// invariant: set numbers and job names are unique; `changed` never decreases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seed {
    /// Where the seed is.
    pub state: SeedState,
    /// The drive sets prepared so far.
    pub sets: Vec<DriveSet>,
    /// How many sets there are, once preparation is finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_count: Option<u32>,
    /// The staging folder was cleaned.
    pub staging_cleaned: bool,
    /// The drives' keys were deleted.
    pub keys_deleted: bool,
    /// When it last changed.
    pub changed: Timestamp,
}

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
    /// with objects missing: written again, with a new job.
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

impl Seed {
    /// A seed whose first full backup starts.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            state: SeedState::Staging,
            sets: Vec::new(),
            set_count: None,
            staging_cleaned: false,
            keys_deleted: false,
            changed: now,
        }
    }

    /// The next value and what follows from it.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn transition(&self, event: &SeedEvent, now: Timestamp) -> Step<Self> {
        let mut next = self.clone();
        next.apply(event)?;
        if next == *self {
            return Ok((next, Vec::new()));
        }
        next.changed = now.max(self.changed);
        let mut effects = Vec::new();
        if let SeedEvent::JobLost { job } = event
            && let Some(set) = next.sets.iter().find(|set| set.job == *job)
        {
            effects.push(customer(Notice::DriveSetLost { set: set.number }));
        }
        if next.state != self.state {
            effects.extend(entering(next.state));
        }
        Ok((next, effects))
    }

    fn apply(&mut self, event: &SeedEvent) -> Result<(), Refused> {
        match event {
            SeedEvent::StagingCleaned => return self.clean_staging(),
            SeedEvent::KeysDeleted => return self.delete_keys(),
            SeedEvent::ReceiptVerified => return self.confirm(),
            SeedEvent::OwnerAbandoned if self.state == SeedState::Abandoned => return Ok(()),
            _ if self.state.is_end() => {
                return Err(Refused::SeedEnded { state: self.state.name() });
            }
            _ => {}
        }
        match event {
            SeedEvent::StagingFinished => self.finish_staging(),
            SeedEvent::PreparationStarted => self.start_preparation()?,
            SeedEvent::SetPrepared { set, job, objects } => {
                self.add_set(*set, job, *objects)?;
            }
            SeedEvent::PreparationFinished { sets } => self.finish_preparation(*sets)?,
            SeedEvent::JobShipped { job } => self.move_set(job, SetState::InTransit)?,
            SeedEvent::JobArrived { job } => self.move_set(job, SetState::Arrived)?,
            SeedEvent::JobLanded { job, missing } => {
                self.move_set(job, SetState::Landed { missing: *missing })?;
            }
            SeedEvent::JobLost { job } => self.move_set(job, SetState::Lost)?,
            SeedEvent::MissingCounted { missing } => self.count(*missing)?,
            SeedEvent::PublicationStarted => self.start_publication()?,
            SeedEvent::PublicationFinished => self.finish_publication()?,
            SeedEvent::OwnerAbandoned => self.state = SeedState::Abandoned,
            SeedEvent::StagingCleaned | SeedEvent::KeysDeleted | SeedEvent::ReceiptVerified => {}
        }
        Ok(())
    }

    fn finish_staging(&mut self) {
        if self.state == SeedState::Staging {
            self.state = SeedState::Staged;
        }
    }

    fn start_preparation(&mut self) -> Result<(), Refused> {
        match self.state {
            SeedState::Staging => return Err(Refused::NotStaged),
            SeedState::Staged | SeedState::Preparing => self.state = SeedState::Preparing,
            _ => return Err(Refused::PreparationOver { state: self.state.name() }),
        }
        Ok(())
    }

    fn start_publication(&mut self) -> Result<(), Refused> {
        match self.state {
            SeedState::Landed => self.state = SeedState::Publishing,
            SeedState::Publishing | SeedState::Published => {}
            SeedState::Incomplete { missing } => return Err(Refused::SeedIncomplete { missing }),
            _ => return Err(Refused::NotLanded { state: self.state.name() }),
        }
        Ok(())
    }

    fn finish_publication(&mut self) -> Result<(), Refused> {
        match self.state {
            SeedState::Publishing | SeedState::Published => self.state = SeedState::Published,
            _ => return Err(Refused::NotPublishing { state: self.state.name() }),
        }
        Ok(())
    }

    fn confirm(&mut self) -> Result<(), Refused> {
        match self.state {
            SeedState::Published | SeedState::Confirmed => self.state = SeedState::Confirmed,
            SeedState::Abandoned => {
                return Err(Refused::SeedEnded { state: self.state.name() });
            }
            _ => return Err(Refused::NotPublished { state: self.state.name() }),
        }
        Ok(())
    }

    fn clean_staging(&mut self) -> Result<(), Refused> {
        if !self.staging_may_be_cleaned() {
            return Err(Refused::StagingNeeded { state: self.state.name() });
        }
        self.staging_cleaned = true;
        Ok(())
    }

    fn delete_keys(&mut self) -> Result<(), Refused> {
        if !self.keys_may_be_deleted() {
            return Err(Refused::KeysNeeded { state: self.state.name() });
        }
        self.keys_deleted = true;
        Ok(())
    }

    /// Whether the vault has everything, or the owner wants none of it: the only reasons for which
    /// something at the source may go.
    #[must_use]
    pub fn staging_may_be_cleaned(&self) -> bool {
        self.state.is_end()
    }

    /// Whether the drives' keys may be deleted: after the verified receipt or the owner's explicit
    /// abandonment, whatever has become of the jobs.
    #[must_use]
    pub fn keys_may_be_deleted(&self) -> bool {
        self.state.is_end()
    }

    /// Whether later backups may go over the network: from the complete first backup on, wherever
    /// the drives are.
    #[must_use]
    pub fn increments_may_run(&self) -> bool {
        !matches!(self.state, SeedState::Staging | SeedState::Abandoned)
    }

    /// Whether scheduled backups say [`WAITING_FOR_IMPORT`].
    #[must_use]
    pub fn waits_for_import(&self) -> bool {
        matches!(
            self.state,
            SeedState::Preparing
                | SeedState::Prepared
                | SeedState::InTransit
                | SeedState::Landing
                | SeedState::Incomplete { .. }
        )
    }
}

fn entering(state: SeedState) -> Vec<Effect> {
    match state {
        SeedState::Landed => vec![Effect::StartPublication],
        SeedState::Incomplete { missing } => {
            vec![Effect::RequestMissing { missing }, customer(Notice::SeedIncomplete { missing })]
        }
        SeedState::Published => vec![customer(Notice::SeedPublished)],
        SeedState::Confirmed => vec![
            Effect::ReleaseKeysAllowed,
            Effect::CleanStagingAllowed,
            customer(Notice::SeedConfirmed),
        ],
        SeedState::Abandoned => vec![
            Effect::ReleaseKeysAllowed,
            Effect::CleanStagingAllowed,
            customer(Notice::SeedAbandoned),
        ],
        _ => Vec::new(),
    }
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
