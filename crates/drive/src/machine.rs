//! Whether this is a virtual machine, as far as its kernel and firmware say so. Decides nothing.

use crate::Source;

/// What the firmware of well-known hypervisors says, and what they are called.
const KNOWN: [(&str, &str); 9] = [
    ("qemu", "QEMU"),
    ("kvm", "KVM"),
    ("vmware", "VMware"),
    ("innotek", "VirtualBox"),
    ("xen", "Xen"),
    ("virtual machine", "Hyper-V"),
    ("amazon ec2", "Amazon EC2"),
    ("google", "Google Compute Engine"),
    ("parallels", "Parallels"),
];

/// The hypervisor below this machine; none where nothing says that there is one.
#[must_use]
pub fn hypervisor(source: &Source) -> Option<String> {
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap_or_default();
    let firmware = ["sys_vendor", "product_name", "board_vendor"]
        .map(|name| read(source.sys.join("class/dmi/id").join(name)).to_lowercase())
        .join(" ");
    let known = KNOWN.iter().find(|(said, _)| firmware.contains(said)).map(|(_, name)| *name);
    // The processor itself says it, as every hypervisor that does not hide has it do.
    let processor = read(source.proc.join("cpuinfo"));
    let flags = processor.lines().find(|line| line.starts_with("flags"));
    let is_guest =
        flags.is_some_and(|line| line.split_whitespace().any(|flag| flag == "hypervisor"));
    let by_kernel = read(source.sys.join("hypervisor/type"));
    let by_kernel = Some(by_kernel.trim()).filter(|kind| !kind.is_empty());
    match (is_guest, known, by_kernel) {
        (true, Some(name), _) => Some(name.to_owned()),
        (_, _, Some(kind)) => Some(kind.to_owned()),
        (true, None, None) => Some("a hypervisor".to_owned()),
        // Physical machines of those vendors say the same names.
        (false, _, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn machine(vendor: &str, product: &str, flags: &str) -> Option<String> {
        let place = tempfile::tempdir().unwrap();
        let source = Source {
            sys: place.path().join("sys"),
            proc: place.path().join("proc"),
            ..Source::default()
        };
        let dmi = source.sys.join("class/dmi/id");
        fs::create_dir_all(&dmi).unwrap();
        fs::create_dir_all(&source.proc).unwrap();
        fs::write(dmi.join("sys_vendor"), vendor).unwrap();
        fs::write(dmi.join("product_name"), product).unwrap();
        fs::write(source.proc.join("cpuinfo"), format!("processor: 0\nflags\t\t: {flags}\n"))
            .unwrap();
        hypervisor(&source)
    }

    #[test]
    fn guests_are_told_from_machines() {
        let name = |vendor, product| machine(vendor, product, "fpu hypervisor sse");
        assert_eq!(name("QEMU\n", "Standard PC").as_deref(), Some("QEMU"));
        assert_eq!(name("Microsoft Corporation", "Virtual Machine").as_deref(), Some("Hyper-V"));
        assert_eq!(name("Somebody", "Something").as_deref(), Some("a hypervisor"));
        assert_eq!(machine("Dell Inc.", "PowerEdge", "fpu sse"), None);
        assert_eq!(machine("Google", "Pixelbook", "fpu"), None);
        assert_eq!(machine("", "", ""), None);
    }
}
