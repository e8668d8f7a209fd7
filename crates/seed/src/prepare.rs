//! Prepares a drive set: what the seed is, whether these drives may be written for it, and what came
//! of it. Writes no drive: `run` does.

use crate::bay::{Bay, DriveSpec, Job, ReadBack};
use crate::belt::Limits;
use crate::beneath::Beneath;
use crate::drive;
use crate::event::{Events, Problem};
use crate::freeze::{freeze, identity};
use crate::label::DriveRole;
use crate::parity::{self, Held};
use crate::plan::{Filling, Shortfall};
use crate::run::Run;
use crate::sign::{Fingerprint, SigningKey, Trust};
use crate::state::State;
use crate::{Error, Inventory, Manifest, Object, Signed};
use jiff::Timestamp;
use model::{Digest, DriveSerial};
use std::collections::{BTreeSet, HashMap};
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
    /// How several drives are filled.
    pub filling: Filling,
    /// How many drives of the set may be lost: that many parity drives are written once all data is on sealed drives.
    pub parity: u32,
    /// How many drives a set has at most, parity included: [`MAX_DRIVES`], or fewer where a parcel takes no more.
    pub most: usize,
    /// The seed's list, where the caller has made it; none to make it now, of all that the repositories have.
    pub list: Option<&'a Inventory>,
    /// Only these of the seed's objects, ascending, where a set brings what others have not; none for all
    /// that is on no sealed drive. A state folder is for one such choice.
    pub only: Option<&'a [Object]>,
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
    /// What it is for.
    pub role: DriveRole,
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

/// A drive that is neither at hand nor sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsentDrive {
    /// Its serial number.
    pub serial: DriveSerial,
    /// Its number in its set.
    pub drive: u32,
    /// Objects that it holds and no sealed drive does.
    pub objects: u64,
    /// Their lengths together.
    pub bytes: u64,
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
    /// Drives of earlier calls that need not be filled from the beginning when they are given again.
    pub absent: Vec<AbsentDrive>,
    /// Parity drives that the set still needs.
    pub parity_missing: u32,
    /// Objects that are on no sealed drive, ascending. Empty: the seed is complete.
    pub remaining: Vec<Object>,
    /// Objects that could not be read from the repository as they should be.
    pub problems: Vec<Problem>,
    /// What the drives at hand lacked. The same call with these too goes on.
    pub shortfall: Option<Shortfall>,
}

impl Prepared {
    /// Whether every object of the seed is on a sealed drive, and the set has its parity.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.remaining.is_empty() && self.parity_missing == 0
    }
}

/// Writes what is still missing of a seed onto drives, and seals them. Calling it again goes on
/// where the last call ended, whatever ended it; sealed drives need not be there then.
///
/// Each drive has a thread of its own, and 64 MiB; with parity 16 MiB more, and likewise for each parity drive. What is read is
/// read once, by two threads, where all drives of a set with parity are at hand. The caller keeps the repositories from being pruned meanwhile.
///
/// # Errors
/// Refuses, before anything is written, drives that are not empty and not of this seed and set,
/// drives that were sealed for these and are empty now, the same drive twice, more drives than a set has,
/// and objects that no drive can hold. A drive that
/// fills up or goes away, and an object that cannot be read, are not errors: see [`Prepared`].
pub fn prepare(
    options: &Options<'_>,
    stores: &[&dyn Store],
    drives: &[DriveSpec],
    events: &mut dyn Events,
) -> Result<Prepared, Error> {
    prepare_within(Limits::USUAL, options, stores, drives, events)
}

