//! Processes that die at any step, full drives, drives that go away, drives that lie.

use super::*;
use crate::beneath::faults;
use crate::{DriveState, ReadBack, import, missing, verify};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Lets that many steps happen and fails from then on, as if the process had died. Says whether
/// it came to that.
pub(crate) fn dying<R>(after: u64, act: impl FnOnce() -> R) -> (R, bool) {
    let steps = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&steps);
    let hook = move |_: &'static str, _: &str| {
        let now = counted.fetch_add(1, Ordering::Relaxed) + 1;
        if now > after { Err(io::Error::other("killed")) } else { Ok(()) }
    };
    let result = faults::with(hook, act);
    (result, steps.load(Ordering::Relaxed) > after)
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
    dies_at_any_step(true);
}

#[test]
fn a_process_may_die_at_any_step_where_each_file_is_synced() {
    dies_at_any_step(false);
}

fn dies_at_any_step(whole: bool) {
    let store = small();
    for after in 0.. {
        let mut site = Site::new();
        site.limits.whole = Some(whole);
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
    // Until something has its name: how many steps that takes is no matter.
    for after in 40.. {
        let (_, died) = dying(after, || site.prepare(&store, &drives));
        assert!(died);
        if !marks(&drives).is_empty() {
            break;
        }
    }
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
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        let hook = move |_: &'static str, _: &str| {
            let now = counted.fetch_add(1, Ordering::Relaxed) + 1;
            if now == at { Err(io::Error::from_raw_os_error(code)) } else { Ok(()) }
        };
        let first = faults::with(hook, || site.prepare(&store, &drives));
        if steps.load(Ordering::Relaxed) < at {
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
        let imported = import(&into, &folders, &site.trust(), &mut ()).unwrap();
        assert!(tree(&into) == expected_tree(&store), "step {at} of {first:?}: {imported:?}");
    }
}

#[test]
fn a_full_drive_at_any_step_loses_nothing() {
    each_step_fails_once(28);
}

#[test]
fn a_drive_that_fails_to_read_or_write_at_any_step_can_be_gone_on_with() {
    each_step_fails_once(5);
}

#[test]
fn what_sealing_has_no_room_beside_goes_to_the_next_drive_in_the_same_call() {
    let (site, store) = (Site::new(), small());
    let drives = site.drives(2, 4 << 20);
    let mut sealing = false;
    let mut refused = false;
    let hook = move |action: &'static str, path: &str| {
        sealing |= action == "remove" && path == "packmule/reserve";
        if sealing && !refused && action == "write" && path.starts_with("packmule/") {
            refused = true;
            return Err(io::Error::from_raw_os_error(28));
        }
        Ok(())
    };
    let prepared = faults::with(hook, || site.prepare(&store, &drives)).unwrap();
    assert!(prepared.is_complete(), "{prepared:?}");
    let objects: Vec<u64> = prepared.drives.iter().map(|drive| drive.objects).collect();
    assert_eq!(objects, [8, 1]);
}

#[test]
fn a_drive_that_goes_away_at_any_step_can_be_gone_on_with() {
    each_step_fails_once(19);
}

/// What happened to the files of one drive and of the state folder, step by step.
fn trace(whole: bool) -> Vec<(String, String)> {
    let mut site = Site::new();
    site.limits.whole = Some(whole);
    let drives = site.drives(1, 8 << 20);
    let trace: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let kept = Arc::clone(&trace);
    let hook = move |action: &'static str, path: &str| {
        kept.lock().unwrap().push((action.to_owned(), path.to_owned()));
        Ok(())
    };
    faults::with(hook, || site.prepare(&small(), &drives)).unwrap();
    let steps = trace.lock().unwrap().clone();
    // What the journal does beside it is looked at elsewhere.
    steps.into_iter().filter(|(_, path)| path != "journal").collect()
}

