//! Seeds that are complete in staging: announced by their source servers, and handed to whoever writes their
//! drives elsewhere. Makes no import job.
//!
//! ```text
//!  agent ─ announces ─▶ seed ◀─ asks for it ─ application that may change what lies beside the seed's account
//!                                    └─▶ a token for this seed's import jobs, as long as it may do that
//! ```

use crate::app::App;
use crate::auth::Principal;
use crate::entra::{By, Right, records};
use crate::groups::{self, Group};
use crate::http::{self, Segments};
use crate::seen::Moment;
use crate::{Error, accounts, db, publication, token};
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use jiff::{SignedDuration, Timestamp};
use model::{AccountName, ServerName, VaultName};
use sqlx::SqliteConnection;
use std::sync::Arc;
use wire::{AnnouncedSeed, Code, CopyComputer, Role, SeedAnnouncement, SeedId};

/// The user name of a copy computer's credentials.
pub(crate) const USER: &str = "copy";
/// How long a token is good for: a set of large drives takes days, and waits for its parcel.
const GOOD: SignedDuration = SignedDuration::from_hours(24 * 90);
/// Tokens of one seed at most; the oldest go.
const TOKENS: i64 = 16;

/// The source server says what its seed is. Said again, the newer word counts.
pub(crate) async fn announce(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments(id): Segments<SeedId>,
    body: Body,
) -> Result<Json<AnnouncedSeed>, Error> {
    let said: SeedAnnouncement = http::json(body).await?;
    let Some((vault, server)) = caller.own else {
        let message = "a seed is announced by its own source server";
        return Err(Error::refused(Code::AuthorizationFailed, message));
    };
    accounts::must_exist(&app, &said.storage_account).await?;
    let text = db::to_json("seed.said", &said)?;
    let mut transaction = app.db.write().await?;
    accounts::must_be_readable(&mut transaction, &said.storage_account, &vault).await?;
    let owner = (vault.clone(), server.clone());
    publication::refuse_abandoned(&mut transaction, &owner, id).await?;
    let there = load(&mut transaction, id).await?;
    if there.is_some_and(|there| (&there.vault, &there.server) != (&vault, &server)) {
        return Err(missing(id));
    }
    let Moment { wall: now, seen } = app.moment();
    sqlx::query(
        "INSERT INTO seed (id, vault, server, storage_account, said, announced_at, announced_seen)
         VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET storage_account = excluded.storage_account, said = excluded.said,
             announced_at = excluded.announced_at, announced_seen = excluded.announced_seen",
    )
    .bind(id.to_string())
    .bind(vault.as_str())
    .bind(server.as_str())
    .bind(said.storage_account.as_str())
    .bind(text)
    .bind(db::time(now))
    .bind(db::time(seen))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(Json(AnnouncedSeed { id, vault, server, announcement: said, announced_at: now }))
}

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments(id): Segments<SeedId>,
) -> Result<Json<AnnouncedSeed>, Error> {
    let mut connection = app.db.pool().acquire().await?;
    let seed = load(&mut connection, id).await?;
    let seed = seed.filter(|seed| caller.may_see_seed(&seed.vault, &seed.server, id));
    Ok(Json(seed.ok_or_else(|| missing(id))?))
}

/// Credentials for writing the seed's drives on another computer; from then on the seed counts as one whose drives are written
/// ([`awaited`]). Who may not has no way to learn whether there is such a seed.
pub(crate) async fn copy_computer(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments(id): Segments<SeedId>,
    _body: Body,
) -> Result<(StatusCode, Json<CopyComputer>), Error> {
    let Moment { wall: now, seen } = app.moment();
    let mut transaction = app.db.write().await?;
    let seed = load(&mut transaction, id).await?.ok_or_else(|| missing(id))?;
    let place = place(&mut transaction, &seed.announcement.storage_account).await?;
    let application = caller.application.as_ref().ok_or_else(|| missing(id))?;
    if !caller.may(Right::Write, &place) {
        return Err(missing(id));
    }
    // Before days are spent on its drives.
    let owner = (seed.vault.clone(), seed.server.clone());
    publication::refuse_abandoned(&mut transaction, &owner, id).await?;
    let token = token::new()?;
    sqlx::query(
        "INSERT INTO copy_computer (token_sha256, seed, application, created_at, created_seen)
         VALUES (?, ?, ?, ?, ?)",
    )
    .bind(token::hash(&token).as_slice())
    .bind(id.to_string())
    .bind(&application.object_id)
    .bind(db::time(now))
    .bind(db::time(seen))
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "DELETE FROM copy_computer WHERE seed = ?1 AND token_sha256 NOT IN
             (SELECT token_sha256 FROM copy_computer WHERE seed = ?1
              ORDER BY created_at DESC, rowid DESC LIMIT ?2)",
    )
    .bind(id.to_string())
    .bind(TOKENS)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    tracing::info!(seed = %id, by = caller.subject, "a copy computer was given a token");
    let credentials = app.credentials(Role::Copy, Some(owner), USER.to_owned(), token);
    Ok((StatusCode::CREATED, Json(CopyComputer { credentials, seed })))
}

