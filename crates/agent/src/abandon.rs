//! Gives a seed up that nobody goes on with: the server never publishes it, import jobs that may be cancelled are, and backups go on without
//! it. Removes nothing: neither staging nor a password of a drive.
//!
//! ```text
//!  published? begun to be? ─▶ server notes it ─▶ jobs cancelled ─▶ repository kept for what comes ─▶ groups go another way ─▶ Abandoned
//! ```
//!
//! invariant: the record says Abandoned last, so that a call after a crash finds everything that is left to do.

use crate::context::Context;
use crate::group::{Group, Initial, OfflineInputs};
use crate::record::{SeedRecord, StagedBackup};
use crate::state::State;
use crate::vault::Vault;
use crate::{Error, chain, init, origin, recover, transit};
use flow::{SeedEvent, SeedState};
use jiff::Timestamp;
use model::{GroupName, JobName, ObjectKind};
use std::path::PathBuf;
use wire::{Code, Job, JobPatch, JobState, SeedId};

/// What is to be done with a seed that nobody goes on with.
#[derive(Debug, Clone, Copy)]
pub struct Abandoning<'a> {
    /// The seed. One that another machine of this name has begun need not be known here.
    pub seed: SeedId,
    /// Its groups' first backup travels anew, under an import job of that name; over the network where there is none.
    pub again: Option<&'a JobName>,
    /// Say only what would be done.
    pub dry_run: bool,
}

/// What becomes of an import job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Its drives are here: it is cancelled.
    Canceled,
    /// Its package travels: it is cancelled when that arrives, and the drives are sent back unread.
    WhenItArrives,
    /// Its drives are being taken in: they are read, and sent back.
    TakenIn,
    /// It was over.
    Over,
}

/// What was given up, or would be.
#[derive(Debug)]
pub struct GivenUp {
    /// The seed.
    pub seed: SeedId,
    /// Where it was; none where nothing is known of it here.
    pub state: Option<SeedState>,
    /// Recovery points that the vault will not have: the first backups.
    pub points: Vec<(GroupName, StagedBackup)>,
    /// How many were made since, while it travelled: nothing can be restored from these any more.
    pub since: usize,
    /// Where the first backups still are, and can be restored from by `packmule repo`; none where they were on drives alone.
    pub staging: Option<PathBuf>,
    /// Its import jobs.
    pub jobs: Vec<(Job, Fate)>,
    /// When another computer was given credentials to write its drives, of which there is no import job yet.
    pub copied_since: Option<Timestamp>,
    /// The groups that go another way from now on.
    pub groups: Vec<GroupName>,
    /// Whether anything was done at all.
    pub dry_run: bool,
}

/// Gives a seed up. Called again after an interruption, it goes on.
///
/// # Errors
/// [`Error::Client`] with [`Code::AlreadyExists`] or [`Code::ConcurrentChange`] where the vault has begun to show it, or has it: nothing
/// has changed then. [`Error::NoSeed`]; [`Error::StagingUsed`] where `again` is asked for and the vault has a repository already, which a
/// catch-up seed adds to. The server is away.
pub fn abandon_seed(ctx: &Context<'_>, what: Abandoning<'_>) -> Result<GivenUp, Error> {
    let state = State::open(ctx.state)?;
    let _lock = state.lock_seed(what.seed)?;
    let vault = Vault::connect(ctx, &state)?;
    let record = match state.seed(what.seed) {
        Err(Error::NoSeed(_)) => None,
        other => Some(other?),
    };
    let given_up = plan(ctx, &state, &vault, record.as_ref(), what)?;
    if let Some(record) = &record {
        refuse_published(&vault, record)?;
        refuse_again(&vault, record, what)?;
    }
    if what.dry_run {
        return Ok(given_up);
    }
    match vault.client.abandon_seed(&vault.vault, &vault.server, what.seed) {
        // It never heard of it: all of the seed is here.
        Err(error) if error.code() == Some(&Code::ResourceNotFound) && record.is_some() => {}
        other => other?,
    }
    cancel(&vault, &given_up.jobs)?;
    if let Some(record) = &record {
        end(ctx, &state, &vault, record, what.again)?;
    }
    Ok(given_up)
}

