//! Certificates of applications: which may be registered, and how they are added and taken away. A
//! certificate's private key never comes here.

use super::request::Asked;
use super::{GraphError, applications, body, rights, view};
use crate::app::App;
use crate::entra::assertion::{self, Registered};
use crate::entra::certificate::Certificate;
use crate::entra::guid::Guid;
use crate::entra::records::{self, Application, CertificateRow, NewCertificate};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use sqlx::SqliteConnection;
use std::sync::Arc;

/// How many certificates an application can have; as many secrets.
pub(super) const MOST: usize = 100;
/// The longest name of a certificate or secret.
pub(super) const LONGEST_NAME: usize = 256;
/// The longest `customKeyIdentifier`.
const LONGEST_IDENTIFIER: usize = 128;

/// A certificate as a client sends it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeyIn {
    #[serde(default)]
    custom_key_identifier: Option<String>,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    usage: Option<String>,
    /// DER in base 64, in which there may be line ends.
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    key_id: Option<String>,
    #[serde(default)]
    start_date_time: Option<Timestamp>,
    #[serde(default)]
    end_date_time: Option<Timestamp>,
}

/// What becomes of an entry.
enum Entry {
    /// One that is there already, and stays.
    Kept(String),
    New(Box<NewCertificate>),
}

impl KeyIn {
    /// The entry, given what the application has.
    fn read(self, there: &[CertificateRow]) -> Result<Entry, GraphError> {
        let id = self.key_id.as_deref().map(guid).transpose()?;
        let known = id.as_ref().and_then(|id| there.iter().find(|row| row.key_id == id.as_str()));
        let Some(key) = self.key.as_deref() else {
            let known = known.ok_or_else(|| {
                GraphError::bad("A key credential without key must have the keyId of one there is.")
            })?;
            return Ok(Entry::Kept(known.key_id.clone()));
        };
        let certificate = parse(key)?;
        if let Some(known) = known {
            let same = known.der == certificate.der;
            let kept = || Entry::Kept(known.key_id.clone());
            let message = "The certificate of a keyId cannot be changed; leave the keyId out.";
            return same.then(kept).ok_or_else(|| GraphError::bad(message));
        }
        self.check_kind()?;
        let id = match id {
            Some(id) => id,
            None => Guid::draw()?,
        };
        Ok(Entry::New(Box::new(self.described(&id, certificate)?)))
    }

    fn check_kind(&self) -> Result<(), GraphError> {
        let is = |value: &Option<String>, wanted: &str| {
            value.as_deref().is_none_or(|value| value.eq_ignore_ascii_case(wanted))
        };
        if is(&self.kind, "AsymmetricX509Cert") && is(&self.usage, "Verify") {
            return Ok(());
        }
        Err(GraphError::bad("Key credentials are of type AsymmetricX509Cert, for usage Verify."))
    }

    fn described(self, id: &Guid, certificate: Certificate) -> Result<NewCertificate, GraphError> {
        let (starts_at, ends_at) = (
            self.start_date_time.unwrap_or(certificate.starts_at),
            self.end_date_time.unwrap_or(certificate.ends_at),
        );
        if ends_at > certificate.ends_at || ends_at <= starts_at {
            let message = "Key credential end date is invalid: it is not after its start, or after \
                           the certificate's own end.";
            return Err(GraphError::bad(message));
        }
        let subject = || certificate.subject.chars().take(LONGEST_NAME).collect();
        let display_name =
            self.display_name.filter(|name| !name.is_empty()).unwrap_or_else(subject);
        let custom_id = self.custom_key_identifier.filter(|text| !text.is_empty());
        let custom_id = custom_id.unwrap_or_else(|| certificate.thumbprint());
        if display_name.chars().count() > LONGEST_NAME || custom_id.len() > LONGEST_IDENTIFIER {
            return Err(GraphError::bad("A key credential's name or identifier is too long."));
        }
        let key_id = id.to_string();
        Ok(NewCertificate { key_id, certificate, custom_id, display_name, starts_at, ends_at })
    }
}

pub(super) fn guid(text: &str) -> Result<Guid, GraphError> {
    text.parse().map_err(|why| GraphError::bad(format!("keyId '{text}': {why}.")))
}

fn parse(key: &str) -> Result<Certificate, GraphError> {
    let text: String = key.chars().filter(|character| !character.is_whitespace()).collect();
    let der = STANDARD
        .decode(text)
        .map_err(|why| GraphError::bad(format!("Key credential value is no base 64: {why}.")))?;
    Certificate::parse(&der)
        .map_err(|why| GraphError::bad(format!("Key credential value is invalid: {why}.")))
}

