//! Drives of an export job as a dock hands them over: what they are, who has signed them, and their passwords. Reads no manifest.

use super::others;
use crate::Error;
use crate::app::App;
use crate::auth::Principal;
use crate::http::{self, Segments};
use crate::jobs::record::{DriveRow, Record};
use crate::jobs::{events, keys, missing, view};
use axum::body::Body;
use axum::extract::State;
use axum::{Extension, Json};
use flow::DriveState;
use model::{DriveSerial, JobName};
use sqlx::SqliteConnection;
use std::sync::Arc;
use wire::{Code, DriveStatus, ExportedDrive, PublicKey};

/// `PUT /api/v1/import-jobs/{job}/drives/{drive}`: a dock has written that drive.
pub(crate) async fn drive(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments((name, serial)): Segments<(JobName, DriveSerial)>,
    body: Body,
) -> Result<Json<DriveStatus>, Error> {
    let mut given: ExportedDrive = http::json(body).await?;
    let password = given.bit_locker_key.take();
    let key = keys::given(&serial, password, given.drive_header_hash)?;
    let mut transaction = app.db.write().await?;
    let record = Record::load(&mut transaction, &name).await?;
    let mut record =
        record.filter(|job| job.may_be_seen_by(&caller)).ok_or_else(|| missing(&name))?;
    let before = record.clone();
    may_be_handed_over(&record, &serial, &given)?;
    let request = record.seed()?.clone();
    let rows = keys::keep(&mut transaction, &app, &request, key.as_slice()).await?;
    if let Some(export) = &mut record.export {
        export.writer = Some(given.signer);
    }
    pin(&mut transaction, &record, given.signer).await?;
    let row = record.drive_mut(&serial)?;
    if row.manifest != Some(given.manifest_hash) {
        *row = DriveRow { manifest: Some(given.manifest_hash), ..DriveRow::plain(serial.clone()) };
    }
    row.header = given.drive_header_hash;
    row.key = rows.first().map(|(_, row)| *row);
    let is_parity = |drive: &flow::Drive| match drive.serial == serial {
        true => !given.role.is_data(),
        false => !drive.role.is_data(),
    };
    let parity = record.flow.drives.iter().filter(|drive| is_parity(drive));
    let parity: Vec<DriveSerial> = parity.map(|drive| drive.serial.clone()).collect();
    record.flow = record.flow.with_parity(&parity);
    if record != before {
        record.changed = app.now().max(before.changed);
        record.save(&mut transaction).await?;
    }
    events::commit(&app, transaction, &name).await?;
    let drive = record.flow.drive(&serial).ok_or_else(|| Error::not_found(&serial))?;
    Ok(Json(view::drive_status(drive, record.drive(&serial)?)))
}

/// Jobs that bring a list together are written by one dock: their drives carry the same list, signed by one key.
async fn pin(on: &mut SqliteConnection, own: &Record, signer: PublicKey) -> Result<(), Error> {
    let request = own.seed()?;
    if request.seed.sets == Some(1) {
        return Ok(());
    }
    for mut other in others(on, request).await?.into_iter().filter(|it| it.name != own.name) {
        let Some(export) = &mut other.export else { continue };
        if export.writer.is_none() {
            export.writer = Some(signer);
            other.save(on).await?;
        }
    }
    Ok(())
}

fn may_be_handed_over(
    record: &Record,
    serial: &DriveSerial,
    given: &ExportedDrive,
) -> Result<(), Error> {
    let Some(export) = &record.export else {
        let message = format!("import job {} exports nothing: its drives are read", record.name);
        return Err(Error::refused(Code::JobState, message));
    };
    let row = record.drive(serial)?;
    if let Some(writer) = export.writer.filter(|writer| *writer != given.signer) {
        let message = format!(
            "the drives of export job {} are signed by another dock's key, {}; go on there",
            record.name,
            seed::Fingerprint::of(&writer)
        );
        return Err(Error::refused(Code::AlreadyExists, message));
    }
    let state = record.flow.drive(serial).map(|drive| &drive.state);
    let is_same = row.manifest == Some(given.manifest_hash);
    match state {
        Some(DriveState::Transferring { .. }) => Ok(()),
        Some(DriveState::Completed { .. }) if is_same => Ok(()),
        _ => {
            let message = format!("drive {serial} is not being written; report its start first");
            Err(Error::refused(Code::JobState, message))
        }
    }
}
