//! The drives of a seed: written from staging under a shared lock, then announced as an import
//! job. Formats nothing, asks nobody, and knows no drive's password.
//!
//! ```text
//!  Staged ─▶ Preparing ─▶ drives … (any number of calls) ─▶ complete ─▶ job ─▶ manifests ─▶ Prepared
//! ```
//!
//! A set is at most ten drives. When ten are sealed and objects are left, that set gets its job and
//! the next call begins the next set. The job's name is in the record before the server hears of
//! it, so a call after a crash creates the same job again.

use crate::Error;
use crate::context::{Context, Event, Phase};
use crate::journal;
use crate::names;
use crate::now::open_seed_staging;
use crate::record::{JobDrive, SeedJob, SeedRecord};
use crate::state::State;
use crate::transit;
use crate::vault::Vault;
use flow::{SeedEvent, SeedState};
use model::{GroupName, JobName};
use repo::LockMode;
use seed::{DriveSpec, DriveState, Events, Options, Prepared, PreparedDrive, ReadBack, Shortfall};
use std::fs::File;
use std::path::Path;
use std::sync::atomic::Ordering;
use wire::{DriveRequest, Job, JobRequest, JobState, Location, MAX_DRIVES, SeedId, SeedRef};

/// What is to be prepared.
#[derive(Clone, Copy)]
pub struct Preparation<'a> {
    /// The staging location, as it was given for the group.
    pub staging: &'a str,
    /// The drives at hand, mounted. None to finish what needs none.
    pub drives: &'a [DriveSpec],
    /// Makes reading back come from the medium.
    pub read_back: &'a dyn ReadBack,
    /// A name for the import job instead of the one given for the group.
    pub job: Option<&'a JobName>,
}

/// What is still needed before the seed can travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// Objects that are on no sealed drive.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
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
    /// Where drives can be sent.
    pub locations: Vec<Location>,
    /// What is still needed; none when every object of the seed is on a sealed drive.
    pub needed: Option<Needed>,
}

