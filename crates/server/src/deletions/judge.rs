//! What stands against a deletion, as far as that can be judged without a key: ages by arrival, seeds on their way, exports. Changes
//! nothing.

use super::Owner;
use crate::app::App;
use crate::place::Place;
use crate::publication::increments;
use crate::seen::Moment;
use crate::{Error, db, jobs, seeds};
use jiff::{SignedDuration, Timestamp};
use model::{Digest, ErrorKind, JobName, ObjectKey, ObjectKind};
use seed::{Inventory, Object};
use sqlx::SqliteConnection;
use wire::Code;

/// Whole days.
pub(super) fn days(count: u32) -> SignedDuration {
    SignedDuration::from_hours(i64::from(count).saturating_mul(24))
}

/// What of that source server is on its way, in words. Asked in the transaction that marks names as going: a publication
/// that has its lease before is seen here, and one that takes it afterwards sees the marks.
pub(super) async fn in_transit(
    on: &mut SqliteConnection,
    owner: &Owner,
    now: Moment,
) -> Result<Option<String>, Error> {
    let row: Option<(String, String)> = sqlx::query_as(
        "SELECT seed, 'is being published' FROM publication
         WHERE vault = ?1 AND server = ?2 AND holder IS NOT NULL
         UNION ALL
         SELECT seed, 'is on its way, in import job ' || name FROM import_job
         WHERE vault = ?1 AND server = ?2 AND export IS NULL AND state <> 'Canceled'
           AND NOT EXISTS (SELECT 1 FROM receipt
               WHERE receipt.vault = ?1 AND receipt.server = ?2 AND receipt.seed = import_job.seed)
           AND NOT EXISTS (SELECT 1 FROM abandoned_seed AS given_up
               WHERE given_up.vault = ?1 AND given_up.server = ?2 AND given_up.seed = import_job.seed)
         LIMIT 1",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .fetch_optional(&mut *on)
    .await?;
    if let Some((seed, what)) = row {
        return Ok(Some(format!("seed {seed} {what}")));
    }
    let awaited = seeds::awaited(on, seeds::Of::Owner(&owner.0, &owner.1), now).await?;
    Ok(awaited.first().map(|seed| match seed.copied {
        Some(at) => format!(
            "seed {} may be being written onto drives by another computer, which was given credentials for that on {}",
            seed.id,
            at.strftime("%Y-%m-%d")
        ),
        None => format!("seed {} is announced", seed.id),
    }))
}

/// The same of what was backed up while a seed travelled that is published by now.
pub(super) async fn increments_pend(app: &App, owner: &Owner) -> Result<Option<String>, Error> {
    let seed = increments::pend(app, owner).await?;
    Ok(seed.map(|seed| {
        format!("what was backed up while seed {seed} travelled is not visible yet; the next backup sees to that")
    }))
}

/// Refuses while anything is on its way.
pub(super) fn refuse_transit(why: Option<String>) -> Result<(), Error> {
    match why {
        None => Ok(()),
        Some(why) => {
            let message = format!(
                "nothing is deleted from a vault while data is on its way to it: {why}; where nobody goes on with a seed: packmule seed abandon SEED"
            );
            Err(Error::refused(Code::DataInTransit, message))
        }
    }
}

/// When a snapshot came. One that nobody has noted is as old as its file, by the wall clock alone.
async fn arrival(
    app: &App,
    on: &mut SqliteConnection,
    owner: &Owner,
    snapshot: &Digest,
) -> Result<Option<Moment>, Error> {
    let row: Option<(String, String)> = sqlx::query_as(
        "SELECT at, coalesce(seen, at) FROM arrival WHERE vault = ? AND server = ? AND snapshot = ?",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(snapshot.as_bytes().as_slice())
    .fetch_optional(on)
    .await?;
    if let Some((wall, seen)) = row {
        let (wall, seen) = (db::parsed("arrival.at", &wall)?, db::parsed("arrival.seen", &seen)?);
        return Ok(Some(Moment { wall, seen }));
    }
    let key = ObjectKey::new(ObjectKind::Snapshot, *snapshot);
    let at = app.objects.changed(&Place::published(&owner.0, &owner.1).object(&key)).await?;
    Ok(at.map(|wall| Moment { wall, seen: wall }))
}

/// Those of the snapshots that have not been there for so many days, with the moment from which on all of them will have been.
pub(super) async fn too_young(
    app: &App,
    on: &mut SqliteConnection,
    owner: &Owner,
    snapshots: &[Digest],
    minimum: u32,
) -> Result<Option<(Vec<Digest>, Timestamp)>, Error> {
    let now = app.moment();
    let (mut young, mut until) = (Vec::new(), Timestamp::MIN);
    if minimum == 0 {
        return Ok(None);
    }
    for snapshot in snapshots {
        let Some(at) = arrival(app, on, owner, snapshot).await? else { continue };
        if let Some(free) = at.after(days(minimum)).ahead_of(now) {
            young.push(*snapshot);
            until = until.max(free);
        }
    }
    Ok((!young.is_empty()).then_some((young, until)))
}

/// The export job that is not over and lists the first of these that any does. Holds one list at a time.
pub(super) async fn exported(
    app: &App,
    owner: &Owner,
    wanted: &[(ObjectKind, Vec<Digest>)],
) -> Result<Option<(JobName, ObjectKey)>, Error> {
    let rows: Vec<(String,)> = sqlx::query_as(
        "SELECT name FROM import_job WHERE vault = ? AND server = ? AND export IS NOT NULL AND inventory = 1
         AND state NOT IN ('Completed', 'Closed', 'Canceled')",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .fetch_all(app.db.pool())
    .await?;
    for (name,) in rows {
        let name = db::parsed("import_job.name", &name)?;
        let mut connection = app.db.pool().acquire().await?;
        let record = jobs::Record::load(&mut connection, &name).await?;
        drop(connection);
        let Some(record) = record else { continue };
        let list = match app.exports.of(app, &record).await {
            // Removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other?,
        };
        if let Some(key) = wanted.iter().find_map(|(kind, names)| listed(&list, *kind, names)) {
            return Ok(Some((name, key)));
        }
    }
    Ok(None)
}

fn listed(list: &Inventory, kind: ObjectKind, names: &[Digest]) -> Option<ObjectKey> {
    // Index files come with an export: those of the vault are not in it.
    if kind == ObjectKind::Index {
        return None;
    }
    let is_listed = |name: &&Digest| {
        list.objects.binary_search_by_key(&(0, kind, **name), Object::identity).is_ok()
    };
    names.iter().find(is_listed).map(|name| ObjectKey::new(kind, *name))
}
