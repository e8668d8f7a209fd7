//! Successors: keys that sign the revisions of a seed in the place of its drives' signer, where the source server does not
//! have that key. A machine names one by a statement that its certificate has signed; the custody log says so.
//!
//! Invariant: once a successor is named, no revision is taken that another key has signed; and what was taken before stays.

use super::{Owner, receipts};
use crate::app::App;
use crate::auth::Principal;
use crate::entra::{Stated, records, verify_statement};
use crate::http::{self, Segments};
use crate::{Error, custody, db, jobs};
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use model::{Digest, ServerName, VaultName};
use sqlx::SqliteExecutor;
use std::sync::Arc;
use wire::{Code, SUCCESSOR_TYPE, SeedId, Successor, SuccessorClaims, SuccessorRequest};

/// Takes a statement of who signs from now on. The key that is named already, named again, changes nothing.
pub(crate) async fn put_successor(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments((vault, server, seed)): Segments<(VaultName, ServerName, SeedId)>,
    body: Body,
) -> Result<StatusCode, Error> {
    let request: SuccessorRequest = http::json(body).await?;
    let owner = (vault, server);
    let denied = |message: String| Error::refused(Code::AuthorizationFailed, message);
    let own = caller.application.ok_or_else(|| {
        let message = "only a machine that calls by a certificate can name who signs in the place of another key; register it by the vault's credentials: packmule agent register --credentials FILE";
        denied(message.to_owned())
    })?;
    if jobs::of_seed(&app, &owner.0, &owner.1, seed).await?.is_empty() {
        return Err(Error::not_found("import job with that seed"));
    }
    let now = app.now();
    let registered = records::registered(app.db.pool(), &own.object_id, now).await?;
    let stated: Stated<SuccessorClaims> =
        verify_statement(&request.statement, SUCCESSOR_TYPE, &registered, now)
            .map_err(|why| denied(format!("the statement is not accepted: {why}")))?;
    let claims = &stated.claims;
    if (&claims.vault, &claims.server, claims.seed) != (&owner.0, &owner.1, seed) {
        return Err(denied("the statement is about another seed".to_owned()));
    }
    if claims.key == app.receipt_key.public() {
        return Err(denied("that is the server's own key".to_owned()));
    }
    let mut transaction = app.db.write().await?;
    super::refuse_abandoned(&mut transaction, &owner, seed).await?;
    if newest(&mut *transaction, &owner, seed).await?.is_some_and(|known| known.key == claims.key) {
        return Ok(StatusCode::NO_CONTENT);
    }
    if receipts::seed_receipt(&mut transaction, &owner.0, &owner.1, seed).await?.is_some() {
        let message = "the seed is published; nothing of it is revised any more";
        return Err(Error::refused(Code::AlreadyExists, message));
    }
    sqlx::query(
        "INSERT INTO successor (vault, server, seed, key, certificate, statement, named_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(seed.to_string())
    .bind(claims.key.0.as_slice())
    .bind(stated.certificate.as_slice())
    .bind(&request.statement)
    .bind(db::time(now))
    .execute(&mut *transaction)
    .await?;
    custody::signer_named(&mut transaction, &app, seed, claims.key, Digest(stated.certificate))
        .await?;
    transaction.commit().await?;
    let key = seed::Fingerprint::of(&claims.key);
    tracing::warn!(vault = %owner.0, server = %owner.1, %seed, %key, "another key signs for a seed");
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn get_successor(
    State(app): State<Arc<App>>,
    Segments((vault, server, seed)): Segments<(VaultName, ServerName, SeedId)>,
) -> Result<Json<Successor>, Error> {
    let newest = newest(app.db.pool(), &(vault, server), seed).await?;
    let none = || Error::not_found(format_args!("successor of the signer of seed {seed}"));
    Ok(Json(newest.ok_or_else(none)?))
}

#[derive(sqlx::FromRow)]
struct Columns {
    key: Vec<u8>,
    certificate: Vec<u8>,
    named_at: String,
}

/// Who signs now; none where it is the drives' signer.
pub(super) async fn newest(
    on: impl SqliteExecutor<'_>,
    owner: &Owner,
    seed: SeedId,
) -> Result<Option<Successor>, Error> {
    let row: Option<Columns> = sqlx::query_as(
        "SELECT key, certificate, named_at FROM successor
         WHERE vault = ? AND server = ? AND seed = ? ORDER BY number DESC LIMIT 1",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(seed.to_string())
    .fetch_optional(on)
    .await?;
    let successor = |row: Columns| {
        Ok(Successor {
            seed,
            key: wire::PublicKey(db::bytes("successor.key", &row.key)?),
            certificate: Digest(db::bytes("successor.certificate", &row.certificate)?),
            named_at: db::parsed("successor.named_at", &row.named_at)?,
        })
    };
    row.map(successor).transpose()
}
