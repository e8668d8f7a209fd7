//! Protection groups: created once, checked at once, kept as they are. Backs nothing up.

use crate::record::SeedRecord;
use crate::state::State;
use crate::vault::Vault;
use crate::{Context, Error, Stopped, names, recover};
use backup::{Totals, scan};
use flow::SeedState;
use jiff::Timestamp;
use model::{AccountName, ContainerName, ErrorKind, GroupName, JobName};
use policy::Policy;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use wire::SeedId;

/// What is backed up together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// What it protects: absolute paths.
    pub paths: Vec<PathBuf>,
    /// How its first backup travels.
    pub initial: Initial,
    /// When it was created.
    pub created: Timestamp,
    /// What is to be done for it by itself, and when.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policy: Policy,
    /// Nothing is done for it any more; none while it is protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
}

fn is_default(policy: &Policy) -> bool {
    *policy == Policy::default()
}

/// How a group's first backup comes to the vault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "initialReplica", rename_all = "camelCase")]
pub enum Initial {
    /// Over the network.
    Network,
    /// On drives.
    Offline(OfflineInputs),
}

/// What is asked for when a first backup travels on drives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfflineInputs {
    /// The folder that receives the first full backup; of one that goes straight onto drives, the folder in the
    /// agent's state that has everything but what is in the files.
    pub staging: PathBuf,
    /// There is no staging location: the backup is made onto the drives.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub direct: bool,
    /// The name of the import job.
    pub import_job: JobName,
    /// The storage account it arrives in first.
    pub storage_account: AccountName,
    /// The container there.
    pub container: ContainerName,
    /// The vault had this server's repository when this was decided: what travels is what it lacks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub catch_up: bool,
}

/// A group to be created.
#[derive(Debug, Clone)]
pub struct NewGroup {
    /// Its name.
    pub name: GroupName,
    /// What it protects: absolute paths.
    pub paths: Vec<PathBuf>,
    /// How its first backup travels.
    pub initial: NewInitial,
}

/// How the first backup of a group to be created travels.
#[derive(Debug, Clone)]
pub enum NewInitial {
    /// Over the network.
    Network,
    /// On drives.
    Offline {
        /// The staging location as people write it: an absolute path, or `local:` and one.
        staging: String,
        /// The name of the import job.
        import_job: JobName,
        /// The storage account.
        storage_account: AccountName,
        /// The container there.
        container: ContainerName,
    },
    /// On drives, and straight onto them: nothing receives it before.
    Direct {
        /// The name of the import job.
        import_job: JobName,
        /// The storage account.
        storage_account: AccountName,
        /// The container there.
        container: ContainerName,
    },
}

/// A group that was created, or existed just so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedGroup {
    /// The group.
    pub group: Group,
    /// What its paths hold now. The backup is smaller: deduplicated and compressed.
    pub estimate: Totals,
    /// What may become a problem.
    pub warnings: Vec<Warning>,
}

/// What may become a problem with a group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Staging may fill up.
    #[error(
        "the staging location has {free} bytes free, the protected paths hold {needed}: the first backup may not fit; if it fills up, make room and run it again"
    )]
    Room {
        /// Bytes free there.
        free: u64,
        /// Bytes below the paths.
        needed: u64,
    },
    /// Nothing has the data meanwhile but source and drives.
    #[error(
        "until the vault has everything, nothing of this backup can be restored but from all of its drives, and what is lost with one of these only the source can give again"
    )]
    OnDrivesAlone,
    /// The server does not tell agents which accounts there are.
    #[error(
        "whether the server knows storage account {account} shows when the import job is created"
    )]
    AccountUnchecked {
        /// Which.
        account: AccountName,
    },
}

/// Every group, by name.
///
/// # Errors
/// The state directory cannot be read.
pub fn groups(ctx: &Context<'_>) -> Result<Vec<Group>, Error> {
    State::open(ctx.state)?.groups()
}

/// The seed that would have travelled in that way, and that nobody goes on with: what names it is out of date, and no more.
///
/// # Errors
/// The state directory cannot be read; a staging location that is none.
pub fn given_up(ctx: &Context<'_>, way: &NewInitial) -> Result<Option<SeedId>, Error> {
    let NewInitial::Offline { staging, import_job, storage_account, container } = way else {
        return Ok(None);
    };
    let staging = names::staging_folder(staging)?;
    let is_it = |seed: &SeedRecord| {
        seed.state() == SeedState::Abandoned
            && seed.import_job == *import_job
            && seed.storage_account == *storage_account
            && seed.container == *container
            && names::same(&seed.staging, &staging)
    };
    let seeds = State::open(ctx.state)?.seeds()?;
    Ok(seeds.into_iter().rev().find(is_it).map(|seed| seed.id))
}

