//! The copy log of a drive: one line for each object of its manifest, and a summary. Written to a
//! file, never held in memory; sends nothing.
//!
//! JSON lines. An object: `{"name","length","status","reason"?}`, with the name that it has in the
//! container. Last: `{"summary":{…}}`. Statuses are those of the import/export service's copy logs.

use crate::Error;
use crate::journal::Journal;
use model::{Digest, DriveSerial, JobName, ObjectKey};
use seed::{Manifest, Problem, Reason, Signed};
use serde::Serialize;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use store::durable;
use wire::{CopyStatus, SeedId};

/// The version of the log's form, in its summary.
pub const LINE_VERSION: u32 = 1;

/// How the copy of one object ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Status {
    /// Copied from this drive.
    Completed,
    /// In the account before this drive was read.
    Skipped,
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
            Reason::Unreadable(_) => Self::IoFailed,
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
    let partial = path.with_extension("log.partial");
    let write = || -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        let mut out = BufWriter::new(file);
        lines(&mut out, job, manifest, journal, problems)?;
        let file: File = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&partial, &path)?;
        durable::sync_folder(folder)
    };
    write().map_err(Error::io("writing", &path))
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
        line(out, &Line { name: &name, length, status, reason })?;
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
    }
}

impl Summary<'_> {
    fn count(&mut self, status: Status, length: u64) {
        self.objects += 1;
        match status {
            Status::Completed => self.completed += 1,
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
