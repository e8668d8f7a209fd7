//! The custody log of each seed: entries come in signed, are checked as the next of their chain, countersigned and
//! kept. Writes nothing about drives itself: their actors do. Of its own it has the publication, and
//! who signs for a seed in another's place.
//!
//! ```text
//!  agent, copy computer, dock ─ signed entries ─▶ one form? signed? whose? next of its chain? ─▶ countersigned ─▶ log
//!  publication ─ published ─▶ log ─ heads ─▶ receipt                      (one transaction)
//! ```
//!
//! Invariant: a key is the only one of its name from its first entry on, and an entry once taken is never another.

use crate::app::App;
use crate::auth::Principal;
use crate::http::{self, Segments};
use crate::publication::seed_receipt;
use crate::{Error, db, jobs};
use ::custody::{Actor, Event, Front, Logged, MAX_ENTRIES, Signed};
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use jiff::Timestamp;
use model::{ActorName, Digest, ServerName, VaultName};
use sqlx::SqliteConnection;
use std::sync::Arc;
use wire::{
    ActorKind, Code, CustodyEntries, CustodyHead, CustodyTaken, MAX_CUSTODY_ENTRIES, PublicKey,
    Receipt, Role, SeedId,
};

/// The media type of a log: a JSON object a line.
pub(crate) const MEDIA: &str = "application/jsonl";
/// The server's own name in logs; its key says which server it is.
const OWN: &str = "server";

/// Takes entries of one actor: those that follow, and those that are there already as they are.
pub(crate) async fn append(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments(id): Segments<SeedId>,
    body: Body,
) -> Result<Json<CustodyTaken>, Error> {
    let sent: CustodyEntries = http::json(body).await?;
    let (vault, server) = visible(&app, &caller, id).await?;
    if sent.entries.is_empty() || sent.entries.len() > MAX_CUSTODY_ENTRIES {
        return Err(Error::invalid(format!("send 1 to {MAX_CUSTODY_ENTRIES} entries at once")));
    }
    let entries = sent.entries.iter().zip(0..).map(|(line, at)| {
        Signed::decode(line)
            .map_err(|fault| Error::invalid(format!("entry {at} of these: {fault}")))
    });
    let entries: Vec<Signed> = entries.collect::<Result<_, _>>()?;
    let actor = entries.first().map(|first| first.entry().actor.clone());
    let actor = actor.ok_or_else(|| Error::invalid("there is no entry"))?;
    if entries.iter().any(|signed| signed.entry().actor != actor || signed.entry().seed != id) {
        return Err(Error::invalid(
            "entries are of one actor, and of the seed that the path names",
        ));
    }
    is_the_callers(&app, &caller, &actor)?;
    let signers = signers(&app, &vault, &server, id).await?;
    let mut transaction = app.db.write().await?;
    may_write(&mut transaction, id, &actor, &signers).await?;
    let mut count = 0;
    for signed in entries {
        count = take(&mut transaction, &app, signed).await?;
    }
    transaction.commit().await?;
    tracing::debug!(seed = %id, %actor, count, "custody entries were taken");
    Ok(Json(CustodyTaken { count }))
}

/// The whole log, in the form in which it is proven without this server.
pub(crate) async fn log(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments(id): Segments<SeedId>,
) -> Result<Response, Error> {
    let (vault, server) = visible(&app, &caller, id).await?;
    // One view of the database: a receipt does not come in between.
    let mut transaction = app.db.pool().begin().await?;
    let lines: Vec<(String,)> =
        sqlx::query_as("SELECT line FROM custody_entry WHERE seed = ? ORDER BY place")
            .bind(id.to_string())
            .fetch_all(&mut *transaction)
            .await?;
    let receipt = seed_receipt(&mut transaction, &vault, &server, id).await?;
    drop(transaction);
    let last = lines.last().map(|(line,)| line.as_str());
    let (count, key) = (lines.len() as u64, app.receipt_key.key());
    let mut text = Front::new(id, count, last, receipt, key, app.now()).encode();
    text.push('\n');
    for (line,) in &lines {
        text.push_str(line);
        text.push('\n');
    }
    Ok(([(CONTENT_TYPE, MEDIA)], text).into_response())
}

/// Whose the seed is, if the caller has to do with it. Who has not cannot tell whether there is such a seed.
async fn visible(
    app: &App,
    caller: &Principal,
    id: SeedId,
) -> Result<(VaultName, ServerName), Error> {
    const WHERE: [&str; 3] = [
        "SELECT vault, server FROM seed WHERE id = ?",
        "SELECT vault, server FROM import_job WHERE seed = ? AND vault IS NOT NULL
         ORDER BY created_at, name LIMIT 1",
        "SELECT vault, server FROM receipt WHERE seed = ? ORDER BY issued_at LIMIT 1",
    ];
    let mut connection = app.db.pool().acquire().await?;
    for statement in WHERE {
        let row: Option<(String, String)> =
            sqlx::query_as(statement).bind(id.to_string()).fetch_optional(&mut *connection).await?;
        let Some((vault, server)) = row else { continue };
        let owner =
            (db::parsed("seed.vault", &vault)?, db::parsed::<ServerName>("seed.server", &server)?);
        if caller.may_see_seed(&owner.0, &owner.1, id) {
            return Ok(owner);
        }
        break;
    }
    Err(Error::not_found(format_args!(
        "seed {id} here; its source server announces it when its first backup is complete"
    )))
}

