//! Drives on their way into a preparation: folders as they are, block devices after they were judged,
//! formatted if that was confirmed, and mounted. Puts no object on any.
//!
//! ```text
//!  found ─▶ what a killed process left is closed ─▶ judged ─▶ ours already? ─▶ confirmed ─▶ formatted ─▶ mounted
//! ```
//!
//! invariant: every question is asked, and every refusal made, before the first byte is changed on any
//! drive; and a drive's password is durable before the drive is encrypted with it.

use super::drives::folder_spec;
use crate::context::Context;
use crate::failure::Failure;
use crate::ui::Ask;
use clap::{Args, ValueEnum};
use drive::{
    Access, Attached, Blkid, Device, Plan, Probe as _, Protection, Source, Unread, Usage, Volume,
};
use keyring::DriveKeys;
use model::{ByteSize, DriveSerial, ErrorKind};
use seed::{DriveSpec, ReadBack};
use serde_json::json;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use wire::MAX_DRIVES;

/// Which drives, and how they are treated.
#[derive(Args, Debug, Clone)]
pub(crate) struct DriveOptions {
    /// A drive, such as /dev/sdb, or a folder where one is mounted; may be repeated
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub(crate) drive: Vec<PathBuf>,
    /// Bytes of a drive that may be used: one for all, or one for each drive [default: what is free]
    #[arg(long, value_name = "SIZE", value_delimiter = ',')]
    pub(crate) capacity: Vec<ByteSize>,
    /// What keeps others from reading a drive
    #[arg(long, value_enum, value_name = "HOW", default_value = "luks2")]
    pub(crate) encryption: Encryption,
    /// Take drives that import services refuse, too: not SATA, larger than 10 TB, removable
    #[arg(long)]
    pub(crate) unsuitable: bool,
    /// Confirm everything without asking: drives on which nothing is are formatted
    #[arg(long)]
    pub(crate) yes: bool,
    /// Serial number of a drive that may be formatted whatever is on it; may be repeated
    #[arg(long, value_name = "SERIAL")]
    pub(crate) format: Vec<DriveSerial>,
}

/// What keeps others from reading a drive.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    /// A LUKS2 container, with a password of its own for each drive
    Luks2,
    /// Nothing but the repository's own encryption: names and lengths of its files can be seen
    None,
}

/// Drives that can be written.
pub(crate) struct Bays {
    /// In the order given.
    pub(crate) specs: Vec<DriveSpec>,
    /// Those that were formatted just now.
    pub(crate) formatted: Vec<DriveSerial>,
    attached: Vec<Attached>,
}

impl DriveOptions {
    fn check_capacities(&self) -> Result<(), Failure> {
        if self.capacity.len() > 1 && self.capacity.len() != self.drive.len() {
            let words = format!(
                "{} capacities for {} drives: give one for all, or one each",
                self.capacity.len(),
                self.drive.len()
            );
            return Err(Failure::new(ErrorKind::Invalid, words));
        }
        Ok(())
    }

    fn capacity_of(&self, at: usize) -> Option<u64> {
        let all = self.capacity.first().filter(|_| self.capacity.len() == 1);
        self.capacity.get(at).or(all).map(|size| size.0)
    }

    /// Without drives that are not attached any more, which is said: nothing more can be done with these.
    pub(crate) fn still_attached(&self, context: &Context) -> Self {
        let mut left = self.clone();
        // A single capacity is that of all drives.
        if left.capacity.len() > 1 {
            let mut drives = self.drive.iter();
            left.capacity.retain(|_| drives.next().is_some_and(|path| path.exists()));
        }
        left.drive.retain(|path| path.exists());
        for path in self.drive.iter().filter(|path| !left.drive.contains(path)) {
            context.printer.problem(&path.display().to_string(), "is not attached any more");
        }
        left
    }

