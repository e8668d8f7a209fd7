//! `packmule dock export`: drives of an export job are formatted, written and sealed.

use super::{DockOptions, DockState, show_job};
use crate::cmd::seed::{Bays, DriveOptions, Report, Writing, find, show_prepared};
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::Progress;
use clap::Args;
use dock::{Custody, ExportOptions, Exported};
use jiff::Timestamp;
use keyring::DriveKeys;
use model::{DriveSerial, ErrorKind, JobName};
use std::sync::Arc;
use std::time::Duration;
use store::{OpenOptions, Rate, RetryPolicy, SystemClock};
use wire::Job;

/// Write what an export job asks for onto drives
///
/// The drives are those that were in the job's package; further ones count as the job's from then on. All of them are
/// formatted and encrypted; as few as can hold everything are written, read back and signed with this dock's key, and the others go home
/// empty. The server gets their passwords, for the job's owner. When drives run out or one breaks, run the same command with others: nothing is written twice.
///
/// Example: packmule dock export --job restore-1 --drive /dev/sdb /dev/sdc --credentials dock.json
#[derive(Args, Debug)]
#[command(mut_arg("drive", |drive| drive.required(true)))]
pub(crate) struct Export {
    /// The export job
    #[arg(long, value_name = "JOB")]
    job: JobName,
    #[command(flatten)]
    drives: DriveOptions,
    /// Serial number of a drive that is given as a folder, where it has no label yet: one for each drive, in their order
    #[arg(long, value_name = "SERIAL", num_args = 1..)]
    serial: Vec<DriveSerial>,
    #[command(flatten)]
    writing: Writing,
    #[command(flatten)]
    state: DockState,
    #[command(flatten)]
    dock: DockOptions,
}

impl Export {
    pub(super) fn run(&self, context: &Context) -> Outcome {
        self.state.with_custody(context, |custody| self.write(context, custody))
    }

    fn write(&self, context: &Context, custody: &Custody<'_>) -> Outcome {
        if !self.serial.is_empty() && self.serial.len() != self.drives.drive.len() {
            let words = "give --serial once for each --drive, or not at all";
            return Err(Failure::new(ErrorKind::Invalid, words));
        }
        let client = self.dock.client()?;
        let job = dock::to_be_exported(&client, custody, &self.job)?;
        let folder = dock::export_state(&self.state.state, &job)?.join("keys");
        let keys = DriveKeys::open(&folder)?;
        let refuse = || self.refuse_strange(&job);
        let mut bays = self.drives.ready(context, &keys, &context.terminal(), refuse)?;
        let named = self.name_folders(&mut bays);
        let written =
            named.and_then(|()| self.write_onto(context, &client, (custody, &keys), &bays));
        // Whatever became of it: the drives can be taken out afterwards.
        bays.leave(context);
        let Exported { prepared, job } = written?;
        show_prepared(context, &prepared);
        show_job(context, &job);
        Ok(if !prepared.problems.is_empty() {
            Status::Partial
        } else if job.export.as_ref().is_some_and(|export| export.complete) {
            Status::Done
        } else {
            Status::DriveMissing
        })
    }

    /// A drive that is in no package of this job is formatted only where somebody has named it: they may have
    /// put in another customer's.
    fn refuse_strange(&self, job: &Job) -> Result<(), Failure> {
        for path in &self.drives.drive {
            let Some(serial) = find(path)?.and_then(|device| device.serial) else { continue };
            let is_listed = job.drive_list.iter().any(|drive| drive.drive_id == serial);
            if !is_listed && !self.drives.format.contains(&serial) {
                let words = format!(
                    "{} is drive {serial}, which was not in the package of export job {}; to use it all the same, add --format {serial}",
                    path.display(),
                    job.name
                );
                return Err(Failure::new(ErrorKind::WrongDrive, words));
            }
        }
        Ok(())
    }

    /// A folder has no hardware that could tell its number.
    fn name_folders(&self, bays: &mut Bays) -> Result<(), Failure> {
        let given = self.serial.iter().zip(&self.drives.drive);
        for ((serial, path), spec) in given.zip(&mut bays.specs) {
            let has_own = find(path)?.is_some() || seed::inspect(&spec.folder)?.is_some();
            if !has_own {
                spec.serial = serial.clone();
            } else if spec.serial != *serial {
                let words = format!("{} is drive {}, not {serial}", path.display(), spec.serial);
                return Err(Failure::new(ErrorKind::WrongDrive, words));
            }
        }
        Ok(())
    }

    fn write_onto(
        &self,
        context: &Context,
        client: &client::Client,
        (custody, keys): (&Custody<'_>, &DriveKeys),
        bays: &Bays,
    ) -> Result<Exported, Failure> {
        let progress = Progress::new(&context.printer, "writing drives");
        let clock = Arc::new(SystemClock::new());
        let rate = self.writing.limit_rate();
        let store = OpenOptions {
            retry: Some((RetryPolicy::default(), clock.clone())),
            rate: (rate > 0).then(|| (Rate::new(rate), clock.clone() as Arc<dyn store::Clock>)),
            ..OpenOptions::default()
        };
        let options = ExportOptions {
            job: &self.job,
            drives: &bays.specs,
            keys,
            state: &self.state.state,
            store,
            read_back: bays,
            filling: self.writing.filling(),
            custody,
            now: Timestamp::now(),
            report_every: Duration::from_secs(2),
            clock: clock.as_ref(),
        };
        let mut report = Report::new(&progress, &context.stop);
        let exported = dock::export(client, &options, &mut report)?;
        progress.finish();
        Ok(exported)
    }
}
