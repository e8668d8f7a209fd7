//! Carries out what is due: snapshots, then indexes, then packs. Every step may be taken again, so that whoever dies at one is
//! followed by whoever looks next.
//!
//! ```text
//!  due? ─▶ nothing against it? ─▶ 512 names marked as going ─▶ files removed, folders synced ─▶ names forgotten ─▶ … ─▶ done
//! ```

use super::held::{KINDS, number};
use super::{Owner, judge};
use crate::app::App;
use crate::error::causes;
use crate::place::Place;
use crate::publication::Step;
use crate::seen::Moment;
use crate::{Error, audit, db, settings};
use jiff::Timestamp;
use model::{Digest, ObjectKey, ObjectKind};
use sqlx::SqliteConnection;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};

/// Names in one batch: what a publication, or an upload of one of them, may have to wait for.
const BATCH: i64 = 512;

/// Who carries out, one at a time, and what wakes them.
#[derive(Debug, Default)]
pub(crate) struct Carrier {
    alone: Mutex<()>,
    woken: Notify,
}

/// Has what is due looked at now.
pub(super) fn wake(app: &App) {
    app.carrier.woken.notify_one();
}

/// Looks at what is due, again and again.
pub(crate) async fn run(app: Arc<App>) {
    loop {
        if let Err(error) = all(&app).await {
            let cause = causes(&error);
            tracing::error!(%error, %cause, "deletions cannot be looked at");
        }
        let next: Duration = app.config.tick;
        // Whichever comes first.
        let _ = tokio::time::timeout(next, app.carrier.woken.notified()).await;
    }
}

/// The first deletion of each source server that is not over: those after it wait for it.
async fn all(app: &App) -> Result<(), Error> {
    let _alone = app.carrier.alone.lock().await;
    loop {
        let rows: Vec<(i64, String, String)> = sqlx::query_as(
            "SELECT min(id), vault, server FROM deletion WHERE state IN ('held', 'going')
             GROUP BY vault, server",
        )
        .fetch_all(app.db.pool())
        .await?;
        let mut went = false;
        for (id, vault, server) in rows {
            let owner =
                (db::parsed("deletion.vault", &vault)?, db::parsed("deletion.server", &server)?);
            match one(app, &owner, id).await {
                Ok(done) => went |= done,
                Err(Error::Checkpoint) => return Err(Error::Checkpoint),
                // One that cannot be carried out does not stop the others.
                Err(error) => {
                    let cause = causes(&error);
                    tracing::error!(%vault, %server, deletion = id, %error, %cause, "a deletion stopped; the next look goes on");
                }
            }
        }
        if !went {
            return Ok(());
        }
    }
}

/// Whether it was carried out.
async fn one(app: &App, owner: &Owner, id: i64) -> Result<bool, Error> {
    match due(app, id).await? {
        Due::Now => {}
        Due::Later => return Ok(false),
        Due::Unseen(until) => {
            let why = format!(
                "its hold is counted in time that this server has seen pass, too, and that is over at {until:.0} at the earliest: its clock was moved, or it did not run meanwhile"
            );
            wait(app, id, &why).await?;
            return Ok(false);
        }
    }
    // What was begun is brought to its end, whatever stands against it by now: it cannot come back.
    for kind in KINDS {
        let mut connection = app.db.pool().acquire().await?;
        let begun = names(&mut connection, id, kind, "going = 1", i64::MAX).await?;
        drop(connection);
        if !begun.is_empty() {
            remove(app, owner, id, kind, &begun).await?;
        }
    }
    if let Some(why) = against(app, owner, id).await? {
        wait(app, id, &why).await?;
        return Ok(false);
    }
    for kind in KINDS {
        while let Some(names) = mark(app, owner, id, kind).await? {
            match names {
                Marked::Names(names) => remove(app, owner, id, kind, &names).await?,
                Marked::Waits(why) => {
                    wait(app, id, &why).await?;
                    return Ok(false);
                }
            }
        }
    }
    finish(app, owner, id).await
}

enum Due {
    Now,
    Later,
    /// Its date has come, and so much time has not passed.
    Unseen(Timestamp),
}

