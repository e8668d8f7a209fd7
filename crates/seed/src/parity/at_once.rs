//! Rebuilds drives that are known to be absent while the others are taken in: nothing is read twice. What the drives at
//! hand turn out to lack is not its matter.
//!
//! ```text
//!  drive 0 ─▶ taken in: hashed, written, named
//!        └──▶ its pieces ─▶ extents, compared ─┐
//!  drive 2 ─▶ …          ─▶ extents, compared ─┼─▶ stripe ─▶ Reed-Solomon ─▶ objects of drive 1, hashed, written, named
//!  parity  ─────────────▶ extents, compared ───┘
//! ```
//!
//! A drive that gives nothing more lacks an extent in each stripe from there on. What could not be rebuilt is looked at
//! again once all drives were read.

use super::covered::Covered;
use super::landing::{Rebuilding, pending_sink};
use super::rebuild::{Columns, Done, rebuild_of};
use super::tap::{Tap, Tapped};
use crate::arrived::FolderLanding;
use crate::beneath::Beneath;
use crate::event::Events;
use crate::import::refuse_unpinned;
use crate::landing::{Admission, Destination};
use crate::sign::Trust;
use crate::{Error, SealedDrive, drive};
use model::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Parity drives of a set of which a data drive is absent.
pub(crate) struct AtOnce {
    parity: Vec<SealedDrive>,
    /// The data drives at hand, by the hashes of their manifests.
    at_hand: BTreeSet<Digest>,
    landing: FolderLanding,
}

/// What runs beside the intake.
pub(crate) struct Beside<'a> {
    /// For the drives that are taken in, by the hashes of their manifests.
    pub(crate) taps: BTreeMap<Digest, Tap>,
    pub(crate) work: Work<'a>,
}

/// Rebuilds until nothing more is given, and tells of it.
pub(crate) type Work<'a> = Box<dyn FnOnce(&mut dyn Events) -> Result<Done, Error> + Send + 'a>;

impl AtOnce {
    /// The first such set among these parity drives. A drive that cannot be used is nobody's problem here: it is said of
    /// it when it has its turn.
    pub(crate) fn find(with: &Rebuilding<'_>, parity: &[PathBuf]) -> Result<Option<Self>, Error> {
        let open = |path: &PathBuf| usable(with.destination, with.trust, path);
        let mut parity: Vec<SealedDrive> = parity.iter().filter_map(open).collect();
        parity.retain(|drive| drive.parity().is_some());
        let Some(of) = parity.first().and_then(|drive| drive.parity()).cloned() else {
            return Ok(None);
        };
        parity.retain(|drive| drive.parity().is_some_and(|it| it.is_beside(&of.drives, of.count)));
        let data = with.data.iter().filter_map(|path| usable(with.destination, with.trust, path));
        let at_hand: BTreeSet<Digest> = data.map(|drive| drive.manifest().digest).collect();
        let here = of.drives.iter().filter(|digest| at_hand.contains(*digest)).count();
        let absent = of.drives.len() - here;
        // Drives that wait for one another must all be read at once.
        let side_by_side = with.data.len() <= crate::intake::AT_ONCE;
        if here == 0 || absent == 0 || absent > parity.len() || !side_by_side {
            return Ok(None);
        }
        let Some(header) = parity.first().map(|drive| &drive.manifest().body.header) else {
            return Ok(None);
        };
        let landing = with.destination.landing(header.seed, &header.repositories)?;
        Ok(Some(Self { parity, at_hand, landing }))
    }

    /// None where the absent drives have brought everything already.
    pub(crate) fn begin<'a>(
        &'a self,
        with: &'a Rebuilding<'a>,
        admission: &Admission<'_>,
    ) -> Result<Option<Beside<'a>>, Error> {
        let Some(first) = self.parity.first() else { return Ok(None) };
        let header = &first.manifest().body.header;
        let Some(of) = first.parity() else { return Ok(None) };
        let parity: Vec<&SealedDrive> = self.parity.iter().collect();
        let mut taps = BTreeMap::new();
        let mut columns = Columns { covered: Vec::new(), hashes: Vec::new(), tapped: Vec::new() };
        for (place, digest) in of.drives.iter().enumerate() {
            let here = self.at_hand.contains(digest);
            let found = match here {
                true => Covered::find(&parity, place, &[]),
                false => Covered::open(&parity, place, &[], &self.landing)?,
            };
            let tapped = here.then(|| {
                let (tap, tapped) = Tapped::new();
                taps.insert(*digest, tap);
                tapped
            });
            let (covered, hashes) = found.unzip();
            columns.covered.push(covered);
            columns.hashes.push(hashes.flatten());
            columns.tapped.push(tapped);
        }
        if columns.covered.iter().flatten().all(|covered| covered.missing.is_empty()) {
            return Ok(None);
        }
        // Before anybody writes: an earlier call may have left something half-way.
        admission.begin(header.seed)?;
        let work = move |events: &mut dyn Events| {
            let sink = |place: usize| pending_sink(with, header, place);
            rebuild_of((&parity, columns), &self.landing, &sink, events)
        };
        Ok(Some(Beside { taps, work: Box::new(work) }))
    }

    /// Whether it was this set that was rebuilt.
    pub(super) fn is_of(&self, parity: &SealedDrive) -> bool {
        let of = self.parity.first().and_then(|drive| drive.parity()).zip(parity.parity());
        of.is_some_and(|(it, of)| it.is_beside(&of.drives, of.count))
    }
}

/// A sealed drive that may be taken in here.
fn usable(destination: &Destination, trust: &Trust, path: &Path) -> Option<SealedDrive> {
    let folder = Beneath::open(path).ok()?;
    refuse_unpinned(&folder, trust).ok()?;
    let sealed = drive::sealed_any(&folder, trust).ok()?;
    destination.refuse_other_repository(&sealed.label.body.repositories).ok()?;
    Some(SealedDrive::of(folder, sealed))
}
