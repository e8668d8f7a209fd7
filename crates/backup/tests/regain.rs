//! Packs that are lost for good: what the source still has of them is stored again and nothing else, what it has not is
//! named, and a snapshot without that is whole.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use backup::{LostFile, REPAIRED, RegainEvent, RegainOptions, Repair};
use common::{back_up, everything, init, noise, open, restore, same};
use model::{Digest, ObjectKey, ObjectKind};
use repo::{BlobKind, CheckOptions, LockMode, Repository, WithoutPacks, Writer, WriterOptions};
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use store::{Faulty, Memory, Operation, Store};

const OPTIONS: WriterOptions =
    WriterOptions { pack_size: 1 << 20, compression: repo::Compression::Auto };

/// A repository that has lost every `of`th pack of data, and what that means.
struct Loss {
    repository: Repository,
    packs: HashSet<Digest>,
    without: WithoutPacks,
    snapshots: Vec<Digest>,
}

impl Loss {
    fn new(store: Arc<dyn Store>, source: &Path, of: usize) -> Self {
        let repository = init(store);
        let snapshots = vec![back_up(&repository, source).snapshot];
        Self::of(&repository, snapshots, of)
    }

    fn of(repository: &Repository, snapshots: Vec<Digest>, of: usize) -> Self {
        let trees = repository.packs_of_trees().unwrap();
        let packs = repository.names(ObjectKind::Pack).unwrap();
        let data = packs.into_iter().filter(|pack| !trees.contains(pack));
        let packs: HashSet<Digest> = data.step_by(of).collect();
        for pack in &packs {
            repository.store().remove(&ObjectKey::Pack(*pack)).unwrap();
        }
        // What was read before is not to be remembered.
        let repository = open(Arc::clone(repository.store()));
        let without = repository.without_packs(&packs).unwrap();
        Self { repository, packs, without, snapshots }
    }

    fn lost_bytes(&self) -> u64 {
        self.without.lost.values().map(|length| u64::from(*length)).sum()
    }

    /// Reads what is lost again; answers what was stored, which files could not be read, and what is lost still.
    fn regain(&mut self) -> (u64, Vec<PathBuf>, Vec<LostFile>) {
        let lock = self.repository.lock(LockMode::Shared).unwrap();
        let index = std::mem::take(&mut self.without.index);
        let writer = Writer::new(&lock, index, OPTIONS).unwrap();
        let bytes = AtomicU64::new(0);
        let hear = |event: RegainEvent<'_>| {
            if let RegainEvent::Regained(more) = event {
                bytes.fetch_add(more, Ordering::Relaxed);
            }
        };
        let (stop, never) = (AtomicBool::new(false), AtomicBool::new(false));
        let options = RegainOptions {
            snapshots: &self.snapshots,
            lost: &self.without.lost,
            threads: 2,
            stop: &stop,
            events: &hear,
        };
        let problems = backup::regain(&self.repository, &writer, &options).unwrap();
        self.without.index = writer.finish().unwrap();
        let lost =
            backup::lost_files(&self.repository, &self.without.index, &self.snapshots, &never);
        let problems = problems.into_iter().map(|problem| problem.path).collect();
        (bytes.into_inner(), problems, lost.unwrap())
    }

    /// Has the repository name what it has, and nothing else.
    fn reindex(&self) {
        self.repository.save_indexes_without(&self.without.named_by, &self.packs).unwrap();
        for id in &self.without.named_by {
            self.repository.store().remove(&ObjectKey::Index(*id)).unwrap();
        }
    }

    fn is_clean(&self) {
        let options = CheckOptions { read_data: true, threads: 2 };
        let report = open(Arc::clone(self.repository.store())).check(options, &|_| {}).unwrap();
        let damage: Vec<_> = report.findings.iter().filter(|it| it.is_damage()).collect();
        assert!(damage.is_empty(), "{damage:?}");
    }
}

fn source() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    everything(&source);
    for n in 10..18 {
        std::fs::write(source.join(format!("file{n}")), noise(n, 700_000)).unwrap();
    }
    (folder, source)
}

#[test]
fn an_unchanged_source_gives_back_all_that_was_lost_and_nothing_else() {
    let (folder, source) = source();
    for of in [1, 2, 5] {
        let mut loss = Loss::new(Arc::new(Memory::new()), &source, of);
        let lost = loss.lost_bytes();
        assert!(lost > 0);
        let (bytes, problems, files) = loss.regain();
        assert_eq!((bytes, problems.as_slice(), files.as_slice()), (lost, &[][..], &[][..]));
        loss.reindex();
        loss.is_clean();
        let target = folder.path().join(format!("restored {of}"));
        restore(&loss.repository, loss.snapshots[0], &source, &target);
        same(&source, &target);
    }
}

