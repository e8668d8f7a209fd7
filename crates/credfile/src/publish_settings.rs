//! Publish settings: subscriptions, each with a management certificate and its private key. Reads
//! schemas 1.0 and 2.0, writes 2.0. Reaches no server.

use crate::fields::{from_base64, named, to_base64};
use crate::pkcs12::Budget;
use crate::xml::{self, Element, Writer};
use crate::{Certificate, Error, Guid, HttpsUrl, Identity, NAMESPACE};
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::str::FromStr;
use zeroize::Zeroizing;

const ROOT: &str = "PublishData";
const PROFILE: &str = "PublishProfile";
const SUBSCRIPTION: &str = "Subscription";
const SCHEMA: &str = "SchemaVersion";
const METHOD: &str = "AzureServiceManagementAPI";
const CERTIFICATE: &str = "ManagementCertificate";

/// A publish settings file. Whoever has it can act for its subscriptions: it is a secret.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishSettings {
    /// In the order of the file.
    pub subscriptions: Vec<Subscription>,
    /// Subscriptions of the file that cannot be used. None are written.
    pub refused: Vec<Refused>,
}

/// One subscription, and what to prove oneself with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its id.
    pub id: Guid,
    /// Its name, for people.
    pub name: String,
    /// Where its management service is.
    pub service_management_url: HttpsUrl,
    /// The management certificate and its private key.
    pub identity: Identity,
    /// How to reach a server of ours. None in files of Azure's.
    pub service: Option<Service>,
}

/// What a copy computer needs to know of a server of ours, beyond its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The server's tenant.
    pub tenant: Guid,
    /// The application whose certificate is in the file.
    pub client: Guid,
    /// The authority to trust for the server's address, and no other; none for the system's own.
    pub authority: Option<Certificate>,
}

/// A subscription that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its id, as it stands in the file; may be empty.
    pub id: String,
    /// Why.
    pub why: Error,
}

impl PublishSettings {
    /// Reads a file. A subscription that cannot be used does not hinder the others.
    ///
    /// # Errors
    /// [`Error::Xml`], [`Error::TooLarge`], [`Error::Work`], [`Error::OtherFile`], [`Error::Version`]
    /// for the file as a whole; what is wrong with its first subscription, when none can be used.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        Self::read_within(bytes, Budget::of_a_file())
    }

    pub(crate) fn read_within(bytes: &[u8], budget: Budget) -> Result<Self, Error> {
        let root = xml::parse(bytes)?;
        if !root.is("", ROOT) {
            return Err(Error::OtherFile {
                wanted: "publish settings file",
                found: root.name().to_owned(),
            });
        }
        let mut identities = Identities { budget, known: BTreeMap::new() };
        let mut settings = Self::default();
        for profile in root.children(PROFILE) {
            let inherits = inherits(profile)?;
            for element in profile.children(SUBSCRIPTION) {
                match Subscription::read(element, inherits.then_some(profile), &mut identities) {
                    Ok(subscription) => settings.subscriptions.push(subscription),
                    Err(why @ Error::Work { .. }) => return Err(why),
                    Err(why) => {
                        let id = element.attribute("Id").unwrap_or_default().to_owned();
                        settings.refused.push(Refused { id, why });
                    }
                }
            }
        }
        match (settings.subscriptions.first(), settings.refused.first()) {
            (Some(_), _) => Ok(settings),
            (None, Some(refused)) => Err(refused.why.clone()),
            (None, None) => Err(Error::Missing { within: PROFILE, name: SUBSCRIPTION }),
        }
    }

    /// The file, schema 2.0.
    ///
    /// # Errors
    /// [`Error::Value`] when a name holds what XML cannot carry; [`Error::Random`].
    pub fn write(&self) -> Result<Zeroizing<String>, Error> {
        let mut writer = Writer::new();
        let ours = self.subscriptions.iter().any(|found| found.service.is_some());
        let namespace = [("xmlns:packmule", NAMESPACE)];
        writer.open(ROOT, if ours { &namespace } else { &[] })?;
        writer.open(PROFILE, &[(SCHEMA, "2.0"), ("PublishMethod", METHOD)])?;
        for subscription in &self.subscriptions {
            subscription.write(&mut writer)?;
        }
        Ok(writer.finish())
    }

    /// The subscription with that id.
    #[must_use]
    pub fn find(&self, id: Guid) -> Option<&Subscription> {
        self.subscriptions.iter().find(|found| found.id == id)
    }
}

