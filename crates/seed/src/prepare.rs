//! Writes a drive set: which objects are still without a place, which drive takes them, what is
//! left. Knows no bytes; each drive's own steps are in `bay`.

use crate::bay::{Bay, Copied, DriveSpec, Job, Progress, ReadBack, Stopped};
use crate::beneath::Beneath;
use crate::drive;
use crate::event::{Events, Problem, Reason};
use crate::freeze::{freeze, identity};
use crate::plan::{self, Room, Shortfall};
use crate::sign::{Fingerprint, SigningKey, Trust};
use crate::state::State;
use crate::{Error, Event, Inventory, Manifest, Object, Signed};
use jiff::Timestamp;
use model::{Digest, DriveSerial};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use store::Store;
use wire::{MAX_DRIVES, PublicKey, SeedId};

/// What [`prepare`] needs to know beside repositories and drives.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// A folder that remembers the seed between calls; made when missing. One seed, one folder.
    /// If it is lost, what is on the drives is found there again, as long as they are at hand.
    pub state: &'a Path,
    /// Signs everything.
    pub signer: &'a SigningKey,
    /// The seed, where the caller has named it already; none to go on with the one in the state
    /// folder or on the drives, or to draw a new one.
    pub seed: Option<SeedId>,
    /// Which drive set of the seed is written; from 0.
    pub set: u32,
    /// The time now.
    pub now: Timestamp,
    /// Makes reading back come from the medium.
    pub read_back: &'a dyn ReadBack,
}

/// How a drive is after the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriveState {
    /// Complete, read back, signed. Can be shipped.
    Sealed,
    /// Given, and not needed.
    Unused,
    /// No longer answered. Give it again in another call to go on with it, or leave it out: then
    /// its objects go onto other drives.
    Gone,
    /// Does not give back what was written to it. Do not use it.
    Unreliable,
}

/// A drive after the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedDrive {
    /// Its serial number.
    pub serial: DriveSerial,
    /// Its set.
    pub set: u32,
    /// Its number in the set; none while it has no label.
    pub drive: Option<u32>,
    /// How it is.
    pub state: DriveState,
    /// Objects on it.
    pub objects: u64,
    /// Their lengths together.
    pub bytes: u64,
    /// The SHA-256 of its manifest's file, once sealed.
    pub manifest: Option<Digest>,
    /// Where a copy of its manifest is, once sealed.
    pub manifest_file: Option<PathBuf>,
}

/// What [`prepare`] has done.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The seed.
    pub seed: SeedId,
    /// The drive set.
    pub set: u32,
    /// Who signed.
    pub signer: PublicKey,
    /// The same, for people: the other end is given this.
    pub fingerprint: Fingerprint,
    /// The frozen list.
    pub inventory: Inventory,
    /// The SHA-256 of the inventory's file.
    pub inventory_digest: Digest,
    /// Where the inventory's file is.
    pub inventory_file: PathBuf,
    /// Every drive of this set: those given, and those sealed by earlier calls.
    pub drives: Vec<PreparedDrive>,
    /// Objects that are on no sealed drive, ascending. Empty: the seed is complete.
    pub remaining: Vec<Object>,
    /// Objects that could not be read from the repository as they should be.
    pub problems: Vec<Problem>,
    /// What the drives at hand lacked. The same call with these too goes on.
    pub shortfall: Option<Shortfall>,
}

impl Prepared {
    /// Whether every object of the seed is on a sealed drive.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.remaining.is_empty()
    }
}

