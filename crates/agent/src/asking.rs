//! What goes from a vault's repository, asked for by name: one deletion, part by part, in the order in which it goes. Whoever asks holds the
//! repository's exclusive lock, and has planned. Removes nothing: the vault holds what it is asked for.
//!
//! invariant: what is asked for is held from the answer on. What is undeleted meanwhile ends the deletion: its plan did not know of that.

use crate::{Error, Result};
use client::Client;
use model::{Digest, ServerName, VaultName};
use repo::LockGuard;
use std::sync::atomic::{AtomicBool, Ordering};
use wire::{Code, Deletion, DeletionRequest, MAX_DELETION_NAMES};

/// Whose repository, and by whose credentials.
#[derive(Debug, Clone, Copy)]
pub struct Vaulted<'a> {
    /// The way to the vault.
    pub client: &'a Client,
    /// The vault.
    pub vault: &'a VaultName,
    /// The source server.
    pub server: &'a ServerName,
}

/// Snapshots, indexes and packs.
pub type Counts = [u64; 3];

/// Hears of each answer, and how much was asked for by then: what the vault holds beyond that, somebody else has added.
pub type Told<'a> = &'a dyn Fn(&Deletion, Counts) -> Result<()>;

/// A deletion that is being asked for.
pub struct Asking<'a> {
    of: Vaulted<'a>,
    lock: &'a LockGuard,
    stop: &'a AtomicBool,
    told: Told<'a>,
    undone: u64,
    asked: Counts,
    deletion: Option<Deletion>,
}

impl std::fmt::Debug for Asking<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asking").field("deletion", &self.deletion).finish_non_exhaustive()
    }
}

impl<'a> Asking<'a> {
    /// To be called with the lock, and before anything is looked at: what comes back from now on is not in the plan.
    ///
    /// # Errors
    /// The server is away, or refuses.
    pub fn begin(
        of: Vaulted<'a>,
        lock: &'a LockGuard,
        stop: &'a AtomicBool,
        told: Told<'a>,
    ) -> Result<Self> {
        let undone = of.client.server_settings(of.vault, of.server, false)?.undone;
        Ok(Self { of, lock, stop, told, undone, asked: [0; 3], deletion: None })
    }

    /// Asks for snapshots. Answers those that the vault finds too young, by its own clock: then nothing was asked for.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub fn snapshots(&mut self, request: &DeletionRequest) -> Result<Vec<Digest>> {
        match self.ask(request) {
            Ok(()) => Ok(Vec::new()),
            Err(Error::Client(client::Error::Refused {
                code: Code::RetentionRefused,
                message,
                details,
                request: call,
            })) => {
                let is_young = |id: &&Digest| details.contains(&id.to_string());
                let young: Vec<Digest> =
                    request.snapshots.iter().filter(is_young).copied().collect();
                if young.is_empty() {
                    let code = Code::RetentionRefused;
                    let request = call;
                    return Err(client::Error::Refused { code, message, details, request }.into());
                }
                Ok(young)
            }
            Err(other) => Err(other),
        }
    }

    /// Asks, in parts.
    ///
    /// # Errors
    /// [`Error::Interrupted`]; the lock is not held any more; what the server refuses. What was asked for by then stays asked for.
    pub fn ask(&mut self, request: &DeletionRequest) -> Result<()> {
        let kinds = [&request.snapshots, &request.indexes, &request.packs];
        for (kind, names) in kinds.into_iter().enumerate() {
            for names in names.chunks(MAX_DELETION_NAMES) {
                if self.stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted);
                }
                self.lock.alone()?;
                let mut part = DeletionRequest {
                    continues: self.deletion.as_ref().map(|deletion| deletion.id),
                    undone: Some(self.undone),
                    snapshots: Vec::new(),
                    indexes: Vec::new(),
                    packs: Vec::new(),
                    ..request.clone()
                };
                match kind {
                    0 => part.snapshots = names.to_vec(),
                    1 => part.indexes = names.to_vec(),
                    _ => part.packs = names.to_vec(),
                }
                let Vaulted { client, vault, server } = self.of;
                let deletion = client.delete(vault, server, &part)?;
                if let Some(count) = self.asked.get_mut(kind) {
                    *count += names.len() as u64;
                }
                (self.told)(&deletion, self.asked)?;
                self.deletion = Some(deletion);
            }
        }
        Ok(())
    }

    /// Ends its hold by a PIN, where anything was asked for.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn shorten(&mut self, pin: &str) -> Result<()> {
        let Vaulted { client, vault, server } = self.of;
        if let Some(deletion) = &self.deletion {
            let shortened = client.shorten(vault, server, deletion.id, pin)?;
            self.deletion = shortened.into_iter().find(|it| it.id == deletion.id);
        }
        Ok(())
    }

    /// What was asked for; none where nothing was.
    #[must_use]
    pub fn deletion(self) -> Option<Deletion> {
        self.deletion
    }
}
