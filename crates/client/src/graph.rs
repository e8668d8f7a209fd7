//! The part of Graph that registers applications and their certificates. A private key never goes there.

use crate::{Client, Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use ureq::http::Method;
use ureq::tls::{PemItem, parse_pem};
use url::Url;
use wire::List;

/// A registered application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// Its name, for people.
    pub name: String,
    /// What it calls itself when it calls.
    pub client_id: String,
    /// Graph's id of it.
    pub object_id: String,
    /// Graph's id of its service principal, which roles are given to.
    pub service_principal: Option<String>,
    /// When it was registered.
    pub created_at: String,
    /// Its certificates.
    pub certificates: Vec<AppCertificate>,
}

/// A certificate of an application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppCertificate {
    /// Graph's id of it.
    pub key_id: String,
    /// Its name, or its subject.
    pub name: String,
    /// What it is told from others by: its SHA-1 thumbprint, if nobody said another.
    pub thumbprint: String,
    /// From when on it is good.
    pub starts_at: String,
    /// Until when.
    pub ends_at: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    id: String,
    app_id: String,
    display_name: String,
    created_date_time: String,
    #[serde(default)]
    key_credentials: Vec<Key>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    key_id: String,
    display_name: Option<String>,
    custom_key_identifier: Option<String>,
    start_date_time: String,
    end_date_time: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Principal {
    id: String,
    app_id: String,
}

impl Answered {
    fn application(self, principals: &[Principal]) -> Application {
        let own = principals.iter().find(|principal| principal.app_id == self.app_id);
        let certificate = |key: Key| AppCertificate {
            key_id: key.key_id,
            name: key.display_name.unwrap_or_default(),
            thumbprint: key.custom_key_identifier.unwrap_or_default(),
            starts_at: key.start_date_time,
            ends_at: key.end_date_time,
        };
        Application {
            service_principal: own.map(|own| own.id.clone()),
            name: self.display_name,
            client_id: self.app_id,
            object_id: self.id,
            created_at: self.created_date_time,
            certificates: self.key_credentials.into_iter().map(certificate).collect(),
        }
    }
}

/// The certificates in a file's bytes, as DER: of PEM, where keys may be beside them, or of one in DER.
/// Empty where there is none.
#[must_use]
pub fn certificates(file: &[u8]) -> Vec<Vec<u8>> {
    if file.first() == Some(&0x30) {
        return vec![file.to_vec()];
    }
    let items = parse_pem(file).filter_map(std::result::Result::ok);
    let der = items.filter_map(|item| match item {
        PemItem::Certificate(certificate) => Some(certificate.der().to_vec()),
        _ => None,
    });
    der.collect()
}

const NOTHING: Option<&()> = None;

impl Client {
    fn graph(&self, segments: &[&str]) -> Url {
        self.url(&[&["v1.0"], segments].concat(), false)
    }

    /// Every application that these credentials may see.
    ///
    /// # Errors
    /// [`Error::Azure`], as everywhere here.
    pub fn applications(&self) -> Result<Vec<Application>> {
        let url = self.graph(&["servicePrincipals"]);
        let principals: List<Principal> = self.azure(Method::GET, &url, None, NOTHING)?.json()?;
        let url = self.graph(&["applications"]);
        let all: List<Answered> = self.azure(Method::GET, &url, None, NOTHING)?.json()?;
        Ok(all.value.into_iter().map(|one| one.application(&principals.value)).collect())
    }

    /// One application, by its object id.
    ///
    /// # Errors
    /// There is none.
    pub fn application(&self, object_id: &str) -> Result<Application> {
        let found = self.applications()?.into_iter().find(|one| one.object_id == object_id);
        found.ok_or_else(|| Error::Azure {
            status: 404,
            code: "Request_ResourceNotFound".to_owned(),
            message: format!("there is no application {object_id}"),
            request: None,
        })
    }

    /// Registers an application, with the service principal that roles are given to.
    ///
    /// # Errors
    /// What the server refuses, such as a name of no or too many characters.
    pub fn create_application(&self, name: &str) -> Result<Application> {
        let (url, body) = (self.graph(&["applications"]), json!({"displayName": name}));
        let made: Answered = self.azure(Method::POST, &url, None, Some(&body))?.json()?;
        let (url, body) = (self.graph(&["servicePrincipals"]), json!({"appId": made.app_id}));
        let own: Principal = self.azure(Method::POST, &url, None, Some(&body))?.json()?;
        Ok(made.application(&[own]))
    }

    /// Deletes an application; its tokens and roles end at once.
    ///
    /// # Errors
    /// It is the server's own.
    pub fn delete_application(&self, application: &Application) -> Result<()> {
        let url = self.graph(&["applications", &application.object_id]);
        self.azure(Method::DELETE, &url, None, NOTHING).map(drop)
    }

    /// Adds a certificate to those that the application has. Of two who do this at the same moment, one may
    /// undo what the other has done: Graph replaces them all.
    ///
    /// # Errors
    /// It is none, or none that is taken.
    pub fn add_certificate(&self, to: &Application, der: &[u8]) -> Result<Application> {
        let mut keys = kept(to, None);
        let key = STANDARD.encode(der);
        keys.push(json!({"type": "AsymmetricX509Cert", "usage": "Verify", "key": key}));
        self.set_certificates(to, &keys)
    }

    /// Takes a certificate away from an application.
    ///
    /// # Errors
    /// As [`add_certificate`](Self::add_certificate).
    pub fn remove_certificate(&self, from: &Application, key_id: &str) -> Result<Application> {
        self.set_certificates(from, &kept(from, Some(key_id)))
    }

    fn set_certificates(&self, of: &Application, keys: &[Value]) -> Result<Application> {
        let url = self.graph(&["applications", &of.object_id]);
        let body = json!({"keyCredentials": keys});
        self.azure(Method::PATCH, &url, None, Some(&body))?;
        self.application(&of.object_id)
    }
}

/// All but that one, in the words that say that they stay.
fn kept(of: &Application, without: Option<&str>) -> Vec<Value> {
    let stay = |one: &&AppCertificate| without != Some(one.key_id.as_str());
    of.certificates.iter().filter(stay).map(|one| json!({"keyId": one.key_id})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_file_only_certificates_are_taken() {
        let pem = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n\
                   -----BEGIN CERTIFICATE-----\nMAECAwQ=\n-----END CERTIFICATE-----\n";
        assert_eq!(certificates(pem.as_bytes()), [STANDARD.decode("MAECAwQ=").unwrap()]);
        assert_eq!(certificates(&[0x30, 1]), [vec![0x30, 1]]);
        assert!(certificates(b"nothing").is_empty());
    }
}
