//! What can go wrong with block devices. Says what to do next where there is something to do.

use model::{DriveSerial, ErrorKind};
use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be done with a device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine does not tell what devices it has.
    #[error("cannot read {path}")]
    Read {
        /// What could not be read.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The operating system refused.
    #[error("{action} {path} failed")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A program that is needed is not installed.
    #[error("there is no {program}: install the package {package}")]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// Debian's package that has it.
        package: &'static str,
    },
    /// A program ended with an error.
    #[error("{what} failed; {program} says: {said}")]
    Program {
        /// What was tried.
        what: &'static str,
        /// By which program.
        program: &'static str,
        /// What it wrote.
        said: String,
    },
    /// The kernel cannot encrypt devices.
    #[error(
        "this kernel cannot open encrypted drives: it has no device mapper. Load the module dm_crypt, or take another machine"
    )]
    NoMapper,
    /// A new partition has not shown up.
    #[error(
        "{device} has a partition table now, but the kernel shows no partition of it: take the drive out, put it in again, and run the same command"
    )]
    NoPartition {
        /// The device.
        device: PathBuf,
    },
    /// What is on the device is not what was put there.
    #[error("{device} is not laid out as a drive of ours: {what}")]
    OtherLayout {
        /// The device.
        device: PathBuf,
        /// What is on it.
        what: String,
    },
    /// The password does not open it.
    #[error(
        "this password does not open drive {serial} ({device}): it is the password of another drive, or the drive was encrypted again or damaged on its way"
    )]
    WrongPassword {
        /// The device.
        device: PathBuf,
        /// Its serial number.
        serial: DriveSerial,
    },
    /// Another process of ours has it.
    #[error("drive {serial} is in use by another process of packmule: wait until it has finished")]
    Busy {
        /// Its serial number.
        serial: DriveSerial,
    },
    /// Another device has its name now, or it was taken out.
    #[error(
        "{device} is not the drive any more that it was: nothing more was done to it; look with `packmule drive list`"
    )]
    Exchanged {
        /// The device.
        device: PathBuf,
    },
    /// The caller asked to stop.
    #[error("stopped; the same command begins again")]
    Interrupted,
    /// It was overwritten, and gives back something else.
    #[error(
        "{device} does not give back what was written over it: destroy the drive by other means"
    )]
    NotErased {
        /// The device.
        device: PathBuf,
    },
}

impl Error {
    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } | Self::Program { .. } | Self::NotErased { .. } => {
                ErrorKind::Internal
            }
            Self::Io { cause, .. } => match cause.kind() {
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                io::ErrorKind::NotFound => ErrorKind::WrongDrive,
                _ => ErrorKind::Internal,
            },
            Self::NoProgram { .. } | Self::NoMapper => ErrorKind::Invalid,
            Self::NoPartition { .. } | Self::OtherLayout { .. } | Self::Exchanged { .. } => {
                ErrorKind::WrongDrive
            }
            Self::Interrupted => ErrorKind::Interrupted,
            Self::WrongPassword { .. } => ErrorKind::WrongPassword,
            Self::Busy { .. } => ErrorKind::Locked,
        }
    }

    /// For `map_err`: what was tried, and on what.
    pub(crate) fn io<C: Into<io::Error>>(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(C) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { action, path, cause: cause.into() }
    }
}
