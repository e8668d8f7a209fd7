//! Drives taken in side by side: faults at every step, a full destination, slow and pulled drives, and
//! what is hashed again before it is published.

use super::*;
use crate::arrive::Ground;
use crate::arrived::FolderLanding;
use crate::beneath::{Beneath, faults};
use crate::drive;
use crate::intake::{Admit, Stopped, take_in};
use crate::landing::{Admission, Destination, import_within};
use crate::{Imported, Reason, missing, object_path};
use model::ErrorKind;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

fn small() -> Memory {
    repository(3, &[1_200_000, 300_000, 5000])
}

fn sealed(site: &Site, store: &Memory, count: usize, capacity: u64) -> Vec<PathBuf> {
    let drives = site.drives(count, capacity);
    assert!(site.prepare(store, &drives).unwrap().is_complete());
    drives.into_iter().map(|drive| drive.folder).collect()
}

fn import(site: &Site, into: &Path, folders: &[PathBuf]) -> Result<Imported, Error> {
    import_told(site, into, folders, &mut ())
}

fn import_told(
    site: &Site,
    into: &Path,
    folders: &[PathBuf],
    events: &mut dyn Events,
) -> Result<Imported, Error> {
    import_within(site.limits, into, folders, &site.trust(), events)
}

/// Objects that wait under their names.
fn waiting(into: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut tree = tree(into);
    tree.retain(|path, _| path.starts_with("pending/") && path.contains("/repositories/"));
    tree
}

/// One fault at each step in turn: what the operating system answers, once. Nothing wrong is
/// published then, and the same call afterwards does all of it.
fn each_step_fails_once(code: i32, whole: bool) {
    let mut site = Site::new();
    site.limits.whole = Some(whole);
    let store = small();
    let folders = sealed(&site, &store, 2, 1_500_000);
    let expected = expected_tree(&store);
    for at in 1.. {
        let into = site.path("into");
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        let hook = move |_: &'static str, _: &str| {
            let now = counted.fetch_add(1, Ordering::Relaxed) + 1;
            if now == at { Err(io::Error::from_raw_os_error(code)) } else { Ok(()) }
        };
        let first = faults::with(hook, || import(&site, &into, &folders));
        if steps.load(Ordering::Relaxed) < at {
            assert!(first.unwrap().seeds[0].published && at > 60, "{at}");
            break;
        }
        if into.join("snapshots").read_dir().is_ok_and(|mut names| names.next().is_some()) {
            let mut there = tree(&into);
            there.retain(|path, _| !path.starts_with("pending/"));
            assert!(there == expected, "step {at}: a published snapshot is complete");
        }
        let again = import(&site, &into, &folders).unwrap();
        assert!(again.drives.iter().all(|(_, drive)| drive.is_ok()), "step {at}: {again:?}");
        assert!(tree(&into) == expected, "step {at} of {first:?}: {again:?}");
        fs::remove_dir_all(into).unwrap();
    }
}

#[test]
fn a_step_of_an_import_that_fails_can_be_gone_on_with() {
    each_step_fails_once(5, true);
}

#[test]
fn a_step_of_an_import_that_finds_no_room_can_be_gone_on_with() {
    each_step_fails_once(28, true);
}

#[test]
fn a_step_that_fails_where_each_file_is_synced_can_be_gone_on_with() {
    each_step_fails_once(5, false);
}

#[test]
fn a_full_destination_keeps_what_has_arrived_and_goes_on_when_there_is_room() {
    let site = Site::new();
    let store = repository(5, &[400_000; 8]);
    let folders = sealed(&site, &store, 2, 3_000_000);
    let Some(room) = Tmpfs::mount(site.path("into"), 6 << 10) else {
        return skip("a_full_destination", "no mounting here");
    };
    let filler = room.0.join("filler");
    fs::write(&filler, noise(1, 4_500_000)).unwrap();
    let full = import(&site, &room.0, &folders).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::Full, "{full:?}");
    let kept = waiting(&room.0);
    assert!(kept.values().any(|bytes| bytes.len() == 400_000), "{:?}", kept.keys());
    let partials = tree(&room.0).into_keys().filter(|path| path.contains("/partials/"));
    assert_eq!(partials.count(), 0);
    fs::remove_file(filler).unwrap();
    let imported = import(&site, &room.0, &folders).unwrap();
    let already: u64 = imported.drives.iter().map(|(_, d)| d.as_ref().unwrap().already).sum();
    assert_eq!(already, kept.len() as u64);
    assert!(tree(&room.0) == expected_tree(&store));
}

