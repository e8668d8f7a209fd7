//! Makes of a model's values what they stand for, in a folder. Decides nothing by chance.

use crate::model::{Attributes, Edit, Entry, Pick, Piece, Thing};
use crate::support::is_root;
use crate::support::trees::Rng;
use rustix::fs::{AtFlags, CWD, Mode, Timespec, Timestamps, XattrFlags};
use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// No file grows beyond: the tests are about kinds of files, not about bulk.
const LONGEST: u64 = 20 << 20;

/// A folder that becomes what a model says.
pub(crate) struct Disk {
    pub(crate) root: PathBuf,
}

/// Everything below a folder: itself and other folders, regular files, and all things but itself.
struct Inhabitants {
    folders: Vec<PathBuf>,
    files: Vec<PathBuf>,
    all: Vec<PathBuf>,
}

impl Disk {
    /// Answers how many of the entries could be made: not two of one name.
    pub(crate) fn build(&self, entries: &[Entry]) -> usize {
        let made: Vec<_> = entries.iter().filter_map(|e| Some((self.add(e)?, e))).collect();
        // What was made in a folder since has changed its time.
        for (path, entry) in made.iter().rev() {
            if matches!(entry.thing, Thing::Folder) && path.is_dir() {
                set_time(path, entry.attributes.time);
            }
        }
        made.len()
    }

    fn inhabitants(&self) -> Inhabitants {
        let mut found =
            Inhabitants { folders: vec![self.root.clone()], files: Vec::new(), all: Vec::new() };
        let mut at = 0;
        while at < found.folders.len() {
            let mut entries: Vec<_> =
                fs::read_dir(&found.folders[at]).unwrap().map(Result::unwrap).collect();
            // The order of a listing is the file system's whim; a model must give one tree.
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                let kind = entry.file_type().unwrap();
                found.all.push(entry.path());
                if kind.is_dir() {
                    found.folders.push(entry.path());
                } else if kind.is_file() {
                    found.files.push(entry.path());
                }
            }
            at += 1;
        }
        found
    }

    fn add(&self, entry: &Entry) -> Option<PathBuf> {
        let inhabitants = self.inhabitants();
        let path = one(entry.folder, &inhabitants.folders).join(OsStr::from_bytes(&entry.name));
        if fs::symlink_metadata(&path).is_ok() {
            return None;
        }
        self.put(&path, &entry.thing, &entry.attributes).then_some(path)
    }

    /// Makes the thing, if it can be made here.
    fn put(&self, path: &Path, thing: &Thing, attributes: &Attributes) -> bool {
        match thing {
            Thing::Folder => fs::create_dir(path).unwrap(),
            Thing::File(pieces) => {
                fs::write(path, "").unwrap();
                pieces.iter().for_each(|piece| write(path, u64::MAX, piece));
            }
            Thing::Link(target) => {
                let target: Vec<u8> = target.iter().copied().filter(|byte| *byte != 0).collect();
                symlink(OsStr::from_bytes(&target), path).unwrap();
            }
            Thing::HardLink(index) => {
                let files = self.inhabitants().files;
                if files.is_empty() {
                    return false;
                }
                fs::hard_link(one(*index, &files), path).unwrap();
            }
            Thing::Pipe => special(path, rustix::fs::FileType::Fifo, 0),
            Thing::Device { block, major, minor } => {
                if !is_root() {
                    return false;
                }
                let kind = if *block {
                    rustix::fs::FileType::BlockDevice
                } else {
                    rustix::fs::FileType::CharacterDevice
                };
                special(path, kind, rustix::fs::makedev(*major, *minor));
            }
        }
        set(path, attributes);
        true
    }

    pub(crate) fn edit(&self, edit: &Edit) {
        let Inhabitants { folders, files, all } = self.inhabitants();
        match edit {
            Edit::Add(entry) => drop(self.add(entry)),
            Edit::Append(file, _) | Edit::Overwrite(file, ..) | Edit::Disguise(file, ..)
                if files.is_empty() || longer(one(*file, &files)) => {}
            Edit::Append(file, piece) => write(one(*file, &files), u64::MAX, piece),
            Edit::Overwrite(file, at, piece) => overwrite(one(*file, &files), *at, piece),
            Edit::Disguise(file, at, piece) => {
                let stat = fs::metadata(one(*file, &files)).unwrap();
                overwrite(one(*file, &files), *at, piece);
                set_time(one(*file, &files), (stat.mtime(), stat.mtime_nsec()));
            }
            Edit::Truncate(file, at) if !files.is_empty() => {
                let path = one(*file, &files);
                let length = fs::metadata(path).unwrap().len();
                let open = OpenOptions::new().write(true).open(path).unwrap();
                open.set_len(at.below(length as usize + 1) as u64).unwrap();
            }
            _ if all.is_empty() => {}
            Edit::Remove(what) => remove(one(*what, &all)),
            Edit::Rename(what, to, name) => {
                let (path, folder) = (one(*what, &all), one(*to, &folders));
                let new = folder.join(OsStr::from_bytes(name));
                if !folder.starts_with(path) && fs::symlink_metadata(&new).is_err() {
                    fs::rename(path, new).unwrap();
                }
            }
            Edit::Change(what, attributes) => set(one(*what, &all), attributes),
            Edit::Replace(what, thing, attributes) => {
                remove(one(*what, &all));
                self.put(one(*what, &all), thing, attributes);
            }
            Edit::Unshare(file) if !files.is_empty() => {
                let (path, beside) = (one(*file, &files), self.root.join("copy of a shared file"));
                fs::copy(path, &beside).unwrap();
                fs::rename(&beside, path).unwrap();
            }
            Edit::Truncate(..) | Edit::Unshare(_) => {}
        }
    }
}

