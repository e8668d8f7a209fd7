//! The steps of publication, each of which may be run again at any time. Holds the invariant: no
//! index is visible before every pack, no snapshot before every index, nothing at all before
//! everything is in the vault's own store and hashed there.

use super::plan::{self, Plan};
use super::shelf::Shelf;
use super::wanted::Wanted;
use super::{Owner, Progress, Step, increments, ledger, outcomes, receipts};
use crate::app::App;
use crate::place::Place;
use crate::{Error, deletions};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use model::{Digest, ObjectKey, ObjectKind};
use seed::Object;
use std::sync::{Mutex, PoisonError};
use wire::{Code, KeysFrom, MAX_NAMES, PublicationState, Receipt, SeedId};

/// Looks, copies and renames at once: each waits for a disk to sync.
const WIDTH: usize = 16;
/// Objects hashed at once: each keeps a core busy.
const HASHES: usize = 2;
/// Objects brought from another store at once: each keeps a disk busy, and up to 8 MiB of memory.
const BROUGHT: usize = 4;

/// One publication on its way.
struct Work<'a> {
    app: &'a App,
    owner: &'a Owner,
    progress: &'a Progress,
    pending: Shelf,
    published: Shelf,
    landed: Vec<Shelf>,
    repository: Digest,
}

/// Where an object was found.
enum Found {
    Published,
    Pending,
    Landed(Shelf),
    Nowhere,
}

/// Runs whatever is left to do.
pub(super) async fn all(
    app: &App,
    owner: &Owner,
    seed: SeedId,
    progress: &Progress,
) -> Result<(), Error> {
    checkpoint(app, Step::Plan)?;
    // As long as this goes on, nothing more begins to be removed.
    deletions::still(app, owner).await?;
    if ledger::is_published(app, owner, seed).await? {
        return increments::publish(app, owner, seed, progress).await;
    }
    let Plan { repository, objects, landed, jobs, waits, later, travelling } =
        plan::make(app, owner, seed).await?;
    let root = seed::root(&objects);
    let wanted = Wanted { owner, seed, repository, root, travelling };
    let in_vault = |place| Shelf { objects: app.objects.clone(), place };
    let work = Work {
        app,
        owner,
        progress,
        pending: in_vault(Place::pending(&owner.0, &owner.1)),
        published: in_vault(Place::published(&owner.0, &owner.1)),
        landed,
        repository,
    };
    progress.set(|status| status.jobs = outcomes(&jobs));
    let keys = work.keys_from(&objects).await?;
    let objects: Vec<Object> = objects
        .into_iter()
        .filter(|object| keys == KeysFrom::Seed || object.kind != ObjectKind::Key)
        .collect();
    work.begin(PublicationState::Copying, &objects);
    let (to_copy, missing) = work.find(&objects).await?;
    if !missing.is_empty() {
        wanted.ask(app, progress, &jobs, &missing).await?;
        work.wait(&[waits, later].concat(), &missing);
        return Ok(());
    }
    if !waits.is_empty() {
        wanted.nothing(app).await?;
        work.wait(&waits, &[]);
        return Ok(());
    }
    work.copy(&to_copy).await?;
    work.begin(PublicationState::Verifying, &objects);
    let missing = work.verify(&objects).await?;
    if !missing.is_empty() {
        wanted.ask(app, progress, &jobs, &missing).await?;
        work.wait(&["what came was damaged and is put aside; bring it again".to_owned()], &missing);
        return Ok(());
    }
    work.begin(PublicationState::Publishing, &objects);
    work.publish(&objects).await?;
    checkpoint(app, Step::Receipt)?;
    let receipt = work.receipt(owner, seed, &objects, keys);
    receipts::store(app, receipt).await?;
    wanted.nothing(app).await?;
    increments::publish(app, owner, seed, progress).await
}

pub(super) fn checkpoint(app: &App, step: Step) -> Result<(), Error> {
    app.config.checkpoint.goes_on(step).then_some(()).ok_or(Error::Checkpoint)
}

