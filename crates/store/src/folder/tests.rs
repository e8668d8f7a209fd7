//! What a folder refuses, keeps and leaves behind. What every store does is in the conformance suite.

use super::*;
use model::Digest;
use std::os::unix::fs::{PermissionsExt, symlink};

const KEY: ObjectKey = ObjectKey::Index(Digest([7; 32]));

fn fresh() -> (Folder, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = Folder::new(dir.path().join("repository"));
    store.create().unwrap();
    (store, dir)
}

#[test]
fn objects_lie_where_restic_looks_for_them_and_are_their_owners_alone() {
    let (store, _dir) = fresh();
    let pack = ObjectKey::Pack(Digest([0xab; 32]));
    for key in [ObjectKey::Config, KEY, pack] {
        store.put(&key, b"bytes").unwrap();
        let file = store.root().join(key.path());
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let shard = store.root().join("data/ab");
    assert_eq!(fs::metadata(shard).unwrap().permissions().mode() & 0o777, 0o700);
}

// From where they lie, or copied first.
#[test]
fn large_objects_are_stored_alike_wherever_they_lie_in_memory() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let store = Folder::new(dir.path());
    store.create().unwrap();
    let length = usize::try_from(LARGE_FROM).unwrap() + 5_000;
    let mut memory = direct::Aligned::new(length + 1);
    memory.bytes_mut().iter_mut().zip((0..=250).cycle()).for_each(|(byte, n)| *byte = n);
    for (n, from) in [(1, 0), (2, 1)] {
        let key = ObjectKey::Pack(Digest([n; 32]));
        let bytes = &memory.bytes()[from..from + length];
        assert_eq!(direct::is_aligned(bytes), from == 0);
        for _ in 0..2 {
            store.put(&key, bytes).unwrap();
        }
        assert!(store.get(&key, 4 << 20).unwrap() == bytes);
        let others = &memory.bytes()[1 - from..1 - from + length];
        assert!(matches!(store.put(&key, others), Err(Error::Conflict { .. })));
    }
}

#[test]
fn a_repository_whose_folder_is_gone_is_unavailable_and_not_empty() {
    let dir = tempfile::tempdir().unwrap();
    let store = Folder::new(dir.path().join("unmounted"));
    assert!(matches!(store.list(ObjectKind::Pack), Err(Error::Unavailable { .. })));
    assert!(matches!(store.put(&KEY, b"x"), Err(Error::Unavailable { .. })));
    assert!(!store.root().exists());
}

#[test]
fn a_drive_that_goes_away_makes_everything_unavailable_and_nothing_missing() {
    let (store, _dir) = fresh();
    store.put(&KEY, b"x").unwrap();
    fs::rename(store.root(), store.root().with_extension("elsewhere")).unwrap();
    let away = [
        store.put(&KEY, b"x"),
        store.get(&KEY, 9).map(drop),
        store.length(&KEY).map(drop),
        store.list(ObjectKind::Index).map(drop),
        store.remove(&KEY),
    ];
    for outcome in away {
        assert!(matches!(outcome, Err(Error::Unavailable { .. })), "{outcome:?}");
    }
    assert!(!store.root().exists());
    let config = store.get(&ObjectKey::Config, 9);
    assert!(matches!(config, Err(Error::NotFound { .. })));
}

#[test]
fn a_folder_that_was_removed_for_being_empty_is_made_again() {
    let (store, _dir) = fresh();
    fs::remove_dir(store.root().join("index")).unwrap();
    assert_eq!(store.list(ObjectKind::Index).unwrap(), []);
    store.put(&KEY, b"x").unwrap();
    assert_eq!(store.get(&KEY, 9).unwrap(), b"x");
}

#[test]
fn nothing_is_read_or_stored_through_a_link_at_an_objects_place() {
    let (store, dir) = fresh();
    let outside = dir.path().join("outside");
    for target_exists in [false, true] {
        if target_exists {
            fs::write(&outside, b"secret").unwrap();
        }
        let link = store.root().join(KEY.path());
        symlink(&outside, &link).unwrap();
        assert!(matches!(store.get(&KEY, 100), Err(Error::Denied { .. })));
        assert!(matches!(store.put(&KEY, b"secret"), Err(Error::Denied { .. })));
        assert!(store.list(ObjectKind::Index).unwrap().is_empty());
        assert_eq!(outside.exists(), target_exists);
        store.remove(&KEY).unwrap();
        assert_eq!(outside.exists(), target_exists);
    }
}

