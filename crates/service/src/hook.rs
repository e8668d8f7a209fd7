//! Commands before and after a backup: run without a shell, ended with all they have started when their time is up. Knows no backup.

use policy::Hook;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a command is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// What a command that is asked to end has for that.
const PATIENCE: Duration = Duration::from_secs(5);
/// The end of what a command says that is worth keeping.
const TAIL: usize = 2000;

/// Runs a command; `about` becomes its environment, beside what this process has but for passwords.
///
/// # Errors
/// How it failed, in words that follow "the command".
pub(crate) fn run(hook: &Hook, about: &[(&str, &str)], stop: &AtomicBool) -> Result<(), String> {
    let Some((program, arguments)) = hook.command.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // A group of its own: what it starts ends with it.
    command.process_group(0);
    for secret in ["PACKMULE_PASSWORD", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"] {
        command.env_remove(secret);
    }
    command.envs(about.iter().copied());
    let mut child =
        command.spawn().map_err(|cause| format!("{program} could not be started: {cause}"))?;
    let errors = child.stderr.take();
    // Read while it runs: a full pipe would stop it.
    let reader = std::thread::spawn(move || errors.map(tail).unwrap_or_default());
    let timeout = Duration::try_from(hook.timeout).unwrap_or_default();
    let ended = wait(&mut child, timeout, stop);
    if let Err(why) = ended {
        end(&mut child);
        return Err(format!("{program} {why}"));
    }
    // A process it left behind may hold the pipe: what it says is not waited for.
    let give_up = Instant::now() + Duration::from_secs(1);
    while !reader.is_finished() && Instant::now() < give_up {
        std::thread::sleep(LOOK);
    }
    let said = if reader.is_finished() { reader.join().unwrap_or_default() } else { String::new() };
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) if said.is_empty() => Err(format!("{program} failed ({status})")),
        Ok(status) => Err(format!("{program} failed ({status}): {said}")),
        Err(why) => Err(format!("{program} {why}")),
    }
}

fn wait(child: &mut Child, timeout: Duration, stop: &AtomicBool) -> Result<ExitStatus, String> {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(cause) => return Err(format!("was lost: {cause}")),
        }
        if began.elapsed() >= timeout {
            return Err(format!("took longer than {} seconds, and was ended", timeout.as_secs()));
        }
        if stop.load(Ordering::Relaxed) {
            return Err("was ended, because the agent ends".to_owned());
        }
        std::thread::sleep(LOOK);
    }
}

/// Asks first, and does not ask for ever.
fn end(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let send = |signal| group.map(|group| kill_process_group(group, signal));
    send(Signal::TERM);
    let asked = Instant::now();
    while asked.elapsed() < PATIENCE {
        if !matches!(child.try_wait(), Ok(None)) {
            break;
        }
        std::thread::sleep(LOOK);
    }
    send(Signal::KILL);
    let _ = child.wait();
}

/// The end of what is said, as one line.
fn tail(mut from: impl Read) -> String {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        kept.extend_from_slice(buffer.get(..length).unwrap_or_default());
        let over = kept.len().saturating_sub(TAIL);
        kept.drain(..over);
    }
    let text = String::from_utf8_lossy(&kept);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    fn hook(script: &str, timeout: SignedDuration) -> Hook {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        Hook { command, timeout, required: true, when: policy::When::End }
    }

    fn ran(script: &str) -> Result<(), String> {
        let long = hook(script, SignedDuration::from_secs(30));
        run(&long, &[("PACKMULE_GROUP", "files")], &AtomicBool::new(false))
    }

    #[test]
    fn what_a_command_says_and_how_it_ends_is_told() {
        assert_eq!(ran("test \"$PACKMULE_GROUP\" = files"), Ok(()));
        let failed = ran("echo no room >&2; echo at all >&2; exit 3").unwrap_err();
        assert!(
            failed.contains("exit status: 3") && failed.ends_with("no room / at all"),
            "{failed}"
        );
        let absent = hook("", SignedDuration::from_secs(1));
        let absent = Hook { command: vec!["/nowhere/at-all".to_owned()], ..absent };
        let why = run(&absent, &[], &AtomicBool::new(false)).unwrap_err();
        assert!(why.contains("could not be started"), "{why}");
    }

    #[test]
    fn a_command_that_says_much_is_not_held_up() {
        let failed =
            ran("head -c 300000 /dev/zero | tr '\\0' x >&2; echo end >&2; exit 1").unwrap_err();
        assert!(failed.len() < TAIL + 200 && failed.ends_with("end"), "{}", failed.len());
    }

    #[test]
    fn when_its_time_is_up_it_ends_with_all_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}.new; mv {0}.new {0}; wait", pid.display());
        let began = Instant::now();
        let short = hook(&script, SignedDuration::from_millis(300));
        let why = run(&short, &[], &AtomicBool::new(false)).unwrap_err();
        assert!(why.contains("took longer"), "{why}");
        assert!(began.elapsed() < Duration::from_secs(5));
        assert!(is_gone(&pid), "what it started went on");
        let stopped = hook(&script, SignedDuration::from_secs(60));
        let why = run(&stopped, &[], &AtomicBool::new(true)).unwrap_err();
        assert!(why.contains("the agent ends"), "{why}");
    }

    /// Gone, or dead and not yet collected by whoever inherited it. What was sent a signal takes a moment to die of it.
    fn is_gone(pid: &std::path::Path) -> bool {
        let pid = std::fs::read_to_string(pid).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        let is_gone = || {
            let stat = std::fs::read_to_string(&stat);
            stat.map_or(true, |stat| stat.rsplit(") ").next().unwrap().starts_with('Z'))
        };
        let asked = Instant::now();
        while !is_gone() {
            if asked.elapsed() > Duration::from_secs(10) {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }
}
