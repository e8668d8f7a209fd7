//! The text of a tree from the texts of its entries, of which few may be too long to be in memory.
//!
//! A tree is named by its text, so a long one is made twice: to be hashed, and to be stored. Knows
//! neither what is in an entry nor where a tree is stored.

use crate::content::Content;

/// A list of fewer bytes is kept as text: some 16,000 blobs, a file of about 16 GiB.
const SHORT: u64 = 1 << 20;

const BEGIN: &[u8] = b"{\"nodes\":[";
const END: &[u8] = b"]}\n";

/// One entry of a tree.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry(Text);

#[derive(Debug, PartialEq, Eq)]
enum Text {
    Short(Box<[u8]>),
    Long(Box<Long>),
}

/// What is before a list of blobs, the list, and what is behind it.
#[derive(Debug, PartialEq, Eq)]
struct Long {
    front: Vec<u8>,
    content: Content,
    back: Vec<u8>,
}

impl Entry {
    /// An entry of this text.
    #[must_use]
    pub fn text(text: Vec<u8>) -> Self {
        Self(Text::Short(text.into_boxed_slice()))
    }

    /// An entry of a file, whose list of blobs stands between `front` and `back`.
    pub(crate) fn of(mut front: Vec<u8>, content: Content, back: &[u8]) -> Self {
        if content.text_length() > SHORT {
            return Self(Text::Long(Box::new(Long { front, content, back: back.to_vec() })));
        }
        content.write(&mut |block| front.extend_from_slice(block));
        front.extend_from_slice(back);
        Self::text(front)
    }

    fn length(&self) -> u64 {
        match &self.0 {
            Text::Short(text) => text.len() as u64,
            Text::Long(long) => ((long.front.len() + long.back.len()) as u64)
                .saturating_add(long.content.text_length()),
        }
    }

    fn write(&self, give: &mut dyn FnMut(&[u8])) {
        match &self.0 {
            Text::Short(text) => give(text),
            Text::Long(long) => {
                give(&long.front);
                long.content.write(give);
                give(&long.back);
            }
        }
    }
}

/// How many bytes the text of a tree with these entries has.
#[must_use]
pub fn tree_length(entries: &[Entry]) -> u64 {
    let commas = entries.len().saturating_sub(1) as u64;
    let around = (BEGIN.len() + END.len()) as u64;
    entries.iter().fold(around + commas, |sum, entry| sum.saturating_add(entry.length()))
}

/// The text of a tree with these entries, which are in ascending order of name, part by part.
pub fn write_tree(entries: &[Entry], give: &mut dyn FnMut(&[u8])) {
    give(BEGIN);
    for (at, entry) in entries.iter().enumerate() {
        if at > 0 {
            give(b",");
        }
        entry.write(give);
    }
    give(END);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{self, Node, NodeKind};
    use model::Digest;

    #[test]
    fn a_tree_has_the_same_text_however_its_entries_are_kept() {
        // The blobs of the last have over a mebibyte of text.
        for blobs in [0, 1, 3, 20_000] {
            let mut file = Node::new(b"b", NodeKind::File);
            file.size = 7;
            let mut list = vec![Digest([1; 32]); blobs];
            list.extend((blobs > 2).then_some(Digest([2; 32])));
            let content: Content = list.iter().copied().collect();
            let entry = tree::encode_file(&file, content);
            assert_eq!(matches!(entry.0, Text::Long(_)), blobs > 15_000);
            file.content = Some(list);
            let nodes = [Node::new(b"a", NodeKind::Dir), file, Node::new(b"c", NodeKind::Fifo)];
            let plain = tree::encode(&nodes);
            let mut texts = [&nodes[0], &nodes[2]].map(|node| {
                let mut text = Vec::new();
                tree::encode_node(node, &mut text);
                Entry::text(text)
            });
            let [first, last] = &mut texts;
            let empty = || Entry::text(Vec::new());
            let entries =
                [std::mem::replace(first, empty()), entry, std::mem::replace(last, empty())];
            let mut written = Vec::new();
            write_tree(&entries, &mut |part| written.extend_from_slice(part));
            assert!(written == plain);
            assert_eq!(tree_length(&entries), plain.len() as u64);
        }
        assert_eq!(tree_length(&[]), tree::encode(&[]).len() as u64);
    }
}
