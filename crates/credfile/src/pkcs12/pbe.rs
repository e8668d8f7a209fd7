//! Decrypts what a password protects, old and new; encrypts in the new way only. The password is
//! always empty.

use super::asn1::{self, Algorithm, Pbes2Params, Pbkdf2Params, Pkcs12PbeParams};
use super::kdf::{self, Purpose};
use super::{Budget, Empty};
use crate::Error;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::common::{BlockSizeUser, InnerIvInit, KeyInit};
use cbc::cipher::{BlockCipherDecrypt, BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use der::asn1::{ObjectIdentifier, OctetStringRef};
use der::{Decode, Encode};
use hmac::digest::common::KeySizeUser;
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

/// A salt is 8 to 32 bytes with every tool; each block of it is hashed.
pub(super) const LONGEST_SALT: usize = 128;

/// Rounds for our own files. The password is no secret, so there is nothing that they could protect;
/// it is what openssl does, which some readers have as their least.
pub(super) const ITERATIONS: u32 = 2048;
pub(super) const SALT: usize = 16;
pub(super) const IV: usize = 16;

/// Decrypts with the scheme that the file names.
pub(super) fn decrypt(
    algorithm: &Algorithm<'_>,
    encrypted: &[u8],
    empty: Empty,
    budget: &mut Budget,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    if algorithm.oid == asn1::PBES2 {
        return pbes2(algorithm, encrypted, budget);
    }
    let old = OldScheme::of(algorithm.oid)?;
    let params: Pkcs12PbeParams<'_> = parameters(algorithm)?;
    let salt = salt(params.salt)?;
    let cost = kdf::blocks::<Sha1>(old.key_length) + 1;
    let iterations = budget.spend(params.iterations, cost)?;
    let derive = |purpose, length| kdf::derive::<Sha1>(purpose, empty, salt, iterations, length);
    let key = derive(Purpose::Key, old.key_length);
    (old.decrypt)(&key, &derive(Purpose::Iv, 8), encrypted)
}

type Decrypt = fn(&[u8], &[u8], &[u8]) -> Result<Zeroizing<Vec<u8>>, Error>;

/// Schemes of RFC 7292, appendix C, but for RC4.
struct OldScheme {
    key_length: usize,
    decrypt: Decrypt,
}

impl OldScheme {
    fn of(oid: ObjectIdentifier) -> Result<Self, Error> {
        let (key_length, decrypt): (_, Decrypt) = match oid {
            asn1::PBE_SHA1_3DES => (24, cbc_decrypt::<des::TdesEde3>),
            asn1::PBE_SHA1_2DES => (16, cbc_decrypt::<des::TdesEde2>),
            // Its effective bits are as many as the key has.
            asn1::PBE_SHA1_RC2_128 => (16, cbc_decrypt::<rc2::Rc2>),
            asn1::PBE_SHA1_RC2_40 => (5, cbc_decrypt::<rc2::Rc2>),
            other => return Err(unknown("the encryption", other)),
        };
        Ok(Self { key_length, decrypt })
    }
}

fn pbes2(
    algorithm: &Algorithm<'_>,
    encrypted: &[u8],
    budget: &mut Budget,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let params: Pbes2Params<'_> = parameters(algorithm)?;
    let (key_length, decrypt): (usize, Decrypt) = match params.scheme.oid {
        asn1::AES128_CBC => (16, cbc_decrypt::<aes::Aes128>),
        asn1::AES192_CBC => (24, cbc_decrypt::<aes::Aes192>),
        asn1::AES256_CBC => (32, cbc_decrypt::<aes::Aes256>),
        asn1::DES_EDE3_CBC => (24, cbc_decrypt::<des::TdesEde3>),
        other => return Err(unknown("the encryption", other)),
    };
    let key = pbkdf2(&params.derivation, key_length, budget)?;
    let iv: &OctetStringRef = parameters(&params.scheme)?;
    decrypt(&key, iv.as_bytes(), encrypted)
}

/// Password, salt, rounds, and where the key goes.
type Derive = fn(&[u8], &[u8], u32, &mut [u8]);

/// An empty password has one spelling here: a key of HMAC is filled up with zeros.
fn pbkdf2(
    algorithm: &Algorithm<'_>,
    length: usize,
    budget: &mut Budget,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    if algorithm.oid != asn1::PBKDF2 {
        return Err(unknown("the key derivation", algorithm.oid));
    }
    let params: Pbkdf2Params<'_> = parameters(algorithm)?;
    if params.key_length.is_some_and(|said| said != length as u64) {
        return Err(Error::Pkcs12 { what: "its key is of another length than its cipher's" });
    }
    let salt = salt(params.salt)?;
    let (output, function): (usize, Derive) =
        match params.prf.map_or(asn1::HMAC_SHA1, |prf| prf.oid) {
            asn1::HMAC_SHA1 => (20, ::pbkdf2::pbkdf2_hmac::<Sha1>),
            asn1::HMAC_SHA256 => (32, ::pbkdf2::pbkdf2_hmac::<Sha256>),
            asn1::HMAC_SHA384 => (48, ::pbkdf2::pbkdf2_hmac::<Sha384>),
            asn1::HMAC_SHA512 => (64, ::pbkdf2::pbkdf2_hmac::<Sha512>),
            other => return Err(unknown("the hash", other)),
        };
    let iterations = budget.spend(params.iterations, length.div_ceil(output))?;
    let mut key = Zeroizing::new(vec![0; length]);
    function(&[], salt, iterations, &mut key);
    Ok(key)
}

fn cbc_decrypt<C: BlockCipherDecrypt + KeyInit + KeySizeUser + BlockSizeUser>(
    key: &[u8],
    iv: &[u8],
    encrypted: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let wrong = |what| Error::Pkcs12 { what };
    let cipher = C::new_from_slice(key).map_err(|_| wrong("a key is of the wrong length"))?;
    let decryptor = cbc::Decryptor::inner_iv_slice_init(cipher, iv)
        .map_err(|_| wrong("an initialization vector is of the wrong length"))?;
    let mut text = Zeroizing::new(encrypted.to_vec());
    let length = decryptor.decrypt_padded::<Pkcs7>(&mut text).map(<[u8]>::len);
    let length = length.map_err(|_| wrong("what is encrypted in it does not decrypt"))?;
    text.truncate(length);
    Ok(text)
}

/// Encrypts with PBES2: PBKDF2 with HMAC-SHA-256, AES-256-CBC. `use_it` gets the algorithm and the
/// text.
pub(super) fn encrypt<T>(
    text: &[u8],
    salt: &[u8; SALT],
    iv: &[u8; IV],
    use_it: impl FnOnce(Algorithm<'_>, &[u8]) -> der::Result<T>,
) -> der::Result<T> {
    let mut key = Zeroizing::new([0; 32]);
    ::pbkdf2::pbkdf2_hmac::<Sha256>(&[], salt, ITERATIONS, key.as_mut_slice());
    let encryptor = cbc::Encryptor::<aes::Aes256>::new(&(*key).into(), &(*iv).into());
    let encrypted = encryptor.encrypt_padded_vec::<Pkcs7>(text);
    let derivation = Pbkdf2Params {
        salt: OctetStringRef::new(salt)?,
        iterations: u64::from(ITERATIONS),
        key_length: None,
        prf: Some(Algorithm { oid: asn1::HMAC_SHA256, parameters: Some(der::AnyRef::NULL) }),
    };
    let derivation = derivation.to_der()?;
    let iv = OctetStringRef::new(iv)?.to_der()?;
    let params = Pbes2Params {
        derivation: with(asn1::PBKDF2, &derivation)?,
        scheme: with(asn1::AES256_CBC, &iv)?,
    };
    use_it(with(asn1::PBES2, &params.to_der()?)?, &encrypted)
}

fn with(oid: ObjectIdentifier, parameters: &[u8]) -> der::Result<Algorithm<'_>> {
    Ok(Algorithm { oid, parameters: Some(der::AnyRef::from_der(parameters)?) })
}

pub(super) fn salt(salt: &OctetStringRef) -> Result<&[u8], Error> {
    if salt.as_bytes().len() > LONGEST_SALT {
        return Err(Error::Pkcs12 { what: "a salt is longer than 128 bytes" });
    }
    Ok(salt.as_bytes())
}

fn parameters<'a, T: der::Choice<'a> + der::DecodeValue<'a>>(
    algorithm: &Algorithm<'a>,
) -> Result<T, Error> {
    let wrong = |_| Error::Pkcs12 { what: "the parameters of an algorithm are not DER" };
    algorithm.parameters.unwrap_or(der::AnyRef::NULL).decode_as().map_err(wrong)
}

pub(super) fn unknown(what: &'static str, oid: ObjectIdentifier) -> Error {
    Error::Algorithm { what, oid: oid.to_string() }
}
