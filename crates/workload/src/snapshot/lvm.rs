//! Snapshots of LVM's logical volumes, by its own programs, mounted where only we look. Knows no other volumes.
//!
//! ```text
//! /dev/<volume group>/packmule-<16 hex digits>                          a snapshot, with the tag `packmule`
//! <notes>/.packmule-snapshots/packmule-<16 hex digits>                  where it is mounted, read-only
//! ```
//!
//! A volume in a thin pool has its snapshot there. Any other keeps what it overwrites meanwhile in an area beside it, which may fill
//! up: LVM gives the snapshot up then, and reading from it fails. [`check`] finds that.

use super::mounts::Mount;
use super::note::Note;
use super::{FOLDER, place, program};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// What snapshots of ours are tagged with.
const TAG: &str = "packmule";
/// Between the fields of a line; no name of LVM's has one.
const BETWEEN: char = '|';
/// What share of what is free in the volume group a snapshot's area gets; no more than the volume's own size, which LVM sees to.
const AREA: &str = "50%FREE";
/// Half of that is one at least.
const LEAST: u64 = 2;
/// A thin pool that is this full gets no snapshot, in per cent: one that is wholly full stops all its volumes.
const FULL: f32 = 90.0;

/// A logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    group: String,
    name: String,
    /// The thin pool that it is in.
    pool: Option<String>,
    /// Of the file system on it.
    file_system: String,
}

/// What LVM knows of snapshots of ours.
#[derive(Debug)]
struct Known {
    group: String,
    device: PathBuf,
    is_snapshot: bool,
    is_lost: bool,
}

/// The volume that is mounted there.
///
/// # Errors
/// It is none, or there can be no snapshot of it, in words.
pub(crate) fn volume(mounted: &Mount) -> Result<Volume, String> {
    let device = Path::new("/sys/dev/block").join(&mounted.device).join("dm/uuid");
    let uuid = std::fs::read_to_string(device).unwrap_or_default();
    if !uuid.starts_with("LVM-") {
        let kind = &mounted.kind;
        return Err(format!("this {kind} is on no logical volume of LVM, and has none of its own"));
    }
    let (major, minor) = mounted.device.split_once(':').unwrap_or_default();
    let lines = list(
        "vg_name,lv_name,pool_lv",
        &format!("lv_kernel_major={major} && lv_kernel_minor={minor}"),
    )?;
    let [line] = lines.as_slice() else { return Err("LVM does not know its volume".to_owned()) };
    let [group, name, pool] = fields(line)?.map(str::to_owned);
    let pool = Some(pool).filter(|pool| !pool.is_empty());
    Ok(Volume { group, name, pool, file_system: mounted.kind.clone() })
}

/// Whether there is room for what is overwritten while a snapshot of it is used.
fn room(Volume { group, name, pool, .. }: &Volume) -> Result<(), String> {
    let of = |what, name| {
        let lines = list(what, &format!("vg_name={group} && lv_name={name}"))?;
        lines.into_iter().next().ok_or_else(|| format!("LVM knows no {group}/{name} any more"))
    };
    let Some(pool) = pool else {
        let free = of("vg_free_count", name)?;
        let is_free = free.parse::<u64>().is_ok_and(|free| free >= LEAST);
        return if is_free {
            Ok(())
        } else {
            Err(format!("volume group {group} has no room for it"))
        };
    };
    let line = of("data_percent,metadata_percent", pool)?;
    let [data, metadata] = fields(&line)?;
    let is_full = |percent: &str| percent.parse::<f32>().is_ok_and(|percent| percent >= FULL);
    if is_full(data) || is_full(metadata) {
        return Err(format!(
            "thin pool {group}/{pool} is nearly full: {data} % of its data, {metadata} % of its metadata"
        ));
    }
    Ok(())
}

/// The path that stands for a snapshot in its note, and by which people know it.
pub(super) fn named(volume: &Volume, name: &str) -> PathBuf {
    ["/dev", &volume.group, name].iter().collect()
}

/// Where a snapshot is mounted.
fn place_of(notes: &Path, name: &str) -> PathBuf {
    notes.join(FOLDER).join(name)
}

/// Takes a snapshot, mounts it, and tells where.
///
/// # Errors
/// In words.
pub(super) fn take(volume: &Volume, name: &str, note: &Note) -> Result<PathBuf, String> {
    room(volume)?;
    let origin = format!("{}/{}", volume.group, volume.name);
    // It can be written to: xfs finishes its journal even when it is mounted read-only.
    let mut arguments =
        vec!["--yes", "--quiet", "--snapshot", "--permission", "rw", "--addtag", TAG];
    arguments.extend(["--setactivationskip", "n", "--name", name]);
    if volume.pool.is_none() {
        arguments.extend(["--extents", AREA]);
    }
    arguments.push(&origin);
    lvm("lvcreate", &arguments, note.held())?;
    let known = known(name)?.ok_or("LVM has made none")?;
    let at = place_of(note.folder(), name);
    place::mount(&known.device, &volume.file_system, options(&volume.file_system), &at)?;
    Ok(at)
}

