//! `packmule repo snapshots`.

use crate::context::{Context, RepoOptions};
use crate::exit::Status;
use crate::failure::Outcome;
use clap::Args;
use repo::NamedSnapshot;
use serde_json::json;

/// List the snapshots, oldest first
///
/// Example: packmule repo snapshots -r /srv/backup
#[derive(Args, Debug)]
pub(crate) struct Snapshots {
    #[command(flatten)]
    repo: RepoOptions,
}

impl Snapshots {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let repository = context.repository(&self.repo)?;
        let loaded = repository.snapshots()?;
        list(context, &loaded.value);
        for fault in &loaded.damaged {
            context.printer.problem("snapshot", &fault.to_string());
        }
        Ok(if loaded.damaged.is_empty() { Status::Done } else { Status::Damaged })
    }
}

/// Renders snapshots.
pub(crate) fn list(context: &Context, snapshots: &[NamedSnapshot]) {
    let printer = &context.printer;
    printer.line(format!("{:8}  {:20}  {:16}  paths", "id", "time (UTC)", "host"));
    for NamedSnapshot { id, snapshot, .. } in snapshots {
        let time = snapshot.time.strftime("%Y-%m-%d %H:%M:%S");
        let paths = snapshot.paths.join(", ");
        printer.line(format!("{}  {time:20}  {:16}  {paths}", id.short(), snapshot.hostname));
        printer.object(
            "snapshot",
            &json!({
                "id": id,
                "short_id": id.short(),
                "time": snapshot.time,
                "tree": snapshot.tree,
                "parent": snapshot.parent,
                "hostname": snapshot.hostname,
                "username": snapshot.username,
                "paths": snapshot.paths,
                "tags": snapshot.tags,
            }),
        );
    }
    printer.line(format!("{} snapshots", snapshots.len()));
}
