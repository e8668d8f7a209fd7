//! `packmule seed abandon`: gives a seed up that nobody goes on with. Says what is lost with it, and asks.

use super::super::agent::{StateOptions, with_agent};
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::Ask as _;
use ::agent::{Abandoning, Fate, GivenUp};
use clap::Args;
use model::{ErrorKind, JobName};
use serde_json::json;
use wire::SeedId;

/// Give up a seed that nobody goes on with
///
/// Its drives are lost, or nobody wants it any more: as long as it counts as being on its way, nothing is deleted from the vault. It will never
/// be published; import jobs that may be cancelled are. Its groups' backups go over the network from then on, all of it, or travel anew.
/// Nothing is removed here: staging, and the passwords of its drives, stay. What the vault shows already cannot be given up.
///
/// Example: packmule seed abandon 9f1c5b1e0a7d4c3f8e2b6a5d4c3b2a19 --dry-run
#[derive(Args, Debug)]
pub(crate) struct Abandon {
    /// The seed, as agent status names it
    #[arg(value_name = "SEED")]
    seed: SeedId,
    /// Let the first backup of its groups travel anew, under an import job of this name [default: it goes over the network]
    #[arg(long, value_name = "NAME")]
    import_job: Option<JobName>,
    /// Say what would be lost, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    state: StateOptions,
}

impl Abandon {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let give_up = |dry_run| {
            let what = Abandoning { seed: self.seed, again: self.import_job.as_ref(), dry_run };
            with_agent(context, &self.state.state, "giving the seed up", |agent| {
                ::agent::abandon_seed(agent, what)
            })
        };
        if self.dry_run {
            show(context, &give_up(true)?, self.import_job.as_ref());
            return Ok(Status::Done);
        }
        if !self.yes {
            show(context, &give_up(true)?, self.import_job.as_ref());
            let question = format!("Type yes to give up seed {}", self.seed);
            if context.terminal().ask("yes", &question)? != "yes" {
                let words = "not confirmed: nothing was changed";
                return Err(Failure::new(ErrorKind::Interrupted, words));
            }
        }
        show(context, &give_up(false)?, self.import_job.as_ref());
        Ok(Status::Done)
    }
}

fn show(context: &Context, given_up: &GivenUp, again: Option<&JobName>) {
    let printer = &context.printer;
    let is = if given_up.dry_run { "would be" } else { "is" };
    let was = given_up.state.map_or("not known here", |state| state.name());
    printer.line(format!("seed {} ({was}) {is} given up", given_up.seed));
    for (group, point) in &given_up.points {
        let time = point.time.strftime("%Y-%m-%d %H:%M");
        let where_else = match &given_up.staging {
            Some(staging) => format!(
                "restorable from staging only: packmule repo restore {} -r {}",
                point.snapshot.short(),
                staging.display()
            ),
            None => "not restorable any more, but from all of its drives: packmule seed import"
                .to_owned(),
        };
        printer
            .line(format!("  recovery point of {group}, {time}: not in the vault; {where_else}"));
    }
    if given_up.since > 0 {
        printer.line(format!(
            "  {} recovery points that were made while it travelled cannot be restored any more",
            given_up.since
        ));
    }
    if let Some(since) = given_up.copied_since {
        printer.line(format!(
            "  another computer was given credentials on {} to write its drives: nothing comes of what it writes; tell whoever sits there",
            since.strftime("%Y-%m-%d %H:%M UTC")
        ));
    }
    for (job, fate) in &given_up.jobs {
        let drives: Vec<&str> =
            job.drive_list.iter().map(|drive| drive.drive_id.as_str()).collect();
        let what = match fate {
            Fate::Canceled => format!("{is} cancelled"),
            Fate::WhenItArrives => {
                "its package may still be travelling: cancelled when it arrives, and the drives are sent back unread".to_owned()
            }
            Fate::TakenIn => {
                "its drives are being taken in, are read and sent back; nothing comes of that".to_owned()
            }
            Fate::Over => format!("it is {:?}", job.state),
        };
        printer.line(format!("  import job {} ({}): {what}", job.name, drives.join(", ")));
    }
    for group in &given_up.groups {
        printer.line(match again {
            None => format!("  group {group}: the next backup goes over the network, all of it"),
            Some(job) => {
                format!("  group {group}: the next backup begins a new seed, for import job {job}")
            }
        });
    }
    if !given_up.groups.is_empty() {
        printer.line(match again {
            None => "  where agent.toml has one of these: take its [group.offline] out when you edit it next; until then it says nothing",
            Some(_) => "  where agent.toml has one of these: write the new import job into its [group.offline] when you edit it next; until then that says nothing",
        });
    }
    let jobs: Vec<_> = given_up
        .jobs
        .iter()
        .map(|(job, fate)| json!({"name": job.name, "state": job.state, "becomes": becomes(*fate)}))
        .collect();
    let points: Vec<_> = given_up
        .points
        .iter()
        .map(|(group, point)| json!({"group": group, "snapshot": point.snapshot, "time": point.time}))
        .collect();
    printer.object("abandoned", &json!({
        "seed": given_up.seed, "dry_run": given_up.dry_run, "points": points, "points_since": given_up.since,
        "staging": given_up.staging, "jobs": jobs, "groups": given_up.groups, "import_job": again,
        "copied_since": given_up.copied_since,
    }));
}

fn becomes(fate: Fate) -> &'static str {
    match fate {
        Fate::Canceled => "canceled",
        Fate::WhenItArrives => "canceled_when_it_arrives",
        Fate::TakenIn => "taken_in",
        Fate::Over => "over",
    }
}
