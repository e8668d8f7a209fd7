//! Time that this server has seen pass: while it ran, by a clock that nobody sets. Holds are counted in it *and* by the date that people
//! were told, so that a wall clock that jumps ahead, whoever has moved it, ends none of them. Never decides what a hold is for.
//!
//! ```text
//!  wall clock   ──1──2──3──────────────────27──28──   due at 15: the date has passed at once
//!  seen         ──1──2──3───────────────────4───5──   due at 15: ten days are left
//! ```
//!
//! Invariant: it never runs faster than time does. What the server did not see, because it did not run or its machine slept, does not
//! count: holds get longer by that, which costs room and loses nothing.

use crate::config::Clock;
use crate::db::Db;
use crate::{Error, db};
use jiff::{SignedDuration, Timestamp};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A wall clock that is so far from where it should be was moved. Clocks that are put right by slewing never are.
const MOVED: SignedDuration = SignedDuration::from_hours(1);
/// What has been seen is written down so often: a process that dies loses no more of it.
const KEPT: SignedDuration = SignedDuration::from_mins(1);

/// One moment, by both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// By the wall clock.
    pub(crate) wall: Timestamp,
    /// By the time that was seen to pass.
    pub(crate) seen: Timestamp,
}

impl Moment {
    /// So much later.
    pub(crate) fn after(self, hold: SignedDuration) -> Self {
        let later = |at: Timestamp| at.saturating_add(hold).unwrap_or(Timestamp::MAX);
        Self { wall: later(self.wall), seen: later(self.seen) }
    }

    /// Until when this is ahead, by the wall clock of `now`; none once it has come by both.
    pub(crate) fn ahead_of(self, now: Self) -> Option<Timestamp> {
        let wall = self.wall.duration_since(now.wall);
        let left = wall.max(self.seen.duration_since(now.seen));
        (left > SignedDuration::ZERO)
            .then(|| now.wall.saturating_add(left).unwrap_or(Timestamp::MAX))
    }

    /// Whether its date has come, and only the time that was seen has not.
    pub(crate) fn is_unseen(self, now: Self) -> bool {
        self.wall <= now.wall && self.seen > now.seen
    }
}

/// The time that was seen, going on.
#[derive(Debug)]
pub(crate) struct Seen {
    base: Timestamp,
    /// What the steady clock showed then.
    since: Duration,
    last: Mutex<Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    /// Both clocks when they were last compared.
    wall: Timestamp,
    steady: Duration,
    /// What is written down.
    kept: Timestamp,
}

impl Seen {
    /// Goes on where the process before has stopped; where there was none, at the wall clock's time.
    pub(crate) async fn open(db: &Db, clock: &Clock) -> Result<Self, Error> {
        let (now, since) = (clock.now(), clock.steady());
        sqlx::query("INSERT INTO seen_time (id, at) VALUES (1, ?) ON CONFLICT DO NOTHING")
            .bind(db::time(now))
            .execute(db.pool())
            .await?;
        let (at,): (String,) =
            sqlx::query_as("SELECT at FROM seen_time").fetch_one(db.pool()).await?;
        let base = db::parsed("seen_time.at", &at)?;
        Ok(Self { base, since, last: Mutex::new(Last { wall: now, steady: since, kept: base }) })
    }

    /// Now.
    pub(crate) fn now(&self, clock: &Clock) -> Moment {
        let passed = clock.steady().saturating_sub(self.since);
        let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        let seen = self.base.saturating_add(passed).unwrap_or(Timestamp::MAX);
        Moment { wall: clock.now(), seen }
    }

    /// Writes it down, where enough has passed.
    pub(crate) async fn keep(&self, db: &Db, clock: &Clock) -> Result<(), Error> {
        let (seen, kept) = (self.now(clock).seen, self.last().kept);
        if seen.duration_since(kept) < KEPT { Ok(()) } else { self.write(db, seen).await }
    }

    /// Writes it down: nobody counts on from here.
    pub(crate) async fn end(&self, db: &Db, clock: &Clock) -> Result<(), Error> {
        self.write(db, self.now(clock).seen).await
    }

    async fn write(&self, db: &Db, seen: Timestamp) -> Result<(), Error> {
        let query = sqlx::query("UPDATE seen_time SET at = max(at, ?)").bind(db::time(seen));
        query.execute(db.pool()).await?;
        self.last().kept = seen;
        Ok(())
    }

    /// By how much somebody has moved the wall clock since the last look, where that is worth a word.
    pub(crate) fn moved(&self, clock: &Clock) -> Option<SignedDuration> {
        let (wall, steady) = (clock.now(), clock.steady());
        let mut last = self.last();
        let passed = SignedDuration::try_from(steady.saturating_sub(last.steady)).ok()?;
        let by = wall.duration_since(last.wall).checked_sub(passed)?;
        (last.wall, last.steady) = (wall, steady);
        (by.abs() > MOVED).then_some(by)
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall: i64, seen: i64) -> Moment {
        let day = |n: i64| Timestamp::from_second(1_780_000_000 + n * 86_400).unwrap();
        Moment { wall: day(wall), seen: day(seen) }
    }

    #[test]
    fn a_hold_is_over_once_its_date_has_come_and_so_much_time_was_seen() {
        let due = at(0, 0).after(SignedDuration::from_hours(14 * 24));
        assert_eq!(due, at(14, 14));
        assert_eq!(due.ahead_of(at(3, 3)), Some(at(14, 0).wall));
        assert_eq!(due.ahead_of(at(14, 14)), None);
        // The clock jumps, and time has not passed.
        assert_eq!(due.ahead_of(at(400, 4)), Some(at(410, 0).wall));
        assert!(due.is_unseen(at(400, 4)));
        // It was put back: nothing is sooner than people were told.
        assert_eq!(due.ahead_of(at(-30, 20)), Some(at(14, 0).wall));
        assert!(!due.is_unseen(at(-30, 20)));
    }
}
