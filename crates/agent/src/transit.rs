//! A seed on its way: what became of its jobs, whether the vault has it, and what to say while it
//! has not. Moves no object.

use crate::confirm::{self, Confirmed};
use crate::context::{Context, Event};
use crate::group::OfflineInputs;
use crate::next::{Drives, Next};
use crate::publication::{self, Published};
use crate::record::{SeedJob, SeedRecord};
use crate::refill::{self, Refilled};
use crate::state::State;
use crate::vault::Vault;
use crate::{Error, adopt, chain, kept, send};
use backup::BackupOutcome;
use flow::{Effect, SeedEvent, SeedState, SetState, WAITING_FOR_IMPORT};
use jiff::Timestamp;
use std::sync::Arc;
use wire::{DriveState, Job, JobState, PublicKey, Publication, SeedId};

/// A backup that waits for its seed.
#[derive(Debug)]
pub struct Waiting {
    /// The seed; none while its first backup has not begun.
    pub seed: Option<SeedId>,
    /// Where it is.
    pub state: Option<SeedState>,
    /// What to tell people.
    pub message: String,
    /// Its import jobs as the server has them.
    pub jobs: Vec<Job>,
    /// What the server says about its publication, once that was asked for.
    pub publication: Option<Publication>,
    /// What was made anew of it, where something was lost that the source still had; with the files that it had not.
    pub refilled: Option<Box<Refilled>>,
    /// What is expected next.
    pub next: Next,
    /// What was backed up meanwhile, into the vault beside the seed.
    pub increment: Option<Arc<BackupOutcome>>,
    /// What it was added to is on drives alone: nothing of it can be restored before these have arrived.
    pub on_drives: bool,
    /// Why nothing was backed up meanwhile, where that is so.
    pub paused: Option<String>,
    /// Why the seed could not be taken further, where that is so.
    pub stuck: Option<Arc<Error>>,
}

/// What is said of a recovery point that relies on drives alone.
pub const ON_DRIVES: &str = "nothing of it can be restored before the drives have arrived: what it was added to is on them alone";

/// How far a seed is.
pub(crate) enum Transit {
    /// Not in the vault.
    Waiting(Box<Waiting>),
    /// In the vault, and found complete there: by this call if `confirmed` says so.
    Arrived { record: Box<SeedRecord>, confirmed: Option<Box<Confirmed>> },
}

impl Waiting {
    /// Nothing is staged yet.
    pub(crate) fn for_first_backup(state: &State, inputs: &OfflineInputs) -> Result<Self, Error> {
        let group = state.groups_at(&inputs.staging)?.into_iter().next();
        let next = group.map_or(Next::Nothing, |group| first_backup(inputs.direct, group.name));
        let message = next.to_string();
        let paused = Some("the first backup has to be made before".to_owned());
        Ok(Self {
            seed: None,
            state: None,
            message,
            jobs: Vec::new(),
            publication: None,
            refilled: None,
            next,
            increment: None,
            on_drives: false,
            paused,
            stuck: None,
        })
    }

    /// Nothing of it has left.
    pub(crate) fn local(state: &State, record: &SeedRecord) -> Result<Self, Error> {
        Self::new(state, record, Vec::new(), None, None)
    }

    fn new(
        state: &State,
        record: &SeedRecord,
        jobs: Vec<Job>,
        publication: Option<Publication>,
        refilled: Option<Box<Refilled>>,
    ) -> Result<Self, Error> {
        let next = match &refilled {
            Some(refilled) if !refilled.lost.is_empty() => {
                Next::Choose { files: refilled.lost.len() as u64 }
            }
            _ => next(state, record, &jobs)?,
        };
        let said = publication.as_ref().and_then(|publication| publication.message.clone());
        let message = match record.seed.waits_for_import() {
            true => WAITING_FOR_IMPORT.to_owned(),
            false => said.unwrap_or_else(|| next.to_string()),
        };
        let seed = Some(record.id);
        Ok(Self {
            seed,
            state: Some(record.state()),
            message,
            jobs,
            publication,
            refilled,
            next,
            increment: None,
            on_drives: record.direct,
            paused: None,
            stuck: None,
        })
    }
}

