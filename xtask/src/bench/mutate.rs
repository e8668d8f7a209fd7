//! Changes 1 % of a data set, always the same 1 %, so that there is something to back up again.
//! Plans, saves what will be overwritten, then acts; `undo` puts it back.

use super::data::Set;
use super::noise::Noise;
use super::text::Log;
use super::undo::Saver;
use super::{tree, undo};
use anyhow::Context;
use std::fs::{File, FileTimes, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Which 1 % is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 1 % of the files touched, appended to, edited in place, deleted, added; logs grow; 4 KiB
    /// edits in large files.
    Files,
    /// Stretches of 1 MiB of an image.
    Stretches,
    /// 4 KiB blocks of an image, all over it.
    Scattered,
}

/// What a set's increment changes.
pub(crate) fn usual(set: Set) -> Kind {
    if set == Set::C { Kind::Stretches } else { Kind::Files }
}

const BLOCK: u64 = 4096;
const STRETCH: u64 = 1 << 20;

/// One change. Offsets and lengths are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Touch,
    Append {
        length: u64,
        text: bool,
    },
    /// Parts of one length each that are overwritten.
    Edit {
        offsets: Vec<u64>,
        length: u64,
    },
    Delete,
    Add {
        length: u64,
    },
}

/// Changes the set at `root`. What it was is kept at `saved` until [`undo::undo`] puts it back.
///
/// # Errors
/// When the set cannot be read or written; what was changed until then can be undone.
pub(crate) fn change(root: &Path, saved: &Path, kind: Kind) -> anyhow::Result<()> {
    undo::undo(root, saved)?;
    let plan = match kind {
        Kind::Files => plan_files(root)?,
        Kind::Stretches => plan_image(root, STRETCH)?,
        Kind::Scattered => plan_image(root, BLOCK)?,
    };
    save(root, saved, &plan)?;
    // Other bytes for each kind: the second change of an image shall not undo the first.
    let mut noise = Noise::new(1000 + kind as u64);
    for (path, change) in &plan {
        apply(&root.join(path), change, &mut noise)
            .with_context(|| format!("cannot change {}", path.display()))?;
    }
    Ok(())
}

type Plan = Vec<(PathBuf, Change)>;

fn plan_files(root: &Path) -> anyhow::Result<Plan> {
    let mut files = Vec::new();
    for path in tree::files(root)? {
        let found = std::fs::symlink_metadata(root.join(&path))?;
        // A change to one name of a file would be one to all its names.
        if found.nlink() == 1 {
            files.push((path, found.len()));
        }
    }
    let mut noise = Noise::new(123);
    let (large, mut small): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|(path, _)| is_in(path, "random") || is_in(path, "logs"));
    noise.shuffle(&mut small);
    let count = ((small.len() + large.len()) / 100).max(1);
    let mut plan: Plan = Vec::new();
    for (index, (path, size)) in small.into_iter().take(count).enumerate() {
        plan.push((path, change_of_file(index, size, &mut noise)));
    }
    for index in 0..count / 4 {
        let length = noise.between(1000, 40_000);
        plan.push((Path::new(ADDED).join(format!("n{index}")), Change::Add { length }));
    }
    for (path, size) in large {
        let change = if is_in(&path, "logs") {
            Change::Append { length: 200_000, text: true }
        } else {
            let offsets = (0..3).map(|_| noise.below(size.saturating_sub(BLOCK))).collect();
            Change::Edit { offsets, length: BLOCK }
        };
        plan.push((path, change));
    }
    Ok(plan)
}

/// The folder for files that are added.
const ADDED: &str = "new";

fn is_in(path: &Path, folder: &str) -> bool {
    path.parent().is_some_and(|parent| parent.components().any(|part| part.as_os_str() == folder))
}

