//! How fast data may leave, by time of day. Holds nothing back itself.

use crate::{Days, Invalid, Size};
use jiff::Zoned;
use jiff::civil::Time;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How fast data may leave. Without a limit it is as fast as it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bandwidth {
    /// Bytes a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Size>,
    /// Bytes a second in work hours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work_limit: Option<Size>,
    /// When people work.
    pub work_hours: Hours,
    /// On which days they do.
    pub work_days: WorkDays,
}

/// On which days people work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkDays(pub Days);

impl Default for WorkDays {
    fn default() -> Self {
        Self(Days::WORK)
    }
}

impl Bandwidth {
    /// The limit at that moment in bytes a second; 0 for none.
    #[must_use]
    pub fn at(&self, moment: &Zoned) -> u64 {
        let works = self.work_hours.contains(moment.time());
        // The part of a night's shift that is after midnight belongs to the day before.
        let day = match works && self.work_hours.is_after_midnight(moment.time()) {
            true => moment.weekday().previous(),
            false => moment.weekday(),
        };
        let limit = match works && self.work_days.0.contains(day) {
            true => self.work_limit.or(self.limit),
            false => self.limit,
        };
        limit.map_or(0, |size| size.0.0)
    }
}

/// A stretch of each day, such as `08:00-18:00`; `22:00-06:00` goes over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hours {
    from: Time,
    to: Time,
}

impl Default for Hours {
    fn default() -> Self {
        Self { from: Time::constant(8, 0, 0, 0), to: Time::constant(18, 0, 0, 0) }
    }
}

impl Hours {
    fn contains(&self, time: Time) -> bool {
        match self.from < self.to {
            true => self.from <= time && time < self.to,
            false => self.from <= time || time < self.to,
        }
    }

    fn is_after_midnight(&self, time: Time) -> bool {
        self.from > self.to && time < self.to
    }
}

/// `8:00` or `22:30`.
pub(crate) fn time_of_day(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |part: &str, most| part.len() <= most && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(hour, 2) || !digits(minute, 2) || minute.len() != 2 {
        return None;
    }
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

impl FromStr for Hours {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let refuse = || Invalid::new(text, "a stretch of the day: write it as 08:00-18:00");
        let (from, to) = text.split_once('-').ok_or_else(refuse)?;
        let (from, to) = time_of_day(from).zip(time_of_day(to)).ok_or_else(refuse)?;
        if from == to {
            return Err(refuse());
        }
        Ok(Self { from, to })
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from.strftime("%H:%M"), self.to.strftime("%H:%M"))
    }
}

impl TryFrom<String> for Hours {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Hours> for String {
    fn from(hours: Hours) -> Self {
        hours.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_hours_have_a_limit_of_their_own() {
        let text = "limit = '10M'\nwork-limit = '1M'\nwork-hours = '08:00-18:00'";
        let bandwidth: Bandwidth = toml::from_str(text).unwrap();
        let at = |text: &str| bandwidth.at(&text.parse().unwrap()) >> 20;
        // A Monday, and a Saturday.
        assert_eq!(at("2026-06-01T07:59:59[Europe/Berlin]"), 10);
        assert_eq!(at("2026-06-01T08:00:00[Europe/Berlin]"), 1);
        assert_eq!(at("2026-06-01T17:59:59[Europe/Berlin]"), 1);
        assert_eq!(at("2026-06-01T18:00:00[Europe/Berlin]"), 10);
        assert_eq!(at("2026-06-06T12:00:00[Europe/Berlin]"), 10);
        assert_eq!(Bandwidth::default().at(&"2026-06-01T12:00:00[UTC]".parse().unwrap()), 0);
    }

    #[test]
    fn a_night_shift_belongs_to_the_day_on_which_it_began() {
        let text = "work-limit = '1M'\nwork-hours = '22:00-06:00'\nwork-days = 'fri'";
        let bandwidth: Bandwidth = toml::from_str(text).unwrap();
        let at = |text: &str| bandwidth.at(&text.parse().unwrap()) >> 20;
        // 2026-06-05 is a Friday.
        assert_eq!(at("2026-06-05T05:00:00[UTC]"), 0);
        assert_eq!(at("2026-06-05T22:00:00[UTC]"), 1);
        assert_eq!(at("2026-06-06T05:59:00[UTC]"), 1);
        assert_eq!(at("2026-06-06T06:00:00[UTC]"), 0);
        assert_eq!(at("2026-06-06T23:00:00[UTC]"), 0);
    }

    #[test]
    fn hours_that_are_none_are_refused() {
        for text in ["", "8-18", "08:00", "08:00-25:00", "08:00-08:00", "8:0-9:00", "08:00-18:00h"]
        {
            assert!(text.parse::<Hours>().is_err(), "{text}");
        }
        assert_eq!("8:00-18:30".parse::<Hours>().unwrap().to_string(), "08:00-18:30");
    }
}
