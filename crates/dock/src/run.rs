//! The dock at work: drives are noticed when they are put in, matched to their jobs, unlocked, and taken
//! in side by side. What is done with an unlocked drive is `import`'s part.
//!
//! ```text
//!  noticed ─▶ does a job expect that serial number, and was its package received? ─▶ header read
//!     ─▶ a drive that was not in the package counts as arrived now
//!     ─▶ key asked for: the server compares state, serial number, header, and notes it
//!     ─▶ set read-only, unlocked, mounted ─▶ import ─▶ unmounted: it can be taken out
//!
//!  a parity drive ─▶ was every data drive read, are as many attached as are needed? ─▶ all of these, and data
//!     drives that had problems, are unlocked and taken in together
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
use crate::parity;
use client::Client;
use model::{DriveRole, DriveSerial, ErrorKind, JobName};
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
    /// Visits that have ended: what was asked before one did is not what is now.
    ended: u64,
}

/// What is to be done about a drive.
enum Verdict {
    Take(Box<Job>),
    /// A parity drive, with others of the job.
    Rebuild(Box<Job>),
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
            let ended = self.board().ended;
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
            if self.options.once && self.nothing_left(ended) {
                return Ok(());
            }
            self.options.clock.sleep(self.options.look_every);
        }
        Ok(())
    }

    fn nothing_left(&self, ended: u64) -> bool {
        let board = self.board();
        let mut standing = board.standing.values();
        ended == board.ended
            && standing.all(|standing| matches!(standing, Standing::Aside(_) | Standing::Done))
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
        let mut parity: BTreeMap<JobName, Box<Job>> = BTreeMap::new();
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
                Verdict::Rebuild(job) => {
                    parity.insert(job.name.clone(), job);
                }
                Verdict::Take(job) => {
                    if self.has_a_place() {
                        self.set(found, Standing::Busy);
                        let found = found.clone();
                        scope.spawn(move || self.visit(&found, &job));
                    } else if before.is_none() {
                        self.set(found, Standing::Later(Duration::ZERO));
                    }
                }
            }
        }
        for job in parity.into_values() {
            let whole = parity::of_set(&job, jobs);
            self.rebuild(scope, found, (job, &whole));
        }
    }

    fn has_a_place(&self) -> bool {
        let busy = |standing: &&Standing| **standing == Standing::Busy;
        self.board().standing.values().filter(busy).count() < self.options.at_once.max(1)
    }

    /// The parity drives of a job that are attached, and its data drives that had problems: all at once, as soon as
    /// enough of them are there. `whole` is the job with all data drives of its set.
    fn rebuild<'scope>(
        &'scope self,
        scope: &'scope thread::Scope<'scope, '_>,
        found: &[Found],
        (job, whole): (Box<Job>, &Job),
    ) {
        let is_free =
            |found: &&Found| self.board().standing.get(&key(found)) != Some(&Standing::Busy);
        let is_of = |found: &Found| {
            let listed =
                |serial: &DriveSerial| job.drive_list.iter().any(|drive| drive.drive_id == *serial);
            found.serial.as_ref().is_some_and(listed)
        };
        // One that is just being let go of can be looked at again in a moment.
        if found.iter().any(|found| is_of(found) && !is_free(&found)) {
            return;
        }
        let state_of = |found: &Found, role| {
            let serial = found.serial.as_ref()?;
            let mut drives = job.drive_list.iter();
            drives.find(|drive| drive.drive_id == *serial && drive.role == role).map(|it| it.state)
        };
        let of = |role, open: fn(DriveState) -> bool| -> Vec<Found> {
            let attached = found.iter().filter(is_free);
            attached.filter(|it| state_of(it, role).is_some_and(open)).cloned().collect()
        };
        let parity = of(DriveRole::Parity, |state| {
            !matches!(state, DriveState::Completed | DriveState::ShippedBack)
        });
        let data = of(DriveRole::Data, |state| state == DriveState::CompletedMoreInfo);
        let serials = |found: &[Found]| -> Vec<DriveSerial> {
            found.iter().filter_map(|found| found.serial.clone()).collect()
        };
        let (attached, at_hand) = (serials(&parity), serials(&data));
        let attached: Vec<&DriveSerial> = attached.iter().collect();
        let at_hand: Vec<&DriveSerial> = at_hand.iter().collect();
        if let Some((absent, more)) = parity::further(whole, &attached, &at_hand) {
            let why = format!(
                "import job {}: {absent} data drives have not brought everything, and what they lack is rebuilt with as many parity drives attached at once: put in {}, too",
                job.name,
                crate::error::list(&more)
            );
            for found in &parity {
                let before = self.board().standing.get(&key(found)).cloned();
                if before != Some(Standing::Done) {
                    self.leave(found, before.as_ref(), why.clone());
                }
            }
            return;
        }
        let all: Vec<Found> = parity.into_iter().chain(data).collect();
        if !self.has_a_place() {
            all.iter().for_each(|found| self.wait(found));
            return;
        }
        all.iter().for_each(|found| self.set(found, Standing::Busy));
        scope.spawn(move || self.visit_together(&all, &job));
    }

    /// Until its turn comes.
    fn wait(&self, found: &Found) {
        self.board().standing.entry(key(found)).or_insert(Standing::Later(Duration::ZERO));
    }

    fn visit_together(&self, all: &[Found], job: &Job) {
        let mut mounted: Vec<(&Found, DriveSerial, Box<dyn Mounted>)> = Vec::new();
        for found in all {
            let Some(serial) = found.serial.clone() else { continue };
            match self.open(found, job, &serial) {
                Ok(open) => mounted.push((found, serial, open)),
                Err(error) => self.ended(found, job, &serial, Err(error)),
            }
        }
        let folders: Vec<PathBuf> =
            mounted.iter().map(|(_, _, mounted)| mounted.folder().to_owned()).collect();
        let results = self.import(job, &folders);
        let mut results = match results {
            Ok(results) => results.into_iter().map(Some).collect(),
            Err(error) => vec![Some(Err(error))],
        };
        for (at, (found, serial, mounted)) in mounted.into_iter().enumerate() {
            let result = results.get_mut(at).and_then(Option::take);
            let result = result.unwrap_or(Err(Error::Interrupted));
            // A drive that was pulled out has nothing that could be unmounted.
            let left = mounted.unmount();
            let result = result.and_then(|taken| left.map(|()| taken));
            self.ended(found, job, &serial, result);
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
        self.ended(found, job, &serial, result);
    }

    fn ended(&self, found: &Found, job: &Job, serial: &DriveSerial, result: Result<Taken, Error>) {
        let (place, serial) = (found.place.clone(), serial.clone());
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
        let mut board = self.board();
        board.ended += 1;
        board.standing.insert(key(found), standing);
    }

    fn take_in(&self, found: &Found, job: &Job, serial: &DriveSerial) -> Result<Taken, Error> {
        let mounted = self.open(found, job, serial)?;
        let result = self.import(job, &[mounted.folder().to_owned()]);
        // A drive that was pulled out has nothing that could be unmounted.
        let left = mounted.unmount();
        let taken = result?.pop().unwrap_or(Err(Error::Interrupted))?;
        left?;
        Ok(taken)
    }

    /// Unlocks and mounts a drive that the job expects.
    fn open(
        &self,
        found: &Found,
        job: &Job,
        serial: &DriveSerial,
    ) -> Result<Box<dyn Mounted>, Error> {
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
        Ok(mounted)
    }

    /// What has come of each folder.
    fn import(&self, job: &Job, folders: &[PathBuf]) -> Result<Vec<Result<Taken, Error>>, Error> {
        let options = ImportOptions {
            job: &job.name,
            drives: folders,
            state: self.options.state,
            store: self.options.store.clone(),
            report_every: self.options.report_every,
            at_once: 1,
            custody: self.options.custody,
            stop: self.options.stop,
            events: self.options.events,
        };
        let outcome = import_through(self.control, self.places, &options)?;
        Ok(outcome.drives.into_iter().map(|drive| drive.result).collect())
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
    if let Some(why) = not_now(job, jobs, serial) {
        return Verdict::Leave(format!("import job {}: {why}", job.name));
    }
    let role = job.drive_list.iter().find(|drive| drive.drive_id == *serial).map(|it| it.role);
    match role {
        Some(DriveRole::Parity) => Verdict::Rebuild(Box::new(job.clone())),
        _ => Verdict::Take(Box::new(job.clone())),
    }
}

/// Why a drive of that job is not read now.
fn not_now(job: &Job, jobs: &[Job], serial: &DriveSerial) -> Option<String> {
    let drive = job.drive_list.iter().find(|drive| drive.drive_id == *serial)?;
    let state = drive.state;
    if job.carries.is_none() {
        let why = "it carries no seed: another client of the import service has made it, and nobody has said who signs what is on its drives";
        return Some(why.to_owned());
    }
    if job.export.is_some() {
        let name = &job.name;
        return Some(format!("its drives are written: packmule dock export --job {name}"));
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
        _ => parity_waits(&parity::of_set(job, jobs), drive.role),
    }
}

/// What a parity drive waits for.
fn parity_waits(job: &Job, role: DriveRole) -> Option<String> {
    let drives = parity::waits_for(job);
    if role.is_data() || drives.is_empty() {
        return None;
    }
    Some(format!(
        "parity has its turn when every data drive at the dock was read: put in {}; of one that is not there or cannot be read, say so with packmule dock lost --job {} --drive SERIAL",
        crate::error::list(&drives),
        job.name
    ))
}

fn is_over(state: JobState) -> bool {
    matches!(state, JobState::Completed | JobState::Closed | JobState::Canceled)
}
