//! Parity that is written with the data: what it is of, what happens when something comes otherwise than planned, and
//! how it goes on.

use super::parity::{damage, prepare};
use super::*;
use crate::beneath::faults;
use crate::{DriveRole, DriveState, ReadBack, import, verify};
use model::ErrorKind;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Two data drives and as many for parity, for these.
fn drives(site: &Site, parity: usize) -> Vec<DriveSpec> {
    site.drives(2 + parity, 8_000_000)
}

fn packs(seed: u64) -> Memory {
    repository(seed, &[2_500_000, 1 << 20, 700_000, 1_300_000, 3_100_000, 900_000, 1_700_000])
}

fn sealed(prepared: &Prepared, role: DriveRole, site: &Site) -> Vec<PathBuf> {
    let drives = prepared.drives.iter();
    let drives = drives.filter(|drive| (drive.role, drive.state) == (role, DriveState::Sealed));
    drives.map(|drive| site.path(drive.serial.as_str())).collect()
}

/// Every drive is as it should be, and whichever data drive is lost comes back.
fn is_right(site: &Site, store: &Memory, prepared: &Prepared) {
    assert!(prepared.is_complete(), "{prepared:?}");
    let (data, mut parity) =
        (sealed(prepared, DriveRole::Data, site), sealed(prepared, DriveRole::Parity, site));
    // Parity of a set that has got another drive since is of no use.
    parity.retain(|drive| {
        let drive = crate::SealedDrive::open(drive, &site.trust()).unwrap();
        drive.parity().unwrap().drives.len() == data.len()
    });
    assert!(!parity.is_empty());
    for drive in data.iter().chain(&parity) {
        let report = verify(drive, &site.trust(), &mut ()).unwrap();
        assert!(report.is_intact() && report.extra.is_empty(), "{report:?}");
    }
    for lost in 0..data.len() {
        let left = data.iter().enumerate().filter(|(at, _)| *at != lost).map(|(_, drive)| drive);
        // Each parity drive alone has to do.
        for drive in &parity {
            let given: Vec<PathBuf> = left.clone().chain([drive]).cloned().collect();
            let into = tempfile::tempdir_in(site.dir.path()).unwrap();
            let imported = import(into.path(), &given, &site.trust(), &mut ()).unwrap();
            assert!(imported.seeds[0].published, "without {lost}: {imported:?}");
            assert!(tree(into.path()) == expected_tree(store), "without {lost}");
        }
    }
}

/// Counts, and does something at an event.
struct At<F> {
    when: F,
    /// Bytes written to each drive.
    written: BTreeMap<String, u64>,
    stop: bool,
}

impl<F: FnMut(&Event<'_>) -> bool> At<F> {
    fn new(when: F) -> Self {
        Self { when, written: BTreeMap::new(), stop: false }
    }
}

impl<F: FnMut(&Event<'_>) -> bool> Events for At<F> {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Writing { serial, bytes } = event {
            *self.written.entry(serial.to_string()).or_default() += bytes;
        }
        self.stop |= (self.when)(&event);
    }

    fn stop(&self) -> bool {
        self.stop
    }
}

fn prepare_with(
    site: &Site,
    store: &Memory,
    drives: &[DriveSpec],
    parity: u32,
    events: &mut dyn Events,
) -> Result<Prepared, Error> {
    let state = site.path("state");
    let options = Options { parity, ..site.options(&state) };
    crate::prepare::prepare_within(site.limits, &options, &[store], drives, events)
}

/// The files of parity on a drive, and the hashes of its extents.
fn of_parity(drive: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = tree(drive);
    files.retain(|path, _| path.starts_with("parity/") || path == "packmule/extents");
    files
}