/// Whether the caller may write as that actor.
fn is_the_callers(app: &App, caller: &Principal, actor: &Actor) -> Result<(), Error> {
    let own_name = caller.own.as_ref().map(|(_, server)| server.as_str());
    let fits = match (caller.role, actor.kind) {
        (Some(Role::Agent), ActorKind::Source) => own_name == Some(actor.name.as_str()),
        (Some(Role::Copy), ActorKind::Copy) | (Some(Role::Dock), ActorKind::Dock) => true,
        _ => false,
    };
    if fits && actor.key != app.receipt_key.public() {
        return Ok(());
    }
    let message = format!("these credentials do not write as {actor}");
    Err(Error::refused(Code::AuthorizationFailed, message))
}

/// Who signs the drives of the seed, by its jobs.
async fn signers(
    app: &App,
    vault: &VaultName,
    server: &ServerName,
    id: SeedId,
) -> Result<Vec<PublicKey>, Error> {
    let jobs = jobs::of_seed(app, vault, server, id).await?;
    Ok(jobs.iter().filter_map(|job| Some(job.seed().ok()?.seed.signer)).collect())
}

/// Whether that key is the actor's: the first that came under its name. A source server's is the one that signs its
/// drives, unless copy computers have signed all of them.
async fn may_write(
    on: &mut SqliteConnection,
    id: SeedId,
    actor: &Actor,
    signers: &[PublicKey],
) -> Result<(), Error> {
    let denied = |why: String| Err(Error::refused(Code::AuthorizationFailed, why));
    let pinned: Option<(Vec<u8>,)> = sqlx::query_as(
        "SELECT key FROM custody_entry WHERE seed = ? AND kind = ? AND name = ? LIMIT 1",
    )
    .bind(id.to_string())
    .bind(actor.kind.word())
    .bind(actor.name.as_str())
    .fetch_optional(&mut *on)
    .await?;
    if let Some((key,)) = pinned {
        let key = PublicKey(db::bytes("custody_entry.key", &key)?);
        if key != actor.key {
            return denied(format!(
                "{actor} has written into the custody log of seed {id} with the key {}, and keeps it",
                seed::Fingerprint::of(&key)
            ));
        }
        return Ok(());
    }
    if actor.kind != ActorKind::Source || signers.contains(&actor.key) {
        return Ok(());
    }
    let copies: Vec<(Vec<u8>,)> =
        sqlx::query_as("SELECT DISTINCT key FROM custody_entry WHERE seed = ? AND kind = ?")
            .bind(id.to_string())
            .bind(ActorKind::Copy.word())
            .fetch_all(on)
            .await?;
    if signers.iter().all(|signer| copies.iter().any(|(key,)| key.as_slice() == signer.0)) {
        return Ok(());
    }
    denied(format!("the import jobs of seed {id} name another signer than the key of {actor}"))
}

/// What the log has of a place.
#[derive(sqlx::FromRow)]
struct Columns {
    place: i64,
    number: i64,
    hash: Vec<u8>,
    line: String,
}

const COLUMNS: &str = "SELECT place, number, hash, line FROM custody_entry";

/// Puts an entry behind the others, or finds it there. Answers how many its actor has then.
async fn take(on: &mut SqliteConnection, app: &App, signed: Signed) -> Result<u64, Error> {
    let entry = signed.entry();
    let (seed, actor, number) = (entry.seed, entry.actor.clone(), entry.number);
    let last = chain(on, seed, &actor, None).await?;
    let count = match &last {
        None => 0,
        Some(last) => db::count("custody_entry.number", last.number)?.saturating_add(1),
    };
    if number < count {
        let there = chain(on, seed, &actor, Some(number)).await?;
        let there = there.ok_or_else(|| db::damaged("custody_entry.number", "a gap in a chain"))?;
        let logged = Logged::decode(&there.line)
            .map_err(|fault| db::damaged("custody_entry.line", fault))?;
        if logged.signed() == signed {
            return Ok(count);
        }
        let what = "is another one in the log: two chains have begun there";
        return Err(conflict(&actor, number, what));
    }
    if number > count {
        let what = format!("comes after entry {count}, which is not here: send that first");
        return Err(conflict(&actor, number, &what));
    }
    let previous = match &last {
        None => Digest([0; 32]),
        Some(last) => Digest(db::bytes("custody_entry.hash", &last.hash)?),
    };
    if entry.previous != previous {
        return Err(conflict(&actor, number, "does not follow from the entry before it"));
    }
    push(on, app, signed).await?;
    Ok(count.saturating_add(1))
}

fn conflict(actor: &Actor, number: u64, what: &str) -> Error {
    let message = format!("entry {number} of {actor} {what}");
    let details = vec![format!("{actor} {number}")];
    Error::Refused { code: Code::AlreadyExists, message, details }
}

