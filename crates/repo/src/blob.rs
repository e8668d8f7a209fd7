//! One blob's way from plain bytes to stored ones, and back, in buffers that are used again.
//!
//! A [`Sealer`] and an [`Opener`] belong to one thread each and keep their buffers between blobs: a
//! page that is touched for the first time costs more than encrypting it. Stores nothing.
//!
//! Memory of each: a few times the longest blob it has seen.

use crate::crypto::{IV, Key, MAC};
use crate::index::Location;
use crate::{Error, codec, noise};
use model::Digest;
use std::io::Write;
use zstd::bulk::{Compressor, Decompressor};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::DCtx;

/// A length of plain bytes that is believed before they are there: twice the longest chunk. What
/// claims more is decompressed into room that grows with what arrives.
const BELIEVED: u32 = 16 << 20;

const UNDECRYPTABLE: &str = "it does not decrypt with this repository's key";

/// Opens blobs: decrypts, decompresses, and compares with the name.
pub struct Opener {
    key: Key,
    decrypted: Vec<u8>,
    plain: Vec<u8>,
    decompressor: Decompressor<'static>,
    stream: Blocks,
}

impl Opener {
    pub(crate) fn new(key: &Key) -> Result<Self, Error> {
        let decompressor = Decompressor::new().map_err(Error::Compress)?;
        let stream = Blocks::new()?;
        Ok(Self {
            key: key.clone(),
            decrypted: Vec::new(),
            plain: Vec::new(),
            decompressor,
            stream,
        })
    }

    /// The plain bytes of a blob whose stored bytes were read from `at`.
    ///
    /// # Errors
    /// [`Error::BlobDamaged`].
    pub fn open(&mut self, at: &Location, stored: &[u8]) -> Result<&[u8], Error> {
        self.open_bytes(stored, &at.blob.id, at.blob.plain_length).map_err(damaged(at))
    }