/// Takes the seed as far as it goes by itself: publication, receipt, check.
pub(crate) fn go_on(
    ctx: &Context<'_>,
    state: &State,
    id: SeedId,
    password: &[u8],
) -> Result<Transit, Error> {
    let _lock = state.lock_seed(id)?;
    let record = state.seed(id)?;
    match record.state() {
        SeedState::Confirmed => {
            return Ok(Transit::Arrived { record: Box::new(record), confirmed: None });
        }
        SeedState::Abandoned => {
            return Err(flow::Refused::SeedEnded { state: record.state().name() }.into());
        }
        _ => {}
    }
    let vault = Vault::connect(ctx, state)?;
    let (record, jobs) = sync(ctx, state, &vault, &record)?;
    kept::keep(ctx, state, &record, password)?;
    if record.seed.set_count.is_none() {
        let waiting = Waiting::new(state, &record, jobs, None, None)?;
        return Ok(Transit::Waiting(Box::new(waiting)));
    }
    let record = match published(ctx, state, &vault, record, password)? {
        Progress::Published(record) => record,
        Progress::Waiting { record, status, refilled } => {
            let status = status.map(|status| *status);
            let waiting = Waiting::new(state, &record, jobs, status, refilled)?;
            return Ok(Transit::Waiting(Box::new(waiting)));
        }
    };
    let (record, confirmed) = confirm::confirm(ctx, state, &vault, &record, password)?;
    Ok(Transit::Arrived { record: Box::new(record), confirmed: Some(Box::new(confirmed)) })
}

/// How far publication has come.
enum Progress {
    Published(Box<SeedRecord>),
    Waiting {
        record: Box<SeedRecord>,
        status: Option<Box<Publication>>,
        refilled: Option<Box<Refilled>>,
    },
}

/// Has the seed published, and sends what that finds missing; what is lost here, too, is made anew and sent.
fn published(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    mut record: SeedRecord,
    password: &[u8],
) -> Result<Progress, Error> {
    let (mut answers, mut refilled) = (0, None);
    loop {
        let status = match publication::until_published(ctx, state, vault, &record)? {
            Published::Yes(published) => return Ok(Progress::Published(published)),
            Published::No { record: there, status } => {
                record = *there;
                status
            }
        };
        let wants = status.as_ref().is_some_and(|status| status.wanted_count > 0);
        // What a whole set was to bring is sent when somebody has chosen so.
        let landed = |set: &flow::DriveSet| matches!(set.state, SetState::Landed { .. });
        let wants = wants && record.seed.sets.iter().all(landed);
        let sent = match wants && answers < ANSWERS {
            true => send::answer(ctx, state, vault, &record)?,
            false => None,
        };
        answers += 1;
        let is_answered = sent.as_ref().is_some_and(|sent| sent.left == 0 && sent.gone.is_empty());
        if is_answered {
            continue;
        }
        if let Some(sent) = &sent {
            let made = refill::by_itself(ctx, state, vault, &record, sent, password)?;
            let is_revised = made.as_ref().is_some_and(|made| made.revision.is_some());
            refilled = made.map(Box::new);
            if is_revised {
                record = state.seed(record.id)?;
                continue;
            }
        }
        let record = Box::new(record);
        return Ok(Progress::Waiting { record, status, refilled });
    }
}

/// How often what is wanted is sent by one call: once, and once more where it was made anew. Each answer makes a new
/// question; one that is asked again and again is somebody else's to look at.
const ANSWERS: u32 = 3;

/// Tells what follows from a change that is stored.
pub(crate) fn tell(ctx: &Context<'_>, seed: SeedId, effects: &[Effect]) {
    for effect in effects {
        ctx.tell(Event::Effect { seed, effect });
    }
}

