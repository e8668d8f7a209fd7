//! The command line as a whole. Each command's own options are with the command.

use crate::cmd;
use crate::context::Context;
use crate::failure::Outcome;
use clap::{Parser, Subcommand};
use std::ffi::OsString;

/// Ship the first backup, stream the rest.
///
/// A first full backup too large for the link is written to drives, carried, taken in and verified;
/// every later one goes over the network. Everything is kept in the open restic format.
#[derive(Parser, Debug)]
#[command(name = "packmule", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// One JSON object a line on stdout, each with its message_type
    #[arg(long, global = true, env = "PACKMULE_JSON")]
    pub(crate) json: bool,
    /// Only results, problems and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    #[expect(missing_docs, reason = "each command has its own help")]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong command line, 3 some items left out, \
4 damage found, 10 no repository, 11 locked, 12 wrong password, 13 wrong or missing drive, 130 interrupted";

/// What to do.
#[derive(Subcommand, Debug)]
#[expect(missing_docs, reason = "each command has its own help")]
pub(crate) enum Command {
    #[command(subcommand)]
    Repo(cmd::repo::Repo),
    #[command(subcommand)]
    Seed(cmd::seed::Seed),
    Serve(cmd::serve::Serve),
    #[command(subcommand)]
    StorageAccount(cmd::admin::StorageAccount),
    #[command(subcommand)]
    Vault(cmd::admin::Vault),
}

impl Command {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::Repo(command) => command.run(context),
            Self::Seed(command) => command.run(context),
            Self::Serve(command) => command.run(context),
            Self::StorageAccount(command) => command.run(context),
            Self::Vault(command) => command.run(context),
        }
    }
}

/// The arguments as given. Called by another name, the binary is still `packmule`.
pub(crate) fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    given.collect()
}
