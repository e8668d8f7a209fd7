//! Writes the parity drives of a set whose data drives are sealed. One thread reads the data from where the drives
//! were written from, and compares it with what they hold; the caller's makes parity, writes it, reads it back.

use super::hashes::HashFile;
use super::layout::Layout;
use super::place::Set;
use super::stripe::{Encoder, SHARD, Shape};
use super::{COPIES, FOLDER, PER_FILE, copy, copy_of_extents, file};
use crate::bay::{Bay, Job, Stopped, malformed, stopped};
use crate::beneath::NewFile;
use crate::drive::{self, PARTIAL, PARTIALS};
use crate::event::Events;
use crate::label::DriveRole;
use crate::manifest::ParityOf;
use crate::prepare::DriveState;
use crate::run::Run;
use crate::{Error, Event, Manifest, ManifestHeader, Signed};
use model::{Digest, DriveSerial};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use store::Store;
use store::direct::Aligned;

/// Stripes that are read and not yet encoded.
const AHEAD: usize = 4;
/// Extents that are written at a time.
const AT_ONCE: usize = if cfg!(test) { 2 } else { 4 };
const _: () = assert!(PER_FILE.is_multiple_of(AT_ONCE as u64));

type Stripe = Vec<Box<[u8]>>;
/// A manifest with its file's bytes.
type SealedNow = (Signed<Manifest>, Vec<u8>);

/// Writes parity onto these drives, once every object is on a sealed drive.
///
/// # Errors
/// A data drive's extent hashes are not at hand; what is to be read is not what that drive holds; a parity drive is
/// too small. A drive that goes away is not an error.
pub(crate) fn write(
    run: &mut Run<'_>,
    bays: &mut [Bay],
    count: u32,
    events: &mut dyn Events,
) -> Result<(), Error> {
    let earlier = run.earlier.clone();
    let set = Set::of(&earlier, run.job.set, count);
    let open: Vec<u32> = set.open(count).collect();
    if open.is_empty() || bays.is_empty() || set.covered.is_empty() || !run.is_final(&set, count) {
        return Ok(());
    }
    let of = |index| ParityOf { index, count, drives: set.digests() };
    let numbers = run.free_numbers(bays);
    let mut streams = Vec::new();
    for manifest in &set.covered {
        streams.push(Stream::open(run, manifest)?);
    }
    let stripes = streams.iter().map(|stream| stream.layout.extents()).max().unwrap_or(0);
    let mut lanes = Vec::new();
    let indexes = indexes(bays, open, &of);
    for ((bay, index), number) in bays.iter_mut().zip(indexes).zip(numbers) {
        let Some(index) = index else { continue };
        let serial = bay.spec.serial.clone();
        refuse_small(run, bay, &set)?;
        events.event(Event::DriveStarted { serial: &serial });
        match Lane::begin(run.job, bay, of(index), number) {
            Ok(lane) => lanes.push(Some(lane)),
            Err(stopped) => {
                run.stop_drive(&serial, stopped, events)?;
                lanes.push(None);
            }
        }
    }
    let shape = Shape { data: streams.len(), parity: count as usize };
    let mut work = Work { run, lanes, copies: &set.covered };
    work.stripes(shape, streams, stripes, events)?;
    work.finish(events)
}

/// Which parity each drive gets: what was begun on it, in whatever order the drives are given now; else what is left, if
/// anything is.
fn indexes(bays: &[Bay], mut open: Vec<u32>, of: &dyn Fn(u32) -> ParityOf) -> Vec<Option<u32>> {
    let begun: Vec<Option<u32>> = bays
        .iter()
        .map(|bay| {
            let is_its =
                |index: &u32| complete_files(bay, &of(*index)).is_ok_and(|files| files > 0);
            let place = open.iter().position(is_its)?;
            Some(open.remove(place))
        })
        .collect();
    let mut left = open.into_iter();
    begun.into_iter().map(|begun| begun.or_else(|| left.next())).collect()
}

