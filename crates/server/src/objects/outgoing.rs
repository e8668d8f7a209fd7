//! Bytes on their way out: ranges, streams and hashes of local files. Changes nothing.

use super::incoming::Hasher;
use axum::body::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use model::Digest;
use object_store::GetRange;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// Bytes read from a local file at once.
const CHUNK: usize = 256 << 10;

/// A range of an object.
pub(crate) enum Found {
    /// Its bytes.
    Bytes {
        /// Which bytes.
        range: Range<u64>,
        /// How long the object is.
        length: u64,
        /// As they are read.
        body: BoxStream<'static, io::Result<Bytes>>,
    },
    /// The object ends before the range begins.
    Outside {
        /// How long the object is.
        length: u64,
    },
}

pub(super) fn inside(range: &GetRange, length: u64) -> Option<Range<u64>> {
    let range = match range {
        GetRange::Bounded(range) => range.start..range.end.min(length),
        GetRange::Offset(start) => *start..length,
        GetRange::Suffix(count) => length.saturating_sub(*count)..length,
    };
    (range.start < range.end).then_some(range)
}

pub(super) fn hash_file(mut file: File) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

pub(super) fn file_stream(file: File, range: Range<u64>) -> BoxStream<'static, io::Result<Bytes>> {
    let file = Arc::new(file);
    futures::stream::try_unfold(range, move |range| {
        let file = Arc::clone(&file);
        async move {
            if range.is_empty() {
                return Ok(None);
            }
            let reading = tokio::task::spawn_blocking(move || read_some(&file, range));
            reading.await.map_err(io::Error::other)?.map(Some)
        }
    })
    .boxed()
}

fn read_some(file: &File, range: Range<u64>) -> io::Result<(Bytes, Range<u64>)> {
    let left = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let mut buffer = vec![0; left.min(CHUNK)];
    file.read_exact_at(&mut buffer, range.start)?;
    let next = range.start + buffer.len() as u64;
    Ok((buffer.into(), next..range.end))
}
