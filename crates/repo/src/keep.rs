//! Which snapshots rules keep, and why: restic's rules, decision by decision. Removes nothing, asks no clock.
//!
//! Snapshots are looked at from the newest to the oldest, and each rule by itself; what any of them keeps is
//! kept. `daily: 7` keeps the newest snapshot of each of the last seven days that have one. While such a rule
//! has something left to give, the oldest snapshot is kept as well, so that the history is as long as it can be.
//! Days, weeks and the others are those of the clock that the backup's machine had, by the offset that stands in
//! the snapshot. "Within" counts back from the newest snapshot that is not in the future, not from now: who does not back up for a
//! year loses nothing by it.
//!
//! Source: restic's documentation, "Removing backup snapshots"; tests hold every decision and reason
//! against the stock program's.

use crate::NamedSnapshot;
use crate::time::days;
use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use std::fmt;
use std::str::FromStr;

/// How many of a kind are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many; none means that the rule is not there.
    AtMost(u32),
    /// All.
    Unlimited,
}

impl Default for Limit {
    fn default() -> Self {
        Self::AtMost(0)
    }
}

impl Limit {
    /// Whether there is something left, of which one is taken.
    fn take(&mut self) {
        if let Self::AtMost(left) = self {
            *left = left.saturating_sub(1);
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "unlimited" | "-1" => Ok(Self::Unlimited),
            _ => text
                .parse()
                .map(Self::AtMost)
                .map_err(|_| format!("'{text}' is neither a number nor 'unlimited'")),
        }
    }
}

/// A stretch of the calendar, such as `1y5m7d2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Period {
    /// Years.
    pub years: u32,
    /// Months.
    pub months: u32,
    /// Days.
    pub days: u32,
    /// Hours.
    pub hours: u32,
}

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "'{text}' is not a period; write years, months, days and hours such as 1y5m7d2h"
            )
        };
        let (mut period, mut rest) = (Self::default(), text);
        while !rest.is_empty() {
            let at = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
            let (number, unit) = rest.split_at(at);
            let number: u32 = number.parse().map_err(|_| refuse())?;
            let mut units = unit.chars();
            let field = match units.next() {
                Some('y') => &mut period.years,
                Some('m') => &mut period.months,
                Some('d') => &mut period.days,
                Some('h') => &mut period.hours,
                _ => return Err(refuse()),
            };
            *field = number;
            rest = units.as_str();
        }
        if period == Self::default() { Err(refuse()) } else { Ok(period) }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.years, 'y'), (self.months, 'm'), (self.days, 'd'), (self.hours, 'h')];
        parts.iter().filter(|(n, _)| *n > 0).try_for_each(|(n, unit)| write!(f, "{n}{unit}"))
    }
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// The last ones.
    pub last: Limit,
    /// The newest of an hour.
    pub hourly: Limit,
    /// The newest of a day.
    pub daily: Limit,
    /// The newest of a week, which begins on Monday.
    pub weekly: Limit,
    /// The newest of a month.
    pub monthly: Limit,
    /// The newest of a year.
    pub yearly: Limit,
    /// All since so long before the newest.
    pub within: Option<Period>,
    /// The newest of an hour since then.
    pub within_hourly: Option<Period>,
    /// The newest of a day since then.
    pub within_daily: Option<Period>,
    /// The newest of a week since then.
    pub within_weekly: Option<Period>,
    /// The newest of a month since then.
    pub within_monthly: Option<Period>,
    /// The newest of a year since then.
    pub within_yearly: Option<Period>,
    /// Those that have all labels of one of these lists; a list of one empty label is for those without any.
    pub tags: Vec<Vec<String>>,
}

impl Rules {
    /// Whether nothing is said: then everything is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn counts(&self) -> [(Every, Limit); 6] {
        [
            (Every::One, self.last),
            (Every::Hour, self.hourly),
            (Every::Day, self.daily),
            (Every::Week, self.weekly),
            (Every::Month, self.monthly),
            (Every::Year, self.yearly),
        ]
    }

    fn periods(&self) -> [(Every, Option<Period>); 5] {
        [
            (Every::Hour, self.within_hourly),
            (Every::Day, self.within_daily),
            (Every::Week, self.within_weekly),
            (Every::Month, self.within_monthly),
            (Every::Year, self.within_yearly),
        ]
    }
}

/// Of what a rule keeps one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// Each snapshot.
    One,
    /// Hour.
    Hour,
    /// Day.
    Day,
    /// Week of the ISO calendar.
    Week,
    /// Month.
    Month,
    /// Year.
    Year,
}