    /// As [`open`](Self::open), for whom the stored bytes are of no more use: they are decrypted
    /// where they lie, which saves the room.
    ///
    /// # Errors
    /// [`Error::BlobDamaged`].
    pub fn open_in_place<'b>(
        &'b mut self,
        at: &Location,
        stored: &'b mut [u8],
    ) -> Result<&'b [u8], Error> {
        let plain = self.unpack_in_place(at, stored);
        plain.and_then(|plain| named(plain, sha256::hash(plain), &at.blob.id)).map_err(damaged(at))
    }

    /// Two blobs as [`open_in_place`](Self::open_in_place), in less time than one after the other.
    pub fn open_both_in_place<'b>(
        openers: &'b mut [Self; 2],
        at: [&Location; 2],
        stored: [&'b mut [u8]; 2],
    ) -> [Result<&'b [u8], Error>; 2] {
        let [one, other] = openers;
        let [stored, others] = stored;
        let plain = [one.unpack_in_place(at[0], stored), other.unpack_in_place(at[1], others)];
        let hashes =
            sha256::hash_both(plain.each_ref().map(|plain| plain.as_deref().unwrap_or(&[])));
        let [(one, hash), (other, others_hash)] = {
            let [one, other] = plain;
            [(one, hashes[0]), (other, hashes[1])]
        };
        [
            one.and_then(|plain| named(plain, hash, &at[0].blob.id)).map_err(damaged(at[0])),
            other
                .and_then(|plain| named(plain, others_hash, &at[1].blob.id))
                .map_err(damaged(at[1])),
        ]
    }

    fn unpack_in_place<'b>(
        &'b mut self,
        at: &Location,
        stored: &'b mut [u8],
    ) -> Result<&'b [u8], String> {
        let decrypted = self.key.open_in_place(stored).map_err(|_| UNDECRYPTABLE.to_owned())?;
        unpack(&mut self.decompressor, &mut self.plain, decrypted, at.blob.plain_length)
    }

    /// `plain_length` bounds what decompression may yield. The error says how the damage shows.
    pub(crate) fn open_bytes(
        &mut self,
        stored: &[u8],
        id: &Digest,
        plain_length: Option<u32>,
    ) -> Result<&[u8], String> {
        let plain = self.unpack(stored, plain_length)?;
        named(plain, sha256::hash(plain), id)
    }

    /// As [`open_bytes`](Self::open_bytes), while `pack` takes in the stored bytes, whatever they are.
    pub(crate) fn open_bytes_beside(
        &mut self,
        stored: &[u8],
        id: &Digest,
        plain_length: Option<u32>,
        pack: &mut sha256::Hasher,
    ) -> Result<&[u8], String> {
        match self.unpack(stored, plain_length) {
            Ok(plain) => {
                let mut hasher = sha256::Hasher::default();
                hasher.update_both(plain, pack, stored);
                named(plain, hasher.finalize(), id)
            }
            Err(what) => {
                pack.update(stored);
                Err(what)
            }
        }
    }

    fn unpack(&mut self, stored: &[u8], plain_length: Option<u32>) -> Result<&[u8], String> {
        let decrypted = self
            .key
            .open_into(stored, &mut self.decrypted)
            .map_err(|_| UNDECRYPTABLE.to_owned())?;
        unpack(&mut self.decompressor, &mut self.plain, decrypted, plain_length)
    }

    /// As [`open_bytes`](Self::open_bytes), for whom the verdict is enough: needs less memory.
    pub(crate) fn verify(
        &mut self,
        stored: &[u8],
        id: &Digest,
        plain_length: Option<u32>,
    ) -> Result<(), String> {
        let mut hasher = sha256::Hasher::default();
        self.open_blocks(stored, plain_length, |plain, _| hasher.update(plain))?;
        named(&[], hasher.finalize(), id).map(drop)
    }

    /// As [`verify`](Self::verify), while `pack` takes in the stored bytes, and as much of `aside` is hashed as these two
    /// leave room for. After an error they have taken in some.
    pub(crate) fn verify_beside(
        &mut self,
        stored: &[u8],
        id: &Digest,
        plain_length: Option<u32>,
        pack: &mut sha256::Hasher,
        aside: &mut sha256::Aside<'_>,
    ) -> Result<(), String> {
        let mut hasher = sha256::Hasher::default();
        let mut taken = 0;
        self.open_blocks(stored, plain_length, |plain, end| {
            let part = stored.get(taken..end).unwrap_or_default();
            hasher.update_both_beside(plain, pack, part, aside);
            taken = end;
        })?;
        pack.update_beside(stored.get(taken..).unwrap_or_default(), aside);
        named(&[], hasher.finalize(), id).map(drop)
    }

    /// Gives the plain bytes to `read` as they come. They count only if no error follows.
    pub(crate) fn open_stream(
        &mut self,
        stored: &[u8],
        id: &Digest,
        plain_length: Option<u32>,
        mut read: impl FnMut(&[u8]),
    ) -> Result<(), String> {
        let mut hasher = sha256::Hasher::default();
        self.open_blocks(stored, plain_length, |plain, _| {
            hasher.update(plain);
            read(plain);
        })?;
        named(&[], hasher.finalize(), id).map(drop)
    }

    /// Gives the plain bytes to `read` as they come, with how many stored ones they took so far. Compares nothing with
    /// the name.
    fn open_blocks(
        &mut self,
        stored: &[u8],
        plain_length: Option<u32>,
        mut read: impl FnMut(&[u8], usize),
    ) -> Result<(), String> {
        let mut fault = Ok(());
        let mut bytes = 0;
        if plain_length.is_some() {
            self.stream.begin()?;
        }
        let take = |block: &[u8], end: usize| match plain_length {
            None => read(block, end),
            Some(length) if fault.is_ok() => {
                fault = self.stream.feed(block, |plain| {
                    bytes += plain.len() as u64;
                    // Nobody is given more than was announced.
                    if bytes <= u64::from(length) {
                        read(plain, end);
                    }
                });
            }
            Some(_) => {}
        };
        self.key.open_in_blocks(stored, take).map_err(|_| UNDECRYPTABLE.to_owned())?;
        fault?;
        if let Some(length) = plain_length.filter(|length| u64::from(*length) != bytes) {
            return Err(format!("it has {bytes} bytes where {length} are recorded"));
        }
        Ok(())
    }
}

