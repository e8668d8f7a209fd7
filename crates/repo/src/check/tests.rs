//! What check finds, and that it finds it by name.

use super::*;
use crate::index::{IndexFile, IndexedPack};
use crate::repository::hash;
use crate::testing::repository;
use crate::tree::{self, Node, NodeKind};
use crate::{LockMode, Snapshot, Writer, WriterOptions};
use model::ObjectKey;

const FULL: CheckOptions = CheckOptions { read_data: true, threads: 2 };

/// One snapshot of a directory with one file of `blobs` blobs.
fn with_one_file(repository: &Repository, blobs: usize) -> Digest {
    let lock = repository.lock(LockMode::Shared).unwrap();
    let options = WriterOptions { pack_size: 1024, ..WriterOptions::default() };
    let writer = Writer::new(&lock, Index::default(), options).unwrap();
    let mut file = Node::new(b"file", NodeKind::File);
    let mut content = Vec::new();
    for n in 0..blobs {
        let bytes = vec![u8::try_from(n).unwrap(); 300 + n];
        writer.save(BlobKind::Data, hash(&bytes), &bytes).unwrap();
        content.push(hash(&bytes));
        file.size += bytes.len() as u64;
    }
    file.content = Some(content);
    let text = tree::encode(&[file]);
    writer.save(BlobKind::Tree, hash(&text), &text).unwrap();
    writer.finish().unwrap();
    save_snapshot(repository, hash(&text))
}

fn save_snapshot(repository: &Repository, tree: Digest) -> Digest {
    repository.save_snapshot(&Snapshot::of_tree(tree)).unwrap()
}

fn check(repository: &Repository) -> CheckReport {
    repository.check(FULL, &|_| {}).unwrap()
}

#[test]
fn a_sound_repository_has_no_findings() {
    let repository = repository();
    with_one_file(&repository, 40);
    let report = check(&repository);
    assert_eq!(report.findings.len(), 0, "{:?}", report.findings);
    assert_eq!((report.snapshots, report.trees, report.packs_read), (1, 1, report.packs));
}

#[test]
fn a_flipped_bit_anywhere_in_a_pack_is_found_by_name() {
    let repository = repository();
    with_one_file(&repository, 6);
    for pack in repository.names(ObjectKind::Pack).unwrap() {
        let key = ObjectKey::Pack(pack);
        let good = repository.store().get(&key, u64::MAX).unwrap();
        for at in (0..good.len()).step_by(29) {
            let mut bad = good.clone();
            bad[at] ^= 4;
            repository.store().remove(&key).unwrap();
            repository.store().put(&key, &bad).unwrap();
            let report = check(&repository);
            assert!(report.damaged(), "byte {at}");
            assert!(report.findings.iter().any(|f| f.to_string().contains(&pack.to_hex())));
        }
        repository.store().remove(&key).unwrap();
        repository.store().put(&key, &good).unwrap();
    }
    assert!(!check(&repository).damaged());
}

#[test]
fn a_missing_pack_and_a_missing_index_are_named() {
    let repository = repository();
    let snapshot = with_one_file(&repository, 6);
    let pack = repository.names(ObjectKind::Pack).unwrap()[0];
    let key = ObjectKey::Pack(pack);
    let bytes = repository.store().get(&key, u64::MAX).unwrap();
    repository.store().remove(&key).unwrap();
    assert!(
        check(&repository)
            .findings
            .iter()
            .any(|f| matches!(f, Finding::PackMissing { pack: p } if *p == pack))
    );
    repository.store().put(&key, &bytes[..bytes.len() - 1]).unwrap();
    assert!(check(&repository).findings.iter().any(|f| matches!(f, Finding::PackLength { .. })));
    for index in repository.names(ObjectKind::Index).unwrap() {
        repository.store().remove(&ObjectKey::Index(index)).unwrap();
    }
    let report = check(&repository);
    assert!(
        report
            .findings
            .iter()
            .any(|f| matches!(f, Finding::BlobMissing { snapshot: s, .. } if *s == snapshot))
    );
}

#[test]
fn a_snapshot_of_a_tree_that_never_was_is_damage() {
    let repository = repository();
    save_snapshot(&repository, Digest([3; 32]));
    assert!(check(&repository).damaged());
}

#[test]
fn an_index_that_says_other_than_a_pack_is_found_though_the_blob_is_elsewhere() {
    let repository = repository();
    with_one_file(&repository, 6);
    let pack = repository.names(ObjectKind::Pack).unwrap()[0];
    let length = repository.store().length(&ObjectKey::Pack(pack)).unwrap();
    let mut blobs = repository.read_pack_header(pack, length).unwrap();
    blobs[0].id = Digest([5; 32]);
    for name in repository.names(ObjectKind::Index).unwrap() {
        let key = ObjectKey::Index(name);
        let mut file: IndexFile = repository.load_document(key, u64::MAX).unwrap();
        let lies = file.packs.iter_mut().find(|listed| listed.id == pack).unwrap();
        let elsewhere = IndexedPack { id: Digest([6; 32]), ..lies.clone() };
        *lies = IndexedPack::new(pack, &blobs);
        // The true blob is known from another pack too, seen first.
        file.packs.insert(0, elsewhere);
        repository.save_document(ObjectKind::Index, &file).unwrap();
        repository.store().remove(&key).unwrap();
    }
    let header =
        |finding: &Finding| matches!(finding, Finding::PackHeader { pack: p } if *p == pack);
    assert!(check(&repository).findings.iter().any(header));
}

#[test]
fn a_file_whose_parts_do_not_make_its_size_is_damage() {
    let repository = repository();
    with_one_file(&repository, 2);
    let lock = repository.lock(LockMode::Shared).unwrap();
    let writer = Writer::new(&lock, Index::default(), WriterOptions::default()).unwrap();
    let mut file = Node::new(b"file", NodeKind::File);
    file.content = Some(vec![hash(&[0; 300])]);
    file.size = 301;
    let text = tree::encode(&[file]);
    writer.save(BlobKind::Tree, hash(&text), &text).unwrap();
    writer.finish().unwrap();
    save_snapshot(&repository, hash(&text));
    let report = check(&repository);
    assert!(report.findings.iter().any(|f| f.to_string().contains("its size is 301")));
}

#[test]
fn leftover_packs_are_no_damage() {
    let repository = repository();
    let lock = repository.lock(LockMode::Shared).unwrap();
    let options = WriterOptions { pack_size: 64, ..WriterOptions::default() };
    let writer = Writer::new(&lock, Index::default(), options).unwrap();
    writer.save(BlobKind::Data, hash(b"x"), b"x").unwrap();
    for n in 0..9u8 {
        writer.save(BlobKind::Data, hash(&[n; 99]), &[n; 99]).unwrap();
    }
    drop(writer);
    let report = check(&repository);
    assert!(!report.damaged() && !report.findings.is_empty());
}
