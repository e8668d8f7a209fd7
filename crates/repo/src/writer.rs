//! Blobs into packs, packs into the store, packs into indexes: in this order, always.
//!
//! Callers compress and encrypt in their own threads; full packs go to threads that
//! store them. A blob counts as indexed only when its pack is durable; an index is
//! written only over durable packs, and only while the lock holds: without it, others may have
//! removed packs that no index names yet. A few packs a kind are being filled, and a blob
//! goes to one of them at random, so that a pack's size does not betray a file's. Whoever adds a blob encrypts it into the pack,
//! opens it there, and hashes the pack beside it: meanwhile the pack is theirs. Indexes have a thread of their own, so that packs
//! need not wait for them.
//!
//! Memory: for each kind at most as many packs as are open and being stored; those of trees are rarely full. Two indexes.

use crate::blob::{Compression, Parts, SealedBlob, Sealer};
use crate::buffers::Buffers;
use crate::index::{BlobKind, Index, IndexFile, IndexedPack, PackSummary};
use crate::lock::{Held, LockGuard};
use crate::pack::{FinishedPack, OpenPack};
use crate::{Error, Repository};
use crossbeam_channel::{Receiver, Sender, bounded};
use model::{Digest, ObjectKey, ObjectKind};
use std::collections::{HashMap, HashSet};
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

/// How many packs of a kind are being filled: one for each thread that saves, up to a bound.
const OPEN_PACKS: RangeInclusive<usize> = 2..=4;
/// What a pack's buffer has beyond the pack's size: its header, unless its blobs are very many.
const HEADER_ROOM: usize = 256 << 10;
/// The most entries of an index file, but for the last pack's, so that it stays below restic's 8 MiB.
pub(crate) const INDEX_BLOBS: usize = 50_000;
/// Entries that are not written by now.
const UNWRITTEN_BLOBS: usize = INDEX_BLOBS / 2;
/// What is written while the last packs are stored, at least, and not after them: a file more.
const EARLY_BLOBS: usize = INDEX_BLOBS / 10;

/// How the writer works.
#[derive(Debug, Clone, Copy)]
pub struct WriterOptions {
    /// A pack is closed before it has more bytes than this. restic allows 4 to 128 MiB.
    pub pack_size: usize,
    /// How hard blobs are compressed.
    pub compression: Compression,
}

impl Default for WriterOptions {
    /// 16 MiB and [`Compression::Auto`], as restic has it.
    fn default() -> Self {
        Self { pack_size: 16 << 20, compression: Compression::Auto }
    }
}

/// What became of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The repository has it already, or another caller is storing it.
    Known,
    /// It was added with this many stored bytes.
    Added {
        /// Encrypted and compressed length.
        stored: u64,
    },
}

/// Stores blobs. Shared between threads; ended by [`finish`](Writer::finish).
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    queue: Option<Sender<FinishedPack>>,
    uploaders: Vec<JoinHandle<()>>,
    indexes: Option<Sender<Vec<IndexedPack>>>,
    indexer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    repository: Repository,
    options: WriterOptions,
    index: RwLock<Index>,
    /// Blobs on their way: claimed by a caller, not yet indexed.
    claimed: [Mutex<HashSet<Digest>>; 2],
    open: [Vec<Mutex<OpenPack>>; 2],
    buffers: [Buffers; 2],
    /// Not in use right now; as many are made as callers save at once.
    sealers: Mutex<Vec<Sealer>>,
    unwritten: Mutex<Vec<IndexedPack>>,
    failure: Mutex<Failure>,
    stored_bytes: AtomicU64,
    lock: Arc<Held>,
}

/// The first failure: the error itself for one caller, its words for all others.
#[derive(Debug, Default)]
struct Failure {
    words: Option<String>,
    error: Option<Error>,
}

fn slot<T>(pair: &[T; 2], kind: BlobKind) -> &T {
    let [data, tree] = pair;
    match kind {
        BlobKind::Data => data,
        BlobKind::Tree => tree,
    }
}

