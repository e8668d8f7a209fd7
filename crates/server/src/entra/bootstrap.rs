//! What the first start draws, and the server's own application `packmule-admin` with its certificate
//! in the data folder. The database follows the file: whoever can write there is administrator anyway.

use super::certificate::Certificate;
use super::grants::Grant;
use super::guid::Guid;
use super::records::{self, Application, NewCertificate};
use crate::data::DataFolder;
use crate::db::{self, Db};
use crate::{Error, identity};
use jiff::{SignedDuration, Span, Timestamp};
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sqlx::SqliteConnection;

/// The certificate's file in the data folder: its key, then itself.
pub(crate) const FILE: &str = "admin-certificate.pem";
/// The application's name.
const NAME: &str = "packmule-admin";
/// What certificates that this file makes are called; nobody's own are.
const MADE: &str = "CN=packmule-admin, made by the server";
/// The first subscription's name.
const SUBSCRIPTION: &str = "packmule";
/// How long a certificate is good for.
const YEARS: i64 = 2;
/// A certificate with fewer days left is followed by another at the next start.
const RENEW: SignedDuration = SignedDuration::from_hours(60 * 24);

/// What this server is to Azure's clients.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) tenant: Guid,
    pub(super) subscription: Guid,
    /// Object id of the server's own application.
    pub(super) admin_application: String,
    /// Its client id.
    pub(super) admin_client: String,
}

/// The instance, drawn where there is none, with the server's own application able to call.
pub(super) async fn open(data: &DataFolder, db: &Db, now: Timestamp) -> Result<Instance, Error> {
    let mut transaction = db.write().await?;
    let row: Option<(String, String, String)> = sqlx::query_as(
        "SELECT tenant, first_subscription, admin_application FROM instance WHERE one = 1",
    )
    .fetch_optional(&mut *transaction)
    .await?;
    let (tenant, subscription, object_id) = match row {
        Some(row) => row,
        None => draw(&mut transaction, now).await?,
    };
    let own = records::find(&mut *transaction, records::By::Object(&object_id)).await?;
    let own = own.ok_or_else(|| db::damaged("instance.admin_application", "no such row"))?;
    let principal = own.service_principal.as_deref();
    let principal =
        principal.ok_or_else(|| db::damaged("application.service_principal", "none of its own"))?;
    let id = Guid::draw()?;
    records::grant(&mut transaction, id.as_str(), principal, &Grant::owner(), now).await?;
    certificate(&mut transaction, data, &object_id, now).await?;
    transaction.commit().await?;
    Ok(Instance {
        tenant: db::parsed("instance.tenant", &tenant)?,
        subscription: db::parsed("instance.first_subscription", &subscription)?,
        admin_application: object_id,
        admin_client: own.app_id,
    })
}

async fn draw(
    on: &mut SqliteConnection,
    now: Timestamp,
) -> Result<(String, String, String), Error> {
    let draw = || Guid::draw().map(|guid| guid.to_string());
    let (tenant, subscription, principal) = (draw()?, draw()?, draw()?);
    let own = Application {
        object_id: draw()?,
        app_id: draw()?,
        display_name: NAME.to_owned(),
        service_principal: Some(principal.clone()),
        owner: principal,
        created_at: db::time(now),
    };
    sqlx::query("INSERT INTO subscription (id, name, created_at) VALUES (?, ?, ?)")
        .bind(&subscription)
        .bind(SUBSCRIPTION)
        .bind(db::time(now))
        .execute(&mut *on)
        .await?;
    records::insert(&mut *on, &own).await?;
    sqlx::query(
        "INSERT INTO instance (one, tenant, first_subscription, admin_application)
         VALUES (1, ?, ?, ?)",
    )
    .bind(&tenant)
    .bind(&subscription)
    .bind(&own.object_id)
    .execute(on)
    .await?;
    Ok((tenant, subscription, own.object_id))
}

/// Makes the certificate in the file one of the application's. The file is written first: one that is
/// not registered yet is at the next start. A renewed one goes on to be good until its own end; where
/// the file is gone, those before it end.
async fn certificate(
    on: &mut SqliteConnection,
    data: &DataFolder,
    application: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let there = data.read(FILE)?.map(|pem| read(&pem)).transpose()?;
    if there.is_none() {
        sqlx::query("DELETE FROM app_certificate WHERE application = ? AND display_name = ?")
            .bind(application)
            .bind(MADE)
            .execute(&mut *on)
            .await?;
    }
    // Both ends count: a clock may have been wrong when it was made.
    let lasts = |one: &Certificate| one.is_valid(now) && one.ends_at.duration_since(now) > RENEW;
    let current = match there {
        Some(one) if lasts(&one) => one,
        _ => make(data, now)?,
    };
    let known: Option<(i64,)> =
        sqlx::query_as("SELECT 1 FROM app_certificate WHERE application = ? AND sha256 = ?")
            .bind(application)
            .bind(current.sha256.as_slice())
            .fetch_optional(&mut *on)
            .await?;
    if known.is_none() {
        let new = NewCertificate {
            key_id: Guid::draw()?.to_string(),
            custom_id: current.thumbprint(),
            display_name: MADE.to_owned(),
            starts_at: current.starts_at,
            ends_at: current.ends_at,
            certificate: current,
        };
        records::add_certificate(&mut *on, application, &new).await?;
    }
    sqlx::query("DELETE FROM app_certificate WHERE application = ? AND ends_at < ?")
        .bind(application)
        .bind(db::time(now))
        .execute(on)
        .await?;
    Ok(())
}

