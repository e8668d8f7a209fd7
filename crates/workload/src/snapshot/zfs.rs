//! Snapshots of ZFS's datasets, by its own program, mounted where only we look. Knows no volumes of ZFS.
//!
//! ```text
//! <dataset>@packmule-<16 hex digits>                                       a snapshot, with the property `packmule:snapshot`
//! <notes>/.packmule-snapshots/packmule-<16 hex digits>/<n>                 where the nth of those is mounted that were taken at once
//! ```
//!
//! Those of one pool are taken at once, under one name and one note, and are of one moment. They are mounted, and not read below
//! `.zfs/snapshot`: the kernel mounts there by itself, in its own mount namespace, and unmounts what was idle for a while.

use super::mounts::Mount;
use super::note::Note;
use super::program::{self, Failure};
use super::{FOLDER, is_our_name, place};
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// What the kernel calls it.
pub(super) const KIND: &str = "zfs";
/// What snapshots of ours have: by that they are found again when their dataset or its pool has another name. Received copies of them
/// have it too, but not as their own (`local`).
const PROPERTY: &str = "packmule:snapshot";

/// The dataset that is mounted there.
///
/// # Errors
/// There can be no snapshot of it, in words.
pub(super) fn dataset(mounted: &Mount) -> Result<String, String> {
    let name = &mounted.source;
    is_dataset(name).then(|| name.clone()).ok_or_else(|| format!("{name:?} is no dataset"))
}

/// Whether what is mounted there is on a volume of ZFS, or a part of one.
pub(super) fn is_on_volume(mounted: &Mount) -> bool {
    let device = Path::new("/sys/dev/block").join(&mounted.device).canonicalize();
    device.is_ok_and(|device| has_volume(&device))
}

/// The kernel calls them zd0, zd16 and so on.
fn has_volume(device: &Path) -> bool {
    device.iter().filter_map(OsStr::to_str).any(|name| {
        name.strip_prefix("zd")
            .is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()))
    })
}

/// The pool that a dataset is in.
pub(super) fn pool(dataset: &str) -> &str {
    dataset.split('/').next().unwrap_or(dataset)
}

/// What stands for snapshots that are taken at once in their note: one a line, by the names that people know them by.
pub(super) fn named(datasets: &[(&str, &Path)], name: &str) -> PathBuf {
    let lines: Vec<String> =
        datasets.iter().map(|(dataset, _)| format!("{dataset}@{name}")).collect();
    lines.join("\n").into()
}

/// The snapshots that [`named`] has put into a path.
pub(super) fn snapshots(noted: &Path) -> Option<Vec<&str>> {
    let all: Vec<&str> = noted.to_str()?.split('\n').collect();
    let (first, name) = all.first()?.split_once('@')?;
    let is_ours = |snapshot: &&str| {
        snapshot.split_once('@').is_some_and(|(dataset, its)| {
            is_dataset(dataset) && pool(dataset) == pool(first) && its == name
        })
    };
    (is_our_name(name) && all.iter().all(is_ours)).then_some(all)
}

/// See zfs(8): a letter first, so that no name is an option.
fn is_dataset(name: &str) -> bool {
    let may = |c: char| c.is_ascii_alphanumeric() || "/-_.: ".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(may)
}

/// Takes snapshots of datasets of one pool at once, mounts them, and tells where each is.
///
/// # Errors
/// In words; none was taken, or not yet.
pub(super) fn take(
    datasets: &[(&str, &Path)],
    name: &str,
    note: &Note,
) -> Result<Vec<PathBuf>, Failure> {
    for (dataset, root) in datasets {
        // What was written through mappings of files is not in the dataset before.
        let synced = File::open(root).and_then(|root| Ok(rustix::fs::syncfs(root)?));
        synced.map_err(|cause| format!("{dataset} cannot be synced: {cause}"))?;
    }
    let property = format!("{PROPERTY}=yes");
    let mut arguments = vec!["snapshot", "-o", &property];
    let snapshots: Vec<String> =
        datasets.iter().map(|(dataset, _)| format!("{dataset}@{name}")).collect();
    arguments.extend(snapshots.iter().map(String::as_str));
    zfs(&arguments, note.held())?;
    let places = snapshots.iter().enumerate().map(|(number, snapshot)| {
        let at = place_of(note.folder(), name).join(number.to_string());
        place::mount(Path::new(snapshot), KIND, "", &at).map(|()| at)
    });
    Ok(places.collect::<Result<_, _>>()?)
}

