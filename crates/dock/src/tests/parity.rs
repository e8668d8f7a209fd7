//! Sets with parity at the dock: drives lost, damaged, in any order, and whatever goes away meanwhile.

use super::run::{Slots, slot};
use super::*;
use seed::Reason;
use std::collections::BTreeSet;
use store::Fault;

/// The folders of the set's data drives, and of its parity drives.
fn folders(set: &DriveSet) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let role = |folder: &&PathBuf| {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let mut drives = set.job.drive_list.iter();
        drives.find(|drive| drive.drive_id.as_str() == name).unwrap().role
    };
    set.folders.iter().cloned().partition(|folder| role(&folder).is_data())
}

fn serial(folder: &Path) -> String {
    folder.file_name().unwrap().to_str().unwrap().to_owned()
}

fn never_came(dock: &Dock, folder: &Path) {
    dock.set_drive(&serial(folder), |drive| drive.state = DriveState::NeverReceived);
}

fn status(dock: &Dock, folder: &Path) -> DriveStatus {
    let jobs = dock.jobs.lock().unwrap();
    let mut drives = jobs[0].drive_list.iter();
    drives.find(|drive| drive.drive_id.as_str() == serial(folder)).unwrap().clone()
}

/// Objects of a drive, by its manifest.
fn objects(dock: &Dock, folder: &Path) -> BTreeSet<String> {
    let objects = &dock.manifests[&serial(folder).parse().unwrap()];
    objects.iter().map(|(key, _)| key.to_string()).collect()
}

fn is_whole(dock: &Dock, set: &DriveSet) {
    assert_eq!(contents(dock.account.inner()), contents(&set.source));
}

/// Overwrites 64 KiB at ten places of the packs on a drive.
fn damage(folder: &Path, first: usize, places: usize) {
    let files: Vec<PathBuf> = tree(&folder.join("repositories"))
        .into_iter()
        .filter(|(_, bytes)| bytes.len() > 100_000)
        .map(|(path, _)| path)
        .collect();
    for place in 0..places {
        let path = &files[(first + place) % files.len()];
        let mut bytes = fs::read(path).unwrap();
        let at = (place * 99_991) % (bytes.len() - 65_536);
        bytes[at..at + 65_536].fill(0x5a);
        fs::write(path, bytes).unwrap();
    }
}

#[test]
fn what_a_lost_drive_had_is_rebuilt_and_its_log_says_of_whom_and_from_where() {
    let set = DriveSet::with_parity(1);
    let dock = Dock::with(&set);
    let (data, parity) = folders(&set);
    never_came(&dock, &data[2]);
    let given = [parity[0].clone(), data[0].clone(), data[1].clone()];
    let before: Vec<_> = given.iter().map(|folder| tree(folder)).collect();
    let outcome = dock.import("job-1", &given).unwrap();
    assert!(outcome.is_complete(), "{outcome:?}");
    is_whole(&dock, &set);
    let after: Vec<_> = given.iter().map(|folder| tree(folder)).collect();
    assert_eq!(before, after, "nothing is written to a drive");

    let lost = objects(&dock, &data[2]);
    let of_parity = status(&dock, &parity[0]);
    let rebuilt = of_parity.rebuilt.unwrap();
    assert_eq!(rebuilt.drives.len(), 1);
    assert_eq!(rebuilt.drives[0].drive_id.as_str(), serial(&data[2]));
    assert_eq!(rebuilt.objects(), lost.len() as u64);
    assert!(rebuilt.account_bytes > 0);
    let from: Vec<_> = rebuilt.from.iter().map(|from| from.drive_id.to_string()).collect();
    assert_eq!(from, [serial(&parity[0])]);
    let taken = outcome.drives[0].result.as_ref().unwrap();
    assert_eq!(taken.copied, lost.len() as u64);

    let lines = dock.log(&serial(&parity[0]));
    let (last, lines) = lines.split_last().unwrap();
    let name = |line: &serde_json::Value| {
        line["name"].as_str().unwrap().split_once('/').unwrap().1.to_owned()
    };
    let named: BTreeSet<String> = lines.iter().map(name).collect();
    assert_eq!(named, lost);
    for line in lines {
        assert_eq!(line["status"], "Rebuilt");
        assert_eq!(line["of"], serial(&data[2]));
    }
    assert_eq!(last["summary"]["completed"], lost.len());
    assert_eq!(last["summary"]["rebuilt"]["drives"][0]["driveId"], serial(&data[2]));
    let left: Vec<_> = fs::read_dir(dock.state.path().join("job-1")).unwrap().collect();
    assert!(left.is_empty(), "a complete set leaves nothing behind: {left:?}");
    let chain = dock.chain();
    for said in
        [format!("received {}", serial(&parity[0])), format!("repaired {}", serial(&data[2]))]
    {
        assert_eq!(chain.iter().filter(|word| **word == said).count(), 1, "{said}: {chain:?}");
    }
}

