//! What the figures were measured on. Measures nothing.

use crate::process::output;
use serde::{Deserialize, Serialize};
use std::process::Command;

/// The machine, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    /// Year, month, day, in UTC.
    pub(crate) date: String,
}

impl Machine {
    /// This one, today. What it does not tell is left empty.
    pub(crate) fn this() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let date = output(Command::new("date").args(["--utc", "+%Y-%m-%d"])).unwrap_or_default();
        Self {
            processor: value(&read("/proc/cpuinfo"), "model name"),
            cores: cores(),
            memory_gib: gib(&value(&read("/proc/meminfo"), "MemTotal")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            date: date.trim().to_owned(),
        }
    }

    /// One line about it.
    pub(crate) fn told(&self) -> String {
        let Self { processor, cores, memory_gib, kernel, date } = self;
        format!("{processor}, {cores} cores, {memory_gib} GiB, Linux {kernel}, {date}")
    }
}

/// The cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The value of the first line `name : value`.
fn value(text: &str, name: &str) -> String {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    let found = pairs.map(|(name, value)| (name.trim(), value.trim())).find(|(n, _)| *n == name);
    found.map(|(_, value)| value.to_owned()).unwrap_or_default()
}

/// From KiB, rounded.
fn gib(text: &str) -> u64 {
    let kib: u64 = text.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
    (kib + (1 << 19)) >> 20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_and_memory_are_read_from_what_the_kernel_tells() {
        let text = "processor\t: 0\nmodel name\t: Some CPU: fast\nmodel name\t: other\n";
        assert_eq!(value(text, "model name"), "Some CPU: fast");
        assert_eq!(value(text, "flags"), "");
        assert_eq!(gib("24574000 kB"), 23);
        assert_eq!(gib(""), 0);
    }
}
