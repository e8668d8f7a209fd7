//! Role assignments and definitions: who may do what, and where. Decides nothing about a request; that is
//! `entra`'s part, from what is stored here.

use super::body;
use super::fault::Fault;
use super::version::ApiVersion;
use super::{scope, vaults};
use crate::app::App;
use crate::entra::Guid;
use crate::{db, groups};
use axum::Json;
use axum::body::Body;
use axum::extract::{Query, RawPathParams, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::SqliteConnection;
use std::sync::Arc;

const ASSIGNMENTS: &str = "Microsoft.Authorization/roleAssignments";
const DEFINITIONS: &str = "Microsoft.Authorization/roleDefinitions";

/// The roles, with Azure's own ids of them.
const ROLES: &[(&str, &str, &str)] = &[
    ("Owner", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", "Everything, and says who else may"),
    ("Contributor", "b24988ac-6180-42a0-ab88-20f7382dd24c", "Everything but saying who may"),
    ("Reader", "acdd72a7-3385-48ef-bd42-f606fba81ae7", "Sees everything, changes nothing"),
];

/// The scope that a path names, as it is kept: `/`, a subscription, a resource group or a vault.
async fn scope_of(on: &mut SqliteConnection, params: &RawPathParams) -> Result<String, Fault> {
    let param = |wanted| params.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    match (param("subscription"), param("group")) {
        (None, _) => Ok("/".to_owned()),
        (Some(id), Some(group)) if param("vault").is_some() => {
            let group = scope::group(&mut *on, id, group).await?.group;
            let vault = vaults::name_in(on, &group, param("vault").unwrap_or_default()).await?;
            Ok(group.resource(groups::VAULTS, vault.as_str()))
        }
        (Some(id), None) => {
            let (id, _) = scope::subscription(on, id).await?;
            Ok(format!("/subscriptions/{id}"))
        }
        (Some(id), Some(group)) => Ok(scope::group(on, id, group).await?.group.id()),
    }
}

fn id_of(params: &RawPathParams) -> Result<Guid, Fault> {
    let id = params.iter().find(|(name, _)| *name == "id").map_or("", |(_, value)| value);
    id.parse().map_err(|_| {
        let message = "The role assignment's name is a GUID.";
        Fault::new(StatusCode::BAD_REQUEST, "InvalidRoleAssignmentId", message)
    })
}

#[derive(sqlx::FromRow)]
struct Assignment {
    id: String,
    principal: String,
    role: String,
    scope: String,
    created_at: String,
}

impl Assignment {
    fn shown(&self) -> Value {
        let base = if self.scope == "/" { "" } else { &self.scope };
        let role = ROLES.iter().find(|(name, ..)| *name == self.role).map_or("", |(_, id, _)| id);
        json!({
            "id": format!("{base}/providers/{ASSIGNMENTS}/{}", self.id), "name": self.id,
            "type": ASSIGNMENTS,
            "properties": {
                "roleDefinitionId": definition_id(&self.scope, role), "principalId": self.principal,
                "principalType": "ServicePrincipal", "scope": self.scope,
                "createdOn": self.created_at, "updatedOn": self.created_at,
            },
        })
    }
}

/// Definitions are told with the subscription, where there is one.
fn definition_id(scope: &str, role: &str) -> String {
    let subscription =
        scope.strip_prefix("/subscriptions/").and_then(|rest| rest.split('/').next());
    let base = subscription.map(|id| format!("/subscriptions/{id}")).unwrap_or_default();
    format!("{base}/providers/{DEFINITIONS}/{role}")
}

async fn find(
    on: &mut SqliteConnection,
    scope: &str,
    id: &Guid,
) -> Result<Option<Assignment>, Fault> {
    let found = sqlx::query_as(
        "SELECT id, principal, role, scope, created_at FROM role_grant
         WHERE id = ? AND scope = ? COLLATE NOCASE",
    )
    .bind(id.as_str())
    .bind(scope)
    .fetch_optional(on)
    .await?;
    Ok(found)
}

fn none(id: &Guid) -> Fault {
    let message = format!("The role assignment '{}' is not found.", id.as_str());
    Fault::new(StatusCode::NOT_FOUND, "RoleAssignmentNotFound", message)
}

pub(super) async fn get(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    params: RawPathParams,
) -> Result<Json<Value>, Fault> {
    let id = id_of(&params)?;
    let mut connection = app.db.pool().acquire().await?;
    let scope = scope_of(&mut connection, &params).await?;
    let found = find(&mut connection, &scope, &id).await?.ok_or_else(|| none(&id))?;
    Ok(Json(found.shown()))
}

#[derive(Deserialize)]
pub(super) struct Filter {
    #[serde(rename = "$filter")]
    filter: Option<String>,
}

/// Those at the scope, above it, and below it, as the service has it; `atScope()` leaves out those below.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    params: RawPathParams,
    Query(Filter { filter }): Query<Filter>,
) -> Result<Json<Value>, Fault> {
    let mut connection = app.db.pool().acquire().await?;
    let scope = scope_of(&mut connection, &params).await?;
    let rows: Vec<Assignment> = sqlx::query_as(
        "SELECT id, principal, role, scope, created_at FROM role_grant ORDER BY scope, created_at, id",
    )
    .fetch_all(&mut *connection)
    .await?;
    let filter = filter.unwrap_or_default();
    let lower = filter.to_ascii_lowercase();
    let at_scope = lower.contains("atscope()");
    let principal = quoted(&filter);
    if !filter.is_empty() && !at_scope && principal.is_none() {
        let message = "'$filter' is atScope(), principalId eq 'ID' or assignedTo('ID').";
        return Err(Fault::content("$filter", message));
    }
    let above = |row: &&Assignment| crate::entra::covers(&row.scope, &scope);
    let below = |row: &&Assignment| !at_scope && crate::entra::covers(&scope, &row.scope);
    let whose = |row: &&Assignment| {
        principal.as_ref().is_none_or(|wanted| row.principal.eq_ignore_ascii_case(wanted))
    };
    let rows = rows.iter().filter(|row| above(row) || below(row)).filter(whose);
    Ok(Json(json!({ "value": rows.map(Assignment::shown).collect::<Vec<_>>() })))
}

/// The one text in quotes.
fn quoted(filter: &str) -> Option<String> {
    let mut parts = filter.split('\'');
    let (Some(_), Some(text), Some(_)) = (parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    Some(text.to_owned())
}

#[derive(Deserialize)]
struct Request {
    properties: Properties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    role_definition_id: String,
    principal_id: String,
}

pub(super) async fn put(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    params: RawPathParams,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Fault> {
    let Request { properties } = body::read(body).await?;
    let id = id_of(&params)?;
    let wanted = properties.role_definition_id.rsplit('/').next().unwrap_or_default();
    let role = ROLES
        .iter()
        .find(|(name, id, _)| wanted.eq_ignore_ascii_case(id) || wanted.eq_ignore_ascii_case(name));
    let (role, ..) = role.ok_or_else(|| {
        let message = "This server has the roles Owner, Contributor and Reader.";
        Fault::new(StatusCode::BAD_REQUEST, "RoleDefinitionDoesNotExist", message)
    })?;
    let mut transaction = app.db.write().await?;
    let scope = scope_of(&mut transaction, &params).await?;
    let principal = properties.principal_id.to_ascii_lowercase();
    let known: Option<(i64,)> =
        sqlx::query_as("SELECT 1 FROM application WHERE service_principal = ?")
            .bind(&principal)
            .fetch_optional(&mut *transaction)
            .await?;
    if known.is_none() {
        let shown: String = principal.chars().take(80).collect();
        let message = format!(
            "Principal {shown} does not exist in the directory {}.",
            app.entra.tenant.as_str()
        );
        return Err(Fault::new(StatusCode::BAD_REQUEST, "PrincipalNotFound", message));
    }
    let same: Option<(String,)> = sqlx::query_as(
        "SELECT id FROM role_grant WHERE id = ?1 OR (principal = ?2 AND role = ?3 AND scope = ?4 COLLATE NOCASE)",
    )
    .bind(id.as_str())
    .bind(&principal)
    .bind(role)
    .bind(&scope)
    .fetch_optional(&mut *transaction)
    .await?;
    if let Some((there,)) = same {
        let message = format!(
            "The role assignment already exists. The ID of the conflicting role assignment is {there}."
        );
        return Err(Fault::new(StatusCode::CONFLICT, "RoleAssignmentExists", message));
    }
    sqlx::query(
        "INSERT INTO role_grant (id, principal, role, scope, created_at) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(id.as_str())
    .bind(&principal)
    .bind(role)
    .bind(&scope)
    .bind(db::time(app.now()))
    .execute(&mut *transaction)
    .await?;
    let made = find(&mut transaction, &scope, &id).await?.ok_or_else(|| none(&id))?;
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(made.shown())))
}

/// Not the last Owner of everything: nobody could make another.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    params: RawPathParams,
) -> Result<(StatusCode, Json<Value>), Fault> {
    let id = id_of(&params)?;
    let mut transaction = app.db.write().await?;
    let scope = scope_of(&mut transaction, &params).await?;
    let Some(found) = find(&mut transaction, &scope, &id).await? else {
        return Ok((StatusCode::NO_CONTENT, Json(Value::Null)));
    };
    let (owners,): (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM role_grant WHERE role = 'Owner' AND scope = '/'")
            .fetch_one(&mut *transaction)
            .await?;
    if found.scope == "/" && found.role == "Owner" && owners < 2 {
        let message = "This is the last owner of everything.";
        return Err(Fault::conflict(message));
    }
    sqlx::query("DELETE FROM role_grant WHERE id = ?")
        .bind(id.as_str())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok((StatusCode::OK, Json(found.shown())))
}

fn definition(scope: &str, (name, id, about): &(&str, &str, &str)) -> Value {
    let actions = if *name == "Reader" { "*/read" } else { "*" };
    let not = if *name == "Contributor" {
        vec!["Microsoft.Authorization/*/Write", "Microsoft.Authorization/*/Delete"]
    } else {
        Vec::new()
    };
    json!({
        "id": definition_id(scope, id), "name": id, "type": DEFINITIONS,
        "properties": {
            "roleName": name, "type": "BuiltInRole", "description": about, "assignableScopes": ["/"],
            "permissions": [{ "actions": [actions], "notActions": not, "dataActions": [], "notDataActions": [] }],
        },
    })
}

pub(super) async fn definitions(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    params: RawPathParams,
    Query(Filter { filter }): Query<Filter>,
) -> Result<Json<Value>, Fault> {
    let mut connection = app.db.pool().acquire().await?;
    let scope = scope_of(&mut connection, &params).await?;
    let filter = filter.unwrap_or_default();
    let wanted = quoted(&filter).filter(|_| filter.to_ascii_lowercase().contains("rolename"));
    let is = |(name, ..): &&(&str, &str, &str)| {
        wanted.as_ref().is_none_or(|wanted| name.eq_ignore_ascii_case(wanted))
    };
    let value: Vec<Value> = ROLES.iter().filter(is).map(|role| definition(&scope, role)).collect();
    Ok(Json(json!({ "value": value })))
}

pub(super) async fn one_definition(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    params: RawPathParams,
) -> Result<Json<Value>, Fault> {
    let mut connection = app.db.pool().acquire().await?;
    let scope = scope_of(&mut connection, &params).await?;
    let id = params.iter().find(|(name, _)| *name == "id").map_or("", |(_, value)| value);
    let found = ROLES.iter().find(|(_, known, _)| known.eq_ignore_ascii_case(id));
    found.map(|role| Json(definition(&scope, role))).ok_or_else(|| {
        let message = "The specified role definition does not exist.";
        Fault::new(StatusCode::NOT_FOUND, "RoleDefinitionDoesNotExist", message)
    })
}
