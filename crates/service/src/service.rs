//! The loop: looks at every group once a second, begins what is due, tells what is wrong. What it decides follows from the groups, the history and
//! the clock alone, so that a process that dies and comes back decides the same.

use crate::alert::Severity;
use crate::run::{self, RunOf};
use crate::{
    Cause, Channels, Db, Error, Facts, GroupFacts, Listener, SeedFacts, Settings, Work, metrics,
    notify, own,
};
use agent::Group;
use flow::SeedState;
use jiff::{SignedDuration, Timestamp};
use model::GroupName;
use policy::{Due, due};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the loop looks.
const TICK: Duration = Duration::from_secs(1);
/// How often the server is asked how seeds and jobs are.
const ASKED: SignedDuration = SignedDuration::from_mins(5);
/// How often metrics are told anew.
const TOLD: SignedDuration = SignedDuration::from_secs(15);
/// How often a history that cannot be written is said, and tried again.
const SHOUTED: SignedDuration = SignedDuration::from_hours(1);
/// How often this machine's certificate is looked at.
const RENEWED: SignedDuration = SignedDuration::from_hours(1);
/// Groups that run side by side: one reads while the other waits for the link.
const SIDE_BY_SIDE: usize = 2;
/// Pauses before what failed is tried again; after the last one the schedule has it.
const PAUSES: [SignedDuration; 3] =
    [SignedDuration::from_mins(5), SignedDuration::from_mins(15), SignedDuration::from_mins(45)];
/// Scheduled times without a new recovery point after which a group is stale.
const STALE: usize = 3;

/// The alert that tells of settings that cannot be used.
const SETTINGS: &str = "settings";

/// What a service is made of.
pub struct ServiceOptions {
    /// The state directory.
    pub state: PathBuf,
    /// What agent.toml says.
    pub settings: Settings,
    /// This machine, in alerts and for jitter.
    pub host: String,
    /// Whoever backs up.
    pub work: Arc<dyn Work>,
    /// How fast data may leave; the service sets it.
    pub rate: store::Rate,
    /// Set to end it.
    pub stop: Arc<AtomicBool>,
    /// The clock.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// How settings are read again, and when.
    pub reload: Option<Reload>,
}

/// Reads settings again when somebody has asked for that.
pub struct Reload {
    /// Set by whoever asks.
    pub asked: Arc<AtomicBool>,
    /// Reads them, and does what they say of groups; what is wrong with them, in words, and then nothing has changed.
    pub read: Box<dyn Fn() -> Result<Settings, String> + Send + Sync>,
}

/// The agent as a service.
pub struct Service {
    inner: Arc<Inner>,
    running: BTreeMap<GroupName, JoinHandle<()>>,
    listener: Option<Listener>,
    asked: Option<Timestamp>,
    renewed: Option<Timestamp>,
    told: Option<Timestamp>,
    shouted: Option<Timestamp>,
    seeds: Vec<SeedFacts>,
    /// Settings that are being read: what they say of groups may take long.
    reading: Option<JoinHandle<Result<Settings, String>>>,
    _lock: std::fs::File,
}

struct Inner {
    db: Db,
    set: RwLock<Arc<Set>>,
    options: ServiceOptions,
    /// Backups and retention keep each other out, rather than find a locked repository.
    gate: RwLock<()>,
    /// What could not be noted in the history by a run that has ended.
    unnoted: Mutex<Option<String>>,
}

/// What the settings come to.
struct Set {
    settings: Settings,
    channels: Channels,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("state", &self.inner.options.state).finish_non_exhaustive()
    }
}

/// What is to be done for a group now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    Run { cause: Cause, scheduled: Option<Timestamp>, attempt: u32 },
    Skip { scheduled: Timestamp },
    Wait { until: Option<Timestamp> },
}

impl Service {
    /// Sets everything up, and finds what a process before this one has left.
    ///
    /// # Errors
    /// [`Error::Second`]; the history cannot be opened; an address or a channel that cannot be.
    pub fn new(options: ServiceOptions) -> Result<Self, Error> {
        let state = &options.state;
        store::durable::create_folder(state, 0o700).map_err(Error::io("creating", state))?;
        let path = state.join("agent.lock");
        let lock = run::lock_file(&path).map_err(Error::io("locking", &path))?;
        let lock = lock.ok_or_else(|| Error::Second { path: state.clone() })?;
        let db = Db::open(state)?;
        let channels = Channels::new(&options.settings.alerts, &options.settings.proxies)?;
        let listener = options.settings.metrics.listen.map(Listener::new).transpose()?;
        let settings = options.settings.clone();
        let set = RwLock::new(Arc::new(Set { settings, channels }));
        let inner =
            Arc::new(Inner { db, set, options, gate: RwLock::new(()), unnoted: Mutex::new(None) });
        inner.settle_all()?;
        Ok(Self {
            inner,
            running: BTreeMap::new(),
            listener,
            asked: None,
            renewed: None,
            told: None,
            shouted: None,
            seeds: Vec::new(),
            reading: None,
            _lock: lock,
        })
    }

