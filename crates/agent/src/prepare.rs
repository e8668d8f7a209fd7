//! The drives of a seed: written from staging under a shared lock, then announced as an import
//! job. Formats nothing, asks nobody, and mounts nothing: whoever calls has done that.
//!
//! ```text
//!  Staged ─▶ Preparing ─▶ drives … (any number of calls) ─▶ complete ─▶ job ─▶ manifests ─▶ Prepared
//! ```
//!
//! A set is at most ten drives, parity included, or fewer where a parcel takes no more. When so many are sealed and
//! objects are left, that set gets its job and the next call begins the next set. The job's part is in `job`.

use crate::Error;
use crate::context::{Context, Event, Phase};
use crate::init::open_seed_staging;
use crate::job::Whole;
use crate::kept::{self, Held};
use crate::names;
use crate::record::{JobDrive, SeedRecord};
use crate::state::{Lock, State};
use crate::transit;
use crate::vault::Vault;
use crate::wanted::{self, Part};
use crate::{chain, init, job, journal};
use flow::{Effect, SeedEvent, SeedState};
use model::{DriveSerial, ErrorKind, GroupName, JobName};
use repo::{LockGuard, LockMode};
use seed::{
    DriveSpec, DriveState, Events, Filling, Options, Prepared, PreparedDrive, ReadBack, Shortfall,
    Trust,
};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use store::{Folder, Rate, RateLimit, Store};
use wire::{Job, Location, SeedId};

/// What is to be prepared.
#[derive(Clone, Copy)]
pub struct Preparation<'a> {
    /// The staging location, as it was given for the group.
    pub staging: &'a str,
    /// The drives at hand, mounted. None to finish what needs none.
    pub drives: &'a [DriveSpec],
    /// Which of these are encrypted, by whoever calls.
    pub encrypted: &'a [DriveSerial],
    /// Makes reading back come from the medium.
    pub read_back: &'a dyn ReadBack,
    /// How several drives are filled.
    pub filling: Filling,
    /// Bytes a second that are read from staging at most; 0 for no limit.
    pub limit_rate: u64,
    /// How many drives of a set may be lost: so many parity drives are written last. None: as the last call
    /// for this seed was told, or none at all.
    pub parity: Option<u32>,
    /// How many drives a set, and so a job, has at most, parity included: 1 to 10. None: as the last call for this seed
    /// was told, or ten.
    pub most: Option<u32>,
    /// A name for the import job instead of the one given for the group.
    pub job: Option<&'a JobName>,
    /// What the vault still asks for and nothing else, as a set of its own.
    pub missing: bool,
}

/// What is still needed before the seed can travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// Objects that are on no sealed drive.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Parity drives that the set lacks.
    pub parity_drives: u32,
    /// How many more drives like the largest one at hand, by estimate, where there is one to go by.
    pub shortfall: Option<Shortfall>,
    /// Objects that could not be read from staging as they should be: problems there, not with
    /// the drives.
    pub problems: Vec<seed::Problem>,
}

/// What [`prepare`] has done.
#[derive(Debug, Clone)]
pub struct PrepareReport {
    /// The seed.
    pub seed: SeedId,
    /// Its groups.
    pub groups: Vec<GroupName>,
    /// The drive set that was written, counted from 0.
    pub set: u32,
    /// What people compare with what the dock shows.
    pub fingerprint: seed::Fingerprint,
    /// Every drive of the set.
    pub drives: Vec<PreparedDrive>,
    /// The import job of the set, once all that it carries is sealed.
    pub job: Option<Job>,
    /// Where drives can be sent; empty when the server is away and there is no job yet.
    pub locations: Vec<Location>,
    /// What is still needed; none when every object of the seed is on a sealed drive.
    pub needed: Option<Needed>,
    /// Objects that the vault asks for and that were on the drives of this seed alone: no set can bring them.
    pub gone: u64,
}

