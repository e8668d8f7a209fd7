//! Where the objects of a drive lie in its byte stream, and so in its extents. Pure.

use crate::{EXTENT, Manifest, Object};
use std::ops::Range;

/// The stream of one drive.
pub(crate) struct Layout {
    objects: Vec<Object>,
    /// Where each object begins; and the stream's end.
    starts: Vec<u64>,
}

/// What an extent has of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Which of the drive's objects.
    pub(crate) index: usize,
    /// From where in the object.
    pub(crate) offset: u64,
    /// To where in the extent.
    pub(crate) at: usize,
    /// How many bytes.
    pub(crate) length: usize,
}

impl Layout {
    pub(crate) fn new(manifest: &Manifest) -> Self {
        let mut starts = vec![0];
        let mut end = 0_u64;
        for object in &manifest.objects {
            // Decoding has made sure that the sum has 64 bits.
            end = end.saturating_add(object.length);
            starts.push(end);
        }
        Self { objects: manifest.objects.clone(), starts }
    }

    pub(crate) fn objects(&self) -> &[Object] {
        &self.objects
    }

    pub(crate) fn object(&self, index: usize) -> Option<&Object> {
        self.objects.get(index)
    }

    fn end(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// How many extents the stream has.
    pub(crate) fn extents(&self) -> u64 {
        self.end().div_ceil(EXTENT)
    }

    fn start(&self, index: usize) -> u64 {
        self.starts.get(index).copied().unwrap_or_else(|| self.end())
    }

    /// The extents that an object lies in; none for an empty one.
    pub(crate) fn extents_of(&self, index: usize) -> Range<u64> {
        let (start, end) = (self.start(index), self.start(index.saturating_add(1)));
        if start == end { 0..0 } else { start / EXTENT..end.div_ceil(EXTENT) }
    }

    /// What an extent has of objects, ascending. Nothing beyond the stream's end.
    pub(crate) fn parts(&self, extent: u64) -> impl Iterator<Item = Part> + '_ {
        let from = extent.saturating_mul(EXTENT);
        let to = from.saturating_add(EXTENT).min(self.end());
        // The last object that begins there or before.
        let first = self.starts.partition_point(|start| *start <= from).saturating_sub(1);
        (first..self.objects.len()).map_while(move |index| {
            let (start, end) = (self.start(index).max(from), self.start(index + 1).min(to));
            (self.start(index) < to).then_some(Part {
                index,
                offset: start.saturating_sub(self.start(index)),
                at: usize::try_from(start.saturating_sub(from)).unwrap_or(usize::MAX),
                length: usize::try_from(end.saturating_sub(start)).unwrap_or(0),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Digest, ObjectKind};
    use proptest::prelude::*;

    fn layout(lengths: &[u64]) -> Layout {
        let object = |(at, length): (usize, &u64)| Object {
            repository: 0,
            kind: ObjectKind::Pack,
            name: Digest([u8::try_from(at).unwrap(); 32]),
            length: *length,
        };
        let objects: Vec<Object> = lengths.iter().enumerate().map(object).collect();
        let mut starts = vec![0];
        starts.extend(lengths.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        }));
        Layout { objects, starts }
    }

    proptest! {
        #[test]
        fn parts_put_every_object_together_again(
            lengths in prop::collection::vec(prop_oneof![Just(0), 1..3000_u64, (0..3 * EXTENT)], 0..12)
        ) {
            let layout = layout(&lengths);
            let mut seen = vec![0; lengths.len()];
            let mut of = vec![Vec::new(); lengths.len()];
            let total: u64 = lengths.iter().sum();
            for extent in 0..layout.extents() {
                let mut filled = 0;
                for part in layout.parts(extent).filter(|part| part.length > 0) {
                    prop_assert_eq!(part.at, filled);
                    prop_assert_eq!(part.offset, seen[part.index]);
                    seen[part.index] += part.length as u64;
                    filled += part.length;
                    of[part.index].push(extent);
                }
                prop_assert_eq!(filled as u64, EXTENT.min(total - extent * EXTENT));
            }
            prop_assert_eq!(layout.parts(layout.extents()).filter(|part| part.length > 0).count(), 0);
            prop_assert_eq!(&seen, &lengths);
            for (index, extents) in of.into_iter().enumerate() {
                prop_assert_eq!(layout.extents_of(index).collect::<Vec<_>>(), extents);
            }
        }
    }
}