#[test]
fn staging_is_read_once_where_all_drives_are_attached() {
    let (site, store) = (Site::new(), packs(31));
    let kept: Vec<_> = store.list(ObjectKind::Pack).unwrap();
    let bytes: Vec<_> = kept.iter().map(|it| store.get(&it.key, u64::MAX).unwrap()).collect();
    let mut sealed_data = false;
    let mut at = At::new(|event| {
        // From the first drive that is read back to the end there is nothing to be read.
        if matches!(event, Event::Reading { .. }) && !std::mem::replace(&mut sealed_data, true) {
            kept.iter().for_each(|listed| drop(store.remove(&listed.key)));
        }
        false
    });
    // One data drive: when it is read back, all was written.
    let both = site.drives(2, 16_000_000);
    let prepared = prepare_with(&site, &store, &both, 1, &mut at).unwrap();
    let written: Vec<u64> = at.written.into_values().collect();
    assert!(sealed_data);
    kept.iter().zip(&bytes).for_each(|(listed, bytes)| store.put(&listed.key, bytes).unwrap());
    is_right(&site, &store, &prepared);
    let whole = prepared.drives[0].bytes;
    assert_eq!(written, [whole, whole.next_multiple_of(1 << 20)], "nothing was written twice");
}

#[test]
fn it_is_the_same_parity_as_that_of_a_pass_of_its_own() {
    let store = packs(32);
    let (at_once, later) = (Site::new(), Site::new());
    let one = prepare(&at_once, &store, &drives(&at_once, 2), 2).unwrap();
    let all = drives(&later, 2);
    prepare(&later, &store, &all[..2], 2).unwrap();
    let two = prepare(&later, &store, &all[2..], 2).unwrap();
    is_right(&at_once, &store, &one);
    is_right(&later, &store, &two);
    for number in ["D0", "D1"] {
        let objects = |site: &Site| {
            tree(&site.path(number).join("repositories")).into_keys().collect::<Vec<_>>()
        };
        assert_eq!(objects(&at_once), objects(&later));
    }
    for number in ["D2", "D3"] {
        assert!(of_parity(&at_once.path(number)) == of_parity(&later.path(number)), "{number}");
    }
}

/// Flips a byte of the largest object on a drive, that many times.
struct Lies {
    drive: PathBuf,
    times: AtomicU32,
}

impl ReadBack for Lies {
    fn refresh(&self, drive: &Path) -> std::io::Result<()> {
        let less = |times: u32| times.checked_sub(1);
        if drive == self.drive
            && self.times.try_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
        {
            damage(&drive.join("repositories"), 70_000);
        }
        Ok(())
    }
}

#[test]
fn a_data_drive_that_does_not_give_back_what_was_written_does_not_spoil_parity() {
    // Once, and it is written again; always, and it goes elsewhere.
    for times in [1, 2, u32::MAX] {
        let (site, store) = (Site::new(), packs(33));
        let all = site.drives(4, 8_000_000);
        let state = site.path("state");
        let lies = Lies { drive: all[1].folder.clone(), times: AtomicU32::new(times) };
        let options = Options { parity: 1, read_back: &lies, ..site.options(&state) };
        let mut words = Words::default();
        let prepared =
            crate::prepare::prepare_within(site.limits, &options, &[&store], &all, &mut words)
                .unwrap();
        assert_eq!(words.count("Problem"), usize::try_from(times.min(3)).unwrap());
        let given_up = prepared.drives.iter().filter(|it| it.state == DriveState::Unreliable);
        assert_eq!(given_up.count(), usize::from(times == u32::MAX));
        is_right(&site, &store, &prepared);
    }
}

