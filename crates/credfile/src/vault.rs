//! Vault credentials: what a source server registers itself with. Does not say for how long they are
//! good: that is the service's matter.

use crate::fields::{from_base64, named, plain, to_base64};
use crate::pkcs12::{self, Budget};
use crate::xml::{self, Element, Writer};
use crate::{Certificate, Error, Guid, HttpsUrl, Identity, NAMESPACE};
use jiff::{Timestamp, tz::TimeZone};
use model::VaultName;
use std::str::FromStr;
use zeroize::Zeroizing;

const ROOT: &str = "RSBackupVaultAADCreds";
const VERSION: &str = "2.0";
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
const SCHEMA: &str =
    "http://schemas.datacontract.org/2004/07/Microsoft.Azure.Portal.RecoveryServices.Models.Common";

/// The link whose address is that of a server of ours.
const OWN_LINK: &str = "Packmule";

/// An element's name and text; nil without one.
type Field = (&'static str, Option<Zeroizing<String>>);

/// A vault credentials file. A secret, when [`ManagementCert`] has a private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultCredentials {
    /// The vault's subscription.
    pub subscription: Guid,
    /// The vault.
    pub vault: VaultName,
    /// What to prove oneself with.
    pub management_cert: ManagementCert,
    /// The vault's number.
    pub resource_id: i64,
    /// Its resource group.
    pub resource_group: String,
    /// Where it is.
    pub location: String,
    /// Where tokens come from.
    pub aad_authority: HttpsUrl,
    /// The tenant to ask there.
    pub aad_tenant: Guid,
    /// What tokens are to be for, without `/.default`.
    pub aad_audience: String,
    /// The application that the certificate belongs to.
    pub service_principal: Option<Guid>,
    /// Where servers register.
    pub id_mgmt_endpoint: Option<HttpsUrl>,
    /// Ours: the server's address. It stands among the agent's links.
    pub endpoint: Option<HttpsUrl>,
    /// The other links, which lead people to pages.
    pub agent_links: Vec<AgentLink>,
    /// Whether the vault is reached through private endpoints, in Azure's word.
    pub private_endpoint_state: Option<String>,
    /// Ours: the authority to trust for the addresses, and no other; none for the system's own.
    pub authority: Option<Certificate>,
}

/// What a vault is proven one's own with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManagementCert {
    /// With the private key; older files and the portal's.
    Identity(Identity),
    /// Without it, which then lies where the file was asked for.
    Certificate(Certificate),
}

/// A link with a name. Azure's lead to pages, some of them with `http`; nothing here follows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentLink {
    /// Its name: without comma and semicolon, and not the one of ours.
    pub name: String,
    /// The address, as it stands there: without semicolon.
    pub url: String,
}

