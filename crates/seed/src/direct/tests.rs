//! A set without staging over an engine of a few lines, and two backups: packs are put until all are there, then an index of all
//! that are listed, then a snapshot, other ones in each pass. Full drives, drives that lie and go away, processes that die at any step.

use super::*;
use crate::beneath::faults;
use crate::prepare::DriveState;
use crate::tests::{Site, add, expected_tree, noise, tree};
use crate::{Event, Object, PlainReads, import, verify};
use ::store::Memory;
use ::store::conformance::key_of;
use model::{ObjectKey, ObjectKind};
use proptest::prelude::*;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Some 300 KB of it are kept for what every drive has, and for what comes at the end.
const ROOM: u64 = 1_200_000;

/// What is backed up, where, and what was done for it.
struct Case {
    site: Site,
    packs: Vec<Vec<u8>>,
    /// Packs of the place that the drives go to, which what is backed up relies on.
    elsewhere: Vec<Vec<u8>>,
    window: u64,
    /// Bytes of the trees of each backup.
    trees: usize,
    local: Arc<Memory>,
    /// Packs that the engine has made, over all passes.
    made: AtomicU64,
    passes: AtomicU64,
    /// Indexes of which every pack was listed when they were stored.
    whole: AtomicU64,
}

/// Gives drives, and counts.
#[derive(Default)]
struct Desk {
    drives: Vec<DriveSpec>,
    written: u64,
    started: Vec<String>,
    sealed: Vec<String>,
    gone: Vec<String>,
    problems: usize,
    refused: Vec<String>,
    /// A drive is taken away when so many objects are done.
    take: Option<(usize, PathBuf)>,
}

impl Events for Desk {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Writing { bytes, .. } => self.written += bytes,
            Event::DriveStarted { serial } => self.started.push(serial.to_string()),
            Event::DriveSealed { serial } => self.sealed.push(serial.to_string()),
            Event::DriveGone { serial } => self.gone.push(serial.to_string()),
            Event::Problem { .. } => self.problems += 1,
            Event::ObjectDone { .. } => {
                if let Some((left, folder)) = &mut self.take {
                    *left = left.wrapping_sub(1);
                    // What is sealed counts for ever: losing it is another matter.
                    if *left == 0 && !folder.join("packmule/manifest").exists() {
                        let again = |why: io::Error| why.kind() == io::ErrorKind::DirectoryNotEmpty;
                        while fs::remove_dir_all(&*folder).is_err_and(again) {}
                    }
                }
            }
            _ => {}
        }
    }
}

impl Host for Desk {
    fn before_sealing(&mut self) -> bool {
        true
    }

    fn next_drive(&mut self, refused: Option<&Error>) -> Option<DriveSpec> {
        self.refused.extend(refused.map(ToString::to_string));
        (!self.drives.is_empty()).then(|| self.drives.remove(0))
    }
}

impl Case {
    fn new(packs: &[usize]) -> Self {
        let packs = (1..).zip(packs).map(|(n, length)| noise(n * 77, *length)).collect();
        let (made, passes) = (AtomicU64::new(0), AtomicU64::new(0));
        let local = Memory::new();
        local.create().unwrap();
        local.put(&ObjectKey::Config, &noise(1, 155)).unwrap();
        add(&local, ObjectKind::Key, &noise(2, 460));
        let (site, local) = (Site::new(), Arc::new(local));
        let (elsewhere, whole, window) = (Vec::new(), AtomicU64::new(0), 700_000);
        Self { site, packs, elsewhere, window, trees: 9000, local, made, passes, whole }
    }

    fn drive(&self, name: &str, capacity: u64) -> DriveSpec {
        self.site.drive(name, capacity)
    }

    fn local(&self) -> Arc<dyn Store> {
        Arc::<Memory>::clone(&self.local)
    }

    /// What everything but the packs of data takes, once all of it is there.
    fn documents(&self) -> u64 {
        expected_tree(&self.local).values().map(|bytes| bytes.len() as u64).sum()
    }

    fn run(&self, drives: &[DriveSpec], desk: &mut dyn Host) -> (Option<Report>, Ended) {
        self.run_with(&PlainReads, drives, desk)
    }

    /// Until it is complete, or cannot go on.
    fn run_with(
        &self,
        read_back: &dyn ReadBack,
        drives: &[DriveSpec],
        desk: &mut dyn Host,
    ) -> (Option<Report>, Ended) {
        let (state, local) = (self.site.path("state"), self.local());
        let mut elsewhere: Vec<crate::Object> =
            self.elsewhere.iter().map(|pack| object(pack)).collect();
        elsewhere.sort_unstable();
        let options = Options {
            state: &state,
            signer: &self.site.key,
            seed: SeedId([5; 16]),
            now: "2026-03-01T12:00:00Z".parse().unwrap(),
            read_back,
            window: self.window,
            most: wire::MAX_DRIVES,
            elsewhere: &elsewhere,
        };
        let opened =
            DriveSet::open_within(self.site.limits, options, Arc::clone(&local), drives, desk);
        let mut set = match opened {
            Ok(set) => set,
            Err(error) => return (None, Ended::Failed(error)),
        };
        let mut ended = Ended::Through;
        for _ in 0..20 {
            if set.is_complete() {
                break;
            }
            self.forget_indexes(&set, &local);
            let (store, near, before) = (set.store(), set.near(), set.store_before_last());
            let pass = || self.pass(store.as_ref(), near.as_ref(), before.as_ref());
            let (done, how) = set.run(desk, pass);
            let lost = matches!(how, Ended::Lost);
            assert_eq!(
                matches!(done, Some(Ok(()))),
                matches!(how, Ended::Through),
                "{how:?} {done:?}"
            );
            ended = how;
            if !lost {
                break;
            }
        }
        (Some(set.report()), ended)
    }

