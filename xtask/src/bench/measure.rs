//! One command, measured: seconds, processor time, peak memory. Judges nothing.
//!
//! The kernel adds up what a process used when its parent waits for it. So each command runs below
//! a process of its own, this program again, that has no other child: what `getrusage` then says of
//! its children is the command's. Peak memory is that of the largest process of the command, and
//! never less than what the process above it had when it started the command: a few MiB.

use anyhow::{Context, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

/// The word behind `bench` by which this program calls itself.
pub(crate) const WORD: &str = "measured";

/// What a command took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// From its start until it ended.
    pub(crate) seconds: f64,
    /// Of all its threads, in the kernel and outside.
    pub(crate) cpu_seconds: f64,
    /// The most memory that was resident.
    pub(crate) peak_bytes: u64,
    /// None when a signal ended it.
    pub(crate) exit: Option<i32>,
}

/// Runs `command` and measures it. What it prints goes to the file `log`.
///
/// # Errors
/// When it cannot be run, or fails: then with the last lines that it printed.
pub(crate) fn run(command: &Command, log: &Path) -> anyhow::Result<Usage> {
    let result = log.with_extension("usage.json");
    // Not by its path: a benchmark runs for hours, and who works on the tree builds a new one there.
    let mut wrapper = Command::new("/proc/self/exe");
    wrapper.args(["bench", WORD]).arg(&result).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapper.env(name, value),
            None => wrapper.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        wrapper.current_dir(folder);
    }
    let out =
        std::fs::File::create(log).with_context(|| format!("cannot make {}", log.display()))?;
    wrapper.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
    let status = wrapper.status().context("cannot run this program again")?;
    ensure!(status.success(), "{} did not start:\n{}", shown(command), tail(log));
    let usage: Usage = serde_json::from_slice(&std::fs::read(&result)?)?;
    let exit = usage.exit.map_or("a signal".to_owned(), |code| format!("exit code {code}"));
    ensure!(usage.exit == Some(0), "{} ended with {exit}:\n{}", shown(command), tail(log));
    Ok(usage)
}

/// The other half of [`run`]: `bench measured RESULT PROGRAM [ARG]…`.
///
/// # Errors
/// When the program cannot be started, or the result not be written.
pub(crate) fn measured(args: &[String]) -> anyhow::Result<ExitCode> {
    let [result, program, args @ ..] = args else {
        anyhow::bail!("{WORD} takes a file and a command");
    };
    let started = Instant::now();
    let status = Command::new(program)
        .args(args)
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    let seconds = started.elapsed().as_secs_f64();
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let usage = Usage {
        seconds,
        cpu_seconds: in_seconds(used.user_time()) + in_seconds(used.system_time()),
        // Linux tells it in KiB.
        peak_bytes: u64::try_from(used.max_rss())?.saturating_mul(1024),
        exit: status.code(),
    };
    std::fs::write(result, serde_json::to_vec(&usage)?)?;
    Ok(ExitCode::SUCCESS)
}

fn in_seconds(time: nix::sys::time::TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

fn shown(command: &Command) -> String {
    let args = command.get_args().map(|arg| arg.to_string_lossy());
    let program = command.get_program().to_string_lossy();
    std::iter::once(program).chain(args).collect::<Vec<_>>().join(" ")
}

/// The last lines of what was printed.
fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(12)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_measured_whether_it_fails_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let result = folder.path().join("usage.json");
        let args = [result.to_str().unwrap(), "sh", "-c", "exit 3"].map(str::to_owned);
        measured(&args).unwrap();
        let usage: Usage = serde_json::from_slice(&std::fs::read(&result).unwrap()).unwrap();
        assert_eq!(usage.exit, Some(3));
        assert!(usage.seconds > 0.0 && usage.peak_bytes > 100_000, "{usage:?}");
        let args = [result.to_str().unwrap(), "no-such-program-anywhere"].map(str::to_owned);
        assert!(measured(&args).is_err());
    }

    #[test]
    fn of_what_a_command_printed_the_end_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let lines: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        std::fs::write(&log, lines.join("\n")).unwrap();
        assert!(tail(&log).starts_with("88\n") && tail(&log).ends_with("\n99"));
        assert_eq!(tail(&folder.path().join("gone")), "");
    }
}