fn refuse_small(run: &Run<'_>, bay: &Bay, set: &Set<'_>) -> Result<(), Error> {
    let needed = super::needed(&set.covered, run.job.inventory_bytes.len() as u64);
    if needed <= bay.limit {
        return Ok(());
    }
    Err(Error::ParityTooSmall { serial: bay.spec.serial.clone(), needed, capacity: bay.limit })
}

struct Work<'w, 'r> {
    run: &'w mut Run<'r>,
    lanes: Vec<Option<Lane<'w>>>,
    copies: &'w [&'w Signed<Manifest>],
}

impl Work<'_, '_> {
    fn stripes(
        &mut self,
        shape: Shape,
        streams: Vec<Stream<'_>>,
        stripes: u64,
        events: &mut dyn Events,
    ) -> Result<(), Error> {
        let mut encoder = Encoder::new(shape)?;
        std::thread::scope(|scope| {
            // In here: when this thread ends, so does the one that reads.
            let (sender, read) = sync_channel(AHEAD);
            let (give_back, empty) = sync_channel(AHEAD);
            for _ in 0..AHEAD {
                let stripe = (0..shape.data).map(|_| vec![0; SHARD].into_boxed_slice()).collect();
                let _ = give_back.send(stripe);
            }
            let first = self.lanes.iter().flatten().map(|lane| lane.first).min().unwrap_or(stripes);
            let numbers = first..stripes;
            let to_read = numbers.clone();
            crate::beneath::spawn(scope, move || read_all(streams, to_read, &sender, &empty));
            for number in numbers {
                if events.stop() {
                    return Err(Error::Interrupted);
                }
                // Without a drive that takes it nothing need be read.
                if self.lanes.iter().all(Option::is_none) {
                    break;
                }
                let stripe: Stripe = read.recv().map_err(|_| Error::Interrupted)??;
                let data = stripe.iter().map(AsRef::as_ref);
                encoder.encode(data, &mut |index, extent| {
                    self.extent(number, (index, extent), events)
                })?;
                let _ = give_back.send(stripe);
            }
            Ok(())
        })
    }

    /// Gives an extent of parity to the drive with that index, unless it has it.
    fn extent(
        &mut self,
        number: u64,
        (index, extent): (usize, &[u8]),
        events: &mut dyn Events,
    ) -> Result<(), Error> {
        let is_its = |lane: &&mut Option<Lane<'_>>| {
            lane.as_ref().is_some_and(|lane| lane.of.index as usize == index)
        };
        let Some(place) = self.lanes.iter_mut().find(is_its) else { return Ok(()) };
        let Some(lane) = place.as_mut().filter(|lane| lane.first <= number) else { return Ok(()) };
        let serial = lane.bay.spec.serial.clone();
        match lane.take(extent) {
            Ok(()) => {
                events.event(Event::Writing { serial: &serial, bytes: extent.len() as u64 });
                Ok(())
            }
            Err(stopped) => {
                *place = None;
                self.run.stop_drive(&serial, stopped, events)
            }
        }
    }

    /// Reads back and seals what is left of the drives.
    fn finish(&mut self, events: &mut dyn Events) -> Result<(), Error> {
        for lane in std::mem::take(&mut self.lanes).into_iter().flatten() {
            let serial = lane.bay.spec.serial.clone();
            match lane.seal(self.run.job, self.copies, self.run.state, events) {
                Ok(Some(sealed)) => {
                    self.run.keep(sealed.0, &sealed.1)?;
                    events.event(Event::DriveSealed { serial: &serial });
                }
                Ok(None) => {
                    self.run.stopped.insert(serial, DriveState::Unreliable);
                }
                Err(stopped) => self.run.stop_drive(&serial, stopped, events)?,
            }
        }
        Ok(())
    }
}

