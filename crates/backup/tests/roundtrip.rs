//! Backed up and restored by our own engine: everything comes back, nothing leaves the target.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{back_up, everything, init, noise, restore, same, with_tree};
use model::{Digest, ObjectKey, ObjectKind};
use repo::tree::{Node, NodeKind, Xattr};
use repo::{CheckOptions, Repository};
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use store::{Memory, Store};

static GO_ON: AtomicBool = AtomicBool::new(false);

fn sound(repository: &Repository) {
    let report = repository.check(CheckOptions { read_data: true, threads: 2 }, &|_| {}).unwrap();
    assert!(!report.damaged(), "{:#?}", report.findings);
}

#[test]
fn everything_a_file_system_has_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    std::fs::create_dir(&source).unwrap();
    everything(&source);
    let repository = init(Arc::new(Memory::new()));
    let outcome = back_up(&repository, &source);
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    let restored = restore(&repository, outcome.snapshot, &source, &target);
    assert!(restored.problems.is_empty(), "{:?}", restored.problems);
    same(&source, &target);
    sound(&repository);
    let blocks = std::fs::metadata(target.join("sparse")).unwrap().blocks();
    assert!(blocks * 512 < 1 << 20, "the hole was filled: {blocks} blocks");
}

#[test]
fn unchanged_data_adds_no_blob_and_reads_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    everything(&source);
    let repository = init(Arc::new(Memory::new()));
    back_up(&repository, &source);
    let again = back_up(&repository, &source);
    assert!(again.parent.is_some());
    assert_eq!((again.summary.files_new, again.summary.files_changed), (0, 0));
    assert!(again.summary.files_unmodified >= 9);
    assert_eq!(again.summary.data_blobs, 0);
    // The folders above the source are others' too: their times may have changed, and the root's with them.
    assert!(again.summary.tree_blobs <= 2, "{}", again.summary.tree_blobs);
}

#[test]
fn an_increment_holds_what_changed_and_both_points_restore() {
    let folder = tempfile::tempdir().unwrap();
    let (source, copy) = (folder.path().join("s"), folder.path().join("copy of the first"));
    std::fs::create_dir(&source).unwrap();
    everything(&source);
    let repository = init(Arc::new(Memory::new()));
    let first = back_up(&repository, &source);
    common::run("cp", &["-a".as_ref(), source.as_os_str(), copy.as_os_str()]);
    std::fs::write(source.join("added"), noise(9, 100_000)).unwrap();
    std::fs::remove_file(source.join("link")).unwrap();
    std::fs::rename(source.join("text"), source.join("moved")).unwrap();
    let second = back_up(&repository, &source);
    assert!(second.summary.data_added < 300_000, "{}", second.summary.data_added);
    for (point, expected) in [(first.snapshot, &copy), (second.snapshot, &source)] {
        let target = folder.path().join(point.short());
        restore(&repository, point, &source, &target);
        same(expected, &target);
    }
    sound(&repository);
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("good"), b"good").unwrap();
    // A file whose reading fails even for root: one of the kernel's that only some may read from.
    std::os::unix::fs::symlink("/proc/self/mem", folder.path().join("link")).unwrap();
    let repository = init(Arc::new(Memory::new()));
    let missing =
        common::try_back_up(&repository, &folder.path().join("nothing"), &AtomicBool::new(false));
    assert!(matches!(missing, Err(backup::Error::NoTarget { .. })));
    let mem =
        common::try_back_up(&repository, Path::new("/proc/self/mem"), &AtomicBool::new(false))
            .unwrap();
    assert_eq!(mem.problems.len(), 1, "{:?}", mem.problems);
    assert!(back_up(&repository, folder.path()).problems.is_empty());
}

#[test]
fn a_file_that_changes_while_it_is_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("growing");
    std::fs::write(&path, noise(3, 40 << 20)).unwrap();
    let repository = init(Arc::new(Memory::new()));
    let stop = AtomicBool::new(false);
    let touched = AtomicBool::new(false);
    let lock = repository.lock(repo::LockMode::Shared).unwrap();
    let events = |event: backup::BackupEvent<'_>| {
        let bytes = matches!(event, backup::BackupEvent::Bytes(_));
        if bytes && !touched.swap(true, std::sync::atomic::Ordering::Relaxed) {
            use std::io::Write;
            std::fs::OpenOptions::new()
                .append(true)
                .open(&path)
                .unwrap()
                .write_all(b"more")
                .unwrap();
        }
    };
    let options =
        backup::BackupOptions { threads: 1, ..common::options(folder.path(), &stop, &events) };
    let outcome = backup::backup(&repository, &lock, &options).unwrap();
    assert_eq!(outcome.problems.len(), 1, "{:?}", outcome.problems);
    assert!(matches!(outcome.problems[0].fault, backup::Fault::Changed));
}

