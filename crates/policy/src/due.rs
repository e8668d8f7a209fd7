//! Whether a scheduled backup is due. Keeps no record of what has run.

use crate::{Missed, Policy};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A backup that begins so much after its time is one that was missed.
pub const GRACE: SignedDuration = SignedDuration::from_hours(1);

/// What the schedule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// To be begun now.
    Now {
        /// The time in the schedule that this is for.
        scheduled: Timestamp,
    },
    /// Was missed, and is left out.
    Skipped {
        /// The time in the schedule.
        scheduled: Timestamp,
    },
    /// The next one.
    At(Timestamp),
    /// Nothing is scheduled.
    Never,
}

/// What the schedule says at `now`. `last` is the time in the schedule that the last scheduled backup was for, `since` when the
/// schedule became what it is, `key` what sets this group apart from those of other servers.
///
/// A clock that was ahead, and was put right, holds nothing up: a last time in the future is none.
#[must_use]
pub fn due(
    policy: &Policy,
    key: &str,
    zone: &TimeZone,
    (last, since): (Option<Timestamp>, Timestamp),
    now: Timestamp,
) -> Due {
    let schedule = &policy.schedule;
    let last = last.filter(|last| *last <= now);
    let reference = last.map_or(since, |last| last.max(since)).min(now);
    let begin = |scheduled: Timestamp| {
        let later = jitter(policy, key, zone, scheduled);
        scheduled.checked_add(later).unwrap_or(scheduled)
    };
    let open = schedule.last_until(now, zone).filter(|newest| *newest > reference);
    if let Some(scheduled) = open {
        let at = begin(scheduled);
        return match now.duration_since(at) {
            late if late.is_negative() => Due::At(at),
            late if late > GRACE && policy.missed == Missed::Skip => Due::Skipped { scheduled },
            _ => Due::Now { scheduled },
        };
    }
    schedule.next_after(now, zone).map_or(Due::Never, |next| Due::At(begin(next)))
}

/// How much after its time a backup begins: always the same for the same time of the same group, and never so much that the
/// next one would be near.
fn jitter(policy: &Policy, key: &str, zone: &TimeZone, scheduled: Timestamp) -> SignedDuration {
    let next = policy.schedule.next_after(scheduled, zone);
    let most =
        next.map_or(policy.jitter, |next| policy.jitter.min(next.duration_since(scheduled) / 2));
    let most = u64::try_from(most.as_secs()).unwrap_or_default();
    if most == 0 {
        return SignedDuration::ZERO;
    }
    // FNV-1a: spreads, and is the same for ever.
    let text = format!("{key} {}", scheduled.as_second());
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The high bits are the well mixed ones.
    SignedDuration::from_secs(i64::try_from((hash >> 16) % most).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        toml::from_str(text).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn asked(policy: &Policy, last: Option<&str>, now: &str) -> Due {
        let since = at("2026-06-01T00:00:00Z");
        due(policy, "fs01/files", &TimeZone::UTC, (last.map(at), since), at(now))
    }

    #[test]
    fn a_backup_is_due_once_for_each_time() {
        let policy = policy("schedule = ['22:00']");
        assert_eq!(
            asked(&policy, None, "2026-06-01T21:59:59Z"),
            Due::At(at("2026-06-01T22:00:00Z"))
        );
        let scheduled = at("2026-06-01T22:00:00Z");
        assert_eq!(asked(&policy, None, "2026-06-01T22:00:00Z"), Due::Now { scheduled });
        let last = Some("2026-06-01T22:00:00Z");
        assert_eq!(
            asked(&policy, last, "2026-06-01T22:00:01Z"),
            Due::At(at("2026-06-02T22:00:00Z"))
        );
    }

    #[test]
    fn many_missed_ones_are_one_and_may_be_left_out() {
        let run = policy("schedule = ['22:00']");
        let scheduled = at("2026-06-08T22:00:00Z");
        let last = Some("2026-06-01T22:00:00Z");
        assert_eq!(asked(&run, last, "2026-06-09T12:00:00Z"), Due::Now { scheduled });
        let skip = policy("schedule = ['22:00']\nmissed = 'skip'");
        assert_eq!(asked(&skip, last, "2026-06-09T12:00:00Z"), Due::Skipped { scheduled });
        assert_eq!(asked(&skip, last, "2026-06-08T22:30:00Z"), Due::Now { scheduled });
    }

    #[test]
    fn a_clock_that_was_ahead_holds_nothing_up() {
        let policy = policy("schedule = ['22:00']");
        let last = Some("2031-01-01T22:00:00Z");
        assert_eq!(
            asked(&policy, last, "2026-06-01T12:00:00Z"),
            Due::At(at("2026-06-01T22:00:00Z"))
        );
        let scheduled = at("2026-06-01T22:00:00Z");
        assert_eq!(asked(&policy, last, "2026-06-01T22:00:00Z"), Due::Now { scheduled });
    }

    #[test]
    fn what_a_new_schedule_would_have_done_before_was_not_missed() {
        let policy = policy("schedule = ['12:00']");
        let (last, since) = (Some(at("2026-06-01T22:00:00Z")), at("2026-06-02T13:00:00Z"));
        let asked = due(&policy, "key", &TimeZone::UTC, (last, since), since);
        assert_eq!(asked, Due::At(at("2026-06-03T12:00:00Z")));
    }

    #[test]
    fn nothing_is_due_without_a_schedule() {
        assert_eq!(asked(&Policy::default(), None, "2026-06-09T12:00:00Z"), Due::Never);
    }

    #[test]
    fn jitter_spreads_and_never_reaches_the_next_time() {
        let policy = policy("schedule = ['0 * * * *']\njitter = '10h'");
        let zone = TimeZone::UTC;
        let mut seen = std::collections::BTreeSet::new();
        for server in 0..50 {
            let key = format!("fs{server:02}/files");
            let later = jitter(&policy, &key, &zone, at("2026-06-01T22:00:00Z"));
            assert_eq!(later, jitter(&policy, &key, &zone, at("2026-06-01T22:00:00Z")));
            assert!(later < SignedDuration::from_mins(30), "{later}");
            seen.insert(later.as_mins());
        }
        assert!(seen.len() > 10, "{seen:?}");
        let (early, key) = (at("2026-06-01T22:00:00Z"), "fs01/files");
        let begins = early.checked_add(jitter(&policy, key, &zone, early)).unwrap();
        let last = Some(at("2026-06-01T21:00:00Z"));
        let since = at("2026-06-01T00:00:00Z");
        let asked = |now| due(&policy, key, &zone, (last, since), now);
        assert_eq!(
            asked(early),
            if begins == early { Due::Now { scheduled: early } } else { Due::At(begins) }
        );
        assert_eq!(asked(begins), Due::Now { scheduled: early });
    }
}
