//! `packmule drive`.

use crate::context::{Context, state_folder};
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use clap::{Args, Subcommand};
use drive::{Blkid, Bus, Device, Refusal, Source};
use keyring::{DriveKey, DriveKeys};
use model::{DriveSerial, ErrorKind};
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;

/// The drives of this machine
#[derive(Subcommand, Debug)]
pub(crate) enum Drive {
    List(List),
    Key(Key),
}

impl Drive {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::List(command) => command.run(context),
            Self::Key(command) => command.run(context),
        }
    }
}

/// List the drives of this machine, and which of them can carry a seed
///
/// Nothing is written. A drive that is in use, or belongs to an array or a group of volumes, is
/// refused for good; one that import services do not take, as long as nobody knows better.
///
/// Example: packmule drive list
#[derive(Args, Debug)]
pub(crate) struct List {
    /// List loop devices, too: files that stand for drives
    #[arg(long)]
    all: bool,
}

impl List {
    fn run(&self, context: &Context) -> Outcome {
        let devices = drive::discover(&Source::default(), &Blkid)?;
        let shown = devices.iter().filter(|device| self.all || device.bus != Bus::Loop);
        let shown: Vec<&Device> = shown.collect();
        if shown.is_empty() {
            context.printer.note("no drives");
        }
        for device in shown {
            show(context, device);
        }
        Ok(Status::Done)
    }
}

/// Show the passwords of drives that travel without an import job
///
/// One line a drive: its serial number and its password. The other end gives them to `packmule seed
/// import --keys`, or to `cryptsetup open`. Send them another way than the drives.
///
/// Example: packmule drive key WD-WX11A1
#[derive(Args, Debug)]
pub(crate) struct Key {
    /// Serial numbers of drives [default: all that were prepared here]
    #[arg(value_name = "SERIAL")]
    serial: Vec<DriveSerial>,
    /// Where state is kept
    #[arg(long, env = "PACKMULE_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
}

impl Key {
    fn run(&self, context: &Context) -> Outcome {
        let folder = super::seed::keys_folder(&state_folder(self.state.as_deref())?);
        let all = if folder.is_dir() { DriveKeys::open(&folder)?.list()? } else { Vec::new() };
        for serial in &self.serial {
            if all.iter().all(|key| key.serial != *serial) {
                let words = format!(
                    "no password of drive {serial} is kept in {}: an import job keeps those of its own drives",
                    folder.display()
                );
                return Err(Failure::new(ErrorKind::NotFound, words));
            }
        }
        let wanted = |key: &&DriveKey| self.serial.is_empty() || self.serial.contains(&key.serial);
        for key in all.iter().filter(wanted) {
            let password = key.password.text();
            context.printer.line(format!("{} {}", key.serial, password.as_str()));
            let object = json!({"serial": key.serial, "password": password.as_str(), "header_sha256": key.header_hash});
            context.printer.object("drive_key", &object);
        }
        Ok(Status::Done)
    }
}

fn show(context: &Context, device: &Device) {
    let printer = &context.printer;
    let refusals = drive::judge(device);
    let serial = device.serial.as_ref().map(ToString::to_string).unwrap_or_default();
    let form = device.form_factor.map(|form| format!("{form} ")).unwrap_or_default();
    printer.line(format!(
        "{:<14} {:>12}  {:<6} {form}{:<4} {serial}  {}",
        device.path.display(),
        device.size.to_string(),
        device.bus,
        device.medium,
        device.model.as_deref().unwrap_or_default(),
    ));
    for refusal in &refusals {
        let kind = if refusal.can_be_overridden() { "not for a service" } else { "refused" };
        printer.line(format!("    {kind}: {refusal}"));
    }
    if refusals.is_empty() {
        printer.line("    can carry a seed");
    }
    printer.object(
        "device",
        &Judged {
            device,
            suitable: refusals.is_empty(),
            refusals: refusals.iter().map(Told::of).collect(),
        },
    );
}

#[derive(Serialize)]
struct Judged<'a> {
    #[serde(flatten)]
    device: &'a Device,
    suitable: bool,
    refusals: Vec<Told<'a>>,
}

#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    refusal: &'a Refusal,
    overridable: bool,
    message: String,
}

impl<'a> Told<'a> {
    fn of(refusal: &'a Refusal) -> Self {
        let (overridable, message) = (refusal.can_be_overridden(), refusal.to_string());
        Self { refusal, overridable, message }
    }
}
