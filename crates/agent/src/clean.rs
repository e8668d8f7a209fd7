//! Removes from staging what the vault has confirmed: planned first, then done, and nothing that
//! the seed's inventory, or the one before it was revised, does not list. The only place in this crate that deletes what was backed up.
//!
//! Order: snapshots, indexes, packs, config, keys, so that at any moment what is left is a repository
//! that can be opened and locked, or none.

use crate::confirm::{identities, stands};
use crate::context::{Context, Event, Phase};
use crate::init::open_seed_staging;
use crate::record::{Contents, SeedRecord};
use crate::state::State;
use crate::{Error, announce, journal, transit};
use flow::{SeedEvent, SeedState};
use model::{Digest, ErrorKind, ObjectKey, ObjectKind};
use repo::{LockGuard, LockMode};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use store::{Folder, Listed, Store};
use wire::SeedId;

/// Whether to clean, or to say only what would be removed.
#[derive(Debug, Clone, Copy)]
pub enum Cleaning<'a> {
    /// Removes nothing.
    DryRun,
    /// Removes. The repository's password, because staging is locked exclusively meanwhile.
    Remove {
        /// It.
        password: &'a [u8],
    },
}

/// What was, or would be, removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleaned {
    /// The seed.
    pub seed: SeedId,
    /// Its staging location.
    pub staging: PathBuf,
    /// Objects removed, in the order of removal.
    pub removed: Vec<ObjectKey>,
    /// Their bytes.
    pub bytes: u64,
    /// Packs that were made anew elsewhere and are removed as well: the files.
    pub made: Vec<PathBuf>,
    /// Objects that the inventory does not list: they stay, and so do config and keys then.
    pub kept: Vec<ObjectKey>,
    /// Whether anything was removed at all.
    pub dry_run: bool,
}

/// The order of removal.
const ORDER: [ObjectKind; 5] = [
    ObjectKind::Snapshot,
    ObjectKind::Index,
    ObjectKind::Pack,
    ObjectKind::Config,
    ObjectKind::Key,
];

/// Cleans the staging location of a confirmed seed. Called again after an interruption, it goes on.
///
/// # Errors
/// [`Error::Refused`] unless the seed is Confirmed; [`Error::Receipt`] when the receipt it was
/// confirmed by does not stand any more; [`Error::KeepStaging`] when staging holds recovery points
/// that the vault does not have.
pub fn clean_staging(
    ctx: &Context<'_>,
    seed: SeedId,
    cleaning: Cleaning<'_>,
) -> Result<Cleaned, Error> {
    let state = State::open(ctx.state)?;
    let _lock = state.lock_seed(seed)?;
    let record = state.seed(seed)?;
    let contents = confirmed(&record)?;
    let pinned = state.credentials()?.receipt_key;
    let mut plan = plan(&state, &record, contents, &pinned)?;
    let Cleaning::Remove { password } = cleaning else {
        plan.dry_run = true;
        return Ok(plan);
    };
    ctx.tell(Event::Phase(Phase::Cleaning));
    remove(ctx, &record, &plan, password)?;
    let (_, effects) =
        state.change_seed(seed, |record| record.happen(SeedEvent::StagingCleaned, ctx.now()))?;
    transit::tell(ctx, seed, &effects);
    Ok(plan)
}

/// Confirmed, and nothing else: what its owner has given up may still be the only copy.
fn confirmed(record: &SeedRecord) -> Result<&Contents, Error> {
    let state = record.state();
    let needed = || flow::Refused::StagingNeeded { state: state.name() };
    if state != SeedState::Confirmed || !record.seed.staging_may_be_cleaned() {
        return Err(needed().into());
    }
    Ok(record.contents.as_ref().ok_or_else(needed)?)
}

fn plan(
    state: &State,
    record: &SeedRecord,
    contents: &Contents,
    pinned: &wire::PublicKey,
) -> Result<Cleaned, Error> {
    let store = Folder::new(&record.staging);
    let mut plan = Cleaned {
        seed: record.id,
        staging: record.staging.clone(),
        removed: Vec::new(),
        bytes: 0,
        made: Vec::new(),
        kept: Vec::new(),
        dry_run: false,
    };
    if record.seed.staging_cleaned {
        return Ok(plan);
    }
    let objects = journal::objects(state, record, contents)?;
    stands(record, contents, &objects, pinned)?;
    let mut listed = identities(&objects);
    listed.extend(replaced(state, record)?);
    let own = state.keys()?.keys.into_iter();
    // Of one that was not made here, the inventory knows the length.
    let own = own.filter(|key| key.length > 0);
    listed.extend(own.map(|key| ((ObjectKind::Key, key.id), key.length)));
    for kind in ORDER {
        let last = matches!(kind, ObjectKind::Key | ObjectKind::Config);
        for found in there(&store, kind)? {
            // The config's name is its hash, which the repository is known by.
            let name = found.key.id().unwrap_or(contents.repository);
            let ours = listed.get(&(kind, name)) == Some(&found.length);
            if ours && (!last || plan.kept.is_empty()) {
                plan.bytes = plan.bytes.saturating_add(found.length);
                plan.removed.push(found.key);
            } else {
                plan.kept.push(found.key);
            }
        }
        if kind == ObjectKind::Snapshot && !plan.kept.is_empty() {
            return Err(unknown_points(record, &plan.kept));
        }
    }
    for folder in &record.made_in {
        for found in there(&Folder::new(folder), ObjectKind::Pack)? {
            let name = found.key.id().map(|name| (ObjectKind::Pack, name));
            if name.is_some_and(|name| listed.get(&name) == Some(&found.length)) {
                plan.bytes = plan.bytes.saturating_add(found.length);
                plan.made.push(folder.join(found.key.path()));
            }
        }
    }
    Ok(plan)
}

