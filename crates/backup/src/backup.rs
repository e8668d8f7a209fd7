//! One backup from beginning to end: index, walk, read, store, and the snapshot last of all.
//!
//! invariant: the snapshot is written only when every blob it needs is in a durable pack that a
//! durable index names, the lock still holds, and what was read was held to the end. Holds no policy:
//! what to back up, and when, is the caller's.

use crate::chunker::Chunker;
use crate::error::{Fault, Problem};
use crate::files::Files;
use crate::journal::Journal;
use crate::piece::Pool;
use crate::run::{Counters, Done, Run};
use crate::walk::{Pending, Walk};
use crate::work::{Task, Work};
use crate::{Error, Exclude, View, targets};
use jiff::Timestamp;
use model::Digest;
use repo::{LockGuard, Repository, Snapshot, Summary, Writer, WriterOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// What to back up, and how.
pub struct BackupOptions<'a> {
    /// Absolute paths; see [`crate::absolute`].
    pub paths: Vec<PathBuf>,
    /// The host that the snapshot names.
    pub hostname: String,
    /// What of the paths is left out.
    pub exclude: Exclude,
    /// Where they are read from, where that is not where they are.
    pub view: View,
    /// Labels.
    pub tags: Vec<String>,
    /// When the backup began: the recovery point's time.
    pub time: Timestamp,
    /// Compare with this snapshot; with the newest one of the same host and paths when none is given.
    pub parent: Option<Digest>,
    /// A snapshot of the same paths with all of `tags` is a parent, whatever its host: where the tags say whose it is.
    pub any_host: bool,
    /// Read every file, whatever the parent says.
    pub force: bool,
    /// Keep access times. Without, the modification time stands for them, as restic does it.
    pub with_atime: bool,
    /// What the snapshot names as its program.
    pub program_version: String,
    /// Processors to keep busy.
    pub threads: usize,
    /// How packs are made.
    pub writer: WriterOptions,
    /// Folder for journals: what a run has read by the time it is interrupted is not read again.
    pub journals: Option<PathBuf>,
    /// Set to end early; what is stored by then stays.
    pub stop: &'a AtomicBool,
    /// Told what happens. Called from many threads.
    pub events: &'a (dyn Fn(BackupEvent<'_>) + Sync),
}

/// What is happening.
#[derive(Debug)]
pub enum BackupEvent<'a> {
    /// Compared with this snapshot.
    Parent(Option<Digest>),
    /// Packs of an interrupted run were taken in.
    Adopted {
        /// How many.
        packs: usize,
    },
    /// An interrupted run is continued.
    Resumed {
        /// Files that it has read.
        files: usize,
    },
    /// There is no journal, or it ends: an interruption would cost more reading. The backup goes on.
    NoJournal(&'a std::io::Error),
    /// A file is as the parent has it.
    Unmodified,
    /// An interrupted run has read this file: it is not read again.
    Remembered {
        /// Where.
        path: &'a Path,
    },
    /// A file is about to be opened.
    File {
        /// Where.
        path: &'a Path,
    },
    /// So many more bytes are done.
    Bytes(u64),
    /// A directory is not in what is read in place of it, and is read as it is.
    NotHeld {
        /// Where.
        path: &'a Path,
    },
    /// Something is wrong with one item.
    Problem(&'a Problem),
}

/// What a backup did.
#[derive(Debug)]
pub struct BackupOutcome {
    /// The new snapshot.
    pub snapshot: Digest,
    /// The one it was compared with.
    pub parent: Option<Digest>,
    /// In numbers.
    pub summary: Summary,
    /// Bytes of files that the repository had already, or that this run met more than once.
    pub deduplicated: u64,
    /// Items that are not, or not wholly, in it.
    pub problems: Vec<Problem>,
}

/// Workers beside one for each processor: while one of them waits for a disk, another computes.
const WAITING: usize = 0;

/// Backs up. The caller holds `lock`, shared at least; it may still have to settle.
///
/// # Errors
/// Whatever stops it; a single unreadable item does not, and is in [`BackupOutcome::problems`].
pub fn backup(
    repository: &Repository,
    lock: &LockGuard,
    options: &BackupOptions<'_>,
) -> Result<BackupOutcome, Error> {
    let (outcome, journal) = backup_with_journal(repository, lock, options)?;
    if let Err(error) = journal.remove() {
        (options.events)(BackupEvent::NoJournal(&error));
    }
    Ok(outcome)
}

/// What a complete backup has read: kept by whoever may have to go over the same source again, as something may still be lost.
#[derive(Debug)]
pub struct KeptJournal(Option<Journal>);

impl KeptJournal {
    /// Nothing of it is needed any more. Without this it stays, for the next run.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(self) -> std::io::Result<()> {
        self.0.map_or(Ok(()), Journal::remove)
    }
}