#[test]
fn a_pipe_or_folder_at_an_objects_place_is_refused_without_waiting() {
    let (store, _dir) = fresh();
    let place = store.root().join(KEY.path());
    fs::create_dir(&place).unwrap();
    assert!(matches!(store.get(&KEY, 100), Err(Error::Denied { .. })));
    fs::remove_dir(&place).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &place,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert!(matches!(store.open(&KEY), Err(Error::Denied { .. })));
    assert!(store.list(ObjectKind::Index).unwrap().is_empty());
}

#[test]
fn only_objects_in_their_own_place_are_listed() {
    let (store, _dir) = fresh();
    let id = Digest([0xab; 32]).to_hex();
    for stray in [
        format!("data/{id}"),
        format!("data/00/{id}"),
        format!("data/ab/{}", id.to_uppercase()),
        format!("data/ab/{id}.tmp"),
        "index/README".to_owned(),
        format!("index/.packmule-1-{:016x}.partial", 1),
    ] {
        fs::write(store.root().join(stray), b"x").unwrap();
    }
    for kind in ObjectKind::ALL {
        assert_eq!(store.list(kind).unwrap(), [], "{kind:?}");
    }
}

#[test]
fn stale_partial_files_go_and_young_ones_and_objects_stay() {
    let (store, _dir) = fresh();
    store.put(&KEY, b"object").unwrap();
    let partial = store.root().join("data/00/.packmule-1-0123456789abcdef.partial");
    fs::write(&partial, b"half").unwrap();
    let (written, day) = (SystemTime::now(), Duration::from_secs(86_400));
    assert_eq!(store.remove_stale(day, written).unwrap(), Stale::default());
    let before = written.checked_sub(day * 9).unwrap();
    assert_eq!(store.remove_stale(day, before).unwrap(), Stale::default());
    let later = written + day * 2;
    assert_eq!(store.remove_stale(day, later).unwrap(), Stale { files: 1, bytes: 4 });
    assert!(!partial.exists());
    assert_eq!(store.get(&KEY, 100).unwrap(), b"object");
}

#[test]
fn leftovers_of_yesterday_go_through_every_wrapper() {
    let (store, _dir) = fresh();
    store.put(&KEY, b"object").unwrap();
    let partial = store.root().join("data/00/.packmule-1-0123456789abcdef.partial");
    fs::write(&partial, b"half").unwrap();
    let wrapped = crate::Recorder::new(std::sync::Arc::new(store));
    wrapped.remove_leftovers().unwrap();
    assert!(partial.exists(), "its writer may be alive");
    let old = SystemTime::now().checked_sub(LEFTOVER * 2).unwrap();
    File::options().write(true).open(&partial).unwrap().set_modified(old).unwrap();
    wrapped.remove_leftovers().unwrap();
    assert!(!partial.exists());
    assert_eq!(wrapped.get(&KEY, 100).unwrap(), b"object");
}

#[test]
fn a_failed_store_leaves_no_file_behind() {
    let (store, _dir) = fresh();
    let mut wrong: &[u8] = b"other bytes";
    let key = ObjectKey::Pack(Digest([3; 32]));
    assert!(store.put_from(&key, 11, &mut wrong).is_err());
    let shard = store.root().join("data/03");
    assert_eq!(fs::read_dir(shard).unwrap().count(), 0);
}

#[test]
fn each_errno_has_its_meaning() {
    let store = Folder::new("/nowhere");
    let kind = |errno: Errno| store.error("writing", Path::new("x"), errno.into()).kind();
    use model::ErrorKind as K;
    for (errno, expected) in [
        (Errno::NOSPC, K::Full),
        (Errno::DQUOT, K::Full),
        (Errno::IO, K::Unavailable),
        (Errno::STALE, K::Unavailable),
        (Errno::NOTCONN, K::Unavailable),
        (Errno::NODEV, K::Unavailable),
        (Errno::HOSTDOWN, K::Unavailable),
        (Errno::ACCESS, K::Denied),
        (Errno::ROFS, K::Denied),
        (Errno::MFILE, K::Internal),
    ] {
        assert_eq!(kind(errno), expected, "{errno:?}");
    }
}
