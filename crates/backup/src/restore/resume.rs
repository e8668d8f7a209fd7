//! What a restore that was interrupted has begun: which directories it has made, and what its unfinished files are
//! called. A hint: files are judged by their content. Not synced but for its beginning.
//!
//! ```text
//! packmule restore 1
//! token 00112233aabbccdd           unfinished files have that in their names
//! dir 6574632f78                   a directory that is about to be made: its path, in hexadecimal
//! ```

use model::Digest;
use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const HEADER: &str = "packmule restore 1";
/// A journal is believed up to this many bytes: some million directories.
const LONGEST: u64 = 1 << 30;

/// What is known of an earlier attempt at the same restore, and where this one is noted.
#[derive(Debug, Default)]
pub(super) struct Resume {
    noted: Option<(File, PathBuf)>,
    /// How long what was understood of it is.
    length: u64,
    /// Names of unfinished files have one of these.
    pub(super) tokens: Vec<u64>,
    dirs: HashSet<PathBuf>,
}

/// What a restore is known by: the folder, the tree, and what of it.
pub(super) type Key<'a> = ((u64, u64), Digest, Option<&'a Path>);

impl Resume {
    /// Opens the journal in `folder`, which is made. Notes nothing yet.
    pub(super) fn open(folder: &Path, key: Key<'_>) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let path = folder.join(name(key));
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(0o600).open(&path)?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            // The same restore is under way.
            return Ok(Self::default());
        }
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(LONGEST).read_to_end(&mut bytes)?;
        let mut resume = Self { noted: Some((file, path)), ..Self::default() };
        resume.take_in(&bytes);
        Ok(resume)
    }

    /// Reads the journal, if there is one, and will note nothing.
    pub(super) fn look(folder: &Path, key: Key<'_>) -> Self {
        let mut resume = Self::default();
        if let Ok(bytes) = std::fs::read(folder.join(name(key))) {
            resume.take_in(&bytes);
        }
        resume
    }

    fn take_in(&mut self, bytes: &[u8]) {
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else { return };
        let text = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
        let mut lines = text.lines();
        if lines.next() != Some(HEADER) {
            return;
        }
        self.length = end as u64 + 1;
        for line in lines {
            if let Some(token) = line.strip_prefix("token ") {
                self.tokens.extend(u64::from_str_radix(token, 16).ok());
            } else if let Some(bytes) = line.strip_prefix("dir ").and_then(from_hex) {
                self.dirs.insert(OsString::from_vec(bytes).into());
            }
        }
    }

    /// Whether there was an attempt.
    pub(super) fn is_known(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Notes that this one begins.
    pub(super) fn begin(&mut self, token: u64) -> io::Result<()> {
        let Some((file, _)) = &mut self.noted else { return Ok(()) };
        // Without what is torn.
        file.set_len(self.length)?;
        if self.length == 0 {
            file.write_all(format!("{HEADER}\n").as_bytes())?;
        }
        file.write_all(format!("token {token:016x}\n").as_bytes())?;
        file.sync_all()
    }

    /// Notes a directory that is about to be made. Failing costs its attributes after an interruption.
    pub(super) fn note(&mut self, path: impl FnOnce() -> PathBuf) {
        if let Some((file, _)) = &mut self.noted {
            let path = path();
            let hex: String =
                path.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = file.write_all(format!("dir {hex}\n").as_bytes());
        }
    }

    /// Whether an earlier attempt has made that directory.
    pub(super) fn has_made(&self, path: impl FnOnce() -> PathBuf) -> bool {
        !self.dirs.is_empty() && self.dirs.contains(&path())
    }

    /// Everything is done.
    pub(super) fn end(self) {
        if let Some((_, path)) = self.noted {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn name(((device, inode), tree, below): Key<'_>) -> String {
    let mut hash = Sha256::new();
    hash.update(device.to_le_bytes());
    hash.update(inode.to_le_bytes());
    hash.update(tree.as_bytes());
    hash.update(below.map(|below| below.as_os_str().as_bytes()).unwrap_or_default());
    let hash = Digest(hash.finalize().into()).to_hex();
    format!("restore-{}", hash.get(..32).unwrap_or(&hash))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some(digit(high)? << 4 | digit(low)?);
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key<'static> = ((1, 2), Digest([3; 32]), None);

    #[test]
    fn what_was_noted_is_known_to_the_next_attempt_and_torn_lines_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let odd = OsString::from_vec(b"a/\xff\n ".to_vec());
        let mut first = Resume::open(folder.path(), KEY).unwrap();
        assert!(!first.is_known());
        first.begin(7).unwrap();
        first.note(|| "a".into());
        first.note(|| odd.clone().into());
        // One at a time has it.
        assert!(!Resume::open(folder.path(), KEY).unwrap().is_known());
        let path = first.noted.as_ref().unwrap().1.clone();
        drop(first);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"dir 62").unwrap();
        let mut second = Resume::open(folder.path(), KEY).unwrap();
        assert_eq!(second.tokens, [7]);
        assert!(second.has_made(|| "a".into()) && second.has_made(|| odd.clone().into()));
        assert!(!second.has_made(|| "b".into()));
        second.begin(8).unwrap();
        second.note(|| "c".into());
        drop(second);
        let looked = Resume::look(folder.path(), KEY);
        assert_eq!(looked.tokens, [7, 8]);
        assert!(looked.has_made(|| "c".into()) && !looked.has_made(|| "b".into()));
        let other = ((1, 2), Digest([3; 32]), Some(Path::new("/x")));
        assert!(!Resume::look(folder.path(), other).is_known());
        Resume::open(folder.path(), KEY).unwrap().end();
        assert!(!path.exists());
    }
}