/// Writes what is still missing of a seed onto the drives; when a set is complete, creates its
/// import job and hands over manifests and inventory. The same call goes on where the last one
/// ended; sealed drives need not be there then.
///
/// # Errors
/// [`Error::NoSeedAt`]; [`Error::GroupsNotStaged`]; what the seed crate refuses; what the server
/// refuses: the drives are sealed by then, and the same call without drives goes on.
pub fn prepare(
    ctx: &Context<'_>,
    what: &Preparation<'_>,
    password: &[u8],
) -> Result<PrepareReport, Error> {
    let state = State::open(ctx.state)?;
    let folder = names::staging_folder(what.staging)?;
    let none = || Error::NoSeedAt(what.staging.to_owned());
    let record = state.seed_at(&folder)?.ok_or_else(none)?;
    let _lock = state.lock_seed(record.id)?;
    let record = startable(&state, state.seed(record.id)?)?;
    let vault = Vault::connect(ctx, &state)?;
    let (record, _) = transit::sync(ctx, &state, &vault, &record)?;
    let Some(set) = record.next_set() else {
        return nothing_left(&state, &vault, &record);
    };
    let record = begin(ctx, &state, &record)?;
    let prepared = write(ctx, &state, &record, set, what, password)?;
    let record = keep_contents(&state, &record, &prepared)?;
    let complete = prepared.is_complete();
    let sealed = sealed(&prepared);
    let full = sealed.len() >= MAX_DRIVES;
    let job = match (complete || full) && !sealed.is_empty() {
        false => None,
        true => Some(announce(ctx, &state, &vault, &record, &prepared, what.job)?),
    };
    let needed = (!complete).then(|| needed(&prepared));
    let Prepared { seed, fingerprint, drives, .. } = prepared;
    let groups = staged_groups(&record);
    let locations = vault.client.locations()?;
    Ok(PrepareReport { seed, groups, set, fingerprint, drives, job, locations, needed })
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

fn staged_groups(record: &SeedRecord) -> Vec<GroupName> {
    record.backups.keys().cloned().collect()
}

/// Every set has its job: the answer is what the server has of the last one.
fn nothing_left(state: &State, vault: &Vault, record: &SeedRecord) -> Result<PrepareReport, Error> {
    let groups = staged_groups(record);
    let own = record.jobs.last().ok_or(flow::Refused::StillPreparing)?;
    let (set, name) = (own.set, own.name.clone());
    let jobs = transit::of_seed(vault, record)?;
    let job = jobs.into_iter().find(|job| job.name == name);
    let drives = own.drives.iter().zip(0..).map(|(drive, number)| PreparedDrive {
        serial: drive.serial.clone(),
        set,
        drive: Some(number),
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
        fingerprint: state.signing_key()?.fingerprint(),
        drives: drives.collect(),
        job,
        locations: vault.client.locations()?,
        needed: None,
    })
}

fn begin(ctx: &Context<'_>, state: &State, record: &SeedRecord) -> Result<SeedRecord, Error> {
    let (record, effects) = state.change_seed(record.id, |record| {
        if matches!(record.state(), SeedState::Staged | SeedState::Preparing) {
            return record.happen(SeedEvent::PreparationStarted, ctx.now());
        }
        // A set that was lost is prepared again wherever the seed is; before it was staged, never.
        if record.state() == SeedState::Staging {
            return Err(flow::Refused::NotStaged.into());
        }
        Ok(Vec::new())
    })?;
    transit::tell(ctx, record.id, &effects);
    Ok(record)
}

/// Freezes and writes under a shared lock, which is renewed meanwhile.
fn write(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    set: u32,
    what: &Preparation<'_>,
    password: &[u8],
) -> Result<Prepared, Error> {
    let repository = open_seed_staging(ctx, record, password)?;
    let lock = repository.lock(LockMode::Shared)?;
    if let Some(contents) = &record.contents
        && !journal::put_back(state, record, contents)?
        && what.drives.is_empty()
    {
        return Err(Error::InventoryLost { seed: record.id, staging: record.staging.clone() });
    }
    refuse_unlisted(record, &state.seed_folder(record.id), what.drives)?;
    ctx.tell(Event::Phase(Phase::Drives));
    let signer = state.signing_key()?;
    let folder = state.seed_folder(record.id);
    let options = Options {
        state: &folder,
        signer: &signer,
        seed: Some(record.id),
        set,
        now: ctx.now(),
        read_back: what.read_back,
    };
    let store = repository.store().as_ref();
    let prepared = seed::prepare(&options, &[store], what.drives, &mut Told(ctx))?;
    lock.check()?;
    Ok(prepared)
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

struct Told<'c, 'a>(&'c Context<'a>);

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
    let found = journal::contents(inventory, digest, &prepared.inventory_file, &key);
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

fn sealed(prepared: &Prepared) -> Vec<JobDrive> {
    let drive = |drive: &PreparedDrive| {
        let manifest = drive.manifest.filter(|_| drive.state == DriveState::Sealed)?;
        let (serial, objects, bytes) = (drive.serial.clone(), drive.objects, drive.bytes);
        Some(JobDrive { serial, manifest, objects, bytes })
    };
    prepared.drives.iter().filter_map(drive).collect()
}

fn needed(prepared: &Prepared) -> Needed {
    Needed {
        objects: prepared.remaining.len() as u64,
        bytes: prepared.remaining.iter().fold(0, |sum, object| sum.saturating_add(object.length)),
        shortfall: prepared.shortfall,
        problems: prepared.problems.clone(),
    }
}

/// Creates the set's job and hands over its documents; then the set counts as prepared.
fn announce(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    prepared: &Prepared,
    name: Option<&JobName>,
) -> Result<Job, Error> {
    ctx.tell(Event::Phase(Phase::ImportJob));
    let drives = sealed(prepared);
    let (record, own) = state.change_seed(record.id, |record| {
        choose_job(record, prepared.set, drives, name, ctx.now())
    })?;
    let job = create(vault, &record, &own, prepared)?;
    hand_over(vault, &job, prepared)?;
    let (_, effects) = state.change_seed(record.id, |record| {
        let objects = own.drives.iter().map(|drive| drive.objects).sum();
        let set = own.set.saturating_add(1);
        let event = SeedEvent::SetPrepared { set, job: own.name.clone(), objects };
        let mut effects = record.happen(event, ctx.now())?;
        if prepared.is_complete() && record.seed.set_count.is_none() {
            let event = SeedEvent::PreparationFinished { sets: set };
            effects.extend(record.happen(event, ctx.now())?);
        }
        Ok(effects)
    })?;
    transit::tell(ctx, record.id, &effects);
    Ok(vault.client.job(&job.name)?)
}

/// The job of that set: the one decided on before, or a new one. The first is called as the
/// customer said; later ones get a number after it.
fn choose_job(
    record: &mut SeedRecord,
    set: u32,
    drives: Vec<JobDrive>,
    name: Option<&JobName>,
    now: jiff::Timestamp,
) -> Result<SeedJob, Error> {
    let known = record.job_of_set(set).map(|job| job.name.clone());
    if let Some(known) = record.jobs.iter_mut().find(|job| Some(&job.name) == known.as_ref()) {
        // Decided on, and not yet a prepared set: what is known now is right.
        known.drives = drives;
        known.name = name.unwrap_or(&known.name).clone();
        return Ok(known.clone());
    }
    let name = match (name, record.jobs.len()) {
        (Some(name), _) => name.clone(),
        (None, 0) => record.import_job.clone(),
        (None, earlier) => numbered(&record.import_job, earlier + 1)?,
    };
    let job = SeedJob { name, set, created: now, drives };
    record.jobs.push(job.clone());
    Ok(job)
}

fn numbered(name: &JobName, number: usize) -> Result<JobName, Error> {
    let text = format!("{name}-{number}");
    text.parse().map_err(|_| Error::JobName { name: text })
}

/// Creates the job; on a repeated call finds it created. A job of something else is left alone.
fn create(
    vault: &Vault,
    record: &SeedRecord,
    own: &SeedJob,
    prepared: &Prepared,
) -> Result<Job, Error> {
    match vault.client.job(&own.name) {
        Ok(job) if !fits(&job, record, own) => return Err(Error::JobTaken(own.name.clone())),
        Ok(job) if job.state != JobState::Creating => return Ok(job),
        Ok(_) => {}
        Err(error) if error.code() == Some(&wire::Code::ResourceNotFound) => {}
        Err(error) => return Err(error.into()),
    }
    let request = JobRequest {
        vault: vault.vault.clone(),
        server: vault.server.clone(),
        seed: SeedRef { id: record.id, set: own.set, sets: None, signer: prepared.signer },
        storage_account: record.storage_account.clone(),
        container: record.container.clone(),
        diagnostics: None,
        return_address: None,
        delivery_package: None,
        drive_list: own.drives.iter().map(request).collect(),
    };
    Ok(vault.client.create_job(&own.name, &request)?)
}

fn fits(job: &Job, record: &SeedRecord, own: &SeedJob) -> bool {
    let over = matches!(job.state, JobState::Canceled | JobState::Closed);
    !over && job.seed.id == record.id && job.seed.set == own.set
}

fn request(drive: &JobDrive) -> DriveRequest {
    DriveRequest {
        drive_id: drive.serial.clone(),
        manifest_hash: drive.manifest,
        bit_locker_key: None,
    }
}

/// Uploads what the server does not have yet.
fn hand_over(vault: &Vault, job: &Job, prepared: &Prepared) -> Result<(), Error> {
    for drive in &prepared.drives {
        let status = job.drive_list.iter().find(|status| status.drive_id == drive.serial);
        let wanted = status.is_some_and(|status| !status.manifest_received);
        if let Some(path) = drive.manifest_file.as_ref().filter(|_| wanted) {
            let (mut file, length) = open(path)?;
            vault.client.put_manifest(&job.name, &drive.serial, length, &mut file)?;
        }
    }
    if !job.inventory_received {
        let (mut file, length) = open(&prepared.inventory_file)?;
        vault.client.put_inventory(&job.name, length, &mut file)?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<(File, u64), Error> {
    let file = File::open(path).map_err(Error::io("opening", path))?;
    let length = file.metadata().map_err(Error::io("looking at", path))?.len();
    Ok((file, length))
}
