//! Reads the objects of a drive, or of any folder laid out like one, and compares each with its name.
//! Writes nothing, and does not say what is to become of an object that is wrong.
//!
//! One thread reads in large steps and in the order given, past the page cache where the file system
//! can, so that what is compared is what the medium gives; the caller's hashes, two objects side by
//! side where both are short enough to be held.
//!
//! Memory: [`AHEAD`] parts, whatever the objects' lengths.

use crate::beneath::{self, Beneath};
use crate::event::Reason;
use crate::{Object, drive};
use model::Digest;
use sha256::Hasher;
use std::fs::File;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use store::direct::{self, Aligned};

/// Bytes of a part: large enough for a disk to stream.
pub(crate) const PART: usize = 4 << 20;
/// Parts that are read and not yet hashed: 64 MiB, as while a drive is written.
const AHEAD: usize = 16;
/// Of these may be held while their object is not there whole: the others are being read.
const HELD: usize = 13;

/// What is heard of objects, one after the other in the order given: their bytes, then their end.
pub(crate) enum Heard<'a> {
    /// The next bytes of an object. They begin at a multiple of the block in memory, and all parts
    /// but the last one have whole blocks only, unless reading fails.
    Bytes(&'a Object, &'a [u8]),
    /// There are no more of it, and what is wrong with it if something is. Some or all bytes of an
    /// object that is wrong may have been heard before.
    End(&'a Object, Option<Reason>),
}

/// Reads every object, given with its path, and has `hear` hear of it. False when `hear` said stop.
///
/// # Errors
/// Those of `hear`, which end it.
pub(crate) fn each<E>(
    folder: &Beneath,
    objects: impl Iterator<Item = (Object, String)> + Send,
    part: usize,
    hear: &mut dyn FnMut(Heard<'_>) -> Result<bool, E>,
) -> Result<bool, E> {
    std::thread::scope(|scope| {
        let (sender, pieces) = sync_channel(AHEAD);
        let (give_back, buffers) = channel();
        for _ in 0..AHEAD {
            let _ = give_back.send(Aligned::new(part));
        }
        beneath::spawn(scope, move || read_ahead(folder, objects, &sender, &buffers));
        hash_all(pieces, give_back, hear)
    })
}

/// What the reading thread sends.
enum Piece {
    Bytes(Object, Aligned, usize),
    /// The object has ended; its bytes are still to be compared with its name where nothing is wrong.
    End(Object, Option<Reason>),
}

/// Reads objects one after the other; ends early when nobody listens.
fn read_ahead(
    folder: &Beneath,
    objects: impl Iterator<Item = (Object, String)>,
    pieces: &SyncSender<Piece>,
    buffers: &Receiver<Aligned>,
) {
    for (object, path) in objects {
        let wrong = read_object(folder, &object, &path, pieces, buffers);
        if pieces.send(Piece::End(object, wrong)).is_err() {
            return;
        }
    }
}

fn read_object(
    folder: &Beneath,
    object: &Object,
    path: &str,
    pieces: &SyncSender<Piece>,
    buffers: &Receiver<Aligned>,
) -> Option<Reason> {
    let file = match drive::open_file(folder, path, object) {
        Ok(file) => file,
        Err(reason) => return Some(reason),
    };
    from_the_medium(&file);
    let mut from = &file;
    let mut seen = 0;
    while seen < object.length {
        let Ok(mut buffer) = buffers.recv() else { return None };
        let count = match drive::read_some(&mut from, buffer.bytes_mut()) {
            Ok(bytes) => bytes.len(),
            Err(cause) => return Some(Reason::Unreadable(cause.to_string())),
        };
        if count == 0 {
            return Some(Reason::Length { found: seen, expected: object.length });
        }
        seen += count as u64;
        if pieces.send(Piece::Bytes(*object, buffer, count)).is_err() {
            return None;
        }
    }
    None
}

/// Past the cache; where that cannot be, without what is in it, as far as the system lets go of it.
pub(crate) fn from_the_medium(file: &File) {
    if !direct::is_on_a_disk(file) || direct::set_direct(file, true).is_err() {
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
    }
}

/// Parts of one object, in order.
type Parts = Vec<(Aligned, usize)>;

/// An object that is there whole, and not hashed yet.
struct Whole {
    object: Object,
    parts: Parts,
    wrong: Option<Reason>,
}

impl Whole {
    fn part(&self, at: usize) -> &[u8] {
        self.parts.get(at).map_or(&[], bytes_of)
    }
}

fn bytes_of((buffer, count): &(Aligned, usize)) -> &[u8] {
    buffer.bytes().get(..*count).unwrap_or_default()
}

/// Compares objects with their names, and has them heard of in order.
struct Check<'c, E> {
    /// Waits for another one to be hashed beside.
    first: Option<Whole>,
    /// Of the object that is coming.
    parts: Parts,
    /// Of the object that is coming, when it is too long to be held.
    long: Option<Hasher>,
    give_back: Sender<Aligned>,
    hear: &'c mut dyn FnMut(Heard<'_>) -> Result<bool, E>,
    goes_on: bool,
}