    /// Indexes that name what is not there are written anew by the next pass.
    fn forget_indexes(&self, set: &DriveSet<'_>, local: &Arc<dyn Store>) {
        let packs: BTreeSet<Digest> = names(set.store().as_ref(), ObjectKind::Pack);
        for listed in local.list(ObjectKind::Index).unwrap() {
            let index = local.get(&listed.key, u64::MAX).unwrap();
            let named = index.as_chunks::<32>().0.iter();
            if named.clone().any(|name| !packs.contains(&Digest(*name))) {
                local.remove(&listed.key).unwrap();
            }
        }
        set.forget_lost();
    }

    fn pass(&self, store: &dyn Store, near: &dyn Store, before: &dyn Store) -> ::store::Result<()> {
        let pass = self.passes.fetch_add(1, Ordering::Relaxed);
        let (first, second) = self.packs.split_at(self.packs.len() / 2);
        self.back_up((before, near), (first, 10), pass)?;
        self.back_up((store, near), (second, 11), pass)
    }

    fn back_up(
        &self,
        (store, near): (&dyn Store, &dyn Store),
        (packs, which): (&[Vec<u8>], u64),
        pass: u64,
    ) -> ::store::Result<()> {
        let there = names(store, ObjectKind::Pack);
        for pack in packs {
            let key = key_of(ObjectKind::Pack, pack);
            if !there.contains(&key.id().unwrap()) {
                self.made.fetch_add(1, Ordering::Relaxed);
                store.put(&key, pack)?;
            }
        }
        let name = |pack: &Vec<u8>| key_of(ObjectKind::Pack, pack).id().unwrap();
        self.index(store, &packs.iter().map(name).collect(), pass)?;
        // Trees come late: what is on drives by then was written without knowing how much they take.
        let trees = noise(3 * which, self.trees);
        near.put(&key_of(ObjectKind::Pack, &trees), &trees)?;
        self.index(store, &[name(&trees)].into(), pass)?;
        let snapshot = noise(1000 * which + pass, 250);
        store.put(&key_of(ObjectKind::Snapshot, &snapshot), &snapshot)
    }

