//! Snapshots of file systems: where one can be had, taken, noted, removed. Knows no backup.
//!
//! ```text
//! <root of a subvolume>/.packmule-snapshots/packmule-<16 hex digits>       a snapshot
//! /dev/<volume group>/packmule-<16 hex digits>                             another; see `lvm`
//! <dataset>@packmule-<16 hex digits>                                       and another; see `zfs`
//! <notes>/packmule-<16 hex digits>                                         where it is; locked by whoever uses it
//! ```
//!
//! invariant: a snapshot's note is on the disk before the snapshot is, and goes after it. Only what a note names is ever removed,
//! and only if it has our name, where ours are, and is a snapshot: so whatever is left of a run that was killed is found, and nothing
//! else is.

mod btrfs;
mod lvm;
pub(crate) mod mounts;
mod note;
mod place;
mod program;
mod zfs;

use crate::Notice;
use mounts::{Mount, Mounts};
use note::Note;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The folder in which snapshots are while they are used: in the root of a subvolume, and beside notes. Not backed up.
pub const FOLDER: &str = ".packmule-snapshots";

/// What snapshots are called, before their number.
const NAME: &str = "packmule-";

/// What a snapshot is taken of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Of {
    /// A subvolume of btrfs, by its root.
    Subvolume(PathBuf),
    /// A logical volume of LVM.
    Volume(lvm::Volume),
    /// A dataset of ZFS, by its name.
    Dataset(String),
}

/// What a snapshot can be taken of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    of: Of,
    /// Where it begins.
    root: PathBuf,
    /// What of the snapshot that is.
    within: PathBuf,
}

/// Snapshots that were taken at once, mostly one. Dropped, they are removed.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Of what, and where that is seen.
    seen: Vec<(Of, PathBuf)>,
    note: Option<Note>,
}

/// What there can be a snapshot of that has `path`.
///
/// # Errors
/// Why there can be none, in words.
pub(crate) fn source(mounts: &Mounts, path: &Path) -> Result<Source, String> {
    let mount = mounts.of(path).ok_or("it is on no file system that is known")?;
    match mount.kind.as_str() {
        "btrfs" => {
            let root = btrfs::subvolume(path, &mount.at)?;
            Ok(Source { of: Of::Subvolume(root.clone()), root, within: PathBuf::new() })
        }
        zfs::KIND => Ok(Source {
            of: Of::Dataset(zfs::dataset(mount)?),
            root: mount.at.clone(),
            within: within(mount),
        }),
        kind @ ("ext2" | "ext3" | "ext4" | "xfs") if zfs::is_on_volume(mount) => Err(format!(
            "this {kind} is on a volume of ZFS, and there are some of ZFS's datasets only"
        )),
        "ext2" | "ext3" | "ext4" | "xfs" => {
            let of = Of::Volume(lvm::volume(mount)?);
            Ok(Source { of, root: mount.at.clone(), within: within(mount) })
        }
        other => Err(format!(
            "there are none of {other}, only of btrfs and ZFS, and of ext4 and xfs on LVM"
        )),
    }
}

/// What of its file system is mounted there.
fn within(mount: &Mount) -> PathBuf {
    mount.root.strip_prefix("/").unwrap_or(&mount.root).to_owned()
}

impl Source {
    /// Whether what is taken of one is, or can be, taken of the other at once.
    pub(crate) fn goes_with(&self, other: &Self) -> bool {
        match (&self.of, &other.of) {
            (Of::Dataset(one), Of::Dataset(other)) => zfs::pool(one) == zfs::pool(other),
            (one, other) => one == other,
        }
    }

    /// A dataset's name, and a place at which it is mounted.
    fn dataset(&self) -> Option<(&str, &Path)> {
        match &self.of {
            Of::Dataset(name) => Some((name, &self.root)),
            _ => None,
        }
    }

    /// The inode of directories in its snapshot that only stand for something else, where there are such.
    pub(crate) fn stand_in(&self) -> Option<u64> {
        matches!(self.of, Of::Subvolume(_)).then_some(btrfs::STAND_IN)
    }

