//! A seed without staging: its drives are written by backing up onto them, and get their import jobs when everything is
//! on sealed ones. Formats nothing, mounts nothing, asks nobody: whoever calls has done that, and is asked for more.
//!
//! ```text
//!  Staging ─▶ drives, any number of calls ─▶ everything sealed ─▶ Staged, Preparing ─▶ a job a set ─▶ Prepared
//! ```
//!
//! invariant: from the moment on at which the record has the contents, no further backup is made onto these drives.

use super::seat::{Seat, Unread};
use super::{Direct, backup_onto_drives, refuse_inside};
use crate::context::{Context, Event, Phase};
use crate::group::{Group, OfflineInputs};
use crate::job::Whole;
use crate::prepare::{Told, begin, note_wishes, nothing_left, synced};
use crate::record::{SeedRecord, StagedBackup};
use crate::state::State;
use crate::vault::{Place, Vault};
use crate::{Error, chain, init, job, journal, now, transit};
use backup::{BackupEvent, BackupOptions, BackupOutcome};
use flow::{SeedEvent, SeedState};
use model::{GroupName, JobName};
use repo::{NamedSnapshot, Repository};
use seed::direct::{DriveSet, Options};
use seed::{DriveSpec, DriveState, Inventory, PreparedDrive, ReadBack, Trust};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use store::Store;
use wire::{Job, Location, PublicKey, SeedId};

/// A drive at hand, mounted.
#[derive(Debug, Clone)]
pub struct Given {
    /// It.
    pub drive: DriveSpec,
    /// Whether it is encrypted, by whoever gives it.
    pub encrypted: bool,
    /// Whether that was done just now.
    pub formatted: bool,
}

/// What is to be written, onto which drives.
#[derive(Clone, Copy)]
pub struct Writing<'a> {
    /// The group whose backup it is; those that travel with it are backed up, too.
    pub group: &'a GroupName,
    /// The drives at hand. None to finish what needs none.
    pub drives: &'a [Given],
    /// Makes reading back come from the medium.
    pub read_back: &'a dyn ReadBack,
    /// Bytes that are held until they were read back, at most; a pack at least.
    pub window: u64,
    /// How many drives may be lost: so many are kept for parity, and all have to be given together. None: as the last call
    /// for this seed was told, or none at all.
    pub parity: Option<u32>,
    /// Drives of a set at most, parity included. None: as the last call was told, or as many as travel together.
    pub most: Option<u32>,
    /// Parity drives stay at home when the others leave; said once, it is remembered.
    pub hold_parity: bool,
    /// A name for the first import job that is made now, instead of the one given for the group.
    pub job: Option<&'a JobName>,
}

/// Who is asked for another drive; `refused` is why the one that was given before cannot be used.
pub type NextDrive<'a> = dyn FnMut(Option<&seed::Error>) -> Option<Given> + 'a;

/// What [`write_drives`] has done.
#[derive(Debug)]
pub struct Written {
    /// The seed.
    pub seed: SeedId,
    /// What people compare with what the dock shows.
    pub fingerprint: seed::Fingerprint,
    /// Every drive known.
    pub drives: Vec<PreparedDrive>,
    /// The backup, where this call has come to its end.
    pub outcome: Option<Box<BackupOutcome>>,
    /// Those of the other groups that travel with it.
    pub others: Vec<(GroupName, BackupOutcome)>,
    /// Items that could not be read, of a backup that this call has found complete: at least one, where an earlier call
    /// had met them.
    pub unread: u64,
    /// Whether everything is on sealed drives. If not, the same call with another drive goes on.
    pub complete: bool,
    /// Whether parity is still to be made of these, by [`cover_drives`]. There is no job before that.
    pub uncovered: bool,
    /// The import jobs of its sets, once it is.
    pub jobs: Vec<Job>,
    /// Where drives can be sent, once there are jobs.
    pub locations: Vec<Location>,
}