/// Writes what is still missing of a seed onto drives, and seals them. Calling it again goes on
/// where the last call ended, whatever ended it; sealed drives need not be there then.
///
/// The caller keeps the repositories from being pruned meanwhile.
///
/// # Errors
/// Refuses, before anything is written, drives that are not empty and not of this seed and set,
/// the same drive twice, more than ten drives, and objects that no drive can hold. A drive that
/// fills up or goes away, and an object that cannot be read, are not errors: see [`Prepared`].
pub fn prepare(
    options: &Options<'_>,
    stores: &[&dyn Store],
    drives: &[DriveSpec],
    events: &mut dyn Events,
) -> Result<Prepared, Error> {
    let trust = Trust::Key(options.signer.public());
    refuse_same_drives(drives)?;
    let state = State::open(options.state)?;
    let mut bays = Vec::new();
    for spec in drives {
        bays.push(Bay::examine(spec, &trust)?);
    }
    let (inventory_bytes, inventory) = frozen(options, &trust, &state, &bays, stores)?;
    refuse_strangers(options, &inventory.body, &bays)?;
    let sources = sources(&inventory.body, stores)?;
    for bay in &mut bays {
        bay.take_stock(&inventory.body, inventory_bytes.len() as u64)?;
    }
    let earlier: Vec<Signed<Manifest>> = state
        .manifests(&trust)?
        .into_iter()
        .filter(|manifest| manifest.body.header.seed == inventory.body.seed)
        .collect();
    let job = Job {
        signer: options.signer,
        now: options.now,
        set: options.set,
        inventory: &inventory.body,
        inventory_bytes: &inventory_bytes,
        inventory_digest: inventory.digest,
        read_back: options.read_back,
    };
    let mut run =
        Run { job, state: &state, sources, earlier, problems: Vec::new(), stopped: HashMap::new() };
    run.keep_sealed(&bays)?;
    run.refuse_too_many(&bays)?;
    let left = run.fill(&mut bays, events)?;
    Ok(run.report(&bays, &left, options.state))
}

/// The frozen list: from the state folder, else from a drive, else made now. It is in the state
/// folder before this returns, so that no label is ever written without it.
fn frozen(
    options: &Options<'_>,
    trust: &Trust,
    state: &State,
    bays: &[Bay],
    stores: &[&dyn Store],
) -> Result<(Vec<u8>, Signed<Inventory>), Error> {
    if let Some(kept) = state.inventory(trust)? {
        return Ok(kept);
    }
    refuse_other_sources(bays, stores)?;
    let mut on_drives: Option<(Vec<u8>, Signed<Inventory>)> = None;
    for bay in bays {
        let Some(label) = bay.signed_label() else { continue };
        let Some(found) = drive::inventory(&bay.folder, label, trust)? else { continue };
        match &on_drives {
            Some((bytes, other)) if *bytes != found.0 => {
                let place = drive::place(&bay.folder);
                return Err(Error::Disagree { place, seed: other.body.seed });
            }
            _ => on_drives = Some(found),
        }
    }
    let (bytes, inventory) = match on_drives {
        Some(found) => found,
        None => list_now(options, trust, bays, stores)?,
    };
    state.keep_inventory(&bytes)?;
    Ok((bytes, inventory))
}

/// A stranger's drive must not decide what this seed is: the state folder would remember it.
fn refuse_other_sources(bays: &[Bay], stores: &[&dyn Store]) -> Result<(), Error> {
    let ours = stores.iter().map(|store| identity(*store)).collect::<Result<BTreeSet<_>, _>>()?;
    for bay in bays {
        let Some(label) = bay.label() else { continue };
        if !label.repositories.iter().eq(&ours) {
            return Err(Error::OtherSource { place: drive::place(&bay.folder), found: label.seed });
        }
    }
    Ok(())
}

fn list_now(
    options: &Options<'_>,
    trust: &Trust,
    bays: &[Bay],
    stores: &[&dyn Store],
) -> Result<(Vec<u8>, Signed<Inventory>), Error> {
    let labelled = bays.iter().find_map(Bay::label).map(|label| label.seed);
    let seed = match options.seed.or(labelled) {
        Some(seed) => seed,
        None => {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes).map_err(|_| Error::Random)?;
            SeedId(bytes)
        }
    };
    let crate::Frozen { repositories, objects } = freeze(stores)?;
    let inventory = Inventory { seed, created: options.now, repositories, objects };
    let place = || options.state.display().to_string();
    let document = crate::Document::Inventory;
    let bytes = inventory.encode(options.signer).map_err(|problem| Error::Malformed {
        document,
        place: place(),
        problem,
    })?;
    let decoded =
        Inventory::decode(&bytes, trust).map_err(|refused| refused.at(document, &place()))?;
    Ok((bytes, decoded))
}

