//! Reads a filled drive back and seals it. What is not as it was written is the caller's to write
//! again.
//!
//! One thread reads in large steps, past the page cache where the file system can, so that what is
//! checked is what the drive gives; another hashes, two objects side by side where both are short
//! enough to be held.

use crate::bay::{Bay, Job, Progress, Stopped, malformed, stopped};
use crate::beneath::{self, Beneath};
use crate::drive::{self, BAD, FOLDER, PARTIAL, PARTIALS, RESERVE};
use crate::event::Reason;
use crate::extent::Extents;
use crate::label::Label;
use crate::sign::Trust;
use crate::{Error, Manifest, ManifestHeader, Object, Signed};
use model::Digest;
use sha2::{Digest as _, Sha256};
use sha256::Hasher;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use store::direct::{self, Aligned};

/// Parts that are read and not yet hashed: 64 MiB, as while the drive was written.
const AHEAD: usize = 16;
/// Of these may be held while their object is not there whole: the others are being read.
const HELD: usize = 13;

/// What reading back has found.
pub(crate) struct ReadBackOf {
    /// The SHA-256 of the extent hashes, which are in the partial file.
    extents: Digest,
    /// Objects that are not what their names say.
    pub(crate) damaged: Vec<Object>,
}

impl Bay {
    /// Reads everything on the drive back. `read` is told of bytes, and may say stop.
    pub(crate) fn read_back(
        &mut self,
        job: &Job<'_>,
        part: usize,
        read: &mut dyn FnMut(u64) -> bool,
    ) -> Result<ReadBackOf, Stopped> {
        let Some(label) = self.signed_label().cloned() else { return Err(Stopped::Gone) };
        self.reopen(job, &label)?;
        let stop = stopped("reading back", &self.spec.folder);
        self.ready = false;
        self.folder.remove(RESERVE).map_err(&stop)?;
        self.folder.remove(PARTIAL).map_err(&stop)?;
        let mut out = BufWriter::new(self.folder.create(PARTIAL).map_err(&stop)?);
        let (mut hash, mut damaged) = (Sha256::new(), Vec::new());
        let mut write = |extent: [u8; 32]| {
            hash.update(extent);
            out.write_all(&extent)
        };
        let mut extents = Extents::default();
        let checked = self.check_all(job, part, &mut damaged, &mut |bytes| {
            extents.update(bytes, &mut write)?;
            Ok(read(bytes.len() as u64))
        });
        if !checked.map_err(&stop)? {
            return Err(Stopped::Failed(Error::Interrupted));
        }
        if let Some(last) = extents.finish() {
            write(last).map_err(&stop)?;
        }
        let file = out.into_inner().map_err(|failed| stop(failed.into_error()))?;
        file.sync().map_err(&stop)?;
        Ok(ReadBackOf { extents: Digest(hash.finalize().into()), damaged })
    }

    /// Feeds every object's bytes in the order of the stream. False when `feed` said stop.
    fn check_all(
        &self,
        job: &Job<'_>,
        part: usize,
        damaged: &mut Vec<Object>,
        feed: &mut dyn FnMut(&[u8]) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let repositories = &job.inventory.repositories;
        let paths = self
            .objects
            .iter()
            .map(|object| (*object, drive::path_of(repositories, object).unwrap_or_default()));
        std::thread::scope(|scope| {
            let (sender, pieces) = sync_channel(AHEAD);
            let (give_back, buffers) = channel();
            for _ in 0..AHEAD {
                let _ = give_back.send(Aligned::new(part));
            }
            let folder = &self.folder;
            beneath::spawn(scope, move || read_ahead(folder, paths, &sender, &buffers));
            hash_all(pieces, give_back, damaged, feed)
        })
    }

    /// Seals the drive, which was read back and found right.
    pub(crate) fn seal(&mut self, job: &Job<'_>, read: &ReadBackOf) -> Result<(), Stopped> {
        let stop = stopped("sealing", &self.spec.folder);
        let Progress::Labelled(label) = &self.progress else { return Ok(()) };
        let label = label.clone();
        for ours in [BAD, PARTIALS] {
            self.remove_all_in(ours).map_err(&stop)?;
        }
        self.folder.rename(PARTIAL, drive::EXTENTS).map_err(&stop)?;
        self.folder.sync_folder(FOLDER).map_err(&stop)?;
        let header = ManifestHeader {
            seed: label.body.seed,
            set: label.body.set,
            drive: label.body.drive,
            serial: label.body.serial.clone(),
            sealed: job.now,
            label: label.digest,
            extents: read.extents,
            inventory: Some(job.inventory_digest),
            repositories: label.body.repositories.clone(),
        };
        let manifest = Manifest { header, objects: self.objects.iter().copied().collect() };
        let bytes =
            manifest.encode(job.signer).map_err(|problem| malformed(&self.folder, problem))?;
        self.folder.write(drive::MANIFEST, PARTIAL, &bytes).map_err(&stop)?;
        let digest = Digest(Sha256::digest(&bytes).into());
        let manifest = Signed { body: manifest, signer: job.signer.public(), digest };
        let sealed = drive::Sealed { label, manifest, manifest_bytes: bytes };
        self.progress = Progress::Sealed(Box::new(sealed));
        Ok(())
    }