/// The seed of a group whose first backup goes straight onto drives, begun if it was not: the folder that goes for its
/// staging location wherever a seed is named by one.
///
/// # Errors
/// [`Error::NoGroup`]; [`Error::NotDirect`].
pub fn begin_direct(ctx: &Context<'_>, group: &GroupName) -> Result<PathBuf, Error> {
    let state = State::open(ctx.state)?;
    let group = state.known_group(group)?;
    Ok(now::begun(ctx, &state, inputs(&group)?)?.staging)
}

/// Whether [`write_drives`] would write: ask before a drive is formatted. `mounts` is where it would be mounted.
///
/// # Errors
/// [`Error::NothingToPrepare`], and all that [`write_drives`] refuses before it looks at drives.
pub fn check_direct(
    ctx: &Context<'_>,
    group: &GroupName,
    mounts: &Path,
    password: &[u8],
) -> Result<(), Error> {
    let state = State::open(ctx.state)?;
    let group = state.known_group(group)?;
    let record = now::begun(ctx, &state, inputs(&group)?)?;
    let _lock = state.lock_seed(record.id)?;
    let record = open(state.seed(record.id)?)?;
    for group in together(&state, &record, &group)? {
        refuse_inside(&group.paths, [mounts])?;
    }
    let nothing = || Err(Error::NothingToPrepare { seed: record.id });
    if record.contents.is_some() {
        return nothing();
    }
    let repository = init::alone(ctx, &state, &record, password)?;
    let (folder, signer) = (state.seed_folder(record.id), state.signing_key()?);
    let options = Options {
        state: &folder,
        signer: &signer,
        seed: record.id,
        now: ctx.now(),
        read_back: &seed::PlainReads,
        window: seed::direct::WINDOW,
        most: record.most(),
        elsewhere: &[],
    };
    let set = DriveSet::open(options, Arc::clone(repository.store()), &[], &mut ())?;
    if set.is_complete() { nothing() } else { Ok(()) }
}

/// Backs the group up onto the drives, and asks for more when they are full. When everything is on sealed drives, each
/// set gets its import job. The same call goes on where the last one ended; sealed drives need not be there then. The
/// password is the repository's; the first call makes it that.
///
/// # Errors
/// Whatever stops it. What counts on drives by then stays. That the server is away concerns the jobs only: the drives are
/// sealed by then.
pub fn write_drives(
    ctx: &Context<'_>,
    what: &Writing<'_>,
    next: &mut NextDrive<'_>,
    password: &[u8],
) -> Result<Written, Error> {
    let state = State::open(ctx.state)?;
    let group = state.known_group(what.group)?;
    let record = now::begun(ctx, &state, inputs(&group)?)?;
    let _lock = state.lock_seed(record.id)?;
    let record = open(state.seed(record.id)?)?;
    let groups = together(&state, &record, &group)?;
    for group in &groups {
        let folders = what.drives.iter().map(|given| given.drive.folder.as_path());
        refuse_inside(&group.paths, folders)?;
    }
    let vault = Vault::connect(ctx, &state)?;
    let record = synced(ctx, &state, &vault, record)?;
    if record.revision() > 0 && record.next_set().is_some() {
        return Err(Error::WasRevised { seed: record.id });
    }
    if record.next_set().is_none() {
        let report = nothing_left(&state, &vault, &record)?;
        return Ok(Written {
            seed: record.id,
            fingerprint: report.fingerprint,
            drives: seed::direct::sealed_drives(&state.seed_folder(record.id), &own(&state)?)?,
            outcome: None,
            others: Vec::new(),
            unread: 0,
            complete: true,
            uncovered: false,
            jobs: transit::of_seed(&vault, &record)?,
            locations: report.locations,
        });
    }
    let mut record = note_wishes(&state, record, what.parity, what.most)?;
    if what.hold_parity && !record.hold_parity {
        let hold = |record: &mut SeedRecord| {
            record.hold_parity = true;
            Ok(())
        };
        record = state.change_seed(record.id, hold)?.0;
    }
    let known = record.catch_up.then(|| Arc::clone(&vault.store));
    let source = Source { groups: &groups, known, next };
    let mut written = write(ctx, &state, &record, what, source, password)?;
    let record = state.seed(written.seed)?;
    chain::written(ctx, &state, &record, &written.drives)?;
    written.uncovered = written.complete && !is_covered(&record, &written.drives);
    if written.complete && !written.uncovered {
        finish(ctx, &state, &vault, &mut written, what.job)?;
    }
    chain::send(ctx, &state, &vault, written.seed);
    Ok(written)
}

