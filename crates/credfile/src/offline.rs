//! `OfflineApplicationParams.xml`: the application that a source server seeds with. Azure's format is
//! not public; this one is ours. Holds no secret.

use crate::fields::{Thumbprint, from_base64, named, plain, to_base64};
use crate::xml::{self, Element, Writer};
use crate::{Certificate, Error, Guid, HttpsUrl, NAMESPACE};
use model::AccountName;
use std::str::FromStr;

const ROOT: &str = "OfflineApplicationParams";
const VERSION: &str = "1";

/// What identifies the application and its certificate, and where its service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfflineApplicationParams {
    /// The subscription to seed into.
    pub subscription: Guid,
    /// Its tenant.
    pub tenant: Guid,
    /// The application.
    pub client: Guid,
    /// The application's name, for people: `AzureOfflineBackup_<user id>`.
    pub display_name: String,
    /// Where tokens come from.
    pub authority: HttpsUrl,
    /// The resource manager.
    pub resource_manager: HttpsUrl,
    /// Graph.
    pub graph: HttpsUrl,
    /// The storage account as a resource (`/subscriptions/…`), once it is known.
    pub storage_account: Option<String>,
    /// The application's certificate, which lies on the source server with its key.
    pub certificate_thumbprint: Thumbprint,
    /// Its subject.
    pub certificate_subject: String,
    /// The authority to trust for the addresses, and no other; none for the system's own.
    pub authority_certificate: Option<Certificate>,
}

impl OfflineApplicationParams {
    /// The name of the file that the certificate utility writes first.
    pub const FILE_NAME: &str = "OfflineApplicationParams.xml";

    /// The name of the file for one storage account.
    #[must_use]
    pub fn file_name(account: &AccountName) -> String {
        format!("OfflineApplicationParams_{account}.xml")
    }

    /// Reads a file. Elements that it does not know are ignored.
    ///
    /// # Errors
    /// [`Error::Xml`], [`Error::TooLarge`], [`Error::OtherFile`], [`Error::Version`],
    /// [`Error::Missing`], [`Error::Value`], [`Error::Certificate`].
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let root = xml::parse(bytes)?;
        if !root.is(NAMESPACE, ROOT) {
            let found = root.name().to_owned();
            return Err(Error::OtherFile { wanted: Self::FILE_NAME, found });
        }
        match root.attribute("Version") {
            Some(VERSION) => {}
            other => {
                let version = other.unwrap_or_default().chars().take(20).collect();
                return Err(Error::Version { what: Self::FILE_NAME, version });
            }
        }
        let certificate = |text| Certificate::from_der(&from_base64("AuthorityCertificate", text)?);
        Ok(Self {
            subscription: field(&root, "SubscriptionId")?,
            tenant: field(&root, "TenantId")?,
            client: field(&root, "ClientId")?,
            display_name: required(&root, "DisplayName")?.to_owned(),
            authority: field(&root, "Authority")?,
            resource_manager: field(&root, "ResourceManagerEndpoint")?,
            graph: field(&root, "GraphEndpoint")?,
            storage_account: optional(&root, "StorageAccountId")?.map(resource).transpose()?,
            certificate_thumbprint: field(&root, "CertificateThumbprint")?,
            certificate_subject: required(&root, "CertificateSubject")?.to_owned(),
            authority_certificate: optional(&root, "AuthorityCertificate")?
                .map(certificate)
                .transpose()?,
        })
    }

    /// The file.
    ///
    /// # Errors
    /// [`Error::Value`] when a text is empty, or holds what the file cannot carry.
    pub fn write(&self) -> Result<String, Error> {
        let mut writer = Writer::new();
        writer.open(ROOT, &[("xmlns", NAMESPACE), ("Version", VERSION)])?;
        writer.leaf("SubscriptionId", &self.subscription.to_string())?;
        writer.leaf("TenantId", &self.tenant.to_string())?;
        writer.leaf("ClientId", &self.client.to_string())?;
        writer.leaf("DisplayName", plain("DisplayName", &self.display_name)?)?;
        writer.leaf("Authority", self.authority.as_str())?;
        writer.leaf("ResourceManagerEndpoint", self.resource_manager.as_str())?;
        writer.leaf("GraphEndpoint", self.graph.as_str())?;
        if let Some(account) = &self.storage_account {
            writer.leaf("StorageAccountId", &resource(account)?)?;
        }
        writer.leaf("CertificateThumbprint", &self.certificate_thumbprint.to_string())?;
        let subject = plain("CertificateSubject", &self.certificate_subject)?;
        writer.leaf("CertificateSubject", subject)?;
        if let Some(certificate) = &self.authority_certificate {
            writer.leaf("AuthorityCertificate", &to_base64(certificate.as_der()))?;
        }
        Ok(writer.finish().to_string())
    }
}

/// A resource's id in the resource manager.
fn resource(text: &str) -> Result<String, Error> {
    let prefix = text.get(.."/subscriptions/".len());
    let begins = prefix.is_some_and(|start| start.eq_ignore_ascii_case("/subscriptions/"));
    if !begins || text.trim() != text {
        return Err(Error::value("StorageAccountId", "must begin with /subscriptions/"));
    }
    Ok(text.to_owned())
}

fn optional<'a>(root: &'a Element, name: &'static str) -> Result<Option<&'a str>, Error> {
    Ok(root.child(name)?.map(Element::text).filter(|text| !text.is_empty()))
}

fn required<'a>(root: &'a Element, name: &'static str) -> Result<&'a str, Error> {
    optional(root, name)?.ok_or(Error::Missing { within: ROOT, name })
}

fn field<T: FromStr<Err = Error>>(root: &Element, name: &'static str) -> Result<T, Error> {
    named(name, required(root, name)?)
}
