//! Which objects have durable names on which drives, remembered beside the inventory: what is known
//! of drives that are not at hand and not sealed. Never believed of a drive that is at hand.
//!
//! ```text
//!  "PKMJOURN" · inventory's SHA-256                                              40 bytes
//!  records: length of body u32 · body · check 8
//!    1 · label's SHA-256 · set u32 · drive u32 · serial number     a drive; they are numbered from 0
//!    2 · drive u32 · object u32 …                                  have durable names on it
//!    3 · drive u32 · object u32 …                                  are no longer on it
//! ```
//!
//! Little-endian; an object is its place in the inventory; the check is the first 8 bytes of the
//! BLAKE3 of the record's offset (u64) and body. Records are appended and synced. The first one that
//! is not whole ends the journal, and the next record takes its place. A journal of another
//! inventory, or without its head, counts as none: what it knew is then written once more.

use crate::Object;
use crate::beneath::{Beneath, NewFile};
use model::{Digest, DriveSerial};
use std::collections::BTreeSet;
use std::io;

/// The journal's file in the state folder.
pub(crate) const JOURNAL: &str = "journal";
const MAGIC: &[u8; 8] = b"PKMJOURN";
const HEAD: usize = 40;
const CHECK: usize = 8;
/// Enough for every object of the largest inventory 64 times over.
const LIMIT: u64 = 4 << 30;
/// Objects in a record, at most: a batch has fewer.
const MANY: usize = 1 << 16;

/// What a drive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// The SHA-256 of its label.
    pub(crate) label: Digest,
    pub(crate) set: u32,
    pub(crate) drive: u32,
    pub(crate) serial: DriveSerial,
    /// Objects, by their place in the inventory.
    pub(crate) objects: BTreeSet<u32>,
}

/// The journal of one inventory, open for more.
#[derive(Debug)]
pub(crate) struct Journal {
    file: NewFile,
    drives: Vec<Held>,
}

impl Journal {
    /// Reads what there is, and cuts off what is not whole.
    pub(crate) fn open(state: &Beneath, inventory: &Digest, objects: usize) -> io::Result<Self> {
        // Damaged beyond its limit or beyond reading, it counts as none.
        let bytes = match state.read_if_there(JOURNAL, LIMIT) {
            Err(cause) if cause.kind() == io::ErrorKind::InvalidData => None,
            other => other?,
        };
        let found = bytes.and_then(|bytes| decode(&bytes, inventory, objects));
        let (drives, length) = match found {
            Some(found) => found,
            None => {
                state.write(JOURNAL, crate::state::PARTIAL, &head(inventory))?;
                (Vec::new(), HEAD as u64)
            }
        };
        Ok(Self { file: state.append(JOURNAL, length)?, drives })
    }

    /// The drives that it knows.
    pub(crate) fn drives(&self) -> &[Held] {
        &self.drives
    }

    /// The number of the drive with that label, which it now knows.
    pub(crate) fn drive(&mut self, drive: Held) -> io::Result<usize> {
        if let Some(known) = self.drives.iter().position(|known| known.label == drive.label) {
            return Ok(known);
        }
        let mut body = vec![1];
        body.extend_from_slice(drive.label.as_bytes());
        body.extend_from_slice(&drive.set.to_le_bytes());
        body.extend_from_slice(&drive.drive.to_le_bytes());
        body.extend_from_slice(drive.serial.as_str().as_bytes());
        self.append(&body)?;
        self.drives.push(Held { objects: BTreeSet::new(), ..drive });
        Ok(self.drives.len() - 1)
    }

    /// Objects have durable names on a drive.
    pub(crate) fn named(&mut self, drive: usize, objects: &[u32]) -> io::Result<()> {
        self.objects(2, drive, objects)?;
        if let Some(held) = self.drives.get_mut(drive) {
            held.objects.extend(objects);
        }
        Ok(())
    }

    /// Objects are no longer on a drive.
    pub(crate) fn removed(&mut self, drive: usize, objects: &[u32]) -> io::Result<()> {
        self.objects(3, drive, objects)?;
        if let Some(held) = self.drives.get_mut(drive) {
            objects.iter().for_each(|object| {
                held.objects.remove(object);
            });
        }
        Ok(())
    }

    /// What was found on a drive that is at hand takes the place of what was thought of it.
    pub(crate) fn found(&mut self, drive: usize, objects: &BTreeSet<u32>) -> io::Result<()> {
        let Some(held) = self.drives.get(drive) else { return Ok(()) };
        let more: Vec<u32> = objects.difference(&held.objects).copied().collect();
        let fewer: Vec<u32> = held.objects.difference(objects).copied().collect();
        self.named(drive, &more)?;
        self.removed(drive, &fewer)
    }

