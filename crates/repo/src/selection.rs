//! What chosen snapshots need: the packs, and an index of these alone. So a part of a repository is a
//! repository. Copies no pack.

use crate::error::Error;
use crate::index::{BlobKind, Index};
use crate::repository::Repository;
use crate::tree::NodeKind;
use model::{Digest, ObjectKey, ObjectKind};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Packs that an index file of ours names at most.
const PACKS_OF_AN_INDEX: usize = 5_000;

/// What chosen snapshots need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The snapshots.
    pub snapshots: BTreeSet<Digest>,
    /// Every pack that has a blob of theirs.
    pub packs: BTreeSet<Digest>,
    /// Lengths of the packs together.
    pub bytes: u64,
}

impl Repository {
    /// Finds what some snapshots need. Reads their trees, each once, and no data.
    ///
    /// # Errors
    /// [`Error::BlobUnknown`] and the others of reading trees: what is not whole is not selected;
    /// [`Error::Damaged`] for an indexed pack that is not there.
    pub fn select(&self, index: &Index, snapshots: &[Digest]) -> Result<Selection, Error> {
        let (mut packs, mut seen) = (BTreeSet::new(), HashSet::new());
        let mut trees = Vec::new();
        for id in snapshots {
            trees.push(self.load_snapshot(*id)?.snapshot.tree);
        }
        let mut take = |kind, blob: Digest| match index.find(kind, &blob) {
            Some(at) => {
                packs.insert(at.pack);
                Ok(())
            }
            None => Err(Error::BlobUnknown { blob }),
        };
        while let Some(tree) = trees.pop() {
            if !seen.insert(tree) {
                continue;
            }
            take(BlobKind::Tree, tree)?;
            for node in self.read_tree(index, &tree)? {
                trees.extend(node.subtree.filter(|_| node.kind == NodeKind::Dir));
                for blob in node.content.unwrap_or_default() {
                    take(BlobKind::Data, blob)?;
                }
            }
        }
        let lengths = self.pack_lengths()?;
        let mut bytes = 0_u64;
        for pack in &packs {
            bytes = bytes.saturating_add(length(&lengths, *pack)?);
        }
        Ok(Selection { snapshots: snapshots.iter().copied().collect(), packs, bytes })
    }

    /// Stores indexes in this repository that name those packs and no others, each as its own header says.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a pack that is not there or not whole; those of the store.
    pub fn save_index_of(&self, packs: &BTreeSet<Digest>) -> Result<(), Error> {
        let lengths = self.pack_lengths()?;
        let all: Vec<Digest> = packs.iter().copied().collect();
        for packs in all.chunks(PACKS_OF_AN_INDEX) {
            let entry = |pack: &Digest| {
                let blobs = self.read_pack_header(*pack, length(&lengths, *pack)?)?;
                Ok((*pack, blobs))
            };
            let entries = packs.iter().map(entry).collect::<Result<Vec<_>, Error>>()?;
            self.save_index(&entries)?;
        }
        Ok(())
    }

    fn pack_lengths(&self) -> Result<HashMap<Digest, u64>, Error> {
        let listed = self.store().list(ObjectKind::Pack)?;
        Ok(listed.into_iter().filter_map(|it| Some((it.key.id()?, it.length))).collect())
    }
}

fn length(lengths: &HashMap<Digest, u64>, pack: Digest) -> Result<u64, Error> {
    let missing = || Error::Damaged {
        key: ObjectKey::Pack(pack),
        what: "it is indexed but not there".to_owned(),
    };
    lengths.get(&pack).copied().ok_or_else(missing)
}
