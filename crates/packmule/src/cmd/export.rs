//! `packmule export`: recovery points of a vault by drive, asked for by whoever has the key.

mod again;

use super::agent::{StateOptions, with_agent};
use super::dock::show_job;
use crate::context::{Context, PasswordOptions};
use crate::exit::Status;
use crate::failure::Outcome;
use ::agent::{Asked, ExportPart, PlannedExport};
use clap::{Args, Subcommand};
use model::{AccountName, ByteSize, JobName};
use serde_json::json;

/// Recovery points of the vault, by drive
#[derive(Subcommand, Debug)]
pub(crate) enum Export {
    Create(Create),
    Again(again::Again),
    Fetch(again::Fetch),
}

/// Ask the data centre to write chosen recovery points onto drives
///
/// Run it where the vault's credentials and the repository's password are. It finds out which packs the recovery points
/// need, and creates an export job with that list: the data centre has no key, and could not. Then send empty drives
/// that can hold it: `packmule job ship NAME`. They come back encrypted; `packmule job keys NAME` shows their passwords and
/// `packmule job show NAME` who has signed them, `packmule seed import` takes them in. Where one drive holds it all, stock
/// restic reads it in place, as a repository in the drive's folder repositories/.
///
/// With --capacity, what the drives of one job cannot hold is asked for in several, NAME, NAME-2 and so on: each brings some of
/// the recovery points whole, and is sent for, taken in and restored by itself or with the others. A recovery point that is more than that
/// is brought by several jobs together: it is restored once the drives of all of them were taken in, in any order. The plan is shown
/// first.
///
/// Example: packmule export create restore-1 latest --storage-account seedacct
/// Example: packmule export create restore-1 latest 40dc1520 --capacity 8T --dry-run
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// The export job's name
    #[arg(value_name = "NAME")]
    name: JobName,
    /// Which: ids, unambiguous beginnings of them, or `latest`
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<String>,
    /// The storage account that the job lies with; nothing is put there [default: that of the newest seed]
    #[arg(long, value_name = "ACCOUNT")]
    storage_account: Option<AccountName>,
    /// Parity drives: how many drives may be lost on their way
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..10))]
    parity: u32,
    /// What one of the empty drives takes, such as 8T
    #[arg(long, value_name = "BYTES")]
    capacity: Option<ByteSize>,
    /// Drives of one job, parity included, at most
    #[arg(long, value_name = "N", requires = "capacity", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10))]
    set_drives: u32,
    /// Only say what is needed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    password: PasswordOptions,
    #[command(flatten)]
    state: StateOptions,
}

impl Export {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::Create(create) => create.run(context),
            Self::Again(again) => again.run(context),
            Self::Fetch(fetch) => fetch.run(context),
        }
    }
}

impl Create {
    fn run(&self, context: &Context) -> Outcome {
        let password = self.password.read(context, false)?;
        let asked = Asked {
            job: &self.name,
            snapshots: &self.snapshots,
            account: self.storage_account.as_ref(),
            parity: self.parity,
            capacity: self.capacity.map(|capacity| capacity.0),
            most: self.set_drives as usize,
        };
        let (plan, jobs) = with_agent(context, &self.state.state, "exporting", |agent| {
            let plan = ::agent::plan_export(agent, &asked, password.as_bytes())?;
            show_plan(context, &plan);
            let jobs = if self.dry_run { Vec::new() } else { plan.create(agent)? };
            Ok((plan, jobs))
        })?;
        for job in &jobs {
            show_job(context, job);
        }
        for job in &jobs {
            let name = &job.name;
            context
                .printer
                .note(format!("send empty drives that can hold that: packmule job ship {name}"));
        }
        // What an index that cannot be read names is not found here; all that was asked for is.
        Ok(if plan.damaged.is_empty() { Status::Done } else { Status::Partial })
    }
}

fn show_plan(context: &Context, plan: &PlannedExport) {
    let printer = &context.printer;
    for fault in &plan.damaged {
        printer.problem("index", &fault.to_string());
    }
    printer.line(format!(
        "{} snapshots need {} packs, {}",
        plan.snapshots.len(),
        plan.packs,
        ByteSize(plan.bytes)
    ));
    let object = json!({
        "snapshots": plan.snapshots, "packs": plan.packs, "bytes": plan.bytes,
        "jobs": plan.parts.len(),
    });
    printer.object("selection", &object);
    for part in plan.parts.iter().filter(|part| !part.drives.is_empty()) {
        show_part(context, part);
    }
}

fn show_part(context: &Context, part: &ExportPart) {
    let printer = &context.printer;
    let parity = match part.parity {
        0 => String::new(),
        count => format!(" and {count} for parity"),
    };
    let what = match part.part {
        None => format!("{} recovery points", part.snapshots.len()),
        Some(part) => format!("part {} of {} of a recovery point", part.set + 1, part.sets),
    };
    printer.line(format!(
        "{}: {what}, {} packs, {}: {} drives{parity}",
        part.job,
        part.packs,
        ByteSize(part.bytes),
        part.drives.len()
    ));
    for snapshot in &part.snapshots {
        printer.line(format!("  recovery point {}", snapshot.short()));
    }
    for (drive, number) in part.drives.iter().zip(1..) {
        let (objects, bytes) = (drive.objects, ByteSize(drive.bytes));
        printer.line(format!("  drive {number}: {objects} objects, {bytes}"));
    }
    let object = json!({
        "job": part.job, "snapshots": part.snapshots, "packs": part.packs, "bytes": part.bytes,
        "drives": part.drives, "parity": part.parity,
        "part": part.part.map(|part| part.set + 1), "parts": part.part.map(|part| part.sets),
    });
    printer.object("export_part", &object);
}