/// An entry of an actor's chain; the last, where none is named.
async fn chain(
    on: &mut SqliteConnection,
    seed: SeedId,
    actor: &Actor,
    number: Option<u64>,
) -> Result<Option<Columns>, Error> {
    let statement = format!(
        "{COLUMNS} WHERE seed = ? AND kind = ? AND name = ? AND number <= ?
         ORDER BY number DESC LIMIT 1"
    );
    let found = sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(seed.to_string())
        .bind(actor.kind.word())
        .bind(actor.name.as_str())
        .bind(number.map_or(i64::MAX, db::number))
        .fetch_optional(on)
        .await?;
    Ok(found)
}

/// Countersigns an entry that follows, and keeps it.
async fn push(on: &mut SqliteConnection, app: &App, signed: Signed) -> Result<(), Error> {
    let seed = signed.entry().seed;
    let statement = format!("{COLUMNS} WHERE seed = ? ORDER BY place DESC LIMIT 1");
    let last: Option<Columns> = sqlx::query_as(sqlx::AssertSqlSafe(statement))
        .bind(seed.to_string())
        .fetch_optional(&mut *on)
        .await?;
    let order = match &last {
        None => 0,
        Some(last) => db::count("custody_entry.place", last.place)?.saturating_add(1),
    };
    if order >= MAX_ENTRIES {
        let message =
            format!("the custody log of seed {seed} has {order} entries and takes no more");
        return Err(Error::invalid(message));
    }
    let before = last.as_ref().map(|last| last.line.as_str());
    let logged = Logged::new(signed, app.receipt_key.key(), order, before, app.now());
    let entry = logged.entry();
    sqlx::query(
        "INSERT INTO custody_entry (seed, place, kind, name, key, number, hash, line)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(seed.to_string())
    .bind(db::number(order))
    .bind(entry.actor.kind.word())
    .bind(entry.actor.name.as_str())
    .bind(entry.actor.key.0.as_slice())
    .bind(db::number(entry.number))
    .bind(logged.hash().0.as_slice())
    .bind(logged.encode())
    .execute(on)
    .await?;
    Ok(())
}

/// Notes that another key signs for the seed from now on than the one that has signed its drives.
pub(crate) async fn signer_named(
    on: &mut SqliteConnection,
    app: &App,
    seed: SeedId,
    key: PublicKey,
    certificate: Digest,
) -> Result<(), Error> {
    say(on, app, seed, Event::SignerNamed { key, certificate }, app.now()).await
}

/// Adds to the server's own chain.
async fn say(
    on: &mut SqliteConnection,
    app: &App,
    seed: SeedId,
    event: Event,
    at: Timestamp,
) -> Result<(), Error> {
    let name: ActorName = db::parsed("the server's own name", OWN)?;
    let actor = Actor { kind: ActorKind::Server, name, key: app.receipt_key.public() };
    let before = match chain(on, seed, &actor, None).await? {
        None => None,
        Some(last) => {
            let logged = Logged::decode(&last.line)
                .map_err(|fault| db::damaged("custody_entry.line", fault))?;
            Some(logged.signed())
        }
    };
    let key = app.receipt_key.key();
    push(on, app, Signed::next(before.as_ref(), seed, &actor, key, event, at)).await
}

/// Notes the publication that a receipt is about to be signed for, and answers how long every chain is then.
pub(crate) async fn published(
    on: &mut SqliteConnection,
    app: &App,
    receipt: &Receipt,
) -> Result<Vec<CustodyHead>, Error> {
    let Receipt { repository, objects, bytes, root, seed, issued_at, .. } = *receipt;
    let event = Event::Published { repository, objects, bytes, root };
    say(on, app, seed, event, issued_at).await?;
    heads(on, seed).await
}

/// The last entry of a chain.
#[derive(sqlx::FromRow)]
struct Last {
    kind: String,
    name: String,
    key: Vec<u8>,
    number: i64,
    hash: Vec<u8>,
}

impl Last {
    fn head(self) -> Result<CustodyHead, Error> {
        let known = ActorKind::ALL.into_iter().find(|known| known.word() == self.kind);
        Ok(CustodyHead {
            kind: known.ok_or_else(|| db::damaged("custody_entry.kind", &self.kind))?,
            name: db::parsed("custody_entry.name", &self.name)?,
            key: PublicKey(db::bytes("custody_entry.key", &self.key)?),
            count: db::count("custody_entry.number", self.number)?.saturating_add(1),
            last: Digest(db::bytes("custody_entry.hash", &self.hash)?),
        })
    }
}

async fn heads(on: &mut SqliteConnection, seed: SeedId) -> Result<Vec<CustodyHead>, Error> {
    let rows: Vec<Last> = sqlx::query_as(
        "SELECT kind, name, key, number, hash FROM custody_entry AS entry
         WHERE seed = ?1 AND number = (SELECT MAX(number) FROM custody_entry
             WHERE seed = ?1 AND kind = entry.kind AND name = entry.name)
         ORDER BY kind, name",
    )
    .bind(seed.to_string())
    .fetch_all(on)
    .await?;
    rows.into_iter().map(Last::head).collect()
}
