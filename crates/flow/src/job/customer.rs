//! What the customer does to a job: list drives, give shipping details, ship, ask for time, cancel.
//! Does not handle drives at the dock.

use super::{CancelReason, End, ImportJob, JobState, JobType, MAX_DRIVES};
use crate::effect::{customer, operator};
use crate::timer::Timer;
use crate::{Drive, Effect, Notice, Refused, Shipment, ShipmentEvent, ShipmentState};
use jiff::Timestamp;
use model::{Address, DriveSerial, Package};
use std::collections::BTreeSet;

/// The drives of a new list, none of them seen yet.
pub(super) fn listed(job_type: JobType, serials: Vec<DriveSerial>) -> Result<Vec<Drive>, Refused> {
    if job_type == JobType::Export && !serials.is_empty() {
        return Err(Refused::ExportListsNoDrives);
    }
    check_list(&serials)?;
    Ok(serials.into_iter().map(Drive::new).collect())
}

/// Refuses a list that is too long or names a drive twice.
pub(super) fn check_list(serials: &[DriveSerial]) -> Result<(), Refused> {
    if serials.len() > MAX_DRIVES {
        return Err(Refused::TooManyDrives { given: serials.len() });
    }
    let mut seen = BTreeSet::new();
    match serials.iter().find(|serial| !seen.insert(*serial)) {
        Some(serial) => Err(Refused::DriveTwice { serial: serial.clone() }),
        None => Ok(()),
    }
}

impl ImportJob {
    /// Any update restarts the clock of a job that is not shipped yet.
    pub(super) fn touch(&mut self, now: Timestamp) -> Result<Vec<Effect>, Refused> {
        if let JobState::Creating { timer } = &mut self.state {
            *timer = Timer::starting(now);
        }
        Ok(Vec::new())
    }

    pub(super) fn replace_drives(
        &mut self,
        serials: &[DriveSerial],
        now: Timestamp,
    ) -> Result<Vec<Effect>, Refused> {
        self.only_in_creating()?;
        self.drives = listed(self.job_type, serials.to_vec())?;
        self.touch(now)
    }

    pub(super) fn add_drive(
        &mut self,
        serial: &DriveSerial,
        now: Timestamp,
    ) -> Result<Vec<Effect>, Refused> {
        self.only_in_creating()?;
        let mut serials: Vec<_> = self.drives.iter().map(|drive| drive.serial.clone()).collect();
        serials.push(serial.clone());
        self.drives = listed(self.job_type, serials)?;
        self.touch(now)
    }

    fn only_in_creating(&self) -> Result<(), Refused> {
        match self.state {
            JobState::Creating { .. } => Ok(()),
            _ => Err(Refused::DrivesFixed { state: self.state.name() }),
        }
    }

    pub(super) fn give_shipping(
        &mut self,
        return_address: Option<&Address>,
        package: Option<&Package>,
        number_taken: bool,
        now: Timestamp,
    ) -> Result<Vec<Effect>, Refused> {
        if let Some(address) = return_address {
            address.check_return().map_err(|cause| Refused::Address { cause })?;
            self.return_address = Some(address.clone());
        }
        if let Some(package) = package {
            self.give_package(package, number_taken, now)?;
        }
        self.touch(now)
    }

    fn give_package(
        &mut self,
        package: &Package,
        number_taken: bool,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let state = self.state.name();
        if !matches!(self.state, JobState::Creating { .. } | JobState::Shipping { .. }) {
            return Err(Refused::ShippingFixed { state });
        }
        if number_taken {
            return Err(Refused::TrackingNumberTaken { number: package.tracking_number.clone() });
        }
        if matches!(self.state, JobState::Shipping { .. }) {
            self.check_count(package)?;
        }
        self.shipment = Some(match &self.shipment {
            None => Shipment::new(package.clone()),
            Some(shipment) => {
                let event = ShipmentEvent::Corrected { package: package.clone() };
                shipment.transition(&event, now)?.0
            }
        });
        Ok(())
    }

    /// All drives of a job travel in one package, so a count that differs is a mistake worth a
    /// question before the parcel leaves.
    fn check_count(&self, package: &Package) -> Result<(), Refused> {
        match package.drive_count {
            Some(given)
                if self.job_type == JobType::Import
                    && usize::try_from(given) != Ok(self.drives.len()) =>
            {
                Err(Refused::DriveCount { given, listed: self.drives.len() })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn ship(&mut self, now: Timestamp) -> Result<Vec<Effect>, Refused> {
        match self.state {
            JobState::Creating { .. } => {}
            JobState::Shipping { .. } => return Ok(Vec::new()),
            _ => return Err(Refused::AlreadyArrived { state: self.state.name() }),
        }
        if self.job_type == JobType::Import && self.drives.is_empty() {
            return Err(Refused::NoDrives);
        }
        if self.return_address.is_none() {
            return Err(Refused::NoReturnAddress);
        }
        let shipment = self.shipment.as_ref().ok_or(Refused::NoPackage)?;
        self.check_count(&shipment.package)?;
        let (shipment, effects) = shipment.transition(&ShipmentEvent::HandedOver, now)?;
        self.shipment = Some(shipment);
        self.state = JobState::Shipping { since: now };
        Ok(effects)
    }

    pub(super) fn extend(&mut self, now: Timestamp) -> Result<Vec<Effect>, Refused> {
        match (&self.state, &self.shipment) {
            (JobState::Shipping { .. }, Some(shipment)) => {
                let (shipment, effects) = shipment.transition(&ShipmentEvent::Extended, now)?;
                self.shipment = Some(shipment);
                Ok(effects)
            }
            _ => Err(Refused::NotOverdue),
        }
    }

    pub(super) fn cancel(&mut self, now: Timestamp) -> Result<Vec<Effect>, Refused> {
        if self.cancel_requested {
            return Ok(Vec::new());
        }
        match self.state {
            JobState::Creating { .. } => {
                self.cancel_requested = true;
                self.give_up_package(now);
                self.state =
                    JobState::Canceled { end: End::now(now), reason: CancelReason::Requested };
                Ok(vec![customer(Notice::JobCanceled)])
            }
            JobState::Shipping { .. } => {
                self.cancel_requested = true;
                Ok(vec![customer(Notice::CancelNoted), operator(Notice::CancelNoted)])
            }
            _ => Err(Refused::CancelTooLate { state: self.state.name() }),
        }
    }

    /// Nobody waits for the package any more.
    pub(super) fn give_up_package(&mut self, now: Timestamp) {
        if let Some(shipment) = &mut self.shipment
            && !matches!(shipment.state, ShipmentState::Delivered { .. })
            && let Ok((lost, _)) = shipment.transition(&ShipmentEvent::GivenUp, now)
        {
            *shipment = lost;
        }
    }
}
