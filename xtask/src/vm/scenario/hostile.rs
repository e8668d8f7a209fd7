//! Drives that somebody has made to harm the one who takes them in: a copy that says the same serial number,
//! a copy that says another, an encrypted one with links, devices and enormous files where objects should
//! be. Nothing outside the destination is touched, everything sound arrives, and the rest is named.

use super::super::drive::{Controller, Drive, Image};
use super::super::lab::Lab;
use super::super::machine::{Machine, Spec};
use super::set::{self, SERIALS};
use super::standalone::with;
use anyhow::{Context, ensure};
use serde_json::Value;

/// What a copy is called here, whatever it says.
const TWIN: &str = "TWIN";
const OTHER: &str = "OTHER";

/// In the way of memory: far more than a dock takes, far less than the drives claim. In KiB.
const MEMORY: &str = "ulimit -v 3000000";

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let [one, two, three] = SERIALS;
    let (staging, images) = (lab.image("staging", 400)?, set::images(lab)?);
    let mut source = lab.boot(with(&staging, "STAGING", &images))?;
    set::disk(&mut source, "STAGING")?;
    let files = set::back_up(&mut source)?;
    let prepare = set::prepare(&mut source, &SERIALS, "--yes")?;
    set::is_complete(&source.done(&prepare)?)?;
    source.power_off()?;

    let good: Vec<Image> = images
        .iter()
        .zip(SERIALS)
        .map(|(image, serial)| copy(lab, image, serial))
        .collect::<Result<_, _>>()?;
    let [copied, ..] = good.as_slice() else { anyhow::bail!("there are no drives") };
    let (twin, other) = (copy(lab, copied, TWIN)?, copy(lab, copied, OTHER)?);
    let usb = |image: &Image, name: &str| Drive::new(image, Controller::Usb, name);
    let spec = with(&staging, "STAGING", &images);
    let spec = spec.drive(usb(&twin, TWIN).saying(one)).drive(usb(&other, OTHER));
    let mut dock = lab.boot(spec)?;
    set::disk_again(&mut dock, "STAGING")?;
    refuse_the_twin(&mut dock, one)?;
    refuse_another_serial(&mut dock, one)?;
    dock.pull(TWIN)?;
    dock.pull(OTHER)?;

    dock.done("mkdir -p /disk/outside && echo mine >/disk/outside/file")?;
    let outside = dock.done("ls -la /disk/outside | grep -v ' \\.' && cat /disk/outside/file")?;
    let spoilt = spoil_objects(&mut dock, two)?;
    spoil_manifest(&mut dock, three)?;
    let take_in = set::take_in(&mut dock, &SERIALS)?;
    let said = dock.run(&format!("{MEMORY}; {take_in}"))?;
    ensure!(said.code != 0 && said.code < 128, "it is not refused: {}", said.all());
    let drive = set::object(&said.text(), "drive")?;
    ensure!(said.all().contains(three), "nothing is said of {three}: {drive}");
    let missing = dock.run("packmule --json seed missing --into /disk/taken")?;
    ensure!(missing.code == 13, "{}", missing.all());
    for object in &spoilt {
        ensure!(missing.text().contains(object), "{object} is not named: {}", missing.text());
    }
    let after = dock.done("ls -la /disk/outside | grep -v ' \\.' && cat /disk/outside/file")?;
    ensure!(after == outside, "outside of the destination: {after}");
    dock.done("[ -z \"$(find /disk/taken ! -type f ! -type d)\" ]")?;
    dock.power_off()?;

    // What was sound has arrived: the other two are enough.
    let spec = Spec::new().drive(Drive::new(&staging, Controller::Virtio, "STAGING"));
    let rest = good.iter().zip(SERIALS).skip(1);
    let mut dock = lab.boot(rest.fold(spec, |spec, (image, serial)| {
        spec.drive(Drive::new(image, Controller::Ahci, serial))
    }))?;
    set::disk_again(&mut dock, "STAGING")?;
    let take_in = set::take_in(&mut dock, &[two, three])?;
    dock.done(&take_in)?;
    set::compare(&mut dock, "/disk/taken", &files)?;
    dock.power_off()
}

