//! Programs of the system, by their absolute names and with nothing of our surroundings; ended when they take too long.

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Where programs for administrators are, whatever the caller's own variables say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A snapshot waits for what is being written, which on a busy disk takes a while.
const PATIENCE: Duration = Duration::from_secs(120);
/// What is worth repeating of what a program says.
const SAID: usize = 400;

/// Why a program did not do what it should.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// In words.
    pub(super) why: String,
    /// Whether it may do it yet: it was told to end, and has not.
    pub(super) runs: bool,
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self { why, runs: false }
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        failure.why
    }
}

/// Runs a program to its end, and tells what it has written to its standard output. It gets `input`, and holds that open while it
/// runs.
///
/// # Errors
/// Why it did not do what it should.
pub(super) fn run(name: &str, arguments: &[&OsStr], input: Stdio) -> Result<String, Failure> {
    let found = PATH.split(':').map(|folder| Path::new(folder).join(name)).find(|it| it.is_file());
    let program = found.ok_or_else(|| format!("{name} is not installed"))?;
    run_within(&program, arguments, input, PATIENCE)
}

fn run_within(
    program: &Path,
    arguments: &[&OsStr],
    input: Stdio,
    patience: Duration,
) -> Result<String, Failure> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("LC_ALL", "C").env("PATH", PATH);
    command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    let name = program.display();
    let child = command.spawn().map_err(|cause| format!("{name} cannot be run: {cause}"))?;
    let id = child.id();
    let (sender, ended) = mpsc::channel();
    // Not waited for once patience has ended: what waits for a disk may do so for ever.
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(patience) else {
        // Asked to end, not made to: one that has brought a device to a halt has to let it go on first.
        if let Some(process) = i32::try_from(id).ok().and_then(Pid::from_raw) {
            let _ = kill_process(process, Signal::TERM);
        }
        let why = format!("{name} has not ended within {} s", patience.as_secs());
        return Err(Failure { why, runs: true });
    };
    let output = output.map_err(|cause| format!("{name} was lost: {cause}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().replace('\n', " / ").chars().take(SAID).collect();
    Err(if said.is_empty() { format!("{name}: {}", output.status) } else { said }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, patience: Duration) -> Result<String, Failure> {
        let arguments = ["-c".as_ref(), script.as_ref()];
        run_within(Path::new("/bin/sh"), &arguments, Stdio::null(), patience)
    }

    #[test]
    fn a_program_says_why_it_failed_and_is_not_waited_for_for_ever() {
        let long = Duration::from_secs(60);
        let said = sh("test \"$LC_ALL\" = C && test -z \"$HOME\" && echo yes", long);
        assert_eq!(said.as_deref(), Ok("yes\n"));
        assert_eq!(sh("echo no room >&2; exit 1", long), Err("no room".to_owned().into()));
        assert!(sh("exit 3", long).unwrap_err().why.contains("exit status: 3"));
        let failure = sh("sleep 100", Duration::from_millis(100)).unwrap_err();
        assert!(failure.why.contains("has not ended") && failure.runs, "{failure:?}");
        let missing = run("packmule-no-such-program", &[], Stdio::null());
        assert!(missing.unwrap_err().why.contains("not installed"));
    }
}
