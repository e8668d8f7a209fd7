//! Recovery points of the vault onto drives of the data centre's dock: chosen here, where the key is, and asked
//! for by an export job. Writes no drive.
//!
//! ```text
//! <state>/exports/<job>/index/      the new index files, as a repository's folder
//! <state>/exports/<job>/inventory   the signed list of what is exported
//! <state>/exports/<job>/lock        held while the job is created
//! <state>/exports/<job>/parts       of the first of several jobs: which recovery points each brings
//! ```
//!
//! Jobs that bring one recovery point together have one list, in the folder of the first of them.
//!
//! invariant: the list is on the disk before the server hears of the job, so that a call after a death asks for the same.

mod again;
mod deal;

pub use again::{AskedAgain, Fetched, export_again, fetch_export};
pub use deal::{Load, PartOf};

use crate::Error;
use crate::context::{Context, Phase};
use crate::state::State;
use crate::vault::Vault;
use deal::{Drives, Need};
use model::{AccountName, Digest, JobName, ObjectKey, ObjectKind};
use repo::{Index, LockGuard, LockMode, Repository, Selection};
use seed::{Inventory, Object, SigningKey, Trust};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use store::{Folder, Overlay, Part, Store};
use wire::{ExportJobRequest, Job, JobState, SeedId};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The job; of several, the first one. The others get a number after it.
    pub job: &'a JobName,
    /// Which recovery points: ids, unambiguous beginnings of them, or `latest`.
    pub snapshots: &'a [String],
    /// The storage account that the jobs lie with; none for that of the newest seed.
    pub account: Option<&'a AccountName>,
    /// Parity drives of each job.
    pub parity: u32,
    /// Bytes that one of the drives takes. None where that is not known: then there is one job.
    pub capacity: Option<u64>,
    /// Drives of a job, parity included, at most.
    pub most: usize,
}

/// One export job of a plan.
#[derive(Debug, Clone)]
pub struct ExportPart {
    /// Its name.
    pub job: JobName,
    /// The recovery points that it brings, whole; or the one that it brings a part of.
    pub snapshots: BTreeSet<Digest>,
    /// Packs that have a blob of theirs, as far as it brings them.
    pub packs: usize,
    /// Bytes of these.
    pub bytes: u64,
    /// What its data drives get; empty where it is not known what they hold.
    pub drives: Vec<Load>,
    /// Parity drives beside these.
    pub parity: u32,
    /// Of a recovery point that several jobs bring together: which part.
    pub part: Option<PartOf>,
    /// Those jobs, as their list names them; none where it brings all that it lists.
    together: Vec<wire::ExportPart>,
}

/// What is to be exported, and by which jobs. The vault is locked until this is dropped.
#[derive(Debug)]
pub struct PlannedExport {
    /// The jobs.
    pub parts: Vec<ExportPart>,
    /// The recovery points, those of all jobs.
    pub snapshots: BTreeSet<Digest>,
    /// Packs that have a blob of theirs, each once.
    pub packs: usize,
    /// Bytes of these.
    pub bytes: u64,
    /// Indexes of the vault that could not be read.
    pub damaged: Vec<repo::Error>,
    account: Option<AccountName>,
    selections: Vec<Selection>,
    state: State,
    vault: Vault,
    repository: Repository,
    lock: LockGuard,
}

/// Why what is asked for cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// An object fits no drive.
    #[error(
        "recovery point {} has an object that fits no drive of that size: send larger ones, or leave it out",
        snapshot.short()
    )]
    TooLarge {
        /// The recovery point.
        snapshot: Digest,
    },
    /// More jobs than may be open.
    #[error(
        "that takes {jobs} export jobs, and a source server may have {MAX_JOBS} that are not over: export less at once, or send larger drives"
    )]
    TooMany {
        /// How many.
        jobs: usize,
    },
    /// It was not asked for from here.
    #[error(
        "no export {export} was asked for by this machine: run it with the state directory that packmule export create was run with"
    )]
    NoSuchExport {
        /// Its id.
        export: SeedId,
    },
    /// Something else is wanted.
    #[error("{key} is not in the list of export {export}: nothing is asked for")]
    NotOfIt {
        /// The export's id.
        export: SeedId,
        /// The object.
        key: ObjectKey,
    },
    /// Nothing is left for data.
    #[error("a job of {most} drives has none for data beside {parity} for parity")]
    NoData {
        /// Drives of a job.
        most: usize,
        /// Parity drives.
        parity: u32,
    },
}