/// The same, and the journal stays.
///
/// # Errors
/// As [`backup`].
pub fn backup_with_journal(
    repository: &Repository,
    lock: &LockGuard,
    options: &BackupOptions<'_>,
) -> Result<(BackupOutcome, KeptJournal), Error> {
    for path in &options.paths {
        match std::fs::symlink_metadata(options.view.of(path, None).as_ref().unwrap_or(path)) {
            Ok(_) => {}
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoTarget { path: path.clone() });
            }
            Err(cause) => {
                return Err(Error::Io { action: "looking at", path: path.clone(), cause });
            }
        }
    }
    let read =
        find_parent(repository, options).and_then(|parent| Ok((parent, repository.load_index()?)));
    if read.is_err() {
        // Somebody who removes things may be the reason.
        lock.settled()?;
    }
    let ((parent, mut damaged), mut index) = read?;
    (options.events)(BackupEvent::Parent(parent.as_ref().map(|(id, _)| *id)));
    repository.store().remove_leftovers().map_err(repo::Error::from)?;
    let adopted = repository.adopt_packs(lock, &mut index.value)?;
    if adopted.packs > 0 {
        (options.events)(BackupEvent::Adopted { packs: adopted.packs });
    }
    damaged.extend(index.damaged.into_iter().chain(adopted.damaged));
    let writer = Writer::new(lock, index.value, options.writer)?;
    let former = parent.as_ref().map(|(_, tree)| *tree);
    let run = Run::new(&writer, options, journal(repository, options));
    for fault in damaged {
        run.problem(Path::new(&repository.location()), Fault::Repository(Box::new(fault)));
    }
    let read = read_all(repository, run, former);
    if let Err(why) = options.view.was_held() {
        // What is noted as read may not have been what was there.
        read.ok().and_then(|done| done.journal).map(Journal::remove);
        return Err(Error::NotHeld { why });
    }
    let Done { tree, problems, counters, journal } = read?;
    writer.finish()?;
    lock.check()?;
    let parent = parent.map(|(id, _)| id);
    let summary = summary(&counters, options.time);
    let snapshot = repository.save_snapshot(&Snapshot {
        time: options.time,
        parent,
        tree,
        paths: options.paths.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
        hostname: options.hostname.clone(),
        username: repository.author().username.clone(),
        uid: repository.author().uid,
        gid: repository.author().gid,
        excludes: options.exclude.patterns().to_vec(),
        tags: options.tags.clone(),
        original: None,
        program_version: options.program_version.clone(),
        summary: Some(summary.clone()),
    })?;
    let new = counters.bytes_new.into_inner();
    let deduplicated = summary.total_bytes_processed.saturating_sub(new);
    let outcome = BackupOutcome { snapshot, parent, summary, deduplicated, problems };
    Ok((outcome, KeptJournal(journal)))
}

/// What an earlier run has read, and where this one notes what it reads.
fn journal(repository: &Repository, options: &BackupOptions<'_>) -> Option<Journal> {
    let folder = options.journals.as_deref()?;
    let opened = Journal::open(folder, repository.identity(), &options.hostname, &options.paths);
    let journal = opened
        .inspect_err(|error| (options.events)(BackupEvent::NoJournal(error)))
        .ok()
        .flatten()?;
    if journal.known() > 0 {
        (options.events)(BackupEvent::Resumed { files: journal.known() });
    }
    Some(journal)
}

fn read_all(repository: &Repository, run: Run<'_>, former: Option<Digest>) -> Result<Done, Error> {
    let chunker = Chunker::new(repository.config().chunker_polynomial);
    let workers = run.options.threads.max(1) + WAITING;
    let root = Pending::root(targets::tree(&run.options.paths), former);
    let (work, pool) = (Work::new(root, workers), Pool::default());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (run, work) = (&run, &work);
            let files = Files::new(run, &chunker, &pool, work);
            scope.spawn(move || {
                let walk = Walk { run, repository, files };
                let act = |task| match task {
                    Task::Chunk(chunk) => walk.files.chunk(chunk),
                    Task::File(file) => walk.files.file(file),
                    Task::Directory(directory) => walk.enter(directory),
                };
                work.take_part(act, || walk.files.finish());
            });
        }
    });
    run.end()
}

/// A snapshot to compare with, and its tree.
type Parent = (Digest, Digest);

/// The parent, and the snapshots that could not be read when it was looked for.
fn find_parent(
    repository: &Repository,
    options: &BackupOptions<'_>,
) -> Result<(Option<Parent>, Vec<repo::Error>), Error> {
    if options.force {
        return Ok((None, Vec::new()));
    }
    if let Some(id) = options.parent {
        return Ok((Some((id, repository.load_snapshot(id)?.snapshot.tree)), Vec::new()));
    }
    let paths: Vec<String> =
        options.paths.iter().map(|p| p.to_string_lossy().into_owned()).collect();
    let labelled = |snapshot: &Snapshot| {
        let tags = &options.tags;
        options.any_host && !tags.is_empty() && tags.iter().all(|tag| snapshot.tags.contains(tag))
    };
    let same = |snapshot: &Snapshot| {
        (snapshot.hostname == options.hostname || labelled(snapshot))
            && snapshot.paths == paths
            && snapshot.time <= options.time
    };
    let all = repository.snapshots()?;
    let newest = all.value.into_iter().rev().find(|named| same(&named.snapshot));
    Ok((newest.map(|named| (named.id, named.snapshot.tree)), all.damaged))
}

fn summary(counters: &Counters, backup_start: Timestamp) -> Summary {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let files = [&counters.files_new, &counters.files_changed, &counters.files_unmodified];
    Summary {
        backup_start,
        backup_end: Timestamp::now(),
        files_new: count(&counters.files_new),
        files_changed: count(&counters.files_changed),
        files_unmodified: count(&counters.files_unmodified),
        dirs_new: count(&counters.dirs_new),
        dirs_changed: count(&counters.dirs_changed),
        dirs_unmodified: count(&counters.dirs_unmodified),
        data_blobs: count(&counters.data_blobs),
        tree_blobs: count(&counters.tree_blobs),
        data_added: count(&counters.data_added),
        data_added_packed: count(&counters.data_added_packed),
        total_files_processed: files.iter().map(|counter| count(counter)).sum(),
        total_bytes_processed: count(&counters.bytes),
    }
}
