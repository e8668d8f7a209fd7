//! What a cloud administrator does: storage accounts, vaults, credentials for servers and docks.

use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use clap::{Args, Subcommand};
use client::Client;
use model::{AccountName, ServerName, VaultName};
use serde_json::json;
use std::path::{Path, PathBuf};
use wire::{Credentials, DockRequest, ServerRequest};

/// The administrator's credentials.
#[derive(Args, Debug, Clone)]
pub(crate) struct AdminOptions {
    /// The administrator's credentials, as the server wrote them: DATA/admin.json
    #[arg(long, env = "PACKMULE_SERVER", value_name = "FILE")]
    server: PathBuf,
}

impl AdminOptions {
    /// Connects.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(client::load_credentials(&self.server)?)?)
    }
}

/// Storage accounts, where imported drives land first
#[derive(Subcommand, Debug)]
pub(crate) enum StorageAccount {
    /// Make a storage account
    ///
    /// Example: packmule storage-account create seedacct --server /srv/pm/admin.json
    Create {
        /// 3 to 24 lower-case letters and digits
        name: AccountName,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// List the storage accounts
    ///
    /// Example: packmule storage-account list --server /srv/pm/admin.json
    List {
        #[command(flatten)]
        admin: AdminOptions,
    },
}

impl StorageAccount {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::Create { name, admin } => {
                let account = admin.client()?.create_storage_account(name)?;
                context.printer.line(format!("storage account {}", account.name));
                context.printer.object("storage_account", &account);
            }
            Self::List { admin } => {
                for account in admin.client()?.storage_accounts()? {
                    context.printer.line(account.name.as_str());
                    context.printer.object("storage_account", &account);
                }
            }
        }
        Ok(Status::Done)
    }
}

/// Vaults, where recovery points live
#[derive(Subcommand, Debug)]
pub(crate) enum Vault {
    /// Make a vault
    ///
    /// Example: packmule vault create branch-offices --server /srv/pm/admin.json
    Create {
        /// 2 to 50 letters, digits and hyphens
        name: VaultName,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// List the vaults and the servers registered with them
    ///
    /// Example: packmule vault list --server /srv/pm/admin.json
    List {
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Write the credentials file with which a source server registers
    ///
    /// Example: packmule vault credentials branch-offices --for fs01 -o fs01.json --server /srv/pm/admin.json
    Credentials {
        /// The vault
        name: VaultName,
        /// The source server
        #[arg(long = "for", value_name = "NAME")]
        server_name: ServerName,
        /// Where to write them; readable for this user only
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Replace the server's credentials, if it has any: the old ones stop working
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        admin: AdminOptions,
    },
}

impl Vault {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::Create { name, admin } => {
                let vault = admin.client()?.create_vault(name)?;
                context.printer.line(format!("vault {}", vault.name));
                context.printer.object("vault", &vault);
            }
            Self::List { admin } => {
                for vault in admin.client()?.vaults()? {
                    let servers: Vec<&str> =
                        vault.servers.iter().map(|server| server.name.as_str()).collect();
                    context.printer.line(format!("{}: {}", vault.name, servers.join(", ")));
                    context.printer.object("vault", &vault);
                }
            }
            Self::Credentials { name, server_name, output, replace, admin } => {
                let request = ServerRequest { replace: *replace };
                let credentials = admin.client()?.register_server(name, server_name, &request)?;
                write_credentials(context, output, &credentials)?;
            }
        }
        Ok(Status::Done)
    }
}

/// Writes the credentials of a dock.
pub(crate) fn dock_credentials(
    context: &Context,
    admin: &AdminOptions,
    name: &str,
    replace: bool,
    output: &Path,
) -> Outcome {
    let request = DockRequest { name: name.to_owned(), replace };
    let credentials = admin.client()?.register_dock(&request)?;
    write_credentials(context, output, &credentials)?;
    Ok(Status::Done)
}

fn write_credentials(
    context: &Context,
    output: &Path,
    credentials: &Credentials,
) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(credentials)
        .map_err(|e| Failure::new(model::ErrorKind::Internal, e.to_string()))?;
    store::durable::replace(output, &text, 0o600).map_err(|e| Failure::io("writing", output, e))?;
    context.printer.line(format!(
        "credentials written to {}; they hold a secret, hand them over safely",
        output.display()
    ));
    context
        .printer
        .object("credentials", &json!({"path": output, "endpoint": credentials.endpoint}));
    Ok(())
}