impl Work<'_> {
    fn begin(&self, state: PublicationState, objects: &[Object]) {
        self.progress.set(|status| {
            status.state = state;
            (status.objects, status.bytes) = (0, 0);
            status.objects_total = objects.len() as u64;
            status.bytes_total = objects.iter().map(|object| object.length).sum();
        });
    }

    fn wait(&self, waits: &[String], missing: &[Object]) {
        self.progress.set(|status| {
            status.state = PublicationState::Waiting;
            status.missing_count = missing.len() as u64;
            let names = missing.iter().take(MAX_NAMES).map(|object| object.key().to_string());
            status.missing = names.collect();
            let mut words: Vec<String> = waits.iter().take(20).cloned().collect();
            if !missing.is_empty() {
                words.push(format!("{} objects are missing", missing.len()));
            }
            status.message = Some(words.join("; "));
        });
    }

    /// Whose key files count. A vault that has a repository keeps its keys: a seed never brings back
    /// one that was dropped there. Refuses another repository than the vault's.
    ///
    /// Keys become visible before the config, so that a config without the seed's keys is always the
    /// vault's own, and never a publication that was interrupted.
    async fn keys_from(&self, objects: &[Object]) -> Result<KeysFrom, Error> {
        let keys = objects.iter().filter(|object| object.kind == ObjectKind::Key);
        let keys: Vec<ObjectKey> = keys.map(Object::key).collect();
        let config = self.published.at(&ObjectKey::Config);
        if let Some((there, _)) = self.app.objects.hash(&config).await? {
            if there != self.repository {
                return Err(self.other_repository(there));
            }
            for key in &keys {
                if self.published.length(key).await?.is_none() {
                    return Ok(KeysFrom::Vault);
                }
            }
            return Ok(KeysFrom::Seed);
        }
        let place = &self.published.place;
        let folder = place.below(ObjectKind::Key.folder());
        let listed: Vec<_> = self.app.objects.list(&folder).try_collect().await?;
        let strange = listed.iter().filter_map(|meta| place.key_of(&meta.location));
        if let Some(key) = strange.into_iter().find(|key| !keys.contains(key)) {
            let message = format!(
                "the vault holds {key} of a repository that was begun and never finished; its operator must remove that first"
            );
            return Err(Error::refused(Code::RepositoryMismatch, message));
        }
        Ok(KeysFrom::Seed)
    }

    fn other_repository(&self, there: Digest) -> Error {
        let message = format!(
            "the vault holds repository {there}, and the seed is of {}: publish it for another source server, or make a seed of the vault's repository",
            self.repository
        );
        Error::refused(Code::RepositoryMismatch, message)
    }

    /// Objects that are still to be copied, and those that are nowhere.
    async fn find(&self, objects: &[Object]) -> Result<(Vec<(Object, Shelf)>, Vec<Object>), Error> {
        let looks = objects
            .iter()
            .copied()
            .map(|object| async move { Ok::<_, Error>((object, self.whereabouts(object).await?)) });
        let mut found = stream::iter(looks).buffered(WIDTH);
        let (mut to_copy, mut missing) = (Vec::new(), Vec::new());
        while let Some((object, place)) = found.try_next().await? {
            match place {
                Found::Published | Found::Pending => {}
                Found::Landed(shelf) => to_copy.push((object, shelf)),
                Found::Nowhere => missing.push(object),
            }
        }
        Ok((to_copy, missing))
    }

    async fn whereabouts(&self, object: Object) -> Result<Found, Error> {
        if self.published.has(&object).await? {
            return Ok(Found::Published);
        }
        if self.pending.has(&object).await? {
            return Ok(Found::Pending);
        }
        for shelf in &self.landed {
            if shelf.has(&object).await? {
                return Ok(Found::Landed(shelf.clone()));
            }
        }
        Ok(Found::Nowhere)
    }

    async fn copy(&self, objects: &[(Object, Shelf)]) -> Result<(), Error> {
        let at_hand = objects.iter().all(|(_, from)| self.pending.shares_with(from));
        let width = if at_hand { WIDTH } else { BROUGHT };
        let copies = stream::iter(objects.iter().cloned().map(Ok::<_, Error>));
        copies
            .try_for_each_concurrent(width, |(object, from)| async move {
                checkpoint(self.app, Step::Copy)?;
                self.pending.take(&object, &from).await?;
                self.progress.done(object.length);
                Ok(())
            })
            .await
    }

    /// Hashes every object where the vault holds it. Answers those that are not what their name
    /// says; they are put aside, so that they can be brought again.
    async fn verify(&self, objects: &[Object]) -> Result<Vec<Object>, Error> {
        let damaged = Mutex::new(Vec::new());
        let checks = stream::iter(objects.iter().copied().map(Ok::<_, Error>));
        checks
            .try_for_each_concurrent(HASHES, |object| {
                let damaged = &damaged;
                async move {
                    checkpoint(self.app, Step::Verify)?;
                    if !self.is_good(&object).await? {
                        let mut damaged = damaged.lock().unwrap_or_else(PoisonError::into_inner);
                        damaged.push(object);
                    }
                    self.progress.done(object.length);
                    Ok(())
                }
            })
            .await?;
        let mut damaged = damaged.into_inner().unwrap_or_else(PoisonError::into_inner);
        damaged.sort_unstable();
        Ok(damaged)
    }

    /// Whether the vault holds the object with the bytes that its name says. One that is damaged in
    /// the published repository is replaced from what has landed, if that is good.
    async fn is_good(&self, object: &Object) -> Result<bool, Error> {
        if self.pending.hashes(object).await? == Some(true) {
            return Ok(true);
        }
        self.pending.put_aside(object).await?;
        if self.published.hashes(object).await? == Some(true) {
            return Ok(true);
        }
        for shelf in &self.landed {
            match shelf.hashes(object).await? {
                None => {}
                Some(true) => {
                    self.pending.take(object, shelf).await?;
                    return Ok(self.pending.hashes(object).await? == Some(true));
                }
                Some(false) => shelf.put_aside(object).await?,
            }
        }
        Ok(false)
    }

    /// Makes everything visible, group by group; a group begins when the one before is whole.
    async fn publish(&self, objects: &[Object]) -> Result<(), Error> {
        const ORDER: [(ObjectKind, Step); 5] = [
            (ObjectKind::Key, Step::Key),
            (ObjectKind::Config, Step::Config),
            (ObjectKind::Pack, Step::Pack),
            (ObjectKind::Index, Step::Index),
            (ObjectKind::Snapshot, Step::Snapshot),
        ];
        for (kind, step) in ORDER {
            let group = objects.iter().copied().filter(|object| object.kind == kind);
            stream::iter(group.map(Ok::<_, Error>))
                .try_for_each_concurrent(WIDTH, |object| async move {
                    checkpoint(self.app, step)?;
                    self.make_visible(&object).await?;
                    self.progress.done(object.length);
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }

    /// Errors unless the object is visible afterwards, with its length.
    async fn make_visible(&self, object: &Object) -> Result<(), Error> {
        let key = object.key();
        let (from, to) = (self.pending.at(&key), self.published.at(&key));
        let objects = &self.app.objects;
        if key == ObjectKey::Config {
            return self.make_config_visible(object).await;
        }
        deletions::shown(self.app, self.owner, &key).await?;
        if objects.length(&from).await?.is_some() {
            objects.rename(&from, &to).await?;
        }
        if objects.length(&to).await? == Some(object.length) {
            return Ok(());
        }
        let why = "it was verified and is gone".to_owned();
        Err(Error::Damaged { what: to.to_string(), why })
    }

    /// The config takes no other's place: an agent may have begun a repository meanwhile.
    async fn make_config_visible(&self, object: &Object) -> Result<(), Error> {
        let key = ObjectKey::Config;
        let (from, to) = (self.pending.at(&key), self.published.at(&key));
        let objects = &self.app.objects;
        if objects.length(&from).await?.is_some() {
            objects.copy(&from, &to).await?;
        }
        match objects.hash(&to).await? {
            Some((there, length)) if (there, length) == (object.name, object.length) => {
                objects.remove(&from).await
            }
            Some((there, _)) => Err(self.other_repository(there)),
            None => {
                let why = "it was verified and is gone".to_owned();
                Err(Error::Damaged { what: to.to_string(), why })
            }
        }
    }

    fn receipt(&self, owner: &Owner, seed: SeedId, objects: &[Object], keys: KeysFrom) -> Receipt {
        let snapshots = objects.iter().filter(|object| object.kind == ObjectKind::Snapshot);
        Receipt {
            version: Receipt::VERSION,
            vault: owner.0.clone(),
            server: owner.1.clone(),
            seed,
            repository: self.repository,
            snapshots: snapshots.map(|object| object.name).collect(),
            objects: objects.len() as u64,
            bytes: objects.iter().map(|object| object.length).sum(),
            root: seed::root(objects),
            keys,
            issued_at: self.app.now(),
            custody: None,
        }
    }
}