/// An index has some ten megabytes; this is where something else begins.
const LONGEST_INDEX: u64 = 256 << 20;
/// Export jobs of a source server that are not over: so the server has it.
const MAX_JOBS: usize = 16;

/// Finds out what some recovery points of the vault need, and how many jobs bring it. Asked again under the same name, it is the same
/// plan.
///
/// # Errors
/// [`Error::NotRegistered`]; [`Error::Repo`], such as a snapshot that is not there or not whole; [`Error::ExportExists`];
/// [`Error::Export`].
pub fn plan_export(
    ctx: &Context<'_>,
    asked: &Asked<'_>,
    password: &[u8],
) -> Result<PlannedExport, Error> {
    let (most, parity) = (asked.most, asked.parity);
    let data = most.saturating_sub(parity as usize);
    if data == 0 {
        return Err(ExportError::NoData { most, parity }.into());
    }
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
    let all: Vec<Digest> = snapshots.iter().copied().collect();
    let whole = repository.select(&index.value, &all)?;
    let (mut parts, mut selections) = (Vec::new(), Vec::new());
    let kept = kept_parts(&state, asked.job, &snapshots)?;
    let shares = match (kept, asked.capacity) {
        (Some(kept), _) => kept,
        (None, Some(capacity)) => {
            let needs = needs(ctx, &repository, &index.value, &all)?;
            let shares = dealt(&repository, needs, (capacity, data))?;
            if shares.len() > MAX_JOBS {
                return Err(ExportError::TooMany { jobs: shares.len() }.into());
            }
            shares
        }
        (None, None) => {
            vec![KeptPart { snapshots: snapshots.clone(), drives: Vec::new(), part: None }]
        }
    };
    let together = together(asked.job, &shares)?;
    for ((share, together), number) in shares.into_iter().zip(together).zip(1..) {
        let ids: Vec<Digest> = share.snapshots.iter().copied().collect();
        let selection = match share.snapshots == snapshots {
            true => whole.clone(),
            false => repository.select(&index.value, &ids)?,
        };
        let (packs, bytes) = brought(&repository, &selection, share.part, &together)?;
        parts.push(ExportPart {
            job: numbered(asked.job, number)?,
            snapshots: share.snapshots,
            packs,
            bytes,
            drives: share.drives,
            parity,
            part: share.part,
            together,
        });
        selections.push(selection);
    }
    Ok(PlannedExport {
        parts,
        snapshots,
        packs: whole.packs.len(),
        bytes: whole.bytes,
        damaged: index.damaged,
        account: asked.account.cloned(),
        selections,
        state,
        vault,
        repository,
        lock,
    })
}

impl PlannedExport {
    /// Creates the jobs, one after the other; none where the name of one of them is taken. Doing it again goes on with the same lists.
    ///
    /// # Errors
    /// [`Error::NoStorageAccount`]; what the server refuses. Jobs that were made by then stay.
    pub fn create(&self, ctx: &Context<'_>) -> Result<Vec<Job>, Error> {
        let account = account(&self.state, self.account.as_ref())?;
        if let Some(first) = self.parts.first().filter(|_| self.parts.len() > 1) {
            keep_parts(&self.state, &first.job, &self.parts)?;
        }
        let parts = self.parts.iter().zip(&self.selections);
        parts.map(|(part, selection)| self.create_one(ctx, part, selection, &account)).collect()
    }

