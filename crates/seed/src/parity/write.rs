//! Finishes the parity drives of a set whose data drives are sealed. What was written with the data is compared with
//! what these hold; the rest is made in a pass of its own, from where the drives were written from.
//!
//! ```text
//!  staging ─▶ a thread for each data drive: extents, compared with what it gave back ─▶ works ─▶ a thread for each parity drive
//! ```

use super::draft::Ended;
use super::lane::{self, End, Note, Work};
use super::place::{Set, indexes};
use super::staged::{Staged, expected};
use super::stripe::Shape;
use super::works::{Inlet, NO_HASH, Outlet, Works};
use super::{COPIES, HASHES, OF, PER_FILE, STREAMS, copy, copy_of_extents};
use crate::bay::{Bay, Job, Stopped, malformed, stopped};
use crate::drive::{self, PARTIAL, PARTIALS};
use crate::event::Events;
use crate::manifest::ParityOf;
use crate::prepare::DriveState;
use crate::run::Run;
use crate::{EXTENT, Error, Event, Manifest, ManifestHeader, Signed};
use model::{Digest, DriveSerial};
use sha2::{Digest as _, Sha256};
use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

/// Has every parity drive be sealed, once every object is on a sealed drive. `ended` says how parity that was written
/// with the data has ended on each.
///
/// # Errors
/// A data drive's extent hashes are not at hand; what is to be read is not what that drive holds; a parity drive is
/// too small. A drive that goes away is not an error.
pub(crate) fn write(
    run: &mut Run<'_>,
    bays: &mut [Bay],
    ended: Vec<Option<Ended>>,
    count: u32,
    events: &mut dyn Events,
) -> Result<(), Error> {
    let numbers = run.free_numbers(bays);
    let ended = ended.into_iter().chain(std::iter::repeat_with(|| None));
    let mut usable = Vec::new();
    for ((bay, number), ended) in bays.iter_mut().zip(numbers).zip(ended) {
        match ended {
            Some(Err(stopped)) => run.stop_drive(&bay.spec.serial, stopped, events)?,
            Some(Ok(End::Unreliable)) => {
                run.stopped.insert(bay.spec.serial.clone(), DriveState::Unreliable);
            }
            Some(Ok(End::Whole(extents))) => usable.push((bay, number, Some(extents))),
            Some(Ok(End::Part)) | None => usable.push((bay, number, None)),
        }
    }
    let earlier = run.earlier.clone();
    let set = Set::of(&earlier, run.job.set, count);
    let open: Vec<u32> = set.open(count).collect();
    if open.is_empty() || set.covered.is_empty() || !run.is_final(&set, count) {
        return Ok(());
    }
    let bays: Vec<&Bay> = usable.iter().map(|(bay, ..)| &**bay).collect();
    let pass = Pass { set: &set, count, stripes: stripes(&set) };
    let indexes = indexes(&bays, open, &|bay, index| pass.has_begun(bay, index));
    let mut left = Vec::new();
    for ((bay, number, whole), index) in usable.into_iter().zip(indexes) {
        let Some(index) = index else { continue };
        refuse_small(run, bay, &set)?;
        match pass.settle(run, bay, index, whole) {
            Ok(Settled::Sealed(sealed)) => keep(run, &bay.spec.serial, *sealed, events)?,
            Ok(Settled::Begun(files)) => left.push((bay, number, index, files)),
            Err(stopped) => run.stop_drive(&bay.spec.serial, stopped, events)?,
        }
    }
    if left.is_empty() { Ok(()) } else { pass.run(run, left, events) }
}

/// A manifest with its file's bytes.
type SealedNow = (Signed<Manifest>, Vec<u8>);

fn keep(
    run: &mut Run<'_>,
    serial: &DriveSerial,
    (manifest, bytes): SealedNow,
    events: &mut dyn Events,
) -> Result<(), Error> {
    run.keep(manifest, &bytes)?;
    events.event(Event::DriveSealed { serial });
    Ok(())
}

fn stripes(set: &Set<'_>) -> u64 {
    let extents = set.covered.iter().map(|manifest| manifest.body.bytes().div_ceil(EXTENT));
    extents.max().unwrap_or(0)
}

fn refuse_small(run: &Run<'_>, bay: &Bay, set: &Set<'_>) -> Result<(), Error> {
    let sizes = set.covered.iter().map(|manifest| {
        let body = &manifest.body;
        (body.bytes(), body.objects.len() as u64)
    });
    let needed = super::needed(sizes, run.job.inventory_bytes.len() as u64);
    if needed <= bay.limit {
        return Ok(());
    }
    Err(Error::ParityTooSmall { serial: bay.spec.serial.clone(), needed, capacity: bay.limit })
}

/// Where a parity drive is before the pass.
enum Settled {
    Sealed(Box<SealedNow>),
    /// It has so many parity files of these drives.
    Begun(u64),
}

/// Parity of drives that are sealed.
struct Pass<'p> {
    set: &'p Set<'p>,
    count: u32,
    stripes: u64,
}

