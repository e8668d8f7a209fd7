//! Deadlines counted from a stored time, with warnings beforehand. Owns no clock.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A job that is not shipped expires after this long without an update. The import service's rule.
pub const EXPIRE_AFTER: SignedDuration = days(14);
/// A package is overdue this long after its shipping details were given. The import service's rule.
pub const OVERDUE_AFTER: SignedDuration = days(14);
/// A job closes this long after its package became overdue, unless a drive turns up.
pub const CLOSE_AFTER: SignedDuration = days(30);
/// The record of a job may go this long after its end. Its drives' keys may not.
pub const KEEP_RECORD_FOR: SignedDuration = days(90);
/// Days before a deadline at which a warning is given, most urgent first.
pub const WARNING_DAYS: [u32; 3] = [1, 3, 7];

const fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

/// A deadline that is running, and the warnings given so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timer {
    /// When it started to run.
    pub started: Timestamp,
    /// The most urgent warning given so far, in days before the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warned: Option<u32>,
}

/// What a look at the clock says about a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing new.
    Nothing,
    /// A warning that was not given yet. Of several missed ones only the most urgent.
    Warn(u32),
    /// The deadline has passed.
    Passed,
}

impl Timer {
    pub(crate) fn starting(now: Timestamp) -> Self {
        Self { started: now, warned: None }
    }

    /// When a timer of this length runs out.
    #[must_use]
    pub fn deadline(&self, length: SignedDuration) -> Timestamp {
        later(self.started, length)
    }

    /// Looks at the clock and remembers the warning it answers.
    pub(crate) fn look(&mut self, now: Timestamp, length: SignedDuration) -> Due {
        if has_passed(self.started, length, now) {
            return Due::Passed;
        }
        let left = length.saturating_sub(now.duration_since(self.started));
        let reached = WARNING_DAYS.into_iter().find(|&count| left <= days(i64::from(count)));
        match reached {
            Some(count) if self.warned.is_none_or(|given| count < given) => {
                self.warned = Some(count);
                Due::Warn(count)
            }
            _ => Due::Nothing,
        }
    }
}

/// Whether `length` has passed since `start`. Counts what has passed instead of comparing with the
/// deadline: near the end of time, where a broken clock may be, the deadline cannot be written.
pub(crate) fn has_passed(start: Timestamp, length: SignedDuration, now: Timestamp) -> bool {
    now.duration_since(start) >= length
}

/// `length` after `start`, or the end of time.
pub(crate) fn later(start: Timestamp, length: SignedDuration) -> Timestamp {
    start.saturating_add(length).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(hours: i64) -> Timestamp {
        later(Timestamp::UNIX_EPOCH, SignedDuration::from_hours(hours))
    }

    #[test]
    fn each_warning_is_given_once() {
        let mut timer = Timer::starting(Timestamp::UNIX_EPOCH);
        let seen: Vec<_> = (0..=24 * 14)
            .map(|hour| (hour, timer.look(after(hour), EXPIRE_AFTER)))
            .filter(|(_, due)| *due != Due::Nothing)
            .collect();
        assert_eq!(
            seen,
            [
                (24 * 7, Due::Warn(7)),
                (24 * 11, Due::Warn(3)),
                (24 * 13, Due::Warn(1)),
                (24 * 14, Due::Passed),
            ]
        );
    }

    #[test]
    fn a_late_look_gives_only_the_most_urgent_warning() {
        let mut timer = Timer::starting(Timestamp::UNIX_EPOCH);
        assert_eq!(timer.look(after(24 * 12), EXPIRE_AFTER), Due::Warn(3));
        assert_eq!(timer.look(after(24 * 8), EXPIRE_AFTER), Due::Nothing);
        assert_eq!(timer.look(after(24 * 13), EXPIRE_AFTER), Due::Warn(1));
    }

    proptest! {
        #[test]
        fn no_timer_runs_out_early(start in 0i64..1 << 33, now in 0i64..1 << 33) {
            let [start, now] = [start, now].map(|s| Timestamp::from_second(s).unwrap());
            let mut timer = Timer::starting(start);
            let passed = timer.look(now, EXPIRE_AFTER) == Due::Passed;
            prop_assert_eq!(passed, now.duration_since(start) >= EXPIRE_AFTER);
        }

        #[test]
        fn the_ends_of_time_are_no_surprise(start in prop_oneof![Just(Timestamp::MIN), Just(Timestamp::MAX)]) {
            for now in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
                let passed = Timer::starting(start).look(now, KEEP_RECORD_FOR) == Due::Passed;
                prop_assert_eq!(passed, now > start);
            }
        }
    }
}
