//! One HTTP exchange: credentials in, typed answer or typed error out. Knows no route.

use crate::tokens::{Proofs, Tokens};
use crate::{Error, Result};
use base64::Engine as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use store::{Proxies, RestOptions};
use ureq::http::{HeaderMap, Method, Request, Response, request};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::{Body, SendBody};
use url::Url;
use wire::{Code, Credentials, ErrorBody};
use zeroize::Zeroizing;

/// An answer in JSON is shorter than this; only manifests and inventories are longer.
const JSON_LIMIT: u64 = 64 << 20;
/// No connection within this time means that there is no server.
const CONNECT: Duration = Duration::from_secs(10);
/// The server may hash a whole manifest, or look for every object of a drive, before it answers.
const ANSWER: Duration = Duration::from_secs(600);
/// A stream of events is given up after this time, however lively, so that a server that vanished without a
/// word is noticed.
const EVENTS: Duration = Duration::from_secs(120);

/// A connection to one server, with one caller's credentials. Cheap to clone; many threads may
/// call at once.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: Url,
    login: Login,
    proxies: Proxies,
    credentials: Arc<Credentials>,
}

/// How the caller proves who it is.
#[derive(Clone)]
enum Login {
    Basic(Zeroizing<String>),
    Tokens(Arc<Tokens>),
}

