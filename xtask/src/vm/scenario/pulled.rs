//! Drives that are pulled while they are written: virtio's, whose driver is asked to let go, and
//! USB's, which are simply gone. Whoever writes gets an error, the machine goes on, and a drive that
//! is plugged in again is there again.

use super::super::drive::{Controller, Drive};
use super::super::lab::Lab;
use super::super::machine::{Machine, Spec};
use super::list::serials;
use anyhow::ensure;

/// Slow enough that nobody is done before the drive is pulled: 300 MiB take minutes.
const BYTES_A_SECOND: u64 = 1 << 20;

/// What must have been written by then, in sectors.
const BEGUN: u32 = 1024;

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let mut machine = lab.boot(Spec::new())?;
    for (controller, serial) in [(Controller::Virtio, "PULLED-V"), (Controller::Usb, "PULLED-U")] {
        let image = lab.image(serial, 300)?;
        let drive = Drive::new(&image, controller, serial);
        machine.plug(drive.clone())?;
        pull_while_written(&mut machine, serial)?;
        ensure!(!serials(&mut machine)?.contains(&serial.to_owned()), "{serial} is still listed");
        machine.plug(drive)?;
        let device = machine.device(serial)?;
        ensure!(serials(&mut machine)?.contains(&serial.to_owned()), "{serial} is not listed");
        let text = machine.done(&format!("head -c 8 {device}"))?;
        ensure!(text == "written\n", "{serial} begins with {text:?}");
    }
    machine.power_off()
}

fn pull_while_written(machine: &mut Machine, serial: &str) -> anyhow::Result<()> {
    let device = machine.device(serial)?;
    machine.throttle(serial, BYTES_A_SECOND)?;
    let job = machine
        .begin(&format!("yes written | dd of={device} bs=64k iflag=fullblock oflag=direct"))?;
    let name = device.trim_start_matches("/dev/");
    // The seventh number is that of sectors written (Linux, Documentation/block/stat.rst).
    machine.until(&format!("[ $(awk '{{ print $7 }}' /sys/block/{name}/stat) -gt {BEGUN} ]"))?;
    ensure!(machine.ended(&job)?.is_none(), "the writer is done too early");
    machine.pull(serial)?;
    let said = machine.wait(&job)?;
    ensure!(said.code != 0, "the writer does not fail: {}", said.all());
    let told = ["Input/output error", "No such device", "No space left on device"];
    ensure!(told.iter().any(|told| said.all().contains(told)), "it fails by {}", said.all());
    machine.until(&format!("[ ! -e {device} ]"))
}
