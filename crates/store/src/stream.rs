//! Bytes on their way into a store, checked against the name they come under. Writes nothing itself.

use crate::{Error, Result};
use model::{Digest, ObjectKey};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read};

/// How much of an object is held in memory while it streams.
pub(crate) const BUFFER: usize = 128 * 1024;

/// Where bytes to store come from: fills the front of the buffer, `0` at the end.
pub(crate) type Source<'a> = dyn FnMut(&mut [u8]) -> Result<usize> + 'a;

/// A source of exactly `length` bytes that hash to the key's name.
///
/// invariant: the last byte is given out only after length and hash proved right, so whoever sees
/// an object's last byte has seen a right object.
pub(crate) struct Checked<'a> {
    location: String,
    key: ObjectKey,
    length: u64,
    seen: u64,
    hasher: Sha256,
    right: bool,
    from: &'a mut dyn Read,
}

impl<'a> Checked<'a> {
    pub(crate) fn new(
        location: String,
        key: &ObjectKey,
        length: u64,
        from: &'a mut dyn Read,
    ) -> Self {
        let hasher = Sha256::new();
        Self { location, key: *key, length, seen: 0, hasher, right: false, from }
    }

    /// The next bytes; `0` when all were given out.
    pub(crate) fn next(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let left = self.length - self.seen;
        if left == 0 {
            self.finish()?;
            return Ok(0);
        }
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let window = buffer.get_mut(..room).unwrap_or_default();
        let count = read_some(self.from, window).map_err(|cause| self.broken(cause))?;
        if count == 0 && room > 0 {
            return Err(self.wrong(format!("it ends after {} of {} bytes", self.seen, self.length)));
        }
        self.hasher.update(window.get(..count).unwrap_or_default());
        self.seen += count as u64;
        if self.seen == self.length {
            self.finish()?;
        }
        Ok(count)
    }

    /// Reads what is left, for the verdict alone.
    pub(crate) fn drain(&mut self) -> Result<()> {
        let mut buffer = vec![0; BUFFER];
        while self.next(&mut buffer)? > 0 {}
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if self.right {
            return Ok(());
        }
        let mut more = [0];
        if read_some(self.from, &mut more).map_err(|cause| self.broken(cause))? > 0 {
            return Err(self.wrong(format!("it is longer than {} bytes", self.length)));
        }
        let hash = Digest(std::mem::take(&mut self.hasher).finalize().into());
        if self.key.id().is_some_and(|name| name != hash) {
            return Err(self.wrong(format!("its bytes hash to {hash}")));
        }
        self.right = true;
        Ok(())
    }

    fn wrong(&self, what: String) -> Error {
        Error::Corrupt { location: self.location.clone(), key: self.key, what }
    }

    fn broken(&self, cause: io::Error) -> Error {
        Error::Source { key: self.key, cause }
    }
}

/// One successful `read`, interruptions aside; never more than fits.
pub(crate) fn read_some(from: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Ok(count) if count > buffer.len() => {
                return Err(io::Error::other("a reader claims more bytes than it was asked for"));
            }
            other => return other,
        }
    }
}

/// Fills the buffer as far as the stream goes; less than its length only at the end.
pub(crate) fn read_full(from: &mut (impl Read + ?Sized), buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match read_some(from, rest)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Appends what `from` yields, at most `limit` bytes, to an empty vector; `None` when there is more.
///
/// Room is made as bytes arrive: `hint` is what somebody claims, and saves copying only up to 64 MiB.
pub(crate) fn read_limited(
    from: &mut dyn Read,
    limit: u64,
    hint: u64,
) -> io::Result<Option<Vec<u8>>> {
    const MOST_ON_TRUST: u64 = 64 << 20;
    let room = usize::try_from(hint.min(limit).min(MOST_ON_TRUST)).unwrap_or(0);
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(room).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(bytes: &[u8]) -> ObjectKey {
        ObjectKey::Pack(Digest(Sha256::digest(bytes).into()))
    }

    /// Everything a checked source gives out in steps of `step` bytes, and how it ended.
    fn given_out(key: &ObjectKey, length: u64, bytes: &[u8], step: usize) -> (Vec<u8>, Result<()>) {
        let mut from = bytes;
        let mut checked = Checked::new("here".to_owned(), key, length, &mut from);
        let (mut out, mut buffer) = (Vec::new(), vec![0; step]);
        loop {
            match checked.next(&mut buffer) {
                Ok(0) => return (out, Ok(())),
                Ok(count) => out.extend_from_slice(&buffer[..count]),
                Err(error) => return (out, Err(error)),
            }
        }
    }

    proptest! {
        #[test]
        fn right_bytes_come_through_whole(bytes: Vec<u8>, step in 1_usize..40) {
            let (out, end) = given_out(&key(&bytes), bytes.len() as u64, &bytes, step);
            prop_assert!(end.is_ok());
            prop_assert_eq!(out, bytes);
        }

        #[test]
        fn nobody_sees_the_last_byte_of_a_wrong_object(
            bytes in prop::collection::vec(any::<u8>(), 1..200),
            step in 1_usize..40,
            damage in 0_usize..4,
        ) {
            let name = key(&bytes);
            let mut wrong = bytes.clone();
            match damage {
                0 => wrong[bytes.len() / 2] ^= 1,
                1 => { wrong.pop(); }
                2 => wrong.push(0),
                _ => *wrong.last_mut().unwrap() ^= 0x80,
            }
            let (out, end) = given_out(&name, bytes.len() as u64, &wrong, step);
            let refused = matches!(end, Err(Error::Corrupt { .. }));
            prop_assert!(refused);
            prop_assert!(out.len() < bytes.len());
        }
    }

    #[test]
    fn a_config_is_held_to_its_length_only() {
        assert!(given_out(&ObjectKey::Config, 3, b"abc", 2).1.is_ok());
        assert!(matches!(given_out(&ObjectKey::Config, 3, b"ab", 2).1, Err(Error::Corrupt { .. })));
        assert!(matches!(
            given_out(&ObjectKey::Config, 3, b"abcd", 2).1,
            Err(Error::Corrupt { .. })
        ));
    }

    #[test]
    fn a_reader_that_lies_about_its_count_is_refused() {
        struct Liar;
        impl Read for Liar {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                Ok(buffer.len() + 1)
            }
        }
        let mut liar = Liar;
        let mut checked = Checked::new(String::new(), &key(b"abc"), 3, &mut liar);
        assert!(matches!(checked.next(&mut [0; 8]), Err(Error::Source { .. })));
    }

    #[test]
    fn a_claimed_length_reserves_no_memory_beyond_its_bound() {
        let mut from: &[u8] = b"abc";
        let bytes = read_limited(&mut from, u64::MAX, u64::MAX).unwrap().unwrap();
        assert_eq!(bytes, b"abc");
        assert!(bytes.capacity() as u64 <= 64 << 20);
    }
}
