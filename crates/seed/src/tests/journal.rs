//! Drives that are taken away before they are sealed, and what is remembered of them.

use super::*;
use crate::{DriveState, ReadBack};
use std::io;

/// Fails for every drive: they stay filled and unsealed.
struct NotNow;

impl ReadBack for NotNow {
    fn refresh(&self, _: &Path) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(19))
    }
}

/// Two drives, filled and not sealed.
fn two_filled(site: &Site, store: &Memory) -> Vec<DriveSpec> {
    let (drives, state) = (site.drives(2, 1_500_000), site.path("state"));
    let options = Options { read_back: &NotNow, ..site.options(&state) };
    let prepared = crate::prepare(&options, &[store], &drives, &mut ()).unwrap();
    assert!(prepared.drives.iter().all(|drive| drive.state == DriveState::Gone));
    assert_eq!(prepared.drives.iter().map(|drive| drive.objects).sum::<u64>(), 11);
    drives
}

fn store() -> Memory {
    repository(8, &[300_000, 300_000, 300_000, 300_000, 300_000])
}

#[test]
fn what_absent_drives_hold_is_known_and_their_numbers_are_kept() {
    let (site, store) = (Site::new(), store());
    let drives = two_filled(&site, &store);
    let third = site.drive("third", 1_500_000);
    let prepared = site.prepare(&store, std::slice::from_ref(&third)).unwrap();
    assert_eq!(prepared.drives[0].drive, Some(2), "0 and 1 are taken");
    let absent: u64 = prepared.absent.iter().map(|drive| drive.objects).sum();
    assert_eq!(absent, prepared.remaining.len() as u64);
    assert_eq!(prepared.absent.iter().map(|drive| drive.drive).max(), Some(1));
    let prepared = site.prepare(&store, &drives).unwrap();
    assert!(prepared.is_complete());
    assert_eq!(prepared.absent, vec![]);
    let numbers: Vec<_> = prepared.drives.iter().map(|drive| drive.drive).collect();
    assert_eq!(numbers, [Some(0), Some(1), Some(2)]);
}

#[test]
fn a_drive_that_was_erased_and_given_again_is_not_absent() {
    let (site, store) = (Site::new(), store());
    let drives = two_filled(&site, &store);
    for drive in &drives {
        fs::remove_dir_all(&drive.folder).unwrap();
        fs::create_dir(&drive.folder).unwrap();
    }
    let prepared = site.prepare(&store, &drives).unwrap();
    assert!(prepared.is_complete());
    let numbers: Vec<_> = prepared.drives.iter().map(|drive| drive.drive).collect();
    assert_eq!(numbers, [Some(0), Some(1)]);
}

#[test]
fn what_no_drive_holds_is_written_before_what_an_absent_one_holds() {
    let (site, store) = (Site::new(), store());
    let first = site.drive("first", 900_000);
    let state = site.path("state");
    let options = Options { read_back: &NotNow, ..site.options(&state) };
    crate::prepare(&options, &[&store], std::slice::from_ref(&first), &mut ()).unwrap();
    let second = site.drive("second", 1_300_000);
    let prepared = site.prepare(&store, std::slice::from_ref(&second)).unwrap();
    // Neither drive holds everything, and together they do.
    assert!(!prepared.is_complete());
    let held = prepared.absent[0].objects;
    assert_eq!(held, prepared.remaining.len() as u64);
    assert!(site.prepare(&store, &[first]).unwrap().is_complete());
}

#[test]
fn a_lost_journal_costs_nothing_but_the_knowledge_of_absent_drives() {
    for damage in 0..3 {
        let (site, store) = (Site::new(), store());
        let drives = two_filled(&site, &store);
        let journal = site.path("state/journal");
        let damaged = match damage {
            0 => fs::remove_file(&journal),
            1 => fs::write(&journal, "something else altogether, that is no journal at all"),
            _ => fs::write(&journal, ""),
        };
        damaged.unwrap();
        let before: Vec<_> = drives.iter().map(|drive| tree(&drive.folder)).collect();
        let prepared = site.prepare(&store, &drives).unwrap();
        assert!(prepared.is_complete());
        for (drive, before) in drives.iter().zip(before) {
            let after = tree(&drive.folder);
            let kept = before.iter().filter(|(name, _)| name.starts_with("repositories/"));
            assert!(kept.into_iter().all(|(name, bytes)| after.get(name) == Some(bytes)));
        }
    }
}

#[test]
fn a_journal_cut_at_any_byte_resumes_right() {
    let (site, store) = (Site::new(), store());
    two_filled(&site, &store);
    let whole = fs::read(site.path("state/journal")).unwrap();
    // The state folder and the drives as they were, for each cut anew.
    for cut in (0..=whole.len()).step_by(7) {
        let copy = Site::new();
        let output = Command::new("cp").arg("-a").arg(site.dir.path()).arg(copy.path("x")).output();
        assert!(output.unwrap().status.success());
        fs::write(copy.path("x/state/journal"), &whole[..cut]).unwrap();
        let state = copy.path("x/state");
        let spec = |name: &str| DriveSpec {
            folder: copy.path(&format!("x/{name}")),
            serial: name.parse().unwrap(),
            capacity: Some(1_500_000),
        };
        // First with one drive and a new one, then with the one that was absent.
        let fresh = copy.drive("fresh", 1_500_000);
        let options = copy.options(&state);
        let some = [spec("D0"), fresh];
        let prepared = crate::prepare(&options, &[&store], &some, &mut ()).unwrap();
        let absent = prepared.absent.iter().all(|drive| drive.serial.as_str() == "D1");
        assert!(absent, "cut at {cut}: {:?}", prepared.absent);
        let prepared = crate::prepare(&options, &[&store], &[spec("D1")], &mut ()).unwrap();
        assert!(prepared.is_complete(), "cut at {cut}");
        let report = crate::verify(&copy.path("x/D1"), &copy.trust(), &mut ()).unwrap();
        assert!(report.is_intact() && report.extra.is_empty(), "cut at {cut}: {report:?}");
    }
}
