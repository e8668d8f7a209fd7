//! The form that label, inventory, manifest, want-list and revision share: head, JSON header, object table,
//! signature. Does not know what they mean.
//!
//! ```text
//!  0   magic 8 · version u16 · flags u16 · header length u32 · objects u64 · zero u64     head, 32 bytes
//!  32  header: JSON, at most 64 KiB, in the one form that this crate writes
//!      objects × 44 bytes: repository u16 · kind u8 · zero u8 · length u64 · name 32
//!      public key 32 · signature 64                                                       trailer
//! ```
//!
//! Little-endian throughout. The signature is ed25519 over `"packmule <document> v1\n"` and the
//! SHA-256 of everything before it, public key included. It is checked against a trusted key
//! before a byte of header or table is looked at; before it, only the head's numbers are, against
//! the true length of the file.

use crate::Object;
use crate::object::{kind_byte, kind_from_byte};
use crate::sign::{self, Fingerprint, SigningKey, Trust};
use model::{Digest, ObjectKind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::fmt;
use wire::PublicKey;

/// One of the documents of a seed. All have the form above but the extent hashes, which are
/// a bare list, whose hash the manifest holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Document {
    /// What the drive is: written first.
    Label,
    /// Every object of the seed.
    Inventory,
    /// Every object of the drive: written last.
    Manifest,
    /// The extent hashes.
    Extents,
    /// What of a seed has not arrived; on no drive.
    WantList,
    /// What a seed consists of from now on; on no drive.
    Revision,
}

impl Document {
    const fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Label => b"PKMLABEL",
            Self::Inventory => b"PKMINVEN",
            Self::Manifest => b"PKMMANIF",
            Self::Extents => b"PKMEXTNT",
            Self::WantList => b"PKMWANTS",
            Self::Revision => b"PKMREVIS",
        }
    }

    /// The most bytes a file of this kind can have.
    pub(crate) const fn limit(self) -> u64 {
        let objects = match self {
            Self::Label | Self::Extents => 0,
            Self::Inventory | Self::Manifest | Self::WantList | Self::Revision => MAX_OBJECTS,
        };
        HEAD as u64 + MAX_HEADER as u64 + objects * ROW as u64 + TRAILER as u64
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Label => "label",
            Self::Inventory => "inventory",
            Self::Manifest => "manifest",
            Self::Extents => "list of extents",
            Self::WantList => "want-list",
            Self::Revision => "revision",
        })
    }
}

/// What is wrong with the bytes of a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Another kind of file.
    #[error("it is another kind of file")]
    Magic,
    /// A version that did not exist when this program was built.
    #[error("it has format version {0}, this program knows 1: use a newer one")]
    Version(u16),
    /// A flag that did not exist when this program was built.
    #[error("it has unknown flags ({0:#06x}): use a newer program")]
    Flags(u16),
    /// The file's length is not what its head says.
    #[error("it is {actual} bytes long, its head says otherwise")]
    Length {
        /// The file's length.
        actual: u64,
    },
    /// More of something than there may be.
    #[error("it has too many {0}")]
    TooMany(&'static str),
    /// The signature does not match the bytes.
    #[error("its signature does not match: it was damaged or altered")]
    Signature,
    /// The JSON header is not what this version writes.
    #[error("its header cannot be read: {0}")]
    Header(String),
    /// A row of the object table.
    #[error("row {row} of its table {what}")]
    Row {
        /// Which row, from 0.
        row: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Lengths that no drive can have.
    #[error("its lengths add up to more than 2^64 bytes")]
    Overflow,
}

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The bytes are wrong.
    #[error("it cannot be used")]
    Malformed(#[from] Malformed),
    /// The signer is not the trusted one.
    #[error("it is signed by {found}, not by {expected}")]
    Signer {
        /// Whose signature it has.
        found: Fingerprint,
        /// Whose it should have.
        expected: Fingerprint,
    },
}

impl Refused {
    /// The error of this crate, for a document found in `place`.
    #[must_use]
    pub fn at(self, document: Document, place: &str) -> crate::Error {
        let place = place.to_owned();
        match self {
            Self::Malformed(problem) => crate::Error::Malformed { document, place, problem },
            Self::Signer { found, expected } => {
                crate::Error::OtherSigner { document, place, found, expected }
            }
        }
    }
}

/// A document whose signature was found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<T> {
    /// What it says.
    pub body: T,
    /// Who signed it.
    pub signer: PublicKey,
    /// The SHA-256 of the whole file.
    pub digest: Digest,
}