/// Writes what is still missing of a seed onto the drives; when a set is complete, creates its
/// import job and hands over manifests and inventory. The same call goes on where the last one
/// ended; sealed drives need not be there then. The password is the repository's, for a lock in staging; a copy
/// computer has none, and takes none.
///
/// # Errors
/// [`Error::PreparedElsewhere`];
/// [`Error::NoSeedAt`]; [`Error::GroupsNotStaged`]; what the seed crate refuses; what the server
/// refuses: the drives are sealed by then, and the same call without drives goes on.
pub fn prepare(
    ctx: &Context<'_>,
    what: &Preparation<'_>,
    password: Option<&[u8]>,
) -> Result<PrepareReport, Error> {
    let state = State::open(ctx.state)?;
    let (record, _lock) = claim(&state, what.staging)?;
    let vault = Vault::connect(ctx, &state)?;
    let record = synced(ctx, &state, &vault, record)?;
    let (part, gone) = match part(ctx, &state, &vault, &record, what.missing)? {
        Some(found) => found,
        None => return nothing_left(&state, &vault, &record),
    };
    let set = part.set;
    written_here(&state, &record, &part)?;
    let record = begin(ctx, &state, &record)?;
    let record = match what.missing {
        true => record,
        false => note_wishes(&state, record, what.parity, what.most)?,
    };
    let prepared = write(ctx, &state, &record, &part, what, password)?;
    // The same list, signed anew, is not the one that the record goes by.
    let is_listed = part.only.is_none() || wanted::is_signer(&state, &record)?;
    let record = if is_listed { keep_contents(&state, &record, &prepared)? } else { record };
    if let Some(password) = password {
        kept::keep(ctx, &state, &record, password)?;
    }
    chain::written(ctx, &state, &record, &prepared.drives)?;
    let complete = prepared.is_complete();
    let sealed = sealed(&prepared.drives);
    let full = sealed.len() >= record.most();
    let job = match (complete || full) && !sealed.is_empty() {
        false => None,
        true => {
            let whole = Whole {
                set,
                signer: prepared.signer,
                drives: &prepared.drives,
                inventory_file: &prepared.inventory_file,
                is_last: complete,
            };
            Some(job::announce(ctx, &state, &vault, &record, &whole, what.job)?)
        }
    };
    chain::send(ctx, &state, &vault, record.id);
    let needed = (!complete).then(|| needed(&prepared));
    let Prepared { seed, fingerprint, drives, .. } = prepared;
    let groups = staged_groups(&record);
    let locations = match vault.client.locations() {
        Err(error) if error.kind() == ErrorKind::Unavailable && job.is_none() => Vec::new(),
        other => other?,
    };
    Ok(PrepareReport { seed, groups, set, fingerprint, drives, job, locations, needed, gone })
}

/// Whether [`prepare`] would write drives for the seed with that staging location: ask before a drive
/// is formatted for it. Writes no drive, and the seed stays in its state.
///
/// # Errors
/// [`Error::NothingToPrepare`], and all that [`prepare`] refuses before it looks at drives.
/// [`Error::InventoryLost`], too, where the seed's own drives can still bring the inventory: these are
/// given without any that has to be formatted.
pub fn check_preparation(
    ctx: &Context<'_>,
    staging: &str,
    missing: bool,
    password: Option<&[u8]>,
) -> Result<(), Error> {
    let state = State::open(ctx.state)?;
    let (record, _lock) = claim(&state, staging)?;
    let vault = Vault::connect(ctx, &state)?;
    let mut record = synced(ctx, &state, &vault, record)?;
    let part = part(ctx, &state, &vault, &record, missing)?;
    let (part, _) = part.ok_or(Error::NothingToPrepare { seed: record.id })?;
    written_here(&state, &record, &part)?;
    start(ctx, &mut record)?;
    source(ctx, &state, &record, &part, &[], password)?;
    Ok(())
}

/// What is written by this call: the next set of everything, or one with what is missing, and how much of that is
/// nowhere here. None when every set has its job.
fn part(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    missing: bool,
) -> Result<Option<(Part, u64)>, Error> {
    if missing {
        let part = wanted::wanted_set(ctx, state, vault, record)?;
        return Ok(Some(kept_here(state, record, part)?));
    }
    if record.direct {
        return Err(Error::WithoutStaging { staging: record.staging.clone() });
    }
    if record.revision() > 0 && record.next_set().is_some() {
        return Err(Error::WasRevised { seed: record.id });
    }
    let folder = state.seed_folder(record.id);
    Ok(record.next_set().map(|set| (Part { set, folder, only: None }, 0)))
}

/// Of a direct seed, what was in the files is on drives alone, until it is made anew.
fn kept_here(state: &State, record: &SeedRecord, part: Part) -> Result<(Part, u64), Error> {
    let Some(objects) = part.only.as_ref().filter(|_| record.direct) else { return Ok((part, 0)) };
    let here = wanted::there(&*Held::of(state, record).store(), objects)?;
    let gone = objects.len().saturating_sub(here.len()) as u64;
    if here.is_empty() {
        return Err(Error::OnDrivesAlone { seed: record.id, objects: gone });
    }
    Ok((Part { only: Some(here.into_iter().collect()), ..part }, gone))
}