#[test]
fn a_parity_drive_that_does_not_give_back_what_was_written_is_not_used() {
    struct LiesOfParity(AtomicU32);
    impl ReadBack for LiesOfParity {
        fn refresh(&self, drive: &Path) -> std::io::Result<()> {
            if drive.join("parity").exists() && self.0.fetch_add(1, Ordering::Relaxed) == 0 {
                damage(&drive.join("parity"), 70_000);
            }
            Ok(())
        }
    }
    let (site, store) = (Site::new(), packs(34));
    let state = site.path("state");
    let lies = LiesOfParity(AtomicU32::new(0));
    let options = Options { parity: 1, read_back: &lies, ..site.options(&state) };
    let first = crate::prepare::prepare_within(
        site.limits,
        &options,
        &[&store],
        &drives(&site, 1),
        &mut (),
    );
    let first = first.unwrap();
    assert_eq!((first.remaining.len(), first.parity_missing), (0, 1));
    assert!(first.drives.iter().any(|drive| drive.state == DriveState::Unreliable));
    let other = [site.drive("P", 8_000_000)];
    is_right(&site, &store, &prepare(&site, &store, &other, 1).unwrap());
}

#[test]
fn what_staging_gives_wrongly_is_in_no_parity() {
    let (site, store) = (Site::new(), packs(35));
    let mut listed = store.list(ObjectKind::Pack).unwrap();
    listed.sort_unstable_by_key(|listed| listed.key);
    for (at, bad) in listed.iter().enumerate() {
        // Wrong in its last byte: all of it is on its way before anybody knows.
        let right = store.get(&bad.key, u64::MAX).unwrap();
        let mut wrong = right.clone();
        *wrong.last_mut().unwrap() ^= 1;
        store.overwrite(&bad.key, &wrong);
        let name = |number: usize| format!("{at}-{number}");
        let all: Vec<DriveSpec> =
            (0..3).map(|number| site.drive(&name(number), 8_000_000)).collect();
        let state = site.path(&format!("state{at}"));
        let options = Options { parity: 1, ..site.options(&state) };
        let go = || {
            crate::prepare::prepare_within(site.limits, &options, &[&store], &all, &mut ()).unwrap()
        };
        let first = go();
        assert_eq!(first.problems.len(), 1);
        assert!(!first.is_complete());
        store.overwrite(&bad.key, &right);
        let more = [site.drive(&name(3), 8_000_000)];
        let last = crate::prepare::prepare_within(site.limits, &options, &[&store], &more, &mut ());
        let last = match last.unwrap() {
            last if last.is_complete() => last,
            // The drive of before is still there for parity.
            _ => go(),
        };
        is_right(&site, &store, &last);
    }
}

#[test]
fn parity_of_bytes_that_were_wrong_is_not_gone_on_with() {
    let (site, store) = (Site::new(), repository(36, &[3_500_000; 4]));
    let mut listed = store.list(ObjectKind::Pack).unwrap();
    listed.sort_unstable_by_key(|listed| listed.key);
    let all = site.drives(3, 9_000_000);
    let bad = listed[0].key;
    let right = store.get(&bad, u64::MAX).unwrap();
    let mut wrong = right.clone();
    wrong[5] ^= 1;
    store.overwrite(&bad, &wrong);
    // Once it is known to be wrong a file of parity is made of it.
    let (mut known, mut other) = (false, 0);
    let mut at = At::new(|event| {
        known |= matches!(event, Event::Problem { .. });
        if let Event::Writing { serial, bytes } = event {
            other += if serial.as_str() == "D1" { *bytes } else { 0 };
        }
        known && other > 2_500_000
    });
    assert!(matches!(prepare_with(&site, &store, &all, 1, &mut at), Err(Error::Interrupted)));
    let of_wrong = fs::read(site.path("D2/parity/00000000")).unwrap();
    store.overwrite(&bad, &right);
    let prepared = prepare(&site, &store, &all, 1).unwrap();
    assert!(fs::read(site.path("D2/parity/00000000")).unwrap() != of_wrong);
    is_right(&site, &store, &prepared);
}