pub(crate) const HEAD: usize = 32;
pub(crate) const ROW: usize = 44;
pub(crate) const TRAILER: usize = 96;
const VERSION: u16 = 1;

/// Enough for 900 repositories.
const MAX_HEADER: usize = 64 << 10;
/// 16 Mi objects are 256 TiB in packs of 16 MiB; their table is 704 MiB.
const MAX_OBJECTS: u64 = 1 << 24;

/// What `encode` writes for that many objects, headers at their longest.
pub(crate) const fn size_for(objects: u64) -> u64 {
    HEAD as u64 + MAX_HEADER as u64 + objects * ROW as u64 + TRAILER as u64
}

/// The bytes of a signed document.
///
/// `objects` must be what [`decode`] accepts; this is checked by decoding nothing that was written.
pub(crate) fn encode(
    document: Document,
    header: &impl Serialize,
    objects: &[Object],
    key: &SigningKey,
) -> Result<Vec<u8>, Malformed> {
    let header =
        serde_json::to_vec(header).map_err(|cause| Malformed::Header(cause.to_string()))?;
    let header_length = u32::try_from(header.len())
        .ok()
        .filter(|_| header.len() <= MAX_HEADER)
        .ok_or(Malformed::TooMany("bytes in its header"))?;
    if objects.len() as u64 > MAX_OBJECTS {
        return Err(Malformed::TooMany("objects"));
    }
    let mut bytes = Vec::with_capacity(HEAD + header.len() + objects.len() * ROW + TRAILER);
    bytes.extend_from_slice(document.magic());
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&0_u16.to_le_bytes());
    bytes.extend_from_slice(&header_length.to_le_bytes());
    bytes.extend_from_slice(&(objects.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&0_u64.to_le_bytes());
    bytes.extend_from_slice(&header);
    for (row, object) in objects.iter().enumerate() {
        let kind = kind_byte(object.kind).ok_or(Malformed::Row { row, what: "is a lock" })?;
        bytes.extend_from_slice(&object.repository.to_le_bytes());
        bytes.extend_from_slice(&[kind, 0]);
        bytes.extend_from_slice(&object.length.to_le_bytes());
        bytes.extend_from_slice(object.name.as_bytes());
    }
    Ok(signed(document, bytes, key))
}

/// A document's bytes with the trailer behind them.
pub(crate) fn signed(document: Document, mut bytes: Vec<u8>, key: &SigningKey) -> Vec<u8> {
    bytes.extend_from_slice(&key.public().0);
    let signature = key.sign(&message(document, &bytes));
    bytes.extend_from_slice(&signature);
    bytes
}

fn message(document: Document, signed: &[u8]) -> Vec<u8> {
    let mut message = format!("packmule {document} v1\n").into_bytes();
    message.extend_from_slice(&Sha256::digest(signed));
    message
}

/// The parts of a document after its signature was checked.
#[derive(Debug)]
pub(crate) struct Opened<'a> {
    header: &'a [u8],
    rows: &'a [u8],
    pub(crate) signer: PublicKey,
    pub(crate) digest: Digest,
}

/// Checks head, lengths, signer and signature, in that order.
pub(crate) fn open<'a>(
    document: Document,
    bytes: &'a [u8],
    trust: &Trust,
) -> Result<Opened<'a>, Refused> {
    let wrong_length = Malformed::Length { actual: bytes.len() as u64 };
    let (head, rest) = bytes.split_at_checked(HEAD).ok_or(wrong_length.clone())?;
    let (header_length, objects) = check_head(document, head)?;
    let (header, rest) = rest.split_at_checked(header_length).ok_or(wrong_length.clone())?;
    // Cannot overflow: the number of objects was bounded above.
    let (rows, trailer) = rest.split_at_checked(objects * ROW).ok_or(wrong_length.clone())?;
    let (signer, signature) = trailer.split_at_checked(32).ok_or(wrong_length.clone())?;
    let signer = PublicKey(signer.try_into().map_err(|_| wrong_length.clone())?);
    let signature: &[u8; 64] = signature.try_into().map_err(|_| wrong_length.clone())?;
    if let Some(expected) = trust.expected().filter(|_| !trust.allows(&signer)) {
        return Err(Refused::Signer { found: Fingerprint::of(&signer), expected });
    }
    let (signed, _) = bytes.split_at_checked(bytes.len() - 64).ok_or(wrong_length)?;
    if !sign::verify(&signer, &message(document, signed), signature) {
        return Err(Malformed::Signature.into());
    }
    Ok(Opened { header, rows, signer, digest: Digest(Sha256::digest(bytes).into()) })
}

