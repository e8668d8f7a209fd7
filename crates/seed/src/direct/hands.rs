//! Drives at hand: what they are, what of them counts, what may not be used. Writes no object.

use super::proved::{self, Proved};
use super::window::Window;
use super::{DriveSet, Fixed, Options};
use crate::bay::{Bay, DriveSpec, Progress};
use crate::belt::Limits;
use crate::drive::{self, INVENTORY};
use crate::event::Events;
use crate::label::DriveRole;
use crate::object::REPOSITORIES;
use crate::plan::Room;
use crate::prepare::{DriveState, PreparedDrive, refuse_same_drives};
use crate::sign::Trust;
use crate::state::State;
use crate::stream::{self, Heard};
use crate::{Error, Event, Inventory, Manifest, Object, Signed};
use model::{Digest, ObjectKey, ObjectKind};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use store::Store;
use wire::MAX_DRIVES;

/// A drive at hand that is not sealed.
#[derive(Debug)]
pub(crate) struct Hand {
    pub(crate) bay: Bay,
    /// None while it has no label.
    pub(crate) proved: Option<Proved>,
    /// Batches in a row of which something did not come back.
    pub(crate) strikes: u32,
    /// How often something did not come back when it was to be sealed.
    pub(crate) forgot: u32,
}

impl Hand {
    /// Whether an object of that length still fits, where so many bytes are kept for others.
    pub(crate) fn fits(&self, length: u64, kept: u64) -> bool {
        let written = self.bay.batch.cost();
        self.bay.room.fits_beside(length, kept.saturating_add(written))
    }

    /// Counts what is on the drive once more, after something went.
    pub(crate) fn measure_again(&mut self) {
        let mut room = Room::new(self.bay.room.capacity(), 0);
        self.bay.objects.iter().for_each(|object| room.add(object.length));
        self.bay.room = room;
    }

    pub(crate) fn describe(&self, state: DriveState) -> PreparedDrive {
        let label = self.bay.label();
        let objects = &self.bay.objects;
        PreparedDrive {
            serial: self.bay.spec.serial.clone(),
            set: label.map_or(0, |label| label.set),
            drive: label.map(|label| label.drive),
            role: DriveRole::Data,
            state,
            objects: objects.len() as u64,
            bytes: objects.iter().fold(0, |sum, object| sum.saturating_add(object.length)),
            manifest: None,
            manifest_file: None,
        }
    }
}

impl<'a> DriveSet<'a> {
    pub(crate) fn open_within(
        limits: Limits,
        options: Options<'a>,
        local: Arc<dyn Store>,
        drives: &[DriveSpec],
        events: &mut dyn Events,
    ) -> Result<Self, Error> {
        let repository = crate::identity(local.as_ref())?;
        let state = State::open(options.state)?;
        refuse_same_drives(drives)?;
        let early = Inventory {
            seed: options.seed,
            created: options.now,
            repositories: vec![repository],
            objects: Vec::new(),
            parts: Vec::new(),
        };
        let trust = Trust::Key(options.signer.public());
        let mut kept = state.manifests(&trust)?;
        kept.retain(|manifest| manifest.body.header.seed == options.seed);
        let io = Error::io("reading below", options.state);
        let mut numbers = proved::numbers(state.folder()).map_err(io)?;
        numbers.extend(kept.iter().map(|kept| (kept.body.header.set, kept.body.header.drive)));
        let window = Arc::new(Window::new(options.window, options.elsewhere.len()));
        let mut set = Self {
            fixed: Arc::new(Fixed { options, limits, repository, local, early }),
            state,
            window,
            hands: Vec::new(),
            kept,
            numbers,
            stopped: BTreeMap::new(),
            complete: false,
        };
        // All of them are looked at before anything is changed on one.
        let examined: Vec<Bay> =
            drives.iter().map(|spec| set.examine(spec)).collect::<Result<_, _>>()?;
        for bay in examined {
            set.admit(bay, events)?;
        }
        for manifest in &set.kept {
            let packs = manifest.body.objects.iter().filter(|o| o.kind == ObjectKind::Pack);
            set.window.found(packs, &manifest.body.header.serial);
        }
        set.settle_the_end()?;
        for kind in [ObjectKind::Key, ObjectKind::Pack, ObjectKind::Index] {
            for listed in set.fixed.local.list(kind).map_err(Error::Store)? {
                set.window.add_document(listed.length, false);
            }
        }
        Ok(set)
    }

