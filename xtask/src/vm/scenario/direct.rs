//! Backups straight onto encrypted drives: the first one is pulled half-way, the others take everything, and a folder that never had a
//! staging location gets all of it; with parity, without one of these as well.

use super::super::drive::{Controller, Drive};
use super::super::lab::Lab;
use super::super::machine::{Machine, Spec};
use super::mishaps::patiently;
use super::set::{self, SERIALS};
use anyhow::ensure;

/// Fast enough for formatting, and slow enough that nobody is done before it is noticed that he has begun.
const STEADY: u64 = 3 << 20;

/// Slow enough that nobody is done before the drive is pulled: 23 MB are written and read back.
const BYTES_A_SECOND: u64 = 512 << 10;

/// Without parity.
pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let [victim, next, _] = SERIALS;
    let mut machine = boot(lab, &[victim, next])?;
    let files = set::files(&mut machine, 4_600_000)?;
    // The larger one comes first.
    pull_half_way(&mut machine, victim, &[victim, next], "--capacity 200MiB,190MiB")?;
    let take_in = set::take_in(&mut machine, &[next])?;
    machine.done(&take_in)?;
    set::compare(&mut machine, "/disk/taken", &files)?;
    machine.power_off()
}

/// With a parity drive, which is kept from the beginning; then a second drive of the set never arrives.
pub(super) fn parity(lab: &Lab<'_>) -> anyhow::Result<()> {
    let all = ["SEED-1", "SEED-2", "SEED-3", "SEED-4"];
    let [victim, one, other, parity] = all;
    let mut machine = boot(lab, &all)?;
    let files = set::files(&mut machine, 4_600_000)?;
    // The largest is kept for parity, the next one is filled first; of the others none holds everything.
    let said =
        pull_half_way(&mut machine, victim, &all, "--parity 1 --capacity 40MiB,20MiB,20MiB,60MiB")?;
    for (serial, role) in [(one, "data"), (other, "data"), (parity, "parity")] {
        let is = said.lines().any(|line| {
            line.contains(&format!("\"serial\":\"{serial}\""))
                && line.contains(&format!("\"role\":\"{role}\""))
        });
        ensure!(is, "{serial} has no {role}: {said}");
    }
    let take_in = set::take_in(&mut machine, &[other, parity])?;
    machine.done(&take_in)?;
    set::compare(&mut machine, "/disk/taken", &files)?;
    machine.power_off()
}

/// A machine with a disk of its own, and empty drives that can be pulled.
fn boot(lab: &Lab<'_>, serials: &[&str]) -> anyhow::Result<Machine> {
    let source = lab.image("source", 500)?;
    let mut spec = Spec::new().drive(Drive::new(&source, Controller::Virtio, "SOURCE"));
    for serial in serials {
        spec = spec.drive(Drive::new(&lab.image(serial, 300)?, Controller::Usb, serial));
    }
    let mut machine = lab.boot(spec)?;
    set::disk(&mut machine, "SOURCE")?;
    Ok(machine)
}

/// Backs up onto drives, and pulls one in the middle of it. The set is complete all the same; answers what is said.
fn pull_half_way(
    machine: &mut Machine,
    victim: &str,
    serials: &[&str],
    flags: &str,
) -> anyhow::Result<String> {
    let devices = set::devices(machine, serials)?;
    machine.throttle(victim, STEADY)?;
    // A pack or two are in memory at a time.
    let job = machine.begin(&format!(
        "PACKMULE_PASSWORD=open-sesame-vm-01 packmule --json seed backup /disk/data --state /disk/state \
         --pack-size 4MiB --window 8MiB {flags} --yes --unsuitable --drive {devices}"
    ))?;
    let folder = format!("/run/packmule/drives/{victim}");
    patiently(machine, &format!("[ -e {folder}/packmule/label ]"))?;
    machine.throttle(victim, BYTES_A_SECOND)?;
    // One at least was read back when the next one has its name.
    let named = format!("[ $(find {folder}/repositories -type f | wc -l) -gt 1 ]");
    patiently(machine, &named)?;
    ensure!(machine.ended(&job)?.is_none(), "it is done too early");
    machine.pull(victim)?;
    let said = machine.wait(&job)?;
    ensure!(said.code == 0, "{}", said.all());
    set::is_complete(&said.all())?;
    ensure!(said.all().contains("backed up again"), "nobody has noticed: {}", said.all());
    Ok(said.all())
}
