//! The state directory: one JSON document a file, each replaced whole, changed only under a lock.
//! Decides nothing about what is in them.
//!
//! ```text
//! <state>/agent.json             the credentials document
//! <state>/machine.pem            this machine's certificate with its key; machine.new.pem while the next one takes its place
//! <state>/keys.json              which key files of the repository were made here; keys/ has those that the vault lacks
//! <state>/asked.json             which deletions from the vault were asked for here
//! <state>/signing.key            signs drives; made by the seed crate
//! <state>/groups/<group>.json    a protection group
//! <state>/seeds/<seed>.json      a seed's record
//! <state>/seeds/<seed>.lock      held while something long works on the seed
//! <state>/seeds/<seed>.state/    the seed crate's own folder: inventory, manifests
//! <state>/seeds/<seed>.refill/   what tells what is in its packs, its revisions, and what is made anew for the next
//! <state>/seeds/<seed>.custody/  this computer's chain in its custody log; the custody crate's own folder
//! <state>/seeds/<seed>.keys/     passwords of its drives, sealed; the keyring crate's own folder
//! <state>/direct/<job>/repository/   what is kept of a seed that goes straight onto drives, but for what was in the files
//! <state>/exports/<job>/         what an export job asks for: see `export`
//! <state>/origin/               what registration made of the repository: see `origin`
//! <state>/init/                  a repository on its way into an empty vault; init.lock beside it
//! <state>/restores/              what restores that were interrupted have begun: see `backup`
//! <state>/snapshots/             which snapshots of file systems there are: see `workload`
//! <state>/lock                   held while any of these files changes
//! <state>/copies/<seed>/         the same again, for a seed whose drives this computer writes for another server
//! ```
//!
//! Long work holds the seed's lock; the directory's lock is held for the moment of a change only,
//! so that groups can be shipped and listed while a backup runs.

use crate::Error;
use crate::asking::Counts;
use crate::deletions::AskedRecord;
use crate::group::{Group, Initial};
use crate::key_record::KeyRecord;
use crate::record::SeedRecord;
use client::load_credentials;
use keyring::DriveKeys;
use model::{Digest, ErrorKind, GroupName, JobName};
use rustix::fs::FlockOperation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use wire::{Credentials, Deletion, SeedId};

/// The version of the documents that this code writes and reads.
const VERSION: u32 = 1;
/// A record of a seed with many jobs and a long history has some hundred kilobytes.
const LIMIT: u64 = 64 << 20;

/// The state directory.
#[derive(Debug, Clone)]
pub(crate) struct State {
    root: PathBuf,
}

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "holds the lock")] File);

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    body: T,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// What the source server with this state is registered with. Makes no directory.
///
/// # Errors
/// [`Error::NotRegistered`].
pub fn credentials(state: &Path) -> Result<Credentials, Error> {
    State { root: state.to_owned() }.credentials()
}

impl State {
    /// The directory at that path, made when missing.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        let root = &std::path::absolute(root).map_err(Error::io("looking up", root))?;
        for folder in [root.to_owned(), root.join("groups"), root.join("seeds")] {
            store::durable::create_folder(&folder, 0o700)
                .map_err(Error::io("creating", &folder))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    pub(crate) fn signing_key(&self) -> Result<seed::SigningKey, Error> {
        let key = seed::SigningKey::load_or_create(&self.root.join("signing.key"));
        Ok(key.map_err(seed::Error::from)?)
    }

    /// The passwords of a seed's drives, whether there are any yet or not.
    pub(crate) fn drive_keys(&self, id: SeedId) -> Result<DriveKeys, Error> {
        Ok(DriveKeys::open(&self.keys_folder(id))?)
    }

    /// None when no drive of the seed was ever given a password here.
    pub(crate) fn known_drive_keys(&self, id: SeedId) -> Result<Option<DriveKeys>, Error> {
        self.keys_folder(id).exists().then(|| self.drive_keys(id)).transpose()
    }

    /// The folder of this computer's chain in the seed's custody log.
    pub(crate) fn custody_folder(&self, id: SeedId) -> PathBuf {
        self.root.join("seeds").join(format!("{id}.custody"))
    }

    fn keys_folder(&self, id: SeedId) -> PathBuf {
        self.root.join("seeds").join(format!("{id}.keys"))
    }

    pub(crate) fn credentials(&self) -> Result<Credentials, Error> {
        match load_credentials(&self.credentials_file()) {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::NotRegistered),
            other => Ok(other?),
        }
    }

    pub(crate) fn save_credentials(&self, credentials: &Credentials) -> Result<(), Error> {
        write(&self.credentials_file(), credentials)
    }

    /// This machine's certificate and key; the next one while it takes the other's place.
    pub(crate) fn machine_files(&self) -> [PathBuf; 2] {
        ["machine.pem", "machine.new.pem"].map(|name| self.root.join(name))
    }

    /// There while the certificate before has not been ended at the server.
    pub(crate) fn ending_file(&self) -> PathBuf {
        self.root.join("machine.ending")
    }

