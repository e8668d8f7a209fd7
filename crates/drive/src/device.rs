//! What is known of a block device. Pure.

use model::{ByteSize, DriveSerial};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// A whole device, not a partition of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Its file, such as `/dev/sdb`.
    pub path: PathBuf,
    /// Major and minor number.
    pub number: (u32, u32),
    /// A number that it keeps until it is taken out; 0 on kernels before 5.15.
    #[serde(skip)]
    pub insertion: u64,
    /// What its maker calls it; none when it does not say.
    pub model: Option<String>,
    /// Its serial number; none when it does not say, or says what cannot be one.
    pub serial: Option<DriveSerial>,
    /// Its length.
    pub size: ByteSize,
    /// What connects it.
    pub bus: Bus,
    /// What its bytes are on.
    pub medium: Medium,
    /// How large its case is, where it says so.
    pub form_factor: Option<FormFactor>,
    /// Whether its medium can be taken out, as of a card reader or a stick.
    pub removable: bool,
    /// Whether it refuses to be written to.
    pub read_only: bool,
    /// In the order of their numbers.
    pub partitions: Vec<Partition>,
    /// What uses it as a whole, or one of its partitions.
    pub usage: Vec<Usage>,
}

/// A part of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its file, such as `/dev/sdb1`.
    pub path: PathBuf,
    /// Major and minor number.
    pub number: (u32, u32),
    /// Its length.
    pub size: ByteSize,
}

/// What connects a device to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "their own names")]
pub enum Bus {
    Sata,
    Sas,
    Usb,
    Nvme,
    Mmc,
    /// Of a virtual machine.
    Virtio,
    /// A file that stands for a device.
    Loop,
    /// None of these.
    Other,
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sata => "SATA",
            Self::Sas => "SAS",
            Self::Usb => "USB",
            Self::Nvme => "NVMe",
            Self::Mmc => "MMC",
            Self::Virtio => "virtio",
            Self::Loop => "loop",
            Self::Other => "other",
        })
    }
}

/// What bytes are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// Turning disks.
    Hdd,
    /// No moving parts.
    Ssd,
}

impl fmt::Display for Medium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Hdd => "HDD",
            Self::Ssd => "SSD",
        })
    }
}

/// The nominal width of a drive's case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum FormFactor {
    /// 5.25 inches.
    #[serde(rename = "5.25")]
    Five,
    /// 3.5 inches.
    #[serde(rename = "3.5")]
    Three,
    /// 2.5 inches.
    #[serde(rename = "2.5")]
    Two,
    /// 1.8 inches or less.
    #[serde(rename = "1.8")]
    Small,
}

impl fmt::Display for FormFactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Five => "5.25\"",
            Self::Three => "3.5\"",
            Self::Two => "2.5\"",
            Self::Small => "1.8\"",
        })
    }
}

/// What uses a device. Such a device is somebody's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum Usage {
    /// A file system is mounted.
    Mount {
        /// Where.
        at: PathBuf,
    },
    /// Memory is swapped to it.
    Swap,
    /// Another device is made of it: a logical volume, an array, an opened container.
    Holder {
        /// Its name below `/sys/block`.
        device: String,
    },
    /// A file system of several devices is mounted, and this is one of them.
    Btrfs {
        /// Of the file system.
        uuid: String,
    },
    /// It belongs to an array or a group of volumes that is not running.
    Member {
        /// Of what, in the words of `blkid`, such as `LVM2_member`.
        kind: String,
    },
    /// The kernel has given it to somebody and does not say to whom.
    Claimed,
    /// It could not be found out.
    Unknown {
        /// Why not.
        why: String,
    },
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount { at } => write!(f, "it is mounted at {}", at.display()),
            Self::Swap => f.write_str("memory is swapped to it"),
            Self::Holder { device } => write!(f, "{device} is made of it"),
            Self::Btrfs { uuid } => write!(f, "it belongs to the mounted btrfs {uuid}"),
            Self::Member { kind } => write!(f, "it belongs to something of several parts ({kind})"),
            Self::Claimed => f.write_str("the kernel says that it is in use"),
            Self::Unknown { why } => write!(f, "whether it is in use cannot be found out ({why})"),
        }
    }
}
