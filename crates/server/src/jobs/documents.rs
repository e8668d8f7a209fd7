//! Manifests, inventories and copy logs of import jobs: stored as they came, and believed only when
//! the job's own signer has signed them. Moves no object.

use super::customer::diagnostics;
use super::record::Record;
use super::{change, visible};
use crate::app::App;
use crate::auth::Principal;
use crate::http::Segments;
use crate::objects::Found;
use crate::{Error, accounts, place};
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use model::{DriveSerial, JobName};
use object_store::path::Path;
use seed::{Document, Inventory, Manifest, Signed, Trust};
use std::sync::Arc;
use wire::{Code, Role};

pub(crate) async fn put_manifest(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments((name, serial)): Segments<(JobName, DriveSerial)>,
    body: Body,
) -> Result<StatusCode, Error> {
    let record = visible(&app, &caller, &name).await?;
    is_the_writers(&caller, &record)?;
    let announced = record.drive(&serial)?.manifest.ok_or_else(|| no_manifest(&record, &serial))?;
    refuse_at_end(&record)?;
    let at = place::manifest(&name, &serial);
    let body = body.into_data_stream();
    let stored = app.objects.put_named(&at, announced, app.config.object_limit, body).await;
    stored.map_err(other_manifest)?;
    let manifest = match read_whole(&app, &record, &serial).await {
        Ok(manifest) => manifest,
        Err(refusal) => {
            app.objects.remove(&at).await?;
            return Err(refusal);
        }
    };
    let repository = manifest.header.repositories.first().copied();
    change(&app, &caller, &name, |record| {
        same_repository(record, &serial, repository)?;
        let row = record.drive_mut(&serial)?;
        if row.manifest != Some(announced) {
            return Err(super::record::lost());
        }
        row.repository = repository;
        row.objects = manifest.objects.len() as u64;
        row.bytes = manifest.bytes();
        Ok(Vec::new())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whoever writes a job's drives hands over their manifests: the source, or, of an export, a dock.
fn is_the_writers(caller: &Principal, record: &Record) -> Result<(), Error> {
    record.seed()?;
    if record.export.is_some() == (caller.role == Some(Role::Dock)) {
        return Ok(());
    }
    let message = "manifests are handed over by whoever writes the drives";
    Err(Error::refused(Code::AuthorizationFailed, message))
}

async fn read_whole(app: &App, record: &Record, serial: &DriveSerial) -> Result<Manifest, Error> {
    let manifest = read_manifest(app, record, serial).await?.body;
    if record.export.is_some() {
        super::export::check_manifest(app, record, &manifest).await?;
    }
    Ok(manifest)
}

fn other_manifest(error: Error) -> Error {
    match error {
        Error::Refused { code: Code::HashMismatch | Code::AlreadyExists, message, details } => {
            let message = format!("this is not the manifest that the job announces: {message}");
            Error::Refused { code: Code::ManifestHashMismatch, message, details }
        }
        other => other,
    }
}

fn refuse_at_end(record: &Record) -> Result<(), Error> {
    if record.flow.state.is_end() {
        let message = format!("import job {} is {}", record.name, record.flow.state.name());
        return Err(Error::refused(Code::JobState, message));
    }
    Ok(())
}

fn same_repository(
    record: &Record,
    serial: &DriveSerial,
    repository: Option<model::Digest>,
) -> Result<(), Error> {
    let others = record.drives.iter().filter(|drive| drive.serial != *serial);
    let other = others.filter_map(|drive| drive.repository).find(|id| Some(*id) != repository);
    match other {
        None => Ok(()),
        Some(other) => {
            let what = format!("it is of another repository than the job's other drives, {other}");
            Err(unfit("manifest", &what))
        }
    }
}

fn unfit(document: &str, what: &str) -> Error {
    Error::refused(Code::ManifestRefused, format!("the {document} cannot be used: {what}"))
}

/// A drive's manifest, verified against the signer that the job has pinned.
pub(crate) async fn read_manifest(
    app: &App,
    record: &Record,
    serial: &DriveSerial,
) -> Result<Signed<Manifest>, Error> {
    let bytes = stored(app, &place::manifest(&record.name, serial)).await?;
    let bytes = bytes.ok_or_else(|| no_manifest(record, serial))?;
    let seed = &record.seed()?.seed;
    let signer = match &record.export {
        // Whoever has asked for it has not written it.
        Some(export) => export.writer.ok_or_else(|| no_manifest(record, serial))?,
        None => seed.signer,
    };
    let trust = Trust::Key(signer);
    let decoded = tokio::task::spawn_blocking(move || Manifest::decode(&bytes, &trust)).await?;
    let manifest = decoded.map_err(|why| told(&why, Document::Manifest))?;
    let header = &manifest.body.header;
    if header.seed != seed.id || header.set != seed.set {
        return Err(unfit("manifest", "it is of another seed or drive set than the job"));
    }
    if header.serial != *serial {
        return Err(unfit("manifest", &format!("it is of drive {}", header.serial)));
    }
    let role = record.flow.drive(serial).map(|drive| drive.role).unwrap_or_default();
    if header.parity.is_some() == role.is_data() {
        return Err(unfit("manifest", "the drive has another role than the job announces"));
    }
    if header.repositories.len() != 1 {
        return Err(unfit("manifest", "this server takes in drives with one repository each"));
    }
    Ok(manifest)
}

fn no_manifest(record: &Record, serial: &DriveSerial) -> Error {
    Error::not_found(format_args!("manifest of drive {serial} of import job {}", record.name))
}

/// The inventory that came with a job, verified against the signer that the job has pinned.
pub(crate) async fn read_inventory(app: &App, record: &Record) -> Result<Inventory, Error> {
    read_inventory_at(app, record, &place::inventory(&record.name)).await
}

async fn read_inventory_at(app: &App, record: &Record, at: &Path) -> Result<Inventory, Error> {
    let bytes = stored(app, at).await?;
    let bytes = bytes.ok_or_else(|| Error::not_found("inventory of that import job"))?;
    let seed = &record.seed()?.seed;
    let trust = Trust::Key(seed.signer);
    let decoded = tokio::task::spawn_blocking(move || Inventory::decode(&bytes, &trust)).await?;
    let inventory = decoded.map_err(|why| told(&why, Document::Inventory))?.body;
    if inventory.seed != seed.id {
        return Err(unfit("inventory", "it is of another seed than the job"));
    }
    if inventory.repositories.len() != 1 {
        return Err(unfit("inventory", "this server takes in seeds with one repository each"));
    }
    Ok(inventory)
}

fn told(why: &seed::Refused, document: Document) -> Error {
    let cause = std::error::Error::source(why).map(|cause| format!(": {cause}"));
    unfit(&document.to_string(), &format!("{why}{}", cause.unwrap_or_default()))
}

async fn stored(app: &App, at: &Path) -> Result<Option<Bytes>, Error> {
    app.objects.read(at, app.config.object_limit).await
}

pub(crate) async fn put_inventory(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments(name): Segments<JobName>,
    body: Body,
) -> Result<StatusCode, Error> {
    let record = visible(&app, &caller, &name).await?;
    refuse_at_end(&record)?;
    let incoming = place::incoming_inventory(&name);
    let body = body.into_data_stream();
    app.objects.put_any(&incoming, app.config.object_limit, body).await?;
    let list = match read_list(&app, &record, &incoming).await {
        Ok(list) => list,
        Err(refusal) => {
            app.objects.remove(&incoming).await?;
            return Err(refusal);
        }
    };
    app.objects.rename(&incoming, &place::inventory(&name)).await?;
    change(&app, &caller, &name, |record| {
        record.inventory = true;
        super::export::take(record, &list);
        Ok(Vec::new())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An inventory on its way in, with all that must hold for it.
async fn read_list(app: &App, record: &Record, at: &Path) -> Result<Inventory, Error> {
    let list = read_inventory_at(app, record, at).await?;
    super::export::check(app, record, &list).await?;
    Ok(list)
}

pub(crate) async fn put_copy_log(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments((name, serial)): Segments<(JobName, DriveSerial)>,
    body: Body,
) -> Result<StatusCode, Error> {
    let record = visible(&app, &caller, &name).await?;
    record.drive(&serial)?;
    if record.is_creating() {
        let message = format!("import job {name} has not been shipped yet");
        return Err(Error::refused(Code::JobState, message));
    }
    let at = place::copy_log(&record.account, &diagnostics(&record)?, &name, &serial);
    let body = body.into_data_stream();
    let store = accounts::objects(&app, &record.account).await?;
    store.put_any(&at, app.config.object_limit, body).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn get_manifest(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments((name, serial)): Segments<(JobName, DriveSerial)>,
) -> Result<Response, Error> {
    let record = visible(&app, &caller, &name).await?;
    if record.drive(&serial)?.repository.is_none() {
        return Err(no_manifest(&record, &serial));
    }
    octets(&app, &place::manifest(&name, &serial), "manifest of that drive").await
}

pub(crate) async fn get_inventory(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments(name): Segments<JobName>,
) -> Result<Response, Error> {
    visible(&app, &caller, &name).await?;
    octets(&app, &place::inventory(&name), "inventory of that import job").await
}

pub(crate) async fn octets(app: &App, at: &Path, what: &str) -> Result<Response, Error> {
    match app.objects.stream(at, None).await? {
        Some(Found::Bytes { length, body, .. }) => {
            let headers = [
                (CONTENT_TYPE, "application/octet-stream".to_owned()),
                (CONTENT_LENGTH, length.to_string()),
            ];
            Ok((headers, Body::from_stream(body)).into_response())
        }
        _ => Err(Error::not_found(what)),
    }
}
