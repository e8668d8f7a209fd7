//! Programs of the system, by their absolute names and with nothing of our surroundings; ended when they take too long.

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Where programs for administrators are, whatever the caller's own variables say.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A snapshot waits for what is being written, which on a busy disk takes a while.
const PATIENCE: Duration = Duration::from_secs(120);
/// What is worth repeating of what a program says.
const SAID: usize = 400;

/// Runs a program to its end.
///
/// # Errors
/// Why it did not do what it should, in words.
pub(super) fn run(name: &str, arguments: &[&OsStr]) -> Result<(), String> {
    let found = PATH.split(':').map(|folder| Path::new(folder).join(name)).find(|it| it.is_file());
    run_within(&found.ok_or_else(|| format!("{name} is not installed"))?, arguments, PATIENCE)
}

fn run_within(program: &PathBuf, arguments: &[&OsStr], patience: Duration) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("LC_ALL", "C").env("PATH", PATH);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let name = program.display();
    let child = command.spawn().map_err(|cause| format!("{name} cannot be run: {cause}"))?;
    let id = child.id();
    let (sender, ended) = mpsc::channel();
    // Not waited for once patience has ended: what waits for a disk cannot even be killed.
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(patience) else {
        if let Some(process) = i32::try_from(id).ok().and_then(Pid::from_raw) {
            let _ = kill_process(process, Signal::KILL);
        }
        return Err(format!("{name} has not ended within {} s", patience.as_secs()));
    };
    let output = output.map_err(|cause| format!("{name} was lost: {cause}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().replace('\n', " / ").chars().take(SAID).collect();
    Err(if said.is_empty() { format!("{name}: {}", output.status) } else { said })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, patience: Duration) -> Result<(), String> {
        run_within(&"/bin/sh".into(), &["-c".as_ref(), script.as_ref()], patience)
    }

    #[test]
    fn a_program_says_why_it_failed_and_is_not_waited_for_for_ever() {
        let long = Duration::from_secs(60);
        assert_eq!(sh("test \"$LC_ALL\" = C && test -z \"$HOME\"", long), Ok(()));
        assert_eq!(sh("echo no room >&2; exit 1", long), Err("no room".to_owned()));
        assert!(sh("exit 3", long).unwrap_err().contains("exit status: 3"));
        let why = sh("sleep 100", Duration::from_millis(100)).unwrap_err();
        assert!(why.contains("has not ended"), "{why}");
        assert!(run("packmule-no-such-program", &[]).unwrap_err().contains("not installed"));
    }
}
