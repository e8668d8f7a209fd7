//! Parity of a set that was written without staging: made from the data drives themselves, all of them attached. That pass
//! reads each of them once more.

use crate::bay::{Bay, DriveSpec, ReadBack};
use crate::envelope;
use crate::event::Events;
use crate::label::DriveRole;
use crate::object::REPOSITORIES;
use crate::parity::kept_free;
use crate::prepare::{self, Prepared, refuse_same_drives};
use crate::sign::{SigningKey, Trust};
use crate::state::{State, sealed_before};
use crate::{Error, Filling, Object, identity};
use jiff::Timestamp;
use model::DriveSerial;
use std::path::Path;
use std::sync::Arc;
use store::{Folder, Overlay, Store};
use wire::{MAX_DRIVES, SeedId};

/// What the drives of a set are for.
#[derive(Debug, Clone)]
pub struct Roles {
    /// Those that are written by the backup. Of each so much is left free that a parity drive can cover it.
    pub data: Vec<DriveSpec>,
    /// Those that are kept for parity.
    pub parity: Vec<DriveSpec>,
}

/// Says which of these drives are for data and which for parity: what they are already, and of the empty ones the largest
/// for parity. Changes nothing. A set with parity is the only one, of so many drives at most.
///
/// # Errors
/// [`Error::NotAttached`] where a drive of the set is missing; [`Error::TooFewForParity`];
/// [`Error::TooMuchParity`]; [`Error::TooManyDrives`]; drives that cannot be used.
pub fn roles(
    state: &Path,
    trust: &Trust,
    drives: &[DriveSpec],
    (parity, most): (u32, usize),
) -> Result<Roles, Error> {
    let wanted = usize::try_from(parity).unwrap_or(usize::MAX);
    let limit = most.clamp(1, MAX_DRIVES);
    if wanted >= limit {
        return Err(Error::TooMuchParity { parity, limit });
    }
    if drives.len() > limit {
        return Err(Error::TooManyDrives { limit });
    }
    refuse_same_drives(drives)?;
    all_attached(state, trust, drives)?;
    let (mut data, mut kept, mut empty) = (Vec::new(), Vec::new(), Vec::new());
    for spec in drives {
        let bay = Bay::examine(spec, trust)?;
        let room = match bay.label() {
            Some(label) => label.capacity,
            None => bay.folder.available().map_err(Error::io("examining", &spec.folder))?,
        };
        let room = spec.capacity.map_or(room, |capacity| capacity.min(room));
        match bay.label().map(|label| label.role) {
            None => empty.push((room, spec.clone())),
            Some(DriveRole::Data) => data.push((room, spec.clone())),
            Some(DriveRole::Parity) => kept.push((room, spec.clone())),
        }
    }
    let lacking = wanted.saturating_sub(kept.len());
    // The order is the same in every call, so that a call which goes on takes the same ones.
    empty.sort_by_key(|(room, _)| *room);
    let too_few = Error::TooFewForParity { parity, given: drives.len() };
    let Some(first) = empty.len().checked_sub(lacking) else { return Err(too_few) };
    kept.extend(empty.split_off(first));
    data.extend(empty);
    if data.is_empty() {
        return Err(too_few);
    }
    let most = kept.iter().map(|(room, _)| *room).min().unwrap_or(u64::MAX);
    let all = data.iter().fold(0_u64, |sum, (room, _)| sum.saturating_add(*room));
    // Nobody knows yet how long the list will be: as if each object had an extent to itself.
    let list = (all / crate::EXTENT).saturating_mul(envelope::ROW as u64);
    let narrowed = |(room, spec): (u64, DriveSpec)| {
        let room = room.min(most);
        DriveSpec { capacity: Some(room.saturating_sub(kept_free(room, list))), ..spec }
    };
    Ok(Roles {
        data: data.into_iter().map(narrowed).collect(),
        parity: kept.into_iter().map(|(_, spec)| spec).collect(),
    })
}

/// What it takes to cover a set.
#[derive(Clone, Copy)]
pub struct Cover<'a> {
    /// The set's state folder. Everything of the seed is on sealed drives.
    pub state: &'a Path,
    /// Who has signed the set.
    pub signer: &'a SigningKey,
    /// The seed.
    pub seed: SeedId,
    /// The time now.
    pub now: Timestamp,
    /// Makes reading back come from the medium.
    pub read_back: &'a dyn ReadBack,
    /// How many drives may be lost.
    pub parity: u32,
    /// Drives of the set at most.
    pub most: usize,
}

/// Writes the parity drives of a complete set. `local` has all that is not packs of data; `drives` are all of the set, data
/// and parity. The same call goes on where the last one ended.
///
/// # Errors
/// [`Error::NotAttached`]; [`Error::Misread`], and then no parity drive is sealed; what [`prepare`](crate::prepare) refuses.
pub fn cover(
    what: &Cover<'_>,
    local: Arc<dyn Store>,
    drives: &[DriveSpec],
    events: &mut dyn Events,
) -> Result<Prepared, Error> {
    all_attached(what.state, &Trust::Key(what.signer.public()), drives)?;
    let repository = identity(local.as_ref())?;
    let mut source = local;
    for spec in drives {
        let folder = spec.folder.join(REPOSITORIES).join(repository.to_string());
        if folder.is_dir() {
            source = Arc::new(Overlay::new(source, Arc::new(Folder::new(folder))));
        }
    }
    let only = on_drives(what)?;
    let options = prepare::Options {
        state: what.state,
        signer: what.signer,
        seed: Some(what.seed),
        set: 0,
        now: what.now,
        read_back: what.read_back,
        filling: Filling::Even,
        parity: what.parity,
        most: what.most,
        list: None,
        only: Some(&only),
    };
    let covered = prepare::prepare(&options, &[source.as_ref()], drives, events);
    covered.map_err(|error| match error {
        // There is no staging that could have: the drives are read.
        Error::StagingChanged { serial } => Error::Misread { serial },
        other => other,
    })
}

/// What of the list the data drives carry.
fn on_drives(what: &Cover<'_>) -> Result<Vec<Object>, Error> {
    let (state, trust) = (State::open(what.state)?, Trust::Key(what.signer.public()));
    match state.inventory(&trust)? {
        Some((_, list)) => state.own(&list.body, &trust),
        None => Ok(Vec::new()),
    }
}

/// Parity is made of every data drive of the set.
fn all_attached(state: &Path, trust: &Trust, drives: &[DriveSpec]) -> Result<(), Error> {
    let sealed = sealed_before(state, trust)?;
    let data = sealed.iter().map(|manifest| &manifest.body.header);
    let data = data.filter(|header| header.parity.is_none());
    let away = |serial: &&DriveSerial| !drives.iter().any(|spec| spec.serial == **serial);
    let missing: Vec<DriveSerial> =
        data.map(|header| &header.serial).filter(away).cloned().collect();
    if missing.is_empty() { Ok(()) } else { Err(Error::NotAttached { drives: missing }) }
}
