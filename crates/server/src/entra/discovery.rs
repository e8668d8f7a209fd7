//! What clients and other servers find out about the token endpoint: its addresses and the key that
//! its tokens are signed with.

use super::access_token::{Version, issuer};
use super::oauth::Refusal;
use super::tenant;
use crate::app::App;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use std::sync::Arc;

pub(crate) async fn configuration_v1(
    State(app): State<Arc<App>>,
    Path(tenant): Path<String>,
) -> Response {
    answer(&app, &tenant, configuration(&app, Version::V1))
}

pub(crate) async fn configuration_v2(
    State(app): State<Arc<App>>,
    Path(tenant): Path<String>,
) -> Response {
    answer(&app, &tenant, configuration(&app, Version::V2))
}

pub(crate) async fn keys(State(app): State<Arc<App>>, Path(tenant): Path<String>) -> Response {
    answer(&app, &tenant, json!({"keys": [app.entra.key.jwk()]}))
}

fn answer(app: &App, tenant: &str, value: Value) -> Response {
    match tenant::check(app, tenant) {
        Ok(()) => Json(value).into_response(),
        Err(reason) => Refusal::Reason(reason).answer(app.now(), None),
    }
}

/// OpenID's discovery document. Clients insist on addresses of flows that are not here; those answer
/// that there is no such path.
fn configuration(app: &App, version: Version) -> Value {
    let (endpoint, own) = (&app.endpoint, &app.entra.tenant);
    let (flows, keys) = match version {
        Version::V1 => ("oauth2", "discovery/keys"),
        Version::V2 => ("oauth2/v2.0", "discovery/v2.0/keys"),
    };
    json!({
        "issuer": issuer(version, endpoint, own),
        "token_endpoint": tenant::token_endpoint(app, version),
        "authorization_endpoint": format!("{endpoint}/{own}/{flows}/authorize"),
        "device_authorization_endpoint": format!("{endpoint}/{own}/{flows}/devicecode"),
        "jwks_uri": format!("{endpoint}/{own}/{keys}"),
        "token_endpoint_auth_methods_supported":
            ["client_secret_post", "client_secret_basic", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["RS256", "PS256"],
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": ["token"],
        "response_modes_supported": ["form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid"],
        "tenant_region_scope": null,
    })
}
