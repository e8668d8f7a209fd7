//! Storing an object on a server that may have it already, and may say so in several ways.
//! Never changes an object that is there.
//!
//! ```text
//!  POST ──▶ 2xx ─────────────────────────────────────────────▶ stored
//!       ──▶ 403, 409, or the connection breaks ──▶ is it there? ── no ──▶ that error
//!                                                       │ yes: read it back, compare
//!                                                       ├── the same ───▶ stored
//!                                                       └── different ──▶ Conflict
//! ```
//!
//! Stock rest-server answers 403 for whatever exists; others break the connection without reading
//! the body. Only comparing the bytes tells a repetition from a conflict.

use super::http::{Answer, is_broken};
use super::{OnServer, Rest};
use crate::stream::{BUFFER, Checked, read_full, read_some};
use crate::{Error, Result, Store};
use model::{Digest, ObjectKey};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};

/// The longest config that is streamed: it has no name to compare with, so it is held in memory.
/// restic's has 155 bytes.
const CONFIG_LIMIT: u64 = 1 << 20;

/// What a POST came to.
enum Posted {
    Stored,
    /// Refused, or unknown because the connection broke; the error holds unless the object is there.
    Perhaps(Error),
    Failed(Error),
}

impl Rest {
    pub(super) fn upload(&self, key: &ObjectKey, bytes: &[u8]) -> Result<()> {
        let length = bytes.len() as u64;
        match self.posted(key, length, &mut &*bytes) {
            Posted::Stored => Ok(()),
            Posted::Failed(error) => Err(error),
            Posted::Perhaps(error) => {
                let same = |theirs: &mut dyn Read| {
                    same_bytes(theirs, bytes).map_err(|cause| self.http.lost(cause))
                };
                self.judge(key, length, error, same)
            }
        }
    }

    pub(super) fn upload_from(
        &self,
        key: &ObjectKey,
        length: u64,
        from: &mut dyn Read,
    ) -> Result<()> {
        let mut checked = Checked::new(self.location(), key, length, from);
        let Some(name) = key.id() else {
            return self.upload_config(key, length, checked);
        };
        if length == 0 {
            // No body will be read, so nothing else would check it.
            checked.drain()?;
        }
        let mut body = Outgoing { checked: &mut checked, failure: None };
        let posted = self.posted(key, length, &mut body);
        if let Some(failure) = body.failure {
            return Err(failure);
        }
        match posted {
            Posted::Stored => Ok(()),
            Posted::Failed(error) => Err(error),
            Posted::Perhaps(error) => self.judge(key, length, error, |theirs| {
                checked.drain()?;
                hashes_to(theirs, name).map_err(|cause| self.http.lost(cause))
            }),
        }
    }

    fn upload_config(&self, key: &ObjectKey, length: u64, mut checked: Checked<'_>) -> Result<()> {
        if length > CONFIG_LIMIT {
            let limit = CONFIG_LIMIT;
            return Err(Error::TooLong { location: self.location(), key: *key, length, limit });
        }
        let (mut bytes, mut buffer) = (Vec::new(), vec![0; BUFFER]);
        loop {
            match checked.next(&mut buffer)? {
                0 => return self.upload(key, &bytes),
                count => bytes.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            }
        }
    }

    fn posted(&self, key: &ObjectKey, length: u64, body: &mut dyn Read) -> Posted {
        let answer = match self.http.post(&key.path_on_server(), length, body) {
            Ok(answer) => answer,
            Err(error) => return Posted::Failed(error),
        };
        match answer {
            Ok(answer) if answer.is_success() => {
                // Reads the text, if any, so that the connection is used again.
                answer.said();
                Posted::Stored
            }
            Ok(answer) => self.refusal(key, answer),
            Err(cause) if is_broken(&cause) => Posted::Perhaps(self.http.unreachable(cause)),
            Err(cause) => Posted::Failed(self.http.unreachable(cause)),
        }
    }

    fn refusal(&self, key: &ObjectKey, answer: Answer) -> Posted {
        match answer.status() {
            409 => Posted::Perhaps(Error::Conflict { location: self.location(), key: *key }),
            403 => Posted::Perhaps(self.http.refused(&format!("storing {key}"), answer)),
            400 => Posted::Failed(self.corrupt(key, format!("the server says: {}", answer.said()))),
            _ => Posted::Failed(self.http.refused(&format!("storing {key}"), answer)),
        }
    }

    /// Decides by what is there. `unless` is the outcome if nothing is.
    fn judge(
        &self,
        key: &ObjectKey,
        length: u64,
        unless: Error,
        is_same: impl FnOnce(&mut dyn Read) -> Result<bool>,
    ) -> Result<()> {
        let conflict = Error::Conflict { location: self.location(), key: *key };
        match self.length(key) {
            Ok(theirs) if theirs != length => return Err(conflict),
            Ok(_) => {}
            Err(_) => return Err(unless),
        }
        let same = is_same(&mut self.whole(key)?.into_body())?;
        same.then_some(()).ok_or(conflict)
    }
}

/// A checked source as the body of a request. Its failure is kept, because the way through the
/// HTTP client would lose what kind it is.
struct Outgoing<'a, 'b> {
    checked: &'a mut Checked<'b>,
    failure: Option<Error>,
}

impl Read for Outgoing<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.checked.next(buffer).map_err(|error| {
            self.failure = Some(error);
            io::Error::other("the source failed")
        })
    }
}

fn same_bytes(theirs: &mut dyn Read, mut ours: &[u8]) -> io::Result<bool> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = read_full(theirs, &mut buffer)?;
        let Some((head, tail)) = ours.split_at_checked(count) else { return Ok(false) };
        if buffer.get(..count) != Some(head) {
            return Ok(false);
        }
        if count == 0 {
            return Ok(tail.is_empty());
        }
        ours = tail;
    }
}

fn hashes_to(theirs: &mut dyn Read, name: Digest) -> io::Result<bool> {
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
    loop {
        match read_some(theirs, &mut buffer)? {
            0 => return Ok(Digest(hasher.finalize().into()) == name),
            count => hasher.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}
