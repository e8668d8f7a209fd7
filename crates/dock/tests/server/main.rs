//! The dock against the real server, over TLS on the loopback.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests may stop on a surprise; helpers outside of them as well"
)]

mod site;

use dock::{Error, Event};
use model::{DriveSerial, ErrorKind};
use site::{Parcel, Site, contents};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use wire::{DriveState, JobState};

fn copied(outcome: &dock::ImportOutcome) -> usize {
    let copied = outcome.drives.iter().map(|drive| drive.result.as_ref().unwrap().copied);
    usize::try_from(copied.sum::<u64>()).unwrap()
}

#[test]
fn a_set_goes_from_the_parcel_into_the_account_and_home() {
    let site = Site::new();
    let parcel = Parcel::shipped(&site, "job-1", "D", 1);
    assert_eq!(parcel.receive().state, JobState::Received);
    assert_eq!(parcel.receive().state, JobState::Received, "receiving again changes nothing");
    let backwards: Vec<PathBuf> = parcel.folders.iter().rev().cloned().collect();
    let outcome = parcel.import(&backwards, &|_| {}).unwrap();
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!(outcome.job.as_ref().unwrap().state, JobState::Packaging);
    assert_eq!(site.landed(&parcel.repository()), contents(&parcel.source));
    for drive in 0..3 {
        let lines = site.copy_log(&parcel.job, parcel.serial(drive).as_str());
        let (last, lines) = lines.split_last().unwrap();
        assert!(lines.iter().all(|line| line.contains(r#""status":"Completed""#)), "{lines:?}");
        assert!(last.starts_with(r#"{"summary":"#), "{last}");
    }
    let again = parcel.import(&backwards, &|_| {}).unwrap();
    assert!(again.is_complete());
    assert_eq!(copied(&again), 0);

    let one: DriveSerial = parcel.serial(1);
    let job = dock::returned(&parcel.dock, None, &parcel.job, Some(&[one])).unwrap();
    assert_eq!(job.state, JobState::Packaging);
    let job = dock::returned(&parcel.dock, None, &parcel.job, None).unwrap();
    assert_eq!(job.state, JobState::Completed);
    dock::returned(&parcel.dock, None, &parcel.job, None).unwrap();
    let refusal = parcel.import(&backwards, &|_| {}).unwrap_err();
    assert!(matches!(refusal, Error::JobState { state: JobState::Completed, .. }), "{refusal}");
}

#[test]
fn drives_may_come_one_call_at_a_time() {
    let site = Site::new();
    let parcel = Parcel::shipped(&site, "job-1", "D", 1);
    parcel.receive();
    for (at, state) in
        [(2, JobState::Transferring), (0, JobState::Transferring), (1, JobState::Packaging)]
    {
        let outcome = parcel.import(&parcel.folders[at..=at], &|_| {}).unwrap();
        assert!(outcome.is_complete());
        assert_eq!(outcome.job.unwrap().state, state);
    }
    assert_eq!(site.landed(&parcel.repository()), contents(&parcel.source));
}

#[test]
fn what_a_drive_cannot_give_is_named_by_the_server_and_brought_by_a_second_reading() {
    let site = Site::new();
    let parcel = Parcel::shipped(&site, "job-1", "D", 1);
    parcel.receive();
    let (damaged, damaged_key) = parcel.pack(0);
    let (missing, missing_key) = parcel.pack(1);
    let good = [fs::read(&damaged).unwrap(), fs::read(&missing).unwrap()];
    let mut bad = good[0].clone();
    bad[150_000] ^= 4;
    fs::write(&damaged, bad).unwrap();
    fs::remove_file(&missing).unwrap();

    let outcome = parcel.import(&parcel.folders, &|_| {}).unwrap();
    for (drive, key, word) in
        [(0, damaged_key, "not those of its name"), (1, missing_key, "missing")]
    {
        let status = &outcome.drives[drive].result.as_ref().unwrap().status;
        assert_eq!(status.state, DriveState::CompletedMoreInfo);
        assert_eq!(status.failure_count, 1);
        assert_eq!(status.failures[0].key, key.to_string());
        assert!(status.failures[0].reason.contains(word), "{:?}", status.failures);
    }
    assert!(outcome.drives[2].result.as_ref().unwrap().is_complete());
    assert_eq!(outcome.job.unwrap().state, JobState::Packaging);
    let mut landed = contents(&parcel.source);
    landed.remove(&damaged_key.path());
    landed.remove(&missing_key.path());
    assert_eq!(site.landed(&parcel.repository()), landed);

    fs::write(&damaged, &good[0]).unwrap();
    fs::write(&missing, &good[1]).unwrap();
    let outcome = parcel.import(&parcel.folders, &|_| {}).unwrap();
    assert!(outcome.is_complete());
    assert_eq!(copied(&outcome), 2);
    assert_eq!(site.landed(&parcel.repository()), contents(&parcel.source));
}

#[test]
fn a_server_that_stops_in_the_middle_ends_the_call_and_the_next_one_goes_on() {
    let site = Site::new();
    let parcel = Parcel::shipped(&site, "job-1", "D", 1);
    parcel.receive();
    // Each drive comes this far and waits here until the server is down, so none is through before.
    let stopping = Mutex::new(());
    let stop = |event: Event<'_>| {
        if matches!(event, Event::Progress { bytes, .. } if bytes > 400_000) {
            let _one_at_a_time = stopping.lock().unwrap();
            site.stop();
        }
    };
    let outcome = parcel.import(&parcel.folders, &stop).unwrap();
    for drive in &outcome.drives {
        let error = drive.result.as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    assert!(outcome.job.is_none());
    let refusal = parcel.import(&parcel.folders, &|_| {}).unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::Unavailable);

    site.start();
    let there = site.landed(&parcel.repository()).len();
    assert!(there > 0 && there < contents(&parcel.source).len());
    let outcome = parcel.import(&parcel.folders, &|_| {}).unwrap();
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!(copied(&outcome) + there, contents(&parcel.source).len());
    assert_eq!(site.landed(&parcel.repository()), contents(&parcel.source));
}

#[test]
fn a_server_that_is_restarted_in_the_middle_is_not_noticed() {
    let site = Site::new();
    let parcel = Parcel::shipped(&site, "job-1", "D", 1);
    parcel.receive();
    let restarted = AtomicBool::new(false);
    let restart = |event: Event<'_>| {
        let far_enough = matches!(event, Event::Progress { bytes, .. } if bytes > 400_000);
        if far_enough && !restarted.swap(true, Ordering::SeqCst) {
            site.stop();
            site.start();
        }
    };
    // One drive, so that nobody runs out of tries while this thread restarts the server.
    let outcome = parcel.import(&parcel.folders[..1], &restart).unwrap();
    assert!(restarted.load(Ordering::SeqCst));
    assert!(outcome.is_complete(), "{outcome:?}");
}

#[test]
fn a_drive_of_another_job_is_refused_by_name() {
    let site = Site::new();
    let parcel = Parcel::shipped(&site, "job-1", "D", 1);
    let other = Parcel::shipped(&site, "job-2", "E", 2);
    parcel.receive();
    let given = [other.folders[0].clone(), parcel.folders[0].clone()];
    let outcome = parcel.import(&given, &|_| {}).unwrap();
    let refusal = outcome.drives[0].result.as_ref().unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::WrongDrive);
    assert!(refusal.to_string().contains("import job job-2"), "{refusal}");
    assert!(outcome.drives[1].result.as_ref().unwrap().is_complete());
    let job = other.dock.job(&other.job).unwrap();
    assert!(job.drive_list.iter().all(|drive| drive.state == DriveState::Specified));
}

#[test]
fn nothing_is_taken_in_before_the_package_is_received() {
    let site = Site::new();
    let parcel = Parcel::shipped(&site, "job-1", "D", 1);
    let refusal = parcel.import(&parcel.folders, &|_| {}).unwrap_err();
    assert!(refusal.to_string().contains("dock receive --tracking 1Z0001D"), "{refusal}");
    assert_eq!(refusal.kind(), ErrorKind::Conflict);
    let unknown =
        dock::receive(&parcel.dock, None, &"1Z404NOT".parse().unwrap(), None).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

#[test]
fn a_drive_that_did_not_come_is_not_read() {
    let site = Site::new();
    let parcel = Parcel::shipped(&site, "job-1", "D", 1);
    let came = [parcel.serial(0), parcel.serial(2)];
    dock::receive(&parcel.dock, None, &parcel.tracking.parse().unwrap(), Some(&came)).unwrap();
    let outcome = parcel.import(&parcel.folders, &|_| {}).unwrap();
    let refusal = outcome.drives[1].result.as_ref().unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::Conflict, "{refusal}");
    assert!(refusal.to_string().contains("D1"), "{refusal}");
    assert!(outcome.drives[0].result.is_ok() && outcome.drives[2].result.is_ok());
}

#[test]
fn credentials_of_others_take_nothing_in() {
    let site = Site::new();
    let parcel = Parcel::shipped(&site, "job-1", "D", 1);
    parcel.receive();
    for client in [site.agent(), site.admin()] {
        let outcome = parcel.import_as(&client, &parcel.folders[..1], &|_| {});
        let kind = match outcome {
            Ok(outcome) => outcome.drives[0].result.as_ref().unwrap_err().kind(),
            Err(error) => error.kind(),
        };
        assert_eq!(kind, ErrorKind::Denied);
    }
    assert!(site.landed_is_empty(&parcel.repository()));
}
