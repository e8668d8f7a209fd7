//! Publication: from the storage account into the vault, in the order that never shows a snapshot
//! before everything it needs (docs/design/foundation.md, "Order of publication"). Answers requests
//! and keeps the tasks; the steps themselves are in `steps`.
//!
//! ```text
//!  plan ─ something missing ─▶ waiting           nothing is copied, nothing is visible
//!   │
//!  copy      account ─▶ pending                  a second name for the same bytes; from another
//!   │                                            backend the bytes themselves, hashed on the way
//!  verify    every object hashed where the vault holds it
//!   │        damaged ─▶ put aside, waiting
//!  publish   keys, config, packs ─▶ indexes ─▶ snapshots      each group whole before the next
//!  receipt   signed, stored
//!  increments     what was backed up meanwhile: packs ─▶ indexes ─▶ snapshots
//! ```
//!
//! Nothing of a task's progress is stored but its state: after a crash the same steps run again and
//! find in storage what is done.

mod abandoned;
pub(crate) mod increments;
mod ledger;
mod plan;
mod receipts;
mod revisions;
mod shelf;
mod steps;
mod successors;
mod under_way;
mod wanted;

pub(crate) use abandoned::{abandon, is_abandoned, refuse_abandoned};
pub(crate) use ledger::void_leases;
pub(crate) use receipts::{latest_receipt, receipt, seed_receipt};
pub(crate) use revisions::{get_revision, put_revision};
pub(crate) use successors::{get_successor, put_successor};
pub(crate) use under_way::under_way;
pub(crate) use wanted::get_want_list;

use crate::app::App;
use crate::error::causes;
use crate::http::{self, Segments};
use crate::{Error, jobs, token};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use model::{ErrorKind, ServerName, VaultName};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use wire::{JobOutcome, Publication, PublicationRequest, PublicationState, SeedId};

/// What publication, or the carrying out of a deletion, is about to do. See [`Checkpoint`](crate::Checkpoint).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Find out what must arrive.
    Plan,
    /// Bring one object from the storage account to the vault.
    Copy,
    /// Hash one object where the vault holds it.
    Verify,
    /// Make one key file visible.
    Key,
    /// Make the config visible.
    Config,
    /// Make one pack visible.
    Pack,
    /// Make one index visible.
    Index,
    /// Make one snapshot visible.
    Snapshot,
    /// Sign and store the receipt.
    Receipt,
    /// Make one object visible that was backed up while the seed travelled.
    Increment,
    /// Mark names of a deletion as going.
    Mark,
    /// Remove the file of one.
    Remove,
    /// Forget the names of files that are removed.
    Forget,
    /// Note that a deletion was carried out.
    Done,
}

/// How long an answer waits for a task to come to an end of its own.
const PATIENCE: Duration = Duration::from_secs(5);

type Owner = (VaultName, ServerName);

/// The tasks of this process.
#[derive(Debug)]
pub(crate) struct Publications {
    /// Who holds the leases of this process.
    holder: String,
    running: Mutex<HashMap<Owner, Arc<Progress>>>,
}

impl Publications {
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self { holder: token::new()?, running: Mutex::new(HashMap::new()) })
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Owner, Arc<Progress>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How far a task is.
#[derive(Debug)]
pub(crate) struct Progress {
    status: Mutex<Publication>,
    ended: watch::Sender<bool>,
}

impl Progress {
    fn new(seed: SeedId) -> Self {
        let status = Publication::at(PublicationState::Copying, Some(seed));
        Self { status: Mutex::new(status), ended: watch::channel(false).0 }
    }

    fn get(&self) -> Publication {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Publication)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// One object of that length is done.
    pub(crate) fn done(&self, bytes: u64) {
        self.set(|status| {
            status.objects += 1;
            status.bytes += bytes;
        });
    }
}