/// The same folder by whatever path, and the same serial number, are the same drive.
fn refuse_same_drives(drives: &[DriveSpec]) -> Result<(), Error> {
    let mut seen: Vec<((u64, u64), &DriveSpec)> = Vec::new();
    for spec in drives {
        let folder = Beneath::open(&spec.folder).map_err(Error::io("opening", &spec.folder))?;
        let identity = folder.identity().map_err(Error::io("opening", &spec.folder))?;
        let same = |(other, with): &&((u64, u64), &DriveSpec)| {
            *other == identity || with.serial == spec.serial
        };
        if let Some((_, first)) = seen.iter().find(same) {
            let first = first.folder.display().to_string();
            return Err(Error::SameDrive { first, second: spec.folder.display().to_string() });
        }
        seen.push((identity, spec));
    }
    Ok(())
}

fn refuse_strangers(
    options: &Options<'_>,
    inventory: &Inventory,
    bays: &[Bay],
) -> Result<(), Error> {
    if let Some(expected) = options.seed.filter(|seed| *seed != inventory.seed) {
        let place = options.state.display().to_string();
        return Err(Error::OtherSeed { place, found: inventory.seed, expected });
    }
    for bay in bays {
        let Some(label) = bay.label() else { continue };
        let place = || drive::place(&bay.folder);
        if label.seed != inventory.seed {
            return Err(Error::OtherSeed {
                place: place(),
                found: label.seed,
                expected: inventory.seed,
            });
        }
        if label.set != options.set && !bay.is_sealed() {
            return Err(Error::OtherSet {
                place: place(),
                found: label.set,
                expected: options.set,
            });
        }
    }
    Ok(())
}

/// The store of each of the seed's repositories, in the seed's order.
fn sources<'a>(
    inventory: &Inventory,
    stores: &[&'a dyn Store],
) -> Result<Vec<&'a dyn Store>, Error> {
    let mut by_name = HashMap::new();
    for store in stores {
        by_name.insert(identity(*store)?, *store);
    }
    let refuse = || Error::OtherRepositories(inventory.seed);
    if by_name.len() != inventory.repositories.len() {
        return Err(refuse());
    }
    let find = |name: &Digest| by_name.get(name).copied().ok_or_else(refuse);
    inventory.repositories.iter().map(find).collect()
}

/// One call of [`prepare`], once everything was found to be in order.
struct Run<'a> {
    job: Job<'a>,
    state: &'a State,
    sources: Vec<&'a dyn Store>,
    /// Manifests of drives sealed so far, whether at hand or not.
    earlier: Vec<Signed<Manifest>>,
    problems: Vec<Problem>,
    /// Drives that did not end well.
    stopped: HashMap<DriveSerial, DriveState>,
}

/// How often a drive may fail to give back what was written before it counts as unreliable.
const ATTEMPTS: u32 = 3;

