//! Who has changed what, from where: one row for each request that is not only a look, written when it has
//! been answered. The data plane's uploads are not among them: what is stored says so itself.
//!
//! A row that cannot be written is an error in the log and nothing else: the change has happened.

use crate::app::App;
use crate::http::Asked;
use crate::{Error, db};
use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{Extensions, Method};
use std::net::SocketAddr;
use std::sync::Arc;
use wire::{AuditEntry, List};

/// In an answer: too small a change to be written down, such as progress.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quiet;

/// Of a path, so many characters are kept.
const LONGEST: usize = 2000;

/// What is known of a request before it is answered.
pub(crate) struct Call {
    method: Method,
    path: String,
    origin: String,
}

impl Call {
    /// None for a request that changes nothing, or only the data plane.
    pub(crate) fn of(method: &Method, path: &str, extensions: &Extensions) -> Option<Self> {
        let looks = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
        let is_data = ["/vaults/", "/pending/", "/increments/", "/storage/"]
            .iter()
            .any(|start| path.starts_with(start));
        if looks || (is_data && *method != Method::DELETE) {
            return None;
        }
        let from = extensions.get::<ConnectInfo<SocketAddr>>();
        Some(Self {
            method: method.clone(),
            path: path.chars().take(LONGEST).collect(),
            origin: from.map(|from| from.0.ip().to_string()).unwrap_or_default(),
        })
    }

    pub(crate) async fn write(self, app: &App, subject: &str, status: u16, request: &str) {
        let written = sqlx::query(
            "INSERT INTO audit (at, subject, origin, method, path, status, request)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(db::time(app.now()))
        .bind(subject)
        .bind(&self.origin)
        .bind(self.method.as_str())
        .bind(&self.path)
        .bind(i64::from(status))
        .bind(request)
        .execute(app.db.pool())
        .await;
        if let Err(error) = written {
            let path = &self.path;
            tracing::error!(%error, by = subject, method = %self.method, path, status, "the audit log cannot be written");
        }
    }
}

/// What the server has done by itself, at its time.
pub(crate) async fn of_server(
    on: &mut sqlx::SqliteConnection,
    (method, path): (&str, &str),
    now: jiff::Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO audit (at, subject, origin, method, path, status, request)
         VALUES (?, 'server', '', ?, ?, 200, '')",
    )
    .bind(db::time(now))
    .bind(method)
    .bind(path)
    .execute(on)
    .await?;
    Ok(())
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
pub(crate) struct Page {
    /// Only entries after this one.
    after: Option<i64>,
    /// At most so many.
    limit: Option<i64>,
}

/// The most entries of one answer.
const LIMIT: i64 = 1000;

#[derive(sqlx::FromRow)]
struct Columns {
    id: i64,
    at: String,
    subject: String,
    origin: String,
    method: String,
    path: String,
    status: i64,
    request: String,
}

/// Entries in the order in which they were written: the newest, or those after a given one.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Asked(page): Asked<Page>,
) -> Result<Json<List<AuditEntry>>, Error> {
    let limit = page.limit.unwrap_or(LIMIT).clamp(1, LIMIT);
    let columns = "id, at, subject, origin, method, path, status, request";
    let query = match page.after {
        Some(_) => format!("SELECT {columns} FROM audit WHERE id > ? ORDER BY id LIMIT ?"),
        None => format!(
            "SELECT * FROM (SELECT {columns} FROM audit WHERE id > ? ORDER BY id DESC LIMIT ?) ORDER BY id"
        ),
    };
    let rows: Vec<Columns> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(page.after.unwrap_or(0))
        .bind(limit)
        .fetch_all(app.db.pool())
        .await?;
    let entry = |row: Columns| {
        Ok(AuditEntry {
            id: db::count("audit.id", row.id)?,
            at: db::parsed("audit.at", &row.at)?,
            subject: row.subject,
            origin: row.origin,
            method: row.method,
            path: row.path,
            status: u16::try_from(row.status).unwrap_or_default(),
            request_id: row.request,
        })
    };
    Ok(Json(List { value: rows.into_iter().map(entry).collect::<Result<_, Error>>()? }))
}
