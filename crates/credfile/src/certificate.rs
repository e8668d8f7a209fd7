//! A certificate, as bytes that are known to be one. Says nothing of whom it can be believed by.

use crate::Error;
use crate::fields::{Thumbprint, to_base64, upper_hex};
use jiff::Timestamp;
use sha1::Digest as _;
use std::fmt;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// An X.509 certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    subject: String,
    public_key: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl Certificate {
    /// The certificate with these bytes (DER), all of them.
    ///
    /// # Errors
    /// [`Error::Certificate`].
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        let wrong = |what| Error::Certificate { what };
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|_| wrong("it is not X.509 in DER"))?;
        if !rest.is_empty() {
            return Err(wrong("more bytes follow it"));
        }
        let time = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|_| wrong("its time is out of range"))
        };
        let validity = parsed.validity();
        Ok(Self {
            subject: parsed.subject().to_string(),
            public_key: parsed.public_key().subject_public_key.data.to_vec(),
            not_before: time(validity.not_before)?,
            not_after: time(validity.not_after)?,
            der: der.to_vec(),
        })
    }

    /// The bytes of a `.cer` file. No private key is in them.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// The same as PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    /// The SHA-1 by which Azure's tools name it.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        Thumbprint(sha1::Sha1::digest(&self.der).into())
    }

    /// The SHA-256, in upper case: 64 digits.
    #[must_use]
    pub fn thumbprint_sha256(&self) -> String {
        upper_hex(&sha2::Sha256::digest(&self.der))
    }

    /// Whose it is, like `CN=…, O=…`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Good from then on.
    #[must_use]
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Good until then.
    #[must_use]
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// The key in it, as its algorithm writes it: for RSA, PKCS#1.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public_key
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, {})", self.subject, self.thumbprint())
    }
}

/// RFC 7468: lines of 64 letters.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = to_base64(der);
    // As long as it will be: growing would leave copies of a key behind.
    let mut pem = String::with_capacity(text.len() + text.len() / 64 + 2 * label.len() + 64);
    for part in ["-----BEGIN ", label, "-----\n"] {
        pem.push_str(part);
    }
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(64).unwrap_or((rest, ""));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    for part in ["-----END ", label, "-----\n"] {
        pem.push_str(part);
    }
    pem
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use proptest::prelude::*;

    #[test]
    fn a_certificate_is_all_of_the_bytes_or_none() {
        let der = fixture::certificate().as_der().to_vec();
        assert!(Certificate::from_der(&der[..der.len() - 1]).is_err());
        assert!(Certificate::from_der(&[der.as_slice(), &[0]].concat()).is_err());
        assert!(Certificate::from_der(&[]).is_err());
        assert_eq!(Certificate::from_der(&der).unwrap(), fixture::certificate());
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(at in 0..700_usize, byte: u8, bytes: Vec<u8>) {
            let mut der = fixture::certificate().as_der().to_vec();
            if let Some(found) = der.get_mut(at) {
                *found = byte;
            }
            let _ = (Certificate::from_der(&der), Certificate::from_der(&bytes));
        }
    }
}
