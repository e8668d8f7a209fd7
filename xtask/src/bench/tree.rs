//! Folders as a list of files: paths, bytes, a pass over all of them. Changes nothing.

use anyhow::Context;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The regular files below `root`, relative to it and in order of path.
///
/// # Errors
/// When a folder cannot be read.
pub(crate) fn files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path().strip_prefix(root)?.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// How much there is below a folder.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Amount {
    /// Regular files.
    pub(crate) files: u64,
    /// Their lengths.
    pub(crate) bytes: u64,
}

/// Counts the regular files below `root`.
///
/// # Errors
/// When a folder or file cannot be read.
pub(crate) fn amount(root: &Path) -> anyhow::Result<Amount> {
    let mut sum = Amount::default();
    for path in files(root)? {
        sum.files += 1;
        sum.bytes += std::fs::symlink_metadata(root.join(path))?.len();
    }
    Ok(sum)
}

/// Reads everything below `root` once, so that it comes from the page cache the next time.
///
/// # Errors
/// When a file cannot be read.
pub(crate) fn warm(root: &Path) -> anyhow::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for path in files(root)? {
        let path = root.join(path);
        let mut file =
            File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_count() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("b/c")).unwrap();
        std::fs::write(root.join("b/c/two"), "22").unwrap();
        std::fs::write(root.join("a"), "1").unwrap();
        std::os::unix::fs::symlink("a", root.join("link")).unwrap();
        assert_eq!(files(root).unwrap(), [Path::new("a"), Path::new("b/c/two")]);
        assert_eq!(amount(root).unwrap(), Amount { files: 2, bytes: 3 });
        warm(root).unwrap();
    }
}
