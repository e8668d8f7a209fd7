//! What a customer does to an import job: create, read, change. Handles no drive.

use super::record::{DriveRow, Record, lost};
use super::{change, events, keys, refused, view, visible};
use crate::app::App;
use crate::auth::Principal;
use crate::groups::Group;
use crate::http::{self, Segments};
use crate::{Error, accounts, db, place, publication, seeds};
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use flow::{Effect, ImportJob, JobEvent, JobType};
use jiff::Timestamp;
use model::{Address, ContainerName, DriveSerial, JobName, Package};
use sqlx::SqliteConnection;
use std::sync::Arc;
use wire::{Code, Job, JobPatch, JobRequest, JobState, List, Role, SeedAnnouncement};

/// The container of copy logs where a job names none; the import service's own default.
pub(super) const DIAGNOSTICS: &str = "waimportexport";

/// The job as its owner or an administrator sees it; a dock is not told who has asked for keys.
pub(super) fn shown(app: &App, caller: &Principal, record: &Record) -> Result<Json<Job>, Error> {
    let mut job = view::job(record, &app.config, diagnostics(record)?);
    if caller.role == Some(Role::Dock) {
        job.key_releases.clear();
    }
    Ok(Json(job))
}

pub(crate) fn diagnostics(record: &Record) -> Result<ContainerName, Error> {
    match record.request.as_ref().and_then(|request| request.diagnostics.as_ref()) {
        Some(name) => Ok(name.clone()),
        None => db::parsed("diagnosticsPath", DIAGNOSTICS),
    }
}

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments(name): Segments<JobName>,
    body: Body,
) -> Result<(StatusCode, Json<Job>), Error> {
    let mut request: JobRequest = http::json(body).await?;
    let given = keys::take(&mut request)?;
    check(&app, &caller, &request).await?;
    let now = app.now();
    let mut transaction = app.db.write().await?;
    accounts::must_be_readable(&mut transaction, &request.storage_account, &request.vault).await?;
    let owner = (request.vault.clone(), request.server.clone());
    publication::refuse_abandoned(&mut transaction, &owner, request.seed.id).await?;
    let there = Record::load(&mut transaction, &name).await?;
    let kept = keys::keep(&mut transaction, &app, &request, &given).await?;
    let status = if there.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let record = match there {
        None => {
            of_a_known_set(&mut transaction, &request).await?;
            let group = seeds::group(&mut transaction, &request.storage_account).await?;
            let mut record = first(&mut transaction, name, group, request, now).await?;
            record.link_keys(&kept);
            record.save(&mut transaction).await?;
            record
        }
        Some(record)
            if record.request.is_none()
                || record.export.is_some()
                || !record.may_be_seen_by(&caller) =>
        {
            let message = format!("the name {name} is taken; choose another");
            return Err(Error::refused(Code::AlreadyExists, message));
        }
        Some(record) if record.request.as_ref() == Some(&request) && record.keys() == kept => {
            record
        }
        Some(record) => {
            not_of_another_computer(&caller, &record, &request)?;
            let mut record = again(&mut transaction, record, request, now).await?;
            record.link_keys(&kept);
            record.changed = now.max(record.changed);
            record.save(&mut transaction).await?;
            record
        }
    };
    events::commit(&app, transaction, &record.name).await?;
    Ok((status, shown(&app, &caller, &record)?))
}

/// The rules that need neither the state machine nor other jobs.
async fn check(app: &App, caller: &Principal, request: &JobRequest) -> Result<(), Error> {
    if !caller.may_see_seed(&request.vault, &request.server, request.seed.id) {
        let message = "import jobs are created for one's own vault, source server and seed only";
        return Err(Error::refused(Code::AuthorizationFailed, message));
    }
    as_announced(app, caller, request).await?;
    accounts::must_exist(app, &request.storage_account).await?;
    if let Some(diagnostics) = &request.diagnostics {
        place::check_diagnostics(&request.container, diagnostics)?;
    } else if request.container.as_str() == DIAGNOSTICS {
        place::check_diagnostics(&request.container, &request.container)?;
    }
    if request.drive_list.is_empty() {
        return Err(Error::invalid("an import job lists at least one drive in driveList"));
    }
    if request.seed.sets.is_some_and(|sets| request.seed.set >= sets) {
        return Err(Error::invalid("seed.set counts from 0 and must be below seed.sets"));
    }
    Ok(())
}