/// Decompresses into `room`, if there is a plain length. Compares nothing with the name.
fn unpack<'b>(
    decompressor: &mut Decompressor<'_>,
    room: &'b mut Vec<u8>,
    decrypted: &'b [u8],
    plain_length: Option<u32>,
) -> Result<&'b [u8], String> {
    let Some(length) = plain_length else { return Ok(decrypted) };
    decompress(decompressor, decrypted, length, room)?;
    if u32::try_from(room.len()) != Ok(length) {
        let actual = room.len();
        return Err(format!("it has {actual} bytes where {length} are recorded"));
    }
    Ok(room.as_slice())
}

/// Plain bytes are right when their hash is their name.
fn named<'b>(plain: &'b [u8], hash: [u8; 32], id: &Digest) -> Result<&'b [u8], String> {
    let hash = Digest(hash);
    if hash == *id { Ok(plain) } else { Err(format!("its bytes hash to {hash}")) }
}

/// Decompression in blocks, for whom the verdict is enough.
struct Blocks {
    decoder: Decoder<'static>,
    room: Vec<u8>,
}

impl Blocks {
    fn new() -> Result<Self, Error> {
        let decoder = Decoder::new().map_err(Error::Compress)?;
        Ok(Self { decoder, room: vec![0; DCtx::out_size()] })
    }

    fn begin(&mut self) -> Result<(), String> {
        self.decoder.reinit().map_err(|e| e.to_string())
    }

    /// Takes in the next compressed bytes, and gives the plain bytes they yield to `take`.
    fn feed(&mut self, compressed: &[u8], mut take: impl FnMut(&[u8])) -> Result<(), String> {
        let mut input = InBuffer::around(compressed);
        loop {
            let mut output = OutBuffer::around(self.room.as_mut_slice());
            self.decoder
                .run(&mut input, &mut output)
                .map_err(|e| format!("it does not decompress ({e})"))?;
            take(output.as_slice());
            // What does not fill the room has left nothing inside.
            if input.pos() == compressed.len() && output.pos() < output.capacity() {
                return Ok(());
            }
        }
    }
}

fn damaged(at: &Location) -> impl FnOnce(String) -> Error {
    let (blob, pack) = (at.blob.id, at.pack);
    move |what| Error::BlobDamaged { blob, pack, what }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opener(…)")
    }
}

/// Decompresses into `plain`, which holds at most `length` bytes afterwards.
fn decompress(
    decompressor: &mut Decompressor<'_>,
    compressed: &[u8],
    length: u32,
    plain: &mut Vec<u8>,
) -> Result<(), String> {
    if length > BELIEVED {
        *plain = codec::decompress(compressed, u64::from(length))?;
        return Ok(());
    }
    plain.clear();
    plain.reserve(length as usize);
    decompressor
        .decompress_to_buffer(compressed, plain)
        .map_err(|e| format!("it does not decompress ({e})"))?;
    Ok(())
}

/// How hard blobs are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// As small as restic's own default makes them, and faster.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// As far as still makes sense for a backup that travels: several times slower.
    Max,
}

impl Compression {
    /// zstd's level. 2 stores what restic's `auto` stores within half a per cent, on programs,
    /// sources, logs and images, at 1.3 to 1.5 times the speed of zstd's own default 3; 11 is about what
    /// restic's `max` does. docs/benchmarks.md has the figures.
    fn level(self) -> Option<i32> {
        match self {
            Self::Auto => Some(2),
            Self::Off => None,
            Self::Max => Some(11),
        }
    }
}

