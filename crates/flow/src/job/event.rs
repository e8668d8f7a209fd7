//! What can happen to a job. Decides nothing about it.

use model::{Address, DriveSerial, Package};
use serde::{Deserialize, Serialize};

/// What happens to a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum JobEvent {
    /// The customer changed something that this machine does not hold.
    Updated,
    /// These are the drives.
    DrivesReplaced {
        /// Their serial numbers.
        serials: Vec<DriveSerial>,
    },
    /// One more drive.
    DriveAdded {
        /// Its serial number.
        serial: DriveSerial,
    },
    /// How the drives travel and where they go back to. What is absent stays as it was.
    ShippingGiven {
        /// Where the drives go back to.
        return_address: Option<Box<Address>>,
        /// The package they travel in.
        package: Option<Package>,
        /// The caller has found the tracking number at another job.
        number_taken: bool,
    },
    /// The package is with the carrier.
    ShippingRequested,
    /// The customer asks for more time for an overdue package.
    ExtensionRequested,
    /// The customer asks to cancel.
    CancelRequested,
    /// The package was opened at the dock.
    PackageArrived {
        /// The serial numbers of the drives in it.
        serials: Vec<DriveSerial>,
    },
    /// A drive that was missing is at the dock.
    DriveCame {
        /// Which.
        serial: DriveSerial,
    },
    /// A drive that was counted is not there.
    DriveNeverCame {
        /// Which.
        serial: DriveSerial,
    },
    /// The dock starts to read a drive, goes on, or tries again.
    DriveStarted {
        /// Which.
        serial: DriveSerial,
    },
    /// So much of a drive is taken over.
    DriveProgressed {
        /// Which.
        serial: DriveSerial,
        /// Bytes taken over.
        bytes: u64,
        /// Bytes there are.
        total: u64,
    },
    /// A drive was read to its end.
    DriveFinished {
        /// Which.
        serial: DriveSerial,
        /// Bytes taken over.
        bytes: u64,
        /// Objects that could not be taken over; 0 is clean.
        problems: u64,
    },
    /// Everything that an export job asks for is on drives that were finished without problems.
    Exported,
    /// A drive goes back.
    DriveReturned {
        /// Which.
        serial: DriveSerial,
    },
    /// All drives that are here go back.
    Returned {
        /// The package they go in.
        package: Option<Package>,
    },
    /// An operator has to look.
    Faulted {
        /// Why.
        reason: String,
    },
    /// The operator has looked; the job goes on, its timers from their start.
    FaultResolved,
    /// An operator gives the job up.
    OperatorAbandoned {
        /// Why.
        reason: String,
    },
    /// Time passed.
    Tick,
}
