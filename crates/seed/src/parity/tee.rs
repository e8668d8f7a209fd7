//! The stream of a data drive while the drive is written: what its thread has written, and what was on it before, read
//! from staging. Believes none of it: whether the drive holds this is found out when it is sealed.
//!
//! ```text
//!  drive's thread: written ─▶ buffers, in their order ─▶ thread of its stream: extents, hashed ─▶ works
//!                                    └─────── back to the belt ◀──┘
//! ```
//!
//! A buffer that the stream's thread has not used yet is not with the belt: so a drive whose stream nobody takes is
//! brought no more than its buffers.

use super::stripe::SHARD;
use super::works::{Extent, Giver};
use crate::Object;
use crate::drive::read_some;
use std::io::Read as _;
use std::sync::mpsc::Receiver;
use store::Store;
use store::direct::Aligned;

/// What a data drive's thread says of what it has written, in the order of its stream.
pub(crate) enum Teed {
    /// The next bytes of an object.
    Bytes(Object, Aligned, usize),
    /// The object is complete.
    End(Object),
    /// All that was to come is written.
    Done,
}

/// The stream of a data drive, as it is planned.
pub(super) struct Tee<'a> {
    /// Objects of the seed, and which of them the drive is to hold, ascending.
    inventory: &'a [Object],
    order: Vec<u32>,
    sources: Vec<&'a dyn Store>,
    is_stopped: &'a (dyn Fn() -> bool + Sync),
    /// None once the stream has become another one, and when all was given.
    giver: Option<Giver>,
    /// The next object of these, and how much was taken of it.
    next: usize,
    taken: u64,
    /// Where the stream is, and from where on it is given.
    position: u64,
    start: u64,
    /// What is filled of the next extent.
    extent: Option<Box<[u8]>>,
    filled: usize,
}

impl<'a> Tee<'a> {
    /// From the extent `first` on.
    pub(super) fn new(
        (inventory, order): (&'a [Object], Vec<u32>),
        sources: Vec<&'a dyn Store>,
        is_stopped: &'a (dyn Fn() -> bool + Sync),
        (giver, first): (Giver, u64),
    ) -> Self {
        Self {
            inventory,
            order,
            sources,
            is_stopped,
            giver: Some(giver),
            next: 0,
            taken: 0,
            position: 0,
            start: first.saturating_mul(crate::EXTENT),
            extent: None,
            filled: 0,
        }
    }

    /// Until the drive's thread says no more. What it gives is given back.
    pub(super) fn run(mut self, teed: &Receiver<Teed>, mut give_back: impl FnMut(Aligned)) {
        for teed in teed {
            let as_planned = match teed {
                Teed::Bytes(object, buffer, count) => {
                    let bytes = buffer.bytes().get(..count).unwrap_or_default();
                    let as_planned = self.reach(&object) && self.take(bytes);
                    give_back(buffer);
                    as_planned
                }
                Teed::End(object) => self.reach(&object) && self.end(&object),
                Teed::Done => {
                    self.rest();
                    false
                }
            };
            if !as_planned {
                self.giver = None;
            }
        }
    }

    fn expected(&self) -> Option<Object> {
        let at = usize::try_from(*self.order.get(self.next)?).ok()?;
        self.inventory.get(at).copied()
    }

    /// Gives what was on the drive before that object. False where it does not come next.
    fn reach(&mut self, object: &Object) -> bool {
        while self.giver.is_some()
            && let Some(expected) = self.expected()
        {
            if expected == *object {
                return true;
            }
            if expected > *object || self.taken > 0 || !self.feed(&expected) {
                return false;
            }
        }
        false
    }

    /// An object that the drive had before.
    fn feed(&mut self, object: &Object) -> bool {
        let end = self.position.saturating_add(object.length);
        if end <= self.start {
            self.position = end;
            self.next += 1;
            return true;
        }
        let source = self.sources.get(usize::from(object.repository));
        let Some(Ok(from)) = source.map(|source| source.open(&object.key())) else { return false };
        // A byte beyond its length shows that there is more.
        let mut from = from.take(object.length.saturating_add(1));
        let mut buffer = vec![0; SHARD];
        loop {
            if (self.is_stopped)() {
                return false;
            }
            match read_some(&mut from, &mut buffer) {
                Ok([]) => return self.end(object),
                Ok(bytes) if self.take(bytes) => {}
                _ => return false,
            }
        }
    }

    /// The next bytes of the object that comes next.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        self.taken = self.taken.saturating_add(bytes.len() as u64);
        let before = usize::try_from(self.start.saturating_sub(self.position));
        let before = before.unwrap_or(usize::MAX).min(bytes.len());
        self.position = self.position.saturating_add(bytes.len() as u64);
        bytes = bytes.get(before..).unwrap_or_default();
        while !bytes.is_empty() {
            let Some(giver) = &self.giver else { return false };
            let Some(mut extent) = self.extent.take().or_else(|| giver.empty()) else {
                return false;
            };
            let (now, later) = bytes.split_at((SHARD - self.filled).min(bytes.len()));
            if let Some(place) = extent.get_mut(self.filled..self.filled + now.len()) {
                place.copy_from_slice(now);
            }
            self.filled += now.len();
            bytes = later;
            if self.filled < SHARD {
                self.extent = Some(extent);
            } else if !self.give(extent) {
                return false;
            }
        }
        true
    }

    fn give(&mut self, bytes: Box<[u8]>) -> bool {
        self.filled = 0;
        let hash = blake3::hash(&bytes).into();
        self.giver.as_ref().is_some_and(|giver| giver.give(Extent { bytes, hash }))
    }

