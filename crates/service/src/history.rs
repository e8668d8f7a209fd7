//! What was run: a row for each run, on the disk before it begins. Runs nothing.

use crate::db::{count, millis, moment, number};
use crate::{Db, Error};
use jiff::Timestamp;
use model::{ErrorKind, GroupName};
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

/// Items that a run left out, kept by name; the rest is a number.
const NAMED: usize = 1000;
/// Runs kept of each group. Three years of hourly ones.
const KEPT: i64 = 30_000;

/// Who has asked for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// The schedule.
    Schedule,
    /// One that failed is tried again.
    Retry,
    /// Somebody.
    Command,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It goes on.
    #[default]
    Running,
    /// A recovery point with everything in it.
    Done,
    /// A recovery point that lacks something, or a command after it that failed.
    Partial,
    /// Nothing was backed up: the seed is on its way.
    Waiting,
    /// No recovery point.
    Failed,
    /// Its process ended before it did.
    Interrupted,
    /// It was missed, and left out by choice.
    Skipped,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Run {
    /// Its number; later runs have larger ones.
    pub id: i64,
    /// The group.
    pub group: GroupName,
    /// Who has asked for it.
    pub cause: Cause,
    /// The time in the schedule that it is for.
    pub scheduled: Option<Timestamp>,
    /// 1 for the first attempt at that.
    pub attempt: u32,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; none while it runs.
    pub ended: Option<Timestamp>,
    /// How it stands.
    pub state: RunState,
    /// The kind of its error.
    #[serde(skip)]
    pub kind: Option<String>,
    /// What it says.
    pub message: Option<String>,
    /// Where the recovery point is.
    pub place: Option<String>,
    /// The recovery point.
    pub snapshot: Option<String>,
    /// The seed that it is a part of, or waits for.
    pub seed: Option<String>,
    /// Files looked at.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that were new, as stored.
    pub added: u64,
    /// Items left out.
    pub problems: u64,
}

/// An item that a run left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Which.
    pub path: String,
    /// Why.
    pub why: String,
}

impl Db {
    /// Notes that a run begins, and answers its number. Runs of the group that have no end are over: the caller holds its lock.
    ///
    /// # Errors
    /// [`Error::History`]: then it must not begin.
    pub(crate) fn begin(
        &self,
        group: &GroupName,
        cause: Cause,
        scheduled: Option<Timestamp>,
        attempt: u32,
        now: Timestamp,
    ) -> Result<i64, Error> {
        self.with(async |on| {
            end_stale(on, group, now).await?;
            let run = sqlx::query(
                "INSERT INTO run (grp, cause, scheduled, attempt, started, state) VALUES (?, ?, ?, ?, ?, 'running')",
            )
            .bind(group.as_str())
            .bind(cause.word())
            .bind(scheduled.map(millis))
            .bind(i64::from(attempt))
            .bind(millis(now));
            let id = run.execute(&mut *on).await?.last_insert_rowid();
            let old = sqlx::query(
                "DELETE FROM run WHERE grp = ? AND id <= (SELECT id FROM run WHERE grp = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
            );
            old.bind(group.as_str()).bind(group.as_str()).bind(KEPT).execute(on).await?;
            Ok(id)
        })
    }

    /// Notes that a scheduled run was left out.
    pub(crate) fn skip(
        &self,
        group: &GroupName,
        scheduled: Timestamp,
        now: Timestamp,
    ) -> Result<(), Error> {
        let id = self.begin(group, Cause::Schedule, Some(scheduled), 1, now)?;
        let message = Some("missed: nothing could run at its time".to_owned());
        self.finish(id, &Finish { state: RunState::Skipped, message, ..Finish::default() }, now)
    }

    /// Whatever of the group is noted as running is not: the caller holds its lock. Answers whether there was something.
    pub(crate) fn end_stale(&self, group: &GroupName, now: Timestamp) -> Result<bool, Error> {
        self.with(async |on| end_stale(on, group, now).await)
    }

