//! One import job in the database. Two writers that have read the same version: one is stored, the
//! other hears of it.

use super::export::Export;
use super::said::Said;
use crate::groups::Group;
use crate::{Error, db};
use flow::{ImportJob, JobState};
use jiff::Timestamp;
use model::{AccountName, Digest, DriveSerial, JobName, TrackingNumber};
use sqlx::SqliteConnection;
use wire::{Code, Failure, JobRequest, KeyRelease, Rebuilt};

/// An import job.
///
/// invariant: `drives` are those of `flow`, in the same order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) name: JobName,
    /// As read; what [`save`](Self::save) compares.
    pub(crate) version: u64,
    pub(crate) group: Group,
    pub(crate) account: AccountName,
    /// What its drives carry; none when another client of the import service has made it.
    pub(crate) request: Option<JobRequest>,
    /// Of an export job with a list of what its drives bring.
    pub(crate) export: Option<Export>,
    pub(crate) said: Said,
    pub(crate) flow: ImportJob,
    pub(crate) inventory: bool,
    pub(crate) created: Timestamp,
    pub(crate) changed: Timestamp,
    pub(crate) drives: Vec<DriveRow>,
    /// Read only: written where they happen.
    pub(crate) releases: Vec<KeyRelease>,
}

/// What is kept of a drive beside its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DriveRow {
    pub(crate) serial: DriveSerial,
    /// That its seed announces.
    pub(crate) manifest: Option<Digest>,
    /// Of the header that its password opens; none when it is not encrypted.
    pub(crate) header: Option<Digest>,
    /// The row that keeps its password.
    pub(crate) key: Option<i64>,
    /// Set once the manifest is stored and verified.
    pub(crate) repository: Option<Digest>,
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
    pub(crate) failures: Vec<Failure>,
    pub(crate) failure_count: u64,
    /// With a parity drive, as its dock has reported it.
    pub(crate) rebuilt: Option<Rebuilt>,
}

#[derive(sqlx::FromRow)]
struct JobColumns {
    version: i64,
    subscription: String,
    resource_group: String,
    storage_account: String,
    flow: String,
    request: Option<String>,
    export: Option<String>,
    said: String,
    inventory: i64,
    created_at: String,
    changed_at: String,
}

#[derive(sqlx::FromRow)]
struct DriveColumns {
    serial: String,
    manifest_sha256: Option<Vec<u8>>,
    header_sha256: Option<Vec<u8>>,
    key: Option<i64>,
    repository: Option<Vec<u8>>,
    objects: i64,
    bytes_total: i64,
    failures: String,
    failure_count: i64,
    rebuilt: Option<String>,
}

impl Record {
    /// A job with a seed that is not stored yet.
    pub(crate) fn new(
        name: JobName,
        group: Group,
        request: JobRequest,
        flow: ImportJob,
        now: Timestamp,
    ) -> Self {
        let drives = request.drive_list.iter().map(DriveRow::new).collect();
        let mut record = Self::plain(name, group, request.storage_account.clone(), flow, now);
        record.drives = drives;
        record.request = Some(request);
        record
    }

    /// A job without a seed that is not stored yet.
    pub(crate) fn plain(
        name: JobName,
        group: Group,
        account: AccountName,
        flow: ImportJob,
        now: Timestamp,
    ) -> Self {
        let drives =
            flow.drives.iter().map(|drive| DriveRow::plain(drive.serial.clone())).collect();
        Self {
            name,
            version: 0,
            group,
            account,
            request: None,
            export: None,
            said: Said::default(),
            flow,
            inventory: false,
            created: now,
            changed: now,
            drives,
            releases: Vec::new(),
        }
    }

    pub(crate) async fn load(
        on: &mut SqliteConnection,
        name: &JobName,
    ) -> Result<Option<Self>, Error> {
        let row: Option<JobColumns> = sqlx::query_as(
            "SELECT version, subscription, resource_group, storage_account, flow, request, export, said,
                    inventory, created_at, changed_at
             FROM import_job WHERE name = ?",
        )
        .bind(name.as_str())
        .fetch_optional(&mut *on)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let drives: Vec<DriveColumns> = sqlx::query_as(
            "SELECT serial, manifest_sha256, header_sha256, key, repository, objects, bytes_total, failures,
                    failure_count, rebuilt
             FROM drive WHERE job = ? ORDER BY position",
        )
        .bind(name.as_str())
        .fetch_all(&mut *on)
        .await?;
        let request = row.request.map(|text| db::json("import_job.request", &text)).transpose()?;
        let flow: ImportJob = db::json("import_job.flow", &row.flow)?;
        let account = db::parsed("import_job.storage_account", &row.storage_account)?;
        let group = Group { subscription: row.subscription, name: row.resource_group };
        let mut record = Self::plain(name.clone(), group, account, flow, Timestamp::UNIX_EPOCH);
        record.request = request;
        record.export = row.export.map(|it| db::json("import_job.export", &it)).transpose()?;
        record.said = db::json("import_job.said", &row.said)?;
        record.version = db::count("import_job.version", row.version)?;
        record.inventory = row.inventory != 0;
        record.created = db::parsed("import_job.created_at", &row.created_at)?;
        record.changed = db::parsed("import_job.changed_at", &row.changed_at)?;
        record.drives = drives.into_iter().map(DriveRow::read).collect::<Result<_, _>>()?;
        record.releases = super::keys::releases(on, name).await?;
        Ok(Some(record))
    }