fn plan(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: Option<&SeedRecord>,
    what: Abandoning<'_>,
) -> Result<GivenUp, Error> {
    let mut jobs = vault.client.jobs()?;
    jobs.retain(|job| transit::seed(job) == Some(what.seed));
    if record.is_none() && jobs.is_empty() {
        // One that was announced, and whose machine was lost before it had a job.
        match vault.client.announced_seed(what.seed) {
            Err(error) if error.code() == Some(&Code::ResourceNotFound) => {
                return Err(Error::NoSeed(what.seed));
            }
            other => drop(other?),
        }
    }
    let since = match vault.increments(ctx, what.seed)?.list(ObjectKind::Snapshot) {
        Err(error) if error.kind() == model::ErrorKind::NotFound => 0,
        other => other?.len(),
    };
    let mut given_up = GivenUp {
        seed: what.seed,
        state: record.map(SeedRecord::state),
        points: Vec::new(),
        since,
        staging: None,
        jobs: jobs
            .into_iter()
            .map(|job| (fate(&job), job))
            .map(|(fate, job)| (job, fate))
            .collect(),
        copied_since: copied_since(vault, what.seed)?,
        groups: Vec::new(),
        dry_run: what.dry_run,
    };
    let Some(record) = record else { return Ok(given_up) };
    given_up.points = record.backups.iter().map(|(name, it)| (name.clone(), it.clone())).collect();
    let is_there = |record: &&SeedRecord| {
        let own = record.repository;
        own.is_some_and(|own| init::check_staging(&record.staging, record.id, own).is_ok())
    };
    let staged = Some(record).filter(|record| !record.direct && !record.seed.staging_cleaned);
    given_up.staging = staged.filter(is_there).map(|record| record.staging.clone());
    given_up.groups = own_groups(state, record)?.into_iter().map(|group| group.name).collect();
    Ok(given_up)
}

fn copied_since(vault: &Vault, id: SeedId) -> Result<Option<Timestamp>, Error> {
    let seeds = recover::under_way(vault)?;
    Ok(seeds.into_iter().find(|seed| seed.id == id).and_then(|seed| seed.copied_since))
}

fn fate(job: &Job) -> Fate {
    match job.state {
        JobState::Creating => Fate::Canceled,
        JobState::Shipping => Fate::WhenItArrives,
        JobState::Received | JobState::Transferring | JobState::Packaging => Fate::TakenIn,
        JobState::Completed | JobState::Closed | JobState::Canceled => Fate::Over,
    }
}

/// The groups whose first backup this seed is.
fn own_groups(state: &State, record: &SeedRecord) -> Result<Vec<Group>, Error> {
    let own = state.seed_at(&record.staging)?.is_some_and(|newest| newest.id == record.id);
    if own { state.groups_at(&record.staging) } else { Ok(Vec::new()) }
}

/// What the vault has is gone on with: recovery points there need it.
fn refuse_published(vault: &Vault, record: &SeedRecord) -> Result<(), Error> {
    let is_over = record.state() == SeedState::Confirmed;
    if !is_over {
        match vault.client.receipt(&vault.vault, &vault.server, Some(record.id)) {
            Err(error) if error.code() == Some(&Code::ResourceNotFound) => return Ok(()),
            other => drop(other?),
        }
    }
    let state = if is_over { "Confirmed" } else { "Published" };
    Err(flow::Refused::SeedEnded { state }.into())
}

/// A vault that has a repository gets what it lacks by a catch-up seed, from a folder that holds no more.
fn refuse_again(vault: &Vault, record: &SeedRecord, what: Abandoning<'_>) -> Result<(), Error> {
    if what.again.is_none() || !vault.has_repository()? {
        return Ok(());
    }
    match record.direct {
        // Its folder is another one, too.
        true => Ok(()),
        false => Err(Error::StagingUsed { staging: record.staging.clone(), seed: record.id }),
    }
}

/// Those that may be. One that has changed its state meanwhile is as it is: nothing waits for it any more.
fn cancel(vault: &Vault, jobs: &[(Job, Fate)]) -> Result<(), Error> {
    for (job, fate) in jobs {
        let may_be = matches!(fate, Fate::Canceled | Fate::WhenItArrives);
        if !may_be || job.cancel_requested {
            continue;
        }
        let patch = JobPatch { cancel_requested: Some(true), ..JobPatch::default() };
        match vault.client.patch_job(&job.name, &patch) {
            Err(error) if error.code() == Some(&Code::JobState) => {}
            other => drop(other?),
        }
    }
    Ok(())
}

/// What is left to do here, the record last.
fn end(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    again: Option<&JobName>,
) -> Result<(), Error> {
    let catch_up = vault.has_repository()?;
    origin::take_back(ctx, state, record, catch_up)?;
    redirect(state, record, (again, catch_up))?;
    if !record.jobs.is_empty() {
        chain::abandoned(ctx, state, record)?;
        chain::send(ctx, state, vault, record.id);
    }
    let (_, effects) = state
        .change_seed(record.id, |record| record.happen(SeedEvent::OwnerAbandoned, ctx.now()))?;
    transit::tell(ctx, record.id, &effects);
    Ok(())
}

fn redirect(
    state: &State,
    record: &SeedRecord,
    (again, catch_up): (Option<&JobName>, bool),
) -> Result<(), Error> {
    let _lock = state.lock()?;
    for mut group in own_groups(state, record)? {
        let Initial::Offline(inputs) = &group.initial else { continue };
        group.initial = match again {
            None => Initial::Network,
            Some(job) => Initial::Offline(OfflineInputs {
                staging: match inputs.direct {
                    true => state.direct_folder(job),
                    false => inputs.staging.clone(),
                },
                import_job: job.clone(),
                catch_up,
                ..inputs.clone()
            }),
        };
        state.save_group(&group)?;
    }
    Ok(())
}
