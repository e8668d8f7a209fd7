//! Errors in the resource manager's shape: `{"error": {"code", "message", "target"?, "details"?}}`. The rest of
//! the server's errors become such ones here, and nowhere else.

use crate::Error;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use wire::Code;

/// Why a request to the resource manager was not answered as asked.
#[derive(Debug)]
pub(crate) enum Fault {
    /// In the resource manager's own words.
    Said { status: StatusCode, code: &'static str, message: String, target: Option<&'static str> },
    /// In the server's.
    Other(Error),
}

impl Fault {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self::Said { status, code, message: message.into(), target: None }
    }

    /// The body is not what it should be.
    pub(crate) fn content(target: &'static str, message: impl Into<String>) -> Self {
        let (status, code) = (StatusCode::BAD_REQUEST, "InvalidRequestContent");
        Self::Said { status, code, message: message.into(), target: Some(target) }
    }

    pub(crate) fn missing(what: impl std::fmt::Display) -> Self {
        let message = format!("There is no {what}.");
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFound", message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message)
    }
}

impl<E: Into<Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        match self {
            Self::Said { status, code, message, target } => {
                let mut error = json!({ "code": code, "message": message });
                if let (Some(error), Some(target)) = (error.as_object_mut(), target) {
                    error.insert("target".to_owned(), target.into());
                }
                (status, Json(json!({ "error": error }))).into_response()
            }
            Self::Other(error) => {
                let (status, said) = error.told();
                let code = name(&said.code);
                let detail =
                    |what: &String| json!({ "code": code, "target": what, "message": what });
                let details: Vec<Value> = said.details.iter().map(detail).collect();
                let error = json!({ "code": code, "message": said.message, "details": details });
                (status, Json(json!({ "error": error }))).into_response()
            }
        }
    }
}

/// Where the resource manager has a word of its own for it.
fn name(code: &Code) -> &str {
    match code {
        Code::InvalidRequest => "InvalidRequestContent",
        Code::AlreadyExists | Code::ConcurrentChange => "Conflict",
        Code::BodyTooLarge => "RequestEntityTooLarge",
        code => code.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body(fault: Fault) -> (StatusCode, Value) {
        let response = fault.into_response();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn details_are_objects_and_internals_stay_inside() {
        let details = vec!["S1".to_owned()];
        let refused = Error::Refused { code: Code::JobState, message: "no".to_owned(), details };
        let (status, json) = body(refused.into()).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert_eq!(json["error"]["details"][0]["target"], "S1");
        let io = Error::io("reading", "/secret")(std::io::Error::other("/secret"));
        let (status, json) = body(io.into()).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!json.to_string().contains("secret"));
    }
}
