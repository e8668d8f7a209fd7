//! What was backed up while a seed travelled becomes visible once that is. Nobody here can read a snapshot: that
//! each is complete follows from the order in which it came and goes.
//!
//! Whoever backs up stores packs, then indexes, then the snapshot. So what is listed the other way round has everything
//! that the snapshots in it need, beside what the seed has brought; and it becomes visible in the order in which it came.

use super::shelf::Shelf;
use super::steps::checkpoint;
use super::{Owner, Progress, Step, receipts};
use crate::app::App;
use crate::place::Place;
use crate::{Error, db, deletions, jobs};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use model::{Digest, ObjectKey, ObjectKind};
use seed::Object;
use wire::{PublicationState, Receipt, SeedId};

/// Renames at once: each waits for a disk to sync.
const WIDTH: usize = 16;
/// Objects hashed at once: each keeps a core busy.
const HASHES: usize = 2;

/// Whether there is a snapshot that is not visible and could be.
pub(super) async fn wait(app: &App, owner: &Owner, seed: SeedId) -> Result<bool, Error> {
    let place = Place::increments(&owner.0, &owner.1, seed);
    Ok(!app.objects.is_empty(&place.below(ObjectKind::Snapshot.folder())).await?)
}

/// A seed that is published, of which something that was backed up while it travelled is not visible yet, and will be.
pub(crate) async fn pend(app: &App, owner: &Owner) -> Result<Option<SeedId>, Error> {
    let rows: Vec<(String,)> =
        sqlx::query_as("SELECT seed FROM receipt WHERE vault = ? AND server = ?")
            .bind(owner.0.as_str())
            .bind(owner.1.as_str())
            .fetch_all(app.db.pool())
            .await?;
    for (seed,) in rows {
        let seed = db::parsed("receipt.seed", &seed)?;
        if wait(app, owner, seed).await? && !is_repaired(app, owner, seed).await? {
            return Ok(Some(seed));
        }
    }
    Ok(None)
}

/// Makes visible what there is of a seed that is published. Where anything is damaged, nothing is: which snapshots need
/// it, only the source can tell.
pub(super) async fn publish(
    app: &App,
    owner: &Owner,
    seed: SeedId,
    progress: &Progress,
) -> Result<(), Error> {
    let place = Place::increments(&owner.0, &owner.1, seed);
    let from = Shelf { objects: app.objects.clone(), place };
    let message = match wait(app, owner, seed).await? && is_repaired(app, owner, seed).await? {
        true => Some(
            "the seed was published without files that were lost, and what was backed up while it travelled may need them: none of it is published; the next backup makes a complete recovery point".to_owned(),
        ),
        false => all(app, owner, &from, progress).await?,
    };
    progress.set(|status| {
        status.state = PublicationState::Published;
        status.message = message;
    });
    Ok(())
}

/// Whether the seed was published with other snapshots than it was sent with: something of these was lost for good.
async fn is_repaired(app: &App, owner: &Owner, seed: SeedId) -> Result<bool, Error> {
    let mut connection = app.db.pool().acquire().await?;
    let signed = receipts::seed_receipt(&mut connection, &owner.0, &owner.1, seed).await?;
    drop(connection);
    let Some(signed) = signed else { return Ok(false) };
    let receipt: Receipt = db::json("receipt.document", &signed.receipt)?;
    for job in jobs::of_seed(app, &owner.0, &owner.1, seed).await? {
        if !job.inventory {
            continue;
        }
        let sent = jobs::read_inventory(app, &job).await?.objects;
        let snapshots = sent.iter().filter(|object| object.kind == ObjectKind::Snapshot);
        if snapshots.into_iter().any(|object| !receipt.snapshots.contains(&object.name)) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn all(
    app: &App,
    owner: &Owner,
    from: &Shelf,
    progress: &Progress,
) -> Result<Option<String>, Error> {
    let mut objects = Vec::new();
    for kind in [ObjectKind::Snapshot, ObjectKind::Index, ObjectKind::Pack] {
        objects.extend(list(from, kind).await?);
    }
    if objects.is_empty() {
        return Ok(None);
    }
    progress.set(|status| {
        status.state = PublicationState::Publishing;
        (status.objects, status.bytes) = (0, 0);
        status.objects_total = objects.len() as u64;
        status.bytes_total = objects.iter().map(|object| object.length).sum();
    });
    // What is damaged stays where it is: without it, nobody would know that something is missing. Sent again, it is repaired.
    let looks = objects
        .iter()
        .copied()
        .map(|object| async move { Ok::<_, Error>(from.hashes(&object).await? == Some(true)) });
    let good: Vec<bool> = stream::iter(looks).buffered(HASHES).try_collect().await?;
    let damaged = good.iter().filter(|good| !**good).count();
    if damaged > 0 {
        return Ok(Some(format!(
            "{damaged} objects of what was backed up while the seed travelled are damaged, and none of it is published; the next backup makes a complete recovery point"
        )));
    }
    let to = Shelf { objects: app.objects.clone(), place: Place::published(&owner.0, &owner.1) };
    // As they came: the last kind first.
    for kind in [ObjectKind::Pack, ObjectKind::Index, ObjectKind::Snapshot] {
        let group = objects.iter().copied().filter(|object| object.kind == kind);
        stream::iter(group.map(Ok::<_, Error>))
            .try_for_each_concurrent(WIDTH, |object| {
                let to = &to;
                async move {
                    checkpoint(app, Step::Increment)?;
                    deletions::shown(app, owner, &object.key()).await?;
                    app.objects.rename(&from.at(&object.key()), &to.at(&object.key())).await?;
                    progress.done(object.length);
                    Ok(())
                }
            })
            .await?;
    }
    Ok(None)
}

async fn list(from: &Shelf, kind: ObjectKind) -> Result<Vec<Object>, Error> {
    let listed = from.objects.list(&from.place.below(kind.folder()));
    let object = |key: ObjectKey, length: u64| {
        let name: Digest = key.id()?;
        Some(Object { repository: 0, kind, name, length })
    };
    listed
        .try_filter_map(|meta| {
            let key = from.place.key_of(&meta.location).filter(|key| key.kind() == kind);
            std::future::ready(Ok(key.and_then(|key| object(key, meta.size))))
        })
        .try_collect()
        .await
}
