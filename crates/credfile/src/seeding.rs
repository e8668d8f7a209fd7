//! Makes the certificate that a source server proves itself with when it seeds a vault. Hands it to
//! nobody.

use crate::{Certificate, Error, Identity};
use jiff::{Span, Timestamp, tz::TimeZone};
use model::ServerName;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize, date_time_ymd,
};
use zeroize::Zeroizing;

/// As long as Azure's own agent makes it.
const YEARS: i64 = 3;

/// A new RSA-2048 key with a certificate of its own,
/// `CN=CB_AzureADCertforOfflineSeeding_<ResourceId>`, good from the day before `now`, for clocks that
/// are behind, until three years after it. Takes a tenth of a second, at times a whole one.
///
/// # Errors
/// [`Error::Making`], which no `now` of this millennium causes.
pub fn seeding_identity(resource_id: i64, now: Timestamp) -> Result<Identity, Error> {
    made(format!("CB_AzureADCertforOfflineSeeding_{resource_id}"), now)
}

/// The same for a machine that registers with a vault: `CN=<server>`.
///
/// # Errors
/// As [`seeding_identity`].
pub fn machine_identity(server: &ServerName, now: Timestamp) -> Result<Identity, Error> {
    made(server.to_string(), now)
}

fn made(subject: String, now: Timestamp) -> Result<Identity, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let date = |away| day(now, away).map(|(year, month, day)| date_time_ymd(year, month, day));
    params.not_before = date(Span::new().days(-1))?;
    params.not_after = date(Span::new().years(YEARS))?;
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).map_err(making)?;
    let certificate = params.self_signed(&key).map_err(making)?;
    let certificate = Certificate::from_der(certificate.der())?;
    Identity::new(certificate, Zeroizing::new(key.serialize_der()))
}

/// A day in UTC, some time from now: year, month, day.
fn day(now: Timestamp, away: Span) -> Result<(i32, u8, u8), Error> {
    let date = now.to_zoned(TimeZone::UTC).date().checked_add(away).map_err(making)?;
    Ok((i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs()))
}

fn making(cause: impl std::fmt::Display) -> Error {
    Error::Making { what: cause.to_string() }
}

#[cfg(test)]
mod tests {
    use crate::fixture;

    #[test]
    fn it_is_good_from_the_day_before_and_for_three_years() {
        let certificate = fixture::identity(0).certificate();
        assert_eq!(certificate.subject(), "CN=CB_AzureADCertforOfflineSeeding_0");
        assert_eq!(certificate.not_before().to_string(), "2026-11-24T00:00:00Z");
        assert_eq!(certificate.not_after().to_string(), "2029-11-25T00:00:00Z");
        assert_ne!(certificate, &fixture::certificate());
    }
}
