//! The way through the trees: directories, links, devices and empty files are made; all other files
//! are planned, batch by batch. Writes no content.

use super::attributes::{Attributes, Owners};
use super::batch::{Batch, FileToDo, Outcome};
use super::dirs::Dir;
use super::output::{Hand, Output};
use super::place;
use super::{RestoreEvent, Run, reachable};
use crate::error::{Error, Fault, full};
use crossbeam_channel::Sender;
use model::Digest;
use repo::tree::{Node, NodeKind};
use repo::{BlobKind, Location};
use rustix::fs::FileType;
use sha2::Digest as _;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};

/// One walk, and what it leaves for afterwards.
pub(super) struct Walk<'a> {
    run: &'a Run<'a>,
    output: &'a Output<'a>,
    hand: Hand,
    owners: Owners,
    batches: Sender<Arc<Batch>>,
    batch: Batch,
    /// Directories that were made and not walked through: the next one last.
    pending: Vec<(Arc<Dir>, Digest)>,
    total: Total,
    made: Made,
}

#[derive(Default)]
struct Total {
    files: u64,
    bytes: u64,
}

/// What the walk made itself, and must be made after everything else.
#[derive(Default)]
pub(super) struct Made {
    pub(super) dirs: u64,
    pub(super) others: u64,
    /// The first name of every inode with several, as far as it was planned.
    inodes: HashMap<(u64, u64), Arc<First>>,
    /// Further names: about 100 bytes and the name each.
    links: Vec<FurtherName>,
}

/// Whose, in which directory, and which.
type FurtherName = (Arc<First>, Arc<Dir>, Box<[u8]>);

