//! What this dock has copied of a drive, remembered between calls, so that the copy log of a copy
//! that was interrupted tells it from what was there before. Decides nothing about copying: losing
//! it costs a word in the log.
//!
//! ```text
//! <state>/<job>/<serial>.journal     one line for each object copied: <repository> <path>
//! <state>/<job>/<serial>.log         the copy log, until the server has it
//! ```

use crate::Error;
use model::{Digest, DriveSerial, JobName, ObjectKey};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use store::durable;

/// A line is a repository's name, a path and two separators: 64 + 1 + 72 + 1 bytes at most.
const LINE: u64 = 256;

/// The folder in which a job's journals and logs lie.
pub(crate) fn folder(state: &Path, job: &JobName) -> Result<PathBuf, Error> {
    let folder = state.join(job.as_str());
    durable::create_folder(&folder, 0o700).map_err(Error::io("creating", &folder))?;
    Ok(folder)
}

/// The journal of one drive; keeps other processes away from the drive while it is open.
pub(crate) struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
    copied: HashSet<(Digest, ObjectKey)>,
}

impl Journal {
    pub(crate) fn open(folder: &Path, serial: &DriveSerial) -> Result<Self, Error> {
        let path = folder.join(format!("{serial}.journal"));
        let io = |cause| Error::io("opening", &path)(cause);
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(0o600).open(&path);
        let mut file = file.map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(Error::Busy { serial: serial.clone() }),
            Err(cause) => return Err(io(cause.into())),
        }
        let copied = read(&mut file).map_err(io)?;
        Ok(Self { path: path.clone(), file: BufWriter::new(file), copied })
    }

    /// Adds an object that has just been copied.
    pub(crate) fn add(&mut self, repository: &Digest, key: &ObjectKey) -> io::Result<()> {
        if self.copied.insert((*repository, *key)) {
            writeln!(self.file, "{repository} {key}")?;
        }
        Ok(())
    }

    pub(crate) fn has(&self, repository: &Digest, key: &ObjectKey) -> bool {
        self.copied.contains(&(*repository, *key))
    }

    /// Hands what was added to the operating system.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Forgets everything: the drive needs no further call.
    pub(crate) fn remove(self) -> Result<(), Error> {
        fs::remove_file(&self.path).map_err(Error::io("removing", &self.path))
    }
}

/// The whole lines of a journal. What a crash has torn is skipped, and ended by a line break.
fn read(file: &mut File) -> io::Result<HashSet<(Digest, ObjectKey)>> {
    file.seek(SeekFrom::Start(0))?;
    let mut copied = HashSet::new();
    let mut lines = BufReader::new(&mut *file);
    let (mut line, mut torn) = (Vec::new(), false);
    loop {
        line.clear();
        if lines.by_ref().take(LINE).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        torn = line.last() != Some(&b'\n');
        copied.extend(parse(&line).filter(|_| !torn));
    }
    if torn {
        file.write_all(b"\n")?;
    }
    Ok(copied)
}

fn parse(line: &[u8]) -> Option<(Digest, ObjectKey)> {
    let (repository, path) = std::str::from_utf8(line).ok()?.trim_end().split_once(' ')?;
    Some((repository.parse().ok()?, ObjectKey::from_path(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fill: u8) -> ObjectKey {
        ObjectKey::Pack(Digest([fill; 32]))
    }

    fn serial() -> DriveSerial {
        "D1".parse().unwrap()
    }

    const REPOSITORY: Digest = Digest([9; 32]);

    #[test]
    fn what_was_copied_is_remembered_and_a_torn_line_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), &serial()).unwrap();
        journal.add(&REPOSITORY, &key(1)).unwrap();
        journal.add(&REPOSITORY, &ObjectKey::Config).unwrap();
        journal.add(&REPOSITORY, &key(1)).unwrap();
        journal.add(&REPOSITORY, &key(2)).unwrap();
        journal.flush().unwrap();
        drop(journal);
        let path = dir.path().join("D1.journal");
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 3);
        fs::write(&path, &bytes[..bytes.len() - 2]).unwrap();

        let mut journal = Journal::open(dir.path(), &serial()).unwrap();
        assert!(journal.has(&REPOSITORY, &key(1)) && journal.has(&REPOSITORY, &ObjectKey::Config));
        assert!(!journal.has(&REPOSITORY, &key(2)));
        journal.add(&REPOSITORY, &key(3)).unwrap();
        journal.flush().unwrap();
        drop(journal);
        let journal = Journal::open(dir.path(), &serial()).unwrap();
        assert!(journal.has(&REPOSITORY, &key(3)), "a line after a torn one is whole");
        assert!(!journal.has(&Digest([8; 32]), &key(3)));
    }

    #[test]
    fn nonsense_in_a_journal_is_skipped_without_being_held_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = vec![b'x'; 1 << 20];
        bytes.extend_from_slice(b"\n\xff\xfe\n ../../etc\n");
        bytes.extend_from_slice(format!("{REPOSITORY} {}\n", key(4)).as_bytes());
        fs::write(dir.path().join("D1.journal"), bytes).unwrap();
        let journal = Journal::open(dir.path(), &serial()).unwrap();
        assert_eq!(journal.copied, HashSet::from([(REPOSITORY, key(4))]));
    }

    #[test]
    fn two_processes_never_copy_one_drive() {
        let dir = tempfile::tempdir().unwrap();
        let first = Journal::open(dir.path(), &serial()).unwrap();
        assert!(matches!(Journal::open(dir.path(), &serial()), Err(Error::Busy { .. })));
        drop(first);
        Journal::open(dir.path(), &serial()).unwrap().remove().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
