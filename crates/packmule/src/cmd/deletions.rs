//! `packmule agent deletions`: what is to be deleted from this server's repository, as its own machine sees it.

use super::agent::{StateOptions, with_agent};
use super::keeping::show_deletion;
use crate::context::Context;
use crate::exit::Status;
use crate::failure::Outcome;
use ::agent::OwnDeletion;
use clap::Args;
use wire::{Deletion, DeletionState};

/// List what is to be deleted from this server's repository in the vault, and bring it back
///
/// What this machine has not asked for is named, here, in agent status and in an alert: somebody else has its credentials, or is at the vault. Exit code 3
/// then. --undelete brings back what a deletion holds, and those after it, which were planned without what it took; --allow says that it is wanted.
///
/// Example: packmule agent deletions
/// Example: packmule agent deletions --undelete 17
#[derive(Args, Debug)]
pub(crate) struct Deletions {
    /// Bring back what this deletion holds
    #[arg(long, value_name = "DELETION", conflicts_with_all = ["allow", "all"])]
    undelete: Option<u64>,
    /// This deletion is wanted, although this machine has not asked for it
    #[arg(long, value_name = "DELETION", conflicts_with = "all")]
    allow: Option<u64>,
    /// Also those that were carried out or undeleted
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    state: StateOptions,
}

impl Deletions {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let state = &self.state.state;
        if let Some(id) = self.undelete {
            let back = with_agent(context, state, "asking", |agent| ::agent::undelete(agent, id))?;
            back.iter().for_each(|deletion| show_deletion(context, deletion));
            return Ok(Status::Done);
        }
        if let Some(id) = self.allow {
            let allowed =
                with_agent(context, state, "asking", |agent| ::agent::allow_deletion(agent, id))?;
            show_deletion(context, &allowed);
            return Ok(Status::Done);
        }
        let all = with_agent(context, state, "asking", ::agent::deletions)?;
        let mut foreign = Vec::new();
        let mut shown = 0;
        for OwnDeletion { deletion, by_us } in all {
            let is_open = matches!(deletion.state, DeletionState::Held | DeletionState::Going);
            if !is_open && !self.all {
                continue;
            }
            show_deletion(context, &deletion);
            shown += 1;
            if is_open && !by_us {
                foreign.push(deletion);
            }
        }
        if shown == 0 {
            context.printer.line("nothing is to be deleted");
        }
        Ok(if warn(context, &foreign) { Status::Partial } else { Status::Done })
    }
}

/// Names what somebody else has asked for. Answers whether there is any.
pub(crate) fn warn(context: &Context, foreign: &[Deletion]) -> bool {
    for deletion in foreign {
        let Deletion { id, subject, due_at, snapshots, packs, .. } = deletion;
        let words = format!(
            "{subject} has asked for it, and it was not this machine: {snapshots} recovery points and {packs} packs go from {due_at:.0} on; to bring them back: packmule agent deletions --undelete {id}; if they are to go: --allow {id}"
        );
        context.printer.problem(&format!("deletion {id}"), &words);
    }
    !foreign.is_empty()
}
