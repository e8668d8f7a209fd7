//! Drives to measure: files behind loop devices with ext4, held to a rate by the kernel.

use crate::process::output;
use anyhow::{Context, ensure};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system. Unmounted, detached and removed when dropped.
pub(in crate::bench) struct Disk {
    /// Where it is mounted.
    pub(in crate::bench) folder: PathBuf,
    image: PathBuf,
    device: String,
}

impl Disk {
    /// One that has room for `size` MiB.
    pub(in crate::bench) fn make(folder: &Path, size: u64) -> anyhow::Result<Self> {
        let image = folder.with_extension("img");
        // Room for the file system's own, and for the reserve of the drive set's format.
        let room = size + size / 8 + 160;
        output(Command::new("fallocate").arg("-l").arg(format!("{room}M")).arg(&image))?;
        let attach = ["--find", "--show", "--direct-io=on"];
        let device = output(Command::new("losetup").args(attach).arg(&image))?.trim().to_owned();
        let disk = Self { folder: folder.to_owned(), image, device };
        let options = ["-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        output(Command::new("mkfs.ext4").args(options).arg(&disk.device))?;
        fs::create_dir_all(folder)?;
        disk.mount()?;
        Ok(disk)
    }

    /// As many fresh ones below a folder, held to so many MB a second if the kernel can, 0 for no limit. Dropped, nothing
    /// of them is left.
    pub(in crate::bench) fn several(
        base: &Path,
        (count, size): (usize, u64),
        (throttle, rate): (Option<Throttle>, u64),
    ) -> anyhow::Result<Vec<Self>> {
        let make = |at| {
            let disk = Self::make(&base.join(format!("disk{at}")), size)?;
            if let Some(throttle) = throttle.filter(|_| rate > 0) {
                throttle.hold(&disk, rate * 1_000_000)?;
            }
            Ok(disk)
        };
        (0..count).map(make).collect()
    }

    fn mount(&self) -> anyhow::Result<()> {
        output(Command::new("mount").arg(&self.device).arg(&self.folder)).map(|_| ())
    }

    /// Unmounts and mounts again: nothing of it is in the page cache.
    pub(in crate::bench) fn forget(&self) -> anyhow::Result<()> {
        output(Command::new("umount").arg(&self.folder))?;
        self.mount()
    }

    /// Major and minor number.
    fn number(&self) -> anyhow::Result<String> {
        let device = fs::metadata(&self.device)?.rdev();
        Ok(format!("{}:{}", nix_major(device), nix_minor(device)))
    }
}

// As glibc's `gnu_dev_major` and `gnu_dev_minor`.
fn nix_major(device: u64) -> u64 {
    (device >> 8) & 0xfff | (device >> 32) & !0xfff
}

fn nix_minor(device: u64) -> u64 {
    device & 0xff | (device >> 12) & !0xff
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What cannot be undone is seen by whoever looks at /proc/mounts; there is no more to do.
        let _ = output(Command::new("umount").arg(&self.folder));
        for file in Throttle::FILES {
            if let (Some(throttle), Ok(number)) = (Throttle::find(), self.number()) {
                let _ = throttle.set(file, &format!("{number} 0"));
            }
        }
        let _ = output(Command::new("losetup").args(["--detach", &self.device]));
        let _ = fs::remove_file(&self.image);
        let _ = fs::remove_dir(&self.folder);
    }
}

/// The kernel's throttle of block devices, version 1: at the root it holds every process, and what the
/// kernel writes later by itself.
#[derive(Debug, Clone, Copy)]
pub(in crate::bench) struct Throttle;

impl Throttle {
    const ROOT: &str = "/sys/fs/cgroup/blkio";
    const FILES: [&str; 2] = ["blkio.throttle.write_bps_device", "blkio.throttle.read_bps_device"];

    /// If there is one.
    pub(in crate::bench) fn find() -> Option<Self> {
        Self::FILES.iter().all(|file| Path::new(Self::ROOT).join(file).exists()).then_some(Self)
    }

    /// Holds a disk to so many bytes a second each way.
    pub(in crate::bench) fn hold(self, disk: &Disk, rate: u64) -> anyhow::Result<()> {
        let number = disk.number()?;
        ensure!(number.starts_with("7:"), "{} is no loop device", disk.device);
        Self::FILES.iter().try_for_each(|file| self.set(file, &format!("{number} {rate}")))
    }

    fn set(self, file: &str, rule: &str) -> anyhow::Result<()> {
        let path = Path::new(Self::ROOT).join(file);
        fs::write(&path, rule).with_context(|| format!("cannot write {}", path.display()))
    }
}
