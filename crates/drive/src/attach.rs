//! A drive in use: opened, mounted at a folder of its own, and closed again. Knows nothing of what is on
//! the file system.

use crate::signature::Probe;
use crate::step::{BLOCKDEV, Step};
use crate::volume::{Protection, Volume, forget};
use crate::{Blkid, Error};
use model::DriveSerial;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where drives are mounted, each at its serial number; gone after a restart, as mounts are.
const ROOT: &str = "/run/packmule";

/// How long somebody else, such as an indexer, may keep a drive from being unmounted.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is done with a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It is prepared.
    Write,
    /// It has come from somewhere: the device is set read-only before anything else, and nothing of
    /// the file system is replayed, run or followed as a device.
    Read,
    /// As [`Read`](Self::Read), but the device itself is left as it is: it may be written later.
    Look,
}

/// A drive that is mounted. Unmounted and closed when dropped; [`detach`](Self::detach) tells whether
/// that went well.
#[derive(Debug)]
pub struct Attached {
    volume: Volume,
    protection: Protection,
    access: Access,
    folder: PathBuf,
    /// Held until it is detached, against other processes of ours.
    _lock: OwnedFd,
    is_attached: bool,
}

impl Attached {
    /// Opens and mounts a drive that has our layout.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::WrongPassword`], [`Error::OtherLayout`], and what the operating system
    /// refuses; the drive is closed again then.
    pub fn new(volume: Volume, protection: Protection, access: Access) -> Result<Self, Error> {
        if matches!(protection, Protection::Luks(_)) {
            require_mapper()?;
        }
        let lock = lock(&volume.serial)?;
        let folder = folder(&volume.serial);
        close_leftovers(&volume)?;
        let attached = Self { volume, protection, access, folder, _lock: lock, is_attached: true };
        if access == Access::Read {
            attached.set_read_only()?;
        }
        attached.open()?;
        Ok(attached)
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its serial number.
    #[must_use]
    pub fn serial(&self) -> &DriveSerial {
        &self.volume.serial
    }

    /// The device.
    #[must_use]
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// Unmounts it, makes the kernel forget all of it, and mounts it at the same folder again: what is
    /// read from then on comes from the medium.
    ///
    /// # Errors
    /// It does not come back.
    pub fn refresh(&self) -> Result<(), Error> {
        self.close()?;
        forget(&self.volume.device)?;
        self.open()
    }

    /// Unmounts and closes it. What was written is on the medium then.
    ///
    /// # Errors
    /// It is in use, or could not be written to the end.
    pub fn detach(mut self) -> Result<(), Error> {
        self.close()?;
        self.is_attached = false;
        forget(&self.volume.device)?;
        // An empty folder that stays does no harm.
        let _ = std::fs::remove_dir(&self.folder);
        Ok(())
    }

    fn set_read_only(&self) -> Result<(), Error> {
        for path in [&self.volume.device, self.volume.part()?] {
            let step = Step::new("setting the drive read-only", BLOCKDEV);
            step.args(["--setro".as_ref(), path.as_os_str()]).run()?;
        }
        Ok(())
    }

    fn open(&self) -> Result<(), Error> {
        if let Protection::Luks(password) = &self.protection {
            let step = self.volume.open_step(password, self.access != Access::Write)?;
            let output = step.output()?;
            if output.status.code() == Some(NO_KEY) {
                let (device, serial) = (self.volume.device.clone(), self.volume.serial.clone());
                return Err(Error::WrongPassword { device, serial });
            }
            if !output.status.success() {
                return Err(step.failed(&output));
            }
        }
        let opened = self.volume.opened(&self.protection)?;
        self.mount(&opened).inspect_err(|_| {
            if matches!(self.protection, Protection::Luks(_)) {
                let _ = self.volume.close_step().run();
            }
        })
    }

    fn mount(&self, opened: &Path) -> Result<(), Error> {
        let found = Blkid.signature(opened).map_err(Error::io("reading", opened))?;
        // The kernel is asked to read this one file system and no other, whatever the drive holds.
        if found.as_ref().map(|found| found.kind.as_str()) != Some("ext4") {
            let what = found.map_or_else(|| "no file system".to_owned(), |found| found.kind);
            let what = format!("it holds {what}, not ext4");
            return Err(Error::OtherLayout { device: self.volume.device.clone(), what });
        }
        let mut flags =
            MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NOATIME;
        let data = match self.access {
            Access::Write => c"errors=remount-ro",
            Access::Read | Access::Look => {
                flags |= MountFlags::RDONLY;
                c"noload"
            }
        };
        std::fs::create_dir_all(&self.folder).map_err(Error::io("making", &self.folder))?;
        mount(opened, &self.folder, c"ext4", flags, data).map_err(Error::io("mounting", opened))
    }

    fn close(&self) -> Result<(), Error> {
        unmount_all(&self.folder)?;
        match self.protection {
            Protection::Luks(_) => close_mapping(&self.volume),
            Protection::None => Ok(()),
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if self.is_attached && self.close().is_err() {
            // The drive is gone, or somebody uses it: it is let go of as soon as they do.
            let _ = unmount(&self.folder, UnmountFlags::DETACH);
            let _ = self.volume.close_later_step().run();
        }
    }
}

/// What `cryptsetup` exits with when no key fits.
const NO_KEY: i32 = 2;

/// Closes what a process that was killed has left open of a drive, so that it does not count as in use.
///
/// # Errors
/// [`Error::Busy`] when that process lives; what is in the way.
pub fn release(volume: &Volume) -> Result<(), Error> {
    let _lock = lock(&volume.serial)?;
    close_leftovers(volume)
}

fn close_leftovers(volume: &Volume) -> Result<(), Error> {
    unmount_all(&folder(&volume.serial))?;
    close_mapping(volume)
}

fn close_mapping(volume: &Volume) -> Result<(), Error> {
    if !Path::new("/dev/mapper").join(volume.mapping()).exists() {
        return Ok(());
    }
    volume.close_step().run()
}

/// Unmounts whatever is mounted at a folder: several calls may each have left something.
fn unmount_all(folder: &Path) -> Result<(), Error> {
    let began = Instant::now();
    loop {
        match unmount(folder, UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // Nothing is mounted there, or there is nothing at all.
            Err(Errno::INVAL | Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if began.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(100));
            }
            Err(errno) => return Err(Error::io("unmounting", folder)(errno)),
        }
    }
}

fn folder(serial: &DriveSerial) -> PathBuf {
    Path::new(ROOT).join(serial.as_str())
}

fn lock(serial: &DriveSerial) -> Result<OwnedFd, Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    let root = Path::new(ROOT);
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
    made.map_err(Error::io("making", root))?;
    let path = root.join(format!("{serial}.lock"));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600));
    let file = file.map_err(Error::io("opening", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(Error::Busy { serial: serial.clone() }),
        Err(errno) => Err(Error::io("locking", &path)(errno)),
    }
}

/// Makes sure that the kernel can open encrypted drives, before anything is done to one.
///
/// # Errors
/// [`Error::NoMapper`].
pub fn require_mapper() -> Result<(), Error> {
    let has_it = || {
        let devices = std::fs::read_to_string("/proc/misc").unwrap_or_default();
        devices.lines().any(|line| line.split_whitespace().nth(1) == Some("device-mapper"))
    };
    if !has_it() {
        // A module that nobody has needed so far; without modprobe, or without it, the answer stays no.
        let _ = std::process::Command::new("modprobe").arg("dm_crypt").output();
    }
    if has_it() { Ok(()) } else { Err(Error::NoMapper) }
}