fn place_of(notes: &Path, name: &str) -> PathBuf {
    notes.join(FOLDER).join(name)
}

/// Removes snapshots, and answers whether there was one. None if their pool is not there now.
///
/// # Errors
/// In words.
pub(super) fn remove(snapshots: &[&str], notes: &Path) -> Result<Option<bool>, String> {
    let (dataset, name) = snapshots.first().and_then(|it| it.split_once('@')).unwrap_or_default();
    let at = place_of(notes, name);
    for number in 0..snapshots.len() {
        place::leave(&at.join(number.to_string()))?;
    }
    place::leave(&at)?;
    let destroy = |snapshot: &str| zfs(&["destroy", snapshot], Stdio::null()).map(drop);
    let destroyed = snapshots.iter().filter(|snapshot| destroy(snapshot).is_ok()).count();
    if destroyed == snapshots.len() {
        return Ok(Some(true));
    }
    // In use, removed by somebody else, never taken, or called something else by now.
    let found = known(name)?;
    for snapshot in &found {
        destroy(snapshot).map_err(|failure| format!("{snapshot}: {}", failure.why))?;
    }
    let pools = lines(&zfs(&["list", "-H", "-o", "name", "-d", "0"], Stdio::null())?);
    let was_there = destroyed > 0 || !found.is_empty();
    let is_known = was_there || pools.iter().any(|there| there == pool(dataset));
    Ok(is_known.then_some(was_there))
}

/// The snapshots of that name that we have taken, in whatever dataset they are now.
fn known(name: &str) -> Result<Vec<String>, String> {
    let form = ["get", "-H", "-t", "snapshot", "-s", "local", "-o", "name", PROPERTY];
    let mut all = lines(&zfs(&form, Stdio::null())?);
    all.retain(|snapshot| snapshot.split_once('@').is_some_and(|(_, its)| its == name));
    Ok(all)
}

fn lines(said: &str) -> Vec<String> {
    said.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn zfs(arguments: &[&str], input: Stdio) -> Result<String, Failure> {
    let arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    program::run("zfs", &arguments, input)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "packmule-00112233aabbccdd";

    #[test]
    fn what_is_noted_of_datasets_is_found_in_the_note() {
        let noted = named(&[("tank", Path::new("/tank")), ("tank/a b/c", Path::new("/srv"))], NAME);
        let expected = [format!("tank@{NAME}"), format!("tank/a b/c@{NAME}")];
        assert_eq!(snapshots(&noted).unwrap(), expected);
    }

    #[test]
    fn only_snapshots_with_our_name_in_one_pool_are_ours() {
        let ours = |text: &str| snapshots(Path::new(text)).is_some();
        assert!(ours(&format!("tank/a@{NAME}")));
        for other in [
            "",
            "tank/a",
            "tank/a@daily",
            "/tank/a@packmule-00112233aabbccdd",
            "-r tank/a@packmule-00112233aabbccdd",
            "tank/a@packmule-00112233aabbccdd,daily",
            "tank/a@packmule-00112233aabbccdd@x",
            "tank/a@packmule-00112233aabbccdd\n",
            "tank/a@packmule-00112233aabbccdd\ntank/b@packmule-0123456789abcdef",
            "tank/a@packmule-00112233aabbccdd\nother/b@packmule-00112233aabbccdd",
            "tank/a%b@packmule-00112233aabbccdd",
        ] {
            assert!(!ours(other), "{other:?}");
        }
    }

    #[test]
    fn a_volume_of_zfs_and_its_parts_are_known_by_the_device() {
        assert!(has_volume(Path::new("/sys/devices/virtual/block/zd0")));
        assert!(has_volume(Path::new("/sys/devices/virtual/block/zd16/zd16p1")));
        assert!(!has_volume(Path::new("/sys/devices/virtual/block/zram0")));
        assert!(!has_volume(Path::new("/sys/devices/pci0000:00/ata1/block/sda")));
    }
}
