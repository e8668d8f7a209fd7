//! What did not arrive of an export, asked for once more: by a further job of the same export, whose drives bring just that; or fetched over the
//! network. Chooses nothing: what is wanted was chosen before, and its list is kept.
//!
//! invariant: what is asked for again is in the list that this machine has signed, and nothing else is.

use super::{INDEX, INVENTORY, LONGEST_INDEX, account};
use crate::context::{Context, Phase};
use crate::prepare::Told;
use crate::state::State;
use crate::vault::Vault;
use crate::{Error, ExportError, transit};
use model::{AccountName, JobName, ObjectKey, ObjectKind};
use seed::{Filled, Inventory, Object, Trust};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use store::{Folder, Store as _};
use wire::{ExportJobRequest, Job, JobState, SeedId};

/// What is asked for once more.
#[derive(Debug, Clone, Copy)]
pub struct AskedAgain<'a> {
    /// The new job.
    pub job: &'a JobName,
    /// The export, by the id that its drives have.
    pub export: SeedId,
    /// What did not arrive of it.
    pub wanted: &'a BTreeSet<ObjectKey>,
    /// The storage account that the job lies with; none for that of the newest seed.
    pub account: Option<&'a AccountName>,
    /// Parity drives.
    pub parity: u32,
}

/// Asks for what did not arrive of an export: creates a job whose drives bring just that, as a further set of the same export. Doing it again
/// goes on with the same list.
///
/// # Errors
/// [`ExportError::NoSuchExport`] and [`ExportError::NotOfIt`], within [`Error::Export`]; [`Error::ExportExists`]; [`Error::NoStorageAccount`]; what the server refuses.
pub fn export_again(ctx: &Context<'_>, asked: &AskedAgain<'_>) -> Result<Job, Error> {
    let state = State::open(ctx.state)?;
    let vault = Vault::connect(ctx, &state)?;
    let key = state.signing_key()?;
    let (before, list) = before(&state, asked.export)?;
    let is_wanted = |object: &&Object| {
        object.kind == ObjectKind::Config || asked.wanted.contains(&object.key())
    };
    // Whoever reads it as a repository finds the config.
    let objects: Vec<Object> = list.objects.iter().filter(is_wanted).copied().collect();
    let listed: BTreeSet<ObjectKey> = objects.iter().map(Object::key).collect();
    if let Some(key) = asked.wanted.iter().find(|key| !listed.contains(key)) {
        return Err(ExportError::NotOfIt { export: asked.export, key: *key }.into());
    }
    let account = account(&state, asked.account)?;
    let folder = state.export_folder(asked.job);
    store::durable::create_folder(&folder, 0o700).map_err(Error::io("creating", &folder))?;
    let _alone = state.lock_export(asked.job)?;
    let bytes = kept(&folder, asked, &list, objects.clone(), (ctx, &key))?;
    ctx.check_stop()?;
    ctx.tell(crate::Event::Phase(Phase::ImportJob));
    let (set, sets) = free_set(&vault, asked)?;
    let request = ExportJobRequest {
        vault: vault.vault.clone(),
        server: vault.server.clone(),
        id: asked.export,
        signer: key.public(),
        root: seed::root(&objects),
        set,
        sets,
        again: true,
        others: Vec::new(),
        parity: asked.parity,
        storage_account: account,
        return_address: None,
        delivery_package: None,
    };
    let job = vault.client.create_export(asked.job, &request)?;
    if job.state == JobState::Creating {
        let (from, to) = (Folder::new(before.join(INDEX)), vault.export(ctx, asked.job)?);
        for object in objects.iter().filter(|object| object.kind == ObjectKind::Index) {
            ctx.check_stop()?;
            to.put(&object.key(), &from.get(&object.key(), LONGEST_INDEX)?)?;
        }
        let length = bytes.len() as u64;
        vault.client.put_inventory(asked.job, length, &mut bytes.as_slice())?;
    }
    Ok(vault.client.job(asked.job)?)
}

