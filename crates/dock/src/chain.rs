//! This dock's chain in the custody log of each seed whose drives it has in hand: on its disk before the server hears
//! of what it says, sent when the server can be reached. Nothing waits for that.
//!
//! ```text
//!  <state>/signing.key                  the dock's own key
//!  <state>/custody/<seed>/              its chain for that seed; the custody crate's own folder
//!  <state>/custody/<seed>/<serial>.wiping    a drive whose erasing was begun: the job
//! ```

use crate::Error;
use crate::control::Control;
use custody::{Book, Event, Wiping};
use jiff::Timestamp;
use model::{ActorName, Digest, DriveSerial};
use seed::{Fingerprint, Manifest, PreparedDrive, Problem, Signed, SigningKey};
use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use wire::{ActorKind, Code, DriveState, Job, SeedId};

/// Who writes into custody logs, with what key.
pub struct Custody<'a> {
    state: PathBuf,
    name: ActorName,
    key: SigningKey,
    now: &'a (dyn Fn() -> Timestamp + Sync),
    /// Told when entries could not be sent, and why.
    unsent: &'a (dyn Fn(&str) + Sync),
}

impl std::fmt::Debug for Custody<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Custody").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'a> Custody<'a> {
    /// The chains of the dock with that state folder; its key is made when there is none.
    ///
    /// # Errors
    /// The disk, or a key file that others may read.
    pub fn open(
        state: &Path,
        name: ActorName,
        now: &'a (dyn Fn() -> Timestamp + Sync),
        unsent: &'a (dyn Fn(&str) + Sync),
    ) -> Result<Self, Error> {
        store::durable::create_folder(state, 0o700).map_err(Error::io("creating", state))?;
        let key = SigningKey::load_or_create(&state.join("signing.key"));
        let key = key.map_err(|cause| Error::Drive(cause.into()))?;
        Ok(Self { state: state.to_owned(), name, key, now, unsent })
    }

    /// What people compare with what a proof of a log shows.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.key.fingerprint()
    }

    /// It also signs what is written onto drives of export jobs.
    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }

    fn folder(&self) -> PathBuf {
        self.state.join("custody")
    }

    fn book(&self, seed: SeedId) -> Book {
        let folder = self.folder().join(seed.to_string());
        Book::new(&folder, seed, ActorKind::Dock, self.name.clone(), &self.key)
    }

    /// Notes what has happened to a drive of that job, unless that is noted. Jobs without a seed have no log.
    fn once(&self, job: &Job, event: Event) -> Result<(), Error> {
        if let Some(carries) = &job.carries {
            self.book(carries.seed.id).once(event, (self.now)()).map_err(Error::Custody)?;
        }
        Ok(())
    }

    pub(crate) fn received(&self, job: &Job, drive: &DriveSerial) -> Result<(), Error> {
        self.once(job, Event::Received { job: job.name.clone(), drive: drive.clone() })
    }

    /// Whether that drive was in hand here.
    pub(crate) fn had(&self, job: &Job, drive: &DriveSerial) -> Result<bool, Error> {
        let Some(carries) = &job.carries else { return Ok(false) };
        let received = Event::Received { job: job.name.clone(), drive: drive.clone() };
        let entries = self.book(carries.seed.id).entries().map_err(Error::Custody)?;
        Ok(entries.iter().any(|signed| signed.entry().event == received))
    }

    /// Of every drive that was in the package.
    pub(crate) fn received_all(&self, job: &Job) -> Result<(), Error> {
        let came = |state| !matches!(state, DriveState::Specified | DriveState::NeverReceived);
        let drives = job.drive_list.iter().filter(|drive| came(drive.state));
        drives.map(|drive| &drive.drive_id).try_for_each(|drive| self.received(job, drive))
    }

    /// Each time: a key that is used twice was used twice.
    pub(crate) fn unlocked(
        &self,
        job: &Job,
        drive: &DriveSerial,
        header: Digest,
    ) -> Result<(), Error> {
        let Some(carries) = &job.carries else { return Ok(()) };
        let event = Event::Unlocked { job: job.name.clone(), drive: drive.clone(), header };
        self.book(carries.seed.id).append(event, (self.now)()).map_err(Error::Custody)
    }

    /// What a drive has given, read to its end; before the server hears of it.
    pub(crate) fn ingested(
        &self,
        job: &Job,
        manifest: &Signed<Manifest>,
        problems: &[Problem],
    ) -> Result<(), Error> {
        let (name, drive) = (|| job.name.clone(), || manifest.body.header.serial.clone());
        let (all, missing) = (manifest.body.objects.len() as u64, problems.len() as u64);
        let (objects, digest) = (all.saturating_sub(missing), manifest.digest);
        let event =
            Event::Ingested { job: name(), drive: drive(), manifest: digest, objects, missing };
        self.once(job, event)?;
        if missing > 0 {
            return Ok(());
        }
        let bytes = manifest.body.bytes();
        let event =
            Event::Verified { job: name(), drive: drive(), manifest: digest, objects, bytes };
        self.once(job, event)
    }

    /// Notes what was made from parity of what a drive could not give; before the server hears of it.
    ///
    /// # Errors
    /// The disk.
    pub fn repaired(
        &self,
        job: &Job,
        drive: &DriveSerial,
        objects: u64,
        bytes: u64,
    ) -> Result<(), Error> {
        let drive = Some(drive.clone());
        self.once(job, Event::Repaired { job: job.name.clone(), drive, objects, bytes })
    }

    /// A drive of an export job was written, read back and sealed; before the server hears of it.
    pub(crate) fn sealed(
        &self,
        job: &Job,
        written: &PreparedDrive,
        (header, manifest): (Option<Digest>, Digest),
    ) -> Result<(), Error> {
        let (drive, set) = (|| written.serial.clone(), written.set);
        let (objects, bytes) = (written.objects, written.bytes);
        self.once(job, Event::Formatted { drive: drive(), header })?;
        self.once(job, Event::Written { drive: drive(), set, objects, bytes })?;
        self.once(job, Event::Sealed { drive: drive(), set, manifest })
    }

    fn wiping_note(&self, seed: SeedId, drive: &DriveSerial) -> PathBuf {
        self.folder().join(seed.to_string()).join(format!("{drive}.wiping"))
    }

    /// Remembers that a drive is about to be erased: should that be cut off, nothing on the drive says any more
    /// whose it was.
    ///
    /// # Errors
    /// The disk.
    pub fn wiping(&self, job: &Job, drive: &DriveSerial) -> Result<(), Error> {
        let Some(carries) = &job.carries else { return Ok(()) };
        let folder = self.folder().join(carries.seed.id.to_string());
        store::durable::create_folder(&folder, 0o700).map_err(Error::io("creating", &folder))?;
        let path = self.wiping_note(carries.seed.id, drive);
        store::durable::replace(&path, job.name.as_str().as_bytes(), 0o600)
            .map_err(Error::io("writing", &path))
    }

    /// Whether erasing that drive was begun here, and has not come to its end.
    #[must_use]
    pub fn was_wiping(&self, job: &Job, drive: &DriveSerial) -> bool {
        let seed = job.carries.as_ref().map(|carries| carries.seed.id);
        let note = seed.and_then(|seed| fs::read(self.wiping_note(seed, drive)).ok());
        note.is_some_and(|note| note == job.name.as_str().as_bytes())
    }

    /// Notes that a drive was erased: its keys, or with `all` every byte of it.
    ///
    /// # Errors
    /// The disk.
    pub fn wiped(
        &self,
        job: &Job,
        drive: &DriveSerial,
        all: bool,
        bytes: u64,
    ) -> Result<(), Error> {
        let how = if all { Wiping::All } else { Wiping::Keys };
        self.once(job, Event::Wiped { job: job.name.clone(), drive: drive.clone(), how, bytes })?;
        if let Some(carries) = &job.carries {
            // A note that stays does no harm: an erased drive may be erased again.
            let _ = fs::remove_file(self.wiping_note(carries.seed.id, drive));
        }
        Ok(())
    }

    pub(crate) fn returned(&self, job: &Job, drive: &DriveSerial) -> Result<(), Error> {
        self.once(job, Event::Returned { job: job.name.clone(), drive: drive.clone() })
    }

    /// Sends what the server does not have, of every seed. Whatever stands against it is told, and tried again by
    /// the next call.
    pub fn send(&self, client: &client::Client) {
        self.send_through(client);
    }

    /// A state folder that was put back has said less, or something else, than it had sent.
    fn try_send(&self, control: &dyn Control, seed: SeedId) -> Result<(), Error> {
        let book = self.book(seed);
        let post = |lines: &[String]| control.append_custody(seed, lines).map_err(Error::Server);
        match book.send(post) {
            Err(Error::Server(refusal)) if refusal.code() == Some(&Code::AlreadyExists) => {
                let log = control.custody(seed).map_err(Error::Server)?;
                book.adopt(&mut BufReader::new(log)).map_err(Error::Custody)?;
                book.send(post)
            }
            other => other,
        }
    }

    pub(crate) fn send_through(&self, control: &dyn Control) {
        let Ok(seeds) = fs::read_dir(self.folder()) else { return };
        for seed in seeds.filter_map(Result::ok) {
            let Some(seed) = seed.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Err(error) = self.try_send(control, seed) {
                (self.unsent)(&format!("custody log of seed {seed}: {error}"));
            }
        }
    }
}
