//! What is told while drives are taken in. Prints nothing; knows no clock and no rate.

use crate::{Error, Taken};
use model::{DriveSerial, JobName};
use seed::Problem;
use std::path::Path;
use wire::DriveStatus;

/// Something that has happened to one drive.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// It is found to be of the job, and copying begins or goes on.
    Started {
        /// Which drive.
        serial: &'a DriveSerial,
        /// Objects on it.
        objects: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// So much of it is in the account, objects that were there before included.
    Progress {
        /// Which drive.
        serial: &'a DriveSerial,
        /// Bytes in the account.
        bytes: u64,
        /// Bytes on the drive.
        total: u64,
        /// Bytes of these that were there before: to be left out of a rate.
        already: u64,
    },
    /// One object could not be copied; the others go on.
    Problem {
        /// Which drive.
        serial: &'a DriveSerial,
        /// What and why.
        problem: &'a Problem,
    },
    /// What data drives have not brought is being rebuilt with it.
    Rebuilding {
        /// Which parity drive.
        serial: &'a DriveSerial,
        /// Bytes of stripes that were looked at.
        bytes: u64,
        /// Bytes of stripes to be looked at.
        total: u64,
    },
    /// An object was rebuilt, and is in the account.
    Rebuilt {
        /// The data drive that should have brought it.
        serial: &'a DriveSerial,
        /// Its length.
        bytes: u64,
    },
    /// It was copied to its end, and the server has looked for itself.
    Finished {
        /// Which drive.
        serial: &'a DriveSerial,
        /// What the server has found.
        status: &'a DriveStatus,
    },
    /// It stopped answering.
    Gone {
        /// Which drive.
        serial: &'a DriveSerial,
    },
    /// A drive is attached that is not touched.
    LeftAlone {
        /// Where.
        place: &'a Path,
        /// Its serial number, where it says one.
        serial: Option<&'a DriveSerial>,
        /// Why, and what to do.
        why: &'a str,
    },
    /// A drive is attached that a job expects; it is unlocked and read now.
    Expected {
        /// Where.
        place: &'a Path,
        /// Which drive.
        serial: &'a DriveSerial,
        /// The job.
        job: &'a JobName,
    },
    /// A drive that was expected is not used any more: it can be taken out.
    Left {
        /// Where.
        place: &'a Path,
        /// Which drive.
        serial: &'a DriveSerial,
        /// What it has given, or why it could not be taken in.
        result: &'a Result<Taken, Error>,
    },
    /// The server cannot be asked which drives are expected. It is asked again.
    ServerAway {
        /// Why.
        why: &'a str,
    },
}
