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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Identity, fixture};
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    fn ours() -> Zeroizing<Vec<u8>> {
        fixture::identity(0).to_pkcs12().unwrap()
    }

    /// The same with something else in its outermost structure.
    fn changed(change: impl FnOnce(&mut Pfx<'_>)) -> Vec<u8> {
        let ours = ours();
        let mut pfx = Pfx::from_der(&ours).unwrap();
        change(&mut pfx);
        pfx.to_der().unwrap()
    }

    fn refused(bytes: &[u8]) -> Error {
        let begun = Instant::now();
        let error = Identity::from_pkcs12(bytes).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(5), "{error}");
        error
    }

    #[test]
    fn what_asks_for_endless_work_is_refused_before_it_is_done() {
        for rounds in [u64::MAX, 2_000_001, 1 << 40] {
            let endless = changed(|pfx| pfx.mac_data.as_mut().unwrap().iterations = rounds);
            assert!(matches!(refused(&endless), Error::Work { .. }), "{rounds}");
        }
        let none = changed(|pfx| pfx.mac_data.as_mut().unwrap().iterations = 0);
        assert!(matches!(refused(&none), Error::Pkcs12 { .. }));
        let ours = ours();
        let mut pfx = Pfx::from_der(&ours).unwrap();
        pfx.mac_data.as_mut().unwrap().salt = OctetStringRef::new(&[7; 4096]).unwrap();
        assert!(refused(&pfx.to_der().unwrap()).to_string().contains("salt"));
    }

    /// Encryption is asked for its rounds too: the seal of such a file fits.
    #[test]
    fn endless_work_within_the_seal_is_refused_too() {
        let pkcs12 = ours();
        let pfx = Pfx::from_der(&pkcs12).unwrap();
        let safes = data(&pfx.auth_safe).unwrap();
        assert!(open(safes, Empty::Nothing, &mut Budget::of(4096)).is_ok());
        let short = open(safes, Empty::Nothing, &mut Budget::of(4095)).err();
        assert!(matches!(short, Some(Error::Work { .. })));
    }

    #[test]
    fn a_seal_that_does_not_fit_a_missing_one_and_other_versions_are_refused() {
        let ours = ours();
        for digest in [&[1; 32][..], &[], &[0; 1000]] {
            let mut pfx = Pfx::from_der(&ours).unwrap();
            pfx.mac_data.as_mut().unwrap().mac.digest = OctetStringRef::new(digest).unwrap();
            assert_eq!(refused(&pfx.to_der().unwrap()), Error::Seal);
        }
        assert!(refused(&changed(|pfx| pfx.mac_data = None)).to_string().contains("no seal"));
        assert!(refused(&changed(|pfx| pfx.version = 4)).to_string().contains("version"));
    }

    #[test]
    fn what_is_cut_off_or_longer_is_refused() {
        let ours = ours();
        for length in 0..ours.len() {
            refused(&ours[..length]);
        }
        refused(&[ours.as_slice(), &[0]].concat());
        assert_eq!(&Identity::from_pkcs12(&ours).unwrap(), fixture::identity(0));
    }

    #[test]
    fn ten_thousand_structures_within_each_other_are_refused_at_once() {
        let mut nested = vec![0x05, 0x00];
        for _ in 0..10_000 {
            nested = AnyRef::new(Tag::Sequence, &nested).unwrap().to_der().unwrap();
        }
        refused(&nested);
        assert!(!looks_like(&nested));
        // Lengths that nothing is behind, and those of BER.
        refused(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x02, 0x01, 0x03]);
        refused(&[0x30, 0x80, 0x02, 0x01, 0x03, 0x00, 0x00]);
    }

    #[test]
    fn a_pkcs12_is_told_from_a_certificate() {
        assert!(looks_like(&ours()));
        assert!(!looks_like(fixture::certificate().as_der()));
        assert!(!looks_like(&[]) && !looks_like(&[0x30, 0x00]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn one_changed_bit_never_gives_another_identity(at: prop::sample::Index, bit in 0..8_u8) {
            let mut bytes = ours();
            *at.get_mut(&mut bytes) ^= 1 << bit;
            if let Ok(read) = Identity::from_pkcs12_within(&bytes, &mut Budget::of(20_000)) {
                prop_assert_eq!(&read, fixture::identity(0));
            }
        }

        #[test]
        fn no_bytes_break_it(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
            crate::fuzz::pkcs12(&bytes);
            let pkcs12 = ours();
            let pfx = Pfx::from_der(&pkcs12).unwrap();
            let mut safes = data(&pfx.auth_safe).unwrap().to_vec();
            *at.get_mut(&mut safes) = byte;
            let _ = open(&safes, Empty::Nothing, &mut Budget::of(10_000));
        }
    }
}
