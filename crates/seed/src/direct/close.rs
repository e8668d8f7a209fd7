//! How drives are sealed: full ones by a thread of their own, without the list, which is not known then; and
//! the last one, with everything that is not on a drive yet, and the list.

use super::Fixed;
use super::hands::Hand;
use super::window::Verdict;
use super::work::{ATTEMPTS, Halt, Pass};
use crate::bay::{Job, Progress, Stopped};
use crate::drive::{FOLDER, INVENTORY, PARTIAL};
use crate::event::{Problem, Reason};
use crate::plan::cost;
use crate::prepare::DriveState;
use crate::{Error, Event, Inventory, Manifest, Object, Signed};
use model::{Digest, DriveSerial, ObjectKind};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use store::Store;
use store::direct::Aligned;

/// A manifest with its file's bytes.
pub(crate) type SealedNow = (Signed<Manifest>, Vec<u8>);

/// What a thread that seals tells.
pub(crate) enum Told {
    /// Bytes were read back.
    Read(DriveSerial, u64),
    /// Objects that did not come back.
    Lost(DriveSerial, Vec<Object>),
    /// It has ended.
    Done(Box<(Hand, Result<SealedNow, Unsealed>)>),
    /// It has ended otherwise.
    Panicked,
}

/// Why a drive is not sealed.
#[derive(Debug)]
pub(crate) enum Unsealed {
    /// It does not give back what was written to it.
    Unreliable,
    Stopped(Stopped),
}

impl From<Stopped> for Unsealed {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

/// The longest document that is read into memory: packs of trees have 128 MiB at most.
const LIMIT: u64 = 256 << 20;

/// Reads a drive back and seals it with what is right of it.
pub(crate) fn seal_early(
    mut hand: Hand,
    fixed: &Fixed<'_>,
    sender: &Sender<Told>,
    halting: &AtomicBool,
) {
    let _watch = Watch(sender);
    let sealed = seal(&mut hand, fixed, sender, halting);
    let _ = sender.send(Told::Done(Box::new((hand, sealed))));
}

/// Nobody waits for ever for a thread that panics.
struct Watch<'s>(&'s Sender<Told>);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.send(Told::Panicked);
        }
    }
}

fn seal(
    hand: &mut Hand,
    fixed: &Fixed<'_>,
    sender: &Sender<Told>,
    halting: &AtomicBool,
) -> Result<SealedNow, Unsealed> {
    let bay = &mut hand.bay;
    let serial = bay.spec.serial.clone();
    let job = fixed.job(bay.label().map_or(0, |label| label.set));
    let mut rounds = 0;
    while rounds < ATTEMPTS && !bay.objects.is_empty() {
        let read = bay.read_back(&job, fixed.limits.part, &mut |bytes| {
            let _ = sender.send(Told::Read(serial.clone(), bytes));
            !halting.load(Ordering::Relaxed)
        })?;
        if !read.damaged.is_empty() {
            bay.set_aside(&job, &read.damaged)?;
            let _ = sender.send(Told::Lost(serial.clone(), read.damaged));
            rounds += 1;
            continue;
        }
        match bay.seal(&job, &read) {
            Ok(()) => {
                bay.finish(&job)?;
                let Progress::Sealed(sealed) = &bay.progress else { break };
                return Ok((sealed.manifest.clone(), sealed.manifest_bytes.clone()));
            }
            Err(Stopped::Full) => {
                // What sealing has no room beside is written elsewhere.
                let last: Vec<Object> = bay.objects.last().copied().into_iter().collect();
                bay.discard(&job, &last)?;
                let _ = sender.send(Told::Lost(serial.clone(), last));
            }
            Err(stopped) => return Err(stopped.into()),
        }
    }
    Err(Unsealed::Unreliable)
}

/// The list, its file, and the file's hash.
struct List {
    body: Inventory,
    bytes: Vec<u8>,
    digest: Digest,
}

