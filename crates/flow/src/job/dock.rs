//! What the dock does to a job: open its package, read its drives, send them back. Decides by the
//! drives where the job is; reads no drive itself.

use super::{CancelReason, CloseReason, End, ImportJob, JobEvent, JobState, JobType, customer};
use crate::effect::{customer as tell, operator};
use crate::{Drive, DriveEvent, DriveState, Effect, Notice, Refused, ShipmentEvent};
use jiff::Timestamp;
use model::{DriveRole, DriveSerial, Package};

impl ImportJob {
    pub(super) fn open_package(
        &mut self,
        serials: &[DriveSerial],
        now: Timestamp,
    ) -> Result<Vec<Effect>, Refused> {
        customer::check_list(serials)?;
        match self.state {
            JobState::Creating { .. } => return Err(Refused::PackageNotShipped),
            JobState::Shipping { .. } => {}
            _ => return self.open_again(serials),
        }
        let found = |drive: &Drive| serials.contains(&drive.serial);
        if self.job_type == JobType::Export && self.drives.is_empty() {
            self.drives = serials.iter().cloned().map(Drive::new).collect();
        }
        if !self.drives.iter().any(found) {
            return self.open_empty(serials, now);
        }
        let mut effects = self.extra_drives(serials);
        for drive in &mut self.drives {
            let event = if found(drive) { DriveEvent::Came } else { DriveEvent::NeverCame };
            if event == DriveEvent::NeverCame {
                effects.extend(missing(&drive.serial));
            }
            *drive = drive.transition(&event, now)?.0;
        }
        effects.extend(self.settle(now)?);
        Ok(effects)
    }

    /// The package is open already. Saying so again changes nothing; more drives in another parcel
    /// are recorded one by one, so that none is taken for missing by mistake.
    fn open_again(&self, serials: &[DriveSerial]) -> Result<Vec<Effect>, Refused> {
        if serials.iter().any(|serial| self.is_missing(serial)) {
            return Err(Refused::AlreadyArrived { state: self.state.name() });
        }
        Ok(Vec::new())
    }

    fn is_missing(&self, serial: &DriveSerial) -> bool {
        self.drive(serial).is_some_and(|drive| drive.state == DriveState::NeverReceived)
    }

    /// What an ended job answers; about a drive, by the drive's name.
    pub(super) fn over(&self, event: &JobEvent) -> Refused {
        let state = self.state.name();
        match drive_event(event) {
            None => Refused::JobEnded { state },
            Some((serial, _)) if self.drive(serial).is_none() => {
                Refused::UnknownDrive { serial: serial.clone() }
            }
            Some((serial, _)) => Refused::DriveAfterEnd { serial: serial.clone(), state },
        }
    }

    fn open_empty(
        &mut self,
        serials: &[DriveSerial],
        now: Timestamp,
    ) -> Result<Vec<Effect>, Refused> {
        let before = self.shipment.clone();
        for drive in &mut self.drives {
            *drive = drive.transition(&DriveEvent::NeverCame, now)?.0;
        }
        let effects = self.settle(now)?;
        if before == self.shipment {
            return Ok(effects);
        }
        Ok(self.extra_drives(serials).into_iter().chain(effects).collect())
    }

    fn extra_drives(&self, serials: &[DriveSerial]) -> Vec<Effect> {
        let extra = serials.iter().filter(|serial| self.drive(serial).is_none());
        extra
            .flat_map(|serial| {
                let notice = Notice::ExtraDrive { serial: serial.clone() };
                [tell(notice.clone()), operator(notice)]
            })
            .collect()
    }

    /// One drive's event. A drive that is not in the job is refused before anything else.
    pub(super) fn handle_drive(
        &mut self,
        event: &JobEvent,
        now: Timestamp,
    ) -> Result<Vec<Effect>, Refused> {
        let Some((serial, event)) = drive_event(event) else { return Ok(Vec::new()) };
        if event == DriveEvent::Came && self.takes_another(serial) {
            return self.take_another(serial, now);
        }
        let index = self
            .drives
            .iter()
            .position(|drive| drive.serial == *serial)
            .ok_or_else(|| Refused::UnknownDrive { serial: serial.clone() })?;
        self.check_drive_event(serial, event)?;
        let Some(drive) = self.drives.get_mut(index) else { return Ok(Vec::new()) };
        let (next, _) = drive.transition(&event, now)?;
        if next == *drive {
            return Ok(Vec::new());
        }
        let mut effects = drive_effects(self.job_type, drive, &next);
        *drive = next;
        effects.extend(self.settle(now)?);
        Ok(effects)
    }

