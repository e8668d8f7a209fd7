//! `packmule repo ls`.

use crate::context::{Context, RepoOptions};
use crate::exit::Status;
use crate::failure::Outcome;
use clap::Args;
use model::{Digest, ErrorKind};
use repo::tree::{Node, NodeKind};
use repo::{Index, Repository};
use serde_json::json;

/// List what a snapshot holds
///
/// Exit code 4 when a part of it cannot be listed because the repository is damaged.
///
/// Example: packmule repo ls -r /srv/backup latest
#[derive(Args, Debug)]
pub(crate) struct Ls {
    #[command(flatten)]
    repo: RepoOptions,
    /// A snapshot's id or an unambiguous beginning of it, or `latest`
    #[arg(default_value = "latest")]
    snapshot: String,
}

impl Ls {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let repository = context.repository(&self.repo)?;
        let named = repository.find_snapshot(&self.snapshot)?;
        let index = repository.load_index()?;
        let mut status = Status::Done;
        for fault in &index.damaged {
            context.printer.problem("index", &fault.to_string());
            status = Status::Damaged;
        }
        list(context, &repository, &index.value, named.snapshot.tree, &mut status)?;
        Ok(status)
    }
}

fn list(
    context: &Context,
    repository: &Repository,
    index: &Index,
    root: Digest,
    status: &mut Status,
) -> Result<(), crate::failure::Failure> {
    let mut pending = vec![(String::new(), root)];
    while let Some((path, tree)) = pending.pop() {
        let nodes = match repository.read_tree(index, &tree) {
            Ok(nodes) => nodes,
            // A pack that is gone is damage, too: the rest can still be listed.
            Err(fault) if matches!(fault.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                context.printer.problem(&path, &fault.to_string());
                *status = Status::Damaged;
                continue;
            }
            Err(other) => return Err(other.into()),
        };
        let mut below = Vec::new();
        for node in nodes {
            let path = format!("{path}/{}", String::from_utf8_lossy(&node.name));
            show(context, &path, &node);
            if let (NodeKind::Dir, Some(subtree)) = (node.kind, node.subtree) {
                below.push((path, subtree));
            }
        }
        // The stack gives the last one first; directories are wanted in order.
        pending.extend(below.into_iter().rev());
    }
    Ok(())
}

fn show(context: &Context, path: &str, node: &Node) {
    let mark = if node.kind == NodeKind::Dir { "/" } else { "" };
    context.printer.line(format!("{}{mark}", path.escape_debug()));
    context.printer.object(
        "node",
        &json!({
            "path": path,
            "type": node.kind.name(),
            "size": node.size,
            "mode": node.mode,
            "uid": node.uid,
            "gid": node.gid,
            "mtime": node.mtime,
        }),
    );
}