    /// Notes how far a run is.
    pub(crate) fn progress(&self, id: i64, files: u64, bytes: u64) -> Result<(), Error> {
        self.with(async |on| {
            let query = sqlx::query("UPDATE run SET files = ?, bytes = ? WHERE id = ?");
            query.bind(number(files)).bind(number(bytes)).bind(id).execute(on).await.map(drop)
        })
    }

    /// Notes how a run ended.
    pub(crate) fn finish(&self, id: i64, how: &Finish, now: Timestamp) -> Result<(), Error> {
        self.with(async |on| {
            let mut transaction = sqlx::Connection::begin_with(on, "BEGIN IMMEDIATE").await?;
            sqlx::query(
                "UPDATE run SET ended = ?, state = ?, kind = ?, message = ?, place = ?, snapshot = ?, seed = ?, files = ?, bytes = ?, added = ?, problems = ? WHERE id = ?",
            )
            .bind(millis(now))
            .bind(how.state.word())
            .bind(how.kind.map(|kind| format!("{kind:?}")))
            .bind(how.message.as_deref())
            .bind(how.place)
            .bind(how.snapshot.as_deref())
            .bind(how.seed.as_deref())
            .bind(number(how.files))
            .bind(number(how.bytes))
            .bind(number(how.added))
            .bind(number(how.problems))
            .bind(id)
            .execute(&mut *transaction)
            .await?;
            for left in how.left.iter().take(NAMED) {
                let query = sqlx::query("INSERT INTO problem (run, path, why) VALUES (?, ?, ?)");
                query.bind(id).bind(&left.path).bind(&left.why).execute(&mut *transaction).await?;
            }
            transaction.commit().await
        })
    }

    /// The newest runs, of one group or of all, the newest first.
    ///
    /// # Errors
    /// [`Error::History`]; [`Error::Unknown`].
    pub fn runs(&self, group: Option<&GroupName>, most: u32) -> Result<Vec<Run>, Error> {
        let rows = self.with(async |on| {
            let query = sqlx::query(
                "SELECT * FROM run WHERE ?1 IS NULL OR grp = ?1 ORDER BY id DESC LIMIT ?2",
            );
            query.bind(group.map(GroupName::as_str)).bind(i64::from(most)).fetch_all(on).await
        })?;
        rows.iter().map(read).collect()
    }

    /// What a run left out: the first thousand.
    ///
    /// # Errors
    /// [`Error::History`].
    pub fn left(&self, run: i64) -> Result<Vec<Left>, Error> {
        let rows = self.with(async |on| {
            let query = sqlx::query("SELECT path, why FROM problem WHERE run = ? ORDER BY rowid");
            query.bind(run).fetch_all(on).await
        })?;
        Ok(rows.iter().map(|row| Left { path: row.get("path"), why: row.get("why") }).collect())
    }

    async fn one(
        on: &mut sqlx::SqliteConnection,
        group: &GroupName,
        which: &'static str,
    ) -> Result<Option<SqliteRow>, sqlx::Error> {
        let query = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT * FROM run WHERE grp = ? AND {which} ORDER BY id DESC LIMIT 1"
        )));
        query.bind(group.as_str()).fetch_optional(on).await
    }

    fn newest(&self, group: &GroupName, which: &'static str) -> Result<Option<Run>, Error> {
        let row = self.with(async |on| Self::one(on, group, which).await)?;
        row.as_ref().map(read).transpose()
    }

    /// The newest run that made a recovery point.
    ///
    /// # Errors
    /// [`Error::History`].
    pub fn last_success(&self, group: &GroupName) -> Result<Option<Run>, Error> {
        self.newest(group, "state IN ('done', 'partial') AND snapshot IS NOT NULL")
    }

    /// The last time in the schedule that a run was for. What a clock that was ahead has run is in the future, and does not count.
    pub(crate) fn last_scheduled(
        &self,
        group: &GroupName,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, Error> {
        let last = self.with(async |on| {
            let query = sqlx::query_scalar::<_, Option<i64>>(
                "SELECT max(scheduled) FROM run WHERE grp = ? AND scheduled <= ?",
            );
            query.bind(group.as_str()).bind(millis(now)).fetch_one(on).await
        })?;
        Ok(last.map(moment))
    }

    /// How many scheduled times have had runs since that one, whatever became of them.
    pub(crate) fn scheduled_since(&self, group: &GroupName, run: i64) -> Result<usize, Error> {
        let times = self.with(async |on| {
            let query = sqlx::query_scalar::<_, i64>(
                "SELECT count(DISTINCT scheduled) FROM run WHERE grp = ? AND id > ?",
            );
            query.bind(group.as_str()).bind(run).fetch_one(on).await
        })?;
        Ok(usize::try_from(times).unwrap_or_default())
    }

    /// The newest run that has ended.
    pub(crate) fn last_ended(&self, group: &GroupName) -> Result<Option<Run>, Error> {
        self.newest(group, "state <> 'running'")
    }

    /// The newest run.
    ///
    /// # Errors
    /// [`Error::History`].
    pub fn last(&self, group: &GroupName) -> Result<Option<Run>, Error> {
        self.newest(group, "1")
    }
}