impl VaultCredentials {
    /// Reads a file.
    ///
    /// # Errors
    /// Anything but [`Error::Making`].
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        Self::read_within(bytes, &mut Budget::of_a_file())
    }

    pub(crate) fn read_within(bytes: &[u8], budget: &mut Budget) -> Result<Self, Error> {
        let root = xml::parse(bytes)?;
        if !root.is(SCHEMA, ROOT) {
            let found = root.name().to_owned();
            return Err(Error::OtherFile { wanted: "vault credentials file for backup", found });
        }
        let version = required(&root, "Version")?;
        if version != VERSION {
            let version = version.chars().take(20).collect();
            return Err(Error::Version { what: "vault credentials file", version });
        }
        if !required(&root, "ResourceType")?.eq_ignore_ascii_case("vaults") {
            return Err(Error::value("ResourceType", "is not 'Vaults'"));
        }
        let links = links(optional(&root, "AgentLinks")?.unwrap_or_default())?;
        let (endpoint, agent_links) = links;
        Ok(Self {
            subscription: field(&root, "SubscriptionId")?,
            vault: name(required(&root, "ResourceName")?)?,
            management_cert: ManagementCert::read(required(&root, "ManagementCert")?, budget)?,
            resource_id: number(required(&root, "ResourceId")?)?,
            resource_group: required(&root, "ResourceGroup")?.to_owned(),
            location: required(&root, "Location")?.to_owned(),
            aad_authority: field(&root, "AadAuthority")?,
            aad_tenant: field(&root, "AadTenantId")?,
            aad_audience: required(&root, "AadAudience")?.to_owned(),
            service_principal: optional_field(&root, "ServicePrincipalClientId")?,
            id_mgmt_endpoint: optional_field(&root, "IdMgmtRestEndpoint")?,
            endpoint,
            agent_links,
            private_endpoint_state: optional(&root, "PrivateEndpointStateForBackup")?
                .map(str::to_owned),
            authority: authority(&root)?,
        })
    }

    /// The file.
    ///
    /// # Errors
    /// [`Error::Value`] when a text holds what the file cannot carry; [`Error::Random`].
    pub fn write(&self) -> Result<Zeroizing<String>, Error> {
        let authority = self.authority.as_ref().map(|found| to_base64(found.as_der()));
        let mut attributes = vec![("xmlns:i", INSTANCE), ("xmlns", SCHEMA)];
        if let Some(authority) = &authority {
            attributes.extend([("xmlns:packmule", NAMESPACE), ("packmule:Authority", authority)]);
        }
        let mut writer = Writer::new();
        writer.open(ROOT, &attributes)?;
        for (name, value) in self.fields()? {
            match value {
                Some(value) => writer.leaf(name, &value)?,
                None => writer.empty(name, &[("i:nil", "true")])?,
            }
        }
        Ok(writer.finish())
    }

    /// All children, in the order that Azure's serializer asks for.
    fn fields(&self) -> Result<[Field; 16], Error> {
        let some = |text: &dyn ToString| Some(Zeroizing::new(text.to_string()));
        let free = |name, text: &str| plain(name, text).map(|text| some(&text));
        let state = self.private_endpoint_state.as_deref();
        let state = state.map(|text| free("PrivateEndpointStateForBackup", text)).transpose()?;
        Ok([
            ("Version", some(&VERSION)),
            ("SubscriptionId", some(&self.subscription)),
            ("ResourceType", some(&"Vaults")),
            ("ResourceName", some(&self.vault)),
            ("ManagementCert", Some(self.management_cert.to_base64()?)),
            ("ResourceId", some(&self.resource_id)),
            ("ResourceGroup", free("ResourceGroup", &self.resource_group)?),
            ("Location", free("Location", &self.location)?),
            ("ProviderNamespace", some(&"Microsoft.RecoveryServices")),
            ("AadAuthority", some(&self.aad_authority)),
            ("AadTenantId", some(&self.aad_tenant)),
            ("AadAudience", free("AadAudience", &self.aad_audience)?),
            ("ServicePrincipalClientId", self.service_principal.and_then(|id| some(&id))),
            ("IdMgmtRestEndpoint", self.id_mgmt_endpoint.as_ref().and_then(|url| some(url))),
            ("AgentLinks", self.links()?.map(Zeroizing::new)),
            ("PrivateEndpointStateForBackup", state.flatten()),
        ])
    }

    /// The name that Azure gives the file, with the day in UTC:
    /// `vault_Wed Nov 25 2026.VaultCredentials`.
    #[must_use]
    pub fn file_name(vault: &VaultName, day: Timestamp) -> String {
        let day = day.to_zoned(TimeZone::UTC).strftime("%a %b %d %Y").to_string();
        format!("{vault}_{day}.VaultCredentials")
    }

    fn links(&self) -> Result<Option<String>, Error> {
        let own = self.endpoint.iter().map(|url| (OWN_LINK, url.as_str()));
        let others = self.agent_links.iter().map(|link| (link.name.as_str(), link.url.as_str()));
        if others.clone().any(|(name, url)| !is_link(name, url)) {
            return Err(Error::value("AgentLinks", "cannot carry a link like this one"));
        }
        let all: Vec<String> =
            own.chain(others).map(|(name, url)| format!("{name},{url}")).collect();
        if all.iter().any(|link| link.contains(';')) {
            return Err(Error::value("AgentLinks", "cannot carry a semicolon"));
        }
        Ok(Some(all.join(";")).filter(|text| !text.is_empty()))
    }
}

