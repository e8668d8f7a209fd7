//! Routes about import jobs and their drives.

use crate::{Client, Error, Result};
use model::{Digest, DriveSerial, JobName};
use std::io::Read;
use ureq::http::Method;
use wire::{
    AnnouncedSeed, DriveBitLockerKey, DriveEvent, DriveStatus, ExportJobRequest, ExportedDrive,
    Job, JobPatch, JobRequest, KeyRequest, List, ReceiveRequest, SeedAnnouncement, SeedId,
};

impl Client {
    /// Creates an import job, or replaces one that is still in Creating. Agents only.
    ///
    /// # Errors
    /// [`wire::Code::TooManyDrives`], [`wire::Code::DriveInAnotherJob`],
    /// [`wire::Code::TrackingNumberInUse`], [`wire::Code::AlreadyExists`].
    pub fn create_job(&self, job: &JobName, request: &JobRequest) -> Result<Job> {
        self.send(&Method::PUT, &["import-jobs", job.as_str()], request)
    }

    /// Creates an export job, or answers the one that asks for the same. Agents only.
    ///
    /// # Errors
    /// [`wire::Code::AlreadyExists`] when the name is another job's; [`wire::Code::JobState`] when too many are open.
    pub fn create_export(&self, job: &JobName, request: &ExportJobRequest) -> Result<Job> {
        self.send(&Method::PUT, &["export-jobs", job.as_str()], request)
    }

    /// A drive of an export job was written, read back and sealed. Docks only; its manifest follows.
    ///
    /// # Errors
    /// [`wire::Code::AlreadyExists`] when another dock signs the drives of that job; [`wire::Code::JobState`],
    /// [`wire::Code::DriveNotInJob`].
    pub fn put_exported_drive(
        &self,
        job: &JobName,
        drive: &DriveSerial,
        written: &ExportedDrive,
    ) -> Result<DriveStatus> {
        let path = ["import-jobs", job.as_str(), "drives", drive.as_str()];
        self.send(&Method::PUT, &path, written)
    }

    /// Says that a seed is complete in staging. Agents only.
    ///
    /// # Errors
    /// [`wire::Code::ResourceNotFound`] when there is no such storage account, or the seed is another server's.
    pub fn announce_seed(&self, seed: SeedId, said: &SeedAnnouncement) -> Result<AnnouncedSeed> {
        self.send(&Method::PUT, &["seeds", &seed.to_string()], said)
    }

    /// A seed that was announced.
    ///
    /// # Errors
    /// [`wire::Code::ResourceNotFound`] when there is none, or it is not the caller's.
    pub fn announced_seed(&self, seed: SeedId) -> Result<AnnouncedSeed> {
        self.get(&["seeds", &seed.to_string()])
    }

