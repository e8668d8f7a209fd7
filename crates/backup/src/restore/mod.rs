//! A snapshot back into a folder, in four passes.
//!
//! 1. [`make`]: the trees are walked; directories, links, devices and empty files are made, and it
//!    is noted which blob goes where.
//! 2. [`fill`]: packs are read once each, in parallel; every blob is verified, then written to all
//!    its places. A file has a name of its own making until it is whole, and then takes its place in
//!    one step: whenever this ends, a restored file is right, or what was there before.
//! 3. Files that could not be filled whole are removed and named.
//! 4. [`attributes`]: the trees are walked again; owners, attributes, modes and times are set,
//!    directories' last.
//!
//! invariant: nothing outside the target is touched. Every path is opened from the target's own
//! handle with `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)`, and every name is one component.

mod attributes;
mod fill;
mod make;
mod place;

use crate::error::{Error, Fault, Problem};
use model::Digest;
use place::Place;
use repo::tree::NodeKind;
use repo::{Index, Repository};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

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
    /// Threads that read packs.
    pub threads: usize,
    /// Set to end early.
    pub stop: &'a AtomicBool,
    /// Told what happens. Called from many threads.
    pub events: &'a (dyn Fn(RestoreEvent<'_>) + Sync),
}

/// What is happening.
#[derive(Debug)]
pub enum RestoreEvent<'a> {
    /// So much is to be restored.
    Total {
        /// Files, hard links not counted.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// So many more bytes are written, or are holes.
    Bytes(u64),
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

struct Run<'a> {
    repository: &'a Repository,
    index: &'a Index,
    options: &'a RestoreOptions<'a>,
    place: Place,
    problems: Mutex<Vec<Problem>>,
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Run<'_> {
    /// A problem with an item, by its path below the target.
    fn problem(&self, path: &Path, fault: Fault) {
        let problem = Problem { path: self.options.target.join(path), fault };
        (self.options.events)(RestoreEvent::Problem(&problem));
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
    }

    fn stopped(&self) -> Result<(), Error> {
        if self.options.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    fn wrote(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        (self.options.events)(RestoreEvent::Bytes(bytes));
    }
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
    let place = Place::open(&options.target, options.overwrite)?;
    let (problems, files, bytes) = (Mutex::default(), AtomicU64::new(0), AtomicU64::new(0));
    let run = Run { repository, index, options, place, problems, files, bytes };
    let mut made = make::Made::default();
    let lost = passes(&run, tree, &mut made).inspect_err(|_| made.discard_unfinished(&run))?;
    let sync = |cause| Error::Io { action: "syncing", path: options.target.clone(), cause };
    run.place.sync().map_err(sync)?;
    Ok(RestoreOutcome {
        files: run.files.into_inner().saturating_sub(lost),
        dirs: made.dirs,
        others: made.others,
        bytes: run.bytes.into_inner(),
        problems: run.problems.into_inner().unwrap_or_else(PoisonError::into_inner),
    })
}

/// All passes. Answers how many of the files are not there after all.
fn passes(run: &Run<'_>, tree: Digest, made: &mut make::Made) -> Result<u64, Error> {
    make::all(run, tree, made)?;
    let files = made.files.len() as u64;
    run.files.store(files + made.links.len() as u64, Ordering::Relaxed);
    (run.options.events)(RestoreEvent::Total { files, bytes: made.bytes });
    let broken = fill::all(run, made)?;
    made.discard_unfinished(run);
    for (file, why) in &broken {
        run.problem(file, why.fault());
        made.left_out.insert(file.clone());
    }
    let lost = make::hard_links(run, made, &broken)?;
    attributes::all(run, tree, made)?;
    Ok(lost + broken.len() as u64)
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
