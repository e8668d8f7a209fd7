//! The extents of a set's drives while something is rebuilt: each drive has a thread that reads ahead, and what it
//! gives was compared with its hash. Rebuilds nothing.
//!
//! Memory: of each drive [`AHEAD`] extents, and a window of [`WINDOW`] bytes of what has arrived.

use super::covered::Covered;
use super::stripe::SHARD;
use super::tap::Tapped;
use super::{Extents, HashFile};
use crate::rebuilt::Arrived;
use crate::{EXTENT, Error, Object, SealedDrive, drive};
use model::ErrorKind;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Extents of a drive that are read and not used yet.
const AHEAD: usize = 4;
/// Bytes of an object that are asked for at once where it has arrived: of a pack with 16 MiB a quarter.
const WINDOW: u64 = 4 << 20;

/// An extent that is as it was when its drive was sealed.
pub(super) struct Extent {
    pub(super) bytes: Box<[u8]>,
    /// How much of it was read of what had arrived; the rest comes from its drive.
    pub(super) arrived: u64,
    pub(super) read: u64,
}

/// What is given for each stripe: none where it cannot be had.
pub(super) type Given = Result<Option<Extent>, Error>;

/// Where a drive's extents come from, in the order of the stripes.
pub(super) struct Lane(Receiver<Given>);

impl Lane {
    pub(super) fn new() -> (SyncSender<Given>, Self) {
        let (sender, receiver) = sync_channel(AHEAD);
        (sender, Self(receiver))
    }

    pub(super) fn next(&self) -> Given {
        // Whoever gives no more has been told to stop.
        self.0.recv().unwrap_or(Err(Error::Interrupted))
    }
}

/// Gives one extent of each wanted stripe, until nobody takes them.
pub(super) fn give(
    stripes: &[Range<u64>],
    sender: &SyncSender<Given>,
    mut extent: impl FnMut(u64, u64) -> Given,
) {
    for range in stripes {
        for number in range.clone() {
            let given = extent(number, range.end);
            let failed = given.is_err();
            if sender.send(given).is_err() || failed {
                return;
            }
        }
    }
}

/// The stream of a covered drive, put together from what has arrived and from what is on the drive itself.
pub(super) struct Stream<'a> {
    covered: &'a Covered<'a>,
    hashes: Option<HashFile>,
    arrived: &'a dyn Arrived,
    /// What the drive gives, where it is being taken in.
    tapped: Option<Tapped>,
    /// A part of an object that has arrived: which, from where, and its bytes.
    window: Option<(usize, u64, Vec<u8>)>,
    /// An object on the drive.
    open: Option<(usize, File)>,
}

impl<'a> Stream<'a> {
    pub(super) fn new(
        covered: &'a Covered<'a>,
        hashes: Option<HashFile>,
        arrived: &'a dyn Arrived,
        tapped: Option<Tapped>,
    ) -> Self {
        Self { covered, hashes, arrived, tapped, window: None, open: None }
    }

    /// An extent of the stream, of which all up to the extent `end` are wanted.
    pub(super) fn extent(&mut self, number: u64, end: u64) -> Given {
        let mut extent = Extent { bytes: vec![0; SHARD].into_boxed_slice(), arrived: 0, read: 0 };
        let covered = self.covered;
        if number >= covered.layout.extents() {
            return Ok(Some(extent));
        }
        // Without its hash nothing that is read could be believed.
        let hash = self.hashes.as_mut().and_then(|hashes| hashes.get(number).ok());
        let Some(hash) = hash else { return Ok(None) };
        for part in covered.layout.parts(number).filter(|part| part.length > 0) {
            let Some(object) = covered.layout.object(part.index) else { return Ok(None) };
            let Some(into) = extent.bytes.get_mut(part.at..part.at + part.length) else {
                return Ok(None);
            };
            let place = (part.index, part.offset);
            let has = if covered.missing.contains(&part.index) {
                extent.read += part.length as u64;
                self.on_drive(object, place, into)
            } else {
                extent.arrived += part.length as u64;
                let tapped = self.tapped.as_mut();
                // Of the stream's rest as much as belongs to the object.
                let wanted = end.saturating_sub(number).saturating_mul(EXTENT);
                let wanted = wanted.saturating_sub(part.at as u64);
                // What is there already is not read from the drive.
                tapped.is_some_and(|tapped| tapped.part(object, part.offset, into))
                    || self.has_arrived(object, place, wanted, into)?
            };
            if !has {
                return Ok(None);
            }
        }
        Ok((blake3::hash(&extent.bytes) == hash).then_some(extent))
    }

