//! What a data set takes from the machine at hand: programs and sources, as a server has them.
//! So a set is the same only on machines of one image. Never writes outside the set.

use super::data::Scale;
use std::fs::FileTimes;
use std::path::{Path, PathBuf};

/// Where it goes, where it comes from, and the most bytes at full size: no machine's taste in
/// fonts shall outweigh everything else.
const SOURCES: [(&str, &str, u64); 5] = [
    ("usr/bin", "/usr/bin", 700_000_000),
    ("usr/include", "/usr/include", 200_000_000),
    ("usr/share", "/usr/share", 700_000_000),
    ("usr/python3", "/usr/lib/python3", 200_000_000),
    ("usr/gcc", "/usr/lib/gcc", 300_000_000),
];
const SOURCES_OF_CRATES: (&str, u64) = ("cargo-src", 700_000_000);

/// Those that a set has twice, under another name.
const TWICE: [(&str, &str); 2] = [("usr/bin", "dup-bin"), ("usr/include", "dup-include")];

/// Copies a part of the machine's programs and sources to `root`. What is not there is left out.
///
/// # Errors
/// When a copy cannot be written.
pub(crate) fn from_machine(root: &Path, scale: Scale) -> anyhow::Result<()> {
    for (to, from, most) in SOURCES {
        copy(Path::new(from), &root.join(to), scale, scale.of(most))?;
    }
    let (to, most) = SOURCES_OF_CRATES;
    if let Some(from) = crates() {
        copy(&from, &root.join(to), scale, scale.of(most))?;
    }
    Ok(())
}

/// Copies within the set what it has twice.
///
/// # Errors
/// When a copy cannot be written.
pub(crate) fn twice(root: &Path) -> anyhow::Result<()> {
    TWICE
        .iter()
        .try_for_each(|(from, to)| copy(&root.join(from), &root.join(to), Scale::FULL, u64::MAX))
}

/// The sources that cargo keeps.
fn crates() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    Some(home.join("registry/src"))
}

/// Copies the part of `from` that `scale` takes, in order of path, up to `most` bytes.
fn copy(from: &Path, to: &Path, scale: Scale, most: u64) -> anyhow::Result<()> {
    let mut left = most;
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        // What this user may not read is left out, as what is not there.
        let Ok(entries) = std::fs::read_dir(from.join(&folder)) else { continue };
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        std::fs::create_dir_all(to.join(&folder))?;
        for name in names {
            let path = folder.join(name);
            let Ok(found) = std::fs::symlink_metadata(from.join(&path)) else { continue };
            if found.is_dir() {
                folders.push(path);
            } else if scale.takes(hash(&path)) && found.len() <= left {
                left -= copy_one(&from.join(&path), &to.join(&path), &found)?;
            }
        }
    }
    Ok(())
}

/// Copies a file with its mode and time, or a link. Answers the bytes that it takes.
fn copy_one(from: &Path, to: &Path, found: &std::fs::Metadata) -> anyhow::Result<u64> {
    if found.is_symlink() {
        std::os::unix::fs::symlink(std::fs::read_link(from)?, to)?;
        return Ok(0);
    }
    if !found.is_file() || std::fs::File::open(from).is_err() {
        return Ok(0);
    }
    let length = std::fs::copy(from, to)?;
    let times = FileTimes::new().set_modified(found.modified()?);
    std::fs::File::open(to)?.set_times(times)?;
    Ok(length)
}

/// FNV-1a, which is the same in every version of every compiler.
fn hash(path: &Path) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    path.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tree;

    #[test]
    fn a_part_is_chosen_by_name_and_never_exceeds_its_most() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for number in 0..200 {
            let path = from.join(format!("d{}/f{number}", number % 3));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, [0; 10]).unwrap();
        }
        std::os::unix::fs::symlink("f1", from.join("link")).unwrap();
        let half: Scale = "0.5".parse().unwrap();
        copy(&from, &to, half, u64::MAX).unwrap();
        let some = tree::files(&to).unwrap();
        assert!((60..140).contains(&some.len()), "{}", some.len());
        copy(&from, &to.join("again"), half, 55).unwrap();
        assert_eq!(tree::amount(&to.join("again")).unwrap().bytes, 50);
        let all = folder.path().join("all");
        copy(&from, &all, Scale::FULL, u64::MAX).unwrap();
        assert_eq!(tree::files(&all).unwrap(), tree::files(&from).unwrap());
        assert!(all.join("link").is_symlink());
        let modified = |root: &Path| root.join("d0/f0").metadata().unwrap().modified().unwrap();
        assert_eq!(modified(&all), modified(&from));
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        copy(Path::new("/nowhere/at/all"), &folder.path().join("to"), Scale::FULL, 1).unwrap();
        assert!(!folder.path().join("to").exists());
    }
}
