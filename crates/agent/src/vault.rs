//! The way to the vault: control plane and repository, with the agent's own credentials. Decides
//! nothing.

use crate::state::State;
use crate::{Context, Error};
use client::Client;
use model::{ErrorKind, JobName, ObjectKey, ServerName, VaultName};
use repo::Repository;
use std::fmt;
use std::sync::Arc;
use store::{Rate, RateLimit, Rest, RestOptions, Retry, Store};
use wire::{Credentials, Role, SeedId};

/// Where a repository of this server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
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
}

impl Vault {
    pub(crate) fn connect(ctx: &Context<'_>, state: &State) -> Result<Self, Error> {
        Self::with(ctx, state.credentials()?)
    }

    pub(crate) fn with(ctx: &Context<'_>, credentials: Credentials) -> Result<Self, Error> {
        let (vault, server) = owner(&credentials)?;
        let client = Client::new(credentials)?;
        let rest = Rest::new(&client.repository_url(&vault, &server), &rest_options(&client))?;
        let limited = RateLimit::new(rest, ctx.rate.clone(), Arc::clone(&ctx.clock));
        let store = Arc::new(Retry::new(limited, ctx.retry, Arc::clone(&ctx.clock)));
        Ok(Self { client, vault, server, store })
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
        let rest = Rest::new(&url, &rest_options(&self.client))?;
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
        let rest = Rest::new(&url, &rest_options(&self.client))?;
        let limited = RateLimit::new(rest, ctx.rate.clone(), Arc::clone(&ctx.clock));
        Ok(Arc::new(Retry::new(limited, ctx.retry, Arc::clone(&ctx.clock))))
    }

    /// Where the index files of an export job are brought to.
    pub(crate) fn export(&self, ctx: &Context<'_>, job: &JobName) -> Result<Arc<dyn Store>, Error> {
        let rest = Rest::new(&self.client.export_url(job), &rest_options(&self.client))?;
        Ok(Arc::new(Retry::new(rest, ctx.retry, Arc::clone(&ctx.clock))))
    }

    pub(crate) fn open(&self, ctx: &Context<'_>, password: &[u8]) -> Result<Repository, Error> {
        Ok(Repository::open(Arc::clone(&self.store), password, ctx.author.clone())?)
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

fn rest_options(client: &Client) -> RestOptions {
    let credentials = client.credentials();
    let login = store::Credentials {
        user: credentials.user.clone(),
        password: credentials.token.clone().into(),
    };
    RestOptions {
        credentials: Some(login),
        ca_pem: credentials.ca_pem.clone().map(String::into_bytes),
        ca_pinned: true,
        ..RestOptions::default()
    }
}