    /// Opens a drive and refuses it if it may not be used. Changes nothing.
    pub(crate) fn examine(&mut self, spec: &DriveSpec) -> Result<Bay, Error> {
        let bay = Bay::examine(spec, &Trust::Key(self.fixed.options.signer.public()))?;
        let place = || drive::place(&bay.folder);
        if let Some(twin) = self.hands.iter().find(|hand| hand.bay.spec.serial == spec.serial) {
            let first = drive::place(&twin.bay.folder);
            return Err(Error::SameDrive { first, second: place() });
        }
        let Some(label) = bay.signed_label() else {
            let was = |kept: &&Signed<Manifest>| kept.body.header.serial == spec.serial;
            return match self.kept.iter().find(was) {
                None => Ok(bay),
                Some(kept) => Err(Error::Erased {
                    place: place(),
                    serial: spec.serial.clone(),
                    manifest: State::manifest_file(self.fixed.options.state, &kept.body),
                }),
            };
        };
        let (found, expected) = (label.body.seed, self.fixed.options.seed);
        if found != expected {
            return Err(Error::OtherSeed { place: place(), found, expected });
        }
        if label.body.repositories != [self.fixed.repository] {
            return Err(Error::OtherSource { place: place(), found });
        }
        if label.body.role != DriveRole::Data {
            return Err(Error::Parity { place: place() });
        }
        if !bay.is_sealed() {
            // A drive that has lost its manifest is not sealed, whatever was kept.
            let digest = label.digest;
            self.kept.retain(|kept| kept.body.header.label != digest);
        }
        Ok(bay)
    }

    /// Takes a drive in: a sealed one is kept, of another one what counts is found out.
    pub(crate) fn admit(&mut self, mut bay: Bay, events: &mut dyn Events) -> Result<(), Error> {
        if bay.is_sealed() {
            return self.keep_sealed(bay);
        }
        self.measure(&mut bay)?;
        let Some(label) = bay.signed_label().cloned() else {
            self.hands.push(Hand { bay, proved: None, strikes: 0, forgot: 0 });
            return Ok(());
        };
        self.numbers.insert((label.body.set, label.body.drive));
        let io = || Error::io("writing below", self.fixed.options.state);
        let (mut proved, known) = Proved::open(self.state.folder(), &label).map_err(io())?;
        let counts = self.take_stock(&mut bay, &mut proved, &known, events)?;
        self.window.found(&counts, &bay.spec.serial);
        self.window.attach(&bay.spec.serial, bay.spec.folder.clone());
        self.stopped.remove(&bay.spec.serial);
        self.hands.push(Hand { bay, proved: Some(proved), strikes: 0, forgot: 0 });
        Ok(())
    }

    fn measure(&self, bay: &mut Bay) -> Result<(), Error> {
        let limit = match bay.label() {
            Some(label) => label.capacity,
            None => bay.folder.available().map_err(Error::io("examining", &bay.spec.folder))?,
        };
        bay.limit = bay.spec.capacity.map_or(limit, |capacity| capacity.min(limit));
        bay.room = Room::new(bay.limit, 0);
        Ok(())
    }

