//! Serves the metrics over HTTP, as they were last told. Computes none.

use crate::Error;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::runtime::Runtime;

/// What a scraper gets.
type Text = Arc<RwLock<String>>;

/// A server for metrics; ends when it is dropped.
#[derive(Debug)]
pub struct Listener {
    text: Text,
    address: SocketAddr,
    _runtime: Runtime,
}

impl Listener {
    /// Begins to serve.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub fn new(address: SocketAddr) -> Result<Self, Error> {
        let cannot = |cause| Error::Listen { address: address.to_string(), cause };
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().map_err(cannot)?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let text = Text::default();
        let shown = Arc::clone(&text);
        let metrics = get(move || {
            let text = shown.read().unwrap_or_else(PoisonError::into_inner).clone();
            async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text) }
        });
        let routes = Router::new().route("/metrics", metrics);
        runtime.spawn(async move {
            if let Err(cause) = axum::serve(listener, routes).await {
                tracing::error!("metrics are not served any more: {cause}");
            }
        });
        Ok(Self { text, address, _runtime: runtime })
    }

    /// Where it serves.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, text: String) {
        *self.text.write().unwrap_or_else(PoisonError::into_inner) = text;
    }
}
