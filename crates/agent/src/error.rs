//! What can go wrong at the source, in words that say what to do next. Decides nothing.

use model::{AccountName, DriveSerial, ErrorKind, GroupName, JobName};
use std::io;
use std::path::{Path, PathBuf};
use wire::SeedId;

/// Why an operation of the agent could not be done. What was done before it stays done; the same
/// call goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{action} {} failed", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A file of the agent's state is not what this program writes.
    #[error("{} cannot be used: {what}; restore it from a copy, or move it away", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file of the agent's state was written by a newer program.
    #[error("{} is of version {version}, which this program does not know; use a newer one", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// Another process works on the same.
    #[error("{what} is in use by another packmule process; wait until it has finished")]
    Busy {
        /// What.
        what: String,
    },
    /// No credentials.
    #[error(
        "this server is not registered with a vault; run: packmule agent register --credentials FILE"
    )]
    NotRegistered,
    /// Credentials of a dock or an administrator.
    #[error(
        "these credentials are not a source server's; get some with: packmule vault credentials"
    )]
    NotForAgents,
    /// The vault's own disk has damaged some of what was backed up while a seed travelled.
    #[error(
        "{count} recovery points that were made while the seed travelled are not published: {message}"
    )]
    IncrementsDamaged {
        /// How many recovery points.
        count: usize,
        /// What the server says.
        message: String,
    },
    /// Registered with something else.
    #[error(
        "this server is registered as {there}, the credentials are for {given}; register with the replacement option if that is meant"
    )]
    OtherRegistration {
        /// What it is registered with.
        there: String,
        /// What the new credentials are for.
        given: String,
    },
    /// No such group.
    #[error("there is no protection group {0}; packmule group create makes one")]
    NoGroup(GroupName),
    /// Nothing is done for it any more.
    #[error("protection of group {0} is stopped; packmule group resume {0} takes it up again")]
    Stopped(GroupName),
    /// What relies on the vault and is not in it yet could lose what it relies on.
    #[error(
        "nothing is deleted from the vault while seed {seed} is under way ({state}): what it needs there only shows once it has arrived; where nobody goes on with it: packmule seed abandon {seed}"
    )]
    NotMeanwhile {
        /// The seed.
        seed: SeedId,
        /// Its state.
        state: &'static str,
    },
    /// Rules that keep nothing are none that somebody wants.
    #[error("the rules of group {0} would keep none of its recovery points; nothing was deleted")]
    WouldEmpty(GroupName),
    /// The name is taken.
    #[error("protection group {0} exists with other settings; choose another name")]
    GroupExists(GroupName),
    /// A path that cannot be backed up.
    #[error("{} cannot be protected: {what}", path.display())]
    SourcePath {
        /// The path.
        path: PathBuf,
        /// Why.
        what: &'static str,
    },
    /// A staging location that will not do.
    #[error("{staging} cannot be a staging location: {what}")]
    Staging {
        /// What was given.
        staging: String,
        /// Why.
        what: String,
    },
    /// Staging would be backed up into itself, or would hide what is to be backed up.
    #[error(
        "staging location {} and protected path {} lie within each other; choose a folder elsewhere",
        staging.display(), source_path.display()
    )]
    StagingInside {
        /// The staging location.
        staging: PathBuf,
        /// The protected path.
        source_path: PathBuf,
    },
    /// One source server has one repository.
    #[error(
        "the first backup of this server goes to staging location {}; give the new group the same one",
        staging.display()
    )]
    OtherStaging {
        /// Where it goes.
        staging: PathBuf,
    },
    /// The inputs of one seed differ.
    #[error(
        "the seed in {} travels to {there}; give the new group the same storage account, container and import job",
        staging.display()
    )]
    OtherDestination {
        /// The staging location.
        staging: PathBuf,
        /// Where it goes.
        there: String,
    },
    /// What travels together travels in one way.
    #[error(
        "the first backup of protection group {group} goes straight onto drives: this one can go with it, by --direct and the same import job; or create it without --staging and --direct, then it is backed up over the network once the drives have arrived"
    )]
    DirectAlone {
        /// The group.
        group: GroupName,
    },
    /// Its first backup is made otherwise.
    #[error("the first backup of protection group {0} does not go straight onto drives")]
    NotDirect(GroupName),
    /// Its drives are not written from a folder.
    #[error(
        "the seed in {} has no staging location, and its drives are written by making the backup: packmule diskprep --group NAME", staging.display()
    )]
    WithoutStaging {
        /// What is kept here of it.
        staging: PathBuf,
    },
    /// None of it is here.
    #[error(
        "{objects} objects are wanted, and all of them were on the drives of seed {seed} alone: only these drives, or the source itself, can give them again"
    )]
    OnDrivesAlone {
        /// The seed.
        seed: SeedId,
        /// How many.
        objects: u64,
    },
    /// What is written would be backed up.
    #[error(
        "drive {} lies within protected path {}: what is written to it would be backed up onto it; mount it elsewhere, or protect what is beside it",
        drive.display(), source_path.display()
    )]
    DriveInside {
        /// Where it is mounted.
        drive: PathBuf,
        /// The protected path.
        source_path: PathBuf,
    },
    /// Its drives are prepared.
    #[error(
        "seed {seed} is {state}; it takes no more protection groups: create this one without a staging location, it is backed up over the network once the seed has arrived"
    )]
    SeedUnderWay {
        /// The seed.
        seed: SeedId,
        /// Where it is.
        state: &'static str,
    },
    /// There is nothing to add to.
    #[error(
        "the vault has nothing of this server yet, so there is nothing to catch up with; the first backup of protection group {0} comes first"
    )]
    NothingToCatchUp(GroupName),
    /// Another seed's folder.
    #[error(
        "{} was the staging location of seed {seed}; choose another folder", staging.display()
    )]
    StagingUsed {
        /// The folder.
        staging: PathBuf,
        /// The seed.
        seed: SeedId,
    },
    /// No such account.
    #[error("the server knows no storage account {0}; ask its administrator to create it")]
    NoAccount(AccountName),
    /// Nothing is staged there.
    #[error("no seed has staging location {0}; run: packmule backup now GROUP first")]
    NoSeedAt(String),
    /// No note that names a seed.
    #[error(
        "{} names no seed that waits for drives; run packmule backup now GROUP on the source server while it can reach its vault: that completes the first backup and announces it",
        staging.display()
    )]
    NoNote {
        /// The staging location.
        staging: PathBuf,
    },
    /// Somebody else writes the drives.
    #[error(
        "the drives of seed {seed} are written on another computer, which has made import job {job}; go on there"
    )]
    PreparedElsewhere {
        /// The seed.
        seed: SeedId,
        /// The job.
        job: JobName,
    },
    /// A job that another computer has made carries something else.
    #[error(
        "import job {job} says that it carries seed {seed}, and does not: {what}. keep everything at the source, look at who made that job, and cancel it"
    )]
    NotThisSeed {
        /// The seed.
        seed: SeedId,
        /// The job.
        job: JobName,
        /// What differs.
        what: String,
    },
    /// No such seed.
    #[error("there is no seed {0}; packmule agent status lists them")]
    NoSeed(SeedId),
    /// Groups without their first backup.
    #[error(
        "these protection groups have no first backup in staging yet: {}; run packmule backup now for each, then prepare the drives",
        names(groups)
    )]
    GroupsNotStaged {
        /// Which.
        groups: Vec<GroupName>,
    },
    /// Every drive set has its job.
    #[error(
        "every drive set of seed {seed} has its import job: no drive is needed; packmule diskprep u: shows how it stands"
    )]
    NothingToPrepare {
        /// The seed.
        seed: SeedId,
    },
    /// The seed is not any more what its first drives were to carry.
    #[error(
        "what was lost of seed {seed} was made anew, and the seed consists of other objects since: write what is missing with packmule diskprep s:STAGING --missing, or --group GROUP --missing where there is no staging"
    )]
    WasRevised {
        /// The seed.
        seed: SeedId,
    },
    /// Nothing is missing that does not travel.
    #[error(
        "the vault asks for nothing: whatever of this server's seeds is missing there is on drives that have not been read yet"
    )]
    NothingWanted,
    /// Several seeds lack something.
    #[error("objects of several seeds are wanted; name one with --seed: {}", names(seeds))]
    WhichSeed {
        /// These.
        seeds: Vec<SeedId>,
    },
    /// A list that is not to be believed.
    #[error("what the server asks for of seed {seed} is refused, and nothing is sent: {what}")]
    WantList {
        /// The seed.
        seed: SeedId,
        /// Why.
        what: String,
    },
    /// Nothing that is wanted would have to be made anew.
    #[error(
        "whatever the vault asks for of seed {seed} is in staging or kept here: packmule seed send sends it, packmule diskprep s:STAGING --missing writes it onto a next drive"
    )]
    NothingGone {
        /// The seed.
        seed: SeedId,
    },
    /// What would tell what is in lost packs is lost itself.
    #[error(
        "what is lost of seed {seed} cannot be made anew, as nothing here tells what was in it ({what}); look for the staging folder or the drives that were lost; else give the seed up and begin another"
    )]
    NothingKept {
        /// The seed.
        seed: SeedId,
        /// Why.
        what: String,
    },
    /// Another key has signed the drives.
    #[error(
        "another key than this server's has signed the drives of seed {seed}: they were written on a copy computer, or signing.key was lost. a machine that has a certificate can sign in its place: register this one by the vault's credentials, packmule agent register --credentials FILE, and run this again"
    )]
    NotSigner {
        /// The seed.
        seed: SeedId,
    },
    /// Drives of a further set are on their way to be one.
    #[error(
        "drives with missing objects of seed {seed} are written in part: finish them with packmule diskprep s:STAGING --missing; if that is not possible, erase these drives, remove {}, and run this again", folder.display()
    )]
    SetBegun {
        /// The seed.
        seed: SeedId,
        /// What is known of them.
        folder: PathBuf,
    },
    /// Server and source go by different revisions.
    #[error(
        "the server knows another state of seed {seed} than this one: {what}; restore the newest copy of the state directory"
    )]
    OtherRevision {
        /// The seed.
        seed: SeedId,
        /// How they differ.
        what: String,
    },
    /// Only the source server is told what is missing.
    #[error("what is missing is written onto drives on the source server: run this there")]
    OnTheSource,
    /// The job carries something else.
    #[error(
        "import job {0} is over, or carries another seed or drive set; choose another job name"
    )]
    JobTaken(JobName),
    /// A job name that cannot be.
    #[error("'{name}' is no name for an import job; choose one with the job option")]
    JobName {
        /// What it would be.
        name: String,
    },
    /// No job to ship.
    #[error("there is no import job to ship for {0}; prepare its drives first")]
    NoJob(String),
    /// Several jobs to ship.
    #[error("several import jobs could be meant: {}; name one", names(jobs))]
    WhichJob {
        /// Which.
        jobs: Vec<JobName>,
    },
    /// The staging folder holds another repository than the record says.
    #[error(
        "{location} holds another repository than seed {seed} was made from; nothing was changed: restore the right folder"
    )]
    OtherRepository {
        /// Where.
        location: String,
        /// The seed.
        seed: SeedId,
    },
    /// The list of what the seed holds.
    #[error(
        "the inventory of seed {seed} is lost, and {} no longer holds exactly what it listed; give all drives of the seed again, before any new one",
        staging.display()
    )]
    InventoryLost {
        /// The seed.
        seed: SeedId,
        /// Its staging location.
        staging: PathBuf,
    },
    /// A password was given out, and nobody said what became of the drive.
    #[error(
        "drive {serial} was given a password, and was never said to be formatted with it; give the drive again, as the device that it is"
    )]
    NotFormatted {
        /// Which drive.
        serial: DriveSerial,
    },
    /// An encrypted drive that nobody can open.
    #[error(
        "the password of drive {serial} is lost here, and no import job has it; prepare the drive again from staging"
    )]
    PasswordLost {
        /// Which drive.
        serial: DriveSerial,
    },
    /// No parity drive was kept at home.
    #[error(
        "seed {seed} has no parity drives that are in no import job; they are kept at home with packmule diskprep --parity K --hold-parity"
    )]
    NoParityHeld {
        /// The seed.
        seed: SeedId,
    },
    /// The job's name stands for another choice.
    #[error(
        "export job {0} is of other recovery points, or packs of them are others by now; choose another name"
    )]
    ExportExists(JobName),
    /// Nobody has said one, and there was no seed that would have one.
    #[error("name the storage account that the export job lies with")]
    NoStorageAccount,
    /// The server stopped it.
    #[error("publication stopped at the server: {message}")]
    Publication {
        /// The server's words.
        message: String,
    },
    /// The receipt says something else than the seed.
    #[error(
        "the receipt for seed {seed} is not for what was sent: {what}; keep everything at the source"
    )]
    Receipt {
        /// The seed.
        seed: SeedId,
        /// What differs.
        what: String,
    },
    /// The vault lacks something.
    #[error(
        "seed {seed} is not confirmed: the vault lacks or has damaged {count} things of it, such as: {}; keep everything at the source and tell the vault's administrator",
        findings.join("; ")
    )]
    NotLanded {
        /// The seed.
        seed: SeedId,
        /// How many findings.
        count: usize,
        /// The first of them, by name.
        findings: Vec<String>,
    },
    /// Cleaning would remove more than the vault holds.
    #[error("staging location {} is not cleaned: {what}", staging.display())]
    KeepStaging {
        /// The staging location.
        staging: PathBuf,
        /// Why.
        what: String,
    },
    /// The caller said stop.
    #[error("stopped; the same command goes on where this one ended")]
    Interrupted,
    /// No random numbers.
    #[error("the operating system has no random numbers")]
    Random,
    /// The seed's rules forbid it.
    #[error(transparent)]
    Refused(#[from] flow::Refused),
    /// This machine's certificate, or what opens its repository.
    #[error(transparent)]
    Own(#[from] crate::OwnError),
    /// The next of several sets without a server.
    #[error(transparent)]
    Series(#[from] crate::SeriesError),
    /// What is to be exported.
    #[error(transparent)]
    Export(#[from] crate::ExportError),
    /// The control plane.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// Staging or the vault's data plane.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A repository.
    #[error(transparent)]
    Repo(#[from] repo::Error),
    /// A backup.
    #[error(transparent)]
    Backup(#[from] backup::Error),
    /// What is protected cannot be held still.
    #[error(transparent)]
    Workload(#[from] workload::Error),
    /// The drives.
    #[error(transparent)]
    Seed(#[from] seed::Error),
    /// The drives' passwords.
    #[error(transparent)]
    Keyring(#[from] keyring::Error),
    /// This computer's chain in a custody log.
    #[error(transparent)]
    Custody(#[from] custody::Error),
}

impl Error {
    /// The kind, for exit codes.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { cause, .. } => crate::own_error::io_kind(cause),
            Self::Damaged { .. }
            | Self::Receipt { .. }
            | Self::IncrementsDamaged { .. }
            | Self::NotLanded { .. }
            | Self::NotThisSeed { .. }
            | Self::OtherRevision { .. } => ErrorKind::Corrupt,
            Self::Version { .. }
            | Self::NotForAgents
            | Self::SourcePath { .. }
            | Self::Staging { .. }
            | Self::StagingInside { .. }
            | Self::DriveInside { .. }
            | Self::JobName { .. }
            | Self::NoStorageAccount
            | Self::Export(_)
            | Self::WhichJob { .. }
            | Self::WhichSeed { .. } => ErrorKind::Invalid,
            Self::Busy { .. } => ErrorKind::Locked,
            Self::NotRegistered => ErrorKind::Denied,
            Self::NoGroup(_)
            | Self::NoAccount(_)
            | Self::NoSeedAt(_)
            | Self::NoNote { .. }
            | Self::NoSeed(_)
            | Self::NoJob(_)
            | Self::OnDrivesAlone { .. }
            | Self::InventoryLost { .. }
            | Self::PasswordLost { .. }
            | Self::NothingKept { .. } => ErrorKind::NotFound,
            Self::OtherRegistration { .. }
            | Self::GroupExists(_)
            | Self::Stopped(_)
            | Self::NotMeanwhile { .. }
            | Self::WouldEmpty(_)
            | Self::OtherStaging { .. }
            | Self::OtherDestination { .. }
            | Self::DirectAlone { .. }
            | Self::NotDirect(_)
            | Self::WithoutStaging { .. }
            | Self::SeedUnderWay { .. }
            | Self::NothingToCatchUp(_)
            | Self::StagingUsed { .. }
            | Self::GroupsNotStaged { .. }
            | Self::NothingToPrepare { .. }
            | Self::NothingWanted
            | Self::NothingGone { .. }
            | Self::WasRevised { .. }
            | Self::NotSigner { .. }
            | Self::SetBegun { .. }
            | Self::OnTheSource
            | Self::WantList { .. }
            | Self::PreparedElsewhere { .. }
            | Self::JobTaken(_)
            | Self::ExportExists(_)
            | Self::NoParityHeld { .. }
            | Self::NotFormatted { .. }
            | Self::OtherRepository { .. }
            | Self::KeepStaging { .. } => ErrorKind::Conflict,
            Self::Publication { .. } => ErrorKind::Unavailable,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::Random => ErrorKind::Internal,
            Self::Refused(cause) => cause.kind(),
            Self::Own(cause) => cause.kind(),
            Self::Series(cause) => cause.kind(),
            Self::Client(cause) => cause.kind(),
            Self::Store(cause) => cause.kind(),
            Self::Repo(cause) => cause.kind(),
            Self::Backup(cause) => cause.kind(),
            Self::Workload(cause) => cause.kind(),
            Self::Seed(cause) => cause.kind(),
            Self::Keyring(cause) => cause.kind(),
            Self::Custody(cause) => cause.kind(),
        }
    }

    /// For `map_err`: what was tried, and on what.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { action, path, cause }
    }
}

fn names<T: std::fmt::Display>(names: &[T]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
