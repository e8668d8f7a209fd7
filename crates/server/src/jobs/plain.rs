//! What another client of the import service does to a job: create, replace, change, delete. The state
//! machine decides, as for every job; what is said beyond it is kept.
//!
//! Invariant: a job with a seed stays with what its agent announced: its drives and their keys are not
//! replaced by somebody who does not know what is on them.

use super::customer::{give_shipping, step};
use super::record::{DriveRow, Record, lost};
use super::said::Said;
use super::{events, refused};
use crate::app::App;
use crate::auth::Principal;
use crate::groups::Group;
use crate::{Error, db, notices, place, publication};
use flow::{Effect, ImportJob, JobEvent, JobType};
use jiff::Timestamp;
use model::{AccountName, Address, DriveSerial, JobName, Package};
use sqlx::SqliteConnection;
use wire::{Code, JobState};
use zeroize::Zeroizing;

/// A drive's password, in whatever form its owner has it.
pub(crate) struct PlainKey {
    pub(crate) serial: DriveSerial,
    pub(crate) text: Zeroizing<String>,
}

/// A job as it is created or replaced.
pub(crate) struct PlainRequest {
    pub(crate) group: Group,
    pub(crate) account: AccountName,
    pub(crate) job_type: JobType,
    pub(crate) drives: Vec<DriveSerial>,
    pub(crate) said: Said,
    pub(crate) keys: Vec<PlainKey>,
    pub(crate) return_address: Option<Address>,
    pub(crate) package: Option<Package>,
}

/// Changes what a customer has said.
pub(crate) type Change = Box<dyn FnOnce(&mut Said) + Send>;

/// What is changed about a job. What is absent stays.
#[derive(Default)]
pub(crate) struct PlainPatch {
    pub(crate) change: Option<Change>,
    pub(crate) drives: Option<(Vec<DriveSerial>, Vec<PlainKey>)>,
    pub(crate) return_address: Option<Address>,
    pub(crate) package: Option<Package>,
    pub(crate) ship: bool,
    pub(crate) cancel: bool,
}

/// The version of a job as it is now; 0 where there is none. What a request has seen when it began.
pub(crate) async fn version(app: &App, name: &JobName) -> Result<u64, Error> {
    let row: Option<(i64,)> = sqlx::query_as("SELECT version FROM import_job WHERE name = ?")
        .bind(name.as_str())
        .fetch_optional(app.db.pool())
        .await?;
    row.map_or(Ok(0), |(version,)| db::count("import_job.version", version))
}

/// The job of that name, if it lies in that group.
pub(crate) async fn find(app: &App, group: &Group, name: &str) -> Result<Option<Record>, Error> {
    let Ok(name) = name.to_ascii_lowercase().parse::<JobName>() else { return Ok(None) };
    let mut connection = app.db.pool().acquire().await?;
    let record = Record::load(&mut connection, &name).await?;
    Ok(record.filter(|record| record.group.is(group)))
}

/// Creates a job, or replaces one that is not shipped yet. True for a new one.
pub(crate) async fn put(
    app: &App,
    name: JobName,
    seen: u64,
    request: PlainRequest,
) -> Result<(bool, Record), Error> {
    let now = app.now();
    let mut transaction = app.db.write().await?;
    let there = Record::load(&mut transaction, &name).await?;
    if there.as_ref().map_or(0, |record| record.version) != seen {
        return Err(lost());
    }
    let is_new = there.is_none();
    let mut record = match there {
        Some(there) => replaceable(there, &request)?,
        None => {
            let flow = ImportJob::new(request.job_type, request.drives.clone(), now);
            let flow = flow.map_err(refused)?;
            let group = request.group.clone();
            Record::plain(name, group, request.account.clone(), flow, now)
        }
    };
    let mut said = request.said;
    if !is_new {
        let event = JobEvent::DrivesReplaced { serials: request.drives.clone() };
        step(&mut record, &event, now)?;
        record.drives = request.drives.into_iter().map(DriveRow::plain).collect();
        said.shipping_information =
            said.shipping_information.or_else(|| record.said.shipping_information.clone());
    }
    keep(&mut transaction, app, &record, &mut said, &request.keys).await?;
    record.said = said;
    record.account = request.account;
    give_shipping(&mut transaction, &mut record, request.return_address, request.package, now)
        .await?;
    record.changed = now.max(record.changed);
    record.save(&mut transaction).await?;
    events::commit(app, transaction, &record.name).await?;
    Ok((is_new, record))
}

