//! `backup now`: the right next thing for a group. First into staging; while the seed is on its
//! way, publication; once it is confirmed, increments into the vault. Never one before the other.

use crate::confirm::Confirmed;
use crate::context::{Context, Event, Phase};
use crate::group::{Group, Initial, OfflineInputs};
use crate::record::{SeedRecord, StagedBackup};
use crate::state::State;
use crate::transit::{self, Transit, Waiting};
use crate::vault::{Place, Vault};
use crate::{Error, adopt, announce, identity, init, names, publication};
use backup::{BackupEvent, BackupOptions, BackupOutcome, Fault};
use flow::{SeedEvent, SeedState};
use model::{ErrorKind, GroupName};
use policy::Snapshot;
use repo::{LockMode, Repository};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::{Job, JobState, SeedId};
use workload::{Files, Held, Notice, Workload as _};

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
    /// The seed is on its way. What was backed up meanwhile is in it.
    Waiting(Box<Waiting>),
    /// The backup is in the vault.
    Stored {
        /// The seed that was found complete in the vault by this call, if one was.
        confirmed: Option<Box<Confirmed>>,
        /// The backup. Items that could not be read are named in it.
        outcome: Box<BackupOutcome>,
        /// Why recovery points that were made while a seed travelled are not to be had, where that is so.
        unpublished: Option<Box<Error>>,
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
    if group.stopped.is_some() {
        return Err(Error::Stopped(group.name));
    }
    identity::renew_beside(ctx);
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
        // One that was found again has no group here that it was made for.
        let found = state.seeds()?.into_iter().find(|record| record.found && !record.is_over());
        return match found {
            None => Ok(stored(into_vault(ctx, state, group, None, password)?)),
            Some(record) if record.catch_up => beside(ctx, state, group, record.id, password),
            Some(record) => on_the_way(ctx, state, group, record.id, password),
        };
    };
    let record = state.living_seed_at(&inputs.staging)?;
    // What the vault has already goes on over the network, whatever else travels.
    let goes_on = match &record {
        Some(record) => record.catch_up,
        None => inputs.catch_up,
    };
    if goes_on {
        let outcome = into_vault(ctx, state, group, None, password)?;
        return Ok(stored(outcome));
    }
    let Some(record) = record else {
        return Ok(BackupReport::Waiting(Box::new(Waiting::for_first_backup(state, &inputs)?)));
    };
    let written = match written_elsewhere(ctx, state, &record) {
        Err(error) if error.kind() == ErrorKind::Unavailable => Written::Here,
        other => other?,
    };
    match (record.state(), written) {
        (SeedState::Staging | SeedState::Staged, Written::Here | Written::Now) => {
            Ok(BackupReport::Waiting(Box::new(Waiting::local(state, &record)?)))
        }
        _ => on_the_way(ctx, state, group, record.id, password),
    }
}

/// Who writes the drives of a seed that is complete in staging, as far as that is known.
enum Written {
    /// Nobody has, or this computer.
    Here,
    /// A copy computer is at it: the server does not have all of its documents yet.
    Now,
    /// A copy computer has, and its import job is the seed's from now on.
    Elsewhere,
}

/// Asks before anything is added to staging: what a copy computer has written lists what was there by then, and nothing that comes later
/// travels. Only an announced seed can be in the hands of another computer.
fn written_elsewhere(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
) -> Result<Written, Error> {
    if record.state() != SeedState::Staged || !announce::is_announced(record) {
        return Ok(Written::Here);
    }
    let vault = Vault::connect(ctx, state)?;
    let all = vault.client.jobs()?;
    let record = adopt::adopt(ctx, state, &vault, record.clone(), &all)?;
    if record.state() != SeedState::Staged {
        return Ok(Written::Elsewhere);
    }
    let own_key = state.signing_key()?.public();
    let is_at_it = |job: &Job| {
        let signer = transit::signer(job, &record);
        job.state != JobState::Canceled && signer.is_some_and(|signer| signer != own_key)
    };
    Ok(if all.iter().any(is_at_it) { Written::Now } else { Written::Here })
}

/// Into the vault, which has the repository; and the seed that was found again as far as it goes.
fn beside(
    ctx: &Context<'_>,
    state: &State,
    group: &Group,
    seed: SeedId,
    password: &[u8],
) -> Result<BackupReport, Error> {
    let outcome = Box::new(into_vault(ctx, state, group, None, password)?);
    let (confirmed, unpublished) = match transit::go_on(ctx, state, seed, password) {
        Ok(Transit::Arrived { confirmed, .. }) => (confirmed, None),
        Ok(Transit::Waiting(_)) => (None, None),
        Err(error) => (None, Some(Box::new(error))),
    };
    Ok(BackupReport::Stored { confirmed, outcome, unpublished })
}

