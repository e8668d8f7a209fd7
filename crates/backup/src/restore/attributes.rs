//! Last pass: owners, extended attributes, modes and times, in this order, because each of the
//! first changes what the later ones set. Directories come after everything in them. Writes no content.

use super::Run;
use super::make::{Made, read};
use super::place::below;
use crate::error::{Error, Fault};
use crate::mode;
use jiff::Timestamp;
use model::Digest;
use repo::tree::{Node, NodeKind, Xattr};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(super) fn all(run: &Run<'_>, root: Digest, made: &Made) -> Result<(), Error> {
    let setter = Setter {
        run,
        // Without being root, owners cannot be given away; that is no news to the user.
        owners: rustix::process::geteuid().is_root(),
    };
    let mut pending = vec![(PathBuf::new(), root)];
    let mut directories = Vec::new();
    while let Some((path, tree)) = pending.pop() {
        run.stopped()?;
        if made.unread.contains(&path) {
            continue;
        }
        let Some(nodes) = read(run, &path, &tree)? else { continue };
        let folder = match run.place.directory(&path) {
            Ok(folder) => folder,
            Err(error) => {
                run.problem(&path, Fault::AttributesUnset(error));
                continue;
            }
        };
        for node in nodes {
            let name = below(&path, &node.name);
            if made.left_out.contains(&name) {
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
        match run.place.directory(path.parent().unwrap_or(Path::new(""))) {
            Ok(folder) => setter.set(&folder, &path, &node),
            Err(error) => run.problem(&path, Fault::AttributesUnset(error)),
        }
    }
    Ok(())
}

/// Set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;

struct Setter<'a> {
    run: &'a Run<'a>,
    owners: bool,
}

impl Setter<'_> {
    fn set(&self, folder: &OwnedFd, path: &Path, node: &Node) {
        if let Err(errno) = self.try_set(folder, node) {
            self.run.problem(path, Fault::AttributesUnset(io::Error::from(errno)));
        }
    }

    /// Everything is set on one handle: what somebody puts at the name meanwhile is not touched.
    fn try_set(&self, folder: &OwnedFd, node: &Node) -> Result<(), Errno> {
        let name = OsStr::from_bytes(&node.name);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let item = rustix::fs::openat(folder, name, flags, Mode::empty())?;
        if mode::kind(rustix::fs::fstat(&item)?.st_mode) != node.kind {
            return Err(Errno::NOENT);
        }
        let mut first = Ok(());
        let mut note = |done: Result<(), Errno>| first = first.and(done);
        let (uid, gid) = self.owner(node);
        if self.owners {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            note(rustix::fs::chownat(&item, "", uid, gid, AtFlags::EMPTY_PATH));
        }
        if node.kind == NodeKind::Symlink {
            // A handle on a link has no other way to its attributes than the link's name.
            let name = fd_path(folder).join(name);
            node.xattrs.iter().for_each(|xattr| note(set_xattr(&name, xattr, true)));
            note(rustix::fs::utimensat(
                folder,
                OsStr::from_bytes(&node.name),
                &times(node),
                AtFlags::SYMLINK_NOFOLLOW,
            ));
            return first;
        }
        let through = fd_path(&item);
        node.xattrs.iter().for_each(|xattr| note(set_xattr(&through, xattr, false)));
        let mut bits = mode::permissions(node.mode);
        let owner = rustix::fs::fstat(&item)?;
        if node.kind == NodeKind::File
            && bits & SET_ID != 0
            && (owner.st_uid, owner.st_gid) != (uid, gid)
        {
            // It would run as whoever restores, not as whom it belonged to.
            bits &= !SET_ID;
            note(Err(Errno::PERM));
        }
        note(rustix::fs::chmod(&through, Mode::from_raw_mode(bits)));
        note(rustix::fs::utimensat(CWD, &through, &times(node), AtFlags::empty()));
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

/// A path to exactly what the handle is on.
fn fd_path(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

fn set_xattr(path: &Path, xattr: &Xattr, of_link: bool) -> Result<(), Errno> {
    let (name, value) = (xattr.name.as_str(), xattr.value.as_slice());
    if of_link {
        rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
    } else {
        rustix::fs::setxattr(path, name, value, XattrFlags::empty())
    }
}

fn times(node: &Node) -> Timestamps {
    Timestamps { last_access: timespec(node.atime), last_modification: timespec(node.mtime) }
}

fn timespec(moment: Timestamp) -> Timespec {
    let nanoseconds = moment.as_nanosecond();
    let billion = 1_000_000_000;
    Timespec {
        tv_sec: i64::try_from(nanoseconds.div_euclid(billion)).unwrap_or(0),
        tv_nsec: i64::try_from(nanoseconds.rem_euclid(billion)).unwrap_or(0),
    }
}
