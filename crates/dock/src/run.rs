//! The dock at work: drives are noticed when they are put in, matched to their jobs, unlocked, and taken
//! in side by side. What is done with an unlocked drive is `import`'s part.
//!
//! ```text
//!  noticed ─▶ does a job expect that serial number, and was its package received? ─▶ header read
//!     ─▶ a drive that was not in the package counts as arrived now
//!     ─▶ key asked for: the server compares state, serial number, header, and notes it
//!     ─▶ set read-only, unlocked, mounted ─▶ import ─▶ unmounted: it can be taken out
//! ```
//!
//! invariant: of a drive that no job expects nothing is read but what it says of itself, and nothing is
//! written to any drive.

use crate::Error;
use crate::chain::Custody;
use crate::control::{Control, DataPlane, Places};
use crate::copy::Taken;
use crate::event::Event;
use crate::hardware::{Found, Hardware, Mounted};
use crate::import::{ImportOptions, import_through};
use client::Client;
use model::{DriveSerial, ErrorKind, JobName};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use store::{Clock, OpenOptions};
use wire::{DriveEvent, DriveState, Job, JobState};

/// How a dock works.
pub struct RunOptions<'a> {
    /// A folder of this dock's own, for journals and for copy logs that could not be sent.
    pub state: &'a Path,
    /// How to reach storage accounts.
    pub store: OpenOptions,
    /// How often the server hears of progress on a drive.
    pub report_every: Duration,
    /// How many drives are read at once; the others wait their turn.
    pub at_once: usize,
    /// Ends when every drive that is attached was looked at, and those that are expected were taken in.
    pub once: bool,
    /// Where it is noted what happens to the drives; none in no log at all.
    pub custody: Option<&'a Custody<'a>>,
    /// Between two looks at what is attached.
    pub look_every: Duration,
    /// What waits.
    pub clock: &'a dyn Clock,
    /// Set to end early; what has arrived by then stays.
    pub stop: &'a AtomicBool,
    /// Told what happens. Called from many threads.
    pub events: &'a (dyn Fn(Event<'_>) + Sync),
}

/// A drive that was taken in, or was expected and could not be.
#[derive(Debug)]
pub struct Visit {
    /// Where it was.
    pub place: PathBuf,
    /// Its serial number.
    pub serial: DriveSerial,
    /// Its job.
    pub job: JobName,
    /// What it has given.
    pub result: Result<Taken, Error>,
}

/// Works until it is stopped, or for [`RunOptions::once`] until nothing is left to do. Answers every visit
/// of a drive.
///
/// # Errors
/// The machine does not tell what drives it has. A server that is away is asked again.
pub fn run(
    client: &Client,
    hardware: &dyn Hardware,
    options: &RunOptions<'_>,
) -> Result<Vec<Visit>, Error> {
    let places = DataPlane { client, options: &options.store };
    run_through(client, &places, hardware, options)
}

pub(crate) fn run_through(
    control: &dyn Control,
    places: &dyn Places,
    hardware: &dyn Hardware,
    options: &RunOptions<'_>,
) -> Result<Vec<Visit>, Error> {
    let dock = Dock { control, places, hardware, options, board: Mutex::default() };
    thread::scope(|scope| dock.work(scope))?;
    Ok(dock.board.into_inner().unwrap_or_else(PoisonError::into_inner).visits)
}

/// When a drive is tried again that failed because something was away.
const AGAIN: Duration = Duration::from_secs(60);

/// One insertion of a drive.
type Insertion = (PathBuf, u64);

/// How it stands with an insertion.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Nobody expects it, in these words. Looked at again: its job may still come.
    Aside(String),
    /// It is being taken in.
    Busy,
    /// It was taken in, or could not be: only another insertion changes that.
    Done,
    /// It waits for its turn, or until this moment: the server was away, or another process has it.
    Later(Duration),
}

#[derive(Default)]
struct Board {
    standing: HashMap<Insertion, Standing>,
    visits: Vec<Visit>,
}

/// What is to be done about a drive.
enum Verdict {
    Take(Box<Job>),
    Leave(String),
}

struct Dock<'a> {
    control: &'a dyn Control,
    places: &'a dyn Places,
    hardware: &'a dyn Hardware,
    options: &'a RunOptions<'a>,
    board: Mutex<Board>,
}

