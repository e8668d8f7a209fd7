//! `packmule seed missing`.

use crate::context::Context;
use crate::exit::Status;
use crate::failure::Outcome;
use clap::Args;
use model::{ByteSize, DriveSerial};
use serde_json::json;

/// List what is still wanted of the seeds that wait in a folder, by name
///
/// Exit code 13 while something is missing. What drives of an export did not bring is fetched by `packmule export fetch`, or asked for on further
/// drives with what this says with --json: `packmule export again`.
///
/// Example: packmule seed missing --into /srv/vault
#[derive(Args, Debug)]
pub(crate) struct Missing {
    /// The folder that drives were taken into
    #[arg(long, value_name = "LOCATION")]
    into: String,
}

impl Missing {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let seeds = seed::missing(&super::import::folder(&self.into)?)?;
        if seeds.is_empty() {
            context.printer.line("no seed waits here: nothing is missing");
        }
        for missing in &seeds {
            show(context, missing);
        }
        let count: usize = seeds.iter().map(|missing| missing.wanted.len()).sum();
        context.printer.object("summary", &json!({"seeds": seeds.len(), "missing_objects": count}));
        Ok(if seeds.is_empty() { Status::Done } else { Status::DriveMissing })
    }
}

/// Renders what one seed lacks.
pub(crate) fn show(context: &Context, missing: &seed::Missing) {
    let bytes = missing.wanted.iter().map(|wanted| wanted.length).sum();
    let printer = &context.printer;
    printer.line(format!(
        "seed {}: {} of {} objects ({}) are missing",
        missing.seed,
        missing.wanted.len(),
        missing.objects,
        ByteSize(bytes)
    ));
    if !missing.inventory {
        printer.line("  its whole list is not known yet: at least one more drive is to come");
    }
    for of in &missing.by_job {
        show_job(context, missing, of);
    }
    for wanted in &missing.wanted {
        printer.line(format!("  {} {}", wanted.key, wanted.length));
        printer.object(
            "missing",
            &json!({
                "seed": missing.seed,
                "repository": wanted.repository,
                "object": wanted.key.path(),
                "length": wanted.length,
            }),
        );
    }
}

/// What one of several export jobs still has to bring.
fn show_job(context: &Context, missing: &seed::Missing, of: &seed::OfJob) {
    let printer = &context.printer;
    let (job, number) = (&of.job, of.set + 1);
    let known: Vec<&str> = of.drives.iter().map(DriveSerial::as_str).collect();
    let where_from = match (known.as_slice(), of.unknown) {
        ([], _) => "on drives of it that were not here".to_owned(),
        (known, 0) => format!("on drives {}", known.join(", ")),
        (known, _) => {
            format!("on drives {}, and on drives of it that were not here", known.join(", "))
        }
    };
    printer.line(format!(
        "  export job {job}, {number} of {}: {} objects ({}) are missing, {where_from}; packmule job show {job} names its drives",
        of.jobs,
        of.objects,
        ByteSize(of.bytes)
    ));
    let object = json!({
        "seed": missing.seed, "job": job, "part": number, "parts": of.jobs,
        "objects": of.objects, "bytes": of.bytes, "drives": of.drives,
    });
    printer.object("missing_of_job", &object);
}
