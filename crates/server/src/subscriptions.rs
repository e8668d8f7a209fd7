//! Subscriptions: made, listed, renamed. What lies in one is the resource manager's business, and none is
//! deleted.

use crate::app::App;
use crate::entra::Guid;
use crate::http::{self, Segments};
use crate::{Error, db, groups};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use sqlx::SqliteConnection;
use std::sync::Arc;
use wire::{Code, List, Subscription, SubscriptionRequest};

/// The longest name, as in Azure.
const LONGEST_NAME: usize = 64;

type Row = (String, String, String);

fn read((id, name, at): Row) -> Result<Subscription, Error> {
    Ok(Subscription { id, name, created_at: db::parsed("subscription.created_at", &at)? })
}

/// The first one first: it is the oldest, and two of the same moment have an order, too.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Result<Json<List<Subscription>>, Error> {
    let rows: Vec<Row> =
        sqlx::query_as("SELECT id, name, created_at FROM subscription ORDER BY created_at, rowid")
            .fetch_all(app.db.pool())
            .await?;
    Ok(Json(List { value: rows.into_iter().map(read).collect::<Result<_, Error>>()? }))
}

/// With its default group, so that there is somewhere to put things.
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    body: Body,
) -> Result<(StatusCode, Json<Subscription>), Error> {
    let request: SubscriptionRequest = http::json(body).await?;
    let name = checked(&request.name)?;
    let now = app.now();
    let id = Guid::draw()?.to_string();
    let mut transaction = app.db.write().await?;
    must_be_free(&mut transaction, name, &id).await?;
    sqlx::query("INSERT INTO subscription (id, name, created_at) VALUES (?, ?, ?)")
        .bind(&id)
        .bind(name)
        .bind(db::time(now))
        .execute(&mut *transaction)
        .await?;
    groups::make_default(&mut transaction, &id, now).await?;
    let made = find(&mut transaction, &id).await?;
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(made)))
}

pub(crate) async fn rename(
    State(app): State<Arc<App>>,
    Segments(id): Segments<String>,
    body: Body,
) -> Result<Json<Subscription>, Error> {
    let request: SubscriptionRequest = http::json(body).await?;
    let name = checked(&request.name)?;
    let mut transaction = app.db.write().await?;
    let there = find(&mut transaction, &id).await?;
    must_be_free(&mut transaction, name, &there.id).await?;
    sqlx::query("UPDATE subscription SET name = ? WHERE id = ?")
        .bind(name)
        .bind(&there.id)
        .execute(&mut *transaction)
        .await?;
    let renamed = find(&mut transaction, &there.id).await?;
    transaction.commit().await?;
    Ok(Json(renamed))
}

fn checked(name: &str) -> Result<&str, Error> {
    let name = name.trim();
    let length = name.chars().count();
    if !(1..=LONGEST_NAME).contains(&length) || name.chars().any(char::is_control) {
        let message = format!("a subscription's name has 1 to {LONGEST_NAME} printable characters");
        return Err(Error::invalid(message));
    }
    Ok(name)
}

async fn find(on: &mut SqliteConnection, id: &str) -> Result<Subscription, Error> {
    let row: Option<Row> =
        sqlx::query_as("SELECT id, name, created_at FROM subscription WHERE id = ? COLLATE NOCASE")
            .bind(id)
            .fetch_optional(on)
            .await?;
    let shown = || id.chars().take(80).collect::<String>();
    row.map(read).ok_or_else(|| Error::not_found(format_args!("subscription {}", shown())))?
}

/// People say which one they mean by its name.
async fn must_be_free(on: &mut SqliteConnection, name: &str, id: &str) -> Result<(), Error> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT id, name FROM subscription").fetch_all(on).await?;
    // SQLite folds the case of ASCII only.
    let lower = name.to_lowercase();
    match rows.into_iter().find(|(other, there)| other != id && there.to_lowercase() == lower) {
        None => Ok(()),
        Some((other, there)) => {
            let message = format!("subscription {other} has the name '{there}' already");
            Err(Error::refused(Code::AlreadyExists, message))
        }
    }
}
