//! What a damaged repository, a full target or a stop may cost: never more than what is named.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use backup::{Existing, Fault, RestoreEvent, RestoreOptions};
use common::{back_up, init, noise, restore, same};
use model::{Digest, ObjectKey, ObjectKind};
use repo::tree::NodeKind;
use repo::{BlobKind, Repository};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use store::{Memory, Store};

fn source(folder: &Path) -> std::path::PathBuf {
    let source = folder.join("source");
    std::fs::create_dir_all(source.join("d/e")).unwrap();
    for n in 0..6 {
        std::fs::write(source.join(format!("d/{n}")), noise(n, 900_000)).unwrap();
    }
    std::fs::write(source.join("d/e/f"), b"small").unwrap();
    source
}

fn flip(repository: &Repository, key: ObjectKey, at: usize) {
    let store = repository.store();
    let mut bytes = store.get(&key, u64::MAX).unwrap();
    bytes[at] ^= 1;
    store.remove(&key).unwrap();
    store.put(&key, &bytes).unwrap();
}

/// The same repository with nothing kept in memory.
fn reopened(repository: &Repository) -> Repository {
    common::open(Arc::clone(repository.store()))
}

/// The tree at a path of a snapshot.
fn tree_at(repository: &Repository, snapshot: Digest, path: &Path) -> Digest {
    let index = repository.load_index().unwrap().value;
    let mut tree = repository.load_snapshot(snapshot).unwrap().snapshot.tree;
    for name in path.strip_prefix("/").unwrap() {
        let nodes = repository.read_tree(&index, &tree).unwrap();
        let name = std::os::unix::ffi::OsStrExt::as_bytes(name);
        let node = nodes.into_iter().find(|n| n.name == name && n.kind == NodeKind::Dir).unwrap();
        tree = node.subtree.unwrap();
    }
    tree
}

#[test]
fn a_damaged_former_tree_is_stored_again_and_the_new_point_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path());
    let repository = init(Arc::new(Memory::new()));
    let point = back_up(&repository, &source).snapshot;
    let tree = tree_at(&repository, point, &source.join("d/e"));
    let index = repository.load_index().unwrap().value;
    let at = index.find(BlobKind::Tree, &tree).unwrap();
    flip(&repository, ObjectKey::Pack(at.pack), at.blob.offset as usize + 20);
    let repository = reopened(&repository);
    let again = back_up(&repository, &source);
    assert!(again.problems.iter().any(|p| matches!(p.fault, Fault::ParentTree(_))));
    let target = folder.path().join("target");
    let restored = restore(&reopened(&repository), again.snapshot, &source, &target);
    assert!(restored.problems.is_empty(), "{:?}", restored.problems);
    same(&source, &target);
}

#[test]
fn trees_below_a_damaged_one_are_not_relied_on_unread() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path());
    let repository = init(Arc::new(Memory::new()));
    let point = back_up(&repository, &source).snapshot;
    let index = repository.load_index().unwrap().value;
    let trees = index.find(BlobKind::Tree, &tree_at(&repository, point, &source)).unwrap().pack;
    let key = ObjectKey::Pack(trees);
    let length = repository.store().get(&key, u64::MAX).unwrap().len();
    repository.store().remove(&key).unwrap();
    repository.store().put(&key, &vec![0; length]).unwrap();
    let again = back_up(&reopened(&repository), &source);
    let target = folder.path().join("target");
    let restored = restore(&reopened(&repository), again.snapshot, &source, &target);
    assert!(restored.problems.is_empty(), "{:?}", restored.problems);
    same(&source, &target);
}

#[test]
fn a_pack_that_is_gone_is_named_and_what_the_source_has_is_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path());
    let repository = init(Arc::new(Memory::new()));
    back_up(&repository, &source);
    for pack in repository.names(ObjectKind::Pack).unwrap() {
        repository.store().remove(&ObjectKey::Pack(pack)).unwrap();
        let again = back_up(&reopened(&repository), &source);
        let named = again.problems.iter().any(|p| p.to_string().contains(&pack.to_hex()));
        assert!(named, "{:?}", again.problems);
        let target = folder.path().join(pack.short());
        let restored = restore(&reopened(&repository), again.snapshot, &source, &target);
        assert!(restored.problems.is_empty(), "{:?}", restored.problems);
        same(&source, &target);
    }
}

