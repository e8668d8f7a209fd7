//! Applications: made, listed, changed and deleted. The server's own and the caller's own stay.

use super::filter::Known;
use super::keys::{self, KeyIn};
use super::request::Asked;
use super::{GraphError, body, passwords, rights, view};
use crate::app::App;
use crate::auth::Principal;
use crate::db;
use crate::entra::guid::Guid;
use crate::entra::records::{self, Application};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use sqlx::SqliteConnection;
use std::sync::Arc;

/// The longest name, as in Graph.
const LONGEST_NAME: usize = 256;
/// How many applications there can be: enough for every server of a data centre, too few to fill a
/// disk with.
const MOST: i64 = 10_000;

/// What is read of an application. Clients send much more, which means nothing here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApplicationIn {
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    key_credentials: Option<Vec<KeyIn>>,
    #[serde(default)]
    password_credentials: Option<Vec<passwords::PasswordIn>>,
}

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    asked: Asked,
    body: Body,
) -> Result<(StatusCode, Json<Value>), GraphError> {
    rights::create(&asked.caller)?;
    let given: ApplicationIn = body::json(body).await?;
    let name = given.display_name.as_deref().unwrap_or_default();
    let draw = || Guid::draw().map(|id| id.to_string());
    let new = Application {
        object_id: draw()?,
        app_id: draw()?,
        display_name: checked(name)?,
        service_principal: None,
        owner: owner(&app, &asked.caller).await?,
        created_at: db::time(app.now()),
    };
    if given.password_credentials.is_some_and(|all| !all.is_empty()) {
        return Err(GraphError::bad("Secrets are made by addPassword, which shows them."));
    }
    let mut transaction = app.db.write().await?;
    let (count,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM application").fetch_one(&mut *transaction).await?;
    if count >= MOST {
        return Err(GraphError::bad(format!("There are {MOST} applications already.")));
    }
    records::insert(&mut *transaction, &new).await?;
    if let Some(keys) = given.key_credentials {
        keys::replace(&mut transaction, &new.object_id, keys).await?;
    }
    let shown = view::application(&mut transaction, &new, false).await?;
    transaction.commit().await?;
    tracing::info!(by = asked.caller.subject, application = new.app_id, "an application is made");
    Ok((StatusCode::CREATED, Json(shown)))
}

/// Whom a new application belongs to. An administrator with a token acts for the server's own one.
async fn owner(app: &App, caller: &Principal) -> Result<String, GraphError> {
    if let Some(own) = &caller.application {
        return Ok(own.service_principal.clone());
    }
    Ok(server(app).await?.service_principal.unwrap_or_default())
}

/// The server's own application.
pub(super) async fn server(app: &App) -> Result<Application, GraphError> {
    let id = &app.entra.admin_application;
    let own = records::find(app.db.pool(), records::By::Object(id)).await?;
    own.ok_or_else(|| GraphError::not_found(id))
}

fn checked(name: &str) -> Result<String, GraphError> {
    let length = name.chars().count();
    if !(1..=LONGEST_NAME).contains(&length) || name.chars().any(char::is_control) {
        return Err(GraphError::bad("displayName must have 1 to 256 printable characters."));
    }
    Ok(name.to_owned())
}

/// Every application, oldest first.
pub(super) async fn all(app: &App) -> Result<Vec<Application>, GraphError> {
    Ok(sqlx::query_as("SELECT * FROM application ORDER BY rowid").fetch_all(app.db.pool()).await?)
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    asked: Asked,
) -> Result<Json<Value>, GraphError> {
    let mut on = app.db.pool().acquire().await?;
    let mut shown = Vec::new();
    for one in all(&app).await? {
        let known =
            Known { id: &one.object_id, app_id: &one.app_id, display_name: &one.display_name };
        if rights::sees(&asked.caller, &one) && asked.query.meets(known) {
            shown.push(view::application(&mut on, &one, false).await?);
        }
    }
    Ok(Json(asked.query.page(shown, &asked.here, asked.raw_query.as_deref())))
}

/// The application that the path names, if the caller may change it.
pub(super) async fn changeable(
    on: &mut SqliteConnection,
    asked: &Asked,
) -> Result<Application, GraphError> {
    let one = asked.application(&mut *on).await?;
    check_change(on, asked, &one).await?;
    Ok(one)
}

/// Refuses a caller who may not change that application.
pub(super) async fn check_change(
    on: &mut SqliteConnection,
    asked: &Asked,
    one: &Application,
) -> Result<(), GraphError> {
    let grants = match &one.service_principal {
        Some(principal) => records::grants(on, principal).await?,
        None => Vec::new(),
    };
    rights::change(&asked.caller, one, &grants)
}

pub(crate) async fn patch(
    State(app): State<Arc<App>>,
    asked: Asked,
    body: Body,
) -> Result<StatusCode, GraphError> {
    let given: ApplicationIn = body::json(body).await?;
    let mut transaction = app.db.write().await?;
    let one = changeable(&mut transaction, &asked).await?;
    if let Some(name) = given.display_name {
        sqlx::query("UPDATE application SET display_name = ? WHERE object_id = ?")
            .bind(checked(&name)?)
            .bind(&one.object_id)
            .execute(&mut *transaction)
            .await?;
    }
    if let Some(keys) = given.key_credentials {
        keys::replace(&mut transaction, &one.object_id, keys).await?;
    }
    if let Some(kept) = given.password_credentials {
        passwords::keep(&mut transaction, &one.object_id, &kept).await?;
    }
    transaction.commit().await?;
    tracing::info!(
        by = asked.caller.subject,
        application = one.app_id,
        "an application is changed"
    );
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    asked: Asked,
) -> Result<StatusCode, GraphError> {
    let mut transaction = app.db.write().await?;
    let one = changeable(&mut transaction, &asked).await?;
    refuse_own(&app, &asked, &one)?;
    if let Some(principal) = &one.service_principal {
        end_grants(&mut transaction, principal).await?;
    }
    sqlx::query("DELETE FROM application WHERE object_id = ?")
        .bind(&one.object_id)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    tracing::info!(
        by = asked.caller.subject,
        application = one.app_id,
        "an application is deleted"
    );
    Ok(StatusCode::NO_CONTENT)
}

/// Nobody locks everybody out, nor themselves.
pub(super) fn refuse_own(app: &App, asked: &Asked, one: &Application) -> Result<(), GraphError> {
    if one.object_id == app.entra.admin_application {
        return Err(GraphError::bad("The server's own application cannot be deleted."));
    }
    if rights::is_itself(&asked.caller, one) {
        return Err(GraphError::bad("An application cannot delete itself."));
    }
    Ok(())
}

/// Takes away everything that a service principal may do.
pub(super) async fn end_grants(
    on: &mut SqliteConnection,
    principal: &str,
) -> Result<(), GraphError> {
    sqlx::query("DELETE FROM role_grant WHERE principal = ?").bind(principal).execute(on).await?;
    Ok(())
}

pub(crate) async fn owners(
    State(app): State<Arc<App>>,
    asked: Asked,
) -> Result<Json<Value>, GraphError> {
    let one = asked.find(app.db.pool()).await?;
    let by = records::By::Principal(&one.owner);
    let mut shown = Vec::new();
    if let Some(owner) = records::find(app.db.pool(), by).await? {
        shown.push(view::principal(&owner, &app)?);
    }
    Ok(Json(asked.query.page(shown, &asked.here, asked.raw_query.as_deref())))
}
