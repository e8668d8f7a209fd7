//! The routes of jobs. A change that has begun with another version of the job than the one that is there
//! when it is stored is refused: of two at the same moment, one wins.

use super::super::body;
use super::super::fault::Fault;
use super::super::scope;
use super::super::version::ImportExportVersion;
use super::details;
use super::view::{self, Shown};
use crate::app::App;
use crate::auth::Principal;
use crate::db;
use crate::groups::Group;
use crate::http::Segments;
use crate::jobs::{self, Record, plain};
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::{ETAG, HeaderMap, IF_MATCH};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use model::JobName;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// The most of a list that one answer has; the service's own number.
const PAGE: usize = 100;

type Named = Segments<(String, String, String)>;

fn missing(name: &str, group: &Group) -> Fault {
    let shown: String = name.chars().take(80).collect();
    Fault::missing(format_args!("job '{shown}' in resource group '{}'", group.name))
}

fn parse(name: &str) -> Result<JobName, Fault> {
    name.parse().map_err(|why: model::NameError| {
        Fault::new(StatusCode::BAD_REQUEST, "InvalidResourceName", format!("{why}."))
    })
}

fn etag(record: &Record) -> String {
    format!("\"{}\"", record.version)
}

async fn answer(
    app: &App,
    record: &Record,
    status: StatusCode,
    shown: Shown,
) -> Result<Response, Fault> {
    let account = account(app, record).await?;
    let body = view::job(record, &account, &app.config, shown);
    Ok((status, [(ETAG, etag(record))], Json(body)).into_response())
}

async fn account(app: &App, record: &Record) -> Result<Group, Fault> {
    let row: Option<(String, String)> =
        sqlx::query_as("SELECT subscription, resource_group FROM storage_account WHERE name = ?")
            .bind(record.account.as_str())
            .fetch_optional(app.db.pool())
            .await?;
    Ok(row.map(|(subscription, name)| Group { subscription, name }).unwrap_or_default())
}

async fn found(app: &App, group: &Group, name: &str) -> Result<Record, Fault> {
    plain::find(app, group, name).await?.ok_or_else(|| missing(name, group))
}

