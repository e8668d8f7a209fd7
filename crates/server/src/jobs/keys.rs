//! Passwords of drives: taken out of what an agent announces, kept sealed, given to their owner, and
//! released to a dock. Nothing here removes one.
//!
//! ```text
//!  agent ─ announces ─▶ take: out of the request, before that is stored
//!                       keep: sealed, a row of its own that no job's end touches
//!  dock ─ asks ─▶ may the drive be read now? ─▶ has it the announced header? ─▶ noted, committed ─▶ given
//! ```
//!
//! Invariants: a request that is stored has no password; a password leaves only after it is on the
//! disk that it did, to whom and for which header.

use super::{Record, missing, refused};
use crate::app::App;
use crate::auth::Principal;
use crate::http::{self, Segments};
use crate::{Error, db};
use axum::body::Body;
use axum::extract::State;
use axum::{Extension, Json};
use jiff::Timestamp;
use keyring::Keyring;
use model::{Digest, DrivePassword, DriveSerial, JobName};
use sqlx::SqliteConnection;
use std::sync::Arc;
use wire::{Code, DriveBitLockerKey, JobRequest, KeyRelease, KeyRequest, List, MAX_RELEASES};

/// A password as it was announced.
pub(super) struct Given {
    serial: DriveSerial,
    password: DrivePassword,
    header: Digest,
}

/// Takes the passwords out of a request, which has none from then on.
pub(super) fn take(request: &mut JobRequest) -> Result<Vec<Given>, Error> {
    let mut given = Vec::new();
    for drive in &mut request.drive_list {
        let password = drive.bit_locker_key.take();
        given.extend(self::given(&drive.drive_id, password, drive.drive_header_hash)?);
    }
    Ok(given)
}

/// A drive's password as it was announced: none for a drive that is not encrypted.
pub(super) fn given(
    serial: &DriveSerial,
    password: Option<DrivePassword>,
    header: Option<Digest>,
) -> Result<Option<Given>, Error> {
    let serial = serial.clone();
    match (password, header) {
        (Some(password), Some(header)) => Ok(Some(Given { serial, password, header })),
        (None, None) => Ok(None),
        _ => {
            let message = format!(
                "drive {serial} comes with one of bitLockerKey and driveHeaderHash; give both, or neither if it is not encrypted"
            );
            Err(Error::invalid(message))
        }
    }
}

/// Keeps the passwords, each in the row that has it already or in a new one. Answers the rows. A row
/// that does not open any more stays as it is, beside a new one.
pub(super) async fn keep(
    on: &mut SqliteConnection,
    app: &App,
    request: &JobRequest,
    given: &[Given],
) -> Result<Vec<(DriveSerial, i64)>, Error> {
    let mut rows = Vec::with_capacity(given.len());
    for given in given {
        let known = find(on, app, request, given).await?;
        let row = match known {
            Some(row) => row,
            None => add(on, app, request, given).await?,
        };
        rows.push((given.serial.clone(), row));
    }
    Ok(rows)
}

/// What a sealed password is bound to: it opens in no other row. No name holds a slash.
fn context(request: &JobRequest, serial: &DriveSerial, header: &Digest) -> Vec<u8> {
    let JobRequest { vault, server, seed, .. } = request;
    format!("{vault}/{server}/{}/{serial}/{header}", seed.id).into_bytes()
}

async fn find(
    on: &mut SqliteConnection,
    app: &App,
    request: &JobRequest,
    given: &Given,
) -> Result<Option<i64>, Error> {
    let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
        "SELECT id, sealed FROM drive_key
         WHERE vault = ? AND server = ? AND seed = ? AND serial = ? AND header_sha256 = ?",
    )
    .bind(request.vault.as_str())
    .bind(request.server.as_str())
    .bind(request.seed.id.to_string())
    .bind(given.serial.as_str())
    .bind(given.header.as_bytes().as_slice())
    .fetch_all(on)
    .await?;
    let context = context(request, &given.serial, &given.header);
    let same = |sealed: &[u8]| match unseal(&app.keyring, &context, sealed, &given.serial) {
        Ok(password) => password == given.password,
        Err(error) => {
            tracing::error!(drive = %given.serial, %error, "a kept password cannot be used");
            false
        }
    };
    Ok(rows.into_iter().find(|(_, sealed)| same(sealed)).map(|(id, _)| id))
}

