//! A set with parity loses more than that can make up for, a data drive and the parity drive: what is missing is
//! asked for by name, comes over the network, and nothing else is sent again.

use super::super::drive::{Controller, Drive};
use super::super::lab::Lab;
use super::super::machine::Spec;
use super::journey::{agent, prepare};
use super::set::{self, SERIALS};
use super::site::Site;
use super::standalone::with;
use anyhow::{Context, ensure};
use serde_json::Value;

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let site = Site::start(lab)?;
    let (staging, drives) = (lab.image("staging", 400)?, set::images(lab)?);
    let mut source = lab.boot(with(&staging, "STAGING", &drives).reaches(site.port))?;
    let (files, said) = prepare(&mut source, &site, "--capacity 32MiB --parity 1")?;
    source.power_off()?;
    let data = of_role(&said, "data");
    let [lost, came] = data.as_slice() else { anyhow::bail!("two data drives: {said}") };
    ensure!(of_role(&said, "parity").len() == 1, "one parity drive: {said}");

    let disk = lab.image("dock", 300)?;
    let at = SERIALS.iter().position(|serial| serial == came).context("whose drive is it")?;
    let image = drives.get(at).context("no such image")?;
    let spec = Spec::new().drive(Drive::new(&disk, Controller::Virtio, "DOCK"));
    let spec = spec.drive(Drive::new(image, Controller::Ahci, came));
    let mut dock = lab.boot(spec.reaches(site.port))?;
    set::disk(&mut dock, "DOCK")?;
    dock.put("/disk/dock.json", 0o600, &site.dock)?;
    let dock_options = "--credentials /disk/dock.json --state /disk/dock";
    dock.done(&format!(
        "packmule dock receive --tracking VM-1234567 {dock_options} --drive {came}"
    ))?;
    let said = dock.done(&format!("packmule --json dock run --once {dock_options}"))?;
    ensure!(said.contains("\"state\":\"Completed\""), "what came was not taken in whole: {said}");
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
    let of_it = wanted.iter().all(|it| is(it, "was_on", lost) && is(it, "state", "wanted"));
    ensure!(of_it, "something else is wanted: {}", status.all());
    // All that came was read: the next backup makes the seed whole.
    let stored = agent(&mut again, "backup now files")?;
    ensure!(stored.contains("\"outcome\":\"stored\""), "{stored}");
    agent(&mut again, "restore files --target /disk/restored")?;
    set::same(&mut again, &files)?;
    again.power_off()
}

fn of_role(said: &str, role: &str) -> Vec<String> {
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let drives = lines.filter(|it| is(it, "message_type", "drive") && is(it, "role", role));
    drives.filter_map(|drive| drive.get("serial")?.as_str().map(str::to_owned)).collect()
}

fn is(object: &Value, member: &str, value: &str) -> bool {
    object.get(member).is_some_and(|found| found == value)
}
