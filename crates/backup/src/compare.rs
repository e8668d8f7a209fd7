//! Are two folders the same? An oracle for restores: shares no code with them, and is plain on purpose.
//!
//! Compares names, kinds, content, sizes, modes, owners, modification times, links' targets, device
//! numbers, extended attributes (ACLs among them) and which names share an inode. Access and change
//! times cannot be equal and are not looked at. Changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What differs, at which path below both folders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The path.
    pub path: PathBuf,
    /// In words.
    pub what: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

/// What was compared, and what differs.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Entries compared, of all kinds.
    pub entries: u64,
    /// Bytes of content compared.
    pub bytes: u64,
    /// Everything that differs.
    pub differences: Vec<Difference>,
}

/// Compares everything below two folders, and the attributes of the folders themselves.
///
/// Sockets are passed over: no backup holds them.
///
/// # Errors
/// When something cannot be read.
pub fn compare(left: &Path, right: &Path) -> io::Result<Comparison> {
    let mut comparison = Comparison::default();
    let mut inodes = [HashMap::new(), HashMap::new()];
    let mut pending = vec![PathBuf::new()];
    attributes(&mut comparison, Path::new("."), left, right)?;
    while let Some(path) = pending.pop() {
        let (from, to) = (list(&left.join(&path))?, list(&right.join(&path))?);
        for name in from.symmetric_difference(&to) {
            let what = if from.contains(name) {
                "is missing on the right"
            } else {
                "is missing on the left"
            };
            comparison.differences.push(Difference { path: path.join(name), what: what.into() });
        }
        for name in from.intersection(&to) {
            let path = path.join(name);
            entry(
                &mut comparison,
                &mut inodes,
                &path,
                &left.join(&path),
                &right.join(&path),
                &mut pending,
            )?;
        }
    }
    let [from, to] = inodes.map(families);
    for family in from.symmetric_difference(&to) {
        if let Some(path) = family.first() {
            let what =
                format!("hard links differ: {} names share its inode on one side", family.len());
            comparison.differences.push(Difference { path: path.clone(), what });
        }
    }
    comparison.differences.sort();
    Ok(comparison)
}

type Inodes = HashMap<(u64, u64), BTreeSet<PathBuf>>;

fn families(inodes: Inodes) -> BTreeSet<BTreeSet<PathBuf>> {
    inodes.into_values().filter(|names| names.len() > 1).collect()
}

fn list(folder: &Path) -> io::Result<BTreeSet<std::ffi::OsString>> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_type()?.is_socket() {
            names.insert(entry.file_name());
        }
    }
    Ok(names)
}

fn entry(
    comparison: &mut Comparison,
    inodes: &mut [Inodes; 2],
    path: &Path,
    left: &Path,
    right: &Path,
    pending: &mut Vec<PathBuf>,
) -> io::Result<()> {
    comparison.entries += 1;
    let (from, to) = attributes(comparison, path, left, right)?;
    let [here, there] = inodes;
    for (inodes, stat) in [(here, &from), (there, &to)] {
        if !stat.is_dir() && stat.nlink() > 1 {
            inodes.entry((stat.dev(), stat.ino())).or_default().insert(path.to_owned());
        }
    }
    if from.file_type() != to.file_type() {
        return Ok(());
    }
    if from.is_dir() {
        pending.push(path.to_owned());
    } else if from.is_file() {
        comparison.bytes += from.size();
        if let Some(at) = first_difference(left, right)? {
            let what = format!("content differs from byte {at} on");
            comparison.differences.push(Difference { path: path.to_owned(), what });
        }
    }
    Ok(())
}

fn attributes(
    comparison: &mut Comparison,
    path: &Path,
    left: &Path,
    right: &Path,
) -> io::Result<(Metadata, Metadata)> {
    let (from, to) = (std::fs::symlink_metadata(left)?, std::fs::symlink_metadata(right)?);
    let mut differs = |what: &str, from: String, to: String| {
        if from != to {
            let what = format!("{what}: {from} and {to}");
            comparison.differences.push(Difference { path: path.to_owned(), what });
        }
    };
    differs("mode", format!("{:o}", from.mode()), format!("{:o}", to.mode()));
    let owner = |stat: &Metadata| format!("{}:{}", stat.uid(), stat.gid());
    differs("owner", owner(&from), owner(&to));
    let time = |stat: &Metadata| format!("{}.{:09}", stat.mtime(), stat.mtime_nsec());
    differs("modification time", time(&from), time(&to));
    if from.is_file() {
        differs("size", from.size().to_string(), to.size().to_string());
    }
    if from.file_type().is_block_device() || from.file_type().is_char_device() {
        differs("device", from.rdev().to_string(), to.rdev().to_string());
    }
    if from.is_symlink() && to.is_symlink() {
        let target = |path| Ok::<_, io::Error>(format!("{:?}", std::fs::read_link(path)?));
        differs("target", target(left)?, target(right)?);
    }
    let xattrs = |path| Ok::<_, io::Error>(format!("{:?}", xattrs(path)?));
    differs("extended attributes", xattrs(left)?, xattrs(right)?);
    Ok((from, to))
}

