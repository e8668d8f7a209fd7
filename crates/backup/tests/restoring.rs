//! How a restore writes: nothing under a name before it is whole, holes as holes, pieces in whatever
//! order the packs have them, and attributes as they were.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use backup::{Existing, RestoreEvent, RestoreOptions, RestoreOutcome};
use common::{back_up, init, noise, restore, same, skip, with_tree};
use model::{Digest, ErrorKind};
use repo::Repository;
use repo::tree::{Node, NodeKind};
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use store::Memory;

static GO_ON: AtomicBool = AtomicBool::new(false);

fn hash(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// A file of these blobs, one after the other.
fn file(name: &str, blobs: &[&[u8]]) -> Node {
    let mut node = Node::new(name.as_bytes(), NodeKind::File);
    node.mode = 0o644;
    node.size = blobs.iter().map(|blob| blob.len() as u64).sum();
    node.content = Some(blobs.iter().map(|blob| hash(blob)).collect());
    (node.uid, node.gid) = me();
    node
}

fn me() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// Restores all of it, with `events` told what happens.
fn watched(
    repository: &Repository,
    snapshot: Digest,
    target: &Path,
    events: &(dyn Fn(RestoreEvent<'_>) + Sync),
) -> Result<RestoreOutcome, backup::Error> {
    let index = repository.load_index().unwrap().value;
    let tree = repository.load_snapshot(snapshot).unwrap().snapshot.tree;
    let options = RestoreOptions {
        existing: Existing::Overwrite,
        ..RestoreOptions::into_folder(target, &GO_ON, events)
    };
    backup::restore(repository, &index, tree, &options)
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Whether files can be made without a name here.
fn nameless(folder: &Path) -> bool {
    use rustix::fs::{Mode, OFlags};
    rustix::fs::open(folder, OFlags::TMPFILE | OFlags::WRONLY, Mode::RUSR).is_ok()
}

#[test]
fn whenever_a_restore_is_killed_every_name_is_a_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let blobs: Vec<Vec<u8>> = (0..40).map(|n| noise(n, 300_000)).collect();
    let all: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
    let mut nodes = vec![file("large", &all)];
    nodes.extend((0..40).map(|n| file(&format!("small{n:02}"), &all[n..=n])));
    let whole: Vec<u8> = blobs.concat();
    let (repository, id) = with_tree(&nodes, &all);
    let partial_allowed = !nameless(folder.path());
    // What is there while something happens is what a kill at that moment would leave.
    let watch = |event: RestoreEvent<'_>| {
        let RestoreEvent::Bytes(_) = event else { return };
        for path in names(folder.path()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            match name.strip_prefix("small") {
                Some(n) => {
                    let expected = &blobs[n.parse::<usize>().unwrap()];
                    assert!(std::fs::read(&path).unwrap() == *expected, "{name} is not whole");
                }
                None if name == "large" => assert!(std::fs::read(&path).unwrap() == whole),
                None => assert!(partial_allowed, "{name} would be left behind"),
            }
        }
    };
    let outcome = watched(&repository, id, folder.path(), &watch).unwrap();
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    assert_eq!((outcome.files, names(folder.path()).len()), (41, 41));
}

/// A backup of a folder with 30 small files in `folder/few`.
fn small_files(folder: &Path) -> (Repository, Digest, PathBuf) {
    let source = folder.join("source");
    std::fs::create_dir_all(source.join("few")).unwrap();
    for n in 0..30 {
        std::fs::write(source.join(format!("few/{n:02}")), noise(n, 3000)).unwrap();
    }
    let repository = init(Arc::new(Memory::new()));
    let snapshot = back_up(&repository, &source).snapshot;
    (repository, snapshot, source)
}

#[test]
fn a_directory_of_small_files_has_its_name_when_all_of_them_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, snapshot, source) = small_files(folder.path());
    let target = folder.path().join("target");
    let few = target.join(source.strip_prefix("/").unwrap()).join("few");
    let seen = AtomicBool::new(false);
    let watch = |event: RestoreEvent<'_>| {
        let RestoreEvent::Bytes(_) = event else { return };
        if few.exists() {
            assert_eq!(names(&few).len(), 30);
        } else if few.parent().unwrap().exists() {
            let [hidden] = &names(few.parent().unwrap())[..] else { return };
            assert!(hidden.to_str().unwrap().contains(".packmule-unfinished-"));
            assert_eq!(std::fs::metadata(hidden).unwrap().mode() & 0o777, 0o700);
            seen.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    };
    let outcome = watched(&repository, snapshot, &target, &watch).unwrap();
    assert!(outcome.problems.is_empty() && seen.into_inner(), "{:?}", outcome.problems);
    same(&source, few.parent().unwrap());
}

