//! `packmule repo restore`, and the rendering of any restore.

use crate::context::{Context, RepoOptions};
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::{Progress, duration};
use backup::{RestoreEvent, RestoreOptions};
use clap::Args;
use model::ByteSize;
use repo::{LockMode, NamedSnapshot, Repository};
use serde_json::json;
use std::path::PathBuf;

/// Restore a snapshot into a folder
///
/// Nothing outside the folder is touched. A file that the repository cannot give back whole is left
/// out and named, and the exit code is 3.
///
/// Example: packmule repo restore -r /srv/backup latest --target /tmp/restored
#[derive(Args, Debug)]
pub(crate) struct Restore {
    #[command(flatten)]
    repo: RepoOptions,
    /// A snapshot's id or an unambiguous beginning of it, or `latest`; with `:/PATH` behind it, only
    /// what is below that path, straight into the target
    snapshot: String,
    #[command(flatten)]
    wanted: Wanted,
    /// Take no lock: for a repository on a medium that cannot be written to
    #[arg(long)]
    no_lock: bool,
}

/// How to restore.
#[derive(Args, Debug, Clone)]
pub(crate) struct Wanted {
    /// The folder to restore into; made when it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) target: PathBuf,
    /// Allow a target that is not empty; what has the same name is replaced
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Owners by name, as this machine knows them, instead of by number
    #[arg(long)]
    pub(crate) owner_by_name: bool,
}

impl Restore {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let (text, below) = match self.snapshot.split_once(':') {
            Some((text, below)) => (text, Some(PathBuf::from(below))),
            None => (self.snapshot.as_str(), None),
        };
        let repository = context.repository(&self.repo)?;
        let _lock = if self.no_lock { None } else { Some(repository.lock(LockMode::Shared)?) };
        let named = repository.find_snapshot(text)?;
        run_restore(context, &repository, &named, below, &self.wanted)
    }
}

/// Restores, showing progress, problems and summary.
pub(crate) fn run_restore(
    context: &Context,
    repository: &Repository,
    named: &NamedSnapshot,
    below: Option<PathBuf>,
    wanted: &Wanted,
) -> Result<Status, Failure> {
    let index = repository.load_index()?;
    for fault in &index.damaged {
        context.printer.problem("index", &fault.to_string());
    }
    let progress = Progress::new(&context.printer, "restoring");
    let events = |event: RestoreEvent<'_>| match event {
        RestoreEvent::Total { files, bytes } => progress.total(bytes, files),
        RestoreEvent::Bytes(bytes) => progress.bytes(bytes),
        RestoreEvent::File => progress.item(),
        RestoreEvent::Problem(problem) => {
            progress.problem(&problem.path.display().to_string(), &problem.fault.to_string());
        }
    };
    let options = RestoreOptions {
        target: wanted.target.clone(),
        below,
        overwrite: wanted.overwrite,
        owner_by_name: wanted.owner_by_name,
        threads: context.threads,
        stop: &context.stop,
        events: &events,
    };
    let outcome = backup::restore(repository, &index.value, named.snapshot.tree, &options)?;
    let elapsed = progress.finish();
    context.printer.line(format!(
        "restored {} files, {} directories and {} others, {} in {}, from snapshot {} to {}",
        outcome.files,
        outcome.dirs,
        outcome.others,
        ByteSize(outcome.bytes),
        duration(elapsed),
        named.id.short(),
        wanted.target.display()
    ));
    context.printer.object(
        "summary",
        &json!({
            "snapshot_id": named.id,
            "target": wanted.target,
            "files_restored": outcome.files,
            "dirs_restored": outcome.dirs,
            "others_restored": outcome.others,
            "bytes_restored": outcome.bytes,
            "seconds_elapsed": elapsed.as_secs_f64(),
            "problems": outcome.problems.len(),
        }),
    );
    let sound = outcome.problems.is_empty() && index.damaged.is_empty();
    Ok(if sound { Status::Done } else { Status::Partial })
}
