//! A seed without staging: its drives are written by backing up onto them, and get their import jobs when everything is
//! on sealed ones. Formats nothing, mounts nothing, asks nobody: whoever calls has done that, and is asked for more.
//!
//! ```text
//!  Staging ─▶ drives, any number of calls ─▶ everything sealed ─▶ Staged, Preparing ─▶ a job a set ─▶ Prepared
//! ```
//!
//! invariant: from the moment on at which the record has the contents, no further backup is made onto these drives.

use super::{Desk, Direct, backup_onto_drives, refuse_inside};
use crate::context::{Context, Event, Phase};
use crate::group::{Group, OfflineInputs};
use crate::job::Whole;
use crate::prepare::{Told, begin, note_wishes, nothing_left, synced};
use crate::record::{SeedRecord, StagedBackup};
use crate::state::State;
use crate::vault::{Place, Vault};
use crate::{Error, chain, init, job, journal, now, transit};
use backup::{BackupEvent, BackupOutcome};
use flow::{SeedEvent, SeedState};
use model::{DriveSerial, GroupName, JobName};
use repo::Repository;
use seed::direct::{DriveSet, Options};
use seed::{DriveSpec, DriveState, Events, Inventory, PreparedDrive, ReadBack, Trust};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
    /// The group whose first backup it is.
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
    refuse_inside(&group.paths, [mounts])?;
    let record = now::begun(ctx, &state, inputs(&group)?)?;
    let _lock = state.lock_seed(record.id)?;
    let record = open(state.seed(record.id)?)?;
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
    let folders = what.drives.iter().map(|given| given.drive.folder.as_path());
    refuse_inside(&group.paths, folders)?;
    let record = now::begun(ctx, &state, inputs(&group)?)?;
    let _lock = state.lock_seed(record.id)?;
    let record = open(state.seed(record.id)?)?;
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
    let source = Source { group: &group, known, next };
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
    group: &'a Group,
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
    let Source { group, known, next } = source;
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
    let mut seat = Seat { ctx, state, group, id, sealed, next, asks, failed: None };
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
    };
    let mut set = DriveSet::open(options, Arc::clone(repository.store()), &drives, &mut seat)?;
    if record.contents.is_some() && !set.is_complete() {
        return Err(lost(record));
    }
    let unread = Unread::new(ctx, state, record, set.is_complete())?;
    let events = |event: BackupEvent<'_>| unread.hear(event);
    let held = now::hold(ctx, group)?;
    let backing_up = now::options(ctx, group, held.as_ref(), &events)?;
    let direct = backup_onto_drives(&repository, &mut set, &mut seat, &backing_up, known);
    held.release(&|notice| ctx.tell(Event::Workload(&notice)));
    let (report, failed) = (set.report(), seat.failed);
    drop(set);
    unread.end()?;
    if let Some(error) = failed {
        return Err(error);
    }
    let mut written = done(id, fingerprint, report.drives);
    written.complete = report.complete;
    let outcome = match direct? {
        Direct::Complete(outcome) => Some(outcome),
        Direct::Already => None,
        Direct::NeedsDrive => return Ok(written),
    };
    if record.contents.is_none() {
        let found = outcome.as_ref().map(|outcome| outcome.problems.len() as u64);
        written.unread = settle(ctx, state, (id, group), &repository, found)?;
    }
    written.outcome = outcome;
    Ok(written)
}

