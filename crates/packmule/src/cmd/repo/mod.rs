//! `packmule repo`: the engine alone, on any restic repository.

mod backup;
mod check;
mod forget;
mod init;
mod ls;
mod prune;
mod restore;
mod restoring;
mod snapshots;
mod stats;
mod target;
mod which;

pub(crate) use backup::{
    How, counting, hold, options as backup_options, show as show_backup, summarize,
};
pub(crate) use restoring::{Restoring, Wanted, status as status_of_restore};

use crate::context::Context;
use crate::failure::Outcome;
use clap::Subcommand;

/// The engine alone, on any restic repository
#[derive(Subcommand, Debug)]
pub(crate) enum Repo {
    Init(init::Init),
    Backup(backup::Backup),
    Snapshots(snapshots::Snapshots),
    Ls(ls::Ls),
    Restore(Box<restore::Restore>),
    Check(check::Check),
    Forget(Box<forget::Forget>),
    Prune(prune::Prune),
    Stats(stats::Stats),
}

impl Repo {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::Init(command) => command.run(context),
            Self::Backup(command) => command.run(context),
            Self::Snapshots(command) => command.run(context),
            Self::Ls(command) => command.run(context),
            Self::Restore(command) => command.run(context),
            Self::Check(command) => command.run(context),
            Self::Forget(command) => command.run(context),
            Self::Prune(command) => command.run(context),
            Self::Stats(command) => command.run(context),
        }
    }
}
