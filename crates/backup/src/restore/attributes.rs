//! Last pass: owners, extended attributes, modes and times, in this order, because each of the
//! first changes what the later ones set. Directories come after everything in them. Writes no content.

use super::Run;
use super::place::below;
use crate::error::{Error, Fault};
use crate::mode;
use jiff::Timestamp;
use model::Digest;
use repo::tree::{Node, NodeKind};
use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(super) fn all(
    run: &Run<'_>,
    root: Digest,
    broken: &HashMap<PathBuf, String>,
) -> Result<(), Error> {
    let setter = Setter {
        run,
        // Without being root, owners cannot be given away; that is no news to the user.
        owners: rustix::process::geteuid().is_root(),
    };
    let mut pending = vec![(PathBuf::new(), root)];
    let mut directories = Vec::new();
    while let Some((path, tree)) = pending.pop() {
        run.stopped()?;
        // A damaged tree was named by the first pass.
        let Ok(nodes) = run.repository.read_tree(run.index, &tree) else { continue };
        let Ok(folder) = run.place.directory(&path) else { continue };
        for node in nodes {
            let name = below(&path, &node.name);
            if broken.contains_key(&name) {
                continue;
            }
            if let (NodeKind::Dir, Some(subtree)) = (node.kind, node.subtree) {
                pending.push((name.clone(), subtree));
                directories.push((name, node));
            } else {
                setter.set(&folder, &name, &node);
            }
        }
    }
    for (path, node) in directories.into_iter().rev() {
        if let Ok(folder) = run.place.directory(path.parent().unwrap_or(Path::new(""))) {
            setter.set(&folder, &path, &node);
        }
    }
    Ok(())
}

struct Setter<'a> {
    run: &'a Run<'a>,
    owners: bool,
}

impl Setter<'_> {
    fn set(&self, folder: &OwnedFd, path: &Path, node: &Node) {
        match self.try_set(folder, node) {
            // Not there: what prevented it from being made was noted then.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                self.run.problem(path, Fault::AttributesUnset(io::Error::from(errno)));
            }
        }
    }

    fn try_set(&self, folder: &OwnedFd, node: &Node) -> Result<(), Errno> {
        let name = OsStr::from_bytes(&node.name);
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if mode::kind(stat.st_mode) != node.kind {
            return Err(Errno::NOENT);
        }
        let mut first = Ok(());
        let mut note = |done: Result<(), Errno>| first = first.and(done);
        if self.owners {
            let (uid, gid) = self.owner(node);
            note(rustix::fs::chownat(
                folder,
                name,
                Some(Uid::from_raw(uid)),
                Some(Gid::from_raw(gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            ));
        }
        // Extended attributes have no call relative to a directory; its own name in /proc serves.
        let through = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        for xattr in &node.xattrs {
            note(rustix::fs::lsetxattr(
                &through,
                xattr.name.as_str(),
                &xattr.value,
                XattrFlags::empty(),
            ));
        }
        if node.kind != NodeKind::Symlink {
            let mode = Mode::from_raw_mode(mode::permissions(node.mode));
            note(rustix::fs::chmodat(folder, name, mode, AtFlags::empty()));
        }
        let times = Timestamps {
            last_access: timespec(node.atime),
            last_modification: timespec(node.mtime),
        };
        note(rustix::fs::utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW));
        first
    }

    fn owner(&self, node: &Node) -> (u32, u32) {
        if !self.run.options.owner_by_name {
            return (node.uid, node.gid);
        }
        let user = uzers::get_user_by_name(&node.user).map(|user| user.uid());
        let group = uzers::get_group_by_name(&node.group).map(|group| group.gid());
        (user.unwrap_or(node.uid), group.unwrap_or(node.gid))
    }
}

fn timespec(moment: Timestamp) -> Timespec {
    let nanoseconds = moment.as_nanosecond();
    let billion = 1_000_000_000;
    Timespec {
        tv_sec: i64::try_from(nanoseconds.div_euclid(billion)).unwrap_or(0),
        tv_nsec: i64::try_from(nanoseconds.rem_euclid(billion)).unwrap_or(0),
    }
}
