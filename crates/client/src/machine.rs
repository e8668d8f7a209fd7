//! A token by certificate (RFC 7523), and the registration of a machine by a vault's credentials. Reads no
//! file, keeps no key.

use crate::transport::{agent, authorities, check_version, unreachable};
use crate::{Error, Result};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use model::{Digest, ServerName, VaultName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use store::Proxies;
use ureq::http::Request;
use url::Url;
use wire::{Code, CopyComputer, Credentials, ErrorBody, MachineRequest, SeedId};
use zeroize::Zeroizing;

/// Who asks for a token, and where.
pub struct Certified<'a> {
    /// `https://host:port`.
    pub endpoint: &'a str,
    /// The authority to trust for it, and no other, in PEM.
    pub ca_pem: &'a str,
    /// The tenant.
    pub tenant: &'a str,
    /// The client id of the application.
    pub client: &'a str,
    /// One of its certificates, in DER.
    pub certificate: &'a [u8],
    /// The key of that, PKCS#8 in DER.
    pub key: &'a [u8],
    /// Which proxy the way goes through.
    pub proxies: Proxies,
}

/// What a token for the resource manager is for.
const MANAGER: &str = "https://management.azure.com";
/// How long an assertion is good for, in seconds.
const GOOD: i64 = 300;
/// The longest answer that is read.
const LIMIT: u64 = 1 << 20;

