//! Snapshots of btrfs, by its own program: there is no other way without unsafe code.

use super::note::Note;
use super::program::{self, Failure};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The inode of a subvolume's root; `BTRFS_FIRST_FREE_OBJECTID`.
const ROOT: u64 = 256;
/// The inode of a folder that stands for a subvolume in a snapshot of another; `BTRFS_EMPTY_SUBVOL_DIR_OBJECTID`.
pub(crate) const STAND_IN: u64 = 2;

/// The root of the subvolume that `path` is in, at `mount` or below it.
///
/// # Errors
/// In words.
pub(crate) fn subvolume(path: &Path, mount: &Path) -> Result<PathBuf, String> {
    let inode = |path: &Path| path.symlink_metadata().map(|stat| stat.ino());
    let above = path.ancestors().take_while(|above| above.starts_with(mount));
    let mut roots = above.filter(|above| inode(above).is_ok_and(|inode| inode == ROOT));
    let root = roots.find(|root| root.is_dir());
    root.map(Path::to_owned).ok_or_else(|| {
        format!("{} shows only a part of a subvolume, not its root", mount.display())
    })
}

/// Takes a snapshot that cannot be written to.
///
/// # Errors
/// It did not become one, or not yet.
pub(super) fn take(root: &Path, note: &Note) -> Result<(), Failure> {
    let path = note.path();
    let arguments = ["subvolume", "snapshot", "-r", "--"].map(AsRef::as_ref);
    let arguments = [&arguments[..], &[root.as_os_str(), path.as_os_str()]].concat();
    program::run("btrfs", &arguments, note.held())?;
    if is_subvolume(path) { Ok(()) } else { Err("btrfs has made none".to_owned().into()) }
}

/// Removes a snapshot.
///
/// # Errors
/// In words; it is none.
pub(crate) fn remove(path: &Path) -> Result<(), String> {
    if !is_subvolume(path) {
        return Err("it is no snapshot".to_owned());
    }
    let arguments = ["subvolume", "delete", "--"].map(AsRef::as_ref);
    let arguments = [&arguments[..], &[path.as_os_str()]].concat();
    Ok(program::run("btrfs", &arguments, Stdio::null()).map(drop)?)
}

fn is_subvolume(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|stat| stat.is_dir() && stat.ino() == ROOT)
}
