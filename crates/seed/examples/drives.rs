//! What `cargo xtask bench drives` and `bench seed` run: makes a repository of noise, writes it onto drives, imports
//! it, and prints how long it took. Throttles nothing and mounts nothing.
//!
//! ```text
//! drives make SOURCE BYTES               a repository of packs of 16 MiB
//! drives write SOURCE STATE DRIVE…       one line of JSON a drive
//! drives import INTO STATE DRIVE…        one line of JSON
//! drives protect SOURCE STATE K DRIVE…   the same with K parity drives, the last ones: one line for all
//! drives repair INTO STATE DRIVE…        import, of which something is rebuilt: one line
//! drives plan PACKS BYTES DRIVES         a plan for a seed that large on drives of a fiftieth of it, DRIVES at hand
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
        ["protect", source, state, parity, drives @ ..] => {
            protect(Path::new(source), Path::new(state), parity.parse()?, drives)
        }
        ["repair", into, _, drives @ ..] => repair(Path::new(into), drives),
        ["plan", packs, bytes, drives] => plan(packs.parse()?, bytes.parse()?, drives.parse()?),
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
        most: wire::MAX_DRIVES,
        list: None,
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

/// Seconds of processor time that this process has used.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = |at| fields.split_whitespace().nth(at).and_then(|it| it.parse::<u64>().ok());
    // utime and stime, in hundredths of a second.
    (ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0)) as f64 / 100.0
}

/// The most memory that this process has had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn protect(
    source: &Path,
    state: &Path,
    parity: u32,
    drives: &[&str],
) -> Result<(), Box<dyn Error>> {
    let (store, key) = (Folder::new(source), key());
    let options = Options {
        state,
        signer: &key,
        seed: None,
        set: 0,
        now: jiff::Timestamp::now(),
        read_back: &PlainReads,
        filling: Filling::Even,
        parity,
        most: wire::MAX_DRIVES,
        list: None,
        only: None,
    };
    let all: u64 = store.list(ObjectKind::Pack)?.iter().map(|pack| pack.length).sum();
    let data = drives.len() as u64 - u64::from(parity);
    let capacity = all / data.max(1) + 3 * PACK as u64;
    let capacity = capacity + if parity > 0 { seed::kept_free(capacity, 1 << 20) } else { 0 };
    let spec = |(at, folder): (usize, &&str)| -> Result<DriveSpec, Box<dyn Error>> {
        let (folder, serial) = (PathBuf::from(folder), format!("D{at}").parse()?);
        // The last ones are the largest: they are kept for parity.
        let more = if at as u64 >= data { 1 << 20 } else { 0 };
        Ok(DriveSpec { folder, serial, capacity: Some(capacity + more) })
    };
    let specs = drives.iter().enumerate().map(spec).collect::<Result<Vec<_>, _>>()?;
    let mut watch = Watch::default();
    let (start, before) = (Instant::now(), cpu());
    let prepared = seed::prepare(&options, &[&store], &specs, &mut watch)?;
    if !prepared.is_complete() {
        return Err(format!("something is left: {:?}", prepared.shortfall).into());
    }
    let is_data = |serial: &DriveSerial| {
        let mut drives = prepared.drives.iter();
        drives.any(|drive| drive.serial == *serial && drive.role.is_data())
    };
    let sealed = watch.0.iter().filter(|(serial, _)| is_data(serial));
    let data = sealed.filter_map(|(_, times)| Some((times.sealed? - start).as_secs_f64()));
    let line = serde_json::json!({
        "bytes": all, "data": data.fold(0.0, f64::max), "all": start.elapsed().as_secs_f64(),
        "cpu": cpu() - before, "memory": peak(),
    });
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// When rebuilding began and ended: in a pass of its own that says so, else with the import.
struct Rebuilding {
    start: Instant,
    end: Instant,
}

impl Events for Rebuilding {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Rebuilding { .. } => self.start = Instant::now(),
            Event::Rebuilt { .. } | Event::ObjectRebuilt { .. } => self.end = Instant::now(),
            _ => {}
        }
    }
}

fn repair(into: &Path, drives: &[&str]) -> Result<(), Box<dyn Error>> {
    let folders: Vec<PathBuf> = drives.iter().map(PathBuf::from).collect();
    let trust = Trust::Fingerprint(key().fingerprint());
    let (start, before) = (Instant::now(), cpu());
    let mut watch = Rebuilding { start, end: start };
    let imported = seed::import(into, &folders, &trust, &mut watch)?;
    if !imported.seeds.iter().all(|seed| seed.published) {
        return Err("not everything could be rebuilt".into());
    }
    let given = imported.drives.iter().flat_map(|(_, drive)| drive);
    let rebuilt: u64 = given.filter_map(|drive| Some(drive.rebuilt.as_ref()?.bytes())).sum();
    let took = watch.end.saturating_duration_since(watch.start).as_secs_f64();
    let line = serde_json::json!({
        "import": start.elapsed().as_secs_f64(), "rebuilt": rebuilt, "rebuilding": took,
        "cpu": cpu() - before, "memory": peak(),
    });
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

fn plan(packs: u64, bytes: u64, drives: usize) -> Result<(), Box<dyn Error>> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let average = bytes / packs.max(1);
    let mut objects = Vec::with_capacity(usize::try_from(packs)?);
    for _ in 0..packs {
        let mut name = [0; 32];
        for part in name.chunks_exact_mut(8) {
            part.copy_from_slice(&next().to_le_bytes());
        }
        // As packs are: some are half as long, some half as long again.
        let length = average / 2 + next() % average.max(1);
        let (kind, name) = (ObjectKind::Pack, model::Digest(name));
        objects.push(seed::Object { repository: 0, kind, name, length });
    }
    objects.sort_unstable();
    let inventory = 44 * packs;
    let rooms = vec![seed::Room::new(bytes / 50, inventory); drives];
    let start = Instant::now();
    let plan = seed::plan(&objects, &rooms, inventory, Filling::Even)
        .map_err(|large| format!("{large:?}"))?;
    let took = start.elapsed().as_secs_f64();
    let more = plan.shortfall.map_or(0, |shortfall| shortfall.drives);
    let line = serde_json::json!({
        "packs": packs, "drives": drives as u64 + more, "seconds": took, "memory": peak(),
    });
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
