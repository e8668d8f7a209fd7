//! Runs this program as other processes, as a user or an init system would. Knows no step.

use crate::context::Context;
use crate::failure::Failure;
use model::ErrorKind;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// This program, and what all its runs are given.
pub(super) struct Program {
    exe: PathBuf,
    password_file: PathBuf,
}

/// What a run has said.
pub(super) struct Said {
    objects: Vec<Value>,
    pub(super) code: i32,
    pub(super) elapsed: Duration,
}

impl Program {
    pub(super) fn new(password_file: &Path) -> Result<Self, Failure> {
        let exe = std::env::current_exe()
            .map_err(|e| Failure::io("looking up", Path::new("/proc/self/exe"), e))?;
        Ok(Self { exe, password_file: password_file.to_owned() })
    }

    fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.exe);
        command.arg("--json").args(arguments).stdin(Stdio::null());
        command.env_remove("PACKMULE_PASSWORD").env("PACKMULE_PASSWORD_FILE", &self.password_file);
        command
    }

    /// Runs a command to its end. Any of `codes` is as it should be.
    pub(super) fn run(
        &self,
        context: &Context,
        arguments: &[String],
        codes: &[i32],
    ) -> Result<Said, Failure> {
        context.printer.line(format!("  $ packmule {}", shown(arguments)));
        let started = Instant::now();
        let output =
            self.command(arguments).output().map_err(|e| Failure::io("running", &self.exe, e))?;
        let elapsed = started.elapsed();
        let code = output.status.code().unwrap_or(-1);
        if !codes.contains(&code) {
            let said = String::from_utf8_lossy(&output.stderr);
            let words =
                format!("packmule {} ended with {code}: {}", arguments.join(" "), said.trim());
            return Err(Failure::new(ErrorKind::Internal, words));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let objects = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok(Said { objects, code, elapsed })
    }

    /// Starts a server and waits until it says that it is ready.
    pub(super) fn serve(
        &self,
        context: &Context,
        arguments: &[String],
        log: &Path,
    ) -> Result<(Server, Value), Failure> {
        context.printer.line(format!("  $ packmule {}", shown(arguments)));
        let log = std::fs::File::create(log).map_err(|e| Failure::io("making", log, e))?;
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().map_err(|e| Failure::io("running", &self.exe, e))?;
        let stdout = child.stdout.take();
        let server = Server(child);
        let mut line = String::new();
        if let Some(stdout) = stdout {
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(|e| Failure::io("reading from", &self.exe, e))?;
        }
        let ready = serde_json::from_str(&line).map_err(|_| {
            Failure::new(ErrorKind::Unavailable, "the server did not start; its log is server.log")
        })?;
        Ok((server, ready))
    }
}

/// A command as one would type it.
fn shown(arguments: &[String]) -> String {
    let quote =
        |word: &String| if word.contains(' ') { format!("\"{word}\"") } else { word.clone() };
    arguments.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// A server process; told to stop, and waited for, when this is dropped.
pub(super) struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

impl Said {
    /// Every object of one type, in order.
    pub(super) fn all(&self, message_type: &str) -> Vec<&Value> {
        self.objects
            .iter()
            .filter(|object| object.get("message_type").is_some_and(|t| t == message_type))
            .collect()
    }

    /// A number of the summary; 0 where it has none.
    pub(super) fn number(&self, field: &str) -> u64 {
        self.summary().and_then(|summary| summary.get(field)?.as_u64()).unwrap_or(0)
    }

    /// A text of the summary.
    pub(super) fn text(&self, field: &str) -> Result<String, Failure> {
        let text =
            self.summary().and_then(|summary| Some(summary.get(field)?.as_str()?.to_owned()));
        text.ok_or_else(|| {
            Failure::new(ErrorKind::Internal, format!("a step's summary has no {field}"))
        })
    }

    fn summary(&self) -> Option<&Value> {
        self.all("summary").last().copied()
    }
}
