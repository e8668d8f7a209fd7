//! A backup straight onto drives, without staging. Why it is as it is: `docs/design/direct.md`.
//!
//! ```text
//!  engine ──packs of data──▶ window ──▶ drive in use: written, synced, named, read back ──▶ counts
//!         ──everything else─▶ local store ─────────────── at the end ──▶ last drive, sealed
//! ```
//!
//! invariant: a pack that is listed has been read back from its drive, and that drive is sealed or at hand. A
//! snapshot is stored only when everything is on sealed drives, it included. Knows no blobs: what is lost, the
//! caller has to back up again, and is told so by an answer that is no error.

mod close;
mod cover;
mod hands;
pub(crate) mod proved;
mod store;
#[cfg(test)]
mod tests;
mod window;
mod work;

pub use cover::{Cover, Roles, cover, roles};

use self::store::Both;
use crate::bay::{DriveSpec, Job, ReadBack};
use crate::belt::Limits;
use crate::event::Events;
use crate::prepare::PreparedDrive;
use crate::sign::{Fingerprint, SigningKey, Trust};
use crate::state::State;
use crate::{Error, Inventory, Manifest, Object, Signed};
use ::store::Store;
use hands::Hand;
use jiff::Timestamp;
use model::{Digest, DriveSerial};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use window::Window;
use wire::SeedId;

/// Bytes of packs that are held until they were read back: a disk writes as many in a second.
pub const WINDOW: u64 = 256 << 20;

/// What a drive set without staging needs to know.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// A folder that remembers the set between calls; made when missing. One seed, one folder.
    pub state: &'a Path,
    /// Signs everything.
    pub signer: &'a SigningKey,
    /// The seed: always the same one for one state folder.
    pub seed: SeedId,
    /// The time now.
    pub now: Timestamp,
    /// Makes reading back come from the medium.
    pub read_back: &'a dyn ReadBack,
    /// Bytes that are held until they were read back, at most; a pack at least.
    pub window: u64,
    /// Drives of a set at most, parity included. A set that has more by now keeps them.
    pub most: usize,
    /// What is elsewhere of the repository, and what is on the drives relies on; none where they bring all of it. The list names
    /// it, too: nothing is published where it is missing.
    pub elsewhere: &'a [Object],
}

/// Who is told, and asked.
pub trait Host: Events {
    /// A drive is about to be sealed: now its packs can still be read. False ends the run; whoever answers so
    /// knows why.
    fn before_sealing(&mut self) -> bool;

    /// No drive at hand has room: another one, or none to end here. `refused` is why the one that was
    /// given before cannot be used.
    fn next_drive(&mut self, refused: Option<&Error>) -> Option<DriveSpec>;
}

/// Every drive of a set that was sealed so far, by set and number, as the state folder remembers it.
///
/// # Errors
/// As [`sealed_before`](crate::sealed_before).
pub fn sealed_drives(state: &Path, trust: &Trust) -> Result<Vec<PreparedDrive>, Error> {
    let manifests = crate::sealed_before(state, trust)?;
    let mut drives: Vec<PreparedDrive> =
        manifests.iter().map(|manifest| hands::sealed(manifest, state)).collect();
    drives.sort_by_key(|drive| (drive.set, drive.drive));
    Ok(drives)
}

/// What a state folder knows of a set.
#[derive(Debug)]
pub struct Known {
    /// Whether something was written for it: a drive has a label.
    pub begun: bool,
    /// The list, once everything that is to be on its drives is on sealed ones.
    pub complete: Option<Inventory>,
    /// Parity drives that are sealed.
    pub parity: u32,
}

/// Looks at a state folder alone, at no drive.
///
/// # Errors
/// As [`sealed_before`](crate::sealed_before).
pub fn known(state: &Path, trust: &Trust) -> Result<Known, Error> {
    let state = State::open(state)?;
    let kept = state.manifests(trust)?;
    let io = Error::io("reading below", state.folder().path());
    let begun = !kept.is_empty() || !proved::numbers(state.folder()).map_err(io)?.is_empty();
    let parity = kept.iter().filter(|kept| kept.body.header.parity.is_some()).count();
    let list = state.inventory(trust)?.map(|(_, list)| list.body);
    let complete = match list {
        Some(list) => {
            let own = state.own(&list, trust)?;
            hands::are_sealed(&kept, &own).then_some(list)
        }
        None => None,
    };
    Ok(Known { begun, complete, parity: u32::try_from(parity).unwrap_or(u32::MAX) })
}

