//! Applications and service principals as Graph shows them. Shows no secret; certificates only where
//! they are asked for by name.

use super::GraphError;
use super::request::Asked;
use crate::app::App;
use crate::db;
use crate::entra::records::{self, Application, CertificateRow, SecretRow};
use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sqlx::SqliteConnection;
use std::sync::Arc;

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    asked: Asked,
) -> Result<Json<Value>, GraphError> {
    let mut on = app.db.pool().acquire().await?;
    let application = asked.find(&mut *on).await?;
    let shown = if asked.is_principal {
        principal(&application, &app)?
    } else {
        let with_keys = asked.query.names("keycredentials");
        self::application(&mut on, &application, with_keys).await?
    };
    Ok(Json(asked.query.selected(shown)))
}

/// The application with its credentials.
pub(super) async fn application(
    on: &mut SqliteConnection,
    one: &Application,
    with_keys: bool,
) -> Result<Value, GraphError> {
    let certificates = records::certificates(&mut *on, &one.object_id).await?;
    let secrets = records::secrets(on, &one.object_id).await?;
    let keys: Result<Vec<Value>, GraphError> =
        certificates.iter().map(|row| certificate(row, with_keys)).collect();
    let passwords: Result<Vec<Value>, GraphError> = secrets.iter().map(secret).collect();
    Ok(json!({
        "@odata.type": "#microsoft.graph.application",
        "id": one.object_id,
        "appId": one.app_id,
        "displayName": one.display_name,
        "createdDateTime": time("application.created_at", &one.created_at)?,
        "deletedDateTime": null,
        "signInAudience": "AzureADMyOrg",
        "identifierUris": [],
        "publisherDomain": null,
        "tags": [],
        "requiredResourceAccess": [],
        "appRoles": [],
        "keyCredentials": keys?,
        "passwordCredentials": passwords?,
    }))
}

/// The application's service principal.
pub(super) fn principal(one: &Application, app: &App) -> Result<Value, GraphError> {
    Ok(json!({
        "@odata.type": "#microsoft.graph.servicePrincipal",
        "id": one.service_principal,
        "appId": one.app_id,
        "displayName": one.display_name,
        "appDisplayName": one.display_name,
        "appOwnerOrganizationId": app.entra.tenant.as_str(),
        "createdDateTime": time("application.created_at", &one.created_at)?,
        "deletedDateTime": null,
        "accountEnabled": true,
        "servicePrincipalType": "Application",
        "servicePrincipalNames": [one.app_id],
        "signInAudience": "AzureADMyOrg",
        "alternativeNames": [],
        "tags": [],
        "appRoles": [],
        "oauth2PermissionScopes": [],
        "keyCredentials": [],
        "passwordCredentials": [],
    }))
}

/// A certificate; with its bytes where they are wanted.
pub(super) fn certificate(row: &CertificateRow, with_key: bool) -> Result<Value, GraphError> {
    Ok(json!({
        "customKeyIdentifier": row.custom_id,
        "displayName": row.display_name,
        "endDateTime": time("app_certificate.ends_at", &row.ends_at)?,
        "key": with_key.then(|| STANDARD.encode(&row.der)),
        "keyId": row.key_id,
        "startDateTime": time("app_certificate.starts_at", &row.starts_at)?,
        "type": "AsymmetricX509Cert",
        "usage": "Verify",
    }))
}

fn secret(row: &SecretRow) -> Result<Value, GraphError> {
    Ok(json!({
        "customKeyIdentifier": null,
        "displayName": row.display_name,
        "endDateTime": time("app_secret.ends_at", &row.ends_at)?,
        "hint": row.hint,
        "keyId": row.key_id,
        "secretText": null,
        "startDateTime": time("app_secret.starts_at", &row.starts_at)?,
    }))
}

/// A time of the database, to the second.
pub(super) fn time(column: &str, text: &str) -> Result<String, GraphError> {
    let at: jiff::Timestamp = db::parsed(column, text)?;
    Ok(format!("{at:.0}"))
}