/// What no sealed drive of a seed has.
#[derive(Debug, Clone)]
pub struct ToBeWritten {
    /// Objects, as staging has them now.
    pub objects: Vec<seed::Object>,
    /// Parity drives of each set, as last asked for.
    pub parity: u32,
}

/// What is still to be written of the seed with that staging location, for a plan. Changes nothing, and asks nobody.
///
/// # Errors
/// [`Error::NoSeedAt`]; staging cannot be read.
pub fn to_be_written(ctx: &Context<'_>, staging: &str) -> Result<ToBeWritten, Error> {
    let state = State::open(ctx.state)?;
    let folder = names::staging_folder(staging)?;
    let record = state.seed_at(&folder)?.ok_or_else(|| Error::NoSeedAt(staging.to_owned()))?;
    if record.direct {
        return Err(Error::WithoutStaging { staging: record.staging });
    }
    let mut objects = seed::freeze(&[&Folder::new(&record.staging)])?.objects;
    let folder = state.seed_folder(record.id);
    if folder.is_dir() {
        let trust = Trust::Key(state.signing_key()?.public());
        let sealed = seed::sealed_before(&folder, &trust)?;
        let sealed: BTreeSet<seed::Object> =
            sealed.into_iter().flat_map(|manifest| manifest.body.objects).collect();
        objects.retain(|object| !sealed.contains(object));
    }
    Ok(ToBeWritten { objects, parity: record.parity })
}

/// The seed with that staging location, which nobody else works on until the lock is dropped.
pub(crate) fn claim(state: &State, staging: &str) -> Result<(SeedRecord, Lock), Error> {
    let folder = names::staging_folder(staging)?;
    let none = || Error::NoSeedAt(staging.to_owned());
    let record = state.seed_at(&folder)?.ok_or_else(none)?;
    let lock = state.lock_seed(record.id)?;
    Ok((startable(state, state.seed(record.id)?)?, lock))
}

/// One seed has one list of what it holds, signed by whoever wrote its first drive. What the vault asks for beyond that is a set
/// of this server's own.
fn written_here(state: &State, record: &SeedRecord, part: &Part) -> Result<(), Error> {
    let contents = record.contents.as_ref().filter(|_| part.only.is_none());
    let Some(contents) = contents else { return Ok(()) };
    let own = state.signing_key()?.public() == contents.signer;
    match record.jobs.last() {
        Some(job) if !own => {
            Err(Error::PreparedElsewhere { seed: record.id, job: job.name.clone() })
        }
        _ => Ok(()),
    }
}

/// Drives can be written while the server is away; it is needed for the job only.
pub(crate) fn synced(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: SeedRecord,
) -> Result<SeedRecord, Error> {
    match transit::sync(ctx, state, vault, &record) {
        Err(error) if error.kind() == ErrorKind::Unavailable => Ok(record),
        synced => Ok(synced?.0),
    }
}

/// A seed whose every group has its first backup, and that is not over.
fn startable(state: &State, record: SeedRecord) -> Result<SeedRecord, Error> {
    if record.is_over() {
        return Err(flow::Refused::SeedEnded { state: record.state().name() }.into());
    }
    if matches!(record.state(), SeedState::Staging | SeedState::Staged) {
        let mut groups = state.groups_at(&record.staging)?;
        groups.retain(|group| !record.backups.contains_key(&group.name));
        if !groups.is_empty() {
            let groups = groups.into_iter().map(|group| group.name).collect();
            return Err(Error::GroupsNotStaged { groups });
        }
    }
    Ok(record)
}

pub(crate) fn staged_groups(record: &SeedRecord) -> Vec<GroupName> {
    record.backups.keys().cloned().collect()
}

/// Every set has its job: the answer is what the server has of the last one.
pub(crate) fn nothing_left(
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
) -> Result<PrepareReport, Error> {
    let groups = staged_groups(record);
    let own = record.jobs.last().ok_or(flow::Refused::StillPreparing)?;
    let (set, name) = (own.set, own.name.clone());
    let jobs = transit::of_seed(vault, record)?;
    let job = jobs.into_iter().find(|job| job.name == name);
    let drives = own.drives.iter().zip(0..).map(|(drive, number)| PreparedDrive {
        serial: drive.serial.clone(),
        set,
        drive: Some(number),
        role: drive.role,
        state: DriveState::Sealed,
        objects: drive.objects,
        bytes: drive.bytes,
        manifest: Some(drive.manifest),
        manifest_file: None,
    });
    Ok(PrepareReport {
        seed: record.id,
        groups,
        set,
        fingerprint: fingerprint(state, record)?,
        drives: drives.collect(),
        job,
        locations: vault.client.locations()?,
        needed: None,
        gone: 0,
    })
}

