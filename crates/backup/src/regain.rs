//! Files read once more for blobs that a repository has lost: just the places where these were, and a file that has changed
//! as a whole, as some of its pieces may still be what they were. A piece counts by its hash alone, so nothing else than
//! what was lost is stored, wherever it comes from.
//!
//! ```text
//!  trees ──files with a lost blob──▶ workers ─ at its place? ─ yes ─▶ stored
//!                                              └ no: the whole file, cut as ever ─ of a lost name? ─▶ stored
//! ```
//!
//! Makes no snapshot, and says nothing of what is still lost: [`lost_files`](crate::lost_files) does.

use crate::chunker::{self, Chunker};
use crate::error::{Fault, Problem};
use crate::{Error, files, lost};
use model::Digest;
use repo::former::Former;
use repo::{BlobKind, BlobRun, Repository, Writer};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

/// What to read again, and how.
pub struct RegainOptions<'a> {
    /// The snapshots whose files are read.
    pub snapshots: &'a [Digest],
    /// Every lost blob, with the length of its plain bytes.
    pub lost: &'a HashMap<(BlobKind, Digest), u32>,
    /// Files that are read at once.
    pub threads: usize,
    /// Set to end early; what is stored by then stays.
    pub stop: &'a AtomicBool,
    /// Told what happens. Called from many threads.
    pub events: &'a (dyn Fn(RegainEvent<'_>) + Sync),
}

/// What is happening.
#[derive(Debug)]
pub enum RegainEvent<'a> {
    /// A file is about to be opened.
    File {
        /// Where.
        path: &'a Path,
    },
    /// So many more bytes that were lost are stored again.
    Regained(u64),
    /// A file cannot be read.
    Problem(&'a Problem),
}

/// A file that has something of what was lost.
struct Job {
    path: PathBuf,
    runs: Vec<BlobRun>,
}

/// Reads every file of the snapshots that has a lost blob, at the path where it was, and stores what was lost. Answers the
/// files that could not be read.
///
/// # Errors
/// [`Error::Interrupted`]; a snapshot or tree that cannot be read; the first failure of the writer.
pub fn regain(
    repository: &Repository,
    writer: &Writer,
    options: &RegainOptions<'_>,
) -> Result<Vec<Problem>, Error> {
    let chunker = Chunker::new(repository.config().chunker_polynomial);
    let (problems, failed) = (Mutex::default(), Mutex::default());
    let work = Work { writer, options, chunker, problems, failed };
    let workers = options.threads.max(1);
    // Bounded: a walk is faster than reading, and each job has a list of blobs.
    let (give, take) = sync_channel::<Job>(workers);
    let take = Mutex::new(take);
    let walked = std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work.run(&take));
        }
        let walked = work.walk(repository, &give);
        drop(give);
        walked
    });
    if let Some(error) = work.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    walked?;
    Ok(work.problems.into_inner().unwrap_or_else(PoisonError::into_inner))
}

struct Work<'a> {
    writer: &'a Writer,
    options: &'a RegainOptions<'a>,
    chunker: Chunker,
    problems: Mutex<Vec<Problem>>,
    failed: Mutex<Option<Error>>,
}

