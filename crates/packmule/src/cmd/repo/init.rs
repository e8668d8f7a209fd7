//! `packmule repo init`.

use crate::context::{Context, RepoOptions};
use crate::exit::Status;
use crate::failure::Outcome;
use clap::Args;
use repo::{KdfParams, Repository};
use serde_json::json;

/// Make a new repository
///
/// Example: packmule repo init -r /srv/backup
#[derive(Args, Debug)]
pub(crate) struct Init {
    #[command(flatten)]
    repo: RepoOptions,
}

impl Init {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let store = context.store(&self.repo)?;
        let password = self.repo.password.read(context, true)?;
        let now = jiff::Timestamp::now();
        let author = context.author.clone();
        let repository =
            Repository::init(store, password.as_bytes(), KdfParams::STANDARD, author, now)?;
        let id = repository.config().id;
        context.printer.line(format!(
            "made repository {} at {}",
            id.short(),
            repository.location()
        ));
        context
            .printer
            .line("Its password is the only way into it: without it, nothing can be restored.");
        context
            .printer
            .object("initialized", &json!({"id": id, "repository": repository.location()}));
        Ok(Status::Done)
    }
}
