//! Drives of an export job: what the job asks for is written onto them, read back and sealed with this dock's key;
//! the server hears of each drive, and gets its password and its manifest. Formats no drive, and knows no
//! repository's key: what is needed was chosen by whoever has it.
//!
//! ```text
//!  job at the dock? ─▶ drives listed ─▶ list as signed for? ─▶ seed::prepare ─▶ each sealed drive:
//!      password, header, manifest's hash ─▶ manifest ─▶ finished          (again after an interruption)
//! ```
//!
//! invariant: nothing is written before the list that the server shows has the root that the job names.

use crate::Error;
use crate::chain::Custody;
use crate::log;
use client::Client;
use jiff::Timestamp;
use keyring::DriveKeys;
use model::{DriveSerial, JobName};
use seed::{
    Document, DriveSpec, Event, Events, Filling, Inventory, Manifest, Object, Prepared,
    PreparedDrive, ReadBack, Trust,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::{Clock, Credentials, OpenOptions, Store, open_location};
use wire::{
    DriveEvent, DriveState, DriveStatus, ExportStatus, ExportedDrive, Failure, Job, JobState,
    SeedId,
};

/// What is written, and how.
pub struct ExportOptions<'a> {
    /// The export job.
    pub job: &'a JobName,
    /// Drives that can be written; any of the job's, or further ones.
    pub drives: &'a [DriveSpec],
    /// Their passwords; none of a drive that is not encrypted.
    pub keys: &'a DriveKeys,
    /// A folder of this dock's own.
    pub state: &'a Path,
    /// How to reach the server: timeouts, rate, tries.
    pub store: OpenOptions,
    /// Makes reading back come from the medium.
    pub read_back: &'a dyn ReadBack,
    /// How several drives are filled.
    pub filling: Filling,
    /// Who writes into custody logs; its key signs the drives.
    pub custody: &'a Custody<'a>,
    /// The time now.
    pub now: Timestamp,
    /// How often the server hears of progress on a drive.
    pub report_every: Duration,
    /// What tells how long it was.
    pub clock: &'a dyn Clock,
}

/// What was written.
#[derive(Debug)]
pub struct Exported {
    /// As at the source.
    pub prepared: Prepared,
    /// The job as it is then.
    pub job: Job,
}

/// An export job whose drives may be written here now.
///
/// # Errors
/// [`Error::NoExport`], [`Error::JobState`], [`Error::Canceled`], [`Error::OtherWriter`]; [`Error::Server`].
pub fn to_be_exported(
    client: &Client,
    custody: &Custody<'_>,
    name: &JobName,
) -> Result<Job, Error> {
    let job = client.job(name).map_err(Error::Server)?;
    let export = export_of(&job)?;
    if job.cancel_requested {
        return Err(Error::Canceled { job: job.name });
    }
    let next = match job.state {
        JobState::Received | JobState::Transferring | JobState::Packaging => {
            let own = custody.key().public();
            return match export.writer.filter(|writer| *writer != own) {
                None => Ok(job),
                Some(writer) => {
                    let writer = seed::Fingerprint::of(&writer);
                    Err(Error::OtherWriter { job: job.name, writer })
                }
            };
        }
        JobState::Creating => "its owner has not shipped empty drives yet".to_owned(),
        JobState::Shipping => {
            let number = job.delivery_package.as_ref().map(|package| &package.tracking_number);
            let number = number.map_or_else(|| "NUMBER".to_owned(), ToString::to_string);
            format!(
                "receive its package first, and say which drives are in it: packmule dock receive --tracking {number} --drive SERIAL"
            )
        }
        JobState::Completed | JobState::Closed | JobState::Canceled => {
            "it is over; what is still wanted needs a new job".to_owned()
        }
    };
    Err(Error::JobState { job: job.name, state: job.state, next })
}

fn export_of(job: &Job) -> Result<&ExportStatus, Error> {
    let no_export = || Error::NoExport { job: job.name.clone() };
    job.export.as_ref().filter(|_| job.carries.is_some()).ok_or_else(no_export)
}

