//! What was backed up while a seed travelled becomes visible once that is. Nobody here can read a snapshot: that
//! each is complete follows from the order in which it came and goes.
//!
//! What is not shown, as it may lack something, is withheld for good: its snapshots go where nobody looks for them, so that nothing waits for
//! them, and no later call judges otherwise.
//!
//! Whoever backs up stores packs, then indexes, then the snapshot. So what is listed the other way round has everything
//! that the snapshots in it need, beside what the seed has brought; and it becomes visible in the order in which it came.

use super::shelf::Shelf;
use super::steps::checkpoint;
use super::{Owner, Progress, Step, revisions};
use crate::app::App;
use crate::place::Place;
use crate::{Error, db, deletions, notices};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use model::{Digest, ObjectKey, ObjectKind};
use seed::Object;
use wire::{PublicationState, SeedId};

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
        if wait(app, owner, seed).await? && !revisions::is_repaired(app, owner, seed).await? {
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
    let why = match revisions::is_repaired(app, owner, seed).await? {
        true => wait(app, owner, seed).await?.then(|| {
            "the seed was published without files that were lost, and what was backed up while it travelled may need them: none of it is published".to_owned()
        }),
        false => all(app, owner, &from, progress).await?,
    };
    if let Some(why) = &why {
        withhold(app, owner, (seed, &from), why).await?;
    }
    let withheld = withheld(app, owner, seed).await?;
    progress.set(|status| {
        status.state = PublicationState::Published;
        status.withheld = withheld;
        status.message = (withheld > 0).then(|| {
            let why = why.as_deref().unwrap_or(
                "what was backed up while the seed travelled may lack something: none of it is published",
            );
            format!("{why}; the next backup makes a complete recovery point")
        });
    });
    Ok(())
}

/// How many snapshots of what was backed up while that seed travelled are never shown.
async fn withheld(app: &App, owner: &Owner, seed: SeedId) -> Result<u64, Error> {
    let place = Place::withheld(&owner.0, &owner.1, seed);
    let shelf = Shelf { objects: app.objects.clone(), place };
    Ok(list(&shelf, ObjectKind::Snapshot).await?.len() as u64)
}

/// Takes the snapshots out of what is looked for; packs and indexes stay, for whoever wants to look at them.
async fn withhold(
    app: &App,
    owner: &Owner,
    (seed, from): (SeedId, &Shelf),
    why: &str,
) -> Result<(), Error> {
    let snapshots = list(from, ObjectKind::Snapshot).await?;
    if snapshots.is_empty() {
        return Ok(());
    }
    let mut transaction = app.db.write().await?;
    let text = format!("seed {seed}, {} recovery points: {why}", snapshots.len());
    notices::of_vault(&mut transaction, owner, &text, app.now()).await?;
    transaction.commit().await?;
    let to = Place::withheld(&owner.0, &owner.1, seed);
    for object in snapshots {
        checkpoint(app, Step::Increment)?;
        app.objects.rename(&from.at(&object.key()), &to.object(&object.key())).await?;
    }
    Ok(())
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
    // What is damaged stays where it is: without it, nobody would know that something is missing.
    let looks = objects
        .iter()
        .copied()
        .map(|object| async move { Ok::<_, Error>(from.hashes(&object).await? == Some(true)) });
    let good: Vec<bool> = stream::iter(looks).buffered(HASHES).try_collect().await?;
    let damaged = good.iter().filter(|good| !**good).count();
    if damaged > 0 {
        return Ok(Some(format!(
            "{damaged} objects of what was backed up while the seed travelled are damaged, and none of it is published"
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