impl Pass<'_, '_, '_, '_> {
    /// The pass is over: has everything be on sealed drives, this snapshot included, if nothing was lost.
    pub(crate) fn finish(&mut self, name: Digest, bytes: &[u8]) -> Result<Verdict, Halt> {
        let length = bytes.len() as u64;
        let snapshot = Object { repository: 0, kind: ObjectKind::Snapshot, name, length };
        loop {
            self.prove()?;
            self.wait_for_seals()?;
            if self.set.window.lost() > 0 {
                self.undress_all()?;
                return Ok(Verdict::Lost);
            }
            if let Some(at) = self.last_drive(length)?
                && self.close(at, (snapshot, bytes))?
            {
                return Ok(Verdict::Sealed);
            }
        }
    }

    /// The drive that everything else goes onto. None when others had to be sealed first.
    fn last_drive(&mut self, length: u64) -> Result<Option<usize>, Halt> {
        let begun = |hand: &Hand| !hand.bay.objects.is_empty();
        let mut open: Vec<usize> = (0..self.set.hands.len())
            .filter(|at| self.set.hands.get(*at).is_some_and(begun))
            .collect();
        if open.is_empty() {
            return self.drive_for(length).map(Some);
        }
        open.sort_by_key(|at| self.set.hands.get(*at).map(|hand| hand.bay.room.left()));
        let last = open.pop();
        open.sort_unstable();
        if open.is_empty() {
            if let Some(at) = last.filter(|at| self.current != Some(*at)) {
                self.begin(at)?;
            }
            return Ok(self.current);
        }
        for at in open.into_iter().rev() {
            self.retire(at)?;
        }
        Ok(None)
    }

    /// Places what is on no drive yet, and seals. False when that has to be tried again.
    fn close(&mut self, at: usize, (snapshot, bytes): (Object, &[u8])) -> Result<bool, Halt> {
        let mut documents = self.local_objects()?;
        documents.push(snapshot);
        let list = self.list(&documents)?;
        let sealed = self.set.kept.iter().flat_map(|kept| &kept.body.objects);
        let sealed: BTreeSet<Object> = sealed.copied().collect();
        let kept = cost(list.bytes.len() as u64);
        // Snapshots lie together, with the list: who finds the one finds the others.
        let is_snapshot = |object: &&Object| object.kind == ObjectKind::Snapshot;
        let lengths = documents.iter().filter(is_snapshot).map(|object| cost(object.length));
        let mut together = lengths.fold(0, u64::saturating_add);
        documents.sort_by_key(|object| object.kind == ObjectKind::Snapshot);
        for object in documents {
            let Some(hand) = self.set.hands.get(at) else { return Ok(false) };
            let mut beside = kept;
            if object.kind == ObjectKind::Snapshot {
                together = together.saturating_sub(cost(object.length));
                beside = kept.saturating_add(together);
            }
            if sealed.contains(&object) || hand.bay.objects.contains(&object) {
                continue;
            }
            if !hand.fits(object.length, beside) {
                return self.no_room(at, &object, beside);
            }
            let read = match object == snapshot {
                true => Ok(bytes.to_vec()),
                false => self.fixed.local.get(&object.key(), LIMIT),
            };
            let read = read.map_err(Error::Store)?;
            let mut buffer = Aligned::new(read.len());
            buffer.bytes_mut().copy_from_slice(&read);
            if let Err(stopped) = self.put(at, &object, buffer.bytes()) {
                self.stopped(at, stopped)?;
                return Ok(false);
            }
        }
        if let Err(stopped) = self.name(at) {
            self.stopped(at, stopped)?;
            return Ok(false);
        }
        match self.seal_last(at, &list, (snapshot, bytes)) {
            Ok(done) => Ok(done),
            Err(Stopped::Full) => {
                // It was to keep room for this, and does not have it.
                if let Err(stopped) = self.undress(at) {
                    self.stopped(at, stopped)?;
                } else if self.current == Some(at) {
                    self.retire(at)?;
                }
                Ok(false)
            }
            Err(stopped) => {
                self.stopped(at, stopped)?;
                Ok(false)
            }
        }
    }