/// The folder that remembers an export job between calls: by its id, as a job's name may come again, and of several jobs of one
/// list by its number.
///
/// # Errors
/// [`Error::NoExport`].
pub fn export_state(state: &Path, job: &Job) -> Result<PathBuf, Error> {
    let carries = job.carries.as_ref();
    let carries = carries.ok_or_else(|| Error::NoExport { job: job.name.clone() })?;
    Ok(state_of(state, carries.seed.id, carries.seed.set))
}

fn state_of(state: &Path, export: SeedId, set: u32) -> PathBuf {
    let name = match set {
        0 => export.to_string(),
        set => format!("{export}-{set}"),
    };
    state.join("exports").join(name)
}

/// Writes what is still missing of an export onto drives. Calling it again goes on where it ended.
///
/// # Errors
/// As [`to_be_exported`]; [`Error::OtherList`]; [`Error::Drive`]; [`Error::Server`]. A drive that fills up, breaks or goes
/// away, and an object that cannot be had, are no errors: see [`Prepared`].
pub fn export(
    client: &Client,
    options: &ExportOptions<'_>,
    events: &mut dyn Events,
) -> Result<Exported, Error> {
    let mut job = to_be_exported(client, options.custody, options.job)?;
    for drive in options.drives {
        job = list(client, job, &drive.serial)?;
        options.custody.received(&job, &drive.serial)?;
    }
    let store = open(client, options)?;
    let frozen = seed::freeze(&[store.as_ref()]).map_err(Error::Drive)?;
    let wanted = export_of(&job)?;
    if seed::root(&frozen.objects) != wanted.root {
        return Err(Error::OtherList { job: job.name });
    }
    let seed = job.carries.as_ref().map(|carries| carries.seed.id).unwrap_or(SeedId([0; 16]));
    let set = job.carries.as_ref().map_or(0, |carries| carries.seed.set);
    let seed::Frozen { repositories, objects } = frozen;
    let (list, own): (Inventory, Option<Vec<Object>>) = if wanted.again {
        (before(options, &job)?, Some(objects))
    } else {
        let (created, parts) = match &wanted.whole {
            Some(whole) => (whole.listed_at, whole.parts.clone()),
            None => (options.now, Vec::new()),
        };
        let list = Inventory { seed, created, repositories, objects, parts };
        let own = wanted.whole.is_some().then(|| list.part(set as usize).copied().collect());
        (list, own)
    };
    let state = export_state(options.state, &job)?.join("seed");
    let prepare = seed::Options {
        state: &state,
        signer: options.custody.key(),
        seed: Some(seed),
        set,
        now: options.now,
        read_back: options.read_back,
        filling: options.filling,
        parity: wanted.parity,
        most: wire::MAX_DRIVES,
        list: Some(&list),
        only: own.as_deref(),
    };
    let mut desk = Desk::new(client, &job, options, events);
    let prepared = seed::prepare(&prepare, &[store.as_ref()], options.drives, &mut desk);
    if let Some(error) = desk.error.take() {
        return Err(Error::Server(error));
    }
    let prepared = prepared.map_err(Error::Drive)?;
    desk.hand_over(&prepared)?;
    options.custody.send(client);
    Ok(Exported { prepared, job: client.job(options.job).map_err(Error::Server)? })
}

/// The list of the export of which a job brings something once more, as this dock has written it onto the drives before: further drives
/// carry the same.
fn before(options: &ExportOptions<'_>, job: &Job) -> Result<Inventory, Error> {
    let lost = || Error::ListLost { job: job.name.clone() };
    let carries = job.carries.as_ref().ok_or_else(lost)?;
    let trust = Trust::Key(options.custody.key().public());
    for set in 0..carries.seed.sets.unwrap_or(1) {
        let path = state_of(options.state, carries.seed.id, set).join("seed").join("inventory");
        let bytes = match fs::read(&path) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(Error::io("reading", &path))?,
        };
        let place = path.display().to_string();
        let list = Inventory::decode(&bytes, &trust);
        let list = list.map_err(|why| Error::Drive(why.at(Document::Inventory, &place)))?;
        return Ok(list.body);
    }
    Err(lost())
}

