//! Packs: blobs one after the other, then an encrypted header that lists them.
//!
//! ```text
//! blob ‖ … ‖ blob ‖ encrypted header ‖ length of the encrypted header (u32 LE)
//! header entry:  type (1) ‖ length in the pack (u32 LE) [‖ plain length (u32 LE)] ‖ SHA-256 of the plain blob (32)
//! type:          0 data, 1 tree, 2 compressed data, 3 compressed tree
//! ```
//! Source: restic's doc/design.rst, "Pack Format". Encodes and decodes; stores nothing.

use crate::blob::{SealedBlob, Unsealed};
use crate::crypto::{Key, OVERHEAD};
use crate::{BlobKind, Error};
use model::Digest;
use sha256::Aside;

/// The most bytes a pack's header may have; restic's own bound.
pub(crate) const HEADER_LIMIT: u32 = 16 << 20;
const PLAIN_ENTRY: usize = 37;
const COMPRESSED_ENTRY: usize = 41;

/// One blob's place in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedBlob {
    /// SHA-256 of the plain bytes.
    pub id: Digest,
    /// Data or tree.
    pub kind: BlobKind,
    /// Where the stored bytes begin in the pack.
    pub offset: u32,
    /// How many bytes are stored, encryption included.
    pub length: u32,
    /// How many plain bytes a compressed blob has; none for one stored as it is.
    pub plain_length: Option<u32>,
}

impl PackedBlob {
    /// How many plain bytes the blob has.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.plain_length.unwrap_or(self.length.saturating_sub(OVERHEAD))
    }
}

/// A pack being filled. Holds all its bytes, in a buffer that may have been another pack's.
#[derive(Debug, Default)]
pub(crate) struct OpenPack {
    buffer: Vec<u8>,
    /// Where the pack begins in it.
    start: usize,
    /// Of the bytes so far.
    name: sha256::Hasher,
    blobs: Vec<PackedBlob>,
}

/// A finished pack, named by its bytes.
#[derive(Debug)]
pub(crate) struct FinishedPack {
    pub(crate) id: Digest,
    buffer: Vec<u8>,
    start: usize,
    pub(crate) blobs: Vec<PackedBlob>,
}

impl FinishedPack {
    /// What is to be stored.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Its buffer, for another pack.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }
}

