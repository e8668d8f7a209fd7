//! What can go wrong between here and the server. The server's own refusals keep its words.

use jiff::Timestamp;
use model::ErrorKind;
use std::path::PathBuf;
use wire::Code;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused, and said why.
    #[error("{message}")]
    Refused {
        /// For programs.
        code: Code,
        /// The server's words.
        message: String,
        /// The names concerned.
        details: Vec<String>,
        /// The request's id, to find it in the server's log.
        request: Option<String>,
    },
    /// The resource manager or Graph refused, and said why in Azure's words.
    #[error("{message}")]
    Azure {
        /// The HTTP status.
        status: u16,
        /// For programs.
        code: String,
        /// The server's words.
        message: String,
        /// The request's id, to find it in the server's log.
        request: Option<String>,
    },
    /// The server answered something that is not of this protocol.
    #[error("{endpoint} answered {status} in a way this version does not understand: {what}")]
    Answer {
        /// Who answered.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// What is wrong with it.
        what: String,
    },
    /// The server cannot be reached, or the connection broke.
    #[error("{endpoint} cannot be reached; check that the server runs and try again")]
    Unreachable {
        /// Who was asked.
        endpoint: String,
        /// Why.
        #[source]
        cause: Box<ureq::Error>,
    },
    /// A proxy is in between, and does not let through.
    #[error(
        "the proxy does not let the way to {endpoint} through ({what}); look at HTTPS_PROXY and NO_PROXY, or at proxy in agent.toml: 407 means that it wants a user and a password, as in http://user:password@host:port"
    )]
    Proxy {
        /// Who was to be asked.
        endpoint: String,
        /// What the proxy says.
        what: String,
    },
    /// This machine's certificate is not good any more.
    #[error(
        "the certificate of this machine for {endpoint} ended on {ended:.0}; have new credentials of the vault made (packmule vault credentials VAULT) and run: packmule agent register --credentials FILE; repository, groups and history stay as they are"
    )]
    CertificateOver {
        /// The server.
        endpoint: String,
        /// When it ended.
        ended: Timestamp,
    },
    /// The server has dropped this machine's certificate.
    #[error(
        "{endpoint} does not take this machine's certificate ({message}): where the clock is right, another machine may have taken its place, or its administrator has removed it; to register this one again, have new credentials of the vault made and run: packmule agent register --credentials FILE --take-over"
    )]
    NotKnown {
        /// The server.
        endpoint: String,
        /// What it says.
        message: String,
    },
    /// The server is too old for this program.
    #[error(
        "the server at {endpoint} is of version {version}, and this packmule works with {needed} and newer: install a newer packmule on the server; nothing that is stored is lost"
    )]
    ServerTooOld {
        /// The server.
        endpoint: String,
        /// Its version.
        version: String,
        /// The oldest that will do.
        needed: String,
    },
    /// These credentials cannot be used.
    #[error("the credentials {from} cannot be used: {what}")]
    Credentials {
        /// Where they came from.
        from: String,
        /// What is wrong with them.
        what: String,
    },
    /// The credentials file cannot be read.
    #[error("reading {} failed", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A receipt that this vault has not signed, or that says something else than it should.
    #[error("the receipt is not to be believed: {what}; keep everything at the source")]
    Receipt {
        /// What is wrong with it.
        what: String,
    },
}

impl Error {
    /// The kind, for exit codes and retries.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { code, .. } => code.kind(),
            Self::Azure { status, .. } => kind_of(*status),
            Self::Answer { .. } => ErrorKind::Internal,
            Self::Unreachable { .. } => ErrorKind::Unavailable,
            // A proxy that wants something else will want it the next time, too.
            Self::Proxy { what, .. } if what.contains(" 4") => ErrorKind::Denied,
            Self::Proxy { .. } => ErrorKind::Unavailable,
            Self::CertificateOver { .. } | Self::NotKnown { .. } => ErrorKind::Denied,
            Self::Credentials { .. } | Self::ServerTooOld { .. } => ErrorKind::Invalid,
            Self::File { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound => {
                ErrorKind::NotFound
            }
            Self::File { .. } => ErrorKind::Internal,
            Self::Receipt { .. } => ErrorKind::Corrupt,
        }
    }

    /// The server's code, when it was the server that refused.
    #[must_use]
    pub fn code(&self) -> Option<&Code> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// Azure's codes are too many to know; their statuses say enough.
fn kind_of(status: u16) -> ErrorKind {
    match status {
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        409 | 412 => ErrorKind::Conflict,
        400..500 => ErrorKind::Invalid,
        503 => ErrorKind::Unavailable,
        507 => ErrorKind::Full,
        _ => ErrorKind::Internal,
    }
}
