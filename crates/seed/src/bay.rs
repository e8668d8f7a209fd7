//! One drive while it is prepared: examined, labelled, made ready. How objects get onto it is in
//! `batch`, how it is read back and sealed in `seal`. Does not choose what goes onto it.
//!
//! ```text
//!  empty ──label──▶ ours ──inventory──▶ objects… ──read back──▶ extents ──manifest──▶ sealed
//! ```
//!
//! Each arrow is one rename of a synced file, so a crash leaves one of these states. From the
//! label on the drive belongs to its seed; from the manifest on it is never written again. It counts as
//! sealed elsewhere only once it is finished: until then its last writes may be in a journal alone,
//! which whoever mounts it for reading does not replay.
//! Nothing on the drive or beside it says which objects are complete: a file under its own name
//! is, because it was synced before it got the name, and reading back proves it before sealing.

use crate::batch::Batch;
use crate::beneath::{Beneath, is_full, is_gone};
use crate::drive::{self, BAD, FOLDER, LOST_AND_FOUND, PARTIAL, PARTIALS, RESERVE, Sealed};
use crate::label::{DriveRole, Label};
use crate::object::REPOSITORIES;
use crate::plan::Room;
use crate::sign::{SigningKey, Trust};
use crate::state::State;
use crate::{Error, Inventory, Object, Signed, envelope};
use jiff::Timestamp;
use model::{Digest, DriveSerial};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

/// No pack that is full is smaller; what is kept for a manifest goes by it where the objects are not known.
const SMALL_PACK: u64 = 4 << 20;

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

/// What only whoever knows the device can do: have the next reads come from the medium, and all that
/// was written be there.
pub trait ReadBack: Sync {
    /// Called when everything is synced and nothing on the drive is open, from a thread of the
    /// drive's own. May unmount and mount it again at the same path.
    ///
    /// # Errors
    /// The drive does not come back.
    fn refresh(&self, drive: &Path) -> io::Result<()>;

    /// Called when a drive is sealed and nothing on it is open: whoever knows the device unmounts and
    /// closes it, so that all of it is on the medium; it is not used again in this call.
    ///
    /// # Errors
    /// It may not be. Then the drive does not count as sealed in this call.
    fn finish(&self, drive: &Path) -> io::Result<()> {
        let _ = drive;
        Ok(())
    }
}

/// Leaves the drive mounted. On file systems of disks what is read back still comes from the drive,
/// past the cache; on others it may come from there.
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
    /// None where the list is not known yet: then the drives get none.
    pub(crate) inventory_digest: Option<Digest>,
    pub(crate) read_back: &'a dyn ReadBack,
    /// Where copies of extent hashes are kept; none where no parity is made of them.
    pub(crate) extents: Option<&'a State>,
    /// What is to be on sealed drives, ascending: all of the inventory or a part.
    pub(crate) wanted: &'a [Object],
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

