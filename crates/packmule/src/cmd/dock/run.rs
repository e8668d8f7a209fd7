//! `packmule dock run` and `packmule dock wipe`: drives as they come out of the parcel, and before they
//! go home.

use super::{Counts, DockOptions, DockState, show_taken};
use crate::cmd::seed::{describe, find};
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::{Ask as _, Progress};
use clap::Args;
use client::Client;
use dock::{BlockDevices, Custody, Event, RunOptions};
use drive::{Access, Attached, Blkid, Device, Probe as _, Protection, Volume};
use model::{ByteSize, DriveSerial, ErrorKind};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::{OpenOptions, RetryPolicy, SystemClock};
use wire::{DriveState, Job, JobState};

/// Take in drives as they are put in
///
/// A drive whose serial number an import job expects is set read-only, unlocked with the key that the
/// server releases for it, and taken in; several at once. Any other drive is named and not touched. A
/// drive that is taken out too early goes on where it stopped when it is put in again.
///
/// Parity drives have their turn last, together with data drives that had problems: it says what they wait for.
///
/// Example: packmule dock run --credentials dock.json
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// End when every drive that is attached now was looked at and taken in
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    state: DockState,
    /// How many drives are read at once
    #[arg(long, value_name = "N", default_value_t = 4)]
    at_once: usize,
    #[command(flatten)]
    dock: DockOptions,
}

impl Run {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        self.state.with_custody(context, |custody| self.take_in(context, custody))
    }

    fn take_in(&self, context: &Context, custody: &Custody<'_>) -> Outcome {
        let client = self.dock.client()?;
        let progress = Progress::new(&context.printer, "taking in");
        let counts = Counts::new(&progress);
        let events = |event: Event<'_>| counts.event(event);
        let clock = Arc::new(SystemClock::new());
        let retry = Some((RetryPolicy::default(), clock.clone() as Arc<dyn store::Clock>));
        let options = RunOptions {
            state: &self.state.state,
            custody: Some(custody),
            store: OpenOptions { retry, ..OpenOptions::default() },
            report_every: Duration::from_secs(2),
            at_once: self.at_once,
            once: self.once,
            look_every: Duration::from_secs(1),
            clock: clock.as_ref(),
            stop: &context.stop,
            events: &events,
        };
        if !self.once {
            progress.note("waiting for drives; Ctrl-C ends");
        }
        let visits = dock::run(&client, &BlockDevices::new(), &options)?;
        progress.finish();
        let mut refused = None;
        for visit in visits {
            match visit.result {
                Ok(taken) => show_taken(context, &visit.place, &taken),
                // It was told when it happened.
                Err(error) => {
                    refused.get_or_insert_with(|| Failure::from(error));
                }
            }
        }
        match refused {
            Some(failure) => Err(failure),
            None if counts.problems() => Ok(Status::Partial),
            None => Ok(Status::Done),
        }
    }
}

/// Erase a drive before it goes home
///
/// Of an encrypted drive the header with its keys is overwritten and read back; then the drive is told to
/// discard what it can. Another one is overwritten as a whole. Refused until the vault has confirmed by its
/// receipt that it has everything.
///
/// Example: packmule dock wipe --drive /dev/sdb --credentials dock.json
#[derive(Args, Debug)]
pub(crate) struct Wipe {
    /// The drive
    #[arg(long, value_name = "DEVICE")]
    drive: PathBuf,
    /// Erase without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    state: DockState,
    #[command(flatten)]
    dock: DockOptions,
}

