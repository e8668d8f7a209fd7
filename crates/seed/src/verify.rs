//! Reads a whole drive and says what is wrong with it. Changes nothing on it.

use crate::beneath::Beneath;
use crate::drive::{self, LOST_AND_FOUND, Sealed};
use crate::event::{Events, Problem};
use crate::extent::{EXTENT, ExtentCheck};
use crate::label::Label;
use crate::parity::{self, HashFile};
use crate::sign::{Fingerprint, Trust};
use crate::{Document, Error, Event, Malformed, ManifestHeader, object_path};
use std::collections::HashSet;
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
    /// Of a parity drive: whether the copies of the covered drives' documents are all there. True for others.
    pub copies: bool,
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
        self.problems.is_empty() && self.extents.is_empty() && self.inventory && self.copies
    }
}

/// Verifies one drive: label, manifest, signatures, every object by its name, every extent.
///
/// # Errors
/// There is no sealed drive, its documents are damaged, or somebody else than the trusted signer
/// made them. Damaged objects are no error: see [`Report`].
pub fn verify(folder: &Path, trust: &Trust, events: &mut dyn Events) -> Result<Report, Error> {
    let folder = Beneath::open(folder).map_err(Error::io("opening", folder))?;
    let sealed = drive::sealed_any(&folder, trust)?;
    let inventory = names_its_inventory(&folder, &sealed, trust)?;
    let (problems, extents) = match sealed.manifest.body.header.parity {
        None => read_everything(&folder, &sealed, events)?,
        Some(_) => (Vec::new(), read_parity(&folder, &sealed, events)?),
    };
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
        copies: parity::copies_are_right(&folder, &sealed, trust),
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

/// The extents of a parity drive that are not as they should be.
fn read_parity(
    folder: &Beneath,
    sealed: &Sealed,
    events: &mut dyn Events,
) -> Result<Vec<Range<u64>>, Error> {
    let mut hashes = hashes(folder, sealed)?;
    let mut damaged: Vec<Range<u64>> = Vec::new();
    let mut extents = parity::Extents::new(folder);
    for number in 0..hashes.count() {
        if events.stop() {
            return Err(Error::Interrupted);
        }
        let expected = hashes.get(number).map_err(Error::io("reading", folder.path()))?;
        let right = extents.get(number).is_some_and(|extent| blake3::hash(extent) == expected);
        match damaged.last_mut() {
            _ if right => {}
            Some(last) if last.end == number => last.end += 1,
            _ => damaged.push(number..number + 1),
        }
        events.event(Event::Reading { serial: &sealed.label.body.serial, bytes: EXTENT });
    }
    Ok(damaged)
}

/// The extent hashes of a drive, known to be those that were signed.
fn hashes(folder: &Beneath, sealed: &Sealed) -> Result<HashFile, Error> {
    let path = folder.path().join(drive::EXTENTS);
    let io = || Error::io("reading", &path);
    let malformed = |problem| Error::Malformed {
        document: Document::Extents,
        place: drive::place(folder),
        problem,
    };
    let (file, length) = folder.file(drive::EXTENTS).map_err(io())?;
    let manifest = &sealed.manifest.body;
    let opened = match &manifest.header.parity {
        Some(_) => HashFile::of_parity(file, length, &manifest.header.extents),
        None if length != manifest.bytes().div_ceil(EXTENT).saturating_mul(32) => {
            return Err(malformed(Malformed::Length { actual: length }));
        }
        None => HashFile::open(file, length, manifest),
    };
    opened.map_err(io())?.ok_or_else(|| malformed(Malformed::Signature))
}

fn extra_files(folder: &Beneath, sealed: &Sealed) -> Result<(Vec<String>, u64), Error> {
    let manifest = &sealed.manifest.body;
    let mut known: HashSet<String> = manifest
        .objects
        .iter()
        .filter_map(|object| drive::path_of(&manifest.header.repositories, object))
        .collect();
    known.extend([drive::LABEL, drive::MANIFEST, drive::EXTENTS].map(str::to_owned));
    if let Some(of) = &manifest.header.parity {
        known.extend(parity::files(of, hashes(folder, sealed)?.count()));
    }
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
