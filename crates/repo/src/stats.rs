//! How much there is: what snapshots hold, and what the repository needs for it. Reads no data blob.

use crate::index::{BlobKind, Numbered};
use crate::prune::used;
use crate::tree::NodeKind;
use crate::{Error, NamedSnapshot, Repository};
use model::{Digest, ErrorKind, ObjectKind};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// How it is counted.
#[derive(Debug, Clone, Copy)]
pub struct StatsOptions<'a> {
    /// With how many threads.
    pub threads: usize,
    /// Ends it, once it is set.
    pub stop: &'a AtomicBool,
}

/// What there is. Sizes in bytes.
#[derive(Debug, Default)]
pub struct Stats {
    /// How many snapshots were counted.
    pub snapshots: usize,
    /// Files in them, in each snapshot anew.
    pub files: u64,
    /// Their sizes: what restoring every one of the snapshots would write.
    pub restore_bytes: u64,
    /// Blobs that they need, each once.
    pub blobs: u64,
    /// What these have without compression.
    pub plain_bytes: u64,
    /// What they have as they are stored.
    pub stored_bytes: u64,
    /// Packs in the whole repository, whoever needs them.
    pub packs: usize,
    /// Their sizes.
    pub pack_bytes: u64,
    /// What is missing or damaged, and therefore not counted.
    pub problems: Vec<Error>,
}

/// What is below a directory.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    files: u64,
    bytes: u64,
}

/// A directory is entered, and left once those in it are known.
enum Step {
    Enter(Digest),
    Leave(Digest, Size, Vec<Digest>),
}

impl Repository {
    /// Counts what these snapshots hold.
    ///
    /// # Errors
    /// [`Error::Interrupted`]; those of the store. What is damaged is in [`Stats::problems`].
    pub fn stats(
        &self,
        snapshots: &[NamedSnapshot],
        options: StatsOptions<'_>,
    ) -> Result<Stats, Error> {
        self.forget_tree_packs();
        let loaded = self.load_index()?;
        let index = Numbered::new(loaded.value);
        let mut stats = Stats { snapshots: snapshots.len(), ..Stats::default() };
        stats.problems = loaded.damaged;
        let marks = index.marks();
        let trees = snapshots.iter().map(|named| named.snapshot.tree).collect();
        let limits = (options.threads, options.stop);
        stats.problems.extend(used::mark(self, &index, &marks, trees, &[], limits)?);
        for kind in [BlobKind::Data, BlobKind::Tree] {
            for (_, at) in index.each(kind).filter(|(number, _)| marks.has(kind, *number)) {
                stats.blobs += 1;
                stats.plain_bytes += u64::from(at.blob.size());
                stats.stored_bytes += u64::from(at.blob.length);
            }
        }
        let mut known = HashMap::new();
        for named in snapshots {
            let size = self.size_of(&index, named.snapshot.tree, &mut known, options.stop)?;
            stats.files += size.files;
            stats.restore_bytes += size.bytes;
        }
        let packs = self.store().list(ObjectKind::Pack)?;
        stats.packs = packs.len();
        stats.pack_bytes = packs.iter().map(|listed| listed.length).sum();
        Ok(stats)
    }

    /// What is below a tree. `known` keeps it of every tree on the way: 48 bytes each.
    fn size_of(
        &self,
        index: &Numbered,
        root: Digest,
        known: &mut HashMap<Digest, Size>,
        stop: &AtomicBool,
    ) -> Result<Size, Error> {
        let mut steps = vec![Step::Enter(root)];
        while let Some(step) = steps.pop() {
            match step {
                Step::Enter(tree) if known.contains_key(&tree) => {}
                Step::Enter(tree) => {
                    if stop.load(Ordering::Relaxed) {
                        return Err(Error::Interrupted);
                    }
                    let (size, below) = self.size_alone(index, &tree)?;
                    let enter: Vec<Step> = below.iter().copied().map(Step::Enter).collect();
                    steps.push(Step::Leave(tree, size, below));
                    steps.extend(enter);
                }
                Step::Leave(tree, mut size, below) => {
                    for size_below in below.iter().filter_map(|tree| known.get(tree)) {
                        size.files += size_below.files;
                        size.bytes += size_below.bytes;
                    }
                    known.insert(tree, size);
                }
            }
        }
        Ok(known.get(&root).copied().unwrap_or_default())
    }

    /// What is in a directory itself, and the trees of those below. Nothing where it cannot be read: that was said already.
    fn size_alone(&self, index: &Numbered, tree: &Digest) -> Result<(Size, Vec<Digest>), Error> {
        let nodes = match self.read_tree(index.index(), tree) {
            Ok(nodes) => nodes,
            Err(fault) if matches!(fault.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                return Ok(<(Size, Vec<Digest>)>::default());
            }
            Err(other) => return Err(other),
        };
        let (mut size, mut below) = (Size::default(), Vec::new());
        for node in nodes {
            match node.kind {
                NodeKind::File => {
                    size.files += 1;
                    size.bytes = size.bytes.saturating_add(node.size);
                }
                NodeKind::Dir => below.extend(node.subtree),
                _ => {}
            }
        }
        Ok((size, below))
    }
}
