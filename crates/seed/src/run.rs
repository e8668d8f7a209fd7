//! One call of `prepare` at work: who gets what, the threads that do it, and what they tell. Knows no
//! bytes; each drive's own steps are in `writer` and `bay`.

use crate::bay::{Bay, Job, Stopped};
use crate::belt::{Belt, Limits, Share, Watch};
use crate::beneath;
use crate::event::{Events, Problem, Reason};
use crate::journal::{self, Held, Journal};
use crate::label::DriveRole;
use crate::parity::{self, Beside, Draft, Ended, Machinery, Works};
use crate::plan::{self, Filling, Room, Shortfall};
use crate::prepare::{AbsentDrive, DriveState, Prepared, PreparedDrive};
use crate::state::State;
use crate::writer::{Told, Writer};
use crate::{Error, Event, Label, Manifest, Object, Signed};
use model::{Digest, DriveSerial};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;
use store::Store;

/// One call of [`prepare`], once everything was found to be in order.
pub(crate) struct Run<'a> {
    pub(crate) job: &'a Job<'a>,
    /// The SHA-256 of the inventory's file.
    pub(crate) inventory: Digest,
    pub(crate) filling: Filling,
    /// Drives of a set.
    pub(crate) most: usize,
    pub(crate) limits: Limits,
    pub(crate) state: &'a State,
    pub(crate) sources: Vec<&'a dyn Store>,
    pub(crate) journal: Journal,
    /// Drives at hand.
    pub(crate) at_hand: BTreeSet<DriveSerial>,
    /// The journal's numbers of those that have a label.
    pub(crate) journal_drives: HashMap<DriveSerial, usize>,
    /// Manifests of drives sealed so far, whether at hand or not.
    pub(crate) earlier: Vec<Signed<Manifest>>,
    pub(crate) problems: Vec<Problem>,
    /// Drives that did not end well.
    pub(crate) stopped: HashMap<DriveSerial, DriveState>,
    /// Numbers of drives that are kept for parity.
    pub(crate) kept_numbers: BTreeSet<u32>,
    /// Parity drives of the set, where there are to be some, and how many of them are neither sealed nor at hand.
    pub(crate) parity: Option<(u64, u64)>,
}

/// How often the stop sign is looked at when nothing happens.
const LOOK: Duration = Duration::from_millis(50);

