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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use proptest::prelude::*;

    fn params() -> OfflineApplicationParams {
        OfflineApplicationParams {
            subscription: Guid(1),
            tenant: Guid(2),
            client: Guid(3),
            display_name: "AzureOfflineBackup_7".into(),
            authority: "https://host:8443/".parse().unwrap(),
            resource_manager: "https://host:8443".parse().unwrap(),
            graph: "https://host:8443".parse().unwrap(),
            storage_account: Some("/subscriptions/1/storageAccounts/a".into()),
            certificate_thumbprint: Thumbprint([0xab; 20]),
            certificate_subject: "CN=CB_AzureADCertforOfflineSeeding_7".into(),
            authority_certificate: None,
        }
    }

    #[test]
    fn the_file_is_as_it_is_documented() {
        let expected = r#"<?xml version="1.0" encoding="utf-8"?>
<OfflineApplicationParams
  xmlns="urn:packmule:files:1"
  Version="1">
  <SubscriptionId>00000000-0000-0000-0000-000000000001</SubscriptionId>
  <TenantId>00000000-0000-0000-0000-000000000002</TenantId>
  <ClientId>00000000-0000-0000-0000-000000000003</ClientId>
  <DisplayName>AzureOfflineBackup_7</DisplayName>
  <Authority>https://host:8443/</Authority>
  <ResourceManagerEndpoint>https://host:8443</ResourceManagerEndpoint>
  <GraphEndpoint>https://host:8443</GraphEndpoint>
  <StorageAccountId>/subscriptions/1/storageAccounts/a</StorageAccountId>
  <CertificateThumbprint>ABABABABABABABABABABABABABABABABABABABAB</CertificateThumbprint>
  <CertificateSubject>CN=CB_AzureADCertforOfflineSeeding_7</CertificateSubject>
</OfflineApplicationParams>
"#;
        assert_eq!(params().write().unwrap(), expected);
    }

    #[test]
    fn what_is_unknown_is_ignored_but_for_the_version() {
        let text = params().write().unwrap();
        let read = |from: &str, to: &str| {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            OfflineApplicationParams::read(changed.as_bytes())
        };
        let version = "Version=\"1\"";
        let newer = "<New><TenantId>1</TenantId></New><TenantId>";
        assert_eq!(read("<TenantId>", newer), Ok(params()));
        let foreign = "<TenantId xmlns='urn:x'>1</TenantId><TenantId>";
        assert_eq!(read("<TenantId>", foreign), Ok(params()));
        assert_eq!(read(version, "Version='1' More='2'"), Ok(params()));
        let said = |to| read(version, to).unwrap_err().to_string();
        assert!(said("Version='2'").contains("version '2'"));
        assert!(said("").contains("version ''"));
        let other = read("urn:packmule:files:1", "urn:packmule:files:2").unwrap_err();
        assert!(matches!(other, Error::OtherFile { .. }));
        let missing = read("ClientId>", "Client>").unwrap_err();
        assert_eq!(missing.to_string(), "OfflineApplicationParams has no ClientId");
        let wrong = read("/subscriptions/1", "subscriptions/1").unwrap_err();
        assert!(matches!(wrong, Error::Value { name: "StorageAccountId", .. }));
    }

    #[test]
    fn the_file_of_an_account_is_named_after_it() {
        let name = OfflineApplicationParams::file_name(&"seedacct01".parse().unwrap());
        assert_eq!(name, "OfflineApplicationParams_seedacct01.xml");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            ids in [fixture::guid(), fixture::guid(), fixture::guid()],
            texts in [fixture::text(), fixture::text(), fixture::text()],
            print: [u8; 20],
            account: bool,
            own: bool,
        ) {
            let [subscription, tenant, client] = ids;
            let [display_name, certificate_subject, resource] = texts;
            let written = OfflineApplicationParams {
                subscription, tenant, client, display_name, certificate_subject,
                storage_account: account.then(|| format!("/Subscriptions/{resource}")),
                certificate_thumbprint: Thumbprint(print),
                authority_certificate: own.then(fixture::certificate),
                ..params()
            };
            let text = written.write().unwrap();
            prop_assert_eq!(OfflineApplicationParams::read(text.as_bytes()).unwrap(), written);
        }

        #[test]
        fn no_bytes_break_it(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
            crate::fuzz::offline_params(&bytes);
            let mut changed = params().write().unwrap().into_bytes();
            *at.get_mut(&mut changed) = byte;
            crate::fuzz::offline_params(&changed);
        }
    }
}
