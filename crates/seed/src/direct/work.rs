//! One pass at work: packs from the window onto the drive in use, read back from it, and onto the next one when it
//! is full or fails. What the end of a pass does is in `close`.
//!
//! The caller's thread writes, reads back and asks; the pass has a thread of its own, and so has each drive that is
//! being sealed.

use super::close::{self, Told};
use super::hands::Hand;
use super::proved::Proved;
use super::window::{Pack, Todo};
use super::{DriveSet, Ended, Fixed, Host};
use crate::bay::Stopped;
use crate::beneath;
use crate::drive;
use crate::event::{Problem, Reason};
use crate::plan::{self, Room, cost};
use crate::prepare::DriveState;
use crate::stream::{self, Heard};
use crate::{Error, Event, Object};
use model::{Digest, ObjectKind};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;
use std::time::Duration;
use store::Store;

/// How often the stop sign is looked at when nothing happens.
const LOOK: Duration = Duration::from_millis(50);

/// How often in a row a drive may fail to give back what was written before it counts as unreliable.
pub(crate) const ATTEMPTS: u32 = 3;

/// What ends a pass before its work does.
pub(crate) enum Halt {
    Error(Error),
    NeedsDrive,
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl DriveSet<'_> {
    /// Runs one pass: `work` stores into [`store`](Self::store), in a thread of its own, and what it stores is
    /// brought onto drives meanwhile. Answers what it answered, and how it went with the drives.
    pub fn run<T: Send>(
        &mut self,
        host: &mut dyn Host,
        work: impl FnOnce() -> T + Send,
    ) -> (Option<T>, Ended) {
        if let Err(error) = self.forget_snapshots() {
            return (None, Ended::Failed(error));
        }
        self.window.reopen();
        let window = std::sync::Arc::clone(&self.window);
        let halting = AtomicBool::new(false);
        // Threads that seal see what does not change; everything else is the caller's.
        let fixed = std::sync::Arc::clone(&self.fixed);
        let (sender, told) = channel();
        std::thread::scope(|scope| {
            let working = beneath::spawn(scope, || {
                let _end = Ends(&window);
                work()
            });
            let mut pass = Pass {
                set: self,
                fixed: &fixed,
                scope,
                host,
                halting: &halting,
                sender,
                told,
                sealing: 0,
                batch: Vec::new(),
                pending: VecDeque::new(),
                current: None,
            };
            let _watch = Watch(&window, &halting);
            let halt = pass.serve();
            let lost = pass.set.window.lost() > 0;
            let ended = match halt {
                Some(Halt::Error(error)) => Ended::Failed(error),
                Some(Halt::NeedsDrive) => Ended::NeedsDrive,
                None if lost => Ended::Lost,
                None => Ended::Through,
            };
            (working.join().ok(), ended)
        })
    }
}

/// Says that nobody stores anything any more, whatever ended that.
struct Ends<'w>(&'w super::Window);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Whoever is told may panic: nobody waits for ever then.
struct Watch<'w>(&'w super::Window, &'w AtomicBool);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close("the drives take nothing more");
            self.1.store(true, Ordering::Relaxed);
        }
    }
}

/// See the head of this file.
pub(crate) struct Pass<'p, 's, 'e, 'a> {
    pub(crate) set: &'p mut DriveSet<'a>,
    pub(crate) fixed: &'s Fixed<'a>,
    scope: &'s Scope<'s, 'e>,
    pub(crate) host: &'p mut dyn Host,
    /// Whether threads that seal are to end.
    halting: &'s AtomicBool,
    sender: Sender<Told>,
    told: Receiver<Told>,
    /// Drives that are being sealed.
    sealing: usize,
    /// Written onto the drive in use, and not read back.
    batch: Vec<Pack>,
    /// To be written.
    pending: VecDeque<Pack>,
    /// The drive in use, among those at hand.
    pub(crate) current: Option<usize>,
}