/// Whether it comes back as it is, as a link that is not ours.
fn is_link(name: &str, url: &str) -> bool {
    let trimmed = name.trim() == name && url.trim() == url;
    trimmed && !name.is_empty() && name != OWN_LINK && !name.contains(',')
}

impl ManagementCert {
    /// The certificate, with or without its key.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        match self {
            Self::Identity(identity) => identity.certificate(),
            Self::Certificate(certificate) => certificate,
        }
    }

    fn read(text: &str, budget: &mut Budget) -> Result<Self, Error> {
        let der = from_base64("ManagementCert", text)?;
        if pkcs12::looks_like(&der) {
            return Identity::from_pkcs12_within(&der, budget).map(Self::Identity);
        }
        Certificate::from_der(&der).map(Self::Certificate)
    }

    fn to_base64(&self) -> Result<Zeroizing<String>, Error> {
        match self {
            Self::Identity(identity) => Ok(to_base64(&identity.to_pkcs12()?)),
            Self::Certificate(certificate) => Ok(to_base64(certificate.as_der())),
        }
    }
}

/// `name,url;name,url`: the address of ours, and the others.
fn links(text: &str) -> Result<(Option<HttpsUrl>, Vec<AgentLink>), Error> {
    let wrong = |rule: &str| Error::value("AgentLinks", rule);
    let (mut endpoint, mut others) = (None, Vec::new());
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, url) = part.split_once(',').ok_or_else(|| wrong("is not 'name,address;…'"))?;
        let (name, url) = (name.trim(), url.trim());
        if name.is_empty() {
            return Err(wrong("has a link without a name"));
        }
        if name != OWN_LINK {
            others.push(AgentLink { name: name.to_owned(), url: url.to_owned() });
        } else if endpoint.replace(named("AgentLinks", url)?).is_some() {
            return Err(wrong("has two addresses of a server"));
        }
    }
    Ok((endpoint, others))
}

fn authority(root: &Element) -> Result<Option<Certificate>, Error> {
    let read = |text| Certificate::from_der(&from_base64("Authority", text)?);
    root.own_attribute("Authority").map(read).transpose()
}

fn name(text: &str) -> Result<VaultName, Error> {
    text.parse().map_err(|cause: model::NameError| {
        Error::value("ResourceName", format!("cannot be used: {cause}"))
    })
}

fn number(text: &str) -> Result<i64, Error> {
    text.parse().map_err(|_| Error::value("ResourceId", "is not a number"))
}

/// Nothing said, nil and empty are the same to us.
fn optional<'a>(root: &'a Element, name: &'static str) -> Result<Option<&'a str>, Error> {
    let child = root.child(name)?;
    let said =
        child.filter(|child| !matches!(child.attribute_in(INSTANCE, "nil"), Some("true" | "1")));
    Ok(said.map(Element::text).filter(|text| !text.is_empty()))
}

fn required<'a>(root: &'a Element, name: &'static str) -> Result<&'a str, Error> {
    optional(root, name)?.ok_or(Error::Missing { within: ROOT, name })
}

fn field<T: FromStr<Err = Error>>(root: &Element, name: &'static str) -> Result<T, Error> {
    named(name, required(root, name)?)
}

