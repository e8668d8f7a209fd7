//! What the service has done by others: the agent, called with this machine's password and rate. Decides nothing.

use agent::{BackupReport, Context, Event, Group, Keeping, Kept, Machine, Status, Way};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::GroupName;
use repo::Author;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

/// What a run came to.
pub type Report = Result<BackupReport, agent::Error>;

/// Whoever does the work.
pub trait Work: Send + Sync {
    /// The groups as they are now.
    ///
    /// # Errors
    /// The state directory cannot be read.
    fn groups(&self) -> Result<Vec<Group>, agent::Error>;

    /// Does the right next thing for a group.
    ///
    /// # Errors
    /// Whatever stops it.
    fn back_up(
        &self,
        group: &GroupName,
        stop: &AtomicBool,
        events: &(dyn Fn(&Event<'_>) + Sync),
    ) -> Report;

    /// Goes through a group's recovery points in the vault by its rules; removes data that nobody needs where `prune` says so.
    ///
    /// # Errors
    /// Whatever stops it.
    fn keep(
        &self,
        group: &GroupName,
        how: (bool, Option<&str>),
        stop: &AtomicBool,
        events: &(dyn Fn(&Event<'_>) + Sync),
    ) -> Result<Kept, agent::Error>;

    /// Everything in one place.
    ///
    /// # Errors
    /// The state directory cannot be read.
    fn status(&self) -> Result<Status, agent::Error>;

    /// Renews this machine's certificate when its time has come; none where it has none.
    ///
    /// # Errors
    /// It could not be renewed: the one before goes on.
    fn renew(&self) -> Result<Option<Machine>, agent::Error> {
        Ok(None)
    }

    /// Until when this machine's certificate is good, as it is here.
    fn certificate(&self) -> Option<Machine> {
        None
    }
}

/// The agent of this machine.
pub struct AgentWork {
    /// The state directory.
    pub state: PathBuf,
    /// Who does it.
    pub author: Author,
    /// Processors to use for one run.
    pub threads: usize,
    /// The repository's password.
    pub password: Arc<Mutex<Zeroizing<String>>>,
    /// How fast data may leave, all runs together.
    pub rate: store::Rate,
    /// How what the vault lacks of a seed is sent.
    pub wanted: Way,
    /// The zone in which days, months and years of retention are counted.
    pub zone: Arc<Mutex<TimeZone>>,
    /// Which proxy the way to the server goes through.
    pub proxies: Arc<Mutex<store::Proxies>>,
    /// Set when everything is to end.
    pub stop: Arc<AtomicBool>,
}

impl std::fmt::Debug for AgentWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentWork").field("state", &self.state).finish_non_exhaustive()
    }
}

impl AgentWork {
    /// As it was read last.
    fn password(&self) -> Zeroizing<String> {
        self.password.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn with<T>(
        &self,
        stop: &AtomicBool,
        events: &(dyn Fn(&Event<'_>) + Sync),
        work: impl FnOnce(&Context<'_>) -> Result<T, agent::Error>,
    ) -> Result<T, agent::Error> {
        let now = Timestamp::now;
        let tell = |event: Event<'_>| events(&event);
        let mut context = Context::new(&self.state, self.author.clone(), &now, stop, &tell);
        context.threads = self.threads;
        context.wanted = self.wanted;
        context.rate = self.rate.clone();
        context.proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        work(&context)
    }
}

impl Work for AgentWork {
    fn groups(&self) -> Result<Vec<Group>, agent::Error> {
        self.with(&self.stop, &|_| {}, agent::groups)
    }

    fn back_up(
        &self,
        group: &GroupName,
        stop: &AtomicBool,
        events: &(dyn Fn(&Event<'_>) + Sync),
    ) -> Report {
        self.with(stop, events, |context| {
            agent::backup_now(context, group, self.password().as_bytes())
        })
    }

    fn keep(
        &self,
        group: &GroupName,
        (prune, pin): (bool, Option<&str>),
        stop: &AtomicBool,
        events: &(dyn Fn(&Event<'_>) + Sync),
    ) -> Result<Kept, agent::Error> {
        let zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let how = Keeping { dry_run: false, prune, pin, zone: &zone };
        self.with(stop, events, |context| {
            agent::keep(context, group, self.password().as_bytes(), how)
        })
    }

    fn status(&self) -> Result<Status, agent::Error> {
        self.with(&self.stop, &|_| {}, agent::status)
    }

    fn renew(&self) -> Result<Option<Machine>, agent::Error> {
        self.with(&self.stop, &|_| {}, agent::renew)
    }

    fn certificate(&self) -> Option<Machine> {
        agent::machine(&self.state).ok().flatten()
    }
}
