//! What is between the engine and the drives: packs in memory that do not count yet, and where those are that
//! do. Reads and writes nothing.
//!
//! invariant: a pack is in the window, or on a drive where it was read back, or lost and named so. Nobody
//! waits here once it is said why nothing more is taken.

use crate::plan::cost;
use crate::{Object, envelope};
use model::{Digest, DriveSerial, ObjectKind};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::direct::Aligned;

/// Beside what is known to come onto the last drive: the rest of the trees, and what an estimate is off by.
const SLACK: u64 = if cfg!(test) { 64 << 10 } else { 4 << 20 };

/// A pack in memory.
#[derive(Debug)]
pub(crate) struct Pack {
    pub(crate) object: Object,
    buffer: Aligned,
}

impl Pack {
    pub(crate) fn bytes(&self) -> &[u8] {
        let length = usize::try_from(self.object.length).unwrap_or(0);
        self.buffer.bytes().get(..length).unwrap_or_default()
    }
}

/// Where a pack that counts is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) length: u64,
    pub(crate) serial: DriveSerial,
}

/// What whoever has the drives does next.
pub(crate) enum Todo {
    Write(Pack),
    /// Somebody waits until all packs count.
    Prove,
    /// The pass is over: this is its snapshot.
    Finish(Digest, Vec<u8>),
    /// Nothing now.
    Nothing,
    /// Nobody stores anything any more.
    Ended,
}

/// What became of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Everything is on sealed drives, it included.
    Sealed,
    /// Something that it needs is lost.
    Lost,
}

#[derive(Debug, Default)]
struct Inner {
    coming: VecDeque<Pack>,
    /// Bytes of packs that do not count yet, and the most there ever were.
    held: u64,
    most: u64,
    /// Packs that do not count yet.
    unproved: usize,
    /// How many wait for all of them to.
    waiting: usize,
    snapshot: Option<(Digest, Vec<u8>)>,
    verdict: Option<Verdict>,
    places: BTreeMap<Digest, Place>,
    lost: BTreeSet<Digest>,
    /// Where drives at hand are.
    folders: BTreeMap<DriveSerial, PathBuf>,
    /// Why nothing more is taken.
    closed: Option<String>,
    ended: bool,
    /// What everything that is stored locally and travels will take on a drive.
    documents: u64,
    /// Bytes of packs that no index may name yet: an index is written while more packs come, and it names all that came before
    /// the one before it was written.
    unindexed: u64,
    /// Those of them that came since the last index.
    since: u64,
    /// Objects elsewhere that the list names, too.
    elsewhere: u64,
}

/// The window.
#[derive(Debug)]
pub(crate) struct Window {
    inner: Mutex<Inner>,
    /// Something came, or was ended.
    came: Condvar,
    /// There is room, or something counts, or it is closed.
    went: Condvar,
    limit: u64,
}