/// A caller who names the version that they have read is told when it is another one.
fn check_match(headers: &HeaderMap, record: Option<&Record>) -> Result<(), Fault> {
    let Some(wanted) = headers.get(IF_MATCH).and_then(|value| value.to_str().ok()) else {
        return Ok(());
    };
    let has =
        |record: &Record| wanted.split(',').any(|tag| ["*", &etag(record)].contains(&tag.trim()));
    if record.is_some_and(has) {
        return Ok(());
    }
    let message = "The job has changed since the version in If-Match was read.";
    Err(Fault::new(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", message))
}

pub(in super::super) async fn get(
    State(app): State<Arc<App>>,
    _: ImportExportVersion,
    Segments((id, group, name)): Named,
) -> Result<Response, Fault> {
    let group = scope::read_group(&app, &id, &group).await?;
    let record = found(&app, &group, &name).await?;
    answer(&app, &record, StatusCode::OK, Shown::Whole).await
}

pub(in super::super) async fn put(
    State(app): State<Arc<App>>,
    _: ImportExportVersion,
    Segments((id, group, name)): Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let group = scope::read_group(&app, &id, &group).await?;
    let name = parse(&name)?;
    let seen = plain::version(&app, &name).await?;
    check_match(&headers, plain::find(&app, &group, name.as_str()).await?.as_ref())?;
    let request = details::created(&app, group, body::read(body).await?).await?;
    let (is_new, record) = plain::put(&app, name, seen, request).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    answer(&app, &record, status, Shown::Created).await
}

pub(in super::super) async fn patch(
    State(app): State<Arc<App>>,
    _: ImportExportVersion,
    Segments((id, group, name)): Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Fault> {
    let group = scope::read_group(&app, &id, &group).await?;
    let before = found(&app, &group, &name).await?;
    check_match(&headers, Some(&before))?;
    let patch = details::changed(body::read(body).await?)?;
    let record = plain::patch(&app, &group, &before.name, before.version, patch).await?;
    answer(&app, &record, StatusCode::OK, Shown::Whole).await
}

pub(in super::super) async fn delete(
    State(app): State<Arc<App>>,
    _: ImportExportVersion,
    Segments((id, group, name)): Named,
    headers: HeaderMap,
) -> Result<StatusCode, Fault> {
    let group = scope::read_group(&app, &id, &group).await?;
    let before = found(&app, &group, &name).await?;
    check_match(&headers, Some(&before))?;
    plain::remove(&app, &group, &before.name, before.version).await?;
    Ok(StatusCode::OK)
}

pub(in super::super) async fn keys(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    _: ImportExportVersion,
    Segments((id, group, name)): Named,
) -> Result<Json<Value>, Fault> {
    let group = scope::read_group(&app, &id, &group).await?;
    let record = found(&app, &group, &name).await?;
    let value: Vec<Value> = if record.request.is_some() {
        let keys = jobs::read_keys(&app, &caller, &record).await?;
        let key = |key: &wire::DriveBitLockerKey| json!({ "driveId": key.drive_id, "bitLockerKey": key.bit_locker_key.text().as_str() });
        keys.iter().map(key).collect()
    } else {
        let keys = plain::keys(&app, &caller, &record).await?;
        let key = |key: &plain::PlainKey| json!({ "driveId": key.serial, "bitLockerKey": key.text.as_str() });
        keys.iter().map(key).collect()
    };
    Ok(Json(json!({ "value": value })))
}

#[derive(Deserialize)]
pub(in super::super) struct Page {
    #[serde(rename = "$top")]
    top: Option<String>,
    #[serde(rename = "$filter")]
    filter: Option<String>,
    #[serde(rename = "$skiptoken")]
    after: Option<String>,
    #[serde(rename = "api-version")]
    version: Option<String>,
}

pub(in super::super) async fn list(
    State(app): State<Arc<App>>,
    _: ImportExportVersion,
    Segments(id): Segments<String>,
    uri: Uri,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Fault> {
    all(&app, &id, None, &uri, &page).await
}

pub(in super::super) async fn list_in_group(
    State(app): State<Arc<App>>,
    _: ImportExportVersion,
    Segments((id, group)): Segments<(String, String)>,
    uri: Uri,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Fault> {
    all(&app, &id, Some(&group), &uri, &page).await
}

async fn all(
    app: &App,
    id: &str,
    group: Option<&str>,
    uri: &Uri,
    page: &Page,
) -> Result<Json<Value>, Fault> {
    let mut connection = app.db.pool().acquire().await?;
    let (id, _) = scope::subscription(&mut connection, id).await?;
    if let Some(group) = group {
        scope::group(&mut connection, &id, group).await?;
    }
    let top = match page.top.as_deref().map(str::parse::<usize>) {
        None => PAGE,
        Some(Ok(top)) if top > 0 => top.min(PAGE),
        Some(_) => return Err(Fault::content("$top", "'$top' is a number from 1 to 100.")),
    };
    let filter = page.filter.as_deref().map(filter).transpose()?;
    let after = page.after.as_deref().unwrap_or_default();
    let names: Vec<(String,)> = sqlx::query_as(
        "SELECT name FROM import_job WHERE subscription = ? AND name > ? ORDER BY name",
    )
    .bind(&id)
    .bind(after)
    .fetch_all(&mut *connection)
    .await?;
    let mut value: Vec<Value> = Vec::new();
    let mut last = None;
    let mut more = false;
    for (name,) in names {
        let name = db::parsed("import_job.name", &name)?;
        let Some(record) = Record::load(&mut connection, &name).await? else { continue };
        if group.is_some_and(|group| !record.group.name.eq_ignore_ascii_case(group)) {
            continue;
        }
        let account = account(app, &record).await?;
        let shown = view::job(&record, &account, &app.config, Shown::Listed);
        if filter.as_ref().is_some_and(|(field, text)| !has(&shown, field, text)) {
            continue;
        }
        if value.len() == top {
            more = true;
            break;
        }
        value.push(shown);
        last = Some(record.name);
    }
    let mut answer = json!({ "value": value });
    if let (true, Some(last), Some(answer)) = (more, last, answer.as_object_mut()) {
        answer.insert("nextLink".to_owned(), next(app, uri, page, top, &last).into());
    }
    Ok(Json(answer))
}

/// Clients follow it as it is.
fn next(app: &App, uri: &Uri, page: &Page, top: usize, last: &JobName) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("api-version", page.version.as_deref().unwrap_or_default());
    query.append_pair("$top", &top.to_string());
    if let Some(filter) = &page.filter {
        query.append_pair("$filter", filter);
    }
    query.append_pair("$skiptoken", last.as_str());
    format!("{}{}?{}", app.endpoint, uri.path(), query.finish())
}

/// Nobody has written down what a filter may be: one comparison of a field that people would ask for.
fn filter(text: &str) -> Result<(String, String), Fault> {
    let wrong = || {
        let message =
            "'$filter' compares one of state, jobType, name and location: state eq 'Shipping'.";
        Fault::content("$filter", message)
    };
    let mut words = text.trim().splitn(3, char::is_whitespace);
    let (Some(field), Some(operator), Some(value)) = (words.next(), words.next(), words.next())
    else {
        return Err(wrong());
    };
    let known = ["state", "jobType", "name", "location"];
    let bare = field.rsplit('/').next().unwrap_or(field);
    let field = known.into_iter().find(|known| known.eq_ignore_ascii_case(bare));
    let value = value.trim().strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
    match (field, operator.eq_ignore_ascii_case("eq"), value) {
        (Some(field), true, Some(value)) => Ok((field.to_owned(), value.replace("''", "'"))),
        _ => Err(wrong()),
    }
}

fn has(job: &Value, field: &str, text: &str) -> bool {
    let found = job.get(field).or_else(|| job.get("properties")?.get(field));
    found.and_then(Value::as_str).is_some_and(|found| found.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_one_comparison() {
        assert_eq!(filter("State eq 'Shipping'").unwrap(), ("state".into(), "Shipping".into()));
        assert_eq!(
            filter("properties/jobType eq 'a''b'").unwrap(),
            ("jobType".into(), "a'b".into())
        );
        for bad in ["", "state", "state eq Shipping", "state ne 'x'", "other eq 'x'"] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }
}
