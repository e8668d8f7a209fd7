//! What the tests of this crate share: small repositories and small drives. Tests nothing.

mod at_once;
mod codec;
mod device;
mod drafting;
pub(crate) mod faults;
mod filling;
mod finish;
mod hostile;
mod intake;
mod journal;
mod journey;
mod parity;
mod rebuilding;

use crate::belt::Limits;
use crate::{DriveSpec, Error, Event, Events, Options, PlainReads, Prepared, SigningKey};
use model::{ObjectKey, ObjectKind};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use store::{Memory, Store};
use tempfile::TempDir;

/// Bytes that look random and are always the same.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
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

pub(crate) fn add(store: &Memory, kind: ObjectKind, bytes: &[u8]) -> ObjectKey {
    let key = store::conformance::key_of(kind, bytes);
    store.put(&key, bytes).unwrap();
    key
}

/// A repository with packs of these lengths, two keys, two indexes and a snapshot.
pub(crate) fn repository(seed: u64, packs: &[usize]) -> Memory {
    let store = Memory::new();
    store.create().unwrap();
    add(&store, ObjectKind::Config, &noise(seed, 155));
    for (at, length) in (1..).zip(packs) {
        add(&store, ObjectKind::Pack, &noise(seed + at * 1000, *length));
    }
    for at in 1..=2 {
        add(&store, ObjectKind::Key, &noise(seed + at, 460));
        add(&store, ObjectKind::Index, &noise(seed + 10 + at, 3000));
    }
    add(&store, ObjectKind::Snapshot, &noise(seed + 20, 250));
    add(&store, ObjectKind::Lock, &noise(seed + 30, 150));
    store
}

/// Small enough that a few objects take several parts and several batches.
pub(crate) const SMALL: Limits = Limits {
    part: 256 << 10,
    buffers: 8,
    open: 3,
    readers: 2,
    batch_bytes: 1 << 20,
    batch_objects: 3,
    whole: Some(true),
};

/// A place with drives, a state folder and a destination.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) key: SigningKey,
    /// How much is under way at once.
    pub(crate) limits: Limits,
}

impl Site {
    pub(crate) fn new() -> Self {
        // Thousands of syncs: memory takes them faster than a disk shared with others.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self { dir: dir.unwrap(), key: SigningKey::from_bytes(&[7; 32]), limits: SMALL }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn drive(&self, name: &str, capacity: u64) -> DriveSpec {
        let folder = self.path(name);
        fs::create_dir_all(&folder).unwrap();
        DriveSpec { folder, serial: name.parse().unwrap(), capacity: Some(capacity) }
    }

    pub(crate) fn drives(&self, count: usize, capacity: u64) -> Vec<DriveSpec> {
        (0..count).map(|at| self.drive(&format!("D{at}"), capacity)).collect()
    }

    pub(crate) fn prepare(
        &self,
        store: &dyn Store,
        drives: &[DriveSpec],
    ) -> Result<Prepared, Error> {
        self.prepare_with(store, drives, &mut ())
    }

    pub(crate) fn prepare_with(
        &self,
        store: &dyn Store,
        drives: &[DriveSpec],
        events: &mut dyn Events,
    ) -> Result<Prepared, Error> {
        let state = self.path("state");
        let options = self.options(&state);
        crate::prepare::prepare_within(self.limits, &options, &[store], drives, events)
    }

    pub(crate) fn options<'a>(&'a self, state: &'a Path) -> Options<'a> {
        Options {
            state,
            signer: &self.key,
            seed: None,
            set: 0,
            now: "2026-03-01T12:00:00Z".parse().unwrap(),
            read_back: &PlainReads,
            filling: crate::Filling::Even,
            parity: 0,
            most: wire::MAX_DRIVES,
            list: None,
            only: None,
        }
    }

    pub(crate) fn trust(&self) -> crate::Trust {
        crate::Trust::Fingerprint(self.key.fingerprint())
    }
}

/// Every file beneath a folder, by its path there.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// What a published repository must look like: everything but locks.
pub(crate) fn expected_tree(store: &Memory) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for kind in ObjectKind::ALL.into_iter().filter(|kind| *kind != ObjectKind::Lock) {
        for listed in store.list(kind).unwrap() {
            files.insert(listed.key.path(), store.get(&listed.key, u64::MAX).unwrap());
        }
    }
    if !files.contains_key("config") {
        files.insert("config".to_owned(), store.get(&ObjectKey::Config, u64::MAX).unwrap());
    }
    files
}

/// Remembers events in words.
#[derive(Default)]
pub(crate) struct Words(pub(crate) Vec<String>);

impl Events for Words {
    fn event(&mut self, event: Event<'_>) {
        self.0.push(format!("{event:?}"));
    }
}

impl Words {
    pub(crate) fn count(&self, start: &str) -> usize {
        self.0.iter().filter(|word| word.starts_with(start)).count()
    }
}

/// A file system of its own, as small as a test needs. None where mounting is not allowed.
pub(crate) struct Tmpfs(pub(crate) PathBuf);

impl Tmpfs {
    pub(crate) fn mount(at: PathBuf, kib: u64) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "packmule-test"])
            .arg(&at)
            .output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

/// Says that a test could not be run here.
pub(crate) fn skip(test: &str, why: &str) {
    use std::io::Write;
    let line = format!("SKIP: seed::{test}: {why}\n");
    if let Some(path) = std::env::var_os("PACKMULE_SKIPS") {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}
