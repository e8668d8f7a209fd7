//! Opens a PKCS#12: the seal first, then what is in it. Says nothing of which key and which
//! certificate belong together.

use super::asn1::{self, CertBag, ContentInfo, EncryptedData, MacData, Pfx, SafeBag, ShroudedKey};
use super::kdf::{self, Purpose};
use super::pbe::{decrypt, salt, unknown};
use super::{Budget, Empty, SPELLINGS};
use crate::Error;
use der::asn1::{AnyRef, OctetStringRef};
use der::{Decode, Encode, Reader as _, SliceReader, Tag, Tagged as _};
use hmac::{EagerHash, Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::digest::common::BlockSizeUser;
use sha2::{Digest, Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

/// What was in it, in its order. Nothing says yet that the bytes are what they should be.
#[derive(Default)]
pub(crate) struct Contents {
    /// PKCS#8.
    pub(crate) keys: Vec<Zeroizing<Vec<u8>>>,
    /// X.509.
    pub(crate) certificates: Vec<Vec<u8>>,
}

const fn malformed(what: &'static str) -> impl Fn(der::Error) -> Error {
    move |_| Error::Pkcs12 { what }
}

/// Opens it with an empty password.
pub(crate) fn read(bytes: &[u8], budget: &mut Budget) -> Result<Contents, Error> {
    let pfx = Pfx::from_der(bytes).map_err(malformed("it is not a PFX in DER"))?;
    if pfx.version != 3 {
        return Err(Error::Pkcs12 { what: "it is not of version 3" });
    }
    let safes = data(&pfx.auth_safe)?;
    let mac = pfx.mac_data.ok_or(Error::Pkcs12 { what: "it has no seal" })?;
    let empty = spelling(&mac, safes, budget)?;
    open(safes, empty, budget)
}

/// Takes out what the seal is around.
pub(crate) fn open(safes: &[u8], empty: Empty, budget: &mut Budget) -> Result<Contents, Error> {
    let mut contents = Contents::default();
    each(safes, |safe: ContentInfo<'_>| match safe.content_type {
        asn1::DATA => bags(data(&safe)?, empty, budget, &mut contents),
        asn1::ENCRYPTED_DATA => {
            let sealed: EncryptedData<'_> = safe.content.decode_as().map_err(malformed(PART))?;
            let content = sealed.content;
            let text = decrypt(&content.algorithm, content.encrypted, empty, budget)?;
            bags(&text, empty, budget, &mut contents)
        }
        other => Err(unknown("the content", other)),
    })?;
    Ok(contents)
}

const PART: &str = "a part of it is not DER";

fn data<'a>(info: &ContentInfo<'a>) -> Result<&'a [u8], Error> {
    if info.content_type != asn1::DATA {
        return Err(unknown("the content", info.content_type));
    }
    let text: &OctetStringRef = info.content.decode_as().map_err(malformed(PART))?;
    Ok(text.as_bytes())
}

/// Takes a SEQUENCE OF apart.
fn each<'a, T: Decode<'a, Error = der::Error>>(
    bytes: &'a [u8],
    mut take: impl FnMut(T) -> Result<(), Error>,
) -> Result<(), Error> {
    let list = AnyRef::from_der(bytes).map_err(malformed(PART))?;
    if list.tag() != Tag::Sequence {
        return Err(Error::Pkcs12 { what: PART });
    }
    let mut reader = SliceReader::new(list.value()).map_err(malformed(PART))?;
    while !reader.is_finished() {
        take(T::decode(&mut reader).map_err(malformed(PART))?)?;
    }
    Ok(())
}

fn bags(
    bytes: &[u8],
    empty: Empty,
    budget: &mut Budget,
    contents: &mut Contents,
) -> Result<(), Error> {
    each(bytes, |bag: SafeBag<'_>| {
        match bag.id {
            asn1::KEY_BAG => {
                let key = bag.value.to_der().map_err(malformed(PART))?;
                contents.keys.push(Zeroizing::new(key));
            }
            asn1::SHROUDED_KEY_BAG => {
                let key: ShroudedKey<'_> = bag.value.decode_as().map_err(malformed(PART))?;
                let encrypted = key.encrypted.as_bytes();
                contents.keys.push(decrypt(&key.algorithm, encrypted, empty, budget)?);
            }
            asn1::CERT_BAG => {
                let bag: CertBag<'_> = bag.value.decode_as().map_err(malformed(PART))?;
                if bag.id == asn1::X509_CERTIFICATE {
                    contents.certificates.push(bag.value.as_bytes().to_vec());
                }
            }
            // Revocation lists, secrets of other kinds, and bags of bags: of no use here.
            _ => {}
        }
        Ok(())
    })
}

/// The spelling with which the seal fits.
fn spelling(mac: &MacData<'_>, sealed: &[u8], budget: &mut Budget) -> Result<Empty, Error> {
    let fits: fn(&MacData<'_>, &[u8], u32, &[u8], Empty) -> bool = match mac.mac.algorithm.oid {
        asn1::SHA1 => fits::<Sha1>,
        asn1::SHA256 => fits::<Sha256>,
        asn1::SHA384 => fits::<Sha384>,
        asn1::SHA512 => fits::<Sha512>,
        other => return Err(unknown("the seal", other)),
    };
    let salt = salt(mac.salt)?;
    for empty in SPELLINGS {
        let iterations = budget.spend(mac.iterations, 1)?;
        if fits(mac, salt, iterations, sealed, empty) {
            return Ok(empty);
        }
    }
    Err(Error::Seal)
}

fn fits<D: EagerHash + Digest + BlockSizeUser>(
    mac: &MacData<'_>,
    salt: &[u8],
    iterations: u32,
    sealed: &[u8],
    empty: Empty,
) -> bool {
    let length = <D as Digest>::output_size();
    let key = kdf::derive::<D>(Purpose::Mac, empty, salt, iterations, length);
    let Ok(hmac) = Hmac::<D>::new_from_slice(&key) else { return false };
    // Its length is compared too.
    hmac.chain_update(sealed).verify_slice(mac.mac.digest.as_bytes()).is_ok()
}

/// Whether bytes are a PKCS#12 rather than a certificate: what stands first in it is a number.
pub(crate) fn looks_like(bytes: &[u8]) -> bool {
    let first = |any: AnyRef<'_>| Tag::peek(&SliceReader::new(any.value())?);
    let tag = AnyRef::from_der(bytes).and_then(first);
    tag.is_ok_and(|tag| tag == Tag::Integer)
}
