//! Export jobs: created, held against the vault, told of drives that a dock has written, and complete when
//! these have everything. Reads and writes no drive, and has no key to what it lists.
//!
//! ```text
//!  key holder ─ job ─ index files ─ signed list ─▶ all of it in this vault's repository, or come with it?
//!  dock ─ drive: manifest's hash, signer, password ─ manifest ─ finished ─▶ do the manifests have it all?
//! ```
//!
//! Invariant: the list of an export never changes once the job is shipped, and its drives have one signer.

mod again;
mod handed;

pub(crate) use handed::drive;

use super::customer::{give_shipping, shown};
use super::record::Record;
use super::{documents, events, refused, visible};
use crate::app::App;
use crate::auth::Principal;
use crate::deletions::Held;
use crate::http::{self, Segments};
use crate::place::Place;
use crate::{Error, accounts, db, seeds};
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use flow::{DriveState, ImportJob, JobState, JobType};
use futures::TryStreamExt as _;
use model::{Digest, DriveSerial, JobName, ObjectKind};
use seed::{Inventory, Manifest, Object};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use wire::{
    Code, ExportJobRequest, ExportStatus, Failure, Job, JobRequest, MAX_DRIVES, MAX_NAMES,
    PublicKey, Role, SeedRef, WholeExport,
};

/// Export jobs of one source server that are not over. Each keeps an inventory and index files.
const MAX_OPEN: i64 = 16;
/// Drive sets of one export, those that bring something once more among them.
const MAX_SETS: u32 = 256;
/// Index files of one export. Ours have some ten thousand blobs each.
const MAX_INDEXES: usize = 4096;

/// What is kept of an export beside the job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Export {
    /// The root over the objects.
    pub(crate) root: Digest,
    pub(crate) parity: u32,
    /// Known once the list is here.
    #[serde(default)]
    objects: u64,
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    snapshots: Vec<Digest>,
    /// Who signs the drives; one of all jobs that bring a list together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) writer: Option<PublicKey>,
    /// Whether it brings once more what did not arrive by others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    again: bool,
    /// Of one of several jobs that bring a list together, once the list is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    whole: Option<WholeExport>,
}

impl Export {
    pub(crate) fn status(&self, complete: bool) -> ExportStatus {
        ExportStatus {
            root: self.root,
            parity: self.parity,
            objects: self.objects,
            bytes: self.bytes,
            snapshots: self.snapshots.clone(),
            writer: self.writer,
            complete,
            again: self.again,
            whole: self.whole.clone(),
        }
    }

    /// The recovery points, by their snapshots.
    pub(crate) fn snapshots(&self) -> &[Digest] {
        &self.snapshots
    }
}

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments(name): Segments<JobName>,
    body: Body,
) -> Result<(StatusCode, Json<Job>), Error> {
    let request: ExportJobRequest = http::json(body).await?;
    if !caller.may_see_seed(&request.vault, &request.server, request.id) {
        let message = "export jobs are created for one's own vault and source server only";
        return Err(Error::refused(Code::AuthorizationFailed, message));
    }
    if request.parity as usize >= MAX_DRIVES {
        return Err(Error::invalid(format!("parity is below {MAX_DRIVES}")));
    }
    let is_further = request.set >= request.sets && request.set < MAX_SETS;
    if request.again != is_further || request.sets == 0 || i64::from(request.sets) > MAX_OPEN {
        let message = format!(
            "a list is brought by 1 to {MAX_OPEN} jobs, and set is below sets; of one that brings something again it is not, and below {MAX_SETS}"
        );
        return Err(Error::invalid(message));
    }
    let others = request.others.clone();
    accounts::must_exist(&app, &request.storage_account).await?;
    let export = Export {
        root: request.root,
        parity: request.parity,
        objects: 0,
        bytes: 0,
        snapshots: Vec::new(),
        writer: None,
        again: request.again,
        whole: None,
    };
    let (address, package) = (request.return_address.clone(), request.delivery_package.clone());
    let own = as_job(request)?;
    let now = app.now();
    let mut transaction = app.db.write().await?;
    accounts::must_be_readable(&mut transaction, &own.storage_account, &own.vault).await?;
    let (status, mut record) = match Record::load(&mut transaction, &name).await? {
        None => {
            refuse_many(&mut transaction, &own, db::number(others.len() as u64)).await?;
            // All of them can be made, or none is.
            for other in &others {
                if Record::load(&mut transaction, other).await?.is_some() {
                    return Err(taken(other));
                }
            }
            let writer = match export.again {
                true => Some(again::writer(&mut transaction, &own).await?),
                false => is_new_id(&mut transaction, &own, &export).await?,
            };
            let group = seeds::group(&mut transaction, &own.storage_account).await?;
            let flow = ImportJob::new(JobType::Export, Vec::new(), now).map_err(refused)?;
            let mut record = Record::new(name, group, own, flow, now);
            record.export = Some(Export { writer, ..export });
            (StatusCode::CREATED, record)
        }
        Some(record) if is_same(&record, &caller, &own, &export) => (StatusCode::OK, record),
        Some(_) => return Err(taken(&name)),
    };
    let before = record.clone();
    give_shipping(&mut transaction, &mut record, address, package, now).await?;
    if record != before || record.version == 0 {
        record.changed = now.max(record.changed);
        record.save(&mut transaction).await?;
    }
    events::commit(&app, transaction, &record.name).await?;
    Ok((status, shown(&app, &caller, &record)?))
}

