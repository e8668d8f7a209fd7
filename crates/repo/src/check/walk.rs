//! Every tree that a snapshot needs, each read once, by several threads. Reads no data blob.
//!
//! Snapshots are walked one after the other, so that what is missing is said of the oldest that
//! needs it. Memory: 32 bytes a tree and its share of a hash table, and the paths of directories
//! that were seen and not yet read.

use super::{Finding, Run};
use crate::Error;
use crate::index::BlobKind;
use crate::queue::Queue;
use crate::tree::{Node, NodeKind};
use model::Digest;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// A directory's tree, and where it is.
type Directory = (Digest, String);

struct Walk<'a> {
    run: &'a Run<'a>,
    threads: usize,
    seen: Mutex<HashSet<Digest>>,
    missing: Mutex<HashSet<Digest>>,
}

impl Run<'_> {
    pub(super) fn walk(
        &self,
        roots: impl Iterator<Item = (Digest, Digest)>,
        threads: usize,
    ) -> Result<(), Error> {
        let (seen, missing) = Default::default();
        let walk = Walk { run: self, threads, seen, missing };
        for (snapshot, root) in roots {
            if walk.is_new(root) {
                walk.snapshot(snapshot, root)?;
            }
        }
        self.report().trees = walk.seen.into_inner().unwrap_or_else(PoisonError::into_inner).len();
        Ok(())
    }
}

impl Walk<'_> {
    /// True once for each tree.
    fn is_new(&self, tree: Digest) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(tree)
    }

    fn snapshot(&self, snapshot: Digest, root: Digest) -> Result<(), Error> {
        let begin = vec![(root, String::from("/"))];
        let read = |(tree, path): Directory| self.tree(snapshot, tree, &path);
        Queue::work_off(begin, self.threads, read)
    }

    /// Reads one directory. Answers those in it that nobody saw before.
    fn tree(&self, snapshot: Digest, tree: Digest, path: &str) -> Result<Vec<Directory>, Error> {
        let mut below = Vec::new();
        for node in self.read(snapshot, tree, path)? {
            match (node.kind, node.subtree) {
                (NodeKind::Dir, Some(subtree)) if self.is_new(subtree) => {
                    below.push((subtree, path_of(path, &node)));
                }
                (NodeKind::Dir, Some(_)) => {}
                (NodeKind::Dir, None) => self.run.found(Finding::Damaged(Error::Tree {
                    tree: tree.to_hex(),
                    what: format!("{} is a directory without a tree", path_of(path, &node)),
                })),
                (NodeKind::File, _) => self.file(snapshot, tree, path, &node),
                _ => {}
            }
        }
        Ok(below)
    }

    /// A directory's entries; none where that is a finding.
    fn read(&self, snapshot: Digest, tree: Digest, path: &str) -> Result<Vec<Node>, Error> {
        match self.run.repository.read_tree(&self.run.index, &tree) {
            Ok(nodes) => return Ok(nodes),
            Err(Error::BlobUnknown { blob }) => {
                let path = path.to_owned();
                let kind = BlobKind::Tree;
                self.run.found(Finding::BlobMissing { kind, blob, snapshot, path });
            }
            Err(Error::Store(
                cause @ (store::Error::Unavailable { .. } | store::Error::Denied { .. }),
            )) => {
                return Err(cause.into());
            }
            Err(fault) => self.run.found(Finding::Damaged(fault)),
        }
        Ok(Vec::new())
    }

    fn file(&self, snapshot: Digest, tree: Digest, path: &str, node: &Node) {
        let (mut size, mut whole) = (0, true);
        for &blob in node.content.as_deref().unwrap_or_default() {
            if let Some(at) = self.run.index.find(BlobKind::Data, &blob) {
                size += u64::from(at.blob.size());
                continue;
            }
            whole = false;
            if self.missing.lock().unwrap_or_else(PoisonError::into_inner).insert(blob) {
                let (kind, path) = (BlobKind::Data, path_of(path, node));
                self.run.found(Finding::BlobMissing { kind, blob, snapshot, path });
            }
        }
        if whole && size != node.size {
            let path = path_of(path, node);
            let what = format!("{path} has parts of {size} bytes, its size is {}", node.size);
            self.run.found(Finding::Damaged(Error::Tree { tree: tree.to_hex(), what }));
        }
    }
}

fn path_of(directory: &str, node: &Node) -> String {
    format!("{}/{}", directory.trim_end_matches('/'), String::from_utf8_lossy(&node.name))
}
