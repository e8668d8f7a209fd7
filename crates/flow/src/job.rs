//! The import job: one drive set's transport from a customer to the data centre and back. Does not
//! decide over keys: they belong to the seed, and outlive every state of a job.
//!
//! From its arrival on, a job's state is not set but follows from its drives (`settle` in
//! `dock.rs`): no drive here → Shipping, all waiting → Received, some being read → Transferring,
//! all read → Packaging, all sent back → an end. So a job and its drives cannot contradict each
//! other.
//!
//! Decisions where the import service's documents contradict each other or are silent:
//!
//! - **Cancelling** is possible in Creating, at once, and in Shipping, best effort: the parcel cannot
//!   be called back, so the job goes on waiting for it, and its drives are sent back unread. From
//!   Received on it is refused. (The documents say "before Packaging", "only in Creating" and
//!   "Creating or Shipping".) Before arrival nothing has been read, so cancelling leaves nothing
//!   half done; after it, a partial import would be left in the account to save a few hours at the
//!   dock. It costs the owner nothing: keys and staging stay either way.
//! - **A cancelled job ends Canceled**, not Completed: Completed promises that everything was taken
//!   over.
//! - **A job that expires is Canceled**, not removed: its record, and what it knows of the drives,
//!   stays for another 90 days.
//! - **An empty parcel** does not make a job Received: it stays in Shipping, overdue at once.
//! - **In Packaging** the drives are still at the dock, so a drive that had problems can be read
//!   again, and one that turns up is read: both take the job back to Transferring. The alternative
//!   is to send a drive back unread over a bad cable. A cancelled job's drives are never read.
//! - **Parity**: a job whose data drives did not all come or were damaged ends Completed all the same
//!   when a parity drive was read without problems: that takes every object of the set. A parity drive
//!   that nobody needed may go back unread.
//! - **An export job** lists no drives: its drives are those that the dock finds, or adds. It is Completed
//!   when everything asked for is on drives that were read back, whatever became of the others; from then on
//!   no further drive is begun.

use crate::timer::{EXPIRE_AFTER, KEEP_RECORD_FOR, Timer, later};
use crate::{Deadline, Drive, Effect, Refused, Shipment, Step};
use jiff::Timestamp;
use model::{Address, DriveRole, DriveSerial, Package};
use serde::{Deserialize, Serialize};

mod clock;
mod customer;
mod dock;
mod event;
mod state;

pub use event::JobEvent;
pub use state::{CancelReason, CloseReason, End, Fault, JobState};

/// Drives a job may have. The import service's limit.
pub const MAX_DRIVES: usize = 10;

/// Which way the data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobType {
    /// From the customer's drives into the storage account. The customer lists the drives.
    Import,
    /// From the storage account onto drives. The dock lists the drives it finds in the package.
    Export,
}

/// The transport of one drive set.
///
/// invariant: serials are unique, at most [`MAX_DRIVES`]; from Shipping on there is a shipment and
/// a return address; `changed` never decreases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportJob {
    /// Which way the data goes.
    pub job_type: JobType,
    /// Where the job is.
    pub state: JobState,
    /// An operator has to look before anything else happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faulted: Option<Fault>,
    /// The customer has asked to cancel. Never taken back.
    pub cancel_requested: bool,
    /// Of an export job: everything asked for is on drives that were read back. Never taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exported: bool,
    /// The drives, in the order given.
    pub drives: Vec<Drive>,
    /// Where the drives go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_address: Option<Address>,
    /// The package that the drives travel in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shipment: Option<Shipment>,
    /// The package that the drives go back in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_package: Option<Package>,
    /// When it was created.
    pub created: Timestamp,
    /// When it last changed.
    pub changed: Timestamp,
}

impl ImportJob {
    /// A job in Creating. An import job may get its drives later; an export job lists none.
    ///
    /// # Errors
    /// [`Refused::TooManyDrives`], [`Refused::DriveTwice`], [`Refused::ExportListsNoDrives`].
    pub fn new(
        job_type: JobType,
        serials: Vec<DriveSerial>,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        Ok(Self {
            job_type,
            state: JobState::Creating { timer: Timer::starting(now) },
            faulted: None,
            cancel_requested: false,
            exported: false,
            drives: customer::listed(job_type, serials)?,
            return_address: None,
            shipment: None,
            return_package: None,
            created: now,
            changed: now,
        })
    }

    /// These of its drives are for parity, all others for data.
    #[must_use]
    pub fn with_parity(mut self, serials: &[DriveSerial]) -> Self {
        for drive in &mut self.drives {
            let is_parity = serials.contains(&drive.serial);
            drive.role = if is_parity { DriveRole::Parity } else { DriveRole::Data };
        }
        self
    }