/// Parity drives that travel alone are of a set whose data drives have a job: without these nobody knows what they
/// are parity of.
async fn of_a_known_set(on: &mut SqliteConnection, request: &JobRequest) -> Result<(), Error> {
    if request.drive_list.iter().any(|drive| drive.role.is_data()) {
        return Ok(());
    }
    let row: Option<(i64,)> = sqlx::query_as(
        "SELECT 1 FROM import_job JOIN drive ON drive.job = import_job.name
         WHERE vault = ? AND server = ? AND seed = ? AND seed_set = ? AND parity = 0
           AND repository IS NOT NULL LIMIT 1",
    )
    .bind(request.vault.as_str())
    .bind(request.server.as_str())
    .bind(request.seed.id.to_string())
    .bind(request.seed.set)
    .fetch_optional(on)
    .await?;
    if row.is_some() {
        return Ok(());
    }
    let message = format!(
        "parity drives alone are of a set whose data drives have an import job, and set {} of seed {} has none with manifests",
        request.seed.set, request.seed.id
    );
    Err(Error::invalid(message))
}

/// A copy computer sends drives where the source server has said that they go.
async fn as_announced(app: &App, caller: &Principal, request: &JobRequest) -> Result<(), Error> {
    let Some(id) = caller.seed else { return Ok(()) };
    let mut connection = app.db.pool().acquire().await?;
    let seed = seeds::load(&mut connection, id).await?.map(|seed| seed.announcement);
    let is_there = |said: SeedAnnouncement| {
        (said.storage_account, said.container)
            == (request.storage_account.clone(), request.container.clone())
    };
    if seed.is_some_and(is_there) {
        return Ok(());
    }
    let message = "the source server has announced another storage account or container for this seed; run the same command again, which asks for what is announced now";
    Err(Error::refused(Code::AuthorizationFailed, message))
}

fn serials(request: &JobRequest) -> Vec<DriveSerial> {
    request.drive_list.iter().map(|drive| drive.drive_id.clone()).collect()
}

fn parity(request: &JobRequest) -> Vec<DriveSerial> {
    let parity = request.drive_list.iter().filter(|drive| !drive.role.is_data());
    parity.map(|drive| drive.drive_id.clone()).collect()
}

async fn first(
    on: &mut SqliteConnection,
    name: JobName,
    group: Group,
    request: JobRequest,
    now: Timestamp,
) -> Result<Record, Error> {
    let flow = ImportJob::new(JobType::Import, serials(&request), now).map_err(refused)?;
    let flow = flow.with_parity(&parity(&request));
    let (address, package) = (request.return_address.clone(), request.delivery_package.clone());
    let mut record = Record::new(name, group, request, flow, now);
    give_shipping(on, &mut record, address, package, now).await?;
    Ok(record)
}

/// Two copy computers with one seed do not undo each other's work.
fn not_of_another_computer(
    caller: &Principal,
    record: &Record,
    request: &JobRequest,
) -> Result<(), Error> {
    if caller.seed.is_none() || record.seed()?.seed.signer == request.seed.signer {
        return Ok(());
    }
    let message = format!(
        "the drives of import job {} were written by another computer; go on there",
        record.name
    );
    Err(Error::refused(Code::AlreadyExists, message))
}

/// A job that is still in Creating becomes what the new request says. What is known of a drive
/// stays with it as long as its manifest is the same.
async fn again(
    on: &mut SqliteConnection,
    mut record: Record,
    request: JobRequest,
    now: Timestamp,
) -> Result<Record, Error> {
    let before = record.seed()?;
    if (&before.vault, &before.server) != (&request.vault, &request.server) {
        return Err(Error::invalid("an import job stays with its vault and source server"));
    }
    let same_seed = before.seed == request.seed;
    let event = JobEvent::DrivesReplaced { serials: serials(&request) };
    step(&mut record, &event, now)?;
    record.flow = record.flow.with_parity(&parity(&request));
    let known = std::mem::take(&mut record.drives);
    record.drives = request.drive_list.iter().map(DriveRow::new).collect();
    for drive in &mut record.drives {
        let before = known.iter().find(|known| known.serial == drive.serial);
        if let Some(before) = before.filter(|known| same_seed && known.manifest == drive.manifest) {
            *drive = DriveRow { header: drive.header, ..before.clone() };
        }
    }
    record.inventory &= same_seed;
    record.account = request.storage_account.clone();
    let (address, package) = (request.return_address.clone(), request.delivery_package.clone());
    record.request = Some(request);
    give_shipping(on, &mut record, address, package, now).await?;
    Ok(record)
}