    /// The packs on a drive that count. What was named and not read back is read now, and is removed if it is wrong;
    /// so is what the end of a pass that came to nothing has left.
    fn take_stock(
        &self,
        bay: &mut Bay,
        proved: &mut Proved,
        known: &BTreeSet<Object>,
        events: &mut dyn Events,
    ) -> Result<Vec<Object>, Error> {
        let io = || Error::io("examining", &bay.spec.folder);
        bay.remove_all_in(drive::BAD).map_err(io())?;
        let below = format!("{REPOSITORIES}/{}/", self.fixed.repository);
        let mut found = Vec::new();
        let mut see = |it: crate::beneath::Found| {
            let key = it.path.strip_prefix(&below).and_then(ObjectKey::from_path);
            found.push((it.path, key, it.length));
            true
        };
        bay.folder.walk(REPOSITORIES, &mut see).map_err(io())?;
        let (mut counts, mut unproved, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        for (path, key, length) in found {
            let (Some(ObjectKey::Pack(name)), Some(length)) = (key, length) else {
                wrong.push(path);
                continue;
            };
            let object = Object { repository: 0, kind: ObjectKind::Pack, name, length };
            match known.contains(&object) {
                true => counts.push(object),
                false => unproved.push((object, path)),
            }
        }
        let unproved = self.prove(bay, unproved, events)?;
        proved
            .add(&unproved.right)
            .map_err(Error::io("writing below", self.fixed.options.state))?;
        counts.extend(unproved.right);
        wrong.extend(unproved.wrong);
        wrong.push(INVENTORY.to_owned());
        for path in wrong {
            bay.folder.remove(&path).map_err(io())?;
        }
        for object in &counts {
            bay.objects.insert(*object);
            bay.room.add(object.length);
        }
        Ok(counts)
    }

    fn prove(
        &self,
        bay: &Bay,
        objects: Vec<(Object, String)>,
        events: &mut dyn Events,
    ) -> Result<Checked, Error> {
        let mut checked = Checked::default();
        if objects.is_empty() {
            return Ok(checked);
        }
        let paths: BTreeMap<Object, String> = objects.iter().cloned().collect();
        let serial = &bay.spec.serial;
        let mut hear = |heard: Heard<'_>| -> Result<bool, Error> {
            match heard {
                Heard::Bytes(_, bytes) => {
                    events.event(Event::Reading { serial, bytes: bytes.len() as u64 });
                }
                Heard::End(object, None) => checked.right.push(*object),
                Heard::End(object, Some(_)) => checked.wrong.extend(paths.get(object).cloned()),
            }
            Ok(!events.stop())
        };
        let part = self.fixed.limits.part;
        if stream::each(&bay.folder, objects.into_iter(), part, &mut hear)? {
            Ok(checked)
        } else {
            Err(Error::Interrupted)
        }
    }

    /// A drive that was sealed just before a crash counts once all of it is on its medium. The last one of
    /// a seed brings the inventory and the snapshot.
    fn keep_sealed(&mut self, mut bay: Bay) -> Result<(), Error> {
        let Progress::Sealed(sealed) = &bay.progress else { return Ok(()) };
        let (label, manifest) = (sealed.label.clone(), sealed.manifest.clone());
        let bytes = sealed.manifest_bytes.clone();
        if self.kept.iter().any(|kept| kept.digest == manifest.digest) {
            return Ok(());
        }
        let trust = Trust::Key(self.fixed.options.signer.public());
        let found = drive::inventory(&bay.folder, &label, &trust)?;
        let list = found.filter(|(_, list)| Some(list.digest) == manifest.body.header.inventory);
        if let Some((_, list)) = &list {
            self.refuse_another_end(list, &bay)?;
        }
        let snapshots = match &list {
            Some(_) => self.snapshots_on(&bay, &manifest.body)?,
            None => Vec::new(),
        };
        let job = self.fixed.job(label.body.set);
        if bay.finish(&job).is_err() {
            let (place, serial) = (bay.spec.folder.display().to_string(), label.body.serial);
            return Err(Error::Gone { place, serial });
        }
        if let Some((bytes, _)) = list {
            self.state.keep_inventory(&bytes)?;
        }
        for (key, bytes) in snapshots {
            self.fixed.local.put(&key, &bytes).map_err(Error::Store)?;
        }
        self.keep(manifest, &bytes)
    }

    /// A seed has one list. One that was sealed and lost sight of may come back after another one was made.
    fn refuse_another_end(&self, list: &Signed<Inventory>, bay: &Bay) -> Result<(), Error> {
        let trust = Trust::Key(self.fixed.options.signer.public());
        let Some((_, known)) = self.state.inventory(&trust)? else { return Ok(()) };
        if known.digest == list.digest || !self.is_sealed(&known.body)? {
            return Ok(());
        }
        Err(Error::Disagree { place: drive::place(&bay.folder), seed: known.body.seed })
    }

    /// Whether every object of a list that drives are to carry is on a sealed one.
    fn is_sealed(&self, list: &Inventory) -> Result<bool, Error> {
        let trust = Trust::Key(self.fixed.options.signer.public());
        Ok(are_sealed(&self.kept, &self.state.own(list, &trust)?))
    }

    /// Remembers a sealed drive. From here on it counts, whether it is at hand or not.
    pub(crate) fn keep(&mut self, manifest: Signed<Manifest>, bytes: &[u8]) -> Result<(), Error> {
        let header = &manifest.body.header;
        self.state.keep_manifest(&manifest.body, bytes)?;
        let forgotten = proved::forget(self.state.folder(), &header.label);
        forgotten.map_err(Error::io("removing below", self.fixed.options.state))?;
        self.numbers.insert((header.set, header.drive));
        let packs = manifest.body.objects.iter().filter(|o| o.kind == ObjectKind::Pack);
        self.window.found(packs, &header.serial);
        self.stopped.remove(&header.serial);
        self.kept.push(manifest);
        Ok(())
    }

