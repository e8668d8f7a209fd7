//! Drives on the command line, how they are written, and what came of them. What happens meanwhile
//! is shown by `rates`.

use crate::context::Context;
use crate::failure::Failure;
use clap::{Args, ValueEnum};
use model::{ByteSize, DriveSerial, ErrorKind};
use seed::{DriveRole, DriveSpec, DriveState, Filling, Prepared, PreparedDrive};
use serde_json::json;
use std::path::Path;

/// How drives are written.
#[derive(Args, Debug, Clone, Copy)]
pub(crate) struct Writing {
    /// Fill all drives that are needed at once, or one after the other
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    fill: Fill,
    /// Bytes a second for all drives together, at most, as 100M
    #[arg(long, value_name = "SIZE")]
    limit_rate: Option<ByteSize>,
}

/// See [`Filling`].
#[derive(ValueEnum, Debug, Clone, Copy, Default)]
enum Fill {
    /// All drives that are needed at once: the fastest
    #[default]
    Even,
    /// One drive after the other: a full one can be taken out early
    Sequential,
}

impl Writing {
    pub(crate) fn filling(self) -> Filling {
        match self.fill {
            Fill::Even => Filling::Even,
            Fill::Sequential => Filling::Sequential,
        }
    }

    /// 0 for no limit.
    pub(crate) fn limit_rate(self) -> u64 {
        self.limit_rate.map_or(0, |rate| rate.0)
    }
}

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
        let holds = match drive.role {
            DriveRole::Data => format!("{} objects, {}", drive.objects, ByteSize(drive.bytes)),
            DriveRole::Parity => "parity".to_owned(),
        };
        printer.line(format!("drive {}: {holds}, {state}", drive.serial));
        printer.object(
            "drive",
            &json!({
                "serial": drive.serial,
                "set": drive.set,
                "drive": drive.drive,
                "role": drive.role,
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
    } else if prepared.remaining.is_empty() {
        printer.line("every object of the seed is on a sealed drive");
        printer.line(format!(
            "run the same command with {} more drives for parity, each as large as the fullest of these",
            prepared.parity_missing
        ));
    } else {
        let bytes = prepared.remaining.iter().map(|object| object.length).sum();
        printer.line(format!(
            "{} objects ({}) are on no drive yet",
            prepared.remaining.len(),
            ByteSize(bytes)
        ));
        for drive in &prepared.absent {
            printer.line(format!(
                "drive {} is not at hand and holds {} objects ({}) that no sealed drive has: give it again to save writing them",
                drive.serial,
                drive.objects,
                ByteSize(drive.bytes)
            ));
        }
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
            "parity_missing": prepared.parity_missing,
            "problems": prepared.problems.len(),
            "drives_missing": prepared.shortfall.map(|shortfall| shortfall.drives),
        }),
    );
}
