//! Child processes and the one way xtask prints. Decides nothing about what is run.

use anyhow::{Context, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Prints a line on standard output. A reader who has gone away is no reason to fail.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", line.trim_end_matches('\n'));
    let _ = out.flush();
}

/// Prints a line on standard error: why nothing was done.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", line.trim_end_matches('\n'));
}

/// The cargo that runs us, so that a check uses one toolchain throughout.
pub(crate) fn cargo(root: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root).stdin(Stdio::null());
    command
}

/// Where cargo puts what it builds.
pub(crate) fn target(root: &Path) -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    named.map_or_else(|| root.join("target"), |target| root.join(target))
}

/// Runs `command` with our own output streams and says how it ended.
pub(crate) fn status(command: &mut Command) -> anyhow::Result<ExitStatus> {
    command.status().with_context(|| format!("cannot run {}", shown(command)))
}

/// Runs `command` and returns what it writes on standard output. Fails when it does.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({}):\n{}", shown(command), output.status, said.trim_end());
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{} wrote something that is not UTF-8", shown(command)))
}

/// Which of a child's two streams is read on its way through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Runs `command`, passing each line of `stream` on as it comes and to `see`.
pub(crate) fn watched(
    command: &mut Command,
    stream: Stream,
    see: &mut dyn FnMut(&str),
) -> anyhow::Result<ExitStatus> {
    match stream {
        Stream::Out => command.stdout(Stdio::piped()),
        Stream::Err => command.stderr(Stdio::piped()),
    };
    let mut child = command.spawn().with_context(|| format!("cannot run {}", shown(command)))?;
    if let Some(out) = child.stdout.take() {
        pass_on(out, &mut std::io::stdout(), see)?;
    }
    if let Some(err) = child.stderr.take() {
        pass_on(err, &mut std::io::stderr(), see)?;
    }
    Ok(child.wait()?)
}

fn pass_on(from: impl Read, to: &mut dyn Write, see: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        see(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(())
}

pub(crate) fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once(program).chain(args).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        command
    }

    #[test]
    fn every_line_of_the_watched_stream_is_seen() {
        for (stream, script) in
            [(Stream::Out, "echo one; printf two"), (Stream::Err, "echo one >&2; printf two >&2")]
        {
            let mut seen = Vec::new();
            let status =
                watched(&mut sh(script), stream, &mut |line| seen.push(line.trim_end().to_owned()))
                    .unwrap();
            assert!(status.success());
            assert_eq!(seen, ["one", "two"]);
        }
    }

    #[test]
    fn a_failed_command_says_what_it_said() {
        let error = output(&mut sh("echo it is broken >&2; exit 3")).unwrap_err().to_string();
        assert!(error.contains("it is broken") && error.contains("exit status: 3"), "{error}");
        assert_eq!(output(&mut sh("echo fine")).unwrap(), "fine\n");
    }
}