fn change_of_file(index: usize, size: u64, noise: &mut Noise) -> Change {
    match index % 4 {
        0 => Change::Touch,
        1 => Change::Append { length: noise.between(100, 20_000), text: false },
        2 => Change::Edit { offsets: vec![noise.below(size)], length: 64 },
        _ => Change::Delete,
    }
}

fn plan_image(root: &Path, length: u64) -> anyhow::Result<Plan> {
    let path = tree::files(root)?.into_iter().next().context("there is no image")?;
    let count = std::fs::symlink_metadata(root.join(&path))?.len() / length;
    let mut places: Vec<u64> = (0..count).collect();
    Noise::new(99).shuffle(&mut places);
    places.truncate(usize::try_from(count / 100)?.max(1));
    places.sort_unstable();
    let offsets = places.into_iter().map(|place| place * length).collect();
    Ok(vec![(path, Change::Edit { offsets, length })])
}

fn save(root: &Path, saved: &Path, plan: &Plan) -> anyhow::Result<()> {
    let mut saver = Saver::new(root, saved)?;
    if plan.iter().any(|(_, change)| matches!(change, Change::Add { .. })) {
        saver.folder(Path::new(""))?;
        saver.absent(Path::new(ADDED));
    }
    for (path, change) in plan {
        match change {
            Change::Touch | Change::Append { .. } => saver.file(path, &[])?,
            Change::Edit { offsets, length } => {
                let parts: Vec<(u64, u64)> = offsets.iter().map(|at| (*at, *length)).collect();
                saver.file(path, &parts)?;
            }
            Change::Delete => {
                let length = std::fs::symlink_metadata(root.join(path))?.len();
                saver.folder(path.parent().unwrap_or(Path::new("")))?;
                saver.file(path, &[(0, length)])?;
            }
            Change::Add { .. } => {}
        }
    }
    saver.done()
}

