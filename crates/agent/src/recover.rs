//! Seeds that are under way although nothing of them is known here: the state directory was lost, and the machine has taken its
//! own place over. What the server has of them (import jobs, manifests, inventory, announcement) makes their records anew. Writes
//! no drive, and publishes nothing.
//!
//! ```text
//!  under way at the server, unknown here ─▶ inventory, signed as the job has pinned ─▶ each job, in order, and what became of it ─▶ record
//! ```
//!
//! invariant: what is kept of a seed that was found again never says that staging may be cleaned, unless staging was named and
//! is exactly what the inventory lists.

use crate::context::Context;
use crate::record::{Contents, SeedJob, SeedRecord, StagedBackup};
use crate::state::State;
use crate::vault::Vault;
use crate::{Error, OwnError, adopt, journal, names, transit};
use flow::{SeedEvent, SeedState};
use model::{Digest, ErrorKind, GroupName, JobName, ObjectKind};
use seed::{Inventory, Object, Signed, Trust};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use store::Folder;
use wire::{AnnouncedSeed, Code, Job, SeedId, SeedUnderWay};

/// A seed that was found again.
#[derive(Debug)]
pub struct Recovered {
    /// The seed.
    pub seed: SeedId,
    /// Where it is.
    pub state: SeedState,
    /// Its import jobs.
    pub jobs: Vec<JobName>,
    /// The groups whose first backup it is, as far as that was announced.
    pub groups: Vec<GroupName>,
    /// Its staging location, where one was named and is it.
    pub staging: Option<PathBuf>,
}

/// Finds seeds of this server again that are under way and not known here. A staging location that still has one, or of which the
/// same was found again before, is taken up where it is named.
///
/// # Errors
/// [`OwnError::NotRecovered`] with what to do instead; [`OwnError::CopiedSeed`]; the server is away. What was found again by then stays.
pub fn recover_seeds(ctx: &Context<'_>, staging: Option<&str>) -> Result<Vec<Recovered>, Error> {
    let state = State::open(ctx.state)?;
    let vault = Vault::connect(ctx, &state)?;
    let staging = staging.map(names::staging_folder).transpose()?;
    let jobs = vault.client.jobs()?;
    let mut found = Vec::new();
    let mut copied = None;
    for under_way in under_way(&vault)? {
        ctx.check_stop()?;
        let seed = under_way.id;
        let _lock = state.lock_seed(seed)?;
        let record = match state.seed(seed) {
            Ok(record) if !record.found || staging.is_none() => continue,
            Ok(record) => record,
            // There is no list yet of what its drives carry.
            Err(Error::NoSeed(_)) if under_way.copied_since.is_some() => {
                copied = Some(not_known(&under_way));
                continue;
            }
            Err(Error::NoSeed(_)) => made(ctx, &state, &vault, seed, &jobs)?,
            Err(error) => return Err(error),
        };
        let record = match &staging {
            Some(staging) => attached(&state, record, staging)?,
            None => record,
        };
        state.save_seed(&record)?;
        found.push(Recovered {
            seed,
            state: record.state(),
            jobs: record.jobs.iter().map(|job| job.name.clone()).collect(),
            groups: record.backups.keys().cloned().collect(),
            staging: (!record.direct).then(|| record.staging.clone()),
        });
    }
    copied.map_or(Ok(found), |error| Err(error.into()))
}

/// Where the server says that a seed is on its way, all of them are known here.
///
/// # Errors
/// [`OwnError::UnknownSeed`], [`OwnError::CopiedSeed`]; the server is away.
pub(crate) fn refuse_unknown(state: &State, vault: &Vault) -> Result<(), Error> {
    for seed in under_way(vault)? {
        match state.seed(seed.id) {
            Err(Error::NoSeed(_)) => return Err(not_known(&seed).into()),
            other => drop(other?),
        }
    }
    Ok(())
}

fn not_known(under_way: &SeedUnderWay) -> OwnError {
    let seed = under_way.id;
    match under_way.copied_since {
        Some(since) => OwnError::CopiedSeed { seed, since },
        None => OwnError::UnknownSeed { seed },
    }
}

