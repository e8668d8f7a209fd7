//! The key that access tokens are signed with: RSA, in a private file of the data folder, made at
//! first start. Knows nothing of what a token says.

use crate::Error;
use crate::data::DataFolder;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::PKCS_RSA_SHA256;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fmt;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::RSAPublicKey;

const FILE: &str = "tls/token.key";

/// The key that access tokens are signed with.
pub(crate) struct TokenKey {
    pair: KeyPair,
    kid: String,
    jwk: Jwk,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({})", self.kid)
    }
}

/// The public half, as a JSON web key (RFC 7517).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Jwk {
    kty: &'static str,
    r#use: &'static str,
    alg: &'static str,
    kid: String,
    n: String,
    e: String,
}

impl TokenKey {
    /// The key in the data folder, made where there is none. The folder `tls` is there already.
    pub(crate) fn open(data: &DataFolder) -> Result<Self, Error> {
        let pem = match data.read(FILE)? {
            Some(pem) => pem,
            None => {
                let key = rcgen::KeyPair::generate_for(&PKCS_RSA_SHA256).map_err(failed)?;
                let pem = key.serialize_pem().into_bytes();
                data.replace(FILE, &pem)?;
                pem
            }
        };
        let damaged = |why: String| Error::Damaged { what: FILE.to_owned(), why };
        let der =
            PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|why| damaged(why.to_string()))?;
        let pair = KeyPair::from_pkcs8(der.secret_pkcs8_der())
            .map_err(|why| damaged(format!("it is no RSA key: {why}")))?;
        let public = pair.public_key().as_ref();
        let (_, rsa) = RSAPublicKey::from_der(public).map_err(|why| damaged(why.to_string()))?;
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(without_zeros(bytes));
        let (n, e) = (number(rsa.modulus), number(rsa.exponent));
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(public));
        let jwk = Jwk { kty: "RSA", r#use: "sig", alg: "RS256", kid: kid.clone(), n, e };
        Ok(Self { pair, kid, jwk })
    }

    /// The key's id, in tokens and in the list of keys.
    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    pub(crate) fn jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// A signature as RS256 has it.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(failed)?;
        Ok(signature)
    }

    /// Whether that is such a signature, of this key.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let public = self.pair.public_key().as_ref();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public)
            .verify(message, signature)
            .is_ok()
    }
}

fn failed<E: std::error::Error + Send + Sync + 'static>(cause: E) -> Error {
    Error::Identity { what: format!("making or using {FILE}"), cause: Box::new(cause) }
}

/// A number of DER without what keeps it from being negative (RFC 7518, 2: no leading zeros).
fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stays_the_same_and_knows_its_own_signatures() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        data.folder("tls").unwrap();
        let key = TokenKey::open(&data).unwrap();
        let again = TokenKey::open(&data).unwrap();
        assert_eq!(key.jwk(), again.jwk());
        let signature = key.sign(b"message").unwrap();
        assert!(again.verifies(b"message", &signature));
        assert!(!again.verifies(b"messagf", &signature));
        assert_eq!((key.jwk().e.as_str(), key.jwk().n.len()), ("AQAB", 342));
        assert!(!format!("{key:?}").contains(&key.jwk().n));
    }

    #[test]
    fn a_damaged_key_is_said_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::open(folder.path()).unwrap();
        data.folder("tls").unwrap();
        data.replace(FILE, b"not a key").unwrap();
        assert!(matches!(TokenKey::open(&data), Err(Error::Damaged { .. })));
        assert_eq!(data.read(FILE).unwrap().unwrap(), b"not a key");
    }
}
