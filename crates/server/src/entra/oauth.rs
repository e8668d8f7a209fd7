//! Refusals of the token endpoint, in OAuth's shape (RFC 6749, 5.2) with the numbers that people
//! search for. Says nothing of the inside.

use super::guid::Guid;
use crate::Error;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;

/// Why a caller gets no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No tenant of this server.
    Tenant,
    /// The form is not one.
    Malformed,
    /// A parameter is not there: which.
    Missing(&'static str),
    /// Another grant type than client credentials.
    GrantType,
    /// A scope that is not one resource's `.default`.
    Scope,
    /// A resource that no token is given for.
    Resource,
    /// No such application.
    Application,
    /// The application has no service principal.
    ServicePrincipal,
    /// Neither a secret nor an assertion.
    NoCredential,
    /// A wrong secret.
    Secret,
    /// A secret past its end, or before its start.
    SecretExpired,
    /// An assertion that is not signed by one of the application's certificates, or says otherwise
    /// what it must not: how it shows.
    Assertion(&'static str),
    /// An assertion from another time.
    Time(&'static str),
    /// An assertion for somebody else.
    Audience,
}

impl Reason {
    /// OAuth's word, the status and the number.
    fn parts(self) -> (&'static str, StatusCode, u32) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        const UNKNOWN: StatusCode = StatusCode::UNAUTHORIZED;
        match self {
            Self::Tenant => ("invalid_request", BAD, 90_002),
            Self::Malformed => ("invalid_request", BAD, 9_002_313),
            Self::Missing(_) => ("invalid_request", BAD, 900_144),
            Self::GrantType => ("unsupported_grant_type", BAD, 70_003),
            Self::Scope => ("invalid_scope", BAD, 70_011),
            Self::Resource => ("invalid_resource", BAD, 500_011),
            Self::Application => ("unauthorized_client", BAD, 700_016),
            Self::ServicePrincipal => ("unauthorized_client", BAD, 7_000_229),
            Self::NoCredential => ("invalid_client", UNKNOWN, 7_000_218),
            Self::Secret => ("invalid_client", UNKNOWN, 7_000_215),
            Self::SecretExpired => ("invalid_client", UNKNOWN, 7_000_222),
            Self::Assertion(_) => ("invalid_client", UNKNOWN, 700_027),
            Self::Time(_) => ("invalid_client", UNKNOWN, 700_024),
            Self::Audience => ("invalid_client", UNKNOWN, 700_023),
        }
    }

    fn sentence(self) -> String {
        let text = match self {
            Self::Tenant => "Tenant not found. This server's tenant id is in its credentials.",
            Self::Malformed => "Invalid request. Request is malformed, too long or invalid.",
            Self::Missing(name) => {
                return format!("The request body must contain the following parameter: '{name}'.");
            }
            Self::GrantType => "The only grant type here is 'client_credentials'.",
            Self::Scope => "The scope must be one resource with '/.default' after it.",
            Self::Resource => "The resource principal named in the request was not found.",
            Self::Application => "Application was not found in the directory. Check its id.",
            Self::ServicePrincipal => {
                "The client application is missing a service principal in the tenant. Create one."
            }
            Self::NoCredential => {
                "The request must contain 'client_assertion' or 'client_secret', and one only."
            }
            Self::Secret => "Invalid client secret provided. Send the secret's value, not its id.",
            Self::SecretExpired => "The provided client secret keys are expired.",
            Self::Assertion(how) => {
                return format!(
                    "The certificate used to sign the client assertion, or what the \
                     assertion says, is not accepted: {how}."
                );
            }
            Self::Time(how) => {
                return format!(
                    "Client assertion is not within its valid time range: {how}. \
                     Check the clock."
                );
            }
            Self::Audience => {
                "Client assertion audience claim does not match this server's token endpoint."
            }
        };
        text.to_owned()
    }
}

/// Why a caller gets no token, or what failed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The caller's fault.
    Reason(Reason),
    /// Ours.
    Failed(Error),
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::Reason(reason)
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}

#[derive(Serialize)]
struct Body {
    error: &'static str,
    error_description: String,
    error_codes: [u32; 1],
    timestamp: String,
    trace_id: String,
    correlation_id: String,
}

impl Refusal {
    /// As an answer. `correlation` is what the caller calls its request.
    pub(crate) fn answer(self, now: Timestamp, correlation: Option<Guid>) -> Response {
        let reason = match self {
            Self::Reason(reason) => reason,
            Self::Failed(error) => return error.into_response(),
        };
        let (error, status, number) = reason.parts();
        let draw = || Guid::draw().map(|guid| guid.to_string()).unwrap_or_default();
        let body = Body {
            error,
            error_description: format!("AADSTS{number}: {}", reason.sentence()),
            error_codes: [number],
            timestamp: now.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            trace_id: draw(),
            correlation_id: correlation.map_or_else(draw, |guid| guid.to_string()),
        };
        tracing::info!(error, number, reason = ?reason, "no token was given");
        (status, Json(body)).into_response()
    }
}
