//! Copies what drives hold to where it is to land, each object checked against its name on the
//! way. Does not publish anything.

use crate::beneath::Beneath;
use crate::drive::{self, Sealed};
use crate::event::{Events, Problem, Reason};
use crate::label::Label;
use crate::rebuilt::Rebuilt;
use crate::sign::Trust;
use crate::stream::{self, PART};
use crate::{Error, Event, ManifestHeader, Object, object_path};
use model::{Digest, ErrorKind, ObjectKey};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use store::direct::Aligned;

/// Where the objects of drives go.
pub trait Landing {
    /// Whether the object is there already, whole.
    ///
    /// # Errors
    /// [`store::Error::Conflict`] when another object has its name; else as [`store::Store::length`].
    fn has(&self, repository: &Digest, key: &ObjectKey, length: u64) -> store::Result<bool>;

    /// Stores the object that `from` yields. `from` fails before its end when the bytes are not
    /// those of the object; then nothing may be stored.
    ///
    /// # Errors
    /// As [`store::Store::put_from`].
    fn put_from(
        &self,
        repository: &Digest,
        key: &ObjectKey,
        length: u64,
        from: &mut dyn Read,
    ) -> store::Result<()>;

    /// Calls `attempt`, which reads an object from its beginning and stores it, until it is done
    /// or trying again makes no sense. A landing that can be away for a while waits in between.
    ///
    /// # Errors
    /// The last one of `attempt`.
    fn try_until_done(&self, attempt: &mut dyn FnMut() -> store::Result<()>) -> store::Result<()> {
        attempt()
    }
}

/// What one drive has given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unloaded {
    /// Its label.
    pub label: Label,
    /// What its manifest says beside the objects.
    pub manifest: ManifestHeader,
    /// Objects copied now.
    pub copied: u64,
    /// Their lengths together.
    pub copied_bytes: u64,
    /// Objects that were there already. If all were, this drive had been taken in before.
    pub already: u64,
    /// Objects that the drive could not give, or the landing not take.
    pub problems: Vec<Problem>,
    /// Of a parity drive: what was rebuilt with it and those beside it, and from what.
    pub rebuilt: Option<Rebuilt>,
}

impl Unloaded {
    /// Nothing yet.
    pub(crate) fn nothing(sealed: &Sealed) -> Self {
        Self {
            label: sealed.label.body.clone(),
            manifest: sealed.manifest.body.header.clone(),
            copied: 0,
            copied_bytes: 0,
            already: 0,
            problems: Vec::new(),
            rebuilt: None,
        }
    }

    /// Whether the drive gave nothing new and nothing was wrong: it had been taken in before.
    #[must_use]
    pub fn is_repetition(&self) -> bool {
        self.copied == 0 && self.problems.is_empty()
    }
}

/// Copies the objects of one sealed drive to `landing`. An object that is missing or damaged on
/// the drive fails alone. Doing it again copies only what is not there yet.
///
/// # Errors
/// The drive is refused as a whole, or the landing takes nothing more.
pub fn unload(
    folder: &Path,
    trust: &Trust,
    landing: &dyn Landing,
    events: &mut dyn Events,
) -> Result<Unloaded, Error> {
    let folder = Beneath::open(folder).map_err(Error::io("opening", folder))?;
    refuse_unpinned(&folder, trust)?;
    let sealed = drive::sealed(&folder, trust)?;
    unload_sealed(&folder, &sealed, landing, events)
}

/// Whoever imports must say whose drives they are.
pub(crate) fn refuse_unpinned(folder: &Beneath, trust: &Trust) -> Result<(), Error> {
    if *trust != Trust::AsFound {
        return Ok(());
    }
    Err(Error::NoSigner { place: drive::place(folder), found: drive::found_signer(folder)? })
}

pub(crate) fn unload_sealed(
    folder: &Beneath,
    sealed: &Sealed,
    landing: &dyn Landing,
    events: &mut dyn Events,
) -> Result<Unloaded, Error> {
    let manifest = &sealed.manifest.body;
    let serial = sealed.label.body.serial.clone();
    let (mut copied, mut copied_bytes, mut already, mut problems) = (0, 0_u64, 0, Vec::new());
    events.event(Event::DriveStarted { serial: &serial });
    let mut buffer = Aligned::new(PART);
    for object in &manifest.objects {
        if events.stop() {
            return Err(Error::Interrupted);
        }
        // Decoding has made sure that the repository is listed.
        let Some(repository) = manifest.repository(object) else { continue };
        let key = object.key();
        match copy((folder, &mut buffer), &repository, object, landing)? {
            Outcome::Copied => {
                copied += 1;
                copied_bytes = copied_bytes.saturating_add(object.length);
                let (repository, bytes) = (&repository, object.length);
                events.event(Event::ObjectDone { serial: &serial, repository, key: &key, bytes });
            }
            Outcome::Already => {
                already += 1;
                let (repository, bytes) = (&repository, object.length);
                events.event(Event::ObjectThere { serial: &serial, repository, key: &key, bytes });
            }
            Outcome::Wrong(reason) => {
                refuse_gone(folder, sealed, &reason)?;
                let problem = Problem { repository, key, reason };
                events.event(Event::Problem { serial: Some(&serial), problem: &problem });
                problems.push(problem);
            }
        }
    }
    let (label, manifest) = (sealed.label.body.clone(), manifest.header.clone());
    Ok(Unloaded { label, manifest, copied, copied_bytes, already, problems, rebuilt: None })
}

