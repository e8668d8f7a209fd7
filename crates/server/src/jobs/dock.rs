//! What a dock does to an import job: receive its package, report about its drives. When a drive is
//! reported finished, the server looks for itself what of it has landed.

use super::customer::shown;
use super::{change, documents, refused, view, visible};
use crate::app::App;
use crate::audit::Quiet;
use crate::auth::Principal;
use crate::http::{self, Segments};
use crate::place::Place;
use crate::{Error, accounts, db};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use flow::JobEvent;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use model::{DriveSerial, JobName};
use std::collections::HashMap;
use std::sync::Arc;
use wire::{DriveEvent, Failure, Job, MAX_NAMES, ReceiveRequest};

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
        let announced = || record.drives.iter().map(|drive| drive.serial.clone()).collect();
        let event = JobEvent::PackageArrived { serials: request.drives.unwrap_or_else(announced) };
        let (flow, effects) = record.flow.transition(&event, now).map_err(refused)?;
        record.flow = flow;
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
        DriveEvent::Started => JobEvent::DriveStarted { serial: serial_of() },
        DriveEvent::Progress { bytes, total } => {
            JobEvent::DriveProgressed { serial: serial_of(), bytes, total }
        }
        DriveEvent::Returned => JobEvent::DriveReturned { serial: serial_of() },
        DriveEvent::Finished { failures, .. } => {
            let found = look(&app, &caller, &name, &serial, failures).await?;
            let (bytes, problems) = (found.bytes, found.missing);
            landed = Some(found);
            JobEvent::DriveFinished { serial: serial_of(), bytes, problems }
        }
    };
    let now = app.now();
    let record = change(&app, &caller, &name, |record| {
        let (flow, effects) = record.flow.transition(&event, now).map_err(refused)?;
        record.flow = flow;
        if let Some(landed) = landed {
            let row = record.drive_mut(&serial)?;
            row.failure_count = landed.missing;
            row.failures = landed.failures;
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
}

/// Looks for every object of the drive's manifest in the storage account. What the dock could not
/// copy counts only where it is indeed not there: another drive may have brought it.
async fn look(
    app: &App,
    caller: &Principal,
    name: &JobName,
    serial: &DriveSerial,
    reported: Vec<Failure>,
) -> Result<Landed, Error> {
    let record = visible(app, caller, name).await?;
    record.drive(serial)?;
    let container = &record.seed()?.container;
    let manifest = documents::read_manifest(app, &record, serial).await?;
    let reasons: HashMap<String, String> =
        reported.into_iter().map(|failure| (failure.key, failure.reason)).collect();
    let store = &accounts::objects(app, &record.account).await?;
    let looks = manifest.body.objects.iter().copied().map(|object| {
        let repository = manifest.body.repository(&object);
        let place = repository.map(|id| Place::landed(&record.account, container, &id));
        async move {
            let Some(place) = place else { return Ok((object, None)) };
            Ok::<_, Error>((object, store.length(&place.object(&object.key())).await?))
        }
    });
    let mut looks = stream::iter(looks).buffer_unordered(LOOKS);
    let mut landed = Landed { bytes: 0, missing: 0, failures: Vec::new() };
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
    landed.failures.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(landed)
}
