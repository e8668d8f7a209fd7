//! `packmule repo stats`.

use super::which::Which;
use crate::context::{Context, RepoOptions};
use crate::exit::Status;
use crate::failure::Outcome;
use clap::Args;
use model::ByteSize;
use repo::{LockMode, StatsOptions};
use serde_json::json;

/// Count what snapshots hold, and what the repository needs for it
///
/// Example: packmule repo stats -r /srv/backup
#[derive(Args, Debug)]
pub(crate) struct Stats {
    #[command(flatten)]
    repo: RepoOptions,
    /// Snapshots to count: `latest`, ids or unambiguous beginnings of these [default: all]
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    #[command(flatten)]
    which: Which,
    /// Take no lock: for a repository on a medium that cannot be written to
    #[arg(long)]
    no_lock: bool,
}

impl Stats {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let repository = context.repository(&self.repo)?;
        let _lock = if self.no_lock { None } else { Some(repository.lock(LockMode::Shared)?) };
        let (mut snapshots, mut problems) = (Vec::new(), Vec::new());
        if self.snapshots.is_empty() {
            let loaded = repository.snapshots()?;
            snapshots = loaded.value;
            problems = loaded.damaged;
        }
        for text in &self.snapshots {
            snapshots.push(repository.find_snapshot(text)?);
        }
        let filter = self.which.filter();
        snapshots.retain(|named| filter.passes(&named.snapshot));
        let options = StatsOptions { threads: context.threads, stop: &context.stop };
        let stats = repository.stats(&snapshots, options)?;
        let size = ByteSize;
        let printer = &context.printer;
        printer.line(format!(
            "{} snapshots with {} files, {} to restore",
            stats.snapshots,
            stats.files,
            size(stats.restore_bytes)
        ));
        printer.line(format!(
            "{} blobs with {}, stored as {}",
            stats.blobs,
            size(stats.plain_bytes),
            size(stats.stored_bytes)
        ));
        printer.line(format!(
            "the repository has {} packs, {}",
            stats.packs,
            size(stats.pack_bytes)
        ));
        problems.extend(stats.problems);
        for fault in &problems {
            printer.problem("not counted", &fault.to_string());
        }
        printer.object(
            "summary",
            &json!({
                "snapshots": stats.snapshots,
                "files": stats.files,
                "restore_bytes": stats.restore_bytes,
                "blobs": stats.blobs,
                "plain_bytes": stats.plain_bytes,
                "stored_bytes": stats.stored_bytes,
                "packs": stats.packs,
                "pack_bytes": stats.pack_bytes,
                "problems": problems.len(),
            }),
        );
        Ok(if problems.is_empty() { Status::Done } else { Status::Damaged })
    }
}
