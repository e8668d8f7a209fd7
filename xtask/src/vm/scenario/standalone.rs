//! A drive set without a server, through the real commands: three encrypted drives written by one machine,
//! taken in by another, and a restore that is compared with what was backed up.

use super::super::drive::{Controller, Drive, Image};
use super::super::lab::Lab;
use super::super::machine::{Machine, Spec};
use super::set::{self, SERIALS};
use anyhow::{Context, ensure};

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let staging = lab.image("staging", 400)?;
    let drives = set::images(lab)?;
    let mut source = lab.boot(with(&staging, "STAGING", &drives))?;
    set::disk(&mut source, "STAGING")?;
    let files = set::back_up(&mut source)?;
    refuse_what_is_in_use(&mut source)?;
    change_nothing_unasked(&mut source)?;
    let command = set::prepare(&mut source, &SERIALS, "--yes")?;
    let prepared = source.done(&command)?;
    set::is_complete(&prepared)?;
    let summary = set::object(&prepared, "summary")?;
    let signer = summary.get("signer").and_then(|signer| signer.as_str()).context("no signer")?;
    for serial in SERIALS {
        ensure!(super::list::usage(&mut source, serial)?.is_empty(), "{serial} is still in use");
    }
    // Prepared is prepared: nothing is formatted again, and nothing asked.
    let again = set::prepare(&mut source, &SERIALS, "")?;
    set::is_complete(&source.done(&again)?)?;
    let keys = source.done("packmule drive key --state /disk/state")?;
    source.power_off()?;

    let vault = lab.image("vault", 600)?;
    let mut dock = lab.boot(with(&vault, "VAULT", &drives))?;
    set::disk(&mut dock, "VAULT")?;
    let given = format!("--signer {signer} --drive {}", set::devices(&mut dock, &SERIALS)?);
    let import = format!("packmule seed import --into /disk/taken {given}");
    let closed = dock.run(&import)?;
    ensure!(closed.code == 1, "without a password: {}", closed.all());
    dock.put("/keys", 0o600, keys.as_bytes())?;
    dock.done(&format!("packmule seed verify --keys /keys {given}"))?;
    dock.done(&format!("{import} --keys /keys"))?;
    set::compare(&mut dock, "/disk/taken", &files)?;
    dock.power_off()
}

/// A machine with a disk of its own, and drives as import services take them.
pub(super) fn with(disk: &Image, serial: &str, drives: &[Image]) -> Spec {
    let spec = Spec::new().drive(Drive::new(disk, Controller::Virtio, serial));
    SERIALS
        .iter()
        .zip(drives)
        .fold(spec, |spec, (serial, image)| spec.drive(Drive::new(image, Controller::Ahci, serial)))
}

fn refuse_what_is_in_use(source: &mut Machine) -> anyhow::Result<()> {
    let command = set::prepare(source, &["STAGING"], "--yes --unsuitable")?;
    let said = source.run(&command)?;
    ensure!(said.code == 13 && said.all().contains("mounted at /disk"), "{}", said.all());
    Ok(())
}

/// A dry run writes nothing, and neither does a call that nobody confirms.
fn change_nothing_unasked(source: &mut Machine) -> anyhow::Result<()> {
    let command = set::prepare(source, &SERIALS, "--dry-run")?;
    let planned = source.done(&command)?;
    ensure!(planned.contains("cryptsetup luksFormat"), "the plan is {planned}");
    let command = set::prepare(source, &SERIALS, "")?;
    let said = source.run(&command)?;
    ensure!(said.code == 1, "without --yes and a terminal: {}", said.all());
    for serial in SERIALS {
        let device = source.device(serial)?;
        let found = source.run(&format!("blkid -p {device}"))?;
        ensure!(found.code == 2, "{device} was written to: {}", found.all());
    }
    Ok(())
}
