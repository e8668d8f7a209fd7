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
//!    before. What cannot be filled whole is left out and named.
//! 4. A directory's attributes are set after everything in it ([`dirs`]); further names of a file
//!    are given last.
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
mod output;
mod place;
mod unfinished;
mod walk;
mod work;

use crate::error::{Error, Fault, Problem};
use model::Digest;
use output::{Hand, Output};
use place::Place;
use repo::tree::NodeKind;
use repo::{Index, Repository};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What to restore, and how.
pub struct RestoreOptions<'a> {
    /// The folder to restore into; made when it is not there.
    pub target: PathBuf,
    /// Only what is below this path of the snapshot, straight into the target.
    pub below: Option<PathBuf>,
    /// Allow a target that holds something; what has the same name is replaced.
    pub overwrite: bool,
    /// Owners by their names on this machine, rather than by number.
    pub owner_by_name: bool,
    /// Threads that are to be busy; half as many more work, as each waits for media at times.
    pub threads: usize,
    /// Set to end early.
    pub stop: &'a AtomicBool,
    /// Told what happens. Called from many threads.
    pub events: &'a (dyn Fn(RestoreEvent<'_>) + Sync),
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
    /// So many more bytes are written, or are holes.
    Bytes(u64),
    /// One file more is there, or will not be.
    File,
    /// Something is wrong with one item.
    Problem(&'a Problem),
}

/// What a restore did.
#[derive(Debug, Default)]
pub struct RestoreOutcome {
    /// Regular files restored, hard links included.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Links, devices, pipes.
    pub others: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Items that are missing or incomplete.
    pub problems: Vec<Problem>,
}

/// From this size on a file is written past the page cache.
const DIRECT_FROM: u64 = 256 << 10;

struct Run<'a> {
    repository: &'a Repository,
    index: &'a Index,
    options: &'a RestoreOptions<'a>,
    place: Place,
    /// Without being root, owners cannot be given away; that is no news to the user.
    give_away: bool,
    /// Whether the target takes writes past the page cache, as far as is known.
    direct: AtomicBool,
    problems: Mutex<Vec<Problem>>,
    files: AtomicU64,
    bytes: AtomicU64,
    /// Something stopped it: what, is in `failure`.
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl<'a> Run<'a> {
    fn new(
        repository: &'a Repository,
        index: &'a Index,
        options: &'a RestoreOptions<'a>,
    ) -> Result<Self, Error> {
        Ok(Self {
            repository,
            index,
            options,
            place: Place::open(&options.target, options.overwrite)?,
            give_away: rustix::process::geteuid().is_root(),
            direct: AtomicBool::new(true),
            problems: Mutex::default(),
            files: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            failure: Mutex::default(),
        })
    }

    /// Whether a file of that size is written past the page cache.
    fn goes_direct(&self, size: u64) -> bool {
        size >= DIRECT_FROM && self.direct.load(Ordering::Relaxed)
    }

    /// A problem with an item, by its path below the target.
    fn problem(&self, path: &Path, fault: Fault) {
        let problem = Problem { path: self.options.target.join(path), fault };
        (self.options.events)(RestoreEvent::Problem(&problem));
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
        self.place.sync().map_err(|cause| Error::Io { action: "syncing", path, cause })
    }

    fn wrote(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
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
    let run = Run::new(repository, index, options)?;
    let output = Output::new(&run);
    let made = fill(&run, &output, tree);
    output.discard_all();
    drop(output);
    let made = made?;
    run.sync()?;
    Ok(RestoreOutcome {
        files: run.files.into_inner(),
        dirs: made.dirs,
        others: made.others,
        bytes: run.bytes.into_inner(),
        problems: run.problems.into_inner().unwrap_or_else(PoisonError::into_inner),
    })
}

/// Walks in this thread while others work.
fn fill(run: &Run<'_>, output: &Output<'_>, tree: Digest) -> Result<walk::Made, Error> {
    // None is kept ready beside the one that is worked on and the one that is planned.
    let (send, receive) = crossbeam_channel::bounded(0);
    let (wake, woken) = crossbeam_channel::bounded(1);
    // Bounded by the number of buffers.
    let (whole, to_write) = crossbeam_channel::unbounded();
    let tasks = work::Tasks::new(receive);
    let workers = (0..work::threads(run.options.threads))
        .map(|_| work::Worker::new(run, output, Hand::new(&wake, &whole)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut walk = walk::Walk::new(run, output, send, Hand::new(&wake, &whole));
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
        let walked = walk.all(tree);
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
    made.link(run)?;
    Ok(made)
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
