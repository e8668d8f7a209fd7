//! Owners, extended attributes, modes and times, in this order, because each of the first changes
//! what the later ones set. All of it on a handle, never on a name that somebody may have replaced.
//! Writes no content.

use super::place::fd_path;
use crate::mode;
use jiff::Timestamp;
use repo::tree::{Node, NodeKind, Xattr};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;
/// The most bytes Linux lets the names, or one value, of extended attributes have.
const XATTRS: usize = 1 << 16;

/// What is set on an item once its content is there.
#[derive(Debug)]
pub(super) struct Attributes {
    /// Permissions, set-id and sticky bits; Unix's.
    mode: u32,
    uid: u32,
    gid: u32,
    modified: Timestamp,
    accessed: Timestamp,
    xattrs: Box<[Xattr]>,
}

/// Whether owners are set: only root can give things away.
#[derive(Clone, Copy)]
pub(super) struct Giving<'a> {
    pub(super) away: bool,
    /// Counts what belongs to somebody else than it should.
    pub(super) kept: &'a AtomicU64,
}

/// Whose things are.
pub(super) struct Owners {
    by_name: bool,
    users: HashMap<String, Option<u32>>,
    groups: HashMap<String, Option<u32>>,
}

impl Owners {
    pub(super) fn new(by_name: bool) -> Self {
        Self { by_name, users: HashMap::new(), groups: HashMap::new() }
    }

    fn of(&mut self, node: &Node) -> (u32, u32) {
        if !self.by_name {
            return (node.uid, node.gid);
        }
        let user = known(&mut self.users, &node.user, |name| {
            uzers::get_user_by_name(name).map(|user| user.uid())
        });
        let group = known(&mut self.groups, &node.group, |name| {
            uzers::get_group_by_name(name).map(|group| group.gid())
        });
        (user.unwrap_or(node.uid), group.unwrap_or(node.gid))
    }
}

/// Asked for once: it may be a question to another machine.
fn known(
    answers: &mut HashMap<String, Option<u32>>,
    name: &str,
    ask: impl FnOnce(&str) -> Option<u32>,
) -> Option<u32> {
    if let Some(answer) = answers.get(name) {
        return *answer;
    }
    let answer = ask(name);
    answers.insert(name.to_owned(), answer);
    answer
}

impl Attributes {
    /// Takes the extended attributes out of the node.
    pub(super) fn of(node: &mut Node, owners: &mut Owners) -> Self {
        let (uid, gid) = owners.of(node);
        Self {
            mode: mode::permissions(node.mode),
            uid,
            gid,
            modified: node.mtime,
            accessed: node.atime,
            xattrs: std::mem::take(&mut node.xattrs).into_boxed_slice(),
        }
    }

    /// What a file without a name can be made with, so that less is left to be set.
    pub(super) fn first_mode(&self) -> Mode {
        // Setting extended attributes takes the right to write, which the final mode may not give.
        let bits = if self.xattrs.is_empty() { self.mode & 0o777 } else { 0o600 };
        Mode::from_raw_mode(bits)
    }

    /// Sets them on a regular file that was opened for writing. Goes on after a failure, and
    /// answers the first.
    pub(super) fn set_on_file(&self, file: &File, giving: Giving<'_>) -> Result<(), Errno> {
        let stat = rustix::fs::fstat(file)?;
        let mut first = Ok(());
        let mut note = |done: Result<(), Errno>| first = first.and(done);
        let mut ours = (stat.st_uid, stat.st_gid) == (self.uid, self.gid);
        if giving.away && !ours {
            let given = rustix::fs::fchown(file, self.user(), self.group());
            ours = given.is_ok();
            note(given);
        }
        giving.kept.fetch_add(u64::from(!ours), Ordering::Relaxed);
        for xattr in &self.xattrs {
            let (name, value) = (xattr.name.as_str(), xattr.value.as_slice());
            note(rustix::fs::fsetxattr(file, name, value, XattrFlags::empty()));
        }
        let (bits, allowed) = self.mode_for(NodeKind::File, ours);
        note(allowed);
        // An access list has a say in the mode, too.
        if stat.st_mode & 0o7777 != bits || !self.xattrs.is_empty() {
            note(rustix::fs::fchmod(file, Mode::from_raw_mode(bits)));
        }
        note(rustix::fs::futimens(file, &self.times()));
        first
    }

    /// Whether a regular file has them as they are set, and none beside them.
    pub(super) fn are_on(&self, file: &File, stat: &Stat, gives_away: bool) -> bool {
        let ours = (stat.st_uid, stat.st_gid) == (self.uid, self.gid);
        let modified = (stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or_default());
        let wanted = timespec(self.modified);
        (ours || !gives_away)
            && stat.st_mode & 0o7777 == self.mode_for(NodeKind::File, ours).0
            && modified == (wanted.tv_sec, wanted.tv_nsec)
            && self.has_just_these_xattrs(file)
    }

