//! What is told while it happens. Prints nothing and decides nothing but when to stop.

use crate::plan::Shortfall;
use model::{Digest, DriveSerial, ObjectKey};

/// Something that has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// What is to be done, known before the first byte.
    Planned {
        /// Objects in all.
        objects: u64,
        /// Their bytes.
        bytes: u64,
        /// Objects of these that are in their place already.
        done_objects: u64,
        /// Their bytes.
        done_bytes: u64,
        /// What the drives at hand lack, by estimate.
        shortfall: Option<Shortfall>,
    },
    /// What the set will survive, known before the first byte, where there is to be parity.
    ParityPlanned {
        /// Data drives of the set, by plan.
        data: u64,
        /// Parity drives of the set: so many of its drives may be lost.
        parity: u64,
        /// Parity drives that are not at hand and not sealed either.
        lacking: u64,
    },
    /// Work on a drive begins.
    DriveStarted {
        /// Which drive.
        serial: &'a DriveSerial,
    },
    /// What a drive is to get, by plan.
    DrivePlanned {
        /// Which drive.
        serial: &'a DriveSerial,
        /// Objects that it does not have yet.
        objects: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Bytes were written to a drive: its rate follows from these. An object of which some were
    /// written may still turn out to be damaged where it came from.
    Writing {
        /// Which drive.
        serial: &'a DriveSerial,
        /// Bytes just written.
        bytes: u64,
    },
    /// One object has reached its place.
    ObjectDone {
        /// The drive it was written to or read from.
        serial: &'a DriveSerial,
        /// Its repository.
        repository: &'a Digest,
        /// Which object.
        key: &'a ObjectKey,
        /// Its length.
        bytes: u64,
    },
    /// One object was in its place already.
    ObjectThere {
        /// The drive that has it too.
        serial: &'a DriveSerial,
        /// Its repository.
        repository: &'a Digest,
        /// Which object.
        key: &'a ObjectKey,
        /// Its length.
        bytes: u64,
    },
    /// A drive takes no more.
    DriveFull {
        /// Which drive.
        serial: &'a DriveSerial,
    },
    /// A drive is being read back, or read for verification.
    Reading {
        /// Which drive.
        serial: &'a DriveSerial,
        /// Bytes just read.
        bytes: u64,
    },
    /// Stripes of a set are looked at, to rebuild what did not arrive.
    Rebuilding {
        /// How many.
        stripes: u64,
    },
    /// One of them was.
    Rebuilt {
        /// The length of one extent.
        bytes: u64,
    },
    /// One object was rebuilt, and has reached its place.
    ObjectRebuilt {
        /// The data drive that should have brought it.
        serial: &'a DriveSerial,
        /// Its repository.
        repository: &'a Digest,
        /// Which object.
        key: &'a ObjectKey,
        /// Its length.
        bytes: u64,
    },
    /// One object that no drive has brought came from another place, and has reached its own.
    ObjectFetched {
        /// Its repository.
        repository: &'a Digest,
        /// Which object.
        key: &'a ObjectKey,
        /// Its length.
        bytes: u64,
    },
    /// A drive is complete and verified; it can be taken out.
    DriveSealed {
        /// Which drive.
        serial: &'a DriveSerial,
    },
    /// A drive no longer answers.
    DriveGone {
        /// Which drive.
        serial: &'a DriveSerial,
    },
    /// One object could not be had; the others go on.
    Problem {
        /// The drive, where one is concerned.
        serial: Option<&'a DriveSerial>,
        /// What and why, in words.
        problem: &'a Problem,
    },
    /// Objects go from pending to published.
    Publishing {
        /// How many.
        objects: u64,
    },
}

/// One object that could not be copied or is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its repository.
    pub repository: Digest,
    /// Which object.
    pub key: ObjectKey,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is not there.
    Missing,
    /// Its length is not the listed one.
    Length {
        /// What it has.
        found: u64,
        /// What it should have.
        expected: u64,
    },
    /// Its bytes do not hash to its name.
    Hash,
    /// It is not a regular file, or lies behind a link.
    NotAFile,
    /// Another object has its name at the destination.
    Conflict,
    /// Reading it failed; in the words of the operating system or the store.
    Unreadable(String),
    /// More drives of its set lack a stripe of it than there is parity at hand.
    NotRebuilt,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Length { found, expected } => {
                write!(f, "{found} bytes long instead of {expected}")
            }
            Self::Hash => f.write_str("its bytes are not those of its name"),
            Self::NotAFile => f.write_str("not a regular file"),
            Self::Conflict => f.write_str("another object has its name at the destination"),
            Self::Unreadable(cause) => write!(f, "unreadable: {cause}"),
            Self::NotRebuilt => f.write_str(
                "cannot be rebuilt: more drives lack a part of it than there is parity at hand",
            ),
        }
    }
}

/// Who is told. One call at a time, from the thread that called the operation.
pub trait Events {
    /// Something has happened.
    fn event(&mut self, event: Event<'_>);

    /// Whether to stop at the next safe point. What is done stays done.
    fn stop(&self) -> bool {
        false
    }
}

/// Nobody.
impl Events for () {
    fn event(&mut self, _: Event<'_>) {}
}
