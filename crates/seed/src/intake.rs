//! Takes in drives side by side: the threads that do it, and what they tell. Does not decide what of a
//! drive is believed, nor publish anything.
//!
//! ```text
//!  drive 1 ─▶ reading thread ─▶ thread of drive 1: hashed, written, named ─┐ messages
//!  drive 2 ─▶ reading thread ─▶ thread of drive 2: hashed, written, named ─┼─▶ the caller's thread:
//!                                                                          ┘   events, stop sign
//! ```
//!
//! What concerns one drive ends its thread; what concerns the destination ends all of them.
//!
//! Memory: 64 MiB and its lists for each of at most [`AT_ONCE`] drives, and at most 200 bytes for each
//! object that arrives.

use crate::arrive::{Arrivals, Ground, Named};
use crate::arrived::FolderLanding;
use crate::belt::Limits;
use crate::beneath::{self, Beneath};
use crate::drive::{self, Sealed};
use crate::event::{Events, Problem, Reason};
use crate::import::{Unloaded, refuse_gone};
use crate::parity::{self, BesideIntake as Beside, Tap};
use crate::{Error, Event, Object, stream};
use model::{Digest, DriveSerial, ObjectKey};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stream::Heard;
use wire::{MAX_DRIVES, SeedId};

/// Drives that are read at once: a whole set.
pub(crate) const AT_ONCE: usize = MAX_DRIVES;
/// How often the stop sign is looked at when nothing happens.
const LOOK: Duration = Duration::from_millis(50);
/// What is told and not heard yet, at most.
const UNHEARD: usize = 1024;

/// Objects that were verified, by their seed and its repositories, which their numbers count.
pub(crate) type Verified = BTreeMap<(SeedId, Vec<Digest>), HashSet<Object>>;

/// What the drives have brought.
pub(crate) struct Intake {
    /// For each folder, in the order given.
    pub(crate) drives: Vec<Result<Unloaded, Error>>,
    /// Objects that this call has hashed, written, synced and named.
    pub(crate) verified: Verified,
    /// What was rebuilt beside.
    pub(crate) beside: Option<parity::Done>,
}

/// Why a drive's thread has ended early.
pub(crate) enum Stopped {
    /// The drive is of no more use.
    Drive(Error),
    /// All work ends.
    All(Error),
}

/// What is said of an object.
enum Fate {
    Done(u64),
    There(u64),
    Wrong(Reason),
}

/// What a drive's thread tells. The number is the drive's among those given.
enum Told {
    Started(usize, DriveSerial),
    Object(usize, Digest, ObjectKey, Fate),
    Ended(usize, Box<Result<Unloaded, Stopped>>),
    /// Of a seed and its repositories.
    Verified(SeedId, Vec<Digest>, Vec<Object>),
    /// An object of a drive that is absent.
    Rebuilt(DriveSerial, Digest, ObjectKey, u64),
    /// What runs beside has ended.
    Beside(Box<Result<parity::Done, Error>>),
}

/// What opens a drive, as [`take_in`] needs it: makes sure that it may be used, and keeps at the
/// destination what it says must arrive. Called from the drive's thread.
pub(crate) trait Admit: Sync {
    fn admit(&self, drive: &Beneath) -> Result<(Sealed, FolderLanding), Stopped>;
}