    /// Reads from the drive itself, if it is at hand.
    fn on_drive(&mut self, object: &Object, (index, at): (usize, u64), into: &mut [u8]) -> bool {
        if self.open.as_ref().is_none_or(|(open, _)| *open != index) {
            let Some(drive) = self.covered.at_hand else { return false };
            let path = drive::path_of(&self.covered.header.repositories, object);
            let file = path.and_then(|path| drive::open_file(drive.folder(), &path, object).ok());
            let Some(file) = file else { return false };
            self.open = Some((index, file));
        }
        self.open.as_ref().is_some_and(|(_, file)| file.read_exact_at(into, at).is_ok())
    }

    /// Reads what has arrived, a window at a time. False where it is not there any more.
    fn has_arrived(
        &mut self,
        object: &Object,
        (index, at): (usize, u64),
        wanted: u64,
        into: &mut [u8],
    ) -> Result<bool, Error> {
        let length = into.len() as u64;
        let holds = |window: &&(usize, u64, Vec<u8>)| {
            let (of, from, bytes) = *window;
            *of == index && *from <= at && at + length <= from + bytes.len() as u64
        };
        if self.window.as_ref().filter(|window| holds(window)).is_none() {
            let whole = object.length.saturating_sub(at).min(wanted).min(WINDOW).max(length);
            let mut bytes = self.window.take().map(|(_, _, bytes)| bytes).unwrap_or_default();
            bytes.resize(usize::try_from(whole).unwrap_or(usize::MAX), 0);
            let repositories = &self.covered.header.repositories;
            let repository = repositories.get(usize::from(object.repository));
            let Some(repository) = repository else { return Ok(false) };
            match self.arrived.read_at(repository, &object.key(), at, &mut bytes) {
                Ok(()) => self.window = Some((index, at, bytes)),
                Err(error) if is_of_one(error.kind()) => return Ok(false),
                Err(error) => return Err(Error::Store(error)),
            }
        }
        let Some((_, from, bytes)) = &self.window else { return Ok(false) };
        let start = usize::try_from(at - from).unwrap_or(usize::MAX);
        let Some(found) = bytes.get(start..start.saturating_add(into.len())) else {
            return Ok(false);
        };
        into.copy_from_slice(found);
        Ok(true)
    }
}

/// Whether what is wrong concerns one object, and not the place that it is in.
fn is_of_one(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Conflict)
}

/// The parity of one drive, compared with its hashes.
pub(super) struct Parity<'d> {
    hashes: HashFile,
    extents: Extents<'d>,
}

impl<'d> Parity<'d> {
    /// None for a drive whose own hashes cannot be read.
    pub(super) fn open(drive: &'d SealedDrive) -> Option<Self> {
        let (file, length) = drive.folder().file(drive::EXTENTS).ok()?;
        let digest = &drive.manifest().body.header.extents;
        let hashes = HashFile::of_parity(file, length, digest).ok()??;
        Some(Self { hashes, extents: Extents::new(drive.folder()) })
    }

    /// An extent that can be read and is right.
    pub(super) fn extent(&mut self, number: u64) -> Given {
        if number >= self.hashes.count() {
            return Ok(None);
        }
        let expected = self.hashes.get(number).ok();
        let found = self.extents.get(number).zip(expected);
        let found = found.filter(|(bytes, expected)| blake3::hash(bytes) == *expected);
        Ok(found.map(|(bytes, _)| Extent { bytes: bytes.into(), arrived: 0, read: SHARD as u64 }))
    }
}