async fn add(
    on: &mut SqliteConnection,
    app: &App,
    request: &JobRequest,
    given: &Given,
) -> Result<i64, Error> {
    let context = context(request, &given.serial, &given.header);
    let sealed = app.keyring.seal(&context, given.password.text().as_bytes())?;
    let (row,): (i64,) = sqlx::query_as(
        "INSERT INTO drive_key (vault, server, seed, serial, header_sha256, sealed, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
    )
    .bind(request.vault.as_str())
    .bind(request.server.as_str())
    .bind(request.seed.id.to_string())
    .bind(given.serial.as_str())
    .bind(given.header.as_bytes().as_slice())
    .bind(sealed)
    .bind(db::time(app.now()))
    .fetch_one(on)
    .await?;
    Ok(row)
}

fn unseal(
    keyring: &Keyring,
    context: &[u8],
    sealed: &[u8],
    serial: &DriveSerial,
) -> Result<DrivePassword, Error> {
    let what = || format!("the kept password of drive {serial}");
    let secret = keyring.open(context, sealed, what)?;
    let password = std::str::from_utf8(&secret).ok().and_then(|text| text.parse().ok());
    password.ok_or_else(|| db::damaged("drive_key.sealed", "no password is in it"))
}

/// The password of a drive of a job; none for a drive that is not encrypted.
async fn password(
    on: &mut SqliteConnection,
    app: &App,
    record: &Record,
    serial: &DriveSerial,
) -> Result<Option<DriveBitLockerKey>, Error> {
    let drive = record.drive(serial)?;
    let (Some(header), Some(row)) = (drive.header, drive.key) else { return Ok(None) };
    let (sealed,): (Vec<u8>,) =
        sqlx::query_as("SELECT sealed FROM drive_key WHERE id = ?").bind(row).fetch_one(on).await?;
    let context = context(record.seed()?, serial, &header);
    let bit_locker_key = unseal(&app.keyring, &context, &sealed, serial)?;
    let drive_id = serial.clone();
    Ok(Some(DriveBitLockerKey { drive_id, bit_locker_key, drive_header_hash: header }))
}

/// Writes down what is about to happen.
async fn note(
    on: &mut SqliteConnection,
    record: &Record,
    release: &KeyRelease,
) -> Result<(), Error> {
    let seed = record.seed()?;
    sqlx::query(
        "INSERT INTO key_release (at, subject, vault, server, job, serial, header_sha256, granted)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(db::time(release.at))
    .bind(&release.by)
    .bind(seed.vault.as_str())
    .bind(seed.server.as_str())
    .bind(record.name.as_str())
    .bind(release.drive_id.as_str())
    .bind(release.drive_header_hash.as_bytes().as_slice())
    .bind(release.granted)
    .execute(on)
    .await?;
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Columns {
    at: String,
    subject: String,
    serial: String,
    header_sha256: Vec<u8>,
    granted: i64,
}

/// The newest releases of a job's passwords, in the order of their time.
pub(super) async fn releases(
    on: &mut SqliteConnection,
    job: &JobName,
) -> Result<Vec<KeyRelease>, Error> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT at, subject, serial, header_sha256, granted FROM key_release
         WHERE job = ? ORDER BY id DESC LIMIT ?",
    )
    .bind(job.as_str())
    .bind(db::number(MAX_RELEASES as u64))
    .fetch_all(on)
    .await?;
    let release = |row: Columns| {
        Ok(KeyRelease {
            at: db::parsed("key_release.at", &row.at)?,
            by: row.subject,
            drive_id: db::parsed("key_release.serial", &row.serial)?,
            drive_header_hash: Digest(db::bytes("key_release.header_sha256", &row.header_sha256)?),
            granted: row.granted != 0,
        })
    };
    rows.into_iter().rev().map(release).collect()
}

/// The owner reads the passwords of a job's drives again, whatever became of the job.
pub(crate) async fn list_keys(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments(name): Segments<JobName>,
) -> Result<Json<List<DriveBitLockerKey>>, Error> {
    let mut connection = app.db.pool().acquire().await?;
    let record = load(&mut connection, &caller, &name).await?;
    drop(connection);
    Ok(Json(List { value: read_keys(&app, &caller, &record).await? }))
}

