//! The writer: each blob once, packs before indexes, and failures that everybody hears of. Runs on stores in memory, which break by script.

use super::*;
use crate::LockMode;
use crate::repository::hash;
use crate::testing::repository;
use store::{Fault, Faulty, Operation};

const SMALL: WriterOptions = WriterOptions { pack_size: 4096, compression: Compression::Auto };

fn blob(n: usize) -> Vec<u8> {
    hash(&n.to_le_bytes()).0.iter().copied().cycle().take(100 + n % 900).collect()
}

fn save_all(repository: &Repository, index: Index, range: std::ops::Range<usize>) -> Index {
    let lock = repository.lock(LockMode::Shared).unwrap();
    let writer = Writer::new(&lock, index, SMALL).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for n in range.clone() {
                    writer.save(BlobKind::Data, hash(&blob(n)), &blob(n)).unwrap();
                }
            });
        }
    });
    writer.finish().unwrap()
}

#[test]
fn every_blob_is_stored_once_and_found_by_index() {
    let repository = repository();
    save_all(&repository, Index::default(), 0..300);
    let index = repository.load_index().unwrap().value;
    assert_eq!(index.count(BlobKind::Data), 300);
    let listed: u32 = index.packs().map(|(_, summary)| summary.blobs).sum();
    assert_eq!(listed, 300, "three threads saved each blob, one of them did");
    for n in 0..300 {
        let at = index.find(BlobKind::Data, &hash(&blob(n))).unwrap();
        assert_eq!(repository.read_blob(&at).unwrap(), blob(n));
    }
}

#[test]
fn a_pack_that_a_blob_could_not_be_added_to_is_not_stored() {
    let repository = repository();
    let lock = repository.lock(LockMode::Shared).unwrap();
    let writer = Writer::new(&lock, Index::default(), SMALL).unwrap();
    let (bytes, id) = (blob(1), hash(&blob(1)));
    let failed = writer.shared.append(BlobKind::Data, 0, bytes.len(), |pack| {
        pack.append(BlobKind::Data, id, &SealedBlob { bytes: &bytes, plain_length: None })?;
        Err(Error::Memory { what: "blob", id })
    });
    assert!(matches!(failed, Err(Error::Memory { .. })));
    assert!(writer.shared.take_open(BlobKind::Data).unwrap().is_empty());
}

#[test]
fn a_stream_is_stored_once_and_not_asked_for_when_known() {
    let repository = repository();
    let lock = repository.lock(LockMode::Shared).unwrap();
    let writer = Writer::new(&lock, Index::default(), SMALL).unwrap();
    let (plain, asked) = (blob(3).repeat(50), AtomicU64::new(0));
    let write = |give: &mut dyn FnMut(&[u8])| {
        asked.fetch_add(1, Ordering::Relaxed);
        plain.chunks(100).for_each(give);
    };
    let length = plain.len() as u64;
    let save = || writer.save_stream(BlobKind::Tree, hash(&plain), length, &write).unwrap();
    assert!(matches!(save(), Saved::Added { stored } if stored < length));
    assert_eq!(save(), Saved::Known);
    assert_eq!(writer.save(BlobKind::Tree, hash(&plain), &plain).unwrap(), Saved::Known);
    assert_eq!(asked.into_inner(), 1);
    let index = writer.finish().unwrap();
    assert!(repository.load_blob(&index, BlobKind::Tree, &hash(&plain)).unwrap() == plain);
}

#[test]
fn known_blobs_add_nothing() {
    let repository = repository();
    let index = save_all(&repository, Index::default(), 0..50);
    let before = repository.names(ObjectKind::Pack).unwrap();
    let indexes = repository.names(ObjectKind::Index).unwrap();
    save_all(&repository, index, 0..50);
    assert_eq!(repository.names(ObjectKind::Pack).unwrap(), before);
    assert_eq!(repository.names(ObjectKind::Index).unwrap(), indexes);
}

