//! `backup now`: the right next thing for a group. First into staging; while the seed is on its
//! way, publication; once it is confirmed, increments into the vault. Never one before the other.

use crate::confirm::Confirmed;
use crate::context::{Context, Event, Phase};
use crate::group::{Group, Initial, OfflineInputs};
use crate::record::{SeedRecord, StagedBackup};
use crate::state::State;
use crate::transit::{self, Transit, Waiting};
use crate::vault::{Place, Vault};
use crate::{Error, announce, init, names};
use backup::{BackupOptions, BackupOutcome};
use flow::{SeedEvent, SeedState};
use model::GroupName;
use repo::{LockMode, Repository};
use std::collections::{BTreeMap, BTreeSet};
use wire::SeedId;

/// What `backup now` did.
#[derive(Debug)]
pub enum BackupReport {
    /// The group's first backup is complete in staging.
    Staged {
        /// The seed it is part of.
        seed: SeedId,
        /// The backup. Items that could not be read are named in it.
        outcome: Box<BackupOutcome>,
        /// Why the seed could not be announced, where that was due: until it is, no other computer can write its
        /// drives. The next such backup announces it.
        unannounced: Option<Box<Error>>,
    },
    /// The seed is on its way; nothing was backed up.
    Waiting(Box<Waiting>),
    /// The backup is in the vault.
    Stored {
        /// The seed that was found complete in the vault by this call, if one was.
        confirmed: Option<Box<Confirmed>>,
        /// The backup. Items that could not be read are named in it.
        outcome: Box<BackupOutcome>,
    },
}

/// Does the right next thing for the group; see the [crate](crate). The password is the
/// repository's; for the first backup of a server it becomes that.
///
/// # Errors
/// Whatever stops it. What was done by then stays done, and the same call goes on.
pub fn backup_now(
    ctx: &Context<'_>,
    group: &GroupName,
    password: &[u8],
) -> Result<BackupReport, Error> {
    let state = State::open(ctx.state)?;
    let group = state.known_group(group)?;
    match &group.initial {
        Initial::Offline(inputs) => offline(ctx, &state, &group, inputs, password),
        Initial::Network => network(ctx, &state, &group, password),
    }
}

/// A seed that is on its way brings the repository: beginning another in the vault would make the
/// seed unwelcome there.
fn network(
    ctx: &Context<'_>,
    state: &State,
    group: &Group,
    password: &[u8],
) -> Result<BackupReport, Error> {
    let planned = state.groups()?.into_iter().find_map(|group| group.offline().cloned());
    let Some(inputs) = planned else {
        let outcome = into_vault(ctx, state, group, None, password)?;
        return Ok(BackupReport::Stored { confirmed: None, outcome: Box::new(outcome) });
    };
    let record = state.seed_at(&inputs.staging)?;
    // What the vault has already goes on over the network, whatever else travels.
    let goes_on = match &record {
        Some(record) => record.catch_up,
        None => inputs.catch_up,
    };
    if goes_on {
        let outcome = into_vault(ctx, state, group, None, password)?;
        return Ok(BackupReport::Stored { confirmed: None, outcome: Box::new(outcome) });
    }
    let Some(record) = record else {
        return Ok(BackupReport::Waiting(Box::new(Waiting::for_first_backup(state, &inputs)?)));
    };
    match record.state() {
        SeedState::Staging | SeedState::Staged => {
            Ok(BackupReport::Waiting(Box::new(Waiting::local(state, &record)?)))
        }
        _ => on_the_way(ctx, state, group, record.id, password),
    }
}

fn offline(
    ctx: &Context<'_>,
    state: &State,
    group: &Group,
    inputs: &OfflineInputs,
    password: &[u8],
) -> Result<BackupReport, Error> {
    let record = begun(ctx, state, inputs)?;
    match record.state() {
        SeedState::Staging | SeedState::Staged => stage(ctx, state, group, record.id, password),
        _ => on_the_way(ctx, state, group, record.id, password),
    }
}

/// The seed of that staging location; a new one when there is none.
fn begun(ctx: &Context<'_>, state: &State, inputs: &OfflineInputs) -> Result<SeedRecord, Error> {
    let _lock = state.lock()?;
    if let Some(record) = state.seed_at(&inputs.staging)? {
        return Ok(record);
    }
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|_| Error::Random)?;
    let now = ctx.now();
    let record = SeedRecord {
        id: SeedId(id),
        created: now,
        staging: names::clean(&inputs.staging),
        import_job: inputs.import_job.clone(),
        storage_account: inputs.storage_account.clone(),
        container: inputs.container.clone(),
        seed: flow::Seed::new(now),
        backups: BTreeMap::new(),
        repository: None,
        catch_up: inputs.catch_up,
        contents: None,
        parity: 0,
        hold_parity: false,
        jobs: Vec::new(),
        receipt: None,
        encrypted: BTreeSet::new(),
        history: Vec::new(),
    };
    state.save_seed(&record)?;
    Ok(record)
}

