//! `packmule seed refill`: what is lost on its way and gone from staging, made anew from the source.

use crate::cmd::agent::{StateOptions, with_agent};
use crate::context::{Context, PasswordOptions};
use crate::exit::Status as Exit;
use crate::failure::Outcome;
use agent::{Refilled, Refilling};
use clap::Args;
use model::ByteSize;
use serde_json::json;
use std::path::PathBuf;
use wire::SeedId;

/// Files named on the screen; all are told with --json, and are in the state folder once published without.
const NAMED: usize = 1000;

/// Make anew, from the source, what the vault asks for and nothing here has any more
///
/// Only files with something lost are read, and only what was lost is stored: in the staging folder, or the one that
/// --packs names, from where packmule seed send or a next drive brings it. A seed that went straight onto its drives has it in the
/// state directory, where that is not said otherwise. Where the source has all of it, recovery points stay as they were. Files that it has
/// not as they were backed up are named, with exit code 3; with --publish-repaired the recovery points are published
/// without these files, as new ones that are labelled so. Recovery points that were made while the seed travelled are not published
/// then, and the next backup makes a complete one. An interrupted call goes on.
///
/// Example: packmule seed refill --dry-run
/// Example: packmule seed refill
/// Example: packmule seed refill --packs /mnt/large/packs
/// Example: packmule seed refill --publish-repaired
#[derive(Args, Debug)]
pub(crate) struct Refill {
    /// Only of this seed
    #[arg(long, value_name = "SEED")]
    seed: Option<SeedId>,
    /// Publish recovery points without the files that cannot be had any more
    #[arg(long)]
    publish_repaired: bool,
    /// Only say which files would be read
    #[arg(long, conflicts_with = "publish_repaired")]
    dry_run: bool,
    /// Put new packs into this folder, now and by later calls
    #[arg(long, value_name = "FOLDER")]
    packs: Option<PathBuf>,
    /// Bytes a second that are written there at most, such as 10M; 0 for no limit
    #[arg(long, value_name = "BYTES", default_value = "0")]
    limit_rate: ByteSize,
    #[command(flatten)]
    password: PasswordOptions,
    #[command(flatten)]
    state: StateOptions,
}

impl Refill {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let what = Refilling {
            seed: self.seed,
            repaired: self.publish_repaired,
            packs: self.packs.clone(),
            limit_rate: self.limit_rate.0,
            dry_run: self.dry_run,
        };
        let password = self.password.read(context, false)?;
        let done = with_agent(context, &self.state.state, "making anew", |agent| {
            agent::refill(agent, &what, password.as_bytes())
        })?;
        if self.dry_run {
            show_plan(context, &done);
            return Ok(Exit::Done);
        }
        show_refilled(context, &done);
        object(context, &done, "summary");
        if done.revision.is_some() {
            context.printer.line(
                "next: packmule seed send, packmule diskprep … --missing, or packmule backup now GROUP, which sends and publishes",
            );
        } else {
            context.printer.line(
                "next: bring these files back and run this again, or publish without them: packmule seed refill --publish-repaired",
            );
        }
        Ok(exit_of(&done))
    }
}

/// What is lost for good is a problem, whatever was chosen.
pub(crate) fn exit_of(done: &Refilled) -> Exit {
    if done.lost.is_empty() { Exit::Done } else { Exit::Partial }
}

fn show_plan(context: &Context, done: &Refilled) {
    let printer = &context.printer;
    let bytes = done.lost.iter().map(|file| file.size).sum();
    printer.line(format!(
        "seed {}: {} packs are gone; {} files of {} have something in them, and would be read where that was",
        done.seed,
        done.gone.len(),
        done.lost.len(),
        ByteSize(bytes)
    ));
    show_files(context, done, "file");
    object(context, done, "summary");
}

/// Renders what was made anew, and what could not be; why files could not be read was told as it happened.
pub(crate) fn show_refilled(context: &Context, done: &Refilled) {
    let printer = &context.printer;
    printer.line(format!(
        "seed {}: {} packs are gone; what the source has of them is in {} new packs ({}) in {}",
        done.seed,
        done.gone.len(),
        done.packs,
        ByteSize(done.bytes),
        done.folder.display()
    ));
    if !done.lost.is_empty() {
        printer.line(format!(
            "{} files cannot be had as they were backed up, neither from here nor from the source:",
            done.lost.len()
        ));
    }
    show_files(context, done, "lost_file");
    for (old, new) in &done.repaired {
        printer.line(format!(
            "recovery point {} is published as {}, without these files, labelled '{}'",
            old.short(),
            new.short(),
            backup::REPAIRED
        ));
    }
    match done.revision {
        Some(number) if done.lost.is_empty() => printer.line(format!(
            "the seed goes by revision {number}; its recovery points are what they were"
        )),
        Some(number) if done.repaired.is_empty() => printer.line(format!(
            "the seed goes by revision {number}, and lacks nothing; recovery points that were made while it travelled are not published: the next backup makes a complete one"
        )),
        Some(number) => printer.line(format!("the seed goes by revision {number}")),
        None => printer.line("nothing was changed: the seed waits for your choice"),
    }
    object(context, done, "refilled");
}

fn show_files(context: &Context, done: &Refilled, message_type: &str) {
    let printer = &context.printer;
    for (file, at) in done.lost.iter().zip(0..) {
        if at < NAMED {
            printer.line(format!("  {} ({})", file.path.display(), ByteSize(file.size)));
        }
        let object = json!({
            "seed": done.seed, "path": file.path.display().to_string(), "bytes": file.size,
            "snapshot": file.snapshot, "missing_parts": file.missing,
        });
        printer.object(message_type, &object);
    }
    if done.lost.len() > NAMED {
        printer.line(format!("  and {} more: --json names all", done.lost.len() - NAMED));
    }
}

fn object(context: &Context, done: &Refilled, message_type: &str) {
    let repaired: Vec<_> =
        done.repaired.iter().map(|(old, new)| json!({"snapshot": old, "as": new})).collect();
    let object = json!({
        "seed": done.seed, "gone_packs": done.gone.len(),
        "gone_bytes": done.gone.iter().map(|object| object.length).sum::<u64>(),
        "folder": done.folder.display().to_string(), "made_packs": done.packs, "made_bytes": done.bytes, "files": done.lost.len(),
        "unreadable": done.problems.len(), "repaired": repaired, "revision": done.revision,
    });
    context.printer.object(message_type, &object);
}
