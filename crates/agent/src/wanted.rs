//! What the vault asks for of a seed, held against the seed's own inventory. It is sent by `send`, or written by
//! `prepare` as a drive set of its own.

use crate::context::Context;
use crate::kept::Held;
use crate::publication::{self, Published};
use crate::record::{Contents, SeedRecord};
use crate::send::{Sending, Sent, send};
use crate::state::State;
use crate::transit;
use crate::vault::Vault;
use crate::{Error, journal, revise};
use model::{ErrorKind, JobName, ObjectKey};
use seed::{Inventory, Object, Trust, WantList};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use store::Store;
use wire::{Role, SeedId};

/// An object that the vault asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedRow {
    /// Which.
    pub key: ObjectKey,
    /// Its length.
    pub bytes: u64,
    /// The drive that has carried it, and its job, where this server has written it.
    pub carried: Option<(model::DriveSerial, Option<JobName>)>,
    /// Where it is now.
    pub answer: Answer,
}

/// Where an object is that the vault asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nobody has sent it yet.
    None,
    /// It was sent over the network, and the next publication will find it.
    Sent,
    /// It is on this drive.
    OnDrive(model::DriveSerial),
    /// Neither sent nor here: it has to be made anew.
    Gone,
}

/// A drive set that is written, where its state is kept, and which objects it has: all that are on none yet,
/// where none are named.
pub(crate) struct Part {
    pub(crate) set: u32,
    pub(crate) folder: PathBuf,
    pub(crate) only: Option<Vec<Object>>,
}

/// Every object of every seed that the vault asks for, as far as it was asked; publication finds out
/// what that is, and is asked for by `backup now` and [`send_wanted`].
///
/// # Errors
/// The server is away or refuses; a list that is not to be believed.
pub fn wanted(
    ctx: &Context<'_>,
    seed: Option<SeedId>,
) -> Result<Vec<(SeedId, Vec<WantedRow>)>, Error> {
    let state = State::open(ctx.state)?;
    let vault = Vault::connect(ctx, &state)?;
    let mut all = Vec::new();
    for record in chosen(&state, seed)? {
        let record = revise::settle(ctx, &state, &vault, &record)?;
        let objects = ask(&state, &vault, &record)?.unwrap_or_default();
        all.push((record.id, rows(ctx, &state, &vault, &record, &objects)?));
    }
    Ok(all)
}

/// Sends what the vault asks for of a seed: publication says what that is, and takes what has come.
///
/// # Errors
/// [`Error::NothingWanted`]; [`Error::WhichSeed`]; the server is away or refuses. What has been sent stays
/// sent, and the same call goes on.
pub fn send_wanted(ctx: &Context<'_>, what: &Sending) -> Result<Sent, Error> {
    let state = State::open(ctx.state)?;
    let vault = Vault::connect(ctx, &state)?;
    let (record, objects) = only_one(ctx, &state, &vault, what.seed)?;
    let _lock = state.lock_seed(record.id)?;
    send(ctx, &state, &vault, &record, &objects, what)
}

/// The one seed that something is wanted of, and that; publication has just looked.
///
/// # Errors
/// [`Error::NothingWanted`]; [`Error::WhichSeed`].
pub(crate) fn only_one(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    seed: Option<SeedId>,
) -> Result<(SeedRecord, Vec<Object>), Error> {
    let mut asked = Vec::new();
    for record in chosen(state, seed)? {
        let _lock = state.lock_seed(record.id)?;
        if let Some(found) = fresh(ctx, state, vault, &record)? {
            asked.push(found);
        }
    }
    if asked.len() > 1 {
        return Err(Error::WhichSeed {
            seeds: asked.iter().map(|(record, _)| record.id).collect(),
        });
    }
    asked.pop().ok_or(Error::NothingWanted)
}

/// Seeds that are prepared and not over.
fn chosen(state: &State, seed: Option<SeedId>) -> Result<Vec<SeedRecord>, Error> {
    let mut records = match seed {
        Some(id) => vec![state.seed(id)?],
        None => state.seeds()?,
    };
    records.retain(|record| !record.is_over() && record.seed.set_count.is_some());
    Ok(records)
}

