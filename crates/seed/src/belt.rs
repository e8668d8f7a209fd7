//! What is between readers and drives: which objects each drive is still to get, and the bytes on
//! their way there. Reads and writes nothing; decides who does what next.
//!
//! ```text
//!  lane of one drive:   coming ──▶ open (parts read, parts waiting) … ──▶ its drive's thread
//!                         ▲  at most 4 of them, written in this order
//!                         └── what another drive cannot take after all
//! ```
//!
//! Everything is behind one lock, taken once for each part of 4 MiB. Invariants:
//!
//! - A lane has never more than its number of buffers, so memory is bounded whatever is slow.
//! - A reader never waits for a drive: a step is only given out with a buffer to read into. So a
//!   slow drive fills its own lane and nothing else.
//! - Only the first open object of a lane may take the last quarter of its buffers. It is the one
//!   that the drive waits for, and so it always gets on.
//! - An object is in one place: coming, open, on its drive, or left over.

use crate::event::Reason;
use crate::plan::{self, Filling, Room};
use crate::{Error, Object};
use sha256::Hasher;
use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use store::direct::Aligned;

/// How much is under way at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of a buffer: one read, one write. Large enough for a disk to stream.
    pub(crate) part: usize,
    /// Buffers of a drive.
    pub(crate) buffers: usize,
    /// Objects that are open for a drive: what several readers can work on side by side.
    pub(crate) open: usize,
    /// Threads that read.
    pub(crate) readers: usize,
    /// Bytes written before they are synced and get their names: a power cut can cost copying them
    /// again, and each sync costs a disk a commit and a flush, some 50 ms. A fast disk writes 512 MiB in a
    /// second or two.
    pub(crate) batch_bytes: u64,
    /// Objects likewise.
    pub(crate) batch_objects: usize,
    /// Whether one sync of a drive's file system is enough; none to go by what file system it is.
    pub(crate) whole: Option<bool>,
}

impl Limits {
    /// 64 MiB for each drive.
    pub(crate) const USUAL: Self = Self {
        part: 4 << 20,
        buffers: 16,
        open: 4,
        readers: 2,
        batch_bytes: 512 << 20,
        batch_objects: 4096,
        whole: None,
    };

    /// Buffers that only a lane's first object may take.
    fn kept(&self) -> usize {
        self.buffers / 4
    }
}

/// An object that is being read.
pub(crate) struct Reading {
    pub(crate) stream: Box<dyn Read + Send>,
    pub(crate) hasher: Hasher,
    pub(crate) seen: u64,
}

/// The next part of one object, to be read.
pub(crate) struct Step {
    lane: usize,
    number: u64,
    pub(crate) object: Object,
    /// None for an object that is not open yet.
    pub(crate) reading: Option<Reading>,
    pub(crate) buffer: Aligned,
}

/// What a step has brought.
pub(crate) enum Brought {
    /// So many bytes in the buffer, and more to come.
    More(Reading, usize),
    /// The last bytes, and what is wrong with the object.
    Last(usize, Option<Reason>),
}

/// What a drive's thread does next.
pub(crate) enum Next {
    /// These bytes are the next ones of the object.
    Bytes(Object, Aligned, usize),
    /// The object is complete, or could not be had.
    End(Object, Option<Reason>),
    /// All that was to come is there.
    Written,
    /// All work ends now.
    Stop,
}

enum Part {
    Bytes(Aligned, usize),
    End(Option<Reason>),
}

struct Open {
    number: u64,
    object: Object,
    parts: VecDeque<Part>,
    state: OpenState,
}

enum OpenState {
    /// Nobody reads it: not opened yet, or between two parts.
    Idle(Option<Reading>),
    Busy,
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Takes objects.
    Open,
    /// Takes no more, and has not ended: what it could not seal may still go elsewhere.
    Sealing,
    Ended,
}

/// One drive's part of the belt.
struct Lane {
    coming: VecDeque<Object>,
    open: VecDeque<Open>,
    free: Vec<Aligned>,
    /// Buffers that exist: free, being read into, waiting, being written.
    made: usize,
    phase: Phase,
    /// Whether its thread waits for something to come.
    waits: bool,
    /// The drive's room once it has all that was meant for it.
    room: Room,
    /// Its place among the drives that are filled one after the other.
    rank: usize,
}

