//! How a drive is laid out, and how it gets that way: a plan of programs that can be shown before it
//! is run.
//!
//! ```text
//!  GPT │ one partition, from 1 MiB to the end │ LUKS2: header of 16 MiB, then AES-256-XTS │ ext4
//! ```
//!
//! A loop device has no table and no partition: it stands for the partition, and many kernels show
//! none of its own.

use crate::Error;
use crate::device::{Bus, Device};
use crate::signature::Probe;
use crate::step::{BLOCKDEV, CRYPTSETUP, Input, MKFS, SFDISK, Step, WIPEFS};
use model::{Digest, DrivePassword, DriveSerial};
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// "Linux LUKS" in the Discoverable Partitions Specification.
const TABLE: &str = "label: gpt\nstart=1MiB, type=CA7D7CCB-63ED-4C53-861C-1742536059CC\n";

/// Where the data of a LUKS2 container begins, and its header ends: cryptsetup's own choice, made
/// explicit because the hash is over exactly this.
pub const HEADER_BYTES: u64 = 16 << 20;

/// Of `HEADER_BYTES`, in the sectors of 512 bytes that `cryptsetup` counts in.
const HEADER_SECTORS: &str = "32768";

/// Memory that guessing a password takes, in KiB. Of the password's own 128 bits nobody guesses any; so
/// the number of passes is the least, and a drive opens at once on a weak machine, too.
const KDF_MEMORY: &str = "65536";
const KDF_PASSES: &str = "4";

/// How long a new partition may take to show up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Inodes: one a MiB is plenty for packs; a small drive gets this many for indexes and snapshots.
const LEAST_INODES: u64 = 16 << 10;

/// What keeps others from reading a drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protection {
    /// A LUKS2 container with this password.
    Luks(DrivePassword),
    /// Nothing but the repository's own encryption: file names, lengths and numbers can be seen.
    None,
}

/// A device with our layout, whether it has been made or is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The whole device.
    pub device: PathBuf,
    /// Its serial number.
    pub serial: DriveSerial,
    /// What holds the container or the file system: the partition; none before there is one.
    part: Option<PathBuf>,
    /// Whether the device is laid out without a table.
    whole: bool,
    bytes: u64,
    number: (u32, u32),
    insertion: u64,
}

impl Volume {
    /// The volume that the device has, or is to have.
    #[must_use]
    pub fn of(device: &Device, serial: DriveSerial) -> Self {
        let whole = device.bus == Bus::Loop;
        let part = match device.partitions.as_slice() {
            _ if whole => Some(device.path.clone()),
            [only] => Some(only.path.clone()),
            _ => None,
        };
        Self {
            device: device.path.clone(),
            serial,
            part,
            whole,
            bytes: device.size.0,
            number: device.number,
            insertion: device.insertion,
        }
    }

    /// Refuses when another device has this one's name by now.
    ///
    /// # Errors
    /// [`Error::Exchanged`].
    pub fn refuse_another(&self) -> Result<(), Error> {
        let exchanged = || Error::Exchanged { device: self.device.clone() };
        let path = self.device.as_path();
        let found = std::fs::metadata(path).map_err(|_| exchanged())?.rdev();
        let (major, minor) = (rustix::fs::major(found), rustix::fs::minor(found));
        let told = format!("/sys/dev/block/{major}:{minor}/diskseq");
        let insertion = std::fs::read_to_string(told).ok().and_then(|n| n.trim().parse().ok());
        match (major, minor) == self.number && insertion.unwrap_or(0) == self.insertion {
            true => Ok(()),
            false => Err(exchanged()),
        }
    }

    /// The length of the device, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the device is still attached.
    #[must_use]
    pub fn is_there(&self) -> bool {
        open_direct(&self.device, OFlags::RDONLY).is_ok()
    }

    /// The partition, or the whole device where that is the layout.
    ///
    /// # Errors
    /// [`Error::OtherLayout`] when there is none, or more than one.
    pub fn part(&self) -> Result<&Path, Error> {
        self.part.as_deref().ok_or_else(|| Error::OtherLayout {
            device: self.device.clone(),
            what: "it has not exactly one partition".to_owned(),
        })
    }

    /// Whether it holds a LUKS container.
    ///
    /// # Errors
    /// It cannot be read; it has neither a container nor ext4.
    pub fn is_encrypted(&self, probe: &dyn Probe) -> Result<bool, Error> {
        let part = self.part()?;
        let found = probe.signature(part).map_err(Error::io("reading", part))?;
        match found.as_ref().map(|found| found.kind.as_str()) {
            Some("crypto_LUKS") => Ok(true),
            Some("ext4") => Ok(false),
            other => Err(Error::OtherLayout {
                device: self.device.clone(),
                what: format!("it holds {}", other.unwrap_or("nothing that is known")),
            }),
        }
    }

