//! Client assertions (RFC 7523): whether one proves that its sender holds a key of the application.
//! Pure: looks at no clock and no database, and does not know which assertions were taken before.
//!
//! What always holds:
//!
//! - **Only RS256 and PS256.** The algorithm is decided by the list here, never by the token.
//! - **Only registered certificates.** The token names one by its thumbprint; a certificate or key
//!   that comes within the token is not looked at.
//! - **Nothing of the claims counts** before the signature is verified.

use super::certificate::Certificate;
use super::jwt::{Parts, Thumbprints};
use super::oauth::Reason;
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters, UnparsedPublicKey,
};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// By how much a client's clock may be wrong, in seconds.
pub(super) const SKEW: f64 = 300.0;
/// How long an assertion may be good for, in seconds: what every client asks for.
const LIFETIME: f64 = 600.0;
/// Clients take the time twice, for `iat` and `exp`.
const TWICE: f64 = 2.0;
/// After this, no assertion that is taken now would be taken again: lifetime and skew at both ends.
pub(super) const REMEMBER: SignedDuration = SignedDuration::from_mins(21);
/// The longest `jti`; clients send GUIDs.
const LONGEST_JTI: usize = 256;

/// A certificate that an application has registered.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    pub(crate) key_id: String,
    pub(crate) certificate: Certificate,
}

/// An assertion that is right, if it comes for the first time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// The key id of the certificate that it was signed with.
    pub(crate) key_id: String,
    pub(crate) jti: String,
}

/// What an assertion must say.
#[derive(Debug)]
pub(crate) struct Expected<'a> {
    /// The application's id: issuer and subject.
    pub(crate) client: &'a str,
    /// Any of these is the audience.
    pub(crate) audiences: &'a [String],
    pub(crate) now: Timestamp,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    jti: String,
    /// Seconds since 1970. Some clients send fractions.
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    iat: Option<f64>,
}

/// One audience, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// Whom an assertion says that it is from, before anything is verified: to look that application up.
pub(crate) fn claimed_client(text: &str) -> Option<String> {
    Some(Parts::parse(text)?.claims::<Claims>()?.sub)
}

/// Whether that assertion is signed by one of these certificates and says what it must.
pub(crate) fn verify(
    text: &str,
    registered: &[Registered],
    expected: &Expected<'_>,
) -> Result<Proof, Reason> {
    let (signer, parts) = signed(text, registered, expected.now)?;
    let claims: Claims = parts
        .claims()
        .ok_or(Reason::Assertion("it must have iss, sub, aud, jti and exp, each once"))?;
    check(&claims, expected)?;
    Ok(Proof { key_id: signer.key_id.clone(), jti: claims.jti })
}

/// What shows that a caller of Graph holds a certificate's key: an assertion without subject and
/// `jti`, whose issuer is the application's object id.
#[derive(Deserialize)]
struct Possession {
    iss: String,
    aud: Audience,
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    iat: Option<f64>,
}

/// The audience of such a proof: the old Graph's application.
const POSSESSION_AUDIENCE: &str = "00000002-0000-0000-c000-000000000000";

/// Whether that is a proof that its sender holds one of these certificates' keys; otherwise why not.
pub(crate) fn verify_possession(
    text: &str,
    registered: &[Registered],
    object_id: &str,
    now: Timestamp,
) -> Result<(), &'static str> {
    let why = |reason| match reason {
        Reason::Assertion(how) | Reason::Time(how) => how,
        _ => "it is not accepted",
    };
    let (_, parts) = signed(text, registered, now).map_err(why)?;
    let claims: Possession = parts.claims().ok_or("it must have iss, aud and exp, each once")?;
    let is_ours = |aud: &String| aud.eq_ignore_ascii_case(POSSESSION_AUDIENCE);
    let for_us = match &claims.aud {
        Audience::One(aud) => is_ours(aud),
        Audience::Many(all) => !all.is_empty() && all.iter().all(is_ours),
    };
    if !for_us {
        return Err("its audience is another");
    }
    if !claims.iss.eq_ignore_ascii_case(object_id) {
        return Err("iss must be the application's object id");
    }
    let times = Times { exp: claims.exp, nbf: claims.nbf, iat: claims.iat };
    in_time(times, now.as_duration().as_secs_f64()).map_err(why)
}

/// What an application has stated by a certificate.
#[derive(Debug)]
pub(crate) struct Stated<T> {
    pub(crate) claims: T,
    /// The SHA-256 of the certificate.
    pub(crate) certificate: [u8; 32],
}

#[derive(Deserialize)]
struct Dated {
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
    iat: f64,
}

