//! `packmule seed prepare`.

use super::drives::{Writing, drive_specs, show_prepared};
use super::rates::Report;
use crate::context::{Context, RepoOptions, state_folder};
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::Progress;
use clap::Args;
use model::{ByteSize, ErrorKind};
use repo::LockMode;
use seed::{Options, PlainReads, SigningKey};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use store::{Rate, RateLimit, SystemClock};

/// Write a drive set from a repository
///
/// As few of the drives as can hold everything are written, all at once, each at its full rate; the
/// others stay empty. When drives run out, run the same command with more of them: nothing is copied
/// twice. Each drive is read back before it is sealed.
///
/// Example: packmule seed prepare -r /srv/backup --drive /mnt/d1 --drive /mnt/d2
#[derive(Args, Debug)]
pub(crate) struct Prepare {
    #[command(flatten)]
    repo: RepoOptions,
    /// Where a drive's file system is mounted; may be repeated
    #[arg(long, required = true, value_name = "PATH", num_args = 1..)]
    drive: Vec<PathBuf>,
    /// Bytes of a drive that may be used: one for all, or one for each drive [default: what is free]
    #[arg(long, value_name = "SIZE", value_delimiter = ',')]
    capacity: Vec<ByteSize>,
    #[command(flatten)]
    writing: Writing,
    /// Parity drives: how many drives may be lost. This version writes none
    #[arg(long, value_name = "K", default_value_t = 0)]
    parity: u32,
    /// Where state is kept: signing key, seeds, journals of interrupted backups
    #[arg(long, env = "PACKMULE_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// Only say what would go where
    #[arg(long)]
    dry_run: bool,
    /// Format block devices without asking. This version takes mounted folders, and formats nothing
    #[arg(long)]
    yes: bool,
}

impl Prepare {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        if self.parity > 0 {
            let words = "this version writes no parity drives; run it without --parity";
            return Err(Failure::new(ErrorKind::Invalid, words));
        }
        let repository = context.repository(&self.repo)?;
        let specs = drive_specs(&self.drive, &self.capacity)?;
        // Nothing may be pruned away while it is copied.
        let lock = repository.lock(LockMode::Shared)?;
        if self.dry_run {
            return self.plan(context, &repository, &specs);
        }
        let state = state_folder(self.state.as_deref())?;
        store::durable::create_folder(&state, 0o700)
            .map_err(|e| Failure::io("making", &state, e))?;
        let signer = SigningKey::load_or_create(&state.join("signing.key"))?;
        let folder = state.join("standalone").join(repository.identity().to_hex());
        let progress = Progress::new(&context.printer, "writing drives");
        let options = Options {
            state: &folder,
            signer: &signer,
            seed: None,
            set: 0,
            now: jiff::Timestamp::now(),
            read_back: &PlainReads,
            filling: self.writing.filling(),
        };
        let mut store = Arc::clone(repository.store());
        if self.writing.limit_rate() > 0 {
            let rate = Rate::new(self.writing.limit_rate());
            store = Arc::new(RateLimit::new(store, rate, Arc::new(SystemClock::new())));
        }
        let mut report = Report::new(&progress, &context.stop);
        let prepared = seed::prepare(&options, &[&store], &specs, &mut report)?;
        lock.check()?;
        progress.finish();
        show_prepared(context, &prepared);
        Ok(if !prepared.problems.is_empty() {
            Status::Partial
        } else if prepared.is_complete() {
            Status::Done
        } else {
            Status::DriveMissing
        })
    }

    /// The same plan that preparing makes, printed.
    fn plan(
        &self,
        context: &Context,
        repository: &repo::Repository,
        specs: &[seed::DriveSpec],
    ) -> Outcome {
        let frozen = seed::freeze(&[repository.store().as_ref()])?;
        // 44 bytes an object, and room for header and signature.
        let inventory = 44 * frozen.objects.len() as u64 + (64 << 10);
        let rooms: Vec<seed::Room> = specs
            .iter()
            .map(|spec| {
                Ok(seed::Room::new(
                    spec.capacity.map_or_else(|| free(&spec.folder), Ok)?,
                    inventory,
                ))
            })
            .collect::<Result<_, Failure>>()?;
        let plan = seed::plan(&frozen.objects, &rooms, inventory, self.writing.filling()).map_err(
            |large| {
                let words = format!(
                    "one object needs {}, the largest drive has {}",
                    ByteSize(large.needed),
                    ByteSize(large.largest)
                );
                Failure::new(ErrorKind::Full, words)
            },
        )?;
        for (spec, objects) in specs.iter().zip(&plan.drives) {
            let bytes = objects.iter().map(|object| object.length).sum();
            context.printer.line(format!(
                "{}: {} objects, {}",
                spec.folder.display(),
                objects.len(),
                ByteSize(bytes)
            ));
            let object = json!({"path": spec.folder, "objects": objects.len(), "bytes": bytes});
            context.printer.object("planned_drive", &object);
        }
        if let Some(shortfall) = plan.shortfall {
            context.printer.line(format!(
                "{} more drives of {} are needed",
                shortfall.drives,
                ByteSize(shortfall.drive_capacity)
            ));
        }
        context.printer.object(
            "summary",
            &json!({"remaining_objects": plan.rest.len(), "drives_missing": plan.shortfall.map(|s| s.drives)}),
        );
        Ok(if plan.rest.is_empty() { Status::Done } else { Status::DriveMissing })
    }
}

fn free(folder: &std::path::Path) -> Result<u64, Failure> {
    let stat = rustix::fs::statvfs(folder)
        .map_err(|errno| Failure::io("looking at", folder, std::io::Error::from(errno)))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
