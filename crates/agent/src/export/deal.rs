//! Recovery points dealt out to export jobs: each job has some of them whole, on no more drives than travel together; one that is more
//! than that is brought by several jobs together, each with packs of names that follow one another. Pure: knows lengths and capacities, and
//! asks nobody.

use model::{Digest, ObjectKind};
use seed::{Filling, Object, Room};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

/// What a recovery point needs.
#[derive(Debug, Clone)]
pub(super) struct Need {
    pub(super) snapshot: Digest,
    pub(super) packs: BTreeSet<Digest>,
}

/// What is planned for a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Objects on it.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What one job brings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) snapshots: BTreeSet<Digest>,
    pub(super) packs: BTreeSet<Digest>,
    /// Its data drives.
    pub(super) drives: Vec<Load>,
    /// Of a recovery point that several jobs bring together: which part of it.
    pub(super) part: Option<PartOf>,
}

/// One of several jobs that bring a recovery point together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartOf {
    /// Which; from 0. They follow one another.
    pub set: u32,
    /// How many.
    pub sets: u32,
    /// The first name that a pack of it may have; none of the first.
    pub from: Option<Digest>,
}

/// A recovery point with an object that fits no drive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge {
    pub(super) snapshot: Digest,
}

/// The drives that a job may have, and what there is to put onto them.
#[derive(Debug)]
pub(super) struct Drives<'a> {
    /// Bytes that a drive takes.
    pub(super) capacity: u64,
    /// Drives of a job without its parity drives.
    pub(super) data: usize,
    /// Of every pack.
    pub(super) lengths: &'a HashMap<Digest, u64>,
    /// Objects that every job brings: config and keys.
    pub(super) common: &'a [Object],
    /// Length of a snapshot, at most.
    pub(super) snapshot: u64,
    /// What the new index takes for each pack, about.
    pub(super) index: u64,
}

/// A hundredth stays free: how long the new indexes are is known once they are made, and parity has a little more to carry than
/// data.
const SPARE: u64 = 100;

/// Why a share is more than the drives of a job hold.
enum NoRoom {
    /// It is more.
    InAll,
    /// An object fits no drive.
    Object,
}

impl Drives<'_> {
    /// What each drive gets, where these do. Each carries a list of that many objects.
    fn load(&self, share: &Share, listed: usize) -> Result<Vec<Load>, NoRoom> {
        let is_rest = share.part.is_some_and(|part| part.set > 0);
        let mut objects = if is_rest { Vec::new() } else { self.common.to_vec() };
        let object = |kind, name, length| Object { repository: 0, kind, name, length };
        let named = |names: &BTreeSet<Digest>| names.iter().copied().collect::<Vec<_>>();
        for pack in named(&share.packs) {
            let length = self.lengths.get(&pack).copied().unwrap_or(0);
            objects.push(object(ObjectKind::Pack, pack, length));
        }
        if !is_rest {
            let snapshots = named(&share.snapshots).into_iter();
            objects.extend(snapshots.map(|id| object(ObjectKind::Snapshot, id, self.snapshot)));
            let index = self.index.saturating_mul(listed as u64);
            objects.push(object(ObjectKind::Index, Digest([0; 32]), index));
        }
        objects.sort_unstable();
        let inventory = 1024 + 44 * listed.saturating_add(self.common.len() + 2) as u64;
        let capacity = self.capacity - self.capacity / SPARE;
        let rooms = vec![Room::new(capacity, inventory); self.data];
        let plan = seed::plan(&objects, &rooms, inventory, Filling::Even);
        let plan = plan.map_err(|_| NoRoom::Object)?;
        if plan.shortfall.is_some() {
            return Err(NoRoom::InAll);
        }
        let load = |drive: &Vec<Object>| Load {
            objects: drive.len() as u64,
            bytes: drive.iter().fold(0, |sum, object| sum.saturating_add(object.length)),
        };
        Ok(plan.drives.iter().filter(|drive| !drive.is_empty()).map(load).collect())
    }

    fn bytes<'p>(&self, packs: impl Iterator<Item = &'p Digest>) -> u64 {
        let lengths = packs.map(|pack| self.lengths.get(pack).copied().unwrap_or(0));
        lengths.fold(0, u64::saturating_add)
    }
}

