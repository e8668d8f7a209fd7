//! A drive set without a server, through the real commands: three encrypted drives written by one machine,
//! taken in by another, and a restore that is compared with what was backed up.

use super::super::drive::{Controller, Drive, Image};
use super::super::lab::Lab;
use super::super::machine::{Machine, Spec};
use anyhow::{Context, ensure};
use serde_json::Value;

pub(super) const SERIALS: [&str; 3] = ["SEED-1", "SEED-2", "SEED-3"];

/// Of each drive, so that it takes three of them.
const CAPACITY: &str = "10MiB";

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let staging = lab.image("staging", 400)?;
    let drives = images(lab)?;
    let mut source = lab.boot(with(&staging, "STAGING", &drives))?;
    let files = back_up(&mut source)?;
    refuse_what_is_in_use(&mut source)?;
    let planned = prepare(&mut source, "--dry-run")?;
    ensure!(planned.contains("cryptsetup luksFormat"), "the plan is {planned}");
    ensure!(source.run("blkid -p /dev/disk-of-nobody")?.code != 0);
    for serial in SERIALS {
        let device = source.device(serial)?;
        ensure!(
            source.run(&format!("blkid -p {device}"))?.code == 2,
            "a dry run writes to {device}"
        );
    }
    let command = command(&mut source, "")?;
    let said = source.run(&command)?;
    ensure!(said.code == 1, "without --yes and a terminal: {}", said.all());
    let prepared = prepare(&mut source, "--yes")?;
    let summary = object(&prepared, "summary")?;
    ensure!(summary["complete"] == true, "{summary}");
    let signer = summary["signer"].as_str().context("no signer")?.to_owned();
    for serial in SERIALS {
        ensure!(super::list::usage(&mut source, serial)?.is_empty(), "{serial} is still in use");
    }
    // Prepared is prepared: nothing is formatted again, and nothing asked.
    let again = prepare(&mut source, "")?;
    ensure!(object(&again, "summary")?["complete"] == true, "{again}");
    let keys = source.done("packmule drive key --state /disk/state")?;
    source.power_off()?;

    let vault = lab.image("vault", 600)?;
    let mut dock = lab.boot(with(&vault, "VAULT", &drives))?;
    let device = dock.device("VAULT")?;
    dock.done(&format!("mkfs.ext4 -q {device} && mkdir -p /disk && mount {device} /disk"))?;
    let devices = devices(&mut dock)?;
    let import =
        format!("packmule seed import --into /disk/repository --signer {signer} --drive {devices}");
    let closed = dock.run(&import)?;
    ensure!(closed.code == 1, "without a password: {}", closed.all());
    dock.put("/keys", 0o600, keys.as_bytes())?;
    dock.done(&format!("packmule seed verify --keys /keys --signer {signer} --drive {devices}"))?;
    dock.done(&format!("{import} --keys /keys"))?;
    restore(&mut dock, &files)?;
    dock.power_off()
}

/// Three drives as import services take them.
pub(super) fn images(lab: &Lab<'_>) -> anyhow::Result<Vec<Image>> {
    SERIALS.iter().map(|serial| lab.image(serial, 300)).collect()
}

/// A machine with a disk of its own, and the drives.
pub(super) fn with(disk: &Image, serial: &str, drives: &[Image]) -> Spec {
    let spec = Spec::new().drive(Drive::new(disk, Controller::Virtio, serial));
    SERIALS
        .iter()
        .zip(drives)
        .fold(spec, |spec, (serial, image)| spec.drive(Drive::new(image, Controller::Ahci, serial)))
}

/// Backs up files of the guest's own making; tells their hashes.
pub(super) fn back_up(source: &mut Machine) -> anyhow::Result<String> {
    let device = source.device("STAGING")?;
    source.done(&format!("mkfs.ext4 -q {device} && mkdir -p /disk && mount {device} /disk"))?;
    source.done(
        "mkdir -p /disk/data/sub && cd /disk/data && for n in $(seq 1 5); do \
        head -c 4000000 /dev/urandom >sub/$n; done && echo small >small",
    )?;
    source.done(
        "export PACKMULE_PASSWORD=x; packmule repo init -r /disk/repository && \
        packmule repo backup -r /disk/repository --pack-size 4MiB --state /disk/state /disk/data",
    )?;
    source.done("cd /disk/data && find . -type f | sort | xargs sha256sum")
}

fn refuse_what_is_in_use(source: &mut Machine) -> anyhow::Result<()> {
    let device = source.device("STAGING")?;
    let said = source.run(&format!(
        "PACKMULE_PASSWORD=x packmule seed prepare -r /disk/repository --state /disk/state --yes \
         --unsuitable --drive {device}"
    ))?;
    ensure!(said.code == 13 && said.all().contains("mounted at /disk"), "{}", said.all());
    Ok(())
}

pub(super) fn devices(machine: &mut Machine) -> anyhow::Result<String> {
    let devices: Vec<String> =
        SERIALS.iter().map(|serial| machine.device(serial)).collect::<anyhow::Result<_>>()?;
    Ok(devices.join(" --drive "))
}

fn prepare(machine: &mut Machine, flags: &str) -> anyhow::Result<String> {
    let command = command(machine, flags)?;
    machine.done(&command)
}

/// What prepares the set.
pub(super) fn command(machine: &mut Machine, flags: &str) -> anyhow::Result<String> {
    let devices = devices(machine)?;
    Ok(format!(
        "PACKMULE_PASSWORD=x packmule --json seed prepare -r /disk/repository --state /disk/state \
         --capacity {CAPACITY} {flags} --drive {devices}"
    ))
}

/// Restores the last snapshot and compares it.
pub(super) fn restore(machine: &mut Machine, files: &str) -> anyhow::Result<()> {
    machine.done(
        "export PACKMULE_PASSWORD=x; packmule repo check -r /disk/repository --read-data && \
        packmule repo restore -r /disk/repository latest --target /disk/restored",
    )?;
    let restored =
        machine.done("cd /disk/restored/disk/data && find . -type f | sort | xargs sha256sum")?;
    ensure!(restored == files, "what is restored is not what was backed up:\n{restored}{files}");
    Ok(())
}

/// The last object of that type among lines of JSON.
pub(super) fn object(lines: &str, kind: &str) -> anyhow::Result<Value> {
    let objects = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    objects
        .filter(|object| object["message_type"] == kind)
        .last()
        .with_context(|| format!("there is no {kind} in {lines}"))
}
