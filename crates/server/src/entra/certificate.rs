//! X.509 certificates of applications: what is asked of them, and what they are found by. Trusts
//! none: an application's own are believed because they are registered.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// The longest certificate that is taken, in bytes of DER.
const LONGEST: usize = 16 << 10;

/// A certificate that can be used for assertions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) der: Vec<u8>,
    /// Thumbprints, as clients name certificates by.
    pub(crate) sha1: [u8; 20],
    pub(crate) sha256: [u8; 32],
    /// The subject, as text for people.
    pub(crate) subject: String,
    pub(crate) starts_at: Timestamp,
    pub(crate) ends_at: Timestamp,
    /// The public key: `RSAPublicKey` of PKCS#1.
    pub(crate) key: Vec<u8>,
}

impl Certificate {
    /// The certificate in exactly these bytes; otherwise why not, for the caller.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, String> {
        if der.len() > LONGEST {
            return Err(format!("a certificate has {LONGEST} bytes at most"));
        }
        let (rest, parsed) = x509_parser::parse_x509_certificate(der)
            .map_err(|why| format!("this is no X.509 certificate in DER: {why}"))?;
        if !rest.is_empty() {
            return Err("there are bytes after the certificate".to_owned());
        }
        let time = |at: x509_parser::time::ASN1Time| {
            Timestamp::from_second(at.timestamp()).map_err(|why| format!("its validity: {why}"))
        };
        let (starts_at, ends_at) =
            (time(parsed.validity().not_before)?, time(parsed.validity().not_after)?);
        let public = parsed.public_key();
        if !matches!(public.parsed(), Ok(x509_parser::public_key::PublicKey::RSA(_))) {
            return Err("its key is not RSA, which assertions are signed with".to_owned());
        }
        let key = public.subject_public_key.data.to_vec();
        Ok(Self {
            der: der.to_vec(),
            sha1: sha1(der),
            sha256: Sha256::digest(der).into(),
            subject: parsed.subject().to_string(),
            starts_at,
            ends_at,
            key,
        })
    }

    /// The thumbprint that people see: SHA-1 in upper case.
    pub(crate) fn thumbprint(&self) -> String {
        let mut text = String::with_capacity(40);
        for byte in self.sha1 {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02X}");
        }
        text
    }

    /// Whether it is good then, going by itself.
    pub(crate) fn is_valid(&self, now: Timestamp) -> bool {
        self.starts_at <= now && now <= self.ends_at
    }
}

/// SHA-1, which thumbprints are made of and nothing is proved by.
fn sha1(bytes: &[u8]) -> [u8; 20] {
    let mut hash = [0; 20];
    for (to, from) in hash.iter_mut().zip(digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref()) {
        *to = *from;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};

    fn der(key: &KeyPair) -> Vec<u8> {
        let params = CertificateParams::new(["host".to_owned()]).unwrap();
        params.self_signed(key).unwrap().der().to_vec()
    }

    #[test]
    fn an_rsa_certificate_is_taken_and_knows_its_thumbprint() {
        let der = der(&KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
        let certificate = Certificate::parse(&der).unwrap();
        assert_eq!(certificate.thumbprint().len(), 40);
        // FIPS 180-1, appendix A.
        assert_eq!(sha1(b"abc")[..4], [0xa9, 0x99, 0x3e, 0x36]);
        assert!(certificate.is_valid("2026-01-01T00:00:00Z".parse().unwrap()));
        assert!(!certificate.is_valid("1970-01-01T00:00:00Z".parse().unwrap()));
    }

    #[test]
    fn what_is_no_rsa_certificate_is_refused_with_a_reason() {
        let elliptic = der(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap());
        assert!(Certificate::parse(&elliptic).unwrap_err().contains("not RSA"));
        assert!(Certificate::parse(b"junk").unwrap_err().contains("no X.509"));
        assert!(Certificate::parse(&[0x30; LONGEST + 1]).unwrap_err().contains("at most"));
        let mut longer = der(&KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
        longer.push(0);
        assert!(Certificate::parse(&longer).unwrap_err().contains("after"));
    }
}
