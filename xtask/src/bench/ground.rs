//! Where files are restored to: a fresh file system each time where that is possible, else a plain
//! folder. A file system that has just lost many files is slow in making new ones for minutes.

use crate::process::output;
use crate::tools::is_root;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes that may still be written where `path` is.
///
/// # Errors
/// When the file system does not say.
pub(crate) fn free_bytes(path: &Path) -> anyhow::Result<u64> {
    let mut df = Command::new("df");
    let said = output(df.args(["--output=avail", "--block-size=1"]).arg(path))?;
    let bytes = said.lines().nth(1).and_then(|line| line.trim().parse().ok());
    bytes.with_context(|| format!("df does not say what is free at {}", path.display()))
}

/// Writes to disk what is still in memory, so that nobody pays for who came before.
///
/// # Errors
/// When `sync` cannot be run.
pub(crate) fn settle() -> anyhow::Result<()> {
    output(&mut Command::new("sync")).map(|_| ())
}

/// An empty place for restored files, gone when dropped.
#[derive(Debug)]
pub(crate) struct Ground {
    folder: PathBuf,
    /// The file that holds the file system, when there is one.
    image: Option<PathBuf>,
}

impl Ground {
    /// A new place below `work` with room for `bytes`.
    ///
    /// # Errors
    /// When not even a folder can be made.
    pub(crate) fn fresh(work: &Path, bytes: u64) -> anyhow::Result<Self> {
        let (folder, image) = (work.join("ground"), work.join("ground.img"));
        clear(&folder, &image)?;
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let mounted = mount(&folder, &image, bytes);
        if mounted.is_err() {
            // A file system that is not mounted is no use to anybody.
            let _ = std::fs::remove_file(&image);
        }
        // A fresh file system has a folder for lost files, and a target must be empty.
        std::fs::create_dir(folder.join("restored"))?;
        Ok(Self { folder, image: mounted.is_ok().then_some(image) })
    }

    /// Where to restore to: an empty folder.
    pub(crate) fn target(&self) -> PathBuf {
        self.folder.join("restored")
    }

    /// What it is, for the report.
    pub(crate) fn kind(&self) -> &'static str {
        match self.image {
            Some(_) => "a fresh ext4 on a loop device each",
            None => "a plain folder, as mounting takes root",
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // What stays is cleared by the next run.
        if let Some(image) = &self.image {
            let _ = clear(&self.folder, image);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn mount(folder: &Path, image: &Path, bytes: u64) -> anyhow::Result<()> {
    ensure!(is_root()?, "mounting takes root");
    // Blocks that are never written take no room: twice as many leave space for the tables.
    std::fs::File::create(image)?.set_len(bytes.saturating_mul(2).max(1 << 30))?;
    // Inodes enough for the smallest files there are.
    let options = ["-q", "-F", "-m", "0", "-i", "4096", "-E", "nodiscard,lazy_itable_init=1"];
    output(Command::new("mkfs.ext4").args(options).arg(image))?;
    // Direct: else every block would go through the page cache twice.
    let attach = ["--find", "--show", "--direct-io=on"];
    let device = output(Command::new("losetup").args(attach).arg(image))?;
    let device = device.trim();
    // Tables that are filled in the background would take time from whoever is measured.
    let mounted = output(
        Command::new("mount").args(["-t", "ext4", "-o", "noinit_itable", device]).arg(folder),
    );
    // Now or, once it is mounted, when it is no longer in use.
    output(Command::new("losetup").args(["--detach", device]))?;
    mounted.map(|_| ())
}

/// Removes what an earlier run left.
fn clear(folder: &Path, image: &Path) -> anyhow::Result<()> {
    if is_mounted(folder) {
        output(Command::new("umount").arg(folder))?;
    }
    for left in [folder, image] {
        let removed = match std::fs::symlink_metadata(left) {
            Ok(found) if found.is_dir() => std::fs::remove_dir_all(left),
            Ok(_) => std::fs::remove_file(left),
            Err(_) => Ok(()),
        };
        removed.with_context(|| format!("cannot remove {}", left.display()))?;
    }
    Ok(())
}

fn is_mounted(folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else { return false };
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().filter_map(|line| line.split(' ').nth(1)).any(|at| Path::new(at) == folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_run_left_is_cleared_and_nothing_else() {
        let work = tempfile::tempdir().unwrap();
        let (folder, image) = (work.path().join("ground"), work.path().join("ground.img"));
        std::fs::create_dir_all(folder.join("restored")).unwrap();
        std::fs::write(&image, "").unwrap();
        std::fs::write(work.path().join("log"), "").unwrap();
        clear(&folder, &image).unwrap();
        assert!(!folder.exists() && !image.exists() && work.path().join("log").exists());
        clear(&folder, &image).unwrap();
        assert!(free_bytes(work.path()).unwrap() > 0);
        assert!(!is_mounted(work.path()));
        assert!(is_mounted(Path::new("/")));
    }
}
