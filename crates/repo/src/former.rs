//! The entries of a tree as they were written, to be written again where nothing changed.
//!
//! A backup compares every file with what the last one said of it. What is unchanged keeps its text,
//! byte for byte: so an unchanged directory has the same tree, whichever program wrote it, and costs
//! neither decoding nor encoding. Judges nothing: whether a file is unchanged is `backup`'s to say.

use crate::condense::Condensed;
use crate::content::Content;
use crate::entry::Entry;
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
    pub content: Content,
    /// A directory's tree.
    pub subtree: Option<Digest>,
    /// The entry as it stands in the tree, but for a list of blobs that was taken out of it.
    text: &'t str,
    /// Where a list was taken out.
    gap: Option<usize>,
}

impl Former<'_> {
    /// The whole entry as it stands in the tree.
    #[must_use]
    pub fn entry(&self) -> Entry {
        match self.gap.and_then(|at| self.text.split_at_checked(at)) {
            Some((front, back)) => Entry::of(front.into(), self.content.clone(), back.as_bytes()),
            None => Entry::text(self.text.into()),
        }
    }
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
    content: Option<Content>,
    #[serde(default)]
    subtree: Option<Digest>,
}

impl Condensed {
    /// A text with all its lists.
    #[must_use]
    pub fn whole(text: Vec<u8>) -> Self {
        Self { text, lists: Vec::new() }
    }

    /// The entries of the tree, in ascending order of name; once only, as its lists go into them.
    ///
    /// # Errors
    /// Says what is wrong, for what no backup program writes. That is more than [`crate::tree::decode`] refuses: all of it has to
    /// be UTF-8, as it is written again.
    pub fn entries(&mut self) -> Result<Vec<Former<'_>>, String> {
        let text = self.text.as_slice();
        let tree: RawTree<'_> =
            serde_json::from_slice(text).map_err(|e| format!("it is not a tree ({e})"))?;
        let mut entries: Vec<Former<'_>> = Vec::with_capacity(tree.nodes.len());
        let mut lists = std::mem::take(&mut self.lists).into_iter().peekable();
        for node in tree.nodes {
            let mut entry = entry(node.get())?;
            if entries.last().is_some_and(|last| last.name >= entry.name) {
                return Err("its entries are out of order, or one is there twice".to_owned());
            }
            // Both are addresses in one text.
            let start = entry.text.as_ptr().addr() - text.as_ptr().addr();
            let end = start + entry.text.len();
            while lists.next_if(|(at, _)| *at < start).is_some() {}
            if let Some((at, list)) = lists.next_if(|(at, _)| *at < end) {
                (entry.gap, entry.content) = (Some(at - start), list);
            }
            entries.push(entry);
        }
        Ok(entries)
    }
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
        gap: None,
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
    use crate::condense::Condenser;
    use crate::entry::write_tree;
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

    fn condense(text: &[u8], step: usize) -> Condensed {
        let mut condenser = Condenser::new();
        text.chunks(step).for_each(|bytes| condenser.feed(bytes));
        condenser.finish().unwrap()
    }

    proptest! {
        #[test]
        fn entries_are_those_of_the_decoder_and_their_texts_make_the_same_tree(
            mut nodes in prop::collection::vec(node(), 0..8),
            step in prop_oneof![Just(None), (1usize..200).prop_map(Some)],
        ) {
            nodes.sort_by(|a, b| a.name.cmp(&b.name));
            nodes.dedup_by(|a, b| a.name == b.name);
            let text = tree::encode(&nodes);
            let mut condensed =
                step.map_or_else(|| Condensed::whole(text.clone()), |step| condense(&text, step));
            prop_assert!(step.is_none() || !condensed.text.windows(8).any(|part| part == b"07070707"));
            let entries = condensed.entries().unwrap();
            prop_assert_eq!(entries.len(), nodes.len());
            for (entry, node) in entries.iter().zip(&nodes) {
                prop_assert_eq!(&entry.name, &node.name);
                prop_assert_eq!((entry.kind, entry.size, entry.mtime), (node.kind, node.size, node.mtime));
                prop_assert_eq!((entry.ctime, entry.inode, entry.device_id), (node.ctime, node.inode, node.device_id));
                prop_assert_eq!((entry.uid, entry.gid, &*entry.user), (node.uid, node.gid, node.user.as_str()));
                let content = node.content.iter().flatten().copied().collect();
                prop_assert_eq!(&entry.content, &content);
                prop_assert_eq!(entry.subtree, node.subtree);
            }
            let entries: Vec<Entry> = entries.iter().map(Former::entry).collect();
            let mut again = Vec::new();
            write_tree(&entries, &mut |part| again.extend_from_slice(part));
            prop_assert_eq!(again, text);
        }

        #[test]
        fn no_text_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut condenser = Condenser::new();
            condenser.feed(&text);
            if let Some(mut condensed) = condenser.finish() {
                let _ = condensed.entries();
            }
            let _ = Condensed::whole(text).entries();
        }
    }

    #[test]
    fn entries_out_of_order_are_refused() {
        let nodes = [Node::new(b"b", NodeKind::File), Node::new(b"a", NodeKind::File)];
        assert!(Condensed::whole(tree::encode(&nodes)).entries().is_err());
        let twice = [Node::new(b"a", NodeKind::File), Node::new(b"a", NodeKind::File)];
        assert!(Condensed::whole(tree::encode(&twice)).entries().is_err());
    }

    #[test]
    fn what_only_looks_like_a_list_of_blobs_is_left_as_it_is() {
        let id = "ab".repeat(32);
        let list = format!(r#"["{id}"]"#);
        for kept in [
            format!(r#"{{"nodes":[{{"name":"\"content\":{list}"}}]}}"#),
            format!(r#"{{"content":{list}}}"#),
            format!(r#"{{"nodes":[{{"a":[{{"content":{list}}}]}}]}}"#),
            format!(r#"{{"nodes":[{{"contents":{list}}}]}}"#),
            format!(r#"{{"nodes":[{{"content": {list}}}]}}"#),
            r#"{"nodes":[{"content":null},{"content":[]}]}"#.to_owned(),
        ] {
            assert_eq!(condense(kept.as_bytes(), 7), Condensed::whole(kept.into_bytes()));
        }
        for refused in [format!(r#"["{id}", "{id}"]"#), r#"["ab"]"#.into(), format!(r#"["{id}""#)] {
            let mut condenser = Condenser::new();
            condenser.feed(format!(r#"{{"nodes":[{{"content":{refused}}}]}}"#).as_bytes());
            assert_eq!(condenser.finish(), None);
        }
    }
}
