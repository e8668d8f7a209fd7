//! Snapshots of file systems: where one can be had, taken, noted, removed. Knows no backup.
//!
//! ```text
//! <root of a subvolume>/.packmule-snapshots/packmule-<16 hex digits>       a snapshot
//! <notes>/packmule-<16 hex digits>                                         where it is; locked by whoever uses it
//! ```
//!
//! invariant: a snapshot's note is on the disk before the snapshot is, and goes after it. Only what a note names is ever removed,
//! and only if it has our name, in our folder, and is a snapshot: so whatever is left of a run that was killed is found, and nothing
//! else is.

mod btrfs;
pub(crate) mod mounts;
mod note;
mod program;

pub(crate) use btrfs::STAND_IN;

use crate::Notice;
use mounts::Mounts;
use note::Note;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder, in the root of a subvolume, in which its snapshots are while they are used. Not backed up.
pub const FOLDER: &str = ".packmule-snapshots";

/// What snapshots are called, before their number.
const NAME: &str = "packmule-";

/// What a snapshot can be taken of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The root of a subvolume.
    root: PathBuf,
}

/// A snapshot. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Taken {
    root: PathBuf,
    path: PathBuf,
    note: Option<Note>,
}

/// What there can be a snapshot of that has `path`.
///
/// # Errors
/// Why there can be none, in words.
pub(crate) fn source(mounts: &Mounts, path: &Path) -> Result<Source, String> {
    let mount = mounts.of(path).ok_or("it is on no file system that is known")?;
    match mount.kind.as_str() {
        "btrfs" => Ok(Source { root: btrfs::subvolume(path, &mount.at)? }),
        other => Err(format!("there are none of {other}, only of btrfs")),
    }
}

impl Source {
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Takes one.
    ///
    /// # Errors
    /// Why not, in words. Nothing is left then.
    pub(crate) fn take(&self, notes: &Path) -> Result<Taken, String> {
        let folder = self.root.join(FOLDER);
        own_folder(&folder).map_err(|cause| format!("{}: {cause}", folder.display()))?;
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(|_| "the system gives no random numbers")?;
        let name = format!("{NAME}{:016x}", u64::from_le_bytes(number));
        let path = folder.join(&name);
        let note = Note::new(notes, &name, &path)
            .map_err(|cause| format!("it cannot be noted in {}: {cause}", notes.display()))?;
        let taken = Taken { root: self.root.clone(), path, note: Some(note) };
        // Dropped where it fails, and with it whatever is there of it.
        btrfs::take(&self.root, &taken.path)?;
        Ok(taken)
    }
}

/// Makes the folder for snapshots, or finds it as we would have made it: nobody else may put something into it that is then
/// read with our rights.
fn own_folder(folder: &Path) -> std::io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {}
        other => return other,
    }
    let stat = folder.symlink_metadata()?;
    let is_ours = stat.is_dir()
        && stat.uid() == rustix::process::geteuid().as_raw()
        && stat.permissions().mode() & 0o077 == 0;
    if is_ours { Ok(()) } else { Err(std::io::Error::other("somebody else has made it")) }
}

impl Taken {
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where it can be read.
    pub(crate) fn seen(&self) -> &Path {
        &self.path
    }

    pub(crate) fn remove(mut self, tell: &dyn Fn(Notice)) {
        if let Some(note) = self.note.take() {
            remove(note, tell);
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(note) = self.note.take() {
            remove(note, &|_| {});
        }
    }
}

/// Removes snapshots that runs which were cut off have left, as far as `notes` names them and nobody uses them.
pub fn clear(notes: &Path, tell: &dyn Fn(Notice)) {
    for note in note::left(notes) {
        let path = note.path().to_owned();
        if remove(note, tell) {
            tell(Notice::Cleared { path });
        }
    }
}

/// Removes a snapshot, and then its note. Answers whether there was one and it is gone.
fn remove(note: Note, tell: &dyn Fn(Notice)) -> bool {
    let path = note.path().to_owned();
    match removed(&path) {
        Ok(Removed::Gone { was_there }) => {
            note.end();
            was_there
        }
        Ok(Removed::NotMounted) => false,
        Err(why) => {
            tell(Notice::Left { path, why });
            false
        }
    }
}

enum Removed {
    Gone { was_there: bool },
    NotMounted,
}

fn removed(path: &Path) -> Result<Removed, String> {
    if !is_named_as_ours(path) {
        return Err("its note names something that is not ours".to_owned());
    }
    let there = |path: &Path| path.symlink_metadata();
    match path.parent().map(there) {
        Some(Ok(stat)) if stat.is_dir() => {}
        // Its file system is not there now.
        _ => return Ok(Removed::NotMounted),
    }
    match there(path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            Ok(Removed::Gone { was_there: false })
        }
        Err(cause) => Err(cause.to_string()),
        Ok(_) => btrfs::remove(path).map(|()| Removed::Gone { was_there: true }),
    }
}

/// Whether a path is one that [`Source::take`] would choose.
fn is_named_as_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let folder = path.parent().and_then(Path::file_name);
    path.is_absolute() && is_our_name(name) && folder == Some(FOLDER.as_ref())
}

pub(crate) fn is_our_name(name: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.strip_prefix(NAME).is_some_and(|number| number.len() == 16 && number.bytes().all(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_our_name_in_our_folder_is_ours() {
        assert!(is_named_as_ours(Path::new("/srv/.packmule-snapshots/packmule-00112233aabbccdd")));
        for other in [
            "/srv/.packmule-snapshots/packmule-00112233aabbccd",
            "/srv/.packmule-snapshots/packmule-00112233AABBCCDD",
            "/srv/.packmule-snapshots/packmule-00112233aabbccdd/x",
            "/srv/packmule-00112233aabbccdd",
            "/srv/.packmule-snapshots",
            "/srv/.packmule-snapshots/..",
            "srv/.packmule-snapshots/packmule-00112233aabbccdd",
            "/",
        ] {
            assert!(!is_named_as_ours(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn a_folder_that_somebody_else_has_made_is_not_used() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join(FOLDER);
        own_folder(&folder).unwrap();
        own_folder(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o770)).unwrap();
        assert!(own_folder(&folder).is_err());
        std::fs::remove_dir(&folder).unwrap();
        std::os::unix::fs::symlink("/tmp", &folder).unwrap();
        assert!(own_folder(&folder).is_err());
    }
}
