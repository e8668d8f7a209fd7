//! Resource groups through the resource manager.

use super::body;
use super::fault::Fault;
use super::scope;
use super::version::ApiVersion;
use crate::app::App;
use crate::groups::{self, Group, GroupRecord};
use crate::http::Segments;
use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

#[derive(Deserialize)]
struct Said {
    location: Option<String>,
    tags: Option<Map<String, Value>>,
}

fn shown(record: &GroupRecord) -> Value {
    json!({
        "id": record.group.id(), "name": record.group.name, "type": "Microsoft.Resources/resourceGroups",
        "location": record.location, "tags": record.tags, "properties": { "provisioningState": "Succeeded" },
    })
}

#[derive(Deserialize)]
pub(super) struct Filter {
    #[serde(rename = "$filter")]
    filter: Option<String>,
}

/// `tagName eq 'x'`, and with it `tagValue eq 'y'`: what the service takes.
fn by_tag(filter: &str) -> Result<(String, Option<String>), Fault> {
    let wrong = || {
        let message = "'$filter' is tagName eq 'NAME', or that and tagValue eq 'VALUE'.";
        Fault::content("$filter", message)
    };
    let text = |part: &str, name: &str| {
        let rest = part.trim().strip_prefix(name)?.trim_start().strip_prefix("eq")?.trim();
        Some(rest.strip_prefix('\'')?.strip_suffix('\'')?.replace("''", "'"))
    };
    let (name, value) = filter.split_once("' and ").unwrap_or((filter, ""));
    let whole = if value.is_empty() { name.to_owned() } else { format!("{name}'") };
    let name = text(&whole, "tagName").ok_or_else(wrong)?;
    match value {
        "" => Ok((name, None)),
        value => text(value, "tagValue").ok_or_else(wrong).map(|value| (name, Some(value))),
    }
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments(id): Segments<String>,
    Query(Filter { filter }): Query<Filter>,
) -> Result<Json<Value>, Fault> {
    let mut connection = app.db.pool().acquire().await?;
    let (id, _) = scope::subscription(&mut connection, &id).await?;
    let wanted = filter.as_deref().filter(|it| !it.is_empty()).map(by_tag).transpose()?;
    let has = |record: &&GroupRecord| {
        let Some((name, value)) = &wanted else { return true };
        let found = record.tags.iter().find(|(tag, _)| tag.eq_ignore_ascii_case(name));
        found.is_some_and(|(_, found)| value.as_ref().is_none_or(|it| found == it.as_str()))
    };
    let all = groups::list(&mut connection, &id).await?;
    Ok(Json(json!({ "value": all.iter().filter(has).map(shown).collect::<Vec<_>>() })))
}

pub(super) async fn get(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments((id, name)): Segments<(String, String)>,
) -> Result<Json<Value>, Fault> {
    let mut connection = app.db.pool().acquire().await?;
    Ok(Json(shown(&scope::group(&mut connection, &id, &name).await?)))
}

/// Whether it is there: without a body, either way.
pub(super) async fn head(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments((id, name)): Segments<(String, String)>,
) -> Result<StatusCode, Fault> {
    let mut connection = app.db.pool().acquire().await?;
    scope::group(&mut connection, &id, &name).await.map(|_| StatusCode::NO_CONTENT)
}

