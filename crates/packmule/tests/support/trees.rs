//! Random trees of files and random edits of them, from a seed. Never reads a clock.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// xorshift64*: small, seeded, good enough to be surprising.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// A file name: mostly plain, sometimes one that has broken somebody's program.
fn name(rng: &mut Rng) -> PathBuf {
    let odd: [&[u8]; 6] = [
        b"not utf-8 \xff\xfe",
        b"new\nline",
        b"quotes \" ' \\",
        "umlaut \u{e4}".as_bytes(),
        b"-rf",
        b" blank ",
    ];
    let number = rng.below(1 << 24);
    let mut bytes = if rng.one_in(4) { rng.pick(&odd).to_vec() } else { b"file".to_vec() };
    bytes.extend(format!("{number}").bytes());
    PathBuf::from(OsStr::from_bytes(&bytes))
}

/// Folders and regular files below a tree, itself among the folders.
fn inhabitants(tree: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut folders, mut files) = (vec![tree.to_owned()], Vec::new());
    let mut at = 0;
    while at < folders.len() {
        let mut entries: Vec<_> = fs::read_dir(&folders[at]).unwrap().map(|e| e.unwrap()).collect();
        // The order of a listing is the file system's whim; a seed must give one tree.
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
        at += 1;
    }
    (folders, files)
}

/// Adds one thing of any kind to a tree.
pub fn add(rng: &mut Rng, tree: &Path, largest: u64) {
    let (folders, files) = inhabitants(tree);
    let path = rng.pick(&folders).join(name(rng));
    if fs::symlink_metadata(&path).is_ok() {
        return;
    }
    match rng.below(12) {
        0 | 1 => fs::create_dir(&path).unwrap(),
        2 => symlink(format!("file{}", rng.below(99)), &path).unwrap(),
        3 if !files.is_empty() => {
            let other = rng.pick(&files).clone();
            fs::hard_link(other, &path).unwrap();
        }
        4 => sparse(&path, rng),
        _ => {
            let magnitude = 1 << rng.below(largest.ilog2().into());
            let length = rng.below(magnitude) as usize;
            let bytes = if rng.one_in(3) {
                b"all work and no play\n".repeat(length / 21)
            } else {
                rng.bytes(length)
            };
            fs::write(&path, bytes).unwrap();
        }
    }
    attributes(rng, &path);
}

fn sparse(path: &Path, rng: &mut Rng) {
    let file = fs::File::create(path).unwrap();
    let length = rng.below(6 << 20) + 1;
    file.set_len(length).unwrap();
    file.write_all_at(b"island", rng.below(length)).unwrap();
}

/// Modes, times, owners and extended attributes, where the thing can have them.
fn attributes(rng: &mut Rng, path: &Path) {
    let kind = fs::symlink_metadata(path).unwrap().file_type();
    if kind.is_symlink() {
        return;
    }
    if super::is_root() && rng.one_in(3) {
        let (user, group) = (rng.below(70_000) as u32, rng.below(70_000) as u32);
        std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
    }
    if rng.one_in(3) {
        let value = rng.bytes(12);
        rustix::fs::setxattr(path, "user.packmule", &value, rustix::fs::XattrFlags::empty())
            .unwrap();
    }
    let mode = if kind.is_dir() {
        *rng.pick(&[0o755, 0o700, 0o1777, 0o2750])
    } else {
        *rng.pick(&[0o644, 0o600, 0o4755, 0o400])
    };
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(rng.below(1 << 60));
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// Changes one thing in a tree: appends, overwrites, cuts, renames, removes.
pub fn edit(rng: &mut Rng, tree: &Path, largest: u64) {
    let (_, files) = inhabitants(tree);
    if files.is_empty() {
        return add(rng, tree, largest);
    }
    let file = rng.pick(&files).clone();
    // Some modes forbid their owner what root may do.
    fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    match rng.below(6) {
        0 => fs::remove_file(&file).unwrap(),
        1 => {
            let new = file.with_file_name(name(rng));
            if fs::symlink_metadata(&new).is_err() {
                fs::rename(&file, new).unwrap();
            }
        }
        2 => {
            let length = fs::metadata(&file).unwrap().len();
            fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(length / 2).unwrap();
        }
        3 => {
            let length = fs::metadata(&file).unwrap().len();
            let piece = rng.bytes(100);
            let open = fs::OpenOptions::new().write(true).open(&file).unwrap();
            open.write_all_at(&piece, rng.below(length + 1)).unwrap();
        }
        4 => attributes(rng, &file),
        _ => {
            let mut bytes = fs::read(&file).unwrap();
            let length = rng.below(largest.min(100_000)) as usize;
            bytes.extend(rng.bytes(length));
            fs::write(&file, bytes).unwrap();
        }
    }
}
