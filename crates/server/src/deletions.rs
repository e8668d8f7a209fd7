//! Deletions from a vault's repository: asked for by name by whoever has the key, held, undeleted or carried out. Decides nothing
//! of what a snapshot needs: nobody here can read one. See docs/design/keeping.md.
//!
//! ```text
//!  request ─▶ judge ─▶ held ─┬─ due, or a PIN ─▶ going ─▶ done
//!                            └─ undelete ─▶ undone
//! ```
//!
//! Invariant: deletions of one source server are carried out in the order of their requests, and undone in the other: each was planned on
//! what those before it have left visible.

mod carry;
mod held;
mod judge;
mod pin;

pub(crate) use carry::{Carrier, run as carry_out};
pub(crate) use held::{Held, refuse, shown, still, stored};
pub(crate) use pin::{create as create_pin, shorten};

use crate::app::App;
use crate::auth::Principal;
use crate::http::{self, Segments};
use crate::place::Place;
use crate::seen::Moment;
use crate::{Error, db, notices, settings};
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use model::{Digest, ObjectKey, ObjectKind, ServerName, VaultName};
use sqlx::SqliteConnection;
use std::sync::Arc;
use wire::{Code, Deletion, DeletionRequest, DeletionState, List, MAX_DELETION_NAMES, MAX_NAMES};

/// Whose repository.
pub(crate) type Owner = (VaultName, ServerName);

/// Deletions of one source server that are not over: daily ones, for longer than any sensible hold.
const MAX_OPEN: i64 = 1000;
/// Held names of one source server. Lists keep 32 bytes of each at hand.
const MAX_HELD: i64 = 2_000_000;
/// Looks at once: each waits for a disk.
const WIDTH: usize = 16;
/// Of a reason, so many characters are kept.
const LONGEST: usize = 1000;
/// The newest of an answer.
const LISTED: i64 = 1000;
/// Packs of which people are told, however many snapshots go. Some 160 GB.
const MANY_PACKS: u64 = 10_000;

/// What a part of a request names and is there.
struct Part {
    kind: ObjectKind,
    names: Vec<(Digest, u64)>,
}

pub(crate) async fn request(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments(owner): Segments<Owner>,
    body: Body,
) -> Result<(StatusCode, Json<Deletion>), Error> {
    let asked: DeletionRequest = http::json(body).await?;
    let count = asked.snapshots.len() + asked.indexes.len() + asked.packs.len();
    if count > MAX_DELETION_NAMES || count == 0 {
        let message = format!(
            "one part of a deletion names 1 to {MAX_DELETION_NAMES} objects, and this names {count}; send it in parts"
        );
        return Err(Error::invalid(message));
    }
    let wanted = [
        (ObjectKind::Snapshot, asked.snapshots.clone()),
        (ObjectKind::Index, asked.indexes.clone()),
        (ObjectKind::Pack, asked.packs.clone()),
    ];
    if let Some((job, key)) = judge::exported(&app, &owner, &wanted).await? {
        let message =
            format!("export job {job} is not over, and needs {key}; wait for it, or cancel it");
        return Err(Error::refused(Code::JobState, message));
    }
    let mut parts = Vec::with_capacity(wanted.len());
    for (kind, names) in &wanted {
        parts.push(Part { kind: *kind, names: there(&app, &owner, *kind, names).await? });
    }
    let seen = Seen::of(&app, &owner, &asked).await?;
    judge::refuse_transit(judge::increments_pend(&app, &owner).await?)?;
    let mut transaction = app.db.write().await?;
    let transit = judge::in_transit(&mut transaction, &owner, app.moment()).await?;
    judge::refuse_transit(transit)?;
    refuse_stale(&mut transaction, &owner, asked.undone).await?;
    refuse_young(&app, &mut transaction, &owner, &asked.snapshots).await?;
    refuse_many(&mut transaction, &owner).await?;
    let id = match asked.continues {
        None => begin(&app, &mut transaction, (&owner, &caller), &asked).await?,
        Some(id) => go_on(&app, &mut transaction, (&owner, &asked), id).await?,
    };
    hold(&mut transaction, &owner, id, &parts).await?;
    tell(&mut transaction, (&owner, seen), id, app.now()).await?;
    let deletion = read(&mut transaction, &owner, id).await?;
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(deletion)))
}