/// The same with other limits.
pub(crate) fn prepare_within(
    limits: Limits,
    options: &Options<'_>,
    stores: &[&dyn Store],
    drives: &[DriveSpec],
    events: &mut dyn Events,
) -> Result<Prepared, Error> {
    let trust = Trust::Key(options.signer.public());
    let most = most_drives(options)?;
    refuse_same_drives(drives)?;
    let state = State::open(options.state)?;
    let mut bays = Vec::new();
    for spec in drives {
        bays.push(Bay::examine(spec, &trust)?);
    }
    let (inventory_bytes, inventory) = frozen(options, &trust, &state, &bays, stores)?;
    refuse_strangers(options, &inventory.body, &bays)?;
    refuse_unlisted(options, &inventory.body)?;
    let sources = sources(&inventory.body, stores)?;
    for bay in &mut bays {
        let length = inventory_bytes.len() as u64;
        bay.take_stock(&inventory.body, length, &|capacity| match options.parity {
            0 => 0,
            _ => parity::kept_free(capacity, length),
        })?;
    }
    let earlier = earlier(&state, &trust, inventory.body.seed, &bays)?;
    refuse_erased(options, &earlier, &bays)?;
    let job = Job {
        signer: options.signer,
        now: options.now,
        set: options.set,
        inventory: &inventory.body,
        inventory_bytes: &inventory_bytes,
        inventory_digest: Some(inventory.digest),
        read_back: options.read_back,
        extents: (options.parity > 0).then_some(&state),
        wanted: options.only.unwrap_or(&inventory.body.objects),
    };
    let mut run = Run {
        job: &job,
        inventory: inventory.digest,
        filling: options.filling,
        most,
        limits,
        state: &state,
        sources,
        journal: state.journal(&inventory)?,
        at_hand: drives.iter().map(|spec| spec.serial.clone()).collect(),
        journal_drives: HashMap::new(),
        earlier,
        problems: Vec::new(),
        stopped: HashMap::new(),
        kept_numbers: BTreeSet::new(),
        parity: None,
    };
    run.keep_sealed(&mut bays)?;
    run.refuse_too_many(&bays)?;
    let set = parity::Set::of(&run.earlier, options.set, options.parity);
    let wanted = parity::Wanted {
        parity: (options.parity as usize).saturating_sub(set.taken.len()),
        data: most.saturating_sub(options.parity as usize + set.covered.len()),
    };
    let (todo, length) = (run.unplaced(&bays), inventory_bytes.len() as u64);
    let Held { mut data, mut parity } =
        parity::hold_back(bays, &todo, (length, options.filling), wanted);
    run.kept_numbers = parity.iter().filter_map(Bay::label).map(|label| label.drive).collect();
    let lacking = wanted.parity.saturating_sub(parity.len()) as u64;
    run.parity = (options.parity > 0).then_some((u64::from(options.parity), lacking));
    run.note_found(&data)?;
    let (left, ended) = run.fill(&mut data, &mut parity, events)?;
    parity::write(&mut run, &mut parity, ended, options.parity, events)?;
    let taken = parity::Set::of(&run.earlier, options.set, options.parity).taken.len();
    let missing = options.parity.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
    data.extend(parity);
    let mut prepared = run.report(&data, &left, options.state);
    prepared.parity_missing = missing;
    Ok(prepared)
}

/// Manifests of drives sealed so far. A drive at hand that has lost its manifest is not sealed,
/// whatever was kept.
fn earlier(
    state: &State,
    trust: &Trust,
    seed: SeedId,
    bays: &[Bay],
) -> Result<Vec<Signed<Manifest>>, Error> {
    let mut earlier = state.manifests(trust)?;
    let open: BTreeSet<Digest> = bays
        .iter()
        .filter(|bay| !bay.is_sealed())
        .filter_map(|bay| bay.signed_label().map(|label| label.digest))
        .collect();
    earlier.retain(|manifest| {
        let header = &manifest.body.header;
        header.seed == seed && !open.contains(&header.label)
    });
    Ok(earlier)
}

/// What a sealed drive carried would count as being on it for ever.
fn refuse_erased(
    options: &Options<'_>,
    earlier: &[Signed<Manifest>],
    bays: &[Bay],
) -> Result<(), Error> {
    for bay in bays.iter().filter(|bay| bay.label().is_none()) {
        let serial = &bay.spec.serial;
        let was = |manifest: &&Signed<Manifest>| {
            let header = &manifest.body.header;
            header.set == options.set && header.serial == *serial
        };
        if let Some(manifest) = earlier.iter().find(was) {
            let (place, serial) = (drive::place(&bay.folder), serial.clone());
            let manifest = State::manifest_file(options.state, &manifest.body);
            return Err(Error::Erased { place, serial, manifest });
        }
    }
    Ok(())
}

/// How many drives the set has at most; one of them at least is for data.
fn most_drives(options: &Options<'_>) -> Result<usize, Error> {
    let (parity, limit) = (options.parity, options.most.clamp(1, MAX_DRIVES));
    match parity as usize >= limit {
        true => Err(Error::TooMuchParity { parity, limit }),
        false => Ok(limit),
    }
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
    if let Some(list) = options.list {
        return signed(options, trust, list);
    }
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
    let inventory =
        Inventory { seed, created: options.now, repositories, objects, parts: Vec::new() };
    signed(options, trust, &inventory)
}

fn signed(
    options: &Options<'_>,
    trust: &Trust,
    inventory: &Inventory,
) -> Result<(Vec<u8>, Signed<Inventory>), Error> {
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
pub(crate) fn refuse_same_drives(drives: &[DriveSpec]) -> Result<(), Error> {
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

/// Nothing but the seed's own objects goes onto its drives.
fn refuse_unlisted(options: &Options<'_>, inventory: &Inventory) -> Result<(), Error> {
    let only = options.only.unwrap_or_default();
    let is_listed = |object: &&Object| inventory.objects.binary_search(object).is_err();
    match only.iter().find(is_listed) {
        None => Ok(()),
        Some(object) => Err(Error::Unlisted { seed: inventory.seed, key: object.key() }),
    }
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