/// Deals them out, the largest first: each to the job that it adds the fewest bytes to, of those that have room for it. So what
/// shares packs travels together, and a pack is in a second job only where it has to be.
pub(super) fn deal(mut needs: Vec<Need>, drives: &Drives<'_>) -> Result<Vec<Share>, TooLarge> {
    needs.sort_by_key(|need| std::cmp::Reverse(drives.bytes(need.packs.iter())));
    let mut shares: Vec<Share> = Vec::new();
    for need in needs {
        let adds = |share: &Share| drives.bytes(need.packs.difference(&share.packs));
        let mut order: Vec<usize> = (0..shares.len()).collect();
        order.sort_by_key(|at| shares.get(*at).map_or(0, adds));
        let with = |share: &Share| {
            let mut both = share.clone();
            both.snapshots.insert(need.snapshot);
            both.packs.extend(&need.packs);
            both
        };
        let found = order.into_iter().find_map(|at| {
            let mut both = with(shares.get(at).filter(|share| share.part.is_none())?);
            both.drives = drives.load(&both, both.packs.len()).ok()?;
            Some((at, both))
        });
        if let Some((at, both)) = found {
            if let Some(share) = shares.get_mut(at) {
                *share = both;
            }
            continue;
        }
        let mut alone = with(&Share::default());
        match drives.load(&alone, alone.packs.len()) {
            Ok(loads) => {
                alone.drives = loads;
                shares.push(alone);
            }
            Err(NoRoom::Object) => return Err(TooLarge { snapshot: need.snapshot }),
            Err(NoRoom::InAll) => shares.extend(split(&need, drives)?),
        }
    }
    Ok(shares)
}