fn replaceable(there: Record, request: &PlainRequest) -> Result<Record, Error> {
    let taken = |message: String| Err(Error::refused(Code::AlreadyExists, message));
    if !there.group.is(&request.group) {
        return taken(format!(
            "The name {} is taken by an import job in resource group '{}' of subscription {}; names of jobs are unique on this server.",
            there.name, there.group.name, there.group.subscription
        ));
    }
    if there.request.is_some() {
        return taken(format!(
            "Import job {} was made by the drive preparation, which knows what is on its drives: it is changed with PATCH, not replaced.",
            there.name
        ));
    }
    if there.flow.job_type != request.job_type {
        return taken(format!("Import job {} is of the other type, and stays so.", there.name));
    }
    Ok(there)
}

/// Keeps passwords, each sealed in a row of its own that no job's end removes.
async fn keep(
    on: &mut SqliteConnection,
    app: &App,
    record: &Record,
    said: &mut Said,
    keys: &[PlainKey],
) -> Result<(), Error> {
    for key in keys {
        let sealed = app.keyring.seal(&context(&record.name, &key.serial), key.text.as_bytes())?;
        let (row,): (i64,) = sqlx::query_as(
            "INSERT INTO plain_key (subscription, resource_group, job, serial, sealed, created_at)
             VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
        )
        .bind(&record.group.subscription)
        .bind(&record.group.name)
        .bind(record.name.as_str())
        .bind(key.serial.as_str())
        .bind(sealed)
        .bind(db::time(app.now()))
        .fetch_one(&mut *on)
        .await?;
        said.drives.entry(key.serial.clone()).or_default().key = Some(row);
    }
    // A drive that is listed again without its password keeps the one it has.
    for (serial, drive) in &mut said.drives {
        let before = record.said.drives.get(serial).and_then(|before| before.key);
        drive.key = drive.key.or(before);
    }
    Ok(())
}

/// What a sealed password is bound to. The seeds' own have five parts.
fn context(job: &JobName, serial: &DriveSerial) -> Vec<u8> {
    format!("plain/{job}/{serial}").into_bytes()
}

/// The passwords of a job's drives, after it is on the disk that they were given out, and to whom.
pub(crate) async fn keys(
    app: &App,
    caller: &Principal,
    record: &Record,
) -> Result<Vec<PlainKey>, Error> {
    let mut transaction = app.db.write().await?;
    let mut keys = Vec::new();
    for (serial, drive) in &record.said.drives {
        let Some(row) = drive.key else { continue };
        let (sealed,): (Vec<u8>,) = sqlx::query_as("SELECT sealed FROM plain_key WHERE id = ?")
            .bind(row)
            .fetch_one(&mut *transaction)
            .await?;
        let what = || format!("the kept password of drive {serial}");
        let secret = app.keyring.open(&context(&record.name, serial), &sealed, what)?;
        let text = String::from_utf8(secret.to_vec())
            .map_err(|_| db::damaged("plain_key.sealed", "no text is in it"))?;
        sqlx::query("INSERT INTO plain_key_release (at, subject, job, serial) VALUES (?, ?, ?, ?)")
            .bind(db::time(app.now()))
            .bind(&caller.subject)
            .bind(record.name.as_str())
            .bind(serial.as_str())
            .execute(&mut *transaction)
            .await?;
        keys.push(PlainKey { serial: serial.clone(), text: text.into() });
    }
    transaction.commit().await?;
    tracing::info!(job = %record.name, by = caller.subject, keys = keys.len(), "drives' passwords were read");
    Ok(keys)
}

/// Changes a job, in the order in which a customer would do it: details, drives, shipping, cancelling.
pub(crate) async fn patch(
    app: &App,
    group: &Group,
    name: &JobName,
    seen: u64,
    patch: PlainPatch,
) -> Result<Record, Error> {
    let now = app.now();
    let mut transaction = app.db.write().await?;
    let found = Record::load(&mut transaction, name).await?;
    let before =
        found.filter(|record| record.group.is(group)).ok_or_else(|| super::missing(name))?;
    if before.version != seen {
        return Err(lost());
    }
    let mut record = before.clone();
    let mut effects = Vec::new();
    if let Some((drives, keys)) = patch.drives {
        effects.extend(list(&mut transaction, app, &mut record, drives, &keys, now).await?);
    }
    if let Some(change) = patch.change {
        let keys = record.said.drives.iter();
        let keys: Vec<_> = keys.map(|(serial, drive)| (serial.clone(), drive.key)).collect();
        change(&mut record.said);
        for (serial, key) in keys {
            if let Some(drive) = record.said.drives.get_mut(&serial) {
                drive.key = drive.key.or(key);
            }
        }
        effects.extend(step(&mut record, &JobEvent::Updated, now)?);
    }
    give_shipping(&mut transaction, &mut record, patch.return_address, patch.package, now).await?;
    if patch.ship {
        super::customer::manifests_are_here(&record)?;
        effects.extend(step(&mut record, &JobEvent::ShippingRequested, now)?);
    }
    if patch.cancel {
        effects.extend(step(&mut record, &JobEvent::CancelRequested, now)?);
    }
    if record != before {
        record.changed = now.max(before.changed);
        record.save(&mut transaction).await?;
    }
    notices::keep(&mut transaction, &record, &effects, now).await?;
    events::commit(app, transaction, name).await?;
    Ok(record)
}