/// Those that have an import job before those that have none.
pub(crate) fn under_way(vault: &Vault) -> Result<Vec<SeedUnderWay>, Error> {
    match vault.client.seeds_under_way(&vault.vault, &vault.server) {
        Ok(seeds) => Ok(seeds),
        // A server of before has nothing to say about it.
        Err(error) if error.code() == Some(&Code::ResourceNotFound) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn not_recovered(seed: SeedId, what: &str) -> Error {
    OwnError::NotRecovered { seed, what: what.to_owned() }.into()
}

/// The record of a seed, by what the server has.
fn made(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    id: SeedId,
    jobs: &[Job],
) -> Result<SeedRecord, Error> {
    if vault.client.revision(&vault.vault, &vault.server, id)?.is_some() {
        let what = "it was revised, and what was revised was in the state directory alone: have an administrator of the server publish it once its drives have arrived";
        return Err(not_recovered(id, what));
    }
    let own = |job: &&Job| job.export.is_none() && transit::seed(job) == Some(id);
    let mut own: Vec<&Job> = jobs.iter().filter(own).filter(|job| adopt::has_all(job)).collect();
    own.sort_by_key(|job| job.created_at);
    let none = || {
        let what = "the server has no list of what its drives carry: give it up (packmule seed abandon), and begin again";
        not_recovered(id, what)
    };
    let first = *own.first().ok_or_else(none)?;
    let (contents, objects) = list(state, vault, id, first)?;
    let announced = match vault.client.announced_seed(id) {
        Err(error) if error.code() == Some(&Code::ResourceNotFound) => None,
        other => Some(other?),
    };
    let mut record = blank(state, first, contents, announced.as_ref())?;
    record.catch_up = vault.has_repository()?;
    record.happen(SeedEvent::StagingFinished, ctx.now())?;
    record.happen(SeedEvent::PreparationStarted, ctx.now())?;
    let mut missing: BTreeSet<Object> = objects.into_iter().collect();
    for job in own {
        add(ctx, vault, &mut record, job, &mut missing)?;
    }
    if missing.is_empty() {
        let sets = record.seed.sets.iter().map(|set| set.number).max().unwrap_or(0);
        record.happen(SeedEvent::PreparationFinished { sets }, ctx.now())?;
    }
    Ok(record)
}

/// What the seed holds, by the inventory that came with a job. It is kept as that of a job that another computer has made.
fn list(
    state: &State,
    vault: &Vault,
    id: SeedId,
    job: &Job,
) -> Result<(Contents, Vec<Object>), Error> {
    let refused = |what: &str| not_recovered(id, what);
    let carries = job.carries.as_ref().ok_or_else(|| refused("its job says nothing of it"))?;
    let signer = carries.seed.signer;
    let bytes = vault.client.read_all(vault.client.inventory(&job.name)?, journal::LIMIT)?;
    let inventory = Inventory::decode(&bytes, &Trust::Key(signer));
    let Signed { body, digest, .. } = inventory.map_err(|why| refused(&why.to_string()))?;
    if body.seed != id {
        return Err(refused("the inventory that its job has is of another seed"));
    }
    let folder = state.seed_folder(id);
    let file = folder.join("adopted-inventory");
    let contents = journal::contents(&body, digest, &file, signer)
        .ok_or_else(|| refused("its inventory names several repositories"))?;
    store::durable::create_folder(&folder, 0o700).map_err(Error::io("creating", &folder))?;
    store::durable::replace(&file, &bytes, 0o600).map_err(Error::io("writing", &file))?;
    Ok((contents, body.objects))
}

/// Without staging it is as one that went straight onto drives: what is kept here of it is nothing.
fn blank(
    state: &State,
    job: &Job,
    contents: Contents,
    announced: Option<&AnnouncedSeed>,
) -> Result<SeedRecord, Error> {
    let refused = || OwnError::NotRecovered {
        seed: transit::seed(job).unwrap_or(SeedId([0; 16])),
        what: "its job says nothing of it".to_owned(),
    };
    let carries = job.carries.as_ref().ok_or_else(refused)?;
    let said = announced.map(|announced| &announced.announcement);
    let import_job = said.map_or(&job.name, |said| &said.import_job).clone();
    let backup = |backup: &wire::FirstBackup| StagedBackup {
        snapshot: backup.snapshot,
        time: backup.time,
        problems: backup.problems,
    };
    let backups = said.iter().flat_map(|said| &said.backups);
    Ok(SeedRecord {
        id: carries.seed.id,
        created: job.created_at,
        staging: state.direct_folder(&import_job),
        direct: true,
        found: true,
        unread: false,
        import_job,
        storage_account: job.storage_account.clone(),
        container: carries.container.clone(),
        seed: flow::Seed::new(job.created_at),
        repository: Some(contents.repository),
        backups: backups.map(|(group, it)| (group.clone(), backup(it))).collect(),
        catch_up: false,
        contents: Some(contents),
        revisions: Vec::new(),
        made_in: Vec::new(),
        encrypted: BTreeSet::new(),
        withheld: 0,
        parity: 0,
        most_drives: None,
        hold_parity: false,
        jobs: Vec::new(),
        receipt: None,
        history: Vec::new(),
    })
}

/// One job after the other, each with what became of it: a set may have had several.
fn add(
    ctx: &Context<'_>,
    vault: &Vault,
    record: &mut SeedRecord,
    job: &Job,
    missing: &mut BTreeSet<Object>,
) -> Result<(), Error> {
    let Some(signer) = transit::signer(job, record) else { return Ok(()) };
    let manifests = adopt::manifests(vault, job, signer)?;
    let drives = adopt::drives(job, &manifests);
    for object in manifests.iter().flat_map(|manifest| &manifest.body.objects) {
        missing.remove(object);
    }
    let parity = drives.iter().all(|drive| !drive.role.is_data());
    let encrypted = drives.iter().filter(|drive| drive.header.is_some());
    record.encrypted.extend(encrypted.map(|drive| drive.serial.clone()));
    let objects = drives.iter().map(|drive| drive.objects).sum();
    let own = SeedJob {
        name: job.name.clone(),
        set: transit::set(job),
        created: job.created_at,
        drives,
        parity,
    };
    let (set, name) = (own.set.saturating_add(1), own.name.clone());
    record.jobs.push(own);
    if !parity {
        record.happen(SeedEvent::SetPrepared { set, job: name, objects }, ctx.now())?;
        transit::take_over(record, std::slice::from_ref(job), ctx.now())?;
    }
    Ok(())
}

/// The same with its staging location, which must be exactly what the drives were written from.
fn attached(state: &State, record: SeedRecord, staging: &Path) -> Result<SeedRecord, Error> {
    let contents = record.contents.as_ref().ok_or(Error::NoSeed(record.id))?;
    let listed = journal::objects(state, &record, contents)?;
    let refused = |what: String| {
        let staging = staging.display();
        not_recovered(record.id, &format!("{staging} is not its staging location: {what}"))
    };
    let frozen = match seed::freeze(&[&Folder::new(staging)]) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NoRepository) => {
            return Err(refused("there is no repository".to_owned()));
        }
        other => other?,
    };
    if frozen.repositories != [contents.repository] {
        return Err(refused("it holds another repository".to_owned()));
    }
    // What lies there beside the list might be removed with it one day: only snapshots that the vault is to have may.
    let known: BTreeMap<(ObjectKind, Digest), u64> =
        listed.iter().map(|object| ((object.kind, object.name), object.length)).collect();
    let strange = |object: &&Object| {
        object.kind == ObjectKind::Snapshot && !known.contains_key(&(object.kind, object.name))
    };
    if let Some(object) = frozen.objects.iter().find(strange) {
        let what = format!("its drives do not carry {} {}", "snapshot", object.name.short());
        return Err(refused(what));
    }
    Ok(SeedRecord { staging: names::clean(staging), direct: false, ..record })
}