    fn objects(&mut self, kind: u8, drive: usize, objects: &[u32]) -> io::Result<()> {
        let drive = u32::try_from(drive).unwrap_or(u32::MAX);
        for some in objects.chunks(MANY) {
            let mut body = vec![kind];
            body.extend_from_slice(&drive.to_le_bytes());
            some.iter().for_each(|object| body.extend_from_slice(&object.to_le_bytes()));
            self.append(&body)?;
        }
        Ok(())
    }

    fn append(&mut self, body: &[u8]) -> io::Result<()> {
        self.file.write_part(&record(self.file.length(), body))?;
        self.file.sync()
    }
}

/// The journal of an inventory before its first record.
pub(crate) fn head(inventory: &Digest) -> Vec<u8> {
    [MAGIC.as_slice(), inventory.as_bytes()].concat()
}

/// The places of objects in an inventory; those that are not there have none.
pub(crate) fn places<'o>(
    inventory: &[Object],
    objects: impl IntoIterator<Item = &'o Object>,
) -> Vec<u32> {
    let place = |object| u32::try_from(inventory.binary_search(object).ok()?).ok();
    objects.into_iter().filter_map(place).collect()
}

pub(crate) fn record(offset: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes(), body, &check(offset, body)].concat()
}

fn check(offset: u64, body: &[u8]) -> [u8; CHECK] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(body);
    hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}

/// What a journal says, and up to where it is whole; none when it is not that inventory's.
pub(crate) fn decode(bytes: &[u8], inventory: &Digest, objects: usize) -> Option<(Vec<Held>, u64)> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (of, mut rest) = rest.split_first_chunk::<32>()?;
    if magic != MAGIC || Digest(*of) != *inventory {
        return None;
    }
    let (mut drives, mut offset) = (Vec::new(), HEAD as u64);
    while let Some((body, after)) = next(rest, offset) {
        if read(body, &mut drives, objects).is_none() {
            break;
        }
        offset += (rest.len() - after.len()) as u64;
        rest = after;
    }
    Some((drives, offset))
}

/// The body of the record at the front, if it is whole, and what follows it.
fn next(bytes: &[u8], offset: u64) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (body, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let (found, rest) = rest.split_first_chunk::<CHECK>()?;
    (*found == check(offset, body)).then_some((body, rest))
}