#[test]
fn a_drive_that_is_full_or_gone_in_the_middle_costs_a_pass_and_nothing_else() {
    for code in [28, 19] {
        for after in [1, 4, 9, 14, 25] {
            let (site, store) = (Site::new(), packs(37));
            let all = site.drives(5, 8_000_000);
            let written = Arc::new(AtomicU64::new(0));
            let once = Mutex::new(true);
            let hook = move |action: &'static str, path: &str| {
                let is_data = action == "write" && path.starts_with("packmule/partials/");
                let now = is_data && !path.contains("0000000");
                let count = written.fetch_add(u64::from(now), Ordering::Relaxed) + u64::from(now);
                if now && count >= after && std::mem::take(&mut *once.lock().unwrap()) {
                    return Err(std::io::Error::from_raw_os_error(code));
                }
                Ok(())
            };
            let prepared = faults::with(hook, || prepare(&site, &store, &all, 1)).unwrap();
            let prepared = match prepared.is_complete() {
                true => prepared,
                false => prepare(&site, &store, &all, 1).unwrap(),
            };
            is_right(&site, &store, &prepared);
        }
    }
}

#[test]
fn a_parity_drive_that_is_full_or_gone_in_the_middle_stops_no_data_drive() {
    for code in [28, 19] {
        for file in 0..4 {
            let (site, store) = (Site::new(), packs(38));
            let all = drives(&site, 2);
            let once = Mutex::new(true);
            let hook = move |action: &'static str, path: &str| {
                let is_its = action == "rename" && path == format!("parity/{file:08}");
                if is_its && std::mem::take(&mut *once.lock().unwrap()) {
                    return Err(std::io::Error::from_raw_os_error(code));
                }
                Ok(())
            };
            let first = faults::with(hook, || prepare(&site, &store, &all, 2));
            match first {
                Ok(first) => {
                    assert_eq!((first.remaining.len(), first.parity_missing), (0, 1));
                    let gone = first.drives.iter().filter(|it| it.state == DriveState::Gone);
                    assert_eq!(gone.count(), 1);
                }
                Err(error) => assert_eq!((error.kind(), code), (ErrorKind::Full, 28), "{error}"),
            }
            let data = all.iter().filter(|it| it.folder.join("repositories").exists());
            let sealed = data.filter(|it| it.folder.join("packmule/manifest").exists());
            assert_eq!(sealed.count(), 2);
            is_right(&site, &store, &prepare(&site, &store, &all, 2).unwrap());
        }
    }
}

#[test]
fn who_is_interrupted_goes_on_with_the_same_parity() {
    let (site, store) = (Site::new(), repository(39, &[900_000; 24]));
    let all = site.drives(3, 14_000_000);
    let mut kept: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let (mut calls, mut parity, mut data) = (0, 0, 0);
    let prepared = loop {
        let mut left = 9_u64 << 20;
        let mut at = At::new(|event| {
            if let Event::Writing { bytes, .. } = event {
                left = left.saturating_sub(*bytes);
            }
            left == 0
        });
        let result = prepare_with(&site, &store, &all, 1, &mut at);
        let now = tree(&site.path("D2").join("parity"));
        for (path, bytes) in &kept {
            assert!(now.get(path) == Some(bytes), "{path} was there");
        }
        kept = now.into_iter().filter(|(_, bytes)| bytes.len() == 2 << 20).collect();
        for (drive, bytes) in &at.written {
            *(if drive == "D2" { &mut parity } else { &mut data }) += bytes;
        }
        calls += 1;
        match result {
            Ok(prepared) => break prepared,
            Err(error) => assert!(matches!(error, Error::Interrupted), "{error}"),
        }
        assert!(calls < 20);
    };
    assert!(calls > 2, "{calls}");
    is_right(&site, &store, &prepared);
    // A call costs what was under way: a file of parity, and of each data drive its batch and what is open.
    let stripes = prepared.drives[0].bytes.div_ceil(1 << 20) << 20;
    assert!(parity <= stripes + (calls - 1) * (4 << 20), "{parity} of {stripes} in {calls} calls");
    assert!(data > 0);
}

