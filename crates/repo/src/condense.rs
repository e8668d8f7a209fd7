//! A tree's text, taken in as a stream, with its lists of blobs told as runs.
//!
//! The text of a directory with one file of 10 TB of holes has 1.4 GB and says almost nothing. What is
//! left of it here is the text with every list emptied, and each list as a [`Content`]. Only lists
//! exactly as restic writes them are understood; whether the rest is a tree at all is for others to say.

use crate::content::Content;
use model::Digest;

/// A tree's text without its lists, and the lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Condensed {
    /// Each list of blobs in it is `[]`.
    pub(crate) text: Vec<u8>,
    /// (offset behind the `[` in the text, what stood there), in ascending order; empty ones are not here.
    pub(crate) lists: Vec<(usize, Content)>,
}

/// How deep a file's fields are: in an entry, in the list of entries, in the tree.
const FIELDS: usize = 3;

/// The name of a file's list, up to where it begins.
const KEY: &[u8] = b"\"content\":[";
/// Bytes of one blob in a list: its digits in quotes.
const ONE: usize = 66;

/// Makes a [`Condensed`].
#[derive(Debug)]
pub(crate) struct Condenser {
    out: Condensed,
    place: Place,
    depth: usize,
    /// How far the text so far ends with the beginning of [`KEY`].
    matched: usize,
    /// The list under way.
    list: Content,
    /// What there is of the blob under way.
    one: Vec<u8>,
    /// The last blob's text, and its name.
    last: Option<([u8; ONE], Digest)>,
    failed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between texts.
    Outside,
    Text,
    /// Behind a backslash.
    Escape,
    /// Where a blob of a list is, or the end of an empty list.
    Blob,
    /// Behind a blob.
    Behind,
}

impl Condenser {
    pub(crate) fn new() -> Self {
        Self {
            out: Condensed::default(),
            place: Place::Outside,
            depth: 0,
            matched: 0,
            list: Content::default(),
            one: Vec::with_capacity(ONE),
            last: None,
            failed: false,
        }
    }

    /// Takes in the next bytes of the text.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !self.failed {
            if self.place == Place::Blob
                && self.one.is_empty()
                && let Some((one, rest)) = bytes.split_first_chunk::<ONE>()
                && one.first() == Some(&b'"')
            {
                self.blob(*one);
                bytes = rest;
                continue;
            }
            let Some((byte, rest)) = bytes.split_first() else { return };
            self.byte(*byte);
            bytes = rest;
        }
    }

    /// None where there is a list as restic does not write it.
    pub(crate) fn finish(self) -> Option<Condensed> {
        (!self.failed && self.place == Place::Outside).then_some(self.out)
    }

    fn byte(&mut self, byte: u8) {
        match (self.place, byte) {
            (Place::Behind, b',') => self.place = Place::Blob,
            (Place::Behind, b']') => self.end_list(),
            (Place::Blob, b']') if self.one.is_empty() && self.list.runs().is_empty() => {
                self.end_list();
            }
            (Place::Blob, _) => {
                self.one.push(byte);
                if let Ok(one) = self.one.as_slice().try_into() {
                    self.one.clear();
                    self.blob(one);
                }
            }
            (Place::Behind, _) => self.failed = true,
            _ => self.other(byte),
        }
    }

    /// What is in no list.
    fn other(&mut self, byte: u8) {
        self.out.text.push(byte);
        let begins = self.place == Place::Outside && self.depth == FIELDS && byte == b'"';
        self.matched = match self.matched {
            at if at > 0 && KEY.get(at) == Some(&byte) => at + 1,
            _ => usize::from(begins),
        };
        self.place = match (self.place, byte) {
            (Place::Text, b'\\') => Place::Escape,
            (Place::Text, b'"') => Place::Outside,
            (Place::Text | Place::Escape, _) => Place::Text,
            (_, b'"') => Place::Text,
            (_, b'{' | b'[') => {
                self.depth += 1;
                if self.matched == KEY.len() { Place::Blob } else { Place::Outside }
            }
            (_, b'}' | b']') => {
                self.depth = self.depth.saturating_sub(1);
                Place::Outside
            }
            (place, _) => place,
        };
    }

    fn blob(&mut self, one: [u8; ONE]) {
        self.place = Place::Behind;
        if let Some((text, id)) = &self.last
            && *text == one
        {
            return self.list.push(*id, 1);
        }
        let digits = one.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        let parsed = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        match parsed {
            Some(id) => {
                self.last = Some((one, id));
                self.list.push(id, 1);
            }
            None => self.failed = true,
        }
    }

    fn end_list(&mut self) {
        let list = std::mem::take(&mut self.list);
        if !list.runs().is_empty() {
            self.out.lists.push((self.out.text.len(), list));
        }
        self.out.text.push(b']');
        self.depth = self.depth.saturating_sub(1);
        (self.place, self.matched) = (Place::Outside, 0);
    }
}
