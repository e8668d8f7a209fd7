//! Machines: source servers that prove themselves with certificates of their own. Their registration by a vault's
//! credentials, their next certificates, and when they were last heard of. No private key gets here.

use crate::app::App;
use crate::auth::{self, Principal};
use crate::entra::{Certificate, Stated, records, verify_statement};
use crate::http::{self, Segments};
use crate::principals::{self, Subject};
use crate::{Error, db, files, notices, vaults};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use base64::Engine as _;
use jiff::{SignedDuration, Timestamp};
use model::{Digest, ServerName, VaultName};
use sqlx::SqliteConnection;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use wire::{
    CERTIFICATE_TYPE, CertificateClaims, Code, Credentials, MachineCertificate, MachineRequest,
};

/// How exactly it is known when a machine was last heard of: not every request is a row that is written.
const EXACT: SignedDuration = SignedDuration::from_mins(1);
/// Of a version, so many characters are kept.
const LONGEST: usize = 64;

/// When source servers were last noted as heard of.
#[derive(Debug, Default)]
pub(crate) struct Heard(Mutex<HashMap<(VaultName, ServerName), Timestamp>>);

impl Heard {
    fn is_due(&self, own: &(VaultName, ServerName), now: Timestamp) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = known.get(own).is_some_and(|at| *at <= now && now.duration_since(*at) < EXACT);
        if !recent {
            known.insert(own.clone(), now);
        }
        !recent
    }
}

/// Notes that this source server calls. That it cannot be noted stops nothing.
pub(crate) async fn heard(app: &App, own: &(VaultName, ServerName), headers: &HeaderMap) {
    let now = app.now();
    if !app.heard.is_due(own, now) {
        return;
    }
    let version = auth::agent_version(headers);
    let version = version.map(|version| version.chars().take(LONGEST).collect::<String>());
    let noted = sqlx::query(
        "UPDATE server SET heard_at = ?, version = COALESCE(?, version) WHERE vault = ? AND name = ?",
    )
    .bind(db::time(now))
    .bind(version)
    .bind(own.0.as_str())
    .bind(own.1.as_str())
    .execute(app.db.pool())
    .await;
    if let Err(error) = noted {
        tracing::warn!(%error, "that a source server was heard of is not noted");
    }
}

fn decoded(text: &str) -> Result<Vec<u8>, Error> {
    let text: String = text.split_whitespace().collect();
    let der = base64::engine::general_purpose::STANDARD.decode(text);
    der.map_err(|_| Error::invalid("the certificate is not in base64"))
}

/// Registers a machine for whoever holds the vault's newest credentials. From then on its own certificate
/// speaks for it. One that registers again stays the same application.
pub(crate) async fn register(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments(vault): Segments<VaultName>,
    body: Body,
) -> Result<(StatusCode, Json<Credentials>), Error> {
    let request: MachineRequest = http::json(body).await?;
    let der = decoded(&request.certificate)?;
    let server = request.server.clone();
    let now = app.now();
    let mut transaction = app.db.write().await?;
    let own = files::registration(&mut transaction, &vault).await?;
    let is_own = own.zip(caller.application).is_some_and(|(own, it)| own.object_id == it.object_id);
    if !is_own {
        let message = "these are not the newest credentials of this vault; download them anew";
        return Err(Error::refused(Code::AuthorizationFailed, message));
    }
    vaults::insert(&mut transaction, &vault, &server, &db::time(now)).await?;
    let subject = Subject::Agent(vault.clone(), server.clone());
    let before = application_of(&mut transaction, &vault, &server).await?;
    if !request.replace {
        let is_same = match &before {
            Some(before) => has_one(&mut transaction, before, &request.known).await?,
            None => !principals::has_token(&mut transaction, &subject).await?,
        };
        if !is_same {
            return Err(taken(&mut transaction, &vault, &server).await?);
        }
    }
    principals::end(&mut transaction, &subject).await?;
    let machine = match before {
        Some(object_id) => {
            sqlx::query("DELETE FROM app_certificate WHERE application = ?")
                .bind(&object_id)
                .execute(&mut *transaction)
                .await?;
            files::certify(&mut transaction, &object_id, &der, now, Timestamp::MAX).await?;
            let known = records::find(&mut *transaction, records::By::Object(&object_id)).await?;
            known.ok_or_else(|| db::damaged("machine.application", "not there"))?
        }
        None => {
            let name = format!("machine {vault}/{server}");
            let own =
                files::application(&mut transaction, &app, name, &der, Timestamp::MAX).await?;
            sqlx::query("INSERT INTO machine (vault, server, application) VALUES (?, ?, ?)")
                .bind(vault.as_str())
                .bind(server.as_str())
                .bind(&own.object_id)
                .execute(&mut *transaction)
                .await?;
            own
        }
    };
    transaction.commit().await?;
    let own = Some((vault, server));
    let mut credentials = app.credentials(subject.role(), own, subject.user(), String::new());
    credentials.tenant_id = Some(app.entra.tenant.to_string());
    credentials.client_id = Some(machine.app_id);
    Ok((StatusCode::CREATED, Json(credentials)))
}