/// Makes the parity of a seed whose every object is on sealed drives, and then its import job. All drives are given, mounted
/// anew. The same call goes on where the last one ended.
///
/// # Errors
/// [`Error::NoGroup`]; [`Error::NotDirect`]; what [`seed::direct::cover`] refuses.
pub fn cover_drives(
    ctx: &Context<'_>,
    what: &Writing<'_>,
    password: &[u8],
) -> Result<Written, Error> {
    let state = State::open(ctx.state)?;
    let group = state.known_group(what.group)?;
    let record = now::begun(ctx, &state, inputs(&group)?)?;
    let _lock = state.lock_seed(record.id)?;
    let record = open(state.seed(record.id)?)?;
    let vault = Vault::connect(ctx, &state)?;
    let record = synced(ctx, &state, &vault, record)?;
    let repository = init::alone(ctx, &state, &record, password)?;
    let (folder, signer) = (state.seed_folder(record.id), state.signing_key()?);
    let cover = seed::direct::Cover {
        state: &folder,
        signer: &signer,
        seed: record.id,
        now: ctx.now(),
        read_back: what.read_back,
        parity: record.parity,
        most: record.most(),
    };
    ctx.tell(Event::Phase(Phase::Drives));
    let drives: Vec<DriveSpec> = what.drives.iter().map(|given| given.drive.clone()).collect();
    let local = Arc::clone(repository.store());
    seed::direct::cover(&cover, local, &drives, &mut Told(ctx))?;
    let sealed = seed::direct::sealed_drives(&folder, &own(&state)?)?;
    let mut written = done(record.id, signer.fingerprint(), sealed);
    chain::written(ctx, &state, &record, &written.drives)?;
    written.uncovered = !is_covered(&record, &written.drives);
    if !written.uncovered {
        finish(ctx, &state, &vault, &mut written, what.job)?;
    }
    chain::send(ctx, &state, &vault, written.seed);
    Ok(written)
}

fn is_covered(record: &SeedRecord, drives: &[PreparedDrive]) -> bool {
    let parity = drives.iter().filter(|it| it.state == DriveState::Sealed && !it.role.is_data());
    parity.count() as u64 >= u64::from(record.parity)
}

/// The jobs, once nothing more is to be written.
fn finish(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    written: &mut Written,
    name: Option<&JobName>,
) -> Result<(), Error> {
    announce(ctx, state, vault, state.seed(written.seed)?, name)?;
    let record = state.seed(written.seed)?;
    written.jobs = transit::of_seed(vault, &record)?;
    written.locations = vault.client.locations()?;
    Ok(())
}

/// The groups that travel together, the one that was named last: what of it is written ends the seed.
fn together(state: &State, record: &SeedRecord, named: &Group) -> Result<Vec<Group>, Error> {
    let mut groups = state.groups_at(&record.staging)?;
    groups.retain(|group| group.name != named.name && group.stopped.is_none());
    groups.push(named.clone());
    Ok(groups)
}

fn inputs(group: &Group) -> Result<&OfflineInputs, Error> {
    let direct = group.offline().filter(|inputs| inputs.direct);
    direct.ok_or_else(|| Error::NotDirect(group.name.clone()))
}

fn open(record: SeedRecord) -> Result<SeedRecord, Error> {
    match record.is_over() {
        true => Err(flow::Refused::SeedEnded { state: record.state().name() }.into()),
        false => Ok(record),
    }
}

fn own(state: &State) -> Result<Trust, Error> {
    Ok(Trust::Key(state.signing_key()?.public()))
}

/// What is backed up, what is known already, and who gives another drive.
struct Source<'a, 'n> {
    /// The one that was named is the last.
    groups: &'a [Group],
    known: Option<Arc<dyn Store>>,
    next: &'a mut NextDrive<'n>,
}

