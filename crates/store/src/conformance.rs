//! The one suite that every store and wrapper passes: the crate's contract as executable rules.
//! For tests, in this crate and others; it panics where a rule is broken.
//!
//! ```no_run
//! # use packmule_store as store;
//! # use std::sync::Arc;
//! store::conformance::run(|| (Arc::new(store::Memory::new()), ()));
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken rule is a panic, which is what a test reports"
)]

use crate::{Error, Listed, Store};
use model::{Digest, ObjectKey, ObjectKind};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;

/// How many objects the list rule stores.
const MANY: u32 = 2_000;

/// Runs every rule, each on a store of its own that `make` makes: empty, not yet created, together
/// with whatever must live as long as it.
///
/// # Panics
/// Where a rule is broken, with the rule's name in the backtrace and its reason in the message.
pub fn run<G>(make: impl Fn() -> (Arc<dyn Store>, G)) {
    let rules: [fn(&dyn Store); 17] = [
        creating_twice_changes_nothing,
        a_new_store_is_empty,
        every_kind_is_kept_apart,
        what_was_put_is_got,
        an_object_may_be_empty,
        the_same_again_is_a_success,
        other_bytes_are_a_conflict_and_change_nothing,
        a_streamed_object_is_stored_whole,
        a_wrong_stream_stores_nothing,
        a_stream_against_a_taken_name_is_judged_by_its_bytes,
        a_failing_source_stores_nothing_and_is_named,
        ranges_are_exact,
        an_object_longer_than_its_limit_is_refused,
        what_is_not_there_is_not_found,
        removing_twice_is_removing_once,
        a_large_object_comes_back,
        a_config_is_stored_without_a_name_to_check,
    ];
    for rule in rules {
        let (store, _guard) = make();
        store.create().unwrap();
        rule(store.as_ref());
    }
    let (store, _guard) = make();
    store.create().unwrap();
    concurrent_puts_of_one_object_all_succeed(&store);
    let (store, _guard) = make();
    store.create().unwrap();
    of_concurrent_different_bytes_one_wins(&store);
    let (store, _guard) = make();
    store.create().unwrap();
    a_list_is_complete(&store);
}

/// The key of that kind whose name is the hash of `bytes`.
#[must_use]
pub fn key_of(kind: ObjectKind, bytes: &[u8]) -> ObjectKey {
    ObjectKey::new(kind, Digest(Sha256::digest(bytes).into()))
}

fn pack(bytes: &[u8]) -> ObjectKey {
    key_of(ObjectKind::Pack, bytes)
}

/// `length` reproducible bytes, different for each seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(step).flatten().take(length).collect()
}

fn put(store: &dyn Store, bytes: &[u8]) -> ObjectKey {
    let key = pack(bytes);
    store.put(&key, bytes).unwrap();
    key
}

fn streamed(store: &dyn Store, key: &ObjectKey) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.open(key).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn assert_absent(store: &dyn Store, key: &ObjectKey) {
    assert!(matches!(store.length(key), Err(Error::NotFound { .. })), "{key} is there");
    assert!(matches!(store.get(key, u64::MAX), Err(Error::NotFound { .. })), "{key} is readable");
    assert_eq!(store.list(key.kind()).unwrap(), [], "something of {key}'s kind is listed");
}

fn assert_holds(store: &dyn Store, key: &ObjectKey, bytes: &[u8]) {
    assert_eq!(store.get(key, bytes.len() as u64).unwrap(), bytes, "{key}");
    assert_eq!(store.length(key).unwrap(), bytes.len() as u64, "{key}");
}

fn creating_twice_changes_nothing(store: &dyn Store) {
    let key = put(store, b"there");
    store.create().unwrap();
    assert_holds(store, &key, b"there");
}

fn a_new_store_is_empty(store: &dyn Store) {
    for kind in ObjectKind::ALL {
        assert_eq!(store.list(kind).unwrap(), [], "{kind:?}");
    }
}

fn every_kind_is_kept_apart(store: &dyn Store) {
    for kind in ObjectKind::ALL {
        store.put(&key_of(kind, b"same bytes"), b"same bytes").unwrap();
    }
    for kind in ObjectKind::ALL {
        let key = key_of(kind, b"same bytes");
        assert_eq!(store.list(kind).unwrap(), [Listed { key, length: 10 }], "{kind:?}");
        assert_holds(store, &key, b"same bytes");
    }
    store.remove(&key_of(ObjectKind::Lock, b"same bytes")).unwrap();
    assert_eq!(store.list(ObjectKind::Lock).unwrap(), []);
    assert_holds(store, &key_of(ObjectKind::Snapshot, b"same bytes"), b"same bytes");
}

fn what_was_put_is_got(store: &dyn Store) {
    let bytes = noise(1, 100_003);
    let key = put(store, &bytes);
    assert_holds(store, &key, &bytes);
    assert_eq!(streamed(store, &key), bytes);
}

