//! What the matrix of damage is made of: a small repository, the places in it, what they suffer.
//! Judges nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::common;
use model::{Digest, ObjectKey, ObjectKind};
use repo::tree::NodeKind;
use repo::{BlobKind, Index, LockMode, Repository};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use store::{Folder, Store};
use tempfile::TempDir;

/// Of such a size that every backup below leaves several packs.
const PACK_SIZE: usize = 12_000;

/// Where nothing has to reach a disk: a restore syncs the whole file system that it is on.
pub(crate) fn place() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A repository as it should be, and what it was made from.
pub(crate) struct Scene {
    folder: TempDir,
    pub(crate) objects: BTreeMap<ObjectKey, Vec<u8>>,
    pub(crate) points: [Point; 2],
    /// Where each pack's header begins.
    headers: BTreeMap<Digest, usize>,
    /// The packs that only this index names.
    indexed: BTreeMap<Digest, BTreeSet<Digest>>,
    trees: BTreeSet<Digest>,
    /// The same objects of another repository, one of each kind.
    foreign: BTreeMap<ObjectKind, Vec<u8>>,
}

/// A snapshot.
pub(crate) struct Point {
    pub(crate) id: Digest,
    /// What was backed up.
    pub(crate) like: PathBuf,
    /// The packs without which an entry cannot be restored.
    pub(crate) needs: BTreeMap<PathBuf, BTreeSet<Digest>>,
}

/// The scene that tests share which run at the same time. The last one takes its folder away: what a
/// static holds is never dropped, and would be left behind.
pub(crate) fn scene() -> Arc<Scene> {
    static SHARED: Mutex<Weak<Scene>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let made = Arc::new(Scene::new());
        *shared = Arc::downgrade(&made);
        made
    })
}

impl Scene {
    /// What was backed up last, and still is there unchanged.
    pub(crate) fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn new() -> Self {
        let folder = place();
        let (source, former) = (folder.path().join("source"), folder.path().join("former"));
        let root = folder.path().join("repository");
        let repository = common::init(Arc::new(Folder::new(&root)));
        first_state(&source);
        let first = back_up(&repository, &source).unwrap().snapshot;
        common::run("cp", &["-a".as_ref(), source.as_os_str(), former.as_os_str()]);
        second_state(&source);
        let second = back_up(&repository, &source).unwrap().snapshot;
        let mut objects = objects(repository.store().as_ref());
        let lock = repository.lock(LockMode::Shared).unwrap();
        objects.extend(self::objects(repository.store().as_ref()));
        drop(lock);
        let index = repository.load_index().unwrap().value;
        let needs = |id| needs(&repository, &index, id, &source);
        let points = [
            Point { id: first, like: former, needs: needs(first) },
            Point { id: second, like: source.clone(), needs: needs(second) },
        ];
        let headers = index
            .packs()
            .map(|(pack, summary)| (pack, usize::try_from(summary.end).unwrap()))
            .collect();
        let indexed = indexed(&repository, &objects);
        let trees = index.packs().map(|(pack, _)| pack).filter(|pack| {
            let length = objects[&ObjectKey::Pack(*pack)].len() as u64;
            let blobs = repository.read_pack_header(*pack, length).unwrap();
            blobs.iter().any(|blob| blob.kind == BlobKind::Tree)
        });
        let trees = trees.collect();
        let foreign = foreign(&folder.path().join("another"), &source);
        Self { folder, objects, points, headers, indexed, trees, foreign }
    }
}

fn first_state(source: &Path) {
    std::fs::create_dir_all(source.join("d/e")).unwrap();
    for n in 0..9 {
        std::fs::write(source.join(format!("d/{n}")), common::noise(n, 4000)).unwrap();
    }
    std::fs::write(source.join("d/e/small"), b"small").unwrap();
    std::fs::write(source.join("empty"), b"").unwrap();
    std::os::unix::fs::symlink("d/0", source.join("link")).unwrap();
    // 64 zeros end a chunk that has its least length: two pieces.
    let mut large = common::noise(50, (512 << 10) - 64);
    large.extend([0; 64]);
    large.extend(common::noise(51, 5000));
    std::fs::write(source.join("large"), large).unwrap();
}

fn second_state(source: &Path) {
    std::fs::write(source.join("d/0"), common::noise(20, 4100)).unwrap();
    std::fs::remove_file(source.join("d/1")).unwrap();
    std::fs::create_dir(source.join("new")).unwrap();
    for n in 0..5 {
        std::fs::write(source.join(format!("new/{n}")), common::noise(30 + n, 4000)).unwrap();
    }
}