#[test]
fn files_that_vanish_or_become_something_else_are_named_and_the_rest_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for name in ["goes", "stays", "turns"] {
        std::fs::write(path(name), name).unwrap();
    }
    let repository = init(Arc::new(Memory::new()));
    let stop = AtomicBool::new(false);
    let lock = repository.lock(repo::LockMode::Shared).unwrap();
    // Between the walk, which says that it came to the file, and its reading.
    let events = |event: backup::BackupEvent<'_>| {
        let backup::BackupEvent::File { path } = event else { return };
        match path.file_name().unwrap().to_str().unwrap() {
            "goes" => std::fs::remove_file(path).unwrap(),
            "turns" => {
                std::fs::remove_file(path).unwrap();
                std::os::unix::fs::symlink("/etc/passwd", path).unwrap();
            }
            _ => {}
        }
    };
    let options =
        backup::BackupOptions { threads: 1, ..common::options(folder.path(), &stop, &events) };
    let outcome = backup::backup(&repository, &lock, &options).unwrap();
    let fault = |name: &str| {
        let mut found = outcome.problems.iter().filter(|problem| problem.path == path(name));
        found.next().map(|problem| problem.fault.to_string()).unwrap_or_default()
    };
    assert!(fault("goes").contains("vanished"), "{:?}", outcome.problems);
    assert!(fault("turns").contains("something else"), "{:?}", outcome.problems);
    assert_eq!(outcome.problems.len(), 2);
    let target = tempfile::tempdir().unwrap();
    restore(&repository, outcome.snapshot, folder.path(), target.path());
    let names: Vec<_> =
        std::fs::read_dir(target.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["stays"]);
}

#[test]
fn a_stopped_backup_leaves_no_snapshot_and_its_packs_are_used_again() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..20 {
        std::fs::write(folder.path().join(n.to_string()), noise(n, 1 << 20)).unwrap();
    }
    let store = Arc::new(Memory::new());
    let repository = init(store);
    let stop = AtomicBool::new(true);
    let stopped = common::try_back_up(&repository, folder.path(), &stop);
    assert!(matches!(stopped, Err(backup::Error::Interrupted)));
    assert_eq!(repository.names(ObjectKind::Snapshot).unwrap(), []);
    assert!(back_up(&repository, folder.path()).problems.is_empty());
    sound(&repository);
}

#[test]
fn what_a_dead_writer_left_unfinished_is_removed_by_the_next_backup() {
    let folder = tempfile::tempdir().unwrap();
    let (source, repository) = (folder.path().join("source"), folder.path().join("repository"));
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), b"content").unwrap();
    let opened = init(Arc::new(store::Folder::new(&repository)));
    let partial = repository.join("data/00/.packmule-1-0123456789abcdef.partial");
    std::fs::create_dir_all(partial.parent().unwrap()).unwrap();
    std::fs::write(&partial, b"half a pack").unwrap();
    back_up(&opened, &source);
    assert!(partial.exists(), "its writer may be alive");
    let two_days = std::time::Duration::from_secs(2 * 86_400);
    let old = std::time::SystemTime::now().checked_sub(two_days).unwrap();
    std::fs::File::options().write(true).open(&partial).unwrap().set_modified(old).unwrap();
    back_up(&opened, &source);
    assert!(!partial.exists());
}

#[test]
fn a_hostile_repository_writes_nothing_outside_the_target() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let content = b"owned";
    let mut file = Node::new(b"../outside/owned", NodeKind::File);
    file.size = 5;
    file.content = Some(vec![Digest(Sha256::digest(content).into())]);
    for name in ["../outside/owned", "/tmp/owned-by-test", "..", "a/../../outside/owned"] {
        let (repository, id) = with_tree(&[Node { name: name.into(), ..file.clone() }], &[content]);
        let target = folder.path().join("target");
        let outcome = restore(&repository, id, Path::new("/"), &target);
        assert_eq!(outcome.problems.len(), 1, "{name}");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0);
    }
}

