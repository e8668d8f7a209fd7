//! Debian's kernel, as it comes: fetched, unpacked, its modules in an order in which they can be
//! loaded. Builds no kernel and changes none.

use crate::debian;
use crate::process::output;
use anyhow::{Context, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Depends on the current version of the kernel.
const LATEST: &str = "linux-image-amd64";

/// What a compressed kernel's payload begins with: that of `xz`.
const XZ: &[u8] = b"\xfd7zXZ\0";

/// What a module's list of those that it needs begins with.
const DEPENDS: &[u8] = b"\0depends=";

/// What drives, encryption, file systems, and the line to the host take.
const MODULES: &[&str] = &[
    // Crypto that dm-crypt and cryptsetup ask for by the names of algorithms, which takes a modprobe.
    "xts",
    "cbc",
    "essiv",
    "sha256_generic",
    "aesni_intel",
    "af_alg",
    "algif_skcipher",
    "algif_hash",
    "crc32c_generic",
    "crc32c_intel",
    "virtio_pci",
    "virtio_console",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "ahci",
    "sd_mod",
    "xhci_pci",
    "usb_storage",
    "uas",
    "nvme",
    "loop",
    "dm_mod",
    "dm_crypt",
    "ext4",
];

/// What some scenarios take besides, by a name: the guest has it, and loads it when it is told to. A boot of all others need not wait for it.
pub(super) const BESIDES: &[(&str, &[&str])] =
    &[("volumes", &["dm_snapshot", "dm_thin_pool", "xfs"])];

/// A kernel below a folder.
#[derive(Debug)]
pub(super) struct Kernel {
    /// What is booted.
    pub(super) image: PathBuf,
    /// Where the modules are, built in or not.
    modules: PathBuf,
}

impl Kernel {
    /// The kernel that [`fetch`] has put into a folder.
    pub(super) fn within(place: &Path) -> anyhow::Result<Self> {
        let image = place.join("vmlinux");
        let image = if image.is_file() { image } else { compressed(place)? };
        let modules = only(&place.join("lib/modules"), "")?;
        Ok(Self { image, modules })
    }

    /// Its name, as it calls itself: version and flavour.
    pub(super) fn release(&self) -> String {
        self.modules.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The files of [`MODULES`] and of those that they need: none before what it needs.
    pub(super) fn modules(&self) -> anyhow::Result<Vec<PathBuf>> {
        self.ordered(MODULES, None)
    }

    /// The files of those beside [`MODULES`], and of what they need.
    pub(super) fn besides(&self, modules: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
        self.beyond(modules, None)
    }

    /// The same of modules that are not the kernel's own, in a folder.
    pub(super) fn besides_in(
        &self,
        folder: &Path,
        modules: &[&str],
    ) -> anyhow::Result<Vec<PathBuf>> {
        self.beyond(modules, Some(folder))
    }

    fn beyond(&self, modules: &[&str], folder: Option<&Path>) -> anyhow::Result<Vec<PathBuf>> {
        let loaded = self.modules()?;
        let mut files = self.ordered(modules, folder)?;
        files.retain(|file| !loaded.contains(file));
        Ok(files)
    }

    fn ordered(&self, modules: &[&str], more: Option<&Path>) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = BTreeMap::new();
        for folder in [Some(&*self.modules.join("kernel")), more].into_iter().flatten() {
            find(folder, &mut files)?;
        }
        let built_in = std::fs::read_to_string(self.modules.join("modules.builtin"))?;
        let built_in = built_in.lines().map(|line| name(Path::new(line))).collect();
        let mut order = Order { files, built_in, begun: BTreeSet::new(), done: Vec::new() };
        modules.iter().try_for_each(|name| order.add(name))?;
        Ok(order.done)
    }
}

/// Has the kernel in an empty folder.
pub(super) fn fetch(into: &Path) -> anyhow::Result<()> {
    let asked = debian::with_lists(|| {
        output(Command::new("apt-cache").args(["depends", LATEST]).env("LC_ALL", "C"))
    })?;
    let package = current(&asked).with_context(|| format!("{LATEST} depends on no kernel"))?;
    debian::unpack_alone(&[package], into)?;
    // It boots as it is, and three times as fast when the guest need not unpack it.
    let image = compressed(into)?;
    if let Some(plain) = unpacked(&std::fs::read(&image)?) {
        std::fs::write(into.join("vmlinux"), plain)?;
    }
    Ok(())
}

fn current(depends: &str) -> Option<&str> {
    let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.into_iter().find(|name| name.starts_with("linux-image-"))
}

fn compressed(place: &Path) -> anyhow::Result<PathBuf> {
    only(&place.join("boot"), "vmlinuz-")
}

/// The one entry of a folder that begins like this.
pub(super) fn only(folder: &Path, start: &str) -> anyhow::Result<PathBuf> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(start) {
            found.push(entry.path());
        }
    }
    ensure!(found.len() == 1, "{} has not one {start}* but {found:?}", folder.display());
    found.pop().context("there is one")
}