impl Run<'_> {
    /// Remembers drives that were sealed when the state folder was not there, or just before a
    /// crash.
    fn keep_sealed(&mut self, bays: &[Bay]) -> Result<(), Error> {
        for bay in bays {
            let Progress::Sealed(sealed) = &bay.progress else { continue };
            if self.earlier.iter().all(|known| known.digest != sealed.manifest.digest) {
                self.state.keep_manifest(&sealed.manifest.body, &sealed.manifest_bytes)?;
                self.earlier.push(sealed.manifest.clone());
            }
        }
        Ok(())
    }

    /// Numbers of this set that drives have already.
    fn numbers(&self, bays: &[Bay]) -> BTreeSet<u32> {
        let sealed = self.earlier.iter().map(|manifest| &manifest.body.header);
        let sealed = sealed.filter(|header| header.set == self.job.set).map(|header| header.drive);
        let labelled = bays.iter().filter_map(Bay::label);
        let labelled = labelled.filter(|label| label.set == self.job.set).map(|label| label.drive);
        sealed.chain(labelled).collect()
    }

    fn refuse_too_many(&self, bays: &[Bay]) -> Result<(), Error> {
        let empty = bays.iter().filter(|bay| bay.label().is_none()).count();
        if self.numbers(bays).len() + empty > MAX_DRIVES {
            return Err(Error::TooManyDrives { limit: MAX_DRIVES });
        }
        Ok(())
    }

    /// Objects that are on no drive at all, ascending.
    fn unplaced(&self, bays: &[Bay]) -> VecDeque<Object> {
        let sealed = self.earlier.iter().flat_map(|manifest| &manifest.body.objects);
        let placed: BTreeSet<&Object> =
            sealed.chain(bays.iter().flat_map(|bay| &bay.objects)).collect();
        let unplaced = self.job.inventory.objects.iter().filter(|object| !placed.contains(object));
        unplaced.copied().collect()
    }

    /// Fills and seals drives in the order given; answers what found no place.
    fn fill(
        &mut self,
        bays: &mut [Bay],
        events: &mut dyn Events,
    ) -> Result<VecDeque<Object>, Error> {
        let mut queue = self.unplaced(bays);
        self.announce(&queue, bays, events)?;
        for at in 0..bays.len() {
            let number = (0..).find(|n| !self.numbers(bays).contains(n)).unwrap_or_default();
            let Some(bay) = bays.get_mut(at).filter(|bay| !bay.is_sealed()) else { continue };
            if queue.is_empty() && bay.objects.is_empty() {
                continue;
            }
            let filled = self.fill_one(bay, number, &mut queue, events);
            let filled = filled.and_then(|()| self.seal_one(bay, &mut queue, events));
            match filled {
                Ok(()) | Err(Stopped::Full) => {}
                Err(Stopped::Gone) => {
                    self.stopped.insert(bay.spec.serial.clone(), DriveState::Gone);
                    events.event(Event::DriveGone { serial: &bay.spec.serial });
                }
                Err(Stopped::Failed(error)) => return Err(error),
            }
        }
        Ok(queue)
    }

    fn announce(
        &self,
        queue: &VecDeque<Object>,
        bays: &[Bay],
        events: &mut dyn Events,
    ) -> Result<(), Error> {
        let rooms: Vec<Room> =
            bays.iter().filter(|bay| !bay.is_sealed()).map(|bay| bay.room).collect();
        let todo: Vec<Object> = queue.iter().copied().collect();
        let plan = plan::plan(&todo, &rooms, self.job.inventory_bytes.len() as u64);
        let plan = plan.map_err(|too_large| Error::TooLarge {
            path: too_large.object.key().path(),
            needed: too_large.needed,
            largest: too_large.largest,
        })?;
        let all = &self.job.inventory.objects;
        let (objects, bytes) = (all.len() as u64, sum(all));
        events.event(Event::Planned {
            objects,
            bytes,
            done_objects: objects.saturating_sub(todo.len() as u64),
            done_bytes: bytes.saturating_sub(sum(&todo)),
            shortfall: plan.shortfall,
        });
        Ok(())
    }

    /// Copies objects from the front of the queue until it is empty or the drive is full.
    fn fill_one(
        &mut self,
        bay: &mut Bay,
        number: u32,
        queue: &mut VecDeque<Object>,
        events: &mut dyn Events,
    ) -> Result<(), Stopped> {
        events.event(Event::DriveStarted { serial: &bay.spec.serial });
        while let Some(object) = queue.front().copied() {
            if events.stop() {
                return Err(Stopped::Failed(Error::Interrupted));
            }
            let copied = if bay.room.fits(object.length) {
                bay.make_ready(&self.job, number).and_then(|()| self.copy(bay, &object, events))
            } else {
                Err(Stopped::Full)
            };
            match copied {
                Ok(()) => {
                    queue.pop_front();
                }
                Err(Stopped::Full) => {
                    events.event(Event::DriveFull { serial: &bay.spec.serial });
                    return Ok(());
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// Copies one object; one that cannot be had is noted.
    fn copy(
        &mut self,
        bay: &mut Bay,
        object: &Object,
        events: &mut dyn Events,
    ) -> Result<(), Stopped> {
        let at = usize::from(object.repository);
        let (Some(source), Some(repository)) =
            (self.sources.get(at), self.job.inventory.repositories.get(at))
        else {
            return Ok(());
        };
        let (serial, key) = (bay.spec.serial.clone(), object.key());
        match bay.copy(&self.job, object, *source)? {
            Copied::Done => {
                let bytes = object.length;
                events.event(Event::ObjectDone { serial: &serial, repository, key: &key, bytes });
            }
            Copied::NotHad(reason) => {
                let problem = Problem { repository: *repository, key, reason };
                events.event(Event::Problem { serial: None, problem: &problem });
                self.problems.push(problem);
            }
        }
        Ok(())
    }

    /// Reads back and seals. What does not come back right is copied again; what sealing has no
    /// room beside goes to the next drive.
    fn seal_one(
        &mut self,
        bay: &mut Bay,
        queue: &mut VecDeque<Object>,
        events: &mut dyn Events,
    ) -> Result<(), Stopped> {
        let mut attempts = 0;
        while !bay.objects.is_empty() {
            // A drive that was labelled by an earlier call may still lack its inventory.
            let ready = bay.make_ready(&self.job, 0);
            let damaged = match ready.and_then(|()| bay.seal(&self.job, events)) {
                Ok(damaged) => damaged,
                Err(Stopped::Full) => {
                    let Some(last) = bay.objects.last().copied() else { break };
                    bay.discard(&self.job, &[last])?;
                    queue.push_front(last);
                    continue;
                }
                Err(other) => return Err(other),
            };
            if damaged.is_empty() {
                return self.sealed(bay, events).map_err(Stopped::Failed);
            }
            bay.discard(&self.job, &damaged)?;
            self.tell_damaged(bay, &damaged, events);
            attempts += 1;
            if attempts == ATTEMPTS {
                self.stopped.insert(bay.spec.serial.clone(), DriveState::Unreliable);
                return Ok(());
            }
            for object in &damaged {
                self.copy(bay, object, events)?;
            }
        }
        Ok(())
    }

    fn tell_damaged(&self, bay: &Bay, damaged: &[Object], events: &mut dyn Events) {
        for object in damaged {
            let repository = self.job.inventory.repositories.get(usize::from(object.repository));
            let Some(repository) = repository.copied() else { continue };
            let problem = Problem { repository, key: object.key(), reason: Reason::Hash };
            events.event(Event::Problem { serial: Some(&bay.spec.serial), problem: &problem });
        }
    }

    fn sealed(&mut self, bay: &Bay, events: &mut dyn Events) -> Result<(), Error> {
        self.keep_sealed(std::slice::from_ref(bay))?;
        events.event(Event::DriveSealed { serial: &bay.spec.serial });
        Ok(())
    }

    fn report(self, bays: &[Bay], left: &VecDeque<Object>, state: &Path) -> Prepared {
        let inventory = self.job.inventory.clone();
        let sealed: BTreeSet<&Object> =
            self.earlier.iter().flat_map(|manifest| &manifest.body.objects).collect();
        let remaining: Vec<Object> =
            inventory.objects.iter().filter(|object| !sealed.contains(object)).copied().collect();
        let left: Vec<Object> = left.iter().copied().collect();
        let capacity = bays.iter().map(|bay| bay.room.capacity()).max().unwrap_or(0);
        let inventory_length = self.job.inventory_bytes.len() as u64;
        Prepared {
            seed: inventory.seed,
            set: self.job.set,
            signer: self.job.signer.public(),
            fingerprint: self.job.signer.fingerprint(),
            inventory_digest: self.job.inventory_digest,
            inventory_file: State::inventory_file(state),
            drives: self.drives(bays, state),
            inventory,
            remaining,
            shortfall: plan::shortfall(&left, capacity, inventory_length),
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
                manifest: Some(manifest.digest),
                manifest_file: Some(State::manifest_file(state, &manifest.body)),
            })
            .collect();
        drives.extend(bays.iter().filter(|bay| !bay.is_sealed()).map(|bay| PreparedDrive {
            serial: bay.spec.serial.clone(),
            set: self.job.set,
            drive: bay.label().map(|label| label.drive),
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

fn sum(objects: &[Object]) -> u64 {
    objects.iter().fold(0, |sum, object| sum.saturating_add(object.length))
}
