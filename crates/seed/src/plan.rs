//! Which object goes onto which drive. Pure: sees lengths and capacities, touches nothing.
//!
//! Drives that hold something already come first, because they travel anyway; then the largest, so
//! that the fewest travel. Objects are placed by first fit: the few that take a large part of a
//! drive by descending size, then all others in their order, which fill what the large ones left.
//! So each drive gets one stretch of the order, and what is left at its end is less than one object.
//!
//! How many drives that takes, of equal size, beside the fewest L that can hold the objects' bytes:
//!
//! - Where no object takes more than 1/128 of a drive: at most L + 1, and at most 1.02 L from 100
//!   drives on. A drive that is left for the next one lacks less than 1/128, so n drives are opened
//!   only by more than (n - 1) * 127/128 drives' worth of bytes.
//! - Where larger objects decide: first fit by descending size takes at most 11/9 of the fewest and
//!   2/3 of one more (Dósa 2007), which is at most one more than the fewest up to five.

use crate::Object;
use crate::envelope::{self, ROW};
use crate::extent::EXTENT;
use crate::rooms::Rooms;

/// File systems give files whole blocks of this many bytes.
const BLOCK: u64 = 4096;

/// What directories and the journal of a file system take beyond the files themselves.
const SLACK: u64 = 64 << 10;

/// An object is large when it takes more than this part of the largest drive.
const LARGE: u64 = 128;

/// Room on one drive, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    capacity: u64,
    used: u64,
    /// Whether an object is on the drive.
    begun: bool,
}

/// How several drives are filled. Which drives, and how many, is the same for both: the fewest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filling {
    /// All at once, each to the same part of its room, so that all are done at the same time.
    #[default]
    Even,
    /// One after the other, each to its end: a full one can be taken out early.
    Sequential,
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
    /// For each drive, in the order given, its objects, ascending as they were given.
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
        Self { capacity, used: reserve(inventory_bytes), begun: false }
    }

    /// Whether an object of that length still fits.
    #[must_use]
    pub fn fits(&self, length: u64) -> bool {
        self.used.checked_add(cost(length)).is_some_and(|used| used <= self.capacity)
    }

    /// Whether an object of that length still fits where so many bytes are kept for others.
    pub(crate) fn fits_beside(&self, length: u64, kept: u64) -> bool {
        self.used.saturating_add(kept).saturating_add(cost(length)) <= self.capacity
    }

    /// Room for more objects' [`cost`], in bytes.
    pub(crate) fn left(&self) -> u64 {
        self.free()
    }

    /// Counts an object that is on the drive.
    pub fn add(&mut self, length: u64) {
        self.used = self.used.saturating_add(cost(length));
        self.begun = true;
    }

    /// Bytes that may be used, in all.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// No more room than what is used now.
    pub(crate) fn close(&mut self) {
        self.capacity = self.capacity.min(self.used);
    }

    /// Room for more objects' [`cost`].
    fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used)
    }

    /// Room for one object's [`cost`] on a drive of this size with nothing on it yet.
    pub(crate) fn when_empty(&self, inventory_bytes: u64) -> u64 {
        self.capacity.saturating_sub(reserve(inventory_bytes))
    }
}

/// Places `objects`, which ascend, onto drives with the room given.
///
/// # Errors
/// An object that fits no drive even when empty.
pub fn plan(
    objects: &[Object],
    rooms: &[Room],
    inventory_bytes: u64,
    filling: Filling,
) -> Result<Plan, TooLarge> {
    let largest = rooms.iter().map(|room| room.when_empty(inventory_bytes)).max();
    let largest = largest.unwrap_or(u64::MAX);
    let too_large = objects.iter().find(|object| cost(object.length) > largest);
    if let Some(object) = too_large {
        return Err(TooLarge { object: *object, needed: cost(object.length), largest });
    }
    let (drives, rest) = place(objects, rooms, largest, filling);
    let capacity = rooms.iter().map(|room| room.capacity).max().unwrap_or(0);
    let shortfall = shortfall(&rest, capacity, inventory_bytes);
    Ok(Plan { drives, rest, shortfall })
}

/// For each room its objects, ascending, and those without a place. `largest` is what the largest
/// drive has when it is empty: it decides which objects are large.
pub(crate) fn place(
    objects: &[Object],
    rooms: &[Room],
    largest: u64,
    filling: Filling,
) -> (Vec<Vec<Object>>, Vec<Object>) {
    let order = order(rooms);
    let free: Vec<u64> = order.iter().filter_map(|at| rooms.get(*at)).map(Room::free).collect();
    let mut places = places(objects, largest, &free);
    if filling == Filling::Even && !places.contains(&NOWHERE) {
        places = evenly(objects, largest, &free, places);
    }
    // Never larger than they have to be: a seed can have ten million objects.
    let mut counts = vec![0; rooms.len() + 1];
    let drive_of = |place: u16| order.get(usize::from(place)).copied().unwrap_or(rooms.len());
    for place in &places {
        if let Some(count) = counts.get_mut(drive_of(*place)) {
            *count += 1;
        }
    }
    let mut drives: Vec<Vec<Object>> = counts.into_iter().map(Vec::with_capacity).collect();
    for (object, place) in objects.iter().zip(places) {
        if let Some(drive) = drives.get_mut(drive_of(place)) {
            drive.push(*object);
        }
    }
    let rest = drives.pop().unwrap_or_default();
    (drives, rest)
}