/// Creates a group. Creating it again with the same settings changes nothing.
///
/// # Errors
/// Everything that would stop its first backup later: paths that are not there, a staging location
/// that cannot be made or lies within what is protected, an unknown storage account, another
/// repository of this server elsewhere.
pub fn create_group(ctx: &Context<'_>, new: &NewGroup) -> Result<CreatedGroup, Error> {
    let state = State::open(ctx.state)?;
    let vault = Vault::connect(ctx, &state)?;
    let paths = check_paths(&new.paths)?;
    let estimate = scan(&paths, ctx.stop);
    ctx.check_stop()?;
    let (initial, warnings) = checked(&state, &vault, (&paths, estimate), &new.initial)?;
    let policy = Policy::default();
    let (name, created) = (new.name.clone(), ctx.now());
    let group = Group { name, paths, initial, created, policy, stopped: None };
    let group = keep(&state, &vault, group)?;
    Ok(CreatedGroup { group, estimate, warnings })
}

/// What was given, once it was found usable.
fn checked(
    state: &State,
    vault: &Vault,
    (paths, estimate): (&[PathBuf], Totals),
    initial: &NewInitial,
) -> Result<(Initial, Vec<Warning>), Error> {
    let (staging, (import_job, storage_account, container)) = match initial {
        NewInitial::Network => return Ok((Initial::Network, Vec::new())),
        NewInitial::Direct { import_job, storage_account, container } => {
            (None, (import_job, storage_account, container))
        }
        NewInitial::Offline { staging, import_job, storage_account, container } => {
            (Some(names::staging_folder(staging)?), (import_job, storage_account, container))
        }
    };
    let inputs = OfflineInputs {
        direct: staging.is_none(),
        staging: staging.unwrap_or_else(|| state.direct_folder(import_job)),
        import_job: import_job.clone(),
        storage_account: storage_account.clone(),
        container: container.clone(),
        catch_up: false,
    };
    let mut warnings = Vec::new();
    if inputs.direct {
        warnings.push(Warning::OnDrivesAlone);
    } else {
        check_staging(&inputs.staging, paths)?;
        warnings.extend(room(&inputs.staging, estimate)?);
    }
    warnings.extend(check_account(vault, storage_account)?);
    Ok((Initial::Offline(inputs), warnings))
}

/// Under the lock: two groups created at once must not choose two repositories.
fn keep(state: &State, vault: &Vault, mut group: Group) -> Result<Group, Error> {
    let _lock = state.lock()?;
    if let Some(known) = state.group(&group.name)? {
        group.created = known.created;
        group.policy = known.policy.clone();
        group.stopped = known.stopped;
        group.initial = decided(group.initial, &known.initial);
        return if known == group { Ok(known) } else { Err(Error::GroupExists(group.name)) };
    }
    if let Initial::Offline(inputs) = &mut group.initial {
        free_for_seed(state, vault, inputs)?;
        inputs.catch_up = vault.has_repository()?;
    }
    state.save_group(&group)?;
    Ok(group)
}

/// What was decided about a seed before stays so.
fn decided(given: Initial, known: &Initial) -> Initial {
    match (given, known) {
        (Initial::Offline(given), Initial::Offline(known)) => {
            Initial::Offline(OfflineInputs { catch_up: known.catch_up, ..given })
        }
        (given, _) => given,
    }
}

