//! A belt without threads: what can be read and what a drive gets, step by step.

use super::*;
use model::{Digest, ObjectKind};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io;

const LIMITS: Limits = Limits {
    part: 4096,
    buffers: 8,
    open: 3,
    readers: 0,
    batch_bytes: 0,
    batch_objects: 0,
    whole: None,
};

fn objects(first: u8, lengths: &[u64]) -> Vec<Object> {
    let object = |(at, length): (u8, &u64)| Object {
        repository: 0,
        kind: ObjectKind::Pack,
        name: Digest([at; 32]),
        length: *length,
    };
    (first..).zip(lengths).map(object).collect()
}

fn belt(shares: &[&[Object]], room: u64, filling: Filling) -> Belt {
    let share = |(rank, objects): (usize, &&[Object])| {
        let mut empty = Room::new(room, 0);
        objects.iter().for_each(|object| empty.add(object.length));
        Share { objects: objects.to_vec(), room: empty, rank }
    };
    let shares = shares.iter().enumerate().map(share).collect();
    Belt::new(shares, Vec::new(), (LIMITS, filling, room))
}

#[test]
fn a_drive_has_64_mib() {
    assert_eq!(Limits::USUAL.part * Limits::USUAL.buffers, 64 << 20);
}

impl Belt {
    fn one(&self) -> Option<Step> {
        self.step(&mut self.lock())
    }

    /// Reads one part; the objects are zeros. False when there is nothing to read.
    fn read_one(&self) -> bool {
        let Some(mut step) = self.one() else { return false };
        let mut reading = step.reading.take().unwrap_or_else(|| Reading {
            stream: Box::new(io::empty()),
            hasher: Hasher::default(),
            seen: 0,
        });
        let left = usize::try_from(step.object.length - reading.seen).unwrap();
        let count = left.min(LIMITS.part);
        reading.seen += count as u64;
        let brought = if count < LIMITS.part {
            Brought::Last(count, None)
        } else {
            Brought::More(reading, count)
        };
        self.bring(step, brought);
        true
    }

    fn made(&self, at: usize) -> usize {
        self.lock().lanes[at].made
    }
}

#[test]
fn a_slow_drive_fills_its_own_lane_and_the_other_gets_everything() {
    let (slow, fast) = (objects(0, &[50_000, 50_000]), objects(10, &[9000; 9]));
    let belt = belt(&[&slow, &fast], 1 << 30, Filling::Even);
    let mut got = 0;
    while got < fast.len() {
        while belt.read_one() {}
        match belt.next(1) {
            Next::Bytes(_, buffer, _) => belt.give_back(1, buffer),
            Next::End(object, None) => {
                assert_eq!(object, fast[got], "they come in their order");
                got += 1;
            }
            _ => panic!("the fast drive was held up after {got} objects"),
        }
    }
    assert!(matches!(belt.next(1), Next::Written));
    assert_eq!(belt.made(0), LIMITS.buffers);
    assert_eq!(belt.made(1), 0, "who needs no buffers has none");
}

#[test]
fn one_drive_after_the_other_means_that_the_second_waits() {
    let (first, second) = (objects(0, &[9000; 4]), objects(10, &[9000; 2]));
    let belt = belt(&[&first, &second], 1 << 30, Filling::Sequential);
    while belt.read_one() {}
    assert!(belt.made(0) > LIMITS.kept());
    assert_eq!(belt.made(1), 0);
    let mut ended = 0;
    while ended < first.len() {
        match belt.next(0) {
            Next::Bytes(_, buffer, _) => belt.give_back(0, buffer),
            Next::End(..) => ended += 1,
            _ => panic!("something is missing"),
        }
        while belt.read_one() {}
    }
    assert!(belt.made(1) > 0);
}

#[test]
fn what_a_full_drive_cannot_take_goes_to_the_others_and_what_nobody_can_is_left() {
    let (small, large) = (objects(0, &[9000; 5]), objects(10, &[9000]));
    let mut belt = belt(&[&small, &large], 300_000, Filling::Even);
    while belt.read_one() {}
    belt.full(0, &[]);
    let lanes = &belt.inner.get_mut().unwrap().lanes;
    assert_eq!(lanes[0].coming.len() + lanes[0].open.len(), 0);
    let moved = lanes[1].coming.len() + lanes[1].open.len();
    assert!((2..=6).contains(&moved));
    belt.end(1, &large);
    belt.end(0, &[]);
    assert!(belt.steps().is_none());
    assert_eq!(belt.into_left().unwrap(), [small, large].concat());
}

#[test]
fn a_drive_that_holds_nothing_waits_until_no_other_can_fail() {
    let belt = belt(&[&objects(0, &[9000]), &[]], 1 << 30, Filling::Even);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| belt.wait_for_more(1));
        belt.end(0, &objects(0, &[9000]));
        assert!(waiting.join().unwrap(), "it takes over what the other had");
        assert!(matches!(belt.one(), Some(step) if step.object == objects(0, &[9000])[0]));
        belt.end(1, &[]);
    });
    assert!(belt.into_left().unwrap().len() == 1);
}

proptest! {
    #[test]
    fn every_byte_of_every_object_comes_once_within_the_buffers(
        lengths in prop::collection::vec(0_u64..60_000, 1..12),
        schedule in prop::collection::vec(any::<bool>(), 0..400),
        filling in prop_oneof![Just(Filling::Even), Just(Filling::Sequential)],
    ) {
        let objects = objects(0, &lengths);
        let belt = belt(&[&objects], 1 << 30, filling);
        let mut schedule = schedule.into_iter().chain(std::iter::repeat(true));
        let (mut held, mut seen) = (Vec::new(), BTreeMap::new());
        let mut ended = Vec::new();
        while ended.len() < objects.len() {
            prop_assert!(belt.made(0) <= LIMITS.buffers);
            let reads = schedule.next().unwrap();
            if reads && belt.read_one() {
                continue;
            }
            held.drain(..).for_each(|buffer| belt.give_back(0, buffer));
            let there = {
                let inner = belt.lock();
                inner.lanes[0].open.front().is_some_and(|open| !open.parts.is_empty())
            };
            if !there {
                prop_assert!(!reads || belt.read_one(), "the drive waits and nothing can be read");
                continue;
            }
            match belt.next(0) {
                Next::Bytes(object, buffer, count) => {
                    *seen.entry(object).or_insert(0) += count as u64;
                    held.push(buffer);
                }
                Next::End(object, None) => ended.push(object),
                _ => prop_assert!(false),
            }
        }
        prop_assert_eq!(&ended, &objects);
        for object in &objects {
            prop_assert_eq!(seen.get(object).copied().unwrap_or(0), object.length);
        }
    }
}
