//! The database: one SQLite file, opened so that what is committed survives a power cut. Knows no
//! table; each use case has its own statements.

use crate::Error;
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool, Transaction};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// Readers at once. Writers are one at a time whatever this says.
const CONNECTIONS: u32 = 8;
/// How long a statement waits for a writer before it is an error.
const BUSY: Duration = Duration::from_secs(10);

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Db(SqlitePool);

impl Db {
    /// Opens the file, made where there is none, and brings it to this version.
    pub(crate) async fn open(path: &Path) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(Duration::from_secs(30))
            .connect_with(options)
            .await?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        Ok(Self(pool))
    }

    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.0
    }

    /// A transaction that may write. It takes the write lock at once: one that began as a reader
    /// could not wait for it.
    pub(crate) async fn write(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        Ok(self.0.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// Closes every connection, so that SQLite can fold its log into the file.
    pub(crate) async fn close(&self) {
        self.0.close().await;
    }
}

/// Whether a constraint of that name or column was what refused.
pub(crate) fn violates(error: &sqlx::Error, constraint: &str) -> bool {
    match error {
        sqlx::Error::Database(cause) => {
            cause.is_unique_violation() && cause.message().contains(constraint)
        }
        _ => false,
    }
}

/// A value of the database as the type it was made from.
pub(crate) fn parsed<T: FromStr>(column: &str, text: &str) -> Result<T, Error>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|why: T::Err| damaged(column, why))
}

/// A digest or key of the database.
pub(crate) fn bytes<const N: usize>(column: &str, blob: &[u8]) -> Result<[u8; N], Error> {
    blob.try_into().map_err(|_| damaged(column, format!("{} bytes long", blob.len())))
}

/// A number of the database that cannot be negative.
pub(crate) fn count(column: &str, number: i64) -> Result<u64, Error> {
    number.try_into().map_err(|_| damaged(column, "negative"))
}

/// A number for the database; lengths beyond 8 EiB do not exist.
pub(crate) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A JSON value of the database.
pub(crate) fn json<T: serde::de::DeserializeOwned>(column: &str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|why| damaged(column, why))
}

/// A JSON value for the database.
pub(crate) fn to_json<T: serde::Serialize>(column: &str, value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|why| damaged(column, why))
}

/// A time for the database: of one width, so that texts sort as times do.
pub(crate) fn time(at: Timestamp) -> String {
    format!("{at:.6}")
}