    /// The next value and what follows from it.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn transition(&self, event: &JobEvent, now: Timestamp) -> Step<Self> {
        let now = now.max(self.changed);
        if let Some(step) = self.before_all(event) {
            return step.map(|()| (self.clone(), Vec::new()));
        }
        let mut next = self.clone();
        let effects = next.apply(event, now)?;
        if next != *self {
            next.changed = now;
        }
        Ok((next, effects))
    }

    /// What ends and faults say, before the event is looked at.
    fn before_all(&self, event: &JobEvent) -> Option<Result<(), Refused>> {
        if self.state.is_end() {
            return match event {
                JobEvent::Tick => None,
                JobEvent::CancelRequested if self.cancel_requested => Some(Ok(())),
                _ => Some(Err(self.over(event))),
            };
        }
        let fault = self.faulted.as_ref()?;
        match event {
            JobEvent::Tick => Some(Ok(())),
            JobEvent::Faulted { .. }
            | JobEvent::FaultResolved
            | JobEvent::OperatorAbandoned { .. } => None,
            _ => Some(Err(Refused::JobFaulted { reason: fault.reason.clone() })),
        }
    }

    fn apply(&mut self, event: &JobEvent, now: Timestamp) -> Result<Vec<Effect>, Refused> {
        match event {
            JobEvent::Updated => self.touch(now),
            JobEvent::DrivesReplaced { serials } => self.replace_drives(serials, now),
            JobEvent::DriveAdded { serial } => self.add_drive(serial, now),
            JobEvent::ShippingGiven { return_address, package, number_taken } => {
                self.give_shipping(return_address.as_deref(), package.as_ref(), *number_taken, now)
            }
            JobEvent::ShippingRequested => self.ship(now),
            JobEvent::ExtensionRequested => self.extend(now),
            JobEvent::CancelRequested => self.cancel(now),
            JobEvent::PackageArrived { serials } => self.open_package(serials, now),
            JobEvent::DriveCame { .. }
            | JobEvent::DriveNeverCame { .. }
            | JobEvent::DriveStarted { .. }
            | JobEvent::DriveProgressed { .. }
            | JobEvent::DriveFinished { .. }
            | JobEvent::DriveReturned { .. } => self.handle_drive(event, now),
            JobEvent::Exported => self.export(now),
            JobEvent::Returned { package } => self.send_back(package.as_ref(), now),
            JobEvent::Faulted { reason } => Ok(self.fault(reason, now)),
            JobEvent::FaultResolved => Ok(self.resolve(now)),
            JobEvent::OperatorAbandoned { reason } => Ok(self.abandon(reason, now)),
            JobEvent::Tick => Ok(self.tick(now)),
        }
    }

    /// The drive of that serial number.
    #[must_use]
    pub fn drive(&self, serial: &DriveSerial) -> Option<&Drive> {
        self.drives.iter().find(|drive| drive.serial == *serial)
    }

    /// Whether the dock may read that drive now: exactly when it may start to, go on, or try again.
    /// A drive's password is given out as long as this holds, and no longer. In Shipping it does not:
    /// that the drive is there is recorded first.
    ///
    /// # Errors
    /// [`Refused`], as for [`JobEvent::DriveStarted`].
    pub fn may_be_read(&self, serial: &DriveSerial) -> Result<(), Refused> {
        let started = JobEvent::DriveStarted { serial: serial.clone() };
        self.transition(&started, self.changed).map(drop)
    }

    /// The deadline that is running, for showing it and for the next look at the clock.
    #[must_use]
    pub fn deadline(&self) -> Option<(Deadline, Timestamp)> {
        if self.faulted.is_some() {
            return None;
        }
        match &self.state {
            JobState::Creating { timer } => {
                Some((Deadline::Shipping, timer.deadline(EXPIRE_AFTER)))
            }
            JobState::Shipping { .. } => self.shipment.as_ref().and_then(Shipment::deadline),
            JobState::Completed { end }
            | JobState::Closed { end, .. }
            | JobState::Canceled { end, .. } => {
                (!end.record_may_go).then(|| (Deadline::Record, later(end.at, KEEP_RECORD_FOR)))
            }
            _ => None,
        }
    }

    /// Whether the customer may remove the record. Says nothing about the drives' keys: those are
    /// the seed's ([`Seed::keys_may_be_deleted`](crate::Seed::keys_may_be_deleted)).
    ///
    /// # Errors
    /// [`Refused::JobUnderWay`] between shipping and the end.
    pub fn record_may_be_removed(&self) -> Result<(), Refused> {
        match self.state {
            JobState::Creating { .. } => Ok(()),
            _ if self.state.is_end() => Ok(()),
            _ => Err(Refused::JobUnderWay { state: self.state.name() }),
        }
    }

    /// Whether it ended so long ago that its record is not kept any longer.
    #[must_use]
    pub fn record_has_expired(&self) -> bool {
        match &self.state {
            JobState::Completed { end }
            | JobState::Closed { end, .. }
            | JobState::Canceled { end, .. } => end.record_may_go,
            _ => false,
        }
    }

    /// Share of the drives' bytes taken over, 0 to 100: the mean of the drives. Of an export job whose drives have
    /// everything, all: the others were not needed.
    #[must_use]
    pub fn percent_complete(&self) -> u8 {
        if self.exported {
            return 100;
        }
        let sum: usize =
            self.drives.iter().map(|d| usize::from(d.percent_complete().unwrap_or(0))).sum();
        u8::try_from(sum / self.drives.len().max(1)).unwrap_or(100)
    }
}