    /// Whether that is one more drive for an export job to be written on.
    fn takes_another(&self, serial: &DriveSerial) -> bool {
        let is_here = matches!(
            self.state,
            JobState::Received { .. } | JobState::Transferring { .. } | JobState::Packaging { .. }
        );
        self.job_type == JobType::Export && is_here && self.drive(serial).is_none()
    }

    fn take_another(
        &mut self,
        serial: &DriveSerial,
        now: Timestamp,
    ) -> Result<Vec<Effect>, Refused> {
        let serials = self.drives.iter().map(|drive| drive.serial.clone());
        customer::check_list(&serials.chain([serial.clone()]).collect::<Vec<_>>())?;
        let drive = Drive::new(serial.clone()).transition(&DriveEvent::Came, now)?.0;
        self.drives.push(drive);
        self.settle(now)
    }

    /// Everything asked for is on drives that were read back.
    pub(super) fn export(&mut self, now: Timestamp) -> Result<Vec<Effect>, Refused> {
        if self.job_type != JobType::Export {
            return Err(Refused::NotAnExport);
        }
        let is_written = self.drives.iter().any(Drive::is_clean);
        let is_open =
            matches!(self.state, JobState::Transferring { .. } | JobState::Packaging { .. });
        if !(is_written && is_open) {
            return Err(Refused::NothingWritten { state: self.state.name() });
        }
        self.exported = true;
        self.settle(now)
    }

    /// Whether the job is where this may happen to one of its drives.
    fn check_drive_event(&self, serial: &DriveSerial, event: DriveEvent) -> Result<(), Refused> {
        let may_turn_up =
            || matches!(event, DriveEvent::Came | DriveEvent::NeverCame) && self.is_missing(serial);
        match (&self.state, event) {
            (JobState::Creating { .. }, _) => {
                Err(Refused::DriveBeforeShipping { serial: serial.clone() })
            }
            (JobState::Shipping { .. }, _) if may_turn_up() => Ok(()),
            (JobState::Shipping { .. }, _) => {
                Err(Refused::DriveBeforeArrival { serial: serial.clone() })
            }
            (JobState::Packaging { .. }, DriveEvent::Returned) => Ok(()),
            (_, DriveEvent::Returned) => Err(Refused::NotPackaging { state: self.state.name() }),
            (_, DriveEvent::Started) if self.cancel_requested => Err(Refused::CanceledUnread),
            (_, DriveEvent::Started) if self.exported && !self.is_being_read(serial) => {
                Err(Refused::ExportWritten { serial: serial.clone() })
            }
            _ => Ok(()),
        }
    }

    fn is_being_read(&self, serial: &DriveSerial) -> bool {
        let drive = self.drive(serial);
        drive.is_some_and(|drive| matches!(drive.state, DriveState::Transferring { .. }))
    }

    pub(super) fn send_back(
        &mut self,
        package: Option<&Package>,
        now: Timestamp,
    ) -> Result<Vec<Effect>, Refused> {
        if !matches!(self.state, JobState::Packaging { .. }) {
            return Err(Refused::NotPackaging { state: self.state.name() });
        }
        for drive in self.drives.iter_mut().filter(|drive| drive.is_here()) {
            *drive = drive.transition(&DriveEvent::Returned, now)?.0;
        }
        self.return_package = package.cloned();
        self.settle(now)
    }

    /// Whether everything that the drives should bring was taken over: all data drives had it, or a parity drive
    /// was read without problems, which needs every object of the set where it should be. Of an export job, whether
    /// everything asked for is on drives.
    #[must_use]
    pub fn has_landed(&self) -> bool {
        if self.job_type == JobType::Export {
            return self.exported;
        }
        let of = |role| self.drives.iter().filter(move |drive| drive.role == role);
        if of(DriveRole::Parity).any(Drive::is_clean) {
            return true;
        }
        // Parity drives alone are another job's: nothing of the set has landed by them unless one was read.
        !self.is_of_parity() && of(DriveRole::Data).all(Drive::is_clean)
    }

    /// Whether it has no drives but parity: those of a set whose data drives travel with another job.
    #[must_use]
    pub fn is_of_parity(&self) -> bool {
        !self.drives.is_empty() && self.drives.iter().all(|drive| !drive.role.is_data())
    }

