//! The token endpoint: client credentials for an access token (RFC 6749, 4.4), in both of Entra's
//! versions. Gives no token for anything but a secret or certificate that is registered.

use super::access_token::{self, Credential, LIFETIME, Version};
use super::assertion::{self, Expected};
use super::form::Form;
use super::guid::Guid;
use super::oauth::{Reason, Refusal};
use super::records::{self, Application, By};
use super::{audience, tenant};
use crate::app::App;
use crate::{db, http, token};
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use std::sync::Arc;

/// A form is at most this long; with a chain of certificates in its assertion it has some 10 KiB.
const LIMIT: usize = 64 << 10;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// How a client names its request, so that both can find it in their logs.
const CORRELATION: &str = "client-request-id";

pub(crate) async fn v1(
    State(app): State<Arc<App>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(&app, Version::V1, &tenant, &headers, body).await
}

pub(crate) async fn v2(
    State(app): State<Arc<App>>,
    Path(tenant): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(&app, Version::V2, &tenant, &headers, body).await
}

async fn answer(
    app: &App,
    version: Version,
    tenant: &str,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let correlation: Option<Guid> = headers
        .get(CORRELATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    match give(app, version, tenant, headers, body).await {
        Ok(value) => Json(value).into_response(),
        Err(refusal) => refusal.answer(app.now(), correlation),
    }
}

async fn give(
    app: &App,
    version: Version,
    tenant: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Value, Refusal> {
    tenant::check(app, tenant)?;
    let bytes = http::whole_soon(body, LIMIT).await.map_err(|_| Reason::Malformed)?;
    let form = Form::read(&bytes, headers)?;
    match form.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => return Err(Reason::GrantType.into()),
        None => return Err(Reason::Missing("grant_type").into()),
    }
    let resource = resource(app, version, &form)?;
    let named = form.client_id.clone();
    let claimed = || form.client_assertion.as_deref().and_then(assertion::claimed_client);
    let client = named.or_else(claimed).ok_or(Reason::Missing("client_id"))?;
    let application = records::find(app.db.pool(), By::App(&client)).await?;
    let application = application.ok_or(Reason::Application)?;
    let credential = prove(app, &application, &form, resource).await?;
    let principal = application.service_principal.as_deref().ok_or(Reason::ServicePrincipal)?;
    let mut roles = Vec::new();
    for grant in records::grants(app.db.pool(), principal).await? {
        let role = grant.role.as_str().to_owned();
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    let request = access_token::Request {
        version,
        application: &application,
        principal,
        credential: &credential,
        resource,
        roles,
        now: app.now(),
    };
    let access = access_token::make(&app.entra, &app.endpoint, request)?;
    tracing::info!(application = %application.app_id, resource, "a token is given");
    Ok(shape(app, version, resource, &access))
}

/// The answer. Of version 1, numbers are text, and it says when the token begins and ends.
fn shape(app: &App, version: Version, resource: &str, access_token: &str) -> Value {
    // A second less than it is, for the way here.
    let left = LIFETIME - 1;
    match version {
        Version::V2 => json!({
            "token_type": "Bearer",
            "expires_in": left,
            "ext_expires_in": left,
            "access_token": access_token,
        }),
        Version::V1 => {
            let now = app.now().as_second();
            json!({
                "token_type": "Bearer",
                "expires_in": left.to_string(),
                "ext_expires_in": left.to_string(),
                "expires_on": now.saturating_add(LIFETIME).to_string(),
                "not_before": now.to_string(),
                "resource": resource,
                "access_token": access_token,
            })
        }
    }
}

fn resource<'a>(app: &App, version: Version, form: &'a Form) -> Result<&'a str, Reason> {
    let resource = match version {
        Version::V1 => form.resource.as_deref().ok_or(Reason::Missing("resource"))?,
        Version::V2 => {
            let scope = form.scope.as_deref().ok_or(Reason::Missing("scope"))?;
            audience::of_scope(scope).ok_or(Reason::Scope)?
        }
    };
    if audience::is_known(resource, &app.endpoint) { Ok(resource) } else { Err(Reason::Resource) }
}

/// How the caller proves that it is the application.
async fn prove(
    app: &App,
    application: &Application,
    form: &Form,
    resource: &str,
) -> Result<Credential, Refusal> {
    match (&form.client_secret, &form.client_assertion) {
        (Some(secret), None) => by_secret(app, application, secret).await,
        (None, Some(text)) => match form.client_assertion_type.as_deref() {
            Some(ASSERTION_TYPE) => by_assertion(app, application, text, resource).await,
            Some(_) => Err(Reason::Assertion("client_assertion_type must be jwt-bearer").into()),
            None => Err(Reason::Missing("client_assertion_type").into()),
        },
        _ => Err(Reason::NoCredential.into()),
    }
}

async fn by_secret(
    app: &App,
    application: &Application,
    secret: &str,
) -> Result<Credential, Refusal> {
    let (hash, now) = (token::hash(secret), db::time(app.now()));
    let mut found = None;
    for row in records::secrets(app.db.pool(), &application.object_id).await? {
        if token::same(&hash, &row.sha256) {
            found = Some(row);
        }
    }
    let row = found.ok_or(Reason::Secret)?;
    if now < row.starts_at || row.ends_at < now {
        return Err(Reason::SecretExpired.into());
    }
    Ok(Credential { key_id: row.key_id, is_certificate: false })
}

async fn by_assertion(
    app: &App,
    application: &Application,
    text: &str,
    resource: &str,
) -> Result<Credential, Refusal> {
    let now = app.now();
    let registered = records::registered(app.db.pool(), &application.object_id, now).await?;
    let audiences = tenant::audiences(app);
    let expected = Expected { client: &application.app_id, audiences: &audiences, now };
    let proof = assertion::verify(text, &registered, &expected)?;
    let until = now.checked_add(assertion::REMEMBER).unwrap_or(jiff::Timestamp::MAX);
    let mut transaction = app.db.write().await?;
    sqlx::query("DELETE FROM assertion_seen WHERE until < ?")
        .bind(db::time(now))
        .execute(&mut *transaction)
        .await?;
    let first = sqlx::query(
        "INSERT INTO assertion_seen (application, jti, resource, until) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(&application.object_id)
    .bind(&proof.jti)
    .bind(audience::plain(resource))
    .bind(db::time(until))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await.map_err(crate::Error::from)?;
    if first.rows_affected() == 0 {
        return Err(Reason::Assertion("it was used before").into());
    }
    Ok(Credential { key_id: proof.key_id, is_certificate: true })
}
