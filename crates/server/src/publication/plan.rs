//! What must arrive before a seed is published: the union of what its jobs' manifests and inventory
//! announce, or what its newest revision says in their place. Decides what to wait for; copies nothing.

use super::shelf::Shelf;
use super::{Owner, ledger, revisions};
use crate::app::App;
use crate::jobs::{self, Record};
use crate::place::Place;
use crate::{Error, accounts};
use flow::{DriveState, JobState};
use model::{Digest, DriveSerial, ObjectKind};
use seed::Object;
use std::collections::{BTreeMap, BTreeSet};
use wire::{Code, SeedId};

/// What must arrive, where it may be found, and what else stands in the way.
#[derive(Debug)]
pub(super) struct Plan {
    /// The repository, by the SHA-256 of its config.
    pub(super) repository: Digest,
    /// Every object once, in the order of publication.
    pub(super) objects: Vec<Object>,
    /// Where objects have landed.
    pub(super) landed: Vec<Shelf>,
    /// The jobs as they are.
    pub(super) jobs: Vec<Record>,
    /// What must happen first, in words; empty when nothing.
    pub(super) waits: Vec<String>,
    /// What is still to come, in words: in the way only where something is missing.
    pub(super) later: Vec<String>,
    /// Objects of drives that have not been read yet, and may be.
    pub(super) travelling: BTreeSet<(ObjectKind, Digest)>,
}

/// Objects by what tells them apart.
type Expected = BTreeMap<(ObjectKind, Digest), u64>;

pub(super) async fn make(app: &App, owner: &Owner, seed: SeedId) -> Result<Plan, Error> {
    let jobs = jobs::of_seed(app, &owner.0, &owner.1, seed).await?;
    let (mut waits, mut later) = (Vec::new(), Vec::new());
    let (mut travelling, mut is_listed) = (BTreeSet::new(), false);
    let mut expected = Expected::new();
    let mut repository = None;
    let mut landed: Vec<Shelf> = Vec::new();
    for job in &jobs {
        later.extend(unfinished(job));
        // Nothing comes with a job that is cancelled; what its seed consists of stays true.
        let drives =
            job.drives.iter().filter(|_| !matches!(job.flow.state, JobState::Canceled { .. }));
        for drive in drives.filter(|drive| drive.repository.is_some()) {
            let manifest = jobs::read_manifest(app, job, &drive.serial).await?.body;
            one_repository(&mut repository, &manifest.header.repositories)?;
            take(&mut expected, &manifest.objects)?;
            if may_still_be_read(job, &drive.serial) || may_be_rebuilt(job, &jobs) {
                travelling.extend(manifest.objects.iter().map(|it| (it.kind, it.name)));
            }
        }
        if job.inventory {
            is_listed = true;
            let inventory = jobs::read_inventory(app, job).await?;
            one_repository(&mut repository, &inventory.repositories)?;
            take(&mut expected, &inventory.objects)?;
        }
        if let Some(id) = repository {
            let place = Place::landed(&job.account, &job.seed()?.container, &id);
            if !landed.iter().any(|shelf| shelf.place == place) {
                let objects = accounts::objects(app, &job.account).await?;
                landed.push(Shelf { objects, place });
            }
        }
    }
    later.extend(sets_without_job(&jobs));
    if let Some(objects) = revisions::objects(app, owner, seed, &jobs).await? {
        is_listed = true;
        expected.clear();
        take(&mut expected, &objects)?;
    }
    if !is_listed {
        // Without the list of everything, nobody knows what a drive to come will announce.
        waits.append(&mut later);
    }
    let Some(repository) = repository else {
        let message = "no manifest of this seed has been handed over yet; run the drive preparation again to send them";
        return Err(Error::refused(Code::ManifestRefused, message));
    };
    let object = |((kind, name), length)| Object { repository: 0, kind, name, length };
    let objects: Vec<Object> = expected.into_iter().map(object).collect();
    if !objects.iter().any(|object| object.kind == ObjectKind::Config) {
        waits.push("no drive announces the repository's config".to_owned());
    }
    waits.extend(other_root(app, owner, seed, &objects).await?);
    Ok(Plan { repository, objects, landed, jobs, waits, later, travelling })
}

