//! Repositories at the source's two places: opened, or made where there is none. A making that was
//! interrupted is finished, never begun twice: a second master key beside the first would leave key
//! files that open with the password and fit nothing.

use crate::context::{Context, Event, Phase};
use crate::elsewhere::Elsewhere;
use crate::group::is_no_repository;
use crate::record::SeedRecord;
use crate::state::{Lock, State};
use crate::travelling::Travelling;
use crate::vault::{Place, Vault};
use crate::{Error, journal, origin, passphrase, recover};
use model::{Digest, ErrorKind, ObjectKey, ObjectKind};
use repo::Repository;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::{Folder, Overlay, Store};
use wire::SeedId;

/// A config or key file is a few hundred bytes.
pub(crate) const SMALL: u64 = 1 << 20;

/// Making one is a key derivation and three files; a server that does not answer ends it sooner.
const TURN: Duration = Duration::from_secs(300);

/// The repository in staging. Made once only: where it was and is not, a share is not mounted.
pub(crate) fn staging(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    password: &[u8],
) -> Result<Repository, Error> {
    if record.repository.is_some() {
        return open_to_read(ctx, state, record, password);
    }
    let store: Arc<dyn Store> = Arc::new(Folder::new(&record.staging));
    let opened = match open(ctx, &store, password)? {
        None if record.catch_up => {
            ctx.tell(Event::Phase(Phase::Init(Place::Staging)));
            clear_halfway(store.as_ref())?;
            let vault = Vault::connect(ctx, state)?;
            // Whoever has the vault's password gets its keys: those that open what is there already.
            vault.open(ctx, password)?;
            copy(vault.store.as_ref(), store.as_ref())?;
            open(ctx, &store, password)?
        }
        other => other,
    };
    let repository = match opened {
        Some(repository) => repository,
        None => {
            ctx.tell(Event::Phase(Phase::Init(Place::Staging)));
            let _lock = in_turn(ctx, state)?;
            clear_halfway(store.as_ref())?;
            origin::lay(ctx, state, store.as_ref(), password)?;
            match open(ctx, &store, password)? {
                Some(repository) => repository,
                None => make(ctx, &store, password)?,
            }
        }
    };
    origin::meet(ctx, state, repository.identity())?;
    let (record, ()) = state.change_seed(record.id, |record| {
        record.repository = Some(repository.identity());
        Ok(())
    })?;
    if record.catch_up { open_to_read(ctx, state, &record, password) } else { Ok(repository) }
}

/// What a seed has of the repository by itself, made where there is none: of one that brings what the vault lacks, without what
/// that has.
///
/// # Errors
/// As [`staging`].
pub(crate) fn alone(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    password: &[u8],
) -> Result<Repository, Error> {
    let whole = staging(ctx, state, record, password)?;
    match record.catch_up {
        true => open_seed_staging(ctx, &state.seed(record.id)?, password),
        false => Ok(whole),
    }
}

/// The repository of a seed as it will be in the vault: of one that brings what the vault lacks, over what is
/// there.
///
/// # Errors
/// As [`open_seed_staging`]; the vault is away.
pub(crate) fn open_to_read(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    password: &[u8],
) -> Result<Repository, Error> {
    let alone = open_seed_staging(ctx, record, password)?;
    over_vault(ctx, state, record, alone, password)
}

fn over_vault(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    alone: Repository,
    password: &[u8],
) -> Result<Repository, Error> {
    if !record.catch_up {
        return Ok(alone);
    }
    let vault = Vault::connect(ctx, state)?;
    let there = vault.open(ctx, password)?;
    if there.identity() != alone.identity() {
        return Err(Error::OtherRepository { location: there.location(), seed: record.id });
    }
    let both = Overlay::new(Arc::clone(alone.store()), Arc::clone(&vault.store));
    Ok(Repository::open(Arc::new(both), password, ctx.author.clone())?)
}