/// What moved within its file is found by the way files are cut; what is gone is named with the file, and no other.
#[test]
fn of_a_source_that_has_changed_what_is_left_is_taken_and_the_rest_is_named() {
    let (folder, source) = source();
    let big = source.join("big");
    std::fs::write(&big, noise(50, 9 << 20)).unwrap();
    let mut loss = Loss::new(Arc::new(Memory::new()), &source, 1);
    let all = loss.lost_bytes();
    let (gone, changed) = (source.join("file10"), source.join("file11"));
    std::fs::remove_file(&gone).unwrap();
    std::fs::write(&changed, noise(99, 700_000)).unwrap();
    let shifted = [b"a few bytes before it".as_slice(), &noise(50, 9 << 20)].concat();
    std::fs::write(&big, shifted).unwrap();
    let link = source.join("file12");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("file13", &link).unwrap();
    let (bytes, problems, files) = loss.regain();
    assert_eq!(BTreeSet::from_iter(problems), BTreeSet::from([gone.clone(), link.clone()]));
    let named: BTreeSet<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
    assert_eq!(named, BTreeSet::from([gone, changed, link, big.clone()]));
    // Of the shifted file only the first piece is not what it was.
    let of_big = files.iter().find(|file| file.path == big).unwrap();
    assert_eq!((of_big.size, of_big.missing), (9 << 20, 1));
    let missing: u64 = loss
        .without
        .lost
        .iter()
        .filter(|((kind, id), _)| !loss.without.index.has(*kind, id))
        .map(|(_, length)| u64::from(*length))
        .sum();
    assert_eq!(bytes, all - missing);
    assert!(missing < 3 * 700_000 + (8 << 20) + 1);
    drop(folder);
}

#[test]
fn a_snapshot_without_what_is_lost_is_whole_and_says_what_it_stands_for() {
    let (folder, source) = source();
    let repository = init(Arc::new(Memory::new()));
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("kept"), noise(70, 100_000)).unwrap();
    let first = back_up(&repository, &source).snapshot;
    let second = back_up(&repository, &other).snapshot;
    let mut loss = Loss::of(&repository, vec![first, second], 1);
    let gone = [source.join("file10"), source.join("deep/er/st/small")];
    gone.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    let (_, _, files) = loss.regain();
    assert_eq!(files.len(), 2);
    assert!(files.iter().all(|file| file.snapshot == first && gone.contains(&file.path)));
    loss.reindex();
    let before = loss.repository.names(ObjectKind::Pack).unwrap();
    let lock = loss.repository.lock(LockMode::Shared).unwrap();
    let index = loss.repository.load_index().unwrap().value;
    let writer = Writer::new(&lock, index, OPTIONS).unwrap();
    let stop = AtomicBool::new(false);
    let mut repair = Repair::new(&loss.repository, &writer, &stop);
    let load = |id| loss.repository.load_snapshot(id).unwrap();
    let (old, whole) = (load(first), load(second));
    assert_eq!(repair.snapshot(&whole, "packmule test").unwrap(), None);
    let new = repair.snapshot(&old, "packmule test").unwrap().unwrap();
    assert_eq!(repair.snapshot(&old, "packmule test").unwrap().unwrap(), new);
    drop(repair);
    writer.finish().unwrap();
    assert_eq!((new.original, new.time), (Some(first), old.snapshot.time));
    assert_eq!((&new.paths, &new.hostname), (&old.snapshot.paths, &old.snapshot.hostname));
    assert!(new.tags.contains(&REPAIRED.to_owned()) && new.summary.is_none());
    let id = loss.repository.save_snapshot(&new).unwrap();
    let trees = loss.repository.names(ObjectKind::Pack).unwrap().len() - before.len();
    assert!((1..=2).contains(&trees), "only trees that changed were stored: {trees} packs");
    loss.repository.store().remove(&ObjectKey::Snapshot(first)).unwrap();
    drop(lock);
    loss.is_clean();
    // Exactly the source without what is lost; the folders' own times are those of the backup.
    let target = folder.path().join("restored");
    restore(&loss.repository, id, &source, &target);
    let mut differences = backup::compare(&source, &target).unwrap().differences;
    differences.retain(|it| {
        !(it.what.contains("modification time")
            && [Path::new("."), Path::new("deep/er/st")].contains(&it.path.as_path()))
    });
    assert!(differences.is_empty(), "{differences:#?}");
}