/// The length of the header and the number of objects, both within their bounds.
fn check_head(document: Document, head: &[u8]) -> Result<(usize, usize), Malformed> {
    let mut fields = Fields(head);
    if fields.take::<8>() != *document.magic() {
        return Err(Malformed::Magic);
    }
    let version = u16::from_le_bytes(fields.take());
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    let flags = u16::from_le_bytes(fields.take());
    if flags != 0 {
        return Err(Malformed::Flags(flags));
    }
    let header_length = usize::try_from(u32::from_le_bytes(fields.take())).unwrap_or(usize::MAX);
    let objects = u64::from_le_bytes(fields.take());
    if fields.take::<8>() != [0; 8] {
        return Err(Malformed::Header("reserved bytes are set".to_owned()));
    }
    if header_length > MAX_HEADER {
        return Err(Malformed::TooMany("bytes in its header"));
    }
    if objects > MAX_OBJECTS || (document == Document::Label && objects > 0) {
        return Err(Malformed::TooMany("objects"));
    }
    let objects = usize::try_from(objects).map_err(|_| Malformed::TooMany("objects"))?;
    Ok((header_length, objects))
}

impl Opened<'_> {
    /// The header. Refused unless its bytes are exactly those that would be written for it, so
    /// that a document has one form.
    pub(crate) fn header<H: DeserializeOwned + Serialize>(&self) -> Result<H, Malformed> {
        let wrong = |cause: serde_json::Error| Malformed::Header(cause.to_string());
        let header: H = serde_json::from_slice(self.header).map_err(wrong)?;
        if serde_json::to_vec(&header).map_err(wrong)? != self.header {
            return Err(Malformed::Header("it is not in the form this version writes".to_owned()));
        }
        Ok(header)
    }

    /// The objects: strictly ascending, of known kinds and repositories, their lengths' sum
    /// within 64 bits, a config named as its repository.
    pub(crate) fn objects(&self, repositories: &[Digest]) -> Result<Vec<Object>, Malformed> {
        let mut objects: Vec<Object> = Vec::with_capacity(self.rows.len() / ROW);
        let mut total = 0_u64;
        for (row, bytes) in self.rows.chunks_exact(ROW).enumerate() {
            let object =
                decode_row(bytes, repositories).map_err(|what| Malformed::Row { row, what })?;
            if objects.last().is_some_and(|last| last.identity() >= object.identity()) {
                return Err(Malformed::Row { row, what: "is out of order or there twice" });
            }
            total = total.checked_add(object.length).ok_or(Malformed::Overflow)?;
            objects.push(object);
        }
        Ok(objects)
    }
}

fn decode_row(bytes: &[u8], repositories: &[Digest]) -> Result<Object, &'static str> {
    let mut fields = Fields(bytes);
    let repository = u16::from_le_bytes(fields.take());
    let identity =
        repositories.get(usize::from(repository)).ok_or("names a repository that is not listed")?;
    let [kind, reserved] = fields.take();
    let kind = kind_from_byte(kind).ok_or("is of an unknown kind")?;
    if reserved != 0 {
        return Err("has its reserved byte set");
    }
    let length = u64::from_le_bytes(fields.take());
    let name = Digest(fields.take());
    if kind == ObjectKind::Config && name != *identity {
        return Err("is a config of another repository");
    }
    Ok(Object { repository, kind, name, length })
}

/// Repositories in a header: ascending, each once.
pub(crate) fn check_repositories(repositories: &[Digest]) -> Result<(), Malformed> {
    let ascending = repositories.is_sorted_by(|one, next| one < next);
    if ascending && u16::try_from(repositories.len()).is_ok() {
        Ok(())
    } else {
        Err(Malformed::Header("its repositories are out of order or there twice".to_owned()))
    }
}

/// Reads fixed-size fields one after the other; zeros when there are no more, which callers rule
/// out by the lengths of what they hand in.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk::<N>().unwrap_or((&[0; N], &[]));
        self.0 = rest;
        *field
    }
}
