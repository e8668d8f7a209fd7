//! What was measured, as a table. Measures nothing.

use super::disk::Throttle;
use super::peer::{Copied, PROGRAMS};
use crate::bench::machine::Machine;
use anyhow::Context;
use std::fmt::Write;

/// One number of drives at one rate; figures in bytes a second.
pub(super) struct Row {
    count: usize,
    rate: u64,
    pub(super) raw_write: f64,
    pub(super) raw_read: f64,
    /// In the order of [`PROGRAMS`].
    pub(super) peers: [Option<Copied>; PROGRAMS.len()],
    write: f64,
    read_back: f64,
    import: f64,
    /// How busy the processors were while we wrote and read back, from 0 to 1.
    pub(super) busy: f64,
    /// The same while we imported.
    pub(super) import_busy: f64,
}

impl Row {
    pub(super) fn new(count: usize, rate: u64) -> Self {
        let peers = [None; PROGRAMS.len()];
        let (raw_write, raw_read, write, read_back) = (0.0, 0.0, 0.0, 0.0);
        let (import, busy, import_busy) = (0.0, 0.0, 0.0);
        Self {
            count,
            rate,
            raw_write,
            raw_read,
            peers,
            write,
            read_back,
            import,
            busy,
            import_busy,
        }
    }

    /// What the example says of each drive: rates are added up.
    pub(super) fn ours(&mut self, told: &str) -> anyhow::Result<()> {
        for line in told.lines() {
            let drive: serde_json::Value = serde_json::from_str(line)?;
            let bytes = figure(&drive, "bytes")?;
            self.write += bytes / figure(&drive, "write")?;
            self.read_back += bytes / figure(&drive, "read_back")?;
        }
        Ok(())
    }

    pub(super) fn import(&mut self, told: &str) -> anyhow::Result<()> {
        let told: serde_json::Value = serde_json::from_str(told)?;
        self.import = figure(&told, "bytes")? / figure(&told, "import")?;
        Ok(())
    }

    fn line(&self) -> String {
        let rate = if self.rate == 0 { "none".to_owned() } else { self.rate.to_string() };
        let mb = |figure: f64| format!("{:.0}", figure / 1e6);
        let of = |figure: f64, whole: f64| format!("{} ({:.2})", mb(figure), figure / whole);
        let mut line = format!(
            "| {} | {rate} | {} | {} |",
            self.count,
            mb(self.raw_write),
            of(self.write, self.raw_write)
        );
        let peer = |figure: Option<f64>, whole: f64| figure.map_or("".into(), |f| of(f, whole));
        let peers = || self.peers.iter();
        for copied in peers() {
            let _ = write!(line, " {} |", peer(copied.map(|c| c.write), self.raw_write));
        }
        let _ = write!(line, " {} | {} |", mb(self.raw_read), of(self.read_back, self.raw_read));
        let _ = write!(line, " {} |", of(self.import, self.raw_read));
        for copied in peers() {
            let _ = write!(line, " {} |", peer(copied.map(|c| c.import), self.raw_read));
        }
        let _ = write!(line, " {:.0} % | {:.0} % |", self.busy * 100.0, self.import_busy * 100.0);
        line
    }
}

pub(in crate::bench) fn figure(value: &serde_json::Value, name: &str) -> anyhow::Result<f64> {
    value.get(name).and_then(serde_json::Value::as_f64).with_context(|| format!("no {name}"))
}

/// The whole block of the document.
pub(super) fn render(
    machine: &Machine,
    size: u64,
    throttle: Option<Throttle>,
    rows: &[Row],
) -> String {
    let held = match throttle {
        Some(_) => "held to their rates by the kernel's blkio throttle",
        None => "not held to any rate: this kernel has no blkio throttle",
    };
    let mut text = format!(
        "{}.\nLoop devices with ext4 on files in memory, {held}; {size} MiB a drive. MB/s of all drives together; \
         in brackets the part of what `dd` does past the cache with the same devices at once.\n\n",
        machine.told()
    );
    let names = PROGRAMS.map(|name| format!("{name} |"));
    let [cp, rsync] = &names;
    let _ = writeln!(
        text,
        "| drives | each held to | raw write | write | {cp} {rsync} raw read | read back | import | {} {} busy | busy, import |",
        cp.replace(" |", ", import |"),
        rsync.replace(" |", ", import |"),
    );
    let _ = writeln!(text, "|{}", "---|".repeat(13));
    for row in rows {
        let _ = writeln!(text, "{}", row.line());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_drives_are_added_and_compared_with_the_raw_ones() {
        let mut row = Row::new(2, 250);
        (row.raw_write, row.raw_read) = (500e6, 400e6);
        let drive = r#"{"drive":"D0","bytes":1000000000,"write":4.0,"read_back":5.0}"#;
        row.ours(&format!("{drive}\n{drive}\n")).unwrap();
        row.import(r#"{"bytes":100000000,"import":1.0}"#).unwrap();
        row.peers[0] = Some(Copied { write: 250e6, import: 100e6 });
        let line = row.line();
        assert!(
            line.starts_with("| 2 | 250 | 500 | 500 (1.00) | 250 (0.50) |  | 400 | 400 (1.00)")
        );
        assert_eq!(line.matches('|').count(), 14);
        assert!(row.import("{}").is_err());
    }
}
