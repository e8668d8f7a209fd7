//! A copy computer: not the source server, and yet it writes a seed's drives. It has a state directory of its
//! own for each seed, with credentials for that seed's import jobs and its own signing key; everything else is as
//! at the source. It never has the repository's password, and takes no lock in staging: nothing is removed there
//! before the vault has confirmed the seed, and what others remove is missed by name when it is read.

use crate::context::Context;
use crate::names;
use crate::record::{SeedRecord, StagedBackup};
use crate::state::State;
use crate::vault::owner;
use crate::{Error, init};
use flow::{SeedEvent, SeedState};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use wire::{AnnouncedSeed, CopyComputer, FirstBackup, SeedId};

/// The state directory of that seed's copying, below a computer's own.
#[must_use]
pub fn copy_state(state: &Path, seed: SeedId) -> PathBuf {
    state.join("copies").join(seed.to_string())
}

/// Takes a seed over for copying: keeps what the server has given for it, and makes its record where there is
/// none. `ctx` has the [seed's own state directory](copy_state).
///
/// # Errors
/// [`Error::OtherRepository`] when something else is in the staging location.
pub fn take_copy(ctx: &Context<'_>, staging: &str, given: &CopyComputer) -> Result<(), Error> {
    let CopyComputer { credentials, seed } = given;
    let folder = names::staging_folder(staging)?;
    owner(credentials)?;
    init::check_staging(&folder, seed.id, seed.announcement.repository)?;
    let state = State::open(ctx.state)?;
    let _lock = state.lock()?;
    state.save_credentials(credentials)?;
    let mut record = match state.seed(seed.id) {
        Err(Error::NoSeed(_)) => made(ctx, seed)?,
        other => other?,
    };
    // A share may be mounted elsewhere by now.
    record.staging = folder;
    if record.state() == SeedState::Staged {
        record.backups = backups(seed);
    }
    state.save_seed(&record)
}

fn backups(seed: &AnnouncedSeed) -> BTreeMap<model::GroupName, StagedBackup> {
    let staged = |backup: &FirstBackup| {
        let FirstBackup { snapshot, time, problems } = *backup;
        StagedBackup { snapshot, time, problems }
    };
    let backups = seed.announcement.backups.iter();
    backups.map(|(group, backup)| (group.clone(), staged(backup))).collect()
}

fn made(ctx: &Context<'_>, seed: &AnnouncedSeed) -> Result<SeedRecord, Error> {
    let said = &seed.announcement;
    let mut record = SeedRecord {
        id: seed.id,
        created: ctx.now(),
        staging: PathBuf::new(),
        direct: false,
        found: false,
        unread: false,
        import_job: said.import_job.clone(),
        storage_account: said.storage_account.clone(),
        container: said.container.clone(),
        seed: flow::Seed::new(ctx.now()),
        backups: backups(seed),
        repository: Some(said.repository),
        // Only who opens the repository needs to know.
        catch_up: false,
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
    record.happen(SeedEvent::StagingFinished, ctx.now())?;
    Ok(record)
}
