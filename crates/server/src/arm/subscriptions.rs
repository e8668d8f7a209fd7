//! Tenants, subscriptions, locations, providers, and the document that tells clients where everything is.

use super::fault::Fault;
use super::scope;
use super::version::ApiVersion;
use crate::app::App;
use crate::auth::Principal;
use crate::groups;
use crate::http::Segments;
use axum::extract::State;
use axum::{Extension, Json};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn endpoints(State(app): State<Arc<App>>) -> Json<Value> {
    let endpoint = &app.endpoint;
    // Clients add a path to most of these, and take others for audiences.
    Json(json!({
        "name": "Packmule",
        "portal": format!("{endpoint}/portal"),
        "authentication": {
            "loginEndpoint": endpoint,
            "audiences": ["https://management.core.windows.net/", "https://management.azure.com/"],
            "tenant": app.entra.tenant.as_str(),
            "identityProvider": "AAD",
        },
        "graph": endpoint,
        "graphAudience": format!("{endpoint}/"),
        "microsoftGraphResourceId": format!("{endpoint}/"),
        "resourceManager": endpoint,
        "activeDirectoryDataLake": "",
        "batch": "",
        "gallery": "",
        "media": "",
        "sqlManagement": "",
        "vmImageAliasDoc": "",
        "suffixes": {
            "storage": host(endpoint),
            "keyVaultDns": "",
            "acrLoginServer": "",
            "sqlServerHostname": "",
            "azureDataLakeStoreFileSystem": "",
            "azureDataLakeAnalyticsCatalogAndJob": "",
        },
    }))
}

fn host(endpoint: &str) -> &str {
    endpoint.split("//").nth(1).unwrap_or(endpoint)
}

pub(super) async fn tenants(State(app): State<Arc<App>>, _: ApiVersion) -> Json<Value> {
    let tenant = app.entra.tenant.as_str();
    Json(json!({ "value": [{
        "id": format!("/tenants/{tenant}"), "tenantId": tenant, "displayName": "Packmule",
        "tenantCategory": "Home", "countryCode": "", "domains": [], "tenantType": "AAD",
    }] }))
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    _: ApiVersion,
) -> Result<Json<Value>, Fault> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT id, name FROM subscription ORDER BY created_at, id")
            .fetch_all(app.db.pool())
            .await?;
    let mine = rows.iter().filter(|(id, _)| caller.sees_below(&format!("/subscriptions/{id}")));
    let value: Vec<Value> = mine.map(|(id, name)| shown(&app, id, name)).collect();
    let count = json!({ "type": "Total", "value": value.len() });
    Ok(Json(json!({ "value": value, "count": count })))
}

pub(super) async fn get(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments(id): Segments<String>,
) -> Result<Json<Value>, Fault> {
    let mut connection = app.db.pool().acquire().await?;
    let (id, name) = scope::subscription(&mut connection, &id).await?;
    Ok(Json(shown(&app, &id, &name)))
}

fn shown(app: &App, id: &str, name: &str) -> Value {
    json!({
        "id": format!("/subscriptions/{id}"), "subscriptionId": id, "tenantId": app.entra.tenant.as_str(),
        "displayName": name, "state": "Enabled", "authorizationSource": "RoleBased",
        "managedByTenants": [],
        "subscriptionPolicies": { "locationPlacementId": "Public", "quotaId": "Default", "spendingLimit": "Off" },
    })
}

/// Where resources can be: the configuration's locations, or the one that always is.
pub(super) async fn locations(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments(id): Segments<String>,
) -> Result<Json<Value>, Fault> {
    let mut connection = app.db.pool().acquire().await?;
    let (id, _) = scope::subscription(&mut connection, &id).await?;
    let mut names: Vec<&str> =
        app.config.locations.iter().map(|location| location.name.as_str()).collect();
    if names.is_empty() {
        names.push(groups::LOCATION);
    }
    let location = |name: &&str| {
        let short = short(name);
        json!({
            "id": format!("/subscriptions/{id}/locations/{short}"), "name": short,
            "displayName": name, "regionalDisplayName": name, "type": "Region",
            "metadata": { "regionType": "Physical", "regionCategory": "Recommended" },
        })
    };
    Ok(Json(json!({ "value": names.iter().map(location).collect::<Vec<_>>() })))
}

/// A location as resources name it: `West US` is `westus`.
pub(super) fn short(name: &str) -> String {
    name.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect()
}

/// A provider: its name, what it has, and the versions that are told to clients that ask which to use.
type Provider = (&'static str, &'static [&'static str], &'static [&'static str]);

/// What a subscription can hold.
const PROVIDERS: &[Provider] = &[
    ("Microsoft.Authorization", &["roleAssignments", "roleDefinitions"], &["2022-04-01"]),
    (
        "Microsoft.ImportExport",
        &["jobs", "locations", "operations"],
        &["2021-01-01", "2020-08-01", "2016-11-01"],
    ),
    ("Microsoft.RecoveryServices", &["vaults"], &["2024-04-01"]),
    ("Microsoft.Resources", &["resourceGroups", "subscriptions"], &["2024-11-01"]),
    ("Microsoft.Storage", &["storageAccounts"], &["2023-05-01"]),
];

pub(super) async fn providers(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments(id): Segments<String>,
) -> Result<Json<Value>, Fault> {
    let mut connection = app.db.pool().acquire().await?;
    let (id, _) = scope::subscription(&mut connection, &id).await?;
    let value: Vec<Value> = PROVIDERS.iter().map(|it| provider(&id, it)).collect();
    Ok(Json(json!({ "value": value })))
}

/// Read, or registered: all of them always are.
pub(super) async fn one_provider(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments((id, name)): Segments<(String, String)>,
) -> Result<Json<Value>, Fault> {
    let mut connection = app.db.pool().acquire().await?;
    let (id, _) = scope::subscription(&mut connection, &id).await?;
    let known = PROVIDERS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(&name));
    let known = known.ok_or_else(|| Fault::missing(format_args!("resource provider '{name}'")))?;
    Ok(Json(provider(&id, known)))
}

fn provider(id: &str, (name, kinds, versions): &Provider) -> Value {
    let kind = |kind: &&str| json!({ "resourceType": kind, "locations": [], "apiVersions": versions, "capabilities": "None" });
    json!({
        "id": format!("/subscriptions/{id}/providers/{name}"), "namespace": name,
        "registrationPolicy": "RegistrationFree", "registrationState": "Registered",
        "resourceTypes": kinds.iter().map(kind).collect::<Vec<_>>(),
    })
}
