//! Rebuilding at a place that is no folder: what a landing has to be able to do for it, and how rebuilt objects get
//! there. How they are rebuilt is `parity`'s part.

use crate::arrive::Named;
use crate::event::{Events, Problem};
use crate::import::{Landing, of_this_object};
use crate::parity::{self, Landed, NotTaken, Sink};
use crate::{Error, Object, SealedDrive};
use model::{Digest, DriveSerial, ObjectKey};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// What has arrived of a seed where it lands. Asked by many threads at once.
pub trait Arrived: Sync {
    /// Whether the object is there, whole.
    ///
    /// # Errors
    /// As [`store::Store::length`], but never for an object that is not there or not right.
    fn holds(&self, repository: &Digest, key: &ObjectKey, length: u64) -> store::Result<bool>;

    /// Exactly `into.len()` bytes of an object that is there, from `offset`. A place that can be away for a while
    /// waits.
    ///
    /// # Errors
    /// As [`store::Store::read_at`].
    fn read_at(
        &self,
        repository: &Digest,
        key: &ObjectKey,
        offset: u64,
        into: &mut [u8],
    ) -> store::Result<()>;
}

/// What was rebuilt of a set, and from what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rebuilt {
    /// Data drives of which something was missing, in the order of the set.
    pub drives: Vec<RebuiltDrive>,
    /// Bytes used of what had arrived.
    pub arrived: u64,
    /// Bytes used of drives, of parity and of damaged data drives.
    pub read: Vec<(DriveSerial, u64)>,
}

/// A data drive of which something was missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuiltDrive {
    /// Its serial number.
    pub serial: DriveSerial,
    /// Objects that were rebuilt now.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is still missing, why, and its length.
    pub problems: Vec<(Problem, u64)>,
}

impl Rebuilt {
    /// How many objects were rebuilt.
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.drives.iter().fold(0, |sum, drive| sum.saturating_add(drive.objects))
    }

    /// Their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.drives.iter().fold(0, |sum, drive| sum.saturating_add(drive.bytes))
    }
}

/// Rebuilds what the data drives of a set have not brought to `landing`, with parity drives that cover the same
/// drives, and with those data drives at hand that were damaged. Each stripe in which something is missing is
/// looked at once. An object is put together in the folder `spool`, and lands once it hashes to its name. Doing it
/// again goes on with what has not landed.
///
/// Memory: for each drive of the set about 10 MiB, and its lists.
///
/// # Errors
/// The landing takes or gives nothing more; the spool cannot be written; somebody has said stop. A drive that
/// cannot be read gives less.
pub fn rebuild<L: Landing + Arrived>(
    parity: &[&SealedDrive],
    data: &[&SealedDrive],
    landing: &L,
    spool: &Path,
    events: &mut dyn Events,
) -> Result<Rebuilt, Error> {
    let repositories = match parity.first() {
        None => return Ok(Rebuilt::default()),
        Some(drive) => drive.manifest().body.header.repositories.clone(),
    };
    store::durable::create_folder(spool, 0o700).map_err(Error::io("creating", spool))?;
    let sink = |place: usize| {
        let path = spool.join(format!("{place:02}"));
        Box::new(Spooled { landing, repositories: &repositories, path, file: None }) as Box<_>
    };
    let rebuilt = parity::rebuild((parity, data), landing, &sink, events);
    let removed = fs::remove_dir_all(spool).map_err(Error::io("removing", spool));
    let (rebuilt, ()) = (rebuilt?, removed?);
    Ok(rebuilt.rebuilt)
}

/// Puts an object together in a file, from which it can be sent more than once.
struct Spooled<'a> {
    landing: &'a dyn Landing,
    repositories: &'a [Digest],
    path: PathBuf,
    file: Option<(Object, File)>,
}

impl Spooled<'_> {
    fn created(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&self.path)
    }
}

impl Sink for Spooled<'_> {
    fn write(&mut self, object: &Object, bytes: &[u8]) -> Result<(), Error> {
        let failed = |cause| Error::io("writing", &self.path)(cause);
        let mut file = match self.file.take() {
            Some((open, file)) if open == *object => file,
            _ => self.created().map_err(failed)?,
        };
        file.write_all(bytes).map_err(failed)?;
        self.file = Some((*object, file));
        Ok(())
    }

    fn abandon(&mut self) -> Result<(), Error> {
        match self.file.take() {
            None => Ok(()),
            Some(_) => fs::remove_file(&self.path).map_err(Error::io("removing", &self.path)),
        }
    }

    fn complete(&mut self, object: &Object, landed: Landed<'_>) -> Result<(), NotTaken> {
        let Some((_, mut file)) = self.file.take() else { return Ok(()) };
        let repository = self.repositories.get(usize::from(object.repository));
        let Some(repository) = repository else { return Ok(()) };
        let (landing, key) = (self.landing, object.key());
        let stored = landing.try_until_done(&mut || {
            let rewound = file.seek(SeekFrom::Start(0));
            rewound.map_err(|cause| {
                let path = self.path.display().to_string();
                store::Error::Io { action: "reading", path, cause }
            })?;
            let mut from = BufReader::with_capacity(1 << 20, &file);
            landing.put_from(repository, &key, object.length, &mut from)
        });
        stored.map_err(|error| match of_this_object(error) {
            Ok(reason) => NotTaken::Object(reason),
            Err(error) => NotTaken::All(error),
        })?;
        landed(object, Named::Now);
        Ok(())
    }

    fn finish(&mut self, _: Landed<'_>) -> Result<(), Error> {
        self.abandon()
    }
}