impl Certified<'_> {
    /// An access token for that resource.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; [`Error::Refused`] with what the token endpoint says.
    pub fn token(&self, resource: &str) -> Result<Zeroizing<String>> {
        Ok(self.token_for(resource)?.0)
    }

    /// The same, with the seconds that it is good for.
    pub(crate) fn token_for(&self, resource: &str) -> Result<(Zeroizing<String>, u64)> {
        let url = self.url(&[self.tenant, "oauth2", "v2.0", "token"])?;
        let assertion = self.assertion(url.as_str())?;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", self.client)
            .append_pair("scope", &format!("{resource}/.default"))
            .append_pair(
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            )
            .append_pair("client_assertion", &assertion)
            .finish();
        let answer: Value = self.post(&url, "application/x-www-form-urlencoded", None, &form)?;
        let token = answer.get("access_token").and_then(Value::as_str);
        let token = token.map(|token| Zeroizing::new(token.to_owned()));
        let token = token.ok_or_else(|| Error::Answer {
            endpoint: self.endpoint.to_owned(),
            status: 200,
            what: "it has no access_token".to_owned(),
        })?;
        // Where it is not said, it is asked for again soon.
        let seconds = answer.get("expires_in").and_then(Value::as_u64).unwrap_or(60);
        Ok((token, seconds))
    }

    /// Registers a machine with a vault, whose credentials these are. `certificate` is the machine's own; `known` are
    /// SHA-256 of those that it has had.
    ///
    /// # Errors
    /// What the server refuses: credentials that are over or not the newest, a name that is taken.
    pub fn register(
        &self,
        audience: &str,
        vault: &VaultName,
        server: &ServerName,
        certificate: &[u8],
        (replace, known): (bool, Vec<Digest>),
    ) -> Result<Credentials> {
        let token = self.token(audience)?;
        let url = self.url(&["api", "v1", "vaults", vault.as_str(), "machines"])?;
        let certificate = STANDARD.encode(certificate);
        let request = MachineRequest { server: server.clone(), certificate, replace, known };
        let body = serde_json::to_string(&request).map_err(|cause| self.bad(&cause.to_string()))?;
        self.post(&url, "application/json", Some(&token), &body)
    }

    /// Credentials for writing the drives of a seed away from its source server. The certificate is one that may
    /// change what lies where the seed's storage account does: that of publish settings.
    ///
    /// # Errors
    /// [`Code::ResourceNotFound`] when there is no such seed, or it is not for this certificate.
    pub fn copy_computer(&self, seed: SeedId) -> Result<CopyComputer> {
        let token = self.token(MANAGER)?;
        let url = self.url(&["api", "v1", "seeds", &seed.to_string(), "copy-computer"])?;
        self.post(&url, "application/json", Some(&token), "")
    }

    fn bad(&self, what: &str) -> Error {
        Error::Credentials { from: format!("for {}", self.endpoint), what: what.to_owned() }
    }

    fn url(&self, segments: &[&str]) -> Result<Url> {
        let mut url = Url::parse(self.endpoint).map_err(|e| self.bad(&e.to_string()))?;
        if url.scheme() != "https" {
            return Err(self.bad("the endpoint is not an https URL"));
        }
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(segments);
        }
        Ok(url)
    }

    /// A JSON web token of that kind, signed with the key of the certificate: it says these claims, and that it was made now.
    ///
    /// # Errors
    /// [`Error::Credentials`]: the key cannot sign, or what is claimed is no object.
    pub fn statement(&self, kind: &str, claims: &impl Serialize) -> Result<String> {
        let mut claims =
            serde_json::to_value(claims).map_err(|cause| self.bad(&cause.to_string()))?;
        let now = Timestamp::now().as_second();
        if let Some(claims) = claims.as_object_mut() {
            claims.insert("iat".to_owned(), now.into());
            claims.insert("exp".to_owned(), (now + GOOD).into());
        }
        self.signed(kind, &claims)
    }

    fn assertion(&self, audience: &str) -> Result<String> {
        let now = Timestamp::now().as_second();
        let mut id = [0_u8; 16];
        getrandom::fill(&mut id).map_err(|e| self.bad(&e.to_string()))?;
        let claims = json!({
            "aud": audience, "iss": self.client, "sub": self.client, "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": now, "nbf": now, "exp": now + GOOD,
        });
        self.signed("JWT", &claims)
    }

    /// A JSON web token.
    fn signed(&self, kind: &str, claims: &Value) -> Result<String> {
        let thumbprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, self.certificate);
        let header = json!({
            "alg": "RS256", "typ": kind, "x5t#S256": URL_SAFE_NO_PAD.encode(thumbprint),
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let key = KeyPair::from_pkcs8(self.key)
            .map_err(|_| self.bad("the key of the certificate cannot be used"))?;
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| self.bad("the key of the certificate cannot sign"))?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn post<T: DeserializeOwned>(
        &self,
        url: &Url,
        kind: &str,
        token: Option<&str>,
        body: &str,
    ) -> Result<T> {
        let roots = authorities(self.ca_pem);
        if roots.is_empty() {
            return Err(self.bad("its certificate authority is not in PEM"));
        }
        let unreachable = |cause: ureq::Error| unreachable(self.endpoint, cause);
        let mut request = Request::post(url.as_str()).header("content-type", kind);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(body).map_err(|cause| unreachable(cause.into()))?;
        let proxy = self.proxies.of(url);
        let mut answer = agent(&roots, proxy).run(request).map_err(unreachable)?;
        check_version(self.endpoint, answer.headers())?;
        let status = answer.status().as_u16();
        let bad = |what: String| Error::Answer { endpoint: self.endpoint.to_owned(), status, what };
        let bytes = answer.body_mut().with_config().limit(LIMIT).read_to_vec();
        let bytes = Zeroizing::new(bytes.map_err(|cause| bad(cause.to_string()))?);
        if answer.status().is_success() {
            return serde_json::from_slice(&bytes).map_err(|cause| bad(cause.to_string()));
        }
        Err(refused(&bytes).unwrap_or_else(|| bad("it is no error that is known".to_owned())))
    }
}

/// The server's shape, or OAuth's.
fn refused(bytes: &[u8]) -> Option<Error> {
    if let Ok(ErrorBody { error }) = serde_json::from_slice(bytes) {
        let (code, message, details) = (error.code, error.message, error.details);
        return Some(Error::Refused { code, message, details, request: None });
    }
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let message = value.get("error_description")?.as_str()?.to_owned();
    let code = Code::AuthenticationFailed;
    Some(Error::Refused { code, message, details: Vec::new(), request: None })
}