    /// Puts the job where its drives say it is, and keeps the shipment in step.
    fn settle(&mut self, now: Timestamp) -> Result<Vec<Effect>, Refused> {
        let state = self.state_by_drives(now);
        let shipment = self.shipment.as_ref().ok_or(Refused::NoPackage)?;
        let event = match state {
            JobState::Shipping { .. } => ShipmentEvent::FoundEmpty,
            _ => ShipmentEvent::Arrived,
        };
        let (shipment, mut effects) = shipment.transition(&event, now)?;
        self.shipment = Some(shipment);
        if state.name() != self.state.name() {
            effects.extend(self.entering(&state));
            self.state = state;
        }
        Ok(effects)
    }

    fn state_by_drives(&self, since: Timestamp) -> JobState {
        let here = || self.drives.iter().filter(|drive| drive.is_here());
        let arrived = self.drives.iter().any(|drive| drive.is_here() || drive.is_read());
        if !arrived {
            return JobState::Shipping { since };
        }
        if here().next().is_none() {
            return self.end_by_drives(since);
        }
        let is_busy = |drive: &Drive| matches!(drive.state, DriveState::Transferring { .. });
        let all_written = self.exported && !here().any(is_busy);
        if self.cancel_requested || all_written || here().all(Drive::is_read) {
            return JobState::Packaging { since };
        }
        let waiting = |drive: &Drive| drive.state == DriveState::Received;
        match self.drives.iter().any(Drive::is_read) || !here().all(waiting) {
            true => JobState::Transferring { since },
            false => JobState::Received { since },
        }
    }

    fn end_by_drives(&self, now: Timestamp) -> JobState {
        let end = End::now(now);
        if self.cancel_requested {
            JobState::Canceled { end, reason: CancelReason::Requested }
        } else if self.has_landed() {
            JobState::Completed { end }
        } else {
            JobState::Closed { end, reason: CloseReason::Problems }
        }
    }

    fn entering(&self, state: &JobState) -> Vec<Effect> {
        let drives = self.drives.iter().filter(|drive| drive.is_here()).count();
        let drives = u32::try_from(drives).unwrap_or(u32::MAX);
        let is_export = self.job_type == JobType::Export;
        match state {
            JobState::Received { .. } => vec![tell(Notice::PackageArrived { drives })],
            JobState::Packaging { .. } => {
                vec![tell(Notice::ReadyToReturn), operator(Notice::ReadyToReturn)]
            }
            JobState::Completed { .. } if is_export => vec![tell(Notice::ExportCompleted)],
            JobState::Closed { .. } if is_export => vec![tell(Notice::ExportClosed)],
            JobState::Completed { .. } => vec![tell(Notice::JobCompleted)],
            JobState::Closed { .. } => vec![tell(Notice::JobClosed)],
            JobState::Canceled { .. } => vec![tell(Notice::JobCanceled)],
            _ => Vec::new(),
        }
    }
}

fn drive_event(event: &JobEvent) -> Option<(&DriveSerial, DriveEvent)> {
    Some(match event {
        JobEvent::DriveCame { serial } => (serial, DriveEvent::Came),
        JobEvent::DriveNeverCame { serial } => (serial, DriveEvent::NeverCame),
        JobEvent::DriveStarted { serial } => (serial, DriveEvent::Started),
        JobEvent::DriveProgressed { serial, bytes, total } => {
            (serial, DriveEvent::Progressed { bytes: *bytes, total: *total })
        }
        JobEvent::DriveFinished { serial, bytes, problems } => {
            (serial, DriveEvent::Finished { bytes: *bytes, problems: *problems })
        }
        JobEvent::DriveReturned { serial } => (serial, DriveEvent::Returned),
        _ => return None,
    })
}

fn drive_effects(job_type: JobType, before: &Drive, after: &Drive) -> Vec<Effect> {
    let serial = || after.serial.clone();
    match (&before.state, &after.state) {
        (_, DriveState::CompletedMoreInfo { .. }) if job_type == JobType::Export => {
            let notice = Notice::DriveNotWritten { serial: serial() };
            vec![tell(notice.clone()), operator(notice)]
        }
        (DriveState::NeverReceived, DriveState::Received) => {
            vec![tell(Notice::DriveTurnedUp { serial: serial() })]
        }
        (_, DriveState::NeverReceived) => missing(&after.serial),
        (_, DriveState::CompletedMoreInfo { problems, .. }) => {
            let notice = Notice::DriveProblems { serial: serial(), problems: *problems };
            vec![tell(notice.clone()), operator(notice)]
        }
        _ => Vec::new(),
    }
}

fn missing(serial: &DriveSerial) -> Vec<Effect> {
    let notice = Notice::DriveMissing { serial: serial.clone() };
    vec![tell(notice.clone()), operator(notice)]
}
