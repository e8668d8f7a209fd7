//! Alerts to a URL: a POST of JSON, with a field `text` as chat programs want it; through a proxy where one is named. Reads no environment.

use super::{Channel, Message, PATIENCE, trusted};
use std::sync::Arc;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

pub(super) struct Webhook {
    url: String,
    agent: ureq::Agent,
}

impl Webhook {
    pub(super) fn new(url: &str, proxies: &store::Proxies) -> Result<Self, String> {
        let proxy = url::Url::parse(url).ok().and_then(|url| proxies.of(&url));
        let mut tls =
            TlsConfig::builder().provider(TlsProvider::Rustls).unversioned_rustls_crypto_provider(
                Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            );
        if url.starts_with("https:") {
            tls = tls.root_certs(RootCerts::new_with_certs(&trusted()?));
        }
        let agent = ureq::Agent::config_builder()
            .tls_config(tls.build())
            .proxy(proxy)
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("packmule/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(PATIENCE))
            .build()
            .new_agent();
        Ok(Self { url: url.to_owned(), agent })
    }
}

impl Channel for Webhook {
    fn send(&self, message: &Message) -> Result<(), String> {
        let request = self.agent.post(&self.url).header("content-type", "application/json");
        // The URL may have a token in it: it is in no message.
        let answer = request.send(message.json().to_string());
        let answer = answer.map_err(|cause| match cause {
            ureq::Error::Io(cause) => format!("the server does not answer: {cause}"),
            ureq::Error::Timeout(_) => "the server does not answer in time".to_owned(),
            ureq::Error::HostNotFound => "there is no such host".to_owned(),
            _ => "the server cannot be talked to".to_owned(),
        })?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("the server answers {status}")) }
    }
}