/// Takes in the drives in these folders, and lets what is to run beside hear what they give.
///
/// # Errors
/// What concerns the destination; what has arrived by then stays.
pub(crate) fn take_in(
    folders: &[PathBuf],
    admit: &dyn Admit,
    (ground, limits): (&Ground<'_>, Limits),
    beside: Option<Beside<'_>>,
    events: &mut dyn Events,
) -> Result<Intake, Error> {
    let work = Mutex::new(groups(folders));
    let threads = work.lock().map_or(1, |work| work.len()).min(AT_ONCE);
    let stop = AtomicBool::new(false);
    let shared = Shared { folders, admit, ground, limits, work: &work, stop: &stop };
    std::thread::scope(|scope| {
        // In here: whoever is told may panic, and nobody may then wait to be heard.
        let (sender, told) = sync_channel(UNHEARD);
        let (taps, work) = beside.map(|beside| (beside.taps, beside.work)).unzip();
        // Those of drives that are not taken in are dropped with the last thread: nobody waits for these.
        let taps = Arc::new(Mutex::new(taps.unwrap_or_default()));
        for _ in 0..threads {
            let lane = Lane { shared: &shared, told: sender.clone(), taps: Arc::clone(&taps) };
            beneath::spawn(scope, move || lane.run());
        }
        drop(taps);
        if let Some(work) = work {
            let mut relay = Relay { told: sender.clone(), stop: &stop };
            beneath::spawn(scope, move || {
                let done = work(&mut relay);
                relay.tell(Told::Beside(Box::new(done)));
            });
        }
        drop(sender);
        let _watch = Watch(&stop);
        listen(folders.len(), &told, &stop, events)
    })
}

/// The same folder given twice is read once after the other, to find that it has nothing new then.
fn groups(folders: &[PathBuf]) -> VecDeque<Vec<usize>> {
    let mut known: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    let mut groups: VecDeque<Vec<usize>> = VecDeque::new();
    for (at, folder) in folders.iter().enumerate() {
        let identity = Beneath::open(folder).and_then(|folder| folder.identity()).ok();
        let group = identity
            .map_or(groups.len(), |identity| *known.entry(identity).or_insert(groups.len()));
        match groups.get_mut(group) {
            Some(group) => group.push(at),
            None => groups.push_back(vec![at]),
        }
    }
    groups
}

/// Stops the threads when the one that listens has ended, however.
struct Watch<'a>(&'a AtomicBool);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Tells of what happens until every thread has ended.
fn listen(
    count: usize,
    told: &Receiver<Told>,
    stop: &AtomicBool,
    events: &mut dyn Events,
) -> Result<Intake, Error> {
    let mut hearing = Hearing {
        serials: BTreeMap::new(),
        drives: (0..count).map(|_| Err(Error::Interrupted)).collect(),
        verified: Verified::new(),
        beside: None,
        failed: None,
    };
    loop {
        match told.recv_timeout(LOOK) {
            Ok(told) => hearing.hear(told, stop, events),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if !stop.load(Ordering::Relaxed) && events.stop() {
            stop.store(true, Ordering::Relaxed);
            hearing.failed.get_or_insert(Error::Interrupted);
        }
    }
    let Hearing { drives, verified, beside, failed, .. } = hearing;
    failed.map_or(Ok(Intake { drives, verified, beside }), Err)
}

/// What runs beside tells through the thread that listens.
struct Relay<'a> {
    told: SyncSender<Told>,
    stop: &'a AtomicBool,
}

impl Relay<'_> {
    /// Nobody hears it when the caller's thread has ended; the stop sign is set then.
    fn tell(&self, told: Told) {
        let _ = self.told.send(told);
    }
}

impl Events for Relay<'_> {
    /// How far it is is what the drives say of themselves.
    fn event(&mut self, event: Event<'_>) {
        if let Event::ObjectRebuilt { serial, repository, key, bytes } = event {
            self.tell(Told::Rebuilt(serial.clone(), *repository, *key, bytes));
        }
    }

    fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

struct Hearing {
    serials: BTreeMap<usize, DriveSerial>,
    drives: Vec<Result<Unloaded, Error>>,
    verified: Verified,
    beside: Option<parity::Done>,
    /// The first thing that ended all work.
    failed: Option<Error>,
}

impl Hearing {
    fn hear(&mut self, told: Told, stop: &AtomicBool, events: &mut dyn Events) {
        match told {
            Told::Started(at, serial) => {
                events.event(Event::DriveStarted { serial: &serial });
                self.serials.insert(at, serial);
            }
            Told::Object(at, repository, key, fate) => {
                let Some(serial) = self.serials.get(&at) else { return };
                let (repository, key) = (&repository, &key);
                match fate {
                    Fate::Done(bytes) => {
                        events.event(Event::ObjectDone { serial, repository, key, bytes });
                    }
                    Fate::There(bytes) => {
                        events.event(Event::ObjectThere { serial, repository, key, bytes });
                    }
                    Fate::Wrong(reason) => {
                        let problem = Problem { repository: *repository, key: *key, reason };
                        let serial = Some(serial);
                        events.event(Event::Problem { serial, problem: &problem });
                    }
                }
            }
            Told::Verified(seed, repositories, objects) => {
                self.verified.entry((seed, repositories)).or_default().extend(objects);
            }
            Told::Rebuilt(serial, repository, key, bytes) => {
                let (serial, repository, key) = (&serial, &repository, &key);
                events.event(Event::ObjectRebuilt { serial, repository, key, bytes });
            }
            Told::Beside(done) => match *done {
                Ok(done) => self.beside = Some(done),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    self.failed.get_or_insert(error);
                }
            },
            Told::Ended(at, result) => {
                let result = match *result {
                    Ok(unloaded) => Ok(unloaded),
                    Err(Stopped::Drive(error)) => Err(error),
                    Err(Stopped::All(error)) => {
                        stop.store(true, Ordering::Relaxed);
                        self.failed.get_or_insert(error);
                        return;
                    }
                };
                if let Some(place) = self.drives.get_mut(at) {
                    *place = result;
                }
            }
        }
    }
}

