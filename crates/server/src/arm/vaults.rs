//! Recovery services vaults through the resource manager. Their contents are the data plane's business.

use super::body;
use super::fault::Fault;
use super::groups::check_tags;
use super::scope;
use super::subscriptions::short;
use super::version::ApiVersion;
use crate::app::App;
use crate::groups::{Group, LOCATION, VAULTS};
use crate::http::Segments;
use crate::{db, settings, vaults};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use jiff::civil::date;
use model::VaultName;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sqlx::SqliteConnection;
use std::sync::Arc;
use wire::Immutability;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Said {
    location: String,
    tags: Map<String, Value>,
    sku: String,
    tier: String,
    public_network_access: String,
}

#[derive(Deserialize)]
struct Request {
    location: Option<String>,
    tags: Option<Map<String, Value>>,
    sku: Option<Sku>,
    properties: Option<Properties>,
}

#[derive(Deserialize)]
struct Sku {
    name: Option<String>,
    tier: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    public_network_access: Option<String>,
}

struct Vault {
    name: VaultName,
    group: Group,
    said: Said,
    created: Timestamp,
    servers: u64,
    immutability: Immutability,
}

#[derive(sqlx::FromRow)]
struct Columns {
    name: String,
    subscription: String,
    resource_group: String,
    said: String,
    created_at: String,
    servers: i64,
    immutability: String,
}

const COLUMNS: &str = "SELECT name, subscription, resource_group, said, created_at, immutability,
    (SELECT COUNT(*) FROM server WHERE server.vault = vault.name) AS servers FROM vault";

impl Vault {
    fn read(row: Columns) -> Result<Self, Fault> {
        Ok(Self {
            name: db::parsed("vault.name", &row.name)?,
            group: Group { subscription: row.subscription, name: row.resource_group },
            said: db::json("vault.said", &row.said)?,
            created: db::parsed("vault.created_at", &row.created_at)?,
            servers: db::count("vault.servers", row.servers)?,
            immutability: settings::immutability(&row.immutability)?,
        })
    }

    /// In the words of Azure.
    fn immutability(&self) -> &'static str {
        match self.immutability {
            Immutability::Disabled => "Disabled",
            Immutability::Enabled => "Unlocked",
            Immutability::Locked => "Locked",
        }
    }

    /// Whatever the case of its name.
    async fn find(on: &mut SqliteConnection, name: &str) -> Result<Option<Self>, Fault> {
        let query = format!("{COLUMNS} WHERE name = ? COLLATE NOCASE");
        let row: Option<Columns> =
            sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(name).fetch_optional(on).await?;
        row.map(Self::read).transpose()
    }

    fn shown(&self) -> Value {
        let said = &self.said;
        let or = |text: &str, other: &str| if text.is_empty() { other } else { text }.to_owned();
        let mut sku = Map::new();
        sku.insert("name".to_owned(), or(&said.sku, "Standard").into());
        if !said.tier.is_empty() {
            sku.insert("tier".to_owned(), said.tier.clone().into());
        }
        json!({
            "id": self.group.resource(VAULTS, self.name.as_str()), "name": self.name, "type": VAULTS,
            "location": or(&said.location, LOCATION), "tags": said.tags, "sku": sku,
            "properties": {
                "provisioningState": "Succeeded",
                "publicNetworkAccess": or(&said.public_network_access, "Enabled"),
                "privateEndpointStateForBackup": "None",
                "securitySettings": { "immutabilitySettings": { "state": self.immutability() } },
            },
            "systemData": { "createdAt": self.created },
        })
    }

    fn take(&mut self, request: Request) -> Result<(), Fault> {
        let word = |text: String, target| {
            let good = text.len() <= 60 && text.bytes().all(|b| b.is_ascii_alphanumeric());
            if good {
                Ok(text)
            } else {
                Err(Fault::content(target, format!("'{target}' is not one of the known values.")))
            }
        };
        if let Some(tags) = request.tags {
            check_tags(&tags)?;
            self.said.tags = tags;
        }
        if let Some(location) = request.location {
            self.said.location = word(short(&location), "location")?;
        }
        if let Some(sku) = request.sku {
            self.said.sku = word(sku.name.unwrap_or_default(), "sku")?;
            self.said.tier = word(sku.tier.unwrap_or_default(), "tier")?;
        }
        if let Some(access) = request.properties.and_then(|it| it.public_network_access) {
            self.said.public_network_access = word(access, "publicNetworkAccess")?;
        }
        Ok(())
    }

    async fn store(&self, on: &mut SqliteConnection) -> Result<(), Fault> {
        sqlx::query("UPDATE vault SET said = ? WHERE name = ?")
            .bind(db::to_json("vault.said", &self.said)?)
            .bind(self.name.as_str())
            .execute(on)
            .await?;
        Ok(())
    }
}

async fn in_group(on: &mut SqliteConnection, group: &Group, name: &str) -> Result<Vault, Fault> {
    let found = Vault::find(on, name).await?;
    found.filter(|vault| vault.group.is(group)).ok_or_else(|| {
        let shown: String = name.chars().take(80).collect();
        let (kind, group) = (VAULTS, &group.name);
        Fault::new(
            StatusCode::NOT_FOUND,
            "ResourceNotFound",
            format!("The Resource '{kind}/{shown}' under resource group '{group}' was not found."),
        )
    })
}

