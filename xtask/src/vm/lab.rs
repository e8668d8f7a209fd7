//! What a scenario is given: the means to make images and to boot machines with them, in a folder of
//! its own. Judges nothing.

use super::drive::Image;
use super::machine::{Machine, Spec};
use super::parts::{Parts, bound};
use crate::process::complain;
use anyhow::Context;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How much of a console is shown of a scenario that failed.
const TAIL: usize = 40;

/// A scenario's own.
pub(crate) struct Lab<'a> {
    pub(super) parts: &'a Parts,
    pub(super) initramfs: &'a Path,
    pub(super) folder: PathBuf,
    booted: Cell<u32>,
}

impl<'a> Lab<'a> {
    /// In an empty folder of that name.
    pub(super) fn new(parts: &'a Parts, initramfs: &'a Path, name: &str) -> anyhow::Result<Self> {
        let folder = parts.place.join("run").join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .context("cannot clear what is left of the last run")?;
        }
        std::fs::create_dir_all(&folder)?;
        Ok(Self { parts, initramfs, folder, booted: Cell::new(0) })
    }

    /// A new image of that many MiB, all holes. It stays until the scenario ends, for any number of
    /// machines, one after the other.
    pub(crate) fn image(&self, name: &str, mib: u64) -> anyhow::Result<Image> {
        let path = self.folder.join(format!("{name}.img"));
        std::fs::File::create_new(&path)
            .and_then(|file| file.set_len(mib << 20))
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Image { path })
    }

    /// Its own folder on the host.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Our binary, as the host runs it; ended when we are.
    pub(crate) fn packmule(&self) -> Command {
        bound(&self.parts.place.join("packmule"))
    }

    /// Boots a machine.
    pub(crate) fn boot(&self, spec: Spec) -> anyhow::Result<Machine> {
        let number = self.booted.get() + 1;
        self.booted.set(number);
        Machine::start(self, spec, number).with_context(|| format!("machine {number}"))
    }

    /// Where the kernel's messages of a machine are, within the folder.
    pub(super) fn console(number: u32) -> String {
        format!("console-{number}.log")
    }

    /// Says that a machine stood still while it started, and keeps what it had said until then.
    pub(super) fn keep_stuck(&self, number: u32, tried: u32) -> anyhow::Result<()> {
        let console = Self::console(number);
        let kept = format!("stuck-{tried}-{console}");
        complain(&format!("machine {number} does not come up: {kept}\n{}", self.last_words()));
        Ok(std::fs::rename(self.folder.join(console), self.folder.join(kept))?)
    }

    /// The last that the last machine and its QEMU said.
    pub(super) fn last_words(&self) -> String {
        let number = self.booted.get();
        let files = [format!("qemu-{number}.log"), Self::console(number)];
        let tails = files.iter().map(|name| {
            let bytes = std::fs::read(self.folder.join(name)).unwrap_or_default();
            format!("-- {name}\n{}", tail(&String::from_utf8_lossy(&bytes)))
        });
        tails.collect()
    }

    /// Removes the images, or everything.
    pub(super) fn clear(self, logs_too: bool) -> anyhow::Result<()> {
        if logs_too {
            return Ok(std::fs::remove_dir_all(&self.folder)?);
        }
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "img") {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL);
    lines.iter().skip(from).flat_map(|line| [line.trim_end(), "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_console_is_shown() {
        let text: String = (0..100).map(|n| format!("line {n}\r\n")).collect();
        let shown = tail(&text);
        assert_eq!(shown.lines().next(), Some("line 60"));
        assert_eq!(shown.lines().last(), Some("line 99"));
        assert_eq!(tail(""), "");
    }
}