impl Dock<'_> {
    fn board(&self) -> std::sync::MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.options.stop.load(Ordering::Relaxed)
    }

    fn work<'scope>(&'scope self, scope: &'scope thread::Scope<'scope, '_>) -> Result<(), Error> {
        let mut server_is_away = false;
        while !self.stopped() {
            let found = self.hardware.found()?;
            self.forget_all_but(&found);
            match self.control.jobs() {
                Ok(jobs) => {
                    server_is_away = false;
                    self.look(scope, &found, &jobs);
                }
                Err(error) if self.options.once => return Err(Error::Server(error)),
                Err(error) => {
                    if !std::mem::replace(&mut server_is_away, true) {
                        (self.options.events)(Event::ServerAway { why: &error.to_string() });
                    }
                }
            }
            if self.options.once && self.nothing_left() {
                return Ok(());
            }
            self.options.clock.sleep(self.options.look_every);
        }
        Ok(())
    }

    fn nothing_left(&self) -> bool {
        let mut standing = self.board().standing.clone().into_values();
        standing.all(|standing| matches!(standing, Standing::Aside(_) | Standing::Done))
    }

    /// What was taken out counts as new when it comes again. A drive that is being read notices by itself.
    fn forget_all_but(&self, found: &[Found]) {
        let there = |insertion: &Insertion| found.iter().any(|found| key(found) == *insertion);
        self.board().standing.retain(|at, standing| *standing == Standing::Busy || there(at));
    }

    fn look<'scope>(
        &'scope self,
        scope: &'scope thread::Scope<'scope, '_>,
        found: &[Found],
        jobs: &[Job],
    ) {
        let mut serials: BTreeMap<&DriveSerial, u32> = BTreeMap::new();
        found.iter().filter_map(|f| f.serial.as_ref()).for_each(|serial| {
            *serials.entry(serial).or_default() += 1;
        });
        for found in found {
            let before = self.board().standing.get(&key(found)).cloned();
            let now = self.options.clock.now();
            match before {
                Some(Standing::Busy | Standing::Done) => continue,
                Some(Standing::Later(until)) if until > now => continue,
                _ => {}
            }
            let twice = |serial: &DriveSerial| serials.get(serial).is_some_and(|count| *count > 1);
            match judge(found, jobs, twice) {
                Verdict::Leave(why) => self.leave(found, before.as_ref(), why),
                Verdict::Take(job) => {
                    let busy = |standing: &&Standing| **standing == Standing::Busy;
                    let reading = self.board().standing.values().filter(busy).count();
                    if reading < self.options.at_once.max(1) {
                        self.set(found, Standing::Busy);
                        let found = found.clone();
                        scope.spawn(move || self.visit(&found, &job));
                    } else if before.is_none() {
                        self.set(found, Standing::Later(Duration::ZERO));
                    }
                }
            }
        }
    }

    fn set(&self, found: &Found, standing: Standing) {
        self.board().standing.insert(key(found), standing);
    }

    /// Says why once, and again when there is another reason.
    fn leave(&self, found: &Found, before: Option<&Standing>, why: String) {
        let standing = Standing::Aside(why);
        if before == Some(&standing) {
            return;
        }
        if let Standing::Aside(why) = &standing {
            let (place, serial) = (found.place.as_path(), found.serial.as_ref());
            (self.options.events)(Event::LeftAlone { place, serial, why });
        }
        self.set(found, standing);
    }

    fn visit(&self, found: &Found, job: &Job) {
        let Some(serial) = found.serial.clone() else { return };
        let result = self.take_in(found, job, &serial);
        let place = found.place.clone();
        let passes = |kind| matches!(kind, ErrorKind::Unavailable | ErrorKind::Locked);
        let standing = match &result {
            Err(error) if passes(error.kind()) && !self.options.once => {
                Standing::Later(self.options.clock.now().saturating_add(AGAIN))
            }
            _ => Standing::Done,
        };
        (self.options.events)(Event::Left { place: &place, serial: &serial, result: &result });
        // Visits are for whoever waits for the end of them.
        if self.options.once {
            self.board().visits.push(Visit { place, serial, job: job.name.clone(), result });
        }
        self.set(found, standing);
    }

    fn take_in(&self, found: &Found, job: &Job, serial: &DriveSerial) -> Result<Taken, Error> {
        let place = found.place.as_path();
        (self.options.events)(Event::Expected { place, serial, job: &job.name });
        let missing = || Error::NotInJob { job: job.name.clone(), serial: serial.clone() };
        let entry = job.drive_list.iter().find(|drive| drive.drive_id == *serial);
        let entry = entry.ok_or_else(missing)?;
        let header = self.hardware.header_hash(found)?;
        if header.is_some() != entry.drive_header_hash.is_some() {
            let (place, serial) = (place.display().to_string(), serial.clone());
            let announced = entry.drive_header_hash.is_some();
            return Err(Error::OtherProtection { place, serial, announced });
        }
        let custody = self.options.custody;
        custody.map_or(Ok(()), |custody| custody.received(job, serial))?;
        if matches!(entry.state, DriveState::Specified | DriveState::NeverReceived) {
            self.control
                .drive_event(&job.name, serial, &DriveEvent::Came)
                .map_err(Error::Server)?;
        }
        let password = match &header {
            Some(hash) => {
                Some(self.control.release_key(&job.name, serial, hash).map_err(Error::Server)?)
            }
            None => None,
        };
        let mounted = self.hardware.mount(found, password)?;
        if let (Some(custody), Some(header)) = (custody, header) {
            custody.unlocked(job, serial, header)?;
        }
        refuse_other_label(found, serial, mounted.folder())?;
        let result = self.import(job, mounted.as_ref());
        // A drive that was pulled out has nothing that could be unmounted.
        let left = mounted.unmount();
        let taken = result?;
        left?;
        Ok(taken)
    }

    fn import(&self, job: &Job, mounted: &dyn Mounted) -> Result<Taken, Error> {
        let options = ImportOptions {
            job: &job.name,
            drives: &[mounted.folder().to_owned()],
            state: self.options.state,
            store: self.options.store.clone(),
            report_every: self.options.report_every,
            at_once: 1,
            custody: self.options.custody,
            stop: self.options.stop,
            events: self.options.events,
        };
        let outcome = import_through(self.control, self.places, &options)?;
        let mut drives = outcome.drives.into_iter();
        drives.next().map_or(Err(Error::Interrupted), |drive| drive.result)
    }
}

