//! Files that people carry: publish settings of a subscription, credentials of a vault. Each holds a private key that is
//! made for it and kept nowhere here.

use crate::app::App;
use crate::entra::{Application, By, Certificate, Grant, Guid, records, self_signed};
use crate::http::Segments;
use crate::{Error, db};
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use credfile::{
    AgentLink, Identity, ManagementCert, PublishSettings, Service, Subscription, VaultCredentials,
};
use jiff::{Span, Timestamp};
use model::VaultName;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sqlx::SqliteConnection;
use std::sync::Arc;
use wire::vault_resource_id;
use zeroize::Zeroizing;

/// How long publish settings are good for.
const SETTINGS_DAYS: i64 = 365;
/// How long a vault's credentials are good for registering.
const VAULT_DAYS: i64 = 10;

fn wrong(what: &'static str) -> impl FnOnce(credfile::Error) -> Error {
    move |cause| Error::Identity { what: what.to_owned(), cause: Box::new(cause) }
}

/// A key with a certificate of its own, for a file.
fn made(name: &str, now: Timestamp, days: i64) -> Result<Identity, Error> {
    let (key, der) = self_signed(name, now, Span::new().days(days))?;
    let certificate =
        credfile::Certificate::from_der(&der).map_err(wrong("reading a new certificate"))?;
    let key = Zeroizing::new(key.serialize_der());
    Identity::new(certificate, key).map_err(wrong("using a new certificate"))
}

/// An application with that name and certificate, good until `ends`.
pub(crate) async fn application(
    on: &mut SqliteConnection,
    app: &App,
    name: String,
    der: &[u8],
    ends: Timestamp,
) -> Result<Application, Error> {
    let draw = || Guid::draw().map(|guid| guid.to_string());
    let application = Application {
        object_id: draw()?,
        app_id: draw()?,
        display_name: name,
        service_principal: Some(draw()?),
        owner: app.entra.admin_application.clone(),
        created_at: db::time(app.now()),
    };
    records::insert(&mut *on, &application).await?;
    certify(on, &application.object_id, der, app.now(), ends).await?;
    Ok(application)
}

/// Gives the application that certificate, good until `ends` or until it ends itself.
pub(crate) async fn certify(
    on: &mut SqliteConnection,
    application: &str,
    der: &[u8],
    now: Timestamp,
    ends: Timestamp,
) -> Result<(), Error> {
    let certificate = Certificate::parse(der).map_err(Error::invalid)?;
    let new = records::NewCertificate {
        key_id: Guid::draw()?.to_string(),
        custom_id: certificate.thumbprint(),
        display_name: "file".to_owned(),
        starts_at: certificate.starts_at.min(now),
        ends_at: ends.min(certificate.ends_at),
        certificate,
    };
    records::add_certificate(on, application, &new).await
}

fn days(now: Timestamp, days: i64) -> Timestamp {
    now.saturating_add(Span::new().hours(24 * days)).unwrap_or(Timestamp::MAX)
}

fn authority(app: &App) -> Result<Option<credfile::Certificate>, Error> {
    let Ok(der) = CertificateDer::from_pem_slice(app.ca_pem.as_bytes()) else { return Ok(None) };
    credfile::Certificate::from_der(&der).map(Some).map_err(wrong("reading the authority"))
}

fn attached(name: &str, text: &str) -> Response {
    // No name that gets here has a quote in it.
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (CONTENT_TYPE, "application/xml; charset=utf-8".to_owned()),
        (CONTENT_DISPOSITION, disposition),
    ];
    (StatusCode::CREATED, headers, text.to_owned()).into_response()
}

