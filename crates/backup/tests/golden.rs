//! Repositories that programs of years past wrote, kept in the tree: every version reads them all,
//! and continues those of the format that it writes. Changes none of them: works on copies.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{PASSWORD, back_up, open, restore, skip};
use repo::{BlobKind, CheckOptions, NamedSnapshot, Repository};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use store::Folder;

/// What all of them are a backup of.
const SOURCE: &str = "/srv/golden";

/// A clone stays quick for everybody.
const LARGEST: u64 = 64 << 10;

/// One of them, and a copy to work on.
struct Golden {
    name: String,
    /// Lines of what each snapshot holds, by its tag.
    manifest: BTreeMap<String, BTreeSet<String>>,
    scratch: tempfile::TempDir,
}

impl Golden {
    fn new(folder: &Path) -> Self {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let manifest = fs::read_to_string(folder.join("manifest.txt"));
        let manifest = manifest.unwrap_or_else(|e| panic!("{name} has no manifest.txt: {e}"));
        let scratch = tempfile::tempdir().unwrap();
        copy(&folder.join("repository"), &scratch.path().join("repository"));
        Self { name, manifest: parse(&manifest), scratch }
    }

    fn path(&self) -> PathBuf {
        self.scratch.path().join("repository")
    }

    fn open(&self) -> Repository {
        open(Arc::new(Folder::new(self.path())))
    }

    /// Restores the snapshot with that tag into a new folder.
    fn restore(&self, repository: &Repository, tag: &str) -> PathBuf {
        let all = repository.snapshots().unwrap().value;
        let has_it = |named: &&NamedSnapshot| named.snapshot.tags == [tag];
        let found = all.iter().find(has_it).unwrap_or_else(|| panic!("no {tag} in {}", self.name));
        let target = self.scratch.path().join(tag);
        let outcome = restore(repository, found.id, Path::new(SOURCE), &target);
        assert!(outcome.problems.is_empty(), "{}: {:?}", self.name, outcome.problems);
        target
    }

    /// Everything that the manifest has is restored, and nothing else.
    #[track_caller]
    fn holds_what_it_must(&self, repository: &Repository) {
        for (tag, expected) in &self.manifest {
            let target = self.restore(repository, tag);
            let found = describe(&target);
            let missing: Vec<_> = expected.difference(&found).collect();
            let surplus: Vec<_> = found.difference(expected).collect();
            let name = &self.name;
            assert!(
                missing.is_empty() && surplus.is_empty(),
                "{name}, {tag}: missing {missing:#?}, instead {surplus:#?}"
            );
            fs::remove_dir_all(target).unwrap();
        }
    }
}

/// All of them: whatever folder is there, is one.
fn all() -> Vec<Golden> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    assert!(folders.len() >= 5, "where have they gone? {folders:?}");
    folders.iter().map(|folder| Golden::new(folder)).collect()
}

/// Copies files. Makes the folders that git does not keep, because programs expect them.
fn copy(from: &Path, to: &Path) {
    for empty in ["data", "index", "keys", "locks", "snapshots"] {
        fs::create_dir_all(to.join(empty)).unwrap();
    }
    let mut size = 0;
    let mut pending = vec![PathBuf::new()];
    while let Some(folder) = pending.pop() {
        fs::create_dir_all(to.join(&folder)).unwrap();
        for entry in fs::read_dir(from.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                pending.push(path);
            } else {
                size += fs::copy(entry.path(), to.join(path)).unwrap();
            }
        }
    }
    assert!(size <= LARGEST, "{} has {size} bytes, more than {LARGEST}", from.display());
}

fn parse(manifest: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut sections = BTreeMap::new();
    let mut lines = BTreeSet::new();
    // From the end, where each section's lines come before its head.
    for line in manifest.lines().rev() {
        match line.strip_prefix("snapshot ") {
            Some(tag) => {
                assert!(!lines.is_empty(), "nothing is said of {tag}");
                sections.insert(tag.to_owned(), std::mem::take(&mut lines));
            }
            None => assert!(lines.insert(line.to_owned()), "twice: {line}"),
        }
    }
    assert!(lines.is_empty() && !sections.is_empty(), "a manifest begins with a snapshot's tag");
    sections
}

/// The lines that a manifest has for what is below a folder.
fn describe(folder: &Path) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(below) = pending.pop() {
        for entry in fs::read_dir(folder.join(&below)).unwrap() {
            let path = below.join(entry.unwrap().file_name());
            lines.insert(line(&path, &folder.join(&path)));
            if fs::symlink_metadata(folder.join(&path)).unwrap().is_dir() {
                pending.push(path);
            }
        }
    }
    lines
}

