//! What each stage of a backup costs one core of this machine, on the bytes of a real folder: the
//! bound that `cargo xtask bench engine` holds the engine against. Makes no repository.
//!
//! `stages FOLDER WORK FRESH STATE`: reads everything in FOLDER but the files that STATE, a file that
//! an earlier call left, knows as unchanged; what blobs it knows are not new. Writes for a moment in
//! WORK, where repositories lie, and FRESH, where files are restored. Prints one JSON object.

mod bytes;
mod clock;
mod disk;
mod known;
mod notes;

use bytes::Stages;
use clock::timed;
use known::Known;
use notes::Notes;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Seconds of one core, and the amounts that they were for.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// Everything in the folder.
    files: u64,
    bytes: u64,
    /// What was read: all, or what is not known as unchanged.
    read_files: u64,
    read_bytes: u64,
    /// Listing folders, and looking at each entry.
    look: f64,
    /// Opening and reading files that are in the page cache.
    read: f64,
    /// Trees and index: encoding them, and all stages that they go through.
    note: f64,
    /// Deriving a key from a password, as this program's repositories have it.
    key: f64,
    #[serde(flatten)]
    stages: Stages,
    #[serde(flatten)]
    disk: disk::Rates,
}

/// Of a key.
const KEY_LANES: u32 = repo::KdfParams::STANDARD.p;

fn main() -> io::Result<()> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [folder, work, fresh, state] = args.as_slice() else {
        return Err(io::Error::other("usage: stages FOLDER WORK FRESH STATE"));
    };
    let mut known = Known::load(state)?;
    let mut report = Report::default();
    let all = timed(&mut report.look, || look(folder))?;
    report.files = all.len() as u64;
    report.bytes = all.iter().map(|(_, stamp)| stamp.0).sum();
    let mut stages = bytes::Work::new()?;
    let mut notes = Notes::default();
    for (path, stamp) in all {
        if known.is_unchanged(&path, stamp) {
            continue;
        }
        report.read_files += 1;
        report.read_bytes += stamp.0;
        through(&folder.join(&path), &mut stages, (&mut known, &mut notes), &mut report)?;
        known.remember(path, stamp);
    }
    report.stages = stages.stages;
    report.note = notes.cost(&mut stages)?;
    for _ in 0..KEY_LANES {
        timed(&mut report.key, derive_lane)?;
    }
    report.disk = disk::measure(work, fresh)?;
    known.save(state)?;
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, &report)?;
    writeln!(out)
}

/// One of the lanes that a key has: more would be derived by several cores.
fn derive_lane() -> io::Result<()> {
    let repo::KdfParams { log_n, r, .. } = repo::KdfParams::STANDARD;
    let mut key = [0; 64];
    kdf::scrypt(b"password", &[7; 64], kdf::Cost { log_n, r, p: 1 }, &mut key)
        .map_err(|kdf::Absurd| io::ErrorKind::InvalidInput)?;
    std::hint::black_box(key);
    Ok(())
}

/// The regular files below `root`, relative to it, with what would tell a change.
fn look(root: &Path) -> io::Result<Vec<(PathBuf, known::Stamp)>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let data = entry.metadata()?;
            let path = folder.join(entry.file_name());
            if data.is_dir() {
                folders.push(path);
            } else if data.is_file() {
                found.push((path, known::stamp(&data)?));
            }
        }
    }
    Ok(found)
}

/// Takes one file through all stages.
fn through(
    path: &Path,
    work: &mut bytes::Work,
    (known, notes): (&mut Known, &mut Notes),
    report: &mut Report,
) -> io::Result<()> {
    let mut blobs = Vec::new();
    let mut window = work.buffer();
    let (mut file, mut filled) = timed(&mut report.read, || {
        let mut file = File::open(path)?;
        let filled = fill(&mut file, &mut window, 0)?;
        Ok::<_, io::Error>((file, filled))
    })?;
    while filled > 0 {
        let (length, name, is_new) = work.blob(window.get(..filled).unwrap_or_default(), known)?;
        blobs.push(name);
        if is_new {
            notes.new_blob(name);
        }
        window.copy_within(length..filled, 0);
        filled -= length;
        // Less than the longest blob is the rest of the file only when nothing more comes.
        filled = timed(&mut report.read, || fill(&mut file, &mut window, filled))?;
    }
    work.take_back(window);
    notes.file(path, blobs)
}

/// Reads behind the first `filled` bytes until the window is full or the file ends.
fn fill(file: &mut File, window: &mut [u8], mut filled: usize) -> io::Result<usize> {
    while let Some(rest) = window.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
