//! A snapshot without the files that cannot be had whole: trees written anew where something is left out, all else as it is.
//! Removes nothing, and stores no snapshot.

use crate::Error;
use model::Digest;
use repo::tree::{self, Node, NodeKind};
use repo::{BlobKind, NamedSnapshot, Repository, Snapshot, Writer};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// The label of such a snapshot, as restic has it.
pub const REPAIRED: &str = "repaired";

/// Writes snapshots anew, several of one repository with what they share once.
#[derive(Debug)]
pub struct Repair<'a> {
    repository: &'a Repository,
    writer: &'a Writer,
    stop: &'a AtomicBool,
    /// What became of each tree. 64 bytes each.
    known: HashMap<Digest, Digest>,
}

/// A directory that is being written anew.
struct Directory {
    tree: Digest,
    rest: std::vec::IntoIter<Node>,
    kept: Vec<Node>,
    /// The entry whose own directory is under way.
    open: Option<Node>,
    changed: bool,
}

impl<'a> Repair<'a> {
    /// Trees are read from `repository`, and new ones stored by `writer`, whose index says what there is.
    #[must_use]
    pub fn new(repository: &'a Repository, writer: &'a Writer, stop: &'a AtomicBool) -> Self {
        Self { repository, writer, stop, known: HashMap::new() }
    }

    /// The snapshot as it is without the files that lack a blob, labelled so, and naming the one it stands for; none where no
    /// file lacks any. It may be stored once the writer has finished.
    ///
    /// # Errors
    /// [`Error::Interrupted`]; a tree that cannot be read; the first failure of the writer.
    pub fn snapshot(
        &mut self,
        named: &NamedSnapshot,
        program_version: &str,
    ) -> Result<Option<Snapshot>, Error> {
        let tree = self.tree(named.snapshot.tree)?;
        if tree == named.snapshot.tree {
            return Ok(None);
        }
        let mut snapshot = named.snapshot.clone();
        snapshot.tree = tree;
        snapshot.original = Some(named.id);
        snapshot.program_version = program_version.to_owned();
        // What the backup counted is not what is in it any more.
        snapshot.summary = None;
        if !snapshot.tags.iter().any(|tag| tag == REPAIRED) {
            snapshot.tags.push(REPAIRED.to_owned());
        }
        Ok(Some(snapshot))
    }

    /// A loop, not a recursion: a tree may be as deep as a path is long.
    fn tree(&mut self, root: Digest) -> Result<Digest, Error> {
        let mut open = vec![self.enter(root)?];
        while let Some(directory) = open.last_mut() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            match directory.rest.next() {
                Some(node) => match node.subtree.filter(|_| node.kind == NodeKind::Dir) {
                    Some(subtree) => match self.known.get(&subtree) {
                        Some(new) => directory.keep(node, *new),
                        None => {
                            directory.open = Some(node);
                            let next = self.enter(subtree)?;
                            open.push(next);
                        }
                    },
                    None if self.is_whole(&node) => directory.kept.push(node),
                    None => directory.changed = true,
                },
                None => {
                    let Some(done) = open.pop() else { break };
                    let (old, new) = (done.tree, self.leave(&done)?);
                    self.known.insert(old, new);
                    if let Some(above) = open.last_mut()
                        && let Some(node) = above.open.take()
                    {
                        above.keep(node, new);
                    }
                }
            }
        }
        Ok(self.known.get(&root).copied().unwrap_or(root))
    }

    fn enter(&self, tree: Digest) -> Result<Directory, Error> {
        let copies: Vec<_> =
            self.writer.with_index(|index| index.copies(BlobKind::Tree, &tree).collect());
        let text = self.repository.read_any(&tree, copies)?;
        let unfit = |what| repo::Error::Tree { tree: tree.to_hex(), what };
        let rest = tree::decode(&text).map_err(unfit)?.into_iter();
        Ok(Directory { tree, rest, kept: Vec::new(), open: None, changed: false })
    }

    fn leave(&self, directory: &Directory) -> Result<Digest, Error> {
        if !directory.changed {
            return Ok(directory.tree);
        }
        let text = tree::encode(&directory.kept);
        let id = Digest(sha256::hash(&text));
        self.writer.save(BlobKind::Tree, id, &text)?;
        Ok(id)
    }

    fn is_whole(&self, node: &Node) -> bool {
        let content = node.content.as_deref().unwrap_or_default();
        self.writer.with_index(|index| content.iter().all(|id| index.has(BlobKind::Data, id)))
    }
}

impl Directory {
    fn keep(&mut self, node: Node, tree: Digest) {
        self.changed |= node.subtree != Some(tree);
        self.kept.push(Node { subtree: Some(tree), ..node });
    }
}
