//! Which object goes onto which drive. Pure: sees lengths and capacities, touches nothing.
//!
//! Objects are placed in their order. The first one that a drive has no room for closes the drive,
//! so that the order of a set's drives is the order of the seed's objects.

use crate::Object;
use crate::envelope::{self, ROW};
use crate::extent::EXTENT;

/// File systems give files whole blocks of this many bytes.
const BLOCK: u64 = 4096;

/// What directories and the journal of a file system take beyond the files themselves.
const SLACK: u64 = 64 << 10;

/// Room on one drive, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    capacity: u64,
    used: u64,
}

/// What the drives at hand lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortfall {
    /// Objects without a place.
    pub objects: u64,
    /// Their lengths together.
    pub bytes: u64,
    /// How many more drives as large as the largest one they need.
    pub drives: u64,
    /// Capacity of such a drive, in bytes.
    pub drive_capacity: u64,
}

/// Which object goes where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// For each drive, in the order given, its objects in theirs.
    pub drives: Vec<Vec<Object>>,
    /// Objects that no drive has room for, in their order.
    pub rest: Vec<Object>,
    /// What it would take to place them too; none when nothing is left.
    pub shortfall: Option<Shortfall>,
}

/// An object that even an empty drive of the largest size could not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge {
    /// Which.
    pub object: Object,
    /// What it takes.
    pub needed: u64,
    /// What there is.
    pub largest: u64,
}

/// What an object takes on a drive: its blocks, one more for its inode and its name, and its
/// share of the manifest and of the extent hashes.
#[must_use]
pub fn cost(length: u64) -> u64 {
    let blocks = length.div_ceil(BLOCK).saturating_mul(BLOCK);
    let hashes = (length / EXTENT).saturating_add(1).saturating_mul(32);
    blocks.saturating_add(BLOCK).saturating_add(ROW as u64).saturating_add(hashes)
}

/// What a drive takes before its first object: label, inventory, the manifest's fixed part.
#[must_use]
pub fn reserve(inventory_bytes: u64) -> u64 {
    (envelope::size_for(0) * 2).saturating_add(SLACK).saturating_add(cost(inventory_bytes))
}

impl Room {
    /// Room on an empty drive of `capacity` bytes whose inventory takes `inventory_bytes`.
    #[must_use]
    pub fn new(capacity: u64, inventory_bytes: u64) -> Self {
        Self { capacity, used: reserve(inventory_bytes) }
    }

    /// Whether an object of that length still fits.
    #[must_use]
    pub fn fits(&self, length: u64) -> bool {
        self.used.checked_add(cost(length)).is_some_and(|used| used <= self.capacity)
    }

    /// Counts an object that is on the drive.
    pub fn add(&mut self, length: u64) {
        self.used = self.used.saturating_add(cost(length));
    }

    /// Bytes that may be used, in all.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Room for one object's [`cost`] on a drive of this size with nothing on it yet.
    fn when_empty(&self, inventory_bytes: u64) -> u64 {
        self.capacity.saturating_sub(reserve(inventory_bytes))
    }
}

/// Places `objects`, in their order, onto drives with the room given, in theirs.
///
/// # Errors
/// An object that fits no drive even when empty.
pub fn plan(objects: &[Object], rooms: &[Room], inventory_bytes: u64) -> Result<Plan, TooLarge> {
    let largest = rooms.iter().map(|room| room.when_empty(inventory_bytes)).max();
    let largest = largest.unwrap_or(u64::MAX);
    let too_large = objects.iter().find(|object| cost(object.length) > largest);
    if let Some(object) = too_large {
        return Err(TooLarge { object: *object, needed: cost(object.length), largest });
    }
    let mut drives = vec![Vec::new(); rooms.len()];
    let mut open = drives.iter_mut().zip(rooms.iter().copied()).peekable();
    let mut placed = 0;
    for object in objects {
        while open.next_if(|(_, room)| !room.fits(object.length)).is_some() {}
        let Some((drive, room)) = open.peek_mut() else { break };
        room.add(object.length);
        drive.push(*object);
        placed += 1;
    }
    let rest: Vec<Object> = objects.iter().skip(placed).copied().collect();
    let capacity = rooms.iter().map(|room| room.capacity).max().unwrap_or(0);
    let shortfall = shortfall(&rest, capacity, inventory_bytes);
    Ok(Plan { drives, rest, shortfall })
}