impl Writer {
    /// A writer into the locked repository that knows what `index` knows.
    ///
    /// # Errors
    /// [`Error::ReadOnlyFormat`].
    pub fn new(lock: &LockGuard, index: Index, options: WriterOptions) -> Result<Self, Error> {
        let repository = lock.repository();
        repository.refuse_old_format()?;
        let at_once = repository.store().puts_at_once().max(1);
        // Being filled, and being stored: whoever fills one meanwhile waits, as storing is faster.
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let packs = threads.clamp(*OPEN_PACKS.start(), *OPEN_PACKS.end());
        let count = packs + at_once;
        let buffers = || Buffers::new(count, options.pack_size + HEADER_ROOM);
        let open = || (0..packs).map(|_| Mutex::default()).collect();
        let shared = Arc::new(Shared {
            repository: repository.clone(),
            options,
            index: RwLock::new(index),
            claimed: Default::default(),
            open: [open(), open()],
            buffers: [buffers(), buffers()],
            sealers: Mutex::default(),
            unwritten: Mutex::default(),
            failure: Mutex::default(),
            stored_bytes: AtomicU64::new(0),
            lock: lock.held(),
        });
        // Nothing waits in between: a pack that waits is one more in memory.
        let (queue, packs) = bounded::<FinishedPack>(0);
        let (indexes, stored) = bounded::<Vec<IndexedPack>>(0);
        let uploaders = (0..at_once)
            .map(|_| {
                let (shared, packs) = (Arc::clone(&shared), packs.clone());
                let indexes = indexes.clone();
                std::thread::spawn(move || shared.upload(&packs, &indexes))
            })
            .collect();
        let indexing = Arc::clone(&shared);
        let indexer = Some(std::thread::spawn(move || indexing.index_all(&stored)));
        Ok(Self { shared, queue: Some(queue), uploaders, indexes: Some(indexes), indexer })
    }

    /// Forgets where a blob is, because it could not be read there: saved again, it is stored again.
    pub fn distrust(&self, kind: BlobKind, id: &Digest) {
        self.shared.index.write().unwrap_or_else(PoisonError::into_inner).distrust(kind, id);
    }