/// Lets the next backup of a group travel on drives: with what the vault lacks by then, and nothing else. From
/// then on its backups go over the network again.
///
/// # Errors
/// [`Error::NoGroup`]; [`Error::NothingToCatchUp`] where the vault has no repository of this server yet; what
/// [`create_group`] refuses.
pub fn catch_up(
    ctx: &Context<'_>,
    name: &GroupName,
    initial: &NewInitial,
) -> Result<CreatedGroup, Error> {
    let state = State::open(ctx.state)?;
    let vault = Vault::connect(ctx, &state)?;
    let known = state.known_group(name)?;
    let estimate = scan(&known.paths, ctx.stop);
    ctx.check_stop()?;
    let (initial, mut warnings) = checked(&state, &vault, (&known.paths, estimate), initial)?;
    // How much of it the vault lacks shows when it is backed up.
    warnings.retain(|warning| !matches!(warning, Warning::Room { .. }));
    let _lock = state.lock()?;
    let before = state.known_group(name)?;
    let mut group = Group { initial: decided(initial, &before.initial), ..before.clone() };
    if group == before {
        return Ok(CreatedGroup { group, estimate, warnings });
    }
    if let Initial::Offline(inputs) = &mut group.initial {
        if !vault.has_repository()? {
            return Err(Error::NothingToCatchUp(name.clone()));
        }
        free_for_seed(&state, &vault, inputs)?;
        inputs.catch_up = true;
    }
    state.save_group(&group)?;
    Ok(CreatedGroup { group, estimate, warnings })
}

/// Changes what a group protects, and what is to be done for it by itself. What is backed up already stays.
///
/// # Errors
/// [`Error::NoGroup`]; paths that [`create_group`] would refuse.
pub fn change_group(
    ctx: &Context<'_>,
    name: &GroupName,
    paths: Option<&[PathBuf]>,
    policy: &Policy,
) -> Result<Group, Error> {
    let state = State::open(ctx.state)?;
    let paths = paths.map(check_paths).transpose()?;
    backup::Exclude::new(&policy.exclude.patterns)?;
    let _lock = state.lock()?;
    let before = state.known_group(name)?;
    let mut group = Group { policy: policy.clone(), ..before.clone() };
    group.paths = paths.unwrap_or(group.paths);
    if let Some(inputs) = group.offline() {
        check_staging(&inputs.staging, &group.paths)?;
    }
    if group != before {
        state.save_group(&group)?;
    }
    Ok(group)
}

/// Whether a seed can begin at that staging location, or take another group.
fn free_for_seed(state: &State, vault: &Vault, inputs: &OfflineInputs) -> Result<(), Error> {
    one_repository(state, inputs)?;
    recover::refuse_unknown(state, vault)?;
    if !vault.has_repository()? {
        return Ok(());
    }
    // The seed that was there has brought what it had; its folder stays its own.
    let used = state.seed_at(&inputs.staging)?.filter(|seed| !takes_groups(seed));
    match used {
        Some(seed) => Err(Error::StagingUsed { staging: inputs.staging.clone(), seed: seed.id }),
        None => Ok(()),
    }
}