/// The job in the form in which all jobs of a seed are kept: to whoever writes drives, an export is one.
fn as_job(request: ExportJobRequest) -> Result<JobRequest, Error> {
    let ExportJobRequest { id, set, sets, signer, .. } = request;
    Ok(JobRequest {
        vault: request.vault,
        server: request.server,
        seed: SeedRef { id, set, sets: Some(sets), signer },
        storage_account: request.storage_account,
        container: db::parsed("diagnosticsPath", super::customer::DIAGNOSTICS)?,
        diagnostics: None,
        return_address: None,
        delivery_package: None,
        drive_list: Vec::new(),
    })
}

fn is_same(record: &Record, caller: &Principal, own: &JobRequest, asked: &Export) -> bool {
    let terms = |export: &Export| (export.root, export.parity, export.again);
    let same = |export: &Export| terms(export) == terms(asked);
    record.may_be_seen_by(caller)
        && record.request.as_ref() == Some(own)
        && record.export.as_ref().is_some_and(same)
}

fn taken(name: &JobName) -> Error {
    let message = format!(
        "the name {name} is taken, or its export is of something else; choose another name"
    );
    Error::refused(Code::AlreadyExists, message)
}

/// With so many beside it that are made next.
async fn refuse_many(
    on: &mut SqliteConnection,
    own: &JobRequest,
    beside: i64,
) -> Result<(), Error> {
    let (open,): (i64,) = sqlx::query_as(
        "SELECT COUNT(*) FROM import_job WHERE vault = ? AND server = ? AND export IS NOT NULL
         AND state NOT IN ('Completed', 'Closed', 'Canceled')",
    )
    .bind(own.vault.as_str())
    .bind(own.server.as_str())
    .fetch_one(on)
    .await?;
    if open.saturating_add(beside) < MAX_OPEN {
        return Ok(());
    }
    let message = format!(
        "{open} export jobs of {} are not over, and {MAX_OPEN} may be; wait for one of them, or cancel it",
        own.server
    );
    Err(Error::refused(Code::JobState, message))
}