    /// Reads a blob, where it is known, and forgets where it is when it cannot be had there.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn verify(&self, kind: BlobKind, id: &Digest) -> Result<(), Error> {
        let copies: Vec<_> = self.with_index(|index| index.copies(kind, id).collect());
        if copies.is_empty() {
            return Ok(());
        }
        let read = self.shared.repository.read_condensed(id, copies).map(drop);
        read.inspect_err(|_| self.distrust(kind, id))
    }

    /// The index, with everything that is durable by now.
    pub fn with_index<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.shared.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Bytes of packs stored so far.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.shared.stored_bytes.load(Ordering::Relaxed)
    }

    /// Stores one blob, unless it is known. `id` is the SHA-256 of `plain`.
    ///
    /// # Errors
    /// The first failure of any blob or pack; after it everything fails, and nothing more counts.
    pub fn save(&self, kind: BlobKind, id: Digest, plain: &[u8]) -> Result<Saved, Error> {
        let mut nothing = sha256::Hasher::default();
        self.save_beside(kind, id, plain, &mut sha256::Aside::of(&[], &mut nothing))
    }

    /// As [`save`](Self::save). While it is hashed what was stored, as much of `aside` is hashed as that leaves room for.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_beside(
        &self,
        kind: BlobKind,
        id: Digest,
        plain: &[u8],
        aside: &mut sha256::Aside<'_>,
    ) -> Result<Saved, Error> {
        self.save_by(kind, id, |sealer| {
            let blob = match kind {
                BlobKind::Data => sealer.ready(id, plain)?,
                BlobKind::Tree => sealer.ready_tree(id, plain)?,
            };
            let (random, length) = (blob.random(), blob.length());
            self.append(kind, random, length, |pack| pack.seal(kind, blob, aside))
        })
    }

    /// Stores a blob as it is stored elsewhere in this repository, unless it is known. The caller has opened it.
    pub(crate) fn save_sealed(
        &self,
        kind: BlobKind,
        id: Digest,
        blob: &SealedBlob<'_>,
    ) -> Result<Saved, Error> {
        self.shared.fail_if_failed()?;
        if !self.shared.claim(kind, id) {
            return Ok(Saved::Known);
        }
        self.append_proven(kind, id, blob).inspect_err(|error| self.shared.fail_told(error))
    }

    /// As [`save`](Self::save), for a blob of `length` bytes that is better not in memory: `write`
    /// gives its parts in order, and is only asked to if the blob is not known.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_stream(
        &self,
        kind: BlobKind,
        id: Digest,
        length: u64,
        write: Parts<'_>,
    ) -> Result<Saved, Error> {
        self.save_by(kind, id, |sealer| {
            let (bytes, length) = sealer.seal_stream(id, length, write)?;
            self.append_proven(kind, id, &SealedBlob { bytes: &bytes, plain_length: Some(length) })
        })
    }

    fn save_by(
        &self,
        kind: BlobKind,
        id: Digest,
        store: impl FnOnce(&mut Sealer) -> Result<Saved, Error>,
    ) -> Result<Saved, Error> {
        self.shared.fail_if_failed()?;
        if !self.shared.claim(kind, id) {
            return Ok(Saved::Known);
        }
        let stored = self.shared.sealer().and_then(|mut sealer| {
            let saved = store(&mut sealer)?;
            self.shared.sealers.lock().unwrap_or_else(PoisonError::into_inner).push(sealer);
            Ok(saved)
        });
        // Whoever was told "known" meanwhile relies on this one: its failure is everybody's.
        stored.inspect_err(|error| self.shared.fail_told(error))
    }

    fn append_proven(
        &self,
        kind: BlobKind,
        id: Digest,
        blob: &SealedBlob<'_>,
    ) -> Result<Saved, Error> {
        // The end of its MAC is as good as a random byte, and tells nothing about its neighbours.
        let random = blob.bytes.last().copied().unwrap_or(0);
        self.append(kind, random, blob.bytes.len(), |pack| pack.append(kind, id, blob))
    }

    /// `add` adds a blob of so many bytes to the pack it is given.
    fn append(
        &self,
        kind: BlobKind,
        random: u8,
        length: usize,
        add: impl FnOnce(&mut OpenPack) -> Result<(), Error>,
    ) -> Result<Saved, Error> {
        if let Some(full) = self.shared.append(kind, random, length, add)? {
            self.send(full)?;
        }
        Ok(Saved::Added { stored: length as u64 })
    }

    fn send(&self, pack: OpenPack) -> Result<(), Error> {
        let finished = pack.finish(self.shared.repository.key())?;
        let queue = self.queue.as_ref().ok_or(Error::WriterGone)?;
        queue.send(finished).map_err(|_| Error::WriterGone)
    }

    /// Stores what is still open, waits for every pack, writes the indexes. Answers the index.
    ///
    /// # Errors
    /// The first failure of any pack or index. What was durable before stays, and is found again
    /// by [`Repository::adopt_packs`].
    pub fn finish(mut self) -> Result<Index, Error> {
        if let (Some(early), Some(indexes)) =
            (self.shared.take_unwritten(EARLY_BLOBS), &self.indexes)
        {
            indexes.send(early).map_err(|_| Error::WriterGone)?;
        }
        for kind in [BlobKind::Data, BlobKind::Tree] {
            for pack in self.shared.take_open(kind)? {
                self.send(pack)?;
            }
        }
        self.stop()?;
        self.shared.fail_if_failed()?;
        self.shared.write_index(self.shared.take_unwritten(0).unwrap_or_default())?;
        let mut index = self.shared.index.write().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *index))
    }

    fn stop(&mut self) -> Result<(), Error> {
        drop(self.queue.take());
        let mut ended = Ok(());
        for uploader in self.uploaders.drain(..) {
            ended = ended.and(uploader.join().map_err(|_| Error::WriterGone));
        }
        drop(self.indexes.take());
        let indexed = self.indexer.take().map_or(Ok(()), JoinHandle::join);
        ended.and(indexed.map_err(|_| Error::WriterGone))
    }
}

impl Drop for Writer {
    /// Given up half-way: the packs under way end, and what is durable stays for the next run.
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

impl Shared {
    fn fail_if_failed(&self) -> Result<(), Error> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match (failure.error.take(), &failure.words) {
            (Some(error), _) => Err(error),
            (None, Some(words)) => Err(Error::Earlier(words.clone())),
            (None, None) => Ok(()),
        }
    }

    fn fail(&self, error: Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if failure.words.is_none() {
            *failure = Failure { words: Some(error.to_string()), error: Some(error) };
        }
        self.let_all_go();
    }