#[test]
fn every_file_is_synced_before_it_has_its_name_and_the_manifest_is_last() {
    for whole in [true, false] {
        let trace = trace(whole);
        let at = |action: &str, path: &str| {
            trace.iter().position(|step| step.0 == action && step.1 == path)
        };
        let manifest = at("rename", "packmule/manifest").unwrap();
        let (mut named, mut objects) = (0, 0);
        for (number, (action, path)) in trace.iter().enumerate() {
            if action != "rename" || path == "packmule/reserve" {
                continue;
            }
            named += 1;
            // A batch is named at once, its folders made on the way.
            let of_a_batch = |step: &&(String, String)| {
                let naming = step.0 == "rename" && step.1.starts_with("repositories/");
                naming || ["mkdir", "rmdir", "remove", "sync folder"].contains(&step.0.as_str())
            };
            let before = trace[..number].iter().rev().find(|step| !of_a_batch(step)).unwrap();
            let object = path.starts_with("repositories/");
            let expected = if whole && object { "sync all" } else { "sync" };
            assert_eq!(before.0, expected, "{path}");
            let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
            if object {
                objects += 1;
                let synced = trace.iter().rposition(|step| match whole {
                    true => step.0 == "sync all",
                    false => step.0 == "sync folder" && step.1 == folder,
                });
                assert!(number < synced.unwrap() && synced.unwrap() < manifest, "{path}");
            }
        }
        assert!(named > 12 && objects == 9);
        assert!(at("rename", "packmule/label") < at("rename", "packmule/inventory"));
        let list = at("rename", "inventory");
        assert!(list < at("rename", "packmule/label"), "the list is kept first");
        let after = trace[manifest + 1..].iter().filter(|step| step.0 == "rename");
        assert_eq!(after.map(|step| step.1.as_str()).collect::<Vec<_>>(), ["manifests/0-0-D0"]);
    }
}

/// Takes a drive away once that many objects are done.
struct TakeAway(PathBuf, usize);

impl Events for TakeAway {
    fn event(&mut self, event: Event<'_>) {
        if matches!(event, Event::ObjectDone { .. }) {
            self.1 = self.1.wrapping_sub(1);
            if self.1 == 0 {
                // The drive's thread may make a file in there at the same moment.
                let again = |why: io::Error| why.kind() == io::ErrorKind::DirectoryNotEmpty;
                while fs::remove_dir_all(&self.0).is_err_and(again) {}
                assert!(!self.0.exists());
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
    let gone: Vec<_> =
        prepared.drives.iter().filter(|drive| drive.state == DriveState::Gone).collect();
    assert_eq!(gone.len(), 1);
    assert!(!prepared.is_complete());
    assert_eq!(prepared.remaining.len() as u64, gone[0].objects, "all else is on the others");
    let fresh = site.drive("fresh", 1_500_000);
    let prepared = site.prepare(&store, std::slice::from_ref(&fresh)).unwrap();
    assert!(prepared.is_complete(), "what was on the lost drive goes onto another");
}

/// Flips a byte of the largest object on the drive, that many times.
struct Lies(AtomicU32);

impl ReadBack for Lies {
    fn refresh(&self, drive: &Path) -> io::Result<()> {
        let less = |times: u32| times.checked_sub(1);
        if self.0.try_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
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
    let lies = Lies(AtomicU32::new(2));
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
    let lies = Lies(AtomicU32::new(u32::MAX));
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

/// Asks to stop when the drive is to be read back.
#[derive(Default)]
struct Impatient {
    asked: AtomicBool,
    /// How often it has said so.
    said: AtomicU32,
}

impl Events for &Impatient {
    fn event(&mut self, _: Event<'_>) {}

    fn stop(&self) -> bool {
        let asked = self.asked.load(Ordering::Relaxed);
        self.said.fetch_add(u32::from(asked), Ordering::Relaxed);
        asked
    }
}

impl ReadBack for Impatient {
    fn refresh(&self, _: &Path) -> io::Result<()> {
        self.asked.store(true, Ordering::Relaxed);
        // When it is asked for the second time, the first answer has been heard.
        while self.said.load(Ordering::Relaxed) < 2 {
            std::thread::yield_now();
        }
        Ok(())
    }
}

#[test]
fn stopping_is_not_losing() {
    let site = Site::new();
    let (store, drives, state) = (small(), site.drives(2, 1_500_000), site.path("state"));
    let impatient = Impatient::default();
    let options = Options { read_back: &impatient, ..site.options(&state) };
    let stopped = crate::prepare(&options, &[&store], &drives, &mut &impatient).unwrap_err();
    assert_eq!(stopped.kind(), model::ErrorKind::Interrupted);
    let before = marks(&drives);
    assert!(!before.is_empty());
    assert!(site.prepare(&store, &drives).unwrap().is_complete());
    let after = marks(&drives);
    assert!(before.iter().all(|(path, mark)| after.get(path) == Some(mark)));
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
fn whoever_is_told_may_die_at_any_event_and_nobody_waits_for_ever() {
    let (site, store) = (Site::new(), small());
    let drives = site.drives(2, 1_500_000);
    let mut deaths = 0;
    loop {
        let call = || site.prepare_with(&store, &drives, &mut Dies(deaths));
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)) {
            Ok(prepared) => break assert!(prepared.unwrap().is_complete()),
            Err(_) => deaths += 1,
        }
    }
    assert!(deaths > 2);
}
