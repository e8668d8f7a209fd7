//! The import job of a drive set: chosen, created, given its manifests and the inventory. The job's
//! name is in the record before the server hears of it, so that a call after a crash creates the
//! same job again. Writes no drive.

use crate::Error;
use crate::context::{Context, Event, Phase};
use crate::prepare::sealed;
use crate::record::{JobDrive, SeedJob, SeedRecord};
use crate::state::State;
use crate::vault::Vault;
use crate::{keys, transit};
use flow::SeedEvent;
use jiff::Timestamp;
use keyring::DriveKey;
use model::JobName;
use seed::PreparedDrive;
use std::fs::File;
use std::path::Path;
use wire::{DriveRequest, Job, JobRequest, JobState, PublicKey, SeedRef};

/// A drive set that has everything it is to carry.
pub(crate) struct Whole<'a> {
    pub(crate) set: u32,
    pub(crate) signer: PublicKey,
    pub(crate) drives: &'a [PreparedDrive],
    pub(crate) inventory_file: &'a Path,
    /// No set comes after it.
    pub(crate) is_last: bool,
}

/// Creates the set's job and hands over its documents; then the set counts as prepared.
pub(crate) fn announce(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    whole: &Whole<'_>,
    name: Option<&JobName>,
) -> Result<Job, Error> {
    ctx.tell(Event::Phase(Phase::ImportJob));
    let mut drives = sealed(whole.drives);
    if record.hold_parity {
        drives.retain(|drive| drive.role.is_data());
    }
    let keys = keys::of(state, vault, record, &mut drives)?;
    let (record, own) = state
        .change_seed(record.id, |record| choose_job(record, whole.set, drives, name, ctx.now()))?;
    let job = create(vault, &record, &own, whole.signer, &keys)?;
    hand_over(vault, &job, whole)?;
    let (_, effects) = state.change_seed(record.id, |record| {
        let objects = own.drives.iter().map(|drive| drive.objects).sum();
        let set = own.set.saturating_add(1);
        let event = SeedEvent::SetPrepared { set, job: own.name.clone(), objects };
        let mut effects = record.happen(event, ctx.now())?;
        if whole.is_last && record.seed.set_count.is_none() {
            let event = SeedEvent::PreparationFinished { sets: set };
            effects.extend(record.happen(event, ctx.now())?);
        }
        Ok(effects)
    })?;
    transit::tell(ctx, record.id, &effects);
    Ok(vault.client.job(&job.name)?)
}

/// Creates the job of a set's parity drives, which have stayed when its data drives left, and hands over their manifests.
pub(crate) fn announce_parity(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    whole: &Whole<'_>,
    name: Option<&JobName>,
) -> Result<Job, Error> {
    ctx.tell(Event::Phase(Phase::ImportJob));
    let mut drives = sealed(whole.drives);
    drives.retain(|drive| !drive.role.is_data());
    let in_job = |drive: &JobDrive| {
        let data_jobs = record.jobs.iter().filter(|job| !job.parity);
        data_jobs.flat_map(|job| &job.drives).any(|other| other.manifest == drive.manifest)
    };
    if drives.is_empty() || drives.iter().any(in_job) {
        return Err(Error::NoParityHeld { seed: record.id });
    }
    let keys = keys::of(state, vault, record, &mut drives)?;
    let (record, own) = state.change_seed(record.id, |record| {
        let known = |job: &&mut SeedJob| job.parity && job.set == whole.set;
        if let Some(known) = record.jobs.iter_mut().rev().find(known)
            && name.is_none_or(|name| *name == known.name)
        {
            known.drives = drives;
            return Ok(known.clone());
        }
        let name = match name {
            Some(name) => name.clone(),
            None => numbered(&record.import_job, record.jobs.len().saturating_add(1))?,
        };
        let (set, created) = (whole.set, ctx.now());
        let job = SeedJob { name, set, created, drives, parity: true };
        record.jobs.push(job.clone());
        Ok(job)
    })?;
    let job = create(vault, &record, &own, whole.signer, &keys)?;
    hand_over(vault, &job, whole)?;
    Ok(vault.client.job(&job.name)?)
}

/// The job of that set: the one decided on before, or a new one. The first is called as the
/// customer said; later ones get a number after it.
fn choose_job(
    record: &mut SeedRecord,
    set: u32,
    drives: Vec<JobDrive>,
    name: Option<&JobName>,
    now: Timestamp,
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
    let job = SeedJob { name, set, created: now, drives, parity: false };
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
    signer: PublicKey,
    keys: &[DriveKey],
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
        seed: SeedRef { id: record.id, set: own.set, sets: None, signer },
        storage_account: record.storage_account.clone(),
        container: record.container.clone(),
        diagnostics: None,
        return_address: None,
        delivery_package: None,
        drive_list: own.drives.iter().map(|drive| request(drive, keys)).collect(),
    };
    Ok(vault.client.create_job(&own.name, &request)?)
}

fn fits(job: &Job, record: &SeedRecord, own: &SeedJob) -> bool {
    let over = matches!(job.state, JobState::Canceled | JobState::Closed);
    let seed = job.carries.as_ref().map(|carries| &carries.seed);
    !over && seed.is_some_and(|seed| seed.id == record.id && seed.set == own.set)
}

fn request(drive: &JobDrive, keys: &[DriveKey]) -> DriveRequest {
    let key = keys.iter().find(|key| key.serial == drive.serial);
    DriveRequest {
        drive_id: drive.serial.clone(),
        manifest_hash: drive.manifest,
        role: drive.role,
        bit_locker_key: key.map(|key| key.password.clone()),
        drive_header_hash: drive.header,
    }
}

/// Uploads what the server does not have yet.
fn hand_over(vault: &Vault, job: &Job, whole: &Whole<'_>) -> Result<(), Error> {
    for drive in whole.drives {
        let status = job.drive_list.iter().find(|status| status.drive_id == drive.serial);
        let wanted = status.is_some_and(|status| !status.manifest_received);
        if let Some(path) = drive.manifest_file.as_ref().filter(|_| wanted) {
            let (mut file, length) = open(path)?;
            vault.client.put_manifest(&job.name, &drive.serial, length, &mut file)?;
        }
    }
    if !job.inventory_received {
        let (mut file, length) = open(whole.inventory_file)?;
        vault.client.put_inventory(&job.name, length, &mut file)?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<(File, u64), Error> {
    let file = File::open(path).map_err(Error::io("opening", path))?;
    let length = file.metadata().map_err(Error::io("looking at", path))?.len();
    Ok((file, length))
}
