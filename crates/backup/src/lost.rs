//! Which files of some snapshots lack a blob. Walks trees, each once a place; reads no data and no file.

use crate::Error;
use model::Digest;
use repo::former::Former;
use repo::tree::NodeKind;
use repo::{BlobKind, Index, Location, Repository};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A file that cannot be had whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostFile {
    /// Where it was.
    pub path: PathBuf,
    /// The first of the snapshots that has it so.
    pub snapshot: Digest,
    /// Its length.
    pub size: u64,
    /// Places in it whose blob is nowhere.
    pub missing: u64,
}

/// Every file of the snapshots that has a blob which `index` does not know.
///
/// # Errors
/// [`Error::Interrupted`]; a snapshot or tree that cannot be read: what is below it cannot be named.
pub fn lost_files(
    repository: &Repository,
    index: &Index,
    snapshots: &[Digest],
    stop: &AtomicBool,
) -> Result<Vec<LostFile>, Error> {
    let mut lost = Vec::new();
    let copies = |tree: &Digest| index.copies(BlobKind::Tree, tree).collect();
    walk(repository, &copies, snapshots, stop, &mut |snapshot, path, file| {
        let runs = file.content.runs().iter();
        let gone = runs.filter(|run| !index.has(BlobKind::Data, &run.id));
        let missing = gone.fold(0_u64, |sum, run| sum.saturating_add(run.count));
        if missing > 0 {
            lost.push(LostFile { path: path.to_owned(), snapshot, size: file.size, missing });
        }
        Ok(())
    })?;
    Ok(lost)
}

/// What a walk is told of: the snapshot, the path, the file.
pub(crate) type EachFile<'a> = dyn FnMut(Digest, &Path, &Former<'_>) -> Result<(), Error> + 'a;

/// Goes through every file of the snapshots, in their order; a directory that an earlier one has at the same path with the
/// same tree is passed over. Memory: 32 bytes a directory, and those that were seen and not yet entered.
pub(crate) fn walk(
    repository: &Repository,
    copies: &dyn Fn(&Digest) -> Vec<Location>,
    snapshots: &[Digest],
    stop: &AtomicBool,
    each: &mut EachFile<'_>,
) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for snapshot in snapshots {
        let root = repository.load_snapshot(*snapshot)?.snapshot.tree;
        let mut directories = vec![(root, PathBuf::from("/"))];
        while let Some((tree, path)) = directories.pop() {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let place = [tree.as_bytes().as_slice(), path.as_os_str().as_bytes()].concat();
            if !seen.insert(sha256::hash(&place)) {
                continue;
            }
            let unfit = |what| repo::Error::Tree { tree: tree.to_hex(), what };
            let text = repository.read_condensed(&tree, copies(&tree))?;
            let mut text = text.ok_or_else(|| unfit("no restic has written it".to_owned()))?;
            for entry in text.entries().map_err(unfit)? {
                let path = path.join(OsStr::from_bytes(&entry.name));
                match (entry.kind, entry.subtree) {
                    (NodeKind::Dir, Some(subtree)) => directories.push((subtree, path)),
                    (NodeKind::File, _) => each(*snapshot, &path, &entry)?,
                    _ => {}
                }
            }
        }
    }
    Ok(())
}
