//! From what people write for a repository's place to the store there. Connects to nothing.

use crate::{
    Clock, Error, Folder, Rate, RateLimit, Rest, RestOptions, Result, Retry, RetryPolicy, Store,
};
use std::sync::Arc;
use url::Url;

/// How to open a location. The default is what [`Folder::new`] or [`Rest::new`] alone would give.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// For `rest:` locations.
    pub rest: RestOptions,
    /// Tries again what was away, for `rest:` locations, whose other end comes and goes.
    pub retry: Option<(RetryPolicy, Arc<dyn Clock>)>,
    /// Holds the traffic to a rate, whatever the location.
    pub rate: Option<(Rate, Arc<dyn Clock>)>,
}

/// What this version can open, for messages.
const SUPPORTED: &str =
    "a folder (PATH or local:PATH) or a REST server (rest:http://… or rest:https://…)";

/// Locations of restic's and of object stores, which a folder of that name must not be mistaken for.
const UNSUPPORTED: [&str; 14] = [
    "azblob", "azure", "az", "abfs", "abfss", "s3", "gs", "gcs", "b2", "swift", "sftp", "rclone",
    "http", "https",
];

/// Opens a repository's place: `PATH`, `local:PATH`, or `rest:URL`. A folder whose name looks like
/// another kind of location is written `local:NAME` or `./NAME`.
///
/// # Errors
/// [`Error::Location`], which shows no password, when the text is no place that this version knows.
pub fn open_location(text: &str, options: &OpenOptions) -> Result<Arc<dyn Store>> {
    match text.split_once(':') {
        Some(("local", path)) => folder(text, path, options),
        Some(("rest", url)) => rest(url, options),
        Some((scheme, _)) if UNSUPPORTED.contains(&scheme.to_ascii_lowercase().as_str()) => {
            Err(unsupported(text, scheme))
        }
        _ => folder(text, text, options),
    }
}

fn folder(text: &str, path: &str, options: &OpenOptions) -> Result<Arc<dyn Store>> {
    if path.is_empty() || path.contains('\0') {
        return Err(refused(text, "it names no folder"));
    }
    Ok(limited(Arc::new(Folder::new(path)), options))
}

fn rest(url: &str, options: &OpenOptions) -> Result<Arc<dyn Store>> {
    let no_url = |cause: url::ParseError| refused(&format!("rest:{url}"), &cause.to_string());
    let url = Url::parse(url).map_err(no_url)?;
    let store = limited(Arc::new(Rest::new(&url, &options.rest)?), options);
    Ok(match &options.retry {
        Some((policy, clock)) => Arc::new(Retry::new(store, *policy, clock.clone())),
        None => store,
    })
}

fn limited(store: Arc<dyn Store>, options: &OpenOptions) -> Arc<dyn Store> {
    match &options.rate {
        Some((rate, clock)) => Arc::new(RateLimit::new(store, rate.clone(), clock.clone())),
        None => store,
    }
}

fn unsupported(text: &str, scheme: &str) -> Error {
    let scheme = scheme.to_ascii_lowercase();
    if scheme.starts_with("http") {
        return refused(text, "a REST server is written rest:http://… or rest:https://…");
    }
    let what = format!("{scheme} is not supported by this version; it can open {SUPPORTED}");
    refused(text, &what)
}

fn refused(text: &str, what: &str) -> Error {
    Error::Location { location: without_password(text), what: what.to_owned() }
}

/// The text without whatever might be user and password: all between `//` and the last `@`.
fn without_password(text: &str) -> String {
    let (scheme, rest) = text.split_once("//").map_or(("", text), |(scheme, rest)| (scheme, rest));
    match rest.rsplit_once('@') {
        None => text.to_owned(),
        Some((_, host)) => format!("{scheme}//…@{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ErrorKind;

    fn place(text: &str) -> String {
        open_location(text, &OpenOptions::default()).unwrap().location()
    }

    fn refusal(text: &str) -> Error {
        open_location(text, &OpenOptions::default()).unwrap_err()
    }

    #[test]
    fn folders_and_rest_servers_open() {
        assert_eq!(place("/srv/backup"), "/srv/backup");
        assert_eq!(place("local:some where"), "some where");
        assert_eq!(place("./s3:x"), "./s3:x");
        assert_eq!(place("week:1"), "week:1");
        assert_eq!(place("rest:http://host:8000"), "rest:http://host:8000/");
        assert_eq!(place("rest:https://host/a/b"), "rest:https://host/a/b/");
    }

    #[test]
    fn no_password_is_ever_shown() {
        assert_eq!(place("rest:http://me:secret@host/x/"), "rest:http://host/x/");
        for text in [
            "rest:ftp://me:secret@host/",
            "rest:http://me:secret@/x",
            "rest:http://me:sec@ret:secret@host:port/",
            "rest:me:secret@host",
            "s3:https://me:secret@host/bucket",
            "https://me:secret@host/",
        ] {
            let error = refusal(text);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn what_is_not_supported_is_named_beside_what_is() {
        for text in ["azblob://account/container", "s3:host/bucket", "gs:bucket:/", "sftp:host:/x"]
        {
            let error = refusal(text);
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let message = error.to_string();
            assert!(
                message.contains("not supported") && message.contains("rest:https"),
                "{message}"
            );
        }
        assert_eq!(refusal("").kind(), ErrorKind::Invalid);
        assert_eq!(refusal("local:").kind(), ErrorKind::Invalid);
    }
}