    /// Makes every drive ready to be written. `may_format` is asked before anybody is, and where a drive
    /// has to be formatted only.
    ///
    /// # Errors
    /// Refuses before anything is changed: what may not be used, what was not confirmed.
    pub(crate) fn ready(
        &self,
        context: &Context,
        keys: &DriveKeys,
        ask: &dyn Ask,
        may_format: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<Bays, Failure> {
        self.check_capacities()?;
        let judged = self.judged(true)?;
        let mut places = Vec::new();
        for (path, device) in self.drive.iter().zip(judged) {
            places.push(match device {
                None => Place::Folder(path.clone()),
                Some(device) => self.place(device, Some(keys))?,
            });
        }
        if places.iter().any(|place| place.protection(self.encryption) == Some(Encryption::Luks2)) {
            drive::require_mapper()?;
        }
        if places.iter().any(|place| matches!(place, Place::Foreign(..))) {
            may_format()?;
            self.confirm(context, keys, ask, &places)?;
        }
        let mut bays = Bays { specs: Vec::new(), formatted: Vec::new(), attached: Vec::new() };
        for (at, place) in places.into_iter().enumerate() {
            if context.stop.load(std::sync::atomic::Ordering::Relaxed) {
                let words = "stopped; the same command goes on where this one ended";
                return Err(Failure::new(ErrorKind::Interrupted, words));
            }
            let mut spec = bays.enter(context, keys, self.encryption, place)?;
            spec.capacity = self.capacity_of(at);
            bays.specs.push(spec);
        }
        Ok(bays)
    }

    /// What would be done to block devices, for `--dry-run`, and the room of every drive.
    pub(crate) fn plan(
        &self,
        context: &Context,
        keys: Option<&DriveKeys>,
    ) -> Result<Vec<Room>, Failure> {
        self.check_capacities()?;
        let mut rooms = Vec::new();
        for (at, (path, device)) in self.drive.iter().zip(self.judged(false)?).enumerate() {
            let free = match device {
                None => free(path)?,
                Some(device) => {
                    let place = self.place(device, keys)?;
                    place.show(context, self.encryption);
                    place.room()
                }
            };
            let bytes = self.capacity_of(at).map_or(free, |capacity| capacity.min(free));
            rooms.push(Room { path: path.clone(), bytes });
        }
        Ok(rooms)
    }

    /// The devices among the paths given, each of which may be used; none for a folder. With `release`,
    /// what an earlier call of ours has left open of them is closed first.
    fn judged(&self, release: bool) -> Result<Vec<Option<Device>>, Failure> {
        if self.drive.len() > MAX_DRIVES {
            let words = format!(
                "{} drives were given, and a set has at most {MAX_DRIVES}",
                self.drive.len()
            );
            return Err(Failure::new(ErrorKind::Invalid, words));
        }
        let mut devices: Vec<Option<Device>> = Vec::new();
        for path in &self.drive {
            let device = look(path, release)?;
            if let Some(device) = &device {
                self.refuse(device)?;
                if devices.iter().flatten().any(|other| other.number == device.number) {
                    let words = format!("{} was given twice", device.path.display());
                    return Err(Failure::new(ErrorKind::WrongDrive, words));
                }
            }
            devices.push(device);
        }
        Ok(devices)
    }

    fn refuse(&self, device: &Device) -> Result<(), Failure> {
        let refusals = drive::judge(device);
        let counts = |refusal: &&drive::Refusal| !(self.unsuitable && refusal.can_be_overridden());
        let mut words: Vec<String> =
            refusals.iter().filter(counts).map(ToString::to_string).collect();
        if let Some(other) = twin(device)? {
            // Two ways to one drive, or an adaptor that says the same of every drive.
            words.push(format!("{} says the same serial number", other.display()));
        }
        if words.is_empty() {
            return Ok(());
        }
        let all_overridable = refusals.iter().all(drive::Refusal::can_be_overridden);
        let hint = if all_overridable { "; --unsuitable takes it all the same" } else { "" };
        let words = format!("{} is not used: {}{hint}", device.path.display(), words.join("; "));
        Err(Failure::new(ErrorKind::WrongDrive, words))
    }

    fn place(&self, device: Device, keys: Option<&DriveKeys>) -> Result<Place, Failure> {
        let serial = serial(&device)?;
        let volume = Volume::of(&device, serial);
        let kept = self.is_ours(&volume, keys)?;
        Ok(if kept { Place::Ours(volume) } else { Place::Foreign(Box::new(device), volume) })
    }

    /// Whether it was formatted by an earlier call, for this seed. What cannot be read is an error, never
    /// a no: a no leads to formatting.
    fn is_ours(&self, volume: &Volume, keys: Option<&DriveKeys>) -> Result<bool, Failure> {
        let encrypted = match volume.is_encrypted(&Blkid) {
            Err(drive::Error::OtherLayout { .. }) => return Ok(false),
            other => other?,
        };
        match self.encryption {
            Encryption::Luks2 if encrypted => {
                let Some(keys) = keys else { return Ok(false) };
                let hash = keys.get(&volume.serial)?.and_then(|key| key.header_hash);
                Ok(hash.is_some() && Some(volume.header_hash()?) == hash)
            }
            Encryption::None if !encrypted => {
                let attached = Attached::new(volume.clone(), Protection::None, Access::Look)?;
                let label = seed::inspect(attached.folder());
                attached.detach()?;
                Ok(label?.is_some())
            }
            _ => Ok(false),
        }
    }

    /// Whether a drive that holds something may be formatted without somebody who looks at it: it was named,
    /// or it was begun to be formatted for this seed and nothing can be on it yet.
    fn may_lose(&self, volume: &Volume, keys: &DriveKeys) -> Result<bool, Failure> {
        let named = self.format.contains(&volume.serial);
        let begun = || {
            Ok::<_, Failure>(keys.get(&volume.serial)?.is_some_and(|key| key.header_hash.is_none()))
        };
        Ok(named || begun()?)
    }

    fn confirm(
        &self,
        context: &Context,
        keys: &DriveKeys,
        ask: &dyn Ask,
        places: &[Place],
    ) -> Result<(), Failure> {
        let foreign: Vec<String> = places.iter().filter_map(Place::describe).collect();
        for line in &foreign {
            context.printer.note(line);
        }
        if self.yes {
            return places.iter().try_for_each(|place| self.refuse_unseen(place, keys));
        }
        let drives = if foreign.len() == 1 { "this drive" } else { "these drives" };
        let question = format!("Everything on {drives} will be lost. Type yes to format");
        if ask.ask("yes", &question)? == "yes" {
            return Ok(());
        }
        Err(Failure::new(ErrorKind::Interrupted, "not confirmed: nothing was changed"))
    }
}

impl DriveOptions {
    /// Names such as /dev/sdb go to another drive after every restart: nothing that somebody may miss is
    /// formatted because it has one.
    fn refuse_unseen(&self, place: &Place, keys: &DriveKeys) -> Result<(), Failure> {
        let Place::Foreign(device, volume) = place else { return Ok(()) };
        let found = holds(device);
        if found.is_empty() || self.may_lose(volume, keys)? {
            return Ok(());
        }
        let (path, serial) = (device.path.display(), &volume.serial);
        let words = format!(
            "{path} (serial number {serial}) is not empty, on it: {}; to lose that, add --format {serial}",
            found.join(", ")
        );
        Err(Failure::new(ErrorKind::WrongDrive, words))
    }
}

/// Another device with the same serial number.
fn twin(device: &Device) -> Result<Option<PathBuf>, Failure> {
    let devices = drive::discover(&Source::default(), &Unread)?;
    let is_twin = |other: &Device| other.number != device.number && other.serial == device.serial;
    let twin = devices.into_iter().filter(|_| device.serial.is_some()).find(is_twin);
    Ok(twin.map(|other| other.path))
}

/// How much of a drive a plan may use.
pub(crate) struct Room {
    /// As given.
    pub(crate) path: PathBuf,
    /// Bytes.
    pub(crate) bytes: u64,
}

enum Place {
    Folder(PathBuf),
    /// Formatted by an earlier call.
    Ours(Volume),
    /// To be formatted.
    Foreign(Box<Device>, Volume),
}

impl Place {
    fn protection(&self, encryption: Encryption) -> Option<Encryption> {
        (!matches!(self, Self::Folder(_))).then_some(encryption)
    }

