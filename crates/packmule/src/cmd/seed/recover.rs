//! `packmule seed recover`: seeds under way of which this machine has lost what it knew.

use crate::cmd::agent::{StateOptions, with_agent};
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use agent::Recovered;
use clap::Args;
use serde_json::json;
use std::path::Path;

/// Find seeds again that are on their way, after the state directory was lost
///
/// For a machine that was rebuilt: packmule agent register --take-over does this by itself. What the server has of such seeds (import
/// jobs, manifests, list) makes their records anew; the passphrase, or the recovery kit, opens the repository once it has arrived. The
/// next backup has it published, checks the receipt, and goes on over the network.
///
/// Until then nothing is backed up, as nobody here can tell what travels; with the staging location, which still has it, backups
/// go on meanwhile, and what the vault asks for can be sent.
///
/// Example: packmule seed recover
/// Example: packmule seed recover --staging /mnt/staging
#[derive(Args, Debug)]
pub(crate) struct Recover {
    /// The staging location that its drives were written from, where it is still there
    #[arg(long, value_name = "DIR")]
    staging: Option<String>,
    #[command(flatten)]
    state: StateOptions,
}

impl Recover {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let found = recover(context, &self.state.state, self.staging.as_deref())?;
        if found.is_empty() {
            context.printer.line("no seed of this server is on its way that is not known here");
        }
        context.printer.object("summary", &json!({"seeds": found.len()}));
        Ok(Status::Done)
    }
}

/// Finds them, and says what was found.
pub(crate) fn recover(
    context: &Context,
    state: &Path,
    staging: Option<&str>,
) -> Result<Vec<Recovered>, Failure> {
    let found = with_agent(context, state, "looking for seeds", |agent| {
        agent::recover_seeds(agent, staging)
    })?;
    let printer = &context.printer;
    for seed in &found {
        let jobs: Vec<&str> = seed.jobs.iter().map(model::JobName::as_str).collect();
        printer.line(format!(
            "seed {}: {}, found again by import job {}",
            seed.seed,
            seed.state.name(),
            jobs.join(", ")
        ));
        match &seed.staging {
            Some(staging) => printer.line(format!("  its staging location is {}", staging.display())),
            None => printer.line(
                "  nothing of it can be restored, and nothing is backed up, before its drives have arrived; if its staging location is still there: packmule seed recover --staging DIR",
            ),
        }
        let object = json!({
            "seed": seed.seed, "state": seed.state.name(), "jobs": jobs,
            "groups": seed.groups, "staging": seed.staging,
        });
        printer.object("recovered", &object);
    }
    Ok(found)
}
