//! Drives on the command line, and the rendering of what happens to them.

use crate::context::Context;
use crate::failure::Failure;
use crate::ui::Progress;
use model::{ByteSize, DriveSerial, ErrorKind};
use seed::{DriveSpec, DriveState, Event, Events, Prepared, PreparedDrive};
use serde_json::json;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// The drive at that folder. One that has a label keeps its serial number; one that has none gets one
/// made up, because a folder has no hardware that could tell.
///
/// # Errors
/// The label cannot be read.
pub(crate) fn folder_spec(folder: &Path) -> Result<DriveSpec, Failure> {
    let serial = match seed::inspect(folder)? {
        Some(label) => label.body.serial,
        None => made_up_serial()?,
    };
    Ok(DriveSpec { folder: folder.to_owned(), serial, capacity: None })
}

fn made_up_serial() -> Result<DriveSerial, Failure> {
    let random = std::fs::File::open("/dev/urandom").and_then(|mut source| {
        let mut bytes = [0; 6];
        std::io::Read::read_exact(&mut source, &mut bytes)?;
        Ok(bytes)
    });
    let bytes = random.map_err(|e| Failure::io("reading", Path::new("/dev/urandom"), e))?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("PM{text}")
        .parse()
        .map_err(|e: model::NameError| Failure::new(ErrorKind::Internal, e.to_string()))
}

/// Renders events of preparing, verifying and importing.
pub(crate) struct Report<'a> {
    progress: &'a Progress<'a>,
    stop: &'a AtomicBool,
}

impl<'a> Report<'a> {
    /// Into this progress, until this stop sign.
    pub(crate) fn new(progress: &'a Progress<'a>, stop: &'a AtomicBool) -> Self {
        Self { progress, stop }
    }
}

impl Events for Report<'_> {
    fn event(&mut self, event: Event<'_>) {
        show_event(self.progress, &event);
    }

    fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Shows one event of preparing, verifying or importing.
pub(crate) fn show_event(progress: &Progress<'_>, event: &Event<'_>) {
    match *event {
        Event::Planned { objects, bytes, done_bytes, .. } => {
            progress.total(bytes, objects);
            progress.bytes(done_bytes);
        }
        Event::DriveStarted { serial } => progress.note(&format!("drive {serial}: started")),
        Event::ObjectDone { bytes, .. } => {
            progress.item();
            progress.bytes(bytes);
        }
        Event::DriveFull { serial } => progress.note(&format!("drive {serial}: full")),
        Event::DriveSealed { serial } => {
            progress.note(&format!("drive {serial}: read back, sealed; it can be taken out"));
        }
        Event::DriveGone { serial } => {
            progress.problem(
                &format!("drive {serial}"),
                "no longer answers; attach it again and run the same command",
            );
        }
        Event::Problem { serial, problem } => {
            let place = serial.map(|serial| format!(" on drive {serial}")).unwrap_or_default();
            progress.problem(&format!("{}{place}", problem.key), &problem.reason.to_string());
        }
        Event::Publishing { objects } => progress.note(&format!("publishing {objects} objects")),
        _ => {}
    }
}

/// Renders drives that were prepared.
pub(crate) fn show_drives(context: &Context, drives: &[PreparedDrive]) {
    let printer = &context.printer;
    for drive in drives {
        let state = match drive.state {
            DriveState::Sealed => "sealed",
            DriveState::Unused => "not needed",
            DriveState::Gone => "gone",
            DriveState::Unreliable => "does not give back what was written; do not use it",
        };
        printer.line(format!(
            "drive {}: {} objects, {}, {state}",
            drive.serial,
            drive.objects,
            ByteSize(drive.bytes)
        ));
        printer.object(
            "drive",
            &json!({
                "serial": drive.serial,
                "set": drive.set,
                "drive": drive.drive,
                "state": state,
                "objects": drive.objects,
                "bytes": drive.bytes,
                "manifest_sha256": drive.manifest,
            }),
        );
    }
}

/// Renders what preparing did: drives, what is left, the signer.
pub(crate) fn show_prepared(context: &Context, prepared: &Prepared) {
    let printer = &context.printer;
    show_drives(context, &prepared.drives);
    printer.line(format!("signer: {}", prepared.fingerprint));
    if prepared.is_complete() {
        printer.line("every object of the seed is on a sealed drive");
    } else {
        let bytes = prepared.remaining.iter().map(|object| object.length).sum();
        printer.line(format!(
            "{} objects ({}) are on no drive yet",
            prepared.remaining.len(),
            ByteSize(bytes)
        ));
        if let Some(shortfall) = prepared.shortfall {
            printer.line(format!(
                "run the same command with more drives: about {} of {} more",
                shortfall.drives,
                ByteSize(shortfall.drive_capacity)
            ));
        }
    }
    printer.object(
        "summary",
        &json!({
            "seed": prepared.seed,
            "set": prepared.set,
            "signer": prepared.fingerprint.to_string(),
            "complete": prepared.is_complete(),
            "remaining_objects": prepared.remaining.len(),
            "problems": prepared.problems.len(),
            "drives_missing": prepared.shortfall.map(|shortfall| shortfall.drives),
        }),
    );
}
