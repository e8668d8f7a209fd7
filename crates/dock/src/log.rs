//! The copy log of a drive: one line for each object of its manifest, and a summary. Written to a
//! file, never held in memory; sends nothing.
//!
//! JSON lines. An object: `{"name","length","status","reason"?}`, with the name that it has in the
//! container. Last: `{"summary":{…}}`. Statuses are those of the import/export service's copy logs, and one more:
//! that of a parity drive has a line for each object of other drives that was `Rebuilt`, or could not be.

use crate::Error;
use crate::journal::Journal;
use model::{Digest, DriveSerial, JobName, ObjectKey};
use seed::{Manifest, Problem, Reason, Signed};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use store::durable;
use wire::{CopyStatus, Rebuilt, RebuiltDrive, SeedId};

/// The version of the log's form, in its summary.
pub const LINE_VERSION: u32 = 1;

/// How the copy of one object ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Status {
    /// Copied from this drive.
    Completed,
    /// In the account before this drive was read.
    Skipped,
    /// Rebuilt with this parity drive.
    Rebuilt,
    /// The drive has other bytes than the manifest says.
    Corrupted,
    /// The drive does not have it.
    FileNotFound,
    /// There is something else than a regular file in its place, which is not opened.
    FileAccessDenied,
    /// The drive could not be read there.
    #[serde(rename = "IOFailed")]
    IoFailed,
    /// The account has another object of that name.
    BlobUnexpectedChange,
}

impl Status {
    /// The status that stands for a reason.
    #[must_use]
    pub fn of(reason: &Reason) -> Self {
        match reason {
            Reason::Missing => Self::FileNotFound,
            Reason::Length { .. } | Reason::Hash => Self::Corrupted,
            Reason::NotAFile => Self::FileAccessDenied,
            Reason::Conflict => Self::BlobUnexpectedChange,
            Reason::Unreadable(_) | Reason::NotRebuilt => Self::IoFailed,
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    length: u64,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Of what a parity drive is for: the data drive that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<&'a DriveSerial>,
}

#[derive(Serialize)]
struct Last<'a> {
    summary: Summary<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    version: u32,
    job: &'a JobName,
    drive: &'a DriveSerial,
    seed: SeedId,
    set: u32,
    manifest: Digest,
    status: CopyStatus,
    objects: u64,
    completed: u64,
    skipped: u64,
    failed: u64,
    bytes: u64,
    bytes_failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rebuilt: Option<&'a Rebuilt>,
}

/// Where the log of a drive is until the server has it.
pub(crate) fn path(folder: &Path, serial: &DriveSerial) -> PathBuf {
    folder.join(format!("{serial}.log"))
}

/// Writes the log of a drive that was read to its end, in the place of an earlier one.
pub(crate) fn write(
    folder: &Path,
    job: &JobName,
    manifest: &Signed<Manifest>,
    journal: &Journal,
    problems: &[Problem],
) -> Result<(), Error> {
    let path = path(folder, &manifest.body.header.serial);
    replace(&path, folder, |out| lines(out, job, manifest, journal, problems))
}

/// Writes a log beside its name first.
fn replace(
    path: &Path,
    folder: &Path,
    lines: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), Error> {
    let partial = path.with_extension("log.partial");
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        let mut out = BufWriter::new(file);
        lines(&mut out)?;
        let file: File = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        durable::sync_folder(folder)
    };
    write().map_err(Error::io("writing", path))
}

/// Writes the log of a drive that was written for an export: all that its manifest lists was read back from it.
pub(crate) fn write_exported(
    folder: &Path,
    job: &JobName,
    manifest: &Signed<Manifest>,
) -> Result<PathBuf, Error> {
    let path = path(folder, &manifest.body.header.serial);
    replace(&path, folder, |out| {
        let mut summary = empty(job, manifest);
        for object in &manifest.body.objects {
            let Some(repository) = manifest.body.repository(object) else { continue };
            let (name, length) = (format!("{repository}/{}", object.key()), object.length);
            summary.count(Status::Completed, length);
            let status = Status::Completed;
            line(out, &Line { name: &name, length, status, reason: None, of: None })?;
        }
        line(out, &Last { summary })
    })?;
    Ok(path)
}

fn lines(
    out: &mut impl Write,
    job: &JobName,
    manifest: &Signed<Manifest>,
    journal: &Journal,
    problems: &[Problem],
) -> io::Result<()> {
    let wrong: HashMap<(Digest, ObjectKey), &Reason> = problems
        .iter()
        .map(|problem| ((problem.repository, problem.key), &problem.reason))
        .collect();
    let mut summary = empty(job, manifest);
    for object in &manifest.body.objects {
        let Some(repository) = manifest.body.repository(object) else { continue };
        let (key, length) = (object.key(), object.length);
        let reason = wrong.get(&(repository, key));
        let status = match reason {
            Some(reason) => Status::of(reason),
            None if journal.has(&repository, &key) => Status::Completed,
            None => Status::Skipped,
        };
        summary.count(status, length);
        let (name, reason) = (format!("{repository}/{key}"), reason.map(ToString::to_string));
        line(out, &Line { name: &name, length, status, reason, of: None })?;
    }
    line(out, &Last { summary })
}

fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

fn empty<'a>(job: &'a JobName, manifest: &'a Signed<Manifest>) -> Summary<'a> {
    let header = &manifest.body.header;
    Summary {
        version: LINE_VERSION,
        job,
        drive: &header.serial,
        seed: header.seed,
        set: header.set,
        manifest: manifest.digest,
        status: CopyStatus::Completed,
        objects: 0,
        completed: 0,
        skipped: 0,
        failed: 0,
        bytes: 0,
        bytes_failed: 0,
        rebuilt: None,
    }
}

impl Summary<'_> {
    fn count(&mut self, status: Status, length: u64) {
        self.objects += 1;
        match status {
            Status::Completed | Status::Rebuilt => self.completed += 1,
            Status::Skipped => self.skipped += 1,
            _ => {
                self.failed += 1;
                self.bytes_failed = self.bytes_failed.saturating_add(length);
                self.status = CopyStatus::CompletedWithErrors;
                return;
            }
        }
        self.bytes = self.bytes.saturating_add(length);
    }
}

/// Objects that were rebuilt with a parity drive, noted as they land, so that the log of a rebuilding that was
/// interrupted tells all of them.
pub(crate) struct Rebuildings {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Rebuildings {
    pub(crate) fn open(folder: &Path, serial: &DriveSerial) -> Result<Self, Error> {
        let path = folder.join(format!("{serial}.rebuilt"));
        let open = || -> io::Result<File> {
            let mut options = OpenOptions::new();
            let file = options.read(true).append(true).create(true).mode(0o600).open(&path)?;
            // What a crash has torn is no line.
            let whole = whole_lines(&file)?;
            file.set_len(whole)?;
            Ok(file)
        };
        let file = BufWriter::new(open().map_err(Error::io("opening", &path))?);
        Ok(Self { path, file })
    }

    pub(crate) fn add(
        &mut self,
        of: &DriveSerial,
        (repository, key): (&Digest, &ObjectKey),
        length: u64,
    ) -> io::Result<()> {
        let name = format!("{repository}/{key}");
        let status = Status::Rebuilt;
        line(&mut self.file, &Line { name: &name, length, status, reason: None, of: Some(of) })
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// Whose objects were noted: how many of each drive, and their bytes.
    pub(crate) fn drives(&mut self) -> io::Result<Vec<RebuiltDrive>> {
        let mut drives: BTreeMap<DriveSerial, (u64, u64)> = BTreeMap::new();
        self.each(&mut |noted, _| {
            let sum = drives.entry(noted.of).or_default();
            *sum = (sum.0 + 1, sum.1.saturating_add(noted.length));
            Ok(())
        })?;
        let drives = drives.into_iter();
        Ok(drives
            .map(|(drive_id, (objects, bytes))| RebuiltDrive { drive_id, objects, bytes })
            .collect())
    }

    fn each(&mut self, tell: &mut dyn FnMut(Noted, &str) -> io::Result<()>) -> io::Result<()> {
        self.flush()?;
        for text in BufReader::new(File::open(&self.path)?).lines() {
            let text = text?;
            if let Ok(noted) = serde_json::from_str(&text) {
                tell(noted, &text)?;
            }
        }
        Ok(())
    }

    /// Forgets everything: the drive needs no further call.
    pub(crate) fn remove(self) -> Result<(), Error> {
        fs::remove_file(&self.path).map_err(Error::io("removing", &self.path))
    }
}

/// What of a line is read again.
#[derive(Deserialize)]
struct Noted {
    of: DriveSerial,
    length: u64,
}

/// The length of a file up to its last line's end.
fn whole_lines(mut file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut byte = [0];
    while end > 0 {
        file.seek(SeekFrom::Start(end - 1))?;
        file.read_exact(&mut byte)?;
        if byte == *b"\n" {
            break;
        }
        end -= 1;
    }
    Ok(end)
}

/// Writes the log of a parity drive: what was rebuilt with it, and what could not be.
pub(crate) fn write_parity(
    folder: &Path,
    job: &JobName,
    manifest: &Signed<Manifest>,
    noted: &mut Rebuildings,
    (rebuilt, left): (&Rebuilt, &[seed::RebuiltDrive]),
) -> Result<(), Error> {
    let path = path(folder, &manifest.body.header.serial);
    replace(&path, folder, |out| {
        let mut summary = empty(job, manifest);
        noted.each(&mut |noted, text| {
            summary.count(Status::Rebuilt, noted.length);
            writeln!(out, "{text}")
        })?;
        let left = left.iter().flat_map(|drive| {
            drive.problems.iter().map(move |(problem, length)| (drive, problem, *length))
        });
        for (drive, problem, length) in left {
            let status = Status::of(&problem.reason);
            summary.count(status, length);
            let name = format!("{}/{}", problem.repository, problem.key);
            let (of, reason) = (Some(&drive.serial), Some(problem.reason.to_string()));
            line(out, &Line { name: &name, length, status, reason, of })?;
        }
        summary.rebuilt = Some(rebuilt);
        line(out, &Last { summary })
    })
}
