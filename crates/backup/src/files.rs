//! Files: read and cut by the reading threads, hashed and stored by the saving ones.
//!
//! Readers never wait for a file to be stored, only for room in the queue, which holds a few
//! chunks: that is the bound on memory, whatever a file's size.

use crate::chunker::{self, Chunker};
use crate::error::Fault;
use crate::meta;
use crate::run::{Directory, Run, add};
use crossbeam_channel::{Receiver, Sender};
use model::Digest;
use repo::tree::{Node, NodeKind};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A file to read.
pub(crate) struct FileJob {
    pub(crate) path: PathBuf,
    pub(crate) name: Vec<u8>,
    pub(crate) known: bool,
    pub(crate) directory: Arc<Directory>,
    pub(crate) at: usize,
}

/// One piece of a file.
pub(crate) struct ChunkJob {
    file: Arc<OpenFile>,
    at: usize,
    bytes: Vec<u8>,
}

/// A file of which pieces are being stored.
struct OpenFile {
    node: Mutex<Option<Node>>,
    content: Mutex<Vec<Digest>>,
    open: AtomicUsize,
    known: bool,
    directory: Arc<Directory>,
    at: usize,
}

/// What a reader holds of a file: several times the largest chunk, so that little is moved in it.
const BUFFER: usize = 4 * chunker::MAX;

/// Reads files until there are no more.
pub(crate) fn read_files(
    run: &Run<'_>,
    chunker: &Chunker,
    jobs: &Receiver<FileJob>,
    chunks: &Sender<ChunkJob>,
) {
    let mut buffer = Vec::new();
    for job in jobs {
        if run.stopped() {
            continue;
        }
        let (directory, at) = (Arc::clone(&job.directory), job.at);
        if let Err((path, fault)) = read_file(run, chunker, job, &mut buffer, chunks) {
            run.problem(&path, fault);
            directory.put(run, at, None);
        }
    }
}

/// Stores pieces until there are no more.
pub(crate) fn save_chunks(run: &Run<'_>, chunks: &Receiver<ChunkJob>) {
    for chunk in chunks {
        if run.stopped() {
            continue;
        }
        match run.save_data(&chunk.bytes) {
            Ok(id) => {
                let mut content = chunk.file.content.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(slot) = content.get_mut(chunk.at) {
                    *slot = id;
                }
                drop(content);
                chunk.file.release(run);
            }
            Err(error) => run.fail(error),
        }
    }
}

impl OpenFile {
    /// One piece, or the reader itself, is done with this file.
    fn release(&self, run: &Run<'_>) {
        if self.open.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let node = self.node.lock().unwrap_or_else(PoisonError::into_inner).take();
        let content =
            std::mem::take(&mut *self.content.lock().unwrap_or_else(PoisonError::into_inner));
        let counter =
            if self.known { &run.counters.files_changed } else { &run.counters.files_new };
        if let Some(node) = node {
            add(counter, 1);
            self.directory.put(run, self.at, Some(Node { content: Some(content), ..node }));
        } else {
            self.directory.put(run, self.at, None);
        }
    }
}

/// Opens without following a link, and without changing the access time where that is allowed.
fn open(path: &std::path::Path) -> Result<File, Fault> {
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

fn read_file(
    run: &Run<'_>,
    chunker: &Chunker,
    job: FileJob,
    buffer: &mut Vec<u8>,
    chunks: &Sender<ChunkJob>,
) -> Result<(), (PathBuf, Fault)> {
    let FileJob { path, name, known, directory, at } = job;
    let mut source = match open(&path) {
        Ok(source) => source,
        Err(fault) => return Err((path, fault)),
    };
    let before = match source.metadata() {
        Ok(stat) => stat,
        Err(error) => return Err((path, Fault::Unreadable(error))),
    };
    let (node, fault) = meta::node(&name, &path, &before, &run.owners, run.options.with_atime);
    if node.kind != NodeKind::File {
        return Err((path, Fault::Replaced));
    }
    if let Some(error) = fault {
        run.problem(&path, Fault::Attributes(error));
    }
    let file = Arc::new(OpenFile {
        node: Mutex::new(None),
        content: Mutex::default(),
        open: AtomicUsize::new(1),
        known,
        directory,
        at,
    });
    let size = match cut(run, chunker, &mut source, buffer, &file, chunks) {
        Ok(size) => size,
        // Pieces under way belong to no node: the file is left out, and named.
        Err(error) => {
            run.problem(&path, Fault::Unreadable(error));
            file.release(run);
            return Ok(());
        }
    };
    if run.stopped() {
        // Cut off by us: neither read to its end nor at fault.
        return Ok(());
    }
    if !source.metadata().is_ok_and(|after| same(&before, &after)) || size != before.size() {
        run.problem(&path, Fault::Changed);
    }
    *file.node.lock().unwrap_or_else(PoisonError::into_inner) = Some(Node { size, ..node });
    file.release(run);
    Ok(())
}

fn same(before: &Metadata, after: &Metadata) -> bool {
    let state = |stat: &Metadata| (stat.size(), stat.mtime(), stat.mtime_nsec());
    state(before) == state(after)
}

/// Sends the file's chunks off, in order. Answers how many bytes it had.
fn cut(
    run: &Run<'_>,
    chunker: &Chunker,
    source: &mut File,
    buffer: &mut Vec<u8>,
    file: &Arc<OpenFile>,
    chunks: &Sender<ChunkJob>,
) -> io::Result<u64> {
    buffer.clear();
    let (mut start, mut size, mut ended) = (0, 0, false);
    while !run.stopped() {
        if !ended && buffer.len() - start < chunker::MAX {
            buffer.drain(..start);
            start = 0;
            let room = BUFFER - buffer.len();
            ended = source.take(room as u64).read_to_end(buffer)? < room;
        }
        let rest = buffer.get(start..).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        let bytes = rest.get(..chunker.cut(rest)).unwrap_or(rest).to_vec();
        start += bytes.len();
        size += bytes.len() as u64;
        send(file, bytes, chunks);
    }
    Ok(size)
}

fn send(file: &Arc<OpenFile>, bytes: Vec<u8>, chunks: &Sender<ChunkJob>) {
    let mut content = file.content.lock().unwrap_or_else(PoisonError::into_inner);
    let at = content.len();
    content.push(Digest([0; 32]));
    drop(content);
    file.open.fetch_add(1, Ordering::AcqRel);
    // The savers outlive the readers; were they gone, the run has failed already.
    let _ = chunks.send(ChunkJob { file: Arc::clone(file), at, bytes });
}
