//! The subscription and group that a path names, as they are kept. Refuses those that are not there.

use super::fault::Fault;
use crate::app::App;
use crate::groups::{self, Group, GroupRecord};
use axum::http::StatusCode;
use sqlx::SqliteConnection;

/// The subscription with that id.
pub(super) async fn subscription(
    on: &mut SqliteConnection,
    id: &str,
) -> Result<(String, String), Fault> {
    let row: Option<(String, String)> =
        sqlx::query_as("SELECT id, name FROM subscription WHERE id = ? COLLATE NOCASE")
            .bind(id)
            .fetch_optional(on)
            .await?;
    row.ok_or_else(|| {
        let shown: String = id.chars().take(80).collect();
        let message = format!("The subscription '{shown}' could not be found.");
        Fault::new(StatusCode::NOT_FOUND, "SubscriptionNotFound", message)
    })
}

/// The group of that name in that subscription.
pub(super) async fn group(
    on: &mut SqliteConnection,
    id: &str,
    name: &str,
) -> Result<GroupRecord, Fault> {
    let (id, _) = subscription(&mut *on, id).await?;
    groups::find(on, &id, name).await?.ok_or_else(|| {
        let shown: String = name.chars().take(90).collect();
        let message = format!("Resource group '{shown}' could not be found.");
        Fault::new(StatusCode::NOT_FOUND, "ResourceGroupNotFound", message)
    })
}

/// As [`group`], for those who only read.
pub(super) async fn read_group(app: &App, id: &str, name: &str) -> Result<Group, Fault> {
    let mut connection = app.db.pool().acquire().await?;
    Ok(group(&mut connection, id, name).await?.group)
}

/// The name of another group where a resource of that name is already: names are unique on a server.
pub(super) fn elsewhere(kind: &str, name: &str, there: &Group) -> Fault {
    Fault::conflict(format!(
        "The name '{name}' is taken by a resource of type {kind} in resource group '{}' of subscription {}; names of this type are unique on this server.",
        there.name, there.subscription
    ))
}
