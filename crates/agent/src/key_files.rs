//! The key files of this server's repository: in every place that the repository is in, and in the vault. Stores new
//! ones, and removes what is to go where that is allowed. Knows no passphrase that is not handed in.

use crate::context::{Context, Event};
use crate::key_record::{KeyRecord, OwnKey, Purpose};
use crate::state::State;
use crate::vault::Vault;
use crate::{Error, OwnError};
use jiff::Timestamp;
use model::{Digest, ErrorKind, ObjectKey};
use repo::{NewKey, Repository};
use std::path::PathBuf;
use std::sync::Arc;
use store::{Folder, Store};
use wire::Code;

/// A key file has half a kilobyte.
const SMALL: u64 = 1 << 20;

/// A copy of the repository on this machine, or beside it.
pub(crate) struct Spot {
    pub(crate) store: Folder,
    /// What is listed in a seed's inventory stays until the seed is confirmed.
    pub(crate) frozen: bool,
}

/// Every copy of the repository here.
///
/// # Errors
/// [`OwnError::DrivesFirst`] while drives are written without staging: what they carry is not decided yet.
pub(crate) fn spots(state: &State, repository: Option<Digest>) -> Result<Vec<Spot>, Error> {
    let mut spots = Vec::new();
    let mut add = |folder: PathBuf, frozen: bool, wanted: Option<Digest>| {
        let store = Folder::new(folder);
        let Ok(config) = store.get(&ObjectKey::Config, SMALL) else { return };
        let identity = identity_of(&config);
        let is = |it: Option<Digest>| it.is_none_or(|it| it == identity);
        if is(wanted) && is(repository) {
            spots.push(Spot { store, frozen });
        }
    };
    add(state.origin_folder(), false, None);
    for record in state.seeds()? {
        if record.direct && record.contents.is_none() && !record.is_over() {
            return Err(OwnError::DrivesFirst { seed: record.id }.into());
        }
        let frozen = record.contents.is_some();
        let folders: [PathBuf; 2] = [record.staging.clone(), state.kept_folder(record.id)];
        // What lies there is of no interest before the seed has made it its own.
        let Some(own) = record.repository else { continue };
        for (folder, frozen) in folders.into_iter().zip([frozen, true]) {
            add(folder, frozen, Some(own));
        }
    }
    Ok(spots)
}

pub(crate) fn identity_of(config: &[u8]) -> Digest {
    use sha2::{Digest as _, Sha256};
    Digest(Sha256::digest(config).into())
}

/// The vault, where this server is registered with one that answers and has the repository.
fn vault_of(ctx: &Context<'_>, state: &State) -> Result<(Option<Vault>, Option<Error>), Error> {
    let vault = match Vault::connect(ctx, state) {
        Err(Error::NotRegistered) => return Ok((None, None)),
        other => other?,
    };
    match vault.client.health() {
        // What it has to hear, it hears later.
        Err(error) if error.kind() == ErrorKind::Unavailable => Ok((None, Some(error.into()))),
        Err(error) => Err(error.into()),
        Ok(_) => Ok((vault.has_repository()?.then_some(vault), None)),
    }
}

/// The repository, opened wherever it is, with all the places that it is in.
pub(crate) struct Opened {
    pub(crate) repository: Repository,
    pub(crate) spots: Vec<Spot>,
    pub(crate) vault: Option<Vault>,
    /// Why the vault could not be asked, where that is so.
    pub(crate) away: Option<Error>,
}

/// # Errors
/// [`OwnError::NoRepositoryYet`]; [`ErrorKind::WrongPassword`].
pub(crate) fn open(ctx: &Context<'_>, state: &State, password: &[u8]) -> Result<Opened, Error> {
    let (vault, away) = vault_of(ctx, state)?;
    let all = spots(state, None)?;
    let mut opened: Option<Repository> = None;
    let mut failure = None;
    if let Some(vault) = &vault {
        match vault.open(ctx, password) {
            Ok(repository) => opened = Some(repository),
            Err(error) => failure = Some(error),
        }
    }
    for spot in &all {
        if opened.is_some() {
            break;
        }
        let store: Arc<dyn Store> = Arc::new(Folder::new(spot.store.root()));
        match Repository::open(store, password, ctx.author.clone()) {
            Ok(repository) => opened = Some(repository),
            Err(error) => failure = failure.or(Some(error.into())),
        }
    }
    let Some(repository) = opened else {
        return Err(match (failure, away) {
            (Some(failure), _) => failure,
            (None, Some(away)) => away,
            (None, None) => OwnError::NoRepositoryYet.into(),
        });
    };
    let spots = spots(state, Some(repository.identity()))?;
    Ok(Opened { repository, spots, vault, away })
}

