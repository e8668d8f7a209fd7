//! Names that are held: neither listed nor handed out, and there all the same. What is stored again leaves.
//!
//! invariant: a file is removed only after its name was marked as going, in a transaction. Whoever stores an object looks at the mark
//! *and* at the file once it is stored: either the name is free and the file is there, or the caller hears that it has to send it again.

use super::Owner;
use crate::app::App;
use crate::seen::Moment;
use crate::{Error, db};
use futures::TryStreamExt as _;
use model::{Digest, ObjectKey, ObjectKind};
use object_store::path::Path;
use sqlx::SqliteConnection;
use std::time::Duration;
use wire::Code;

/// Kinds that can be held, in the order in which they are removed.
pub(super) const KINDS: [ObjectKind; 3] =
    [ObjectKind::Snapshot, ObjectKind::Index, ObjectKind::Pack];

/// How long a publication waits for a batch of removals to end.
const STILL: Duration = Duration::from_secs(60);

/// The number of a kind in the database; none of one that cannot be held.
pub(super) fn number(kind: ObjectKind) -> Option<i64> {
    (0..).zip(KINDS).find(|(_, known)| *known == kind).map(|(number, _)| number)
}

/// Whether the name is held, and whether it is going.
async fn look(
    on: &mut SqliteConnection,
    owner: &Owner,
    key: &ObjectKey,
) -> Result<Option<bool>, Error> {
    let (Some(kind), Some(name)) = (number(key.kind()), key.id()) else { return Ok(None) };
    let row: Option<(i64,)> = sqlx::query_as(
        "SELECT going FROM held WHERE vault = ? AND server = ? AND kind = ? AND name = ?",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(kind)
    .bind(name.as_bytes().as_slice())
    .fetch_optional(on)
    .await?;
    Ok(row.map(|(going,)| going != 0))
}

/// Refuses a name that is held, as if nothing had it.
pub(crate) async fn refuse(app: &App, owner: &Owner, key: &ObjectKey) -> Result<(), Error> {
    if number(key.kind()).is_none() {
        return Ok(());
    }
    let mut connection = app.db.pool().acquire().await?;
    match look(&mut connection, owner, key).await? {
        None => Ok(()),
        Some(_) => Err(Error::not_found(key)),
    }
}

/// Held names of a kind.
#[derive(Debug, Default)]
pub(crate) struct Held(Vec<Digest>);

impl Held {
    /// Those of a repository as they are now. Memory: 32 bytes each.
    pub(crate) async fn of(app: &App, owner: &Owner, kind: ObjectKind) -> Result<Self, Error> {
        let Some(kind) = number(kind) else { return Ok(Self::default()) };
        let mut rows = sqlx::query_as::<_, (Vec<u8>,)>(
            "SELECT name FROM held WHERE vault = ? AND server = ? AND kind = ? ORDER BY name",
        )
        .bind(owner.0.as_str())
        .bind(owner.1.as_str())
        .bind(kind)
        .fetch(app.db.pool());
        let mut names = Vec::new();
        while let Some((name,)) = rows.try_next().await? {
            names.push(Digest(db::bytes("held.name", &name)?));
        }
        Ok(Self(names))
    }

    pub(crate) fn has(&self, name: &Digest) -> bool {
        self.0.binary_search(name).is_ok()
    }
}

fn going(key: &ObjectKey) -> Error {
    let message = format!("an older {key} is being removed just now; send it again");
    Error::refused(Code::Unavailable, message)
}

/// An object was stored, or found there with its bytes: it is a new one, whatever was asked for before.
///
/// Errors: `Unavailable` where it is being removed: it has to be stored again.
pub(crate) async fn stored(
    app: &App,
    owner: &Owner,
    key: &ObjectKey,
    at: &Path,
) -> Result<(), Error> {
    if number(key.kind()).is_none() {
        return Ok(());
    }
    shown(app, owner, key).await?;
    match app.objects.length(at).await? {
        Some(_) => Ok(()),
        None => Err(going(key)),
    }
}

/// Takes a name out of its deletion; of a snapshot, notes when it came.
async fn free(app: &App, owner: &Owner, key: &ObjectKey, kind: i64) -> Result<(), Error> {
    let Some(name) = key.id() else { return Ok(()) };
    let mut transaction = app.db.write().await?;
    if look(&mut transaction, owner, key).await? == Some(true) {
        return Err(going(key));
    }
    let freed =
        sqlx::query("DELETE FROM held WHERE vault = ? AND server = ? AND kind = ? AND name = ?")
            .bind(owner.0.as_str())
            .bind(owner.1.as_str())
            .bind(kind)
            .bind(name.as_bytes().as_slice())
            .execute(&mut *transaction)
            .await?
            .rows_affected();
    if key.kind() == ObjectKind::Snapshot {
        arrived(&mut transaction, owner, &name, freed > 0, app.moment()).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// One that was there stays as old as it is; one that is new again begins anew.
async fn arrived(
    on: &mut SqliteConnection,
    owner: &Owner,
    snapshot: &Digest,
    anew: bool,
    now: Moment,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO arrival (vault, server, snapshot, at, seen) VALUES (?1, ?2, ?3, ?4, ?6)
         ON CONFLICT DO UPDATE SET at = excluded.at, seen = excluded.seen WHERE ?5",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .bind(snapshot.as_bytes().as_slice())
    .bind(db::time(now.wall))
    .bind(anew)
    .bind(db::time(now.seen))
    .execute(on)
    .await?;
    Ok(())
}

/// The same for what a publication is about to show, before it takes its name.
pub(crate) async fn shown(app: &App, owner: &Owner, key: &ObjectKey) -> Result<(), Error> {
    let Some(kind) = number(key.kind()) else { return Ok(()) };
    let mut connection = app.db.pool().acquire().await?;
    let is_held = look(&mut connection, owner, key).await?.is_some();
    drop(connection);
    if is_held || key.kind() == ObjectKind::Snapshot {
        return free(app, owner, key, kind).await;
    }
    Ok(())
}

/// Waits until nothing of a repository is being removed. The caller sees to it that nothing more begins to be.
pub(crate) async fn still(app: &App, owner: &Owner) -> Result<(), Error> {
    let until = tokio::time::Instant::now() + STILL;
    loop {
        let row: Option<(i64,)> = sqlx::query_as(
            "SELECT 1 FROM held WHERE vault = ? AND server = ? AND going = 1 LIMIT 1",
        )
        .bind(owner.0.as_str())
        .bind(owner.1.as_str())
        .fetch_optional(app.db.pool())
        .await?;
        if row.is_none() {
            return Ok(());
        }
        if tokio::time::Instant::now() > until {
            let message = "a deletion of this repository is being carried out; ask again";
            return Err(Error::refused(Code::Unavailable, message));
        }
        super::carry::wake(app);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
