//! Shipping details of an import job: where its drives go back to, and the package they travel in.
//! Chooses no carrier.

use crate::Error;
use crate::chain;
use crate::context::Context;
use crate::names;
use crate::record::SeedRecord;
use crate::state::State;
use crate::transit;
use crate::vault::Vault;
use model::{Address, GroupName, JobName, Package};
use wire::{Job, JobPatch, JobState, SeedId};

/// What is shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShipTarget {
    /// The job of the only seed under way.
    Only,
    /// The job of the seed with that staging location.
    Staging(String),
    /// The job of that group's seed.
    Group(GroupName),
    /// That job.
    Job(JobName),
}

/// Gives the shipping details of a job and says that its package is with the carrier. Details may
/// be given again, to correct them, until the package has arrived. Without a number of drives the
/// package is said to hold all of the job.
///
/// # Errors
/// [`Error::NoJob`]; [`Error::WhichJob`] when several are meant; what the server refuses, such as a
/// tracking number that another job has.
pub fn ship(
    ctx: &Context<'_>,
    target: &ShipTarget,
    return_address: &Address,
    package: &Package,
) -> Result<Job, Error> {
    let state = State::open(ctx.state)?;
    let vault = Vault::connect(ctx, &state)?;
    let (id, job) = choose(ctx, &state, &vault, target)?;
    let mut package = package.clone();
    package.drive_count = package.drive_count.or(u32::try_from(job.drive_list.len()).ok());
    let shipping = (job.state == JobState::Creating).then_some(JobState::Shipping);
    let patch = JobPatch {
        version: Some(job.version),
        return_address: Some(return_address.clone()),
        delivery_package: Some(package),
        state: shipping,
        cancel_requested: None,
    };
    let job = vault.client.patch_job(&job.name, &patch)?;
    chain::handed_over(ctx, &state, id, &job)?;
    let (_, effects) = state.change_seed(id, |record| {
        transit::take_over(record, std::slice::from_ref(&job), ctx.now())
    })?;
    transit::tell(ctx, id, &effects);
    chain::send(ctx, &state, &vault, id);
    Ok(job)
}

/// The jobs that such a target may mean: whose package has not arrived, and of those the ones without
/// shipping details, where there are any. For asking which one is meant.
///
/// # Errors
/// The server is away or refuses.
pub fn to_be_shipped(ctx: &Context<'_>, target: &ShipTarget) -> Result<Vec<Job>, Error> {
    let state = State::open(ctx.state)?;
    let vault = Vault::connect(ctx, &state)?;
    Ok(candidates(ctx, &state, &vault, target)?.into_iter().map(|(_, job)| job).collect())
}

/// The job that is meant: named, or the only one whose package has not arrived.
fn choose(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    target: &ShipTarget,
) -> Result<(SeedId, Job), Error> {
    let mut candidates = candidates(ctx, state, vault, target)?;
    if candidates.len() > 1 {
        let jobs = candidates.into_iter().map(|(_, job)| job.name).collect();
        return Err(Error::WhichJob { jobs });
    }
    candidates.pop().ok_or_else(|| Error::NoJob(words(target)))
}

fn candidates(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    target: &ShipTarget,
) -> Result<Vec<(SeedId, Job)>, Error> {
    let mut candidates = Vec::new();
    for record in seeds(state, target)? {
        let (record, jobs) = transit::sync(ctx, state, vault, &record)?;
        candidates.extend(jobs.into_iter().map(|job| (record.id, job)));
    }
    let open = |(_, job): &(SeedId, Job)| match target {
        ShipTarget::Job(name) => job.name == *name,
        _ => matches!(job.state, JobState::Creating | JobState::Shipping),
    };
    candidates.retain(open);
    // Details are more likely missing than wrong.
    if candidates.iter().any(|(_, job)| job.state == JobState::Creating) {
        candidates.retain(|(_, job)| job.state == JobState::Creating);
    }
    Ok(candidates)
}

fn seeds(state: &State, target: &ShipTarget) -> Result<Vec<SeedRecord>, Error> {
    let at = |folder: &std::path::Path| Ok(state.seed_at(folder)?.into_iter().collect());
    match target {
        ShipTarget::Staging(text) => at(&names::staging_folder(text)?),
        ShipTarget::Group(name) => match state.known_group(name)?.offline() {
            Some(inputs) => at(&inputs.staging),
            None => Ok(Vec::new()),
        },
        ShipTarget::Only | ShipTarget::Job(_) => state.seeds(),
    }
}

fn words(target: &ShipTarget) -> String {
    match target {
        ShipTarget::Only => "this server".to_owned(),
        ShipTarget::Staging(text) => text.clone(),
        ShipTarget::Group(name) => name.to_string(),
        ShipTarget::Job(name) => name.to_string(),
    }
}