fn offline(
    ctx: &Context<'_>,
    state: &State,
    group: &Group,
    inputs: &OfflineInputs,
    password: &[u8],
) -> Result<BackupReport, Error> {
    if inputs.direct && state.living_seed_at(&inputs.staging)?.is_none() {
        return Ok(BackupReport::Waiting(Box::new(Waiting::for_first_backup(state, inputs)?)));
    }
    let record = begun(ctx, state, inputs)?;
    match record.state() {
        SeedState::Staging | SeedState::Staged if inputs.direct => {
            Ok(BackupReport::Waiting(Box::new(Waiting::local(state, &record)?)))
        }
        SeedState::Staging | SeedState::Staged => stage(ctx, state, group, record.id, password),
        _ => on_the_way(ctx, state, group, record.id, password),
    }
}

/// The seed of that staging location; a new one when there is none.
pub(crate) fn begun(
    ctx: &Context<'_>,
    state: &State,
    inputs: &OfflineInputs,
) -> Result<SeedRecord, Error> {
    let _lock = state.lock()?;
    if let Some(record) = state.living_seed_at(&inputs.staging)? {
        return Ok(record);
    }
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|_| Error::Random)?;
    let now = ctx.now();
    let record = SeedRecord {
        id: SeedId(id),
        created: now,
        staging: names::clean(&inputs.staging),
        direct: inputs.direct,
        found: false,
        unread: false,
        import_job: inputs.import_job.clone(),
        storage_account: inputs.storage_account.clone(),
        container: inputs.container.clone(),
        seed: flow::Seed::new(now),
        backups: BTreeMap::new(),
        repository: None,
        catch_up: inputs.catch_up,
        withheld: 0,
        contents: None,
        revisions: Vec::new(),
        made_in: Vec::new(),
        parity: 0,
        most_drives: None,
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
    let lock = state.lock_seed(id)?;
    let record = state.seed(id)?;
    if !matches!(record.state(), SeedState::Staging | SeedState::Staged) {
        return Err(Error::Busy { what: format!("seed {id}") });
    }
    match written_elsewhere(ctx, state, &record)? {
        Written::Here => {}
        Written::Now => {
            let mut waiting = Waiting::local(state, &record)?;
            waiting.paused = Some(
                "the drives are being written on another computer; nothing was backed up"
                    .to_owned(),
            );
            return Ok(BackupReport::Waiting(Box::new(waiting)));
        }
        Written::Elsewhere => {
            drop(lock);
            return on_the_way(ctx, state, group, id, password);
        }
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

/// Protection does not wait for a seed: what has changed goes into the vault first, beside it. Then the seed is taken as far
/// as it goes, and with it becomes visible what was backed up meanwhile.
fn on_the_way(
    ctx: &Context<'_>,
    state: &State,
    group: &Group,
    id: SeedId,
    password: &[u8],
) -> Result<BackupReport, Error> {
    let record = state.seed(id)?;
    let meanwhile = match meanwhile(ctx, state, group, &record, password) {
        Err(error) if matches!(error.kind(), ErrorKind::WrongPassword | ErrorKind::Interrupted) => {
            return Err(error);
        }
        other => other,
    };
    let gone_on = transit::go_on(ctx, state, id, password);
    // A source or a staging disk that fails holds no seed up that has arrived; it is said all the same.
    let meanwhile = match (meanwhile, &gone_on) {
        (Ok(meanwhile), _) => meanwhile,
        (Err(_), Ok(Transit::Arrived { .. })) => Meanwhile::Over,
        (Err(error), _) => return Err(error),
    };
    let (record, confirmed, unpublished) = match (gone_on, meanwhile) {
        (Ok(Transit::Waiting(mut waiting)), meanwhile) => {
            meanwhile.tell(&mut waiting);
            return Ok(BackupReport::Waiting(waiting));
        }
        (Ok(Transit::Arrived { record, confirmed }), meanwhile) => {
            let vault = Vault::connect(ctx, state)?;
            let (unpublished, is_withheld) =
                match publication::publish_increments(ctx, &vault, &record) {
                    Ok(()) => (None, false),
                    // Protection goes on all the same: what is there now is backed up as a whole.
                    Err(Error::IncrementsDamaged { count, message }) => {
                        (withheld(state, &record, count, message)?, true)
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
                    // Stored it is; the next backup has it made visible.
                    Err(error) => (Some(Box::new(error)), false),
                };
            if let (Meanwhile::Done(outcome), false) = (meanwhile, is_withheld) {
                return Ok(BackupReport::Stored { confirmed, outcome, unpublished });
            }
            (record, confirmed, unpublished)
        }
        // There is a recovery point, whatever became of the seed.
        (Err(error), meanwhile @ Meanwhile::Done(_)) => {
            let mut waiting = Waiting::local(state, &state.seed(id)?)?;
            waiting.stuck = Some(Arc::new(error));
            meanwhile.tell(&mut waiting);
            return Ok(BackupReport::Waiting(Box::new(waiting)));
        }
        (Err(error), _) => return Err(error),
    };
    let outcome = into_vault(ctx, state, group, Some(&record), password)?;
    Ok(BackupReport::Stored { confirmed, outcome: Box::new(outcome), unpublished })
}

/// Recovery points that are not published are said once; from then on they are in the status.
fn withheld(
    state: &State,
    record: &SeedRecord,
    count: usize,
    message: String,
) -> Result<Option<Box<Error>>, Error> {
    let points = count as u64;
    if record.withheld == points {
        return Ok(None);
    }
    state.change_seed(record.id, |record| {
        record.withheld = points;
        Ok(())
    })?;
    Ok(Some(Box::new(Error::IncrementsDamaged { count, message })))
}

fn stored(outcome: BackupOutcome) -> BackupReport {
    BackupReport::Stored { confirmed: None, outcome: Box::new(outcome), unpublished: None }
}

/// What was done for a group while its seed travels.
enum Meanwhile {
    /// A recovery point.
    Done(Box<BackupOutcome>),
    /// Nothing, and why.
    Paused(String),
    /// The seed has arrived, or is given up.
    Over,
}

impl Meanwhile {
    fn tell(self, waiting: &mut Waiting) {
        match self {
            Self::Done(outcome) => waiting.increment = Some(Arc::from(outcome)),
            Self::Paused(why) => waiting.paused = Some(why),
            Self::Over => {}
        }
    }
}

fn meanwhile(
    ctx: &Context<'_>,
    state: &State,
    group: &Group,
    record: &SeedRecord,
    password: &[u8],
) -> Result<Meanwhile, Error> {
    let paused = |why: &str| Ok(Meanwhile::Paused(why.to_owned()));
    if record.is_over() {
        return Ok(Meanwhile::Over);
    }
    if record.contents.is_none() {
        return paused("the drives are being prepared; nothing was backed up");
    }
    // What travels is known by what is in staging: all of it, part of it, or nothing any more. Where there is none, by what is kept in its
    // place and by the list that the drives' signer has signed.
    let repository = match init::open_to_add(ctx, state, record, password) {
        Err(error) if matches!(error.kind(), ErrorKind::NoRepository | ErrorKind::Conflict) => {
            return paused(
                "staging is not there, so what travels cannot be known; nothing was backed up until it has arrived",
            );
        }
        Err(error @ Error::InventoryLost { .. }) => return paused(&error.to_string()),
        other => other?,
    };
    let mut outcome = back_up(ctx, Place::Increments, &repository, group)?;
    // What staging has lost was read again, and is in the recovery point: nothing is left out.
    let left_out = |problem: &backup::Problem| {
        !matches!(problem.fault, Fault::Repository(_) | Fault::PartsMissing | Fault::ParentTree(_))
    };
    outcome.problems.retain(left_out);
    Ok(Meanwhile::Done(Box::new(outcome)))
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
    // A server that is too old says so here.
    vault.client.health()?;
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
    let held = hold(ctx, group)?;
    let events = |event: BackupEvent<'_>| ctx.tell(Event::Backup(event));
    let options = options(ctx, group, held.as_ref(), &events)?;
    let done = backup::backup(repository, &lock, &options);
    held.release(&|notice| ctx.tell(Event::Workload(&notice)));
    Ok(done?)
}

/// What the group protects, in a state that does not change.
///
/// # Errors
/// It cannot be had, and the group says that it must.
pub(crate) fn hold(ctx: &Context<'_>, group: &Group) -> Result<Box<dyn Held>, Error> {
    let files = Files {
        paths: group.paths.clone(),
        snapshot: group.policy.snapshot,
        one_file_system: group.policy.exclude.one_file_system,
        notes: ctx.state.join("snapshots"),
    };
    let as_they_are = Cell::new(group.policy.snapshot == Snapshot::Off);
    let held = files.hold(&|notice| {
        as_they_are.set(as_they_are.get() || matches!(notice, Notice::NotHeld { .. }));
        ctx.tell(Event::Workload(&notice));
    })?;
    ctx.tell(Event::Held { whole: !as_they_are.get() });
    Ok(held)
}

/// How a group is backed up, wherever to.
///
/// # Errors
/// A pattern of what is left out that is none.
pub(crate) fn options<'a>(
    ctx: &'a Context<'_>,
    group: &Group,
    held: &dyn Held,
    events: &'a (dyn Fn(BackupEvent<'_>) + Sync),
) -> Result<BackupOptions<'a>, Error> {
    let left_out = &group.policy.exclude;
    let exclude = backup::Exclude::new(&left_out.patterns)?
        .larger_than(left_out.larger_than.map(|size| size.0.0))
        .if_present(&left_out.if_present)
        .named(&[workload::FOLDER])
        .one_file_system(left_out.one_file_system);
    Ok(BackupOptions {
        view: held.view(),
        paths: held.paths().to_vec(),
        exclude,
        hostname: ctx.author.hostname.clone(),
        tags: vec![group.tag()],
        time: ctx.now(),
        parent: None,
        // A machine that has another name now has the same groups.
        any_host: true,
        force: false,
        with_atime: false,
        program_version: ctx.program_version.clone(),
        threads: ctx.threads,
        writer: repo::WriterOptions { pack_size: ctx.pack_size, ..repo::WriterOptions::default() },
        journals: Some(ctx.state.join("journals")),
        stop: ctx.stop,
        events,
    })
}
