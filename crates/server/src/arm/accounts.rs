//! Storage accounts through the resource manager. Moves no object; keys to them are not given out, as nobody
//! but the server itself goes to what is behind an account.

use super::body;
use super::fault::Fault;
use super::groups::check_tags;
use super::scope;
use super::subscriptions::short;
use super::version::ApiVersion;
use crate::app::App;
use crate::groups::{ACCOUNTS, Group};
use crate::http::Segments;
use crate::{accounts, db, seeds};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use model::{AccountName, BackendName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sqlx::SqliteConnection;
use std::sync::Arc;

/// What a customer has said of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Said {
    location: String,
    tags: Map<String, Value>,
    kind: String,
    sku: String,
}

#[derive(Deserialize)]
struct Request {
    location: Option<String>,
    tags: Option<Map<String, Value>>,
    kind: Option<String>,
    sku: Option<Sku>,
    properties: Option<Properties>,
}

#[derive(Deserialize)]
struct Sku {
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    packmule_backend: Option<String>,
    packmule_readers: Option<Vec<String>>,
}

struct Account {
    name: AccountName,
    group: Group,
    backend: BackendName,
    said: Said,
    created: Timestamp,
    /// Vaults of other subscriptions that may read it.
    readers: Vec<String>,
}

#[derive(sqlx::FromRow)]
struct Columns {
    name: String,
    subscription: String,
    resource_group: String,
    backend: String,
    said: String,
    created_at: String,
}

impl Account {
    fn read(row: Columns) -> Result<Self, Fault> {
        Ok(Self {
            name: db::parsed("storage_account.name", &row.name)?,
            group: Group { subscription: row.subscription, name: row.resource_group },
            backend: db::parsed("storage_account.backend", &row.backend)?,
            said: db::json("storage_account.said", &row.said)?,
            created: db::parsed("storage_account.created_at", &row.created_at)?,
            readers: Vec::new(),
        })
    }

    async fn find(on: &mut SqliteConnection, name: &AccountName) -> Result<Option<Self>, Fault> {
        let row: Option<Columns> = sqlx::query_as(
            "SELECT name, subscription, resource_group, backend, said, created_at
             FROM storage_account WHERE name = ?",
        )
        .bind(name.as_str())
        .fetch_optional(&mut *on)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let mut account = Self::read(row)?;
        account.readers = accounts::readers(on, name).await?;
        Ok(Some(account))
    }

    async fn store(&self, on: &mut SqliteConnection) -> Result<(), Fault> {
        sqlx::query(
            "INSERT INTO storage_account (name, subscription, resource_group, backend, said, created_at)
             VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET said = excluded.said",
        )
        .bind(self.name.as_str())
        .bind(&self.group.subscription)
        .bind(&self.group.name)
        .bind(self.backend.as_str())
        .bind(db::to_json("storage_account.said", &self.said)?)
        .bind(db::time(self.created))
        .execute(&mut *on)
        .await?;
        accounts::set_readers(on, &self.name, &self.readers, self.created).await?;
        Ok(())
    }

    fn shown(&self, app: &App) -> Value {
        let said = &self.said;
        let or = |text: &str, other: &str| if text.is_empty() { other } else { text }.to_owned();
        let location = or(&said.location, crate::groups::LOCATION);
        let sku = or(&said.sku, "Standard_LRS");
        let tier = sku.split('_').next().unwrap_or_default();
        json!({
            "id": self.group.resource(ACCOUNTS, self.name.as_str()), "name": self.name, "type": ACCOUNTS,
            "location": location, "tags": said.tags, "kind": or(&said.kind, "StorageV2"),
            "sku": { "name": sku, "tier": tier },
            "properties": {
                "provisioningState": "Succeeded", "creationTime": self.created,
                "primaryLocation": location, "statusOfPrimary": "available",
                "primaryEndpoints": { "blob": format!("{}/storage/{}/", app.endpoint, self.name) },
                "supportsHttpsTrafficOnly": true, "minimumTlsVersion": "TLS1_2",
                "allowBlobPublicAccess": false, "allowSharedKeyAccess": false,
                "encryption": { "keySource": "Microsoft.Storage" },
                "packmuleBackend": self.backend, "packmuleReaders": self.readers,
            },
        })
    }
}

