//! Requests and answers: one agent, its trust and its timeouts, and what each failure means.
//! Knows paths, not objects.

use super::options::{RestOptions, TokenSource, unusable, without_user};
use crate::stream::read_limited;
use crate::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::crypto::aws_lc_rs;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use ureq::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, EXPECT, HeaderName, RANGE, SERVER,
};
use ureq::http::{HeaderValue, Response};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::WithBody;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectionDetails, Connector, DefaultConnector, Transport};
use ureq::{Agent, Body, BodyReader, RequestBuilder, SendBody};
use url::Url;
use zeroize::Zeroizing;

/// What the protocol calls its version 2 in `Accept` and `Content-Type`.
const VERSION_2: &str = "application/vnd.x.restic.rest.v2";
/// Bodies longer than this wait for the server's consent: refusing 16 MiB unseen is cheaper, and a
/// refusal that arrives while the body is still being sent can get lost with the connection.
const ASK_FIRST_FROM: u64 = 64 * 1024;
/// How much of a refusal's text is read, so that the connection can be used again.
const REFUSAL_LIMIT: u64 = 64 * 1024;
/// How much of it is shown.
const SHOWN: usize = 200;
/// Connections kept for reuse: as many threads as ever read packs at once.
const CONNECTIONS: usize = 32;

/// Where systems keep the certificates they trust; the first that exists counts.
const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// One server's repository, by relative path.
pub(super) struct Http {
    agent: Agent,
    base: Url,
    authorization: Option<HeaderValue>,
    tokens: Option<Arc<dyn TokenSource>>,
}

/// What one request shows of its caller.
struct Shown {
    header: Option<HeaderValue>,
    token: Option<Zeroizing<String>>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Http({})", self.base)
    }
}

