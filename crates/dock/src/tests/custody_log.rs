//! What a dock says of the drives: in its own chain before the server hears of it, sent sooner or later.

use super::{Dock, DriveSet};
use crate::package::returned_through;
use std::sync::atomic::Ordering;

fn sorted(mut words: Vec<String>) -> Vec<String> {
    words.sort();
    words
}

fn all(words: &[&str]) -> Vec<String> {
    let each = |drive: usize| words.iter().map(move |word| format!("{word} D{drive}"));
    sorted((0..3).flat_map(each).collect())
}

#[test]
fn what_is_done_to_a_drive_is_said_once_and_in_order() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    dock.import_all(&set);
    dock.import_all(&set);
    let chain = dock.chain();
    assert_eq!(sorted(chain.clone()), all(&["received", "ingested", "verified"]));
    for drive in ["D0", "D1", "D2"] {
        let own = chain.iter().filter_map(|word| word.strip_suffix(&format!(" {drive}")));
        assert_eq!(own.collect::<Vec<_>>(), ["received", "ingested", "verified"]);
    }
    dock.noting(|custody| returned_through(&dock, Some(custody), &set.job.name, None)).unwrap();
    dock.noting(|custody| returned_through(&dock, Some(custody), &set.job.name, None)).unwrap();
    assert_eq!(sorted(dock.chain()[9..].to_vec()), all(&["returned"]));
    assert!(dock.unsent.lock().unwrap().is_empty());
}

#[test]
fn a_drive_that_lacks_objects_is_ingested_and_not_verified() {
    let set = DriveSet::three();
    let (path, _) = set.object(1, "data");
    std::fs::remove_file(path).unwrap();
    let dock = Dock::with(&set);
    dock.import(set.job.name.as_str(), &set.folders).unwrap();
    let chain = dock.chain();
    assert!(chain.contains(&"ingested D1".to_owned()), "{chain:?}");
    assert!(!chain.contains(&"verified D1".to_owned()), "{chain:?}");
    assert!(chain.contains(&"verified D0".to_owned()), "{chain:?}");
    let lines = dock.custody.lock().unwrap();
    let ingested = lines.iter().find(|line| line.contains("ingested") && line.contains("D1"));
    assert!(ingested.unwrap().contains(r#""missing":1"#), "{ingested:?}");
}

#[test]
fn a_server_that_takes_no_entries_stops_nothing_and_gets_them_later() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    dock.custody_away.store(true, Ordering::Relaxed);
    dock.import_all(&set);
    assert!(dock.chain().is_empty());
    assert!(dock.unsent.lock().unwrap()[0].contains("away"));
    dock.custody_away.store(false, Ordering::Relaxed);
    dock.noting(|custody| returned_through(&dock, Some(custody), &set.job.name, None)).unwrap();
    let words = ["received", "ingested", "verified", "returned"];
    assert_eq!(sorted(dock.chain()), all(&words));
}

#[test]
fn drives_that_left_before_it_was_noted_are_noted_by_the_next_call() {
    let set = DriveSet::three();
    let dock = Dock::with(&set);
    dock.import_all(&set);
    // The call that has sent them home died before it wrote anything.
    returned_through(&dock, None, &set.job.name, None).unwrap();
    dock.noting(|custody| returned_through(&dock, Some(custody), &set.job.name, None)).unwrap();
    assert_eq!(sorted(dock.chain()[9..].to_vec()), all(&["returned"]));
    // Drives that were never in hand here are not this dock's to speak of.
    let other = Dock::with(&set);
    other.jobs.lock().unwrap().clone_from(&dock.jobs.lock().unwrap());
    other.noting(|custody| returned_through(&other, Some(custody), &set.job.name, None)).unwrap();
    assert!(other.chain().is_empty());
}