    /// The rest goes onto another drive.
    fn no_room(&mut self, at: usize, object: &Object, kept: u64) -> Result<bool, Halt> {
        if let Err(stopped) = self.name(at) {
            self.stopped(at, stopped)?;
            return Ok(false);
        }
        let Some(hand) = self.set.hands.get(at) else { return Ok(false) };
        let beside = hand.bay.room.left();
        if let Err(stopped) = self.undress(at) {
            self.stopped(at, stopped)?;
            return Ok(false);
        }
        let Some(hand) = self.set.hands.get(at) else { return Ok(false) };
        if hand.bay.objects.is_empty() {
            let largest = hand.bay.room.left();
            let together = kept.saturating_add(largest.saturating_sub(beside));
            return Err(Halt::Error(Error::TooLarge {
                path: object.key().path(),
                needed: cost(object.length).saturating_add(together),
                largest,
            }));
        }
        let serial = hand.bay.spec.serial.clone();
        self.host.event(Event::DriveFull { serial: &serial });
        self.retire(at)?;
        Ok(false)
    }

    /// The list, once it is kept what of it is elsewhere.
    fn list(&self, documents: &[Object]) -> Result<List, Error> {
        let pack = |(name, length)| Object { repository: 0, kind: ObjectKind::Pack, name, length };
        let packs = self.set.window.packs().into_iter().map(pack);
        let mut objects: BTreeSet<Object> = packs.chain(documents.iter().copied()).collect();
        let own: BTreeSet<_> = objects.iter().map(Object::identity).collect();
        let elsewhere = self.fixed.options.elsewhere.iter().copied();
        let elsewhere: BTreeSet<Object> =
            elsewhere.filter(|object| !own.contains(&object.identity())).collect();
        objects.extend(&elsewhere);
        let kept = match elsewhere.is_empty() {
            true => None,
            false => Some(self.signed(elsewhere)?.1),
        };
        self.set.state.keep_elsewhere(kept.as_deref())?;
        let (body, bytes) = self.signed(objects)?;
        let digest = Digest(Sha256::digest(&bytes).into());
        Ok(List { body, bytes, digest })
    }

    /// An inventory of these, and its file.
    fn signed(&self, objects: BTreeSet<Object>) -> Result<(Inventory, Vec<u8>), Error> {
        let body = Inventory {
            objects: objects.into_iter().collect(),
            created: self.fixed.options.now,
            ..self.fixed.early.clone()
        };
        let bytes = body.encode(self.fixed.options.signer);
        let bytes = bytes.map_err(|problem| Error::Malformed {
            document: crate::Document::Inventory,
            place: self.fixed.options.state.display().to_string(),
            problem,
        })?;
        Ok((body, bytes))
    }

    /// Reads the last drive back and seals it. What it lacks then decides whether that was it.
    fn seal_last(
        &mut self,
        at: usize,
        list: &List,
        (snapshot, bytes): (Object, &[u8]),
    ) -> Result<bool, Stopped> {
        let fixed = self.fixed;
        let Some(hand) = self.set.hands.get_mut(at) else { return Ok(false) };
        let serial = hand.bay.spec.serial.clone();
        let job = Job {
            inventory: &list.body,
            inventory_bytes: &list.bytes,
            inventory_digest: Some(list.digest),
            ..fixed.job(hand.bay.label().map_or(0, |label| label.set))
        };
        let stop = crate::bay::stopped("sealing", &hand.bay.spec.folder);
        hand.bay.folder.write(INVENTORY, PARTIAL, &list.bytes).map_err(&stop)?;
        self.set.window.detach(&serial);
        let host = &mut *self.host;
        let read = hand.bay.read_back(&job, fixed.limits.part, &mut |bytes| {
            host.event(Event::Reading { serial: &serial, bytes });
            !host.stop()
        })?;
        self.set.window.attach(&serial, hand.bay.spec.folder.clone());
        if !read.damaged.is_empty() {
            hand.bay.set_aside(&job, &read.damaged)?;
            hand.forgot += 1;
            let unreliable = hand.forgot >= ATTEMPTS;
            self.lost(&serial, &read.damaged);
            if unreliable {
                self.lose(at, DriveState::Unreliable);
            }
            return Ok(false);
        }
        hand.bay.seal(&job, &read)?;
        self.set.window.detach(&serial);
        // It has its list: another one must not be made before somebody has looked at it again.
        let place = hand.bay.spec.folder.display().to_string();
        let gone = |_| Stopped::Failed(Error::Gone { place, serial: serial.clone() });
        hand.bay.finish(&job).map_err(gone)?;
        let Progress::Sealed(sealed) = &hand.bay.progress else { return Err(Stopped::Gone) };
        let (manifest, file) = (sealed.manifest.clone(), sealed.manifest_bytes.clone());
        let failed = Stopped::Failed;
        // The manifest last: it is what says that there is a list and a snapshot.
        self.set.state.keep_inventory(&list.bytes).map_err(failed)?;
        let kept = fixed.local.put(&snapshot.key(), bytes).map_err(Error::Store);
        kept.map_err(failed)?;
        self.set.keep(manifest, &file).map_err(failed)?;
        self.set.complete = true;
        self.take(at);
        self.host.event(Event::DriveSealed { serial: &serial });
        Ok(true)
    }

