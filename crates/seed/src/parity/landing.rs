//! Parity drives at a destination: told apart from others, believed like them, grouped by what they cover.

use super::at_once::AtOnce;
use super::rebuild::{Done, rebuild};
use super::sink::{Pending, Sink};
use crate::arrive::{Arrivals, Ground};
use crate::belt::Limits;
use crate::beneath::Beneath;
use crate::drive;
use crate::event::Events;
use crate::import::{Unloaded, refuse_unpinned};
use crate::intake::Verified;
use crate::label::DriveRole;
use crate::landing::{Admission, Destination, ends_everything, pending};
use crate::sign::Trust;
use crate::{Error, ManifestHeader, SealedDrive};
use std::path::{Path, PathBuf};

/// What rebuilding in a folder works with.
pub(crate) struct Rebuilding<'a> {
    pub(crate) destination: &'a Destination,
    pub(crate) ground: &'a Ground<'a>,
    pub(crate) limits: Limits,
    pub(crate) trust: &'a Trust,
    /// Data drives at hand: some of what is on them may be good although an object is not.
    pub(crate) data: &'a [PathBuf],
}

/// Whether the drive in that folder is one.
pub(crate) fn is_on(path: &Path) -> bool {
    let label = Beneath::open(path).map(|folder| drive::label(&folder, &Trust::AsFound));
    matches!(label, Ok(Ok(Some(label))) if label.body.role == DriveRole::Parity)
}

/// Where the objects of a data drive at that place of the stripe go.
pub(super) fn pending_sink<'a>(
    with: &'a Rebuilding<'a>,
    header: &'a ManifestHeader,
    place: usize,
) -> Box<dyn Sink + 'a> {
    // Numbers that no drive's own intake has had.
    let (pending, number) = (pending(header.seed), crate::intake::AT_ONCE + place);
    let arrivals = Arrivals::new(with.ground, with.limits, pending, &header.repositories, number);
    Box::new(Pending { arrivals, folder: with.destination.folder.path() })
}

/// Rebuilds what did not arrive, as far as the parity drives in these folders can. `before` is what was rebuilt while
/// the drives were taken in. The answer has one for each.
pub(crate) fn take_in(
    with: &Rebuilding<'_>,
    admission: &Admission<'_>,
    folders: &[PathBuf],
    (verified, mut before): (&mut Verified, Option<(&AtOnce, Done)>),
    events: &mut dyn Events,
) -> Result<Vec<Result<Unloaded, Error>>, Error> {
    let mut results = Vec::new();
    // Drives that cover the same, each with its place among the results.
    let mut groups: Vec<(Vec<usize>, Vec<SealedDrive>)> = Vec::new();
    for (at, path) in folders.iter().enumerate() {
        let opened = Beneath::open(path).map_err(Error::io("opening", path));
        match opened.and_then(|folder| open(admission, folder)) {
            Err(error) if ends_everything(&error) => return Err(error),
            Err(error) => results.push(Err(error)),
            Ok(drive) => {
                results.push(Ok(Unloaded::nothing(drive.sealed())));
                let same = |group: &&mut (Vec<usize>, Vec<SealedDrive>)| {
                    let first = group.1.first().and_then(SealedDrive::parity);
                    let of = drive.parity();
                    first.zip(of).is_some_and(|(it, of)| it.is_beside(&of.drives, of.count))
                };
                match groups.iter_mut().find(same) {
                    Some((places, group)) => {
                        places.push(at);
                        group.push(drive);
                    }
                    None => groups.push((vec![at], vec![drive])),
                }
            }
        }
    }
    // A drive that cannot be opened has given nothing, and was said to be so.
    let opened = with.data.iter().filter_map(|path| SealedDrive::open(path, with.trust).ok());
    let opened: Vec<SealedDrive> = opened.collect();
    let data: Vec<&SealedDrive> = opened.iter().collect();
    for (places, group) in groups {
        let Some(header) = group.first().map(|drive| &drive.manifest().body.header) else {
            continue;
        };
        let key = (header.seed, header.repositories.clone());
        let landing = with.destination.landing(key.0, &key.1)?;
        let sink = |place: usize| pending_sink(with, header, place);
        let of_before = group
            .first()
            .is_some_and(|drive| before.as_ref().is_some_and(|(at_once, _)| at_once.is_of(drive)));
        let group: Vec<&SealedDrive> = group.iter().collect();
        let mut done = rebuild((&group, &data), &landing, &sink, events)?;
        if let Some((_, before)) = before.take_if(|_| of_before) {
            done = before.and(done);
        }
        // What all of them have given together is said of the first.
        let first = places.first().and_then(|at| results.get_mut(*at));
        if let Some(Ok(unloaded)) = first {
            unloaded.copied = done.rebuilt.objects();
            unloaded.copied_bytes = done.rebuilt.bytes();
            unloaded.rebuilt = Some(done.rebuilt);
        }
        verified.entry(key).or_default().extend(done.objects);
    }
    Ok(results)
}

/// A parity drive, whose documents say what must arrive like those of others.
fn open(admission: &Admission<'_>, folder: Beneath) -> Result<SealedDrive, Error> {
    let (destination, trust) = (admission.destination, admission.trust);
    refuse_unpinned(&folder, trust)?;
    let place = || drive::place(&folder);
    let sealed = drive::sealed_any(&folder, trust)?;
    if sealed.manifest.body.header.parity.is_none() {
        return Err(Error::Swapped { place: place() });
    }
    destination.refuse_other_repository(&sealed.label.body.repositories)?;
    let inventory = drive::inventory(&folder, &sealed.label, trust).unwrap_or_default();
    admission.keep_documents(&folder, &sealed, inventory)?;
    Ok(SealedDrive::of(folder, sealed))
}
