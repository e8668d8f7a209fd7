//! The packs that indexes name, each by a number. Knows nothing of the blobs in them but their sums.

use super::PackSummary;
use model::Digest;

/// No pack has this number.
const EMPTY: u32 = u32::MAX;

/// Packs by number, in the order in which they were named, and their numbers by name.
///
/// Numbers are found by open addressing: a name is a hash already, so its first bytes say where to
/// begin. Costs four bytes and a third beyond the names and sums themselves.
#[derive(Debug, Default)]
pub(super) struct Packs {
    named: Vec<(Digest, PackSummary)>,
    /// invariant: a power of two, at most three quarters taken.
    slots: Vec<u32>,
}

impl Packs {
    pub(super) fn number(&self, id: &Digest) -> Option<u32> {
        self.slots.get(self.slot(id)?).copied().filter(|number| *number != EMPTY)
    }

    /// The number of a pack, a new one where it had none.
    pub(super) fn name(&mut self, id: Digest) -> u32 {
        if let Some(number) = self.number(&id) {
            return number;
        }
        let next = u32::try_from(self.named.len()).unwrap_or(EMPTY);
        let header = crate::pack::header_length(&[]);
        self.named.push((id, PackSummary { header, ..PackSummary::default() }));
        if self.named.len() * 4 > self.slots.len() * 3 {
            self.spread();
        } else {
            self.take(&id, next);
        }
        next
    }

    pub(super) fn get(&self, number: u32) -> Option<&(Digest, PackSummary)> {
        self.named.get(number as usize)
    }

    pub(super) fn summary_mut(&mut self, number: u32) -> Option<&mut PackSummary> {
        self.named.get_mut(number as usize).map(|(_, summary)| summary)
    }

    pub(super) fn len(&self) -> usize {
        self.named.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Digest, PackSummary)> + '_ {
        self.named.iter().copied()
    }

    /// Where a name's number is, or would be; none while there is no room at all.
    fn slot(&self, id: &Digest) -> Option<usize> {
        let last = self.slots.len().checked_sub(1)?;
        let [a, b, c, d, ..] = id.0;
        let from = u32::from_le_bytes([a, b, c, d]) as usize;
        (from..=from + last).map(|at| at & last).find(|at| {
            let number = self.slots.get(*at).copied().unwrap_or(EMPTY);
            self.get(number).is_none_or(|(named, _)| named == id)
        })
    }

    fn take(&mut self, id: &Digest, number: u32) {
        if let Some(slot) = self.slot(id).and_then(|at| self.slots.get_mut(at)) {
            *slot = number;
        }
    }

    /// Twice the room, and every name in its place there.
    fn spread(&mut self) {
        let room = (self.slots.len() * 2).max(64);
        self.slots.clear();
        self.slots.resize(room, EMPTY);
        for number in 0..u32::try_from(self.named.len()).unwrap_or(EMPTY) {
            if let Some((id, _)) = self.get(number).copied() {
                self.take(&id, number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pack_keeps_the_number_it_got_first() {
        let mut packs = Packs::default();
        assert_eq!(packs.number(&Digest([0; 32])), None);
        // All begin with the same bytes, the worst that can happen, and some are asked for twice.
        let id = |n: u32| {
            let mut id = [0xff; 32];
            id[28..].copy_from_slice(&n.to_le_bytes());
            Digest(id)
        };
        for n in 0..500 {
            assert_eq!(packs.name(id(n)), n);
            assert_eq!(packs.name(id(n / 2)), n / 2);
            assert_eq!(packs.number(&id(n + 1)), None);
        }
        assert!((0..500).all(|n| packs.number(&id(n)) == Some(n)));
        assert_eq!(packs.iter().count(), 500);
    }
}
