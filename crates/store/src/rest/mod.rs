//! A repository behind restic's REST protocol, version 2 (and 1 for lists). Speaks HTTP only here
//! and below; decides nothing about what objects mean.
//!
//! Source of the protocol: restic's doc/REST_backend.rst. What it leaves open is taken liberally:
//! servers differ in headers, in how they refuse an object that exists, and in whether an empty
//! folder exists.

mod http;
mod list;
mod options;
mod upload;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use list::is_list;
pub use options::{Credentials, RestOptions, TokenSource};

use crate::stream::{read_full, read_limited, read_some};
use crate::{Error, Listed, Result, Store};
use http::{Answer, Http};
use model::{ObjectKey, ObjectKind};
use std::io::{self, Read};
use url::Url;

/// A repository on a server that speaks restic's REST protocol. See the [crate's contract](crate).
///
/// Connections are kept and reused; any number of threads may call at once. Nothing waits longer
/// than the [timeouts](RestOptions) for a sign of life.
#[derive(Debug)]
pub struct Rest {
    http: Http,
}

impl Rest {
    /// The repository at `url`, which is `http` or `https` and may carry user and password.
    /// Connects only when used.
    ///
    /// # Errors
    /// [`Error::Location`] when the URL or the certificates given are unusable.
    pub fn new(url: &Url, options: &RestOptions) -> Result<Self> {
        Ok(Self { http: Http::new(url, options)? })
    }

    fn not_found(&self, key: &ObjectKey) -> Error {
        Error::NotFound { location: self.location(), key: *key }
    }

    fn corrupt(&self, key: &ObjectKey, what: String) -> Error {
        Error::Corrupt { location: self.location(), key: *key, what }
    }

    /// The whole object's answer, its body unread.
    fn whole(&self, key: &ObjectKey) -> Result<Answer> {
        let answer = self.http.get(&key.path_on_server(), None)?;
        match answer.status() {
            200 => Ok(answer),
            404 => Err(self.not_found(key)),
            _ => Err(self.http.refused(&format!("reading {key}"), answer)),
        }
    }

    /// Reads the range out of the body of a whole object, no further than its end.
    fn cut(
        &self,
        key: &ObjectKey,
        offset: u64,
        buffer: &mut [u8],
        body: &mut dyn Read,
    ) -> Result<()> {
        let lost = |cause| self.http.lost(cause);
        let skipped = io::copy(&mut body.take(offset), &mut io::sink()).map_err(lost)?;
        if skipped < offset || read_full(body, buffer).map_err(lost)? < buffer.len() {
            return Err(self.ends_early(key, offset, buffer.len() as u64));
        }
        Ok(())
    }

    fn ends_early(&self, key: &ObjectKey, offset: u64, length: u64) -> Error {
        self.corrupt(key, format!("it ends before {length} + {offset}"))
    }

    /// Reads a body that should be the range and nothing more.
    fn fill(&self, key: &ObjectKey, offset: u64, buffer: &mut [u8], answer: Answer) -> Result<()> {
        if answer.range_start().is_some_and(|start| start != offset) {
            return Err(self.http.protocol(format!("another range of {key} than asked for")));
        }
        let lost = |cause| self.http.lost(cause);
        let mut body = answer.into_body();
        if read_full(&mut body, buffer).map_err(lost)? < buffer.len() {
            return Err(self.ends_early(key, offset, buffer.len() as u64));
        }
        // Reading the end is also what hands the connection back for reuse.
        match read_some(&mut body, &mut [0]).map_err(lost)? {
            0 => Ok(()),
            _ => Err(self.http.protocol(format!("more of {key} than asked for"))),
        }
    }

    fn list_config(&self) -> Result<Vec<Listed>> {
        match self.length(&ObjectKey::Config) {
            Ok(length) => Ok(vec![Listed { key: ObjectKey::Config, length }]),
            Err(Error::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

impl Store for Rest {
    fn location(&self) -> String {
        self.http.location()
    }

    fn create(&self) -> Result<()> {
        let answer = self.http.post_empty("?create=true")?;
        if answer.is_success() {
            return Ok(());
        }
        let refused = self.http.refused("making a repository", answer);
        // Some servers refuse to make what is there: then there is nothing to do.
        self.length(&ObjectKey::Config).map(|_| ()).map_err(|_| refused)
    }

    fn put(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()> {
        self.upload(key, bytes)
    }

    fn put_from(&self, key: &ObjectKey, length: u64, from: &mut dyn Read) -> Result<()> {
        self.upload_from(key, length, from)
    }

    fn get(&self, key: &ObjectKey, limit: u64) -> Result<Vec<u8>> {
        let answer = self.whole(key)?;
        let too_long =
            |length| Error::TooLong { location: self.location(), key: *key, length, limit };
        let announced = answer.content_length();
        if let Some(length) = announced.filter(|length| *length > limit) {
            return Err(too_long(length));
        }
        let bytes = read_limited(&mut answer.into_body(), limit, announced.unwrap_or(0));
        let bytes = bytes.map_err(|cause| self.http.lost(cause))?;
        bytes.ok_or_else(|| too_long(limit.saturating_add(1)))
    }

    fn read_at(&self, key: &ObjectKey, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let wanted = buffer.len() as u64;
        let last = offset.checked_add(wanted).and_then(|end| end.checked_sub(1));
        let (Some(last), true) = (last, wanted > 0) else {
            // A range header can say neither "nothing" nor "beyond every length".
            let length = self.length(key)?;
            let inside = wanted == 0 && offset <= length;
            return inside.then_some(()).ok_or_else(|| self.ends_early(key, offset, wanted));
        };
        let answer = self.http.get(&key.path_on_server(), Some((offset, last)))?;
        match answer.status() {
            206 => self.fill(key, offset, buffer, answer),
            200 => self.cut(key, offset, buffer, &mut answer.into_body()),
            404 => Err(self.not_found(key)),
            416 => Err(self.ends_early(key, offset, wanted)),
            _ => Err(self.http.refused(&format!("reading {key}"), answer)),
        }
    }

    fn open(&self, key: &ObjectKey) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(self.whole(key)?.into_body()))
    }

    fn length(&self, key: &ObjectKey) -> Result<u64> {
        let answer = self.http.head(&key.path_on_server())?;
        match answer.status() {
            200 => answer
                .content_length()
                .ok_or_else(|| self.http.protocol(format!("no length for {key}"))),
            404 => Err(self.not_found(key)),
            _ => Err(self.http.refused(&format!("looking at {key}"), answer)),
        }
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Listed>> {
        if kind == ObjectKind::Config { self.list_config() } else { self.list_folder(kind) }
    }

    fn remove(&self, key: &ObjectKey) -> Result<()> {
        let answer = self.http.delete(&key.path_on_server())?;
        match answer.status() {
            200..=299 | 404 => Ok(()),
            _ => Err(self.http.refused(&format!("removing {key}"), answer)),
        }
    }

    /// restic opens five connections by default; each of ours holds a whole pack meanwhile.
    fn puts_at_once(&self) -> usize {
        3
    }
}

/// Where the protocol keeps an object: unlike a folder, it has no shards.
trait OnServer {
    fn path_on_server(&self) -> String;
}

impl OnServer for ObjectKey {
    fn path_on_server(&self) -> String {
        let folder = self.kind().folder();
        self.id().map_or_else(|| folder.to_owned(), |id| format!("{folder}/{id}"))
    }
}
