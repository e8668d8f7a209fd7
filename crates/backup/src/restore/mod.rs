//! A snapshot back into a folder: planned by pack, each file written from its beginning.
//!
//! ```text
//!  walk ── batch of files ──▶ tasks ──▶ worker: read a stretch of a pack, open its blobs ──▶ output
//!  (this thread)                        (several)                                (into files)
//! ```
//!
//! 1. [`walk`] goes through the trees once: makes directories, links, devices and empty files, and
//!    notes, for some thousand files at a time ([`batch`]), which blob goes where.
//! 2. [`work`] reads packs, each wanted part once in a batch, in parallel and in the order of the
//!    files; every blob is verified, then written to all its places.
//! 3. [`output`] writes small files in one go, large ones in blocks ([`blocks`]) past the page cache.
//!    A file has no name, or one of its making, until it is whole and has its attributes, and then
//!    takes its place in one step: whenever this ends, a restored file is right, or what was there
//!    before. In a small directory it is the directory that has a name of its making until all its files are whole.
//!    What cannot be filled whole is left out and named.
//! 4. A directory's attributes are set after everything in it ([`dirs`]); further names of a file
//!    are given last.
//! 5. What the target has already is looked at first ([`existing`]): what is right stays, of the rest the caller has
//!    chosen. Files are judged by content; which directories an interrupted run has made is noted ([`resume`]).
//!
//! The same walk makes the list of a dry run, and reads back what was written.
//!
//! Memory: two batches, and the blocks and buffers of the threads: all of it constants in [`batch`],
//! [`blocks`] and [`work`]. Beyond that the index, the directories that are not finished, and what is
//! kept for each inode with several names.
//!
//! invariant: nothing outside the target is touched. Every path is opened from the target's own
//! handle with `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)`, and every name is one component.

mod attributes;
mod batch;
mod blocks;
mod dirs;
mod existing;
mod files;
mod output;
mod place;
mod resume;
mod unfinished;
mod walk;
mod work;

pub use existing::{Action, Existing};

use crate::Select;
use crate::error::{Error, Fault, Problem};
use attributes::Giving;
use dirs::Dir;
use model::Digest;
use output::{Hand, Output};
use place::Place;
use repo::tree::NodeKind;
use repo::{Index, Repository};
use resume::Resume;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What to restore, and how.
pub struct RestoreOptions<'a> {
    /// The folder to restore into; made when it is not there.
    pub target: PathBuf,
    /// Only what is below this path of the snapshot, straight into the target.
    pub below: Option<PathBuf>,
    /// Which paths of the snapshot.
    pub select: Select,
    /// What becomes of what is there.
    pub existing: Existing,
    /// What the names of things end with that go beside others.
    pub suffix: String,
    /// Only find out what would be done.
    pub dry_run: bool,
    /// Read back everything afterwards, from the medium, and compare it with what it should be. Takes as long as reading
    /// and hashing all that was wanted.
    pub verify: bool,
    /// Folder for notes by which the same call continues after an interruption.
    pub journals: Option<PathBuf>,
    /// Owners by their names on this machine, rather than by number.
    pub owner_by_name: bool,
    /// Threads that are to be busy; half as many more work, as each waits for media at times.
    pub threads: usize,
    /// Set to end early.
    pub stop: &'a AtomicBool,
    /// Told what happens. Called from many threads.
    pub events: &'a (dyn Fn(RestoreEvent<'_>) + Sync),
}

impl<'a> RestoreOptions<'a> {
    /// All of a snapshot, into a folder that holds nothing.
    #[must_use]
    pub fn into_folder(
        target: &Path,
        stop: &'a AtomicBool,
        events: &'a (dyn Fn(RestoreEvent<'_>) + Sync),
    ) -> Self {
        Self {
            target: target.to_owned(),
            below: None,
            select: Select::default(),
            existing: Existing::Refuse,
            suffix: ".restored".to_owned(),
            dry_run: false,
            verify: false,
            journals: None,
            owner_by_name: false,
            threads: 2,
            stop,
            events,
        }
    }
}