/// A backup into small packs.
pub(crate) fn back_up(
    repository: &Repository,
    source: &Path,
) -> Result<backup::BackupOutcome, backup::Error> {
    let lock = repository.lock(LockMode::Shared)?;
    let stop = std::sync::atomic::AtomicBool::new(false);
    let options = backup::BackupOptions {
        threads: 1,
        writer: repo::WriterOptions { pack_size: PACK_SIZE, ..repo::WriterOptions::default() },
        ..common::options(source, &stop, &|_| {})
    };
    backup::backup(repository, &lock, &options)
}

fn objects(store: &dyn Store) -> BTreeMap<ObjectKey, Vec<u8>> {
    let listed = ObjectKind::ALL.into_iter().filter(|kind| *kind != ObjectKind::Config);
    let keys = listed.flat_map(|kind| store.list(kind).unwrap()).map(|listed| listed.key);
    keys.chain([ObjectKey::Config]).map(|key| (key, store.get(&key, u64::MAX).unwrap())).collect()
}

fn needs(
    repository: &Repository,
    index: &Index,
    snapshot: Digest,
    below: &Path,
) -> BTreeMap<PathBuf, BTreeSet<Digest>> {
    let root = repository.load_snapshot(snapshot).unwrap().snapshot.tree;
    let mut needs = BTreeMap::new();
    let mut pending = vec![(PathBuf::from("/"), root, BTreeSet::new())];
    while let Some((path, tree, mut packs)) = pending.pop() {
        packs.insert(index.find(BlobKind::Tree, &tree).unwrap().pack);
        for node in repository.read_tree(index, &tree).unwrap() {
            let path = path.join(std::str::from_utf8(&node.name).unwrap());
            let mut packs = packs.clone();
            for blob in node.content.iter().flatten() {
                packs.insert(index.find(BlobKind::Data, blob).unwrap().pack);
            }
            if let Ok(path) = path.strip_prefix(below) {
                needs.insert(path.to_owned(), packs.clone());
            }
            if node.kind == NodeKind::Dir {
                pending.push((path, node.subtree.unwrap(), packs));
            }
        }
    }
    needs
}

fn indexed(
    repository: &Repository,
    objects: &BTreeMap<ObjectKey, Vec<u8>>,
) -> BTreeMap<Digest, BTreeSet<Digest>> {
    let packs = || -> BTreeSet<Digest> {
        repository.load_index().unwrap().value.packs().map(|(pack, _)| pack).collect()
    };
    let all = packs();
    let mut indexed = BTreeMap::new();
    for id in repository.names(ObjectKind::Index).unwrap() {
        let key = ObjectKey::Index(id);
        repository.store().remove(&key).unwrap();
        indexed.insert(id, &all - &packs());
        repository.store().put(&key, &objects[&key]).unwrap();
    }
    indexed
}

fn foreign(root: &Path, source: &Path) -> BTreeMap<ObjectKind, Vec<u8>> {
    let repository = common::init(Arc::new(Folder::new(root)));
    back_up(&repository, source).unwrap();
    let _lock = repository.lock(LockMode::Shared).unwrap();
    let objects = objects(repository.store().as_ref());
    objects.into_iter().map(|(key, bytes)| (key.kind(), bytes)).collect()
}

/// What an object suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Missing,
    Emptied,
    /// Only so many bytes are left.
    Cut(usize),
    /// One bit of this byte is the other one.
    Flipped(usize),
    Zeroed(usize, usize),
    /// Each has the other's bytes.
    Swapped(ObjectKey),
    /// It has the bytes of another repository's.
    Foreign,
    /// The same bytes are there once more, under a name that is not theirs.
    Duplicated,
}

/// One object, or a part of it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) part: &'static str,
    pub(crate) key: ObjectKey,
    range: Range<usize>,
}

/// One row of the matrix.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) place: Place,
    pub(crate) action: Action,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Place { part, key, .. } = &self.place;
        write!(f, "{part} of {key} {:?}", self.action)
    }
}

impl Scene {
    pub(crate) fn places(&self, kind: ObjectKind) -> Vec<Place> {
        let mut places = Vec::new();
        for (key, bytes) in self.objects.iter().filter(|(key, _)| key.kind() == kind) {
            let (key, end) = (*key, bytes.len());
            places.push(Place { part: "whole", key, range: 0..end });
            if let ObjectKey::Pack(pack) = key {
                let header = self.headers[&pack];
                places.push(Place { part: "blobs", key, range: 0..header });
                places.push(Place { part: "header", key, range: header..end - 4 });
                places.push(Place { part: "length", key, range: end - 4..end });
            }
        }
        places
    }

