//! A set without staging over an engine of a few lines, and two backups: packs are put until all are there, then an index of all
//! that are listed, then a snapshot, other ones in each pass. Here what goes well, full drives, and parity.

mod drives;
mod dying;

use super::*;
use crate::prepare::DriveState;
use crate::tests::{Site, add, expected_tree, noise, tree};
use crate::{Event, Object, PlainReads, import, verify};
use ::store::Memory;
use ::store::conformance::key_of;
use model::{ObjectKey, ObjectKind};
use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

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