/// Those that are there, with their lengths.
async fn there(
    app: &App,
    owner: &Owner,
    kind: ObjectKind,
    names: &[Digest],
) -> Result<Vec<(Digest, u64)>, Error> {
    let place = Place::published(&owner.0, &owner.1);
    let place = &place;
    let looks = names.iter().copied().map(|name| async move {
        let at = place.object(&ObjectKey::new(kind, name));
        Ok::<_, Error>(app.objects.length(&at).await?.map(|length| (name, length)))
    });
    let found = stream::iter(looks).buffered(WIDTH);
    found.try_filter_map(|found| std::future::ready(Ok(found))).try_collect().await
}

/// How many deletions of a source server were undeleted.
pub(crate) async fn undone(on: &mut SqliteConnection, owner: &Owner) -> Result<u64, Error> {
    let (count,): (i64,) = sqlx::query_as(
        "SELECT COUNT(*) FROM deletion WHERE vault = ? AND server = ? AND state = 'undone'",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .fetch_one(on)
    .await?;
    db::count("deletion", count)
}

/// What was planned before something came back may name what that needs.
async fn refuse_stale(
    on: &mut SqliteConnection,
    owner: &Owner,
    seen: Option<u64>,
) -> Result<(), Error> {
    match seen {
        Some(seen) if undone(on, owner).await? != seen => {
            let message = "a deletion was undeleted since this one was planned: plan it again";
            Err(Error::refused(Code::ConcurrentChange, message))
        }
        _ => Ok(()),
    }
}

async fn refuse_young(
    app: &App,
    on: &mut SqliteConnection,
    owner: &Owner,
    snapshots: &[Digest],
) -> Result<(), Error> {
    let minimum = settings::rules(on, &owner.0).await?.minimum_retention_days;
    let Some((young, until)) = judge::too_young(app, on, owner, snapshots, minimum).await? else {
        return Ok(());
    };
    let message = format!(
        "vault {} keeps every snapshot for {minimum} days from its arrival on, and {} of these have not been there for so long, counted by its own clock; all of them can go from {until:.0} on",
        owner.0,
        young.len()
    );
    let details = young.iter().take(MAX_NAMES).map(ToString::to_string).collect();
    Err(Error::Refused { code: Code::RetentionRefused, message, details })
}

async fn refuse_many(on: &mut SqliteConnection, owner: &Owner) -> Result<(), Error> {
    let (open,): (i64,) = sqlx::query_as(
        "SELECT COUNT(*) FROM deletion WHERE vault = ? AND server = ? AND state IN ('held', 'going')",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .fetch_one(&mut *on)
    .await?;
    let (names,): (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM held WHERE vault = ? AND server = ?")
            .bind(owner.0.as_str())
            .bind(owner.1.as_str())
            .fetch_one(on)
            .await?;
    if open < MAX_OPEN && names < MAX_HELD {
        return Ok(());
    }
    let message = format!(
        "{open} deletions of {} with {names} objects are not carried out yet; wait for some of them",
        owner.1
    );
    Err(Error::refused(Code::JobState, message))
}

async fn begin(
    app: &App,
    on: &mut SqliteConnection,
    (owner, caller): (&Owner, &Principal),
    asked: &DeletionRequest,
) -> Result<i64, Error> {
    let now = app.moment();
    let due = due(on, owner, asked, now).await?;
    let done = sqlx::query(
        "INSERT INTO deletion (vault, server, subject, reason, grp, oldest, newest, asked_at, asked_seen, due_at, due_seen, state)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'held')",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(&caller.subject)
    .bind(asked.reason.chars().take(LONGEST).collect::<String>())
    .bind(asked.group.as_ref().map(model::GroupName::as_str))
    .bind(asked.oldest.map(db::time))
    .bind(asked.newest.map(db::time))
    .bind(db::time(now.wall))
    .bind(db::time(now.seen))
    .bind(db::time(due.wall))
    .bind(db::time(due.seen))
    .execute(&mut *on)
    .await?;
    Ok(done.last_insert_rowid())
}

/// When what is asked for now is carried out. Which snapshots need indexes and packs, nobody here knows: they are held for
/// as long as a snapshot that came just now has to be kept.
async fn due(
    on: &mut SqliteConnection,
    owner: &Owner,
    asked: &DeletionRequest,
    now: Moment,
) -> Result<Moment, Error> {
    let rules = settings::rules(on, &owner.0).await?;
    let hold = match asked.indexes.is_empty() && asked.packs.is_empty() {
        true => rules.hold_days,
        false => rules.hold_days.max(rules.minimum_retention_days),
    };
    Ok(now.after(judge::days(hold)))
}

/// A further part of the newest deletion, from which its hold counts.
async fn go_on(
    app: &App,
    on: &mut SqliteConnection,
    (owner, asked): (&Owner, &DeletionRequest),
    id: u64,
) -> Result<i64, Error> {
    let due = due(on, owner, asked, app.moment()).await?;
    let done = sqlx::query(
        "UPDATE deletion SET due_at = max(due_at, ?1), due_seen = max(coalesce(due_seen, due_at), ?5) WHERE id = ?2 AND vault = ?3 AND server = ?4 AND state = 'held' AND shortened = 0
         AND id = (SELECT max(id) FROM deletion WHERE vault = ?3 AND server = ?4)",
    )
    .bind(db::time(due.wall))
    .bind(db::number(id))
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(db::time(due.seen))
    .execute(on)
    .await?;
    if done.rows_affected() == 1 {
        return Ok(db::number(id));
    }
    let message = format!(
        "deletion {id} is not the newest of {} any more, or not held: ask for a new one",
        owner.1
    );
    Err(Error::refused(Code::ConcurrentChange, message))
}

/// What an earlier deletion holds stays with that.
async fn hold(
    on: &mut SqliteConnection,
    owner: &Owner,
    id: i64,
    parts: &[Part],
) -> Result<(), Error> {
    let (mut counts, mut bytes) = ([0_i64; 3], 0_u64);
    for (part, count) in parts.iter().zip(&mut counts) {
        for (name, length) in &part.names {
            let done = sqlx::query(
                "INSERT INTO held (vault, server, kind, name, deletion) VALUES (?, ?, ?, ?, ?)
                 ON CONFLICT DO NOTHING",
            )
            .bind(owner.0.as_str())
            .bind(owner.1.as_str())
            .bind(held::number(part.kind))
            .bind(name.as_bytes().as_slice())
            .bind(id)
            .execute(&mut *on)
            .await?;
            if done.rows_affected() == 1 {
                *count += 1;
                bytes = bytes.saturating_add(*length);
            }
        }
    }
    let [snapshots, indexes, packs] = counts;
    sqlx::query(
        "UPDATE deletion SET snapshots = snapshots + ?, indexes = indexes + ?, packs = packs + ?, bytes = bytes + ?
         WHERE id = ?",
    )
    .bind(snapshots)
    .bind(indexes)
    .bind(packs)
    .bind(db::number(bytes))
    .bind(id)
    .execute(on)
    .await?;
    Ok(())
}

/// How many there are of what is asked for, held ones among them.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    snapshots: u64,
    packs: u64,
}

impl Seen {
    /// A walk over what is named, before anything is written: it may take a while.
    async fn of(app: &App, owner: &Owner, asked: &DeletionRequest) -> Result<Self, Error> {
        let mut seen = Self::default();
        if !asked.snapshots.is_empty() {
            seen.snapshots = count(app, owner, ObjectKind::Snapshot).await?;
        }
        if !asked.packs.is_empty() {
            seen.packs = count(app, owner, ObjectKind::Pack).await?;
        }
        Ok(seen)
    }
}

async fn count(app: &App, owner: &Owner, kind: ObjectKind) -> Result<u64, Error> {
    let place = Place::published(&owner.0, &owner.1);
    let all = app.objects.list(&place.below(kind.folder()));
    all.try_fold(0, |count, _| std::future::ready(Ok(count + 1))).await
}

/// Tells people of a large one, once.
async fn tell(
    on: &mut SqliteConnection,
    (owner, seen): (&Owner, Seen),
    id: i64,
    now: Timestamp,
) -> Result<(), Error> {
    let deletion = read(on, owner, id).await?;
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT kind, COUNT(*) FROM held WHERE vault = ? AND server = ? AND deletion <> ? GROUP BY kind",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(id)
    .fetch_all(&mut *on)
    .await?;
    let held = |kind| {
        let rows = rows.iter().filter(|(of, _)| Some(*of) == held::number(kind));
        rows.map(|(_, count)| count.unsigned_abs()).sum::<u64>()
    };
    // Of those that were to be seen when it began.
    let is_half = |named: u64, seen: u64, kind| {
        named > 0 && seen > 0 && named.saturating_mul(2) >= seen.saturating_sub(held(kind))
    };
    let Deletion { subject, reason, due_at, snapshots, packs, .. } = &deletion;
    if !is_half(*snapshots, seen.snapshots, ObjectKind::Snapshot)
        && !is_half(*packs, seen.packs, ObjectKind::Pack)
        && *packs < MANY_PACKS
    {
        return Ok(());
    }
    let first = sqlx::query("UPDATE deletion SET told = 1 WHERE id = ? AND told = 0")
        .bind(id)
        .execute(&mut *on)
        .await?;
    if first.rows_affected() == 0 {
        return Ok(());
    }
    let text = format!(
        "{subject} asks to delete half or more of what is there of {} in vault {}: {snapshots} recovery points, {packs} packs ({reason}); if nobody wants that: packmule vault undelete {} {id}, before {due_at:.0}",
        owner.1, owner.0, owner.0
    );
    notices::of_vault(on, owner, &text, now).await
}

#[derive(sqlx::FromRow)]
struct Columns {
    id: i64,
    server: String,
    subject: String,
    reason: String,
    grp: Option<String>,
    oldest: Option<String>,
    newest: Option<String>,
    asked_at: String,
    due_at: String,
    shortened: i64,
    state: String,
    waits: Option<String>,
    ended_at: Option<String>,
    snapshots: i64,
    indexes: i64,
    packs: i64,
    bytes: i64,
}

const COLUMNS: &str = "SELECT id, server, subject, reason, grp, oldest, newest, asked_at, due_at, shortened, state, waits, ended_at, snapshots, indexes, packs, bytes FROM deletion";

impl Columns {
    fn read(self) -> Result<Deletion, Error> {
        let time = |column: &str, text: Option<String>| {
            text.map(|text| db::parsed::<Timestamp>(column, &text)).transpose()
        };
        Ok(Deletion {
            id: db::count("deletion.id", self.id)?,
            server: db::parsed("deletion.server", &self.server)?,
            subject: self.subject,
            reason: self.reason,
            group: self.grp.map(|group| db::parsed("deletion.grp", &group)).transpose()?,
            oldest: time("deletion.oldest", self.oldest)?,
            newest: time("deletion.newest", self.newest)?,
            asked_at: db::parsed("deletion.asked_at", &self.asked_at)?,
            due_at: db::parsed("deletion.due_at", &self.due_at)?,
            shortened: self.shortened != 0,
            state: match self.state.as_str() {
                "held" => DeletionState::Held,
                "going" => DeletionState::Going,
                "done" => DeletionState::Done,
                "undone" => DeletionState::Undone,
                other => return Err(db::damaged("deletion.state", other)),
            },
            waits: self.waits,
            ended_at: time("deletion.ended_at", self.ended_at)?,
            snapshots: db::count("deletion.snapshots", self.snapshots)?,
            indexes: db::count("deletion.indexes", self.indexes)?,
            packs: db::count("deletion.packs", self.packs)?,
            bytes: db::count("deletion.bytes", self.bytes)?,
        })
    }
}

fn missing(id: i64) -> Error {
    Error::not_found(format_args!("deletion {id} of that source server"))
}

async fn read(on: &mut SqliteConnection, owner: &Owner, id: i64) -> Result<Deletion, Error> {
    let query = format!("{COLUMNS} WHERE vault = ? AND server = ? AND id = ?");
    let row: Option<Columns> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(owner.0.as_str())
        .bind(owner.1.as_str())
        .bind(id)
        .fetch_optional(on)
        .await?;
    row.ok_or_else(|| missing(id))?.read()
}

async fn newest(
    app: &App,
    vault: &VaultName,
    server: Option<&ServerName>,
) -> Result<Json<List<Deletion>>, Error> {
    let query = format!(
        "{COLUMNS} WHERE vault = ?1 AND (?2 IS NULL OR server = ?2) ORDER BY id DESC LIMIT ?3"
    );
    let rows: Vec<Columns> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(vault.as_str())
        .bind(server.map(ServerName::as_str))
        .bind(LISTED)
        .fetch_all(app.db.pool())
        .await?;
    Ok(Json(List { value: rows.into_iter().map(Columns::read).collect::<Result<_, _>>()? }))
}

/// Of a vault, the newest first.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Segments(vault): Segments<VaultName>,
) -> Result<Json<List<Deletion>>, Error> {
    newest(&app, &vault, None).await
}

/// Of a source server, the newest first.
pub(crate) async fn list_of_server(
    State(app): State<Arc<App>>,
    Segments((vault, server)): Segments<Owner>,
) -> Result<Json<List<Deletion>>, Error> {
    newest(&app, &vault, Some(&server)).await
}

/// Brings back everything of a deletion, and of those that came after it: these were planned without what it took.
pub(crate) async fn undelete(
    State(app): State<Arc<App>>,
    Segments((vault, server, id)): Segments<(VaultName, ServerName, i64)>,
    _body: Body,
) -> Result<Json<List<Deletion>>, Error> {
    let owner = (vault, server);
    let mut transaction = app.db.write().await?;
    let asked = read(&mut transaction, &owner, id).await?;
    if asked.state != DeletionState::Held {
        let what = match asked.state {
            DeletionState::Undone => "is undeleted already",
            DeletionState::Going => "is being carried out, which cannot be taken back",
            _ => "was carried out, and its objects are gone",
        };
        return Err(Error::refused(Code::JobState, format!("deletion {id} {what}")));
    }
    let query = format!(
        "{COLUMNS} WHERE vault = ? AND server = ? AND state = 'held' AND id >= ? ORDER BY id"
    );
    let rows: Vec<Columns> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(owner.0.as_str())
        .bind(owner.1.as_str())
        .bind(id)
        .fetch_all(&mut *transaction)
        .await?;
    let mut value = Vec::with_capacity(rows.len());
    for row in rows {
        sqlx::query("DELETE FROM held WHERE deletion = ?")
            .bind(row.id)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "UPDATE deletion SET state = 'undone', waits = NULL, ended_at = ? WHERE id = ?",
        )
        .bind(db::time(app.now()))
        .bind(row.id)
        .execute(&mut *transaction)
        .await?;
        value.push(read(&mut transaction, &owner, row.id).await?);
    }
    transaction.commit().await?;
    Ok(Json(List { value }))
}