/// The passwords of a seed's drives, after it is on the disk that they were given out, and to whom.
pub(crate) async fn read_keys(
    app: &App,
    caller: &Principal,
    record: &Record,
) -> Result<Vec<DriveBitLockerKey>, Error> {
    let mut transaction = app.db.write().await?;
    let mut keys = Vec::new();
    for drive in &record.drives {
        if let Some(key) = password(&mut transaction, app, record, &drive.serial).await? {
            let release = said(caller, &key.drive_id, key.drive_header_hash, true, app.now());
            note(&mut transaction, record, &release).await?;
            keys.push(key);
        }
    }
    transaction.commit().await?;
    tracing::info!(job = %record.name, by = caller.subject, keys = keys.len(), "drives' passwords were read");
    Ok(keys)
}

/// A dock asks for the password of a drive that it holds in its hands: given while the drive may be
/// read, and for the announced header only.
pub(crate) async fn release(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments((name, serial)): Segments<(JobName, DriveSerial)>,
    body: Body,
) -> Result<Json<DriveBitLockerKey>, Error> {
    let request: KeyRequest = http::json(body).await?;
    let mut transaction = app.db.write().await?;
    let record = load(&mut transaction, &caller, &name).await?;
    record.drive(&serial)?;
    record.flow.may_be_read(&serial).map_err(refused)?;
    let key = password(&mut transaction, &app, &record, &serial).await?;
    let key = key.ok_or_else(|| not_encrypted(&serial))?;
    let shown = request.drive_header_hash;
    let granted = shown == key.drive_header_hash;
    note(&mut transaction, &record, &said(&caller, &serial, shown, granted, app.now())).await?;
    transaction.commit().await?;
    if granted {
        tracing::info!(job = %name, drive = %serial, by = caller.subject, "a drive's password was given out");
        Ok(Json(key))
    } else {
        tracing::warn!(job = %name, drive = %serial, by = caller.subject, header = %shown, "a drive has another header than announced: its password was not given out");
        Err(changed(&serial, &key.drive_header_hash, &shown))
    }
}

async fn load(
    on: &mut SqliteConnection,
    caller: &Principal,
    name: &JobName,
) -> Result<Record, Error> {
    let record = Record::load(on, name).await?;
    record.filter(|job| job.may_be_seen_by(caller)).ok_or_else(|| missing(name))
}

fn said(
    caller: &Principal,
    serial: &DriveSerial,
    header: Digest,
    granted: bool,
    at: Timestamp,
) -> KeyRelease {
    let (by, drive_id) = (caller.subject.clone(), serial.clone());
    KeyRelease { at, by, drive_id, drive_header_hash: header, granted }
}

fn not_encrypted(serial: &DriveSerial) -> Error {
    let message = format!(
        "drive {serial} was announced as not encrypted, so there is no password for it; if it is locked, put it aside and tell its owner"
    );
    Error::refused(Code::DriveNotEncrypted, message)
}

fn changed(serial: &DriveSerial, announced: &Digest, shown: &Digest) -> Error {
    let message = format!(
        "drive {serial} was changed on its way: its header hashes to {}, announced was {}; do not use it, put it aside and tell its owner",
        shown.short(),
        announced.short()
    );
    Error::refused(Code::DriveHeaderMismatch, message)
}

const KEY_FILE: &str = "drives.key";

/// The keyring in the data folder. Made where there is none, unless it has sealed something.
pub(crate) async fn open_keyring(
    data: &crate::data::DataFolder,
    db: &db::Db,
) -> Result<Keyring, Error> {
    let path = data.join(KEY_FILE);
    let kept: Option<(i64,)> =
        sqlx::query_as("SELECT id FROM drive_key LIMIT 1").fetch_optional(db.pool()).await?;
    if kept.is_some() && !path.exists() {
        return Err(Error::Damaged {
            what: KEY_FILE.to_owned(),
            why: "it is gone, and the database holds passwords of drives that it has sealed; restore it from the copy that the database is from. If it is lost for good, put 32 random bytes there with mode 0600: source servers still have the passwords, and can announce them again".to_owned(),
        });
    }
    Ok(Keyring::load_or_create(&path)?)
}
