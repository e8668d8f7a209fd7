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
use serde::{Deserialize, Serialize};

mod sets;
mod state;

pub use state::{DriveSet, SeedEvent, SeedState, SetState};

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
