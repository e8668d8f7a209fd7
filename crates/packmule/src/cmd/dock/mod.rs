//! `packmule dock`: what an operator does at the data centre.

mod export;
mod run;

use super::admin::{self, AdminOptions};
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome, chain};
use crate::ui::{Progress, duration, per_second};
use clap::{Args, Subcommand};
use client::Client;
use custody::Actor;
use dock::{Custody, Event, ImportOptions, Taken};
use jiff::Timestamp;
use model::{ActorName, ByteSize, DriveSerial, JobName, TrackingNumber};
use serde_json::json;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::{OpenOptions, RetryPolicy, SystemClock};
use wire::Job;

/// Take drives in at the data centre
#[derive(Subcommand, Debug)]
pub(crate) enum Dock {
    /// Write the credentials file with which a dock works
    ///
    /// Example: packmule dock credentials north -o dock.json --server /srv/pm/admin.json
    Credentials {
        /// The dock's name
        name: String,
        /// Where to write them; readable for this user only
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Replace the dock's credentials, if it has any: the old ones stop working
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Say that a package has arrived
    ///
    /// An export job lists no drives: name those that are in its package.
    ///
    /// Example: packmule dock receive --tracking 1Z999AA10123456784 --credentials dock.json
    Receive {
        /// The carrier's tracking number
        #[arg(long, value_name = "NUMBER")]
        tracking: TrackingNumber,
        /// Serial number of a drive that was in it; may be repeated [default: every drive of the job]
        #[arg(long, value_name = "SERIAL")]
        drive: Vec<DriveSerial>,
        #[command(flatten)]
        state: DockState,
        #[command(flatten)]
        dock: DockOptions,
    },
    Run(run::Run),
    Import(Import),
    Export(export::Export),
    Wipe(run::Wipe),
    /// Say that drives were handed to the carrier for the way home
    ///
    /// Example: packmule dock return --job seed-2026 --credentials dock.json
    Return {
        /// The import job
        #[arg(long, value_name = "JOB")]
        job: JobName,
        /// Serial number of a drive; may be repeated [default: every drive that is at the dock]
        #[arg(long, value_name = "SERIAL")]
        drive: Vec<DriveSerial>,
        #[command(flatten)]
        state: DockState,
        #[command(flatten)]
        dock: DockOptions,
    },
    /// Say that a drive is not there, or cannot be read any more
    ///
    /// Nobody waits for it from then on. Of a set with parity, what was on it is rebuilt when the parity drives are
    /// taken in. A drive that turns up, or can be read again, is taken in all the same until it is sent back.
    ///
    /// Example: packmule dock lost --job seed-2026 --drive WD-1234 --credentials dock.json
    Lost {
        /// The import job
        #[arg(long, value_name = "JOB")]
        job: JobName,
        /// Serial number of the drive; may be repeated
        #[arg(long, value_name = "SERIAL", required = true)]
        drive: Vec<DriveSerial>,
        #[command(flatten)]
        dock: DockOptions,
    },
    /// List the import jobs
    ///
    /// Example: packmule dock jobs --credentials dock.json
    Jobs {
        #[command(flatten)]
        dock: DockOptions,
    },
}

/// Who the dock is.
#[derive(Args, Debug, Clone)]
pub(crate) struct DockOptions {
    /// The dock's credentials
    #[arg(long, env = "PACKMULE_DOCK", value_name = "FILE")]
    credentials: PathBuf,
}

impl DockOptions {
    fn client(&self) -> Result<Client, Failure> {
        let credentials = client::load_credentials(&self.credentials)?;
        Ok(Client::through(credentials, &crate::context::proxies())?)
    }
}

/// Where the dock's own files are, and its name.
#[derive(Args, Debug, Clone)]
pub(crate) struct DockState {
    /// Where this dock keeps its journals, its signing key and its chains of custody
    #[arg(
        long,
        env = "PACKMULE_STATE",
        value_name = "DIR",
        default_value = "/var/lib/packmule-dock"
    )]
    state: PathBuf,
    /// This dock's name in custody logs [default: this computer's name]
    #[arg(long, value_name = "NAME")]
    actor: Option<ActorName>,
}