fn copy(lab: &Lab<'_>, image: &Image, name: &str) -> anyhow::Result<Image> {
    let copy = lab.image(&format!("{name}-copy"), 0)?;
    std::fs::copy(image.path(), copy.path()).context("cannot copy a drive")?;
    Ok(copy)
}

/// Two drives that say one serial number: neither is written, as nobody can tell which is meant, and they
/// are not read together.
fn refuse_the_twin(dock: &mut Machine, serial: &str) -> anyhow::Result<()> {
    let prepare = set::prepare(dock, &[serial], "--yes --unsuitable")?;
    let said = dock.run(&prepare)?;
    ensure!(said.code == 13 && said.all().contains("same serial number"), "{}", said.all());
    let devices = super::list::devices(dock)?;
    let says = |device: &&Value| device.get("serial").is_some_and(|says| says == serial);
    let path = |device: &Value| Some(device.get("path")?.as_str()?.to_owned());
    let both: Vec<String> = devices.iter().filter(says).filter_map(path).collect();
    ensure!(both.len() == 2, "not two drives say {serial}: {both:?}");
    let said = dock.run(&format!(
        "packmule --json seed import --into /disk/taken --state /disk/state --drive {}",
        both.join(" --drive ")
    ))?;
    ensure!(said.code != 0 && said.all().contains(serial), "{}", said.all());
    ensure!(dock.run("ls /disk/taken/config")?.code != 0, "it was read");
    Ok(())
}

/// A drive that says another number than its content: even who has the password is told.
fn refuse_another_serial(dock: &mut Machine, serial: &str) -> anyhow::Result<()> {
    let device = dock.device(OTHER)?;
    let keys = dock.done(&format!(
        "packmule drive key --state /disk/state | sed -n 's/^{serial} /{OTHER} /p'"
    ))?;
    dock.put("/keys", 0o600, keys.as_bytes())?;
    let said = dock
        .run(&format!("packmule seed import --into /disk/taken --keys /keys --drive {device}"))?;
    ensure!(said.code != 0 && said.all().contains(serial), "{}", said.all());
    Ok(())
}

/// Opens a drive as its owner can, and changes what is on it.
fn change(dock: &mut Machine, serial: &str, script: &str) -> anyhow::Result<String> {
    let device = dock.device(serial)?;
    dock.done(&format!(
        "packmule drive key --state /disk/state | sed -n 's/^{serial} //p' | tr -d '\\n' | \
         cryptsetup open --key-file - {device}1 spoilt && mount /dev/mapper/spoilt /mnt"
    ))?;
    let said = dock.done(script)?;
    dock.done("umount /mnt && cryptsetup close spoilt")?;
    Ok(said)
}

/// Two objects become a link to a file outside and a device that never ends; beside them lies what nobody
/// has asked for.
fn spoil_objects(dock: &mut Machine, serial: &str) -> anyhow::Result<Vec<String>> {
    let said = change(
        dock,
        serial,
        "cd /mnt && set -- $(find . -path '*/data/*' -type f | head -n 2) && rm $1 $2 && \
         ln -s /disk/outside/file $1 && mknod $2 c 1 5 && mkfifo packmule/pipe pipe && \
         ln -s /disk/outside escape && truncate -s 12G enormous && \
         d=.; for n in $(seq 60); do d=$d/deep; done; mkdir -p $d && \
         touch $(printf 'n%.0s' $(seq 250)) && basename $1 && basename $2",
    )?;
    let names: Vec<String> = said.lines().map(str::to_owned).collect();
    ensure!(names.len() == 2, "not two objects: {said}");
    Ok(names)
}

/// The list of what is on the drive goes on for ever.
fn spoil_manifest(dock: &mut Machine, serial: &str) -> anyhow::Result<()> {
    change(dock, serial, "truncate -s 12G /mnt/packmule/manifest").map(|_| ())
}
