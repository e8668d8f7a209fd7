//! The ways in which people hear that something is wrong, each with an outbox of its own: what cannot be delivered is tried again for a
//! day. Decides nothing about what is told.

mod command;
mod mail;
mod webhook;

use crate::alert::Severity;
use crate::db::{millis, moment};
use crate::{Alerts, Db, Error};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// How long a channel may take to deliver one message.
const PATIENCE: Duration = Duration::from_secs(60);
/// What could not be delivered in so long is given up.
const GIVEN_UP: SignedDuration = SignedDuration::from_hours(24);
/// The longest pause between two attempts.
const PAUSE: SignedDuration = SignedDuration::from_hours(1);

/// What is told: one or more alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The machine that tells it.
    pub host: String,
    /// What is wrong, or over.
    pub(crate) items: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) key: String,
    pub(crate) severity: Severity,
    pub(crate) text: String,
    pub(crate) opened: Timestamp,
    pub(crate) last: Timestamp,
    pub(crate) count: u64,
    pub(crate) over: bool,
}

impl Message {
    /// One line.
    #[must_use]
    pub fn subject(&self) -> String {
        let open = self.items.iter().filter(|item| !item.over).count();
        let head = match self.items.as_slice() {
            [one] => one.key.clone(),
            all if open == 0 => format!("{} alerts are over", all.len()),
            all => format!("{} alerts", all.len()),
        };
        let over = if open == 0 && self.items.len() == 1 { " is over" } else { "" };
        format!("packmule on {}: {head}{over}", self.host)
    }

    /// All of it, for people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for item in &self.items {
            let how = if item.over { "OVER" } else { item.severity.word() };
            let _ = writeln!(text, "[{how}] {}: {}", item.key, item.text);
            let _ = writeln!(
                text,
                "    since {:.0}, last {:.0}, {} times",
                item.opened, item.last, item.count
            );
        }
        text
    }

    /// All of it, for programs.
    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "subject": self.subject(),
            "text": self.text(),
            "host": self.host,
            "alerts": self.items,
        })
    }
}

trait Channel: Send + Sync {
    /// # Errors
    /// Why not, in words without secrets.
    fn send(&self, message: &Message) -> Result<(), String>;
}

/// The ways that the settings name.
#[derive(Default)]
pub struct Channels(Vec<(&'static str, Box<dyn Channel>)>);

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Channels {
    /// The channels of those settings; a webhook is called by way of the proxies.
    ///
    /// # Errors
    /// [`Error::Settings`] for addresses that are none, or certificates that cannot be read.
    pub fn new(settings: &Alerts, proxies: &store::Proxies) -> Result<Self, Error> {
        let wrong = |what: String| Error::Settings { path: Path::new("alerts").to_owned(), what };
        let mut all: Vec<(&'static str, Box<dyn Channel>)> = Vec::new();
        if let Some(mail) = &settings.mail {
            all.push(("mail", Box::new(mail::Mailer::new(mail).map_err(wrong)?)));
        }
        if let Some(url) = &settings.webhook {
            all.push(("webhook", Box::new(webhook::Webhook::new(url, proxies).map_err(wrong)?)));
        }
        if let Some(command) = &settings.command {
            all.push(("command", Box::new(command::Program::new(command))));
        }
        Ok(Self(all))
    }

    /// Their names.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|(name, _)| *name).collect()
    }

    /// Tells something at once on all of them, past outbox and database, which may be what is wrong.
    pub(crate) fn shout(&self, host: &str, key: &str, text: &str, now: Timestamp) {
        let (severity, over) = (Severity::Error, false);
        let item = Item {
            key: key.into(),
            severity,
            text: text.into(),
            opened: now,
            last: now,
            count: 1,
            over,
        };
        let message = Message { host: host.to_owned(), items: vec![item] };
        for (name, channel) in &self.0 {
            if let Err(why) = channel.send(&message) {
                tracing::error!(channel = name, "{why}");
            }
        }
    }

    /// Delivers what waits and whose time has come. What fails waits longer each time.
    pub(crate) fn deliver(&self, db: &Db, now: Timestamp) -> Result<(), Error> {
        for entry in waiting(db, now)? {
            let channel = self.0.iter().find(|(name, _)| *name == entry.channel);
            let Some((name, channel)) = channel else {
                // It is not in the settings any more.
                db.delivered(entry.id)?;
                continue;
            };
            let key = format!("channel/{name}");
            match channel.send(&entry.message) {
                Ok(()) => {
                    db.delivered(entry.id)?;
                    db.close(&key, now)?;
                }
                Err(why) => {
                    let text = format!("alerts cannot be delivered by {name}: {why}");
                    db.raise(&key, Severity::Error, &text, now)?;
                    db.undelivered(&entry, &why, now)?;
                }
            }
        }
        Ok(())
    }
}

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) id: i64,
    pub(crate) channel: String,
    pub(crate) message: Message,
    made: Timestamp,
    attempts: i64,
}

/// What is to be delivered now, the oldest first.
pub(crate) fn waiting(db: &Db, now: Timestamp) -> Result<Vec<Waiting>, Error> {
    let rows = db.with(async |on| {
        // None waits for longer than the longest pause, unless the clock was put back since.
        let query =
            sqlx::query("SELECT * FROM outbox WHERE next <= ? OR next > ? ORDER BY id LIMIT 100");
        let last = now.checked_add(PAUSE).unwrap_or(Timestamp::MAX);
        query.bind(millis(now)).bind(millis(last)).fetch_all(on).await
    })?;
    let read = |row: &sqlx::sqlite::SqliteRow| {
        let message = serde_json::from_str(&row.get::<String, _>("message"));
        let message = message.map_err(|_| Error::Unknown { what: "a message".to_owned() })?;
        let (id, channel) = (row.get("id"), row.get("channel"));
        Ok(Waiting {
            id,
            channel,
            message,
            made: moment(row.get("made")),
            attempts: row.get("attempts"),
        })
    };
    rows.iter().map(read).collect()
}

impl Db {
    pub(crate) fn delivered(&self, id: i64) -> Result<(), Error> {
        self.with(async |on| {
            sqlx::query("DELETE FROM outbox WHERE id = ?").bind(id).execute(on).await.map(drop)
        })
    }

    pub(crate) fn undelivered(
        &self,
        entry: &Waiting,
        why: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        if now.duration_since(entry.made) > GIVEN_UP {
            tracing::error!(
                channel = entry.channel,
                "a message is given up: {}",
                entry.message.subject()
            );
            return self.delivered(entry.id);
        }
        let doubled = u32::try_from(entry.attempts.clamp(0, 10)).unwrap_or(10);
        let pause = SignedDuration::from_mins(1 << doubled).min(PAUSE);
        let next = now.checked_add(pause).unwrap_or(now);
        self.with(async |on| {
            let query = sqlx::query(
                "UPDATE outbox SET attempts = attempts + 1, next = ?, error = ? WHERE id = ?",
            );
            query.bind(millis(next)).bind(why).bind(entry.id).execute(on).await.map(drop)
        })
    }
}

/// Certificates of the authorities that this machine trusts.
fn trusted() -> Result<Vec<ureq::tls::Certificate<'static>>, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(
            "this machine has no certificates of authorities (Debian: ca-certificates)".to_owned()
        );
    }
    let owned = |der: &[u8]| ureq::tls::Certificate::from_der(der).to_owned();
    Ok(found.certs.iter().map(|der| owned(der)).collect())
}
