//! The entries of a tree as they were written, to be written again where nothing changed.
//!
//! A backup compares every file with what the last one said of it. What is unchanged keeps its text,
//! byte for byte: so an unchanged directory has the same tree, whichever program wrote it, and costs
//! neither decoding nor encoding. Judges nothing: whether a file is unchanged is `backup`'s to say.

use crate::quote::unquote;
use crate::time;
use crate::tree::{NodeKind, safe_name};
use jiff::Timestamp;
use model::Digest;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// One entry, with what tells whether it changed.
#[derive(Debug)]
pub struct Former<'t> {
    /// The name.
    pub name: Vec<u8>,
    /// The whole entry as it stands in the tree.
    pub text: &'t str,
    /// What it is.
    pub kind: NodeKind,
    /// Length of a file in bytes.
    pub size: u64,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Inode number.
    pub inode: u64,
    /// Device the inode is on.
    pub device_id: u64,
    /// Owner by number.
    pub uid: u32,
    /// Group by number.
    pub gid: u32,
    /// Owner by name.
    pub user: Cow<'t, str>,
    /// Group by name.
    pub group: Cow<'t, str>,
    /// A file's blobs.
    pub content: Vec<Digest>,
    /// A directory's tree.
    pub subtree: Option<Digest>,
}

#[derive(Deserialize)]
struct RawTree<'t> {
    #[serde(borrow)]
    nodes: Vec<&'t RawValue>,
}

#[derive(Deserialize)]
struct RawFormer<'t> {
    #[serde(borrow)]
    name: Cow<'t, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'t, str>,
    #[serde(borrow, default)]
    mtime: Option<Cow<'t, str>>,
    #[serde(borrow, default)]
    ctime: Option<Cow<'t, str>>,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(borrow, default)]
    user: Cow<'t, str>,
    #[serde(borrow, default)]
    group: Cow<'t, str>,
    #[serde(default)]
    inode: u64,
    #[serde(default)]
    device_id: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    content: Option<Vec<Digest>>,
    #[serde(default)]
    subtree: Option<Digest>,
}

/// The entries of a tree's text, in ascending order of name.
///
/// # Errors
/// Says what is wrong, for what no backup program writes.
pub fn entries(text: &[u8]) -> Result<Vec<Former<'_>>, String> {
    let tree: RawTree<'_> =
        serde_json::from_slice(text).map_err(|e| format!("it is not a tree ({e})"))?;
    let mut entries: Vec<Former<'_>> = Vec::with_capacity(tree.nodes.len());
    for node in tree.nodes {
        let entry = entry(node.get())?;
        if entries.last().is_some_and(|last| last.name >= entry.name) {
            return Err("its entries are out of order, or one is there twice".to_owned());
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(text: &str) -> Result<Former<'_>, String> {
    let raw: RawFormer<'_> =
        serde_json::from_str(text).map_err(|e| format!("an entry is not readable ({e})"))?;
    let name = unquote(&raw.name).filter(|name| safe_name(name));
    let moment = |text: Option<Cow<'_, str>>| match text {
        None => Ok(Timestamp::UNIX_EPOCH),
        Some(text) => time::parse(&text).ok_or_else(|| format!("an entry has the time '{text}'")),
    };
    Ok(Former {
        name: name.ok_or("an entry has a name that no file can have")?,
        text,
        kind: NodeKind::from_name(&raw.kind).ok_or("an entry is of an unknown type")?,
        size: raw.size,
        mtime: moment(raw.mtime)?,
        ctime: moment(raw.ctime)?,
        inode: raw.inode,
        device_id: raw.device_id,
        uid: raw.uid,
        gid: raw.gid,
        user: raw.user,
        group: raw.group,
        content: raw.content.unwrap_or_default(),
        subtree: raw.subtree,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{self, Node};
    use proptest::prelude::*;

    fn node() -> impl Strategy<Value = Node> {
        let kind = prop::sample::select(vec![NodeKind::File, NodeKind::Dir, NodeKind::Symlink]);
        let name =
            prop::collection::vec(any::<u8>(), 1..12).prop_filter("a name", |n| safe_name(n));
        (name, kind, any::<(u32, u32, u64, u64, u64)>(), "[a-z\"\\\\é]{0,6}", 0i64..4_000_000_000)
            .prop_map(|(name, kind, (uid, gid, inode, device_id, size), user, seconds)| {
                let mut node = Node::new(&name, kind);
                (node.uid, node.gid, node.inode, node.user) = (uid, gid, inode, user);
                (node.device_id, node.size) = (device_id, size);
                node.mtime = Timestamp::new(seconds, 123).unwrap();
                node.content = (kind == NodeKind::File).then(|| vec![Digest([7; 32]); 2]);
                node.subtree = (kind == NodeKind::Dir).then_some(Digest([8; 32]));
                node
            })
    }

    proptest! {
        #[test]
        fn entries_are_those_of_the_decoder_and_their_texts_make_the_same_tree(
            mut nodes in prop::collection::vec(node(), 0..8),
        ) {
            nodes.sort_by(|a, b| a.name.cmp(&b.name));
            nodes.dedup_by(|a, b| a.name == b.name);
            let text = tree::encode(&nodes);
            let entries = entries(&text).unwrap();
            prop_assert_eq!(entries.len(), nodes.len());
            for (entry, node) in entries.iter().zip(&nodes) {
                prop_assert_eq!(&entry.name, &node.name);
                prop_assert_eq!((entry.kind, entry.size, entry.mtime), (node.kind, node.size, node.mtime));
                prop_assert_eq!((entry.ctime, entry.inode, entry.device_id), (node.ctime, node.inode, node.device_id));
                prop_assert_eq!((entry.uid, entry.gid, &*entry.user), (node.uid, node.gid, node.user.as_str()));
                prop_assert_eq!(entry.content.as_slice(), node.content.as_deref().unwrap_or_default());
                prop_assert_eq!(entry.subtree, node.subtree);
            }
            let again = tree::join(entries.iter().map(|entry| entry.text.as_bytes()));
            prop_assert_eq!(again, text);
        }

        #[test]
        fn no_text_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = entries(&text);
        }
    }

    #[test]
    fn entries_out_of_order_are_refused() {
        let nodes = [Node::new(b"b", NodeKind::File), Node::new(b"a", NodeKind::File)];
        assert!(entries(&tree::encode(&nodes)).is_err());
        let twice = [Node::new(b"a", NodeKind::File), Node::new(b"a", NodeKind::File)];
        assert!(entries(&tree::encode(&twice)).is_err());
    }
}
