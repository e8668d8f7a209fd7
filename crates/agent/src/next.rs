//! What is expected next, in words that name the command. Does nothing itself.

use model::{GroupName, JobName};
use std::fmt;
use std::path::PathBuf;
use wire::SeedId;

/// How `diskprep` is told which seed is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drives {
    /// The one with that staging location.
    From(PathBuf),
    /// The one that goes straight onto drives, with that group.
    Of(GroupName),
}

impl fmt::Display for Drives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(staging) => write!(f, "s:{}", staging.display()),
            Self::Of(group) => write!(f, "--group {group}"),
        }
    }
}

/// What is expected next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The group has no first backup yet.
    FirstBackup {
        /// Which group.
        group: GroupName,
    },
    /// Drives are to be written.
    PrepareDrives {
        /// From where.
        staging: PathBuf,
    },
    /// Drives are to be written, which makes the first backup.
    WriteDrives {
        /// The group's.
        group: GroupName,
    },
    /// The job's package is to be announced.
    Ship {
        /// Which job.
        job: JobName,
    },
    /// The carrier or the data centre is at it.
    Wait,
    /// A job failed: its drive set needs another.
    AnotherJob {
        /// Whose.
        drives: Drives,
        /// The job that failed.
        job: JobName,
    },
    /// Objects have not arrived.
    Missing {
        /// How many.
        objects: u64,
        /// Whose.
        drives: Drives,
    },
    /// Some files cannot be had any more, and somebody has to choose.
    Choose {
        /// How many.
        files: u64,
    },
    /// The next backup publishes and checks.
    Backup {
        /// A group of the seed.
        group: GroupName,
    },
    /// Staging is not needed any more.
    Clean {
        /// The seed.
        seed: SeedId,
    },
    /// Backups as usual.
    Nothing,
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstBackup { group } => {
                write!(f, "make the first backup: packmule backup now {group}")
            }
            Self::PrepareDrives { staging } => {
                write!(f, "prepare the drives: packmule diskprep s:{}", staging.display())
            }
            Self::WriteDrives { group } => write!(
                f,
                "write the drives, which makes the first backup: packmule diskprep --group {group} --drive PATH, on this computer"
            ),
            Self::Ship { job } => write!(
                f,
                "hand the package of import job {job} to a carrier and give the shipping details: packmule diskprep u:"
            ),
            Self::Wait => f.write_str("wait until the drives have been taken in"),
            Self::AnotherJob { drives, job } => write!(
                f,
                "import job {job} failed; create another for the same drives: packmule diskprep {drives}; if they are lost, packmule seed send, or the same with --missing and other drives, makes up for {}",
                match drives {
                    Drives::From(_) => "them",
                    Drives::Of(_) =>
                        "what of them is kept here, and packmule seed refill makes the rest anew",
                }
            ),
            Self::Missing { objects, drives: Drives::From(_) } => write!(
                f,
                "objects of the seed that have not arrived: {objects}; keep the staging folder; packmule seed status names them, packmule seed send sends them, packmule diskprep s:STAGING --missing writes them onto a next drive, packmule seed refill makes anew what is gone here"
            ),
            Self::Choose { files } => write!(
                f,
                "files that neither staging nor the source has as they were backed up: {files}; bring them back and run this again, or have the backup published without them: packmule seed refill --publish-repaired"
            ),
            Self::Missing { objects, drives } => write!(
                f,
                "objects of the seed that have not arrived: {objects}; packmule seed status names them, and those that were on the drives alone; packmule seed send sends the others, packmule diskprep {drives} --missing writes them onto a next drive, packmule seed refill makes anew what was on the drives alone"
            ),
            Self::Backup { group } => {
                write!(f, "publish, check and go on over the network: packmule backup now {group}")
            }
            Self::Clean { seed } => {
                write!(f, "the staging folder may be cleaned: packmule agent clean {seed}")
            }
            Self::Nothing => f.write_str("nothing; backups go over the network"),
        }
    }
}
