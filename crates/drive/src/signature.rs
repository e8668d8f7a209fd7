//! What lies on a device, in the words of `blkid`: it knows some hundred kinds of file systems and
//! volumes, and where each has its mark.

use crate::step::{command, finish};
use std::io;
use std::path::Path;
use std::time::Duration;

/// A mark on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// What it is, such as `ext4`, `crypto_LUKS` or `LVM2_member`.
    pub kind: String,
    /// Whether what has this mark is a part of something: an array, a group of volumes.
    pub is_member: bool,
}

/// Tells what lies on a device.
pub trait Probe {
    /// The mark on the device, if it has one that is known.
    ///
    /// # Errors
    /// It cannot be found out.
    fn signature(&self, device: &Path) -> io::Result<Option<Signature>>;
}

/// Asks the program of that name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Blkid;

/// Parts of something larger that `blkid` counts among file systems. A btrfs may be one of several, which
/// it does not say.
const MEMBERS: [&str; 3] = ["bcache", "btrfs", "ceph_bluestore"];

/// What it exits with when it finds nothing that it knows.
const NOTHING: i32 = 2;
/// And when it finds several things that contradict each other.
const AMBIVALENT: i32 = 8;

/// It reads a few sectors.
const PATIENCE: Duration = Duration::from_secs(120);

impl Probe for Blkid {
    fn signature(&self, device: &Path) -> io::Result<Option<Signature>> {
        // It says "nothing" of what it cannot open, too.
        std::fs::File::open(device)?;
        let mut blkid = command("blkid");
        let said = blkid.args(["--probe", "--output", "export", "--match-tag", "TYPE"]);
        let said = said.args(["--match-tag", "USAGE"]).arg("--").arg(device);
        let said = finish(said, b"", PATIENCE).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::other("there is no blkid: install util-linux"),
            _ => error,
        })?;
        match said.status.code() {
            Some(0) => Ok(parse(&String::from_utf8_lossy(&said.stdout))),
            Some(NOTHING) => Ok(None),
            Some(AMBIVALENT) => Err(io::Error::other("blkid finds several things on it")),
            _ => Err(io::Error::other(String::from_utf8_lossy(&said.stderr).trim().to_owned())),
        }
    }
}

fn parse(said: &str) -> Option<Signature> {
    let value = |name| said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let kind = value("TYPE")?.to_owned();
    let is_member = value("USAGE") == Some("raid")
        || kind.ends_with("_member")
        || MEMBERS.contains(&kind.as_str());
    Some(Signature { kind, is_member })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_arrays_and_groups_are_told_from_file_systems() {
        let ext4 = parse("DEVNAME=/dev/sdb\nTYPE=ext4\nUSAGE=filesystem\n").unwrap();
        assert_eq!(ext4, Signature { kind: "ext4".to_owned(), is_member: false });
        let lvm = parse("DEVNAME=/dev/sdb\nTYPE=LVM2_member\nUSAGE=raid\n").unwrap();
        assert!(lvm.is_member);
        let member =
            |kind: &str| parse(&format!("TYPE={kind}\nUSAGE=filesystem\n")).unwrap().is_member;
        assert!(["zfs_member", "btrfs", "bcache", "ceph_bluestore"].into_iter().all(member));
        assert!(!["ext4", "ntfs", "crypto_LUKS"].into_iter().any(member));
        assert_eq!(parse("DEVNAME=/dev/sdb\n"), None);
    }
}