/// A drive that was not in the package counts as one of the job from now on.
fn list(client: &Client, job: Job, serial: &DriveSerial) -> Result<Job, Error> {
    let entry = job.drive_list.iter().find(|drive| drive.drive_id == *serial);
    match entry.map(|drive| drive.state) {
        None | Some(DriveState::Specified | DriveState::NeverReceived) => {
            client.drive_event(&job.name, serial, &DriveEvent::Came).map_err(Error::Server)?;
            client.job(&job.name).map_err(Error::Server)
        }
        Some(_) => Ok(job),
    }
}

/// What the job asks for, as a repository.
fn open(client: &Client, options: &ExportOptions<'_>) -> Result<Arc<dyn Store>, Error> {
    let known = client.credentials();
    let mut open = options.store.clone();
    open.rest.credentials =
        Some(Credentials { user: known.user.clone(), password: known.token.clone().into() });
    open.rest.ca_pem = known.ca_pem.as_ref().map(|pem| pem.clone().into_bytes());
    open.rest.ca_pinned = true;
    let url = client.export_url(options.job);
    open_location(&format!("rest:{url}"), &open).map_err(Error::Account)
}

/// How far a drive is, as the server should hear it.
#[derive(Debug, Clone, Copy, Default)]
struct Far {
    bytes: u64,
    total: u64,
    told: Duration,
}

/// Tells the server what happens to drives, and whoever else listens.
struct Desk<'a, 'e> {
    client: &'a Client,
    job: &'a Job,
    options: &'a ExportOptions<'a>,
    events: &'e mut dyn Events,
    /// As the server has them.
    states: BTreeMap<DriveSerial, DriveState>,
    far: BTreeMap<DriveSerial, Far>,
    error: Option<client::Error>,
}

impl<'a, 'e> Desk<'a, 'e> {
    fn new(
        client: &'a Client,
        job: &'a Job,
        options: &'a ExportOptions<'a>,
        events: &'e mut dyn Events,
    ) -> Self {
        let states = job.drive_list.iter().map(|drive| (drive.drive_id.clone(), drive.state));
        let (states, far) = (states.collect(), BTreeMap::new());
        Self { client, job, options, events, states, far, error: None }
    }

    fn tell(&self, serial: &DriveSerial, event: &DriveEvent) -> client::Result<DriveStatus> {
        self.client.drive_event(&self.job.name, serial, event)
    }

    fn start(&mut self, serial: &DriveSerial) -> client::Result<()> {
        let state = self.states.get(serial).copied();
        if matches!(state, Some(DriveState::Received | DriveState::CompletedMoreInfo)) {
            let status = self.tell(serial, &DriveEvent::Started)?;
            self.states.insert(serial.clone(), status.state);
        }
        Ok(())
    }

    /// Progress that cannot be told is told later.
    fn progress(&mut self, serial: &DriveSerial, bytes: u64) {
        let now = self.options.clock.now();
        let far = self.far.entry(serial.clone()).or_default();
        far.bytes = far.bytes.saturating_add(bytes);
        far.total = far.total.max(far.bytes);
        if now.saturating_sub(far.told) < self.options.report_every {
            return;
        }
        far.told = now;
        let event = DriveEvent::Progress { bytes: far.bytes, total: far.total };
        if let Err(error) = self.tell(serial, &event) {
            tracing::debug!(drive = %serial, %error, "progress was not told");
        }
    }

