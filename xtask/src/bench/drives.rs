//! `cargo xtask bench drives`: writing, reading back and importing drive sets, against `cp`, `rsync` and
//! the raw rate of the same devices. The devices are files behind loop devices with ext4, held to a
//! rate by the kernel (blkio). Never part of the tests; takes root.

mod disk;
mod peer;
mod table;

use super::machine::Machine;
use super::publish;
use crate::process::{cargo, complain, output, say, status};
use crate::tools::is_root;
use crate::workspace;
use anyhow::{Context, ensure};
pub(super) use disk::{Disk, Throttle};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use table::Row;
pub(super) use table::figure;

/// MB a second that a device is held to: a hard disk's, and a SATA SSD's.
const RATES: [u64; 2] = [250, 550];
/// How many drives.
const COUNTS: [usize; 3] = [1, 2, 4];
/// MiB of a drive: seconds at these rates, and all of it below 10 GB with four drives.
const DRIVE: u64 = 768;

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    rates: Vec<u64>,
    counts: Vec<usize>,
    /// MiB for each drive.
    size: u64,
    work: PathBuf,
    write: bool,
}

impl Options {
    /// Parses the arguments after `bench drives`.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self {
            // 0 is no limit.
            rates: RATES.into_iter().chain([0]).collect(),
            counts: COUNTS.to_vec(),
            size: DRIVE,
            work: PathBuf::from("/dev/shm"),
            write: false,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--quick" => (options.counts, options.size) = (vec![1, 2], 384),
                "--drives" => {
                    let count = value()?;
                    let count = count.parse().map_err(|_| format!("{count} is no number"))?;
                    options.counts = vec![count];
                }
                "--work" => options.work = value()?.into(),
                "--size" => {
                    let size = value()?;
                    options.size = size.parse().map_err(|_| format!("{size} is no number"))?;
                }
                "--write" => options.write = true,
                other => return Err(format!("bench drives has no option {other}")),
            }
        }
        Ok(options)
    }
}

/// Measures every number of drives at every rate, and prints a table.
pub(crate) fn drives(options: &Options) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    if !is_root()? {
        complain("bench drives takes root: loop devices, file systems, the kernel's throttle");
        return Ok(ExitCode::FAILURE);
    }
    let example = build(&root)?;
    let throttle = Throttle::find();
    let base = options.work.join("packmule-bench-drives");
    if base.exists() {
        std::fs::remove_dir_all(&base)?;
    }
    std::fs::create_dir_all(&base).with_context(|| format!("cannot make {}", base.display()))?;
    let measured = measure(options, &Bench { example, throttle, base: base.clone() });
    std::fs::remove_dir_all(&base)?;
    let text = table::render(&Machine::this(), options.size, throttle, &measured?);
    say(&text);
    if options.write {
        publish::publish(&root, publish::DRIVES, &text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The example that writes and reads drive sets.
pub(super) fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let build = ["build", "--release", "--quiet", "-p", "packmule-seed", "--example", "drives"];
    ensure!(status(cargo(root).args(build))?.success(), "the example drives does not compile");
    Ok(crate::process::target(root).join("release/examples/drives"))
}

fn measure(options: &Options, bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for count in &options.counts {
        let source = bench.source(*count, options.size)?;
        for rate in &options.rates {
            if *rate > 0 && bench.throttle.is_none() {
                complain(
                    "this kernel throttles no devices: only the unthrottled rows are measured",
                );
                continue;
            }
            complain(&format!("{count} drives at {rate} MB/s"));
            rows.push(bench.row(&source, *count, options.size, *rate)?);
        }
        std::fs::remove_dir_all(&source)?;
    }
    Ok(rows)
}

/// Where everything is.
struct Bench {
    example: PathBuf,
    throttle: Option<Throttle>,
    base: PathBuf,
}

impl Bench {
    fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        output(Command::new(&self.example).args(args))
    }

    /// A repository for that many drives, once whole and once as a folder of links for each drive.
    fn source(&self, count: usize, size: u64) -> anyhow::Result<PathBuf> {
        let source = self.base.join("source");
        let bytes = (count as u64 * size) << 20;
        self.run(&["make", text(&source.join("repository"))?, &bytes.to_string()])?;
        peer::parts(&source, count)?;
        Ok(source)
    }

    fn row(&self, source: &Path, count: usize, size: u64, rate: u64) -> anyhow::Result<Row> {
        let mut row = Row::new(count, rate);
        {
            let disks = self.disks(count, size, rate)?;
            row.raw_write = peer::raw_write(&disks, size)?;
            row.raw_read = peer::raw_read(&disks)?;
        }
        for (which, program) in peer::PROGRAMS.iter().enumerate() {
            let disks = self.disks(count, size, rate)?;
            let measured = peer::copy(program, source, &disks, &self.base.join("into"))?;
            if let (Some(measured), Some(place)) = (measured, row.peers.get_mut(which)) {
                *place = Some(measured);
            }
        }
        let disks = self.disks(count, size, rate)?;
        let folders = disks.iter().map(|disk| text(&disk.folder)).collect::<Result<Vec<_>, _>>()?;
        let (repository, state) = (source.join("repository"), self.base.join("state"));
        let head = ["write", text(&repository)?, text(&state)?];
        let before = Cpus::now()?;
        let told = self.run(&[head.as_slice(), &folders].concat())?;
        row.busy = before.busy()?;
        row.ours(&told)?;
        disks.iter().try_for_each(Disk::forget)?;
        let into = self.base.join("into");
        let before = Cpus::now()?;
        let told = self.run(&[["import", text(&into)?, "-"].as_slice(), &folders].concat())?;
        row.import_busy = before.busy()?;
        row.import(&told)?;
        std::fs::remove_dir_all(into)?;
        std::fs::remove_dir_all(state)?;
        Ok(row)
    }

    fn disks(&self, count: usize, size: u64, rate: u64) -> anyhow::Result<Vec<Disk>> {
        Disk::several(&self.base, (count, size), (self.throttle, rate))
    }
}

pub(super) fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the folder's name is not UTF-8")
}

/// How busy the processors were since a moment.
pub(super) struct Cpus {
    idle: u64,
    all: u64,
}

impl Cpus {
    pub(super) fn now() -> anyhow::Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> =
            first.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
        // idle and iowait
        let idle = ticks.iter().skip(3).take(2).sum();
        Ok(Self { idle, all: ticks.iter().take(8).sum() })
    }

    /// From 0 to 1.
    pub(super) fn busy(&self) -> anyhow::Result<f64> {
        let now = Self::now()?;
        let all = (now.all - self.all).max(1) as f64;
        Ok(1.0 - (now.idle - self.idle) as f64 / all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Options, String> {
        Options::parse(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn quick_is_small_and_unknown_options_are_refused() {
        assert!(parsed(&["--quick"]).unwrap().size < parsed(&[]).unwrap().size);
        assert_eq!(parsed(&["--size", "100", "--write"]).unwrap().size, 100);
        for wrong in [&["--fast"][..], &["--size"], &["--size", "much"]] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }
}