/// An export has an id that no seed and no other export has: their drives and custody logs are told apart by it. Jobs that bring one list
/// together have the same; who signs the drives of one of them is answered, where that is known.
async fn is_new_id(
    on: &mut SqliteConnection,
    own: &JobRequest,
    export: &Export,
) -> Result<Option<PublicKey>, Error> {
    let id = own.seed.id.to_string();
    let others = others(on, own).await?;
    let together = |other: &Record| {
        if other.export.as_ref().is_some_and(|other| other.again) {
            return true;
        }
        let same = |request: &JobRequest| {
            (&request.vault, &request.server, request.seed.signer, request.seed.sets)
                == (&own.vault, &own.server, own.seed.signer, own.seed.sets)
        };
        other.request.as_ref().is_some_and(same)
            && other.export.as_ref().is_some_and(|other| other.root == export.root)
    };
    if !others.is_empty() && own.seed.sets > Some(1) && others.iter().all(together) {
        return Ok(others.iter().find_map(|other| other.export.as_ref()?.writer));
    }
    let taken: Option<(i64,)> = sqlx::query_as(
        "SELECT 1 FROM import_job WHERE seed = ? UNION SELECT 1 FROM seed WHERE id = ?
         UNION SELECT 1 FROM receipt WHERE seed = ? LIMIT 1",
    )
    .bind(&id)
    .bind(&id)
    .bind(&id)
    .fetch_optional(on)
    .await?;
    match taken {
        None => Ok(None),
        Some(_) => {
            let message = format!("the id {id} is that of a seed or of another export; draw one");
            Err(Error::refused(Code::AlreadyExists, message))
        }
    }
}

/// Export jobs, and whatever else has the same id.
async fn others(on: &mut SqliteConnection, own: &JobRequest) -> Result<Vec<Record>, Error> {
    let names: Vec<(String,)> = sqlx::query_as("SELECT name FROM import_job WHERE seed = ?")
        .bind(own.seed.id.to_string())
        .fetch_all(&mut *on)
        .await?;
    let mut records = Vec::with_capacity(names.len());
    for (name,) in names {
        let name: JobName = db::parsed("import_job.name", &name)?;
        records.extend(Record::load(&mut *on, &name).await?);
    }
    Ok(records)
}

/// Refuses a list of which anything is not in the vault's repository of that source server, or came with the job.
/// Memory: the list once more.
pub(super) async fn check(app: &App, record: &Record, list: &Inventory) -> Result<(), Error> {
    let Some(export) = &record.export else { return Ok(()) };
    if !record.is_creating() {
        let message = format!("what import job {} exports is fixed: it was shipped", record.name);
        return Err(Error::refused(Code::JobState, message));
    }
    if seed::root(&list.objects) != export.root {
        return Err(unfit("it is not what the export job names"));
    }
    check_parts(record, list)?;
    let of = |kind| list.objects.iter().filter(move |object| object.kind == kind);
    let again = export.again;
    for (kind, what) in [
        (ObjectKind::Key, "key file"),
        (ObjectKind::Index, "index"),
        (ObjectKind::Snapshot, "snapshot"),
    ] {
        if !again && of(kind).next().is_none() {
            return Err(unfit(&format!("it has no {what}")));
        }
    }
    if of(ObjectKind::Lock).next().is_some() {
        return Err(unfit("locks do not travel"));
    }
    let own = record.seed()?;
    let published = Place::published(&own.vault, &own.server);
    check_config(app, &published, list).await?;
    let owner = (own.vault.clone(), own.server.clone());
    for kind in [ObjectKind::Key, ObjectKind::Snapshot, ObjectKind::Pack] {
        let held = Held::of(app, &owner, kind).await?;
        let not = "is not in the vault's repository";
        is_there(app, (&published, &held), kind, of(kind), not).await?;
    }
    let with_job = (&Place::exported(&record.name), &Held::default());
    is_there(app, with_job, ObjectKind::Index, of(ObjectKind::Index), "did not come with it").await
}

/// One of several jobs is where the list says, and there are as many.
fn check_parts(record: &Record, list: &Inventory) -> Result<(), Error> {
    let own = record.seed()?.seed.clone();
    let sets = own.sets.unwrap_or(1) as usize;
    let named = list.parts.get(own.set as usize).map(|part| &part.job);
    let again = record.export.as_ref().is_some_and(|export| export.again);
    let fits = match sets {
        _ if again => list.parts.is_empty(),
        1 => list.parts.is_empty(),
        _ => list.parts.len() == sets && named == Some(&record.name),
    };
    match fits {
        true => Ok(()),
        false => Err(unfit("its parts are not the jobs that bring it together")),
    }
}