impl<E> Check<'_, E> {
    fn bytes(&mut self, object: &Object, part: (Aligned, usize)) -> Result<(), E> {
        self.parts.push(part);
        if let Some(hasher) = &mut self.long {
            self.parts.iter().for_each(|part| hasher.update(bytes_of(part)));
            return self.coming(object);
        }
        let held = self.first.as_ref().map_or(0, |first| first.parts.len()) + self.parts.len();
        if held < HELD {
            return Ok(());
        }
        if let Some(first) = self.first.take() {
            return self.alone(first);
        }
        let mut hasher = Hasher::default();
        self.parts.iter().for_each(|part| hasher.update(bytes_of(part)));
        self.long = Some(hasher);
        self.coming(object)
    }

    fn end(&mut self, object: Object, wrong: Option<Reason>) -> Result<(), E> {
        if let Some(hasher) = self.long.take() {
            return self.verdict(&object, wrong, hasher);
        }
        let second = Whole { object, parts: std::mem::take(&mut self.parts), wrong };
        match self.first.take() {
            Some(first) => self.both(first, second),
            None => {
                self.first = Some(second);
                Ok(())
            }
        }
    }

    fn both(&mut self, first: Whole, second: Whole) -> Result<(), E> {
        let (mut one, mut other) = (Hasher::default(), Hasher::default());
        for at in 0..first.parts.len().max(second.parts.len()) {
            one.update_both(first.part(at), &mut other, second.part(at));
        }
        for (whole, hasher) in [(first, one), (second, other)] {
            self.hashed(whole, hasher)?;
        }
        Ok(())
    }

    fn alone(&mut self, whole: Whole) -> Result<(), E> {
        let mut hasher = Hasher::default();
        whole.parts.iter().for_each(|part| hasher.update(bytes_of(part)));
        self.hashed(whole, hasher)
    }

    fn hashed(&mut self, whole: Whole, hasher: Hasher) -> Result<(), E> {
        self.heard(&whole.object, whole.parts)?;
        self.verdict(&whole.object, whole.wrong, hasher)
    }

    fn verdict(&mut self, object: &Object, wrong: Option<Reason>, hasher: Hasher) -> Result<(), E> {
        let is_right = || Digest(hasher.finalize()) == object.name;
        let wrong = wrong.or_else(|| (!is_right()).then_some(Reason::Hash));
        self.goes_on = self.goes_on && (self.hear)(Heard::End(object, wrong))?;
        Ok(())
    }

    fn coming(&mut self, object: &Object) -> Result<(), E> {
        let parts = std::mem::take(&mut self.parts);
        self.heard(object, parts)
    }

    /// Has the parts heard, and gives their buffers back.
    fn heard(&mut self, object: &Object, parts: Parts) -> Result<(), E> {
        for part in parts {
            self.goes_on = self.goes_on && (self.hear)(Heard::Bytes(object, bytes_of(&part)))?;
            // Nobody waits for it once all is read.
            let _ = self.give_back.send(part.0);
        }
        Ok(())
    }
}

