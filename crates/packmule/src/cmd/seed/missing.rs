//! `packmule seed missing`.

use crate::context::Context;
use crate::exit::Status;
use crate::failure::Outcome;
use clap::Args;
use model::ByteSize;
use serde_json::json;

/// List what is still wanted of the seeds that wait in a folder, by name
///
/// Exit code 13 while something is missing.
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
