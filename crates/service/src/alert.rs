//! What is wrong, once each: raised however often, told at once and then in digests, and told when it is over. Sends nothing itself:
//! messages go into the outbox of each channel.

use crate::channel::{Item, Message};
use crate::db::{count, millis, moment};
use crate::{Db, Error};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

/// What is over is forgotten after so long.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24 * 30);
/// Marks that the end of an alert was told.
const OVER_TOLD: i64 = -1;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something needs to be looked at.
    Warning,
    /// Protection is not what it should be.
    Error,
}

impl Severity {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something that is wrong, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// What it is about, such as `group/files/failed`.
    pub key: String,
    /// How bad it is.
    pub severity: Severity,
    /// In words, as last seen.
    pub text: String,
    /// Since when.
    pub opened: Timestamp,
    /// When it was last seen.
    pub last: Timestamp,
    /// How often it was seen.
    pub count: u64,
    /// When it was over.
    pub closed: Option<Timestamp>,
}

impl Db {
    /// Something is wrong, or still is.
    pub(crate) fn raise(
        &self,
        key: &str,
        severity: Severity,
        text: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        tracing::warn!(alert = key, severity = severity.word(), "{text}");
        self.with(async |on| {
            let query = sqlx::query(
                "INSERT INTO alert (key, severity, text, opened, last, count, told) VALUES (?1, ?2, ?3, ?4, ?4, 1, 0)
                 ON CONFLICT (key) DO UPDATE SET severity = ?2, text = ?3, last = ?4,
                    opened = iif(closed IS NULL, opened, ?4), count = iif(closed IS NULL, count + 1, 1),
                    told = iif(closed IS NULL, told, 0), closed = NULL",
            );
            let query = query.bind(key).bind(severity.word()).bind(text).bind(millis(now));
            query.execute(on).await.map(drop)
        })
    }

    /// It is over. Nothing happens if it never was.
    pub(crate) fn close(&self, key: &str, now: Timestamp) -> Result<(), Error> {
        let closed = self.with(async |on| {
            let query = sqlx::query("UPDATE alert SET closed = ? WHERE key = ? AND closed IS NULL");
            Ok(query.bind(millis(now)).bind(key).execute(on).await?.rows_affected())
        })?;
        if closed > 0 {
            tracing::info!(alert = key, "over");
        }
        Ok(())
    }

    /// What is wrong, and with `all` what was within the last month; the worst and oldest first.
    ///
    /// # Errors
    /// [`Error::History`].
    pub fn alerts(&self, all: bool) -> Result<Vec<Alert>, Error> {
        let rows = self.with(async |on| {
            let query = sqlx::query(
                "SELECT * FROM alert WHERE ? OR closed IS NULL ORDER BY closed IS NOT NULL, severity, opened, key",
            );
            query.bind(all).fetch_all(on).await
        })?;
        Ok(rows.iter().map(read).collect())
    }

    /// Puts what is to be told into the outbox of each channel, as one message, and notes that.
    pub(crate) fn tell(
        &self,
        channels: &[&str],
        host: &str,
        digest: SignedDuration,
        now: Timestamp,
    ) -> Result<(), Error> {
        let again = millis(now).saturating_sub(to_millis(digest));
        self.with(async |on| {
            let mut transaction = sqlx::Connection::begin_with(on, "BEGIN IMMEDIATE").await?;
            let rows = sqlx::query(
                "SELECT * FROM alert WHERE
                    (closed IS NULL AND (told = 0 OR (count > told AND (told_at <= ?1 OR told_at > ?2))))
                    OR (closed IS NOT NULL AND told > 0)
                 ORDER BY closed IS NOT NULL, severity, opened, key",
            );
            // Told in the future: the clock was put back since.
            let rows = rows.bind(again).bind(millis(now)).fetch_all(&mut *transaction).await?;
            let items: Vec<Item> = rows.iter().map(item).collect();
            for channel in channels {
                queue(&mut transaction, channel, host, &items, now).await?;
            }
            for row in &rows {
                let over = row.get::<Option<i64>, _>("closed").is_some();
                let told = if over { OVER_TOLD } else { row.get("count") };
                let query = sqlx::query("UPDATE alert SET told = ?, told_at = ? WHERE key = ?");
                let query = query.bind(told).bind(millis(now)).bind(row.get::<String, _>("key"));
                query.execute(&mut *transaction).await?;
            }
            let old = millis(now).saturating_sub(to_millis(REMEMBERED));
            let forget = sqlx::query("DELETE FROM alert WHERE closed < ?").bind(old);
            forget.execute(&mut *transaction).await?;
            transaction.commit().await
        })
    }
}

