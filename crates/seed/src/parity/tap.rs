//! What a data drive gives while it is taken in, for whoever rebuilds at the same time. Believes nothing of it: an
//! extent counts once it was compared with its hash.

use crate::Object;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Pieces of a drive that were read and not used yet: what drives do not do at the same moment they may be apart.
const AHEAD: usize = 32;
/// Bytes of a piece.
const PIECE: usize = 1 << 20;

/// Some bytes of an object.
struct Piece {
    object: Object,
    offset: u64,
    bytes: Box<[u8]>,
}

/// For the drive's own thread.
pub(crate) struct Tap {
    sender: Option<SyncSender<Piece>>,
    /// The object that is being read, and how much of it was given.
    open: Option<(Object, u64)>,
}

impl Tap {
    /// The next bytes of an object, which come after those of all objects before it. Waits while too much was not used
    /// yet.
    pub(crate) fn bytes(&mut self, object: &Object, bytes: &[u8]) {
        let mut offset = match self.open {
            Some((open, offset)) if open == *object => offset,
            _ => 0,
        };
        for bytes in bytes.chunks(PIECE) {
            let Some(sender) = &self.sender else { return };
            let piece = Piece { object: *object, offset, bytes: bytes.into() };
            if sender.send(piece).is_err() {
                self.sender = None;
            }
            offset += bytes.len() as u64;
        }
        self.open = Some((*object, offset));
    }
}

/// What has come of a drive.
pub(super) struct Tapped {
    pieces: Receiver<Piece>,
    /// Pieces that are still of use, ascending.
    held: VecDeque<Piece>,
}

impl Tapped {
    pub(super) fn new() -> (Tap, Self) {
        let (sender, pieces) = sync_channel(AHEAD);
        (Tap { sender: Some(sender), open: None }, Self { pieces, held: VecDeque::new() })
    }

    /// A part of an object. Parts are asked for in the order of the stream. False where the drive does not give it.
    pub(super) fn part(&mut self, object: &Object, offset: u64, into: &mut [u8]) -> bool {
        let mut done = 0;
        while done < into.len() {
            let at = offset + done as u64;
            if !self.come_to(object, at) {
                return false;
            }
            let Some(piece) = self.held.front() else { return false };
            let from = usize::try_from(at - piece.offset).unwrap_or(usize::MAX);
            let bytes = piece.bytes.get(from..).unwrap_or_default();
            let place = into.get_mut(done..).unwrap_or_default();
            let count = bytes.len().min(place.len());
            if let (Some(place), Some(bytes)) = (place.get_mut(..count), bytes.get(..count)) {
                place.copy_from_slice(bytes);
            }
            done += count;
        }
        true
    }

    /// Goes on to the piece with that byte. False where there is none.
    fn come_to(&mut self, object: &Object, at: u64) -> bool {
        loop {
            if self.held.is_empty() {
                match self.pieces.recv() {
                    Ok(piece) => self.held.push_back(piece),
                    Err(_) => return false,
                }
            }
            let Some(piece) = self.held.front() else { return false };
            let end = piece.offset + piece.bytes.len() as u64;
            if piece.object > *object || (piece.object == *object && piece.offset > at) {
                return false;
            }
            if piece.object == *object && at < end {
                return true;
            }
            self.held.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::noise;
    use model::{Digest, ObjectKind};
    use proptest::prelude::*;

    fn object(at: usize, length: usize) -> Object {
        let name = Digest([u8::try_from(at).unwrap(); 32]);
        Object { repository: 0, kind: ObjectKind::Pack, name, length: length as u64 }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn what_comes_is_had_in_whatever_parts_and_the_rest_is_not(
            lengths in prop::collection::vec((1_usize..3_000_000, 0_usize..4), 1..6),
            given in 1_usize..1_500_000,
            asked in 1_usize..1_500_000,
        ) {
            let objects: Vec<(Object, Vec<u8>, usize)> = lengths
                .iter()
                .enumerate()
                // Of some nothing comes, of some a part.
                .map(|(at, (length, how))| {
                    let comes = match how { 0 => 0, 1 => length / 2, _ => *length };
                    (object(at, *length), noise(at as u64, *length), comes)
                })
                .collect();
            let (mut tap, mut tapped) = Tapped::new();
            std::thread::scope(|scope| {
                let objects = &objects;
                scope.spawn(move || {
                    for (object, bytes, comes) in objects {
                        bytes[..*comes].chunks(given).for_each(|bytes| tap.bytes(object, bytes));
                    }
                });
                for (object, bytes, comes) in objects {
                    for (at, part) in bytes.chunks(asked).enumerate() {
                        let mut into = vec![0; part.len()];
                        let has = tapped.part(object, (at * asked) as u64, &mut into);
                        assert_eq!(has, at * asked + part.len() <= *comes);
                        assert!(!has || into == part);
                    }
                }
            });
        }

        #[test]
        fn who_is_not_heard_goes_on(pieces in 0_usize..80) {
            let (mut tap, tapped) = Tapped::new();
            drop(tapped);
            let object = object(1, PIECE * 80);
            (0..pieces).for_each(|_| tap.bytes(&object, &[0; 10]));
        }
    }
}
