//! What is kept is whole after a prune, after one that died at any step, and after one that had no room; and nothing is
//! removed where anything is missing. The model knows what each snapshot holds.

use super::*;
use crate::index::{BlobKind, IndexFile};
use crate::repository::hash;
use crate::testing::{PASSWORD, author, repository, repository_in};
use crate::tree::{self, Node, NodeKind};
use crate::{CheckOptions, Finding, LockMode, Snapshot, Writer};
use model::{ErrorKind, ObjectKey};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Fault, Faulty, Memory, Operation, Store};

/// A snapshot of one directory below the root: files by name, each of blobs by number.
type Files = BTreeMap<u8, Vec<u16>>;

const SMALL: WriterOptions =
    WriterOptions { pack_size: 4096, compression: crate::Compression::Auto };

/// A blob of up to some hundred bytes; some can be compressed.
fn blob(n: u16) -> Vec<u8> {
    let length = 40 + usize::from(n * 37 % 400);
    let byte = |at: usize| match n % 3 {
        0 => u8::try_from(n % 251).unwrap(),
        _ => {
            hash(&[n.to_le_bytes(), u16::try_from(at / 32).unwrap().to_le_bytes()].concat()).0
                [at % 32]
        }
    };
    n.to_le_bytes().into_iter().chain((0..length).map(byte)).collect()
}

/// Stores a snapshot, relying on what `index` knows.
fn snapshot(repository: &Repository, index: Index, second: i64, files: &Files) -> Digest {
    let lock = repository.lock(LockMode::Shared).unwrap();
    let writer = Writer::new(&lock, index, SMALL).unwrap();
    let mut nodes = Vec::new();
    for (name, content) in files {
        let mut file = Node::new(format!("file {name:03}").as_bytes(), NodeKind::File);
        for n in content {
            let bytes = blob(*n);
            file.size += bytes.len() as u64;
            writer.save(BlobKind::Data, hash(&bytes), &bytes).unwrap();
        }
        file.content = Some(content.iter().map(|n| hash(&blob(*n))).collect());
        nodes.push(file);
    }
    let below = tree::encode(&nodes);
    writer.save(BlobKind::Tree, hash(&below), &below).unwrap();
    let mut dir = Node::new(b"dir", NodeKind::Dir);
    dir.subtree = Some(hash(&below));
    let root = tree::encode(&[dir]);
    writer.save(BlobKind::Tree, hash(&root), &root).unwrap();
    writer.finish().unwrap();
    let time = jiff::Timestamp::from_second(second).unwrap();
    repository.save_snapshot(&Snapshot { time, ..Snapshot::of_tree(hash(&root)) }).unwrap()
}

/// As a backup does: everything that is known is relied on.
fn back_up(repository: &Repository, second: i64, files: &Files) -> Digest {
    snapshot(repository, repository.load_index().unwrap().value, second, files)
}

fn options(max_unused: MaxUnused) -> PruneOptions<'static> {
    static GO_ON: AtomicBool = AtomicBool::new(false);
    static NONE: std::sync::LazyLock<HashSet<Digest>> = std::sync::LazyLock::new(HashSet::new);
    PruneOptions {
        max_unused,
        max_repack: None,
        small: None,
        trees_only: false,
        without: &NONE,
        pending: &[],
        writer: SMALL,
        threads: 2,
        stop: &GO_ON,
        events: &|_| {},
    }
}

fn try_prune(repository: &Repository, options: &PruneOptions<'_>) -> Result<PruneFigures, Error> {
    let lock = repository.lock(LockMode::Exclusive)?;
    let plan = repository.plan_prune(&lock, options)?;
    let figures = plan.figures();
    plan.write()?.carry_out(&lock, options)?;
    Ok(figures)
}

fn prune(repository: &Repository, max_unused: MaxUnused) -> PruneFigures {
    try_prune(repository, &options(max_unused)).unwrap()
}

