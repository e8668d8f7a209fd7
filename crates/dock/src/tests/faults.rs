//! Drives that are damaged or pulled out, servers that go away, calls that end early.

use super::*;
use crate::Status;
use model::ErrorKind;
use seed::Reason;
use std::os::unix::fs::symlink;
use store::Fault;

fn line_of(lines: &[serde_json::Value], key: &ObjectKey) -> serde_json::Value {
    let path = format!("/{key}");
    let is_it =
        |line: &&serde_json::Value| line["name"].as_str().is_some_and(|name| name.ends_with(&path));
    lines.iter().find(is_it).unwrap().clone()
}

/// Some drive has ended so, and none in another way; a small one may have been through already.
fn assert_ended(outcome: &ImportOutcome, kind: ErrorKind) {
    let errors = outcome.drives.iter().filter_map(|drive| drive.result.as_ref().err());
    let kinds: Vec<_> = errors.map(Error::kind).collect();
    assert!(!kinds.is_empty() && kinds.iter().all(|found| *found == kind), "{outcome:?}");
}

#[test]
fn damaged_and_missing_objects_fail_alone_and_are_listed_by_name() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let (damaged, damaged_key) = set.object(0, "data");
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[1000] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let (missing, missing_key) = set.object(1, "data");
    fs::remove_file(missing).unwrap();
    let (short, short_key) = set.object(2, "data");
    let bytes = fs::read(&short).unwrap();
    fs::write(&short, &bytes[1..]).unwrap();

    let outcome = dock.import("job-1", &set.folders).unwrap();
    assert!(!outcome.is_complete());
    let mut expected = contents(&set.source);
    for (at, key, status, word) in [
        (0, damaged_key, "Corrupted", "bytes are not those"),
        (1, missing_key, "FileNotFound", "missing"),
        (2, short_key, "Corrupted", "bytes long instead of"),
    ] {
        expected.remove(&key.path());
        let drive = &outcome.drives[at];
        let taken = drive.result.as_ref().unwrap();
        assert_eq!(taken.status.state, DriveState::CompletedMoreInfo);
        assert_eq!(taken.status.failures.len(), 1);
        assert_eq!(taken.status.failures[0].key, key.to_string());
        assert!(taken.status.failures[0].reason.contains(word), "{:?}", taken.status.failures);
        let log = dock.log(drive.serial.as_ref().unwrap().as_str());
        assert_eq!(line_of(&log, &key)["status"], status);
        let summary = &log.last().unwrap()["summary"];
        assert_eq!(
            (&summary["status"], &summary["failed"]),
            (&"CompletedWithErrors".into(), &1.into())
        );
    }
    assert_eq!(contents(dock.account.inner()), expected);
    assert_eq!(dock.said("Problem"), 3);
}

#[test]
fn a_drive_with_problems_can_be_read_again_and_its_log_still_says_what_it_gave() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let (path, key) = set.object(0, "data");
    let good = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    dock.import("job-1", &set.folders).unwrap();
    dock.jobs.lock().unwrap()[0].state = JobState::Packaging;
    fs::write(&path, good).unwrap();
    let outcome = dock.import_all(&set);
    assert_eq!(outcome.drives[0].result.as_ref().unwrap().copied, 1);
    let log = dock.log("D0");
    assert_eq!(line_of(&log, &key)["status"], "Completed");
    let summary = &log.last().unwrap()["summary"];
    assert_eq!((&summary["skipped"], &summary["failed"]), (&0.into(), &0.into()));
}