    /// Closes the drive, has it refreshed, opens it again, and makes sure that it is the same one.
    fn reopen(&mut self, job: &Job<'_>, label: &Signed<Label>) -> Result<(), Stopped> {
        let path = &self.spec.folder;
        let stop = stopped("reading back", path);
        // An open handle would keep the drive from being unmounted.
        self.folder = Beneath::open(Path::new("/")).map_err(&stop)?;
        job.read_back.refresh(path).map_err(&stop)?;
        self.folder = Beneath::open(path).map_err(&stop)?;
        if !self.folder.lock().map_err(&stop)? {
            return Err(Stopped::Failed(Error::Busy { place: drive::place(&self.folder) }));
        }
        match drive::label(&self.folder, &Trust::Key(label.signer)) {
            Ok(Some(again)) if again.digest == label.digest => Ok(()),
            Ok(_) => Err(Stopped::Gone),
            Err(Error::Io { cause, .. }) => Err(stop(cause)),
            Err(other) => Err(Stopped::Failed(other)),
        }
    }
}

/// What the reading thread sends.
enum Piece {
    Bytes(Aligned, usize),
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
        if pieces.send(Piece::Bytes(buffer, count)).is_err() {
            return None;
        }
    }
    None
}

/// Past the cache; where that cannot be, without what is in it, as far as the system lets go of it.
fn from_the_medium(file: &File) {
    if !direct::is_on_a_disk(file) || direct::set_direct(file, true).is_err() {
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
    }
}

/// An object that is there whole, and not hashed yet.
struct Whole {
    object: Object,
    parts: Vec<(Aligned, usize)>,
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

/// Compares objects with their names, and feeds their bytes in order.
struct Check<'c> {
    /// Waits for another one to be hashed beside.
    first: Option<Whole>,
    /// Of the object that is coming.
    parts: Vec<(Aligned, usize)>,
    /// Of the object that is coming, when it is too long to be held.
    long: Option<Hasher>,
    give_back: Sender<Aligned>,
    damaged: &'c mut Vec<Object>,
    feed: &'c mut dyn FnMut(&[u8]) -> io::Result<bool>,
    goes_on: bool,
}

impl Check<'_> {
    fn bytes(&mut self, part: (Aligned, usize)) -> io::Result<()> {
        self.parts.push(part);
        if let Some(hasher) = &mut self.long {
            self.parts.iter().for_each(|part| hasher.update(bytes_of(part)));
            return self.done();
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
        self.done()
    }

    fn end(&mut self, object: Object, wrong: Option<Reason>) -> io::Result<()> {
        if let Some(hasher) = self.long.take() {
            self.verdict(&object, wrong.as_ref(), hasher);
            return Ok(());
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

    fn both(&mut self, first: Whole, second: Whole) -> io::Result<()> {
        let (mut one, mut other) = (Hasher::default(), Hasher::default());
        for at in 0..first.parts.len().max(second.parts.len()) {
            one.update_both(first.part(at), &mut other, second.part(at));
        }
        for (whole, hasher) in [(first, one), (second, other)] {
            self.hashed(whole, hasher)?;
        }
        Ok(())
    }

    fn alone(&mut self, whole: Whole) -> io::Result<()> {
        let mut hasher = Hasher::default();
        whole.parts.iter().for_each(|part| hasher.update(bytes_of(part)));
        self.hashed(whole, hasher)
    }

    fn hashed(&mut self, whole: Whole, hasher: Hasher) -> io::Result<()> {
        self.verdict(&whole.object, whole.wrong.as_ref(), hasher);
        let coming = std::mem::replace(&mut self.parts, whole.parts);
        let done = self.done();
        self.parts = coming;
        done
    }

    fn verdict(&mut self, object: &Object, wrong: Option<&Reason>, hasher: Hasher) {
        if wrong.is_some() || Digest(hasher.finalize()) != object.name {
            self.damaged.push(*object);
        }
    }

    /// Feeds the parts, and gives their buffers back.
    fn done(&mut self) -> io::Result<()> {
        for part in self.parts.drain(..) {
            self.goes_on = self.goes_on && (self.feed)(bytes_of(&part))?;
            // Nobody waits for it once all is read.
            let _ = self.give_back.send(part.0);
        }
        Ok(())
    }
}

/// Takes both channels, so that the reading thread ends when this does.
fn hash_all(
    pieces: Receiver<Piece>,
    give_back: Sender<Aligned>,
    damaged: &mut Vec<Object>,
    feed: &mut dyn FnMut(&[u8]) -> io::Result<bool>,
) -> io::Result<bool> {
    let (first, parts, long) = (None, Vec::new(), None);
    let mut check = Check { first, parts, long, give_back, damaged, feed, goes_on: true };
    for piece in pieces {
        match piece {
            Piece::Bytes(buffer, count) => check.bytes((buffer, count))?,
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
                        sender.send(Piece::Bytes(buffer, part.len())).unwrap();
                    }
                    sender.send(Piece::End(object(bytes, *right), None)).unwrap();
                }
            });
            let mut feed = |bytes: &[u8]| {
                fed.extend_from_slice(bytes);
                Ok(true)
            };
            assert!(hash_all(pieces, give_back, &mut damaged, &mut feed).unwrap());
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
                if sender.send(Piece::Bytes(buffer, PART)).is_err() {
                    break;
                }
                if sender.send(Piece::End(whole, None)).is_err() {
                    break;
                }
            }
        });
        let mut damaged = Vec::new();
        let mut parts = 0;
        let mut feed = |_: &[u8]| {
            parts += 1;
            Ok(parts < 3)
        };
        assert!(!hash_all(pieces, give_back, &mut damaged, &mut feed).unwrap());
        reading.join().unwrap();
        assert!(damaged.is_empty());
    }
}