#[test]
fn a_drive_pulled_in_the_middle_has_given_what_was_read_and_the_others_go_on() {
    let site = Site::new();
    let store = repository(6, &[300_000; 12]);
    let folders = sealed(&site, &store, 2, 2_400_000);
    let packs = |folder: &Path| -> Vec<String> {
        tree(folder).into_keys().filter(|path| path.contains("/data/")).collect()
    };
    // Names ascend as the manifest does.
    let (first, all) = (packs(&folders[0]), folders[0].clone());
    assert!(first.len() > 4);
    let (last, away) = (first[first.len() - 1].clone(), site.path("away"));
    let moved = away.clone();
    let hook = move |action: &'static str, path: &str| {
        if action == "open" && path == last && all.is_dir() {
            // The open folder stays open: what was in it must go.
            fs::create_dir(&moved).unwrap();
            for entry in fs::read_dir(&all).unwrap() {
                let from = entry.unwrap().path();
                fs::rename(&from, moved.join(from.file_name().unwrap())).unwrap();
            }
        }
        Ok(())
    };
    let into = site.path("into");
    let imported = faults::with(hook, || import(&site, &into, &folders)).unwrap();
    assert!(matches!(imported.drives[0].1, Err(Error::Gone { .. })), "{imported:?}");
    let other = imported.drives[1].1.as_ref().unwrap();
    assert!(other.problems.is_empty() && other.copied > 0);
    let there = waiting(&into);
    for path in &first[..first.len() - 1] {
        assert!(there.keys().any(|name| name.ends_with(path)), "{path}");
    }
    let back = import(&site, &into, &[away]).unwrap();
    assert!(back.seeds[0].published);
    assert!(tree(&into) == expected_tree(&store));
}

/// Lets one folder in when the door is opened.
struct Gate<'a> {
    inner: &'a dyn Admit,
    slow: &'a Path,
    open: &'a (Mutex<bool>, Condvar),
}

impl Admit for Gate<'_> {
    fn admit(&self, drive: &Beneath) -> Result<(drive::Sealed, FolderLanding), Stopped> {
        if drive.path() == self.slow {
            let closed = self.open.0.lock().unwrap();
            drop(self.open.1.wait_while(closed, |open| !*open).unwrap());
        }
        self.inner.admit(drive)
    }
}

/// Opens the door once so many objects are done.
struct Opens<'a>(usize, &'a (Mutex<bool>, Condvar));

impl Events for Opens<'_> {
    fn event(&mut self, event: Event<'_>) {
        if let Event::ObjectDone { .. } = event {
            self.0 = self.0.saturating_sub(1);
            if self.0 == 0 {
                *self.1.0.lock().unwrap() = true;
                self.1.1.notify_all();
            }
        }
    }
}

#[test]
fn a_slow_drive_holds_up_nobody() {
    let site = Site::new();
    let store = repository(7, &[300_000; 6]);
    let folders = sealed(&site, &store, 2, 1_500_000);
    let others = tree(&folders[1]).into_keys().filter(|path| path.starts_with("repositories/"));
    let others = others.count();
    let into = site.path("into");
    fs::create_dir(&into).unwrap();
    let destination = Destination::open(&into).unwrap();
    let ground = Ground::new(&destination.folder, &site.limits);
    let trust = site.trust();
    let inner = Admission { destination: &destination, trust: &trust, seeds: Mutex::default() };
    let open = (Mutex::new(false), Condvar::new());
    let gate = Gate { inner: &inner, slow: &folders[0], open: &open };
    let mut events = Opens(others, &open);
    let intake = take_in(&folders, &gate, (&ground, site.limits), None, &mut events).unwrap();
    assert!(intake.drives.iter().all(Result::is_ok));
}

#[test]
fn an_object_on_two_drives_that_come_together_arrives_once() {
    let site = Site::new();
    let store = repository(8, &[300_000; 6]);
    let mut folders = sealed(&site, &store, 1, 8 << 20);
    for copy in 1..4 {
        let to = site.path(&format!("copy{copy}"));
        let copied = Command::new("cp").arg("-r").arg(&folders[0]).arg(&to).status().unwrap();
        assert!(copied.success());
        folders.push(to);
    }
    let into = site.path("into");
    let mut words = Words::default();
    let imported = import_told(&site, &into, &folders, &mut words).unwrap();
    let drives: Vec<_> = imported.drives.iter().map(|(_, drive)| drive.as_ref().unwrap()).collect();
    let objects = expected_tree(&store).len() as u64;
    assert_eq!(drives.iter().map(|drive| drive.copied).sum::<u64>(), objects);
    assert_eq!(words.count("ObjectDone") as u64, objects);
    assert_eq!(words.count("ObjectThere") as u64, 3 * objects);
    assert!(drives.iter().all(|drive| drive.copied + drive.already == objects));
    assert!(tree(&into) == expected_tree(&store));
}