    fn index(&self, store: &dyn Store, all: &BTreeSet<Digest>, pass: u64) -> ::store::Result<()> {
        let mut index: Vec<u8> = all.iter().flat_map(|name| name.0).collect();
        index.push(u8::try_from(pass).unwrap());
        store.put(&key_of(ObjectKind::Index, &index), &index)?;
        if names(store, ObjectKind::Pack).is_superset(all) {
            self.whole.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether the last snapshot of any pass is kept locally.
    fn is_over(&self) -> bool {
        let kept = names(self.local().as_ref(), ObjectKind::Snapshot);
        let last = |pass| key_of(ObjectKind::Snapshot, &noise(11_000 + pass, 250)).id().unwrap();
        (0..self.passes.load(Ordering::Relaxed)).any(|pass| kept.contains(&last(pass)))
    }

    /// Everything arrives, exactly, from these drives, each of which is right.
    fn arrives(&self, desk_drives: &[DriveSpec]) -> Result<(), String> {
        let folders: Vec<PathBuf> = desk_drives
            .iter()
            .map(|drive| drive.folder.clone())
            .filter(|folder| self.is_of_the_set(folder))
            .collect();
        let trust = self.site.trust();
        for folder in &folders {
            let report = verify(folder, &trust, &mut ()).unwrap();
            if !report.is_intact() || !report.extra.is_empty() {
                return Err(format!("{}: {report:?}", folder.display()));
            }
        }
        self.arrives_from(&folders)
    }

    /// One that was sealed and lost sight of before it counted has another end of its own.
    fn is_of_the_set(&self, drive: &Path) -> bool {
        let state = State::open(&self.site.path("state")).unwrap();
        let kept = state.manifests(&self.site.trust()).unwrap();
        fs::read(drive.join("packmule/manifest")).is_ok_and(|bytes| {
            let digest = Digest(sha256::hash(&bytes));
            kept.iter().any(|kept| kept.digest == digest)
        })
    }

    fn arrives_from(&self, folders: &[PathBuf]) -> Result<(), String> {
        let (into, trust) = (self.site.path("into"), self.site.trust());
        let mut imported = import(&into, folders, &trust, &mut ()).unwrap();
        if !self.elsewhere.is_empty() {
            let published = tree(&into).keys().any(|path| !path.starts_with("pending/"));
            if published || imported.seeds.iter().any(|seed| seed.published) {
                return Err("published on top of a hole".to_owned());
            }
            for pack in &self.elsewhere {
                let path = into.join(key_of(ObjectKind::Pack, pack).path());
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, pack).unwrap();
            }
            imported = import(&into, folders, &trust, &mut ()).unwrap();
        }
        let there = tree(&into);
        let mut expected = expected_tree(&self.local);
        for pack in self.packs.iter().chain(&self.elsewhere) {
            expected.insert(key_of(ObjectKind::Pack, pack).path(), pack.clone());
        }
        self.announced_as_listed()?;
        let missing: Vec<&String> =
            expected.keys().filter(|path| !there.contains_key(*path)).collect();
        let more: Vec<&String> =
            there.keys().filter(|path| !expected.contains_key(*path)).collect();
        if there == expected {
            return Ok(());
        }
        Err(format!("missing {missing:?}, more {more:?}: {imported:?}"))
    }

    /// The list has what is elsewhere, too. What manifests announce beside the list would be waited for, and published, too.
    fn announced_as_listed(&self) -> Result<(), String> {
        let (state, trust) = (State::open(&self.site.path("state")).unwrap(), self.site.trust());
        let (_, list) = state.inventory(&trust).unwrap().ok_or("there is no list")?;
        let manifests = state.manifests(&trust).unwrap();
        let elsewhere = self.elsewhere.iter().map(|pack| object(pack));
        let announced = manifests.into_iter().flat_map(|manifest| manifest.body.objects);
        let announced: BTreeSet<Object> = announced.chain(elsewhere).collect();
        match announced.iter().eq(&list.body.objects) {
            true => Ok(()),
            false => Err(format!("announced {announced:?}, listed {:?}", list.body.objects)),
        }
    }

    fn bytes(&self) -> u64 {
        self.packs.iter().map(|pack| pack.len() as u64).sum()
    }
}

fn names(store: &dyn Store, kind: ObjectKind) -> BTreeSet<Digest> {
    store.list(kind).unwrap().into_iter().filter_map(|listed| listed.key.id()).collect()
}

fn object(pack: &[u8]) -> crate::Object {
    let name = key_of(ObjectKind::Pack, pack).id().unwrap();
    crate::Object { repository: 0, kind: ObjectKind::Pack, name, length: pack.len() as u64 }
}

fn ten() -> Case {
    Case::new(&[200_000, 300_000, 5000, 250_000, 190_000, 300_000, 1, 280_000, 120_000, 300_000])
}

#[test]
fn what_is_put_once_is_written_once_and_arrives_and_the_window_holds_no_more_than_it_may() {
    let case = ten();
    let mut desk = Desk::default();
    let drives = [case.drive("D0", ROOM), case.drive("D1", ROOM), case.drive("D2", ROOM)];
    let (report, ended) = case.run(&drives, &mut desk);
    let report = report.unwrap();
    assert!(matches!(ended, Ended::Through) && report.complete, "{ended:?} {report:?}");
    assert_eq!(case.passes.load(Ordering::Relaxed), 1);
    assert_eq!(case.whole.load(Ordering::Relaxed), 4, "what an index names is listed");
    assert_eq!(case.made.load(Ordering::Relaxed), 10);
    assert_eq!(desk.written, case.bytes() + case.documents(), "every byte once");
    assert!(report.window_most <= case.window, "{}", report.window_most);
    assert!(report.window_most > case.window / 2, "it was used: {}", report.window_most);
    assert_eq!(desk.started, ["D0", "D1", "D2"], "one after the other");
    // One may be sealed for longer than the next one takes to be written.
    desk.sealed.sort_unstable();
    assert_eq!(desk.sealed, ["D0", "D1", "D2"], "each once");
    assert_eq!(desk.problems, 0);
    case.arrives(&drives).unwrap();
}

#[test]
fn a_call_on_a_complete_set_changes_nothing() {
    let case = ten();
    let drives = [case.drive("D0", 4 * ROOM)];
    assert!(matches!(case.run(&drives, &mut Desk::default()).1, Ended::Through));
    let before = (tree(&drives[0].folder), tree(&case.site.path("state")));
    let (report, _) = case.run(&drives, &mut Desk::default());
    assert!(report.unwrap().complete);
    assert!((tree(&drives[0].folder), tree(&case.site.path("state"))) == before);
    assert_eq!(case.passes.load(Ordering::Relaxed), 1);
}

#[test]
fn what_is_elsewhere_is_named_and_not_carried_and_nothing_is_published_without_it() {
    let mut case = ten();
    case.elsewhere = vec![noise(900, 5000), noise(901, 77)];
    let drives = [case.drive("D0", ROOM), case.drive("D1", ROOM), case.drive("D2", ROOM)];
    let mut desk = Desk::default();
    let (report, ended) = case.run(&drives, &mut desk);
    assert!(matches!(ended, Ended::Through) && report.unwrap().complete, "{ended:?}");
    assert_eq!(desk.written, case.bytes() + case.documents(), "nothing of it is written");
    // Whoever looks again need not know what was elsewhere then.
    let (state, trust) = (case.site.path("state"), case.site.trust());
    let found = known(&state, &trust).unwrap();
    let named: Vec<bool> = case
        .elsewhere
        .iter()
        .map(|pack| object(pack))
        .map(|it| found.complete.as_ref().is_some_and(|list| list.objects.contains(&it)))
        .collect();
    assert_eq!((found.begun, named), (true, vec![true, true]));
    let elsewhere = std::mem::take(&mut case.elsewhere);
    let (report, _) = case.run(&[], &mut Desk::default());
    assert!(report.unwrap().complete);
    case.elsewhere = elsewhere;
    case.arrives(&drives).unwrap();
}

#[test]
fn a_full_drive_is_sealed_and_the_next_one_asked_for() {
    let case = ten();
    let more = [case.drive("D1", ROOM), case.drive("D2", ROOM)];
    let mut desk = Desk { drives: more.to_vec(), ..Desk::default() };
    let first = case.drive("D0", ROOM);
    let (report, ended) = case.run(std::slice::from_ref(&first), &mut desk);
    assert!(matches!(ended, Ended::Through), "{ended:?} {report:?}");
    case.arrives(&[first, more[0].clone(), more[1].clone()]).unwrap();
    assert_eq!(case.made.load(Ordering::Relaxed), 10);
}

#[test]
fn without_another_drive_the_same_call_goes_on_later_and_writes_nothing_twice() {
    let case = ten();
    let drives = [case.drive("D0", ROOM), case.drive("D1", ROOM), case.drive("D2", ROOM)];
    let mut written = 0;
    for (at, drive) in drives.iter().enumerate() {
        let mut desk = Desk::default();
        // Only this one is at hand: those before are on a shelf.
        let (report, ended) = case.run(std::slice::from_ref(drive), &mut desk);
        let last = at == 2;
        assert_eq!(matches!(ended, Ended::Through), last, "{at}: {ended:?} {report:?}");
        assert_eq!(matches!(ended, Ended::NeedsDrive), !last, "{at}: {ended:?}");
        assert_eq!(desk.sealed, [drive.serial.to_string()]);
        written += desk.written;
    }
    case.arrives(&drives).unwrap();
    assert_eq!(written, case.bytes() + case.documents(), "every byte once");
}

#[test]
fn a_drive_that_cannot_be_used_is_refused_with_the_reason_and_another_one_asked_for() {
    let case = ten();
    let other = case.drive("OTHER", ROOM);
    fs::write(other.folder.join("thesis"), "mine").unwrap();
    let (tiny, good) = (case.drive("TINY", 100_000), case.drive("D1", 4 * ROOM));
    let mut desk = Desk { drives: vec![other.clone(), tiny, good.clone()], ..Desk::default() };
    let first = case.drive("D0", ROOM);
    let (report, ended) = case.run(std::slice::from_ref(&first), &mut desk);
    assert!(matches!(ended, Ended::Through), "{ended:?} {report:?}");
    assert_eq!(desk.refused.len(), 2, "{:?}", desk.refused);
    assert!(desk.refused[0].contains("not empty") && desk.refused[1].contains("needs"));
    assert_eq!(tree(&other.folder).len(), 1);
    case.arrives(&[first, good]).unwrap();
}

#[test]
fn a_drive_pulled_half_way_and_replaced_costs_backing_up_what_was_on_it() {
    let case = ten();
    let drives = [case.drive("D0", ROOM), case.drive("D1", ROOM)];
    let fresh = [case.drive("D2", ROOM), case.drive("D3", ROOM)];
    // In the middle of the second drive.
    let take = Some((7, drives[1].folder.clone()));
    let mut desk = Desk { take, drives: fresh.to_vec(), ..Desk::default() };
    let (report, ended) = case.run(&drives, &mut desk);
    assert!(matches!(ended, Ended::Through), "{ended:?} {report:?}");
    assert_eq!(desk.gone, ["D1"]);
    assert_eq!(case.passes.load(Ordering::Relaxed), 2);
    let again = case.made.load(Ordering::Relaxed) - 10;
    assert!(again > 0 && again < 6, "what the window had is written from there: {again}");
    case.arrives(&[drives[0].clone(), fresh[0].clone(), fresh[1].clone()]).unwrap();
}

/// Puts a drive aside as if it had been pulled, and gives it back when a drive is asked for.
struct Puller {
    desk: Desk,
    drive: DriveSpec,
    left: usize,
}

impl Events for Puller {
    fn event(&mut self, event: Event<'_>) {
        if matches!(event, Event::ObjectDone { .. }) {
            self.left = self.left.wrapping_sub(1);
            if self.left == 0 {
                let folder = &self.drive.folder;
                fs::rename(folder, folder.with_extension("pulled")).unwrap();
                // What is open on it stays, and must not be written to any more.
                fs::create_dir(folder).unwrap();
            }
        }
        self.desk.event(event);
    }
}

impl Host for Puller {
    fn before_sealing(&mut self) -> bool {
        true
    }

