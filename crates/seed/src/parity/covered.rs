//! A data drive that parity covers: what was on it, which of that is missing, and the documents that say so. Reads
//! copies on parity drives, and believes those that the parity drive's own manifest names.

use super::layout::Layout;
use super::{HashFile, copy, copy_of_extents};
use crate::beneath::Beneath;
use crate::drive::{self, Sealed};
use crate::manifest::ParityOf;
use crate::rebuilt::Arrived;
use crate::sign::Trust;
use crate::{Document, Error, Manifest, ManifestHeader, SealedDrive, Signed};
use std::collections::BTreeSet;
use std::ops::Range;

/// One covered data drive, at hand or not.
pub(super) struct Covered<'d> {
    pub(super) layout: Layout,
    pub(super) header: ManifestHeader,
    /// The drive itself: some of what is on it may be good although an object is not.
    pub(super) at_hand: Option<&'d SealedDrive>,
    /// Objects that have not arrived, by their place.
    pub(super) missing: BTreeSet<usize>,
}

impl<'d> Covered<'d> {
    /// With its extent hashes, where these are to be had. None where no parity drive has the drive's documents.
    pub(super) fn open(
        parity: &[&'d SealedDrive],
        place: usize,
        data: &[&'d SealedDrive],
        arrived: &dyn Arrived,
    ) -> Result<Option<(Self, Option<HashFile>)>, Error> {
        let Some((mut covered, hashes)) = Self::find(parity, place, data) else { return Ok(None) };
        for (index, object) in covered.layout.objects().iter().enumerate() {
            let repository = covered.header.repositories.get(usize::from(object.repository));
            let Some(repository) = repository else { continue };
            let holds = arrived.holds(repository, &object.key(), object.length);
            if !holds.map_err(Error::Store)? {
                covered.missing.insert(index);
            }
        }
        Ok(Some((covered, hashes)))
    }

    /// The same without looking what of it is missing.
    pub(super) fn find(
        parity: &[&'d SealedDrive],
        place: usize,
        data: &[&'d SealedDrive],
    ) -> Option<(Self, Option<HashFile>)> {
        let manifest = parity.iter().find_map(|drive| {
            let of = drive.parity()?;
            let trust = Trust::Key(drive.sealed().manifest.signer);
            copy_of_manifest(drive.folder(), (drive.sealed(), of), place, &trust)
        })?;
        let at_hand = data.iter().find(|drive| drive.manifest().digest == manifest.digest).copied();
        let copies =
            parity.iter().find_map(|drive| copy_of_hashes(drive.folder(), place, &manifest.body));
        let hashes =
            copies.or_else(|| at_hand.and_then(|it| own_hashes(it.folder(), &manifest.body)));
        let layout = Layout::new(&manifest.body);
        let covered =
            Self { layout, header: manifest.body.header, at_hand, missing: BTreeSet::new() };
        Some((covered, hashes))
    }

    /// The extents that missing objects lie in.
    pub(super) fn wanted(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.missing.iter().map(|index| self.layout.extents_of(*index))
    }
}

fn own_hashes(folder: &Beneath, manifest: &Manifest) -> Option<HashFile> {
    let (file, length) = folder.file(drive::EXTENTS).ok()?;
    HashFile::open(file, length, manifest).ok()?
}

/// The copy of a covered drive's manifest, if it is the one that the parity drive's own names.
pub(super) fn copy_of_manifest(
    folder: &Beneath,
    (sealed, of): (&Sealed, &ParityOf),
    place: usize,
    trust: &Trust,
) -> Option<Signed<Manifest>> {
    let bytes = folder.read_if_there(&copy(place), Document::Manifest.limit()).ok()??;
    let manifest = Manifest::decode(&bytes, trust).ok()?;
    let (said, own) = (&manifest.body.header, &sealed.manifest.body.header);
    let fits = (said.seed, said.set) == (own.seed, own.set)
        && said.repositories == own.repositories
        && manifest.signer == sealed.manifest.signer;
    (fits && of.drives.get(place) == Some(&manifest.digest)).then_some(manifest)
}

/// And the copy of its extent hashes.
pub(super) fn copy_of_hashes(
    folder: &Beneath,
    place: usize,
    manifest: &Manifest,
) -> Option<HashFile> {
    let (file, length) = folder.file(&copy_of_extents(place)).ok()?;
    HashFile::open(file, length, manifest).ok()?
}