#[test]
fn links_pipes_and_folders_in_the_place_of_objects_are_never_opened() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let mut bad = Vec::new();
    for (drive, what) in [(0, "link"), (1, "pipe"), (2, "folder")] {
        let (path, key) = set.object(drive, "data");
        fs::remove_file(&path).unwrap();
        match what {
            "link" => symlink("/etc/passwd", &path).unwrap(),
            "pipe" => rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o600),
                0,
            )
            .unwrap(),
            _ => fs::create_dir(&path).unwrap(),
        }
        bad.push(key);
    }
    let outcome = dock.import("job-1", &set.folders).unwrap();
    for (drive, key) in outcome.drives.iter().zip(&bad) {
        let taken = drive.result.as_ref().unwrap();
        assert_eq!(taken.problems.len(), 1);
        assert_eq!((taken.problems[0].key, &taken.problems[0].reason), (*key, &Reason::NotAFile));
        let log = dock.log(drive.serial.as_ref().unwrap().as_str());
        assert_eq!(line_of(&log, key)["status"], "FileAccessDenied");
        assert_eq!(dock.account.inner().length(key).unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn a_link_in_the_place_of_a_folder_of_objects_is_not_followed() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let root = set.folders[0].join("repositories").join(set.identity.to_hex());
    let elsewhere = set.dir.path().join("elsewhere");
    fs::rename(root.join("data"), &elsewhere).unwrap();
    symlink(&elsewhere, root.join("data")).unwrap();
    let outcome = dock.import("job-1", &set.folders[..1]).unwrap();
    let taken = outcome.drives[0].result.as_ref().unwrap();
    assert!(taken.problems.iter().all(|problem| problem.reason == Reason::NotAFile));
    assert_eq!(dock.account.inner().list(ObjectKind::Pack).unwrap(), []);
}

#[test]
fn a_drive_pulled_out_in_the_middle_is_gone_and_goes_on_when_it_is_back() {
    let set = DriveSet::three();
    let away = set.dir.path().join("away");
    let (folder, to) = (set.folders[0].clone(), away.clone());
    let mut dock = Dock::with(&set);
    dock.hook = Box::new(move |_, event| {
        if matches!(event, Event::Progress { serial, .. } if serial.as_str() == "D0")
            && !to.exists()
        {
            // What a drive that is pulled out looks like from a folder that is open.
            fs::create_dir(&to).unwrap();
            for entry in fs::read_dir(&folder).unwrap() {
                let entry = entry.unwrap();
                fs::rename(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    });
    let outcome = dock.import("job-1", &set.folders).unwrap();
    let error = outcome.drives[0].result.as_ref().unwrap_err();
    assert!(matches!(error, Error::Drive(seed::Error::Gone { .. })), "{error}");
    assert_eq!(error.kind(), ErrorKind::WrongDrive);
    assert!(outcome.drives[1].result.as_ref().unwrap().is_complete(), "the others go on");
    assert_eq!(dock.said("Gone"), 1);
    let finished = |(serial, event): &(DriveSerial, DriveEvent)| {
        serial.as_str() == "D0" && matches!(event, DriveEvent::Finished { .. })
    };
    assert!(!dock.events.lock().unwrap().iter().any(finished), "it was not read to its end");
    assert!(!dock.logs.lock().unwrap().contains_key(&"D0".parse().unwrap()));

    let mut given = set.folders.clone();
    given[0] = away;
    let outcome = dock.import("job-1", &given).unwrap();
    assert!(outcome.is_complete());
    let taken = outcome.drives[0].result.as_ref().unwrap();
    assert_eq!(taken.already, 1, "what arrived before is not copied again");
    let log = dock.log("D0");
    assert_eq!(log.last().unwrap()["summary"]["skipped"], 0, "it came from this drive, too");
    assert_eq!(contents(dock.account.inner()), contents(&set.source));
}

#[test]
fn an_account_that_is_away_for_a_moment_is_waited_for() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    dock.account.fail_nth(Some(Operation::List), 2, Fault::Unavailable);
    for nth in [3, 4, 5] {
        dock.account.fail_nth(Some(Operation::PutFrom), nth, Fault::Unavailable);
    }
    dock.account.fail_nth(Some(Operation::PutFrom), 12, Fault::ShortWrite(100));
    dock.account.fail_nth(Some(Operation::PutFrom), 20, Fault::LostAnswer);
    dock.import_all(&set);
    assert_eq!(contents(dock.account.inner()), contents(&set.source));
    assert!(store::Clock::now(&*dock.clock) > Duration::ZERO);
}

#[test]
fn an_account_that_stays_away_ends_the_call_and_the_next_one_goes_on() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    dock.account.fail_nth(Some(Operation::PutFrom), 7, Fault::Crash);
    let outcome = dock.import("job-1", &set.folders).unwrap();
    assert_ended(&outcome, ErrorKind::Unavailable);
    let there = contents(dock.account.inner()).len();
    assert_eq!(there, 6);
    let refusal = dock.import("job-1", &set.folders).unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::Unavailable);

    dock.account.revive();
    let outcome = dock.import_all(&set);
    assert_eq!(Dock::copied(&outcome) + there, contents(&set.source).len());
    let lines: Vec<_> = ["D0", "D1", "D2"].iter().flat_map(|serial| dock.log(serial)).collect();
    assert!(lines.iter().all(|line| line["status"] != "Skipped"), "this dock has copied them all");
}

#[test]
fn a_full_account_ends_the_call_and_loses_nothing() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    dock.account.full_after(Some(1_000_000));
    let outcome = dock.import("job-1", &set.folders).unwrap();
    assert_ended(&outcome, ErrorKind::Full);
    dock.account.full_after(None);
    dock.import_all(&set);
    assert_eq!(contents(dock.account.inner()), contents(&set.source));
}