impl Pass<'_> {
    fn of(&self, index: u32) -> ParityOf {
        ParityOf { index, count: self.count, drives: self.set.digests() }
    }

    fn is_planned(&self, bay: &Bay, index: u32) -> io::Result<bool> {
        lane::is_planned(bay, (index, self.count), self.set.covered.len())
    }

    fn has_begun(&self, bay: &Bay, index: u32) -> bool {
        let note = Note::of(&self.of(index));
        lane::complete_files(bay, &note).is_ok_and(|files| files > 0)
            || self.is_planned(bay, index).unwrap_or(false)
    }

    /// What was written as planned is parity of these drives up to the first stripe that is made of something else than
    /// they gave back. The drive is sealed where that is all, and `whole`: it was read back.
    fn settle(
        &self,
        run: &Run<'_>,
        bay: &mut Bay,
        index: u32,
        whole: Option<Digest>,
    ) -> Result<Settled, Stopped> {
        let stop = stopped("writing parity on", &bay.spec.folder);
        let (of, mut whole) = (self.of(index), whole);
        let note = Note::of(&of);
        if self.is_planned(bay, index).map_err(&stop)? {
            let (good, all) = self.agreeing(run, bay)?;
            whole = whole.filter(|_| good == self.stripes && all == good);
            let files = if whole.is_some() { u64::MAX } else { good / PER_FILE };
            lane::adopt(bay, &note, files)?;
        } else {
            whole = None;
        }
        match whole {
            Some(extents) => self.seal(run, bay, (extents, of)).map(Settled::Sealed),
            None => Ok(Settled::Begun(lane::complete_files(bay, &note).map_err(&stop)?)),
        }
    }

    /// How many stripes from the first one on are made of what the drives gave back, and how many there are.
    fn agreeing(&self, run: &Run<'_>, bay: &Bay) -> Result<(u64, u64), Stopped> {
        let stop = stopped("reading back", &bay.spec.folder);
        let mut streams = Vec::new();
        for manifest in &self.set.covered {
            streams.push(expected(run, manifest).map_err(Stopped::Failed)?);
        }
        let (file, length) = match bay.folder.file(STREAMS) {
            Ok(found) => found,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
            Err(cause) => return Err(stop(cause)),
        };
        let all = length / (32 * streams.len().max(1) as u64);
        let mut file = BufReader::with_capacity(1 << 20, file);
        for number in 0..all.min(self.stripes) {
            for stream in &mut streams {
                let mut found = NO_HASH;
                file.read_exact(&mut found).map_err(&stop)?;
                let expected = match number < stream.count() {
                    true => stream.get(number).map_err(&stop)?,
                    false => NO_HASH,
                };
                if found != expected {
                    return Ok((number, all));
                }
            }
        }
        Ok((all.min(self.stripes), all))
    }

    /// Copies of the covered drives' documents, and the manifest.
    fn seal(
        &self,
        run: &Run<'_>,
        bay: &mut Bay,
        (extents, of): (Digest, ParityOf),
    ) -> Result<Box<SealedNow>, Stopped> {
        let stop = stopped("sealing", &bay.spec.folder);
        bay.folder.create_folders(COPIES).map_err(&stop)?;
        for (place, manifest) in self.set.covered.iter().enumerate() {
            copy_documents(bay, run.state, place, manifest)?;
        }
        bay.folder.sync_folder(COPIES).map_err(&stop)?;
        seal(run.job, bay, extents, of).map(Box::new)
    }

    /// Makes what is lacking, reads it back, and seals the drives.
    fn run(
        &self,
        run: &mut Run<'_>,
        mut bays: Vec<(&mut Bay, u32, u32, u64)>,
        events: &mut dyn Events,
    ) -> Result<(), Error> {
        let serials: Vec<DriveSerial> =
            bays.iter().map(|(bay, ..)| bay.spec.serial.clone()).collect();
        serials.iter().for_each(|serial| events.event(Event::DriveStarted { serial }));
        let ended = self.make(run, &mut bays, &serials, events)?;
        for ((bay, _, index, _), ended) in bays.into_iter().zip(ended) {
            let serial = bay.spec.serial.clone();
            match ended {
                Ok(End::Whole(extents)) => match self.seal(run, bay, (extents, self.of(index))) {
                    Ok(sealed) => keep(run, &serial, *sealed, events)?,
                    Err(stopped) => run.stop_drive(&serial, stopped, events)?,
                },
                Ok(End::Unreliable) => {
                    run.stopped.insert(serial, DriveState::Unreliable);
                }
                Ok(End::Part) => {}
                Err(stopped) => run.stop_drive(&serial, stopped, events)?,
            }
        }
        Ok(())
    }

    /// Answers how each has ended.
    fn make(
        &self,
        run: &mut Run<'_>,
        bays: &mut [(&mut Bay, u32, u32, u64)],
        serials: &[DriveSerial],
        events: &mut dyn Events,
    ) -> Result<Vec<Ended>, Error> {
        let mut streams = Vec::new();
        for manifest in &self.set.covered {
            streams.push(Staged::open(run, manifest)?);
        }
        let (givers, inlets): (Vec<_>, Vec<_>) =
            streams.iter().map(|stream| Inlet::new(stream.extents())).unzip();
        let to_do = bays.iter().map(|(_, _, index, files)| (*index, files * PER_FILE));
        let first = to_do.clone().map(|(_, first)| first).min().unwrap_or(0);
        let (takers, outlets): (Vec<_>, Vec<_>) =
            to_do.map(|(index, first)| Outlet::new(index as usize, first)).unzip();
        let shape = Shape { data: streams.len(), parity: self.count as usize };
        let works = Works::new(shape, inlets, outlets, first..self.stripes);
        let stopped = AtomicBool::new(false);
        let is_stopped = || stopped.load(Ordering::Relaxed);
        let (job, failed) = (run.job, Cell::new(None));
        let ended = std::thread::scope(|scope| {
            // In here: whoever is told may panic, and then all end.
            let _watch = Watch(&stopped);
            let (told, heard) = channel();
            for (stream, giver) in streams.into_iter().zip(givers) {
                let (stripes, is_stopped) = (first..self.stripes, &is_stopped);
                crate::beneath::spawn(scope, move || stream.give(stripes, &giver, is_stopped));
            }
            for _ in 0..Works::threads() {
                crate::beneath::spawn(scope, || works.run());
            }
            let mut lanes = Vec::new();
            for ((at, (bay, number, index, files)), taker) in
                bays.iter_mut().enumerate().zip(takers)
            {
                let work = Work {
                    at,
                    job,
                    number: *number,
                    note: Note::of(&self.of(*index)),
                    files: *files,
                    stripes: self.stripes,
                    told: told.clone(),
                    is_stopped: &is_stopped,
                };
                lanes.push(crate::beneath::spawn(scope, move || work.run(bay, taker)));
            }
            drop(told);
            let stop = |error| {
                failed.set(Some(error));
                stopped.store(true, Ordering::Relaxed);
            };
            if let Err(error) = run.listen(&stop, &heard, serials, events) {
                stop(error);
            }
            lanes.into_iter().map(super::joined).collect()
        });
        match failed.take().or_else(|| works.into_error()) {
            Some(error) => Err(error),
            None => Ok(ended),
        }
    }
}

