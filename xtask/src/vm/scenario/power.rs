//! The power is cut while ext4 on LUKS is written. What a writer was told is safe is there
//! afterwards, byte by byte; the journal is recovered, and the file system is whole.
//!
//! Not cut here: what the guest had handed to its drive. A drive that forgets what it had not yet
//! flushed is another one than QEMU plays.

use super::super::drive::{Controller, Drive};
use super::super::lab::Lab;
use super::super::machine::Spec;
use super::luks::FORMAT;
use anyhow::ensure;

const PASSWORD: &[u8] = b"000011-000022-000033-000044-000055-000066-000077-000088";
const SERIAL: &str = "POWER1";

/// Writes files for ever, and notes the hash of each when it is safe.
const WRITER: &str = "n=0; while :; do n=$((n+1)); head -c 300000 /dev/urandom >/mnt/$n || exit 1; \
    sync /mnt/$n /mnt || exit 1; (cd /mnt && sha256sum $n) >>/tmp/safe; done";

/// How many must be safe before the power goes.
const SAFE: usize = 10;

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let image = lab.image("drive", 300)?;
    let spec = || Spec::new().drive(Drive::new(&image, Controller::Virtio, SERIAL));
    let mut first = lab.boot(spec())?;
    let device = first.device(SERIAL)?;
    first.done_with(&format!("{FORMAT} {device}"), PASSWORD)?;
    first.done_with(&format!("cryptsetup open --key-file - {device} drive"), PASSWORD)?;
    first.done("mkfs.ext4 -q /dev/mapper/drive && mount /dev/mapper/drive /mnt")?;
    let writer = first.begin(WRITER)?;
    first.until(&format!("[ $(wc -l </tmp/safe) -ge {SAFE} ]"))?;
    let safe = first.get("/tmp/safe")?;
    ensure!(first.ended(&writer)?.is_none(), "nobody writes any more");
    first.power_cut();

    let mut second = lab.boot(spec())?;
    let device = second.device(SERIAL)?;
    second.done_with(&format!("cryptsetup open --key-file - {device} drive"), PASSWORD)?;
    let before = second.done("dumpe2fs -h /dev/mapper/drive 2>/dev/null | grep features")?;
    ensure!(before.contains("needs_recovery"), "the journal is empty: {before}");
    second.done("mount /dev/mapper/drive /mnt")?;
    let messages = second.done("dmesg")?;
    ensure!(messages.contains("recovery complete"), "no journal was recovered");
    second.put("/tmp/safe", 0o600, &safe)?;
    second.done("cd /mnt && sha256sum -c /tmp/safe")?;
    second.done("umount /mnt && e2fsck -f -n /dev/mapper/drive")?;
    second.power_off()
}