#[test]
fn packs_of_an_interrupted_run_are_adopted_not_stored_again() {
    let repository = repository();
    let lock = repository.lock(LockMode::Shared).unwrap();
    let writer = Writer::new(&lock, Index::default(), SMALL).unwrap();
    for n in 0..600 {
        writer.save(BlobKind::Data, hash(&blob(n)), &blob(n)).unwrap();
    }
    drop(writer);
    let packs = repository.names(ObjectKind::Pack).unwrap();
    assert!(!packs.is_empty());
    let mut index = repository.load_index().unwrap().value;
    assert_eq!(index.packs().count(), 0, "nothing was indexed");
    assert_eq!(repository.adopt_packs(&lock, &mut index).unwrap().packs, packs.len());
    assert!(index.count(BlobKind::Data) > 50);
    let again = repository.load_index().unwrap().value;
    assert_eq!(again.count(BlobKind::Data), index.count(BlobKind::Data));
}

#[test]
fn a_full_store_fails_the_run_and_no_index_names_what_is_missing() {
    let store = Arc::new(store::Memory::with_capacity(30_000));
    let repository = crate::testing::repository_in(store);
    let lock = repository.lock(LockMode::Shared).unwrap();
    let writer = Writer::new(&lock, Index::default(), SMALL).unwrap();
    let mut failure = None;
    for n in 0..2000 {
        if let Err(error) = writer.save(BlobKind::Data, hash(&blob(n)), &blob(n)) {
            failure = Some(error);
            break;
        }
    }
    let failure = failure.or_else(|| writer.finish().err()).unwrap();
    assert_eq!(failure.kind(), model::ErrorKind::Full);
    let index = repository.load_index().unwrap().value;
    let stored = repository.names(ObjectKind::Pack).unwrap();
    assert!(index.packs().all(|(pack, _)| stored.contains(&pack)));
}

/// Packs that are on their way at that moment are not stored, and others wait for their buffers.
#[test]
fn when_a_store_is_full_everybody_hears_of_it_and_nobody_waits_for_ever() {
    for round in 0..8 {
        let store = Arc::new(store::Memory::with_capacity(30_000 + 500 * round));
        let repository = crate::testing::repository_in(store);
        let lock = repository.lock(LockMode::Shared).unwrap();
        let writer = Writer::new(&lock, Index::default(), SMALL).unwrap();
        let save_all = &|from: usize| {
            let mut all = (from..from + 2000).map(|n| (hash(&blob(n)), blob(n)));
            all.try_for_each(|(id, plain)| writer.save(BlobKind::Data, id, &plain).map(drop))
        };
        let heard = std::thread::scope(|scope| {
            let savers: Vec<_> =
                (0..6).map(|saver| scope.spawn(move || save_all(saver * 2000))).collect();
            savers.into_iter().filter_map(|saver| saver.join().unwrap().err()).count()
        });
        assert_eq!(heard, 6);
    }
}

#[test]
fn no_index_is_written_once_the_lock_is_lost() {
    let repository = repository();
    let lock = repository.lock(LockMode::Shared).unwrap();
    let writer = Writer::new(&lock, Index::default(), SMALL).unwrap();
    writer.save(BlobKind::Data, hash(&blob(1)), &blob(1)).unwrap();
    lock.lose();
    assert!(matches!(writer.finish(), Err(Error::LockLost { .. })));
    assert_eq!(repository.names(ObjectKind::Index).unwrap(), []);
}

#[test]
fn a_blob_that_could_not_be_sealed_fails_the_run() {
    let repository = repository();
    let lock = repository.lock(LockMode::Shared).unwrap();
    let writer = Writer::new(&lock, Index::default(), SMALL).unwrap();
    let id = hash(b"what was read");
    let broken = writer.save(BlobKind::Data, id, b"what memory made of it");
    assert!(matches!(broken, Err(Error::Memory { .. })));
    assert!(writer.save(BlobKind::Data, id, b"what was read").is_err());
    assert!(writer.finish().is_err(), "somebody may rely on the blob");
    assert_eq!(repository.names(ObjectKind::Index).unwrap(), []);
}

