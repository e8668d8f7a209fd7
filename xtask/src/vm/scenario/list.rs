//! Drives on virtio, AHCI, USB and NVMe, as `packmule drive list` sees and judges them. Without udev:
//! everything must come from the kernel.

use super::super::drive::{Controller, Drive};
use super::super::lab::Lab;
use super::super::machine::{Machine, Spec};
use anyhow::{Context, ensure};
use serde_json::{Value, json};

const MIB: u64 = 300;

/// Serial number, bus, medium, removable, read-only, and the reasons not to use it.
type Row = (&'static str, &'static str, &'static str, bool, bool, &'static [&'static str]);

/// virtio, the kernel's own USB storage and NVMe say of the medium what they say.
const EXPECTED: &[Row] = &[
    ("VIRTIO1", "virtio", "hdd", false, false, &["not-sata"]),
    ("VIRTIORO", "virtio", "hdd", false, true, &["read-only", "not-sata"]),
    ("SATA-HDD", "sata", "hdd", false, false, &[]),
    ("SATA-SSD", "sata", "ssd", false, false, &[]),
    ("SATA-TINY", "sata", "hdd", false, false, &["too-small"]),
    ("USB1", "usb", "hdd", false, false, &["not-sata"]),
    ("USBSTICK", "usb", "hdd", true, false, &["not-sata", "removable"]),
    ("NVME1", "nvme", "ssd", false, false, &["not-sata"]),
];

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let drive = |serial: &str, controller, mib| {
        anyhow::Ok(Drive::new(&lab.image(serial, mib)?, controller, serial))
    };
    let spec = Spec::new()
        .drive(drive("VIRTIO1", Controller::Virtio, MIB)?)
        .drive(drive("VIRTIORO", Controller::Virtio, MIB)?.read_only())
        .drive(drive("SATA-HDD", Controller::Ahci, MIB)?)
        .drive(drive("SATA-SSD", Controller::Ahci, MIB)?.solid())
        .drive(drive("SATA-TINY", Controller::Ahci, 64)?)
        .drive(drive("USB1", Controller::Usb, MIB)?)
        .drive(drive("USBSTICK", Controller::Usb, MIB)?.removable())
        .drive(drive("NVME1", Controller::Nvme, MIB)?);
    let mut machine = lab.boot(spec)?;
    for (serial, ..) in EXPECTED {
        machine.device(serial)?;
    }
    let devices = devices(&mut machine)?;
    ensure!(devices.len() == EXPECTED.len(), "not {} drives: {devices:#?}", EXPECTED.len());
    for row in EXPECTED {
        let found = find(&devices, row.0)?;
        agrees(row, &found).with_context(|| format!("{found:#}"))?;
    }
    machine.power_off()
}

/// What `packmule drive list` tells of all devices.
pub(super) fn devices(machine: &mut Machine) -> anyhow::Result<Vec<Value>> {
    let told = machine.done("packmule drive list --all --json")?;
    let lines = told.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
    let lines = lines.with_context(|| format!("no JSON: {told}"))?;
    Ok(lines.into_iter().filter(|line| line.get("serial").is_some()).collect())
}

fn find(devices: &[Value], serial: &str) -> anyhow::Result<Value> {
    let found = devices.iter().find(|device| device.get("serial") == Some(&json!(serial)));
    Ok(found.with_context(|| format!("no {serial} among {devices:#?}"))?.clone())
}

fn agrees(row: &Row, found: &Value) -> anyhow::Result<()> {
    let (serial, bus, medium, removable, read_only, reasons) = row;
    let size = if *serial == "SATA-TINY" { 64 } else { MIB } << 20;
    for (name, expected) in [
        ("bus", json!(bus)),
        ("medium", json!(medium)),
        ("size", json!(size)),
        ("removable", json!(removable)),
        ("read_only", json!(read_only)),
        ("usage", json!([])),
        ("suitable", json!(reasons.is_empty())),
    ] {
        ensure!(found.get(name) == Some(&expected), "{name} is not {expected}");
    }
    let refusals = found.get("refusals").and_then(Value::as_array).context("no refusals")?;
    let told: Vec<&str> =
        refusals.iter().filter_map(|refusal| refusal.get("reason")?.as_str()).collect();
    ensure!(told == *reasons, "refused for {told:?}, not for {reasons:?}");
    Ok(())
}

/// Who uses the drive with that serial number, in the words of `packmule drive list`.
pub(super) fn usage(machine: &mut Machine, serial: &str) -> anyhow::Result<Vec<String>> {
    let device = find(&devices(machine)?, serial)?;
    let refusals = device.get("refusals").and_then(Value::as_array).context("no refusals")?;
    let used = refusals.iter().filter(|refusal| refusal.get("reason") == Some(&json!("used")));
    let told = used.filter_map(|refusal| Some(refusal.get("message")?.as_str()?.to_owned()));
    Ok(told.collect())
}

/// The serial numbers that `packmule drive list` tells.
pub(super) fn serials(machine: &mut Machine) -> anyhow::Result<Vec<String>> {
    let devices = devices(machine)?;
    let serials = devices.iter().filter_map(|device| device.get("serial")?.as_str());
    Ok(serials.map(str::to_owned).collect())
}