/// Wherever a store fails or the process ends, what is stored by then is taken in and not read again.
#[test]
fn an_interrupted_run_ends_at_once_and_the_next_one_goes_on() {
    let (_folder, source) = source();
    let store = Arc::new(Faulty::new(Memory::new()));
    let mut loss = Loss::new(Arc::<Faulty<Memory>>::clone(&store), &source, 1);
    let all = loss.lost_bytes();
    for nth in [1, 3] {
        let lock = loss.repository.lock(LockMode::Shared).unwrap();
        let index = std::mem::take(&mut loss.without.index);
        let writer = Writer::new(&lock, index, OPTIONS).unwrap();
        store.fail_nth_of(Operation::Put, ObjectKind::Pack, nth, store::Fault::Full);
        let stop = AtomicBool::new(false);
        let options = RegainOptions {
            snapshots: &loss.snapshots,
            lost: &loss.without.lost,
            threads: 3,
            stop: &stop,
            events: &|_| {},
        };
        let ended = backup::regain(&loss.repository, &writer, &options)
            .and_then(|_| writer.finish().map_err(Into::into));
        assert_eq!(ended.unwrap_err().kind(), model::ErrorKind::Full);
        drop(lock);
        loss.without.index = loss.repository.without_packs(&loss.packs).unwrap().index;
    }
    let stop = AtomicBool::new(true);
    {
        let lock = loss.repository.lock(LockMode::Shared).unwrap();
        let writer = Writer::new(&lock, repo::Index::default(), OPTIONS).unwrap();
        let options = RegainOptions {
            snapshots: &loss.snapshots,
            lost: &loss.without.lost,
            threads: 2,
            stop: &stop,
            events: &|_| {},
        };
        let ended = backup::regain(&loss.repository, &writer, &options);
        assert!(matches!(ended, Err(backup::Error::Interrupted)));
    }
    let lock = loss.repository.lock(LockMode::Shared).unwrap();
    let adopted = loss.repository.adopt_packs(&lock, &mut loss.without.index).unwrap();
    assert!(adopted.packs > 0, "nothing was stored before the failures");
    drop(lock);
    let (bytes, problems, files) = loss.regain();
    assert!(bytes > 0 && bytes < all, "{bytes} of {all}");
    assert!(problems.is_empty() && files.is_empty());
    loss.reindex();
    loss.is_clean();
    assert!(loss.without.lost.keys().all(|(kind, _)| *kind == BlobKind::Data));
}

/// Random numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// What somebody does to a file between a backup and the loss of it.
fn edit(dice: &mut Dice, path: &Path, other: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = dice.below(bytes.len().max(1));
    match dice.below(7) {
        0 => {
            let length = 1 + dice.below(5000);
            drop(bytes.splice(at..at, noise(dice.0, length)));
        }
        1 => bytes.truncate(at),
        2 => bytes.extend(noise(dice.0, 300_000)),
        3 => bytes.iter_mut().skip(at).take(100).for_each(|byte| *byte ^= 1),
        4 => drop(bytes.drain(..at)),
        5 => return std::fs::remove_file(path).unwrap(),
        _ => return std::fs::rename(other, path).unwrap_or_default(),
    }
    std::fs::write(path, bytes).unwrap();
}

/// Whatever happened to the source: a file is what it was, or it is named and left out.
#[test]
fn however_the_source_has_changed_nothing_of_now_gets_into_what_was_then() {
    for seed in 1..=12 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let folder = tempfile::tempdir().unwrap();
        let (source, then) = (folder.path().join("source"), folder.path().join("then"));
        for place in [&source, &then] {
            std::fs::create_dir_all(place.join("a/b")).unwrap();
        }
        let names: Vec<String> =
            (0..8).map(|n| ["", "a/", "a/b/"][n % 3].to_owned() + &n.to_string()).collect();
        for name in &names {
            let bytes = noise(dice.0, dice.below(4 << 20));
            std::fs::write(source.join(name), &bytes).unwrap();
            std::fs::write(then.join(name), &bytes).unwrap();
        }
        let mut loss = Loss::new(Arc::new(Memory::new()), &source, 1 + dice.below(3));
        for _ in 0..dice.below(8) {
            let [one, other] = [(); 2].map(|()| source.join(&names[dice.below(names.len())]));
            if one.exists() && one != other {
                edit(&mut dice, &one, &other);
            }
        }
        let (_, _, files) = loss.regain();
        loss.reindex();
        let lock = loss.repository.lock(LockMode::Shared).unwrap();
        let index = loss.repository.load_index().unwrap().value;
        let writer = Writer::new(&lock, index, OPTIONS).unwrap();
        let stop = AtomicBool::new(false);
        let named = loss.repository.load_snapshot(loss.snapshots[0]).unwrap();
        let repaired =
            Repair::new(&loss.repository, &writer, &stop).snapshot(&named, "test").unwrap();
        writer.finish().unwrap();
        assert_eq!(repaired.is_some(), !files.is_empty(), "seed {seed}");
        let point = match repaired {
            Some(new) => loss.repository.save_snapshot(&new).unwrap(),
            None => named.id,
        };
        drop(lock);
        let target = folder.path().join("restored");
        restore(&loss.repository, point, &source, &target);
        for name in &names {
            let (was, is) = (then.join(name), target.join(name));
            let lost = files.iter().any(|file| file.path == source.join(name));
            assert_eq!(is.exists(), !lost, "seed {seed}: {name}");
            assert!(
                lost || std::fs::read(&is).unwrap() == std::fs::read(&was).unwrap(),
                "seed {seed}: {name}"
            );
        }
    }
}
