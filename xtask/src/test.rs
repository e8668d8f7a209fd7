//! `cargo xtask test`: every test of the workspace, and an honest account of those that could not
//! run. Holds no test itself.

use crate::oracles::{self, Effort, Named};
use crate::process::{Stream, cargo, say, watched};
use crate::skips::{self, Skips};
use crate::tally::{Runner, Tally};
use crate::{tools, vm, workspace};
use anyhow::Context;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    quick: bool,
    no_install: bool,
    with_rustic: bool,
    azure_cli: bool,
    filters: Vec<String>,
}

impl Options {
    /// Parses the arguments after `test`.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub(crate) fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self::default();
        for arg in args {
            match arg.as_str() {
                "--quick" => options.quick = true,
                "--no-install" => options.no_install = true,
                "--with-rustic" => options.with_rustic = true,
                "--azure-cli" => options.azure_cli = true,
                flag if flag.starts_with('-') => return Err(format!("test has no option {flag}")),
                filter => options.filters.push(filter.to_owned()),
            }
        }
        Ok(options)
    }
}

/// Installs what is missing, runs the tests, and lists what was skipped and why.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    let allowed = skips::read_allowed(&root.join(skips::ALLOWED))
        .with_context(|| format!("cannot read {}", skips::ALLOWED))?;
    let install = !options.quick && !options.no_install;
    if install {
        tools::install_missing();
    }
    let effort = Effort {
        fetch: install,
        build_rustic: options.with_rustic,
        fetch_azure_cli: options.azure_cli,
    };
    let oracles = oracles::prepare(&root, effort);
    let report = ReportFile::new();
    let mut tally = Tally::default();
    let mut passed = run_tests(&root, options, &report.0, oracles, &mut tally)?;
    if !options.quick {
        passed &= run_doc_tests(&root, options, &report.0, &mut tally)?;
    }
    let mut reported = skips::read_reported(&report.0)?;
    if !options.quick {
        let vm::Account { tally: ran, skips } = vm::run_short(&root, install, &options.filters)?;
        passed &= ran.failed == 0;
        // As with any other skip: it is counted among those that passed, and taken off at the end.
        tally.passed += ran.passed + u64::try_from(skips.len()).unwrap_or(u64::MAX);
        tally.failed += ran.failed;
        reported.extend(skips);
    }
    Ok(account(options, passed, tally, &reported, &allowed))
}

