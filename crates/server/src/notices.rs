//! What people should hear of import jobs and vaults: kept, listed, and in the log. Sends nothing: there is no mail.

use crate::app::App;
use crate::auth::Principal;
use crate::http::Asked;
use crate::jobs::Record;
use crate::{Error, db};
use axum::extract::State;
use axum::{Extension, Json};
use flow::{Deadline, Effect};
use jiff::Timestamp;
use model::{JobName, ServerName, VaultName};
use sqlx::SqliteConnection;
use std::sync::Arc;
use wire::{Audience, List, Notice};

/// Whom an effect tells something, and what.
fn told(effect: &Effect) -> Option<(Audience, String)> {
    match effect {
        Effect::NotifyCustomer { notice } => Some((Audience::Customer, notice.to_string())),
        Effect::NotifyOperator { notice } => Some((Audience::Operator, notice.to_string())),
        Effect::WarnExpiry { deadline, days, at } => {
            let what = match deadline {
                Deadline::Shipping => "the import job expires unless it is shipped or updated",
                Deadline::Arrival => "the package is overdue unless it arrives",
                Deadline::Closing => {
                    "the import job is closed unless a drive turns up or more time is asked for"
                }
                Deadline::Record => "the record of the import job is removed",
            };
            let unit = if *days == 1 { "day" } else { "days" };
            Some((Audience::Customer, format!("{what}: in {days} {unit}, at {at:.0}")))
        }
        _ => None,
    }
}

/// Keeps what follows for people from a change of a job, in the transaction of the change.
pub(crate) async fn keep(
    on: &mut SqliteConnection,
    record: &Record,
    effects: &[Effect],
    now: Timestamp,
) -> Result<(), Error> {
    for effect in effects {
        let Some((to, text)) = told(effect) else {
            tracing::info!(job = %record.name, ?effect, "follows");
            continue;
        };
        tracing::info!(job = %record.name, ?to, "{text}");
        let seed = record.request.as_ref();
        sqlx::query(
            "INSERT INTO notice (at, job, vault, server, audience, text) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(db::time(now))
        .bind(record.name.as_str())
        .bind(seed.map(|seed| seed.vault.as_str()))
        .bind(seed.map(|seed| seed.server.as_str()))
        .bind(if to == Audience::Operator { "operator" } else { "customer" })
        .bind(text)
        .execute(&mut *on)
        .await?;
    }
    Ok(())
}

/// Keeps what both should hear of a vault.
pub(crate) async fn of_vault(
    on: &mut SqliteConnection,
    (vault, server): &(VaultName, ServerName),
    text: &str,
    now: Timestamp,
) -> Result<(), Error> {
    tracing::warn!(%vault, %server, "{text}");
    for audience in ["customer", "operator"] {
        sqlx::query(
            "INSERT INTO notice (at, vault, server, audience, text) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(db::time(now))
        .bind(vault.as_str())
        .bind(server.as_str())
        .bind(audience)
        .bind(text)
        .execute(&mut *on)
        .await?;
    }
    Ok(())
}

/// Keeps what the operator should hear of the server itself.
pub(crate) async fn of_server(db: &db::Db, text: &str, now: Timestamp) -> Result<(), Error> {
    tracing::warn!("{text}");
    sqlx::query("INSERT INTO notice (at, audience, text) VALUES (?, 'operator', ?)")
        .bind(db::time(now))
        .bind(text)
        .execute(db.pool())
        .await?;
    Ok(())
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
pub(crate) struct Page {
    /// Only those after this one.
    after: Option<i64>,
    /// Only those of this job.
    job: Option<JobName>,
}

/// The most of one answer.
const LIMIT: i64 = 1000;

#[derive(sqlx::FromRow)]
struct Columns {
    id: i64,
    at: String,
    job: Option<String>,
    vault: Option<String>,
    server: Option<String>,
    audience: String,
    text: String,
}

/// In the order in which they came. An agent is told what concerns its own jobs' customers.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Asked(page): Asked<Page>,
) -> Result<Json<List<Notice>>, Error> {
    let (vault, server) = caller.own.as_ref().map(|(v, s)| (v.as_str(), s.as_str())).unzip();
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT id, at, job, vault, server, audience, text FROM notice
         WHERE id > ?1 AND (?2 IS NULL OR job = ?2)
           AND (?3 IS NULL OR (vault = ?3 AND server = ?4 AND audience = 'customer'))
         ORDER BY id LIMIT ?5",
    )
    .bind(page.after.unwrap_or(0))
    .bind(page.job.as_ref().map(JobName::as_str))
    .bind(vault)
    .bind(server)
    .bind(LIMIT)
    .fetch_all(app.db.pool())
    .await?;
    let notice = |row: Columns| {
        Ok(Notice {
            id: db::count("notice.id", row.id)?,
            at: db::parsed("notice.at", &row.at)?,
            job: row.job.map(|job| db::parsed("notice.job", &job)).transpose()?,
            vault: row.vault.map(|vault| db::parsed("notice.vault", &vault)).transpose()?,
            server: row.server.map(|server| db::parsed("notice.server", &server)).transpose()?,
            audience: match row.audience.as_str() {
                "operator" => Audience::Operator,
                _ => Audience::Customer,
            },
            text: row.text,
        })
    };
    Ok(Json(List { value: rows.into_iter().map(notice).collect::<Result<_, Error>>()? }))
}
