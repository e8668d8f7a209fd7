//! `packmule seed import`.

use super::missing::show as show_missing;
use super::rates::Report;
use super::readers::{ReadOptions, Readers};
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use crate::ui::Progress;
use clap::Args;
use model::{ByteSize, ErrorKind};
use seed::{Fingerprint, Trust};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Take in the drives at hand
///
/// Drives may come in any order and over several runs. What they hold waits in a pending area, and
/// is published only when everything has arrived: packs, then indexes, then snapshots.
///
/// Example: packmule seed import --drive /dev/sdb --into /srv/vault --signer 0123-4567-89ab-cdef-0123-4567-89ab-cdef
#[derive(Args, Debug)]
pub(crate) struct Import {
    #[command(flatten)]
    drives: ReadOptions,
    /// Folder that becomes the repository, or is it already
    #[arg(long, value_name = "LOCATION")]
    into: String,
    /// Fingerprint of the signer, as whoever prepared the drives was shown it
    #[arg(long, value_name = "FINGERPRINT")]
    signer: Option<Fingerprint>,
}

impl Import {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let into = folder(&self.into)?;
        let readers = self.drives.open(&context.terminal())?;
        let status = self.take_in(context, &into, &readers);
        readers.leave(context);
        status
    }

    fn take_in(&self, context: &Context, into: &Path, readers: &Readers) -> Outcome {
        let trust = self.trust(context, &readers.folders)?;
        let progress = Progress::new(&context.printer, "importing");
        let mut report = Report::new(&progress, &context.stop);
        let imported = seed::import(into, &readers.folders, &trust, &mut report)?;
        progress.finish();
        let mut refused = None;
        let mut damaged = false;
        for (folder, result) in imported.drives {
            let path = readers.name(&folder);
            match result {
                Ok(unloaded) => {
                    damaged |= !unloaded.problems.is_empty();
                    show(context, &path, &unloaded);
                }
                Err(error) => {
                    let error = Failure::from(error);
                    context.printer.problem(&path.display().to_string(), &error.chain().join(": "));
                    refused.get_or_insert(error);
                }
            }
        }
        let mut waiting = false;
        for landed in &imported.seeds {
            waiting |= !landed.published;
            if landed.published {
                context.printer.line(format!(
                    "seed {}: complete and published in {}",
                    landed.missing.seed,
                    into.display()
                ));
                context
                    .printer
                    .object("published", &json!({"seed": landed.missing.seed, "repository": into}));
            } else {
                show_missing(context, &landed.missing);
            }
        }
        match refused {
            Some(failure) => Err(failure),
            None if damaged => Ok(Status::Partial),
            None if waiting => Ok(Status::DriveMissing),
            None => Ok(Status::Done),
        }
    }

    /// The signer that was given; or, where none was, the one signer of all these drives, said aloud.
    fn trust(&self, context: &Context, folders: &[PathBuf]) -> Result<Trust, Failure> {
        if let Some(fingerprint) = self.signer {
            return Ok(Trust::Fingerprint(fingerprint));
        }
        let labels = folders.iter().find_map(|folder| seed::inspect(folder).ok().flatten());
        let label = labels.ok_or_else(|| {
            Failure::new(ErrorKind::WrongDrive, "none of these is a drive of a drive set")
        })?;
        let fingerprint = Fingerprint::of(&label.signer);
        // A caution, not a problem with an item: objects are verified by name all the same.
        context.printer.note(format!(
            "caution: signer not compared: compare {fingerprint} with what whoever prepared the drives was shown, or give --signer"
        ));
        let object = json!({"fingerprint": fingerprint.to_string(), "compared": false});
        context.printer.object("signer", &object);
        Ok(Trust::Key(label.signer))
    }
}

/// The local folder that a location names.
pub(crate) fn folder(location: &str) -> Result<PathBuf, Failure> {
    let remote = ["rest:", "azblob:", "azure:", "s3:", "gs:"];
    if remote.iter().any(|scheme| location.starts_with(scheme)) {
        let words = format!(
            "{location} is no folder: standalone drive sets are taken into folders; a vault takes them in at its dock, with `packmule dock import`"
        );
        return Err(Failure::new(ErrorKind::Invalid, words));
    }
    Ok(PathBuf::from(location.strip_prefix("local:").unwrap_or(location)))
}

fn show(context: &Context, path: &std::path::Path, unloaded: &seed::Unloaded) {
    if unloaded.label.role == seed::DriveRole::Parity {
        context.printer.line(format!(
            "{}: parity drive {}: {} objects ({}) rebuilt",
            path.display(),
            unloaded.label.serial,
            unloaded.copied,
            ByteSize(unloaded.copied_bytes)
        ));
        for drive in unloaded.rebuilt.iter().flat_map(|rebuilt| &rebuilt.drives) {
            context.printer.line(format!(
                "  of drive {}: {} objects ({}), {} cannot be rebuilt",
                drive.serial,
                drive.objects,
                ByteSize(drive.bytes),
                drive.problems.len()
            ));
        }
    } else {
        show_data(context, path, unloaded);
    }
    context.printer.object(
        "drive",
        &json!({
            "path": path,
            "serial": unloaded.label.serial,
            "role": unloaded.label.role,
            "seed": unloaded.label.seed,
            "copied": unloaded.copied,
            "copied_bytes": unloaded.copied_bytes,
            "already": unloaded.already,
            "problems": unloaded.problems.iter().map(|p| json!({"object": p.key.path(), "reason": p.reason.to_string()})).collect::<Vec<_>>(),
        }),
    );
}

fn show_data(context: &Context, path: &std::path::Path, unloaded: &seed::Unloaded) {
    let again = if unloaded.is_repetition() { "; all of it had been taken in before" } else { "" };
    context.printer.line(format!(
        "{}: drive {}: {} objects ({}) taken in, {} there already, {} damaged or missing{again}",
        path.display(),
        unloaded.label.serial,
        unloaded.copied,
        ByteSize(unloaded.copied_bytes),
        unloaded.already,
        unloaded.problems.len()
    ));
}