    /// Everything that may happen to objects of one kind.
    pub(crate) fn cells(&self, kind: ObjectKind) -> Vec<Cell> {
        let mut cells = Vec::new();
        for place in self.places(kind) {
            let Range { start, end } = place.range;
            let middle = usize::midpoint(start, end);
            let mut actions = vec![
                Action::Cut(middle),
                Action::Cut(end - 1),
                Action::Flipped(start),
                Action::Flipped(middle),
                Action::Flipped(end - 1),
                Action::Zeroed(start, end),
            ];
            if place.part == "whole" {
                let all = [Action::Missing, Action::Emptied, Action::Foreign, Action::Duplicated];
                actions.extend(all.iter().filter(|it| {
                    // A config has no name that another file could have.
                    **it != Action::Duplicated || kind != ObjectKind::Config
                }));
                let others = self.objects.keys().filter(|key| key.kind() == kind);
                actions.extend(others.filter(|o| **o > place.key).map(|o| Action::Swapped(*o)));
            }
            cells.extend(actions.into_iter().map(|action| Cell { place: place.clone(), action }));
        }
        cells
    }

    /// The cell's objects as they are after it happened.
    fn changes(&self, cell: &Cell) -> Vec<(ObjectKey, Option<Vec<u8>>)> {
        let key = cell.place.key;
        let mut bytes = self.objects[&key].clone();
        match cell.action {
            Action::Missing => return vec![(key, None)],
            Action::Emptied => bytes.clear(),
            Action::Cut(at) => bytes.truncate(at),
            Action::Flipped(at) => bytes[at] ^= 1,
            Action::Zeroed(from, to) => bytes[from..to].fill(0),
            Action::Foreign => bytes.clone_from(&self.foreign[&key.kind()]),
            Action::Duplicated => return vec![(wrong_name(key), Some(bytes))],
            Action::Swapped(other) => {
                return vec![(key, Some(self.objects[&other].clone())), (other, Some(bytes))];
            }
        }
        vec![(key, Some(bytes))]
    }

    /// A copy of the repository in which it happened.
    pub(crate) fn copy(&self, cell: &Cell, root: &Path) -> BTreeMap<ObjectKey, Vec<u8>> {
        let mut objects = self.objects.clone();
        for (key, bytes) in self.changes(cell) {
            match bytes {
                Some(bytes) => drop(objects.insert(key, bytes)),
                None => drop(objects.remove(&key)),
            }
        }
        write(&objects, root);
        objects
    }

    /// The objects that are not what they must be.
    pub(crate) fn damaged(&self, cell: &Cell) -> BTreeSet<ObjectKey> {
        let changes = self.changes(cell).into_iter();
        changes.filter(|(key, now)| now.as_ref() != self.objects.get(key)).map(|c| c.0).collect()
    }

    /// The packs of which blobs may be lost.
    pub(crate) fn lost(&self, cell: &Cell) -> BTreeSet<Digest> {
        let mut lost = BTreeSet::new();
        for key in self.damaged(cell) {
            match key {
                ObjectKey::Pack(pack) if self.blobs_suffer(cell) => drop(lost.insert(pack)),
                ObjectKey::Index(index) => {
                    lost.extend(self.indexed.get(&index).into_iter().flatten().copied());
                }
                _ => {}
            }
        }
        lost
    }

    /// Whether a damaged pack's blobs are, rather than only what lists them.
    pub(crate) fn blobs_suffer(&self, cell: &Cell) -> bool {
        let ObjectKey::Pack(pack) = cell.place.key else { return false };
        match cell.action {
            Action::Cut(at) | Action::Flipped(at) => at < self.headers[&pack],
            Action::Zeroed(from, _) => from < self.headers[&pack],
            Action::Duplicated => false,
            _ => true,
        }
    }

    /// Whether a pack is as long as its blobs need, so that a listing does not tell.
    pub(crate) fn long_enough(&self, pack: Digest, now: &BTreeMap<ObjectKey, Vec<u8>>) -> bool {
        let length = now.get(&ObjectKey::Pack(pack)).map(Vec::len);
        length.is_some_and(|length| self.headers.get(&pack).is_none_or(|end| length >= *end))
    }

    pub(crate) fn has_trees(&self, pack: Digest) -> bool {
        self.trees.contains(&pack)
    }
}

/// The name with its first byte changed.
fn wrong_name(key: ObjectKey) -> ObjectKey {
    let mut id = key.id().unwrap();
    id.0[0] ^= 1;
    ObjectKey::new(key.kind(), id)
}

/// Where an object is in a folder: restic's layout.
pub(crate) fn file_of(root: &Path, key: &ObjectKey) -> PathBuf {
    let Some(id) = key.id() else { return root.join("config") };
    let (folder, hex) = (root.join(key.kind().folder()), id.to_hex());
    if key.kind() == ObjectKind::Pack { folder.join(&hex[..2]).join(hex) } else { folder.join(hex) }
}

pub(crate) fn write(objects: &BTreeMap<ObjectKey, Vec<u8>>, root: &Path) {
    for (key, bytes) in objects {
        let file = file_of(root, key);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }
}