/// zstd's level where nobody wants compression and there must be some.
const FASTEST: i32 = 1;

/// Gives a blob that is not in memory part by part, in order, as often as it is asked to.
pub type Parts<'a> = &'a dyn Fn(&mut dyn FnMut(&[u8]));

/// A blob as it is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SealedBlob<'a> {
    /// IV, ciphertext, MAC.
    pub(crate) bytes: &'a [u8],
    /// How many plain bytes a compressed one has; none for one stored as it is.
    pub(crate) plain_length: Option<u32>,
}

/// A blob that is compressed where that saves something, and has yet to be encrypted to where it will be stored from.
#[derive(Debug)]
pub(crate) struct Unsealed<'a> {
    pub(crate) id: Digest,
    /// As in [`SealedBlob`].
    pub(crate) plain_length: Option<u32>,
    iv: [u8; IV],
    body: &'a [u8],
    key: &'a Key,
    opener: &'a mut Opener,
}

impl Unsealed<'_> {
    /// Bytes that it will have when it is stored.
    pub(crate) fn length(&self) -> usize {
        IV + self.body.len() + MAC
    }

    /// A byte that tells nothing of the blob.
    pub(crate) fn random(&self) -> u8 {
        self.iv.last().copied().unwrap_or(0)
    }

    /// Encrypts it onto `out`, and opens it there again, while `pack` takes in what is stored: what a
    /// broken memory changed on the way is found before it counts. After an error neither is of use. Of `aside`, as much is
    /// hashed as that leaves room for.
    pub(crate) fn seal(
        self,
        out: &mut Vec<u8>,
        pack: &mut sha256::Hasher,
        aside: &mut sha256::Aside<'_>,
    ) -> Result<(), Error> {
        let Self { id, plain_length, iv, body, key, opener } = self;
        let start = out.len();
        key.seal_onto(iv, body, out);
        opener
            .verify_beside(out.get(start..).unwrap_or_default(), &id, plain_length, pack, aside)
            .map_err(|_| Error::Memory { what: "blob", id })
    }
}

/// Makes ready what blobs need to be stored.
pub(crate) struct Sealer {
    key: Key,
    compressor: Compressor<'static>,
    /// Of what is compressed.
    level: i32,
    /// Whether data is.
    compresses: bool,
    compressed: Vec<u8>,
    opener: Opener,
}

impl Sealer {
    pub(crate) fn new(key: &Key, compression: Compression) -> Result<Self, Error> {
        let compresses = compression.level().is_some();
        let level = compression.level().unwrap_or(FASTEST);
        let compressor = Compressor::new(level).map_err(Error::Compress)?;
        let opener = Opener::new(key)?;
        Ok(Self { key: key.clone(), compressor, level, compresses, compressed: Vec::new(), opener })
    }

    /// As [`ready`](Self::ready), for a blob of `length` bytes that is not in memory: `write` gives it
    /// part by part. It is compressed even where others are not, encrypted, opened again, and belongs to the caller.
    pub(crate) fn seal_stream(
        &mut self,
        id: Digest,
        length: u64,
        write: Parts<'_>,
    ) -> Result<(Vec<u8>, u32), Error> {
        let plain_length = u32::try_from(length).map_err(|_| Error::TooLarge { what: "a blob" })?;
        let mut encoder = zstd::Encoder::new(vec![0; IV], self.level).map_err(Error::Compress)?;
        encoder.set_pledged_src_size(Some(length)).map_err(Error::Compress)?;
        let mut fault = Ok(());
        write(&mut |part| {
            if fault.is_ok() {
                fault = encoder.write_all(part);
            }
        });
        let mut sealed = fault.and_then(|()| encoder.finish()).map_err(Error::Compress)?;
        sealed.extend_from_slice(&[0; MAC]);
        self.key.seal_in_place(&mut sealed)?;
        self.opener
            .verify(&sealed, &id, Some(plain_length))
            .map_err(|_| Error::Memory { what: "blob", id })?;
        Ok((sealed, plain_length))
    }

