//! `packmule repo check`.

use crate::context::{Context, RepoOptions};
use crate::exit::Status;
use crate::failure::Outcome;
use crate::ui::{Progress, duration};
use clap::Args;
use model::ByteSize;
use repo::{CheckEvent, CheckOptions, LockMode};
use serde_json::json;

/// Check that everything is there and what it must be
///
/// Exit code 4 when something is damaged; every finding names what it is about.
///
/// Example: packmule repo check -r /srv/backup --read-data
#[derive(Args, Debug)]
pub(crate) struct Check {
    #[command(flatten)]
    repo: RepoOptions,
    /// Read every pack and verify every blob in it
    #[arg(long)]
    read_data: bool,
    /// Take no lock: for a repository on a medium that cannot be written to
    #[arg(long)]
    no_lock: bool,
}

impl Check {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let repository = context.repository(&self.repo)?;
        let _lock = if self.no_lock { None } else { Some(repository.lock(LockMode::Shared)?) };
        let progress = Progress::new(&context.printer, "checking");
        let events = |event: CheckEvent<'_>| match event {
            CheckEvent::Snapshots { count } => {
                progress.note(&format!("checking {count} snapshots"));
            }
            CheckEvent::Reading { packs, bytes } => progress.total(bytes, packs as u64),
            CheckEvent::PackRead { bytes } => {
                progress.item();
                progress.bytes(bytes);
            }
            CheckEvent::Found(finding) if finding.is_damage() => {
                progress.problem("damaged", &finding.to_string());
            }
            CheckEvent::Found(finding) => progress.note(&finding.to_string()),
        };
        let options = CheckOptions { read_data: self.read_data, threads: context.threads };
        let report = repository.check(options, &events)?;
        let elapsed = progress.finish();
        let damaged = report.findings.iter().filter(|finding| finding.is_damage()).count();
        context.printer.line(format!(
            "{} snapshots, {} trees, {} packs; {} packs ({}) read in {}: {}",
            report.snapshots,
            report.trees,
            report.packs,
            report.packs_read,
            ByteSize(report.bytes_read),
            duration(elapsed),
            if damaged == 0 { "no damage found".to_owned() } else { format!("{damaged} findings") }
        ));
        context.printer.object(
            "summary",
            &json!({
                "snapshots": report.snapshots,
                "trees": report.trees,
                "packs": report.packs,
                "packs_read": report.packs_read,
                "bytes_read": report.bytes_read,
                "damaged": damaged,
                "findings": report.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "seconds_elapsed": elapsed.as_secs_f64(),
            }),
        );
        Ok(if report.damaged() { Status::Damaged } else { Status::Done })
    }
}