async fn due(app: &App, id: i64) -> Result<Due, Error> {
    let row: Option<(String, String, String)> = sqlx::query_as(
        "SELECT state, due_at, coalesce(due_seen, due_at) FROM deletion WHERE id = ? AND state IN ('held', 'going')",
    )
    .bind(id)
    .fetch_optional(app.db.pool())
    .await?;
    let Some((state, wall, seen)) = row else { return Ok(Due::Later) };
    let at = Moment {
        wall: db::parsed("deletion.due_at", &wall)?,
        seen: db::parsed("deletion.due_seen", &seen)?,
    };
    let now = app.moment();
    Ok(match at.ahead_of(now) {
        _ if state == "going" => Due::Now,
        None => Due::Now,
        Some(until) if at.is_unseen(now) => Due::Unseen(until),
        Some(_) => Due::Later,
    })
}

async fn wait(app: &App, id: i64, why: &str) -> Result<(), Error> {
    sqlx::query("UPDATE deletion SET waits = ? WHERE id = ? AND waits IS NOT ?")
        .bind(why)
        .bind(id)
        .bind(why)
        .execute(app.db.pool())
        .await?;
    Ok(())
}

/// What stands against it now, in words. What was asked for may have been changed by settings, exports and seeds since.
async fn against(app: &App, owner: &Owner, id: i64) -> Result<Option<String>, Error> {
    let mut connection = app.db.pool().acquire().await?;
    if let Some(why) = judge::in_transit(&mut connection, owner, app.moment()).await? {
        return Ok(Some(why));
    }
    let minimum = settings::rules(&mut connection, &owner.0).await?.minimum_retention_days;
    let snapshots = names(&mut connection, id, ObjectKind::Snapshot, "going = 0", i64::MAX).await?;
    let young = judge::too_young(app, &mut connection, owner, &snapshots, minimum).await?;
    drop(connection);
    if let Some((young, until)) = young {
        let count = young.len();
        return Ok(Some(format!(
            "{count} of its snapshots have not been in the vault for {minimum} days, its minimum retention; that is over at {until:.0}"
        )));
    }
    if let Some(until) = held_until(app, id, minimum).await? {
        return Ok(Some(format!(
            "its indexes and packs are kept for the vault's minimum retention of {minimum} days: until {until:.0}"
        )));
    }
    if let Some(why) = judge::increments_pend(app, owner).await? {
        return Ok(Some(why));
    }
    let mut wanted = Vec::with_capacity(KINDS.len());
    for kind in KINDS {
        let mut connection = app.db.pool().acquire().await?;
        wanted.push((kind, names(&mut connection, id, kind, "going = 0", i64::MAX).await?));
    }
    let needed = judge::exported(app, owner, &wanted).await?;
    Ok(needed.map(|(job, key)| format!("export job {job} needs {key}, and is not over")))
}

/// Until when indexes and packs are kept, whichever snapshots need them; none when that is over. What a PIN has ended is.
async fn held_until(app: &App, id: i64, minimum: u32) -> Result<Option<Timestamp>, Error> {
    let row: Option<(String, String)> = sqlx::query_as(
        "SELECT asked_at, coalesce(asked_seen, asked_at) FROM deletion WHERE id = ? AND shortened = 0 AND indexes + packs > 0",
    )
    .bind(id)
    .fetch_optional(app.db.pool())
    .await?;
    let Some((wall, seen)) = row else { return Ok(None) };
    let asked = Moment {
        wall: db::parsed("deletion.asked_at", &wall)?,
        seen: db::parsed("deletion.asked_seen", &seen)?,
    };
    Ok(asked.after(judge::days(minimum)).ahead_of(app.moment()))
}

async fn names(
    on: &mut SqliteConnection,
    id: i64,
    kind: ObjectKind,
    which: &'static str,
    most: i64,
) -> Result<Vec<Digest>, Error> {
    let query =
        format!("SELECT name FROM held WHERE deletion = ? AND kind = ? AND {which} LIMIT ?");
    let rows: Vec<(Vec<u8>,)> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(id)
        .bind(number(kind))
        .bind(most)
        .fetch_all(on)
        .await?;
    rows.iter().map(|(name,)| db::bytes("held.name", name).map(Digest)).collect()
}

enum Marked {
    Names(Vec<Digest>),
    /// Something began meanwhile that stands against it.
    Waits(String),
}