#[test]
fn a_damaged_index_or_snapshot_is_named_by_every_backup() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path());
    let repository = init(Arc::new(Memory::new()));
    back_up(&repository, &source);
    let index = repository.names(ObjectKind::Index).unwrap()[0];
    let snapshot = repository.names(ObjectKind::Snapshot).unwrap()[0];
    flip(&repository, ObjectKey::Index(index), 40);
    flip(&repository, ObjectKey::Snapshot(snapshot), 40);
    for _ in 0..2 {
        let again = back_up(&reopened(&repository), &source);
        for damaged in [index, snapshot] {
            let named = |p: &backup::Problem| p.to_string().contains(&damaged.to_hex());
            assert!(again.problems.iter().any(named), "{:?}", again.problems);
        }
        let target = folder.path().join(again.snapshot.short());
        restore(&repository, again.snapshot, &source, &target);
        same(&source, &target);
    }
}

static GO_ON: AtomicBool = AtomicBool::new(false);

struct Restoring<'a> {
    existing: Existing,
    stop: &'a AtomicBool,
    stop_at_first_byte: bool,
}

impl Restoring<'_> {
    fn run(
        &self,
        repository: &Repository,
        point: Digest,
        below: &Path,
        target: &Path,
    ) -> Result<backup::RestoreOutcome, backup::Error> {
        let index = repository.load_index().unwrap().value;
        let tree = repository.load_snapshot(point).unwrap().snapshot.tree;
        let events = |event: RestoreEvent<'_>| {
            if matches!(event, RestoreEvent::Bytes(_)) && self.stop_at_first_byte {
                self.stop.store(true, Ordering::Relaxed);
            }
        };
        let options = RestoreOptions {
            below: Some(below.to_owned()),
            existing: self.existing,
            threads: 1,
            ..RestoreOptions::into_folder(target, self.stop, &events)
        };
        backup::restore(repository, &index, tree, &options)
    }
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_stopped_restore_leaves_whole_files_only() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path());
    // Pieces of one file that lie in two packs: it is unfinished for a while.
    std::fs::write(source.join("large"), noise(99, 12 << 20)).unwrap();
    let repository = init(Arc::new(Memory::new()));
    let point = back_up(&repository, &source).snapshot;
    let target = folder.path().join("target");
    let stop = AtomicBool::new(false);
    let restoring = Restoring { existing: Existing::Refuse, stop: &stop, stop_at_first_byte: true };
    let stopped = restoring.run(&repository, point, &source, &target);
    assert!(matches!(stopped, Err(backup::Error::Interrupted)));
    for folder in ["", "d"] {
        for name in files(&target.join(folder)) {
            let path = target.join(folder).join(&name);
            if path.is_file() {
                let expected = std::fs::read(source.join(folder).join(&name)).unwrap();
                assert!(std::fs::read(&path).unwrap() == expected, "{name} is not whole");
            }
        }
    }
}

