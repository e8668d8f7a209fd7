//! Sends objects that the vault has asked for, from what the source has of them, into its pending area. Does not ask what they are:
//! that is `wanted`'s part.

use crate::Error;
use crate::context::{Context, Event, Phase};
use crate::kept::Held;
use crate::record::SeedRecord;
use crate::state::State;
use crate::vault::Vault;
use crate::wanted::{ask, there};
use flow::SeedEvent;
use jiff::SignedDuration;
use seed::Object;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use store::Store;
use wire::SeedId;

/// How what the vault asks for is to reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// Whichever is expected to be sooner.
    #[default]
    Sooner,
    /// Over the network, however long that takes.
    Network,
    /// On a next drive.
    Drive,
}

/// How what is wanted is sent.
#[derive(Debug, Clone, Copy)]
pub struct Sending {
    /// Which way.
    pub way: Way,
    /// Bytes a second at most, all together; 0 for no limit.
    pub limit_rate: u64,
    /// For how long to send before the rate counts as known.
    pub trial: Duration,
    /// Which seed; none for the only one that something is wanted of.
    pub seed: Option<SeedId>,
}

impl Default for Sending {
    /// Whichever way is sooner, with a trial of ten seconds.
    fn default() -> Self {
        Self { way: Way::Sooner, limit_rate: 0, trial: Duration::from_secs(10), seed: None }
    }
}

/// What sending came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The seed.
    pub seed: SeedId,
    /// Objects that the vault asked for.
    pub wanted: u64,
    /// Their bytes.
    pub wanted_bytes: u64,
    /// Objects that reached the vault by this call.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that had reached it before.
    pub before: u64,
    /// Objects that are not here, or damaged: they have to be made anew.
    pub gone: Vec<Object>,
    /// Objects that wait for a next drive, which is expected sooner.
    pub left: u64,
    /// How long the rest would take over the network, where that was measured and is too long.
    pub estimate: Option<Duration>,
    /// How long a next drive is expected to take.
    pub by_drive: Duration,
}

/// How long drives take when no job of the seed has shown it.
const BY_DRIVE: SignedDuration = SignedDuration::from_hours(5 * 24);
/// Objects sent at once. Each is in memory as a whole.
const AT_ONCE: usize = 3;

/// How long a next drive takes: as the slowest of the seed's own jobs took from its shipping until its last
/// drive was read, where one came that far.
fn by_drive(record: &SeedRecord) -> SignedDuration {
    let mut shipped = BTreeMap::new();
    let mut slowest = None;
    for happened in &record.history {
        match &happened.event {
            SeedEvent::JobShipped { job } => drop(shipped.insert(job, happened.at)),
            SeedEvent::JobLanded { job, .. } => {
                let took = shipped.get(job).map(|at| happened.at.duration_since(*at));
                slowest = slowest.max(took);
            }
            _ => {}
        }
    }
    slowest.unwrap_or(BY_DRIVE)
}

/// Sends what a publication has just found wanted, where that is expected to be sooner than a drive. None when that is
/// nothing any more.
pub(crate) fn answer(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
) -> Result<Option<Sent>, Error> {
    let Some(objects) = ask(state, vault, record)? else { return Ok(None) };
    ctx.tell(Event::Phase(Phase::Wanted));
    let what = Sending { way: ctx.wanted, seed: Some(record.id), ..Sending::default() };
    let sent = send(ctx, state, vault, record, &objects, &what)?;
    ctx.tell(Event::Answered(&sent));
    Ok(Some(sent))
}

/// Sends objects into the vault's pending area.
pub(crate) fn send(
    ctx: &Context<'_>,
    state: &State,
    vault: &Vault,
    record: &SeedRecord,
    objects: &[Object],
    what: &Sending,
) -> Result<Sent, Error> {
    let pending = vault.pending(ctx, what.limit_rate)?;
    let there = there(&*pending, objects)?;
    let todo: Vec<Object> =
        objects.iter().filter(|object| !there.contains(object)).copied().collect();
    let by_drive = Duration::try_from(by_drive(record)).unwrap_or_default();
    let mut sent = Sent {
        seed: record.id,
        wanted: objects.len() as u64,
        wanted_bytes: sum(objects),
        objects: 0,
        bytes: 0,
        before: there.len() as u64,
        gone: Vec::new(),
        left: 0,
        estimate: None,
        by_drive,
    };
    if what.way == Way::Drive {
        sent.left = todo.len() as u64;
        return Ok(sent);
    }
    let work = Work {
        ctx,
        held: Held::of(state, record),
        pending,
        todo: &todo,
        next: AtomicUsize::new(0),
        bytes: AtomicU64::new(0),
        all: sum(&todo),
        begun: ctx.clock.now(),
        estimate: Mutex::new(None),
        by_drive,
        what,
    };
    let ends = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(|| work.run())).collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    let mut done = 0;
    for end in ends {
        // A thread of ours does not panic; if one does, its objects count as left.
        let Ok(end) = end else { continue };
        let Ended { objects, bytes, gone } = end?;
        done += objects + gone.len() as u64;
        sent.objects += objects;
        sent.bytes += bytes;
        sent.gone.extend(gone);
    }
    sent.gone.sort_unstable();
    sent.left = (todo.len() as u64).saturating_sub(done);
    sent.estimate = *work.estimate.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(sent)
}

fn sum(objects: &[Object]) -> u64 {
    objects.iter().fold(0, |sum, object| sum.saturating_add(object.length))
}

/// Objects on their way, by several threads.
struct Work<'a, 'c> {
    ctx: &'a Context<'c>,
    held: Held,
    pending: Arc<dyn Store>,
    todo: &'a [Object],
    next: AtomicUsize,
    bytes: AtomicU64,
    all: u64,
    begun: Duration,
    estimate: Mutex<Option<Duration>>,
    by_drive: Duration,
    what: &'a Sending,
}

#[derive(Default)]
struct Ended {
    objects: u64,
    bytes: u64,
    gone: Vec<Object>,
}

impl Work<'_, '_> {
    fn run(&self) -> Result<Ended, Error> {
        let mut ended = Ended::default();
        while !self.is_too_slow() {
            self.ctx.check_stop()?;
            let Some(object) = self.todo.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
                break;
            };
            let Some(bytes) = self.held.read(object)? else {
                ended.gone.push(*object);
                continue;
            };
            self.pending.put(&object.key(), &bytes)?;
            ended.objects += 1;
            ended.bytes += object.length;
            let all = self.bytes.fetch_add(object.length, Ordering::Relaxed) + object.length;
            self.ctx.tell(Event::Sent { object, bytes: all, all: self.all });
        }
        Ok(ended)
    }

    /// Whether the rest would take longer than a next drive, at the rate so far.
    fn is_too_slow(&self) -> bool {
        if self.what.way != Way::Sooner {
            return false;
        }
        let took = self.ctx.clock.now().saturating_sub(self.begun);
        let done = self.bytes.load(Ordering::Relaxed);
        let rest = self.all.saturating_sub(done);
        let rate = match (done, self.what.limit_rate) {
            _ if took < self.what.trial && self.what.limit_rate == 0 => return false,
            (0, 0) => return false,
            (0, limit) => limit as f64,
            (done, _) if took >= self.what.trial => done as f64 / took.as_secs_f64().max(0.001),
            (_, limit) => limit as f64,
        };
        let rest = Duration::try_from_secs_f64(rest as f64 / rate).unwrap_or(Duration::MAX);
        let slow = rest > self.by_drive;
        if slow {
            *self.estimate.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
        }
        slow
    }
}
