//! Which proxy the way to a server goes through. Reads no environment: whoever runs the program hands it in. What a
//! proxy's URL says of user and password is shown in no form.

use std::fmt;
use url::Url;

/// The proxies that were named, and the hosts that are reached without one. Connections go through a proxy's
/// tunnel (CONNECT), so that TLS is made with the server itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    http: Option<ureq::Proxy>,
    https: Option<ureq::Proxy>,
}

/// A proxy that cannot be used. Does not repeat what was given: there may be a password in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name} is no proxy that can be used: write it as http://host:port or http://user:password@host:port"
)]
pub struct ProxyError {
    /// Which setting is wrong.
    pub name: &'static str,
}

/// As the environment and agent.toml name them; empty texts are none.
#[derive(Clone, Copy, Default)]
pub struct ProxySettings<'a> {
    /// For servers with `https://`.
    pub https: Option<&'a str>,
    /// For servers with `http://`.
    pub http: Option<&'a str>,
    /// For both, where the other is not named.
    pub all: Option<&'a str>,
    /// Hosts that are reached without a proxy, with commas between: `localhost`, `.example.com`, `10.1.2.3`, `*`.
    pub no: Option<&'a str>,
}

impl Proxies {
    /// What the settings come to.
    ///
    /// # Errors
    /// One that cannot be used, by its name.
    pub fn new(settings: ProxySettings<'_>) -> Result<Self, ProxyError> {
        let no = settings.no.unwrap_or_default();
        let one = |name, own: Option<&str>| {
            let some = |text: &&str| !text.trim().is_empty();
            let text = own.filter(some).or(settings.all.filter(some));
            text.map(|text| proxy(text.trim(), no).ok_or(ProxyError { name })).transpose()
        };
        Ok(Self {
            http: one("the proxy for http", settings.http)?,
            https: one("the proxy for https", settings.https)?,
        })
    }

    /// The one for that server.
    #[must_use]
    pub fn of(&self, server: &Url) -> Option<ureq::Proxy> {
        let proxy = if server.scheme() == "http" { &self.http } else { &self.https };
        proxy.clone()
    }

    /// Host and port of a proxy, for people; none where there is none.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        let proxy = self.https.as_ref().or(self.http.as_ref())?;
        Some(format!("{}:{}", proxy.host(), proxy.port()))
    }
}

fn proxy(text: &str, no: &str) -> Option<ureq::Proxy> {
    // Stricter than whoever uses it: a port that is none is not the usual one.
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    Url::parse(&whole).ok()?.has_host().then_some(())?;
    let given = ureq::Proxy::new(text).ok()?;
    // Others are of no use without a library for them.
    if !matches!(given.protocol(), ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https) {
        return None;
    }
    let mut builder = ureq::Proxy::builder(given.protocol()).host(given.host()).port(given.port());
    if let Some(user) = given.username() {
        builder = builder.username(user);
    }
    if let Some(password) = given.password() {
        builder = builder.password(password);
    }
    for host in no.split(',').map(str::trim).filter(|host| !host.is_empty()) {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        builder = builder.no_proxy(host);
        // As most programs do: a domain stands for all below it, too.
        if host.parse::<std::net::IpAddr>().is_err() && !host.starts_with(['.', '*']) {
            builder = builder.no_proxy(&format!(".{host}"));
        }
    }
    builder.build().ok()
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxies({})", self.shown().as_deref().unwrap_or("none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: ProxySettings<'_>, url: &str) -> Option<(String, u16)> {
        let proxies = Proxies::new(settings).unwrap();
        let proxy = proxies.of(&Url::parse(url).unwrap())?;
        let uri = url.parse().unwrap();
        (!proxy.is_no_proxy(&uri)).then(|| (proxy.host().to_owned(), proxy.port()))
    }

    #[test]
    fn each_kind_of_server_has_its_proxy_and_some_have_none() {
        let (https, no) =
            (Some("http://p:3128"), Some(" localhost, .internal ,10.0.0.1, corp.example"));
        let settings = ProxySettings { https, no, ..ProxySettings::default() };
        assert_eq!(of(settings, "https://a.example:8443/"), Some(("p".to_owned(), 3128)));
        assert_eq!(of(settings, "http://a.example/"), None);
        for direct in [
            "https://localhost:8443/",
            "https://x.internal/",
            "https://10.0.0.1:1/",
            "https://a.corp.example/",
        ] {
            assert_eq!(of(settings, direct), None, "{direct}");
        }
        let all = ProxySettings { all: Some("p:8080"), http: Some(""), ..settings };
        assert_eq!(of(all, "http://a.example/"), Some(("p".to_owned(), 8080)));
        assert_eq!(of(all, "https://a.example/"), Some(("p".to_owned(), 3128)));
        assert_eq!(of(ProxySettings::default(), "https://a.example/"), None);
        assert_eq!(of(ProxySettings { no: Some("*"), ..settings }, "https://a.example/"), None);
    }

    #[test]
    fn a_proxys_password_is_shown_in_no_form() {
        let https = Some("http://me:s3cret@p:1");
        let proxies = Proxies::new(ProxySettings { https, ..ProxySettings::default() }).unwrap();
        let proxy = proxies.of(&Url::parse("https://a/").unwrap()).unwrap();
        assert_eq!((proxy.username(), proxy.password()), (Some("me"), Some("s3cret")));
        assert_eq!(format!("{proxies:?}"), "Proxies(p:1)");
        for wrong in ["http://me:s3cret@", "socks5://me:s3cret@p", "http://me:s3cret@p:port"] {
            let https = Some(wrong);
            let error = Proxies::new(ProxySettings { https, ..ProxySettings::default() });
            let error = error.unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"));
        }
    }
}