#[test]
fn drives_one_after_the_other_parity_last_and_what_has_arrived_is_read_once() {
    let set = DriveSet::with_parity(1);
    let dock = Dock::with(&set);
    let (data, parity) = folders(&set);
    never_came(&dock, &data[0]);
    for folder in &data[1..] {
        assert!(dock.import("job-1", std::slice::from_ref(folder)).unwrap().is_complete());
    }
    assert_eq!(dock.calls(Operation::ReadAt), 0);
    let arrived = contents(dock.account.inner()).len();
    assert!(dock.import("job-1", &parity).unwrap().is_complete());
    is_whole(&dock, &set);
    let reads = dock.calls(Operation::ReadAt);
    assert!(reads <= arrived, "{reads} reads of {arrived} objects of at most 700 KB");
}

#[test]
fn damaged_places_of_several_drives_are_rebuilt_from_the_drives_themselves_and_parity() {
    let set = DriveSet::with_parity(2);
    let dock = Dock::with(&set);
    let (data, parity) = folders(&set);
    damage(&data[0], 0, 2);
    damage(&data[1], 1, 1);
    let all: Vec<PathBuf> = data.iter().chain(&parity).cloned().collect();
    let outcome = dock.import("job-1", &all).unwrap();
    is_whole(&dock, &set);
    let result = |at: usize| outcome.drives[at].result.as_ref().unwrap();
    assert!(!result(0).is_complete() && !result(1).is_complete() && result(2).is_complete());
    assert!(result(3).is_complete() && result(4).is_complete());
    let rebuilt = status(&dock, &parity[0]).rebuilt.unwrap();
    let drives: Vec<_> = rebuilt.drives.iter().map(|drive| drive.drive_id.to_string()).collect();
    assert_eq!(drives, [serial(&data[0]), serial(&data[1])]);
    assert!(rebuilt.from.iter().any(|from| from.drive_id.as_str() == serial(&data[0])));
    assert_eq!(status(&dock, &parity[1]).rebuilt, None, "it is said of the first");
    assert_eq!(dock.log(&serial(&parity[1])).len(), 1);
}

#[test]
fn two_lost_drives_need_both_parity_drives_at_once() {
    let set = DriveSet::with_parity(2);
    let dock = Dock::with(&set);
    let (data, parity) = folders(&set);
    never_came(&dock, &data[0]);
    never_came(&dock, &data[2]);
    let one = [data[1].clone(), parity[1].clone()];
    let outcome = dock.import("job-1", &one).unwrap();
    let error = outcome.drives[1].result.as_ref().unwrap_err();
    assert!(matches!(error, Error::MoreParity { absent: 2, .. }), "{error}");
    assert!(error.to_string().ends_with(&serial(&parity[0])), "{error}");
    assert_eq!(status(&dock, &parity[1]).state, DriveState::Received, "nothing was said of it");
    let outcome = dock.import("job-1", &parity).unwrap();
    assert!(outcome.is_complete(), "{outcome:?}");
    is_whole(&dock, &set);
}

#[test]
fn beyond_k_exactly_what_cannot_be_rebuilt_is_named() {
    let set = DriveSet::with_parity(1);
    let dock = Dock::with(&set);
    let (data, parity) = folders(&set);
    never_came(&dock, &data[0]);
    // The first extent of another drive's stream is damaged, too: that stripe lacks two.
    let first = tree(&data[1].join("repositories"))
        .into_keys()
        .find(|path| path.to_str().unwrap().contains("/data/"));
    let first = first.unwrap();
    let mut bytes = fs::read(&first).unwrap();
    bytes[10] ^= 1;
    fs::write(&first, bytes).unwrap();
    let given = [data[1].clone(), data[2].clone(), parity[0].clone()];
    let outcome = dock.import("job-1", &given).unwrap();
    let taken = outcome.drives[2].result.as_ref().unwrap();
    assert_eq!(taken.status.state, DriveState::CompletedMoreInfo);
    assert!(taken.problems.iter().all(|problem| problem.reason == Reason::NotRebuilt));
    let named: BTreeSet<String> =
        taken.problems.iter().map(|problem| problem.key.to_string()).collect();
    let there = contents(dock.account.inner());
    let missing: BTreeSet<String> =
        contents(&set.source).into_keys().filter(|path| !there.contains_key(path)).collect();
    assert_eq!(named, missing);
    let reported: BTreeSet<String> =
        taken.status.failures.iter().map(|failure| failure.key.clone()).collect();
    assert_eq!(reported, missing);
    assert!(missing.len() >= 2 && taken.copied > 0, "{missing:?}");
    let log = dock.log(&serial(&parity[0]));
    let failed = log.iter().filter(|line| line["status"] == "IOFailed").count();
    assert_eq!(failed, missing.len());

    // The lost drive turns up.
    never_came(&dock, &data[0]);
    dock.set_drive(&serial(&data[0]), |drive| drive.state = DriveState::Received);
    let outcome = dock.import("job-1", &[data[0].clone(), parity[0].clone()]).unwrap();
    assert!(outcome.is_complete(), "{outcome:?}");
    is_whole(&dock, &set);
}