/// As far as the drives go.
fn write(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    what: &Writing<'_>,
    source: Source<'_, '_>,
    password: &[u8],
) -> Result<Written, Error> {
    let Source { groups, known, next } = source;
    let repository = init::alone(ctx, state, record, password)?;
    let (id, folder, signer) = (record.id, state.seed_folder(record.id), state.signing_key()?);
    let trust = Trust::Key(signer.public());
    let fingerprint = signer.fingerprint();
    let sealed = seed::direct::sealed_drives(&folder, &trust)?;
    if record.contents.is_some() && what.drives.is_empty() {
        // Nothing but its jobs is missing, if what is known of its drives is.
        return match is_whole(state, record)? {
            true => Ok(done(id, fingerprint, sealed)),
            false => Err(lost(record)),
        };
    }
    ctx.check_stop()?;
    ctx.tell(Event::Phase(Phase::Backup(Place::Drives)));
    let sealed = sealed.into_iter().map(|drive| drive.serial).collect();
    // Whatever comes later is not there from the beginning, as parity needs it.
    let asks = record.parity == 0;
    let mut seat = Seat { ctx, state, groups, id, sealed, next, asks, failed: None };
    what.drives.iter().try_for_each(|given| seat.take(given))?;
    let mut drives: Vec<DriveSpec> = what.drives.iter().map(|given| given.drive.clone()).collect();
    if record.parity > 0 {
        drives =
            seed::direct::roles(&folder, &trust, &drives, (record.parity, record.most()))?.data;
    }
    let options = Options {
        state: &folder,
        signer: &signer,
        seed: id,
        now: ctx.now(),
        read_back: what.read_back,
        window: what.window,
        most: record.most(),
        elsewhere: &[],
    };
    let mut set = DriveSet::open(options, Arc::clone(repository.store()), &drives, &mut seat)?;
    if record.contents.is_some() && !set.is_complete() {
        return Err(lost(record));
    }
    let unread = Unread::new(ctx, state, record, set.is_complete())?;
    let events = |event: BackupEvent<'_>| unread.hear(event);
    let direct = all_held(ctx, groups, &events, |backups| {
        backup_onto_drives(&repository, &mut set, &mut seat, backups, known.as_ref())
    });
    let (report, failed) = (set.report(), seat.failed);
    drop(set);
    unread.end()?;
    if let Some(error) = failed {
        return Err(error);
    }
    let mut written = done(id, fingerprint, report.drives);
    written.complete = report.complete;
    let outcomes = match direct? {
        Direct::Complete(outcomes) => outcomes,
        Direct::Already => Vec::new(),
        Direct::NeedsDrive => return Ok(written),
    };
    if record.contents.is_none() {
        written.unread = settle(ctx, state, (id, groups), &repository, &outcomes)?;
    }
    let names = groups.iter().map(|group| group.name.clone());
    written.others = names.zip(outcomes).collect();
    written.outcome = written.others.pop().map(|(_, outcome)| Box::new(outcome));
    Ok(written)
}