/// Steps on the destination and on drives, as far as an import has got when `stop` says no more.
fn steps(
    site: &Site,
    (into, folders): (&Path, &[PathBuf]),
    fails: impl Fn(&str, &str) -> bool + Send + 'static,
) -> (Result<Imported, Error>, Vec<(String, String)>) {
    let trace: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let kept = Arc::clone(&trace);
    let hook = move |action: &'static str, path: &str| {
        kept.lock().unwrap().push((action.to_owned(), path.to_owned()));
        if fails(action, path) { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    };
    let result = faults::with(hook, || import(site, into, folders));
    let steps = trace.lock().unwrap().clone();
    (result, steps)
}

fn is_waiting_object(path: &str) -> bool {
    path.starts_with("pending/") && path.contains("/repositories/")
}

#[test]
fn every_object_is_synced_before_it_has_its_name_and_its_name_before_publication() {
    for whole in [true, false] {
        let mut site = Site::new();
        site.limits.whole = Some(whole);
        let folders = sealed(&site, &small(), 1, 8 << 20);
        let (result, steps) = steps(&site, (&site.path("into"), &folders), |_, _| false);
        assert!(result.unwrap().seeds[0].published);
        let (mut unsynced, mut unlasting, mut named) = (0, 0, 0);
        for (action, path) in &steps {
            match action.as_str() {
                "create" if path.contains("/partials/") => unsynced += 1,
                "sync" if path.contains("/partials/") => unsynced -= 1,
                "sync all" => (unsynced, unlasting) = (0, 0),
                "sync folder" if is_waiting_object(path) => unlasting = 0,
                "rename" if is_waiting_object(path) => {
                    assert_eq!(unsynced, 0, "{path}");
                    (named, unlasting) = (named + 1, unlasting + 1);
                }
                // Keys and config are published first, in any case after the last name.
                "rename" if !path.starts_with("pending/") => assert_eq!(unlasting, 0, "{path}"),
                _ => {}
            }
        }
        assert_eq!(named, 9);
    }
}

#[test]
fn once_a_sync_has_failed_nothing_gets_a_name() {
    let site = Site::new();
    let folders = sealed(&site, &repository(9, &[400_000; 8]), 2, 3_000_000);
    let once = AtomicBool::new(true);
    let fails =
        move |action: &str, _: &str| action == "sync all" && once.swap(false, Ordering::Relaxed);
    let into = site.path("into");
    let (result, steps) = steps(&site, (&into, &folders), fails);
    assert!(result.is_err());
    let failed = steps.iter().position(|(action, _)| action == "sync all").unwrap();
    let named = |step: &&(String, String)| step.0 == "rename" && is_waiting_object(&step.1);
    assert_eq!(steps[failed..].iter().find(named), None);
    assert!(waiting(&into).is_empty());
}

#[test]
fn what_a_call_has_verified_is_not_read_again_and_everything_else_is() {
    let site = Site::new();
    let store = small();
    let folders = sealed(&site, &store, 2, 1_500_000);
    let reads = |steps: &[(String, String)]| {
        let read = |step: &&(String, String)| step.0 == "open" && is_waiting_object(&step.1);
        steps.iter().filter(read).count()
    };
    let (result, at_once) = steps(&site, (&site.path("at once"), &folders), |_, _| false);
    assert!(result.unwrap().seeds[0].published);
    assert_eq!(reads(&at_once), 0);
    let into = site.path("one by one");
    import(&site, &into, &folders[..1]).unwrap();
    let first = waiting(&into).len();
    let (result, second) = steps(&site, (&into, &folders[1..]), |_, _| false);
    assert!(result.unwrap().seeds[0].published);
    assert_eq!(reads(&second), first);
}

#[test]
fn what_a_killed_call_has_named_is_hashed_before_it_is_published() {
    let site = Site::new();
    let store = small();
    let folders = sealed(&site, &store, 2, 1_500_000);
    let into = site.path("into");
    // Killed before the first object is published.
    let killed = |action: &str, path: &str| action == "rename" && !path.starts_with("pending/");
    assert!(steps(&site, (&into, &folders), killed).0.is_err());
    let there = waiting(&into);
    assert_eq!(there.len(), expected_tree(&store).len());
    let (name, bytes) = there.iter().find(|(_, bytes)| bytes.len() == 300_000).unwrap();
    let mut damaged = bytes.clone();
    damaged[70_000] ^= 1;
    fs::write(into.join(name), damaged).unwrap();
    let imported = import(&site, &into, &folders).unwrap();
    assert!(!imported.seeds[0].published);
    let wanted = &missing(&into).unwrap()[0].wanted;
    assert_eq!(wanted.len(), 1);
    assert!(name.ends_with(&object_path(&wanted[0].repository, &wanted[0].key)));
    assert!(import(&site, &into, &folders).unwrap().seeds[0].published);
    assert!(tree(&into) == expected_tree(&store));
}