    /// Stores the job if the database still has the version that was read: 0 means none at all.
    ///
    /// Errors: `ConcurrentChange`; a serial, tracking number or drive set that another job has.
    pub(crate) async fn save(&mut self, on: &mut SqliteConnection) -> Result<(), Error> {
        let written = if self.version == 0 {
            self.insert(&mut *on).await
        } else {
            self.update(&mut *on).await
        };
        match written {
            Ok(1) => {}
            Ok(_) => return Err(lost()),
            Err(cause) => return Err(self.violation(cause)),
        }
        sqlx::query("DELETE FROM drive WHERE job = ?")
            .bind(self.name.as_str())
            .execute(&mut *on)
            .await?;
        for (position, drive) in self.drives.iter().enumerate() {
            self.save_drive(on, position, drive).await?;
        }
        self.version += 1;
        Ok(())
    }

    async fn insert(&self, on: &mut SqliteConnection) -> sqlx::Result<u64> {
        let done = sqlx::query(
            "INSERT INTO import_job (name, version, subscription, resource_group, vault, server, seed,
                 seed_set, storage_account, container, state, tracking_number, flow, request, export, said,
                 inventory, parity, created_at, changed_at)
             VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
        )
        .bind(self.name.as_str())
        .bind(&self.group.subscription)
        .bind(&self.group.name)
        .bind(self.request.as_ref().map(|request| request.vault.as_str()))
        .bind(self.request.as_ref().map(|request| request.server.as_str()))
        .bind(self.request.as_ref().map(|request| request.seed.id.to_string()))
        .bind(self.request.as_ref().map(|request| request.seed.set))
        .bind(self.account.as_str())
        .bind(self.request.as_ref().map(|request| request.container.as_str()))
        .bind(self.flow.state.name())
        .bind(self.tracking_number().map(TrackingNumber::as_str))
        .bind(text(&self.flow)?)
        .bind(self.request.as_ref().map(text).transpose()?)
        .bind(self.export.as_ref().map(text).transpose()?)
        .bind(text(&self.said)?)
        .bind(self.inventory)
        .bind(self.flow.is_of_parity())
        .bind(db::time(self.created))
        .bind(db::time(self.changed))
        .execute(on)
        .await?;
        Ok(done.rows_affected())
    }

    async fn update(&self, on: &mut SqliteConnection) -> sqlx::Result<u64> {
        let done = sqlx::query(
            "UPDATE import_job SET version = version + 1, seed = ?, seed_set = ?,
                 storage_account = ?, container = ?, state = ?, tracking_number = ?, flow = ?,
                 request = ?, export = ?, said = ?, inventory = ?, parity = ?, changed_at = ?
             WHERE name = ? AND version = ?",
        )
        .bind(self.request.as_ref().map(|request| request.seed.id.to_string()))
        .bind(self.request.as_ref().map(|request| request.seed.set))
        .bind(self.account.as_str())
        .bind(self.request.as_ref().map(|request| request.container.as_str()))
        .bind(self.flow.state.name())
        .bind(self.tracking_number().map(TrackingNumber::as_str))
        .bind(text(&self.flow)?)
        .bind(self.request.as_ref().map(text).transpose()?)
        .bind(self.export.as_ref().map(text).transpose()?)
        .bind(text(&self.said)?)
        .bind(self.inventory)
        .bind(self.flow.is_of_parity())
        .bind(db::time(self.changed))
        .bind(self.name.as_str())
        .bind(db::number(self.version))
        .execute(on)
        .await?;
        Ok(done.rows_affected())
    }

    async fn save_drive(
        &self,
        on: &mut SqliteConnection,
        position: usize,
        drive: &DriveRow,
    ) -> Result<(), Error> {
        let written = sqlx::query(
            "INSERT INTO drive (job, serial, position, manifest_sha256, header_sha256, key,
                 repository, objects, bytes_total, failures, failure_count, rebuilt, open)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(self.name.as_str())
        .bind(drive.serial.as_str())
        .bind(db::number(position as u64))
        .bind(drive.manifest.as_ref().map(|hash| hash.as_bytes().as_slice()))
        .bind(drive.header.as_ref().map(|hash| hash.as_bytes().as_slice()))
        .bind(drive.key)
        .bind(drive.repository.as_ref().map(|id| id.as_bytes().as_slice()))
        .bind(db::number(drive.objects))
        .bind(db::number(drive.bytes))
        .bind(db::to_json("drive.failures", &drive.failures)?)
        .bind(db::number(drive.failure_count))
        .bind(drive.rebuilt.as_ref().map(|it| db::to_json("drive.rebuilt", it)).transpose()?)
        .bind(!self.flow.state.is_end())
        .execute(on)
        .await;
        match written {
            Ok(_) => Ok(()),
            Err(cause) if db::violates(&cause, "drive.serial") => {
                let message = format!(
                    "drive {} is in another open import job; finish or cancel that one first",
                    drive.serial
                );
                Err(Error::refused(Code::DriveInAnotherJob, message))
            }
            Err(cause) => Err(cause.into()),
        }
    }

    fn violation(&self, cause: sqlx::Error) -> Error {
        if db::violates(&cause, "import_job.tracking_number") {
            let number = self.tracking_number().map(ToString::to_string).unwrap_or_default();
            let message = format!(
                "another import job has tracking number {number}; check it on the receipt of the carrier"
            );
            return Error::refused(Code::TrackingNumberInUse, message);
        }
        if let Some(JobRequest { seed, .. }) = &self.request
            && db::violates(&cause, "import_job.seed")
        {
            let message = format!(
                "drive set {} of seed {} has an import job already; change or cancel that one",
                seed.set, seed.id
            );
            return Error::refused(Code::AlreadyExists, message);
        }
        cause.into()
    }

    /// The number on its package, once it has one.
    pub(crate) fn tracking_number(&self) -> Option<&TrackingNumber> {
        self.flow.shipment.as_ref().map(|shipment| &shipment.package.tracking_number)
    }

    /// Drives that an export job has found at the dock are listed from then on.
    pub(crate) fn list_found(&mut self) {
        for drive in &self.flow.drives {
            if !self.drives.iter().any(|row| row.serial == drive.serial) {
                self.drives.push(DriveRow::plain(drive.serial.clone()));
            }
        }
    }

    pub(crate) fn drive_mut(&mut self, serial: &DriveSerial) -> Result<&mut DriveRow, Error> {
        let unknown = no_drive(&self.name, serial);
        self.drives.iter_mut().find(|drive| drive.serial == *serial).ok_or(unknown)
    }

    pub(crate) fn drive(&self, serial: &DriveSerial) -> Result<&DriveRow, Error> {
        let found = self.drives.iter().find(|drive| drive.serial == *serial);
        found.ok_or_else(|| no_drive(&self.name, serial))
    }

    /// Which row keeps which drive's password.
    pub(crate) fn keys(&self) -> Vec<(DriveSerial, i64)> {
        let row = |drive: &DriveRow| Some((drive.serial.clone(), drive.key?));
        self.drives.iter().filter_map(row).collect()
    }

    /// From now on these rows keep the drives' passwords.
    pub(crate) fn link_keys(&mut self, rows: &[(DriveSerial, i64)]) {
        for drive in &mut self.drives {
            let row = rows.iter().find(|(serial, _)| *serial == drive.serial);
            drive.key = row.map(|(_, row)| *row);
        }
    }

    /// What its drives carry.
    ///
    /// Errors: `JobState` where they carry no seed.
    pub(crate) fn seed(&self) -> Result<&JobRequest, Error> {
        self.request.as_ref().ok_or_else(|| {
            let message = format!(
                "import job {} carries no seed: it was made by another client of the import service, and nobody has said who signs what is on its drives",
                self.name
            );
            Error::refused(Code::JobState, message)
        })
    }

    pub(crate) fn is_creating(&self) -> bool {
        matches!(self.flow.state, JobState::Creating { .. })
    }
}

