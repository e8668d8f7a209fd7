//! `packmule export`: recovery points of a vault by drive, asked for by whoever has the key.

use super::agent::{StateOptions, with_agent};
use super::dock::show_job;
use crate::context::{Context, PasswordOptions};
use crate::exit::Status;
use crate::failure::Outcome;
use ::agent::Asked;
use clap::{Args, Subcommand};
use model::{AccountName, ByteSize, JobName};
use serde_json::json;

/// Recovery points of the vault, by drive
#[derive(Subcommand, Debug)]
pub(crate) enum Export {
    Create(Create),
}

/// Ask the data centre to write chosen recovery points onto drives
///
/// Run it where the vault's credentials and the repository's password are. It finds out which packs the recovery points
/// need, and creates an export job with that list: the data centre has no key, and could not. Then send empty drives
/// that can hold it: `packmule job ship NAME`. They come back encrypted; `packmule job keys NAME` shows their passwords and
/// `packmule job show NAME` who has signed them, `packmule seed import` takes them in. Where one drive holds it all, stock
/// restic reads it in place, as a repository in the drive's folder repositories/.
///
/// Example: packmule export create restore-1 latest --storage-account seedacct
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
            dry_run: self.dry_run,
        };
        let export = with_agent(context, &self.state.state, "exporting", |agent| {
            ::agent::export(agent, &asked, password.as_bytes())
        })?;
        for fault in &export.damaged {
            context.printer.problem("index", &fault.to_string());
        }
        context.printer.line(format!(
            "{} snapshots need {} packs, {}",
            export.snapshots.len(),
            export.packs,
            ByteSize(export.bytes)
        ));
        let object = json!({
            "snapshots": export.snapshots, "packs": export.packs, "bytes": export.bytes,
        });
        context.printer.object("selection", &object);
        if let Some(job) = &export.job {
            show_job(context, job);
            let name = &job.name;
            context
                .printer
                .note(format!("send empty drives that can hold that: packmule job ship {name}"));
        }
        // What an index that cannot be read names is not found here; all that was asked for is.
        Ok(if export.damaged.is_empty() { Status::Done } else { Status::Partial })
    }
}
