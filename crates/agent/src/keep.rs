//! What a group's rules keep of its recovery points in the vault: decides, prunes, and asks for what goes by name. Removes
//! nothing itself; what it asks for, the vault holds first.
//!
//! ```text
//!  exclusive lock ─▶ rules ─▶ snapshots asked for ─▶ prune: new packs, new indexes ─▶ old indexes asked for ─▶ packs asked for
//! ```
//!
//! invariant: what is asked for is held from the answer on, so that each step finds the repository as the one before has left it. Dying
//! between any two leaves what a prune that died leaves: second copies, and packs that nobody needs. What is undeleted meanwhile ends
//! the run: its plan did not know of that.

use crate::asking::{Asking, Counts, Vaulted};
use crate::context::{Context, Event, Phase};
use crate::group::Group;
use crate::state::State;
use crate::vault::{Place, Vault};
use crate::{Error, Stopped};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use model::{Digest, GroupName};
use policy::Keep;
use repo::{
    Decision, Limit, LockGuard, LockMode, MaxUnused, NamedSnapshot, PruneEvent, PruneFigures,
    PruneOptions, Repository, Rules, decide,
};
use std::collections::HashSet;
use wire::{Deletion, DeletionRequest};

/// How a group's recovery points are gone through.
#[derive(Debug, Clone, Copy)]
pub struct Keeping<'a> {
    /// Say only what would be done.
    pub dry_run: bool,
    /// Remove the data that nobody needs, too: that of the whole repository.
    pub prune: bool,
    /// Ends the hold of what is asked for.
    pub pin: Option<&'a str>,
    /// This machine's zone, in which years, months and days are counted.
    pub zone: &'a TimeZone,
}

/// What was decided, and what came of it.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The group.
    pub group: GroupName,
    /// Of each of its recovery points in the vault, the newest first.
    pub points: Vec<KeptPoint>,
    /// What was asked for; none when nothing was.
    pub deletion: Option<Deletion>,
    /// What the prune has made of the repository, or would.
    pub figures: Option<PruneFigures>,
    /// Snapshots that cannot be read, of which nothing is decided.
    pub unreadable: usize,
}

/// What was decided of a recovery point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPoint {
    /// Its snapshot.
    pub id: Digest,
    /// When it was made.
    pub time: Timestamp,
    /// Why it stays; none where it goes.
    pub why: Option<String>,
}

impl Kept {
    /// How many go.
    #[must_use]
    pub fn gone(&self) -> usize {
        self.points.iter().filter(|point| point.why.is_none()).count()
    }

    /// How many stay.
    #[must_use]
    pub fn stay(&self) -> usize {
        self.points.len() - self.gone()
    }
}

/// Goes through a group's recovery points in the vault by its rules.
///
/// # Errors
/// [`Error::NotMeanwhile`] while a seed of this server travels; [`Error::Repo`] where the repository is locked or not whole; what
/// the vault refuses. What was asked for by then stays asked for, and the next call goes on.
pub fn keep(
    ctx: &Context<'_>,
    name: &GroupName,
    password: &[u8],
    how: Keeping<'_>,
) -> Result<Kept, Error> {
    let state = State::open(ctx.state)?;
    let group = state.known_group(name)?;
    if group.stopped.is_some() {
        return Err(Error::Stopped(name.clone()));
    }
    go_through(ctx, &state, &group, password, how)
}

/// The same of a group that is stopped: with data that is to be deleted, nothing is kept that may go.
pub(crate) fn go_through(
    ctx: &Context<'_>,
    state: &State,
    group: &Group,
    password: &[u8],
    how: Keeping<'_>,
) -> Result<Kept, Error> {
    nothing_travels(state)?;
    let vault = Vault::connect(ctx, state)?;
    let minimum = vault.client.vault_settings(&vault.vault, false)?.minimum_retention_days;
    let repository = vault.open(ctx, password)?;
    ctx.tell(Event::Phase(Phase::Keeping));
    let mode = if how.dry_run { LockMode::Shared } else { LockMode::Exclusive };
    let lock = repository.lock(mode)?;
    let of = Vaulted { client: &vault.client, vault: &vault.vault, server: &vault.server };
    let told = |deletion: &Deletion, asked: Counts| {
        ctx.tell(Event::Asked(deletion));
        state.note_asked(deletion, asked)
    };
    let mut asking = Asking::begin(of, &lock, ctx.stop, &told)?;
    let loaded = repository.snapshots()?;
    let unreadable = loaded.damaged.len();
    let own = loaded.value.into_iter().filter(|named| is_own(ctx, group, named)).collect();
    let points = decided(ctx, group, own, (minimum, how.zone))?;
    let mut kept =
        Kept { group: group.name.clone(), points, deletion: None, figures: None, unreadable };
    if !how.dry_run {
        ask_for_snapshots(&mut asking, group, &mut kept)?;
    }
    if how.prune {
        kept.figures = Some(prune(ctx, (&repository, &lock), &mut asking, &kept, how.dry_run)?);
    }
    if let Some(pin) = how.pin {
        asking.shorten(pin)?;
    }
    kept.deletion = asking.deletion();
    Ok(kept)
}

/// Whatever relies on the vault and is not in it yet: what it relies on cannot be known here.
fn nothing_travels(state: &State) -> Result<(), Error> {
    let seeds = state.seeds()?;
    match seeds.iter().find(|seed| !seed.is_over()) {
        None => Ok(()),
        Some(seed) => Err(Error::NotMeanwhile { seed: seed.id, state: seed.seed.state.name() }),
    }
}