    /// With the first job the names of all others are looked at, before anything is made.
    fn after(&self, part: &ExportPart) -> Vec<JobName> {
        match self.parts.split_first() {
            Some((first, others)) if first.job == part.job => {
                others.iter().map(|other| other.job.clone()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn create_one(
        &self,
        ctx: &Context<'_>,
        part: &ExportPart,
        selection: &Selection,
        account: &AccountName,
    ) -> Result<Job, Error> {
        let (state, vault) = (&self.state, &self.vault);
        let key = state.signing_key()?;
        let first = part.together.first().map_or(&part.job, |first| &first.job);
        let folder = state.export_folder(first);
        store::durable::create_folder(&folder, 0o700).map_err(Error::io("creating", &folder))?;
        let _alone = state.lock_export(first)?;
        let what = (selection, part.together.as_slice());
        let (bytes, list) = listed(ctx, &self.repository, what, (&folder, &key), first)?;
        self.lock.check()?;
        ctx.check_stop()?;
        ctx.tell(crate::Event::Phase(Phase::ImportJob));
        let request = ExportJobRequest {
            vault: vault.vault.clone(),
            server: vault.server.clone(),
            id: list.seed,
            signer: key.public(),
            root: seed::root(&list.objects),
            set: part.part.map_or(0, |part| part.set),
            sets: part.part.map_or(1, |part| part.sets),
            again: false,
            parity: part.parity,
            storage_account: account.clone(),
            return_address: None,
            delivery_package: None,
            others: self.after(part),
        };
        let job = vault.client.create_export(&part.job, &request)?;
        if job.state == JobState::Creating {
            bring(ctx, vault, &part.job, &folder.join(INDEX))?;
            let length = bytes.len() as u64;
            vault.client.put_inventory(&part.job, length, &mut bytes.as_slice())?;
        }
        Ok(vault.client.job(&part.job)?)
    }
}

/// The first job has the name that was given.
fn numbered(name: &JobName, number: usize) -> Result<JobName, Error> {
    if number == 1 {
        return Ok(name.clone());
    }
    let text = format!("{name}-{number}");
    text.parse().map_err(|_| Error::JobName { name: text })
}

/// Of each share, the jobs that bring the same recovery point together with it.
fn together(name: &JobName, shares: &[KeptPart]) -> Result<Vec<Vec<wire::ExportPart>>, Error> {
    let mut all = Vec::with_capacity(shares.len());
    for (share, at) in shares.iter().zip(0_usize..) {
        let Some(part) = share.part else {
            all.push(Vec::new());
            continue;
        };
        let first = at.saturating_sub(part.set as usize);
        let own = shares.iter().zip(1..).skip(first).take(part.sets as usize);
        let each = |(share, number): (&KeptPart, usize)| {
            let from = share.part.and_then(|part| part.from);
            Ok(wire::ExportPart { job: numbered(name, number)?, from })
        };
        all.push(own.map(each).collect::<Result<_, Error>>()?);
    }
    Ok(all)
}

/// How many packs a part has, and their bytes.
fn brought(
    repository: &Repository,
    selection: &Selection,
    part: Option<PartOf>,
    together: &[wire::ExportPart],
) -> Result<(usize, u64), Error> {
    let Some(part) = part else { return Ok((selection.packs.len(), selection.bytes)) };
    let end = together.get(part.set as usize + 1).and_then(|next| next.from);
    let is_own = |pack: &Digest| {
        part.from.is_none_or(|from| from <= *pack) && end.is_none_or(|end| *pack < end)
    };
    let own: BTreeSet<&Digest> = selection.packs.iter().filter(|pack| is_own(pack)).collect();
    let listed = repository.store().list(ObjectKind::Pack)?;
    let bytes = listed.iter().filter(|it| it.key.id().is_some_and(|id| own.contains(&id)));
    Ok((own.len(), bytes.fold(0, |sum, it| sum.saturating_add(it.length))))
}

fn needs(
    ctx: &Context<'_>,
    repository: &Repository,
    index: &Index,
    snapshots: &[Digest],
) -> Result<Vec<Need>, Error> {
    let need = |snapshot: &Digest| {
        ctx.check_stop()?;
        let packs = repository.select(index, std::slice::from_ref(snapshot))?.packs;
        Ok(Need { snapshot: *snapshot, packs })
    };
    snapshots.iter().map(need).collect()
}

/// By what lies in the vault now.
fn dealt(
    repository: &Repository,
    needs: Vec<Need>,
    (capacity, data): (u64, usize),
) -> Result<Vec<KeptPart>, Error> {
    let store = repository.store();
    let listed = |kind| store.list(kind);
    let sum = |listed: &[store::Listed]| {
        listed.iter().fold(0_u64, |sum, listed| sum.saturating_add(listed.length))
    };
    let packs = listed(ObjectKind::Pack)?;
    let indexes = listed(ObjectKind::Index)?;
    let snapshots = listed(ObjectKind::Snapshot)?;
    let mut common: Vec<Object> = Vec::new();
    let key = |it: store::Listed| {
        let (kind, name) = (ObjectKind::Key, it.key.id()?);
        Some(Object { repository: 0, kind, name, length: it.length })
    };
    common.extend(listed(ObjectKind::Key)?.into_iter().filter_map(key));
    let length = store.length(&ObjectKey::Config)?;
    let name = repository.identity();
    common.push(Object { repository: 0, kind: ObjectKind::Config, name, length });
    let count = (packs.len() as u64).max(1);
    let drives = Drives {
        capacity,
        data,
        lengths: &packs.iter().filter_map(|it| Some((it.key.id()?, it.length))).collect(),
        common: &common,
        snapshot: snapshots.iter().map(|it| it.length).max().unwrap_or(0),
        index: sum(&indexes) / count + 1024,
    };
    let too_large = |large: deal::TooLarge| ExportError::TooLarge { snapshot: large.snapshot };
    let shares = deal::deal(needs, &drives).map_err(too_large)?;
    let kept = |share: deal::Share| KeptPart {
        snapshots: share.snapshots,
        drives: share.drives,
        part: share.part,
    };
    Ok(shares.into_iter().map(kept).collect())
}

/// What each of several jobs brings, as it was decided.
#[derive(Serialize, Deserialize)]
struct KeptPart {
    snapshots: BTreeSet<Digest>,
    drives: Vec<Load>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<PartOf>,
}

/// What was decided under that name; none where nothing was, or there was one job.
fn kept_parts(
    state: &State,
    job: &JobName,
    snapshots: &BTreeSet<Digest>,
) -> Result<Option<Vec<KeptPart>>, Error> {
    let path = state.export_folder(job).join(PARTS);
    let bytes = match fs::read(&path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::io("reading", &path))?,
    };
    let damaged = |what: serde_json::Error| Error::Damaged { path, what: what.to_string() };
    let kept: Vec<KeptPart> = serde_json::from_slice(&bytes).map_err(damaged)?;
    let all: BTreeSet<Digest> = kept.iter().flat_map(|part| part.snapshots.clone()).collect();
    if all != *snapshots {
        return Err(Error::ExportExists(job.clone()));
    }
    Ok(Some(kept))
}

/// Before the first of the jobs: a call after a death makes the others as they were decided on.
fn keep_parts(state: &State, job: &JobName, parts: &[ExportPart]) -> Result<(), Error> {
    let folder = state.export_folder(job);
    // What was asked for under that name as one job stays one: it would never be gone on with.
    if folder.join(INVENTORY).exists() && !folder.join(PARTS).exists() {
        return Err(Error::ExportExists(job.clone()));
    }
    store::durable::create_folder(&folder, 0o700).map_err(Error::io("creating", &folder))?;
    let path = folder.join(PARTS);
    let kept = |part: &ExportPart| KeptPart {
        snapshots: part.snapshots.clone(),
        drives: part.drives.clone(),
        part: part.part,
    };
    let kept: Vec<KeptPart> = parts.iter().map(kept).collect();
    let what =
        |why: serde_json::Error| Error::Damaged { path: path.clone(), what: why.to_string() };
    let text = serde_json::to_vec_pretty(&kept).map_err(what)?;
    store::durable::replace(&path, &text, 0o600).map_err(Error::io("writing", &path))
}

/// In the folder of the first of several.
const PARTS: &str = "parts";
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
    (selection, parts): (&Selection, &[wire::ExportPart]),
    (folder, key): (&Path, &SigningKey),
    job: &JobName,
) -> Result<(Vec<u8>, Inventory), Error> {
    let path = folder.join(INVENTORY);
    match fs::read(&path) {
        Ok(bytes) => {
            let damaged =
                |what: seed::Refused| Error::Damaged { path: path.clone(), what: what.to_string() };
            let kept = Inventory::decode(&bytes, &Trust::Key(key.public())).map_err(damaged)?.body;
            let same =
                chosen(&kept.objects) == (selection.snapshots.clone(), selection.packs.clone());
            if !same || kept.parts != parts {
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
    let (seed, created, parts) = (SeedId(id), ctx.now(), parts.to_vec());
    let list = Inventory { seed, created, repositories, objects, parts };
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