/// Takes both channels, so that the reading thread ends when this does.
fn hash_all<E>(
    pieces: Receiver<Piece>,
    give_back: Sender<Aligned>,
    hear: &mut dyn FnMut(Heard<'_>) -> Result<bool, E>,
) -> Result<bool, E> {
    let (first, parts, long) = (None, Vec::new(), None);
    let mut check = Check { first, parts, long, give_back, hear, goes_on: true };
    for piece in pieces {
        match piece {
            Piece::Bytes(object, buffer, count) => check.bytes(&object, (buffer, count))?,
            Piece::End(object, wrong) => check.end(object, wrong)?,
        }
        if !check.goes_on {
            return Ok(false);
        }
    }
    if let Some(last) = check.first.take() {
        check.alone(last)?;
    }
    Ok(check.goes_on)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ObjectKind;
    use proptest::prelude::*;

    const PART: usize = 10;

    /// Reads these as the reading thread does, with as many buffers; answers what was fed and found
    /// damaged.
    fn checked(contents: &[(Vec<u8>, bool)]) -> (Vec<u8>, Vec<Object>) {
        let (sender, pieces) = sync_channel(AHEAD);
        let (give_back, buffers) = channel();
        (0..AHEAD).for_each(|_| give_back.send(Aligned::new(PART)).unwrap());
        let (mut fed, mut damaged) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for (bytes, right) in contents {
                    for part in bytes.chunks(PART) {
                        let mut buffer = buffers.recv().unwrap();
                        buffer.bytes_mut()[..part.len()].copy_from_slice(part);
                        sender
                            .send(Piece::Bytes(object(bytes, *right), buffer, part.len()))
                            .unwrap();
                    }
                    sender.send(Piece::End(object(bytes, *right), None)).unwrap();
                }
            });
            let mut hear = |heard: Heard<'_>| -> Result<bool, ()> {
                match heard {
                    Heard::Bytes(_, bytes) => fed.extend_from_slice(bytes),
                    Heard::End(object, wrong) => damaged.extend(wrong.map(|_| *object)),
                }
                Ok(true)
            };
            assert!(hash_all(pieces, give_back, &mut hear).unwrap());
        });
        (fed, damaged)
    }

    fn object(bytes: &[u8], right: bool) -> Object {
        let mut name = sha256::hash(bytes);
        name[0] ^= u8::from(!right);
        let length = bytes.len() as u64;
        Object { repository: 0, kind: ObjectKind::Pack, name: Digest(name), length }
    }

    proptest! {
        #[test]
        fn every_byte_is_fed_in_order_and_exactly_the_wrong_ones_are_damaged(
            contents in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..400), prop::bool::weighted(0.8)), 0..12),
        ) {
            let (fed, mut damaged) = checked(&contents);
            let all: Vec<u8> = contents.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
            prop_assert!(fed == all);
            let wrong = contents.iter().filter(|(_, right)| !right);
            let mut wrong: Vec<Object> = wrong.map(|(bytes, _)| object(bytes, false)).collect();
            damaged.sort_unstable();
            wrong.sort_unstable();
            prop_assert_eq!(damaged, wrong);
        }
    }

    #[test]
    fn who_is_fed_enough_ends_both_threads() {
        let (sender, pieces) = sync_channel(AHEAD);
        let (give_back, buffers) = channel();
        (0..3).for_each(|_| give_back.send(Aligned::new(PART)).unwrap());
        let reading = std::thread::spawn(move || {
            let whole = object(&[0; PART], true);
            while let Ok(buffer) = buffers.recv() {
                if sender.send(Piece::Bytes(whole, buffer, PART)).is_err() {
                    break;
                }
                if sender.send(Piece::End(whole, None)).is_err() {
                    break;
                }
            }
        });
        let mut parts = 0;
        let mut hear = |heard: Heard<'_>| -> Result<bool, ()> {
            match heard {
                Heard::Bytes(..) => parts += 1,
                Heard::End(_, wrong) => assert!(wrong.is_none()),
            }
            Ok(parts < 3)
        };
        assert!(!hash_all(pieces, give_back, &mut hear).unwrap());
        reading.join().unwrap();
    }
}
