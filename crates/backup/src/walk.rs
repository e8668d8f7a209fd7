//! Directories: listed, compared with what the parent snapshot says, their files passed on.
//!
//! Decides what is unchanged since the parent snapshot, as restic does: same size, times and inode,
//! and all its blobs still indexed. Such an entry keeps its text: whatever else could have changed of
//! it would have changed its inode's time. Reads no file.

use crate::View;
use crate::error::Fault;
use crate::files::{FileJob, Files};
use crate::meta::{self, Item};
use crate::run::{Directory, Run};
use crate::targets::Target;
use model::Digest;
use repo::former::Former;
use repo::tree::{Node, NodeKind};
use repo::{BlobKind, Condensed, Repository};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory still to be entered.
pub(crate) struct Pending {
    /// Where it is an entry, and which; none for the root.
    pub(crate) above: Option<(Arc<Directory>, usize)>,
    pub(crate) name: Vec<u8>,
    /// Its tree in the parent snapshot.
    pub(crate) former: Option<Digest>,
    /// Only these entries; all of them when none.
    pub(crate) only: Option<BTreeMap<Vec<u8>, Target>>,
    /// The file system to stay on, where that is wanted and known.
    pub(crate) device: Option<u64>,
}

impl Pending {
    /// Where a backup of these targets begins.
    pub(crate) fn root(targets: Target, former: Option<Digest>) -> Self {
        let only = match targets {
            Target::Whole(_) => None,
            Target::Way(only) => Some(only),
        };
        Self { above: None, name: Vec::new(), former, only, device: None }
    }

    fn path(&self) -> PathBuf {
        match &self.above {
            Some((above, _)) => above.path.join(OsStr::from_bytes(&self.name)),
            None => "/".into(),
        }
    }

    /// Where it is read from, if that is not its path.
    fn from(&self, view: &View, path: &Path) -> Option<PathBuf> {
        match &self.above {
            Some((above, _)) => above.from(view, path),
            None => view.of(path, None),
        }
    }

    /// The entry is left out where it belongs.
    fn leave_out(&self, run: &Run<'_>) {
        if let Some((above, at)) = &self.above {
            above.put(run, *at, None);
        }
    }
}

/// What enters directories; each worker has one.
pub(crate) struct Walk<'a, 'run> {
    pub(crate) run: &'a Run<'run>,
    pub(crate) repository: &'a Repository,
    pub(crate) files: Files<'a, 'run>,
}

/// An entry as listed: its name, and its kind where the directory tells.
type Listed = (Vec<u8>, FileType);

/// A directory that is being entered.
struct Entering<'a> {
    directory: &'a Arc<Directory>,
    /// None where it could not be opened, and so has no entries.
    handle: Option<&'a File>,
    /// The file system to stay on.
    device: Option<u64>,
}

impl Walk<'_, '_> {
    /// Enters one directory: every entry of it is done or passed on.
    pub(crate) fn enter(&self, mut pending: Pending) {
        if self.run.stopped() {
            return;
        }
        let path = pending.path();
        let (handle, from) = self.open(&pending, &path);
        let node = match self.own_node(&pending, (&path, from.as_deref()), &handle) {
            Ok(node) => node,
            Err(fault) => {
                self.run.problem(&path, fault);
                return pending.leave_out(self.run);
            }
        };
        let listed = match (&pending.only, &handle) {
            (Some(only), _) => {
                Ok(only.keys().map(|name| (name.clone(), FileType::Unknown)).collect())
            }
            (None, Ok(handle)) => list(handle),
            (None, Err(error)) => Err(io::Error::from(error.kind())),
        };
        let mut listed = listed.unwrap_or_else(|error| {
            let vanished = error.kind() == io::ErrorKind::NotFound;
            let fault = if vanished { Fault::Vanished } else { Fault::Unreadable(error) };
            self.run.problem(&path, fault);
            Vec::new()
        });
        let device = self.stay_on(&pending, &handle, &mut listed);
        if pending.only.is_none() {
            let handle = handle.as_ref().ok();
            self.run.options.exclude.filter(&path, handle, device, &mut listed);
        }
        let mut text = self.former_text(&path, pending.former);
        let formerly = self.former_entries(&path, pending.former, text.as_mut());
        let mut only = pending.only.take();
        let directory =
            Directory::new((path, from), node, pending.former, listed.len(), pending.above.take());
        let entering = Entering { directory: &directory, handle: handle.as_ref().ok(), device };
        let mut formerly = formerly.into_iter().peekable();
        for (at, (name, kind)) in listed.into_iter().enumerate() {
            if self.run.stopped() {
                return;
            }
            while formerly.next_if(|former| former.name < name).is_some() {}
            let before = formerly.next_if(|former| former.name == name);
            let target = only.as_mut().and_then(|only| only.remove(&name));
            self.entry(&entering, at, name, kind, target, before);
        }
        directory.release(self.run);
    }

