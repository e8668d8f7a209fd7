//! Rules of a single drive: progress, and what it refuses.

use super::{day, serial};
use crate::{Drive, DriveEvent, DriveState, Refused};
use jiff::Timestamp;
use proptest::prelude::*;

fn reading() -> Drive {
    let drive = Drive::new(serial("A"));
    let drive = drive.transition(&DriveEvent::Came, day(0)).unwrap().0;
    drive.transition(&DriveEvent::Started, day(0)).unwrap().0
}

fn report(drive: &Drive, bytes: u64, total: u64, now: Timestamp) -> Drive {
    drive.transition(&DriveEvent::Progressed { bytes, total }, now).unwrap().0
}

#[test]
fn the_end_is_expected_at_the_rate_so_far() {
    let drive = reading();
    assert_eq!((drive.percent_complete(), drive.expected_end()), (None, None));
    let drive = report(&drive, 0, 100, day(1));
    assert_eq!((drive.percent_complete(), drive.expected_end()), (Some(0), None));
    let drive = report(&drive, 25, 100, day(2));
    assert_eq!((drive.percent_complete(), drive.expected_end()), (Some(25), Some(day(8))));
}

#[test]
fn a_late_report_does_not_take_progress_back() {
    let drive = report(&reading(), 50, 100, day(1));
    assert_eq!(report(&drive, 40, 100, day(2)), drive);
    assert_eq!(report(&drive, 50, 100, day(2)), drive);
}

#[test]
fn going_on_after_an_interruption_keeps_what_was_reported() {
    let drive = report(&reading(), 50, 100, day(1));
    assert_eq!(drive.transition(&DriveEvent::Started, day(2)).unwrap().0, drive);
}

#[test]
fn another_outcome_of_a_finished_reading_is_refused() {
    let end = |bytes, problems| DriveEvent::Finished { bytes, problems };
    let drive = reading().transition(&end(9, 1), day(1)).unwrap().0;
    assert_eq!(drive.transition(&end(9, 1), day(2)).unwrap().0, drive);
    let refused = Err(Refused::DriveFinished { serial: serial("A") });
    assert_eq!(drive.transition(&end(9, 0), day(2)), refused);
    assert_eq!(drive.transition(&end(8, 1), day(2)), refused);
}

#[test]
fn a_drive_sent_back_keeps_its_outcome_and_takes_no_more_events() {
    let end = DriveEvent::Finished { bytes: 9, problems: 4 };
    let drive = reading().transition(&end, day(1)).unwrap().0;
    let drive = drive.transition(&DriveEvent::Returned, day(2)).unwrap().0;
    assert_eq!(drive.state, DriveState::ShippedBack { bytes: 9, problems: Some(4) });
    for event in [DriveEvent::Came, DriveEvent::NeverCame, DriveEvent::Started, end] {
        let refused = Err(Refused::DriveSentBack { serial: serial("A") });
        assert_eq!(drive.transition(&event, day(3)), refused);
    }
}

proptest! {
    #[test]
    fn no_number_of_bytes_is_a_surprise(
        reports in prop::collection::vec((any::<u64>(), any::<u64>(), 0i64..1 << 34), 1..8),
    ) {
        let mut drive = reading();
        for (bytes, total, second) in reports {
            let now = Timestamp::from_second(second).unwrap();
            match drive.transition(&DriveEvent::Progressed { bytes, total }, now) {
                Ok((next, _)) => drive = next,
                Err(refused) => {
                    let serial = serial("A");
                    prop_assert_eq!(refused, Refused::ImpossibleProgress { serial, bytes, total });
                }
            }
            prop_assert!(drive.percent_complete().is_none_or(|percent| percent <= 100));
            let DriveState::Transferring { reported, .. } = drive.state else { unreachable!() };
            prop_assert!(drive.expected_end().is_none_or(|end| end >= reported));
        }
    }
}
