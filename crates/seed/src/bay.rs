//! One drive while it is prepared: examined, labelled, filled, read back, sealed. Does not choose
//! what goes onto it.
//!
//! ```text
//!  empty ──label──▶ ours ──inventory──▶ objects… ──read back──▶ extents ──manifest──▶ sealed
//! ```
//!
//! Each arrow is one rename of a synced file, so a crash leaves one of these states. From the
//! label on the drive belongs to its seed; from the manifest on it is never written again.
//! Nothing on the drive or beside it says which objects are complete: a file under its own name
//! is, because it was synced before it got the name, and reading back proves it before sealing.

use crate::beneath::{Beneath, is_full, is_gone};
use crate::drive::{self, BUFFER, FOLDER, LOST_AND_FOUND, PARTIAL, RESERVE, Sealed};
use crate::event::{Events, Reason};
use crate::extent::Extents;
use crate::label::{DriveRole, Label};
use crate::object::REPOSITORIES;
use crate::plan::Room;
use crate::sign::{SigningKey, Trust};
use crate::{Error, Event, Inventory, Manifest, ManifestHeader, Object, Signed};
use jiff::Timestamp;
use model::{Digest, DriveSerial};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use store::Store;

/// A drive to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriveSpec {
    /// Where its file system is mounted.
    pub folder: PathBuf,
    /// Its serial number.
    pub serial: DriveSerial,
    /// Bytes that may be used; none for all that the file system has free.
    pub capacity: Option<u64>,
}

/// Makes reading back honest: whoever knows the device makes the next reads come from the medium.
pub trait ReadBack {
    /// Called when everything is synced and nothing on the drive is open. May unmount and mount
    /// it again at the same path.
    ///
    /// # Errors
    /// The drive does not come back.
    fn refresh(&self, drive: &Path) -> io::Result<()>;
}

/// Reads back through the operating system's cache.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainReads;

impl ReadBack for PlainReads {
    fn refresh(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// What the drives of one call have in common.
pub(crate) struct Job<'a> {
    pub(crate) signer: &'a SigningKey,
    pub(crate) now: Timestamp,
    pub(crate) set: u32,
    pub(crate) inventory: &'a Inventory,
    pub(crate) inventory_bytes: &'a [u8],
    pub(crate) inventory_digest: Digest,
    pub(crate) read_back: &'a dyn ReadBack,
}

/// How far a drive is.
#[derive(Debug)]
pub(crate) enum Progress {
    Empty,
    Labelled(Signed<Label>),
    Sealed(Box<Sealed>),
}

/// Why nothing more goes onto a drive now.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// No room: the drive is complete.
    Full,
    /// It no longer answers.
    Gone,
    /// Anything else.
    Failed(Error),
}

/// How copying one object ended where the drive is well.
#[derive(Debug)]
pub(crate) enum Copied {
    Done,
    /// The object could not be had; nothing of it is on the drive.
    NotHad(Reason),
}

/// A drive in hand.
#[derive(Debug)]
pub(crate) struct Bay {
    pub(crate) spec: DriveSpec,
    pub(crate) folder: Beneath,
    pub(crate) progress: Progress,
    pub(crate) room: Room,
    /// Objects that are on the drive under their names.
    pub(crate) objects: BTreeSet<Object>,
    /// Folders that have names not yet synced.
    unsynced: BTreeSet<String>,
    /// Whether label, inventory and reserve are known to be in place.
    ready: bool,
}

/// Folders are synced after this many objects: what a power cut can cost is copying them again.
const SYNC_EVERY: usize = 64;

impl Bay {
    /// Opens a drive and sees what it is. Changes nothing.
    pub(crate) fn examine(spec: &DriveSpec, trust: &Trust) -> Result<Self, Error> {
        let folder = Beneath::open(&spec.folder).map_err(Error::io("opening", &spec.folder))?;
        if !folder.lock().map_err(Error::io("locking", &spec.folder))? {
            return Err(Error::Busy { place: drive::place(&folder) });
        }
        let progress = match drive::label(&folder, trust)? {
            None => {
                refuse_unless_empty(&folder)?;
                Progress::Empty
            }
            Some(label) => {
                refuse_other_serial(&folder, &label.body, &spec.serial)?;
                match drive::manifest(&folder, &label, trust)? {
                    None => Progress::Labelled(label),
                    Some((manifest_bytes, manifest)) => {
                        Progress::Sealed(Box::new(Sealed { label, manifest, manifest_bytes }))
                    }
                }
            }
        };
        let spec = spec.clone();
        let room = Room::new(0, 0);
        let (objects, unsynced) = (BTreeSet::new(), BTreeSet::new());
        Ok(Self { spec, folder, progress, room, objects, unsynced, ready: false })
    }