/// A drive in hand.
#[derive(Debug)]
pub(crate) struct Bay {
    pub(crate) spec: DriveSpec,
    pub(crate) folder: Beneath,
    pub(crate) progress: Progress,
    pub(crate) room: Room,
    /// Bytes that may be used, for whatever.
    pub(crate) limit: u64,
    /// Objects that are on the drive under their names.
    pub(crate) objects: BTreeSet<Object>,
    /// Whether objects are on the drive whose names a power cut could still undo, and what else is
    /// on its way to a name.
    pub(crate) batch: Batch,
    /// Whether label, inventory and reserve are known to be in place.
    pub(crate) ready: bool,
}

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
        let (objects, batch) = (BTreeSet::new(), Batch::default());
        Ok(Self { spec, folder, progress, room, limit: 0, objects, batch, ready: false })
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

    pub(crate) fn sealed(&self) -> Option<&Sealed> {
        match &self.progress {
            Progress::Sealed(sealed) => Some(sealed),
            _ => None,
        }
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed().is_some()
    }

    /// Finds out the drive's room, less what is to be kept free of it, and which objects of the inventory are on
    /// it already.
    pub(crate) fn take_stock(
        &mut self,
        inventory: &Inventory,
        inventory_length: u64,
        kept_free: &dyn Fn(u64) -> u64,
    ) -> Result<(), Error> {
        let io = |cause| Error::io("examining", &self.spec.folder)(cause);
        let limit = match self.label() {
            Some(label) => label.capacity,
            None => self.folder.available().map_err(io)?,
        };
        let capacity = self.spec.capacity.map_or(limit, |capacity| capacity.min(limit));
        self.limit = capacity;
        let capacity = capacity.saturating_sub(kept_free(capacity));
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
        self.make_ready_as(job, drive, DriveRole::Data)
    }

    /// The same for a drive of either role.
    pub(crate) fn make_ready_as(
        &mut self,
        job: &Job<'_>,
        drive: u32,
        role: DriveRole,
    ) -> Result<(), Stopped> {
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
                role,
                created: job.now,
                capacity: self.limit,
                repositories: job.inventory.repositories.clone(),
            };
            let bytes =
                label.encode(job.signer).map_err(|problem| malformed(&self.folder, problem))?;
            self.folder.write(drive::LABEL, PARTIAL, &bytes).map_err(&stop)?;
            let digest = Digest(Sha256::digest(&bytes).into());
            let signer = job.signer.public();
            self.progress = Progress::Labelled(Signed { body: label, signer, digest });
        }
        if job.inventory_digest.is_some()
            && self.folder.length(drive::INVENTORY).map_err(&stop)?.is_none()
        {
            self.folder.write(drive::INVENTORY, PARTIAL, job.inventory_bytes).map_err(&stop)?;
        }
        if role == DriveRole::Data {
            self.keep_reserve(job).map_err(&stop)?;
        }
        self.remove_all_in(PARTIALS).map_err(&stop)?;
        self.ready = true;
        Ok(())
    }

    /// Room for extents and manifest, so that a full drive can still be sealed.
    fn keep_reserve(&self, job: &Job<'_>) -> io::Result<()> {
        if self.folder.length(RESERVE)?.is_some() {
            return Ok(());
        }
        let capacity = self.room.capacity();
        let (stream, list) = match job.inventory_digest {
            Some(_) => {
                let objects = job.inventory.objects.iter();
                let bytes = objects.fold(0, |sum: u64, o| sum.saturating_add(o.length));
                (bytes.min(capacity), job.inventory_bytes.len() as u64)
            }
            None => (capacity, capacity / SMALL_PACK * envelope::ROW as u64),
        };
        let extents = stream.div_ceil(crate::EXTENT).saturating_mul(32);
        let manifest = list.saturating_add(64 << 10);
        self.folder.remove(PARTIAL)?;
        let file = self.folder.create(PARTIAL)?;
        file.reserve(extents.saturating_add(manifest))?;
        self.folder.rename(PARTIAL, RESERVE)
    }

    /// Removes the files in one of our own folders on the drive, and the folder.
    pub(crate) fn remove_all_in(&self, folder: &str) -> io::Result<()> {
        let mut names = Vec::new();
        self.folder.walk(folder, &mut |found| {
            names.push(found.path);
            true
        })?;
        for name in names {
            self.folder.remove(&name)?;
        }
        self.folder.remove_folder(folder)
    }

    /// Moves what reading back has found damaged aside until the drive is sealed: as long as it has
    /// its place on the medium, what is written anew gets another one.
    pub(crate) fn set_aside(&mut self, job: &Job<'_>, damaged: &[Object]) -> Result<(), Stopped> {
        let stop = stopped("moving a damaged object on", &self.spec.folder);
        self.folder.create_folders(BAD).map_err(&stop)?;
        for object in damaged {
            let Some(path) = drive::path_of(&job.inventory.repositories, object) else { continue };
            let aside = format!("{BAD}/{}", object.name);
            match self.folder.rename(&path, &aside) {
                // It is missing altogether.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(&stop)?,
            }
            self.objects.remove(object);
        }
        self.folder.sync_folder(BAD).map_err(&stop)
    }

    /// Removes objects that sealing has no room beside. The manifest that may have come into being
    /// before the room ran out names them, so it goes first.
    pub(crate) fn discard(&mut self, job: &Job<'_>, objects: &[Object]) -> Result<(), Stopped> {
        let stop = stopped("removing an object from", &self.spec.folder);
        self.folder.remove(drive::MANIFEST).map_err(&stop)?;
        self.folder.sync_folder(FOLDER).map_err(&stop)?;
        for object in objects {
            if let Some(path) = drive::path_of(&job.inventory.repositories, object) {
                self.folder.remove(&path).map_err(&stop)?;
            }
            self.objects.remove(object);
        }
        Ok(())
    }
}

/// For `map_err`: what an error of the operating system means for the drive.
pub(crate) fn stopped(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Stopped + use<> {
    let path = path.to_owned();
    move |cause| match cause {
        full if is_full(&full) => Stopped::Full,
        gone if is_gone(&gone) => Stopped::Gone,
        other => Stopped::Failed(Error::io(action, &path)(other)),
    }
}

pub(crate) fn malformed(folder: &Beneath, problem: crate::Malformed) -> Stopped {
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
