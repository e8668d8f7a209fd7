//! First pass: everything is made, empty; what goes where is noted. Writes no content.

use super::Run;
use super::place::{self, below};
use crate::error::{Error, Fault};
use model::Digest;
use repo::tree::{Node, NodeKind};
use repo::{BlobKind, Location};
use rustix::fs::FileType;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What the first pass made, and what the second must do.
#[derive(Default)]
pub(super) struct Made {
    /// Files by number, with their paths below the target.
    pub(super) files: Vec<PathBuf>,
    /// (first, second) name of one inode.
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    /// For each pack, the blobs wanted from it.
    pub(super) packs: HashMap<Digest, Vec<Piece>>,
    pub(super) bytes: u64,
    pub(super) dirs: u64,
    pub(super) others: u64,
    /// First path, content and size of every inode with several names.
    inodes: HashMap<(u64, u64), (PathBuf, Vec<Digest>)>,
}

/// One blob's way into one file.
pub(super) struct Piece {
    pub(super) at: Location,
    pub(super) file: usize,
    pub(super) offset: u64,
}

pub(super) fn all(run: &Run<'_>, root: Digest) -> Result<Made, Error> {
    let mut made = Made::default();
    let mut pending = vec![(PathBuf::new(), root)];
    while let Some((path, tree)) = pending.pop() {
        run.stopped()?;
        let Some(nodes) = read(run, &path, &tree)? else { continue };
        let folder = match run.place.directory(&path) {
            Ok(folder) => folder,
            Err(error) => {
                run.problem(&path, Fault::Unwritable(error));
                continue;
            }
        };
        for node in nodes {
            let name = below(&path, &node.name);
            if let Err(fault) = entry(run, &mut made, &folder, &name, &node) {
                if matches!(&fault, Fault::Unwritable(e) if e.kind() == std::io::ErrorKind::StorageFull)
                {
                    let Fault::Unwritable(cause) = fault else { continue };
                    return Err(Error::Io {
                        action: "writing",
                        path: run.options.target.join(name),
                        cause,
                    });
                }
                run.problem(&name, fault);
            } else if let (NodeKind::Dir, Some(subtree)) = (node.kind, node.subtree) {
                pending.push((name, subtree));
            }
        }
    }
    Ok(made)
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
    let special = |kind, device| place::make_special(folder, name, kind, device);
    let done = match node.kind {
        NodeKind::File => return file(run, made, folder, path, node),
        NodeKind::Dir => {
            made.dirs += 1;
            return place::make_dir(folder, name).map_err(Fault::Unwritable);
        }
        NodeKind::Symlink => place::make_symlink(folder, name, &node.link_target),
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
    if node.links > 1 {
        let inode = (node.device_id, node.inode);
        match made.inodes.get(&inode) {
            Some((first, same)) if same == content => {
                made.links.push((first.clone(), path.to_owned()));
                return Ok(());
            }
            // Changed between its two names while the backup ran: two files then.
            Some(_) => {}
            None => {
                made.inodes.insert(inode, (path.to_owned(), content.to_vec()));
            }
        }
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
    let name = OsStr::from_bytes(&node.name);
    place::make_file(folder, name, node.size).map_err(Fault::Unwritable)?;
    made.files.push(path.to_owned());
    made.bytes += node.size;
    for piece in pieces {
        made.packs.entry(piece.at.pack).or_default().push(piece);
    }
    Ok(())
}

/// Gives every further name of an inode to what its first one became. What cannot be linked joins `broken`.
pub(super) fn hard_links(run: &Run<'_>, made: &Made, broken: &mut HashMap<PathBuf, String>) {
    for (first, second) in &made.links {
        if let Some(why) = broken.get(first).cloned() {
            run.problem(second, Fault::Damaged(why.clone()));
            broken.insert(second.clone(), why);
        } else if let Err(error) = run.place.hard_link(first, second) {
            broken.insert(second.clone(), error.to_string());
            run.problem(second, Fault::Unwritable(error));
        }
    }
}
