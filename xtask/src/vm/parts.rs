//! What a virtual machine is made of, and where it comes from: QEMU, a kernel, and programs for the
//! guest, from this machine or from Debian, below `target/vm`. Installs nothing: QEMU's packages
//! would replace other versions of each other.

use super::kernel::{self, Kernel};
use super::zfs;
use crate::debian::{Had, complete, unpack_with_dependencies};
use crate::tools;
use anyhow::{Context, ensure};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The emulator, by the name of its program.
const QEMU: &str = "qemu-system-x86_64";

/// Where Debian's packages put libraries.
const LIBRARIES: [&str; 3] =
    ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/systemd"];

/// Where they put what QEMU starts a machine with.
const FIRMWARE: [&str; 2] = ["usr/share/qemu", "usr/share/seabios"];

/// A program of the guest, and the package that has it.
type Program = (&'static str, &'static str);

/// Programs in the guest beside busybox: those that Packmule calls, and those that scenarios do.
const PROGRAMS: &[Program] = &[
    ("cryptsetup", "cryptsetup-bin"),
    ("sfdisk", "fdisk"),
    ("mkfs.ext4", "e2fsprogs"),
    ("e2fsck", "e2fsprogs"),
    ("dumpe2fs", "e2fsprogs"),
    ("blkid", "util-linux"),
    ("blkdiscard", "util-linux"),
    ("blockdev", "util-linux"),
    ("lsblk", "util-linux"),
    ("wipefs", "util-linux"),
    ("flock", "util-linux"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("lvm", "lvm2"),
    ("mkfs.xfs", "xfsprogs"),
    ("dd", "coreutils"),
    // busybox's own would run busybox's own programs, whatever else is there.
    ("sh", "dash"),
];

/// Everything, found.
#[derive(Debug)]
pub(super) struct Parts {
    /// Where all of it lies, and machines may write.
    pub(super) place: PathBuf,
    /// Whether what is still missing may be fetched.
    pub(super) fetch: bool,
    pub(super) kernel: Kernel,
    /// A busybox that needs no libraries.
    pub(super) busybox: PathBuf,
    /// Debian's systemd, unpacked.
    pub(super) systemd: PathBuf,
    /// By the names that they have in the guest.
    pub(super) programs: Vec<(&'static str, PathBuf)>,
}

impl Parts {
    /// Has all parts; fetches what is missing if that is allowed.
    ///
    /// # Errors
    /// What cannot be had, and why.
    pub(super) fn have(root: &Path, fetch: bool) -> anyhow::Result<Self> {
        ensure!(cfg!(target_arch = "x86_64"), "the guest is an x86-64 machine, and this is none");
        let place = root.join("target/vm");
        let had = |folder: &str, get: fn(&Path) -> anyhow::Result<()>| {
            let get: Had = fetch.then_some(get);
            let there = complete(&place.join(folder), get);
            let there = there.with_context(|| format!("cannot fetch {folder}"))?;
            ensure!(there, "{folder} is missing, and nothing may be fetched");
            anyhow::Ok(())
        };
        if !tools::is_installed(QEMU) {
            had("qemu", |into| unpack_with_dependencies(&["qemu-system-x86"], into))?;
        }
        had("busybox", |into| crate::debian::unpack_alone(&["busybox-static"], into))?;
        had("kernel", kernel::fetch)?;
        had("systemd", |into| unpack_with_dependencies(&["systemd", "libsystemd-shared"], into))?;
        if PROGRAMS.iter().any(|program| find(&place, program).is_err()) {
            let old = place.join("programs");
            if fetch && old.is_dir() {
                std::fs::remove_dir_all(old).context("cannot remove what no longer suffices")?;
            }
            had("programs", fetch_programs)?;
        }
        Ok(Self {
            kernel: Kernel::within(&place.join("kernel"))?,
            busybox: within(&place.join("busybox"), "busybox").context("there is no busybox")?,
            systemd: place.join("systemd"),
            programs: PROGRAMS.iter().map(|p| find(&place, p)).collect::<anyhow::Result<_>>()?,
            place,
            fetch,
        })
    }

    /// QEMU, with its libraries and firmware.
    pub(super) fn qemu(&self) -> Command {
        let unpacked = self.place.join("qemu");
        let Some(program) = within(&unpacked, QEMU) else { return bound(Path::new(QEMU)) };
        let mut qemu = bound(&program);
        qemu.env("LD_LIBRARY_PATH", libraries(&unpacked));
        for folder in FIRMWARE {
            qemu.arg("-L").arg(unpacked.join(folder));
        }
        qemu
    }

    /// Where libraries are looked for that this machine does not have.
    pub(super) fn libraries(&self) -> OsString {
        let folders = ["programs", "systemd"].map(|folder| self.place.join(folder));
        let zfs = zfs::place(&self.place, &self.kernel);
        folders
            .into_iter()
            .chain([zfs])
            .map(|it| libraries(&it))
            .collect::<Vec<_>>()
            .join(OsStr::new(":"))
    }
}

/// A command that the kernel ends when whoever starts it is ended, in whatever way.
pub(super) fn bound(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

fn fetch_programs(into: &Path) -> anyhow::Result<()> {
    let missing = PROGRAMS.iter().filter(|(program, _)| !tools::is_installed(program));
    let mut packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    packages.dedup();
    unpack_with_dependencies(&packages, into)
}

fn find(place: &Path, (program, package): &Program) -> anyhow::Result<(&'static str, PathBuf)> {
    let found = within(&place.join("programs"), program).or_else(|| tools::installed(program));
    Ok((program, found.with_context(|| format!("there is no {program} (package {package})"))?))
}

/// A program of unpacked packages.
fn within(unpacked: &Path, program: &str) -> Option<PathBuf> {
    let folders = ["usr/bin", "bin", "usr/sbin", "sbin"];
    let mut places = folders.iter().map(|folder| unpacked.join(folder).join(program));
    places.find(|place| place.is_file())
}

fn libraries(unpacked: &Path) -> OsString {
    let folders = LIBRARIES.iter().map(|folder| unpacked.join(folder));
    // None of these names has a colon unless the tree's own has.
    std::env::join_paths(folders).unwrap_or_default()
}