    /// Where metrics are served.
    #[must_use]
    pub fn metrics_address(&self) -> Option<std::net::SocketAddr> {
        self.listener.as_ref().map(Listener::address)
    }

    /// Runs until it is stopped; then waits for what runs, which is told to stop as well.
    ///
    /// # Errors
    /// None that passes: those are alerts.
    pub fn run(&mut self) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        let stop = Arc::clone(&inner.options.stop);
        // Beside the loop: a mail server that does not answer must hold nothing up.
        let post = std::thread::spawn(move || {
            while !inner.options.stop.load(Ordering::Relaxed) {
                inner.deliver();
                std::thread::sleep(TICK);
            }
            inner.deliver();
        });
        let mut watchdog = notify::Watchdog::new();
        notify::ready();
        while !stop.load(Ordering::Relaxed) {
            self.tick();
            watchdog.feed();
            std::thread::sleep(TICK);
        }
        notify::stopping();
        self.wait();
        let _ = post.join();
        Ok(())
    }

    /// Waits for every run that was begun.
    pub fn wait(&mut self) {
        for (group, running) in std::mem::take(&mut self.running) {
            if running.join().is_err() {
                tracing::error!(%group, "a run ended by surprise");
            }
        }
    }

    /// Looks once: begins what is due, and tells what is wrong.
    pub fn tick(&mut self) {
        let now = (self.inner.options.now)();
        self.reap();
        match self.reload(now).and_then(|()| self.look(now)) {
            Ok(()) => self.shouted = None,
            Err(error) => self.shout(&error.full(), now),
        }
        let unnoted = self.inner.unnoted.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(why) = unnoted {
            self.shout(&why, now);
        }
    }

    /// Takes settings that are to be read again; those that cannot be used change nothing, and are an alert.
    fn reload(&mut self, now: Timestamp) -> Result<(), Error> {
        let asked = || {
            let reload = self.inner.options.reload.as_ref();
            reload.is_some_and(|reload| reload.asked.swap(false, Ordering::Relaxed))
        };
        if self.reading.is_none() && asked() {
            let inner = Arc::clone(&self.inner);
            self.reading = Some(std::thread::spawn(move || {
                inner.options.reload.as_ref().map_or_else(
                    || Err("there is nothing to read".to_owned()),
                    |reload| (reload.read)(),
                )
            }));
        }
        let Some(reading) = self.reading.take_if(|reading| reading.is_finished()) else {
            return Ok(());
        };
        let read =
            reading.join().unwrap_or_else(|_| Err("reading them ended by surprise".to_owned()));
        let wrong = |why: String| {
            tracing::error!("the settings are not taken: {why}");
            let text = format!("the settings cannot be used, and those before go on: {why}");
            self.inner.db.raise(SETTINGS, Severity::Error, &text, now)
        };
        let settings = match read {
            Ok(settings) => settings,
            Err(why) => return wrong(why),
        };
        let channels = match Channels::new(&settings.alerts, &settings.proxies) {
            Ok(channels) => channels,
            Err(why) => return wrong(why.full()),
        };
        let (wanted, known) = (settings.metrics.listen, self.inner.set().settings.metrics.listen);
        if wanted != known {
            match wanted.map(Listener::new).transpose() {
                Ok(listener) => self.listener = listener,
                Err(why) => return wrong(why.full()),
            }
        }
        *self.inner.set.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Set { settings, channels });
        tracing::info!("the settings were read again");
        self.inner.db.close(SETTINGS, now)
    }

    fn look(&mut self, now: Timestamp) -> Result<(), Error> {
        self.set_rate(now)?;
        let groups = self.inner.options.work.groups()?;
        for group in &groups {
            if self.running.contains_key(&group.name) {
                continue;
            }
            // Nothing is due for a group whose protection is stopped, and nothing is missed.
            if group.stopped.is_some() {
                self.inner.close_all(&group.name, now)?;
                continue;
            }
            match self.inner.plan(group, now)? {
                Plan::Run { cause, scheduled, attempt } if self.running.len() < SIDE_BY_SIDE => {
                    self.begin(group, cause, scheduled, attempt);
                }
                Plan::Skip { scheduled } => self.inner.skip(&group.name, scheduled, now)?,
                Plan::Run { .. } | Plan::Wait { .. } => {}
            }
            self.inner.look_for_stale(group, now)?;
        }
        if is_time(self.renewed, RENEWED, now) {
            self.renewed = Some(now);
            own::certificate(&self.inner.db, &*self.inner.options.work, now)?;
        }
        if is_time(self.asked, ASKED, now) {
            self.asked = Some(now);
            self.seeds = self.inner.look_at_seeds(now)?;
        }
        let set = self.inner.set();
        let (names, digest) = (set.channels.names(), set.settings.alerts.digest);
        self.inner.db.tell(&names, &self.inner.options.host, digest, now)?;
        if is_time(self.told, TOLD, now) {
            self.told = Some(now);
            self.tell_metrics(&groups, now)?;
        }
        Ok(())
    }

    fn begin(&mut self, group: &Group, cause: Cause, scheduled: Option<Timestamp>, attempt: u32) {
        let (inner, own) = (Arc::clone(&self.inner), group.clone());
        let running =
            std::thread::Builder::new().name(format!("run {}", group.name)).spawn(move || {
                inner.run(&own, cause, scheduled, attempt);
            });
        match running {
            Ok(running) => drop(self.running.insert(group.name.clone(), running)),
            // The next tick tries again.
            Err(cause) => tracing::error!(group = %group.name, "no thread can be had: {cause}"),
        }
    }

    fn reap(&mut self) {
        let done = |handle: &JoinHandle<()>| handle.is_finished();
        let over: Vec<GroupName> =
            self.running.iter().filter(|(_, it)| done(it)).map(|(name, _)| name.clone()).collect();
        for group in over {
            if self.running.remove(&group).is_some_and(|handle| handle.join().is_err()) {
                tracing::error!(%group, "a run ended by surprise");
            }
        }
    }

    /// What a command has set while this runs goes before what the settings say.
    fn set_rate(&self, now: Timestamp) -> Result<(), Error> {
        let options = &self.inner.options;
        let by_command = self.inner.db.setting("limit")?.and_then(|text| live_limit(&text, now));
        let set = self.inner.set();
        let zoned = now.to_zoned(set.settings.zone.clone());
        options.rate.set(by_command.unwrap_or_else(|| set.settings.bandwidth.at(&zoned)));
        Ok(())
    }

    fn tell_metrics(&self, groups: &[Group], now: Timestamp) -> Result<(), Error> {
        let facts = self.inner.facts(groups, &self.seeds, now)?;
        let text = format!("{} groups, {} running", groups.len(), self.running.len());
        notify::status(&text);
        if let Some(listener) = &self.listener {
            listener.set(metrics::render(&facts, now));
        }
        Ok(())
    }

    /// The history is what does not work: everybody is told directly.
    fn shout(&mut self, why: &str, now: Timestamp) {
        if is_time(self.shouted, SHOUTED, now) {
            self.shouted = Some(now);
            tracing::error!("{why}");
            let text = format!("the agent cannot do its work: {why}");
            self.inner.set().channels.shout(&self.inner.options.host, "agent", &text, now);
        }
    }
}

