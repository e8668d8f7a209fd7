//! Import jobs that another computer has made for a seed of this server: taken over, once what they are said to
//! carry was held against staging. From then on they are the seed's jobs like any others. Makes no job.

use crate::Error;
use crate::context::Context;
use crate::record::{Contents, JobDrive, SeedJob, SeedRecord};
use crate::state::State;
use crate::vault::Vault;
use crate::{journal, transit};
use flow::{SeedEvent, SeedState};
use model::{Digest, DriveRole, ErrorKind, ObjectKind};
use seed::{Inventory, Manifest, Object, Signed, Trust};
use std::collections::BTreeSet;
use store::Folder;
use wire::{Job, JobState, PublicKey, Role};

/// Takes over what others have made for the seed; `jobs` are all that the server shows.
///
/// # Errors
/// [`Error::PreparedElsewhere`] at a copy computer; [`Error::NotThisSeed`] when what a job carries is not what is
/// staged here.
pub(crate) fn adopt(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: SeedRecord,
    jobs: &[Job],
) -> Result<SeedRecord, Error> {
    let own_key = state.signing_key()?.public();
    // Who has begun to write drives goes on; what others say of the same sets is nothing to it.
    let begun_here = record.contents.as_ref().is_some_and(|known| known.signer == own_key);
    // What goes straight onto drives is written here and nowhere else.
    if begun_here || record.direct || transit::is_publishing(&record) {
        return Ok(record);
    }
    let theirs = |job: &&Job| {
        let signer = transit::signer(job, &record);
        let is_known = record.jobs.iter().any(|own| own.name == job.name);
        let is_wanted = !is_known && !record.is_settled_set(transit::set(job));
        signer.is_some_and(|signer| signer != own_key) && is_wanted && is_whole(job)
    };
    let mut found: Vec<&Job> = jobs.iter().filter(theirs).collect();
    let Some(first) = found.first() else { return Ok(record) };
    if vault.client.credentials().role == Role::Copy {
        return Err(Error::PreparedElsewhere { seed: record.id, job: first.name.clone() });
    }
    found.sort_by_key(|job| (transit::set(job), job.created_at));
    let mut record = record;
    for job in found {
        record = adopt_one(ctx, state, vault, &record, job)?;
    }
    finished(ctx, state, vault, record, jobs)
}

/// Whether the server has every document of the job: before that its maker is at work.
fn is_whole(job: &Job) -> bool {
    has_all(job) && job.state != JobState::Canceled
}

/// The same, whatever became of the job since.
pub(crate) fn has_all(job: &Job) -> bool {
    job.inventory_received && job.drive_list.iter().all(|drive| drive.manifest_received)
}

fn adopt_one(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    job: &Job,
) -> Result<SeedRecord, Error> {
    let Some(signer) = transit::signer(job, record) else { return Ok(record.clone()) };
    let contents = contents(state, vault, record, job, signer)?;
    let manifests = manifests(vault, job, signer)?;
    let drives = drives(job, &manifests);
    let objects = drives.iter().map(|drive| drive.objects).sum();
    let own = SeedJob {
        name: job.name.clone(),
        set: transit::set(job),
        created: job.created_at,
        drives,
        parity: false,
    };
    let (record, effects) = state.change_seed(record.id, |record| {
        let set = own.set.saturating_add(1);
        let event = SeedEvent::SetPrepared { set, job: own.name.clone(), objects };
        let mut effects = match record.state() {
            SeedState::Staged => record.happen(SeedEvent::PreparationStarted, ctx.now())?,
            _ => Vec::new(),
        };
        effects.extend(record.happen(event, ctx.now())?);
        record.contents = Some(contents);
        record.jobs.push(own);
        Ok(effects)
    })?;
    transit::tell(ctx, record.id, &effects);
    Ok(record)
}

/// A job's drives as the record has them.
pub(crate) fn drives(job: &Job, manifests: &[Signed<Manifest>]) -> Vec<JobDrive> {
    let drive = |manifest: &Signed<Manifest>| JobDrive {
        serial: manifest.body.header.serial.clone(),
        role: match manifest.body.header.parity {
            Some(_) => DriveRole::Parity,
            None => DriveRole::Data,
        },
        manifest: manifest.digest,
        header: header(job, manifest),
        objects: manifest.body.objects.len() as u64,
        bytes: manifest.body.bytes(),
    };
    manifests.iter().map(drive).collect()
}

fn header(job: &Job, manifest: &Signed<Manifest>) -> Option<Digest> {
    let serial = &manifest.body.header.serial;
    job.drive_list.iter().find(|drive| drive.drive_id == *serial)?.drive_header_hash
}

