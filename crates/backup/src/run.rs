//! What the workers of one backup share: writer, counters, problems, the stop sign, directories
//! under way.
//!
//! A directory knows how many of its entries are still being worked on. Whoever finishes the last
//! one encodes and stores its tree, and reports to the directory above: so no thread ever waits for
//! another, and trees are stored as soon as they can be.

use crate::chunker;
use crate::error::{Fault, Problem};
use crate::journal::{Journal, Key};
use crate::meta::Owners;
use crate::{BackupEvent, BackupOptions, Error, View};
use model::Digest;
use repo::tree::{self, Node};
use repo::{BlobKind, Content, Entry, Saved, Writer};
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
    /// Of them, those of pieces that were stored by this run.
    pub(crate) bytes_new: AtomicU64,
}

/// A tree's text of more bytes than this is not in memory as a whole.
const WHOLE: u64 = 8 << 20;

/// Whether a piece is what holes are cut into. Images are full of them, and knowing them costs a
/// twentieth of hashing them.
pub(crate) fn is_zeros(plain: &[u8]) -> bool {
    plain.len() == chunker::MIN && plain.iter().all(|byte| *byte == 0)
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
    /// A former tree proved damaged. What was below it was not looked at, and may be, too.
    suspicious: AtomicBool,
    root: Mutex<Option<Digest>>,
    /// The name of a piece of zeros, once one was stored.
    zeros: Mutex<Option<Digest>>,
    journal: Option<Journal>,
    journal_ended: AtomicBool,
}

/// What all workers together made.
pub(crate) struct Done {
    pub(crate) tree: Digest,
    pub(crate) problems: Vec<Problem>,
    pub(crate) counters: Counters,
    pub(crate) journal: Option<Journal>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        writer: &'a Writer,
        options: &'a BackupOptions<'a>,
        journal: Option<Journal>,
    ) -> Self {
        Self {
            writer,
            options,
            owners: Owners::default(),
            counters: Counters::default(),
            problems: Mutex::default(),
            fatal: Mutex::default(),
            stopped: AtomicBool::new(false),
            suspicious: AtomicBool::new(false),
            root: Mutex::default(),
            zeros: Mutex::default(),
            journal,
            journal_ended: AtomicBool::new(false),
        }
    }

    pub(crate) fn problem(&self, path: &Path, fault: Fault) {
        let problem = Problem { path: path.to_owned(), fault };
        (self.options.events)(BackupEvent::Problem(&problem));
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
    }

    /// A directory had to be read as it is.
    pub(crate) fn not_held(&self, path: &Path) {
        if self.options.view.is_strict() {
            self.problem(path, Fault::NotHeld);
        } else {
            (self.options.events)(BackupEvent::NotHeld { path });
        }
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

    /// The content of a file that an interrupted run has read, if all of it is indexed by now.
    pub(crate) fn remembered(&self, key: &Key) -> Option<Content> {
        let content = self.journal.as_ref()?.find(key)?;
        self.has_all(&content).then_some(content)
    }

    pub(crate) fn has_all(&self, content: &Content) -> bool {
        let runs = content.runs();
        self.writer.with_index(|index| runs.iter().all(|run| index.has(BlobKind::Data, &run.id)))
    }

    /// Notes that a file was read, for a run that continues this one.
    pub(crate) fn remember(&self, key: &Key, content: &Content) {
        let Some(journal) = &self.journal else { return };
        if let Err(error) = journal.add(key, content)
            && !self.journal_ended.swap(true, Ordering::Relaxed)
        {
            (self.options.events)(BackupEvent::NoJournal(&error));
        }
    }

    /// The root tree and the problems, or why there is none.
    pub(crate) fn end(self) -> Result<Done, Error> {
        if let Some(error) = self.fatal.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let root = self.root.into_inner().unwrap_or_else(PoisonError::into_inner);
        let problems = self.problems.into_inner().unwrap_or_else(PoisonError::into_inner);
        let tree = root.ok_or(Error::Nothing)?;
        Ok(Done { tree, problems, counters: self.counters, journal: self.journal })
    }

    /// Hashes and stores one piece of a file.
    fn save_data(&self, plain: &[u8]) -> Result<Digest, Error> {
        let mut nothing = sha256::Hasher::default();
        let id = Digest(sha256::hash(plain));
        self.save_named(id, plain, &mut sha256::Aside::of(&[], &mut nothing))
    }

    /// Stores one piece of a file. Of `aside`, as much is hashed as that leaves room for.
    pub(crate) fn save_named(
        &self,
        id: Digest,
        plain: &[u8],
        aside: &mut sha256::Aside<'_>,
    ) -> Result<Digest, Error> {
        if let Saved::Added { stored } =
            self.writer.save_beside(BlobKind::Data, id, plain, aside)?
        {
            add(&self.counters.data_blobs, 1);
            add(&self.counters.bytes_new, plain.len() as u64);
            add(&self.counters.data_added, plain.len() as u64);
            add(&self.counters.data_added_packed, stored);
        }
        Ok(id)
    }

    /// The name of a piece of zeros of the least length, which is stored.
    pub(crate) fn save_zeros(&self) -> Result<Digest, Error> {
        let mut zeros = self.zeros.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = *zeros {
            return Ok(id);
        }
        let id = self.save_data(&vec![0; chunker::MIN])?;
        *zeros = Some(id);
        Ok(id)
    }

    /// From now on, no tree that the repository claims to have is relied on unread.
    pub(crate) fn suspect_trees(&self) {
        self.suspicious.store(true, Ordering::Relaxed);
    }

    /// A short tree is made as a whole, a long one twice: to be hashed, and to be stored if it is new.
    fn save_tree(&self, path: &Path, entries: &[Entry]) -> Result<Digest, Error> {
        let length = repo::tree_length(entries);
        let (id, saved) = if length <= WHOLE {
            let mut text = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
            repo::write_tree(entries, &mut |part| text.extend_from_slice(part));
            let id = Digest(Sha256::digest(&text).into());
            self.verify_if_suspect(path, &id);
            (id, self.writer.save(BlobKind::Tree, id, &text)?)
        } else {
            let mut hasher = Sha256::new();
            repo::write_tree(entries, &mut |part| hasher.update(part));
            let id = Digest(hasher.finalize().into());
            self.verify_if_suspect(path, &id);
            let write = |give: &mut dyn FnMut(&[u8])| repo::write_tree(entries, give);
            (id, self.writer.save_stream(BlobKind::Tree, id, length, &write)?)
        };
        if let Saved::Added { stored } = saved {
            add(&self.counters.tree_blobs, 1);
            add(&self.counters.data_added, length);
            add(&self.counters.data_added_packed, stored);
        }
        Ok(id)
    }

    fn verify_if_suspect(&self, path: &Path, id: &Digest) {
        if self.suspicious.load(Ordering::Relaxed)
            && let Err(error) = self.writer.verify(BlobKind::Tree, id)
        {
            self.problem(path, Fault::ParentTree(error));
        }
    }

    /// So many files are as they were.
    pub(crate) fn unmodified(&self, bytes: u64) {
        add(&self.counters.files_unmodified, 1);
        (self.options.events)(BackupEvent::Unmodified);
        self.done(bytes);
    }

    /// So many more bytes of files are done.
    pub(crate) fn done(&self, bytes: u64) {
        add(&self.counters.bytes, bytes);
        (self.options.events)(BackupEvent::Bytes(bytes));
    }
}