#[test]
fn parity_waits_for_the_data_drives_and_says_for_which() {
    let set = DriveSet::with_parity(1);
    let dock = Dock::with(&set);
    let (data, parity) = folders(&set);
    let outcome = dock.import("job-1", &[parity[0].clone(), data[0].clone()]).unwrap();
    let error = outcome.drives[0].result.as_ref().unwrap_err();
    let waits = match error {
        Error::ParityWaits { drives, .. } => drives.clone(),
        other => panic!("{other}"),
    };
    let expected: Vec<DriveSerial> =
        data[1..].iter().map(|folder| serial(folder).parse().unwrap()).collect();
    assert_eq!(waits, expected);
    let said = |events: &[(DriveSerial, DriveEvent)]| {
        events.iter().filter(|(drive, _)| drive.as_str() == serial(&parity[0])).count()
    };
    assert_eq!(said(&dock.events.lock().unwrap()), 0);
    // One was not in the package, after all; of the other one nothing can be read any more.
    crate::package::lost_through(&dock, &set.job.name, &expected[0]).unwrap();
    dock.set_drive(expected[1].as_str(), |drive| drive.state = DriveState::Transferring);
    crate::package::lost_through(&dock, &set.job.name, &expected[1]).unwrap();
    assert_eq!(status(&dock, &data[1]).state, DriveState::NeverReceived);
    assert_eq!(status(&dock, &data[2]).state, DriveState::CompletedMoreInfo);
    let outcome = dock.import("job-1", &parity).unwrap();
    let taken = outcome.drives[0].result.as_ref().unwrap();
    assert!(!taken.is_complete(), "two are lost, and there is one parity drive");
}

#[test]
fn parity_that_nobody_needs_is_complete_at_once_and_reads_nothing() {
    let set = DriveSet::with_parity(1);
    let dock = Dock::with(&set);
    let outcome = dock.import("job-1", &set.folders).unwrap();
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!(dock.calls(Operation::ReadAt), 0);
    is_whole(&dock, &set);
    assert_eq!(dock.said("Rebuilding"), 0);
}

#[test]
fn a_call_may_die_at_any_step_of_rebuilding_and_the_next_one_goes_on() {
    let set = DriveSet::with_parity(1);
    let (data, parity) = folders(&set);
    let mut died = 0;
    for (operation, step) in [
        (Operation::List, 1),
        (Operation::ReadAt, 2),
        (Operation::PutFrom, 2),
        (Operation::ReadAt, 5),
    ] {
        for nth in (1..40).step_by(step) {
            let dock = Dock::with(&set);
            never_came(&dock, &data[1]);
            let present = [data[0].clone(), data[2].clone()];
            assert!(dock.import("job-1", &present).unwrap().is_complete());
            dock.account.fail_nth(Some(operation), nth, Fault::Crash);
            let outcome = dock.import("job-1", &parity);
            let whole = outcome.as_ref().is_ok_and(ImportOutcome::is_complete);
            if whole {
                break;
            }
            died += 1;
            dock.account.revive();
            let outcome = dock.import("job-1", &parity).unwrap();
            assert!(outcome.is_complete(), "{operation:?} {nth}: {outcome:?}");
            is_whole(&dock, &set);
            // The log tells all of it, whichever call has rebuilt what.
            let lines = dock.log(&serial(&parity[0]));
            assert_eq!(lines.len(), objects(&dock, &data[1]).len() + 1, "{operation:?} {nth}");
            let rebuilt = status(&dock, &parity[0]).rebuilt.unwrap();
            assert_eq!(rebuilt.objects(), objects(&dock, &data[1]).len() as u64);
        }
    }
    assert!(died > 10, "{died}");
}

