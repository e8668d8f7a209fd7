//! Every rule that can stand against an event, one variant each, with what to do instead. Decides
//! nothing itself.

use model::{AddressError, DriveSerial, ErrorKind, JobName, TrackingNumber};

/// Why an event was refused. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The job is over.
    #[error(
        "the import job is {state}, and stays so; the keys of its drives are kept: create a new job for the same drives"
    )]
    JobEnded {
        /// The end it has reached.
        state: &'static str,
    },
    /// An operator has to look first.
    #[error("the import job waits for an operator ({reason}); try again when that is resolved")]
    JobFaulted {
        /// Why.
        reason: String,
    },
    /// The record of a job under way stays.
    #[error(
        "the import job is {state}; its record can be removed before shipping or after the end"
    )]
    JobUnderWay {
        /// Where it is.
        state: &'static str,
    },
    /// The list of drives is final.
    #[error(
        "the import job is {state}; its drives can be changed in Creating only: cancel it, or create another job for the other drives"
    )]
    DrivesFixed {
        /// Where the job is.
        state: &'static str,
    },
    /// More drives than a job may have.
    #[error(
        "{given} drives are too many for one import job; give each ten of them a job of their own"
    )]
    TooManyDrives {
        /// How many there would be.
        given: usize,
    },
    /// One serial number twice.
    #[error("drive {serial} is named twice; check the serial number on each drive")]
    DriveTwice {
        /// Which.
        serial: DriveSerial,
    },
    /// An import job needs drives.
    #[error("the import job has no drives; add those that are in the package, then ship it")]
    NoDrives,
    /// An export job is given empty drives at the dock.
    #[error(
        "an export job lists no drives; send empty ones, the dock records them when they arrive"
    )]
    ExportListsNoDrives,
    /// An import job brings data, and exports none.
    #[error("this is an import job; report what was read of its drives")]
    NotAnExport,
    /// Nobody can have everything while nothing is finished.
    #[error("the export job is {state} and none of its drives is finished; write one first")]
    NothingWritten {
        /// Where the job is.
        state: &'static str,
    },
    /// Everything is on other drives.
    #[error(
        "everything asked for is on other drives of this export job; send drive {serial} back as it is"
    )]
    ExportWritten {
        /// Which drive.
        serial: DriveSerial,
    },
    /// No label can be printed from that address.
    #[error("the return address is not usable; correct it and send it again")]
    Address {
        /// What is wrong with it.
        #[source]
        cause: AddressError,
    },
    /// Drives need a way back.
    #[error("the import job has no return address; give one, then ship it")]
    NoReturnAddress,
    /// Nobody can recognise a package without a tracking number.
    #[error("the import job has no package; give carrier and tracking number, then ship it")]
    NoPackage,
    /// The package does not hold what the job lists.
    #[error(
        "the package is said to hold {given} drives, the import job lists {listed}; all drives of a job travel in one package, and none of another job: correct the number or the list"
    )]
    DriveCount {
        /// What the customer wrote.
        given: u32,
        /// Drives of the job.
        listed: usize,
    },
    /// Two jobs cannot share a package.
    #[error(
        "tracking number {number} belongs to another import job; each job travels in a package of its own: check the number, or get a second label"
    )]
    TrackingNumberTaken {
        /// Which.
        number: TrackingNumber,
    },
    /// The package is here, so its details are final.
    #[error("the import job is {state}; the details of its package cannot change any more")]
    ShippingFixed {
        /// Where the job is.
        state: &'static str,
    },
    /// The package was recorded before.
    #[error(
        "the package has arrived already, the import job is {state}; record drives that came later one by one"
    )]
    AlreadyArrived {
        /// Where the job is.
        state: &'static str,
    },
    /// More time is for packages that are late.
    #[error("the package is not overdue; its time starts anew when its details are corrected")]
    NotOverdue,
    /// Drives at the dock are read to the end.
    #[error(
        "the import job is {state}; it can be cancelled before its package arrives only: let it finish, then remove from the vault what is not wanted"
    )]
    CancelTooLate {
        /// Where the job is.
        state: &'static str,
    },
    /// A package that nobody announced.
    #[error(
        "the package was not announced as shipped; leave its drives unread, and ask the customer for the shipping details"
    )]
    PackageNotShipped,
    /// The package is at the dock.
    #[error("the package has arrived already")]
    PackageIsHere,
    /// The package was given up.
    #[error(
        "the package was given up and its import job is over; leave its drives unread, and ask the customer for a new job with the same drives"
    )]
    PackageLost,
    /// A drive of no interest to the job.
    #[error(
        "drive {serial} is not in this import job; leave it unread, and send it back as an extra drive"
    )]
    UnknownDrive {
        /// Which.
        serial: DriveSerial,
    },
    /// The job is not shipped.
    #[error(
        "drive {serial} belongs to an import job that is not shipped; leave it unread, and ask the customer for the shipping details"
    )]
    DriveBeforeShipping {
        /// Which.
        serial: DriveSerial,
    },
    /// The package is not opened.
    #[error(
        "drive {serial} belongs to a package that has not arrived; record the package as received first"
    )]
    DriveBeforeArrival {
        /// Which.
        serial: DriveSerial,
    },
    /// The job is over.
    #[error(
        "drive {serial} belongs to an import job that is {state}; leave it unread, and ask the customer for a new job with the same drive"
    )]
    DriveAfterEnd {
        /// Which.
        serial: DriveSerial,
        /// The end the job has reached.
        state: &'static str,
    },
    /// Nobody has seen the drive.
    #[error("drive {serial} has not come; if it is here after all, record that first")]
    DriveNotReceived {
        /// Which.
        serial: DriveSerial,
    },
    /// It is being read, so it has come.
    #[error("drive {serial} is being read, so it is here; finish or interrupt the reading first")]
    DriveIsHere {
        /// Which.
        serial: DriveSerial,
    },
    /// It is still being read.
    #[error("drive {serial} is being read; send it back when that is finished")]
    DriveInUse {
        /// Which.
        serial: DriveSerial,
    },
    /// Nothing can be reported of a reading that has not started.
    #[error("drive {serial} is not being read; record the start first")]
    DriveNotStarted {
        /// Which.
        serial: DriveSerial,
    },
    /// It is read to its end.
    #[error("drive {serial} is finished; only a drive that had problems can be started again")]
    DriveFinished {
        /// Which.
        serial: DriveSerial,
    },
    /// It is not here any more.
    #[error("drive {serial} was sent back; ask the customer for a new job with the same drive")]
    DriveSentBack {
        /// Which.
        serial: DriveSerial,
    },
    /// More than everything.
    #[error("drive {serial} cannot have given {bytes} of {total} bytes; count again")]
    ImpossibleProgress {
        /// Which.
        serial: DriveSerial,
        /// What was reported.
        bytes: u64,
        /// What there is.
        total: u64,
    },
    /// Cancelled jobs are not read.
    #[error("the import job is cancelled; send its drives back unread")]
    CanceledUnread,
    /// Drives go back together, after the last was read.
    #[error("the import job is {state}; its drives go back when all of them are read")]
    NotPackaging {
        /// Where the job is.
        state: &'static str,
    },
    /// The seed is over.
    #[error("the seed is {state}, and stays so; start a new seed for the same protection group")]
    SeedEnded {
        /// The end it has reached.
        state: &'static str,
    },
    /// The first full backup is not finished.
    #[error("the first backup is not complete in staging; let it finish, or run it again")]
    NotStaged,
    /// Nobody prepares drives now.
    #[error("the seed is {state}; start its preparation first")]
    NotPreparing {
        /// Where the seed is.
        state: &'static str,
    },
    /// The drives are prepared.
    #[error("the seed is {state}; its drives are prepared already")]
    PreparationOver {
        /// Where the seed is.
        state: &'static str,
    },
    /// What must arrive is not known yet.
    #[error("drives of this seed are still being prepared; finish that first")]
    StillPreparing,
    /// Numbers 1 to n, without a gap.
    #[error("{prepared} of {expected} drive sets are prepared; prepare the others, then finish")]
    SetsMissing {
        /// How many of them are.
        prepared: usize,
        /// How many there must be; at least 1.
        expected: u32,
    },
    /// The number of drive sets is final.
    #[error(
        "the drive sets of this seed are fixed; set {set} is none of them: prepare one of those again, or, once something is known to be missing, a further one"
    )]
    SetsFixed {
        /// Which was named.
        set: u32,
    },
    /// The set is on its way already.
    #[error(
        "drive set {set} travels with import job {job}; it gets another job when that one has failed"
    )]
    SetTaken {
        /// Which.
        set: u32,
        /// Its job.
        job: JobName,
    },
    /// One job, one set.
    #[error("import job {job} carries drive set {set} already; choose another name")]
    JobTaken {
        /// Which.
        job: JobName,
        /// Its set.
        set: u32,
    },
    /// Not a job of this seed.
    #[error("import job {job} carries no drive set of this seed; check its name")]
    UnknownJob {
        /// Which.
        job: JobName,
    },
    /// The set will not come.
    #[error("drive set {set} did not arrive with import job {job}; create a new job for it")]
    SetLost {
        /// Which.
        set: u32,
        /// The job that failed.
        job: JobName,
    },
    /// The set is here.
    #[error("drive set {set} has landed; nothing is left to do for it")]
    SetLanded {
        /// Which.
        set: u32,
    },
    /// Not everything is here.
    #[error("the seed is {state}; it is published when all its drive sets have landed")]
    NotLanded {
        /// Where the seed is.
        state: &'static str,
    },
    /// Something of it is missing.
    #[error(
        "{missing} objects of the seed are missing; let the agent send them, over the network or on another drive"
    )]
    SeedIncomplete {
        /// How many.
        missing: u64,
    },
    /// Nothing is being published.
    #[error("the seed is {state}; start its publication first")]
    NotPublishing {
        /// Where the seed is.
        state: &'static str,
    },
    /// There is no receipt yet.
    #[error("the seed is {state}; there is a receipt to check when it is published")]
    NotPublished {
        /// Where the seed is.
        state: &'static str,
    },
    /// Staging may be the only copy.
    #[error(
        "the seed is {state}, and the vault has confirmed nothing: its staging folder may be the only copy; wait for the receipt, or abandon the seed"
    )]
    StagingNeeded {
        /// Where the seed is.
        state: &'static str,
    },
    /// The drives may be the only copy.
    #[error(
        "the seed is {state}, and the vault has confirmed nothing: its drives may be the only copy, and are lost without their keys; wait for the receipt, or abandon the seed"
    )]
    KeysNeeded {
        /// Where the seed is.
        state: &'static str,
    },
}

impl Refused {
    /// The kind, for exit codes and HTTP statuses.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooManyDrives { .. }
            | Self::NoDrives
            | Self::ExportListsNoDrives
            | Self::Address { .. }
            | Self::NoReturnAddress
            | Self::NoPackage
            | Self::DriveCount { .. }
            | Self::ImpossibleProgress { .. } => ErrorKind::Invalid,
            Self::DriveTwice { .. }
            | Self::UnknownDrive { .. }
            | Self::DriveBeforeShipping { .. }
            | Self::DriveBeforeArrival { .. }
            | Self::DriveAfterEnd { .. }
            | Self::DriveNotReceived { .. } => ErrorKind::WrongDrive,
            Self::UnknownJob { .. } => ErrorKind::NotFound,
            _ => ErrorKind::Conflict,
        }
    }
}