#[test]
fn a_lost_state_folder_costs_parity_that_was_begun_and_makes_none_wrong() {
    let (site, store) = (Site::new(), repository(40, &[900_000; 16]));
    let all = site.drives(3, 10_000_000);
    let mut left = 16_u64 << 20;
    let mut at = At::new(|event| {
        if let Event::Writing { bytes, .. } = event {
            left = left.saturating_sub(*bytes);
        }
        left == 0
    });
    assert!(prepare_with(&site, &store, &all, 1, &mut at).is_err());
    assert!(tree(&site.path("D2")).contains_key("parity/00000000"));
    fs::remove_dir_all(site.path("state")).unwrap();
    is_right(&site, &store, &prepare(&site, &store, &all, 1).unwrap());
}

#[test]
fn a_set_with_a_sealed_drive_gets_its_parity_with_the_rest() {
    let (site, store) = (Site::new(), packs(41));
    let all = drives(&site, 1);
    let first = prepare(&site, &store, &all[..1], 1).unwrap();
    assert!(!first.remaining.is_empty());
    let mut at = At::new(|_| false);
    let prepared = prepare_with(&site, &store, &all[1..], 1, &mut at).unwrap();
    is_right(&site, &store, &prepared);
}

#[test]
fn drives_filled_one_after_the_other_get_their_parity_afterwards() {
    let (site, store) = (Site::new(), packs(42));
    let state = site.path("state");
    let options =
        Options { parity: 1, filling: crate::Filling::Sequential, ..site.options(&state) };
    let all = drives(&site, 1);
    let prepared =
        crate::prepare::prepare_within(site.limits, &options, &[&store], &all, &mut ()).unwrap();
    assert!(!site.path("state/planned").exists());
    is_right(&site, &store, &prepared);
}

#[test]
fn whoever_is_told_may_die_at_any_event_with_parity_and_nobody_waits_for_ever() {
    struct Dies(usize);
    impl Events for Dies {
        fn event(&mut self, event: Event<'_>) {
            assert!(self.0 > 0, "dies at {event:?}");
            self.0 -= 1;
        }
    }
    let (site, store) = (Site::new(), repository(43, &[1_200_000, 900_000]));
    let drives = site.drives(2, 4_500_000);
    let mut deaths = 0;
    let prepared = loop {
        let call = || prepare_with(&site, &store, &drives, 1, &mut Dies(deaths));
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)) {
            Ok(prepared) => break prepared.unwrap(),
            Err(_) => deaths += 1,
        }
    };
    assert!(deaths > 4);
    is_right(&site, &store, &prepared);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 30, ..ProptestConfig::default() })]

    #[test]
    fn however_often_it_is_interrupted_and_whatever_is_at_hand_parity_is_right(
        packs in prop::collection::vec(1_usize..2_600_000, 2..8),
        capacity in 4_300_000_u64..9_000_000,
        parity in 1_u32..3,
        calls in prop::collection::vec((1_u64..12, any::<[bool; 9]>()), 0..4),
        seed in 1_u64..1000,
    ) {
        let (site, store) = (Site::new(), repository(seed, &packs));
        let all = site.drives(9, capacity);
        for (much, hand) in calls {
            let mut left = much << 20;
            let mut at = At::new(|event| {
                if let Event::Writing { bytes, .. } = event {
                    left = left.saturating_sub(*bytes);
                }
                left == 0
            });
            let given: Vec<DriveSpec> =
                all.iter().zip(hand).filter(|(_, is)| *is).map(|(drive, _)| drive.clone()).collect();
            match prepare_with(&site, &store, &given, parity, &mut at) {
                Ok(_) | Err(Error::Interrupted | Error::ParityTooSmall { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let mut prepared = prepare(&site, &store, &all, parity).unwrap();
        // A drive that came back may have become one of the set, and its parity another one.
        for _ in 0..2 {
            if !prepared.is_complete() {
                prepared = prepare(&site, &store, &all, parity).unwrap();
            }
        }
        is_right(&site, &store, &prepared);
    }
}
