//! Which of the folders given hold a drive of the job: every question that must have an answer
//! before a drive is touched. Opens drives for reading only; says nothing to the server about them.

use crate::Error;
use crate::control::Control;
use model::{DriveSerial, JobName};
use seed::{Label, SealedDrive, Trust};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use wire::{DriveState, DriveStatus, Job, JobState};

/// A folder that was given, and what it holds.
pub(crate) struct Candidate {
    pub(crate) folder: PathBuf,
    /// As on its label, whether that is to be believed or not.
    pub(crate) serial: Option<DriveSerial>,
    pub(crate) verdict: Result<Verdict, Error>,
}

/// What is to be done with a drive of the job.
pub(crate) enum Verdict {
    /// Copy it.
    Copy(Box<SealedDrive>),
    /// Rebuild with it what the data drives have not brought.
    Rebuild(Box<SealedDrive>),
    /// Nothing: the server has found everything of it in the account.
    Complete(Box<DriveStatus>),
}

/// Refuses a job whose drives are not at the dock.
pub(crate) fn check_job(job: &Job) -> Result<(), Error> {
    if job.export.is_some() {
        return Err(Error::IsExport { job: job.name.clone() });
    }
    let next = match job.state {
        _ if job.cancel_requested && !is_over(job.state) => {
            return Err(Error::Canceled { job: job.name.clone() });
        }
        JobState::Received | JobState::Transferring | JobState::Packaging => return Ok(()),
        JobState::Creating => "its owner has not shipped it yet".to_owned(),
        JobState::Shipping => {
            let number = job.delivery_package.as_ref().map(|package| &package.tracking_number);
            let number = number.map_or_else(|| "NUMBER".to_owned(), ToString::to_string);
            format!("receive its package first, with packmule dock receive --tracking {number}")
        }
        JobState::Completed | JobState::Closed | JobState::Canceled => {
            "it is over and takes nothing more; what is still missing needs a new job".to_owned()
        }
    };
    Err(Error::JobState { job: job.name.clone(), state: job.state, next })
}

/// Whether the job's drives carry the seed and set that the label names.
fn is_of(job: &Job, label: &Label) -> bool {
    let carries = job.carries.as_ref();
    carries.is_some_and(|own| (own.seed.id, own.seed.set) == (label.seed, label.set))
}

fn is_over(state: JobState) -> bool {
    matches!(state, JobState::Completed | JobState::Closed | JobState::Canceled)
}

/// Looks at every folder, in the order given. A folder that is refused does not stop the others.
pub(crate) fn admit(control: &dyn Control, job: &Job, folders: &[PathBuf]) -> Vec<Candidate> {
    let mut desk = Desk { control, job, others: None };
    let mut candidates: Vec<_> = folders.iter().map(|folder| desk.look(folder)).collect();
    refuse_twice(&mut candidates);
    candidates
}

/// Refuses both: which of two is the drive and which the copy cannot be told from here.
fn refuse_twice(candidates: &mut [Candidate]) {
    let mut places: BTreeMap<DriveSerial, Vec<PathBuf>> = BTreeMap::new();
    for candidate in candidates.iter().filter(|candidate| candidate.verdict.is_ok()) {
        if let Some(serial) = &candidate.serial {
            places.entry(serial.clone()).or_default().push(candidate.folder.clone());
        }
    }
    for candidate in candidates.iter_mut().filter(|candidate| candidate.verdict.is_ok()) {
        let Some(serial) = &candidate.serial else { continue };
        if let Some([first, second, ..]) = places.get(serial).map(Vec::as_slice) {
            candidate.verdict = Err(Error::GivenTwice {
                serial: serial.clone(),
                first: first.display().to_string(),
                second: second.display().to_string(),
            });
        }
    }
}

/// Whose the drive says it is. Nothing is taken from it on its word.
fn claim(folder: &Path) -> Result<Label, seed::Error> {
    let label = seed::inspect(folder)?;
    let none = || seed::Error::NotADrive { place: folder.display().to_string() };
    label.map(|label| label.body).ok_or_else(none)
}

struct Desk<'a> {
    control: &'a dyn Control,
    job: &'a Job,
    /// Every job that the server knows, once one was needed.
    others: Option<Vec<Job>>,
}

impl Desk<'_> {
    fn look(&mut self, folder: &Path) -> Candidate {
        let claimed = claim(folder).map_err(Error::Drive);
        let (serial, verdict) = match claimed {
            Ok(claimed) => (Some(claimed.serial.clone()), self.judge(folder, &claimed)),
            Err(refusal) => (None, Err(refusal)),
        };
        Candidate { folder: folder.to_owned(), serial, verdict }
    }

    fn judge(&mut self, folder: &Path, claimed: &Label) -> Result<Verdict, Error> {
        let status = self.expected(folder, claimed)?;
        let no_seed = || Error::NoSeed { job: self.job.name.clone() };
        let signer = self.job.carries.as_ref().ok_or_else(no_seed)?.seed.signer;
        let announced = status.manifest_hash.ok_or_else(no_seed)?;
        let drive = SealedDrive::open(folder, &Trust::Key(signer)).map_err(Error::Drive)?;
        // What counts is the label that was opened with the manifest, should there be two.
        if drive.label() != claimed {
            return Err(self.wrong(folder, drive.label()));
        }
        if drive.manifest().digest != announced {
            return Err(Error::OtherManifest {
                place: folder.display().to_string(),
                serial: status.drive_id,
                job: self.job.name.clone(),
                found: Box::new(drive.manifest().digest),
                announced: Box::new(announced),
            });
        }
        if status.state == DriveState::Completed {
            return Ok(Verdict::Complete(Box::new(status)));
        }
        if !status.manifest_received {
            let job = self.job.name.clone();
            return Err(Error::NoManifest { job, serial: status.drive_id });
        }
        match drive.parity() {
            Some(_) => Ok(Verdict::Rebuild(Box::new(drive))),
            None => Ok(Verdict::Copy(Box::new(drive))),
        }
    }

    /// The job's entry for a drive with that label.
    fn expected(&mut self, folder: &Path, label: &Label) -> Result<DriveStatus, Error> {
        let of_this_set = is_of(self.job, label);
        let mut entries = self.job.drive_list.iter();
        let entry = entries.find(|drive| of_this_set && drive.drive_id == label.serial);
        entry.cloned().ok_or_else(|| self.wrong(folder, label))
    }

    fn wrong(&mut self, folder: &Path, label: &Label) -> Error {
        Error::WrongDrive {
            place: folder.display().to_string(),
            serial: label.serial.clone(),
            seed: label.seed,
            set: label.set,
            job: self.job.name.clone(),
            other: self.owner(label),
        }
    }

    /// The job that expects a drive with that label; open ones go before those that are over.
    /// Only a help: a server that does not say is no reason to fail in another way.
    fn owner(&mut self, label: &Label) -> Option<JobName> {
        let others = self.others.get_or_insert_with(|| self.control.jobs().unwrap_or_default());
        let expects = |job: &&Job| {
            is_of(job, label)
                && job.name != self.job.name
                && job.drive_list.iter().any(|drive| drive.drive_id == label.serial)
        };
        let found = others.iter().filter(expects).min_by_key(|job| is_over(job.state));
        found.map(|job| job.name.clone())
    }
}
