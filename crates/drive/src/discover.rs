//! Finds the devices of a machine, and who uses them.

use crate::Error;
use crate::device::{Bus, Device, Medium, Partition, Usage};
use crate::signature::Probe;
use crate::sysfs;
use model::{ByteSize, DriveSerial};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes a sector, in everything that `/sys` says of lengths.
const SECTOR: u64 = 512;

/// What is read of a value below `/sys`: the longest pages are shorter.
const MOST: u64 = 64 << 10;

/// Where a machine describes itself.
#[derive(Debug, Clone)]
pub struct Source {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/proc`.
    pub proc: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
    /// `/run/udev`, where udev runs.
    pub udev: PathBuf,
}

impl Default for Source {
    fn default() -> Self {
        Self {
            sys: "/sys".into(),
            proc: "/proc".into(),
            dev: "/dev".into(),
            udev: "/run/udev".into(),
        }
    }
}

/// All devices that could carry something: disks, and loop devices that have a file. Not among them are
/// those that are made of others, as logical volumes, and those in memory. A device that goes away
/// meanwhile is left out.
///
/// # Errors
/// The machine does not tell what devices it has.
pub fn discover(source: &Source, probe: &dyn Probe) -> Result<Vec<Device>, Error> {
    let block = source.sys.join("block");
    let mut names = names(&block).map_err(|cause| Error::Read { path: block.clone(), cause })?;
    // sdb before sdaa.
    names.sort_by_key(|name| (name.len(), name.clone()));
    let in_use = InUse::read(source)?;
    let find = |name: &String| Found::read(source, &block.join(name), name);
    Ok(names.iter().filter_map(find).map(|found| found.device(source, &in_use, probe)).collect())
}

/// For looking at devices without reading any: what lies on them stays unknown.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unread;

impl Probe for Unread {
    fn signature(&self, _: &Path) -> io::Result<Option<crate::Signature>> {
        Ok(None)
    }
}

/// What tells at once whether anything was put in or taken out, without looking at any device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance(BTreeMap<PathBuf, Seen>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    /// The kernel counts media: another one has another number, whatever its name.
    sequence: u64,
    size: Option<String>,
    read_only: Option<String>,
    /// A partition may be seen later than its device.
    parts: Vec<String>,
}

impl Glance {
    /// A number that a device keeps until it is taken out; 0 for one that is not there, and on kernels
    /// before 5.15.
    #[must_use]
    pub fn insertion(&self, device: &Path) -> u64 {
        self.0.get(device).map_or(0, |seen| seen.sequence)
    }
}

/// Which devices there are, at a glance.
///
/// # Errors
/// The machine does not tell.
pub fn glance(source: &Source) -> Result<Glance, Error> {
    let block = source.sys.join("block");
    let all = names(&block).map_err(|cause| Error::Read { path: block.clone(), cause })?;
    let seen = |name: String| {
        let value = |value: &str| text(&block.join(&name).join(value));
        let sequence = value("diskseq").and_then(|number| number.parse().ok()).unwrap_or(0);
        let mut parts = names(&block.join(&name)).unwrap_or_default();
        parts.retain(|part| block.join(&name).join(part).join("partition").exists());
        parts.sort();
        let seen = Seen { sequence, size: value("size"), read_only: value("ro"), parts };
        (source.dev.join(name.replace('!', "/")), seen)
    };
    Ok(Glance(all.into_iter().map(seen).collect()))
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = std::fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    Ok(entries.into_iter().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

fn bytes(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn text(path: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&bytes(path)?).trim().to_owned();
    Some(text).filter(|text| !text.is_empty())
}

fn is_set(path: &Path) -> bool {
    text(path).is_some_and(|value| value != "0")
}

/// What the machine says of devices in use.
struct InUse {
    mounts: Vec<((u32, u32), PathBuf)>,
    swaps: Vec<PathBuf>,
    /// Names of devices, and the file system that they belong to.
    btrfs: Vec<(String, String)>,
}

impl InUse {
    fn read(source: &Source) -> Result<Self, Error> {
        let read = |path: PathBuf| {
            std::fs::read(&path)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
                .map_err(|cause| Error::Read { path, cause })
        };
        let mounts = sysfs::mounts(&read(source.proc.join("self/mountinfo"))?);
        // A kernel without swapping has no such file.
        let swaps =
            read(source.proc.join("swaps")).map_or_else(|_| Vec::new(), |t| sysfs::swaps(&t));
        let all = source.sys.join("fs/btrfs");
        let mut btrfs = Vec::new();
        for uuid in names(&all).unwrap_or_default() {
            let devices = names(&all.join(&uuid).join("devices")).unwrap_or_default();
            btrfs.extend(devices.into_iter().map(|device| (device, uuid.clone())));
        }
        Ok(Self { mounts, swaps, btrfs })
    }

    fn of(&self, part: &Part) -> Vec<Usage> {
        let mounts = self.mounts.iter().filter(|(number, _)| *number == part.number);
        let mut usage: Vec<Usage> = mounts.map(|(_, at)| Usage::Mount { at: at.clone() }).collect();
        usage.extend(self.swaps.contains(&part.path).then_some(Usage::Swap));
        let holders = names(&part.folder.join("holders")).unwrap_or_default();
        usage.extend(holders.into_iter().map(|device| Usage::Holder { device }));
        let btrfs = self.btrfs.iter().filter(|(device, _)| *device == part.name);
        usage.extend(btrfs.map(|(_, uuid)| Usage::Btrfs { uuid: uuid.clone() }));
        usage
    }
}

/// A device or a partition of one.
struct Part {
    name: String,
    /// Below `/sys/block`.
    folder: PathBuf,
    path: PathBuf,
    number: (u32, u32),
    size: ByteSize,
}

impl Part {
    fn read(source: &Source, folder: &Path, name: &str) -> Option<Self> {
        let number = sysfs::number(&text(&folder.join("dev"))?)?;
        let sectors: u64 = text(&folder.join("size"))?.parse().ok()?;
        Some(Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            // A name below a folder of /dev has an exclamation mark here.
            path: source.dev.join(name.replace('!', "/")),
            number,
            size: ByteSize(sectors.saturating_mul(SECTOR)),
        })
    }
}

/// A device, before anybody asks who uses it.
struct Found {
    whole: Part,
    parts: Vec<Part>,
    bus: Bus,
}

/// Devices of SCSI that are no disks: 5 is an optical drive (SPC-5, 6.6.2).
const OPTICAL: &str = "5";

impl Found {
    fn read(source: &Source, folder: &Path, name: &str) -> Option<Self> {
        let bus = sysfs::bus(&std::fs::canonicalize(folder).ok()?);
        let device = folder.join("device");
        let is_disk = device.exists()
            && text(&device.join("type")).as_deref() != Some(OPTICAL)
            && !name.starts_with("fd");
        let has_file = bus == Bus::Loop && folder.join("loop/backing_file").exists();
        if !is_disk && !has_file {
            return None;
        }
        let whole = Part::read(source, folder, name)?;
        let mut parts: Vec<(u32, Part)> = names(folder)
            .ok()?
            .into_iter()
            .filter_map(|name| {
                let folder = folder.join(&name);
                let number = text(&folder.join("partition"))?.parse().ok()?;
                Some((number, Part::read(source, &folder, &name)?))
            })
            .collect();
        parts.sort_by_key(|(number, _)| *number);
        Some(Self { whole, parts: parts.into_iter().map(|(_, part)| part).collect(), bus })
    }

    fn device(self, source: &Source, in_use: &InUse, probe: &dyn Probe) -> Device {
        let usage = self.usage(in_use, probe);
        let Self { whole, parts, bus } = self;
        let value = |name: &str| whole.folder.join(name);
        let turns = is_set(&value("queue/rotational"));
        let partition = |part: Part| {
            let Part { path, number, size, .. } = part;
            Partition { path, number, size }
        };
        Device {
            insertion: text(&value("diskseq")).and_then(|n| n.parse().ok()).unwrap_or(0),
            model: text(&value("device/model")),
            serial: serial(source, &whole),
            bus,
            medium: if turns { Medium::Hdd } else { Medium::Ssd },
            form_factor: bytes(&value("device/vpd_pgb1"))
                .and_then(|page| sysfs::form_factor(&page)),
            removable: is_set(&value("removable")),
            read_only: is_set(&value("ro")),
            path: whole.path.clone(),
            number: whole.number,
            size: whole.size,
            partitions: parts.into_iter().map(partition).collect(),
            usage,
        }
    }

    fn usage(&self, in_use: &InUse, probe: &dyn Probe) -> Vec<Usage> {
        let all = || std::iter::once(&self.whole).chain(&self.parts);
        let usage: Vec<Usage> = all().flat_map(|part| in_use.of(part)).collect();
        // A device without a medium has nothing that could be somebody's.
        if !usage.is_empty() || self.whole.size.0 == 0 {
            return usage;
        }
        if let Some(claimed) = claimed(&self.whole.path) {
            return vec![claimed];
        }
        all().filter_map(|part| member(&part.path, probe)).collect()
    }
}

/// Whether the kernel has promised the device to somebody: it tells who asks for it alone.
fn claimed(path: &Path) -> Option<Usage> {
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(_) => None,
        Err(Errno::BUSY) => Some(Usage::Claimed),
        Err(error) => Some(Usage::Unknown { why: io::Error::from(error).to_string() }),
    }
}

fn member(path: &Path, probe: &dyn Probe) -> Option<Usage> {
    match probe.signature(path) {
        Ok(Some(found)) => found.is_member.then_some(Usage::Member { kind: found.kind }),
        Ok(None) => None,
        Err(error) => Some(Usage::Unknown { why: error.to_string() }),
    }
}

/// What the drive itself says comes first: so that machines with udev and without agree.
fn serial(source: &Source, whole: &Part) -> Option<DriveSerial> {
    let value = |name: &str| text(&whole.folder.join(name)).and_then(|text| sysfs::serial(&text));
    let page = || bytes(&whole.folder.join("device/vpd_pg80")).and_then(|p| sysfs::serial_page(&p));
    let udev = || {
        let (major, minor) = whole.number;
        let told = text(&source.udev.join(format!("data/b{major}:{minor}")))?;
        sysfs::serial(sysfs::udev(&told, "ID_SERIAL_SHORT")?)
    };
    let own = page().or_else(|| value("serial")).or_else(|| value("device/serial"));
    own.or_else(udev).or_else(|| adaptor(&whole.folder))
}

/// The serial number of what is plugged into USB. The kernel asks no drive behind an older adaptor for
/// pages, and where udev does not run, nobody else has asked either.
fn adaptor(folder: &Path) -> Option<DriveSerial> {
    let place = std::fs::canonicalize(folder).ok()?;
    // Interfaces of a device lie below it and have no maker of their own.
    let device = place.ancestors().find(|folder| folder.join("idVendor").exists())?;
    sysfs::serial(&text(&device.join("serial"))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::FormFactor;
    use crate::signature::Signature;
    use std::collections::HashMap;

    /// A machine made of files.
    struct Machine {
        root: tempfile::TempDir,
        marks: HashMap<&'static str, Signature>,
    }

    impl Probe for Machine {
        fn signature(&self, device: &Path) -> io::Result<Option<Signature>> {
            let name = device.file_name().unwrap().to_str().unwrap();
            Ok(self.marks.get(name).cloned())
        }
    }

    impl Machine {
        fn new() -> Self {
            let machine = Self { root: tempfile::tempdir().unwrap(), marks: HashMap::new() };
            machine.write("proc/self/mountinfo", "");
            machine.write("sys/block/.keep", "");
            std::fs::remove_file(machine.path("sys/block/.keep")).unwrap();
            machine
        }

        fn path(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }

        fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
            let path = self.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }

        /// A disk behind `place`, with values below its folder.
        fn disk(&self, place: &str, name: &str, number: &str, values: &[(&str, &[u8])]) {
            let folder = format!("sys/devices/{place}/block/{name}");
            let value = |name: &str, bytes: &[u8]| self.write(&format!("{folder}/{name}"), bytes);
            value("dev", number.as_bytes());
            value("size", b"8000000\n");
            value("removable", b"0\n");
            value("ro", b"0\n");
            value("queue/rotational", b"1\n");
            value("device/.is", b"");
            values.iter().for_each(|(name, bytes)| value(name, bytes));
            let link = self.path(&format!("sys/block/{name}"));
            std::os::unix::fs::symlink(self.path(&folder), link).unwrap();
            self.write(&format!("dev/{name}"), "");
        }

        fn partition(&self, disk: &str, number: u32, device: &str) {
            let folder = format!("sys/block/{disk}/{disk}{number}");
            self.write(&format!("{folder}/partition"), number.to_string());
            self.write(&format!("{folder}/dev"), device);
            self.write(&format!("{folder}/size"), "4000");
            self.write(&format!("dev/{disk}{number}"), "");
        }

        fn found(&self) -> Vec<Device> {
            let source = Source {
                sys: self.path("sys"),
                proc: self.path("proc"),
                dev: self.path("dev"),
                udev: self.path("run/udev"),
            };
            discover(&source, self).unwrap()
        }

        fn usage(&self) -> Vec<Usage> {
            self.found().remove(0).usage
        }
    }

    const SATA: &str = "pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0";

    #[test]
    fn a_sata_drive_is_told_in_full() {
        let machine = Machine::new();
        let values: &[(&str, &[u8])] = &[
            ("device/model", b"WDC WD40EFRX-68N\n"),
            ("device/vpd_pg80", b"\0\x80\0\x0cWD-WCC4N0   "),
            ("device/vpd_pgb1", &[0, 0xb1, 0, 0x3c, 0x15, 0x18, 0, 2]),
        ];
        machine.disk(SATA, "sdb", "8:16\n", values);
        machine.partition("sdb", 10, "8:26");
        machine.partition("sdb", 2, "8:18");
        let found = machine.found();
        let [device] = found.as_slice() else { panic!("{found:#?}") };
        assert_eq!(device.path, machine.path("dev/sdb"));
        assert_eq!(device.number, (8, 16));
        assert_eq!(device.model.as_deref(), Some("WDC WD40EFRX-68N"));
        assert_eq!(device.serial.as_ref().unwrap().to_string(), "WD-WCC4N0");
        assert_eq!(device.size, ByteSize(8_000_000 * 512));
        assert_eq!((device.bus, device.medium), (Bus::Sata, Medium::Hdd));
        assert_eq!(device.form_factor, Some(FormFactor::Three));
        assert!(!device.removable && !device.read_only && device.usage.is_empty());
        let parts: Vec<_> = device.partitions.iter().map(|part| part.number).collect();
        assert_eq!(parts, [(8, 18), (8, 26)]);
    }

    #[test]
    fn what_is_no_disk_is_not_listed() {
        let machine = Machine::new();
        machine.disk(SATA, "sr0", "11:0", &[("device/type", b"5\n")]);
        machine.disk("virtual", "dm-0", "253:0", &[]);
        std::fs::remove_dir_all(machine.path("sys/devices/virtual/block/dm-0/device")).unwrap();
        machine.disk("virtual", "loop0", "7:0", &[]);
        std::fs::remove_dir_all(machine.path("sys/devices/virtual/block/loop0/device")).unwrap();
        assert_eq!(machine.found(), []);
        machine.write("sys/block/loop0/loop/backing_file", "/srv/image\n");
        let found = machine.found();
        assert_eq!(found.iter().map(|device| device.bus).collect::<Vec<_>>(), [Bus::Loop]);
    }

    #[test]
    fn devices_come_in_the_order_of_their_letters() {
        let machine = Machine::new();
        for (name, number) in [("sdaa", "65:160"), ("sdb", "8:16"), ("sda", "8:0")] {
            machine.disk(&format!("{SATA}/{name}"), name, number, &[]);
        }
        let names: Vec<_> = machine.found().into_iter().map(|device| device.path).collect();
        assert_eq!(names, ["dev/sda", "dev/sdb", "dev/sdaa"].map(|name| machine.path(name)));
    }

    #[test]
    fn whoever_uses_a_device_or_a_part_of_it_is_named() {
        let machine = || {
            let machine = Machine::new();
            machine.disk(SATA, "sdb", "8:16", &[]);
            machine.partition("sdb", 1, "8:17");
            machine
        };
        assert_eq!(machine().usage(), []);

        let mounted = machine();
        mounted.write("proc/self/mountinfo", "37 35 8:17 / /srv rw - ext4 /dev/sdb1 rw\n");
        assert_eq!(mounted.usage(), [Usage::Mount { at: "/srv".into() }]);

        let swapped = machine();
        let line = format!("Filename\n{} partition 8 0 -2\n", swapped.path("dev/sdb1").display());
        swapped.write("proc/swaps", line);
        assert_eq!(swapped.usage(), [Usage::Swap]);

        let held = machine();
        held.write("sys/block/sdb/sdb1/holders/dm-0/x", "");
        assert_eq!(held.usage(), [Usage::Holder { device: "dm-0".to_owned() }]);

        let spread = machine();
        spread.write("sys/fs/btrfs/6a5b/devices/sdb/x", "");
        assert_eq!(spread.usage(), [Usage::Btrfs { uuid: "6a5b".to_owned() }]);

        let mut member = machine();
        let kind = "LVM2_member".to_owned();
        member.marks.insert("sdb1", Signature { kind: kind.clone(), is_member: true });
        member.marks.insert("sdb", Signature { kind: "gpt".to_owned(), is_member: false });
        assert_eq!(member.usage(), [Usage::Member { kind }]);

        let gone = machine();
        std::fs::remove_file(gone.path("dev/sdb")).unwrap();
        assert!(matches!(gone.usage().as_slice(), [Usage::Unknown { .. }]));
    }

    #[test]
    fn a_glance_tells_one_medium_from_the_next_in_the_same_place() {
        let machine = Machine::new();
        let source =
            || Source { sys: machine.path("sys"), dev: "/dev".into(), ..Source::default() };
        let glance = || super::glance(&source()).unwrap();
        let empty = glance();
        machine.disk(SATA, "sdb", "8:16", &[("diskseq", b"7\n")]);
        let first = glance();
        assert_ne!(first, empty);
        assert_eq!(first, glance());
        assert_eq!(first.insertion(Path::new("/dev/sdb")), 7);
        assert_eq!(first.insertion(Path::new("/dev/sdc")), 0);
        machine.partition("sdb", 1, "8:17");
        let parted = glance();
        assert_ne!(parted, first, "its partition is seen later");
        machine.write("sys/block/sdb/diskseq", "8\n");
        assert_ne!(glance(), parted);
    }

    #[test]
    fn serial_numbers_come_from_the_drive_before_they_come_from_udev() {
        let machine = Machine::new();
        machine.disk("pci0000:00/virtio1", "vda", "254:0", &[("serial", b"disk one\n")]);
        machine.write("run/udev/data/b254:0", "E:ID_SERIAL_SHORT=other\n");
        assert_eq!(machine.found()[0].serial.as_ref().unwrap().to_string(), "disk_one");
        machine.write("sys/block/vda/serial", "");
        assert_eq!(machine.found()[0].serial.as_ref().unwrap().to_string(), "other");
    }

    #[test]
    fn what_hangs_on_usb_has_the_serial_number_of_its_plug_when_nobody_knows_another() {
        let plug = "pci0000:00/0000:00:14.0/usb2/2-1";
        let machine = Machine::new();
        machine.disk(&format!("{plug}/2-1:1.0/host6/target6:0:0/6:0:0:0"), "sdc", "8:32", &[]);
        let serial = || machine.found()[0].serial.as_ref().map(ToString::to_string);
        machine.write("sys/devices/pci0000:00/0000:00:14.0/usb2/idVendor", "1d6b\n");
        machine.write("sys/devices/pci0000:00/0000:00:14.0/usb2/serial", "0000:00:14.0\n");
        machine.write(&format!("sys/devices/{plug}/idVendor"), "0bda\n");
        assert_eq!(serial(), None, "the host's own controller is no drive");
        machine.write(&format!("sys/devices/{plug}/serial"), "DD5641988396\n");
        assert_eq!(serial().as_deref(), Some("DD5641988396"));
        machine.write("run/udev/data/b8:32", "E:ID_SERIAL_SHORT=WD-WCC4N0\n");
        assert_eq!(serial().as_deref(), Some("WD-WCC4N0"), "udev has asked the drive itself");
    }
}
