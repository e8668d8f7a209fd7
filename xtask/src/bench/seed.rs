//! `cargo xtask bench seed`: what parity costs, how fast it repairs, and what a plan for a large seed takes. Drives are
//! those of `bench drives`. Never part of the tests; takes root.

use super::drives::{self, Cpus, Disk, Throttle, figure, text};
use super::machine::Machine;
use super::publish;
use crate::process::{complain, output, say};
use crate::tools::is_root;
use crate::workspace;
use anyhow::Context;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// MB a second that a device is held to.
const RATE: u64 = 250;
/// Data drives of each set that is measured, and parity drives.
const SETS: [(usize, usize); 3] = [(2, 1), (3, 1), (4, 2)];
/// MiB of a data drive: seconds at that rate, and a set below 10 GB in memory.
const DRIVE: u64 = 768;
/// A seed of 1 PB in ten million packs.
const PACKS: u64 = 10_000_000;
const BYTES: u64 = 1_000_000_000_000_000;

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    sets: Vec<(usize, usize)>,
    /// MiB for each data drive.
    size: u64,
    packs: u64,
    work: PathBuf,
    write: bool,
}

impl Options {
    /// Parses the arguments after `bench seed`.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self {
            sets: SETS.to_vec(),
            size: DRIVE,
            packs: PACKS,
            work: PathBuf::from("/dev/shm"),
            write: false,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            match arg.as_str() {
                "--quick" => {
                    options.sets.truncate(1);
                    (options.size, options.packs) = (256, PACKS / 10);
                }
                "--work" => options.work = value()?.into(),
                "--size" => {
                    let size = value()?;
                    options.size = size.parse().map_err(|_| format!("{size} is no number"))?;
                }
                "--sets" => options.sets = sets(value()?)?,
                "--write" => options.write = true,
                other => return Err(format!("bench seed has no option {other}")),
            }
        }
        Ok(options)
    }
}

/// Frees the memory that the page cache has: the drives are in memory, and whoever fills them would wait for the kernel to
/// find some.
fn forget_cached() -> anyhow::Result<()> {
    super::ground::settle()?;
    let path = "/proc/sys/vm/drop_caches";
    std::fs::write(path, "1").with_context(|| format!("cannot write {path}"))
}

/// As `3+1,4+2`: data and parity drives.
fn sets(text: &str) -> Result<Vec<(usize, usize)>, String> {
    let pair = |pair: &str| {
        let (data, parity) = pair.split_once('+')?;
        Some((data.parse().ok().filter(|data| *data > 1)?, parity.parse().ok()?))
    };
    let all: Option<Vec<_>> = text.split(',').map(pair).collect();
    all.ok_or(format!("{text} is not a list as 3+1,4+2: two data drives at least"))
}