/// Publish settings: a certificate that may make import jobs in the subscription.
pub(crate) async fn publish_settings(
    State(app): State<Arc<App>>,
    Segments(id): Segments<String>,
    _body: Body,
) -> Result<Response, Error> {
    let now = app.now();
    let mut transaction = app.db.write().await?;
    let row: Option<(String, String)> =
        sqlx::query_as("SELECT id, name FROM subscription WHERE id = ? COLLATE NOCASE")
            .bind(&id)
            .fetch_optional(&mut *transaction)
            .await?;
    let (id, name) = row.ok_or_else(|| {
        let id: String = id.chars().take(80).collect();
        Error::not_found(format_args!("subscription {id}"))
    })?;
    let identity = made("Packmule publish settings", now, SETTINGS_DAYS)?;
    let der = identity.certificate().as_der().to_vec();
    let title = format!("publish-settings {name} {}", now.strftime("%Y-%m-%d %H:%M:%S"));
    let own = application(&mut transaction, &app, title, &der, days(now, SETTINGS_DAYS)).await?;
    let grant = Grant::contributor(format!("/subscriptions/{id}"));
    let principal = own.service_principal.clone().unwrap_or_default();
    let grant_id = Guid::draw()?;
    records::grant(&mut transaction, grant_id.as_str(), &principal, &grant, now).await?;
    transaction.commit().await?;
    let wrong = || wrong("writing publish settings");
    let settings = PublishSettings {
        subscriptions: vec![Subscription {
            id: id.parse().map_err(wrong())?,
            name: name.clone(),
            service_management_url: app.endpoint.parse().map_err(wrong())?,
            identity,
            service: Some(Service {
                tenant: app.entra.tenant.as_str().parse().map_err(wrong())?,
                client: own.app_id.parse().map_err(wrong())?,
                authority: authority(&app)?,
            }),
        }],
        refused: Vec::new(),
    };
    let text = settings.write().map_err(wrong())?;
    Ok(attached(&format!("{id}.publishsettings"), &text))
}

/// A vault's credentials: the newest file registers machines, for ten days.
pub(crate) async fn vault_credentials(
    State(app): State<Arc<App>>,
    Segments(vault): Segments<VaultName>,
    _body: Body,
) -> Result<Response, Error> {
    let now = app.now();
    let identity = made(&format!("Packmule vault {vault}"), now, VAULT_DAYS)?;
    let der = identity.certificate().as_der().to_vec();
    let ends = days(now, VAULT_DAYS);
    let mut transaction = app.db.write().await?;
    let place: Option<(String, String)> =
        sqlx::query_as("SELECT subscription, resource_group FROM vault WHERE name = ?")
            .bind(vault.as_str())
            .fetch_optional(&mut *transaction)
            .await?;
    let (subscription, group) =
        place.ok_or_else(|| Error::not_found(format_args!("vault {vault}")))?;
    let own = match registration(&mut transaction, &vault).await? {
        Some(own) => {
            sqlx::query("DELETE FROM app_certificate WHERE application = ?")
                .bind(&own.object_id)
                .execute(&mut *transaction)
                .await?;
            certify(&mut transaction, &own.object_id, &der, now, ends).await?;
            own
        }
        None => {
            let name = format!("vault-credentials {vault}");
            let own = application(&mut transaction, &app, name, &der, ends).await?;
            sqlx::query("INSERT INTO vault_registration (vault, application) VALUES (?, ?)")
                .bind(vault.as_str())
                .bind(&own.object_id)
                .execute(&mut *transaction)
                .await?;
            own
        }
    };
    transaction.commit().await?;
    let wrong = || wrong("writing a vault's credentials");
    let tenant = app.entra.tenant.as_str();
    let resource_id = vault_resource_id(tenant, &vault);
    let location = crate::groups::LOCATION.to_owned();
    let file = VaultCredentials {
        subscription: subscription.parse().map_err(wrong())?,
        vault: vault.clone(),
        management_cert: ManagementCert::Identity(identity),
        resource_id,
        resource_group: group,
        aad_audience: format!("https://RecoveryServiceVault/{location}/{vault}/{resource_id}"),
        location,
        aad_authority: app.endpoint.parse().map_err(wrong())?,
        aad_tenant: tenant.parse().map_err(wrong())?,
        service_principal: Some(own.app_id.parse().map_err(wrong())?),
        id_mgmt_endpoint: Some(app.endpoint.parse().map_err(wrong())?),
        endpoint: Some(app.endpoint.parse().map_err(wrong())?),
        agent_links: Vec::<AgentLink>::new(),
        private_endpoint_state: Some("None".to_owned()),
        authority: authority(&app)?,
    };
    let text = file.write().map_err(wrong())?;
    Ok(attached(&VaultCredentials::file_name(&vault, now), &text))
}

/// The application that registers machines with a vault, once there are credentials of it.
pub(crate) async fn registration(
    on: &mut SqliteConnection,
    vault: &VaultName,
) -> Result<Option<Application>, Error> {
    let row: Option<(String,)> =
        sqlx::query_as("SELECT application FROM vault_registration WHERE vault = ?")
            .bind(vault.as_str())
            .fetch_optional(&mut *on)
            .await?;
    match row {
        Some((application,)) => records::find(on, By::Object(&application)).await,
        None => Ok(None),
    }
}
