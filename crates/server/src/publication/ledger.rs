//! Publications in the database: what was asked for, who works on it, how it ended. Knows nothing of
//! objects.

use super::Owner;
use crate::app::App;
use crate::{Error, db};
use jiff::{SignedDuration, Timestamp};
use model::Digest;
use sqlx::SqliteConnection;
use std::time::Duration;
use wire::{Publication, PublicationState, SeedId};

/// How long a lease lasts that is not renewed. Longer than any pause of a process that lives.
const LEASE: SignedDuration = SignedDuration::from_mins(10);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(60);

/// Notes that the seed shall be published.
pub(super) async fn ask(
    app: &App,
    owner: &Owner,
    seed: SeedId,
    root: Option<Digest>,
) -> Result<(), Error> {
    let status = Publication::at(PublicationState::Waiting, Some(seed));
    sqlx::query(
        "INSERT INTO publication (vault, server, seed, state, root, status, asked_at)
         VALUES (?, ?, ?, 'waiting', ?, ?, ?)
         ON CONFLICT (vault, server, seed) DO UPDATE
         SET root = coalesce(excluded.root, root), asked_at = excluded.asked_at",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(seed.to_string())
    .bind(root.as_ref().map(|root| root.as_bytes().as_slice()))
    .bind(db::to_json("publication.status", &status)?)
    .bind(db::time(app.now()))
    .execute(app.db.pool())
    .await?;
    Ok(())
}

/// The root that the source expects, where it has said so.
pub(super) async fn root(app: &App, owner: &Owner, seed: SeedId) -> Result<Option<Digest>, Error> {
    let row: Option<(Option<Vec<u8>>,)> =
        sqlx::query_as("SELECT root FROM publication WHERE vault = ? AND server = ? AND seed = ?")
            .bind(owner.0.as_str())
            .bind(owner.1.as_str())
            .bind(seed.to_string())
            .fetch_optional(app.db.pool())
            .await?;
    let root = row.and_then(|(root,)| root);
    root.map(|root| db::bytes("publication.root", &root).map(Digest)).transpose()
}

pub(super) async fn is_published(app: &App, owner: &Owner, seed: SeedId) -> Result<bool, Error> {
    let row: Option<(i64,)> =
        sqlx::query_as("SELECT 1 FROM receipt WHERE vault = ? AND server = ? AND seed = ?")
            .bind(owner.0.as_str())
            .bind(owner.1.as_str())
            .bind(seed.to_string())
            .fetch_optional(app.db.pool())
            .await?;
    Ok(row.is_some())
}

/// Whether somebody publishes the seed, or has died of it and is to be continued.
pub(super) async fn is_held(
    on: &mut SqliteConnection,
    owner: &Owner,
    seed: SeedId,
) -> Result<bool, Error> {
    let row: Option<(i64,)> = sqlx::query_as(
        "SELECT 1 FROM publication
         WHERE vault = ? AND server = ? AND seed = ? AND holder IS NOT NULL",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(seed.to_string())
    .fetch_optional(on)
    .await?;
    Ok(row.is_some())
}

/// What is another one whenever the seed's publication was asked for, or has ended, in between.
pub(super) async fn mark(
    on: &mut SqliteConnection,
    owner: &Owner,
    seed: SeedId,
) -> Result<Option<(String, String, Option<String>)>, Error> {
    let row = sqlx::query_as(
        "SELECT asked_at, status, holder FROM publication
         WHERE vault = ? AND server = ? AND seed = ?",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(seed.to_string())
    .fetch_optional(on)
    .await?;
    Ok(row)
}

/// The status that was asked for last.
pub(super) async fn last(app: &App, owner: &Owner) -> Result<Option<Publication>, Error> {
    let row: Option<(String,)> = sqlx::query_as(
        "SELECT status FROM publication WHERE vault = ? AND server = ?
         ORDER BY asked_at DESC, seed LIMIT 1",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .fetch_optional(app.db.pool())
    .await?;
    row.map(|(status,)| db::json("publication.status", &status)).transpose()
}

/// Publications that a process was working on when it ended.
pub(super) async fn unfinished(app: &App) -> Result<Vec<(Owner, SeedId)>, Error> {
    let rows: Vec<(String, String, String)> =
        sqlx::query_as("SELECT vault, server, seed FROM publication WHERE holder IS NOT NULL")
            .fetch_all(app.db.pool())
            .await?;
    let parse = |(vault, server, seed): (String, String, String)| {
        let owner =
            (db::parsed("publication.vault", &vault)?, db::parsed("publication.server", &server)?);
        Ok((owner, db::parsed("publication.seed", &seed)?))
    };
    rows.into_iter().map(parse).collect()
}

/// Takes the lease for `holder`. False when another process has one that has not run out, or nobody goes on with the seed.
pub(super) async fn take_lease(
    app: &App,
    owner: &Owner,
    seed: SeedId,
    holder: &str,
) -> Result<bool, Error> {
    let now = app.now();
    let done = sqlx::query(
        "UPDATE publication SET holder = ?, lease_until = ?
         WHERE vault = ? AND server = ? AND seed = ?
           AND (holder IS NULL OR holder = ? OR lease_until < ?)
           AND NOT EXISTS (SELECT 1 FROM abandoned_seed AS given_up WHERE given_up.vault = publication.vault
               AND given_up.server = publication.server AND given_up.seed = publication.seed)",
    )
    .bind(holder)
    .bind(db::time(until(now)))
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(seed.to_string())
    .bind(holder)
    .bind(db::time(now))
    .execute(app.db.pool())
    .await?;
    Ok(done.rows_affected() == 1)
}

fn until(now: Timestamp) -> Timestamp {
    now.saturating_add(LEASE).unwrap_or(Timestamp::MAX)
}

/// Renews the lease for as long as it is polled. Answers only when it is lost.
pub(super) async fn keep_lease(app: &App, owner: &Owner, seed: SeedId, holder: &str) -> Error {
    loop {
        tokio::time::sleep(RENEW).await;
        match take_lease(app, owner, seed, holder).await {
            Ok(true) => {}
            Ok(false) => {
                let message = "another process has taken over the publication";
                return Error::refused(wire::Code::ConcurrentChange, message);
            }
            Err(error) => return error,
        }
    }
}

/// Leases of other processes are void: this one holds the data folder.
pub(crate) async fn void_leases(app: &App) -> Result<(), Error> {
    sqlx::query("UPDATE publication SET lease_until = '' WHERE holder IS NOT NULL")
        .execute(app.db.pool())
        .await?;
    Ok(())
}

/// Stores the status and gives the lease back.
pub(super) async fn end(
    app: &App,
    owner: &Owner,
    seed: SeedId,
    status: &Publication,
) -> Result<(), Error> {
    let state = db::to_json("publication.state", &status.state)?;
    sqlx::query(
        "UPDATE publication SET state = ?, status = ?, holder = NULL, lease_until = NULL
         WHERE vault = ? AND server = ? AND seed = ? AND holder = ?",
    )
    .bind(state.trim_matches('"'))
    .bind(db::to_json("publication.status", status)?)
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(seed.to_string())
    .bind(&app.publications.holder)
    .execute(app.db.pool())
    .await?;
    Ok(())
}