/// What is sent: only a stream cannot be sent again.
enum Sent<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Stream(&'a mut dyn Read),
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that trusts the credentials' certificate authority and no other.
    ///
    /// # Errors
    /// [`Error::Credentials`] when they name no `https` endpoint or no usable authority.
    pub fn new(credentials: Credentials) -> Result<Self> {
        Self::through(credentials, &Proxies::default())
    }

    /// The same through a proxy, where there is one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn through(credentials: Credentials, proxies: &Proxies) -> Result<Self> {
        if credentials.by_certificate() {
            let from = format!("for {}", credentials.endpoint);
            let what = "they are of a machine with a certificate, which is in its agent's state";
            return Err(Error::Credentials { from, what: what.to_owned() });
        }
        let pair = Zeroizing::new(format!("{}:{}", credentials.user, credentials.token));
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair.as_bytes());
        let login = Login::Basic(Zeroizing::new(format!("Basic {encoded}")));
        Self::with(Arc::new(credentials), login, proxies)
    }

    /// The client of a machine that gets tokens by its certificate.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn certified(credentials: Credentials, proofs: Proofs, proxies: &Proxies) -> Result<Self> {
        let credentials = Arc::new(credentials);
        let tokens = Tokens::new(Arc::clone(&credentials), proofs, proxies.clone());
        Self::with(credentials, Login::Tokens(Arc::new(tokens)), proxies)
    }

    fn with(credentials: Arc<Credentials>, login: Login, proxies: &Proxies) -> Result<Self> {
        let bad = |what: &str| Error::Credentials {
            from: format!("for {}", credentials.endpoint),
            what: what.to_owned(),
        };
        let base = Url::parse(&credentials.endpoint).map_err(|e| bad(&e.to_string()))?;
        if base.scheme() != "https" || base.cannot_be_a_base() {
            return Err(bad("the endpoint is not an https URL"));
        }
        let pem = credentials.ca_pem.as_deref().ok_or_else(|| bad("no certificate authority"))?;
        let roots = authorities(pem);
        if roots.is_empty() {
            return Err(bad("its certificate authority is not in PEM"));
        }
        let agent = agent(&roots, proxies.of(&base));
        Ok(Self { agent, base, login, proxies: proxies.clone(), credentials })
    }

    /// The tokens of a machine; none for whoever has one that does not end.
    #[must_use]
    pub fn tokens(&self) -> Option<&Arc<Tokens>> {
        match &self.login {
            Login::Basic(_) => None,
            Login::Tokens(tokens) => Some(tokens),
        }
    }

    /// How the data plane of the same server is reached, as the same caller.
    #[must_use]
    pub fn rest_options(&self) -> RestOptions {
        let known = &self.credentials;
        let mut options = RestOptions {
            ca_pem: known.ca_pem.clone().map(String::into_bytes),
            ca_pinned: true,
            proxies: self.proxies.clone(),
            ..RestOptions::default()
        };
        match &self.login {
            Login::Basic(_) => {
                let (user, password) = (known.user.clone(), known.token.clone().into());
                options.credentials = Some(store::Credentials { user, password });
            }
            Login::Tokens(tokens) => options.tokens = Some(Arc::<Tokens>::clone(tokens)),
        }
        options
    }

    /// The credentials in use.
    #[must_use]
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The URL of a path made of `segments`, each encoded; with a slash at its end if `folder`.
    pub(crate) fn url(&self, segments: &[&str], folder: bool) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(segments);
            if folder {
                path.push("");
            }
        }
        url
    }

    fn api(&self, segments: &[&str]) -> Url {
        let whole: Vec<&str> = ["api", "v1"].iter().chain(segments).copied().collect();
        self.url(&whole, false)
    }

    /// Sends no body, takes JSON.
    pub(crate) fn get<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T> {
        self.get_with(segments, &[])
    }

    /// The same with a query.
    pub(crate) fn get_with<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &[(&str, &str)],
    ) -> Result<T> {
        let mut url = self.api(segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut answer = self.exchange(&Method::GET, &url, None, Sent::Nothing)?;
        self.json(&mut answer)
    }

    /// As Azure's clients call: what refuses here has Azure's words. Sends no body where there is none.
    pub(crate) fn azure<B: Serialize>(
        &self,
        method: Method,
        url: &Url,
        only_if: Option<u64>,
        body: Option<&B>,
    ) -> Result<Azure> {
        let bytes = match body {
            Some(body) => self.text(body)?,
            None => Zeroizing::default(),
        };
        let is_post = method == Method::POST;
        let mut request = self.request(method, url, &self.authorization()?);
        if let Some(version) = only_if {
            request = request.header("if-match", format!("\"{version}\""));
        }
        let mut answer = if body.is_some() || is_post {
            request = request.header("content-type", "application/json");
            request = request.header("content-length", bytes.len());
            self.run(request, SendBody::from_reader(&mut bytes.as_slice()))?
        } else {
            self.run(request, SendBody::none())?
        };
        if !answer.status().is_success() {
            return Err(self.azure_refused(answer));
        }
        let (status, text) = (answer.status().as_u16(), self.whole(&mut answer)?);
        Ok(Azure { status, text, endpoint: self.credentials.endpoint.clone() })
    }

    /// Posts nothing, takes a file.
    pub(crate) fn file(&self, segments: &[&str]) -> Result<Zeroizing<Vec<u8>>> {
        let nothing = Some(("application/json", 0));
        let url = self.api(segments);
        let mut answer = self.exchange(&Method::POST, &url, nothing, Sent::Nothing)?;
        self.whole(&mut answer)
    }

    /// Posts nothing, takes JSON.
    pub(crate) fn post<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T> {
        let nothing = Some(("application/json", 0));
        let url = self.api(segments);
        let mut answer = self.exchange(&Method::POST, &url, nothing, Sent::Nothing)?;
        self.json(&mut answer)
    }

    /// Sends JSON, takes JSON. The text is wiped afterwards: it may hold a password.
    pub(crate) fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        method: &Method,
        segments: &[&str],
        body: &B,
    ) -> Result<T> {
        let mut answer = self.sent(method, segments, body)?;
        self.json(&mut answer)
    }

    /// The same where the answer has no body of interest.
    pub(crate) fn tell<B: Serialize>(
        &self,
        method: &Method,
        segments: &[&str],
        body: &B,
    ) -> Result<()> {
        self.sent(method, segments, body).map(|_| ())
    }

    fn sent<B: Serialize>(
        &self,
        method: &Method,
        segments: &[&str],
        body: &B,
    ) -> Result<Response<Body>> {
        let bytes = self.text(body)?;
        let kind = Some(("application/json", bytes.len() as u64));
        self.exchange(method, &self.api(segments), kind, Sent::Bytes(&bytes))
    }

    /// Asks for something to go.
    pub(crate) fn delete_at(&self, segments: &[&str]) -> Result<()> {
        self.exchange(&Method::DELETE, &self.api(segments), None, Sent::Nothing).map(|_| ())
    }

    /// Sends `length` octets from `from`; the answer has no body of interest.
    pub(crate) fn upload(&self, segments: &[&str], length: u64, from: &mut dyn Read) -> Result<()> {
        let kind = Some(("application/octet-stream", length));
        let url = self.api(segments);
        self.exchange(&Method::PUT, &url, kind, Sent::Stream(from)).map(|_| ())
    }

    /// The answer's octets as a stream.
    pub(crate) fn download(&self, segments: &[&str]) -> Result<Box<dyn Read + Send>> {
        let answer = self.exchange(&Method::GET, &self.api(segments), None, Sent::Nothing)?;
        Ok(Box::new(answer.into_body().into_reader()))
    }

    /// Server-sent events as a stream, after those up to `seen`.
    pub(crate) fn events(
        &self,
        segments: &[&str],
        seen: Option<u64>,
    ) -> Result<Box<dyn Read + Send>> {
        let mut request = self.request(Method::GET, &self.api(segments), &self.authorization()?);
        if let Some(seen) = seen {
            request = request.header("last-event-id", seen);
        }
        let request = request.body(()).map_err(|cause| self.unreachable(cause.into()))?;
        let request = self.agent.configure_request(request).timeout_recv_body(Some(EVENTS)).build();
        let answer = self.agent.run(request).map_err(|cause| self.unreachable(cause))?;
        if !answer.status().is_success() {
            return Err(self.refused(answer));
        }
        Ok(Box::new(answer.into_body().into_reader()))
    }

    fn text<B: Serialize>(&self, body: &B) -> Result<Zeroizing<Vec<u8>>> {
        let text = serde_json::to_vec(body).map_err(|cause| Error::Answer {
            endpoint: self.credentials.endpoint.clone(),
            status: 0,
            what: cause.to_string(),
        })?;
        Ok(Zeroizing::new(text))
    }

    fn authorization(&self) -> Result<Zeroizing<String>> {
        match &self.login {
            Login::Basic(text) => Ok(text.clone()),
            Login::Tokens(tokens) => {
                Ok(Zeroizing::new(format!("Bearer {}", tokens.get()?.as_str())))
            }
        }
    }

    fn request(&self, method: Method, url: &Url, authorization: &str) -> request::Builder {
        Request::builder()
            .method(method)
            .uri(url.as_str())
            .header("authorization", authorization)
            .header("accept", "application/json, application/octet-stream, text/event-stream")
    }

    fn run(&self, request: request::Builder, body: SendBody<'_>) -> Result<Response<Body>> {
        let request = request.body(body).map_err(|cause| self.unreachable(cause.into()))?;
        let answer = self.agent.run(request).map_err(|cause| self.unreachable(cause))?;
        check_version(&self.credentials.endpoint, answer.headers())?;
        Ok(answer)
    }

    fn unreachable(&self, cause: ureq::Error) -> Error {
        unreachable(&self.credentials.endpoint, cause)
    }

    fn exchange(
        &self,
        method: &Method,
        url: &Url,
        content: Option<(&str, u64)>,
        mut body: Sent<'_>,
    ) -> Result<Response<Body>> {
        let mut fresh = false;
        loop {
            let authorization = self.authorization()?;
            let mut request = self.request(method.clone(), url, &authorization);
            if let Some((kind, length)) = content {
                request = request.header("content-type", kind).header("content-length", length);
            }
            let answer = match &mut body {
                Sent::Nothing => self.run(request, SendBody::none())?,
                Sent::Bytes(bytes) => self.run(request, SendBody::from_reader(bytes))?,
                Sent::Stream(from) => self.run(request, SendBody::from_reader(from))?,
            };
            if answer.status().is_success() {
                return Ok(answer);
            }
            // A token that has ended before its time: the certificate that it was got by is not the machine's any more.
            let has_ended = answer.status().as_u16() == 401 && self.forget(&authorization);
            if !has_ended || fresh || matches!(body, Sent::Stream(_)) {
                return Err(self.refused(answer));
            }
            fresh = true;
        }
    }

    fn forget(&self, authorization: &str) -> bool {
        let Some(tokens) = self.tokens() else { return false };
        if let Some(token) = authorization.strip_prefix("Bearer ") {
            tokens.forget(token);
        }
        true
    }

    fn whole(&self, answer: &mut Response<Body>) -> Result<Zeroizing<Vec<u8>>> {
        let status = answer.status().as_u16();
        let limited = answer.body_mut().with_config().limit(JSON_LIMIT);
        limited.read_to_vec().map(Zeroizing::new).map_err(|cause| Error::Answer {
            endpoint: self.credentials.endpoint.clone(),
            status,
            what: cause.to_string(),
        })
    }

    fn json<T: DeserializeOwned>(&self, answer: &mut Response<Body>) -> Result<T> {
        let status = answer.status().as_u16();
        let bytes = self.whole(answer)?;
        let bad = |what: String| Error::Answer {
            endpoint: self.credentials.endpoint.clone(),
            status,
            what,
        };
        serde_json::from_slice(&bytes).map_err(|cause| bad(cause.to_string()))
    }

    fn azure_refused(&self, mut answer: Response<Body>) -> Error {
        let (status, request) = (answer.status().as_u16(), request_id(&answer));
        let said = |code: String, message: String| Error::Azure { status, code, message, request };
        match self.json::<AzureError>(&mut answer) {
            Ok(AzureError { error }) => said(error.code, error.message),
            Err(_) if status == 401 => said(
                Code::AuthenticationFailed.to_string(),
                "the server does not know these credentials".to_owned(),
            ),
            Err(error) => error,
        }
    }

    fn refused(&self, mut answer: Response<Body>) -> Error {
        let request = request_id(&answer);
        match self.json::<ErrorBody>(&mut answer) {
            Ok(ErrorBody { error }) => Error::Refused {
                code: error.code,
                message: error.message,
                details: error.details,
                request,
            },
            Err(_) if answer.status().as_u16() == 401 => Error::Refused {
                code: Code::AuthenticationFailed,
                message: "the server does not know these credentials".to_owned(),
                details: Vec::new(),
                request,
            },
            Err(error) => error,
        }
    }
}