    /// The SHA-256 of the container's header, read from the medium.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn header_hash(&self) -> Result<Digest, Error> {
        let part = self.part()?;
        forget(part)?;
        let read = || -> io::Result<Digest> {
            let (file, mut hash) = (open_direct(part, OFlags::RDONLY)?, Sha256::new());
            let mut buffer = Aligned::new();
            for at in (0..HEADER_BYTES).step_by(Aligned::LENGTH) {
                file.read_exact_at(buffer.bytes(), at)?;
                hash.update(buffer.bytes());
            }
            Ok(Digest(hash.finalize().into()))
        };
        read().map_err(Error::io("reading the header of", part))
    }

    /// The name of its opened container below `/dev/mapper`.
    pub(crate) fn mapping(&self) -> String {
        format!("packmule-{}", place_of(&self.serial))
    }

    /// What the file system lies on once it is open.
    pub(crate) fn opened(&self, protection: &Protection) -> Result<PathBuf, Error> {
        match protection {
            Protection::Luks(_) => Ok(Path::new("/dev/mapper").join(self.mapping())),
            Protection::None => self.part().map(Path::to_owned),
        }
    }

    pub(crate) fn open_step(
        &self,
        password: &DrivePassword,
        read_only: bool,
    ) -> Result<Step, Error> {
        let step = Step::new("opening the encrypted drive", CRYPTSETUP);
        let step = step.args(["open", "--type", "luks2", "--key-file", "-"]);
        let step = step.args(read_only.then_some("--readonly")).args(["--".as_ref(), self.part()?]);
        Ok(step.args([self.mapping()]).input(Input::Secret(password.text())))
    }

    pub(crate) fn close_step(&self) -> Step {
        Step::new("closing the encrypted drive", CRYPTSETUP).args(["close", "--", &self.mapping()])
    }

    /// As soon as nobody uses it.
    pub(crate) fn close_later_step(&self) -> Step {
        let step = Step::new("closing the encrypted drive", CRYPTSETUP);
        step.args(["close", "--deferred", "--", &self.mapping()])
    }
}

/// A serial number as a part of names: of a folder, and of a device below `/dev/mapper`, where many a
/// character has another meaning. Two serial numbers never have the same.
pub(crate) fn place_of(serial: &DriveSerial) -> String {
    let text = serial.as_str();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.chars().all(plain) {
        return text.to_owned();
    }
    let hash = Digest(Sha256::digest(text).into()).to_hex();
    let readable: String = text.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    // No plain serial number has a point in it.
    format!("{readable}.{}", hash.get(..16).unwrap_or_default())
}

/// What formatting a device does, in order.
#[derive(Debug, Clone)]
pub struct Plan {
    volume: Volume,
    protection: Protection,
    /// The partitions that are there, whose marks are removed one by one.
    parts: Vec<PathBuf>,
}

impl Plan {
    /// To make `volume` on the device.
    #[must_use]
    pub fn new(device: &Device, volume: &Volume, protection: Protection) -> Self {
        let parts = device.partitions.iter().map(|part| part.path.clone()).collect();
        Self { volume: volume.clone(), protection, parts }
    }

