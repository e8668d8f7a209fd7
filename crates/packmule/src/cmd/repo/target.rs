//! Where `repo forget` and `repo prune` work: on a repository, from which they remove, or on one in a vault, which they ask.

use super::super::{caller, keeping};
use crate::context::{Context, PasswordOptions, RepoOptions};
use crate::failure::Failure;
use agent::{Asking, Told, Vaulted};
use clap::Args;
use client::Client;
use model::{Digest, ErrorKind, ObjectKey, ServerName, VaultName};
use repo::{LockGuard, Repository};
use std::path::PathBuf;
use std::sync::Arc;
use store::{Rest, Retry, RetryPolicy, Store, SystemClock};
use wire::{DeletionRequest, Role};

/// A repository from which something goes.
#[derive(Args, Debug, Clone)]
pub(crate) struct Target {
    /// Where the repository is: a folder, or rest:https://user:token@host:port/path/. Give one with a
    /// token through PACKMULE_REPOSITORY: everybody on this machine can see command lines
    // Its value may hold a token, which is nothing for a help text.
    #[arg(
        short = 'r',
        long,
        env = "PACKMULE_REPOSITORY",
        hide_env_values = true,
        value_name = "LOCATION",
        required_unless_present = "credentials"
    )]
    repo: Option<String>,
    /// Certificate authority to trust for rest: locations, a PEM file
    #[arg(long, env = "PACKMULE_CACERT", value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Instead, a source server's repository in a vault, by the credentials of its maintenance host (packmule vault maintenance): the vault
    /// is asked for what goes, hides it, and holds it for days
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// Ends that hold at once: a PIN from the vault's administrator
    #[arg(long, value_name = "PIN", requires = "credentials", conflicts_with = "dry_run")]
    pin: Option<String>,
    #[command(flatten)]
    password: PasswordOptions,
}

/// A repository, and the vault that it is in.
pub(crate) struct Opened {
    pub(crate) repository: Repository,
    vault: Option<(Client, VaultName, ServerName)>,
}

impl Target {
    /// Opens it.
    ///
    /// # Errors
    /// There is none, the password is wrong, or the credentials are for something else.
    pub(crate) fn open(&self, context: &Context) -> Result<Opened, Failure> {
        let Some(file) = &self.credentials else {
            let options = RepoOptions {
                repo: self.repo.clone().unwrap_or_default(),
                cacert: self.cacert.clone(),
                password: self.password.clone(),
            };
            return Ok(Opened { repository: context.repository(&options)?, vault: None });
        };
        let client = caller::connect(file)?;
        let known = client.credentials();
        let own = known.vault.clone().zip(known.server.clone());
        let Some((vault, server)) = own.filter(|_| known.role == Role::Maintenance) else {
            let words = format!(
                "{} has no credentials of a maintenance host; an administrator makes them: packmule vault maintenance VAULT --for NAME",
                file.display()
            );
            return Err(Failure::new(ErrorKind::Invalid, words));
        };
        let rest = Rest::new(&client.repository_url(&vault, &server), &client.rest_options())?;
        let clock = Arc::new(SystemClock::new());
        let store = Arc::new(Retry::new(rest, RetryPolicy::default(), clock));
        // Asking for a password makes no sense where there is nothing to open.
        if let Err(store::Error::NotFound { .. }) = store.length(&ObjectKey::Config) {
            return Err(repo::Error::NoRepository { location: store.location() }.into());
        }
        let password = self.password.read(context, false)?;
        let repository = Repository::open(store, password.as_bytes(), context.author.clone())?;
        Ok(Opened { repository, vault: Some((client, vault, server)) })
    }

    /// Says what the vault was asked for, and ends its hold where there is a PIN.
    pub(crate) fn asked(
        &self,
        context: &Context,
        asking: Option<Asking<'_>>,
    ) -> Result<(), Failure> {
        let Some(mut asking) = asking else { return Ok(()) };
        if let Some(pin) = &self.pin {
            asking.shorten(pin)?;
        }
        match asking.deletion() {
            Some(deletion) => keeping::show_deletion(context, &deletion),
            None => context.printer.line("the vault was asked for nothing"),
        }
        Ok(())
    }
}

/// Hears of nothing.
pub(crate) const QUIET: Told<'static> = &|_, _| Ok(());

impl Opened {
    /// What asks the vault, where there is one. To be called with the lock, before anything is looked at.
    pub(crate) fn asking<'a>(
        &'a self,
        context: &'a Context,
        lock: &'a LockGuard,
    ) -> Result<Option<Asking<'a>>, Failure> {
        let Some((client, vault, server)) = &self.vault else { return Ok(None) };
        let of = Vaulted { client, vault, server };
        Ok(Some(Asking::begin(of, lock, &context.stop, QUIET)?))
    }
}

/// Asks for snapshots. Those that the vault finds too young stay, and are said. Answers how many these are.
pub(crate) fn ask_for(
    context: &Context,
    asking: &mut Asking<'_>,
    gone: &mut Vec<Digest>,
) -> Result<usize, Failure> {
    let before = gone.len();
    while !gone.is_empty() {
        let request = DeletionRequest {
            reason: format!("repo forget, by a maintenance host: {} snapshots", gone.len()),
            snapshots: gone.clone(),
            ..DeletionRequest::default()
        };
        let young = asking.snapshots(&request)?;
        if young.is_empty() {
            break;
        }
        for id in &young {
            let words = "it has not been in the vault for its minimum retention, and stays";
            context.printer.note(format!("snapshot {}: {words}", id.short()));
        }
        gone.retain(|id| !young.contains(id));
    }
    Ok(before - gone.len())
}
