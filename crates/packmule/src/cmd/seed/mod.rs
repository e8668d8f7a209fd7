//! `packmule seed`: drive sets from any repository, without a control plane; and what a vault still asks for of
//! this server's seeds.

mod abandon;
mod backup;
mod bays;
mod drives;
mod export;
mod import;
mod missing;
mod prepare;
mod rates;
mod readers;
mod recover;
mod refill;
mod shelf;
mod verify;
mod wanted;

pub(crate) use backup::{plan_backup, refuse_mount};
pub(crate) use bays::{Bays, DriveOptions, describe, find};
pub(crate) use drives::{Writing, show_drives, show_prepared};
pub(crate) use import::folder as destination;
pub(crate) use missing::show as show_missing;
pub(crate) use prepare::plan;
pub(crate) use rates::{ANOTHER_PASS, Rates, Report, show_direct, show_event};
pub(crate) use recover::recover;
pub(crate) use refill::{exit_of, show_refilled};
pub(crate) use shelf::{MayUse, Shelf};
pub(crate) use wanted::By;

use crate::context::Context;
use crate::failure::Outcome;
use clap::Subcommand;
use std::path::{Path, PathBuf};

/// Drive sets from any restic repository, without a server; and what a vault still wants of a seed
#[derive(Subcommand, Debug)]
pub(crate) enum Seed {
    Prepare(prepare::Prepare),
    Backup(backup::Backup),
    Export(export::Export),
    Verify(verify::Verify),
    Import(import::Import),
    Missing(missing::Missing),
    Status(wanted::Status),
    Send(wanted::Send),
    Refill(refill::Refill),
    Recover(recover::Recover),
    Abandon(abandon::Abandon),
}

impl Seed {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::Prepare(command) => command.run(context),
            Self::Backup(command) => command.run(context),
            Self::Export(command) => command.run(context),
            Self::Verify(command) => command.run(context),
            Self::Import(command) => command.run(context),
            Self::Missing(command) => command.run(context),
            Self::Status(command) => command.run(context),
            Self::Send(command) => command.run(context),
            Self::Refill(command) => command.run(context),
            Self::Recover(command) => command.run(context),
            Self::Abandon(command) => command.run(context),
        }
    }
}

/// Where the passwords of drives are that travel without an import job, below a state folder.
pub(crate) fn keys_folder(state: &Path) -> PathBuf {
    state.join("keys")
}