fn request_id(answer: &Response<Body>) -> Option<String> {
    answer.headers().get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned)
}

/// An answer to a call as Azure's clients make it.
pub(crate) struct Azure {
    pub(crate) status: u16,
    text: Zeroizing<Vec<u8>>,
    endpoint: String,
}

impl Azure {
    /// What it says.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.text).map_err(|cause| Error::Answer {
            endpoint: self.endpoint.clone(),
            status: self.status,
            what: cause.to_string(),
        })
    }
}

/// Of an error in Azure's shape, what is shown.
#[derive(serde::Deserialize)]
struct AzureError {
    error: AzureDetail,
}

#[derive(serde::Deserialize)]
struct AzureDetail {
    code: String,
    message: String,
}

pub(crate) fn authorities(pem: &str) -> Vec<Certificate<'static>> {
    let items = parse_pem(pem.as_bytes()).filter_map(std::result::Result::ok);
    items
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect()
}

/// What a request means that got no answer.
pub(crate) fn unreachable(endpoint: &str, cause: ureq::Error) -> Error {
    let endpoint = endpoint.to_owned();
    match cause {
        ureq::Error::ConnectProxyFailed(what) => Error::Proxy { endpoint, what },
        cause => Error::Unreachable { endpoint, cause: Box::new(cause) },
    }
}

