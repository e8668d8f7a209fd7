//! A recovery point of a vault, by drive: a dock writes it onto two encrypted ones, and what they bring is taken in, restored, and read by
//! stock restic.

use super::super::lab::Lab;
use super::super::machine::Machine;
use super::journey::agent;
use super::set;
use super::site::Site;
use super::standalone::with;
use crate::tools;
use anyhow::{Context, ensure};
use serde_json::Value;

/// One alone does not hold it: a pack has 24 MiB at most, and there are 33 MiB.
const DRIVES: [&str; 2] = ["SEED-1", "SEED-2"];
const CAPACITY: &str = "26MiB";
const FILE: u32 = 7_000_000;

const SHIPPING: &str = "--yes --carrier FedEx --tracking EXPORT-1 --recipient R --street S --city C \
    --postal-code 1 --country NO --phone 1 --email r@example.org";

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let restic = std::fs::read(tools::installed("restic").context("restic is not installed")?)?;
    let site = Site::start(lab)?;
    let disk = lab.image("disk", 600)?;
    let drives: Vec<_> =
        DRIVES.iter().map(|serial| lab.image(serial, 300)).collect::<anyhow::Result<_>>()?;
    let mut machine = lab.boot(with(&disk, "DISK", &drives).reaches(site.port))?;
    set::disk(&mut machine, "DISK")?;
    let files = set::files(&mut machine, FILE)?;
    machine.put("/disk/fs01.json", 0o600, &site.agent)?;
    machine.put("/disk/dock.json", 0o600, &site.dock)?;
    agent(&mut machine, "agent register --credentials /disk/fs01.json")?;
    agent(&mut machine, "group create files --path /disk/data")?;
    agent(&mut machine, "backup now files")?;
    agent(&mut machine, "export create restore-1 latest --storage-account seedacct")?;
    machine.done(&format!("packmule job ship restore-1 --agent-state /disk/agent {SHIPPING}"))?;
    write(&mut machine)?;
    machine.power_off()?;

    let mut home = lab.boot(with(&disk, "DISK", &drives).reaches(site.port))?;
    set::disk_again(&mut home, "DISK")?;
    let devices = set::devices(&mut home, &DRIVES)?;
    home.done("packmule job keys restore-1 --agent-state /disk/agent >/keys")?;
    let shown = home.done("packmule job show restore-1 --agent-state /disk/agent")?;
    let signer =
        shown.split("drives are signed by ").nth(1).and_then(|it| it.split_whitespace().next());
    let signer = signer.with_context(|| format!("nobody has signed: {shown}"))?;
    let import = format!("packmule seed import --into /disk/taken --keys /keys --drive {devices}");
    let foreign = "0123-4567-89ab-cdef-0123-4567-89ab-cdef";
    let wrong = home.run(&format!("{import} --signer {foreign}"))?;
    ensure!(wrong.code != 0, "signed by whomever: {}", wrong.all());
    home.done(&format!("{import} --signer {signer}"))?;
    set::compare(&mut home, "/disk/taken", &files)?;

    home.put("/bin/restic", 0o755, &restic)?;
    home.done(
        "export RESTIC_PASSWORD=open-sesame-vm-01 RESTIC_CACHE_DIR=/disk/cache; rm -rf /disk/restored && \
         restic -r /disk/taken check --read-data && \
         restic -r /disk/taken restore latest --target /disk/restored",
    )?;
    set::same(&mut home, &files)?;
    home.power_off()
}

/// The dock takes the empty drives in, writes both, and sends them home.
fn write(dock: &mut Machine) -> anyhow::Result<()> {
    let options = "--credentials /disk/dock.json --state /disk/dock";
    let named: String = DRIVES.iter().map(|serial| format!(" --drive {serial}")).collect();
    dock.done(&format!("packmule dock receive --tracking export1 {options}{named}"))?;
    let devices = set::devices(dock, &DRIVES)?;
    let said = dock.done(&format!(
        "packmule --json dock export --job restore-1 --yes --capacity {CAPACITY} {options} --drive {devices}"
    ))?;
    let is = |object: &Value, member: &str, value: &str| {
        object.get(member).is_some_and(|found| found == value)
    };
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines: Vec<Value> = lines.filter(|line| is(line, "message_type", "drive")).collect();
    for serial in DRIVES {
        let sealed = lines.iter().any(|it| is(it, "serial", serial) && is(it, "state", "sealed"));
        ensure!(sealed, "{serial} was not written: {said}");
        ensure!(super::list::usage(dock, serial)?.is_empty(), "{serial} is still in use");
    }
    dock.done(&format!("packmule dock return --job restore-1 {options}"))?;
    Ok(())
}
