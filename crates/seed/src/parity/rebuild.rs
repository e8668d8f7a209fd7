//! Rebuilds what the data drives of a set have not brought, from parity drives at hand, from what has arrived, and
//! from what can still be read of damaged drives. Each extent is compared with its hash before it is used, each
//! object with its name before it counts.

use super::hashes::HashFile;
use super::layout::Layout;
use super::stripe::{Decoder, SHARD, Shape};
use super::{Extents, copy, copy_of_extents};
use crate::arrive::{Arrivals, Ground, Named};
use crate::arrived::{FolderLanding, conflict_is_absence};
use crate::belt::Limits;
use crate::beneath::Beneath;
use crate::drive::{self, Sealed};
use crate::event::Events;
use crate::landing::{Destination, pending};
use crate::manifest::ParityOf;
use crate::sign::Trust;
use crate::{Document, Error, Event, Manifest, Object, Signed, object_path};
use model::Digest;
use sha256::Hasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use wire::SeedId;

/// A parity drive at hand.
pub(crate) struct ParityDrive {
    pub(crate) folder: Beneath,
    pub(crate) sealed: Sealed,
    pub(crate) of: ParityOf,
}

/// What rebuilding works with.
pub(crate) struct Rebuilding<'a> {
    pub(crate) destination: &'a Destination,
    pub(crate) ground: &'a Ground<'a>,
    pub(crate) limits: Limits,
    pub(crate) trust: &'a Trust,
    /// Data drives at hand: some of what is on them may be good although an object is not.
    pub(crate) data: &'a [PathBuf],
}

/// What was rebuilt of one set.
pub(crate) struct Rebuilt {
    pub(crate) seed: SeedId,
    pub(crate) repositories: Vec<Digest>,
    /// Objects that were named now.
    pub(crate) objects: Vec<Object>,
}

/// Rebuilds what these parity drives, which cover the same drives, can give.
///
/// # Errors
/// The destination takes nothing more; somebody has said stop. A drive that cannot be read gives less.
pub(crate) fn rebuild(
    with: &Rebuilding<'_>,
    parity: &[ParityDrive],
    events: &mut dyn Events,
) -> Result<Option<Rebuilt>, Error> {
    let Some(first) = parity.first() else { return Ok(None) };
    let header = &first.sealed.manifest.body.header;
    let (seed, repositories) = (header.seed, header.repositories.clone());
    let landing = with.destination.landing(seed, &repositories)?;
    let mut covered = Vec::new();
    for place in 0..first.of.drives.len() {
        covered.push(Covered::open(with, parity, place, (seed, &landing))?);
    }
    let ranges = merged(covered.iter().flatten().flat_map(Covered::wanted));
    if ranges.is_empty() {
        return Ok(None);
    }
    let shape = Shape { data: covered.len(), parity: first.of.count as usize };
    let mut extents: Vec<Checked<'_>> = parity.iter().filter_map(Checked::open).collect();
    let mut work = Work {
        with,
        decoder: Decoder::new(shape)?,
        arrivals: (0..covered.len())
            .map(|at| {
                let pending = pending(seed);
                // Numbers that no drive's own intake has had.
                let number = crate::intake::AT_ONCE + at;
                Arrivals::new(with.ground, with.limits, pending, &repositories, number)
            })
            .collect(),
        covered,
        named: Vec::new(),
    };
    let wanted: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    events.event(Event::Rebuilding { stripes: wanted });
    let mut numbers = ranges.into_iter().flatten();
    let looked = numbers.try_for_each(|number| {
        if events.stop() {
            return Err(Error::Interrupted);
        }
        work.stripe(number, &mut extents)?;
        events.event(Event::Rebuilt { bytes: SHARD as u64 });
        Ok(())
    });
    // What is complete gets its name however it has ended.
    let objects = work.finish();
    looked?;
    Ok(Some(Rebuilt { seed, repositories, objects: objects? }))
}