/// What was the seed's before it was revised, as far as nothing was lost by that: what stands in its place is in the vault.
/// Where files were lost, staging may have what the vault has not.
fn replaced(
    state: &State,
    record: &SeedRecord,
) -> Result<HashMap<(ObjectKind, Digest), u64>, Error> {
    let mut replaced = HashMap::new();
    if record.revisions.iter().any(|revised| revised.lost > 0 || !revised.repaired.is_empty()) {
        return Ok(replaced);
    }
    for revised in &record.revisions {
        match journal::objects(state, record, &revised.before) {
            // What is not known to be the seed's stays.
            Err(Error::InventoryLost { .. }) => {}
            objects => replaced.extend(identities(&objects?)),
        }
    }
    Ok(replaced)
}

/// A snapshot that was made in staging since needs packs of the seed.
fn unknown_points(record: &SeedRecord, kept: &[ObjectKey]) -> Error {
    let names: Vec<String> =
        kept.iter().filter_map(ObjectKey::id).map(|id: Digest| id.short()).collect();
    let what = format!(
        "it holds recovery points that are not in the vault ({}); copy them there or remove them with the program that made them",
        names.join(", ")
    );
    Error::KeepStaging { staging: record.staging.clone(), what }
}

fn there(store: &Folder, kind: ObjectKind) -> Result<Vec<Listed>, Error> {
    if kind == ObjectKind::Config {
        return match store.length(&ObjectKey::Config) {
            Ok(length) => Ok(vec![Listed { key: ObjectKey::Config, length }]),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        };
    }
    let mut listed = match store.list(kind) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        other => other?,
    };
    listed.sort_unstable();
    Ok(listed)
}

/// Under an exclusive lock for as long as there is a repository to lock.
fn remove(
    ctx: &Context<'_>,
    record: &SeedRecord,
    plan: &Cleaned,
    password: &[u8],
) -> Result<(), Error> {
    let store = Folder::new(&record.staging);
    // Without a config there is nobody to lock out: an earlier call has come that far.
    let config = [&plan.removed, &plan.kept].iter().any(|keys| keys.contains(&ObjectKey::Config));
    let mut lock = match config {
        true => Some(open_seed_staging(ctx, record, password)?.lock(LockMode::Exclusive)?),
        false => None,
    };
    for key in &plan.removed {
        ctx.check_stop()?;
        lock.as_ref().map_or(Ok(()), LockGuard::check)?;
        if *key == ObjectKey::Config {
            lock = None;
        }
        remove_one(ctx, &store, key)?;
    }
    for folder in &record.made_in {
        let place = Folder::new(folder);
        for found in there(&place, ObjectKind::Pack)? {
            ctx.check_stop()?;
            if plan.made.contains(&folder.join(found.key.path())) {
                remove_one(ctx, &place, &found.key)?;
            }
        }
        remove_empty_folders(folder);
    }
    if plan.kept.is_empty() {
        announce::remove_note(&record.staging)?;
        remove_empty_folders(&record.staging);
    }
    Ok(())
}

fn remove_one(ctx: &Context<'_>, store: &Folder, key: &ObjectKey) -> Result<(), Error> {
    let bytes = match store.length(key) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    store.remove(key)?;
    ctx.tell(Event::Removed { bytes });
    Ok(())
}

/// Folders of the layout that are empty now; one that is not, stays.
fn remove_empty_folders(staging: &Path) {
    for kind in ObjectKind::ALL.into_iter().filter(|kind| *kind != ObjectKind::Config) {
        let folder = staging.join(kind.folder());
        if kind == ObjectKind::Pack {
            for shard in 0..=u8::MAX {
                let _ = fs::remove_dir(folder.join(format!("{shard:02x}")));
            }
        }
        let _ = fs::remove_dir(folder);
    }
}
