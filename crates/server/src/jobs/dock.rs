//! What a dock does to an import job: receive its package, report about its drives. When a drive is
//! reported finished, the server looks for itself what of it has landed.

use super::customer::{shown, step};
use super::{Record, change, documents, export, refused, view, visible};
use crate::app::App;
use crate::audit::Quiet;
use crate::auth::Principal;
use crate::http::{self, Segments};
use crate::objects::Objects;
use crate::place::Place;
use crate::{Error, accounts, db};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use flow::{JobEvent, JobType};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use model::{Digest, DriveSerial, JobName};
use seed::Manifest;
use std::collections::HashMap;
use std::sync::Arc;
use wire::{Code, DriveEvent, Failure, Job, MAX_NAMES, Rebuilt, ReceiveRequest};

/// Objects looked for at once.
const LOOKS: usize = 16;

pub(crate) async fn receive(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    body: Body,
) -> Result<Json<Job>, Error> {
    let request: ReceiveRequest = http::json(body).await?;
    let row: Option<(String,)> =
        sqlx::query_as("SELECT name FROM import_job WHERE tracking_number = ?")
            .bind(request.tracking_number.as_str())
            .fetch_optional(app.db.pool())
            .await?;
    let (name,) = row.ok_or_else(|| {
        let number = &request.tracking_number;
        Error::not_found(format_args!("import job with tracking number {number}"))
    })?;
    let name: JobName = db::parsed("import_job.name", &name)?;
    let now = app.now();
    let record = change(&app, &caller, &name, |record| {
        if record.flow.job_type == JobType::Export
            && record.drives.is_empty()
            && request.drives.is_none()
        {
            let message = "an export job lists no drives: name those that are in the package";
            return Err(Error::invalid(message));
        }
        let announced = || record.drives.iter().map(|drive| drive.serial.clone()).collect();
        let event = JobEvent::PackageArrived { serials: request.drives.unwrap_or_else(announced) };
        let (flow, effects) = record.flow.transition(&event, now).map_err(refused)?;
        record.flow = flow;
        record.list_found();
        Ok(effects)
    })
    .await?;
    shown(&app, &caller, &record)
}

pub(crate) async fn drive_event(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments((name, serial)): Segments<(JobName, DriveSerial)>,
    body: Body,
) -> Result<Response, Error> {
    let event: DriveEvent = http::json(body).await?;
    let is_progress = matches!(event, DriveEvent::Progress { .. });
    let mut landed = None;
    let serial_of = || serial.clone();
    let event = match event {
        DriveEvent::Came => JobEvent::DriveCame { serial: serial_of() },
        DriveEvent::NeverCame => JobEvent::DriveNeverCame { serial: serial_of() },
        DriveEvent::Started => JobEvent::DriveStarted { serial: serial_of() },
        DriveEvent::Progress { bytes, total } => {
            JobEvent::DriveProgressed { serial: serial_of(), bytes, total }
        }
        DriveEvent::Returned => JobEvent::DriveReturned { serial: serial_of() },
        DriveEvent::Finished { failures, rebuilt, .. } => {
            let found = look(&app, &caller, &name, &serial, (failures, rebuilt)).await?;
            let (bytes, problems) = (found.bytes, found.missing);
            landed = Some(found);
            JobEvent::DriveFinished { serial: serial_of(), bytes, problems }
        }
    };
    let now = app.now();
    let record = change(&app, &caller, &name, |record| {
        let (flow, mut effects) = record.flow.transition(&event, now).map_err(refused)?;
        record.flow = flow;
        record.list_found();
        if let Some(landed) = landed {
            let row = record.drive_mut(&serial)?;
            row.failure_count = landed.missing;
            row.failures = landed.failures;
            row.rebuilt = together(row.rebuilt.take(), landed.rebuilt);
            if landed.exported.is_some_and(|written| written.is_all(&record.flow)) {
                effects.extend(step(record, &JobEvent::Exported, now)?);
            }
        }
        Ok(effects)
    })
    .await?;
    let row = record.drive(&serial)?;
    let drive = record.flow.drive(&serial).ok_or_else(|| Error::not_found(&serial))?;
    let mut response = Json(view::drive_status(drive, row)).into_response();
    if is_progress {
        response.extensions_mut().insert(Quiet);
    }
    Ok(response)
}

/// What of a drive's manifest has landed.
struct Landed {
    bytes: u64,
    missing: u64,
    failures: Vec<Failure>,
    /// Of a parity drive.
    rebuilt: Option<Rebuilt>,
    /// Of a drive that was written.
    exported: Option<export::Written>,
}

/// A parity drive that is read again adds to what was rebuilt with it before.
fn together(before: Option<Rebuilt>, now: Option<Rebuilt>) -> Option<Rebuilt> {
    now.filter(|now| now.objects() > 0).or(before)
}

