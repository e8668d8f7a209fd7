//! Every object has one place, no drive holds too much, and few drives travel. The fewest are found
//! by trying everything where there is little, and by counting bytes where there is much.

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

fn filling() -> impl Strategy<Value = Filling> {
    prop_oneof![Just(Filling::Even), Just(Filling::Sequential)]
}

fn used(plan: &Plan) -> usize {
    plan.drives.iter().filter(|drive| !drive.is_empty()).count()
}

fn cost_of(objects: &[Object]) -> u64 {
    objects.iter().map(|object| cost(object.length)).sum()
}

/// The fewest of these rooms that hold everything, by trying every way; none if there is no way.
fn fewest(costs: &[u64], free: &mut Vec<u64>, taken: &mut Vec<bool>) -> Option<usize> {
    let Some((first, others)) = costs.split_first() else {
        return Some(taken.iter().filter(|taken| **taken).count());
    };
    let mut best = None;
    for at in 0..free.len() {
        if free[at] < *first {
            continue;
        }
        let before = std::mem::replace(&mut taken[at], true);
        free[at] -= first;
        best = [best, fewest(others, free, taken)].into_iter().flatten().min();
        free[at] += first;
        taken[at] = before;
    }
    best
}

fn fewest_of(objects: &[Object], rooms: &[Room]) -> Option<usize> {
    let costs: Vec<u64> = objects.iter().map(|object| cost(object.length)).collect();
    let mut free: Vec<u64> = rooms.iter().map(Room::free).collect();
    let mut taken = vec![false; rooms.len()];
    fewest(&costs, &mut free, &mut taken)
}

proptest! {
    #[test]
    fn every_object_has_one_place_and_no_drive_holds_too_much(
        lengths in prop::collection::vec(0_u64..3 << 20, 0..60),
        capacities in prop::collection::vec(3_u64 << 20..20 << 20, 1..12),
        inventory in 0_u64..10_000,
        begun in prop::collection::vec(0_u64..4 << 20, 0..3),
        filling in filling(),
    ) {
        let objects = objects(&lengths);
        let mut rooms: Vec<_> = capacities.iter().map(|c| Room::new(*c, inventory)).collect();
        for (room, length) in rooms.iter_mut().zip(&begun) {
            room.add(*length);
        }
        match plan(&objects, &rooms, inventory, filling) {
            Err(too_large) => {
                let needed = reserve(inventory) + cost(too_large.object.length);
                prop_assert!(capacities.iter().all(|c| needed > *c), "it fits: {}", needed);
            }
            Ok(plan) => {
                let mut placed: Vec<Object> =
                    plan.drives.iter().flatten().chain(&plan.rest).copied().collect();
                placed.sort_unstable();
                prop_assert_eq!(&placed, &objects);
                for (drive, room) in plan.drives.iter().zip(&rooms) {
                    prop_assert!(drive.is_sorted());
                    prop_assert!(drive.is_empty() || cost_of(drive) <= room.free());
                }
                prop_assert!(plan.rest.is_sorted());
                prop_assert_eq!(plan.rest.is_empty(), plan.shortfall.is_none());
                let holds = |room: &Room, object: &Object| cost(object.length) <= room.free();
                let alone = plan.rest.iter().find(|object| {
                    let empty = rooms.iter().zip(&plan.drives).find(|(_, d)| d.is_empty());
                    empty.is_some_and(|(room, _)| holds(room, object))
                });
                prop_assert_eq!(alone, None, "left over beside an empty drive");
            }
        }
    }

    #[test]
    fn where_objects_are_small_the_fewest_drives_travel_or_one_more_or_two_percent(
        lengths in prop::collection::vec(0_u64..300_000, 1..1500),
        over in 0_u64..1 << 20,
        times in 1_usize..12,
        filling in filling(),
    ) {
        let objects = objects(&lengths.repeat(times));
        let free = 128 * cost(300_000) + over;
        let capacity = free + reserve(0);
        let all: u64 = cost_of(&objects);
        let fewest = all.div_ceil(free);
        // As many drives as it may take at most: then nothing may be left.
        let most = (fewest + 1).max(fewest * 102 / 100);
        let rooms = vec![Room::new(capacity, 0); usize::try_from(most).unwrap()];
        let plan = plan(&objects, &rooms, 0, filling).unwrap();
        prop_assert!(plan.rest.is_empty(), "{} drives do for {}", most, fewest);
        let short = shortfall(&objects, capacity, 0).unwrap();
        prop_assert!((fewest..=most).contains(&short.drives), "{} for {}", short.drives, fewest);
        prop_assert_eq!(used(&plan) as u64, short.drives);
    }

    #[test]
    fn where_objects_are_large_it_is_the_fewest_or_one_more(
        lengths in prop::collection::vec(0_u64..3 << 20, 0..8),
        capacity in 3_700_000_u64..9 << 20,
        drives in 1_usize..6,
        filling in filling(),
    ) {
        let objects = objects(&lengths);
        let rooms = vec![Room::new(capacity, 0); drives];
        let plan = plan(&objects, &rooms, 0, filling).unwrap();
        match fewest_of(&objects, &rooms) {
            Some(fewest) if plan.rest.is_empty() => prop_assert!(used(&plan) <= fewest + 1),
            Some(fewest) => prop_assert_eq!(fewest, drives, "one more would do"),
            None => prop_assert!(!plan.rest.is_empty()),
        }
    }

    #[test]
    fn of_drives_of_different_sizes_the_largest_ones_travel(
        lengths in prop::collection::vec(0_u64..200_000, 1..8),
        capacities in prop::collection::vec(3_u64 << 20..9 << 20, 1..5),
    ) {
        let objects = objects(&lengths);
        let rooms: Vec<Room> = capacities.iter().map(|c| Room::new(*c, 0)).collect();
        let plan = plan(&objects, &rooms, 0, Filling::Even).unwrap();
        let fewest = fewest_of(&objects, &rooms).unwrap();
        prop_assert_eq!((used(&plan), fewest), (1, 1));
        let chosen = plan.drives.iter().position(|drive| !drive.is_empty()).unwrap();
        prop_assert_eq!(capacities[chosen], capacities.iter().copied().max().unwrap());
    }

    #[test]
    fn the_drives_said_to_be_missing_are_enough_and_none_too_many(
        lengths in prop::collection::vec(0_u64..3 << 20, 1..60),
        capacity in 4_u64 << 20..12 << 20,
        first in 4_u64 << 20..12 << 20,
        filling in filling(),
    ) {
        let objects = objects(&lengths);
        let short = plan(&objects, &[Room::new(capacity, 0)], 0, filling).unwrap().shortfall;
        let Some(short) = short else { return Ok(()) };
        let with = |drives: u64| {
            let rooms = vec![Room::new(capacity, 0); usize::try_from(drives).unwrap()];
            plan(&objects, &rooms, 0, filling).unwrap()
        };
        prop_assert_eq!(with(1 + short.drives).shortfall, None);
        prop_assert!(with(short.drives).shortfall.is_some());
        // Where one was sealed already, the others are of the size that was said.
        let sealed = plan(&objects, &[Room::new(first, 0)], 0, filling).unwrap();
        let Some(short) = sealed.shortfall else { return Ok(()) };
        let drives = usize::try_from(short.drives).unwrap();
        let more = plan(&sealed.rest, &vec![Room::new(first, 0); drives], 0, filling).unwrap();
        prop_assert_eq!(more.shortfall, None);
    }

    #[test]
    fn even_filling_takes_no_more_drives_and_gives_each_the_same_part(
        lengths in prop::collection::vec(0_u64..300_000, 1..900),
        capacities in prop::collection::vec(40_u64 << 20..80 << 20, 1..6),
    ) {
        let objects = objects(&lengths);
        let rooms: Vec<Room> = capacities.iter().map(|c| Room::new(*c, 0)).collect();
        let tight = plan(&objects, &rooms, 0, Filling::Sequential).unwrap();
        let even = plan(&objects, &rooms, 0, Filling::Even).unwrap();
        let drives = |plan: &Plan| plan.drives.iter().map(|d| !d.is_empty()).collect::<Vec<_>>();
        prop_assert_eq!(drives(&tight).len(), drives(&even).len());
        prop_assert!(used(&even) <= used(&tight));
        prop_assert_eq!(&tight.rest, &even.rest);
        if !even.rest.is_empty() {
            return Ok(());
        }
        let taken = rooms.iter().zip(&tight.drives).filter(|(_, drive)| !drive.is_empty());
        let room: u64 = taken.map(|(room, _)| room.free()).sum();
        let all = cost_of(&objects);
        for (drive, room_of) in even.drives.iter().zip(&rooms).filter(|(d, _)| !d.is_empty()) {
            let part = u128::from(room_of.free()) * u128::from(all) / u128::from(room);
            let part = u64::try_from(part).unwrap();
            prop_assert!(cost_of(drive) <= part + 4 * cost(300_000));
        }
    }
}