#[test]
fn overwriting_with_what_is_damaged_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path());
    let repository = init(Arc::new(Memory::new()));
    let point = back_up(&repository, &source).snapshot;
    let index = repository.load_index().unwrap().value;
    for (pack, summary) in index.packs().collect::<Vec<_>>() {
        let tree = tree_at(&repository, point, &source);
        if index.find(BlobKind::Tree, &tree).unwrap().pack != pack {
            (0..summary.end).step_by(5000).for_each(|at| {
                flip(&repository, ObjectKey::Pack(pack), usize::try_from(at).unwrap());
            });
        }
    }
    let target = folder.path().join("target");
    std::fs::create_dir_all(target.join("d")).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH;
    for n in 0..6 {
        let path = target.join(format!("d/{n}"));
        std::fs::write(&path, b"the only copy").unwrap();
        std::fs::File::open(&path).unwrap().set_modified(old).unwrap();
    }
    let stop = AtomicBool::new(false);
    let restoring =
        Restoring { existing: Existing::Overwrite, stop: &stop, stop_at_first_byte: false };
    let outcome = restoring.run(&repository, point, &source, &target).unwrap();
    assert!(outcome.problems.len() >= 6, "{:?}", outcome.problems);
    assert_eq!(files(&target.join("d")), ["0", "1", "2", "3", "4", "5", "e"]);
    for n in 0..6 {
        let path = target.join(format!("d/{n}"));
        assert_eq!(std::fs::read(&path).unwrap(), b"the only copy");
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(modified, old, "old content with a new time would be a lie");
    }
}

#[test]
fn a_blob_that_is_damaged_in_one_pack_is_taken_from_another() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path());
    let repository = init(Arc::new(Memory::new()));
    let point = back_up(&repository, &source).snapshot;
    let first = repository.names(ObjectKind::Pack).unwrap();
    // Without its indexes the repository stores everything again; then it has both.
    let indexes: Vec<_> = repository
        .names(ObjectKind::Index)
        .unwrap()
        .into_iter()
        .map(|name| {
            (
                ObjectKey::Index(name),
                repository.store().get(&ObjectKey::Index(name), u64::MAX).unwrap(),
            )
        })
        .collect();
    let packs: Vec<_> = first
        .iter()
        .map(|pack| {
            (
                ObjectKey::Pack(*pack),
                repository.store().get(&ObjectKey::Pack(*pack), u64::MAX).unwrap(),
            )
        })
        .collect();
    indexes.iter().for_each(|(key, _)| repository.store().remove(key).unwrap());
    packs.iter().for_each(|(key, _)| repository.store().remove(key).unwrap());
    back_up(&reopened(&repository), &source);
    indexes
        .iter()
        .chain(&packs)
        .for_each(|(key, bytes)| repository.store().put(key, bytes).unwrap());
    for (key, bytes) in &packs {
        for at in (0..bytes.len()).step_by(3000) {
            flip(&repository, *key, at);
        }
    }
    // Read with the damaged packs seen first, whatever the order of the index files' names.
    let repository = reopened(&repository);
    let mut index = repo::Index::default();
    let loaded = repository.load_index().unwrap().value;
    for wanted in [true, false] {
        for (pack, _) in loaded.packs().filter(|(pack, _)| first.contains(pack) == wanted) {
            let bytes = if wanted {
                packs.iter().find(|(key, _)| *key == ObjectKey::Pack(pack)).unwrap().1.clone()
            } else {
                repository.store().get(&ObjectKey::Pack(pack), u64::MAX).unwrap()
            };
            let whole = Memory::new();
            whole.put(&ObjectKey::Pack(pack), &bytes).unwrap();
            for key in [ObjectKind::Key, ObjectKind::Config] {
                copy(repository.store().as_ref(), &whole, key);
            }
            let length = bytes.len() as u64;
            let blobs = common::open(Arc::new(whole)).read_pack_header(pack, length).unwrap();
            index.add(pack, &blobs);
        }
    }
    let target = folder.path().join("target");
    let tree = repository.load_snapshot(point).unwrap().snapshot.tree;
    let options = RestoreOptions {
        below: Some(source.clone()),
        ..RestoreOptions::into_folder(&target, &GO_ON, &|_| {})
    };
    let outcome = backup::restore(&repository, &index, tree, &options).unwrap();
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    same(&source, &target);
}

fn copy(from: &dyn Store, to: &dyn Store, kind: ObjectKind) {
    let keys = match kind {
        ObjectKind::Config => vec![ObjectKey::Config],
        other => from.list(other).unwrap().into_iter().map(|listed| listed.key).collect(),
    };
    for key in keys {
        to.put(&key, &from.get(&key, u64::MAX).unwrap()).unwrap();
    }
}
