//! Storage accounts: create, list, where their objects are. Holds no object; a container is there once something is in it.

use crate::app::App;
use crate::objects::Objects;
use crate::{Error, db, http};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::Segments;
use jiff::Timestamp;
use model::{AccountName, BackendName, VaultName};
use sqlx::SqliteConnection;
use std::sync::Arc;
use wire::{Code, List, StorageAccount, StorageAccountRequest};

/// One that exists is answered as it is, unless another backend is asked for: its objects are where they are.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Segments(name): Segments<AccountName>,
    body: Body,
) -> Result<Json<StorageAccount>, Error> {
    let request: StorageAccountRequest = http::json_or_default(body).await?;
    let backend = request.backend.clone().unwrap_or_default();
    app.backends.get(&backend)?;
    let mut transaction = app.db.write().await?;
    sqlx::query(
        "INSERT INTO storage_account (name, backend, subscription, resource_group, created_at)
         VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(name.as_str())
    .bind(backend.as_str())
    .bind(&app.group.subscription)
    .bind(&app.group.name)
    .bind(db::time(app.now()))
    .execute(&mut *transaction)
    .await?;
    let row: Columns =
        sqlx::query_as("SELECT name, backend, created_at FROM storage_account WHERE name = ?")
            .bind(name.as_str())
            .fetch_one(&mut *transaction)
            .await?;
    let account = row.account()?;
    let there = account.backend.clone().unwrap_or_default();
    if request.backend.is_some_and(|wanted| wanted != there) {
        return Err(Error::refused(Code::AlreadyExists, elsewhere(&name, &there)));
    }
    transaction.commit().await?;
    Ok(Json(account))
}

/// Why an account does not get another backend.
pub(crate) fn elsewhere(name: &AccountName, backend: &BackendName) -> String {
    format!(
        "storage account {name} is on backend {backend}, with its objects; make another account"
    )
}

#[derive(sqlx::FromRow)]
struct Columns {
    name: String,
    backend: String,
    created_at: String,
}

impl Columns {
    fn account(self) -> Result<StorageAccount, Error> {
        Ok(StorageAccount {
            name: db::parsed("storage_account.name", &self.name)?,
            backend: Some(db::parsed("storage_account.backend", &self.backend)?),
            created_at: db::parsed("storage_account.created_at", &self.created_at)?,
        })
    }
}

pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Json<List<StorageAccount>>, Error> {
    let rows: Vec<Columns> =
        sqlx::query_as("SELECT name, backend, created_at FROM storage_account ORDER BY name")
            .fetch_all(app.db.pool())
            .await?;
    let value = rows.into_iter().map(Columns::account).collect::<Result<_, Error>>()?;
    Ok(Json(List { value }))
}

/// Refuses an account that is not there.
pub(crate) async fn must_exist(app: &App, name: &AccountName) -> Result<(), Error> {
    backend(app, name).await.map(drop)
}

/// The objects of an account, on its backend.
pub(crate) async fn objects(app: &App, name: &AccountName) -> Result<Objects, Error> {
    app.backends.get(&backend(app, name).await?).cloned()
}

async fn backend(app: &App, name: &AccountName) -> Result<BackendName, Error> {
    let row: Option<(String,)> =
        sqlx::query_as("SELECT backend FROM storage_account WHERE name = ?")
            .bind(name.as_str())
            .fetch_optional(app.db.pool())
            .await?;
    let (backend,) = row.ok_or_else(|| {
        let message = format!(
            "there is no storage account {name}; ask the server's administrator to create it"
        );
        Error::refused(Code::ResourceNotFound, message)
    })?;
    db::parsed("storage_account.backend", &backend)
}

/// The vaults of other subscriptions that may read an account.
pub(crate) async fn readers(
    on: &mut SqliteConnection,
    name: &AccountName,
) -> Result<Vec<String>, Error> {
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT vault FROM account_reader WHERE account = ? ORDER BY vault")
            .bind(name.as_str())
            .fetch_all(on)
            .await?;
    Ok(rows.into_iter().map(|(vault,)| vault).collect())
}

/// Makes exactly these vaults the account's readers.
pub(crate) async fn set_readers(
    on: &mut SqliteConnection,
    name: &AccountName,
    vaults: &[String],
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query("DELETE FROM account_reader WHERE account = ?")
        .bind(name.as_str())
        .execute(&mut *on)
        .await?;
    for vault in vaults {
        sqlx::query(
            "INSERT INTO account_reader (account, vault, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        )
        .bind(name.as_str())
        .bind(vault)
        .bind(db::time(now))
        .execute(&mut *on)
        .await?;
    }
    Ok(())
}

/// Removes an account that nothing names.
pub(crate) async fn remove(on: &mut SqliteConnection, name: &AccountName) -> Result<(), Error> {
    set_readers(&mut *on, name, &[], Timestamp::UNIX_EPOCH).await?;
    sqlx::query("DELETE FROM storage_account WHERE name = ?")
        .bind(name.as_str())
        .execute(on)
        .await?;
    Ok(())
}

/// Refuses a seed for a vault whose subscription is not the account's, unless the account's owner has said
/// that this vault may read it.
pub(crate) async fn must_be_readable(
    on: &mut SqliteConnection,
    account: &AccountName,
    vault: &VaultName,
) -> Result<(), Error> {
    let row: Option<(String, String)> = sqlx::query_as(
        "SELECT storage_account.subscription, vault.subscription FROM storage_account, vault
         WHERE storage_account.name = ? AND vault.name = ?",
    )
    .bind(account.as_str())
    .bind(vault.as_str())
    .fetch_optional(&mut *on)
    .await?;
    let same = row.is_none_or(|(account, vault)| account == vault);
    if same || readers(on, account).await?.iter().any(|reader| reader == vault.as_str()) {
        return Ok(());
    }
    let message = format!(
        "storage account {account} is of another subscription than vault {vault}; its owner can let the vault read it: packmule storage-account share {account} --vault {vault}"
    );
    Err(Error::refused(Code::AuthorizationFailed, message))
}
