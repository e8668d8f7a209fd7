//! `packmule drive`.

use crate::context::Context;
use crate::exit::Status;
use crate::failure::Outcome;
use clap::{Args, Subcommand};
use drive::{Blkid, Bus, Device, Refusal, Source};
use serde::Serialize;

/// The drives of this machine
#[derive(Subcommand, Debug)]
pub(crate) enum Drive {
    List(List),
}

impl Drive {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::List(command) => command.run(context),
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
