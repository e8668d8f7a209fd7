//! Every kind of damage at every place of a repository, and what each next operation makes of it.
//!
//! What must hold is the same for all of them, so it is written once, below, and held against every
//! cell: a restore gives what was backed up or names what it leaves out; what is not damaged comes
//! back; check names what is damaged; a backup heals what the source still has, or says what it met;
//! nobody changes anything but what they add. One thing is known to be beyond a backup: a blob that
//! is damaged in a pack of full length, because it does not read what it need not store again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;
mod matrix;

use backup::{Problem, RestoreOptions, RestoreOutcome};
use matrix::{Action, Cell, Point, Scene, back_up, file_of, place, scene};
use model::{Digest, ErrorKind, ObjectKey, ObjectKind};
use repo::tree::NodeKind;
use repo::{CheckOptions, Repository};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use store::{Folder, Listed};

static GO_ON: AtomicBool = AtomicBool::new(false);

#[test]
fn a_damaged_config_is_named_and_nothing_is_begun_anew() {
    hold_all(ObjectKind::Config);
}

#[test]
fn a_damaged_key_is_named_and_the_password_not_called_wrong() {
    hold_all(ObjectKind::Key);
}

#[test]
fn a_damaged_pack_costs_its_own_blobs_and_is_named() {
    hold_all(ObjectKind::Pack);
}

#[test]
fn a_damaged_index_is_named_and_made_anew_from_its_packs() {
    hold_all(ObjectKind::Index);
}

#[test]
fn a_damaged_snapshot_is_named_and_costs_no_other() {
    hold_all(ObjectKind::Snapshot);
}

#[test]
fn a_damaged_lock_is_passed_over_or_named() {
    hold_all(ObjectKind::Lock);
}

/// A repository in this folder gives both points back, finds no fault, and needs nothing stored again.
#[track_caller]
fn is_sound(scene: &Scene, root: &Path, damaged: bool) {
    let open = || {
        let store = Arc::new(Folder::new(root));
        Repository::open(store, common::PASSWORD.as_bytes(), common::author()).unwrap()
    };
    let report = open().check(CheckOptions { read_data: true, threads: 1 }, &|_| {}).unwrap();
    assert_eq!(report.damaged(), damaged, "{:?}", report.findings);
    for point in &scene.points {
        let target = place();
        let outcome = restore(&open(), point.id, &scene.source(), target.path()).unwrap();
        assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
        common::same(&point.like, target.path());
    }
    let outcome = back_up(&open(), &scene.source()).unwrap();
    // The folders above the source are everybody's, and change.
    let below = |problem: &&Problem| problem.path.starts_with(scene.source());
    assert_eq!(outcome.problems.iter().filter(below).count(), 0, "{:?}", outcome.problems);
    assert_eq!(outcome.summary.data_blobs, 0);
}

#[test]
fn a_pack_that_two_indexes_name_is_no_damage() {
    let (scene, folder) = (scene(), place());
    let mut objects = scene.objects.clone();
    objects.retain(|key, _| key.kind() != ObjectKind::Index);
    matrix::write(&objects, folder.path());
    let store = Arc::new(Folder::new(folder.path()));
    back_up(&common::open(store), &scene.source()).unwrap();
    matrix::write(&scene.objects, folder.path());
    let indexes = std::fs::read_dir(folder.path().join("index")).unwrap().count();
    assert!(indexes > scene.places(ObjectKind::Index).len());
    is_sound(&scene, folder.path(), false);
}

#[test]
fn blobs_that_are_in_two_packs_are_no_damage_and_may_lose_either() {
    let (scene, folder) = (scene(), place());
    let mut objects = scene.objects.clone();
    objects.retain(|key, _| matches!(key.kind(), ObjectKind::Config | ObjectKind::Key));
    matrix::write(&objects, folder.path());
    let store: Arc<dyn store::Store> = Arc::new(Folder::new(folder.path()));
    for point in scene.points.iter().rev() {
        back_up(&common::open(Arc::clone(&store)), &point.like).unwrap();
    }
    let twice: Vec<Listed> = store.list(ObjectKind::Pack).unwrap();
    matrix::write(&scene.objects, folder.path());
    is_sound(&scene, folder.path(), false);
    for Listed { key, length } in twice {
        let (file, zeros) =
            (file_of(folder.path(), &key), vec![0; usize::try_from(length).unwrap()]);
        std::fs::write(file, zeros).unwrap();
    }
    is_sound(&scene, folder.path(), true);
}

