//! Publish settings: subscriptions, each with a management certificate and its private key. Reads
//! schemas 1.0 and 2.0, writes 2.0. Reaches no server.

use crate::fields::{from_base64, named, to_base64};
use crate::pkcs12::Budget;
use crate::xml::{self, Element, Writer};
use crate::{Certificate, Error, Guid, HttpsUrl, Identity, MAX_BYTES, NAMESPACE};
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
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
    /// [`Error::Value`] when a name holds what XML cannot carry; [`Error::TooLarge`] when no reader
    /// would take it; [`Error::Random`].
    pub fn write(&self) -> Result<Zeroizing<String>, Error> {
        let mut writer = Writer::new();
        let ours = self.subscriptions.iter().any(|found| found.service.is_some());
        let namespace = [("xmlns:packmule", NAMESPACE)];
        writer.open(ROOT, if ours { &namespace } else { &[] })?;
        writer.open(PROFILE, &[(SCHEMA, "2.0"), ("PublishMethod", METHOD)])?;
        // One PKCS#12 for each certificate: its reader opens it once, too.
        let mut sealed = BTreeMap::new();
        for subscription in &self.subscriptions {
            let name = subscription.identity.certificate().as_der();
            let pkcs12 = match sealed.entry(name) {
                Entry::Occupied(found) => found.into_mut(),
                Entry::Vacant(place) => {
                    place.insert(to_base64(&subscription.identity.to_pkcs12()?))
                }
            };
            subscription.write(pkcs12, &mut writer)?;
        }
        let text = writer.finish();
        if text.len() > MAX_BYTES {
            return Err(Error::TooLarge { what: "more bytes", limit: MAX_BYTES });
        }
        Ok(text)
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

    fn write(&self, pkcs12: &str, writer: &mut Writer) -> Result<(), Error> {
        let id = self.id.to_string();
        let mut attributes = vec![
            ("ServiceManagementUrl", self.service_management_url.as_str()),
            ("Id", &id),
            ("Name", &self.name),
            (CERTIFICATE, pkcs12),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, identity};
    use proptest::prelude::*;

    const ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
    const URL: &str = "https://management.core.windows.net";

    fn read(text: &str) -> Result<PublishSettings, Error> {
        PublishSettings::read(text.as_bytes())
    }

    fn pkcs12(number: usize) -> String {
        to_base64(&identity(number).to_pkcs12().unwrap()).to_string()
    }

    fn profile(attributes: &str, inner: &str) -> String {
        format!(
            "<PublishData xmlns:q='{NAMESPACE}' xmlns:packmule='urn:other'>\
             <PublishProfile {attributes}>{inner}</PublishProfile></PublishData>"
        )
    }

    fn schema_2(inner: &str) -> String {
        profile("SchemaVersion='2.0'", inner)
    }

    fn subscription(attributes: &str) -> String {
        format!("<Subscription Id='{ID}' {attributes}/>")
    }

    /// A subscription of schema 2.0 that can be used.
    fn good(more: &str) -> String {
        let certificate = pkcs12(0);
        let url = format!("ServiceManagementUrl='{URL}'");
        subscription(&format!("{url} ManagementCertificate='{certificate}' {more}"))
    }

    #[test]
    fn schema_2_has_a_certificate_for_each_subscription() {
        let (first, second) = (pkcs12(0), pkcs12(1));
        let text = format!(
            r#"<?xml version="1.0" encoding="utf-8"?>
<PublishData>
  <PublishProfile SchemaVersion="2.0" PublishMethod="AzureServiceManagementAPI">
    <Subscription ServiceManagementUrl="{URL}" Id="{ID}" Name="A &amp; B" ManagementCertificate="{first}" />
    <Subscription ServiceManagementUrl="https://x/" Id="{ID}" Name="" ManagementCertificate="{second}" />
  </PublishProfile>
  <PublishProfile SchemaVersion="2.0"><Other />
    <Subscription ServiceManagementUrl="{URL}" Id="{ID}" ManagementCertificate="{first}" />
  </PublishProfile>
</PublishData>"#
        );
        let settings = read(&text).unwrap();
        assert_eq!(settings.subscriptions.len(), 3);
        assert_eq!(settings.subscriptions[0].name, "A & B");
        assert_eq!(settings.subscriptions[0].service_management_url.as_str(), URL);
        assert_eq!(&settings.subscriptions[1].identity, identity(1));
        assert_eq!(&settings.subscriptions[2].identity, identity(0));
        assert_eq!(settings.find(ID.parse().unwrap()), settings.subscriptions.first());
        assert_eq!(settings.find(Guid(0)), None);
    }

    #[test]
    fn schema_1_has_address_and_certificate_on_the_profile() {
        let two = [subscription("Name='A'"), subscription("Name='B'")].concat();
        let on_it = format!("Url='{URL}' ManagementCertificate='{}'", pkcs12(0));
        for version in ["", "SchemaVersion='1.0'"] {
            let settings = read(&profile(&format!("{version} {on_it}"), &two)).unwrap();
            assert_eq!(settings.subscriptions.len(), 2);
            assert_eq!(settings.subscriptions[1].name, "B");
            assert_eq!(&settings.subscriptions[1].identity, identity(0));
            assert_eq!(settings.subscriptions[1].service_management_url.as_str(), URL);
        }
        let mixed = read(&profile(&format!("SchemaVersion='2.0' {on_it}"), &two));
        assert!(matches!(mixed, Err(Error::Missing { .. })));
    }

    #[test]
    fn one_subscription_that_cannot_be_used_does_not_hinder_the_others() {
        let url = format!("ServiceManagementUrl='{URL}'");
        let bad = subscription(&format!("{url} ManagementCertificate='AAAA'"));
        let http = subscription("ServiceManagementUrl='http://x/'");
        let settings = read(&schema_2(
            &[&bad, &good(""), &http, "<Subscription/>"].map(String::from).concat(),
        ));
        let settings = settings.unwrap();
        assert_eq!(settings.subscriptions.len(), 1);
        let why: Vec<_> = settings.refused.iter().map(|found| found.why.to_string()).collect();
        assert_eq!(why.len(), 3, "{why:?}");
        assert!(why[0].contains("PKCS#12"), "{why:?}");
        assert_eq!(why[1], "ServiceManagementUrl must begin with https://");
        assert_eq!(why[2], "Subscription has no Id");
        assert_eq!(settings.refused[0].id, ID);
        assert!(matches!(read(&schema_2(&bad)), Err(Error::Pkcs12 { .. })));
        assert!(matches!(read(&schema_2("")), Err(Error::Missing { name: SUBSCRIPTION, .. })));
    }

    #[test]
    fn other_files_and_other_versions_are_named() {
        let error = read("<Project/>").unwrap_err().to_string();
        assert_eq!(error, "the file is no publish settings file: it begins with <Project>");
        let error = read(&profile("SchemaVersion='3.0'", "")).unwrap_err();
        assert!(error.to_string().contains("version '3.0'"), "{error}");
        assert!(read("<publishData><publishProfile/></publishData>").is_err());
    }

    #[test]
    fn many_subscriptions_with_one_certificate_cost_one() {
        let text = schema_2(&good("").repeat(200));
        let within = |rounds| PublishSettings::read_within(text.as_bytes(), Budget::of(rounds));
        assert_eq!(within(10_000).unwrap().subscriptions.len(), 200);
        assert!(matches!(within(5_000), Err(Error::Work { .. })));
        let mut settings = within(10_000).unwrap();
        let written = settings.write().unwrap();
        let again = PublishSettings::read_within(written.as_bytes(), Budget::of(10_000));
        assert_eq!(again.as_ref(), Ok(&settings));
        settings.subscriptions.extend_from_slice(&settings.subscriptions.clone());
        assert!(matches!(settings.write(), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn what_we_add_is_told_by_its_namespace_not_by_its_prefix() {
        let service = |more: &str| {
            read(&schema_2(&good(more))).map(|mut found| found.subscriptions.remove(0).service)
        };
        let ours = service(&format!("q:TenantId='{ID}' q:ClientId='{ID}'")).unwrap().unwrap();
        assert_eq!(ours.tenant.to_string(), ID);
        assert_eq!(service("packmule:TenantId='x' TenantId='y'").unwrap(), None);
        let half = service(&format!("q:TenantId='{ID}'")).unwrap_err();
        assert_eq!(half, Error::Missing { within: SUBSCRIPTION, name: "ClientId" });
    }

    #[test]
    fn a_file_without_our_additions_has_nothing_of_ours_in_it() {
        let settings = read(&schema_2(&good("Name='x'"))).unwrap();
        let text = settings.write().unwrap();
        assert!(!text.contains("packmule"), "{}", text.as_str());
        assert_eq!(read(&text).unwrap(), settings);
    }

    #[test]
    fn the_key_is_not_shown_by_debug() {
        let shown = format!("{:?}", read(&schema_2(&good(""))).unwrap());
        assert!(shown.len() < 600, "{shown}");
    }

    fn service() -> impl Strategy<Value = Option<Service>> {
        let all = (fixture::guid(), fixture::guid(), any::<bool>());
        prop::option::of(all.prop_map(|(tenant, client, own)| {
            let authority = own.then(fixture::certificate);
            Service { tenant, client, authority }
        }))
    }

    fn subscriptions() -> impl Strategy<Value = Subscription> {
        let all = (fixture::guid(), "[\\PC\t\n\r]{0,20}", 0..2_usize, service());
        all.prop_map(|(id, name, number, service)| Subscription {
            id,
            name,
            service_management_url: format!("https://host:{number}/a;b,c?d=<&").parse().unwrap(),
            identity: identity(number).clone(),
            service,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_is_written_is_read_back(
            subscriptions in prop::collection::vec(subscriptions(), 1..4)
        ) {
            let settings = PublishSettings { subscriptions, refused: Vec::new() };
            let text = settings.write().unwrap();
            prop_assert_eq!(PublishSettings::read(text.as_bytes()).unwrap(), settings);
        }

        #[test]
        fn no_bytes_break_it(bytes: Vec<u8>, inner in "[a-zA-Z='<>/ ]{0,80}") {
            crate::fuzz::publish_settings(&bytes);
            crate::fuzz::publish_settings(schema_2(&subscription(&inner)).as_bytes());
        }
    }
}
