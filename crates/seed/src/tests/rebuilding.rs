//! Rebuilding at a landing that is no folder: what is asked for, what lands, what is said.

use super::parity::{damage, large, prepare, set};
use super::*;
use crate::DriveState;
use model::{Digest, ErrorKind};
use std::io::Read;

/// A landing that is no folder.
#[derive(Default)]
pub(super) struct Account {
    objects: std::sync::Mutex<BTreeMap<(Digest, ObjectKey), Vec<u8>>>,
    /// Bytes that were asked for, and in how many calls.
    asked: std::sync::Mutex<(u64, u64)>,
    /// Puts that are still accepted, where there is a limit.
    room: std::sync::Mutex<Option<usize>>,
}

impl crate::Landing for Account {
    fn has(&self, repository: &Digest, key: &ObjectKey, length: u64) -> store::Result<bool> {
        crate::Arrived::holds(self, repository, key, length)
    }

    fn put_from(
        &self,
        repository: &Digest,
        key: &ObjectKey,
        length: u64,
        from: &mut dyn Read,
    ) -> store::Result<()> {
        let mut bytes = Vec::new();
        let read = from.read_to_end(&mut bytes);
        read.map_err(|cause| store::Error::Source { key: *key, cause })?;
        assert_eq!(bytes.len() as u64, length);
        if let Some(left) = self.room.lock().unwrap().as_mut() {
            let full = || store::Error::Full { location: "the account".to_owned() };
            *left = left.checked_sub(1).ok_or_else(full)?;
        }
        self.objects.lock().unwrap().insert((*repository, *key), bytes);
        Ok(())
    }
}

impl crate::Arrived for Account {
    fn holds(&self, repository: &Digest, key: &ObjectKey, length: u64) -> store::Result<bool> {
        let objects = self.objects.lock().unwrap();
        Ok(objects.get(&(*repository, *key)).is_some_and(|bytes| bytes.len() as u64 == length))
    }

    fn read_at(
        &self,
        repository: &Digest,
        key: &ObjectKey,
        offset: u64,
        into: &mut [u8],
    ) -> store::Result<()> {
        let objects = self.objects.lock().unwrap();
        let bytes = &objects[&(*repository, *key)];
        let at = usize::try_from(offset).unwrap();
        into.copy_from_slice(&bytes[at..at + into.len()]);
        let mut asked = self.asked.lock().unwrap();
        *asked = (asked.0 + into.len() as u64, asked.1 + 1);
        Ok(())
    }
}

#[test]
fn a_landing_that_is_no_folder_gets_what_was_lost_and_each_byte_is_asked_for_once() {
    let (site, store) = (Site::new(), large(21));
    let (data, parity) = set(&site, &store, 4, 1);
    let account = Account::default();
    let trust = site.trust();
    crate::unload(&data[0], &trust, &account, &mut ()).unwrap();
    let before = account.objects.lock().unwrap().len();
    let lost = crate::SealedDrive::open(&data[1], &trust).unwrap();
    let wanted = lost.manifest().body.objects.len();
    let drive = crate::SealedDrive::open(&parity[0], &trust).unwrap();
    let spool = site.path("spool");

    // It may be full in between.
    *account.room.lock().unwrap() = Some(1);
    let full = crate::rebuild(&[&drive], &[], &account, &spool, &mut ()).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Full, "{full}");
    assert!(!spool.exists());
    assert_eq!(account.objects.lock().unwrap().len(), before + 1);
    *account.room.lock().unwrap() = None;
    *account.asked.lock().unwrap() = (0, 0);

    let rebuilt = crate::rebuild(&[&drive], &[], &account, &spool, &mut ()).unwrap();
    assert!(!spool.exists());
    assert_eq!(rebuilt.objects(), wanted as u64 - 1);
    assert_eq!(rebuilt.drives.len(), 1);
    assert_eq!(rebuilt.drives[0].serial, lost.label().serial);
    assert!(rebuilt.drives[0].problems.is_empty());
    let (bytes, calls) = *account.asked.lock().unwrap();
    let there: u64 = account.objects.lock().unwrap().values().map(|bytes| bytes.len() as u64).sum();
    assert!(bytes <= there && calls <= 40, "{bytes} bytes of {there} in {calls} calls");
    assert!(rebuilt.arrived > 0 && rebuilt.arrived <= bytes);
    assert_eq!(rebuilt.read.len(), 1, "{:?}", rebuilt.read);
    assert_eq!(rebuilt.read[0].0, drive.label().serial);
    let objects = account.objects.lock().unwrap();
    for ((_, key), bytes) in objects.iter() {
        assert_eq!(*bytes, store.get(key, u64::MAX).unwrap());
    }
    let kinds = ObjectKind::ALL.into_iter().filter(|kind| *kind != ObjectKind::Lock);
    assert_eq!(kinds.flat_map(|kind| store.list(kind).unwrap()).count(), objects.len());
    drop(objects);
    // Nothing is left to do, and nothing is read for it.
    *account.asked.lock().unwrap() = (0, 0);
    let again = crate::rebuild(&[&drive], &[], &account, &spool, &mut ()).unwrap();
    assert_eq!((again, *account.asked.lock().unwrap()), (crate::Rebuilt::default(), (0, 0)));
}

