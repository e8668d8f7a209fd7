//! Receipts as stored and answered. Once stored, a receipt is never another.

use super::Owner;
use crate::app::App;
use crate::http::Segments;
use crate::{Error, custody, db};
use axum::Json;
use axum::extract::State;
use model::{ServerName, VaultName};
use sqlx::SqliteConnection;
use std::sync::Arc;
use wire::{PublicKey, Receipt, SeedId, Signature, SignedReceipt};

#[derive(sqlx::FromRow)]
struct Columns {
    document: String,
    public_key: Vec<u8>,
    signature: Vec<u8>,
}

impl Columns {
    fn signed(self) -> Result<SignedReceipt, Error> {
        Ok(SignedReceipt {
            receipt: self.document,
            public_key: PublicKey(db::bytes("receipt.public_key", &self.public_key)?),
            signature: Signature(db::bytes("receipt.signature", &self.signature)?),
        })
    }
}

fn none() -> Error {
    Error::not_found("receipt yet; publication must end first")
}

/// Signs and stores a receipt, unless the seed has one, with the heads of the seed's custody log as they are at
/// that moment.
pub(super) async fn store(app: &App, mut receipt: Receipt) -> Result<(), Error> {
    let mut transaction = app.db.write().await?;
    let (vault, server, seed) = (&receipt.vault, &receipt.server, receipt.seed);
    if seed_receipt(&mut transaction, vault, server, seed).await?.is_some() {
        return Ok(());
    }
    receipt.custody = Some(custody::published(&mut transaction, app, &receipt).await?);
    let signed = app.receipt_key.sign(&receipt)?;
    sqlx::query(
        "INSERT INTO receipt (vault, server, seed, document, public_key, signature, issued_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(receipt.vault.as_str())
    .bind(receipt.server.as_str())
    .bind(receipt.seed.to_string())
    .bind(&signed.receipt)
    .bind(signed.public_key.0.as_slice())
    .bind(signed.signature.0.as_slice())
    .bind(db::time(receipt.issued_at))
    .execute(&mut *transaction)
    .await?;
    Ok(transaction.commit().await?)
}

/// The receipt of a seed, if there is one.
pub(crate) async fn seed_receipt(
    on: &mut SqliteConnection,
    vault: &VaultName,
    server: &ServerName,
    seed: SeedId,
) -> Result<Option<SignedReceipt>, Error> {
    let row: Option<Columns> = sqlx::query_as(
        "SELECT document, public_key, signature FROM receipt
         WHERE vault = ? AND server = ? AND seed = ?",
    )
    .bind(vault.as_str())
    .bind(server.as_str())
    .bind(seed.to_string())
    .fetch_optional(on)
    .await?;
    row.map(Columns::signed).transpose()
}

pub(crate) async fn latest_receipt(
    State(app): State<Arc<App>>,
    Segments((vault, server)): Segments<Owner>,
) -> Result<Json<SignedReceipt>, Error> {
    let row: Option<Columns> = sqlx::query_as(
        "SELECT document, public_key, signature FROM receipt WHERE vault = ? AND server = ?
         ORDER BY issued_at DESC, seed LIMIT 1",
    )
    .bind(vault.as_str())
    .bind(server.as_str())
    .fetch_optional(app.db.pool())
    .await?;
    Ok(Json(row.ok_or_else(none)?.signed()?))
}

pub(crate) async fn receipt(
    State(app): State<Arc<App>>,
    Segments((vault, server, seed)): Segments<(VaultName, ServerName, SeedId)>,
) -> Result<Json<SignedReceipt>, Error> {
    let mut connection = app.db.pool().acquire().await?;
    let found = seed_receipt(&mut connection, &vault, &server, seed).await?;
    Ok(Json(found.ok_or_else(none)?))
}