    /// Compressed only where that is wanted and saves something.
    pub(crate) fn ready<'a>(
        &'a mut self,
        id: Digest,
        plain: &'a [u8],
    ) -> Result<Unsealed<'a>, Error> {
        self.ready_as(id, plain, false)
    }

    /// Compressed in any case: restic packs trees that are not anew.
    pub(crate) fn ready_tree<'a>(
        &'a mut self,
        id: Digest,
        plain: &'a [u8],
    ) -> Result<Unsealed<'a>, Error> {
        // The format cannot say that nothing is compressed.
        self.ready_as(id, plain, !plain.is_empty())
    }

    fn ready_as<'a>(
        &'a mut self,
        id: Digest,
        plain: &'a [u8],
        always: bool,
    ) -> Result<Unsealed<'a>, Error> {
        let length = u32::try_from(plain.len()).map_err(|_| Error::TooLarge { what: "a blob" })?;
        self.compressed.clear();
        let worth = if always || self.compresses && !noise::is_noise(plain) {
            self.compressed.reserve_exact(zstd::zstd_safe::compress_bound(plain.len()));
            self.compressor
                .compress_to_buffer(plain, &mut self.compressed)
                .map_err(Error::Compress)?;
            always || self.compressed.len() < plain.len()
        } else {
            false
        };
        Ok(Unsealed {
            id,
            plain_length: worth.then_some(length),
            iv: Key::fresh()?,
            body: if worth { &self.compressed } else { plain },
            key: &self.key,
            opener: &mut self.opener,
        })
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hash(bytes: &[u8]) -> Digest {
        Digest(sha256::hash(bytes))
    }

    fn plain() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..400),
            (any::<u8>(), 0..5000usize).prop_map(|(byte, n)| vec![byte; n]),
        ]
    }

    fn seal(
        ready: Unsealed<'_>,
        stored: &mut Vec<u8>,
        pack: &mut sha256::Hasher,
    ) -> Result<(), Error> {
        ready.seal(stored, pack, &mut sha256::Aside::of(&[], &mut sha256::Hasher::default()))
    }

    fn sealed(sealer: &mut Sealer, id: Digest, plain: &[u8]) -> (Vec<u8>, Option<u32>) {
        let mut stored = Vec::new();
        let ready = sealer.ready(id, plain).unwrap();
        let length = ready.plain_length;
        seal(ready, &mut stored, &mut sha256::Hasher::default()).unwrap();
        (stored, length)
    }

    fn opened_in_place(
        opener: &mut Opener,
        stored: &[u8],
        id: Digest,
        plain_length: Option<u32>,
    ) -> Result<Vec<u8>, Error> {
        let length = u32::try_from(stored.len()).unwrap();
        let kind = crate::BlobKind::Data;
        let blob = crate::PackedBlob { id, kind, offset: 0, length, plain_length };
        let at = Location { pack: Digest([0; 32]), blob };
        opener.open_in_place(&at, &mut stored.to_vec()).map(<[u8]>::to_vec)
    }

    proptest! {
        // One sealer and one opener for blobs of all lengths: nothing of one blob is left in another.
        #[test]
        fn what_is_sealed_opens_and_nothing_else_does(
            blobs in prop::collection::vec(plain(), 1..6),
            at: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let key = Key::random().unwrap();
            let mut sealer = Sealer::new(&key, Compression::Auto).unwrap();
            let mut opener = Opener::new(&key).unwrap();
            for plain in &blobs {
                let id = hash(plain);
                let ready = sealer.ready(id, plain).unwrap();
                let (length, bytes) = (ready.plain_length, ready.length());
                let (mut pack, mut stored) = (sha256::Hasher::default(), b"before".to_vec());
                pack.update(&stored);
                seal(ready, &mut stored, &mut pack).unwrap();
                prop_assert_eq!(pack.finalize(), sha256::hash(&stored));
                let mut stored = stored.split_off(6);
                prop_assert_eq!(stored.len(), bytes);
                prop_assert!(stored.len() <= plain.len() + IV + MAC);
                prop_assert_eq!(opener.open_bytes(&stored, &id, length).unwrap(), plain.as_slice());
                prop_assert_eq!(opened_in_place(&mut opener, &stored, id, length).unwrap(), plain.clone());
                prop_assert_eq!(opener.verify(&stored, &id, length), Ok(()));
                let at = at.index(stored.len());
                stored[at] ^= 1 << bit;
                prop_assert!(opener.verify(&stored, &id, length).is_err());
                prop_assert!(opener.open_bytes(&stored, &id, length).is_err());
                prop_assert!(opened_in_place(&mut opener, &stored, id, length).is_err());
            }
        }

        #[test]
        fn forged_lengths_are_refused(plain in plain(), claim: u32) {
            let key = Key::random().unwrap();
            let mut sealer = Sealer::new(&key, Compression::Auto).unwrap();
            let id = hash(&plain);
            let (stored, length) = sealed(&mut sealer, id, &plain);
            let mut opener = Opener::new(&key).unwrap();
            let opened = opener.open_bytes(&stored, &id, Some(claim));
            prop_assert_eq!(opened.is_ok(), length == Some(claim));
        }
    }

    // Whoever reads it cannot tell which way it was sealed.
    #[test]
    fn a_stream_is_sealed_as_one_frame_of_a_known_length() {
        let key = Key::random().unwrap();
        let plain: Vec<u8> = (0..300_000_u32).flat_map(|n| (n / 100).to_le_bytes()).collect();
        let id = hash(&plain);
        for compression in [Compression::Auto, Compression::Off] {
            let mut sealer = Sealer::new(&key, compression).unwrap();
            let write = |give: &mut dyn FnMut(&[u8])| plain.chunks(1000).for_each(give);
            let (sealed, length) = sealer.seal_stream(id, plain.len() as u64, &write).unwrap();
            assert!(sealed.len() < plain.len() / 2);
            let mut opener = Opener::new(&key).unwrap();
            assert!(opener.open_bytes(&sealed, &id, Some(length)).unwrap() == plain);
            let mut frame = sealed.clone();
            key.open(&mut frame).unwrap();
            let announced = zstd::zstd_safe::get_frame_content_size(&frame).unwrap();
            assert_eq!(announced, Some(plain.len() as u64));
            let wrong = sealer.seal_stream(id, plain.len() as u64 + 1, &write);
            assert!(matches!(wrong, Err(Error::Compress(_))));
            let other = sealer.seal_stream(hash(b"other"), plain.len() as u64, &write);
            assert!(matches!(other, Err(Error::Memory { .. })));
            let endless = sealer.seal_stream(id, 1 << 32, &write);
            assert!(matches!(endless, Err(Error::TooLarge { .. })));
        }
    }

    #[test]
    fn what_memory_changed_is_not_stored() {
        let key = Key::random().unwrap();
        let mut sealer = Sealer::new(&key, Compression::Auto).unwrap();
        let ready = sealer.ready(hash(b"what was read"), b"what memory made of it").unwrap();
        let refused = seal(ready, &mut Vec::new(), &mut sha256::Hasher::default());
        assert!(matches!(refused, Err(Error::Memory { .. })));
    }

    #[test]
    fn a_claim_of_gigabytes_allocates_none() {
        let key = Key::random().unwrap();
        let mut sealer = Sealer::new(&key, Compression::Auto).unwrap();
        let plain = vec![7; 100_000];
        let id = hash(&plain);
        let (stored, _) = sealed(&mut sealer, id, &plain);
        let mut opener = Opener::new(&key).unwrap();
        assert!(opener.open_bytes(&stored, &id, Some(u32::MAX)).is_err());
        assert!(opener.plain.capacity() < 1 << 20);
    }
}