/// Of whoever has signed the drives.
pub(crate) fn fingerprint(state: &State, record: &SeedRecord) -> Result<seed::Fingerprint, Error> {
    match &record.contents {
        Some(contents) => Ok(seed::Fingerprint::of(&contents.signer)),
        None => Ok(state.signing_key()?.fingerprint()),
    }
}

pub(crate) fn begin(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
) -> Result<SeedRecord, Error> {
    let (record, effects) = state.change_seed(record.id, |record| start(ctx, record))?;
    transit::tell(ctx, record.id, &effects);
    Ok(record)
}

fn start(ctx: &Context<'_>, record: &mut SeedRecord) -> Result<Vec<Effect>, Error> {
    if matches!(record.state(), SeedState::Staged | SeedState::Preparing) {
        return record.happen(SeedEvent::PreparationStarted, ctx.now());
    }
    // A set that was lost is prepared again wherever the seed is; before it was staged, never.
    if record.state() == SeedState::Staging {
        return Err(flow::Refused::NotStaged.into());
    }
    Ok(Vec::new())
}

/// What was asked for stays for the calls that go on; what no set can be is refused, and not remembered.
pub(crate) fn note_wishes(
    state: &State,
    record: SeedRecord,
    parity: Option<u32>,
    most: Option<u32>,
) -> Result<SeedRecord, Error> {
    let parity = parity.unwrap_or(record.parity);
    let most = most.or(record.most_drives);
    if (parity, most) == (record.parity, record.most_drives) {
        return Ok(record);
    }
    let limit = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(wire::MAX_DRIVES);
    if parity as usize >= limit {
        return Err(seed::Error::TooMuchParity { parity, limit }.into());
    }
    let change = |record: &mut SeedRecord| {
        (record.parity, record.most_drives) = (parity, most);
        Ok(())
    };
    Ok(state.change_seed(record.id, change)?.0)
}

/// Freezes and writes under a shared lock, which is renewed meanwhile.
fn write(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    part: &Part,
    what: &Preparation<'_>,
    password: Option<&[u8]>,
) -> Result<Prepared, Error> {
    let (mut store, lock) = source(ctx, state, record, part, what.drives, password)?;
    let signer = state.signing_key()?;
    note_encrypted(state, record, part, what)?;
    ctx.tell(Event::Phase(Phase::Drives));
    let options = Options {
        state: &part.folder,
        signer: &signer,
        seed: Some(record.id),
        set: part.set,
        now: ctx.now(),
        read_back: what.read_back,
        filling: what.filling,
        // A set of its own has no more parity than was asked for with it.
        parity: if part.only.is_some() { what.parity.unwrap_or(0) } else { record.parity },
        most: record.most(),
        list: None,
        only: part.only.as_deref(),
    };
    if what.limit_rate > 0 {
        let rate = Rate::new(what.limit_rate);
        store = Arc::new(RateLimit::new(store, rate, Arc::clone(&ctx.clock)));
    }
    let prepared = seed::prepare(&options, &[&store], what.drives, &mut Told(ctx))?;
    lock.as_ref().map_or(Ok(()), LockGuard::check)?;
    Ok(prepared)
}

/// The drives of a set that was written, as [`prepare`] has left them; nothing is written.
pub(crate) fn set_as_prepared(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    set: u32,
    password: Option<&[u8]>,
) -> Result<Prepared, Error> {
    let part = Part { set, folder: state.seed_folder(record.id), only: None };
    written_here(state, record, &part)?;
    let what = Preparation {
        staging: "",
        drives: &[],
        encrypted: &[],
        read_back: &seed::PlainReads,
        filling: Filling::Even,
        limit_rate: 0,
        parity: None,
        most: None,
        job: None,
        missing: false,
    };
    write(ctx, state, record, &part, &what, password)
}