async fn check_config(app: &App, published: &Place, list: &Inventory) -> Result<(), Error> {
    let mut configs = list.objects.iter().filter(|object| object.kind == ObjectKind::Config);
    let (Some(config), None, [repository]) =
        (configs.next(), configs.next(), list.repositories.as_slice())
    else {
        return Err(unfit("it has another number of configs than one"));
    };
    let there = app.objects.hash(&published.object(&config.key())).await?;
    if config.name != *repository || there != Some((config.name, config.length)) {
        return Err(unfit("its config is not that of the vault's repository"));
    }
    Ok(())
}

/// Looks for objects of one kind in a place, by one look at what is there.
async fn is_there(
    app: &App,
    (place, held): (&Place, &Held),
    kind: ObjectKind,
    wanted: impl Iterator<Item = &Object>,
    not: &str,
) -> Result<(), Error> {
    let mut wanted: HashMap<Digest, u64> =
        wanted.map(|object| (object.name, object.length)).collect();
    let mut listed = app.objects.list(&place.below(kind.folder()));
    while let Some(meta) = listed.try_next().await? {
        let key = place.key_of(&meta.location).filter(|key| key.kind() == kind);
        let Some(name) = key.and_then(|key| key.id()).filter(|name| !held.has(name)) else {
            continue;
        };
        if wanted.get(&name) == Some(&meta.size) {
            wanted.remove(&name);
        }
    }
    let Some(first) = wanted.keys().min() else { return Ok(()) };
    let key = model::ObjectKey::new(kind, *first);
    let more = match wanted.len() {
        1 => String::new(),
        count => format!(", nor are {} others", count.saturating_sub(1)),
    };
    Err(unfit(&format!("{key} {not} with that length{more}")))
}

fn unfit(what: &str) -> Error {
    Error::refused(Code::ManifestRefused, format!("this cannot be exported: {what}"))
}

/// Which part of its list a job brings.
fn part_of(record: &Record) -> usize {
    let whole = record.export.as_ref().is_some_and(|export| export.again);
    let set = record.request.as_ref().map(|request| request.seed.set as usize);
    set.filter(|_| !whole).unwrap_or(0)
}

/// Notes what a list that was taken has.
pub(super) fn take(record: &mut Record, list: &Inventory) {
    let set = part_of(record);
    if let Some(export) = &mut record.export {
        export.objects = list.part(set).count() as u64;
        export.bytes = list.part(set).fold(0, |sum, it| sum.saturating_add(it.length));
        export.whole = (!list.parts.is_empty()).then(|| WholeExport {
            set: u32::try_from(set).unwrap_or(u32::MAX),
            parts: list.parts.clone(),
            listed_at: list.created,
        });
        let snapshots = list.objects.iter().filter(|it| it.kind == ObjectKind::Snapshot);
        export.snapshots = snapshots.map(|it| it.name).take(MAX_NAMES).collect();
    }
}

/// Whether one more index file may come with the job.
pub(crate) async fn may_bring(app: &App, record: &Record) -> Result<(), Error> {
    if record.export.is_none() || !record.is_creating() {
        let message = format!("{} is no export job that is being created", record.name);
        return Err(Error::refused(Code::JobState, message));
    }
    let folder = Place::exported(&record.name).below(ObjectKind::Index.folder());
    let there: Vec<_> = app.objects.list(&folder).try_collect().await?;
    if there.len() < MAX_INDEXES {
        return Ok(());
    }
    let message =
        format!("more than {MAX_INDEXES} index files came with {}; export less", record.name);
    Err(Error::refused(Code::BodyTooLarge, message))
}

/// Every object of an export's manifest is asked for.
pub(super) async fn check_manifest(
    app: &App,
    record: &Record,
    manifest: &Manifest,
) -> Result<(), Error> {
    let list = documents::read_inventory(app, record).await?;
    let set = part_of(record);
    let asked: BTreeSet<&Object> = list.part(set).collect();
    let is_asked_for = |object: &Object| asked.contains(object);
    match manifest.objects.iter().find(|object| !is_asked_for(object)) {
        None => Ok(()),
        Some(object) => {
            let message = format!("the manifest lists {}, which nobody asked for", object.key());
            Err(Error::refused(Code::ManifestRefused, message))
        }
    }
}

