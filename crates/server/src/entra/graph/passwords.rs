//! Secrets of applications: drawn here, shown once, kept as hashes. Nobody chooses one.

use super::keys::{LONGEST_NAME, MOST, guid};
use super::request::Asked;
use super::{GraphError, applications, body};
use crate::app::App;
use crate::entra::guid::Guid;
use crate::entra::records;
use crate::{db, token};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::SqliteConnection;
use std::sync::Arc;

/// How long a secret is good for where nothing else is said: two years, as in Graph.
const LIFETIME: SignedDuration = SignedDuration::from_hours(2 * 365 * 24);
/// So many characters of a secret tell people which it is.
const HINT: usize = 3;

/// A secret as a client describes it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PasswordIn {
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    key_id: Option<String>,
    #[serde(default)]
    start_date_time: Option<Timestamp>,
    #[serde(default)]
    end_date_time: Option<Timestamp>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AddPassword {
    #[serde(default)]
    password_credential: Option<PasswordIn>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RemovePassword {
    key_id: String,
}

pub(crate) async fn add(
    State(app): State<Arc<App>>,
    asked: Asked,
    body: Body,
) -> Result<Json<Value>, GraphError> {
    let given: AddPassword = body::json(body).await?;
    let given = given.password_credential.unwrap_or_default();
    let now = app.now();
    let starts_at = given.start_date_time.unwrap_or(now);
    let later = || starts_at.checked_add(LIFETIME).unwrap_or(Timestamp::MAX);
    let ends_at = given.end_date_time.unwrap_or_else(later);
    let name = given.display_name.unwrap_or_default();
    if ends_at <= starts_at || ends_at <= now || name.chars().count() > LONGEST_NAME {
        return Err(GraphError::bad(
            "A secret ends after now and after its start; its name is short.",
        ));
    }
    let mut transaction = app.db.write().await?;
    let one = applications::changeable(&mut transaction, &asked).await?;
    if records::secrets(&mut *transaction, &one.object_id).await?.len() >= MOST {
        return Err(GraphError::bad(format!("An application has {MOST} secrets at most.")));
    }
    let (secret, key_id) = (token::new()?, Guid::draw()?);
    let hint: String = secret.chars().take(HINT).collect();
    sqlx::query(
        "INSERT INTO app_secret
             (key_id, application, sha256, hint, display_name, starts_at, ends_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(key_id.as_str())
    .bind(&one.object_id)
    .bind(token::hash(&secret).as_slice())
    .bind(&hint)
    .bind(&name)
    .bind(db::time(starts_at))
    .bind(db::time(ends_at))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    tracing::info!(by = asked.caller.subject, application = one.app_id, "a secret is added");
    Ok(Json(json!({
        "customKeyIdentifier": null,
        "displayName": name,
        "endDateTime": format!("{ends_at:.0}"),
        "hint": hint,
        "keyId": key_id.as_str(),
        "secretText": secret,
        "startDateTime": format!("{starts_at:.0}"),
    })))
}

pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    asked: Asked,
    body: Body,
) -> Result<StatusCode, GraphError> {
    let given: RemovePassword = body::json(body).await?;
    let id = guid(&given.key_id)?;
    let mut transaction = app.db.write().await?;
    let one = applications::changeable(&mut transaction, &asked).await?;
    if !delete(&mut transaction, &one.object_id, id.as_str()).await? {
        return Err(GraphError::bad(format!("No password credential found with keyId '{id}'.")));
    }
    transaction.commit().await?;
    tracing::info!(by = asked.caller.subject, application = one.app_id, "a secret is removed");
    Ok(StatusCode::NO_CONTENT)
}

async fn delete(
    on: &mut SqliteConnection,
    application: &str,
    key_id: &str,
) -> Result<bool, GraphError> {
    let done = sqlx::query("DELETE FROM app_secret WHERE application = ? AND key_id = ?")
        .bind(application)
        .bind(key_id)
        .execute(on)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Takes away the secrets that are not among these; none can be made that way.
pub(super) async fn keep(
    on: &mut SqliteConnection,
    application: &str,
    kept: &[PasswordIn],
) -> Result<(), GraphError> {
    let there = records::secrets(&mut *on, application).await?;
    let mut ids = Vec::with_capacity(kept.len());
    for one in kept {
        let id = one.key_id.as_deref().map(guid).transpose()?;
        let known = id.filter(|id| there.iter().any(|row| row.key_id == id.as_str()));
        ids.push(known.ok_or_else(|| {
            GraphError::bad(
                "Secrets are made by addPassword; a list of them can only be shortened.",
            )
        })?);
    }
    for row in there.iter().filter(|row| !ids.iter().any(|id| id.as_str() == row.key_id)) {
        delete(on, application, &row.key_id).await?;
    }
    Ok(())
}