/// Ranges that touch, as one.
fn merged(ranges: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut all: Vec<Range<u64>> = ranges.collect();
    all.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in all {
        match merged.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// One covered data drive, at hand or not.
struct Covered {
    layout: Layout,
    repositories: Vec<Digest>,
    hashes: Option<HashFile>,
    at_hand: Option<Beneath>,
    pending: String,
    /// Objects that are not at the destination, by their place; and those that will not come.
    missing: BTreeSet<usize>,
    /// The file that is being read.
    open: Option<(usize, File)>,
    /// What was hashed of the object that is being put together.
    hasher: Hasher,
    done: u64,
}

impl Covered {
    /// None where no parity drive has the drive's documents.
    fn open(
        with: &Rebuilding<'_>,
        parity: &[ParityDrive],
        place: usize,
        (seed, landing): (SeedId, &FolderLanding),
    ) -> Result<Option<Self>, Error> {
        let Some(manifest) = parity.iter().find_map(|drive| {
            copy_of_manifest(&drive.folder, (&drive.sealed, &drive.of), place, with.trust)
        }) else {
            return Ok(None);
        };
        let at_hand = with.data.iter().find_map(|path| drive_of(path, &manifest, with.trust));
        let hashes =
            parity.iter().find_map(|drive| copy_of_hashes(&drive.folder, place, &manifest.body));
        let hashes = hashes.or_else(|| own_hashes(at_hand.as_ref()?, &manifest.body));
        let layout = Layout::new(&manifest.body);
        let mut missing = BTreeSet::new();
        for (index, object) in layout.objects().iter().enumerate() {
            let Some(repository) = manifest.body.repository(object) else { continue };
            let has = landing.has(&repository, &object.key(), object.length);
            if !has.or_else(conflict_is_absence).map_err(Error::Store)? {
                missing.insert(index);
            }
        }
        Ok(Some(Self {
            layout,
            repositories: manifest.body.header.repositories.clone(),
            hashes,
            at_hand,
            pending: pending(seed),
            missing,
            open: None,
            hasher: Hasher::default(),
            done: 0,
        }))
    }

    /// The extents that missing objects lie in.
    fn wanted(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.missing.iter().map(|index| self.layout.extents_of(*index))
    }

    /// An extent that can be had and is right.
    fn extent(&mut self, number: u64, destination: &Beneath) -> Option<Box<[u8]>> {
        let mut extent = vec![0; SHARD].into_boxed_slice();
        if number >= self.layout.extents() {
            return Some(extent);
        }
        let parts: Vec<_> = self.layout.parts(number).filter(|part| part.length > 0).collect();
        for part in parts {
            if self.open.as_ref().is_none_or(|(index, _)| *index != part.index) {
                self.open = Some((part.index, self.file(part.index, destination)?));
            }
            let (_, file) = self.open.as_ref()?;
            let place = extent.get_mut(part.at..part.at + part.length)?;
            file.read_exact_at(place, part.offset).ok()?;
        }
        let expected = self.hashes.as_mut()?.get(number).ok()?;
        (blake3::hash(&extent) == expected).then_some(extent)
    }

    /// An object where it has arrived, or on its drive.
    fn file(&self, index: usize, destination: &Beneath) -> Option<File> {
        let object = self.layout.object(index)?;
        let repository = self.repositories.get(usize::from(object.repository))?;
        let path = object_path(repository, &object.key());
        let published =
            crate::landing::published_path(&self.repositories, repository, &object.key());
        let arrived = [format!("{}/{path}", self.pending), published];
        let arrived = arrived.iter().filter(|_| !self.missing.contains(&index));
        let found =
            arrived.filter_map(|path| drive::open_file(destination, path, object).ok()).next();
        found.or_else(|| drive::open_file(self.at_hand.as_ref()?, &path, object).ok())
    }
}

/// The drive with that manifest, if it is the one at that path.
fn drive_of(path: &Path, manifest: &Signed<Manifest>, trust: &Trust) -> Option<Beneath> {
    let folder = Beneath::open(path).ok()?;
    let sealed = drive::sealed(&folder, trust).ok()?;
    (sealed.manifest.digest == manifest.digest).then_some(folder)
}

fn own_hashes(folder: &Beneath, manifest: &Manifest) -> Option<HashFile> {
    let (file, length) = folder.file(drive::EXTENTS).ok()?;
    HashFile::open(file, length, manifest).ok()?
}

/// The copy of a covered drive's manifest, if it is the one that the parity drive's own names.
pub(super) fn copy_of_manifest(
    folder: &Beneath,
    (sealed, of): (&Sealed, &ParityOf),
    place: usize,
    trust: &Trust,
) -> Option<Signed<Manifest>> {
    let bytes = folder.read_if_there(&copy(place), Document::Manifest.limit()).ok()??;
    let manifest = Manifest::decode(&bytes, trust).ok()?;
    let (said, own) = (&manifest.body.header, &sealed.manifest.body.header);
    let fits = (said.seed, said.set) == (own.seed, own.set)
        && said.repositories == own.repositories
        && manifest.signer == sealed.manifest.signer;
    (fits && of.drives.get(place) == Some(&manifest.digest)).then_some(manifest)
}

/// And the copy of its extent hashes.
pub(super) fn copy_of_hashes(
    folder: &Beneath,
    place: usize,
    manifest: &Manifest,
) -> Option<HashFile> {
    let (file, length) = folder.file(&copy_of_extents(place)).ok()?;
    HashFile::open(file, length, manifest).ok()?
}

/// The parity of one drive, compared with its hashes.
struct Checked<'d> {
    index: usize,
    hashes: HashFile,
    extents: Extents<'d>,
}

impl<'d> Checked<'d> {
    /// None for a drive whose own hashes cannot be read.
    fn open(drive: &'d ParityDrive) -> Option<Self> {
        let (file, length) = drive.folder.file(drive::EXTENTS).ok()?;
        let digest = &drive.sealed.manifest.body.header.extents;
        let hashes = HashFile::of_parity(file, length, digest).ok()??;
        let index = drive.of.index as usize;
        Some(Self { index, hashes, extents: Extents::new(&drive.folder) })
    }

    /// An extent that can be read and is right.
    fn get(&mut self, number: u64) -> Option<&[u8]> {
        if number >= self.hashes.count() {
            return None;
        }
        let expected = self.hashes.get(number).ok()?;
        self.extents.get(number).filter(|extent| blake3::hash(extent) == expected)
    }
}

struct Work<'w> {
    with: &'w Rebuilding<'w>,
    decoder: Decoder,
    covered: Vec<Option<Covered>>,
    arrivals: Vec<Arrivals<'w>>,
    named: Vec<Object>,
}