/// The repository of a seed that travels, with what was backed up since: that is in the vault, over what is in
/// staging. Of a seed that went straight onto drives, what was in the files is known and cannot be read.
///
/// # Errors
/// As [`open_to_read`]; the vault is away.
pub(crate) fn open_in_transit(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    password: &[u8],
) -> Result<Repository, Error> {
    beside(ctx, state, record, &open_to_read(ctx, state, record, password)?)
}

/// The same, to be added to: what staging holds and does not travel, as an interrupted call leaves it, is not seen. A backup would
/// take it in, and rely on what never arrives.
///
/// # Errors
/// As [`open_in_transit`]; [`Error::InventoryLost`].
pub(crate) fn open_to_add(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    password: &[u8],
) -> Result<Repository, Error> {
    let alone = open_seed_staging(ctx, record, password)?;
    let contents = record.contents.as_ref().ok_or(flow::Refused::StillPreparing)?;
    let own = journal::objects(state, record, contents)?;
    let packs = own.iter().filter(|object| object.kind == ObjectKind::Pack);
    let packs: BTreeSet<ObjectKey> = packs.map(seed::Object::key).collect();
    let travels = Travelling::new(Arc::clone(alone.store()), packs);
    let alone = alone.seen_through(Arc::new(travels));
    beside(ctx, state, record, &over_vault(ctx, state, record, alone, password)?)
}

fn beside(
    ctx: &Context<'_>,
    state: &State,
    record: &SeedRecord,
    staged: &Repository,
) -> Result<Repository, Error> {
    let vault = Vault::connect(ctx, state)?;
    let since = vault.increments(ctx, record.id)?;
    let over: Arc<dyn Store> = Arc::new(Overlay::new(since, with_drives(state, record, staged)?));
    Ok(staged.seen_through(over))
}

/// What is here, with the packs that are on drives alone: those that the seed's signed list names, and that nobody can read here.
fn with_drives(
    state: &State,
    record: &SeedRecord,
    here: &Repository,
) -> Result<Arc<dyn Store>, Error> {
    let here = Arc::clone(here.store());
    let Some(contents) = record.contents.as_ref().filter(|_| record.direct) else {
        return Ok(here);
    };
    let own = journal::objects(state, record, contents)?;
    let packs = own.iter().filter(|object| object.kind == ObjectKind::Pack);
    let named = packs.map(|object| (object.key(), object.length)).collect();
    Ok(Arc::new(Elsewhere::new(here, named)))
}

/// Whether that repository is in a staging location: looked at from outside, without its password.
///
/// # Errors
/// [`Error::OtherRepository`].
pub(crate) fn check_staging(staging: &Path, seed: SeedId, repository: Digest) -> Result<(), Error> {
    let store = Folder::new(staging);
    let config = store.get(&ObjectKey::Config, SMALL)?;
    if Digest(Sha256::digest(&config).into()) == repository {
        return Ok(());
    }
    Err(Error::OtherRepository { location: store.location(), seed })
}

/// The repository of a seed in its staging location, if it is still that one.
pub(crate) fn open_seed_staging(
    ctx: &Context<'_>,
    record: &SeedRecord,
    password: &[u8],
) -> Result<Repository, Error> {
    let store = Arc::new(Folder::new(&record.staging));
    let repository = Repository::open(store, password, ctx.author.clone())?;
    if Some(repository.identity()) != record.repository {
        return Err(Error::OtherRepository { location: repository.location(), seed: record.id });
    }
    Ok(repository)
}

