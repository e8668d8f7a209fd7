//! The passphrase of the repository: what a new one must be like, and how it takes another one's place. At any moment one of
//! the two opens the repository wherever it is.
//!
//! ```text
//!  noted ─▶ new key kept here ─▶ in every place, read back ─▶ opened with the new one ─▶ the old keys are to go ─▶ done
//! ```

use crate::context::Context;
use crate::key_files::{self, Opened};
use crate::key_record::{Change, Purpose};
use crate::state::State;
use crate::{Error, OwnError};
use jiff::Timestamp;
use model::{Digest, ErrorKind};
use repo::{Repository, keys_of};
use std::path::PathBuf;
use std::sync::Arc;
use store::{Folder, Store};

/// A passphrase of a new repository has at least so many characters.
const LEAST: usize = 16;

/// Whether a passphrase is shorter than a new one may be.
#[must_use]
pub fn is_short(passphrase: &[u8]) -> bool {
    length(passphrase) < LEAST
}

fn length(passphrase: &[u8]) -> usize {
    std::str::from_utf8(passphrase).map_or(passphrase.len(), |text| text.chars().count())
}

/// Refuses a passphrase that is too short for a new repository.
pub(crate) fn refuse_short(passphrase: &[u8]) -> Result<(), Error> {
    match is_short(passphrase) {
        true => Err(OwnError::ShortPassphrase { characters: length(passphrase) }.into()),
        false => Ok(()),
    }
}

/// What a change of the passphrase came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The new passphrase's key.
    pub key: Digest,
    /// Until when the old one opens the repository in the vault; none where the vault has no repository, or has not heard of it
    /// yet.
    pub old_until: Option<Timestamp>,
    /// Where the old one opens the repository until its seed is confirmed.
    pub old_stays: Vec<PathBuf>,
    /// Why the vault could not be told, where that is so: it is with the next connection.
    pub away: Option<String>,
}

/// Changes the passphrase. Called again with the same two after an interruption, it goes on. Recovery kits stay: a kit's
/// secret may be the old one.
///
/// # Errors
/// [`OwnError::ShortPassphrase`]; neither of the two opens the repository. After another error the old one opens
/// whatever the new one does not.
pub fn change_passphrase(ctx: &Context<'_>, old: &[u8], new: &[u8]) -> Result<Changed, Error> {
    refuse_short(new)?;
    if old == new {
        return Err(OwnError::SamePassphrase.into());
    }
    let state = State::open(ctx.state)?;
    let _lock = state.lock_keys()?;
    let begun = state.keys()?.change;
    let opened = match key_files::open(ctx, &state, old) {
        // An earlier call has come so far that the old one is gone from here.
        Err(error) if error.kind() == ErrorKind::WrongPassword && begun.is_some() => {
            key_files::open(ctx, &state, new).map_err(|_| error)?
        }
        other => other?,
    };
    let mut going = Vec::new();
    let key = match begun {
        Some(begun) if opens(&state, begun.to, new) => {
            key_files::spread(ctx, &state, &opened, begun.to)?;
            begun.to
        }
        other => {
            // One that was to be another passphrase.
            going.extend(other.map(|begun| (begun.to, Purpose::Passphrase)));
            let key = opened.repository.new_key(new, ctx.kdf, ctx.now())?;
            let change = Change { to: key.id, begun: ctx.now() };
            state.change_keys(|record| record.change = Some(change))?;
            key_files::add(ctx, &state, &opened, &key, Purpose::Passphrase)?;
            key.id
        }
    };
    // Everywhere, before the old one goes anywhere.
    for spot in &opened.spots {
        let store: Arc<dyn Store> = Arc::new(Folder::new(spot.store.root()));
        Repository::open(store, new, ctx.author.clone())?;
    }
    if let Some(vault) = &opened.vault {
        vault.open(ctx, new)?;
    }
    going.extend(old_keys(&state, &opened, old, key)?);
    let old_stays = key_files::retire(ctx, &state, &opened, &going)?;
    let record = state.change_keys(|record| {
        record.change = None;
        record.clone()
    })?;
    let until = going.iter().filter_map(|(id, _)| record.get(*id)?.until).max();
    Ok(Changed {
        key,
        old_until: until.filter(|until| *until > Timestamp::UNIX_EPOCH),
        old_stays,
        away: opened.away.map(|error| error.to_string()),
    })
}

/// Whether a key file that is kept here is of that passphrase.
fn opens(state: &State, key: Digest, passphrase: &[u8]) -> bool {
    std::fs::read(state.key_file(key)).is_ok_and(|bytes| repo::key_opens(&bytes, passphrase))
}

/// The keys that the old passphrase opens, wherever they are: but for recovery kits.
fn old_keys(
    state: &State,
    opened: &Opened,
    old: &[u8],
    new: Digest,
) -> Result<Vec<(Digest, Purpose)>, Error> {
    let mut found = Vec::new();
    for spot in &opened.spots {
        found.extend(keys_of(&spot.store, old)?);
    }
    if let Some(vault) = &opened.vault {
        found.extend(keys_of(vault.store.as_ref(), old)?);
    }
    found.sort_unstable();
    found.dedup();
    let record = state.keys()?;
    let is_kit = |id: &Digest| record.get(*id).is_some_and(|own| own.purpose == Purpose::Recovery);
    found.retain(|id| *id != new && !is_kit(id));
    Ok(found.into_iter().map(|id| (id, Purpose::Passphrase)).collect())
}
