//! From a file system's metadata to a node. Reads no content, follows no link.

use crate::mode;
use jiff::Timestamp;
use repo::tree::{Node, NodeKind, Xattr};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Names of users and groups, asked for once each: the lookup may go to a directory server.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    users: Mutex<HashMap<u32, String>>,
    groups: Mutex<HashMap<u32, String>>,
}

impl Owners {
    /// Whether these are the names that the numbers have today.
    pub(crate) fn are(&self, (uid, user): (u32, &str), (gid, group): (u32, &str)) -> bool {
        self.user(uid) == user && self.group(gid) == group
    }

    fn user(&self, uid: u32) -> String {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let look = || uzers::get_user_by_uid(uid).map(|u| u.name().to_string_lossy().into_owned());
        users.entry(uid).or_insert_with(|| look().unwrap_or_default()).clone()
    }

    fn group(&self, gid: u32) -> String {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let look = || uzers::get_group_by_gid(gid).map(|g| g.name().to_string_lossy().into_owned());
        groups.entry(gid).or_insert_with(|| look().unwrap_or_default()).clone()
    }
}

/// What a node is made of: an open file, or a name that no link is followed from.
#[derive(Clone, Copy)]
pub(crate) enum Item<'a> {
    Open(&'a File),
    Named(&'a Path),
}

impl Item<'_> {
    fn list_xattrs(self, names: &mut Vec<u8>) -> Result<usize, Errno> {
        let room = rustix::buffer::spare_capacity(names);
        match self {
            Self::Open(file) => rustix::fs::flistxattr(file, room),
            Self::Named(path) => rustix::fs::llistxattr(path, room),
        }
    }

    fn xattrs_length(self) -> Result<usize, Errno> {
        match self {
            Self::Open(file) => rustix::fs::flistxattr_query(file),
            Self::Named(path) => rustix::fs::llistxattr_query(path),
        }
    }

    fn xattr(self, name: &[u8], value: &mut Vec<u8>) -> Result<usize, Errno> {
        let room = rustix::buffer::spare_capacity(value);
        match self {
            Self::Open(file) => rustix::fs::fgetxattr(file, name, room),
            Self::Named(path) => rustix::fs::lgetxattr(path, name, room),
        }
    }
}

/// Everything that a node says about a file but its content. Fills in what it can: the second value
/// is why some of it could not be read.
pub(crate) fn node(
    name: &[u8],
    item: Item<'_>,
    stat: &Metadata,
    owners: &Owners,
    with_atime: bool,
) -> (Node, Option<io::Error>) {
    let kind = mode::kind(stat.mode());
    let mut node = Node::new(name, kind);
    node.mode = mode::to_go(stat.mode());
    node.mtime = moment(stat.mtime(), stat.mtime_nsec());
    node.ctime = moment(stat.ctime(), stat.ctime_nsec());
    node.atime = if with_atime { moment(stat.atime(), stat.atime_nsec()) } else { node.mtime };
    node.uid = stat.uid();
    node.gid = stat.gid();
    node.user = owners.user(stat.uid());
    node.group = owners.group(stat.gid());
    node.inode = stat.ino();
    node.device_id = stat.dev();
    let mut fault = None;
    match kind {
        NodeKind::File => {
            node.size = stat.size();
            node.links = stat.nlink();
        }
        NodeKind::Symlink => {
            node.links = stat.nlink();
            match read_link(item) {
                Ok(target) => node.link_target = target,
                Err(error) => fault = Some(error),
            }
        }
        NodeKind::Device | NodeKind::CharDevice => {
            node.device = stat.rdev();
            node.links = stat.nlink();
        }
        _ => {}
    }
    let missed = xattrs(item, &mut node.xattrs).err();
    (node, fault.or(missed))
}

