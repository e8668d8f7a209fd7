//! Storage accounts: create, list. Holds no object; a container is there once something is in it.

use crate::app::App;
use crate::{Error, db, http};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use http::Segments;
use model::AccountName;
use std::sync::Arc;
use wire::{Code, List, StorageAccount};

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Segments(name): Segments<AccountName>,
    _body: Body,
) -> Result<Json<StorageAccount>, Error> {
    sqlx::query(
        "INSERT INTO storage_account (name, created_at) VALUES (?, ?) ON CONFLICT DO NOTHING",
    )
    .bind(name.as_str())
    .bind(db::time(app.now()))
    .execute(app.db.pool())
    .await?;
    let (at,): (String,) = sqlx::query_as("SELECT created_at FROM storage_account WHERE name = ?")
        .bind(name.as_str())
        .fetch_one(app.db.pool())
        .await?;
    Ok(Json(StorageAccount { name, created_at: db::parsed("storage_account.created_at", &at)? }))
}

pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Json<List<StorageAccount>>, Error> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT name, created_at FROM storage_account ORDER BY name")
            .fetch_all(app.db.pool())
            .await?;
    let account = |(name, at): (String, String)| {
        Ok(StorageAccount {
            name: db::parsed("storage_account.name", &name)?,
            created_at: db::parsed("storage_account.created_at", &at)?,
        })
    };
    let value = rows.into_iter().map(account).collect::<Result<_, Error>>()?;
    Ok(Json(List { value }))
}

/// Refuses an account that is not there.
pub(crate) async fn must_exist(app: &App, name: &AccountName) -> Result<(), Error> {
    let row: Option<(String,)> = sqlx::query_as("SELECT name FROM storage_account WHERE name = ?")
        .bind(name.as_str())
        .fetch_optional(app.db.pool())
        .await?;
    row.map(|_| ()).ok_or_else(|| {
        let message = format!(
            "there is no storage account {name}; ask the server's administrator to create it"
        );
        Error::refused(Code::ResourceNotFound, message)
    })
}
