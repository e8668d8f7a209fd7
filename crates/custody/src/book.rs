//! An actor's own chain, in a file: appended, put right after a crash, sent when the server can be reached. Sends
//! nothing itself, and keeps no countersignatures: the server has those.
//!
//! ```text
//!  <folder>/<name>.<fingerprint>.jsonl    the chain of that name and key, an entry a line
//!  <folder>/<name>.<fingerprint>.sent     how many of them the server has confirmed; a help, and lost without harm
//! ```
//!
//! invariant: an entry counts once [`Book::append`] has returned, and is then on the disk. What a crash leaves of an
//! entry that had not counted has no end of line, and makes room for the next one.

use crate::entry::{Entry, NOTHING};
use crate::fault::{Broken, Fault};
use crate::{Actor, Event, Logged, MAX_ENTRIES, MAX_ENTRY, Proving, Signed, prove};
use jiff::Timestamp;
use model::{ActorName, ErrorKind};
use rustix::fs::FlockOperation;
use signing::SigningKey;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use wire::{ActorKind, MAX_CUSTODY_ENTRIES, SeedId};

/// Why a chain cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{action} {} failed", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// What is in the file is not what was written there.
    #[error(
        "line {line} of {}, an own chain of custody, is damaged: {fault}; move the file away to begin without it, the server keeps what it was sent",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        fault: Fault,
    },
    /// The log that the server has answered.
    #[error("the log that the server has does not hang together: {0}")]
    Log(#[source] Broken),
}

impl Error {
    /// The kind, for exit codes.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Damaged { .. } | Self::Log(_) => ErrorKind::Corrupt,
            Self::Io { cause, .. } => match cause.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    ErrorKind::Denied
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
                _ => ErrorKind::Internal,
            },
        }
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |cause| Self::Io { action, path, cause }
    }
}

/// One actor's chain for one seed.
#[derive(Debug)]
pub struct Book {
    folder: PathBuf,
    seed: SeedId,
    actor: Actor,
    key: SigningKey,
}

impl Book {
    /// The chain of that key in a folder of the seed's own. Looks at nothing yet.
    #[must_use]
    pub fn new(
        folder: &Path,
        seed: SeedId,
        kind: ActorKind,
        name: ActorName,
        key: &SigningKey,
    ) -> Self {
        let actor = Actor { kind, name, key: key.public() };
        Self { folder: folder.to_owned(), seed, actor, key: key.clone() }
    }

