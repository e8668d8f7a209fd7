//! When something is to happen by itself: times of day on days of the week, or cron patterns, in local time. Knows
//! neither a clock nor a time zone of its own.
//!
//! Where the clocks change, a time that does not exist is moved to the first one that does, and a time that exists twice is
//! taken once; what happens every hour happens every hour all the same (croner's rules, which are those of Debian's cron).

use crate::bandwidth::time_of_day;
use crate::{Days, Invalid};
use croner::Cron;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// When something is to happen. Empty: never by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schedule(Vec<Entry>);

/// `mon-fri 12:00, 22:00`, `22:00`, or a cron pattern.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Entry {
    text: String,
    patterns: Vec<Cron>,
}

impl Schedule {
    /// As people write it: one text an entry.
    ///
    /// # Errors
    /// For the first entry that is none.
    pub fn parse<'t>(entries: impl IntoIterator<Item = &'t str>) -> Result<Self, Invalid> {
        entries.into_iter().map(str::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether it never comes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first moment after that one.
    #[must_use]
    pub fn next_after(&self, moment: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let from = moment.to_zoned(zone.clone());
        let next = |cron: &Cron| cron.find_next_occurrence(&from, false).ok();
        // A pattern without seconds happens on whole minutes.
        self.patterns()
            .filter_map(next)
            .map(|zoned| zoned.timestamp())
            .filter(|at| *at > moment)
            .min()
    }

    /// The last moment that is not after that one.
    #[must_use]
    pub fn last_until(&self, moment: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let from = moment.to_zoned(zone.clone());
        let last = |cron: &Cron| cron.find_previous_occurrence(&from, true).ok();
        self.patterns()
            .filter_map(last)
            .map(|zoned| zoned.timestamp())
            .filter(|at| *at <= moment)
            .max()
    }

    fn patterns(&self) -> impl Iterator<Item = &Cron> {
        self.0.iter().flat_map(|entry| &entry.patterns)
    }
}

impl FromStr for Entry {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wanted = "a schedule: write days and times as 'mon-fri 12:00, 22:00', or a cron pattern of five fields";
        let refuse = || Invalid::new(text, wanted);
        let text = text.trim();
        let mut patterns = Vec::new();
        if text.contains(':') {
            let split = text.find(|c: char| c.is_ascii_digit()).unwrap_or_default();
            let (days, times) = text.split_at_checked(split).ok_or_else(refuse)?;
            let days = if days.trim().is_empty() { Days::DAILY } else { days.parse()? };
            for time in times.split(',') {
                let time = time_of_day(time).ok_or_else(refuse)?;
                let pattern = format!("{} {} * * {}", time.minute(), time.hour(), days.cron());
                patterns.push(Cron::from_str(&pattern).map_err(|_| refuse())?);
            }
        } else {
            // Six fields would be seconds, for which nothing here is made.
            let fields = text.split_whitespace().count();
            if fields != 5 && !text.starts_with('@') {
                return Err(refuse());
            }
            let because = |cause| Invalid::new(text, format!("a cron pattern: {cause}"));
            patterns.push(Cron::from_str(text).map_err(because)?);
        }
        Ok(Self { text: text.to_owned(), patterns })
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Entry {}

impl TryFrom<String> for Entry {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Entry> for String {
    fn from(entry: Entry) -> Self {
        entry.text
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries: Vec<&str> = self.0.iter().map(|entry| entry.text.as_str()).collect();
        f.write_str(&entries.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::{SignedDuration, Zoned};
    use proptest::prelude::*;

    fn schedule(entries: &[&str]) -> Schedule {
        Schedule::parse(entries.iter().copied()).unwrap()
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    /// Every moment from one to the other, as local times.
    fn all(entries: &[&str], from: &str, to: &str) -> Vec<String> {
        let (from, to): (Zoned, Zoned) = (from.parse().unwrap(), to.parse().unwrap());
        let zone = from.time_zone().clone();
        let schedule = schedule(entries);
        let mut found = Vec::new();
        let mut at = from.timestamp();
        while let Some(next) = schedule.next_after(at, &zone).filter(|next| *next <= to.timestamp())
        {
            found.push(next.to_zoned(zone.clone()).strftime("%a %H:%M%:z").to_string());
            at = next;
        }
        found
    }

    #[test]
    fn days_and_times_are_local() {
        let entries = ["mon-fri 12:00, 22:30", "sun 3:00"];
        let found = all(
            &entries,
            "2026-06-04T12:00:00[Europe/Berlin]",
            "2026-06-08T12:00:00[Europe/Berlin]",
        );
        let wanted = [
            "Thu 22:30+02:00",
            "Fri 12:00+02:00",
            "Fri 22:30+02:00",
            "Sun 03:00+02:00",
            "Mon 12:00+02:00",
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_time_that_does_not_exist_comes_at_once_after_and_a_double_one_once() {
        let spring = |entry| {
            all(&[entry], "2026-03-28T12:00[Europe/Berlin]", "2026-03-30T12:00[Europe/Berlin]")
        };
        assert_eq!(spring("2:30"), ["Sun 03:00+02:00", "Mon 02:30+02:00"]);
        assert_eq!(spring("22:00"), ["Sat 22:00+01:00", "Sun 22:00+02:00"]);
        let autumn = |entry| {
            all(&[entry], "2026-10-24T12:00[Europe/Berlin]", "2026-10-26T12:00[Europe/Berlin]")
        };
        assert_eq!(autumn("2:30"), ["Sun 02:30+02:00", "Mon 02:30+01:00"]);
    }

    #[test]
    fn what_comes_every_hour_comes_every_hour() {
        for night in ["2026-03-29", "2026-10-25"] {
            let from: Zoned = format!("{night}T00:00[Europe/Berlin]").parse().unwrap();
            let every = schedule(&["0 * * * *"]);
            let mut at = from.timestamp();
            for _ in 0..8 {
                let next = every.next_after(at, from.time_zone()).unwrap();
                assert_eq!(next.duration_since(at), SignedDuration::from_hours(1), "{night}");
                at = next;
            }
        }
    }

    fn entry() -> impl Strategy<Value = String> {
        let times = prop::collection::vec((0..24u8, prop::sample::select(vec![0u8, 30, 59])), 1..3);
        let days = prop::sample::select(vec!["", "daily ", "mon-fri ", "sat,sun "]);
        let timed = (days, times).prop_map(|(days, times)| {
            let times: Vec<_> = times.iter().map(|(h, m)| format!("{h}:{m:02}")).collect();
            format!("{days}{}", times.join(", "))
        });
        let crons =
            vec!["0 * * * *", "*/20 * * * *", "5 1 1 * *", "0 2 * * 1#1", "@daily", "17 2 L * *"];
        prop_oneof![timed, prop::sample::select(crons).prop_map(str::to_owned)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        // Days around both changes of the clocks in three zones, one of them with half an hour.
        #[test]
        fn looking_back_finds_what_looking_ahead_has_found(
            entries in prop::collection::vec(entry(), 1..3),
            name in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
            start in prop::sample::select(vec![1_774_600_000i64, 1_792_800_000, 1_772_900_000, 1_775_200_000, 1_780_000_000]),
            minutes in 0..4320i64,
        ) {
            let zone = zone(name);
            let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
            let schedule = schedule(&entries);
            let from = Timestamp::from_second(start).unwrap();
            let until = Timestamp::from_second(start + minutes * 60).unwrap();
            let (mut last, mut at) = (None, from);
            while let Some(next) = schedule.next_after(at, &zone).filter(|next| *next <= until) {
                prop_assert!(next > at);
                last = Some(next);
                at = next;
            }
            let back = schedule.last_until(until, &zone).filter(|found| *found > from);
            prop_assert_eq!(back, last);
        }
    }
}