impl Every {
    fn word(self) -> &'static str {
        match self {
            Self::One => "last",
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }

    /// What is the same for two snapshots of the same one. `nth` is the snapshot's place in the list.
    fn of(self, clock: DateTime, nth: usize) -> (i16, usize) {
        let day = usize::from(clock.date().day_of_year().unsigned_abs());
        let hour = usize::from(clock.hour().unsigned_abs());
        let week = clock.date().iso_week_date();
        match self {
            Self::One => (0, nth),
            Self::Hour => (clock.year(), day * 24 + hour),
            Self::Day => (clock.year(), day),
            Self::Week => (week.year(), usize::from(week.week().unsigned_abs())),
            Self::Month => (clock.year(), usize::from(clock.month().unsigned_abs())),
            Self::Year => (clock.year(), 0),
        }
    }
}

/// Why a snapshot is kept. Shown in restic's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// There are no rules.
    NoRules,
    /// It has these labels.
    Tags(Vec<String>),
    /// It is new enough.
    Within(Period),
    /// It is one of so many.
    Count {
        /// Of which.
        every: Every,
        /// Kept because it is the oldest, not because it is the newest of its hour, day, …
        oldest: bool,
    },
    /// It is the newest of its hour, day, …, and that is new enough.
    CountWithin {
        /// Of which.
        every: Every,
        /// As above.
        oldest: bool,
        /// How new.
        period: Period,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = |oldest: &bool| if *oldest { "oldest " } else { "" };
        match self {
            Self::NoRules => f.write_str("policy is empty"),
            Self::Tags(tags) => write!(f, "has tags [{}]", tags.join(", ")),
            Self::Within(period) => write!(f, "within {period}"),
            Self::Count { every, oldest } => {
                write!(f, "{}{} snapshot", prefix(oldest), every.word())
            }
            Self::CountWithin { every, oldest, period } => {
                write!(f, "{}{} within {period}", prefix(oldest), every.word())
            }
        }
    }
}

/// What is decided of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Which.
    pub snapshot: NamedSnapshot,
    /// Why it is kept; it goes if there is no reason.
    pub reasons: Vec<Reason>,
}