impl Work<'_> {
    fn stripe(&mut self, number: u64, parity: &mut [Checked<'_>]) -> Result<(), Error> {
        let destination = &self.with.destination.folder;
        let mut data: Vec<Option<Box<[u8]>>> = self
            .covered
            .iter_mut()
            .map(|drive| drive.as_mut()?.extent(number, destination))
            .collect();
        let lacking = data.iter().filter(|extent| extent.is_none()).count();
        if lacking > 0 {
            let mut found: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
            for drive in parity.iter_mut() {
                if found.len() == lacking {
                    break;
                }
                let index = drive.index;
                if let Some(extent) = drive.get(number) {
                    found.entry(index).or_insert_with(|| extent.to_vec());
                }
            }
            if found.len() == lacking {
                let found = found.iter().map(|(index, extent)| (*index, extent.as_slice()));
                self.decoder.decode(&mut data, found)?;
            }
        }
        for (at, extent) in data.iter().enumerate() {
            self.take(at, number, extent.as_deref())?;
        }
        Ok(())
    }

    /// Gives what an extent has of a drive's missing objects to these; none: they will not come.
    fn take(&mut self, at: usize, number: u64, extent: Option<&[u8]>) -> Result<(), Error> {
        let failed = |cause| destination_failed(self.with, cause);
        let Some(Some(drive)) = self.covered.get_mut(at) else { return Ok(()) };
        let Some(arrivals) = self.arrivals.get_mut(at) else { return Ok(()) };
        let parts: Vec<_> = drive.layout.parts(number).collect();
        for part in parts {
            if !drive.missing.contains(&part.index) || part.length == 0 {
                continue;
            }
            let Some(object) = drive.layout.object(part.index).copied() else { continue };
            if part.offset == 0 {
                (drive.hasher, drive.done) = (Hasher::default(), 0);
            }
            let bytes = extent.and_then(|extent| extent.get(part.at..part.at + part.length));
            // An object of which something was missing before goes no further.
            let Some(bytes) = bytes.filter(|_| drive.done == part.offset) else {
                arrivals.abandon().map_err(failed)?;
                drive.done = u64::MAX;
                continue;
            };
            arrivals.write(&object, bytes).map_err(failed)?;
            drive.hasher.update(bytes);
            drive.done += part.length as u64;
            if drive.done < object.length {
                continue;
            }
            if Digest(std::mem::take(&mut drive.hasher).finalize()) != object.name {
                arrivals.abandon().map_err(failed)?;
            } else if arrivals.complete(&object).map_err(failed)? {
                let named = &mut self.named;
                arrivals.commit(&mut |object, how| note(named, object, how)).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Object>, Error> {
        for arrivals in &mut self.arrivals {
            let named = &mut self.named;
            let finished = arrivals.finish(&mut |object, how| note(named, object, how));
            arrivals.leave();
            finished.map_err(|cause| destination_failed(self.with, cause))?;
        }
        Ok(self.named)
    }
}

fn note(named: &mut Vec<Object>, object: &Object, how: Named) {
    if how == Named::Now {
        named.push(*object);
    }
}

fn destination_failed(with: &Rebuilding<'_>, cause: io::Error) -> Error {
    let folder = with.destination.folder.path();
    match crate::beneath::is_full(&cause) {
        true => Error::Store(store::Error::Full { location: folder.display().to_string() }),
        false => Error::io("writing below", folder)(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one() {
        let ranges = [5..7, 0..2, 2..3, 6..9, 20..21];
        assert_eq!(merged(ranges.into_iter()), [0..3, 5..9, 20..21]);
        assert_eq!(merged(std::iter::empty()), []);
    }
}
