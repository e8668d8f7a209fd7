//! Vaults and the source servers registered with them. Holds no object; a repository is there once
//! its config is.

use crate::app::App;
use crate::groups::Group;
use crate::principals::{self, Subject};
use crate::{Error, db, http};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use http::Segments;
use jiff::Timestamp;
use model::{ServerName, VaultName};
use sqlx::SqliteConnection;
use std::sync::Arc;
use wire::{Code, Credentials, List, ServerRequest, Vault, VaultServer};

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Segments(name): Segments<VaultName>,
    _body: Body,
) -> Result<Json<Vault>, Error> {
    let mut transaction = app.db.write().await?;
    let like: Option<(String,)> =
        sqlx::query_as("SELECT name FROM vault WHERE name = ? COLLATE NOCASE")
            .bind(name.as_str())
            .fetch_optional(&mut *transaction)
            .await?;
    if !is_new("vault", name.as_str(), like)? {
        return Ok(Json(read(&app, &name).await?));
    }
    add(&mut transaction, &name, &app.default_group(), "{}", app.now()).await?;
    transaction.commit().await?;
    Ok(Json(read(&app, &name).await?))
}

/// Stores a vault that is not there yet; `said` is what the resource manager's customer has written.
pub(crate) async fn add(
    on: &mut SqliteConnection,
    name: &VaultName,
    group: &Group,
    said: &str,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO vault (name, subscription, resource_group, said, created_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(name.as_str())
    .bind(&group.subscription)
    .bind(&group.name)
    .bind(said)
    .bind(db::time(now))
    .execute(on)
    .await?;
    Ok(())
}

/// Whether nothing has the name yet, given what has it when case does not count.
fn is_new(what: &str, name: &str, like: Option<(String,)>) -> Result<bool, Error> {
    match like {
        None => Ok(true),
        Some((there,)) if there == name => Ok(false),
        Some((there,)) => {
            let message = format!("there is a {what} {there}, which differs in case only");
            Err(Error::refused(Code::AlreadyExists, message))
        }
    }
}

pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Json<List<Vault>>, Error> {
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT name FROM vault ORDER BY name").fetch_all(app.db.pool()).await?;
    let mut value = Vec::with_capacity(rows.len());
    for (name,) in rows {
        value.push(read(&app, &db::parsed("vault.name", &name)?).await?);
    }
    Ok(Json(List { value }))
}

async fn read(app: &App, name: &VaultName) -> Result<Vault, Error> {
    let row: Option<(String,)> = sqlx::query_as("SELECT created_at FROM vault WHERE name = ?")
        .bind(name.as_str())
        .fetch_optional(app.db.pool())
        .await?;
    let (at,) = row.ok_or_else(|| Error::not_found(format_args!("vault {name}")))?;
    let rows: Vec<(String, String, Option<String>, Option<String>)> = sqlx::query_as(
        "SELECT name, created_at, heard_at, version FROM server WHERE vault = ? ORDER BY name",
    )
    .bind(name.as_str())
    .fetch_all(app.db.pool())
    .await?;
    let server = |(name, at, heard, version): (String, String, Option<String>, Option<String>)| {
        Ok(VaultServer {
            name: db::parsed("server.name", &name)?,
            created_at: db::parsed("server.created_at", &at)?,
            heard_at: heard.map(|at| db::parsed("server.heard_at", &at)).transpose()?,
            version,
        })
    };
    let servers = rows.into_iter().map(server).collect::<Result<_, Error>>()?;
    Ok(Vault { name: name.clone(), created_at: db::parsed("vault.created_at", &at)?, servers })
}

/// Refuses a vault that is not there.
pub(crate) async fn must_exist(on: &mut SqliteConnection, name: &VaultName) -> Result<(), Error> {
    let row: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM vault WHERE name = ?")
        .bind(name.as_str())
        .fetch_optional(on)
        .await?;
    row.map(drop).ok_or_else(|| Error::not_found(format_args!("vault {name}")))
}

/// What a vault and a source server may have there, in bytes.
pub(crate) async fn quotas(
    on: &mut SqliteConnection,
    (vault, server): &(VaultName, ServerName),
) -> Result<(Option<u64>, Option<u64>), Error> {
    let row: Option<(Option<i64>, Option<i64>)> = sqlx::query_as(
        "SELECT vault.quota, server.quota FROM server JOIN vault ON vault.name = server.vault
         WHERE server.vault = ? AND server.name = ?",
    )
    .bind(vault.as_str())
    .bind(server.as_str())
    .fetch_optional(on)
    .await?;
    let missing = || Error::not_found(format_args!("source server {server} in vault {vault}"));
    let (whole, own) = row.ok_or_else(missing)?;
    let bytes = |quota: Option<i64>| quota.map(|it| db::count("quota", it)).transpose();
    Ok((bytes(whole)?, bytes(own)?))
}

/// That of the source server alone.
pub(crate) async fn server_quota(
    on: &mut SqliteConnection,
    owner: &(VaultName, ServerName),
) -> Result<Option<u64>, Error> {
    Ok(quotas(on, owner).await?.1)
}

pub(crate) async fn register(
    State(app): State<Arc<App>>,
    Segments((vault, server)): Segments<(VaultName, ServerName)>,
    body: Body,
) -> Result<(StatusCode, Json<Credentials>), Error> {
    let request: ServerRequest = http::json_or_default(body).await?;
    read(&app, &vault).await?;
    let now = app.now();
    let mut transaction = app.db.write().await?;
    insert(&mut transaction, &vault, &server, &db::time(now)).await?;
    let subject = Subject::Agent(vault.clone(), server.clone());
    let token = principals::issue(&mut transaction, &subject, request.replace, now).await?;
    transaction.commit().await?;
    let own = Some((vault, server));
    let credentials = app.credentials(subject.role(), own, subject.user(), token);
    Ok((StatusCode::CREATED, Json(credentials)))
}

/// Makes the token of whoever prunes a source server's repository in its stead.
pub(crate) async fn maintain(
    State(app): State<Arc<App>>,
    Segments((vault, server)): Segments<(VaultName, ServerName)>,
    body: Body,
) -> Result<(StatusCode, Json<Credentials>), Error> {
    let request: ServerRequest = http::json_or_default(body).await?;
    let own = (vault, server);
    let mut transaction = app.db.write().await?;
    // That there is one.
    quotas(&mut transaction, &own).await?;
    let subject = Subject::Maintenance(own.0.clone(), own.1.clone());
    let token = principals::issue(&mut transaction, &subject, request.replace, app.now()).await?;
    transaction.commit().await?;
    let credentials = app.credentials(subject.role(), Some(own), subject.user(), token);
    Ok((StatusCode::CREATED, Json(credentials)))
}

/// Ends that token.
pub(crate) async fn end_maintenance(
    State(app): State<Arc<App>>,
    Segments((vault, server)): Segments<(VaultName, ServerName)>,
) -> Result<StatusCode, Error> {
    let mut transaction = app.db.write().await?;
    let subject = Subject::Maintenance(vault, server);
    if !principals::has_token(&mut transaction, &subject).await? {
        return Err(Error::not_found("token of a maintenance host for that source server"));
    }
    principals::end(&mut transaction, &subject).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn insert(
    on: &mut SqliteConnection,
    vault: &VaultName,
    server: &ServerName,
    now: &str,
) -> Result<(), Error> {
    let like: Option<(String,)> =
        sqlx::query_as("SELECT name FROM server WHERE vault = ? AND name = ? COLLATE NOCASE")
            .bind(vault.as_str())
            .bind(server.as_str())
            .fetch_optional(&mut *on)
            .await?;
    if is_new("source server", server.as_str(), like)? {
        sqlx::query("INSERT INTO server (vault, name, created_at) VALUES (?, ?, ?)")
            .bind(vault.as_str())
            .bind(server.as_str())
            .bind(now)
            .execute(on)
            .await?;
    }
    Ok(())
}