fn plan(repository: &Repository, max_unused: MaxUnused) -> PruneFigures {
    let lock = repository.lock(LockMode::Shared).unwrap();
    repository.plan_prune(&lock, &options(max_unused)).unwrap().figures()
}

fn forget(repository: &Repository, snapshots: &[Digest]) {
    let lock = repository.lock(LockMode::Exclusive).unwrap();
    repository.forget(&lock, snapshots, |_, outcome| outcome.unwrap()).unwrap();
}

/// Nothing is damaged, and every snapshot gives back what the model says.
fn holds(repository: &Repository, kept: &[(Digest, Files)]) {
    let report = repository.check(CheckOptions { read_data: true, threads: 2 }, &|_| {}).unwrap();
    let harmless = |found: &Finding| matches!(found, Finding::PackUnindexed { .. });
    assert!(report.findings.iter().all(harmless), "{:?}", report.findings);
    let index = repository.load_index().unwrap().value;
    for (id, files) in kept {
        let root = repository.load_snapshot(*id).unwrap().snapshot.tree;
        let [dir] = &repository.read_tree(&index, &root).unwrap()[..] else { panic!("one dir") };
        let nodes = repository.read_tree(&index, &dir.subtree.unwrap()).unwrap();
        assert_eq!(nodes.len(), files.len());
        for (node, content) in nodes.iter().zip(files.values()) {
            let ids = node.content.as_deref().unwrap();
            assert_eq!(ids.len(), content.len());
            for (id, n) in ids.iter().zip(content) {
                let read = repository.load_blob(&index, BlobKind::Data, id).unwrap();
                assert_eq!(read, blob(*n));
            }
        }
    }
}

/// Everything but locks, by name.
fn objects(store: &dyn Store) -> Vec<store::Listed> {
    let kinds = [ObjectKind::Pack, ObjectKind::Index, ObjectKind::Snapshot, ObjectKind::Key];
    let mut all: Vec<_> = kinds.into_iter().flat_map(|kind| store.list(kind).unwrap()).collect();
    all.sort_unstable();
    all
}

/// Distinct blobs that the snapshots need.
fn needed(repository: &Repository, kept: &[(Digest, Files)]) -> usize {
    let data: HashSet<u16> =
        kept.iter().flat_map(|(_, files)| files.values().flatten().copied()).collect();
    let index = repository.load_index().unwrap().value;
    let mut trees = HashSet::new();
    for (id, _) in kept {
        let root = repository.load_snapshot(*id).unwrap().snapshot.tree;
        trees.extend(repository.read_tree(&index, &root).unwrap()[0].subtree);
        trees.insert(root);
    }
    data.len() + trees.len()
}

fn any_files() -> impl Strategy<Value = Files> {
    let content = prop::collection::vec(0u16..120, 0..12);
    prop::collection::btree_map(0u8..12, content, 0..8)
}

fn many(blobs: std::ops::Range<u16>) -> Files {
    blobs.map(|n| (u8::try_from(n % 8).unwrap(), n)).fold(Files::new(), |mut files, (name, n)| {
        files.entry(name).or_default().push(n);
        files
    })
}

/// A repository as [`with_waste`] makes it, of which nobody else has anything: made once, copied often.
fn wasteful() -> (Arc<Faulty<Memory>>, Repository, Vec<(Digest, Files)>) {
    type Made = (Vec<(ObjectKey, Vec<u8>)>, Vec<(Digest, Files)>);
    static MADE: std::sync::LazyLock<Made> = std::sync::LazyLock::new(|| {
        let repository = repository();
        let kept = with_waste(&repository);
        let store = repository.store();
        let mut keys: Vec<_> = objects(store.as_ref()).iter().map(|listed| listed.key).collect();
        keys.push(ObjectKey::Config);
        (keys.into_iter().map(|key| (key, store.get(&key, u64::MAX).unwrap())).collect(), kept)
    });
    let (objects, kept) = &*MADE;
    let store = Arc::new(Faulty::new(Memory::new()));
    objects.iter().for_each(|(key, bytes)| store.put(key, bytes).unwrap());
    let repository = reopened(&store);
    (store, repository, kept.clone())
}