#[test]
fn a_server_that_is_away_for_a_moment_is_waited_for_while_it_is_rebuilt() {
    let set = DriveSet::with_parity(1);
    let dock = Dock::with(&set);
    let (data, parity) = folders(&set);
    never_came(&dock, &data[1]);
    assert!(dock.import("job-1", &[data[0].clone(), data[2].clone()]).unwrap().is_complete());
    for nth in [2, 3] {
        dock.account.fail_nth(Some(Operation::ReadAt), nth, Fault::Unavailable);
        dock.account.fail_nth(Some(Operation::PutFrom), nth, Fault::Unavailable);
    }
    dock.account.fail_nth(Some(Operation::PutFrom), 6, Fault::LostAnswer);
    let away = Some(Code::Unavailable);
    dock.refusals.lock().unwrap().extend([None, away.clone(), None, away.clone(), away]);
    assert!(dock.import("job-1", &parity).unwrap().is_complete());
    is_whole(&dock, &set);
}

#[test]
fn asking_to_stop_ends_between_two_stripes_and_leaves_no_spool() {
    let set = DriveSet::with_parity(1);
    let mut dock = Dock::with(&set);
    let (data, parity) = folders(&set);
    never_came(&dock, &data[1]);
    assert!(dock.import("job-1", &[data[0].clone(), data[2].clone()]).unwrap().is_complete());
    dock.hook = Box::new(|dock, event| {
        if matches!(event, Event::Rebuilding { bytes, .. } if *bytes > 0) {
            dock.ask_to_stop();
        }
    });
    let outcome = dock.import("job-1", &parity).unwrap();
    let error = outcome.drives[0].result.as_ref().unwrap_err();
    assert_eq!(error.kind(), model::ErrorKind::Interrupted);
    let left = fs::read_dir(dock.state.path().join("job-1")).unwrap();
    let left: Vec<_> = left.map(|it| it.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("spool")), "{left:?}");
    dock.hook = Box::new(|_, _| {});
    dock.stop.store(false, Ordering::Relaxed);
    assert!(dock.import("job-1", &parity).unwrap().is_complete());
    is_whole(&dock, &set);
}

#[test]
fn the_dock_at_work_reads_parity_last_and_together_with_damaged_drives() {
    let set = DriveSet::with_parity(2);
    let mut dock = Dock::with(&set);
    let (data, parity) = folders(&set);
    never_came(&dock, &data[0]);
    damage(&data[1], 0, 3);
    // Parity is looked at first.
    dock.jobs.get_mut().unwrap()[0].drive_list.reverse();
    let mut slots = Slots::of(&dock, &set);
    slots.slots.get_mut().unwrap().reverse();
    slots.slots.get_mut().unwrap().retain(|slot| slot.folder != data[0]);
    let visits = slots.run(true).unwrap();
    is_whole(&dock, &set);
    let last = |folder: &Path| {
        visits.iter().rfind(|visit| visit.serial.as_str() == serial(folder)).unwrap()
    };
    for folder in &parity {
        let taken = last(folder).result.as_ref().unwrap();
        assert!(taken.is_complete(), "{taken:?}");
    }
    let visits_of_damaged =
        visits.iter().filter(|visit| visit.serial.as_str() == serial(&data[1])).count();
    assert_eq!(visits_of_damaged, 2, "once alone, once with parity");
    assert!(dock.said("LeftAlone") >= 2, "it was said what they wait for");
    assert_eq!(*slots.mounted.lock().unwrap(), BTreeSet::new());
}

#[test]
fn the_dock_at_work_says_which_parity_drives_it_wants_together() {
    let set = DriveSet::with_parity(2);
    let dock = Dock::with(&set);
    let (data, parity) = folders(&set);
    never_came(&dock, &data[0]);
    never_came(&dock, &data[1]);
    let mut slots = Slots::of(&dock, &set);
    let present = [data[2].clone(), parity[0].clone()];
    slots.slots.get_mut().unwrap().retain(|slot| present.contains(&slot.folder));
    slots.run(true).unwrap();
    assert_eq!(status(&dock, &parity[0]).state, DriveState::Received);
    let wanted = format!("put in {}", serial(&parity[1]));
    let words = dock.words.lock().unwrap().clone();
    assert!(words.iter().any(|word| word.contains(&wanted)), "{words:#?}");
    // It is put in beside the other one, which was not touched.
    slots.slots.get_mut().unwrap().push(slot(&parity[1]));
    slots.run(true).unwrap();
    is_whole(&dock, &set);
}
