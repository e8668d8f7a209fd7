//! Protection of a group that ends, and is taken up again. What is in the vault stays, or is asked to be deleted.

use crate::Error;
use crate::context::Context;
use crate::group::Group;
use crate::keep::{Keeping, Kept, go_through};
use crate::state::State;
use jiff::Timestamp;
use model::GroupName;
use serde::{Deserialize, Serialize};

/// Since when nothing is done for a group, and what is to become of its recovery points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopped {
    /// When.
    pub since: Timestamp,
    /// Its recovery points are to be deleted.
    pub delete: bool,
}

/// Ends protection of a group: no schedule, no backup. Its recovery points stay.
///
/// # Errors
/// [`Error::NoGroup`]; the state directory cannot be written.
pub fn stop_group(ctx: &Context<'_>, name: &GroupName) -> Result<Group, Error> {
    set(ctx, name, Some(Stopped { since: ctx.now(), delete: false }))
}

/// The same, and has its recovery points deleted, as far as the vault's minimum retention lets them go. Called again, it goes
/// on with those that were too young.
///
/// # Errors
/// As [`keep`](crate::keep): by then protection has ended.
pub fn stop_and_delete(
    ctx: &Context<'_>,
    name: &GroupName,
    password: &[u8],
    how: Keeping<'_>,
) -> Result<Kept, Error> {
    let state = State::open(ctx.state)?;
    let stopped = Stopped { since: ctx.now(), delete: true };
    let group = match how.dry_run {
        true => Group { stopped: Some(stopped), ..state.known_group(name)? },
        false => set(ctx, name, Some(stopped))?,
    };
    go_through(ctx, &state, &group, password, how)
}

/// Takes protection of a group up again. What was asked to be deleted comes back only when an administrator of the vault undeletes it.
///
/// # Errors
/// [`Error::NoGroup`]; the state directory cannot be written.
pub fn resume_group(ctx: &Context<'_>, name: &GroupName) -> Result<Group, Error> {
    set(ctx, name, None)
}

/// One that is stopped already stays so since then.
fn set(ctx: &Context<'_>, name: &GroupName, stopped: Option<Stopped>) -> Result<Group, Error> {
    let state = State::open(ctx.state)?;
    let _lock = state.lock()?;
    let before = state.known_group(name)?;
    let since = before.stopped.map(|known| known.since);
    let stopped = stopped.map(|new| Stopped { since: since.unwrap_or(new.since), ..new });
    let group = Group { stopped, ..before.clone() };
    if group != before {
        state.save_group(&group)?;
    }
    Ok(group)
}
