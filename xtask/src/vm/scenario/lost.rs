//! A drive of a set without parity never arrives: what it held is asked for by name, comes over the network,
//! and nothing else is sent again.

use super::super::drive::{Controller, Drive};
use super::super::lab::Lab;
use super::super::machine::Spec;
use super::journey::{agent, prepare};
use super::set::{self, SERIALS};
use super::site::Site;
use super::standalone::with;
use anyhow::ensure;
use serde_json::Value;

/// The one that never arrives.
const LOST: usize = 1;

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let site = Site::start(lab)?;
    let (staging, drives) = (lab.image("staging", 400)?, set::images(lab)?);
    let mut source = lab.boot(with(&staging, "STAGING", &drives).reaches(site.port))?;
    let files = prepare(&mut source, &site)?;
    source.power_off()?;

    let disk = lab.image("dock", 300)?;
    let came = SERIALS.iter().zip(&drives).enumerate().filter(|(at, _)| *at != LOST);
    let spec = Spec::new().drive(Drive::new(&disk, Controller::Virtio, "DOCK"));
    let spec = came.fold(spec, |spec, (_, (serial, image))| {
        spec.drive(Drive::new(image, Controller::Ahci, serial))
    });
    let mut dock = lab.boot(spec.reaches(site.port))?;
    set::disk(&mut dock, "DOCK")?;
    dock.put("/disk/dock.json", 0o600, &site.dock)?;
    let arrived: Vec<&str> =
        SERIALS.iter().enumerate().filter(|(at, _)| *at != LOST).map(|(_, it)| *it).collect();
    dock.done(&format!(
        "packmule dock receive --tracking VM-1234567 --credentials /disk/dock.json --drive {}",
        arrived.join(" --drive ")
    ))?;
    let said = dock
        .done("packmule --json dock run --once --credentials /disk/dock.json --state /disk/dock")?;
    let whole = said.lines().filter(|line| line.contains("\"state\":\"Completed\"")).count();
    ensure!(whole >= arrived.len(), "what came was not taken in whole: {said}");
    dock.power_off()?;

    let mut again = lab.boot(with(&staging, "STAGING", &[]).reaches(site.port))?;
    set::disk_again(&mut again, "STAGING")?;
    let waits = agent(&mut again, "backup now files --wanted drive")?;
    ensure!(waits.contains("packmule seed send"), "{waits}");
    let status = again.run("packmule --json seed status --state /disk/agent")?;
    let rows: Vec<Value> =
        status.all().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let wanted: Vec<&Value> = rows.iter().filter(|it| is(it, "message_type", "wanted")).collect();
    ensure!(status.code == 13 && !wanted.is_empty(), "{}", status.all());
    let of_it =
        wanted.iter().all(|it| is(it, "was_on", SERIALS[LOST]) && is(it, "state", "wanted"));
    ensure!(of_it, "something else is wanted: {}", status.all());
    // Read to its end, the seed is made whole by the next backup.
    let stored = agent(&mut again, "backup now files")?;
    ensure!(stored.contains("\"outcome\":\"stored\""), "{stored}");
    agent(&mut again, "restore files --target /disk/restored")?;
    set::same(&mut again, &files)?;
    again.power_off()
}

fn is(object: &Value, member: &str, value: &str) -> bool {
    object.get(member).is_some_and(|found| found == value)
}