impl OpenPack {
    /// An empty pack behind what is in that buffer.
    pub(crate) fn within(buffer: Vec<u8>) -> Self {
        Self { start: buffer.len(), buffer, ..Self::default() }
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Its buffer, for another pack.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    pub(crate) fn length(&self) -> usize {
        self.buffer.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// Whether the header could take no more entries.
    pub(crate) fn header_full(&self) -> bool {
        header_exceeds(self.blobs.len() + 1)
    }

    /// Whether a pack of that size has room for all of another one, header included.
    pub(crate) fn has_room_for(&self, other: &Self, pack_size: usize) -> bool {
        self.length() + other.length() <= pack_size
            && !header_exceeds(self.blobs.len() + other.blobs.len())
    }

    /// Appends a blob that was opened before.
    pub(crate) fn append(
        &mut self,
        kind: BlobKind,
        id: Digest,
        blob: &SealedBlob<'_>,
    ) -> Result<(), Error> {
        self.list(kind, id, blob.bytes.len(), blob.plain_length)?;
        self.name.update(blob.bytes);
        self.buffer.extend_from_slice(blob.bytes);
        Ok(())
    }

    /// Encrypts a blob to its place, and opens it there again. After an error the pack is of no use. Of `aside`, as much
    /// is hashed as that leaves room for.
    pub(crate) fn seal(
        &mut self,
        kind: BlobKind,
        blob: Unsealed<'_>,
        aside: &mut Aside<'_>,
    ) -> Result<(), Error> {
        self.list(kind, blob.id, blob.length(), blob.plain_length)?;
        blob.seal(&mut self.buffer, &mut self.name, aside)
    }

    /// Lists a blob of that length that comes next.
    fn list(
        &mut self,
        kind: BlobKind,
        id: Digest,
        length: usize,
        plain_length: Option<u32>,
    ) -> Result<(), Error> {
        let narrow = |n: usize| u32::try_from(n).map_err(|_| Error::TooLarge { what: "a pack" });
        let entry = PackedBlob {
            id,
            kind,
            offset: narrow(self.length())?,
            length: narrow(length)?,
            plain_length,
        };
        narrow(self.length() + length)?;
        self.blobs.push(entry);
        Ok(())
    }

    /// Takes over all blobs of another pack.
    pub(crate) fn absorb(&mut self, other: &Self) -> Result<(), Error> {
        let narrow = |n: usize| u32::try_from(n).map_err(|_| Error::TooLarge { what: "a pack" });
        let shift = narrow(self.length())?;
        narrow(self.length() + other.length())?;
        self.buffer.extend_from_slice(other.bytes());
        self.name.update(other.bytes());
        let moved = |blob: &PackedBlob| PackedBlob { offset: blob.offset + shift, ..*blob };
        self.blobs.extend(other.blobs.iter().map(moved));
        Ok(())
    }

    pub(crate) fn finish(mut self, key: &Key) -> Result<FinishedPack, Error> {
        let mut header = Vec::with_capacity(self.blobs.len() * COMPRESSED_ENTRY);
        for blob in &self.blobs {
            encode_entry(blob, &mut header);
        }
        let end = self.buffer.len();
        key.seal(&header, &mut self.buffer)?;
        let length = u32::try_from(self.buffer.len() - end)
            .map_err(|_| Error::TooLarge { what: "a pack header" })?;
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.name.update(self.buffer.get(end..).unwrap_or_default());
        let id = Digest(self.name.finalize());
        Ok(FinishedPack { id, buffer: self.buffer, start: self.start, blobs: self.blobs })
    }
}

/// Whether the header of so many blobs could be longer than one may be.
fn header_exceeds(blobs: usize) -> bool {
    (blobs + 1) * COMPRESSED_ENTRY > HEADER_LIMIT as usize
}

fn encode_entry(blob: &PackedBlob, header: &mut Vec<u8>) {
    let tree = u8::from(blob.kind == BlobKind::Tree);
    header.push(tree | u8::from(blob.plain_length.is_some()) << 1);
    header.extend_from_slice(&blob.length.to_le_bytes());
    if let Some(length) = blob.plain_length {
        header.extend_from_slice(&length.to_le_bytes());
    }
    header.extend_from_slice(blob.id.as_bytes());
}

/// How many bytes a blob takes in its pack's header.
pub(crate) fn entry_length(blob: &PackedBlob) -> usize {
    if blob.plain_length.is_some() { COMPRESSED_ENTRY } else { PLAIN_ENTRY }
}

/// How many bytes the encrypted header of a pack with these blobs has, its length field included.
pub(crate) fn header_length(blobs: &[PackedBlob]) -> u64 {
    let entries: usize = blobs.iter().map(entry_length).sum();
    (entries + 4) as u64 + u64::from(OVERHEAD)
}

/// Where a pack's encrypted header lies, from its last four bytes: offset and length.
pub(crate) fn header_place(pack_length: u64, last_four: [u8; 4]) -> Result<(u64, usize), String> {
    let length = u64::from(u32::from_le_bytes(last_four));
    let fits = length >= u64::from(OVERHEAD)
        && length <= u64::from(HEADER_LIMIT)
        && length + 4 <= pack_length;
    match usize::try_from(length) {
        Ok(bytes) if fits => Ok((pack_length - 4 - length, bytes)),
        _ => Err(format!("its header claims {length} bytes of a pack of {pack_length}")),
    }
}

/// Decrypts and decodes a header. `end` is where the blobs must end: the header's own offset.
pub(crate) fn open_header(
    key: &Key,
    mut sealed: Vec<u8>,
    end: u64,
) -> Result<Vec<PackedBlob>, String> {
    key.open(&mut sealed)
        .map_err(|_| "its header does not decrypt with this repository's key".to_owned())?;
    let mut rest = sealed.as_slice();
    let mut blobs = Vec::new();
    let mut offset = 0u32;
    while let Some((&tag, after)) = rest.split_first() {
        let (blob, after) = decode_entry(tag, after, offset).ok_or_else(|| {
            format!("its header has an entry of type {tag} that is cut short or unknown")
        })?;
        offset = offset.checked_add(blob.length).ok_or("its header's lengths overflow")?;
        blobs.push(blob);
        rest = after;
    }
    if u64::from(offset) == end {
        Ok(blobs)
    } else {
        Err(format!("its header lists {offset} bytes of blobs where there are {end}"))
    }
}

fn decode_entry(tag: u8, rest: &[u8], offset: u32) -> Option<(PackedBlob, &[u8])> {
    let kind = match tag & 1 {
        0 => BlobKind::Data,
        _ => BlobKind::Tree,
    };
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (plain_length, rest) = match tag {
        0 | 1 => (None, rest),
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            (Some(u32::from_le_bytes(*length)), rest)
        }
        _ => return None,
    };
    let (id, rest) = rest.split_first_chunk::<32>()?;
    let length = u32::from_le_bytes(*length);
    Some((PackedBlob { id: Digest(*id), kind, offset, length, plain_length }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{Compression, Opener, Sealer};
    use proptest::prelude::*;

    fn blobs() -> impl Strategy<Value = Vec<(BlobKind, Vec<u8>)>> {
        let kind = prop::sample::select(vec![BlobKind::Data, BlobKind::Tree]);
        let bytes = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            (any::<u8>(), 0..3000usize).prop_map(|(byte, n)| vec![byte; n]),
        ];
        prop::collection::vec((kind, bytes), 0..12)
    }

    fn pack(key: &Key, blobs: &[(BlobKind, Vec<u8>)]) -> FinishedPack {
        pack_within(Vec::new(), key, blobs)
    }

    fn pack_within(buffer: Vec<u8>, key: &Key, blobs: &[(BlobKind, Vec<u8>)]) -> FinishedPack {
        let mut open = OpenPack::within(buffer);
        let mut sealer = Sealer::new(key, Compression::Auto).unwrap();
        for (kind, plain) in blobs {
            let id = Digest(sha256::hash(plain));
            let ready = sealer.ready(id, plain).unwrap();
            open.seal(*kind, ready, &mut Aside::of(&[], &mut sha256::Hasher::default())).unwrap();
        }
        open.finish(key).unwrap()
    }

    // No blob can be as small as these; a header knows only their lengths.
    #[test]
    fn two_packs_become_one_only_as_far_as_their_header_may_be_long() {
        let key = Key::random().unwrap();
        let most = HEADER_LIMIT as usize / COMPRESSED_ENTRY - 1;
        let with = |blobs: usize| {
            let mut open = OpenPack::default();
            for _ in 0..blobs {
                let blob = SealedBlob { bytes: b"x", plain_length: Some(1) };
                open.append(BlobKind::Data, Digest([1; 32]), &blob).unwrap();
            }
            open
        };
        let (mut half, rest) = (with(most / 2), with(most - most / 2));
        assert!(half.has_room_for(&rest, 1 << 30));
        assert!(!half.has_room_for(&rest, most - 1));
        assert!(!half.has_room_for(&with(most - most / 2 + 1), 1 << 30));
        half.absorb(&rest).unwrap();
        assert!(half.header_full());
        let pack = half.finish(&key).unwrap();
        assert_eq!(header_of(&key, pack.bytes()).unwrap().len(), most);
    }

    fn header_of(key: &Key, bytes: &[u8]) -> Result<Vec<PackedBlob>, String> {
        let last = *bytes.last_chunk::<4>().ok_or("too short")?;
        let (offset, length) = header_place(bytes.len() as u64, last)?;
        let at = usize::try_from(offset).unwrap();
        open_header(key, bytes[at..at + length].to_vec(), offset)
    }

    proptest! {
        #[test]
        fn what_is_packed_is_found_by_the_header_alone(blobs in blobs(), before in 0..100_usize) {
            let key = Key::random().unwrap();
            let pack = pack_within(vec![9; before], &key, &blobs);
            prop_assert_eq!(pack.buffer.len(), before + pack.bytes().len());
            prop_assert_eq!(pack.id, Digest(sha256::hash(pack.bytes())));
            let listed = header_of(&key, pack.bytes()).unwrap();
            prop_assert_eq!(&listed, &pack.blobs);
            let mut opener = Opener::new(&key).unwrap();
            prop_assert_eq!(header_length(&listed) + listed.iter().map(|b| u64::from(b.length)).sum::<u64>(), pack.bytes().len() as u64);
            for (entry, (kind, plain)) in listed.iter().zip(&blobs) {
                prop_assert_eq!(entry.kind, *kind);
                prop_assert_eq!(entry.size() as usize, plain.len());
                let at = entry.offset as usize;
                let stored = &pack.bytes()[at..at + entry.length as usize];
                let opened = opener.open_bytes(stored, &entry.id, entry.plain_length).unwrap();
                prop_assert_eq!(opened, plain.as_slice());
            }
        }

        #[test]
        fn a_damaged_pack_never_yields_wrong_bytes(blobs in blobs(), at: prop::sample::Index, bit in 0u8..8) {
            let key = Key::random().unwrap();
            let good = pack(&key, &blobs);
            let mut bytes = good.bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let Ok(listed) = header_of(&key, &bytes) else { return Ok(()) };
            prop_assert_eq!(&listed, &good.blobs);
            let mut opener = Opener::new(&key).unwrap();
            for (entry, (_, plain)) in listed.iter().zip(&blobs) {
                let at = entry.offset as usize;
                let stored = &bytes[at..at + entry.length as usize];
                if let Ok(opened) = opener.open_bytes(stored, &entry.id, entry.plain_length) {
                    prop_assert_eq!(opened, plain.as_slice());
                }
            }
        }

        #[test]
        fn hostile_headers_are_refused_without_panic(plain in prop::collection::vec(any::<u8>(), 0..200), end: u64, last: [u8; 4]) {
            let key = Key::random().unwrap();
            let mut sealed = Vec::new();
            key.seal(&plain, &mut sealed).unwrap();
            let _ = open_header(&key, sealed, end);
            let _ = header_place(end, last);
        }
    }
}