/// The first name of an inode.
struct First {
    dir: Arc<Dir>,
    name: Box<[u8]>,
    /// Hash of its list of blobs.
    content: Digest,
    outcome: Outcome,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        run: &'a Run<'a>,
        output: &'a Output<'a>,
        batches: Sender<Arc<Batch>>,
        hand: Hand,
    ) -> Self {
        Self {
            run,
            output,
            hand,
            owners: Owners::new(run.options.owner_by_name),
            batches,
            batch: Batch::new(),
            pending: Vec::new(),
            total: Total::default(),
            made: Made::default(),
        }
    }

    /// Walks from the root. Each directory's files come before what is in its directories, and
    /// everything in the order of the names, which is about that of the packs.
    pub(super) fn all(&mut self, root: Digest) -> Result<(), Error> {
        self.pending.push((Dir::root(), root));
        while let Some((dir, tree)) = self.pending.pop() {
            self.run.stopped()?;
            if let Some((nodes, folder)) = self.open(&dir, &tree)? {
                let before = self.pending.len();
                self.through(&dir, &folder, nodes)?;
                self.pending.get_mut(before..).unwrap_or_default().reverse();
            }
            dir.release(self.run);
        }
        self.send();
        Ok(())
    }

    /// What it made. No batch comes any more.
    pub(super) fn into_made(self) -> Made {
        self.made
    }

    /// A directory's entries; none when they or the directory cannot be had, which is then noted.
    fn open(&self, dir: &Arc<Dir>, tree: &Digest) -> Result<Option<(Vec<Node>, OwnedFd)>, Error> {
        let run = self.run;
        let nodes = match run.repository.read_tree(run.index, tree) {
            Ok(nodes) => nodes,
            Err(error) if reachable(&error) => {
                run.problem(&dir.path(), Fault::Damaged(error.to_string()));
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let path = dir.path();
        match run.place.directory(&path) {
            Ok(folder) => Ok(Some((nodes, folder))),
            Err(error) => {
                run.problem(&path, Fault::Unwritable(error));
                Ok(None)
            }
        }
    }

    fn through(&mut self, dir: &Arc<Dir>, folder: &OwnedFd, nodes: Vec<Node>) -> Result<(), Error> {
        for mut node in nodes {
            match self.entry(dir, folder, &mut node) {
                Err(Fault::Unwritable(cause)) if full(&cause) => {
                    let path = self.run.options.target.join(dir.path_of(&node.name));
                    return Err(Error::Io { action: "writing", path, cause });
                }
                Err(fault) => self.run.problem(&dir.path_of(&node.name), fault),
                Ok(()) => {}
            }
            if self.batch.is_full() {
                self.run.stopped()?;
                self.send();
            }
        }
        Ok(())
    }

    fn entry(&mut self, dir: &Arc<Dir>, folder: &OwnedFd, node: &mut Node) -> Result<(), Fault> {
        let place = &self.run.place;
        let name = OsStr::from_bytes(&node.name);
        let special = |kind, device| place.make_special(folder, name, kind, device);
        let done = match (node.kind, node.subtree) {
            (NodeKind::File, _) => return self.file(dir, node),
            (NodeKind::Dir, None) => {
                return Err(Fault::Damaged("it is a directory without a tree".to_owned()));
            }
            (NodeKind::Dir, Some(tree)) => {
                place::make_dir(folder, name).map_err(Fault::Unwritable)?;
                self.made.dirs += 1;
                let attributes = Attributes::of(node, &mut self.owners);
                self.pending.push((Dir::below(dir, &node.name, attributes), tree));
                return Ok(());
            }
            (NodeKind::Symlink, _) => place.make_symlink(folder, name, &node.link_target),
            (NodeKind::Fifo, _) => special(FileType::Fifo, 0),
            (NodeKind::Device, _) => special(FileType::BlockDevice, node.device),
            (NodeKind::CharDevice, _) => special(FileType::CharacterDevice, node.device),
            (NodeKind::Socket, _) => return Err(Fault::Kind("socket")),
            (NodeKind::Irregular, _) => return Err(Fault::Kind("file of an unknown kind")),
        };
        done.map_err(Fault::Unwritable)?;
        self.made.others += 1;
        let attributes = Attributes::of(node, &mut self.owners);
        let name = OsStr::from_bytes(&node.name);
        attributes
            .set_on_name(folder, name, node.kind, self.run.give_away)
            .map_err(|errno| Fault::AttributesUnset(errno.into()))
    }

    fn file(&mut self, dir: &Arc<Dir>, node: &mut Node) -> Result<(), Fault> {
        let inode = (node.links > 1).then_some((node.device_id, node.inode));
        let content = node.content.take().unwrap_or_default();
        let hash = inode.map(|_| hash(&content)).unwrap_or(Digest([0; 32]));
        if let Some(first) = inode.and_then(|inode| self.made.inodes.get(&inode))
            // Changed between its two names while the backup ran: two files then.
            && first.content == hash
        {
            dir.hold();
            let link = (Arc::clone(first), Arc::clone(dir), node.name.as_slice().into());
            self.made.links.push(link);
            return Ok(());
        }
        let content = self.locate(&content, node.size)?;
        let outcome = inode.map(|inode| {
            let outcome = Outcome::default();
            self.made.inodes.entry(inode).or_insert_with(|| {
                // Until its other names are there, nobody may be shut out of its directory.
                dir.hold();
                let name = node.name.as_slice().into();
                let outcome = Arc::clone(&outcome);
                Arc::new(First { dir: Arc::clone(dir), name, content: hash, outcome })
            });
            outcome
        });
        dir.hold();
        let file = FileToDo {
            dir: Arc::clone(dir),
            name: node.name.as_slice().into(),
            size: node.size,
            attributes: Attributes::of(node, &mut self.owners),
            dense: Box::default(),
            left: 0.into(),
            broken: OnceLock::new(),
            unfinished: OnceLock::new(),
            outcome,
        };
        self.total.files += 1;
        self.total.bytes += node.size;
        if content.is_empty() {
            self.output.put_empty(&mut self.hand, self.batch.number_of_next(), &file);
        } else {
            self.batch.add(file, &content);
        }
        Ok(())
    }

    /// Where a file's blobs are.
    fn locate(&self, content: &[Digest], size: u64) -> Result<Vec<Location>, Fault> {
        let find = |blob| {
            let at = self.run.index.find(BlobKind::Data, blob);
            at.ok_or_else(|| Fault::Damaged(format!("blob {blob} is in no index")))
        };
        let found = content.iter().map(find).collect::<Result<Vec<Location>, Fault>>()?;
        let sum: u64 = found.iter().map(|at| u64::from(at.blob.size())).sum();
        if sum != size {
            let what = format!("its parts have {sum} bytes, its size is {size}");
            return Err(Fault::Damaged(what));
        }
        Ok(found)
    }

    /// Hands the batch over, as soon as the one before is taken; says what there is to do.
    fn send(&mut self) {
        let Total { files, bytes } = self.total;
        (self.run.options.events)(RestoreEvent::Total { files, bytes });
        let next = self.batch.next();
        let mut batch = std::mem::replace(&mut self.batch, next);
        if batch.is_empty() {
            return;
        }
        batch.plan();
        // Fails only when the receiver is gone, which outlives this.
        let _ = self.batches.send(Arc::new(batch));
    }
}

fn hash(content: &[Digest]) -> Digest {
    let mut all = sha2::Sha256::new();
    content.iter().for_each(|blob| all.update(blob.as_bytes()));
    Digest(all.finalize().into())
}

impl Made {
    /// Gives every further name of an inode to what its first one became.
    pub(super) fn link(&mut self, run: &Run<'_>) -> Result<(), Error> {
        for (first, dir, name) in std::mem::take(&mut self.links) {
            let path = dir.path_of(&name);
            let fault = match first.outcome.get() {
                Some(None) => match run.place.hard_link(&first.dir.path_of(&first.name), &path) {
                    Ok(()) => {
                        run.files.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        None
                    }
                    Err(cause) if full(&cause) => {
                        let path = run.options.target.join(path);
                        return Err(Error::Io { action: "writing", path, cause });
                    }
                    Err(cause) => Some(Fault::Unwritable(cause)),
                },
                Some(Some(why)) => Some(why.fault()),
                None => Some(Fault::Unwritable(io::ErrorKind::NotFound.into())),
            };
            if let Some(fault) = fault {
                run.problem(&path, fault);
            }
            dir.release(run);
        }
        for (_, first) in self.inodes.drain() {
            first.dir.release(run);
        }
        Ok(())
    }
}