/// Whether address and certificate may stand on the profile: schema 1.0, which need not say so.
fn inherits(profile: &Element) -> Result<bool, Error> {
    match profile.attribute(SCHEMA) {
        None | Some("1.0") => Ok(true),
        Some("2.0") => Ok(false),
        Some(version) => Err(Error::Version {
            what: "publish settings file",
            version: version.chars().take(20).collect(),
        }),
    }
}

/// What came of certificates so far, by the SHA-256 of their text: files often have one for all their
/// subscriptions.
struct Identities {
    budget: Budget,
    known: BTreeMap<[u8; 32], Result<Identity, Error>>,
}

impl Identities {
    fn open(&mut self, text: &str) -> Result<Identity, Error> {
        let name = sha2::Sha256::digest(text).into();
        if let Some(known) = self.known.get(&name) {
            return known.clone();
        }
        let opened = from_base64(CERTIFICATE, text)
            .and_then(|der| Identity::from_pkcs12_within(&der, &mut self.budget));
        self.known.insert(name, opened.clone());
        opened
    }
}

impl Subscription {
    fn read(
        element: &Element,
        profile: Option<&Element>,
        identities: &mut Identities,
    ) -> Result<Self, Error> {
        let url = element
            .attribute("ServiceManagementUrl")
            .or_else(|| profile.and_then(|profile| profile.attribute("Url")));
        let certificate = element
            .attribute(CERTIFICATE)
            .or_else(|| profile.and_then(|profile| profile.attribute(CERTIFICATE)));
        Ok(Self {
            id: field("Id", element.attribute("Id"))?,
            name: element.attribute("Name").unwrap_or_default().to_owned(),
            service_management_url: field("ServiceManagementUrl", url)?,
            identity: identities.open(required(CERTIFICATE, certificate)?)?,
            service: Service::read(element)?,
        })
    }

    fn write(&self, writer: &mut Writer) -> Result<(), Error> {
        let id = self.id.to_string();
        let certificate = to_base64(&self.identity.to_pkcs12()?);
        let mut attributes = vec![
            ("ServiceManagementUrl", self.service_management_url.as_str()),
            ("Id", &id),
            ("Name", &self.name),
            (CERTIFICATE, certificate.as_str()),
        ];
        let Some(service) = &self.service else { return writer.empty(SUBSCRIPTION, &attributes) };
        let (tenant, client) = (service.tenant.to_string(), service.client.to_string());
        attributes.extend([("packmule:TenantId", tenant.as_str()), ("packmule:ClientId", &client)]);
        let authority = service.authority.as_ref().map(|found| to_base64(found.as_der()));
        let authority = authority.as_ref().map(|text| ("packmule:Authority", text.as_str()));
        attributes.extend(authority);
        writer.empty(SUBSCRIPTION, &attributes)
    }
}

impl Service {
    fn read(element: &Element) -> Result<Option<Self>, Error> {
        let tenant = element.own_attribute("TenantId");
        let client = element.own_attribute("ClientId");
        let authority = element.own_attribute("Authority");
        if tenant.or(client).or(authority).is_none() {
            return Ok(None);
        }
        let authority =
            authority.map(|text| Certificate::from_der(&from_base64("Authority", text)?));
        Ok(Some(Self {
            tenant: field("TenantId", tenant)?,
            client: field("ClientId", client)?,
            authority: authority.transpose()?,
        }))
    }
}

fn required<'a>(name: &'static str, value: Option<&'a str>) -> Result<&'a str, Error> {
    value.ok_or(Error::Missing { within: SUBSCRIPTION, name })
}

fn field<T: FromStr<Err = Error>>(name: &'static str, value: Option<&str>) -> Result<T, Error> {
    named(name, required(name, value)?)
}