impl DockState {
    /// Has `work` write into custody logs; tells under which key.
    fn with_custody<T>(
        &self,
        context: &Context,
        work: impl FnOnce(&Custody<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let host = || Actor::name_of(&context.author.hostname);
        let unsent = |why: &str| {
            context.printer.note(format!("{why}; it is sent by a later call"));
        };
        let name = self.actor.clone().unwrap_or_else(host);
        let custody = Custody::open(&self.state, name, &Timestamp::now, &unsent)?;
        let key = custody.fingerprint();
        context.printer.note(format!("this dock signs custody logs as {key}"));
        work(&custody)
    }
}

/// Take in the drives of an import job
///
/// Every object is verified by its name on its way into the storage account. A damaged or missing
/// object fails only itself and is named; drives that are not of the job are not touched. Run it
/// again for drives that were pulled out: nothing is copied twice.
///
/// Of a set with parity, what data drives did not bring is rebuilt once every data drive that is at the dock was read:
/// give the parity drives then, as many together as data drives are missing, and with them the data drives that were
/// damaged. `packmule dock lost` says of a drive that nobody need wait for it.
///
/// Example: packmule dock import --job seed-2026 --drive /mnt/d1 --drive /mnt/d2 --credentials dock.json
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// The import job
    #[arg(long, value_name = "JOB")]
    job: JobName,
    /// Where a drive's file system is mounted; may be repeated
    #[arg(long, required = true, value_name = "PATH", num_args = 1..)]
    drive: Vec<PathBuf>,
    #[command(flatten)]
    state: DockState,
    /// How many drives are read at once
    #[arg(long, value_name = "N", default_value_t = 4)]
    at_once: usize,
    #[command(flatten)]
    dock: DockOptions,
}

impl Dock {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::Credentials { name, output, replace, admin } => {
                return admin::dock_credentials(context, admin, name, *replace, output);
            }
            Self::Receive { tracking, drive, state, dock } => {
                let drives = (!drive.is_empty()).then_some(drive.as_slice());
                let client = dock.client()?;
                let job = state.with_custody(context, |custody| {
                    Ok(dock::receive(&client, Some(custody), tracking, drives)?)
                })?;
                show_job(context, &job);
            }
            Self::Run(command) => return command.run(context),
            Self::Import(import) => {
                return import.state.with_custody(context, |custody| import.run(context, custody));
            }
            Self::Export(command) => return command.run(context),
            Self::Wipe(command) => return command.run(context),
            Self::Return { job, drive, state, dock } => {
                let drives = (!drive.is_empty()).then_some(drive.as_slice());
                let client = dock.client()?;
                let job = state.with_custody(context, |custody| {
                    Ok(dock::returned(&client, Some(custody), job, drives)?)
                })?;
                show_job(context, &job);
            }
            Self::Lost { job, drive, dock } => {
                let client = dock.client()?;
                for drive in drive {
                    dock::lost(&client, job, drive)?;
                }
                show_job(context, &client.job(job)?);
            }
            Self::Jobs { dock } => {
                for job in dock.client()?.jobs()? {
                    show_job(context, &job);
                }
            }
        }
        Ok(Status::Done)
    }
}