/// One recovery point for several jobs: each gets as many packs, by their names, as its drives hold.
fn split(need: &Need, drives: &Drives<'_>) -> Result<Vec<Share>, TooLarge> {
    let packs: Vec<Digest> = need.packs.iter().copied().collect();
    let mut shares: Vec<Share> = Vec::new();
    let mut begin = 0;
    while begin < packs.len() || shares.is_empty() {
        let rest = packs.get(begin..).unwrap_or_default();
        let set = u32::try_from(shares.len()).unwrap_or(u32::MAX);
        let from = rest.first().copied().filter(|_| set > 0);
        let of = |count: usize| Share {
            snapshots: BTreeSet::from([need.snapshot]),
            packs: rest.iter().take(count).copied().collect(),
            drives: Vec::new(),
            part: Some(PartOf { set, sets: 0, from }),
        };
        let (mut fits, mut more) = (0_usize, rest.len().saturating_add(1));
        while fits.saturating_add(1) < more {
            let middle = fits.midpoint(more);
            match drives.load(&of(middle), packs.len()) {
                Ok(_) => fits = middle,
                Err(_) => more = middle,
            }
        }
        let mut share = of(fits);
        let loads = drives.load(&share, packs.len());
        match loads.ok().filter(|_| fits > 0) {
            Some(loads) => share.drives = loads,
            None => return Err(TooLarge { snapshot: need.snapshot }),
        }
        begin += fits;
        shares.push(share);
    }
    let sets = u32::try_from(shares.len()).unwrap_or(u32::MAX);
    shares.iter_mut().filter_map(|share| share.part.as_mut()).for_each(|part| part.sets = sets);
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u64) -> Digest {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        Digest(bytes)
    }

    const COMMON: [Object; 1] =
        [Object { repository: 0, kind: ObjectKind::Config, name: Digest([9; 32]), length: 155 }];

    fn drives(lengths: &HashMap<Digest, u64>, capacity: u64, data: usize) -> Drives<'_> {
        Drives { capacity, data, lengths, common: &COMMON, snapshot: 500, index: 4000 }
    }

    proptest! {
        #[test]
        fn every_recovery_point_is_in_one_job_with_all_that_it_needs_and_every_job_has_room(
            lengths in prop::collection::vec(1_u64..3_000_000, 1..40),
            needs in prop::collection::vec(prop::collection::btree_set(0_u64..40, 1..12), 1..12),
            data in 1_usize..4,
        ) {
            let lengths: HashMap<Digest, u64> =
                (0..).zip(lengths).map(|(n, length)| (id(n), length)).collect();
            let need = |(n, packs): (u64, BTreeSet<u64>)| Need {
                snapshot: id(1000 + n),
                packs: packs.into_iter().map(id).filter(|it| lengths.contains_key(it)).collect(),
            };
            let needs: Vec<Need> = (0..).zip(needs).map(need).collect();
            let drives = drives(&lengths, 20_000_000, data);
            match deal(needs.clone(), &drives) {
                Ok(shares) => {
                    for need in &needs {
                        let with = shares.iter().filter(|it| it.snapshots.contains(&need.snapshot));
                        let with: Vec<&Share> = with.collect();
                        let packs: BTreeSet<Digest> =
                            with.iter().flat_map(|share| share.packs.clone()).collect();
                        prop_assert!(packs.is_superset(&need.packs));
                        prop_assert_eq!(with.len() > 1, with[0].part.is_some());
                        let mut each = with.iter().zip(0_u32..);
                        let follow = each.all(|(share, set)| share.part.is_none_or(|part| {
                            let first = share.packs.first().copied().filter(|_| set > 0);
                            (part.set, part.sets as usize, part.from) == (set, with.len(), first)
                        }));
                        prop_assert!(follow);
                        let dealt: usize = with.iter().map(|share| share.packs.len()).sum();
                        prop_assert!(with.len() == 1 || dealt == need.packs.len(), "each once");
                    }
                    for share in &shares {
                        prop_assert!(!share.drives.is_empty() && share.drives.len() <= data);
                        prop_assert!(share.drives.iter().all(|load| load.bytes <= 20_000_000));
                        if share.part.is_some() {
                            continue;
                        }
                        let packs: BTreeSet<Digest> = needs
                            .iter()
                            .filter(|need| share.snapshots.contains(&need.snapshot))
                            .flat_map(|need| need.packs.clone())
                            .collect();
                        prop_assert_eq!(&share.packs, &packs, "and nothing else");
                    }
                }
                Err(large) => {
                    let need = needs.iter().find(|it| it.snapshot == large.snapshot).unwrap();
                    let alone = deal(vec![need.clone()], &drives);
                    prop_assert_eq!(alone.unwrap_err(), large);
                }
            }
        }
    }

    #[test]
    fn what_shares_packs_travels_together() {
        let lengths: HashMap<Digest, u64> = (0..4).map(|n| (id(n), 9_000_000)).collect();
        let need = |n, packs: [u64; 2]| Need { snapshot: id(n), packs: packs.map(id).into() };
        let needs = vec![need(100, [0, 1]), need(101, [2, 3]), need(102, [0, 1])];
        let shares = deal(needs, &drives(&lengths, 20_000_000, 1)).unwrap();
        assert_eq!(shares.len(), 2);
        let first = shares.iter().find(|share| share.snapshots.contains(&id(100))).unwrap();
        assert!(first.snapshots.contains(&id(102)));
    }

    #[test]
    fn one_that_no_job_can_hold_is_brought_by_several() {
        let lengths: HashMap<Digest, u64> = (0..9).map(|n| (id(n), 9_000_000)).collect();
        let need = Need { snapshot: id(100), packs: lengths.keys().copied().collect() };
        let shares = deal(vec![need.clone()], &drives(&lengths, 20_000_000, 2)).unwrap();
        let counts: Vec<usize> = shares.iter().map(|share| share.packs.len()).collect();
        assert_eq!(counts, [4, 4, 1]);
        let part = |share: &Share| share.part.unwrap();
        assert_eq!(part(&shares[1]), PartOf { set: 1, sets: 3, from: Some(id(4)) });
        assert_eq!(part(&shares[0]).from, None);
        let large = deal(vec![need], &drives(&lengths, 5_000_000, 2)).unwrap_err();
        assert_eq!(large, TooLarge { snapshot: id(100) }, "no drive holds such a pack");
    }
}