    fn end(&mut self, object: &Object) -> bool {
        let whole = std::mem::take(&mut self.taken) == object.length;
        self.next += 1;
        whole
    }

    /// What was on the drive behind everything that has come, and the zeros up to the end of the last extent.
    fn rest(&mut self) {
        while self.giver.is_some()
            && let Some(expected) = self.expected()
        {
            if self.taken > 0 || !self.feed(&expected) {
                return;
            }
        }
        if let Some(mut extent) = self.extent.take() {
            extent.get_mut(self.filled..).unwrap_or_default().fill(0);
            self.give(extent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity::stripe::Shape;
    use crate::parity::works::{Inlet, Outlet, Works};
    use crate::tests::{add, noise};
    use model::ObjectKind;
    use proptest::prelude::*;
    use std::sync::mpsc::channel;
    use store::Memory;

    /// What the works hear of a stream of these objects, of which `new` come in parts of `part` bytes.
    fn heard(
        store: &Memory,
        objects: &[Object],
        new: &[bool],
        (part, first): (usize, u64),
        spoil: &dyn Fn(usize, &mut Vec<Teed>),
    ) -> Vec<[u8; 32]> {
        let length: u64 = objects.iter().map(|object| object.length).sum();
        let extents = length.div_ceil(crate::EXTENT);
        let (giver, inlet) = Inlet::new(extents);
        let (taker, outlet) = Outlet::new(0, first);
        let works =
            Works::new(Shape { data: 1, parity: 1 }, vec![inlet], vec![outlet], first..extents);
        let order = (0..u32::try_from(objects.len()).unwrap()).collect();
        let never = || false;
        let tee = Tee::new((objects, order), vec![store], &never, (giver, first));
        let (sender, teed) = channel();
        let mut said = Vec::new();
        for (at, object) in objects.iter().enumerate().filter(|(at, _)| new[*at]) {
            for bytes in store.get(&object.key(), u64::MAX).unwrap().chunks(part) {
                let mut buffer = Aligned::new(part);
                buffer.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
                said.push(Teed::Bytes(*object, buffer, bytes.len()));
            }
            said.push(Teed::End(*object));
            spoil(at, &mut said);
        }
        said.push(Teed::Done);
        let buffers = said.iter().filter(|teed| matches!(teed, Teed::Bytes(..))).count();
        said.into_iter().for_each(|teed| sender.send(teed).unwrap());
        drop(sender);
        let mut back = 0;
        let all = std::thread::scope(|scope| {
            scope.spawn(|| works.run());
            let taker = scope.spawn(move || {
                let mut all = Vec::new();
                while let Some(parity) = taker.next() {
                    all.extend_from_slice(&parity.of);
                    taker.give_back(parity);
                }
                all
            });
            tee.run(&teed, |_| back += 1);
            taker.join().unwrap()
        });
        assert_eq!(back, buffers, "the belt gets every buffer back");
        all
    }

    fn objects(store: &Memory, lengths: &[usize]) -> Vec<Object> {
        let mut objects: Vec<Object> = (1..)
            .zip(lengths)
            .map(|(seed, length)| {
                let key = add(store, ObjectKind::Pack, &noise(seed, *length));
                let model::ObjectKey::Pack(name) = key else { panic!("{key}") };
                let length = *length as u64;
                Object { repository: 0, kind: ObjectKind::Pack, name, length }
            })
            .collect();
        objects.sort_unstable();
        objects.dedup();
        objects
    }

    fn slowly(store: &Memory, objects: &[Object], first: usize) -> Vec<[u8; 32]> {
        let bytes = objects.iter().flat_map(|it| store.get(&it.key(), u64::MAX).unwrap());
        let mut stream: Vec<u8> = bytes.collect();
        stream.resize(stream.len().next_multiple_of(SHARD), 0);
        stream.chunks(SHARD).skip(first).map(|extent| blake3::hash(extent).into()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn the_stream_is_the_same_whatever_was_on_the_drive_before(
            lengths in prop::collection::vec(prop_oneof![Just(0), 1_usize..9000, 900_000_usize..2_300_000], 1..7),
            new in any::<[bool; 7]>(),
            part in 4096_usize..700_000,
            first in 0_u64..3,
        ) {
            let store = Memory::new();
            store.create().unwrap();
            let objects = objects(&store, &lengths);
            let found = heard(&store, &objects, &new, (part, first), &|_, _| {});
            prop_assert_eq!(found, slowly(&store, &objects, usize::try_from(first).unwrap()));
        }

        #[test]
        fn what_does_not_come_as_planned_ends_the_stream_and_nothing_wrong_was_given(
            lengths in prop::collection::vec(900_000_usize..1_300_000, 4..6),
            at in 0_usize..4,
            how in 0_usize..4,
        ) {
            let store = Memory::new();
            store.create().unwrap();
            let objects = objects(&store, &lengths);
            let spoil = |now: usize, said: &mut Vec<Teed>| {
                if now != at {
                    return;
                }
                match how {
                    // It comes once more; it has no end; another one comes; it is too short.
                    0 => said.push(Teed::End(objects[at])),
                    1 => drop(said.pop()),
                    2 => said.push(Teed::End(Object { length: 5, ..objects[at] })),
                    _ => {
                        let end = said.pop();
                        said.pop();
                        said.extend(end);
                    }
                }
            };
            let last = at == objects.len() - 1 && how == 1;
            let found = heard(&store, &objects, &[true; 7], (100_000, 0), &spoil);
            let all = slowly(&store, &objects, 0);
            prop_assert!(found.len() < all.len() || last);
            prop_assert_eq!(&found[..], &all[..found.len()]);
        }
    }
}
