//! The server's certificate authority and certificate, made at first start and kept in `tls/`.
//! Callers trust the authority; the certificate below it is remade when its time runs out, its
//! names change or it cannot be used. Serves nothing.

use crate::Error;
use crate::config::{Config, TlsFiles};
use crate::data::DataFolder;
use jiff::{Span, Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;

const CA_CERTIFICATE: &str = "tls/ca.pem";
const CA_KEY: &str = "tls/ca.key";
const CERTIFICATE: &str = "tls/server.pem";
const KEY: &str = "tls/server.key";
/// The authority of a certificate that was made elsewhere.
const GIVEN: &str = "tls/authority.pem";

/// How long the authority is good for.
const CA_YEARS: i64 = 10;
/// How long a certificate is good for.
const DAYS: i64 = 90;
/// A certificate with fewer days left is remade, at the next start or tick.
const RENEW_DAYS: i64 = 30;

/// What a server shows, and what its callers are given to trust.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The authority, in PEM.
    pub(crate) ca_pem: String,
    /// The file that holds it, relative to the data folder.
    pub(crate) ca_file: &'static str,
    /// For the listener.
    pub(crate) tls: Arc<ServerConfig>,
}

impl Identity {
    /// The identity in the data folder, made where there is none.
    pub(crate) fn open(data: &DataFolder, names: &[String], now: Timestamp) -> Result<Self, Error> {
        data.folder("tls")?;
        let (ca_pem, ca_key) = authority(data, now)?;
        if let Some(tls) = usable(data, names, now)? {
            return Ok(Self { ca_pem, ca_file: CA_CERTIFICATE, tls });
        }
        issue(data, &ca_pem, &ca_key, names, now)?;
        let tls = usable(data, names, now)?.ok_or_else(|| Error::Damaged {
            what: CERTIFICATE.to_owned(),
            why: "it cannot be used although it is new".to_owned(),
        })?;
        Ok(Self { ca_pem, ca_file: CA_CERTIFICATE, tls })
    }
}

impl Identity {
    /// The identity that the configuration names, or the one in the data folder.
    pub(crate) fn find(
        data: &DataFolder,
        config: &Config,
        names: &[String],
        now: Timestamp,
    ) -> Result<Self, Error> {
        match &config.tls {
            Some(files) => Self::given(data, files),
            None => Self::open(data, names, now),
        }
    }

    /// A certificate that was made elsewhere.
    fn given(data: &DataFolder, files: &TlsFiles) -> Result<Self, Error> {
        data.folder("tls")?;
        let read = |path: &Path| std::fs::read(path).map_err(Error::io("reading", path));
        let unusable =
            |path: &Path, why: String| Error::Damaged { what: path.display().to_string(), why };
        let (chain_pem, key) = (read(&files.certificate)?, read(&files.key)?);
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain_pem)
            .collect::<Result<_, _>>()
            .map_err(|why| unusable(&files.certificate, why.to_string()))?;
        let last = chain.last().ok_or_else(|| {
            unusable(&files.certificate, "there is no certificate in PEM in it".to_owned())
        })?;
        let ca_pem = match &files.authority {
            Some(path) => String::from_utf8(read(path)?)
                .map_err(|_| unusable(path, "it is not text".to_owned()))?,
            None => pem(last),
        };
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|why| unusable(&files.key, why.to_string()))?;
        let tls = server_config(chain, key)?.map_err(|why| unusable(&files.key, why))?;
        // Where the administrator's file says that it is.
        if text(data, GIVEN)?.as_ref() != Some(&ca_pem) {
            data.replace(GIVEN, ca_pem.as_bytes())?;
        }
        Ok(Self { ca_pem, ca_file: GIVEN, tls })
    }
}

pub(crate) fn pem(der: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// For the listener; in words why these two cannot be shown.
fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Result<Arc<ServerConfig>, String>, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(wrap("setting up TLS"))?
        .with_no_client_auth()
        .with_single_cert(chain, key);
    Ok(config.map_err(|why| why.to_string()).map(|mut config| {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }))
}

