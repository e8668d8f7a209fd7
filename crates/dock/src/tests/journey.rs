//! Drives that are as they should be.

use super::*;
use proptest::prelude::*;

#[test]
fn a_set_imported_side_by_side_puts_the_repository_into_the_account() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let before: Vec<_> = set.folders.iter().map(|folder| tree(folder)).collect();
    let outcome = dock.import_all(&set);
    assert_eq!(contents(dock.account.inner()), contents(&set.source));
    assert_eq!(Dock::copied(&outcome), contents(&set.source).len(), "each object is copied once");
    let after: Vec<_> = set.folders.iter().map(|folder| tree(folder)).collect();
    assert_eq!(before, after, "nothing is written to a drive");
    assert_eq!(dock.said("Started"), 3);
    assert_eq!(dock.said("Finished"), 3);
    let left: Vec<_> = fs::read_dir(dock.state.path().join("job-1")).unwrap().collect();
    assert!(left.is_empty(), "a complete drive leaves nothing behind: {left:?}");
}

#[test]
fn the_account_is_listed_once_for_each_kind_and_never_asked_about_one_object() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    dock.import_all(&set);
    assert_eq!(dock.calls(Operation::List), 5);
    assert_eq!(dock.calls(Operation::Length), 0);
}

#[test]
fn the_copy_log_has_a_line_for_each_object_and_a_summary_last() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    dock.import_all(&set);
    for (serial, objects) in &dock.manifests {
        let lines = dock.log(serial.as_str());
        let (last, lines) = lines.split_last().unwrap();
        assert_eq!(lines.len(), objects.len());
        for (line, (key, length)) in lines.iter().zip(objects) {
            assert_eq!(line["name"], format!("{}/{key}", set.identity));
            assert_eq!(
                (&line["length"], &line["status"]),
                (&(*length).into(), &"Completed".into())
            );
        }
        let summary = &last["summary"];
        let bytes: u64 = objects.iter().map(|(_, length)| length).sum();
        assert_eq!(summary["status"], "Completed");
        assert_eq!(summary["completed"], objects.len());
        assert_eq!((&summary["bytes"], &summary["failed"]), (&bytes.into(), &0.into()));
        assert_eq!(summary["job"], "job-1");
    }
}

#[test]
fn importing_again_copies_nothing_and_says_nothing_to_the_server() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    dock.import_all(&set);
    let (puts, events) = (dock.puts(), dock.events.lock().unwrap().len());
    let outcome = dock.import_all(&set);
    assert_eq!(Dock::copied(&outcome), 0);
    assert_eq!((dock.puts(), dock.events.lock().unwrap().len()), (puts, events));
}

#[test]
fn what_another_job_has_brought_is_skipped_and_said_so() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let (_, key) = set.object(0, "data");
    let there = set.source.get(&key, u64::MAX).unwrap();
    dock.account.inner().put(&key, &there).unwrap();
    let outcome = dock.import_all(&set);
    assert_eq!(outcome.drives[0].result.as_ref().unwrap().already, 1);
    let left_out = format!("already: {} }}", there.len());
    assert!(dock.words.lock().unwrap().iter().any(|word| word.ends_with(&left_out)));
    let line = dock
        .log("D0")
        .into_iter()
        .find(|line| line["name"].as_str().is_some_and(|name| name.ends_with(&key.to_string())));
    assert_eq!(line.unwrap()["status"], "Skipped");
}

#[test]
fn an_object_of_another_length_in_the_account_is_sent_again() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let (_, key) = set.object(0, "data");
    dock.account.inner().put(&key, b"torn").unwrap();
    let outcome = dock.import("job-1", &set.folders).unwrap();
    let tried = dock.account.trace().contains(&(Operation::PutFrom, Some(key)));
    assert!(tried, "a server that can repair it gets the chance");
    let taken = outcome.drives[0].result.as_ref().unwrap();
    assert_eq!(taken.problems[0].reason, seed::Reason::Conflict, "this one cannot");
    assert!(!taken.is_complete());
}

#[test]
fn progress_counts_every_byte_once_and_is_reported_no_more_often_than_asked() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    let one = &set.folders[..1];
    dock.import("job-1", one).unwrap();
    let total: u64 = dock.manifests[&"D0".parse().unwrap()].iter().map(|(_, l)| l).sum();
    let last = format!("bytes: {total}, total: {total}");
    assert_eq!(dock.words.lock().unwrap().iter().filter(|w| w.contains(&last)).count(), 1);
    let progress =
        |(_, event): &&(DriveSerial, DriveEvent)| matches!(event, DriveEvent::Progress { .. });
    assert_eq!(dock.events.lock().unwrap().iter().filter(progress).count(), 0, "no time passed");

    let mut dock = Dock::with(&set);
    dock.hook = Box::new(|dock, event| {
        if let Event::Progress { .. } = event {
            store::Clock::sleep(&*dock.clock, Duration::from_secs(3));
        }
    });
    dock.import("job-1", one).unwrap();
    let objects = dock.manifests[&"D0".parse().unwrap()].len();
    let reports = dock.events.lock().unwrap().iter().filter(progress).count();
    assert_eq!(reports, objects / 2, "every other object, at three seconds each and five between");
}

#[test]
fn the_server_hears_started_first_and_finished_with_all_bytes_last() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    dock.import("job-1", &set.folders[1..2]).unwrap();
    let events = dock.events.lock().unwrap();
    let total = dock.manifests[&"D1".parse().unwrap()].iter().map(|(_, l)| l).sum();
    assert_eq!(events[0].1, DriveEvent::Started);
    let finished = DriveEvent::Finished { bytes: total, failures: vec![], rebuilt: None };
    assert_eq!(events.last().unwrap().1, finished);
}

#[test]
fn returned_drives_are_reported_once_each() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    dock.import_all(&set);
    dock.events.lock().unwrap().clear();
    let name = &set.job.name;
    let one: DriveSerial = "D1".parse().unwrap();
    crate::package::returned_through(&dock, None, name, Some(&[one.clone(), one.clone()])).unwrap();
    assert_eq!(*dock.events.lock().unwrap(), [(one, DriveEvent::Returned)]);
    let stranger = ["D0".parse().unwrap(), "X9".parse().unwrap()];
    let refusal = crate::package::returned_through(&dock, None, name, Some(&stranger)).unwrap_err();
    assert!(matches!(refusal, Error::NotInJob { .. }), "{refusal}");
    assert_eq!(dock.events.lock().unwrap().len(), 1, "refused before anything is said");
    let job = crate::package::returned_through(&dock, None, name, None).unwrap();
    assert!(job.drive_list.iter().all(|drive| drive.state == DriveState::ShippedBack));
    assert_eq!(dock.events.lock().unwrap().len(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn any_order_and_any_number_of_calls_give_the_same_account(
        order in Just(vec![0_usize, 1, 2]).prop_shuffle(),
        calls in prop::collection::vec(1_usize..=2, 1..4),
    ) {
        let set = DriveSet::three();
        let dock = Dock::with(&set);
        let mut left: Vec<PathBuf> = order.iter().map(|at| set.folders[*at].clone()).collect();
        for count in calls {
            let now: Vec<_> = left.drain(..count.min(left.len())).collect();
            prop_assert!(dock.import("job-1", &now).unwrap().is_complete());
        }
        prop_assert!(dock.import("job-1", &left).unwrap().is_complete());
        prop_assert_eq!(contents(dock.account.inner()), contents(&set.source));
    }
}
