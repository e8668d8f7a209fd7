//! A file system that really is full. Needs the right to mount; says so where it has none.
#![expect(clippy::unwrap_used, reason = "helpers of tests may stop on a surprise, too")]

use packmule_store as store;

use model::{ObjectKey, ObjectKind};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use store::conformance::key_of;
use store::{Error, Folder, Stale, Store};

/// A file system of one mebibyte, gone when dropped.
struct Small {
    mount: PathBuf,
    _dir: tempfile::TempDir,
}

impl Small {
    fn mount() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root may mount a file system".to_owned());
        }
        let dir = tempfile::tempdir().unwrap();
        let mount = dir.path().join("small");
        std::fs::create_dir(&mount).unwrap();
        let arguments = ["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs"];
        let mounted = Command::new("mount").args(arguments).arg(&mount).output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self { mount, _dir: dir }),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.mount).status();
    }
}

/// Runs the test on a small file system, or says why not.
fn on_a_small_file_system(name: &str, test: impl FnOnce(&Path)) {
    match Small::mount() {
        Ok(small) => test(&small.mount),
        Err(reason) => skip(name, &reason),
    }
}

fn skip(test: &str, reason: &str) {
    let line = format!("SKIP: store::full::{test}: {reason}\n");
    if let Some(path) = std::env::var_os("PACKMULE_SKIPS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

fn piece(n: u8) -> (ObjectKey, Vec<u8>) {
    let bytes = vec![n; 300_000];
    (key_of(ObjectKind::Pack, &bytes), bytes)
}

fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => files_below(&entry.path()),
            false => 1,
        })
        .sum()
}

#[test]
fn a_full_folder_keeps_what_it_has_and_goes_on_when_there_is_room() {
    on_a_small_file_system(
        "a_full_folder_keeps_what_it_has_and_goes_on_when_there_is_room",
        |mount| {
            let store = Folder::new(mount.join("repository"));
            store.create().unwrap();
            for n in 0..3 {
                let (key, bytes) = piece(n);
                store.put(&key, &bytes).unwrap();
            }
            let (key, bytes) = piece(3);
            assert!(matches!(store.put(&key, &bytes), Err(Error::Full { .. })));
            let streamed = store.put_from(&key, 300_000, &mut bytes.as_slice());
            assert!(matches!(streamed, Err(Error::Full { .. })), "{streamed:?}");
            let large = key_of(ObjectKind::Pack, b"never read");
            let refused = store.put_from(&large, 2 << 20, &mut std::io::repeat(0));
            assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
            let whole = store::direct::Aligned::new(2 << 20);
            let refused = store.put(&key_of(ObjectKind::Pack, whole.bytes()), whole.bytes());
            assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
            assert_eq!(files_below(mount), 3, "a failed write left something behind");
            for n in 0..3 {
                let (key, bytes) = piece(n);
                assert_eq!(store.get(&key, 300_000).unwrap(), bytes);
            }
            store.remove(&piece(0).0).unwrap();
            store.put(&key, &bytes).unwrap();
            assert_eq!(store.list(ObjectKind::Pack).unwrap().len(), 3);
            let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1 << 20);
            let stale = store.remove_stale(std::time::Duration::ZERO, later).unwrap();
            assert_eq!(stale, Stale::default());
        },
    );
}

#[test]
fn replacing_a_file_on_a_full_disk_keeps_the_old_one() {
    on_a_small_file_system("replacing_a_file_on_a_full_disk_keeps_the_old_one", |mount| {
        let path = mount.join("state.json");
        store::durable::write(&path, b"old", 0o600).unwrap();
        assert!(store::durable::replace(&path, &vec![1; 2 << 20], 0o600).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(files_below(mount), 1);
    });
}