/// The stream of one data drive, read from where it was written from.
struct Stream<'a> {
    layout: Layout,
    hashes: HashFile,
    sources: Vec<&'a dyn Store>,
    serial: DriveSerial,
    /// The object that is being read, and how far it is.
    open: Option<(usize, Box<dyn Read + Send>)>,
}

impl<'a> Stream<'a> {
    fn open(run: &Run<'a>, manifest: &Signed<Manifest>) -> Result<Self, Error> {
        let hashes = run
            .state
            .extents(&manifest.body)?
            .ok_or_else(|| Error::ExtentsLost { serial: manifest.body.header.serial.clone() })?;
        let serial = manifest.body.header.serial.clone();
        let layout = Layout::new(&manifest.body);
        Ok(Self { layout, hashes, sources: run.sources.clone(), serial, open: None })
    }

    fn extent(&mut self, number: u64, into: &mut [u8]) -> Result<(), Error> {
        into.fill(0);
        if number >= self.layout.extents() {
            return Ok(());
        }
        let parts: Vec<_> = self.layout.parts(number).filter(|part| part.length > 0).collect();
        for part in parts {
            let changed = || Error::StagingChanged { serial: self.serial.clone() };
            let object = *self.layout.object(part.index).ok_or_else(changed)?;
            if self.open.as_ref().is_none_or(|(index, _)| *index != part.index) {
                let source = self.sources.get(usize::from(object.repository));
                let source = source.ok_or_else(changed)?;
                let opened = source.open(&object.key()).map_err(|error| match error.kind() {
                    model::ErrorKind::NotFound => changed(),
                    _ => Error::Store(error),
                })?;
                let mut opened = opened;
                // A call that goes on begins in the middle.
                let skipped = io::copy(&mut (&mut opened).take(part.offset), &mut io::sink());
                if skipped.map_err(|_| changed())? != part.offset {
                    return Err(changed());
                }
                self.open = Some((part.index, opened));
            }
            let Some((_, from)) = &mut self.open else { continue };
            let place = into.get_mut(part.at..part.at + part.length).unwrap_or_default();
            from.read_exact(place)
                .map_err(|_| Error::StagingChanged { serial: self.serial.clone() })?;
        }
        let expected = self.hashes.get(number).map_err(|cause| Error::Io {
            action: "reading the extent hashes of",
            path: self.serial.as_str().into(),
            cause,
        })?;
        if blake3::hash(into) == expected {
            return Ok(());
        }
        Err(Error::StagingChanged { serial: self.serial.clone() })
    }
}

fn read_all(
    mut streams: Vec<Stream<'_>>,
    stripes: Range<u64>,
    sender: &SyncSender<Result<Stripe, Error>>,
    empty: &Receiver<Stripe>,
) {
    for number in stripes {
        let Ok(mut stripe) = empty.recv() else { return };
        let mut each = streams.iter_mut().zip(&mut stripe);
        let read = each.try_for_each(|(stream, into)| stream.extent(number, into));
        let failed = read.is_err();
        if sender.send(read.map(|()| stripe)).is_err() || failed {
            return;
        }
    }
}

/// One parity drive at work.
struct Lane<'b> {
    bay: &'b mut Bay,
    of: ParityOf,
    /// The first extent that the drive does not have yet.
    first: u64,
    file: Option<(u64, NewFile)>,
    next_file: u64,
    buffer: Aligned,
    filled: usize,
    /// Hashes of what was written, to be compared with what comes back.
    hashes: BufWriter<NewFile>,
}

/// Until the drive is sealed.
const HASHES: &str = "packmule/parity-hashes";
/// What its parity files are of, likewise: without it they mean nothing.
const OF: &str = "packmule/parity-of";

