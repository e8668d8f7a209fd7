//! The `api-version` of a request. Knows which there are of what we speak, and nothing of what differs.

use super::fault::Fault;
use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use jiff::civil::Date;
use serde::Deserialize;

/// A version: a date, and whether it is a preview.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiVersion {
    pub(crate) text: String,
    pub(crate) date: Date,
}

/// Those of `Microsoft.ImportExport`.
const IMPORT_EXPORT: [&str; 3] = ["2016-11-01", "2020-08-01", "2021-01-01"];

#[derive(Deserialize)]
struct Given {
    #[serde(rename = "api-version")]
    version: Option<String>,
}

fn fault(code: &'static str, message: String) -> Fault {
    Fault::new(StatusCode::BAD_REQUEST, code, message)
}

fn parse(text: &str) -> Option<ApiVersion> {
    let bare = text.strip_suffix("-preview").or_else(|| text.strip_suffix("-privatepreview"));
    let date = bare.unwrap_or(text);
    let digits = |at: usize, c: char| match at {
        4 | 7 => c == '-',
        _ => c.is_ascii_digit(),
    };
    let shaped = date.len() == 10 && date.chars().enumerate().all(|(at, c)| digits(at, c));
    Some(ApiVersion { text: text.to_owned(), date: shaped.then(|| date.parse().ok())?? })
}

impl<S: Send + Sync> FromRequestParts<S> for ApiVersion {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let given = Query::<Given>::from_request_parts(parts, state).await.ok();
        let text = given.and_then(|Query(given)| given.version).unwrap_or_default();
        if text.is_empty() {
            let message =
                "The api-version query parameter (?api-version=) is required for all requests.";
            return Err(fault("MissingApiVersionParameter", message.to_owned()));
        }
        parse(&text).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            let message = format!("The api-version '{shown}' is invalid. It is written 'YYYY-MM-DD' or 'YYYY-MM-DD-preview'.");
            fault("InvalidApiVersionParameter", message)
        })
    }
}

/// One of the versions that the import service has.
pub(crate) struct ImportExportVersion;

impl<S: Send + Sync> FromRequestParts<S> for ImportExportVersion {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let version = ApiVersion::from_request_parts(parts, state).await?;
        if IMPORT_EXPORT.contains(&version.text.as_str()) {
            return Ok(Self);
        }
        let message = format!(
            "The resource provider 'Microsoft.ImportExport' has no api-version '{}'. It has: {}.",
            version.text,
            IMPORT_EXPORT.join(", ")
        );
        Err(fault("InvalidApiVersionParameter", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_dates_and_previews_of_dates() {
        for good in ["2016-11-01", "2026-07-01", "2021-01-01-preview"] {
            assert!(parse(good).is_some(), "{good}");
        }
        for bad in ["", "2016", "2016-13-01", "2016-11-01x", "20161101", "+016-11-01", "latest"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