/// What the seed holds, by the inventory that came with the job: the same as before, or all of it in staging.
fn contents(
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    job: &Job,
    signer: PublicKey,
) -> Result<Contents, Error> {
    let other = |what: &str| Error::NotThisSeed {
        seed: record.id,
        job: job.name.clone(),
        what: what.to_owned(),
    };
    let bytes = vault.client.read_all(vault.client.inventory(&job.name)?, journal::LIMIT)?;
    let inventory = Inventory::decode(&bytes, &Trust::Key(signer));
    let Signed { body, digest, .. } = inventory.map_err(|why| other(&why.to_string()))?;
    if body.seed != record.id
        || Some(body.repositories.as_slice())
            != record.repository.as_ref().map(std::slice::from_ref)
    {
        return Err(other("its inventory is of another repository"));
    }
    let file = state.seed_folder(record.id).join("adopted-inventory");
    let contents = journal::contents(&body, digest, &file, signer)
        .ok_or_else(|| other("its inventory names several repositories"))?;
    if let Some(known) = &record.contents {
        let same = known.inventory == contents.inventory;
        return if same {
            Ok(known.clone())
        } else {
            Err(other("it lists other objects than the seed's jobs before it"))
        };
    }
    let all_there = |staged: &crate::StagedBackup| contents.snapshots.contains(&staged.snapshot);
    if !record.backups.values().all(all_there) {
        return Err(other("a group's first backup is not in it; the drives must be written again"));
    }
    in_staging(record, &body.objects).map_err(|what| other(&what))?;
    let folder = state.seed_folder(record.id);
    store::durable::create_folder(&folder, 0o700).map_err(Error::io("creating", &folder))?;
    store::durable::replace(&file, &bytes, 0o600).map_err(Error::io("writing", &file))?;
    Ok(contents)
}

/// Whether staging has every object of the list, with its length. A staging location that is away has nothing to
/// say against it: before the seed counts as confirmed, the vault itself is checked.
fn in_staging(record: &SeedRecord, objects: &[Object]) -> Result<(), String> {
    let frozen = match seed::freeze(&[&Folder::new(&record.staging)]) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NoRepository) => {
            return Ok(());
        }
        other => other.map_err(|why| why.to_string())?,
    };
    let there: BTreeSet<&Object> = frozen.objects.iter().collect();
    match objects.iter().find(|object| !there.contains(object)) {
        None => Ok(()),
        Some(object) => Err(format!(
            "staging has no {} {} of that length",
            kind(object.kind),
            object.name.short()
        )),
    }
}

fn kind(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Config => "config",
        _ => kind.folder(),
    }
}

/// The manifests of a job's drives, as the server has them, signed by that key.
pub(crate) fn manifests(
    vault: &Vault,
    job: &Job,
    signer: PublicKey,
) -> Result<Vec<Signed<Manifest>>, Error> {
    let read = |serial| {
        let bytes = vault.client.manifest(&job.name, serial)?;
        let bytes = vault.client.read_all(bytes, journal::LIMIT)?;
        let refused = |why: seed::Refused| Error::NotThisSeed {
            seed: transit::seed(job).unwrap_or(wire::SeedId([0; 16])),
            job: job.name.clone(),
            what: why.to_string(),
        };
        Manifest::decode(&bytes, &Trust::Key(signer)).map_err(refused)
    };
    job.drive_list.iter().map(|drive| read(&drive.drive_id)).collect()
}

/// All sets are there once their manifests list all of the inventory.
fn finished(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: SeedRecord,
    jobs: &[Job],
) -> Result<SeedRecord, Error> {
    let Some(contents) = record.contents.as_ref().filter(|_| record.seed.set_count.is_none())
    else {
        return Ok(record);
    };
    let mut missing: BTreeSet<(ObjectKind, Digest)> = journal::objects(state, &record, contents)?
        .iter()
        .map(|object| (object.kind, object.name))
        .collect();
    for own in &record.jobs {
        let Some(job) = jobs.iter().find(|job| job.name == own.name) else { continue };
        let Some(signer) = transit::signer(job, &record) else { continue };
        for manifest in manifests(vault, job, signer)? {
            for object in &manifest.body.objects {
                missing.remove(&(object.kind, object.name));
            }
        }
    }
    if !missing.is_empty() {
        return Ok(record);
    }
    let sets = record.jobs.iter().map(|own| own.set.saturating_add(1)).max().unwrap_or(0);
    let (record, effects) = state.change_seed(record.id, |record| {
        record.happen(SeedEvent::PreparationFinished { sets }, ctx.now())
    })?;
    transit::tell(ctx, record.id, &effects);
    Ok(record)
}
