//! `packmule repo restore`.

use super::{Restoring, Wanted};
use crate::context::{Context, RepoOptions, state_folder};
use crate::failure::Outcome;
use clap::Args;
use repo::LockMode;
use std::path::PathBuf;

/// Restore a snapshot
///
/// Nothing outside the target is touched. A file that the repository cannot give back whole is left out and named, and the
/// exit code is 3. The same command goes on where an interrupted one stopped: what is there and right is not written again.
///
/// Example: packmule repo restore -r /srv/backup latest --target /tmp/restored
/// Example: packmule repo restore -r /srv/backup latest --target /tmp/restored --include "*.odt" --exclude /home/*/trash/
#[derive(Args, Debug)]
pub(crate) struct Restore {
    #[command(flatten)]
    repo: RepoOptions,
    /// A snapshot's id or an unambiguous beginning of it, or `latest`; with `:/PATH` behind it, only
    /// what is below that path, straight into the target
    snapshot: String,
    #[command(flatten)]
    wanted: Wanted,
    /// Take no lock: for a repository on a medium that cannot be written to
    #[arg(long)]
    no_lock: bool,
    /// Where is noted what an interrupted restore has begun
    #[arg(long, env = "PACKMULE_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
}

impl Restore {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let (text, below) = match self.snapshot.split_once(':') {
            Some((text, below)) => (text, Some(PathBuf::from(below))),
            None => (self.snapshot.as_str(), None),
        };
        let repository = context.repository(&self.repo)?;
        let _lock = if self.no_lock { None } else { Some(repository.lock(LockMode::Shared)?) };
        let named = repository.find_snapshot(text)?;
        let journals = state_folder(self.state.as_deref()).ok().map(|state| state.join("restores"));
        let restoring = Restoring { repository: &repository, named: &named, below, journals };
        restoring.run(context, &self.wanted)
    }
}
