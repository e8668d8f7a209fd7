//! What others do with the same devices: `dd` past the cache, `cp`, `rsync`. Each drive has a process of
//! its own, so that peers use all drives at once too.

use super::disk::Disk;
use super::text;
use crate::process::{output, shown};
use anyhow::{Context, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// The programs that copy.
pub(super) const PROGRAMS: [&str; 2] = ["cp", "rsync"];

/// Bytes a second onto all drives together, and back into a folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copied {
    pub(super) write: f64,
    pub(super) import: f64,
}

/// Links the repository's files into a folder for each drive.
pub(super) fn parts(source: &Path, count: usize) -> anyhow::Result<()> {
    for at in 0..count {
        fs::create_dir_all(source.join(format!("part{at}")))?;
    }
    let mut number = 0;
    for folder in fs::read_dir(source.join("repository/data"))? {
        for file in fs::read_dir(folder?.path())? {
            let file = file?;
            let part = source.join(format!("part{}", number % count)).join(file.file_name());
            fs::hard_link(file.path(), part)?;
            number += 1;
        }
    }
    Ok(())
}

/// Starts all, waits for all, and says how long that took.
fn together(commands: Vec<Command>) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut children: Vec<(String, Child)> = Vec::new();
    for mut command in commands {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("cannot run {}", shown(&command)))?;
        children.push((shown(&command), child));
    }
    for (command, child) in &mut children {
        ensure!(child.wait()?.success(), "{command} failed");
    }
    Ok(start.elapsed().as_secs_f64())
}

fn dd(arguments: &[String]) -> Command {
    let mut command = Command::new("dd");
    command.args(arguments);
    command
}

/// Bytes a second that `dd` writes past the cache, all drives at once.
pub(super) fn raw_write(disks: &[Disk], size: u64) -> anyhow::Result<f64> {
    let write = |disk: &Disk| {
        let to = text(&disk.folder.join("raw")).map(|path| format!("of={path}"))?;
        let count = format!("count={}", size / 4);
        let fixed = ["if=/dev/zero", "bs=4M", "oflag=direct", "conv=fsync"].map(str::to_owned);
        Ok(dd(&[fixed.as_slice(), &[to, count]].concat()))
    };
    let commands = disks.iter().map(write).collect::<anyhow::Result<_>>()?;
    Ok((disks.len() as u64 * (size << 20)) as f64 / together(commands)?)
}

/// The same, read.
pub(super) fn raw_read(disks: &[Disk]) -> anyhow::Result<f64> {
    let mut bytes = 0;
    let mut commands = Vec::new();
    for disk in disks {
        let path = disk.folder.join("raw");
        bytes += fs::metadata(&path)?.len();
        let from = format!("if={}", text(&path)?);
        let fixed = ["of=/dev/null", "bs=4M", "iflag=direct"].map(str::to_owned);
        commands.push(dd(&[fixed.as_slice(), &[from]].concat()));
    }
    Ok(bytes as f64 / together(commands)?)
}

/// What a program makes of it; none when it is not installed. What it wrote is synced within its time.
pub(super) fn copy(
    program: &str,
    source: &Path,
    disks: &[Disk],
    into: &Path,
) -> anyhow::Result<Option<Copied>> {
    if output(Command::new(program).arg("--version")).is_err() {
        return Ok(None);
    }
    let copies = |pairs: Vec<(PathBuf, PathBuf)>| {
        let command = |(from, to): (PathBuf, PathBuf)| {
            let script = format!("{program} -r \"$1\" \"$2\" && sync -f \"$2\"");
            let mut command = Command::new("sh");
            command.args(["-c", &script, "sh"]).args([from, to]);
            command
        };
        pairs.into_iter().map(command).collect::<Vec<_>>()
    };
    let onto = disks.iter().enumerate();
    let onto = onto.map(|(at, disk)| (source.join(format!("part{at}")), disk.folder.clone()));
    let write = together(copies(onto.collect()))?;
    disks.iter().try_for_each(Disk::forget)?;
    fs::create_dir_all(into)?;
    let back = disks.iter().enumerate();
    let back = back.map(|(at, disk)| (disk.folder.join(format!("part{at}")), into.to_owned()));
    let import = together(copies(back.collect()))?;
    let mut bytes = 0;
    for part in fs::read_dir(into)? {
        for file in fs::read_dir(part?.path())? {
            bytes += file?.metadata()?.len();
        }
    }
    fs::remove_dir_all(into)?;
    Ok(Some(Copied { write: bytes as f64 / write, import: bytes as f64 / import }))
}
