//! A group's rules applied to its recovery points in the vault: when that is due, what came of it, what is kept of that. What is deleted is
//! decided by the agent and the vault.

use crate::alert::Severity;
use crate::db::{count, millis, moment, number};
use crate::run::RunOf;
use crate::{Cause, Db, Error, RunState};
use agent::{Group, Kept, KeptPoint};
use jiff::{SignedDuration, Timestamp};
use model::{ErrorKind, GroupName};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::sync::atomic::Ordering;
use std::sync::{RwLockWriteGuard, TryLockError};
use std::time::{Duration, Instant};

/// How long rules wait for other backups to end.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often they look.
const LOOK: Duration = Duration::from_millis(500);
/// Runs kept of each group. Three years of daily ones.
const KEPT: i64 = 1000;

/// How often rules are applied, after a backup that is in the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Retention {
    /// Days between two times at which recovery points that no rule keeps go; 0 for never.
    pub forget_days: u16,
    /// Days between two times at which data that nobody needs goes, too; 0 for never.
    pub prune_days: u16,
}

impl Default for Retention {
    fn default() -> Self {
        Self { forget_days: 1, prune_days: 7 }
    }
}

/// One time at which a group's rules were applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Its number; later ones have larger ones.
    pub id: i64,
    /// The group.
    pub group: GroupName,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; none while it runs.
    pub ended: Option<Timestamp>,
    /// How it stands.
    pub state: String,
    /// What it says.
    pub message: Option<String>,
    /// Whether data that nobody needs was to go, too.
    pub pruned: bool,
    /// Recovery points that stay.
    pub kept: u64,
    /// Recovery points that go.
    pub forgotten: u64,
    /// Bytes that the vault has less, once that is carried out.
    pub freed: u64,
    /// The number of what was asked for, at the vault.
    pub deletion: Option<u64>,
    /// When that is carried out.
    pub due: Option<Timestamp>,
}

/// What was decided of a recovery point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// Its snapshot.
    pub snapshot: String,
    /// When it was made.
    pub time: Timestamp,
    /// Why it is kept; none where it goes.
    pub why: Option<String>,
}

impl Db {
    fn begin_retention(
        &self,
        group: &GroupName,
        cause: Cause,
        prune: bool,
        now: Timestamp,
    ) -> Result<i64, Error> {
        self.with(async |on| {
            // The caller holds the group's lock: what has no end was cut off.
            sqlx::query("UPDATE retention SET state = 'interrupted', ended = ? WHERE grp = ? AND ended IS NULL")
                .bind(millis(now))
                .bind(group.as_str())
                .execute(&mut *on)
                .await?;
            let row = sqlx::query(
                "INSERT INTO retention (grp, cause, started, state, pruned) VALUES (?, ?, ?, 'running', ?)",
            )
            .bind(group.as_str())
            .bind(if cause == Cause::Command { "command" } else { "schedule" })
            .bind(millis(now))
            .bind(prune);
            let id = row.execute(&mut *on).await?.last_insert_rowid();
            let old = sqlx::query(
                "DELETE FROM retention WHERE grp = ? AND id <= (SELECT id FROM retention WHERE grp = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
            );
            old.bind(group.as_str()).bind(group.as_str()).bind(KEPT).execute(on).await?;
            Ok(id)
        })
    }

