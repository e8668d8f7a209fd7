//! What was restored: a row for each restore, on the disk before it begins. Restores nothing.

use crate::db::{count, millis, moment, number};
use crate::{Db, Error, RunState};
use jiff::Timestamp;
use model::Digest;
use serde::Serialize;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::path::Path;

/// Restores that are kept.
const KEPT: i64 = 10_000;

/// A restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Its number; later ones have larger ones.
    pub id: i64,
    /// The group of the recovery point.
    pub group: Option<String>,
    /// The recovery point.
    pub snapshot: String,
    /// Where to; none for the original place.
    pub target: Option<String>,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; none while it runs, and of one that was cut off.
    pub ended: Option<Timestamp>,
    /// How it stands.
    pub state: RunState,
    /// Why it failed.
    pub message: Option<String>,
    /// Files that it wrote.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Items that it left out, or could not write.
    pub problems: u64,
}

/// How a restore ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoredSo {
    /// How.
    pub state: RunState,
    /// Why it failed.
    pub message: Option<String>,
    /// Files that it wrote.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Items that it left out, or could not write.
    pub problems: u64,
}

impl Db {
    /// Notes that a restore begins, and answers its number.
    ///
    /// # Errors
    /// [`Error::History`].
    pub fn begin_restore(
        &self,
        group: Option<&str>,
        snapshot: Digest,
        target: Option<&Path>,
        now: Timestamp,
    ) -> Result<i64, Error> {
        self.with(async |on| {
            let row = sqlx::query(
                "INSERT INTO restored (grp, snapshot, target, started, state) VALUES (?, ?, ?, ?, 'running')",
            )
            .bind(group)
            .bind(snapshot.to_hex())
            .bind(target.map(|target| target.to_string_lossy().into_owned()))
            .bind(millis(now));
            let id = row.execute(&mut *on).await?.last_insert_rowid();
            let old = sqlx::query("DELETE FROM restored WHERE id <= ?").bind(id - KEPT);
            old.execute(on).await?;
            Ok(id)
        })
    }

    /// Notes how a restore ended.
    ///
    /// # Errors
    /// [`Error::History`].
    pub fn end_restore(&self, id: i64, how: &RestoredSo, now: Timestamp) -> Result<(), Error> {
        self.with(async |on| {
            let row = sqlx::query(
                "UPDATE restored SET ended = ?, state = ?, message = ?, files = ?, bytes = ?, problems = ? WHERE id = ?",
            );
            row.bind(millis(now))
                .bind(how.state.word())
                .bind(how.message.as_deref())
                .bind(number(how.files))
                .bind(number(how.bytes))
                .bind(number(how.problems))
                .bind(id)
                .execute(on)
                .await
                .map(drop)
        })
    }

    /// The newest restores, the newest first.
    ///
    /// # Errors
    /// [`Error::History`]; [`Error::Unknown`].
    pub fn restores(&self, most: u32) -> Result<Vec<Restored>, Error> {
        let rows = self.with(async |on| {
            let query = sqlx::query("SELECT * FROM restored ORDER BY id DESC LIMIT ?");
            query.bind(i64::from(most)).fetch_all(on).await
        })?;
        rows.iter().map(read).collect()
    }
}

fn read(row: &SqliteRow) -> Result<Restored, Error> {
    let state = row.get::<String, _>("state");
    let unknown = || Error::Unknown { what: format!("a state '{state}'") };
    Ok(Restored {
        id: row.get("id"),
        group: row.get("grp"),
        snapshot: row.get("snapshot"),
        target: row.get("target"),
        started: moment(row.get("started")),
        ended: row.get::<Option<i64>, _>("ended").map(moment),
        state: RunState::of(&state).ok_or_else(unknown)?,
        message: row.get("message"),
        files: count(row.get("files")),
        bytes: count(row.get("bytes")),
        problems: count(row.get("problems")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_is_there_from_its_beginning_and_says_how_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(folder.path()).unwrap();
        let (point, now) = (Digest([7; 32]), Timestamp::from_second(1_000_000).unwrap());
        let first = db.begin_restore(Some("files"), point, Some(Path::new("/r")), now).unwrap();
        let second = db.begin_restore(None, point, None, now).unwrap();
        let so =
            RestoredSo { state: RunState::Partial, files: 3, bytes: 5, problems: 1, message: None };
        db.end_restore(first, &so, now).unwrap();
        let all = Db::open(folder.path()).unwrap().restores(10).unwrap();
        assert_eq!(all.iter().map(|one| one.id).collect::<Vec<_>>(), [second, first]);
        assert_eq!(
            (all[0].state, all[0].ended, all[0].target.as_deref()),
            (RunState::Running, None, None)
        );
        assert_eq!((all[1].state, all[1].files, all[1].problems), (RunState::Partial, 3, 1));
        assert_eq!((all[1].ended, all[1].target.as_deref()), (Some(now), Some("/r")));
        assert_eq!(db.restores(1).unwrap().len(), 1);
    }
}
