//! `cargo xtask fuzz`: every fuzz target for a while, with the compiler that builds everything else.
//! Knows nothing of what the targets hold.

use crate::process::{cargo, complain, say, status};
use crate::workspace;
use anyhow::Context;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// Seconds for each target when nothing is said.
const SECONDS: u64 = 60;
/// Inputs that are longer teach nothing new: no decoder looks further back.
const LONGEST: u32 = 4096;
/// What one allocation may have, in MiB: 4 KiB of compressed zeros are 128 MiB, in room that doubles.
const ALLOCATION: u32 = 300;

/// What to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    seconds: u64,
    targets: Vec<String>,
}

impl Options {
    /// Parses the arguments after `fuzz`: seconds, then names of targets; all of them when there is none.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let number = args.first().and_then(|arg| arg.parse().ok());
        let targets = args.get(usize::from(number.is_some())..).unwrap_or_default().to_vec();
        match targets.iter().find(|target| target.starts_with('-')) {
            Some(flag) => Err(format!("fuzz has no option {flag}")),
            None => Ok(Self { seconds: number.unwrap_or(SECONDS), targets }),
        }
    }
}

/// Runs the targets one after the other, and names those that found something.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    let installed = cargo(&root).args(["fuzz", "--version"]).stderr(Stdio::null()).output();
    if !installed.is_ok_and(|answer| answer.status.success()) {
        complain("xtask: cargo-fuzz is not installed; to install it: cargo install cargo-fuzz");
        return Ok(ExitCode::FAILURE);
    }
    let known = targets(&root)?;
    let wanted = if options.targets.is_empty() { &known } else { &options.targets };
    let mut failed = Vec::new();
    for target in wanted {
        anyhow::ensure!(known.contains(target), "there is no target {target}: {known:?}");
        say(&format!("== {target}: {} s", options.seconds));
        std::fs::create_dir_all(root.join("fuzz/corpus").join(target))?;
        if !status(&mut fuzzer(&root, target, options.seconds))?.success() {
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() {
        say("fuzz: nothing found");
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("fuzz: inputs below fuzz/artifacts break {}", failed.join(", ")));
    Ok(ExitCode::FAILURE)
}

/// The names of all targets, in order.
fn targets(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join("fuzz/targets");
    let entries = std::fs::read_dir(&folder).context("cannot list fuzz/targets")?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        names.extend(name.to_string_lossy().strip_suffix(".rs").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

fn fuzzer(root: &Path, target: &str, seconds: u64) -> Command {
    let mut command = cargo(root);
    command.args(["fuzz", "run", "--fuzz-dir", "fuzz", target]);
    // What is found goes into the first; the second is only read.
    command.args([format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}")]);
    command.args(["--".to_owned(), format!("-max_total_time={seconds}")]);
    command.args([format!("-max_len={LONGEST}"), format!("-malloc_limit_mb={ALLOCATION}")]);
    // An input that takes five seconds is as bad as one that crashes.
    command.args(["-timeout=5", "-detect_leaks=0", "-print_final_stats=1"]);
    // The sanitizer is an unstable option; what it needs comes with every toolchain.
    command.env("RUSTC_BOOTSTRAP", "1");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, String> {
        Options::parse(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn seconds_come_first_and_names_follow() {
        let named = |seconds, names: &[&str]| {
            let targets = names.iter().map(|name| (*name).to_owned()).collect();
            Ok(Options { seconds, targets })
        };
        assert_eq!(parse(&[]), named(SECONDS, &[]));
        assert_eq!(parse(&["5"]), named(5, &[]));
        assert_eq!(parse(&["5", "tree", "blob"]), named(5, &["tree", "blob"]));
        assert_eq!(parse(&["tree"]), named(SECONDS, &["tree"]));
        assert!(parse(&["--fast"]).is_err());
    }

    #[test]
    fn every_target_is_listed_with_its_seeds() {
        let root = workspace::root().unwrap();
        let manifest = std::fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        let targets = targets(&root).unwrap();
        assert!(targets.len() > 10);
        for target in targets {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
            assert!(root.join("fuzz/seeds").join(&target).is_dir(), "{target}");
        }
    }
}