#[test]
fn what_a_damaged_drive_still_has_is_used_and_what_nobody_has_is_named() {
    let (site, store) = (Site::new(), large(22));
    let (data, parity) = set(&site, &store, 4, 1);
    damage(&data[0].join("repositories"), 1_500_000);
    let (account, trust) = (Account::default(), site.trust());
    let problems: Vec<usize> = data
        .iter()
        .map(|folder| crate::unload(folder, &trust, &account, &mut ()).unwrap().problems.len())
        .collect();
    assert_eq!(problems, [1, 0]);
    let [hurt, drive] =
        [&data[0], &parity[0]].map(|folder| crate::SealedDrive::open(folder, &trust).unwrap());
    let spool = site.path("spool");
    // With parity damaged at the same place nothing can be done, and it is said of what.
    let stripe = parity[0].join("parity");
    let kept = tree(&stripe);
    for (path, bytes) in &kept {
        fs::write(stripe.join(path), vec![0x5a; bytes.len()]).unwrap();
    }
    let beyond = crate::rebuild(&[&drive], &[&hurt], &account, &spool, &mut ()).unwrap();
    assert_eq!(beyond.objects(), 0);
    let problems = &beyond.drives[0].problems;
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].0.reason, crate::Reason::NotRebuilt);
    for (path, bytes) in &kept {
        fs::write(stripe.join(path), bytes).unwrap();
    }
    let rebuilt = crate::rebuild(&[&drive], &[&hurt], &account, &spool, &mut ()).unwrap();
    assert_eq!(rebuilt.objects(), 1);
    assert_eq!(rebuilt.drives[0].problems.len(), 0);
    let serials: Vec<&str> = rebuilt.read.iter().map(|(serial, _)| serial.as_str()).collect();
    assert_eq!(serials, [hurt.label().serial.as_str(), drive.label().serial.as_str()]);
    let extent = crate::EXTENT;
    assert_eq!(rebuilt.read[1].1, extent, "one extent of parity was needed");
}

#[test]
fn a_set_may_be_of_fewer_drives_than_ten() {
    let (site, store) = (Site::new(), repository(24, &[1_000_000; 6]));
    let state = site.path("state");
    let drives = site.drives(5, 5_500_000);
    let write = |set, drives: &[DriveSpec]| {
        let options = Options { parity: 1, most: 2, set, ..site.options(&state) };
        crate::prepare::prepare_within(site.limits, &options, &[&store], drives, &mut ())
    };
    assert!(matches!(write(0, &drives[..3]), Err(Error::TooManyDrives { limit: 2 })));
    let options = Options { parity: 2, most: 2, ..site.options(&state) };
    let refused = crate::prepare(&options, &[&store], &drives[..2], &mut ());
    assert!(matches!(refused, Err(Error::TooMuchParity { limit: 2, .. })));
    // One for data and one for parity; the rest is for the next set.
    let first = write(0, &drives[..2]).unwrap();
    assert!(first.parity_missing == 0 && !first.remaining.is_empty(), "{:?}", first.drives);
    let second = write(1, &drives[2..4]).unwrap();
    assert!(second.is_complete(), "{:?}", second.drives);
    let roles = |prepared: &Prepared| prepared.drives.iter().filter(|it| it.role.is_data()).count();
    assert_eq!((roles(&first), roles(&second)), (1, 1));
}

#[test]
fn a_set_takes_no_more_data_drives_than_leave_room_for_its_parity() {
    let (site, store) = (Site::new(), repository(23, &[1_000_000; 30]));
    // Ten drives, of which the data alone would take more: eight take data, and the set has its parity.
    let drives = site.drives(10, 3_800_000);
    let first = prepare(&site, &store, &drives, 2).unwrap();
    let sealed = |prepared: &Prepared, is_data: bool| {
        let drives = prepared.drives.iter();
        let drives = drives.filter(|it| it.state == DriveState::Sealed);
        drives.filter(|drive| drive.role.is_data() == is_data).count()
    };
    assert_eq!((sealed(&first, true), sealed(&first, false)), (8, 2), "{:?}", first.drives);
    assert!(!first.remaining.is_empty() && !first.is_complete());
    assert_eq!(first.parity_missing, 0, "this set is as it should be; the rest is of the next one");
    // The same where bays come one by one: the last ones are not taken for data.
    let (site, store) = (Site::new(), repository(23, &[1_000_000; 30]));
    let drives = site.drives(10, 3_800_000);
    let mut last = None;
    for at in 0..10 {
        last = Some(prepare(&site, &store, &drives[at..=at], 2).unwrap());
    }
    let last = last.unwrap();
    assert_eq!((sealed(&last, true), sealed(&last, false)), (8, 2), "{:?}", last.drives);
}