/// A channel is not told about itself: it could not be.
async fn queue(
    on: &mut SqliteConnection,
    channel: &str,
    host: &str,
    items: &[Item],
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let own = format!("channel/{channel}");
    let items: Vec<Item> = items.iter().filter(|item| item.key != own).cloned().collect();
    if items.is_empty() {
        return Ok(());
    }
    let message = Message { host: host.to_owned(), items };
    let text =
        serde_json::to_string(&message).map_err(|cause| sqlx::Error::Encode(cause.into()))?;
    let query = sqlx::query(
        "INSERT INTO outbox (channel, made, message, attempts, next) VALUES (?1, ?2, ?3, 0, ?2)",
    );
    query.bind(channel).bind(millis(now)).bind(text).execute(on).await.map(drop)
}

fn to_millis(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn read(row: &SqliteRow) -> Alert {
    let severity = match row.get::<String, _>("severity").as_str() {
        "warning" => Severity::Warning,
        _ => Severity::Error,
    };
    Alert {
        key: row.get("key"),
        severity,
        text: row.get("text"),
        opened: moment(row.get("opened")),
        last: moment(row.get("last")),
        count: count(row.get("count")),
        closed: row.get::<Option<i64>, _>("closed").map(moment),
    }
}

fn item(row: &SqliteRow) -> Item {
    let Alert { key, severity, text, opened, last, count, closed } = read(row);
    Item { key, severity, text, opened, last, count, over: closed.is_some() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::waiting;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_780_000_000 + minute * 60).unwrap()
    }

    struct Told {
        _folder: tempfile::TempDir,
        db: Db,
    }

    impl Told {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let db = Db::open(folder.path()).unwrap();
            Self { _folder: folder, db }
        }

        /// What is told at that minute: key, count, and whether it is over.
        fn told(&self, minute: i64) -> Vec<(String, u64, bool)> {
            self.db.tell(&["hook"], "fs01", HOUR, at(minute)).unwrap();
            let messages = waiting(&self.db, at(minute)).unwrap();
            let mut told = Vec::new();
            for entry in messages {
                let items = entry.message.items.iter();
                told.extend(items.map(|item| (item.key.clone(), item.count, item.over)));
                self.db.delivered(entry.id).unwrap();
            }
            told
        }

        fn raise(&self, key: &str, minute: i64) {
            self.db.raise(key, Severity::Error, "it is wrong", at(minute)).unwrap();
        }
    }

    #[test]
    fn the_first_time_is_told_at_once_then_in_digests_and_its_end_once() {
        let it = Told::new();
        assert_eq!(it.told(0), []);
        it.raise("a", 1);
        assert_eq!(it.told(1), [("a".into(), 1, false)]);
        it.raise("a", 10);
        it.raise("a", 20);
        it.raise("b", 20);
        assert_eq!(it.told(20), [("b".into(), 1, false)], "what was told waits for the digest");
        assert_eq!(it.told(61), [("a".into(), 3, false)]);
        assert_eq!(it.told(200), [], "nothing new, nothing told");
        it.db.close("a", at(201)).unwrap();
        assert_eq!(it.told(201), [("a".into(), 3, true)]);
        assert_eq!(it.told(300), []);
        it.raise("a", 301);
        assert_eq!(it.told(301), [("a".into(), 1, false)], "it is a new one");
        let open: Vec<_> = it.db.alerts(false).unwrap().into_iter().map(|it| it.key).collect();
        assert_eq!(open, ["b", "a"]);
    }

    #[test]
    fn a_clock_that_was_put_back_keeps_nothing_from_being_told() {
        let it = Told::new();
        it.raise("a", 10_000);
        assert_eq!(it.told(10_000), [("a".into(), 1, false)]);
        it.raise("a", 1);
        assert_eq!(it.told(1), [("a".into(), 2, false)]);
        // A message that could not be delivered is tried again an hour later at most.
        it.raise("b", 10_000);
        it.db.tell(&["hook"], "fs01", HOUR, at(10_000)).unwrap();
        let entry = waiting(&it.db, at(10_000)).unwrap().pop().unwrap();
        it.db.undelivered(&entry, "no", at(10_000)).unwrap();
        assert!(waiting(&it.db, at(10_000)).unwrap().is_empty());
        assert_eq!(waiting(&it.db, at(2)).unwrap().len(), 1);
    }

    #[test]
    fn what_is_over_before_it_was_told_is_not_told_and_closing_nothing_is_nothing() {
        let it = Told::new();
        it.raise("a", 1);
        it.db.close("a", at(1)).unwrap();
        it.db.close("never", at(1)).unwrap();
        assert_eq!(it.told(1), []);
        assert_eq!(it.db.alerts(true).unwrap().len(), 1);
        assert_eq!(it.told(60 * 24 * 31), []);
        assert_eq!(it.db.alerts(true).unwrap(), [], "forgotten after a month");
    }

    #[test]
    fn a_channel_is_not_told_about_itself() {
        let it = Told::new();
        it.raise("channel/hook", 1);
        assert_eq!(it.told(1), []);
        it.db.raise("channel/mail", Severity::Warning, "no", at(2)).unwrap();
        assert_eq!(it.told(2), [("channel/mail".into(), 1, false)]);
    }
}
