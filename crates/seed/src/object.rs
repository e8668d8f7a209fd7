//! One object of a seed, and the root of a set of them. Does not know where objects are kept.

use model::{Digest, ObjectKey, ObjectKind};
use sha2::{Digest as _, Sha256};

/// One file of one repository of a seed: what it is, what it must hash to, how long it is.
///
/// Ordered by repository, then as files must be published (config, keys, packs, indexes,
/// snapshots), then by name. That order is the order of the byte stream of a drive.
///
/// invariant: the kind is never [`ObjectKind::Lock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// Which of the seed's repositories, counted from 0 in the order of its list.
    pub repository: u16,
    /// What kind of file.
    pub kind: ObjectKind,
    /// The SHA-256 of the file's bytes; of a config this is also the repository's identity.
    pub name: Digest,
    /// Length in bytes.
    pub length: u64,
}

impl Object {
    /// Where the object is within its repository.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.kind, self.name)
    }

    /// What tells objects of a seed apart: everything but the length.
    #[must_use]
    pub fn identity(&self) -> (u16, ObjectKind, Digest) {
        (self.repository, self.kind, self.name)
    }
}

/// The path of an object below a drive's root, or below any folder laid out like one.
#[must_use]
pub fn object_path(repository: &Digest, key: &ObjectKey) -> String {
    format!("{REPOSITORIES}/{repository}/{key}")
}

/// The folder below which repositories lie.
pub(crate) const REPOSITORIES: &str = "repositories";

/// The byte that stands for a kind in tables and roots. A lock has none: locks never travel.
#[must_use]
pub(crate) fn kind_byte(kind: ObjectKind) -> Option<u8> {
    match kind {
        ObjectKind::Config => Some(0),
        ObjectKind::Key => Some(1),
        ObjectKind::Pack => Some(2),
        ObjectKind::Index => Some(3),
        ObjectKind::Snapshot => Some(4),
        ObjectKind::Lock => None,
    }
}

/// The kind that a byte stands for.
#[must_use]
pub(crate) fn kind_from_byte(byte: u8) -> Option<ObjectKind> {
    ObjectKind::ALL.into_iter().find(|kind| kind_byte(*kind) == Some(byte))
}

/// The root of a set of objects of one repository: one hash that two sides compare to know that
/// they hold the same objects. Independent of the order given and of repository numbers; an
/// object given twice counts once.
///
/// `SHA-256("packmule objects v1\n" ‖ for each object in ascending (kind, name):
/// kind byte ‖ name 32 bytes ‖ length u64 LE)`.
#[must_use]
pub fn root<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Digest {
    let mut rows: Vec<_> = objects
        .into_iter()
        .filter_map(|object| Some((kind_byte(object.kind)?, object.name, object.length)))
        .collect();
    rows.sort_unstable();
    rows.dedup();
    let mut hash = Sha256::new();
    hash.update(b"packmule objects v1\n");
    for (kind, name, length) in rows {
        hash.update([kind]);
        hash.update(name.as_bytes());
        hash.update(length.to_le_bytes());
    }
    Digest(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(kind: ObjectKind, fill: u8, length: u64) -> Object {
        Object { repository: 0, kind, name: Digest([fill; 32]), length }
    }

    /// The expected hash is of an independent computation:
    /// ```python
    /// import hashlib, struct
    /// row = lambda kind, fill, length: bytes([kind]) + bytes([fill]) * 32 + struct.pack("<Q", length)
    /// print(hashlib.sha256(b"packmule objects v1\n" + row(0, 0xaa, 155) + row(1, 1, 460)
    ///     + row(2, 3, 17 << 20) + row(2, 4, 5) + row(3, 9, 300) + row(4, 2, 250)).hexdigest())
    /// ```
    #[test]
    fn the_root_is_as_documented() {
        let objects = [
            object(ObjectKind::Snapshot, 2, 250),
            object(ObjectKind::Pack, 4, 5),
            object(ObjectKind::Pack, 3, 17 << 20),
            object(ObjectKind::Index, 9, 300),
            object(ObjectKind::Config, 0xaa, 155),
            object(ObjectKind::Key, 1, 460),
        ];
        assert_eq!(root(&objects).to_hex(), GOLDEN);
        assert_eq!(root(&[]).to_hex(), EMPTY);
    }

    const GOLDEN: &str = "7e93aa84a4bc3a9149487d9c3cf8f7a1f271976730933438bcd6833174c3b42e";
    const EMPTY: &str = "e1cb14811e8b3ea4cd8fad3fbca31b7d173a6b0a8ed7c3a88ec268d53828f8d9";

    proptest! {
        #[test]
        fn the_root_depends_on_the_set_alone(
            lengths in prop::collection::vec(0_u64..1000, 1..20),
            turn in 0_usize..20,
            changed in 0_usize..20,
        ) {
            let objects: Vec<_> = (0_u8..).zip(&lengths)
                .map(|(fill, length)| object(ObjectKind::Pack, fill, *length)).collect();
            let mut turned = objects.clone();
            turned.rotate_left(turn % objects.len());
            turned.push(objects[0]);
            prop_assert_eq!(root(&objects), root(&turned));
            let mut other = objects.clone();
            other[changed % objects.len()].length += 1;
            prop_assert_ne!(root(&objects), root(&other));
            prop_assert_ne!(root(&objects), root(&objects[1..]));
        }
    }

    #[test]
    fn a_lock_has_no_byte_and_every_byte_has_one_kind() {
        assert_eq!(kind_byte(ObjectKind::Lock), None);
        for byte in 0..=255 {
            assert_eq!(kind_from_byte(byte).and_then(kind_byte), (byte < 5).then_some(byte));
        }
    }
}
