//! A process that stores objects is killed again and again, at any moment: nothing half-written is
//! ever listed, and nothing it was told is stored is ever missing.
//!
//! The writer is this test binary, called again for the one test that writes when asked to.
#![expect(clippy::unwrap_used, reason = "helpers of tests may stop on a surprise, too")]

use packmule_store as store;

use model::{ObjectKey, ObjectKind};
use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};
use store::conformance::key_of;
use store::{Folder, Store};

const FOLDER: &str = "PACKMULE_TEST_KILL_FOLDER";
const START: &str = "PACKMULE_TEST_KILL_START";
const ROUNDS: u64 = 40;
const MOST_ROUNDS: u64 = 400;

fn object(n: u64) -> Vec<u8> {
    let length = match n % 4 {
        0 => 1_500_000,
        1 => 0,
        _ => 20_000,
    };
    let mut bytes = n.to_le_bytes().to_vec();
    bytes.resize(8 + length, n.to_le_bytes()[0]);
    bytes
}

/// Not a rule: the process to be killed. Does nothing unless called by the test below.
#[test]
fn writer() {
    let (Ok(folder), Ok(start)) = (std::env::var(FOLDER), std::env::var(START)) else { return };
    let store = Folder::new(folder);
    for n in start.parse::<u64>().unwrap().. {
        let bytes = object(n);
        let kind = if n.is_multiple_of(3) { ObjectKind::Index } else { ObjectKind::Pack };
        let key = key_of(kind, &bytes);
        if n.is_multiple_of(2) {
            store.put(&key, &bytes).unwrap();
        } else {
            store.put_from(&key, bytes.len() as u64, &mut bytes.as_slice()).unwrap();
        }
        writeln!(io::stdout(), "\nstored {key}").unwrap();
    }
}

/// Starts the writer, lets it acknowledge `after` objects and run on for a moment, kills it, and
/// gives what it acknowledged.
fn killed_after(folder: &Path, start: u64, after: u64, moment: Duration) -> Vec<ObjectKey> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(START, start.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let stored = |line: String| line.strip_prefix("stored ").and_then(ObjectKey::from_path);
    let mut acknowledged = Vec::new();
    while (acknowledged.len() as u64) < after {
        acknowledged.extend(stored(lines.next().unwrap().unwrap()));
    }
    // Busy, not asleep: the moments wanted are shorter than a timer's step.
    let begun = std::time::Instant::now();
    while begun.elapsed() < moment {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    acknowledged.extend(lines.map_while(Result::ok).filter_map(stored));
    acknowledged
}

fn assert_sound(store: &Folder, acknowledged: &BTreeSet<ObjectKey>) {
    let mut listed = BTreeSet::new();
    for kind in [ObjectKind::Pack, ObjectKind::Index] {
        for entry in store.list(kind).unwrap() {
            let bytes = store.get(&entry.key, entry.length).unwrap();
            assert_eq!(key_of(kind, &bytes), entry.key, "a listed object is not what it says");
            listed.insert(entry.key);
        }
    }
    let missing: Vec<_> = acknowledged.difference(&listed).collect();
    assert!(missing.is_empty(), "acknowledged and not there: {missing:?}");
}

#[test]
fn whenever_the_writer_dies_the_folder_is_sound() {
    let dir = tempfile::tempdir().unwrap();
    let store = Folder::new(dir.path().join("repository"));
    store.create().unwrap();
    let (mut acknowledged, mut unfinished) = (BTreeSet::new(), 0);
    let later = SystemTime::now() + Duration::from_secs(86_400);
    for round in 0..MOST_ROUNDS {
        // From the middle of one write to the middle of the next, in steps of no common measure.
        let moment = Duration::from_micros(round * 7_919 % 6_000);
        let found = killed_after(store.root(), round * 1_000, 1 + round % 5, moment);
        acknowledged.extend(found);
        if round >= ROUNDS && unfinished > 0 {
            break;
        }
        // Sometimes what is unfinished lies there when the next writer starts, sometimes not.
        if round % 4 == 3 {
            unfinished += store.remove_stale(Duration::from_secs(60), later).unwrap().files;
        }
    }
    assert!(unfinished > 0, "no kill struck a write: the test proves nothing");
    assert_sound(&store, &acknowledged);
}
