//! `cargo xtask vm-test`: scenarios in a virtual machine, where drives are real to the kernel, can be
//! pulled, and lose power. Nothing here is installed on this machine or outlives the command.
//!
//! A scenario is a function in a file of its own below `vm/scenario`, and a line in [`scenario::ALL`].

mod cpio;
mod drive;
mod frame;
mod guest;
mod initramfs;
mod kernel;
mod lab;
mod line;
mod machine;
mod parts;
mod qmp;
mod scenario;
mod zfs;

pub(crate) use guest::{CALLED, serve};

use crate::process::{cargo, say, status, target};
use crate::skips::Skips;
use crate::tally::Tally;
use crate::workspace;
use anyhow::ensure;
use lab::Lab;
use parts::Parts;
use scenario::{ALL, NAMED, Scenario};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

/// What scenarios test, below cargo's folder. Not the release: tests have built this one already, and
/// building another takes minutes.
const BINARY: &str = "debug/packmule";

/// What to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    list: bool,
    keep: bool,
    no_install: bool,
    names: Vec<String>,
}

impl Options {
    /// Parses the arguments after `vm-test`: all scenarios when none is named, but those that have to be.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        for arg in args {
            match arg.as_str() {
                "--list" => options.list = true,
                "--keep" => options.keep = true,
                "--no-install" => options.no_install = true,
                flag if flag.starts_with('-') => {
                    return Err(format!("vm-test has no option {flag}"));
                }
                name if ALL.iter().any(|scenario| scenario.name == name) => {
                    options.names.push(name.to_owned());
                }
                name => return Err(format!("there is no scenario {name}: see vm-test --list")),
            }
        }
        Ok(options)
    }
}

/// How scenarios ended.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Passed and failed.
    pub(crate) tally: Tally,
    /// What could not run, by the names that `xtask/skips.txt` knows.
    pub(crate) skips: Skips,
}

/// `cargo xtask vm-test`.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if options.list {
        for Scenario { name, short, about, .. } in ALL {
            let when = if NAMED.contains(name) { "named" } else { "" };
            say(&format!("{name:<10} {:<6} {about}", if *short { "short" } else { when }));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let named = |scenario: &&Scenario| {
        let is_named = options.names.iter().any(|name| name == scenario.name);
        is_named || options.names.is_empty() && !NAMED.contains(&scenario.name)
    };
    let chosen: Vec<&Scenario> = ALL.iter().filter(named).collect();
    let root = workspace::root()?;
    let built = status(cargo(&root).args(["build", "--package", "packmule"]))?;
    ensure!(built.success(), "packmule does not build");
    let Account { tally, skips } = attempt(&root, &chosen, !options.no_install, options.keep)?;
    for (name, reason) in &skips {
        say(&format!("skipped: {name}: {reason}"));
    }
    say(&format!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, skips.len()));
    let all_passed = tally.failed == 0 && tally.passed > 0;
    Ok(if all_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The short scenarios, with the binary that tests were just built with: those whose names, as `vm::list`, have one of the words in them; all without words.
pub(crate) fn run_short(root: &Path, fetch: bool, words: &[String]) -> anyhow::Result<Account> {
    let chosen = |scenario: &&Scenario| {
        let name = full_name(scenario);
        scenario.short && (words.is_empty() || words.iter().any(|word| name.contains(word)))
    };
    let chosen: Vec<&Scenario> = ALL.iter().filter(chosen).collect();
    // Without it there is nothing to put into a guest: our own tests make such trees, and a build that
    // failed has been told already.
    if chosen.is_empty() || !target(root).join(BINARY).is_file() {
        return Ok(Account::default());
    }
    attempt(root, &chosen, fetch, false)
}

fn full_name(scenario: &Scenario) -> String {
    format!("vm::{}", scenario.name)
}

/// Runs them one after the other. Without the parts of a machine, all of them are skips.
fn attempt(root: &Path, chosen: &[&Scenario], fetch: bool, keep: bool) -> anyhow::Result<Account> {
    let mut account = Account::default();
    let parts = match Parts::have(root, fetch) {
        Ok(parts) => parts,
        Err(why) => {
            // A reason is one line.
            let why = format!("{why:#}").split_whitespace().collect::<Vec<_>>().join(" ");
            let skips = chosen.iter().map(|scenario| (full_name(scenario), why.clone()));
            account.skips.extend(skips);
            return Ok(account);
        }
    };
    let initramfs = initramfs::make(&parts, &target(root).join(BINARY))?;
    for scenario in chosen {
        match one(&parts, &initramfs, scenario, keep)? {
            true => account.tally.passed += 1,
            false => account.tally.failed += 1,
        }
    }
    Ok(account)
}

/// Runs one, says how it went, and tells whether it passed.
fn one(parts: &Parts, initramfs: &Path, scenario: &Scenario, keep: bool) -> anyhow::Result<bool> {
    let name = full_name(scenario);
    let lab = Lab::new(parts, initramfs, scenario.name)?;
    let started = Instant::now();
    let outcome = (scenario.run)(&lab);
    let seconds = started.elapsed().as_secs_f32();
    let passed = outcome.is_ok();
    match outcome {
        Ok(()) => say(&format!("{name} ... ok, {seconds:.1} s")),
        Err(why) => {
            say(&format!("{name} ... FAILED, {seconds:.1} s: {why:#}\n{}", lab.last_words()));
            say(&format!("-- logs: {}", lab.folder.display()));
        }
    }
    if keep {
        say(&format!("-- kept: {}", lab.folder.display()));
    } else {
        lab.clear(passed)?;
    }
    Ok(passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skips;

    fn parse(args: &[&str]) -> Result<Options, String> {
        Options::parse(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn scenarios_are_named_or_all_of_them() {
        assert_eq!(parse(&[]), Ok(Options::default()));
        let names = vec!["list".to_owned()];
        assert_eq!(
            parse(&["--keep", "list"]),
            Ok(Options { keep: true, names, ..Options::default() })
        );
        assert!(parse(&["--quick"]).is_err() && parse(&["no-such-scenario"]).is_err());
    }

    #[test]
    fn each_scenario_has_a_name_of_its_own_and_may_be_skipped_where_no_machine_can_be_had() {
        let root = workspace::root().unwrap();
        let allowed = skips::read_allowed(&root.join(skips::ALLOWED)).unwrap();
        let mut names: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        assert!(NAMED.iter().all(|name| names.contains(name)));
        for scenario in ALL.iter().filter(|scenario| scenario.short) {
            assert!(allowed.contains_key(&full_name(scenario)), "{}", scenario.name);
        }
    }
}