    pub(crate) fn signed_label(&self) -> Option<&Signed<Label>> {
        match &self.progress {
            Progress::Empty => None,
            Progress::Labelled(label) => Some(label),
            Progress::Sealed(sealed) => Some(&sealed.label),
        }
    }

    pub(crate) fn label(&self) -> Option<&Label> {
        self.signed_label().map(|label| &label.body)
    }

    pub(crate) fn is_sealed(&self) -> bool {
        matches!(self.progress, Progress::Sealed(_))
    }

    /// Finds out the drive's room and which objects of the inventory are on it already.
    pub(crate) fn take_stock(
        &mut self,
        inventory: &Inventory,
        inventory_length: u64,
    ) -> Result<(), Error> {
        let io = |cause| Error::io("examining", &self.spec.folder)(cause);
        let limit = match self.label() {
            Some(label) => label.capacity,
            None => self.folder.available().map_err(io)?,
        };
        let capacity = self.spec.capacity.map_or(limit, |capacity| capacity.min(limit));
        self.room = Room::new(capacity, inventory_length);
        if let Progress::Sealed(sealed) = &self.progress {
            self.objects = sealed.manifest.body.objects.iter().copied().collect();
            return Ok(());
        }
        let mut lengths = HashMap::new();
        let mut note = |found: crate::beneath::Found| {
            lengths.extend(found.length.map(|length| (found.path, length)));
            true
        };
        self.folder.walk(REPOSITORIES, &mut note).map_err(io)?;
        for object in &inventory.objects {
            let path = drive::path_of(&inventory.repositories, object);
            if path.is_some_and(|path| lengths.get(&path) == Some(&object.length)) {
                self.objects.insert(*object);
                self.room.add(object.length);
            }
        }
        Ok(())
    }

    /// Writes label, inventory and reserve where they are missing.
    pub(crate) fn make_ready(&mut self, job: &Job<'_>, drive: u32) -> Result<(), Stopped> {
        if self.ready {
            return Ok(());
        }
        let stop = stopped("writing the label on", &self.spec.folder);
        self.folder.create_folders(FOLDER).map_err(&stop)?;
        if matches!(self.progress, Progress::Empty) {
            let label = Label {
                seed: job.inventory.seed,
                set: job.set,
                drive,
                serial: self.spec.serial.clone(),
                role: DriveRole::Data,
                created: job.now,
                capacity: self.room.capacity(),
                repositories: job.inventory.repositories.clone(),
            };
            let bytes =
                label.encode(job.signer).map_err(|problem| malformed(&self.folder, problem))?;
            self.folder.write(drive::LABEL, PARTIAL, &bytes).map_err(&stop)?;
            let digest = Digest(Sha256::digest(&bytes).into());
            let signer = job.signer.public();
            self.progress = Progress::Labelled(Signed { body: label, signer, digest });
        }
        if self.folder.length(drive::INVENTORY).map_err(&stop)?.is_none() {
            self.folder.write(drive::INVENTORY, PARTIAL, job.inventory_bytes).map_err(&stop)?;
        }
        self.keep_reserve(job).map_err(&stop)?;
        self.ready = true;
        Ok(())
    }

    /// Room for extents and manifest, so that a full drive can still be sealed.
    fn keep_reserve(&self, job: &Job<'_>) -> io::Result<()> {
        if self.folder.length(RESERVE)?.is_some() {
            return Ok(());
        }
        let bytes =
            job.inventory.objects.iter().fold(0, |sum: u64, o| sum.saturating_add(o.length));
        let stream = bytes.min(self.room.capacity());
        let extents = stream.div_ceil(crate::EXTENT).saturating_mul(32);
        let manifest = (job.inventory_bytes.len() as u64).saturating_add(64 << 10);
        self.folder.remove(PARTIAL)?;
        let file = self.folder.create(PARTIAL)?;
        file.reserve(extents.saturating_add(manifest))?;
        self.folder.rename(PARTIAL, RESERVE)
    }

