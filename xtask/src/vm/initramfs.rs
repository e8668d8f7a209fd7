//! The guest's whole file system, in memory: busybox, the programs with their libraries, modules,
//! our binary, and an init that does no more than start the line. Knows no scenario.

use super::cpio::Archive;
use super::guest;
use super::kernel;
use super::parts::Parts;
use crate::process::{output, status};
use crate::tools;
use anyhow::{Context, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tells the guest that systemd is to be its first process.
pub(super) const SYSTEMD: &str = "packmule.systemd";

/// Of programs and libraries.
pub(super) const EXECUTABLE: u32 = 0o755;

/// Programs that are another one by another name.
const LINKS: &[(&str, &str)] = &[
    ("pvcreate", "lvm"),
    ("vgcreate", "lvm"),
    ("vgchange", "lvm"),
    ("vgs", "lvm"),
    ("lvcreate", "lvm"),
    ("lvremove", "lvm"),
    ("lvs", "lvm"),
];

/// What pthread_cancel loads by name, which Argon2 calls: no list of needed libraries has it.
const LOADED_BY_NAME: &str = "/lib/x86_64-linux-gnu/libgcc_s.so.1";

/// The first process. It reaps what others leave, and the machine ends when the line does.
const INIT: &str = include_str!("init.sh");

/// Writes the file system with that binary of ours to `target/vm/initramfs`.
pub(super) fn make(parts: &Parts, packmule: &Path) -> anyhow::Result<PathBuf> {
    let mut archive = Archive::default();
    for folder in ["proc", "sys", "dev", "run", "tmp", "mnt", "root", "etc"] {
        archive.folder(folder)?;
    }
    archive.file("init", EXECUTABLE, INIT.as_bytes())?;
    archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
    archive.file("etc/group", 0o644, b"root:x:0:\n")?;
    let mut libraries = BTreeMap::new();
    programs(parts, packmule, &mut archive, &mut libraries)?;
    for (place, library) in libraries {
        archive.file(&place, EXECUTABLE, &std::fs::read(library)?)?;
    }
    modules(parts, &mut archive)?;
    let path = parts.place.join("initramfs");
    std::fs::write(&path, archive.finish()?).context("cannot write the guest's file system")?;
    Ok(path)
}

/// Writes the same with systemd, which becomes the first process where the kernel is told [`SYSTEMD`].
pub(super) fn with_systemd(parts: &Parts, initramfs: &Path) -> anyhow::Result<PathBuf> {
    let mut archive = Archive::default();
    let mut libraries = BTreeMap::new();
    for (place, program) in [
        ("lib/systemd/systemd", "lib/systemd/systemd"),
        ("bin/systemctl", "bin/systemctl"),
        ("bin/systemd-creds", "bin/systemd-creds"),
    ] {
        let program = parts.systemd.join(program);
        archive.file(place, EXECUTABLE, &std::fs::read(&program)?)?;
        libraries.extend(needed(parts, &program)?);
    }
    for (place, library) in libraries {
        archive.file(&place, EXECUTABLE, &std::fs::read(library)?)?;
    }
    let units = parts.systemd.join("lib/systemd/system");
    for entry in std::fs::read_dir(units).context("there are no units")? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".target") && path.is_file() {
            archive.file(&format!("lib/systemd/system/{name}"), 0o644, &std::fs::read(path)?)?;
        }
    }
    archive.link("etc/systemd/system/default.target", "/lib/systemd/system/multi-user.target")?;
    archive.file("etc/machine-id", 0o444, b"0123456789abcdef0123456789abcdef\n")?;
    for folder in ["var/lib", "var/tmp", "usr/local"] {
        archive.folder(folder)?;
    }
    archive.link("usr/bin", "/bin")?;
    archive.link("usr/local/bin", "/bin")?;
    follow(archive, initramfs, &parts.place.join("initramfs-systemd"))
}

/// Writes a guest's file system with an archive behind it: the kernel takes one after the other.
pub(super) fn follow(archive: Archive, initramfs: &Path, into: &Path) -> anyhow::Result<PathBuf> {
    let mut all = std::fs::read(initramfs)?;
    all.resize(all.len().next_multiple_of(4), 0);
    all.extend(archive.finish()?);
    std::fs::write(into, all).context("cannot write the guest's file system")?;
    Ok(into.to_owned())
}