/// Keeps a new key file here, notes it, and puts it into every place at once. What dies in between is gone on with by
/// [`go_on`] and by calling again.
pub(crate) fn add(
    ctx: &Context<'_>,
    state: &State,
    opened: &Opened,
    key: &NewKey,
    purpose: Purpose,
) -> Result<(), Error> {
    let path = state.key_file(key.id);
    if let Some(folder) = path.parent() {
        store::durable::create_folder(folder, 0o700).map_err(Error::io("creating", folder))?;
    }
    store::durable::replace(&path, &key.bytes, 0o600).map_err(Error::io("writing", &path))?;
    let own = OwnKey {
        id: key.id,
        length: key.bytes.len() as u64,
        repository: opened.repository.identity(),
        purpose,
        made: ctx.now(),
        handed_over: false,
        in_vault: false,
        to_go: None,
        until: None,
    };
    ctx.tell(Event::Step("a key is kept here"));
    state.change_keys(|record| {
        if record.get(own.id).is_none() {
            record.keys.push(own.clone());
        }
    })?;
    spread(ctx, state, opened, key.id)
}

/// Puts a key file that is kept here into every place.
pub(crate) fn spread(
    ctx: &Context<'_>,
    state: &State,
    opened: &Opened,
    id: Digest,
) -> Result<(), Error> {
    ctx.tell(Event::Step("a key is noted"));
    let path = state.key_file(id);
    let bytes = std::fs::read(&path).map_err(Error::io("reading", &path))?;
    for spot in &opened.spots {
        put(&spot.store, id, &bytes)?;
        ctx.tell(Event::Step("a key is in one place"));
    }
    if let Some(vault) = &opened.vault {
        put(vault.store.as_ref(), id, &bytes)?;
        ctx.tell(Event::Step("a key is in the vault"));
        state.change_keys(|record| brought(record, id))?;
    }
    Ok(())
}

/// Read back: a key file that is not what it should be opens nothing on the day that it is needed.
fn put(store: &dyn Store, id: Digest, bytes: &[u8]) -> Result<(), Error> {
    let key = ObjectKey::Key(id);
    store.put(&key, bytes)?;
    if store.get(&key, SMALL)? != bytes {
        let what = "what was stored is not what comes back".to_owned();
        return Err(store::Error::Corrupt { location: store.location(), key, what }.into());
    }
    Ok(())
}

fn brought(record: &mut KeyRecord, id: Digest) {
    for key in record.keys.iter_mut().filter(|key| key.id == id) {
        key.in_vault = true;
    }
}

/// The key files made here that stay, into a copy of the repository that was made from a seed's inventory.
pub(crate) fn put_into(state: &State, store: &Folder, repository: Digest) -> Result<(), Error> {
    for key in state.keys()?.keys {
        if key.repository == repository && key.to_go.is_none() {
            let path = state.key_file(key.id);
            let bytes = std::fs::read(&path).map_err(Error::io("reading", &path))?;
            put(store, key.id, &bytes)?;
        }
    }
    Ok(())
}

/// Notes that these are to go, removes them where nothing needs them, and asks the vault. Answers the places where they stay
/// until their seed is confirmed.
pub(crate) fn retire(
    ctx: &Context<'_>,
    state: &State,
    opened: &Opened,
    going: &[(Digest, Purpose)],
) -> Result<Vec<PathBuf>, Error> {
    let repository = opened.repository.identity();
    let now = ctx.now();
    state.change_keys(|record| {
        for (id, purpose) in going {
            match record.keys.iter_mut().find(|key| key.id == *id) {
                Some(key) => key.to_go = key.to_go.or(Some(now)),
                None => record.keys.push(OwnKey {
                    id: *id,
                    length: 0,
                    repository,
                    purpose: *purpose,
                    made: now,
                    handed_over: false,
                    in_vault: true,
                    to_go: Some(now),
                    until: None,
                }),
            }
        }
    })?;
    ctx.tell(Event::Step("keys are to go"));
    let mut stays = Vec::new();
    for spot in &opened.spots {
        for (id, _) in going {
            let key = ObjectKey::Key(*id);
            if spot.store.length(&key).is_err() {
                continue;
            }
            if spot.frozen {
                stays.push(spot.store.root().to_owned());
            } else {
                spot.store.remove(&key)?;
                ctx.tell(Event::Step("a key is gone from one place"));
            }
        }
    }
    stays.dedup();
    if let Some(vault) = &opened.vault {
        tell(state, vault)?;
    }
    ctx.tell(Event::Step("the vault was asked"));
    Ok(stays)
}

