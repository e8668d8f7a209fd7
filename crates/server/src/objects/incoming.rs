//! Bytes on their way in: gathered into parts, hashed, and gone without a trace unless completed.
//! Decides no name.

use super::Objects;
use crate::Error;
use axum::body::Bytes;
use futures::stream::{Stream, StreamExt as _};
use model::Digest;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayloadMut};
use sha2::{Digest as _, Sha256};
use wire::Code;

/// Bytes gathered before they are handed to the store: more than the 5 MiB that object storage
/// wants of a part.
const PART: usize = 8 << 20;

/// Why bytes on their way in were not stored.
#[derive(Debug)]
pub(crate) enum Broken<E> {
    /// The stream ended with an error.
    Stream(E),
    /// More bytes than allowed.
    TooLong,
    /// The store failed.
    Store(Error),
}

/// Of bytes that a caller sends.
impl<E> From<Broken<E>> for Error {
    fn from(broken: Broken<E>) -> Self {
        match broken {
            Broken::Stream(_) => Self::invalid("the body broke off; send it again"),
            Broken::TooLong => Self::refused(Code::BodyTooLarge, "the body is too long"),
            Broken::Store(error) => error,
        }
    }
}

/// An upload that leaves nothing unless it is completed.
pub(super) struct Upload {
    upload: Box<dyn MultipartUpload>,
    gathered: PutPayloadMut,
}

impl Upload {
    pub(super) async fn start(objects: &Objects, at: &Path) -> Result<Self, Error> {
        let upload = objects.0.put_multipart(at).await?;
        Ok(Self { upload, gathered: PutPayloadMut::new() })
    }

    async fn add(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.gathered.push(bytes);
        if self.gathered.content_length() >= PART { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let part = std::mem::take(&mut self.gathered).freeze();
        Ok(self.upload.put_part(part).await?)
    }

    pub(super) async fn complete(mut self) -> Result<(), Error> {
        if self.gathered.content_length() > 0 {
            self.flush().await?;
        }
        self.upload.complete().await?;
        Ok(())
    }

    /// What cannot be removed now is removed by the sweep at the next start.
    pub(super) async fn abort(mut self) {
        if let Err(cause) = self.upload.abort().await {
            tracing::warn!(%cause, "an unfinished upload is left behind");
        }
    }
}

/// Hashes a stream, and writes it where there is a sink. A sink is aborted on any error.
pub(super) async fn pour<B, E>(
    mut body: B,
    limit: u64,
    mut sink: Option<Upload>,
) -> Result<(Digest, Option<Upload>), Broken<E>>
where
    B: Stream<Item = Result<Bytes, E>> + Unpin + Send,
{
    let mut hasher = Hasher::default();
    let broken = loop {
        let bytes = match body.next().await {
            None => return Ok((hasher.finish().0, sink)),
            Some(Err(cause)) => break Broken::Stream(cause),
            Some(Ok(bytes)) => bytes,
        };
        hasher.update(&bytes);
        if hasher.length > limit {
            break Broken::TooLong;
        }
        if let Some(upload) = &mut sink
            && let Err(error) = upload.add(bytes).await
        {
            break Broken::Store(error);
        }
    };
    if let Some(upload) = sink {
        upload.abort().await;
    }
    Err(broken)
}

#[derive(Default)]
pub(super) struct Hasher {
    state: Sha256,
    length: u64,
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.state.update(bytes);
        self.length += bytes.len() as u64;
    }

    pub(super) fn finish(self) -> (Digest, u64) {
        (Digest(self.state.finalize().into()), self.length)
    }
}
