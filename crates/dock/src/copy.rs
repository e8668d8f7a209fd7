//! One drive of the job, from the server's hearing of it to the server's having its copy log.
//! Does not judge whose the drive is: that was done before.
//!
//! ```text
//!  started ──▶ objects… ──▶ log written ──▶ finished ──▶ log sent ──▶ journal forgotten
//! ```
//!
//! A crash before `finished` leaves the drive Transferring, and the next call goes on. A crash after
//! it leaves the log in the state folder, and the next call sends it.

use crate::Error;
use crate::account::Account;
use crate::chain::Custody;
use crate::control::Control;
use crate::event::Event;
use crate::journal::{self, Journal};
use crate::log;
use crate::patience::Patience;
use model::DriveSerial;
use seed::{Problem, SealedDrive, Unloaded};
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;
use wire::{DriveEvent, DriveState, DriveStatus, Failure, Job, MAX_NAMES, Rebuilt};

/// A reason in a report is at most this many characters; the copy log has all of it.
const REASON: usize = 200;

/// What a drive has given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// What the server has found when it looked for every object of the drive.
    pub status: DriveStatus,
    /// Objects copied by this call.
    pub copied: u64,
    /// Their lengths together, in bytes.
    pub copied_bytes: u64,
    /// Objects that were in the account already.
    pub already: u64,
    /// Objects that the drive could not give, or the account not take.
    pub problems: Vec<Problem>,
}

impl Taken {
    /// Whether everything that the drive should bring is in the account.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.status.state == DriveState::Completed
    }
}

/// What the copies of all drives share.
pub(crate) struct Shared<'a> {
    pub(crate) control: &'a dyn Control,
    pub(crate) account: &'a Account<'a>,
    pub(crate) patience: &'a Patience<'a>,
    pub(crate) job: &'a Job,
    pub(crate) state: &'a Path,
    pub(crate) report_every: Duration,
    pub(crate) custody: Option<&'a Custody<'a>>,
    pub(crate) events: &'a (dyn Fn(Event<'_>) + Sync),
}

impl Shared<'_> {
    pub(crate) fn take_in(&self, drive: &SealedDrive) -> Result<Taken, Error> {
        let serial = &drive.label().serial;
        let folder = journal::folder(self.state, &self.job.name)?;
        let mut journal = Journal::open(&folder, serial)?;
        self.note(|custody| custody.received(self.job, serial))?;
        self.report(serial, &DriveEvent::Started)?;
        let (unloaded, bytes) = self.unload(drive, &mut journal)?;
        log::write(&folder, &self.job.name, drive.manifest(), &journal, &unloaded.problems)?;
        let problems = &unloaded.problems;
        self.note(|custody| custody.ingested(self.job, drive.manifest(), problems))?;
        let status = self.report(serial, &finished(bytes, problems.iter(), None))?;
        (self.events)(Event::Finished { serial, status: &status });
        send_log(self.control, self.patience, self.job, &folder, serial)?;
        if status.state == DriveState::Completed {
            journal.remove()?;
        }
        let Unloaded { copied, copied_bytes, already, problems, .. } = unloaded;
        Ok(Taken { status, copied, copied_bytes, already, problems })
    }

    /// Writes down what has happened to a drive, where a chain is kept.
    pub(crate) fn note(
        &self,
        what: impl FnOnce(&Custody<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.custody.map_or(Ok(()), what)
    }

    pub(crate) fn report(
        &self,
        serial: &DriveSerial,
        event: &DriveEvent,
    ) -> Result<DriveStatus, Error> {
        self.patience.ask(|| self.control.drive_event(&self.job.name, serial, event))
    }

    /// What the drive has given, and the bytes of it that are in the account now.
    fn unload(&self, drive: &SealedDrive, journal: &mut Journal) -> Result<(Unloaded, u64), Error> {
        let serial = &drive.label().serial;
        let manifest = &drive.manifest().body;
        let (objects, total) = (manifest.objects.len() as u64, manifest.bytes());
        (self.events)(Event::Started { serial, objects, bytes: total });
        let next_report = self.patience.clock.now().saturating_add(self.report_every);
        let mut watch =
            Watch { shared: self, journal, serial, total, bytes: 0, already: 0, next_report };
        let unloaded = drive.unload(self.account, &mut watch);
        watch.flush();
        let bytes = watch.bytes;
        unloaded.map(|unloaded| (unloaded, bytes)).map_err(|error| self.ended(serial, error))
    }

    pub(crate) fn ended(&self, serial: &DriveSerial, error: seed::Error) -> Error {
        match error {
            seed::Error::Gone { .. } => {
                (self.events)(Event::Gone { serial });
                Error::Drive(error)
            }
            seed::Error::Interrupted => Error::Interrupted,
            seed::Error::Store(_) if self.patience.stopped() => Error::Interrupted,
            seed::Error::Store(cause) => Error::Account(cause),
            other => Error::Drive(other),
        }
    }
}

