//! Which packs of a drive that is not sealed have been read back, remembered beside the drive. Never believed
//! of packs that are not on the drive.
//!
//! ```text
//!  "PKMPROV1" · label's SHA-256 · set u32 · drive u32                             48 bytes
//!  records: name 32 · length u64 · check 8
//! ```
//!
//! Little-endian; the check is the first 8 bytes of the BLAKE3 of the record's offset (u64), name and length.
//! The first record that is not whole ends the file, and the next one takes its place.

use crate::beneath::{Beneath, NewFile};
use crate::label::Label;
use crate::{Object, Signed};
use model::{Digest, ObjectKind};
use std::collections::BTreeSet;
use std::io;

pub(crate) const MAGIC: &[u8; 8] = b"PKMPROV1";
const HEAD: usize = 48;
const RECORD: usize = 48;
pub(crate) const BODY: usize = 40;
/// A drive of 100 TB in packs of 4 MiB, and as much again.
const LIMIT: u64 = 4 << 30;
/// The folder in the state folder.
pub(crate) const PROVED: &str = "proved";

/// The file of one drive, open for more.
#[derive(Debug)]
pub(crate) struct Proved {
    file: NewFile,
}

impl Proved {
    /// Opens or begins the file of a drive. Answers what it knows, too.
    pub(crate) fn open(
        state: &Beneath,
        label: &Signed<Label>,
    ) -> io::Result<(Self, BTreeSet<Object>)> {
        state.create_folders(PROVED)?;
        let path = format!("{PROVED}/{}", label.digest);
        let head = head(label);
        // Damaged beyond reading, it counts as none.
        let bytes = match state.read_if_there(&path, LIMIT) {
            Err(cause) if cause.kind() == io::ErrorKind::InvalidData => None,
            other => other?,
        };
        let (objects, length) = match bytes.and_then(|bytes| decode(&bytes, &head)) {
            Some(found) => found,
            None => {
                state.write(&path, &format!("{PROVED}/partial"), &head)?;
                (BTreeSet::new(), HEAD as u64)
            }
        };
        Ok((Self { file: state.append(&path, length)? }, objects))
    }

    /// These were read back.
    pub(crate) fn add(&mut self, objects: &[Object]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(objects.len() * RECORD);
        for object in objects {
            let offset = self.file.length() + bytes.len() as u64;
            bytes.extend_from_slice(&record(offset, object));
        }
        self.file.write_part(&bytes)?;
        self.file.sync()
    }
}

/// Set and number of every drive that a file is kept of, so that no other drive gets it.
pub(crate) fn numbers(state: &Beneath) -> io::Result<BTreeSet<(u32, u32)>> {
    let mut names = Vec::new();
    state.walk(PROVED, &mut |found| {
        names.push(found.path);
        true
    })?;
    let mut numbers = BTreeSet::new();
    for name in names {
        let (file, _) = state.file(&name)?;
        let mut head = Vec::with_capacity(HEAD);
        io::Read::read_to_end(&mut io::Read::take(file, HEAD as u64), &mut head)?;
        let number = |at: usize| Some(u32::from_le_bytes(*head.get(at..)?.first_chunk()?));
        numbers.extend(number(40).zip(number(44)).filter(|_| head.starts_with(MAGIC)));
    }
    Ok(numbers)
}

/// A drive is sealed: its manifest says it all.
pub(crate) fn forget(state: &Beneath, label: &Digest) -> io::Result<()> {
    state.remove(&format!("{PROVED}/{label}"))
}

fn head(label: &Signed<Label>) -> Vec<u8> {
    let (set, drive) = (label.body.set.to_le_bytes(), label.body.drive.to_le_bytes());
    [MAGIC.as_slice(), label.digest.as_bytes(), &set, &drive].concat()
}

fn record(offset: u64, object: &Object) -> Vec<u8> {
    sealed(offset, &[object.name.as_bytes().as_slice(), &object.length.to_le_bytes()].concat())
}

pub(crate) fn sealed(offset: u64, body: &[u8]) -> Vec<u8> {
    [body, &check(offset, body)].concat()
}

fn check(offset: u64, body: &[u8]) -> [u8; RECORD - BODY] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(body);
    hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
}

/// The packs named, and where the last whole record ends; none for another drive's file.
pub(crate) fn decode(bytes: &[u8], head: &[u8]) -> Option<(BTreeSet<Object>, u64)> {
    let records = bytes.strip_prefix(head)?;
    let (mut objects, mut end) = (BTreeSet::new(), HEAD as u64);
    for record in records.as_chunks::<RECORD>().0 {
        let (body, sum) = record.split_at(BODY);
        let Some((name, length)) = body.split_first_chunk::<32>() else { break };
        let (Some(length), true) = (length.first_chunk(), *sum == check(end, body)) else { break };
        let (name, length) = (Digest(*name), u64::from_le_bytes(*length));
        objects.insert(Object { repository: 0, kind: ObjectKind::Pack, name, length });
        end += RECORD as u64;
    }
    Some((objects, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pack(n: u8) -> Object {
        let (kind, name) = (ObjectKind::Pack, Digest([n; 32]));
        Object { repository: 0, kind, name, length: u64::from(n) * 1000 }
    }

    proptest! {
        #[test]
        fn a_torn_or_altered_file_never_tells_more_than_was_added(
            count in 0_u8..6,
            at in any::<prop::sample::Index>(),
            flip in any::<Option<u8>>(),
        ) {
            let head = [MAGIC.as_slice(), &[7; 40]].concat();
            let mut bytes = head.clone();
            for n in 0..count {
                bytes.extend_from_slice(&record(bytes.len() as u64, &pack(n)));
            }
            let at = at.index(bytes.len());
            match flip {
                Some(bits) if bits != 0 => bytes[at] ^= bits,
                _ => bytes.truncate(at),
            }
            let whole = at.saturating_sub(HEAD) / RECORD;
            match decode(&bytes, &head) {
                None => prop_assert!(at < HEAD),
                Some((objects, end)) => {
                    let expected: BTreeSet<Object> = (0..count).take(whole).map(pack).collect();
                    prop_assert_eq!(objects, expected);
                    prop_assert_eq!(end, (HEAD + whole * RECORD) as u64);
                }
            }
        }
    }
}
