//! Rebuilds what the data drives of a set have not brought, from parity drives at hand, from what has arrived, and
//! from what can still be read of damaged drives. Each extent is compared with its hash before it is used, each
//! object with its name before it counts.
//!
//! ```text
//!  what has arrived ─┐
//!  damaged drives  ──┼─▶ a thread for each drive: read ahead, hashed ─▶ stripe ─▶ Reed-Solomon ─▶ objects, hashed ─▶ sink
//!  parity drives   ──┘
//! ```

use super::HashFile;
use super::covered::Covered;
use super::extents::{Extent, Given, Lane, Parity, Stream, give};
use super::sink::{NotTaken, Sink};
use super::stripe::{Decoder, SHARD, Shape};
use super::tap::Tapped;
use crate::arrive::Named;
use crate::event::{Events, Problem, Reason};
use crate::rebuilt::{Arrived, Rebuilt, RebuiltDrive};
use crate::{Error, Event, Object, SealedDrive};
use model::{Digest, DriveSerial};
use sha256::Hasher;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::thread::Scope;

/// What was rebuilt of one set.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) rebuilt: Rebuilt,
    /// Objects that were named now.
    pub(crate) objects: Vec<Object>,
}

impl Done {
    /// This, and then that: what was missing at first and is not in the end is no problem.
    pub(super) fn and(mut self, then: Self) -> Self {
        self.objects.extend(then.objects);
        self.rebuilt.arrived += then.rebuilt.arrived;
        for drive in &mut self.rebuilt.drives {
            drive.problems.clear();
        }
        for drive in then.rebuilt.drives {
            match self.rebuilt.drives.iter_mut().find(|it| it.serial == drive.serial) {
                Some(it) => {
                    it.objects += drive.objects;
                    it.bytes = it.bytes.saturating_add(drive.bytes);
                    it.problems = drive.problems;
                }
                None => self.rebuilt.drives.push(drive),
            }
        }
        let mut read: BTreeMap<DriveSerial, u64> = self.rebuilt.read.into_iter().collect();
        for (serial, bytes) in then.rebuilt.read {
            *read.entry(serial).or_default() += bytes;
        }
        self.rebuilt.read = read.into_iter().collect();
        self
    }
}

/// The data drives of a set, and what can be had of them.
pub(super) struct Columns<'d> {
    /// None where no parity drive has the drive's documents.
    pub(super) covered: Vec<Option<Covered<'d>>>,
    pub(super) hashes: Vec<Option<HashFile>>,
    /// What drives give that are being taken in; none of others.
    pub(super) tapped: Vec<Option<Tapped>>,
}

/// Rebuilds what these parity drives, which cover the same drives, can give. `sink` takes the objects of the data
/// drive at a place of the stripe.
///
/// # Errors
/// The destination takes nothing more; somebody has said stop. A drive that cannot be read gives less.
pub(crate) fn rebuild<'s>(
    (parity, data): (&[&SealedDrive], &[&SealedDrive]),
    arrived: &dyn Arrived,
    sink: &dyn Fn(usize) -> Box<dyn Sink + 's>,
    events: &mut dyn Events,
) -> Result<Done, Error> {
    let Some(of) = parity.first().and_then(|drive| drive.parity()) else {
        return Ok(Done::default());
    };
    let mut columns = Columns { covered: Vec::new(), hashes: Vec::new(), tapped: Vec::new() };
    for place in 0..of.drives.len() {
        let (drive, hashes) = Covered::open(parity, place, data, arrived)?.unzip();
        columns.covered.push(drive);
        columns.hashes.push(hashes.flatten());
        columns.tapped.push(None);
    }
    rebuild_of((parity, columns), arrived, sink, events)
}

/// The same, where it is known what is missing.
pub(super) fn rebuild_of<'s>(
    (parity, columns): (&[&SealedDrive], Columns<'_>),
    arrived: &dyn Arrived,
    sink: &dyn Fn(usize) -> Box<dyn Sink + 's>,
    events: &mut dyn Events,
) -> Result<Done, Error> {
    let Some(of) = parity.first().and_then(|drive| drive.parity()) else {
        return Ok(Done::default());
    };
    let Columns { covered, hashes, tapped } = columns;
    let stripes = merged(covered.iter().flatten().flat_map(Covered::wanted));
    if stripes.is_empty() {
        return Ok(Done::default());
    }
    let shape = Shape { data: covered.len(), parity: of.count as usize };
    let lacking = covered.iter().enumerate();
    let targets = lacking.filter_map(|(at, drive)| Some(Target::new(drive.as_ref()?, at, sink)));
    let mut work = Work {
        decoder: Decoder::new(shape)?,
        targets: targets.filter(|target| !target.drive.missing.is_empty()).collect(),
        done: Done::default(),
        read: BTreeMap::new(),
    };
    let count = stripes.iter().map(|range| range.end - range.start).sum();
    events.event(Event::Rebuilding { stripes: count });
    let looked = std::thread::scope(|scope| {
        // In here: when this thread ends, so do those that read.
        let lanes = Lanes {
            data: covered
                .iter()
                .zip(hashes.into_iter().zip(tapped))
                .map(|(drive, (hashes, tapped))| {
                    let stream = Stream::new(drive.as_ref()?, hashes, arrived, tapped);
                    Some((drive.as_ref()?.header.serial.clone(), read(scope, &stripes, stream)))
                })
                .collect(),
            parity: parity.iter().filter_map(|drive| parity_lane(scope, &stripes, drive)).collect(),
        };
        for number in stripes.iter().cloned().flatten() {
            if events.stop() {
                return Err(Error::Interrupted);
            }
            work.stripe(number, &lanes, events)?;
            events.event(Event::Rebuilt { bytes: SHARD as u64 });
        }
        Ok(())
    });
    // What is complete gets its name however it has ended.
    let done = work.finish(events);
    looked?;
    done
}

