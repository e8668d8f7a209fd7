//! The whole journey with encrypted drives: a server on the host, a source server and a dock as machines
//! of their own, an import job between them. A drive that no job knows lies at the dock, too.

use super::super::drive::{Controller, Drive};
use super::super::lab::Lab;
use super::super::machine::Machine;
use super::set::{self, SERIALS};
use super::site::Site;
use super::standalone::with;
use anyhow::ensure;

const STRANGER: &str = "STRANGER";

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let site = Site::start(lab)?;
    let (staging, drives) = (lab.image("staging", 400)?, set::images(lab)?);
    let mut first = lab.boot(with(&staging, "STAGING", &drives).reaches(site.port))?;
    let (files, _) = prepare(&mut first, &site, "--capacity 24MiB")?;
    first.power_off()?;

    let stranger = lab.image("stranger", 300)?;
    let disk = lab.image("dock", 300)?;
    let at_dock = || {
        let spec = with(&disk, "DOCK", &drives).reaches(site.port);
        spec.drive(Drive::new(&stranger, Controller::Usb, STRANGER))
    };
    let mut dock = lab.boot(at_dock())?;
    let untouched = std::fs::read(stranger.path())?;
    take_in(&mut dock, &site)?;
    ensure!(std::fs::read(stranger.path())? == untouched, "the stranger's drive was written to");
    refuse_to_wipe(&mut dock)?;

    let mut again = lab.boot(with(&staging, "STAGING", &[]).reaches(site.port))?;
    publish(&mut again, &files)?;
    again.power_off()?;
    wipe(&mut dock)?;
    dock.power_off()
}

/// Registers, and backs up into staging. Tells the files' hashes.
pub(super) fn stage(source: &mut Machine, site: &Site) -> anyhow::Result<String> {
    set::disk(source, "STAGING")?;
    let files = set::files(source, 9_000_000)?;
    source.put("/disk/fs01.json", 0o600, &site.agent)?;
    agent(source, "agent register --credentials /disk/fs01.json")?;
    agent(
        source,
        "group create files --path /disk/data --staging /disk/staging --import-job seed-vm \
         --storage-account seedacct --container seeds",
    )?;
    agent(source, "backup now files")?;
    Ok(files)
}

/// The same, writes the drives, announces and ships the job. Tells the files' hashes, and what was said of the drives.
pub(super) fn prepare(
    source: &mut Machine,
    site: &Site,
    flags: &str,
) -> anyhow::Result<(String, String)> {
    let files = stage(source, site)?;
    let devices = set::devices(source, &SERIALS)?;
    refuse_too_early(source, &devices)?;
    let said = agent(
        source,
        &format!("diskprep s:/disk/staging --yes --virtual-machine {flags} --drive {devices}"),
    )?;
    set::is_complete(&said)?;
    ship(source, "--tracking VM-1234567")?;
    Ok((files, said))
}

/// Gives the shipping details.
pub(super) fn ship(source: &mut Machine, flags: &str) -> anyhow::Result<()> {
    agent(
        source,
        &format!(
            "diskprep u: --yes --carrier FedEx {flags} --recipient Archive --street Quay \
             --city Porto --postal-code 4000 --country PT --phone 1 --email a@example.org"
        ),
    )
    .map(|_| ())
}

/// Nothing is formatted for a seed that is not whole yet: a group has no first backup.
fn refuse_too_early(source: &mut Machine, devices: &str) -> anyhow::Result<()> {
    agent(
        source,
        "group create more --path /disk/data/small --staging /disk/staging --import-job seed-vm \
         --storage-account seedacct --container seeds",
    )?;
    let said = source.run(&format!(
        "PACKMULE_PASSWORD=open-sesame-vm-01 packmule diskprep s:/disk/staging --yes --virtual-machine --drive {devices} --state /disk/agent"
    ))?;
    ensure!(said.code != 0 && said.all().contains("more"), "{}", said.all());
    let guest = source.run(&format!(
        "PACKMULE_PASSWORD=open-sesame-vm-01 packmule diskprep s:/disk/staging --yes --drive {devices} --state /disk/agent"
    ))?;
    ensure!(guest.code == 13 && guest.all().contains("virtual machine"), "{}", guest.all());
    for serial in SERIALS {
        let device = source.device(serial)?;
        ensure!(source.run(&format!("blkid -p {device}"))?.code == 2, "{device} was written to");
    }
    agent(source, "backup now more").map(|_| ())
}

/// A command of the source server; what it says in JSON.
pub(super) fn agent(source: &mut Machine, words: &str) -> anyhow::Result<String> {
    source.done(&format!(
        "PACKMULE_PASSWORD=open-sesame-vm-01 packmule --json {words} --state /disk/agent"
    ))
}

fn take_in(dock: &mut Machine, site: &Site) -> anyhow::Result<()> {
    set::disk(dock, "DOCK")?;
    dock.device(STRANGER)?;
    dock.put("/disk/dock.json", 0o600, &site.dock)?;
    let run = "packmule --json dock run --once --credentials /disk/dock.json --state /disk/dock";
    let early = dock.done(run)?;
    ensure!(early.contains("packmule dock receive --tracking VM1234567"), "{early}");
    dock.done("packmule dock receive --tracking VM-1234567 --credentials /disk/dock.json --state /disk/dock")?;
    let said = dock.done(run)?;
    for serial in SERIALS {
        let whole = said.lines().any(|line| {
            line.contains("\"message_type\":\"drive\"")
                && line.contains(serial)
                && line.contains("\"state\":\"Completed\"")
        });
        ensure!(whole, "{serial} was not taken in whole: {said}");
    }
    let left_alone = set::object(&said, "left_alone")?;
    ensure!(said.contains(STRANGER), "nothing is said of the stranger: {left_alone}");
    Ok(())
}

fn refuse_to_wipe(dock: &mut Machine) -> anyhow::Result<()> {
    let device = dock.device(SERIALS[0])?;
    let said = dock.run(&format!(
        "packmule dock wipe --yes --credentials /disk/dock.json --state /disk/dock --drive {device}"
    ))?;
    ensure!(said.code != 0 && said.all().contains("receipt"), "{}", said.all());
    ensure!(dock.run(&format!("cryptsetup isLuks {device}1"))?.code == 0, "it was wiped");
    Ok(())
}

/// The next backup publishes what has landed, and goes on over the network.
fn publish(source: &mut Machine, files: &str) -> anyhow::Result<()> {
    set::disk_again(source, "STAGING")?;
    agent(source, "backup now files")?;
    agent(source, "restore files --target /disk/restored")?;
    set::same(source, files)
}

fn wipe(dock: &mut Machine) -> anyhow::Result<()> {
    for serial in SERIALS {
        let device = dock.device(serial)?;
        dock.done(&format!(
            "packmule dock wipe --yes --credentials /disk/dock.json --state /disk/dock --drive {device}"
        ))?;
        ensure!(dock.run(&format!("blkid -p {device}"))?.code == 2, "{serial} still has marks");
    }
    Ok(())
}