/// Stops the threads when the one that listens has ended, however.
struct Watch<'a>(&'a AtomicBool);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn copy_documents(
    bay: &Bay,
    state: &crate::state::State,
    place: usize,
    manifest: &Signed<Manifest>,
) -> Result<(), Stopped> {
    let stop = stopped("writing parity on", &bay.spec.folder);
    let failed = Stopped::Failed;
    let bytes = state.manifest_bytes(&manifest.body).map_err(failed)?;
    bay.folder.write(&copy(place), PARTIAL, &bytes).map_err(&stop)?;
    let Some(mut from) = state.extents_file(&manifest.body).map_err(failed)? else {
        let serial = manifest.body.header.serial.clone();
        return Err(Stopped::Failed(Error::ExtentsLost { serial }));
    };
    bay.folder.remove(PARTIAL).map_err(&stop)?;
    let mut into = bay.folder.create(PARTIAL).map_err(&stop)?;
    io::copy(&mut from, &mut into).map_err(&stop)?;
    into.sync().map_err(&stop)?;
    bay.folder.rename(PARTIAL, &copy_of_extents(place)).map_err(&stop)
}

fn seal(job: &Job<'_>, bay: &mut Bay, extents: Digest, of: ParityOf) -> Result<SealedNow, Stopped> {
    let stop = stopped("sealing", &bay.spec.folder);
    let Some(label) = bay.signed_label().cloned() else { return Err(Stopped::Gone) };
    bay.folder.rename(HASHES, drive::EXTENTS).map_err(&stop)?;
    bay.folder.remove(OF).map_err(&stop)?;
    bay.remove_all_in(PARTIALS).map_err(&stop)?;
    bay.folder.remove(drive::RESERVE).map_err(&stop)?;
    bay.folder.sync_folder(drive::FOLDER).map_err(&stop)?;
    let header = ManifestHeader {
        seed: label.body.seed,
        set: label.body.set,
        drive: label.body.drive,
        serial: label.body.serial.clone(),
        sealed: job.now,
        label: label.digest,
        extents,
        inventory: job.inventory_digest,
        repositories: label.body.repositories.clone(),
        parity: Some(of),
    };
    let manifest = Manifest { header, objects: Vec::new() };
    let bytes = manifest.encode(job.signer).map_err(|problem| malformed(&bay.folder, problem))?;
    bay.folder.write(drive::MANIFEST, PARTIAL, &bytes).map_err(&stop)?;
    let digest = Digest(Sha256::digest(&bytes).into());
    let manifest = Signed { body: manifest, signer: job.signer.public(), digest };
    bay.finish(job)?;
    Ok((manifest, bytes))
}