impl<'b> Lane<'b> {
    /// The drive gets its label. Parity files that an earlier call has completed of the same drives stay; everything
    /// else that it has left goes.
    fn begin(job: &Job<'_>, bay: &'b mut Bay, of: ParityOf, number: u32) -> Result<Self, Stopped> {
        bay.make_ready_as(job, number, DriveRole::Parity)?;
        let stop = stopped("writing parity on", &bay.spec.folder);
        let files = complete_files(bay, &of).map_err(&stop)?;
        bay.remove_all_in(COPIES).map_err(&stop)?;
        if files == 0 {
            for old in [OF, HASHES] {
                bay.folder.remove(old).map_err(&stop)?;
            }
            bay.folder.sync_folder(drive::FOLDER).map_err(&stop)?;
            bay.remove_all_in(FOLDER).map_err(&stop)?;
        }
        for folder in [FOLDER, COPIES, PARTIALS] {
            bay.folder.create_folders(folder).map_err(&stop)?;
        }
        let first = files * PER_FILE;
        let hashes = match files {
            0 => bay.folder.create(HASHES).map_err(&stop)?,
            _ => bay.folder.append(HASHES, first * 32).map_err(&stop)?,
        };
        if files == 0 {
            bay.folder.write(OF, PARTIAL, &named(&of)).map_err(&stop)?;
        }
        let hashes = BufWriter::new(hashes);
        let buffer = Aligned::new(AT_ONCE * SHARD);
        Ok(Self { bay, of, first, file: None, next_file: files, buffer, filled: 0, hashes })
    }