/// Tells one bad object from a drive that was pulled out: then every object would seem bad.
pub(crate) fn refuse_gone(folder: &Beneath, sealed: &Sealed, reason: &Reason) -> Result<(), Error> {
    let is_reading = matches!(reason, Reason::Missing | Reason::NotAFile | Reason::Unreadable(_));
    if !is_reading || drive::has_label(folder, &sealed.label.digest) {
        return Ok(());
    }
    Err(Error::Gone { place: drive::place(folder), serial: sealed.label.body.serial.clone() })
}

enum Outcome {
    Copied,
    Already,
    Wrong(Reason),
}

fn copy(
    (folder, buffer): (&Beneath, &mut Aligned),
    repository: &Digest,
    object: &Object,
    landing: &dyn Landing,
) -> Result<Outcome, Error> {
    let key = object.key();
    match landing.has(repository, &key, object.length) {
        Ok(true) => return Ok(Outcome::Already),
        Ok(false) => {}
        Err(error) => return of_this_object(error).map(Outcome::Wrong),
    }
    let path = object_path(repository, &key);
    let mut outcome = Outcome::Copied;
    let stored = landing.try_until_done(&mut || {
        outcome = Outcome::Copied;
        let source = match drive::open_file(folder, &path, object) {
            Ok(source) => source,
            Err(reason) => {
                outcome = Outcome::Wrong(reason);
                return Ok(());
            }
        };
        stream::from_the_medium(&source);
        let mut source = Checked::new(InParts::new(source, object.length, buffer), object);
        let stored = landing.put_from(repository, &key, object.length, &mut source);
        outcome = source.verdict(stored)?.map_or(Outcome::Copied, Outcome::Wrong);
        Ok(())
    });
    match stored {
        Ok(()) => Ok(outcome),
        Err(error) => of_this_object(error).map(Outcome::Wrong),
    }
}

/// What concerns one object is its problem; what concerns all ends the copy.
pub(crate) fn of_this_object(error: store::Error) -> Result<Reason, Error> {
    match error.kind() {
        ErrorKind::Conflict => Ok(Reason::Conflict),
        ErrorKind::Corrupt => Ok(Reason::Hash),
        _ => Err(Error::Store(error)),
    }
}

/// A file's bytes, read in parts as large as the buffer, which may pass the page cache by.
struct InParts<'b> {
    file: File,
    /// Bytes of the file that were not read yet.
    left: u64,
    buffer: &'b mut Aligned,
    /// What of the buffer was not given yet.
    ready: Range<usize>,
}

impl<'b> InParts<'b> {
    fn new(file: File, length: u64, buffer: &'b mut Aligned) -> Self {
        Self { file, left: length, buffer, ready: 0..0 }
    }
}

impl Read for InParts<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // Not asked again at its end, which may be in the middle of a block.
        if self.ready.is_empty() && self.left > 0 {
            let count = drive::read_some(&mut self.file, self.buffer.bytes_mut())?.len();
            let used = usize::try_from(self.left).map_or(count, |left| left.min(count));
            self.left = if count == 0 { 0 } else { self.left.saturating_sub(used as u64) };
            self.ready = 0..used;
        }
        let ready = self.buffer.bytes().get(self.ready.clone()).unwrap_or_default();
        let count = ready.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..count), ready.get(..count)) {
            to.copy_from_slice(from);
        }
        self.ready.start += count;
        Ok(count)
    }
}

/// Yields an object's bytes, and fails in the place of its end when they are not what they should
/// be.
struct Checked<R> {
    from: R,
    hash: Sha256,
    left: u64,
    name: Digest,
    /// Whether the bytes were right, once all were read.
    right: Option<bool>,
    /// Why the drive could not be read.
    failed: Option<String>,
}

impl<R: Read> Checked<R> {
    fn new(from: R, object: &Object) -> Self {
        let (left, name) = (object.length, object.name);
        Self { from, hash: Sha256::new(), left, name, right: None, failed: None }
    }

    /// What is wrong with the object, now that it was stored or not. An error is the landing's.
    fn verdict(self, stored: store::Result<()>) -> store::Result<Option<Reason>> {
        match (stored, self.right, self.failed) {
            (Ok(()), Some(true), _) => Ok(None),
            // A landing that stopped reading early has not seen whether the bytes are right.
            (Ok(()), ..) => Ok(Some(Reason::Unreadable("it was not read to its end".to_owned()))),
            (Err(_), Some(false), _) => Ok(Some(Reason::Hash)),
            (Err(_), _, Some(cause)) => Ok(Some(Reason::Unreadable(cause))),
            (Err(error), ..) => Err(error),
        }
    }

    fn end(&mut self) -> io::Result<usize> {
        let right = *self.right.get_or_insert_with(|| {
            self.left == 0 && Digest(self.hash.clone().finalize().into()) == self.name
        });
        if right {
            return Ok(0);
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the bytes are not those of the name"))
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let bytes = match drive::read_some(&mut self.from, buffer) {
            Ok([]) => return self.end(),
            Ok(bytes) => bytes,
            Err(cause) => {
                self.failed = Some(cause.to_string());
                return Err(cause);
            }
        };
        self.hash.update(bytes);
        let length = bytes.len();
        self.left = self.left.saturating_sub(length as u64);
        if self.left == 0 {
            // Readers that stop at the announced length must hear of wrong bytes too.
            self.end()?;
        }
        Ok(length)
    }
}