impl Work<'_> {
    fn walk(&self, repository: &Repository, give: &SyncSender<Job>) -> Result<(), Error> {
        let copies = |tree: &Digest| {
            self.writer.with_index(|index| index.copies(BlobKind::Tree, tree).collect())
        };
        let options = self.options;
        let mut each = |_, path: &Path, file: &Former<'_>| {
            let runs = file.content.runs();
            if self.has_failed() {
                return Err(Error::Interrupted);
            }
            if runs.iter().any(|run| self.wants(&run.id)) {
                let job = Job { path: path.to_owned(), runs: runs.to_vec() };
                // Nobody takes it when every worker has ended, which they do for a failure only.
                give.send(job).map_err(|_| Error::Interrupted)?;
            }
            Ok(())
        };
        lost::walk(repository, &copies, options.snapshots, options.stop, &mut each)
    }

    fn run(&self, take: &Mutex<Receiver<Job>>) {
        loop {
            let job = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return };
            // What is queued is taken all the same: the walk must not wait for room for ever.
            if self.has_failed() || self.is_stopped() {
                continue;
            }
            if let Err(error) = self.file(&job) {
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    }

    fn has_failed(&self) -> bool {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn is_stopped(&self) -> bool {
        self.options.stop.load(Ordering::Relaxed)
    }

    /// Whether the blob is lost, and not stored again by now.
    fn wants(&self, id: &Digest) -> bool {
        self.options.lost.contains_key(&(BlobKind::Data, *id))
            && !self.writer.with_index(|index| index.has(BlobKind::Data, id))
    }

    fn file(&self, job: &Job) -> Result<(), Error> {
        let mut left: HashSet<Digest> =
            job.runs.iter().map(|run| run.id).filter(|id| self.wants(id)).collect();
        if left.is_empty() {
            return Ok(());
        }
        (self.options.events)(RegainEvent::File { path: &job.path });
        let opened = files::open(&job.path).and_then(|file| {
            let stat = file.metadata().map_err(Fault::Unreadable)?;
            if stat.is_file() { Ok(file) } else { Err(Fault::Replaced) }
        });
        let read = match opened {
            Ok(file) => self
                .places(&file, &job.runs, &mut left)
                .and_then(|()| if left.is_empty() { Ok(()) } else { self.whole(&file, &mut left) }),
            // No backup runs: it is gone, or is no file any more, for whatever time.
            Err(Fault::Vanished) => Err(io::Error::from(io::ErrorKind::NotFound).into()),
            Err(Fault::Replaced) => Err(io::Error::other("it is no file any more").into()),
            Err(fault) => Err(Stop::Fault(fault)),
        };
        match read {
            Ok(()) => Ok(()),
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::Fault(fault)) => {
                let problem = Problem { path: job.path.clone(), fault };
                (self.options.events)(RegainEvent::Problem(&problem));
                self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
                Ok(())
            }
        }
    }

    /// Reads what lies where the lost blobs were.
    fn places(
        &self,
        file: &File,
        runs: &[BlobRun],
        left: &mut HashSet<Digest>,
    ) -> Result<(), Stop> {
        let mut at = 0_u64;
        let mut room = Vec::new();
        for run in runs {
            // Behind a blob of unknown length nothing has a known place.
            let Some(length) = self.length(&run.id) else { return Ok(()) };
            if left.contains(&run.id) && length as usize <= chunker::MAX {
                if self.is_stopped() {
                    return Err(Error::Interrupted.into());
                }
                room.resize(length as usize, 0);
                match file.read_exact_at(&mut room, at) {
                    Ok(()) => self.save(&room, left)?,
                    Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                    Err(cause) => return Err(cause.into()),
                }
            }
            at = at.saturating_add(u64::from(length).saturating_mul(run.count));
        }
        Ok(())
    }

    fn length(&self, id: &Digest) -> Option<u32> {
        self.options.lost.get(&(BlobKind::Data, *id)).copied().or_else(|| {
            self.writer.with_index(|index| index.find(BlobKind::Data, id)).map(|at| at.blob.size())
        })
    }

    /// Reads the whole file, cut as a backup cuts it.
    fn whole(&self, file: &File, left: &mut HashSet<Digest>) -> Result<(), Stop> {
        let mut source = At { file, offset: 0 };
        let mut room = Vec::with_capacity(chunker::MAX);
        while !left.is_empty() {
            if self.is_stopped() {
                return Err(Error::Interrupted.into());
            }
            let more = (chunker::MAX - room.len()) as u64;
            source.by_ref().take(more).read_to_end(&mut room)?;
            if room.is_empty() {
                break;
            }
            let end = self.chunker.cut(&room);
            self.save(room.get(..end).unwrap_or_default(), left)?;
            room.drain(..end);
        }
        Ok(())
    }

    /// Stores a piece if it is one that was lost.
    fn save(&self, piece: &[u8], left: &mut HashSet<Digest>) -> Result<(), Stop> {
        let id = Digest(sha256::hash(piece));
        if !left.remove(&id) && !self.wants(&id) {
            return Ok(());
        }
        if let repo::Saved::Added { .. } =
            self.writer.save(BlobKind::Data, id, piece).map_err(Error::from)?
        {
            (self.options.events)(RegainEvent::Regained(piece.len() as u64));
        }
        Ok(())
    }
}

/// A file from its beginning, whatever was read of it before.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset = self.offset.saturating_add(count as u64);
        Ok(count)
    }
}

/// What ends the reading of a file: of this one, or of all.
enum Stop {
    Fault(Fault),
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<io::Error> for Stop {
    fn from(cause: io::Error) -> Self {
        Self::Fault(Fault::Unreadable(cause))
    }
}
