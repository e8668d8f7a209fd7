//! `packmule seed`: drive sets from any repository, without a control plane.

mod drives;
mod import;
mod missing;
mod prepare;
mod rates;
mod verify;

pub(crate) use drives::{Writing, drive_specs, show_drives};
pub(crate) use rates::{Rates, show_event};

use crate::context::Context;
use crate::failure::Outcome;
use clap::Subcommand;

/// Drive sets from any restic repository, without a server
#[derive(Subcommand, Debug)]
pub(crate) enum Seed {
    Prepare(prepare::Prepare),
    Verify(verify::Verify),
    Import(import::Import),
    Missing(missing::Missing),
}

impl Seed {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::Prepare(command) => command.run(context),
            Self::Verify(command) => command.run(context),
            Self::Import(command) => command.run(context),
            Self::Missing(command) => command.run(context),
        }
    }
}