/// How a run ended.
#[derive(Debug, Default)]
pub(crate) struct Finish {
    pub(crate) state: RunState,
    pub(crate) kind: Option<ErrorKind>,
    pub(crate) message: Option<String>,
    pub(crate) place: Option<&'static str>,
    pub(crate) snapshot: Option<String>,
    pub(crate) seed: Option<String>,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) added: u64,
    pub(crate) problems: u64,
    pub(crate) left: Vec<Left>,
}

async fn end_stale(
    on: &mut sqlx::SqliteConnection,
    group: &GroupName,
    now: Timestamp,
) -> Result<bool, sqlx::Error> {
    let query = sqlx::query(
        "UPDATE run SET state = 'interrupted', ended = ?, kind = 'Interrupted', message = 'its process ended before it did' WHERE grp = ? AND state = 'running'",
    );
    let done = query.bind(millis(now)).bind(group.as_str()).execute(on).await?;
    Ok(done.rows_affected() > 0)
}

fn read(row: &SqliteRow) -> Result<Run, Error> {
    let unknown = |what: &str, value: &str| Error::Unknown { what: format!("{what} '{value}'") };
    let text = |column: &str| row.get::<String, _>(column);
    let (group, cause, state) = (text("grp"), text("cause"), text("state"));
    Ok(Run {
        id: row.get("id"),
        group: group.parse().map_err(|_| unknown("a group", &group))?,
        cause: Cause::of(&cause).ok_or_else(|| unknown("a cause", &cause))?,
        scheduled: row.get::<Option<i64>, _>("scheduled").map(moment),
        attempt: u32::try_from(row.get::<i64, _>("attempt")).unwrap_or(u32::MAX),
        started: moment(row.get("started")),
        ended: row.get::<Option<i64>, _>("ended").map(moment),
        state: RunState::of(&state).ok_or_else(|| unknown("a state", &state))?,
        kind: row.get("kind"),
        message: row.get("message"),
        place: row.get("place"),
        snapshot: row.get("snapshot"),
        seed: row.get("seed"),
        files: count(row.get("files")),
        bytes: count(row.get("bytes")),
        added: count(row.get("added")),
        problems: count(row.get("problems")),
    })
}

impl Cause {
    fn word(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Retry => "retry",
            Self::Command => "command",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Schedule, Self::Retry, Self::Command].into_iter().find(|cause| cause.word() == word)
    }
}

impl RunState {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
        }
    }

    pub(crate) fn of(word: &str) -> Option<Self> {
        use RunState::{Done, Failed, Interrupted, Partial, Running, Skipped, Waiting};
        let all = [Running, Done, Partial, Waiting, Failed, Interrupted, Skipped];
        all.into_iter().find(|state| state.word() == word)
    }
}

impl Run {
    /// Whether trying again may help: the cause passes by itself.
    pub(crate) fn may_pass(&self) -> bool {
        let kind = self.kind.as_deref().unwrap_or_default();
        match self.state {
            RunState::Interrupted => true,
            RunState::Failed => matches!(kind, "Unavailable" | "Locked" | "Interrupted" | "Full"),
            _ => false,
        }
    }
}
