//! Whose credentials a command calls with: an administrator's, or those of the source server that it runs on.

use crate::failure::Failure;
use clap::Args;
use client::{Client, Proof};
use credfile::Identity;
use model::ErrorKind;
use std::path::{Path, PathBuf};
use wire::Role;
use zeroize::Zeroizing;

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
            Some(file) => connect(file),
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

/// Connects by a credentials file: by its token or, where that is empty, by the certificate that it names.
///
/// # Errors
/// It cannot be read, or is none that can be used.
pub(crate) fn connect(file: &Path) -> Result<Client, Failure> {
    let credentials = client::load_credentials(file)?;
    let proxies = crate::context::proxies();
    let named = credentials.certificate_file.clone().filter(|_| credentials.by_certificate());
    let Some(named) = named else { return Ok(Client::through(credentials, &proxies)?) };
    let path = file.parent().unwrap_or(Path::new(".")).join(named);
    let text = std::fs::read(&path).map_err(|error| Failure::io("reading", &path, error))?;
    let identity = Identity::from_pem(&Zeroizing::new(text))?;
    let proofs = move || {
        let certificate = identity.certificate();
        Ok(vec![Proof {
            certificate: certificate.as_der().to_vec(),
            key: Zeroizing::new(identity.private_key().to_vec()),
            until: certificate.not_after(),
        }])
    };
    Ok(Client::certified(credentials, Box::new(proofs), &proxies)?)
}

/// Whether these are an administrator's credentials.
pub(crate) fn is_admin(client: &Client) -> bool {
    client.credentials().role == Role::Admin
}
