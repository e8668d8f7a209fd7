//! LUKS2 with the parameters of our drives, by `cryptsetup` itself: written by one machine, read by
//! another, and in use for everybody else while it is open.

use super::super::drive::{Controller, Drive};
use super::super::lab::Lab;
use super::super::machine::{Machine, Spec};
use super::list::usage;
use anyhow::ensure;
use std::fs::File;
use std::io::Read;

/// Eight groups of six digits, as drives have them.
const PASSWORD: &[u8] = b"000011-000022-000033-000044-000055-000066-000077-000088";
const SERIAL: &str = "LUKS1";

/// Formats: Argon2id at 64 MiB, no more rounds than it must have: an emulated processor is slow.
pub(super) const FORMAT: &str = "cryptsetup luksFormat --batch-mode --type luks2 --pbkdf argon2id \
    --pbkdf-memory 65536 --pbkdf-parallel 1 --pbkdf-force-iterations 4 --key-file -";

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let image = lab.image("drive", 300)?;
    let spec = || Spec::new().drive(Drive::new(&image, Controller::Ahci, SERIAL));
    let mut first = lab.boot(spec())?;
    let device = first.device(SERIAL)?;
    let written = write(&mut first, &device)?;
    first.power_off()?;
    let mut start = [0; 4];
    File::open(image.path())?.read_exact(&mut start)?;
    ensure!(&start == b"LUKS", "the drive begins with {start:?}");

    let mut second = lab.boot(spec())?;
    let device = second.device(SERIAL)?;
    second.done(&format!("blockdev --setro {device}"))?;
    let wrong =
        second.run_with(&format!("cryptsetup open --readonly --key-file - {device} in"), b"no")?;
    ensure!(wrong.code != 0, "a wrong password opens the drive");
    second.done_with(&format!("cryptsetup open --readonly --key-file - {device} in"), PASSWORD)?;
    second.done("mount -o ro,noload,nodev,noexec,nosuid /dev/mapper/in /mnt")?;
    let read = second.done("cd /mnt && sha256sum 1 2 3")?;
    ensure!(read == written, "what is read is not what was written:\n{read}{written}");
    ensure!(second.run("touch /mnt/new")?.code != 0, "the drive takes writes");
    second.power_off()
}

/// Writes files, and tells their hashes. The drive is closed afterwards.
fn write(machine: &mut Machine, device: &str) -> anyhow::Result<String> {
    ensure!(usage(machine, SERIAL)?.is_empty(), "a new drive is in use");
    machine.done_with(&format!("{FORMAT} {device}"), PASSWORD)?;
    machine.done_with(&format!("cryptsetup open --key-file - {device} out"), PASSWORD)?;
    let open = usage(machine, SERIAL)?;
    ensure!(open == ["dm-0 is made of it"], "an open drive is used by {open:?}");
    machine.done("mkfs.ext4 -q -m 0 /dev/mapper/out && mount /dev/mapper/out /mnt")?;
    machine.done("for n in 1 2 3; do head -c 5000000 /dev/urandom >/mnt/$n; done")?;
    let written = machine.done("cd /mnt && sha256sum 1 2 3")?;
    machine.done("umount /mnt && cryptsetup close out")?;
    let closed = usage(machine, SERIAL)?;
    ensure!(closed.is_empty(), "a closed drive is used by {closed:?}");
    Ok(written)
}