impl Wipe {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        self.state.with_custody(context, |custody| self.wipe(context, custody))
    }

    fn wipe(&self, context: &Context, custody: &Custody<'_>) -> Outcome {
        let client = self.dock.client()?;
        let wrong = |words: String| Failure::new(ErrorKind::WrongDrive, words);
        let device = find(&self.drive)?
            .ok_or_else(|| wrong(format!("{} is a folder, not a drive", self.drive.display())))?;
        if let Some(usage) = device.usage.first() {
            return Err(wrong(format!("{} is not erased: {usage}", device.path.display())));
        }
        let serial = device.serial.clone();
        let serial = serial
            .ok_or_else(|| wrong(format!("{} says no serial number", device.path.display())))?;
        let job = job_of(&client, &serial)?;
        receipt(&client, &job)?;
        let volume = Volume::of(&device, serial.clone());
        // One that was cut off while it was erased has nothing on it that could be compared.
        if !custody.was_wiping(&job, &serial) || is_marked(&device)? {
            refuse_another(&job, &volume)?;
        }
        context.printer.note(describe(&device, &volume));
        if !self.yes {
            let question = "Everything on this drive will be lost. Type yes to erase";
            if context.terminal().ask("yes", question)? != "yes" {
                let words = "not confirmed: nothing was changed";
                return Err(Failure::new(ErrorKind::Interrupted, words));
            }
        }
        custody.wiping(&job, &serial)?;
        let progress = Progress::new(&context.printer, "erasing");
        let erased = drive::erase(&volume, &mut |bytes| {
            progress.reach(bytes);
            !context.stop.load(std::sync::atomic::Ordering::Relaxed)
        })?;
        progress.finish();
        custody.wiped(&job, &serial, !erased.header, erased.overwritten)?;
        custody.send(&client);
        let what = if erased.header { "the keys on it" } else { "all of it" };
        let discarded = if erased.discarded { ", and the rest was discarded" } else { "" };
        context.printer.line(format!(
            "drive {serial} is erased: {what} was overwritten ({}){discarded}",
            ByteSize(erased.overwritten)
        ));
        let object = json!({"serial": serial, "job": job.name, "erased": erased});
        context.printer.object("wiped", &object);
        Ok(Status::Done)
    }
}

/// The newest job that has read this drive.
fn job_of(client: &Client, serial: &DriveSerial) -> Result<Job, Failure> {
    let jobs = client.jobs()?;
    let has = |job: &Job| job.drive_list.iter().any(|drive| drive.drive_id == *serial);
    let open = |job: &Job| {
        !matches!(job.state, JobState::Completed | JobState::Closed | JobState::Canceled)
    };
    let newest = jobs.into_iter().filter(has).max_by_key(|job| (open(job), job.created_at));
    let job = newest.ok_or_else(|| {
        let words = format!("no import job has drive {serial}: it is not ours to erase");
        Failure::new(ErrorKind::WrongDrive, words)
    })?;
    let state = job.drive_list.iter().find(|drive| drive.drive_id == *serial).map(|d| d.state);
    use DriveState as S;
    if !matches!(state, Some(S::Completed | S::CompletedMoreInfo | S::ShippedBack)) {
        let words = format!("drive {serial} of import job {} was not taken in yet", job.name);
        return Err(Failure::new(ErrorKind::Conflict, words));
    }
    Ok(job)
}

/// The same drive may have come again with something else on it: a later seed, whose receipt is still to come.
fn refuse_another(job: &Job, volume: &Volume) -> Result<(), Failure> {
    let entry = job.drive_list.iter().find(|drive| drive.drive_id == volume.serial);
    let is_same = match entry.and_then(|drive| drive.drive_header_hash) {
        Some(hash) => volume.is_encrypted(&Blkid)? && volume.header_hash()? == hash,
        None => {
            let attached = Attached::new(volume.clone(), Protection::None, Access::Look)?;
            let label = seed::inspect(attached.folder());
            attached.detach()?;
            let ours = |label: &seed::Label| {
                let own = job.carries.as_ref();
                own.is_some_and(|own| (label.seed, label.set) == (own.seed.id, own.seed.set))
            };
            label?.is_some_and(|label| ours(&label.body))
        }
    };
    if is_same {
        return Ok(());
    }
    let words = format!(
        "what is on drive {} is not what import job {} has taken in: it is not erased",
        volume.serial, job.name
    );
    Err(Failure::new(ErrorKind::WrongDrive, words))
}

/// Whether something is known to be on the drive, or on a partition where it has any.
fn is_marked(device: &Device) -> Result<bool, Failure> {
    let parts: Vec<&Path> = device.partitions.iter().map(|part| part.path.as_path()).collect();
    let places = if parts.is_empty() { vec![device.path.as_path()] } else { parts };
    for place in places {
        let marked = Blkid.signature(place);
        if marked.map_err(|cause| Failure::io("looking at", place, cause))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn receipt(client: &Client, job: &Job) -> Result<(), Failure> {
    let Some(own) = &job.carries else {
        let words = format!("import job {} carries no seed: no vault confirms it", job.name);
        return Err(Failure::new(ErrorKind::Conflict, words));
    };
    match client.receipt(&own.vault, &own.server, Some(own.seed.id)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let words = format!(
                "the vault has not confirmed seed {} yet: a drive is erased only when its receipt is there",
                own.seed.id
            );
            Err(Failure::new(ErrorKind::Conflict, words))
        }
        Err(error) => Err(error.into()),
    }
}
