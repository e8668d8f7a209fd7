//! A drive in use: opened, mounted at a folder of its own, and closed again. Knows nothing of what is on
//! the file system.

use crate::signature::Probe;
use crate::step::{BLOCKDEV, CRYPTSETUP, Step, command};
use crate::volume::{Protection, Volume, forget, place_of};
use crate::{Blkid, Error, header};
use model::DriveSerial;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where drives are mounted, each at its serial number; gone after a restart, as mounts are.
pub const MOUNTS: &str = "/run/packmule/drives";
/// Who works with which of them.
const LOCKS: &str = "/run/packmule/locks";

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
    is_attached: AtomicBool,
    /// Whether it is we who have set the device read-only.
    was_writable: bool,
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
        volume.refuse_another()?;
        let (is_attached, was_writable) = (AtomicBool::new(true), false);
        let mut attached =
            Self { volume, protection, access, folder, _lock: lock, is_attached, was_writable };
        if access == Access::Read {
            attached.was_writable = !attached.is_read_only()?;
            attached.set("--setro")?;
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

    /// Whether its container was opened.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        matches!(self.protection, Protection::Luks(_))
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

    /// Unmounts and closes it, so that all that was written is on the medium, and nothing of it in a journal
    /// that somebody would have to replay. It is not used again then.
    ///
    /// # Errors
    /// It is in use, could not be written to the end, or was pulled.
    pub fn finish(&self) -> Result<(), Error> {
        if !self.is_attached.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.close()?;
        forget(&self.volume.device)?;
        self.is_attached.store(false, Ordering::Relaxed);
        self.give_back();
        // An empty folder that stays does no harm.
        let _ = std::fs::remove_dir(&self.folder);
        Ok(())
    }

    /// Finishes with it. One that was pulled is let go of: whoever used it has heard of that by now.
    ///
    /// # Errors
    /// It is in use, or could not be written to the end.
    pub fn detach(self) -> Result<(), Error> {
        match self.finish() {
            Err(_) if !self.volume.is_there() => Ok(()),
            finished => finished,
        }
    }

    fn is_read_only(&self) -> Result<bool, Error> {
        let step = Step::new("asking whether the drive is read-only", BLOCKDEV);
        let output = step.args(["--getro".as_ref(), self.volume.device.as_os_str()]).output()?;
        Ok(output.stdout.trim_ascii() == b"1")
    }

    fn set(&self, what: &str) -> Result<(), Error> {
        for path in [&self.volume.device, self.volume.part()?] {
            let step = Step::new("setting whether the drive can be written", BLOCKDEV);
            step.args([what.as_ref(), path.as_os_str()]).run()?;
        }
        Ok(())
    }

    /// What we have set is ours to set back: at the source, a drive that was looked at is written later.
    fn give_back(&self) {
        if self.was_writable {
            // A drive that was pulled has nothing to set.
            let _ = self.set("--setrw");
        }
    }

    fn open(&self) -> Result<(), Error> {
        if let Protection::Luks(password) = &self.protection {
            if self.access != Access::Write {
                self.refuse_expensive()?;
            }
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

    /// A header from elsewhere says itself how much memory and time opening it takes.
    fn refuse_expensive(&self) -> Result<(), Error> {
        let step = Step::new("reading the header of the encrypted drive", CRYPTSETUP);
        let step =
            step.args(["luksDump", "--dump-json-metadata", "--"]).args([self.volume.part()?]);
        let output = step.output()?;
        if !output.status.success() {
            return Err(step.failed(&output));
        }
        match header::is_ours(&output.stdout) {
            true => Ok(()),
            false => Err(Error::OtherLayout {
                device: self.volume.device.clone(),
                what: "its container was not made by this program".to_owned(),
            }),
        }
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
                // What the file system itself asks for could be to stop the machine.
                c"noload,errors=continue"
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
        if !self.is_attached.load(Ordering::Relaxed) {
            return;
        }
        let closed = self.close();
        self.give_back();
        if closed.is_err() {
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

pub(crate) fn close_leftovers(volume: &Volume) -> Result<(), Error> {
    unmount_all(&folder(&volume.serial))?;
    close_mapping(volume)
}

/// The same for every drive: those that nobody asks for any more would stay unlocked. Drives that another
/// process of ours works with are left to it.
pub fn release_all() {
    let entries = std::fs::read_dir(MOUNTS).into_iter().flatten().flatten();
    for name in entries.filter_map(|entry| entry.file_name().into_string().ok()) {
        let Ok(Some(_lock)) = lock_place(&name) else { continue };
        let mapping = format!("packmule-{name}");
        let step = Step::new("closing the encrypted drive", CRYPTSETUP);
        let closed = unmount_all(&Path::new(MOUNTS).join(&name)).is_ok()
            && (!Path::new("/dev/mapper").join(&mapping).exists()
                || step.args(["close", "--", &mapping]).run().is_ok());
        if closed {
            let _ = std::fs::remove_dir(Path::new(MOUNTS).join(&name));
        }
    }
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
    Path::new(MOUNTS).join(place_of(serial))
}

pub(crate) fn lock(serial: &DriveSerial) -> Result<OwnedFd, Error> {
    lock_place(&place_of(serial))?.ok_or_else(|| Error::Busy { serial: serial.clone() })
}

/// None when another process has it.
fn lock_place(place: &str) -> Result<Option<OwnedFd>, Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    let root = Path::new(LOCKS);
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
    made.map_err(Error::io("making", root))?;
    let path = root.join(place);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600));
    let file = file.map_err(Error::io("opening", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
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
        let _ = command("modprobe").arg("dm_crypt").output();
    }
    if has_it() { Ok(()) } else { Err(Error::NoMapper) }
}
