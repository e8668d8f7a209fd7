//! Files of the walk: where each goes, what is there already, and which are one file by several names. Writes no content.

use super::attributes::Attributes;
use super::batch::{FileToDo, Outcome};
use super::dirs::Dir;
use super::existing::{Existing, Reader, Spot};
use super::walk::{At, Walk};
use super::{Action, Broken, Mode, Run};
use crate::error::{Error, Fault, full};
use model::Digest;
use repo::tree::Node;
use repo::{BlobKind, Location};
use rustix::io::Errno;
use sha2::Digest as _;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// What must be made after everything else.
#[derive(Default)]
pub(super) struct Made {
    /// The first name of every inode with several, as far as it was planned.
    inodes: HashMap<(u64, u64), Arc<First>>,
    /// Further names: about 100 bytes and the name each.
    links: Vec<FurtherName>,
}

/// Another name of a file.
struct FurtherName {
    first: Arc<First>,
    dir: Arc<Dir>,
    name: Box<[u8]>,
    action: Action,
}

/// The first name of an inode.
struct First {
    dir: Arc<Dir>,
    name: Box<[u8]>,
    /// Hash of its list of blobs.
    content: Digest,
    /// What it is in the target, where it was there.
    inode: Option<(u64, u64)>,
    outcome: Outcome,
}

impl Walk<'_> {
    pub(super) fn file(&mut self, at: &mut At, node: &mut Node) -> Result<(), Fault> {
        let inode = (node.links > 1).then_some((node.device_id, node.inode));
        let blobs = node.content.take().unwrap_or_default();
        let hash = inode.map(|_| hash(&blobs)).unwrap_or(Digest([0; 32]));
        if let Some(first) = inode.and_then(|inode| self.made.inodes.get(&inode))
            // Changed between its two names while the backup ran: two files then.
            && first.content == hash
        {
            return self.further(at, node, &blobs, Arc::clone(first));
        }
        let content = self.locate(&blobs, node.size)?;
        let (run, reader, wanted) = (self.run, &mut self.reader, (content.as_slice(), node.size));
        let spot = at.around.spot(
            &node.name,
            (run.options.existing, &run.options.suffix),
            |folder, name, stat| reader.has((folder, name, stat), wanted, || run.stopped().is_ok()),
        );
        if run.stopped().is_err() {
            return Ok(());
        }
        let mut spot = self.found(spot)?;
        let attributes = Attributes::of(node, &mut self.owners);
        let mut unset = None;
        if spot.action == Action::Same
            && run.options.existing == Existing::Overwrite
            && run.mode != Mode::Verify
        {
            unset = self.bring(at, &mut spot, &attributes);
        }
        let to_be_made = self.is_to_be_made(at, &spot, node.size)?;
        if spot.action == Action::Skip {
            return Ok(());
        }
        if !to_be_made {
            if let Some(inode) = inode {
                self.first(at, &spot, inode, hash, Some(None));
            }
            if spot.action != Action::Same && run.mode == Mode::Plan {
                super::count(&run.tally.files);
                run.tally.bytes.fetch_add(node.size, Ordering::Relaxed);
            }
            return unset.map_or(Ok(()), |errno| Err(Fault::AttributesUnset(errno.into())));
        }
        self.into(at)?;
        let outcome = inode.map(|inode| self.first(at, &spot, inode, hash, None));
        at.dir.hold();
        let file = FileToDo {
            dir: Arc::clone(&at.dir),
            name: spot.name,
            size: node.size,
            action: spot.action,
            attributes,
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

    /// Notes the first name of an inode. Without what became of it, that will be told.
    fn first(
        &mut self,
        at: &At,
        spot: &Spot,
        inode: (u64, u64),
        content: Digest,
        became: Option<Option<Broken>>,
    ) -> Outcome {
        let outcome = Outcome::default();
        if let Some(became) = became {
            let _ = outcome.set(became);
        }
        let told = Arc::clone(&outcome);
        self.made.inodes.entry(inode).or_insert_with(|| {
            // Until its other names are there, nobody may be shut out of its directory.
            at.dir.hold();
            let inode = spot.stat.map(|stat| (stat.st_dev, stat.st_ino));
            Arc::new(First {
                dir: Arc::clone(&at.dir),
                name: spot.name.clone(),
                content,
                inode,
                outcome,
            })
        });
        told
    }

    /// Another name of a file.
    fn further(
        &mut self,
        at: &mut At,
        node: &Node,
        blobs: &[Digest],
        first: Arc<First>,
    ) -> Result<(), Fault> {
        let content = self.locate(blobs, node.size)?;
        let (run, reader, wanted) = (self.run, &mut self.reader, (content.as_slice(), node.size));
        let spot = at.around.spot(
            &node.name,
            (run.options.existing, &run.options.suffix),
            |folder, name, stat| match run.options.existing {
                Existing::Overwrite => first.inode == Some((stat.st_dev, stat.st_ino)),
                _ => reader.has((folder, name, stat), wanted, || run.stopped().is_ok()),
            },
        );
        let spot = self.found(spot)?;
        let to_be_made = self.is_to_be_made(at, &spot, node.size)?;
        if run.mode == Mode::Plan && !matches!(spot.action, Action::Same | Action::Skip) {
            super::count(&run.tally.files);
        }
        if to_be_made {
            self.into(at)?;
            at.dir.hold();
            let (dir, action) = (Arc::clone(&at.dir), spot.action);
            self.made.links.push(FurtherName { first, dir, name: spot.name, action });
        }
        Ok(())
    }

    /// Gives a file that has its content already its attributes. One that has other names, which may lie outside, is
    /// replaced instead. Answers why they could not be set.
    fn bring(&self, at: &At, spot: &mut Spot, attributes: &Attributes) -> Option<Errno> {
        let folder = at.around.folder.as_ref()?;
        let Ok((file, stat)) = Reader::open(folder, OsStr::from_bytes(&spot.name)) else {
            (spot.action, spot.stat) = (Action::Replace, None);
            return None;
        };
        if attributes.are_on(&file, &stat, self.run.gives_away) {
            return None;
        }
        if stat.st_nlink != 1 || !attributes.fit(&file) {
            (spot.action, spot.stat) = (Action::Replace, None);
            return None;
        }
        match self.run.mode {
            Mode::Write => attributes.set_on_file(&file, self.run.giving()).err(),
            _ => None,
        }
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
}

fn hash(content: &[Digest]) -> Digest {
    let mut all = sha2::Sha256::new();
    content.iter().for_each(|blob| all.update(blob.as_bytes()));
    Digest(all.finalize().into())
}

impl Made {
    /// Gives every further name of an inode to what its first one became.
    pub(super) fn link(&mut self, run: &Run<'_>) -> Result<(), Error> {
        for FurtherName { first, dir, name, action } in std::mem::take(&mut self.links) {
            let path = dir.path_of(&name);
            let link = || {
                let first = first.dir.path_of(&first.name);
                run.place()?.hard_link(&first, &path, action == Action::Replace)
            };
            let fault = match first.outcome.get() {
                Some(None) => match link() {
                    Ok(()) => {
                        super::count(&run.tally.files);
                        run.tally.item(action);
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