    /// Where something of it can be read in its snapshot.
    ///
    /// # Errors
    /// It is not in it.
    pub(crate) fn seen(&self, taken: &Taken, path: &Path) -> Result<PathBuf, String> {
        let seen = taken.seen(self).ok_or("there is none")?;
        let rest = path.strip_prefix(&self.root).map_err(|error| error.to_string())?;
        let parts = [&self.within, rest].into_iter();
        // Joining nothing would add a slash, and so ask for a folder.
        let parts = parts.filter(|part| !part.as_os_str().is_empty());
        Ok(parts.fold(seen.to_owned(), |seen, part| seen.join(part)))
    }
}

/// Takes one of each, at once: they go with each other, and may be the same.
///
/// # Errors
/// Why not, in words. Nothing is left then.
pub(crate) fn take(sources: &[&Source], notes: &Path) -> Result<Taken, String> {
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(|_| "the system gives no random numbers")?;
    let name = format!("{NAME}{:016x}", u64::from_le_bytes(number));
    let mut distinct: Vec<&Source> = Vec::new();
    for source in sources {
        if distinct.iter().all(|known| known.of != source.of) {
            distinct.push(source);
        }
    }
    let source = distinct.first().ok_or("there is nothing to take one of")?;
    let datasets: Vec<(&str, &Path)> = distinct.iter().filter_map(|one| one.dataset()).collect();
    let (folder, noted) = match &source.of {
        Of::Subvolume(root) => (root.join(FOLDER), root.join(FOLDER).join(&name)),
        Of::Volume(volume) => (notes.join(FOLDER), lvm::named(volume, &name)),
        Of::Dataset(_) => (notes.join(FOLDER), zfs::named(&datasets, &name)),
    };
    let is_missing = |cause| format!("it cannot be noted in {}: {cause}", notes.display());
    store::durable::create_folder(notes, 0o700).map_err(is_missing)?;
    own_folder(&folder).map_err(|cause| format!("{}: {cause}", folder.display()))?;
    let note = Note::new(notes, &name, &noted).map_err(is_missing)?;
    let mut taken = Taken { seen: Vec::new(), note: None };
    // Dropped where it fails, and with it whatever is there of it.
    let note = taken.note.insert(note);
    let seen = match &source.of {
        Of::Subvolume(root) => btrfs::take(root, note).map(|()| vec![noted]),
        Of::Volume(volume) => Ok(vec![lvm::take(volume, &name, note)?]),
        Of::Dataset(_) => zfs::take(&datasets, &name, note),
    };
    let seen = seen.map_err(|why| taken.failed(why))?;
    taken.seen = distinct.iter().map(|source| source.of.clone()).zip(seen).collect();
    Ok(taken)
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
    /// What is left where it could not be taken. A program that still runs may take it yet: it holds the note, by which both are removed
    /// once it has ended.
    fn failed(&mut self, failure: program::Failure) -> String {
        if failure.runs {
            self.note = None;
        }
        failure.why
    }

    /// Where what is taken of that is seen.
    fn seen(&self, source: &Source) -> Option<&Path> {
        let seen = self.seen.iter().find(|(of, _)| *of == source.of);
        seen.map(|(_, path)| path.as_path())
    }

    /// Whether one of that is among them.
    pub(crate) fn is_of(&self, source: &Source) -> bool {
        self.seen(source).is_some()
    }

    /// Devices on which things are seen, and on which they are.
    pub(crate) fn devices(&self, source: &Source) -> Option<(u64, u64)> {
        let device = |path: &Path| path.metadata().map(|stat| stat.dev()).ok();
        Some((device(self.seen(source)?)?, device(&source.root)?))
    }

    /// What answers whether it is still what it was, where that can change.
    pub(crate) fn check(&self) -> Option<impl Fn() -> Result<(), String> + Send + Sync + use<>> {
        let noted = self.note.as_ref()?.path().to_owned();
        let is_volume = self.seen.iter().any(|(of, _)| matches!(of, Of::Volume(_)));
        is_volume.then_some(move || lvm::check(&noted))
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
        let paths = named(note.path());
        if remove(note, tell) {
            paths.into_iter().for_each(|path| tell(Notice::Cleared { path }));
        }
    }
}

