//! The walk over the source: one thread, directories before what is in them, entries in order of name.
//!
//! Decides what is unchanged since the parent snapshot, as restic does: same size, times and inode,
//! and all its blobs still indexed. Reads no file.

use crate::error::Fault;
use crate::files::FileJob;
use crate::meta;
use crate::run::{Directory, Run, add};
use crate::targets::Target;
use crate::{BackupEvent, Error};
use crossbeam_channel::Sender;
use model::Digest;
use repo::tree::{Node, NodeKind};
use repo::{BlobKind, Repository};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory still to be entered.
struct Pending {
    path: PathBuf,
    node: Option<Node>,
    former: Option<Digest>,
    above: Option<(Arc<Directory>, usize)>,
    /// Only these entries; all of them when none.
    only: Option<std::collections::BTreeMap<Vec<u8>, Target>>,
}

pub(crate) struct Walk<'a, 'run> {
    pub(crate) run: &'a Run<'run>,
    pub(crate) repository: &'a Repository,
    pub(crate) jobs: Sender<FileJob>,
}

impl Walk<'_, '_> {
    /// Walks all targets, beside the trees of the parent snapshot.
    pub(crate) fn all(&self, targets: Target, former: Option<Digest>) {
        let root = match targets {
            Target::Whole(path) => Pending { path, node: None, former, above: None, only: None },
            Target::Way(only) => {
                Pending { path: "/".into(), node: None, former, above: None, only: Some(only) }
            }
        };
        let mut pending = vec![root];
        while let Some(next) = pending.pop() {
            if self.run.stopped() {
                return;
            }
            self.enter(next, &mut pending);
        }
    }

    fn enter(&self, next: Pending, pending: &mut Vec<Pending>) {
        let Pending { path, node, former, above, only } = next;
        let names = match &only {
            Some(only) => only.keys().cloned().collect(),
            None => match names(&path) {
                Ok(names) => names,
                Err(error) => {
                    let vanished = error.kind() == io::ErrorKind::NotFound;
                    let fault = if vanished { Fault::Vanished } else { Fault::Unreadable(error) };
                    self.run.problem(&path, fault);
                    Vec::new()
                }
            },
        };
        let mut formerly = self.former_entries(&path, former);
        let directory = Directory::new(path, node, former, names.len(), above);
        let mut only = only;
        for (at, name) in names.into_iter().enumerate() {
            if self.run.stopped() {
                return;
            }
            let target = only.as_mut().and_then(|only| only.remove(&name));
            let before = formerly.remove(&name);
            self.entry(&directory, at, name, target, before, pending);
        }
        directory.release(self.run);
    }

    fn former_entries(&self, path: &Path, former: Option<Digest>) -> HashMap<Vec<u8>, Node> {
        let Some(tree) = former else { return HashMap::new() };
        let copies: Vec<_> =
            self.run.writer.with_index(|index| index.copies(BlobKind::Tree, &tree).collect());
        let nodes = self.repository.read_any(&tree, copies).and_then(|text| {
            repo::tree::decode(&text)
                .map_err(|what| repo::Error::Tree { tree: tree.to_hex(), what })
        });
        match nodes {
            Ok(nodes) => nodes.into_iter().map(|node| (node.name.clone(), node)).collect(),
            Err(error) => {
                // Nothing new may rely on it: the same tree, made again, is stored again.
                self.run.writer.distrust(BlobKind::Tree, &tree);
                self.run.problem(path, Fault::ParentTree(error));
                HashMap::new()
            }
        }
    }

    fn entry(
        &self,
        directory: &Arc<Directory>,
        at: usize,
        name: Vec<u8>,
        target: Option<Target>,
        before: Option<Node>,
        pending: &mut Vec<Pending>,
    ) {
        let path = directory.path.join(OsString::from_vec(name.clone()));
        let on_the_way = matches!(target, Some(Target::Way(_)));
        let stat = match if on_the_way {
            std::fs::metadata(&path)
        } else {
            std::fs::symlink_metadata(&path)
        } {
            Ok(stat) => stat,
            Err(error) => {
                let vanished = error.kind() == io::ErrorKind::NotFound;
                self.run.problem(
                    &path,
                    if vanished { Fault::Vanished } else { Fault::Unreadable(error) },
                );
                return directory.put(self.run, at, None);
            }
        };
        let kind = crate::mode::kind(std::os::unix::fs::MetadataExt::mode(&stat));
        match kind {
            NodeKind::Dir => {
                let former =
                    before.filter(|node| node.kind == NodeKind::Dir).and_then(|n| n.subtree);
                let node = Some(self.node(&name, &path, &stat));
                let only = match target {
                    Some(Target::Way(only)) => Some(only),
                    _ => None,
                };
                pending.push(Pending {
                    path,
                    node,
                    former,
                    above: Some((Arc::clone(directory), at)),
                    only,
                });
            }
            NodeKind::File => self.file(directory, at, name, path, &stat, before),
            NodeKind::Socket | NodeKind::Irregular => directory.put(self.run, at, None),
            NodeKind::Symlink | NodeKind::Device | NodeKind::CharDevice | NodeKind::Fifo => {
                let node = self.node(&name, &path, &stat);
                directory.put(self.run, at, Some(node));
            }
        }
    }

    fn node(&self, name: &[u8], path: &Path, stat: &Metadata) -> Node {
        let (node, fault) =
            meta::node(name, path, stat, &self.run.owners, self.run.options.with_atime);
        if let Some(error) = fault {
            self.run.problem(path, Fault::Attributes(error));
        }
        node
    }

    fn file(
        &self,
        directory: &Arc<Directory>,
        at: usize,
        name: Vec<u8>,
        path: PathBuf,
        stat: &Metadata,
        before: Option<Node>,
    ) {
        (self.run.options.events)(BackupEvent::File { path: &path });
        let known = before.is_some();
        if let Some(content) = before.and_then(|before| unchanged(&before, stat)) {
            let all_there = self
                .run
                .writer
                .with_index(|index| content.iter().all(|blob| index.has(BlobKind::Data, blob)));
            if all_there {
                let node = self.node(&name, &path, stat);
                add(&self.run.counters.files_unmodified, 1);
                add(&self.run.counters.bytes, node.size);
                (self.run.options.events)(BackupEvent::Bytes(node.size));
                return directory.put(self.run, at, Some(Node { content: Some(content), ..node }));
            }
            self.run.problem(&path, Fault::PartsMissing);
        }
        let job = FileJob { path, name, known, directory: Arc::clone(directory), at };
        if self.jobs.send(job).is_err() {
            self.run.fail(Error::Interrupted);
        }
    }
}

/// The former content, if nothing says that it changed.
fn unchanged(before: &Node, stat: &Metadata) -> Option<Vec<Digest>> {
    use std::os::unix::fs::MetadataExt;
    let same = before.kind == NodeKind::File
        && before.size == stat.size()
        && before.mtime == meta::moment(stat.mtime(), stat.mtime_nsec())
        && before.ctime == meta::moment(stat.ctime(), stat.ctime_nsec())
        && before.inode == stat.ino();
    before.content.clone().filter(|_| same)
}

fn names(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path)? {
        names.push(entry?.file_name().as_bytes().to_vec());
    }
    names.sort_unstable();
    Ok(names)
}