async fn list(
    on: &mut SqliteConnection,
    app: &App,
    record: &mut Record,
    drives: Vec<DriveSerial>,
    keys: &[PlainKey],
    now: Timestamp,
) -> Result<Vec<Effect>, Error> {
    if record.request.is_some() {
        let message = format!(
            "Import job {} was made by the drive preparation, which lists its drives: run it again to change them.",
            record.name
        );
        return Err(Error::refused(Code::JobState, message));
    }
    let effects = step(record, &JobEvent::DrivesReplaced { serials: drives.clone() }, now)?;
    record.drives = drives.iter().cloned().map(DriveRow::plain).collect();
    let before = record.clone();
    record.said.drives.retain(|serial, _| drives.contains(serial));
    for serial in drives {
        record.said.drives.entry(serial).or_default();
    }
    let mut said = std::mem::take(&mut record.said);
    keep(on, app, &before, &mut said, keys).await?;
    record.said = said;
    Ok(effects)
}

/// Removes a job's record before it is shipped or after its end. The keys of its drives stay, and so does
/// the record of a seed's job as long as the seed's publication may ask for it.
pub(crate) async fn remove(
    app: &App,
    group: &Group,
    name: &JobName,
    seen: u64,
) -> Result<(), Error> {
    let mut transaction = app.db.write().await?;
    let found = Record::load(&mut transaction, name).await?;
    let record =
        found.filter(|record| record.group.is(group)).ok_or_else(|| super::missing(name))?;
    if record.version != seen {
        return Err(lost());
    }
    record.flow.record_may_be_removed().map_err(refused)?;
    if !may_go(&mut transaction, &record).await? {
        let message = format!(
            "Import job {name} brought a part of a seed that its vault has not confirmed yet; it can be deleted when the receipt is there, or after the job is cancelled or the seed abandoned (packmule seed abandon SEED)."
        );
        return Err(Error::refused(Code::JobState, message));
    }
    remove_record(&mut transaction, name).await?;
    events::commit(app, transaction, name).await?;
    app.objects.remove_below(&place::job(name)).await?;
    tracing::info!(job = %name, "the record of an import job was removed; the keys of its drives stay");
    Ok(())
}

/// Whether nothing needs what a job at its end knows.
pub(super) async fn may_go(on: &mut SqliteConnection, record: &Record) -> Result<bool, Error> {
    // What an export job knows is of use to the owner of its drives only.
    let Some(request) = record.request.as_ref().filter(|_| record.export.is_none()) else {
        return Ok(true);
    };
    let state = super::view::job_state(&record.flow.state);
    if matches!(state, JobState::Creating | JobState::Canceled) {
        return Ok(true);
    }
    let owner = (request.vault.clone(), request.server.clone());
    if publication::is_abandoned(&mut *on, &owner, request.seed.id).await? {
        return Ok(true);
    }
    let receipt: Option<(i64,)> =
        sqlx::query_as("SELECT 1 FROM receipt WHERE vault = ? AND server = ? AND seed = ?")
            .bind(request.vault.as_str())
            .bind(request.server.as_str())
            .bind(request.seed.id.to_string())
            .fetch_optional(on)
            .await?;
    Ok(receipt.is_some())
}

pub(super) async fn remove_record(on: &mut SqliteConnection, name: &JobName) -> Result<(), Error> {
    sqlx::query("DELETE FROM drive WHERE job = ?").bind(name.as_str()).execute(&mut *on).await?;
    sqlx::query("DELETE FROM import_job WHERE name = ?").bind(name.as_str()).execute(on).await?;
    Ok(())
}