/// Whether this machine has made it for that group. What somebody else's program made there is not ours to judge.
fn is_own(ctx: &Context<'_>, group: &Group, named: &NamedSnapshot) -> bool {
    let snapshot = &named.snapshot;
    snapshot.hostname == ctx.author.hostname && snapshot.tags.contains(&group.tag())
}

fn rules(keep: &Keep) -> Rules {
    Rules {
        last: Limit::AtMost(keep.last),
        hourly: Limit::AtMost(keep.hourly),
        daily: Limit::AtMost(keep.daily),
        weekly: Limit::AtMost(keep.weekly),
        monthly: Limit::AtMost(keep.monthly),
        yearly: Limit::AtMost(keep.yearly),
        ..Rules::default()
    }
}

fn decided(
    ctx: &Context<'_>,
    group: &Group,
    own: Vec<NamedSnapshot>,
    (minimum, zone): (u32, &TimeZone),
) -> Result<Vec<KeptPoint>, Error> {
    let now = ctx.now();
    let is_deleted = matches!(group.stopped, Some(Stopped { delete: true, .. }));
    // A clock that was ahead has made them: they are nobody's newest, or each later one would go in their stead.
    let (ahead, own): (Vec<_>, Vec<_>) =
        own.into_iter().partition(|named| named.snapshot.time > now && !is_deleted);
    let decisions = decide(own, &rules(&group.policy.keep), now, zone);
    let oldest = now.saturating_sub(SignedDuration::from_hours(i64::from(minimum) * 24));
    let oldest = oldest.unwrap_or(Timestamp::MIN);
    let point = |decision: Decision| {
        let Decision { snapshot, reasons } = decision;
        let (id, time) = (snapshot.id, snapshot.snapshot.time);
        let why: Vec<String> = reasons.iter().map(ToString::to_string).collect();
        let why = match (is_deleted, why.is_empty()) {
            (false, false) => Some(why.join(", ")),
            _ if minimum > 0 && time > oldest => Some(young(minimum)),
            _ => None,
        };
        KeptPoint { id, time, why }
    };
    let ahead = ahead.into_iter().rev().map(|named| KeptPoint {
        id: named.id,
        time: named.snapshot.time,
        why: Some("dated in the future: a clock was wrong".to_owned()),
    });
    let points: Vec<KeptPoint> = ahead.chain(decisions.into_iter().map(point)).collect();
    if !is_deleted && !points.is_empty() && points.iter().all(|point| point.why.is_none()) {
        return Err(Error::WouldEmpty(group.name.clone()));
    }
    Ok(points)
}

fn young(minimum: u32) -> String {
    format!("younger than the vault's minimum retention of {minimum} days")
}

/// The snapshots that go. What the vault finds too young, by its own clock, stays.
fn ask_for_snapshots(asking: &mut Asking<'_>, group: &Group, kept: &mut Kept) -> Result<(), Error> {
    loop {
        let gone: Vec<&KeptPoint> =
            kept.points.iter().filter(|point| point.why.is_none()).collect();
        let Some(first) = gone.first() else { return Ok(()) };
        let request = DeletionRequest {
            reason: reason(group, gone.len(), kept.stay()),
            group: Some(group.name.clone()),
            oldest: gone.last().map(|point| point.time),
            newest: Some(first.time),
            snapshots: gone.iter().map(|point| point.id).collect(),
            ..DeletionRequest::default()
        };
        let young = asking.snapshots(&request)?;
        if young.is_empty() {
            return Ok(());
        }
        for point in kept.points.iter_mut().filter(|point| young.contains(&point.id)) {
            point.why = Some("has not been in the vault for its minimum retention".to_owned());
        }
    }
}

fn reason(group: &Group, gone: usize, stay: usize) -> String {
    match group.stopped {
        Some(_) => {
            format!("protection of group {} was stopped, and its data is to be deleted", group.name)
        }
        None => format!(
            "the rules of group {} keep {stay} recovery points, and not these {gone}",
            group.name
        ),
    }
}

/// Writes what replaces what goes, and asks for that.
fn prune(
    ctx: &Context<'_>,
    (repository, lock): (&Repository, &LockGuard),
    asking: &mut Asking<'_>,
    kept: &Kept,
    dry_run: bool,
) -> Result<PruneFigures, Error> {
    ctx.tell(Event::Phase(Phase::Prune(Place::Vault)));
    let gone = kept.points.iter().filter(|point| point.why.is_none());
    // In a rehearsal they are still there.
    let without: HashSet<Digest> =
        if dry_run { gone.map(|point| point.id).collect() } else { HashSet::new() };
    let events = |event: PruneEvent| ctx.tell(Event::Prune(event));
    let options = PruneOptions {
        max_unused: MaxUnused::default(),
        max_repack: None,
        small: None,
        trees_only: false,
        without: &without,
        pending: &[],
        writer: repo::WriterOptions { pack_size: ctx.pack_size, ..repo::WriterOptions::default() },
        threads: ctx.threads,
        stop: ctx.stop,
        events: &events,
    };
    let plan = repository.plan_prune(lock, &options)?;
    let figures = plan.figures();
    if dry_run {
        return Ok(figures);
    }
    let removals = plan.write()?;
    if !removals.is_empty() {
        asking.ask(&DeletionRequest {
            reason: format!("prune by group {}: no recovery point needs these", kept.group),
            group: Some(kept.group.clone()),
            indexes: removals.indexes,
            packs: removals.packs,
            ..DeletionRequest::default()
        })?;
    }
    Ok(figures)
}