/// The oldest server that this client works with: major, minor, patch.
const OLDEST_SERVER: (u64, u64, u64) = (0, 1, 0);

/// Refuses a server that is too old: what it answers may mean something else. One that does not say is not ours, such as a
/// gateway before it.
pub(crate) fn check_version(endpoint: &str, headers: &HeaderMap) -> Result<()> {
    let said = headers.get("x-packmule-version").and_then(|version| version.to_str().ok());
    let Some(version) =
        said.filter(|version| numbers(version).is_some_and(|it| it < OLDEST_SERVER))
    else {
        return Ok(());
    };
    let (major, minor, patch) = OLDEST_SERVER;
    Err(Error::ServerTooOld {
        endpoint: endpoint.to_owned(),
        version: version.chars().take(40).collect(),
        needed: format!("{major}.{minor}.{patch}"),
    })
}

fn numbers(version: &str) -> Option<(u64, u64, u64)> {
    let mut parts = version.split(['.', '-', '+', ' ']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

pub(crate) fn agent(roots: &[Certificate<'static>], proxy: Option<ureq::Proxy>) -> ureq::Agent {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(RootCerts::new_with_certs(roots))
        .build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .https_only(true)
        .proxy(proxy)
        .max_redirects(0)
        .user_agent(concat!("packmule/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(ANSWER))
        .build()
        .new_agent()
}
