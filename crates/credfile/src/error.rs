//! Why a file is not taken, or cannot be written. No message holds a secret.

use model::ErrorKind;

/// What is wrong with a file, or with what should become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer, deeper or fuller than any such file is.
    #[error("the file has {what} than {limit}; it is none of the files that this program knows")]
    TooLarge {
        /// What there is too much of, as "more … ".
        what: &'static str,
        /// The most that is read.
        limit: usize,
    },
    /// No XML, or more of XML than such files have.
    #[error("the file is not the XML it should be, at byte {at}: {what}")]
    Xml {
        /// Bytes from the start of the file.
        at: u64,
        /// What is wrong there.
        what: String,
    },
    /// A file of another kind.
    #[error("the file is no {wanted}: it begins with <{found}>")]
    OtherFile {
        /// What was asked for.
        wanted: &'static str,
        /// The name of its first element.
        found: String,
    },
    /// An element or attribute that must be there.
    #[error("{within} has no {name}")]
    Missing {
        /// The element it should be in.
        within: &'static str,
        /// What is missing.
        name: &'static str,
    },
    /// An element or attribute whose value is against its rule.
    #[error("{name} {rule}")]
    Value {
        /// Which.
        name: &'static str,
        /// What holds for it, and does not hold here.
        rule: String,
    },
    /// Made by a newer program.
    #[error("the file is a {what} of version '{version}', which this program does not know")]
    Version {
        /// What.
        what: &'static str,
        /// Its version, as it is written there.
        version: String,
    },
    /// What should be a PKCS#12 is none.
    #[error("the PKCS#12 cannot be read: {what}")]
    Pkcs12 {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The seal does not fit.
    #[error(
        "the PKCS#12 does not open without a password: it has one, or it was changed; take the file anew from where it came"
    )]
    Seal,
    /// Made in a way that this program cannot undo.
    #[error("the PKCS#12 uses {what} {oid}, which this program does not know")]
    Algorithm {
        /// What it is used for.
        what: &'static str,
        /// Its object identifier.
        oid: String,
    },
    /// A file that asks for more than such files need.
    #[error(
        "opening the file would take more than {limit} rounds of hashing; no tool asks that much"
    )]
    Work {
        /// Rounds that are spent on one file at most.
        limit: u64,
    },
    /// A certificate that is none.
    #[error("the certificate cannot be used: {what}")]
    Certificate {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A private key that is none, or another one's.
    #[error("the private key cannot be used: {what}")]
    Key {
        /// What is wrong with it.
        what: &'static str,
    },
    /// A certificate could not be made.
    #[error("making a certificate failed: {what}")]
    Making {
        /// What the library says.
        what: String,
    },
    /// No random numbers.
    #[error("the operating system has no random numbers")]
    Random,
}

impl Error {
    /// The kind, for exit codes and HTTP.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Pkcs12 { .. } | Self::Seal => ErrorKind::Corrupt,
            Self::Making { .. } | Self::Random => ErrorKind::Internal,
            Self::TooLarge { .. }
            | Self::Xml { .. }
            | Self::OtherFile { .. }
            | Self::Missing { .. }
            | Self::Value { .. }
            | Self::Version { .. }
            | Self::Algorithm { .. }
            | Self::Work { .. }
            | Self::Certificate { .. }
            | Self::Key { .. } => ErrorKind::Invalid,
        }
    }

    pub(crate) fn value(name: &'static str, rule: impl Into<String>) -> Self {
        Self::Value { name, rule: rule.into() }
    }
}