fn an_object_may_be_empty(store: &dyn Store) {
    let key = put(store, b"");
    assert_holds(store, &key, b"");
    assert_eq!(streamed(store, &key), b"");
    store.read_at(&key, 0, &mut []).unwrap();
    assert_eq!(store.list(ObjectKind::Pack).unwrap(), [Listed { key, length: 0 }]);
    let index = key_of(ObjectKind::Index, b"");
    store.put_from(&index, 0, &mut io::empty()).unwrap();
    assert_holds(store, &index, b"");
}

fn the_same_again_is_a_success(store: &dyn Store) {
    let bytes = noise(2, 300_000);
    let key = put(store, &bytes);
    store.put(&key, &bytes).unwrap();
    store.put_from(&key, 300_000, &mut bytes.as_slice()).unwrap();
    assert_holds(store, &key, &bytes);
}

fn other_bytes_are_a_conflict_and_change_nothing(store: &dyn Store) {
    store.put(&ObjectKey::Config, b"the first").unwrap();
    for other in [b"the other".as_slice(), b"shorter", b"", b"the first and more"] {
        let refused = store.put(&ObjectKey::Config, other);
        assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
        let refused = store.put_from(&ObjectKey::Config, other.len() as u64, &mut &*other);
        assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
        assert_holds(store, &ObjectKey::Config, b"the first");
    }
}

fn a_streamed_object_is_stored_whole(store: &dyn Store) {
    let bytes = noise(3, 700_001);
    let key = pack(&bytes);
    store.put_from(&key, 700_001, &mut Dribble(&bytes)).unwrap();
    assert_holds(store, &key, &bytes);
}

fn a_wrong_stream_stores_nothing(store: &dyn Store) {
    let bytes = noise(4, 400_000);
    let key = pack(&bytes);
    let mut flipped = bytes.clone();
    flipped[399_999] ^= 1;
    let longer = [bytes.as_slice(), b"x"].concat();
    for (wrong, what) in [
        (flipped.as_slice(), "hash"),
        (&bytes[..399_999], "short"),
        (&[], "none"),
        (&longer, "long"),
    ] {
        let refused = store.put_from(&key, 400_000, &mut &*wrong);
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{what}: {refused:?}");
        assert_absent(store, &key);
    }
    for wrong in [b"".as_slice(), b"x"] {
        let refused = store.put_from(&key, 0, &mut &*wrong);
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "as empty: {refused:?}");
        assert_absent(store, &key);
    }
    store.put_from(&key, 400_000, &mut bytes.as_slice()).unwrap();
    assert_holds(store, &key, &bytes);
}

fn a_stream_against_a_taken_name_is_judged_by_its_bytes(store: &dyn Store) {
    let bytes = noise(5, 200_000);
    let key = put(store, &bytes);
    let mut wrong = bytes.clone();
    wrong[100] ^= 1;
    for wrong in [wrong.as_slice(), &bytes[..199_999]] {
        let refused = store.put_from(&key, 200_000, &mut &*wrong);
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    }
    assert_holds(store, &key, &bytes);
}

fn a_failing_source_stores_nothing_and_is_named(store: &dyn Store) {
    let bytes = noise(6, 300_000);
    let key = pack(&bytes);
    for after in [0, 1, 150_000, 299_999] {
        let mut source = bytes[..after].chain(Broken);
        let refused = store.put_from(&key, 300_000, &mut source);
        assert!(matches!(refused, Err(Error::Source { .. })), "after {after}: {refused:?}");
        assert_absent(store, &key);
    }
}

fn ranges_are_exact(store: &dyn Store) {
    let bytes = noise(7, 70_000);
    let key = put(store, &bytes);
    for (offset, length) in
        [(0, 1), (0, 70_000), (1, 69_999), (69_999, 1), (33_333, 4_096), (70_000, 0)]
    {
        let mut buffer = vec![0; length];
        store.read_at(&key, offset as u64, &mut buffer).unwrap();
        assert_eq!(buffer, &bytes[offset..offset + length], "{length} from {offset}");
    }
    for (offset, length) in [(0, 70_001), (69_999, 2), (70_000, 1), (1 << 40, 1), (u64::MAX, 1)] {
        let refused = store.read_at(&key, offset, &mut vec![0; length]);
        assert!(
            matches!(refused, Err(Error::Corrupt { .. })),
            "{length} from {offset}: {refused:?}"
        );
    }
}

fn an_object_longer_than_its_limit_is_refused(store: &dyn Store) {
    let bytes = noise(8, 5_000);
    let key = put(store, &bytes);
    assert_eq!(store.get(&key, 5_000).unwrap(), bytes);
    for limit in [0, 4_999] {
        let refused = store.get(&key, limit);
        assert!(matches!(refused, Err(Error::TooLong { .. })), "{limit}: {refused:?}");
    }
}