    fn next_drive(&mut self, _: Option<&Error>) -> Option<DriveSpec> {
        let folder = &self.drive.folder;
        let pulled = folder.with_extension("pulled");
        if pulled.exists() {
            fs::remove_dir_all(folder).unwrap();
            fs::rename(pulled, folder).unwrap();
        }
        Some(self.drive.clone())
    }
}

#[test]
fn a_drive_that_comes_back_is_gone_on_with() {
    let case = ten();
    let drive = case.drive("D0", 4 * ROOM);
    let mut host = Puller { desk: Desk::default(), drive: drive.clone(), left: 4 };
    let drives = std::slice::from_ref(&drive);
    let (report, ended) = case.run(drives, &mut host);
    assert!(matches!(ended, Ended::Through), "{ended:?} {report:?}");
    assert_eq!(host.desk.gone, ["D0"]);
    let again = host.desk.written - case.bytes() - case.documents();
    assert!(again < case.bytes() / 2, "what is on it is not written again: {again}");
    case.arrives(drives).unwrap();
}

/// Flips a byte of an object when a drive is closed and opened again, that many times: the largest pack, or
/// whichever one is named.
struct Lies(AtomicU32);

impl ReadBack for Lies {
    fn refresh(&self, drive: &Path) -> io::Result<()> {
        let less = |times: u32| times.checked_sub(1);
        if self.0.try_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
            let packs = tree(drive).into_iter().filter(|(name, _)| name.contains("/data/"));
            let (name, mut bytes) = packs.max_by_key(|(_, bytes)| bytes.len()).unwrap();
            bytes[0] ^= 1;
            fs::write(drive.join(name), bytes)?;
        }
        Ok(())
    }
}