#[test]
fn where_a_directory_appears_meanwhile_nothing_in_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (repository, snapshot, source) = small_files(folder.path());
    let target = folder.path().join("target");
    let few = target.join(source.strip_prefix("/").unwrap()).join("few");
    let once = std::sync::Once::new();
    let watch = |event: RestoreEvent<'_>| {
        let RestoreEvent::Bytes(_) = event else { return };
        once.call_once(|| {
            std::fs::create_dir(&few).unwrap();
            std::fs::write(few.join("07"), "mine").unwrap();
            std::fs::write(few.join("other"), "mine, too").unwrap();
        });
    };
    let outcome = watched(&repository, snapshot, &target, &watch).unwrap();
    let problems: Vec<&Path> = outcome.problems.iter().map(|it| it.path.as_path()).collect();
    assert_eq!(problems, [few.join("07")]);
    assert!(matches!(outcome.problems[0].fault, backup::Fault::Exists));
    assert_eq!((names(&few).len(), names(few.parent().unwrap()).len()), (31, 1));
    for n in 0..30 {
        let there = std::fs::read(few.join(format!("{n:02}"))).unwrap();
        assert!(if n == 7 { there == b"mine" } else { there == noise(n, 3000) }, "{n}");
    }
}

/// The numbers up to `count` in an order that has nothing to do with theirs.
fn shuffled(count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|n| hash(&n.to_le_bytes()).0);
    order
}

#[test]
fn pieces_in_any_order_make_the_file() {
    let folder = tempfile::tempdir().unwrap();
    // Odd lengths, so that no piece begins or ends with a block; more than may wait for the rest of
    // their blocks; and a piece that is in two places.
    let blobs: Vec<Vec<u8>> =
        (0..130u16).map(|n| noise(n.into(), 500_001 + usize::from(n))).collect();
    let stored: Vec<&[u8]> =
        shuffled(blobs.len()).into_iter().map(|n| blobs[n].as_slice()).collect();
    let mut content: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
    content.insert(100, &blobs[3]);
    let (repository, id) = with_tree(&[file("file", &content)], &stored);
    let outcome = restore(&repository, id, Path::new("/"), folder.path());
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    let restored = std::fs::read(folder.path().join("file")).unwrap();
    assert!(restored == content.concat());
}

#[test]
fn more_files_can_be_unfinished_than_may_be_open() {
    let folder = tempfile::tempdir().unwrap();
    let count = 600;
    let part = |n: usize| noise(n as u64, 9_000);
    // All first parts are stored before all second ones.
    let blobs: Vec<Vec<u8>> = (0..2 * count).map(part).collect();
    let stored: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
    let nodes: Vec<Node> =
        (0..count).map(|n| file(&format!("{n:04}"), &[stored[n], stored[count + n]])).collect();
    let (repository, id) = with_tree(&nodes, &stored);
    let outcome = restore(&repository, id, Path::new("/"), folder.path());
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    assert_eq!(names(folder.path()).len(), count);
    for n in 0..count {
        let restored = std::fs::read(folder.path().join(format!("{n:04}"))).unwrap();
        assert!(restored == [part(n), part(count + n)].concat(), "{n}");
    }
}

#[test]
fn ten_terabytes_of_nothing_take_no_time_and_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let (zeros, island) = (vec![0; 8 << 20], noise(5, 10_000));
    let times = (10 << 40) / zeros.len();
    let mut node = file("sparse", &[&island, &zeros, &island]);
    let content = node.content.as_mut().unwrap();
    content.splice(1..1, std::iter::repeat_n(hash(&zeros), times - 1));
    node.size += (zeros.len() * (times - 1)) as u64;
    let size = node.size;
    let (repository, id) = with_tree(&[node], &[&zeros, &island]);
    let outcome = restore(&repository, id, Path::new("/"), folder.path());
    assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
    assert_eq!(outcome.bytes, size);
    let restored = std::fs::File::open(folder.path().join("sparse")).unwrap();
    let metadata = restored.metadata().unwrap();
    assert_eq!(metadata.len(), size);
    assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
    for at in [0, size - island.len() as u64] {
        let mut bytes = vec![0; island.len()];
        restored.read_exact_at(&mut bytes, at).unwrap();
        assert!(bytes == island);
    }
}