/// What is happening.
#[derive(Debug)]
pub enum RestoreEvent<'a> {
    /// So much is to be restored, as far as is known: more than was said before, if said again.
    Total {
        /// Files, hard links not counted.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// So many more bytes are written, are holes, or are there already.
    Bytes(u64),
    /// One file more is there, or will not be.
    File,
    /// Something is wrong with one item.
    Problem(&'a Problem),
    /// What is done about an item: each one in a dry run, else those alone that go beside others, or stay out of their way.
    Item {
        /// Where it goes, below the target.
        path: &'a Path,
        /// What is done.
        action: Action,
        /// Its size, where it is a file.
        bytes: u64,
    },
    /// An interrupted run is continued.
    Resumed,
    /// Nothing can be noted: after an interruption the target counts as somebody else's.
    NoJournal(&'a io::Error),
    /// Everything is written, and is read back.
    Verifying,
}

/// What a restore did, or, of a dry run, would do.
#[derive(Debug, Default)]
pub struct RestoreOutcome {
    /// Regular files written, hard links included.
    pub files: u64,
    /// Directories, those that were there included.
    pub dirs: u64,
    /// Links, devices, pipes.
    pub others: u64,
    /// Bytes of files that were written.
    pub bytes: u64,
    /// Of the files and others, those that replaced something.
    pub replaced: u64,
    /// Of the files and others, those that got another name.
    pub beside: u64,
    /// Items that were there already.
    pub same: u64,
    /// Items that were left out, because something else is there.
    pub skipped: u64,
    /// Items that belong to somebody else than in the snapshot: only root can give them away.
    pub not_given: u64,
    /// Bytes of files that were read back and found right.
    pub verified: Option<u64>,
    /// Items that did not read back.
    pub not_as_written: u64,
    /// Items that are missing or incomplete.
    pub problems: Vec<Problem>,
}

impl RestoreOutcome {
    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.files += other.files;
        self.dirs += other.dirs;
        self.others += other.others;
        self.bytes += other.bytes;
        self.replaced += other.replaced;
        self.beside += other.beside;
        self.same += other.same;
        self.skipped += other.skipped;
        self.not_given += other.not_given;
        self.not_as_written += other.not_as_written;
        self.verified = match (self.verified, other.verified) {
            (Some(one), Some(another)) => Some(one + another),
            (one, another) => one.or(another),
        };
        self.problems.extend(other.problems);
        self
    }
}

/// What a walk is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Write,
    Plan,
    Verify,
}

#[derive(Debug, Default)]
struct Tally {
    files: AtomicU64,
    dirs: AtomicU64,
    others: AtomicU64,
    bytes: AtomicU64,
    replaced: AtomicU64,
    beside: AtomicU64,
    same: AtomicU64,
    skipped: AtomicU64,
    not_given: AtomicU64,
    verified: AtomicU64,
}

impl Tally {
    /// An item is done.
    fn item(&self, action: Action) {
        match action {
            Action::Make => {}
            Action::Replace => count(&self.replaced),
            Action::Beside => count(&self.beside),
            Action::Same => count(&self.same),
            Action::Skip => count(&self.skipped),
        }
    }