/// A drive of an export as its dock reports it finished.
pub(super) struct Written {
    pub(super) bytes: u64,
    pub(super) failures: Vec<Failure>,
    /// Drives that have everything, once all of them are finished without problems.
    covering: Option<Vec<DriveSerial>>,
}

/// Looks at what the drives of an export have, of which that one is finished now.
pub(super) async fn written(
    app: &App,
    record: &Record,
    serial: &DriveSerial,
    reported: Vec<Failure>,
) -> Result<Written, Error> {
    if !reported.is_empty() {
        return Ok(Written { bytes: 0, failures: reported, covering: None });
    }
    let own = documents::read_manifest(app, record, serial).await?.body;
    let covering = covering(app, record, serial).await?;
    Ok(Written { bytes: own.bytes(), failures: Vec::new(), covering })
}

async fn covering(
    app: &App,
    record: &Record,
    serial: &DriveSerial,
) -> Result<Option<Vec<DriveSerial>>, Error> {
    let Some(export) = &record.export else { return Ok(None) };
    let (mut objects, mut parity, mut drives) = (BTreeSet::new(), 0, Vec::new());
    for row in record.drives.iter().filter(|row| row.repository.is_some()) {
        let drive = record.flow.drive(&row.serial);
        let is_bad =
            drive.is_none_or(|it| matches!(it.state, DriveState::CompletedMoreInfo { .. }));
        if is_bad && row.serial != *serial {
            continue;
        }
        let manifest = documents::read_manifest(app, record, &row.serial).await?.body;
        parity += u32::from(manifest.header.parity.is_some());
        objects.extend(manifest.objects.iter().map(Object::identity));
        drives.push(row.serial.clone());
    }
    let list = documents::read_inventory(app, record).await?;
    let set = part_of(record);
    let has_all = list.part(set).all(|object| objects.contains(&object.identity()));
    Ok((has_all && parity >= export.parity).then_some(drives))
}

impl Written {
    /// Whether everything asked for is on drives that were read back, as they are now.
    pub(super) fn is_all(&self, job: &ImportJob) -> bool {
        let is_clean = |serial: &DriveSerial| {
            let state = job.drive(serial).map(|drive| &drive.state);
            matches!(
                state,
                Some(
                    DriveState::Completed { .. }
                        | DriveState::ShippedBack { problems: Some(0), .. }
                )
            )
        };
        self.covering.as_ref().is_some_and(|drives| drives.iter().all(is_clean))
    }
}

/// An export job that the caller may see, with its list: a dock while the drives are there, its owner at any time.
pub(crate) async fn to_be_read(
    app: &App,
    caller: &Principal,
    name: &JobName,
) -> Result<Record, Error> {
    let record = visible(app, caller, name).await?;
    if caller.role == Some(Role::Agent) {
        return match record.export.is_some() && record.inventory {
            true => Ok(record),
            false => Err(Error::not_found(format_args!("list of an export job {name}"))),
        };
    }
    let is_here = matches!(
        record.flow.state,
        JobState::Received { .. } | JobState::Transferring { .. } | JobState::Packaging { .. }
    );
    if record.export.is_none() || !is_here || record.flow.cancel_requested {
        let message = format!("{name} is no export job whose drives are at the dock");
        return Err(Error::refused(Code::JobState, message));
    }
    Ok(record)
}

/// A job of that name that is being created by this caller.
pub(crate) async fn being_created(
    app: &App,
    caller: &Principal,
    name: &JobName,
) -> Result<Record, Error> {
    let record = visible(app, caller, name).await?;
    may_bring(app, &record).await?;
    Ok(record)
}

/// What is exported must be known before its empty drives leave.
pub(super) fn is_ready(record: &Record) -> Result<(), Error> {
    if record.export.is_none() || record.inventory {
        return Ok(());
    }
    let message = "hand over the list of what is exported before shipping: packmule export create";
    Err(Error::refused(Code::JobState, message))
}
