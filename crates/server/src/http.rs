//! What every request goes through: an id, the log, bounded bodies, parsed path segments. Decides
//! nothing about who may do what.

use crate::app::App;
use crate::{Error, arm, token};
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::http::header::{
    CACHE_CONTROL, EXPECT, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::uri::{PathAndQuery, Uri};
use axum::middleware::Next;
use axum::response::Response;
use futures::stream::{Stream, StreamExt as _};
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tracing::Instrument as _;
use wire::Code;

/// The header that carries a request's id, in answers and in the log.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The same for Azure's clients, who send one of their own and may ask to have it back.
const MS_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CLIENT_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const RETURN_CLIENT_ID: HeaderName = HeaderName::from_static("x-ms-return-client-request-id");

/// The server's version, so that a client can refuse one that is too old.
const VERSION: HeaderName = HeaderName::from_static("x-packmule-version");

/// The id of the request, for those who write it down.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// A JSON body is at most this long; ten times a dock's longest report.
const JSON_LIMIT: usize = 8 << 20;

/// Of a body that was refused or not looked at, this much is read and thrown away, so that a caller
/// who is still sending reads the answer and not a broken connection.
const DRAIN: u64 = 32 << 20;
/// And for at most this long.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// A body that is read as a whole is there within this time: byte by byte, it would hold a connection for weeks.
const WHOLE: Duration = Duration::from_secs(120);
/// And within this one where nobody knows yet who sends it: no longer than what is not looked at is read.
const SOON: Duration = DRAIN_TIME;

type Octets = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A body that two hold: whoever answers, and whoever reads what was left.
#[derive(Clone)]
struct Shared(Arc<Mutex<Octets>>);

impl Stream for Shared {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stream.as_mut().poll_next(context)
    }
}

/// Gives up a body that brings nothing for too long, and reads what is left of the body of a request that was
/// answered without it. A server that failed may not be able to: that answer goes out at once.
pub(crate) async fn drain(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let waits = parts.headers.contains_key(EXPECT);
    let mut rest = Shared(Arc::new(Mutex::new(octets(body, app.config.stall))));
    let request = Request::from_parts(parts, Body::from_stream(rest.clone()));
    let response = next.run(request).await;
    if !response.status().is_server_error() && !waits {
        let reading = async {
            let mut read = 0;
            while let Some(Ok(bytes)) = rest.next().await {
                read += bytes.len() as u64;
                if read > DRAIN {
                    break;
                }
            }
        };
        // Whether all was read or the time is up, the answer goes out now.
        let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
    }
    response
}

/// The request with its path as routes are written.
pub(crate) fn plain_path(mut request: Request) -> Request {
    let uri = request.uri();
    let Cow::Owned(path) = arm::plain(uri.path()) else { return request };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    // What was a path still is one: nothing but slashes went, and no letter came.
    parts.path_and_query = PathAndQuery::try_from(format!("{path}{query}")).ok();
    if let (true, Ok(uri)) = (parts.path_and_query.is_some(), Uri::from_parts(parts)) {
        *request.uri_mut() = uri;
    }
    request
}

/// Gives the request an id, and logs how it ended: never a header of it, never its query.
pub(crate) async fn observe(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut bytes = [0_u8; 8];
    let id = match token::random(&mut bytes) {
        Ok(()) => format!("{:016x}", u64::from_be_bytes(bytes)),
        Err(_) => String::from("unknown"),
    };
    request.extensions_mut().insert(RequestId(id.clone()));
    let back = request.headers().get(RETURN_CLIENT_ID).is_some_and(|value| value == "true");
    let client_id = request.headers().get(CLIENT_ID).filter(|_| back).cloned();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let span = tracing::info_span!("request", %id, %method, path);
    let started = Instant::now();
    let mut response = next.run(request).instrument(span.clone()).await;
    let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| tracing::info!(status = response.status().as_u16(), milliseconds, "answered"));
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(MS_REQUEST_ID, id.clone());
        headers.insert(REQUEST_ID, id);
    }
    if let Some(id) = client_id {
        headers.insert(CLIENT_ID, id);
    }
    if let Ok(version) = HeaderValue::from_str(&app.config.version) {
        headers.insert(VERSION, version);
    }
    headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The variable segments of the path, as types that cannot be wrong.