#[test]
fn files_of_strangers_are_passed_over_and_left_alone() {
    let (scene, folder) = (scene(), place());
    matrix::write(&scene.objects, folder.path());
    let names = ["README", "data/ab/notes.txt", "index/.DS_Store", "snapshots/0123"];
    let names = names.into_iter().chain(["keys/id.pub", "locks/x", "lost+found/y", "index/d/z"]);
    let strangers: Vec<PathBuf> = names.map(|name| folder.path().join(name)).collect();
    for file in &strangers {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, b"not yours").unwrap();
    }
    is_sound(&scene, folder.path(), false);
    let gone: Vec<_> = strangers.iter().filter(|file| !file.exists()).collect();
    assert!(gone.is_empty(), "{gone:?}");
}

/// Cells wait for locks and folders rather than for the processor.
const SIDE_BY_SIDE: usize = 8;
/// Far more than any cell needs.
const HANGS: Duration = Duration::from_secs(60);

fn hold_all(kind: ObjectKind) {
    let scene = scene();
    let cells = scene.cells(kind);
    assert!(cells.len() >= 6);
    let (count, cells) = (cells.len(), Arc::new(cells));
    let next = Arc::new(AtomicUsize::new(0));
    let (report, reports) = mpsc::channel();
    let hold = |_| {
        let (cells, next, report) = (Arc::clone(&cells), Arc::clone(&next), report.clone());
        let scene = Arc::clone(&scene);
        std::thread::spawn(move || {
            while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                let held = std::panic::catch_unwind(AssertUnwindSafe(|| Trial::hold(&scene, cell)));
                let faults = held.unwrap_or_else(|_| vec!["it panics".to_owned()]);
                let _ = report.send((cell.to_string(), faults));
            }
        })
    };
    let workers: Vec<_> = (0..SIDE_BY_SIDE).map(hold).collect();
    let mut broken = Vec::new();
    for _ in 0..count {
        let (cell, faults) = reports.recv_timeout(HANGS).expect("no operation hangs");
        broken.extend(faults.into_iter().map(|fault| format!("{cell}: {fault}")));
    }
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    broken.sort();
    assert!(broken.is_empty(), "{} of {count} cells:\n{}", broken.len(), broken.join("\n"));
}

struct Trial<'a> {
    scene: &'a Scene,
    cell: &'a Cell,
    folder: tempfile::TempDir,
    before: BTreeMap<ObjectKey, Vec<u8>>,
    damaged: BTreeSet<ObjectKey>,
    lost: BTreeSet<Digest>,
    faults: Vec<String>,
}

/// What was left out of a restore; none when there was none at all.
type LeftOut = Option<BTreeSet<PathBuf>>;