fn one(pick: Pick, paths: &[PathBuf]) -> &Path {
    pick.of::<PathBuf>(paths)
}

fn longer(path: &Path) -> bool {
    fs::metadata(path).unwrap().len() > LONGEST
}

fn overwrite(path: &Path, at: Pick, piece: &Piece) {
    let length = fs::metadata(path).unwrap().len();
    write(path, at.below(length as usize + 1) as u64, piece);
}

/// Writes at a place of the file, or at its end when that is nearer.
fn write(path: &Path, at: u64, piece: &Piece) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let at = at.min(length);
    match piece {
        Piece::Noise { seed, length } => file.write_all_at(&noise(*seed, *length), at).unwrap(),
        Piece::Run { byte, length } => file.write_all_at(&vec![*byte; *length], at).unwrap(),
        Piece::Text { length } => {
            let text = b"all work and no play\n".iter().copied().cycle().take(*length);
            file.write_all_at(&text.collect::<Vec<_>>(), at).unwrap();
        }
        Piece::Hole { length: hole } => file.set_len(length.max(at + *hole as u64)).unwrap(),
    }
}

pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    Rng::new(seed).bytes(length)
}

fn special(path: &Path, kind: rustix::fs::FileType, device: u64) {
    let mode = Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(CWD, path, kind, mode, device).unwrap();
}

fn remove(path: &Path) {
    if fs::symlink_metadata(path).unwrap().is_dir() {
        fs::remove_dir_all(path).unwrap();
    } else {
        fs::remove_file(path).unwrap();
    }
}

/// In the order in which none undoes another.
fn set(path: &Path, attributes: &Attributes) {
    let kind = fs::symlink_metadata(path).unwrap().file_type();
    if let Some((user, group)) = attributes.owner.filter(|_| is_root()) {
        std::os::unix::fs::lchown(path, Some(user), Some(group)).unwrap();
    }
    // restic before 0.16 sets a link's attributes on what the link leads to: not outside, please.
    let stays = |target: PathBuf| target.file_name() == Some(target.as_os_str());
    if !kind.is_symlink() || fs::read_link(path).is_ok_and(stays) {
        for extra in &attributes.extras {
            // Which kinds of files have which is the file system's business, and the user's rights.
            let _ = rustix::fs::lsetxattr(path, extra.name, &extra.value, XattrFlags::empty());
        }
    }
    if !kind.is_symlink() {
        let mine = if kind.is_dir() { 0o700 } else { 0o600 };
        let mode = attributes.mode | if is_root() { 0 } else { mine };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    set_time(path, attributes.time);
}

fn set_time(path: &Path, (tv_sec, tv_nsec): (i64, i64)) {
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A copy that has everything, by a program that none of the actors is.
pub(crate) fn copy(from: &Path, to: &Path) {
    let mut cp = std::process::Command::new("cp");
    let status = cp.args(["-a", "--sparse=always"]).args([from, to]).status().unwrap();
    assert!(status.success(), "cp could not copy {}", from.display());
    let differences = backup::compare(from, to).unwrap().differences;
    assert!(differences.is_empty(), "cp: {differences:#?}");
}