/// Removes a snapshot, and then its note. Answers whether there was one and it is gone.
fn remove(note: Note, tell: &dyn Fn(Notice)) -> bool {
    match removed(&note) {
        Ok(Some(was_there)) => {
            note.end();
            was_there
        }
        // Its file system, its volume group or its pool is not there now.
        Ok(None) => false,
        Err(why) => {
            let paths = named(note.path()).into_iter();
            paths.for_each(|path| tell(Notice::Left { path, why: why.clone() }));
            false
        }
    }
}

/// The snapshots that a note names.
fn named(noted: &Path) -> Vec<PathBuf> {
    match zfs::snapshots(noted) {
        Some(snapshots) => snapshots.into_iter().map(PathBuf::from).collect(),
        None => vec![noted.to_owned()],
    }
}

/// Removes what a note names, and answers whether there was something. None where nobody can tell.
fn removed(note: &Note) -> Result<Option<bool>, String> {
    let path = note.path();
    match kind(path).ok_or("its note names something that is not ours")? {
        Kind::Subvolume => {}
        Kind::Volume => return lvm::remove(path, note.folder()),
        Kind::Datasets(snapshots) => return zfs::remove(&snapshots, note.folder()),
    }
    let there = |path: &Path| path.symlink_metadata();
    if !path.parent().is_some_and(|folder| there(folder).is_ok_and(|stat| stat.is_dir())) {
        return Ok(None);
    }
    match there(path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(Some(false)),
        Err(cause) => Err(cause.to_string()),
        Ok(_) => btrfs::remove(path).map(|()| Some(true)),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Kind<'a> {
    Subvolume,
    Volume,
    Datasets(Vec<&'a str>),
}

/// What a path is that [`take`] would choose; none if it would not.
fn kind(path: &Path) -> Option<Kind<'_>> {
    if let Some(snapshots) = zfs::snapshots(path) {
        return Some(Kind::Datasets(snapshots));
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_ours = path.is_absolute() && is_our_name(name);
    match path.parent().and_then(Path::file_name) {
        Some(folder) if is_ours && folder == FOLDER => Some(Kind::Subvolume),
        _ if is_ours && lvm::is_named(path) => Some(Kind::Volume),
        _ => None,
    }
}

pub(crate) fn is_our_name(name: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.strip_prefix(NAME).is_some_and(|number| number.len() == 16 && number.bytes().all(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_our_name_in_our_folder_or_among_volumes_is_ours() {
        let kind = |path| kind(Path::new(path));
        let ours = "/srv/.packmule-snapshots/packmule-00112233aabbccdd";
        assert_eq!(kind(ours), Some(Kind::Subvolume));
        assert_eq!(kind("/dev/vg0/packmule-00112233aabbccdd"), Some(Kind::Volume));
        let dataset = "tank/a@packmule-00112233aabbccdd";
        assert_eq!(kind(dataset), Some(Kind::Datasets(vec![dataset])));
        for other in [
            "/srv/.packmule-snapshots/packmule-00112233aabbccd",
            "/srv/.packmule-snapshots/packmule-00112233AABBCCDD",
            "/srv/.packmule-snapshots/packmule-00112233aabbccdd/x",
            "/dev/vg0/lvol0",
            "/srv/packmule-00112233aabbccdd",
            "/srv/.packmule-snapshots",
            "/srv/.packmule-snapshots/..",
            "srv/.packmule-snapshots/packmule-00112233aabbccdd",
            "/",
        ] {
            assert_eq!(kind(other), None, "{other}");
        }
    }

    #[test]
    fn what_may_be_taken_yet_keeps_its_note_and_what_is_not_does_not() {
        let place = tempfile::tempdir().unwrap();
        let (notes, folder) = (place.path().join("notes"), place.path().join(FOLDER));
        own_folder(&folder).unwrap();
        let name = "packmule-00112233aabbccdd";
        for runs in [false, true] {
            let path = folder.join(name);
            let note = Some(Note::new(&notes, name, &path).unwrap());
            let of = Of::Subvolume(place.path().to_owned());
            let mut taken = Taken { seen: vec![(of, path)], note };
            taken.failed(program::Failure { why: "too slow".to_owned(), runs });
            drop(taken);
            assert_eq!(notes.join(name).exists(), runs);
        }
        // Whoever clears up finds that nothing came of it, once nobody holds the note.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while notes.join(name).exists() {
            clear(&notes, &|_| {});
            assert!(std::time::Instant::now() < until);
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
