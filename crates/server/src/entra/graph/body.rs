//! Bodies of Graph's requests: bounded, and as their types.

use super::GraphError;
use crate::http;
use axum::body::Body;
use serde::de::DeserializeOwned;

/// A hundred certificates in base 64, with their descriptions.
const LIMIT: usize = 1 << 20;

/// A JSON body as its type.
pub(super) async fn json<T: DeserializeOwned>(body: Body) -> Result<T, GraphError> {
    let bytes = http::whole(body, LIMIT)
        .await
        .map_err(|_| GraphError::bad(format!("The body is cut or longer than {LIMIT} bytes.")))?;
    serde_json::from_slice(&bytes)
        .map_err(|why| GraphError::bad(format!("The body is not what it should be: {why}.")))
}