impl Pass<'_, '_, '_, '_> {
    /// Until nobody stores anything any more.
    fn serve(&mut self) -> Option<Halt> {
        let mut halted = None;
        loop {
            if self.host.stop() && halted.is_none() {
                halted = Some(Halt::Error(Error::Interrupted));
            }
            if halted.is_some() {
                self.set.window.close("the drives take nothing more");
                self.halting.store(true, Ordering::Relaxed);
            }
            let step = match self.set.window.next(LOOK) {
                Todo::Ended => break,
                _ if halted.is_some() => Ok(()),
                todo => self.step(todo),
            };
            if let Err(halt) = step {
                halted.get_or_insert(halt);
            }
        }
        let rest = self.leave(halted.is_none());
        halted.or(rest.err())
    }

    fn step(&mut self, todo: Todo) -> Result<(), Halt> {
        self.hear_what_there_is()?;
        match todo {
            Todo::Write(pack) => {
                self.pending.push_back(pack);
                self.write()
            }
            Todo::Prove => self.prove(),
            Todo::Finish(name, bytes) => {
                let verdict = self.finish(name, &bytes)?;
                self.set.window.answer(verdict);
                Ok(())
            }
            Todo::Nothing | Todo::Ended => Ok(()),
        }
    }

    /// What is written by now counts if it can be read back, however the pass ended.
    fn leave(&mut self, well: bool) -> Result<(), Halt> {
        if !well {
            self.pending.clear();
        }
        let proved = if well { self.prove() } else { self.prove_written() };
        self.wait_for_seals().and(proved)
    }

    /// Hears of what there is to hear of.
    fn hear_what_there_is(&mut self) -> Result<(), Halt> {
        while let Ok(told) = self.told.try_recv() {
            self.hear_of(told)?;
        }
        Ok(())
    }

    /// Waits for drives that are being sealed.
    pub(crate) fn wait_for_seals(&mut self) -> Result<(), Halt> {
        while self.sealing > 0 {
            if self.host.stop() {
                self.halting.store(true, Ordering::Relaxed);
            }
            if let Ok(told) = self.told.recv_timeout(LOOK) {
                self.hear_of(told)?;
            }
        }
        Ok(())
    }

    fn hear_of(&mut self, told: Told) -> Result<(), Halt> {
        if matches!(told, Told::Done(..) | Told::Panicked) {
            self.sealing -= 1;
        }
        let heard = self.heard(told);
        if heard.is_err() {
            self.halting.store(true, Ordering::Relaxed);
        }
        Ok(heard?)
    }

    /// Writes what is to be written.
    fn write(&mut self) -> Result<(), Halt> {
        while let Some(pack) = self.pending.pop_front() {
            let object = pack.object;
            let at = match self.drive_for(object.length) {
                Ok(at) => at,
                Err(halt) => {
                    self.pending.push_front(pack);
                    return Err(halt);
                }
            };
            match self.put(at, &object, pack.bytes()) {
                Ok(()) => {
                    self.batch.push(pack);
                    let bytes = self.batch.iter().map(|pack| pack.object.length).sum::<u64>();
                    if bytes >= self.fixed.options.window / 2 {
                        self.prove_written()?;
                    }
                }
                Err(stopped) => {
                    self.pending.push_front(pack);
                    self.stopped(at, stopped)?;
                }
            }
        }
        Ok(())
    }

    /// Everything counts afterwards.
    pub(crate) fn prove(&mut self) -> Result<(), Halt> {
        while !self.pending.is_empty() || !self.batch.is_empty() {
            self.write()?;
            self.prove_written()?;
        }
        Ok(())
    }

    /// Writes one object onto a drive. It has no name yet.
    pub(crate) fn put(&mut self, at: usize, object: &Object, bytes: &[u8]) -> Result<(), Stopped> {
        let whole = self.fixed.limits.whole;
        let Some(hand) = self.set.hands.get_mut(at) else { return Err(Stopped::Gone) };
        let part = self.fixed.limits.part;
        for part in bytes.chunks(part) {
            hand.bay.write(object, part)?;
            let serial = &hand.bay.spec.serial;
            self.host.event(Event::Writing { serial, bytes: part.len() as u64 });
        }
        let whole = whole.unwrap_or_else(|| hand.bay.folder.syncs_as_a_whole());
        hand.bay.complete(object, whole)
    }

