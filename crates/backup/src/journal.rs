//! What an interrupted backup has read, so that the next one need not read it again.
//!
//! One file for each repository, host and set of paths, in a folder that the caller names. It is a
//! hint and nothing more: a record counts only for a file that has the same path, size, times and
//! inode, and only if the index has every blob of it. So nothing here is synced, and a torn or
//! damaged record ends what is read. Never holds anything that a key would be needed for.
//!
//! ```text
//! header   "packmule journal 2\n"
//! record   runs (u32 LE) ‖ check (8) ‖ key (32) ‖ runs of equal blobs (40 × runs)
//! run      how many (u64 LE) ‖ SHA-256 of the blob (32)
//! key      SHA-256 of size, times, inode, device and path
//! check    the first bytes of the SHA-256 of runs ‖ key ‖ each run
//! ```
//!
//! Memory: 16 bytes for each file that was read before the interruption, and the runs of the file
//! that is looked up.

use model::Digest;
use repo::{BlobRun, Content};
use rustix::fs::FlockOperation;
use sha2::{Digest as _, Sha256};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const HEADER: &[u8] = b"packmule journal 2\n";
/// Of a record before its runs.
const FRONT: usize = 4 + 8 + 32;
/// Of a run.
const RUN: usize = 8 + 32;
/// The most blobs of a record that counts: as many as a tree has room for.
const MOST_BLOBS: u64 = 1 << 26;

/// A file's path and everything that changes when it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// `device` is the one that the file is on, wherever it is read from.
    pub(crate) fn of(path: &Path, stat: &Metadata, device: u64) -> Self {
        let mut hasher = Sha256::new();
        for number in [stat.size(), stat.ino(), device] {
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
    pub(crate) fn find(&self, key: &Key) -> Option<Content> {
        let beginning = key.beginning();
        let first = self.known.partition_point(|(known, _)| *known < beginning);
        let same = self.known.iter().skip(first).take_while(|(known, _)| *known == beginning);
        same.filter_map(|(_, offset)| self.record(*offset, key)).last()
    }

    fn record(&self, offset: u64, key: &Key) -> Option<Content> {
        let mut front = [0; FRONT];
        self.records.read_exact_at(&mut front, offset).ok()?;
        let (runs, rest) = front.split_first_chunk::<4>()?;
        let (_, found) = rest.split_first_chunk::<8>()?;
        if found != key.0 {
            return None;
        }
        // As many as are there: opening has read them all.
        let mut bytes = vec![0; u32::from_le_bytes(*runs) as usize * RUN];
        self.records.read_exact_at(&mut bytes, offset + FRONT as u64).ok()?;
        let content = Content::of(bytes.as_chunks::<RUN>().0.iter().filter_map(decode_run));
        (content.blobs() <= MOST_BLOBS).then_some(content)
    }

    /// Notes that a file was read, whether or not its blobs are stored by now.
    pub(crate) fn add(&self, key: &Key, content: &Content) -> io::Result<()> {
        let Ok(runs) = u32::try_from(content.runs().len()) else { return Ok(()) };
        if content.blobs() > MOST_BLOBS {
            return Ok(());
        }
        let mut hasher = check(&runs.to_le_bytes(), &key.0);
        content.runs().iter().for_each(|run| hasher.update(encode_run(run)));
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(&runs.to_le_bytes())?;
        writer.write_all(&end_check(hasher))?;
        writer.write_all(&key.0)?;
        content.runs().iter().try_for_each(|run| writer.write_all(&encode_run(run)))
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

fn encode_run(run: &BlobRun) -> [u8; RUN] {
    let mut bytes = [0; RUN];
    let (count, id) = bytes.split_at_mut(8);
    count.copy_from_slice(&run.count.to_le_bytes());
    id.copy_from_slice(run.id.as_bytes());
    bytes
}

fn decode_run(bytes: &[u8; RUN]) -> Option<BlobRun> {
    let (count, id) = bytes.split_first_chunk::<8>()?;
    Some(BlobRun { count: u64::from_le_bytes(*count), id: Digest(id.try_into().ok()?) })
}

/// The beginning of a record's check; its runs are still to come.
fn check(runs: &[u8], key: &[u8]) -> Sha256 {
    let mut hasher = Sha256::new();
    hasher.update(runs);
    hasher.update(key);
    hasher
}

fn end_check(hasher: Sha256) -> [u8; 8] {
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
    while let Some((key, record)) = next(&mut reader, length - end)? {
        known.push((key.beginning(), end));
        end += record;
    }
    // Stable: of two records of one file the later one is found last.
    known.sort_by_key(|(beginning, _)| *beginning);
    known.shrink_to_fit();
    Ok((known, end))
}

/// Reads one record, and answers its length; none where no whole one follows in the `left` bytes.
fn next(reader: &mut impl Read, left: u64) -> io::Result<Option<(Key, u64)>> {
    if left < FRONT as u64 {
        return Ok(None);
    }
    let (mut runs, mut noted, mut key) = ([0; 4], [0; 8], [0; 32]);
    reader.read_exact(&mut runs)?;
    reader.read_exact(&mut noted)?;
    reader.read_exact(&mut key)?;
    let count = u32::from_le_bytes(runs);
    let length = FRONT as u64 + u64::from(count) * RUN as u64;
    if length > left {
        return Ok(None);
    }
    let mut hasher = check(&runs, &key);
    let mut run = [0; RUN];
    for _ in 0..count {
        reader.read_exact(&mut run)?;
        hasher.update(run);
    }
    Ok((end_check(hasher) == noted).then_some((Key(key), length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: u8) -> Key {
        Key([n; 32])
    }

    fn ids(n: u8) -> Content {
        let run = |at| BlobRun { id: Digest([n ^ at; 32]), count: 1_u64 << (at + n % 20) };
        Content::of((0..n % 5).map(run))
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
                ends += FRONT + ids(n).runs().len() * RUN;
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