fn text<T: serde::Serialize>(value: &T) -> sqlx::Result<String> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

fn no_drive(job: &JobName, serial: &DriveSerial) -> Error {
    let message = format!("drive {serial} is not in import job {job}; put it aside and ask");
    Error::refused(Code::DriveNotInJob, message)
}

/// Somebody else was faster.
pub(crate) fn lost() -> Error {
    let message = "the import job has changed meanwhile; read it again and decide anew";
    Error::refused(Code::ConcurrentChange, message)
}

impl DriveRow {
    pub(crate) fn new(request: &wire::DriveRequest) -> Self {
        Self {
            manifest: Some(request.manifest_hash),
            header: request.drive_header_hash,
            ..Self::plain(request.drive_id.clone())
        }
    }

    /// A drive of which nothing but the number is known.
    pub(crate) fn plain(serial: DriveSerial) -> Self {
        Self {
            serial,
            manifest: None,
            header: None,
            key: None,
            repository: None,
            objects: 0,
            bytes: 0,
            failures: Vec::new(),
            failure_count: 0,
            rebuilt: None,
        }
    }

    fn read(row: DriveColumns) -> Result<Self, Error> {
        let manifest = row.manifest_sha256.map(|hash| db::bytes("drive.manifest_sha256", &hash));
        let header = row.header_sha256.map(|hash| db::bytes("drive.header_sha256", &hash));
        let rebuilt = row.rebuilt.map(|text| db::json("drive.rebuilt", &text)).transpose()?;
        let repository = row.repository.map(|id| db::bytes("drive.repository", &id)).transpose()?;
        Ok(Self {
            serial: db::parsed("drive.serial", &row.serial)?,
            manifest: manifest.transpose()?.map(Digest),
            header: header.transpose()?.map(Digest),
            key: row.key,
            repository: repository.map(Digest),
            objects: db::count("drive.objects", row.objects)?,
            bytes: db::count("drive.bytes_total", row.bytes_total)?,
            failures: db::json("drive.failures", &row.failures)?,
            failure_count: db::count("drive.failure_count", row.failure_count)?,
            rebuilt,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Db;
    use flow::{JobEvent, JobType};

    const REQUEST: &str = r#"{"vault":"v1","server":"s1","storageAccount":"acct01","container":"seeds",
        "seed":{"id":"00000000000000000000000000000000","set":0,
        "signer":"0000000000000000000000000000000000000000000000000000000000000000"},
        "driveList":[{"driveId":"S1",
        "manifestHash":"0000000000000000000000000000000000000000000000000000000000000000"}]}"#;

    async fn stored(db: &Db) -> Record {
        for statement in [
            "INSERT INTO vault (name, created_at) VALUES ('v1', '')",
            "INSERT INTO server (vault, name, created_at) VALUES ('v1', 's1', '')",
            "INSERT INTO storage_account (name, created_at) VALUES ('acct01', '')",
        ] {
            sqlx::query(statement).execute(db.pool()).await.unwrap();
        }
        let request: JobRequest = serde_json::from_str(REQUEST).unwrap();
        let (now, drive) = (Timestamp::UNIX_EPOCH, "S1".parse().unwrap());
        let flow = ImportJob::new(JobType::Import, vec![drive], now).unwrap();
        let name = "job-1".parse().unwrap();
        let mut record = Record::new(name, Group::default(), request, flow, now);
        record.save(&mut db.pool().acquire().await.unwrap()).await.unwrap();
        record
    }

    /// As two servers would: each with a database handle of its own, having read the same version.
    #[tokio::test]
    async fn of_two_servers_that_read_the_same_version_one_is_stored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let (one, other) = (Db::open(&path).await.unwrap(), Db::open(&path).await.unwrap());
        let name = stored(&one).await.name;
        let load = async |db: &Db| {
            let mut connection = db.pool().acquire().await.unwrap();
            Record::load(&mut connection, &name).await.unwrap().unwrap()
        };
        let (mut first, mut second) = (load(&one).await, load(&other).await);
        assert_eq!(first, second);
        let later = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(1);
        first.inventory = true;
        second.flow = second.flow.transition(&JobEvent::CancelRequested, later).unwrap().0;
        let mut transaction = one.write().await.unwrap();
        first.save(&mut transaction).await.unwrap();
        transaction.commit().await.unwrap();
        let mut transaction = other.write().await.unwrap();
        let lost = second.save(&mut transaction).await.unwrap_err();
        assert!(matches!(lost, Error::Refused { code: Code::ConcurrentChange, .. }), "{lost}");
        drop(transaction);
        let stored = load(&other).await;
        assert_eq!((stored.version, stored.inventory), (2, true));
        assert!(stored.is_creating(), "the one that lost has changed nothing");
        let request = stored.request.clone().unwrap();
        let mut again = Record::new(name.clone(), Group::default(), request, stored.flow, later);
        let mut connection = other.pool().acquire().await.unwrap();
        assert!(again.save(&mut connection).await.is_err(), "created twice");
    }
}