/// The repository in the vault, over the network. Made in the state directory first and then
/// copied, because nothing can be taken back there.
pub(crate) fn vault(
    ctx: &Context<'_>,
    state: &State,
    store: &Arc<dyn Store>,
    password: &[u8],
) -> Result<Repository, Error> {
    if let Some(repository) = open(ctx, store, password)? {
        origin::arrived(ctx, state, repository.identity())?;
        return Ok(repository);
    }
    let _lock = in_turn(ctx, state)?;
    // Whoever had it before has made one: a second one's keys would lie beside its own.
    if let Some(repository) = open(ctx, store, password)? {
        origin::arrived(ctx, state, repository.identity())?;
        return Ok(repository);
    }
    if origin::lay(ctx, state, store.as_ref(), password)? {
        ctx.tell(Event::Phase(Phase::Init(Place::Vault)));
        let repository = Repository::open(Arc::clone(store), password, ctx.author.clone())?;
        origin::arrived(ctx, state, repository.identity())?;
        return Ok(repository);
    }
    // A seed that brings a repository would be unwelcome beside another one.
    let there = Vault::connect(ctx, state)?;
    recover::refuse_unknown(state, &there)?;
    let folder = state.init_folder();
    let local: Arc<dyn Store> = Arc::new(Folder::new(&folder));
    ctx.tell(Event::Phase(Phase::Init(Place::Vault)));
    match open(ctx, &local, password) {
        Ok(Some(_)) => {}
        Ok(None) => {
            make(ctx, &local, password)?;
        }
        // Begun with another password, whose key fits nothing that the vault will have.
        Err(error) if error.kind() == ErrorKind::WrongPassword => {
            remove(&folder)?;
            make(ctx, &local, password)?;
        }
        Err(error) => return Err(error),
    }
    copy(local.as_ref(), store.as_ref())?;
    let repository = Repository::open(Arc::clone(store), password, ctx.author.clone())?;
    remove(&folder)?;
    Ok(repository)
}

/// The lock of whoever makes a repository. Groups whose first backups begin together make one after the other.
fn in_turn(ctx: &Context<'_>, state: &State) -> Result<Lock, Error> {
    let mut waited = Duration::ZERO;
    loop {
        match state.lock_init() {
            Err(Error::Busy { .. }) if waited < TURN => {
                ctx.check_stop()?;
                if waited.is_zero() {
                    ctx.tell(Event::Step(
                        "the repository is being made by another backup, which is waited for",
                    ));
                }
                ctx.clock.sleep(ctx.poll);
                waited = waited.saturating_add(ctx.poll);
            }
            other => return other,
        }
    }
}

/// Keys before the config: a repository that has a config can be opened.
pub(crate) fn copy(from: &dyn Store, to: &dyn Store) -> Result<(), Error> {
    to.create()?;
    for listed in from.list(ObjectKind::Key)? {
        to.put(&listed.key, &from.get(&listed.key, SMALL)?)?;
    }
    let config = from.get(&ObjectKey::Config, SMALL)?;
    match to.put(&ObjectKey::Config, &config) {
        // Somebody else was faster; theirs is opened.
        Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Denied) => Ok(()),
        other => Ok(other?),
    }
}

pub(crate) fn open(
    ctx: &Context<'_>,
    store: &Arc<dyn Store>,
    password: &[u8],
) -> Result<Option<Repository>, Error> {
    match Repository::open(Arc::clone(store), password, ctx.author.clone()) {
        Err(error) if is_no_repository(&error) => Ok(None),
        other => Ok(Some(other?)),
    }
}

pub(crate) fn make(
    ctx: &Context<'_>,
    store: &Arc<dyn Store>,
    password: &[u8],
) -> Result<Repository, Error> {
    passphrase::refuse_short(password)?;
    clear_halfway(store.as_ref())?;
    let author = ctx.author.clone();
    Ok(Repository::init(Arc::clone(store), password, ctx.kdf, author, ctx.now())?)
}

/// A repository exists from its config on. Keys without one are what a crash left of its making;
/// beside packs they may be all that opens those, and stay.
pub(crate) fn clear_halfway(store: &dyn Store) -> Result<(), Error> {
    store.create()?;
    for kind in [ObjectKind::Pack, ObjectKind::Index, ObjectKind::Snapshot] {
        if !store.list(kind)?.is_empty() {
            let what = format!(
                "it holds {}/ of a repository whose config is lost; restore the config, or choose an empty folder",
                kind.folder()
            );
            return Err(Error::Staging { staging: store.location(), what });
        }
    }
    for listed in store.list(ObjectKind::Key)? {
        store.remove(&listed.key)?;
    }
    Ok(())
}

pub(crate) fn remove(folder: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(folder) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("removing", folder)(cause))
        }
        _ => Ok(()),
    }
}
