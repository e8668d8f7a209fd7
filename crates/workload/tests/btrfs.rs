//! Backups from snapshots of a real btrfs, on a loop device: what a recovery point has is the state at the snapshot, under its
//! own names, and nothing is left of the snapshot afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use backup::{BackupEvent, BackupOptions, BackupOutcome, Exclude, Fault, RestoreOptions};
use model::Digest;
use policy::Snapshot;
use repo::{Author, KdfParams, LockMode, Repository, WriterOptions};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use store::Memory;
use workload::{Error, FOLDER, Files, Notice, Workload as _};

/// Says that a test cannot run here.
fn skip(test: &str, reason: impl std::fmt::Display) {
    let line = format!("SKIP: workload::btrfs::{test}: {reason}\n");
    if let Some(path) = std::env::var_os("PACKMULE_SKIPS") {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

fn run(program: &str, arguments: &[&OsStr]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|cause| format!("{program}: {cause}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    output.status.success().then_some(()).ok_or(said)
}

/// A btrfs of its own, mounted under a name that looks like an option.
struct Disk {
    folder: tempfile::TempDir,
    mount: PathBuf,
}

impl Disk {
    fn mounted(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip(test, "only root may mount a file system");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let (image, mount) = (folder.path().join("image"), folder.path().join("--help me\n-r"));
        File::create(&image).unwrap().set_len(256 << 20).unwrap();
        fs::create_dir(&mount).unwrap();
        let made = run("mkfs.btrfs", &["-q".as_ref(), image.as_os_str()]);
        let arguments: [&OsStr; 4] =
            ["-o".as_ref(), "loop".as_ref(), image.as_os_str(), mount.as_os_str()];
        if let Err(why) = made.and_then(|()| run("mount", &arguments)) {
            skip(test, why);
            return None;
        }
        Some(Self { folder, mount })
    }

    fn subvolume(&self, name: &str) -> PathBuf {
        let path = self.mount.join(name);
        let arguments: [&OsStr; 4] =
            ["subvolume".as_ref(), "create".as_ref(), "--".as_ref(), path.as_os_str()];
        run("btrfs", &arguments).unwrap();
        path
    }

    fn files(&self, path: &Path, snapshot: Snapshot) -> Files {
        let notes = self.folder.path().join("notes");
        Files { snapshot, notes, ..Files::as_they_are(vec![path.to_owned()]) }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("umount", &["-R".as_ref(), self.mount.as_os_str()]);
    }
}

fn author() -> Author {
    let pid = std::process::id();
    Author { hostname: "here".into(), username: "tester".into(), uid: 0, gid: 0, pid }
}

fn init() -> Repository {
    let now = jiff::Timestamp::now();
    Repository::init(Arc::new(Memory::new()), b"password", KdfParams::WEAK, author(), now).unwrap()
}

static GO_ON: AtomicBool = AtomicBool::new(false);

/// Backs up what is held, and lets it go.
fn back_up(
    repository: &Repository,
    files: &Files,
    events: &(dyn Fn(BackupEvent<'_>) + Sync),
) -> (BackupOutcome, Vec<Notice>) {
    let notices = Mutex::new(Vec::new());
    let tell = |notice| notices.lock().unwrap().push(notice);
    let held = files.hold(&tell).unwrap();
    let lock = repository.lock(LockMode::Shared).unwrap();
    let options = BackupOptions {
        paths: held.paths().to_vec(),
        view: held.view(),
        exclude: Exclude::default().named(&[FOLDER]).one_file_system(files.one_file_system),
        hostname: "here".into(),
        tags: vec![],
        time: jiff::Timestamp::now(),
        parent: None,
        any_host: false,
        force: false,
        with_atime: false,
        program_version: "packmule test".into(),
        threads: 2,
        writer: WriterOptions { pack_size: 4 << 20, ..WriterOptions::default() },
        journals: None,
        stop: &GO_ON,
        events,
    };
    let outcome = backup::backup(repository, &lock, &options).unwrap();
    held.release(&tell);
    (outcome, notices.into_inner().unwrap())
}

fn nobody(_: BackupEvent<'_>) {}

fn restored(repository: &Repository, snapshot: Digest, below: &Path) -> tempfile::TempDir {
    let target = tempfile::tempdir().unwrap();
    let index = repository.load_index().unwrap().value;
    let tree = repository.load_snapshot(snapshot).unwrap().snapshot.tree;
    let options = RestoreOptions {
        below: Some(below.to_owned()),
        ..RestoreOptions::into_folder(target.path(), &GO_ON, &|_| {})
    };
    let outcome = backup::restore(repository, &index, tree, &options).unwrap();
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    target
}

/// The tree of a path of a snapshot.
fn tree_of(repository: &Repository, snapshot: Digest, path: &Path) -> Digest {
    let index = repository.load_index().unwrap().value;
    let mut tree = repository.load_snapshot(snapshot).unwrap().snapshot.tree;
    for name in path.components().skip(1) {
        let nodes = repository.read_tree(&index, &tree).unwrap();
        let node = nodes.into_iter().find(|node| node.name == name.as_os_str().as_bytes()).unwrap();
        tree = node.subtree.unwrap();
    }
    tree
}

fn same(left: &Path, right: &Path) {
    let mut differences = backup::compare(left, right).unwrap().differences;
    differences.retain(|difference| difference.path != Path::new("."));
    assert!(differences.is_empty(), "{differences:#?}");
}

fn fill(folder: &Path) {
    fs::create_dir_all(folder.join("deep/er")).unwrap();
    for n in 0..40 {
        fs::write(folder.join(format!("{n:02}")), format!("before {n}").repeat(1000)).unwrap();
        fs::write(folder.join(format!("deep/er/{n}")), format!("before {n}")).unwrap();
    }
    std::os::unix::fs::symlink("00", folder.join("link")).unwrap();
    fs::hard_link(folder.join("00"), folder.join("deep/hard")).unwrap();
}

fn snapshots(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join(FOLDER)).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn what_changes_while_it_is_backed_up_is_backed_up_as_it_was() {
    let Some(disk) = Disk::mounted("what_changes_while_it_is_backed_up_is_backed_up_as_it_was")
    else {
        return;
    };
    let source = disk.subvolume("-data");
    fill(&source);
    let mut open = File::options().append(true).open(source.join("05")).unwrap();
    open.write_all(b"written and not closed").unwrap();
    let kept = tempfile::tempdir().unwrap();
    run("cp", &["-a".as_ref(), source.join(".").as_os_str(), kept.path().as_os_str()]).unwrap();
    let changed = AtomicBool::new(false);
    let events = |event: BackupEvent<'_>| {
        let BackupEvent::File { path } = event else { return };
        assert!(path.starts_with(&source), "{} is no name of the source", path.display());
        if !changed.swap(true, Ordering::Relaxed) {
            assert_eq!(snapshots(&source).len(), 1);
            for n in 0..40 {
                fs::write(source.join(format!("{n:02}")), "after").unwrap();
            }
            fs::remove_dir_all(source.join("deep")).unwrap();
            fs::write(source.join("late"), "after").unwrap();
            (&open).write_all(b"after").unwrap();
        }
    };
    let repository = init();
    let files = disk.files(&source, Snapshot::Require);
    let (outcome, notices) = back_up(&repository, &files, &events);
    assert!(
        outcome.problems.is_empty() && notices.is_empty(),
        "{:?} {notices:?}",
        outcome.problems
    );
    assert!(changed.into_inner());
    let target = restored(&repository, outcome.snapshot, &source);
    same(kept.path(), target.path());
    assert!(snapshots(&source).is_empty());
    assert!(fs::read_dir(&files.notes).unwrap().next().is_none());
}

#[test]
fn unchanged_data_is_known_and_a_recovery_point_is_as_without_a_snapshot() {
    let test = "unchanged_data_is_known_and_a_recovery_point_is_as_without_a_snapshot";
    let Some(disk) = Disk::mounted(test) else { return };
    // A folder within the file system's own subvolume.
    let source = disk.mount.join("folder/data");
    fs::create_dir_all(&source).unwrap();
    fill(&source);
    let repository = init();
    let from = |snapshot| disk.files(&source, snapshot);
    let (first, _) = back_up(&repository, &from(Snapshot::Require), &nobody);
    let (again, _) = back_up(&repository, &from(Snapshot::Auto), &nobody);
    let (plain, _) = back_up(&repository, &from(Snapshot::Off), &nobody);
    let (last, _) = back_up(&repository, &from(Snapshot::Require), &nobody);
    let tree = |outcome: &BackupOutcome| tree_of(&repository, outcome.snapshot, &source);
    for next in [&again, &plain, &last] {
        assert_eq!(next.summary.files_unmodified, next.summary.total_files_processed);
        assert_eq!(next.summary.data_blobs, 0);
        assert_eq!(tree(next), tree(&first));
    }
    let paths = repository.load_snapshot(last.snapshot).unwrap().snapshot.paths;
    assert_eq!(paths, [source.to_str().unwrap()]);
    // The whole file system: what is ours is not in it, and the second time nothing of it is new.
    let whole = |snapshot| disk.files(&disk.mount, snapshot);
    let (first, _) = back_up(&repository, &whole(Snapshot::Require), &nobody);
    let (again, _) = back_up(&repository, &whole(Snapshot::Require), &nobody);
    let tree = |outcome: &BackupOutcome| tree_of(&repository, outcome.snapshot, &disk.mount);
    assert_eq!(tree(&first), tree(&again));
    let target = restored(&repository, again.snapshot, &disk.mount);
    assert!(!target.path().join(FOLDER).exists());
    same(&source, &target.path().join("folder/data"));
}

#[test]
fn what_a_snapshot_has_not_got_is_read_as_it_is_and_said() {
    let test = "what_a_snapshot_has_not_got_is_read_as_it_is_and_said";
    let Some(disk) = Disk::mounted(test) else { return };
    let source = disk.subvolume("data");
    fill(&source);
    fill(&disk.subvolume("data/nested"));
    let mounted = source.join("mounted");
    fs::create_dir(&mounted).unwrap();
    let tmpfs: [&OsStr; 4] =
        ["-t".as_ref(), "tmpfs".as_ref(), "tmpfs".as_ref(), mounted.as_os_str()];
    run("mount", &tmpfs).unwrap();
    fs::write(mounted.join("file"), "on another").unwrap();
    let repository = init();
    let nested = Mutex::new(Vec::new());
    let events = |event: BackupEvent<'_>| {
        if let BackupEvent::NotHeld { path } = event {
            nested.lock().unwrap().push(path.to_owned());
        }
    };
    let files = disk.files(&source, Snapshot::Auto);
    let (outcome, notices) = back_up(&repository, &files, &events);
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    assert_eq!(nested.into_inner().unwrap(), [source.join("nested")]);
    assert!(
        matches!(&notices[..], [Notice::NotHeld { path, .. }] if *path == mounted),
        "{notices:?}"
    );
    let target = restored(&repository, outcome.snapshot, &source);
    fs::remove_dir(source.join(FOLDER)).unwrap();
    same(&source, target.path());
    // Where one is required, that is no success.
    let required = disk.files(&source, Snapshot::Require);
    let refused = required.hold(&|_| {}).map(drop).unwrap_err();
    assert!(matches!(&refused, Error::NoSnapshot { path, .. } if *path == mounted), "{refused}");
    assert!(snapshots(&source).is_empty(), "nothing is left of what failed");
    let alone = Files { one_file_system: true, ..required.clone() };
    let (outcome, notices) = back_up(&repository, &alone, &nobody);
    assert!(notices.is_empty(), "{notices:?}");
    let target = restored(&repository, outcome.snapshot, &source);
    for other in ["mounted", "nested"] {
        assert!(fs::read_dir(target.path().join(other)).unwrap().next().is_none(), "{other}");
    }
    run("umount", &[mounted.as_os_str()]).unwrap();
    let (outcome, _) = back_up(&repository, &required, &nobody);
    assert!(matches!(outcome.problems[..], [ref one] if matches!(one.fault, Fault::NotHeld)));
}

#[test]
fn a_link_on_the_way_and_a_second_path_of_a_subvolume_need_no_second_snapshot() {
    let test = "a_link_on_the_way_and_a_second_path_of_a_subvolume_need_no_second_snapshot";
    let Some(disk) = Disk::mounted(test) else { return };
    let source = disk.subvolume("data");
    fill(&source);
    let way = disk.folder.path().join("way");
    std::os::unix::fs::symlink(&source, &way).unwrap();
    let paths = vec![way.join("deep"), source.join("00"), way.join("link")];
    let files = Files { paths, ..disk.files(&source, Snapshot::Require) };
    let repository = init();
    let seen = AtomicBool::new(false);
    let events = |event: BackupEvent<'_>| {
        if matches!(event, BackupEvent::File { .. }) && !seen.swap(true, Ordering::Relaxed) {
            assert_eq!(snapshots(&source).len(), 1);
            fs::write(source.join("deep/er/3"), "after").unwrap();
            fs::write(source.join("00"), "after").unwrap();
        }
    };
    let (outcome, notices) = back_up(&repository, &files, &events);
    assert!(
        outcome.problems.is_empty() && notices.is_empty(),
        "{:?} {notices:?}",
        outcome.problems
    );
    let target = restored(&repository, outcome.snapshot, &way);
    assert_eq!(fs::read(target.path().join("deep/er/3")).unwrap(), b"before 3");
    assert!(target.path().join("link").symlink_metadata().unwrap().is_symlink());
    let target = restored(&repository, outcome.snapshot, &source);
    assert!(fs::read(target.path().join("00")).unwrap().starts_with(b"before 0"));
}

#[test]
fn where_there_are_no_snapshots_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new("/dev/shm");
    if !source.is_dir() {
        return skip("where_there_are_no_snapshots_that_is_said", "there is no /dev/shm");
    }
    let files = |snapshot| Files {
        snapshot,
        notes: folder.path().join("notes"),
        ..Files::as_they_are(vec![source.to_owned()])
    };
    let heard = Mutex::new(Vec::new());
    let held = files(Snapshot::Auto).hold(&|notice| heard.lock().unwrap().push(notice.to_string()));
    drop(held.unwrap());
    let heard = heard.into_inner().unwrap();
    assert!(
        heard[0].contains("/dev/shm is read as it is") && heard[0].contains("tmpfs"),
        "{heard:?}"
    );
    let refused = files(Snapshot::Require).hold(&|_| {}).map(drop).unwrap_err();
    assert_eq!(refused.kind(), model::ErrorKind::Unavailable);
    let quiet = files(Snapshot::Off).hold(&|notice| panic!("{notice}")).unwrap();
    assert_eq!(quiet.paths(), [source]);
}
