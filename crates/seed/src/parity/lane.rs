//! One parity drive's thread: writes the extents that it is given, and reads them back. Makes no parity, and seals
//! nothing: what parity is of is known for good only once the data drives are sealed.
//!
//! ```text
//!  packmule/parity-of        what the parity on the drive is of: data drives by their manifests, or as planned
//!  packmule/parity-hashes    the hash of every extent of parity
//!  packmule/parity-streams   of planned drives: the hashes of the data extents that each of these is made of
//! ```
//!
//! invariant: a parity file gets its name once its hashes are on the medium.

use super::stripe::SHARD;
use super::works::{Parity, Taker};
use super::{COPIES, FOLDER, HASHES, OF, PER_FILE, STREAMS, file};
use crate::Error;
use crate::bay::{Bay, Job, Stopped, stopped};
use crate::beneath::{self, Beneath, NewFile};
use crate::drive::{self, PARTIAL, PARTIALS};
use crate::label::DriveRole;
use crate::manifest::ParityOf;
use crate::writer::Told;
use model::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use store::direct::Aligned;

/// Extents that are written or read at a time.
const AT_ONCE: usize = if cfg!(test) { 2 } else { 4 };
const _: () = assert!(PER_FILE.is_multiple_of(AT_ONCE as u64));
/// Parts that are read back and not yet compared.
const AHEAD: usize = 4;

/// What the parity on a drive is of, as the drive says until it is sealed.
pub(super) struct Note {
    text: String,
    /// How many data drives, where their manifests are not known yet.
    planned: Option<usize>,
}

impl Note {
    /// Of drives that are sealed.
    pub(super) fn of(of: &ParityOf) -> Self {
        let drives: String = of.drives.iter().map(|drive| format!("{drive}\n")).collect();
        Self { text: format!("{} of {}\n{drives}", of.index, of.count), planned: None }
    }

    /// Of so many drives as a plan says.
    pub(super) fn planned((index, count): (u32, u32), drives: usize, plan: &Digest) -> Self {
        let text = format!("{}{plan}\n", head((index, count), drives));
        Self { text, planned: Some(drives) }
    }
}

fn head((index, count): (u32, u32), drives: usize) -> String {
    format!("{index} of {count}, of {drives} drives as planned\n")
}

/// Whether the drive has parity with that index of so many drives, as any plan said.
pub(super) fn is_planned(bay: &Bay, of: (u32, u32), drives: usize) -> io::Result<bool> {
    let found = bay.folder.read_if_there(OF, 1 << 12)?;
    Ok(found.is_some_and(|found| found.starts_with(head(of, drives).as_bytes())))
}

/// How many whole parity files a drive has, from the first one on, that are of this, with their hashes. They are read
/// back like all others before the drive is sealed.
pub(super) fn complete_files(bay: &Bay, note: &Note) -> io::Result<u64> {
    let found = bay.folder.read_if_there(OF, 1 << 12)?;
    if found.is_none_or(|found| found != note.text.as_bytes()) {
        return Ok(0);
    }
    let mut hashed = bay.folder.length(HASHES)?.unwrap_or(0) / 32 / PER_FILE;
    if let Some(drives) = note.planned {
        let record = 32 * drives as u64;
        let streams = bay.folder.length(STREAMS)?.unwrap_or(0);
        hashed = hashed.min(streams.checked_div(record).unwrap_or(0) / PER_FILE);
    }
    let mut files = 0;
    while files < hashed && bay.folder.length(&file(files))? == Some(PER_FILE * SHARD as u64) {
        files += 1;
    }
    Ok(files)
}

/// What was planned has come about, as far as the first `files` parity files: from now on they are of these drives.
/// The others go.
pub(super) fn adopt(bay: &Bay, note: &Note, files: u64) -> Result<(), Stopped> {
    let stop = stopped("writing parity on", &bay.spec.folder);
    let mut others = Vec::new();
    let walked = bay.folder.walk(FOLDER, &mut |found| {
        let number = found.path.rsplit('/').next().and_then(|name| name.parse::<u64>().ok());
        if number.is_none_or(|number| number >= files) {
            others.push(found.path);
        }
        true
    });
    walked.map_err(&stop)?;
    others.sort_unstable();
    for path in others.iter().rev() {
        bay.folder.remove(path).map_err(&stop)?;
    }
    bay.folder.create_folders(FOLDER).map_err(&stop)?;
    bay.folder.sync_folder(FOLDER).map_err(&stop)?;
    bay.folder.write(OF, PARTIAL, note.text.as_bytes()).map_err(&stop)?;
    bay.folder.remove(STREAMS).map_err(&stop)
}