/// What is wanted now: publication is asked to look again. None when nothing is.
fn fresh(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
) -> Result<Option<(SeedRecord, Vec<Object>)>, Error> {
    let (record, _) = transit::sync(ctx, state, vault, record)?;
    let record = match publication::until_published(ctx, state, vault, &record)? {
        Published::Yes(_) => return Ok(None),
        Published::No { record, .. } => record,
    };
    Ok(ask(state, vault, &record)?.map(|objects| (*record, objects)))
}

/// The list as the server has it, once it was found to be the vault's and of this seed.
pub(crate) fn ask(
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
) -> Result<Option<Vec<Object>>, Error> {
    let client = &vault.client;
    let bytes = client.want_list(&vault.vault, &vault.server, record.id, journal::LIMIT)?;
    bytes.map(|bytes| believed(state, vault, record, &bytes)).transpose()
}

/// # Errors
/// [`Error::WantList`] for a list that another vault has signed, or that asks for more than the seed has.
fn believed(
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    bytes: &[u8],
) -> Result<Vec<Object>, Error> {
    let wrong = |what: String| Error::WantList { seed: record.id, what };
    let contents = record.contents.as_ref().ok_or(flow::Refused::StillPreparing)?;
    let trust = Trust::Key(vault.client.credentials().receipt_key);
    let list = WantList::decode(bytes, &trust).map_err(|why| wrong(causes(&why)))?.body;
    if (&list.header.vault, &list.header.server) != (&vault.vault, &vault.server) {
        return Err(wrong("it is for another source server".to_owned()));
    }
    if list.header.seed != record.id || list.header.root != contents.whole.root {
        return Err(wrong("it is of another seed".to_owned()));
    }
    let own = journal::objects(state, record, contents)?;
    match list.objects.iter().find(|object| own.binary_search(object).is_err()) {
        Some(object) => Err(wrong(format!("the seed has no {} of that length", object.key()))),
        None => Ok(list.objects),
    }
}

pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(why) = cause {
        words = format!("{words}: {why}");
        cause = why.source();
    }
    words
}

/// The set that brings what is wanted: the one that was begun, or a new one.
///
/// # Errors
/// [`Error::NothingWanted`].
pub(crate) fn wanted_set(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
) -> Result<Part, Error> {
    if vault.client.credentials().role == Role::Copy {
        return Err(Error::OnTheSource);
    }
    let set = record.seed.set_count.ok_or(flow::Refused::StillPreparing)?;
    let folder = folder(state, record, set);
    let kept = folder.join("want-list");
    if is_begun(state, record, &folder)? {
        let bytes = std::fs::read(&kept).map_err(Error::io("reading", &kept))?;
        let objects = believed(state, vault, record, &bytes)?;
        return Ok(Part { set, folder, only: Some(objects) });
    }
    let (record, objects) = fresh(ctx, state, vault, record)?.ok_or(Error::NothingWanted)?;
    let client = &vault.client;
    let bytes = client.want_list(&vault.vault, &vault.server, record.id, journal::LIMIT)?;
    let contents = record.contents.as_ref().ok_or(flow::Refused::StillPreparing)?;
    if !journal::put_back(state, &record, contents)? {
        let staging = record.staging.clone();
        return Err(Error::InventoryLost { seed: record.id, staging });
    }
    store::durable::create_folder(&folder, 0o700).map_err(Error::io("creating", &folder))?;
    let to = folder.join("inventory");
    let inventory = list(state, &record, contents)?;
    store::durable::replace(&to, &inventory, 0o600).map_err(Error::io("writing", &to))?;
    let bytes = bytes.ok_or(Error::NothingWanted)?;
    store::durable::replace(&kept, &bytes, 0o600).map_err(Error::io("writing", &kept))?;
    Ok(Part { set, folder, only: Some(objects) })
}