#[test]
fn what_fails_after_its_window_is_backed_up_again_before_the_snapshot_is_written() {
    for (drives, times) in [(1, 1), (1, 2), (3, 1), (3, 2)] {
        let case = ten();
        let room = if drives == 1 { 4 * ROOM } else { ROOM };
        let drives: Vec<DriveSpec> =
            (0..drives).map(|at| case.drive(&format!("D{at}"), room)).collect();
        let mut desk = Desk { drives: vec![case.drive("MORE", ROOM)], ..Desk::default() };
        let lies = Lies(AtomicU32::new(times));
        let (report, ended) = case.run_with(&lies, &drives, &mut desk);
        assert!(matches!(ended, Ended::Through), "{ended:?} {report:?}");
        assert!(desk.problems > 0);
        let again = case.made.load(Ordering::Relaxed) - 10;
        assert!((1..=u64::from(times)).contains(&again), "only what was lost: {again}");
        let all: Vec<DriveSpec> = drives.into_iter().chain([case.drive("MORE", ROOM)]).collect();
        case.arrives(&all).unwrap();
    }
}

/// Something is lost on the drive that everything was to end on, after that had no room for all of it.
#[test]
fn what_is_sealed_before_the_end_carries_nothing_that_another_pass_makes_anew() {
    let mut began_its_end = 0;
    for room in (2_350_000..2_750_000).step_by(40_000) {
        let mut case = ten();
        // More than is kept free for what nobody knows yet.
        case.trees = 150_000;
        let drives = [case.drive("D0", room)];
        let more = case.drive("D1", 4 * ROOM);
        let mut desk = Desk { drives: vec![more.clone()], ..Desk::default() };
        let (report, ended) = case.run_with(&Lies(AtomicU32::new(1)), &drives, &mut desk);
        assert!(matches!(ended, Ended::Through), "{room}: {ended:?} {report:?}");
        began_its_end += usize::from(more.folder.join("packmule/label").exists());
        let all = [drives[0].clone(), more];
        case.arrives(&all).unwrap_or_else(|why| panic!("{room}: {why}"));
    }
    assert!(began_its_end > 0, "the last drive was never begun");
}

#[test]
fn a_drive_that_never_gives_back_what_was_written_is_never_sealed() {
    let case = ten();
    let bad = case.drive("BAD", 4 * ROOM);
    let lies = Lies(AtomicU32::new(u32::MAX));
    let (report, ended) = case.run_with(&lies, std::slice::from_ref(&bad), &mut Desk::default());
    assert!(matches!(ended, Ended::NeedsDrive), "{ended:?}");
    assert_eq!(report.unwrap().drives[0].state, DriveState::Unreliable);
    assert!(!bad.folder.join("packmule/manifest").exists());
    assert!(!case.is_over());
    let good = case.drive("GOOD", 4 * ROOM);
    let (_, ended) = case.run(std::slice::from_ref(&good), &mut Desk::default());
    assert!(matches!(ended, Ended::Through), "{ended:?}");
    case.arrives(&[good]).unwrap();
}