/// Makes these the application's certificates: what is not named goes.
pub(super) async fn replace(
    on: &mut SqliteConnection,
    application: &str,
    given: Vec<KeyIn>,
) -> Result<(), GraphError> {
    if given.len() > MOST {
        return Err(GraphError::bad(format!("An application has {MOST} certificates at most.")));
    }
    let there = records::certificates(&mut *on, application).await?;
    let (mut kept, mut new) = (Vec::new(), Vec::new());
    for one in given {
        match one.read(&there)? {
            Entry::Kept(id) => kept.push(id),
            Entry::New(certificate) => new.push(certificate),
        }
    }
    for row in there.iter().filter(|row| !kept.contains(&row.key_id)) {
        delete(on, application, &row.key_id).await?;
    }
    for certificate in &new {
        insert(on, application, certificate).await?;
    }
    Ok(())
}

async fn insert(
    on: &mut SqliteConnection,
    application: &str,
    new: &NewCertificate,
) -> Result<(), GraphError> {
    let taken: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM app_certificate WHERE key_id = ?")
        .bind(&new.key_id)
        .fetch_optional(&mut *on)
        .await?;
    if taken.is_some() {
        return Err(GraphError::bad(format!("keyId '{}' is in use.", new.key_id)));
    }
    Ok(records::add_certificate(on, application, new).await?)
}

async fn delete(
    on: &mut SqliteConnection,
    application: &str,
    key_id: &str,
) -> Result<bool, GraphError> {
    let done = sqlx::query("DELETE FROM app_certificate WHERE application = ? AND key_id = ?")
        .bind(application)
        .bind(key_id)
        .execute(on)
        .await?;
    Ok(done.rows_affected() > 0)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AddKey {
    key_credential: KeyIn,
    proof: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RemoveKey {
    key_id: String,
    proof: String,
}

/// The application, if the caller may change it or is it, and the proof is signed by a certificate
/// that it has.
async fn proven(
    app: &App,
    on: &mut SqliteConnection,
    asked: &Asked,
    proof: &str,
) -> Result<Application, GraphError> {
    let one = asked.application(&mut *on).await?;
    if !rights::is_itself(&asked.caller, &one) {
        applications::check_change(on, asked, &one).await?;
    }
    let now = app.now();
    let registered: Vec<Registered> = records::registered(on, &one.object_id, now).await?;
    assertion::verify_possession(proof, &registered, &one.object_id, now)
        .map_err(|why| GraphError::denied(format!("Proof of possession is invalid: {why}.")))?;
    Ok(one)
}

pub(crate) async fn add(
    State(app): State<Arc<App>>,
    asked: Asked,
    body: Body,
) -> Result<Json<Value>, GraphError> {
    let given: AddKey = body::json(body).await?;
    let mut transaction = app.db.write().await?;
    let one = proven(&app, &mut transaction, &asked, &given.proof).await?;
    let there = records::certificates(&mut *transaction, &one.object_id).await?;
    if there.len() >= MOST {
        return Err(GraphError::bad(format!("An application has {MOST} certificates at most.")));
    }
    let id = match given.key_credential.read(&there)? {
        Entry::Kept(id) => id,
        Entry::New(new) => {
            insert(&mut transaction, &one.object_id, &new).await?;
            new.key_id
        }
    };
    let rows = records::certificates(&mut *transaction, &one.object_id).await?;
    transaction.commit().await?;
    let row = rows.iter().find(|row| row.key_id == id).ok_or_else(|| GraphError::not_found(&id))?;
    tracing::info!(by = asked.caller.subject, application = one.app_id, "a certificate is added");
    Ok(Json(view::certificate(row, false)?))
}

pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    asked: Asked,
    body: Body,
) -> Result<StatusCode, GraphError> {
    let given: RemoveKey = body::json(body).await?;
    let id = guid(&given.key_id)?;
    let mut transaction = app.db.write().await?;
    let one = proven(&app, &mut transaction, &asked, &given.proof).await?;
    if !delete(&mut transaction, &one.object_id, id.as_str()).await? {
        return Err(GraphError::bad(format!("No key credential has the keyId '{id}'.")));
    }
    transaction.commit().await?;
    tracing::info!(by = asked.caller.subject, application = one.app_id, "a certificate is removed");
    Ok(StatusCode::NO_CONTENT)
}
