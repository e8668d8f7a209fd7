//! How to reach a REST server, and as whom. Shows no password in any form.

use crate::{Error, Proxies, Result};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use url::Url;
use zeroize::Zeroizing;

/// User and password for HTTP Basic authentication.
#[derive(Clone)]
pub struct Credentials {
    /// The user's name; has no colon.
    pub user: String,
    /// The password, or a token. Wiped from memory with the last copy.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, …)", self.user)
    }
}

/// Gives the access tokens that requests carry, for a server whose tokens end.
pub trait TokenSource: fmt::Debug + Send + Sync {
    /// One that is good now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when whoever gives them is away, [`Error::Denied`] when they give none.
    fn token(&self) -> Result<Zeroizing<String>>;

    /// The server has not taken this one: it is not to be given again.
    fn refused(&self, token: &str);
}

/// How [`Rest`](crate::Rest) talks to its server.
#[derive(Debug, Clone)]
pub struct RestOptions {
    /// Whom to be; before what the URL says.
    pub credentials: Option<Credentials>,
    /// Access tokens; before both.
    pub tokens: Option<Arc<dyn TokenSource>>,
    /// Which proxy the way goes through.
    pub proxies: Proxies,
    /// Certificates of authorities to trust beside the system's, in PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Trust nobody but those: for a server whose own authority is known beforehand.
    pub ca_pinned: bool,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long a connection may be without a byte in either direction while one is due.
    pub idle_timeout: Duration,
}

impl Default for RestOptions {
    fn default() -> Self {
        Self {
            credentials: None,
            tokens: None,
            proxies: Proxies::default(),
            ca_pem: None,
            ca_pinned: false,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

impl RestOptions {
    /// The credentials that hold for `url`.
    pub(super) fn credentials_for(&self, url: &Url) -> Result<Option<Credentials>> {
        let in_url = || {
            let user = percent_decoded(url.username())?;
            let password = Zeroizing::new(percent_decoded(url.password().unwrap_or_default())?);
            Some(Credentials { user, password })
        };
        let named = !url.username().is_empty() || url.password().is_some();
        let credentials = match &self.credentials {
            Some(given) => Some(given.clone()),
            None if named => {
                Some(in_url().ok_or_else(|| unusable(url, "user or password is no text"))?)
            }
            None => None,
        };
        if credentials.as_ref().is_some_and(|credentials| credentials.user.contains(':')) {
            return Err(unusable(url, "a user's name has no colon"));
        }
        Ok(credentials)
    }
}

/// That a URL cannot be used, and why. Without what it says before `@`.
pub(super) fn unusable(url: &Url, what: &str) -> Error {
    // Without a host there is no telling which part is a password.
    let shown = if url.has_host() { without_user(url).to_string() } else { "…".to_owned() };
    Error::Location { location: format!("rest:{shown}"), what: what.to_owned() }
}

/// The URL with a path that ends in `/`, and without user, password, query and fragment.
pub(super) fn without_user(url: &Url) -> Url {
    let mut url = url.clone();
    // These fail only for URLs that cannot have any.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

/// `%41` to `A`; a stray `%` stands for itself. `None` when the outcome is not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(url: &str) -> Option<(String, String)> {
        let found = RestOptions::default().credentials_for(&Url::parse(url).unwrap()).unwrap();
        found.map(|found| (found.user, found.password.to_string()))
    }

    #[test]
    fn a_url_says_who_it_is_for() {
        assert_eq!(credentials("http://host/"), None);
        let full = Some(("us/er".to_owned(), "p@ss:%".to_owned()));
        assert_eq!(credentials("http://us%2Fer:p%40ss%3A%25@host/"), full);
        assert_eq!(credentials("http://:token@host/"), Some((String::new(), "token".to_owned())));
    }

    #[test]
    fn given_credentials_go_before_those_in_the_url() {
        let given = Credentials { user: "me".to_owned(), password: "x".to_owned().into() };
        let options = RestOptions { credentials: Some(given), ..RestOptions::default() };
        let found = options.credentials_for(&Url::parse("http://you:y@host/").unwrap()).unwrap();
        assert_eq!(found.unwrap().user, "me");
    }

    #[test]
    fn what_cannot_be_sent_as_basic_is_refused_without_showing_it() {
        for url in ["http://a%3Ab:secret@host/", "http://%ff:secret@host/"] {
            let error =
                RestOptions::default().credentials_for(&Url::parse(url).unwrap()).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }

    #[test]
    fn credentials_show_no_password() {
        let given = Credentials { user: "me".to_owned(), password: "secret".to_owned().into() };
        assert!(!format!("{given:?}").contains("secret"));
    }
}