fn programs(
    parts: &Parts,
    packmule: &Path,
    archive: &mut Archive,
    libraries: &mut BTreeMap<String, PathBuf>,
) -> anyhow::Result<()> {
    let ours = [
        ("packmule", stripped(packmule, &parts.place.join("packmule"))?),
        (guest::CALLED, stripped(&itself(parts)?, &parts.place.join(guest::CALLED))?),
    ];
    let all: BTreeMap<&str, PathBuf> = parts.programs.iter().cloned().chain(ours).collect();
    for (name, program) in &all {
        archive.file(&format!("bin/{name}"), EXECUTABLE, &std::fs::read(program)?)?;
        libraries.extend(needed(parts, program)?);
    }
    for (name, program) in LINKS {
        archive.link(&format!("bin/{name}"), program)?;
    }
    let by_name = Path::new(LOADED_BY_NAME);
    libraries.insert(LOADED_BY_NAME.trim_start_matches('/').to_owned(), by_name.to_owned());
    archive.file("bin/busybox", EXECUTABLE, &std::fs::read(&parts.busybox)?)?;
    let applets = output(Command::new(&parts.busybox).arg("--list"))?;
    for applet in applets.lines().filter(|applet| *applet != "busybox" && !all.contains_key(applet))
    {
        archive.link(&format!("bin/{applet}"), "busybox")?;
    }
    Ok(())
}

/// A copy of this program as it runs: its file may have been built anew since it was started, and then
/// has no name any more.
fn itself(parts: &Parts) -> anyhow::Result<PathBuf> {
    let copy = parts.place.join(format!("{}.whole", guest::CALLED));
    std::fs::copy("/proc/self/exe", &copy).context("cannot copy this program")?;
    Ok(copy)
}

/// The program without what only a debugger wants, which is most of it. Where nothing can take that
/// off, the program as it is.
fn stripped(program: &Path, into: &Path) -> anyhow::Result<PathBuf> {
    if !tools::is_installed("strip") {
        return Ok(program.to_owned());
    }
    let strip = status(Command::new("strip").arg("-o").arg(into).arg(program))?;
    ensure!(strip.success(), "strip {} failed", program.display());
    Ok(into.to_owned())
}

/// The libraries that a program needs, and where they go.
pub(super) fn needed(parts: &Parts, program: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let said = output(Command::new("ldd").arg(program).env("LD_LIBRARY_PATH", parts.libraries()))?;
    libraries(&said).with_context(|| format!("what {} needs", program.display()))
}

/// What `ldd` says, read: `name => /path (0x…)`, or `/path (0x…)` for the loader.
fn libraries(ldd: &str) -> anyhow::Result<Vec<(String, PathBuf)>> {
    ensure!(!ldd.contains("not found"), "a library is missing:\n{ldd}");
    let lines = ldd.lines().filter_map(|line| line.trim().split(" (0x").next());
    let pairs = lines.filter_map(|line| match line.split_once(" => ") {
        Some((name, path)) => Some((format!("lib/x86_64-linux-gnu/{name}"), path.into())),
        None => Some((line.strip_prefix('/')?.to_owned(), line.into())),
    });
    Ok(pairs.collect())
}

fn modules(parts: &Parts, archive: &mut Archive) -> anyhow::Result<()> {
    to_load(&parts.kernel.modules()?, "etc/modules", archive)?;
    for (name, wanted) in kernel::BESIDES {
        to_load(&parts.kernel.besides(wanted)?, &format!("etc/modules.{name}"), archive)?;
    }
    Ok(())
}

/// Adds modules, and a list of them in that order.
pub(super) fn to_load(
    modules: &[PathBuf],
    list: &str,
    archive: &mut Archive,
) -> anyhow::Result<()> {
    let mut order = String::new();
    for module in modules {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("lib/modules/{name}"), 0o644, &std::fs::read(module)?)?;
        order.push_str(&format!("{name}\n"));
    }
    archive.file(list, 0o644, order.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ldd_says_becomes_places_in_the_guest() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2b)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f2c)\n";
        let expected = [
            ("lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6"),
            ("lib64/ld-linux-x86-64.so.2", "/lib64/ld-linux-x86-64.so.2"),
        ];
        let expected = expected.map(|(to, from)| (to.to_owned(), PathBuf::from(from)));
        assert_eq!(libraries(said).unwrap(), expected);
        assert!(libraries("\tlibx.so => not found\n").is_err());
    }
}
