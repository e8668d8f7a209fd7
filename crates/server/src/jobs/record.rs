//! One import job in the database. Two writers that have read the same version: one is stored, the
//! other hears of it.

use crate::{Error, db};
use flow::{ImportJob, JobState};
use jiff::Timestamp;
use model::{
    AccountName, ContainerName, Digest, DriveSerial, JobName, ServerName, TrackingNumber, VaultName,
};
use sqlx::SqliteConnection;
use wire::{Code, Failure, JobRequest, KeyRelease};

/// An import job.
///
/// invariant: `drives` are those of `flow`, in the same order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) name: JobName,
    /// As read; what [`save`](Self::save) compares.
    pub(crate) version: u64,
    pub(crate) vault: VaultName,
    pub(crate) server: ServerName,
    pub(crate) account: AccountName,
    pub(crate) container: ContainerName,
    pub(crate) request: JobRequest,
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
    pub(crate) manifest: Digest,
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
}

#[derive(sqlx::FromRow)]
struct JobColumns {
    version: i64,
    flow: String,
    request: String,
    inventory: i64,
    created_at: String,
    changed_at: String,
}

#[derive(sqlx::FromRow)]
struct DriveColumns {
    serial: String,
    manifest_sha256: Vec<u8>,
    header_sha256: Option<Vec<u8>>,
    key: Option<i64>,
    repository: Option<Vec<u8>>,
    objects: i64,
    bytes_total: i64,
    failures: String,
    failure_count: i64,
}

impl Record {
    /// A job that is not stored yet.
    pub(crate) fn new(name: JobName, request: JobRequest, flow: ImportJob, now: Timestamp) -> Self {
        let drives = request.drive_list.iter().map(DriveRow::new).collect();
        Self {
            name,
            version: 0,
            vault: request.vault.clone(),
            server: request.server.clone(),
            account: request.storage_account.clone(),
            container: request.container.clone(),
            request,
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
            "SELECT version, flow, request, inventory, created_at, changed_at
             FROM import_job WHERE name = ?",
        )
        .bind(name.as_str())
        .fetch_optional(&mut *on)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let drives: Vec<DriveColumns> = sqlx::query_as(
            "SELECT serial, manifest_sha256, header_sha256, key, repository, objects, bytes_total, failures,
                    failure_count
             FROM drive WHERE job = ? ORDER BY position",
        )
        .bind(name.as_str())
        .fetch_all(&mut *on)
        .await?;
        let request: JobRequest = db::json("import_job.request", &row.request)?;
        let flow: ImportJob = db::json("import_job.flow", &row.flow)?;
        let mut record = Self::new(name.clone(), request, flow, Timestamp::UNIX_EPOCH);
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
            "INSERT INTO import_job (name, version, vault, server, seed, seed_set,
                 storage_account, container, state, tracking_number, flow, request, inventory,
                 created_at, changed_at)
             VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
        )
        .bind(self.name.as_str())
        .bind(self.vault.as_str())
        .bind(self.server.as_str())
        .bind(self.request.seed.id.to_string())
        .bind(self.request.seed.set)
        .bind(self.account.as_str())
        .bind(self.container.as_str())
        .bind(self.flow.state.name())
        .bind(self.tracking_number().map(TrackingNumber::as_str))
        .bind(serde_json::to_string(&self.flow).map_err(|e| sqlx::Error::Encode(e.into()))?)
        .bind(serde_json::to_string(&self.request).map_err(|e| sqlx::Error::Encode(e.into()))?)
        .bind(self.inventory)
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
                 request = ?, inventory = ?, changed_at = ?
             WHERE name = ? AND version = ?",
        )
        .bind(self.request.seed.id.to_string())
        .bind(self.request.seed.set)
        .bind(self.account.as_str())
        .bind(self.container.as_str())
        .bind(self.flow.state.name())
        .bind(self.tracking_number().map(TrackingNumber::as_str))
        .bind(serde_json::to_string(&self.flow).map_err(|e| sqlx::Error::Encode(e.into()))?)
        .bind(serde_json::to_string(&self.request).map_err(|e| sqlx::Error::Encode(e.into()))?)
        .bind(self.inventory)
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
                 repository, objects, bytes_total, failures, failure_count, open)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(self.name.as_str())
        .bind(drive.serial.as_str())
        .bind(db::number(position as u64))
        .bind(drive.manifest.as_bytes().as_slice())
        .bind(drive.header.as_ref().map(|hash| hash.as_bytes().as_slice()))
        .bind(drive.key)
        .bind(drive.repository.as_ref().map(|id| id.as_bytes().as_slice()))
        .bind(db::number(drive.objects))
        .bind(db::number(drive.bytes))
        .bind(db::to_json("drive.failures", &drive.failures)?)
        .bind(db::number(drive.failure_count))
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
        let seed = &self.request.seed;
        if db::violates(&cause, "import_job.tracking_number") {
            let number = self.tracking_number().map(ToString::to_string).unwrap_or_default();
            let message = format!(
                "another import job has tracking number {number}; check it on the receipt of the carrier"
            );
            return Error::refused(Code::TrackingNumberInUse, message);
        }
        if db::violates(&cause, "import_job.seed") {
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

    pub(crate) fn is_creating(&self) -> bool {
        matches!(self.flow.state, JobState::Creating { .. })
    }
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
            serial: request.drive_id.clone(),
            manifest: request.manifest_hash,
            header: request.drive_header_hash,
            key: None,
            repository: None,
            objects: 0,
            bytes: 0,
            failures: Vec::new(),
            failure_count: 0,
        }
    }

    fn read(row: DriveColumns) -> Result<Self, Error> {
        let header = row.header_sha256.map(|hash| db::bytes("drive.header_sha256", &hash));
        let repository = row.repository.map(|id| db::bytes("drive.repository", &id)).transpose()?;
        Ok(Self {
            serial: db::parsed("drive.serial", &row.serial)?,
            manifest: Digest(db::bytes("drive.manifest_sha256", &row.manifest_sha256)?),
            header: header.transpose()?.map(Digest),
            key: row.key,
            repository: repository.map(Digest),
            objects: db::count("drive.objects", row.objects)?,
            bytes: db::count("drive.bytes_total", row.bytes_total)?,
            failures: db::json("drive.failures", &row.failures)?,
            failure_count: db::count("drive.failure_count", row.failure_count)?,
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
            "INSERT INTO vault VALUES ('v1', '')",
            "INSERT INTO server VALUES ('v1', 's1', '')",
            "INSERT INTO storage_account VALUES ('acct01', '')",
        ] {
            sqlx::query(statement).execute(db.pool()).await.unwrap();
        }
        let request: JobRequest = serde_json::from_str(REQUEST).unwrap();
        let (now, drive) = (Timestamp::UNIX_EPOCH, "S1".parse().unwrap());
        let flow = ImportJob::new(JobType::Import, vec![drive], now).unwrap();
        let mut record = Record::new("job-1".parse().unwrap(), request, flow, now);
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
        let mut again = Record::new(name.clone(), stored.request.clone(), stored.flow, later);
        let mut connection = other.pool().acquire().await.unwrap();
        assert!(again.save(&mut connection).await.is_err(), "created twice");
    }
}