/// Into staging. The seed's lock keeps the preparation of drives out meanwhile: what it freezes
/// must hold what the record says.
fn stage(
    ctx: &Context<'_>,
    state: &State,
    group: &Group,
    id: SeedId,
    password: &[u8],
) -> Result<BackupReport, Error> {
    let _lock = state.lock_seed(id)?;
    let record = state.seed(id)?;
    if !matches!(record.state(), SeedState::Staging | SeedState::Staged) {
        return Err(Error::Busy { what: format!("seed {id}") });
    }
    let repository = init::staging(ctx, state, &record, password)?;
    let outcome = back_up(ctx, Place::Staging, &repository, group)?;
    let groups = state.groups_at(&record.staging)?;
    let (snapshot, time) = (outcome.snapshot, outcome.summary.backup_start);
    let problems = outcome.problems.len() as u64;
    let staged = StagedBackup { snapshot, time, problems };
    let (record, effects) = state.change_seed(id, |record| {
        record.backups.insert(group.name.clone(), staged);
        let all = groups.iter().all(|group| record.backups.contains_key(&group.name));
        let event = all.then_some(SeedEvent::StagingFinished);
        event.map_or(Ok(Vec::new()), |event| record.happen(event, ctx.now()))
    })?;
    transit::tell(ctx, id, &effects);
    let unannounced = match record.state() {
        SeedState::Staged => announced(ctx, state, &record).err().map(Box::new),
        _ => None,
    };
    Ok(BackupReport::Staged { seed: id, outcome: Box::new(outcome), unannounced })
}

/// A backup that is complete stays so, whether the server hears of it or not.
fn announced(ctx: &Context<'_>, state: &State, record: &SeedRecord) -> Result<(), Error> {
    announce::announce(ctx, &Vault::connect(ctx, state)?, record)
}

fn on_the_way(
    ctx: &Context<'_>,
    state: &State,
    group: &Group,
    id: SeedId,
    password: &[u8],
) -> Result<BackupReport, Error> {
    let (record, confirmed) = match transit::go_on(ctx, state, id, password)? {
        Transit::Waiting(waiting) => return Ok(BackupReport::Waiting(waiting)),
        Transit::Arrived { record, confirmed } => (record, confirmed),
    };
    let outcome = into_vault(ctx, state, group, Some(&record), password)?;
    Ok(BackupReport::Stored { confirmed, outcome: Box::new(outcome) })
}

/// Into the vault, over the network. Where a seed has brought the repository, it must be that one.
fn into_vault(
    ctx: &Context<'_>,
    state: &State,
    group: &Group,
    seed: Option<&SeedRecord>,
    password: &[u8],
) -> Result<BackupOutcome, Error> {
    let vault = Vault::connect(ctx, state)?;
    let repository = match seed {
        None => init::vault(ctx, state, &vault.store, password)?,
        Some(record) => {
            let repository = vault.open(ctx, password)?;
            if Some(repository.identity()) != record.repository {
                let location = repository.location();
                return Err(Error::OtherRepository { location, seed: record.id });
            }
            repository
        }
    };
    back_up(ctx, Place::Vault, &repository, group)
}

fn back_up(
    ctx: &Context<'_>,
    place: Place,
    repository: &Repository,
    group: &Group,
) -> Result<BackupOutcome, Error> {
    ctx.check_stop()?;
    ctx.tell(Event::Phase(Phase::Backup(place)));
    let lock = repository.begin_lock(LockMode::Shared)?;
    let options = BackupOptions {
        paths: group.paths.clone(),
        hostname: ctx.author.hostname.clone(),
        tags: vec![group.tag()],
        time: ctx.now(),
        parent: None,
        force: false,
        with_atime: false,
        program_version: ctx.program_version.clone(),
        threads: ctx.threads,
        writer: repo::WriterOptions { pack_size: ctx.pack_size, ..repo::WriterOptions::default() },
        journals: Some(ctx.state.join("journals")),
        stop: ctx.stop,
        events: &|event| ctx.tell(Event::Backup(event)),
    };
    Ok(backup::backup(repository, &lock, &options)?)
}