/// Whether it is time again; a clock that was put back makes it time.
fn is_time(last: Option<Timestamp>, every: SignedDuration, now: Timestamp) -> bool {
    last.is_none_or(|last| now < last || now.duration_since(last) >= every)
}

/// `BYTES` or `BYTES until MILLISECONDS`.
fn live_limit(text: &str, now: Timestamp) -> Option<u64> {
    let (bytes, until) = text.split_once(" until ").unwrap_or((text, ""));
    let over = until.parse::<i64>().is_ok_and(|until| now.as_millisecond() >= until);
    if over { None } else { bytes.parse().ok() }
}

impl Inner {
    fn set(&self) -> Arc<Set> {
        Arc::clone(&self.set.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn settle_all(&self) -> Result<(), Error> {
        let now = (self.options.now)();
        for group in self.options.work.groups()? {
            // From now on what the schedule says counts.
            self.since(&group, now)?;
            match run::lock(&self.options.state, &group.name) {
                Ok(_lock) => run::settle(&self.db, &group.name, now)?,
                // Somebody backs it up by hand.
                Err(Error::Busy(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What was wrong with a group that nobody protects any more.
    fn close_all(&self, group: &GroupName, now: Timestamp) -> Result<(), Error> {
        let own = format!("group/{group}/");
        for alert in self.db.alerts(false)?.iter().filter(|alert| alert.key.starts_with(&own)) {
            self.db.close(&alert.key, now)?;
        }
        Ok(())
    }

    fn plan(&self, group: &Group, now: Timestamp) -> Result<Plan, Error> {
        if group.stopped.is_some() {
            return Ok(Plan::Wait { until: None });
        }
        let options = &self.options;
        let since = self.since(group, now)?;
        let last = self.db.last_scheduled(&group.name, now)?;
        let key = format!("{}/{}", options.host, group.name);
        let zone = &self.set().settings.zone;
        let scheduled = due(&group.policy, &key, zone, (last, since), now);
        match scheduled {
            Due::Now { scheduled } => {
                return Ok(Plan::Run {
                    cause: Cause::Schedule,
                    scheduled: Some(scheduled),
                    attempt: 1,
                });
            }
            Due::Skipped { scheduled } => return Ok(Plan::Skip { scheduled }),
            Due::At(_) | Due::Never => {}
        }
        if let Some(retry) = self.retry(group, now)? {
            return Ok(retry);
        }
        Ok(Plan::Wait { until: if let Due::At(at) = scheduled { Some(at) } else { None } })
    }

    /// Since when the schedule is what it is: what it would have had to do before was not missed.
    fn since(&self, group: &Group, now: Timestamp) -> Result<Timestamp, Error> {
        let name = format!("schedule/{}", group.name);
        let schedule = group.policy.schedule.to_string();
        let kept = self.db.setting(&name)?;
        let known = kept.as_deref().and_then(|kept| kept.split_once(' '));
        let since =
            known.filter(|(_, text)| *text == schedule).and_then(|(since, _)| since.parse().ok());
        let since = since.and_then(|since| Timestamp::from_millisecond(since).ok());
        // One that a clock that was ahead has noted would hold everything up.
        if let Some(since) = since.filter(|since| *since <= now) {
            return Ok(since);
        }
        self.db.set(&name, Some(&format!("{} {schedule}", now.as_millisecond())))?;
        Ok(now)
    }

    /// What failed and may pass is tried again; what somebody has asked for is theirs to try again.
    fn retry(&self, group: &Group, now: Timestamp) -> Result<Option<Plan>, Error> {
        let Some(last) = self.db.last(&group.name)? else { return Ok(None) };
        let Some(ended) = last.ended.filter(|_| last.may_pass() && last.cause != Cause::Command)
        else {
            return Ok(None);
        };
        let at = usize::try_from(last.attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(pause) = PAUSES.get(at) else { return Ok(None) };
        // What a killed process or a machine that went off has cut off has waited long enough.
        let cut_off = last.state == crate::RunState::Interrupted && last.attempt == 1;
        if !cut_off && now.duration_since(ended) < *pause && now >= ended {
            return Ok(None);
        }
        let attempt = last.attempt.saturating_add(1);
        Ok(Some(Plan::Run { cause: Cause::Retry, scheduled: last.scheduled, attempt }))
    }

    fn run(&self, group: &Group, cause: Cause, scheduled: Option<Timestamp>, attempt: u32) {
        let of = RunOf {
            db: &self.db,
            work: &*self.options.work,
            state: &self.options.state,
            stop: &self.options.stop,
            now: &*self.options.now,
            retention: Some(self.set().settings.retention),
            gate: Some(&self.gate),
            events: &|_| {},
        };
        match run::run(of, group, cause, scheduled, attempt) {
            Ok(_) => {}
            // By hand; the next tick looks again.
            Err(Error::Busy(_)) => {
                tracing::debug!(group = %group.name, "is being backed up by hand");
            }
            Err(error) => {
                let words = format!("group {}: {}", group.name, error.full());
                *self.unnoted.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
            }
        }
    }

    fn skip(&self, group: &GroupName, scheduled: Timestamp, now: Timestamp) -> Result<(), Error> {
        match run::lock(&self.options.state, group) {
            Ok(_lock) => self.db.skip(group, scheduled, now),
            Err(Error::Busy(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A group whose scheduled times pass without a recovery point, whatever the reason. While its seed travels nothing else can be
    /// expected, and how the seed is has alerts of its own.
    fn look_for_stale(&self, group: &Group, now: Timestamp) -> Result<(), Error> {
        let set = self.set();
        let (schedule, zone) = (&group.policy.schedule, &set.settings.zone);
        let since = self.since(group, now)?;
        let success = self.db.last_success(&group.name)?;
        let newest = success.as_ref().map_or(since, |run| run.started.max(since));
        let ended = self.db.last_ended(&group.name)?;
        let waits = ended.is_some_and(|run| run.state == crate::RunState::Waiting);
        let mut at = newest;
        let mut passed = 0;
        while passed < STALE
            && let Some(next) = schedule.next_after(at, zone)
            && next <= now
        {
            (at, passed) = (next, passed + 1);
        }
        // Made by a clock that was ahead: how long ago is not known, but what came after it is.
        if let Some(run) = success.filter(|run| run.started > now) {
            passed = self.db.scheduled_since(&group.name, run.id)?;
        }
        let key = run::stale(&group.name);
        if passed < STALE || waits {
            return self.db.close(&key, now);
        }
        // Once each time it is found, and not each second.
        let known = self.db.alerts(false)?.into_iter().any(|alert| alert.key == key);
        if known {
            return Ok(());
        }
        let text = format!("group {} has no new recovery point since {newest:.0}", group.name);
        self.db.raise(&key, Severity::Error, &text, now)
    }

    /// Asks the server how seeds are, and raises what of that somebody has to know.
    fn look_at_seeds(&self, now: Timestamp) -> Result<Vec<SeedFacts>, Error> {
        let status = self.options.work.status()?;
        match &status.away {
            Some(why) => {
                self.db.raise(
                    "server",
                    Severity::Warning,
                    &format!("the server cannot be asked: {why}"),
                    now,
                )?;
            }
            None => self.db.close("server", now)?,
        }
        let asked = status.away.is_none();
        own::keys(&self.db, &status.keys, asked, now)?;
        own::deletions(&self.db, &status.deletions, asked, now)?;
        let mut facts = Vec::new();
        for seed in &status.seeds {
            let (record, key) = (&seed.record, format!("seed/{}", seed.record.id));
            let state = record.state();
            let lost =
                record.seed.sets.iter().filter(|set| set.state == flow::SetState::Lost).count();
            let wrong = match state {
                SeedState::Incomplete { missing } => {
                    Some(format!("{missing} objects have not arrived"))
                }
                _ if lost > 0 && !state.is_end() => Some(format!("{lost} drive sets are lost")),
                _ => None,
            };
            match wrong {
                Some(what) => {
                    let text = format!("seed {}: {what}; next: {}", record.id, seed.next);
                    self.db.raise(&key, Severity::Error, &text, now)?;
                }
                None => self.db.close(&key, now)?,
            }
            if !state.is_end() {
                facts.push(SeedFacts { id: record.id.to_string(), state: state.name() });
            }
        }
        Ok(facts)
    }

    fn facts(&self, groups: &[Group], seeds: &[SeedFacts], now: Timestamp) -> Result<Facts, Error> {
        let alerts = self.db.alerts(false)?;
        let of = |severity| alerts.iter().filter(|alert| alert.severity == severity).count() as u64;
        let mut facts = Facts {
            seeds: seeds.to_vec(),
            warnings: of(Severity::Warning),
            errors: of(Severity::Error),
            limit: self.options.rate.get(),
            ..Facts::default()
        };
        for group in groups {
            let success = self.db.last_success(&group.name)?;
            let success = success.as_ref();
            let next = match self.plan(group, now)? {
                Plan::Wait { until } => until,
                Plan::Run { .. } | Plan::Skip { .. } => Some(now),
            };
            facts.groups.push(GroupFacts {
                name: group.name.to_string(),
                success: success.and_then(|run| run.ended),
                state: self.db.last(&group.name)?.map(|run| run.state.word()),
                bytes: success.map_or(0, |run| run.bytes),
                added: success.map_or(0, |run| run.added),
                problems: success.map_or(0, |run| run.problems),
                next,
            });
        }
        Ok(facts)
    }

    fn deliver(&self) {
        if let Err(error) = self.set().channels.deliver(&self.db, (self.options.now)()) {
            tracing::error!("messages cannot be delivered: {}", error.full());
        }
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