fn parse(name: &str) -> Result<AccountName, Fault> {
    name.to_ascii_lowercase().parse().map_err(|why: model::NameError| {
        Fault::new(StatusCode::BAD_REQUEST, "AccountNameInvalid", why.to_string())
    })
}

/// The account of that name in that group.
async fn in_group(on: &mut SqliteConnection, group: &Group, name: &str) -> Result<Account, Fault> {
    let found = match parse(name) {
        Ok(name) => Account::find(on, &name).await?,
        Err(_) => None,
    };
    found.filter(|account| account.group.is(group)).ok_or_else(|| {
        let shown: String = name.chars().take(80).collect();
        Fault::missing(format_args!("storage account '{shown}' in resource group '{}'", group.name))
    })
}

pub(super) async fn get(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments((id, group, name)): Segments<(String, String, String)>,
) -> Result<Json<Value>, Fault> {
    let group = scope::read_group(&app, &id, &group).await?;
    let mut connection = app.db.pool().acquire().await?;
    Ok(Json(in_group(&mut connection, &group, &name).await?.shown(&app)))
}

async fn all(app: &App, id: &str, group: Option<&str>) -> Result<Json<Value>, Fault> {
    let mut connection = app.db.pool().acquire().await?;
    let (id, _) = scope::subscription(&mut connection, id).await?;
    if let Some(group) = group {
        scope::group(&mut connection, &id, group).await?;
    }
    let names: Vec<(String,)> =
        sqlx::query_as("SELECT name FROM storage_account WHERE subscription = ? ORDER BY name")
            .bind(&id)
            .fetch_all(&mut *connection)
            .await?;
    let mut value = Vec::new();
    for (name,) in names {
        let name = db::parsed("storage_account.name", &name)?;
        let account = Account::find(&mut connection, &name).await?;
        let is_in =
            |account: &Account| group.is_none_or(|it| account.group.name.eq_ignore_ascii_case(it));
        value.extend(account.filter(is_in).map(|account| account.shown(app)));
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

/// Clients poll what is not done at once; this always is.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments((id, group, name)): Segments<(String, String, String)>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let request: Request = body::read(body).await?;
    let name = parse(&name)?;
    let mut transaction = app.db.write().await?;
    let group = scope::group(&mut transaction, &id, &group).await?;
    let account = match Account::find(&mut transaction, &name).await? {
        Some(there) if !there.group.is(&group.group) => {
            let message = format!("The storage account named {name} is already taken.");
            return Err(Fault::new(StatusCode::CONFLICT, "StorageAccountAlreadyTaken", message));
        }
        Some(there) => there,
        None => Account {
            name,
            group: group.group,
            backend: wanted_backend(&app, &request)?.unwrap_or_default(),
            said: Said { location: group.location, ..Said::default() },
            created: app.now(),
            readers: Vec::new(),
        },
    };
    let account = changed(&app, &mut transaction, account, request).await?;
    account.store(&mut transaction).await?;
    transaction.commit().await?;
    Ok(Json(account.shown(&app)))
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
    let account = in_group(&mut transaction, &group, &name).await?;
    let account = changed(&app, &mut transaction, account, request).await?;
    account.store(&mut transaction).await?;
    transaction.commit().await?;
    Ok(Json(account.shown(&app)))
}

/// The backend that the request names.
fn wanted_backend(app: &App, request: &Request) -> Result<Option<BackendName>, Fault> {
    const TARGET: &str = "packmuleBackend";
    let wanted = request.properties.as_ref().and_then(|said| said.packmule_backend.as_deref());
    let Some(wanted) = wanted else { return Ok(None) };
    let name: BackendName = wanted
        .parse()
        .map_err(|why: model::NameError| Fault::content(TARGET, format!("{why}.")))?;
    app.backends.get(&name).map_err(|why| Fault::content(TARGET, format!("{why}.")))?;
    Ok(Some(name))
}

async fn changed(
    app: &App,
    on: &mut SqliteConnection,
    mut account: Account,
    request: Request,
) -> Result<Account, Fault> {
    if wanted_backend(app, &request)?.is_some_and(|wanted| wanted != account.backend) {
        let message = accounts::elsewhere(&account.name, &account.backend);
        return Err(Fault::new(StatusCode::CONFLICT, "PropertyChangeNotAllowed", message));
    }
    if let Some(tags) = request.tags {
        check_tags(&tags)?;
        account.said.tags = tags;
    }
    let word = |text: String, target| {
        let good = text.len() <= 60 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if good {
            Ok(text)
        } else {
            Err(Fault::content(target, format!("'{target}' is not one of the known values.")))
        }
    };
    if let Some(location) = request.location {
        account.said.location = word(short(&location), "location")?;
    }
    if let Some(kind) = request.kind {
        account.said.kind = word(kind, "kind")?;
    }
    if let Some(sku) = request.sku.and_then(|sku| sku.name) {
        account.said.sku = word(sku, "sku")?;
    }
    let Some(properties) = request.properties else { return Ok(account) };
    if let Some(readers) = properties.packmule_readers {
        for vault in &readers {
            let known: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM vault WHERE name = ?")
                .bind(vault)
                .fetch_optional(&mut *on)
                .await?;
            if known.is_none() {
                let shown: String = vault.chars().take(80).collect();
                let message = format!("There is no vault '{shown}' on this server.");
                return Err(Fault::content("packmuleReaders", message));
            }
        }
        account.readers = readers;
    }
    Ok(account)
}

/// Only one in which nothing is, and which no job names: it may be the only copy.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments((id, group, name)): Segments<(String, String, String)>,
) -> Result<StatusCode, Fault> {
    let mut transaction = app.db.write().await?;
    let group = scope::group(&mut transaction, &id, &group).await?.group;
    let Ok(account) = in_group(&mut transaction, &group, &name).await else {
        return Ok(StatusCode::NO_CONTENT);
    };
    let job: Option<(String,)> =
        sqlx::query_as("SELECT name FROM import_job WHERE storage_account = ? LIMIT 1")
            .bind(account.name.as_str())
            .fetch_optional(&mut *transaction)
            .await?;
    if let Some((job,)) = job {
        let message = format!("Storage account '{}' is named by import job '{job}'.", account.name);
        return Err(Fault::new(StatusCode::CONFLICT, "StorageAccountInUse", message));
    }
    let of = seeds::Of::Account(&account.name);
    if let Some(seed) = seeds::awaited(&mut transaction, of, app.moment()).await?.first() {
        let message =
            format!("Storage account '{}' is where seed {} is to arrive.", account.name, seed.id);
        return Err(Fault::new(StatusCode::CONFLICT, "StorageAccountInUse", message));
    }
    let objects = app.backends.get(&account.backend)?;
    if !objects.is_empty(&crate::place::account(&account.name)).await? {
        let message = format!("Storage account '{}' holds objects.", account.name);
        return Err(Fault::new(StatusCode::CONFLICT, "StorageAccountInUse", message));
    }
    accounts::remove(&mut transaction, &account.name).await?;
    transaction.commit().await?;
    Ok(StatusCode::OK)
}

#[derive(Deserialize)]
struct Asked {
    name: Option<String>,
}

pub(super) async fn check_name(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments(id): Segments<String>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let asked: Asked = body::read(body).await?;
    let mut connection = app.db.pool().acquire().await?;
    scope::subscription(&mut connection, &id).await?;
    let name = asked.name.unwrap_or_default();
    let no = |reason: &str, message: String| {
        Json(json!({ "nameAvailable": false, "reason": reason, "message": message }))
    };
    let Ok(name) = name.parse::<AccountName>() else {
        let message = format!(
            "{} is not a valid storage account name.",
            name.chars().take(80).collect::<String>()
        );
        return Ok(no("AccountNameInvalid", message));
    };
    Ok(match Account::find(&mut connection, &name).await? {
        Some(_) => {
            no("AlreadyExists", format!("The storage account named {name} is already taken."))
        }
        None => Json(json!({ "nameAvailable": true })),
    })
}
