//! A certificate together with its private key: what a caller proves itself with. Makes none: see
//! `seeding`.

use crate::certificate::pem;
use crate::pkcs12::{self, Budget};
use crate::{Certificate, Error};
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::KeyPair as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::fmt;
use zeroize::Zeroizing;

/// A certificate and its private key, RSA with 2048 bits or more. Invariant: the two belong together.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    certificate: Certificate,
    private_key: Zeroizing<Vec<u8>>,
}

impl Identity {
    /// Joins a certificate and a private key (PKCS#8, DER).
    ///
    /// # Errors
    /// [`Error::Key`] when the key is no RSA key that can be used, or another certificate's.
    pub fn new(certificate: Certificate, private_key: Zeroizing<Vec<u8>>) -> Result<Self, Error> {
        if public_half(&private_key)? != certificate.public_key() {
            return Err(Error::Key { what: "it is not the key of the certificate beside it" });
        }
        Ok(Self { certificate, private_key })
    }

    /// The one key in a PKCS#12 without a password, and its certificate. Old and new encryption.
    ///
    /// # Errors
    /// [`Error::Seal`] when it has a password or was changed; [`Error::Algorithm`]; [`Error::Work`];
    /// [`Error::Pkcs12`]; [`Error::Key`]; [`Error::Certificate`].
    pub fn from_pkcs12(der: &[u8]) -> Result<Self, Error> {
        Self::from_pkcs12_within(der, &mut Budget::of_a_file())
    }

    pub(crate) fn from_pkcs12_within(der: &[u8], budget: &mut Budget) -> Result<Self, Error> {
        let contents = pkcs12::read(der, budget)?;
        let mut keys = contents.keys.into_iter();
        let key = keys.next().ok_or(Error::Key { what: "there is none in the PKCS#12" })?;
        if keys.next().is_some() {
            return Err(Error::Key { what: "there are several in the PKCS#12" });
        }
        let public = public_half(&key)?;
        let parsed = contents.certificates.iter().map(|der| Certificate::from_der(der));
        // Others are of the authorities above it; what is wrong with those is not our matter.
        let found = parsed.flatten().find(|certificate| certificate.public_key() == public);
        let certificate = found
            .ok_or(Error::Certificate { what: "the PKCS#12 holds none for its private key" })?;
        Ok(Self { certificate, private_key: key })
    }

    /// The first key and the first certificate of a PEM text, as [`to_pem`](Self::to_pem) writes it.
    ///
    /// # Errors
    /// [`Error::Key`]; [`Error::Certificate`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, Error> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem)
            .map_err(|_| Error::Key { what: "there is none in the PEM text" })?;
        let key = Zeroizing::new(key.secret_pkcs8_der().to_vec());
        let certificate = CertificateDer::from_pem_slice(pem)
            .map_err(|_| Error::Certificate { what: "there is none in the PEM text" })?;
        Self::new(Certificate::from_der(&certificate)?, key)
    }

    /// As a PKCS#12 without a password: AES-256 and SHA-256, which every tool of these ten years reads.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn to_pkcs12(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        pkcs12::write(&self.certificate, &self.private_key)
    }

    /// Key and certificate as PEM, in this order.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(pem("PRIVATE KEY", &self.private_key));
        Zeroizing::new([key.as_str(), &self.certificate.to_pem()].concat())
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The private key, PKCS#8 in DER.
    #[must_use]
    pub fn private_key(&self) -> &[u8] {
        &self.private_key
    }
}

/// The public key, as PKCS#1. The library refuses what is shorter than 2048 bits.
fn public_half(private_key: &[u8]) -> Result<Vec<u8>, Error> {
    let wrong = |_| Error::Key { what: "it is no RSA key of 2048 to 8192 bits in PKCS#8" };
    let key = KeyPair::from_pkcs8(private_key).map_err(wrong)?;
    Ok(key.public_key().as_ref().to_vec())
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.certificate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let key = Zeroizing::new(fixture::identity(0).private_key().to_vec());
        let error = Identity::new(fixture::certificate(), key).unwrap_err();
        assert!(error.to_string().contains("not the key of the certificate"), "{error}");
        let none = Identity::new(fixture::certificate(), Zeroizing::new(vec![1, 2, 3]));
        assert!(matches!(none, Err(Error::Key { .. })));
    }

    #[test]
    fn the_key_is_not_shown_by_debug_and_is_in_the_pem() {
        let identity = fixture::identity(0);
        let shown = format!("{identity:?}");
        assert!(shown.contains("CB_AzureADCertforOfflineSeeding_0"), "{shown}");
        assert!(shown.len() < 200, "{shown}");
        assert!(identity.to_pem().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert!(identity.to_pem().ends_with(&identity.certificate().to_pem()));
        assert!(!identity.certificate().to_pem().contains("PRIVATE"));
        assert_eq!(&Identity::from_pem(identity.to_pem().as_bytes()).unwrap(), identity);
        let half = identity.certificate().to_pem();
        assert!(matches!(Identity::from_pem(half.as_bytes()), Err(Error::Key { .. })));
    }
}