pub(super) async fn put(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments((id, name)): Segments<(String, String)>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Fault> {
    let said: Said = body::read(body).await?;
    check_name(&name)?;
    let tags = said.tags.unwrap_or_default();
    check_tags(&tags)?;
    let location = said.location.unwrap_or_default();
    if location.trim().is_empty() || location.chars().count() > 90 {
        let message = "The location property is required for this definition.";
        return Err(Fault::new(StatusCode::BAD_REQUEST, "LocationRequired", message));
    }
    let mut transaction = app.db.write().await?;
    let (id, _) = scope::subscription(&mut transaction, &id).await?;
    let location = super::subscriptions::short(&location);
    let (status, record) = match groups::find(&mut transaction, &id, &name).await? {
        Some(there) if there.location != location => {
            let message = format!(
                "Invalid resource group location '{location}'. The resource group already exists in location '{}'.",
                there.location
            );
            let code = "InvalidResourceGroupLocation";
            return Err(Fault::new(StatusCode::CONFLICT, code, message));
        }
        Some(there) => (StatusCode::OK, GroupRecord { tags, ..there }),
        None => {
            let group = Group { subscription: id, name };
            (StatusCode::CREATED, GroupRecord { group, location, tags })
        }
    };
    groups::store(&mut transaction, &record, app.now()).await?;
    transaction.commit().await?;
    Ok((status, Json(shown(&record))))
}

pub(super) async fn patch(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments((id, name)): Segments<(String, String)>,
    body: Body,
) -> Result<Json<Value>, Fault> {
    let said: Said = body::read(body).await?;
    let mut transaction = app.db.write().await?;
    let mut record = scope::group(&mut transaction, &id, &name).await?;
    if let Some(tags) = said.tags {
        check_tags(&tags)?;
        record.tags = tags;
    }
    groups::store(&mut transaction, &record, app.now()).await?;
    transaction.commit().await?;
    Ok(Json(shown(&record)))
}

/// Only an empty one: what it holds may be the only copy of somebody's data.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments((id, name)): Segments<(String, String)>,
) -> Result<StatusCode, Fault> {
    let mut transaction = app.db.write().await?;
    let record = scope::group(&mut transaction, &id, &name).await?;
    let group = &record.group;
    let inside =
        groups::resources(&mut transaction, &group.subscription, Some(&group.name)).await?;
    if !inside.is_empty() {
        let ids: Vec<String> = inside.iter().take(10).map(groups::Resource::id).collect();
        let message = format!(
            "Resource group '{}' holds {} resources and is not deleted with them; delete them one by one: {}",
            group.name,
            inside.len(),
            ids.join(", ")
        );
        return Err(Fault::new(StatusCode::CONFLICT, "ResourceGroupNotEmpty", message));
    }
    if group.is(&app.default_group()) {
        let message = "This is where the server puts what is made without a resource group.";
        return Err(Fault::conflict(message));
    }
    groups::remove(&mut transaction, group).await?;
    transaction.commit().await?;
    Ok(StatusCode::OK)
}

pub(super) async fn resources(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments((id, name)): Segments<(String, String)>,
) -> Result<Json<Value>, Fault> {
    let mut connection = app.db.pool().acquire().await?;
    let group = scope::group(&mut connection, &id, &name).await?.group;
    let all = groups::resources(&mut connection, &group.subscription, Some(&group.name)).await?;
    Ok(Json(json!({ "value": all.iter().map(resource).collect::<Vec<_>>() })))
}

pub(super) async fn all_resources(
    State(app): State<Arc<App>>,
    _: ApiVersion,
    Segments(id): Segments<String>,
) -> Result<Json<Value>, Fault> {
    let mut connection = app.db.pool().acquire().await?;
    let (id, _) = scope::subscription(&mut connection, &id).await?;
    let all = groups::resources(&mut connection, &id, None).await?;
    Ok(Json(json!({ "value": all.iter().map(resource).collect::<Vec<_>>() })))
}

fn resource(resource: &groups::Resource) -> Value {
    let (location, tags) = (&resource.location, &resource.tags);
    json!({ "id": resource.id(), "name": resource.name, "type": resource.kind, "location": location, "tags": tags })
}

fn check_name(name: &str) -> Result<(), Fault> {
    let good = |c: char| c.is_alphanumeric() || "-_().".contains(c);
    if (1..=90).contains(&name.chars().count()) && name.chars().all(good) && !name.ends_with('.') {
        return Ok(());
    }
    let message = "Resource group names have 1 to 90 letters, digits, '-', '_', '(', ')' and '.', and do not end with '.'.";
    Err(Fault::new(StatusCode::BAD_REQUEST, "InvalidResourceGroup", message))
}

/// Azure's own rules for tags.
pub(super) fn check_tags(tags: &Map<String, Value>) -> Result<(), Fault> {
    let fits = |(name, value): (&String, &Value)| {
        name.chars().count() <= 512
            && value.as_str().is_some_and(|text| text.chars().count() <= 256)
    };
    if tags.len() <= 50 && tags.iter().all(fits) {
        return Ok(());
    }
    let message = "At most 50 tags, with names of at most 512 characters and texts of at most 256.";
    Err(Fault::new(StatusCode::BAD_REQUEST, "InvalidTags", message))
}