/// Prints the skips and the last line, and decides.
fn account(
    options: &Options,
    passed: bool,
    tally: Tally,
    reported: &Skips,
    allowed: &Skips,
) -> ExitCode {
    for (test, reason) in reported {
        say(&format!("skipped: {test}: {reason}"));
    }
    let unexpected = skips::unexpected(reported, allowed);
    for test in unexpected.iter().filter(|_| !options.quick) {
        say(&format!(
            "FAILED: {test} was skipped, and {} does not allow it: make it run here, or add a line with the reason",
            skips::ALLOWED
        ));
    }
    let nothing_ran = tally == Tally::default();
    if nothing_ran {
        say("FAILED: no test ran: the filter matches none, or nothing was built");
    }
    let skipped = u64::try_from(reported.len()).unwrap_or(u64::MAX);
    // A test that reports a skip returns, which its runner counts as passed.
    let really_passed = tally.passed.saturating_sub(skipped);
    say(&format!("{really_passed} passed, {} failed, {skipped} skipped", tally.failed));
    let skips_are_fine = options.quick || unexpected.is_empty();
    match passed && skips_are_fine && !nothing_ran && tally.failed == 0 {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn run_tests(
    root: &Path,
    options: &Options,
    report: &Path,
    oracles: Vec<Named>,
    tally: &mut Tally,
) -> anyhow::Result<bool> {
    let (mut command, stream, runner) = if has_nextest(root) {
        (nextest(root), Stream::Err, Runner::Nextest)
    } else {
        (libtest(root), Stream::Out, Runner::Libtest)
    };
    command.args(&options.filters).env(skips::VARIABLE, report).envs(oracles);
    // Half of the time a test waits: for a disk, a server, a clock.
    let threads = 2 * std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    command.env(runner.threads(), threads.to_string());
    // Tests make many buffers and touch little of them. Large ones come from the kernel, which has zeros for nothing; left to
    // itself, the allocator keeps them after a while and clears each anew: three quarters of what drive sets' tests took.
    command.env("MALLOC_MMAP_THRESHOLD_", "1048576").env("MALLOC_TRIM_THRESHOLD_", "134217728");
    Ok(watched(&mut command, stream, &mut |line| tally.see(runner, line))?.success())
}

fn has_nextest(root: &Path) -> bool {
    let asked = cargo(root).args(["nextest", "--version"]).output();
    asked.is_ok_and(|answer| answer.status.success())
}

fn nextest(root: &Path) -> Command {
    let mut command = cargo(root);
    command.args(["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests=pass"]);
    if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        command.arg("--color=always");
    }
    command
}

fn libtest(root: &Path) -> Command {
    let mut command = cargo(root);
    command.args(["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast", "--"]);
    command
}

fn run_doc_tests(
    root: &Path,
    options: &Options,
    report: &Path,
    tally: &mut Tally,
) -> anyhow::Result<bool> {
    let mut command = cargo(root);
    command.args(["test", "--doc", "--workspace", "--no-fail-fast", "--"]);
    command.args(&options.filters).env(skips::VARIABLE, report);
    Ok(watched(&mut command, Stream::Out, &mut |line| tally.see(Runner::Libtest, line))?.success())
}

/// Where tests write their skips; removed when done with.
struct ReportFile(PathBuf);

impl ReportFile {
    fn new() -> Self {
        let name = format!("packmule-skips-{}.txt", std::process::id());
        let file = Self(std::env::temp_dir().join(name));
        file.remove();
        file
    }

    fn remove(&self) {
        // It exists only when a test was skipped.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Drop for ReportFile {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(test: &str) -> Skips {
        Skips::from([(test.to_owned(), "no such device".to_owned())])
    }

    fn succeeds(quick: bool, passed: bool, tally: Tally, reported: &Skips, ok: &Skips) -> bool {
        let options = Options { quick, ..Options::default() };
        account(&options, passed, tally, reported, ok) == ExitCode::SUCCESS
    }

    #[test]
    fn a_skip_that_is_not_allowed_fails_the_run() {
        let tally = Tally { passed: 3, failed: 0 };
        let none = Skips::new();
        assert!(succeeds(false, true, tally, &none, &none));
        assert!(!succeeds(false, true, tally, &skip("a"), &none));
        assert!(!succeeds(false, true, tally, &skip("a"), &skip("b")));
        assert!(succeeds(false, true, tally, &skip("a"), &skip("a")));
        assert!(succeeds(true, true, tally, &skip("a"), &none));
    }

    #[test]
    fn a_failure_and_an_empty_run_fail() {
        let none = Skips::new();
        assert!(!succeeds(false, true, Tally { passed: 3, failed: 1 }, &none, &none));
        assert!(!succeeds(false, false, Tally { passed: 3, failed: 0 }, &none, &none));
        assert!(!succeeds(false, true, Tally::default(), &none, &none));
    }

    #[test]
    fn options_are_a_flag_and_filters() {
        let parse = |args: &[&str]| {
            Options::parse(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
        };
        let filters = vec!["drive".to_owned()];
        let expected =
            Options { quick: true, no_install: true, with_rustic: true, azure_cli: true, filters };
        let given = ["drive", "--quick", "--no-install", "--with-rustic", "--azure-cli"];
        assert_eq!(parse(&given), Ok(expected));
        assert!(parse(&["--slow"]).is_err());
    }
}