/// Takes over what became of the seed's jobs. From publication on, they have no say any more.
pub(crate) fn sync(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
) -> Result<(SeedRecord, Vec<Job>), Error> {
    let (record, jobs) = look(ctx, state, vault, record)?;
    let (record, effects) =
        state.change_seed(record.id, |record| take_over(record, &jobs, ctx.now()))?;
    tell(ctx, record.id, &effects);
    chain::left(ctx, state, &record, &jobs)?;
    chain::send(ctx, state, vault, record.id);
    Ok((record, jobs))
}

/// The seed with the jobs that others have made for it taken over, and the server's records of all its jobs.
pub(crate) fn look(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
) -> Result<(SeedRecord, Vec<Job>), Error> {
    let all = vault.client.jobs()?;
    let record = adopt::adopt(ctx, state, vault, record.clone(), &all)?;
    let jobs = own_jobs(&record, &all);
    Ok((record, jobs))
}

/// The server's records of the seed's jobs, in the order in which they were made.
pub(crate) fn of_seed(vault: &Vault, record: &SeedRecord) -> Result<Vec<Job>, Error> {
    Ok(own_jobs(record, &vault.client.jobs()?))
}

fn own_jobs(record: &SeedRecord, all: &[Job]) -> Vec<Job> {
    let find = |own: &SeedJob| all.iter().find(|job| job.name == own.name && is_of(job, record));
    record.jobs.iter().filter_map(find).cloned().collect()
}

/// The seed that a job carries a part of.
pub(crate) fn seed(job: &Job) -> Option<SeedId> {
    job.carries.as_ref().map(|carries| carries.seed.id)
}

/// Which drive set of it; from 0.
pub(crate) fn set(job: &Job) -> u32 {
    job.carries.as_ref().map_or(0, |carries| carries.seed.set)
}

/// Who has signed its drives, where they carry a part of that seed.
pub(crate) fn signer(job: &Job, record: &SeedRecord) -> Option<PublicKey> {
    let carries = job.carries.as_ref()?;
    (carries.seed.id == record.id).then_some(carries.seed.signer)
}

fn is_of(job: &Job, record: &SeedRecord) -> bool {
    seed(job) == Some(record.id)
}

/// Lets happen what the jobs say has happened.
pub(crate) fn take_over(
    record: &mut SeedRecord,
    jobs: &[Job],
    now: Timestamp,
) -> Result<Vec<Effect>, Error> {
    let mut effects = Vec::new();
    for job in jobs {
        let own = record.jobs.iter().find(|own| own.name == job.name).cloned();
        let known = record.seed.sets.iter().find(|set| set.job == job.name).map(|set| set.state);
        // A set that counts as landed or lost is not asked about again: only counting is.
        let settled = matches!(known, None | Some(SetState::Landed { .. } | SetState::Lost));
        if let Some(own) = own.filter(|_| !settled && !is_publishing(record))
            && let Some(event) = happened(job, &own)
        {
            effects.extend(record.happen(event, now)?);
        }
    }
    Ok(effects)
}

pub(crate) fn is_publishing(record: &SeedRecord) -> bool {
    let state = record.state();
    state.is_end() || matches!(state, SeedState::Publishing | SeedState::Published)
}

/// What a job's state means for the seed.
fn happened(job: &Job, own: &SeedJob) -> Option<SeedEvent> {
    let name = job.name.clone();
    match job.state {
        // Drives of a job that is to be cancelled are sent back unread, if they ever turn up.
        JobState::Shipping if job.cancel_requested => Some(SeedEvent::JobLost { job: name }),
        JobState::Creating => None,
        JobState::Shipping => Some(SeedEvent::JobShipped { job: name }),
        JobState::Received | JobState::Transferring => Some(SeedEvent::JobArrived { job: name }),
        JobState::Packaging | JobState::Completed | JobState::Closed if was_read(job) => {
            Some(SeedEvent::JobLanded { missing: missing(job, own), job: name })
        }
        JobState::Packaging | JobState::Completed => None,
        JobState::Closed | JobState::Canceled => Some(SeedEvent::JobLost { job: name }),
    }
}

/// Whether any drive of it was read to its end.
fn was_read(job: &Job) -> bool {
    job.drive_list.iter().any(|drive| match drive.state {
        DriveState::Completed | DriveState::CompletedMoreInfo => true,
        DriveState::ShippedBack => drive.copy_status.is_some(),
        _ => false,
    })
}