#[test]
fn blobs_of_packs_that_are_gone_or_cut_short_are_stored_again() {
    let repository = repository();
    let index = save_all(&repository, Index::default(), 0..300);
    let packs = repository.names(ObjectKind::Pack).unwrap();
    let keys = packs.iter().copied().map(ObjectKey::Pack).collect::<Vec<_>>();
    let bytes = repository.store().get(&keys[0], u64::MAX).unwrap();
    repository.store().remove(&keys[0]).unwrap();
    repository.store().put(&keys[0], &bytes[..bytes.len() / 2]).unwrap();
    repository.store().remove(&keys[1]).unwrap();
    drop(index);
    let mut index = repository.load_index().unwrap().value;
    let lock = repository.lock(LockMode::Shared).unwrap();
    let adopted = repository.adopt_packs(&lock, &mut index).unwrap();
    assert_eq!((adopted.packs, adopted.damaged.len()), (0, 2), "{adopted:?}");
    assert!(index.count(BlobKind::Data) < 300);
    save_all(&repository, index, 0..300);
    let index = repository.load_index().unwrap().value;
    for n in 0..300 {
        let read = repository.load_blob(&index, BlobKind::Data, &hash(&blob(n))).unwrap();
        assert_eq!(read, blob(n));
    }
}

#[test]
fn what_is_left_at_the_end_goes_into_one_pack() {
    let repository = repository();
    let lock = repository.lock(LockMode::Shared).unwrap();
    let writer = Writer::new(&lock, Index::default(), WriterOptions::default()).unwrap();
    for n in 0..40 {
        writer.save(BlobKind::Data, hash(&blob(n)), &blob(n)).unwrap();
    }
    let index = writer.finish().unwrap();
    assert_eq!(repository.names(ObjectKind::Pack).unwrap().len(), 1);
    for n in 0..40 {
        let at = index.find(BlobKind::Data, &hash(&blob(n))).unwrap();
        assert_eq!(repository.read_blob(&at).unwrap(), blob(n));
    }
    let [pack] = repository.names(ObjectKind::Pack).unwrap()[..] else { panic!() };
    let length = repository.store().length(&ObjectKey::Pack(pack)).unwrap();
    assert_eq!(repository.read_pack_header(pack, length).unwrap().len(), 40);
}

/// More than one index is written on the way, one while the last packs are stored, and one after them.
#[test]
fn indexes_name_every_pack_and_one_that_cannot_be_written_fails_the_run() {
    let blobs = 2 * UNWRITTEN_BLOBS + 3 * EARLY_BLOBS;
    let options = WriterOptions { pack_size: 64 << 10, compression: Compression::Off };
    for broken in [Some(1), Some(2), Some(3), Some(4), None] {
        let store = Faulty::new(store::Memory::new());
        if let Some(nth) = broken {
            store.fail_nth_of(Operation::Put, ObjectKind::Index, nth, Fault::Full);
        }
        let repository = crate::testing::repository_in(Arc::new(store));
        let lock = repository.lock(LockMode::Shared).unwrap();
        let writer = Writer::new(&lock, Index::default(), options).unwrap();
        let saved = (0..blobs).try_for_each(|n| {
            let plain = n.to_le_bytes();
            writer.save(BlobKind::Data, hash(&plain), &plain).map(drop)
        });
        let ended = saved.and_then(|()| writer.finish().map(drop));
        let index = repository.load_index().unwrap().value;
        let stored = repository.names(ObjectKind::Pack).unwrap();
        assert!(index.packs().all(|(pack, _)| stored.contains(&pack)));
        let written = repository.names(ObjectKind::Index).unwrap().len();
        if let Some(nth) = broken {
            assert_eq!(ended.unwrap_err().kind(), model::ErrorKind::Full, "{nth}");
            assert_eq!(written as u64, nth - 1);
        } else {
            ended.unwrap();
            assert_eq!((written, index.packs().count()), (4, stored.len()));
            assert_eq!(index.count(BlobKind::Data), blobs);
        }
    }
}
