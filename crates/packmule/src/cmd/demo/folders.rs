//! Plain work on folders: copy, edit, measure. Uses nothing that the journey itself uses.

use crate::failure::Failure;
use model::ErrorKind;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Copies a folder with everything that a file system keeps about it: the system's own `cp`.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let output = Command::new("cp").args(["-a", "--"]).arg(from).arg(to).output();
    let output = output.map_err(|e| Failure::io("running", Path::new("cp"), e))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let words = format!("copying {} failed: {}", from.display(), said.trim());
    Err(Failure::new(ErrorKind::Internal, words))
}

/// Changes a folder as a day's work would: something added, changed, renamed, removed.
pub(super) fn edit(folder: &Path) -> Result<Vec<String>, Failure> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    let mut done = Vec::new();
    let mut note = |what: &str, path: &Path| done.push(format!("{what} {}", path.display()));
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |e| Failure::io("editing", &path, e)
    };
    if let Some(path) = files.first() {
        let mut file = std::fs::OpenOptions::new().append(true).open(path).map_err(fail(path))?;
        file.write_all(b"\none more line\n").map_err(fail(path))?;
        note("appended to", path);
    }
    if let Some(path) = files.get(files.len() / 2).filter(|_| files.len() > 2) {
        let name = format!("{}.renamed", path.file_name().unwrap_or_default().to_string_lossy());
        std::fs::rename(path, path.with_file_name(name)).map_err(fail(path))?;
        note("renamed", path);
    }
    if let Some(path) = files.last().filter(|_| files.len() > 1) {
        std::fs::remove_file(path).map_err(fail(path))?;
        note("removed", path);
    }
    let added = folder.join("added by the demo");
    std::fs::create_dir(&added).map_err(fail(&added))?;
    let report = added.join("report.txt");
    std::fs::write(&report, "figures of the day\n".repeat(5000)).map_err(fail(&report))?;
    std::fs::set_permissions(&report, PermissionsExt::from_mode(0o640)).map_err(fail(&report))?;
    note("added", &report);
    Ok(done)
}

/// Regular files with one name each, so that an edit of one changes no other.
pub(super) fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    use std::os::unix::fs::MetadataExt;
    let mut pending = vec![folder.to_owned()];
    while let Some(folder) = pending.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|e| Failure::io("reading", &folder, e))?;
        for entry in entries {
            let path = entry.map_err(|e| Failure::io("reading", &folder, e))?.path();
            let stat = std::fs::symlink_metadata(&path)
                .map_err(|e| Failure::io("looking at", &path, e))?;
            if stat.is_dir() {
                pending.push(path);
            } else if stat.is_file() && stat.nlink() == 1 {
                files.push(path);
            }
        }
    }
    Ok(())
}

/// The lengths of all files below a folder.
pub(super) fn lengths(folder: &Path) -> Result<Vec<u64>, Failure> {
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files
        .iter()
        .map(|path| {
            Ok(std::fs::metadata(path).map_err(|e| Failure::io("looking at", path, e))?.len())
        })
        .collect()
}