#[test]
fn drives_that_hold_something_are_filled_first() {
    let objects = objects(&[300_000; 5]);
    let mut rooms = [Room::new(40 << 20, 0), Room::new(4 << 20, 0), Room::new(50 << 20, 0)];
    rooms[1].add(1000);
    let plan = plan(&objects, &rooms, 0, Filling::Even).unwrap();
    assert_eq!(plan.drives[1], objects);
}

#[test]
fn a_large_object_finds_its_place_wherever_it_is_in_the_order() {
    // In their order, the first five would take both drives and leave no room for the last.
    let objects = objects(&[1_000_000, 1_000_000, 1_000_000, 1_000_000, 1_000_000, 3_500_000]);
    let rooms = [Room::new(4_700_000, 0); 2];
    let plan = plan(&objects, &rooms, 0, Filling::Even).unwrap();
    assert_eq!(plan.shortfall.map(|short| short.objects), Some(1));
    let rooms = [Room::new(5_700_000, 0); 2];
    assert_eq!(super::plan(&objects, &rooms, 0, Filling::Even).unwrap().shortfall, None);
}

#[test]
fn without_any_drive_everything_is_left() {
    let objects = objects(&[5, u64::MAX / 4]);
    let plan = plan(&objects, &[], 0, Filling::Even).unwrap();
    assert_eq!(plan.rest, objects);
    let short = plan.shortfall.unwrap();
    assert_eq!((short.objects, short.drives), (2, 0));
}

#[test]
fn a_hostile_length_overflows_nothing() {
    assert_eq!(cost(u64::MAX), u64::MAX);
    assert!(!Room::new(u64::MAX, 0).fits(u64::MAX));
    let plan = plan(&objects(&[u64::MAX]), &[Room::new(1 << 40, 0)], 0, Filling::Even);
    assert!(plan.is_err());
    assert_eq!(shortfall(&objects(&[u64::MAX, 1]), 1 << 40, 0).unwrap().drives, 2);
}

#[test]
fn a_million_objects_are_placed_at_once() {
    let lengths: Vec<u64> = (0..1_000_000_u64).map(|n| (n * 7_919) % (34 << 20)).collect();
    let objects = objects(&lengths);
    let all = cost_of(&objects);
    let rooms = vec![Room::new(all / 9, 0); 10];
    let plan = plan(&objects, &rooms, 0, Filling::Even).unwrap();
    assert_eq!(plan.rest, vec![]);
}