/// What the drives' threads share.
struct Shared<'a> {
    folders: &'a [PathBuf],
    admit: &'a dyn Admit,
    ground: &'a Ground<'a>,
    limits: Limits,
    work: &'a Mutex<VecDeque<Vec<usize>>>,
    stop: &'a AtomicBool,
}

impl Shared<'_> {
    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn destination(&self, cause: std::io::Error) -> Stopped {
        let folder = self.ground.folder.path();
        Stopped::All(match beneath::is_full(&cause) {
            true => Error::Store(store::Error::Full { location: folder.display().to_string() }),
            false => Error::io("writing below", folder)(cause),
        })
    }
}

/// A drive's thread, which takes another drive when it is through with one.
struct Lane<'a> {
    shared: &'a Shared<'a>,
    told: SyncSender<Told>,
    /// For what runs beside, by the hashes of drives' manifests.
    taps: Arc<Mutex<BTreeMap<Digest, Tap>>>,
}

impl Lane<'_> {
    fn run(&self) {
        loop {
            let next = self.shared.work.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(group) = next else { return };
            for at in group {
                if self.shared.is_stopped() {
                    return;
                }
                let result = self.take_in(at);
                self.tell(Told::Ended(at, Box::new(result)));
            }
        }
    }

    /// Nobody hears it when the caller's thread has ended; the stop sign is set then.
    fn tell(&self, told: Told) {
        let _ = self.told.send(told);
    }

    fn take_in(&self, at: usize) -> Result<Unloaded, Stopped> {
        let Some(path) = self.shared.folders.get(at) else {
            return Err(Stopped::All(Error::Interrupted));
        };
        let opened = Beneath::open(path).map_err(Error::io("opening", path));
        let folder = opened.map_err(Stopped::Drive)?;
        let (sealed, landing) = self.shared.admit.admit(&folder)?;
        self.tell(Told::Started(at, sealed.label.body.serial.clone()));
        let mut unloading = Unloading::new(self, at, &folder, &sealed);
        let mut taps = self.taps.lock().unwrap_or_else(PoisonError::into_inner);
        unloading.tap = taps.remove(&sealed.manifest.digest);
        drop(taps);
        let todo = unloading.todo(&landing)?;
        let repositories = &sealed.manifest.body.header.repositories;
        let objects = todo
            .into_iter()
            .filter_map(|object| drive::path_of(repositories, &object).map(|path| (object, path)));
        let part = self.shared.limits.part;
        let read = stream::each(&folder, objects, part, &mut |heard| unloading.hear(heard));
        unloading.end(read)
    }
}

/// One drive at work.
struct Unloading<'a> {
    lane: &'a Lane<'a>,
    at: usize,
    folder: &'a Beneath,
    sealed: &'a Sealed,
    arrivals: Arrivals<'a>,
    count: Count,
    /// Who else hears what the drive gives.
    tap: Option<Tap>,
}

/// What has become of the drive's objects.
struct Count {
    unloaded: Unloaded,
    /// Objects named now.
    verified: Vec<Object>,
}

impl<'a> Unloading<'a> {
    fn new(lane: &'a Lane<'a>, at: usize, folder: &'a Beneath, sealed: &'a Sealed) -> Self {
        let (shared, manifest) = (lane.shared, &sealed.manifest.body.header);
        let pending = crate::landing::pending(manifest.seed);
        let arrivals =
            Arrivals::new(shared.ground, shared.limits, pending, &manifest.repositories, at);
        let unloaded = Unloaded {
            label: sealed.label.body.clone(),
            manifest: manifest.clone(),
            copied: 0,
            copied_bytes: 0,
            already: 0,
            rebuilt: None,
            problems: Vec::new(),
        };
        let count = Count { unloaded, verified: Vec::new() };
        Self { lane, at, folder, sealed, arrivals, count, tap: None }
    }

