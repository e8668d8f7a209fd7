//! Files that are mostly holes: told briefly, restored as they were, and not read again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{back_up, init, noise, restore};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use store::Memory;

/// Of the file: its list of blobs has more text than is held in memory as a whole.
const LENGTH: u64 = 64 << 30;

const ISLANDS: [u64; 3] = [5 << 30, 40 << 30, LENGTH - 9];

fn huge(path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(LENGTH).unwrap();
    ISLANDS.iter().for_each(|at| file.write_all_at(b"an island", *at).unwrap());
}

#[test]
fn a_huge_file_of_holes_comes_back_with_its_holes_and_is_known_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    std::fs::create_dir(&source).unwrap();
    huge(&source.join("huge"));
    std::fs::write(source.join("last"), "small").unwrap();
    let repository = init(Arc::new(Memory::new()));
    let first = back_up(&repository, &source);
    assert!(first.problems.is_empty(), "{:?}", first.problems);
    let added = first.summary.data_added;
    assert!(added > 9 << 20, "{added} bytes with the tree, which is not streamed then");

    let again = back_up(&repository, &source);
    assert!(again.problems.is_empty(), "{:?}", again.problems);
    let summary = &again.summary;
    assert_eq!((summary.files_unmodified, summary.files_changed, summary.files_new), (2, 0, 0));
    assert!(summary.data_added < 1 << 20, "the same text makes the same tree");

    let restored = restore(&repository, again.snapshot, &source, &target);
    assert!(restored.problems.is_empty(), "{:?}", restored.problems);
    let file = File::open(target.join("huge")).unwrap();
    let stat = file.metadata().unwrap();
    assert_eq!(stat.size(), LENGTH);
    assert!(stat.blocks() * 512 < 4 << 20, "the holes were filled: {} blocks", stat.blocks());
    for at in ISLANDS {
        let mut bytes = [1; 9];
        file.read_exact_at(&mut bytes, at).unwrap();
        assert_eq!(&bytes, b"an island");
        let mut before = [1; 4096];
        file.read_exact_at(&mut before, at - 4096).unwrap();
        assert_eq!(before, [0; 4096]);
    }
}

/// Its blocks may be asked for beforehand: what is zero after all gives them back.
#[test]
fn zeros_between_what_is_dense_come_back_as_holes() {
    const DENSE: usize = 9 << 20;
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    std::fs::create_dir(&source).unwrap();
    let content = [
        noise(1, DENSE),
        vec![0; 200 << 10],
        noise(2, DENSE),
        vec![0; 600 << 10],
        noise(3, DENSE),
        vec![0; 3 << 20],
        noise(4, 1),
    ]
    .concat();
    std::fs::write(source.join("image"), &content).unwrap();
    let repository = init(Arc::new(Memory::new()));
    let saved = back_up(&repository, &source);
    let restored = restore(&repository, saved.snapshot, &source, &target);
    assert!(restored.problems.is_empty(), "{:?}", restored.problems);
    let image = target.join("image");
    assert!(std::fs::read(&image).unwrap() == content);
    let stored = image.metadata().unwrap().blocks() * 512;
    // Three edges of dense parts, and the end, each with less than a hole's length of zeros.
    let most = 3 * DENSE as u64 + 4 * (64 << 10);
    assert!(stored <= most, "{stored} bytes on the medium, not {most} at most");
}
