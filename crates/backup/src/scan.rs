//! How much there is to back up, for a time left. Counts; reads and decides nothing.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Files and bytes below some paths. What cannot be read is not counted: the backup names it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Counts; ends early, with what it has by then, when `stop` is set.
#[must_use]
pub fn scan(paths: &[PathBuf], stop: &AtomicBool) -> Totals {
    let mut totals = Totals::default();
    let mut pending = paths.to_vec();
    while let Some(path) = pending.pop() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let Ok(stat) = std::fs::symlink_metadata(&path) else { continue };
        if stat.is_file() {
            totals.files += 1;
            totals.bytes += stat.size();
        } else if stat.is_dir()
            && let Ok(entries) = std::fs::read_dir(&path)
        {
            pending.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_counted_links_are_not() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("d")).unwrap();
        std::fs::write(folder.path().join("d/a"), b"123").unwrap();
        std::fs::write(folder.path().join("b"), b"4567").unwrap();
        std::os::unix::fs::symlink("b", folder.path().join("l")).unwrap();
        let stop = AtomicBool::new(false);
        let totals = scan(&[folder.path().to_owned()], &stop);
        assert_eq!(totals, Totals { files: 2, bytes: 7 });
        stop.store(true, Ordering::Relaxed);
        assert_eq!(scan(&[folder.path().to_owned()], &stop), Totals::default());
    }
}