    /// Objects that are not there yet.
    fn todo(&mut self, landing: &FolderLanding) -> Result<Vec<Object>, Stopped> {
        let manifest = &self.sealed.manifest.body;
        let mut todo = Vec::new();
        for object in &manifest.objects {
            if self.lane.shared.is_stopped() {
                return Err(Stopped::All(Error::Interrupted));
            }
            // Decoding has made sure that the repository is listed.
            let Some(repository) = manifest.repository(object) else { continue };
            match landing.has(&repository, &object.key(), object.length) {
                Ok(false) => todo.push(*object),
                Ok(true) => self.settled(object, Fate::There(object.length)),
                Err(error) => {
                    let reason = crate::import::of_this_object(error).map_err(Stopped::All)?;
                    self.settled(object, Fate::Wrong(reason));
                }
            }
        }
        Ok(todo)
    }

    fn hear(&mut self, heard: Heard<'_>) -> Result<bool, Stopped> {
        if self.lane.shared.is_stopped() {
            return Ok(false);
        }
        let shared = self.lane.shared;
        let failed = |cause| shared.destination(cause);
        match heard {
            Heard::Bytes(object, bytes) => {
                if let Some(tap) = &mut self.tap {
                    tap.bytes(object, bytes);
                }
                self.arrivals.write(object, bytes).map_err(failed)?;
            }
            Heard::End(object, None) => {
                if self.arrivals.complete(object).map_err(failed)? {
                    self.commit(false)?;
                }
            }
            Heard::End(object, Some(reason)) => {
                self.arrivals.abandon().map_err(failed)?;
                refuse_gone(self.folder, self.sealed, &reason).map_err(Stopped::Drive)?;
                self.settled(object, Fate::Wrong(reason));
            }
        }
        Ok(true)
    }

    /// Names what is complete. `last`: and makes the names last.
    fn commit(&mut self, last: bool) -> Result<(), Stopped> {
        let Self { lane, at, sealed, arrivals, count, .. } = self;
        let manifest = &sealed.manifest.body;
        let mut named = |object: &Object, how: Named| {
            let Some(repository) = manifest.repository(object) else { return };
            let fate = match how {
                Named::Now => {
                    count.verified.push(*object);
                    Fate::Done(object.length)
                }
                Named::Before => Fate::There(object.length),
                Named::Conflict => Fate::Wrong(Reason::Conflict),
            };
            count.settled(&repository, object, &fate);
            lane.tell(Told::Object(*at, repository, object.key(), fate));
        };
        let done = if last { arrivals.finish(&mut named) } else { arrivals.commit(&mut named) };
        done.map_err(|cause| lane.shared.destination(cause))
    }

    fn settled(&mut self, object: &Object, fate: Fate) {
        let Some(repository) = self.sealed.manifest.body.repository(object) else { return };
        self.count.settled(&repository, object, &fate);
        self.lane.tell(Told::Object(self.at, repository, object.key(), fate));
    }

    /// What is complete gets its name however reading has ended: it was read and verified.
    fn end(mut self, read: Result<bool, Stopped>) -> Result<Unloaded, Stopped> {
        self.tap = None;
        let named = self.commit(true);
        self.arrivals.leave();
        let header = &self.sealed.manifest.body.header;
        let (seed, repositories) = (header.seed, header.repositories.clone());
        self.lane.tell(Told::Verified(seed, repositories, self.count.verified));
        match (read, named) {
            (Err(all @ Stopped::All(_)), _) | (_, Err(all)) => Err(all),
            (Err(gone), Ok(())) => Err(gone),
            (Ok(false), Ok(())) => Err(Stopped::All(Error::Interrupted)),
            (Ok(true), Ok(())) => Ok(self.count.unloaded),
        }
    }
}

impl Count {
    fn settled(&mut self, repository: &Digest, object: &Object, fate: &Fate) {
        let unloaded = &mut self.unloaded;
        match fate {
            Fate::Done(bytes) => {
                unloaded.copied += 1;
                unloaded.copied_bytes = unloaded.copied_bytes.saturating_add(*bytes);
            }
            Fate::There(_) => unloaded.already += 1,
            Fate::Wrong(reason) => unloaded.problems.push(Problem {
                repository: *repository,
                key: object.key(),
                reason: reason.clone(),
            }),
        }
    }
}