    /// Who writes in it.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{}.{ending}", self.actor.name, self.key.fingerprint()))
    }

    /// Every entry that counts, each checked, from the first.
    ///
    /// # Errors
    /// [`Error::Damaged`], or the file cannot be read.
    pub fn entries(&self) -> Result<Vec<Signed>, Error> {
        let path = self.path("jsonl");
        match File::open(&path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => Ok(self.read(&mut other.map_err(Error::io("opening", &path))?)?.0),
        }
    }

    /// The entries, and how many bytes of the file they are.
    fn read(&self, file: &mut File) -> Result<(Vec<Signed>, u64), Error> {
        let path = self.path("jsonl");
        let mut bytes = Vec::new();
        let most = MAX_ENTRIES.saturating_mul(MAX_ENTRY as u64);
        file.take(most).read_to_end(&mut bytes).map_err(Error::io("reading", &path))?;
        let mut entries: Vec<Signed> = Vec::new();
        let mut whole = 0_u64;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(text) = line.strip_suffix(b"\n") else { break };
            let entry = self.entry(text, entries.last()).map_err(|fault| Error::Damaged {
                path: path.clone(),
                line: entries.len() as u64 + 1,
                fault,
            })?;
            entries.push(entry);
            whole = whole.saturating_add(line.len() as u64);
        }
        Ok((entries, whole))
    }

    fn entry(&self, line: &[u8], before: Option<&Signed>) -> Result<Signed, Fault> {
        let signed = Signed::decode(std::str::from_utf8(line).map_err(|_| Fault::NotText)?)?;
        let (expected, previous) = match before {
            None => (0, NOTHING),
            Some(before) => (before.entry.number.saturating_add(1), before.hash()),
        };
        let entry = signed.entry();
        if entry.seed != self.seed || entry.actor != self.actor {
            return Err(Fault::OtherSeed);
        }
        if entry.number != expected {
            return Err(Fault::Number { found: entry.number, expected });
        }
        if entry.previous != previous {
            return Err(Fault::Previous);
        }
        Ok(signed)
    }

    /// Says that something has happened. It is on the disk when this returns.
    ///
    /// # Errors
    /// The disk; [`Error::Damaged`]. The entry does not count then, and the same call may be made again.
    pub fn append(&self, event: Event, now: Timestamp) -> Result<(), Error> {
        self.change(|_| Some(event), now).map(drop)
    }

    /// The same, unless the chain says exactly this already. Answers whether it was new.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn once(&self, event: Event, now: Timestamp) -> Result<bool, Error> {
        let new = |entries: &[Signed]| {
            let is_there = entries.iter().any(|signed| signed.entry.event == event);
            (!is_there).then_some(event)
        };
        self.change(new, now)
    }

    fn change(
        &self,
        choose: impl FnOnce(&[Signed]) -> Option<Event>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let path = self.path("jsonl");
        let mut file = self.open(&path)?;
        let (entries, whole) = self.read(&mut file)?;
        let Some(event) = choose(&entries) else { return Ok(false) };
        let (seed, actor, key) = (self.seed, &self.actor, &self.key);
        let signed = Signed::next(entries.last(), seed, actor, key, event, now);
        let mut line = signed.encode();
        line.push('\n');
        let written = put(&mut file, whole, line.as_bytes());
        written.map_err(Error::io("writing", &path))?;
        Ok(true)
    }

    /// The file, locked until it is dropped; its name is on the disk.
    fn open(&self, path: &Path) -> Result<File, Error> {
        store::durable::create_folder(&self.folder, 0o700)
            .map_err(Error::io("creating", &self.folder))?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        loop {
            let is_new = !path.exists();
            let file = options.open(path).map_err(Error::io("opening", path))?;
            if is_new {
                store::durable::sync_folder(&self.folder)
                    .map_err(Error::io("syncing", &self.folder))?;
            }
            match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
                // Another process may have put another file there meanwhile.
                Ok(()) if is_at(&file, path) => return Ok(file),
                Ok(()) | Err(rustix::io::Errno::INTR) => {}
                Err(cause) => return Err(Error::io("locking", path)(cause.into())),
            }
        }
    }

    /// Goes on from what the server has of this chain, where that is more or something else: the state folder was
    /// put back, or is a copy. Only this key can have signed what the server has, so it was said. What this chain
    /// has beyond it is said again, with the times that it had.
    ///
    /// # Errors
    /// [`Error::Log`]; the disk.
    pub fn adopt(&self, log: &mut dyn BufRead) -> Result<(), Error> {
        let path = self.path("jsonl");
        let mut theirs: Vec<Signed> = Vec::new();
        let mut each = |logged: &Logged| {
            if logged.entry().actor == self.actor && logged.entry().seed == self.seed {
                theirs.push(logged.signed());
            }
        };
        let proof = prove(log, Proving { keys: None, each: &mut each });
        proof.map_err(Error::io("reading the log for", &path))?.map_err(Error::Log)?;
        let mut file = self.open(&path)?;
        let (own, _) = self.read(&mut file)?;
        let same = own.iter().zip(&theirs).take_while(|(one, other)| one == other).count();
        let count = theirs.len();
        let mut said: Vec<Event> =
            theirs.iter().skip(same).map(|signed| signed.entry.event.clone()).collect();
        for signed in own.iter().skip(same) {
            let Entry { event, time, .. } = &signed.entry;
            match said.iter().position(|there| there == event) {
                Some(at) => drop(said.swap_remove(at)),
                None => {
                    let (seed, actor, key) = (self.seed, &self.actor, &self.key);
                    let last = theirs.last();
                    theirs.push(Signed::next(last, seed, actor, key, event.clone(), *time));
                }
            }
        }
        let text: String = theirs.iter().map(|signed| signed.encode() + "\n").collect();
        store::durable::replace(&path, text.as_bytes(), 0o600)
            .map_err(Error::io("writing", &path))?;
        self.note_sent(count as u64)
    }

    fn note_sent(&self, count: u64) -> Result<(), Error> {
        let path = self.path("sent");
        store::durable::replace(&path, format!("{count}\n").as_bytes(), 0o600)
            .map_err(Error::io("writing", &path))
    }

    /// How many entries the server has said that it has.
    #[must_use]
    pub fn sent(&self) -> u64 {
        let text = fs::read_to_string(self.path("sent")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Hands what the server does not have yet to `post`, in order; it answers how many the server has then.
    ///
    /// # Errors
    /// The chain cannot be read; `post`'s own. What was sent by then stays sent.
    pub fn send<E: From<Error>>(
        &self,
        mut post: impl FnMut(&[String]) -> Result<u64, E>,
    ) -> Result<(), E> {
        let entries = self.entries()?;
        // More than there are: the file beside is of another time, and says nothing.
        let mut sent = Some(self.sent()).filter(|sent| *sent <= entries.len() as u64).unwrap_or(0);
        while sent < entries.len() as u64 {
            let unsent = entries.iter().skip(usize::try_from(sent).unwrap_or(usize::MAX));
            let some: Vec<String> = unsent.take(MAX_CUSTODY_ENTRIES).map(Signed::encode).collect();
            post(&some)?;
            sent = sent.saturating_add(some.len() as u64);
            self.note_sent(sent)?;
        }
        Ok(())
    }
}

/// Whether that open file is the one of that name.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
    let there = fs::symlink_metadata(path).map(identity).ok();
    there.is_some() && file.metadata().map(identity).ok() == there
}

/// Puts a line behind the first `whole` bytes. If that fails, nothing of it stays, as far as the disk lets us.
fn put(file: &mut File, whole: u64, line: &[u8]) -> io::Result<()> {
    let mut attempt = || {
        file.set_len(whole)?;
        file.seek(SeekFrom::Start(whole))?;
        file.write_all(line)?;
        file.sync_all()
    };
    attempt().inspect_err(|_| {
        // What is left has no end of line, or is not there: the next call cuts it off.
        let _ = file.set_len(whole);
    })
}