fn wrap<E: std::error::Error + Send + Sync + 'static>(
    what: &'static str,
) -> impl FnOnce(E) -> Error {
    move |cause| Error::Identity { what: what.to_owned(), cause: Box::new(cause) }
}

fn text(data: &DataFolder, name: &str) -> Result<Option<String>, Error> {
    let damaged = |_| Error::Damaged { what: name.to_owned(), why: "it is not text".to_owned() };
    data.read(name)?.map(String::from_utf8).transpose().map_err(damaged)
}

/// The authority's certificate and key. Its key is written first: a key alone was never shown to
/// anybody and may be replaced.
fn authority(data: &DataFolder, now: Timestamp) -> Result<(String, KeyPair), Error> {
    if let Some(pem) = text(data, CA_CERTIFICATE)? {
        let key = text(data, CA_KEY)?.ok_or_else(|| Error::Damaged {
            what: CA_KEY.to_owned(),
            why: "it is gone; restore it, or remove tls/ca.pem and hand out new credentials"
                .to_owned(),
        })?;
        let key = KeyPair::from_pem(&key).map_err(wrap("reading tls/ca.key"))?;
        return Ok((pem, key));
    }
    let key = KeyPair::generate().map_err(wrap("making the authority's key"))?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Packmule server authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let years = Span::new().years(CA_YEARS);
    period(&mut params, now, years)?;
    let certificate = params.self_signed(&key).map_err(wrap("making the authority"))?.pem();
    data.replace(CA_KEY, key.serialize_pem().as_bytes())?;
    data.replace(CA_CERTIFICATE, certificate.as_bytes())?;
    Ok((certificate, key))
}

/// Good from a day ago, for clocks that are behind.
pub(crate) fn period(
    params: &mut CertificateParams,
    now: Timestamp,
    length: Span,
) -> Result<(), Error> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let out_of_range = || wrap("finding the end of a certificate");
    let from = today.checked_sub(Span::new().days(1)).map_err(out_of_range())?;
    let until = today.checked_add(length).map_err(out_of_range())?;
    let day = |date: jiff::civil::Date| {
        rcgen::date_time_ymd(
            i32::from(date.year()),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
    };
    params.not_before = day(from);
    params.not_after = day(until);
    Ok(())
}

fn issue(
    data: &DataFolder,
    ca_pem: &str,
    ca_key: &KeyPair,
    names: &[String],
    now: Timestamp,
) -> Result<(), Error> {
    let issuer = Issuer::from_ca_cert_pem(ca_pem, ca_key).map_err(wrap("reading tls/ca.pem"))?;
    let key = KeyPair::generate().map_err(wrap("making the server's key"))?;
    let mut params = CertificateParams::new(names).map_err(wrap("a name for the certificate"))?;
    params.distinguished_name.push(DnType::CommonName, "Packmule server");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    period(&mut params, now, Span::new().days(DAYS))?;
    let certificate = params.signed_by(&key, &issuer).map_err(wrap("making the certificate"))?;
    data.replace(KEY, key.serialize_pem().as_bytes())?;
    data.replace(CERTIFICATE, certificate.pem().as_bytes())
}

/// The listener's configuration from the files, if they are there, belong together, are for these
/// names and good for a while. A crash between writing the two shows as two that do not match.
fn usable(
    data: &DataFolder,
    names: &[String],
    now: Timestamp,
) -> Result<Option<Arc<ServerConfig>>, Error> {
    let (Some(certificate), Some(key)) = (text(data, CERTIFICATE)?, text(data, KEY)?) else {
        return Ok(None);
    };
    let Ok(certificate) = CertificateDer::from_pem_slice(certificate.as_bytes()) else {
        return Ok(None);
    };
    let Ok(key) = PrivateKeyDer::from_pem_slice(key.as_bytes()) else { return Ok(None) };
    if !is_for(&certificate, names, now) {
        return Ok(None);
    }
    Ok(server_config(vec![certificate], key)?.ok())
}