/// A drive of the job with another one's number is read as that other one otherwise.
fn refuse_other_label(found: &Found, serial: &DriveSerial, folder: &Path) -> Result<(), Error> {
    match seed::inspect(folder).map_err(Error::Drive)? {
        Some(label) if label.body.serial != *serial => Err(Error::OtherLabel {
            place: found.place.display().to_string(),
            serial: serial.clone(),
            label: label.body.serial,
        }),
        _ => Ok(()),
    }
}

fn key(found: &Found) -> Insertion {
    (found.place.clone(), found.insertion)
}

fn judge(found: &Found, jobs: &[Job], twice: impl Fn(&DriveSerial) -> bool) -> Verdict {
    let Some(serial) = &found.serial else {
        return Verdict::Leave("it says no serial number".to_owned());
    };
    let expects = |job: &&Job| job.drive_list.iter().any(|drive| drive.drive_id == *serial);
    // Of several jobs with this drive, at most one is open; else the newest says most.
    let job = jobs.iter().filter(expects).max_by_key(|job| (!is_over(job.state), job.created_at));
    let Some(job) = job else {
        let used = found.used.as_ref().map(|used| format!("; {used}")).unwrap_or_default();
        return Verdict::Leave(format!("no import job has this drive{used}"));
    };
    if twice(serial) {
        let why = "another drive with the same serial number is attached: take out the copy";
        return Verdict::Leave(why.to_owned());
    }
    if let Some(why) = not_now(job, serial) {
        return Verdict::Leave(format!("import job {}: {why}", job.name));
    }
    Verdict::Take(Box::new(job.clone()))
}

/// Why a drive of that job is not read now.
fn not_now(job: &Job, serial: &DriveSerial) -> Option<String> {
    let state = job.drive_list.iter().find(|drive| drive.drive_id == *serial)?.state;
    if job.carries.is_none() {
        let why = "it carries no seed: another client of the import service has made it, and nobody has said who signs what is on its drives";
        return Some(why.to_owned());
    }
    if is_over(job.state) {
        return Some(format!("it is over ({:?}) and takes nothing more", job.state));
    }
    if job.cancel_requested {
        return Some("its owner has cancelled it: send the drive back unread".to_owned());
    }
    match (job.state, state) {
        (JobState::Creating, _) => Some("its owner has not shipped it yet".to_owned()),
        (JobState::Shipping, _) => {
            let number = job.delivery_package.as_ref().map(|package| &package.tracking_number);
            let number = number.map_or_else(|| "NUMBER".to_owned(), ToString::to_string);
            Some(format!("receive its package: packmule dock receive --tracking {number}"))
        }
        (_, DriveState::Completed) => Some("all of it was taken in: it can go home".to_owned()),
        (_, DriveState::ShippedBack) => Some("it counts as sent back".to_owned()),
        _ => None,
    }
}

fn is_over(state: JobState) -> bool {
    matches!(state, JobState::Completed | JobState::Closed | JobState::Canceled)
}