fn read_link(item: Item<'_>) -> io::Result<Vec<u8>> {
    match item {
        Item::Named(path) => Ok(std::fs::read_link(path)?.into_os_string().into_vec()),
        Item::Open(_) => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// A time of the file system. Seconds that no calendar has become the nearest that one has.
pub(crate) fn moment(seconds: i64, nanoseconds: i64) -> Timestamp {
    // The years 0 to 9999 are what the format can write, in local time: a day less at the beginning.
    const FIRST: i64 = -62_167_219_200 + 86_400;
    const LAST: i64 = 253_402_207_200;
    let nanoseconds = i32::try_from(nanoseconds).unwrap_or(0);
    Timestamp::new(seconds.clamp(FIRST, LAST), nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The most bytes Linux lets the names, or one value, have.
const XATTR_LIMIT: usize = 1 << 16;

/// Adds those that can be read to `found`. The error is the first reason why one could not.
fn xattrs(item: Item<'_>, found: &mut Vec<Xattr>) -> io::Result<()> {
    let mut names = Vec::new();
    let listed = match item.xattrs_length() {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(()),
        Ok(length) => length.min(XATTR_LIMIT),
        Err(error) => return Err(error.into()),
    };
    names.reserve(listed + 1024);
    item.list_xattrs(&mut names)?;
    let mut first = Ok(());
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match xattr(item, name) {
            Ok(xattr) => found.extend(xattr),
            Err(error) => first = first.and(Err(error)),
        }
    }
    first
}

fn xattr(item: Item<'_>, name: &[u8]) -> io::Result<Option<Xattr>> {
    // The format's names are text; another name would be restored as one that was never there.
    let text = std::str::from_utf8(name).map_err(|_| {
        let shown = String::from_utf8_lossy(name);
        io::Error::other(format!("the extended attribute '{shown}' has a name that is not UTF-8"))
    })?;
    let mut value = Vec::with_capacity(XATTR_LIMIT);
    match item.xattr(name, &mut value) {
        Ok(_) => {}
        // Removed since it was listed, or one that only the kernel may read.
        Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    value.shrink_to_fit();
    Ok(Some(Xattr { name: text.to_owned(), value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_no_calendar_has_are_bounded() {
        for seconds in [i64::MIN, i64::MAX, -1, 0, 1 << 40] {
            let moment = moment(seconds, 999_999_999);
            assert!(moment.as_second().abs() < 1 << 40);
        }
        assert_eq!(moment(5, 7).as_nanosecond(), 5_000_000_007);
    }

    #[test]
    fn a_node_says_what_the_file_system_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"12345").unwrap();
        std::fs::hard_link(&path, folder.path().join("other")).unwrap();
        let stat = std::fs::symlink_metadata(&path).unwrap();
        let (node, fault) = node(b"file", Item::Named(&path), &stat, &Owners::default(), false);
        assert!(fault.is_none());
        assert_eq!(
            (node.size, node.links, node.inode, node.kind),
            (5, 2, stat.ino(), NodeKind::File)
        );
        assert_eq!(node.mtime.as_nanosecond() % 1_000_000_000, i128::from(stat.mtime_nsec()));
    }

    #[test]
    fn a_time_before_all_calendars_does_not_spoil_a_tree_in_any_zone() {
        // A day behind the first that can be written, because local time may be a day behind.
        let first: Timestamp = "0000-01-02T00:00:00Z".parse().unwrap();
        assert_eq!(moment(i64::MIN, 0), first);
    }

    #[test]
    fn an_attribute_that_cannot_be_kept_does_not_take_the_others_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"1").unwrap();
        let set = |name: &[u8]| {
            let name = std::ffi::CString::new(name).unwrap();
            rustix::fs::lsetxattr(&path, name, b"v", rustix::fs::XattrFlags::empty()).unwrap();
        };
        set(b"user.a");
        set(b"user.\xff");
        set(b"user.z");
        let stat = std::fs::symlink_metadata(&path).unwrap();
        let (node, fault) = node(b"file", Item::Named(&path), &stat, &Owners::default(), false);
        let mut names: Vec<_> = node.xattrs.iter().map(|xattr| xattr.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["user.a", "user.z"]);
        assert!(fault.unwrap().to_string().contains("not UTF-8"));
    }
}