    /// Held while the machine's certificate changes.
    pub(crate) fn lock_machine(&self) -> Result<Lock, Error> {
        try_lock(&self.root.join("machine.lock"), || "this machine's certificate".to_owned())
    }

    /// What is known of the repository's key files; nothing where none was made here.
    pub(crate) fn keys(&self) -> Result<KeyRecord, Error> {
        Ok(read(&self.root.join("keys.json"))?.unwrap_or_default())
    }

    /// Changes that as it is now.
    pub(crate) fn change_keys<T>(
        &self,
        change: impl FnOnce(&mut KeyRecord) -> T,
    ) -> Result<T, Error> {
        let _lock = self.lock()?;
        let before = self.keys()?;
        let mut record = before.clone();
        let answer = change(&mut record);
        if record != before {
            let document = Versioned { version: VERSION, body: record };
            write(&self.root.join("keys.json"), &document)?;
        }
        Ok(answer)
    }

    /// Which deletions from the vault this machine has asked for.
    pub(crate) fn asked(&self) -> Result<AskedRecord, Error> {
        Ok(read(&self.root.join("asked.json"))?.unwrap_or_default())
    }

    /// One more of these, or more of it.
    pub(crate) fn note_asked(&self, deletion: &Deletion, asked: Counts) -> Result<(), Error> {
        let _lock = self.lock()?;
        let mut record = self.asked()?;
        record.add(deletion, asked);
        let document = Versioned { version: VERSION, body: record };
        write(&self.root.join("asked.json"), &document)
    }

    /// Held while key files of the repository are made or are to go.
    pub(crate) fn lock_keys(&self) -> Result<Lock, Error> {
        try_lock(&self.root.join("keys.lock"), || "the repository's keys".to_owned())
    }

    /// A key file that was made here.
    pub(crate) fn key_file(&self, id: Digest) -> PathBuf {
        self.root.join("keys").join(id.to_hex())
    }

    fn credentials_file(&self) -> PathBuf {
        self.root.join("agent.json")
    }

    pub(crate) fn group(&self, name: &GroupName) -> Result<Option<Group>, Error> {
        Ok(read(&self.group_file(name))?.map(|group| self.placed_group(group)))
    }

    pub(crate) fn groups(&self) -> Result<Vec<Group>, Error> {
        let file = |name: &str| name.parse().ok().map(|name| self.group_file(&name));
        let groups: Vec<Group> = self.all("groups", file)?;
        Ok(groups.into_iter().map(|group| self.placed_group(group)).collect())
    }

    /// Where what is kept here of a direct seed is follows from this directory, wherever that was before.
    fn placed_group(&self, mut group: Group) -> Group {
        if let Initial::Offline(inputs) = &mut group.initial
            && inputs.direct
        {
            inputs.staging = self.direct_folder(&inputs.import_job);
        }
        group
    }

    fn placed(&self, record: SeedRecord) -> SeedRecord {
        match record.direct {
            true => SeedRecord { staging: self.direct_folder(&record.import_job), ..record },
            false => record,
        }
    }

    /// What is kept here of a seed that goes straight onto drives.
    pub(crate) fn direct_folder(&self, job: &JobName) -> PathBuf {
        self.root.join("direct").join(job.as_str()).join("repository")
    }

    pub(crate) fn save_group(&self, group: &Group) -> Result<(), Error> {
        write(&self.group_file(&group.name), &Versioned { version: VERSION, body: group })
    }

    fn group_file(&self, name: &GroupName) -> PathBuf {
        self.root.join("groups").join(format!("{name}.json"))
    }

    pub(crate) fn seed(&self, id: SeedId) -> Result<SeedRecord, Error> {
        read(&self.seed_file(id))?.map(|record| self.placed(record)).ok_or(Error::NoSeed(id))
    }

    /// Every seed, the oldest first.
    pub(crate) fn seeds(&self) -> Result<Vec<SeedRecord>, Error> {
        let file = |name: &str| name.parse().ok().map(|id| self.seed_file(id));
        let seeds: Vec<SeedRecord> = self.all("seeds", file)?;
        let mut seeds: Vec<SeedRecord> =
            seeds.into_iter().map(|record| self.placed(record)).collect();
        seeds.sort_by_key(|seed| (seed.created, seed.id));
        Ok(seeds)
    }

    pub(crate) fn save_seed(&self, record: &SeedRecord) -> Result<(), Error> {
        write(&self.seed_file(record.id), &Versioned { version: VERSION, body: record })
    }

    /// Changes a record as it is now; nothing is stored when `change` fails.
    pub(crate) fn change_seed<T>(
        &self,
        id: SeedId,
        change: impl FnOnce(&mut SeedRecord) -> Result<T, Error>,
    ) -> Result<(SeedRecord, T), Error> {
        let _lock = self.lock()?;
        let before = self.seed(id)?;
        let mut record = before.clone();
        let answer = change(&mut record)?;
        if record != before {
            self.save_seed(&record)?;
        }
        Ok((record, answer))
    }

