//! Docks: who may take drives in. Does not take any in.

use crate::app::App;
use crate::principals::{self, Subject};
use crate::{Error, http};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use std::sync::Arc;
use wire::{Credentials, DockRequest, Health, List, Location};

pub(crate) async fn register(
    State(app): State<Arc<App>>,
    body: Body,
) -> Result<(StatusCode, Json<Credentials>), Error> {
    let request: DockRequest = http::json(body).await?;
    let fits = (1..=64).contains(&request.name.chars().count());
    if !fits || request.name.chars().any(char::is_control) {
        return Err(Error::invalid("a dock's name has 1 to 64 printable characters"));
    }
    let subject = Subject::Dock(request.name);
    let mut transaction = app.db.write().await?;
    let token = principals::issue(&mut transaction, &subject, request.replace, app.now()).await?;
    transaction.commit().await?;
    let credentials = app.credentials(subject.role(), None, subject.user(), token);
    Ok((StatusCode::CREATED, Json(credentials)))
}

pub(crate) async fn locations(State(app): State<Arc<App>>) -> Json<List<Location>> {
    Json(List { value: app.config.locations.clone() })
}

/// Whether requests can be answered: the database, and the folders of objects.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Result<Json<Health>, Error> {
    sqlx::query("SELECT 1").execute(app.db.pool()).await?;
    app.backends.probe().await?;
    Ok(health(State(app)).await)
}

pub(crate) async fn health(State(app): State<Arc<App>>) -> Json<Health> {
    Json(Health { status: "ok".to_owned(), version: app.config.version.clone() })
}
