//! Makes a PKCS#12 of one key and its certificate, as openssl 3 does by default: PBES2 and a seal with
//! HMAC-SHA-256. Writes no old encryption.

use super::Empty;
use super::asn1::{
    self, Algorithm, Attribute, CertBag, ContentInfo, DigestInfo, EncryptedContent, EncryptedData,
    MacData, Pfx, SafeBag, ShroudedKey,
};
use super::kdf::{self, Purpose};
use super::pbe::{self, ITERATIONS, IV, SALT};
use crate::{Certificate, Error};
use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode as _, Encode as _, Tag};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// All that is random in a file.
struct Salts {
    certificate: ([u8; SALT], [u8; IV]),
    key: ([u8; SALT], [u8; IV]),
    mac: [u8; SALT],
}

impl Salts {
    fn new() -> Result<Self, Error> {
        let random = || {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes).map(|()| bytes).map_err(|_| Error::Random)
        };
        Ok(Self {
            certificate: (random()?, random()?),
            key: (random()?, random()?),
            mac: random()?,
        })
    }
}

/// A PKCS#12 without a password.
pub(crate) fn write(
    certificate: &Certificate,
    private_key: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let salts = Salts::new()?;
    let wrong = |_| Error::Pkcs12 { what: "it would be too long" };
    encode(certificate, private_key, &salts).map(Zeroizing::new).map_err(wrong)
}

fn encode(certificate: &Certificate, key: &[u8], salts: &Salts) -> der::Result<Vec<u8>> {
    // Windows finds the key of a certificate by it.
    let id = attributes(&certificate.thumbprint().0)?;
    let certificates = certificate_safe(certificate.as_der(), &id, &salts.certificate)?;
    let keys = key_safe(key, &id, &salts.key)?;
    let safes = sequence(&[certificates, keys].concat())?;
    let text = OctetStringRef::new(&safes)?.to_der()?;
    let auth_safe = ContentInfo { content_type: asn1::DATA, content: AnyRef::from_der(&text)? };
    let digest = seal(&safes, &salts.mac);
    let algorithm = Algorithm { oid: asn1::SHA256, parameters: Some(AnyRef::NULL) };
    let mac = DigestInfo { algorithm, digest: OctetStringRef::new(&digest)? };
    let salt = OctetStringRef::new(&salts.mac)?;
    let mac_data = MacData { mac, salt, iterations: u64::from(ITERATIONS) };
    Pfx { version: 3, auth_safe, mac_data: Some(mac_data) }.to_der()
}

fn seal(safes: &[u8], salt: &[u8; SALT]) -> Vec<u8> {
    let key = kdf::derive::<Sha256>(Purpose::Mac, Empty::Terminated, salt, ITERATIONS, 32);
    // An HMAC takes keys of any length.
    let hmac = Hmac::<Sha256>::new_from_slice(&key).map(|hmac| hmac.chain_update(safes));
    hmac.map(|hmac| hmac.finalize().into_bytes().to_vec()).unwrap_or_default()
}

type Random = ([u8; SALT], [u8; IV]);

fn certificate_safe(certificate: &[u8], id: &[u8], (salt, iv): &Random) -> der::Result<Vec<u8>> {
    let value = OctetStringRef::new(certificate)?;
    let bag = CertBag { id: asn1::X509_CERTIFICATE, value }.to_der()?;
    let text = one_bag(asn1::CERT_BAG, &bag, id)?;
    let sealed = pbe::encrypt(&text, salt, iv, |algorithm, encrypted| {
        let content = EncryptedContent { content_type: asn1::DATA, algorithm, encrypted };
        EncryptedData { version: 0, content }.to_der()
    })?;
    let content = AnyRef::from_der(&sealed)?;
    ContentInfo { content_type: asn1::ENCRYPTED_DATA, content }.to_der()
}

fn key_safe(key: &[u8], id: &[u8], (salt, iv): &Random) -> der::Result<Vec<u8>> {
    let shrouded = pbe::encrypt(key, salt, iv, |algorithm, encrypted| {
        ShroudedKey { algorithm, encrypted: OctetStringRef::new(encrypted)? }.to_der()
    })?;
    let bags = one_bag(asn1::SHROUDED_KEY_BAG, &shrouded, id)?;
    let text = OctetStringRef::new(&bags)?.to_der()?;
    ContentInfo { content_type: asn1::DATA, content: AnyRef::from_der(&text)? }.to_der()
}

fn one_bag(
    id: der::asn1::ObjectIdentifier,
    value: &[u8],
    attributes: &[u8],
) -> der::Result<Vec<u8>> {
    let value = AnyRef::from_der(value)?;
    let attributes = Some(AnyRef::new(Tag::Set, attributes)?);
    sequence(&SafeBag { id, value, attributes }.to_der()?)
}

/// The content of a SET OF one attribute: the local id of key and certificate.
fn attributes(id: &[u8]) -> der::Result<Vec<u8>> {
    let value = OctetStringRef::new(id)?.to_der()?;
    let values = AnyRef::new(Tag::Set, &value)?;
    Attribute { id: asn1::LOCAL_KEY_ID, values }.to_der()
}

fn sequence(content: &[u8]) -> der::Result<Vec<u8>> {
    AnyRef::new(Tag::Sequence, content)?.to_der()
}
