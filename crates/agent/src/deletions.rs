//! Deletions from this server's repository in the vault: which of them this machine has asked for, and which somebody else has, by its
//! credentials or by others. Asks for none itself.

use crate::asking::Counts;
use crate::context::Context;
use crate::state::State;
use crate::vault::Vault;
use crate::{OwnError, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use wire::{Deletion, DeletionState};

/// The newest are kept: the vault lists no more.
const KEPT: usize = 1000;

/// What this machine has asked for, or somebody here has let go: a document of the state directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AskedRecord {
    #[serde(default)]
    deletions: Vec<Asked>,
}

/// Numbers are of one server; with its time none is mistaken for another's. Whoever has this machine's credentials can add to what it has
/// asked for: then it is not what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    id: u64,
    asked_at: Timestamp,
    /// How much of each kind it has at most.
    most: Counts,
}

impl Asked {
    fn is(&self, deletion: &Deletion) -> bool {
        self.id == deletion.id && self.asked_at == deletion.asked_at
    }
}

fn counts(deletion: &Deletion) -> Counts {
    [deletion.snapshots, deletion.indexes, deletion.packs]
}

impl AskedRecord {
    fn has(&self, deletion: &Deletion) -> bool {
        let is_within =
            |own: &Asked| counts(deletion).iter().zip(own.most).all(|(n, most)| *n <= most);
        self.deletions.iter().any(|own| own.is(deletion) && is_within(own))
    }

    /// Notes one as ours, as far as it was asked for.
    pub(crate) fn add(&mut self, deletion: &Deletion, most: Counts) {
        self.deletions.retain(|own| !own.is(deletion));
        self.deletions.push(Asked { id: deletion.id, asked_at: deletion.asked_at, most });
        let over = self.deletions.len().saturating_sub(KEPT);
        self.deletions.drain(..over);
    }
}

/// A deletion from this server's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnDeletion {
    /// What the vault says of it.
    pub deletion: Deletion,
    /// Whether this machine has asked for it, or a maintenance host that an administrator has let do so, or somebody here
    /// has said that it may be.
    pub by_us: bool,
}

/// Deletions from this server's repository, the newest first.
///
/// # Errors
/// [`NotRegistered`](crate::Error::NotRegistered); the server is away.
pub fn deletions(ctx: &Context<'_>) -> Result<Vec<OwnDeletion>> {
    let state = State::open(ctx.state)?;
    listed(&state, &Vault::connect(ctx, &state)?)
}

fn listed(state: &State, vault: &Vault) -> Result<Vec<OwnDeletion>> {
    let record = state.asked()?;
    let all = vault.client.deletions(&vault.vault, Some(&vault.server))?;
    let by_host = format!("maintenance/{}/{}", vault.vault, vault.server);
    let own = |deletion: Deletion| {
        let by_us = record.has(&deletion) || deletion.subject == by_host;
        OwnDeletion { by_us, deletion }
    };
    Ok(all.into_iter().map(own).collect())
}

/// Those that are not over and that somebody else has asked for.
pub(crate) fn foreign(state: &State, vault: &Vault) -> Result<Vec<Deletion>> {
    let is_open = |own: &OwnDeletion| {
        !own.by_us && matches!(own.deletion.state, DeletionState::Held | DeletionState::Going)
    };
    Ok(listed(state, vault)?.into_iter().filter(is_open).map(|own| own.deletion).collect())
}

/// Brings back what a deletion holds, and those after it; answers which these were.
///
/// # Errors
/// What the server refuses: one that is carried out cannot come back.
pub fn undelete(ctx: &Context<'_>, id: u64) -> Result<Vec<Deletion>> {
    let vault = Vault::connect(ctx, &State::open(ctx.state)?)?;
    Ok(vault.client.undelete(&vault.vault, &vault.server, id)?)
}

/// Somebody here knows of a deletion that this machine has not asked for, and wants it.
///
/// # Errors
/// [`OwnError::NoDeletion`].
pub fn allow_deletion(ctx: &Context<'_>, id: u64) -> Result<Deletion> {
    let state = State::open(ctx.state)?;
    let all = listed(&state, &Vault::connect(ctx, &state)?)?;
    let found = all.into_iter().find(|own| own.deletion.id == id);
    let deletion = found.ok_or(OwnError::NoDeletion(id))?.deletion;
    state.note_asked(&deletion, counts(&deletion))?;
    Ok(deletion)
}
