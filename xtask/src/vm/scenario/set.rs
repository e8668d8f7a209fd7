//! What scenarios with drive sets share: files that are backed up, commands that prepare and take in, and
//! the comparison at the end. Claims nothing by itself.

use super::super::drive::Image;
use super::super::lab::Lab;
use super::super::machine::Machine;
use anyhow::{Context, ensure};
use serde_json::Value;

/// The serial numbers of a set's drives.
pub(super) const SERIALS: [&str; 3] = ["SEED-1", "SEED-2", "SEED-3"];

/// Of each drive, so that it takes all of them.
const CAPACITY: &str = "10MiB";

/// Images of the set's drives.
pub(super) fn images(lab: &Lab<'_>) -> anyhow::Result<Vec<Image>> {
    SERIALS.iter().map(|serial| lab.image(serial, 300)).collect()
}

/// Makes a file system on a disk of the machine's own and mounts it at `/disk`.
pub(super) fn disk(machine: &mut Machine, serial: &str) -> anyhow::Result<()> {
    let device = machine.device(serial)?;
    machine.done(&format!("mkfs.ext4 -q {device} && mkdir -p /disk && mount {device} /disk"))?;
    Ok(())
}

/// The same where it has one already.
pub(super) fn disk_again(machine: &mut Machine, serial: &str) -> anyhow::Result<()> {
    let device = machine.device(serial)?;
    machine.done(&format!("mkdir -p /disk && mount {device} /disk"))?;
    Ok(())
}

/// Makes five files of `bytes` each below `/disk/data`, and one small one; tells their hashes.
pub(super) fn files(machine: &mut Machine, bytes: u32) -> anyhow::Result<String> {
    machine.done(&format!(
        "mkdir -p /disk/data/sub && cd /disk/data && for n in 1 2 3 4 5; do \
         head -c {bytes} /dev/urandom >sub/$n; done && echo small >small"
    ))?;
    hashes(machine, "/disk/data")
}

/// The hashes of all files below a folder.
pub(super) fn hashes(machine: &mut Machine, folder: &str) -> anyhow::Result<String> {
    machine.done(&format!("cd {folder} && find . -type f -print0 | sort -z | xargs -0 sha256sum"))
}

/// Backs up files of the guest's own making into `/disk/repository`; tells their hashes.
pub(super) fn back_up(machine: &mut Machine) -> anyhow::Result<String> {
    let files = files(machine, 4_600_000)?;
    machine.done(
        "export PACKMULE_PASSWORD=open-sesame-vm-01; packmule repo init -r /disk/repository && \
         packmule repo backup -r /disk/repository --pack-size 4MiB --state /disk/state /disk/data",
    )?;
    Ok(files)
}

/// The devices of drives, as they are given to commands.
pub(super) fn devices(machine: &mut Machine, serials: &[&str]) -> anyhow::Result<String> {
    let devices: Vec<String> =
        serials.iter().map(|serial| machine.device(serial)).collect::<anyhow::Result<_>>()?;
    Ok(devices.join(" --drive "))
}

/// What prepares a set from `/disk/repository`.
pub(super) fn prepare(
    machine: &mut Machine,
    serials: &[&str],
    flags: &str,
) -> anyhow::Result<String> {
    let devices = devices(machine, serials)?;
    Ok(format!(
        "PACKMULE_PASSWORD=open-sesame-vm-01 packmule --json seed prepare -r /disk/repository --state /disk/state \
         --capacity {CAPACITY} {flags} --drive {devices}"
    ))
}

/// What takes a set into `/disk/taken`, with the passwords that were kept where it was prepared.
pub(super) fn take_in(machine: &mut Machine, serials: &[&str]) -> anyhow::Result<String> {
    let devices = devices(machine, serials)?;
    Ok(format!(
        "packmule --json seed import --into /disk/taken --state /disk/state --drive {devices}"
    ))
}

/// Checks a repository, restores its last snapshot, and compares that.
pub(super) fn compare(machine: &mut Machine, repository: &str, files: &str) -> anyhow::Result<()> {
    machine.done(&format!(
        "export PACKMULE_PASSWORD=open-sesame-vm-01; packmule repo check -r {repository} --read-data && \
         packmule repo restore -r {repository} latest --target /disk/restored"
    ))?;
    same(machine, files)
}

/// Compares what lies below `/disk/restored` with what was backed up.
pub(super) fn same(machine: &mut Machine, files: &str) -> anyhow::Result<()> {
    let restored = hashes(machine, "/disk/restored/disk/data")?;
    ensure!(restored == files, "what is restored is not what was backed up:\n{restored}{files}");
    Ok(())
}

/// The last object of that type among lines of JSON.
pub(super) fn object(lines: &str, kind: &str) -> anyhow::Result<Value> {
    let mut objects = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    objects
        .rfind(|object| object.get("message_type").is_some_and(|found| found == kind))
        .with_context(|| format!("there is no {kind} in {lines}"))
}

/// Fails unless every object of the seed is on a sealed drive.
pub(super) fn is_complete(lines: &str) -> anyhow::Result<()> {
    let summary = object(lines, "summary")?;
    let complete = summary.get("complete").is_some_and(|complete| *complete == true);
    ensure!(complete, "the set is not complete: {lines}");
    Ok(())
}
