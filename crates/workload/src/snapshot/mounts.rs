//! What is mounted where, as the kernel says it. Mounts nothing.

use rustix::fs::{AtFlags, CWD, StatxFlags};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A file system that is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    id: u64,
    /// The device, as the kernel writes it: `major:minor`.
    pub(crate) device: String,
    /// What of the file system is mounted, from its own root.
    pub(crate) root: PathBuf,
    /// Where.
    pub(crate) at: PathBuf,
    /// What the kernel calls its kind.
    pub(crate) kind: String,
    /// What was mounted, as whoever did it has called that; of ZFS the dataset.
    pub(crate) source: String,
}

impl Mount {
    /// Whether it is a snapshot of ZFS already.
    pub(crate) fn is_snapshot(&self) -> bool {
        self.kind == "zfs" && self.source.contains('@')
    }
}

/// All that are mounted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mounts(Vec<Mount>);

impl Mounts {
    /// As it is now.
    ///
    /// # Errors
    /// The kernel does not say.
    pub(crate) fn now() -> std::io::Result<Self> {
        Ok(Self::parse(&std::fs::read("/proc/self/mountinfo")?))
    }

    /// See proc(5): the first field is the mount's number, the third the device, then what of it, and where; behind a lone dash
    /// are the kind and what was mounted.
    fn parse(text: &[u8]) -> Self {
        let mount = |line: &[u8]| {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
            let dash = fields.iter().position(|field| *field == b"-")?;
            Some(Mount {
                id: std::str::from_utf8(fields.first()?).ok()?.parse().ok()?,
                device: String::from_utf8_lossy(fields.get(2)?).into_owned(),
                root: OsString::from_vec(unescaped(fields.get(3)?)).into(),
                at: OsString::from_vec(unescaped(fields.get(4)?)).into(),
                kind: String::from_utf8_lossy(fields.get(dash + 1)?).into_owned(),
                source: String::from_utf8_lossy(&unescaped(fields.get(dash + 2)?)).into_owned(),
            })
        };
        Self(text.split(|byte| *byte == b'\n').filter_map(mount).collect())
    }

    /// The one that a path is on.
    pub(crate) fn of(&self, path: &Path) -> Option<&Mount> {
        let id = id(path)?;
        self.0.iter().find(|mount| mount.id == id)
    }

    /// The places below a path at which something is mounted that can be seen: nothing else was mounted over it.
    pub(crate) fn below(&self, path: &Path) -> Vec<&Path> {
        self.named_below(path)
            .filter(|mount| id(&mount.at) == Some(mount.id))
            .map(|mount| mount.at.as_path())
            .collect()
    }

    fn named_below(&self, path: &Path) -> impl Iterator<Item = &Mount> {
        self.0.iter().filter(move |mount| mount.at != path && mount.at.starts_with(path))
    }
}

/// The number of the mount that a path is on.
fn id(path: &Path) -> Option<u64> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let stat = rustix::fs::statx(CWD, path, flags, StatxFlags::MNT_ID).ok()?;
    (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id)
}

/// Blanks and the like are written as a backslash and three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, behind)) = rest.split_first() {
        let octal = || {
            let digits = std::str::from_utf8(behind.get(..3)?).ok()?;
            u8::from_str_radix(digits, 8).ok()
        };
        match (*byte == b'\\').then(octal).flatten() {
            Some(byte) => {
                plain.push(byte);
                rest = behind.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(*byte);
                rest = behind;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        25 22 0:22 /part\\040of /srv/data rw master:1 propagate_from:2 - btrfs /dev/a\\040b rw,subvol=/\n\
        26 25 0:23 / /srv/data/a\\040b\\134c rw - tmpfs tmpfs rw\n\
        torn line\n";

    #[test]
    fn mounts_are_read_as_the_kernel_writes_them() {
        let mounts = Mounts::parse(TEXT);
        let all: Vec<_> = mounts
            .0
            .iter()
            .map(|mount| (mount.id, mount.at.to_str().unwrap(), &*mount.kind))
            .collect();
        let expected =
            [(22, "/", "ext4"), (25, "/srv/data", "btrfs"), (26, "/srv/data/a b\\c", "tmpfs")];
        assert_eq!(all, expected);
        assert_eq!((&*mounts.0[1].device, mounts.0[1].root.to_str()), ("0:22", Some("/part of")));
        assert_eq!((&*mounts.0[0].source, &*mounts.0[1].source), ("/dev/vda", "/dev/a b"));
        let below = mounts.named_below(Path::new("/srv/data")).map(|mount| mount.id);
        assert_eq!(below.collect::<Vec<_>>(), [26]);
    }

    #[test]
    fn the_machine_that_runs_this_says_what_its_paths_are_on() {
        let mounts = Mounts::now().unwrap();
        assert_eq!(mounts.of(Path::new("/proc/self")).unwrap().kind, "proc");
        assert!(mounts.below(Path::new("/")).contains(&Path::new("/proc")));
    }
}