/// What a drive's thread works with.
pub(super) struct Work<'a> {
    /// The drive's number among those whose threads tell.
    pub(super) at: usize,
    pub(super) job: &'a Job<'a>,
    /// What number the drive gets when it has none.
    pub(super) number: u32,
    pub(super) note: Note,
    /// Parity files that it has already.
    pub(super) files: u64,
    /// How many extents it is to have.
    pub(super) stripes: u64,
    pub(super) told: Sender<Told>,
    pub(super) is_stopped: &'a (dyn Fn() -> bool + Sync),
}

/// How a drive's thread has ended where the drive answers.
#[derive(Debug)]
pub(crate) enum End {
    /// Everything was written, and came back as it was: the SHA-256 of the extents' hashes.
    Whole(Digest),
    /// It does not give back what was written.
    Unreliable,
    /// Less was given than it was to have.
    Part,
}

impl Work<'_> {
    /// Until nothing more is given; then, where that was all of it, until all was read back.
    pub(super) fn run(self, bay: &mut Bay, taker: Taker) -> Result<End, Stopped> {
        let mut lane = Lane::begin(&self, bay)?;
        while let Some(parity) = taker.next() {
            lane.take(&parity)?;
            self.tell(Told::Wrote(self.at, parity.extent.bytes.len() as u64));
            taker.give_back(parity);
        }
        drop(taker);
        if lane.next != self.stripes {
            return Ok(End::Part);
        }
        lane.written()?;
        self.read_back(bay)
    }

    fn tell(&self, told: Told) {
        // The caller's thread listens for as long as there is one of these.
        let _ = self.told.send(told);
    }

    /// Has everything come from the medium. One thread reads ahead; this one compares.
    fn read_back(&self, bay: &mut Bay) -> Result<End, Stopped> {
        let Some(label) = bay.signed_label().cloned() else { return Err(Stopped::Gone) };
        bay.reopen(self.job, &label)?;
        let stop = stopped("reading back", &bay.spec.folder);
        let (hashes, _) = bay.folder.file(HASHES).map_err(&stop)?;
        let folder = &bay.folder;
        std::thread::scope(|scope| {
            // In here: when this thread ends, so does the one that reads.
            let ((sender, parts), (give_back, empty)) = (sync_channel(AHEAD), channel());
            for _ in 0..AHEAD {
                let _ = give_back.send(Aligned::new(AT_ONCE * SHARD));
            }
            beneath::spawn(scope, move || read_ahead(folder, self.stripes, &sender, &empty));
            self.compare(&parts, &give_back, hashes).map_err(|error| match error {
                Compared::Stopped => Stopped::Failed(Error::Interrupted),
                Compared::Hashes(cause) => stop(cause),
                Compared::Gone => Stopped::Gone,
            })
        })
    }

    fn compare(
        &self,
        parts: &Receiver<io::Result<(Aligned, usize)>>,
        give_back: &Sender<Aligned>,
        hashes: File,
    ) -> Result<End, Compared> {
        let mut hashes = BufReader::new(hashes);
        let mut digest = Sha256::new();
        for part in parts {
            let (buffer, length) = match part {
                Ok(part) => part,
                Err(cause) if beneath::is_gone(&cause) => return Err(Compared::Gone),
                Err(_) => return Ok(End::Unreliable),
            };
            for extent in buffer.bytes().get(..length).unwrap_or_default().chunks(SHARD) {
                if (self.is_stopped)() {
                    return Err(Compared::Stopped);
                }
                let mut expected = [0; 32];
                hashes.read_exact(&mut expected).map_err(Compared::Hashes)?;
                if blake3::hash(extent) != expected {
                    return Ok(End::Unreliable);
                }
                digest.update(expected);
            }
            self.tell(Told::Read(self.at, length as u64));
            // Nobody waits for it once all is read.
            let _ = give_back.send(buffer);
        }
        Ok(End::Whole(Digest(digest.finalize().into())))
    }
}

/// Why comparing has ended early.
enum Compared {
    Stopped,
    Hashes(io::Error),
    Gone,
}