    /// As [`fail`](Self::fail), where the caller has the error itself.
    fn fail_told(&self, error: &Error) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.words.get_or_insert_with(|| error.to_string());
        self.let_all_go();
    }

    /// After a failure nothing counts: whoever waits for a buffer, which may be lost, must go on and
    /// hear of it.
    fn let_all_go(&self) {
        self.buffers.iter().for_each(Buffers::close);
    }

    fn failed(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).words.is_some()
    }

    /// True for exactly one caller of each blob that is not in the index.
    fn claim(&self, kind: BlobKind, id: Digest) -> bool {
        // The claim is held while the index is asked: a pack is indexed before its claims go.
        let mut claimed = slot(&self.claimed, kind).lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.index.read().unwrap_or_else(PoisonError::into_inner).has(kind, &id);
        !known && claimed.insert(id)
    }

    /// One that nobody uses, for one blob.
    fn sealer(&self) -> Result<Sealer, Error> {
        let idle = self.sealers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| Sealer::new(self.repository.key(), self.options.compression), Ok)
    }

    /// Adds to one of the open packs. Answers the pack that had to make room for it: no pack is longer
    /// than its size, unless one blob alone is.
    fn append(
        &self,
        kind: BlobKind,
        random: u8,
        length: usize,
        add: impl FnOnce(&mut OpenPack) -> Result<(), Error>,
    ) -> Result<Option<OpenPack>, Error> {
        let mut pack = self.open_pack(kind, usize::from(random)).ok_or(Error::WriterGone)?;
        let pack = &mut *pack;
        let over = pack.length() + length > self.options.pack_size || pack.header_full();
        let full = (over && !pack.is_empty()).then(|| std::mem::take(pack));
        if pack.is_empty() {
            *pack = OpenPack::within(slot(&self.buffers, kind).take());
        }
        if let Err(error) = add(pack) {
            // Part of a blob may be in it, and its list names all of it: nobody may add to that, or store it.
            *pack = OpenPack::default();
            return Err(error);
        }
        Ok(full)
    }

    /// The pack that `choice` falls on, or the next one that nobody is adding to.
    fn open_pack(&self, kind: BlobKind, choice: usize) -> Option<MutexGuard<'_, OpenPack>> {
        let packs = slot(&self.open, kind);
        let first = choice % packs.len();
        let idle =
            (first..packs.len()).chain(0..first).find_map(|at| packs.get(at)?.try_lock().ok());
        idle.or_else(|| Some(packs.get(first)?.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The packs that are not full, made one where they fit into one: a small one would betray its blob's size.
    fn take_open(&self, kind: BlobKind) -> Result<Vec<OpenPack>, Error> {
        let mut packs: Vec<OpenPack> = Vec::new();
        for pack in slot(&self.open, kind) {
            let pack = std::mem::take(&mut *pack.lock().unwrap_or_else(PoisonError::into_inner));
            if pack.is_empty() {
                continue;
            }
            match packs.last_mut() {
                Some(last) if last.has_room_for(&pack, self.options.pack_size) => {
                    last.absorb(&pack)?;
                    slot(&self.buffers, kind).give_back(pack.into_buffer());
                }
                _ => packs.push(pack),
            }
        }
        Ok(packs)
    }

    fn upload(&self, packs: &Receiver<FinishedPack>, indexes: &Sender<Vec<IndexedPack>>) {
        let _end = Uploading(self);
        for pack in packs {
            // After a failure packs still come, and their buffers must go back: somebody waits for them.
            if !self.failed()
                && let Err(failure) = self.store_pack(&pack, indexes)
            {
                self.fail(failure);
            }
            let kind = pack.blobs.first().map_or(BlobKind::Data, |blob| blob.kind);
            slot(&self.buffers, kind).give_back(pack.into_buffer());
        }
    }

    /// Writes the indexes it is given. Whatever ends it, nobody waits for it.
    fn index_all(&self, indexes: &Receiver<Vec<IndexedPack>>) {
        for packs in indexes {
            if !self.failed()
                && let Err(failure) = self.write_index(packs)
            {
                self.fail(failure);
            }
        }
    }

    fn store_pack(
        &self,
        pack: &FinishedPack,
        indexes: &Sender<Vec<IndexedPack>>,
    ) -> Result<(), Error> {
        self.lock.settled()?;
        let kind = pack.blobs.first().map_or(BlobKind::Data, |blob| blob.kind);
        self.repository.store_for(kind).put(&ObjectKey::Pack(pack.id), pack.bytes())?;
        self.stored_bytes.fetch_add(pack.bytes().len() as u64, Ordering::Relaxed);
        self.index.write().unwrap_or_else(PoisonError::into_inner).add(pack.id, &pack.blobs);
        for blob in &pack.blobs {
            slot(&self.claimed, blob.kind)
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&blob.id);
        }
        let indexed = IndexedPack::new(pack.id, &pack.blobs);
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner).push(indexed);
        match self.take_unwritten(UNWRITTEN_BLOBS) {
            Some(packs) => indexes.send(packs).map_err(|_| Error::WriterGone),
            None => Ok(()),
        }
    }

    /// The packs that no index names yet, if they have so many blobs.
    fn take_unwritten(&self, least: usize) -> Option<Vec<IndexedPack>> {
        let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        let blobs: usize = unwritten.iter().map(|pack| pack.blobs.len()).sum();
        (blobs >= least).then(|| std::mem::take(&mut *unwritten))
    }

    fn write_index(&self, mut packs: Vec<IndexedPack>) -> Result<(), Error> {
        self.lock.check()?;
        let adopted = self.repository.adopted();
        packs.retain(|pack| !adopted.contains(&pack.id));
        drop(adopted);
        self.repository.write_index(packs)
    }
}

