//! What a cloud administrator does: storage accounts, vaults, credentials for servers and docks.

use super::place::{PlaceOptions, SaidOptions, lines, merged};
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use clap::{Args, Subcommand};
use client::{Client, NewProperties, Resource, ResourceKind};
use model::{AccountName, BackendName, ServerName, VaultName};
use serde_json::json;
use std::path::{Path, PathBuf};
use wire::{Credentials, DockRequest, ServerRequest};

/// The administrator's credentials.
#[derive(Args, Debug, Clone)]
pub(crate) struct AdminOptions {
    /// The administrator's credentials, as the server wrote them: DATA/admin.json; or, with an empty token, those of an
    /// application with less rights
    #[arg(long, env = "PACKMULE_SERVER", value_name = "FILE")]
    server: PathBuf,
}

impl AdminOptions {
    /// Connects.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        super::caller::connect(&self.server)
    }
}

/// Storage accounts, where imported drives land first
#[derive(Subcommand, Debug)]
pub(crate) enum StorageAccount {
    /// Make a storage account
    ///
    /// Without a place, tags or location, one that exists is left as it is. One that is on another backend is
    /// refused: nothing moves its objects.
    ///
    /// Example: packmule storage-account create seedacct --server /srv/pm/admin.json
    Create {
        /// 3 to 24 lower-case letters and digits
        name: AccountName,
        /// Where its objects shall be: a name that the server was started with [default: the data folder]
        #[arg(long, value_name = "NAME")]
        backend: Option<BackendName>,
        #[command(flatten)]
        said: SaidOptions,
        #[command(flatten)]
        place: PlaceOptions,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// List the storage accounts
    ///
    /// Example: packmule storage-account list --server /srv/pm/admin.json
    List {
        #[command(flatten)]
        place: PlaceOptions,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Show a storage account: where it lies, who may read it, which import jobs arrive in it
    ///
    /// Example: packmule storage-account show seedacct --server /srv/pm/admin.json
    Show {
        /// The storage account
        name: AccountName,
        #[command(flatten)]
        place: PlaceOptions,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Delete a storage account
    ///
    /// Refused while it holds objects, or an import job names it.
    ///
    /// Example: packmule storage-account delete seedacct --server /srv/pm/admin.json
    Delete {
        /// The storage account
        name: AccountName,
        #[command(flatten)]
        place: PlaceOptions,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Let a vault of another subscription read a storage account, or no longer
    ///
    /// Vaults of the account's own subscription may read it without.
    ///
    /// Example: packmule storage-account share seedacct --vault branch-offices --server /srv/pm/admin.json
    Share {
        /// The storage account
        account: AccountName,
        /// The vault
        #[arg(long, value_name = "VAULT")]
        vault: VaultName,
        /// Take it back: import jobs that are made later are refused
        #[arg(long)]
        revoke: bool,
        #[command(flatten)]
        admin: AdminOptions,
    },
}

impl StorageAccount {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        const KIND: ResourceKind = ResourceKind::StorageAccount;
        match self {
            Self::Create { name, backend, said, place, admin } => {
                let client = admin.client()?;
                let plainly = || {
                    match backend {
                        None => client.create_storage_account(name)?,
                        Some(backend) => client.create_storage_account_on(name, backend)?,
                    };
                    Ok(())
                };
                let backend = backend.clone();
                let properties = backend.map(|packmule_backend| NewProperties { packmule_backend });
                let said = (said, properties);
                let made = place.create(&client, KIND, name.as_str(), said, plainly)?;
                context.printer.line(format!("storage account {}", made.name));
                context.printer.object("storage_account", &account_object(&client, &made)?);
            }
            Self::List { place, admin } => {
                let client = admin.client()?;
                let known = client.storage_accounts()?;
                for one in place.list(&client, KIND)? {
                    context.printer.line(&one.name);
                    let own = known.iter().find(|known| known.name.as_str() == one.name);
                    context.printer.object("storage_account", &merged(&own, &one));
                }
            }
            Self::Show { name, place, admin } => {
                let client = admin.client()?;
                let one = place.find(&client, KIND, name.as_str())?;
                show_account(context, &client, &one)?;
            }
            Self::Delete { name, place, admin } => {
                delete(context, &admin.client()?, place, (KIND, name.as_str()))?;
            }
            Self::Share { account, vault, revoke, admin } => {
                share(context, &admin.client()?, account, vault, *revoke)?;
            }
        }
        Ok(Status::Done)
    }
}

fn account_object(client: &Client, one: &Resource) -> Result<serde_json::Value, Failure> {
    let known = client.storage_accounts()?;
    let own = known.iter().find(|known| known.name.as_str() == one.name);
    Ok(merged(&own, one))
}

fn show_account(context: &Context, client: &Client, one: &Resource) -> Result<(), Failure> {
    let jobs = client.jobs()?.into_iter().filter(|job| job.storage_account.as_str() == one.name);
    let jobs: Vec<String> = jobs.map(|job| job.name.to_string()).collect();
    context.printer.line(format!("storage account {}", one.name));
    lines(one).iter().for_each(|line| context.printer.line(line));
    if let Some(backend) = &one.backend {
        context.printer.line(format!("  backend: {backend}"));
    }
    for vault in &one.readers {
        context.printer.line(format!("  read by vault {vault} of another subscription"));
    }
    for job in &jobs {
        context.printer.line(format!("  import job: {job}"));
    }
    let object = merged(&account_object(client, one)?, &json!({"jobs": jobs}));
    context.printer.object("storage_account", &object);
    Ok(())
}

fn share(
    context: &Context,
    client: &Client,
    account: &AccountName,
    vault: &VaultName,
    revoke: bool,
) -> Result<(), Failure> {
    let anywhere = PlaceOptions::anywhere();
    let one = anywhere.find(client, ResourceKind::StorageAccount, account.as_str())?;
    let is = |reader: &String| reader.eq_ignore_ascii_case(vault.as_str());
    let mut readers = one.readers.clone();
    if revoke {
        if !readers.iter().any(is) {
            let words = format!("storage account {account} is not shared with vault {vault}");
            return Err(Failure::new(model::ErrorKind::NotFound, words));
        }
        readers.retain(|reader| !is(reader));
    } else {
        let vault = anywhere.find(client, ResourceKind::Vault, vault.as_str())?;
        if vault.subscription == one.subscription {
            let words = "they are of the same subscription: the vault may read it anyway";
            context.printer.note(words);
        }
        if !readers.iter().any(is) {
            readers.push(vault.name);
        }
    }
    let one = client.set_readers(&one, &readers)?;
    let readers = match one.readers.as_slice() {
        [] => "nobody of another subscription".to_owned(),
        some => some.join(", "),
    };
    context.printer.line(format!("storage account {account} is read by: {readers}"));
    context.printer.object("storage_account", &merged(&one, &json!({"readers": one.readers})));
    Ok(())
}

/// Deletes a vault or storage account, if the server finds nothing in it.
fn delete(
    context: &Context,
    client: &Client,
    place: &PlaceOptions,
    (kind, name): (ResourceKind, &str),
) -> Result<(), Failure> {
    let one = place.find(client, kind, name)?;
    client.delete_resource(&one)?;
    context.printer.line(format!("deleted {}", one.id));
    context.printer.object("deleted", &json!({"name": one.name, "id": one.id}));
    Ok(())
}

/// Vaults, where recovery points live
#[derive(Subcommand, Debug)]
pub(crate) enum Vault {
    /// Make a vault
    ///
    /// Without a place, tags or location, one that exists is left as it is.
    ///
    /// Example: packmule vault create branch-offices --server /srv/pm/admin.json
    Create {
        /// 2 to 50 letters, digits and hyphens
        name: VaultName,
        #[command(flatten)]
        said: SaidOptions,
        #[command(flatten)]
        place: PlaceOptions,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// List the vaults and the servers registered with them
    ///
    /// Example: packmule vault list --server /srv/pm/admin.json
    List {
        #[command(flatten)]
        place: PlaceOptions,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Show a vault: where it lies, and how the seeds of its source servers stand
    ///
    /// Example: packmule vault show branch-offices --server /srv/pm/admin.json
    Show {
        /// The vault
        name: VaultName,
        #[command(flatten)]
        place: PlaceOptions,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Delete a vault
    ///
    /// Refused while source servers are registered with it.
    ///
    /// Example: packmule vault delete branch-offices --server /srv/pm/admin.json
    Delete {
        /// The vault
        name: VaultName,
        #[command(flatten)]
        place: PlaceOptions,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Write the credentials file with which source servers register
    ///
    /// Without --for it is the vault's: any server registers by it, for ten days, and the file before it
    /// ends. With --for it is one server's own.
    ///
    /// Example: packmule vault credentials branch-offices -o branch-offices.VaultCredentials --server /srv/pm/admin.json
    Credentials {
        /// The vault
        name: VaultName,
        /// The one source server that it is for
        #[arg(long = "for", value_name = "NAME")]
        server_name: Option<ServerName>,
        /// Where to write them; readable for this user only
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Replace the server's credentials, if it has any: the old ones stop working
        #[arg(long, requires = "server_name")]
        replace: bool,
        #[command(flatten)]
        admin: AdminOptions,
    },
    Set(super::keeping::Set),
    Pin(super::keeping::Pin),
    Deletions(super::keeping::Deletions),
    Undelete(super::keeping::Undelete),
    Maintenance(super::keeping::Maintenance),
}

impl Vault {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        const KIND: ResourceKind = ResourceKind::Vault;
        match self {
            Self::Create { name, said, place, admin } => {
                let client = admin.client()?;
                let plainly = || Ok(client.create_vault(name).map(drop)?);
                let made = place.create(&client, KIND, name.as_str(), (said, None), plainly)?;
                context.printer.line(format!("vault {}", made.name));
                let own = known(&client, &made)?;
                context.printer.object("vault", &merged(&own, &made));
            }
            Self::List { place, admin } => {
                let client = admin.client()?;
                let known = client.vaults()?;
                for one in place.list(&client, KIND)? {
                    let own = known.iter().find(|known| known.name.as_str() == one.name);
                    let servers = own.map(|vault| vault.servers.as_slice()).unwrap_or_default();
                    let servers: Vec<&str> =
                        servers.iter().map(|server| server.name.as_str()).collect();
                    context.printer.line(format!("{}: {}", one.name, servers.join(", ")));
                    context.printer.object("vault", &merged(&own, &one));
                }
            }
            Self::Show { name, place, admin } => {
                let client = admin.client()?;
                let one = place.find(&client, KIND, name.as_str())?;
                show_vault(context, &client, &one)?;
            }
            Self::Delete { name, place, admin } => {
                delete(context, &admin.client()?, place, (KIND, name.as_str()))?;
            }
            Self::Set(set) => return set.run(context),
            Self::Pin(pin) => return pin.run(context),
            Self::Deletions(deletions) => return deletions.run(context),
            Self::Undelete(undelete) => return undelete.run(context),
            Self::Maintenance(maintenance) => return maintenance.run(context),
            Self::Credentials { name, server_name, output, replace, admin } => {
                let client = admin.client()?;
                match server_name {
                    None => write_file(context, output, &client.vault_credentials(name)?)?,
                    Some(server) => {
                        let request = ServerRequest { replace: *replace };
                        let credentials = client.register_server(name, server, &request)?;
                        write_credentials(context, output, &credentials)?;
                    }
                }
            }
        }
        Ok(Status::Done)
    }
}

/// The vault as the control plane knows it: with its servers.
fn known(client: &Client, one: &Resource) -> Result<Option<wire::Vault>, Failure> {
    Ok(client.vaults()?.into_iter().find(|known| known.name.as_str() == one.name))
}

fn show_vault(context: &Context, client: &Client, one: &Resource) -> Result<(), Failure> {
    let own = known(client, one)?;
    context.printer.line(format!("vault {}", one.name));
    lines(one).iter().for_each(|line| context.printer.line(line));
    let mut publications = Vec::new();
    for server in own.iter().flat_map(|vault| &vault.servers) {
        let vault = one.name.parse().map_err(|e: model::NameError| {
            Failure::new(model::ErrorKind::Internal, e.to_string())
        })?;
        let publication = client.publication(&vault, &server.name)?;
        let state = serde_json::to_value(publication.state).unwrap_or_default();
        let state = state.as_str().unwrap_or_default();
        context.printer.line(format!(
            "  server {}, since {:.0}: publication of its seed: {state}",
            server.name, server.created_at
        ));
        publications.push(merged(&json!({"server": server.name}), &publication));
    }
    let object = merged(&merged(&own, one), &json!({"publications": publications}));
    context.printer.object("vault", &object);
    Ok(())
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

/// A file that holds a secret, as the server has made it.
pub(crate) fn write_file(context: &Context, output: &Path, bytes: &[u8]) -> Result<(), Failure> {
    store::durable::replace(output, bytes, 0o600).map_err(|e| Failure::io("writing", output, e))?;
    context.printer.line(format!(
        "written: {}; it holds a private key, hand it over safely",
        output.display()
    ));
    context.printer.object("credentials", &json!({"path": output}));
    Ok(())
}

pub(crate) fn write_credentials(
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
