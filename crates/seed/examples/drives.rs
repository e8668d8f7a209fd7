//! What `cargo xtask bench drives` runs: makes a repository of noise, writes it onto drives, imports
//! it, and prints how long each drive took. Throttles nothing and mounts nothing.
//!
//! ```text
//! drives make SOURCE BYTES               a repository of packs of 16 MiB
//! drives write SOURCE STATE DRIVE…       one line of JSON a drive
//! drives import INTO STATE DRIVE…        one line of JSON
//! ```

use model::{DriveSerial, ObjectKey, ObjectKind};
use packmule_seed::{
    self as seed, DriveSpec, Event, Events, Filling, Options, PlainReads, SigningKey, Trust,
};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;
use store::{Folder, Store};

const PACK: usize = 16 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["make", source, bytes] => make(Path::new(source), bytes.parse()?),
        ["write", source, state, drives @ ..] => write(Path::new(source), Path::new(state), drives),
        ["import", into, _, drives @ ..] => import(Path::new(into), drives),
        _ => Err("see the comment at the top".into()),
    }
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn make(source: &Path, bytes: u64) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(source)?;
    let store = Folder::new(source);
    store.create()?;
    let put = |kind, bytes: &[u8]| {
        let name = model::Digest(sha256::hash(bytes));
        store.put(&ObjectKey::new(kind, name), bytes)
    };
    put(ObjectKind::Config, b"no real configuration, and nobody looks")?;
    put(ObjectKind::Snapshot, b"no real snapshot")?;
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..bytes.div_ceil(PACK as u64) {
        let mut pack = Vec::with_capacity(PACK);
        while pack.len() < PACK {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            pack.extend_from_slice(&random.to_le_bytes());
        }
        put(ObjectKind::Pack, &pack)?;
    }
    Ok(())
}

/// When what happened to a drive.
#[derive(Default)]
struct Times {
    written: u64,
    read: Option<Instant>,
    sealed: Option<Instant>,
}

#[derive(Default)]
struct Watch(BTreeMap<DriveSerial, Times>);

impl Events for Watch {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Writing { serial, bytes } => {
                self.0.entry(serial.clone()).or_default().written += bytes;
            }
            Event::Reading { serial, .. } => {
                let times = self.0.entry(serial.clone()).or_default();
                times.read.get_or_insert_with(Instant::now);
            }
            Event::DriveSealed { serial } => {
                self.0.entry(serial.clone()).or_default().sealed = Some(Instant::now());
            }
            _ => {}
        }
    }
}

fn write(source: &Path, state: &Path, drives: &[&str]) -> Result<(), Box<dyn Error>> {
    let (store, key) = (Folder::new(source), key());
    let options = Options {
        state,
        signer: &key,
        seed: None,
        set: 0,
        now: jiff::Timestamp::now(),
        read_back: &PlainReads,
        filling: Filling::Even,
        parity: 0,
        only: None,
    };
    // Each drive is to get its part: no fewer drives are enough.
    let all: u64 = store.list(ObjectKind::Pack)?.iter().map(|pack| pack.length).sum();
    let capacity = all / drives.len() as u64 + 3 * PACK as u64;
    let spec = |(at, folder): (usize, &&str)| -> Result<DriveSpec, Box<dyn Error>> {
        let (folder, serial) = (PathBuf::from(folder), format!("D{at}").parse()?);
        Ok(DriveSpec { folder, serial, capacity: Some(capacity) })
    };
    let specs = drives.iter().enumerate().map(spec).collect::<Result<Vec<_>, _>>()?;
    let mut watch = Watch::default();
    let start = Instant::now();
    let prepared = seed::prepare(&options, &[&store], &specs, &mut watch)?;
    if !prepared.is_complete() {
        return Err(format!("something is left: {:?}", prepared.shortfall).into());
    }
    for (serial, times) in &watch.0 {
        let (Some(read), Some(sealed)) = (times.read, times.sealed) else { continue };
        let (write, read) = ((read - start).as_secs_f64(), (sealed - read).as_secs_f64());
        let line = serde_json::json!({
            "drive": serial.as_str(), "bytes": times.written, "write": write, "read_back": read,
        });
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(())
}

fn import(into: &Path, drives: &[&str]) -> Result<(), Box<dyn Error>> {
    let folders: Vec<PathBuf> = drives.iter().map(PathBuf::from).collect();
    let trust = Trust::Fingerprint(key().fingerprint());
    let start = Instant::now();
    let imported = seed::import(into, &folders, &trust, &mut ())?;
    if !imported.seeds.iter().all(|seed| seed.published) {
        return Err("not everything arrived".into());
    }
    let bytes: u64 =
        imported.drives.iter().flat_map(|(_, drive)| drive).map(|drive| drive.copied_bytes).sum();
    let line = serde_json::json!({ "bytes": bytes, "import": start.elapsed().as_secs_f64() });
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
