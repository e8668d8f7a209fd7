//! Whose credentials a command calls with: an administrator's, or those of the source server that it runs on.

use crate::failure::Failure;
use clap::Args;
use client::Client;
use model::ErrorKind;
use std::path::PathBuf;
use wire::Role;

/// Who calls.
#[derive(Args, Debug, Clone)]
pub(crate) struct CallerOptions {
    /// Credentials: the administrator's DATA/admin.json, or a source server's [default: what this server is
    /// registered with]
    #[arg(long, env = "PACKMULE_SERVER", value_name = "FILE")]
    server: Option<PathBuf>,
    /// The agent's state, where the credentials are that this server is registered with
    #[arg(long, env = "PACKMULE_STATE", value_name = "DIR", default_value = "/var/lib/packmule")]
    agent_state: PathBuf,
}

impl CallerOptions {
    /// Connects.
    ///
    /// # Errors
    /// There are no credentials, or none that can be used.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        match &self.server {
            Some(file) => {
                let credentials = client::load_credentials(file)?;
                Ok(Client::through(credentials, &crate::context::proxies())?)
            }
            None => agent::client(&self.agent_state, &crate::context::proxies()).map_err(|error| match error {
                agent::Error::NotRegistered => Failure::new(
                    ErrorKind::Invalid,
                    "whose credentials? Give --server DATA/admin.json, or run it on a server that is registered with a vault",
                ),
                other => other.into(),
            }),
        }
    }
}

/// Whether these are an administrator's credentials.
pub(crate) fn is_admin(client: &Client) -> bool {
    client.credentials().role == Role::Admin
}