#[test]
fn what_a_killed_call_has_verified_and_not_named_is_read_again_from_the_drive() {
    let site = Site::new();
    let store = small();
    let folders = sealed(&site, &store, 1, 8 << 20);
    let into = site.path("into");
    let dead = AtomicBool::new(false);
    let killed = move |action: &str, path: &str| {
        let naming = action == "rename" && is_waiting_object(path);
        dead.fetch_or(naming, Ordering::Relaxed) || naming
    };
    assert!(steps(&site, (&into, &folders), killed).0.is_err());
    assert!(waiting(&into).is_empty());
    let partials: Vec<_> =
        tree(&into).into_keys().filter(|path| path.contains("/partials/")).collect();
    assert!(!partials.is_empty());
    for partial in partials {
        fs::write(into.join(partial), "anything").unwrap();
    }
    let imported = import(&site, &into, &folders).unwrap();
    let objects = expected_tree(&store).len() as u64;
    assert_eq!(imported.drives[0].1.as_ref().unwrap().copied, objects);
    assert!(tree(&into) == expected_tree(&store));
}

#[test]
fn damaged_objects_of_any_length_fail_alone_among_many() {
    let site = Site::new();
    // The last one is too long to be held: it is written while it is read.
    let store = repository(10, &[100, 300_000, 300_000, 700_000, 5_000_000]);
    let folders = sealed(&site, &store, 1, 32 << 20);
    let mut damaged = Vec::new();
    for (path, bytes) in tree(&folders[0]) {
        if path.contains("/data/") && [300_000, 5_000_000].contains(&bytes.len()) {
            let mut wrong = bytes.clone();
            *wrong.last_mut().unwrap() ^= 1;
            fs::write(folders[0].join(&path), wrong).unwrap();
            damaged.push((path, bytes));
        }
    }
    let into = site.path("into");
    let imported = import(&site, &into, &folders).unwrap();
    let problems = &imported.drives[0].1.as_ref().unwrap().problems;
    assert_eq!(problems.len(), damaged.len());
    assert!(problems.iter().all(|problem| problem.reason == Reason::Hash));
    for (path, _) in &damaged {
        assert!(waiting(&into).keys().all(|name| !name.ends_with(path)));
    }
    for (path, bytes) in damaged {
        fs::write(folders[0].join(path), bytes).unwrap();
    }
    assert!(import(&site, &into, &folders).unwrap().seeds[0].published);
    assert!(tree(&into) == expected_tree(&store));
}

/// Dies at an event.
struct Dies(usize);

impl Events for Dies {
    fn event(&mut self, event: Event<'_>) {
        assert!(self.0 > 0, "dies at {event:?}");
        self.0 -= 1;
    }
}

#[test]
fn whoever_is_told_may_die_at_any_event_of_an_import_and_nobody_waits_for_ever() {
    let (site, store) = (Site::new(), small());
    let folders = sealed(&site, &store, 2, 1_500_000);
    let mut deaths = 0;
    loop {
        let into = site.path(&format!("into{deaths}"));
        let call = || import_told(&site, &into, &folders, &mut Dies(deaths));
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)) {
            Ok(imported) => break assert!(imported.unwrap().seeds[0].published),
            Err(_) => deaths += 1,
        }
        assert!(import(&site, &into, &folders).unwrap().seeds[0].published);
    }
    assert!(deaths > 9);
}

/// Asks to stop once so many objects are done.
struct StopsAfter(usize);

impl Events for StopsAfter {
    fn event(&mut self, event: Event<'_>) {
        if let Event::ObjectDone { .. } = event {
            self.0 = self.0.saturating_sub(1);
        }
    }

    fn stop(&self) -> bool {
        self.0 == 0
    }
}

#[test]
fn stopping_an_import_keeps_what_has_arrived() {
    let (site, store) = (Site::new(), repository(11, &[300_000; 12]));
    let folders = sealed(&site, &store, 2, 3_000_000);
    let into = site.path("into");
    let stopped = import_told(&site, &into, &folders, &mut StopsAfter(2)).unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::Interrupted);
    let kept = waiting(&into).len() as u64;
    assert!(kept >= 2 && !into.join("config").exists());
    let imported = import(&site, &into, &folders).unwrap();
    let already: u64 = imported.drives.iter().map(|(_, d)| d.as_ref().unwrap().already).sum();
    assert_eq!(already, kept);
    assert!(tree(&into) == expected_tree(&store));
}
