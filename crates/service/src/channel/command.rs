//! Alerts to a program: it gets the message as JSON on its standard input.

use super::{Channel, Message, PATIENCE};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(super) struct Program(Vec<String>);

impl Program {
    pub(super) fn new(command: &[String]) -> Self {
        Self(command.to_vec())
    }
}

impl Channel for Program {
    fn send(&self, message: &Message) -> Result<(), String> {
        let (program, arguments) = self.0.split_first().ok_or("there is no program")?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        for secret in ["PACKMULE_PASSWORD", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"] {
            command.env_remove(secret);
        }
        let mut child =
            command.spawn().map_err(|cause| format!("{program} could not be started: {cause}"))?;
        let input = child.stdin.take();
        let text = message.json().to_string();
        // Beside: a program that reads nothing must not hold this up. It may also end without reading.
        std::thread::spawn(move || input.map(|mut input| input.write_all(text.as_bytes())));
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("{program} failed ({status})")),
                Ok(None) => std::thread::sleep(Duration::from_millis(50)),
                Err(cause) => return Err(format!("{program} was lost: {cause}")),
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        Err(format!("{program} took longer than {} seconds", PATIENCE.as_secs()))
    }
}