/// The copy computer with that token; none when there is none, its time is over, or whoever asked for it may not
/// change any more what lies beside the seed's account.
pub(crate) async fn authenticate(app: &App, secret: &str) -> Result<Option<Principal>, Error> {
    let mut connection = app.db.pool().acquire().await?;
    let hash = token::hash(secret);
    // Found by its hash alone: whoever can choose that has the token.
    let row: Option<(String, String, String)> = sqlx::query_as(
        "SELECT seed, application, created_at FROM copy_computer WHERE token_sha256 = ?",
    )
    .bind(hash.as_slice())
    .fetch_optional(&mut *connection)
    .await?;
    let Some((seed, application, at)) = row else { return Ok(None) };
    let at: Timestamp = db::parsed("copy_computer.created_at", &at)?;
    let ends = at.saturating_add(GOOD).unwrap_or(Timestamp::MAX);
    let seed = load(&mut connection, db::parsed("copy_computer.seed", &seed)?).await?;
    let application = records::find(&mut *connection, By::Object(&application)).await?;
    let (Some(seed), Some(application)) = (seed, application) else { return Ok(None) };
    let place = place(&mut connection, &seed.announcement.storage_account).await?;
    let principal = application.service_principal.unwrap_or_default();
    let grants = records::grants(&mut *connection, &principal).await?;
    if ends <= app.now() || !grants.iter().any(|grant| grant.holds(Right::Write, &place)) {
        return Ok(None);
    }
    Ok(Some(Principal {
        subject: format!("copy/{}/{}/{}", seed.vault, seed.server, seed.id),
        role: Some(Role::Copy),
        own: Some((seed.vault, seed.server)),
        seed: Some(seed.id),
        grants: Vec::new(),
        application: None,
    }))
}

/// Where an account lies, and what is made for it.
pub(crate) async fn group(
    on: &mut SqliteConnection,
    account: &AccountName,
) -> Result<Group, Error> {
    let (subscription, name): (String, String) =
        sqlx::query_as("SELECT subscription, resource_group FROM storage_account WHERE name = ?")
            .bind(account.as_str())
            .fetch_one(on)
            .await?;
    Ok(Group { subscription, name })
}

/// The account as the resource manager names it.
async fn place(on: &mut SqliteConnection, account: &AccountName) -> Result<String, Error> {
    Ok(group(on, account).await?.resource(groups::ACCOUNTS, account.as_str()))
}

/// An announced seed.
pub(crate) async fn load(
    on: &mut SqliteConnection,
    id: SeedId,
) -> Result<Option<AnnouncedSeed>, Error> {
    let row: Option<(String, String, String, String)> =
        sqlx::query_as("SELECT vault, server, said, announced_at FROM seed WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(on)
            .await?;
    let seed = |(vault, server, said, at): (String, String, String, String)| {
        Ok(AnnouncedSeed {
            id,
            vault: db::parsed("seed.vault", &vault)?,
            server: db::parsed("seed.server", &server)?,
            announcement: db::json("seed.said", &said)?,
            announced_at: db::parsed("seed.announced_at", &at)?,
        })
    };
    row.map(seed).transpose()
}

/// Whose seeds are asked for.
pub(crate) enum Of<'a> {
    Owner(&'a VaultName, &'a ServerName),
    Account(&'a AccountName),
}

/// An announced seed that has no import job yet, or is written once more after its jobs.
pub(crate) struct Awaited {
    pub(crate) id: SeedId,
    /// When a copy computer was given credentials to write its drives, which it may be doing; none where no other computer has asked.
    pub(crate) copied: Option<Timestamp>,
}

/// Seeds that were announced, or asked for by a copy computer after the last of their jobs, not longer ago than such a computer's token is good:
/// by the wall clock or by time that was seen to pass, whichever is longer. Not those that are published or given up. Those that a copy
/// computer has asked for come first.
pub(crate) async fn awaited(
    on: &mut SqliteConnection,
    of: Of<'_>,
    now: Moment,
) -> Result<Vec<Awaited>, Error> {
    let (vault, server, account) = match of {
        Of::Owner(vault, server) => (Some(vault.as_str()), Some(server.as_str()), None),
        Of::Account(account) => (None, None, Some(account.as_str())),
    };
    let since = |at: Timestamp| db::time(at.saturating_sub(GOOD).unwrap_or(Timestamp::MIN));
    let rows: Vec<(String, Option<String>)> = sqlx::query_as(
        "WITH one AS (
             SELECT seed.*, (SELECT max(created_at) FROM import_job WHERE import_job.seed = seed.id) AS job,
                 (SELECT max(created_at) FROM copy_computer AS copy WHERE copy.seed = seed.id
                      AND (copy.created_at > ?4 OR coalesce(copy.created_seen, copy.created_at) > ?5)) AS copied
             FROM seed
             WHERE (?1 IS NULL OR (vault = ?1 AND server = ?2)) AND (?3 IS NULL OR storage_account = ?3)
               AND NOT EXISTS (SELECT 1 FROM receipt WHERE receipt.vault = seed.vault
                   AND receipt.server = seed.server AND receipt.seed = seed.id)
               AND NOT EXISTS (SELECT 1 FROM abandoned_seed AS given_up WHERE given_up.vault = seed.vault
                   AND given_up.server = seed.server AND given_up.seed = seed.id))
         SELECT id, copied FROM one
         WHERE copied > coalesce(job, '')
            OR (job IS NULL AND (announced_at > ?4 OR coalesce(announced_seen, announced_at) > ?5))
         ORDER BY copied IS NULL, announced_at, id",
    )
    .bind(vault)
    .bind(server)
    .bind(account)
    .bind(since(now.wall))
    .bind(since(now.seen))
    .fetch_all(on)
    .await?;
    let awaited = |(id, copied): (String, Option<String>)| {
        let copied = copied.map(|at| db::parsed("copy_computer.created_at", &at)).transpose()?;
        Ok(Awaited { id: db::parsed("seed.id", &id)?, copied })
    };
    rows.into_iter().map(awaited).collect()
}

fn missing(id: SeedId) -> Error {
    Error::not_found(format_args!(
        "seed {id} that waits for drives here; its source server announces it when its first backup is complete"
    ))
}
