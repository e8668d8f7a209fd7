//! What can go wrong with this machine's certificate, with what opens its repository, and with what is deleted from it. Decides nothing.

use jiff::Timestamp;
use model::{Digest, ErrorKind};
use std::io;
use wire::SeedId;

/// Why a certificate, passphrase or recovery kit could not be had, or is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OwnError {
    /// A vault's credentials that cannot be used.
    #[error("these vault credentials cannot be used: {what}")]
    VaultFile {
        /// What is wrong with them.
        what: String,
    },
    /// No certificate.
    #[error("a certificate cannot be made: {what}")]
    Making {
        /// Why.
        what: String,
    },
    /// What the server has does not do.
    #[error("seed {seed} cannot be found again: {what}")]
    NotRecovered {
        /// The seed.
        seed: SeedId,
        /// Why, and what to do.
        what: String,
    },
    /// A seed is on its way that nothing is known of here.
    #[error(
        "seed {seed} of this server is on its way, and nothing of it is known here: packmule seed recover finds it again (packmule seed abandon gives it up)"
    )]
    UnknownSeed {
        /// The seed.
        seed: SeedId,
    },
    /// A seed that nothing is known of here has no import job yet, and another computer may be writing its drives.
    #[error(
        "another computer was given credentials on {} to write the drives of seed {seed} of this server, of which nothing is known here: once it has made their import job, packmule seed recover finds the seed again (where nobody writes them, packmule seed abandon gives it up)",
        since.strftime("%Y-%m-%d %H:%M UTC")
    )]
    CopiedSeed {
        /// The seed.
        seed: SeedId,
        /// When.
        since: Timestamp,
    },
    /// Which keys travel is not decided.
    #[error(
        "the drives of seed {seed} are being written without staging, and carry the keys that there are: finish them first"
    )]
    DrivesFirst {
        /// The seed.
        seed: SeedId,
    },
    /// No such deletion.
    #[error("the vault knows no deletion {0} of this server; packmule agent deletions lists them")]
    NoDeletion(u64),
    /// Nothing to make a key for.
    #[error(
        "there is no repository of this server yet, in staging or in the vault: the first packmule backup now GROUP makes it"
    )]
    NoRepositoryYet,
    /// Guessed too soon.
    #[error(
        "a passphrase of {characters} characters is too short for a new repository, which needs 16 at least: eight random words are good, and easier to type than sixteen random letters"
    )]
    ShortPassphrase {
        /// How many it has.
        characters: usize,
    },
    /// Nothing to change.
    #[error("the new passphrase is the old one")]
    SamePassphrase,
    /// The kit would revoke itself.
    #[error(
        "what was given as the password is the secret of a recovery kit (key {key}), which would go: give the passphrase, or set a new one first with packmule agent passphrase"
    )]
    OwnKit {
        /// Its key.
        key: Digest,
    },
}

impl OwnError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Making { .. } => ErrorKind::Internal,
            Self::DrivesFirst { .. } => ErrorKind::Conflict,
            Self::NoRepositoryYet => ErrorKind::NoRepository,
            Self::NoDeletion(_) => ErrorKind::NotFound,
            _ => ErrorKind::Invalid,
        }
    }
}

/// What a refusal of the operating system counts as.
pub(crate) fn io_kind(cause: &io::Error) -> ErrorKind {
    match cause.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        _ => ErrorKind::Internal,
    }
}