    fn take(&mut self, extent: &[u8]) -> Result<(), Stopped> {
        let stop = stopped("writing parity on", &self.bay.spec.folder);
        let hash: [u8; 32] = blake3::hash(extent).into();
        self.hashes.write_all(&hash).map_err(&stop)?;
        let place = self.buffer.bytes_mut().get_mut(self.filled..self.filled + extent.len());
        if let Some(place) = place {
            place.copy_from_slice(extent);
        }
        self.filled += extent.len();
        if self.filled == AT_ONCE * SHARD {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stopped> {
        let stop = stopped("writing parity on", &self.bay.spec.folder);
        if self.filled == 0 {
            return Ok(());
        }
        let partial = |number: u64| format!("{PARTIALS}/{number:08}");
        let (number, mut open) = match self.file.take() {
            Some(open) => open,
            None => {
                let number = self.next_file;
                self.next_file += 1;
                let created = self.bay.folder.create(&partial(number)).map_err(&stop)?;
                (number, created.pass_the_cache())
            }
        };
        let bytes = self.buffer.bytes().get(..self.filled).unwrap_or_default();
        open.write_part(bytes).map_err(&stop)?;
        self.filled = 0;
        if open.length() < PER_FILE * SHARD as u64 {
            self.file = Some((number, open));
            return Ok(());
        }
        self.close(number, &open)
    }

    /// A file gets its name once its hashes are on the medium.
    fn close(&mut self, number: u64, open: &NewFile) -> Result<(), Stopped> {
        let stop = stopped("writing parity on", &self.bay.spec.folder);
        open.sync().map_err(&stop)?;
        self.hashes.flush().map_err(&stop)?;
        self.hashes.get_ref().sync().map_err(&stop)?;
        self.bay.folder.rename(&format!("{PARTIALS}/{number:08}"), &file(number)).map_err(&stop)?;
        self.bay.folder.sync_folder(FOLDER).map_err(&stop)
    }

    /// Copies of the covered drives' documents, everything synced, read back, signed. None when it does not give back
    /// what was written.
    fn seal(
        mut self,
        job: &Job<'_>,
        covered: &[&Signed<Manifest>],
        state: &crate::state::State,
        events: &mut dyn Events,
    ) -> Result<Option<SealedNow>, Stopped> {
        let stop = stopped("writing parity on", &self.bay.spec.folder);
        self.flush()?;
        if let Some((number, open)) = self.file.take() {
            self.close(number, &open)?;
        }
        let hashes = self.hashes.into_inner().map_err(|failed| stop(failed.into_error()))?;
        hashes.sync().map_err(&stop)?;
        // Nothing may be open when the drive is refreshed.
        drop(hashes);
        let bay = self.bay;
        for (place, manifest) in covered.iter().enumerate() {
            copy_documents(bay, state, place, manifest)?;
        }
        for folder in [FOLDER, COPIES, PARTIALS] {
            bay.folder.sync_folder(folder).map_err(&stop)?;
        }
        let Some(extents) = read_back(job, bay, events)? else { return Ok(None) };
        seal(job, bay, extents, self.of).map(Some)
    }
}

/// What parity is of, in a file's bytes.
fn named(of: &ParityOf) -> Vec<u8> {
    let mut bytes = format!("{} of {}\n", of.index, of.count);
    of.drives.iter().for_each(|drive| bytes.push_str(&format!("{drive}\n")));
    bytes.into_bytes()
}

/// How many whole parity files a drive has, from the first one on, that are of this parity, with their hashes. They are
/// read back like all others before the drive is sealed.
fn complete_files(bay: &Bay, of: &ParityOf) -> io::Result<u64> {
    if bay.folder.read_if_there(OF, 1 << 12)?.is_none_or(|found| found != named(of)) {
        return Ok(0);
    }
    let hashed = bay.folder.length(HASHES)?.unwrap_or(0) / 32 / PER_FILE;
    let mut files = 0;
    while files < hashed && bay.folder.length(&file(files))? == Some(PER_FILE * SHARD as u64) {
        files += 1;
    }
    Ok(files)
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

/// The SHA-256 of the extent hashes, once everything came back as it was written.
fn read_back(
    job: &Job<'_>,
    bay: &mut Bay,
    events: &mut dyn Events,
) -> Result<Option<Digest>, Stopped> {
    let Some(label) = bay.signed_label().cloned() else { return Err(Stopped::Gone) };
    bay.reopen(job, &label)?;
    let stop = stopped("reading back", &bay.spec.folder);
    let (hashes, length) = bay.folder.file(HASHES).map_err(&stop)?;
    let mut hashes = BufReader::new(hashes);
    let mut digest = Sha256::new();
    let mut extents = Extents::open(bay, length / 32).map_err(&stop)?;
    let mut extent = vec![0; SHARD];
    for _ in 0..length / 32 {
        if events.stop() {
            return Err(Stopped::Failed(Error::Interrupted));
        }
        let mut expected = [0; 32];
        hashes.read_exact(&mut expected).map_err(&stop)?;
        digest.update(expected);
        let read = extents.next(&mut extent);
        match read {
            Err(cause) if crate::beneath::is_gone(&cause) => return Err(Stopped::Gone),
            Err(_) => return Ok(None),
            Ok(()) if blake3::hash(&extent) != expected => return Ok(None),
            Ok(()) => events
                .event(Event::Reading { serial: &bay.spec.serial, bytes: extent.len() as u64 }),
        }
    }
    Ok(Some(Digest(digest.finalize().into())))
}

/// The parity files of a drive, one extent after the other.
struct Extents<'b> {
    bay: &'b Bay,
    next: u64,
    count: u64,
    file: Option<File>,
    buffer: Aligned,
}

impl<'b> Extents<'b> {
    fn open(bay: &'b Bay, count: u64) -> io::Result<Self> {
        Ok(Self { bay, next: 0, count, file: None, buffer: Aligned::new(SHARD) })
    }

    fn next(&mut self, into: &mut [u8]) -> io::Result<()> {
        if self.next.is_multiple_of(PER_FILE) {
            let number = self.next / PER_FILE;
            let (opened, length) = self.bay.folder.file(&file(number))?;
            let expected = (self.count - self.next).min(PER_FILE) * SHARD as u64;
            if length != expected {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            crate::stream::from_the_medium(&opened);
            self.file = Some(opened);
        }
        let Some(open) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        open.read_exact(self.buffer.bytes_mut())?;
        into.copy_from_slice(self.buffer.bytes());
        self.next += 1;
        Ok(())
    }
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