fn reopened(store: &Arc<Faulty<Memory>>) -> Repository {
    let shared: Arc<Faulty<Memory>> = Arc::clone(store);
    Repository::open(shared, PASSWORD, author()).unwrap()
}

/// As after half an hour, or by `restic unlock`.
fn unlock(store: &dyn Store) {
    for lock in store.list(ObjectKind::Lock).unwrap() {
        store.remove(&lock.key).unwrap();
    }
}

/// Each of them at the same time: a lock is mostly waiting.
fn side_by_side<T: Send, A: Send>(
    of: impl IntoIterator<Item = A>,
    each: impl Fn(A) -> T + Sync,
) -> Vec<T> {
    let each = &each;
    std::thread::scope(|scope| {
        let begun: Vec<_> = of.into_iter().map(|one| scope.spawn(move || each(one))).collect();
        begun.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

/// Three snapshots that share some; the first and the last are forgotten.
fn with_waste(repository: &Repository) -> Vec<(Digest, Files)> {
    let all = [many(0..90), many(40..120), many(100..200)];
    let ids: Vec<_> = (0..).zip(&all).map(|(n, files)| back_up(repository, n, files)).collect();
    forget(repository, &[ids[0], ids[2]]);
    vec![(ids[1], all[1].clone())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn a_prune_removes_what_nobody_needs_and_nothing_else(
        all in prop::collection::vec((any_files(), any::<bool>(), any::<bool>()), 1..7),
        max_unused in prop_oneof![
            2 => Just(MaxUnused::Bytes(0)), 1 => Just(MaxUnused::default()), 1 => Just(MaxUnused::Unlimited),
        ],
    ) {
        let repository = repository();
        let (mut kept, mut gone) = (Vec::new(), Vec::new());
        for (n, (files, keep, alone)) in (0..).zip(all) {
            // Who knew nothing of the others stores everything again.
            let known = if alone { Index::default() } else { repository.load_index().unwrap().value };
            let id = snapshot(&repository, known, n, &files);
            if keep { kept.push((id, files)) } else { gone.push(id) }
        }
        gone.retain(|id| kept.iter().all(|(kept, _)| kept != id));
        forget(&repository, &gone);
        let figures = prune(&repository, max_unused);
        holds(&repository, &kept);
        prop_assert_eq!(figures.used_blobs, needed(&repository, &kept) as u64);
        prop_assert_eq!(figures.snapshots, kept.len());
        let index = repository.load_index().unwrap().value;
        let packs = repository.names(ObjectKind::Pack).unwrap();
        prop_assert!(packs.iter().all(|pack| index.has_pack(pack)), "nothing is left unindexed");
        prop_assert_eq!(index.packs().count(), packs.len());
        let left: u64 = index.packs().map(|(_, summary)| u64::from(summary.blobs)).sum();
        if max_unused == MaxUnused::Bytes(0) {
            prop_assert_eq!(left, figures.used_blobs, "each once, and nothing else");
        }
        let again = plan(&repository, max_unused);
        prop_assert!(again.bytes_freed() == 0 || again.packs_removed == 0, "{:?}", again);
        prop_assert_eq!((again.used_blobs, again.used_bytes), (figures.used_blobs, figures.used_bytes));
        prop_assert!(max_unused == MaxUnused::Unlimited || again.is_nothing(), "{:?}", again);
    }
}

/// Dies at each step that changes something, before and after it.
#[test]
fn a_prune_may_die_at_any_step_and_the_next_one_ends_it() {
    let mut steps = 0;
    for (fault, operation) in [
        (Fault::Crash, Operation::Put),
        (Fault::CrashAfter, Operation::Put),
        (Fault::Crash, Operation::Remove),
        (Fault::CrashAfter, Operation::Remove),
    ] {
        let died = side_by_side(1..40, |nth| {
            let (store, repository, kept) = wasteful();
            store.fail_nth(Some(operation), nth, fault);
            let outcome = try_prune(&repository, &options(MaxUnused::Bytes(0)));
            let died = store.has_crashed();
            assert!(died || outcome.is_ok(), "{outcome:?}");
            store.revive();
            unlock(store.as_ref());
            let repository = reopened(&store);
            holds(&repository, &kept);
            prune(&repository, MaxUnused::Bytes(0));
            holds(&repository, &kept);
            let index = repository.load_index().unwrap().value;
            let left: u64 = index.packs().map(|(_, summary)| u64::from(summary.blobs)).sum();
            assert_eq!(left, needed(&repository, &kept) as u64);
            died
        });
        assert_eq!(died.last(), Some(&false), "there are more steps");
        steps += died.into_iter().filter(|died| *died).count();
    }
    assert!(steps > 25, "only {steps} steps were died at");
}

#[test]
fn whatever_operation_fails_nothing_that_is_kept_is_lost() {
    for (fault, step) in
        [(Fault::Unavailable, 3), (Fault::LostAnswer, 5), (Fault::FlipBit(1000), 5)]
    {
        side_by_side((1..150).step_by(step), |nth| {
            let (store, repository, kept) = wasteful();
            store.fail_nth(None, nth, fault);
            let outcome = try_prune(&repository, &options(MaxUnused::Bytes(0)));
            store.revive();
            unlock(store.as_ref());
            holds(&repository, &kept);
            if outcome.is_err() {
                prune(&repository, MaxUnused::Bytes(0));
                holds(&repository, &kept);
            }
        });
    }
}

#[test]
fn a_full_store_loses_nothing_and_room_is_made_without_packing_anew() {
    side_by_side([0, 500, 5_000, 10_000, 15_000, 20_000, 25_000], |room| {
        let (store, repository, kept) = wasteful();
        store.full_after(Some(room));
        let outcome = try_prune(&repository, &options(MaxUnused::Bytes(0)));
        let kind = outcome.as_ref().map_err(Error::kind).err();
        assert!(kind.is_none_or(|kind| kind == ErrorKind::Full), "{outcome:?}");
        assert!(room > 500 || kind.is_some());
        store.full_after(None);
        holds(&repository, &kept);
        // Room for a lock and indexes, not for packs.
        store.full_after(Some(12_000));
        let spare = PruneOptions { max_repack: Some(0), ..options(MaxUnused::Bytes(0)) };
        let figures = try_prune(&repository, &spare).unwrap();
        assert_eq!(figures.packs_repacked, 0);
        assert!(figures.packs_removed > 0 || outcome.is_ok());
        store.full_after(None);
        holds(&repository, &kept);
    });
}

#[test]
fn where_anything_used_is_missing_or_damaged_nothing_is_removed() {
    let repository = repository();
    let kept = with_waste(&repository);
    let store = Arc::clone(repository.store());
    let index = repository.load_index().unwrap().value;
    let root = repository.load_snapshot(kept[0].0).unwrap().snapshot.tree;
    let tree_pack = index.find(BlobKind::Tree, &root).unwrap().pack;
    let data_pack = index.find(BlobKind::Data, &hash(&blob(50))).unwrap().pack;
    let refuses = |what: &str| {
        let before = objects(store.as_ref());
        let refused = try_prune(&repository, &options(MaxUnused::Bytes(0))).unwrap_err();
        assert!(matches!(refused, Error::NotWhole { .. }), "{what}: {refused}");
        assert!(refused.to_string().contains("nothing was removed"));
        assert_eq!(refused.kind(), ErrorKind::Corrupt);
        let after = objects(store.as_ref());
        assert!(before.iter().all(|object| after.contains(object)), "{what}");
    };
    let mut keys = vec![ObjectKey::Pack(tree_pack), ObjectKey::Pack(data_pack)];
    keys.extend(repository.names(ObjectKind::Index).unwrap().into_iter().map(ObjectKey::Index));
    keys.push(ObjectKey::Snapshot(kept[0].0));
    for key in keys {
        let good = store.get(&key, u64::MAX).unwrap();
        let put = |bytes: &[u8]| {
            store.remove(&key).unwrap();
            store.put(&key, bytes).unwrap();
        };
        put(&good[..good.len() - 1]);
        refuses(&format!("{key} is cut short"));
        let mut bad = good.clone();
        bad.iter_mut().for_each(|byte| *byte ^= 1);
        put(&bad);
        refuses(&format!("{key} is damaged"));
        if !matches!(key, ObjectKey::Snapshot(_)) {
            store.remove(&key).unwrap();
            // An index of forgotten snapshots alone may be missing.
            if matches!(key, ObjectKey::Pack(_)) {
                refuses(&format!("{key} is gone"));
            }
        }
        put(&good);
    }
    holds(&repository, &kept);
    // A snapshot that cannot be read can be forgotten, by its name.
    let junk = hash(b"junk");
    store.put(&ObjectKey::Snapshot(junk), b"junk").unwrap();
    refuses("a snapshot of which nothing is known");
    forget(&repository, &[repository.find_snapshot_name(&junk.to_hex()[..8]).unwrap()]);
    prune(&repository, MaxUnused::Bytes(0));
    holds(&repository, &kept);
}

#[test]
fn of_two_copies_the_whole_one_survives_whichever_is_damaged() {
    for max_unused in [MaxUnused::Bytes(0), MaxUnused::Unlimited] {
        for damaged in 0..2 {
            let store = Arc::new(Memory::new());
            let shared: Arc<Memory> = Arc::clone(&store);
            let repository = repository_in(shared);
            let files = [many(0..30), many(20..60)];
            let ids = [0, 1].map(|n| {
                snapshot(
                    &repository,
                    Index::default(),
                    i64::from(n),
                    &files[usize::try_from(n).unwrap()],
                )
            });
            let index = repository.load_index().unwrap().value;
            for n in 20..30 {
                let copies: Vec<_> = index.copies(BlobKind::Data, &hash(&blob(n))).collect();
                assert_eq!(copies.len(), 2);
                let at = copies[damaged];
                let key = ObjectKey::Pack(at.pack);
                let mut bytes = store.get(&key, u64::MAX).unwrap();
                bytes[at.blob.offset as usize + 20] ^= 1;
                store.overwrite(&key, &bytes);
            }
            prune(&repository, max_unused);
            let index = repository.load_index().unwrap().value;
            for n in 0..60 {
                let read = repository.load_blob(&index, BlobKind::Data, &hash(&blob(n))).unwrap();
                assert_eq!(read, blob(n), "{max_unused:?}, copy {damaged}");
            }
            assert!(ids.iter().all(|id| repository.load_snapshot(*id).is_ok()));
        }
    }
}

#[test]
fn nobody_prunes_beside_others() {
    let repository = repository();
    with_waste(&repository);
    let before = objects(repository.store().as_ref());
    let backup = repository.lock(LockMode::Shared).unwrap();
    let refused = try_prune(&repository, &options(MaxUnused::default()));
    assert!(matches!(refused, Err(Error::Locked { .. })));
    let options = options(MaxUnused::default());
    let rehearsal = repository.plan_prune(&backup, &options).unwrap();
    assert!(!rehearsal.figures().is_nothing());
    assert!(matches!(rehearsal.write(), Err(Error::NotAlone { .. })));
    let removals = Removals { indexes: vec![], packs: vec![hash(b"x")] };
    assert!(matches!(removals.carry_out(&backup, &options), Err(Error::NotAlone { .. })));
    drop(backup);
    let lock = repository.lock(LockMode::Exclusive).unwrap();
    let plan = repository.plan_prune(&lock, &options).unwrap();
    lock.lose();
    assert!(matches!(plan.write(), Err(Error::LockLost { .. })));
    assert_eq!(objects(repository.store().as_ref()), before);
}

#[test]
fn a_prune_that_is_stopped_leaves_everything_whole() {
    let ended = side_by_side((0..70).step_by(2), |after| {
        let (_, repository, kept) = wasteful();
        let (stop, seen) = (AtomicBool::new(after == 0), std::sync::atomic::AtomicU64::new(0));
        let events = |_: PruneEvent| {
            stop.fetch_or(seen.fetch_add(1, Ordering::Relaxed) + 1 == after, Ordering::Relaxed);
        };
        let options = PruneOptions { stop: &stop, events: &events, ..options(MaxUnused::Bytes(0)) };
        let outcome = try_prune(&repository, &options);
        holds(&repository, &kept);
        match outcome {
            Ok(_) => true,
            Err(Error::Interrupted) => false,
            Err(other) => panic!("{other}"),
        }
    });
    assert_eq!((ended.first(), ended.last()), (Some(&false), Some(&true)));
}

#[test]
fn what_pending_snapshots_need_is_kept() {
    let below: Arc<dyn Store> = Arc::new(Memory::new());
    let repository = repository_in(Arc::clone(&below));
    let old = back_up(&repository, 0, &many(0..60));
    let kept = vec![(back_up(&repository, 1, &many(50..70)), many(50..70))];
    // On its way: shares some with one that is forgotten meanwhile.
    let above: Arc<dyn Store> = Arc::new(Memory::new());
    let on_its_way =
        repository.seen_through(Arc::new(store::Overlay::new(above, Arc::clone(&below))));
    let files = many(10..130);
    let id = back_up(&on_its_way, 2, &files);
    forget(&repository, &[old]);
    let index = on_its_way.load_index().unwrap().value;
    let tree = on_its_way.load_snapshot(id).unwrap().snapshot.tree;
    let trees = [tree];
    let pending = [Pending { repository: &on_its_way, index: &index, trees: &trees }];
    let with_pending = PruneOptions { pending: &pending, ..options(MaxUnused::Bytes(0)) };
    let figures = try_prune(&repository, &with_pending).unwrap();
    assert!(figures.unused_blobs >= 10, "{figures:?}");
    holds(&repository, &kept);
    let expected = [(id, files), kept[0].clone()];
    let index = on_its_way.load_index().unwrap().value;
    for n in 10..130 {
        assert_eq!(on_its_way.load_blob(&index, BlobKind::Data, &hash(&blob(n))).unwrap(), blob(n));
    }
    assert!(!repository.load_index().unwrap().value.has(BlobKind::Data, &hash(&blob(5))));
    // Pending without its other half is a repository with something missing.
    let nothing = Index::default();
    let torn = [Pending { repository: &on_its_way, index: &nothing, trees: &trees }];
    let torn = PruneOptions { pending: &torn, ..options(MaxUnused::Bytes(0)) };
    assert!(matches!(try_prune(&repository, &torn), Err(Error::NotWhole { .. })));
    prune(&repository, MaxUnused::Bytes(0));
    holds(&repository, &expected[1..]);
}

#[test]
fn a_rehearsal_of_forgetting_counts_what_would_be_forgotten() {
    let repository = repository();
    let first = back_up(&repository, 0, &many(0..90));
    back_up(&repository, 1, &many(60..120));
    let without = HashSet::from([first]);
    let lock = repository.lock(LockMode::Shared).unwrap();
    let options = PruneOptions { without: &without, ..options(MaxUnused::Bytes(0)) };
    let rehearsed = repository.plan_prune(&lock, &options).unwrap().figures();
    drop(lock);
    forget(&repository, &[first]);
    assert_eq!(prune(&repository, MaxUnused::Bytes(0)), rehearsed);
    assert_eq!(rehearsed.snapshots, 1);
}

#[test]
fn packs_that_no_index_names_and_indexes_of_packs_that_are_gone_are_cleared_away() {
    let (_, repository, kept) = wasteful();
    let store = repository.store();
    // A run that died before its index.
    let lock = repository.lock(LockMode::Shared).unwrap();
    let writer = Writer::new(&lock, Index::default(), SMALL).unwrap();
    for n in 300..420 {
        writer.save(BlobKind::Data, hash(&blob(n)), &blob(n)).unwrap();
    }
    drop((writer, lock));
    // A pack that nobody needs is gone, without anybody having told the index.
    let index = repository.load_index().unwrap().value;
    let unneeded = index.find(BlobKind::Data, &hash(&blob(150))).unwrap().pack;
    store.remove(&ObjectKey::Pack(unneeded)).unwrap();
    let figures = prune(&repository, MaxUnused::Bytes(0));
    assert!(figures.packs_unindexed > 0 && figures.bytes_unindexed > 0);
    assert_eq!(figures.packs_missing, 1);
    let report = repository.check(CheckOptions { read_data: true, threads: 2 }, &|_| {}).unwrap();
    assert_eq!(report.findings.len(), 0, "{:?}", report.findings);
    holds(&repository, &kept);
}

#[test]
fn many_small_indexes_become_one() {
    let repository = repository();
    let kept: Vec<_> = (0..30u16)
        .map(|n| {
            let files = many(n * 3..n * 3 + 4);
            (back_up(&repository, n.into(), &files), files)
        })
        .collect();
    assert_eq!(repository.names(ObjectKind::Index).unwrap().len(), 30);
    // Their packs stay: only the indexes are many.
    let options = PruneOptions { small: Some(0), ..options(MaxUnused::Unlimited) };
    try_prune(&repository, &options).unwrap();
    let [index] = repository.names(ObjectKind::Index).unwrap()[..] else { panic!("several") };
    let file: IndexFile = repository.load_document(ObjectKey::Index(index), u64::MAX).unwrap();
    assert!(!file.packs.is_empty());
    holds(&repository, &kept);
    let before = objects(repository.store().as_ref());
    try_prune(&repository, &options).unwrap();
    assert_eq!(objects(repository.store().as_ref()), before, "there is nothing left to do");
}

#[test]
fn a_blob_of_which_no_copy_can_be_read_stops_the_prune_before_anything_is_removed() {
    let store = Arc::new(Memory::new());
    let shared: Arc<Memory> = Arc::clone(&store);
    let repository = repository_in(shared);
    with_waste(&repository);
    let at = repository.load_index().unwrap().value.find(BlobKind::Data, &hash(&blob(70))).unwrap();
    let key = ObjectKey::Pack(at.pack);
    let mut bytes = store.get(&key, u64::MAX).unwrap();
    bytes[at.blob.offset as usize + 20] ^= 1;
    store.overwrite(&key, &bytes);
    let before = objects(store.as_ref());
    let refused = try_prune(&repository, &options(MaxUnused::Bytes(0))).unwrap_err();
    let Error::NotWhole { first, .. } = refused else { panic!("{refused}") };
    assert!(
        matches!(*first, Error::BlobDamaged { blob: damaged, .. } if damaged == hash(&blob(70)))
    );
    let after = objects(store.as_ref());
    assert!(before.iter().all(|object| after.contains(object)));
}

/// A store that says yes and has nothing: what was written is looked for before anything relies on it.
#[test]
fn what_was_written_is_looked_for_before_anything_is_removed() {
    let (store, repository, _) = wasteful();
    let before = objects(store.as_ref());
    let lose = |event: PruneEvent| {
        if event == PruneEvent::Indexing {
            let packs = store.list(ObjectKind::Pack).unwrap().into_iter();
            let new = packs.filter(|pack| !before.contains(pack));
            new.for_each(|pack| store.remove(&pack.key).unwrap());
        }
    };
    let options = PruneOptions { events: &lose, ..options(MaxUnused::Bytes(0)) };
    let refused = try_prune(&repository, &options).unwrap_err();
    assert!(matches!(refused, Error::NotWhole { .. }), "{refused}");
    let after = objects(store.as_ref());
    assert!(before.iter().all(|object| after.contains(object)));
}