impl Run<'_> {
    /// Remembers drives that were sealed when the state folder was not there, or just before a
    /// crash. As after sealing: only once all of it is on the medium.
    pub(crate) fn keep_sealed(&mut self, bays: &mut [Bay]) -> Result<(), Error> {
        for bay in bays {
            let Some(sealed) = bay.sealed() else { continue };
            let (manifest, bytes) = (sealed.manifest.clone(), sealed.manifest_bytes.clone());
            let is_data = manifest.body.header.parity.is_none();
            if is_data
                && self.job.extents.is_some()
                && self.state.extents(&manifest.body)?.is_none()
            {
                match bay.copy_extents(self.job, &manifest.body.header) {
                    Err(Stopped::Failed(error)) => return Err(error),
                    Err(_) => {
                        self.stopped.insert(bay.spec.serial.clone(), DriveState::Gone);
                        continue;
                    }
                    Ok(()) => {}
                }
            }
            if self.is_kept(&manifest.body.header.label) {
                continue;
            }
            match bay.finish(self.job) {
                Ok(()) => self.keep(manifest, &bytes)?,
                Err(_) => {
                    self.stopped.insert(bay.spec.serial.clone(), DriveState::Gone);
                }
            }
        }
        Ok(())
    }

    /// Whether the drive with that label counts as sealed.
    fn is_kept(&self, label: &Digest) -> bool {
        self.earlier.iter().any(|manifest| manifest.body.header.label == *label)
    }

    pub(crate) fn keep(&mut self, manifest: Signed<Manifest>, bytes: &[u8]) -> Result<(), Error> {
        self.state.keep_manifest(&manifest.body, bytes)?;
        self.earlier.push(manifest);
        Ok(())
    }

    /// Numbers of this set that drives have already.
    fn numbers(&self, bays: &[Bay]) -> BTreeSet<u32> {
        let sealed = self.earlier.iter().map(|manifest| &manifest.body.header);
        let sealed = sealed.filter(|header| header.set == self.job.set).map(|header| header.drive);
        let labelled = bays.iter().filter_map(Bay::label);
        let labelled = labelled.filter(|label| label.set == self.job.set).map(|label| label.drive);
        sealed.chain(labelled).chain(self.kept_numbers.iter().copied()).collect()
    }

    pub(crate) fn refuse_too_many(&self, bays: &[Bay]) -> Result<(), Error> {
        let empty = bays.iter().filter(|bay| bay.label().is_none()).count();
        // A set that has more than is wanted by now, and takes no further one, ends with what it has.
        if empty > 0 && self.numbers(bays).len() + empty > self.most {
            return Err(Error::TooManyDrives { limit: self.most });
        }
        Ok(())
    }

    /// Numbers for drives without one, none that a drive has which may come back.
    pub(crate) fn free_numbers(&self, bays: &[Bay]) -> Vec<u32> {
        let mut taken = self.numbers(bays);
        taken.extend(self.absent().filter(|held| held.set == self.job.set).map(|held| held.drive));
        let mut free = (0..).filter(|number| !taken.contains(number));
        let number = |bay: &Bay| bay.label().map_or_else(|| free.next(), |label| Some(label.drive));
        bays.iter().filter_map(number).collect()
    }

    /// Whether no more data drives come to the set: every object is on a sealed drive, or the set is full.
    pub(crate) fn is_final(&self, set: &parity::Set<'_>, count: u32) -> bool {
        if set.covered.len() + count as usize >= self.most {
            return true;
        }
        let sealed = self.earlier.iter().flat_map(|manifest| &manifest.body.objects);
        let sealed: BTreeSet<&Object> = sealed.collect();
        self.job.wanted.iter().all(|object| sealed.contains(object))
    }

    /// A drive takes no more.
    pub(crate) fn stop_drive(
        &mut self,
        serial: &DriveSerial,
        why: Stopped,
        events: &mut dyn Events,
    ) -> Result<(), Error> {
        match why {
            Stopped::Failed(error) => return Err(error),
            // It had the room by its own account: whoever has taken it must give it back.
            Stopped::Full => {
                let full = io::Error::from(io::ErrorKind::StorageFull);
                return Err(Error::io("writing parity on", Path::new(serial.as_str()))(full));
            }
            Stopped::Gone => {
                self.stopped.insert(serial.clone(), DriveState::Gone);
                events.event(Event::DriveGone { serial });
            }
        }
        Ok(())
    }

    /// Objects that are on no drive at all, ascending.
    pub(crate) fn unplaced(&self, bays: &[Bay]) -> Vec<Object> {
        let sealed = self.earlier.iter().flat_map(|manifest| &manifest.body.objects);
        let placed: BTreeSet<&Object> =
            sealed.chain(bays.iter().flat_map(|bay| &bay.objects)).collect();
        let unplaced = self.job.wanted.iter().filter(|object| !placed.contains(object));
        unplaced.copied().collect()
    }

    /// Has the journal say of drives at hand what is on them.
    pub(crate) fn note_found(&mut self, bays: &[Bay]) -> Result<(), Error> {
        for bay in bays.iter().filter(|bay| !bay.is_sealed()) {
            if let Some(label) = bay.signed_label() {
                let number = self.note_drive(label)?;
                let objects = journal::places(&self.job.inventory.objects, &bay.objects);
                let objects = objects.into_iter().collect();
                let noted = self.journal.found(number, &objects);
                noted.map_err(self.state.not_noted())?;
            }
        }
        Ok(())
    }

    fn note_drive(&mut self, label: &Signed<Label>) -> Result<usize, Error> {
        let Label { set, drive, serial, .. } = label.body.clone();
        let held = Held { label: label.digest, set, drive, serial, objects: BTreeSet::default() };
        let number = self.journal.drive(held).map_err(self.state.not_noted())?;
        self.journal_drives.insert(label.body.serial.clone(), number);
        Ok(number)
    }

    fn note(
        &mut self,
        serial: &DriveSerial,
        objects: &[Object],
        note: fn(&mut Journal, usize, &[u32]) -> io::Result<()>,
    ) -> Result<(), Error> {
        let Some(number) = self.journal_drives.get(serial).copied() else { return Ok(()) };
        let places = journal::places(&self.job.inventory.objects, objects);
        note(&mut self.journal, number, &places).map_err(self.state.not_noted())
    }

    /// Drives that are neither at hand nor sealed, and what they hold.
    pub(crate) fn absent(&self) -> impl Iterator<Item = &Held> {
        // A drive at hand that was erased and begun anew is no longer the one that it was.
        let at_hand = |held: &Held| self.at_hand.contains(&held.serial);
        let absent = move |held: &&Held| !at_hand(held) && !self.is_kept(&held.label);
        self.journal.drives().iter().filter(absent)
    }

    /// Fills and seals the drives; answers what found no place.
    /// Parity is written beside them where it can be; answers how it has ended on each of those drives, too.
    pub(crate) fn fill(
        &mut self,
        bays: &mut [Bay],
        parity: &mut [Bay],
        events: &mut dyn Events,
    ) -> Result<(Vec<Object>, Vec<Option<Ended>>), Error> {
        let todo = self.unplaced(bays);
        let taken = self.numbers(bays);
        let mut open: Vec<&mut Bay> = bays.iter_mut().filter(|bay| !bay.is_sealed()).collect();
        let rooms: Vec<Room> = open.iter().map(|bay| bay.room).collect();
        let kept = parity::kept_shares(self, &open, no_shares(&rooms), &todo);
        let (shares, rest) = match kept {
            Some(kept) => kept,
            None => self.shares(&todo, &rooms)?,
        };
        let inventory = self.job.inventory_bytes.len() as u64;
        let capacity = rooms.iter().map(Room::capacity).max().unwrap_or(0);
        self.announce(&todo, plan::shortfall(&rest, capacity, inventory), events);
        self.announce_parity(&shares, &open, events);
        let beside = parity.iter().map(|bay| bay.label().is_none());
        let unlabelled: Vec<bool> =
            open.iter().map(|bay| bay.label().is_none()).chain(beside).collect();
        // Parity drives come behind those that get something.
        let used = |at: &usize| shares.get(*at).is_some_and(|share| !share.objects.is_empty());
        let (mut order, unused): (Vec<usize>, Vec<usize>) =
            plan::order(&rooms).into_iter().partition(used);
        order.extend(open.len()..unlabelled.len());
        order.extend(unused);
        let numbers = self.new_numbers(&taken, &order, &unlabelled);
        let draft = Draft::plan(self, &open, (&shares, &rest), &numbers, parity)?;
        self.write(&mut open, (shares, rest), &numbers, (draft, parity), events)
    }

    /// What each drive is to get, and what none has room for. What a drive holds that is not at hand
    /// comes last: if it is back in time, nothing was written twice.
    fn shares(&self, todo: &[Object], rooms: &[Room]) -> Result<(Vec<Share>, Vec<Object>), Error> {
        let held: BTreeSet<u32> = self.absent().flat_map(|held| &held.objects).copied().collect();
        let is_held = |object: &Object| {
            let place = self.job.inventory.objects.binary_search(object).ok();
            place.and_then(|at| u32::try_from(at).ok()).is_some_and(|at| held.contains(&at))
        };
        let (last, first): (Vec<Object>, Vec<Object>) = todo.iter().partition(|o| is_held(o));
        let mut shares = no_shares(rooms);
        let mut rest = Vec::new();
        for objects in [first, last] {
            let rooms: Vec<Room> = shares.iter().map(|share| share.room).collect();
            let inventory = self.job.inventory_bytes.len() as u64;
            let plan = plan::plan(&objects, &rooms, inventory, self.filling);
            let plan = plan.map_err(|too_large| Error::TooLarge {
                path: too_large.object.key().path(),
                needed: too_large.needed,
                largest: too_large.largest,
            })?;
            for (share, objects) in shares.iter_mut().zip(plan.drives) {
                objects.iter().for_each(|object| share.room.add(object.length));
                share.objects.extend(objects);
            }
            rest.extend(plan.rest);
        }
        rest.sort_unstable();
        Ok((shares, rest))
    }

    /// Numbers for drives without a label, in the order in which drives are filled. Those of drives
    /// that may come back are given away only when the set would otherwise have too many.
    fn new_numbers(&self, taken: &BTreeSet<u32>, order: &[usize], unlabelled: &[bool]) -> Vec<u32> {
        let ours = |held: &&Held| held.set == self.job.set;
        let kept: BTreeSet<u32> = self.absent().filter(ours).map(|held| held.drive).collect();
        let all =
            || (0..u32::try_from(self.most).unwrap_or(u32::MAX)).filter(|n| !taken.contains(n));
        let mut free =
            all().filter(|n| !kept.contains(n)).chain(all().filter(|n| kept.contains(n)));
        let mut numbers = vec![0; unlabelled.len()];
        for at in order.iter().filter(|at| unlabelled.get(**at) == Some(&true)) {
            if let Some(number) = numbers.get_mut(*at) {
                *number = free.next().unwrap_or(0);
            }
        }
        numbers
    }

    fn announce(&self, todo: &[Object], shortfall: Option<Shortfall>, events: &mut dyn Events) {
        let all = self.job.wanted;
        let (objects, bytes) = (all.len() as u64, sum(all));
        events.event(Event::Planned {
            objects,
            bytes,
            done_objects: objects.saturating_sub(todo.len() as u64),
            done_bytes: bytes.saturating_sub(sum(todo)),
            shortfall,
        });
    }

    fn announce_parity(&self, shares: &[Share], open: &[&mut Bay], events: &mut dyn Events) {
        let Some((parity, lacking)) = self.parity else { return };
        let used = shares.iter().zip(open);
        let used = used.filter(|(share, bay)| !share.objects.is_empty() || bay.label().is_some());
        let set = self.job.set;
        let sealed = self.earlier.iter().filter(|manifest| {
            manifest.body.header.set == set && !manifest.body.objects.is_empty()
        });
        let data = (used.count() + sealed.count()) as u64;
        events.event(Event::ParityPlanned { data, parity, lacking });
    }

    /// Answers which of the drives are said to have been started.
    fn announce_drives(
        &self,
        serials: &[DriveSerial],
        shares: &[Share],
        draft: Option<&Draft>,
        events: &mut dyn Events,
    ) -> Vec<bool> {
        let mut started = Vec::new();
        for (serial, share) in serials.iter().zip(shares) {
            let (objects, bytes) = (share.objects.len() as u64, sum(&share.objects));
            if objects > 0 {
                events.event(Event::DrivePlanned { serial, objects, bytes });
            }
            let now = objects > 0 && self.filling == Filling::Even;
            if now {
                events.event(Event::DriveStarted { serial });
            }
            started.push(now);
        }
        for (at, serial) in serials.iter().skip(shares.len()).enumerate() {
            if draft.is_some_and(|draft| draft.has(at)) {
                events.event(Event::DriveStarted { serial });
            }
        }
        started
    }

    /// Starts the threads, and listens to them until all have ended.
    fn write(
        &mut self,
        open: &mut [&mut Bay],
        (shares, rest): (Vec<Share>, Vec<Object>),
        numbers: &[u32],
        (draft, parity): (Option<Draft>, &mut [Bay]),
        events: &mut dyn Events,
    ) -> Result<(Vec<Object>, Vec<Option<Ended>>), Error> {
        let of_parity = parity.iter().map(|bay| bay.spec.serial.clone());
        let serials: Vec<DriveSerial> =
            open.iter().map(|bay| bay.spec.serial.clone()).chain(of_parity).collect();
        let started = self.announce_drives(&serials, &shares, draft.as_ref(), events);
        let inventory = self.job.inventory_bytes.len() as u64;
        let largest = open.iter().map(|bay| bay.room.when_empty(inventory)).max().unwrap_or(0);
        let belt = Belt::new(shares, rest, (self.limits, self.filling, largest));
        let (sender, told) = channel();
        let (job, limits, sources) = (self.job, self.limits, self.sources.clone());
        let is_stopped = || belt.is_stopped();
        let (works, givers, takers) = match draft.as_ref().map(Draft::works) {
            Some(Machinery { works, givers, takers }) => (Some(works), givers, takers),
            None => (None, Vec::new(), Vec::new()),
        };
        let ended = std::thread::scope(|scope| {
            let started_parity = draft.as_ref().zip(works.as_ref()).map(|(draft, works)| {
                let beside = Beside {
                    job,
                    belt: &belt,
                    drives: open.len(),
                    sources: sources.clone(),
                    told: sender.clone(),
                    is_stopped: &is_stopped,
                };
                draft.start(scope, (works, givers, takers), &beside, parity)
            });
            let (tees, lanes) = started_parity.map(|it| (it.tees, it.lanes)).unwrap_or_default();
            let mut tees = tees.into_iter();
            let drives = open.iter_mut().zip(started).zip(numbers);
            for (at, ((bay, started), number)) in drives.enumerate() {
                let whole = limits.whole.unwrap_or_else(|| bay.folder.syncs_as_a_whole());
                let told = sender.clone();
                let (belt, labelled) = (&belt, bay.label().is_some());
                let (number, loose, tee) = (*number, None, tees.next().flatten());
                let writer = Writer {
                    at,
                    number,
                    job,
                    belt,
                    limits,
                    told,
                    whole,
                    started,
                    labelled,
                    loose,
                    tee,
                };
                beneath::spawn(scope, move || writer.run(bay));
            }
            for _ in 0..limits.readers {
                beneath::spawn(scope, || crate::reader::read(&belt, &sources));
            }
            drop(sender);
            // Whoever is told may panic.
            let _watch = Watch(&belt);
            let stop = |error| belt.stop(error);
            if let Err(error) = self.listen(&stop, &told, &serials, events) {
                stop(error);
            }
            lanes.into_iter().map(|lane| lane.map(parity::joined)).collect()
        });
        if let Some(error) = works.and_then(Works::into_error) {
            belt.stop(error);
        }
        Ok((belt.into_left()?, ended))
    }

    /// Tells of what happens until every drive's thread has ended.
    pub(crate) fn listen(
        &mut self,
        stop: &dyn Fn(Error),
        told: &Receiver<Told>,
        serials: &[DriveSerial],
        events: &mut dyn Events,
    ) -> Result<(), Error> {
        let mut stopped = false;
        loop {
            match told.recv_timeout(LOOK) {
                Ok(told) => self.hear(told, serials, events)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if events.stop() && !std::mem::replace(&mut stopped, true) {
                stop(Error::Interrupted);
            }
        }
    }

    fn hear(
        &mut self,
        told: Told,
        serials: &[DriveSerial],
        events: &mut dyn Events,
    ) -> Result<(), Error> {
        let Some(first) = serials.first() else { return Ok(()) };
        let serial = |at: usize| serials.get(at).unwrap_or(first);
        match told {
            Told::Started(at) => events.event(Event::DriveStarted { serial: serial(at) }),
            Told::Wrote(at, bytes) => events.event(Event::Writing { serial: serial(at), bytes }),
            Told::Named(at, object) => {
                let Some(repository) = self.repository(&object) else { return Ok(()) };
                let (serial, key, bytes) = (serial(at), object.key(), object.length);
                events.event(Event::ObjectDone { serial, repository, key: &key, bytes });
            }
            Told::Labelled(label) => {
                self.note_drive(&label)?;
            }
            Told::Durable(at, objects) => self.note(serial(at), &objects, Journal::named)?,
            Told::Removed(at, objects) => self.note(serial(at), &objects, Journal::removed)?,
            Told::NotHad(object, reason) => {
                if let Some(problem) = self.problem(&object, reason) {
                    events.event(Event::Problem { serial: None, problem: &problem });
                    self.problems.push(problem);
                }
            }
            Told::Damaged(at, object) => {
                if let Some(problem) = self.problem(&object, Reason::Hash) {
                    events.event(Event::Problem { serial: Some(serial(at)), problem: &problem });
                }
            }
            Told::Full(at) => events.event(Event::DriveFull { serial: serial(at) }),
            Told::Read(at, bytes) => events.event(Event::Reading { serial: serial(at), bytes }),
            Told::Sealed(at, sealed) => {
                self.keep(sealed.0, &sealed.1)?;
                events.event(Event::DriveSealed { serial: serial(at) });
            }
            Told::Gone(at) => {
                self.stopped.insert(serial(at).clone(), DriveState::Gone);
                events.event(Event::DriveGone { serial: serial(at) });
            }
            Told::Unreliable(at) => {
                self.stopped.insert(serial(at).clone(), DriveState::Unreliable);
            }
        }
        Ok(())
    }

    fn repository(&self, object: &Object) -> Option<&Digest> {
        self.job.inventory.repositories.get(usize::from(object.repository))
    }

    fn problem(&self, object: &Object, reason: Reason) -> Option<Problem> {
        let repository = *self.repository(object)?;
        Some(Problem { repository, key: object.key(), reason })
    }

    pub(crate) fn report(self, bays: &[Bay], left: &[Object], state: &Path) -> Prepared {
        let inventory = self.job.inventory.clone();
        let sealed: BTreeSet<&Object> =
            self.earlier.iter().flat_map(|manifest| &manifest.body.objects).collect();
        let remaining: Vec<Object> =
            self.job.wanted.iter().filter(|object| !sealed.contains(object)).copied().collect();
        let capacity = bays.iter().map(|bay| bay.room.capacity()).max().unwrap_or(0);
        let inventory_length = self.job.inventory_bytes.len() as u64;
        let of = |held: &Held| {
            let at = held.objects.iter().filter_map(|at| usize::try_from(*at).ok());
            let objects = at.filter_map(|at| inventory.objects.get(at));
            let (mut count, mut bytes) = (0, 0_u64);
            for object in objects.filter(|object| !sealed.contains(object)) {
                count += 1;
                bytes = bytes.saturating_add(object.length);
            }
            let (serial, drive) = (held.serial.clone(), held.drive);
            AbsentDrive { serial, drive, objects: count, bytes }
        };
        let absent = self.absent().map(of).filter(|absent| absent.objects > 0).collect();
        Prepared {
            seed: inventory.seed,
            absent,
            set: self.job.set,
            parity_missing: 0,
            signer: self.job.signer.public(),
            fingerprint: self.job.signer.fingerprint(),
            inventory_digest: self.inventory,
            inventory_file: State::inventory_file(state),
            drives: self.drives(bays, state),
            inventory,
            remaining,
            shortfall: plan::shortfall(left, capacity, inventory_length),
            problems: self.problems,
        }
    }

    /// Every drive of the set, in the order of their numbers; those without one last.
    fn drives(&self, bays: &[Bay], state: &Path) -> Vec<PreparedDrive> {
        let sealed =
            self.earlier.iter().filter(|manifest| manifest.body.header.set == self.job.set);
        let mut drives: Vec<PreparedDrive> = sealed
            .map(|manifest| PreparedDrive {
                serial: manifest.body.header.serial.clone(),
                set: manifest.body.header.set,
                drive: Some(manifest.body.header.drive),
                state: DriveState::Sealed,
                objects: manifest.body.objects.len() as u64,
                bytes: manifest.body.bytes(),
                role: match manifest.body.header.parity {
                    Some(_) => DriveRole::Parity,
                    None => DriveRole::Data,
                },
                manifest: Some(manifest.digest),
                manifest_file: Some(State::manifest_file(state, &manifest.body)),
            })
            .collect();
        // Among these may be one that has its manifest and could not be finished.
        let others = bays.iter().filter(|bay| {
            let kept = bay.signed_label().is_some_and(|label| self.is_kept(&label.digest));
            !kept && bay.label().is_none_or(|label| label.set == self.job.set)
        });
        drives.extend(others.map(|bay| PreparedDrive {
            serial: bay.spec.serial.clone(),
            set: self.job.set,
            drive: bay.label().map(|label| label.drive),
            role: bay.label().map_or(DriveRole::Data, |label| label.role),
            state: self.stopped.get(&bay.spec.serial).copied().unwrap_or(DriveState::Unused),
            objects: bay.objects.len() as u64,
            bytes: bay.objects.iter().fold(0, |sum, object| sum.saturating_add(object.length)),
            manifest: None,
            manifest_file: None,
        }));
        drives.sort_by_key(|drive| drive.drive.unwrap_or(u32::MAX));
        drives
    }
}

/// Of drives with that room.
fn no_shares(rooms: &[Room]) -> Vec<Share> {
    let order = plan::order(rooms);
    let rank = |at: usize| order.iter().position(|other| *other == at).unwrap_or(0);
    let share =
        |(at, room): (usize, &Room)| Share { objects: Vec::new(), room: *room, rank: rank(at) };
    rooms.iter().enumerate().map(share).collect()
}

fn sum(objects: &[Object]) -> u64 {
    objects.iter().fold(0, |sum, object| sum.saturating_add(object.length))
}
