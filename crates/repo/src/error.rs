//! What can go wrong with a repository, in words that say what to do next.

use model::{Digest, ErrorKind, ObjectKey};

/// Why a repository operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to open.
    #[error(
        "there is no repository at {location}; make one with: packmule repo init -r {location}"
    )]
    NoRepository {
        /// Where.
        location: String,
    },
    /// There is one already.
    #[error("{location} already holds a repository")]
    Exists {
        /// Where.
        location: String,
    },
    /// No key file opens with it.
    #[error("wrong password for {location}: none of its {keys} keys opens with it")]
    WrongPassword {
        /// Where.
        location: String,
        /// How many keys were tried.
        keys: usize,
    },
    /// There is no key file at all, so that no password can be right.
    #[error(
        "{location} has lost its keys: the folder keys/ holds none; put back a copy of one, without it no password opens the repository"
    )]
    KeysLost {
        /// Where.
        location: String,
    },
    /// Somebody else is at it.
    #[error(
        "{location} is in use: locked {mode} by {holder} since {since}; wait for it, or, if that process is gone, remove the lock with: restic unlock"
    )]
    Locked {
        /// Where.
        location: String,
        /// `exclusively` or `for reading and writing`.
        mode: &'static str,
        /// User, host and process.
        holder: String,
        /// Since when, RFC 3339.
        since: String,
    },
    /// Our own lock could not be kept alive, so others may believe that we are gone.
    #[error(
        "the lock on {location} could not be refreshed in time; nothing more was written, run the same command again"
    )]
    LockLost {
        /// Where.
        location: String,
    },
    /// Something was to be removed by who shares the repository with others.
    #[error("{location} is locked for reading and adding only; nothing was removed")]
    NotAlone {
        /// Where.
        location: String,
    },
    /// Nothing may be removed where something is missing.
    #[error(
        "{location} is not whole, and nothing was removed: {problems} problems, the first one below; to see all, run: packmule repo check -r {location}"
    )]
    NotWhole {
        /// Where.
        location: String,
        /// How many there are.
        problems: usize,
        /// The first.
        #[source]
        first: Box<Error>,
    },
    /// The caller said stop.
    #[error("stopped; the repository is whole, run the same command again")]
    Interrupted,
    /// A file of the repository is not what it must be.
    #[error("{key} is damaged: {what}")]
    Damaged {
        /// Which file.
        key: ObjectKey,
        /// How it shows.
        what: String,
    },
    /// A blob is not what it must be.
    #[error("blob {blob} in pack {pack} is damaged: {what}")]
    BlobDamaged {
        /// Which blob.
        blob: Digest,
        /// In which pack.
        pack: Digest,
        /// How it shows.
        what: String,
    },
    /// No index knows the blob.
    #[error("blob {blob} is in no index")]
    BlobUnknown {
        /// Which blob.
        blob: Digest,
    },
    /// A format of another version.
    #[error("{location} has repository format {version}; formats 1 and 2 can be read")]
    Version {
        /// Where.
        location: String,
        /// The version it claims.
        version: u32,
    },
    /// The newest snapshot may be one of those that cannot be read.
    #[error(
        "which snapshot of {location} is the latest cannot be said: {unreadable} of them cannot be read; choose one of the others by its id"
    )]
    LatestUnknown {
        /// Where.
        location: String,
        /// How many.
        unreadable: usize,
        /// What is wrong with the first of these.
        #[source]
        cause: Box<Error>,
    },
    /// There is data, but no config that says whose.
    #[error(
        "{location} holds {folder}/ of a repository whose config is lost; restore the file config, or choose an empty place"
    )]
    ConfigLost {
        /// Where.
        location: String,
        /// What it holds.
        folder: &'static str,
    },
    /// We write format 2 only.
    #[error(
        "{location} has repository format 1, which is read but not written; convert it with: restic migrate upgrade_repo_v2"
    )]
    ReadOnlyFormat {
        /// Where.
        location: String,
    },
    /// No snapshot, or several, are meant.
    #[error("'{text}' names {matches} snapshots in {location}")]
    Snapshot {
        /// What was given.
        text: String,
        /// How many it fits.
        matches: usize,
        /// Where.
        location: String,
    },
    /// What would be written did not come back equal.
    #[error("{what}/{id} changed in memory before it was written: check this machine's memory")]
    Memory {
        /// `blob`, or the folder of a document.
        what: &'static str,
        /// Which.
        id: Digest,
    },
    /// A tree that must not exist.
    #[error("tree {tree} is not valid: {what}")]
    Tree {
        /// Which tree blob.
        tree: String,
        /// What is wrong with it.
        what: String,
    },
    /// Something too large for the format.
    #[error("{what} is too large for the repository format")]
    TooLarge {
        /// What.
        what: &'static str,
    },
    /// A thread of the writer ended unexpectedly.
    #[error(
        "a writer thread ended unexpectedly; nothing that was acknowledged is lost, run the same command again"
    )]
    WriterGone,
    /// An earlier write of the same run failed; that error was reported.
    #[error("an earlier write failed: {0}")]
    Earlier(String),
    /// No random numbers.
    #[error("the operating system gave no random numbers")]
    Random(#[source] getrandom::Error),
    /// No memory for the compressor.
    #[error("compression failed")]
    Compress(#[source] std::io::Error),
    /// Password hashing refused its parameters.
    #[error("key parameters are out of bounds: {0}")]
    KeyParameters(String),
    /// The store below failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// The kind, for exit codes.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoRepository { .. } => ErrorKind::NoRepository,
            Self::Exists { .. } | Self::ConfigLost { .. } => ErrorKind::Conflict,
            Self::WrongPassword { .. } => ErrorKind::WrongPassword,
            Self::Locked { .. } | Self::LockLost { .. } => ErrorKind::Locked,
            Self::Damaged { .. }
            | Self::BlobDamaged { .. }
            | Self::BlobUnknown { .. }
            | Self::Tree { .. }
            | Self::LatestUnknown { .. }
            | Self::KeysLost { .. }
            | Self::NotWhole { .. }
            | Self::Memory { .. } => ErrorKind::Corrupt,
            Self::Version { .. }
            | Self::ReadOnlyFormat { .. }
            | Self::KeyParameters(_)
            | Self::TooLarge { .. } => ErrorKind::Invalid,
            Self::Snapshot { matches: 0, .. } => ErrorKind::NotFound,
            Self::Snapshot { .. } => ErrorKind::Invalid,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::NotAlone { .. }
            | Self::WriterGone
            | Self::Earlier(_)
            | Self::Random(_)
            | Self::Compress(_) => ErrorKind::Internal,
            Self::Store(cause) => cause.kind(),
        }
    }
}
