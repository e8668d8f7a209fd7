//! Applications and their credentials in the database: what the token endpoint, the guard and Graph
//! all read. Decides nothing.

use super::assertion::Registered;
use super::certificate::Certificate;
use super::grants::Grant;
use crate::{Error, db};
use jiff::Timestamp;
use sqlx::{SqliteConnection, SqliteExecutor};

/// An application.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Application {
    pub(crate) object_id: String,
    /// The client id.
    pub(crate) app_id: String,
    pub(crate) display_name: String,
    /// Object id of its service principal, where it has one.
    pub(crate) service_principal: Option<String>,
    /// Object id of the service principal that made it.
    pub(crate) owner: String,
    pub(crate) created_at: String,
}

/// By which of its ids an application is looked up.
#[derive(Debug, Clone, Copy)]
pub(crate) enum By<'a> {
    Object(&'a str),
    App(&'a str),
    Principal(&'a str),
}

/// The application; ids are compared without case.
pub(crate) async fn find(
    on: impl SqliteExecutor<'_>,
    by: By<'_>,
) -> Result<Option<Application>, Error> {
    let (query, id) = match by {
        By::Object(id) => ("SELECT * FROM application WHERE object_id = ?", id),
        By::App(id) => ("SELECT * FROM application WHERE app_id = ?", id),
        By::Principal(id) => ("SELECT * FROM application WHERE service_principal = ?", id),
    };
    Ok(sqlx::query_as(query).bind(id.to_ascii_lowercase()).fetch_optional(on).await?)
}

/// Writes a new application.
pub(crate) async fn insert(on: impl SqliteExecutor<'_>, new: &Application) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO application
             (object_id, app_id, display_name, service_principal, owner, created_at)
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&new.object_id)
    .bind(&new.app_id)
    .bind(&new.display_name)
    .bind(&new.service_principal)
    .bind(&new.owner)
    .bind(&new.created_at)
    .execute(on)
    .await?;
    Ok(())
}

/// A certificate as Graph shows it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct CertificateRow {
    pub(crate) key_id: String,
    pub(crate) application: String,
    pub(crate) der: Vec<u8>,
    pub(crate) custom_id: String,
    pub(crate) display_name: String,
    pub(crate) starts_at: String,
    pub(crate) ends_at: String,
}

/// The application's certificates, oldest first.
pub(crate) async fn certificates(
    on: impl SqliteExecutor<'_>,
    application: &str,
) -> Result<Vec<CertificateRow>, Error> {
    let rows = sqlx::query_as(
        "SELECT key_id, application, der, custom_id, display_name, starts_at, ends_at
         FROM app_certificate WHERE application = ? ORDER BY rowid",
    );
    Ok(rows.bind(application).fetch_all(on).await?)
}

/// The certificates that assertions of the application may be signed with now. What the registration
/// says of their time counts as what they say themselves.
pub(crate) async fn registered(
    on: impl SqliteExecutor<'_>,
    application: &str,
    now: Timestamp,
) -> Result<Vec<Registered>, Error> {
    let now = db::time(now);
    let current = certificates(on, application).await?.into_iter();
    let current = current.filter(|row| row.starts_at <= now && now <= row.ends_at);
    let parse = |row: CertificateRow| {
        let certificate =
            Certificate::parse(&row.der).map_err(|why| db::damaged("app_certificate.der", why))?;
        Ok(Registered { key_id: row.key_id, certificate })
    };
    current.map(parse).collect()
}

/// A certificate to register.
#[derive(Debug, Clone)]
pub(crate) struct NewCertificate {
    pub(crate) key_id: String,
    pub(crate) certificate: Certificate,
    pub(crate) custom_id: String,
    pub(crate) display_name: String,
    pub(crate) starts_at: Timestamp,
    pub(crate) ends_at: Timestamp,
}

/// Registers a certificate for an application.
pub(crate) async fn add_certificate(
    on: impl SqliteExecutor<'_>,
    application: &str,
    new: &NewCertificate,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO app_certificate (key_id, application, der, sha1, sha256, custom_id,
             display_name, starts_at, ends_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(&new.key_id)
    .bind(application)
    .bind(&new.certificate.der)
    .bind(new.certificate.sha1.as_slice())
    .bind(new.certificate.sha256.as_slice())
    .bind(&new.custom_id)
    .bind(&new.display_name)
    .bind(db::time(new.starts_at))
    .bind(db::time(new.ends_at))
    .execute(on)
    .await?;
    Ok(())
}

/// A secret, without what it is.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct SecretRow {
    pub(crate) key_id: String,
    pub(crate) application: String,
    pub(crate) sha256: Vec<u8>,
    pub(crate) hint: String,
    pub(crate) display_name: String,
    pub(crate) starts_at: String,
    pub(crate) ends_at: String,
}

/// The application's secrets, oldest first.
pub(crate) async fn secrets(
    on: impl SqliteExecutor<'_>,
    application: &str,
) -> Result<Vec<SecretRow>, Error> {
    let rows = sqlx::query_as("SELECT * FROM app_secret WHERE application = ? ORDER BY rowid");
    Ok(rows.bind(application).fetch_all(on).await?)
}

/// What a service principal may do, as it is at this moment.
pub(crate) async fn grants(
    on: impl SqliteExecutor<'_>,
    principal: &str,
) -> Result<Vec<Grant>, Error> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT role, scope FROM role_grant WHERE principal = ? ORDER BY rowid")
            .bind(principal)
            .fetch_all(on)
            .await?;
    let grant = |(role, scope): (String, String)| {
        Ok(Grant { role: db::parsed("role_grant.role", &role)?, scope })
    };
    rows.into_iter().map(grant).collect()
}

/// Gives a role at a scope. Answers its id, the one it has if the principal has it already.
pub(crate) async fn grant(
    on: &mut SqliteConnection,
    id: &str,
    principal: &str,
    grant: &Grant,
    now: Timestamp,
) -> Result<String, Error> {
    sqlx::query(
        "INSERT INTO role_grant (id, principal, role, scope, created_at) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(id)
    .bind(principal)
    .bind(grant.role.as_str())
    .bind(&grant.scope)
    .bind(db::time(now))
    .execute(&mut *on)
    .await?;
    let (id,): (String,) = sqlx::query_as(
        "SELECT id FROM role_grant WHERE principal = ? AND role = ? AND scope = ? COLLATE NOCASE",
    )
    .bind(principal)
    .bind(grant.role.as_str())
    .bind(&grant.scope)
    .fetch_one(on)
    .await?;
    Ok(id)
}
