//! Rules of the import job beyond what the import service documents.

use super::*;
use crate::{CancelReason, CloseReason, Deadline, JobState, ShipmentState};

fn warnings(story: &Story) -> Vec<(Deadline, u32)> {
    story
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::WarnExpiry { deadline, days, .. } => Some((*deadline, *days)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_parity_drive_without_problems_makes_up_for_data_drives_that_had_some_or_never_came() {
    let set = || {
        let mut story = Story::of(JobType::Import, &["A", "B", "P"]);
        story.job = story.job.with_parity(&serials(&["P"]));
        story.then(details("TRACK1")).then(JobEvent::ShippingRequested)
    };
    let lost = set().then(arrived(&["A", "P"])).then(started("A")).then(finished("A", 0));
    assert_eq!(lost.state(), "Transferring", "parity is still to be read");
    assert!(!lost.job.has_landed());
    let rebuilt = lost.clone().then(started("P")).then(finished("P", 0));
    assert_eq!(rebuilt.state(), "Packaging");
    assert!(rebuilt.job.has_landed());
    let late = rebuilt.clone().then(came("B"));
    assert!(late.job.has_landed(), "what turns up afterwards changes nothing");
    assert_eq!(rebuilt.then(returned()).state(), "Completed");
    let beyond = lost.then(started("P")).then(finished("P", 2));
    assert!(!beyond.job.has_landed());
    assert_eq!(beyond.then(returned()).state(), "Closed");

    let all = set().then(arrived(&["A", "B", "P"]));
    let read = ["A", "B"].into_iter().fold(all, |story, name| story.then(started(name)));
    let whole = read.clone().then(finished("A", 0)).then(finished("B", 0));
    assert!(whole.job.has_landed(), "nobody needs parity");
    let damaged = read.then(finished("A", 3)).then(finished("B", 0)).then(started("P"));
    assert_eq!(damaged.clone().then(finished("P", 0)).then(returned()).state(), "Completed");
    assert_eq!(damaged.then(finished("P", 3)).then(returned()).state(), "Closed");
}

#[test]
fn a_parity_drive_that_nobody_needed_goes_back_unread() {
    let mut story = Story::of(JobType::Import, &["A", "P"]);
    story.job = story.job.with_parity(&serials(&["P"]));
    let story = story.then(details("TRACK1")).then(JobEvent::ShippingRequested);
    let read = story.then(arrived(&["A"])).then(started("A")).then(finished("A", 0));
    assert_eq!(read.then(returned()).state(), "Completed", "and one that never came is no loss");
}

#[test]
fn customers_are_warned_seven_three_and_one_day_before_expiry() {
    let mut story = Story::new();
    for day in 0..=14 {
        story = story.tick(day);
    }
    let expected = [7, 3, 1].map(|days| (Deadline::Shipping, days));
    assert_eq!(warnings(&story), expected);
    assert!(story.customer_was_told(&Notice::JobExpired));
    assert!(matches!(story.job.state, JobState::Canceled { reason: CancelReason::Expired, .. }));
}

#[test]
fn an_update_restarts_the_warnings() {
    let story = Story::new().tick(8).at(9).then(JobEvent::Updated).tick(16);
    assert_eq!(warnings(&story), [7, 7].map(|days| (Deadline::Shipping, days)));
}

#[test]
fn customers_are_warned_before_a_package_is_overdue_and_before_the_job_closes() {
    let mut story = Story::shipped();
    for day in 0..=44 {
        story = story.tick(day);
    }
    let before = |deadline| [7, 3, 1].map(|days| (deadline, days));
    let expected = [before(Deadline::Arrival), before(Deadline::Closing)].concat();
    assert_eq!(warnings(&story), expected);
    assert!(matches!(story.job.state, JobState::Closed { reason: CloseReason::NeverArrived, .. }));
}

#[test]
fn a_server_that_was_down_for_months_still_gives_the_thirty_days() {
    let story = Story::shipped().tick(200);
    assert_eq!(story.state(), "Shipping");
    assert_eq!(story.job.deadline(), Some((Deadline::Closing, day(230))));
    assert_eq!(story.tick(229).state(), "Shipping");
}

#[test]
fn a_corrected_tracking_number_starts_the_two_weeks_anew() {
    let story = Story::shipped().at(10).then(details("TRACK2"));
    assert_eq!(story.job.deadline(), Some((Deadline::Arrival, day(24))));
    let same = story.at(20).then(details("TRACK2"));
    assert_eq!(same.job.deadline(), Some((Deadline::Arrival, day(24))));
}

#[test]
fn a_cancelled_package_that_never_arrives_ends_canceled() {
    let story = Story::shipped().then(JobEvent::CancelRequested).tick(14).tick(44);
    assert!(matches!(story.job.state, JobState::Canceled { reason: CancelReason::Requested, .. }));
}

#[test]
fn drives_of_a_cancelled_job_are_never_read() {
    let story = Story::shipped().then(JobEvent::CancelRequested).then(arrived(&["A"]));
    assert_eq!(story.refuses(&started("A")), Refused::CanceledUnread);
    let later = story.then(came("B"));
    assert_eq!(later.state(), "Packaging");
    assert_eq!(later.refuses(&started("B")), Refused::CanceledUnread);
}

#[test]
fn an_empty_parcel_leaves_the_job_in_shipping_and_overdue() {
    let story = Story::shipped().at(2).then(arrived(&["X"]));
    assert_eq!((story.state(), story.drives()), ("Shipping", vec!["NeverReceived"; 2]));
    assert!(story.customer_was_told(&Notice::PackageEmpty));
    assert!(story.operator_was_told(&Notice::ExtraDrive { serial: serial("X") }));
    assert_eq!(story.job.deadline(), Some((Deadline::Closing, day(32))));
    assert_eq!(story.at(5).then(came("A")).state(), "Received");
}

#[test]
fn an_overdue_parcel_that_is_opened_empty_is_told_once_and_gets_its_own_thirty_days() {
    let story = Story::shipped().tick(14).at(20).then(arrived(&["X"]));
    assert_eq!(story.job.deadline(), Some((Deadline::Closing, day(50))));
    let again = story.clone().at(30).then(arrived(&["X"]));
    assert_eq!((again.job, again.effects), (story.job, story.effects));
}

#[test]
fn a_miscounted_drive_is_taken_back() {
    let story = Story::shipped().then(arrived(&["A", "B"])).then(never_came("B"));
    assert_eq!((story.state(), story.drives()), ("Received", vec!["Received", "NeverReceived"]));
    assert!(story.operator_was_told(&Notice::DriveMissing { serial: serial("B") }));
    let none = story.at(4).then(never_came("A"));
    assert_eq!(none.state(), "Shipping");
    assert_eq!(none.job.deadline(), Some((Deadline::Closing, day(34))));
}

#[test]
fn the_last_drive_that_is_not_there_after_all_ends_the_reading() {
    let story = Story::shipped().then(arrived(&["A", "B"])).then(started("A"));
    let story = story.then(finished("A", 0)).then(never_came("B"));
    assert_eq!(story.state(), "Packaging");
    assert_eq!(story.then(returned()).state(), "Closed");
}

fn packed_with_problems() -> Story {
    let story = Story::shipped().then(arrived(&["A"])).then(started("A"));
    story.then(finished("A", 2))
}

#[test]
fn a_drive_with_problems_can_be_read_again_until_it_is_sent_back() {
    let story = packed_with_problems();
    assert_eq!(story.state(), "Packaging");
    assert!(story.operator_was_told(&Notice::DriveProblems { serial: serial("A"), problems: 2 }));
    let again = story.then(started("A"));
    assert_eq!((again.state(), again.drives()[0]), ("Transferring", "Transferring"));
    let clean = again.then(finished("A", 0)).then(came("B")).then(started("B"));
    let clean = clean.then(finished("B", 0));
    assert_eq!(clean.refuses(&started("A")), Refused::DriveFinished { serial: serial("A") });
    assert_eq!(clean.then(returned()).state(), "Completed");
}

#[test]
fn a_drive_may_be_read_from_its_arrival_until_everything_on_it_is_taken_over() {
    let may = |story: &Story, name: &str| story.job.may_be_read(&serial(name));
    let before = |name: &str| Err(Refused::DriveBeforeArrival { serial: serial(name) });
    assert!(matches!(may(&Story::new(), "A"), Err(Refused::DriveBeforeShipping { .. })));
    assert_eq!(may(&Story::shipped(), "A"), before("A"));
    let story = Story::shipped().then(arrived(&["A"]));
    assert_eq!(may(&story, "A"), Ok(()));
    assert!(matches!(may(&story, "B"), Err(Refused::DriveNotReceived { .. })));
    assert!(matches!(may(&story, "X"), Err(Refused::UnknownDrive { .. })));
    let story = story.then(came("B"));
    assert_eq!(may(&story, "B"), Ok(()), "its arrival was recorded");
    let story = story.then(started("A")).then(started("B"));
    assert_eq!(may(&story, "A"), Ok(()));
    let story = story.then(finished("A", 0)).then(finished("B", 3));
    assert_eq!(story.job.state.name(), "Packaging");
    assert!(matches!(may(&story, "A"), Err(Refused::DriveFinished { .. })));
    assert_eq!(may(&story, "B"), Ok(()), "it can be read again");
    let faulted = story.clone().then(JobEvent::Faulted { reason: "look".into() });
    assert!(matches!(may(&faulted, "B"), Err(Refused::JobFaulted { .. })));
    let story = story.then(returned());
    assert!(matches!(may(&story, "B"), Err(Refused::DriveAfterEnd { .. })));
    let canceled = Story::shipped().then(JobEvent::CancelRequested).then(arrived(&["A", "B"]));
    assert_eq!(may(&canceled, "A"), Err(Refused::CanceledUnread));
}

#[test]
fn a_drive_that_turns_up_during_packing_is_read() {
    let story = packed_with_problems().then(came("B"));
    assert_eq!(story.state(), "Transferring");
    assert!(story.customer_was_told(&Notice::DriveTurnedUp { serial: serial("B") }));
}

#[test]
fn a_second_opening_never_makes_a_drive_missing() {
    let story = Story::shipped().then(arrived(&["A", "B"])).then(arrived(&["A"]));
    assert_eq!(story.drives(), ["Received", "Received"]);
    let half = Story::shipped().then(arrived(&["A"]));
    assert_eq!(half.refuses(&arrived(&["B"])), Refused::AlreadyArrived { state: "Received" });
}

#[test]
fn drives_go_back_only_when_all_are_read() {
    let story = Story::shipped().then(arrived(&["A", "B"])).then(started("A"));
    let story = story.then(finished("A", 0));
    let early = Refused::NotPackaging { state: "Transferring" };
    assert_eq!(story.refuses(&drive_returned("A")), early);
    assert_eq!(story.refuses(&returned()), early);
}

#[test]
fn an_ended_job_refuses_its_drives_by_name() {
    let story = Story::shipped().tick(14).tick(44);
    let refused = Refused::DriveAfterEnd { serial: serial("A"), state: "Closed" };
    assert_eq!(story.refuses(&came("A")), refused);
    assert_eq!(story.refuses(&came("X")), Refused::UnknownDrive { serial: serial("X") });
    assert_eq!(story.refuses(&arrived(&["A"])), Refused::JobEnded { state: "Closed" });
}

#[test]
fn a_faulted_job_waits_and_then_has_its_whole_time() {
    let fault = JobEvent::Faulted { reason: "customs".into() };
    let story = Story::new().at(10).then(fault.clone()).tick(100);
    assert_eq!((story.state(), story.job.deadline()), ("Creating", None));
    let refused = Refused::JobFaulted { reason: "customs".into() };
    assert_eq!(story.refuses(&details("TRACK1")), refused);
    assert_eq!(story.refuses(&JobEvent::CancelRequested), refused);
    let story = story.then(JobEvent::FaultResolved);
    assert_eq!(story.job.deadline(), Some((Deadline::Shipping, day(114))));
}

#[test]
fn an_abandoned_job_reminds_operators_of_the_drives_they_hold() {
    let abandon = JobEvent::OperatorAbandoned { reason: "water".into() };
    let here = Story::shipped().then(arrived(&["A"])).then(abandon.clone());
    assert!(here.operator_was_told(&Notice::ReadyToReturn));
    let away = Story::shipped().then(abandon);
    assert!(!away.operator_was_told(&Notice::ReadyToReturn));
    let shipment = away.job.shipment.unwrap();
    assert!(matches!(shipment.state, ShipmentState::Lost { .. }));
}

#[test]
fn a_package_of_another_number_of_drives_does_not_leave() {
    let counted = |count| JobEvent::ShippingGiven {
        return_address: Some(Box::new(address())),
        package: Some(Package { drive_count: Some(count), ..package("TRACK1") }),
        number_taken: false,
    };
    let wrong = Story::new().then(counted(3));
    let refused = Refused::DriveCount { given: 3, listed: 2 };
    assert_eq!(wrong.refuses(&JobEvent::ShippingRequested), refused);
    assert_eq!(Story::shipped().refuses(&counted(1)), Refused::DriveCount { given: 1, listed: 2 });
    assert_eq!(wrong.then(counted(2)).then(JobEvent::ShippingRequested).state(), "Shipping");
}

#[test]
fn two_jobs_never_share_a_tracking_number() {
    let taken = JobEvent::ShippingGiven {
        return_address: None,
        package: Some(package("TRACK1")),
        number_taken: true,
    };
    let refused = Story::new().refuses(&taken);
    assert_eq!(refused, Refused::TrackingNumberTaken { number: "TRACK1".parse().unwrap() });
}

#[test]
fn a_return_address_is_checked_when_it_is_given_and_can_be_corrected_until_the_end() {
    let given = |address: Address| JobEvent::ShippingGiven {
        return_address: Some(Box::new(address)),
        package: None,
        number_taken: false,
    };
    let bad = given(Address { email: String::new(), ..address() });
    assert!(matches!(Story::new().refuses(&bad), Refused::Address { .. }));
    let moved = Address { city: "Bergen".into(), ..address() };
    let story = packed_with_problems().then(given(moved.clone()));
    assert_eq!(story.job.return_address, Some(moved));
}

#[test]
fn the_package_cannot_change_after_its_arrival() {
    let story = Story::shipped().then(arrived(&["A", "B"]));
    let fixed = Refused::ShippingFixed { state: "Received" };
    assert_eq!(story.refuses(&details("TRACK2")), fixed);
    assert_eq!(
        story.refuses(&JobEvent::ShippingRequested),
        Refused::AlreadyArrived { state: "Received" }
    );
}

#[test]
fn a_record_is_removable_before_shipping_and_after_the_end_only() {
    assert_eq!(Story::new().job.record_may_be_removed(), Ok(()));
    let under_way = Story::shipped().job.record_may_be_removed();
    assert_eq!(under_way, Err(Refused::JobUnderWay { state: "Shipping" }));
    assert_eq!(Story::new().tick(14).job.record_may_be_removed(), Ok(()));
}

#[test]
fn an_export_job_takes_the_drives_it_finds_and_lists_none() {
    let new = ImportJob::new(JobType::Export, serials(&["A"]), day(0));
    assert_eq!(new, Err(Refused::ExportListsNoDrives));
    let export = Story::of(JobType::Export, &[]);
    let add = JobEvent::DriveAdded { serial: serial("A") };
    assert_eq!(export.refuses(&add), Refused::ExportListsNoDrives);
    let shipped = export.then(details("TRACK1")).then(JobEvent::ShippingRequested);
    assert_eq!(shipped.clone().then(arrived(&[])).state(), "Shipping");
    let names: Vec<String> = (0..11).map(|n| format!("D{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(shipped.refuses(&arrived(&names)), Refused::TooManyDrives { given: 11 });
}

/// An export job whose drives E1 and E2 have come.
fn export_at_the_dock() -> Story {
    Story::of(JobType::Export, &[])
        .then(details("TRACK1"))
        .then(JobEvent::ShippingRequested)
        .then(arrived(&["E1", "E2"]))
}

#[test]
fn an_export_is_complete_when_everything_is_on_drives_whatever_the_others_are() {
    let story = export_at_the_dock().then(started("E1"));
    assert_eq!(
        story.refuses(&JobEvent::Exported),
        Refused::NothingWritten { state: "Transferring" }
    );
    let story = story.then(finished("E1", 0));
    assert_eq!((story.state(), story.job.percent_complete()), ("Transferring", 50));
    let story = story.then(JobEvent::Exported);
    assert_eq!((story.state(), story.job.percent_complete()), ("Packaging", 100));
    let refusal = story.refuses(&started("E2"));
    assert_eq!(refusal, Refused::ExportWritten { serial: serial("E2") });
    let story = story.then(returned());
    assert_eq!((story.state(), &story.drives()[..]), ("Completed", &["ShippedBack"; 2][..]));
    assert!(story.customer_was_told(&Notice::ExportCompleted));
}

#[test]
fn an_export_that_lacks_something_takes_further_drives_or_closes() {
    let story = export_at_the_dock().then(started("E1")).then(finished("E1", 1));
    assert!(story.customer_was_told(&Notice::DriveNotWritten { serial: serial("E1") }));
    let story = story.then(started("E2")).then(finished("E2", 0));
    assert_eq!(story.state(), "Packaging");
    let closed = story.clone().then(returned());
    assert_eq!(closed.state(), "Closed");
    assert!(closed.customer_was_told(&Notice::ExportClosed));
    let story = story.then(came("E3"));
    assert_eq!(story.state(), "Transferring");
    let story = story.then(started("E3")).then(finished("E3", 0)).then(JobEvent::Exported);
    assert_eq!(story.then(returned()).state(), "Completed");
    let import = Story::shipped().then(arrived(&["A", "B"]));
    assert_eq!(import.refuses(&JobEvent::Exported), Refused::NotAnExport);
    let stranger = Refused::UnknownDrive { serial: serial("E3") };
    assert_eq!(import.refuses(&came("E3")), stranger);
    let early = Story::of(JobType::Export, &[]).then(details("TRACK1"));
    assert_eq!(
        early.then(JobEvent::ShippingRequested).refuses(&came("E1")),
        Refused::UnknownDrive { serial: serial("E1") }
    );
}

#[test]
fn a_job_of_parity_alone_has_landed_when_one_of_its_drives_was_read_without_problems() {
    let job = ImportJob::new(JobType::Import, serials(&["P"]), day(0)).unwrap();
    let job = job.with_parity(&serials(&["P"]));
    let story = Story { job, effects: Vec::new(), now: day(0) };
    let story = story.then(details("TRACK1")).then(JobEvent::ShippingRequested);
    assert!(story.job.is_of_parity() && !story.job.has_landed());
    let here = story.then(arrived(&["P"]));
    assert_eq!(here.clone().then(never_came("P")).state(), "Shipping");
    let read = here.then(started("P"));
    let closed = read.clone().then(finished("P", 2)).then(returned());
    assert_eq!(closed.state(), "Closed");
    assert_eq!(read.then(finished("P", 0)).then(returned()).state(), "Completed");
}

#[test]
fn progress_of_a_job_is_the_mean_of_its_drives() {
    let story = Story::shipped().then(arrived(&["A", "B"]));
    assert_eq!(story.job.percent_complete(), 0);
    let story = story.then(started("A")).then(progressed("A", 30, 60));
    assert_eq!(story.job.percent_complete(), 25);
    let story = story.then(finished("A", 0)).then(started("B")).then(finished("B", 0));
    assert_eq!(story.job.percent_complete(), 100);
    assert_eq!(story.then(returned()).job.percent_complete(), 100);
}

#[test]
fn an_event_with_an_earlier_clock_counts_as_of_the_last_change() {
    let story = Story::new().at(10).then(JobEvent::Updated).at(3);
    assert_eq!(story.job.changed, day(10));
    let shipped = story.then(details("TRACK1")).then(JobEvent::ShippingRequested);
    assert_eq!(shipped.job.state, JobState::Shipping { since: day(10) });
    assert_eq!(shipped.job.deadline(), Some((Deadline::Arrival, day(24))));
    let later = shipped.at(12).then(arrived(&["A", "B"]));
    assert_eq!((later.job.created, later.job.changed), (day(0), day(12)));
}

#[test]
fn nobody_waits_for_the_package_of_a_job_that_is_over() {
    let announced = Story::new().then(details("TRACK1"));
    for story in [announced.clone().tick(14), announced.then(JobEvent::CancelRequested)] {
        let shipment = story.job.shipment.unwrap();
        assert!(matches!(shipment.state, ShipmentState::Lost { .. }));
    }
}

#[test]
fn stored_jobs_speak_the_import_services_words() {
    let json = serde_json::to_value(packed_with_problems().job).unwrap();
    assert_eq!(json["jobType"], "Import");
    assert_eq!(json["state"]["name"], "Packaging");
    assert_eq!(json["drives"][0]["state"]["name"], "CompletedMoreInfo");
    assert_eq!(json["drives"][0]["state"]["problems"], 2);
    assert_eq!(json["drives"][1]["state"]["name"], "NeverReceived");
    assert_eq!(json["shipment"]["package"]["trackingNumber"], "TRACK1");
    let event =
        serde_json::json!({"event": "driveFinished", "serial": "A", "bytes": 9, "problems": 0});
    assert_eq!(serde_json::from_value::<JobEvent>(event).unwrap(), finished("A", 0));
}
