//! Parity drives at a destination: told apart from others, believed like them, grouped by what they cover.

use super::rebuild::{ParityDrive, Rebuilding, rebuild};
use crate::Error;
use crate::beneath::Beneath;
use crate::drive;
use crate::event::Events;
use crate::import::{Unloaded, refuse_unpinned};
use crate::intake::Verified;
use crate::label::DriveRole;
use crate::landing::{Admission, ends_everything};
use crate::sign::Trust;
use std::path::{Path, PathBuf};

/// Whether the drive in that folder is one.
pub(crate) fn is_on(path: &Path) -> bool {
    let label = Beneath::open(path).map(|folder| drive::label(&folder, &Trust::AsFound));
    matches!(label, Ok(Ok(Some(label))) if label.body.role == DriveRole::Parity)
}

/// Rebuilds what did not arrive, as far as the parity drives in these folders can. The answer has one for each.
pub(crate) fn take_in(
    with: &Rebuilding<'_>,
    admission: &Admission<'_>,
    folders: &[PathBuf],
    verified: &mut Verified,
    events: &mut dyn Events,
) -> Result<Vec<Result<Unloaded, Error>>, Error> {
    let mut results = Vec::new();
    // Drives that cover the same, each with its place among the results.
    let mut groups: Vec<(Vec<usize>, Vec<ParityDrive>)> = Vec::new();
    for (at, path) in folders.iter().enumerate() {
        let opened = Beneath::open(path).map_err(Error::io("opening", path));
        match opened.and_then(|folder| open(admission, folder)) {
            Err(error) if ends_everything(&error) => return Err(error),
            Err(error) => results.push(Err(error)),
            Ok(drive) => {
                results.push(Ok(Unloaded::nothing(&drive.sealed)));
                let same = |group: &&mut (Vec<usize>, Vec<ParityDrive>)| {
                    let first = group.1.first();
                    first.is_some_and(|it| it.of.is_beside(&drive.of.drives, drive.of.count))
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
    for (places, group) in groups {
        let Some(rebuilt) = rebuild(with, &group, events)? else { continue };
        // What all of them have given together is said of the first.
        let first = places.first().and_then(|at| results.get_mut(*at));
        if let Some(Ok(unloaded)) = first {
            unloaded.copied = rebuilt.objects.len() as u64;
            let lengths = rebuilt.objects.iter().map(|object| object.length);
            unloaded.copied_bytes = lengths.fold(0, u64::saturating_add);
        }
        let key = (rebuilt.seed, rebuilt.repositories);
        verified.entry(key).or_default().extend(rebuilt.objects);
    }
    Ok(results)
}

/// A parity drive, whose documents say what must arrive like those of others.
fn open(admission: &Admission<'_>, folder: Beneath) -> Result<ParityDrive, Error> {
    let (destination, trust) = (admission.destination, admission.trust);
    refuse_unpinned(&folder, trust)?;
    let place = || drive::place(&folder);
    let found = super::sealed(&folder, trust)?;
    let (sealed, of) = found.ok_or_else(|| Error::Swapped { place: place() })?;
    destination.refuse_other_repository(&sealed.label.body.repositories)?;
    let inventory = drive::inventory(&folder, &sealed.label, trust).unwrap_or_default();
    admission.keep_documents(&folder, &sealed, inventory)?;
    Ok(ParityDrive { folder, sealed, of })
}
