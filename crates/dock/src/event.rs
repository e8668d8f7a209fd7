//! What is told while drives are taken in. Prints nothing; knows no clock and no rate.

use model::DriveSerial;
use seed::Problem;
use wire::DriveStatus;

/// Something that has happened to one drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}
