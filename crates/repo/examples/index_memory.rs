//! Measures what an index of many blobs costs: memory at its peak, loading included, and speed.
//!
//! `index_memory [BLOBS] [BLOBS A PACK]` makes a repository of nothing but index files in a folder
//! of its own and removes it again. Prints one line of JSON. Not a test: nothing fails.

use model::Digest;
use packmule_repo::{Author, BlobKind, Index, KdfParams, PackedBlob, Repository};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::Instant;
use store::{Folder, Store};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A blob and a half of restic's least chunk, compressed: packs of 16 MiB hold so many.
const BLOBS_A_PACK: u64 = 32;
/// An index file's worth.
const PACKS_A_FILE: u64 = 1500;
const SAMPLE: u64 = 1_000_000;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse::<u64>());
    let (blobs, each) = (number(10_000_000)?, number(BLOBS_A_PACK)?.max(1));
    let folder = std::env::temp_dir().join(format!("packmule-index-{}", std::process::id()));
    let store: Arc<dyn Store> = Arc::new(Folder::new(&folder));
    let measured = measure(store, blobs, each);
    std::fs::remove_dir_all(&folder)?;
    report(&measured?)
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
    peak: u64,
    resident: u64,
    found: f64,
    missed: f64,
    added: f64,
    peak_adding: u64,
}

fn measure(store: Arc<dyn Store>, blobs: u64, each: u64) -> Outcome<Measured> {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let repository = Repository::init(store, b"x", KdfParams::WEAK, Author::default(), now)?;
    let packs = blobs / each;
    for first in (0..packs).step_by(usize::try_from(PACKS_A_FILE)?) {
        let file = first..packs.min(first + PACKS_A_FILE);
        repository.save_index(&file.map(|n| pack(n, each)).collect::<Vec<_>>())?;
    }
    let before = memory("VmHWM:")?;
    let begun = Instant::now();
    let mut index = repository.load_index()?.value;
    let load_seconds = begun.elapsed().as_secs_f64();
    let peak = memory("VmHWM:")?;
    if peak == before {
        return Err("making the repository took more memory than loading it: too few blobs".into());
    }
    let resident = memory("VmRSS:")?;
    let known = (0..SAMPLE).map(|n| id("blob", n * 7919 % (packs * each))).collect::<Vec<_>>();
    let found = rate(&index, &known, true)?;
    let unknown: Vec<Digest> = (0..SAMPLE).map(|n| id("other", n)).collect();
    let missed = rate(&index, &unknown, false)?;
    drop((known, unknown));
    let new: Vec<_> = (packs..packs + SAMPLE / each).map(|n| pack(n, each)).collect();
    let begun = Instant::now();
    for (id, blobs) in &new {
        index.add(*id, blobs);
    }
    let added = SAMPLE as f64 / begun.elapsed().as_secs_f64();
    let peak_adding = memory("VmHWM:")?;
    let blobs = index.count(BlobKind::Data) as u64;
    Ok(Measured { blobs, load_seconds, peak, resident, found, missed, added, peak_adding })
}

/// Lookups a second.
fn rate(index: &Index, ids: &[Digest], expected: bool) -> Outcome<f64> {
    let begun = Instant::now();
    if ids.iter().any(|id| index.find(BlobKind::Data, id).is_some() != expected) {
        return Err("the index does not answer what it was told".into());
    }
    Ok(ids.len() as f64 / begun.elapsed().as_secs_f64())
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
        "peak_bytes": it.peak,
        "resident_bytes": it.resident,
        "bytes_per_blob": it.peak as f64 / it.blobs as f64,
        "found_per_second": it.found,
        "missed_per_second": it.missed,
        "added_per_second": it.added,
        "peak_bytes_with_a_million_ids_and_blobs_added": it.peak_adding,
    });
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
