//! Reads a whole drive and says what is wrong with it. Changes nothing on it.

use crate::beneath::Beneath;
use crate::drive::{self, LOST_AND_FOUND, Sealed};
use crate::event::{Events, Problem};
use crate::extent::{EXTENT, ExtentCheck};
use crate::label::Label;
use crate::sign::{Fingerprint, Trust};
use crate::{Document, Error, Event, Malformed, ManifestHeader, object_path};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

/// What was found on a sealed drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its label.
    pub label: Label,
    /// What its manifest says beside the objects.
    pub manifest: ManifestHeader,
    /// Who signed it.
    pub signer: Fingerprint,
    /// Whether the signer is the one that the caller trusts. If not, nothing below says whose the
    /// drive is.
    pub trusted: bool,
    /// Objects that are as they should be.
    pub objects: u64,
    /// Their lengths together.
    pub bytes: u64,
    /// Objects that are missing or damaged.
    pub problems: Vec<Problem>,
    /// Numbers of the extents that are not as they should be, ascending.
    pub extents: Vec<Range<u64>>,
    /// Whether the drive has the inventory that its manifest names.
    pub inventory: bool,
    /// Files that nobody signed for, at most [`MAX_EXTRA`] of them. They are never read.
    pub extra: Vec<String>,
    /// How many there are.
    pub extra_count: u64,
}

/// Names of extra files in a report, at most.
pub const MAX_EXTRA: usize = 1000;

impl Report {
    /// Whether everything that was signed for is there and intact. Extra files do not count: they
    /// do no harm, because nobody reads them.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.problems.is_empty() && self.extents.is_empty() && self.inventory
    }
}

/// Verifies one drive: label, manifest, signatures, every object by its name, every extent.
///
/// # Errors
/// There is no sealed drive, its documents are damaged, or somebody else than the trusted signer
/// made them. Damaged objects are no error: see [`Report`].
pub fn verify(folder: &Path, trust: &Trust, events: &mut dyn Events) -> Result<Report, Error> {
    let folder = Beneath::open(folder).map_err(Error::io("opening", folder))?;
    let sealed = drive::sealed(&folder, trust)?;
    let inventory = names_its_inventory(&folder, &sealed, trust)?;
    let (problems, extents) = read_everything(&folder, &sealed, events)?;
    let (extra, extra_count) = extra_files(&folder, &sealed)?;
    let manifest = &sealed.manifest.body;
    let mut report = Report {
        signer: Fingerprint::of(&sealed.label.signer),
        trusted: *trust != Trust::AsFound,
        objects: 0,
        bytes: 0,
        problems,
        extents,
        inventory,
        extra,
        extra_count,
        manifest: manifest.header.clone(),
        label: sealed.label.body,
    };
    let bad: HashSet<_> = report.problems.iter().map(|p| (p.repository, p.key)).collect();
    for object in &manifest.objects {
        let repository = manifest.repository(object);
        if repository.is_some_and(|repository| !bad.contains(&(repository, object.key()))) {
            report.objects += 1;
            report.bytes = report.bytes.saturating_add(object.length);
        }
    }
    Ok(report)
}

