//! What goes wrong with real drives while a set is written and taken in: pulled, power cut, broken. Every
//! time the same command goes on, or says what is missing, and in the end nothing is.

use super::super::drive::{Access, Controller, Drive, Image};
use super::super::lab::Lab;
use super::super::machine::{Machine, Spec};
use super::set::{self, SERIALS};
use super::standalone::with;
use anyhow::ensure;

/// Fast enough for formatting, and slow enough that nobody is done before it is noticed that he has begun.
const STEADY: u64 = 3 << 20;

/// Slow enough that nobody is done before something happens.
const BYTES_A_SECOND: u64 = 512 << 10;

/// In sectors: a drive is in the middle of its objects by then.
const BEGUN: u64 = (2 << 20) / 512;

fn on_usb(image: &Image, serial: &str) -> Drive {
    Drive::new(image, Controller::Usb, serial)
}

/// One drive is pulled while it is written, and while it is read, and put in again each time.
pub(super) fn pulled(lab: &Lab<'_>) -> anyhow::Result<()> {
    let (staging, images) = (lab.image("staging", 500)?, set::images(lab)?);
    let [victim, ..] = SERIALS;
    let spec = Spec::new().drive(Drive::new(&staging, Controller::Virtio, "STAGING"));
    let drives = SERIALS.iter().zip(&images);
    let mut machine =
        lab.boot(drives.fold(spec, |spec, (serial, image)| spec.drive(on_usb(image, serial))))?;
    set::disk(&mut machine, "STAGING")?;
    let files = set::back_up(&mut machine)?;
    let prepare = set::prepare(&mut machine, &SERIALS, "--yes --unsuitable")?;
    let said = pull_while(&mut machine, victim, &prepare, Counter::Written)?;
    let summary = set::object(&said, "summary")?;
    let complete = summary.get("complete").is_some_and(|complete| *complete == true);
    ensure!(said.contains(victim) && !complete, "{said}");
    put_in_again(&mut machine, &images, victim)?;
    let prepare = set::prepare(&mut machine, &SERIALS, "--yes --unsuitable")?;
    set::is_complete(&machine.done(&prepare)?)?;

    let take_in = set::take_in(&mut machine, &SERIALS)?;
    let said = pull_while(&mut machine, victim, &take_in, Counter::Read)?;
    ensure!(!said.contains("\"message_type\":\"published\""), "{said}");
    put_in_again(&mut machine, &images, victim)?;
    let take_in = set::take_in(&mut machine, &[victim])?;
    machine.done(&take_in)?;
    set::compare(&mut machine, "/disk/taken", &files)?;
    machine.power_off()
}

/// What a drive has done so far, by the numbers of Linux' Documentation/block/stat.rst.
#[derive(Clone, Copy)]
enum Counter {
    Read,
    Written,
}

/// Pulls a drive in the middle of a command, which must fail; answers what it says.
fn pull_while(
    machine: &mut Machine,
    serial: &str,
    command: &str,
    counter: Counter,
) -> anyhow::Result<String> {
    let device = machine.device(serial)?;
    let stat = format!("/sys/block/{}/stat", device.trim_start_matches("/dev/"));
    let field = match counter {
        Counter::Read => 3,
        Counter::Written => 7,
    };
    let value = format!("awk '{{ print ${field} }}' {stat}");
    machine.throttle(serial, STEADY)?;
    let job = machine.begin(command)?;
    // It is mounted, and its objects' turn has come.
    let begun = match counter {
        Counter::Read => format!("[ -e /run/packmule/drives/{serial}/packmule/manifest ]"),
        Counter::Written => format!("[ -e /run/packmule/drives/{serial}/packmule/label ]"),
    };
    patiently(machine, &begun)?;
    machine.throttle(serial, BYTES_A_SECOND)?;
    let before: u64 = machine.done(&value)?.trim().parse()?;
    machine.until(&format!("[ $({value}) -gt {} ]", before + BEGUN))?;
    ensure!(machine.ended(&job)?.is_none(), "it is done too early");
    machine.pull(serial)?;
    let said = machine.wait(&job)?;
    ensure!(said.code != 0, "nobody has noticed: {}", said.all());
    Ok(said.all())
}

/// Formatting three drives takes an emulated processor minutes when it has others beside it.
pub(super) fn patiently(machine: &mut Machine, script: &str) -> anyhow::Result<()> {
    let mut waited = machine.until(script);
    for _ in 0..4 {
        waited = waited.or_else(|_| machine.until(script));
    }
    waited
}