fn is_for(certificate: &CertificateDer<'_>, names: &[String], now: Timestamp) -> bool {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return false };
    let (from, until) = (parsed.validity().not_before, parsed.validity().not_after);
    let left = until.timestamp() - now.as_second();
    let Ok(Some(alternatives)) = parsed.subject_alternative_name() else { return false };
    // Both ends count: a clock may have been wrong when it was made.
    let lasts = from.timestamp() <= now.as_second() && left > RENEW_DAYS * 24 * 3600;
    lasts && alternatives.value.general_names.len() == names.len() && {
        let has = |name: &String| {
            alternatives.value.general_names.iter().any(|general| match general {
                x509_parser::extensions::GeneralName::DNSName(dns) => dns == name,
                x509_parser::extensions::GeneralName::IPAddress(octets) => {
                    name.parse().is_ok_and(|ip: std::net::IpAddr| match ip {
                        std::net::IpAddr::V4(ip) => ip.octets() == *octets,
                        std::net::IpAddr::V6(ip) => ip.octets() == *octets,
                    })
                }
                _ => false,
            })
        };
        names.iter().all(has)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_restart_keeps_authority_and_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let first = Identity::open(&data, &names(), at("2026-01-01T00:00:00Z")).unwrap();
        let certificate = data.read(CERTIFICATE).unwrap();
        let again = Identity::open(&data, &names(), at("2026-02-01T00:00:00Z")).unwrap();
        assert_eq!(first.ca_pem, again.ca_pem);
        assert_eq!(data.read(CERTIFICATE).unwrap(), certificate);
    }

    #[test]
    fn a_certificate_is_remade_before_it_ends_and_when_its_names_change() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let first = Identity::open(&data, &names(), at("2026-01-01T00:00:00Z")).unwrap();
        let certificate = data.read(CERTIFICATE).unwrap();
        let later = Identity::open(&data, &names(), at("2026-03-05T00:00:00Z")).unwrap();
        assert_eq!(first.ca_pem, later.ca_pem);
        let renewed = data.read(CERTIFICATE).unwrap();
        assert_ne!(renewed, certificate);
        let mut more = names();
        more.push("vault.example.org".into());
        Identity::open(&data, &more, at("2026-03-05T00:00:00Z")).unwrap();
        assert_ne!(data.read(CERTIFICATE).unwrap(), renewed);
    }

    #[test]
    fn a_certificate_of_a_clock_that_was_ahead_is_remade() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let first = Identity::open(&data, &names(), at("2026-01-01T00:00:00Z")).unwrap();
        Identity::open(&data, &names(), at("2027-01-01T00:00:00Z")).unwrap();
        let ahead = data.read(CERTIFICATE).unwrap();
        let again = Identity::open(&data, &names(), at("2026-01-02T00:00:00Z")).unwrap();
        assert_eq!(first.ca_pem, again.ca_pem);
        assert_ne!(data.read(CERTIFICATE).unwrap(), ahead);
    }

    #[test]
    fn a_crash_between_key_and_certificate_heals_itself() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let now = at("2026-01-01T00:00:00Z");
        let first = Identity::open(&data, &names(), now).unwrap();
        let stranger = KeyPair::generate().unwrap();
        data.replace(KEY, stranger.serialize_pem().as_bytes()).unwrap();
        let healed = Identity::open(&data, &names(), now).unwrap();
        assert_eq!(first.ca_pem, healed.ca_pem);
    }

    #[test]
    fn a_lost_authority_key_is_never_replaced_silently() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        let now = at("2026-01-01T00:00:00Z");
        Identity::open(&data, &names(), now).unwrap();
        std::fs::remove_file(folder.path().join(CA_KEY)).unwrap();
        assert!(matches!(Identity::open(&data, &names(), now), Err(Error::Damaged { .. })));
    }
}
