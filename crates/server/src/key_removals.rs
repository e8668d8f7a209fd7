//! Key files of a vault's repository that are to be removed. Asked for by name, carried out after a hold, and taken back until
//! then: whoever has an agent's credentials must not be able to lock its owner out. Until it is removed, a key is listed and
//! handed out as ever.

use crate::app::App;
use crate::http::{self, Segments};
use crate::place::Place;
use crate::seen::Moment;
use crate::{Error, db};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use futures::stream::TryStreamExt as _;
use jiff::Timestamp;
use model::{Digest, ObjectKey, ObjectKind, ServerName, VaultName};
use sqlx::SqliteExecutor;
use std::collections::BTreeSet;
use std::sync::Arc;
use wire::{KeyRemoval, KeyRemovalRequest, List};

type Owner = (VaultName, ServerName);

async fn removals(on: impl SqliteExecutor<'_>, owner: &Owner) -> Result<Vec<KeyRemoval>, Error> {
    let rows: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT key, asked_at, due_at FROM key_removal WHERE vault = ? AND server = ? ORDER BY due_at, key",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .fetch_all(on)
    .await?;
    let removal = |(key, asked, due): (String, String, String)| {
        Ok(KeyRemoval {
            key: db::parsed("key_removal.key", &key)?,
            asked_at: db::parsed("key_removal.asked_at", &asked)?,
            due_at: db::parsed("key_removal.due_at", &due)?,
        })
    };
    rows.into_iter().map(removal).collect()
}

/// The key files that are there.
async fn keys(app: &App, owner: &Owner) -> Result<BTreeSet<Digest>, Error> {
    let place = Place::published(&owner.0, &owner.1);
    let listed: Vec<_> =
        app.objects.list(&place.below(ObjectKind::Key.folder())).try_collect().await?;
    let names = listed.iter().filter_map(|meta| place.key_of(&meta.location)?.id());
    Ok(names.collect())
}

/// Whether a key would be left that nobody wants removed.
fn leaves_one(keys: &BTreeSet<Digest>, removals: &[KeyRemoval], key: &Digest) -> bool {
    keys.iter().any(|known| known != key && !removals.iter().any(|gone| gone.key == *known))
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Segments(owner): Segments<Owner>,
) -> Result<Json<List<KeyRemoval>>, Error> {
    Ok(Json(List { value: removals(app.db.pool(), &owner).await? }))
}

pub(crate) async fn ask(
    State(app): State<Arc<App>>,
    Segments(owner): Segments<Owner>,
    body: Body,
) -> Result<Json<KeyRemoval>, Error> {
    let KeyRemovalRequest { key } = http::json(body).await?;
    let moment = app.moment();
    // As exactly as it is kept.
    let now: Timestamp = db::parsed("now", &db::time(moment.wall))?;
    let there = keys(&app, &owner).await?;
    let mut transaction = app.db.write().await?;
    let known = removals(&mut *transaction, &owner).await?;
    if let Some(removal) = known.iter().find(|removal| removal.key == key) {
        return Ok(Json(removal.clone()));
    }
    if !there.contains(&key) {
        return Err(Error::not_found(format_args!("key {key} in the vault's repository")));
    }
    if !leaves_one(&there, &known, &key) {
        let message =
            format!("without key {key} nothing would open the repository: store another key first");
        return Err(Error::invalid(message));
    }
    let due_at = now.checked_add(app.config.key_hold).unwrap_or(Timestamp::MAX);
    sqlx::query(
        "INSERT INTO key_removal (vault, server, key, asked_at, due_at, due_seen) VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(key.to_hex())
    .bind(db::time(now))
    .bind(db::time(due_at))
    .bind(db::time(moment.after(app.config.key_hold).seen))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Json(KeyRemoval { key, asked_at: now, due_at }))
}

pub(crate) async fn take_back(
    State(app): State<Arc<App>>,
    Segments((vault, server, key)): Segments<(VaultName, ServerName, Digest)>,
) -> Result<StatusCode, Error> {
    let gone = sqlx::query("DELETE FROM key_removal WHERE vault = ? AND server = ? AND key = ?")
        .bind(vault.as_str())
        .bind(server.as_str())
        .bind(key.to_hex())
        .execute(app.db.pool())
        .await?;
    if gone.rows_affected() == 0 {
        return Err(Error::not_found(format_args!("removal of key {key}")));
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn is_due(
    on: impl SqliteExecutor<'_>,
    owner: &Owner,
    key: &Digest,
    now: Moment,
) -> Result<bool, Error> {
    let row: Option<(i64,)> = sqlx::query_as(
        "SELECT 1 FROM key_removal WHERE vault = ? AND server = ? AND key = ? AND due_at <= ? AND coalesce(due_seen, due_at) <= ?",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(key.to_hex())
    .bind(db::time(now.wall))
    .bind(db::time(now.seen))
    .fetch_optional(on)
    .await?;
    Ok(row.is_some())
}

/// Removes the key files whose time has come. What is not there any more is removed already; the last one that nobody wants
/// removed is looked for again.
pub(crate) async fn carry_out(app: &App) -> Result<(), Error> {
    let now = app.moment();
    let owners: Vec<(String, String)> = sqlx::query_as(
        "SELECT DISTINCT vault, server FROM key_removal WHERE due_at <= ? AND coalesce(due_seen, due_at) <= ?",
    )
    .bind(db::time(now.wall))
    .bind(db::time(now.seen))
    .fetch_all(app.db.pool())
    .await?;
    for (vault, server) in owners {
        let owner: Owner =
            (db::parsed("key_removal.vault", &vault)?, db::parsed("key_removal.server", &server)?);
        let there = keys(app, &owner).await?;
        // Held while objects go: nobody asks for another one meanwhile.
        let mut transaction = app.db.write().await?;
        let known = removals(&mut *transaction, &owner).await?;
        for due in &known {
            if !is_due(&mut *transaction, &owner, &due.key, now).await? {
                continue;
            }
            if !leaves_one(&there, &known, &due.key) {
                tracing::error!(%vault, %server, key = %due.key, "the last key of a repository is not removed");
                continue;
            }
            let key = ObjectKey::Key(due.key);
            app.objects.remove(&Place::published(&owner.0, &owner.1).object(&key)).await?;
            sqlx::query("DELETE FROM key_removal WHERE vault = ? AND server = ? AND key = ?")
                .bind(&vault)
                .bind(&server)
                .bind(due.key.to_hex())
                .execute(&mut *transaction)
                .await?;
            tracing::info!(%vault, %server, key = %due.key, "a key file is removed, as was asked for");
        }
        transaction.commit().await?;
    }
    Ok(())
}
