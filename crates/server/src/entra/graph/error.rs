//! Refusals of Graph, in its shape: `{"error": {"code", "message", "innerError"}}`.

use super::super::guid::Guid;
use crate::Error;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::json;
use wire::Code;

/// Why Graph did not do what it was asked.
#[derive(Debug)]
pub(crate) enum GraphError {
    /// The caller's fault.
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// For programs.
        code: &'static str,
        /// For people.
        message: String,
    },
    /// Ours.
    Failed(Error),
}

impl GraphError {
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        let (status, code) = (StatusCode::BAD_REQUEST, "Request_BadRequest");
        Self::Refused { status, code, message: message.into() }
    }

    pub(crate) fn denied(message: impl Into<String>) -> Self {
        let (status, code) = (StatusCode::FORBIDDEN, "Authorization_RequestDenied");
        Self::Refused { status, code, message: message.into() }
    }

    pub(crate) fn not_found(id: &str) -> Self {
        let message = format!(
            "Resource '{id}' does not exist or one of its queried reference-property objects are \
             not present."
        );
        let (status, code) = (StatusCode::NOT_FOUND, "Request_ResourceNotFound");
        Self::Refused { status, code, message }
    }
}

impl From<Error> for GraphError {
    fn from(error: Error) -> Self {
        let Error::Refused { code, message, .. } = error else { return Self::Failed(error) };
        match code {
            Code::AuthenticationFailed => Self::Refused {
                status: StatusCode::UNAUTHORIZED,
                code: "InvalidAuthenticationToken",
                message,
            },
            Code::AuthorizationFailed => Self::denied(message),
            Code::BodyTooLarge => Self::Refused {
                status: StatusCode::PAYLOAD_TOO_LARGE,
                code: "Request_BadRequest",
                message,
            },
            _ => Self::bad(message),
        }
    }
}

impl From<sqlx::Error> for GraphError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl IntoResponse for GraphError {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::Refused { status, code, message } => (status, code, message),
            // The log gets the cause, the caller our own answer to a failure.
            Self::Failed(error) => return error.into_response(),
        };
        let id = Guid::draw().map(|id| id.to_string()).unwrap_or_default();
        let date = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S").to_string();
        let inner = json!({"date": date, "request-id": id, "client-request-id": id});
        let body = json!({"error": {"code": code, "message": message, "innerError": inner}});
        (status, Json(body)).into_response()
    }
}