fn line(path: &Path, full: &Path) -> String {
    let stat = fs::symlink_metadata(full).unwrap();
    let kind = stat.file_type();
    let (mut names, mut size, mut content) = (stat.nlink().to_string(), "-".into(), "-".into());
    let kind = if kind.is_symlink() {
        content = quote(fs::read_link(full).unwrap().as_os_str());
        "link"
    } else if kind.is_dir() {
        names = "-".into();
        "folder"
    } else if kind.is_fifo() {
        "pipe"
    } else {
        size = stat.size().to_string();
        content = hex(&Sha256::digest(fs::read(full).unwrap()));
        "file"
    };
    let (mode, time) = (stat.mode() & 0o7777, time(&stat));
    let path = quote(path.as_os_str());
    format!("{kind} {mode:o} {names} {time} {size} {content} {path}{}", attributes(full))
}

/// Seconds and their fraction, as `stat` writes it: of a negative time, both count backwards.
fn time(stat: &fs::Metadata) -> String {
    let (seconds, nanoseconds) = (stat.mtime(), stat.mtime_nsec());
    if seconds < 0 && nanoseconds > 0 {
        format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds)
    } else {
        format!("{seconds}.{nanoseconds:09}")
    }
}

fn quote(text: &OsStr) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
    let quote = |byte: &u8| {
        if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02x}") }
    };
    text.as_bytes().iter().map(quote).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The extended attributes that are the user's: others depend on where a test runs.
fn attributes(path: &Path) -> String {
    let mut names = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, names.as_mut_slice()).unwrap();
    let names = names[..length].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user."));
    let mut all: Vec<_> = names
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).unwrap();
            format!(" {}=0x{}", String::from_utf8_lossy(name), hex(&value[..length]))
        })
        .collect();
    all.sort();
    all.concat()
}

#[track_caller]
fn sound(name: &str, repository: &Repository) {
    let report = repository.check(CheckOptions { read_data: true, threads: 2 }, &|_| {}).unwrap();
    assert!(report.findings.is_empty(), "{name}: {:#?}", report.findings);
}

#[test]
fn every_golden_repository_is_sound_and_restores_to_what_it_was_made_of() {
    for golden in all() {
        let repository = golden.open();
        sound(&golden.name, &repository);
        let tags = |named: &NamedSnapshot| named.snapshot.tags.join(" ");
        let tags: BTreeSet<_> = repository.snapshots().unwrap().value.iter().map(tags).collect();
        assert!(tags.iter().eq(golden.manifest.keys()), "{}: {tags:?}", golden.name);
        golden.holds_what_it_must(&repository);
    }
}

#[test]
fn what_a_golden_repository_gives_back_adds_no_blob_to_it() {
    for golden in all() {
        let repository = golden.open();
        if repository.config().version < 2 {
            continue;
        }
        let data = |r: &Repository| r.load_index().unwrap().value.count(BlobKind::Data);
        let before = data(&repository);
        for tag in golden.manifest.keys() {
            let outcome = back_up(&repository, &golden.restore(&repository, tag));
            assert_eq!(outcome.summary.data_blobs, 0, "{}, {tag}", golden.name);
        }
        assert_eq!(data(&repository), before, "{}: cut elsewhere than then", golden.name);
    }
}

#[test]
fn a_golden_repository_that_we_continue_is_content_for_stock_restic() {
    let test = "golden::a_golden_repository_that_we_continue_is_content_for_stock_restic";
    let mut programs = vec![OsStr::new("restic").to_owned()];
    programs.extend(std::env::var_os("PACKMULE_RESTIC"));
    programs.retain(|program| Command::new(program).arg("version").output().is_ok());
    if programs.is_empty() {
        return skip(test, "restic is not installed");
    }
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("new"), common::noise(5, 700_000)).unwrap();
    for golden in all() {
        let repository = golden.open();
        if repository.config().version < 2 {
            continue;
        }
        assert!(back_up(&repository, source.path()).summary.data_blobs > 0);
        for program in &programs {
            let output = Command::new(program)
                .args(["--no-cache", "-r"])
                .arg(golden.path())
                .args(["check", "--read-data"])
                .env("RESTIC_PASSWORD", PASSWORD)
                .output()
                .unwrap();
            assert!(output.status.success(), "{}, {program:?}: {output:?}", golden.name);
        }
        sound(&golden.name, &repository);
        golden.holds_what_it_must(&repository);
    }
}
