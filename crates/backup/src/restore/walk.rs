//! The way through the trees: directories, links, devices and empty files are made; all other files
//! are planned, batch by batch. Writes no content.
//!
//! A directory that is only on the way to what is wanted is made when something comes into it.

use super::attributes::{Attributes, Owners};
use super::batch::Batch;
use super::dirs::{Dir, NewDir};
use super::existing::{Around, Existing, Reader, Spot};
use super::files::Made;
use super::output::{Hand, Output};
use super::place::Place;
use super::resume::Resume;
use super::{Action, Mode, RestoreEvent, Run, reachable};
use crate::error::{Error, Fault};
use crate::select::Judged;
use crossbeam_channel::Sender;
use model::Digest;
use repo::tree::{Node, NodeKind};
use rustix::fs::{FileType, Stat};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a directory may have in it, all together, to be made under a name for the time being: so many bytes.
/// After an interruption it is made once more.
const SMALL: u64 = 16 << 20;
/// And so many entries. Naming the directory takes as long as naming three files.
const SEVERAL: std::ops::RangeInclusive<usize> = 8..=4096;

/// Whether these are to be made in a directory that gets its name when they are there: so small files need no names for
/// the time being, which is a third of the time that they take. Directories in it, and files with other names elsewhere,
/// may be there much later.
fn is_small(nodes: &[Node]) -> bool {
    let bytes = nodes.iter().fold(0_u64, |sum, node| sum.saturating_add(node.size));
    let fits = |node: &Node| node.kind != NodeKind::Dir && node.links <= 1;
    SEVERAL.contains(&nodes.len()) && bytes <= SMALL && nodes.iter().all(fits)
}

/// One walk, and what it leaves for afterwards.
pub(super) struct Walk<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) output: &'a Output<'a>,
    resume: &'a mut Resume,
    pub(super) hand: Hand,
    pub(super) owners: Owners,
    pub(super) reader: Reader,
    batches: Sender<Arc<Batch>>,
    pub(super) batch: Batch,
    /// Directories that were not walked through: the next one last.
    pending: Vec<Pending>,
    pub(super) total: Total,
    pub(super) made: Made,
    /// How many directories were made under a name for the time being.
    hidden: u64,
}

#[derive(Default)]
pub(super) struct Total {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// A directory to walk through.
struct Pending {
    dir: Arc<Dir>,
    tree: Digest,
    /// It was there before this run.
    was_there: bool,
    /// It is wanted itself, and to be made.
    is_new: bool,
    /// All in it is wanted, unless it is excepted.
    inherited: bool,
}

/// A directory that is walked through.
pub(super) struct At {
    pub(super) dir: Arc<Dir>,
    pub(super) around: Around,
    /// Its path in the snapshot.
    origin: PathBuf,
    inherited: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        run: &'a Run<'a>,
        output: &'a Output<'a>,
        resume: &'a mut Resume,
        batches: Sender<Arc<Batch>>,
        hand: Hand,
    ) -> Self {
        Self {
            run,
            output,
            resume,
            hand,
            owners: Owners::new(run.options.owner_by_name),
            reader: Reader::new(run.mode == Mode::Verify),
            batches,
            batch: Batch::new(),
            pending: Vec::new(),
            total: Total::default(),
            made: Made::default(),
            hidden: 0,
        }
    }

    /// Walks from the root, which is `base` in the snapshot. Each directory's files come before what is in its
    /// directories, and everything in the order of the names, which is about that of the packs.
    pub(super) fn all(&mut self, root: Digest, base: &Path) -> Result<(), Error> {
        let there = self.run.place.is_some();
        let select = &self.run.options.select;
        // What lies in a wanted directory is wanted, though the walk begins below it.
        let above: Vec<&Path> = base.ancestors().collect();
        let above = above.into_iter().rev().skip(1);
        let inherited = above.fold(false, |inherited, path| select.judge(path, true, inherited).1);
        let (dir, tree) = (Dir::root(there), root);
        self.pending.push(Pending { dir, tree, was_there: there, is_new: false, inherited });
        while let Some(pending) = self.pending.pop() {
            self.run.stopped()?;
            let dir = Arc::clone(&pending.dir);
            if let Some((nodes, at)) = self.open(pending, base)? {
                let before = self.pending.len();
                self.through(at, nodes)?;
                self.pending.get_mut(before..).unwrap_or_default().reverse();
            }
            dir.release(self.run);
        }
        self.send();
        Ok(())
    }

