//! QEMU's own line: commands to the emulator and what it tells of devices (QEMU, docs/interop/qmp-spec).
//! Knows no device.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The emulator answers at once, unless the machine around it is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The line, once the greeting is over.
pub(super) struct Qmp {
    to: UnixStream,
    from: Receiver<Value>,
    events: Vec<Value>,
}

impl Qmp {
    /// Takes QEMU's greeting and agrees to it.
    pub(super) fn new(stream: UnixStream) -> anyhow::Result<Self> {
        let lines = BufReader::new(stream.try_clone()?).lines();
        let (sender, from) = channel();
        // It ends with the line, and so with QEMU.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::Null);
                if sender.send(value).is_err() {
                    break;
                }
            }
        });
        let mut qmp = Self { to: stream, from, events: Vec::new() };
        let greeting = qmp.next(Instant::now() + PATIENCE)?;
        greeting.get("QMP").with_context(|| format!("no greeting: {greeting}"))?;
        qmp.command("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Has a command done, and returns what it returns.
    pub(super) fn command(&mut self, name: &str, arguments: &Value) -> anyhow::Result<Value> {
        let told = json!({ "execute": name, "arguments": arguments });
        writeln!(self.to, "{told}").with_context(|| format!("QEMU takes no {name}"))?;
        let until = Instant::now() + PATIENCE;
        loop {
            let mut said = self.next(until).with_context(|| format!("after {told}"))?;
            if let Some(error) = said.get("error") {
                bail!("{told}: {error}");
            }
            match said.get_mut("return") {
                Some(value) => return Ok(value.take()),
                None => self.events.push(said),
            }
        }
    }

    /// Waits until QEMU tells that this device is gone, and forgets that it did.
    pub(super) fn deleted(&mut self, device: &str, limit: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        let is = |event: &Value| {
            event.get("event").and_then(Value::as_str) == Some("DEVICE_DELETED")
                && event.pointer("/data/device").and_then(Value::as_str) == Some(device)
        };
        loop {
            if let Some(at) = self.events.iter().position(is) {
                self.events.remove(at);
                return Ok(());
            }
            let said = self.next(until).with_context(|| format!("the guest keeps {device}"))?;
            self.events.push(said);
        }
    }

    fn next(&self, until: Instant) -> anyhow::Result<Value> {
        match self.from.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(value) => Ok(value),
            Err(RecvTimeoutError::Timeout) => bail!("QEMU says nothing"),
            Err(RecvTimeoutError::Disconnected) => bail!("QEMU has ended"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A QEMU that says these lines, whatever it is told.
    fn qmp(lines: &[Value]) -> Qmp {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        theirs.write_all(text.as_bytes()).unwrap();
        // Kept open: what is told must go somewhere.
        std::thread::spawn(move || std::io::copy(&mut theirs, &mut std::io::sink()));
        Qmp::new(ours).unwrap()
    }

    #[test]
    fn events_between_answers_are_kept_until_somebody_asks() {
        let deleted =
            |device: &str| json!({ "event": "DEVICE_DELETED", "data": { "device": device } });
        let mut qmp = qmp(&[
            json!({ "QMP": {} }),
            json!({ "return": {} }),
            deleted("a"),
            json!({ "return": 7 }),
            json!({ "error": { "class": "GenericError" } }),
            deleted("b"),
        ]);
        assert_eq!(qmp.command("query", &json!({})).unwrap(), 7);
        assert!(qmp.command("query", &json!({})).unwrap_err().to_string().contains("GenericError"));
        qmp.deleted("b", PATIENCE).unwrap();
        qmp.deleted("a", PATIENCE).unwrap();
        assert!(qmp.deleted("a", Duration::ZERO).is_err());
    }
}