fn put_in_again(machine: &mut Machine, images: &[Image], serial: &str) -> anyhow::Result<()> {
    let at = SERIALS.iter().position(|other| *other == serial).unwrap_or_default();
    let Some(image) = images.get(at) else { anyhow::bail!("there is no image of {serial}") };
    machine.plug(on_usb(image, serial))?;
    machine.device(serial).map(|_| ())
}

/// The power goes while a set is written; after it is back the same command goes on.
pub(super) fn cut(lab: &Lab<'_>) -> anyhow::Result<()> {
    let (staging, drives) = (lab.image("staging", 500)?, set::images(lab)?);
    let mut machine = lab.boot(with(&staging, "STAGING", &drives))?;
    set::disk(&mut machine, "STAGING")?;
    let files = set::back_up(&mut machine)?;
    machine.done("sync")?;
    let prepare = set::prepare(&mut machine, &SERIALS, "--yes")?;
    for serial in SERIALS {
        machine.throttle(serial, STEADY)?;
    }
    machine.begin(&prepare)?;
    // Labels are there, and objects are on their way.
    patiently(&mut machine, "ls /run/packmule/drives/*/packmule/label >/dev/null 2>&1")?;
    for serial in SERIALS {
        machine.throttle(serial, BYTES_A_SECOND)?;
    }
    machine.until("ls /run/packmule/drives/*/packmule/partials/* >/dev/null 2>&1")?;
    machine.power_cut();

    let mut machine = lab.boot(with(&staging, "STAGING", &drives))?;
    set::disk_again(&mut machine, "STAGING")?;
    // Not confirmed again: what is formatted is this set's, and is known as such.
    let prepare = set::prepare(&mut machine, &SERIALS, "")?;
    set::is_complete(&machine.done(&prepare)?)?;
    let take_in = set::take_in(&mut machine, &SERIALS)?;
    machine.done(&take_in)?;
    set::compare(&mut machine, "/disk/taken", &files)?;
    machine.power_off()
}

/// A drive that cannot be written in places is left out; one that cannot be read in places gives what it
/// can, and what it cannot is named.
pub(super) fn worn(lab: &Lab<'_>) -> anyhow::Result<()> {
    let (staging, drives) = (lab.image("staging", 500)?, set::images(lab)?);
    let worn = lab.image("worn", 300)?;
    let spec = with(&staging, "STAGING", &drives);
    let mut machine = lab.boot(spec.drive(wear(&worn, "WORN", Access::Write)))?;
    set::disk(&mut machine, "STAGING")?;
    let files = set::back_up(&mut machine)?;
    let [one, two, three] = SERIALS;
    let prepare = set::prepare(&mut machine, &["WORN", one, two, three], "--yes")?;
    let said = machine.run(&prepare)?;
    ensure!(said.all().contains("WORN"), "{}", said.all());
    set::is_complete(&said.text())?;
    machine.power_off()?;

    let [first, rest @ ..] = drives.as_slice() else { anyhow::bail!("there are no drives") };
    let spec = with(&staging, "STAGING", &[]).drive(wear(first, one, Access::Read));
    let spec = [two, three].iter().zip(rest).fold(spec, |spec, (serial, image)| {
        spec.drive(Drive::new(image, Controller::Ahci, serial))
    });
    let mut machine = lab.boot(spec)?;
    set::disk_again(&mut machine, "STAGING")?;
    let take_in = set::take_in(&mut machine, &SERIALS)?;
    let said = machine.run(&take_in)?;
    ensure!(said.code != 0, "nobody has noticed: {}", said.all());
    let missing = machine.run("packmule --json seed missing --into /disk/taken")?;
    ensure!(missing.code == 13 && missing.text().contains("data/"), "{}", missing.all());
    machine.power_off()?;

    // The same drive, read by a better reader.
    let mut machine = lab.boot(with(&staging, "STAGING", &drives))?;
    set::disk_again(&mut machine, "STAGING")?;
    let take_in = set::take_in(&mut machine, &[one])?;
    machine.done(&take_in)?;
    set::compare(&mut machine, "/disk/taken", &files)?;
    machine.power_off()
}

/// A drive with a bad sector in every MiB where objects lie.
fn wear(image: &Image, serial: &str, access: Access) -> Drive {
    let drive = Drive::new(image, Controller::Ahci, serial);
    (24..56).fold(drive, |drive, mib: u64| drive.broken(access, mib * 2048 + 1024))
}