impl Lane {
    fn buffers_left(&self, limits: &Limits) -> usize {
        self.free.len() + limits.buffers.saturating_sub(self.made)
    }

    fn buffer(&mut self, limits: &Limits) -> Aligned {
        self.free.pop().unwrap_or_else(|| {
            self.made += 1;
            Aligned::new(limits.part)
        })
    }

    /// Whether the drive is still to get something; a reader may have it in hand.
    fn has_more(&self) -> bool {
        !self.coming.is_empty() || !self.open.is_empty()
    }

    /// Parts that are read or being read, and not yet taken by the drive.
    fn under_way(&self) -> usize {
        let parts = self
            .open
            .iter()
            .map(|open| open.parts.len() + usize::from(matches!(open.state, OpenState::Busy)));
        parts.sum()
    }

    /// The open object whose next part can be read now.
    fn readable(&self, limits: &Limits) -> Option<usize> {
        let left = self.buffers_left(limits);
        let idle = |open: &Open| matches!(open.state, OpenState::Idle(_));
        let allowed = |at: usize| left > if at == 0 { 0 } else { limits.kept() };
        self.open.iter().enumerate().position(|(at, open)| idle(open) && allowed(at))
    }

    fn can_open(&self, limits: &Limits) -> bool {
        let kept = if self.open.is_empty() { 0 } else { limits.kept() };
        self.phase == Phase::Open
            && !self.coming.is_empty()
            && self.open.len() < limits.open
            && self.buffers_left(limits) > kept
    }

    /// Everything that was to come, and is not on the drive.
    fn take_all(&mut self) -> Vec<Object> {
        let open = self.open.drain(..).map(|open| open.object);
        let mut all: Vec<Object> = open.collect();
        all.extend(self.coming.drain(..));
        // Buffers in other hands come back to nobody.
        self.made = self.free.len();
        all
    }
}

struct Inner {
    lanes: Vec<Lane>,
    next_number: u64,
    /// Objects that no drive takes.
    left: Vec<Object>,
    stop: bool,
    error: Option<Error>,
}

/// The belt. See above.
pub(crate) struct Belt {
    inner: Mutex<Inner>,
    /// Something can be read, or all is over.
    readers: Condvar,
    /// Something came for a drive, or all is over.
    drives: Vec<Condvar>,
    limits: Limits,
    filling: Filling,
    /// What the largest drive has when it is empty.
    largest: u64,
}

/// Ends everything when the thread that has it panics: nobody waits for it for ever.
pub(crate) struct Watch<'b>(pub(crate) &'b Belt);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(Error::Interrupted);
        }
    }
}

/// What a drive is to get.
pub(crate) struct Share {
    pub(crate) objects: Vec<Object>,
    /// Its room with these.
    pub(crate) room: Room,
    /// Its place among the drives that are filled one after the other.
    pub(crate) rank: usize,
}

impl Belt {
    pub(crate) fn new(
        shares: Vec<Share>,
        left: Vec<Object>,
        (limits, filling, largest): (Limits, Filling, u64),
    ) -> Self {
        let drives = shares.iter().map(|_| Condvar::new()).collect();
        let lane = |share: Share| Lane {
            coming: share.objects.into(),
            open: VecDeque::new(),
            free: Vec::new(),
            made: 0,
            phase: Phase::Open,
            waits: false,
            room: share.room,
            rank: share.rank,
        };
        let lanes = shares.into_iter().map(lane).collect();
        let inner = Inner { lanes, next_number: 0, left, stop: false, error: None };
        let inner = Mutex::new(inner);
        Self { inner, readers: Condvar::new(), drives, limits, filling, largest }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        self.readers.notify_all();
        self.drives.iter().for_each(Condvar::notify_all);
    }

    /// Lets everybody end at the next safe point.
    pub(crate) fn stop(&self, error: Error) {
        let mut inner = self.lock();
        inner.stop = true;
        inner.error.get_or_insert(error);
        drop(inner);
        self.wake_all();
    }