/// Damages packs on a drive when they are read back in the window: each `every`-th that is opened, so many times.
fn damaging(
    drive: PathBuf,
    every: u32,
    times: u32,
) -> impl FnMut(&'static str, &str) -> io::Result<()> {
    let (mut seen, mut done) = (0, 0);
    move |action: &'static str, path: &str| {
        if action == "open" && path.contains("/data/") && done < times {
            seen += 1;
            if seen % every == 0 {
                let path = drive.join(path);
                if let Ok(mut bytes) = fs::read(&path) {
                    bytes[0] ^= 1;
                    fs::write(&path, bytes)?;
                    done += 1;
                }
            }
        }
        Ok(())
    }
}

#[test]
fn what_does_not_come_back_in_the_window_is_written_again_from_memory() {
    let case = ten();
    let drive = case.drive("D0", 4 * ROOM);
    let mut desk = Desk::default();
    let drives = std::slice::from_ref(&drive);
    let hook = damaging(drive.folder.clone(), 3, 2);
    let (report, ended) = faults::with(hook, || case.run(drives, &mut desk));
    assert!(matches!(ended, Ended::Through), "{ended:?} {report:?}");
    assert_eq!(desk.problems, 2);
    assert_eq!(case.made.load(Ordering::Relaxed), 10, "the engine made nothing twice");
    assert_eq!(case.passes.load(Ordering::Relaxed), 1);
    case.arrives(drives).unwrap();
}

#[test]
fn packs_of_a_drive_that_fails_again_and_again_go_to_another_one_from_memory() {
    let case = ten();
    let (bad, good) = (case.drive("BAD", 4 * ROOM), case.drive("GOOD", 4 * ROOM - 1));
    let mut desk = Desk::default();
    let drives = [bad.clone(), good.clone()];
    let hook = damaging(bad.folder, 1, u32::MAX);
    let (report, ended) = faults::with(hook, || case.run(&drives, &mut desk));
    assert!(matches!(ended, Ended::Through), "{ended:?} {report:?}");
    assert_eq!(desk.gone, ["BAD"]);
    assert_eq!(case.made.load(Ordering::Relaxed), 10, "nothing had counted on it");
    case.arrives(&[good]).unwrap();
}

/// Lets so many steps happen and fails from then on, as if the process had died.
fn dying<R>(after: u64, act: impl FnOnce() -> R) -> (R, bool) {
    let steps = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&steps);
    let hook = move |_: &'static str, _: &str| {
        let now = counted.fetch_add(1, Ordering::Relaxed) + 1;
        if now > after { Err(io::Error::other("killed")) } else { Ok(()) }
    };
    let result = faults::with(hook, act);
    (result, steps.load(Ordering::Relaxed) > after)
}

fn few() -> Case {
    let mut case = Case::new(&[200_000, 300_000, 5000, 250_000, 190_000]);
    case.window = 400_000;
    case
}

#[test]
fn a_process_may_die_at_any_step() {
    dies_at_any_step((true, false));
}

#[test]
fn a_process_may_die_at_any_step_where_each_file_is_synced() {
    dies_at_any_step((false, false));
}

#[test]
fn a_process_may_die_at_any_step_where_the_drives_rely_on_what_is_elsewhere() {
    dies_at_any_step((true, true));
}

/// Every third step, beginning at another one each time.
fn dies_at_any_step((whole, elsewhere): (bool, bool)) {
    for after in (u64::from(whole)..).step_by(3) {
        let mut case = few();
        case.site.limits.whole = Some(whole);
        if elsewhere {
            case.elsewhere = vec![noise(900, 5000)];
        }
        let drives = [case.drive("D0", 800_000), case.drive("D1", 900_000)];
        let ((report, ended), died) = dying(after, || case.run(&drives, &mut Desk::default()));
        if !died {
            assert!(matches!(ended, Ended::Through), "{ended:?} {report:?}");
            assert!(after > 100, "the test has not seen much: {after}");
            break;
        }
        let over = case.is_over();
        let sealed = drives.iter().all(|drive| drive.folder.join("packmule/manifest").exists());
        assert!(!over || sealed, "step {after}: a snapshot before its drives");
        let mut desk = Desk { drives: vec![case.drive("D2", ROOM)], ..Desk::default() };
        if elsewhere {
            // The place goes on meanwhile.
            case.elsewhere.push(noise(901, 700));
        }
        let (report, ended) = case.run(&drives, &mut desk);
        assert!(matches!(ended, Ended::Through), "step {after}: {ended:?} {report:?}");
        // Where it had come to its end before, its list has nothing of that.
        let list = known(&case.site.path("state"), &case.site.trust()).unwrap().complete.unwrap();
        case.elsewhere.retain(|pack| list.objects.contains(&object(pack)));
        assert_eq!(case.elsewhere.is_empty(), !elsewhere, "step {after}");
        assert!(report.unwrap().complete, "step {after}");
        let all = [drives[0].clone(), drives[1].clone(), case.drive("D2", ROOM)];
        case.arrives(&all).unwrap_or_else(|why| panic!("step {after}: {why}"));
    }
}