fn apply(path: &Path, change: &Change, noise: &mut Noise) -> anyhow::Result<()> {
    match change {
        Change::Touch => {
            let now = FileTimes::new().set_modified(SystemTime::now());
            File::open(path)?.set_times(now)?;
        }
        Change::Append { length, text } => {
            let mut bytes = vec![0; usize::try_from(*length)?];
            if *text {
                Log::new(noise.next()).fill(&mut bytes);
            } else {
                noise.fill(&mut bytes);
            }
            OpenOptions::new().append(true).open(path)?.write_all(&bytes)?;
        }
        Change::Edit { offsets, length } => {
            let mut file = OpenOptions::new().write(true).open(path)?;
            let mut bytes = vec![0; usize::try_from(*length)?];
            for offset in offsets {
                noise.fill(&mut bytes);
                file.seek(SeekFrom::Start(*offset))?;
                file.write_all(&bytes)?;
            }
        }
        Change::Delete => std::fs::remove_file(path)?,
        Change::Add { length } => {
            let mut bytes = vec![0; usize::try_from(*length)?];
            noise.fill(&mut bytes);
            std::fs::create_dir_all(path.parent().unwrap_or(path))?;
            std::fs::write(path, bytes)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    type State = BTreeMap<PathBuf, (Vec<u8>, SystemTime, u32)>;

    fn state(root: &Path) -> State {
        let read = |path: PathBuf| {
            let full = root.join(&path);
            let found = full.metadata().unwrap();
            let content = std::fs::read(&full).unwrap();
            (path, (content, found.modified().unwrap(), found.mode()))
        };
        tree::files(root).unwrap().into_iter().map(read).collect()
    }

    /// 400 small files, two logs, two large ones, and one file with two names.
    fn files() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("set");
        let old = SystemTime::UNIX_EPOCH + std::time::Duration::new(1_600_000_000, 123);
        let mut noise = Noise::new(1);
        let mut write = |path: String, length: usize| {
            let full = root.join(path);
            std::fs::create_dir_all(full.parent().unwrap()).unwrap();
            let mut bytes = vec![0; length];
            noise.fill(&mut bytes);
            std::fs::write(&full, bytes).unwrap();
            File::open(&full).unwrap().set_times(FileTimes::new().set_modified(old)).unwrap();
        };
        (0..400).for_each(|number| write(format!("d{}/f{number}", number % 7), number));
        (0..2).for_each(|number| write(format!("logs/{number}"), 5000));
        (0..2).for_each(|number| write(format!("random/{number}"), 50_000));
        write("linked".to_owned(), 100);
        std::fs::hard_link(root.join("linked"), root.join("other-name")).unwrap();
        folder
    }

    #[test]
    fn one_per_cent_of_the_files_changes_and_is_put_back() {
        let folder = files();
        let (root, saved) = (folder.path().join("set"), folder.path().join("saved"));
        let folder_time = || root.join("d1").metadata().unwrap().modified().unwrap();
        let (before, time_before) = (state(&root), folder_time());
        change(&root, &saved, Kind::Files).unwrap();
        let after = state(&root);
        let gone = before.keys().filter(|path| !after.contains_key(*path)).count();
        let new = after.keys().filter(|path| !before.contains_key(*path)).count();
        let changed =
            before.iter().filter(|(path, old)| after.get(*path).is_some_and(|now| now != *old));
        // 4 of 404: touched, appended, edited, deleted; one new; two logs, two large files.
        assert_eq!((gone, new, changed.count()), (1, 1, 7));
        undo::undo(&root, &saved).unwrap();
        assert!(state(&root) == before);
        assert_eq!(folder_time(), time_before);
        assert!(!saved.exists() && !root.join(ADDED).exists());
    }

    #[test]
    fn the_same_set_is_changed_in_the_same_way() {
        let content = |folder: &tempfile::TempDir| {
            let (root, saved) = (folder.path().join("set"), folder.path().join("saved"));
            change(&root, &saved, Kind::Files).unwrap();
            state(&root).into_iter().map(|(path, (bytes, ..))| (path, bytes)).collect::<Vec<_>>()
        };
        let (one, two) = (files(), files());
        let first = content(&one);
        assert!(first == content(&two));
        // Changed anew, it is first put back.
        assert!(first == content(&one));
    }

    #[test]
    fn an_image_changes_in_stretches_or_blocks_and_is_put_back() {
        for (kind, length) in [(Kind::Stretches, STRETCH), (Kind::Scattered, BLOCK)] {
            let folder = tempfile::tempdir().unwrap();
            let (root, saved) = (folder.path().join("set"), folder.path().join("saved"));
            std::fs::create_dir(&root).unwrap();
            std::fs::write(root.join("disk.img"), vec![0; 3 << 20]).unwrap();
            let before = state(&root);
            change(&root, &saved, kind).unwrap();
            let image = std::fs::read(root.join("disk.img")).unwrap();
            let parts = image.chunks(usize::try_from(length).unwrap());
            let changed = parts.filter(|part| part.iter().any(|byte| *byte != 0)).count();
            assert_eq!(changed as u64, ((3 << 20) / length / 100).max(1), "{kind:?}");
            assert_eq!(image.len(), 3 << 20);
            undo::undo(&root, &saved).unwrap();
            assert!(state(&root) == before);
        }
    }

    #[test]
    fn a_change_that_was_cut_short_is_put_back() {
        let folder = files();
        let (root, saved) = (folder.path().join("set"), folder.path().join("saved"));
        let before = state(&root);
        let plan = plan_files(&root).unwrap();
        save(&root, &saved, &plan).unwrap();
        let mut noise = Noise::new(1);
        for (path, change) in plan.iter().take(3) {
            apply(&root.join(path), change, &mut noise).unwrap();
        }
        assert!(state(&root) != before);
        undo::undo(&root, &saved).unwrap();
        assert!(state(&root) == before);
        // Nothing is saved any more: nothing happens.
        undo::undo(&root, &saved).unwrap();
    }
}