    /// Its steps, for people. Of a partition that is still to be made the name is a guess.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = self.table();
        let mut volume = self.volume.clone();
        volume.part.get_or_insert_with(|| first_partition(&self.volume.device));
        // There is a partition: nothing is left that could fail.
        steps.extend(self.file_system(&volume).unwrap_or_default());
        steps
    }

    /// Removes what marks the device as something else, and gives it its one partition.
    fn table(&self) -> Vec<Step> {
        let wipe = |path: &PathBuf| {
            let step = Step::new("removing old marks from the drive", WIPEFS);
            step.args(["--all", "--quiet", "--"]).args([path])
        };
        let device = &self.volume.device;
        let mut steps: Vec<Step> = self.parts.iter().chain([device]).map(wipe).collect();
        if !self.volume.whole {
            let step = Step::new("writing the partition table", SFDISK);
            let step = step.args(["--quiet", "--lock=yes", "--wipe", "always"]);
            let step = step.args(["--wipe-partitions", "always", "--"]);
            steps.push(step.args([device]).input(Input::Text(TABLE)));
        }
        steps
    }

    fn file_system(&self, volume: &Volume) -> Result<Vec<Step>, Error> {
        let mut steps = Vec::new();
        if let Protection::Luks(password) = &self.protection {
            let step = Step::new("encrypting the drive", CRYPTSETUP);
            let step = step.args(["luksFormat", "--batch-mode", "--type", "luks2"]);
            let step = step.args(["--cipher", "aes-xts-plain64", "--key-size", "512"]);
            let step = step.args(["--pbkdf", "argon2id", "--pbkdf-memory", KDF_MEMORY]);
            let step = step.args(["--pbkdf-parallel", "1", "--pbkdf-force-iterations", KDF_PASSES]);
            let step = step.args(["--offset", HEADER_SECTORS, "--label", "packmule"]);
            let step = step.args(["--key-file", "-", "--"]).args([volume.part()?]);
            steps.push(step.input(Input::Secret(password.text())));
            steps.push(volume.open_step(password, false)?);
        }
        let inodes = (volume.bytes >> 20).clamp(LEAST_INODES, u64::from(u32::MAX) / 2);
        let step = Step::new("making the file system", MKFS);
        let step = step.args(["-q", "-F", "-m", "0", "-L", "packmule", "-N", &inodes.to_string()]);
        let step = step.args(["-E", "lazy_itable_init=0,lazy_journal_init=0", "--"]);
        steps.push(step.args([volume.opened(&self.protection)?]));
        if matches!(self.protection, Protection::Luks(_)) {
            steps.push(volume.close_step());
        }
        Ok(steps)
    }

    /// Formats the device: what is on it is lost. `told` hears of each step before it is done.
    ///
    /// The caller has just made sure that nobody uses the device; the programs ask the kernel again.
    ///
    /// # Errors
    /// A step fails: the device is of no use then until it is formatted again.
    pub fn run(&self, told: &mut dyn FnMut(&Step)) -> Result<Formatted, Error> {
        if matches!(self.protection, Protection::Luks(_)) {
            crate::attach::require_mapper()?;
        }
        // Against other processes of ours; the programs ask the kernel about everybody else.
        let _lock = crate::attach::lock(&self.volume.serial)?;
        let mut run = |step: &Step| {
            self.volume.refuse_another()?;
            told(step);
            step.run()
        };
        self.table().iter().try_for_each(&mut run)?;
        let mut volume = self.volume.clone();
        if !volume.whole {
            volume.part = Some(await_partition(&volume.device, volume.bytes)?);
        }
        if let Err(error) = self.file_system(&volume)?.iter().try_for_each(&mut run) {
            if matches!(self.protection, Protection::Luks(_)) {
                // Open or not: it is of no use, and must not stay in the way.
                let _ = volume.close_step().run();
            }
            return Err(error);
        }
        let header_hash = match self.protection {
            Protection::Luks(_) => Some(volume.header_hash()?),
            Protection::None => None,
        };
        Ok(Formatted { volume, header_hash })
    }
}

/// A device that has just got our layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formatted {
    /// It.
    pub volume: Volume,
    /// The SHA-256 of its container's header; none where it has no container.
    pub header_hash: Option<Digest>,
}

/// As the kernel names them.
fn first_partition(device: &Path) -> PathBuf {
    let name = device.to_string_lossy();
    let between = if name.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
    format!("{name}{between}1").into()
}

/// The partition, once the kernel shows the one that was just written, and its file is there.
fn await_partition(device: &Path, bytes: u64) -> Result<PathBuf, Error> {
    let name = device.file_name().unwrap_or_default();
    let part = first_partition(device);
    let shown = Path::new("/sys/class/block").join(name).join(part.file_name().unwrap_or_default());
    let sectors = |value: &str| {
        let text = std::fs::read_to_string(shown.join(value)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    // One that was there before may still be shown: it is told by its place. GPT takes a little at the end.
    let is_ours = || {
        let (start, size) = (sectors("start")?, sectors("size")?);
        let end = start.saturating_add(size).saturating_mul(512);
        Some(start == 2048 && end.saturating_add(4 << 20) > bytes)
    };
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if is_ours() == Some(true) && File::open(&part).is_ok() {
            return Ok(part);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(Error::NoPartition { device: device.to_owned() })
}

/// Makes the kernel forget what it remembers of a device's bytes, after writing what is to be written.
pub(crate) fn forget(device: &Path) -> Result<(), Error> {
    Step::new("writing out what is remembered of the drive", BLOCKDEV)
        .args(["--flushbufs".as_ref(), device])
        .run()
}

/// Opens a device so that reads and writes go to the medium.
pub(crate) fn open_direct(path: &Path, access: OFlags) -> io::Result<File> {
    let flags = access | OFlags::DIRECT | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

/// A buffer that reads and writes past the kernel's memory can use: they want the start at a multiple of
/// the device's block.
pub(crate) struct Aligned(Vec<u8>);

impl Aligned {
    /// Its length in bytes.
    pub(crate) const LENGTH: usize = 1 << 20;
    const BLOCK: usize = 4096;

    pub(crate) fn new() -> Self {
        Self(vec![0; Self::LENGTH + Self::BLOCK])
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        let start = self.0.as_ptr().align_offset(Self::BLOCK).min(Self::BLOCK);
        self.0.get_mut(start..start + Self::LENGTH).unwrap_or_default()
    }
}
