//! The agent's database: one SQLite file in the state directory, used by the service and by commands beside it. Its statements are with
//! what they are about.

use crate::Error;
use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long a statement waits for another process.
const BUSY: Duration = Duration::from_secs(10);

/// The database. Blocks; may be used by many threads, one at a time.
pub struct Db {
    path: PathBuf,
    runtime: Runtime,
    connection: Mutex<SqliteConnection>,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Db {
    /// The database of that state directory, made where there is none, and brought to this version.
    ///
    /// # Errors
    /// [`Error::History`].
    pub fn open(state: &Path) -> Result<Self, Error> {
        store::durable::create_folder(state, 0o700).map_err(Error::io("creating", state))?;
        let path = state.join("agent.db");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Error::io("starting", &path))?;
        let opened = runtime.block_on(async {
            let mut connection = SqliteConnectOptions::new()
                .filename(&path)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(BUSY)
                .connect()
                .await?;
            sqlx::migrate!("./migrations").run(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        });
        let connection = opened.map_err(|cause| history(&path, cause))?;
        Ok(Self { path, runtime, connection: Mutex::new(connection) })
    }

    /// Runs what is asked of the connection.
    pub(crate) fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.runtime.block_on(work(&mut connection));
        done.map_err(|cause| history(&self.path, cause))
    }

    /// A setting that a command has changed while the service runs.
    ///
    /// # Errors
    /// [`Error::History`].
    pub fn setting(&self, name: &str) -> Result<Option<String>, Error> {
        self.with(async |on| {
            let query = sqlx::query_scalar("SELECT value FROM setting WHERE name = ?").bind(name);
            query.fetch_optional(on).await
        })
    }

    /// Changes a setting; none removes it.
    ///
    /// # Errors
    /// [`Error::History`].
    pub fn set(&self, name: &str, value: Option<&str>) -> Result<(), Error> {
        self.with(async |on| {
            let query = match value {
                Some(value) => sqlx::query(
                    "INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                )
                .bind(name)
                .bind(value),
                None => sqlx::query("DELETE FROM setting WHERE name = ?").bind(name),
            };
            query.execute(on).await.map(drop)
        })
    }
}

fn history(path: &Path, cause: sqlx::Error) -> Error {
    Error::History { path: path.to_owned(), cause: Box::new(cause) }
}

pub(crate) fn millis(moment: Timestamp) -> i64 {
    moment.as_millisecond()
}

/// A moment of the database; what is out of range is its beginning, which no run was at.
pub(crate) fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A number as the database counts.
pub(crate) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count of the database, which none of our statements makes negative.
pub(crate) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
