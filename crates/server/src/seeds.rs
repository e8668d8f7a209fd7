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
use crate::{Error, accounts, db, publication, token};
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use jiff::{Span, Timestamp};
use model::AccountName;
use sqlx::SqliteConnection;
use std::sync::Arc;
use wire::{AnnouncedSeed, Code, CopyComputer, Role, SeedAnnouncement, SeedId};

/// The user name of a copy computer's credentials.
pub(crate) const USER: &str = "copy";
/// How long a token is good for: a set of large drives takes days, and waits for its parcel.
pub(crate) const TOKEN_DAYS: i64 = 90;
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
    let now = app.now();
    sqlx::query(
        "INSERT INTO seed (id, vault, server, storage_account, said, announced_at)
         VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET storage_account = excluded.storage_account,
             said = excluded.said, announced_at = excluded.announced_at",
    )
    .bind(id.to_string())
    .bind(vault.as_str())
    .bind(server.as_str())
    .bind(said.storage_account.as_str())
    .bind(text)
    .bind(db::time(now))
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

/// Credentials for writing the seed's drives on another computer. Who may not has no way to learn whether there
/// is such a seed.
pub(crate) async fn copy_computer(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments(id): Segments<SeedId>,
    _body: Body,
) -> Result<(StatusCode, Json<CopyComputer>), Error> {
    let now = app.now();
    let mut transaction = app.db.write().await?;
    let seed = load(&mut transaction, id).await?.ok_or_else(|| missing(id))?;
    let place = place(&mut transaction, &seed.announcement.storage_account).await?;
    let application = caller.application.as_ref().ok_or_else(|| missing(id))?;
    if !caller.may(Right::Write, &place) {
        return Err(missing(id));
    }
    let token = token::new()?;
    sqlx::query(
        "INSERT INTO copy_computer (token_sha256, seed, application, created_at)
         VALUES (?, ?, ?, ?)",
    )
    .bind(token::hash(&token).as_slice())
    .bind(id.to_string())
    .bind(&application.object_id)
    .bind(db::time(now))
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
    let own = Some((seed.vault.clone(), seed.server.clone()));
    let credentials = app.credentials(Role::Copy, own, USER.to_owned(), token);
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
    let ends = at.saturating_add(Span::new().hours(24 * TOKEN_DAYS)).unwrap_or(Timestamp::MAX);
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

fn missing(id: SeedId) -> Error {
    Error::not_found(format_args!(
        "seed {id} that waits for drives here; its source server announces it when its first backup is complete"
    ))
}