fn done(seed: SeedId, fingerprint: seed::Fingerprint, drives: Vec<PreparedDrive>) -> Written {
    Written {
        seed,
        fingerprint,
        drives,
        outcome: None,
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
    (id, group): (SeedId, &Group),
    repository: &Repository,
    found: Option<u64>,
) -> Result<u64, Error> {
    let path = state.seed_folder(id).join("inventory");
    let bytes = std::fs::read(&path).map_err(Error::io("reading", &path))?;
    let signer: PublicKey = state.signing_key()?.public();
    let refused =
        |what: seed::Refused| Error::Damaged { path: path.clone(), what: what.to_string() };
    let inventory = Inventory::decode(&bytes, &Trust::Key(signer)).map_err(refused)?;
    let contents = journal::contents(&inventory.body, inventory.digest, &path, signer);
    let snapshot = repository.snapshots()?.value.pop();
    let (Some(contents), Some(snapshot)) = (contents, snapshot) else {
        return Err(Error::NoSeed(id));
    };
    let (record, effects) = state.change_seed(id, |record| {
        let problems = found.unwrap_or_else(|| u64::from(record.unread));
        let backup = StagedBackup { snapshot: snapshot.id, time: snapshot.snapshot.time, problems };
        record.backups.insert(group.name.clone(), backup);
        record.contents = Some(contents);
        let mut effects = record.happen(SeedEvent::StagingFinished, ctx.now())?;
        effects.extend(record.happen(SeedEvent::PreparationStarted, ctx.now())?);
        Ok(effects)
    })?;
    transit::tell(ctx, id, &effects);
    Ok(record.backups.get(&group.name).map_or(0, |backup| backup.problems))
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

/// Between the drives and whoever sits there.
struct Seat<'a, 'c, 'n> {
    ctx: &'a Context<'c>,
    state: &'a State,
    group: &'a Group,
    id: SeedId,
    /// Drives that are sealed: what was said of these stays.
    sealed: BTreeSet<DriveSerial>,
    next: &'a mut NextDrive<'n>,
    asks: bool,
    failed: Option<Error>,
}

impl Seat<'_, '_, '_> {
    /// Notes what was done to a drive, and whether it is encrypted, before anything is written to it.
    fn take(&self, given: &Given) -> Result<(), Error> {
        let DriveSpec { folder, serial, .. } = &given.drive;
        refuse_inside(&self.group.paths, [folder.as_path()])?;
        let record = self.state.seed(self.id)?;
        if given.formatted {
            chain::note_formatted(self.ctx, self.state, &record, std::slice::from_ref(serial))?;
        }
        let label = seed::inspect(folder)?;
        let stays =
            self.sealed.contains(serial) || label.is_some_and(|label| label.body.seed == self.id);
        self.state.change_seed(self.id, |record| {
            if given.encrypted {
                record.encrypted.insert(serial.clone());
            } else if !stays {
                record.encrypted.remove(serial);
            }
            Ok(())
        })?;
        Ok(())
    }
}

impl Events for Seat<'_, '_, '_> {
    fn event(&mut self, event: seed::Event<'_>) {
        if let seed::Event::DriveSealed { serial } = event {
            self.sealed.insert(serial.clone());
        }
        self.ctx.tell(Event::Direct(event));
    }

    fn stop(&self) -> bool {
        self.ctx.stop.load(Ordering::Relaxed)
    }
}

impl Desk for Seat<'_, '_, '_> {
    fn next_drive(&mut self, refused: Option<&seed::Error>) -> Option<DriveSpec> {
        let given = self.asks.then(|| (self.next)(refused)).flatten()?;
        self.failed = self.take(&given).err();
        self.failed.is_none().then_some(given.drive)
    }

    fn another_pass(&mut self) {
        self.ctx.tell(Event::AnotherPass);
    }
}

/// Remembers the first item that cannot be read: how many there were is known at the end only, and whoever dies
/// before that must not have them forgotten.
struct Unread<'a, 'c> {
    ctx: &'a Context<'c>,
    state: &'a State,
    id: SeedId,
    noted: AtomicBool,
    failed: Mutex<Option<Error>>,
}

impl<'a, 'c> Unread<'a, 'c> {
    fn new(
        ctx: &'a Context<'c>,
        state: &'a State,
        record: &SeedRecord,
        complete: bool,
    ) -> Result<Self, Error> {
        let unread = Self {
            ctx,
            state,
            id: record.id,
            noted: AtomicBool::new(false),
            failed: Mutex::default(),
        };
        // What is complete is as it was; what is not is gone over again.
        if !complete {
            unread.note(false)?;
        }
        Ok(unread)
    }

    fn note(&self, unread: bool) -> Result<(), Error> {
        self.state.change_seed(self.id, |record| {
            record.unread = unread;
            Ok(())
        })?;
        Ok(())
    }

    fn hear(&self, event: BackupEvent<'_>) {
        if matches!(event, BackupEvent::Problem(_))
            && !self.noted.swap(true, Ordering::Relaxed)
            && let Err(error) = self.note(true)
        {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
        self.ctx.tell(Event::Backup(event));
    }

    fn end(self) -> Result<(), Error> {
        self.failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}
