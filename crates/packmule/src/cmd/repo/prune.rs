//! `packmule repo prune`, and the rendering of any prune.

use super::target::Target;
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::{Progress, duration};
use agent::Asking;
use clap::Args;
use model::{ByteSize, Digest};
use repo::{
    LockGuard, LockMode, MaxUnused, PruneEvent, PruneFigures, PruneOptions, Repository,
    WriterOptions,
};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;
use wire::DeletionRequest;

/// Remove what no snapshot needs any more
///
/// Packs of which nothing is needed go; what is left of packs that are mostly waste is packed anew. Every blob that
/// is packed anew is verified before its old pack goes. Where anything that a snapshot needs is missing or damaged, nothing is removed, and the exit code is 4. Nobody else
/// may use the repository meanwhile: exit code 11 otherwise. A prune that was interrupted has lost nothing; run it again. Of a repository
/// in a vault (--credentials), the vault is asked for what goes, and holds it for days.
///
/// Example: packmule repo prune -r /srv/backup --dry-run
/// Example: packmule repo prune --credentials fs01-maintenance.json
#[derive(Args, Debug)]
pub(crate) struct Prune {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    how: PruneHow,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// How much is packed anew.
#[derive(Args, Debug, Clone)]
pub(crate) struct PruneHow {
    /// How much waste may stay: a share of the repository, a size, or `unlimited` to pack nothing anew for it
    #[arg(long, value_name = "LIMIT", default_value = "5%", value_parser = max_unused)]
    max_unused: MaxUnused,
    /// Read at most this much of packs to pack them anew; 0 needs hardly any room [default: no limit]
    #[arg(long, value_name = "SIZE")]
    max_repack_size: Option<ByteSize>,
    /// Join packs smaller than this, up to 16 MiB, once there are ten [default: 1M]
    #[arg(long, value_name = "SIZE", value_parser = small)]
    repack_smaller_than: Option<ByteSize>,
    /// Pack only packs of directories anew, which are a small part of a repository
    #[arg(long)]
    repack_cacheable_only: bool,
}

fn max_unused(text: &str) -> Result<MaxUnused, String> {
    text.parse()
}

fn small(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse().map_err(|e: model::SizeError| e.to_string())?;
    let largest = WriterOptions::default().pack_size as u64;
    if size.0 <= largest { Ok(size) } else { Err(format!("packs have {}", ByteSize(largest))) }
}

impl Prune {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let opened = self.target.open(context)?;
        let repository = &opened.repository;
        let mode = if self.dry_run { LockMode::Shared } else { LockMode::Exclusive };
        let lock = repository.lock(mode)?;
        let mut asking = opened.asking(context, &lock)?;
        let what =
            Pruned { repository, lock: &lock, without: &HashSet::new(), dry_run: self.dry_run };
        let summary = run_prune(context, what, &self.how, asking.as_mut())?;
        if !self.dry_run {
            self.target.asked(context, asking)?;
        }
        context.printer.object("summary", &summary);
        Ok(Status::Done)
    }
}

/// What is pruned.
#[derive(Clone, Copy)]
pub(crate) struct Pruned<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) lock: &'a LockGuard,
    /// Snapshots that count as gone.
    pub(crate) without: &'a HashSet<Digest>,
    pub(crate) dry_run: bool,
}

