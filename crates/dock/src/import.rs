//! Takes in the drives of one job, side by side. What is done to each is `copy`'s part, whether it
//! may be done `admit`'s.

use crate::Error;
use crate::account::Account;
use crate::admit::{Candidate, Verdict, admit, check_job};
use crate::chain::Custody;
use crate::control::{Control, DataPlane, Places};
use crate::copy::{Shared, Taken, send_log};
use crate::event::Event;
use crate::journal;
use crate::parity;
use crate::patience::Patience;
use client::Client;
use model::{DriveSerial, JobName};
use seed::SealedDrive;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use store::{OpenOptions, RetryPolicy, SystemClock};
use wire::{DriveState, Job};

/// What to take in, and how.
pub struct ImportOptions<'a> {
    /// The import job.
    pub job: &'a JobName,
    /// Where its drives are mounted; any of them, in any order.
    pub drives: &'a [PathBuf],
    /// A folder of this dock's own, for journals and for copy logs that could not be sent.
    pub state: &'a Path,
    /// How to reach the storage account: timeouts, rate, tries. Whom to be and whom to trust there
    /// is what the client's credentials say.
    pub store: OpenOptions,
    /// How often the server hears of progress on a drive.
    pub report_every: Duration,
    /// How many drives are read at once; at least one is.
    pub at_once: usize,
    /// Where it is noted what happens to the drives; none in no log at all.
    pub custody: Option<&'a Custody<'a>>,
    /// Set to end early; what has arrived by then stays.
    pub stop: &'a AtomicBool,
    /// Told what happens. Called from many threads.
    pub events: &'a (dyn Fn(Event<'_>) + Sync),
}

/// What became of the drives.
#[derive(Debug)]
pub struct ImportOutcome {
    /// The job as it is now; none when the server could no longer be asked.
    pub job: Option<Job>,
    /// Each folder, in the order given.
    pub drives: Vec<DriveOutcome>,
}

/// What became of one folder.
#[derive(Debug)]
pub struct DriveOutcome {
    /// The folder.
    pub folder: PathBuf,
    /// The serial number on its label, where it has one.
    pub serial: Option<DriveSerial>,
    /// What the drive has given, or why it was refused or not read to its end.
    pub result: Result<Taken, Error>,
}

impl ImportOutcome {
    /// Whether everything on every drive given is in the account.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.drives.iter().all(|drive| drive.result.as_ref().is_ok_and(Taken::is_complete))
    }
}

/// Takes in drives of an import job that is at the dock. A drive that is refused, damaged or gone
/// does not stop the others. Doing it again goes on where it ended and copies nothing twice.
///
/// # Errors
/// The job is unknown or not at the dock, or server or account cannot be reached; no drive was
/// touched then. What concerns one drive is in the [`ImportOutcome`].
pub fn import(client: &Client, options: &ImportOptions<'_>) -> Result<ImportOutcome, Error> {
    let places = DataPlane { client, options: &options.store };
    import_through(client, &places, options)
}

pub(crate) fn import_through(
    control: &dyn Control,
    places: &dyn Places,
    options: &ImportOptions<'_>,
) -> Result<ImportOutcome, Error> {
    let patience = patience(options);
    let job = patience.ask(|| control.job(options.job))?;
    send_waiting_logs(control, &patience, &job, options.state)?;
    check_job(&job)?;
    let candidates = admit(control, &job, options.drives);
    let repositories = repositories(&candidates);
    let account = Account::look(places, &job, &repositories, &patience);
    let account = account.map_err(|cause| match patience.stopped() {
        true => Error::Interrupted,
        false => Error::Account(cause),
    })?;
    let shared = Shared {
        control,
        account: &account,
        patience: &patience,
        job: &job,
        state: options.state,
        report_every: options.report_every,
        custody: options.custody,
        events: options.events,
    };
    let (mut drives, work) = sorted(candidates);
    drives = side_by_side(&shared, &work.data, drives, options.at_once.max(1));
    for (at, result) in parity::take_in(&shared, places, &work) {
        if let Some(drive) = drives.get_mut(at) {
            drive.result = result;
        }
    }
    if let Some(custody) = options.custody {
        custody.send_through(control);
    }
    Ok(ImportOutcome { job: control.job(options.job).ok(), drives })
}

