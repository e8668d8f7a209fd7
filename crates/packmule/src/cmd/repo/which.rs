//! Which snapshots a command is about, by machine, path and labels. Shared by those that look at several.

use clap::Args;
use repo::Filter;

/// Which snapshots are looked at.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct Which {
    /// Only snapshots of this machine; may be repeated
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    /// Only snapshots with this label, or with all of several separated by commas; may be repeated, '' for those without any
    #[arg(long, value_name = "TAG,…")]
    tag: Vec<String>,
    /// Only snapshots that hold this path; may be repeated, and all are asked for then
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,
}

impl Which {
    pub(crate) fn filter(&self) -> Filter {
        let tags = self.tag.iter().map(|list| labels(list)).collect();
        Filter { hosts: self.host.clone(), tags, paths: self.path.clone() }
    }
}

/// Labels separated by commas. Nothing is one empty label, which stands for none.
pub(crate) fn labels(list: &str) -> Vec<String> {
    list.split(',').map(|tag| tag.trim().to_owned()).collect()
}