fn what_is_not_there_is_not_found(store: &dyn Store) {
    for kind in ObjectKind::ALL {
        let key = key_of(kind, b"never stored");
        assert_absent(store, &key);
        let refused = store.read_at(&key, 0, &mut [0; 4]);
        assert!(matches!(refused, Err(Error::NotFound { .. })), "{refused:?}");
        assert!(matches!(store.open(&key), Err(Error::NotFound { .. })), "{key}");
    }
}

fn removing_twice_is_removing_once(store: &dyn Store) {
    let key = put(store, b"to go");
    let stays = key_of(ObjectKind::Index, b"to stay");
    store.put(&stays, b"to stay").unwrap();
    store.remove(&key).unwrap();
    assert_absent(store, &key);
    store.remove(&key).unwrap();
    assert_holds(store, &stays, b"to stay");
    store.put(&key, b"to go").unwrap();
    assert_holds(store, &key, b"to go");
}

fn a_large_object_comes_back(store: &dyn Store) {
    let bytes = noise(9, 9 << 20);
    let key = pack(&bytes);
    store.put_from(&key, 9 << 20, &mut bytes.as_slice()).unwrap();
    assert!(streamed(store, &key) == bytes, "{key} comes back changed");
    let mut end = [0; 16];
    store.read_at(&key, (9 << 20) - 16, &mut end).unwrap();
    assert_eq!(end, bytes[(9 << 20) - 16..]);
}

fn a_config_is_stored_without_a_name_to_check(store: &dyn Store) {
    store.put_from(&ObjectKey::Config, 6, &mut b"config".as_slice()).unwrap();
    assert_holds(store, &ObjectKey::Config, b"config");
    let refused = store.put_from(&ObjectKey::Config, 7, &mut b"config".as_slice());
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    assert_holds(store, &ObjectKey::Config, b"config");
}

fn concurrent_puts_of_one_object_all_succeed(store: &Arc<dyn Store>) {
    let bytes = noise(10, 150_000);
    let key = pack(&bytes);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (store, bytes, key) = (store.as_ref(), &bytes, &key);
            scope.spawn(move || match thread % 2 {
                0 => store.put(key, bytes).unwrap(),
                _ => store.put_from(key, 150_000, &mut bytes.as_slice()).unwrap(),
            });
        }
    });
    assert_holds(store.as_ref(), &key, &bytes);
    assert_eq!(store.list(ObjectKind::Pack).unwrap(), [Listed { key, length: 150_000 }]);
}

fn of_concurrent_different_bytes_one_wins(store: &Arc<dyn Store>) {
    let contenders: Vec<_> = (20..28).map(|seed| noise(seed, 5_000)).collect();
    let winners: Vec<_> = std::thread::scope(|scope| {
        let attempts: Vec<_> = contenders
            .iter()
            .map(|bytes| {
                scope.spawn(|| match store.put(&ObjectKey::Config, bytes) {
                    Ok(()) => Some(bytes.clone()),
                    Err(Error::Conflict { .. }) => None,
                    Err(other) => panic!("{other:?}"),
                })
            })
            .collect();
        attempts.into_iter().filter_map(|attempt| attempt.join().unwrap()).collect()
    });
    assert_eq!(winners.len(), 1, "so many think that they stored the config");
    assert_holds(store.as_ref(), &ObjectKey::Config, &winners[0]);
}

fn a_list_is_complete(store: &Arc<dyn Store>) {
    let kinds = [ObjectKind::Pack, ObjectKind::Index];
    let of = |kind: ObjectKind, n: u32| {
        let bytes = format!("{} {n}", kind.folder()).into_bytes();
        (key_of(kind, &bytes), bytes)
    };
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for n in (0..MANY).filter(|n| n % 8 == thread) {
                    let (key, bytes) = of(kinds[usize::from(n % 10 == 0)], n);
                    store.put(&key, &bytes).unwrap();
                }
            });
        }
    });
    for (at, kind) in kinds.into_iter().enumerate() {
        let expected: BTreeSet<_> = (0..MANY)
            .filter(|n| usize::from(n % 10 == 0) == at)
            .map(|n| of(kind, n))
            .map(|(key, bytes)| Listed { key, length: bytes.len() as u64 })
            .collect();
        let list = store.list(kind).unwrap();
        assert_eq!(list.len(), expected.len(), "{kind:?}: missing, or listed twice");
        assert_eq!(list.into_iter().collect::<BTreeSet<_>>(), expected, "{kind:?}");
    }
}

/// Gives its bytes out in odd little pieces.
struct Dribble<'a>(&'a [u8]);

impl Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = if self.0.len() % 5 == 3 { 7 } else { 1_021 };
        let piece = buffer.len().min(most);
        self.0.read(&mut buffer[..piece])
    }
}

/// A source that fails, as a drive does that is pulled out.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("pulled out"))
    }
}
