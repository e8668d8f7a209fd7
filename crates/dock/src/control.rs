//! What the dock asks of the control plane and of the account, as two small traits, so that both
//! can be away, lie or be full in tests. Decides nothing.

use client::{Client, Result};
use model::{Digest, DrivePassword, DriveSerial, JobName};
use std::io::Read;
use std::sync::Arc;
use store::{Credentials, OpenOptions, Store, open_location};
use wire::{DriveEvent, DriveStatus, Job, SeedId};

/// The control plane.
pub(crate) trait Control: Sync {
    fn job(&self, job: &JobName) -> Result<Job>;
    fn jobs(&self) -> Result<Vec<Job>>;
    fn drive_event(
        &self,
        job: &JobName,
        drive: &DriveSerial,
        event: &DriveEvent,
    ) -> Result<DriveStatus>;
    fn release_key(
        &self,
        job: &JobName,
        drive: &DriveSerial,
        header: &Digest,
    ) -> Result<DrivePassword>;
    fn put_copy_log(
        &self,
        job: &JobName,
        drive: &DriveSerial,
        length: u64,
        from: &mut dyn Read,
    ) -> Result<()>;
    fn custody(&self, seed: SeedId) -> Result<Box<dyn Read + Send>>;
    /// Answers how many entries of this dock the server has then.
    fn append_custody(&self, seed: SeedId, entries: &[String]) -> Result<u64>;
}

impl Control for Client {
    fn job(&self, job: &JobName) -> Result<Job> {
        self.job(job)
    }

    fn jobs(&self) -> Result<Vec<Job>> {
        self.jobs()
    }

    fn drive_event(
        &self,
        job: &JobName,
        drive: &DriveSerial,
        event: &DriveEvent,
    ) -> Result<DriveStatus> {
        self.drive_event(job, drive, event)
    }

    fn release_key(
        &self,
        job: &JobName,
        drive: &DriveSerial,
        header: &Digest,
    ) -> Result<DrivePassword> {
        self.release_key(job, drive, header).map(|answer| answer.bit_locker_key)
    }

    fn put_copy_log(
        &self,
        job: &JobName,
        drive: &DriveSerial,
        length: u64,
        from: &mut dyn Read,
    ) -> Result<()> {
        self.put_copy_log(job, drive, length, from)
    }

    fn custody(&self, seed: SeedId) -> Result<Box<dyn Read + Send>> {
        self.custody(seed)
    }

    fn append_custody(&self, seed: SeedId, entries: &[String]) -> Result<u64> {
        self.append_custody(seed, entries).map(|taken| taken.count)
    }
}

/// Where a job's repositories land.
pub(crate) trait Places: Sync {
    fn open(&self, job: &Job, repository: &Digest) -> store::Result<Arc<dyn Store>>;
}

/// The data plane of the client's server.
pub(crate) struct DataPlane<'a> {
    pub(crate) client: &'a Client,
    pub(crate) options: &'a OpenOptions,
}

impl Places for DataPlane<'_> {
    fn open(&self, job: &Job, repository: &Digest) -> store::Result<Arc<dyn Store>> {
        let known = self.client.credentials();
        let mut options = self.options.clone();
        // An object is tried again from its beginning on the drive: see `patience`.
        options.retry = None;
        options.rest.credentials =
            Some(Credentials { user: known.user.clone(), password: known.token.clone().into() });
        options.rest.ca_pem = known.ca_pem.as_ref().map(|pem| pem.clone().into_bytes());
        options.rest.ca_pinned = true;
        let carries = job.carries.as_ref().ok_or_else(|| store::Error::Denied {
            location: format!("import job {}", job.name),
            what: "it carries no seed".to_owned(),
        })?;
        let url = self.client.landing_url(&job.storage_account, &carries.container, repository);
        open_location(&format!("rest:{url}"), &options)
    }
}