/// A directory whose entries are being worked on.
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    /// Where it is read from, if that is not its path.
    pub(crate) from: Option<PathBuf>,
    /// Its own node, until it is given to the directory above; none for the root.
    node: Mutex<Option<Node>>,
    /// The tree it had in the parent snapshot.
    former: Option<Digest>,
    /// The text of each entry that is finished: what is left of a node takes a third of its room.
    entries: Mutex<Vec<Option<Entry>>>,
    open: AtomicUsize,
    above: Option<(Arc<Directory>, usize)>,
}

impl Directory {
    /// A directory of `entries` entries. It is not finished before [`Directory::release`].
    pub(crate) fn new(
        (path, from): (PathBuf, Option<PathBuf>),
        node: Option<Node>,
        former: Option<Digest>,
        entries: usize,
        above: Option<(Arc<Directory>, usize)>,
    ) -> Arc<Self> {
        Arc::new(Self {
            path,
            from,
            node: Mutex::new(node),
            former,
            entries: Mutex::new((0..entries).map(|_| None).collect()),
            open: AtomicUsize::new(entries + 1),
            above,
        })
    }

    /// Where an entry with that path is read from, if that is another.
    pub(crate) fn from(&self, view: &View, path: &Path) -> Option<PathBuf> {
        view.of(path, self.from.as_deref())
    }

    /// Puts an entry at its place, or leaves the place out when there is none.
    pub(crate) fn put(self: &Arc<Self>, run: &Run<'_>, at: usize, entry: Option<&Node>) {
        if let Some(node) = entry {
            self.set(at, text(node));
        }
        self.release(run);
    }

    /// As [`put`](Self::put), for a file of these pieces.
    pub(crate) fn put_file(
        self: &Arc<Self>,
        run: &Run<'_>,
        at: usize,
        node: &Node,
        content: Content,
    ) {
        self.put_entry(run, at, tree::encode_file(node, content));
    }

    /// As [`put`](Self::put), for an entry that keeps its text.
    pub(crate) fn put_entry(self: &Arc<Self>, run: &Run<'_>, at: usize, entry: Entry) {
        self.set(at, entry);
        self.release(run);
    }

    fn set(&self, at: usize, entry: Entry) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = entries.get_mut(at) {
            *slot = Some(entry);
        }
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
            above.set(at, text(&node));
            directory = above;
        }
    }

    /// Stores the tree. Answers the node for the directory above; none for the root, or on failure.
    fn finish(&self, run: &Run<'_>) -> Option<Node> {
        let entries =
            std::mem::take(&mut *self.entries.lock().unwrap_or_else(PoisonError::into_inner));
        let entries: Vec<Entry> = entries.into_iter().flatten().collect();
        let tree = match run.save_tree(&self.path, &entries) {
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

fn text(node: &Node) -> Entry {
    let mut text = Vec::with_capacity(512);
    tree::encode_node(node, &mut text);
    Entry::text(text)
}