/// Applies a record whole, or not at all.
fn read(body: &[u8], drives: &mut Vec<Held>, objects: usize) -> Option<()> {
    let (kind, body) = body.split_first()?;
    if *kind == 1 {
        let (label, body) = body.split_first_chunk::<32>()?;
        let (set, body) = body.split_first_chunk::<4>()?;
        let (drive, serial) = body.split_first_chunk::<4>()?;
        drives.push(Held {
            label: Digest(*label),
            set: u32::from_le_bytes(*set),
            drive: u32::from_le_bytes(*drive),
            serial: std::str::from_utf8(serial).ok()?.parse().ok()?,
            objects: BTreeSet::new(),
        });
        return Some(());
    }
    let (drive, body) = body.split_first_chunk::<4>()?;
    let held = drives.get_mut(u32::from_le_bytes(*drive) as usize)?;
    let (rows, []) = body.as_chunks::<4>() else { return None };
    let rows = || rows.iter().map(|row| u32::from_le_bytes(*row));
    if rows().any(|object| object as usize >= objects) {
        return None;
    }
    match kind {
        2 => held.objects.extend(rows()),
        3 => rows().for_each(|object| {
            held.objects.remove(&object);
        }),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INVENTORY: Digest = Digest([5; 32]);
    const OBJECTS: usize = 100;
    const LAST: u32 = 99;

    fn held(number: u8) -> Held {
        Held {
            label: Digest([number; 32]),
            set: 0,
            drive: u32::from(number),
            serial: format!("S{number}").parse().unwrap(),
            objects: BTreeSet::new(),
        }
    }

    /// What is done to a journal, one record each.
    #[derive(Debug, Clone)]
    enum Act {
        Drive(u8),
        Named(usize, Vec<u32>),
        Removed(usize, Vec<u32>),
    }

    fn act() -> impl Strategy<Value = Act> {
        let some = || prop::collection::vec(0..=LAST, 1..6);
        prop_oneof![
            (0_u8..4).prop_map(Act::Drive),
            (0_usize..4, some()).prop_map(|(drive, objects)| Act::Named(drive, objects)),
            (0_usize..4, some()).prop_map(|(drive, objects)| Act::Removed(drive, objects)),
        ]
    }

    fn folder() -> (tempfile::TempDir, Beneath) {
        let memory = std::path::Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let dir = dir.unwrap();
        let folder = Beneath::open(dir.path()).unwrap();
        (dir, folder)
    }

    /// Does these, and answers what is known after each, with the file's length then.
    fn done(folder: &Beneath, acts: &[Act]) -> Vec<(u64, Vec<Held>)> {
        let mut journal = Journal::open(folder, &INVENTORY, OBJECTS).unwrap();
        let mut states = vec![(journal.file.length(), journal.drives.clone())];
        for act in acts {
            match act {
                Act::Drive(number) => {
                    journal.drive(held(*number)).unwrap();
                }
                Act::Named(drive, objects) if *drive < journal.drives.len() => {
                    journal.named(*drive, objects).unwrap();
                }
                Act::Removed(drive, objects) if *drive < journal.drives.len() => {
                    journal.removed(*drive, objects).unwrap();
                }
                _ => {}
            }
            states.push((journal.file.length(), journal.drives.clone()));
        }
        states
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn cut_at_any_byte_it_is_what_it_was_after_its_last_whole_record(
            acts in prop::collection::vec(act(), 0..12),
        ) {
            let (dir, folder) = folder();
            let states = done(&folder, &acts);
            let path = dir.path().join(JOURNAL);
            let whole = std::fs::read(&path).unwrap();
            prop_assert_eq!(whole.len() as u64, states.last().unwrap().0);
            for cut in 0..=whole.len() {
                std::fs::write(&path, &whole[..cut]).unwrap();
                let mut journal = Journal::open(&folder, &INVENTORY, OBJECTS).unwrap();
                let expected = states.iter().rfind(|(length, _)| *length <= cut as u64);
                let none = (HEAD as u64, Vec::new());
                let (length, drives) = expected.unwrap_or(&none);
                prop_assert_eq!((journal.file.length(), &journal.drives), (*length, drives));
                // And goes on from there.
                let number = journal.drive(held(9)).unwrap();
                journal.named(number, &[1, 2]).unwrap();
                let again = Journal::open(&folder, &INVENTORY, OBJECTS).unwrap();
                prop_assert_eq!(again.drives, journal.drives);
            }
        }

        #[test]
        fn a_changed_byte_ends_it_there(
            acts in prop::collection::vec(act(), 1..8),
            at in any::<prop::sample::Index>(),
        ) {
            let (dir, folder) = folder();
            let states = done(&folder, &acts);
            let mut bytes = std::fs::read(dir.path().join(JOURNAL)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 0x10;
            let found = decode(&bytes, &INVENTORY, OBJECTS);
            let before = states.iter().rfind(|(length, _)| *length <= at as u64);
            let before = before.map(|(length, drives)| (drives.clone(), *length));
            prop_assert_eq!(found, before);
        }

        #[test]
        fn whatever_the_bytes_are_it_says_at_most_what_the_inventory_has(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let (drives, length) = decode(&[head(&INVENTORY), bytes].concat(), &INVENTORY, 3).unwrap();
            prop_assert!(length >= HEAD as u64);
            prop_assert!(drives.iter().all(|held| held.objects.iter().all(|object| *object < 3)));
        }
    }

    #[test]
    fn a_journal_of_another_inventory_counts_as_none() {
        let (_dir, folder) = folder();
        done(&folder, &[Act::Drive(1), Act::Named(0, vec![4])]);
        let other = Journal::open(&folder, &Digest([6; 32]), OBJECTS).unwrap();
        assert_eq!(other.drives, vec![]);
        assert_eq!(Journal::open(&folder, &INVENTORY, OBJECTS).unwrap().drives, vec![]);
    }

    #[test]
    fn what_is_found_takes_the_place_of_what_was_thought() {
        let (_dir, folder) = folder();
        done(&folder, &[Act::Drive(1), Act::Named(0, vec![4, 5, 6])]);
        let mut journal = Journal::open(&folder, &INVENTORY, OBJECTS).unwrap();
        journal.found(0, &BTreeSet::from([5, 7])).unwrap();
        let again = Journal::open(&folder, &INVENTORY, OBJECTS).unwrap();
        assert_eq!(again.drives[0].objects, BTreeSet::from([5, 7]));
    }
}
