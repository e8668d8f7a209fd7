//! Parity drives at the dock: when they have their turn, and what is rebuilt with them. How it is rebuilt is the
//! `seed` crate's part.
//!
//! ```text
//!  every data drive at the dock read? ─▶ enough parity drives attached? ─▶ each started ─▶ the account listed
//!     ─▶ what is missing: rebuilt, hashed, uploaded ─▶ logs written ─▶ each finished ─▶ logs sent
//! ```
//!
//! What was rebuilt is said of the first of the parity drives that were read together. A call may end anywhere: the
//! next one rebuilds what is not in the account.

use crate::Error;
use crate::account::Account;
use crate::control::Places;
use crate::copy::{Shared, Taken, finished, send_log};
use crate::event::Event;
use crate::import::Work;
use crate::journal::{self, Journal};
use crate::log::{self, Rebuildings};
use model::{DriveRole, DriveSerial};
use seed::{EXTENT, Problem, SealedDrive};
use std::path::Path;
use std::time::Duration;
use wire::{DriveEvent, DriveState, DriveStatus, Job, JobState, ReadDrive, Rebuilt};

fn of_role(job: &Job, role: DriveRole) -> impl Iterator<Item = &DriveStatus> {
    job.drive_list.iter().filter(move |drive| drive.role == role)
}

/// A job of parity drives alone, with the data drives of its set, which travel with other jobs: as they are where these are
/// at the dock, and as missing where they are not.
pub(crate) fn of_set(job: &Job, jobs: &[Job]) -> Job {
    use JobState as J;
    let mut whole = job.clone();
    let set = |job: &Job| job.carries.as_ref().map(|own| (own.seed.id, own.seed.set));
    if job.drive_list.iter().any(|drive| drive.role.is_data()) || set(job).is_none() {
        return whole;
    }
    let others = jobs.iter().filter(|other| other.name != job.name && set(other) == set(job));
    for other in others {
        let is_here = matches!(other.state, J::Received | J::Transferring | J::Packaging);
        for drive in of_role(other, DriveRole::Data) {
            let mut drive = drive.clone();
            if !is_here && drive.copy_status.is_none() {
                drive.state = DriveState::NeverReceived;
            }
            let known = whole.drive_list.iter_mut().find(|it| it.drive_id == drive.drive_id);
            match known {
                // The set's drives were sent again: what has arrived counts.
                Some(known) if drive.copy_status.is_some() => *known = drive,
                Some(_) => {}
                None => whole.drive_list.push(drive),
            }
        }
    }
    whole
}

/// Data drives that are at the dock, and not read to their end: parity waits for them.
pub(crate) fn waits_for(job: &Job) -> Vec<DriveSerial> {
    use DriveState as S;
    let open = |state| matches!(state, S::Specified | S::Received | S::Transferring);
    let drives = of_role(job, DriveRole::Data).filter(|drive| open(drive.state));
    drives.map(|drive| drive.drive_id.clone()).collect()
}

/// How many data drives have not brought everything and are not at hand; each of them is missing in every stripe.
fn absent(job: &Job, at_hand: &[&DriveSerial]) -> usize {
    let whole = |drive: &DriveStatus| match drive.state {
        DriveState::Completed => true,
        DriveState::ShippedBack => drive.copy_status.is_some() && drive.failure_count == 0,
        _ => false,
    };
    // A parity drive is whole only when all of the set has landed.
    if of_role(job, DriveRole::Parity).any(whole) {
        return 0;
    }
    let lacking = of_role(job, DriveRole::Data).filter(|drive| !whole(drive));
    lacking.filter(|drive| !at_hand.contains(&&drive.drive_id)).count()
}

/// Parity drives at the dock that must be attached, too; and how many data drives are absent.
pub(crate) fn further(
    job: &Job,
    attached: &[&DriveSerial],
    at_hand: &[&DriveSerial],
) -> Option<(usize, Vec<DriveSerial>)> {
    use DriveState as S;
    let absent = absent(job, at_hand);
    if attached.len() >= absent {
        return None;
    }
    let here = |state| matches!(state, S::Received | S::Transferring | S::CompletedMoreInfo);
    let others = of_role(job, DriveRole::Parity)
        .filter(|drive| here(drive.state) && !attached.contains(&&drive.drive_id));
    let others: Vec<_> = others.map(|drive| drive.drive_id.clone()).collect();
    (!others.is_empty()).then_some((absent, others))
}

/// Rebuilds with the parity drives given what has not arrived. Answers each with its place.
pub(crate) fn take_in(
    shared: &Shared<'_>,
    places: &dyn Places,
    work: &Work,
) -> Vec<(usize, Result<Taken, Error>)> {
    let data: Vec<&SealedDrive> = work.data.iter().map(|(_, drive)| drive.as_ref()).collect();
    let mut left: Vec<&(usize, Box<SealedDrive>)> = work.parity.iter().collect();
    let mut results = Vec::new();
    while let Some(first) = left.first().copied() {
        // Those of one set were written together. Others cannot be used with them.
        let of =
            |it: &(usize, Box<SealedDrive>)| it.1.parity().map(|of| (of.count, of.drives.clone()));
        let (group, rest) = left.into_iter().partition(|it| of(it) == of(first));
        left = rest;
        results.extend(take_in_group(shared, places, &group, &data));
    }
    results
}