pub(super) fn step(
    record: &mut Record,
    event: &JobEvent,
    now: Timestamp,
) -> Result<Vec<Effect>, Error> {
    let (flow, effects) = record.flow.transition(event, now).map_err(refused)?;
    record.flow = flow;
    Ok(effects)
}

pub(super) async fn give_shipping(
    on: &mut SqliteConnection,
    record: &mut Record,
    return_address: Option<Address>,
    package: Option<Package>,
    now: Timestamp,
) -> Result<(), Error> {
    if return_address.is_none() && package.is_none() {
        return Ok(());
    }
    let number_taken = number_taken(on, &record.name, package.as_ref()).await?;
    let return_address = return_address.map(Box::new);
    let event = JobEvent::ShippingGiven { return_address, package, number_taken };
    step(record, &event, now).map(|_| ())
}

async fn number_taken(
    on: &mut SqliteConnection,
    job: &JobName,
    package: Option<&Package>,
) -> Result<bool, Error> {
    let Some(package) = package else { return Ok(false) };
    let row: Option<(i64,)> =
        sqlx::query_as("SELECT 1 FROM import_job WHERE tracking_number = ? AND name <> ?")
            .bind(package.tracking_number.as_str())
            .bind(job.as_str())
            .fetch_optional(on)
            .await?;
    Ok(row.is_some())
}

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments(name): Segments<JobName>,
) -> Result<Json<Job>, Error> {
    let record = visible(&app, &caller, &name).await?;
    shown(&app, &caller, &record)
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
) -> Result<Json<List<Job>>, Error> {
    let names: Vec<(String,)> = sqlx::query_as("SELECT name FROM import_job ORDER BY name")
        .fetch_all(app.db.pool())
        .await?;
    let mut value = Vec::new();
    let mut connection = app.db.pool().acquire().await?;
    for (name,) in names {
        let name = db::parsed("import_job.name", &name)?;
        let record = Record::load(&mut connection, &name).await?;
        if let Some(record) = record.filter(|job| job.may_be_seen_by(&caller)) {
            value.push(shown(&app, &caller, &record)?.0);
        }
    }
    Ok(Json(List { value }))
}

pub(crate) async fn patch(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments(name): Segments<JobName>,
    body: Body,
) -> Result<Json<Job>, Error> {
    let patch: JobPatch = http::json(body).await?;
    if !matches!(patch.state, None | Some(JobState::Shipping)) {
        return Err(Error::invalid("the only state a customer can ask for is Shipping"));
    }
    if patch.cancel_requested == Some(false) {
        return Err(Error::invalid("a cancellation cannot be taken back"));
    }
    let now = app.now();
    let mut connection = app.db.pool().acquire().await?;
    let taken = number_taken(&mut connection, &name, patch.delivery_package.as_ref()).await?;
    drop(connection);
    let decide = |record: &mut Record| decide(record, patch, taken, now);
    let record = change(&app, &caller, &name, decide).await?;
    shown(&app, &caller, &record)
}

/// In the order in which a customer would do it: details, shipping, cancelling.
fn decide(
    record: &mut Record,
    patch: JobPatch,
    number_taken: bool,
    now: Timestamp,
) -> Result<Vec<Effect>, Error> {
    if patch.version.is_some_and(|version| version != record.version) {
        return Err(lost());
    }
    let mut effects = Vec::new();
    if patch.return_address.is_some() || patch.delivery_package.is_some() {
        let event = JobEvent::ShippingGiven {
            return_address: patch.return_address.map(Box::new),
            package: patch.delivery_package,
            number_taken,
        };
        effects.extend(step(record, &event, now)?);
    }
    if patch.state.is_some() {
        manifests_are_here(record)?;
        effects.extend(step(record, &JobEvent::ShippingRequested, now)?);
    }
    if patch.cancel_requested.is_some() {
        effects.extend(step(record, &JobEvent::CancelRequested, now)?);
    }
    Ok(effects)
}

/// A drive whose manifest the server does not have could not be taken in.
pub(super) fn manifests_are_here(record: &Record) -> Result<(), Error> {
    super::export::is_ready(record)?;
    if record.request.is_none() || record.export.is_some() {
        return Ok(());
    }
    let without = record.drives.iter().filter(|drive| drive.repository.is_none());
    let names: Vec<String> = without.map(|drive| drive.serial.to_string()).collect();
    if names.is_empty() || !record.is_creating() {
        return Ok(());
    }
    Err(Error::Refused {
        code: Code::JobState,
        message: format!(
            "hand over the manifests of these drives before shipping: {}",
            names.join(", ")
        ),
        details: names,
    })
}