fn optional_field<T: FromStr<Err = Error>>(
    root: &Element,
    name: &'static str,
) -> Result<Option<T>, Error> {
    optional(root, name)?.map(|text| named(name, text)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, identity};
    use proptest::prelude::*;

    fn credentials() -> VaultCredentials {
        VaultCredentials {
            subscription: Guid(1),
            vault: "vault-1".parse().unwrap(),
            management_cert: ManagementCert::Certificate(fixture::certificate()),
            resource_id: 4_630_293_457_891_234_567,
            resource_group: "group".into(),
            location: "westeurope".into(),
            aad_authority: "https://login.windows.net".parse().unwrap(),
            aad_tenant: Guid(2),
            aad_audience: "https://RecoveryServiceVault/westeurope/vault-1/463".into(),
            service_principal: Some(Guid(3)),
            id_mgmt_endpoint: None,
            endpoint: Some("https://host:8443".parse().unwrap()),
            agent_links: Vec::new(),
            private_endpoint_state: Some("None".into()),
            authority: Some(fixture::certificate()),
        }
    }

    #[test]
    fn the_file_is_laid_out_as_azures_serializer_asks_for() {
        let plain = VaultCredentials { authority: None, ..credentials() };
        let certificate = to_base64(fixture::certificate().as_der());
        let expected = format!(
            r#"<?xml version="1.0" encoding="utf-8"?>
<RSBackupVaultAADCreds
  xmlns:i="http://www.w3.org/2001/XMLSchema-instance"
  xmlns="http://schemas.datacontract.org/2004/07/Microsoft.Azure.Portal.RecoveryServices.Models.Common">
  <Version>2.0</Version>
  <SubscriptionId>00000000-0000-0000-0000-000000000001</SubscriptionId>
  <ResourceType>Vaults</ResourceType>
  <ResourceName>vault-1</ResourceName>
  <ManagementCert>{}</ManagementCert>
  <ResourceId>4630293457891234567</ResourceId>
  <ResourceGroup>group</ResourceGroup>
  <Location>westeurope</Location>
  <ProviderNamespace>Microsoft.RecoveryServices</ProviderNamespace>
  <AadAuthority>https://login.windows.net</AadAuthority>
  <AadTenantId>00000000-0000-0000-0000-000000000002</AadTenantId>
  <AadAudience>https://RecoveryServiceVault/westeurope/vault-1/463</AadAudience>
  <ServicePrincipalClientId>00000000-0000-0000-0000-000000000003</ServicePrincipalClientId>
  <IdMgmtRestEndpoint
    i:nil="true" />
  <AgentLinks>Packmule,https://host:8443</AgentLinks>
  <PrivateEndpointStateForBackup>None</PrivateEndpointStateForBackup>
</RSBackupVaultAADCreds>
"#,
            certificate.as_str()
        );
        assert_eq!(plain.write().unwrap().as_str(), expected);
    }

    #[test]
    fn the_endpoint_is_found_among_links_to_pages() {
        let text = credentials().write().unwrap();
        let with = |links: &str| {
            let changed = text.replace("Packmule,https://host:8443", links);
            VaultCredentials::read(changed.as_bytes())
        };
        let azures = "WABUpdateKBLink,http://go.microsoft.com/fwlink/p/?LinkId=229525";
        let read = with(&format!("{azures} ; Packmule , https://host:8443;")).unwrap();
        assert_eq!(read.endpoint.as_ref().unwrap().as_str(), "https://host:8443");
        let [link] = read.agent_links.as_slice() else { panic!("{:?}", read.agent_links) };
        assert_eq!(format!("{},{}", link.name, link.url), azures);
        assert_eq!(with(azures).unwrap().endpoint, None);
        assert_eq!(with("").unwrap().agent_links, []);
        for wrong in [
            ",http://a",
            "Packmule https://a",
            "Packmule,http://a",
            "Packmule,https://a;Packmule,https://a",
        ] {
            assert!(matches!(with(wrong), Err(Error::Value { name: "AgentLinks", .. })), "{wrong}");
        }
    }

    #[test]
    fn what_is_missing_doubled_or_of_another_version_is_named() {
        let text = credentials().write().unwrap();
        let refused = |from: &str, to: &str| {
            let changed = text.replace(from, to);
            assert_ne!(changed, text.as_str());
            VaultCredentials::read(changed.as_bytes()).unwrap_err().to_string()
        };
        assert!(refused("<Version>2.0", "<Version>3.0").contains("version '3.0'"));
        assert!(refused(">Vaults<", ">Other<").contains("ResourceType"));
        assert!(refused("<Location>westeurope</Location>", "").contains("has no Location"));
        assert!(refused("<Location>", "<Location>x</Location><Location>").contains("twice"));
        assert!(refused(">vault-1</ResourceName>", ">../x</ResourceName>").contains("vault name"));
        assert!(refused("4567</ResourceId>", "x</ResourceId>").contains("ResourceId"));
        let other = refused("RSBackupVaultAADCreds", "RSVaultAsrCreds");
        assert!(other.contains("<RSVaultAsrCreds>"), "{other}");
        assert!(refused("Models.Common", "Models").contains("is no vault credentials"));
    }

    #[test]
    fn texts_that_would_not_come_back_are_not_written() {
        let spaces = VaultCredentials { location: " x".into(), ..credentials() };
        assert!(matches!(spaces.write(), Err(Error::Value { name: "Location", .. })));
        for (name, url) in [("a,b", ""), ("a", "x;y"), ("Packmule", "x"), ("", "x"), ("a", " x")] {
            let agent_links = vec![AgentLink { name: name.into(), url: url.into() }];
            let wrong = VaultCredentials { agent_links, ..credentials() };
            assert!(
                matches!(wrong.write(), Err(Error::Value { name: "AgentLinks", .. })),
                "{name}"
            );
        }
    }

    #[test]
    fn the_file_is_named_after_vault_and_day() {
        let vault = "vault-1".parse().unwrap();
        let name = |time: &str| VaultCredentials::file_name(&vault, time.parse().unwrap());
        assert_eq!(name("2026-11-25T23:59:59Z"), "vault-1_Wed Nov 25 2026.VaultCredentials");
        assert_eq!(name("2027-01-01T00:30:00+01:00"), "vault-1_Thu Dec 31 2026.VaultCredentials");
        assert_eq!(name("2027-01-02T00:00:00Z"), "vault-1_Sat Jan 02 2027.VaultCredentials");
    }

    fn management_cert() -> impl Strategy<Value = ManagementCert> {
        any::<bool>().prop_map(|key| match key {
            true => ManagementCert::Identity(identity(0).clone()),
            false => ManagementCert::Certificate(fixture::certificate()),
        })
    }

    fn link() -> impl Strategy<Value = AgentLink> {
        let all = ("[a-zA-Z<é]{1,7}", "(http://[a-z&,]{0,9})?");
        all.prop_map(|(name, url)| AgentLink { name, url })
    }

    fn some() -> impl Strategy<Value = VaultCredentials> {
        let texts = [fixture::text(), fixture::text(), fixture::text(), fixture::text()];
        let ids = [fixture::guid(), fixture::guid(), fixture::guid()];
        let links = prop::collection::vec(link(), 0..3);
        let all = (texts, ids, links, management_cert(), any::<i64>(), any::<[bool; 5]>());
        all.prop_map(|(texts, ids, agent_links, management_cert, resource_id, has)| {
            let [resource_group, location, aad_audience, state] = texts;
            VaultCredentials {
                subscription: ids[0],
                management_cert,
                resource_id,
                resource_group,
                location,
                aad_tenant: ids[1],
                aad_audience,
                service_principal: has[0].then_some(ids[2]),
                id_mgmt_endpoint: has[1].then(|| "https://x".parse().unwrap()),
                endpoint: has[4].then(|| "https://h/?a=1&b,".parse().unwrap()),
                agent_links,
                private_endpoint_state: has[2].then_some(state),
                authority: has[3].then(fixture::certificate),
                ..credentials()
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read_back(written in some()) {
            let text = written.write().unwrap();
            prop_assert_eq!(VaultCredentials::read(text.as_bytes()).unwrap(), written);
        }

        #[test]
        fn no_bytes_break_it(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
            crate::fuzz::vault_credentials(&bytes);
            let mut changed = credentials().write().unwrap().as_bytes().to_vec();
            *at.get_mut(&mut changed) = byte;
            crate::fuzz::vault_credentials(&changed);
        }
    }
}
