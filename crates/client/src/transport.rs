//! One HTTP exchange: credentials in, typed answer or typed error out. Knows no route.

use crate::{Error, Result};
use base64::Engine as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{Method, Request, Response, request};
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
    authorization: String,
    credentials: Arc<Credentials>,
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
        let pair = format!("{}:{}", credentials.user, credentials.token);
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        Ok(Self {
            agent: agent(&roots),
            base,
            authorization: format!("Basic {encoded}"),
            credentials: Arc::new(credentials),
        })
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
        let mut answer = self.exchange(Method::GET, &url, None, SendBody::none())?;
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
        let mut request = self.request(method, url);
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
        let mut answer = self.exchange(Method::POST, &url, nothing, SendBody::none())?;
        self.whole(&mut answer)
    }

    /// Posts nothing, takes JSON.
    pub(crate) fn post<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T> {
        let nothing = Some(("application/json", 0));
        let url = self.api(segments);
        let mut answer = self.exchange(Method::POST, &url, nothing, SendBody::none())?;
        self.json(&mut answer)
    }

    /// Sends JSON, takes JSON. The text is wiped afterwards: it may hold a password.
    pub(crate) fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        segments: &[&str],
        body: &B,
    ) -> Result<T> {
        let bytes = self.text(body)?;
        let length = bytes.len() as u64;
        let from = &mut bytes.as_slice();
        let mut answer = self.exchange(
            method,
            &self.api(segments),
            Some(("application/json", length)),
            SendBody::from_reader(from),
        )?;
        self.json(&mut answer)
    }

    /// Sends `length` octets from `from`; the answer has no body of interest.
    pub(crate) fn upload(&self, segments: &[&str], length: u64, from: &mut dyn Read) -> Result<()> {
        let kind = Some(("application/octet-stream", length));
        let url = self.api(segments);
        self.exchange(Method::PUT, &url, kind, SendBody::from_reader(from)).map(|_| ())
    }

    /// The answer's octets as a stream.
    pub(crate) fn download(&self, segments: &[&str]) -> Result<Box<dyn Read + Send>> {
        let answer = self.exchange(Method::GET, &self.api(segments), None, SendBody::none())?;
        Ok(Box::new(answer.into_body().into_reader()))
    }

    /// Server-sent events as a stream, after those up to `seen`.
    pub(crate) fn events(
        &self,
        segments: &[&str],
        seen: Option<u64>,
    ) -> Result<Box<dyn Read + Send>> {
        let mut request = self.request(Method::GET, &self.api(segments));
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

    fn request(&self, method: Method, url: &Url) -> request::Builder {
        Request::builder()
            .method(method)
            .uri(url.as_str())
            .header("authorization", &self.authorization)
            .header("accept", "application/json, application/octet-stream, text/event-stream")
    }

    fn run(&self, request: request::Builder, body: SendBody<'_>) -> Result<Response<Body>> {
        let request = request.body(body).map_err(|cause| self.unreachable(cause.into()))?;
        self.agent.run(request).map_err(|cause| self.unreachable(cause))
    }

    fn unreachable(&self, cause: ureq::Error) -> Error {
        let endpoint = self.credentials.endpoint.clone();
        Error::Unreachable { endpoint, cause: Box::new(cause) }
    }

    fn exchange(
        &self,
        method: Method,
        url: &Url,
        content: Option<(&str, u64)>,
        body: SendBody<'_>,
    ) -> Result<Response<Body>> {
        let mut request = self.request(method, url);
        if let Some((kind, length)) = content {
            request = request.header("content-type", kind).header("content-length", length);
        }
        let answer = self.run(request, body)?;
        if answer.status().is_success() { Ok(answer) } else { Err(self.refused(answer)) }
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

pub(crate) fn agent(roots: &[Certificate<'static>]) -> ureq::Agent {
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
        .proxy(None)
        .max_redirects(0)
        .user_agent(concat!("packmule/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(ANSWER))
        .build()
        .new_agent()
}