fn xattrs(path: &Path) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    const LIMIT: usize = 1 << 16;
    let mut names = vec![0; LIMIT];
    let length = match rustix::fs::llistxattr(path, names.as_mut_slice()) {
        Err(rustix::io::Errno::NOTSUP) => 0,
        other => other?,
    };
    names.truncate(length);
    let mut found = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; LIMIT];
        let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice())?;
        value.truncate(length);
        found.insert(name.to_vec(), value);
    }
    Ok(found)
}

fn first_difference(left: &Path, right: &Path) -> io::Result<Option<u64>> {
    const BLOCK: u64 = 1 << 20;
    let (mut left, mut right) = (File::open(left)?, File::open(right)?);
    let (mut from, mut to) = (Vec::new(), Vec::new());
    let mut at = 0;
    loop {
        from.clear();
        to.clear();
        left.by_ref().take(BLOCK).read_to_end(&mut from)?;
        right.by_ref().take(BLOCK).read_to_end(&mut to)?;
        if from != to {
            let same = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            return Ok(Some(at + same as u64));
        }
        if from.is_empty() {
            return Ok(None);
        }
        at += from.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn tree(folder: &Path) {
        std::fs::create_dir(folder.join("d")).unwrap();
        std::fs::write(folder.join("d/a"), b"12345").unwrap();
        std::fs::hard_link(folder.join("d/a"), folder.join("b")).unwrap();
        symlink("d/a", folder.join("l")).unwrap();
        let epoch = std::time::SystemTime::UNIX_EPOCH;
        for path in ["d/a", "d", "."] {
            File::open(folder.join(path)).unwrap().set_modified(epoch).unwrap();
        }
        let times = rustix::fs::Timestamps {
            last_access: rustix::fs::Timespec { tv_sec: 0, tv_nsec: 0 },
            last_modification: rustix::fs::Timespec { tv_sec: 0, tv_nsec: 0 },
        };
        let nofollow = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, folder.join("l"), &times, nofollow).unwrap();
        File::open(folder).unwrap().set_modified(epoch).unwrap();
    }

    #[test]
    fn equal_trees_have_no_difference_and_every_change_is_one() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        tree(one.path());
        tree(two.path());
        let same = compare(one.path(), two.path()).unwrap();
        assert_eq!((same.differences.as_slice(), same.entries, same.bytes), (&[][..], 4, 10));
        type Change = (&'static str, fn(&Path));
        let changes: [Change; 6] = [
            ("content", |p| std::fs::write(p.join("d/a"), b"12346").unwrap()),
            ("missing", |p| std::fs::remove_file(p.join("l")).unwrap()),
            ("mode", |p| {
                std::fs::set_permissions(p.join("d"), PermissionsExt::from_mode(0o711)).unwrap();
            }),
            ("hard links", |p| {
                std::fs::remove_file(p.join("b")).unwrap();
                std::fs::copy(p.join("d/a"), p.join("b")).unwrap();
            }),
            ("target", |p| {
                std::fs::remove_file(p.join("l")).unwrap();
                symlink("elsewhere", p.join("l")).unwrap();
            }),
            ("modification time", |p| {
                File::open(p.join("d/a"))
                    .unwrap()
                    .set_modified(std::time::SystemTime::now())
                    .unwrap();
            }),
        ];
        for (what, change) in changes {
            let changed = tempfile::tempdir().unwrap();
            tree(changed.path());
            change(changed.path());
            let found = compare(one.path(), changed.path()).unwrap().differences;
            assert!(found.iter().any(|d| d.what.contains(what)), "{what}: {found:?}");
        }
    }
}