fn check_paths(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Error> {
    let refuse = |path: &Path, what| Error::SourcePath { path: path.to_owned(), what };
    if paths.is_empty() {
        return Err(refuse(Path::new(""), "a protection group needs at least one path"));
    }
    let mut clean = Vec::new();
    for path in paths {
        if !path.is_absolute() {
            return Err(refuse(path, "give its absolute path"));
        }
        if path.to_str().is_none() {
            return Err(refuse(path, "its name is not text; protect the folder above it"));
        }
        let path = names::clean(path);
        if std::fs::symlink_metadata(&path).is_err() {
            return Err(refuse(&path, "it is not there, or this user may not see it"));
        }
        if !clean.contains(&path) {
            clean.push(path);
        }
    }
    Ok(clean)
}

/// Looks before it makes the folder, and again afterwards.
fn check_staging(staging: &Path, paths: &[PathBuf]) -> Result<(), Error> {
    let refuse = |what: &str, cause: &dyn std::fmt::Display| Error::Staging {
        staging: staging.display().to_string(),
        what: format!("{what}: {cause}"),
    };
    let apart = || match paths.iter().find(|path| names::overlap(staging, path)) {
        None => Ok(()),
        Some(path) => {
            let (staging, source_path) = (staging.to_owned(), path.clone());
            Err(Error::StagingInside { staging, source_path })
        }
    };
    apart()?;
    store::durable::create_folder(staging, 0o700)
        .map_err(|cause| refuse("it cannot be made", &cause))?;
    apart()?;
    let writable = rustix::fs::access(staging, rustix::fs::Access::WRITE_OK);
    writable.map_err(|cause| refuse("it cannot be written to", &cause))
}

fn room(staging: &Path, estimate: Totals) -> Result<Option<Warning>, Error> {
    let stat = rustix::fs::statvfs(staging);
    let stat = stat.map_err(|cause| Error::io("looking at", staging)(cause.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let needed = estimate.bytes;
    Ok((free < needed).then_some(Warning::Room { free, needed }))
}

fn check_account(vault: &Vault, account: &AccountName) -> Result<Option<Warning>, Error> {
    match vault.client.storage_accounts() {
        Ok(accounts) if accounts.iter().any(|known| known.name == *account) => Ok(None),
        Ok(_) => Err(Error::NoAccount(account.clone())),
        Err(error) if error.code() == Some(&wire::Code::AuthorizationFailed) => {
            Ok(Some(Warning::AccountUnchecked { account: account.clone() }))
        }
        Err(error) => Err(error.into()),
    }
}

/// A source server has one repository: all its first backups go to one staging location, and join
/// a seed only while that can still take them.
fn one_repository(state: &State, inputs: &OfflineInputs) -> Result<(), Error> {
    let seeds = state.seeds()?;
    for group in state.groups()? {
        let Initial::Offline(known) = group.initial else { continue };
        let is_over =
            |seed: &SeedRecord| names::same(&seed.staging, &known.staging) && seed.is_over();
        if !seeds.iter().any(is_over) {
            if known.direct && !inputs.direct {
                return Err(Error::DirectAlone { group: group.name });
            }
            agree(&known, inputs)?;
        }
    }
    match seeds.iter().find(|seed| !seed.is_over()) {
        Some(seed) if !takes_groups(seed) => {
            Err(Error::SeedUnderWay { seed: seed.id, state: seed.seed.state.name() })
        }
        _ => Ok(()),
    }
}

fn agree(known: &OfflineInputs, given: &OfflineInputs) -> Result<(), Error> {
    // Where what is kept of a direct one is follows from its import job.
    let both_direct = known.direct && given.direct;
    if !both_direct && !names::same(&known.staging, &given.staging) {
        return Err(Error::OtherStaging { staging: known.staging.clone() });
    }
    let way = |inputs: &OfflineInputs| {
        let OfflineInputs { import_job, storage_account, container, .. } = inputs;
        format!("{storage_account}/{container} with import job {import_job}")
    };
    if way(known) != way(given) {
        return Err(Error::OtherDestination { staging: known.staging.clone(), there: way(known) });
    }
    Ok(())
}

/// What goes straight onto drives is sealed as soon as all of it is there.
fn takes_groups(seed: &SeedRecord) -> bool {
    match seed.seed.state {
        SeedState::Staging => true,
        SeedState::Staged => !seed.direct,
        _ => false,
    }
}

impl Group {
    /// The label that its snapshots have.
    #[must_use]
    pub fn tag(&self) -> String {
        tag(&self.name)
    }

    /// Where its first backup goes, when that travels on drives.
    #[must_use]
    pub fn offline(&self) -> Option<&OfflineInputs> {
        match &self.initial {
            Initial::Network => None,
            Initial::Offline(inputs) => Some(inputs),
        }
    }
}

pub(crate) fn tag(name: &GroupName) -> String {
    format!("group:{name}")
}

impl State {
    /// The group, or that there is none.
    pub(crate) fn known_group(&self, name: &GroupName) -> Result<Group, Error> {
        self.group(name)?.ok_or_else(|| Error::NoGroup(name.clone()))
    }

    /// The seed with that staging location; an abandoned one only when there is no other.
    pub(crate) fn seed_at(&self, staging: &Path) -> Result<Option<SeedRecord>, Error> {
        let mut seeds = self.seeds()?;
        seeds.retain(|seed| names::same(&seed.staging, staging));
        seeds.sort_by_key(|seed| seed.seed.state != SeedState::Abandoned);
        Ok(seeds.pop())
    }

    /// The seed with that staging location which is to be gone on with.
    pub(crate) fn living_seed_at(&self, staging: &Path) -> Result<Option<SeedRecord>, Error> {
        let living = |seed: &SeedRecord| seed.state() != SeedState::Abandoned;
        Ok(self.seed_at(staging)?.filter(living))
    }

    /// The groups whose first backup goes to that staging location.
    pub(crate) fn groups_at(&self, staging: &Path) -> Result<Vec<Group>, Error> {
        let mut groups = self.groups()?;
        let there = |group: &Group| {
            group.offline().is_some_and(|inputs| names::same(&inputs.staging, staging))
        };
        groups.retain(there);
        Ok(groups)
    }
}

/// Whether an error says that there is nothing yet.
pub(crate) fn is_no_repository(error: &repo::Error) -> bool {
    error.kind() == ErrorKind::NoRepository
}
