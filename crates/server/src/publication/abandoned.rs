//! Seeds that nobody goes on with: their owners have said so. From then on such a seed is never published, gets no import job, and
//! stands in the way of no deletion. Removes nothing, and cancels no import job.
//!
//! ```text
//!  owner ─ abandons ─▶ published? being published? anything of it visible? ─▶ noted ─▶ no lease for it any more
//! ```
//!
//! Invariant: noted while nobody holds the seed's lease and nothing of it is visible, and no lease is given afterwards: so nothing
//! that is visible ever needs what such a seed had. Storage is looked at before the transaction, which finds that no publication has
//! begun or ended since.

use super::{Owner, ledger, plan, receipts, revisions};
use crate::app::App;
use crate::auth::Principal;
use crate::http::Segments;
use crate::{Error, db, jobs, notices};
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use model::{ObjectKey, ServerName, VaultName};
use seed::Object;
use sqlx::SqliteConnection;
use std::sync::Arc;
use wire::{Code, SeedId};

/// Notes that nobody goes on with the seed. Said again, it changes nothing.
pub(crate) async fn abandon(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments((vault, server, seed)): Segments<(VaultName, ServerName, SeedId)>,
) -> Result<StatusCode, Error> {
    let owner = (vault, server);
    let seen = ledger::mark(&mut *app.db.pool().acquire().await?, &owner, seed).await?;
    let objects = listed(&app, &owner, seed).await?;
    let visible = revisions::shown(&app, &owner, objects.iter()).await?;
    let mut transaction = app.db.write().await?;
    if is_abandoned(&mut transaction, &owner, seed).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    must_be_known(&mut transaction, &owner, seed).await?;
    let published = receipts::seed_receipt(&mut transaction, &owner.0, &owner.1, seed);
    if published.await?.is_some() {
        let message =
            "the seed is published, and recovery points need it: the next backup goes on with it";
        return Err(Error::refused(Code::AlreadyExists, message));
    }
    if ledger::is_held(&mut transaction, &owner, seed).await? {
        let message = "the seed is being published right now; ask again when that has ended";
        return Err(Error::refused(Code::ConcurrentChange, message));
    }
    if ledger::mark(&mut transaction, &owner, seed).await? != seen {
        let message = "the publication of the seed was going on until just now; ask again";
        return Err(Error::refused(Code::ConcurrentChange, message));
    }
    refuse_visible(visible)?;
    sqlx::query(
        "INSERT INTO abandoned_seed (vault, server, seed, subject, abandoned_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(seed.to_string())
    .bind(&caller.subject)
    .bind(db::time(app.now()))
    .execute(&mut *transaction)
    .await?;
    let text = format!(
        "seed {seed} was abandoned by {}: it will not be published, and what of it arrives is of no use",
        caller.subject
    );
    notices::of_vault(&mut transaction, &owner, &text, app.now()).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the seed consists of, as far as its import jobs say it.
async fn listed(app: &App, owner: &Owner, seed: SeedId) -> Result<Vec<Object>, Error> {
    if jobs::of_seed(app, &owner.0, &owner.1, seed).await?.is_empty() {
        return Ok(Vec::new());
    }
    match plan::make(app, owner, seed).await {
        Ok(plan) => Ok(plan.objects),
        // One that says nothing that could be published has published nothing.
        Err(Error::Refused { code: Code::ManifestRefused | Code::RepositoryMismatch, .. }) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// A publication that has died after it had begun to show the seed is gone on with: what is visible needs it.
fn refuse_visible(visible: Option<ObjectKey>) -> Result<(), Error> {
    let Some(key) = visible else { return Ok(()) };
    let message = format!(
        "the vault shows {key} of this seed already: its publication has begun, and the next backup goes on with it"
    );
    Err(Error::refused(Code::AlreadyExists, message))
}

async fn must_be_known(
    on: &mut SqliteConnection,
    owner: &Owner,
    seed: SeedId,
) -> Result<(), Error> {
    let row: Option<(i64,)> = sqlx::query_as(
        "SELECT 1 FROM seed WHERE vault = ?1 AND server = ?2 AND id = ?3
         UNION ALL
         SELECT 1 FROM import_job WHERE vault = ?1 AND server = ?2 AND seed = ?3 LIMIT 1",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(seed.to_string())
    .fetch_optional(on)
    .await?;
    match row {
        Some(_) => Ok(()),
        None => {
            Err(Error::not_found(format_args!("seed {seed} of {} in vault {}", owner.1, owner.0)))
        }
    }
}

/// Whether its owner has given that seed up.
pub(crate) async fn is_abandoned(
    on: &mut SqliteConnection,
    owner: &Owner,
    seed: SeedId,
) -> Result<bool, Error> {
    let row: Option<(i64,)> =
        sqlx::query_as("SELECT 1 FROM abandoned_seed WHERE vault = ? AND server = ? AND seed = ?")
            .bind(owner.0.as_str())
            .bind(owner.1.as_str())
            .bind(seed.to_string())
            .fetch_optional(on)
            .await?;
    Ok(row.is_some())
}

/// Refuses whatever would go on with such a seed.
pub(crate) async fn refuse_abandoned(
    on: &mut SqliteConnection,
    owner: &Owner,
    seed: SeedId,
) -> Result<(), Error> {
    if !is_abandoned(on, owner, seed).await? {
        return Ok(());
    }
    let message = format!("seed {seed} was abandoned: nothing goes on with it");
    Err(Error::refused(Code::SeedAbandoned, message))
}
