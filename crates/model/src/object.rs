//! The files a repository consists of, by kind and name. Does not know what is in them.
//!
//! Source of the layout: restic's repository format (doc/design.rst, "Repository Layout").

use crate::Digest;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of file in a repository.
///
/// Ordered as they must be written: a pack before the index that names it, an index
/// before the snapshot that needs it; config and keys first, because without them
/// nothing can be read. Locks come last and never travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// The one `config` file.
    Config,
    /// `keys/`: the master key, encrypted under a password.
    Key,
    /// `data/`: packs of blobs.
    Pack,
    /// `index/`: where each blob is.
    Index,
    /// `snapshots/`.
    Snapshot,
    /// `locks/`: who is using the repository now.
    Lock,
}

impl ObjectKind {
    /// Every kind, in writing order.
    pub const ALL: [Self; 6] =
        [Self::Config, Self::Key, Self::Pack, Self::Index, Self::Snapshot, Self::Lock];

    /// The folder in a repository, which is also the type in restic's REST protocol.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "keys",
            Self::Pack => "data",
            Self::Index => "index",
            Self::Snapshot => "snapshots",
            Self::Lock => "locks",
        }
    }

    /// The kind that lives in `folder`.
    #[must_use]
    pub fn from_folder(folder: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.folder() == folder)
    }
}

/// One file of a repository: where it is, and what its bytes must hash to.
///
/// invariant: the name of everything but the config is the SHA-256 of the file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    /// The file `config`. Its SHA-256 is the repository's identity wherever repositories are told apart.
    Config,
    /// A file below `keys/`.
    Key(Digest),
    /// A file below `data/`.
    Pack(Digest),
    /// A file below `index/`.
    Index(Digest),
    /// A file below `snapshots/`.
    Snapshot(Digest),
    /// A file below `locks/`.
    Lock(Digest),
}

impl ObjectKey {
    /// The object of that kind and name; a config has no name of its own and takes none.
    #[must_use]
    pub fn new(kind: ObjectKind, id: Digest) -> Self {
        match kind {
            ObjectKind::Config => Self::Config,
            ObjectKind::Key => Self::Key(id),
            ObjectKind::Pack => Self::Pack(id),
            ObjectKind::Index => Self::Index(id),
            ObjectKind::Snapshot => Self::Snapshot(id),
            ObjectKind::Lock => Self::Lock(id),
        }
    }

    /// What kind of file this is.
    #[must_use]
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Config => ObjectKind::Config,
            Self::Key(_) => ObjectKind::Key,
            Self::Pack(_) => ObjectKind::Pack,
            Self::Index(_) => ObjectKind::Index,
            Self::Snapshot(_) => ObjectKind::Snapshot,
            Self::Lock(_) => ObjectKind::Lock,
        }
    }

    /// The name, which is the SHA-256 of the bytes; none for the config.
    #[must_use]
    pub fn id(&self) -> Option<Digest> {
        match self {
            Self::Config => None,
            Self::Key(id)
            | Self::Pack(id)
            | Self::Index(id)
            | Self::Snapshot(id)
            | Self::Lock(id) => Some(*id),
        }
    }

    /// The path below a repository's folder: `config`, `index/<id>`, `data/<first two digits>/<id>`.
    #[must_use]
    pub fn path(&self) -> String {
        let folder = self.kind().folder();
        match self.id() {
            None => folder.to_owned(),
            Some(id) if self.kind() == ObjectKind::Pack => {
                let hex = id.to_hex();
                let (shard, _) = hex.split_at(2);
                format!("{folder}/{shard}/{hex}")
            }
            Some(id) => format!("{folder}/{id}"),
        }
    }

    /// The key whose [`path`](Self::path) this is; nothing else is taken.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        if path == "config" {
            return Some(Self::Config);
        }
        let (folder, rest) = path.split_once('/')?;
        let id = rest.rsplit('/').next()?.parse().ok()?;
        let kind = ObjectKind::from_folder(folder).filter(|kind| *kind != ObjectKind::Config)?;
        Some(Self::new(kind, id)).filter(|key| key.path() == path)
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = ObjectKey> {
        (prop::sample::select(ObjectKind::ALL.to_vec()), any::<[u8; 32]>())
            .prop_map(|(kind, id)| ObjectKey::new(kind, Digest(id)))
    }

    proptest! {
        #[test]
        fn a_key_is_found_again_from_its_path(key in any_key()) {
            prop_assert_eq!(ObjectKey::from_path(&key.path()), Some(key));
        }

        #[test]
        fn no_other_path_makes_a_key(path in "(config|data|keys|locks|\\.\\.)?/?([0-9a-f]{2}|\\.\\.)?/?([0-9a-f]{64}|[0-9a-f]{0,63})/?") {
            if let Some(key) = ObjectKey::from_path(&path) {
                prop_assert_eq!(key.path(), path);
            }
        }
    }

    #[test]
    fn writing_order_puts_packs_before_indexes_before_snapshots() {
        assert!(ObjectKind::Pack < ObjectKind::Index && ObjectKind::Index < ObjectKind::Snapshot);
    }
}