fn read(pem: &[u8]) -> Result<Certificate, Error> {
    let damaged = |why: String| Error::Damaged {
        what: FILE.to_owned(),
        why: format!("{why}; remove it and start again for a new one"),
    };
    let der = CertificateDer::from_pem_slice(pem).map_err(|why| damaged(why.to_string()))?;
    let certificate = Certificate::parse(&der).map_err(damaged)?;
    let text = std::str::from_utf8(pem).map_err(|why| damaged(why.to_string()))?;
    let key = KeyPair::from_pem(text).map_err(|why| damaged(why.to_string()))?;
    if key.public_key_raw() != certificate.key {
        return Err(damaged("its key is of another certificate".to_owned()));
    }
    Ok(certificate)
}

fn make(data: &DataFolder, now: Timestamp) -> Result<Certificate, Error> {
    let (key, der) = self_signed(NAME, now, Span::new().years(YEARS))?;
    let certificate = crate::identity::pem(&der);
    let pem = zeroize::Zeroizing::new(format!("{}{certificate}", key.serialize_pem()));
    data.replace(FILE, pem.as_bytes())?;
    read(pem.as_bytes())
}

/// A new RSA key with a certificate of its own, good for so long.
pub(crate) fn self_signed(
    name: &str,
    now: Timestamp,
    length: Span,
) -> Result<(KeyPair, CertificateDer<'static>), Error> {
    let failed = |cause: rcgen::Error| Error::Identity {
        what: format!("making a certificate for {name}"),
        cause: Box::new(cause),
    };
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    identity::period(&mut params, now, length)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    let der = certificate.der().clone();
    Ok((key, der))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn registered(db: &Db) -> Vec<(String, String)> {
        let rows = "SELECT custom_id, ends_at FROM app_certificate ORDER BY rowid";
        sqlx::query_as(rows).fetch_all(db.pool()).await.unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn ids_stay_and_a_certificate_is_renewed_before_it_ends_beside_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let db = Db::open(&data.join("x.db")).await.unwrap();
        let first = open(&data, &db, at("2026-01-01T00:00:00Z")).await.unwrap();
        let before = registered(&db).await;
        let again = open(&data, &db, at("2027-06-01T00:00:00Z")).await.unwrap();
        assert_eq!(format!("{first:?}"), format!("{again:?}"));
        assert_eq!((registered(&db).await, before.len()), (before.clone(), 1));
        open(&data, &db, at("2027-12-01T00:00:00Z")).await.unwrap();
        let renewed = registered(&db).await;
        assert_eq!((renewed.len(), &renewed[0]), (2, &before[0]));
        open(&data, &db, at("2028-02-01T00:00:00Z")).await.unwrap();
        assert_eq!(registered(&db).await, renewed[1..]);
    }

    #[tokio::test]
    async fn a_lost_certificate_ends_and_a_damaged_one_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let db = Db::open(&data.join("x.db")).await.unwrap();
        let now = at("2026-01-01T00:00:00Z");
        open(&data, &db, now).await.unwrap();
        let (pem, before) = (data.read(FILE).unwrap().unwrap(), registered(&db).await);
        std::fs::remove_file(data.join(FILE)).unwrap();
        open(&data, &db, now).await.unwrap();
        let after = registered(&db).await;
        assert_eq!(after.len(), 1);
        assert_ne!(after, before);
        let other = data.read(FILE).unwrap().unwrap();
        let half = |pem: &[u8]| String::from_utf8(pem.to_vec()).unwrap();
        let (key, _) = half(&pem)
            .split_once("-----BEGIN CERT")
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        let other = half(&other);
        let foreign =
            format!("{key}-----BEGIN CERT{}", other.split_once("-----BEGIN CERT").unwrap().1);
        data.replace(FILE, foreign.as_bytes()).unwrap();
        assert!(matches!(open(&data, &db, now).await, Err(Error::Damaged { .. })));
    }
}
