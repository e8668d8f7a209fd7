//! Recovery points of the vault onto drives of the data centre's dock: chosen here, where the key is, and asked
//! for by an export job. Writes no drive.
//!
//! ```text
//! <state>/exports/<job>/index/      the new index files, as a repository's folder
//! <state>/exports/<job>/inventory   the signed list of what is exported
//! <state>/exports/<job>/lock        held while the job is created
//! ```
//!
//! invariant: the list is on the disk before the server hears of the job, so that a call after a death asks for the same.

use crate::Error;
use crate::context::{Context, Phase};
use crate::state::State;
use crate::vault::Vault;
use model::{AccountName, Digest, JobName, ObjectKey, ObjectKind};
use repo::{LockMode, Repository, Selection};
use seed::{Inventory, Object, SigningKey, Trust};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use store::{Folder, Overlay, Part, Store};
use wire::{ExportJobRequest, Job, JobState, SeedId};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The job.
    pub job: &'a JobName,
    /// Which recovery points: ids, unambiguous beginnings of them, or `latest`.
    pub snapshots: &'a [String],
    /// The storage account that the job lies with; none for that of the newest seed.
    pub account: Option<&'a AccountName>,
    /// Parity drives.
    pub parity: u32,
    /// Only find out what is needed.
    pub dry_run: bool,
}

/// What an export needs, and the job that was made for it.
#[derive(Debug)]
pub struct Export {
    /// The recovery points.
    pub snapshots: BTreeSet<Digest>,
    /// Packs that have a blob of theirs.
    pub packs: usize,
    /// Bytes of these.
    pub bytes: u64,
    /// Indexes of the vault that could not be read.
    pub damaged: Vec<repo::Error>,
    /// The job; none where only the need was asked for.
    pub job: Option<Job>,
}

/// An index has some ten megabytes; this is where something else begins.
const LONGEST_INDEX: u64 = 256 << 20;

/// Chooses what some recovery points of the vault need, and creates an export job for it. Doing it again goes on with the same list.
///
/// # Errors
/// [`Error::NotRegistered`]; [`Error::Repo`], such as a snapshot that is not there or not whole; [`Error::ExportExists`];
/// [`Error::NoStorageAccount`]; what the server refuses.
pub fn export(ctx: &Context<'_>, asked: &Asked<'_>, password: &[u8]) -> Result<Export, Error> {
    let state = State::open(ctx.state)?;
    let vault = Vault::connect(ctx, &state)?;
    let repository = vault.open(ctx, password)?;
    let lock = repository.lock(LockMode::Shared)?;
    ctx.tell(crate::Event::Phase(Phase::Choosing));
    let mut snapshots = BTreeSet::new();
    for text in asked.snapshots {
        snapshots.insert(repository.find_snapshot(text)?.id);
    }
    let index = repository.load_index()?;
    let ids: Vec<Digest> = snapshots.iter().copied().collect();
    let selection = repository.select(&index.value, &ids)?;
    drop(index.value);
    let mut export = Export {
        snapshots,
        packs: selection.packs.len(),
        bytes: selection.bytes,
        damaged: index.damaged,
        job: None,
    };
    if asked.dry_run {
        return Ok(export);
    }
    let account = account(&state, asked.account)?;
    let key = state.signing_key()?;
    let folder = state.export_folder(asked.job);
    store::durable::create_folder(&folder, 0o700).map_err(Error::io("creating", &folder))?;
    let _alone = state.lock_export(asked.job)?;
    let (bytes, list) = listed(ctx, &repository, &selection, (&folder, &key), asked.job)?;
    lock.check()?;
    ctx.check_stop()?;
    ctx.tell(crate::Event::Phase(Phase::ImportJob));
    let request = ExportJobRequest {
        vault: vault.vault.clone(),
        server: vault.server.clone(),
        id: list.seed,
        signer: key.public(),
        root: seed::root(&list.objects),
        parity: asked.parity,
        storage_account: account,
        return_address: None,
        delivery_package: None,
    };
    let job = vault.client.create_export(asked.job, &request)?;
    if job.state == JobState::Creating {
        bring(ctx, &vault, asked.job, &folder.join(INDEX))?;
        let length = bytes.len() as u64;
        vault.client.put_inventory(asked.job, length, &mut bytes.as_slice())?;
    }
    export.job = Some(vault.client.job(asked.job)?);
    Ok(export)
}