/// Reads the parity files of a drive with so many extents, one after the other.
fn read_ahead(
    folder: &Beneath,
    extents: u64,
    parts: &SyncSender<io::Result<(Aligned, usize)>>,
    empty: &Receiver<Aligned>,
) {
    let read = || -> io::Result<()> {
        for number in 0..extents.div_ceil(PER_FILE) {
            let (mut opened, length) = folder.file(&file(number))?;
            let expected = (extents - number * PER_FILE).min(PER_FILE) * SHARD as u64;
            if length != expected {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            crate::stream::from_the_medium(&opened);
            let mut left = length;
            while left > 0 {
                // Nobody wants more.
                let Ok(mut buffer) = empty.recv() else { return Ok(()) };
                let part = usize::try_from(left).unwrap_or(usize::MAX).min(AT_ONCE * SHARD);
                opened.read_exact(buffer.bytes_mut().get_mut(..part).unwrap_or_default())?;
                left -= part as u64;
                if parts.send(Ok((buffer, part))).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    };
    if let Err(cause) = read() {
        // Nobody listens who has ended.
        let _ = parts.send(Err(cause));
    }
}

/// What a drive has of parity while it is written.
struct Lane<'b> {
    bay: &'b Bay,
    /// The first extent that the drive does not have yet.
    next: u64,
    file: Option<(u64, NewFile)>,
    next_file: u64,
    buffer: Aligned,
    filled: usize,
    /// Hashes of what was written, to be compared with what comes back.
    hashes: BufWriter<NewFile>,
    /// Of what it is made.
    streams: Option<BufWriter<NewFile>>,
}

impl<'b> Lane<'b> {
    /// The drive gets its label. Parity files that an earlier call has completed of the same drives stay; everything
    /// else that it has left goes.
    fn begin(work: &Work<'_>, bay: &'b mut Bay) -> Result<Self, Stopped> {
        bay.make_ready_as(work.job, work.number, DriveRole::Parity)?;
        let (bay, files, note) = (&*bay, work.files, &work.note);
        let stop = stopped("writing parity on", &bay.spec.folder);
        bay.remove_all_in(PARTIALS).map_err(&stop)?;
        bay.remove_all_in(COPIES).map_err(&stop)?;
        if files == 0 {
            for old in [OF, HASHES, STREAMS] {
                bay.folder.remove(old).map_err(&stop)?;
            }
            bay.folder.sync_folder(drive::FOLDER).map_err(&stop)?;
            bay.remove_all_in(FOLDER).map_err(&stop)?;
        }
        if note.planned.is_none() {
            bay.folder.remove(STREAMS).map_err(&stop)?;
        }
        for folder in [FOLDER, COPIES, PARTIALS] {
            bay.folder.create_folders(folder).map_err(&stop)?;
        }
        let next = files * PER_FILE;
        let open = |path: &str, record: u64| match files {
            0 => bay.folder.create(path).map_err(&stop),
            _ => bay.folder.append(path, next * record).map_err(&stop),
        };
        let hashes = BufWriter::new(open(HASHES, 32)?);
        let streams = match note.planned {
            Some(drives) => Some(BufWriter::new(open(STREAMS, 32 * drives as u64)?)),
            None => None,
        };
        if files == 0 {
            bay.folder.write(OF, PARTIAL, note.text.as_bytes()).map_err(&stop)?;
        }
        let buffer = Aligned::new(AT_ONCE * SHARD);
        Ok(Self { bay, next, file: None, next_file: files, buffer, filled: 0, hashes, streams })
    }

    fn take(&mut self, parity: &Parity) -> Result<(), Stopped> {
        let stop = stopped("writing parity on", &self.bay.spec.folder);
        self.hashes.write_all(&parity.extent.hash).map_err(&stop)?;
        if let Some(streams) = &mut self.streams {
            parity.of.iter().try_for_each(|hash| streams.write_all(hash)).map_err(&stop)?;
        }
        let extent = &parity.extent.bytes;
        let place = self.buffer.bytes_mut().get_mut(self.filled..self.filled + extent.len());
        if let Some(place) = place {
            place.copy_from_slice(extent);
        }
        self.filled += extent.len();
        self.next += 1;
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

    fn close(&mut self, number: u64, open: &NewFile) -> Result<(), Stopped> {
        let stop = stopped("writing parity on", &self.bay.spec.folder);
        open.sync().map_err(&stop)?;
        for hashes in std::iter::once(&mut self.hashes).chain(&mut self.streams) {
            hashes.flush().map_err(&stop)?;
            hashes.get_ref().sync().map_err(&stop)?;
        }
        self.bay.folder.rename(&partial(number), &file(number)).map_err(&stop)?;
        self.bay.folder.sync_folder(FOLDER).map_err(&stop)
    }

    /// All of it is on the drive for good, and nothing is open.
    fn written(mut self) -> Result<(), Stopped> {
        let stop = stopped("writing parity on", &self.bay.spec.folder);
        self.flush()?;
        if let Some((number, open)) = self.file.take() {
            self.close(number, &open)?;
        }
        for folder in [FOLDER, PARTIALS, drive::FOLDER] {
            self.bay.folder.sync_folder(folder).map_err(&stop)?;
        }
        Ok(())
    }
}

fn partial(number: u64) -> String {
    format!("{PARTIALS}/{number:08}")
}