    /// Whether a file has no extended attribute but these: others would have to be taken away.
    pub(super) fn fit(&self, file: &File) -> bool {
        let mut names = vec![0; XATTRS];
        let length = match rustix::fs::flistxattr(file, names.as_mut_slice()) {
            Err(Errno::NOTSUP) => 0,
            Ok(length) => length,
            Err(_) => return false,
        };
        names.truncate(length);
        let mut there = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        // The kernel labels what is made by itself.
        there.all(|name| {
            name == b"security.selinux"
                || self.xattrs.iter().any(|xattr| xattr.name.as_bytes() == name)
        })
    }

    fn has_just_these_xattrs(&self, file: &File) -> bool {
        self.fit(file)
            && self.xattrs.iter().all(|xattr| {
                let mut value = vec![0; XATTRS];
                let got = rustix::fs::fgetxattr(file, xattr.name.as_str(), value.as_mut_slice());
                got.is_ok_and(|length| value.get(..length) == Some(xattr.value.as_slice()))
            })
    }

    /// Sets them on what has that name, if it is of that kind.
    pub(super) fn set_on_name(
        &self,
        folder: &OwnedFd,
        name: &OsStr,
        kind: NodeKind,
        giving: Giving<'_>,
    ) -> Result<(), Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let item = rustix::fs::openat(folder, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&item)?;
        if mode::kind(stat.st_mode) != kind {
            return Err(Errno::NOENT);
        }
        if kind != NodeKind::Symlink {
            return self.set_on_handle(&item, &stat, kind, giving);
        }
        let mut first = self.give(&item, &stat, giving).map(|_| ());
        let mut note = |done: Result<(), Errno>| first = first.and(done);
        // A handle on a link has no other way to its attributes than the link's name.
        let path = fd_path(folder).join(name);
        for xattr in &self.xattrs {
            let (name, value) = (xattr.name.as_str(), xattr.value.as_slice());
            note(rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty()));
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        note(rustix::fs::utimensat(folder, name, &self.times(), flags));
        first
    }

    /// Sets them on a directory.
    pub(super) fn set_on_directory(&self, item: &OwnedFd, giving: Giving<'_>) -> Result<(), Errno> {
        let stat = rustix::fs::fstat(item)?;
        self.set_on_handle(item, &stat, NodeKind::Dir, giving)
    }

    /// `item` need not be open for anything, but is not a link.
    fn set_on_handle(
        &self,
        item: &OwnedFd,
        stat: &Stat,
        kind: NodeKind,
        giving: Giving<'_>,
    ) -> Result<(), Errno> {
        let given = self.give(item, stat, giving);
        let mut first = given.map(|_| ());
        let mut note = |done: Result<(), Errno>| first = first.and(done);
        let through = fd_path(item);
        for xattr in &self.xattrs {
            note(set_xattr(&through, xattr));
        }
        let (bits, allowed) = self.mode_for(kind, given.unwrap_or(false));
        note(allowed);
        note(rustix::fs::chmod(&through, Mode::from_raw_mode(bits)));
        note(rustix::fs::utimensat(CWD, &through, &self.times(), AtFlags::empty()));
        first
    }

    /// Answers whether it belongs to whom it should then.
    fn give(&self, item: impl AsFd, stat: &Stat, giving: Giving<'_>) -> Result<bool, Errno> {
        let ours = (stat.st_uid, stat.st_gid) == (self.uid, self.gid);
        let given = if giving.away && !ours {
            rustix::fs::chownat(item, "", self.user(), self.group(), AtFlags::EMPTY_PATH)
        } else {
            Ok(())
        };
        let ours = ours || (giving.away && given.is_ok());
        giving.kept.fetch_add(u64::from(!ours), Ordering::Relaxed);
        given.map(|()| ours)
    }

    /// The mode, without what would let it run as whoever restores, not as whom it belonged to.
    fn mode_for(&self, kind: NodeKind, ours: bool) -> (u32, Result<(), Errno>) {
        if kind == NodeKind::File && self.mode & SET_ID != 0 && !ours {
            return (self.mode & !SET_ID, Err(Errno::PERM));
        }
        (self.mode, Ok(()))
    }

    fn user(&self) -> Option<Uid> {
        Some(Uid::from_raw(self.uid))
    }

    fn group(&self) -> Option<Gid> {
        Some(Gid::from_raw(self.gid))
    }

    fn times(&self) -> Timestamps {
        Timestamps {
            last_access: timespec(self.accessed),
            last_modification: timespec(self.modified),
        }
    }
}

fn set_xattr(path: &Path, xattr: &Xattr) -> Result<(), Errno> {
    rustix::fs::setxattr(path, xattr.name.as_str(), &xattr.value, XattrFlags::empty())
}

fn timespec(moment: Timestamp) -> Timespec {
    let nanoseconds = moment.as_nanosecond();
    let billion = 1_000_000_000;
    Timespec {
        tv_sec: i64::try_from(nanoseconds.div_euclid(billion)).unwrap_or(0),
        tv_nsec: i64::try_from(nanoseconds.rem_euclid(billion)).unwrap_or(0),
    }
}