/// What the groups protect is held still meanwhile.
fn all_held(
    ctx: &Context<'_>,
    groups: &[Group],
    events: &(dyn Fn(BackupEvent<'_>) + Sync),
    act: impl FnOnce(&[BackupOptions<'_>]) -> Result<Direct, Error>,
) -> Result<Direct, Error> {
    let mut held = Vec::new();
    let all = || {
        for group in groups {
            held.push(now::hold(ctx, group)?);
        }
        let each = groups.iter().zip(&held);
        let each = each.map(|(group, held)| now::options(ctx, group, held.as_ref(), events));
        act(&each.collect::<Result<Vec<_>, Error>>()?)
    };
    let done = all();
    held.into_iter().for_each(|held| held.release(&|notice| ctx.tell(Event::Workload(&notice))));
    done
}

fn done(seed: SeedId, fingerprint: seed::Fingerprint, drives: Vec<PreparedDrive>) -> Written {
    Written {
        seed,
        fingerprint,
        drives,
        outcome: None,
        others: Vec::new(),
        unread: 0,
        complete: true,
        uncovered: false,
        jobs: Vec::new(),
        locations: Vec::new(),
    }
}

fn lost(record: &SeedRecord) -> Error {
    Error::InventoryLost { seed: record.id, staging: record.staging.clone() }
}

/// Whether the manifests of all drives are here still.
fn is_whole(state: &State, record: &SeedRecord) -> Result<bool, Error> {
    let Some(contents) = &record.contents else { return Ok(false) };
    if !journal::put_back(state, record, contents)? {
        return Ok(false);
    }
    let manifests = seed::sealed_before(&state.seed_folder(record.id), &own(state)?)?;
    let there: BTreeSet<seed::Object> =
        manifests.into_iter().flat_map(|manifest| manifest.body.objects).collect();
    let objects = journal::objects(state, record, contents)?;
    Ok(objects.iter().all(|object| there.contains(object)))
}

/// Everything is on sealed drives: from now on the seed is as one whose drives are written from staging. Answers
/// how many items could not be read.
fn settle(
    ctx: &Context<'_>,
    state: &State,
    (id, groups): (SeedId, &[Group]),
    repository: &Repository,
    outcomes: &[BackupOutcome],
) -> Result<u64, Error> {
    let path = state.seed_folder(id).join("inventory");
    let bytes = std::fs::read(&path).map_err(Error::io("reading", &path))?;
    let signer: PublicKey = state.signing_key()?.public();
    let refused =
        |what: seed::Refused| Error::Damaged { path: path.clone(), what: what.to_string() };
    let inventory = Inventory::decode(&bytes, &Trust::Key(signer)).map_err(refused)?;
    let contents = journal::contents(&inventory.body, inventory.digest, &path, signer);
    let contents = contents.ok_or(Error::NoSeed(id))?;
    let snapshots = repository.snapshots()?.value;
    let mut backups = Vec::new();
    for (at, group) in groups.iter().enumerate() {
        // A group that came after these were made goes over the network.
        let own = |it: &&NamedSnapshot| it.snapshot.tags.contains(&group.tag());
        let Some(own) = snapshots.iter().find(own) else { continue };
        let problems = outcomes.get(at).map(|outcome| outcome.problems.len() as u64);
        backups.push((group.name.clone(), own.id, own.snapshot.time, problems));
    }
    if backups.is_empty() {
        return Err(Error::NoSeed(id));
    }
    let (record, effects) = state.change_seed(id, |record| {
        for (name, snapshot, time, problems) in backups {
            let problems = problems.unwrap_or_else(|| u64::from(record.unread));
            record.backups.insert(name, StagedBackup { snapshot, time, problems });
        }
        record.contents = Some(contents);
        let mut effects = record.happen(SeedEvent::StagingFinished, ctx.now())?;
        effects.extend(record.happen(SeedEvent::PreparationStarted, ctx.now())?);
        Ok(effects)
    })?;
    transit::tell(ctx, id, &effects);
    Ok(record.backups.values().map(|backup| backup.problems).sum())
}

/// Each set that has no job gets one, the first of them first.
fn announce(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: SeedRecord,
    name: Option<&JobName>,
) -> Result<(), Error> {
    let record = match record.state() {
        SeedState::Staged | SeedState::Preparing => begin(ctx, state, &record)?,
        _ => record,
    };
    let trust = own(state)?;
    let all = seed::direct::sealed_drives(&state.seed_folder(record.id), &trust)?;
    let contents = record.contents.as_ref().ok_or(flow::Refused::StillPreparing)?;
    let sets: BTreeSet<u32> = all.iter().map(|drive| drive.set).collect();
    let mut name = name;
    for set in &sets {
        if record.is_settled_set(*set) {
            continue;
        }
        let drives: Vec<PreparedDrive> =
            all.iter().filter(|drive| drive.set == *set).cloned().collect();
        let whole = Whole {
            set: *set,
            signer: contents.signer,
            drives: &drives,
            inventory_file: &contents.inventory_file,
            is_last: Some(set) == sets.last(),
        };
        job::announce(ctx, state, vault, &state.seed(record.id)?, &whole, name.take())?;
    }
    Ok(())
}