/// Measures every set with and without limit, then the plan, and prints tables.
pub(crate) fn seed(options: &Options) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    if !is_root()? {
        complain("bench seed takes root: loop devices, file systems, the kernel's throttle");
        return Ok(ExitCode::FAILURE);
    }
    let example = drives::build(&root)?;
    let base = options.work.join("packmule-bench-seed");
    if base.exists() {
        std::fs::remove_dir_all(&base)?;
    }
    std::fs::create_dir_all(&base).with_context(|| format!("cannot make {}", base.display()))?;
    let bench = Bench { example, throttle: Throttle::find(), base: base.clone() };
    let measured = bench.measure(options);
    std::fs::remove_dir_all(&base)?;
    let text = measured?;
    say(&text);
    if options.write {
        publish::publish(&root, publish::SEED, &text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where everything is.
struct Bench {
    example: PathBuf,
    throttle: Option<Throttle>,
    base: PathBuf,
}

/// One set at one rate.
struct Row {
    data: usize,
    parity: usize,
    rate: u64,
    /// Seconds to write, read back and seal: without parity, and with it.
    prepare: (f64, f64),
    /// Seconds to import: all data drives, and with one lost.
    import: (f64, f64),
    /// Bytes rebuilt, and in how many seconds.
    rebuilt: (f64, f64),
    /// Processor seconds that parity takes for a GB of data, writing it.
    cost: f64,
    /// How busy the processors were while parity was written with the rest, from 0 to 1.
    busy: f64,
}

impl Bench {
    fn run(&self, args: &[&str]) -> anyhow::Result<Value> {
        let told = output(Command::new(&self.example).args(args))?;
        let line = told.lines().last().context("the example says nothing")?;
        Ok(serde_json::from_str(line)?)
    }

    fn measure(&self, options: &Options) -> anyhow::Result<String> {
        let mut rows = Vec::new();
        for (data, parity) in &options.sets {
            let source = self.base.join("source");
            let bytes = (*data as u64 * options.size) << 20;
            output(Command::new(&self.example).args(["make", text(&source)?, &bytes.to_string()]))?;
            for rate in [RATE, 0] {
                if rate > 0 && self.throttle.is_none() {
                    complain(
                        "this kernel throttles no devices: only unthrottled rows are measured",
                    );
                    continue;
                }
                complain(&format!("{data} + {parity} drives at {rate} MB/s"));
                forget_cached()?;
                rows.push(self.row(&source, (*data, *parity), options.size, rate)?);
            }
            std::fs::remove_dir_all(&source)?;
        }
        complain(&format!("a plan for {} packs", options.packs));
        let bytes = BYTES / PACKS * options.packs;
        let plan = self.run(&["plan", &options.packs.to_string(), &bytes.to_string(), "10"])?;
        render(options, self.throttle.is_some(), &rows, &plan)
    }

    fn row(
        &self,
        source: &Path,
        (data, parity): (usize, usize),
        size: u64,
        rate: u64,
    ) -> anyhow::Result<Row> {
        let bare = self.prepare(source, &self.disks(data, size, rate)?, 0)?.0;
        let disks = self.disks(data + parity, size, rate)?;
        let (with, busy) = self.prepare(source, &disks, parity)?;
        let folders = disks.iter().map(|disk| text(&disk.folder)).collect::<Result<Vec<_>, _>>()?;
        // The first one pays for memory that has not been touched yet.
        self.import(&disks, folders.get(..data).unwrap_or_default())?;
        let all = self.import(&disks, folders.get(..data).unwrap_or_default())?;
        let lost = self.import(&disks, folders.get(1..).unwrap_or_default())?;
        let gigabytes = figure(&with, "bytes")? / 1e9;
        Ok(Row {
            data,
            parity,
            rate,
            prepare: (figure(&bare, "all")?, figure(&with, "all")?),
            import: (figure(&all, "import")?, figure(&lost, "import")?),
            rebuilt: (figure(&lost, "rebuilt")?, figure(&lost, "rebuilding")?),
            cost: (figure(&with, "cpu")? - figure(&bare, "cpu")?) / gigabytes,
            busy,
        })
    }

    fn prepare(
        &self,
        source: &Path,
        disks: &[Disk],
        parity: usize,
    ) -> anyhow::Result<(Value, f64)> {
        let folders = disks.iter().map(|disk| text(&disk.folder)).collect::<Result<Vec<_>, _>>()?;
        let state = self.base.join("state");
        let (count, before) = (parity.to_string(), Cpus::now()?);
        let head = ["protect", text(source)?, text(&state)?, &count];
        let told = self.run(&[head.as_slice(), &folders].concat())?;
        let busy = before.busy()?;
        std::fs::remove_dir_all(state)?;
        Ok((told, busy))
    }

    /// Into memory, from drives of which nothing is in the page cache.
    fn import(&self, disks: &[Disk], folders: &[&str]) -> anyhow::Result<Value> {
        disks.iter().try_for_each(Disk::forget)?;
        let into = self.base.join("into");
        let told = self.run(&[["repair", text(&into)?, "-"].as_slice(), folders].concat())?;
        std::fs::remove_dir_all(into)?;
        Ok(told)
    }

    fn disks(&self, count: usize, size: u64, rate: u64) -> anyhow::Result<Vec<Disk>> {
        Disk::several(&self.base, (count, size), (self.throttle, rate))
    }
}

fn render(
    options: &Options,
    throttled: bool,
    rows: &[Row],
    plan: &Value,
) -> anyhow::Result<String> {
    let mut text = String::new();
    writeln!(text, "{}.", Machine::this().told())?;
    let held = if throttled { ", held to their rates by the kernel's blkio throttle" } else { "" };
    writeln!(
        text,
        "Loop devices with ext4 on files in memory{held}; {} MiB a data drive. Seconds; in brackets the part that parity takes more.\n",
        options.size
    )?;
    writeln!(
        text,
        "| data + parity | each held to | prepare | with parity | import | one drive lost | rebuilt | core seconds a GB of data | busy |"
    )?;
    writeln!(text, "|---|---|---|---|---|---|---|---|---|")?;
    for row in rows {
        let held = if row.rate == 0 { "none".to_owned() } else { row.rate.to_string() };
        let more = |(without, with): (f64, f64)| {
            format!("{with:.1} ({:+.0} %)", 100.0 * (with / without.max(0.001) - 1.0))
        };
        writeln!(
            text,
            "| {} + {} | {held} | {:.1} | {} | {:.1} | {} | {:.0} MB/s | {:.2} | {:.0} % |",
            row.data,
            row.parity,
            row.prepare.0,
            more(row.prepare),
            row.import.0,
            more(row.import),
            row.rebuilt.0 / row.rebuilt.1.max(0.001) / 1e6,
            row.cost,
            100.0 * row.busy
        )?;
    }
    writeln!(
        text,
        "\nA plan for {:.1} million packs on {} drives: {:.1} s, {:.2} GB of memory at most, the list of packs included.",
        figure(plan, "packs")? / 1e6,
        figure(plan, "drives")?,
        figure(plan, "seconds")?,
        figure(plan, "memory")? / 1e9
    )?;
    Ok(text)
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
        assert_eq!(parsed(&["--sets", "3+1,4+2"]).unwrap().sets, [(3, 1), (4, 2)]);
        for wrong in [
            &["--fast"][..],
            &["--size"],
            &["--size", "much"],
            &["--sets", "1+1"],
            &["--sets", "3"],
            &["--sets", ""],
        ] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_parity_takes_more_is_said_in_percent() {
        let row = Row {
            data: 3,
            parity: 1,
            rate: 250,
            prepare: (10.0, 11.0),
            import: (4.0, 5.0),
            rebuilt: (5e8, 2.0),
            cost: 0.65,
            busy: 0.5,
        };
        let plan = serde_json::json!({"packs": 1e7, "drives": 51, "seconds": 4.2, "memory": 9e8});
        let text = render(&parsed(&[]).unwrap(), true, &[row], &plan).unwrap();
        assert!(
            text.contains(
                "| 3 + 1 | 250 | 10.0 | 11.0 (+10 %) | 4.0 | 5.0 (+25 %) | 250 MB/s | 0.65 | 50 % |"
            ),
            "{text}"
        );
        assert!(text.contains("10.0 million packs on 51 drives: 4.2 s, 0.90 GB"), "{text}");
    }
}