impl Import {
    fn run(&self, context: &Context, custody: &Custody<'_>) -> Outcome {
        let client = self.dock.client()?;
        let progress = Progress::new(&context.printer, "taking in");
        let counts = Counts::new(&progress);
        let events = |event: Event<'_>| counts.event(event);
        let store = OpenOptions {
            retry: Some((RetryPolicy::default(), Arc::new(SystemClock::new()))),
            ..OpenOptions::default()
        };
        let options = ImportOptions {
            job: &self.job,
            drives: &self.drive,
            state: &self.state.state,
            custody: Some(custody),
            store,
            report_every: Duration::from_secs(2),
            at_once: self.at_once,
            stop: &context.stop,
            events: &events,
        };
        let outcome = dock::import(&client, &options)?;
        let elapsed = progress.finish();
        let (mut refused, mut rebuilt_bytes) = (None, 0);
        for drive in outcome.drives {
            match drive.result {
                Ok(taken) => {
                    if taken.status.rebuilt.is_some() {
                        rebuilt_bytes += taken.copied_bytes;
                    }
                    show_taken(context, &drive.folder, &taken);
                }
                Err(error) => {
                    let failure = Failure::from(error);
                    let words = failure.chain().join(": ");
                    context.printer.problem(&drive.folder.display().to_string(), &words);
                    refused.get_or_insert(failure);
                }
            }
        }
        let complete = outcome.job.as_ref().is_some_and(has_landed);
        if let Some(job) = &outcome.job {
            show_job(context, job);
        }
        let copied = counts.copied();
        context.printer.line(format!(
            "copied {} in {}, {}/s",
            ByteSize(copied),
            duration(elapsed),
            ByteSize(per_second(copied, elapsed))
        ));
        let summary = json!({
            "job": self.job,
            "complete": complete,
            "bytes_copied": copied,
            "bytes_rebuilt": rebuilt_bytes,
            "seconds_elapsed": elapsed.as_secs_f64(),
        });
        context.printer.object("summary", &summary);
        match refused {
            Some(failure) => Err(failure),
            None if counts.problems() => Ok(Status::Partial),
            None => Ok(Status::Done),
        }
    }
}

/// What all drives of one run have given so far.
struct Counts<'a> {
    progress: &'a Progress<'a>,
    drives: Mutex<HashMap<DriveSerial, (u64, u64, u64)>>,
    problems: Mutex<bool>,
}

impl<'a> Counts<'a> {
    fn new(progress: &'a Progress<'a>) -> Self {
        Self { progress, drives: Mutex::default(), problems: Mutex::new(false) }
    }

    fn event(&self, event: Event<'_>) {
        match event {
            Event::Started { serial, objects, bytes } => {
                self.progress
                    .note(&format!("drive {serial}: {objects} objects, {}", ByteSize(bytes)));
                self.count(serial, 0, bytes, 0);
            }
            Event::Progress { serial, bytes, total, already } => {
                self.count(serial, bytes, total, already);
            }
            Event::Rebuilding { serial, bytes: 0, total } => {
                self.progress.note(&format!(
                    "parity drive {serial}: rebuilding what did not arrive; {} of each drive are looked at",
                    ByteSize(total)
                ));
                self.count(serial, 0, total, 0);
            }
            Event::Rebuilding { serial, bytes, total } => self.count(serial, bytes, total, bytes),
            Event::Problem { serial, problem } => {
                *self.problems.lock().unwrap_or_else(PoisonError::into_inner) = true;
                let item = format!("{} on drive {serial}", problem.key);
                self.progress.problem(&item, &problem.reason.to_string());
            }
            Event::Finished { serial, status } => {
                self.progress.note(&format!("drive {serial}: {:?}", status.state));
            }
            Event::Gone { serial } => {
                let words = "no longer answers; attach it again and run the same command";
                self.progress.problem(&format!("drive {serial}"), words);
            }
            Event::LeftAlone { place, serial, why } => {
                let serial = serial.map_or("?", DriveSerial::as_str);
                let item = format!("{}, drive {serial}", place.display());
                self.progress.note(&format!("{item}: not touched: {why}"));
                let object = json!({"path": place, "serial": serial, "reason": why});
                self.progress.object("left_alone", &object);
            }
            Event::Expected { place, serial, job } => {
                let place = place.display();
                self.progress.note(&format!("{place}: drive {serial} of import job {job}"));
            }
            Event::Left { place, serial, result } => self.left(place, serial, result),
            Event::ServerAway { why } => {
                self.progress.problem("server", &format!("{why}; it is asked again"));
            }
            _ => {}
        }
    }