    /// What is left. No batch comes any more.
    pub(super) fn into_made(self) -> Made {
        self.made
    }

    /// A directory's entries; none when they or the directory cannot be had, which is then noted.
    fn open(&mut self, pending: Pending, base: &Path) -> Result<Option<(Vec<Node>, At)>, Error> {
        let run = self.run;
        let Pending { dir, tree, was_there, is_new, inherited } = pending;
        let nodes = run.repository.read_tree(run.index, &tree);
        if is_new {
            if !dir.replaces() && nodes.as_ref().is_ok_and(|nodes| is_small(nodes)) {
                self.hidden += 1;
                run.hide(&dir, self.hidden);
            }
            if let Err(fault) = self.make_all(&dir, None) {
                run.problem(&dir.path(), fault.unless_full(&run.options.target.join(dir.path()))?);
                return Ok(None);
            }
        }
        let nodes = match nodes {
            Ok(nodes) => nodes,
            Err(error) if reachable(&error) => {
                run.problem(&dir.path(), Fault::Damaged(error.to_string()));
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let mut around = Around { folder: None, is_new: !was_there, taken: HashSet::new() };
        if dir.is_there() {
            match self.folder(&dir, was_there) {
                Ok(folder) => around.folder = Some(folder),
                Err(error) => {
                    run.problem(&dir.path(), Fault::Unwritable(error));
                    return Ok(None);
                }
            }
        }
        if was_there && run.options.existing == Existing::KeepBoth {
            around.taken = nodes.iter().map(|node| node.name.clone()).collect();
        }
        let origin = base.join(dir.origin());
        Ok(Some((nodes, At { dir, around, origin, inherited })))
    }

    fn folder(&self, dir: &Dir, was_there: bool) -> io::Result<OwnedFd> {
        let place = self.run.place()?;
        let folder = place.directory(&dir.place_path(place))?;
        if was_there && self.run.mode == Mode::Write && self.resume.is_known() {
            Place::clear(&folder, &self.resume.tokens)?;
        }
        Ok(folder)
    }

    fn through(&mut self, mut at: At, nodes: Vec<Node>) -> Result<(), Error> {
        for mut node in nodes {
            if let Err(fault) = self.entry(&mut at, &mut node) {
                let path = at.dir.path_of(&node.name);
                let fault = fault.unless_full(&self.run.options.target.join(&path))?;
                self.run.problem(&path, fault);
            }
            if self.batch.is_full() {
                self.run.stopped()?;
                self.send();
            }
        }
        Ok(())
    }

    fn entry(&mut self, at: &mut At, node: &mut Node) -> Result<(), Fault> {
        let is_dir = node.kind == NodeKind::Dir;
        let select = &self.run.options.select;
        let (judged, inherited) = match select.is_everything() {
            true => (Judged::In, true),
            false => {
                let path = at.origin.join(OsStr::from_bytes(&node.name));
                select.judge(&path, is_dir, at.inherited)
            }
        };
        match (judged, node.kind) {
            (Judged::Out, _) => Ok(()),
            (_, NodeKind::Dir) => self.directory(at, node, (judged, inherited)),
            (_, NodeKind::File) => self.file(at, node),
            (_, NodeKind::Socket) => Err(Fault::Kind("socket")),
            (_, NodeKind::Irregular) => Err(Fault::Kind("file of an unknown kind")),
            _ => self.special(at, node),
        }
    }

    /// What becomes of existing things, and what goes beside them is called.
    fn existing(&self) -> (Existing, &'a str) {
        (self.run.options.existing, &self.run.options.suffix)
    }

    /// The place that was found. None where something else is, which nobody has thought of.
    pub(super) fn found(&self, spot: io::Result<Option<Spot>>) -> Result<Spot, Fault> {
        let none = if self.run.mode == Mode::Verify { Fault::NotAsWritten } else { Fault::Exists };
        spot.map_err(Fault::Unwritable)?.ok_or(none)
    }

    /// What goes where something else is and stays. Read back, it must have been so before.
    fn skip(&self, at: &At, name: &[u8], bytes: u64) -> Result<(), Fault> {
        let mut skipped = super::lock(&self.run.skipped);
        if self.run.mode == Mode::Verify {
            let is_known = skipped.contains(&at.dir.path_of(name));
            return if is_known { Ok(()) } else { Err(Fault::NotAsWritten) };
        }
        if self.run.options.verify {
            skipped.insert(at.dir.path_of(name));
        }
        self.run.tell(|| at.dir.path_of(name), Action::Skip, bytes);
        self.run.tally.item(Action::Skip);
        Ok(())
    }

    fn directory(
        &mut self,
        at: &mut At,
        node: &mut Node,
        (judged, inherited): (Judged, bool),
    ) -> Result<(), Fault> {
        let Some(tree) = node.subtree else {
            return Err(Fault::Damaged("it is a directory without a tree".to_owned()));
        };
        let is_dir = |_: &OwnedFd, _: &OsStr, stat: &Stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::Directory
        };
        let spot = self.found(at.around.spot(&node.name, self.existing(), is_dir))?;
        if spot.action == Action::Skip {
            return self.skip(at, &node.name, 0);
        }
        let there = spot.action == Action::Same;
        let wanted = judged == Judged::In;
        let attributes = Attributes::of(node, &mut self.owners);
        let is_ours = !there
            || (wanted && self.run.options.existing == Existing::Overwrite)
            || self.resume.has_made(|| at.dir.path_of(&spot.name));
        let new = NewDir {
            name: &spot.name,
            origin: (*spot.name != *node.name).then_some(&node.name),
            attributes: is_ours.then_some(attributes),
            replaces: spot.action == Action::Replace,
            there,
        };
        let dir = Dir::below(&at.dir, new);
        // How it is made depends on what will be in it.
        let is_new = wanted && !there && self.run.mode == Mode::Write;
        if wanted {
            self.tell_dir(at, &spot);
            if !is_new && let Err(fault) = self.make_all(&dir, Some(at)) {
                // The walk will not come to it.
                dir.release(self.run);
                return Err(fault);
            }
            if there || self.run.mode == Mode::Plan {
                super::count(&self.run.tally.dirs);
            }
        }
        self.pending.push(Pending { dir, tree, was_there: there, is_new, inherited });
        Ok(())
    }

    /// A directory that is there already is no news.
    fn tell_dir(&self, at: &At, spot: &Spot) {
        if spot.action != Action::Same {
            self.run.tell(|| at.dir.path_of(&spot.name), spot.action, 0);
            // It is counted as a directory, too.
            self.run.tally.item(spot.action);
        }
    }

    /// Makes a directory of the target, and those above it. In a dry run nothing; read back, none must be missing.
    fn make_all(&mut self, dir: &Arc<Dir>, at: Option<&At>) -> Result<(), Fault> {
        match self.run.mode {
            Mode::Plan => return Ok(()),
            Mode::Verify if dir.is_there() => return Ok(()),
            Mode::Verify => return Err(Fault::NotAsWritten),
            Mode::Write => {}
        }
        let mut missing = dir.missing();
        while let Some(dir) = missing.pop() {
            self.resume.note(|| dir.path());
            let made = match at.and_then(|at| Some((at.around.folder.as_ref()?, &at.dir))) {
                // No way to go.
                Some((folder, in_dir)) if missing.is_empty() && !Arc::ptr_eq(&dir, in_dir) => {
                    dir.make(self.run, folder)
                }
                _ => self.above(&dir).and_then(|above| dir.make(self.run, &above)),
            };
            made.map_err(Fault::Unwritable)?;
            super::count(&self.run.tally.dirs);
        }
        Ok(())
    }

    fn above(&self, dir: &Dir) -> io::Result<OwnedFd> {
        self.run.place()?.directory(&dir.path_above())
    }

    /// A handle on the directory that is walked through, made when it is not there: something goes into it.
    pub(super) fn into<'f>(&mut self, at: &'f mut At) -> Result<&'f OwnedFd, Fault> {
        if at.around.folder.is_none() {
            let dir = Arc::clone(&at.dir);
            self.make_all(&dir, Some(at))?;
            let folder = self.folder(&dir, false).map_err(Fault::Unwritable)?;
            at.around.folder = Some(folder);
        }
        at.around.folder.as_ref().ok_or_else(|| Fault::Unwritable(io::ErrorKind::NotFound.into()))
    }

    /// Tells and counts what is not to be made now. Answers whether it is to be made.
    pub(super) fn is_to_be_made(
        &mut self,
        at: &At,
        spot: &Spot,
        bytes: u64,
    ) -> Result<bool, Fault> {
        match (self.run.mode, spot.action) {
            (_, Action::Skip) => {
                self.skip(at, &spot.name, bytes)?;
                return Ok(false);
            }
            (Mode::Verify, Action::Same) => {
                self.run.tally.verified.fetch_add(bytes, Ordering::Relaxed);
                (self.run.options.events)(RestoreEvent::Bytes(bytes));
                return Ok(false);
            }
            (Mode::Verify, _) => return Err(Fault::NotAsWritten),
            (Mode::Write, Action::Same) => {
                self.total.bytes += bytes;
                (self.run.options.events)(RestoreEvent::Bytes(bytes));
            }
            _ => {}
        }
        self.run.tell(|| at.dir.path_of(&spot.name), spot.action, bytes);
        if self.run.mode == Mode::Plan || spot.action == Action::Same {
            self.run.tally.item(spot.action);
        }
        Ok(self.run.mode == Mode::Write && spot.action != Action::Same)
    }

    /// A link, device or pipe.
    fn special(&mut self, at: &mut At, node: &mut Node) -> Result<(), Fault> {
        let spot = at.around.spot(&node.name, self.existing(), |folder, name, stat| {
            is_special(node, (folder, name, stat))
        });
        let spot = self.found(spot)?;
        let to_be_made = self.is_to_be_made(at, &spot, 0)?;
        if self.run.mode == Mode::Plan && !matches!(spot.action, Action::Same | Action::Skip) {
            super::count(&self.run.tally.others);
        }
        // Another name of it may lie outside.
        let is_alone = spot.stat.is_some_and(|stat| stat.st_nlink == 1);
        let to_be_set = spot.action == Action::Same
            && is_alone
            && (self.run.mode, self.run.options.existing) == (Mode::Write, Existing::Overwrite);
        if !to_be_made && !to_be_set {
            return Ok(());
        }
        let folder = self.into(at)?;
        let (run, name) = (self.run, OsStr::from_bytes(&spot.name));
        if to_be_made {
            let place = run.place().map_err(Fault::Unwritable)?;
            let replace = spot.action == Action::Replace;
            let special = |kind, device| place.make_special(folder, name, (kind, device), replace);
            let made = match node.kind {
                NodeKind::Symlink => place.make_symlink(folder, name, &node.link_target, replace),
                NodeKind::Fifo => special(FileType::Fifo, 0),
                NodeKind::Device => special(FileType::BlockDevice, node.device),
                _ => special(FileType::CharacterDevice, node.device),
            };
            made.map_err(Fault::Unwritable)?;
            super::count(&run.tally.others);
            run.tally.item(spot.action);
        }
        let attributes = Attributes::of(node, &mut self.owners);
        attributes
            .set_on_name(folder, name, node.kind, run.giving())
            .map_err(|errno| Fault::AttributesUnset(errno.into()))
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

/// Whether what is there is that link, device or pipe.
fn is_special(node: &Node, (folder, name, stat): (&OwnedFd, &OsStr, &Stat)) -> bool {
    if crate::mode::kind(stat.st_mode) != node.kind {
        return false;
    }
    match node.kind {
        NodeKind::Symlink => rustix::fs::readlinkat(folder, name, Vec::new())
            .is_ok_and(|target| target.as_bytes() == node.link_target),
        NodeKind::Device | NodeKind::CharDevice => stat.st_rdev == node.device,
        _ => true,
    }
}