    /// Gives what is written its names, durably.
    pub(crate) fn name(&mut self, at: usize) -> Result<(), Stopped> {
        let whole = self.fixed.limits.whole;
        let repository = self.fixed.repository;
        let Some(hand) = self.set.hands.get_mut(at) else { return Err(Stopped::Gone) };
        let set = hand.bay.label().map_or(0, |label| label.set);
        let job = self.fixed.job(set);
        let whole = whole.unwrap_or_else(|| hand.bay.folder.syncs_as_a_whole());
        let serial = hand.bay.spec.serial.clone();
        let host = &mut *self.host;
        let mut named = |object: Object| {
            let (serial, repository, key, bytes) =
                (&serial, &repository, &object.key(), object.length);
            host.event(Event::ObjectDone { serial, repository, key, bytes });
        };
        hand.bay.commit(&job, whole, &mut named)?;
        hand.bay.commit(&job, whole, &mut named).map(drop)
    }

    /// Names and reads back what is on the drive in use. What is wrong is to be written again.
    fn prove_written(&mut self) -> Result<(), Halt> {
        let Some(at) = self.current.filter(|_| !self.batch.is_empty()) else { return Ok(()) };
        match self.name(at) {
            Ok(()) => self.read_back(at),
            Err(stopped) => self.stopped(at, stopped),
        }
    }

