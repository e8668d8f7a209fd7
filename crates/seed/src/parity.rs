//! Parity across the drives of a set: written when the data drives are final, and used to rebuild what did not
//! arrive. The layout is in `docs/format.md`, how it works in `docs/design/parity.md`.

mod at_once;
mod covered;
mod draft;
mod extents;
mod hashes;
mod landing;
mod lane;
mod layout;
mod place;
mod planned;
mod rebuild;
mod sink;
mod staged;
mod stripe;
mod tap;
mod tee;
mod works;
mod write;

pub(crate) use at_once::{AtOnce, Beside as BesideIntake};
pub(crate) use draft::{Beside, Draft, Ended, Machinery, kept_shares};
pub(crate) use hashes::HashFile;
pub(crate) use landing::{Rebuilding, is_on, take_in};
pub(crate) use place::{Held, Set, Wanted, hold_back};
pub(crate) use rebuild::{Done, rebuild};
pub(crate) use sink::{Landed, NotTaken, Sink};
pub(crate) use tap::Tap;
pub(crate) use tee::Teed;
pub(crate) use works::Works;
pub(crate) use write::write;

use crate::beneath::Beneath;
use crate::drive::Sealed;
use crate::envelope;
use crate::manifest::ParityOf;
use crate::sign::Trust;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::thread::ScopedJoinHandle;
use store::direct::Aligned;

/// File systems give files whole blocks of this many bytes.
const BLOCK: u64 = 4096;
/// What a manifest has beside its rows, as a rule.
const HEADER: u64 = 2048;
/// Extents in one parity file: 1 GiB. Fewer in this crate's own tests, for which that would be much.
pub(crate) const PER_FILE: u64 = if cfg!(test) { 2 } else { 1024 };
/// The folder of parity files.
pub(crate) const FOLDER: &str = "parity";
/// The folder of copies of the covered drives' manifests and extent hashes.
pub(crate) const COPIES: &str = "packmule/manifests";

/// Hashes of the extents of parity, until the drive is sealed.
const HASHES: &str = "packmule/parity-hashes";
/// Hashes of the data extents that they are made of, until it is known that the data drives hold these.
const STREAMS: &str = "packmule/parity-streams";
/// What the parity files are of, until the drive is sealed: without it they mean nothing.
const OF: &str = "packmule/parity-of";

/// A parity file's path.
pub(crate) fn file(number: u64) -> String {
    format!("{FOLDER}/{number:08}")
}

/// Where the copy of a covered drive's manifest is: by its place among them.
pub(crate) fn copy(place: usize) -> String {
    format!("{COPIES}/{place:02}")
}

/// And its extent hashes.
pub(crate) fn copy_of_extents(place: usize) -> String {
    format!("{COPIES}/{place:02}.extents")
}

/// What a data drive of that capacity leaves free, in bytes, where the seed's inventory has so many: so that a parity drive of the same size can take parity of all of it: the rest of the
/// last extent, and copies of the manifests and extent hashes of up to ten drives.
#[must_use]
pub fn kept_free(capacity: u64, inventory: u64) -> u64 {
    let hashes = capacity / crate::EXTENT * 32 * (wire::MAX_DRIVES as u64 + 1);
    let files = capacity / (PER_FILE * crate::EXTENT) * BLOCK;
    hashes
        + files
        + inventory.saturating_mul(2)
        + wire::MAX_DRIVES as u64 * 2 * BLOCK
        + crate::EXTENT
}

/// What a parity drive takes that covers drives with so many bytes and objects each.
pub(crate) fn needed(covered: impl Iterator<Item = (u64, u64)>, inventory: u64) -> u64 {
    let hashes = |extents: u64| extents.saturating_mul(32).next_multiple_of(BLOCK);
    let (mut stripes, mut copies) = (0, 0_u64);
    for (bytes, objects) in covered {
        let extents = bytes.div_ceil(crate::EXTENT);
        stripes = stripes.max(extents);
        let manifest = objects.saturating_mul(envelope::ROW as u64) + HEADER;
        copies = copies.saturating_add(hashes(extents) + manifest.next_multiple_of(BLOCK));
    }
    let files = stripes.div_ceil(PER_FILE) * BLOCK;
    let own = stripes.saturating_mul(crate::EXTENT) + hashes(stripes) + files + 4 * BLOCK;
    own.saturating_add(copies).saturating_add(inventory.next_multiple_of(BLOCK))
}

/// What a thread answers. Its panic is its caller's.
pub(crate) fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The files of a parity drive with so many extents that are no documents of every drive.
pub(crate) fn files(of: &ParityOf, extents: u64) -> impl Iterator<Item = String> {
    let copies = (0..of.drives.len()).flat_map(|place| [copy(place), copy_of_extents(place)]);
    (0..extents.div_ceil(PER_FILE)).map(file).chain(copies)
}

/// Whether a parity drive has the documents of every drive that it covers. True for any other drive.
pub(crate) fn copies_are_right(folder: &Beneath, sealed: &Sealed, trust: &Trust) -> bool {
    let Some(of) = &sealed.manifest.body.header.parity else { return true };
    (0..of.drives.len()).all(|place| {
        let manifest = covered::copy_of_manifest(folder, (sealed, of), place, trust);
        manifest.is_some_and(|manifest| {
            covered::copy_of_hashes(folder, place, &manifest.body).is_some()
        })
    })
}

/// The extents on a parity drive, as they are.
pub(crate) struct Extents<'d> {
    folder: &'d Beneath,
    open: Option<(u64, File)>,
    buffer: Aligned,
}

impl<'d> Extents<'d> {
    pub(crate) fn new(folder: &'d Beneath) -> Self {
        Self { folder, open: None, buffer: Aligned::new(stripe::SHARD) }
    }

    /// One that can be read.
    pub(crate) fn get(&mut self, number: u64) -> Option<&[u8]> {
        let place = number / PER_FILE;
        if self.open.as_ref().is_none_or(|(open, _)| *open != place) {
            let (opened, _) = self.folder.file(&file(place)).ok()?;
            crate::stream::from_the_medium(&opened);
            self.open = Some((place, opened));
        }
        let (_, opened) = self.open.as_ref()?;
        let at = (number % PER_FILE).checked_mul(crate::EXTENT)?;
        opened.read_exact_at(self.buffer.bytes_mut(), at).ok()?;
        Some(self.buffer.bytes())
    }
}
