//! Backups straight onto drives with the real engine: random sources and drives, and what happens to these.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop on a surprise"
)]

use agent::{Desk, Direct, backup_onto_drives, seed_of_drives};
use backup::{BackupEvent, BackupOptions, RestoreOptions};
use model::ObjectKey;
use proptest::prelude::*;
use repo::{Author, KdfParams, Repository, WriterOptions};
use seed::direct::{DriveSet, Options};
use seed::{DriveSpec, Event, Events, ReadBack, SigningKey, Trust};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use store::{Folder, Store};

const PASSWORD: &[u8] = b"geheim und lang genug";

/// Bytes that look random and are always the same.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

struct Place {
    dir: tempfile::TempDir,
    key: SigningKey,
    files: usize,
    /// Files that the engine has opened, over all passes and calls.
    opened: AtomicU64,
}

impl Place {
    fn new(files: &[usize]) -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let dir = dir.unwrap();
        for (n, length) in (1..).zip(files) {
            let folder = dir.path().join(format!("source/folder{}", n % 4));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("file{n}")), noise(n, *length)).unwrap();
        }
        let key = SigningKey::from_bytes(&[7; 32]);
        Self { dir, key, files: files.len(), opened: AtomicU64::new(0) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn drive(&self, name: &str, capacity: u64) -> DriveSpec {
        let folder = self.path(name);
        fs::create_dir_all(&folder).unwrap();
        DriveSpec { folder, serial: name.parse().unwrap(), capacity: Some(capacity) }
    }

    fn author() -> Author {
        let pid = std::process::id();
        Author { hostname: "here".into(), username: "tester".into(), uid: 0, gid: 0, pid }
    }

    fn repository(&self) -> Repository {
        let local: Arc<dyn Store> = Arc::new(Folder::new(self.path("state/repository")));
        match local.length(&ObjectKey::Config) {
            Ok(_) => Repository::open(local, PASSWORD, Self::author()).unwrap(),
            Err(_) => {
                fs::create_dir_all(self.path("state")).unwrap();
                let now = jiff::Timestamp::UNIX_EPOCH;
                Repository::init(local, PASSWORD, KdfParams::WEAK, Self::author(), now).unwrap()
            }
        }
    }

    fn run(
        &self,
        read_back: &dyn ReadBack,
        drives: &[DriveSpec],
        desk: &mut Counter,
    ) -> Result<Direct, agent::Error> {
        let (repository, folder) = (self.repository(), self.path("state/seed"));
        let set_options = Options {
            state: &folder,
            signer: &self.key,
            seed: seed_of_drives(&repository),
            now: jiff::Timestamp::UNIX_EPOCH,
            read_back,
            window: 400_000,
            most: wire::MAX_DRIVES,
            elsewhere: &[],
        };
        let local = Arc::clone(repository.store());
        let mut set = DriveSet::open(set_options, local, drives, desk)?;
        let count = |event: BackupEvent<'_>| match event {
            BackupEvent::File { .. } => {
                self.opened.fetch_add(1, Ordering::Relaxed);
            }
            // The file was opened to be looked at, and not read.
            BackupEvent::Remembered { .. } => {
                self.opened.fetch_sub(1, Ordering::Relaxed);
            }
            BackupEvent::Problem(problem) => panic!("{problem:?}"),
            _ => {}
        };
        let stop = AtomicBool::new(false);
        let options = BackupOptions {
            view: backup::View::default(),
            exclude: backup::Exclude::default(),
            paths: vec![self.path("source")],
            hostname: "here".into(),
            tags: Vec::new(),
            time: jiff::Timestamp::now(),
            parent: None,
            any_host: false,
            force: false,
            with_atime: false,
            program_version: "test".into(),
            threads: 2,
            writer: WriterOptions { pack_size: 150_000, ..WriterOptions::default() },
            journals: Some(self.path("state/journals")),
            stop: &stop,
            events: &count,
        };
        backup_onto_drives(&repository, &mut set, desk, std::slice::from_ref(&options), None)
    }

    /// The drives are right; what they bring is a repository without a fault, and it restores to the source.
    fn arrives(&self, drives: &[DriveSpec]) {
        let sealed: Vec<PathBuf> = drives
            .iter()
            .map(|drive| drive.folder.clone())
            .filter(|folder| folder.join("packmule/manifest").exists())
            .collect();
        let trust = Trust::Key(self.key.public());
        for folder in &sealed {
            assert!(seed::verify(folder, &trust, &mut ()).unwrap().is_intact());
        }
        let into = self.path("into");
        let imported = seed::import(&into, &sealed, &trust, &mut ()).unwrap();
        assert!(imported.seeds[0].published, "{imported:?}");
        let store = Arc::new(Folder::new(&into));
        let repository = Repository::open(store, PASSWORD, Self::author()).unwrap();
        let index = repository.load_index().unwrap();
        assert!(index.damaged.is_empty());
        let packs: Vec<_> = repository.names(model::ObjectKind::Pack).unwrap();
        assert!(
            index.value.packs().all(|(pack, _)| packs.contains(&pack)),
            "an index names a lost pack"
        );
        let snapshot = repository.find_snapshot("latest").unwrap();
        let target = self.path("restored");
        let stop = AtomicBool::new(false);
        let options = RestoreOptions::into_folder(&target, &stop, &|_| {});
        let tree = snapshot.snapshot.tree;
        let restored = backup::restore(&repository, &index.value, tree, &options).unwrap();
        assert!(restored.problems.is_empty(), "{:?}", restored.problems);
        let there = target.join(self.path("source").strip_prefix("/").unwrap());
        let mut differences = backup::compare(&there, &self.path("source")).unwrap().differences;
        differences.retain(|difference| difference.path != Path::new("."));
        assert!(differences.is_empty(), "{differences:#?}");
    }
}