    /// Every drive that was sealed, by this call or an earlier one; and once everything is on these, those that were begun
    /// and are not needed.
    fn hand_over(&mut self, prepared: &Prepared) -> Result<(), Error> {
        let sealed = |drive: &&PreparedDrive| drive.state == seed::DriveState::Sealed;
        for drive in prepared.drives.iter().filter(sealed) {
            self.hand_over_one(drive)?;
        }
        let is_over = prepared.is_complete();
        let done: Vec<&DriveSerial> =
            prepared.drives.iter().filter(sealed).map(|drive| &drive.serial).collect();
        let left = self.states.clone();
        let left = left.iter().filter(|(serial, _)| !done.contains(serial));
        for (serial, _) in left.filter(|(_, state)| **state == DriveState::Transferring) {
            let found = prepared.drives.iter().find(|drive| drive.serial == *serial);
            let reason = match found.map(|drive| drive.state) {
                Some(seed::DriveState::Unreliable) => "it does not give back what was written",
                _ if is_over => "it was begun, and everything is on other drives",
                // It may come back, and go on.
                _ => continue,
            };
            let failures = vec![Failure { key: "drive".to_owned(), reason: reason.to_owned() }];
            let event = DriveEvent::Finished { bytes: 0, failures, rebuilt: None };
            self.tell(serial, &event).map_err(Error::Server)?;
        }
        Ok(())
    }

    fn hand_over_one(&mut self, drive: &PreparedDrive) -> Result<(), Error> {
        let (Some(manifest_hash), Some(file)) = (drive.manifest, &drive.manifest_file) else {
            return Ok(());
        };
        let serial = &drive.serial;
        let key = self.options.keys.get(serial).map_err(Error::Keys)?;
        let (password, header) = match key {
            Some(key) => match key.header_hash {
                Some(header) => (Some(key.password), Some(header)),
                None => return Err(Error::NotFormatted { serial: serial.clone() }),
            },
            None => (None, None),
        };
        self.options.custody.sealed(self.job, drive, (header, manifest_hash))?;
        let known = self.job.drive_list.iter().find(|known| known.drive_id == *serial);
        let is_known = |known: &DriveStatus| {
            known.state == DriveState::Completed
                && known.manifest_received
                && known.manifest_hash == Some(manifest_hash)
        };
        let gone = self.states.get(serial) == Some(&DriveState::ShippedBack);
        if gone || known.is_some_and(is_known) {
            return Ok(());
        }
        self.start(serial).map_err(Error::Server)?;
        let told = ExportedDrive {
            manifest_hash,
            role: drive.role,
            signer: self.options.custody.key().public(),
            bit_locker_key: password,
            drive_header_hash: header,
        };
        let (client, job) = (self.client, &self.job.name);
        client.put_exported_drive(job, serial, &told).map_err(Error::Server)?;
        let bytes = fs::read(file).map_err(Error::io("reading", file))?;
        let length = bytes.len() as u64;
        client.put_manifest(job, serial, length, &mut bytes.as_slice()).map_err(Error::Server)?;
        self.put_copy_log(serial, &bytes)?;
        let event =
            DriveEvent::Finished { bytes: drive.bytes, failures: Vec::new(), rebuilt: None };
        let status = self.tell(serial, &event).map_err(Error::Server)?;
        self.states.insert(serial.clone(), status.state);
        Ok(())
    }

    /// Before the drive counts as finished, so that whoever sees that finds the log.
    fn put_copy_log(&self, serial: &DriveSerial, manifest: &[u8]) -> Result<(), Error> {
        let trust = Trust::Key(self.options.custody.key().public());
        let manifest = Manifest::decode(manifest, &trust)
            .map_err(|why| Error::Drive(why.at(Document::Manifest, serial.as_str())))?;
        let folder = export_state(self.options.state, self.job)?;
        let path = log::write_exported(&folder, &self.job.name, &manifest)?;
        let mut file = fs::File::open(&path).map_err(Error::io("opening", &path))?;
        let length = file.metadata().map_err(Error::io("looking at", &path))?.len();
        let put = self.client.put_copy_log(&self.job.name, serial, length, &mut file);
        put.map_err(Error::Server)
    }
}

impl Events for Desk<'_, '_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::DriveStarted { serial } => {
                if let Err(error) = self.start(serial) {
                    self.error.get_or_insert(error);
                }
            }
            Event::DrivePlanned { serial, bytes, .. } => {
                self.far.entry(serial.clone()).or_default().total = bytes;
            }
            Event::Writing { serial, bytes } => self.progress(serial, bytes),
            _ => {}
        }
        self.events.event(event);
    }

    fn stop(&self) -> bool {
        self.error.is_some() || self.events.stop()
    }
}
