//! What is left out, and nothing else. The oracle for patterns is git.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod common;

use backup::{BackupOptions, Exclude};
use proptest::prelude::*;
use repo::{LockMode, Repository};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn repository() -> Repository {
    common::init(Arc::new(store::Memory::new()))
}

fn back_up(repository: &Repository, path: &Path, exclude: Exclude) -> backup::BackupOutcome {
    let lock = repository.lock(LockMode::Shared).unwrap();
    let stop = AtomicBool::new(false);
    let options = BackupOptions {
        exclude,
        writer: repo::WriterOptions::default(),
        ..common::options(path, &stop, &|_| {})
    };
    backup::backup(repository, &lock, &options).unwrap()
}

/// Paths below a folder, files and directories, that a restore of its backup has.
fn kept(path: &Path, exclude: Exclude) -> BTreeSet<String> {
    let repository = repository();
    let outcome = back_up(&repository, path, exclude);
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    let target = tempfile::tempdir().unwrap();
    common::restore(&repository, outcome.snapshot, path, target.path());
    below(target.path())
}

fn below(root: &Path) -> BTreeSet<String> {
    let (mut found, mut folders) = (BTreeSet::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path.clone());
            }
            found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
    found
}

fn make(root: &Path, files: &[(&str, usize)]) {
    for (name, length) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![b'x'; *length]).unwrap();
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn large_files_and_marked_folders_are_left_out() {
    let root = tempfile::tempdir().unwrap();
    make(
        root.path(),
        &[("a", 10), ("big", 11), ("d/a", 1), ("m/.nobackup", 0), ("m/a", 1), ("m/n/a", 1)],
    );
    let exclude = Exclude::default().larger_than(Some(10)).if_present(&[".nobackup".to_owned()]);
    assert_eq!(kept(root.path(), exclude), set(&["a", "d", "d/a", "m", "m/.nobackup"]));
}

#[test]
fn a_path_that_was_named_is_backed_up_whatever_matches_it() {
    let root = tempfile::tempdir().unwrap();
    let own = root.path().join("x.tmp");
    make(&own, &[("a", 1), ("b.tmp", 1)]);
    let exclude = Exclude::new(&["*.tmp".to_owned()]).unwrap();
    assert_eq!(kept(&own, exclude), set(&["a"]));
}

#[test]
fn a_pattern_that_is_none_is_refused() {
    let Err(error) = Exclude::new(&["a".to_owned(), "[z-a]".to_owned()]) else { panic!() };
    assert_eq!(error.kind(), model::ErrorKind::Invalid);
    assert!(error.to_string().contains("[z-a]"), "{error}");
}

#[test]
fn what_is_left_out_later_and_taken_in_again_is_as_it_is_then() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), &[("a", 10), ("b.log", 20), ("d/c.log", 30)]);
    let repository = repository();
    let logs = || Exclude::new(&["*.log".to_owned()]).unwrap();
    let mut counts = Vec::new();
    for exclude in [Exclude::default(), logs(), Exclude::default()] {
        let outcome = back_up(&repository, root.path(), exclude);
        counts.push(outcome.summary.total_files_processed);
        let target = tempfile::tempdir().unwrap();
        common::restore(&repository, outcome.snapshot, root.path(), target.path());
        let with_logs = below(target.path()).contains("d/c.log");
        assert_eq!(with_logs, counts.len() != 2);
    }
    assert_eq!(counts, [3, 1, 3]);
    let snapshots = repository.snapshots().unwrap().value;
    let named = snapshots.iter().filter(|named| named.snapshot.excludes == ["*.log"]).count();
    assert_eq!(named, 1, "the snapshot says what was left out");
}

#[test]
fn another_file_system_is_an_empty_folder() {
    let root = tempfile::tempdir().unwrap();
    make(root.path(), &[("a", 1), ("mounted/below", 1)]);
    let mounted = root.path().join("mounted");
    let mount = Command::new("mount").args(["-t", "tmpfs", "packmule-test"]).arg(&mounted).status();
    if !mount.is_ok_and(|status| status.success()) {
        return skip("another_file_system_is_an_empty_folder", "mounting takes root");
    }
    fs::write(mounted.join("other"), "x").unwrap();
    let found = [
        kept(root.path(), Exclude::default()),
        kept(root.path(), Exclude::default().one_file_system(true)),
        kept(&mounted, Exclude::default().one_file_system(true)),
    ];
    assert!(Command::new("umount").arg(&mounted).status().unwrap().success());
    assert_eq!(found[0], set(&["a", "mounted", "mounted/other"]));
    assert_eq!(found[1], set(&["a", "mounted"]));
    assert_eq!(found[2], set(&["other"]), "what was named is stayed on");
}

/// Says that a test cannot run here. Its caller returns at once.
fn skip(test: &str, reason: impl std::fmt::Display) {
    use std::io::Write;
    let line = format!("SKIP: {test}: {reason}\n");
    if let Some(path) = std::env::var_os("PACKMULE_SKIPS") {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

const NAMES: [&str; 5] = ["a", "b.tmp", "c.log", "build", "[x]"];

fn pattern() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "a", "b.tmp", "*.tmp", "*.log", "build", "b*", "**", "?", "[ab]", "\\[x\\]", "c.*",
    ]);
    (any::<bool>(), any::<bool>(), prop::collection::vec(part, 1..3), any::<bool>()).prop_map(
        |(not, anchored, parts, folder)| {
            let (not, anchored) = (if not { "!" } else { "" }, if anchored { "/" } else { "" });
            format!("{not}{anchored}{}{}", parts.join("/"), if folder { "/" } else { "" })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    // Anchored patterns are relative to the root of the file system here, and to the tree there.
    #[test]
    fn patterns_mean_what_they_mean_to_git(
        patterns in prop::collection::vec(pattern(), 1..4),
        paths in prop::collection::btree_set(prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4), 1..12),
    ) {
        let root = tempfile::tempdir().unwrap();
        for path in &paths {
            let path = root.path().join(path.join("/"));
            if !path.exists() && fs::create_dir_all(path.parent().unwrap()).is_ok() {
                let _ = fs::write(path, "x");
            }
        }
        let files = |all: BTreeSet<String>| -> BTreeSet<String> {
            all.into_iter().filter(|path| root.path().join(path).is_file()).collect()
        };
        let here = root.path().to_str().unwrap();
        let moved: Vec<String> = patterns.iter().map(|pattern| {
            let (not, rest) = pattern.strip_prefix('!').map_or(("", pattern.as_str()), |rest| ("!", rest));
            let is_anchored = rest.trim_end_matches('/').contains('/');
            if is_anchored { format!("{not}{here}/{}", rest.trim_start_matches('/')) } else { pattern.clone() }
        }).collect();
        let ours = files(kept(root.path(), Exclude::new(&moved).unwrap()));
        let git = |arguments: &[&str]| {
            let output = Command::new("git").arg("-C").arg(root.path()).args(arguments)
                .env("HOME", root.path()).env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
            prop_assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok(output.stdout)
        };
        git(&["init", "--quiet"])?;
        fs::write(root.path().join(".git/info/exclude"), patterns.join("\n") + "\n").unwrap();
        let listed = git(&["ls-files", "-z", "--others", "--exclude-standard"])?;
        let theirs: BTreeSet<String> = listed.split(|byte| *byte == 0).filter(|name| !name.is_empty())
            .map(|name| String::from_utf8(name.to_vec()).unwrap()).collect();
        prop_assert_eq!(ours, theirs, "{:?}", patterns);
    }
}
