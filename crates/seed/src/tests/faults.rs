//! Processes that die at any step, full drives, drives that go away, drives that lie.

use super::*;
use crate::beneath::faults;
use crate::{DriveState, ReadBack, import, missing, verify};
use std::cell::{Cell, RefCell};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

/// Lets that many steps happen and fails from then on, as if the process had died. Says whether
/// it came to that.
fn dying<R>(after: u64, act: impl FnOnce() -> R) -> (R, bool) {
    let steps = Rc::new(Cell::new(0));
    let counted = Rc::clone(&steps);
    let hook = move |_: &'static str, _: &str| {
        counted.set(counted.get() + 1);
        if counted.get() > after { Err(io::Error::other("killed")) } else { Ok(()) }
    };
    let result = faults::with(hook, act);
    (result, steps.get() > after)
}

/// Inode and time of change of every object under its own name.
fn marks(folders: &[DriveSpec]) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let mut marks = BTreeMap::new();
    for folder in folders {
        for name in
            tree(&folder.folder).into_keys().filter(|name| name.starts_with("repositories/"))
        {
            let path = folder.folder.join(name);
            let meta = fs::metadata(&path).unwrap();
            marks.insert(path, (meta.ino(), meta.mtime(), meta.mtime_nsec()));
        }
    }
    marks
}

fn small() -> Memory {
    repository(3, &[1_200_000, 300_000, 5000])
}

#[test]
fn a_process_may_die_at_any_step_of_writing() {
    let store = small();
    for after in 0.. {
        let site = Site::new();
        let drives = site.drives(2, 1_500_000);
        let (result, died) = dying(after, || site.prepare(&store, &drives));
        if !died {
            assert!(result.unwrap().is_complete());
            assert!(after > 60, "the test has not seen much: {after}");
            break;
        }
        let before = marks(&drives);
        let prepared =
            site.prepare(&store, &drives).unwrap_or_else(|why| panic!("step {after}: {why:?}"));
        assert!(prepared.is_complete(), "step {after}");
        let count: u64 = prepared.drives.iter().map(|drive| drive.objects).sum();
        assert_eq!(
            count,
            prepared.inventory.objects.len() as u64,
            "step {after}: every object once"
        );
        let later = marks(&drives);
        for (path, mark) in before {
            assert_eq!(
                later.get(&path),
                Some(&mark),
                "step {after}: {} was written again",
                path.display()
            );
        }
        for drive in &drives {
            let report = verify(&drive.folder, &site.trust(), &mut ()).unwrap();
            assert!(report.is_intact() && report.extra.is_empty(), "step {after}: {report:?}");
        }
    }
}

#[test]
fn a_lost_state_folder_costs_reading_and_loses_nothing() {
    let store = small();
    let site = Site::new();
    let drives = site.drives(2, 1_500_000);
    let (_, died) = dying(45, || site.prepare(&store, &drives));
    assert!(died);
    let before = marks(&drives);
    assert!(!before.is_empty());
    fs::remove_dir_all(site.path("state")).unwrap();
    let prepared = site.prepare(&store, &drives).unwrap();
    assert!(prepared.is_complete());
    let later = marks(&drives);
    assert!(before.iter().all(|(path, mark)| later.get(path) == Some(mark)));
    fs::remove_dir_all(site.path("state")).unwrap();
    let again = site.prepare(&store, &drives).unwrap();
    assert_eq!(again.inventory_digest, prepared.inventory_digest);
    assert!(again.is_complete());
}

#[test]
fn a_process_may_die_at_any_step_of_an_import() {
    let store = small();
    let site = Site::new();
    let drives = site.drives(2, 1_500_000);
    site.prepare(&store, &drives).unwrap();
    let folders: Vec<PathBuf> = drives.iter().map(|drive| drive.folder.clone()).collect();
    for after in 0.. {
        let into = site.path(&format!("into{after}"));
        let (result, died) = dying(after, || import(&into, &folders, &site.trust(), &mut ()));
        if !died {
            assert!(result.unwrap().seeds[0].published);
            assert!(after > 40, "the test has not seen much: {after}");
            break;
        }
        let published = fs::read_dir(into.join("snapshots")).map_or(0, Iterator::count);
        if published > 0 {
            let mut there = tree(&into);
            there.retain(|path, _| !path.starts_with("pending/"));
            assert_eq!(
                there,
                expected_tree(&store),
                "step {after}: a published snapshot is complete"
            );
        }
        for seed in missing(&into).unwrap_or_default() {
            let forgotten = published > 0 && (!seed.inventory || !seed.wanted.is_empty());
            assert!(!forgotten, "step {after}: what is published is not wanted: {seed:?}");
        }
        let imported = import(&into, &folders, &site.trust(), &mut ()).unwrap();
        for (drive, result) in &imported.drives {
            assert!(result.is_ok(), "step {after}: {}: {result:?}", drive.display());
        }
        assert_eq!(tree(&into), expected_tree(&store), "step {after}");
        assert_eq!(missing(&into).unwrap(), vec![]);
    }
}

