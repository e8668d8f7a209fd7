//! An error on its way to the user: its kind, its words, its causes. Renders nothing.

use model::ErrorKind;
use std::error::Error;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Decides the exit code.
    pub(crate) kind: ErrorKind,
    /// The words, and the causes below them.
    pub(crate) error: Box<dyn Error + Send + Sync>,
}

/// What every command ends with.
pub(crate) type Outcome = Result<crate::exit::Status, Failure>;

impl Failure {
    /// A failure in words of the command's own.
    pub(crate) fn new(kind: ErrorKind, words: impl Into<String>) -> Self {
        Self { kind, error: words.into().into() }
    }

    /// A failure of the operating system, while doing something to a path.
    pub(crate) fn io(action: &str, path: &std::path::Path, cause: std::io::Error) -> Self {
        Self {
            kind: ErrorKind::Internal,
            error: Box::new(Io { what: format!("{action} {}", path.display()), cause }),
        }
    }

    /// The message, then each cause that says something new.
    #[must_use]
    pub(crate) fn chain(&self) -> Vec<String> {
        chain(self.error.as_ref())
    }
}

/// The message of an error, then each cause that says something new.
#[must_use]
pub(crate) fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut words = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if words.last().is_none_or(|last| !last.contains(&text)) {
            words.push(text);
        }
        cause = error.source();
    }
    words
}

#[derive(Debug)]
struct Io {
    what: String,
    cause: std::io::Error,
}

impl std::fmt::Display for Io {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} failed", self.what)
    }
}

impl Error for Io {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.cause)
    }
}

macro_rules! from {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self { kind: error.kind(), error: Box::new(error) }
            }
        })*
    };
}

from!(
    repo::Error,
    drive::Error,
    keyring::Error,
    backup::Error,
    workload::Error,
    store::Error,
    seed::Error,
    client::Error,
    server::Error,
    dock::Error,
    agent::Error,
    service::Error,
    credfile::Error
);
