//! What the caller gives to every operation: where state is, who acts, what time it is, whom to
//! tell, when to stop. Holds no secret: passwords are arguments.

use jiff::Timestamp;
use repo::{Author, KdfParams};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::{Clock, Proxies, Rate, RetryPolicy, SystemClock};
use wire::{Publication, SeedId};

use crate::{Error, Place, Way};

/// What every operation is given. Make one with [`Context::new`] and change what differs.
pub struct Context<'a> {
    /// The agent's state directory; made when missing.
    pub state: &'a Path,
    /// Who acts: its host name is the host that snapshots name.
    pub author: Author,
    /// What the snapshots name as their program.
    pub program_version: String,
    /// The time of day.
    pub now: &'a (dyn Fn() -> Timestamp + Sync),
    /// What waits are made on.
    pub clock: Arc<dyn Clock>,
    /// How long to wait between looks at a publication that goes on by itself.
    pub poll: Duration,
    /// How often what was away is tried again at the vault.
    pub retry: RetryPolicy,
    /// How hard new keys make guessing a password. Weak for tests only.
    pub kdf: KdfParams,
    /// Threads that hash, compress, encrypt or read.
    pub threads: usize,
    /// A pack is closed at this many bytes.
    pub pack_size: usize,
    /// How a backup that finds that objects of its seed are wanted answers.
    pub wanted: Way,
    /// How fast data may go to the vault and come from it; may change while it is in use.
    pub rate: Rate,
    /// Which proxy the way to the server goes through.
    pub proxies: Proxies,
    /// Set to end early; what is done by then stays done.
    pub stop: &'a AtomicBool,
    /// Told what happens. Called from many threads.
    pub events: &'a (dyn Fn(Event<'_>) + Sync),
}

impl<'a> Context<'a> {
    /// The defaults: standard keys, 16 MiB packs, two threads, two seconds between looks.
    #[must_use]
    pub fn new(
        state: &'a Path,
        author: Author,
        now: &'a (dyn Fn() -> Timestamp + Sync),
        stop: &'a AtomicBool,
        events: &'a (dyn Fn(Event<'_>) + Sync),
    ) -> Self {
        Self {
            state,
            author,
            program_version: concat!("packmule ", env!("CARGO_PKG_VERSION")).to_owned(),
            now,
            clock: Arc::new(SystemClock::new()),
            poll: Duration::from_secs(2),
            retry: RetryPolicy::default(),
            kdf: KdfParams::STANDARD,
            threads: 2,
            pack_size: 16 << 20,
            wanted: Way::Sooner,
            rate: Rate::default(),
            proxies: Proxies::default(),
            stop,
            events,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }

    pub(crate) fn tell(&self, event: Event<'_>) {
        (self.events)(event);
    }

    pub(crate) fn check_stop(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Something that happens.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A part of the work begins.
    Phase(Phase),
    /// Of a backup.
    Backup(backup::BackupEvent<'a>),
    /// What a group protects could not be held still, or something was left of that.
    Workload(&'a workload::Notice),
    /// What a group protects is held, and its backup begins.
    Held {
        /// All of it, by snapshots: whatever is written from now on is not in the backup.
        whole: bool,
    },
    /// Of the check of what has landed in the vault.
    Check(repo::CheckEvent<'a>),
    /// How far the server's publication is.
    Publication(&'a Publication),
    /// Of drives being written.
    Drive(seed::Event<'a>),
    /// The same, of drives that are backed up onto: what counts there is files.
    Direct(seed::Event<'a>),
    /// Something was lost with a drive, and the source is gone over once more: only files with something lost are read.
    AnotherPass,
    /// What follows from a change of a seed's state.
    Effect {
        /// The seed.
        seed: SeedId,
        /// What follows.
        effect: &'a flow::Effect,
    },
    /// An object that the vault has asked for was sent over the network.
    Sent {
        /// Which.
        object: &'a seed::Object,
        /// Bytes sent so far.
        bytes: u64,
        /// Bytes to send.
        all: u64,
    },
    /// What sending came to.
    Answered(&'a crate::Sent),
    /// Entries of the custody log could not be sent; the next call tries again.
    CustodyUnsent {
        /// The seed.
        seed: SeedId,
        /// Why.
        why: &'a str,
    },
    /// What is needed to make anew what may be lost could not be kept; the next call tries again.
    NotKept {
        /// The seed.
        seed: SeedId,
        /// Why.
        why: &'a str,
    },
    /// Of a prune.
    Prune(repo::PruneEvent),
    /// The vault holds what it was asked to delete, or a part of that.
    Asked(&'a wire::Deletion),
    /// A step of a change of this machine's certificate, or of the repository's keys, is done.
    Step(&'static str),
    /// The recovery kit that somebody has is of a repository that is not this server's: one was there already.
    KitVoid,
    /// What is lost of a seed is not made anew by itself: somebody has to see to it.
    NotRefilled {
        /// The seed.
        seed: SeedId,
        /// Why.
        why: &'a str,
    },
    /// The next certificate of this machine could not be had yet; the one before goes on.
    NotRenewed {
        /// Why.
        why: &'a str,
    },
    /// Of files that are read again for what is lost.
    Regain(backup::RegainEvent<'a>),
    /// An object was removed from staging.
    Removed {
        /// Its length.
        bytes: u64,
    },
}

/// A part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// A repository is made.
    Init(Place),
    /// Files are backed up.
    Backup(Place),
    /// Drives are written.
    Drives,
    /// What recovery points need is found out.
    Choosing,
    /// The import or export job is created and its documents are handed over.
    ImportJob,
    /// The server is asked to publish.
    Publication,
    /// What the vault has asked for is sent over the network.
    Wanted,
    /// What is lost is made anew from the source.
    Refill,
    /// The receipt is compared with what was sent.
    Receipt,
    /// The vault is checked, snapshot by snapshot.
    Check,
    /// It is decided which recovery points are kept.
    Keeping,
    /// What nobody needs any more is found out, and what replaces it is written.
    Prune(Place),
    /// Staging is cleaned.
    Cleaning,
}