/// Staging, with what is kept of it for what was missing, locked where there is a password for it, with the seed's inventory beside it where that can be had.
fn source(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    part: &Part,
    drives: &[DriveSpec],
    password: Option<&[u8]>,
) -> Result<(Arc<dyn Store>, Option<LockGuard>), Error> {
    let (store, lock): (Arc<dyn Store>, _) = match (password, record.repository) {
        (None, Some(repository)) => {
            init::check_staging(&record.staging, record.id, repository)?;
            (Arc::new(Folder::new(&record.staging)), None)
        }
        // Where staging is a repository no more, there is nobody to keep out of it.
        _ if part.only.is_some() && !Held::of(state, record).has_staging() => {
            (Held::of(state, record).store(), None)
        }
        _ => {
            let repository = open_seed_staging(ctx, record, password.unwrap_or_default())?;
            let lock = repository.lock(LockMode::Shared)?;
            let store = match part.only {
                Some(_) => Held::of(state, record).store(),
                None => Arc::clone(repository.store()),
            };
            (store, Some(lock))
        }
    };
    if let Some(contents) = &record.contents
        && !journal::put_back(state, record, contents)?
        && drives.is_empty()
    {
        return Err(Error::InventoryLost { seed: record.id, staging: record.staging.clone() });
    }
    refuse_unlisted(record, &part.folder, drives)?;
    Ok((store, lock))
}

/// Has the record say which drives are encrypted, before any is written. What was said of a drive stays
/// for as long as the drive is the seed's: it would have to be erased to become another one.
fn note_encrypted(
    state: &State,
    record: &SeedRecord,
    part: &Part,
    what: &Preparation<'_>,
) -> Result<(), Error> {
    let mut sealed = journal::sealed_here(state, record, &state.seed_folder(record.id))?;
    if part.only.is_some() {
        sealed.extend(journal::sealed_here(state, record, &part.folder)?);
    }
    let mut stay: BTreeSet<DriveSerial> =
        sealed.into_iter().map(|manifest| manifest.body.header.serial).collect();
    for drive in what.drives {
        let label = seed::inspect(&drive.folder)?;
        if label.is_some_and(|label| label.body.seed == record.id) {
            stay.insert(drive.serial.clone());
        }
    }
    state.change_seed(record.id, |record| {
        for DriveSpec { serial, .. } in what.drives {
            if what.encrypted.contains(serial) {
                record.encrypted.insert(serial.clone());
            } else if !stay.contains(serial) {
                record.encrypted.remove(serial);
            }
        }
        Ok(())
    })?;
    Ok(())
}

/// With its inventory gone everywhere but on drives, a seed must not begin a second one: one of
/// the drives given must have it.
fn refuse_unlisted(record: &SeedRecord, folder: &Path, drives: &[DriveSpec]) -> Result<(), Error> {
    if record.contents.is_none() || folder.join("inventory").exists() {
        return Ok(());
    }
    for drive in drives {
        let label = seed::inspect(&drive.folder)?;
        if label.is_some_and(|label| label.body.seed == record.id) {
            return Ok(());
        }
    }
    Err(Error::InventoryLost { seed: record.id, staging: record.staging.clone() })
}

pub(crate) struct Told<'c, 'a>(pub(crate) &'c Context<'a>);

impl Events for Told<'_, '_> {
    fn event(&mut self, event: seed::Event<'_>) {
        self.0.tell(Event::Drive(event));
    }

    fn stop(&self) -> bool {
        self.0.stop.load(Ordering::Relaxed)
    }
}

/// What the seed holds is noted once, and held against every later call.
fn keep_contents(
    state: &State,
    record: &SeedRecord,
    prepared: &Prepared,
) -> Result<SeedRecord, Error> {
    let (inventory, digest) = (&prepared.inventory, prepared.inventory_digest);
    let key = state.signing_key()?;
    let found = journal::contents(inventory, digest, &prepared.inventory_file, key.public());
    let lost = || Error::InventoryLost { seed: record.id, staging: record.staging.clone() };
    let found = found.ok_or_else(lost)?;
    let (record, ()) = state.change_seed(record.id, |record| {
        match &record.contents {
            None => record.contents = Some(found),
            Some(known) if known.inventory == found.inventory => {}
            Some(_) => return Err(lost()),
        }
        Ok(())
    })?;
    Ok(record)
}

pub(crate) fn sealed(drives: &[PreparedDrive]) -> Vec<JobDrive> {
    let drive = |drive: &PreparedDrive| {
        let manifest = drive.manifest.filter(|_| drive.state == DriveState::Sealed)?;
        let (serial, objects, bytes) = (drive.serial.clone(), drive.objects, drive.bytes);
        let role = drive.role;
        Some(JobDrive { serial, role, manifest, header: None, objects, bytes })
    };
    drives.iter().filter_map(drive).collect()
}

fn needed(prepared: &Prepared) -> Needed {
    Needed {
        objects: prepared.remaining.len() as u64,
        bytes: prepared.remaining.iter().fold(0, |sum, object| sum.saturating_add(object.length)),
        parity_drives: prepared.parity_missing,
        shortfall: prepared.shortfall,
        problems: prepared.problems.clone(),
    }
}
