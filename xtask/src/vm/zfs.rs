//! ZFS for a guest: Debian's programs, and its modules, built here for the guest's kernel, which takes a quarter of an hour, once.
//! Debian has them as source, beside what it calls Debian. Installs nothing, and leaves the machine's package lists alone.

use super::cpio::Archive;
use super::initramfs::{EXECUTABLE, follow, needed, to_load};
use super::kernel::{Kernel, only};
use super::parts::Parts;
use crate::debian::{self, Apart, Had, complete};
use crate::process::{output, say};
use crate::tools::is_installed;
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name of a guest's list of what it loads, and the module that needs all others.
const MODULE: &str = "zfs";

/// What the guest gets beside modules.
const PROGRAMS: [&str; 2] = ["zfs", "zpool"];

/// Where it is kept for a kernel.
pub(super) fn place(parts: &Path, kernel: &Kernel) -> PathBuf {
    parts.join(format!("zfs-{}", kernel.release()))
}

/// Writes a guest's file system with ZFS in it.
pub(super) fn with(parts: &Parts, initramfs: &Path) -> anyhow::Result<PathBuf> {
    let place = place(&parts.place, &parts.kernel);
    if parts.fetch && !place.is_dir() {
        say("building ZFS for the guest's kernel, which takes a quarter of an hour, once");
    }
    let get: Had = if parts.fetch { Some(fetch) } else { None };
    let there = complete(&place, get);
    ensure!(there.context("cannot have ZFS")?, "ZFS is missing, and nothing may be fetched");
    let mut archive = Archive::default();
    let mut libraries = BTreeMap::new();
    for name in PROGRAMS {
        let program = place.join("sbin").join(name);
        archive.file(&format!("bin/{name}"), EXECUTABLE, &std::fs::read(&program)?)?;
        libraries.extend(needed(parts, &program)?);
    }
    for (place, library) in libraries {
        archive.file(&place, EXECUTABLE, &std::fs::read(library)?)?;
    }
    let modules = parts.kernel.besides_in(&place.join("modules"), &[MODULE])?;
    to_load(&modules, &format!("etc/modules.{MODULE}"), &mut archive)?;
    follow(archive, initramfs, &parts.place.join("initramfs-zfs"))
}

/// Has programs and modules in an empty folder, for the kernel beside it.
fn fetch(into: &Path) -> anyhow::Result<()> {
    for program in ["make", "gcc"] {
        ensure!(
            is_installed(program),
            "there is no {program}, which builds modules (package build-essential)"
        );
    }
    let kernel = Kernel::within(&into.with_file_name("kernel"))?;
    let contrib = Apart::new(&codename()?, "main contrib", into)?;
    contrib.unpack_with_dependencies(&["zfsutils-linux"], into)?;
    contrib.unpack_alone(&["zfs-dkms"], into)?;
    contrib.done()?;
    let headers = headers(&kernel.release(), into)?;
    let source = only(&into.join("usr/src"), "zfs-")?;
    build(&source, &headers)?;
    let modules = into.join("modules");
    std::fs::create_dir(&modules)?;
    keep(&source.join("module"), &modules)?;
    // A gigabyte, of which nothing is needed again.
    Ok(std::fs::remove_dir_all(into.join("usr/src"))?)
}

/// How this machine's Debian is called.
fn codename() -> anyhow::Result<String> {
    let release = std::fs::read_to_string("/etc/os-release")?;
    let name = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name.context("this Debian has no code name")?.trim_matches('"').to_owned())
}

/// The headers of a kernel: those of its own, and those of all of its version.
fn headers(release: &str, into: &Path) -> anyhow::Result<[PathBuf; 2]> {
    let package = format!("linux-headers-{release}");
    debian::unpack_with_dependencies(&[&package], into).with_context(|| {
        format!(
            "cannot have {package}; where Debian has a newer kernel by now, remove target/vm/kernel"
        )
    })?;
    let (version, _) = release.rsplit_once('-').context("a kernel without a flavour")?;
    let source = into.join("usr/src");
    let own = source.join(&package);
    let common = source.join(format!("linux-headers-{version}-common"));
    // It includes the other by its absolute name.
    let makefile = own.join("Makefile");
    let text = std::fs::read_to_string(&makefile)?;
    std::fs::write(makefile, text.replace("/usr/src/", &format!("{}/", source.display())))?;
    Ok([own, common])
}

fn build(source: &Path, [own, common]: &[PathBuf; 2]) -> anyhow::Result<()> {
    let mut configure = Command::new("./configure");
    configure.current_dir(source).args(["--quiet", "--with-config=kernel"]);
    configure.arg(format!("--with-linux={}", common.display()));
    output(configure.arg(format!("--with-linux-obj={}", own.display())))?;
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let mut make = Command::new("make");
    output(make.current_dir(source).args(["--silent", "--jobs"]).arg(jobs.to_string()))?;
    Ok(())
}

/// Copies all modules, without what only a debugger wants.
fn keep(built: &Path, into: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(built)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            keep(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "ko") {
            let copy = into.join(path.file_name().unwrap_or_default());
            let strip =
                Command::new("strip").args(["--strip-debug", "-o"]).arg(copy).arg(&path).status();
            ensure!(strip.is_ok_and(|strip| strip.success()), "strip {} failed", path.display());
        }
    }
    Ok(())
}
