//! A backup straight onto encrypted drives: the first one is pulled half-way, the second one takes everything, and a
//! folder that never had a staging location gets all of it.

use super::super::drive::{Controller, Drive};
use super::super::lab::Lab;
use super::super::machine::Spec;
use super::mishaps::patiently;
use super::set::{self, SERIALS};
use anyhow::ensure;

/// Fast enough for formatting, and slow enough that nobody is done before it is noticed that he has begun.
const STEADY: u64 = 3 << 20;

/// Slow enough that nobody is done before the drive is pulled: 23 MB are written and read back.
const BYTES_A_SECOND: u64 = 512 << 10;

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let source = lab.image("source", 500)?;
    let [victim, next, _] = SERIALS;
    let spec = Spec::new().drive(Drive::new(&source, Controller::Virtio, "SOURCE"));
    let (first, second) = (lab.image(victim, 300)?, lab.image(next, 300)?);
    let mut machine =
        lab.boot(spec.drive(Drive::new(&first, Controller::Usb, victim)).drive(Drive::new(
            &second,
            Controller::Usb,
            next,
        )))?;
    set::disk(&mut machine, "SOURCE")?;
    let files = set::files(&mut machine, 4_600_000)?;
    let devices = set::devices(&mut machine, &[victim, next])?;
    machine.throttle(victim, STEADY)?;
    // The larger one comes first; a pack or two are in memory at a time.
    let job = machine.begin(&format!(
        "PACKMULE_PASSWORD=open-sesame-vm-01 packmule --json seed backup /disk/data --state /disk/state \
         --pack-size 4MiB --window 8MiB --capacity 200MiB,190MiB --yes --unsuitable --drive {devices}"
    ))?;
    let folder = format!("/run/packmule/drives/{victim}");
    patiently(&mut machine, &format!("[ -e {folder}/packmule/label ]"))?;
    machine.throttle(victim, BYTES_A_SECOND)?;
    // One at least was read back when the next one has its name.
    let named = format!("[ $(find {folder}/repositories -type f | wc -l) -gt 1 ]");
    patiently(&mut machine, &named)?;
    ensure!(machine.ended(&job)?.is_none(), "it is done too early");
    machine.pull(victim)?;
    let said = machine.wait(&job)?;
    ensure!(said.code == 0, "{}", said.all());
    set::is_complete(&said.all())?;
    ensure!(said.all().contains("backed up again"), "nobody has noticed: {}", said.all());

    let take_in = set::take_in(&mut machine, &[next])?;
    machine.done(&take_in)?;
    set::compare(&mut machine, "/disk/taken", &files)?;
    machine.power_off()
}
