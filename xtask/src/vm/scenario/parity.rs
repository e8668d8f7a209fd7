//! A set with parity on encrypted drives: one data drive never arrives, the other has ten places overwritten, and
//! everything comes back.

use super::super::drive::{Controller, Drive, Image};
use super::super::lab::Lab;
use super::super::machine::{Machine, Spec};
use super::set;
use anyhow::{Context, ensure};
use serde_json::Value;

/// Two for data, two for parity.
const SERIALS: [&str; 4] = ["SEED-1", "SEED-2", "SEED-3", "SEED-4"];
/// Of each: two hold the files of a set, and one does not.
const CAPACITY: &str = "16MiB";

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let staging = lab.image("staging", 400)?;
    let drives: Vec<Image> =
        SERIALS.iter().map(|serial| lab.image(serial, 300)).collect::<anyhow::Result<_>>()?;
    let mut source = lab.boot(with(&staging, "STAGING", SERIALS.iter().copied().zip(&drives)))?;
    set::disk(&mut source, "STAGING")?;
    let files = set::back_up(&mut source)?;
    let devices = set::devices(&mut source, &SERIALS)?;
    let prepared = source.done(&format!(
        "PACKMULE_PASSWORD=open-sesame-vm-01 packmule --json seed prepare -r /disk/repository --state /disk/state \
         --capacity {CAPACITY} --parity 2 --yes --drive {devices}"
    ))?;
    set::is_complete(&prepared)?;
    let of_role = |role: &str| {
        let lines = prepared.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let drives = lines.filter(|it| it.get("role").is_some_and(|found| found == role));
        let serial = |drive: Value| drive.get("serial")?.as_str().map(str::to_owned);
        drives.filter_map(serial).collect::<Vec<String>>()
    };
    let (data, parity) = (of_role("data"), of_role("parity"));
    ensure!(data.len() == 2 && parity.len() == 2, "{prepared}");
    let damaged = data.last().context("no data drive")?;
    damage(&mut source, damaged)?;
    let keys = source.done("packmule drive key --state /disk/state")?;
    source.power_off()?;

    let vault = lab.image("vault", 600)?;
    let arrives = |serial: &&str| *serial == damaged || parity.iter().any(|other| other == serial);
    let arrived: Vec<(&str, &Image)> =
        SERIALS.iter().copied().zip(&drives).filter(|(serial, _)| arrives(serial)).collect();
    let serials: Vec<&str> = arrived.iter().map(|(serial, _)| *serial).collect();
    let mut dock = lab.boot(with(&vault, "VAULT", arrived.into_iter()))?;
    set::disk(&mut dock, "VAULT")?;
    dock.put("/keys", 0o600, keys.as_bytes())?;
    let given = format!("--keys /keys --drive {}", set::devices(&mut dock, &serials)?);
    let verified = dock.run(&format!("packmule seed verify {given}"))?;
    ensure!(verified.code == 4, "the damage is not seen: {}", verified.all());
    // Whole, with a drive that was not as it should be.
    let imported = dock.run(&format!("packmule --json seed import --into /disk/taken {given}"))?;
    ensure!(imported.code == 3 && imported.all().contains("\"published\""), "{}", imported.all());
    set::compare(&mut dock, "/disk/taken", &files)?;
    dock.power_off()
}

/// A machine with a disk of its own, and those drives.
fn with<'d>(
    disk: &Image,
    serial: &str,
    drives: impl Iterator<Item = (&'d str, &'d Image)>,
) -> Spec {
    let spec = Spec::new().drive(Drive::new(disk, Controller::Virtio, serial));
    drives
        .fold(spec, |spec, (serial, image)| spec.drive(Drive::new(image, Controller::Ahci, serial)))
}

/// Overwrites 64 KiB in ten places of a drive's objects.
fn damage(source: &mut Machine, serial: &str) -> anyhow::Result<()> {
    let device = source.device(serial)?;
    source.done(&format!(
        "packmule drive key --state /disk/state {serial} | cut -d' ' -f2 | tr -d '\\n' >/password && \
         cryptsetup open --key-file /password {device}1 harmed && mkdir -p /harmed && \
         mount /dev/mapper/harmed /harmed && n=0 && \
         for pack in $(find /harmed/repositories -type f -size +256k | sort); do for at in 0 1 2 3; do \
         [ $n -lt 10 ] || break; n=$((n+1)); \
         dd if=/dev/urandom of=$pack bs=65536 seek=$at count=1 conv=notrunc 2>/dev/null; done; done && \
         [ $n -eq 10 ] && umount /harmed && cryptsetup close harmed"
    ))?;
    Ok(())
}