pub(super) async fn get(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments((id, group, name)): Segments<(String, String, String)>,
) -> Result<Json<Value>, Fault> {
    let group = scope::read_group(&app, &id, &group).await?;
    let mut connection = app.db.pool().acquire().await?;
    Ok(Json(in_group(&mut connection, &group, &name).await?.shown()))
}

async fn all(app: &App, id: &str, group: Option<&str>) -> Result<Json<Value>, Fault> {
    let mut connection = app.db.pool().acquire().await?;
    let (id, _) = scope::subscription(&mut connection, id).await?;
    if let Some(group) = group {
        scope::group(&mut connection, &id, group).await?;
    }
    let query = format!("{COLUMNS} WHERE subscription = ? ORDER BY name COLLATE NOCASE");
    let rows: Vec<Columns> =
        sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(&id).fetch_all(&mut *connection).await?;
    let mut value = Vec::new();
    for row in rows {
        let vault = Vault::read(row)?;
        if group.is_none_or(|group| vault.group.name.eq_ignore_ascii_case(group)) {
            value.push(vault.shown());
        }
    }
    Ok(Json(json!({ "value": value })))
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments(id): Segments<String>,
) -> Result<Json<Value>, Fault> {
    all(&app, &id, None).await
}

pub(super) async fn list_in_group(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments((id, group)): Segments<(String, String)>,
) -> Result<Json<Value>, Fault> {
    all(&app, &id, Some(&group)).await
}

pub(super) async fn put(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments((id, group, name)): Segments<(String, String, String)>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Fault> {
    let request: Request = body::read(body).await?;
    let mut transaction = app.db.write().await?;
    let group = scope::group(&mut transaction, &id, &group).await?;
    let (status, mut vault) = match Vault::find(&mut transaction, &name).await? {
        Some(there) if !there.group.is(&group.group) => {
            return Err(scope::elsewhere(VAULTS, &name, &there.group));
        }
        Some(there) => (StatusCode::OK, there),
        None => {
            let name: VaultName = name.parse().map_err(|why: model::NameError| {
                Fault::new(StatusCode::BAD_REQUEST, "InvalidResourceName", why.to_string())
            })?;
            let now = app.now();
            vaults::add(&mut transaction, &name, &group.group, "{}", now).await?;
            let said = Said { location: group.location, ..Said::default() };
            (
                StatusCode::CREATED,
                Vault {
                    name,
                    group: group.group,
                    said,
                    created: now,
                    servers: 0,
                    immutability: Immutability::Disabled,
                },
            )
        }
    };
    vault.take(request)?;
    vault.store(&mut transaction).await?;
    transaction.commit().await?;
    Ok((status, Json(vault.shown())))
}

pub(super) async fn patch(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments((id, group, name)): Segments<(String, String, String)>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let request: Request = body::read(body).await?;
    let mut transaction = app.db.write().await?;
    let group = scope::group(&mut transaction, &id, &group).await?.group;
    let mut vault = in_group(&mut transaction, &group, &name).await?;
    vault.take(request)?;
    vault.store(&mut transaction).await?;
    transaction.commit().await?;
    Ok(Json(vault.shown()))
}

/// The name of a vault of that group, as it is kept.
pub(super) async fn name_in(
    on: &mut SqliteConnection,
    group: &Group,
    name: &str,
) -> Result<VaultName, Fault> {
    Ok(in_group(on, group, name).await?.name)
}

/// Only an empty one. Newer versions answer that it is under way, older ones that it is done.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    version: ApiVersion,
    Segments((id, group, name)): Segments<(String, String, String)>,
) -> Result<StatusCode, Fault> {
    let done =
        if version.date >= date(2024, 4, 1) { StatusCode::NO_CONTENT } else { StatusCode::OK };
    let mut transaction = app.db.write().await?;
    let group = scope::group(&mut transaction, &id, &group).await?.group;
    let Ok(vault) = in_group(&mut transaction, &group, &name).await else {
        return Ok(StatusCode::NO_CONTENT);
    };
    if vault.servers > 0 {
        let message = format!(
            "Vault '{}' cannot be deleted as there are existing resources within the vault: {} source servers are registered with it.",
            vault.name, vault.servers
        );
        return Err(Fault::new(
            StatusCode::CONFLICT,
            "ServiceResourceNotEmptyWithContainerDetails",
            message,
        ));
    }
    // Another one of that name is not theirs.
    sqlx::query("DELETE FROM role_grant WHERE scope = ? COLLATE NOCASE")
        .bind(group.resource(VAULTS, vault.name.as_str()))
        .execute(&mut *transaction)
        .await?;
    sqlx::query("DELETE FROM account_reader WHERE vault = ?")
        .bind(vault.name.as_str())
        .execute(&mut *transaction)
        .await?;
    sqlx::query("DELETE FROM vault WHERE name = ?")
        .bind(vault.name.as_str())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(done)
}

/// What the vault holds, counted.
pub(super) async fn usages(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments((id, group, name)): Segments<(String, String, String)>,
) -> Result<Json<Value>, Fault> {
    let group = scope::read_group(&app, &id, &group).await?;
    let mut connection = app.db.pool().acquire().await?;
    let vault = in_group(&mut connection, &group, &name).await?;
    let usage = |name: &str, unit: &str, value: u64| {
        json!({
            "unit": unit, "currentValue": value, "limit": -1,
            "name": { "value": name, "localizedValue": name },
        })
    };
    Ok(Json(json!({ "value": [
        usage("MABContainersCount", "Count", vault.servers),
        usage("ManagedInstances", "Count", vault.servers),
    ] })))
}