/// The place of an object that no room holds. More rooms than that nobody has: those beyond stay empty.
const NOWHERE: u16 = u16::MAX;

/// For each object the room that it goes to.
fn places(objects: &[Object], largest: u64, free: &[u64]) -> Vec<u16> {
    let free = free.get(..usize::from(NOWHERE)).unwrap_or(free);
    let mut places = vec![NOWHERE; objects.len()];
    first_fit(objects, largest, free, &mut |at, room| {
        if let (Some(place), Some(Ok(room))) = (places.get_mut(at), room.map(u16::try_from)) {
            *place = room;
        }
    });
    places
}

/// In which order drives are filled: those that hold something, then the largest.
pub(crate) fn order(rooms: &[Room]) -> Vec<usize> {
    let mut order: Vec<(usize, &Room)> = rooms.iter().enumerate().collect();
    order.sort_by_key(|(_, room)| (!room.begun, std::cmp::Reverse(room.capacity)));
    order.into_iter().map(|(at, _)| at).collect()
}

/// In which order objects are placed: the large ones by descending size, then all others.
fn sequence(objects: &[Object], largest: u64) -> impl Iterator<Item = usize> + '_ {
    let cost_of = |at: &usize| objects.get(*at).map_or(0, |object| cost(object.length));
    let is_large = move |at: &usize| cost_of(at) > largest / LARGE;
    let mut large: Vec<usize> = (0..objects.len()).filter(is_large).collect();
    large.sort_by_key(|at| std::cmp::Reverse(cost_of(at)));
    large.into_iter().chain((0..objects.len()).filter(move |at| !is_large(at)))
}

/// Says of each object which is the first room that still holds it.
fn first_fit(
    objects: &[Object],
    largest: u64,
    free: &[u64],
    found: &mut dyn FnMut(usize, Option<usize>),
) {
    let mut rooms = Rooms::new(free);
    for at in sequence(objects, largest) {
        if let Some(object) = objects.get(at) {
            found(at, rooms.take(cost(object.length)));
        }
    }
}

/// The same number of rooms, each filled to about the same part. `tight` is a way that is known.
fn evenly(objects: &[Object], largest: u64, free: &[u64], tight: Vec<u16>) -> Vec<u16> {
    let used = tight.iter().max().map_or(0, |last| usize::from(*last) + 1);
    let free = free.get(..used).unwrap_or_default();
    let costs = || objects.iter().map(|object| cost(object.length));
    let (all, most) = (costs().fold(0_u128, |sum, cost| sum + u128::from(cost)), costs().max());
    let room = free.iter().fold(0, |sum, free| sum + u128::from(*free)).max(1);
    // A room may end within less than an object of its part; the more so, the larger objects are.
    for slack in [1, 2, 4] {
        let slack = most.unwrap_or(0).saturating_mul(slack);
        let part = |free: &u64| {
            // Never more than the room itself: all objects fit into all of it.
            let part = u64::try_from(u128::from(*free) * all / room).unwrap_or(u64::MAX);
            part.saturating_add(slack).min(*free)
        };
        let parts: Vec<u64> = free.iter().map(part).collect();
        let places = places(objects, largest, &parts);
        if !places.contains(&NOWHERE) {
            return places;
        }
    }
    tight
}

/// How many drives of `capacity` bytes `rest` needs; 0 drives when there is no size to go by.
///
/// As many as [`plan`] fills when they are given beside drives of that size which `rest` found no
/// room on: first fit places the others as before, and then these as here.
pub(crate) fn shortfall(rest: &[Object], capacity: u64, inventory_bytes: u64) -> Option<Shortfall> {
    if rest.is_empty() {
        return None;
    }
    let bytes = rest.iter().fold(0, |sum: u64, object| sum.saturating_add(object.length));
    let drives = if capacity == 0 { 0 } else { drives_for(rest, capacity, inventory_bytes) };
    Some(Shortfall { objects: rest.len() as u64, bytes, drives, drive_capacity: capacity })
}

fn drives_for(objects: &[Object], capacity: u64, inventory_bytes: u64) -> u64 {
    let free = Room::new(capacity, inventory_bytes).free();
    let all = objects.iter().fold(0_u128, |sum, object| sum + u128::from(cost(object.length)));
    // Two neighbours among first fit's drives hold more than one drive's worth together.
    let enough = all.saturating_mul(2).checked_div(u128::from(free)).unwrap_or(0).saturating_add(2);
    let enough = usize::try_from(enough).unwrap_or(usize::MAX).min(objects.len());
    // What fits no drive of that size counts as one each.
    let (mut drives, mut never) = (0, 0);
    first_fit(objects, free, &vec![free; enough], &mut |_, room| match room {
        Some(room) => drives = drives.max(room + 1),
        None => never += 1,
    });
    (drives + never) as u64
}

#[cfg(test)]
mod tests;
