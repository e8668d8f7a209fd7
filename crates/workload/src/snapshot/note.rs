//! Where a snapshot is, noted before it is taken, so that whoever comes after a kill can remove it.
//!
//! ```text
//! packmule snapshot 1
//! <the path, to the end; of ZFS the snapshots, one a line>
//! ```
//!
//! Whoever uses a snapshot holds its note's lock.

use super::is_our_name;
use rustix::fs::FlockOperation;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;

const HEADER: &[u8] = b"packmule snapshot 1\n";
/// No path is longer, nor are the names of thousands of datasets.
const LONGEST: u64 = 1 << 20;

/// A note, locked.
#[derive(Debug)]
pub(super) struct Note {
    locked: File,
    file: PathBuf,
    /// Of the snapshot.
    path: PathBuf,
}

impl Note {
    /// Notes a snapshot that is to be taken.
    pub(super) fn new(notes: &Path, name: &str, path: &Path) -> io::Result<Self> {
        // It could not be read again whole.
        if (HEADER.len() + path.as_os_str().len()) as u64 > LONGEST {
            return Err(io::Error::other("too many snapshots at once"));
        }
        store::durable::create_folder(notes, 0o700)?;
        let file = notes.join(name);
        let mut options = OpenOptions::new();
        let mut locked = options.write(true).create_new(true).mode(0o600).open(&file)?;
        rustix::fs::flock(&locked, FlockOperation::LockExclusive)?;
        // Whoever clears up may have had it in between, and found it empty.
        if locked.metadata()?.nlink() == 0 {
            return Err(io::Error::other("somebody clears up there; try again"));
        }
        locked.write_all(HEADER)?;
        locked.write_all(path.as_os_str().as_bytes())?;
        locked.sync_all()?;
        File::open(notes)?.sync_all()?;
        Ok(Self { locked, file, path: path.to_owned() })
    }

    /// The snapshot.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where notes are.
    pub(super) fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    /// Something to give to a program: as long as it runs, the note is held, whatever becomes of us.
    pub(super) fn held(&self) -> Stdio {
        self.locked.try_clone().map_or_else(|_| Stdio::null(), Stdio::from)
    }

    /// It is gone.
    pub(super) fn end(self) {
        // What stays is found to name nothing.
        let _ = std::fs::remove_file(&self.file);
    }
}

/// Notes that nobody holds. Those that were not finished name nothing, and are removed.
pub(super) fn left(notes: &Path) -> Vec<Note> {
    let entries = std::fs::read_dir(notes).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_our_name));
    ours.filter_map(|entry| read(entry.path())).collect()
}

fn read(file: PathBuf) -> Option<Note> {
    let mut locked = File::open(&file).ok()?;
    rustix::fs::flock(&locked, FlockOperation::NonBlockingLockExclusive).ok()?;
    let mut bytes = Vec::new();
    Read::by_ref(&mut locked).take(LONGEST).read_to_end(&mut bytes).ok()?;
    let path = bytes.strip_prefix(HEADER).filter(|path| !path.is_empty());
    let Some(path) = path else {
        let _ = std::fs::remove_file(&file);
        return None;
    };
    let path = OsString::from_vec(path.to_vec()).into();
    Some(Note { locked, file, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "packmule-0123456789abcdef";

    /// Another test that is just starting a program has a copy of every lock until that runs.
    fn soon_left(notes: &Path) -> Vec<Note> {
        let mut found = left(notes);
        for _ in 0..1000 {
            if found.is_empty() {
                std::thread::sleep(std::time::Duration::from_millis(10));
                found = left(notes);
            }
        }
        found
    }

    #[test]
    fn a_note_is_found_once_nobody_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = PathBuf::from(OsString::from_vec(b"/srv/\xff\n/x".to_vec()));
        let note = Note::new(folder.path(), NAME, &path).unwrap();
        assert!(left(folder.path()).is_empty());
        drop(note);
        let found = soon_left(folder.path());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path(), path);
        found.into_iter().for_each(Note::end);
        assert!(left(folder.path()).is_empty());
    }

    #[test]
    fn a_program_that_outlives_its_caller_holds_the_note() {
        let folder = tempfile::tempdir().unwrap();
        let note = Note::new(folder.path(), NAME, Path::new("/srv/x")).unwrap();
        let mut sleep = std::process::Command::new("sleep");
        let mut program = sleep.arg("100").stdin(note.held()).spawn().unwrap();
        drop(note);
        assert!(left(folder.path()).is_empty());
        // What it is made of holds the note as well.
        drop(sleep);
        program.kill().unwrap();
        program.wait().unwrap();
        assert_eq!(soon_left(folder.path()).len(), 1);
    }

    #[test]
    fn what_was_not_finished_names_nothing_and_other_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        for torn in [&b""[..], b"packmule snap", HEADER] {
            std::fs::write(folder.path().join(NAME), torn).unwrap();
            std::fs::write(folder.path().join("other"), "x").unwrap();
            assert!(left(folder.path()).is_empty());
            assert!(!folder.path().join(NAME).exists() && folder.path().join("other").exists());
        }
        assert!(left(&folder.path().join("nowhere")).is_empty());
    }
}
