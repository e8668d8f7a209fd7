//! What an interrupted backup has read, so that the next one need not read it again.
//!
//! One file for each repository, host and set of paths, in a folder that the caller names. It is a
//! hint and nothing more: a record counts only for a file that has the same path, size, times and
//! inode, and only if the index has every blob of it. So nothing here is synced, and a torn or
//! damaged record ends what is read. Never holds anything that a key would be needed for.
//!
//! ```text
//! header   "packmule journal 1\n"
//! record   blobs (u32 LE) ‖ check (8) ‖ key (32) ‖ SHA-256 of each blob (32 × blobs)
//! key      SHA-256 of size, times, inode, device and path
//! check    the first bytes of the SHA-256 of blobs ‖ key ‖ blob names
//! ```
//!
//! Memory: 16 bytes for each file that was read before the interruption.

use model::Digest;
use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const HEADER: &[u8] = b"packmule journal 1\n";
/// Of a record before its blobs.
const FRONT: usize = 4 + 8 + 32;
/// The most blobs of a record that is read: a file of about 100 TiB.
const MOST_BLOBS: u32 = 1 << 26;

/// A file's path and everything that changes when it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key([u8; 32]);

impl Key {
    pub(crate) fn of(path: &Path, stat: &Metadata) -> Self {
        let mut hasher = Sha256::new();
        for number in [stat.size(), stat.ino(), stat.dev()] {
            hasher.update(number.to_le_bytes());
        }
        for number in [stat.mtime(), stat.mtime_nsec(), stat.ctime(), stat.ctime_nsec()] {
            hasher.update(number.to_le_bytes());
        }
        hasher.update(path.as_os_str().as_bytes());
        Self(hasher.finalize().into())
    }

    fn beginning(&self) -> u64 {
        self.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// The journal of one backup.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    /// For reading: what was there when the backup began.
    records: File,
    /// (beginning of the key, offset of the record), in ascending order.
    known: Vec<(u64, u64)>,
    writer: Mutex<BufWriter<File>>,
}

impl Journal {
    /// Opens the journal of these paths, or begins it. None while another backup of them runs.
    pub(crate) fn open(
        folder: &Path,
        repository: Digest,
        hostname: &str,
        paths: &[PathBuf],
    ) -> io::Result<Option<Self>> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let path = folder.join(name(repository, hostname, paths));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path)?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        let (known, end) = read(&file)?;
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        if end == 0 {
            file.write_all(HEADER)?;
        }
        let records = File::open(&path)?;
        Ok(Some(Self { path, records, known, writer: Mutex::new(BufWriter::new(file)) }))
    }

    /// How many files were read before.
    pub(crate) fn known(&self) -> usize {
        self.known.len()
    }

    /// The blobs of a file that was read before and is as it was.
    pub(crate) fn find(&self, key: &Key) -> Option<Vec<Digest>> {
        let beginning = key.beginning();
        let first = self.known.partition_point(|(known, _)| *known < beginning);
        let same = self.known.iter().skip(first).take_while(|(known, _)| *known == beginning);
        same.filter_map(|(_, offset)| self.record(*offset, key)).last()
    }

    fn record(&self, offset: u64, key: &Key) -> Option<Vec<Digest>> {
        let mut front = [0; FRONT];
        self.records.read_exact_at(&mut front, offset).ok()?;
        let (blobs, rest) = front.split_first_chunk::<4>()?;
        let (_, found) = rest.split_first_chunk::<8>()?;
        if found != key.0 {
            return None;
        }
        let mut bytes = vec![0; u32::from_le_bytes(*blobs) as usize * 32];
        self.records.read_exact_at(&mut bytes, offset + FRONT as u64).ok()?;
        Some(bytes.as_chunks::<32>().0.iter().map(|id| Digest(*id)).collect())
    }

    /// Notes that a file was read, whether or not its blobs are stored by now.
    pub(crate) fn add(&self, key: &Key, content: &[Digest]) -> io::Result<()> {
        let Some(blobs) = u32::try_from(content.len()).ok().filter(|blobs| *blobs <= MOST_BLOBS)
        else {
            return Ok(());
        };
        let mut record = Vec::with_capacity(FRONT + content.len() * 32);
        record.extend_from_slice(&blobs.to_le_bytes());
        record.extend_from_slice(&[0; 8]);
        record.extend_from_slice(&key.0);
        content.iter().for_each(|id| record.extend_from_slice(id.as_bytes()));
        let check = check(&record);
        if let Some(place) = record.get_mut(4..12) {
            place.copy_from_slice(&check);
        }
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).write_all(&record)
    }

    /// The backup is complete: nothing of this is needed any more.
    pub(crate) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