impl Trial<'_> {
    /// Runs everything on a repository that suffered. Answers what does not hold.
    fn hold(scene: &Scene, cell: &Cell) -> Vec<String> {
        let folder = place();
        let before = scene.copy(cell, &folder.path().join("repository"));
        let (damaged, lost) = (scene.damaged(cell), scene.lost(cell));
        let faults = Vec::new();
        let mut trial = Trial { scene, cell, folder, before, damaged, lost, faults };
        match trial.open() {
            Ok(repository) => trial.all_operations(&repository),
            Err(error) => trial.refused(&error),
        }
        trial.others_are_untouched();
        trial.faults
    }

    fn store(&self) -> Arc<Folder> {
        Arc::new(Folder::new(self.folder.path().join("repository")))
    }

    fn open(&self) -> Result<Repository, repo::Error> {
        Repository::open(self.store(), common::PASSWORD.as_bytes(), common::author())
    }

    fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(what());
        }
    }

    /// The names of which one must be said by whoever meets the damage.
    fn names(&self) -> Vec<String> {
        let name = |key: &ObjectKey| key.id().map_or("config".to_owned(), |id| id.to_hex());
        self.damaged.iter().map(name).collect()
    }

    fn is_named(&self, said: &str) -> bool {
        self.names().iter().any(|name| said.contains(name))
    }

    /// Only without its config, or without a key, can nothing at all be said.
    fn refused(&mut self, error: &repo::Error) {
        let kind = self.cell.place.key.kind();
        self.require(matches!(kind, ObjectKind::Config | ObjectKind::Key), || {
            format!("it does not open: {error}")
        });
        let missing_key = kind == ObjectKind::Key && self.cell.action == Action::Missing;
        let said = error.to_string();
        let named = self.is_named(&said) || (missing_key && said.contains("keys/"));
        self.require(named, || format!("opening names something else: {error}"));
        let expected = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Conflict);
        self.require(expected, || format!("opening says {:?}: {error}", error.kind()));
        let (weak, now) = (repo::KdfParams::WEAK, jiff::Timestamp::now());
        let password = common::PASSWORD.as_bytes();
        let begun = Repository::init(self.store(), password, weak, common::author(), now);
        self.require(begun.is_err(), || "a repository is made over what is left".to_owned());
    }

    fn all_operations(&mut self, repository: &Repository) {
        self.snapshots(repository);
        self.ls(repository);
        for read_data in [false, true] {
            let damage = self.check(read_data);
            let index = self.cell.place.key.kind() == ObjectKind::Index;
            self.require(damage || !index, || "a lost index is not missed".to_owned());
        }
        let former: Vec<LeftOut> =
            self.scene.points.iter().map(|point| self.restore(point.id, point)).collect();
        self.backup(&former);
    }

    fn snapshots(&mut self, repository: &Repository) {
        let found = repository.snapshots().unwrap();
        let ids: BTreeSet<Digest> = found.value.iter().map(|named| named.id).collect();
        for point in &self.scene.points {
            let intact = !self.damaged.contains(&ObjectKey::Snapshot(point.id));
            self.require(ids.contains(&point.id) == intact, || "a snapshot is wrong".to_owned());
        }
        let said: Vec<String> = found.damaged.iter().map(ToString::to_string).collect();
        for key in self.damaged_and_there(ObjectKind::Snapshot) {
            let named = said.iter().any(|said| said.contains(&key.id().unwrap().to_hex()));
            self.require(named, || format!("listing snapshots does not name {key}: {said:?}"));
        }
        let latest = repository.find_snapshot("latest").map(|named| named.id);
        let [_, newest] = &self.scene.points;
        if self.damaged_and_there(ObjectKind::Snapshot).is_empty() {
            let gone = self.damaged.contains(&ObjectKey::Snapshot(newest.id));
            self.require(gone || latest.is_ok_and(|id| id == newest.id), || "latest".to_owned());
        } else {
            self.require(latest.is_err(), || "an unreadable snapshot may be the latest".to_owned());
        }
    }

    fn damaged_and_there(&self, kind: ObjectKind) -> Vec<ObjectKey> {
        let there = |key: &&ObjectKey| key.kind() == kind && self.before.contains_key(key);
        self.damaged.iter().filter(there).copied().collect()
    }

    /// Lists what can be listed, and names what cannot.
    fn ls(&mut self, repository: &Repository) {
        let index = repository.load_index().unwrap();
        for point in &self.scene.points {
            let Ok(named) = repository.load_snapshot(point.id) else { continue };
            let (mut said, mut listed) = (String::new(), BTreeSet::new());
            let mut pending = vec![(PathBuf::from("/"), named.snapshot.tree)];
            while let Some((path, tree)) = pending.pop() {
                match repository.read_tree(&index.value, &tree) {
                    Err(error) => said += &format!("{error}\n"),
                    Ok(nodes) => {
                        for node in nodes {
                            let path = path.join(std::str::from_utf8(&node.name).unwrap());
                            listed.insert(path.clone());
                            if node.kind == NodeKind::Dir {
                                pending.push((path, node.subtree.unwrap()));
                            }
                        }
                    }
                }
            }
            let source = self.scene.source();
            let all = point.needs.keys().all(|path| listed.contains(&source.join(path)));
            let excused = self.is_named(&said) || said.contains("is in no index");
            self.require(all || excused, || format!("ls leaves out and names nothing: {said}"));
        }
    }

    /// Answers whether it found any damage.
    fn check(&mut self, read_data: bool) -> bool {
        let repository = self.open().unwrap();
        let options = CheckOptions { read_data, threads: 1 };
        let report = repository.check(options, &|_| {}).unwrap();
        let damage = report.findings.iter().filter(|finding| finding.is_damage());
        let said: Vec<String> = damage.map(ToString::to_string).collect();
        for key in self.damaged.clone() {
            let named = said.iter().any(|said| said.contains(&key.id().unwrap().to_hex()));
            let must = self.found_by_check(key, read_data);
            self.require(named || !must, || format!("check {read_data} misses {key}: {said:?}"));
        }
        let spared = self.damaged.iter().all(|key| key.kind() == ObjectKind::Lock);
        self.require(!spared || said.is_empty(), || format!("check finds more: {said:?}"));
        !said.is_empty()
    }

    /// What the documentation of check promises.
    fn found_by_check(&self, key: ObjectKey, read_data: bool) -> bool {
        let there = self.before.contains_key(&key);
        match key {
            ObjectKey::Pack(_) if read_data => true,
            ObjectKey::Pack(pack) => {
                let length = self.before.get(&key).map(Vec::len);
                let same = length == self.scene.objects.get(&key).map(Vec::len);
                let duplicated = self.cell.action == Action::Duplicated;
                let tree = self.scene.has_trees(pack) && self.scene.blobs_suffer(self.cell);
                !duplicated && (!same || tree)
            }
            ObjectKey::Index(_) | ObjectKey::Snapshot(_) => there,
            ObjectKey::Key(_) => there,
            // One that does not open ends everything before; locks are nobody's data.
            ObjectKey::Config | ObjectKey::Lock(_) => false,
        }
    }

    /// Restores a point, and holds the result against what was backed up. Answers what is left out.
    fn restore(&mut self, snapshot: Digest, like: &Point) -> LeftOut {
        let repository = self.open().unwrap();
        let target = place();
        match restore(&repository, snapshot, &self.scene.source(), target.path()) {
            Ok(outcome) => Some(self.restored(&outcome, target.path(), like)),
            Err(error) => {
                let said = error.to_string();
                let unknown = said.contains("is in no index");
                self.require(self.is_named(&said) || unknown, || format!("restore: {said}"));
                let rotten = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound);
                self.require(rotten, || format!("restore ends as {:?}: {said}", error.kind()));
                let gone = self.damaged.contains(&ObjectKey::Snapshot(snapshot));
                let trees = self.lost.iter().any(|pack| self.scene.has_trees(*pack));
                self.require(gone || trees, || format!("restore gives up: {said}"));
                None
            }
        }
    }

    fn restored(
        &mut self,
        outcome: &RestoreOutcome,
        target: &Path,
        like: &Point,
    ) -> BTreeSet<PathBuf> {
        let named: BTreeSet<PathBuf> = outcome
            .problems
            .iter()
            .map(|problem| problem.path.strip_prefix(target).unwrap().to_owned())
            .collect();
        let is_named = |path: &Path| path.ancestors().any(|above| named.contains(above));
        let differences = backup::compare(&like.like, target).unwrap().differences;
        let mut left_out = BTreeSet::new();
        for it in differences.into_iter().filter(|it| it.path != Path::new(".")) {
            if it.what == "is missing on the right" {
                self.require(is_named(&it.path), || format!("{it} and nobody says so"));
                left_out.insert(it.path);
            } else {
                // A directory whose entries cannot be had is no longer the one that was backed up.
                let unread = named.contains(&it.path) && target.join(&it.path).is_dir();
                self.require(unread, || format!("restored wrong: {it}"));
            }
        }
        for path in left_out.iter().chain(&named) {
            let due = like.needs.get(path).is_some_and(|packs| packs.is_disjoint(&self.lost));
            let entries = self.scene.points.iter().any(|point| point.needs.contains_key(path));
            let innocent = due && entries && target.join(path).symlink_metadata().is_err();
            self.require(!innocent, || format!("{} is left out without need", path.display()));
        }
        left_out
    }

    /// Backs up the unchanged source; then everything once more.
    fn backup(&mut self, former: &[LeftOut]) {
        let repository = self.open().unwrap();
        let outcome = match back_up(&repository, &self.scene.source()) {
            Ok(outcome) => outcome,
            Err(error) => {
                let lock = self.cell.place.key.kind() == ObjectKind::Lock;
                let named = lock && self.is_named(&error.to_string());
                return self.require(named, || format!("backup: {error}"));
            }
        };
        let said: Vec<String> = outcome.problems.iter().map(ToString::to_string).collect();
        for key in self.damaged.clone() {
            let named = said.iter().any(|said| said.contains(&key.id().unwrap().to_hex()));
            let must = self.met_by_backup(key);
            self.require(named || !must, || format!("backup does not name {key}: {said:?}"));
        }
        let newest = self.scene.points.last().unwrap();
        let left_out = self.restore(outcome.snapshot, newest);
        let whole = left_out.as_ref().is_some_and(BTreeSet::is_empty);
        self.require(whole || self.beyond_a_backup(), || {
            format!("the new snapshot lacks {left_out:?}; backup said {said:?}")
        });
        for (point, before) in self.scene.points.iter().zip(former) {
            let after = self.restore(point.id, point);
            let worse = match (before, &after) {
                (Some(before), Some(after)) => !after.is_subset(before),
                (Some(_), None) => true,
                (None, _) => false,
            };
            self.require(!worse, || format!("an old snapshot now lacks {after:?}"));
        }
        self.check(true);
    }

    /// What a backup comes across: every list, index and snapshot, and the trees of the parent.
    fn met_by_backup(&self, key: ObjectKey) -> bool {
        let there = self.before.contains_key(&key);
        match key {
            ObjectKey::Index(_) | ObjectKey::Snapshot(_) => there,
            ObjectKey::Pack(pack) => {
                let newest = self.scene.points.last().unwrap();
                let trees = newest.needs.values().flatten().any(|needed| *needed == pack);
                let duplicated = self.cell.action == Action::Duplicated;
                let tree = trees && self.scene.has_trees(pack) && self.is_swapped_or_zeroed();
                !duplicated && (!self.scene.long_enough(pack, &self.before) || tree)
            }
            _ => false,
        }
    }

    /// All of a pack is other bytes: whichever tree is read, it is damaged.
    fn is_swapped_or_zeroed(&self) -> bool {
        let all = matches!(self.cell.action, Action::Swapped(_) | Action::Zeroed(0, _));
        all || self.cell.action == Action::Foreign
    }

    /// Data that is damaged in a pack of full length: only reading it tells.
    fn beyond_a_backup(&self) -> bool {
        let silent = |pack: &Digest| {
            !self.scene.has_trees(*pack) && self.scene.long_enough(*pack, &self.before)
        };
        self.cell.place.key.kind() == ObjectKind::Pack && self.lost.iter().any(silent)
    }

    fn others_are_untouched(&mut self) {
        let root = self.folder.path().join("repository");
        for (key, bytes) in &self.before {
            let now = std::fs::read(file_of(&root, key)).ok();
            if now.as_ref() != Some(bytes) {
                self.faults.push(format!("{key} was changed or removed"));
            }
        }
    }
}

fn restore(
    repository: &Repository,
    snapshot: Digest,
    below: &Path,
    target: &Path,
) -> Result<RestoreOutcome, backup::Error> {
    let index = repository.load_index()?.value;
    let tree = repository.load_snapshot(snapshot)?.snapshot.tree;
    let options = RestoreOptions {
        below: Some(below.to_owned()),
        ..RestoreOptions::into_folder(target, &GO_ON, &|_| {})
    };
    backup::restore(repository, &index, tree, &options)
}