    /// Whether anything was done, or need not be.
    fn is_nothing(&self) -> bool {
        let all = [&self.files, &self.dirs, &self.others, &self.same, &self.skipped];
        all.iter().all(|counter| counter.load(Ordering::Relaxed) == 0)
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// From this size on a file is written past the page cache.
const DIRECT_FROM: u64 = 256 << 10;

struct Run<'a> {
    repository: &'a Repository,
    index: &'a Index,
    options: &'a RestoreOptions<'a>,
    mode: Mode,
    /// None where the target is not there, which only a dry run may find.
    place: Option<Place>,
    /// Without being root, owners cannot be given away.
    gives_away: bool,
    /// Whether the target takes writes past the page cache, as far as is known.
    direct: AtomicBool,
    problems: Mutex<Vec<Problem>>,
    /// What was left out because something else is there; noted where that is asked for later.
    skipped: Mutex<HashSet<PathBuf>>,
    /// Directories that have no name of their own yet, by their numbers.
    hidden: Mutex<HashMap<u64, Arc<Dir>>>,
    tally: Tally,
    /// Something stopped it: what, is in `failure`.
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl<'a> Run<'a> {
    fn new(
        repository: &'a Repository,
        index: &'a Index,
        options: &'a RestoreOptions<'a>,
        (mode, token): (Mode, u64),
    ) -> Result<Self, Error> {
        Ok(Self {
            repository,
            index,
            options,
            mode,
            place: Place::open(&options.target, token, mode != Mode::Write)?,
            gives_away: rustix::process::geteuid().is_root(),
            direct: AtomicBool::new(true),
            problems: Mutex::default(),
            skipped: Mutex::default(),
            hidden: Mutex::default(),
            tally: Tally::default(),
            failed: AtomicBool::new(false),
            failure: Mutex::default(),
        })
    }

    /// A directory is to be made under a name for the time being.
    fn hide(&self, dir: &Arc<Dir>, number: u64) {
        dir.hide(number);
        lock(&self.hidden).insert(number, Arc::clone(dir));
    }

    /// All that is in a directory is there: it gets its name, if it has none.
    fn unhide(&self, dir: &Dir) {
        if let Some(number) = dir.hidden_number() {
            if dir.is_there() {
                dir.unhide(self);
            }
            lock(&self.hidden).remove(&number);
        }
    }

    /// Gives every directory its name. What is in one is whole, as nobody is at work any more.
    fn unhide_all(&self) {
        let hidden = std::mem::take(&mut *lock(&self.hidden));
        hidden.values().filter(|dir| dir.is_there()).for_each(|dir| dir.unhide(self));
    }

    fn place(&self) -> io::Result<&Place> {
        self.place.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn giving(&self) -> Giving<'_> {
        Giving { away: self.gives_away, kept: &self.tally.not_given }
    }

    /// Tells what is done about an item, where that is to be told.
    fn tell(&self, path: impl FnOnce() -> PathBuf, action: Action, bytes: u64) {
        let always = matches!(action, Action::Beside | Action::Skip);
        if self.mode == Mode::Plan || (always && self.mode == Mode::Write) {
            (self.options.events)(RestoreEvent::Item { path: &path(), action, bytes });
        }
    }

    /// Whether a file of that size is written past the page cache.
    fn goes_direct(&self, size: u64) -> bool {
        size >= DIRECT_FROM && self.direct.load(Ordering::Relaxed)
    }

    /// A problem with an item, by its path below the target.
    fn problem(&self, path: &Path, fault: Fault) {
        let problem = Problem { path: self.options.target.join(path), fault };
        if self.mode != Mode::Verify {
            (self.options.events)(RestoreEvent::Problem(&problem));
        }
        lock(&self.problems).push(problem);
    }

    /// An error when everything is to end, because the user said so or something failed.
    fn stopped(&self) -> Result<(), Error> {
        let ends = self.failed.load(Ordering::Relaxed) || self.options.stop.load(Ordering::Relaxed);
        if ends { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Lets everything end. The first reason counts.
    fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        self.failed.store(true, Ordering::Relaxed);
    }

    fn fail_writing(&self, path: &Path, cause: io::Error) {
        let path = self.options.target.join(path);
        self.fail(Error::Io { action: "writing", path, cause });
    }

    /// Waits until all that is written is on the medium.
    fn sync(&self) -> Result<(), Error> {
        let path = self.options.target.clone();
        let synced = self.place().and_then(Place::sync);
        synced.map_err(|cause| Error::Io { action: "syncing", path, cause })
    }

    fn wrote(&self, bytes: u64) {
        self.tally.bytes.fetch_add(bytes, Ordering::Relaxed);
        (self.options.events)(RestoreEvent::Bytes(bytes));
    }
}

/// A thread that died of a defect leaves what it had locked as it was: others end soon, too.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a file will not be there.
#[derive(Debug, Clone)]
enum Broken {
    /// The repository does not give it.
    Damaged(String),
    /// The target does not take it.
    Unwritable(String),
}

impl Broken {
    fn fault(&self) -> Fault {
        match self {
            Self::Damaged(why) => Fault::Damaged(why.clone()),
            Self::Unwritable(why) => Fault::Unwritable(io::Error::other(why.clone())),
        }
    }
}

/// Whether the store answered, so that the fault is in what it holds.
fn reachable(error: &repo::Error) -> bool {
    use model::ErrorKind::{Corrupt, NotFound};
    matches!(error.kind(), Corrupt | NotFound)
}

/// Restores the tree of a snapshot.
///
/// # Errors
/// Whatever stops it; damage and refusals of single items do not, and are in
/// [`RestoreOutcome::problems`].
pub fn restore(
    repository: &Repository,
    index: &Index,
    tree: Digest,
    options: &RestoreOptions<'_>,
) -> Result<RestoreOutcome, Error> {
    let tree = match &options.below {
        Some(below) => subtree(repository, index, tree, below)?,
        None => tree,
    };
    let mut token = [0; 8];
    getrandom::fill(&mut token).map_err(|_| Error::Random)?;
    let token = u64::from_le_bytes(token);
    let mode = if options.dry_run { Mode::Plan } else { Mode::Write };
    let run = Run::new(repository, index, options, (mode, token))?;
    let mut resume = resume(&run, tree)?;
    if mode == Mode::Write
        && let Err(error) = resume.begin(token)
    {
        (options.events)(RestoreEvent::NoJournal(&error));
    }
    let output = Output::new(&run);
    let made = fill(&run, &output, &mut resume, tree);
    output.discard_all();
    run.unhide_all();
    drop(output);
    made?;
    if mode == Mode::Write {
        run.sync()?;
    }
    let problems = lock(&run.problems).len();
    if problems == 0 && !options.select.is_everything() && run.tally.is_nothing() {
        resume.end();
        return Err(Error::NothingSelected);
    }
    let verified =
        if options.verify && mode == Mode::Write { Some(verify(&run, tree)?) } else { None };
    resume.end();
    let not_as_written = (lock(&run.problems).len() - problems) as u64;
    let Run { tally, problems, .. } = run;
    Ok(RestoreOutcome {
        files: tally.files.into_inner(),
        dirs: tally.dirs.into_inner(),
        others: tally.others.into_inner(),
        bytes: tally.bytes.into_inner(),
        replaced: tally.replaced.into_inner(),
        beside: tally.beside.into_inner(),
        same: tally.same.into_inner(),
        skipped: tally.skipped.into_inner(),
        not_given: tally.not_given.into_inner(),
        verified,
        not_as_written,
        problems: problems.into_inner().unwrap_or_else(PoisonError::into_inner),
    })
}

/// What is known of an earlier attempt. Refuses a target that holds something, where that was not thought of.
fn resume(run: &Run<'_>, tree: Digest) -> Result<Resume, Error> {
    let options = run.options;
    let io = |cause| Error::Io { action: "reading", path: options.target.clone(), cause };
    let Some(place) = &run.place else { return Ok(Resume::default()) };
    let key = (place.identity().map_err(io)?, tree, options.below.as_deref());
    let resume = match &options.journals {
        None => Resume::default(),
        Some(folder) if run.mode == Mode::Write => {
            Resume::open(folder, key).unwrap_or_else(|error| {
                (options.events)(RestoreEvent::NoJournal(&error));
                Resume::default()
            })
        }
        Some(folder) => Resume::look(folder, key),
    };
    if resume.is_known() {
        (options.events)(RestoreEvent::Resumed);
    } else if options.existing == Existing::Refuse && !place.is_empty().map_err(io)? {
        resume.end();
        return Err(Error::TargetNotEmpty { target: options.target.clone() });
    }
    Ok(resume)
}

/// Reads back what was written, and names what is not right. Answers how many bytes were.
fn verify(run: &Run<'_>, tree: Digest) -> Result<u64, Error> {
    (run.options.events)(RestoreEvent::Verifying);
    let mut again = Run::new(run.repository, run.index, run.options, (Mode::Verify, 0))?;
    again.skipped = Mutex::new(std::mem::take(&mut *lock(&run.skipped)));
    let output = Output::new(&again);
    fill(&again, &output, &mut Resume::default(), tree)?;
    let known: HashSet<PathBuf> = lock(&run.problems).iter().map(|one| one.path.clone()).collect();
    for problem in again.problems.into_inner().unwrap_or_else(PoisonError::into_inner) {
        // What is not there has been named before, with all below it.
        if !problem.path.ancestors().any(|path| known.contains(path)) {
            (run.options.events)(RestoreEvent::Problem(&problem));
            lock(&run.problems).push(problem);
        }
    }
    Ok(again.tally.verified.into_inner())
}

/// Walks in this thread while others work.
fn fill(
    run: &Run<'_>,
    output: &Output<'_>,
    resume: &mut Resume,
    tree: Digest,
) -> Result<(), Error> {
    // None is kept ready beside the one that is worked on and the one that is planned.
    let (send, receive) = crossbeam_channel::bounded(0);
    let (wake, woken) = crossbeam_channel::bounded(1);
    // Bounded by the number of buffers.
    let (whole, to_write) = crossbeam_channel::unbounded();
    let tasks = work::Tasks::new(receive);
    let workers = (0..work::threads(run.options.threads))
        .map(|_| work::Worker::new(run, output, Hand::new(&wake, &whole)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut walk = walk::Walk::new(run, output, resume, send, Hand::new(&wake, &whole));
    drop((wake, whole));
    let made = std::thread::scope(|scope| {
        for worker in workers {
            scope.spawn(|| worker.work(&tasks));
        }
        for _ in 0..blocks::WRITERS {
            scope.spawn(|| output.write_blocks(&to_write));
        }
        scope.spawn(|| {
            while woken.recv().is_ok() {
                if let Err(error) = run.sync() {
                    run.fail(error);
                }
            }
        });
        let base = run.options.below.clone().unwrap_or_else(|| "/".into());
        let walked = walk.all(tree, &base);
        if let Err(error) = walked {
            run.fail(error);
        }
        // Drops its end of the channel: the workers end when all is done.
        walk.into_made()
    });
    if let Some(error) = lock(&run.failure).take() {
        return Err(error);
    }
    let mut made = made;
    made.link(run)
}

/// Whether a snapshot's tree has something at that path.
///
/// # Errors
/// Trees on the way cannot be read.
pub fn is_in(
    repository: &Repository,
    index: &Index,
    tree: Digest,
    path: &Path,
) -> Result<bool, Error> {
    use std::os::unix::ffi::OsStrExt;
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Ok(true) };
    match subtree(repository, index, tree, above) {
        Ok(tree) => {
            let nodes = repository.read_tree(index, &tree)?;
            Ok(nodes.iter().any(|node| node.name == name.as_bytes()))
        }
        Err(Error::NotInSnapshot { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn subtree(
    repository: &Repository,
    index: &Index,
    root: Digest,
    below: &Path,
) -> Result<Digest, Error> {
    use std::os::unix::ffi::OsStrExt;
    let mut tree = root;
    for component in below.components() {
        let Component::Normal(name) = component else { continue };
        let nodes = repository.read_tree(index, &tree)?;
        let found = nodes.into_iter().find(|node| node.name == name.as_bytes());
        tree = found
            .filter(|node| node.kind == NodeKind::Dir)
            .and_then(|node| node.subtree)
            .ok_or_else(|| Error::NotInSnapshot { path: below.to_owned() })?;
    }
    Ok(tree)
}