const INDEX: &str = "index";
const INVENTORY: &str = "inventory";

fn account(state: &State, given: Option<&AccountName>) -> Result<AccountName, Error> {
    if let Some(account) = given {
        return Ok(account.clone());
    }
    let newest = state.seeds()?.into_iter().next_back();
    newest.map(|record| record.storage_account).ok_or(Error::NoStorageAccount)
}

/// The signed list, as it was kept by an earlier call, or made now.
fn listed(
    ctx: &Context<'_>,
    repository: &Repository,
    selection: &Selection,
    (folder, key): (&Path, &SigningKey),
    job: &JobName,
) -> Result<(Vec<u8>, Inventory), Error> {
    let path = folder.join(INVENTORY);
    match fs::read(&path) {
        Ok(bytes) => {
            let damaged =
                |what: seed::Refused| Error::Damaged { path: path.clone(), what: what.to_string() };
            let kept = Inventory::decode(&bytes, &Trust::Key(key.public())).map_err(damaged)?.body;
            if chosen(&kept.objects) != (selection.snapshots.clone(), selection.packs.clone()) {
                return Err(Error::ExportExists(job.clone()));
            }
            return Ok((bytes, kept));
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
        Err(cause) => return Err(Error::io("reading", &path)(cause)),
    }
    let store = part(repository, selection, &folder.join(INDEX))?;
    let seed::Frozen { repositories, objects } = seed::freeze(&[store.as_ref()])?;
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|_| Error::Random)?;
    let list = Inventory { seed: SeedId(id), created: ctx.now(), repositories, objects };
    let too_long = |problem: seed::Malformed| Error::Damaged {
        path: path.clone(),
        what: format!("what is exported cannot be listed ({problem}); export less at once"),
    };
    let bytes = list.encode(key).map_err(too_long)?;
    store::durable::replace(&path, &bytes, 0o600).map_err(Error::io("writing", &path))?;
    Ok((bytes, list))
}

/// Snapshots and packs among objects.
fn chosen(objects: &[Object]) -> (BTreeSet<Digest>, BTreeSet<Digest>) {
    let of = |kind| {
        let of = objects.iter().filter(move |object| object.kind == kind);
        of.map(|object| object.name).collect()
    };
    (of(ObjectKind::Snapshot), of(ObjectKind::Pack))
}

/// What is exported as a repository of its own: a new index of the chosen packs over the chosen objects of the vault.
fn part(
    repository: &Repository,
    selection: &Selection,
    index: &Path,
) -> Result<Arc<dyn Store>, Error> {
    let mut shown: BTreeSet<ObjectKey> =
        selection.packs.iter().map(|pack| ObjectKey::Pack(*pack)).collect();
    shown.extend(selection.snapshots.iter().map(|snapshot| ObjectKey::Snapshot(*snapshot)));
    shown.insert(ObjectKey::Config);
    let keys = repository.store().list(ObjectKind::Key)?;
    shown.extend(keys.into_iter().map(|listed| listed.key));
    let below: Arc<dyn Store> = Arc::new(Part::new(Arc::clone(repository.store()), shown));
    // Half of what an earlier call has made would be taken for all of it.
    match fs::remove_dir_all(index) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("removing", index)(cause));
        }
        _ => {}
    }
    let above: Arc<dyn Store> = Arc::new(Folder::new(index));
    above.create()?;
    let whole: Arc<dyn Store> = Arc::new(Overlay::new(above, below));
    repository.seen_through(Arc::clone(&whole)).save_index_of(&selection.packs)?;
    Ok(whole)
}

/// Sends the new index files.
fn bring(ctx: &Context<'_>, vault: &Vault, job: &JobName, index: &Path) -> Result<(), Error> {
    let (from, to) = (Folder::new(index), vault.export(ctx, job)?);
    for listed in from.list(ObjectKind::Index)? {
        ctx.check_stop()?;
        to.put(&listed.key, &from.get(&listed.key, LONGEST_INDEX)?)?;
    }
    Ok(())
}