/// Gives drives, counts, and takes one away or asks to stop after so many events.
#[derive(Default)]
struct Counter {
    more: Vec<DriveSpec>,
    written: u64,
    passes: u32,
    events: u64,
    take: Option<(u64, PathBuf)>,
    stop: Option<u64>,
}

impl Events for Counter {
    fn event(&mut self, event: Event<'_>) {
        self.events += 1;
        if let Event::Writing { bytes, .. } = event {
            self.written += bytes;
        }
        if let Some((after, folder)) = &self.take
            && *after == self.events
            && !folder.join("packmule/manifest").exists()
        {
            while fs::remove_dir_all(folder)
                .is_err_and(|why| why.kind() == io::ErrorKind::DirectoryNotEmpty)
            {}
        }
    }

    fn stop(&self) -> bool {
        self.stop.is_some_and(|after| self.events >= after)
    }
}

impl Desk for Counter {
    fn next_drive(&mut self, _: Option<&seed::Error>) -> Option<DriveSpec> {
        (!self.more.is_empty()).then(|| self.more.remove(0))
    }

    fn another_pass(&mut self) {
        self.passes += 1;
    }
}

/// Flips a byte of the largest pack when a drive is closed and opened again, that many times.
struct Lies(AtomicU32);

impl ReadBack for Lies {
    fn refresh(&self, drive: &Path) -> io::Result<()> {
        let less = |times: u32| times.checked_sub(1);
        if self.0.try_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err() {
            return Ok(());
        }
        let mut folders = vec![drive.join("repositories")];
        let mut largest = (0, PathBuf::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if fs::metadata(&path)?.len() > largest.0 {
                    largest = (fs::metadata(&path)?.len(), path);
                }
            }
        }
        let mut bytes = fs::read(&largest.1)?;
        bytes[0] ^= 1;
        fs::write(&largest.1, bytes)
    }
}

const ROOM: u64 = 7_000_000;

#[test]
fn the_source_is_read_and_written_once_when_nothing_fails() {
    let place = Place::new(&[90_000; 60]);
    let drives = [place.drive("D0", ROOM), place.drive("D1", ROOM), place.drive("D2", ROOM)];
    let mut desk = Counter::default();
    let done = place.run(&Lies(AtomicU32::new(0)), &drives, &mut desk).unwrap();
    assert!(matches!(done, Direct::Complete(_)), "{done:?}");
    assert_eq!(place.opened.load(Ordering::Relaxed), 60);
    assert_eq!(desk.passes, 0);
    let source = 60 * 90_000;
    assert!((source..source + source / 10).contains(&desk.written), "{}", desk.written);
    place.arrives(&drives);
}

#[test]
fn only_files_with_something_lost_are_read_again() {
    let place = Place::new(&[90_000; 60]);
    let drives = [place.drive("D0", 4 * ROOM)];
    let mut desk = Counter::default();
    let done = place.run(&Lies(AtomicU32::new(1)), &drives, &mut desk).unwrap();
    assert!(matches!(done, Direct::Complete(_)), "{done:?}");
    assert_eq!(desk.passes, 1);
    let again = place.opened.load(Ordering::Relaxed) - 60;
    assert!((1..=4).contains(&again), "a pack has one or two of them: {again}");
    place.arrives(&drives);
}

#[derive(Debug, Clone)]
enum Mishap {
    None,
    Forgets(u32),
    Gone(u64),
    Stopped(u64),
}

fn mishap() -> impl Strategy<Value = Mishap> {
    prop_oneof![
        Just(Mishap::None),
        (1_u32..4).prop_map(Mishap::Forgets),
        (1_u64..150).prop_map(Mishap::Gone),
        (1_u64..150).prop_map(Mishap::Stopped),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(8) })]

    #[test]
    fn whatever_happens_to_the_drives_the_source_arrives(
        files in prop::collection::vec(0_usize..400_000, 1..30),
        rooms in prop::collection::vec(6_000_000_u64..9_000_000, 1..3),
        mishaps in prop::collection::vec(mishap(), 0..3),
    ) {
        let place = Place::new(&files);
        prop_assert_eq!(place.files, files.len());
        let given: Vec<DriveSpec> = (0..).zip(&rooms)
            .map(|(at, room)| place.drive(&format!("D{at}"), *room)).collect();
        let mut all = given.clone();
        for (turn, mishap) in mishaps.iter().chain([&Mishap::None]).enumerate() {
            let more: Vec<DriveSpec> = (0..5)
                .map(|at| place.drive(&format!("M{turn}-{at}"), 9_000_000)).collect();
            all.extend(more.clone());
            let at_hand: Vec<DriveSpec> = all.iter()
                .filter(|drive| given.contains(drive) || drive.folder.join("packmule/label").exists())
                .filter(|drive| drive.folder.exists())
                .take(10).cloned().collect();
            let first = at_hand.first().map(|drive| drive.folder.clone()).unwrap_or_default();
            let mut desk = Counter { more, ..Counter::default() };
            let mut lies = 0;
            match mishap {
                Mishap::None => {}
                Mishap::Forgets(times) => lies = *times,
                Mishap::Gone(after) => desk.take = Some((*after, first)),
                Mishap::Stopped(after) => desk.stop = Some(*after),
            }
            let done = place.run(&Lies(AtomicU32::new(lies)), &at_hand, &mut desk);
            match done {
                Ok(Direct::Complete(_) | Direct::Already) => break,
                Ok(Direct::NeedsDrive) => {}
                Err(error) => prop_assert!(desk.stop.is_some(), "{:?}", error),
            }
        }
        place.arrives(&all);
    }
}