/// How a pass ended.
#[derive(Debug)]
pub enum Ended {
    /// The work came to its end, well or not.
    Through,
    /// Packs that counted are lost: what was in them is to be backed up again.
    Lost,
    /// Another drive is needed, and there is none. The same call with one goes on.
    NeedsDrive,
    /// Something else ended it.
    Failed(Error),
}

/// What does not change while a set is written.
pub(crate) struct Fixed<'a> {
    options: Options<'a>,
    limits: Limits,
    repository: Digest,
    local: Arc<dyn Store>,
    /// Lists nothing: what drives are made ready and sealed by while the list is not known.
    early: Inventory,
}

impl Fixed<'_> {
    fn job(&self, set: u32) -> Job<'_> {
        Job {
            signer: self.options.signer,
            now: self.options.now,
            set,
            inventory: &self.early,
            inventory_bytes: &[],
            wanted: &[],
            inventory_digest: None,
            read_back: self.options.read_back,
            extents: None,
        }
    }
}

/// A set of drives that is written without staging.
pub struct DriveSet<'a> {
    fixed: Arc<Fixed<'a>>,
    state: State,
    window: Arc<Window>,
    /// Drives at hand that are not sealed.
    hands: Vec<Hand>,
    /// Manifests of sealed drives.
    kept: Vec<Signed<Manifest>>,
    /// Numbers that drives have, by set and drive.
    numbers: BTreeSet<(u32, u32)>,
    /// Drives that did not end well.
    stopped: BTreeMap<DriveSerial, PreparedDrive>,
    complete: bool,
}

impl std::fmt::Debug for DriveSet<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DriveSet")
            .field("repository", &self.fixed.repository)
            .finish_non_exhaustive()
    }
}

/// What there is of a set.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed.
    pub seed: SeedId,
    /// Whether every object is on a sealed drive.
    pub complete: bool,
    /// Every drive known.
    pub drives: Vec<PreparedDrive>,
    /// Who signed, for people: the other end is given this.
    pub fingerprint: Fingerprint,
    /// Where the inventory's file is, once complete.
    pub inventory_file: PathBuf,
    /// The most bytes of packs that were held at a time.
    pub window_most: u64,
}

impl<'a> DriveSet<'a> {
    /// Looks at what the state folder and these drives have of the set. `local` is where everything but packs
    /// of data is kept; it has a repository. Packs on a drive that were not read back are, now.
    ///
    /// # Errors
    /// Refuses drives that are not empty and not of this seed, drives that were sealed for it and are empty now,
    /// and the same drive twice.
    pub fn open(
        options: Options<'a>,
        local: Arc<dyn Store>,
        drives: &[DriveSpec],
        events: &mut dyn Events,
    ) -> Result<Self, Error> {
        Self::open_within(Limits::USUAL, options, local, drives, events)
    }

    /// What the engine stores packs into.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.both(false, true))
    }

    /// The same for all but the last of several backups that one pass makes: their snapshots are kept locally, and sealed with the last
    /// one. If that does not happen, the next pass begins without them.
    #[must_use]
    pub fn store_before_last(&self) -> Arc<dyn Store> {
        Arc::new(self.both(false, false))
    }

    /// The same, where everything that is stored goes into the local store, and waits for nothing: for trees, and for
    /// indexes of packs that count already.
    #[must_use]
    pub fn near(&self) -> Arc<dyn Store> {
        Arc::new(self.both(true, true))
    }

    fn both(&self, near: bool, last: bool) -> Both {
        let (local, window) = (Arc::clone(&self.fixed.local), Arc::clone(&self.window));
        Both { local, window, repository: self.fixed.repository, near, last }
    }

    /// Whether every object of the seed is on a sealed drive.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Nothing that is to come relies on packs that were lost: the indexes have been written without them.
    pub fn forget_lost(&self) {
        self.window.forget_lost();
    }
}