/// The seed's own list of everything, which the set has as the sets before it. Where another key has signed these, the same list
/// with this server's signature: a set has one signer.
fn list(state: &State, record: &SeedRecord, contents: &Contents) -> Result<Vec<u8>, Error> {
    let from = &contents.inventory_file;
    if is_signer(state, record)? {
        return std::fs::read(from).map_err(Error::io("reading", from));
    }
    let inventory = Inventory {
        seed: record.id,
        created: contents.frozen,
        repositories: vec![contents.repository],
        objects: journal::objects(state, record, contents)?,
        // That is for exports.
        parts: Vec::new(),
    };
    let unfit = |why: seed::Malformed| Error::Damaged { path: from.clone(), what: causes(&why) };
    inventory.encode(&state.signing_key()?).map_err(unfit)
}

/// Whether the list that the seed goes by is signed with this server's key.
pub(crate) fn is_signer(state: &State, record: &SeedRecord) -> Result<bool, Error> {
    let own = state.signing_key()?.public();
    Ok(record.contents.as_ref().is_none_or(|contents| contents.signer == own))
}

/// Where what is known of a set with missing objects is.
pub(crate) fn folder(state: &State, record: &SeedRecord, set: u32) -> PathBuf {
    state.seed_folder(record.id).join("wanted").join(set.to_string())
}

/// Whether drives of the set are sealed: then it goes on with the list that it was begun with.
pub(crate) fn is_begun(
    state: &State,
    record: &SeedRecord,
    folder: &std::path::Path,
) -> Result<bool, Error> {
    if !folder.join("want-list").exists() {
        return Ok(false);
    }
    Ok(!journal::sealed_here(state, record, folder)?.is_empty())
}

/// What is known of each object.
fn rows(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    objects: &[Object],
) -> Result<Vec<WantedRow>, Error> {
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let sent = there(&*vault.pending(ctx, 0)?, objects)?;
    let (first, further) = carriers(state, record)?;
    let held = Held::of(state, record);
    let row = |object: &Object| {
        let on_drive = further.get(object).cloned();
        let answer = match on_drive {
            _ if sent.contains(object) => Answer::Sent,
            Some(serial) => Answer::OnDrive(serial),
            None if held.has(object) => Answer::None,
            None => Answer::Gone,
        };
        let carried = first.get(object).map(|(serial, set)| {
            let job = record.jobs.iter().rev().find(|job| job.set == *set);
            (serial.clone(), job.map(|job| job.name.clone()))
        });
        WantedRow { key: object.key(), bytes: object.length, carried, answer }
    };
    Ok(objects.iter().map(row).collect())
}

type First = BTreeMap<Object, (model::DriveSerial, u32)>;
type Further = BTreeMap<Object, model::DriveSerial>;

/// Which drives have objects of the seed: those of its first sets, and those of sets that bring what was
/// missing.
fn carriers(state: &State, record: &SeedRecord) -> Result<(First, Further), Error> {
    let folder = state.seed_folder(record.id);
    let (mut first, mut further) = (First::new(), Further::new());
    for manifest in journal::sealed_here(state, record, &folder)? {
        let header = &manifest.body.header;
        let of = |object: &Object| (*object, (header.serial.clone(), header.set));
        first.extend(manifest.body.objects.iter().map(of));
    }
    let sets = record.seed.set_count.unwrap_or(0);
    for set in 0..=sets {
        let folder = folder.join("wanted").join(set.to_string());
        if !folder.exists() {
            continue;
        }
        for manifest in journal::sealed_here(state, record, &folder)? {
            let serial = &manifest.body.header.serial;
            further.extend(manifest.body.objects.iter().map(|object| (*object, serial.clone())));
        }
    }
    Ok((first, further))
}

/// Those of the objects that a store has with their length.
pub(crate) fn there(store: &dyn Store, objects: &[Object]) -> Result<BTreeSet<Object>, Error> {
    let kinds: BTreeSet<_> = objects.iter().map(|object| object.kind).collect();
    let mut lengths = BTreeMap::new();
    for kind in kinds {
        if kind == model::ObjectKind::Config {
            match store.length(&ObjectKey::Config) {
                Ok(length) => drop(lengths.insert(ObjectKey::Config, length)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
            continue;
        }
        lengths.extend(store.list(kind)?.into_iter().map(|listed| (listed.key, listed.length)));
    }
    let is_there = |object: &&Object| lengths.get(&object.key()) == Some(&object.length);
    Ok(objects.iter().filter(is_there).copied().collect())
}