type Group<'g> = [&'g (usize, Box<SealedDrive>)];

/// What is wrong with one of them is said of the first.
fn take_in_group(
    shared: &Shared<'_>,
    places: &dyn Places,
    group: &Group<'_>,
    data: &[&SealedDrive],
) -> Vec<(usize, Result<Taken, Error>)> {
    let drives: Vec<&SealedDrive> = group.iter().map(|(_, drive)| drive.as_ref()).collect();
    let places =
        group.iter().map(|(at, _)| *at).zip(match together(shared, places, &drives, data) {
            Ok(taken) => taken.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => {
                let first = drives.first().map(|drive| drive.label().serial.clone());
                let others = drives.iter().skip(1).map(|drive| {
                    let serial = drive.label().serial.clone();
                    Err(match &first {
                        Some(first) => Error::Beside { serial, first: first.clone() },
                        None => Error::Interrupted,
                    })
                });
                std::iter::once(Err(error)).chain(others).collect()
            }
        });
    places.collect()
}

/// Reads them together; answers one for each, in their order.
fn together(
    shared: &Shared<'_>,
    places: &dyn Places,
    drives: &[&SealedDrive],
    data: &[&SealedDrive],
) -> Result<Vec<Taken>, Error> {
    let Some(first) = drives.first() else { return Ok(Vec::new()) };
    let serials: Vec<&DriveSerial> = drives.iter().map(|drive| &drive.label().serial).collect();
    let at_hand: Vec<&DriveSerial> = data.iter().map(|drive| &drive.label().serial).collect();
    refuse_early(shared, &serials, &at_hand)?;
    let folder = journal::folder(shared.state, &shared.job.name)?;
    let mut journals = Vec::new();
    for serial in &serials {
        journals.push(Journal::open(&folder, serial)?);
    }
    for serial in &serials {
        shared.note(|custody| custody.received(shared.job, serial))?;
        shared.report(serial, &DriveEvent::Started)?;
    }
    let mut noted = Rebuildings::open(&folder, &first.label().serial)?;
    let rebuilt = rebuilt(shared, places, (drives, data), &folder, &mut noted)?;
    let said = said(&rebuilt, noted.drives().map_err(Error::io("reading", &folder))?);
    let (job, manifest) = (&shared.job.name, first.manifest());
    log::write_parity(&folder, job, manifest, &mut noted, (&said, &rebuilt.drives))?;
    let mut taken = Vec::new();
    for (drive, journal) in drives.iter().zip(journals) {
        // The first of them says what all have given.
        let of_all = taken.is_empty().then_some((&said, &rebuilt));
        taken.push(finish(shared, drive, of_all, problems(&rebuilt), (journal, &folder))?);
    }
    if taken.first().is_some_and(Taken::is_complete) {
        noted.remove()?;
    }
    Ok(taken)
}

fn problems(rebuilt: &seed::Rebuilt) -> Vec<Problem> {
    let drives = rebuilt.drives.iter();
    drives.flat_map(|drive| drive.problems.iter().map(|(problem, _)| problem.clone())).collect()
}

/// Rebuilds into the account as it is now: data drives of this very call have brought something since it was listed
/// before.
fn rebuilt(
    shared: &Shared<'_>,
    places: &dyn Places,
    (drives, data): (&[&SealedDrive], &[&SealedDrive]),
    folder: &Path,
    noted: &mut Rebuildings,
) -> Result<seed::Rebuilt, Error> {
    let Some(first) = drives.first() else { return Ok(seed::Rebuilt::default()) };
    let serial = &first.label().serial;
    let repositories = first.manifest().body.header.repositories.iter().copied().collect();
    let account = Account::look(places, shared.job, &repositories, shared.patience);
    let account = account.map_err(|cause| shared.ended(serial, seed::Error::Store(cause)))?;
    let spool = folder.join(format!("{serial}.spool"));
    let next_report = shared.patience.clock.now().saturating_add(shared.report_every);
    let mut watch = Watch { shared, serial, noted, bytes: 0, total: 0, next_report };
    let rebuilt = seed::rebuild(drives, data, &account, &spool, &mut watch);
    watch.flush();
    let rebuilt = rebuilt.map_err(|error| shared.ended(serial, error))?;
    for drive in &rebuilt.drives {
        for (problem, _) in &drive.problems {
            (shared.events)(Event::Problem { serial: &drive.serial, problem });
        }
    }
    Ok(rebuilt)
}

