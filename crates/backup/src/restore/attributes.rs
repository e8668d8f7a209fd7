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

/// Set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;

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
    pub(super) fn set_on_file(&self, file: &File, give_away: bool) -> Result<(), Errno> {
        let stat = rustix::fs::fstat(file)?;
        let mut first = Ok(());
        let mut note = |done: Result<(), Errno>| first = first.and(done);
        let mut ours = (stat.st_uid, stat.st_gid) == (self.uid, self.gid);
        if give_away && !ours {
            let given = rustix::fs::fchown(file, self.user(), self.group());
            ours = given.is_ok();
            note(given);
        }
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

    /// Sets them on what has that name, if it is of that kind.
    pub(super) fn set_on_name(
        &self,
        folder: &OwnedFd,
        name: &OsStr,
        kind: NodeKind,
        give_away: bool,
    ) -> Result<(), Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let item = rustix::fs::openat(folder, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&item)?;
        if mode::kind(stat.st_mode) != kind {
            return Err(Errno::NOENT);
        }
        if kind != NodeKind::Symlink {
            return self.set_on_handle(&item, &stat, kind, give_away);
        }
        let mut first = self.give(&item, &stat, give_away).map(|_| ());
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
    pub(super) fn set_on_directory(&self, item: &OwnedFd, give_away: bool) -> Result<(), Errno> {
        let stat = rustix::fs::fstat(item)?;
        self.set_on_handle(item, &stat, NodeKind::Dir, give_away)
    }

    /// `item` need not be open for anything, but is not a link.
    fn set_on_handle(
        &self,
        item: &OwnedFd,
        stat: &Stat,
        kind: NodeKind,
        give_away: bool,
    ) -> Result<(), Errno> {
        let given = self.give(item, stat, give_away);
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
    fn give(&self, item: impl AsFd, stat: &Stat, give_away: bool) -> Result<bool, Errno> {
        let ours = (stat.st_uid, stat.st_gid) == (self.uid, self.gid);
        if !give_away || ours {
            return Ok(ours);
        }
        rustix::fs::chownat(item, "", self.user(), self.group(), AtFlags::EMPTY_PATH)?;
        Ok(true)
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
