//! First pass: everything is made, empty; what goes where is noted. Writes no content.

use super::Run;
use super::fill::Broken;
use super::place::{self, below};
use crate::error::{Error, Fault, full};
use model::Digest;
use repo::tree::{Node, NodeKind};
use repo::{BlobKind, Location};
use rustix::fs::FileType;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the first pass made, and what the second must do.
#[derive(Default)]
pub(super) struct Made {
    /// Files by number.
    pub(super) files: Vec<Unfinished>,
    /// (first, second) name of one inode.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    /// For each pack, the blobs wanted from it.
    pub(super) packs: HashMap<Digest, Vec<Piece>>,
    pub(super) bytes: u64,
    pub(super) dirs: u64,
    pub(super) others: u64,
    /// Items that are not there, or not as the snapshot has them: no later pass touches them.
    pub(super) left_out: HashSet<PathBuf>,
    /// Directories whose entries could not be had.
    pub(super) unread: HashSet<PathBuf>,
    /// First path and content of every inode with several names.
    inodes: HashMap<(u64, u64), (PathBuf, Vec<Digest>)>,
}

/// A file that has its name only once it is whole.
pub(super) struct Unfinished {
    pub(super) path: PathBuf,
    /// Pieces that are not written yet.
    pub(super) open: AtomicUsize,
}

/// One blob's way into one file.
pub(super) struct Piece {
    pub(super) at: Location,
    pub(super) file: usize,
    pub(super) offset: u64,
}

pub(super) fn all(run: &Run<'_>, root: Digest, made: &mut Made) -> Result<(), Error> {
    let mut pending = vec![(PathBuf::new(), root)];
    while let Some((path, tree)) = pending.pop() {
        run.stopped()?;
        let Some(nodes) = read(run, &path, &tree)? else {
            made.unread.insert(path);
            continue;
        };
        let folder = match run.place.directory(&path) {
            Ok(folder) => folder,
            Err(error) => {
                run.problem(&path, Fault::Unwritable(error));
                made.unread.insert(path);
                continue;
            }
        };
        for node in nodes {
            let name = below(&path, &node.name);
            match entry(run, made, &folder, &name, &node) {
                Err(Fault::Unwritable(cause)) if full(&cause) => {
                    let path = run.options.target.join(name);
                    return Err(Error::Io { action: "writing", path, cause });
                }
                Err(fault) => {
                    run.problem(&name, fault);
                    made.left_out.insert(name);
                }
                Ok(()) => {
                    if let (NodeKind::Dir, Some(subtree)) = (node.kind, node.subtree) {
                        pending.push((name, subtree));
                    }
                }
            }
        }
    }
    Ok(())
}

/// A directory's entries; none when its tree is damaged, which is then noted.
pub(super) fn read(run: &Run<'_>, path: &Path, tree: &Digest) -> Result<Option<Vec<Node>>, Error> {
    match run.repository.read_tree(run.index, tree) {
        Ok(nodes) => Ok(Some(nodes)),
        Err(error) if reachable(&error) => {
            run.problem(path, Fault::Damaged(error.to_string()));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the store answered, so that the fault is in what it holds.
pub(super) fn reachable(error: &repo::Error) -> bool {
    use model::ErrorKind::{Corrupt, NotFound};
    matches!(error.kind(), Corrupt | NotFound)
}

fn entry(
    run: &Run<'_>,
    made: &mut Made,
    folder: &OwnedFd,
    path: &Path,
    node: &Node,
) -> Result<(), Fault> {
    let name = OsStr::from_bytes(&node.name);
    let special = |kind, device| run.place.make_special(folder, name, kind, device);
    let done = match node.kind {
        NodeKind::File => return file(run, made, folder, path, node),
        NodeKind::Dir if node.subtree.is_none() => {
            return Err(Fault::Damaged("it is a directory without a tree".to_owned()));
        }
        NodeKind::Dir => {
            made.dirs += 1;
            return place::make_dir(folder, name).map_err(Fault::Unwritable);
        }
        NodeKind::Symlink => run.place.make_symlink(folder, name, &node.link_target),
        NodeKind::Fifo => special(FileType::Fifo, 0),
        NodeKind::Device => special(FileType::BlockDevice, node.device),
        NodeKind::CharDevice => special(FileType::CharacterDevice, node.device),
        NodeKind::Socket => return Err(Fault::Kind("socket")),
        NodeKind::Irregular => return Err(Fault::Kind("file of an unknown kind")),
    };
    made.others += 1;
    done.map_err(Fault::Unwritable)
}

fn file(
    run: &Run<'_>,
    made: &mut Made,
    folder: &OwnedFd,
    path: &Path,
    node: &Node,
) -> Result<(), Fault> {
    let content = node.content.as_deref().unwrap_or_default();
    let inode = (node.links > 1).then_some((node.device_id, node.inode));
    if let Some((first, same)) = inode.and_then(|inode| made.inodes.get(&inode))
        // Changed between its two names while the backup ran: two files then.
        && same == content
    {
        made.links.push((first.clone(), path.to_owned()));
        return Ok(());
    }
    let number = made.files.len();
    let mut offset = 0;
    let mut pieces = Vec::with_capacity(content.len());
    for blob in content {
        let at = run.index.find(BlobKind::Data, blob);
        let at = at.ok_or_else(|| Fault::Damaged(format!("blob {blob} is in no index")))?;
        pieces.push(Piece { at, file: number, offset });
        offset += u64::from(at.blob.size());
    }
    if offset != node.size {
        let what = format!("its parts have {offset} bytes, its size is {}", node.size);
        return Err(Fault::Damaged(what));
    }
    run.place.make_file(folder, number, node.size).map_err(Fault::Unwritable)?;
    if pieces.is_empty() {
        run.place.finish(path, number).map_err(|cause| {
            run.place.discard(path, number);
            Fault::Unwritable(cause)
        })?;
    }
    let open = AtomicUsize::new(pieces.len());
    made.files.push(Unfinished { path: path.to_owned(), open });
    if let Some(inode) = inode {
        made.inodes.entry(inode).or_insert_with(|| (path.to_owned(), content.to_vec()));
    }
    made.bytes += node.size;
    for piece in pieces {
        made.packs.entry(piece.at.pack).or_default().push(piece);
    }
    Ok(())
}

impl Made {
    /// Takes away what did not become whole.
    pub(super) fn discard_unfinished(&self, run: &Run<'_>) {
        for (number, file) in self.files.iter().enumerate() {
            if file.open.load(Ordering::Acquire) > 0 {
                run.place.discard(&file.path, number);
            }
        }
    }
}

/// Gives every further name of an inode to what its first one became. Answers how many it could not.
pub(super) fn hard_links(
    run: &Run<'_>,
    made: &mut Made,
    broken: &HashMap<PathBuf, Broken>,
) -> Result<u64, Error> {
    let mut lost = 0;
    for (first, second) in std::mem::take(&mut made.links) {
        let fault = match broken.get(&first) {
            Some(why) => why.fault(),
            None => match run.place.hard_link(&first, &second) {
                Ok(()) => continue,
                Err(cause) if full(&cause) => {
                    let path = run.options.target.join(second);
                    return Err(Error::Io { action: "writing", path, cause });
                }
                Err(cause) => Fault::Unwritable(cause),
            },
        };
        lost += 1;
        run.problem(&second, fault);
        made.left_out.insert(second);
    }
    Ok(lost)
}