    /// Every import job that this caller may see.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn jobs(&self) -> Result<Vec<Job>> {
        self.get::<List<_>>(&["import-jobs"]).map(|list| list.value)
    }

    /// One import job.
    ///
    /// # Errors
    /// [`wire::Code::ResourceNotFound`].
    pub fn job(&self, job: &JobName) -> Result<Job> {
        self.get(&["import-jobs", job.as_str()])
    }

    /// Changes an import job. Agents only.
    ///
    /// # Errors
    /// [`wire::Code::JobState`], [`wire::Code::ShippingDetailsMissing`],
    /// [`wire::Code::TrackingNumberInUse`], [`wire::Code::ConcurrentChange`].
    pub fn patch_job(&self, job: &JobName, patch: &JobPatch) -> Result<Job> {
        self.send(&Method::PATCH, &["import-jobs", job.as_str()], patch)
    }

    /// A package has arrived. Docks only.
    ///
    /// # Errors
    /// [`wire::Code::ResourceNotFound`] when no job has that tracking number,
    /// [`wire::Code::JobState`], [`wire::Code::DriveNotInJob`].
    pub fn receive(&self, request: &ReceiveRequest) -> Result<Job> {
        self.send(&Method::POST, &["parcels", "receive"], request)
    }

    /// Hands over the manifest of one drive: `length` octets. For whoever has written the drive.
    ///
    /// # Errors
    /// [`wire::Code::ManifestRefused`], [`wire::Code::ManifestHashMismatch`].
    pub fn put_manifest(
        &self,
        job: &JobName,
        drive: &DriveSerial,
        length: u64,
        from: &mut dyn Read,
    ) -> Result<()> {
        self.upload(&of_drive(job, drive, "manifest"), length, from)
    }

    /// Hands over the inventory of the whole seed, or the list of what is exported: `length` octets. Agents only.
    ///
    /// # Errors
    /// [`wire::Code::ManifestRefused`].
    pub fn put_inventory(&self, job: &JobName, length: u64, from: &mut dyn Read) -> Result<()> {
        self.upload(&["import-jobs", job.as_str(), "inventory"], length, from)
    }

    /// The manifest of one drive, whose signature the caller checks. Docks and administrators.
    ///
    /// # Errors
    /// [`wire::Code::ResourceNotFound`]; reading the stream fails with an I/O error of its own.
    pub fn manifest(&self, job: &JobName, drive: &DriveSerial) -> Result<Box<dyn Read + Send>> {
        self.download(&of_drive(job, drive, "manifest"))
    }

    /// The inventory of the job's seed, whose signature the caller checks. Docks and
    /// administrators.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest).
    pub fn inventory(&self, job: &JobName) -> Result<Box<dyn Read + Send>> {
        self.download(&["import-jobs", job.as_str(), "inventory"])
    }

    /// Reports about a drive. Docks only. `Finished` makes the server look for every object of
    /// the drive's manifest: its answer says what is missing.
    ///
    /// # Errors
    /// [`wire::Code::JobState`], [`wire::Code::DriveNotInJob`].
    pub fn drive_event(
        &self,
        job: &JobName,
        drive: &DriveSerial,
        event: &DriveEvent,
    ) -> Result<DriveStatus> {
        self.send(&Method::POST, &of_drive(job, drive, "events"), event)
    }

    /// The passwords of a job's drives, for their owner. Agents only; the server notes it.
    ///
    /// # Errors
    /// [`wire::Code::ResourceNotFound`].
    pub fn drive_keys(&self, job: &JobName) -> Result<Vec<DriveBitLockerKey>> {
        let path = ["import-jobs", job.as_str(), "listBitLockerKeys"];
        self.post::<List<_>>(&path).map(|list| list.value)
    }

    /// The password of a drive that is at the dock and may be read, whose header area hashes to
    /// `header_hash`. Docks only. The server notes who was given it, and who was not.
    ///
    /// # Errors
    /// [`wire::Code::DriveHeaderMismatch`]: the drive was changed on its way;
    /// [`wire::Code::DriveNotEncrypted`], [`wire::Code::JobState`], [`wire::Code::DriveNotInJob`].
    pub fn release_key(
        &self,
        job: &JobName,
        drive: &DriveSerial,
        header_hash: &Digest,
    ) -> Result<DriveBitLockerKey> {
        let request = KeyRequest { drive_header_hash: *header_hash };
        self.send(&Method::POST, &of_drive(job, drive, "key"), &request)
    }

    /// Stores the copy log of a drive: `length` octets of JSON lines. Docks only.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn put_copy_log(
        &self,
        job: &JobName,
        drive: &DriveSerial,
        length: u64,
        from: &mut dyn Read,
    ) -> Result<()> {
        self.upload(&of_drive(job, drive, "copy-log"), length, from)
    }

    /// All of a stream from [`manifest`](Self::manifest) or [`inventory`](Self::inventory),
    /// refused when longer than `limit` bytes.
    ///
    /// # Errors
    /// [`Error::Answer`] when it is longer, or breaks off.
    pub fn read_all(&self, from: Box<dyn Read + Send>, limit: u64) -> Result<Vec<u8>> {
        let bad = |what: String| Error::Answer {
            endpoint: self.credentials().endpoint.clone(),
            status: 200,
            what,
        };
        let mut bytes = Vec::new();
        let mut bounded = from.take(limit.saturating_add(1));
        bounded.read_to_end(&mut bytes).map_err(|cause| bad(cause.to_string()))?;
        if bytes.len() as u64 > limit {
            return Err(bad(format!("more than {limit} bytes")));
        }
        Ok(bytes)
    }
}

fn of_drive<'a>(job: &'a JobName, drive: &'a DriveSerial, what: &'a str) -> [&'a str; 5] {
    ["import-jobs", job.as_str(), "drives", drive.as_str(), what]
}