    /// A handle on a directory, and where it is read from if that is not its path.
    fn open(&self, pending: &Pending, path: &Path) -> (io::Result<File>, Option<PathBuf>) {
        let (view, follow) = (&self.run.options.view, pending.only.is_some());
        let Some(from) = pending.from(view, path) else { return (open(path, follow), None) };
        let handle = open(&from, follow);
        let stat = handle.as_ref().ok().and_then(|handle| handle.metadata().ok());
        if stat.is_some_and(|stat| view.is_stand_in(path, stat.ino())) {
            self.run.not_held(path);
            return (open(path, follow), None);
        }
        (handle, Some(from))
    }

    /// The file system to stay on below, where that is wanted: that of the path that was named. A directory that is on another one
    /// loses its entries.
    fn stay_on(
        &self,
        pending: &Pending,
        handle: &io::Result<File>,
        listed: &mut Vec<Listed>,
    ) -> Option<u64> {
        if !self.run.options.exclude.one_file_system || pending.only.is_some() {
            return None;
        }
        let own = handle.as_ref().ok().and_then(|handle| Some(handle.metadata().ok()?.dev()));
        if pending.device.is_some() && own.is_some() && own != pending.device {
            listed.clear();
        }
        pending.device.or(own)
    }

    /// The directory's own node; none for the root.
    fn own_node(
        &self,
        pending: &Pending,
        (path, from): (&Path, Option<&Path>),
        handle: &io::Result<File>,
    ) -> Result<Option<Node>, Fault> {
        if pending.above.is_none() {
            return Ok(None);
        }
        let from = from.unwrap_or(path);
        let (item, stat) = match handle {
            Ok(handle) => (Item::Open(handle), handle.metadata()),
            Err(_) if pending.only.is_some() => (Item::Named(from), std::fs::metadata(from)),
            Err(_) => (Item::Named(from), std::fs::symlink_metadata(from)),
        };
        let stat = stat.map_err(unreadable)?;
        if crate::mode::kind(stat.mode()) != NodeKind::Dir {
            return Err(Fault::Replaced);
        }
        Ok(Some(self.node(&pending.name, path, item, &stat)))
    }

    /// The text of the tree that a directory had; none, as if it were new, for a long one that no
    /// restic has written.
    fn former_text(&self, path: &Path, former: Option<Digest>) -> Option<Condensed> {
        let tree = former?;
        let copies: Vec<_> =
            self.run.writer.with_index(|index| index.copies(BlobKind::Tree, &tree).collect());
        let text = self.repository.read_condensed(&tree, copies);
        text.map_err(|error| self.former_is_damaged(path, &tree, error)).ok().flatten()
    }

