//! What the threads of one backup share: writer, counters, problems, the stop sign, directories
//! under way.
//!
//! A directory knows how many of its entries are still being worked on. Whoever finishes the last
//! one encodes and stores its tree, and reports to the directory above: so no thread ever waits for
//! another, and trees are stored as soon as they can be.

use crate::error::{Fault, Problem};
use crate::meta::Owners;
use crate::{BackupEvent, BackupOptions, Error};
use model::Digest;
use repo::tree::{self, Node};
use repo::{BlobKind, Saved, Writer};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counters, in the words of a snapshot's summary. Bytes where they count bytes.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) files_new: AtomicU64,
    pub(crate) files_changed: AtomicU64,
    pub(crate) files_unmodified: AtomicU64,
    pub(crate) dirs_new: AtomicU64,
    pub(crate) dirs_changed: AtomicU64,
    pub(crate) dirs_unmodified: AtomicU64,
    pub(crate) data_blobs: AtomicU64,
    pub(crate) tree_blobs: AtomicU64,
    pub(crate) data_added: AtomicU64,
    pub(crate) data_added_packed: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// Shared by all threads of one backup.
pub(crate) struct Run<'a> {
    pub(crate) writer: &'a Writer,
    pub(crate) options: &'a BackupOptions<'a>,
    pub(crate) owners: Owners,
    pub(crate) counters: Counters,
    problems: Mutex<Vec<Problem>>,
    fatal: Mutex<Option<Error>>,
    stopped: AtomicBool,
    root: Mutex<Option<Digest>>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(writer: &'a Writer, options: &'a BackupOptions<'a>) -> Self {
        Self {
            writer,
            options,
            owners: Owners::default(),
            counters: Counters::default(),
            problems: Mutex::default(),
            fatal: Mutex::default(),
            stopped: AtomicBool::new(false),
            root: Mutex::default(),
        }
    }

    pub(crate) fn problem(&self, path: &Path, fault: Fault) {
        let problem = Problem { path: path.to_owned(), fault };
        (self.options.events)(BackupEvent::Problem(&problem));
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
    }

    /// Ends the run; the first reason is the one that is told.
    pub(crate) fn fail(&self, error: Error) {
        let mut fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner);
        // "An earlier write failed" says less than the earlier failure itself, whichever came first.
        let secondary = |error: &Error| matches!(error, Error::Repo(repo::Error::Earlier(_)));
        if fatal.as_ref().is_none_or(secondary) {
            *fatal = Some(error);
        }
        self.stopped.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stopped(&self) -> bool {
        if self.options.stop.load(Ordering::Relaxed) && !self.stopped.load(Ordering::Relaxed) {
            self.fail(Error::Interrupted);
        }
        self.stopped.load(Ordering::Relaxed)
    }

    /// The root tree and the problems, or why there is none.
    pub(crate) fn end(self) -> Result<(Digest, Vec<Problem>, Counters), Error> {
        if let Some(error) = self.fatal.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let root = self.root.into_inner().unwrap_or_else(PoisonError::into_inner);
        let problems = self.problems.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((root.ok_or(Error::Nothing)?, problems, self.counters))
    }

    /// Hashes and stores one piece of a file.
    pub(crate) fn save_data(&self, plain: &[u8]) -> Result<Digest, Error> {
        let id = Digest(Sha256::digest(plain).into());
        if let Saved::Added { stored } = self.writer.save(BlobKind::Data, id, plain)? {
            add(&self.counters.data_blobs, 1);
            add(&self.counters.data_added, plain.len() as u64);
            add(&self.counters.data_added_packed, stored);
        }
        add(&self.counters.bytes, plain.len() as u64);
        (self.options.events)(BackupEvent::Bytes(plain.len() as u64));
        Ok(id)
    }

    fn save_tree(&self, nodes: &[Node]) -> Result<Digest, Error> {
        let text = tree::encode(nodes);
        let id = Digest(Sha256::digest(&text).into());
        if let Saved::Added { stored } = self.writer.save(BlobKind::Tree, id, &text)? {
            add(&self.counters.tree_blobs, 1);
            add(&self.counters.data_added, text.len() as u64);
            add(&self.counters.data_added_packed, stored);
        }
        Ok(id)
    }
}

/// A directory whose entries are being worked on.
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    /// Its own node, until it is given to the directory above; none for the root.
    node: Mutex<Option<Node>>,
    /// The tree it had in the parent snapshot.
    former: Option<Digest>,
    entries: Mutex<Vec<Option<Node>>>,
    open: AtomicUsize,
    above: Option<(Arc<Directory>, usize)>,
}

impl Directory {
    /// A directory of `entries` entries. It is not finished before [`Directory::release`].
    pub(crate) fn new(
        path: PathBuf,
        node: Option<Node>,
        former: Option<Digest>,
        entries: usize,
        above: Option<(Arc<Directory>, usize)>,
    ) -> Arc<Self> {
        Arc::new(Self {
            path,
            node: Mutex::new(node),
            former,
            entries: Mutex::new((0..entries).map(|_| None).collect()),
            open: AtomicUsize::new(entries + 1),
            above,
        })
    }

    /// Puts an entry at its place, or leaves the place out when there is none.
    pub(crate) fn put(self: &Arc<Self>, run: &Run<'_>, at: usize, entry: Option<Node>) {
        if let Some(slot) = self.entries.lock().unwrap_or_else(PoisonError::into_inner).get_mut(at)
        {
            *slot = entry;
        }
        self.release(run);
    }

    /// One entry, or the walker itself, is done with this directory.
    pub(crate) fn release(self: &Arc<Self>, run: &Run<'_>) {
        let mut directory = Arc::clone(self);
        // A loop, not a recursion: the last file of a deep tree finishes every directory above it.
        while directory.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            if run.stopped() {
                return;
            }
            let Some(node) = directory.finish(run) else { return };
            let Some((above, at)) = directory.above.clone() else { return };
            let mut entries = above.entries.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(slot) = entries.get_mut(at) {
                *slot = Some(node);
            }
            drop(entries);
            directory = above;
        }
    }

    /// Stores the tree. Answers the node for the directory above; none for the root, or on failure.
    fn finish(&self, run: &Run<'_>) -> Option<Node> {
        let entries =
            std::mem::take(&mut *self.entries.lock().unwrap_or_else(PoisonError::into_inner));
        let nodes: Vec<Node> = entries.into_iter().flatten().collect();
        let tree = match run.save_tree(&nodes) {
            Ok(tree) => tree,
            Err(error) => {
                run.fail(error);
                return None;
            }
        };
        let counter = match self.former {
            None => &run.counters.dirs_new,
            Some(former) if former == tree => &run.counters.dirs_unmodified,
            Some(_) => &run.counters.dirs_changed,
        };
        let node = self.node.lock().unwrap_or_else(PoisonError::into_inner).take();
        if node.is_none() {
            *run.root.lock().unwrap_or_else(PoisonError::into_inner) = Some(tree);
        } else {
            add(counter, 1);
        }
        node.map(|node| Node { subtree: Some(tree), ..node })
    }
}
