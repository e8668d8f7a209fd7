//! Which of the drives at hand become parity drives. Writes nothing.

use crate::bay::Bay;
use crate::label::{DriveRole, Label};
use crate::plan::{self, Filling, Room};
use crate::{Manifest, Object, Signed};
use model::Digest;

/// The drives at hand, told apart.
pub(crate) struct Held {
    /// For objects, or sealed.
    pub(crate) data: Vec<Bay>,
    /// For parity.
    pub(crate) parity: Vec<Bay>,
}

/// What parity a set has, and what it covers.
pub(crate) struct Set<'m> {
    /// The data drives, in the order of their numbers.
    pub(crate) covered: Vec<&'m Signed<Manifest>>,
    /// Indexes of parity that sealed drives have.
    pub(crate) taken: Vec<u32>,
}

impl<'m> Set<'m> {
    /// Of that set, among the manifests of all sealed drives.
    pub(crate) fn of(sealed: &'m [Signed<Manifest>], set: u32, count: u32) -> Self {
        let of_set = sealed.iter().filter(|manifest| manifest.body.header.set == set);
        let mut covered: Vec<&Signed<Manifest>> =
            of_set.clone().filter(|manifest| !manifest.body.objects.is_empty()).collect();
        covered.sort_by_key(|manifest| manifest.body.header.drive);
        let digests: Vec<Digest> = covered.iter().map(|manifest| manifest.digest).collect();
        let parity = of_set.filter_map(|manifest| manifest.body.header.parity.as_ref());
        let ours = parity.filter(|of| of.is_beside(&digests, count));
        let taken = ours.map(|of| of.index).collect();
        Self { covered, taken }
    }

    pub(crate) fn digests(&self) -> Vec<Digest> {
        self.covered.iter().map(|manifest| manifest.digest).collect()
    }

    /// Indexes that no sealed drive has.
    pub(crate) fn open(&self, count: u32) -> impl Iterator<Item = u32> + '_ {
        (0..count).filter(|index| !self.taken.contains(index))
    }
}

/// Which parity each drive gets: what was begun on it, in whatever order the drives are given now; else what is left, if
/// anything is.
pub(super) fn indexes(
    bays: &[&Bay],
    mut open: Vec<u32>,
    is_its: &dyn Fn(&Bay, u32) -> bool,
) -> Vec<Option<u32>> {
    let mut begun = Vec::new();
    for bay in bays {
        let place = open.iter().position(|index| is_its(bay, *index));
        begun.push(place.map(|place| open.remove(place)));
    }
    let mut left = open.into_iter();
    begun.into_iter().map(|begun| begun.or_else(|| left.next())).collect()
}

/// How many drives a set takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Parity drives that are not sealed yet.
    pub(crate) parity: usize,
    /// Data drives that it can take beside those that are sealed.
    pub(crate) data: usize,
}

/// Keeps drives for parity: those that are it already, and the largest empty ones, where the others hold all that
/// is still to be placed; and those that the set cannot take as data drives, because it would have too many then.
pub(crate) fn hold_back(
    bays: Vec<Bay>,
    todo: &[Object],
    (inventory, filling): (u64, Filling),
    wanted: Wanted,
) -> Held {
    let begun = bays.iter().filter(|bay| {
        let is_data = |label: &Label| label.role == DriveRole::Data;
        !bay.is_sealed() && bay.label().is_some_and(is_data)
    });
    let most = wanted.data.saturating_sub(begun.count());
    let is_parity = |bay: &Bay| {
        !bay.is_sealed() && bay.label().is_some_and(|label| label.role == DriveRole::Parity)
    };
    let (mut parity, mut data): (Vec<Bay>, Vec<Bay>) = bays.into_iter().partition(is_parity);
    let mut wanted = wanted.parity.saturating_sub(parity.len());
    let mut empty: Vec<usize> = (0..data.len())
        .filter(|at| data.get(*at).is_some_and(|bay| bay.label().is_none()))
        .collect();
    // Of those of one size the last ones given.
    let size = |at: &usize| (data.get(*at).map(|bay| bay.room.capacity()), *at);
    empty.sort_by_key(|at| std::cmp::Reverse(size(at)));
    if todo.is_empty() {
        wanted = wanted.min(empty.len());
    }
    let too_many = empty.len().saturating_sub(most).min(wanted);
    let mut kept: Vec<usize> = empty.into_iter().take(wanted).collect();
    let others = data.iter().enumerate().filter(|(at, bay)| !kept.contains(at) && !bay.is_sealed());
    let rooms: Vec<Room> = others.map(|(_, bay)| bay.room).collect();
    let fits =
        || plan::plan(todo, &rooms, inventory, filling).is_ok_and(|plan| plan.rest.is_empty());
    if kept.len() < wanted || !(todo.is_empty() || fits()) {
        kept.truncate(too_many);
    }
    kept.sort_unstable();
    for at in kept.into_iter().rev() {
        parity.push(data.remove(at));
    }
    Held { data, parity }
}