/// The folder of an export, and its list: what was asked for again has one, too, that lists less.
fn before(state: &State, export: SeedId) -> Result<(PathBuf, Inventory), Error> {
    let trust = Trust::Key(state.signing_key()?.public());
    let mut found: Option<(PathBuf, Inventory)> = None;
    for folder in state.export_folders()? {
        let path = folder.join(INVENTORY);
        let bytes = match fs::read(&path) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(Error::io("reading", &path))?,
        };
        let damaged = |what: seed::Refused| Error::Damaged { path, what: what.to_string() };
        let list = Inventory::decode(&bytes, &trust).map_err(damaged)?.body;
        let more = found.as_ref().is_none_or(|(_, other)| other.objects.len() < list.objects.len());
        if list.seed == export && more {
            found = Some((folder, list));
        }
    }
    found.ok_or_else(|| ExportError::NoSuchExport { export }.into())
}

/// The list of what is asked for again, as it was kept by an earlier call, or made now.
fn kept(
    folder: &Path,
    asked: &AskedAgain<'_>,
    list: &Inventory,
    objects: Vec<Object>,
    (ctx, key): (&Context<'_>, &seed::SigningKey),
) -> Result<Vec<u8>, Error> {
    let path = folder.join(INVENTORY);
    let damaged = |what: String| Error::Damaged { path: path.clone(), what };
    match fs::read(&path) {
        Ok(bytes) => {
            let kept = Inventory::decode(&bytes, &Trust::Key(key.public()));
            let kept = kept.map_err(|what| damaged(what.to_string()))?.body;
            return match kept.seed == asked.export && kept.objects == objects {
                true => Ok(bytes),
                false => Err(Error::ExportExists(asked.job.clone())),
            };
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
        Err(cause) => return Err(Error::io("reading", &path)(cause)),
    }
    let (repositories, created) = (list.repositories.clone(), ctx.now());
    let again = Inventory { seed: asked.export, created, repositories, objects, parts: Vec::new() };
    let bytes = again.encode(key).map_err(|what| damaged(what.to_string()))?;
    store::durable::replace(&path, &bytes, 0o600).map_err(Error::io("writing", &path))?;
    Ok(bytes)
}

/// The drive set that the job is, after all others of the export, and how many brought its list; as it was where there is that job already.
fn free_set(vault: &Vault, asked: &AskedAgain<'_>) -> Result<(u32, u32), Error> {
    let jobs = vault.client.jobs()?;
    let of_it = jobs.iter().filter(|job| transit::seed(job) == Some(asked.export));
    let sets = of_it.filter_map(|job| job.carries.as_ref().map(|it| (&job.name, &it.seed)));
    let sets: Vec<_> = sets.collect();
    let own = sets.iter().find(|(name, _)| *name == asked.job);
    let brought = sets.iter().find_map(|(_, seed)| seed.sets).unwrap_or(1);
    let next = sets.iter().map(|(_, seed)| seed.set.saturating_add(1)).max().unwrap_or(0);
    Ok((own.map_or(next.max(brought), |(_, seed)| seed.set), brought))
}

/// What [`fetch_export`] has done.
#[derive(Debug, Default)]
pub struct Fetched {
    /// Exports of which something was wanted.
    pub filled: Vec<(SeedId, Filled)>,
    /// Seeds that wait there and are no exports of this server.
    pub others: Vec<SeedId>,
}

/// Fetches what drives of exports did not bring into the folder that they were taken into, over the network, and publishes what is complete then.
///
/// # Errors
/// The folder cannot be used, or the server is away. What was fetched by then stays.
pub fn fetch_export(ctx: &Context<'_>, into: &Path) -> Result<Fetched, Error> {
    let state = State::open(ctx.state)?;
    let vault = Vault::connect(ctx, &state)?;
    let jobs = vault.client.jobs()?;
    let mut fetched = Fetched::default();
    for missing in seed::missing(into)? {
        ctx.check_stop()?;
        let is_of_it = |job: &&Job| {
            let whole = job.export.as_ref().is_some_and(|it| !it.again && it.objects > 0);
            whole && transit::seed(job) == Some(missing.seed)
        };
        let Some(job) = jobs.iter().find(is_of_it) else {
            fetched.others.push(missing.seed);
            continue;
        };
        let from = vault.export(ctx, &job.name)?;
        let filled = seed::fill(into, missing.seed, from.as_ref(), &mut Told(ctx))?;
        fetched.filled.push((missing.seed, filled));
    }
    Ok(fetched)
}
