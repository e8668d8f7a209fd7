//! Access tokens: what they say, made and taken apart. Who may have one is decided elsewhere.

use super::Entra;
use super::guid::Guid;
use super::jwt::Parts;
use super::records::Application;
use crate::{Error, token};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How long a token is good for, in seconds.
pub(crate) const LIFETIME: i64 = 3600;

/// By how much our own clock may be put back, in seconds, before tokens seem to be of the future.
const STEP: i64 = 300;

/// Which of the two token endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Asked with `resource`.
    V1,
    /// Asked with `scope`.
    V2,
}

/// How a caller has proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    /// The certificate's or secret's.
    pub(crate) key_id: String,
    pub(crate) is_certificate: bool,
}

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) aud: String,
    iss: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    pub(crate) appid: String,
    azp: String,
    /// How the caller proved itself: `1` by a secret, `2` by a certificate.
    appidacr: String,
    azpacr: String,
    /// The service principal.
    pub(crate) oid: String,
    sub: String,
    tid: String,
    /// Of its grants, for the token's reader only.
    roles: Vec<String>,
    ver: String,
    uti: String,
    /// Ours: the key id of the certificate or secret; when that goes, so does the token.
    pub(crate) pm_key: String,
}

/// Who a token is for, and for what.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) version: Version,
    pub(crate) application: &'a Application,
    pub(crate) principal: &'a str,
    pub(crate) credential: &'a Credential,
    pub(crate) resource: &'a str,
    pub(crate) roles: Vec<String>,
    pub(crate) now: Timestamp,
}

/// The issuer of tokens of that version.
pub(crate) fn issuer(version: Version, endpoint: &str, tenant: &Guid) -> String {
    match version {
        Version::V1 => format!("{endpoint}/{tenant}/"),
        Version::V2 => format!("{endpoint}/{tenant}/v2.0"),
    }
}

/// A token, signed.
pub(crate) fn make(entra: &Entra, endpoint: &str, request: Request<'_>) -> Result<String, Error> {
    let mut unique = [0_u8; 16];
    token::random(&mut unique)?;
    let iat = request.now.as_second();
    let kind = if request.credential.is_certificate { "2" } else { "1" };
    let claims = Claims {
        aud: request.resource.to_owned(),
        iss: issuer(request.version, endpoint, &entra.tenant),
        iat,
        nbf: iat,
        exp: iat.saturating_add(LIFETIME),
        appid: request.application.app_id.clone(),
        azp: request.application.app_id.clone(),
        appidacr: kind.to_owned(),
        azpacr: kind.to_owned(),
        oid: request.principal.to_owned(),
        sub: request.principal.to_owned(),
        tid: entra.tenant.to_string(),
        roles: request.roles,
        ver: if request.version == Version::V1 { "1.0" } else { "2.0" }.to_owned(),
        uti: URL_SAFE_NO_PAD.encode(unique),
        pm_key: request.credential.key_id.clone(),
    };
    let header = serde_json::json!({"typ": "JWT", "alg": "RS256", "kid": entra.key.kid()});
    let damaged = |why: serde_json::Error| Error::Damaged {
        what: "an access token".to_owned(),
        why: why.to_string(),
    };
    let claims = serde_json::to_vec(&claims).map_err(damaged)?;
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = entra.key.sign(signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// What a token says, if this server has made it and it is good now.
pub(crate) fn read(entra: &Entra, endpoint: &str, text: &str, now: Timestamp) -> Option<Claims> {
    let parts = Parts::parse(text)?;
    let kid_fits = parts.header.kid.as_deref() == Some(entra.key.kid());
    if parts.header.alg != "RS256"
        || !kid_fits
        || !entra.key.verifies(parts.signed, &parts.signature)
    {
        return None;
    }
    let claims: Claims = parts.claims()?;
    let issued_here = [Version::V1, Version::V2]
        .iter()
        .any(|version| claims.iss == issuer(*version, endpoint, &entra.tenant));
    let second = now.as_second();
    let good = claims.nbf.saturating_sub(STEP) <= second && second < claims.exp;
    (issued_here && good && claims.tid == entra.tenant.as_str()).then_some(claims)
}
