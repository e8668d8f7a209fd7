//! The project's own chores, called as `cargo xtask`: parses the command and calls its module.
//!
//! Never part of what users install, and nothing here writes outside the working tree except
//! `test`, which may install the Debian packages that [`tools`] lists. Those of [`oracles`] and [`vm`]
//! are unpacked inside the tree.

mod bench;
mod check;
mod debian;
mod demo;
mod fuzz;
mod oracles;
mod process;
mod skips;
mod tally;
mod test;
mod tidy;
mod tools;
mod vm;
mod workspace;

use process::{complain, say};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <command>

  check                     everything CI runs: format, clippy, tidy, docs, tests
  tidy [--fix]              the project's own static rules; --fix rewrites generated blocks
  test [FLAG]… [FILTER]…    all tests, doc tests and short scenarios of vm-test, after installing
                            what they need;
                            --no-install installs and fetches nothing;
                            --with-rustic builds rustic once, as one more judge: many minutes;
                            --quick installs nothing, leaves out doc tests and scenarios, and
                            tolerates skips
  oracles [--with-rustic]   fetches what `test` would fetch and prints the variables that name it:
                            env $(cargo xtask oracles) cargo test -p packmule
  bench engine [OPTION]…    our engine against every peer, on three data sets: takes hours;
                            --quick takes minutes; docs/benchmarks.md has all the options
  bench drives [--quick]    drives on loop devices at 250 and 550 MB/s, against cp, rsync and dd; takes root
  bench seed [--quick]      what parity costs and repairs, and a plan for 1 PB; takes root
  bench agent [--quick]     a million files: the agent with its server, and the engine against restic and rustic
  bench memory [--mounts N] what a file of 10 TiB of holes, and as root N × 10,000 tiny files take
  fuzz [SECONDS] [NAME]…    runs the fuzz targets, all or those named, for 60 seconds each; needs
                            cargo-fuzz
  vm-test [FLAG]… [NAME]…   scenarios with real drives in a virtual machine, all or those named;
                            --list names them; --keep keeps images and logs; --no-install fetches
                            nothing
  demo [ARG]…               builds packmule in release and runs `packmule demo ARG…`
";

/// The exit code of a command line that cannot be understood.
const USAGE_ERROR: u8 = 2;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.split_first() {
        Some((command, rest)) => dispatch(command, rest),
        None => usage_error("a command is missing"),
    };
    outcome.unwrap_or_else(|error| {
        complain(&format!("xtask: {error:#}"));
        ExitCode::FAILURE
    })
}

fn dispatch(command: &str, rest: &[String]) -> anyhow::Result<ExitCode> {
    match command {
        "check" if rest.is_empty() => check::run(),
        "tidy" => match rest {
            [] => tidy::run(tidy::Mode::Report),
            [flag] if flag == "--fix" => tidy::run(tidy::Mode::Fix),
            _ => usage_error("tidy takes --fix and nothing else"),
        },
        "test" => match test::Options::parse(rest) {
            Ok(options) => test::run(&options),
            Err(why) => usage_error(&why),
        },
        "oracles" => match rest {
            [] => oracles::run(false),
            [flag] if flag == "--with-rustic" => oracles::run(true),
            _ => usage_error("oracles takes --with-rustic and nothing else"),
        },
        "bench" => bench(rest),
        "fuzz" => match fuzz::Options::parse(rest) {
            Ok(options) => fuzz::run(&options),
            Err(why) => usage_error(&why),
        },
        "vm-test" => match vm::Options::parse(rest) {
            Ok(options) => vm::run(&options),
            Err(why) => usage_error(&why),
        },
        // What the guest's init calls it by.
        vm::CALLED if rest.is_empty() => vm::serve(),
        "demo" => demo::run(rest),
        "help" | "--help" | "-h" => {
            say(USAGE);
            Ok(ExitCode::SUCCESS)
        }
        _ => usage_error(&format!("no such command, or too many arguments: {command}")),
    }
}

fn bench(rest: &[String]) -> anyhow::Result<ExitCode> {
    match rest.split_first() {
        Some((what, args)) if what == "engine" => match bench::Options::parse(args) {
            Ok(options) => bench::engine(&options),
            Err(why) => usage_error(&why),
        },
        Some((what, args)) if what == "drives" => match bench::DriveOptions::parse(args) {
            Ok(options) => bench::drives(&options),
            Err(why) => usage_error(&why),
        },
        Some((what, args)) if what == "seed" => match bench::SeedOptions::parse(args) {
            Ok(options) => bench::seed(&options),
            Err(wrong) => usage_error(&wrong),
        },
        Some((what, args)) if what == "agent" => match bench::AgentOptions::parse(args) {
            Ok(options) => bench::agent(&options),
            Err(why) => usage_error(&why),
        },
        Some((what, args)) if what == "memory" => match bench::mounts(args) {
            Ok(mounts) => bench::memory(mounts),
            Err(why) => usage_error(&why),
        },
        // What it calls itself by.
        Some((what, args)) if what == bench::MEASURED => bench::measured(args),
        _ => usage_error("bench takes the word engine, drives, seed, agent or memory, and options"),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the arms of dispatch have one type")]
fn usage_error(why: &str) -> anyhow::Result<ExitCode> {
    complain(&format!("xtask: {why}\n\n{USAGE}"));
    Ok(ExitCode::from(USAGE_ERROR))
}