/// The application that a machine is.
async fn application_of(
    on: &mut SqliteConnection,
    vault: &VaultName,
    server: &ServerName,
) -> Result<Option<String>, Error> {
    let row: Option<(String,)> =
        sqlx::query_as("SELECT application FROM machine WHERE vault = ? AND server = ?")
            .bind(vault.as_str())
            .bind(server.as_str())
            .fetch_optional(on)
            .await?;
    Ok(row.map(|(application,)| application))
}

/// Whether one of these is a certificate of the application, over or not.
async fn has_one(
    on: &mut SqliteConnection,
    application: &str,
    known: &[Digest],
) -> Result<bool, Error> {
    let rows: Vec<(Vec<u8>,)> =
        sqlx::query_as("SELECT sha256 FROM app_certificate WHERE application = ?")
            .bind(application)
            .fetch_all(on)
            .await?;
    Ok(rows.iter().any(|(hash,)| known.iter().any(|known| known.0.as_slice() == hash)))
}

/// Another machine has the name.
async fn taken(
    on: &mut SqliteConnection,
    vault: &VaultName,
    server: &ServerName,
) -> Result<Error, Error> {
    let row: Option<(Option<String>,)> =
        sqlx::query_as("SELECT heard_at FROM server WHERE vault = ? AND name = ?")
            .bind(vault.as_str())
            .bind(server.as_str())
            .fetch_optional(on)
            .await?;
    let heard = match row.and_then(|(heard,)| heard) {
        Some(at) => {
            let at: Timestamp = db::parsed("server.heard_at", &at)?;
            format!("was last heard of at {at:.0}")
        }
        None => "was never heard of".to_owned(),
    };
    let message = format!(
        "{server} is registered with vault {vault} already, as a machine that {heard}. if this is that machine, renamed or rebuilt, take its place: packmule agent register --take-over; the other one's certificate and token end with that. if it is not, give another --name"
    );
    Ok(Error::refused(Code::AlreadyExists, message))
}

/// A machine's next certificate is good beside the one that it has, until that one's own key says so: then the old one
/// ends. Said again, it changes nothing. A token alone says nothing here: whoever gets hold of one must not become the machine.
pub(crate) async fn certify(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments((vault, server)): Segments<(VaultName, ServerName)>,
    body: Body,
) -> Result<StatusCode, Error> {
    let request: MachineCertificate = http::json(body).await?;
    let der = decoded(&request.certificate)?;
    let denied = |message: String| Error::refused(Code::AuthorizationFailed, message);
    let own = caller.application.ok_or_else(|| {
        denied("only a machine that calls by a certificate can have a next one".to_owned())
    })?;
    let now = app.now();
    let certificate = Certificate::parse(&der).map_err(Error::invalid)?;
    if !certificate.is_valid(now) {
        return Err(Error::invalid("the certificate is not good now"));
    }
    let mut transaction = app.db.write().await?;
    let registered = records::registered(&mut *transaction, &own.object_id, now).await?;
    let stated: Stated<CertificateClaims> =
        verify_statement(&request.statement, CERTIFICATE_TYPE, &registered, now).map_err(
            |why| denied(format!("a certificate of this machine has to sign for it: {why}")),
        )?;
    let claims = &stated.claims;
    let is_this = claims.sha256.0 == certificate.sha256;
    if (&claims.vault, &claims.server) != (&vault, &server) || !is_this {
        return Err(denied("the statement is about another certificate".to_owned()));
    }
    let rows = records::certificates(&mut *transaction, &own.object_id).await?;
    let by = registered.iter().find(|known| known.certificate.sha256 == stated.certificate);
    let by = by.map(|known| known.key_id.as_str());
    let is_there = rows.iter().any(|row| row.der == der);
    for row in rows.iter().filter(|row| Some(row.key_id.as_str()) != by && row.der != der) {
        sqlx::query("DELETE FROM app_certificate WHERE key_id = ?")
            .bind(&row.key_id)
            .execute(&mut *transaction)
            .await?;
    }
    if !is_there {
        let (on, object) = (&mut transaction, &own.object_id);
        files::certify(on, object, &der, now, certificate.ends_at).await?;
        let text = format!(
            "the machine's next certificate is registered: SHA-256 {}, good until {:.0}; the one before has signed for it",
            Digest(certificate.sha256),
            certificate.ends_at
        );
        notices::of_vault(&mut transaction, &(vault, server), &text, now).await?;
    }
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