    fn read_back(&mut self, at: usize) -> Result<(), Halt> {
        let Some(hand) = self.set.hands.get_mut(at) else { return Ok(()) };
        let serial = hand.bay.spec.serial.clone();
        let repositories = &self.fixed.early.repositories;
        let objects: Vec<(Object, String)> = self
            .batch
            .iter()
            .map(|pack| pack.object)
            .map(|object| (object, drive::path_of(repositories, &object).unwrap_or_default()))
            .collect();
        let mut wrong: BTreeMap<Digest, Reason> = BTreeMap::new();
        let host = &mut *self.host;
        let mut hear = |heard: Heard<'_>| -> io::Result<bool> {
            match heard {
                Heard::Bytes(_, bytes) => {
                    host.event(Event::Reading { serial: &serial, bytes: bytes.len() as u64 });
                }
                Heard::End(object, reason) => {
                    wrong.extend(reason.map(|reason| (object.name, reason)));
                }
            }
            Ok(true)
        };
        let part = self.fixed.limits.part;
        let read = stream::each(&hand.bay.folder, objects.into_iter(), part, &mut hear);
        read.map_err(Error::io("reading back", &hand.bay.spec.folder))?;
        let packs = std::mem::take(&mut self.batch);
        let (bad, good): (Vec<Pack>, Vec<Pack>) =
            packs.into_iter().partition(|pack| wrong.contains_key(&pack.object.name));
        if let Some(proved) = &mut hand.proved {
            let objects: Vec<Object> = good.iter().map(|pack| pack.object).collect();
            let io = Error::io("writing below", self.fixed.options.state);
            proved.add(&objects).map_err(io)?;
        }
        self.set.window.proved(good, &serial);
        hand.strikes = if bad.is_empty() { 0 } else { hand.strikes + 1 };
        self.again(at, bad, &wrong)
    }

    /// Has what did not come back written once more, elsewhere.
    fn again(
        &mut self,
        at: usize,
        bad: Vec<Pack>,
        wrong: &BTreeMap<Digest, Reason>,
    ) -> Result<(), Halt> {
        if bad.is_empty() {
            return Ok(());
        }
        let Some(hand) = self.set.hands.get_mut(at) else { return Ok(()) };
        let serial = hand.bay.spec.serial.clone();
        for pack in &bad {
            let reason = wrong.get(&pack.object.name).cloned().unwrap_or(Reason::Hash);
            let (repository, key) = (self.fixed.repository, pack.object.key());
            let problem = Problem { repository, key, reason };
            self.host.event(Event::Problem { serial: Some(&serial), problem: &problem });
        }
        let objects: Vec<Object> = bad.iter().map(|pack| pack.object).collect();
        for pack in bad.into_iter().rev() {
            self.pending.push_front(pack);
        }
        if hand.strikes >= ATTEMPTS {
            self.lose(at, DriveState::Unreliable);
            return Ok(());
        }
        let job = self.fixed.job(hand.bay.label().map_or(0, |label| label.set));
        match hand.bay.set_aside(&job, &objects) {
            Ok(()) => Ok(()),
            Err(stopped) => self.stopped(at, stopped),
        }
    }

    /// A drive takes no more now.
    pub(crate) fn stopped(&mut self, at: usize, why: Stopped) -> Result<(), Halt> {
        match why {
            Stopped::Failed(error) => Err(error.into()),
            Stopped::Gone => {
                self.lose(at, DriveState::Gone);
                Ok(())
            }
            Stopped::Full => match self.full(at) {
                Ok(()) => {
                    self.read_back(at)?;
                    // It may have been given up meanwhile.
                    if self.current == Some(at) { self.retire(at) } else { Ok(()) }
                }
                Err(Stopped::Failed(error)) => Err(error.into()),
                Err(_) => {
                    self.lose(at, DriveState::Gone);
                    Ok(())
                }
            },
        }
    }

    /// What has no name on a full drive is written elsewhere. What has one keeps it.
    fn full(&mut self, at: usize) -> Result<(), Stopped> {
        let Some(hand) = self.set.hands.get_mut(at) else { return Err(Stopped::Gone) };
        self.host.event(Event::DriveFull { serial: &hand.bay.spec.serial });
        hand.bay.room.close();
        let unnamed = hand.bay.abandon_all()?;
        let packs = std::mem::take(&mut self.batch);
        let (again, named): (Vec<Pack>, Vec<Pack>) =
            packs.into_iter().partition(|pack| unnamed.contains(&pack.object));
        for pack in again.into_iter().rev() {
            self.pending.push_front(pack);
        }
        self.batch = named;
        self.name(at)
    }

    /// What counted on a drive does not any more; what is in the window is written elsewhere.
    pub(crate) fn lose(&mut self, at: usize, state: DriveState) {
        if at >= self.set.hands.len() {
            return;
        }
        let hand = self.take(at);
        let serial = hand.bay.spec.serial.clone();
        self.set.window.lose(&serial, None);
        self.host.event(Event::DriveGone { serial: &serial });
        self.set.stopped.insert(serial, hand.describe(state));
        for pack in std::mem::take(&mut self.batch).into_iter().rev() {
            self.pending.push_front(pack);
        }
    }

    /// Takes a drive out of those at hand: nothing is read from it any more.
    pub(crate) fn take(&mut self, at: usize) -> Hand {
        let hand = self.set.hands.remove(at);
        self.set.window.detach(&hand.bay.spec.serial);
        self.current = match self.current {
            Some(current) if current == at => None,
            Some(current) if current > at => Some(current - 1),
            other => other,
        };
        hand
    }

    /// A drive that takes no more is sealed, beside what comes next, with packs alone: what a manifest announces is waited for, and
    /// published, and another pass may make other indexes and snapshots.
    pub(crate) fn retire(&mut self, at: usize) -> Result<(), Halt> {
        match self.undress(at) {
            Ok(()) => {}
            Err(Stopped::Failed(error)) => return Err(error.into()),
            Err(_) => {
                self.lose(at, DriveState::Gone);
                return Ok(());
            }
        }
        let Some(hand) = self.set.hands.get(at) else { return Ok(()) };
        if hand.bay.objects.is_empty() {
            let hand = self.take(at);
            let serial = hand.bay.spec.serial.clone();
            self.set.stopped.insert(serial, hand.describe(DriveState::Unused));
            return Ok(());
        }
        if !self.host.before_sealing() {
            return Err(Error::Interrupted.into());
        }
        let hand = self.take(at);
        let (fixed, sender, halting) = (self.fixed, self.sender.clone(), self.halting);
        self.sealing += 1;
        beneath::spawn(self.scope, move || close::seal_early(hand, fixed, &sender, halting));
        Ok(())
    }

    /// A drive with room for an object of that length: the one in use, else another one at hand, else one
    /// that is asked for.
    pub(crate) fn drive_for(&mut self, length: u64) -> Result<usize, Halt> {
        loop {
            let kept = self.set.window.kept_free();
            let fits = |hand: &Hand| hand.fits(length, kept);
            match self.current {
                Some(at) if self.set.hands.get(at).is_some_and(fits) => return Ok(at),
                Some(at) => {
                    // Its last packs are read back before it is given up.
                    self.prove_written()?;
                    if self.current == Some(at) && self.batch.is_empty() {
                        self.tell_full(at);
                        self.retire(at)?;
                    }
                    continue;
                }
                None => {}
            }
            let rooms: Vec<Room> = self.set.hands.iter().map(|hand| hand.bay.room).collect();
            let order = plan::order(&rooms);
            let able = |at: &usize| self.set.hands.get(*at).is_some_and(fits);
            match order.iter().copied().find(able) {
                Some(at) => self.begin(at)?,
                None => self.next_drive(length, kept)?,
            }
        }
    }

    pub(crate) fn tell_full(&mut self, at: usize) {
        if let Some(hand) = self.set.hands.get(at) {
            self.host.event(Event::DriveFull { serial: &hand.bay.spec.serial });
        }
    }

    /// A drive comes into use: it has its label.
    pub(crate) fn begin(&mut self, at: usize) -> Result<(), Halt> {
        self.current = Some(at);
        let (set, number) = self.set.free_number();
        let Some(hand) = self.set.hands.get_mut(at) else { return Ok(()) };
        let serial = hand.bay.spec.serial.clone();
        let (set, number) = hand.bay.label().map_or((set, number), |l| (l.set, l.drive));
        self.host.event(Event::DriveStarted { serial: &serial });
        let room = hand.bay.room.left();
        self.host.event(Event::DrivePlanned { serial: &serial, objects: 0, bytes: room });
        if let Err(stopped) = hand.bay.make_ready(&self.fixed.job(set), number) {
            return self.stopped(at, stopped);
        }
        if let (None, Some(label)) = (&hand.proved, hand.bay.signed_label()) {
            let io = Error::io("writing below", self.fixed.options.state);
            let (proved, _) = Proved::open(self.set.state.folder(), label).map_err(io)?;
            hand.proved = Some(proved);
        }
        self.set.numbers.insert((set, number));
        self.set.window.attach(&serial, hand.bay.spec.folder.clone());
        Ok(())
    }

    /// Waits for drives that are being sealed, since their bays may be wanted, and asks for another one.
    fn next_drive(&mut self, length: u64, kept: u64) -> Result<(), Halt> {
        for at in (0..self.set.hands.len()).rev() {
            if self.set.hands.get(at).is_some_and(|hand| !hand.bay.objects.is_empty()) {
                self.tell_full(at);
                self.retire(at)?;
            }
        }
        self.wait_for_seals()?;
        let mut refused: Option<Error> = None;
        while let Some(spec) = self.host.next_drive(refused.as_ref()) {
            let examined = self.set.examine(&spec);
            let admitted = examined.and_then(|bay| self.set.admit(bay, &mut *self.host));
            match admitted {
                Ok(()) => {
                    let rooms = self.set.hands.iter().map(|hand| hand.bay.room);
                    let room = rooms.map(|room| room.left()).max().unwrap_or(0);
                    let needed = cost(length).saturating_add(kept);
                    if self.set.hands.is_empty() || room >= needed {
                        return Ok(());
                    }
                    let path = spec.folder.display().to_string();
                    self.set.hands.retain(|hand| hand.bay.spec.serial != spec.serial);
                    refused = Some(Error::TooLarge { path, needed, largest: room });
                }
                Err(Error::Interrupted) => return Err(Error::Interrupted.into()),
                Err(error) => refused = Some(error),
            }
        }
        Err(Halt::NeedsDrive)
    }

    /// Everything in the local store that travels.
    pub(crate) fn local_objects(&self) -> Result<Vec<Object>, Error> {
        let local = &self.fixed.local;
        let config = local.length(&model::ObjectKey::Config).map_err(Error::Store)?;
        let (kind, name) = (ObjectKind::Config, self.fixed.repository);
        let mut objects = vec![Object { repository: 0, kind, name, length: config }];
        for kind in [ObjectKind::Key, ObjectKind::Pack, ObjectKind::Index, ObjectKind::Snapshot] {
            let listed = local.list(kind).map_err(Error::Store)?.into_iter();
            objects.extend(listed.filter_map(|listed| {
                let name = listed.key.id()?;
                Some(Object { repository: 0, kind, name, length: listed.length })
            }));
        }
        objects.sort_unstable();
        Ok(objects)
    }
}
