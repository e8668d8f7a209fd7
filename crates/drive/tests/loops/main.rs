//! Real devices, as far as a loop device is one: found, and told who uses them. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod life;

use drive::{Blkid, Bus, Device, Refusal, Source, Usage, discover, judge};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const LENGTH: u64 = 300 << 20;

/// A file that stands for a drive, until it is dropped.
struct Loop {
    folder: tempfile::TempDir,
    device: PathBuf,
}

fn run(program: &str, arguments: &[&Path]) -> String {
    let said = Command::new(program).args(arguments).output().unwrap();
    assert!(said.status.success(), "{program} {arguments:?}: {said:?}");
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

/// Says that a test cannot run here.
fn skip(test: &str, reason: &str) {
    let line = format!("SKIP: {test}: {reason}\n");
    if let Some(path) = std::env::var_os("PACKMULE_SKIPS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

impl Loop {
    /// None, and a word of it, where there can be none.
    fn new(test: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip(test, "loop devices take root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("drive");
        std::fs::File::create(&file).unwrap().set_len(LENGTH).unwrap();
        let device = run("losetup", &["--find".as_ref(), "--show".as_ref(), &file]);
        Some(Self { folder, device: device.into() })
    }

    fn found(&self) -> Device {
        let found = discover(&Source::default(), &Blkid).unwrap();
        found.into_iter().find(|device| device.path == self.device).expect("it is found")
    }

    /// Writes what LVM writes on a device that it may use.
    fn mark_as_lvm(&self) {
        let mut label = [0; 512];
        label[..8].copy_from_slice(b"LABELONE");
        label[8..16].copy_from_slice(&1u64.to_le_bytes());
        label[20..24].copy_from_slice(&32u32.to_le_bytes());
        label[24..32].copy_from_slice(b"LVM2 001");
        label[32..64].copy_from_slice(b"0123456789abcdef0123456789abcdef");
        let sum = lvm_sum(&label[20..]);
        label[16..20].copy_from_slice(&sum.to_le_bytes());
        let device = std::fs::File::options().write(true).open(&self.device).unwrap();
        device.write_all_at(&label, 512).unwrap();
        device.sync_all().unwrap();
    }
}

/// LVM's CRC-32: the usual polynomial, a start of its own, and no inversion at the end.
fn lvm_sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0xf597_a6cf, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 }
        })
    })
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.folder.path().join("mounted")).output();
        // The kernel keeps that for the next file behind the same device.
        let _ = Command::new("blockdev").arg("--setrw").arg(&self.device).output();
        let _ = Command::new("losetup").arg("--detach").arg(&self.device).output();
    }
}

#[test]
fn a_device_is_free_until_somebody_mounts_it() {
    let Some(drive) = Loop::new("drive::a_device_is_free_until_somebody_mounts_it") else { return };
    let found = drive.found();
    assert_eq!((found.size.0, found.bus), (LENGTH, Bus::Loop));
    assert_eq!(found.usage, []);
    assert!(judge(&found).contains(&Refusal::NotSata { bus: Bus::Loop }));

    run("mkfs.ext4", &["-q".as_ref(), &drive.device]);
    assert_eq!(drive.found().usage, [], "a file system that nobody uses is nobody's");

    let place = drive.folder.path().join("mounted");
    std::fs::create_dir(&place).unwrap();
    run("mount", &[&drive.device, &place]);
    let usage = Usage::Mount { at: place.canonicalize().unwrap() };
    assert_eq!(drive.found().usage, std::slice::from_ref(&usage));
    let refusal = Refusal::Used { usage };
    assert!(judge(&drive.found()).contains(&refusal) && !refusal.can_be_overridden());
}

#[test]
fn a_device_that_is_held_alone_is_in_use() {
    let Some(drive) = Loop::new("drive::a_device_that_is_held_alone_is_in_use") else { return };
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::EXCL;
    let held = rustix::fs::open(&drive.device, flags, rustix::fs::Mode::empty()).unwrap();
    assert_eq!(drive.found().usage, [Usage::Claimed]);
    drop(held);
    assert_eq!(drive.found().usage, []);
}

#[test]
fn a_part_of_a_group_of_volumes_is_in_use_though_nobody_runs_it() {
    let test = "drive::a_part_of_a_group_of_volumes_is_in_use_though_nobody_runs_it";
    let Some(drive) = Loop::new(test) else { return };
    drive.mark_as_lvm();
    assert_eq!(drive.found().usage, [Usage::Member { kind: "LVM2_member".to_owned() }]);
}
