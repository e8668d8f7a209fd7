//! PINs: made by an administrator, good for five minutes and one use, for whoever has the key. Shorten the hold of a deletion.

use super::{Owner, carry, read};
use crate::app::App;
use crate::http::{self, Segments};
use crate::{Error, db, settings, token, vaults};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::SignedDuration;
use model::{ServerName, VaultName};
use sha2::{Digest as _, Sha256};
use sqlx::SqliteConnection;
use std::sync::Arc;
use wire::{Code, Deletion, DeletionState, Immutability, List, Pin, PinUse};
use zeroize::Zeroizing;

/// How long a PIN lives.
const LIFE: SignedDuration = SignedDuration::from_mins(5);
/// Ten digits: of three guesses, one in three thousand million is right.
const COUNT: u64 = 10_000_000_000;
/// Wrong ones after which it ends.
const WRONG: i64 = 3;

fn hash(salt: &[u8], pin: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(salt);
    hasher.update(pin.as_bytes());
    hasher.finalize().into()
}

fn draw() -> Result<String, Error> {
    let mut bytes = Zeroizing::new([0_u8; 16]);
    token::random(&mut *bytes)?;
    // 128 bits: what of them is more likely than other digits does not show.
    let number = u128::from_be_bytes(*bytes) % u128::from(COUNT);
    Ok(format!("{number:010}"))
}

/// While a vault is immutable, nothing is hurried.
async fn refuse_immutable(on: &mut SqliteConnection, vault: &VaultName) -> Result<(), Error> {
    if settings::rules(on, vault).await?.immutability == Immutability::Disabled {
        return Ok(());
    }
    let message = format!("vault {vault} is immutable: no PIN shortens a hold there");
    Err(Error::refused(Code::RetentionRefused, message))
}

/// `POST /api/v1/vaults/{vault}/pin`: ends the one before.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Segments(vault): Segments<VaultName>,
    _body: Body,
) -> Result<(StatusCode, Json<Pin>), Error> {
    let mut transaction = app.db.write().await?;
    vaults::must_exist(&mut transaction, &vault).await?;
    refuse_immutable(&mut transaction, &vault).await?;
    let pin = draw()?;
    let mut salt = [0_u8; 32];
    token::random(&mut salt)?;
    let expires_at = app.now().saturating_add(LIFE).unwrap_or(jiff::Timestamp::MAX);
    sqlx::query(
        "INSERT OR REPLACE INTO pin (vault, salt, hash, expires_at, wrong) VALUES (?, ?, ?, ?, 0)",
    )
    .bind(vault.as_str())
    .bind(salt.as_slice())
    .bind(hash(&salt, &pin).as_slice())
    .bind(db::time(expires_at))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(Pin { pin, expires_at })))
}

/// `POST …/deletions/{id}/shorten`: what is held until then of this deletion, and of those before it, is carried out now.
pub(crate) async fn shorten(
    State(app): State<Arc<App>>,
    Segments((vault, server, id)): Segments<(VaultName, ServerName, i64)>,
    body: Body,
) -> Result<Json<List<Deletion>>, Error> {
    let given: PinUse = http::json(body).await?;
    let owner: Owner = (vault, server);
    let mut transaction = app.db.write().await?;
    refuse_immutable(&mut transaction, &owner.0).await?;
    let state = read(&mut transaction, &owner, id).await?.state;
    if state != DeletionState::Held {
        let message = format!("deletion {id} is not held any more");
        return Err(Error::refused(Code::JobState, message));
    }
    if let Err(refusal) = take(&app, &mut transaction, &owner.0, &given.pin).await? {
        // That it was wrong is kept.
        transaction.commit().await?;
        return Err(refusal);
    }
    let now = app.moment();
    let rows: Vec<(i64,)> = sqlx::query_as(
        "UPDATE deletion SET due_at = ?1, due_seen = ?5, shortened = 1
         WHERE vault = ?2 AND server = ?3 AND id <= ?4 AND state = 'held' RETURNING id",
    )
    .bind(db::time(now.wall))
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(id)
    .bind(db::time(now.seen))
    .fetch_all(&mut *transaction)
    .await?;
    let mut value = Vec::with_capacity(rows.len());
    for (id,) in rows {
        value.push(read(&mut transaction, &owner, id).await?);
    }
    transaction.commit().await?;
    carry::wake(&app);
    Ok(Json(List { value }))
}

/// Uses the PIN up where it is right; else says what is wrong with it.
async fn take(
    app: &App,
    on: &mut SqliteConnection,
    vault: &VaultName,
    pin: &str,
) -> Result<Result<(), Error>, Error> {
    let refused = |what: &str| {
        let message =
            format!("{what}; an administrator makes a new one: packmule vault pin {vault}");
        Ok(Err(Error::refused(Code::PinRefused, message)))
    };
    let row: Option<(Vec<u8>, Vec<u8>, String, i64)> =
        sqlx::query_as("SELECT salt, hash, expires_at, wrong FROM pin WHERE vault = ?")
            .bind(vault.as_str())
            .fetch_optional(&mut *on)
            .await?;
    let Some((salt, known, expires_at, wrong)) = row else {
        return refused("there is no PIN for this vault, or it was used");
    };
    if db::time(app.now()) > expires_at || wrong >= WRONG {
        return refused("the PIN has ended");
    }
    if token::same(&hash(&salt, pin), &known) {
        sqlx::query("DELETE FROM pin WHERE vault = ?").bind(vault.as_str()).execute(on).await?;
        return Ok(Ok(()));
    }
    sqlx::query("UPDATE pin SET wrong = wrong + 1 WHERE vault = ?")
        .bind(vault.as_str())
        .execute(on)
        .await?;
    refused(&format!("that is not the PIN; {} more attempts", WRONG - 1 - wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_has_ten_digits_and_is_not_the_one_before() {
        let pins: Vec<String> = (0..8).map(|_| draw().unwrap()).collect();
        assert!(pins.iter().all(|pin| pin.len() == 10 && pin.bytes().all(|b| b.is_ascii_digit())));
        assert!(pins.iter().any(|pin| *pin != pins[0]));
    }
}
