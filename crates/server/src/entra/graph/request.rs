//! What Graph's handlers take of a request: who calls, which object by which id, and with what query.

use super::GraphError;
use super::query::Query;
use crate::app::App;
use crate::auth::Principal;
use crate::entra::records::{self, Application, By};
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use sqlx::SqliteExecutor;
use std::sync::Arc;

/// An object by an id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    /// Of the collection that the path names.
    Object(String),
    /// `applications(appId='…')`.
    Application(String),
    /// `servicePrincipals(appId='…')`.
    Principal(String),
}

/// A request.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(super) caller: Principal,
    /// Where the path names one.
    pub(super) key: Option<Key>,
    /// Whether the path is below `servicePrincipals`.
    pub(super) is_principal: bool,
    pub(super) query: Query,
    pub(super) raw_query: Option<String>,
    /// The URL without its query.
    pub(super) here: String,
}

impl FromRequestParts<Arc<App>> for Asked {
    type Rejection = GraphError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, GraphError> {
        let params = RawPathParams::from_request_parts(parts, app).await;
        let params = params.map_err(|why| GraphError::bad(why.body_text()))?;
        let mut key = None;
        for (name, value) in &params {
            key = match name {
                "keyed" => Some(keyed(value).ok_or_else(|| GraphError::not_found(value))?),
                _ => Some(Key::Object(value.to_owned())),
            };
        }
        let caller = parts.extensions.get::<Principal>().cloned();
        let path = parts.uri.path();
        let below = path.split('/').nth(2).unwrap_or_default().to_ascii_lowercase();
        let raw_query = parts.uri.query().map(str::to_owned);
        Ok(Self {
            caller: caller.ok_or_else(|| GraphError::denied("Nobody has called."))?,
            is_principal: below == "serviceprincipals" || matches!(key, Some(Key::Principal(_))),
            key,
            query: Query::read(raw_query.as_deref())?,
            raw_query,
            here: format!("{}{path}", app.endpoint),
        })
    }
}

impl Asked {
    /// The application that the path names; none where it names a service principal, as what is done
    /// to one must not be done to its application.
    pub(super) async fn application(
        &self,
        on: impl SqliteExecutor<'_>,
    ) -> Result<Application, GraphError> {
        if self.is_principal {
            let message = "Service principals are not changed; their applications are.";
            return Err(GraphError::bad(message));
        }
        self.find(on).await
    }

    /// The application that the path names, by itself or by its service principal.
    pub(super) async fn find(
        &self,
        on: impl SqliteExecutor<'_>,
    ) -> Result<Application, GraphError> {
        let (by, id) = match &self.key {
            Some(Key::Object(id)) if self.is_principal => (By::Principal(id), id),
            Some(Key::Object(id)) => (By::Object(id), id),
            Some(Key::Application(id) | Key::Principal(id)) => (By::App(id), id),
            None => return Err(GraphError::bad("The path names no object.")),
        };
        let found = records::find(on, by).await?;
        let found = found.filter(|one| !self.is_principal || one.service_principal.is_some());
        let found = found.filter(|one| super::rights::sees(&self.caller, one));
        found.ok_or_else(|| GraphError::not_found(id))
    }
}

/// `applications(appId='…')` and the like; case does not count, but in the id.
fn keyed(segment: &str) -> Option<Key> {
    let (collection, rest) = segment.split_once('(')?;
    let (name, value) = rest.strip_suffix(')')?.split_once('=')?;
    let id = value.strip_prefix('\'')?.strip_suffix('\'')?.to_owned();
    if !name.eq_ignore_ascii_case("appId") {
        return None;
    }
    match collection.to_ascii_lowercase().as_str() {
        "applications" => Some(Key::Application(id)),
        "serviceprincipals" => Some(Key::Principal(id)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyed_segment_names_its_collection_and_id() {
        let id = || "a1".to_owned();
        assert_eq!(keyed("applications(appId='a1')"), Some(Key::Application(id())));
        assert_eq!(keyed("ServicePrincipals(appid='a1')"), Some(Key::Principal(id())));
        for bad in [
            "applications",
            "users(appId='a')",
            "applications(id='a')",
            "applications(appId=a)",
            "applications(appId='a'",
        ] {
            assert_eq!(keyed(bad), None, "{bad}");
        }
    }
}
