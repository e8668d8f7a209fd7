//! Parity drives that stay at home while their set's data drives travel, and are sent as a job of their own when they
//! are needed. Writes no drive.
//!
//! ```text
//!  hold_parity ─▶ noted with the seed ─▶ prepare: data and parity written, the job lists the data drives
//!  send_parity ─▶ a further job of that set, with its parity drives alone ─▶ ship, as any other
//! ```
//!
//! invariant: the job of parity drives has no say in the seed's state: whether everything has arrived is counted by the vault.

use crate::context::Context;
use crate::prepare::{claim, fingerprint, set_as_prepared, staged_groups, synced};
use crate::record::SeedRecord;
use crate::state::State;
use crate::vault::Vault;
use crate::{Error, PrepareReport, job};
use model::JobName;
use seed::{DriveState, PreparedDrive};

/// From now on the import jobs of the seed with that staging location have its data drives only; what was announced
/// already stays as it was.
///
/// # Errors
/// [`Error::NoSeedAt`]; [`Error::GroupsNotStaged`].
pub fn hold_parity(ctx: &Context<'_>, staging: &str) -> Result<(), Error> {
    let state = State::open(ctx.state)?;
    let (record, _lock) = claim(&state, staging)?;
    state.change_seed(record.id, |record| {
        record.hold_parity = true;
        Ok(())
    })?;
    Ok(())
}

/// Creates the import job of parity drives that were kept at home: of that set, or of the first whose parity drives have no
/// job. The same call goes on where the last one ended.
///
/// # Errors
/// [`Error::NoParityHeld`]; what the server refuses.
pub fn send_parity(
    ctx: &Context<'_>,
    staging: &str,
    set: Option<u32>,
    name: Option<&JobName>,
    password: Option<&[u8]>,
) -> Result<PrepareReport, Error> {
    let state = State::open(ctx.state)?;
    let (record, _lock) = claim(&state, staging)?;
    let vault = Vault::connect(ctx, &state)?;
    let record = synced(ctx, &state, &vault, record)?;
    let set = set.map_or_else(|| first_held(&state, &record), |set| Ok(Some(set)))?;
    let set = set.ok_or(Error::NoParityHeld { seed: record.id })?;
    let prepared = set_as_prepared(ctx, &state, &record, set, password)?;
    let whole = job::Whole {
        set: prepared.set,
        signer: prepared.signer,
        drives: &prepared.drives,
        inventory_file: &prepared.inventory_file,
        is_last: false,
    };
    let job = job::announce_parity(ctx, &state, &vault, &record, &whole, name)?;
    let mut drives: Vec<PreparedDrive> = prepared.drives;
    drives.retain(|drive| drive.state == DriveState::Sealed && !drive.role.is_data());
    Ok(PrepareReport {
        seed: record.id,
        groups: staged_groups(&record),
        set,
        fingerprint: fingerprint(&state, &record)?,
        drives,
        job: Some(job),
        locations: vault.client.locations()?,
        needed: None,
        gone: 0,
    })
}

/// The first set with sealed parity drives that no job has.
fn first_held(state: &State, record: &SeedRecord) -> Result<Option<u32>, Error> {
    let trust = seed::Trust::Key(state.signing_key()?.public());
    let folder = state.seed_folder(record.id);
    if !folder.is_dir() {
        return Ok(None);
    }
    let sealed = seed::sealed_before(&folder, &trust)?;
    let is_in = |manifest: &seed::Signed<seed::Manifest>, parity: bool| {
        let jobs = record.jobs.iter().filter(|job| job.parity == parity);
        jobs.flat_map(|job| &job.drives).any(|drive| drive.manifest == manifest.digest)
    };
    let held = sealed.iter().filter(|it| it.body.header.parity.is_some() && !is_in(it, false));
    // A job that was decided on goes on, once no other set waits for one.
    let first = held.min_by_key(|it| (is_in(it, true), it.body.header.set));
    Ok(first.map(|manifest| manifest.body.header.set))
}