    fn describe(&self) -> Option<String> {
        let Self::Foreign(device, volume) = self else { return None };
        Some(describe(device, volume))
    }

    fn show(&self, context: &Context, encryption: Encryption) {
        let printer = &context.printer;
        let Self::Foreign(device, volume) = self else { return };
        if let Some(line) = self.describe() {
            printer.line(line);
        }
        // Only shown: the real one is drawn when the drive is formatted.
        let none = model::DrivePassword::from_bytes(&[0; 16]);
        let protection = match encryption {
            Encryption::Luks2 => Protection::Luks(none),
            Encryption::None => Protection::None,
        };
        let steps = Plan::new(device, volume, protection).steps();
        let lines: Vec<String> = steps.iter().map(ToString::to_string).collect();
        for line in &lines {
            printer.line(format!("  {line}"));
        }
        let object = json!({"path": device.path, "serial": volume.serial, "steps": lines});
        printer.object("planned_format", &object);
    }

    /// By estimate: the container's header and the file system's own take a little.
    fn room(&self) -> u64 {
        let bytes = match self {
            Self::Foreign(device, _) => device.size.0,
            Self::Ours(volume) => volume.bytes(),
            Self::Folder(_) => 0,
        };
        bytes.saturating_sub(drive::HEADER_BYTES) / 100 * 98
    }
}

/// What people compare with what is printed on the drive.
pub(crate) fn describe(device: &Device, volume: &Volume) -> String {
    let holds = match holds(device) {
        found if found.is_empty() => "nothing that is known is on it".to_owned(),
        found => format!("on it: {}", found.join(", ")),
    };
    format!(
        "{}: {}, serial number {}, {}; {holds}",
        device.path.display(),
        device.model.as_deref().unwrap_or("a drive that does not say its model"),
        volume.serial,
        device.size,
    )
}

fn holds(device: &Device) -> Vec<String> {
    let parts = device.partitions.iter().map(|part| &part.path);
    let kind = |path: &PathBuf| Some(Blkid.signature(path).ok()??.kind);
    let found = std::iter::once(&device.path).chain(parts);
    let marks = found.filter_map(kind);
    let count = device.partitions.len();
    let table = (count > 0).then(|| format!("{count} partitions"));
    table.into_iter().chain(marks).collect()
}

/// The serial number that the drive says.
pub(super) fn serial(device: &Device) -> Result<DriveSerial, Failure> {
    device.serial.clone().ok_or_else(|| {
        let words = format!("{} says no serial number", device.path.display());
        Failure::new(ErrorKind::WrongDrive, words)
    })
}

/// The device behind a path; none where the path is a folder. What an earlier call of ours has left open
/// of it is closed.
pub(crate) fn find(path: &Path) -> Result<Option<Device>, Failure> {
    look(path, true)
}

fn look(path: &Path, release: bool) -> Result<Option<Device>, Failure> {
    let looked = std::fs::metadata(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => {
            let words = format!(
                "there is no {}: give a drive, such as /dev/sdb, or the folder where one is mounted",
                path.display()
            );
            Failure::new(ErrorKind::WrongDrive, words)
        }
        _ => Failure::io("looking at", path, cause),
    })?;
    if looked.is_dir() {
        return Ok(None);
    }
    let wrong = |what: &str| {
        let words = format!("{} {what}", path.display());
        Failure::new(ErrorKind::WrongDrive, words)
    };
    if !looked.file_type().is_block_device() {
        return Err(wrong("is neither a folder nor a drive"));
    }
    let number = (rustix::fs::major(looked.rdev()), rustix::fs::minor(looked.rdev()));
    let again = || -> Result<Device, Failure> {
        let devices = drive::discover(&Source::default(), &Blkid)?;
        let part = devices.iter().find(|d| d.partitions.iter().any(|part| part.number == number));
        if let Some(whole) = part {
            let words = format!("is a part of a drive: give {}", whole.path.display());
            return Err(wrong(&words));
        }
        let found = devices.into_iter().find(|device| device.number == number);
        found.ok_or_else(|| wrong("is no drive: `packmule drive list` shows those there are"))
    };
    let device = again()?;
    let held = |usage: &Usage| matches!(usage, Usage::Holder { .. } | Usage::Mount { .. });
    if let Some(serial) = device.serial.clone().filter(|_| release && device.usage.iter().any(held))
    {
        drive::release(&Volume::of(&device, serial))?;
        return again().map(Some);
    }
    Ok(Some(device))
}