    /// Objects did not come back when their drive was to be sealed. What is in the local store, too, is no loss.
    fn lost(&mut self, serial: &DriveSerial, objects: &[Object]) {
        self.set.window.lose(serial, Some(objects));
        for object in objects {
            let (repository, key) = (self.fixed.repository, object.key());
            let problem = Problem { repository, key, reason: Reason::Hash };
            self.host.event(Event::Problem { serial: Some(serial), problem: &problem });
        }
    }

    /// What the end of a pass that came to nothing has left on drives goes.
    fn undress_all(&mut self) -> Result<(), Halt> {
        for at in (0..self.set.hands.len()).rev() {
            if let Err(stopped) = self.undress(at) {
                self.stopped(at, stopped)?;
            }
        }
        Ok(())
    }

    pub(crate) fn undress(&mut self, at: usize) -> Result<(), Stopped> {
        let Some(hand) = self.set.hands.get_mut(at) else { return Ok(()) };
        let stop = crate::bay::stopped("cleaning up on", &hand.bay.spec.folder);
        if hand.bay.label().is_none() {
            return Ok(());
        }
        let stale = |object: &&Object| !matches!(object.kind, ObjectKind::Pack);
        let stale: Vec<Object> = hand.bay.objects.iter().filter(stale).copied().collect();
        hand.bay.discard(&self.fixed.job(0), &stale)?;
        hand.bay.folder.remove(INVENTORY).map_err(&stop)?;
        hand.bay.folder.sync_folder(FOLDER).map_err(&stop)?;
        hand.measure_again();
        Ok(())
    }

    /// Hears of one thing that a thread tells.
    pub(crate) fn heard(&mut self, told: Told) -> Result<(), Error> {
        match told {
            Told::Read(serial, bytes) => {
                self.host.event(Event::Reading { serial: &serial, bytes });
            }
            Told::Lost(serial, objects) => self.lost(&serial, &objects),
            Told::Panicked => return Err(Error::Interrupted),
            Told::Done(done) => {
                let (hand, sealed) = *done;
                let serial = hand.bay.spec.serial.clone();
                let state = match sealed {
                    Ok((manifest, bytes)) => {
                        self.set.keep(manifest, &bytes)?;
                        self.host.event(Event::DriveSealed { serial: &serial });
                        return Ok(());
                    }
                    Err(Unsealed::Stopped(Stopped::Failed(error))) => return Err(error),
                    Err(Unsealed::Stopped(_)) => DriveState::Gone,
                    Err(Unsealed::Unreliable) => DriveState::Unreliable,
                };
                self.set.window.lose(&serial, None);
                self.set.stopped.insert(serial.clone(), hand.describe(state));
                self.host.event(Event::DriveGone { serial: &serial });
            }
        }
        Ok(())
    }
}