pub(crate) struct Segments<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Segments<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(value)| Self(value)).map_err(|cause| Error::invalid(cause.body_text()))
    }
}

/// The query, as a type that cannot be wrong.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T, S> FromRequestParts<S> for Asked<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(value)| Self(value)).map_err(|cause| Error::invalid(cause.body_text()))
    }
}

/// A JSON body as its type. Nothing at all counts as `null`.
pub(crate) async fn json<T: DeserializeOwned>(body: Body) -> Result<T, Error> {
    let bytes = whole(body, JSON_LIMIT).await.map_err(|cause| {
        let message = format!("the body is cut or longer than {JSON_LIMIT} bytes: {cause}");
        Error::refused(Code::BodyTooLarge, message)
    })?;
    let text: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
    serde_json::from_slice(text)
        .map_err(|cause| Error::invalid(format!("the body is not what it should be: {cause}")))
}

/// As [`json`], where nothing at all means the default.
pub(crate) async fn json_or_default<T>(body: Body) -> Result<T, Error>
where
    T: DeserializeOwned + Default,
{
    json::<Option<T>>(body).await.map(Option::unwrap_or_default)
}

/// All of a body of `limit` bytes at most, from a caller who is known.
pub(crate) async fn whole(body: Body, limit: usize) -> Result<Bytes, axum::Error> {
    within(WHOLE, body, limit).await
}

/// The same from anyone.
pub(crate) async fn whole_soon(body: Body, limit: usize) -> Result<Bytes, axum::Error> {
    within(SOON, body, limit).await
}

async fn within(time: Duration, body: Body, limit: usize) -> Result<Bytes, axum::Error> {
    let bytes = tokio::time::timeout(time, axum::body::to_bytes(body, limit)).await;
    bytes.unwrap_or_else(|late| Err(axum::Error::new(late)))
}

/// A body as a stream that ends with an error when nothing comes for `stall`.
fn octets(body: Body, stall: Duration) -> Octets {
    let stream = body.into_data_stream();
    let bounded = futures::stream::unfold(Some(stream), move |stream| async move {
        let mut stream = stream?;
        match tokio::time::timeout(stall, stream.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some(stream))),
            Ok(Some(Err(cause))) => Some((Err(io::Error::other(cause)), None)),
            Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    });
    // Whoever reads what is left asks once more after the end.
    Box::pin(bounded.fuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_empty_body_is_null_and_a_long_one_is_refused() {
        assert_eq!(json::<Option<u8>>(Body::empty()).await.unwrap(), None);
        assert_eq!(json::<u8>(Body::from("7")).await.unwrap(), 7);
        assert!(json::<u8>(Body::from("x")).await.is_err());
        let error = json::<u8>(Body::from(vec![b' '; JSON_LIMIT + 1])).await.unwrap_err();
        assert!(matches!(error, Error::Refused { code: Code::BodyTooLarge, .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_body_that_comes_byte_by_byte_is_given_up() {
        let drops = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Ok::<_, io::Error>(Bytes::from_static(b" ")), ()))
        });
        let error = json::<u8>(Body::from_stream(drops)).await.unwrap_err();
        assert!(matches!(error, Error::Refused { code: Code::BodyTooLarge, .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_given_up() {
        let body = Body::from_stream(futures::stream::pending::<io::Result<Bytes>>());
        let mut stream = octets(body, Duration::from_secs(5));
        assert_eq!(stream.next().await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        for _ in 0..2 {
            assert!(stream.next().await.is_none());
        }
    }
}