pub(crate) fn finished<'p>(
    bytes: u64,
    problems: impl Iterator<Item = &'p Problem>,
    rebuilt: Option<Rebuilt>,
) -> DriveEvent {
    let failure = |problem: &Problem| Failure {
        key: problem.key.to_string(),
        reason: problem.reason.to_string().chars().take(REASON).collect(),
    };
    let failures = problems.take(MAX_NAMES).map(failure).collect();
    DriveEvent::Finished { bytes, failures, rebuilt }
}

/// Sends the log of a drive if there is one, and removes it once the server has it.
pub(crate) fn send_log(
    control: &dyn Control,
    patience: &Patience<'_>,
    job: &Job,
    folder: &Path,
    serial: &DriveSerial,
) -> Result<(), Error> {
    let path = log::path(folder, serial);
    let opened = || -> std::io::Result<(File, u64)> {
        let file = File::open(&path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    match opened() {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(Error::io("opening", &path))?,
    };
    patience.ask(|| {
        let wrap = |cause| client::Error::File { path: path.clone(), cause };
        let (mut file, length) = opened().map_err(wrap)?;
        control.put_copy_log(&job.name, serial, length, &mut file)
    })?;
    match fs::remove_file(&path) {
        // Another drive of the job is taken in beside this one, and has sent it as well.
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(Error::io("removing", &path)),
    }
}

/// Turns what happens to a drive's objects into progress, journal lines and reports.
struct Watch<'a> {
    shared: &'a Shared<'a>,
    journal: &'a mut Journal,
    serial: &'a DriveSerial,
    total: u64,
    bytes: u64,
    already: u64,
    next_report: Duration,
}

impl Watch<'_> {
    /// The journal is a help, so a full disk here does not stop a copy that has room there.
    fn flush(&mut self) {
        if let Err(error) = self.journal.flush() {
            tracing::warn!(%error, drive = %self.serial, "the journal cannot be written");
        }
    }

    fn progress(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        let Self { serial, total, bytes, already, .. } = *self;
        (self.shared.events)(Event::Progress { serial, bytes, total, already });
        let now = self.shared.patience.clock.now();
        if now < self.next_report {
            return;
        }
        self.next_report = now.saturating_add(self.shared.report_every);
        self.flush();
        let (control, job) = (self.shared.control, &self.shared.job.name);
        // Shown only, and soon replaced by the next one: not worth a second try.
        if let Err(error) = control.drive_event(job, serial, &DriveEvent::Progress { bytes, total })
        {
            tracing::debug!(%error, drive = %serial, "progress was not reported");
        }
    }
}

impl seed::Events for Watch<'_> {
    fn event(&mut self, event: seed::Event<'_>) {
        match event {
            seed::Event::ObjectDone { repository, key, bytes, .. } => {
                if let Err(error) = self.journal.add(repository, key) {
                    tracing::warn!(%error, drive = %self.serial, "the journal cannot be written");
                }
                self.progress(bytes);
            }
            seed::Event::ObjectThere { bytes, .. } => {
                self.already = self.already.saturating_add(bytes);
                self.progress(bytes);
            }
            seed::Event::Problem { problem, .. } => {
                (self.shared.events)(Event::Problem { serial: self.serial, problem });
            }
            _ => {}
        }
    }

    fn stop(&self) -> bool {
        self.shared.patience.stopped()
    }
}