fn take(expected: &mut Expected, objects: &[Object]) -> Result<(), Error> {
    for object in objects {
        let before = expected.insert((object.kind, object.name), object.length);
        if before.is_some_and(|length| length != object.length) {
            let message =
                format!("the drives' manifests contradict each other about {}", object.key());
            return Err(Error::refused(Code::ManifestRefused, message));
        }
    }
    Ok(())
}

fn one_repository(known: &mut Option<Digest>, listed: &[Digest]) -> Result<(), Error> {
    let [id] = listed else { return Ok(()) };
    match known.replace(*id) {
        Some(before) if before != *id => {
            let message = format!("the seed's drives carry two repositories, {before} and {id}");
            Err(Error::refused(Code::RepositoryMismatch, message))
        }
        _ => Ok(()),
    }
}

/// What a job that is not over still has to bring, parity counted. Of one that is over nothing more comes: what it
/// did not bring shows as missing objects.
fn unfinished(job: &Record) -> Vec<String> {
    if job.flow.state.is_end() || job.flow.has_landed() {
        return Vec::new();
    }
    let complete = |state: &DriveState| match state {
        DriveState::Completed { .. } => true,
        DriveState::ShippedBack { problems, .. } => *problems == Some(0),
        _ => false,
    };
    let drives = job.flow.drives.iter().filter(|drive| !complete(&drive.state));
    drives
        .map(|drive| {
            format!("drive {} of import job {} is not taken in yet", drive.serial, job.name)
        })
        .collect()
}

/// Whether what the drive carries may come by it: it has not been read, and its job is neither over nor to be
/// cancelled. One that was not in its package, or whose package is overdue, is not waited for.
fn may_still_be_read(job: &Record, serial: &DriveSerial) -> bool {
    let drive = job.flow.drives.iter().find(|drive| drive.serial == *serial);
    let is_over = job.flow.state.is_end() || job.flow.cancel_requested;
    let state = drive.map(|drive| &drive.state).filter(|_| !is_over);
    matches!(
        state,
        Some(DriveState::Specified | DriveState::Received | DriveState::Transferring { .. })
    )
}

/// Whether a parity drive of the job's set may still be read, whichever job it travels with: with it everything of the
/// set may come. One that is at home, in no job, brings nothing.
fn may_be_rebuilt(job: &Record, jobs: &[Record]) -> bool {
    let set = |job: &Record| job.request.as_ref().map(|request| request.seed.set);
    let of_set = jobs.iter().filter(|other| set(other) == set(job));
    let mut parity = of_set.flat_map(|other| {
        let drives = other.flow.drives.iter().filter(|drive| !drive.role.is_data());
        drives.map(move |drive| may_still_be_read(other, &drive.serial))
    });
    parity.any(|may| may)
}

fn sets_without_job(jobs: &[Record]) -> Vec<String> {
    let seeds = || jobs.iter().filter_map(|job| job.request.as_ref()).map(|request| &request.seed);
    let sets = seeds().filter_map(|seed| seed.sets).max().unwrap_or(0);
    let has = |set: &u32| seeds().any(|seed| seed.set == *set);
    // A number from a request: named only as far as people read.
    let missing: Vec<u32> = (0..sets).filter(|set| !has(set)).take(20).collect();
    missing.into_iter().map(|set| format!("drive set {set} has no import job yet")).collect()
}

/// Where the source has said what it expects, the manifests must announce exactly that.
async fn other_root(
    app: &App,
    owner: &Owner,
    seed: SeedId,
    objects: &[Object],
) -> Result<Option<String>, Error> {
    let Some(root) = ledger::root(app, owner, seed).await? else { return Ok(None) };
    let found = seed::root(objects);
    let without_keys = objects.iter().filter(|object| object.kind != ObjectKind::Key);
    if root == found || root == seed::root(without_keys) {
        return Ok(None);
    }
    Ok(Some(format!(
        "the manifests announce other objects ({}) than the source expects ({}): some drive set is still to come",
        found.short(),
        root.short()
    )))
}