/// An uploader at work. Whatever ends it, nobody waits for the buffers it would have given back.
struct Uploading<'a>(&'a Shared);

impl Drop for Uploading<'_> {
    fn drop(&mut self) {
        self.0.let_all_go();
    }
}

impl Repository {
    pub(crate) fn write_index(&self, mut packs: Vec<IndexedPack>) -> Result<(), Error> {
        while !packs.is_empty() {
            let mut blobs = 0;
            let full = packs.iter().position(|pack| {
                blobs += pack.blobs.len();
                blobs >= INDEX_BLOBS
            });
            let rest = packs.split_off(full.map_or(packs.len(), |at| at + 1));
            let file =
                IndexFile { supersedes: Vec::new(), packs: std::mem::replace(&mut packs, rest) };
            self.save_document(ObjectKind::Index, &file)?;
        }
        Ok(())
    }

    /// Holds `index` against the packs that are there. Packs that an interrupted run stored and did
    /// not index are indexed, so that their blobs need not be stored again; blobs of packs that are
    /// gone or cut short leave `index`, so that nothing new relies on them.
    ///
    /// A pack whose header does not open is left alone: `check` names it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn adopt_packs(&self, lock: &LockGuard, index: &mut Index) -> Result<Adopted, Error> {
        self.refuse_old_format()?;
        let mut lengths = HashMap::new();
        let mut found = Vec::new();
        for listed in self.store().list(ObjectKind::Pack)? {
            let Some(id) = listed.key.id() else { continue };
            lengths.insert(id, listed.length);
            if index.has_pack(&id) {
                continue;
            }
            match self.read_pack_header(id, listed.length) {
                Ok(blobs) => found.push((id, blobs)),
                Err(
                    Error::Damaged { .. }
                    | Error::Store(store::Error::Corrupt { .. } | store::Error::NotFound { .. }),
                ) => {}
                Err(other) => return Err(other),
            }
        }
        let lost = lost_packs(index, &lengths);
        index.distrust_packs(&lost.iter().map(|(pack, _)| *pack).collect());
        for (id, blobs) in &found {
            index.add(*id, blobs);
        }
        let indexed = found.iter().map(|(id, blobs)| IndexedPack::new(*id, blobs)).collect();
        if !found.is_empty() {
            lock.check()?;
            self.write_index(indexed)?;
            self.adopted().extend(found.iter().map(|(id, _)| *id));
        }
        let damaged = lost.into_iter().map(|(_, error)| error).collect();
        Ok(Adopted { packs: found.len(), damaged })
    }
}

/// What became of the packs that index and store do not agree on.
#[derive(Debug, Default)]
pub struct Adopted {
    /// Packs taken into the index.
    pub packs: usize,
    /// One for each indexed pack that is gone or cut short.
    pub damaged: Vec<Error>,
}

fn lost_packs(index: &Index, lengths: &HashMap<Digest, u64>) -> Vec<(Digest, Error)> {
    let fault = |(pack, summary): (Digest, PackSummary)| {
        let what = match lengths.get(&pack) {
            None => "it is indexed but not there".to_owned(),
            Some(&actual) if actual < summary.end => {
                format!("it has {actual} bytes where the index says {}", summary.end)
            }
            Some(_) => return None,
        };
        Some((pack, Error::Damaged { key: ObjectKey::Pack(pack), what }))
    };
    index.packs().filter_map(fault).collect()
}

#[cfg(test)]
mod tests;
