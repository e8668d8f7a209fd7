//! From bytes of a repository to documents and back: encryption, compression, bounds.
//!
//! Format 2 puts an encoding byte before compressed JSON; format 1 has bare JSON. Source: restic's
//! doc/design.rst, "Unpacked Data Format". Touches no store.

use crate::crypto::Key;
use std::io::Read;

/// zstd's level for documents. Of indexes, which are hashes in hexadecimal, 1 leaves 0.85 of what 3 leaves, in 0.4 of the time.
const LEVEL: i32 = 1;
const ENCODING_ZSTD: u8 = 2;

/// The most bytes a decrypted, decompressed index, snapshot, lock or config may have. restic writes
/// indexes of up to 8 MiB; a snapshot of a million paths stays below.
pub(crate) const DOCUMENT_LIMIT: u64 = 512 << 20;

/// What a document says of its own length is believed up to here: an index file has 8 MiB.
const BELIEVED: u64 = 16 << 20;

/// Encrypts a document as format 2 stores it.
pub(crate) fn seal_document(key: &Key, json: &[u8]) -> Result<Vec<u8>, crate::Error> {
    let mut plain = vec![ENCODING_ZSTD];
    plain.extend(compress(json)?);
    let mut sealed = Vec::new();
    key.seal(&plain, &mut sealed)?;
    Ok(sealed)
}

/// Decrypts a document of either format. The error says how the damage shows.
pub(crate) fn open_document(key: &Key, sealed: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    open_document_into(key, sealed, &mut plain)?;
    Ok(plain)
}

/// As [`open_document`], into room that is used again.
pub(crate) fn open_document_into(
    key: &Key,
    mut sealed: Vec<u8>,
    plain: &mut Vec<u8>,
) -> Result<(), String> {
    key.open(&mut sealed)
        .map_err(|_| "it does not decrypt with this repository's key".to_owned())?;
    match sealed.first() {
        Some(b'{' | b'[') => *plain = sealed,
        Some(&ENCODING_ZSTD) => {
            decompress_into(sealed.get(1..).unwrap_or_default(), DOCUMENT_LIMIT, plain)?;
        }
        Some(other) => return Err(format!("it has the unknown encoding {other}")),
        None => return Err("it is empty".to_owned()),
    }
    Ok(())
}

fn compress(plain: &[u8]) -> Result<Vec<u8>, crate::Error> {
    zstd::bulk::compress(plain, LEVEL).map_err(crate::Error::Compress)
}

/// Decompresses to at most `limit` bytes, growing only as bytes arrive.
pub(crate) fn decompress(compressed: &[u8], limit: u64) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    decompress_into(compressed, limit, &mut plain)?;
    Ok(plain)
}

fn decompress_into(compressed: &[u8], limit: u64, plain: &mut Vec<u8>) -> Result<(), String> {
    let fault = |e: std::io::Error| format!("it does not decompress ({e})");
    plain.clear();
    // At once where it says how long it will be, and that is believable: that takes no window.
    let claim = zstd::zstd_safe::get_frame_content_size(compressed).ok().flatten();
    if let Some(claim) = claim.filter(|claim| *claim <= limit.min(BELIEVED)) {
        plain.reserve(usize::try_from(claim).unwrap_or_default());
        let mut decompressor = zstd::bulk::Decompressor::new().map_err(fault)?;
        match decompressor.decompress_to_buffer(compressed, plain) {
            Ok(length) if u64::try_from(length).is_ok_and(|length| length <= limit) => {
                return Ok(());
            }
            _ => plain.clear(),
        }
    }
    let decoder = zstd::Decoder::with_buffer(compressed).map_err(fault)?;
    decoder.take(limit.saturating_add(1)).read_to_end(plain).map_err(fault)?;
    if u64::try_from(plain.len()).unwrap_or(u64::MAX) > limit {
        return Err(format!("it decompresses to more than {limit} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn documents_come_back(json in "[{\\[]\\PC{0,200}") {
            let key = Key::random().unwrap();
            let sealed = seal_document(&key, json.as_bytes()).unwrap();
            prop_assert_eq!(open_document(&key, sealed).unwrap(), json.as_bytes());
            let mut bare = Vec::new();
            key.seal(json.as_bytes(), &mut bare).unwrap();
            prop_assert_eq!(open_document(&key, bare).unwrap(), json.as_bytes());
        }

        #[test]
        fn no_plain_text_panics(plain in prop::collection::vec(any::<u8>(), 0..64)) {
            let key = Key::random().unwrap();
            let mut sealed = Vec::new();
            key.seal(&plain, &mut sealed).unwrap();
            let _ = open_document(&key, sealed);
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = compress(&vec![0; 10 << 20]).unwrap();
        assert!(bomb.len() < 10_000);
        assert!(decompress(&bomb, 1 << 20).unwrap_err().contains("more than"));
        assert_eq!(decompress(&bomb, 10 << 20).unwrap().len(), 10 << 20);
    }
}