/// Marks the next names as going; none when there are none left.
async fn mark(
    app: &App,
    owner: &Owner,
    id: i64,
    kind: ObjectKind,
) -> Result<Option<Marked>, Error> {
    checkpoint(app, Step::Mark)?;
    if let Some(why) = judge::increments_pend(app, owner).await? {
        return Ok(Some(Marked::Waits(why)));
    }
    let mut transaction = app.db.write().await?;
    let state: Option<(String,)> = sqlx::query_as("SELECT state FROM deletion WHERE id = ?")
        .bind(id)
        .fetch_optional(&mut *transaction)
        .await?;
    // Undeleted just now.
    if state.is_none_or(|(state,)| state != "held" && state != "going") {
        return Ok(None);
    }
    if let Some(why) = judge::in_transit(&mut transaction, owner, app.moment()).await? {
        return Ok(Some(Marked::Waits(why)));
    }
    let names = names(&mut transaction, id, kind, "going = 0", BATCH).await?;
    if names.is_empty() {
        return Ok(None);
    }
    sqlx::query("UPDATE deletion SET state = 'going', waits = NULL WHERE id = ?")
        .bind(id)
        .execute(&mut *transaction)
        .await?;
    for name in &names {
        change("UPDATE held SET going = 1", &mut transaction, id, kind, name).await?;
    }
    transaction.commit().await?;
    Ok(Some(Marked::Names(names)))
}

async fn change(
    what: &'static str,
    on: &mut SqliteConnection,
    id: i64,
    kind: ObjectKind,
    name: &Digest,
) -> Result<(), Error> {
    let query = format!("{what} WHERE deletion = ? AND kind = ? AND name = ?");
    sqlx::query(sqlx::AssertSqlSafe(query))
        .bind(id)
        .bind(number(kind))
        .bind(name.as_bytes().as_slice())
        .execute(on)
        .await?;
    Ok(())
}

async fn remove(
    app: &App,
    owner: &Owner,
    id: i64,
    kind: ObjectKind,
    names: &[Digest],
) -> Result<(), Error> {
    let place = Place::published(&owner.0, &owner.1);
    let at = |name: &Digest| place.object(&ObjectKey::new(kind, *name));
    let mut bytes = 0_u64;
    for name in names {
        checkpoint(app, Step::Remove)?;
        bytes = bytes.saturating_add(app.objects.length(&at(name)).await?.unwrap_or(0));
        app.objects.remove(&at(name)).await?;
    }
    // Before the names are free: a file that a power cut brings back must not be seen.
    app.objects.sync_folders(&names.iter().map(at).collect::<Vec<_>>()).await?;
    checkpoint(app, Step::Forget)?;
    let mut transaction = app.db.write().await?;
    for name in names {
        change("DELETE FROM held", &mut transaction, id, kind, name).await?;
        if kind == ObjectKind::Snapshot {
            sqlx::query("DELETE FROM arrival WHERE vault = ? AND server = ? AND snapshot = ?")
                .bind(owner.0.as_str())
                .bind(owner.1.as_str())
                .bind(name.as_bytes().as_slice())
                .execute(&mut *transaction)
                .await?;
        }
    }
    transaction.commit().await?;
    app.usage.less(owner, bytes);
    Ok(())
}

/// False when it was undeleted before anything of it was removed.
async fn finish(app: &App, owner: &Owner, id: i64) -> Result<bool, Error> {
    checkpoint(app, Step::Done)?;
    let now = app.now();
    let mut transaction = app.db.write().await?;
    let done = sqlx::query(
        "UPDATE deletion SET state = 'done', waits = NULL, ended_at = ? WHERE id = ? AND state IN ('held', 'going')",
    )
    .bind(db::time(now))
    .bind(id)
    .execute(&mut *transaction)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    let path = format!("/api/v1/vaults/{}/servers/{}/deletions/{id}", owner.0, owner.1);
    audit::of_server(&mut transaction, ("DELETE", &path), now).await?;
    transaction.commit().await?;
    tracing::info!(vault = %owner.0, server = %owner.1, deletion = id, "a deletion was carried out");
    Ok(true)
}

fn checkpoint(app: &App, step: Step) -> Result<(), Error> {
    app.config.checkpoint.goes_on(step).then_some(()).ok_or(Error::Checkpoint)
}