    fn former_entries<'t>(
        &self,
        path: &Path,
        former: Option<Digest>,
        text: Option<&'t mut Condensed>,
    ) -> Vec<Former<'t>> {
        let (Some(tree), Some(text)) = (former, text) else { return Vec::new() };
        text.entries().unwrap_or_else(|what| {
            let fault = repo::Error::Tree { tree: tree.to_hex(), what };
            self.former_is_damaged(path, &tree, fault);
            Vec::new()
        })
    }

    /// Nothing new may rely on it: the same tree, made again, is stored again.
    fn former_is_damaged(&self, path: &Path, tree: &Digest, fault: repo::Error) {
        self.run.writer.distrust(BlobKind::Tree, tree);
        self.run.suspect_trees();
        self.run.problem(path, Fault::ParentTree(fault));
    }

    fn entry(
        &self,
        entering: &Entering<'_>,
        at: usize,
        name: Vec<u8>,
        kind: FileType,
        target: Option<Target>,
        before: Option<Former<'_>>,
    ) {
        let directory = entering.directory;
        let only = match target {
            Some(Target::Way(only)) => Some(only),
            _ => None,
        };
        let kind = match kind {
            _ if only.is_some() => Ok(NodeKind::Dir),
            FileType::RegularFile => Ok(NodeKind::File),
            FileType::Directory => Ok(NodeKind::Dir),
            _ => self.kind_of(directory, &name),
        };
        match kind {
            Ok(NodeKind::Dir) => {
                let former =
                    before.filter(|node| node.kind == NodeKind::Dir).and_then(|node| node.subtree);
                let above = Some((Arc::clone(directory), at));
                self.files.work.add_directory(Pending {
                    above,
                    name,
                    former,
                    only,
                    device: entering.device,
                });
            }
            Ok(NodeKind::File) => self.file(entering, at, name, before),
            Ok(NodeKind::Socket | NodeKind::Irregular) => directory.put(self.run, at, None),
            Ok(_) => self.special(directory, at, &name),
            Err(fault) => {
                self.run.problem(&directory.path.join(OsStr::from_bytes(&name)), fault);
                directory.put(self.run, at, None);
            }
        }
    }

    fn kind_of(&self, directory: &Directory, name: &[u8]) -> Result<NodeKind, Fault> {
        let path = directory.path.join(OsStr::from_bytes(name));
        let from = directory.from(&self.run.options.view, &path);
        let stat = std::fs::symlink_metadata(from.unwrap_or(path)).map_err(unreadable)?;
        Ok(crate::mode::kind(stat.mode()))
    }

    /// A link, device or pipe.
    fn special(&self, directory: &Arc<Directory>, at: usize, name: &[u8]) {
        let path = directory.path.join(OsStr::from_bytes(name));
        let from = directory.from(&self.run.options.view, &path);
        let from = from.as_ref().unwrap_or(&path);
        match std::fs::symlink_metadata(from) {
            Ok(stat) => {
                let node = self.node(name, &path, Item::Named(from), &stat);
                directory.put(self.run, at, Some(&node));
            }
            Err(error) => {
                self.run.problem(&path, unreadable(error));
                directory.put(self.run, at, None);
            }
        }
    }

    fn node(&self, name: &[u8], path: &Path, item: Item<'_>, stat: &std::fs::Metadata) -> Node {
        let (mut node, fault) =
            meta::node(name, item, stat, &self.run.owners, self.run.options.with_atime);
        node.device_id = self.run.options.view.own_device(node.device_id);
        if let Some(error) = fault {
            self.run.problem(path, Fault::Attributes(error));
        }
        node
    }

    fn file(&self, entering: &Entering<'_>, at: usize, name: Vec<u8>, before: Option<Former<'_>>) {
        let directory = entering.directory;
        let known = before.is_some();
        if let Some(before) = before.filter(|before| before.kind == NodeKind::File)
            && let Some(handle) = entering.handle
            && let Ok(stat) =
                rustix::fs::statat(handle, OsStr::from_bytes(&name), AtFlags::SYMLINK_NOFOLLOW)
            && unchanged(&before, &stat)
        {
            if self.run.has_all(&before.content) {
                return self.unchanged_file(directory, at, &before, &stat);
            }
            let path = directory.path.join(OsStr::from_bytes(&name));
            self.run.problem(&path, Fault::PartsMissing);
        }
        let job = FileJob { name, known, directory: Arc::clone(directory), at };
        if let Err(job) = self.files.work.offer_file(job) {
            self.files.file(job);
        }
    }

    fn unchanged_file(
        &self,
        directory: &Arc<Directory>,
        at: usize,
        before: &Former<'_>,
        stat: &Stat,
    ) {
        self.run.unmodified(before.size);
        let whole = !self.run.options.with_atime
            && before.device_id == self.run.options.view.own_device(stat.st_dev)
            && (before.uid, before.gid) == (stat.st_uid, stat.st_gid)
            && self.run.owners.are((before.uid, &before.user), (before.gid, &before.group));
        if whole {
            return directory.put_entry(self.run, at, before.entry());
        }
        // The content is what it was, the rest is looked at anew.
        let path = directory.path.join(OsStr::from_bytes(&before.name));
        let from = directory.from(&self.run.options.view, &path);
        let from = from.as_ref().unwrap_or(&path);
        match std::fs::symlink_metadata(from) {
            Ok(stat) => {
                let node = self.node(&before.name, &path, Item::Named(from), &stat);
                directory.put_file(self.run, at, &node, before.content.clone());
            }
            Err(error) => {
                self.run.problem(&path, unreadable(error));
                directory.put(self.run, at, None);
            }
        }
    }
}

fn unreadable(error: io::Error) -> Fault {
    if error.kind() == io::ErrorKind::NotFound { Fault::Vanished } else { Fault::Unreadable(error) }
}

/// Whether nothing says that the content changed.
fn unchanged(before: &Former<'_>, stat: &Stat) -> bool {
    let moment = |seconds: i64, nanoseconds: u64| {
        meta::moment(seconds, i64::try_from(nanoseconds).unwrap_or(0))
    };
    u64::try_from(stat.st_size) == Ok(before.size)
        && before.inode == stat.st_ino
        && before.mtime == moment(stat.st_mtime, stat.st_mtime_nsec)
        && before.ctime == moment(stat.st_ctime, stat.st_ctime_nsec)
}

/// A directory, by its own name; through links only where it is on the way to a target.
fn open(path: &Path, follow: bool) -> io::Result<File> {
    let last = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | last;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// A directory's entries in ascending order of name.
fn list(directory: &File) -> io::Result<Vec<Listed>> {
    let mut listed = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            listed.push((name.to_vec(), entry.file_type()));
        }
    }
    listed.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok(listed)
}