fn name(repository: Digest, hostname: &str, paths: &[PathBuf]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(repository.as_bytes());
    for part in std::iter::once(hostname.as_bytes())
        .chain(paths.iter().map(|path| path.as_os_str().as_bytes()))
    {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    format!("{}.journal", Digest(hasher.finalize().into()).to_hex())
}

/// `record` is whole, but for its check.
fn check(record: &[u8]) -> [u8; 8] {
    let (front, rest) = record.split_at_checked(12).unwrap_or((record, &[]));
    let mut hasher = Sha256::new();
    hasher.update(front.get(..4).unwrap_or_default());
    hasher.update(rest);
    let hash: [u8; 32] = hasher.finalize().into();
    hash.first_chunk().copied().unwrap_or_default()
}

/// Where the records are, and where the last whole one ends: zero for what is no journal.
fn read(file: &File) -> io::Result<(Vec<(u64, u64)>, u64)> {
    let length = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER.len()];
    if length < HEADER.len() as u64 || reader.read_exact(&mut header).is_err() || header != *HEADER
    {
        return Ok((Vec::new(), 0));
    }
    let (mut known, mut end) = (Vec::new(), HEADER.len() as u64);
    let mut record = Vec::new();
    while let Some(key) = next(&mut reader, length - end, &mut record)? {
        known.push((key.beginning(), end));
        end += record.len() as u64;
    }
    // Stable: of two records of one file the later one is found last.
    known.sort_by_key(|(beginning, _)| *beginning);
    known.shrink_to_fit();
    Ok((known, end))
}

/// Reads one record into `record`; none where no whole one follows in the `left` bytes.
fn next(reader: &mut impl Read, left: u64, record: &mut Vec<u8>) -> io::Result<Option<Key>> {
    if left < FRONT as u64 {
        return Ok(None);
    }
    record.resize(FRONT, 0);
    reader.read_exact(record)?;
    let blobs = record.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let length = FRONT as u64 + u64::from(blobs) * 32;
    if blobs > MOST_BLOBS || length > left {
        return Ok(None);
    }
    // Bounded by the bytes that are there.
    record.resize(FRONT + blobs as usize * 32, 0);
    reader.read_exact(record.get_mut(FRONT..).unwrap_or_default())?;
    let key = record.get(12..).and_then(|rest| rest.first_chunk()).map(|key| Key(*key));
    Ok(key.filter(|_| record.get(4..12) == Some(&check(record))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: u8) -> Key {
        Key([n; 32])
    }

    fn ids(n: u8) -> Vec<Digest> {
        (0..n % 5).map(|at| Digest([n ^ at; 32])).collect()
    }

    fn open(folder: &Path) -> Journal {
        Journal::open(folder, Digest([1; 32]), "here", &["/a".into()]).unwrap().unwrap()
    }

    fn written(folder: &Path, count: u8) -> PathBuf {
        let journal = open(folder);
        (0..count).for_each(|n| journal.add(&key(n), &ids(n)).unwrap());
        journal.path.clone()
    }

    #[test]
    fn what_was_noted_is_found_by_the_next_one_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), 40);
        let journal = open(folder.path());
        assert_eq!(journal.known(), 40);
        for n in 0..40 {
            assert_eq!(journal.find(&key(n)), Some(ids(n)));
        }
        assert_eq!(journal.find(&key(41)), None);
        let other = Journal::open(folder.path(), Digest([2; 32]), "here", &["/a".into()]);
        assert_eq!(other.unwrap().unwrap().known(), 0);
        let other = Journal::open(folder.path(), Digest([1; 32]), "here", &["/b".into()]);
        assert_eq!(other.unwrap().unwrap().known(), 0);
    }

    #[test]
    fn the_latest_record_of_a_file_counts() {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path());
        journal.add(&key(1), &ids(2)).unwrap();
        journal.add(&key(1), &ids(3)).unwrap();
        drop(journal);
        assert_eq!(open(folder.path()).find(&key(1)), Some(ids(3)));
    }

    #[test]
    fn one_backup_at_a_time_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path());
        let second = Journal::open(folder.path(), Digest([1; 32]), "here", &["/a".into()]);
        assert!(second.unwrap().is_none());
        first.remove().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        // Cut off or altered anywhere: what is found is right, what is before the damage is found,
        // and what is added afterwards is found as well.
        #[test]
        fn a_torn_or_altered_journal_never_tells_wrong(at: prop::sample::Index, flip: Option<u8>) {
            let folder = tempfile::tempdir().unwrap();
            let path = written(folder.path(), 20);
            let mut bytes = std::fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            match flip {
                Some(bits) if bits != 0 => bytes[at] ^= bits,
                _ => bytes.truncate(at),
            }
            std::fs::write(&path, &bytes).unwrap();
            let journal = open(folder.path());
            let mut ends = HEADER.len();
            for n in 0..20 {
                ends += FRONT + ids(n).len() * 32;
                let found = journal.find(&key(n));
                prop_assert!(found.is_none() || found == Some(ids(n)));
                prop_assert!(found.is_some() || ends > at);
            }
            journal.add(&key(99), &ids(99)).unwrap();
            drop(journal);
            prop_assert_eq!(open(folder.path()).find(&key(99)), Some(ids(99)));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let folder = tempfile::tempdir().unwrap();
            let path = written(folder.path(), 0);
            std::fs::write(&path, [HEADER, &bytes].concat()).unwrap();
            open(folder.path());
        }
    }
}
