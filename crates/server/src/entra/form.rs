//! The form that the token endpoint is asked with. Reads what it knows, once each; the many other
//! parameters that clients send are left alone.

use super::oauth::Reason;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use std::fmt;
use url::form_urlencoded;

/// What is known of a token request.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) grant_type: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) client_secret: Option<String>,
    pub(crate) client_assertion: Option<String>,
    pub(crate) client_assertion_type: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) resource: Option<String>,
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Form({:?}, …)", self.client_id)
    }
}

impl Form {
    /// The form, with the client's id and secret from Basic authentication where they are there
    /// (RFC 6749, 2.3.1: both are escaped as in a form).
    pub(crate) fn read(body: &[u8], headers: &HeaderMap) -> Result<Self, Reason> {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let Some(place) = form.place(&name) else { continue };
            if place.is_some() {
                return Err(Reason::Malformed);
            }
            // An empty parameter counts as one that is not there (RFC 6749, 3.2).
            if !value.is_empty() {
                *place = Some(value.into_owned());
            }
        }
        if headers.contains_key(AUTHORIZATION) {
            let (id, secret) = crate::auth::basic(headers).ok_or(Reason::Malformed)?;
            let (id, secret) = (unescaped(&id), unescaped(&secret));
            let other = form.client_id.as_ref().is_some_and(|named| *named != id);
            if other || form.client_secret.is_some() {
                return Err(Reason::Malformed);
            }
            (form.client_id, form.client_secret) = (Some(id), Some(secret));
        }
        Ok(form)
    }

    fn place(&mut self, name: &str) -> Option<&mut Option<String>> {
        match name {
            "grant_type" => Some(&mut self.grant_type),
            "client_id" => Some(&mut self.client_id),
            "client_secret" => Some(&mut self.client_secret),
            "client_assertion" => Some(&mut self.client_assertion),
            "client_assertion_type" => Some(&mut self.client_assertion_type),
            "scope" => Some(&mut self.scope),
            "resource" => Some(&mut self.resource),
            _ => None,
        }
    }
}

fn unescaped(text: &str) -> String {
    let whole = text.replace('&', "%26").replace('=', "%3D");
    let mut pairs = form_urlencoded::parse(whole.as_bytes());
    pairs.next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, basic: Option<&str>) -> Result<Form, Reason> {
        use base64::Engine as _;
        let mut headers = HeaderMap::new();
        if let Some(pair) = basic {
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            headers.insert(AUTHORIZATION, format!("Basic {pair}").parse().unwrap());
        }
        Form::read(body.as_bytes(), &headers)
    }

    #[test]
    fn parameters_are_read_once_and_others_are_left_alone() {
        let form = read("client_id=a%2Bb&scope=x+y&client_info=1&client_info=2&resource=", None);
        let form = form.unwrap();
        assert_eq!(form.client_id.as_deref(), Some("a+b"));
        assert_eq!((form.scope.as_deref(), form.resource), (Some("x y"), None));
        assert_eq!(read("client_id=a&client_id=b", None), Err(Reason::Malformed));
    }

    #[test]
    fn basic_credentials_stand_for_the_forms_and_never_beside_them() {
        let form = read("client_id=a", Some("a:b%26=c+d")).unwrap();
        assert_eq!(form.client_secret.as_deref(), Some("b&=c d"));
        assert!(!format!("{form:?}").contains("c d"));
        assert_eq!(read("client_id=b", Some("a:b")), Err(Reason::Malformed));
        assert_eq!(read("client_secret=b", Some("a:b")), Err(Reason::Malformed));
    }
}