impl Http {
    pub(super) fn new(url: &Url, options: &RestOptions) -> Result<Self> {
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(unusable(url, "a REST server's URL begins with http:// or https://"));
        }
        let authorization = match options.credentials_for(url)? {
            None => None,
            Some(who) => {
                let pair = Zeroizing::new(format!("{}:{}", who.user, who.password.as_str()));
                let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
                let value = HeaderValue::from_str(&text);
                let mut value = value.map_err(|_| unusable(url, "user or password is no text"))?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let agent = agent(url, options)?;
        let tokens = options.tokens.clone();
        Ok(Self { agent, base: without_user(url), authorization, tokens })
    }

    pub(super) fn location(&self) -> String {
        format!("rest:{}", self.base)
    }

    /// The object, or bytes `first..=last` of it.
    pub(super) fn get(&self, path: &str, range: Option<(u64, u64)>) -> Result<Answer> {
        self.twice(|shown| {
            let mut request = prepared(shown, self.agent.get(self.url(path)));
            if let Some((first, last)) = range {
                request = request.header(RANGE, format!("bytes={first}-{last}"));
            }
            request.call()
        })
    }

    pub(super) fn head(&self, path: &str) -> Result<Answer> {
        self.twice(|shown| prepared(shown, self.agent.head(self.url(path))).call())
    }

    pub(super) fn delete(&self, path: &str) -> Result<Answer> {
        self.twice(|shown| prepared(shown, self.agent.delete(self.url(path))).call())
    }

    pub(super) fn post_empty(&self, path: &str) -> Result<Answer> {
        self.twice(|shown| prepared(shown, self.agent.post(self.url(path))).send_empty())
    }

    /// Sends `length` bytes. Tried once: only the caller knows whether `body` can begin again.
    pub(super) fn post(
        &self,
        path: &str,
        length: u64,
        body: &mut dyn Read,
    ) -> Result<std::result::Result<Answer, ureq::Error>> {
        let shown = self.shown()?;
        let mut request: RequestBuilder<WithBody> =
            prepared(&shown, self.agent.post(self.url(path)));
        request =
            request.header(CONTENT_TYPE, "application/octet-stream").header(CONTENT_LENGTH, length);
        if length > ASK_FIRST_FROM {
            request = request.header(EXPECT, "100-continue");
        }
        let answer = request.send(SendBody::from_reader(body)).map(Answer);
        if let Ok(answer) = &answer
            && self.has_ended(&shown, answer.status())
        {
            let cause = "the access token has ended; with the next one it is tried again".into();
            return Err(Error::Unavailable { location: self.location(), cause });
        }
        Ok(answer)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn shown(&self) -> Result<Shown> {
        let Some(tokens) = &self.tokens else {
            return Ok(Shown { header: self.authorization.clone(), token: None });
        };
        let token = tokens.token()?;
        let text = Zeroizing::new(format!("Bearer {}", token.as_str()));
        let value = HeaderValue::from_str(&text);
        let mut value = value.map_err(|_| self.protocol("its token is no text".to_owned()))?;
        value.set_sensitive(true);
        Ok(Shown { header: Some(value), token: Some(token) })
    }

    /// Whether a token is not good any more, which is then not used again.
    fn has_ended(&self, shown: &Shown, status: u16) -> bool {
        let (401, Some(tokens), Some(token)) = (status, &self.tokens, &shown.token) else {
            return false;
        };
        tokens.refused(token);
        true
    }

    /// A kept connection may have been closed by the server just now: that shows as a broken
    /// connection, and is worth one fresh one. So is a token that has ended a fresh token.
    fn twice(
        &self,
        request: impl Fn(&Shown) -> std::result::Result<Response<Body>, ureq::Error>,
    ) -> Result<Answer> {
        let shown = self.shown()?;
        let answer = match request(&shown) {
            Err(cause) if is_broken(&cause) => request(&shown),
            Ok(answer) if self.has_ended(&shown, answer.status().as_u16()) => {
                request(&self.shown()?)
            }
            other => other,
        };
        answer.map(Answer).map_err(|cause| self.unreachable(cause))
    }

    /// What a request means that got no answer.
    pub(super) fn unreachable(&self, cause: ureq::Error) -> Error {
        let location = self.location();
        if let Some(what) = untrusted(&cause) {
            let what = format!("its certificate is not trusted ({what}); give its authority's");
            return Error::Denied { location, what };
        }
        Error::Unavailable { location, cause: Box::new(cause) }
    }

    /// What an answer means that broke off.
    pub(super) fn lost(&self, cause: io::Error) -> Error {
        Error::Unavailable { location: self.location(), cause: Box::new(cause) }
    }

    /// An answer that the protocol does not allow.
    pub(super) fn protocol(&self, what: String) -> Error {
        Error::Protocol { location: self.location(), what }
    }

    /// What a status means that `action` does not expect.
    pub(super) fn refused(&self, action: &str, answer: Answer) -> Error {
        let location = self.location();
        let status = answer.0.status();
        let (said, body) = answer.words();
        let what = format!("{action}: {status}{}{said}", if said.is_empty() { "" } else { ": " });
        match status.as_u16() {
            507 => match quota(&body) {
                Some(what) => Error::Quota { location, what },
                None => Error::Full { location },
            },
            401 | 403 | 405 | 501 => Error::Denied { location, what },
            408 | 425 | 429 | 500..=599 => Error::Unavailable { location, cause: what.into() },
            _ => Error::Protocol { location, what },
        }
    }
}

/// A server's answer, its body unread.
pub(super) struct Answer(Response<Body>);

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    pub(super) fn is_success(&self) -> bool {
        self.0.status().is_success()
    }

    pub(super) fn content_length(&self) -> Option<u64> {
        self.header(&CONTENT_LENGTH)?.trim().parse().ok()
    }

    /// Where the server says that its range begins, if it says so.
    pub(super) fn range_start(&self) -> Option<u64> {
        let range = self.header(&CONTENT_RANGE)?.trim().strip_prefix("bytes")?;
        range.trim().split('-').next()?.parse().ok()
    }

    pub(super) fn is_from(&self, server: &str) -> bool {
        self.header(&SERVER).is_some_and(|name| name.starts_with(server))
    }

    pub(super) fn into_body(self) -> BodyReader<'static> {
        self.0.into_body().into_reader()
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    /// The beginning of the answer's text, fit for a terminal.
    pub(super) fn said(self) -> String {
        self.words().0
    }

    /// The same, and all of it that is read.
    fn words(self) -> (String, Vec<u8>) {
        let bytes = read_limited(&mut self.into_body(), REFUSAL_LIMIT, 0);
        let bytes = bytes.ok().flatten().unwrap_or_default();
        (shown(&String::from_utf8_lossy(&bytes)), bytes)
    }
}

fn shown(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

/// What our own server says where a quota stands against it.
fn quota(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Body {
        error: Detail,
    }
    #[derive(serde::Deserialize)]
    struct Detail {
        code: String,
        message: String,
    }
    let Body { error } = serde_json::from_slice(body).ok()?;
    (error.code == "QuotaExceeded").then(|| shown(&error.message))
}

fn prepared<Any>(shown: &Shown, request: RequestBuilder<Any>) -> RequestBuilder<Any> {
    let request = request.header("Accept", VERSION_2);
    match &shown.header {
        Some(value) => request.header(AUTHORIZATION, value.clone()),
        None => request,
    }
}

fn agent(url: &Url, options: &RestOptions) -> Result<Agent> {
    let roots = if url.scheme() == "https" { roots(url, options)? } else { Vec::new() };
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .build();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(options.proxies.of(url))
        .tls_config(tls)
        .user_agent(concat!("packmule/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(options.connect_timeout))
        .timeout_connect(Some(options.connect_timeout))
        .timeout_per_read(Some(options.idle_timeout))
        .timeout_per_write(Some(options.idle_timeout))
        .max_idle_connections(CONNECTIONS)
        .max_idle_connections_per_host(CONNECTIONS)
        .build();
    let connector = DefaultConnector::new().chain(Primed);
    Ok(Agent::with_parts(config, connector, DefaultResolver::default()))
}

/// Makes a new connection use what it has received at once.
///
/// ureq's buffers start out as if the last look at their bytes had made no progress. A refusal that
/// comes instead of `100 Continue`, first thing on a connection that the server keeps open, would
/// then lie there unread until the idle timeout. Passing one byte through sets that right.
#[derive(Debug)]
struct Primed;

impl<In: Transport> Connector<In> for Primed {
    type Out = In;

    fn connect(
        &self,
        _: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> std::result::Result<Option<In>, ureq::Error> {
        Ok(chained.map(|mut transport| {
            let buffers = transport.buffers();
            if !buffers.input_append_buf().is_empty() {
                buffers.input_appended(1);
                buffers.input_consume(1);
            }
            transport
        }))
    }
}

/// The authorities to trust: the system's, and those given.
fn roots(url: &Url, options: &RestOptions) -> Result<Vec<Certificate<'static>>> {
    let files = if options.ca_pinned { &[][..] } else { &SYSTEM_ROOTS[..] };
    let system = files.iter().find_map(|path| std::fs::read(Path::new(path)).ok());
    let mut roots = certificates(&system.unwrap_or_default());
    if let Some(pem) = &options.ca_pem {
        let given = certificates(pem);
        if given.is_empty() {
            return Err(unusable(url, "the authority's file holds no certificate in PEM"));
        }
        roots.extend(given);
    }
    if options.ca_pinned && roots.is_empty() {
        return Err(unusable(url, "only its own authority is to be trusted, and none was given"));
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    parse_pem(pem).filter_map(certificate).collect()
}

/// Whether a connection broke that had been made, as opposed to none being made or silence.
pub(super) fn is_broken(cause: &ureq::Error) -> bool {
    use io::ErrorKind as K;
    let ureq::Error::Io(cause) = cause else { return false };
    let broken = [K::BrokenPipe, K::ConnectionReset, K::ConnectionAborted, K::UnexpectedEof];
    broken.contains(&cause.kind())
}

fn untrusted(cause: &ureq::Error) -> Option<String> {
    let inner = match cause {
        ureq::Error::Rustls(inner) => Some(inner),
        ureq::Error::Io(cause) => cause.get_ref().and_then(|inner| inner.downcast_ref()),
        _ => None,
    };
    match inner {
        Some(rustls::Error::InvalidCertificate(what)) => Some(what.to_string()),
        _ => None,
    }
}