#[test]
fn attributes_survive_in_every_size() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    std::fs::create_dir(&source).unwrap();
    for (n, size) in [0, 1, 70_000, 3 << 20, 9 << 20].into_iter().enumerate() {
        for mode in [0o400, 0o444, 0o640, 0o4755, 0o2711, 0] {
            let path = source.join(format!("{size}-{mode:o}"));
            std::fs::write(&path, noise(n as u64, size)).unwrap();
            rustix::fs::setxattr(&path, "user.x", b"y", rustix::fs::XattrFlags::empty()).unwrap();
            let early = std::time::UNIX_EPOCH + std::time::Duration::new(7 + n as u64, 9);
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(early).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        }
        let linked = source.join(format!("{size}-444"));
        std::fs::create_dir(source.join(format!("d{n}"))).unwrap();
        std::fs::hard_link(linked, source.join(format!("d{n}/other name"))).unwrap();
    }
    if !common::root() {
        // Nobody but root may read these to back them up.
        for path in names(&source).iter().filter(|path| path.ends_with("-0")) {
            std::fs::remove_file(path).unwrap();
        }
    }
    let repository = init(Arc::new(Memory::new()));
    let point = back_up(&repository, &source).snapshot;
    let restored = restore(&repository, point, &source, &target);
    assert!(restored.problems.is_empty(), "{:?}", restored.problems);
    same(&source, &target);
    for path in names(&source) {
        let of = |path: &Path| {
            let metadata = std::fs::metadata(path).unwrap();
            (metadata.mode(), metadata.mtime(), metadata.mtime_nsec(), metadata.nlink())
        };
        assert_eq!(of(&path), of(&target.join(path.file_name().unwrap())), "{}", path.display());
    }
}

#[test]
fn set_id_bits_of_files_with_content_are_set_for_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = [noise(1, 500), noise(2, 400_000), noise(3, 400_000)];
    let all: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
    let (mut nodes, mut expected) = (Vec::new(), Vec::new());
    for (name, blobs) in [("small", &all[..1]), ("large", &all[1..2]), ("in pieces", &all[1..])] {
        for (whose, owner) in [("mine", me()), ("others", (54_321, 5))] {
            let mut node = file(&format!("{name} {whose}"), blobs);
            node.mode = 1 << 23 | 0o755;
            (node.uid, node.gid) = owner;
            let given = owner == me() || common::root();
            expected.push((node.name.clone(), if given { 0o4755 } else { 0o755 }));
            nodes.push(node);
        }
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let (repository, id) = with_tree(&nodes, &all);
    restore(&repository, id, Path::new("/"), folder.path());
    for (name, mode) in expected {
        let path = folder.path().join(String::from_utf8(name).unwrap());
        let metadata = std::fs::metadata(&path).unwrap();
        assert_eq!(metadata.mode() & 0o7777, mode, "{}", path.display());
    }
}

/// A file system of eight mebibytes, gone when dropped.
struct Small {
    mount: PathBuf,
    _folder: tempfile::TempDir,
}

impl Small {
    fn mount() -> Result<Self, String> {
        if !common::root() {
            return Err("only root may mount a file system".to_owned());
        }
        let folder = tempfile::tempdir().unwrap();
        let mount = folder.path().join("small");
        std::fs::create_dir(&mount).unwrap();
        let arguments = ["-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs"];
        match Command::new("mount").args(arguments).arg(&mount).output() {
            Ok(output) if output.status.success() => Ok(Self { mount, _folder: folder }),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.mount).status();
    }
}

#[test]
fn a_full_target_ends_the_restore_and_holds_whole_files_only() {
    let small = match Small::mount() {
        Ok(small) => small,
        Err(reason) => {
            let test = "restoring::a_full_target_ends_the_restore_and_holds_whole_files_only";
            return skip(test, &reason);
        }
    };
    let blobs: Vec<Vec<u8>> = (0..40).map(|n| noise(n, 300_000)).collect();
    let all: Vec<&[u8]> = blobs.iter().map(Vec::as_slice).collect();
    let mut nodes: Vec<Node> = (0..20).map(|n| file(&format!("{n:02}"), &all[n..=n])).collect();
    nodes.push(file("large", &all[20..]));
    let (repository, id) = with_tree(&nodes, &all);
    let mut problems = Vec::new();
    let told = std::sync::Mutex::new(&mut problems);
    let failed = watched(&repository, id, &small.mount, &|event| {
        if let RestoreEvent::Problem(problem) = event {
            told.lock().unwrap().push(problem.to_string());
        }
    });
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(problems, [""; 0], "one reason is enough");
    let restored = names(&small.mount);
    assert!(!restored.is_empty());
    for path in restored {
        let n = path.file_name().unwrap().to_str().unwrap().parse::<usize>().unwrap();
        assert!(std::fs::read(&path).unwrap() == blobs[n], "{n} is not whole");
    }
}

#[test]
fn files_are_counted_as_they_are_done() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, lost) = (noise(1, 1000), noise(2, 1000));
    let nodes = [file("a", &[&whole]), file("b", &[&lost]), file("c", &[&whole, &lost]), {
        let mut empty = file("d", &[]);
        empty.content = Some(vec![]);
        empty
    }];
    let (repository, id) = with_tree(&nodes, &[&whole, &lost]);
    let counted = std::sync::Mutex::new((0, 0));
    let outcome = watched(&repository, id, folder.path(), &|event| match event {
        RestoreEvent::File => counted.lock().unwrap().0 += 1,
        RestoreEvent::Total { files, .. } => counted.lock().unwrap().1 = files,
        _ => {}
    });
    assert_eq!(outcome.unwrap().files, 4);
    assert_eq!(counted.into_inner().unwrap(), (4, 4));
}