/// What a statement of that kind says, if one of these certificates has signed it within the last minutes; otherwise why it
/// does not count. Its kind is in its header, so that nothing else that is signed with the key can be taken for it.
pub(crate) fn verify_statement<T: DeserializeOwned>(
    text: &str,
    kind: &str,
    registered: &[Registered],
    now: Timestamp,
) -> Result<Stated<T>, &'static str> {
    let why = |reason| match reason {
        Reason::Assertion(how) | Reason::Time(how) => how,
        _ => "it is not accepted",
    };
    let (signer, parts) = signed(text, registered, now).map_err(why)?;
    if parts.header.typ.as_deref() != Some(kind) {
        return Err("it is a token of another kind");
    }
    let dated: Dated = parts.claims().ok_or("it must have iat and exp, each once")?;
    let times = Times { exp: dated.exp, nbf: dated.nbf, iat: Some(dated.iat) };
    in_time(times, now.as_duration().as_secs_f64()).map_err(why)?;
    let claims = parts.claims().ok_or("it does not say what such a statement says")?;
    Ok(Stated { claims, certificate: signer.certificate.sha256 })
}

/// The token's parts and the certificate that it is signed with.
fn signed<'t, 'r>(
    text: &'t str,
    registered: &'r [Registered],
    now: Timestamp,
) -> Result<(&'r Registered, Parts<'t>), Reason> {
    let parts = Parts::parse(text).ok_or(Reason::Assertion("it is no JSON web token"))?;
    let signer = signer(&parts, registered)?;
    let algorithm = algorithm(&parts.header.alg)?;
    UnparsedPublicKey::new(algorithm, &signer.certificate.key)
        .verify(parts.signed, &parts.signature)
        .map_err(|_| Reason::Assertion("its signature is wrong"))?;
    if !signer.certificate.is_valid(now) {
        return Err(Reason::Assertion("the certificate is not valid at this time"));
    }
    Ok((signer, parts))
}

fn algorithm(name: &str) -> Result<&'static RsaParameters, Reason> {
    match name {
        "RS256" => Ok(&RSA_PKCS1_2048_8192_SHA256),
        "PS256" => Ok(&RSA_PSS_2048_8192_SHA256),
        _ => Err(Reason::Assertion("its algorithm must be RS256 or PS256")),
    }
}

/// The registered certificate that the header names. Where it has both thumbprints, both must fit.
fn signer<'a>(parts: &Parts<'_>, registered: &'a [Registered]) -> Result<&'a Registered, Reason> {
    let Thumbprints { sha1, sha256 } =
        parts.header.thumbprints().ok_or(Reason::Assertion("x5t or x5t#S256 is no thumbprint"))?;
    if sha1.is_none() && sha256.is_none() {
        return Err(Reason::Assertion("its header must have x5t or x5t#S256"));
    }
    let fits = |one: &&Registered| {
        sha1.is_none_or(|sha1| sha1 == one.certificate.sha1)
            && sha256.is_none_or(|sha256| sha256 == one.certificate.sha256)
    };
    registered
        .iter()
        .find(fits)
        .ok_or(Reason::Assertion("the application has no such certificate registered"))
}

fn check(claims: &Claims, expected: &Expected<'_>) -> Result<(), Reason> {
    let ours = |text: &String| text.eq_ignore_ascii_case(expected.client);
    if !ours(&claims.iss) || !ours(&claims.sub) {
        return Err(Reason::Assertion("iss and sub must be the client id"));
    }
    let is_ours = |aud: &String| expected.audiences.iter().any(|own| own.eq_ignore_ascii_case(aud));
    let for_us = match &claims.aud {
        Audience::One(aud) => is_ours(aud),
        Audience::Many(all) => !all.is_empty() && all.iter().all(is_ours),
    };
    if !for_us {
        return Err(Reason::Audience);
    }
    if claims.jti.is_empty() || claims.jti.len() > LONGEST_JTI {
        return Err(Reason::Assertion("jti must have 1 to 256 bytes"));
    }
    let times = Times { exp: claims.exp, nbf: claims.nbf, iat: claims.iat };
    in_time(times, expected.now.as_duration().as_secs_f64())
}

/// In seconds since 1970.
#[derive(Clone, Copy)]
struct Times {
    exp: f64,
    nbf: Option<f64>,
    iat: Option<f64>,
}

fn in_time(claims: Times, now: f64) -> Result<(), Reason> {
    if claims.exp < now - SKEW {
        return Err(Reason::Time("it has expired"));
    }
    if claims.nbf.is_some_and(|nbf| nbf > now + SKEW) {
        return Err(Reason::Time("it is not valid yet"));
    }
    if claims.iat.is_some_and(|iat| iat > now + SKEW) {
        return Err(Reason::Time("it is issued in the future"));
    }
    let since = |start: f64, allowance: f64| claims.exp - start > LIFETIME + allowance;
    if since(now, SKEW) || claims.iat.is_some_and(|iat| since(iat, TWICE)) {
        return Err(Reason::Time("it is good for longer than ten minutes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