#[test]
fn a_link_in_the_target_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    let target = folder.path().join("target");
    std::fs::create_dir(&outside).unwrap();
    std::fs::create_dir(&target).unwrap();
    std::fs::write(outside.join("f"), b"precious").unwrap();
    std::os::unix::fs::symlink(&outside, target.join("d")).unwrap();
    std::os::unix::fs::symlink(outside.join("f"), target.join("f")).unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir_all(source.join("d")).unwrap();
    std::fs::write(source.join("d/f"), b"new").unwrap();
    std::fs::write(source.join("f"), b"new").unwrap();
    let repository = init(Arc::new(Memory::new()));
    let point = back_up(&repository, &source).snapshot;
    let index = repository.load_index().unwrap().value;
    let tree = repository.load_snapshot(point).unwrap().snapshot.tree;
    let mut options = backup::RestoreOptions {
        below: Some(source.clone()),
        threads: 1,
        ..backup::RestoreOptions::into_folder(&target, &GO_ON, &|_| {})
    };
    let refused = backup::restore(&repository, &index, tree, &options);
    assert!(matches!(refused, Err(backup::Error::TargetNotEmpty { .. })));
    options.existing = backup::Existing::Overwrite;
    let outcome = backup::restore(&repository, &index, tree, &options).unwrap();
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    assert_eq!(std::fs::read(outside.join("f")).unwrap(), b"precious");
    same(&source, &target);
}

#[test]
fn a_damaged_blob_leaves_its_files_out_and_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    std::fs::create_dir(&source).unwrap();
    everything(&source);
    let store = Arc::new(Memory::new());
    let repository = init(Arc::<Memory>::clone(&store));
    let point = back_up(&repository, &source).snapshot;
    let index = repository.load_index().unwrap().value;
    let content = noise(2, 1 << 20);
    // The pack that holds the second half of one file's content.
    let victim = repository
        .names(ObjectKind::Pack)
        .unwrap()
        .into_iter()
        .map(ObjectKey::Pack)
        .max_by_key(|key| store.length(key).unwrap())
        .unwrap();
    let mut bytes = store.get(&victim, u64::MAX).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    store.remove(&victim).unwrap();
    store.put(&victim, &bytes).unwrap();
    let outcome = restore(&repository, point, &source, &target);
    assert!(!outcome.problems.is_empty());
    for problem in &outcome.problems {
        assert!(!problem.path.exists(), "{problem}");
    }
    let named: Vec<_> = outcome.problems.iter().map(|p| p.path.clone()).collect();
    for difference in backup::compare(&source, &target).unwrap().differences {
        let path = target.join(&difference.path);
        let ours = named.contains(&path) || difference.path == Path::new(".");
        assert!(ours || difference.what.contains("hard links"), "{difference}");
    }
    drop((index, content));
}

#[test]
fn a_directory_without_a_tree_is_damage_not_an_empty_directory() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, id) = with_tree(&[Node::new(b"d", NodeKind::Dir)], &[]);
    let outcome = restore(&repository, id, Path::new("/"), folder.path());
    assert_eq!(outcome.problems.len(), 1, "{:?}", outcome.problems);
    assert!(!folder.path().join("d").exists());
}

#[test]
fn set_id_bits_are_set_for_the_owner_they_belong_to_only() {
    let folder = tempfile::tempdir().unwrap();
    let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let owned = |name: &[u8], (uid, gid): (u32, u32)| {
        let mut file = Node::new(name, NodeKind::File);
        // Set-user-id and 0755, in Go's bits.
        file.mode = 1 << 23 | 0o755;
        (file.uid, file.gid, file.content) = (uid, gid, Some(vec![]));
        file
    };
    let (repository, id) = with_tree(&[owned(b"mine", me), owned(b"others", (54_321, 5))], &[]);
    let outcome = restore(&repository, id, Path::new("/"), folder.path());
    let stat = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap();
    assert_eq!(stat("mine").mode() & 0o7777, 0o4755);
    let given = stat("others").uid() == 54_321;
    assert_eq!(given, common::root(), "only root gives files away");
    assert_eq!(stat("others").mode() & 0o7777, if given { 0o4755 } else { 0o755 });
    assert_eq!(outcome.problems.is_empty(), given, "{:?}", outcome.problems);
}

#[test]
fn a_size_that_its_parts_do_not_have_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = Node::new(b"file", NodeKind::File);
    file.size = 1 << 50;
    file.content = Some(vec![Digest(Sha256::digest(b"abc").into())]);
    file.xattrs = vec![Xattr { name: "user.x".into(), value: vec![1] }];
    let (repository, id) = with_tree(&[file], &[b"abc"]);
    let outcome = restore(&repository, id, Path::new("/"), folder.path());
    assert_eq!(outcome.problems.len(), 1);
    assert!(!folder.path().join("file").exists());
}