    fn snapshots_on(
        &self,
        bay: &Bay,
        manifest: &Manifest,
    ) -> Result<Vec<(ObjectKey, Vec<u8>)>, Error> {
        const LIMIT: u64 = 256 << 20;
        let of_it = manifest.objects.iter().filter(|o| o.kind == ObjectKind::Snapshot);
        let read = |object: &Object| {
            let path = drive::path_of(&manifest.header.repositories, object).unwrap_or_default();
            let bytes = bay.folder.read(&path, LIMIT);
            let bytes = bytes.map_err(Error::io("reading", &bay.spec.folder.join(&path)))?;
            match Digest(sha256::hash(&bytes)) == object.name {
                true => Ok((object.key(), bytes)),
                false => {
                    let wrong = io::Error::new(io::ErrorKind::InvalidData, "it is damaged");
                    Err(Error::io("reading", &bay.spec.folder.join(&path))(wrong))
                }
            }
        };
        of_it.map(read).collect()
    }

    /// Complete is what has every object of its list on sealed drives. Else the list, and the snapshot that came
    /// with it, are of an end that was not reached.
    fn settle_the_end(&mut self) -> Result<(), Error> {
        let trust = Trust::Key(self.fixed.options.signer.public());
        let list = self.state.inventory(&trust)?;
        self.complete = match &list {
            Some((_, list)) => self.is_sealed(&list.body)?,
            None => false,
        };
        if self.complete {
            return Ok(());
        }
        self.forget_snapshots()?;
        if list.is_some() { self.state.forget_inventory() } else { Ok(()) }
    }

    /// Snapshots of an end that was not reached.
    pub(crate) fn forget_snapshots(&self) -> Result<(), Error> {
        let local = &self.fixed.local;
        for listed in local.list(ObjectKind::Snapshot).map_err(Error::Store)? {
            local.remove(&listed.key).map_err(Error::Store)?;
        }
        Ok(())
    }

    /// The next number that no drive has.
    pub(crate) fn free_number(&self) -> (u32, u32) {
        let most = self.fixed.options.most.clamp(1, MAX_DRIVES);
        let per_set = u32::try_from(most).unwrap_or(u32::MAX);
        let mut all = (0..).flat_map(|set| (0..per_set).map(move |drive| (set, drive)));
        all.find(|number| !self.numbers.contains(number)).unwrap_or_default()
    }

    /// What there is of the set.
    #[must_use]
    pub fn report(&self) -> super::Report {
        let options = &self.fixed.options;
        let sealed = self.kept.iter().map(|kept| sealed(kept, options.state));
        let open = self.hands.iter().map(|hand| hand.describe(DriveState::Unused));
        let mut drives: Vec<PreparedDrive> =
            sealed.chain(open).chain(self.stopped.values().cloned()).collect();
        drives.sort_by_key(|drive| (drive.drive.is_none(), drive.set, drive.drive));
        super::Report {
            seed: options.seed,
            complete: self.complete,
            drives,
            fingerprint: options.signer.fingerprint(),
            inventory_file: State::inventory_file(options.state),
            window_most: self.window.most(),
        }
    }
}

/// Whether each of these is on one of these drives.
pub(crate) fn are_sealed(kept: &[Signed<Manifest>], objects: &[Object]) -> bool {
    let sealed: BTreeSet<&Object> = kept.iter().flat_map(|kept| &kept.body.objects).collect();
    objects.iter().all(|object| sealed.contains(object))
}

pub(crate) fn sealed(kept: &Signed<Manifest>, state: &Path) -> PreparedDrive {
    let header = &kept.body.header;
    PreparedDrive {
        serial: header.serial.clone(),
        set: header.set,
        drive: Some(header.drive),
        role: match header.parity {
            Some(_) => DriveRole::Parity,
            None => DriveRole::Data,
        },
        state: DriveState::Sealed,
        objects: kept.body.objects.len() as u64,
        bytes: kept.body.bytes(),
        manifest: Some(kept.digest),
        manifest_file: Some(State::manifest_file(state, &kept.body)),
    }
}

/// What reading objects back has shown.
#[derive(Default)]
struct Checked {
    right: Vec<Object>,
    /// Paths.
    wrong: Vec<String>,
}