/// Tells the server that a parity drive was read, and of the first one what all of them have given.
fn finish(
    shared: &Shared<'_>,
    drive: &SealedDrive,
    of_all: Option<(&Rebuilt, &seed::Rebuilt)>,
    problems: Vec<Problem>,
    (journal, folder): (Journal, &Path),
) -> Result<Taken, Error> {
    let serial = &drive.label().serial;
    if of_all.is_none() {
        log::write(folder, &shared.job.name, drive.manifest(), &journal, &[])?;
    }
    let said = of_all.map(|(said, _)| said.clone());
    for made in said.iter().flat_map(|said| &said.drives) {
        let (lost, objects, bytes) = (&made.drive_id, made.objects, made.bytes);
        shared.note(|custody| custody.repaired(shared.job, lost, objects, bytes))?;
    }
    let bytes = said.as_ref().map_or(0, Rebuilt::bytes);
    let status = shared.report(serial, &finished(bytes, problems.iter(), said))?;
    (shared.events)(Event::Finished { serial, status: &status });
    send_log(shared.control, shared.patience, shared.job, folder, serial)?;
    if status.state == DriveState::Completed {
        journal.remove()?;
    }
    let (copied, copied_bytes, problems) = match of_all {
        Some((_, rebuilt)) => (rebuilt.objects(), rebuilt.bytes(), problems),
        None => (0, 0, Vec::new()),
    };
    Ok(Taken { status, copied, copied_bytes, already: 0, problems })
}

/// Refuses parity whose turn has not come, as the server knows it now.
fn refuse_early(
    shared: &Shared<'_>,
    serials: &[&DriveSerial],
    at_hand: &[&DriveSerial],
) -> Result<(), Error> {
    let job = shared.patience.ask(|| shared.control.job(&shared.job.name))?;
    let job = of_set(&job, &shared.patience.ask(|| shared.control.jobs())?);
    let Some(serial) = serials.first().map(|serial| (*serial).clone()) else { return Ok(()) };
    let (name, drives) = (job.name.clone(), waits_for(&job));
    if !drives.is_empty() {
        return Err(Error::ParityWaits { serial, job: name, drives });
    }
    match further(&job, serials, at_hand) {
        Some((absent, further)) => Err(Error::MoreParity { serial, job: name, absent, further }),
        None => Ok(()),
    }
}

/// As the server is told: of the drives all that was ever rebuilt with this one, of the sources what was read now.
fn said(rebuilt: &seed::Rebuilt, drives: Vec<wire::RebuiltDrive>) -> Rebuilt {
    let read = |(drive_id, bytes): &(DriveSerial, u64)| ReadDrive {
        drive_id: drive_id.clone(),
        bytes: *bytes,
    };
    Rebuilt {
        drives,
        account_bytes: rebuilt.arrived,
        from: rebuilt.read.iter().map(read).collect(),
    }
}

/// Turns what happens while objects are rebuilt into progress, lines and reports.
struct Watch<'a> {
    shared: &'a Shared<'a>,
    serial: &'a DriveSerial,
    noted: &'a mut Rebuildings,
    bytes: u64,
    total: u64,
    next_report: Duration,
}

impl Watch<'_> {
    /// As with journals: a full disk here does not stop a copy that has room there.
    fn flush(&mut self) {
        if let Err(error) = self.noted.flush() {
            tracing::warn!(%error, drive = %self.serial, "what was rebuilt cannot be noted");
        }
    }

    fn progress(&mut self) {
        let Self { serial, bytes, total, .. } = *self;
        (self.shared.events)(Event::Rebuilding { serial, bytes, total });
        let now = self.shared.patience.clock.now();
        if now < self.next_report {
            return;
        }
        self.next_report = now.saturating_add(self.shared.report_every);
        self.flush();
        let (control, job) = (self.shared.control, &self.shared.job.name);
        let event = DriveEvent::Progress { bytes, total };
        // Shown only, and soon replaced by the next one: not worth a second try.
        if let Err(error) = control.drive_event(job, serial, &event) {
            tracing::debug!(%error, drive = %serial, "progress was not reported");
        }
    }
}

impl seed::Events for Watch<'_> {
    fn event(&mut self, event: seed::Event<'_>) {
        match event {
            seed::Event::Rebuilding { stripes } => {
                self.total = stripes.saturating_mul(EXTENT);
                self.progress();
            }
            seed::Event::Rebuilt { bytes } => {
                self.bytes = self.bytes.saturating_add(bytes);
                self.progress();
            }
            seed::Event::ObjectRebuilt { serial, repository, key, bytes } => {
                if let Err(error) = self.noted.add(serial, (repository, key), bytes) {
                    tracing::warn!(%error, drive = %serial, "what was rebuilt cannot be noted");
                }
                (self.shared.events)(Event::Rebuilt { serial, bytes });
            }
            _ => {}
        }
    }

    fn stop(&self) -> bool {
        self.shared.patience.stopped()
    }
}