/// What a file system of that kind is mounted with. Whatever its superblock says, a snapshot that is lost stops no machine; two of xfs
/// with the same name are what a snapshot is.
fn options(file_system: &str) -> &'static str {
    if file_system == "xfs" { "nouuid" } else { "errors=continue" }
}

/// Whether a snapshot is still what it was.
///
/// # Errors
/// It is not, in words.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let shown = path.display();
    match known(name_of(path))? {
        Some(known) if !known.is_lost => Ok(()),
        Some(known) => Err(format!(
            "snapshot {shown} was lost while it was read, because more was overwritten meanwhile than volume group {} had room for; make more room in it, back up when less is written, or use a thin pool",
            known.group
        )),
        None => Err(format!("snapshot {shown} was removed while it was read")),
    }
}

/// Removes a snapshot, and answers whether there was one. None if its volume group is not there now.
///
/// # Errors
/// In words; it is none of ours.
pub(super) fn remove(path: &Path, notes: &Path) -> Result<Option<bool>, String> {
    let name = name_of(path);
    place::leave(&place_of(notes, name))?;
    let Some(known) = known(name)? else {
        let group = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let there = lines(&lvm("vgs", &["--noheadings", "-o", "vg_name"], Stdio::null())?);
        return Ok(there.iter().any(|there| *there == group).then_some(false));
    };
    if !known.is_snapshot {
        return Err("it is no snapshot".to_owned());
    }
    let whole = format!("{}/{name}", known.group);
    lvm("lvremove", &["--yes", "--quiet", &whole], Stdio::null())?;
    Ok(Some(true))
}

/// Whether a path is one that [`named`] makes.
pub(super) fn is_named(path: &Path) -> bool {
    let group = path.parent().filter(|group| group.parent() == Some(Path::new("/dev")));
    group.is_some_and(|group| group.file_name().is_some())
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default()
}

/// The snapshot of that name with our tag, in whatever volume group it is now.
fn known(name: &str) -> Result<Option<Known>, String> {
    let which = format!("lv_name={name} && lv_tags={TAG}");
    let lines = list("vg_name,lv_dm_path,origin,lv_attr", &which)?;
    let Some(line) = lines.first() else { return Ok(None) };
    let [group, device, origin, attributes] = fields(line)?;
    // The fifth letter of lvs(8) is the state: I and S are snapshots that are invalid. The ninth is the health of a thin one: failed.
    let letter = |at: usize| attributes.chars().nth(at);
    let is_lost = matches!(letter(4), Some('I' | 'S')) || letter(8) == Some('F');
    let (group, device) = (group.to_owned(), device.into());
    Ok(Some(Known { group, device, is_snapshot: !origin.is_empty(), is_lost }))
}

/// Those fields of the volumes that are chosen.
fn list(what: &str, which: &str) -> Result<Vec<String>, String> {
    let between = BETWEEN.to_string();
    let form = ["--noheadings", "--separator", &between, "--units", "b", "-o", what, "-S", which];
    Ok(lines(&lvm("lvs", &form, Stdio::null())?))
}

fn lines(said: &str) -> Vec<String> {
    said.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

fn fields<const N: usize>(line: &str) -> Result<[&str; N], String> {
    let fields: Vec<&str> = line.split(BETWEEN).map(str::trim).collect();
    fields.try_into().map_err(|_| format!("LVM says what nobody understands: {line}"))
}

fn lvm(program: &str, arguments: &[&str], input: Stdio) -> Result<String, String> {
    let arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    Ok(program::run(program, &arguments, input)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_lvm_has_the_fields_that_were_asked_for() {
        let said = "  vg0|data|linear|512|\n\n";
        let lines = lines(said);
        assert_eq!(fields(&lines[0]), Ok(["vg0", "data", "linear", "512", ""]));
        assert!(fields::<2>(&lines[0]).is_err());
    }

    #[test]
    fn a_snapshot_is_named_by_its_group_and_name() {
        assert!(is_named(Path::new("/dev/vg0/packmule-00112233aabbccdd")));
        for other in ["/dev/packmule-00112233aabbccdd", "/dev/a/b/packmule-0", "/vg0/x", "/", "dev"]
        {
            assert!(!is_named(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn no_file_system_stops_the_machine_for_a_snapshot() {
        assert_eq!(options("ext4"), "errors=continue");
        assert_eq!(options("xfs"), "nouuid");
    }
}