/// Ranges that touch, as one.
fn merged(ranges: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut all: Vec<Range<u64>> = ranges.filter(|range| !range.is_empty()).collect();
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

/// The threads that read.
struct Lanes {
    /// None of a drive whose documents are not at hand.
    data: Vec<Option<(DriveSerial, Lane)>>,
    /// Each with its index in the code.
    parity: Vec<(usize, DriveSerial, Lane)>,
}

fn read<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    stripes: &'env [Range<u64>],
    mut stream: Stream<'env>,
) -> Lane {
    let (sender, lane) = Lane::new();
    let extent = move |number, end| stream.extent(number, end);
    crate::beneath::spawn(scope, move || give(stripes, &sender, extent));
    lane
}

fn parity_lane<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    stripes: &'env [Range<u64>],
    drive: &'env SealedDrive,
) -> Option<(usize, DriveSerial, Lane)> {
    let index = drive.parity()?.index as usize;
    let mut parity = Parity::open(drive)?;
    let (sender, lane) = Lane::new();
    let extent = move |number, _| parity.extent(number);
    crate::beneath::spawn(scope, move || give(stripes, &sender, extent));
    Some((index, drive.label().serial.clone(), lane))
}

/// A data drive of which something is missing, while its objects are put together.
struct Target<'t, 's> {
    drive: &'t Covered<'t>,
    /// Its place in the stripe.
    place: usize,
    sink: Box<dyn Sink + 's>,
    /// What was hashed of the object that is being put together.
    hasher: Hasher,
    done: u64,
    result: RebuiltDrive,
    /// Why objects that could be rebuilt were not taken; and those that have landed.
    refused: BTreeMap<Object, Reason>,
    landed: BTreeSet<Object>,
}

impl<'t, 's> Target<'t, 's> {
    fn new(
        drive: &'t Covered<'t>,
        place: usize,
        sink: &dyn Fn(usize) -> Box<dyn Sink + 's>,
    ) -> Self {
        let serial = drive.header.serial.clone();
        Self {
            drive,
            place,
            sink: sink(place),
            hasher: Hasher::default(),
            done: 0,
            result: RebuiltDrive { serial, objects: 0, bytes: 0, problems: Vec::new() },
            refused: BTreeMap::new(),
            landed: BTreeSet::new(),
        }
    }

    fn repository(&self, object: &Object) -> Option<Digest> {
        self.drive.header.repositories.get(usize::from(object.repository)).copied()
    }

    /// Whether an extent has something of a missing object.
    fn wants(&self, number: u64) -> bool {
        let mut parts = self.drive.layout.parts(number);
        parts.any(|part| part.length > 0 && self.drive.missing.contains(&part.index))
    }

    /// Gives what an extent has of missing objects to these; none: they will not come.
    fn take(
        &mut self,
        number: u64,
        extent: Option<&[u8]>,
        landed: &mut Vec<(Object, Named)>,
    ) -> Result<(), Error> {
        let drive = self.drive;
        for part in drive.layout.parts(number) {
            if !drive.missing.contains(&part.index) || part.length == 0 {
                continue;
            }
            let Some(object) = drive.layout.object(part.index).copied() else { continue };
            if part.offset == 0 {
                (self.hasher, self.done) = (Hasher::default(), 0);
            }
            let bytes = extent.and_then(|extent| extent.get(part.at..part.at + part.length));
            // An object of which something was missing before goes no further.
            let Some(bytes) = bytes.filter(|_| self.done == part.offset) else {
                self.sink.abandon()?;
                self.done = u64::MAX;
                continue;
            };
            self.sink.write(&object, bytes)?;
            self.hasher.update(bytes);
            self.done += part.length as u64;
            if self.done == object.length {
                self.complete(&object, landed)?;
            }
        }
        Ok(())
    }