/// Objects of the job that did not land: all of a drive that was not read, unless a parity drive was. With
/// that the server has looked for everything of the set.
fn missing(job: &Job, own: &SeedJob) -> u64 {
    let read = |drive: &crate::JobDrive| {
        let status = job.drive_list.iter().find(|status| status.drive_id == drive.serial);
        status.filter(|status| status.copy_status.is_some()).map(|status| status.failure_count)
    };
    let (data, parity): (Vec<_>, Vec<_>) =
        own.drives.iter().partition(|drive| drive.role.is_data());
    let of_drives = data.into_iter().map(|drive| read(drive).unwrap_or(drive.objects));
    let of_drives = of_drives.fold(0, u64::saturating_add);
    parity.into_iter().filter_map(read).fold(of_drives, u64::min)
}

pub(crate) fn first_backup(direct: bool, group: model::GroupName) -> Next {
    if direct { Next::WriteDrives { group } } else { Next::FirstBackup { group } }
}

/// What is expected next for a seed. `jobs` as the server has them, where it was asked.
pub(crate) fn next(state: &State, record: &SeedRecord, jobs: &[Job]) -> Result<Next, Error> {
    let group = || Ok::<_, Error>(state.groups_at(&record.staging)?.into_iter().next());
    let drives = || Ok::<_, Error>(record.drives(group()?.map(|group| group.name)));
    let backup = |group: Option<crate::Group>| {
        group.map_or(Next::Nothing, |group| Next::Backup { group: group.name })
    };
    let lost = record.seed.sets.iter().find(|set| set.state == SetState::Lost);
    if let Some(set) = lost.filter(|_| !is_publishing(record)) {
        return Ok(Next::AnotherJob { drives: drives()?, job: set.job.clone() });
    }
    Ok(match record.state() {
        SeedState::Staging => {
            let groups = state.groups_at(&record.staging)?;
            let without = |group: &crate::Group| !record.backups.contains_key(&group.name);
            let group = groups.into_iter().find(without);
            group.map_or(Next::Nothing, |group| first_backup(record.direct, group.name))
        }
        SeedState::Staged | SeedState::Preparing => match drives()? {
            Drives::From(staging) => Next::PrepareDrives { staging },
            Drives::Of(group) => Next::WriteDrives { group },
        },
        SeedState::Prepared | SeedState::InTransit | SeedState::Landing => {
            let unshipped = jobs.iter().find(|job| job.state == JobState::Creating);
            let known = record.seed.sets.iter().find(|set| set.state == SetState::Prepared);
            match (unshipped, known) {
                (Some(job), _) => Next::Ship { job: job.name.clone() },
                (None, Some(set)) if jobs.is_empty() => Next::Ship { job: set.job.clone() },
                _ => Next::Wait,
            }
        }
        SeedState::Incomplete { missing } => Next::Missing { objects: missing, drives: drives()? },
        SeedState::Landed | SeedState::Publishing | SeedState::Published => backup(group()?),
        SeedState::Confirmed if !record.seed.staging_cleaned && !record.direct => {
            Next::Clean { seed: record.id }
        }
        SeedState::Confirmed | SeedState::Abandoned => Next::Nothing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::JobDrive;
    use model::{Digest, DriveRole};
    use serde_json::json;

    fn job(state: &str, drives: &[(&str, u64)]) -> Job {
        let drives: Vec<_> = drives
            .iter()
            .zip(0..)
            .map(|((state, failures), n)| {
                let read = matches!(*state, "Completed" | "CompletedMoreInfo");
                json!({
                    "driveId": format!("D{n}"), "manifestHash": "0".repeat(64),
                    "manifestReceived": true, "state": state, "percentComplete": 0,
                    "copyStatus": read.then_some("Completed"),
                    "bytesSucceeded": 0, "bytesTotal": 0, "failureCount": failures,
                })
            })
            .collect();
        let job = json!({
            "name": "job-1", "version": 1, "jobType": "Import", "state": state,
            "vault": "vault1", "server": "fs01",
            "seed": {"id": "0".repeat(32), "signer": "0".repeat(64)},
            "storageAccount": "seedacct", "container": "seeds", "diagnosticsPath": "logs",
            "cancelRequested": false, "percentComplete": 0, "inventoryReceived": true,
            "driveList": drives,
            "createdAt": "2026-03-01T12:00:00Z", "changedAt": "2026-03-01T12:00:00Z",
        });
        serde_json::from_value(job).unwrap()
    }

    fn meant(state: &str, drives: &[(&str, u64)]) -> Option<SeedEvent> {
        let drive = |n: usize| JobDrive {
            serial: format!("D{n}").parse().unwrap(),
            role: if n < 2 { DriveRole::Data } else { DriveRole::Parity },
            manifest: Digest([0; 32]),
            header: None,
            objects: if n < 2 { 100 } else { 0 },
            bytes: if n < 2 { 1000 } else { 0 },
        };
        let own = SeedJob {
            name: "job-1".parse().unwrap(),
            set: 0,
            created: Timestamp::UNIX_EPOCH,
            drives: (0..drives.len()).map(drive).collect(),
            parity: false,
        };
        happened(&job(state, drives), &own)
    }

    #[test]
    fn a_jobs_state_means_what_the_drives_say() {
        let name = || "job-1".parse().unwrap();
        let landed = |missing| Some(SeedEvent::JobLanded { job: name(), missing });
        let lost = Some(SeedEvent::JobLost { job: name() });
        assert_eq!(meant("Creating", &[("Specified", 0)]), None);
        assert_eq!(
            meant("Shipping", &[("Specified", 0)]),
            Some(SeedEvent::JobShipped { job: name() })
        );
        for state in ["Received", "Transferring"] {
            let arrived = Some(SeedEvent::JobArrived { job: name() });
            assert_eq!(meant(state, &[("Received", 0), ("Completed", 0)]), arrived);
        }
        for state in ["Packaging", "Completed", "Closed"] {
            assert_eq!(meant(state, &[("Completed", 0), ("Completed", 0)]), landed(0));
            assert_eq!(meant(state, &[("Completed", 0), ("CompletedMoreInfo", 3)]), landed(3));
            // All of a drive that never came is missing.
            assert_eq!(
                meant(state, &[("CompletedMoreInfo", 3), ("NeverReceived", 0)]),
                landed(103)
            );
        }
        for state in ["Closed", "Canceled"] {
            assert_eq!(meant(state, &[("NeverReceived", 0), ("ShippedBack", 0)]), lost);
        }
    }

    #[test]
    fn what_parity_has_rebuilt_is_not_missing() {
        let landed =
            |missing| Some(SeedEvent::JobLanded { job: "job-1".parse().unwrap(), missing });
        let of = |drives: &[(&str, u64)]| meant("Packaging", drives);
        assert_eq!(of(&[("Completed", 0), ("NeverReceived", 0), ("Completed", 0)]), landed(0));
        let damaged = [("CompletedMoreInfo", 3), ("Completed", 0), ("Completed", 0)];
        assert_eq!(of(&damaged), landed(0));
        let beyond = [("CompletedMoreInfo", 3), ("NeverReceived", 0), ("CompletedMoreInfo", 7)];
        assert_eq!(of(&beyond), landed(7));
        // Parity that nobody has read gives nothing, and lacks nothing.
        let unread = [("Completed", 0), ("NeverReceived", 0), ("NeverReceived", 0)];
        assert_eq!(of(&unread), landed(100));
        // What is missing of data drives that were read after it counts.
        let again = [("Completed", 0), ("Completed", 0), ("CompletedMoreInfo", 7)];
        assert_eq!(of(&again), landed(0));
    }

    #[test]
    fn the_sentence_is_the_one_that_people_know() {
        assert_eq!(
            WAITING_FOR_IMPORT,
            "Waiting for Azure Import Job to complete. Please check on Azure Management portal for more information on job status"
        );
    }
}
