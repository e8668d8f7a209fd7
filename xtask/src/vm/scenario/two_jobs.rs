//! A seed that travels in two parcels, each an import job of its own. The second one lands first, and nothing is visible
//! before the first one has.

use super::super::drive::{Controller, Drive, Image};
use super::super::lab::Lab;
use super::super::machine::Spec;
use super::journey::{agent, ship, stage};
use super::set::{self, SERIALS};
use super::site::Site;
use super::standalone::with;
use anyhow::{Context, ensure};
use serde_json::Value;

const DOCK: &str = "--credentials /disk/dock.json --state /disk/dock";

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let site = Site::start(lab)?;
    let (staging, drives) = (lab.image("staging", 400)?, set::images(lab)?);
    let mut source = lab.boot(with(&staging, "STAGING", &drives).reaches(site.port))?;
    let files = stage(&mut source, &site)?;
    let devices = set::devices(&mut source, &SERIALS)?;
    let devices: Vec<&str> = devices.split(" --drive ").collect();
    let [one, two, three] = devices.as_slice() else { anyhow::bail!("{devices:?}") };
    let write = "diskprep s:/disk/staging --yes --virtual-machine --capacity 24MiB --set-drives 2";
    let too_many = source.run(&format!(
        "PACKMULE_PASSWORD=open-sesame-vm-01 packmule {write} --drive {one} {two} {three} --state /disk/agent"
    ))?;
    ensure!(too_many.code != 0 && too_many.all().contains("at most 2"), "{}", too_many.all());
    let full = source.run(&format!(
        "PACKMULE_PASSWORD=open-sesame-vm-01 packmule --json {write} --drive {one} --drive {two} --state /disk/agent"
    ))?;
    ensure!(full.code == 13, "the next set's drives are not asked for: {}", full.all());
    let first = job_of(&full.all())?;
    let said = agent(&mut source, &format!("{write} --drive {three}"))?;
    set::is_complete(&said)?;
    let second = job_of(&said)?;
    ensure!(first != second, "one job for both: {first}");
    ship(&mut source, &format!("--job {first} --tracking VM-1234567"))?;
    ship(&mut source, &format!("--job {second} --tracking VM-7654321"))?;
    source.power_off()?;

    let disk = lab.image("dock", 300)?;
    arrives(lab, &site, &disk, (&drives, 2..3), "VM-7654321", true)?;
    let mut waiting = lab.boot(with(&staging, "STAGING", &[]).reaches(site.port))?;
    set::disk_again(&mut waiting, "STAGING")?;
    let said = agent(&mut waiting, "backup now files")?;
    ensure!(said.contains("\"outcome\":\"waiting\""), "half a seed counts: {said}");
    waiting.power_off()?;

    arrives(lab, &site, &disk, (&drives, 0..2), "VM-1234567", false)?;
    let mut again = lab.boot(with(&staging, "STAGING", &[]).reaches(site.port))?;
    set::disk_again(&mut again, "STAGING")?;
    let said = agent(&mut again, "backup now files")?;
    ensure!(said.contains("\"outcome\":\"stored\""), "{said}");
    agent(&mut again, "restore files --target /disk/restored")?;
    set::same(&mut again, &files)?;
    again.power_off()
}

/// One parcel at the dock, which takes all of it in.
fn arrives(
    lab: &Lab<'_>,
    site: &Site,
    disk: &Image,
    (drives, which): (&[Image], std::ops::Range<usize>),
    tracking: &str,
    is_new: bool,
) -> anyhow::Result<()> {
    let mut spec = Spec::new().drive(Drive::new(disk, Controller::Virtio, "DOCK"));
    let serials = SERIALS.get(which.clone()).context("no such drives")?;
    for (image, serial) in drives.get(which).context("no such drives")?.iter().zip(serials) {
        spec = spec.drive(Drive::new(image, Controller::Ahci, serial));
    }
    let mut dock = lab.boot(spec.reaches(site.port))?;
    if is_new {
        set::disk(&mut dock, "DOCK")?;
        dock.put("/disk/dock.json", 0o600, &site.dock)?;
    } else {
        set::disk_again(&mut dock, "DOCK")?;
    }
    dock.done(&format!("packmule dock receive --tracking {tracking} {DOCK}"))?;
    let said = dock.done(&format!("packmule --json dock run --once {DOCK}"))?;
    for serial in serials {
        let whole = said.lines().any(|line| {
            line.contains("\"message_type\":\"drive\"")
                && line.contains(serial)
                && line.contains("\"state\":\"Completed\"")
        });
        ensure!(whole, "{serial} was not taken in whole: {said}");
    }
    dock.power_off()
}

fn job_of(said: &str) -> anyhow::Result<String> {
    let summary = set::object(said, "summary")?;
    let job = summary.get("job").and_then(Value::as_str);
    Ok(job.with_context(|| format!("no job: {said}"))?.to_owned())
}