    fn seed_file(&self, id: SeedId) -> PathBuf {
        self.root.join("seeds").join(format!("{id}.json"))
    }

    /// The folder that the seed crate keeps inventory and manifests in.
    pub(crate) fn seed_folder(&self, id: SeedId) -> PathBuf {
        self.root.join("seeds").join(format!("{id}.state"))
    }

    /// What is needed to make anew what is lost, and the revisions that came of it.
    pub(crate) fn refill_folder(&self, id: SeedId) -> PathBuf {
        self.root.join("seeds").join(format!("{id}.refill"))
    }

    /// The repository as far as it tells what is in packs.
    pub(crate) fn kept_folder(&self, id: SeedId) -> PathBuf {
        self.refill_folder(id).join("repository")
    }

    /// What is made anew and not part of the seed yet; void when a call begins.
    pub(crate) fn work_folder(&self, id: SeedId) -> PathBuf {
        self.refill_folder(id).join("work")
    }

    /// Held while a file changes; waits for whoever else holds it, which is never long.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        let path = self.root.join("lock");
        let file = lock_file(&path)?;
        loop {
            match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Lock(file)),
                Err(rustix::io::Errno::INTR) => {}
                Err(cause) => return Err(Error::io("locking", &path)(cause.into())),
            }
        }
    }

    /// Held while something long works on a seed; whoever comes second is told so.
    pub(crate) fn lock_seed(&self, id: SeedId) -> Result<Lock, Error> {
        let path = self.root.join("seeds").join(format!("{id}.lock"));
        try_lock(&path, || format!("seed {id}"))
    }

    /// Where it is kept what an export job asks for.
    pub(crate) fn export_folder(&self, job: &JobName) -> PathBuf {
        self.root.join("exports").join(job.as_str())
    }

    /// All of these folders.
    pub(crate) fn export_folders(&self) -> Result<Vec<PathBuf>, Error> {
        let folder = self.root.join("exports");
        let entries = match fs::read_dir(&folder) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(Error::io("listing", &folder))?,
        };
        let mut folders = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<PathBuf>, _>>()
            .map_err(Error::io("listing", &folder))?;
        folders.sort_unstable();
        Ok(folders)
    }

    /// Held while an export job is made.
    pub(crate) fn lock_export(&self, job: &JobName) -> Result<Lock, Error> {
        try_lock(&self.export_folder(job).join("lock"), || format!("export job {job}"))
    }

    /// Where a repository for the vault is made.
    pub(crate) fn init_folder(&self) -> PathBuf {
        self.root.join("init")
    }

    /// What was made of the repository when the server was registered.
    pub(crate) fn origin_folder(&self) -> PathBuf {
        self.root.join("origin")
    }

    /// Held while one is.
    pub(crate) fn lock_init(&self) -> Result<Lock, Error> {
        try_lock(&self.root.join("init.lock"), || "the new repository in the vault".to_owned())
    }

    /// Every document of a folder whose name `file` accepts.
    fn all<T: DeserializeOwned>(
        &self,
        folder: &str,
        file: impl Fn(&str) -> Option<PathBuf>,
    ) -> Result<Vec<T>, Error> {
        let folder = self.root.join(folder);
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).map_err(Error::io("listing", &folder))? {
            let name = entry.map_err(Error::io("listing", &folder))?.file_name();
            names.extend(
                name.to_str().and_then(|name| name.strip_suffix(".json")).map(str::to_owned),
            );
        }
        names.sort_unstable();
        let files = names.iter().filter_map(|name| file(name));
        files.filter_map(|file| read(&file).transpose()).collect()
    }
}

fn try_lock(path: &Path, what: impl FnOnce() -> String) -> Result<Lock, Error> {
    let file = lock_file(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Busy { what: what() }),
        Err(cause) => Err(Error::io("locking", path)(cause.into())),
    }
}

fn lock_file(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    let open = options.create(true).truncate(false).read(true).write(true).mode(0o600).open(path);
    open.map_err(Error::io("opening", path))
}

fn write(path: &Path, document: &impl Serialize) -> Result<(), Error> {
    let damaged = |what: serde_json::Error| Error::Damaged {
        path: path.to_owned(),
        what: format!("it cannot be written ({what})"),
    };
    let mut text = serde_json::to_vec_pretty(document).map_err(damaged)?;
    text.push(b'\n');
    store::durable::replace(path, &text, 0o600).map_err(Error::io("writing", path))
}

/// None when there is no such file.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let file = match File::open(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(Error::io("opening", path))?,
    };
    let mut text = Vec::new();
    file.take(LIMIT + 1).read_to_end(&mut text).map_err(Error::io("reading", path))?;
    let damaged = |what: String| Error::Damaged { path: path.to_owned(), what };
    if text.len() as u64 > LIMIT {
        return Err(damaged(format!("it is longer than {LIMIT} bytes")));
    }
    let version: Version = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    if version.version != VERSION {
        return Err(Error::Version { path: path.to_owned(), version: version.version });
    }
    let document: Versioned<T> =
        serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    Ok(Some(document.body))
}