impl Decision {
    /// Whether it stays.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// A rule that has gone so far down the list.
struct Running<T> {
    every: Every,
    left: T,
    last: Option<(i16, usize)>,
}

impl<T> Running<T> {
    /// Whether it keeps this one: the first of its kind, or the oldest of all.
    fn meets(&mut self, clock: DateTime, nth: usize, is_last: bool) -> Option<bool> {
        let now = Some(self.every.of(clock, nth));
        let first = now != self.last;
        self.last = if first || is_last { now } else { self.last };
        (first || is_last).then_some(!first)
    }
}

/// Decides over one group of snapshots. The decisions are sorted from the newest to the oldest. `zone`
/// is this machine's, in which years, months and days are counted back from a moment written in it.
#[must_use]
pub fn decide(
    mut group: Vec<NamedSnapshot>,
    rules: &Rules,
    now: Timestamp,
    zone: &TimeZone,
) -> Vec<Decision> {
    group.sort_by_key(|named| std::cmp::Reverse((named.snapshot.time, named.id)));
    if rules.is_empty() {
        let keep = |snapshot| Decision { snapshot, reasons: vec![Reason::NoRules] };
        return group.into_iter().map(keep).collect();
    }
    // Snapshots of the future are no measure of age.
    let newest = group.iter().find(|named| named.snapshot.time < now);
    let newest = newest.map(|named| (named.snapshot.time, named.offset));
    // None: further back than time goes.
    let begin = |period: Period| newest.and_then(|newest| back(newest, period, zone));
    let newer = |time: Timestamp, period| begin(period).is_none_or(|begin| time > begin);
    let mut counts = rules.counts().map(|(every, left)| Running { every, left, last: None });
    let mut periods = rules.periods().map(|(every, left)| Running { every, left, last: None });
    let length = group.len();
    let decided = group.into_iter().enumerate().map(|(nth, named)| {
        let (time, is_last) = (named.snapshot.time, nth + 1 == length);
        let clock = named.offset.to_datetime(time);
        let mut reasons = Vec::new();
        let tags = rules.tags.iter().filter(|tags| has_tags(&named.snapshot.tags, tags));
        reasons.extend(tags.cloned().map(Reason::Tags));
        reasons.extend(rules.within.filter(|period| newer(time, *period)).map(Reason::Within));
        for rule in counts.iter_mut().filter(|rule| rule.left != Limit::AtMost(0)) {
            if let Some(oldest) = rule.meets(clock, nth, is_last) {
                rule.left.take();
                reasons.push(Reason::Count { every: rule.every, oldest });
            }
        }
        for rule in &mut periods {
            let Some(period) = rule.left.filter(|period| newer(time, *period)) else { continue };
            if let Some(oldest) = rule.meets(clock, nth, is_last) {
                reasons.push(Reason::CountWithin { every: rule.every, oldest, period });
            }
        }
        Decision { snapshot: named, reasons }
    });
    decided.collect()
}

/// Whether a snapshot with these labels has all of those; one empty label means none at all.
pub(crate) fn has_tags(labels: &[String], wanted: &[String]) -> bool {
    if labels.is_empty() && wanted.iter().any(String::is_empty) {
        return true;
    }
    wanted.iter().all(|tag| labels.contains(tag))
}

/// So long before a moment, on the calendar of the place that wrote it: as Go's `AddDate`, in which 31 March
/// less a month is 3 March. None where time does not go back so far.
fn back((time, offset): (Timestamp, Offset), period: Period, zone: &TimeZone) -> Option<Timestamp> {
    let clock = offset.to_datetime(time);
    let month = i64::from(clock.month()) - 1 - i64::from(period.months);
    let year = i64::from(clock.year()) - i64::from(period.years) + month.div_euclid(12);
    let day = days(year, month.rem_euclid(12) + 1, 1)? + i64::from(clock.day()) - 1;
    let day = day - i64::from(period.days);
    let second =
        i64::from(clock.hour()) * 3600 + i64::from(clock.minute()) * 60 + i64::from(clock.second());
    let local = Timestamp::new(day * 86_400 + second, clock.subsec_nanosecond()).ok()?;
    // A moment written with this machine's offset is on this machine's calendar, summer time and all.
    let ours = offset != Offset::UTC && zone.to_offset(time) == offset;
    let offset = if ours { offset_of_local(local, zone)? } else { offset };
    let less = |moment: Timestamp, seconds: i64| {
        moment.checked_sub(SignedDuration::from_secs(seconds)).ok()
    };
    less(less(local, offset.seconds().into())?, i64::from(period.hours) * 3600)
}

/// The offset in force at a reading of the local clock. Where the clock was put forward or back then, one of both.
fn offset_of_local(local: Timestamp, zone: &TimeZone) -> Option<Offset> {
    let guess = zone.to_offset(local);
    let moment = local.checked_sub(SignedDuration::from_secs(guess.seconds().into())).ok()?;
    Some(zone.to_offset(moment))
}

#[cfg(test)]
mod oracle;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Snapshot;
    use model::Digest;
    use proptest::prelude::*;

    fn named(n: u8, time: &str, offset: i8, tags: &[&str]) -> NamedSnapshot {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let time = time.parse().unwrap();
        let snapshot = Snapshot { time, tags, ..Snapshot::of_tree(Digest([n; 32])) };
        NamedSnapshot { id: Digest([n; 32]), snapshot, offset: jiff::tz::offset(offset) }
    }

    fn kept(group: &[NamedSnapshot], rules: &Rules) -> Vec<(u8, String)> {
        let now = "2030-01-01T00:00:00Z".parse().unwrap();
        let decided = decide(group.to_vec(), rules, now, &TimeZone::UTC);
        assert_eq!(decided.len(), group.len());
        decided
            .into_iter()
            .filter(Decision::is_kept)
            .map(|decision| {
                let reasons: Vec<_> = decision.reasons.iter().map(ToString::to_string).collect();
                (decision.snapshot.id.0[0], reasons.join("; "))
            })
            .collect()
    }

    fn of(kept: &[(u8, &str)]) -> Vec<(u8, String)> {
        kept.iter().map(|(n, reasons)| (*n, (*reasons).to_owned())).collect()
    }

    #[test]
    fn a_day_is_the_day_of_the_machine_that_made_the_backup() {
        let group = [
            named(1, "2024-05-01T22:30:00Z", 2, &[]),
            named(2, "2024-05-01T21:30:00Z", 2, &[]),
            named(3, "2024-05-01T12:00:00Z", 2, &[]),
            named(4, "2024-04-01T12:00:00Z", 2, &[]),
        ];
        let rules = Rules { daily: Limit::AtMost(2), ..Rules::default() };
        assert_eq!(kept(&group, &rules), of(&[(1, "daily snapshot"), (2, "daily snapshot")]));
    }

