//! What can go wrong in the server, and the only place where it becomes an HTTP answer. What is
//! not the caller's business goes to the log and never into an answer.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use model::ErrorKind;
use std::io;
use std::path::PathBuf;
use wire::{Code, ErrorBody, ErrorDetail, MAX_NAMES};

/// Why a server did not start, or a request was not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule stands against it. The caller is told all of this.
    #[error("{message}")]
    Refused {
        /// For programs.
        code: Code,
        /// What is wrong and what to do next.
        message: String,
        /// The names concerned.
        details: Vec<String>,
    },
    /// Another process has the data folder.
    #[error("{} is in use by another server; stop that one first", data.display())]
    InUse {
        /// Which folder.
        data: PathBuf,
    },
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
    /// Listening is not possible.
    #[error("listening on {address} failed")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// A certificate or key cannot be made or used.
    #[error("{what}")]
    Identity {
        /// What was tried, on which file.
        what: String,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    /// The database is not of this version.
    #[error("the database cannot be brought to this version")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The object store failed.
    #[error("the object store failed")]
    Objects(#[from] object_store::Error),
    /// A value in the database or a file of the server's own is not what it must be.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// What.
        what: String,
        /// How it shows.
        why: String,
    },
    /// The passwords of drives at rest.
    #[error(transparent)]
    Keyring(#[from] keyring::Error),
    /// A background task ended in a way it should not.
    #[error("a background task ended early")]
    Task(#[from] tokio::task::JoinError),
    /// A test asked for death at this step.
    #[error("stopped at a checkpoint")]
    Checkpoint,
}

impl Error {
    /// A refusal without names.
    pub(crate) fn refused(code: Code, message: impl Into<String>) -> Self {
        Self::Refused { code, message: message.into(), details: Vec::new() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::refused(Code::InvalidRequest, message)
    }

    pub(crate) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::refused(Code::ResourceNotFound, format!("there is no {what}"))
    }

    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { action, path, cause }
    }

    /// What the caller may know of it.
    fn code(&self) -> Code {
        match self {
            Self::Refused { code, .. } => code.clone(),
            error if is_full(error) => Code::StorageFull,
            Self::Database(sqlx::Error::PoolTimedOut) => Code::Unavailable,
            _ => Code::InternalError,
        }
    }

    /// The kind, for exit codes.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse { .. } => ErrorKind::Locked,
            Self::Listen { .. } => ErrorKind::Unavailable,
            Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::Checkpoint => ErrorKind::Interrupted,
            Self::Keyring(cause) => cause.kind(),
            other => other.code().kind(),
        }
    }
}

/// Whether, somewhere below, a disk or quota is full.
fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(cause) = error.downcast_ref::<io::Error>()
            && matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        {
            return true;
        }
        if let Some(sqlx::Error::Database(cause)) = error.downcast_ref::<sqlx::Error>()
            && cause.code().as_deref() == Some(SQLITE_FULL)
        {
            return true;
        }
        next = error.source();
    }
    false
}

/// Result code of SQLite when the disk has no room (sqlite.org/rescode.html).
const SQLITE_FULL: &str = "13";

/// The status of an answer with that code.
pub(crate) fn status(code: &Code) -> StatusCode {
    match code {
        Code::AuthenticationFailed => StatusCode::UNAUTHORIZED,
        Code::ResourceNotFound => StatusCode::NOT_FOUND,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        // The drive is in the job, so it is found; what it is stands against it.
        Code::DriveHeaderMismatch | Code::DriveNotEncrypted => StatusCode::CONFLICT,
        Code::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
        code => match code.kind() {
            ErrorKind::NotFound | ErrorKind::NoRepository => StatusCode::NOT_FOUND,
            ErrorKind::Conflict | ErrorKind::Locked => StatusCode::CONFLICT,
            ErrorKind::Invalid | ErrorKind::Corrupt => StatusCode::BAD_REQUEST,
            ErrorKind::WrongDrive => StatusCode::NOT_FOUND,
            ErrorKind::Denied | ErrorKind::WrongPassword => StatusCode::FORBIDDEN,
            ErrorKind::Full => StatusCode::INSUFFICIENT_STORAGE,
            ErrorKind::Unavailable | ErrorKind::Interrupted => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        },
    }
}

fn detail(error: Error, code: &Code) -> ErrorDetail {
    match error {
        Error::Refused { message, mut details, .. } => {
            details.truncate(MAX_NAMES);
            ErrorDetail { code: code.clone(), message, details }
        }
        _ => {
            let message = match code {
                Code::StorageFull => "the server's storage is full; its operator must make room",
                Code::Unavailable => "the server is busy; try again",
                _ => "the server failed; its log says why, under this answer's x-request-id",
            };
            ErrorDetail { code: code.clone(), message: message.to_owned(), details: Vec::new() }
        }
    }
}

impl Error {
    /// What the caller is told, with the status; what they are not goes to the log.
    pub(crate) fn told(self) -> (StatusCode, ErrorDetail) {
        let code = self.code();
        if !matches!(self, Self::Refused { .. }) {
            let cause = causes(&self);
            tracing::error!(error = %self, %cause, "request failed");
        }
        (status(&code), detail(self, &code))
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, error) = self.told();
        let code = error.code.clone();
        let mut response = (status, Json(ErrorBody { error })).into_response();
        if code == Code::AuthenticationFailed {
            let scheme = HeaderValue::from_static("Basic realm=\"packmule\", charset=\"UTF-8\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// The chain of causes, for the log.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_so_wherever_it_shows() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let deep = object_store::Error::Generic { store: "x", source: Box::new(full) };
        let response = Error::Objects(deep).into_response();
        assert_eq!(response.status(), StatusCode::INSUFFICIENT_STORAGE);
    }

    #[tokio::test]
    async fn an_answer_never_shows_internals() {
        let cause = io::Error::other("/secret/path");
        let error = Error::Io { action: "reading", path: "/secret/path".into(), cause };
        let response = error.into_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }

    #[test]
    fn every_code_has_a_status_that_says_error() {
        for code in Code::ALL {
            let status = status(code);
            assert!(status.is_client_error() || status.is_server_error(), "{code}");
        }
    }
}