/// Prunes, or says what that would do, showing progress; has the vault asked for what goes where there is one. Answers the summary for
/// scripts.
pub(crate) fn run_prune(
    context: &Context,
    Pruned { repository, lock, without, dry_run }: Pruned<'_>,
    how: &PruneHow,
    asking: Option<&mut Asking<'_>>,
) -> Result<Value, Failure> {
    let progress = Progress::new(&context.printer, "pruning");
    let events = |event: PruneEvent| show(&progress, event);
    let options = PruneOptions {
        max_unused: how.max_unused,
        max_repack: how.max_repack_size.map(|size| size.0),
        small: how.repack_smaller_than.map(|size| size.0),
        trees_only: how.repack_cacheable_only,
        without,
        pending: &[],
        writer: WriterOptions::default(),
        threads: context.threads,
        stop: &context.stop,
        events: &events,
    };
    let plan = repository.plan_prune(lock, &options)?;
    let figures = plan.figures();
    if !dry_run {
        let removals = plan.write()?;
        match asking {
            None => removals.carry_out(lock, &options)?,
            Some(asking) => asking.ask(&DeletionRequest {
                reason: "repo prune, by a maintenance host: no snapshot needs these".to_owned(),
                indexes: removals.indexes,
                packs: removals.packs,
                ..DeletionRequest::default()
            })?,
        }
    }
    let elapsed = progress.finish();
    tell(context, &figures, dry_run, elapsed);
    Ok(summary(&figures, dry_run, elapsed))
}

fn show(progress: &Progress<'_>, event: PruneEvent) {
    match event {
        PruneEvent::Snapshots { count } => {
            progress.note(&format!("looking for what {count} snapshots need"));
        }
        PruneEvent::Reading { packs, bytes } => progress.total(bytes, packs as u64),
        PruneEvent::PackRead { bytes } => {
            progress.item();
            progress.bytes(bytes);
        }
        PruneEvent::Indexing => progress.note("writing indexes anew"),
        PruneEvent::Removing { indexes, packs } => {
            progress.note(&format!("removing {indexes} indexes and {packs} packs"));
        }
        PruneEvent::Removed => {}
    }
}

fn tell(context: &Context, figures: &PruneFigures, dry_run: bool, elapsed: Duration) {
    let printer = &context.printer;
    let size = ByteSize;
    printer.line(format!(
        "{} snapshots need {} blobs, {}; nobody needs {} blobs, {}, of which {} are second copies",
        figures.snapshots,
        figures.used_blobs,
        size(figures.used_bytes),
        figures.unused_blobs,
        size(figures.unused_bytes),
        figures.duplicate_blobs
    ));
    printer.line(format!(
        "packs: {} stay, {} go ({}), {} are packed anew ({}, of which {} stay), {} are in no index ({})",
        figures.packs_kept,
        figures.packs_removed,
        size(figures.bytes_removed),
        figures.packs_repacked,
        size(figures.bytes_repacked),
        size(figures.bytes_written),
        figures.packs_unindexed,
        size(figures.bytes_unindexed)
    ));
    if figures.packs_missing > 0 {
        printer.line(format!(
            "{} packs are gone that nobody needs: no index names them any more",
            figures.packs_missing
        ));
    }
    let freed = size(figures.bytes_freed());
    let tolerated = size(figures.bytes_tolerated);
    if dry_run {
        printer.line(format!(
            "would free {freed}, and leave {tolerated} of waste; nothing was changed"
        ));
    } else {
        printer
            .line(format!("freed {freed} in {}; {tolerated} of waste are left", duration(elapsed)));
    }
}

fn summary(figures: &PruneFigures, dry_run: bool, elapsed: Duration) -> Value {
    json!({
        "dry_run": dry_run,
        "snapshots": figures.snapshots,
        "used_blobs": figures.used_blobs,
        "used_bytes": figures.used_bytes,
        "unused_blobs": figures.unused_blobs,
        "unused_bytes": figures.unused_bytes,
        "duplicate_blobs": figures.duplicate_blobs,
        "packs_kept": figures.packs_kept,
        "packs_removed": figures.packs_removed,
        "bytes_removed": figures.bytes_removed,
        "packs_repacked": figures.packs_repacked,
        "bytes_repacked": figures.bytes_repacked,
        "bytes_written": figures.bytes_written,
        "packs_unindexed": figures.packs_unindexed,
        "bytes_unindexed": figures.bytes_unindexed,
        "packs_missing": figures.packs_missing,
        "bytes_freed": figures.bytes_freed(),
        "bytes_tolerated": figures.bytes_tolerated,
        "seconds_elapsed": elapsed.as_secs_f64(),
    })
}
