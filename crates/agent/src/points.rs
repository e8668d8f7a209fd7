//! Recovery points, and the repositories that hold them. Restores nothing.

use crate::Error;
use crate::context::Context;
use crate::group::{Group, tag};
use crate::init::{open_in_transit, open_to_read};
use crate::names;
use crate::record::SeedRecord;
use crate::state::State;
use crate::vault::{Place, Vault};
use flow::SeedState;
use jiff::Timestamp;
use model::{Digest, GroupName, ObjectKind};
use repo::{NamedSnapshot, Repository, Summary};

/// One restorable state.
#[derive(Debug, Clone, PartialEq)]
pub struct RecoveryPoint {
    /// Its name: the snapshot's.
    pub id: Digest,
    /// The state is of this moment.
    pub time: Timestamp,
    /// The group that it was made for, by its label.
    pub group: Option<GroupName>,
    /// The host.
    pub hostname: String,
    /// The paths.
    pub paths: Vec<String>,
    /// What the backup did.
    pub summary: Option<Summary>,
}

/// Recovery points, and where they are.
#[derive(Debug)]
pub struct RecoveryPoints {
    /// Whether they are in the vault, or still in staging only; of what is on drives alone, nothing can be restored yet.
    pub place: Place,
    /// Where that is, for people.
    pub location: String,
    /// The points, the oldest first.
    pub points: Vec<RecoveryPoint>,
    /// Snapshots that could not be read, each with its reason.
    pub damaged: Vec<repo::Error>,
    /// Why points that were made while the seed travels cannot be seen, where that is so: these are in the vault.
    pub unseen: Option<Error>,
}

/// The recovery points of a group, or all: from the vault, or, as long as the group's seed is not
/// published, from staging. The group need not be one of this server: after a loss, another server
/// with this one's credentials has no groups.
///
/// # Errors
/// [`Error::Repo`] when the repository cannot be opened.
pub fn recovery_points(
    ctx: &Context<'_>,
    group: Option<&GroupName>,
    password: &[u8],
) -> Result<RecoveryPoints, Error> {
    let state = State::open(ctx.state)?;
    let known = group.map(|name| state.group(name)).transpose()?.flatten();
    let direct = known.as_ref().and_then(Group::offline).filter(|inputs| inputs.direct);
    // What the vault has already can be had from there, whatever else is on drives.
    if let Some(inputs) = direct.filter(|inputs| !inputs.catch_up)
        && state.living_seed_at(&inputs.staging)?.is_none()
    {
        return Ok(none_yet());
    }
    let mut unseen = None;
    let in_vault = |record: &SeedRecord| record.direct && record.catch_up;
    let staged = staged(&state, known.as_ref())?.filter(|record| !in_vault(record));
    let (place, location, repository) = match staged {
        Some(record) if record.direct && record.contents.is_none() => return Ok(none_yet()),
        Some(record) => {
            let (repository, why) = with_increments(ctx, &state, &record, password)?;
            unseen = why;
            match record.direct {
                true => (Place::Drives, Place::Drives.to_string(), repository),
                false => (Place::Staging, record.staging.display().to_string(), repository),
            }
        }
        None => {
            let repository = Vault::connect(ctx, &state)?.open(ctx, password)?;
            (Place::Vault, repository.location(), repository)
        }
    };
    let loaded = repository.snapshots()?;
    let wanted = |named: &NamedSnapshot| match group {
        None => true,
        Some(name) => is_of(named, name, known.as_ref()),
    };
    let points = loaded.value.into_iter().filter(wanted).map(point).collect();
    Ok(RecoveryPoints { place, location, points, damaged: loaded.damaged, unseen })
}

/// Nothing is whole on drives yet.
fn none_yet() -> RecoveryPoints {
    let (place, location) = (Place::Drives, Place::Drives.to_string());
    RecoveryPoints { place, location, points: Vec::new(), damaged: Vec::new(), unseen: None }
}

/// The vault's repository, for restores.
///
/// # Errors
/// [`Error::NotRegistered`]; [`Error::Repo`], such as a wrong password or no repository yet.
pub fn open_vault(ctx: &Context<'_>, password: &[u8]) -> Result<Repository, Error> {
    let state = State::open(ctx.state)?;
    Vault::connect(ctx, &state)?.open(ctx, password)
}

/// The repository in a staging location, for restores while the seed is on its way.
///
/// # Errors
/// [`Error::NoSeedAt`]; [`Error::WithoutStaging`]; [`Error::Repo`]; [`Error::OtherRepository`].
pub fn open_staging(
    ctx: &Context<'_>,
    staging: &str,
    password: &[u8],
) -> Result<Repository, Error> {
    let state = State::open(ctx.state)?;
    let folder = names::staging_folder(staging)?;
    let record = state.seed_at(&folder)?;
    let record = record.ok_or_else(|| Error::NoSeedAt(staging.to_owned()))?;
    if record.direct {
        return Err(Error::WithoutStaging { staging: record.staging });
    }
    Ok(with_increments(ctx, &state, &record, password)?.0)
}

/// What is in staging, and what was backed up since, which is in the vault; without that, and why, where the vault cannot
/// be asked.
fn with_increments(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    password: &[u8],
) -> Result<(Repository, Option<Error>), Error> {
    if record.contents.is_none() || record.is_over() {
        return Ok((open_to_read(ctx, state, record, password)?, None));
    }
    let seen = open_in_transit(ctx, state, record, password).and_then(|both| {
        both.store().list(ObjectKind::Snapshot)?;
        Ok(both)
    });
    match seen {
        Ok(both) => Ok((both, None)),
        Err(why) => Ok((open_to_read(ctx, state, record, password)?, Some(why))),
    }
}

/// The seed that has the points while the vault has none: of that group, or of any.
fn staged(state: &State, group: Option<&Group>) -> Result<Option<SeedRecord>, Error> {
    let inputs = match group {
        Some(group) => group.offline().cloned(),
        None => state.groups()?.into_iter().find_map(|group| group.offline().cloned()),
    };
    let published =
        |record: &SeedRecord| matches!(record.state(), SeedState::Published | SeedState::Confirmed);
    let Some(inputs) = inputs else {
        // One that was found again, with its staging location, has no group here that it was made for.
        let found = state.seeds()?.into_iter().find(|record| record.found && !record.is_over());
        let here = found.filter(|record| !record.direct && !record.catch_up);
        return Ok(here.filter(|record| !published(record)));
    };
    let record = state.seed_at(&inputs.staging)?;
    Ok(record.filter(|record| !published(record)))
}

/// By its label; where somebody else's program made it, by its paths.
fn is_of(named: &NamedSnapshot, name: &GroupName, group: Option<&Group>) -> bool {
    let snapshot = &named.snapshot;
    let labelled = snapshot.tags.iter().any(|tag| tag.starts_with("group:"));
    if labelled {
        return snapshot.tags.contains(&tag(name));
    }
    let paths = |group: &Group| {
        let own = group.paths.iter().map(|path| path.to_string_lossy());
        own.eq(snapshot.paths.iter().map(String::as_str))
    };
    group.is_some_and(paths)
}

fn point(named: NamedSnapshot) -> RecoveryPoint {
    let snapshot = named.snapshot;
    let label = snapshot.tags.iter().find_map(|tag| tag.strip_prefix("group:"));
    RecoveryPoint {
        id: named.id,
        time: snapshot.time,
        group: label.and_then(|name| name.parse().ok()),
        hostname: snapshot.hostname,
        paths: snapshot.paths,
        summary: snapshot.summary,
    }
}
