//! The way to the vault: control plane and repository, with the agent's own credentials. Decides
//! nothing.

use crate::state::State;
use crate::{Context, Error, identity, key_files};
use client::Client;
use model::{ErrorKind, JobName, ObjectKey, ServerName, VaultName};
use repo::Repository;
use std::fmt;
use std::sync::Arc;
use store::{Rate, RateLimit, Rest, Retry, Store};
use wire::{Credentials, Role, SeedId};

/// Where a repository of this server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// In the state directory, until there is a place for it.
    Origin,
    /// In the staging location.
    Staging,
    /// On the drives alone.
    Drives,
    /// In the vault, and not visible there before the seed is: on top of what travels.
    Increments,
    /// In the vault.
    Vault,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Origin => "the state directory",
            Self::Staging => "staging",
            Self::Drives => "the drives",
            Self::Increments => "the vault, beside the seed",
            Self::Vault => "vault",
        })
    }
}

/// The vault as this server reaches it.
#[derive(Debug)]
pub(crate) struct Vault {
    pub(crate) client: Client,
    pub(crate) vault: VaultName,
    pub(crate) server: ServerName,
    pub(crate) store: Arc<dyn Store>,
    state: State,
}

impl Vault {
    pub(crate) fn connect(ctx: &Context<'_>, state: &State) -> Result<Self, Error> {
        let there = Self::with(ctx, state, state.credentials()?)?;
        key_files::go_on(state, &there);
        Ok(there)
    }

    pub(crate) fn with(
        ctx: &Context<'_>,
        state: &State,
        credentials: Credentials,
    ) -> Result<Self, Error> {
        let (vault, server) = owner(&credentials)?;
        let client = identity::client_of(state, credentials, &ctx.proxies)?;
        let rest = Rest::new(&client.repository_url(&vault, &server), &client.rest_options())?;
        let limited = RateLimit::new(rest, ctx.rate.clone(), Arc::clone(&ctx.clock));
        let store = Arc::new(Retry::new(limited, ctx.retry, Arc::clone(&ctx.clock)));
        Ok(Self { client, vault, server, store, state: state.clone() })
    }

    /// Whether the vault has a repository of this server.
    pub(crate) fn has_repository(&self) -> Result<bool, Error> {
        match self.store.length(&ObjectKey::Config) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What the vault has of this server's seeds before they are published, at no more than that many bytes a
    /// second; 0 for no limit.
    pub(crate) fn pending(&self, ctx: &Context<'_>, limit: u64) -> Result<Arc<dyn Store>, Error> {
        let url = self.client.pending_url(&self.vault, &self.server);
        let rest = Rest::new(&url, &self.client.rest_options())?;
        let shared = RateLimit::new(rest, ctx.rate.clone(), Arc::clone(&ctx.clock));
        let limited = RateLimit::new(shared, Rate::new(limit), Arc::clone(&ctx.clock));
        Ok(Arc::new(Retry::new(limited, ctx.retry, Arc::clone(&ctx.clock))))
    }

    /// What is backed up while that seed travels.
    pub(crate) fn increments(
        &self,
        ctx: &Context<'_>,
        seed: SeedId,
    ) -> Result<Arc<dyn Store>, Error> {
        let url = self.client.increments_url(&self.vault, &self.server, seed);
        let rest = Rest::new(&url, &self.client.rest_options())?;
        let limited = RateLimit::new(rest, ctx.rate.clone(), Arc::clone(&ctx.clock));
        Ok(Arc::new(Retry::new(limited, ctx.retry, Arc::clone(&ctx.clock))))
    }

    /// What an export job asks for, as a repository; its index files are brought there.
    pub(crate) fn export(&self, ctx: &Context<'_>, job: &JobName) -> Result<Arc<dyn Store>, Error> {
        let rest = Rest::new(&self.client.export_url(job), &self.client.rest_options())?;
        let limited = RateLimit::new(rest, ctx.rate.clone(), Arc::clone(&ctx.clock));
        Ok(Arc::new(Retry::new(limited, ctx.retry, Arc::clone(&ctx.clock))))
    }

    pub(crate) fn open(&self, ctx: &Context<'_>, password: &[u8]) -> Result<Repository, Error> {
        let open = || Repository::open(Arc::clone(&self.store), password, ctx.author.clone());
        match open() {
            // The vault may have got the repository just now, by a seed whose keys are older than the passphrase.
            Err(error)
                if error.kind() == ErrorKind::WrongPassword
                    && key_files::go_on(&self.state, self) =>
            {
                Ok(open()?)
            }
            other => Ok(other?),
        }
    }
}

/// Whose credentials these are.
pub(crate) fn owner(credentials: &Credentials) -> Result<(VaultName, ServerName), Error> {
    match (credentials.role, &credentials.vault, &credentials.server) {
        (Role::Agent | Role::Copy, Some(vault), Some(server)) => {
            Ok((vault.clone(), server.clone()))
        }
        _ => Err(Error::NotForAgents),
    }
}
