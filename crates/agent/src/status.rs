//! Everything in one place: registration, groups, seeds, jobs as the server has them, and what is
//! expected next. Changes nothing, but for jobs that another computer has made: these are taken over.

use crate::context::Context;
use crate::group::Group;
use crate::next::Next;
use crate::record::{SeedJob, SeedRecord};
use crate::state::State;
use crate::transit;
use crate::vault::{Place, Vault, owner};
use crate::{Error, Machine, Registration, deletions, identity};
use flow::SeedState;
use jiff::Timestamp;
use model::Digest;
use wire::{Deletion, Job, KeyRemoval, SeedId};

/// Everything that the source knows, with what the server says about it.
#[derive(Debug)]
pub struct Status {
    /// What this server is registered with; none before.
    pub registration: Option<Registration>,
    /// Why the server could not be asked, where that is so: jobs are then as last heard.
    pub away: Option<Error>,
    /// Every group, by name.
    pub groups: Vec<GroupStatus>,
    /// Every seed, the oldest first.
    pub seeds: Vec<SeedStatus>,
    /// This machine's certificate; none where it has a token.
    pub machine: Option<Machine>,
    /// What opens the repository.
    pub keys: KeysStatus,
    /// Deletions from the repository that are not over, and that somebody else has asked for.
    pub deletions: Vec<Deletion>,
}

/// What is known of what opens the repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeysStatus {
    /// When the recovery kit was made that holds.
    pub kit: Option<Timestamp>,
    /// Since when a change of the passphrase is not finished.
    pub change: Option<Timestamp>,
    /// Until when a key that was to go opens the repository in the vault; in the past once it is gone.
    pub goes: Option<Timestamp>,
    /// Whether the vault has to hear of a key yet.
    pub waits: bool,
    /// Keys that somebody else has asked to be removed.
    pub foreign: Vec<KeyRemoval>,
}

impl KeysStatus {
    fn of(state: &State, vault: Option<&Vault>) -> Result<Self, Error> {
        let record = state.keys()?;
        let own = |key: &Digest| record.get(*key).is_some_and(|own| own.to_go.is_some());
        let mut foreign = match vault {
            // A server that cannot say has said so already.
            Some(vault) => {
                vault.client.key_removals(&vault.vault, &vault.server).unwrap_or_default()
            }
            None => Vec::new(),
        };
        foreign.retain(|removal| !own(&removal.key));
        Ok(Self {
            kit: record.kit(),
            change: record.change.as_ref().map(|change| change.begun),
            goes: record.keys.iter().filter_map(|key| key.until).max(),
            waits: !record.is_settled(),
            foreign,
        })
    }
}

/// How a group stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group.
    pub group: Group,
    /// The seed that carries its first backup, where one does.
    pub seed: Option<SeedId>,
    /// Where its next backup goes; none while that waits for the seed.
    pub backups: Option<Place>,
    /// What is expected next.
    pub next: Next,
}

/// How a seed stands.
#[derive(Debug, Clone)]
pub struct SeedStatus {
    /// The record, with what the server says taken over.
    pub record: SeedRecord,
    /// Its jobs.
    pub jobs: Vec<JobStatus>,
    /// What is expected next.
    pub next: Next,
}

/// How an import job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobStatus {
    /// What the source knows of it.
    pub own: SeedJob,
    /// What the server says; none when it could not be asked, or does not know the job.
    pub server: Option<Job>,
}

/// Looks at everything. A server that is away, or refuses, is part of the answer.
///
/// # Errors
/// The state directory cannot be read.
pub fn status(ctx: &Context<'_>) -> Result<Status, Error> {
    let state = State::open(ctx.state)?;
    let credentials = match state.credentials() {
        Err(Error::NotRegistered) => None,
        other => Some(other?),
    };
    let (mut registration, mut away, mut vault) = (None, None, None);
    if let Some(credentials) = credentials {
        let (name, server) = owner(&credentials)?;
        let there = Vault::with(ctx, &state, credentials)?;
        let health = there.client.health();
        let endpoint = there.client.credentials().endpoint.clone();
        let version = health.as_ref().map_or_else(|_| String::new(), |it| it.version.clone());
        registration = Some(Registration { endpoint, vault: name, server, version });
        match health {
            Ok(_) => vault = Some(there),
            Err(error) => away = Some(error.into()),
        }
    }
    let mut seeds = Vec::new();
    for mut record in state.seeds()? {
        let mut jobs = Vec::new();
        match vault.as_ref().map(|vault| transit::look(ctx, &state, vault, &record)) {
            Some(Ok((looked, there))) => (record, jobs) = (looked, there),
            Some(Err(error)) => away = Some(error),
            None => {}
        }
        seeds.push(seed_status(ctx, &state, record, &jobs)?);
    }
    let groups = state.groups()?.into_iter().map(|group| group_status(&state, group, &seeds));
    let groups = groups.collect::<Result<_, _>>()?;
    let machine = identity::machine(ctx.state)?;
    let keys = KeysStatus::of(&state, vault.as_ref())?;
    let foreign = vault.as_ref().map(|vault| deletions::foreign(&state, vault));
    let deletions = match foreign {
        Some(Ok(foreign)) => foreign,
        Some(Err(error)) => {
            away = away.or(Some(error));
            Vec::new()
        }
        None => Vec::new(),
    };
    Ok(Status { registration, away, groups, seeds, machine, keys, deletions })
}

fn seed_status(
    ctx: &Context<'_>,
    state: &State,
    mut record: SeedRecord,
    jobs: &[Job],
) -> Result<SeedStatus, Error> {
    // Taken over for the answer only: storing it is for commands that change something.
    transit::take_over(&mut record, jobs, ctx.now())?;
    let next = transit::next(state, &record, jobs)?;
    let status = |own: &SeedJob| JobStatus {
        own: own.clone(),
        server: jobs.iter().find(|job| job.name == own.name).cloned(),
    };
    let jobs = record.jobs.iter().map(status).collect();
    Ok(SeedStatus { record, jobs, next })
}

fn group_status(state: &State, group: Group, seeds: &[SeedStatus]) -> Result<GroupStatus, Error> {
    let record = match group.offline() {
        Some(inputs) => state.living_seed_at(&inputs.staging)?,
        None => None,
    };
    let seed = record.as_ref().map(|record| record.id);
    let status = seeds.iter().find(|status| Some(status.record.id) == seed);
    let state = status.map(|status| status.record.state());
    let backups = match (group.offline(), state) {
        (Some(inputs), None | Some(SeedState::Staging | SeedState::Staged)) => {
            Some(if inputs.direct { Place::Drives } else { Place::Staging })
        }
        (None, _) | (_, Some(SeedState::Confirmed)) => Some(Place::Vault),
        _ => None,
    };
    let missing = |status: &SeedStatus| !status.record.backups.contains_key(&group.name);
    let next = match status {
        None if group.offline().is_some() => {
            let direct = group.offline().is_some_and(|inputs| inputs.direct);
            transit::first_backup(direct, group.name.clone())
        }
        Some(status) if backups == Some(Place::Staging) && missing(status) => {
            Next::FirstBackup { group: group.name.clone() }
        }
        Some(status) => status.next.clone(),
        None => Next::Nothing,
    };
    Ok(GroupStatus { group, seed, backups, next })
}
