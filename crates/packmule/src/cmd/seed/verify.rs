//! `packmule seed verify`.

use super::rates::Report;
use super::readers::{ReadOptions, Readers};
use crate::context::Context;
use crate::exit::Status;
use crate::failure::Outcome;
use crate::ui::Progress;
use clap::Args;
use model::ByteSize;
use seed::{DriveRole, Fingerprint, Trust};
use serde_json::json;

/// Verify sealed drives: every object by its name, every extent, the signature
///
/// Exit code 4 when something is damaged or missing.
///
/// Example: packmule seed verify --drive /dev/sdb --signer 0123-4567-89ab-cdef-0123-4567-89ab-cdef
#[derive(Args, Debug)]
pub(crate) struct Verify {
    #[command(flatten)]
    drives: ReadOptions,
    /// Fingerprint of the signer, as whoever prepared the drives was shown it
    #[arg(long, value_name = "FINGERPRINT")]
    signer: Option<Fingerprint>,
}

impl Verify {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let readers = self.drives.open(&context.terminal())?;
        let status = self.look(context, &readers);
        readers.leave(context);
        status
    }

    fn look(&self, context: &Context, readers: &Readers) -> Outcome {
        let trust = self.signer.map_or(Trust::AsFound, Trust::Fingerprint);
        let mut status = Status::Done;
        let mut failure = None;
        for folder in &readers.folders {
            let name = readers.name(folder);
            let progress = Progress::new(&context.printer, format!("verifying {}", name.display()));
            match seed::verify(folder, &trust, &mut Report::new(&progress, &context.stop)) {
                Ok(report) => {
                    progress.finish();
                    show(context, &name, &report);
                    if !report.is_intact() {
                        status = Status::Damaged;
                    }
                }
                // The other drives are still worth looking at.
                Err(error) => {
                    progress.finish();
                    let error = crate::failure::Failure::from(error);
                    context.printer.problem(&name.display().to_string(), &error.chain().join(": "));
                    failure.get_or_insert(error);
                }
            }
        }
        match failure {
            Some(failure) => Err(failure),
            None => Ok(status),
        }
    }
}

fn show(context: &Context, folder: &std::path::Path, report: &seed::Report) {
    let verdict = if report.is_intact() { "intact" } else { "damaged" };
    let trusted = if report.trusted {
        ""
    } else {
        " (not compared: give --signer to know whose drive this is)"
    };
    let printer = &context.printer;
    let holds = match report.label.role {
        DriveRole::Data => format!("{} objects, {}", report.objects, ByteSize(report.bytes)),
        DriveRole::Parity => "parity".to_owned(),
    };
    let serial = &report.label.serial;
    printer.line(format!("{}: drive {serial}, {holds}: {verdict}", folder.display()));
    if !report.extents.is_empty() {
        let count: u64 = report.extents.iter().map(|range| range.end - range.start).sum();
        printer.line(format!("  {count} MiB of it are damaged"));
    }
    printer.line(format!("  signer: {}{trusted}", report.signer));
    for problem in &report.problems {
        printer.line(format!("  {}: {}", problem.key, problem.reason));
    }
    if !report.inventory {
        printer.line("  the seed's inventory is missing or damaged");
    }
    if !report.copies {
        printer.line("  what it has of the drives that it covers is missing or damaged");
    }
    if report.extra_count > 0 {
        printer.line(format!(
            "  {} files that nobody signed for were not looked at",
            report.extra_count
        ));
    }
    printer.object(
        "drive",
        &json!({
            "path": folder,
            "serial": report.label.serial,
            "role": report.label.role,
            "seed": report.label.seed,
            "signer": report.signer.to_string(),
            "trusted": report.trusted,
            "intact": report.is_intact(),
            "objects": report.objects,
            "bytes": report.bytes,
            "problems": report.problems.iter().map(|p| json!({"object": p.key.path(), "reason": p.reason.to_string()})).collect::<Vec<_>>(),
            "damaged_extents": report.extents.iter().map(|range| [range.start, range.end]).collect::<Vec<_>>(),
            "extra_files": report.extra_count,
        }),
    );
}