    /// Whether [`stop`](Self::stop) was called.
    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().stop
    }

    /// What no drive took, ascending; or why all ended.
    pub(crate) fn into_left(self) -> Result<Vec<Object>, Error> {
        let mut inner = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        inner.left.sort_unstable();
        inner.error.map_or(Ok(inner.left), Err)
    }

    /// For a reader: one or two parts to read side by side. Waits until there is something; none
    /// when all is over.
    pub(crate) fn steps(&self) -> Option<(Step, Option<Step>)> {
        let mut inner = self.lock();
        loop {
            if inner.stop || inner.lanes.iter().all(|lane| lane.phase == Phase::Ended) {
                return None;
            }
            if let Some(first) = self.step(&mut inner) {
                return Some((first, self.step(&mut inner)));
            }
            inner = self.readers.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A part of the lane that has the fewest under way.
    fn step(&self, inner: &mut Inner) -> Option<Step> {
        let turn = inner.lanes.iter().filter(|lane| !lane.coming.is_empty()).map(|lane| lane.rank);
        let turn = turn.min();
        let may_open = |lane: &Lane| {
            let in_turn = self.filling == Filling::Even || Some(lane.rank) == turn;
            in_turn && lane.can_open(&self.limits)
        };
        let lanes = inner.lanes.iter().enumerate();
        let able =
            lanes.filter(|(_, lane)| lane.readable(&self.limits).is_some() || may_open(lane));
        let (at, _) = able.min_by_key(|(_, lane)| lane.under_way())?;
        let lane = inner.lanes.get_mut(at)?;
        let which = match lane.readable(&self.limits) {
            Some(which) => which,
            None => {
                let object = lane.coming.pop_front()?;
                let (number, parts) = (inner.next_number, VecDeque::new());
                inner.next_number += 1;
                lane.open.push_back(Open { number, object, parts, state: OpenState::Idle(None) });
                lane.open.len() - 1
            }
        };
        let buffer = lane.buffer(&self.limits);
        let open = lane.open.get_mut(which)?;
        let OpenState::Idle(reading) = std::mem::replace(&mut open.state, OpenState::Busy) else {
            return None;
        };
        Some(Step { lane: at, number: open.number, object: open.object, reading, buffer })
    }

    /// For a reader: what a step has brought, with its buffer.
    pub(crate) fn bring(&self, step: Step, brought: Brought) {
        let mut inner = self.lock();
        let Some(lane) = inner.lanes.get_mut(step.lane) else { return };
        // Gone from a lane whose drive takes no more: nobody wants the bytes, nor the buffer.
        let Some(open) = lane.open.iter_mut().find(|open| open.number == step.number) else {
            return;
        };
        let (state, bytes, end) = match brought {
            Brought::More(reading, bytes) => (OpenState::Idle(Some(reading)), bytes, None),
            Brought::Last(bytes, wrong) => (OpenState::Ended, bytes, Some(wrong)),
        };
        open.state = state;
        if bytes > 0 {
            open.parts.push_back(Part::Bytes(step.buffer, bytes));
        } else {
            lane.free.push(step.buffer);
        }
        open.parts.extend(end.map(Part::End));
        drop(inner);
        self.readers.notify_all();
        self.drives.iter().skip(step.lane).take(1).for_each(Condvar::notify_all);
    }

    /// For a drive: what comes next. Waits for it.
    pub(crate) fn next(&self, at: usize) -> Next {
        let mut inner = self.lock();
        loop {
            if inner.stop {
                return Next::Stop;
            }
            let Some(lane) = inner.lanes.get_mut(at) else { return Next::Stop };
            let Some(first) = lane.open.front_mut() else {
                if lane.coming.is_empty() {
                    // Reading back has buffers of its own.
                    lane.free.clear();
                    lane.made = 0;
                    return Next::Written;
                }
                inner = self.wait(at, inner);
                continue;
            };
            let object = first.object;
            match first.parts.pop_front() {
                Some(Part::Bytes(buffer, bytes)) => return Next::Bytes(object, buffer, bytes),
                Some(Part::End(wrong)) => {
                    lane.open.pop_front();
                    drop(inner);
                    self.readers.notify_all();
                    return Next::End(object, wrong);
                }
                None => inner = self.wait(at, inner),
            }
        }
    }

    fn wait<'i>(&self, at: usize, inner: MutexGuard<'i, Inner>) -> MutexGuard<'i, Inner> {
        match self.drives.get(at) {
            Some(drive) => drive.wait(inner).unwrap_or_else(PoisonError::into_inner),
            None => inner,
        }
    }

    /// For a drive: a buffer was written.
    pub(crate) fn give_back(&self, at: usize, buffer: Aligned) {
        if let Some(lane) = self.lock().lanes.get_mut(at)
            && lane.free.len() < lane.made
        {
            lane.free.push(buffer);
        }
        self.readers.notify_all();
    }

    /// For a drive that holds nothing: waits until something comes for it. False when nothing can
    /// come any more.
    pub(crate) fn wait_for_more(&self, at: usize) -> bool {
        let mut inner = self.lock();
        loop {
            if inner.stop || inner.lanes.get(at).is_none_or(Lane::has_more) {
                break;
            }
            if let Some(lane) = inner.lanes.get_mut(at) {
                lane.waits = true;
            }
            if inner.lanes.iter().all(|lane| lane.waits || lane.phase == Phase::Ended) {
                drop(inner);
                self.wake_all();
                return false;
            }
            inner = self.wait(at, inner);
        }
        if let Some(lane) = inner.lanes.get_mut(at) {
            lane.waits = false;
        }
        !inner.stop
    }

    /// For a drive about to be sealed: takes no more from now on. False when something has come.
    pub(crate) fn close(&self, at: usize) -> bool {
        let mut inner = self.lock();
        let Some(lane) = inner.lanes.get_mut(at) else { return true };
        if lane.has_more() {
            return false;
        }
        lane.phase = Phase::Sealing;
        true
    }

    /// For a drive: it has to write these again. It takes objects again, should it have been closed.
    pub(crate) fn again(&self, at: usize, objects: &[Object]) {
        let mut inner = self.lock();
        if let Some(lane) = inner.lanes.get_mut(at) {
            lane.phase = Phase::Open;
            // What they replace keeps its place until the drive is sealed.
            objects.iter().for_each(|object| lane.room.add(object.length));
            lane.coming.extend(objects);
        }
        drop(inner);
        self.readers.notify_all();
    }

    /// For a drive that has no room: what was to come goes elsewhere, and so do `objects`.
    pub(crate) fn full(&self, at: usize, objects: &[Object]) {
        self.pass_on(at, objects, |lane| lane.room.close());
    }

    /// For a drive that is done, or of no use: what was to come goes elsewhere, and so do `objects`.
    pub(crate) fn end(&self, at: usize, objects: &[Object]) {
        self.pass_on(at, objects, |lane| lane.phase = Phase::Ended);
    }

    fn pass_on(&self, at: usize, objects: &[Object], change: impl FnOnce(&mut Lane)) {
        let mut inner = self.lock();
        let Some(lane) = inner.lanes.get_mut(at) else { return };
        let mut orphans = lane.take_all();
        change(lane);
        orphans.extend(objects);
        orphans.sort_unstable();
        orphans.dedup();
        self.place(&mut inner, &orphans);
        drop(inner);
        self.wake_all();
    }

    /// Onto drives that still take objects; what has no room there is left over.
    fn place(&self, inner: &mut Inner, orphans: &[Object]) {
        let mut takers: Vec<&mut Lane> =
            inner.lanes.iter_mut().filter(|lane| lane.phase == Phase::Open).collect();
        let rooms: Vec<Room> = takers.iter().map(|lane| lane.room).collect();
        let (shares, left) = plan::place(orphans, &rooms, self.largest, self.filling);
        for (lane, share) in takers.iter_mut().zip(shares) {
            share.iter().for_each(|object| lane.room.add(object.length));
            lane.waits &= share.is_empty();
            lane.coming.extend(share);
        }
        inner.left.extend(left);
    }
}

#[cfg(test)]
mod tests;