/// One fault at each step in turn: what the operating system answers, once.
fn each_step_fails_once(code: i32) {
    let store = small();
    for at in 1.. {
        let site = Site::new();
        let drives = site.drives(3, 1_500_000);
        let steps = Rc::new(Cell::new(0));
        let counted = Rc::clone(&steps);
        let hook = move |_: &'static str, _: &str| {
            counted.set(counted.get() + 1);
            if counted.get() == at { Err(io::Error::from_raw_os_error(code)) } else { Ok(()) }
        };
        let first = faults::with(hook, || site.prepare(&store, &drives));
        if steps.get() < at {
            break;
        }
        if let Ok(first) = &first {
            let sealed: u64 = first
                .drives
                .iter()
                .filter(|d| d.state == DriveState::Sealed)
                .map(|d| d.objects)
                .sum();
            assert!(sealed + first.remaining.len() as u64 >= first.inventory.objects.len() as u64);
        }
        let sealed: Vec<_> = drives
            .iter()
            .filter(|d| d.folder.join("packmule/manifest").exists())
            .map(|d| (d, tree(&d.folder)))
            .collect();
        let prepared =
            site.prepare(&store, &drives).unwrap_or_else(|why| panic!("step {at}: {why:?}"));
        assert!(prepared.is_complete(), "step {at} of {first:?}");
        for (drive, before) in sealed {
            assert_eq!(tree(&drive.folder), before, "step {at}: a sealed drive was changed");
        }
        let folders: Vec<PathBuf> = drives
            .iter()
            .map(|drive| drive.folder.clone())
            .filter(|folder| folder.join("packmule/manifest").exists())
            .collect();
        let into = site.path("into");
        import(&into, &folders, &site.trust(), &mut ()).unwrap();
        assert_eq!(tree(&into), expected_tree(&store), "step {at}");
    }
}

#[test]
fn a_full_drive_at_any_step_loses_nothing() {
    each_step_fails_once(28);
}

#[test]
fn what_sealing_has_no_room_beside_goes_to_the_next_drive_in_the_same_call() {
    let (site, store) = (Site::new(), small());
    let drives = site.drives(2, 4 << 20);
    let mut sealing = false;
    let mut refused = false;
    let hook = move |action: &'static str, path: &str| {
        sealing |= action == "remove" && path == "packmule/reserve";
        if sealing && !refused && action == "write" {
            refused = true;
            return Err(io::Error::from_raw_os_error(28));
        }
        Ok(())
    };
    let prepared = faults::with(hook, || site.prepare(&store, &drives)).unwrap();
    assert!(prepared.is_complete());
    let objects: Vec<u64> = prepared.drives.iter().map(|drive| drive.objects).collect();
    assert_eq!(objects, [8, 1]);
}

#[test]
fn a_drive_that_goes_away_at_any_step_can_be_gone_on_with() {
    each_step_fails_once(19);
}

#[test]
fn every_file_is_synced_before_it_has_its_name_and_the_manifest_is_last() {
    let site = Site::new();
    let drives = site.drives(1, 8 << 20);
    let trace: Rc<RefCell<Vec<(String, String)>>> = Rc::default();
    let kept = Rc::clone(&trace);
    let hook = move |action: &'static str, path: &str| {
        kept.borrow_mut().push((action.to_owned(), path.to_owned()));
        Ok(())
    };
    faults::with(hook, || site.prepare(&small(), &drives)).unwrap();
    let trace = trace.borrow();
    let at =
        |action: &str, path: &str| trace.iter().position(|step| step.0 == action && step.1 == path);
    let mut named = 0;
    for (number, (action, path)) in trace.iter().enumerate() {
        if action != "rename" || path == "packmule/reserve" {
            continue;
        }
        let (last, _) = &trace[number - 1];
        assert_eq!(last, "sync", "{path}");
        named += 1;
        if path.starts_with("repositories/") {
            let folder = path.rsplit_once('/').unwrap().0;
            let synced =
                trace.iter().rposition(|step| step.0 == "sync folder" && step.1 == folder).unwrap();
            assert!(
                number < synced && synced < at("rename", "packmule/manifest").unwrap(),
                "{path}"
            );
        }
    }
    assert!(named > 12);
    assert!(at("rename", "packmule/label") < at("rename", "packmule/inventory"));
    assert!(at("rename", "inventory") < at("rename", "packmule/label"), "the list is kept first");
    let after: Vec<_> = trace[at("rename", "packmule/manifest").unwrap() + 1..]
        .iter()
        .filter(|step| step.0 == "rename")
        .map(|step| step.1.as_str())
        .collect();
    assert_eq!(after, ["manifests/0-0-D0"]);
}

/// Takes a drive away once that many objects are done.
struct TakeAway(PathBuf, usize);

impl Events for TakeAway {
    fn event(&mut self, event: Event<'_>) {
        if matches!(event, Event::ObjectDone { .. }) {
            self.1 = self.1.wrapping_sub(1);
            if self.1 == 0 {
                fs::remove_dir_all(&self.0).unwrap();
            }
        }
    }
}