    /// Copies one object onto the drive, under another name until it is whole, right and synced.
    pub(crate) fn copy(
        &mut self,
        job: &Job<'_>,
        object: &Object,
        from: &dyn Store,
    ) -> Result<Copied, Stopped> {
        let Some(path) = drive::path_of(&job.inventory.repositories, object) else {
            return Ok(Copied::NotHad(Reason::Missing));
        };
        let stop = stopped("writing to", &self.spec.folder);
        let parent = path.rsplit_once('/').map_or(".", |(parent, _)| parent).to_owned();
        self.folder.create_folders(&parent).map_err(&stop)?;
        self.folder.remove(PARTIAL).map_err(&stop)?;
        let mut file = self.folder.create(PARTIAL).map_err(&stop)?;
        let filled = match file.reserve(object.length) {
            Ok(()) => fill(&mut file, object, from),
            Err(cause) => Err(Filling::Drive(cause)),
        };
        match filled {
            Ok(()) => {}
            Err(Filling::Source(reason)) => {
                self.folder.remove(PARTIAL).map_err(&stop)?;
                return Ok(Copied::NotHad(reason));
            }
            Err(Filling::Unreachable(error)) => return Err(Stopped::Failed(Error::Store(error))),
            Err(Filling::Drive(cause)) => {
                // Gives the room back to the next attempt; a crash here leaves it to that one.
                let _ = self.folder.remove(PARTIAL);
                return Err(stop(cause));
            }
        }
        self.folder.rename(PARTIAL, &path).map_err(&stop)?;
        self.unsynced.insert(parent);
        self.objects.insert(*object);
        self.room.add(object.length);
        if self.unsynced.len() >= SYNC_EVERY {
            self.sync().map_err(&stop)?;
        }
        Ok(Copied::Done)
    }

    fn sync(&mut self) -> io::Result<()> {
        for folder in &self.unsynced {
            self.folder.sync_folder(folder)?;
        }
        self.unsynced.clear();
        Ok(())
    }

    /// Removes what reading back has found damaged.
    pub(crate) fn discard(&mut self, job: &Job<'_>, damaged: &[Object]) -> Result<(), Stopped> {
        let stop = stopped("removing a damaged object from", &self.spec.folder);
        for object in damaged {
            if let Some(path) = drive::path_of(&job.inventory.repositories, object) {
                self.folder.remove(&path).map_err(&stop)?;
            }
            self.objects.remove(object);
        }
        Ok(())
    }