    fn complete(
        &mut self,
        object: &Object,
        landed: &mut Vec<(Object, Named)>,
    ) -> Result<(), Error> {
        if Digest(std::mem::take(&mut self.hasher).finalize()) != object.name {
            self.refused.insert(*object, Reason::Hash);
            return self.sink.abandon();
        }
        match self.sink.complete(object, &mut |object, how| landed.push((*object, how))) {
            Ok(()) => Ok(()),
            Err(NotTaken::All(error)) => Err(error),
            Err(NotTaken::Object(reason)) => {
                self.refused.insert(*object, reason);
                Ok(())
            }
        }
    }

    /// What has not landed, in the end.
    fn name_missing(&mut self) {
        for index in &self.drive.missing {
            let Some(object) = self.drive.layout.object(*index) else { continue };
            let Some(repository) = self.repository(object) else { continue };
            if self.landed.contains(object) {
                continue;
            }
            let reason = self.refused.remove(object).unwrap_or(Reason::NotRebuilt);
            let problem = Problem { repository, key: object.key(), reason };
            self.result.problems.push((problem, object.length));
        }
    }
}

struct Work<'t, 's> {
    decoder: Decoder,
    targets: Vec<Target<'t, 's>>,
    done: Done,
    /// Bytes used of each drive.
    read: BTreeMap<DriveSerial, u64>,
}

impl Work<'_, '_> {
    fn stripe(&mut self, number: u64, lanes: &Lanes, events: &mut dyn Events) -> Result<(), Error> {
        let mut found: Vec<Option<Extent>> = Vec::new();
        for lane in &lanes.data {
            found.push(lane.as_ref().map_or(Ok(None), |(_, lane)| lane.next())?);
        }
        let mut parity: BTreeMap<usize, (&DriveSerial, Extent)> = BTreeMap::new();
        for (index, serial, lane) in &lanes.parity {
            let given: Given = lane.next();
            if let Some(extent) = given? {
                parity.insert(*index, (serial, extent));
            }
        }
        let wanted = |at: usize| self.targets.iter().any(|it| it.place == at && it.wants(number));
        let lacking = found.iter().filter(|extent| extent.is_none()).count();
        let complete =
            (0..found.len()).all(|at| found.get(at).is_some_and(Option::is_some) || !wanted(at));
        // A stripe that lacks nothing that is wanted needs no parity.
        let decodes = !complete && lacking <= parity.len();
        for (at, extent) in found.iter().enumerate() {
            let Some(extent) = extent.as_ref().filter(|_| decodes || wanted(at)) else { continue };
            self.done.rebuilt.arrived += extent.arrived;
            if let Some(Some((serial, _))) = lanes.data.get(at) {
                *self.read.entry(serial.clone()).or_default() += extent.read;
            }
        }
        let mut data: Vec<Option<Box<[u8]>>> =
            found.into_iter().map(|extent| extent.map(|extent| extent.bytes)).collect();
        if decodes {
            let used: Vec<_> = parity.iter().take(lacking).collect();
            for (_, (serial, extent)) in &used {
                *self.read.entry((*serial).clone()).or_default() += extent.read;
            }
            let shards = used.iter().map(|(index, (_, extent))| (**index, extent.bytes.as_ref()));
            self.decoder.decode(&mut data, shards)?;
        }
        for at in 0..self.targets.len() {
            let mut landed = Vec::new();
            let Some(target) = self.targets.get_mut(at) else { continue };
            let extent = data.get(target.place).and_then(Option::as_deref);
            let taken = target.take(number, extent, &mut landed);
            self.note(at, landed, events);
            taken?;
        }
        Ok(())
    }

    fn note(&mut self, at: usize, landed: Vec<(Object, Named)>, events: &mut dyn Events) {
        let Some(target) = self.targets.get_mut(at) else { return };
        for (object, how) in landed {
            match how {
                Named::Now => self.done.objects.push(object),
                Named::Before => {}
                Named::Conflict => {
                    target.refused.insert(object, Reason::Conflict);
                    continue;
                }
            }
            target.landed.insert(object);
            target.result.objects += 1;
            target.result.bytes = target.result.bytes.saturating_add(object.length);
            if let Some(repository) = target.repository(&object) {
                let serial = &target.result.serial;
                let (repository, key, bytes) = (&repository, &object.key(), object.length);
                events.event(Event::ObjectRebuilt { serial, repository, key, bytes });
            }
        }
    }

    fn finish(mut self, events: &mut dyn Events) -> Result<Done, Error> {
        let mut failed = None;
        for at in 0..self.targets.len() {
            let mut landed = Vec::new();
            let Some(target) = self.targets.get_mut(at) else { continue };
            let finished = target.sink.finish(&mut |object, how| landed.push((*object, how)));
            if let Err(error) = finished {
                failed.get_or_insert(error);
            }
            self.note(at, landed, events);
        }
        if let Some(error) = failed {
            return Err(error);
        }
        for mut target in self.targets {
            target.name_missing();
            self.done.rebuilt.drives.push(target.result);
        }
        let read = self.read.into_iter().filter(|(_, bytes)| *bytes > 0);
        self.done.rebuilt.read = read.collect();
        Ok(self.done)
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
