//! Files: read, cut, and stored piece by piece, by any worker.
//!
//! The worker that opens a file reads and cuts it, and stores its pieces itself unless others have
//! nothing to do. Two pieces side by side are hashed in less time: a worker keeps one back, to be hashed beside
//! whatever else it hashes, until that is done and the next one is kept. Memory is bounded by the pieces that workers and
//! queue hold, whatever a file's size. Holes are not read: where a file has one, its pieces are known to be zeros.

use crate::BackupEvent;
use crate::chunker::{self, Chunker};
use crate::error::{Error, Fault};
use crate::journal::Key;
use crate::meta::{self, Item};
use crate::piece::{Piece, Pool};
use crate::run::{self, Directory, Run, add};
use crate::work::Work;
use model::Digest;
use repo::tree::{Node, NodeKind};
use repo::{BlobRun, Content};
use rustix::fs::{Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;
use sha256::Aside;
use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A file to read.
pub(crate) struct FileJob {
    pub(crate) name: Vec<u8>,
    /// Whether the parent snapshot has it.
    pub(crate) known: bool,
    pub(crate) directory: Arc<Directory>,
    pub(crate) at: usize,
}

/// One piece of a file.
pub(crate) struct ChunkJob {
    file: Arc<OpenFile>,
    at: usize,
    piece: Piece,
}

impl ChunkJob {
    /// Memory that it takes.
    pub(crate) fn room(&self) -> usize {
        self.piece.room()
    }
}

/// A file of which pieces are being stored.
struct OpenFile {
    node: Mutex<Option<Node>>,
    /// Known pieces, and places for those that are not stored yet.
    content: Mutex<Vec<BlobRun>>,
    open: AtomicUsize,
    key: Key,
    known: bool,
    directory: Arc<Directory>,
    at: usize,
}

/// Stands for a piece that is not stored yet.
const UNKNOWN: Digest = Digest([0; 32]);

/// Bytes that are read between two looks for a cut: more would be moved into the next piece.
const STEP: usize = 256 << 10;

/// What reads and stores files; each worker has one.
pub(crate) struct Files<'a, 'run> {
    run: &'a Run<'run>,
    chunker: &'a Chunker,
    pool: &'a Pool,
    pub(crate) work: &'a Work,
    /// Kept back, and hashed beside others meanwhile.
    kept: Cell<Option<Hashing>>,
}

/// A piece on its way to its name.
struct Hashing {
    job: ChunkJob,
    hasher: sha256::Hasher,
    /// Bytes that are hashed: whole blocks.
    taken: usize,
}

impl Hashing {
    fn new(job: ChunkJob) -> Self {
        Self { job, hasher: sha256::Hasher::default(), taken: 0 }
    }

    fn left(&self) -> usize {
        self.job.piece.len() - self.taken
    }

    /// `work` hashes as much of it as it has room for.
    fn aside<T>(&mut self, work: impl FnOnce(&mut Aside<'_>) -> T) -> T {
        let rest = self.job.piece.bytes().get(self.taken..).unwrap_or_default();
        let mut aside = Aside::of(rest, &mut self.hasher);
        let done = work(&mut aside);
        self.taken += rest.len() - aside.left();
        done
    }

    /// Hashes what is left, beside another one.
    fn end(mut self, other: Option<&mut Self>) -> (ChunkJob, Digest) {
        let rest = self.job.piece.bytes().get(self.taken..).unwrap_or_default();
        match other {
            Some(other) => other.aside(|aside| self.hasher.update_beside(rest, aside)),
            None => self.hasher.update(rest),
        }
        (self.job, Digest(self.hasher.finalize()))
    }
}

impl<'a, 'run> Files<'a, 'run> {
    pub(crate) fn new(
        run: &'a Run<'run>,
        chunker: &'a Chunker,
        pool: &'a Pool,
        work: &'a Work,
    ) -> Self {
        Self { run, chunker, pool, work, kept: Cell::new(None) }
    }

    /// Stores a piece that others left, beside one that was kept or waits as well.
    pub(crate) fn chunk(&self, job: ChunkJob) {
        let kept = self.kept.take().or_else(|| self.work.take_chunk().map(Hashing::new));
        self.kept.set(kept);
        self.keep(job);
    }

    /// Of this piece and the one that was kept, stores the one that is hashed sooner, and keeps the other.
    fn keep(&self, job: ChunkJob) {
        let new = Hashing::new(job);
        let Some(kept) = self.kept.take() else { return self.kept.set(Some(new)) };
        let (first, mut second) = if kept.left() <= new.left() { (kept, new) } else { (new, kept) };
        self.store(first, Some(&mut second));
        self.kept.set(Some(second));
    }

    /// Stores what was kept.
    pub(crate) fn finish(&self) {
        if let Some(kept) = self.kept.take() {
            self.store(kept, None);
        }
    }

    fn store(&self, first: Hashing, mut beside: Option<&mut Hashing>) {
        if self.run.stopped() {
            return self.pool.give_back(first.job.piece);
        }
        let (job, id) = first.end(beside.as_deref_mut());
        let save = |aside: &mut Aside<'_>| self.run.save_named(id, job.piece.bytes(), aside);
        let id = match beside {
            Some(beside) => beside.aside(save),
            None => save(&mut Aside::of(&[], &mut sha256::Hasher::default())),
        };
        self.stored(job, id);
    }

    fn stored(&self, job: ChunkJob, id: Result<Digest, Error>) {
        let ChunkJob { file, at, piece } = job;
        match id {
            Ok(id) => {
                self.run.done(piece.len() as u64);
                file.set(at, id);
                file.release(self.run);
            }
            Err(error) => self.run.fail(error),
        }
        self.pool.give_back(piece);
    }

    /// Reads one file.
    pub(crate) fn file(&self, job: FileJob) {
        if self.run.stopped() {
            return;
        }
        let path = job.directory.path.join(OsStr::from_bytes(&job.name));
        (self.run.options.events)(BackupEvent::File { path: &path });
        let (directory, at) = (Arc::clone(&job.directory), job.at);
        if let Err(fault) = self.read(job, &path) {
            self.run.problem(&path, fault);
            directory.put(self.run, at, None);
        }
    }

    fn read(&self, job: FileJob, path: &PathBuf) -> Result<(), Fault> {
        let FileJob { name, known, directory, at } = job;
        let view = &self.run.options.view;
        let source = open(directory.from(view, path).as_ref().unwrap_or(path))?;
        let before = source.metadata().map_err(Fault::Unreadable)?;
        let (owners, with_atime) = (&self.run.owners, self.run.options.with_atime);
        let (mut node, fault) = meta::node(&name, Item::Open(&source), &before, owners, with_atime);
        node.device_id = view.own_device(node.device_id);
        if node.kind != NodeKind::File {
            return Err(Fault::Replaced);
        }
        if let Some(error) = fault {
            self.run.problem(path, Fault::Attributes(error));
        }
        let key = Key::of(path, &before, node.device_id);
        if let Some(content) = self.run.remembered(&key) {
            (self.run.options.events)(BackupEvent::Remembered { path });
            self.run.remember(&key, &content);
            self.run.done(before.size());
            add(counter(self.run, known), 1);
            directory.put_file(self.run, at, &node, content);
            return Ok(());
        }
        let file = Arc::new(OpenFile {
            node: Mutex::new(None),
            content: Mutex::default(),
            open: AtomicUsize::new(1),
            key,
            known,
            directory,
            at,
        });
        let size = match Cutter::new(self, &source, &before, &file).cut() {
            Ok(size) => size,
            // Pieces under way belong to no node: the file is left out, and named.
            Err(error) => {
                self.run.problem(path, Fault::Unreadable(error));
                file.release(self.run);
                return Ok(());
            }
        };
        if self.run.stopped() {
            // Cut off by us: neither read to its end nor at fault.
            return Ok(());
        }
        // The shorter of two ways to ask.
        if size != before.size() || !rustix::fs::fstat(&source).is_ok_and(|now| same(&before, &now))
        {
            self.run.problem(path, Fault::Changed);
        }
        *file.node.lock().unwrap_or_else(PoisonError::into_inner) = Some(Node { size, ..node });
        file.release(self.run);
        Ok(())
    }
}

impl OpenFile {
    /// A place for a piece that will be stored; the file waits for it.
    fn begin_piece(&self) -> usize {
        self.open.fetch_add(1, Ordering::AcqRel);
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content.push(BlobRun { id: UNKNOWN, count: 1 });
        content.len() - 1
    }

    /// Pieces that are known: no place is kept for each.
    fn push_many(&self, id: Digest, count: u64) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        match content.last_mut() {
            Some(last) if last.id == id => last.count += count,
            _ => content.push(BlobRun { id, count }),
        }
    }

    fn set(&self, at: usize, id: Digest) {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = content.get_mut(at) {
            place.id = id;
        }
    }

    /// One piece, or the reader itself, is done with this file.
    fn release(&self, run: &Run<'_>) {
        if self.open.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let node = self.node.lock().unwrap_or_else(PoisonError::into_inner).take();
        let content =
            std::mem::take(&mut *self.content.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(node) = node {
            let content = Content::of(content);
            run.remember(&self.key, &content);
            add(counter(run, self.known), 1);
            self.directory.put_file(run, self.at, &node, content);
        } else {
            self.directory.put(run, self.at, None);
        }
    }
}

/// What counts a file that was read.
fn counter<'r>(run: &'r Run<'_>, known: bool) -> &'r AtomicU64 {
    if known { &run.counters.files_changed } else { &run.counters.files_new }
}

/// Opens without following a link, and without changing the access time where that is allowed.
pub(crate) fn open(path: &PathBuf) -> Result<File, Fault> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = match rustix::fs::open(path, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::open(path, flags, Mode::empty()),
        other => other,
    };
    match opened {
        Ok(file) => Ok(File::from(file)),
        Err(Errno::NOENT) => Err(Fault::Vanished),
        Err(Errno::LOOP | Errno::NXIO) => Err(Fault::Replaced),
        Err(error) => Err(Fault::Unreadable(error.into())),
    }
}

fn same(before: &Metadata, now: &Stat) -> bool {
    let size = u64::try_from(now.st_size).unwrap_or(u64::MAX);
    let nanoseconds = i64::try_from(now.st_mtime_nsec).unwrap_or_default();
    (before.size(), before.mtime(), before.mtime_nsec()) == (size, now.st_mtime, nanoseconds)
}

/// One file on its way into pieces.
struct Cutter<'a, 'run> {
    files: &'a Files<'a, 'run>,
    source: &'a File,
    file: &'a Arc<OpenFile>,
    /// What the file system says its length is.
    expected: u64,
    /// Whether there may be holes.
    sparse: bool,
    /// How far it is read.
    offset: u64,
    ended: bool,
}

impl<'a, 'run> Cutter<'a, 'run> {
    fn new(
        files: &'a Files<'a, 'run>,
        source: &'a File,
        stat: &Metadata,
        file: &'a Arc<OpenFile>,
    ) -> Self {
        let sparse = stat.blocks().saturating_mul(512) < stat.size();
        Self { files, source, file, expected: stat.size(), sparse, offset: 0, ended: false }
    }

    /// Sends the file's pieces off, in order. Answers how many bytes it had.
    fn cut(mut self) -> io::Result<u64> {
        let mut piece = self.files.pool.take();
        let outcome = self.pieces(&mut piece);
        self.files.pool.give_back(piece);
        outcome.map(|()| self.offset)
    }

    fn pieces(&mut self, piece: &mut Piece) -> io::Result<()> {
        while !self.files.run.stopped() {
            self.skip_hole(piece)?;
            self.fill(piece, chunker::MIN)?;
            if piece.is_empty() {
                break;
            }
            let end = self.find_end(piece)?;
            let mut rest = self.files.pool.take();
            piece.split(end, &mut rest);
            self.pass_on(std::mem::replace(piece, rest));
        }
        Ok(())
    }

    /// The length of the piece that begins with `piece`, which is read on as far as that takes.
    fn find_end(&mut self, piece: &mut Piece) -> io::Result<usize> {
        let mut from = chunker::MIN;
        loop {
            if let Some(end) = self.files.chunker.find(piece.bytes(), from) {
                return Ok(end);
            }
            from = piece.len();
            if from == chunker::MAX || self.ended {
                return Ok(from);
            }
            self.fill(piece, from + STEP)?;
        }
    }

    /// Reads until the piece has `length` bytes, or the file ends.
    fn fill(&mut self, piece: &mut Piece, length: usize) -> io::Result<()> {
        while !self.ended && piece.len() < length.min(chunker::MAX) {
            let room = piece.spare(length - piece.len(), self.files.pool);
            let count = match rustix::io::pread(self.source, room, self.offset) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            piece.filled(count);
            self.offset += count as u64;
            // A file that says it has no bytes may have some all the same, as those of /proc.
            self.ended = count == 0 || (self.offset == self.expected && self.expected > 0);
        }
        Ok(())
    }

    /// What lies in a hole is not read. A piece of zeros is cut at its least length, because a window
    /// of zeros has the hash zero.
    fn skip_hole(&mut self, piece: &mut Piece) -> io::Result<()> {
        if !self.sparse || self.ended {
            return Ok(());
        }
        let start = self.offset - piece.len() as u64;
        let data = match rustix::fs::seek(self.source, SeekFrom::Data(start)) {
            Ok(data) => data.min(self.expected),
            Err(Errno::NXIO) => self.expected,
            // Not known here.
            Err(_) => return Ok(()),
        };
        let whole = data.saturating_sub(start) / chunker::MIN as u64;
        if whole == 0 {
            return Ok(());
        }
        if self.zeros(whole) {
            piece.clear();
            self.offset = start + whole * chunker::MIN as u64;
            self.ended = self.offset == self.expected;
        }
        Ok(())
    }

    /// So many pieces of zeros come next. False when that failed.
    fn zeros(&self, count: u64) -> bool {
        match self.files.run.save_zeros() {
            Ok(id) => {
                self.file.push_many(id, count);
                self.files.run.done(count * chunker::MIN as u64);
                true
            }
            Err(error) => {
                self.files.run.fail(error);
                false
            }
        }
    }

    /// Zeros are told as such; what else there is becomes work.
    fn pass_on(&self, piece: Piece) {
        if run::is_zeros(piece.bytes()) {
            self.zeros(1);
            self.files.pool.give_back(piece);
        } else {
            self.send(piece);
        }
    }

    fn send(&self, piece: Piece) {
        let job = ChunkJob { file: Arc::clone(self.file), at: self.file.begin_piece(), piece };
        // The last piece of a small file stays here: handing it over costs more than storing it.
        let alone = self.ended && job.at == 0;
        let left = if alone { Err(job) } else { self.files.work.offer_chunk(job) };
        if let Err(job) = left {
            self.files.keep(job);
        }
    }
}
