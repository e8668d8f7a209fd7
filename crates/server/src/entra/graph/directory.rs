//! What Graph tells of the directory itself: the tenant, who calls, objects of whatever kind by their
//! ids. Changes nothing.

use super::request::Asked;
use super::{GraphError, applications, body, principals, rights, view};
use crate::app::App;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// So many ids can be asked for at once, as in Graph.
const MOST: usize = 1000;

/// `me` is a person, and there is none.
pub(crate) async fn me() -> GraphError {
    GraphError::Refused {
        status: StatusCode::BAD_REQUEST,
        code: "BadRequest",
        message: "/me request is only valid with delegated authentication flow.".to_owned(),
    }
}

/// What the caller has made; of an administrator with a token, what the server's own application has.
pub(crate) async fn my_objects(
    State(app): State<Arc<App>>,
    asked: Asked,
) -> Result<Json<Value>, GraphError> {
    let owner = match &asked.caller.application {
        Some(own) => Some(own.service_principal.clone()),
        None => applications::server(&app).await?.service_principal,
    };
    principals::owned_by(&app, &asked, owner.as_deref().unwrap_or_default()).await
}

#[derive(Debug, Deserialize)]
struct Ids {
    ids: Vec<String>,
    #[serde(default)]
    types: Vec<String>,
}

pub(crate) async fn by_ids(
    State(app): State<Arc<App>>,
    asked: Asked,
    body: Body,
) -> Result<Json<Value>, GraphError> {
    let given: Ids = body::json(body).await?;
    if given.ids.len() > MOST {
        return Err(GraphError::bad(format!("{MOST} ids can be asked for at once.")));
    }
    let wanted = |kind: &str| {
        let is = |word: &String| {
            word.eq_ignore_ascii_case(kind) || word.eq_ignore_ascii_case("directoryObject")
        };
        given.types.is_empty() || given.types.iter().any(is)
    };
    let named = |id: &str| given.ids.iter().any(|given| given.eq_ignore_ascii_case(id));
    let mut on = app.db.pool().acquire().await?;
    let mut shown = Vec::new();
    for one in applications::all(&app).await? {
        if !rights::sees(&asked.caller, &one) {
            continue;
        }
        if wanted("application") && named(&one.object_id) {
            shown.push(view::application(&mut on, &one, false).await?);
        }
        if wanted("servicePrincipal") && one.service_principal.as_deref().is_some_and(named) {
            shown.push(view::principal(&one, &app)?);
        }
    }
    Ok(Json(asked.query.page(shown, &asked.here, asked.raw_query.as_deref())))
}

pub(crate) async fn organization(
    State(app): State<Arc<App>>,
    asked: Asked,
) -> Result<Json<Value>, GraphError> {
    let own = applications::server(&app).await?;
    let shown = json!({
        "@odata.type": "#microsoft.graph.organization",
        "id": app.entra.tenant.as_str(),
        "displayName": "packmule",
        "createdDateTime": view::time("application.created_at", &own.created_at)?,
        "tenantType": "AAD",
        "verifiedDomains": [],
    });
    Ok(Json(asked.query.page(vec![shown], &asked.here, asked.raw_query.as_deref())))
}