pub(crate) async fn start(
    State(app): State<Arc<App>>,
    Segments(owner): Segments<Owner>,
    body: Body,
) -> Result<Json<Publication>, Error> {
    let request: PublicationRequest = http::json_or_default(body).await?;
    let seed = match request.seed {
        Some(seed) => Some(seed),
        None => jobs::newest_seed(&app, &owner.0, &owner.1).await?,
    };
    let nothing = || {
        let (vault, server) = &owner;
        Error::not_found(format_args!("import job with a seed of {server} in vault {vault}"))
    };
    let seed = seed.ok_or_else(nothing)?;
    let published = ledger::is_published(&app, &owner, seed).await?;
    // What an export brings is in the vault already. The jobs of a seed that is published may be gone.
    let jobs = jobs::of_seed(&app, &owner.0, &owner.1, seed).await?;
    if !published && jobs.iter().all(|job| job.export.is_some()) {
        return Err(nothing());
    }
    let mut connection = app.db.pool().acquire().await?;
    refuse_abandoned(&mut connection, &owner, seed).await?;
    drop(connection);
    if !published || increments::wait(&app, &owner, seed).await? {
        ledger::ask(&app, &owner, seed, request.root).await?;
        let progress = spawn(&app, &owner, seed);
        let mut ended = progress.ended.subscribe();
        // Most answers are known at once; a long copy goes on behind the answer.
        let _ = tokio::time::timeout(PATIENCE, ended.wait_for(|ended| *ended)).await;
    }
    Ok(Json(current(&app, &owner).await?))
}

pub(crate) async fn status(
    State(app): State<Arc<App>>,
    Segments(owner): Segments<Owner>,
) -> Result<Json<Publication>, Error> {
    Ok(Json(current(&app, &owner).await?))
}

async fn current(app: &App, owner: &Owner) -> Result<Publication, Error> {
    let running = app.publications.running().get(owner).map(|progress| progress.get());
    let mut status = match running {
        Some(status) => status,
        None => ledger::last(app, owner).await?.unwrap_or_else(Publication::none),
    };
    if let Some(seed) = status.seed {
        status.jobs = outcomes(&jobs::of_seed(app, &owner.0, &owner.1, seed).await?);
    }
    Ok(status)
}

fn outcomes(jobs: &[jobs::Record]) -> Vec<JobOutcome> {
    jobs.iter().map(jobs::Record::outcome).collect()
}

/// Continues what was going on when the process ended.
pub(crate) async fn resume(app: &Arc<App>) -> Result<(), Error> {
    for (owner, seed) in ledger::unfinished(app).await? {
        tracing::info!(vault = %owner.0, server = %owner.1, %seed, "publication goes on");
        spawn(app, &owner, seed);
    }
    Ok(())
}

/// The task of that source server: the one that runs, or a new one.
fn spawn(app: &Arc<App>, owner: &Owner, seed: SeedId) -> Arc<Progress> {
    let mut running = app.publications.running();
    if let Some(progress) = running.get(owner) {
        return Arc::clone(progress);
    }
    let progress = Arc::new(Progress::new(seed));
    running.insert(owner.clone(), Arc::clone(&progress));
    drop(running);
    let (app, owner, task) = (Arc::clone(app), owner.clone(), Arc::clone(&progress));
    tokio::spawn(async move {
        run(&app, &owner, seed, &task).await;
        app.publications.running().remove(&owner);
        task.ended.send_replace(true);
    });
    progress
}

/// Runs the steps under a lease, and stores how they ended.
async fn run(app: &App, owner: &Owner, seed: SeedId, progress: &Progress) {
    let holder = &app.publications.holder;
    let ended = match ledger::take_lease(app, owner, seed, holder).await {
        Ok(false) => {
            tracing::warn!(vault = %owner.0, server = %owner.1, "another process publishes this");
            return;
        }
        Err(error) => Err(error),
        Ok(true) => tokio::select! {
            ended = steps::all(app, owner, seed, progress) => ended,
            error = ledger::keep_lease(app, owner, seed, holder) => Err(error),
        },
    };
    if let Err(error) = ended {
        if matches!(error, Error::Checkpoint) {
            return;
        }
        let cause = causes(&error);
        tracing::error!(vault = %owner.0, server = %owner.1, %error, %cause, "publication stopped");
        progress.set(|status| {
            status.state = PublicationState::Failed;
            status.message = Some(match &error {
                Error::Refused { message, .. } => message.clone(),
                full if full.kind() == ErrorKind::Full => {
                    "the vault's storage is full; ask again once its operator has made room"
                        .to_owned()
                }
                _ => "the server failed; its log says why; ask again to continue".to_owned(),
            });
        });
    }
    app.usage.forget(owner);
    let status = progress.get();
    if let Err(error) = ledger::end(app, owner, seed, &status).await {
        tracing::error!(%error, "the end of a publication could not be stored");
    }
}