/// Brings the vault what it has to hear of key files, where it has the repository by now. Answers whether there was something.
/// What cannot be told now is told by the next connection.
pub(crate) fn go_on(state: &State, vault: &Vault) -> bool {
    let waits = state.keys().is_ok_and(|record| !record.is_settled());
    waits && tell(state, vault).is_ok_and(|told| told)
}

fn tell(state: &State, vault: &Vault) -> Result<bool, Error> {
    let record = state.keys()?;
    // Asked once: what is away is not waited for.
    vault.client.health()?;
    let config = match vault.store.get(&ObjectKey::Config, SMALL) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let there = identity_of(&config);
    let mut told = false;
    let own = || record.keys.iter().filter(|key| key.repository == there);
    // New ones first: the vault removes no key that is the last one.
    for key in own().filter(|key| key.to_go.is_none() && !key.in_vault) {
        let path = state.key_file(key.id);
        let bytes = std::fs::read(&path).map_err(Error::io("reading", &path))?;
        put(vault.store.as_ref(), key.id, &bytes)?;
        state.change_keys(|record| brought(record, key.id))?;
        told = true;
    }
    for key in own().filter(|key| key.to_go.is_some() && key.until.is_none()) {
        let asked = vault.client.remove_key(&vault.vault, &vault.server, key.id);
        let until = match asked {
            Ok(removal) => removal.due_at,
            // It is not there, and never will be.
            Err(error) if error.code() == Some(&Code::ResourceNotFound) => Timestamp::UNIX_EPOCH,
            Err(error) => return Err(error.into()),
        };
        state.change_keys(|record| {
            for own in record.keys.iter_mut().filter(|own| own.id == key.id) {
                own.until = Some(until);
            }
        })?;
        told = true;
    }
    Ok(told)
}

/// A key file of the repository in the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyShown {
    /// What it says of itself.
    pub info: repo::KeyInfo,
    /// Whether it is a recovery kit's that was made here.
    pub is_kit: bool,
    /// When it is removed, where somebody has asked for that.
    pub goes: Option<Timestamp>,
    /// Whether this machine has asked for it.
    pub by_us: bool,
}

/// The key files of the repository: in the vault, or in staging as long as it is there alone.
///
/// # Errors
/// As any opening.
pub fn repository_keys(ctx: &Context<'_>, password: &[u8]) -> Result<Vec<KeyShown>, Error> {
    let state = State::open(ctx.state)?;
    let opened = open(ctx, &state, password)?;
    let removals = match &opened.vault {
        Some(vault) => vault.client.key_removals(&vault.vault, &vault.server)?,
        None => Vec::new(),
    };
    let record = state.keys()?;
    let shown = |info: repo::KeyInfo| {
        let own = record.get(info.id);
        KeyShown {
            is_kit: own.is_some_and(|own| own.purpose == Purpose::Recovery),
            goes: removals.iter().find(|gone| gone.key == info.id).map(|gone| gone.due_at),
            by_us: own.is_some_and(|own| own.to_go.is_some()),
            info,
        }
    };
    Ok(opened.repository.keys()?.value.into_iter().map(shown).collect())
}

/// Lets a key file of the vault's repository stay that was to be removed.
///
/// # Errors
/// Nobody has asked for its removal; it is removed already.
pub fn keep_key(ctx: &Context<'_>, key: Digest) -> Result<(), Error> {
    let state = State::open(ctx.state)?;
    let vault = Vault::connect(ctx, &state)?;
    vault.client.keep_key(&vault.vault, &vault.server, key)?;
    state.change_keys(|record| {
        for own in record.keys.iter_mut().filter(|own| own.id == key) {
            (own.to_go, own.until) = (None, None);
        }
    })
}
