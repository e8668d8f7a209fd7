//! Registration with a vault: keeps the credentials once the server has accepted them. Asks for no
//! credentials: an administrator makes them.

use crate::state::State;
use crate::vault::{Vault, owner};
use crate::{Context, Error};
use model::{ServerName, VaultName};
use wire::{Credentials, Role};

/// What this server is registered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The server's endpoint.
    pub endpoint: String,
    /// The vault.
    pub vault: VaultName,
    /// The name that this source server has there.
    pub server: ServerName,
    /// The version of the server's program.
    pub version: String,
}

/// Registers this server: checks that the endpoint answers and accepts the token, then keeps the
/// credentials. For the same vault and server this replaces the token. For another vault, server,
/// or another key that signs receipts, `replace` must say that this is meant.
///
/// # Errors
/// [`Error::NotForAgents`]; [`Error::OtherRegistration`]; what the server refuses: then the old
/// credentials stay.
pub fn register(
    ctx: &Context<'_>,
    credentials: &Credentials,
    replace: bool,
) -> Result<Registration, Error> {
    keep(ctx, &State::open(ctx.state)?, credentials, replace)
}

/// Keeps credentials that the server accepts.
pub(crate) fn keep(
    ctx: &Context<'_>,
    state: &State,
    credentials: &Credentials,
    replace: bool,
) -> Result<Registration, Error> {
    let (vault, server) = owner(credentials)?;
    if credentials.role != Role::Agent {
        return Err(Error::NotForAgents);
    }
    refuse_other(state, credentials, replace)?;
    let there = Vault::with(ctx, state, credentials.clone())?;
    let health = there.client.health()?;
    // Anybody may ask for the health; only this server may ask for its publication.
    there.client.publication(&vault, &server)?;
    let _lock = state.lock()?;
    refuse_other(state, credentials, replace)?;
    let endpoint = credentials.endpoint.clone();
    state.save_credentials(credentials)?;
    Ok(Registration { endpoint, vault, server, version: health.version })
}

/// Refuses another vault or name than this state is registered with, before anybody is asked.
pub(crate) fn refuse_other_vault(
    state: &State,
    vault: &VaultName,
    server: &ServerName,
    replace: bool,
) -> Result<(), Error> {
    let kept = match state.credentials() {
        Err(Error::NotRegistered) => return Ok(()),
        other => other?,
    };
    let same = kept.vault.as_ref() == Some(vault) && kept.server.as_ref() == Some(server);
    if same || replace {
        return Ok(());
    }
    let given = format!("{server} in vault {vault}");
    Err(Error::OtherRegistration { there: words(&kept), given })
}

/// Receipts are believed by the pinned key alone, so another key counts as another vault.
fn refuse_other(state: &State, given: &Credentials, replace: bool) -> Result<(), Error> {
    let kept = match state.credentials() {
        Err(Error::NotRegistered) => return Ok(()),
        other => other?,
    };
    let same = kept.vault == given.vault
        && kept.server == given.server
        && kept.receipt_key == given.receipt_key;
    if same || replace {
        return Ok(());
    }
    Err(Error::OtherRegistration { there: words(&kept), given: words(given) })
}

fn words(credentials: &Credentials) -> String {
    let vault = credentials.vault.as_ref().map_or("", VaultName::as_str);
    let server = credentials.server.as_ref().map_or("", ServerName::as_str);
    let key = credentials.receipt_key.to_string();
    let key: String = key.chars().take(16).collect();
    format!("{server} in vault {vault} at {} (receipt key {key}…)", credentials.endpoint)
}
