//! Measures what an index of many blobs costs: memory at its peak, loading included, and speed.
//!
//! `index_memory [BLOBS] [BLOBS A PACK]` makes a repository of nothing but index files in a folder
//! of its own and removes it again. Prints one line of JSON. Not a test: nothing fails.

use model::Digest;
use packmule_repo::{Author, BlobKind, Index, KdfParams, PackedBlob, Repository};
use sha2::{Digest as _, Sha256};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Folder, Store};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A blob and a half of restic's least chunk, compressed: packs of 16 MiB hold so many.
const BLOBS_A_PACK: u64 = 32;
/// An index file's worth.
const PACKS_A_FILE: u64 = 1500;
const SAMPLE: u64 = 200_000;
const PASSWORD: &[u8] = b"x";

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [make, folder, packs, each] = arguments.as_slice()
        && make == "make"
    {
        return make_repository(folder, packs.parse()?, each.parse()?);
    }
    let number = |at: usize, default| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let blobs: u64 = number(0, 10_000_000)?;
    let each: u64 = number(1, BLOBS_A_PACK)?.max(1);
    let folder = std::env::temp_dir().join(format!("packmule-index-{}", std::process::id()));
    // In a process of its own, so that this one's memory is the index's alone.
    let made = std::process::Command::new(std::env::current_exe()?)
        .arg("make")
        .arg(&folder)
        .args([(blobs / each).to_string(), each.to_string()])
        .status()?;
    let measured = match made.success() {
        true => measure(&folder, blobs / each, each),
        false => Err("the repository could not be made".into()),
    };
    std::fs::remove_dir_all(&folder)?;
    report(&measured?)
}

fn make_repository(folder: &str, packs: u64, each: u64) -> Outcome<()> {
    let store: Arc<dyn Store> = Arc::new(Folder::new(folder));
    let now = jiff::Timestamp::UNIX_EPOCH;
    let repository = Repository::init(store, PASSWORD, KdfParams::WEAK, Author::default(), now)?;
    for first in (0..packs).step_by(usize::try_from(PACKS_A_FILE)?) {
        let file = first..packs.min(first + PACKS_A_FILE);
        repository.save_index(&file.map(|n| pack(n, each)).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn id(of: &str, n: u64) -> Digest {
    Digest(Sha256::new().chain_update(of).chain_update(n.to_le_bytes()).finalize().into())
}

fn pack(n: u64, each: u64) -> (Digest, Vec<PackedBlob>) {
    let length = 500_000;
    let blob = |at: u64| PackedBlob {
        id: id("blob", n * each + at),
        kind: BlobKind::Data,
        offset: u32::try_from(at).unwrap_or_default().saturating_mul(length),
        length,
        plain_length: Some(900_000),
    };
    (id("pack", n), (0..each).map(blob).collect())
}

struct Measured {
    blobs: u64,
    load_seconds: f64,
    load_processor_seconds: f64,
    peak: u64,
    resident: u64,
    found: f64,
    missed: f64,
    added: f64,
    peak_adding: u64,
}

fn measure(folder: &Path, packs: u64, each: u64) -> Outcome<Measured> {
    let store: Arc<dyn Store> = Arc::new(Folder::new(folder));
    let repository = Repository::open(store, PASSWORD, Author::default())?;
    let (begun, busy) = (Instant::now(), processor_seconds()?);
    let mut index = repository.load_index()?.value;
    let load_seconds = begun.elapsed().as_secs_f64();
    let load_processor_seconds = processor_seconds()? - busy;
    let peak = memory("VmHWM:")?;
    let resident = memory("VmRSS:")?;
    let known = (0..SAMPLE).map(|n| id("blob", n * 7919 % (packs * each))).collect::<Vec<_>>();
    let found = rate(&index, &known, true)?;
    let unknown: Vec<Digest> = (0..SAMPLE).map(|n| id("other", n)).collect();
    let missed = rate(&index, &unknown, false)?;
    drop((known, unknown));
    let mut adding = Duration::ZERO;
    for n in packs..packs + SAMPLE / each {
        let (id, blobs) = pack(n, each);
        let begun = Instant::now();
        index.add(id, &blobs);
        adding += begun.elapsed();
    }
    let added = (SAMPLE / each * each) as f64 / adding.as_secs_f64();
    let peak_adding = memory("VmHWM:")?;
    let blobs = packs * each;
    Ok(Measured {
        blobs,
        load_seconds,
        load_processor_seconds,
        peak,
        resident,
        found,
        missed,
        added,
        peak_adding,
    })
}

/// Lookups a second.
fn rate(index: &Index, ids: &[Digest], expected: bool) -> Outcome<f64> {
    let begun = Instant::now();
    if ids.iter().any(|id| index.find(BlobKind::Data, id).is_some() != expected) {
        return Err("the index does not answer what it was told".into());
    }
    Ok(ids.len() as f64 / begun.elapsed().as_secs_f64())
}

/// What this process has used, in the kernel's hundredths.
fn processor_seconds() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let numbers = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = numbers.split(' ').skip(11).take(2).map(str::parse::<u32>);
    Ok(f64::from(ticks.sum::<Result<u32, _>>()?) / 100.0)
}

/// One line of what the kernel says of this process, in bytes.
fn memory(line: &str) -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let value = status.lines().find_map(|text| text.strip_prefix(line)).unwrap_or_default();
    Ok(value.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

fn report(it: &Measured) -> Outcome<()> {
    use std::io::Write as _;
    let line = serde_json::json!({
        "blobs": it.blobs,
        "load_seconds": it.load_seconds,
        "load_processor_seconds": it.load_processor_seconds,
        "peak_bytes": it.peak,
        "resident_bytes": it.resident,
        "bytes_per_blob": it.peak as f64 / it.blobs as f64,
        "found_per_second": it.found,
        "missed_per_second": it.missed,
        "added_per_second": it.added,
        "peak_bytes_when_blobs_were_added": it.peak_adding,
    });
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