/// Whether the inventory is the one that the manifest names. An unreadable one is damage like any
/// other, and no reason to stop.
fn names_its_inventory(folder: &Beneath, sealed: &Sealed, trust: &Trust) -> Result<bool, Error> {
    let Some(named) = sealed.manifest.body.header.inventory else { return Ok(true) };
    match drive::inventory(folder, &sealed.label, trust) {
        Ok(found) => Ok(found.is_some_and(|(_, inventory)| inventory.digest == named)),
        Err(Error::Malformed { .. } | Error::Io { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}

/// Every object once, in the order of the byte stream.
fn read_everything(
    folder: &Beneath,
    sealed: &Sealed,
    events: &mut dyn Events,
) -> Result<(Vec<Problem>, Vec<Range<u64>>), Error> {
    let manifest = &sealed.manifest.body;
    let path = folder.path().join(drive::EXTENTS);
    let failed = || Error::io("reading", &path);
    let mut hashes = hashes(folder, sealed)?;
    let mut check = ExtentCheck::new(|number| hashes.get(number));
    let mut problems = Vec::new();
    for object in &manifest.objects {
        if events.stop() {
            return Err(Error::Interrupted);
        }
        // Decoding has made sure that the repository is listed.
        let Some(repository) = manifest.repository(object) else { continue };
        let path = object_path(&repository, &object.key());
        let read = drive::read_object(folder, &path, object, &mut |bytes| check.update(bytes));
        let (wrong, fed) = read.map_err(failed())?;
        check.skip(object.length.saturating_sub(fed));
        if let Some(reason) = wrong {
            let problem = Problem { repository, key: object.key(), reason };
            let serial = Some(&sealed.label.body.serial);
            events.event(Event::Problem { serial, problem: &problem });
            problems.push(problem);
        }
        events.event(Event::Reading { serial: &sealed.label.body.serial, bytes: object.length });
    }
    let extents = check.finish().map_err(failed())?;
    Ok((problems, extents))
}

/// The extent hashes of a drive, known to be those that were signed.
struct Hashes {
    file: BufReader<std::fs::File>,
    next: u64,
}

impl Hashes {
    fn get(&mut self, number: u64) -> io::Result<[u8; 32]> {
        if number != self.next {
            self.file.seek(SeekFrom::Start(number.saturating_mul(32)))?;
        }
        let mut hash = [0; 32];
        self.file.read_exact(&mut hash)?;
        self.next = number.saturating_add(1);
        Ok(hash)
    }
}

fn hashes(folder: &Beneath, sealed: &Sealed) -> Result<Hashes, Error> {
    let path = folder.path().join(drive::EXTENTS);
    let malformed = |problem| Error::Malformed {
        document: Document::Extents,
        place: drive::place(folder),
        problem,
    };
    let (mut file, length) = folder.file(drive::EXTENTS).map_err(Error::io("reading", &path))?;
    let expected = sealed.manifest.body.bytes().div_ceil(EXTENT).saturating_mul(32);
    if length != expected {
        return Err(malformed(Malformed::Length { actual: length }));
    }
    let mut hash = Sha256::new();
    let copied = io::copy(&mut (&mut file).take(length), &mut Feed(&mut hash));
    copied.map_err(Error::io("reading", &path))?;
    if hash.finalize().as_slice() != sealed.manifest.body.header.extents.as_bytes() {
        return Err(malformed(Malformed::Signature));
    }
    file.seek(SeekFrom::Start(0)).map_err(Error::io("reading", &path))?;
    Ok(Hashes { file: BufReader::new(file), next: 0 })
}

struct Feed<'a>(&'a mut Sha256);

impl io::Write for Feed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn extra_files(folder: &Beneath, sealed: &Sealed) -> Result<(Vec<String>, u64), Error> {
    let manifest = &sealed.manifest.body;
    let mut known: HashSet<String> = manifest
        .objects
        .iter()
        .filter_map(|object| drive::path_of(&manifest.header.repositories, object))
        .collect();
    known.extend([drive::LABEL, drive::MANIFEST, drive::EXTENTS].map(str::to_owned));
    known.extend(manifest.header.inventory.map(|_| drive::INVENTORY.to_owned()));
    let (mut extra, mut count) = (Vec::new(), 0);
    let mut see = |found: crate::beneath::Found| {
        let is_lost = found.path.split('/').next() == Some(LOST_AND_FOUND);
        if !is_lost && !known.contains(&found.path) {
            count += 1;
            if extra.len() < MAX_EXTRA {
                extra.push(found.path);
            }
        }
        true
    };
    folder.walk(".", &mut see).map_err(Error::io("listing", folder.path()))?;
    extra.sort();
    Ok((extra, count))
}