#[test]
fn a_drive_taken_away_in_the_middle_is_told_and_the_others_go_on() {
    let site = Site::new();
    let store = repository(8, &[300_000, 300_000, 300_000, 300_000, 300_000]);
    let drives = site.drives(3, 1_500_000);
    let prepared =
        site.prepare_with(&store, &drives, &mut TakeAway(drives[0].folder.clone(), 4)).unwrap();
    assert_eq!(prepared.drives.iter().filter(|drive| drive.state == DriveState::Gone).count(), 1);
    assert!(!prepared.is_complete());
    assert_eq!(prepared.remaining.len(), 4);
    let fresh = site.drive("fresh", 1_500_000);
    let prepared = site.prepare(&store, std::slice::from_ref(&fresh)).unwrap();
    assert!(prepared.is_complete(), "what was on the lost drive goes onto another");
}

/// Flips a byte of the largest object on the drive, that many times.
struct Lies(Cell<u32>);

impl ReadBack for Lies {
    fn refresh(&self, drive: &Path) -> io::Result<()> {
        if self.0.get() > 0 {
            self.0.set(self.0.get() - 1);
            let objects =
                tree(drive).into_iter().filter(|(name, _)| name.starts_with("repositories/"));
            let (name, mut bytes) = objects.max_by_key(|(_, bytes)| bytes.len()).unwrap();
            bytes[0] ^= 1;
            fs::write(drive.join(name), bytes)?;
        }
        Ok(())
    }
}

#[test]
fn what_does_not_come_back_right_is_written_again_before_sealing() {
    let site = Site::new();
    let state = site.path("state");
    let drives = site.drives(1, 8 << 20);
    let store = small();
    let lies = Lies(Cell::new(2));
    let options = Options { read_back: &lies, ..site.options(&state) };
    let mut words = Words::default();
    let prepared = crate::prepare(&options, &[&store], &drives, &mut words).unwrap();
    assert!(prepared.is_complete());
    assert_eq!(words.count("Problem"), 2);
    assert!(verify(&drives[0].folder, &site.trust(), &mut ()).unwrap().is_intact());
}

#[test]
fn a_drive_that_never_gives_back_what_was_written_is_never_sealed() {
    let site = Site::new();
    let state = site.path("state");
    let drives = site.drives(1, 8 << 20);
    let lies = Lies(Cell::new(u32::MAX));
    let options = Options { read_back: &lies, ..site.options(&state) };
    let prepared = crate::prepare(&options, &[&small()], &drives, &mut ()).unwrap();
    assert_eq!(prepared.drives[0].state, DriveState::Unreliable);
    assert_eq!(prepared.remaining, prepared.inventory.objects);
    assert!(!drives[0].folder.join("packmule/manifest").exists());
}

#[test]
fn a_damaged_object_at_the_source_is_named_and_the_rest_is_shipped() {
    let site = Site::new();
    let store = small();
    let bad = add(&store, ObjectKind::Pack, &noise(77, 9000));
    store.overwrite(&bad, &noise(78, 9000));
    let drives = site.drives(1, 8 << 20);
    let prepared = site.prepare(&store, &drives).unwrap();
    assert_eq!(prepared.problems.len(), 1);
    assert_eq!(
        (prepared.problems[0].key, &prepared.problems[0].reason),
        (bad, &crate::Reason::Hash)
    );
    assert_eq!(prepared.remaining.iter().map(crate::Object::key).collect::<Vec<_>>(), [bad]);
    let report = verify(&drives[0].folder, &site.trust(), &mut ()).unwrap();
    assert!(report.is_intact() && report.extra.is_empty());
    let into = site.path("into");
    let imported = import(&into, &[drives[0].folder.clone()], &site.trust(), &mut ()).unwrap();
    assert!(!imported.seeds[0].published);
    assert_eq!(
        imported.seeds[0].missing.wanted.iter().map(|wanted| wanted.key).collect::<Vec<_>>(),
        [bad]
    );

    // Once the source is healed, one more drive brings what was missing.
    store.overwrite(&bad, &noise(77, 9000));
    let more = site.drive("more", 8 << 20);
    assert!(site.prepare(&store, std::slice::from_ref(&more)).unwrap().is_complete());
    let imported = import(&into, &[more.folder], &site.trust(), &mut ()).unwrap();
    assert!(imported.seeds[0].published);
    assert_eq!(tree(&into), expected_tree(&store));
}

/// Asks to stop after the first object.
struct Impatient(Cell<bool>);

impl Events for Impatient {
    fn event(&mut self, event: Event<'_>) {
        self.0.set(self.0.get() || matches!(event, Event::ObjectDone { .. }));
    }

    fn stop(&self) -> bool {
        self.0.get()
    }
}

#[test]
fn stopping_is_not_losing() {
    let site = Site::new();
    let (store, drives) = (small(), site.drives(1, 8 << 20));
    let mut calls = 0;
    loop {
        calls += 1;
        let result = site.prepare_with(&store, &drives, &mut Impatient(Cell::new(false)));
        match result {
            Ok(prepared) => break assert!(prepared.is_complete()),
            Err(error) => assert_eq!(error.kind(), model::ErrorKind::Interrupted),
        }
    }
    assert!(calls > 5);
}