fn free(folder: &Path) -> Result<u64, Failure> {
    let stat = rustix::fs::statvfs(folder)
        .map_err(|errno| Failure::io("looking at", folder, io::Error::from(errno)))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

impl Bays {
    fn enter(
        &mut self,
        context: &Context,
        keys: &DriveKeys,
        encryption: Encryption,
        place: Place,
    ) -> Result<DriveSpec, Failure> {
        let (volume, protection) = match place {
            Place::Folder(folder) => return folder_spec(&folder),
            Place::Ours(volume) => {
                let protection = protection(keys, encryption, &volume.serial)?;
                (volume, protection)
            }
            Place::Foreign(device, volume) => {
                refuse_another(&device)?;
                let protection = protection(keys, encryption, &volume.serial)?;
                let plan = Plan::new(&device, &volume, protection.clone());
                let formatted = plan.run(&mut |step| {
                    context.printer.note(format!("{}: {}", device.path.display(), step.what()));
                })?;
                if let Some(hash) = formatted.header_hash {
                    keys.formatted(&formatted.volume.serial, hash)?;
                }
                self.formatted.push(formatted.volume.serial.clone());
                (formatted.volume, protection)
            }
        };
        let attached = Attached::new(volume, protection, Access::Write)?;
        let (folder, serial) = (attached.folder().to_owned(), attached.serial().clone());
        self.attached.push(attached);
        Ok(DriveSpec { folder, serial, capacity: None })
    }

    /// Serial numbers of the drives that are encrypted.
    pub(crate) fn encrypted(&self) -> Vec<DriveSerial> {
        let encrypted = self.attached.iter().filter(|bay| bay.is_encrypted());
        encrypted.map(|bay| bay.serial().clone()).collect()
    }

    /// Whether one of the devices opened here is mounted there.
    pub(crate) fn has(&self, folder: &Path) -> bool {
        self.attached.iter().any(|bay| bay.folder() == folder)
    }

    /// Unmounts and closes what was opened: drives can be taken out then. What is in the way is told, and
    /// takes nothing back of what was done.
    pub(crate) fn leave(self, context: &Context) {
        let_go(context, self.attached);
    }
}

/// Unmounts and closes drives, and tells what is in the way.
pub(super) fn let_go(context: &Context, drives: Vec<Attached>) {
    for drive in drives {
        let item = format!("drive {}", drive.serial());
        if let Err(error) = drive.detach() {
            let words = crate::failure::chain(&error).join(": ");
            context.printer.problem(&item, &format!("do not take it out yet: {words}"));
        }
    }
}

fn protection(
    keys: &DriveKeys,
    encryption: Encryption,
    serial: &DriveSerial,
) -> Result<Protection, Failure> {
    Ok(match encryption {
        Encryption::Luks2 => Protection::Luks(keys.password(serial)?),
        Encryption::None => Protection::None,
    })
}

/// While somebody thought about an answer, a drive may have been exchanged, or been put to use.
fn refuse_another(device: &Device) -> Result<(), Failure> {
    if find(&device.path)?.is_some_and(|now| now == *device) {
        return Ok(());
    }
    let path = device.path.display();
    let words =
        format!("{path} is not the drive any more that it was, or somebody has begun to use it");
    Err(Failure::new(ErrorKind::WrongDrive, words))
}

/// Folders that somebody else has mounted are read through memory; our own drives are mounted again.
impl ReadBack for Bays {
    fn refresh(&self, folder: &Path) -> io::Result<()> {
        let Some(attached) = self.attached.iter().find(|bay| bay.folder() == folder) else {
            return Ok(());
        };
        // A drive that does not come back is one that no longer answers; the others go on.
        attached
            .refresh()
            .map_err(|_| io::Error::from_raw_os_error(rustix::io::Errno::NODEV.raw_os_error()))
    }

    fn finish(&self, folder: &Path) -> io::Result<()> {
        let attached = self.attached.iter().find(|bay| bay.folder() == folder);
        attached.map_or(Ok(()), |attached| attached.finish().map_err(io::Error::other))
    }
}