    #[test]
    fn the_oldest_is_kept_while_a_rule_has_something_left() {
        let group = [
            named(1, "2024-05-02T12:00:00Z", 0, &[]),
            named(2, "2024-05-01T12:00:00Z", 0, &[]),
            named(3, "2024-05-01T11:00:00Z", 0, &[]),
            named(4, "2024-05-01T10:00:00Z", 0, &[]),
        ];
        let daily = |n| Rules { daily: Limit::AtMost(n), ..Rules::default() };
        let two = [(1, "daily snapshot"), (2, "daily snapshot")];
        assert_eq!(kept(&group, &daily(2)), of(&two));
        let three = [two[0], two[1], (4, "oldest daily snapshot")];
        assert_eq!(kept(&group, &daily(3)), of(&three));
    }

    #[test]
    fn within_counts_from_the_newest_that_is_not_in_the_future() {
        let group = [
            named(9, "2031-01-01T00:00:00Z", 0, &[]),
            named(1, "2024-03-31T12:00:00Z", 0, &[]),
            named(2, "2024-03-02T13:00:00Z", 0, &[]),
            named(3, "2024-03-02T12:00:00Z", 0, &[]),
        ];
        let rules = Rules { within: Some("1m".parse().unwrap()), ..Rules::default() };
        // 31 February is 2 March in 2024; the moment itself is outside.
        let expected = [(9, "within 1m"), (1, "within 1m"), (2, "within 1m")];
        assert_eq!(kept(&group, &rules), of(&expected));
        let for_ever = Rules { within: Some("99999y".parse().unwrap()), ..Rules::default() };
        assert_eq!(kept(&group, &for_ever).len(), 4);
    }

    #[test]
    fn days_are_counted_back_on_the_local_calendar() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let newest = ("2024-04-02T10:00:00Z".parse().unwrap(), jiff::tz::offset(2));
        let days = Period { days: 3, ..Period::default() };
        let local = back(newest, days, &berlin).unwrap();
        assert_eq!(local, "2024-03-30T11:00:00Z".parse().unwrap(), "noon, before summer time");
        let elsewhere = back(newest, days, &TimeZone::UTC).unwrap();
        assert_eq!(elsewhere, "2024-03-30T10:00:00Z".parse().unwrap());
    }

    #[test]
    fn labels_keep_whatever_else_is_said() {
        let group = [
            named(1, "2024-05-02T12:00:00Z", 0, &["a", "b"]),
            named(2, "2024-05-01T12:00:00Z", 0, &["a"]),
            named(3, "2024-04-01T12:00:00Z", 0, &[]),
        ];
        let list = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>();
        let rules = Rules { tags: vec![list(&["b", "a"]), list(&[""])], ..Rules::default() };
        assert_eq!(kept(&group, &rules), of(&[(1, "has tags [b, a]"), (3, "has tags []")]));
        assert_eq!(kept(&group, &Rules::default()).len(), 3, "no rules keep everything");
    }

    #[test]
    fn periods_are_read_as_they_are_written() {
        for text in ["1y5m7d2h", "2h", "14d", "12m"] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
        for wrong in ["", "0d", "1w", "d", "1", "-1d", "1d ", "99999999999d"] {
            assert!(wrong.parse::<Period>().is_err(), "{wrong}");
        }
        assert_eq!("unlimited".parse(), Ok(Limit::Unlimited));
        assert!("-2".parse::<Limit>().is_err());
    }

    proptest! {
        // What must hold of any rules, however they are counted.
        #[test]
        fn what_rules_keep_only_grows_with_them(
            hours in prop::collection::btree_set(0i64..40_000, 1..40),
            fewer in 0u32..6, more in 0u32..6, offset in -12i8..13,
        ) {
            let (fewer, more) = (fewer.min(more), fewer.max(more));
            let begin: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
            let group: Vec<_> = hours.iter().enumerate().map(|(n, hours)| {
                let time = begin + SignedDuration::from_hours(*hours);
                named(u8::try_from(n).unwrap(), &time.to_string(), offset, &[])
            }).collect();
            let rules = |n| Rules {
                last: Limit::AtMost(n), daily: Limit::AtMost(n), yearly: Limit::AtMost(n), ..Rules::default()
            };
            let names = |n| kept(&group, &rules(n)).into_iter().map(|(n, _)| n).collect::<Vec<_>>();
            let larger = names(more);
            prop_assert!(fewer == 0 || names(fewer).iter().all(|n| larger.contains(n)));
            prop_assert!(more == 0 || larger.len() >= group.len().min(more as usize));
        }
    }
}