    fn left(&self, place: &Path, serial: &DriveSerial, result: &Result<Taken, dock::Error>) {
        let item = format!("{}, drive {serial}", place.display());
        match result {
            Ok(taken) if taken.is_complete() => {
                self.progress.note(&format!("{item}: all of it is taken in; it can be taken out"));
            }
            Ok(taken) => {
                *self.problems.lock().unwrap_or_else(PoisonError::into_inner) = true;
                let words = format!(
                    "{} objects are damaged or missing; it can be taken out, or put in again for another try",
                    taken.status.failure_count
                );
                self.progress.problem(&item, &words);
            }
            Err(error) => {
                let kind = error.kind();
                *self.problems.lock().unwrap_or_else(PoisonError::into_inner) = true;
                let words = chain(error).join(": ");
                self.progress.problem(&item, &words);
                let code = crate::exit::code(kind);
                let object =
                    json!({"path": place, "serial": serial, "code": code, "message": words});
                self.progress.object("drive_failed", &object);
            }
        }
    }

    fn count(&self, serial: &DriveSerial, bytes: u64, total: u64, already: u64) {
        let mut drives = self.drives.lock().unwrap_or_else(PoisonError::into_inner);
        let before = drives.insert(serial.clone(), (bytes, total, already)).unwrap_or_default();
        self.progress.total(drives.values().map(|(_, total, _)| total).sum(), drives.len() as u64);
        drop(drives);
        self.progress.bytes(bytes.saturating_sub(before.0));
    }

    fn copied(&self) -> u64 {
        let drives = self.drives.lock().unwrap_or_else(PoisonError::into_inner);
        drives.values().map(|(bytes, _, already)| bytes.saturating_sub(*already)).sum()
    }

    fn problems(&self) -> bool {
        *self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn show_taken(context: &Context, folder: &Path, taken: &Taken) {
    context.printer.line(format!(
        "{}: drive {}: {} objects ({}) copied, {} there already, {} damaged or missing: {:?}",
        folder.display(),
        taken.status.drive_id,
        taken.copied,
        ByteSize(taken.copied_bytes),
        taken.already,
        taken.status.failure_count,
        taken.status.state
    ));
    for line in taken.status.rebuilt.iter().flat_map(rebuilt) {
        context.printer.line(format!("  {line}"));
    }
    for failure in &taken.status.failures {
        context.printer.line(format!("  {}: {}", failure.key, failure.reason));
    }
    let object = json!({
        "path": folder,
        "copied": taken.copied,
        "copied_bytes": taken.copied_bytes,
        "already": taken.already,
        "status": taken.status,
    });
    context.printer.object("drive", &object);
}

/// Whether everything that its drives should bring is in the account.
fn has_landed(job: &Job) -> bool {
    let of = |is_data| job.drive_list.iter().filter(move |drive| drive.role.is_data() == is_data);
    let whole = |drive: &wire::DriveStatus| drive.state == wire::DriveState::Completed;
    of(true).all(whole) || of(false).any(whole)
}

/// What was rebuilt, and from where, in a line for each data drive.
pub(crate) fn rebuilt(rebuilt: &wire::Rebuilt) -> Vec<String> {
    let account = (rebuilt.account_bytes > 0)
        .then(|| format!("{} of the storage account", ByteSize(rebuilt.account_bytes)));
    let drives = rebuilt.from.iter();
    let drives = drives.map(|from| format!("{} of drive {}", ByteSize(from.bytes), from.drive_id));
    let from: Vec<String> = account.into_iter().chain(drives).collect();
    let line = |drive: &wire::RebuiltDrive| {
        let from =
            if from.is_empty() { String::new() } else { format!(" from {}", from.join(", ")) };
        format!(
            "drive {}: {} objects ({}) rebuilt{from}",
            drive.drive_id,
            drive.objects,
            ByteSize(drive.bytes)
        )
    };
    rebuilt.drives.iter().map(line).collect()
}

/// Renders an import job in one line.
pub(crate) fn show_job(context: &Context, job: &Job) {
    let drives: Vec<String> = job
        .drive_list
        .iter()
        .map(|drive| {
            let role = if drive.role.is_data() { "" } else { " (parity)" };
            format!("{}{role} {:?}", drive.drive_id, drive.state)
        })
        .collect();
    context.printer.line(format!(
        "import job {}: {:?}, {} %; drives: {}",
        job.name,
        job.state,
        job.percent_complete,
        drives.join(", ")
    ));
    context.printer.object("import_job", job);
}