#[test]
fn a_server_that_is_away_for_a_moment_is_waited_for() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let away = Some(Code::Unavailable);
    let lost = Some(Code::ConcurrentChange);
    dock.refusals.lock().unwrap().extend([away.clone(), None, away.clone(), lost, away]);
    dock.import_all(&set);
    assert_eq!(dock.logs.lock().unwrap().len(), 3);
}

#[test]
fn a_log_that_could_not_be_sent_is_sent_by_the_next_call() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let away = Some(Code::Unavailable);
    // The job, started, finished; then away for all tries.
    let calls = [None, None, None, away.clone(), away.clone(), away.clone(), away];
    dock.refusals.lock().unwrap().extend(calls);
    let outcome = dock.import("job-1", &set.folders[..1]).unwrap();
    assert_eq!(outcome.drives[0].result.as_ref().unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(dock.logs.lock().unwrap().is_empty());
    dock.jobs.lock().unwrap()[0].state = JobState::Completed;
    let refusal = dock.import("job-1", &[]).unwrap_err();
    assert!(matches!(refusal, Error::JobState { .. }));
    assert_eq!(dock.log("D0").last().unwrap()["summary"]["failed"], 0);
    let names: Vec<_> = fs::read_dir(dock.state.path().join("job-1")).unwrap().collect();
    assert!(
        names
            .iter()
            .all(|entry| { entry.as_ref().unwrap().path().extension().unwrap() == "journal" })
    );
}

#[test]
fn asking_to_stop_ends_at_the_next_object_and_the_next_call_goes_on() {
    let set = DriveSet::three();
    let mut dock = Dock::with(&set);
    dock.hook = Box::new(|dock, event| {
        if matches!(event, Event::Progress { bytes, .. } if *bytes > 500_000) {
            dock.ask_to_stop();
        }
    });
    let outcome = dock.import("job-1", &set.folders).unwrap();
    assert_ended(&outcome, ErrorKind::Interrupted);
    let there = contents(dock.account.inner()).len();
    assert!(there > 0 && there < contents(&set.source).len());
    dock.hook = Box::new(|_, _| {});
    dock.stop.store(false, Ordering::Relaxed);
    let outcome = dock.import_all(&set);
    assert_eq!(Dock::copied(&outcome) + there, contents(&set.source).len());
}

#[test]
fn asking_to_stop_ends_a_wait_for_a_server_that_is_away() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    dock.ask_to_stop();
    assert_eq!(dock.import("job-1", &set.folders).unwrap_err().kind(), ErrorKind::Interrupted);
    assert_eq!(store::Clock::now(&*dock.clock), Duration::ZERO);
}

#[test]
fn a_drive_that_another_process_copies_is_left_to_it() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let folder = crate::journal::folder(dock.state.path(), &set.job.name).unwrap();
    let serial = "D1".parse().unwrap();
    let _theirs = crate::journal::Journal::open(&folder, &serial).unwrap();
    let outcome = dock.import("job-1", &set.folders).unwrap();
    assert_eq!(outcome.drives[1].result.as_ref().unwrap_err().kind(), ErrorKind::Locked);
    assert!(outcome.drives[0].result.is_ok());
    assert!(!dock.events.lock().unwrap().iter().any(|(drive, _)| *drive == serial));
}

#[test]
fn every_reason_has_its_word_in_the_log() {
    let words = [
        (Reason::Missing, "\"FileNotFound\""),
        (Reason::Hash, "\"Corrupted\""),
        (Reason::NotAFile, "\"FileAccessDenied\""),
        (Reason::Conflict, "\"BlobUnexpectedChange\""),
        (Reason::Unreadable(String::new()), "\"IOFailed\""),
    ];
    for (reason, word) in words {
        assert_eq!(serde_json::to_string(&Status::of(&reason)).unwrap(), word);
    }
}
