//! Service principals: what grants name, and what an application needs to get tokens. Gives no grant.

use super::filter::Known;
use super::request::{Asked, Key};
use super::{GraphError, applications, body, rights, view};
use crate::app::App;
use crate::entra::guid::Guid;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PrincipalIn {
    app_id: String,
}

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    mut asked: Asked,
    body: Body,
) -> Result<(StatusCode, Json<Value>), GraphError> {
    let given: PrincipalIn = body::json(body).await?;
    (asked.key, asked.is_principal) = (Some(Key::Application(given.app_id)), false);
    let mut transaction = app.db.write().await?;
    let mut one = applications::changeable(&mut transaction, &asked).await?;
    if one.service_principal.is_some() {
        let status = StatusCode::CONFLICT;
        let message = "The application has a service principal already.".to_owned();
        return Err(GraphError::Refused {
            status,
            code: "Request_MultipleObjectsWithSameKeyValue",
            message,
        });
    }
    let id = Guid::draw()?.to_string();
    sqlx::query("UPDATE application SET service_principal = ? WHERE object_id = ?")
        .bind(&id)
        .bind(&one.object_id)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    one.service_principal = Some(id);
    tracing::info!(
        by = asked.caller.subject,
        application = one.app_id,
        "it has a service principal"
    );
    Ok((StatusCode::CREATED, Json(view::principal(&one, &app)?)))
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    asked: Asked,
) -> Result<Json<Value>, GraphError> {
    let mut shown = Vec::new();
    for one in applications::all(&app).await? {
        let Some(id) = &one.service_principal else { continue };
        let known = Known { id, app_id: &one.app_id, display_name: &one.display_name };
        if rights::sees(&asked.caller, &one) && asked.query.meets(known) {
            shown.push(view::principal(&one, &app)?);
        }
    }
    Ok(Json(asked.query.page(shown, &asked.here, asked.raw_query.as_deref())))
}

pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    asked: Asked,
) -> Result<StatusCode, GraphError> {
    let mut transaction = app.db.write().await?;
    let one = asked.find(&mut *transaction).await?;
    applications::check_change(&mut transaction, &asked, &one).await?;
    applications::refuse_own(&app, &asked, &one)?;
    if let Some(principal) = &one.service_principal {
        applications::end_grants(&mut transaction, principal).await?;
    }
    sqlx::query("UPDATE application SET service_principal = NULL WHERE object_id = ?")
        .bind(&one.object_id)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    tracing::info!(
        by = asked.caller.subject,
        application = one.app_id,
        "it has no service principal"
    );
    Ok(StatusCode::NO_CONTENT)
}

/// What a service principal has made.
pub(crate) async fn owned(
    State(app): State<Arc<App>>,
    asked: Asked,
) -> Result<Json<Value>, GraphError> {
    let owner = asked.find(app.db.pool()).await?;
    owned_by(&app, &asked, owner.service_principal.as_deref().unwrap_or_default()).await
}

/// The applications and service principals that this one has made.
pub(super) async fn owned_by(
    app: &App,
    asked: &Asked,
    owner: &str,
) -> Result<Json<Value>, GraphError> {
    let mut on = app.db.pool().acquire().await?;
    let mut shown = Vec::new();
    for one in applications::all(app).await? {
        if one.owner == owner && rights::sees(&asked.caller, &one) {
            shown.push(view::application(&mut on, &one, false).await?);
            if one.service_principal.is_some() {
                shown.push(view::principal(&one, app)?);
            }
        }
    }
    Ok(Json(asked.query.page(shown, &asked.here, asked.raw_query.as_deref())))
}