/// One fault at every fourth step in turn, beginning at another one for each: what the operating system answers,
/// once.
fn each_step_fails_once(code: i32, first: u64) {
    for at in (first..).step_by(4) {
        let case = few();
        let drives = [case.drive("D0", 800_000), case.drive("D1", 900_000)];
        let more = [case.drive("D2", ROOM), case.drive("D3", ROOM), case.drive("D4", ROOM)];
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        let hook = move |_: &'static str, _: &str| {
            let now = counted.fetch_add(1, Ordering::Relaxed) + 1;
            if now == at { Err(io::Error::from_raw_os_error(code)) } else { Ok(()) }
        };
        let mut desk = Desk { drives: more.to_vec(), ..Desk::default() };
        let first = faults::with(hook, || case.run(&drives, &mut desk));
        if steps.load(Ordering::Relaxed) < at {
            break;
        }
        let complete = |report: &Option<Report>| report.as_ref().is_some_and(|it| it.complete);
        let mut all: Vec<DriveSpec> = drives.iter().chain(&more).cloned().collect();
        if !complete(&first.0) {
            let mut desk = Desk { drives: vec![case.drive("D5", ROOM)], ..Desk::default() };
            // Those that were asked for are at hand, too.
            let begun: Vec<DriveSpec> = all
                .iter()
                .filter(|drive| {
                    drives.contains(drive) || drive.folder.join("packmule/label").exists()
                })
                .cloned()
                .collect();
            let second = case.run(&begun, &mut desk);
            assert!(complete(&second.0), "step {at}: {first:?}, then {second:?}");
            all.push(case.drive("D5", ROOM));
        }
        case.arrives(&all).unwrap_or_else(|why| panic!("step {at} of {first:?}: {why}"));
    }
}

#[test]
fn a_full_drive_at_any_step_loses_nothing() {
    each_step_fails_once(28, 1);
}

#[test]
fn a_drive_that_fails_to_read_or_write_at_any_step_loses_nothing() {
    each_step_fails_once(5, 2);
}

#[test]
fn a_drive_that_goes_away_at_any_step_loses_nothing() {
    each_step_fails_once(19, 3);
}

/// Dies at an event.
struct Dies(Desk, usize);

impl Events for Dies {
    fn event(&mut self, event: Event<'_>) {
        assert!(self.1 > 0, "dies at {event:?}");
        self.1 -= 1;
        self.0.event(event);
    }
}

impl Host for Dies {
    fn before_sealing(&mut self) -> bool {
        true
    }

    fn next_drive(&mut self, refused: Option<&Error>) -> Option<DriveSpec> {
        self.0.next_drive(refused)
    }
}

#[test]
fn whoever_is_told_may_die_at_any_event_and_nobody_waits_for_ever() {
    let case = few();
    let drives = [case.drive("D0", 950_000), case.drive("D1", 1_000_000)];
    let (state, local) = (case.site.path("state"), case.local());
    for deaths in (0..40).step_by(5) {
        let call = || {
            let options = Options {
                state: &state,
                signer: &case.site.key,
                seed: SeedId([5; 16]),
                now: "2026-03-01T12:00:00Z".parse().unwrap(),
                read_back: &PlainReads,
                window: case.window,
                most: wire::MAX_DRIVES,
                elsewhere: &[],
            };
            let mut host = Dies(Desk::default(), deaths);
            let local = Arc::clone(&local);
            let mut set =
                DriveSet::open_within(case.site.limits, options, local, &drives, &mut host)
                    .unwrap();
            if set.is_complete() {
                return;
            }
            let (store, near, before) = (set.store(), set.near(), set.store_before_last());
            let pass = || case.pass(store.as_ref(), near.as_ref(), before.as_ref());
            let _ = set.run(&mut host, pass);
        };
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
    }
    let (report, _) = case.run(&drives, &mut Desk::default());
    assert!(report.unwrap().complete);
    case.arrives(&drives).unwrap();
}

