//! A file's blobs in order, equal neighbours told once: a file of holes is one run, however long.
//!
//! Where a [`Node`](crate::tree::Node) holds a list, this holds runs: a backup keeps one for each file
//! under way. Text and list are those of restic's trees, byte for byte. Reads and stores nothing.

use model::Digest;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// Bytes of text that are made before they are passed on.
const BLOCK: usize = 64 << 10;

/// Bytes of one blob's text: digits, quotes, and the comma before it.
const ONE: u64 = ONE_BYTES as u64;
const ONE_BYTES: usize = 67;

/// The same blob so many times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobRun {
    /// The blob.
    pub id: Digest,
    /// How many times; never zero.
    pub count: u64,
}

/// A file's blobs in order. Memory: 40 bytes a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    runs: Vec<BlobRun>,
}

impl Content {
    /// Appends a blob so many times.
    pub fn push(&mut self, id: Digest, count: u64) {
        match self.runs.last_mut() {
            Some(last) if last.id == id => last.count = last.count.saturating_add(count),
            _ if count > 0 => self.runs.push(BlobRun { id, count }),
            _ => {}
        }
    }

    /// From runs, of which neighbours may be equal.
    pub fn of(runs: impl IntoIterator<Item = BlobRun>) -> Self {
        let mut content = Self::default();
        runs.into_iter().for_each(|run| content.push(run.id, run.count));
        content
    }

    /// The runs. No two neighbours have the same blob.
    #[must_use]
    pub fn runs(&self) -> &[BlobRun] {
        &self.runs
    }

    /// How many blobs there are, each as often as it is there.
    #[must_use]
    pub fn blobs(&self) -> u64 {
        self.runs.iter().fold(0, |sum, run| sum.saturating_add(run.count))
    }

    /// How many bytes of text [`write`](Self::write) gives.
    #[must_use]
    pub fn text_length(&self) -> u64 {
        self.blobs().saturating_mul(ONE).saturating_sub(1)
    }

    /// The text of the list, without its brackets, in blocks.
    pub fn write(&self, give: &mut dyn FnMut(&[u8])) {
        let room = usize::try_from(self.text_length()).unwrap_or(usize::MAX);
        let mut block = Vec::with_capacity(room.min(2 * BLOCK));
        let mut first = true;
        for run in &self.runs {
            let mut one = [b'"'; ONE_BYTES];
            let [comma, _, digits @ .., _] = &mut one;
            (*comma, *digits) = (b',', run.id.hex());
            for _ in 0..run.count {
                let rest = one.get(usize::from(first)..).unwrap_or_default();
                block.extend_from_slice(rest);
                first = false;
                if block.len() >= BLOCK {
                    give(&block);
                    block.clear();
                }
            }
        }
        give(&block);
    }
}

impl FromIterator<Digest> for Content {
    fn from_iter<T: IntoIterator<Item = Digest>>(ids: T) -> Self {
        Self::of(ids.into_iter().map(|id| BlobRun { id, count: 1 }))
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Ids)
    }
}

struct Ids;

impl<'de> Visitor<'de> for Ids {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of blobs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut ids: A) -> Result<Content, A::Error> {
        let mut content = Content::default();
        while let Some(id) = ids.next_element()? {
            content.push(id, 1);
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_have_the_text_and_the_list_of_what_they_stand_for(
            runs in prop::collection::vec((0u8..4, 0u64..2500), 0..6),
        ) {
            let content = Content::of(
                runs.iter().map(|(n, count)| BlobRun { id: Digest([*n; 32]), count: *count }),
            );
            let list: Vec<Digest> = runs
                .iter()
                .flat_map(|(n, count)| (0..*count).map(|_| Digest([*n; 32])))
                .collect();
            prop_assert_eq!(content.blobs(), list.len() as u64);
            prop_assert!(content.runs().windows(2).all(|pair| pair[0].id != pair[1].id));
            let mut text = vec![b'['];
            content.write(&mut |block| text.extend_from_slice(block));
            prop_assert_eq!(text.len() as u64 - 1, content.text_length());
            text.push(b']');
            prop_assert_eq!(&text, &serde_json::to_vec(&list).unwrap());
            prop_assert_eq!(&content, &serde_json::from_slice(&text).unwrap());
            prop_assert_eq!(content, list.into_iter().collect());
        }
    }
}