impl Window {
    pub(crate) fn new(limit: u64, elsewhere: usize) -> Self {
        let inner = Mutex::new(Inner { elsewhere: elsewhere as u64, ..Inner::default() });
        Self { inner, came: Condvar::new(), went: Condvar::new(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'w>(&self, inner: MutexGuard<'w, Inner>) -> MutexGuard<'w, Inner> {
        self.went.wait(inner).unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a pack, once there is room for it. A pack larger than the window comes alone.
    pub(crate) fn put(&self, name: Digest, bytes: &[u8]) -> Result<(), String> {
        let length = bytes.len() as u64;
        let mut inner = self.lock();
        // Waiting for room is waiting for what is there to count.
        inner.waiting += 1;
        while inner.closed.is_none() && inner.held > 0 && inner.held + length > self.limit {
            self.came.notify_all();
            inner = self.wait(inner);
        }
        inner.waiting -= 1;
        if let Some(why) = &inner.closed {
            return Err(why.clone());
        }
        if inner.places.contains_key(&name) {
            return Ok(());
        }
        inner.held += length;
        inner.unindexed += length;
        inner.since += length;
        inner.most = inner.most.max(inner.held);
        inner.unproved += 1;
        let mut buffer = Aligned::new(bytes.len());
        buffer.bytes_mut().copy_from_slice(bytes);
        let object = Object { repository: 0, kind: ObjectKind::Pack, name, length };
        inner.coming.push_back(Pack { object, buffer });
        drop(inner);
        self.came.notify_all();
        Ok(())
    }

    /// Waits until every pack that was taken counts.
    pub(crate) fn settle(&self) -> Result<(), String> {
        let mut inner = self.lock();
        inner.waiting += 1;
        self.came.notify_all();
        while inner.closed.is_none() && inner.unproved > 0 {
            inner = self.wait(inner);
        }
        inner.waiting -= 1;
        inner.closed.clone().map_or(Ok(()), Err)
    }

    /// Waits for what becomes of a snapshot.
    pub(crate) fn finish(&self, name: Digest, bytes: &[u8]) -> Result<Verdict, String> {
        let mut inner = self.lock();
        inner.snapshot = Some((name, bytes.to_vec()));
        self.came.notify_all();
        loop {
            if let Some(verdict) = inner.verdict.take() {
                return Ok(verdict);
            }
            if let Some(why) = &inner.closed {
                return Err(why.clone());
            }
            inner = self.wait(inner);
        }
    }

    /// Something was stored locally that travels.
    pub(crate) fn add_document(&self, length: u64, is_index: bool) {
        let mut inner = self.lock();
        inner.documents = inner.documents.saturating_add(cost(length));
        if is_index {
            inner.unindexed = std::mem::take(&mut inner.since);
        }
    }

    /// What is to be kept free on a drive for what comes onto the last one.
    pub(crate) fn kept_free(&self) -> u64 {
        let inner = self.lock();
        // A blob takes some 60 bytes of an index, and is rarely below 4 KiB.
        let index = inner.unindexed / 64;
        let named = (inner.places.len() as u64).saturating_add(inner.elsewhere);
        let list = cost(named.saturating_mul(envelope::ROW as u64));
        inner.documents.saturating_add(index).saturating_add(list).saturating_add(SLACK)
    }

    /// For whoever has the drives. Answers nothing after a while.
    pub(crate) fn next(&self, patience: Duration) -> Todo {
        let inner = self.lock();
        let idle = |inner: &mut Inner| {
            inner.coming.is_empty()
                && inner.snapshot.is_none()
                && !inner.ended
                && (inner.waiting == 0 || inner.unproved == 0)
        };
        let waited = self.came.wait_timeout_while(inner, patience, idle);
        let (mut inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(pack) = inner.coming.pop_front() {
            return Todo::Write(pack);
        }
        if inner.waiting > 0 && inner.unproved > 0 {
            return Todo::Prove;
        }
        match inner.snapshot.take() {
            Some((name, bytes)) => Todo::Finish(name, bytes),
            None if inner.ended => Todo::Ended,
            None => Todo::Nothing,
        }
    }

    /// Packs count from now on; their bytes are no longer needed.
    pub(crate) fn proved(&self, packs: Vec<Pack>, serial: &DriveSerial) {
        let mut inner = self.lock();
        for pack in packs {
            let Object { name, length, .. } = pack.object;
            inner.held = inner.held.saturating_sub(length);
            inner.unproved = inner.unproved.saturating_sub(1);
            inner.lost.remove(&name);
            inner.places.insert(name, Place { length, serial: serial.clone() });
        }
        drop(inner);
        self.went.notify_all();
    }

    /// Packs that were found on a drive, and count.
    pub(crate) fn found<'o>(
        &self,
        packs: impl IntoIterator<Item = &'o Object>,
        serial: &DriveSerial,
    ) {
        let mut inner = self.lock();
        for Object { name, length, .. } in packs {
            inner.lost.remove(name);
            inner.places.insert(*name, Place { length: *length, serial: serial.clone() });
        }
    }

    /// Packs that are not on their drive any more, by their names; all of the drive when none are given. One that
    /// another drive has, too, stays.
    pub(crate) fn lose(&self, serial: &DriveSerial, packs: Option<&[Object]>) -> u64 {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let before = inner.lost.len();
        match packs {
            Some(packs) => {
                for Object { name, .. } in packs {
                    if inner.places.get(name).is_some_and(|place| place.serial == *serial) {
                        inner.places.remove(name);
                        inner.lost.insert(*name);
                    }
                }
            }
            None => {
                let of_it = inner.places.extract_if(.., |_, place| place.serial == *serial);
                inner.lost.extend(of_it.map(|(name, _)| name));
            }
        }
        (inner.lost.len() - before) as u64
    }

    /// How many packs that counted once do not any more.
    pub(crate) fn lost(&self) -> usize {
        self.lock().lost.len()
    }

    /// Nothing that is to come relies on what is lost.
    pub(crate) fn forget_lost(&self) {
        self.lock().lost.clear();
    }

    pub(crate) fn answer(&self, verdict: Verdict) {
        self.lock().verdict = Some(verdict);
        self.went.notify_all();
    }

    /// Takes nothing more.
    pub(crate) fn close(&self, why: &str) {
        self.lock().closed.get_or_insert_with(|| why.to_owned());
        self.went.notify_all();
        self.came.notify_all();
    }

    /// Another pass may come.
    pub(crate) fn reopen(&self) {
        let mut inner = self.lock();
        inner.coming.clear();
        (inner.held, inner.unproved) = (0, 0);
        (inner.snapshot, inner.verdict, inner.closed, inner.ended) = (None, None, None, false);
    }

    /// Nobody stores anything any more.
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.came.notify_all();
    }

    /// The most bytes that were held at a time.
    pub(crate) fn most(&self) -> u64 {
        self.lock().most
    }

    pub(crate) fn place(&self, name: &Digest) -> Option<Place> {
        self.lock().places.get(name).cloned()
    }

    /// Every pack that counts.
    pub(crate) fn packs(&self) -> Vec<(Digest, u64)> {
        let inner = self.lock();
        inner.places.iter().map(|(name, place)| (*name, place.length)).collect()
    }

    pub(crate) fn attach(&self, serial: &DriveSerial, folder: PathBuf) {
        self.lock().folders.insert(serial.clone(), folder);
    }

    /// Nothing is read from a drive from now on.
    pub(crate) fn detach(&self, serial: &DriveSerial) {
        self.lock().folders.remove(serial);
    }

    pub(crate) fn folder(&self, serial: &DriveSerial) -> Option<PathBuf> {
        self.lock().folders.get(serial).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_kept_for_what_an_index_that_is_being_written_does_not_name() {
        let window = Window::new(1 << 20, 0);
        let (index, bytes) = (64, [7; 1 << 16]);
        let free = |packs: u64| {
            let documents = 2 * cost(index);
            documents + packs * bytes.len() as u64 / 64 + cost(0) + SLACK
        };
        window.put(Digest([1; 32]), &bytes).unwrap();
        window.add_document(index, true);
        // This one came while the next index was written: that may name it, or not.
        window.put(Digest([2; 32]), &bytes).unwrap();
        window.add_document(index, true);
        assert_eq!(window.kept_free(), free(1));
        window.put(Digest([3; 32]), &bytes).unwrap();
        assert_eq!(window.kept_free(), free(2));
    }
}