pub(crate) fn damaged(column: &str, why: impl std::fmt::Display) -> Error {
    Error::Damaged { what: format!("{column} in the database"), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn opening_twice_changes_nothing_and_commits_are_synchronous() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        drop(Db::open(&path).await.unwrap());
        let db = Db::open(&path).await.unwrap();
        let (mode,): (String,) =
            sqlx::query_as("PRAGMA journal_mode").fetch_one(db.pool()).await.unwrap();
        let (synchronous,): (i64,) =
            sqlx::query_as("PRAGMA synchronous").fetch_one(db.pool()).await.unwrap();
        assert_eq!((mode.as_str(), synchronous), ("wal", 2));
    }

    /// Brings the file to a version of long ago, as the servers of that time did, and runs `sql` there.
    async fn left_at(version: u32, path: &Path, sql: &'static str) {
        let folder = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir("migrations").unwrap() {
            let (name, from) = entry.map(|entry| (entry.file_name(), entry.path())).unwrap();
            if name.to_str().unwrap()[..4].parse::<u32>().unwrap() <= version {
                std::fs::copy(from, folder.path().join(name)).unwrap();
            }
        }
        let options =
            SqliteConnectOptions::new().filename(path).create_if_missing(true).foreign_keys(true);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        let migrator = sqlx::migrate::Migrator::new(folder.path()).await.unwrap();
        migrator.run(&pool).await.unwrap();
        sqlx::raw_sql(sql).execute(&pool).await.unwrap();
        pool.close().await;
    }

    #[tokio::test]
    async fn what_servers_of_earlier_versions_have_left_is_all_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let foundation = "INSERT INTO storage_account VALUES ('acct01', 't');
             INSERT INTO vault VALUES ('v1', 't');
             INSERT INTO server VALUES ('v1', 's1', 't');
             INSERT INTO principal VALUES ('admin1', 'u0', 'admin', NULL, NULL, zeroblob(32), 't');
             INSERT INTO principal VALUES ('agent1', 'u1', 'agent', 'v1', 's1', randomblob(32), 't1');
             INSERT INTO principal VALUES ('dock1', 'u2', 'dock', NULL, NULL, randomblob(32), 't');
             INSERT INTO import_job (name, version, vault, server, seed, seed_set, storage_account,
                 container, state, tracking_number, flow, request, inventory, created_at, changed_at)
             VALUES ('job1', 3, 'v1', 's1', 'aa', 0, 'acct01', 'seeds', 'Shipping', 'T1', '{}', '{}', 1,
                 't', 't');
             INSERT INTO drive_key (vault, server, seed, serial, header_sha256, sealed, created_at)
             VALUES ('v1', 's1', 'aa', 'S1', zeroblob(32), x'01', 't');
             INSERT INTO drive (job, serial, position, manifest_sha256, repository, objects, bytes_total,
                 open, header_sha256, key)
             VALUES ('job1', 'S1', 0, zeroblob(32), x'02', 5, 6, 1, zeroblob(32), 1)";
        left_at(2, &path, foundation).await;
        let copy_computers = "INSERT INTO application VALUES ('app1', 'id1', 'n', NULL, 'o', 't');
             INSERT INTO seed (id, vault, server, storage_account, said, announced_at)
             VALUES ('aa', 'v1', 's1', 'acct01', '{}', 't');
             INSERT INTO copy_computer (token_sha256, seed, application, created_at)
             VALUES (zeroblob(32), 'aa', 'app1', 't')";
        left_at(31, &path, copy_computers).await;

        let db = Db::open(&path).await.unwrap();
        let job: (i64, String, String, i64) = sqlx::query_as(
            "SELECT version, vault, tracking_number, inventory FROM import_job WHERE name = 'job1'",
        )
        .fetch_one(db.pool())
        .await
        .unwrap();
        assert_eq!(job, (3, "v1".to_owned(), "T1".to_owned(), 1));
        let drive: (i64, i64, i64, i64) =
            sqlx::query_as("SELECT objects, bytes_total, key, open FROM drive WHERE job = 'job1'")
                .fetch_one(db.pool())
                .await
                .unwrap();
        assert_eq!(drive, (5, 6, 1, 1));
        let text = async |sql: &'static str| {
            let (text,): (Option<String>,) =
                sqlx::query_as(sql).fetch_one(db.pool()).await.unwrap();
            text.unwrap_or_default()
        };
        let backend = text("SELECT backend FROM storage_account WHERE name = 'acct01'").await;
        assert_eq!(backend, model::BackendName::default().as_str());
        let callers = "SELECT group_concat(subject || ' ' || user_name || ' ' || role || ' '
                 || coalesce(vault || '/' || server, '-') || ' ' || length(token_sha256) || ' ' || created_at, ', ')
             FROM (SELECT * FROM principal ORDER BY subject)";
        assert_eq!(
            text(callers).await,
            "admin1 u0 admin - 32 t, agent1 u1 agent v1/s1 32 t1, dock1 u2 dock - 32 t"
        );
        assert_eq!(text("SELECT announced_seen FROM seed WHERE announced_at = 't'").await, "");
        assert_eq!(text("SELECT created_seen FROM copy_computer WHERE seed = 'aa'").await, "");
        let broken: Option<(String,)> =
            sqlx::query_as("SELECT \"table\" FROM pragma_foreign_key_check")
                .fetch_optional(db.pool())
                .await
                .unwrap();
        assert_eq!(broken, None);
        let orphan = "INSERT INTO drive (job, serial, position, open) VALUES ('none', 'S2', 0, 0)";
        assert!(sqlx::query(orphan).execute(db.pool()).await.is_err(), "a drive of no job");
    }

    #[test]
    fn times_sort_as_text() {
        let (one, other) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5Z");
        assert!(time(one.parse().unwrap()) < time(other.parse().unwrap()));
    }
}