    fn end_retention(
        &self,
        id: i64,
        (state, message): (RunState, Option<&str>),
        kept: Option<&Kept>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let points: &[KeptPoint] = kept.map_or(&[], |kept| &kept.points);
        let gone = kept.map_or(0, Kept::gone) as u64;
        let stay = kept.map_or(0, Kept::stay) as u64;
        let freed = kept.and_then(|kept| kept.figures).map_or(0, |figures| figures.bytes_freed());
        let deletion = kept.and_then(|kept| kept.deletion.as_ref());
        self.with(async |on| {
            let mut transaction = sqlx::Connection::begin_with(on, "BEGIN IMMEDIATE").await?;
            sqlx::query(
                "UPDATE retention SET ended = ?, state = ?, message = ?, kept = ?, forgotten = ?, freed = ?, deletion = ?, due = ? WHERE id = ?",
            )
            .bind(millis(now))
            .bind(state.word())
            .bind(message)
            .bind(number(stay))
            .bind(number(gone))
            .bind(number(freed))
            .bind(deletion.map(|deletion| number(deletion.id)))
            .bind(deletion.map(|deletion| millis(deletion.due_at)))
            .bind(id)
            .execute(&mut *transaction)
            .await?;
            for point in points {
                let query = sqlx::query(
                    "INSERT INTO decision (retention, snapshot, time, why) VALUES (?, ?, ?, ?)",
                );
                query
                    .bind(id)
                    .bind(point.id.to_hex())
                    .bind(millis(point.time))
                    .bind(point.why.as_deref())
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        })
    }

    /// The newest times at which rules were applied, of one group or of all, the newest first.
    ///
    /// # Errors
    /// [`Error::History`]; [`Error::Unknown`].
    pub fn retentions(&self, group: Option<&GroupName>, most: u32) -> Result<Vec<Applied>, Error> {
        let rows = self.with(async |on| {
            let query = sqlx::query(
                "SELECT * FROM retention WHERE ?1 IS NULL OR grp = ?1 ORDER BY id DESC LIMIT ?2",
            );
            query.bind(group.map(GroupName::as_str)).bind(i64::from(most)).fetch_all(on).await
        })?;
        rows.iter().map(read).collect()
    }

    /// What was decided then, the newest recovery point first.
    ///
    /// # Errors
    /// [`Error::History`].
    pub fn decisions(&self, retention: i64) -> Result<Vec<Decided>, Error> {
        let rows = self.with(async |on| {
            let query = sqlx::query("SELECT * FROM decision WHERE retention = ? ORDER BY rowid");
            query.bind(retention).fetch_all(on).await
        })?;
        let decided = |row: &SqliteRow| Decided {
            snapshot: row.get("snapshot"),
            time: moment(row.get("time")),
            why: row.get("why"),
        };
        Ok(rows.iter().map(decided).collect())
    }

    /// When rules were applied last that came to an end; with `prune`, when data went, too.
    fn last_retention(&self, group: &GroupName, prune: bool) -> Result<Option<Timestamp>, Error> {
        let last = self.with(async |on| {
            let query = sqlx::query_scalar::<_, Option<i64>>(
                "SELECT max(started) FROM retention WHERE (grp = ?1 OR ?2) AND state = 'done' AND (pruned OR NOT ?2)",
            );
            query.bind(group.as_str()).bind(prune).fetch_one(on).await
        })?;
        Ok(last.map(moment))
    }
}

fn read(row: &SqliteRow) -> Result<Applied, Error> {
    let name: String = row.get("grp");
    let time = |column: &str| row.get::<Option<i64>, _>(column).map(moment);
    Ok(Applied {
        id: row.get("id"),
        group: name.parse().map_err(|_| Error::Unknown { what: format!("group '{name}'") })?,
        started: moment(row.get("started")),
        ended: time("ended"),
        state: row.get("state"),
        message: row.get("message"),
        pruned: row.get("pruned"),
        kept: count(row.get("kept")),
        forgotten: count(row.get("forgotten")),
        freed: count(row.get("freed")),
        deletion: row.get::<Option<i64>, _>("deletion").map(count),
        due: time("due"),
    })
}

/// Whether it is time again; never where `days` is 0. A clock that was put back makes it time.
fn is_due(last: Option<Timestamp>, days: u16, now: Timestamp) -> bool {
    // An hour less: a daily backup does not begin at the same second each day.
    let every = SignedDuration::from_hours(i64::from(days) * 24 - 1);
    days > 0 && last.is_none_or(|last| now < last || now.duration_since(last) >= every)
}

/// Applies a group's rules where that is due. The caller holds the group's lock, and has just stored a backup in the vault.
///
/// # Errors
/// The history cannot be written. How it ended is there, and in an alert.
pub(crate) fn after_backup(
    of: RunOf<'_>,
    group: &Group,
    retention: Retention,
) -> Result<(), Error> {
    let now = (of.now)();
    let forgets = !group.policy.keep.is_everything()
        && is_due(of.db.last_retention(&group.name, false)?, retention.forget_days, now);
    // The data is that of all groups: once is enough.
    let prunes = !group.policy.keep.is_everything()
        && is_due(of.db.last_retention(&group.name, true)?, retention.prune_days, now);
    if !forgets && !prunes {
        return Ok(());
    }
    match alone(of) {
        Some(_alone) => apply(of, group, Cause::Schedule, prunes, None).map(drop),
        None => {
            tracing::info!(group = %group.name, "other backups go on: rules are applied after the next one");
            Ok(())
        }
    }
}

/// Waits a while for the other backups of this process to end; none where they go on for longer.
fn alone<'a>(of: RunOf<'a>) -> Option<Option<RwLockWriteGuard<'a, ()>>> {
    let Some(gate) = of.gate else { return Some(None) };
    let until = Instant::now() + PATIENCE;
    loop {
        match gate.try_write() {
            Ok(guard) => return Some(Some(guard)),
            Err(TryLockError::Poisoned(poisoned)) => return Some(Some(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => {}
        }
        if Instant::now() > until || of.stop.load(Ordering::Relaxed) {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}

/// The same by hand, at once.
///
/// # Errors
/// [`Error::Busy`]; the history cannot be written.
pub fn apply_now(
    of: RunOf<'_>,
    group: &Group,
    prune: bool,
    pin: Option<&str>,
) -> Result<Result<Kept, agent::Error>, Error> {
    let _lock = crate::run::lock(of.state, &group.name)?;
    apply(of, group, Cause::Command, prune, pin)
}

fn apply(
    of: RunOf<'_>,
    group: &Group,
    cause: Cause,
    prune: bool,
    pin: Option<&str>,
) -> Result<Result<Kept, agent::Error>, Error> {
    let name = &group.name;
    let id = of.db.begin_retention(name, cause, prune, (of.now)())?;
    let done = of.work.keep(name, (prune, pin), of.stop, of.events);
    let key = format!("group/{name}/keep");
    let now = (of.now)();
    match &done {
        Ok(kept) => {
            let message = said(kept);
            of.db.end_retention(id, (RunState::Done, Some(&message)), Some(kept), now)?;
            tracing::info!(group = %name, "{message}");
            match kept.unreadable {
                0 => of.db.close(&key, now)?,
                count => {
                    let text = format!(
                        "{count} snapshots in the vault cannot be read; nothing is decided of them, and nothing is pruned"
                    );
                    of.db.raise(&key, Severity::Warning, &text, now)?;
                }
            }
        }
        Err(error) => {
            let state = match error {
                // So it is until the seed has arrived.
                agent::Error::NotMeanwhile { .. } => RunState::Waiting,
                // Somebody else works on the repository: after the next backup, again.
                error if error.kind() == ErrorKind::Locked => RunState::Waiting,
                error if error.kind() == ErrorKind::Interrupted => RunState::Interrupted,
                _ => RunState::Failed,
            };
            let message = crate::run::full(error);
            of.db.end_retention(id, (state, Some(&message)), None, now)?;
            tracing::warn!(group = %name, "recovery points are not gone through: {message}");
            if state == RunState::Failed && cause != Cause::Command {
                let text = format!(
                    "recovery points of group {name} that no rule keeps could not be deleted: {message}"
                );
                of.db.raise(&key, Severity::Warning, &text, now)?;
            }
        }
    }
    Ok(done)
}

/// In a sentence.
#[must_use]
pub fn said(kept: &Kept) -> String {
    let asked = match &kept.deletion {
        None => ", nothing is asked to be deleted".to_owned(),
        Some(deletion) => format!(
            ", deletion {} asked for: {} recovery points, {} indexes, {} packs, carried out from {:.0} on",
            deletion.id, deletion.snapshots, deletion.indexes, deletion.packs, deletion.due_at
        ),
    };
    format!("{} recovery points kept, {} go{asked}", kept.stay(), kept.gone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_applied_again_after_their_days_and_after_a_clock_was_put_back() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let last = Some(at("2026-06-01T22:00:10Z"));
        assert!(is_due(None, 1, at("2026-06-01T22:00:00Z")));
        assert!(!is_due(last, 1, at("2026-06-02T20:00:00Z")));
        assert!(is_due(last, 1, at("2026-06-02T22:00:00Z")));
        assert!(!is_due(last, 7, at("2026-06-07T22:00:00Z")));
        assert!(is_due(last, 7, at("2026-06-08T22:00:00Z")));
        assert!(is_due(last, 7, at("2026-05-01T00:00:00Z")));
        assert!(!is_due(None, 0, at("2026-06-01T22:00:00Z")));
    }
}
