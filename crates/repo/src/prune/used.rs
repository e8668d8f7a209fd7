//! Which blobs snapshots need: their trees are walked, each once, by several threads. Reads no data blob.

use super::{Pending, go_on};
use crate::index::{BlobKind, Index, Marks, Numbered};
use crate::queue::Queue;
use crate::tree::NodeKind;
use crate::{Error, Repository};
use model::{Digest, ErrorKind};
use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

struct Walk<'a> {
    /// Where trees are read.
    repository: &'a Repository,
    /// Where they are.
    index: &'a Index,
    /// What may be removed.
    own: &'a Numbered,
    used: &'a Marks,
    /// Trees that are elsewhere only.
    elsewhere: Mutex<HashSet<Digest>>,
    problems: Mutex<Vec<Error>>,
    stop: &'a AtomicBool,
}

/// Marks what the trees and the pending snapshots need. Answers what is missing or damaged.
pub(crate) fn mark(
    repository: &Repository,
    own: &Numbered,
    used: &Marks,
    trees: Vec<Digest>,
    pending: &[Pending<'_>],
    (threads, stop): (usize, &AtomicBool),
) -> Result<Vec<Error>, Error> {
    let mut problems = Vec::new();
    let mut walk = |repository, index, trees: Vec<Digest>| {
        let (elsewhere, found) = Default::default();
        let walk = Walk { repository, index, own, used, elsewhere, problems: found, stop };
        let begin = trees.into_iter().filter(|tree| walk.need(BlobKind::Tree, *tree)).collect();
        Queue::work_off(begin, threads.max(1), |tree| walk.tree(tree))?;
        problems.extend(walk.problems.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok::<(), Error>(())
    };
    walk(repository, own.index(), trees)?;
    for Pending { repository, index, trees } in pending {
        walk(repository, index, trees.to_vec())?;
    }
    Ok(problems)
}

impl Walk<'_> {
    fn problem(&self, fault: Error) {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// Says that a blob is needed. True for whoever says so first of a blob that is there.
    fn need(&self, kind: BlobKind, id: Digest) -> bool {
        if let Some(number) = self.own.number(kind, &id) {
            return self.used.mark(kind, number);
        }
        if !self.index.has(kind, &id) {
            self.problem(Error::BlobUnknown { blob: id });
            return false;
        }
        let mut elsewhere = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        kind == BlobKind::Tree && elsewhere.insert(id)
    }

    /// Says what a tree needs. Answers the trees below that nobody saw before.
    fn tree(&self, tree: Digest) -> Result<Vec<Digest>, Error> {
        go_on(self.stop)?;
        let mut below = Vec::new();
        let read = self.read(tree, &mut |kind, id| {
            if self.need(kind, id) && kind == BlobKind::Tree {
                below.push(id);
            }
        });
        match read {
            Ok(()) => {}
            Err(fault) if matches!(fault.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                self.problem(fault);
            }
            Err(other) => return Err(other),
        }
        Ok(below)
    }

    fn read(&self, tree: Digest, need: &mut dyn FnMut(BlobKind, Digest)) -> Result<(), Error> {
        let without = |name: &[u8]| Error::Tree {
            tree: tree.to_hex(),
            what: format!("{} is a directory without a tree", String::from_utf8_lossy(name)),
        };
        let copies = self.index.copies(BlobKind::Tree, &tree);
        // Long lists of blobs are told as runs, where the text is as restic writes it.
        if let Some(mut condensed) = self.repository.read_condensed(&tree, copies)?
            && let Ok(entries) = condensed.entries()
        {
            for entry in entries {
                match (entry.kind, entry.subtree) {
                    (NodeKind::Dir, Some(subtree)) => need(BlobKind::Tree, subtree),
                    (NodeKind::Dir, None) => return Err(without(&entry.name)),
                    (NodeKind::File, _) => {
                        entry.content.runs().iter().for_each(|run| need(BlobKind::Data, run.id));
                    }
                    _ => {}
                }
            }
            return Ok(());
        }
        for node in self.repository.read_tree(self.index, &tree)? {
            match (node.kind, node.subtree) {
                (NodeKind::Dir, Some(subtree)) => need(BlobKind::Tree, subtree),
                (NodeKind::Dir, None) => return Err(without(&node.name)),
                (NodeKind::File, _) => {
                    let content = node.content.unwrap_or_default();
                    content.into_iter().for_each(|id| need(BlobKind::Data, id));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
