//! The drives of this machine, as far as a dock has to do with them: noticed, named, unlocked and mounted
//! so that nothing on them is changed. Knows no job.

use crate::Error;
use drive::{Access, Attached, Blkid, Device, Glance, Protection, Source, Unread, Usage, Volume};
use model::{Digest, DrivePassword, DriveSerial};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A drive that is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where: its device's file.
    pub place: PathBuf,
    /// Tells one insertion from the next one into the same place.
    pub insertion: u64,
    /// What the hardware says.
    pub serial: Option<DriveSerial>,
    /// Who uses it, in words; none when nobody does.
    pub used: Option<String>,
}

/// What notices, unlocks and mounts drives.
pub trait Hardware: Sync {
    /// Every drive that is attached now. Asked often: cheap where nothing has changed.
    ///
    /// # Errors
    /// The machine does not tell.
    fn found(&self) -> Result<Vec<Found>, Error>;

    /// The SHA-256 of its encrypted container's header; none where it is not encrypted.
    ///
    /// # Errors
    /// It cannot be read, or is not laid out as our drives are.
    fn header_hash(&self, found: &Found) -> Result<Option<Digest>, Error>;

    /// Sets it read-only, unlocks it and mounts it.
    ///
    /// # Errors
    /// As [`drive::Attached::new`].
    fn mount(
        &self,
        found: &Found,
        password: Option<DrivePassword>,
    ) -> Result<Box<dyn Mounted>, Error>;
}

/// A drive whose files can be read, until it is dropped.
pub trait Mounted: Send {
    /// Where they are.
    fn folder(&self) -> &Path;

    /// Lets go of the drive: it can be taken out afterwards.
    ///
    /// # Errors
    /// Somebody uses it.
    fn unmount(self: Box<Self>) -> Result<(), Error>;
}

/// The block devices of this machine.
#[derive(Debug, Default)]
pub struct BlockDevices {
    source: Source,
    last: Mutex<Option<(Glance, Vec<Device>)>>,
}

impl BlockDevices {
    /// The drive as it is now, if it is still the one that was found, and nobody uses it.
    fn volume(&self, found: &Found) -> Result<Volume, Error> {
        let gone = || Error::NotThere { place: found.place.display().to_string() };
        let serial = found.serial.clone().ok_or_else(gone)?;
        let now = |probe: &dyn drive::Probe| -> Result<Device, Error> {
            let devices = drive::discover(&self.source, probe).map_err(Error::Device)?;
            let same = |device: &Device| {
                device.path == found.place
                    && device.insertion == found.insertion
                    && device.serial.as_ref() == Some(&serial)
            };
            devices.into_iter().find(same).ok_or_else(gone)
        };
        // What a dock that was killed has left open is not somebody else's.
        drive::release(&Volume::of(&now(&Unread)?, serial.clone())).map_err(Error::Device)?;
        let device = now(&Unread)?;
        if let Some(usage) = device.usage.first() {
            let (place, usage) = (found.place.display().to_string(), usage.to_string());
            return Err(Error::InUse { place, serial, usage });
        }
        Ok(Volume::of(&device, serial))
    }
}

impl BlockDevices {
    /// Those of this machine. What a dock that was killed has left unlocked is closed first.
    #[must_use]
    pub fn new() -> Self {
        drive::release_all();
        Self::default()
    }
}

impl Hardware for BlockDevices {
    fn found(&self) -> Result<Vec<Found>, Error> {
        let glance = drive::glance(&self.source).map_err(Error::Device)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(before, _)| *before != glance) {
            // What lies on a drive that no job expects is nobody's business here.
            let devices = drive::discover(&self.source, &Unread).map_err(Error::Device)?;
            *last = Some((glance, devices));
        }
        let Some((_, devices)) = last.as_ref() else { return Ok(Vec::new()) };
        let found = devices.iter().map(|device| Found {
            place: device.path.clone(),
            insertion: device.insertion,
            serial: device.serial.clone(),
            used: device.usage.first().map(Usage::to_string),
        });
        Ok(found.collect())
    }

    fn header_hash(&self, found: &Found) -> Result<Option<Digest>, Error> {
        let volume = self.volume(found)?;
        if !volume.is_encrypted(&Blkid).map_err(Error::Device)? {
            return Ok(None);
        }
        volume.header_hash().map(Some).map_err(Error::Device)
    }

    fn mount(
        &self,
        found: &Found,
        password: Option<DrivePassword>,
    ) -> Result<Box<dyn Mounted>, Error> {
        let volume = self.volume(found)?;
        let protection = password.map_or(Protection::None, Protection::Luks);
        let attached = Attached::new(volume, protection, Access::Read).map_err(Error::Device)?;
        Ok(Box::new(attached))
    }
}

impl Mounted for Attached {
    fn folder(&self) -> &Path {
        self.folder()
    }

    fn unmount(self: Box<Self>) -> Result<(), Error> {
        self.detach().map_err(Error::Device)
    }
}