fn patience<'a>(options: &ImportOptions<'a>) -> Patience<'a> {
    let once = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let (policy, clock) = match &options.store.retry {
        Some((policy, clock)) => (*policy, clock.clone()),
        None => (once, Arc::new(SystemClock::new()) as _),
    };
    Patience { policy, clock, stop: options.stop }
}

/// Logs of drives that the server has heard to be finished, left by a call that ended right then.
fn send_waiting_logs(
    control: &dyn Control,
    patience: &Patience<'_>,
    job: &Job,
    state: &Path,
) -> Result<(), Error> {
    let folder = journal::folder(state, &job.name)?;
    for drive in &job.drive_list {
        use DriveState as S;
        if matches!(drive.state, S::Completed | S::CompletedMoreInfo | S::ShippedBack) {
            send_log(control, patience, job, &folder, &drive.drive_id)?;
        }
    }
    Ok(())
}

fn repositories(candidates: &[Candidate]) -> BTreeSet<model::Digest> {
    let drives = candidates.iter().filter_map(|candidate| match &candidate.verdict {
        Ok(Verdict::Copy(drive) | Verdict::Rebuild(drive)) => Some(drive.manifest()),
        _ => None,
    });
    drives.flat_map(|manifest| manifest.body.header.repositories.iter().copied()).collect()
}

/// Drives that are to be read, each with its place among the outcomes.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) data: Vec<(usize, Box<SealedDrive>)>,
    pub(crate) parity: Vec<(usize, Box<SealedDrive>)>,
}

/// The outcomes as far as they are known, in the order of the candidates, and what is to be done.
fn sorted(candidates: Vec<Candidate>) -> (Vec<DriveOutcome>, Work) {
    let (mut outcomes, mut work) = (Vec::new(), Work::default());
    for (at, Candidate { folder, serial, verdict }) in candidates.into_iter().enumerate() {
        let result = match verdict {
            Ok(Verdict::Copy(drive)) => {
                work.data.push((at, drive));
                Err(Error::Interrupted)
            }
            Ok(Verdict::Rebuild(drive)) => {
                work.parity.push((at, drive));
                Err(Error::Interrupted)
            }
            Ok(Verdict::Complete(status)) => Ok(complete(*status)),
            Err(refusal) => Err(refusal),
        };
        outcomes.push(DriveOutcome { folder, serial, result });
    }
    (outcomes, work)
}

/// Reads up to `at_once` drives at a time.
fn side_by_side(
    shared: &Shared<'_>,
    work: &[(usize, Box<SealedDrive>)],
    outcomes: Vec<DriveOutcome>,
    at_once: usize,
) -> Vec<DriveOutcome> {
    let threads = at_once.min(work.len());
    let work = Mutex::new(work.iter());
    let outcomes = Mutex::new(outcomes);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| one_by_one(shared, &work, &outcomes));
        }
    });
    outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)
}

type Left<'w> = Mutex<slice::Iter<'w, (usize, Box<SealedDrive>)>>;

fn one_by_one(shared: &Shared<'_>, work: &Left<'_>, outcomes: &Mutex<Vec<DriveOutcome>>) {
    loop {
        let next = work.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some((at, drive)) = next else { return };
        let result = shared.take_in(drive);
        let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = outcomes.get_mut(*at) {
            outcome.result = result;
        }
    }
}

fn complete(status: wire::DriveStatus) -> Taken {
    Taken { status, copied: 0, copied_bytes: 0, already: 0, problems: Vec::new() }
}
