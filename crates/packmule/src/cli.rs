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
#[command(name = "packmule", version, max_term_width = 100, after_help = crate::exit::help())]
pub(crate) struct Cli {
    /// One JSON object a line on stdout, each with its message_type
    #[arg(long, global = true, env = "PACKMULE_JSON")]
    pub(crate) json: bool,
    /// Only results, problems and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    Demo(cmd::demo::Demo),
    #[command(subcommand)]
    Repo(cmd::repo::Repo),
    #[command(subcommand)]
    Drive(cmd::drive::Drive),
    #[command(subcommand)]
    Seed(cmd::seed::Seed),
    Serve(cmd::serve::Serve),
    #[command(subcommand)]
    Subscription(cmd::subscription::Subscription),
    #[command(subcommand)]
    ResourceGroup(cmd::resource_group::ResourceGroup),
    #[command(subcommand, alias = "account")]
    StorageAccount(cmd::admin::StorageAccount),
    #[command(subcommand)]
    Vault(cmd::admin::Vault),
    #[command(subcommand)]
    App(cmd::app::App),
    #[command(subcommand)]
    Location(cmd::location::Location),
    Audit(cmd::audit::Audit),
    #[command(subcommand)]
    Custody(cmd::custody::Custody),
    #[command(subcommand)]
    Dock(cmd::dock::Dock),
    #[command(subcommand)]
    Agent(cmd::agent::Agent),
    #[command(subcommand)]
    Job(cmd::job::Job),
    #[command(subcommand)]
    Export(cmd::export::Export),
    #[command(subcommand)]
    Group(cmd::group::Group),
    #[command(subcommand)]
    Backup(cmd::agent::Backup),
    Diskprep(cmd::diskprep::Diskprep),
    Certgen(cmd::certgen::Certgen),
    #[command(subcommand)]
    Certificate(cmd::certgen::Certificate),
    #[command(subcommand)]
    RecoveryPoint(cmd::agent::RecoveryPoint),
    Restore(Box<cmd::restore::Restore>),
}

impl Command {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::Repo(command) => command.run(context),
            Self::Drive(command) => command.run(context),
            Self::Seed(command) => command.run(context),
            Self::Serve(command) => command.run(context),
            Self::Subscription(command) => command.run(context),
            Self::ResourceGroup(command) => command.run(context),
            Self::App(command) => command.run(context),
            Self::Location(command) => command.run(context),
            Self::Audit(command) => command.run(context),
            Self::Custody(command) => command.run(context),
            Self::Job(command) => command.run(context),
            Self::Export(command) => command.run(context),
            Self::StorageAccount(command) => command.run(context),
            Self::Vault(command) => command.run(context),
            Self::Dock(command) => command.run(context),
            Self::Demo(command) => command.run(context),
            Self::Agent(command) => command.run(context),
            Self::Group(command) => command.run(context),
            Self::Backup(command) => command.run(context),
            Self::Diskprep(command) => command.run(context),
            Self::Certgen(command) => command.run(context),
            Self::Certificate(command) => command.run(context),
            Self::RecoveryPoint(command) => command.run(context),
            Self::Restore(command) => command.run(context),
        }
    }
}

/// The utilities that this one stands in for, by their names, and what does their work.
const OLD: [(&str, &str); 2] =
    [("azureofflinebackupdiskprep", "diskprep"), ("azureofflinebackupcertgen", "certgen")];

/// The arguments; called by the old utility's name, through a link, the binary behaves as that one.
pub(crate) fn arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = given.collect();
    let name = arguments.first().map(std::path::Path::new).and_then(std::path::Path::file_stem);
    let name = name.map(|name| name.to_string_lossy().to_ascii_lowercase());
    let old = OLD.iter().find(|(old, _)| name.as_deref() == Some(*old));
    if let Some((_, command)) = old {
        arguments.insert(1, command.into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_names_mean_their_commands() {
        let given = ["AzureOfflineBackupCertGen.exe", "CreateNewApplication"].map(OsString::from);
        assert_eq!(arguments(given.into_iter())[1], "certgen");
        let given = ["/usr/bin/AzureOfflineBackupDiskPrep.exe", "u:"].map(OsString::from);
        assert_eq!(arguments(given.into_iter())[1], "diskprep");
        let given = ["packmule", "repo"].map(OsString::from);
        assert_eq!(arguments(given.into_iter())[1], "repo");
    }
}