/// How many drives of `capacity` bytes `rest` needs; 0 drives when there is no size to go by.
pub(crate) fn shortfall(rest: &[Object], capacity: u64, inventory_bytes: u64) -> Option<Shortfall> {
    if rest.is_empty() {
        return None;
    }
    let mut drives = 0;
    let mut room: Option<Room> = None;
    for object in rest.iter().filter(|_| capacity > 0) {
        if !room.is_some_and(|room| room.fits(object.length)) {
            room = Some(Room::new(capacity, inventory_bytes));
            drives += 1;
        }
        if let Some(room) = &mut room {
            room.add(object.length);
        }
    }
    let bytes = rest.iter().fold(0, |sum: u64, object| sum.saturating_add(object.length));
    Some(Shortfall { objects: rest.len() as u64, bytes, drives, drive_capacity: capacity })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Digest, ObjectKind};
    use proptest::prelude::*;

    fn objects(lengths: &[u64]) -> Vec<Object> {
        let object = |(at, length): (usize, &u64)| {
            let mut name = [0; 32];
            name[..8].copy_from_slice(&(at as u64).to_be_bytes());
            Object { repository: 0, kind: ObjectKind::Pack, name: Digest(name), length: *length }
        };
        lengths.iter().enumerate().map(object).collect()
    }

    proptest! {
        #[test]
        fn every_object_has_one_place_in_order_and_no_drive_holds_too_much(
            lengths in prop::collection::vec(0_u64..3 << 20, 0..60),
            capacities in prop::collection::vec(3_u64 << 20..20 << 20, 1..12),
            inventory in 0_u64..10_000,
        ) {
            let objects = objects(&lengths);
            let rooms: Vec<_> = capacities.iter().map(|c| Room::new(*c, inventory)).collect();
            match plan(&objects, &rooms, inventory) {
                Err(too_large) => {
                    let needed = reserve(inventory) + cost(too_large.object.length);
                    prop_assert!(capacities.iter().all(|c| needed > *c), "it fits: {}", needed);
                }
                Ok(plan) => {
                    let placed: Vec<Object> =
                        plan.drives.iter().flatten().chain(&plan.rest).copied().collect();
                    prop_assert_eq!(&placed, &objects);
                    for (drive, capacity) in plan.drives.iter().zip(&capacities) {
                        let sum: u64 = drive.iter().map(|object| cost(object.length)).sum();
                        prop_assert!(drive.is_empty() || reserve(inventory) + sum <= *capacity);
                    }
                    prop_assert_eq!(plan.rest.is_empty(), plan.shortfall.is_none());
                }
            }
        }

        #[test]
        fn the_drives_said_to_be_missing_are_enough_and_none_too_many(
            lengths in prop::collection::vec(0_u64..3 << 20, 1..60),
            capacity in 4_u64 << 20..12 << 20,
        ) {
            let objects = objects(&lengths);
            let short = plan(&objects, &[Room::new(capacity, 0)], 0).unwrap().shortfall;
            let Some(short) = short else { return Ok(()) };
            let with = |drives: u64| {
                let rooms = vec![Room::new(capacity, 0); usize::try_from(drives).unwrap()];
                plan(&objects, &rooms, 0).unwrap()
            };
            prop_assert_eq!(with(1 + short.drives).shortfall, None);
            prop_assert!(with(short.drives).shortfall.is_some());
        }
    }

    #[test]
    fn without_any_drive_everything_is_left() {
        let objects = objects(&[5, u64::MAX / 4]);
        let plan = plan(&objects, &[], 0).unwrap();
        assert_eq!(plan.rest, objects);
        let short = plan.shortfall.unwrap();
        assert_eq!((short.objects, short.drives), (2, 0));
    }

    #[test]
    fn a_hostile_length_overflows_nothing() {
        assert_eq!(cost(u64::MAX), u64::MAX);
        assert!(!Room::new(u64::MAX, 0).fits(u64::MAX));
        let plan = plan(&objects(&[u64::MAX]), &[Room::new(1 << 40, 0)], 0);
        assert!(plan.is_err());
    }
}