    /// Reads everything back and, if it is as it should be, seals the drive. Otherwise the damaged
    /// objects are returned and the drive stays open.
    pub(crate) fn seal(
        &mut self,
        job: &Job<'_>,
        events: &mut dyn Events,
    ) -> Result<Vec<Object>, Stopped> {
        let stop = stopped("sealing", &self.spec.folder);
        let Progress::Labelled(label) = &self.progress else { return Ok(Vec::new()) };
        let label = label.clone();
        self.sync().map_err(&stop)?;
        self.reopen(job, &label)?;
        self.folder.remove(RESERVE).map_err(&stop)?;
        let (extents, damaged) = self.read_back(job, events)?;
        if !damaged.is_empty() {
            return Ok(damaged);
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
            extents,
            inventory: Some(job.inventory_digest),
            repositories: label.body.repositories.clone(),
        };
        let manifest = Manifest { header, objects: self.objects.iter().copied().collect() };
        let bytes =
            manifest.encode(job.signer).map_err(|problem| malformed(&self.folder, problem))?;
        self.folder.write(drive::MANIFEST, PARTIAL, &bytes).map_err(&stop)?;
        let digest = Digest(Sha256::digest(&bytes).into());
        let manifest = Signed { body: manifest, signer: job.signer.public(), digest };
        self.progress =
            Progress::Sealed(Box::new(Sealed { label, manifest, manifest_bytes: bytes }));
        Ok(Vec::new())
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

    /// Reads every object, writes the extent hashes to the partial file. Answers their SHA-256 and
    /// the objects that are not what their names say.
    fn read_back(
        &self,
        job: &Job<'_>,
        events: &mut dyn Events,
    ) -> Result<(Digest, Vec<Object>), Stopped> {
        let stop = stopped("reading back", &self.spec.folder);
        self.folder.remove(PARTIAL).map_err(&stop)?;
        let mut out = BufWriter::new(self.folder.create(PARTIAL).map_err(&stop)?);
        let (mut extents, mut hash, mut damaged) = (Extents::default(), Sha256::new(), Vec::new());
        let mut write = |extent: [u8; 32]| {
            hash.update(extent);
            out.write_all(&extent)
        };
        for object in &self.objects {
            if events.stop() {
                return Err(Stopped::Failed(Error::Interrupted));
            }
            let path = drive::path_of(&job.inventory.repositories, object).unwrap_or_default();
            let mut feed = |bytes: &[u8]| extents.update(bytes, &mut write);
            let (wrong, _) =
                drive::read_object(&self.folder, &path, object, &mut feed).map_err(&stop)?;
            if wrong.is_some() {
                damaged.push(*object);
            }
            events.event(Event::Reading { serial: &self.spec.serial, bytes: object.length });
        }
        if let Some(last) = extents.finish() {
            write(last).map_err(&stop)?;
        }
        let file = out.into_inner().map_err(|failed| stop(failed.into_error()))?;
        file.sync().map_err(&stop)?;
        Ok((Digest(hash.finalize().into()), damaged))
    }
}

/// Why a file could not be filled.
enum Filling {
    /// The object could not be had.
    Source(Reason),
    /// No object can be had.
    Unreachable(store::Error),
    /// The drive failed.
    Drive(io::Error),
}

fn fill(
    file: &mut crate::beneath::NewFile,
    object: &Object,
    from: &dyn Store,
) -> Result<(), Filling> {
    let mut source = from.open(&object.key()).map_err(|error| match error.kind() {
        model::ErrorKind::Unavailable => Filling::Unreachable(error),
        model::ErrorKind::NotFound => Filling::Source(Reason::Missing),
        _ => Filling::Source(Reason::Unreadable(error.to_string())),
    })?;
    let mut buffer = vec![0; BUFFER];
    let mut hash = Sha256::new();
    let mut length = 0_u64;
    loop {
        let bytes = drive::read_some(&mut *source, &mut buffer)
            .map_err(|cause| Filling::Source(Reason::Unreadable(cause.to_string())))?;
        if bytes.is_empty() {
            break;
        }
        length += bytes.len() as u64;
        if length > object.length {
            break;
        }
        hash.update(bytes);
        file.write_all(bytes).map_err(Filling::Drive)?;
    }
    if length != object.length {
        let expected = object.length;
        return Err(Filling::Source(Reason::Length { found: length, expected }));
    }
    if Digest(hash.finalize().into()) != object.name {
        return Err(Filling::Source(Reason::Hash));
    }
    file.sync().map_err(Filling::Drive)
}

/// For `map_err`: what an error of the operating system means for the drive.
fn stopped(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Stopped + use<> {
    let path = path.to_owned();
    move |cause| match cause {
        full if is_full(&full) => Stopped::Full,
        gone if is_gone(&gone) => Stopped::Gone,
        other => Stopped::Failed(Error::io(action, &path)(other)),
    }
}

fn malformed(folder: &Beneath, problem: crate::Malformed) -> Stopped {
    let (document, place) = (crate::Document::Label, drive::place(folder));
    Stopped::Failed(Error::Malformed { document, place, problem })
}

/// Empty, or with nothing but what an earlier call left before its label had a name.
fn refuse_unless_empty(folder: &Beneath) -> Result<(), Error> {
    let mut foreign = false;
    let mut see = |found: crate::beneath::Found| {
        let inside_lost = found.path.split('/').next() == Some(LOST_AND_FOUND);
        foreign = found.path != PARTIAL && !inside_lost;
        !foreign
    };
    folder.walk(".", &mut see).map_err(Error::io("listing", folder.path()))?;
    if foreign { Err(Error::NotEmpty { place: drive::place(folder) }) } else { Ok(()) }
}

fn refuse_other_serial(folder: &Beneath, label: &Label, serial: &DriveSerial) -> Result<(), Error> {
    if label.serial == *serial {
        return Ok(());
    }
    let (found, expected) = (label.serial.clone(), serial.clone());
    Err(Error::OtherSerial { place: drive::place(folder), found, expected })
}