/// Looks for every object of the drive's manifest in the storage account, or, of a parity drive, of the
/// manifests of all drives that it covers. What the dock could not copy counts only where it is indeed
/// not there: another drive may have brought it.
async fn look(
    app: &App,
    caller: &Principal,
    name: &JobName,
    serial: &DriveSerial,
    (reported, rebuilt): (Vec<Failure>, Option<Rebuilt>),
) -> Result<Landed, Error> {
    let record = visible(app, caller, name).await?;
    record.drive(serial)?;
    if record.export.is_some() {
        return exported(app, &record, serial, reported).await;
    }
    let container = &record.seed()?.container;
    let manifest = documents::read_manifest(app, &record, serial).await?;
    let reasons: HashMap<String, String> =
        reported.into_iter().map(|failure| (failure.key, failure.reason)).collect();
    let store = accounts::objects(app, &record.account).await?;
    let is_parity = manifest.body.header.parity.is_some();
    let mut landed =
        Landed { bytes: 0, missing: 0, failures: Vec::new(), rebuilt: None, exported: None };
    for manifest in covered(app, &record, manifest.body).await? {
        let place = |repository| Place::landed(&record.account, container, &repository);
        count(&store, place, &manifest, &reasons, &mut landed).await?;
    }
    landed.failures.sort_by(|one, other| one.key.cmp(&other.key));
    if is_parity {
        // What the data drives had brought is counted with them.
        landed.bytes = rebuilt.as_ref().map_or(0, Rebuilt::bytes);
        landed.rebuilt = rebuilt;
    }
    Ok(landed)
}

/// What a drive that was written has: its manifest says it, and its dock has read it back.
async fn exported(
    app: &App,
    record: &Record,
    serial: &DriveSerial,
    reported: Vec<Failure>,
) -> Result<Landed, Error> {
    let mut written = export::written(app, record, serial, reported).await?;
    let missing = written.failures.len() as u64;
    let mut failures = std::mem::take(&mut written.failures);
    failures.truncate(MAX_NAMES);
    for failure in &mut failures {
        failure.reason = failure.reason.chars().take(200).collect();
    }
    Ok(Landed { bytes: written.bytes, missing, failures, rebuilt: None, exported: Some(written) })
}

/// Looks for the objects of one manifest.
async fn count(
    store: &Objects,
    place: impl Fn(Digest) -> Place,
    manifest: &Manifest,
    reasons: &HashMap<String, String>,
    landed: &mut Landed,
) -> Result<(), Error> {
    let looks = manifest.objects.iter().copied().map(|object| {
        let place = manifest.repository(&object).map(&place);
        async move {
            let Some(place) = place else { return Ok((object, None)) };
            Ok::<_, Error>((object, store.length(&place.object(&object.key())).await?))
        }
    });
    let mut looks = stream::iter(looks).buffer_unordered(LOOKS);
    while let Some((object, length)) = looks.try_next().await? {
        if length == Some(object.length) {
            landed.bytes += object.length;
            continue;
        }
        landed.missing += 1;
        if landed.failures.len() < MAX_NAMES {
            let key = object.key().to_string();
            let reason = match (reasons.get(&key), length) {
                (Some(reason), _) => reason.chars().take(200).collect(),
                (None, None) => "is not in the storage account".to_owned(),
                (None, Some(other)) => {
                    format!("has {other} bytes in the storage account, not {}", object.length)
                }
            };
            landed.failures.push(Failure { key, reason });
        }
    }
    Ok(())
}

/// The manifests that say what a drive must bring: its own, or those of the drives that it covers.
async fn covered(app: &App, record: &Record, manifest: Manifest) -> Result<Vec<Manifest>, Error> {
    let Some(of) = &manifest.header.parity else { return Ok(vec![manifest]) };
    let own = record.seed()?;
    // Data drives may have travelled with another job of the set.
    let mut jobs = super::of_seed(app, &own.vault, &own.server, own.seed.id).await?;
    jobs.retain(|job| job.seed().is_ok_and(|of| of.seed.set == own.seed.set));
    let mut manifests = Vec::new();
    for drive in &of.drives {
        let mut found = None;
        for job in &jobs {
            let mut rows = job.drives.iter().filter(|row| row.repository.is_some());
            let row = rows.find(|row| row.manifest == Some(*drive));
            found = found.or(row.map(|row| (job, row)));
        }
        let (job, row) = found.ok_or_else(|| {
            let message =
                format!("no job of that set has all drives that parity of {} covers", record.name);
            Error::refused(Code::ManifestRefused, message)
        })?;
        manifests.push(documents::read_manifest(app, job, &row.serial).await?.body);
    }
    Ok(manifests)
}
