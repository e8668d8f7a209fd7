//! The repository before it has a place: config and key files, made when a server is registered, so that there is something to make a
//! recovery kit for. Whoever makes the repository, in staging, on drives or in the vault, takes these. Holds no data.
//!
//! ```text
//!  register ─▶ origin/ ─▶ kit, passphrase ─▶ staging, or what is kept of drives ─▶ the vault has it: gone
//!                 └────────────────────────▶ vault, over the network ─────────────▶ gone
//! ```
//!
//! invariant: it goes only when the vault has the repository, or a place has another one; then its keys are void, and that is said. A seed
//! that is given up before the vault has one leaves its own here.

use crate::context::{Context, Event, Phase};
use crate::key_files::{self, identity_of};
use crate::key_record::{OwnKey, Purpose};
use crate::record::SeedRecord;
use crate::state::State;
use crate::vault::Place;
use crate::{Error, OwnError, init};
use flow::SeedState;
use jiff::Timestamp;
use model::{Digest, ErrorKind, ObjectKey};
use std::path::Path;
use std::sync::Arc;
use store::{Folder, Store};

/// Makes the repository of this server where there is none yet, without a place. Answers whether it did.
///
/// # Errors
/// [`OwnError::ShortPassphrase`]; [`OwnError::NoRepositoryYet`] where there is one that cannot be reached: staging is not mounted;
/// the vault is away, or has one that the password does not open.
pub fn begin_repository(ctx: &Context<'_>, password: &[u8]) -> Result<bool, Error> {
    let state = State::open(ctx.state)?;
    match key_files::open(ctx, &state, password) {
        Err(Error::Own(OwnError::NoRepositoryYet)) => {}
        other => return other.map(|_| false),
    }
    let _lock = state.lock_init()?;
    let is_there =
        |seed: &SeedRecord| seed.repository.is_some() && seed.state() != SeedState::Abandoned;
    if state.seeds()?.iter().any(is_there) {
        return Err(OwnError::NoRepositoryYet.into());
    }
    let folder = state.origin_folder();
    let begun = state.init_folder();
    let store: Arc<dyn Store> = Arc::new(Folder::new(&folder));
    if init::open(ctx, &store, password)?.is_some() {
        return Ok(false);
    }
    // One on its way into the vault: what has arrived of it fits no other.
    let halfway: Arc<dyn Store> = Arc::new(Folder::new(&begun));
    match init::open(ctx, &halfway, password) {
        Ok(Some(_)) => {
            init::remove(&folder)?;
            std::fs::rename(&begun, &folder).map_err(Error::io("renaming", &begun))?;
            let parent = folder.parent().unwrap_or(Path::new("."));
            store::durable::sync_folder(parent).map_err(Error::io("writing", &folder))?;
            return Ok(true);
        }
        Ok(None) => {}
        // Begun with another password, as whoever makes it there finds, too.
        Err(error) if error.kind() == ErrorKind::WrongPassword => {}
        Err(error) => return Err(error),
    }
    init::remove(&begun)?;
    ctx.tell(Event::Phase(Phase::Init(Place::Origin)));
    init::make(ctx, &store, password)?;
    ctx.tell(Event::Step("a repository is made"));
    Ok(true)
}

/// Puts config and key files of the one that is made to a place that has none, if there is one.
///
/// # Errors
/// [`ErrorKind::WrongPassword`]: the passphrase was chosen with it.
pub(crate) fn lay(
    ctx: &Context<'_>,
    state: &State,
    place: &dyn Store,
    password: &[u8],
) -> Result<bool, Error> {
    let origin: Arc<dyn Store> = Arc::new(Folder::new(state.origin_folder()));
    if init::open(ctx, &origin, password)?.is_none() {
        return Ok(false);
    }
    // Whoever changes its keys meanwhile would leave the old ones there.
    let _keys = state.lock_keys()?;
    init::copy(origin.as_ref(), place)?;
    Ok(true)
}

/// A place has that repository: another one makes void what was made here.
pub(crate) fn meet(ctx: &Context<'_>, state: &State, there: Digest) -> Result<(), Error> {
    match identity(state)? {
        Some(own) if own != there => {
            void(ctx, state, own)?;
            init::remove(&state.origin_folder())
        }
        _ => Ok(()),
    }
}

/// The seed that had the repository is given up. Where the vault has none yet, what comes next is the same one, so that passphrase and
/// recovery kit stay good; where it is gone with staging, they are void.
pub(crate) fn take_back(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    vault_has_one: bool,
) -> Result<(), Error> {
    let Some(own) = record.repository.filter(|_| !vault_has_one) else { return Ok(()) };
    let _lock = state.lock_init()?;
    if identity(state)? == Some(own) {
        return Ok(());
    }
    let _keys = state.lock_keys()?;
    for folder in [record.staging.clone(), state.kept_folder(record.id)] {
        let place = Folder::new(folder);
        if place.get(&ObjectKey::Config, init::SMALL).is_ok_and(|it| identity_of(&it) == own) {
            init::remove(&state.origin_folder())?;
            let origin = Folder::new(state.origin_folder());
            init::copy(&place, &origin)?;
            // What is to go travelled with the seed, and need not come back.
            for key in state.keys()?.keys.iter().filter(|key| key.to_go.is_some()) {
                match origin.remove(&ObjectKey::Key(key.id)) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
                    _ => {}
                }
            }
            return Ok(());
        }
    }
    void(ctx, state, own)
}

/// Nothing that is there will be opened by keys that were made here for that repository.
fn void(ctx: &Context<'_>, state: &State, own: Digest) -> Result<(), Error> {
    let now = ctx.now();
    let is_own = |key: &&mut OwnKey| key.repository == own && key.to_go.is_none();
    let had_kit = state.change_keys(|record| {
        let mut had_kit = false;
        for key in record.keys.iter_mut().filter(is_own) {
            had_kit |= key.purpose == Purpose::Recovery && key.handed_over;
            // No vault has them, nor will.
            (key.to_go, key.until) = (Some(now), Some(Timestamp::UNIX_EPOCH));
        }
        had_kit
    })?;
    ctx.tell(Event::Step("keys that fit nothing are void"));
    if had_kit {
        ctx.tell(Event::KitVoid);
    }
    Ok(())
}

/// The vault has that repository: there is nothing to begin any more.
pub(crate) fn arrived(ctx: &Context<'_>, state: &State, there: Digest) -> Result<(), Error> {
    meet(ctx, state, there)?;
    match identity(state)? {
        Some(_) => init::remove(&state.origin_folder()),
        None => Ok(()),
    }
}

/// Which one was made here and has not arrived.
fn identity(state: &State) -> Result<Option<Digest>, Error> {
    match Folder::new(state.origin_folder()).get(&ObjectKey::Config, init::SMALL) {
        Ok(config) => Ok(Some(identity_of(&config))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}