/// The kernel within a compressed one, where `xz` is installed and finds it.
fn unpacked(image: &[u8]) -> Option<Vec<u8>> {
    let start = image.windows(XZ.len()).position(|bytes| bytes == XZ)?;
    let mut xz = Command::new("xz");
    // Something follows the payload.
    let xz = xz.args(["--decompress", "--stdout", "--single-stream"]);
    let mut xz =
        xz.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let mut stdin = xz.stdin.take()?;
    let payload = image.get(start..)?;
    let said = std::thread::scope(|scope| {
        scope.spawn(move || {
            // It does not read what follows.
            let _ = std::io::Write::write_all(&mut stdin, payload);
        });
        xz.wait_with_output()
    });
    said.ok().map(|said| said.stdout).filter(|plain| plain.starts_with(b"\x7fELF"))
}

/// A module's name: that of its file, with the one of two spellings that the kernel uses.
fn name(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default();
    stem.to_string_lossy().replace('-', "_")
}

fn find(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "ko") {
            files.insert(name(&path), path);
        }
    }
    Ok(())
}

struct Order {
    files: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
    begun: BTreeSet<String>,
    done: Vec<PathBuf>,
}

impl Order {
    fn add(&mut self, wanted: &str) -> anyhow::Result<()> {
        let wanted = wanted.replace('-', "_");
        if self.built_in.contains(&wanted) || !self.begun.insert(wanted.clone()) {
            return Ok(());
        }
        let file = self.files.get(&wanted).cloned();
        let file = file.with_context(|| format!("this kernel has no module {wanted}"))?;
        for needed in needs(&std::fs::read(&file)?) {
            self.add(&needed)?;
        }
        self.done.push(file);
        Ok(())
    }
}

/// The modules that a module says it needs. There is no `modules.dep` before `depmod` has run, and
/// this is what `depmod` would read.
fn needs(module: &[u8]) -> Vec<String> {
    let at = module.windows(DEPENDS.len()).position(|bytes| bytes == DEPENDS);
    let list = at.and_then(|at| module.get(at + DEPENDS.len()..)).unwrap_or_default();
    let list = list.split(|byte| *byte == 0).next().unwrap_or_default();
    let list = String::from_utf8_lossy(list);
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_follow_what_they_need() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("kernel/md/dm-crypt.ko", "\x7fELF\0x=1\0depends=dm-mod,lib\0name=dm_crypt\0");
        write("kernel/md/dm-mod.ko", "\x7fELF\0depends=\0");
        let mut files = BTreeMap::new();
        find(folder.path(), &mut files).unwrap();
        let built_in = BTreeSet::from(["lib".to_owned()]);
        let mut order = Order { files, built_in, begun: BTreeSet::new(), done: Vec::new() };
        order.add("dm_crypt").unwrap();
        order.add("dm-mod").unwrap();
        let names: Vec<String> = order.done.iter().map(|file| name(file)).collect();
        assert_eq!(names, ["dm_mod", "dm_crypt"]);
        assert!(order.add("gone").is_err());
    }

    #[test]
    fn the_current_kernel_is_what_the_metapackage_depends_on() {
        let said = "linux-image-amd64\n  Depends: linux-image-6.1.0-50-amd64\n  Recommends: x\n";
        assert_eq!(current(said), Some("linux-image-6.1.0-50-amd64"));
        assert_eq!(current("linux-image-amd64\n"), None);
    }
}