/// What happens to drives of a random case.
#[derive(Debug, Clone)]
enum Mishap {
    None,
    /// Objects read back wrong when their drive is sealed.
    Forgets(u32),
    /// Every n-th pack reads back wrong in the window.
    Flips(u32),
    /// The first drive is gone after so many objects.
    Gone(usize),
    /// The process dies after so many steps.
    Dies(u64),
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        Just(Mishap::None),
        (1_u32..4).prop_map(Mishap::Forgets),
        (2_u32..6).prop_map(Mishap::Flips),
        (1_usize..12).prop_map(Mishap::Gone),
        (1_u64..400).prop_map(Mishap::Dies),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) })]

    #[test]
    fn whatever_happens_everything_arrives_in_the_end(
        packs in prop::collection::vec(1_usize..400_000, 1..14),
        rooms in prop::collection::vec(600_000_u64..2_000_000, 1..4),
        window in 1_u64..900_000,
        mishaps in prop::collection::vec(mishap(), 0..4),
    ) {
        let mut case = Case::new(&packs);
        case.window = window;
        let given: Vec<DriveSpec> = (0..).zip(&rooms)
            .map(|(at, room)| case.drive(&format!("D{at}"), *room)).collect();
        let mut all = given.clone();
        for (turn, mishap) in mishaps.iter().chain([&Mishap::None]).enumerate() {
            // Each time there are drives to ask for.
            let more: Vec<DriveSpec> = (0..6)
                .map(|at| case.drive(&format!("M{turn}-{at}"), 2_000_000)).collect();
            all.extend(more.clone());
            let at_hand: Vec<DriveSpec> = all.iter()
                .filter(|drive| drive.folder.join("packmule/label").exists() || given.contains(drive))
                .filter(|drive| drive.folder.exists())
                .take(10).cloned().collect();
            let mut desk = Desk { drives: more, ..Desk::default() };
            let gone = at_hand.first().map(|drive| drive.folder.clone()).unwrap_or_default();
            let (report, _) = match mishap {
                Mishap::None => case.run(&at_hand, &mut desk),
                Mishap::Forgets(times) => {
                    case.run_with(&Lies(AtomicU32::new(*times)), &at_hand, &mut desk)
                }
                Mishap::Flips(every) => {
                    faults::with(damaging(gone, *every, 9), || case.run(&at_hand, &mut desk))
                }
                Mishap::Gone(after) => {
                    desk.take = Some((*after, gone));
                    case.run(&at_hand, &mut desk)
                }
                Mishap::Dies(after) => dying(*after, || case.run(&at_hand, &mut desk)).0,
            };
            if let Some(report) = report {
                let largest = case.packs.iter().map(Vec::len).max().unwrap_or(0) as u64;
                prop_assert!(report.window_most <= window.max(largest));
                if report.complete {
                    break;
                }
            }
        }
        if let Err(why) = case.arrives(&all) {
            return Err(TestCaseError::fail(why));
        }
    }
}

#[test]
fn a_lost_record_of_what_was_read_back_costs_reading_it_again() {
    let case = ten();
    let drive = case.drive("D0", 4 * ROOM);
    let drives = std::slice::from_ref(&drive);
    let (_, died) = dying(70, || case.run(drives, &mut Desk::default()));
    assert!(died);
    let on_it = |drive: &DriveSpec| {
        tree(&drive.folder).into_keys().filter(|path| path.contains("/data/")).count() as u64
    };
    let before = on_it(&drive);
    assert!(before > 2);
    fs::remove_dir_all(case.site.path("state").join("proved")).unwrap();
    let made = case.made.load(Ordering::Relaxed);
    let (_, ended) = case.run(drives, &mut Desk::default());
    assert!(matches!(ended, Ended::Through), "{ended:?}");
    assert_eq!(case.made.load(Ordering::Relaxed) - made, 10 - before, "what is there is not made");
    case.arrives(drives).unwrap();
}

/// Parity of what it had been would repair with something that never was.
#[test]
fn parity_is_made_of_what_was_sealed_or_not_at_all() {
    let case = ten();
    let data = [case.drive("D0", ROOM), case.drive("D1", ROOM), case.drive("D2", ROOM)];
    assert!(matches!(case.run(&data, &mut Desk::default()).1, Ended::Through));
    let parity = case.drive("P0", 4 * ROOM);
    let all: Vec<DriveSpec> = data.iter().chain([&parity]).cloned().collect();
    let state = case.site.path("state");
    let cover = || {
        let what = Cover {
            state: &state,
            signer: &case.site.key,
            seed: SeedId([5; 16]),
            now: "2026-03-01T12:00:00Z".parse().unwrap(),
            read_back: &PlainReads,
            parity: 1,
            most: wire::MAX_DRIVES,
        };
        cover(&what, case.local(), &all, &mut ())
    };
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let packs = |drive: &DriveSpec| {
        let files = tree(&drive.folder).into_keys().filter(|path| path.contains("/data/"));
        files.map(|path| drive.folder.join(path)).collect::<Vec<PathBuf>>()
    };
    let pack = packs(&data[1])[0].clone();
    flip(&pack);
    for _ in 0..2 {
        let error = cover().unwrap_err();
        assert!(matches!(&error, Error::Misread { serial } if serial.as_str() == "D1"), "{error}");
        assert!(!parity.folder.join("packmule/manifest").exists());
    }
    // Attached in another way, it gives what it has.
    flip(&pack);
    assert!(cover().unwrap().is_complete());
    // One drive that lies and one that is lost are more than parity makes up for: named, and nothing wrong delivered.
    flip(&pack);
    let into = case.site.path("half");
    let given = [&data[1], &data[2], &parity].map(|drive| drive.folder.clone());
    let imported = import(&into, &given, &case.site.trust(), &mut ()).unwrap();
    let seed = &imported.seeds[0];
    assert!(!seed.published && !seed.missing.wanted.is_empty(), "{seed:?}");
    let names: Vec<String> = seed.missing.wanted.iter().map(|it| it.key.path()).collect();
    for (path, bytes) in tree(&into).iter().filter(|(path, _)| path.contains("/data/")) {
        let name = path.rsplit('/').next().unwrap();
        assert_eq!(Digest(sha256::hash(bytes)).to_string(), name);
        assert!(!names.iter().any(|wanted| wanted.ends_with(name)));
    }
    // One that lies alone is repaired, with what was sealed.
    case.arrives_from(&all.iter().map(|drive| drive.folder.clone()).collect::<Vec<_>>()).unwrap();
}
